"""How long a model takes to be there: a published float32 checkpoint against the folder `v2v convert` makes of it, in one run.

    python tools/bench/checkpoint_loading.py [--layers 8] [--width 1024] [--repeats 3]

Random weights of the DiT's own shapes go to a temporary folder as float32 safetensors; both starts end with the same tree on the
device, and each repeat takes the two in turn. Files are in the page cache for both: what is compared is the work, not the disk.
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
        starts = {
            "published": lambda: wan.load_part("dit", published, cfg),
            "converted": lambda: orbax_tree.load_tree(converted, like),
        }
        tree = starts["published"]()
        orbax_tree.save_tree(converted, tree)
        seconds = {name: [] for name in starts}
        for _ in range(args.repeats):
            for name, start in starts.items():
                begin = time.perf_counter()
                again = jax.block_until_ready(start())
                seconds[name].append(time.perf_counter() - begin)
                same = jax.tree.map(lambda a, b: bool((a == b).all()), tree, again)
                assert all(jax.tree.leaves(same)), f"{name}: not the tree that was written"
                del again
        size = {
            "published": published.stat().st_size,
            "converted": sum(x.nbytes for x in jax.tree.leaves(tree)),
        }
    best = {name: min(times) for name, times in seconds.items()}
    for name in starts:
        print(f"{name}: {size[name] / 1e9:.2f} GB, {best[name]:.2f} s (best of {args.repeats})")
    print(f"converted starts take {best['converted'] / best['published']:.2f} of the time")


if __name__ == "__main__":
    main()
