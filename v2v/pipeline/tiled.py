"""Full-size sampling, tile by tile, for models that can pay (`--detail tiles`). windowed.py → **tiles** → full_resolution.py

The small edit has decided what is made; tiles of the model's own size, cut from the clip at full size, decide how it looks close
up. Each is an edit of its piece of the source that starts from the small edit, enlarged, with noise on it (`TILE_STRENGTH`), so that
neighbours agree on what they paint. Tiles lie on the latent grid, share `SHARED` of their side, see the same noise where they
overlap, and fade into one another; in time they are windows as in `windowed.py`, each tile with its own past.

Memory holds one batch of windows of full-size frames. The work is that of the small edit times the number of tiles.
"""

from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np

from v2v.diffusion import windows
from v2v.pipeline import windowed
from v2v.pipeline.model import EditingModel, SampleRequest
from v2v.pipeline.settings import EditSettings
from v2v.video.detail_transfer.transfer import enlarge
from v2v.video.frame_store import FrameStore

TILE_STRENGTH = 0.6  # share of the walk that a tile takes; the rest is the small edit's
TILE_OVERLAP = 0.25  # of a tile's side, with each neighbour


class TiledFrames:
    """Large edited frames, one after the other: `tiled[row]` with rows in order, any number of times from 0. Takes the place of the small edit in `Finished`."""

    def __init__(self, painted: Callable[[], Iterator[np.ndarray]], count: int):
        self._painted, self._count, self._frames, self._next = painted, count, None, 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, row: int) -> np.ndarray:
        if row == 0:
            self._frames, self._next = self._painted(), 0
        if row != self._next:
            raise IndexError(f"tiles come in order: expected row {self._next}, got {row}")
        self._next += 1
        return next(self._frames)


def select_part(
    frame: np.ndarray, source: np.ndarray, edit: np.ndarray, part: tuple[slice, slice]
) -> np.ndarray:
    """What `Finished` makes of a frame that is painted already."""
    return edit[part]


def iterate_tiled_frames(
    model: EditingModel,
    frames: Iterable[np.ndarray],
    edit: FrameStore,
    first: int,
    seen: windowed.MaskLookup | None,
    z_ref,
    text: np.ndarray,
    settings: EditSettings,
) -> Iterator[np.ndarray]:
    """Full-size edits uint8 [H, W, 3] of frames first : first + len(edit) of a clip.

    Args:
      frames: all frames of the clip, walked once.
      edit: the small edit. seen, z_ref, text, settings: as in `windowed.edit`.
    """
    config, n = model.config, len(edit)
    T = windowed.window_length(config, settings.window)
    plan = windows.WindowPlan.of(n, T, config.vae.stride_t)
    source, held, pasts, done = iter(frames), {}, {}, 0
    for _ in range(first):
        next(source)
    for batch in windowed.window_batches(len(plan.starts), config.batch):
        begins = plan.starts[batch] * plan.stride
        rows = np.minimum(begins[:, None] + np.arange(T), n - 1)
        held = {row: frame for row, frame in held.items() if row >= rows.min()}
        for row in range(max(held, default=-1) + 1, rows.max() + 1):
            held[row] = next(source)
        canvas = _painted(model, held, rows, edit, first, seen, z_ref, text, settings, plan, batch, pasts)
        for place in windows.unpadded_rows(batch):
            begin = int(begins[place])
            if batch[place]:  # the frames that the window before shows too fade from its to this one's
                shared = max(0, before + len(made) - begin)
                rise = np.arange(1, shared + 1) / (shared + 1)
                for t in range(shared):
                    old = made[len(made) - shared + t]
                    canvas[place][t] = cv2.addWeighted(old, 1 - rise[t], canvas[place][t], rise[t], 0)
                yield from made[done - before : begin - before]
                done = begin
            made, before = canvas[place], begin
    yield from made[done - before : n - before]


