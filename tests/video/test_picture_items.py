"""HEIC and AVIF files: tiles joined, cropped, turned and mirrored as their metadata says."""

import struct

import av
import numpy as np
import pytest

from tests.example_clips import picture, psnr
from tests.video.heif_files import LEFT, TOP, clap, encode_tile, icc, imir, irot, nclx, write_tiles
from v2v.errors import InputError, collect_notes
from v2v.video.color_profile import read_profile
from v2v.video.decoder import estimate_size
from v2v.video.picture_items import read_picture_item
from v2v.video.video import Video, read_video

TILE, SIZE, COLUMNS = 64, (100, 150), 3

pytestmark = pytest.mark.skipif(
    not {"libx265", "libsvtav1"} <= av.codecs_available, reason="no encoders of HEVC and AV1"
)


def _cut(frame: np.ndarray) -> list[np.ndarray]:
    """Return the tiles of a frame of `SIZE`, of which those at the right and at the bottom reach further."""
    rows = -(-SIZE[0] // TILE)
    room = np.pad(frame, ((0, rows * TILE - SIZE[0]), (0, COLUMNS * TILE - SIZE[1]), (0, 0)), mode="edge")
    return [
        room[TILE * row : TILE * (row + 1), TILE * column : TILE * (column + 1)]
        for row in range(rows)
        for column in range(COLUMNS)
    ]


FRAME = picture(1, *SIZE)[0]
OTHER = picture(1, TILE, TILE, seed=3)[0]
# The boxes of a picture, and how its pixels look then.
LAYOUTS = {
    "as stored": ((), lambda x: x),
    "turned": ((irot(1),), np.rot90),
    "turned and mirrored": ((irot(3), imir(1)), lambda x: np.rot90(x, 3)[:, ::-1]),
    "mirrored and turned": ((imir(0), irot(3)), lambda x: np.rot90(x[::-1], 3)),
    "cropped": ((clap(*SIZE),), lambda x: x[TOP:, LEFT:]),
    "cropped and turned": ((clap(*SIZE), irot(1)), lambda x: np.rot90(x[TOP:, LEFT:])),
}


@pytest.fixture(scope="module", params=["libx265", "libsvtav1"])
def codec(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def tiles(codec, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiles")
    return [encode_tile(folder, tile, codec) for tile in _cut(FRAME)]


@pytest.fixture(scope="module")
def other(codec, tmp_path_factory):
    return encode_tile(tmp_path_factory.mktemp("other"), OTHER, codec)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tiles_are_joined(tmp_path, codec, tiles, layout):
    """Phones store photos so."""
    boxes, show = LAYOUTS[layout]
    path = tmp_path / "a.heic"
    write_tiles(path, tiles, (TILE, TILE), SIZE, codec=codec, columns=COLUMNS, properties=boxes)
    clip, expected = read_video(path), show(FRAME)
    assert clip.frames.shape == (1, *expected.shape) and psnr(clip.frames[0], expected) > 38
    assert estimate_size(path) == (1, *expected.shape[:2])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pictures_stored_whole(tmp_path, codec, layout):
    boxes, show = LAYOUTS[layout]
    path, picture_of_it = tmp_path / "a.heic", encode_tile(tmp_path, FRAME, codec)
    write_tiles(path, [picture_of_it], SIZE, SIZE, codec=codec, columns=0, properties=boxes)
    frame, expected = read_video(path).frames[0], show(FRAME)
    assert frame.shape == expected.shape and psnr(frame, expected) > 38


def test_what_lies_beside_a_picture_of_tiles(tmp_path, codec, tiles, other):
    """A thumbnail is none of its tiles; transparency is named; profile and colours are those of the joined picture."""
    options = {"codec": codec, "columns": COLUMNS, "in_metadata": True}
    write_tiles(tmp_path / "a.heic", tiles, (TILE, TILE), SIZE, thumbnail=other, **options)
    with collect_notes() as notes:
        assert psnr(read_video(tmp_path / "a.heic").frames[0], FRAME) > 38
    assert notes == []
    profile = struct.pack(">I32s4s4s", 140, b"", b"acsp", b"").ljust(140, b"\0")
    boxes = (icc(profile), nclx(9, 16, 9))
    write_tiles(
        tmp_path / "b.heic", tiles, (TILE, TILE), SIZE, thumbnail=other, has_alpha=True, properties=boxes, **options
    )  # fmt: skip
    with collect_notes() as notes:
        clip = read_video(tmp_path / "b.heic")
    assert clip.colour == (9, 9, 16) and clip.profile == read_profile(tmp_path / "b.heic")
    assert clip.profile.data == profile
    assert len(notes) == 1 and "transparency isn't kept" in notes[0]


def test_more_bits_and_chroma(tmp_path):
    tiles = [encode_tile(tmp_path, tile, "libx265", "yuv444p10le") for tile in _cut(FRAME)]
    write_tiles(tmp_path / "a.heic", tiles, (TILE, TILE), SIZE, codec="libx265", columns=COLUMNS)
    clip = read_video(tmp_path / "a.heic")
    assert psnr(clip.frames[0], FRAME) > 42
    assert "10 bits" in clip.metadata.picture_losses[0]


def test_broken_pictures_of_tiles_end_in_one_line(tmp_path, codec, tiles):
    path, options = tmp_path / "a.heic", {"codec": codec, "columns": COLUMNS}
    write_tiles(path, tiles, (TILE, TILE), SIZE, **options)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - len(tiles[-1].data)])
    with pytest.raises(InputError, match=r"a\.heic: (truncated|.*is it complete)"):
        read_video(path)
    # The second tile's data is of nothing.
    path.write_bytes(whole.replace(tiles[1].data, bytes(len(tiles[1].data)), 1))
    with pytest.raises(InputError, match=r"a\.heic: tile 2 of the 6 .* can't be decoded"):
        read_video(path)
    for size in ((TILE * 2 + 1, 10), (10, TILE * 3 + 1)):
        write_tiles(path, tiles, (TILE, TILE), size, **options)
        with pytest.raises(InputError, match=r"6 tiles of 64x64 don't make up"):
            read_video(path)
    if codec == "libsvtav1":
        # Of HEVC the file tells the size of all tiles at once.
        small = encode_tile(tmp_path, np.ascontiguousarray(OTHER[:48]), codec)
        write_tiles(path, [*tiles[:-1], small], (TILE, TILE), SIZE, **options)
        with pytest.raises(InputError, match="its tiles differ, 64x64 yuv420p and 64x48 yuv420p"):
            read_video(path)
    # One row more than there are tiles.
    grid = struct.pack(">BBBBHH", 0, 0, 1, COLUMNS - 1, *SIZE[::-1])
    path.write_bytes(whole.replace(grid, grid[:2] + b"\2" + grid[3:], 1))
    with pytest.raises(InputError, match="is it complete|doesn't tell where they lie"):
        read_video(path)


def test_metadata_that_contradicts_the_picture(tmp_path, codec, tiles):
    """A grid without tiles; a picture cropped to what lies outside it."""
    path, picture_of_it = tmp_path / "a.heic", encode_tile(tmp_path, FRAME, codec)
    write_tiles(path, tiles, (TILE, TILE), SIZE, codec=codec, columns=COLUMNS)
    path.write_bytes(path.read_bytes().replace(b"dimg", b"cdsc", 1))
    with pytest.raises(InputError, match="put together from others"):
        read_video(path)
    large = (SIZE[0] * 40, SIZE[1] * 40)
    write_tiles(path, [picture_of_it], large, large, codec=codec, columns=0, properties=(clap(*large),))
    assert read_video(path).frames.shape == (1, *SIZE, 3)


def test_numbers_of_32_bits(tmp_path, codec, tiles):
    """FFmpeg doesn't take all of these, the metadata is read all the same."""
    write_tiles(
        tmp_path / "a.heic", tiles, (TILE, TILE), SIZE, codec=codec, columns=COLUMNS, is_wide=True, properties=(irot(2),)
    )  # fmt: skip
    item = read_picture_item(tmp_path / "a.heic")
    assert item.grid.ids == (1, 2, 3, 4, 5, 6) and (item.grid.height, item.grid.width) == SIZE
    assert item.matrix.tolist() == [[-1, 0], [0, -1]]


def test_damaged_metadata_is_no_picture(tmp_path, codec, tiles):
    path = tmp_path / "a.heic"
    write_tiles(path, tiles, (TILE, TILE), SIZE, codec=codec, columns=COLUMNS)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(100):
        data = bytearray(whole[:900])
        data[rng.integers(len(data))] = rng.integers(256)
        path.write_bytes(data[: rng.integers(len(data))])
        read_picture_item(path)
    Video.from_array(FRAME).save(tmp_path / "a.mp4")
    assert read_picture_item(tmp_path / "a.mp4") is None
