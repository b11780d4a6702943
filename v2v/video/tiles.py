"""Pictures that are stored as a grid of tiles, such as the photos of phones: the tiles are decoded and put together."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.plane import VideoPlane

from v2v.errors import InputError
from v2v.video.picture_items import TileGrid
from v2v.video.streams import check_complete

# Beginnings of FFmpeg's names of formats whose planes can be joined.
PLANAR_FORMATS = ("yuv", "gray", "gbr")


def join_tiles(
    container: InputContainer, grid: TileGrid, path: Path, on_progress: Callable[[], None] = lambda: None
) -> av.VideoFrame:
    """Return the picture that the tiles of a HEIC or AVIF file make up, before it is cropped or turned.

    The tiles' planes are joined before their colors are converted, so that no seams appear where chroma is interpolated.

    Args:
      container: the open file.
      grid: which of its streams are tiles, and where they lie.
      path: of the file, for messages.
      on_progress: called with every tile.

    Raises:
      InputError: a tile is missing, can't be decoded, or isn't like the others.
    """
    streams = {stream.id: stream for stream in container.streams.video if stream.id in set(grid.ids)}
    count = len(grid.ids)
    if len(streams) < len(set(grid.ids)):
        raise InputError(f"{path}: a picture of {count} tiles, of which {count - len(streams)} are missing")
    for stream in streams.values():
        check_complete(stream, path)
        stream.codec_context.thread_count = 1
    canvas: av.VideoFrame | None = None
    first: av.VideoFrame | None = None
    missing = set(streams)
    for packet in container.demux(tuple(streams.values())):
        on_progress()
        number = packet.stream.id
        if number not in missing:
            continue
        try:
            frames = packet.decode()
        except FFmpegError as error:
            raise _broken_tile(path, grid, number) from error
        if frames:
            missing.remove(number)
            tile = frames[0]
            assert isinstance(tile, av.VideoFrame)
            first = first or tile
            canvas = canvas or _create_canvas(tile, grid, path)
            _check_alike(tile, first, path)
            for place, other in enumerate(grid.ids):
                if other == number:
                    _paste(tile, canvas, *divmod(place, grid.columns))
    if missing or canvas is None:
        raise _broken_tile(path, grid, next(number for number in grid.ids if number in missing))
    return canvas


def _broken_tile(path: Path, grid: TileGrid, number: int) -> InputError:
    return InputError(
        f"{path}: tile {grid.ids.index(number) + 1} of the {len(grid.ids)} that make up the picture can't be decoded; copy or download "
        "it again"
    )


def _create_canvas(tile: av.VideoFrame, grid: TileGrid, path: Path) -> av.VideoFrame:
    """Return a frame like a tile, of the size of the joined picture."""
    rows = len(grid.ids) // grid.columns
    if grid.columns * tile.width < grid.width or rows * tile.height < grid.height:
        raise InputError(
            f"{path}: its {len(grid.ids)} tiles of {tile.width}x{tile.height} don't make up a picture of {grid.width}x{grid.height}; "
            "save it as PNG or JPEG"
        )
    if not tile.format.name.startswith(PLANAR_FORMATS):
        raise InputError(
            f"{path}: its tiles have the format {tile.format.name}, which can't be joined; save it as PNG or JPEG"
        )
    canvas = av.VideoFrame(grid.width, grid.height, tile.format.name)
    canvas.colorspace, canvas.color_range = tile.colorspace, tile.color_range
    canvas.color_primaries, canvas.color_trc = tile.color_primaries, tile.color_trc
    canvas.pts, canvas.time_base = tile.pts, tile.time_base
    return canvas


def _check_alike(tile: av.VideoFrame, first: av.VideoFrame, path: Path) -> None:
    """Raise InputError where a tile has another size or format than the first."""
    kinds = [f"{frame.width}x{frame.height} {frame.format.name}" for frame in (first, tile)]
    if kinds[0] != kinds[1]:
        raise InputError(f"{path}: its tiles differ, {kinds[0]} and {kinds[1]}; save it as PNG or JPEG")


def _paste(tile: av.VideoFrame, canvas: av.VideoFrame, row: int, column: int) -> None:
    sample_bytes = (tile.format.components[0].bits + 7) // 8
    for source, target in zip(tile.planes, canvas.planes, strict=True):
        pixels, area = _plane_pixels(source, sample_bytes), _plane_pixels(target, sample_bytes)
        top, left = row * source.height, column * source.width * sample_bytes
        area = area[top : top + source.height, left : left + source.width * sample_bytes]
        area[:] = pixels[: area.shape[0], : area.shape[1]]


def _plane_pixels(plane: VideoPlane, sample_bytes: int) -> np.ndarray:
    """Return the memory of a plane without its margin, uint8 [height, bytes of a row]."""
    rows = np.frombuffer(memoryview(plane), np.uint8)[: plane.height * plane.line_size]
    return rows.reshape(plane.height, plane.line_size)[:, : plane.width * sample_bytes]
