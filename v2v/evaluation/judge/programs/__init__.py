"""Programs that run published reward models, each in an environment of its own; `outside_metric.py` starts them."""
