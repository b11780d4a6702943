"""Recipes made of several experts: stylisation, human animation, actor transmutation (EasyV2V §4).

clip → step → step → ... → **Pair**. A TOML file with role = "composition", given to `--expert` like any expert's, names the
steps; each runs an expert (its own TOML file, beside this one) on what is there, and gives it a name:

    name = "stylisation"                 # the recipe
    role = "composition"
    license = "Apache-2.0"
    stand_in = true                      # honest: the experts only stand in for the networks of the paper
    prompts = ["make it a poster", ...]  # the instructions, one drawn for each clip
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
import functools
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from data_synth import footage as cl
from data_synth.experts import protocol, spec
from data_synth.experts.wire import Job
from data_synth.recipes.result import Rejected
from data_synth.rng import build_rng
from v2v.data.pair import Pair
from v2v.errors import InputError

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
    """One expert at work; `clip` and `reference` name what it gets, `makes` what it gives."""

    expert: str
    clip: str
    makes: str
    reference: str = ""


@dataclasses.dataclass(frozen=True)
class Composition:
    """A checked file; fields as in the module docstring."""

    path: Path
    name: str
    license: str
    prompts: tuple[str, ...]
    steps: tuple[Step, ...]
    reference: str = ""
    stand_in: bool = False


@functools.lru_cache(maxsize=64)
def load_composition(path: str) -> Composition | None:
    """The composition in a TOML file; None if it describes something else.

    Raises:
      InputError: a field is missing, unknown or of the wrong type, or a step uses what no earlier one made.
    """
    try:
        table = tomllib.loads(Path(path).read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return None  # protocol.load says what is wrong
    if table.get("role") != "composition":
        return None
    for key, value in table.items():
        if key not in _FIELDS or type(value) is not _FIELDS[key]:
            raise InputError(f"{path}: {key}: expected {', '.join(_FIELDS)} of the right type, got {value!r}")
    missing = [key for key in ("name", "license", "prompts", "step") if not table.get(key)]
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
        spec.check_prompts(path, table["prompts"]),
        tuple(steps),
        table.get("reference", ""),
        table.get("stand_in", False),
    )


@dataclasses.dataclass(frozen=True)
class CompositionRecipe:
    """The recipe of one plan. `connect`: TOML path → (spec, expert); one connection serves all recipes of a process."""

    plan: Composition
    connect: Callable[[str], tuple[spec.ExpertSpec, protocol.Expert]]
    footage: cl.ClipSource

    rows = None

    @property
    def batch(self) -> int:
        return max(self.connect(step.expert)[0].batch for step in self.plan.steps)

    def __call__(self, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
        return self.many([seed], T, H, W)[0]

    def many(self, seeds: Sequence[int], T: int, H: int, W: int) -> list[Pair | Rejected]:
        """Pairs or reasons, one for each seed, in order; each step is one batched call of its expert."""
        results: dict[int, Pair | Rejected] = {}
        named_clips: dict[int, dict[str, np.ndarray]] = {}
        inputs: dict[int, tuple[cl.Clip, str]] = {}
        for i, seed in enumerate(seeds):
            clip = self.footage(seed, T, H, W)
            if isinstance(clip, Rejected):
                results[i] = clip
                continue
            prompt = self.plan.prompts[int(build_rng(seed, "prompt").integers(len(self.plan.prompts)))]
            inputs[i], named_clips[i] = (clip, prompt), {"source": clip.video, "first": clip.video[:1]}
        for step in self.plan.steps:
            _, expert = self.connect(step.expert)
            active = list(named_clips)
            jobs = [
                Job(
                    named_clips[i][step.clip],
                    inputs[i][1],
                    reference=named_clips[i][step.reference][0] if step.reference else None,
                )
                for i in active
            ]
            for i, answer in zip(active, protocol.run_expert(expert, jobs), strict=True):
                if isinstance(answer, protocol.Failure):
                    results[i] = Rejected(
                        f"expert {Path(step.expert).stem} {answer.reason}", answer.transient
                    )
                    del named_clips[i]
                else:
                    named_clips[i][step.makes] = answer
        for i, outputs in named_clips.items():
            results[i] = self._pair(seeds[i], *inputs[i], outputs)
        return [results[i] for i in range(len(seeds))]

    def _pair(self, seed: int, clip: cl.Clip, prompt: str, outputs: dict[str, np.ndarray]) -> Pair:
        T, H, W, _ = clip.video.shape
        specs = [self.connect(step.expert)[0] for step in self.plan.steps]
        caption = clip.caption or "a video"
        return Pair(
            source=clip.video,
            target=outputs["target"],
            mask=np.full((T, H, W), 255, np.uint8),
            reference=outputs[self.plan.reference][0].copy() if self.plan.reference else None,
            instructions=(prompt,),
            source_caption=caption,
            target_caption=f"{caption}, after: {prompt}",
            edit=self.plan.name,
            recipe="composition",
            seed=seed,
            provenance={
                **clip.origin,
                "experts": [{"name": s.name, "version": s.version, "license": s.license} for s in specs],
                "composition": {"name": self.plan.name, "license": self.plan.license},
                "stand_in": self.plan.stand_in,
            },
            active=(0, T),
        )
