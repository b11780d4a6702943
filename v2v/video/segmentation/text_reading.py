"""Lines of text in one frame, read by RapidOCR (PP-OCR's networks, Apache-2.0, which come with the package)."""

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from v2v.errors import InputError, install_hint

# Longer side in pixels at which text is looked for; it is read at full size.
DETECTION_SIDE = 736
# How sure the reader must be of a line, and letters or digits that it must have, for it to be readable.
MIN_SCORE = 0.7
MIN_LETTERS = 2
# Share of the frame beyond which a box is no line of text.
MAX_AREA = 0.4


@dataclass(frozen=True)
class TextLine:
    """A line of text.

    Attributes:
      text: as read.
      quad: float32 [4, 2], its corners (x, y) in pixels, clockwise from where the text begins at the top.
    """

    text: str
    quad: np.ndarray

    @property
    def height(self) -> float:
        """Return its height in pixels."""
        return (
            float(np.linalg.norm(self.quad[3] - self.quad[0]) + np.linalg.norm(self.quad[2] - self.quad[1]))
            / 2
        )

    def cut(self, first: int, end: int) -> "TextLine":
        """Return the part with letters first to end, as if all were of the same width."""
        begin, stop = first / len(self.text), end / len(self.text)
        (a, b, c, d) = self.quad
        quad = np.stack([a + begin * (b - a), a + stop * (b - a), d + stop * (c - d), d + begin * (c - d)])
        return TextLine(self.text[first:end], quad.astype(np.float32))


class TextReader(Protocol):
    """Reads the text of one frame."""

    def __call__(self, frame: np.ndarray) -> list[TextLine]:
        """Return the lines of a frame, uint8 [H, W, 3] RGB, that are readable."""
        ...


class RapidReader:
    """RapidOCR, on one core."""

    def __init__(self):
        """Load the networks.

        Raises:
          InputError: the extra isn't installed.
        """
        try:
            import onnxruntime  # noqa: F401  what RapidOCR runs on, which it doesn't ask for itself
            from rapidocr import RapidOCR
            from rapidocr.utils.output import RapidOCROutput
        except ImportError as error:
            raise InputError(
                f"mask text: needs the packages rapidocr and onnxruntime ({error}); {install_hint('text')}"
            ) from None
        self._result_type = RapidOCROutput
        self._engine = RapidOCR(
            params={
                "Global.log_level": "critical",
                "Det.limit_type": "max",
                "Det.limit_side_len": DETECTION_SIDE,
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )

    def __call__(self, frame: np.ndarray) -> list[TextLine]:
        """Read a frame; see `TextReader`."""
        # The networks were trained on OpenCV's order of colours.
        result = self._engine(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), use_cls=False)
        # Its type depends on the steps that are asked for; here always all but the turning of lines.
        assert isinstance(result, self._result_type)
        if result.boxes is None or result.txts is None or result.scores is None:
            return []
        lines = []
        for quad, text, score in zip(result.boxes, result.txts, result.scores, strict=True):
            quad = np.asarray(quad, np.float32)
            is_readable = score >= MIN_SCORE and sum(map(str.isalnum, text)) >= MIN_LETTERS
            if is_readable and cv2.contourArea(quad) <= MAX_AREA * frame.shape[0] * frame.shape[1]:
                lines.append(TextLine(text, quad))
        return lines
