"""Sweeps: a grid of settings over a benchmark, its results and report."""
