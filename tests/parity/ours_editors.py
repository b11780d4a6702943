"""Our answers to the questions of published_editors.py, by the sampler that `v2v edit` runs, in float32."""

import dataclasses
import functools

import numpy as np

from tests.parity import published_editors, tiny
from v2v.checkpoints import name_mapping, wan
from v2v.checkpoints.flat_tree import unflatten_tree
from v2v.config import ConditionConfig, FlowConfig
from v2v.diffusion.sampler import LowNoise, Sampler

# The high-noise expert, at and above this flow time, and the low-noise one.
TWO_EXPERTS, BOUNDARY = "bernini/two experts", 0.875
CASES = (
    TWO_EXPERTS,
    *(f"bernini/{name}" for name in published_editors.BERNINI_CASES),
    *(f"kiwi/{name}" for name in published_editors.KIWI_CASES),
)


@functools.cache
def params(*, is_low: bool = False) -> dict:
    """Return our tree of the tiny transformer, or of the low-noise one that compare_editors.py derives from it."""
    cfg = tiny.config()
    published = tiny.tensors("dit", cfg)
    if is_low:
        published = {name: np.float32(0.7) * np.roll(x, 1, -1) for name, x in published.items()}
    shapes = wan.parameter_shapes("dit", cfg)
    flat = {path: np.empty(shape, np.float32) for path, shape in shapes.items()}
    for entry in name_mapping.map_tensors("dit", shapes, cfg, "diffusers"):
        shape = shapes[entry.path]
        row = ... if entry.layer is None else entry.layer
        flat[entry.path][row] = entry.ours(published[entry.name], shape if entry.layer is None else shape[1:])
    return unflatten_tree(flat)


def sample(case: str, answers) -> np.ndarray:
    """Return the sampled latents of a case, [1, t, y, x, Z]; `answers` has the noise."""
    editor, _, name = case.partition("/")
    low = None
    if editor == "bernini":
        mode, shown = published_editors.BERNINI_CASES["rv2v" if case == TWO_EXPERTS else name]
        condition = ConditionConfig(layout="segments", time="same")
        flow = FlowConfig(shift=published_editors.SHIFT, solver="unipc", schedule="diffusers")
        if case == TWO_EXPERTS:
            flow = dataclasses.replace(flow, boundary=BOUNDARY)
            low = LowNoise(
                lambda: {"params": params(is_low=True), "embed": {}},
                published_editors.LOW_NOISE * published_editors.SCALES["prompt"],
                published_editors.LOW_NOISE,
            )
        text, null = published_editors.texts()
        embed, guidance = {}, published_editors.SCALES["prompt"]
    else:
        is_first, shown = published_editors.KIWI_CASES[name]
        condition = ConditionConfig(
            layout="scaled_add", time="same", context="stored", reference="before" if is_first else "after"
        )
        flow = FlowConfig(shift=published_editors.SHIFT, solver="euler", schedule="diffsynth")
        text = null = published_editors.context()
        mode, guidance, width = "prompt", 1.0, tiny.config().dit.width
        embed = {
            key: {"kernel": weight.reshape(width, -1).T, "bias": bias}
            for key in ("source", "reference")
            for weight, bias in [published_editors.embedder(key)]
        }
    cfg = dataclasses.replace(tiny.config(), condition=condition, flow=flow)
    conditions = {key: published_editors.latents(key, editor) for key in shown}
    output = Sampler(cfg)(
        {"params": params(), "embed": embed}, answers[f"{editor}/noise"], text, null, conditions, published_editors.STEPS, guidance,
        low=low, mode=mode, guidance_reference=published_editors.SCALES["reference"],
        guidance_source=published_editors.SCALES["source"],
    )  # fmt: skip
    return np.asarray(output.latents)
