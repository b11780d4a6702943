"""`--memory`: the fastest setting of a run that fits a kind of device, told at the start."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, Literal, get_args

from v2v.config import MemoryName
from v2v.errors import InputError, note

# Options of the command line by what is chosen; those that are given stay as they are.
OPTIONS = {
    "remat": "--model.dit.remat",
    "weights_dtype": "--weights-dtype",
    "weights_memory": "--weights-memory",
    "moments": "--edit.optim.moments",
    "micro": "--edit.micro",
}


def resolve_memory(config: Any, words: Sequence[str], devices: int) -> Any:
    """Return an experiment with the settings that `memory` stands for; unchanged where it is not given.

    Args:
      config: the experiment.
      words: those of the command line that set its fields.
      devices: number of devices that it runs on.

    Raises:
      InputError: nothing fits, with the smallest device that would do.
    """
    name: MemoryName | Literal[""] = getattr(config, "memory", "")
    if not name:
        return config
    from v2v.planning import report, train_memory

    option_names = {re.sub("_", "-", word.partition("=")[0]) for word in words}
    fixed = [choice for choice, option in OPTIONS.items() if option in option_names]
    setting = report.build_setting(config, "train")
    try:
        preset = train_memory.choose_preset(setting, train_memory.chip_of_memory(name), fixed, devices)
    except InputError as error:
        raise InputError(f"--memory {name}: {error}; {_remedy(config, name, fixed, devices)}") from None
    s = preset.setting
    resolved = dataclasses.replace(
        config,
        model=s.model,
        weights_dtype=s.weights_dtype,
        weights_memory=s.weights_memory,
        edit=dataclasses.replace(config.edit, micro=s.micro, optim=s.optim),
    )
    note(f"--memory {name}: {train_memory.describe_preset(preset)}")
    return resolved


def _remedy(config: Any, name: MemoryName, fixed: Sequence[str], devices: int) -> str:
    """Return the smallest device of the same vendor on which a run fits, and what else helps."""
    from v2v.planning import report, train_memory

    setting, platform = report.build_setting(config, "train"), train_memory.chip_of_memory(name).platform
    others = sorted(
        (chip.hbm, other)
        for other in get_args(MemoryName)
        if (chip := train_memory.chip_of_memory(other)).platform == platform
    )
    for _, other in others:
        try:
            train_memory.choose_preset(setting, train_memory.chip_of_memory(other), fixed, devices)
        except InputError:
            continue
        return f"--memory {other} fits, or fewer frames (--model.frames), smaller ones, a lower rank (--model.lora.rank)"
    return "no device that --memory knows fits: fewer frames (--model.frames), smaller ones, or more devices"
