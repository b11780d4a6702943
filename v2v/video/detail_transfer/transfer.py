"""Detail transfer: the edit of small frames, applied to the full-size source. After decoding of the latents, before compositing.

Given the large source I, and small source s and edit e as the model sees them (both after the autoencoder's round trip, so that
what it loses cancels), the large edit is the sum of three terms, each explaining what the one before leaves:

    f(G I)         a colour map fitted to the whole clip (`color_map.py`): all of a photometric edit, and noise averages out;
                   G is the identity, or a Gaussian where the edit is softer than its source (`blur.py`);
    A(p) I + b(p)  a local affine map fitted in windows to the residual d = e - f(G s), a guided filter (He et al., "Guided Image
                   Filtering", 2013): objects removed, recoloured or replaced keep the large source's edges;
    r(p)           what is still left, upsampled: objects that are new.

`d` is noise where the edit is photometric and signal where it is local. Its scale is the median over the clip, and where its
energy in a 3x3 neighbourhood isn't well above that it is taken for noise (a Wiener gain). `local_affine.py` computes A, b and r.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from v2v.video.detail_transfer import blur, color_map
from v2v.video.detail_transfer.local_affine import WINDOW, LocalAffine, box_mean
from v2v.video.pixels import round_to_uint8

# Energy of d, in units of the noise's, at which it starts to count.
NOISE_GATE = 2.0
# An edit with a lower gain of the finest detail (a new background) starts from nothing instead of f.
MIN_DETAIL_GAIN = 0.3
# Squared levels of finest detail (R, G and B together) from which a window counts.
DETAIL_ENERGY = 1.0
# Share of the pixels; with fewer in such windows the gain is unknown.
DETAIL_SHARE = 0.3
# Pixels processed at a time, in complete rows.
BAND_PIXELS = 1 << 16
# Small pixels that are fitted, at most; more of a clip change nothing.
FIT_PIXELS = 1_000_000
# Levels: where most of the clip changes beyond any colour map, the median is no longer noise.
NOISE_CAP = 10.0


@dataclass(frozen=True)
class DetailTransfer:
    """The transfer of one clip's edit: `DetailTransfer.fit(source, edit)`, then a call for every large frame.

    Attributes:
      colours: the clip's colour map f.
      noise: levels, the scale of d where the edit is photometric.
      sigma: standard deviations of G, vertical and horizontal, in pixels of the small frames; (0, 0) where G is the identity.
    """

    colours: color_map.ColorMap
    noise: float
    sigma: blur.Sigma = blur.NO_BLUR

    @classmethod
    def fit(cls, source: np.ndarray, edit: np.ndarray, where: np.ndarray | None = None) -> "DetailTransfer":
        """Fit how the small source becomes the small edit, to all of a clip's frames or to `evenly_spaced_frames`.

        Args:
          source: float32 [T, h, w, 3] in levels 0..255, after the autoencoder's round trip.
          edit: the same frames of the edit.
          where: bool [T, h, w], the pixels that will be used (a mask), or None for all; the colour map is fitted to these.
        """
        where = np.ones(source.shape[:3], bool) if where is None or not where.any() else where
        sigma = blur.fit_blur(source, edit, where)
        softer = blur.blur_frames(source, sigma)
        colours = color_map.fit_color_map(softer[where], edit[where])
        mapped = np.stack([colours(round_to_uint8(frame)) for frame in softer])
        if sigma == blur.NO_BLUR and _detail_gain(mapped, edit, where) < MIN_DETAIL_GAIN:
            colours, mapped = color_map.ZERO, np.zeros_like(mapped)
        # A normal distribution's standard deviation is its median absolute deviation divided by 0.6745.
        noise = float(np.median(np.abs((edit - mapped)[where]))) / 0.6745
        return cls(colours, min(NOISE_CAP, noise), sigma)

    def __call__(
        self,
        frame: np.ndarray,
        source: np.ndarray,
        edit: np.ndarray,
        region: tuple[slice, slice] | None = None,
    ) -> np.ndarray:
        """Return one edited large frame.

        Args:
          frame: large source, uint8 [H, W, 3].
          source: small source, float32 [h, w, 3] in levels.
          edit: small edit, float32 [h, w, 3] in levels.
          region: rows and columns to compute, the same bytes as of the complete frame; None for all.

        Returns:
          uint8 [H, W, 3], or as many rows and columns as the region has.
        """
        size = frame.shape[:2]
        region = region or (slice(0, size[0]), slice(0, size[1]))
        softer = blur.blur_frames(source[None], self.sigma)[0]
        residual = _denoise(edit - self.colours(round_to_uint8(softer)), self.noise)
        local = LocalAffine(source, residual, size, region) if residual.any() else None
        softer = blur.blur_large_frame(frame, (source.shape[0], source.shape[1]), self.sigma)[region]
        frame = frame[region]
        H, W = frame.shape[:2]
        out, rows = np.empty(frame.shape, np.uint8), max(1, min(H, BAND_PIXELS // W))
        # Memory that every band uses again: asking the system for it anew costs more than the sums.
        planes = np.empty((3, rows, W), np.uint8)
        values, work = np.empty((rows, 3, W), np.float32), np.empty((4, rows, W), np.float32)
        levels = np.empty((rows, 3, W), np.uint8)
        for top in range(0, H, rows):
            n = min(rows, H - top)
            rgb, band, band_levels = planes[:, :n], values[:n], levels[:n]
            channels = list(rgb)
            cv2.split(softer[top : top + n], channels)
            self.colours.map_planes(channels, band, work[:, :n])
            if local:
                if self.sigma != blur.NO_BLUR:
                    cv2.split(frame[top : top + n], channels)
                local.add(band, rgb, top)
            round_to_uint8(band.reshape(-1, W), out=band_levels.reshape(-1, W))
            cv2.merge([band_levels[:, channel] for channel in range(3)], dst=out[top : top + n])
        return out


def evenly_spaced_frames(count: int, height: int, width: int) -> np.ndarray:
    """Return the numbers of frames that suffice to fit a clip, evenly spread from the first to the last.

    Args:
      count: frames of the clip.
      height: of its small frames.
      width: of its small frames.
    """
    return np.unique(
        np.linspace(0, count - 1, min(count, max(2, FIT_PIXELS // (height * width)))).astype(int)
    )


def enlarge(edit: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return one small frame, float32 [h, w, 3] in levels, enlarged without any transfer: uint8 [height, width, 3]."""
    return round_to_uint8(cv2.resize(edit, (width, height), interpolation=cv2.INTER_CUBIC))


