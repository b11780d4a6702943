"""Overlays: text, subtitles, logos and watermarks that lie over a clip, as exact layers of color and opacity.

words, place, size → **overlay** → `add_overlay` → clip. Everything is drawn at any frame size from OpenCV's own fonts (strokes in version 4,
outlines from 5 on, so letters differ between the two; ASCII only) and simple shapes, larger than needed and reduced: edges are smooth,
and layers are exactly 0 outside.

With c the layer's color and a its opacity, x ← (1 - a) x + a c; `remove_overlay` undoes that where something of x is left.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from data_synth.operators.pixel_math import map_frames

# Name → OpenCV's font and the thickness of its strokes, in heights of a capital.
FONTS: dict[str, tuple[int, float]] = {
    "plain": (cv2.FONT_HERSHEY_SIMPLEX, 0.15),
    "light": (cv2.FONT_HERSHEY_DUPLEX, 0.09),
    "serif": (cv2.FONT_HERSHEY_TRIPLEX, 0.09),
    "heavy": (cv2.FONT_HERSHEY_SIMPLEX, 0.24),
}
LOGO_SHAPES = ("round", "square", "star", "triangular", "diamond")
# Places of texts and logos → centre in the frame, (x, y) in 0..1.
PLACES = {
    "at the top": (0.5, 0.12),
    "in the middle": (0.5, 0.5),
    "at the bottom": (0.5, 0.88),
    "in the top left corner": (0.0, 0.0),
    "in the top right corner": (1.0, 0.0),
    "in the bottom left corner": (0.0, 1.0),
    "in the bottom right corner": (1.0, 1.0),
}
CORNERS = tuple(place for place in PLACES if place.endswith("corner"))
# Layers are drawn so many times larger.
_FINE = 4
# Opacity above which nothing of the clip can be told from under a layer.
_OPAQUE = 0.9

Color = Sequence[float]


@dataclasses.dataclass(frozen=True)
class Overlay:
    """A layer over a frame.

    Attributes:
      color: float32 [H, W, 3] in 0..1.
      alpha: float32 [H, W] in 0..1; exactly 0 where the layer is not.
    """

    color: np.ndarray
    alpha: np.ndarray

    def footprint(self) -> np.ndarray:
        """Return where the layer may change a pixel, bool [H, W]."""
        return self.alpha > 0


def add_overlay(video: np.ndarray, overlays: Sequence[Overlay]) -> np.ndarray:
    """Lay one overlay over each frame: x ← (1 - a) x + a c. Frames are unchanged outside the footprint.

    Args:
      video: uint8 [T, H, W, 3].
      overlays: One for each frame, or a single one for all.
    """

    def add(x: np.ndarray, k: int) -> np.ndarray:
        overlay = overlays[k % len(overlays)]
        return x + overlay.alpha[..., None] * (overlay.color - x)

    return map_frames(video, add)


def remove_overlay(video: np.ndarray, overlays: Sequence[Overlay]) -> np.ndarray:
    """Undo `add_overlay`, up to its rounding divided by 1 - a: x ← (x - a c) / (1 - a) where a <= 0.9; elsewhere nothing is changed."""

    def remove(x: np.ndarray, k: int) -> np.ndarray:
        overlay = overlays[k % len(overlays)]
        alpha = np.where(overlay.alpha > _OPAQUE, 0, overlay.alpha)[..., None]
        return (x - alpha * overlay.color) / (1 - alpha)

    return map_frames(video, remove)


def draw_text(
    words: str,
    H: int,
    W: int,
    color: Color = (255, 255, 255),
    place: str = "in the middle",
    height: float = 0.12,
    font: str = "plain",
    opacity: float = 1.0,
) -> Overlay:
    """Return a line of text with a thin dark or bright outline, which keeps it readable over anything.

    Args:
      words: ASCII text; it is made smaller where it would be wider than 92 % of the frame.
      H: Frame height in pixels.
      W: Frame width in pixels.
      color: RGB, 0..255.
      place: Name of PLACES.
      height: Height of capitals, in shorter sides of the frame.
      font: Name of FONTS.
      opacity: Opacity of the letters.
    """
    size = height * min(H, W)
    fill, outline = _draw_lines([words], size, font, 0.92 * W, 0.06)
    is_dark = np.dot(color, (0.299, 0.587, 0.114)) < 110
    outline_color = (235, 235, 235) if is_dark else (20, 20, 20)
    fill, outline = (_place_cover(cover, H, W, place) for cover in (fill, outline))
    return _layer(fill, color, outline, outline_color, opacity)


def draw_subtitle(
    words: str, H: int, W: int, color: Color = (255, 255, 255), is_boxed: bool = False, height: float = 0.05
) -> Overlay:
    """Return a subtitle at the bottom of the frame, in one to three lines: with a black outline, or on a dark box.

    Args:
      words: ASCII text.
      H: Frame height in pixels.
      W: Frame width in pixels.
      color: RGB, 0..255.
      is_boxed: Whether it has a translucent black box instead of an outline.
      height: Height of capitals, in shorter sides of the frame.
    """
    size = max(height * min(H, W), 3.0)
    lines = _wrap(words, size, 0.86 * W)
    fill, outline = _draw_lines(lines, size, "light", 0.9 * W, 0 if is_boxed else 0.14)
    fill, outline = (_place_cover(cover, H, W, "at the bottom", 0.06) for cover in (fill, outline))
    if not is_boxed:
        return _layer(fill, color, outline, (0, 0, 0), 1.0)
    rows, columns = np.nonzero(fill)
    box = np.zeros((H, W), np.float32)
    if len(rows):
        margin = max(1, round(0.4 * size))
        top, left = max(0, rows.min() - margin), max(0, columns.min() - margin)
        box[top : rows.max() + margin + 1, left : columns.max() + margin + 1] = 0.6
    return _layer(fill, color, box, (0, 0, 0), 1.0)


def draw_logo(
    shape: str,
    letter: str,
    H: int,
    W: int,
    color: Color,
    place: str = "in the top right corner",
    height: float = 0.16,
    opacity: float = 0.9,
) -> Overlay:
    """Return a logo: a plain shape with a letter in it.

    Args:
      shape: Name of LOGO_SHAPES.
      letter: One ASCII character.
      H: Frame height in pixels.
      W: Frame width in pixels.
      color: RGB of the shape, 0..255; the letter is white on dark shapes and black on bright ones.
      place: Name of PLACES.
      height: Height of the shape, in shorter sides of the frame.
      opacity: Opacity of the whole.
    """
    side = max(3, round(height * min(H, W)))
    badge = _draw_shape(shape, side)
    glyph, _ = _draw_lines(
        [letter], 0.42 * side if shape in ("round", "square") else 0.3 * side, "heavy", side, 0
    )
    inner = np.zeros_like(badge)
    top = round((0.62 if shape == "triangular" else 0.5) * side - glyph.shape[0] / 2)
    left = (side - glyph.shape[1]) // 2
    if top >= 0 and left >= 0:
        inner[top : top + glyph.shape[0], left : left + glyph.shape[1]] = glyph[: side - top, : side - left]
    is_dark = np.dot(color, (0.299, 0.587, 0.114)) < 140
    fill, outline = (_place_cover(cover, H, W, place) for cover in (inner * badge, badge))
    return _layer(fill, (250, 250, 250) if is_dark else (15, 15, 15), outline, color, opacity)


def draw_watermark(
    words: str, H: int, W: int, color: Color = (255, 255, 255), is_tiled: bool = True, opacity: float = 0.35
) -> Overlay:
    """Return a translucent watermark: the words once, large and slanted, or repeated all over the frame.

    Args:
      words: ASCII text.
      H: Frame height in pixels.
      W: Frame width in pixels.
      color: RGB, 0..255.
      is_tiled: Whether it is repeated.
      opacity: Opacity of the letters.
    """
    side = min(H, W)
    if is_tiled:
        fill, _ = _draw_lines([words], 0.055 * side, "plain", W, 0)
        gap_y, gap_x = round(2.2 * fill.shape[0]), max(2, round(0.12 * side))
        tile = np.pad(fill, ((0, gap_y), (0, gap_x)))
        shifted = np.roll(tile, tile.shape[1] // 2, 1)
        reach = int(np.ceil(np.hypot(H, W)))
        block = np.concatenate([tile, shifted])
        field = np.tile(block, (reach // block.shape[0] + 1, reach // block.shape[1] + 2))[:reach, :reach]
        angle = 28.0
    else:
        field, _ = _draw_lines([words], 0.2 * side, "plain", 0.85 * W, 0)
        angle = float(np.rad2deg(np.arctan2(0.35 * H, W)))
    turn = cv2.getRotationMatrix2D(((field.shape[1] - 1) / 2, (field.shape[0] - 1) / 2), angle, 1)
    turn[:, 2] += ((W - field.shape[1]) / 2, (H - field.shape[0]) / 2)
    cover = cv2.warpAffine(
        field, turn, (W, H), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )
    return _layer(cover, color, np.zeros_like(cover), color, opacity)


def _layer(fill: np.ndarray, color: Color, under: np.ndarray, under_color: Color, opacity: float) -> Overlay:
    """Return the layer of a cover of one color over a cover of another, both float32 [H, W]."""
    alpha = fill + (1 - fill) * under
    share = (fill / np.maximum(alpha, 1e-6))[..., None]
    top, bottom = (np.array(c, np.float32) / 255 for c in (color, under_color))
    return Overlay(share * top + (1 - share) * bottom, (np.float32(opacity) * alpha).astype(np.float32))


def _text_width(line: str, size: float, font: str) -> float:
    """Return the width of a line in pixels for capitals of `size` pixels."""
    face, weight = FONTS[font]
    capital = cv2.getTextSize("H", face, 10, 1)[0][1] / 10
    return cv2.getTextSize(line, face, 10, 1)[0][0] / 10 * size / capital + weight * size


def _wrap(words: str, size: float, width: float) -> list[str]:
    """Break a sentence into at most three lines of about equal length that fit a width where that is possible."""
    for count in (1, 2, 3):
        lines, target = [""], len(words) / count
        for word in words.split():
            if lines[-1] and len(lines) < count and len(lines[-1]) + len(word) / 2 > target:
                lines.append("")
            lines[-1] = f"{lines[-1]} {word}".strip()
        if max(_text_width(line, size, "light") for line in lines) <= width:
            break
    return lines


def _draw_lines(
    lines: Sequence[str], size: float, font: str, width: float, outline: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the cover of centred lines of text and of their outline, float32 [h, w] in 0..1.

    Args:
      lines: ASCII texts.
      size: Height of capitals in pixels; less where a line would be wider than `width`.
      font: Name of FONTS.
      width: Largest width in pixels.
      outline: Width of the outline, in heights of a capital; 0 for none, an empty cover.
    """
    face, weight = FONTS[font]
    size = min(size, size * width / max(_text_width(line, size, font) for line in lines))
    size = max(size, 1.0) * _FINE
    thickness, margin = max(1, round(weight * size)), round((weight + outline) * size) + _FINE
    scale = size / (cv2.getTextSize("H", face, 10, 1)[0][1] / 10)
    widths = [cv2.getTextSize(line, face, scale, thickness)[0][0] for line in lines]
    pitch, descent = 1.75 * size, 0.45 * size
    rows = int(np.ceil(((len(lines) - 1) * pitch + size + descent + 2 * margin) / _FINE))
    columns = int(np.ceil((max(widths) + 2 * margin) / _FINE))
    canvas = np.zeros((rows * _FINE, columns * _FINE), np.uint8)
    for i, (line, line_width) in enumerate(zip(lines, widths, strict=True)):
        origin = (canvas.shape[1] - line_width) // 2, round(margin + size + i * pitch)
        cv2.putText(canvas, line, origin, face, scale, 255, thickness, cv2.LINE_AA)
    rim = np.zeros_like(canvas)
    if outline:
        reach = max(1, round(outline * size))
        rim = cv2.dilate(canvas, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1)))
    fill, rim = (cv2.resize(c, (columns, rows), interpolation=cv2.INTER_AREA) for c in (canvas, rim))
    return fill.astype(np.float32) / 255, rim.astype(np.float32) / 255


