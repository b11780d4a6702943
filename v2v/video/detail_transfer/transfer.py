"""The small edit -> the large one. After the VAE's decoder, before compositing: the model edits small frames, people own large ones.

Given the large source I, and small source s and edit e as the model sees them (both through the VAE, so that what the VAE loses
cancels), the large edit is built from three terms, each explaining what the one before leaves:

    f(G I)         a colour map fitted to the whole clip (`detail_transfer/color_map.py`): all of a photometric edit, and noise averages out;
                   G is the identity, or a Gaussian where the edit is softer than its source (`detail_transfer/blur.py`);
    A(p) I + b(p)  a local affine map fitted in windows to the rest d = e - f(G s), a guided filter (He et al., "Guided Image
                   Filtering", 2013): objects removed, recoloured or replaced keep the large source's edges;
    r(p)           what is still left, upsampled: objects that are new.

`d` is noise where the edit is photometric and signal where it is local. Its scale is the median over the clip, and where its
energy in a 3x3 neighbourhood isn't well above that it is taken for noise (a Wiener gain). `detail_transfer/local_affine.py` has A, b and r.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from v2v.video.detail_transfer import blur, color_map
from v2v.video.detail_transfer.local_affine import WINDOW, LocalAffine, box_mean

NOISE_GATE = 2.0  # energy of d, in units of the noise's, at which it starts to count
MIN_DETAIL_GAIN = (
    0.3  # an edit that keeps less of the finest detail (a new background) starts from nothing instead of f
)
DETAIL_ENERGY = 1.0  # squared levels of finest detail (R, G and B together) from which a window's say counts
DETAIL_SHARE = 0.3  # of the pixels; with fewer in such windows nothing can be said
BAND_PIXELS = 1 << 16  # pixels carried at a time, in whole rows
FIT_PIXELS = 1_000_000  # small pixels that are fitted, at most; more of a clip tell nothing new
NOISE_CAP = (
    10.0  # levels: where most of the clip changes beyond any colour map, the median is no longer noise
)


@dataclass(frozen=True)
class DetailTransfer:
    """How one clip's edit is carried: `Carry.fit(small source, small edit)`, then `carry(large frame, its small source and edit)`.

    Attributes:
      colours: the clip's colour map f.
      noise: levels, the scale of d where the edit is photometric.
      sigma: standard deviations of G down and across, in pixels of the small frames; (0, 0) where G is the identity.
    """

    colours: color_map.ColorMap
    noise: float
    sigma: blur.Sigma = blur.NO_BLUR

    @classmethod
    def fit(cls, source: np.ndarray, edit: np.ndarray, where: np.ndarray | None = None) -> "DetailTransfer":
        """Learns how the small source becomes the small edit, from all of a clip's frames or some spread over it (`sample`).

        Args:
          source: float32 [T, h, w, 3] in levels 0..255, as decoded by the VAE.
          edit: the same of the edit.
          where: bool [T, h, w], the pixels that will be used (a mask), or None for all; the colour map is fitted to these.
        """
        where = np.ones(source.shape[:3], bool) if where is None or not where.any() else where
        sigma = blur.fit_blur(source, edit, where)
        softer = blur.blur_frames(source, sigma)
        colours = color_map.fit_color_map(softer[where], edit[where])
        mapped = np.stack([colours(_levels(frame)) for frame in softer])
        if sigma == blur.NO_BLUR and _detail_gain(mapped, edit, where) < MIN_DETAIL_GAIN:
            colours, mapped = color_map.ZERO, np.zeros_like(mapped)
        return cls(colours, min(NOISE_CAP, float(np.median(np.abs((edit - mapped)[where]))) / 0.6745), sigma)

    def __call__(
        self,
        frame: np.ndarray,
        source: np.ndarray,
        edit: np.ndarray,
        part: tuple[slice, slice] | None = None,
    ) -> np.ndarray:
        """One edited large frame: uint8 [H, W, 3], and the small source and edit float32 [h, w, 3] -> uint8 [H, W, 3].

        Args:
          part: only these rows and columns, the same bytes as of the whole.
        """
        size = frame.shape[:2]
        part = part or (slice(0, size[0]), slice(0, size[1]))
        softer = blur.blur_frames(source[None], self.sigma)[0]
        rest = _denoise(edit - self.colours(_levels(softer)), self.noise)
        local = LocalAffine(source, rest, size, part) if rest.any() else None
        softer, frame = blur.blur_large_frame(frame, source.shape[:2], self.sigma)[part], frame[part]
        H, W = frame.shape[:2]
        out, rows = np.empty(frame.shape, np.uint8), max(1, min(H, BAND_PIXELS // W))
        # Memory that every band uses again: asking the system for it anew costs more than the sums.
        planes = np.empty((3, rows, W), np.uint8)
        made, work = np.empty((rows, 3, W), np.float32), np.empty((4, rows, W), np.float32)
        levels = np.empty((rows, 3, W), np.uint8)
        for top in range(0, H, rows):
            n = min(rows, H - top)
            rgb, band, shown = planes[:, :n], made[:n], levels[:n]
            cv2.split(softer[top : top + n], list(rgb))
            self.colours.put(rgb, band, work[:, :n])
            if local:
                if self.sigma != blur.NO_BLUR:
                    cv2.split(frame[top : top + n], list(rgb))
                local.add(band, rgb, top)
            cv2.add(band.reshape(-1, W), 0.0, dst=shown.reshape(-1, W), dtype=cv2.CV_8U)
            cv2.merge([shown[:, channel] for channel in range(3)], dst=out[top : top + n])
        return out


def evenly_spaced_frames(count: int, height: int, width: int) -> np.ndarray:
    """Numbers of the frames, evenly spread over `count` of this small size, that suffice to fit."""
    return np.unique(
        np.linspace(0, count - 1, min(count, max(2, FIT_PIXELS // (height * width)))).astype(int)
    )


def enlarge(edit: np.ndarray, height: int, width: int) -> np.ndarray:
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
    fine, kept = (a - np.stack([box_mean(frame, 3) for frame in a]) for a in (mapped, edit))
    energy = np.stack([box_mean(frame, windows) for frame in (fine * fine).sum(-1)])
    common = np.stack([box_mean(frame, windows) for frame in (fine * kept).sum(-1)])
    rich = (energy > DETAIL_ENERGY) & where
    return float(np.median(common[rich] / energy[rich])) if rich.sum() > DETAIL_SHARE * where.sum() else 1.0
