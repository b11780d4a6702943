"""Scores by a vision-language model."""
