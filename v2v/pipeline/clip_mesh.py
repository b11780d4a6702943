"""The mesh of devices that edit one clip together, chosen by what fits and sends least.

A clip's tokens are split over `seq`, heads and weights over `tensor`; the autoencoder's frames are split over both. In a pass of the transformer
each device sends, with l tokens of width d in L layers of S x T devices,

    seq      4 L (l/S) (d/T) (S-1)/S numbers      queries, keys, values and results change places (models/attention_kernels/parallel.py)
    tensor   3 L 2 (l/S) d (T-1)/T numbers        sums of two attentions and the MLP

so tokens are split first, and weights only as far as they don't fit whole.
"""

import math
from collections.abc import Callable, Iterator, Mapping

from v2v.config import ModelConfig


def find_clip_mesh(
    config: ModelConfig, tokens: int, devices: int, fits: Callable[[Mapping[str, int]], bool]
) -> dict[str, int]:
    """Return sizes of the mesh axes by name that sends least among those that fit; without any that fits, the one that needs least memory.

    Args:
      config: the model.
      tokens: joint tokens of a clip.
      devices: number of devices. Of those that heads can't be divided over, some repeat the others' work (axis data).
      fits: whether an edit fits on such a mesh.
    """
    candidates = sorted(
        clip_meshes(config, devices),
        key=lambda axes: (axes["data"], sent_bytes(config, tokens, axes["seq"], axes["tensor"])),
    )
    most_split = max(candidates, key=lambda axes: axes["tensor"])
    return next((axes for axes in candidates if fits(axes)), most_split)


def clip_meshes(config: ModelConfig, devices: int) -> Iterator[dict[str, int]]:
    """Yield the meshes of so many devices on which a clip's tokens, heads and weights divide."""
    sizes = [n for n in range(1, devices + 1) if devices % n == 0]
    for seq in sizes:
        for tensor in sizes:
            splits_weights = (
                config.dit.ffn_width % tensor
                == config.text.heads % tensor
                == config.text.ffn_width % tensor
                == 0
            )
            if devices % (seq * tensor) == 0 and config.dit.heads % (seq * tensor) == 0 and splits_weights:
                yield {"data": devices // (seq * tensor), "seq": seq, "tensor": tensor}


def sent_bytes(config: ModelConfig, tokens: int, seq: int, tensor: int) -> float:
    """Return the bytes that a device sends in a pass of the transformer.

    Args:
      config: the model.
      tokens: joint tokens of the clips.
      seq: devices over which tokens are split.
      tensor: devices over which heads and weights are split.
    """
    share, width = math.ceil(tokens / seq), config.dit.width
    exchanged = 4 * share * width / tensor * (seq - 1) / seq
    summed = 3 * 2 * share * width * (tensor - 1) / tensor
    return config.dit.layers * (exchanged + summed) * (4 if config.dit.dtype == "float32" else 2)
