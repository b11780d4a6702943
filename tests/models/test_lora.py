"""Several adapters at once: ranks side by side, exact, and in programs that exist already."""

import dataclasses

import jax
import numpy as np
import pytest

from v2v.checkpoints import parameter_store
from v2v.checkpoints.adapters import Adapter
from v2v.config import LoRAConfig
from v2v.models import lora

L, D_IN, D_OUT = 2, 6, 5


def base():
    rng = np.random.default_rng(0)
    return {
        "blocks": {
            "ffn": {n: {"kernel": rng.standard_normal((L, D_IN, D_OUT), np.float32)} for n in ("up", "down")}
        }
    }


def adapter(seed, rank, names=("up", "down")):
    rng = np.random.default_rng(seed)
    layers = {
        n: {
            "a": rng.standard_normal((L, D_IN, rank), np.float32),
            "b": rng.standard_normal((L, rank, D_OUT), np.float32),
        }
        for n in names
    }
    return {"blocks": {"ffn": layers}}


def test_combined_is_the_sum_of_the_updates_not_their_average():
    one, two, scales = adapter(1, 3), adapter(2, 4, ("up",)), (0.7, -1.5)
    merged = lora.merge_adapter(
        base(), lora.combine_adapters([(one, scales[0]), (two, scales[1])], multiple=8), 1.0
    )
    for name in ("up", "down"):
        expected = base()["blocks"]["ffn"][name]["kernel"].copy()
        for tree, scale in ((one, scales[0]), (two, scales[1])):
            if name in tree["blocks"]["ffn"]:
                low = tree["blocks"]["ffn"][name]
                expected += scale * (low["a"] @ low["b"])
        np.testing.assert_allclose(merged["blocks"]["ffn"][name]["kernel"], expected, atol=1e-5)


def test_ranks_are_filled_up_with_zeros():
    combined = lora.combine_adapters([(adapter(1, 3), 1.0), (adapter(2, 4), 1.0)], multiple=8)["blocks"][
        "ffn"
    ]["up"]
    assert combined["a"].shape == (L, D_IN, 8) and combined["b"].shape == (L, 8, D_OUT)
    assert not combined["a"][..., 7].any() and not combined["b"][:, 7].any()


def test_switching_adapters_and_weights_compiles_nothing():
    tree = jax.device_put(base())
    pairs = [((1, 3, 1.0), (2, 4, 0.5)), ((3, 4, 0.2), (4, 4, -1.0)), ((5, 2, 1.0), (6, 9, 0.1), (7, 1, 3.0))]
    sizes, results = [], []
    for parts in pairs:
        strengths = tuple((Adapter(adapter(seed, rank), 0.5), weight) for seed, rank, weight in parts)
        results.append(
            np.asarray(parameter_store.merge_adapters(tree, strengths)["blocks"]["ffn"]["up"]["kernel"])
        )
        sizes.append(parameter_store._merge._cache_size())
    assert len(set(sizes)) == 1 and not np.allclose(results[0], results[1])
    expected = base()["blocks"]["ffn"]["up"]["kernel"]
    for seed, rank, weight in pairs[0]:
        low = adapter(seed, rank)["blocks"]["ffn"]["up"]
        expected = expected + 0.5 * weight * (low["a"] @ low["b"])
    np.testing.assert_allclose(results[0], expected, atol=1e-5)


def test_another_backbone_is_named():
    wrong = lora.combine_adapters([(adapter(1, 2, ("up", "gate")), 1.0), (adapter(2, 2), 1.0)])
    with pytest.raises(ValueError, match="blocks/ffn/gate.*no such layer"):
        lora.merge_adapter(base(), wrong, 1.0)


def test_layers_may_have_ranks_of_their_own():
    cfg = LoRAConfig(rank=4, targets="blocks/ffn", ranks=("ffn/up=2", "up=3"))
    with pytest.raises(ValueError, match=r"ranks up=3: matches none of the layers left"):
        lora.init_lora(jax.random.key(0), base(), cfg)
    cfg = dataclasses.replace(cfg, ranks=("ffn/up=2",))
    layers = lora.init_lora(jax.random.key(0), base(), cfg)["blocks"]["ffn"]
    assert layers["up"]["a"].shape == (L, D_IN, 2) and layers["up"]["b"].shape == (L, 2, D_OUT)
    assert layers["down"]["a"].shape == (L, D_IN, 4)
    for wrong in ("ffn", "=3", "ffn=0", "ffn=x"):
        with pytest.raises(ValueError, match="expected REGEX=RANK"):
            LoRAConfig(ranks=(wrong,))


def test_alpha_is_divided_by_the_rank_or_its_square_root():
    assert LoRAConfig(rank=64, alpha=32).scale == 0.5
    assert LoRAConfig(rank=64, alpha=32, rank_stabilized=True).scale == 4
    with pytest.raises(ValueError, match="changes nothing without alpha"):
        LoRAConfig(rank_stabilized=True)
