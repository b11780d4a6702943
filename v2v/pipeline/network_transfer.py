"""The detail network as an upsampler: small source and edit, large frame -> **NetworkTransfer** -> large edit.

Where an edit is a function of color, or of a thing, the detail transfer alone is exact at any size; where it changes texture, the network works
at a fixed number of lines on top of it, and its result is enlarged. `choose_upsampler` tries small frames, and uses the network if they change.
"""

import functools

import cv2
import jax
import numpy as np

from v2v.checkpoints.detail_file import DetailWeights
from v2v.config import DetailConfig
from v2v.models.detail_network import Detail, DetailNetwork
from v2v.pipeline.full_resolution import FrameRegion, FrameRows, Upsampler
from v2v.video.detail_transfer.transfer import DetailTransfer, enlarge
from v2v.video.pixels import HALF_RANGE, denormalize_pixels, normalize_pixels, round_to_uint8

# Levels, root mean square: an edit that the network changes less is left to the transfer.
MIN_CHANGE = 4.0
# Frames that are tried.
_TRIED = 3


class NetworkTransfer:
    """The transfer of one clip's edit, with the network's detail.

    Attributes:
      transfer: what the network starts from.
    """

    def __init__(self, transfer: DetailTransfer, weights: DetailWeights):
        """Make an upsampler.

        Args:
          transfer: fitted to the clip.
          weights: of the network.
        """
        self.transfer, self._weights = transfer, weights

    def measure_change(self, source: np.ndarray, edit: np.ndarray) -> float:
        """Return how far the network changes what the transfer makes of a small frame, root mean square in levels."""
        h, w = source.shape[:2]
        scale = self._weights.config.lines / min(h, w)
        low, transfer = self._reduce(enlarge(source, round(h * scale), round(w * scale)), source, edit)
        difference = self._apply(low, transfer, source, edit).frames[0] - normalize_pixels(transfer)
        return float(np.sqrt((np.asarray(difference) ** 2).mean())) * HALF_RANGE

    def __call__(
        self, frame: np.ndarray, source: np.ndarray, edit: np.ndarray, region: FrameRegion | None = None
    ) -> np.ndarray:
        """Return one edited large frame, as `DetailTransfer` does."""
        low, transfer = self._reduce(frame, source, edit)
        detail = self._apply(low, transfer, source, edit)
        H, W = frame.shape[:2]
        levels, gain, low = (
            cv2.resize(image, (W, H), interpolation=cv2.INTER_LINEAR)
            for image in (
                denormalize_pixels(np.asarray(detail.frames[0])),
                np.asarray(detail.gain[0, ..., 0]),
                low.astype(np.float32),
            )
        )
        out = round_to_uint8(levels + gain[..., None] * (frame - low))
        return out if region is None else out[region]

    def _reduce(
        self, frame: np.ndarray, source: np.ndarray, edit: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a frame at the network's lines and what the transfer makes of it, uint8 [h, w, 3] each."""
        config = self._weights.config
        scale = min(1.0, config.lines / min(frame.shape[:2]))
        height, width = (
            max(1, round(n * scale / config.multiple)) * config.multiple for n in frame.shape[:2]
        )
        low = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
        return low, self.transfer(low, source, edit)

    def _apply(self, low: np.ndarray, transfer: np.ndarray, source: np.ndarray, edit: np.ndarray) -> Detail:
        images = (normalize_pixels(image)[None] for image in (low, transfer, source, edit))
        return build_program(self._weights.config)(self._weights.params, *images)


def choose_upsampler(
    transfer: DetailTransfer, weights: DetailWeights, source: FrameRows, edit: FrameRows
) -> Upsampler:
    """Return the transfer with the network where that changes the edit, else the transfer alone.

    Args:
      transfer: fitted to the clip.
      weights: of the network.
      source: small source frames, float32 [h, w, 3] in levels.
      edit: small edit frames.
    """
    network = NetworkTransfer(transfer, weights)
    rows = sorted({len(edit) * k // _TRIED for k in range(_TRIED)})
    changes = [network.measure_change(source[row], edit[row]) for row in rows]
    return network if float(np.mean(changes)) >= MIN_CHANGE else transfer


@functools.lru_cache(maxsize=4)
def build_program(config: DetailConfig):
    """Return the jitted network of some sizes, (params, frames, transfer, source, edit) to Detail."""
    network = DetailNetwork(config)
    return jax.jit(lambda params, *images: network.apply({"params": params}, *images))
