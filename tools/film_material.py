r"""Lay out the photographs and cut-outs that `embedded_film` learns from, taken from Debian packages under open licenses.

    mkdir deb packages && cd deb
    apt-get download gnome-backgrounds mate-backgrounds plasma-workspace-wallpapers lomiri-wallpapers ukui-wallpapers \
      sway-backgrounds gcompris-qt-data tuxpaint-stamps-default
    for file in *.deb; do dpkg -x "$file" "../packages/${file%%_*}"; done && cd ..
    python tools/film_material.py packages material
    v2v train embedded_film --workdir runs/film --pictures material/pictures --cutouts material/cutouts

packages → pictures/, held_out/ (one photograph in ten, which no training sees), cutouts/ with names.csv. The same packages give the same
folders. What is too small, too plain, a double or without a name is counted and told.
"""

import argparse
import collections
import csv
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
# Photographs: least and greatest pixels along the shorter side, least mean gradient of the luma at 90 lines.
LEAST_SIDE, SIDE, LEAST_DETAIL = 200, 720, 2.5
# Cut-outs: least side, greatest side, least share of the picture that is see-through.
LEAST_CUTOUT, CUTOUT_SIDE, LEAST_CLEAR = 64, 384, 0.05
# Bits by which the fingerprints of two different photographs differ at least.
LEAST_DIFFERENCE = 6
# Stamps that are signs rather than things, see-through wallpapers, GCompris' drawings; its activities that show photographs; its help's screens.
SIGNS = re.compile(
    r"/symbols/|/roadsigns/|/flags/|/planets/|/naturalforces/|_mirror\.|/body_parts/|/backgrounds/|\.rcc/"
)
ACTIVITIES = (
    "categorization",
    "details",
    "erase",
    "explore_farm_animals",
    "explore_monuments",
    "explore_world_animals",
    "explore_world_music",
)
SCREENS = re.compile(r"/doc/|/help/|gcompris-qt/(?!rcc)|icons/|screenshot")
_HEADER, _FILE, _FOLDER = ">4sIIII", 0, 2


def read_resources(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of every file in a resource file of Qt; those packed by Zstandard are left out, as no picture is."""
    content = path.read_bytes()
    magic, version, tree, data, names = struct.unpack(_HEADER, content[:20])
    if magic != b"qres":
        raise SystemExit(f"{path}: expected a resource file of Qt, got {magic!r}; unpack the package again")
    node_size = 14 if version < 2 else 22

    def name(offset: int) -> str:
        (length,) = struct.unpack(">H", content[names + offset : names + offset + 2])
        return content[names + offset + 6 : names + offset + 6 + 2 * length].decode("utf-16-be")

    def visit(node: int, folder: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
        start = tree + node * node_size
        name_offset, flags, first, second = struct.unpack(">IHII", content[start : start + 14])
        parts = (*folder, name(name_offset)) if node else folder
        if flags & _FOLDER:
            for child in range(second, second + first):
                yield from visit(child, parts)
        elif not flags & 4:
            (length,) = struct.unpack(">I", content[data + second : data + second + 4])
            packed = content[data + second + 4 : data + second + 4 + length]
            yield "/".join(parts), zlib.decompress(packed[4:]) if flags & 1 else packed

    return visit(0, ())


def list_images(root: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of every picture of the unpacked packages, in alphabetical order, those in resource files too."""
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink() or not path.is_file():
            continue
        if path.suffix == ".rcc" and path.stem in ACTIVITIES:
            for inner, content in read_resources(path):
                if inner.lower().endswith(SUFFIXES):
                    yield f"{name}/{inner}", content
        elif path.suffix.lower() in SUFFIXES and not SCREENS.search(name):
            yield name, path.read_bytes()


def decode(content: bytes) -> np.ndarray | None:
    """Return a picture as uint8 [h, w, 3 or 4], BGR; None if it can't be read."""
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None or picture.dtype != np.uint8:
        return None
    return cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR) if picture.ndim == 2 else picture


def is_cutout(picture: np.ndarray) -> bool:
    """Return whether a picture's alpha leaves a part of it see-through."""
    return picture.shape[2] == 4 and float((picture[..., 3] < 8).mean()) >= LEAST_CLEAR


def shrink(picture: np.ndarray, side: int, size: int) -> np.ndarray:
    """Return a picture whose side, of `size` pixels now, has at most `side`."""
    scale = min(1.0, side / size)
    return (
        cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else picture
    )


