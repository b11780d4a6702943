"""The TFDS dataset folder: `v2v_pairs_dataset_builder.py` and its description."""
