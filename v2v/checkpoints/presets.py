"""Sampling presets: how checkpoints and adapters distilled to a few steps were published to be sampled, by name.

A distilled network knows only the noise levels that it was trained at, and only one way between them: FastWan, Turbo, CausVid and
Self-Forcing want fresh noise at every step (solver renoise), LightX2V and Lightning Euler's straight step. The other way round the
result is worse and no error tells it. Published lists of steps are of two kinds, and the same numbers mean other noise:

    raw      the network is told t as written; sigma is that of the entry of a shifted table of 1,000 which is nearest to t: about t/1000
    warped   t as written is the number of an entry of the shifted table: 750 at shift 5 is sigma 0.9375, and the network is told 937.5

Here every preset has the pairs (timestep, sigma) that result. A preset of one's own is a JSON file with the fields of
`config.SamplingConfig`, which is also the form in which adapters store theirs (adapters.py).
"""

import dataclasses
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from v2v.checkpoints.config_types import check_types
from v2v.config import FlowConfig, SamplingConfig, SolverName
from v2v.errors import InputError, note
from v2v.runtime import text_files

# Entries of the schedulers' tables.
TABLE_SIZE = 1000


def shifted_table(shift: float) -> list[float]:
    """Return the noise levels of a scheduler's table, falling from 1: k a / (1 + (k - 1) a) of a = 1, 0.999, ..., 0.001."""
    grid = [i / TABLE_SIZE for i in range(TABLE_SIZE, 0, -1)]
    return [shift * a / (1 + (shift - 1) * a) for a in grid]


def raw_levels(timesteps: tuple[int, ...], shift: float) -> tuple[tuple[float, float], ...]:
    """Return (timestep, sigma) of a list that the network is told as written.

    Args:
      timesteps: the list.
      shift: of the table in which sigma is looked up.
    """
    table = shifted_table(shift)
    return tuple((float(t), min(table, key=lambda s: abs(TABLE_SIZE * s - t))) for t in timesteps)


def warped_levels(timesteps: tuple[int, ...], shift: float) -> tuple[tuple[float, float], ...]:
    """Return (timestep, sigma) of a list whose numbers are those of entries of the shifted table."""
    table = shifted_table(shift)
    sigmas = [table[TABLE_SIZE - t] for t in timesteps]
    return tuple((TABLE_SIZE * sigma, sigma) for sigma in sigmas)


@dataclass(frozen=True)
class Preset:
    """A named way to sample.

    Attributes:
      name: of the preset.
      sampling: solver, noise levels and guidance.
      title: what it is of, with the place of the weights.
      backbone: channels of the transformer that the weights are for; 0 for any.
      adapter: a LoRA that belongs to the preset, which is fetched and added where no other is given.
      caution: what is not known or not good about it; "" for nothing.
    """

    name: str
    sampling: SamplingConfig
    title: str
    backbone: int = 0
    adapter: str = ""
    caution: str = ""


def _distilled(solver: SolverName, levels: tuple[tuple[float, float], ...]) -> SamplingConfig:
    """Return the sampling of distilled weights: at these levels alone, without guidance."""
    return SamplingConfig(solver, len(levels), 1.0, levels=levels)


_WIDTHS = {"1.3B": 1536, "5B": 3072, "14B": 5120}
_THREE_RAW = raw_levels((1000, 757, 522), 8.0)
_FOUR_WARPED = warped_levels((1000, 750, 500, 250), 5.0)
_NON_COMMERCIAL = "its weights may not be used commercially (CC BY-NC-SA 4.0)"
_CAUSAL = "its networks see earlier frames only, which this package doesn't do: with attention to all frames their quality is unmeasured"

