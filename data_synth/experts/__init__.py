"""Transformations that make one side of a pair from the other."""
