"""Experts: external programs that make one side of a pair from the other.

`base.py` declares the interface, `spec.py` reads the TOML file that describes an expert, `remote.py` and `child.py` run it, `wire.py`
encodes what is exchanged, and `protocol.py` is what recipes call.
"""
