"""Judge edits of a background or a person, on people composited over moving film, so that the exact place is known.

    python tools/checks/score_people.py --people astronaut.png player.png --clips bunny.mp4 street.jpg --out scores [--model DIR]

People are pictures with a transparent background. Each drifts and grows a little over each clip (or picture, panned), and every sentence
edits the composite as `v2v edit` does: the place is found by the mask source, the result is written and read back. Two PSNRs in dB are
printed a row: of the edited side against the look's exact operator (bar 30), and of the other side against the source, beside what the
writer alone makes of it (bar 40). Both again without a band along the outline, whose width is 2 % of the height. Soft pixels of the
outline belong to neither side. A refusal counts as a miss. Rows and a sheet of the worst rows are written to --out.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tyro
from measure_abilities import apply_operator, read_clip

from v2v.errors import InputError, collect_notes
from v2v.pipeline.editor import EasyV2VEditor
from v2v.video import video as codec

# What is said, the look that it means, and whether the person is the edited side.
SENTENCES = (
    ("make the background black and white", "greyscale", False),
    ("blur the background", "blur", False),
    ("turn the background into night", "night", False),
    ("make the person sepia", "sepia", True),
    ("everything but the person in winter", "winter", False),
)
BAND = 0.02


@dataclass
class Args:
    """The command line; the comments are its help."""

    people: tuple[Path, ...]  # pictures with a transparent background
    clips: tuple[Path, ...]  # clips, or pictures that are panned
    out: Path  # folder of rows.jsonl and sheet.png
    model: str = "embedded"  # name or folder
    frames: int = 13  # of each clip
    height: int = 360  # in pixels
    share: float = 0.8  # height of a person as a share of the frame's


def main(args: Args) -> None:
    """Edit every composite by every sentence and print a row each."""
    args.out.mkdir(parents=True, exist_ok=True)
    editor = EasyV2VEditor(args.model)
    rows, tiles = [], []
    print(
        f"{'person':12} {'clip':14} {'sentence':38} {'edited':>13} {'untouched':>13} {'writer':>7}   without the outline in brackets"
    )
    for person in args.people:
        picture = read_picture(person)
        for path in args.clips:
            clip, alpha = composite(read_clip(path, args.frames, args.height), picture, args.share)
            for sentence, look, is_person in SENTENCES:
                row, tile = judge(editor, clip, alpha, sentence, look, is_person, args.out)
                rows.append({"person": person.stem, "clip": path.stem, "sentence": sentence, **row})
                tiles.append((row.get("edited", 0.0), tile))
                print(f"{person.stem:12.12} {path.stem:14.14} {sentence:38} " + format_row(row), flush=True)
    (args.out / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    worst = [cv2.resize(tile, (1440, 270)) for _, tile in sorted(tiles, key=lambda item: item[0])[:12]]
    cv2.imwrite(str(args.out / "sheet.png"), cv2.cvtColor(np.concatenate(worst), cv2.COLOR_RGB2BGR))
    done = [row for row in rows if "refused" not in row]
    for key, bar in (("edited", 30.0), ("untouched", 40.0)):
        for name in (key, key + "_inner"):
            values = np.array([row[name] for row in done])
            print(
                f"{name:16} mean {values.mean():.1f} dB, lowest {values.min():.1f}, at least {bar:g}: {(values >= bar).mean():.0%}"
            )
    print(f"{len(done)} of {len(rows)} edits; the others were refused")


def read_picture(path: Path) -> np.ndarray:
    """Return a picture with its transparency, float32 [h, w, 4] in [0, 1], colors multiplied by alpha, cut to what is opaque.

    Raises:
      InputError: a picture without transparency.
    """
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None or picture.ndim != 3 or picture.shape[2] != 4:
        raise InputError(f"{path}: expected a picture with a transparent background")
    picture = picture[..., [2, 1, 0, 3]].astype(np.float32) / 255
    picture[..., 3] = np.clip((picture[..., 3] - 0.1) / 0.8, 0, 1)
    rows, columns = np.nonzero(picture[..., 3] > 0.5)
    picture = picture[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    picture[..., :3] *= picture[..., 3:]
    return picture


def composite(film: np.ndarray, picture: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return film with a person that drifts over it and grows by a tenth, and the exact alpha.

    Args:
      film: uint8 [T, h, w, 3].
      picture: of `read_picture`.
      share: height of the person as a share of the frame's.

    Returns:
      uint8 [T, h, w, 3], and float32 [T, h, w] in [0, 1].
    """
    count, height, width = film.shape[:3]
    frames, alphas = [], []
    for t, frame in enumerate(film):
        progress = t / max(count - 1, 1)
        scale = min(share * height / picture.shape[0], 0.9 * width / picture.shape[1]) * (1 + 0.1 * progress)
        x = 0.42 * width + 0.16 * width * progress - scale * picture.shape[1] / 2
        y = height - scale * picture.shape[0]
        small = picture
        if scale < 0.5:
            factor = 2 * scale
            small = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        matrix = np.array(
            [
                [scale * picture.shape[1] / small.shape[1], 0, x],
                [0, scale * picture.shape[0] / small.shape[0], y],
            ]
        )
        placed = cv2.warpAffine(small, matrix, (width, height), flags=cv2.INTER_LINEAR)
        alpha = placed[..., 3]
        frames.append(
            np.clip(placed[..., :3] * 255 + frame * (1 - alpha[..., None]) + 0.5, 0, 255).astype(np.uint8)
        )
        alphas.append(alpha)
    return np.stack(frames), np.stack(alphas)


