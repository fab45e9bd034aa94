"""An exchange that speaks Alpaca's wire protocol, with a market of its own or a recorded one."""
