"""The report: one page that works without a network; `page.render` makes it."""
