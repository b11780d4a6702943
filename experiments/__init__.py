"""Configurations of training runs and sweeps; installed as `v2v.experiments`."""
