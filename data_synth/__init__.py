"""The pair engine: seeds to training pairs, and pairs to TFDS folders.

    seed -> recipe -> instructions -> transition -> quality gates -> Pair -> shards -> array_record

`generate.py` is the page to read first; README.md has the map. Nothing here imports JAX or the model.
"""
