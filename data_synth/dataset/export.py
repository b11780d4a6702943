"""Sets as other programs read them: clips as MP4 files beside a table, or tar files.

set → clips, masks, references → DiffSynth-Studio's metadata.csv, musubi-tuner's dataset.toml, a folder of Hugging Face datasets, WebDataset

All are tables of `v2v.data.pair_table` too, so that `v2v train --sets` and `v2v synth --import pairs=` read them back.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from v2v.data.pair import Pair
from v2v.video import video as codec

# Quality of exported clips on H.264's scale: visually lossless.
CRF = 12
# Bytes of a tar file of WebDataset.
TAR_BYTES = 1 << 30


@dataclasses.dataclass(frozen=True)
class ExportedPair:
    """The files of one exported pair, by names relative to the folder.

    Attributes:
      pair: The pair.
      source: Clip or picture before the edit.
      target: Clip or picture after it.
      mask: Clip or picture, white = edited; "" for everywhere.
      reference: Picture, "" for none.
      fps: Frames per second of the clips.
      write: Writes a further file of the pair from its role and uint8 [T, H, W, 3], and returns its name.
    """

    pair: Pair
    source: str
    target: str
    mask: str
    reference: str
    fps: float
    write: Callable[[str, np.ndarray], str]


def export_pairs(
    pairs: Iterable[tuple[Pair, float | None]], folder: Path, layout: str, fps: float, place: Path
) -> int:
    """Write pairs in a layout, and return their number.

    Args:
      pairs: Pairs with their frames per second; None where those are not known.
      folder: An empty folder.
      layout: One of LAYOUTS.
      fps: Frames per second of clips whose own are not known.
      place: Name that the folder gets, for layouts with absolute paths.
    """
    count = 0

    def write_clips() -> Iterator[ExportedPair]:
        nonlocal count
        for item in _write_clips(pairs, folder, fps):
            count += 1
            yield item

    LAYOUTS[layout](write_clips(), folder, place.resolve())
    return count


def _write_clips(
    pairs: Iterable[tuple[Pair, float | None]], folder: Path, default_fps: float
) -> Iterator[ExportedPair]:
    """Write the files of pairs one after another."""
    clips = folder / "clips"
    clips.mkdir()
    for i, (pair, own_fps) in enumerate(pairs):
        fps = own_fps or default_fps
        is_picture = len(pair.source) == 1

        def write(
            role: str, frames: np.ndarray, still: bool = is_picture, fps: float = fps, i: int = i
        ) -> str:
            name = f"clips/{i:07d}_{role}.{'png' if still else 'mp4'}"
            video = codec.Video.from_array(frames, fps)
            codec.write_video(video, folder / name, **({} if still else {"crf": CRF}))
            return name

        mask = "" if pair.mask.all() else write("mask", np.repeat(pair.mask[..., None], 3, -1))
        reference = "" if pair.reference is None else write("reference", pair.reference[None], True)
        yield ExportedPair(
            pair, write("source", pair.source), write("target", pair.target), mask, reference, fps, write
        )


def _write_diffsynth(exported: Iterable[ExportedPair], folder: Path, place: Path) -> None:
    """Write metadata.csv with the columns of DiffSynth-Studio's VACE training.

    Its reader takes an empty cell for a number and stops there, so that a mask is written for every pair, and pairs with a reference picture stand in a
    table of their own where there are others without one.
    """
    rows: dict[bool, list[tuple[str, ...]]] = {False: [], True: []}
    for item in exported:
        pair = item.pair
        license_ = str(pair.provenance.get("license", ""))
        mask = item.mask or item.write("mask", np.full_like(pair.source, 255))
        row = (item.target, pair.instructions[0], item.source, mask, license_, pair.edit)
        rows[bool(item.reference)].append((*row, item.reference) if item.reference else row)
    columns = ("video", "prompt", "vace_video", "vace_video_mask", "license", "edit")
    tables = [(columns, rows[False]), ((*columns, "vace_reference_image"), rows[True])]
    tables = [table for table in tables if table[1]]
    for (header, lines), name in zip(tables, ("metadata.csv", "metadata_with_reference.csv"), strict=False):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(header)
            table.writerows(lines)


def _write_musubi(exported: Iterable[ExportedPair], folder: Path, place: Path) -> None:
    """Write a JSON Lines file of clips with control clips for every size, and the TOML file that names them."""
    files: dict[tuple[int, int, int], list[str]] = {}
    for item in exported:
        line: dict[str, Any] = {
            "image_path" if len(item.pair.source) == 1 else "video_path": str(place / item.target),
            "caption": item.pair.instructions[0],
            "control_path": str(place / item.source),
        }
        files.setdefault(item.pair.source.shape[:3], []).append(json.dumps(line, ensure_ascii=False))
    blocks = ['[general]\ncaption_extension = ".txt"\nbatch_size = 1\nenable_bucket = true\n']
    for (frames, height, width), lines in files.items():
        name = f"pairs_{width}x{height}x{frames}.jsonl"
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        kind = "image" if frames == 1 else "video"
        block = [
            "[[datasets]]",
            f"resolution = [{width}, {height}]",
            f"{kind}_jsonl_file = {json.dumps(str(place / name))}",
            f"cache_directory = {json.dumps(str(place / 'cache' / name.removesuffix('.jsonl')))}",
        ]
        if frames > 1:
            block += [f"target_frames = [{frames}]", 'frame_extraction = "head"']
        blocks.append("\n".join(block) + "\n")
    (folder / "dataset.toml").write_text("\n".join(blocks), encoding="utf-8")


def _write_huggingface(exported: Iterable[ExportedPair], folder: Path, place: Path) -> None:
    """Write metadata.jsonl, by which `datasets.load_dataset("videofolder")` finds clips; all columns of pair tables are in it."""
    with (folder / "metadata.jsonl").open("w", encoding="utf-8") as file:
        for item in exported:
            pair = item.pair
            line = {
                "file_name": item.target,
                "source": item.source,
                "target": item.target,
                "mask": item.mask,
                "reference": item.reference,
                "instruction": list(pair.instructions),
                "source_caption": pair.source_caption,
                "target_caption": pair.target_caption,
                "edit": pair.edit,
                "license": str(pair.provenance.get("license", "")),
                "fps": item.fps,
                **_describe_times(pair, item.fps),
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _describe_times(pair: Pair, fps: float) -> dict[str, float]:
    """Return the columns that say when the edit of a clip is on, in seconds; none where it is on throughout."""
    if pair.active == (0, len(pair.source)):
        return {}
    return {"start": pair.active[0] / fps, "end": pair.active[1] / fps}


def _write_webdataset(exported: Iterable[ExportedPair], folder: Path, place: Path) -> None:
    """Write tar files in which the files of a pair share a key: KEY.source.mp4, KEY.target.mp4, KEY.mask.mp4, KEY.reference.png, KEY.json."""
    size = 0
    archive: tarfile.TarFile | None = None
    tar_count = 0
    try:
        for count, item in enumerate(exported):
            if archive is None or size >= TAR_BYTES:
                if archive is not None:
                    archive.close()
                archive = tarfile.open(folder / f"pairs-{tar_count:06d}.tar", "w")
                tar_count, size = tar_count + 1, 0
            key, pair = f"{count:09d}", item.pair
            facts = {
                "instructions": list(pair.instructions),
                "source_caption": pair.source_caption,
                "target_caption": pair.target_caption,
                "edit": pair.edit,
                "recipe": pair.recipe,
                "seed": pair.seed,
                "active": list(pair.active),
                "fps": item.fps,
                **_describe_times(pair, item.fps),
                "provenance": pair.provenance,
            }
            contents = {"json": json.dumps(facts, sort_keys=True).encode()}
            for role, name in (
                ("source", item.source),
                ("target", item.target),
                ("mask", item.mask),
                ("reference", item.reference),
            ):
                if name:
                    contents[f"{role}{Path(name).suffix}"] = (folder / name).read_bytes()
                    (folder / name).unlink()
            for suffix, content in contents.items():
                entry = tarfile.TarInfo(f"{key}.{suffix}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
                size += len(content)
    finally:
        if archive is not None:
            archive.close()
    (folder / "clips").rmdir()


# Name in `--to` → function (exported pairs, folder, its final name).
LAYOUTS: dict[str, Callable[[Iterable[ExportedPair], Path, Path], None]] = {
    "diffsynth": _write_diffsynth,
    "musubi": _write_musubi,
    "huggingface": _write_huggingface,
    "webdataset": _write_webdataset,
}
