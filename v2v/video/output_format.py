"""Container, codec and quality of written clips, checked against each other before any work.

The container follows from the ending of the output's name, `OutputFormat` holds what a person may choose beside it, and
`choose_encoding` brings both together. Nothing heavy is imported, as the command line's parser takes its choices from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Literal, get_args

from v2v.errors import InputError

Codec = Literal["h264", "hevc", "av1", "vp9", "prores", "ffv1", "gif", "png"]
Quality = Literal["high", "medium", "low"]

STILLS = (".png", ".jpg", ".jpeg")
YUV = ("yuv420p", "yuv422p", "yuv444p")
YUV_10_BIT = ("yuv420p10le", "yuv422p10le", "yuv444p10le")
# H.273 numbers of the transfer functions of HDR: PQ and HLG.
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}


@dataclass(frozen=True)
class CodecInfo:
    """What a codec offers.

    Attributes:
      encoder: FFmpeg's name of its encoder.
      pix_fmts: FFmpeg's names of pixel formats; the first is the default.
      crf: the encoder's quality scale (lower is better) for each quality; None where it has none.
      largest_crf: the end of that scale.
    """

    encoder: str
    pix_fmts: tuple[str, ...]
    crf: Mapping[Quality, int] | None = None
    largest_crf: int = 0


CODECS: Mapping[Codec, CodecInfo] = {
    "h264": CodecInfo("libx264", YUV + YUV_10_BIT, {"high": 11, "medium": 18, "low": 26}, 51),
    "hevc": CodecInfo("libx265", YUV + YUV_10_BIT, {"high": 11, "medium": 20, "low": 28}, 51),
    "av1": CodecInfo("libsvtav1", ("yuv420p", "yuv420p10le"), {"high": 10, "medium": 28, "low": 40}, 63),
    "vp9": CodecInfo("libvpx-vp9", YUV, {"high": 12, "medium": 28, "low": 40}, 63),
    "prores": CodecInfo("prores_ks", ("yuv422p10le", "yuv444p10le")),
    "ffv1": CodecInfo("ffv1", ("bgr0", *YUV, *YUV_10_BIT)),
    "gif": CodecInfo("gif", ("pal8",)),
    "png": CodecInfo("png", ("rgb24",)),
}
# Codecs of each container, by the ending of its name; the first is the default.
CONTAINERS: Mapping[str, tuple[Codec, ...]] = {
    ".mp4": ("h264", "hevc", "av1"),
    ".m4v": ("h264",),
    ".mov": ("h264", "hevc", "prores"),
    ".mkv": ("h264", "hevc", "av1", "vp9", "prores", "ffv1"),
    ".webm": ("vp9", "av1"),
    ".gif": ("gif",),
}
CLIPS = tuple(CONTAINERS)
# Codecs whose only setting, if any, is the quality by name.
WITHOUT_CRF = tuple(name for name, info in CODECS.items() if info.crf is None)
# The container of each codec that .mp4 doesn't hold.
OWN_CONTAINERS: Mapping[Codec, str] = {
    "vp9": ".webm", "prores": ".mov", "ffv1": ".mkv", "gif": ".gif", "png": "",
}  # fmt: skip


@dataclass(frozen=True)
class OutputFormat:
    """What may be chosen of a written clip, beside its container; checked on construction.

    Attributes:
      codec: None for the container's default; "png" for a folder of frames.
      quality: None for "high", which is visually lossless.
      crf: quality on the encoder's own scale, 0 (best) to 51 or 63, instead of `quality`.
      pix_fmt: FFmpeg's name of the pixel format, such as "yuv444p"; None for the codec's default.
    """

    codec: Codec | None = None
    quality: Quality | None = None
    crf: float | None = None
    pix_fmt: str | None = None

    def __post_init__(self):
        if self.codec is not None and self.codec not in CODECS:
            raise InputError(f'codec: expected one of {", ".join(CODECS)}, got "{self.codec}"')
        if self.quality is not None and self.quality not in get_args(Quality):
            raise InputError(f'quality: expected one of {", ".join(get_args(Quality))}, got "{self.quality}"')
        if self.crf is not None and (
            not isinstance(self.crf, Real) or isinstance(self.crf, bool) or not 0 <= self.crf <= 63
        ):
            raise InputError(f"crf: expected 0 (best) to 51, or to 63 for av1 and vp9, got {self.crf!r}")
        if self.crf is not None and self.quality is not None:
            raise InputError("crf: expected it or quality, got both; leave one out")
        names = sorted({name for info in CODECS.values() for name in info.pix_fmts})
        if self.pix_fmt is not None and self.pix_fmt not in names:
            raise InputError(f'pix_fmt: expected one of {", ".join(names)}, got "{self.pix_fmt}"')

    @property
    def suffix(self) -> str:
        """Return the ending of the name of a clip that isn't named: .mp4 where it holds the codec, "" for a folder."""
        return ".mp4" if self.codec is None else OWN_CONTAINERS.get(self.codec, ".mp4")


