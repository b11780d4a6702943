"""The recipes that external experts bring: to-NAME and from-NAME (role control), NAME (roles edit and remove), and compositions.

seeds → clips → jobs → `Connection.run` → **Pairs**. A block of seeds is one call of the expert, in batches of its size. Every pair
records the expert's name, version and license; a failed clip costs its seed and is counted by reason.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from data_synth import footage as cl
from data_synth.experts.spec import ExpertSpec
from data_synth.experts.wire import Job
from data_synth.operators.control import ControlVideo
from data_synth.recipes import composition, connections, control, removal
from data_synth.recipes.base import Recipe, RecipeFamily, RecipeInfo
from data_synth.recipes.shots import Shot, ShotSource, build_shot_source
from data_synth.recipes.sources import Sources
from data_synth.recipes.two_way import Side, build_two_way_pair
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from v2v.data.pair import Pair
from v2v.errors import InputError

# The recipes themselves come with the request.
FAMILY = RecipeFamily(
    "to-X, from-X, X", "external experts; need --expert (fields: data_synth/experts/spec.py)"
)


def expert_recipes(path: str) -> tuple[RecipeInfo, ...]:
    """Return the recipes that a TOML file adds: none for an expert of role mask.

    Raises:
      InputError: The file describes neither an expert nor a composition.
    """
    if plan := composition.load_composition(path):
        build = functools.partial(_build_composition, plan)
        return (RecipeInfo(plan.name, build, kind="composition", reads=("clips",)),)
    spec = connections.load_spec(path)
    return tuple(
        RecipeInfo(
            name,
            functools.partial(_build_expert_recipe, name, path),
            kind="control" if spec.role == "control" else "expert",
            reads=("clips", "masks") if spec.role == "remove" else ("clips",),
        )
        for name in _recipe_names(spec)
    )


def expert_recipe_names(experts: Sequence[str]) -> list[str]:
    """Return the names of the recipes that TOML files add.

    Raises:
      InputError: Two of them have the same name.
    """
    names = [recipe.name for path in experts for recipe in expert_recipes(path)]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise InputError(
            f"experts: expected different names, got {', '.join(sorted(repeated))} twice; rename one"
        )
    return names


def composition_files(path: str) -> list[str]:
    """Return the TOML files of the steps of a composition; none for a single expert."""
    plan = composition.load_composition(path)
    return sorted({step.expert for step in plan.steps}) if plan else []


@dataclasses.dataclass(frozen=True)
class ExpertRecipe:
    """One recipe of one expert.

    Attributes:
      name: Name of the recipe.
      connection: The expert.
      clips: Source of footage.
      shots: Source of footage with masks, for experts of role remove.
    """

    name: str
    connection: connections.Connection
    clips: cl.ClipSource
    shots: ShotSource

    @property
    def rows(self) -> None:
        """Return None: every seed gives a pair of its own."""
        return

    @property
    def batch(self) -> int:
        """Return the expert's batch."""
        return self.connection.spec.batch

    def __call__(self, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
        """Return the pair of a seed, or why it gives none."""
        return self.make_pairs([seed], T, H, W)[0]

    def make_pairs(self, seeds: Sequence[int], T: int, H: int, W: int) -> list[Pair | Rejected]:
        """Return what each seed gives, in order; all seeds are one call of the expert."""
        results: dict[int, Pair | Rejected] = {}
        jobs: dict[int, Job] = {}
        inputs: dict[int, cl.Clip | Shot] = {}
        source = self.shots if self.connection.spec.role == "remove" else self.clips
        for i, seed in enumerate(seeds):
            footage = source(seed, T, H, W)
            if isinstance(footage, Rejected):
                results[i] = footage
            else:
                inputs[i], jobs[i] = footage, self._build_job(seed, footage)
        for i, answer in zip(jobs, self.connection.run(list(jobs.values())), strict=True):
            if isinstance(answer, Rejected):
                results[i] = answer
            else:
                results[i] = self._build_pair(seeds[i], inputs[i], jobs[i], answer)
        return [results[i] for i in range(len(seeds))]

    def _build_job(self, seed: int, footage: cl.Clip | Shot) -> Job:
        if isinstance(footage, Shot):
            mask = np.where(footage.mask, 255, 0).astype(np.uint8)
            return Job(footage.video, f"remove the {footage.object_name}", mask)
        prompts = self.connection.spec.prompts
        if self.connection.spec.role == "edit":
            return Job(footage.video, prompts[int(build_rng(seed, "prompt").integers(len(prompts)))])
        return Job(footage.video)

    def _build_pair(self, seed: int, footage: cl.Clip | Shot, job: Job, answer: np.ndarray) -> Pair:
        if isinstance(footage, Shot):
            return self._build_removal_pair(seed, footage, job, answer)
        spec = self.connection.spec
        if spec.role == "control":
            forward = self.name.startswith("to-")
            return control.assemble_pair(
                spec.name,
                forward,
                footage,
                ControlVideo(answer),
                seed,
                noun=spec.noun or spec.name,
                expert=self.connection.provenance,
            )
        caption = footage.caption or "a video"
        return Pair(
            source=footage.video,
            target=answer,
            mask=np.full(job.clip.shape[:3], 255, np.uint8),
            reference=None,
            instructions=(job.prompt,),
            source_caption=caption,
            target_caption=f"{caption}, after: {job.prompt}",
            edit=self.name,
            recipe="expert",
            seed=seed,
            provenance={**footage.origin, "expert": self.connection.provenance},
            active=(0, len(answer)),
        )

    def _build_removal_pair(self, seed: int, shot: Shot, job: Job, answer: np.ndarray) -> Pair:
        assert job.mask is not None
        is_insertion = self.name != self.connection.spec.name
        # An inpainter that repaints the rest slightly would teach the model to: what is unmasked stays as it was.
        return build_two_way_pair(
            Side(shot.video, shot.caption),
            Side(np.where(job.mask[..., None] > 0, answer, shot.video), shot.caption_without),
            not is_insertion,
            lambda is_removal: removal.removal_sentences(not is_removal, shot.object_name)[:5],
            edit=self.name,
            kind="expert",
            seed=seed,
            mask=job.mask,
            provenance={**shot.origin, "expert": self.connection.provenance},
            is_reversible=False,
        )


def _recipe_names(spec: ExpertSpec) -> list[str]:
    return {
        "control": [f"to-{spec.name}", f"from-{spec.name}"],
        "edit": [spec.name],
        "remove": [spec.name, f"{spec.name}-insertion"],
        "mask": [],
    }[spec.role]


def _build_composition(plan: composition.Composition, sources: Sources) -> Recipe:
    experts = tuple(connections.connect(step.expert) for step in plan.steps)
    return composition.CompositionRecipe(plan, experts, sources.clip_source())


def _build_expert_recipe(name: str, path: str, sources: Sources) -> Recipe:
    connection = connections.connect(path)
    return ExpertRecipe(name, connection, sources.clip_source(), build_shot_source(sources))
