"""Experts that stand in for the networks of the paper, so that its compositions run anywhere; read standins.py."""
