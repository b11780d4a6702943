"""Data side of training: pair → array_record → grain → batch.

`pair.py` is the record that `data_synth` writes and training reads; `transforms.py` and `loader.py` turn records
into batches. `pairs` imports numpy and OpenCV alone, so that the pair engine never pulls in JAX.
"""
