"""Editing, from files to files: start at `editor.py`."""