def judge(
    editor: EasyV2VEditor,
    clip: np.ndarray,
    alpha: np.ndarray,
    sentence: str,
    look: str,
    is_person: bool,
    folder: Path,
) -> tuple[dict[str, float | str], np.ndarray]:
    """Return the figures of an edit, or why it was refused, and its middle frame beside source and truth."""
    truth = apply_operator(look, clip)
    if not is_person:
        alpha = 1 - alpha
    middle = len(clip) // 2
    with collect_notes():
        try:
            video = codec.Video(clip, np.arange(len(clip)) / 25.0, 25.0)
            codec.write_video(video, folder / "source.mp4")
            written = codec.read_video(folder / "source.mp4").frames
            editor.edit_file(clip, sentence, folder / "edit.mp4")
        except InputError as error:
            empty = np.zeros_like(clip[0])
            return {"refused": str(error)}, np.concatenate([clip[middle], empty, truth[middle]], axis=1)
        result = codec.read_video(folder / "edit.mp4").frames
    size = max(3, round(BAND * clip.shape[1])) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    inside, outside = alpha > 0.99, alpha < 0.01
    inner = np.stack([cv2.erode(frame.astype(np.uint8), kernel) for frame in inside]) > 0
    outer = np.stack([cv2.erode(frame.astype(np.uint8), kernel) for frame in outside]) > 0
    row: dict[str, float | str] = {
        "edited": measure(result, truth, inside),
        "edited_inner": measure(result, truth, inner),
        "untouched": measure(result, clip, outside),
        "untouched_inner": measure(result, clip, outer),
        "writer": measure(written, clip, outside),
        "unedited": measure(clip, truth, inside),
    }
    best = np.where(alpha[middle][..., None] > 0.5, truth[middle], clip[middle])
    return row, np.concatenate([clip[middle], result[middle], best], axis=1)


def measure(result: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    """Return PSNR in dB over the pixels `where` [T, h, w], at most 99."""
    error = np.mean((result[where].astype(np.float32) - truth[where]) ** 2)
    return round(float(min(99.0, 10 * np.log10(255**2 / max(error, 1e-9)))), 1)


def format_row(row: dict[str, float | str]) -> str:
    """Return a row's figures as text."""
    if "refused" in row:
        return f"refused: {row['refused']:.90}"
    return f"{row['edited']:5.1f} ({row['edited_inner']:5.1f}) {row['untouched']:5.1f} ({row['untouched_inner']:5.1f}) {row['writer']:7.1f}"


if __name__ == "__main__":
    try:
        main(tyro.cli(Args, description=__doc__))
    except InputError as problem:
        sys.exit(f"score_people: error: {problem}")
