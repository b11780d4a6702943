"""Recipes that external experts bring: to-NAME and from-NAME (role control), NAME (roles edit and remove).

seeds → clips → jobs → `protocol.run` → **Pairs**. A block of seeds is one call of the expert, in batches of its size.
Every pair records the expert's name, version and licence; a failed clip costs its seed and is counted by reason.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from data_synth import footage as cl
from data_synth.experts import protocol
from data_synth.experts import spec as spec_lib
from data_synth.experts.wire import Job
from data_synth.operators.control import ControlVideo
from data_synth.recipes import composition, control, removal
from data_synth.recipes.result import Rejected
from data_synth.rng import build_rng
from v2v.data.pair import Pair
from v2v.errors import InputError


def expert_recipe_names(experts: tuple[str, ...]) -> list[str]:
    """The recipes that these TOML files add."""
    recipes = []
    for path in experts:
        if plan := composition.load_composition(path):
            recipes.append(plan.name)
            continue
        spec = _load_spec(path)
        recipes += _spec_recipe_names(spec)
    repeated = {name for name in recipes if recipes.count(name) > 1}
    if repeated:
        raise InputError(
            f"experts: expected different names, got {', '.join(sorted(repeated))} twice; rename one"
        )
    return recipes


def composition_files(path: str) -> list[str]:
    """The TOML files of the steps of a composition; none for a single expert."""
    plan = composition.load_composition(path)
    return sorted({str(step.expert) for step in plan.steps}) if plan else []


def build_expert_recipe(
    name: str, experts: tuple[str, ...], footage: cl.ClipSource
) -> ExpertRecipe | composition.CompositionRecipe:
    """The recipe called `name`, which must be one of `names(experts)`."""
    for path in experts:
        if plan := composition.load_composition(path):
            if name == plan.name:
                return composition.CompositionRecipe(plan, _load_and_connect, footage)
            continue
        spec = _load_spec(path)
        if name in _spec_recipe_names(spec):
            return ExpertRecipe(name, spec, _connect(path), footage, build_masker(experts))
    raise InputError(f"experts: expected one that makes {name}, got {', '.join(experts) or 'none'}")


@dataclasses.dataclass(frozen=True)
class ExpertRecipe:
    """One recipe of one expert. `footage` gives clips, or (role remove, rendered) shots with masks."""

    name: str
    spec: spec_lib.ExpertSpec
    expert: protocol.Expert
    footage: cl.ClipSource
    masker: removal.Masker | None = None

    rows = None

    @property
    def batch(self) -> int:
        return self.spec.batch

    def __call__(self, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
        return self.many([seed], T, H, W)[0]

    def many(self, seeds: Sequence[int], T: int, H: int, W: int) -> list[Pair | Rejected]:
        """Pairs or reasons, one for each seed, in order."""
        results: dict[int, Pair | Rejected] = {}
        inputs, jobs = [], []
        for i, seed in enumerate(seeds):
            clip = self._shot(seed, T, H, W)
            if isinstance(clip, Rejected):
                results[i] = clip
                continue
            inputs.append((i, seed, clip))
            jobs.append(self._job(seed, clip))
        for (i, seed, clip), job, answer in zip(
            inputs, jobs, protocol.run_expert(self.expert, jobs), strict=True
        ):
            if isinstance(answer, protocol.Failure):
                results[i] = Rejected(f"expert {answer.reason}", answer.transient)
            else:
                results[i] = self._pair(seed, clip, job, answer)
        return [results[i] for i in range(len(seeds))]

    def _shot(self, seed: int, T: int, H: int, W: int) -> cl.Clip | removal.Shot | Rejected:
        if self.spec.role != "remove":
            return self.footage(seed, T, H, W)
        source = (
            removal.render_shot
            if self.footage is cl.render_clip
            else removal.folder_shots(self.footage, self.masker)
        )
        return source(seed, T, H, W)

    def _job(self, seed: int, clip) -> Job:
        if self.spec.role == "edit":
            return Job(
                clip.video, self.spec.prompts[int(build_rng(seed, "prompt").integers(len(self.spec.prompts)))]
            )
        if self.spec.role == "remove":
            return Job(clip.video, f"remove the {clip.thing}", np.where(clip.mask, 255, 0).astype(np.uint8))
        return Job(clip.video)

    def _pair(self, seed: int, clip, job: Job, answer: np.ndarray) -> Pair:
        T, H, W, _ = job.clip.shape
        expert = {"name": self.spec.name, "version": self.spec.version, "license": self.spec.license}
        if self.spec.role == "control":
            noun = self.spec.noun or self.spec.name
            return control.assemble_pair(
                self.spec.name,
                self.name.startswith("to-"),
                clip,
                ControlVideo(answer),
                seed,
                noun=noun,
                expert=expert,
            )
        if self.spec.role == "remove":
            words = removal.removal_sentences(self.name != self.spec.name, clip.thing)[:5]
            source_caption, target_caption, mask = clip.caption, clip.caption_without, job.mask
            # An inpainter that repaints the rest slightly would teach the model to: what is unmasked stays as it was.
            answer = np.where(mask[..., None] > 0, answer, clip.video)
            if self.name != self.spec.name:  # the swapped pair
                clip, answer = dataclasses.replace(clip, video=answer), clip.video
                source_caption, target_caption = target_caption, source_caption
        else:
            words, source_caption = (job.prompt,), clip.caption or "a video"
            target_caption, mask = f"{source_caption}, after: {job.prompt}", np.full((T, H, W), 255, np.uint8)
        return Pair(
            source=clip.video,
            target=answer,
            mask=mask,
            reference=None,
            instructions=words,
            source_caption=source_caption,
            target_caption=target_caption,
            edit=self.name,
            recipe="expert",
            seed=seed,
            provenance={**clip.origin, "expert": expert},
            active=(0, T),
        )


def removal_recipe_names(experts: tuple[str, ...]) -> list[str]:
    """The recipes that work on shots with masks."""
    specs = [_load_spec(path) for path in experts if not composition.load_composition(path)]
    return [name for spec in specs if spec.role == "remove" for name in _spec_recipe_names(spec)]


def build_masker(experts: tuple[str, ...]) -> removal.Masker | None:
    """The first expert of role mask as what gives a clip the mask of its thing; None without one."""
    path = next(
        (p for p in experts if not composition.load_composition(p) and _load_spec(p).role == "mask"), None
    )
    if path is None:
        return None
    spec, expert = _load_and_connect(path)

    def mask(clip: cl.Clip) -> removal.Shot | Rejected:
        (answer,) = protocol.run_expert(expert, [Job(clip.video, spec.noun)])
        if isinstance(answer, protocol.Failure):
            return Rejected(f"expert {spec.name} {answer.reason}", answer.transient)
        where = answer.max(-1) > 127
        if not where.any():
            return Rejected(f"expert {spec.name} found no {spec.noun}")
        origin = {
            **clip.origin,
            "mask": {"name": spec.name, "version": spec.version, "license": spec.license},
        }
        return removal.build_shot(clip, where, spec.noun, origin)

    return mask


def _spec_recipe_names(spec: spec_lib.ExpertSpec) -> list[str]:
    """The recipes that an expert brings."""
    return {
        "control": [f"to-{spec.name}", f"from-{spec.name}"],
        "edit": [spec.name],
        "remove": [spec.name, f"{spec.name}-insertion"],
        "mask": [],
    }[spec.role]


@functools.lru_cache(maxsize=64)
def _load_spec(path: str) -> spec_lib.ExpertSpec:
    return spec_lib.load_spec(path)


@functools.lru_cache(maxsize=64)
def _connect(path: str) -> protocol.Expert:
    """One expert a process, shared by its recipes: its weights are loaded once."""
    return protocol.connect_expert(_load_spec(path))


def _load_and_connect(path: str) -> tuple[spec_lib.ExpertSpec, protocol.Expert]:
    return _load_spec(path), _connect(path)
