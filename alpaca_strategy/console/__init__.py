"""The web pages: sessions, the quality of their data, and models."""
