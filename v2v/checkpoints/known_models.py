"""The models that are known to work, and relatives that this package doesn't run: the one registry, which `v2v models` prints.

Any repository with the layout and backbone of a listed one may be named to --model; this table says what has been tried. An entry of
`UNSUPPORTED_MODELS` is refused before anything is fetched, with its reason.
"""

from dataclasses import dataclass
from typing import Literal

from v2v.errors import InputError

# "real weights": edits made with the published weights were looked at. "tiny models": the code equals the published package on small random
# models of the same layout, and nobody has run the real weights through it yet.
Status = Literal["real weights", "tiny models"]


@dataclass(frozen=True)
class KnownModel:
    """A model that can be named to --model.

    Attributes:
      name: "embedded" or ORG/NAME.
      description: one line.
      licence: of the weights.
      download_bytes: what is fetched; 0 for what comes with the package.
      memory_gib: estimated peak on one device at `frames`, autoencoder included.
      frames: frames, height and width of its clips.
      takes: what it takes beside the source and the sentence.
      status: what has been tried.
    """

    name: str
    description: str
    licence: str
    download_bytes: int
    memory_gib: float
    frames: tuple[int, int, int]
    takes: tuple[str, ...]
    status: Status


@dataclass(frozen=True)
class UnsupportedModel:
    """A model that people may expect to work.

    Attributes:
      names: ORG/NAME of its repositories.
      title: how it is called.
      reason: what it has that this package lacks, and what to use instead.
    """

    names: tuple[str, ...]
    title: str
    reason: str


KNOWN_MODELS = (
    KnownModel(
        name="embedded",
        description="the small model that comes with the package",
        licence="Apache-2.0",
        download_bytes=0,
        memory_gib=0.5,
        frames=(9, 64, 64),
        takes=("mask", "reference"),
        status="real weights",
    ),
    KnownModel(
        name="Wan-AI/Wan2.2-TI2V-5B-Diffusers",
        description="the backbone; it edits with an adapter (--lora)",
        licence="Apache-2.0",
        download_bytes=34_200_000_000,
        memory_gib=21,
        frames=(81, 480, 832),
        takes=("mask and reference, if the adapter was trained with them",),
        status="tiny models",
    ),
    KnownModel(
        name="FastVideo/FastWan2.2-TI2V-5B-FullAttn-Diffusers",
        description="the backbone distilled to 3 steps; it edits with an adapter of the backbone (--lora)",
        licence="Apache-2.0",
        download_bytes=34_200_000_000,
        memory_gib=21,
        frames=(81, 480, 832),
        takes=("mask and reference, if the adapter was trained with them",),
        status="tiny models",
    ),
    KnownModel(
        name="decart-ai/Lucy-Edit-Dev",
        description="an editor on the same backbone; sees the source as further channels",
        licence="Decart, non-commercial",
        download_bytes=34_200_000_000,
        memory_gib=21,
        frames=(81, 480, 832),
        takes=(),
        status="tiny models",
    ),
    KnownModel(
        name="decart-ai/Lucy-Edit-1.1-Dev",
        description="its second edition",
        licence="Decart, non-commercial",
        download_bytes=34_200_000_000,
        memory_gib=21,
        frames=(81, 480, 832),
        takes=(),
        status="tiny models",
    ),
    KnownModel(
        name="ByteDance/Bernini-R-1.3B-Diffusers",
        description="an editor on Wan2.1 1.3B; sees source and references as tokens of their own",
        licence="Apache-2.0",
        download_bytes=29_000_000_000,
        memory_gib=19,
        frames=(81, 480, 848),
        takes=("up to 16 references",),
        status="tiny models",
    ),
    KnownModel(
        name="ByteDance/Bernini-R-Diffusers",
        description="the same on the two 14B transformers of Wan2.2-A14B",
        licence="Apache-2.0",
        download_bytes=137_500_000_000,
        memory_gib=62,
        frames=(81, 480, 848),
        takes=("up to 16 references",),
        status="tiny models",
    ),
    *(
        KnownModel(
            name=f"linyq/kiwi-edit-5b-{kind}-diffusers",
            description=f"Kiwi-Edit, an editor on the same 5B backbone, {description}; reads a stored context (--context)",
            licence="its card; code MIT",
            download_bytes=12_900_000_000,
            memory_gib=24,
            frames=(81, 704, 1280),
            takes=takes,
            status="tiny models",
        )
        for kind, description, takes in (
            ("instruct-only", "by instruction", ("a context",)),
            ("reference-only", "by reference", ("a context and a reference",)),
            ("instruct-reference", "by either", ("a context", "a reference")),
        )
    ),
)

