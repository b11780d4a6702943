"""Full updates inside LoRA files ↔ our tree: what isn't a matrix has no low rank. lora_files.py → **deltas** → pretrained.py

Tools that subtract one checkpoint from another store the rest as it is, beside the low-rank factors:
    NAME.diff        added to NAME.weight (gains of norms, the patch convolution), or to NAME itself (modulation tables)
    NAME.diff_b      added to NAME.bias
    NAME.lora_B.bias  PEFT's `lora_bias`: added to NAME.bias, times alpha/r
Here they are a tree with our parameters' paths and shapes, holding only what a file brings; layers it leaves out are zero.
"""

import flax
import numpy as np

from v2v.config import ModelConfig
from v2v.weights import names, wan


def homes(config: ModelConfig) -> dict[str, names.Entry]:
    """Every spelling of a full update of the DiT ("blocks.0.norm3.diff", "blocks_0_norm3.diff") → the tensor it is added to."""
    out = {}
    for layout in names.LAYOUTS:
        for entry in names.entries("dit", wan.shapes("dit", config), config, layout):
            stem, end = entry.name, ".diff"
            if stem.endswith(".bias"):
                stem, end = stem.removesuffix(".bias"), ".diff_b"
            stem = stem.removesuffix(".weight")
            out[stem + end] = out[stem.replace(".", "_") + end] = entry
    return out


def stack(found: dict[names.Entry, np.ndarray], config: ModelConfig) -> dict:
    """Updates in published layout → our tree, float32."""
    shapes, out = wan.shapes("dit", config), {}
    for entry, x in found.items():
        shape = shapes[entry.path]
        leaf = out.setdefault(entry.path, np.zeros(shape, np.float32))
        if entry.layer is None:
            leaf += entry.ours(x, shape)
        else:
            leaf[entry.layer] += entry.ours(x, shape[1:])
    return flax.traverse_util.unflatten_dict(out, sep="/")
