"""`v2v edit --looks`: what a model can do, as a list and as a contact sheet with a picture of each look."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from v2v.errors import InputError, collect_notes
from v2v.pipeline.editor import EasyV2VEditor
from v2v.pipeline.instruction import title_of
from v2v.pipeline.settings import EditRequest
from v2v.video import inputs
from v2v.video.video import Video

# Pixels of the contact sheet: height of a picture, height of its title, and the gap between pictures.
HEIGHT, TITLE_HEIGHT, GAP = 180, 22, 6
COLUMNS = 4


def list_looks(editor: EasyV2VEditor, clip: str, sheet: str | None, *, quiet: bool = False) -> dict[str, Any]:
    """List what a model can do; draw a contact sheet if one is asked for.

    Args:
      editor: the editor.
      clip: the file whose first frame is edited, "sample" for the clip that comes with the package.
      sheet: the picture to write; None for none.
      quiet: don't print the list beside the path of the sheet.

    Returns:
      The report.

    Raises:
      InputError: a model without a list of abilities, or a clip that can't be read.
    """
    abilities = editor.model.abilities
    if abilities is None:
        raise InputError(
            f"looks: {editor.model.config.name} brings no list of what it can do; it reads any sentence, so try one"
        )
    looks = {
        title_of(name): {"say": abilities.looks[name].say, "psnr": abilities.looks[name].psnr}
        for name in abilities.able_looks
    }
    lines = [f'{title:32} {look["psnr"]:4.1f} dB   "{look["say"]}"' for title, look in looks.items()]
    report: dict[str, Any] = {"looks": looks, "about": abilities.about}
    if sheet is None:
        return {"output": "\n".join(lines), **report}
    frame = read_first_frame(clip)
    tiles = [draw_tile("source", frame)]
    for name in abilities.able_looks:
        if name == "palette":  # looks like whatever picture is given
            continue
        with collect_notes():
            edited = editor.edit(EditRequest(frame[None], abilities.looks[name].say)).in_memory()
        tiles.append(draw_tile(title_of(name), np.asarray(edited.video.frames)[0]))
    Video.from_array(join_tiles(tiles)[None], 25.0).save(Path(sheet))
    return {"output": sheet if quiet else "\n".join([*lines, sheet]), **report}


def read_first_frame(clip: str) -> np.ndarray:
    """Return the first frame of a clip, uint8 [H, W, 3]."""
    frames: list[np.ndarray] = []
    request = EditRequest(clip, "")
    inputs.open_clip(request.video, request.fps, lambda frame: frames.append(frame) if not frames else None)
    return frames[0]


def draw_tile(title: str, frame: np.ndarray) -> np.ndarray:
    """Return a frame under its title, uint8 [TITLE_HEIGHT + HEIGHT, w, 3]."""
    width = max(1, round(frame.shape[1] * HEIGHT / frame.shape[0]))
    method = cv2.INTER_AREA if frame.shape[0] > HEIGHT else cv2.INTER_LINEAR
    tile = np.full((TITLE_HEIGHT + HEIGHT, width, 3), 255, np.uint8)
    tile[TITLE_HEIGHT:] = cv2.resize(frame, (width, HEIGHT), interpolation=method)
    cv2.putText(tile, title, (2, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return tile


def join_tiles(tiles: list[np.ndarray]) -> np.ndarray:
    """Return tiles of one size in rows of `COLUMNS`, with even numbers of rows and columns of pixels."""
    padded = [np.pad(tile, ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for tile in tiles]
    padded += [np.full_like(padded[0], 255)] * (-len(padded) % COLUMNS)
    rows = [np.concatenate(padded[i : i + COLUMNS], 1) for i in range(0, len(padded), COLUMNS)]
    sheet = np.concatenate(rows)
    return np.pad(sheet, ((0, sheet.shape[0] % 2), (0, sheet.shape[1] % 2), (0, 0)), constant_values=255)
