"""The vocabulary of the system; standard library only."""
