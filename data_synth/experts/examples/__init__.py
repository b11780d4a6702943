"""Working examples of external experts, one of each kind; see `sketch.py`."""
