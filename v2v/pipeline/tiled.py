"""Sampling at full resolution, tile by tile (`--detail tiles`): many times the computation of the small edit.

The small edit has decided what is made; tiles of the model's own size, cut from the clip at full resolution, decide how it looks close
up. Each is an edit of its part of the source that starts from the enlarged small edit with noise on it (`TILE_STRENGTH`), so that
neighbours agree. Tiles lie on the latent grid, overlap by `TILE_OVERLAP` of their side, see the same noise where they overlap, and fade
into one another. In time they are windows as in `windowed.py`; each tile follows on its own previous window.

Memory holds one batch of windows of full-resolution frames.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np

from v2v.array_types import AnyArray
from v2v.diffusion import windows
from v2v.pipeline import windowed
from v2v.pipeline.model import EditingModel, SampleRequest
from v2v.pipeline.settings import EditSettings
from v2v.video.detail_transfer.transfer import enlarge
from v2v.video.frame_store import FrameStore

# Part of the schedule that a tile is sampled over; the rest is the small edit's.
TILE_STRENGTH = 0.6
# Share of a tile's side that it has in common with each neighbour.
TILE_OVERLAP = 0.25


class TiledFrames:
    """Full-resolution edited frames in order: `frames[row]` for row 0, 1, ...; row 0 starts again. Stands for the small edit in `FullResolutionFrames`.

    Attributes:
      edit: computes the frames.
    """

    def __init__(self, edit: "TiledEdit"):
        self.edit = edit
        self._frames: Iterator[np.ndarray] = iter(())
        self._next = 0

    def __len__(self) -> int:
        return len(self.edit.small)

    def __getitem__(self, row: int) -> np.ndarray:
        if row == 0:
            self._frames, self._next = self.edit.iterate_frames(), 0
        if row != self._next:
            raise IndexError(f"tiles come in order: expected row {self._next}, got {row}")
        self._next += 1
        return next(self._frames)


def select_part(
    frame: np.ndarray, source: np.ndarray, edit: np.ndarray, part: tuple[slice, slice]
) -> np.ndarray:
    """Return a region of a frame that is at full resolution already; an `Upsampler`."""
    return edit[part]


@dataclass(frozen=True)
class TileGrid:
    """Where tiles lie in a frame.

    Attributes:
      H: height of the frame, in pixels.
      W: width of the frame.
      h: height of a tile.
      w: width of a tile.
      ys: first row of each row of tiles.
      xs: first column of each column of tiles.
    """

    H: int
    W: int
    h: int
    w: int
    ys: list[int] = field(default_factory=list)
    xs: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, size: tuple[int, int], tile: tuple[int, int], stride: int) -> "TileGrid":
        """Return the grid of tiles that cover a frame.

        Args:
          size: (H, W) of the frame.
          tile: (h, w) of a tile.
          stride: pixels of a latent cell, of which all positions are multiples.
        """
        starts = [_tile_starts(full, side, stride) for full, side in zip(size, tile, strict=True)]
        return cls(*size, *tile, *starts)

    def cut(self, clips: list[list[np.ndarray]], y: int, x: int) -> np.ndarray:
        """Return the tile of every frame, uint8 [b, T, h, w, 3]; beyond the frame its edge is repeated."""
        tiles = np.stack([[frame[y : y + self.h, x : x + self.w] for frame in clip] for clip in clips])
        missing = self.h - tiles.shape[2], self.w - tiles.shape[3]
        return np.pad(tiles, ((0, 0), (0, 0), (0, missing[0]), (0, missing[1]), (0, 0)), "edge")

    def cut_enlarged(self, small: np.ndarray, y: int, x: int) -> np.ndarray:
        """Return the tile of small frames, float32 [b, T, h, w, 3], as if they had been enlarged first: uint8 [b, T, h, w, 3]."""
        scale_y, scale_x = small.shape[2] / self.H, small.shape[3] / self.W
        to_small = np.array(
            [[scale_x, 0, (x + 0.5) * scale_x - 0.5], [0, scale_y, (y + 0.5) * scale_y - 0.5]], np.float32
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        tiles = [
            cv2.warpAffine(frame, to_small, (self.w, self.h), flags=flags, borderMode=cv2.BORDER_REPLICATE)
            for frame in small.reshape(-1, *small.shape[2:])
        ]
        levels = np.rint(tiles).clip(0, 255).astype(np.uint8)
        return levels.reshape(*small.shape[:2], self.h, self.w, 3)


@dataclass(frozen=True)
class TiledEdit:
    """An edit at full resolution.

    Attributes:
      model: the model.
      frames: all frames of the clip, uint8 [H, W, 3], iterated once per pass.
      small: the small edit of frames first : first + len(small).
      first: frame of the clip that `small` begins with.
      inputs: what the edit is given; its first frame isn't used again.
      settings: settings of the edit.
    """

    model: EditingModel
    frames: Iterable[np.ndarray]
    small: FrameStore
    first: int
    inputs: windowed.EditInputs
    settings: EditSettings

    def iterate_frames(self) -> Iterator[np.ndarray]:
        """Yield the edited frames, uint8 [H, W, 3].

        Raises:
          InputError: an invalid window length.
        """
        config, n = self.model.config, len(self.small)
        T = windowed.clip_window(config, self.settings.window, n)
        plan = windows.WindowPlan.of(n, T, config.vae.stride_t)
        source = iter(self.frames)
        for _ in range(self.first):
            next(source)
        source_frames: dict[int, np.ndarray] = {}
        # The previous batch's data predictions of each tile, by its position.
        past: dict[tuple[int, int], AnyArray | None] = {}
        # The window before, from which frames not emitted yet are taken.
        previous: list[np.ndarray] = []
        previous_begin = emitted = 0
        for batch in windowed.window_batches(len(plan.starts), config.batch):
            begins = plan.starts[batch] * plan.stride
            rows = np.minimum(begins[:, None] + np.arange(T), n - 1)
            source_frames = {row: frame for row, frame in source_frames.items() if row >= rows.min()}
            for row in range(max(source_frames, default=-1) + 1, rows.max() + 1):
                source_frames[row] = next(source)
            clips = self._edit_batch(source_frames, rows, plan, batch, past)
            for i in windows.unpadded_rows(batch):
                begin, clip = int(begins[i]), clips[i]
                if batch[i]:
                    # Frames that the window before shows too fade from its version to this one's.
                    shared = max(0, previous_begin + len(previous) - begin)
                    rise = np.arange(1, shared + 1) / (shared + 1)
                    for t in range(shared):
                        old = previous[len(previous) - shared + t]
                        clip[t] = cv2.addWeighted(old, 1 - rise[t], clip[t], rise[t], 0)
                    yield from previous[emitted - previous_begin : begin - previous_begin]
                    emitted = begin
                previous, previous_begin = clip, begin
        yield from previous[emitted - previous_begin : n - previous_begin]

    def _edit_batch(
        self,
        source_frames: Mapping[int, np.ndarray],
        rows: np.ndarray,
        plan: windows.WindowPlan,
        batch: np.ndarray,
        past: dict[tuple[int, int], AnyArray | None],
    ) -> list[list[np.ndarray]]:
        """Edit one batch of windows: uint8 [H, W, 3] for each of `rows` [b, T]; `past` is read and replaced."""
        model, config, settings = self.model, self.model.config, self.settings
        H, W = source_frames[int(rows[0, 0])].shape[:2]
        h, w = config.height, config.width
        grid = TileGrid.of((H, W), (h, w), config.vae.stride_xy)
        clips = [[source_frames[int(row)] for row in window] for window in rows]
        canvas = [[np.zeros((H, W, 3), np.uint8) for _ in window] for window in rows]
        small, levels, noise = self.small[rows], None, None
        starts = [int(start) for start in plan.starts[batch]]
        if self.inputs.mask_lookup is not None:
            is_edited = self.inputs.mask_lookup(rows + self.first)[..., None]
            levels = np.where(is_edited, np.float32(255), np.float32(0)).repeat(3, -1)
            z_everywhere = None
        elif "mask" not in model.conditions:
            z_everywhere = None
        else:
            z_everywhere = model.encode_mask(np.full((*rows.shape, h, w, 3), 255, np.uint8))
        for y in grid.ys:
            for x in grid.xs:
                z_src = model.encode(grid.cut(clips, y, x))
                begin = model.encode(grid.cut_enlarged(small, y, x))
                if levels is None:
                    z_msk = z_everywhere
                else:
                    z_msk = model.encode_mask(grid.cut_enlarged(levels, y, x))
                # Latents of any model are [b, t, y, x, ...].
                cell_h, cell_w = h // z_src.shape[2], w // z_src.shape[3]
                if noise is None:
                    # Noise of the whole frame, so that tiles share it.
                    shape = (grid.ys[-1] + h) // cell_h, (grid.xs[-1] + w) // cell_w, *z_src.shape[4:]
                    noise = np.stack(
                        [windows.window_noise(settings.seed, start, plan.frames, shape) for start in starts]
                    )
                corner = y // cell_h, x // cell_w
                cells = slice(corner[0], (y + h) // cell_h), slice(corner[1], (x + w) // cell_w)
                seeds = [windows.noise_seeds(settings.seed, start, plan.frames, corner) for start in starts]
                request = SampleRequest(
                    z_src, z_msk, self.inputs.reference, self.inputs.text, noise[:, :, *cells],
                    settings.steps_of(config), settings.guidance_of(config), links=plan.links(batch, past.get((y, x))),
                    begin=begin, strength=min(TILE_STRENGTH, settings.strength), mode=settings.guide,
                    negative=self.inputs.negative, seeds=np.stack(seeds), low_guidance=settings.low_guidance_of(config),
                    guidance_reference=settings.guidance_reference, guidance_source=settings.guidance_source, others=self.inputs.others,
                )  # fmt: skip
                output = model.sample(request)
                past[y, x] = output.past
                opacity = _rise(h, y > 0)[:, None] * _rise(w, x > 0)
                for window, tiles in zip(canvas, np.asarray(model.decode(output.latents)), strict=True):
                    for frame, tile in zip(window, tiles, strict=True):
                        _paste(frame, tile, opacity, y, x)
        return canvas


def _tile_starts(full: int, side: int, stride: int) -> list[int]:
    """Return where tiles begin along one axis: multiples of the stride, the last tile covering the end."""
    hop = max(stride, int(side * (1 - TILE_OVERLAP)) // stride * stride)
    last = max(0, -(-(full - side) // stride) * stride)
    return sorted({min(start, last) for start in range(0, last + hop, hop)})


def _rise(side: int, has_neighbor: bool) -> np.ndarray:
    """Return the opacity of a tile along one axis, float32 [side], rising from the side that it shares with an earlier tile."""
    out = np.ones(side, np.float32)
    if has_neighbor:
        # Well inside the overlap, wherever the last tile lies.
        width = max(1, int(side * TILE_OVERLAP) // 2)
        out[:width] = np.arange(1, width + 1) / (width + 1)
    return out


def _paste(frame: np.ndarray, tile: np.ndarray, opacity: np.ndarray, y: int, x: int) -> None:
    """Blend a tile into a frame, in place."""
    part = frame[y : y + len(tile), x : x + tile.shape[1]]
    tile, opacity = tile[: len(part), : part.shape[1]], opacity[: len(part), : part.shape[1], None]
    blend = part + opacity * (tile - part) if (opacity < 1).any() else tile
    part[...] = enlarge(blend, *part.shape[:2])
