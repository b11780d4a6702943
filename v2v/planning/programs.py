"""The train step and the sampler, ready to compile, with shapes and shardings in place of arrays.

The plan is for a run on cached data (float16 latents and text embeddings) with clips of the model's size and a reference image beside
each, which is the most expensive batch. Weights have the types in which they are loaded (checkpoints/parameter_store.py).
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from v2v.checkpoints import parameter_store
from v2v.config import MeshConfig, ModelConfig, OptimConfig, ProgramKind, WeightsDtype, remat_places
from v2v.diffusion.sampler import Sampler
from v2v.models import initialization
from v2v.models.conditioning import build_conditioning, context_shape
from v2v.runtime import compiler_options, sharding
from v2v.train import objectives, train_step
from v2v.train import optimizer as optimizer_lib
from v2v.train.state import TrainState


@dataclass(frozen=True)
class PlanSetting:
    """The run to plan, and what the search may change of it.

    Attributes:
      model: the model.
      optim: the optimizer.
      mesh: devices along each axis.
      batch: clips per step over all chips.
      micro: micro-batches per step.
      program: a training step or the sampler.
      steps: updates of the whole run.
      trains: which weights are trained.
      region: loss weight of the latent cells that an edit changes.
      weights_dtype: type that weights which aren't trained are stored in; None for the model's own.
      weights_memory: where the frozen base of an adapter's training is.
      held_batches: batches on the devices beside that of the step: of steps begun ahead, and held-out ones.
    """

    model: ModelConfig
    optim: OptimConfig = field(default_factory=OptimConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    batch: int = 8
    micro: int = 1
    program: ProgramKind = "train"
    steps: int = 1
    trains: Literal["lora", "full"] = "lora"
    region: float = 0.0
    weights_dtype: WeightsDtype | None = None
    weights_memory: Literal["device", "host"] = "device"
    held_batches: int = 0


@dataclass(frozen=True)
class Program:
    """A call `jitted(*args)`, to be traced and lowered with `mesh` as the current mesh."""

    jitted: Any
    args: tuple
    mesh: Mesh


def build_program(setting: PlanSetting, devices: list) -> Program:
    """Build the program of a setting.

    Raises:
      InputError: the mesh does not match the devices, or does not divide the batch or the weights.
    """
    mesh = sharding.make_mesh(**dataclasses.asdict(setting.mesh), devices=devices)
    make = {"train": _build_train_step, "sample": _build_sampler}[setting.program]
    return Program(*make(setting, mesh), mesh)


def _build_train_step(setting: PlanSetting, mesh: Mesh) -> tuple[Callable, tuple]:
    m, optimizer, key = setting.model, optimizer_lib.build_optimizer(setting.optim), jax.random.key(0)

    def create(key, dit):
        if setting.trains == "lora":
            trained = initialization.init_adapter(key, m, dit)
        else:
            trained = {"dit": jax.tree.map(lambda x: x.astype(jnp.float32), dit)}
            trained["embed"] = initialization.init_embed(key, m)
        return TrainState.create(trained, optimizer, ema=setting.optim.ema > 0)

    dit = parameter_store.abstract_parameters("dit", m, weights_dtype=setting.weights_dtype)
    state = _add_shardings(jax.eval_shape(create, key, dit), mesh)
    rows = sharding.batch_sharding(mesh, setting.batch)
    sharding.batch_sharding(mesh, setting.batch // setting.micro)
    streams = setting.weights_memory == "host"
    objective = objectives.edit(m, setting.region, streams=streams)
    uses_host = streams or "host" in remat_places(m.dit.remat).values()
    options = compiler_options.training_options(list(mesh.devices.flat), uses_host)
    jitted = train_step.train_step(
        objective, optimizer, setting.optim.ema, micro=setting.micro, compiler_options=options
    )
    batch = _latent_shapes(m, setting.batch, rows) | {"text": _text_shape(m, setting.batch, rows)}
    area = (setting.batch, *m.vae.latent_shape(m.frames, m.height, m.width)[:3])
    batch["area"] = jax.ShapeDtypeStruct(area, jnp.float32, sharding=rows)
    frozen = (
        {"dit": parameter_store.abstract_parameters("dit", m, mesh, setting.weights_dtype, streams)}
        if setting.trains == "lora"
        else None
    )
    return jitted, (state, batch, frozen)


def _build_sampler(setting: PlanSetting, mesh: Mesh) -> tuple[Callable, tuple]:
    m, key = setting.model, jax.random.key(0)
    sample = Sampler(m)
    rows = NamedSharding(mesh, PartitionSpec(sharding.BATCH_AXES))
    if setting.batch % (mesh.shape["data"] * mesh.shape["fsdp"]):
        rows = sharding.replicated_sharding(mesh)
    variables = {
        "params": parameter_store.abstract_parameters("dit", m, mesh, setting.weights_dtype),
        "embed": _add_shardings(
            {"embed": jax.eval_shape(lambda k: initialization.init_embed(k, m), key)}, mesh
        )["embed"],
    }
    clip = _latent_shapes(m, setting.batch, rows)
    noise, text = clip.pop("target"), _text_shape(m, setting.batch, rows)

    def run(variables, noise, text, null, conditions):
        return sample(variables, noise, text, null, conditions, m.flow.steps, m.flow.guidance).latents

    return jax.jit(run), (variables, noise, text, text, clip)


def _add_shardings(shapes: Any, mesh: Mesh) -> Any:
    places = sharding.tree_shardings(shapes, mesh)
    return jax.tree.map(
        lambda s, place: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place), shapes, places
    )


def _latent_shapes(m: ModelConfig, batch: int, rows: NamedSharding) -> dict:
    t, y, x, c = m.vae.latent_shape(m.frames, m.height, m.width)

    def clip(t, c=c):
        return jax.ShapeDtypeStruct((batch, t, y, x, c), jnp.float16, sharding=rows)

    mask = clip(t, build_conditioning(m.dit, m.condition).embedding_channels("mask", c))
    return {"target": clip(t), "source": clip(t), "mask": mask, "reference": clip(1)}


def _text_shape(m: ModelConfig, batch: int, rows: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((batch, *context_shape(m)), jnp.float16, sharding=rows)
