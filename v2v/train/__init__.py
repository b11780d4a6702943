"""Training: objectives, the step, the loop, stages, and checkpointing."""