def _draw_shape(shape: str, side: int) -> np.ndarray:
    """Return the cover of a shape of LOGO_SHAPES, float32 [side, side]."""
    n = side * _FINE
    canvas, center, r = np.zeros((n, n), np.uint8), n / 2, n / 2 - 1
    if shape == "round":
        cv2.circle(canvas, (n // 2, n // 2), int(r), 255, -1)
    elif shape == "square":
        corner = max(1, round(0.18 * n))
        canvas[corner : n - corner] = 255
        canvas[:, corner : n - corner] = 255
        for y in (corner, n - 1 - corner):
            for x in (corner, n - 1 - corner):
                cv2.circle(canvas, (x, y), corner, 255, -1)
    else:
        turns, radii = {
            "star": (10, (r, 0.5 * r)),
            "triangular": (3, (r,)),
            "diamond": (4, (r,)),
        }[shape]
        angles = np.arange(turns) * 2 * np.pi / turns
        lengths = np.resize(radii, turns)
        points = center + np.stack([lengths * np.sin(angles), -lengths * np.cos(angles)], -1)
        cv2.fillPoly(canvas, [points.round().astype(np.int32)], 255)
    return cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _place_cover(cover: np.ndarray, H: int, W: int, place: str, margin: float = 0.04) -> np.ndarray:
    """Return a cover on an empty frame, float32 [H, W]: centred at its place, but at least a margin (of the shorter side) from the border."""
    x, y = PLACES[place]
    gap = round(margin * min(H, W))
    h, w = cover.shape
    top = int(np.clip(round(y * H - h / 2), gap, max(gap, H - gap - h)))
    left = int(np.clip(round(x * W - w / 2), min(gap, max(0, (W - w) // 2)), max(gap, W - gap - w)))
    frame = np.zeros((H, W), np.float32)
    part = cover[: max(0, H - top), : max(0, W - left)]
    frame[top : top + part.shape[0], left : left + part.shape[1]] = part
    return frame
