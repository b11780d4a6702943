"""Benchmarks, metrics, judge, sweeps, and reports."""