_BACKBONE_16 = "another backbone (16 latent channels, the 8x8x4 autoencoder)"
UNSUPPORTED_MODELS = (
    UnsupportedModel(
        ("Wan-AI/Wan2.2-T2V-A14B-Diffusers", "Wan-AI/Wan2.2-I2V-A14B-Diffusers", "Wan-AI/Wan2.2-T2V-A14B", "Wan-AI/Wan2.2-I2V-A14B"),
        "Wan2.2-A14B",
        f"two 14B transformers of {_BACKBONE_16}",
    ),
    UnsupportedModel(
        ("Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "Wan-AI/Wan2.1-T2V-14B-Diffusers", "Wan-AI/Wan2.1-T2V-1.3B", "Wan-AI/Wan2.1-T2V-14B"),
        "Wan2.1",
        _BACKBONE_16,
    ),
    UnsupportedModel(
        ("Wan-AI/Wan2.1-VACE-1.3B", "Wan-AI/Wan2.1-VACE-14B", "Wan-AI/Wan2.1-VACE-1.3B-diffusers", "Wan-AI/Wan2.1-VACE-14B-diffusers"),
        "VACE",
        f"a second branch of control blocks on {_BACKBONE_16}",
    ),
    UnsupportedModel(
        ("ByteDance/Bernini-R",),
        "Bernini-R as it came out of training",
        "transformers alone, without autoencoder and text encoder; use ByteDance/Bernini-R-Diffusers, the same weights",
    ),
    UnsupportedModel(
        ("ByteDance/Bernini-Diffusers", "ByteDance/Bernini-Diffusers-v2"),
        "Bernini with its planner",
        "plans with Qwen2.5-VL-7B; use ByteDance/Bernini-R-1.3B-Diffusers or ByteDance/Bernini-R-Diffusers, its renderer alone",
    ),
    UnsupportedModel(
        (
            "FastVideo/FastWan2.2-TI2V-5B-Diffusers",
            "FastVideo/FastWan2.1-T2V-1.3B-Diffusers",
            "FastVideo/FastWan2.1-T2V-14B-480P-Diffusers",
            "FastVideo/FastWan2.1-T2V-14B-Diffusers",
        ),
        "FastWan with video sparse attention (VSA)",
        "distilled for attention that skips most tokens, without which its frames are poor; FastVideo/FastWan2.2-TI2V-5B-FullAttn-Diffusers runs",
    ),
    UnsupportedModel(
        (
            "alibaba-pai/Wan2.2-Fun-5B-InP",
            "alibaba-pai/Wan2.2-Fun-5B-Control",
            "alibaba-pai/Wan2.2-Fun-5B-Control-Camera",
        ),
        "Wan2.2-Fun-5B",
        "further input channels for masks and control videos",
    ),
)  # fmt: skip


def find_known(name: str) -> KnownModel | None:
    """Return the entry of a model, None if it has none; repositories are the same in any case of their letters."""
    return next((model for model in KNOWN_MODELS if model.name.lower() == name.lower()), None)


def licence_note(name: str) -> str:
    """Return what must be told of a model's licence when it is loaded; "" for models that anybody may use for anything.

    Args:
      name: ORG/NAME, or the name of a folder that a copy of it may lie in.
    """
    known = find_known(name) or find_known(suggest(name))
    if known is None or "non-commercial" not in known.licence:
        return ""
    return f"licence: {known.name} is published for non-commercial use ({known.licence}); read its terms before any other"


def suggest(name: str) -> str:
    """Return the full name of a known model for NAME without its ORG, "" if none is called so."""
    names = (model.name for model in KNOWN_MODELS if "/" in model.name)
    return next((full for full in names if full.rpartition("/")[2].lower() == name.lower()), "")


def check_supported(name: str) -> None:
    """Check that a repository isn't one that this package is known not to run.

    Args:
      name: ORG/NAME.

    Raises:
      InputError: it is, with the reason.
    """
    for model in UNSUPPORTED_MODELS:
        if name.lower() in map(str.lower, model.names):
            raise InputError(
                f"{name}: {model.title} is not supported yet: {model.reason}; v2v models lists what is known to work"
            )
