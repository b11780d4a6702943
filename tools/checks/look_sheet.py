"""Draw a contact sheet of all looks, weather and overlays on a clip, for people to look at; print how far each changes it, and how fast.

python tools/checks/look_sheet.py sheet.png                      # the sample clip
python tools/checks/look_sheet.py sheet.png --clip my.mp4 --height 480 --only sketch,fog
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

import v2v
from data_synth import footage
from data_synth.operators.looks import LOOKS, apply_look
from data_synth.operators.overlays import add_overlay
from data_synth.operators.photometric import PHOTOMETRIC
from data_synth.operators.weather import WEATHER
from data_synth.recipes.overlays import OVERLAYS
from data_synth.rng import build_rng

# Frames that are drawn, of which the last is shown.
_FRAMES = 5
_TITLE_HEIGHT, _BACKGROUND = 20, 255


def main() -> None:
    """Write the sheet that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sheet", help="PNG file to write")
    parser.add_argument(
        "--clip", default=str(Path(v2v.__file__).parent / "assets" / "sample.mp4"), help="video file"
    )
    parser.add_argument(
        "--height", type=int, default=360, help="height in pixels at which the operators work"
    )
    parser.add_argument("--tile", type=int, default=180, help="height of a picture on the sheet")
    parser.add_argument("--columns", type=int, default=6)
    parser.add_argument("--only", default="", help="names with commas between them")
    args = parser.parse_args()

    video = footage.decode_clip(args.clip)
    _, height, width, _ = video.frames.shape
    size = args.height, max(1, round(width * args.height / height))
    source = footage.select_frames(video, range(min(_FRAMES, len(video.frames))), *size)
    operators = list_operators()
    names = args.only.split(",") if args.only else list(operators)
    pictures = [draw_tile("source", source[-1], args.tile)]
    for name in names:
        start = time.perf_counter()
        edited = operators[name](source)
        seconds = (time.perf_counter() - start) / len(source)
        change = np.abs(edited.astype(int) - source).mean()
        print(f"{name:28} mean change {change:5.1f} levels, {1000 * seconds:6.1f} ms a frame")
        pictures.append(draw_tile(name, edited[-1], args.tile))
    pictures += [np.full_like(pictures[0], _BACKGROUND)] * (-len(pictures) % args.columns)
    rows = [np.concatenate(pictures[i : i + args.columns], 1) for i in range(0, len(pictures), args.columns)]
    cv2.imwrite(args.sheet, np.concatenate(rows)[..., ::-1])


def list_operators() -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Return every operator by name, with a generator of its own."""
    operators: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    for name in PHOTOMETRIC:
        if name != "palette":  # needs a reference picture
            operators[name] = functools.partial(_draw_photometric, name)
    for name in LOOKS:
        operators[name] = functools.partial(_draw_look, name)
    for name in WEATHER:
        operators[name] = functools.partial(_draw_weather, name)
    for name in OVERLAYS:
        operators[name] = functools.partial(_draw_overlay, name)
    return operators


def draw_tile(title: str, frame: np.ndarray, height: int) -> np.ndarray:
    """Return a frame at a height under its title."""
    width = max(1, round(frame.shape[1] * height / frame.shape[0]))
    tile = np.full((height + _TITLE_HEIGHT, width + 4, 3), _BACKGROUND, np.uint8)
    tile[_TITLE_HEIGHT:, :width] = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    cv2.putText(tile, title, (2, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return tile


def _draw_photometric(name: str, video: np.ndarray) -> np.ndarray:
    return PHOTOMETRIC[name](video, None)


def _draw_look(name: str, video: np.ndarray) -> np.ndarray:
    return apply_look(name, video, build_rng(0, name))


def _draw_weather(name: str, video: np.ndarray) -> np.ndarray:
    return WEATHER[name](video, build_rng(0, name), None)


def _draw_overlay(name: str, video: np.ndarray) -> np.ndarray:
    layers, _ = OVERLAYS[name](build_rng(0, name), *video.shape[:3])
    return add_overlay(video, layers)


if __name__ == "__main__":
    main()
