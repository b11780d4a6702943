"""Models ready to edit with: the packaged one, folders of our own, and published folders.

`Pretrained` is a value: `with_lora` returns another one and leaves the first unchanged. Weights are arguments of the jitted functions,
never constants in them, so all adapters of one size share one compiled program. Opening a model or an adapter checks names, shapes and
types; values are read when the first function needs them.
"""

import copy
import dataclasses
import functools
import math
import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from v2v.array_types import AnyLatents, AnyPixels, Latents
from v2v.assets import EMBEDDED
from v2v.checkpoints import (
    adapters,
    detail_file,
    editor_folder,
    hub,
    known_models,
    model_folder,
    native,
    parameter_store,
    part_files,
)
from v2v.checkpoints.adapters import Adapter
from v2v.checkpoints.detail_file import DetailWeights
from v2v.checkpoints.parameter_store import ParameterStore, PartStore
from v2v.checkpoints.presets import Preset, describe_sampling, find_preset
from v2v.config import (
    FlowConfig,
    ModelConfig,
    SamplingConfig,
    TransformerName,
    WeightsDtype,
    transformer_part,
)
from v2v.diffusion.sampler import LowNoise, SampleOutput
from v2v.diffusion.step_skipping import StepSkipper
from v2v.errors import InputError, note
from v2v.language.abilities import Abilities, load_abilities
from v2v.models.autoencoder import VAE
from v2v.models.conditioning import build_conditioning, encode_mask
from v2v.models.initialization import init_base
from v2v.models.text_encoder import Tokenizer, build_word_tokenizer
from v2v.pipeline import clip_mesh, memory_plan, sampling_choice
from v2v.pipeline.memory_plan import PHASE_PARTS, ClipShape, MemoryPlan, PhaseName
from v2v.pipeline.model import SampleRequest, TextEmbedding, shown_conditions
from v2v.pipeline.model_programs import ModelPrograms, ProgramBuilder, build_programs
from v2v.pipeline.working_size import choose_size
from v2v.runtime import host_memory, sharding
from v2v.runtime.host_memory import DeviceMemory

# Settings of `load_pretrained` that are those of the flow.
FLOW_FIELDS = frozenset(field.name for field in dataclasses.fields(FlowConfig))


def apply_settings(cfg: ModelConfig, settings: dict) -> ModelConfig:
    """Return `cfg` with the settings that are not None; frames larger than in training cause a note.

    Raises:
      InputError: more frames than in training, values that do not fit, or a size beyond this machine's memory.
    """
    values = {name: value for name, value in settings.items() if value is not None}
    frames, height, width = (
        max(trained, default)
        for trained, default in zip(cfg.largest, (cfg.frames, cfg.height, cfg.width), strict=True)
    )
    if values.get("frames", 1) > frames:
        raise InputError(
            f"size: {cfg.name} has learnt positions of {frames} frames, got {values['frames']}; longer clips are edited in windows anyway"
        )
    flow = {name: values.pop(name) for name in FLOW_FIELDS & values.keys()}
    for part in ("dit", "text") if "dtype" in values else ():
        cfg = dataclasses.replace(
            cfg, **{part: dataclasses.replace(getattr(cfg, part), dtype=values["dtype"])}
        )
    values.pop("dtype", None)
    try:
        cfg = dataclasses.replace(cfg, flow=sampling_choice.change_flow(cfg.flow, flow), **values)
    except ValueError as err:
        raise InputError(f"model: {err}; choose another size") from err
    # The clips as float32 RGB alone, a small part of the memory in use.
    least = 12 * cfg.batch * cfg.frames * cfg.height * cfg.width / 2**30
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    if least > memory:
        raise InputError(
            f"model: clips of {cfg.width}x{cfg.height}x{cfg.frames} need more than {least:.0f} GiB, this machine has {memory:.0f}; "
            "choose a smaller size"
        )
    if cfg.width * cfg.height > width * height:
        note(
            f"{cfg.name} has seen pictures up to {width}x{height}; at {cfg.width}x{cfg.height} its edits may be poor"
        )
    return cfg


# Number of instructions whose embeddings are cached, so that the text encoder is not read for them again: the latest ones, and those that
# `embed_ahead` has embedded.
TEXT_CACHE_SIZE, TEXTS_AHEAD = 16, 1024


