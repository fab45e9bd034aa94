"""The network that ranks, how it is trained, judged and put into service."""

import os

# Threads that wait for each other sleep. Spinning, as is the default, they take the cores from
# whatever else runs there, Airflow say, and from each other: a step then takes five times as long.
# Read once, when PyTorch is imported, which happens below this package only.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
