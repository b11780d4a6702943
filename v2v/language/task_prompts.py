"""Sentences that stand before an instruction, by which a published editor was told its task in training.

Bernini-R reads `prefix + instruction`, joined without a space; what guidance leads away from has no prefix. The strings are part of the
trained model's input, as a vocabulary is, and are those of its release (Apache-2.0).
"""

from typing import Literal, get_args

from v2v.errors import InputError

TaskName = Literal["default", "t2i", "t2v", "i2v", "i2i", "r2i", "r2v", "v2v", "rv2v", "vi2v", "ads2v", "vrc2v", "mv2v"]  # fmt: skip
TASKS: tuple[str, ...] = get_args(TaskName)

_ASSISTANT = "You are a helpful assistant"
_SPECIALTIES = {
    "t2i": "text-to-image generation",
    "t2v": "text-to-video generation",
    "i2v": "image-to-video generation",
    "i2i": "image editing",
    "r2i": "subject-to-image generation",
    "r2v": "subject-to-video generation",
    "v2v": "video editing",
    "rv2v": "video editing with reference",
    "vi2v": "video editing on content propagation",
    "ads2v": "ads insertion",
}
_ADVICE = {
    "vrc2v": "You may need to adjust the subject's action or position.",
    "mv2v": "You might need to adjust the video's style, lighting, colors, textures, and the subject's pose or action.",
}
# What Wan's own tools lead away from where nothing is given (bright colors, overexposure, stills, blur, subtitles, deformed hands and so on).
WAN_NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，残缺的，多余的手指，"
    "画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)


def task_prefix(task: str) -> str:
    """Return the sentence that tells a task.

    Raises:
      InputError: an unknown task.
    """
    if task not in TASKS:
        raise InputError(f"task: expected one of {', '.join(TASKS)}, got {task!r}")
    if task in _ADVICE:
        return f"{_ASSISTANT} for editing. {_ADVICE[task]}"
    specialty = f" specialized in {_SPECIALTIES[task]}" if task in _SPECIALTIES else ""
    return f"{_ASSISTANT}{specialty}."


def choose_task(
    *, has_source: bool, has_reference: bool, is_picture: bool, has_second_source: bool = False
) -> TaskName:
    """Return the task that follows from what an edit is given.

    Args:
      has_source: whether there is a clip or picture to edit.
      has_reference: whether there are references.
      is_picture: whether the result is one picture.
      has_second_source: whether there is a second clip, of which something is put into the first.
    """
    if has_second_source:
        return "ads2v"
    if has_source:
        return "i2i" if is_picture else "rv2v" if has_reference else "v2v"
    if has_reference:
        return "r2i" if is_picture else "r2v"
    return "t2i" if is_picture else "t2v"
