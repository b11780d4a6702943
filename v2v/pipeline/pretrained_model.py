"""`Pretrained`: a model ready to edit with.

It is a value: `with_lora` returns another one and leaves the first unchanged. Weights are arguments of the jitted functions,
never constants in them, so all adapters of one size share one compiled program. Opening a model or an adapter checks names, shapes and
types; values are read when the first function needs them.
"""

import copy
import dataclasses
import functools
import math
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from v2v.array_types import AnyLatents, AnyPixels, Latents
from v2v.checkpoints import (
    adapters,
    parameter_store,
)
from v2v.checkpoints.adapters import Adapter
from v2v.checkpoints.detail_file import DetailWeights
from v2v.checkpoints.parameter_store import PartStore
from v2v.checkpoints.presets import Preset, describe_sampling
from v2v.config import (
    FlowConfig,
    ModelConfig,
    SamplingConfig,
    TransformerName,
    transformer_part,
)
from v2v.diffusion.sampler import LowNoise, SampleOutput
from v2v.diffusion.step_skipping import StepSkipper
from v2v.errors import InputError, note
from v2v.language.abilities import Abilities
from v2v.models.conditioning import build_conditioning, encode_mask
from v2v.models.text_encoder import Tokenizer
from v2v.pipeline import memory_plan, sampling_choice
from v2v.pipeline.memory_plan import PHASE_PARTS, ClipShape, MemoryPlan, PhaseName
from v2v.pipeline.model import SampleRequest, TextEmbedding, shown_conditions
from v2v.pipeline.model_programs import ModelPrograms, ProgramBuilder, build_programs
from v2v.pipeline.working_size import choose_size
from v2v.runtime import host_memory, sharding
from v2v.runtime.host_memory import DeviceMemory

# Number of instructions whose embeddings are cached, so that the text encoder is not read for them again: the latest ones, and those that
# `embed_ahead` has embedded.
TEXT_CACHE_SIZE, TEXTS_AHEAD = 16, 1024


@dataclasses.dataclass(frozen=True, eq=False)
class AppliedAdapters:
    """What is added to a transformer.

    Attributes:
      weighted: adapters with their weights, in the order in which they are added.
      embed: patch embeddings of the conditions; None for none.
    """

    weighted: parameter_store.WeightedAdapters = ()
    embed: dict | None = None


NO_ADAPTERS = AppliedAdapters()


