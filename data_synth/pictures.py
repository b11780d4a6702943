"""Pictures as footage: a camera move lifts each to a clip, and pairs of pictures before and after an edit are found.

folder → picture, seed → `camera_move` → **clip**. `NAME.txt` is a picture's caption, `NAME.mask.png` with the object's name in
`NAME.object.txt` marks an object. `NAME_source.png` beside `NAME.png` is a picture before and after an edit, which `NAME.txt` then
names (`v2v.data.pair_table`).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from data_synth import footage
from data_synth.operators import camera_move
from data_synth.places import local_copy, open_place
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from v2v.data.pair_table import PICTURE_SUFFIXES, ROLES
from v2v.errors import InputError
from v2v.video.inputs import read_picture

# A picture that would have to grow by more than this gives no clip: it would be blurred.
MAX_GROWTH = 1.25


@dataclasses.dataclass(frozen=True)
class PictureFolder:
    """The pictures under a folder; a seed draws one and a camera move over it.

    Attributes:
      root: The folder.
      files: Paths of the single pictures below it.
      license: License of the pictures as the user states it; it goes into every pair's provenance.
      describe: Captions clips that have no caption; None for nobody.
    """

    root: str
    files: tuple[str, ...]
    license: str = "unknown"
    describe: footage.Describer | None = None

    def __call__(self, seed: int, T: int, H: int, W: int) -> footage.Clip | Rejected:
        """Return the clip of a seed at a size, or the rejection of a picture that is unreadable or too small."""
        name = Path(self.choose(seed)).as_posix()
        path = open_place(self.root) / name
        picture = _read(path)
        if isinstance(picture, Rejected):
            return picture
        height, width = picture.shape[:2]
        if max(H / height, W / width) > MAX_GROWTH:
            return Rejected(f"picture {name} is smaller than the clip")
        moves = self.sample_moves(seed, height, width, T, H, W)
        fitted = footage.fit_frames(picture[None], *camera_move.picture_size(height, width, H, W))[0]
        video = camera_move.scale_down(camera_move.warp_picture(fitted, moves), H, W)
        origin = {
            "picture": name,
            "license": self.license,
            "lifted": {"first": moves[0].round(6).tolist(), "last": moves[-1].round(6).tolist()},
        }
        return footage.add_texts(footage.Clip(video, "", origin), path, self.describe, seed)

    def choose(self, seed: int) -> str:
        """Return the picture of a seed."""
        return self.files[int(build_rng(seed, "footage").integers(len(self.files)))]

    def sample_moves(self, seed: int, height: int, width: int, T: int, H: int, W: int) -> np.ndarray:
        """Return the camera move of a seed over a picture of height x width, as `camera_move.sample_trajectories` does."""
        size = camera_move.picture_size(height, width, H, W)
        return camera_move.sample_trajectories(build_rng(seed, "picture move"), 1, T, *size)[0]

    def lift_mask(self, seed: int, mask: np.ndarray, T: int, H: int, W: int) -> np.ndarray:
        """Return the mask of a picture along the camera move of a seed.

        Args:
          seed: As for the clip.
          mask: uint8 [height, width, 3] of the picture's shape.
          T: Number of frames.
          H: Frame height in pixels.
          W: Frame width in pixels.

        Returns:
          bool [T, H, W], where at least half of a pixel is masked.
        """
        height, width = mask.shape[:2]
        moves = self.sample_moves(seed, height, width, T, H, W)
        fitted = footage.fit_frames(mask[None], *camera_move.picture_size(height, width, H, W))[0]
        plane = np.where(fitted.max(-1) > 127, 255, 0).astype(np.uint8)
        return camera_move.scale_down(camera_move.warp_picture(plane, moves), H, W) > 127


def read_picture_folder(
    root: str | Path, license: str = "unknown", describe: footage.Describer | None = None
) -> PictureFolder:
    """Find all single pictures under a folder, in alphabetical order.

    Args:
      root: The folder.
      license: License of the pictures, for the provenance of pairs.
      describe: Captions clips that have no caption; None for nobody.

    Raises:
      InputError: `root` is not a readable folder, or holds no single picture.
    """
    single = tuple(name for name in list_pictures(root) if not _is_part_of_pair(open_place(root) / name))
    if not single:
        raise InputError(
            f"{root}: expected at least one picture ({', '.join(PICTURE_SUFFIXES)}), found none; "
            "pictures before and after an edit are read by the recipe before-after"
        )
    return PictureFolder(str(root), single, license, describe)


def list_pictures(root: str | Path) -> list[str]:
    """Return the paths of all pictures under a folder but masks and references, relative to it.

    Raises:
      InputError: `root` is not a readable folder.
    """
    root = open_place(root)
    try:
        files = sorted(footage.iterate_files(root))
    except OSError as error:
        raise InputError(
            f"{root}: expected a readable folder of pictures, got {(error.strerror or str(error)).lower()}; "
            "correct the path or its permissions"
        ) from None
    beside = tuple(ending for ending, role in ROLES.items() if role != "source")
    return [
        str(path.relative_to(root))
        for path in files
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.stem.endswith((".mask", *beside))
    ]


def _is_part_of_pair(path: Path) -> bool:
    """Return whether a picture is the one before or after an edit."""
    endings = tuple(ending for ending, role in ROLES.items() if role == "source")
    if path.stem.endswith(endings):
        return True
    return any(
        path.with_name(f"{path.stem}{ending}{suffix}").is_file()
        for ending in endings
        for suffix in PICTURE_SUFFIXES
    )


def _read(path: Path) -> np.ndarray | Rejected:
    try:
        return read_picture(local_copy(path))
    except InputError as error:
        return Rejected(f"unreadable picture {path.name}: {footage.short_cause(error)}")
