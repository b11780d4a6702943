"""Training data: the pair record, the latent cache, and batches.

pair.py -> datasets.py, buckets.py -> latent_cache.py -> transforms.py -> loader.py, in the types of batch.py. `pair` imports numpy and
OpenCV alone, so that `data_synth` does not import JAX.
"""
