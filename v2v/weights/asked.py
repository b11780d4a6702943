"""A model as it is asked for: another clip size, dtype or sampler than its own. folder.py, export.py → **asked** → pretrained.py"""

import dataclasses
import os
import warnings

from v2v.config import ModelConfig
from v2v.errors import InputError


def settled(cfg: ModelConfig, settings: dict) -> ModelConfig:
    """`cfg` with the settings that are not None. More frames than it has seen are refused, a larger picture is warned of."""
    given = {name: value for name, value in settings.items() if value is not None}
    frames, height, width = (
        max(most, own) for most, own in zip(cfg.largest, (cfg.frames, cfg.height, cfg.width), strict=True)
    )
    if given.get("frames", 1) > frames:
        raise InputError(
            f"size: {cfg.name} has learnt positions of {frames} frames, got {given['frames']}; longer clips are edited in windows anyway"
        )
    flow = {f.name for f in dataclasses.fields(cfg.flow)} & given.keys()
    for part in ("dit", "text") if "dtype" in given else ():
        cfg = dataclasses.replace(
            cfg, **{part: dataclasses.replace(getattr(cfg, part), dtype=given["dtype"])}
        )
    given.pop("dtype", None)
    try:
        cfg = dataclasses.replace(cfg, flow=dataclasses.replace(cfg.flow, **{n: given.pop(n) for n in flow}))
        cfg = dataclasses.replace(cfg, **given)
    except ValueError as err:
        raise InputError(f"model: {err}; choose another size") from err
    least = (
        12 * cfg.batch * cfg.frames * cfg.height * cfg.width / 2**30
    )  # float32 RGB, a small part of what is needed
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    if least > memory:
        raise InputError(
            f"model: clips of {cfg.width}x{cfg.height}x{cfg.frames} need more than {least:.0f} GiB, this machine has {memory:.0f}; "
            "choose a smaller size"
        )
    if cfg.width * cfg.height > width * height:
        warnings.warn(
            f"{cfg.name} has seen pictures up to {width}x{height}; at {cfg.width}x{cfg.height} its edits may be poor",
            stacklevel=3,
        )
    return cfg
