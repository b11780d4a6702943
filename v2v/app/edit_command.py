"""The `v2v edit` line that makes the same clip as a job, from the job's files."""

import dataclasses
import shlex
from typing import Any

from v2v.app.job import Job
from v2v.app.model_choice import read_adapter
from v2v.app.page_info import PageInfo
from v2v.pipeline.settings import DIFFUSERS_NAMES, EditSettings

# Options whose flag says the opposite of the setting, or has no value.
_FLAGS = {"preserve": (False, "--no-preserve"), "invert_mask": (True, "--invert-mask"), "anyway": (True, "--anyway")}  # fmt: skip


def format_command(job: Job, info: PageInfo, output: str = "edited.mp4") -> str:
    """Return the line, quoted for a shell; it runs in a folder that holds the job's files under their names there.

    Args:
      job: the edit.
      info: the model, others and adapters.
      output: file that the line writes.
    """
    defaults = dataclasses.asdict(EditSettings())
    options: list[str] = []
    if (model := job.settings.get("model", info.model)) != "embedded":
        options += ["--model", model]
    if adapter := job.settings.get("lora"):
        name, weight = read_adapter(adapter, info.adapters)
        for part in info.adapters[name]:
            flag = "--lora" if part.transformer is None else f"--lora-{part.transformer}"
            options += [flag, part.file if weight == 1 else f"{part.file}={weight}"]
    mask = job.files.get("mask", job.settings.get("mask"))
    for name, value in (
        ("--mask", mask),
        ("--reference", job.files.get("reference")),
        ("--first-frame", job.files.get("first_frame")),
    ):
        if value:
            options += [name, value]
    for keyword, value in job.settings.items():
        name = DIFFUSERS_NAMES.get(keyword, keyword)
        if name not in defaults or value == defaults[name]:
            continue
        if name in _FLAGS:
            options += [_FLAGS[name][1]] if value == _FLAGS[name][0] else []
            continue
        options += _format_option(f"--{name.replace('_', '-')}", value)
    # A sentence that begins with a dash would be taken for an option.
    begins = ["--", job.files["video"], job.prompt] if job.prompt.startswith("-") else []
    words = ["v2v", "edit", *([] if begins else [job.files["video"], job.prompt]), "-o", output]
    return shlex.join([*words, *options, *begins])


def _format_option(name: str, value: Any) -> list[str]:
    """Return an option with its value, in one word where the value begins with a dash."""
    text = str(value)
    return [f"{name}={text}"] if text.startswith("-") else [name, text]
