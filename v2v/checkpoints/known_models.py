"""The models that are known to work, and relatives that this package doesn't run: the one registry, which `v2v models` prints.

Any repository with the layout and backbone of a listed one may be named to --model; this table says what has been tried. An entry of
`UNSUPPORTED_MODELS` is refused before anything is fetched, with its reason.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from v2v.checkpoints.presets import PIPELINE_PRESETS, find_preset
from v2v.config import (
    ModelConfig,
    wan21_t2v_1_3b,
    wan21_t2v_14b,
    wan22_a14b,
    wan22_ti2v_5b,
)
from v2v.errors import InputError
from v2v.models.editor_presets import bernini_r_1_3b, bernini_r_14b, kiwi_edit_5b, lucy_edit

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
      pipeline: `_class_name` in the model_index.json of this model and its copies alone; "" where others share it.
    """

    name: str
    description: str
    licence: str
    download_bytes: int
    memory_gib: float
    frames: tuple[int, int, int]
    takes: tuple[str, ...]
    status: Status
    pipeline: str = ""

    @property
    def is_non_commercial(self) -> bool:
        """Return whether the licence excludes commercial use."""
        return "non-commercial" in self.licence.lower() or "-NC" in self.licence


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
        name="Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
        description="the small relative, at 480p and 16 frames a second; it edits with an adapter",
        licence="Apache-2.0",
        download_bytes=28_900_000_000,
        memory_gib=15,
        frames=(81, 480, 832),
        takes=("mask and reference, if the adapter was trained with them",),
        status="tiny models",
    ),
    KnownModel(
        name="Wan-AI/Wan2.1-T2V-14B-Diffusers",
        description="the large relative, at 16 frames a second; it edits with an adapter",
        licence="Apache-2.0",
        download_bytes=80_400_000_000,
        memory_gib=38,
        frames=(81, 480, 832),
        takes=("mask and reference, if the adapter was trained with them",),
        status="tiny models",
    ),
    KnownModel(
        name="Wan-AI/Wan2.2-T2V-A14B-Diffusers",
        description="two transformers of that size, for high and for low noise; it edits with a pair of adapters (--lora-high, --lora-low)",
        licence="Apache-2.0",
        download_bytes=126_200_000_000,
        memory_gib=38,
        frames=(81, 480, 832),
        takes=("mask and reference, if the adapters were trained with them",),
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
        pipeline="LucyEditPipeline",
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

UNSUPPORTED_MODELS = (
    UnsupportedModel(
        ("Wan-AI/Wan2.2-I2V-A14B-Diffusers", "Wan-AI/Wan2.2-I2V-A14B"),
        "Wan2.2-I2V-A14B",
        "takes a first frame and its mask as further channels; Wan-AI/Wan2.2-T2V-A14B-Diffusers is its relative without",
    ),
    UnsupportedModel(
        (
            "Wan-AI/Wan2.1-I2V-14B-480P-Diffusers", "Wan-AI/Wan2.1-I2V-14B-720P-Diffusers", "Wan-AI/Wan2.1-I2V-14B-480P",
            "Wan-AI/Wan2.1-I2V-14B-720P", "Wan-AI/Wan2.1-FLF2V-14B-720P", "Wan-AI/Wan2.1-FLF2V-14B-720P-diffusers",
        ),
        "Wan2.1-I2V",
        "takes a first frame as further channels and as tokens of CLIP; Wan-AI/Wan2.1-T2V-14B-Diffusers is its relative without",
    ),
    UnsupportedModel(
        ("Wan-AI/Wan2.1-VACE-1.3B", "Wan-AI/Wan2.1-VACE-14B", "Wan-AI/Wan2.1-VACE-1.3B-diffusers", "Wan-AI/Wan2.1-VACE-14B-diffusers"),
        "VACE",
        "a second branch of control blocks",
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
            "alibaba-pai/Wan2.2-Fun-A14B-InP",
            "alibaba-pai/Wan2.2-Fun-A14B-Control",
            "alibaba-pai/Wan2.1-Fun-1.3B-InP",
            "alibaba-pai/Wan2.1-Fun-1.3B-Control",
            "alibaba-pai/Wan2.1-Fun-14B-InP",
            "alibaba-pai/Wan2.1-Fun-14B-Control",
        ),
        "Wan-Fun",
        "further input channels for masks and control videos",
    ),
)  # fmt: skip


def fastwan22_ti2v_5b() -> ModelConfig:
    """Return FastWan: the backbone, sampled as its pipeline does."""
    model = wan22_ti2v_5b()
    sampling = find_preset(PIPELINE_PRESETS["WanDMDPipeline"]).sampling
    return dataclasses.replace(
        model, name="fastwan22_ti2v_5b", flow=dataclasses.replace(model.flow, **vars(sampling))
    )


# The configuration of each model whose weights are published by others.
CONFIGURATIONS: Mapping[str, Callable[[], ModelConfig]] = {
    "Wan-AI/Wan2.2-TI2V-5B-Diffusers": wan22_ti2v_5b,
    "FastVideo/FastWan2.2-TI2V-5B-FullAttn-Diffusers": fastwan22_ti2v_5b,
    "Wan-AI/Wan2.1-T2V-1.3B-Diffusers": wan21_t2v_1_3b,
    "Wan-AI/Wan2.1-T2V-14B-Diffusers": wan21_t2v_14b,
    "Wan-AI/Wan2.2-T2V-A14B-Diffusers": wan22_a14b,
    "decart-ai/Lucy-Edit-Dev": lucy_edit,
    "decart-ai/Lucy-Edit-1.1-Dev": lucy_edit,
    "ByteDance/Bernini-R-1.3B-Diffusers": bernini_r_1_3b,
    "ByteDance/Bernini-R-Diffusers": bernini_r_14b,
    **{
        f"linyq/kiwi-edit-5b-{kind}-diffusers": kiwi_edit_5b
        for kind in ("instruct-only", "instruct-reference")
    },
    "linyq/kiwi-edit-5b-reference-only-diffusers": functools.partial(kiwi_edit_5b, reference_first=True),
}


def find_configuration(name: str) -> ModelConfig | None:
    """Return the configuration of a known model, in any case of its letters; None for those of the package, and others."""
    model = find_known(name)
    build = CONFIGURATIONS.get(model.name) if model else None
    return None if build is None else build()


def find_known(name: str) -> KnownModel | None:
    """Return the entry of a model, None if it has none; repositories are the same in any case of their letters."""
    return next((model for model in KNOWN_MODELS if model.name.lower() == name.lower()), None)


def licence_note(name: str, pipeline: str = "") -> str:
    """Return what must be told of a model's licence when it is loaded; "" for models that anybody may use for anything.

    Args:
      name: ORG/NAME, or the name of a folder that a copy of it may lie in.
      pipeline: `_class_name` of its model_index.json, "" for none.
    """
    model = find_known(name) or find_known(suggest(name))
    model = model or next(
        (entry for entry in KNOWN_MODELS if entry.pipeline and entry.pipeline == pipeline), None
    )
    if model is None or not model.is_non_commercial:
        return ""
    return f"licence: {model.name} is published for non-commercial use ({model.licence}); read its terms before any other"


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
