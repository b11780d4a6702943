"""What a block keeps for its backward pass: presets, maps, and what is no map."""

import jax
import jax.numpy as jnp
import pytest

from v2v.config import REMAT_TENSORS, DiTConfig, remat_places
from v2v.models.rematerialization import keep, remat_policy


def test_a_preset_is_a_map():
    assert remat_places("full") == dict.fromkeys(REMAT_TENSORS, "recompute") | {"layer_input": "device"}
    assert remat_places("outputs") == remat_places("self_attention=device") != remat_places("offload_outputs")
    assert remat_places("ffn_up = device,layer_input=host")["layer_input"] == "host"


@pytest.mark.parametrize(
    "wrong", ["", "most", "q", "q=disk", "p=device", "q=device,q=host", "layer_input=recompute"]
)
def test_what_is_no_map_is_refused(wrong):
    with pytest.raises(ValueError, match="remat: expected none, dots"):
        DiTConfig(remat=wrong)


def test_the_policy_keeps_what_the_map_names():
    def body(x, w):
        x = keep(x, "layer_input")
        return keep(jnp.sin(x @ w), "q") + jnp.cos(keep(x * 2, "v")), None

    def residuals(remat):
        checkpointed = jax.checkpoint(body, policy=remat_policy(remat), prevent_cse=False)
        _, pullback = jax.vjp(
            lambda x: jax.lax.scan(checkpointed, x, jnp.ones((3, 4, 4)))[0], jnp.ones((2, 4))
        )
        return sorted(
            (x.shape, x.sharding.memory_kind) for x in jax.tree.leaves(pullback) if x.shape == (3, 2, 4)
        )

    kinds = {name: [kind for _, kind in residuals(name)] for name in ("full", "q=device", "layer_input=host")}
    default = jnp.ones(()).sharding.memory_kind
    assert kinds["full"] == [default] and kinds["layer_input=host"] == ["pinned_host"], kinds
    assert len(kinds["q=device"]) >= 1
