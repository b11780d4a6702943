"""The recipes that external experts bring: to-NAME and from-NAME (role control), NAME (roles edit and remove), and compositions.

seeds → clips → jobs → `Connection.run` → **Pairs**. A block of seeds is one call of the expert, in batches of its size. Every pair
records the expert's name, version and license; a failed clip costs its seed and is counted by reason. An expert of role remove gets its mask with a
margin; of its answer is kept what differs there and in the object's shadow (`object_removal.take_over`).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data_synth import footage as cl
from data_synth.experts.spec import ExpertSpec
from data_synth.experts.wire import Job
from data_synth.language import captions as caption_language
from data_synth.operators.control import ControlVideo
from data_synth.operators.object_removal import grow_mask, take_over
from data_synth.places import open_place
from data_synth.recipes import composition, connections, control, removal, text_experts
from data_synth.recipes.base import Recipe, RecipeFamily, RecipeInfo
from data_synth.recipes.footage_removal import cut_out_object
from data_synth.recipes.shots import Shot, ShotSource, build_shot_source
from data_synth.recipes.sources import Sources
from data_synth.recipes.two_way import Side, build_two_way_pair
from data_synth.rejection import Rejected
from v2v.data.pair import Pair
from v2v.errors import InputError

# Version of what is done with answers. 2: masks of removals have a margin and hold shadows; prompts may come from the clip.
# 3: captions of pictures in another style or color say so.
VERSION = "3"
# The recipes themselves come with the request.
FAMILY = RecipeFamily(
    "to-X, from-X, X", "external experts; need --expert (fields: data_synth/experts/spec.py)"
)


def expert_recipes(path: str) -> tuple[RecipeInfo, ...]:
    """Return the recipes that a TOML file adds: none for experts of role mask and those that write.

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
      shots: Source of footage with masks, for experts of role remove; None for others.
      experts: TOML files of the request, one of which may propose prompts.
    """

    name: str
    connection: connections.Connection
    clips: cl.ClipSource
    shots: ShotSource | None = None
    experts: tuple[str, ...] = ()

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
        source = self.shots or self.clips
        for i, seed in enumerate(seeds):
            footage = source(seed, T, H, W)
            if isinstance(footage, Rejected):
                results[i] = footage
            else:
                inputs[i] = footage
        for i, prompt in zip(inputs, self._choose_prompts(seeds, inputs), strict=True):
            if isinstance(prompt, Rejected):
                results[i] = prompt
            else:
                jobs[i] = _build_job(seeds[i], inputs[i], prompt, self.connection.spec.role)
        for i, answer in zip(jobs, self.connection.run(list(jobs.values())), strict=True):
            if isinstance(answer, Rejected):
                results[i] = answer
            else:
                results[i] = self._build_pair(seeds[i], inputs[i], jobs[i], answer)
        return [results[i] for i in range(len(seeds))]

    def _choose_prompts(
        self, seeds: Sequence[int], inputs: Mapping[int, cl.Clip | Shot]
    ) -> list[str | Rejected]:
        """Return the prompt of each input."""
        spec = self.connection.spec
        if spec.role == "edit":
            clips = [clip for clip in inputs.values() if isinstance(clip, cl.Clip)]
            return text_experts.choose_prompts(clips, [seeds[i] for i in inputs], spec.prompts, self.experts)
        return [
            f"remove the {shot.object_name}" if isinstance(shot, Shot) else "" for shot in inputs.values()
        ]

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
            target_caption=caption_language.describe_target(caption, job.prompt),
            edit=self.name,
            recipe="expert",
            seed=seed,
            provenance={**footage.origin, "expert": self.connection.provenance},
            active=(0, len(answer)),
        )

    def _build_removal_pair(self, seed: int, shot: Shot, job: Job, answer: np.ndarray) -> Pair:
        is_insertion = self.name != self.connection.spec.name
        # An inpainter that repaints the rest slightly would teach the model to: what lies elsewhere stays as it was.
        replacement = take_over(shot.video, answer, shot.mask)
        return build_two_way_pair(
            Side(shot.video, shot.caption),
            Side(replacement.target, shot.caption_without),
            not is_insertion,
            lambda is_removal: removal.removal_sentences(not is_removal, shot.object_name)[:5],
            edit=self.name,
            kind="expert",
            seed=seed,
            mask=np.where(replacement.mask, 255, 0).astype(np.uint8),
            provenance={**shot.origin, "expert": self.connection.provenance},
            is_reversible=False,
            reference=cut_out_object(shot) if is_insertion and shot.body_mask.any() else None,
            effect=np.where(replacement.effect, 255, 0).astype(np.uint8),
        )


def _build_job(seed: int, footage: cl.Clip | Shot, prompt: str, role: str) -> Job:
    """Return the job for a clip; the mask of a shot gets a margin, as objects' rims lie outside of tight masks."""
    mask = np.where(grow_mask(footage.mask), 255, 0).astype(np.uint8) if isinstance(footage, Shot) else None
    return Job(footage.video, prompt, mask, seed=seed, fps=footage.fps, about={"role": role})


def _recipe_names(spec: ExpertSpec) -> list[str]:
    return {
        "control": [f"to-{spec.name}", f"from-{spec.name}"],
        "edit": [spec.name],
        "remove": [spec.name, f"{spec.name}-insertion"],
        "mask": [],
    }.get(spec.role, [])


def _build_composition(plan: composition.Composition, sources: Sources) -> Recipe:
    experts = tuple(connections.connect(step.expert) for step in plan.steps)
    _check_prompts(plan.path, plan.prompts, sources)
    return composition.CompositionRecipe(plan, experts, sources.clip_source(), sources.experts)


def _check_prompts(path: Path, prompts: Sequence[str], sources: Sources) -> None:
    """Raise InputError where no clip of a request can have a prompt."""
    if prompts or connections.find_experts(sources.experts, "instruct"):
        return
    files = (open_place(folder.root) / name for folder in sources.clip_folders() for name in folder.files)
    if not any(file.with_suffix(".prompts.txt").is_file() for file in files):
        raise InputError(
            f"{path}: prompts: expected some, or NAME.prompts.txt beside clips, or an expert of role instruct; got none of these; add one"
        )


def _build_expert_recipe(name: str, path: str, sources: Sources) -> Recipe:
    connection = connections.connect(path)
    if connection.spec.role == "edit":
        _check_prompts(connection.spec.path, connection.spec.prompts, sources)
    # Only experts of role remove need masks.
    shots = build_shot_source(sources) if connection.spec.role == "remove" else None
    return ExpertRecipe(name, connection, sources.clip_source(), shots, sources.experts)
