"""A scheduled machine-learning trading system for Alpaca accounts."""

__version__ = "0.1.0"
