"""Load a full-size DiT checkpoint and print the peak memory.

    python tools/checks/load_full_size.py [--layers 30]

Prints sizes, seconds and peak memory. The checkpoint is real but for its values: five float32 shards with an index, 20 GB, written as
sparse files of zeros, which take no disk. It is loaded as bfloat16, as `--model DIR` would. One run at 30 layers: 18.63 GiB on file,
9.44 held, peak 12.58.
"""

import argparse
import dataclasses
import json
import math
import resource
import struct
import tempfile
import time
from pathlib import Path

import jax

from v2v.checkpoints import name_mapping, wan
from v2v.config import wan22_ti2v_5b


def main() -> None:
    """Parse the command line and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=30)
    layers = parser.parse_args().layers
    cfg = wan22_ti2v_5b()
    cfg = dataclasses.replace(cfg, dit=dataclasses.replace(cfg.dit, layers=layers))
    with tempfile.TemporaryDirectory() as tmp:
        size = write_sparse_checkpoint(
            Path(tmp), name_mapping.map_tensors("dit", wan.parameter_shapes("dit", cfg), cfg, "diffusers")
        )
        initial_peak, start = peak_memory(), time.time()
        tree = jax.block_until_ready(wan.load_part("dit", tmp, cfg))
    tree_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
    print(
        f"checkpoint {size / 2**30:.2f} GiB float32, held {tree_bytes / 2**30:.2f} GiB, {time.time() - start:.0f} s"
    )
    print(f"peak memory {peak_memory() / 2**30:.2f} GiB, of which {initial_peak / 2**30:.2f} before loading")


def write_sparse_checkpoint(folder: Path, entries: list[name_mapping.TensorMapping], shards: int = 5) -> int:
    """Write zero-filled shards and their index, and return the bytes of the tensors."""
    weight_map, total = {}, 0
    for i in range(shards):
        name, header, offset = f"model-{i + 1:05d}-of-{shards:05d}.safetensors", {}, 0
        for e in entries[i::shards]:
            end = offset + 4 * math.prod(e.shape)
            header[e.name] = {"dtype": "F32", "shape": list(e.shape), "data_offsets": [offset, end]}
            weight_map[e.name], offset = name, end
        text = json.dumps(header).encode()
        with open(folder / name, "wb") as f:
            f.write(struct.pack("<Q", len(text)) + text)
            f.truncate(8 + len(text) + offset)
        total += offset
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return total


def peak_memory() -> int:
    """Return the largest resident size of this process so far in bytes (Linux counts KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