class Pretrained:
    """A model ready to edit with.

    Attributes:
      config: its ModelConfig.
      tokenizer: its vocabulary.
      abilities: what it is known to do; None where it reads any sentence, or was not measured.
      detail_network: gives edits their texture at full size; None for a model without one.
      any_aspect: whether clips are edited at sizes of their own aspect (working_size.py).
      user_fields: fields of `FlowConfig` that the user set, which no preset and no adapter changes.
      preset: the preset that it is sampled by; None without.
    """

    def __init__(
        self,
        config: ModelConfig,
        tokenizer: Tokenizer,
        weights: PartStore,
        mesh: Mesh | None = None,
        programs: ProgramBuilder = build_programs,
        device: DeviceMemory | None = None,
    ):
        """Make a model of its parts.

        Args:
          config: its configuration.
          tokenizer: its vocabulary.
          weights: where its parameters come from.
          mesh: the devices its weights are on, which all take part in its computations; None for the first device.
          programs: builds the jitted functions of a configuration.
          device: the memory that edits are planned for; None for that of this process's devices.
        """
        self.config, self.tokenizer = config, tokenizer
        self._store, self._mesh, self._build_programs, self._device = weights, mesh, programs, device
        self._texts: dict[str, np.ndarray] = {}
        self._texts_ahead: set[str] = set()
        # By part, of transformers that have some.
        self._applied: dict[str, AppliedAdapters] = {}
        self.skipping: StepSkipper | None = None
        self.abilities: Abilities | None = None
        self.detail_network: DetailWeights | None = None
        self.any_aspect = False
        self.user_fields: frozenset[str] = frozenset()
        self.preset: Preset | None = None

    @property
    def part_sizes(self) -> dict[str, int]:
        """Return the bytes of each part on a device."""
        return self._store.sizes

    @property
    def conditions(self) -> tuple[str, ...]:
        """Which of "source", "mask" and "reference" the model takes; none if it was never trained to edit."""
        conditioning = build_conditioning(self.config.dit, self.config.condition)
        conditions = [
            conditioning.usable_conditions(self._applied.get(part, NO_ADAPTERS).embed or {})
            for part in self.config.transformers
        ]
        return tuple(name for name in conditions[0] if all(name in names for names in conditions))

    def encode(self, video: AnyPixels) -> Latents:
        """Encode uint8 [b, T, H, W, 3], T = 4n+1, to latents, float32 [b, t, y, x, c]."""
        self._store.check(self._weighted)  # as in embed_text
        self._begin_phase("encode", self.plan_memory(*video.shape[:2]))
        with self._use_mesh():
            return self._programs.encode(self._store.get("vae"), video)

    def encode_mask(self, mask: AnyPixels) -> AnyLatents:
        """Return what the model is shown of a mask (`conditioning.encode_mask`), uint8 [b, T, H, W, 3]."""
        grid = self.config.vae.latent_shape(*mask.shape[1:4])[:3]
        return encode_mask(self.config.condition, mask, grid, self.encode)

    def decode(self, z: AnyLatents) -> np.ndarray:
        """Decode latents to float32 [b, T, H, W, 3] in 0..255."""
        plan = self.plan_memory(z.shape[0], 1 + self.config.vae.stride_t * (z.shape[1] - 1))
        self._begin_phase("decode", plan)
        # Not given where frames are decoded whole: jit distinguishes a default from the same value given.
        tiles = {} if plan.tiles == (1, 1) else {"tiles": plan.tiles}
        with self._use_mesh():
            return np.asarray(self._programs.decode(self._store.get("vae"), z, **tiles))

    def embed_text(self, texts: list[str]) -> TextEmbedding:
        """Embed instructions.

        Raises:
          InputError: a model that reads stored contexts in place of sentences, or of two transformers one alone has an editing adapter.
        """
        self._check_pair()
        if self.config.condition.context == "stored":
            raise InputError(
                f"context: {self.config.name} reads no sentence itself; make its context with tools/kiwi_contexts.py and pass it with --context"
            )
        unknown = [word for text in texts for word in self.tokenizer.unknown_words(text)]
        cut = " ".join(filter(None, map(self.tokenizer.truncated_end, texts)))
        self._embed_new_texts([*texts, ""])
        rows = np.concatenate([self._texts[text] for text in texts])
        others = [text for text in self._texts if text and text not in self._texts_ahead]
        for text in others[:-TEXT_CACHE_SIZE]:
            del self._texts[text]
        closest = {word: self.tokenizer.closest(word) for word in unknown}
        return TextEmbedding(
            rows, unknown, cut, {word: suggestion for word, suggestion in closest.items() if suggestion}
        )

    def embed_ahead(self, texts: Iterable[str]) -> None:
        """Embed the instructions of edits that follow, so that the text encoder is loaded once for all of them.

        Args:
          texts: the instructions; at most `TEXTS_AHEAD` are embedded, 8 MB each at the size of Wan2.2.
        """
        if self.config.condition.context == "stored":
            return
        self._texts_ahead = set(list(dict.fromkeys(texts))[:TEXTS_AHEAD])
        self._embed_new_texts([*sorted(self._texts_ahead), ""])

    def sample(self, request: SampleRequest) -> SampleOutput:
        """Sample latents (see `EditingModel`).

        Raises:
          InputError: the model is shown a reference that it can't take.
        """
        if request.reference is not None and "reference" not in self.conditions:
            raise InputError(
                f"reference: {self.config.name} takes none; leave it out or load an adapter trained with references"
            )
        conditions = shown_conditions(self, request)
        null = request.negative
        if null is None and self.config.condition.context == "stored":
            if request.guidance != 1:
                raise InputError(
                    f"guidance: {self.config.name} has no empty sentence to lead away from, expected 1, got {request.guidance:g}; leave it out"
                )
            null = request.text
        elif null is None:
            self._embed_new_texts([""])
            null = self._texts[""]
        frames = 1 + self.config.vae.stride_t * (request.noise.shape[1] - 1)
        plan = self.plan_memory(request.noise.shape[0], frames, request.steps)
        self._begin_phase("sample", plan)
        cached = None if plan.caches_keys else False  # None caches where the model can
        sampler = self._build_programs(self.config, True).sampler if plan.streams else self._programs.sampler

        def read_variables(name: PhaseName) -> dict:
            self._begin_phase(name, plan)
            return self._variables(PHASE_PARTS[name], plan.streams)

        variables, low = functools.partial(read_variables, "sample"), None
        if self.config.flow.boundary:
            low_guidance = request.guidance if request.low_guidance is None else request.low_guidance
            # As Bernini-R scales all guidance when its transformers change.
            factor = low_guidance / request.guidance if request.guidance else 1.0
            low = LowNoise(functools.partial(read_variables, "sample_low"), low_guidance, factor)
        sample = functools.partial(
            sampler, variables, request.noise, request.text, null, conditions,
            request.steps, request.guidance, links=request.links, begin=request.begin,
            strength=request.strength, mode=request.mode, cached=cached,
            first=request.first, guidance_reference=request.guidance_reference, guidance_source=request.guidance_source,
            seeds=request.seeds, low=low, on_step=request.on_step,
        )  # fmt: skip
        with self._use_mesh():
            if self.skipping is None:
                return sample()
            return self.skipping.run(
                sample,
                (
                    request.noise.shape,
                    request.steps,
                    float(request.guidance),
                    request.low_guidance,
                    request.strength,
                ),
            )

    def plan_memory(
        self, rows: int | None = None, frames: int | None = None, steps: int | None = None
    ) -> MemoryPlan:
        """Return what lies where in each phase of an edit on this process's devices.

        Args:
          rows: windows at a time, over all devices; None for the model's batch on one.
          frames: of a window; None for the model's.
          steps: sampling steps; None for the model's.
        """
        shape = self._mesh.shape if self._mesh is not None else {}
        data = shape.get("data", 1) * shape.get("fsdp", 1)
        devices = 1 if self._mesh is None else self._mesh.size
        return memory_plan.plan_edit(
            self.config,
            ClipShape.of(self.config, self.conditions, rows, frames, steps),
            self._store.sizes,
            self._device or host_memory.local_memory(),
            devices,
            tileable=devices == data and (rows or 1) % data == 0,
            # The autoencoder splits frames over what doesn't divide rows; the sampler at best computes its branches there.
            sampling_devices=devices if rows is None or rows % data == 0 else devices // data,
            streamed_bytes=self._streamed_bytes if self._mesh is None or self._mesh.size == 1 else None,
        )

    def variables(self) -> dict:
        """Return what the transformer, the high-noise one of two, is applied with: merged weights and the embeddings of conditions."""
        return self._variables("dit", streams=False)

    def release(self) -> None:
        """Do nothing: no other job waits for this model."""

    def with_skip(self, tolerance: float) -> "Pretrained":
        """Return this model with steps skipped that change little (step_skipping.py); `skipping.report` tells what that costs."""
        return self._changed(skipping=StepSkipper(tolerance))

    def for_clip(self, height: int, width: int) -> "Pretrained":
        """Return this model at the size at which it edits clips of a height and width."""
        config = self.config
        size = choose_size(config, height, width) if self.any_aspect else (config.height, config.width)
        if size == (config.height, config.width):
            return self
        return self._changed(config=dataclasses.replace(config, height=size[0], width=size[1]))

    def with_size(self, frames: int, height: int, width: int) -> "Pretrained":
        """Return this model for windows of a size.

        Args:
          frames: of a window.
          height: pixels of its frames.
          width: pixels of its frames.

        Raises:
          ValueError: the model can't take that size.
        """
        config = dataclasses.replace(self.config, frames=frames, height=height, width=width)
        return self._changed(config=config, any_aspect=False)

    def on(self, mesh: Mesh) -> "Pretrained":
        """Return this model with its weights replicated on all devices of a mesh, over which rows of its inputs may be split."""
        place = sharding.replicated_sharding(mesh)
        applied = {
            part: dataclasses.replace(each, embed=each.embed and jax.device_put(each.embed, place))
            for part, each in self._applied.items()
        }
        store = parameter_store.ReplicatedStore(self._store, mesh)
        return self._changed(_store=store, _mesh=mesh, _applied=applied)

    def with_lora(
        self,
        adapter: str | Path | dict | Adapter,
        scale: float = 1.0,
        transformer: TransformerName | None = None,
    ) -> "Pretrained":
        """Return this model with an adapter.

        An adapter with embeddings for source, mask and reference replaces the model's own editing adapter. One without (`lora`
        only) is added to it. What the model was known to do is not known of it with an adapter. One that was distilled to a few steps
        and says so is sampled as it was, unless the user or a preset chose another way.

        Args:
          adapter: a file, its name on the hub, a tree {"lora", "embed"}, or a loaded adapter.
          scale: its weight; 1 applies it as trained.
          transformer: "high" or "low", of a model of two transformers, which have adapters of their own; None for a model of one, and for a
            file that holds adapters of both.

        Raises:
          InputError: a missing or unreadable file, an adapter of another backbone or of the other transformer, or a weight that is not
            finite.
        """
        if not math.isfinite(scale):
            raise InputError(
                f"adapter: expected a finite number as its weight, got {scale}; 1 is its own strength"
            )
        config, applied = self.config, dict(self._applied)
        for part, new in adapters.load_for_transformers(adapter, config, transformer).items():
            if new.condition is not None and new.condition != config.condition:
                config = dataclasses.replace(config, condition=new.condition)
            if new.sampling is not None and scale:
                name = "an adapter" if isinstance(adapter, dict | Adapter) else str(adapter)
                config = dataclasses.replace(config, flow=self._flow_for(new.sampling, name))
            previous = applied.get(part, NO_ADAPTERS)
            if new.embed is None:
                applied[part] = dataclasses.replace(previous, weighted=(*previous.weighted, (new, scale)))
            else:
                applied[part] = AppliedAdapters(((new, scale),), jax.device_put(new.embed))
        return self._changed(config=config, _applied=applied, abilities=None)

    def with_preset(self, preset: Preset) -> "Pretrained":
        """Return this model sampled as a preset says, except in what the user set, and with the adapter that belongs to it.

        Raises:
          InputError: as `with_lora`.
        """
        sampling_choice.note_preset(preset, self.config)
        flow = sampling_choice.apply_sampling(
            self.config.flow, preset.sampling, self.user_fields, f"preset {preset.name}"
        )
        model = self._changed(config=dataclasses.replace(self.config, flow=flow), preset=preset)
        return model.with_lora(preset.adapter) if preset.adapter else model

    def _flow_for(self, sampling: SamplingConfig, adapter: str) -> FlowConfig:
        """Return the flow with an adapter that was distilled to be sampled in some way, and tell it in a note."""
        flow = self.config.flow
        if self.preset is not None:
            words = f"{adapter} is meant"
            sampling_choice.note_departure(sampling, flow, words)
            return flow
        changed = sampling_choice.apply_sampling(flow, sampling, self.user_fields, adapter)
        if changed != flow and sampling_choice.sampling_of(changed) == sampling:
            note(f"sampling: as {adapter} was distilled: {describe_sampling(sampling)}")
        return changed

    def with_abilities(self, abilities: Abilities | None) -> "Pretrained":
        """Return this model with what it is known to do, None for nothing."""
        return self._changed(abilities=abilities)

    def with_detail(self, weights: DetailWeights | None) -> "Pretrained":
        """Return this model with a detail network, None for none."""
        return self._changed(detail_network=weights)

    def parameters(self, part: str) -> dict:
        """Return the tree of a part without adapters; it stays loaded only if the whole model fits into memory."""
        tree = self._store.get(part)
        self._store.release(part)
        return tree

    def adapter(self, part: str = "dit") -> Adapter | None:
        """Return all adapters of a transformer combined into one; None for a transformer without adapters."""
        applied = self._applied.get(part, NO_ADAPTERS)
        return adapters.combine_adapters(applied.weighted, applied.embed)

    def _changed(self, **attributes: Any) -> "Pretrained":
        """Return a copy with other attributes."""
        out = copy.copy(self)
        vars(out).update(attributes)
        return out

    @property
    def _programs(self) -> ModelPrograms:
        return self._build_programs(self.config)

    def _use_mesh(self) -> AbstractContextManager:
        """Return a context in which programs are compiled for the model's mesh: attention kernels can't be split by the compiler alone."""
        return nullcontext() if self._mesh is None else jax.set_mesh(self._mesh)

    def _begin_phase(self, name: PhaseName, plan: MemoryPlan) -> None:
        """Free the parts that a plan does not keep in a phase."""
        phase = plan.phase(name)
        self._store.retain(phase.part, *phase.beside)

    def _embed_new_texts(self, texts: list[str]) -> None:
        """Embed those texts that have not been embedded before; their embeddings stay on the host."""
        new_texts = [text for text in dict.fromkeys(texts) if text not in self._texts]
        if not new_texts:
            return
        self._store.check(self._weighted)  # damaged weights are found before any work is done
        self._begin_phase("text", self.plan_memory())
        for text in new_texts:
            ids, lengths = self.tokenizer.encode([text])
            with self._use_mesh():
                self._texts[text] = np.asarray(self._programs.embed(self._store.get("text"), ids, lengths))
        self._store.release("text")

    def _variables(self, part: str, streams: bool) -> dict:
        applied = self._applied.get(part, NO_ADAPTERS)
        return {
            # Not given where nothing is streamed: stores of other kinds don't stream.
            "params": self._store.get(part, applied.weighted, **({"streams": True} if streams else {})),
            "embed": applied.embed or {},
        }

    def _check_pair(self) -> None:
        """Raise InputError where one of two transformers alone has the embeddings of an editing adapter."""
        with_embeddings = [
            name
            for name in self.config.transformer_names
            if self._applied.get(transformer_part(name), NO_ADAPTERS).embed is not None
        ]
        if len(with_embeddings) == 1 and len(self.config.transformers) == 2:
            other = "low" if with_embeddings == ["high"] else "high"
            raise InputError(
                f"adapter: expected one that shows the source to each transformer of {self.config.name}, the {other}-noise one has none; pass "
                f"its file with --lora-{other}"
            )

    @property
    def _weighted(self) -> parameter_store.AdaptersByPart:
        return {part: applied.weighted for part, applied in self._applied.items()}

    @property
    def _streamed_bytes(self) -> int:
        """Return the bytes of the transformer on a device while its blocks are streamed."""
        resident = parameter_store.streamed_bytes(self.config)
        full_bytes = parameter_store.part_bytes(self.config)["dit"]
        return resident * self._store.sizes["dit"] // full_bytes
