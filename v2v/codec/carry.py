"""The small edit -> the large one. After the VAE's decoder, before compositing: the model edits small frames, people own large ones.

Given the large source I, and small source s and edit e as the model sees them (both through the VAE, so that what the VAE loses
cancels), the large edit is built from three terms, each explaining what the one before leaves:

    f(I)           a colour map fitted to the whole clip (`codec/colour.py`): all of a photometric edit, and noise averages out;
    A(p) I + b(p)  a local affine map fitted in windows to the rest d = e - f(s), a guided filter (He et al., "Guided Image
                   Filtering", 2013): objects removed, recoloured or replaced keep the large source's edges;
    r(p)           what is still left, upsampled: objects that are new.

`d` is noise where the edit is photometric and signal where it is local. Its scale is the median over the clip, and where its
energy in a 3x3 neighbourhood isn't well above that it is taken for noise (a Wiener gain). The covariances behind A are taken
within 3x3 patches and summed over a window, so A tells what becomes of detail, not of slow shading, which b and r carry anyway.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from v2v.codec import colour

WINDOW = 3  # radius in small pixels of the windows of the local fit
RIDGE = 15.0  # squared levels of contrast below which the local fit prefers A = 0
NOISE_GATE = 2.0  # energy of d, in units of the noise's, at which it starts to count
DETAIL_KEPT = 0.3  # an edit that keeps less of the finest detail (blur, a new background) starts from nothing instead of f
DETAIL_ENERGY = 1.0  # squared levels of finest detail (R, G and B together) from which a window's say counts
DETAIL_SHARE = 0.3  # of the pixels; with fewer in such windows nothing can be said
BAND = 32  # rows carried at a time
FIT_PIXELS = 1_000_000  # small pixels that are fitted, at most; more of a clip tell nothing new
NOISE_CAP = (
    10.0  # levels: where most of the clip changes beyond any colour map, the median is no longer noise
)


@dataclass(frozen=True)
class Carry:
    """How one clip's edit is carried: `Carry.fit(small source, small edit)`, then `carry(large frame, its small source and edit)`.

    Attributes:
      colours: the clip's colour map f.
      noise: levels, the scale of d where the edit is photometric.
    """

    colours: colour.ColourMap
    noise: float

    @classmethod
    def fit(cls, source: np.ndarray, edit: np.ndarray, where: np.ndarray | None = None) -> "Carry":
        """Learns how the small source becomes the small edit, from all of a clip's frames or some spread over it (`sample`).

        Args:
          source: float32 [T, h, w, 3] in levels 0..255, as decoded by the VAE.
          edit: the same of the edit.
          where: bool [T, h, w], the pixels that will be used (a mask), or None for all; the colour map is fitted to these.
        """
        where = np.ones(source.shape[:3], bool) if where is None or not where.any() else where
        colours = colour.fit(source[where], edit[where])
        mapped = np.stack([colours(_levels(frame)) for frame in source])
        if _detail_gain(mapped, edit, where) < DETAIL_KEPT:
            colours, mapped = colour.NOTHING, np.zeros_like(mapped)
        return cls(colours, min(NOISE_CAP, float(np.median(np.abs((edit - mapped)[where]))) / 0.6745))

    def __call__(self, frame: np.ndarray, source: np.ndarray, edit: np.ndarray) -> np.ndarray:
        """One edited large frame: uint8 [H, W, 3], and the small source and edit float32 [h, w, 3] -> uint8 [H, W, 3].

        Works a band of rows at a time, so that what is in hand stays in the processor's cache and memory is that of one frame.
        """
        rest = _denoise(edit - self.colours(_levels(source)), self.noise)
        local = _Local(source, rest, frame.shape[:2]) if rest.any() else None
        out = np.empty_like(frame)
        for top in range(0, len(frame), BAND):
            band = frame[top : top + BAND]
            made = self.colours(band)
            if local:
                local.add(made, band, top)
            out[top : top + BAND] = _levels(made)
        return out


def sample(count: int, height: int, width: int) -> np.ndarray:
    """Numbers of the frames, evenly spread over `count` of this small size, that suffice to fit."""
    return np.unique(
        np.linspace(0, count - 1, min(count, max(2, FIT_PIXELS // (height * width)))).astype(int)
    )


def plain(edit: np.ndarray, height: int, width: int) -> np.ndarray:
    """One small frame [h, w, 3] enlarged and nothing else: uint8 [height, width, 3]."""
    return _levels(cv2.resize(edit, (width, height), interpolation=cv2.INTER_CUBIC))


def _levels(frame: np.ndarray) -> np.ndarray:
    return cv2.add(frame, 0.0, dtype=cv2.CV_8U)  # rounds and saturates in one pass


def _denoise(rest: np.ndarray, noise: float) -> np.ndarray:
    """Wiener gain on [h, w, 3]: 0 where the local energy is no more than NOISE_GATE times the noise's, towards 1 above."""
    energy = cv2.blur((rest**2).mean(-1), (3, 3))
    return rest * np.clip(1 - NOISE_GATE * noise**2 / np.maximum(energy, 1e-6), 0, 1)[..., None]


