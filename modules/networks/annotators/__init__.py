"""ControlNet's preprocessors that have a network, one file each kind. `annotators.py` finds and keeps the networks."""
