"""The programs of an edit, lowered for devices that need not be present.

A model without weights (`Pretrained` with shapes in its store) edits a window of gray frames; each of its functions is lowered with the
very arguments that an edit passes, and answers with zeros. So what is lowered is what `v2v edit` and `v2v edit --manifest` run: the text
encoder, the autoencoder's two halves and the sampler, with their meshes, kernels and shardings. compile.py does the same for one
program, with the shardings of a plan.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from v2v.checkpoints import parameter_store
from v2v.checkpoints.adapters import Adapter
from v2v.config import ModelConfig, WeightsDtype
from v2v.diffusion.sampler import Sampler
from v2v.diffusion.windows import WindowPlan, concatenate_links
from v2v.models import initialization
from v2v.models.conditioning import context_shape, default_conditions
from v2v.models.text_encoder import build_word_tokenizer
from v2v.pipeline.model import SampleRequest
from v2v.pipeline.model_programs import ModelPrograms, build_programs
from v2v.pipeline.pretrained_model import Pretrained
from v2v.runtime import host_memory, sharding
from v2v.runtime.host_memory import DeviceMemory


@dataclass(frozen=True)
class LoweredProgram:
    """One program of an edit.

    Attributes:
      name: "embed", "encode", "sample" or "decode".
      lowered: the program for the mesh's devices, to be compiled or read.
    """

    name: str
    lowered: jax.stages.Lowered


@dataclass
class _Recorder:
    """Builds functions that are lowered instead of run."""

    mesh: Mesh
    programs: list[LoweredProgram] = field(default_factory=list)

    def build(self, config: ModelConfig, streams: bool = False, /) -> ModelPrograms:
        """Return the functions of a configuration, each of which records its lowered program and returns zeros."""
        real, sampler = build_programs(config), Sampler(config, streams)
        sampler.program = self._wrap("sample", sampler.program)
        return ModelPrograms(
            self._wrap("encode", real.encode), self._wrap("decode", real.decode), self._wrap("embed", real.embed), sampler
        )  # fmt: skip

    def _wrap(self, name: str, jitted: Any) -> Any:
        def record(*args: Any, **static: Any) -> Any:
            lowered = jitted.lower(*args, **static)
            self.programs.append(LoweredProgram(name, lowered))
            return jax.tree.map(lambda out: np.zeros(out.shape, out.dtype), lowered.out_info)

        return record


class _ShapeStore:
    """A store of shapes and shardings in place of parameters."""

    def __init__(self, config: ModelConfig, mesh: Mesh, is_split: bool, weights_dtype: WeightsDtype | None):
        self.sizes = parameter_store.part_bytes(config, mesh if is_split else None, weights_dtype)
        self._parts = {
            part: parameter_store.abstract_parameters(part, config, mesh, weights_dtype)
            for part in config.parts
        }
        if not is_split:
            place = sharding.replicated_sharding(mesh)
            self._parts = jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), self._parts
            )

    def get(self, part: str, adapters: parameter_store.WeightedAdapters = (), streams: bool = False) -> dict:
        """Return the shapes of a part."""
        if not streams:
            return self._parts[part]
        return jax.tree_util.tree_map_with_path(_on_host, self._parts[part])

    def check(self, adapters: parameter_store.AdaptersByPart) -> None:
        """Do nothing: there are no values."""

    def retain(self, *parts: str) -> None:
        """Do nothing."""

    def release(self, part: str) -> None:
        """Do nothing."""

    def has_loaded(self, part: str) -> bool:
        """Return True."""
        return True


def _on_host(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """Return the shape of a streamed part's leaf, those of blocks in the host's memory."""
    if not host_memory.is_streamed(sharding.format_key_path(path)):
        return leaf
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=host_memory.in_host_memory(leaf.sharding))


def lower_clip_edit(
    config: ModelConfig,
    mesh: Mesh,
    weights_dtype: WeightsDtype | None = None,
    device: DeviceMemory | None = None,
) -> list[LoweredProgram]:
    """Lower the programs of one clip's edit on all devices of a mesh, over which the weights are split by the table of parameters.

    Args:
      config: the model.
      mesh: the devices.
      weights_dtype: type that weights are stored in; None for the model's own.
      device: the memory that the edit's plan is made for; None for more than enough.

    Raises:
      InputError: the mesh does not divide the weights, the tokens or the heads.
    """
    with _record(config, mesh, True, weights_dtype, device) as (model, recorder):
        b, size = config.batch, (config.frames, config.height, config.width)
        _edit_window(model, b, 1, lambda shape, dtype: np.zeros((b, *shape), dtype), size)
    return recorder.programs


def lower_jobs(config: ModelConfig, mesh: Mesh) -> list[LoweredProgram]:
    """Lower the programs of a manifest's jobs, one a device, with the weights on every device."""
    with _record(config, mesh, False) as (model, recorder):
        jobs = mesh.shape["data"] * mesh.shape["fsdp"]
        rows = jobs * config.batch
        place = sharding.batch_sharding(mesh, rows)
        size = (config.frames, config.height, config.width)
        _edit_window(
            model, rows, jobs, lambda shape, dtype: jax.ShapeDtypeStruct((rows, *shape), dtype, sharding=place), size
        )  # fmt: skip
    return recorder.programs


@contextmanager
def _record(
    config: ModelConfig,
    mesh: Mesh,
    is_split: bool,
    weights_dtype: WeightsDtype | None = None,
    device: DeviceMemory | None = None,
) -> Iterator[tuple[Pretrained, _Recorder]]:
    """Yield a model without weights that can edit, and what records its programs."""
    recorder = _Recorder(mesh)
    tokenizer = build_word_tokenizer(["edit"], config.text.text_len, config.text.vocab)
    store = _ShapeStore(config, mesh, is_split, weights_dtype)
    device = device or DeviceMemory(host_memory.UNLIMITED, 0, "cpu")
    model = Pretrained(config, tokenizer, store, mesh, recorder.build, device)
    if config.condition.layout != "channel":
        embed = jax.eval_shape(lambda key: initialization.init_embed(key, config), jax.random.key(0))
        zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), embed)
        for transformer in config.transformer_names:
            model = model.with_lora(Adapter({}, embed=zeros), transformer=transformer)
    yield model, recorder


def _edit_window(model: Pretrained, rows: int, jobs: int, array: Any, size: tuple[int, int, int]) -> None:
    """Call what `windowed.edit_windows` calls for a batch of windows; `array(shape, dtype)` makes an argument of that many rows."""
    config = model.config
    if config.condition.context == "text":
        model.embed_text(["edit"])
    model.encode(array((*size, 3), np.uint8))
    latent = config.vae.latent_shape(*size)
    z, reference = array(latent, np.float32), None
    if "reference" in set(model.conditions) & set(default_conditions(config)):
        model.encode(array((1, *size[1:], 3), np.uint8))
        reference = array((1, *latent[1:]), np.float32)
    plan = WindowPlan.of(size[0], size[0], config.vae.stride_t)
    links = concatenate_links([plan.links(np.zeros(rows // jobs, int))] * jobs)
    text = array(context_shape(config), np.float32)
    model.sample(
        SampleRequest(
            z,
            z,
            reference,
            text,
            z,
            config.flow.steps,
            config.flow.guidance,
            links=links,
            begin=z,
            seeds=array((latent[0], 4), np.uint32),
        )  # fmt: skip
    )
    model.decode(z)