def _detail_gain(mapped: np.ndarray, edit: np.ndarray, where: np.ndarray) -> float:
    """How much of the finest detail of f(s) is found again in e: the slope of one's deviation from its 3x3 mean on the other's.

    The median over windows that have detail, so that an edited object doesn't speak for the clip; 1 where few have any.
    """
    windows = 2 * WINDOW + 1
    fine, kept = (a - np.stack([_mean(frame, 3) for frame in a]) for a in (mapped, edit))
    energy = np.stack([_mean(frame, windows) for frame in (fine * fine).sum(-1)])
    common = np.stack([_mean(frame, windows) for frame in (fine * kept).sum(-1)])
    rich = (energy > DETAIL_ENERGY) & where
    return float(np.median(common[rich] / energy[rich])) if rich.sum() > DETAIL_SHARE * where.sum() else 1.0


class _Local:
    """A I + b + r of one frame, at any rows of its large size."""

    def __init__(self, source: np.ndarray, rest: np.ndarray, size: tuple[int, int]):
        matrix = _local_matrix(source, rest)
        level = rest - np.einsum("hwij,hwj->hwi", matrix, source)  # b + r: what the matrix alone leaves
        (H, W), h = size, len(rest)
        self.level = cv2.resize(
            level, (W, h), interpolation=cv2.INTER_CUBIC
        )  # [h, W, 3]: wide first, high by bands
        self.matrix = [
            cv2.resize(np.ascontiguousarray(matrix[:, :, k]), (W, h), interpolation=cv2.INTER_LINEAR)
            for k in range(3)
        ]
        self.used = rest.any((1, 2)) | (np.abs(matrix).max((1, 2, 3)) > 0)
        eye = np.eye(h, dtype=np.float32)
        self.smooth = cv2.resize(
            eye, (h, H), interpolation=cv2.INTER_CUBIC
        )  # [H, h]: each large row as a sum of small ones
        self.linear = cv2.resize(eye, (h, H), interpolation=cv2.INTER_LINEAR)

    def add(self, out: np.ndarray, frame: np.ndarray, top: int) -> None:
        """Adds to `out` float32 [k, W, 3], the rows of `frame` from `top` on, in place."""
        rows = slice(top, top + len(frame))
        near = np.flatnonzero(self.smooth[rows].any(0) | self.linear[rows].any(0))
        near = slice(near[0], near[-1] + 1)
        if not self.used[near].any():
            return

        def high(weights: np.ndarray, wide: np.ndarray) -> np.ndarray:
            # Not `@`: BLAS's threads wait for one another in loops, which costs tens of times the sum itself on busy machines.
            return np.einsum("kj,jwc->kwc", weights[rows, near], wide[near])

        out += high(self.smooth, self.level)
        colour_of = frame.astype(np.float32)
        for channel in range(3):
            row = high(self.linear, self.matrix[channel])
            out[..., channel] += cv2.transform(
                cv2.multiply(row, colour_of, dst=row), np.ones((1, 3), np.float32)
            )


def _local_matrix(source: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """A at every small pixel, float32 [h, w, 3, 3]: ridge regression of rest on source within windows, then their mean."""
    windows = 2 * WINDOW + 1
    within = _mean(_mean(_outer(source, source), 3) - _outer(_mean(source, 3), _mean(source, 3)), windows)
    across = _mean(_mean(_outer(rest, source), 3) - _outer(_mean(rest, 3), _mean(source, 3)), windows)
    solved = np.linalg.solve(within + RIDGE * np.eye(3, dtype=np.float32), across.swapaxes(-1, -2))
    return _mean(np.ascontiguousarray(solved.swapaxes(-1, -2)), windows)


def _outer(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., :, None] * b[..., None, :]


def _mean(values: np.ndarray, size: int) -> np.ndarray:
    """Mean over size x size windows of [h, w, ...]."""
    h, w = values.shape[:2]
    return cv2.blur(values.reshape(h, w, -1), (size, size), borderType=cv2.BORDER_REFLECT).reshape(
        values.shape
    )
