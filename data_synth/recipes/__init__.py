"""Recipes: each turns a seed into a training pair."""
