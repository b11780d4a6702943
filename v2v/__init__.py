"""Instruction-based video editing in JAX, after EasyV2V (arXiv 2512.16920).

    video -> latents -> tokens -> transformer -> velocity -> sampler -> video      start at `v2v.pipeline.editor`
    pair -> array_record -> grain -> batch -> train step -> LoRA                   start at `v2v.train.stages`

v2v/README.md is the map of the packages.

Names below are imported when first used, so that `import v2v` costs nothing; `__init__.pyi` tells them to type checkers.
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
