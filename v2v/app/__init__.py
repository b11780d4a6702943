"""Serving the editor: a queue of edits that survives a crash, the worker that does them, and the HTTP interface."""
