"""The web pages: sessions, the quality of their data, models and backtests."""