@dataclass(frozen=True)
class Encoding:
    """How a clip is written: an output's name and an `OutputFormat` brought together.

    Attributes:
      codec: the codec; "jpeg" for a still.
      crf: quality on the encoder's scale; None where it has none.
      quality: by name.
      pix_fmt: None for the codec's default.
      is_still: a picture.
      is_folder: a folder of frames.
    """

    codec: Codec | Literal["jpeg"]
    crf: float | None = None
    quality: Quality = "high"
    pix_fmt: str | None = None
    is_still: bool = False
    is_folder: bool = False

    @property
    def holds_metadata(self) -> bool:
        """Return whether the container holds sound and metadata."""
        return self.codec not in ("jpeg", "png", "gif")

    def choose_pix_fmt(self, transfer: int) -> str:
        """Return the pixel format: the one that was chosen, else the codec's default, of 10 bits for HDR where it is usual.

        Args:
          transfer: H.273 number of the clip's transfer function.
        """
        assert self.codec != "jpeg"
        if self.pix_fmt is not None:
            return self.pix_fmt
        is_hdr = transfer in HDR_TRANSFERS and self.codec in ("hevc", "av1")
        return "yuv420p10le" if is_hdr else CODECS[self.codec].pix_fmts[0]


def choose_encoding(path: Path, output_format: OutputFormat) -> Encoding:
    """Return how to write a clip to a file.

    Args:
      path: the file, or the folder of codec "png".
      output_format: what was chosen.

    Raises:
      InputError: an ending of no format written here, or a codec, quality or pixel format that doesn't go with it.
    """
    suffix, codec = path.suffix.lower(), output_format.codec
    quality = output_format.quality or "high"
    if suffix in STILLS:
        kind = "png" if suffix == ".png" else "jpeg"
        if codec not in (None, kind):
            raise InputError(f"{path}: a still is no {codec}; use {_endings(codec)}, or leave the codec out")
        if output_format.crf is not None or output_format.pix_fmt is not None:
            raise InputError(f"{path}: crf and pix_fmt are those of clips; leave them out")
        if kind == "png" and output_format.quality is not None:
            raise InputError(f"{path}: PNG is lossless; leave the quality out")
        return Encoding(kind, quality=quality, is_still=True)
    if suffix not in CONTAINERS and codec != "png":
        raise InputError(
            f"{path}: output expected to end in one of {', '.join(CLIPS + STILLS)}, got '{path.suffix}'"
        )
    codec = codec or CONTAINERS[suffix][0]
    if suffix in CONTAINERS and codec not in CONTAINERS[suffix]:
        holds = ", ".join(CONTAINERS[suffix])
        raise InputError(f"{path}: {suffix} holds {holds}, not {codec}; for {codec} use {_endings(codec)}")
    info = CODECS[codec]
    if info.crf is None and (output_format.crf is not None or (output_format.quality and codec != "prores")):
        raise InputError(f"{path}: {codec} has no quality to choose; leave crf and quality out")
    if output_format.crf is not None and output_format.crf > info.largest_crf:
        raise InputError(
            f"{path}: the crf of {codec} is 0 (best) to {info.largest_crf}, got {output_format.crf:g}"
        )
    if output_format.pix_fmt not in (None, *info.pix_fmts):
        formats = ", ".join(info.pix_fmts)
        raise InputError(f"{path}: pix_fmt of {codec} is one of {formats}, got {output_format.pix_fmt}")
    crf = output_format.crf
    if crf is None and info.crf is not None:
        crf = info.crf[quality]
    return Encoding(codec, crf, quality, output_format.pix_fmt, is_folder=codec == "png")


def _endings(codec: Codec | None) -> str:
    """Return the endings of files that hold a codec, as words."""
    if codec == "png":
        return "a folder's name"
    return " or ".join(suffix for suffix, codecs in CONTAINERS.items() if codec in codecs)
