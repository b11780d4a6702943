"""What the values of options are: numbers, seconds, sizes and meshes, each from a text, with an error in one line for another text."""

import argparse
import dataclasses
import math
import re

from v2v.config import MeshConfig

# Heights and widths that stand for an area, of the clip's aspect.
AREAS = {"480p": (480, 832), "720p": (704, 1280)}


def parse_integer(text: str) -> int:
    """Parse a whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, got '{text}'") from None


def parse_number(text: str) -> float:
    """Parse a finite number."""
    try:
        if math.isfinite(number := float(text)):
            return number
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected a number, got '{text}'")


def parse_seconds(text: str) -> float:
    """Parse seconds, M:SS or H:MM:SS."""
    match = re.fullmatch(r"(?:(\d{1,6}):)?(\d{1,6}):(\d{1,2}(?:\.\d+)?)", text)
    if match and float(match[3]) < 60:
        return 3600 * int(match[1] or 0) + 60 * int(match[2]) + float(match[3])
    try:
        return parse_number(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"expected seconds such as 2.5 or 0:02.5, got '{text}'") from None


def parse_working_size(text: str) -> dict[str, int | bool]:
    """Parse as `parse_size`, or "480p", "720p" and "720px121": an area, and clips of their own aspect."""
    area, _, frames = text.lower().partition("px")
    area = area if not frames else f"{area}p"
    if area in AREAS and (not frames or re.fullmatch(r"[1-9]\d{0,8}", frames)):
        height, width = AREAS[area]
        return {"height": height, "width": width, "any_aspect": True} | (
            {"frames": int(frames)} if frames else {}
        )
    return {**parse_size(text)}


def parse_mesh(text: str) -> dict[str, int]:
    """Parse "data=2,seq=4" into sizes by mesh axis; "one" is every axis of size 1."""
    names = [field.name for field in dataclasses.fields(MeshConfig)]
    if text == "one":
        return dict.fromkeys(names, 1)
    axes = "|".join(names)
    if not re.fullmatch(rf"({axes})=[1-9]\d{{0,4}}(,({axes})=[1-9]\d{{0,4}})*", text):
        raise argparse.ArgumentTypeError(
            f"expected axes of {', '.join(names)} and their sizes such as data=2,seq=4, got '{text}'"
        )
    pairs = [part.split("=") for part in text.split(",")]
    if len({axis for axis, _ in pairs}) < len(pairs):
        raise argparse.ArgumentTypeError(f"expected each axis once, got '{text}'")
    return {axis: int(size) for axis, size in pairs}


def parse_size(text: str) -> dict[str, int]:
    """Parse "WxH" or "WxHxFRAMES" into the fields of a model's configuration."""
    if not re.fullmatch(r"[1-9]\d{0,8}(x[1-9]\d{0,8}){1,2}", text.lower()):
        raise argparse.ArgumentTypeError(
            f"expected WxH or WxHxFRAMES, whole numbers from 1 on such as 1280x704x121, got '{text}'"
        )
    return dict(zip(("width", "height", "frames"), map(int, text.lower().split("x")), strict=False))
