"""From decoded frames to upright RGB: the last step of `decoder.py`."""

from pathlib import Path

import av
import cv2
import numpy as np
from av.error import FFmpegError
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import ColorRange, VideoReformatter

from v2v.errors import InputError
from v2v.video.encoder import EXACT_CONVERSION, rgb_planes
from v2v.video.orientation import read_exif_matrix
from v2v.video.output_format import HDR_TRANSFERS
from v2v.video.picture_items import PictureItem, read_picture_item

# The display matrix holds fixed-point numbers.
DISPLAY_MATRIX_UNIT = 1 << 16
# Codecs of pictures. PyAV reads all side data of a frame to give one entry, which for these may be metadata of cameras and
# profiles: it has no name for EXIF, and frees the name of a PNG's profile twice, which ends the process.
PICTURE_CODECS = ("png", "apng", "mjpeg", "webp", "tiff", "jpegxl", "jpegls", "jpeg2000")
# Color matrices that FFmpeg decodes but doesn't convert, by H.273 number.
UNCONVERTIBLE_MATRICES = {
    8: "YCgCo",
    10: "BT.2020 with constant luminance",
    11: "YDzDx",
    12: "chromaticity-derived Y'CbCr",
    13: "chromaticity-derived Y'CbCr with constant luminance",
    14: "ICtCp",
    15: "IPT-PQ-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}
# Metadata of HDR that outputs don't get.
HDR_METADATA = {
    SideData.MASTERING_DISPLAY_METADATA: "the mastering display's HDR metadata",
    SideData.CONTENT_LIGHT_LEVEL: "the content light level",
    SideData.DYNAMIC_HDR_PLUS: "HDR10+ metadata",
    SideData.DOVI_METADATA: "Dolby Vision metadata",
}


class FrameConverter:
    """A converter of the frames of one stream to RGB [H, W, 3] as a player shows them.

    Attributes:
      size: width and height of the first frame as stored.
      is_upright: whether frames are stored as they are shown, all of them.
      is_quarter_turn: whether stored and shown frames have height and width exchanged.
      is_transparent: whether the first frame has pixels that aren't opaque; their color is shown.
    """

    def __init__(self, first: av.VideoFrame, codec: str, path: Path, item: PictureItem | None = None):
        """Take size and orientation from a frame.

        Args:
          first: the first frame; later ones of another size are scaled to its size.
          codec: FFmpeg's name of the stream's codec.
          path: the file, whose metadata may tell how pictures are turned.
          item: how the picture of a HEIC or AVIF file is turned and cropped; None for what the frame tells.
        """
        self.size, self._path = (first.width, first.height), path
        matrix = _display_matrix(first, codec, path) if item is None else item.matrix
        self._crop = None if item is None or not _fits(item.crop, self.size) else item.crop
        if matrix is None or abs(round(np.linalg.det(matrix))) != 1:
            matrix = np.eye(2, dtype=int)
        self._matrix = matrix
        self.is_quarter_turn = bool(self._matrix[0, 0] == 0)
        self.is_upright = np.array_equal(self._matrix, np.eye(2)) and self._crop is None
        self._reformatter = VideoReformatter()
        self.is_transparent = _has_alpha(first) and int(first.to_ndarray(format="rgba")[..., 3].min()) < 255

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the shape of converted frames, (H, W, 3)."""
        width, height = self.size if self._crop is None else self._crop[2:]
        return (width, height, 3) if self.is_quarter_turn else (height, width, 3)

    def __call__(self, frame: av.VideoFrame, out: np.ndarray | None = None) -> np.ndarray:
        """Return a frame as contiguous uint8 [H, W, 3].

        Args:
          frame: the frame.
          out: memory for it, where `is_upright`.

        Raises:
          InputError: its colors can't be converted.
        """
        try:
            rgb = self._to_rgb(frame, out)
        except FFmpegError:
            matrix = UNCONVERTIBLE_MATRICES.get(
                int(frame.colorspace), f"{frame.format.name}, matrix {frame.colorspace}"
            )
            raise InputError(
                f"{self._path}: its colors are coded as {matrix}, which can't be converted; convert it to BT.709 first"
            ) from None
        if self.is_upright:
            return rgb
        if self._crop is not None:
            left, top, width, height = self._crop
            rgb = rgb[top : top + height, left : left + width]
        # x' depends on y: transpose, then apply the signs of what is now along each axis.
        if self.is_quarter_turn:
            rgb = rgb.transpose(1, 0, 2)
        horizontal, vertical = self._matrix.sum(axis=1)
        # OpenCV takes contiguous frames only.
        return np.ascontiguousarray(rgb[:: int(vertical), :: int(horizontal)])

    def _to_rgb(self, frame: av.VideoFrame, out: np.ndarray | None) -> np.ndarray:
        """Return RGB of the first frame's size, exactly rounded, in `out` where that is given.

        FFmpeg's exact conversion to interleaved RGB is plain C; to planes it is vectorised, with the same bytes (a quarter of the
        time).
        """
        width, height = self.size
        if out is None:
            out = np.empty((height, width, 3), np.uint8)
        if frame.format.name == "bgr0" and (frame.width, frame.height) == self.size:
            # As lossless H.264 is decoded.
            plane = frame.planes[0]
            pixels = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size // 4, 4)
            return cv2.cvtColor(pixels[:height, :width], cv2.COLOR_BGRA2RGB, dst=out)
        is_planar = not frame.format.is_rgb and len(frame.format.components) == 3
        rgb = self._reformatter.reformat(
            frame,
            width,
            height,
            "gbrp" if is_planar else "rgb24",
            interpolation=EXACT_CONVERSION,
            threads=1,
        )
        if is_planar:
            cv2.merge(rgb_planes(rgb, height, width), out)
            return out
        levels = _limited_gray_levels(frame)
        out[:] = rgb.to_ndarray() if levels is None else cv2.LUT(rgb.to_ndarray(), levels)
        return out


def _fits(crop: tuple[int, int, int, int] | None, size: tuple[int, int]) -> bool:
    """Return whether a frame of a width and height has all that is to be shown of it; damaged files tell another size."""
    return crop is not None and crop[0] + crop[2] <= size[0] and crop[1] + crop[3] <= size[1]


def colour_numbers(frame: av.VideoFrame) -> tuple[int, int, int]:
    """Return the ITU-T H.273 numbers (matrix, primaries, transfer) of a frame; those of BT.709 where it has no matrix."""
    if frame.format.is_rgb or frame.format.name.startswith(("gray", "ya", "pal", "mono")):
        return 1, 1, 1
    return int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc)


def find_losses(frame: av.VideoFrame, codec: str) -> tuple[str, ...]:
    """Return words for what RGB frames of 8 bits don't hold of a decoded one: more bits, interlacing, and the metadata of HDR.

    Args:
      frame: the first frame.
      codec: FFmpeg's name of the stream's codec.
    """
    losses = []
    bits = max(component.bits for component in frame.format.components)
    if bits > 8:
        losses.append(f"{bits} bits a color (frames are edited with 8)")
    if frame.interlaced_frame:
        losses.append("interlacing (both fields are edited as one frame)")
    if codec in PICTURE_CODECS or int(frame.color_trc) not in HDR_TRANSFERS:
        return tuple(losses)
    try:
        # The stubs take side data for a mapping of names; iterating it gives the entries.
        kinds = {data.type for data in frame.side_data}  # pyright: ignore[reportAttributeAccessIssue]
    except ValueError:
        # Side data that PyAV has no name for.
        kinds = set()
    return (*losses, *(words for kind, words in HDR_METADATA.items() if kind in kinds))


def _has_alpha(frame: av.VideoFrame) -> bool:
    return frame.format.name == "pal8" or any(component.is_alpha for component in frame.format.components)


def _limited_gray_levels(frame: av.VideoFrame) -> np.ndarray | None:
    """Return the levels, uint8 [256], that FFmpeg's conversion of a gray frame needs; None for full range.

    FFmpeg takes all frames of one component for full range. Levels of b bits reach from 16 * 2^(b - 8) to 235 * 2^(b - 8).
    """
    if not frame.format.name.startswith(("gray", "ya")) or frame.color_range != ColorRange.MPEG:
        return None
    bits = frame.format.components[0].bits
    black, white = (level * 2.0 ** (bits - 8) / (2**bits - 1) * 255 for level in (16, 235))
    return np.clip(np.rint((np.arange(256) - black) * 255 / (white - black)), 0, 255).astype(np.uint8)


def _display_matrix(frame: av.VideoFrame, codec: str, path: Path) -> np.ndarray | None:
    """Return the display matrix's 2x2 part as multiples of 1, rows (x', y') of a column (x, y), or None."""
    if codec in PICTURE_CODECS:
        return _or_rotation(read_exif_matrix(path), frame)
    try:
        # The stubs take side data for one entry; it is a mapping.
        data = frame.side_data[SideData.DISPLAYMATRIX]  # pyright: ignore[reportGeneralTypeIssues]
    except KeyError:
        return None
    except ValueError:
        # Side data that PyAV has no name for, such as EXIF in a HEIC or AVIF file.
        item = read_picture_item(path)
        return _or_rotation(None if item is None else item.matrix, frame)
    entries = np.frombuffer(bytes(data), np.int32).reshape(3, 3)[:2, :2].T
    return np.rint(entries / DISPLAY_MATRIX_UNIT).astype(int)


def _or_rotation(matrix: np.ndarray | None, frame: av.VideoFrame) -> np.ndarray:
    """Return a matrix, or where there is none the frame's rotation, which leaves out mirrors."""
    if matrix is not None:
        return matrix
    return np.rint(cv2.getRotationMatrix2D((0, 0), frame.rotation, 1)[:, :2]).astype(int)
