"""Training: objectives, the step, the loop, stages, encoding of datasets, fine-tuning and checkpointing.

objectives.py -> train_step.py -> loop.py -> stage.py -> stages.py (a small editor from scratch), fine_tuning.py (published weights)
"""
