"""The web pages: sessions and the quality of their data."""