PRESETS = (
    Preset(
        name="fastwan",
        sampling=_distilled("renoise", _THREE_RAW),
        title="FastWan2.2-TI2V-5B in 3 steps: FastVideo/FastWan2.2-TI2V-5B-FullAttn-Diffusers, or a LoRA of it on the 5B",
        backbone=_WIDTHS["5B"],
    ),
    Preset(
        name="turbo",
        sampling=_distilled("renoise", raw_levels((1000, 750, 500, 250), 8.0)),
        title="Wan2.2-TI2V-5B-Turbo in 4 steps: quanhaol/Wan2.2-TI2V-5B-Turbo, or a LoRA of it on the 5B",
        backbone=_WIDTHS["5B"],
        caution=_NON_COMMERCIAL,
    ),
    Preset(
        name="causvid",
        sampling=_distilled("renoise", _THREE_RAW),
        title="CausVid in 3 steps, of Wan2.1-T2V-1.3B: tianweiy/CausVid",
        backbone=_WIDTHS["1.3B"],
        caution=f"{_NON_COMMERCIAL}; of its autoregressive checkpoint {_CAUSAL}",
    ),
    Preset(
        name="causvid-lora",
        sampling=_distilled(
            "euler", tuple((float(t), t / TABLE_SIZE) for t in (1000, 934, 862, 756, 603, 410, 250, 140))
        ),
        title="LoRA of CausVid on Wan2.1-T2V-1.3B in 8 steps: the first 8 of its list of 9",
        backbone=_WIDTHS["1.3B"],
        caution=_NON_COMMERCIAL,
    ),
    Preset(
        name="self-forcing",
        sampling=_distilled("renoise", _FOUR_WARPED),
        title="Self-Forcing in 4 steps, of Wan2.1-T2V-1.3B: gdhe17/Self-Forcing",
        backbone=_WIDTHS["1.3B"],
        caution=_CAUSAL,
    ),
    Preset(
        name="lightx2v",
        sampling=_distilled("euler", _FOUR_WARPED),
        title="LightX2V's LoRA on Wan2.1-T2V-14B in 4 steps: lightx2v/Wan2.1-Distill-Loras",
        backbone=_WIDTHS["14B"],
    ),
    Preset(
        name="lightning",
        sampling=_distilled("euler", _FOUR_WARPED),
        title="LightX2V's and Lightning's pairs of LoRAs on Wan2.2-A14B in 4 steps, two in each transformer: lightx2v/Wan2.2-Lightning",
        backbone=_WIDTHS["14B"],
    ),
    Preset(
        name="lucy-fastwan",
        sampling=SamplingConfig("unipc", 5, 1.0, schedule="diffusers", shift=3.0),
        title="Lucy-Edit with the LoRA of FastWan in 5 steps of UniPC, as people use them together",
        backbone=_WIDTHS["5B"],
        adapter="Kijai/WanVideo_comfy/FastWan/Wan2_2_5B_FastWanFullAttn_lora_rank_128_bf16.safetensors",
        caution="a text-to-video LoRA on an editor, with another sampler than it was distilled for: its quality is unmeasured",
    ),
)

# Presets of the pipelines that model_index.json may name, whose steps are in the code of the pipeline and in no file of the model.
PIPELINE_PRESETS = {"WanDMDPipeline": "fastwan"}


def apply_pipeline(path: Path, index: dict[str, Any], flow: FlowConfig) -> FlowConfig:
    """Return how a model is sampled that was published for a few-step pipeline, and tell it in a note; others as its scheduler says.

    Args:
      path: the model folder, for the note.
      index: model_index.json.
      flow: as scheduler_config.json says.
    """
    name = index.get("_class_name")
    preset = PIPELINE_PRESETS.get(name) if isinstance(name, str) else None
    if preset is None:
        return flow
    sampling = find_preset(preset).sampling
    note(
        f"sampling: {path} is made for {name}, so it is sampled with preset {preset}, {describe_sampling(sampling)}, whatever its scheduler says"
    )
    return dataclasses.replace(flow, **vars(sampling), low_guidance=None)


def find_preset(name: str | Path) -> Preset:
    """Return a preset by its name, or read one from a JSON file.

    Args:
      name: a name in `PRESETS`, or the path of a file that ends in .json.

    Raises:
      InputError: neither, or a file with other fields or values.
    """
    for preset in PRESETS:
        if preset.name == name:
            return preset
    path = Path(name)
    if path.suffix == ".json":
        if not path.is_file():
            raise InputError(f"preset: {path}: expected a JSON file, found none; check --preset")
        try:
            return Preset(path.stem, parse_sampling(text_files.read_json(path)), str(path))
        except ValueError as err:
            raise InputError(
                f"preset: {path}: expected fields of a way to sample, such as solver, steps and levels: {err}"
            ) from err
    names = [preset.name for preset in PRESETS]
    close = difflib.get_close_matches(str(name), names, 1)
    remedy = f"did you mean {close[0]}?" if close else "v2v models lists them"
    raise InputError(f'preset: expected one of {", ".join(names)}, or a file .json, got "{name}"; {remedy}')


def parse_sampling(values: Any) -> SamplingConfig:
    """Return the way to sample that plain values from JSON describe; the number of steps may be left out where levels are given.

    Raises:
      ValueError: unknown fields, or values of other types or ranges.
    """
    if not isinstance(values, dict):
        raise ValueError(f"expected an object, got {type(values).__name__}")
    names = {field.name for field in dataclasses.fields(SamplingConfig)}
    if unknown := sorted(values.keys() - names):
        raise ValueError(f"unknown {', '.join(map(str, unknown[:8]))}; known are {', '.join(sorted(names))}")
    values = dict(values)
    if isinstance(values.get("levels"), list):
        values["levels"] = tuple(tuple(pair) if isinstance(pair, list) else pair for pair in values["levels"])
        values.setdefault("steps", len(values["levels"]))
    try:
        sampling = SamplingConfig(**values)
    except TypeError as err:
        raise ValueError(str(err).replace("SamplingConfig.__init__()", "a way to sample")) from err
    check_types(sampling)
    return sampling


def describe_sampling(sampling: SamplingConfig) -> str:
    """Return a way to sample in words, such as "renoise, 3 steps at sigma 1, 0.757, 0.522, no guidance"."""
    where = f"of schedule {sampling.schedule} with shift {sampling.shift:g}"
    if sampling.levels:
        where = f"at sigma {', '.join(f'{sigma:.3g}' for _, sigma in sampling.levels)}"
    guidance = "no guidance" if sampling.guidance == 1 else f"guidance {sampling.guidance:g}"
    return f"{sampling.solver}, {sampling.steps} steps {where}, {guidance}"