def detail(picture: np.ndarray) -> float:
    """Return the mean gradient of a picture's luma at 90 lines, in levels."""
    luma = cv2.cvtColor(picture[..., :3], cv2.COLOR_BGR2GRAY)
    luma = shrink(luma, 90, luma.shape[0]).astype(np.float32)
    return float(np.abs(np.diff(luma, axis=0)).mean() + np.abs(np.diff(luma, axis=1)).mean()) / 2


def fingerprint(picture: np.ndarray) -> np.ndarray:
    """Return 64 bits that two sizes of one photograph share: whether each cell of a small copy is lighter than its neighbour."""
    luma = cv2.resize(
        cv2.cvtColor(picture[..., :3], cv2.COLOR_BGR2GRAY), (9, 8), interpolation=cv2.INTER_AREA
    )
    return (luma[:, 1:] > luma[:, :-1]).ravel()


def is_double(bits: np.ndarray, prints: list[np.ndarray]) -> bool:
    """Return whether a fingerprint is about that of an earlier photograph."""
    return any(int((bits != other).sum()) < LEAST_DIFFERENCE for other in prints)


def name_of(file: str, text: str) -> str:
    """Return what a cut-out shows: the first words of its text where these are few, or its file's name; "" where that is none."""
    first = re.split(r"[.!?,;:(—–]| is | are | has | by | with | from | called | that | lets ", text.strip())[
        0
    ]
    words = re.sub(r"[“”\"']", "", first.replace("’", "'")).strip().lower()
    words = re.sub(r"^(an?|the|some|our|two|another|very|it's) ", "", words)
    words = re.sub(r"^(pair|couple|bunch|head|cluster|string|quarter) of ", "", words)
    if not 0 < len(words.split()) <= 3:
        stem = re.sub(r"[-_]?\d+[a-z]?$|^\d+_|^t_", "", Path(file).stem)
        words = re.sub(r"[-_]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", stem)).strip().lower()
    return words if re.fullmatch(r"[a-z][a-z' -]{2,30}", words) else ""


def main() -> None:
    """Write the folders and print what became of every picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("packages", type=Path, help="folder with one unpacked package in each folder")
    parser.add_argument("out", type=Path, help="folder to write; it must not exist")
    args = parser.parse_args()
    if args.out.exists():
        raise SystemExit(f"{args.out}: expected a folder that does not exist; name another or remove it")
    counts = collections.Counter[str]()
    prints: list[np.ndarray] = []
    names: dict[str, str] = {}
    for folder in ("pictures", "held_out", "cutouts"):
        (args.out / folder).mkdir(parents=True)
    for file, content in list_images(args.packages):
        picture = decode(content)
        if picture is None:
            counts["unreadable or of 16 bits"] += 1
            continue
        height, width = picture.shape[:2]
        flat = re.sub(
            r"[^A-Za-z0-9]+", "-", re.sub(r"usr/share/|contents/|[^/]+\.rcc/", "", file.rpartition(".")[0])
        ).strip("-")
        if is_cutout(picture):
            text = args.packages / (file.rpartition(".")[0] + ".txt")
            name = name_of(
                file, text.read_text(encoding="utf-8").partition("\n")[0] if text.is_file() else ""
            )
            if SIGNS.search(file):
                counts["cut-outs of signs"] += 1
            elif min(height, width) < LEAST_CUTOUT:
                counts["cut-outs too small"] += 1
            elif not name:
                counts["cut-outs without a name"] += 1
            else:
                names[f"{flat}.png"] = name
                cv2.imwrite(
                    str(args.out / "cutouts" / f"{flat}.png"),
                    shrink(picture, CUTOUT_SIDE, max(height, width)),
                )
                counts["cut-outs"] += 1
        elif min(height, width) < LEAST_SIDE:
            counts["photographs too small"] += 1
        elif detail(picture) < LEAST_DETAIL:
            counts["photographs too plain"] += 1
        elif is_double(bits := fingerprint(picture), prints):
            counts["doubles"] += 1
        else:
            prints.append(bits)
            folder = "held_out" if zlib.crc32(flat.encode()) % 10 == 0 else "pictures"
            photograph = shrink(picture[..., :3], SIDE, min(height, width))
            cv2.imwrite(str(args.out / folder / f"{flat}.jpg"), photograph, [cv2.IMWRITE_JPEG_QUALITY, 95])
            counts[f"photographs in {folder}"] += 1
    with (args.out / "cutouts" / "names.csv").open("w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows([("file", "name"), *sorted(names.items())])
    for folder in ("pictures", "held_out", "cutouts"):
        (args.out / folder / "license.txt").write_text(
            "see the packages' copyright files: CC-BY-SA, CC0, GPL or public domain\n"
        )
    print("\n".join(f"{count:>6}  {what}" for what, count in sorted(counts.items())))


if __name__ == "__main__":
    main()
