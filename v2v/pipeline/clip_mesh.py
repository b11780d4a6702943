"""The mesh of devices that edit one clip together, chosen by what fits and sends least.

The branches of guidance are split over `data`, a clip's tokens over `seq`, heads and weights over `tensor`; the autoencoder's frames are split over all
three. In a step of the sampler with B branches each device sends, with l tokens of width d in L layers of D x S x T devices,

    data     one velocity of the latents          below a hundredth of the others
    seq      B/D 4 L (l/S) (d/T) (S-1)/S numbers  queries, keys, values and results change places (models/attention_kernels/parallel.py)
    tensor   B/D 3 L 2 (l/S) d (T-1)/T numbers    sums of two attentions and the MLP

so branches are split first, then tokens, and weights only as far as they don't fit whole.

Of the 5B model's 50 steps at 81x480x832 on v5e:2x4 with data=2 and seq=4 these formulas make 115.9 GB. The program that libtpu compiles sends 119.8 by
all-to-all, and 3.9 more: by collective-permute 2.9, all-reduce 0.8, all-gather 0.2 (tools/checks/compile_edit.py).
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping

from v2v.checkpoints import parameter_store
from v2v.config import ModelConfig, WeightsDtype
from v2v.pipeline import memory_plan
from v2v.pipeline.memory_plan import ClipShape
from v2v.pipeline.model import EditingModel
from v2v.runtime import host_memory, sharding

# Joint tokens a device below which more devices would mostly wait for one another.
TOKENS_A_DEVICE = 512


def find_clip_axes(
    model: EditingModel, devices: int, weights_dtype: WeightsDtype | None = None, branches: int | None = None
) -> dict[str, int]:
    """Return the sizes of mesh axes on which one clip of a model is edited, by what fits and sends least.

    Args:
      model: the model; its weights need not be loaded.
      devices: number of devices at hand; the axes multiply to as many or, where heads don't divide over them, fewer.
      weights_dtype: type that its weights are stored in.
      branches: passes of guidance in a step that devices may share; None for the model's.
    """
    config = model.config
    shape = ClipShape.of(config, model.conditions)
    if shape.tokens < TOKENS_A_DEVICE * devices:
        return dict.fromkeys(sharding.AXES, 1)
    memory = host_memory.local_memory()

    def fits(axes: Mapping[str, int]) -> bool:
        sizes = parameter_store.part_bytes(config, sharding.abstract_mesh(axes), weights_dtype)
        split = axes["seq"] * axes["tensor"]
        all_devices = split * axes["data"]
        return memory_plan.plan_edit(
            config, shape, sizes, memory, all_devices, tileable=all_devices == 1, sampling_devices=split
        ).fits

    if branches is None:
        branches = 1 if config.flow.guidance == 1 else 2
    return find_clip_mesh(config, shape.tokens, devices, fits, branches)


def find_clip_mesh(
    config: ModelConfig,
    tokens: int,
    devices: int,
    fits: Callable[[Mapping[str, int]], bool],
    branches: int = 2,
) -> dict[str, int]:
    """Return sizes of the mesh axes by name that sends least among those that fit; without any that fits, the one that needs least memory.

    Args:
      config: the model.
      tokens: joint tokens of a clip.
      devices: number of devices at hand. As many as possible are used, fewer where branches and heads can't be divided over all.
      fits: whether an edit fits on such a mesh.
      branches: passes of guidance in a step that differ in their sentence alone.
    """
    candidates = sorted(
        clip_meshes(config, devices, branches),
        key=lambda axes: (-math.prod(axes.values()), step_bytes(config, tokens, axes, branches)),
    )
    most_split = max(candidates, key=lambda axes: axes["tensor"])
    return next((axes for axes in candidates if fits(axes)), most_split)


def clip_meshes(config: ModelConfig, devices: int, branches: int = 2) -> Iterator[dict[str, int]]:
    """Yield the meshes of at most so many devices on which a clip's branches, tokens, heads and weights divide."""
    sizes = range(1, devices + 1)
    for data, seq, tensor in itertools.product((n for n in sizes if branches % n == 0), sizes, sizes):
        splits_weights = (
            config.dit.ffn_width % tensor == config.text.heads % tensor == config.text.ffn_width % tensor == 0
        )
        if data * seq * tensor <= devices and config.dit.heads % (seq * tensor) == 0 and splits_weights:
            yield {"data": data, "seq": seq, "tensor": tensor}


def step_bytes(config: ModelConfig, tokens: int, axes: Mapping[str, int], branches: int = 2) -> float:
    """Return the bytes that a device sends in a step of the sampler, velocities aside.

    Args:
      config: the model.
      tokens: joint tokens of the clips.
      axes: sizes of the mesh's axes.
      branches: passes of guidance in a step.
    """
    passes = branches / shared_branches(axes, branches)
    return passes * sent_bytes(config, tokens, axes["seq"], axes["tensor"])


def shared_branches(axes: Mapping[str, int], branches: int) -> int:
    """Return over how many groups of devices the branches of one clip are split."""
    groups = axes["data"] * axes.get("fsdp", 1)
    return groups if branches % groups == 0 else 1


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
