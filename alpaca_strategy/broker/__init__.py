"""The venue behind a port: the genuine alpaca-py clients, with an end to every wait."""
