"""Benchmarks: our own with exact truth, and published ones."""