def load_pretrained(
    name_or_dir: str | Path,
    *,
    mesh: Mesh | None = None,
    progress: bool = False,
    weights_dtype: WeightsDtype | None = None,
    any_aspect: bool | None = None,
    preset: str | Path | Preset | None = None,
    **settings,
) -> "Pretrained":
    """Load the packaged model ("embedded"), a folder, or a model by its name on the Hugging Face Hub.

    A folder holds a published model of the Wan2.1 or Wan2.2 family, or one of `v2v convert` or `v2v train`.

    Args:
      name_or_dir: "embedded", the path of a folder or of a transformer's file, or ORG/NAME[@REVISION], which is fetched as far as the hub's cache lacks it;
        a `Path` is always a folder.
      mesh: devices that edit a clip together; over them the weights of a published or converted model are split, as in training. None for
        the first device.
      progress: show bars while weights are read; a download shows one wherever stderr is a terminal.
      weights_dtype: type that weights of transformer and text encoder are stored in (models/quantized.py): "bfloat16", or "int8", "fp8"
        and "nf4", which take half and a quarter of that; None for the model's own.
      any_aspect: edit each clip at a size of its own aspect and of the area of the model's height and width; None does so for models that
        were trained on many sizes, unless `height` or `width` is given.
      preset: a way to sample, of weights distilled to a few steps (checkpoints/presets.py): its name, or a JSON file. An adapter that
        belongs to it is added.
      settings: other values for `frames`, `height`, `width` (the clips the model works on), `dtype` (of matmuls: "bfloat16" or
        "float32") and for the fields of `config.FlowConfig` (`solver`, `schedule`, `shift`, ...); None leaves a value as it is.

    Raises:
      InputError: no such model, or incomplete, damaged or unsuitable files; every wrong tensor is named.
    """
    model = _open_model(name_or_dir, mesh, progress, weights_dtype, settings)
    has_size = settings.get("height") is not None or settings.get("width") is not None
    # Of the packaged model and others of one size `largest` isn't set.
    model.any_aspect = (any(model.config.largest) and not has_size) if any_aspect is None else any_aspect
    if preset is None:
        return model
    return model.with_preset(preset if isinstance(preset, Preset) else find_preset(preset))


def _open_model(
    name_or_dir: str | Path,
    mesh: Mesh | None,
    progress: bool,
    weights_dtype: WeightsDtype | None,
    settings: dict[str, Any],
) -> "Pretrained":
    """Open a model with its own adapter; arguments as those of `load_pretrained`."""
    user_fields = frozenset(name for name in FLOW_FIELDS if settings.get(name) is not None)
    path = EMBEDDED if name_or_dir == "embedded" else hub.resolve_model(name_or_dir)
    if not path.exists():
        full_name = known_models.suggest(str(name_or_dir))
        raise InputError(
            f'model: expected "embedded" or a folder of weights, or ORG/NAME on the Hugging Face Hub, got "{name_or_dir}"; '
            + (f"did you mean {full_name}?" if full_name else "check --model")
        )
    if is_native_folder(path):
        cfg = apply_settings(native.load_config(path / "config.json"), settings)
        vocabulary = Tokenizer.load(path / "tokenizer.json", cfg.text.text_len)
        abilities = load_abilities(path)
        if is_converted_folder(path):
            model = Pretrained(
                cfg, vocabulary, parameter_store.store_from_orbax(path, cfg, mesh, weights_dtype), mesh
            )
            for name in cfg.transformer_names:
                if adapter := parameter_store.load_converted_adapter(path, transformer_part(name)):
                    model = model.with_lora(adapter, transformer=name)
        else:
            model = Pretrained(cfg, vocabulary, _load_packaged(path, cfg, weights_dtype))
            model = model if mesh is None else model.on(mesh)
            adapter = path / "lora.safetensors"
            model = model.with_lora(adapter) if adapter.is_file() else model
        model.user_fields = user_fields
        model = model.with_abilities(abilities)
        network = path / detail_file.FILE_NAME
        return model.with_detail(detail_file.load_detail(network)) if network.is_file() else model
    folder = model_folder.read_model_folder(path).require()
    cfg = apply_settings(folder.config, settings)
    index = part_files.read_json_object(part_files.find_root(path) / "model_index.json") or {}
    if terms := known_models.licence_note(cfg.name, str(index.get("_class_name", ""))):
        note(terms)
    weights = parameter_store.store_from_folder(folder, cfg, mesh, progress, weights_dtype)
    model = Pretrained(cfg, load_tokenizer(folder, cfg), weights, mesh)
    model.user_fields = user_fields
    if folder.embedders:
        embed = editor_folder.load_embeddings(folder.embedders, cfg)
        model = model.with_lora(Adapter({}, embed=embed))
    return model.with_lora(folder.adapter) if folder.adapter else model