def _denoise(residual: np.ndarray, noise: float) -> np.ndarray:
    """Apply a Wiener gain to [h, w, 3]: 0 up to a local energy of `NOISE_GATE` times the noise's, towards 1 above."""
    energy = cv2.blur((residual**2).mean(-1), (3, 3))
    return residual * np.clip(1 - NOISE_GATE * noise**2 / np.maximum(energy, 1e-6), 0, 1)[..., None]


def _detail_gain(mapped: np.ndarray, edit: np.ndarray, where: np.ndarray) -> float:
    """Return how much of the finest detail of f(s) is in e: the slope of one's deviation from its 3x3 mean on the other's.

    The median over windows that have detail, so that an edited object doesn't decide for the clip; 1 where few have any.
    """
    window = 2 * WINDOW + 1
    mapped_detail, edit_detail = (a - np.stack([box_mean(frame, 3) for frame in a]) for a in (mapped, edit))
    energy = np.stack([box_mean(frame, window) for frame in (mapped_detail * mapped_detail).sum(-1)])
    common = np.stack([box_mean(frame, window) for frame in (mapped_detail * edit_detail).sum(-1)])
    has_detail = (energy > DETAIL_ENERGY) & where
    if has_detail.sum() <= DETAIL_SHARE * where.sum():
        return 1.0
    return float(np.median(common[has_detail] / energy[has_detail]))
