"""Masks that don't flicker: each frame's is averaged with the previous one's, moved along with the picture.

    s_t = w warp(s_{t-1}) + (1 - w) m_t ,   w = MEMORY exp(-(d / TOLERANCE)²) ,   d = |I_t - warp(I_{t-1})|

I is the small frame that the network sees, the motion is OpenCV's DIS flow. Where the picture goes on as it was, w is near `MEMORY`
and what noise does to a network averages out; where something new appears, the new mask counts alone. After a cut nothing is kept.
"""

import cv2
import numpy as np

# Share of the previous mask where the picture goes on as it was.
MEMORY = 0.8
# Levels of difference, averaged over a few pixels, at which the share falls to a third.
TOLERANCE = 12.0
# Mean share below which a frame is taken for the first of another shot.
CUT_SHARE = 0.25
# Pixels over which differences are averaged.
BLUR = 5


class Steadier:
    """Steadies the masks of one clip; feed it frame by frame."""

    def __init__(self):
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._luma: np.ndarray | None = None
        self._mask: np.ndarray | None = None

    def add(self, frame: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, bool]:
        """Take the next frame and its mask.

        Args:
          frame: uint8 [h, w, 3].
          mask: float32 [h, w].

        Returns:
          The steady mask, float32 [h, w], and whether the frame begins a shot.
        """
        luma = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        is_cut = True
        if self._luma is not None and self._mask is not None:
            # From the new frame back to the old one. OpenCV's stubs lack the None that asks for no initial flow.
            motion = self._flow.calc(luma, self._luma, None)  # pyright: ignore[reportCallIssue, reportArgumentType]
            h, w = luma.shape
            columns, rows = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
            x, y = columns + motion[..., 0], rows + motion[..., 1]
            old = cv2.remap(self._luma, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            difference = cv2.blur(cv2.absdiff(luma, old).astype(np.float32), (BLUR, BLUR))
            share = np.exp(-((difference / TOLERANCE) ** 2)) * np.float32(MEMORY)
            is_cut = float(share.mean()) < CUT_SHARE
            if not is_cut:
                moved = cv2.remap(self._mask, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
                mask = share * moved + (1 - share) * mask
        self._luma, self._mask = luma, mask
        return mask, is_cut
