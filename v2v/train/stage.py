"""One stage of an experiment: mesh, placement of arrays, train step and loop.

stages.py, fine_tuning.py -> **stage** -> loop.py

Every process of a `jax.distributed` job runs this code; each reads its rows of every global batch.
"""

import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding

from v2v.data.batch import BatchSource, EditBatch, HostBatch, split_records
from v2v.data.loader import Stream
from v2v.errors import InputError, note
from v2v.models import lora
from v2v.models.conditioning import ChannelConditioning, build_conditioning, count_tokens
from v2v.runtime import compiler_options, flops, sharding
from v2v.runtime.interruptible import run_interruptible
from v2v.train import callbacks, loop
from v2v.train import optimizer as optimizer_lib
from v2v.train.checkpointing import latest_step, wait_for_processes
from v2v.train.config import Experiment, Stage, uses_host_memory
from v2v.train.objectives import Objective, Parameters
from v2v.train.run_record import check_run
from v2v.train.state import TrainState
from v2v.train.train_step import TrainStep, train_step

logger = logging.getLogger(__name__)

DeviceBatch = TypeVar("DeviceBatch")
# Held-out batches on which the use of conditions is measured.
PROBES = 2


@dataclass(frozen=True)
class TrainingTask(Generic[HostBatch, DeviceBatch]):
    """What a stage trains, and on what.

    Attributes:
      objective: the loss.
      trained: initial weights, a tree whose top-level entries are groups.
      data: batches of this process's rows: a loader.Stream, whose report is logged and whose batch shapes are all compiled before the
        first step, or any grain IterDataset.
      frozen: weights that the objective reads and that stay constant.
      held_out: held-out batches (this process's rows) for the loss logged every `log.held_out_every` steps.
      save_best: writes the weights of a state, called where the held-out loss is less than before; None keeps none.
    """

    objective: Objective[DeviceBatch, Any, Any]
    trained: Parameters
    data: BatchSource[HostBatch]
    frozen: Parameters | None = None
    held_out: Sequence[HostBatch] = ()
    save_best: Callable[[TrainState, int], object] | None = None


