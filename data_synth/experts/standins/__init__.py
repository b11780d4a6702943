"""Experts in the places of the paper's networks, so that its compositions run anywhere; see `standins.py`."""
