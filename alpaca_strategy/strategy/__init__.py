"""What to hold and how much of it: decisions, sizes and costs, without I/O and without a clock.

Backtests and the live trader call the same compiled functions; they differ only in who feeds them.
"""
