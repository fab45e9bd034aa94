"""The network that ranks, how it is trained, judged and put into service."""
