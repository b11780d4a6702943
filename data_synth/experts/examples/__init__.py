"""Working examples of external experts, one of each kind; read sketch.py."""
