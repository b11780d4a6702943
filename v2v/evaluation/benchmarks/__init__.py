"""Benchmarks: generated pairs with exact truth, photometric edits of real clips, and readers of published benchmarks."""
