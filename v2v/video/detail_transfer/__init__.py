"""Detail transfer: the edit of small frames, applied to the full-size source. `transfer.py` is the entry point."""
