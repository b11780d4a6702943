"""Recipes made of several experts: stylisation, human animation, actor transmutation (EasyV2V §4).

clip → step → step → ... → **Pair**. A TOML file with role = "composition", given to `--expert` like any expert's, names the
steps; each runs an expert (its own TOML file, beside this one) on what is there, and gives it a name:

    name = "stylisation"                 # the recipe
    role = "composition"
    license = "Apache-2.0"
    stand_in = true                      # honest: the experts only stand in for the networks of the paper
    prompts = ["make it a poster", ...]  # the instructions, one drawn for each clip; as for experts of role edit
    reference = "styled"                 # what is stored as the reference picture; leave out for none
    [[step]]                             # "source" is the clip, "first" its first frame; "target" must be made
    expert = "edges.toml"
    clip = "source"
    makes = "control"
    [[step]]
    expert = "restyle.toml"
    clip = "first"
    makes = "styled"
    [[step]]
    expert = "controlled.toml"
    clip = "control"
    reference = "styled"                 # its first frame goes along as the reference picture
    makes = "target"

To run the paper's recipe, put its networks in place of the stand-ins (edge map, FLUX.1-Kontext, Wan2.1-Fun-Control;
Wan-Animate; FlowEdit on Wan 2.1). Every pair records each step's expert, version and licence, and whether it stood in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_synth import footage as cl
from data_synth.experts import spec
from data_synth.experts.wire import Job
from data_synth.file_cache import cached_by_file
from data_synth.language.captions import describe_target
from data_synth.recipes import connections, text_experts
from data_synth.recipes.base import RecipeFamily
from data_synth.rejection import Rejected
from v2v.data.pair import Pair
from v2v.errors import InputError
from v2v.runtime import text_files

_FIELDS = {
    "name": str,
    "role": str,
    "license": str,
    "stand_in": bool,
    "prompts": list,
    "reference": str,
    "step": list,
}
_STEP = ("expert", "clip", "reference", "makes")


@dataclasses.dataclass(frozen=True)
class Step:
    """One call of an expert.

    Attributes:
      expert: Its TOML file.
      clip: Name of the clip that it gets.
      makes: Name for the clip that it gives.
      reference: Name of the clip whose first frame it gets as reference picture; "" for none.
    """

    expert: str
    clip: str
    makes: str
    reference: str = ""


@dataclasses.dataclass(frozen=True)
class Composition:
    """A checked file; the fields are those of the module docstring, and `path` is the file."""

    path: Path
    name: str
    license: str
    prompts: tuple[str, ...]
    steps: tuple[Step, ...]
    reference: str = ""
    stand_in: bool = False


@cached_by_file()
def load_composition(path: str) -> Composition | None:
    """Return the composition in a TOML file; None where it describes something else.

    Raises:
      InputError: A field is missing, unknown or of the wrong type, or a step uses what no earlier one made.
    """
    try:
        table = text_files.read_toml(path, "a composition")
    except InputError:
        return None  # spec.load_spec says what is wrong
    if table.get("role") != "composition":
        return None
    for key, value in table.items():
        if key not in _FIELDS or type(value) is not _FIELDS[key]:
            raise InputError(f"{path}: {key}: expected {', '.join(_FIELDS)} of the right type, got {value!r}")
    missing = [key for key in ("name", "license", "step") if not table.get(key)]
    if missing:
        raise InputError(f"{path}: expected {', '.join(missing)}; see data_synth/recipes/composition.py")
    available, steps = {"source", "first"}, []
    for i, step in enumerate(table["step"]):
        if (
            not isinstance(step, dict)
            or set(step) - set(_STEP)
            or not {"expert", "clip", "makes"} <= set(step)
            or not all(isinstance(value, str) for value in step.values())
        ):
            raise InputError(
                f"{path}: step {i + 1}: expected names as expert, clip, makes and perhaps reference, got {step!r}"
            )
        for name in (step["clip"], step.get("reference", "source")):
            if name not in available:
                raise InputError(
                    f"{path}: step {i + 1}: expected one of {', '.join(sorted(available))}, got {name!r}"
                )
        available.add(step["makes"])
        steps.append(
            Step(
                str(Path(path).parent / step["expert"]),
                step["clip"],
                step["makes"],
                step.get("reference", ""),
            )
        )
    if "target" not in available or table.get("reference", "source") not in available:
        raise InputError(
            f"{path}: expected steps that make 'target' and the reference, got {', '.join(sorted(available))}"
        )
    return Composition(
        Path(path),
        table["name"],
        table["license"],
        spec.check_prompts(path, table.get("prompts", [])),
        tuple(steps),
        table.get("reference", ""),
        table.get("stand_in", False),
    )


@dataclasses.dataclass(frozen=True)
class CompositionRecipe:
    """The recipe of one composition.

    Attributes:
      composition: The checked file.
      experts: The expert of each of its steps.
      clips: Source of footage.
      request_experts: TOML files of the request, one of which may propose prompts.
    """

    composition: Composition
    experts: tuple[connections.Connection, ...]
    clips: cl.ClipSource
    request_experts: tuple[str, ...] = ()

    @property
    def rows(self) -> None:
        """Return None: every seed gives a pair of its own."""
        return

    @property
    def batch(self) -> int:
        """Return the largest batch of the experts."""
        return max(expert.spec.batch for expert in self.experts)

    def __call__(self, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
        """Return the pair of a seed, or why it gives none."""
        return self.make_pairs([seed], T, H, W)[0]

    def make_pairs(self, seeds: Sequence[int], T: int, H: int, W: int) -> list[Pair | Rejected]:
        """Return what each seed gives, in order; each step is one batched call of its expert."""
        results: dict[int, Pair | Rejected] = {}
        named_clips: dict[int, dict[str, np.ndarray]] = {}
        clips: dict[int, cl.Clip] = {}
        inputs: dict[int, tuple[cl.Clip, str]] = {}
        for i, seed in enumerate(seeds):
            clip = self.clips(seed, T, H, W)
            if isinstance(clip, Rejected):
                results[i] = clip
            else:
                clips[i] = clip
        prompts = text_experts.choose_prompts(
            list(clips.values()), [seeds[i] for i in clips], self.composition.prompts, self.request_experts
        )
        for (i, clip), prompt in zip(clips.items(), prompts, strict=True):
            if isinstance(prompt, Rejected):
                results[i] = prompt
            else:
                inputs[i], named_clips[i] = (clip, prompt), {"source": clip.video, "first": clip.video[:1]}
        for step, expert in zip(self.composition.steps, self.experts, strict=True):
            active = list(named_clips)
            jobs = [
                Job(
                    named_clips[i][step.clip],
                    inputs[i][1],
                    reference=named_clips[i][step.reference][0] if step.reference else None,
                    seed=seeds[i],
                    fps=inputs[i][0].fps,
                )
                for i in active
            ]
            outcomes = expert.run(jobs, f"expert {Path(step.expert).stem}")
            for i, outcome in zip(active, outcomes, strict=True):
                if isinstance(outcome, Rejected):
                    results[i] = outcome
                    del named_clips[i]
                else:
                    named_clips[i][step.makes] = outcome
        for i, outputs in named_clips.items():
            results[i] = self._build_pair(seeds[i], *inputs[i], outputs)
        return [results[i] for i in range(len(seeds))]

    def _build_pair(self, seed: int, clip: cl.Clip, prompt: str, outputs: dict[str, np.ndarray]) -> Pair:
        T, H, W, _ = clip.video.shape
        composition = self.composition
        caption = clip.caption or "a video"
        return Pair(
            source=clip.video,
            target=outputs["target"],
            mask=np.full((T, H, W), 255, np.uint8),
            reference=outputs[composition.reference][0].copy() if composition.reference else None,
            instructions=(prompt,),
            source_caption=caption,
            target_caption=describe_target(caption, prompt),
            edit=composition.name,
            recipe="composition",
            seed=seed,
            provenance={
                **clip.origin,
                "experts": [expert.provenance for expert in self.experts],
                "composition": {"name": composition.name, "license": composition.license},
                "stand_in": composition.stand_in,
            },
            active=(0, T),
        )


# The recipes themselves come with the request; see external.py.
FAMILY = RecipeFamily(
    "stylisation, human-animation, actor-transmutation",
    "several experts in a row; need --expert data_synth/experts/standins/NAME.toml, with your networks in place of the stand-ins "
    "(fields: data_synth/recipes/composition.py)",
)
