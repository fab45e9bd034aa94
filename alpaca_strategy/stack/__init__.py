"""The embedded stack: every service of the system on one machine, from one command."""
