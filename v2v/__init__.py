"""Instruction-based video editing in JAX, after EasyV2V (arXiv 2512.16920).

Two sentences say what is here, and each arrow is one file:

    video -> latents -> tokens -> DiT -> velocity -> sampler -> video      `v2v.pipeline.editor` has the whole flow on one page
    pair -> array_record -> grain -> batch -> train step -> LoRA           `v2v.train.loop`

    codec/     files and frames, frames and latents, instructions and embeddings, small edits and large ones
    model/     tokens, positions, attention, the video DiT, LoRA
    flow/      the path between noise and data, the loss, guidance, the sampler
    weights/   published and embedded weights, adapters
    data/      the pair record, and how pairs become batches
    train/     one step, the loop, checkpoints
    evaluation/ metrics and reports

Names below are imported when first used, so that `import v2v` costs nothing.
"""

import importlib

__version__ = "0.1.0"

_HOME = {
    "EasyV2VEditor": "v2v.pipeline.editor",
    "lora_context": "v2v.pipeline.editor",
    "Video": "v2v.video.video",
    "read": "v2v.video.video:read_video",
    "write": "v2v.video.video:write_video",
    "InputError": "v2v.errors",
    "load_pretrained": "v2v.pipeline.pretrained",
    "ModelConfig": "v2v.config",
    "Pair": "v2v.data.pair",
}
__all__ = list(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'v2v' has no attribute '{name}'; it has {', '.join(__all__)}")
    module, _, symbol = _HOME[name].partition(":")
    return getattr(importlib.import_module(module), symbol or name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
