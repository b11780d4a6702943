"""Paint a mask in a notebook: a frame to draw on, and the mask that follows from what was drawn.

    painter = MaskPainter(clip.frames[0])
    painter                                    # as the last line of a cell: paint with the mouse or a finger
    editor.edit_video(clip, "make it sepia", mask=painter.mask)

What is drawn are strokes, lines of points with a width, which code may draw too: `painter.stroke([(20, 30), (60, 40)], width=12)`. Drawing by hand
needs the package anywidget; without it the frame is shown with its strokes.
"""

import base64
import importlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from v2v.errors import InputError

# Numbers that a point is stored with: eighths of a pixel, as OpenCV draws.
_SHIFT = 3
_IMPORT = 'import { drawLine, followPointer } from "./page/strokes.js";\n'
_TINT = np.array([255, 64, 64], np.float32)


@dataclass(frozen=True)
class Stroke:
    """One line that was drawn.

    Attributes:
      points: x and y in pixels of the frame; one point is a dot.
      width: in pixels.
      erases: takes away instead.
    """

    points: tuple[tuple[float, float], ...]
    width: float
    erases: bool = False


class MaskPainter:
    """A frame to draw a mask on.

    Attributes:
      frame: uint8 [H, W, 3].
    """

    def __init__(self, frame: np.ndarray):
        """Begin with an empty mask.

        Args:
          frame: uint8 [H, W, 3] RGB.

        Raises:
          InputError: another shape or type.
        """
        frame = np.asarray(frame)
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
            raise InputError(
                f"frame: expected uint8 [H, W, 3], got {frame.dtype} {list(frame.shape)}; one frame of a clip is clip.frames[0]"
            )
        self.frame = frame
        self._strokes: list[Stroke] = []
        self._widget: Any = None

    @property
    def strokes(self) -> tuple[Stroke, ...]:
        """Return what was drawn, in its order."""
        return tuple(self._strokes)

    @property
    def mask(self) -> np.ndarray:
        """Return the mask, uint8 [H, W], white where to edit."""
        mask = np.zeros(self.frame.shape[:2], np.uint8)
        for stroke in self._strokes:
            points = np.rint(np.array(stroke.points, np.float64) * (1 << _SHIFT)).astype(np.int32)
            level = 0 if stroke.erases else 255
            # Half a pixel more on each side: coordinates are those of corners, OpenCV's of centers.
            points -= 1 << (_SHIFT - 1)
            width = max(1, round(stroke.width))
            cv2.polylines(mask, [points[:, None]], False, level, width, cv2.LINE_8, _SHIFT)
            for point in points:
                radius = round(stroke.width / 2 * (1 << _SHIFT))
                cv2.circle(mask, point.tolist(), radius, level, cv2.FILLED, cv2.LINE_8, _SHIFT)
        return mask

    def stroke(
        self, points: Sequence[tuple[float, float]], width: float = 24.0, *, erases: bool = False
    ) -> "MaskPainter":
        """Draw a line; return the painter.

        Args:
          points: x and y in pixels of the frame.
          width: in pixels.
          erases: take away instead.

        Raises:
          InputError: no point, numbers that are not finite, or no width.
        """
        stroke = _check_stroke({"points": points, "width": width, "erases": erases})
        self._strokes.append(stroke)
        self._send()
        return self

    def undo(self) -> "MaskPainter":
        """Take back the last stroke, if there is one; return the painter."""
        del self._strokes[-1:]
        self._send()
        return self

    def clear(self) -> "MaskPainter":
        """Take back all; return the painter."""
        self._strokes.clear()
        self._send()
        return self

    def preview(self) -> np.ndarray:
        """Return the frame with the mask over it in red, uint8 [H, W, 3]."""
        opacity = self.mask[..., None].astype(np.float32) / 255 * 0.5
        return np.rint(self.frame * (1 - opacity) + _TINT * opacity).astype(np.uint8)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """Show it in a notebook: to draw on with anywidget, else as a picture."""
        widget = self._build_widget()
        if widget is None:
            data = base64.b64encode(_encode_png(self.preview())).decode()
            text = "drawing by hand: pip install anywidget; from code: painter.stroke([(x, y), ...], width)"
            return {"image/png": data, "text/plain": text}
        return widget._repr_mimebundle_(**options)  # noqa: SLF001  what notebooks call

    def _build_widget(self) -> Any:
        """Return the widget; None where anywidget isn't installed."""
        if self._widget is not None:
            return self._widget
        try:
            anywidget, traitlets = importlib.import_module("anywidget"), importlib.import_module("traitlets")
        except ImportError:
            return None
        traits = {
            "_esm": read_widget_script(),
            "picture": traitlets.Unicode().tag(sync=True),
            "strokes": traitlets.List().tag(sync=True),
        }
        kind = type("MaskPainterWidget", (anywidget.AnyWidget,), traits)
        picture = base64.b64encode(_encode_png(self.frame)).decode()
        self._widget = kind(picture=f"data:image/png;base64,{picture}", strokes=self._describe())
        self._widget.observe(self._receive, names="strokes")
        return self._widget

    def _describe(self) -> list[dict[str, Any]]:
        return [
            asdict(stroke) | {"points": [list(point) for point in stroke.points]} for stroke in self._strokes
        ]

    def _send(self) -> None:
        """Show the strokes of Python in the browser."""
        if self._widget is not None:
            self._widget.strokes = self._describe()

    def _receive(self, change: Any) -> None:
        """Take the strokes of the browser."""
        self._strokes = [_check_stroke(stroke) for stroke in change["new"]]


def read_widget_script() -> str:
    """Return the browser's part as one module, with what the page draws strokes by in place of its import."""
    folder = Path(__file__).parent
    script = (folder / "mask_painter.js").read_text(encoding="utf-8")
    assert _IMPORT in script, "mask_painter.js imports it"
    return script.replace(_IMPORT, (folder / "page" / "strokes.js").read_text(encoding="utf-8"))


def _check_stroke(stroke: dict[str, Any]) -> Stroke:
    """Return a stroke.

    Raises:
      InputError: it is none.
    """
    points = np.asarray(stroke["points"], np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points) or not np.isfinite(points).all():
        raise InputError("stroke: expected points [(x, y), ...] in pixels of the frame")
    width = float(stroke["width"])
    if not 0 < width <= 10_000:
        raise InputError(f"stroke: expected a width in pixels above 0, got {width:g}")
    return Stroke(tuple((float(x), float(y)) for x, y in points), width, bool(stroke["erases"]))


def _encode_png(frame: np.ndarray) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1].tobytes()