def _painted(
    model, held, rows, edit, first, seen, z_ref, text, settings, plan, batch, pasts
) -> list[list[np.ndarray]]:
    """One batch of windows: uint8 [H, W, 3] for each of `rows` [b, T]."""
    config, (H, W) = model.config, held[int(rows[0, 0])].shape[:2]
    h, w, grid = config.height, config.width, config.vae.stride_xy
    ys, xs = (_places(full, side, grid) for full, side in ((H, h), (W, w)))
    canvas = [[np.zeros((H, W, 3), np.uint8) for _ in window] for window in rows]
    small, told = edit[rows], None if seen is None else seen(rows + first)
    starts, frames = plan.starts[batch], plan.frames
    z_all = model.encode_mask(np.full((*rows.shape, h, w, 3), 255, np.uint8)) if seen is None else None
    noise = None
    for y in ys:
        for x in xs:
            z_src = model.encode(_cut([[held[int(r)] for r in window] for window in rows], y, x, h, w))
            begin = model.encode(_enlarged(small, (H, W), y, x, h, w))
            if (
                noise is None
            ):  # of the whole picture, so that tiles share it; latents of any model are [t, y, x, ...]
                py, px = h // z_src.shape[2], w // z_src.shape[3]
                whole = ((ys[-1] + h) // py, (xs[-1] + w) // px, *z_src.shape[4:])
                noise = np.stack(
                    [windows.window_noise(settings.seed, start, frames, whole) for start in starts]
                )
            z_msk = z_all
            if told is not None:
                z_msk = model.encode_mask(
                    _enlarged(
                        np.where(told[..., None], np.float32(255), np.float32(0)).repeat(3, -1),
                        (H, W),
                        y,
                        x,
                        h,
                        w,
                    )
                )
            request = SampleRequest(
                z_src, z_msk, z_ref, text, noise[:, :, y // py : (y + h) // py, x // px : (x + w) // px],
                settings.steps_of(config), settings.guidance_of(config), links=plan.links(batch, pasts.get((y, x))),
                begin=begin, strength=min(TILE_STRENGTH, settings.strength), mode=settings.guide,
            )  # fmt: skip
            output = model.sample(request)
            pasts[y, x] = output.past
            tiles = np.asarray(model.decode(output.latents))
            rise = _rise(h, y > 0)[:, None] * _rise(w, x > 0)
            for window, made in zip(canvas, tiles, strict=True):
                for frame, tile in zip(window, made, strict=True):
                    _paste(frame, tile, rise, y, x)
    return canvas


def _places(full: int, side: int, grid: int) -> list[int]:
    """Where tiles begin along one axis: on the grid, the last one covering the end."""
    hop = max(grid, int(side * (1 - TILE_OVERLAP)) // grid * grid)
    last = max(0, -(-(full - side) // grid) * grid)
    return sorted({min(place, last) for place in range(0, last + hop, hop)})


def _rise(side: int, shares: bool) -> np.ndarray:
    """How much of a tile is shown across its side, float32 [side], from the side it shares with what is painted already."""
    out = np.ones(side, np.float32)
    if shares:
        width = max(
            1, int(side * TILE_OVERLAP) // 2
        )  # well inside what is shared, however the last tile lies
        out[:width] = np.arange(1, width + 1) / (width + 1)
    return out


def _cut(clips: list[list[np.ndarray]], y: int, x: int, h: int, w: int) -> np.ndarray:
    """The tile of every frame, uint8 [b, T, h, w, 3]; beyond the picture its edge is repeated."""
    tiles = np.stack([[frame[y : y + h, x : x + w] for frame in clip] for clip in clips])
    missing = h - tiles.shape[2], w - tiles.shape[3]
    return np.pad(tiles, ((0, 0), (0, 0), (0, missing[0]), (0, missing[1]), (0, 0)), "edge")


def _enlarged(small: np.ndarray, size: tuple[int, int], y: int, x: int, h: int, w: int) -> np.ndarray:
    """The same tile of small frames float32 [b, T, h, w, 3] as if they had been enlarged to `size`: uint8 [b, T, h, w, 3]."""
    scale = small.shape[2] / size[0], small.shape[3] / size[1]
    to_small = np.float32(
        [[scale[1], 0, (x + 0.5) * scale[1] - 0.5], [0, scale[0], (y + 0.5) * scale[0] - 0.5]]
    )
    how = {"flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, "borderMode": cv2.BORDER_REPLICATE}
    tiles = [cv2.warpAffine(frame, to_small, (w, h), **how) for frame in small.reshape(-1, *small.shape[2:])]
    return np.rint(tiles).clip(0, 255).astype(np.uint8).reshape(*small.shape[:2], h, w, 3)


def _paste(frame: np.ndarray, tile: np.ndarray, rise: np.ndarray, y: int, x: int) -> None:
    part = frame[y : y + len(tile), x : x + tile.shape[1]]
    tile, rise = tile[: len(part), : part.shape[1]], rise[: len(part), : part.shape[1], None]
    part[...] = enlarge(part + rise * (tile - part) if (rise < 1).any() else tile, *part.shape[:2])
