"""The market itself: its calendar, its trade conditions, and bars made from its tape."""
