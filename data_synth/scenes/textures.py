"""Backgrounds: procedural textures with natural-image statistics, and canonical backgrounds with names.

**texture** + camera → background frames → scene render. A texture is a *tile* of three zero-mean coefficient fields
(a, b, c), each in [-1, 1], colored by the scene:

    color(p) = base + mix @ (a, b, c)(tile coordinates of p)        mix: 3x3, columns = effect of a, b, c on RGB

so a few hundred cached tiles give an unlimited number of appearances. Tile families:
  leaves    dead leaves: occluding discs and boxes with radii ~ r^-3 (scale-invariant, edges and flat parts as in
            photographs; Lee, Mumford, Huang 2001), plus a little 1/f grain
  cloud     Gaussian field with amplitude spectrum f^-1.2 (photographs have about 1/f)
  gradient  the same with only the lowest frequencies
  stripes, checker   soft periodic patterns
A tile is drawn from its id alone, at the resolution that the frame needs, and mirrored beyond its border.
Canonical backgrounds are functions of the frame's height alone, so their name determines every pixel.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from pathlib import Path

import cv2
import numpy as np

KINDS = ("leaves", "cloud", "gradient", "stripes", "checker")
TILES_PER_KIND = 384
_tile_folder: Path | None = None  # set by `share_tiles`

# Named two-color vertical gradients, (top RGB, bottom RGB).
GRADIENTS = {
    "sunset": ((88, 50, 130), (250, 140, 50)),
    "ocean": ((120, 205, 225), (12, 50, 120)),
    "forest": ((120, 170, 80), (18, 62, 32)),
    "snow": ((150, 180, 215), (245, 248, 252)),
    "night sky": ((8, 10, 32), (45, 40, 95)),
    "desert": ((240, 215, 150), (160, 95, 45)),
    "storm": ((52, 58, 68), (140, 146, 152)),
    "meadow": ((130, 190, 240), (90, 170, 60)),
}


@dataclasses.dataclass(frozen=True)
class Texture:
    """A colored tile on the world plane.

    Attributes:
      kind: One of KINDS, "plain", or "named" (canonical: determined by `name` and `ends`).
      tile: Tile id, below TILES_PER_KIND.
      base: Mean RGB, 0..255.
      mix: 3x3; columns are the RGB steps of the fields a, b, c.
      scale: Width of the tile in world units (1 = the frame's short side).
      angle: Radians.
      offset: Tile coordinates (0..1) of the world's origin.
      name: Name of a canonical background, else "".
      ends: (top, bottom) RGB of a canonical background.
    """

    kind: str
    tile: int = 0
    base: tuple = (128.0, 128.0, 128.0)
    mix: tuple = ((0.0,) * 3,) * 3
    scale: float = 2.0
    angle: float = 0.0
    offset: tuple = (0.5, 0.5)
    name: str = ""
    ends: tuple = ()

    @property
    def is_canonical(self) -> bool:
        """Return whether the name determines the picture; it is then drawn unlit and does not follow the camera."""
        return self.kind == "named"


def canonical_texture(name: str, colors: dict[str, tuple]) -> Texture:
    """Return the canonical background called `name`: a gradient of GRADIENTS or a plain color of `colors`."""
    top, bottom = GRADIENTS[name] if name in GRADIENTS else (colors[name], colors[name])
    base = tuple((a + b) / 2 for a, b in zip(top, bottom, strict=True))
    return Texture("named", name=name, ends=(top, bottom), base=base)


def render_background(texture: Texture, to_world: np.ndarray, H: int, W: int) -> np.ndarray:
    """Render the texture under a moving camera.

    Args:
      texture: The texture.
      to_world: [T, 2, 3] affine maps from pixel index (x, y) to world coordinates.
      H: Frame height in pixels.
      W: Frame width in pixels.

    Returns:
      float32 [T, H, W, 3], 0..255 before lighting (may slightly exceed it).
    """
    T = to_world.shape[0]
    if texture.is_canonical:
        v = ((np.arange(H, dtype=np.float32) + 0.5) / H)[:, None]
        rows = (1 - v) * np.float32(texture.ends[0]) + v * np.float32(texture.ends[1])
        return np.ascontiguousarray(np.broadcast_to(rows[None, :, None], (T, H, W, 3)))
    base = np.asarray(texture.base, np.float32)
    if texture.kind == "plain":
        return np.ascontiguousarray(np.broadcast_to(base, (T, H, W, 3)))
    texels = _tile_size(texture.scale * min(H, W))
    fields = texture_tile(texture.kind, texture.tile, texels)
    cos, sin = np.cos(texture.angle) / texture.scale, np.sin(texture.angle) / texture.scale
    to_tile = np.array([[cos, -sin, texture.offset[0]], [sin, cos, texture.offset[1]], [0, 0, 1]])
    square = np.zeros((T, 3, 3))
    square[:, :2], square[:, 2, 2] = to_world, 1
    affine = (to_tile @ square)[:, :2] * texels
    affine[..., 2] -= 0.5  # texel centers sit at half-integers
    color = np.concatenate([np.asarray(texture.mix) / 127.0, base[:, None]], axis=1).astype(np.float32)
    out = np.empty((T, H, W, 3), np.float32)
    for t in range(T):
        warped = cv2.warpAffine(
            fields,
            affine[t],
            (W, H),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        cv2.transform(warped, color, dst=out[t])
    return out


def texture_tile(kind: str, index: int, texels: int) -> np.ndarray:
    """Return float32 [texels, texels, 3] coefficient fields in [-127, 127], a function of the arguments alone."""
    load_tile = _small_tile if texels <= 256 else _large_tile
    # The cache holds bytes (a quarter of float32); warping floats gives smooth sub-texel motion.
    return load_tile(kind, index, texels).astype(np.float32) - 128


def share_tiles(folder: Path) -> None:
    """Exchange small tiles with other processes through files in `folder`."""
    global _tile_folder
    folder.mkdir(parents=True, exist_ok=True)
    _tile_folder = folder


def _load_or_draw_tile(kind: str, index: int, texels: int) -> np.ndarray:
    """Load a tile from the shared folder, or draw it and write it there; files appear by renaming, so they are complete."""
    if _tile_folder is None:
        return _draw_tile(kind, index, texels)
    path = _tile_folder / f"{kind}-{index}-{texels}"
    if path.exists():
        return np.fromfile(path, np.uint8).reshape(texels, texels, 3)
    tile = _draw_tile(kind, index, texels)
    temporary_path = path.with_name(f"{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):  # disk is full: the tile stays in this process
        tile.tofile(temporary_path)
        temporary_path.replace(path)
    return tile


def _draw_tile(kind: str, index: int, texels: int) -> np.ndarray:
    rng = np.random.default_rng((KINDS.index(kind), index))
    fields = {
        "leaves": _leaves,
        "cloud": _cloud,
        "gradient": _gradient,
        "stripes": _stripes,
        "checker": _checker,
    }[kind](rng, texels)
    return np.clip(np.rint(fields * 127) + 128, 1, 255).astype(np.uint8)


# One process holds every small tile (about 90 MB at 128 texels) but only a handful of large ones (12 MB each).
_small_tile = functools.lru_cache(maxsize=2048)(_load_or_draw_tile)
_large_tile = functools.lru_cache(maxsize=8)(_draw_tile)


def _tile_size(pixels: float) -> int:
    """Return a power of two with about one texel a pixel: neither aliasing nor additional blur."""
    return int(2 ** np.clip(np.ceil(np.log2(pixels * 0.8)), 5, 11))


def _leaves(rng: np.random.Generator, texels: int) -> np.ndarray:
    n = 420
    # Inverse-CDF draw of p(r) ~ r^-3 on [r0, r1], in tile widths.
    r0, r1 = 0.022, 0.16
    radius = (r0**-2 - rng.random(n) * (r0**-2 - r1**-2)) ** -0.5
    radius[:14] = r1 * (1 + rng.random(14))  # a few large ones first, so nothing stays uncovered
    center = rng.random((n, 2)) * 1.1 - 0.05
    aspect, angle = rng.uniform(0.45, 1.0, n), rng.uniform(0, 360, n)
    value = rng.uniform(-1, 1, (n, 3))
    has_boxes = rng.random() < 0.35
    grain = _spectral_field(rng, texels, low=4, high=32, power=1.0)
    size, one = 2 * texels, 1 << 4  # twice the size, then averaged: antialiasing; 4 fractional bits
    canvas = np.full((size, size, 3), 128, np.uint8)
    colors = np.rint(128 + 127 * value).tolist()
    center_px, axes = center * size, np.stack([radius, radius * aspect], 1) * size
    for i in range(n):
        x, y = center_px[i].tolist()
        a, b = axes[i].tolist()
        if has_boxes:
            corners = cv2.boxPoints(((x * one, y * one), (2 * a * one, 2 * b * one), angle[i]))
            cv2.fillConvexPoly(canvas, np.rint(corners).astype(np.int32), colors[i], shift=4)
        else:
            cv2.ellipse(
                canvas,
                (round(x * one), round(y * one)),
                (round(a * one), round(b * one)),
                angle[i],
                0,
                360,
                colors[i],
                -1,
                cv2.LINE_8,
                4,
            )
    small = cv2.resize(canvas, (texels, texels), interpolation=cv2.INTER_AREA).astype(np.float32)
    return (small - 128) / 127 * 0.85 + 0.15 * grain


def _cloud(rng: np.random.Generator, texels: int) -> np.ndarray:
    return _spectral_field(rng, texels, low=1, high=48, power=rng.uniform(1.1, 1.6))


def _gradient(rng: np.random.Generator, texels: int) -> np.ndarray:
    return _spectral_field(rng, texels, low=1, high=2, power=1.0)


def _stripes(rng: np.random.Generator, texels: int) -> np.ndarray:
    x = (np.arange(texels, dtype=np.float32) + 0.5) / texels
    wave = np.tanh(2.5 * np.sin(2 * np.pi * int(rng.integers(4, 10)) * x + rng.uniform(0, 6.28)))
    return _pattern_field(np.broadcast_to(wave, (texels, texels)), rng, texels)


def _checker(rng: np.random.Generator, texels: int) -> np.ndarray:
    x = (np.arange(texels, dtype=np.float32) + 0.5) / texels
    wave = np.sin(2 * np.pi * int(rng.integers(3, 7)) * x)
    return _pattern_field(np.tanh(6 * wave[:, None] * wave), rng, texels)


def _pattern_field(field: np.ndarray, rng: np.random.Generator, texels: int) -> np.ndarray:
    """Put the pattern in a and slow variation in b and c, so that even a checkerboard is not flat."""
    slow = _spectral_field(rng, texels, low=1, high=3, power=1.0)
    slow[..., 0] = 0.8 * field
    return slow


def _spectral_field(rng: np.random.Generator, texels: int, low: int, high: int, power: float) -> np.ndarray:
    """Sample a Gaussian field with amplitude f^-power for low <= f <= high cycles a tile, clipped at ±2.5 sigma → ±1."""
    f = np.hypot(np.fft.fftfreq(2 * high + 2, 1 / (2 * high + 2))[:, None], np.arange(high + 1)[None])
    amplitude = np.where((f >= low) & (f <= high), np.maximum(f, 1) ** -power, 0)
    noise = rng.normal(size=(*f.shape, 3)) + 1j * rng.normal(size=(*f.shape, 3))
    spectrum = noise * amplitude[..., None]
    spectrum /= 2 * np.sqrt((amplitude[:, 1:] ** 2).sum() + 0.5 * (amplitude[:, 0] ** 2).sum())
    # Same coefficients on a grid of any size: cut or pad the two frequency axes.
    half = min(high, texels // 2 - 1)
    padded = np.zeros((texels, texels // 2 + 1, 3), np.complex64)
    padded[: half + 1, : half + 1] = spectrum[: half + 1, : half + 1]
    padded[-half:, : half + 1] = spectrum[-half:, : half + 1]
    field = np.fft.irfft2(padded, s=(texels, texels), axes=(0, 1)) * texels**2
    return np.clip(field / 2.5, -1, 1).astype(np.float32)
