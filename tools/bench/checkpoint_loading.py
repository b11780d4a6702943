"""Measure how long loading a model takes: a published float32 checkpoint against the folder that `v2v convert` makes of it.

    python tools/bench/checkpoint_loading.py [--layers 8] [--width 1024] [--repeats 3]

Prints size and seconds of both, and their ratio. Random weights of the DiT's shapes go to a temporary folder as float32 safetensors;
both ways end with the same tree on the device, and each repeat takes the two in turn. Files are in the page cache for both, so the
work is compared and not the disk.
"""

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from v2v.checkpoints import name_mapping, orbax_tree, parameter_store, safetensors_file, wan
from v2v.config import wan22_ti2v_5b


def main() -> None:
    """Parse the command line and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    cfg = wan22_ti2v_5b()
    small = {
        "width": args.width,
        "heads": args.width // 128,
        "ffn_width": 4 * args.width,
        "layers": args.layers,
    }
    cfg = dataclasses.replace(cfg, dit=dataclasses.replace(cfg.dit, **small))
    shapes, like = wan.parameter_shapes("dit", cfg), parameter_store.abstract_parameters("dit", cfg)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as tmp:
        published, converted = Path(tmp) / "dit.safetensors", Path(tmp) / "dit"
        entries = name_mapping.map_tensors("dit", shapes, cfg, "diffusers")
        safetensors_file.write_safetensors(
            published, {e.name: rng.standard_normal(e.shape, np.float32) for e in entries}
        )
        loaders = {
            "published": lambda: wan.load_part("dit", published, cfg),
            "converted": lambda: orbax_tree.load_tree(converted, like),
        }
        tree = loaders["published"]()
        orbax_tree.save_tree(converted, tree)
        seconds = {name: [] for name in loaders}
        for _ in range(args.repeats):
            for name, load in loaders.items():
                start = time.perf_counter()
                loaded_tree = jax.block_until_ready(load())
                seconds[name].append(time.perf_counter() - start)
                is_equal = jax.tree.map(lambda a, b: bool((a == b).all()), tree, loaded_tree)
                assert all(jax.tree.leaves(is_equal)), f"{name}: not the tree that was written"
                del loaded_tree
        size = {
            "published": published.stat().st_size,
            "converted": sum(x.nbytes for x in jax.tree.leaves(tree)),
        }
    best = {name: min(times) for name, times in seconds.items()}
    for name in loaders:
        print(f"{name}: {size[name] / 1e9:.2f} GB, {best[name]:.2f} s (best of {args.repeats})")
    print(f"converted starts take {best['converted'] / best['published']:.2f} of the time")


if __name__ == "__main__":
    main()
