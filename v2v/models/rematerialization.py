"""What the backward pass of a block keeps, and where: tensors by name, in the device's memory, in the host's, or computed again.

`DiTConfig.remat` gives each of `config.REMAT_TENSORS` a place; blocks and attention kernels name theirs with `keep`. What each saves, of the
operations of one LoRA step of the 5B model at 81x480x832, and takes, in bfloat16 but for the input, for 30 layers:

    layer_input                                  6.2 GB   always kept; from it everything else can be computed
    self_attention                               3.1 GB   a tenth: the kernel's result and the statistics that its gradient needs
    q, k, v, attention_output, cross_q,
    cross_attention, cross_output         3.1 GB each   a fiftieth each at most
    ffn_up                                      14.4 GB   a twentieth

The result of the MLP's second layer is not among them: no gradient of an adapter needs it.

In the host's memory they are copied while other blocks compute, where the platform does that. On GPUs such copies have been read back in the
wrong order (openxla/xla 46231), silently: `train/offload_check.py` compares gradients before a run that uses it.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name

from v2v.array_types import Array, Float
from v2v.config import remat_places

# The primitive of cuDNN's forward pass, whose results its gradient takes; it takes no name.
CUDNN_FORWARD = "dot_product_attention_fwd"


def keep(x: Float[Array, "*b"], tensor: str) -> Float[Array, "*b"]:
    """Return x, named as one of `config.REMAT_TENSORS`."""
    return checkpoint_name(x, tensor)


def remat_policy(remat: str) -> Callable[..., Any]:
    """Return the policy of `jax.checkpoint` for a value of `DiTConfig.remat`."""
    places = remat_places(remat)
    on_device, on_host = (
        [name for name, place in places.items() if place == kind] for kind in ("device", "host")
    )
    by_name = jax.checkpoint_policies.save_and_offload_only_these_names(
        names_which_can_be_saved=on_device,
        names_which_can_be_offloaded=on_host,
        offload_src="device",
        offload_dst="pinned_host",
    )

    def policy(primitive: Any, *arguments: Any, **params: Any) -> Any:
        if not primitive.name.startswith(CUDNN_FORWARD):
            return by_name(primitive, *arguments, **params)
        queries, keys = (x.shape[1] for x in arguments[:2])
        # Self-attention is told from that to the text by its keys; kept on the device wherever it is kept.
        return places["self_attention" if keys >= queries else "cross_attention"] != "recompute"

    return policy