def load_tokenizer(folder: model_folder.ModelFolder, cfg: ModelConfig) -> Tokenizer:
    """Load the tokenizer of a published folder.

    Raises:
      InputError: an unreadable file, or more tokens than the text encoder has.
    """
    length = cfg.text.text_len
    if cfg.condition.context == "stored":  # no sentence is read
        return build_word_tokenizer([], length, cfg.text.vocab)
    assert folder.tokenizer is not None, "`ModelFolder.require` was called"
    source = folder.tokenizer
    if source.path.suffix == ".json":
        vocabulary = Tokenizer.load(source.path, length)
    else:
        vocabulary = Tokenizer.parse_sentencepiece(source.read(), length, str(source))
    if vocabulary.backend.get_vocab_size() > cfg.text.vocab:
        raise InputError(
            f"{folder.tokenizer}: has {vocabulary.backend.get_vocab_size()} tokens, the text encoder {cfg.text.vocab}; they are of "
            "different models"
        )
    return vocabulary


def is_native_folder(path: Path) -> bool:
    """Return whether `v2v train` or `v2v convert` wrote this folder."""
    return (path / "base.safetensors").is_file() or is_converted_folder(path)


def is_converted_folder(path: Path) -> bool:
    """Return whether `v2v convert` wrote this folder."""
    return (path / "config.json").is_file() and all((path / part).is_dir() for part in ("dit", "vae", "text"))


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


# Joint tokens a device below which more devices would mostly wait for one another.
TOKENS_A_DEVICE = 512


def find_clip_axes(
    model: Pretrained, devices: int, weights_dtype: WeightsDtype | None = None, branches: int | None = None
) -> dict[str, int]:
    """Return the sizes of mesh axes on which one clip of a model is edited, by what fits and sends least (clip_mesh.py).

    Args:
      model: the model; its weights need not be loaded.
      devices: number of devices at hand; the axes multiply to as many or, where heads don't divide over them, fewer.
      weights_dtype: type that its weights are stored in.
      branches: passes of guidance in a step that devices may share; None for the model's.
    """
    config = model.config
    shape = ClipShape.of(config, model.conditions)
    if shape.tokens < TOKENS_A_DEVICE * devices:
        return dict.fromkeys(sharding.AXES, 1)
    memory = host_memory.local_memory()

    def fits(axes: Mapping[str, int]) -> bool:
        sizes = parameter_store.part_bytes(config, sharding.abstract_mesh(axes), weights_dtype)
        split = axes["seq"] * axes["tensor"]
        all_devices = split * axes["data"]
        return memory_plan.plan_edit(
            config, shape, sizes, memory, all_devices, tileable=all_devices == 1, sampling_devices=split
        ).fits

    if branches is None:
        branches = 1 if config.flow.guidance == 1 else 2
    return clip_mesh.find_clip_mesh(config, shape.tokens, devices, fits, branches)


def _load_packaged(path: Path, cfg: ModelConfig, weights_dtype: WeightsDtype | None) -> ParameterStore:
    base = jax.eval_shape(lambda key: init_base(key, cfg), jax.random.key(0))
    trees = native.load_parameters(path / "base.safetensors", base)
    video = jax.ShapeDtypeStruct((1, cfg.frames, cfg.height, cfg.width, 3), jnp.float32)
    vae = {"vae": jax.eval_shape(VAE(cfg.vae).init, jax.random.key(0), video)["params"]}
    return parameter_store.store_from_trees(
        {**trees, **native.load_parameters(path / "vae.safetensors", vae)}, cfg, weights_dtype
    )