def fit_stage(
    cfg: Experiment,
    stage: Stage,
    folder: str | Path,
    task: TrainingTask[Any, Any],
    *,
    hooks: Sequence[loop.Hook] = (),
    log_utilization: bool = False,
) -> TrainState:
    """Train the weights of a task for `stage.steps`, resuming from `folder`.

    Args:
      cfg: the experiment: mesh, seed, logging and saving.
      stage: steps, batch and optimizer.
      folder: receives checkpoints and metrics.
      task: objective, weights and data.
      hooks: called between steps.
      log_utilization: log tokens per second and FLOP utilization; for tasks on edits.

    Returns:
      the final state.

    Raises:
      InputError: the mesh does not fit the devices, the batch or the weights, or as `loop.fit`.
    """
    mesh = sharding.make_mesh(**dataclasses.asdict(cfg.mesh))
    sharding.batch_sharding(mesh, stage.batch // stage.micro)  # before anything is compiled
    optimizer = optimizer_lib.build_optimizer(stage.optim)
    name, trained, frozen = epath.Path(folder).name, task.trained, task.frozen

    def create(trained: Parameters) -> TrainState:
        return TrainState.create(trained, optimizer, ema=stage.optim.ema > 0)

    with jax.set_mesh(mesh):
        places = sharding.tree_shardings(jax.eval_shape(create, trained), mesh)
        if jax.process_count() > 1:
            # Collectives wait for other processes for seconds, this for long.
            wait_for_processes(f"{name} begins")
            trained = sharding.place_tree(trained, sharding.tree_shardings(trained, mesh))
        state = jax.jit(create, out_shardings=places)(trained)
        if frozen is not None:
            frozen = sharding.place_tree(frozen, _frozen_shardings(frozen, mesh))
        if task.held_out:
            held_out = [_place_rows(mesh, split_records(rows)[0]) for rows in task.held_out]
            every = cfg.log.held_out_every
            best = callbacks.BestWeights(folder, task.save_best) if task.save_best else None
            probes = [
                probe
                for batch, rows in zip(held_out[:PROBES], task.held_out, strict=False)
                if (probe := _build_probe(mesh, batch, rows)) is not None
            ]
            # First, as previews take longer.
            hooks = (callbacks.HeldOutLoss(every, task.objective, frozen, held_out, best, probes), *hooks)
        step = train_step(
            task.objective, optimizer, stage.optim.ema, seed=cfg.seed, micro=stage.micro, places=places,
            compiler_options=_compiler_options(cfg, mesh),
        )  # fmt: skip
        log_info(
            f"{name}: {stage.steps} steps of {stage.batch} on {mesh.size} {jax.default_backend()} devices"
        )
        if isinstance(task.data, Stream):
            if task.data.report:
                log_info(task.data.report)
            if (latest_step(folder) or 0) < stage.steps:
                compile_step(step, mesh, state, task.data, frozen)
        return loop.fit(
            folder,
            state,
            lambda state, batch: step(state, batch, frozen),
            iter(task.data),
            loop.Schedule(
                stage.steps,
                cfg.save_every,
                cfg.log,
                hooks,
                functools.partial(optimizer_lib.learning_rate, stage.optim),
                cfg.save_minutes,
            ),
            place=lambda rows: _place_rows(mesh, rows),
            cost=_edit_cost(cfg, mesh.size) if log_utilization else None,
        )


def _compiler_options(cfg: Experiment, mesh: Mesh) -> compiler_options.CompilerOptions:
    """Return the compiler's options for the step, and log them; those that it doesn't know are told in a note."""
    devices = list(mesh.devices.flat)
    requested = compiler_options.training_options(devices, uses_host_memory(cfg))
    options, unknown = compiler_options.supported_options(requested, [jax.local_devices()[0]])
    if unknown:
        note(f"the compiler doesn't know {', '.join(unknown)}; the step is compiled without")
    if options:
        log_info(f"compiler options of the step: {compiler_options.describe_options(options)}")
    return options


def _frozen_shardings(frozen: Parameters, mesh: Mesh) -> Any:
    """Return the places of frozen weights on a mesh; those in the host's memory stay there."""

    def place(x: Any, sharding: NamedSharding) -> NamedSharding:
        kind = x.sharding.memory_kind if isinstance(x, jax.Array) else None
        return sharding.with_memory_kind(kind) if kind == "pinned_host" else sharding

    return jax.tree.map(place, frozen, sharding.tree_shardings(frozen, mesh))


def check_experiment(cfg: Experiment, *stages: str, workdir: Path, reads: Sequence[str] = ()) -> None:
    """Check an experiment before any work: the mesh, the batch of every stage, settings that it does not read, and the run in its folder.

    Args:
      cfg: the experiment.
      *stages: names of the stages that will run.
      workdir: folder of the run, where its configuration is stored (run_record.py).
      reads: those of weights, transformer, sets, latents, start, pictures and cutouts that the experiment reads.

    Raises:
      InputError: a setting does not fit or would have no effect.
    """
    sources = ("weights", "transformer", "sets", "latents", "start", "pictures", "cutouts")
    unread = [name for name in sources if getattr(cfg, name) and name not in reads]
    if unread:
        flags = ", ".join(f"--{name}" for name in unread)
        raise InputError(
            f"{cfg.name}: {flags} would change nothing, this experiment doesn't read it; leave it out"
        )
    check_held_out(cfg)
    check_dropped(cfg)
    callbacks.check_previews(cfg.log)
    if cfg.weights_memory == "host":
        raise InputError(
            f"{cfg.name}: --weights-memory host is for the frozen base of published weights, this experiment has none; leave it out"
        )
    mesh = sharding.make_mesh(**dataclasses.asdict(cfg.mesh))
    for name in stages:
        stage: Stage = getattr(cfg, name)
        sharding.batch_sharding(mesh, stage.batch // stage.micro)
    check_run(cfg, workdir)


def check_held_out(cfg: Experiment) -> None:
    """Check that pairs are withheld from training only if their loss is logged; raise InputError where they are not."""
    if cfg.data.held_out and not cfg.log.held_out_every:
        raise InputError(
            f"{cfg.name}: --data.held-out {cfg.data.held_out:g} would withhold pairs that nothing looks at; add --log.held-out-every 500,"
            " or leave it out"
        )


def check_dropped(cfg: Experiment) -> None:
    """Check that a model whose sources are dropped in some batches can do without one; raise InputError where it can't."""
    data = cfg.data
    drop_share = data.drop_source + data.drop_source_and_text + data.drop_all
    conditioning = build_conditioning(cfg.model.dit, cfg.model.condition)
    if drop_share and isinstance(conditioning, ChannelConditioning):
        raise InputError(
            f"{cfg.name}: --data.drop-source and the like: {cfg.model.name} takes the source as channels of its input, which can't be left out;"
            " leave these options out"
        )


def compile_step(
    step: TrainStep[Any], mesh: Mesh, state: TrainState, data: Stream[Any], frozen: Parameters | None
) -> None:
    """Compile the step for every batch shape of the stream, so that one that does not compile fails before the first step."""
    start, compiled_shapes = time.perf_counter(), set()
    log_info("compiling the step for every shape of batch; nothing is trained meanwhile")
    for kind in data.kinds:
        batch = _place_rows(mesh, split_records(kind[0])[0])
        shapes = loop.batch_shapes(batch)
        if shapes not in compiled_shapes:
            compiled_shapes.add(shapes)
            run_interruptible(step.lower(state, batch, frozen).compile)
    log_info(f"compiled for {len(compiled_shapes)} shapes of batch in {time.perf_counter() - start:.1f} s")


def to_host(tree: Any) -> Any:
    """Return a tree of global arrays as complete numpy arrays in every process."""

    def gather(x: Any) -> Any:
        if not isinstance(x, jax.Array) or x.is_fully_addressable or x.is_fully_replicated:
            return x
        layout = x.sharding
        if not isinstance(layout, NamedSharding) or not isinstance(layout.mesh, Mesh):
            raise TypeError(f"to_host: expected an array on a mesh, got {layout}")
        replicated = sharding.replicated_sharding(layout.mesh)
        return jax.jit(lambda x: x, out_shardings=replicated)(x)

    return jax.device_get(jax.tree.map(gather, tree))


def finish_adapter(result: Parameters, dit: Parameters) -> Parameters:
    """Return a trained adapter as files and merging take it: of a DoRA with magnitudes (`lora.with_magnitudes`).

    Args:
      result: {"lora", "embed"}.
      dit: the transformer that it was trained on.
    """
    if not lora.is_dora(result["lora"]):
        return result
    return result | {"lora": jax.jit(lora.with_magnitudes)(result["lora"], dit)}


def log_info(text: str) -> None:
    """Log a line of information, from process 0."""
    if jax.process_index() == 0:
        logger.info("%s", text)


def _place_rows(mesh: Mesh, rows: Any) -> Any:
    """Return the rows of all processes, equally many each, as one global batch."""
    count = len(jax.tree.leaves(rows)[0]) * jax.process_count()
    return sharding.place_batch(mesh, count, rows)


def _build_probe(mesh: Mesh, batch: Any, rows: Any) -> callbacks.ConditionProbe[Any] | None:
    """Return a held-out batch of edits with conditions of other rows; None for other batches, or one that holds a single record."""
    arrays, records = split_records(rows)
    if records is None or not isinstance(arrays, dict) or "source" not in arrays:
        return None
    others, share = callbacks.swap_conditions(arrays, records)
    if jax.process_count() > 1:  # each swaps its own rows
        share = float(np.mean(multihost_utils.process_allgather(np.float32(share))))
    if not share:
        return None
    probes_by_name = {name: _place_rows(mesh, swapped) for name, swapped in others.items()}
    return callbacks.ConditionProbe(batch, probes_by_name, share)


def _edit_cost(cfg: Experiment, devices: int) -> loop.StepCost[EditBatch]:
    """Return tokens and FLOPs of edit steps, from the size of the target's latents."""
    m = cfg.model

    def count(batch: EditBatch) -> tuple[int, float]:
        b, t, y, x, _ = batch["target"].shape
        frames, side = m.vae.stride_t * (t - 1) + 1, m.vae.stride_xy
        sized = dataclasses.replace(m, frames=frames, height=y * side, width=x * side)
        tokens = count_tokens(sized, "reference" in batch, "source" in batch)
        operations = flops.step_flops(sized, b, tokens, full=cfg.trains == "full")
        return b * tokens, operations

    return loop.StepCost(count, flops.peak_flops() * devices)
