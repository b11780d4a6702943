"""Metrics of edited clips."""
