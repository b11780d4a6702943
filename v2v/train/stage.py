"""One stage of an experiment: mesh, placement of arrays, train step and loop.

experiments -> **stage** -> loop.py

Every process of a `jax.distributed` job runs this code; each reads its rows of every global batch.
"""

import dataclasses
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from etils import epath
from jax.sharding import Mesh

from v2v.data.loader import Stream
from v2v.errors import InputError
from v2v.models.conditioning import count_tokens
from v2v.runtime import flops, sharding
from v2v.train import callbacks, loop
from v2v.train import optimizer as optimizer_lib
from v2v.train.checkpointing import wait_for_processes
from v2v.train.config import Experiment, Stage
from v2v.train.objectives import Objective
from v2v.train.state import TrainState
from v2v.train.train_step import Step, train_step

logger = logging.getLogger(__name__)


def fit_stage(
    cfg: Experiment,
    stage: Stage,
    folder: str | Path,
    trained: Any,
    data: Any,
    objective: Objective,
    frozen: Any = None,
    *,
    held_out: Sequence[Any] = (),
    watches: Sequence[loop.Hook] = (),
    work: bool = False,
) -> TrainState:
    """Train `trained` (a tree whose top-level entries are groups) for `stage.steps`, resuming from `folder`.

    Args:
      cfg: the experiment: mesh, seed, logging and saving.
      stage: steps, batch and optimizer.
      folder: receives checkpoints and metrics.
      trained: initial weights.
      data: batches of this process's rows: a loader.Stream, whose report is logged and whose batch shapes are all compiled before the
        first step, or any grain IterDataset.
      objective: the loss.
      frozen: weights that the objective reads and that stay constant.
      held_out: held-out batches (this process's rows) for the loss logged every cfg.log.held_out_every steps.
      watches: further hooks of the loop.
      work: log tokens per second and FLOP utilization of an edit stage.

    Raises:
      InputError: the mesh does not fit the devices, the batch or the weights, or as `loop.fit`.
    """
    mesh = sharding.make_mesh(**dataclasses.asdict(cfg.mesh))
    sharding.batch_sharding(mesh, stage.batch // stage.micro)  # before anything is compiled
    optimizer = optimizer_lib.build_optimizer(stage.optim)

    def create(trained):
        return TrainState.create(trained, optimizer, ema=stage.optim.ema > 0)

    with jax.set_mesh(mesh):
        places = sharding.tree_shardings(jax.eval_shape(create, trained), mesh)
        if jax.process_count() > 1:
            wait_for_processes(
                f"{epath.Path(folder).name} begins"
            )  # collectives wait for stragglers for seconds, this for long
            trained = sharding.place_tree(trained, sharding.tree_shardings(trained, mesh))
        state = jax.jit(create, out_shardings=places)(trained)
        if frozen is not None:
            frozen = sharding.place_tree(frozen, sharding.tree_shardings(frozen, mesh))
        if held_out:
            device_batches = [_place_rows(mesh, rows) for rows in held_out]
            watches = (
                *watches,
                callbacks.held_out_loss(cfg.log.held_out_every, objective, frozen, device_batches),
            )
        step = train_step(
            objective, optimizer, stage.optim.ema, seed=cfg.seed, micro=stage.micro, places=places
        )
        name = epath.Path(folder).name
        log_info(
            f"{name}: {stage.steps} steps of {stage.batch} on {mesh.size} {jax.default_backend()} devices"
        )
        if isinstance(data, Stream):
            if data.report:
                log_info(data.report)
            compile_step(step, mesh, state, data, frozen)
        return loop.fit(
            folder,
            state,
            lambda state, batch: step(state, batch, frozen),
            iter(data),
            steps=stage.steps,
            save_every=cfg.save_every,
            log_every=cfg.log.every,
            place=lambda local: _place_rows(mesh, local),
            log=cfg.log,
            watches=watches,
            work=_work(cfg, mesh.size) if work else None,
        )


def check_experiment(cfg: Experiment, *stages: str, reads: Sequence[str] = ()) -> None:
    """Check an experiment before any work: the mesh, the batch of every stage, and settings that it does not read.

    Args:
      cfg: the experiment.
      *stages: names of the stages that will run.
      reads: those of weights, sets, latents and start that the experiment reads.

    Raises:
      InputError: a setting does not fit or would have no effect.
    """
    unread = [
        name for name in ("weights", "sets", "latents", "start") if getattr(cfg, name) and name not in reads
    ]
    if unread:
        flags = ", ".join(f"--{name}" for name in unread)
        raise InputError(
            f"{cfg.name}: {flags} would change nothing, this experiment doesn't read it; leave it out"
        )
    mesh = sharding.make_mesh(**dataclasses.asdict(cfg.mesh))
    for name in stages:
        stage = getattr(cfg, name)
        sharding.batch_sharding(mesh, stage.batch // stage.micro)


def compile_step(step: Step, mesh: Mesh, state: TrainState, data: Stream, frozen: Any) -> None:
    """Compile the step for every batch shape of the stream, so that one that does not compile fails before the first step."""
    start, compiled_shapes = time.perf_counter(), set()
    for kind in data.kinds:
        rows = _place_rows(mesh, loop.split_record(kind[0])[0])
        shapes = loop.batch_shapes(rows)
        if shapes not in compiled_shapes:
            compiled_shapes.add(shapes)
            step.lower(state, rows, frozen).compile()
    log_info(f"compiled for {len(compiled_shapes)} shapes of batch in {time.perf_counter() - start:.1f} s")


def to_host(tree: Any) -> Any:
    """Return a tree of global arrays as complete numpy arrays in every process."""

    def gather(x):
        local = not isinstance(x, jax.Array) or x.is_fully_addressable or x.is_fully_replicated
        return (
            x
            if local
            else jax.jit(lambda x: x, out_shardings=sharding.replicated_sharding(x.sharding.mesh))(x)
        )

    return jax.device_get(jax.tree.map(gather, tree))


def save_config(cfg: Experiment, workdir: str | Path) -> None:
    """Write the resolved experiment as experiment.json into `workdir`."""
    if jax.process_index() == 0:
        folder = epath.Path(workdir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "experiment.json").write_text(json.dumps(dataclasses.asdict(cfg), indent=1) + "\n")


def log_info(text: str) -> None:
    """Log a line of information, from process 0."""
    if jax.process_index() == 0:
        logger.info("%s", text)


def _place_rows(mesh: Mesh, local: Any) -> Any:
    """Return the rows of all processes, equally many each, as one global batch."""
    rows = len(jax.tree.leaves(local)[0]) * jax.process_count()
    return sharding.place_batch(mesh, rows, local)


def _work(cfg: Experiment, devices: int) -> loop.StepCost:
    """Return tokens and FLOPs of edit steps, from the size of the target's latents."""
    m = cfg.model

    def of(batch: dict) -> tuple[int, float]:
        b, t, y, x, _ = batch["target"].shape
        frames, side = m.vae.stride_t * (t - 1) + 1, m.vae.stride_xy
        sized = dataclasses.replace(m, frames=frames, height=y * side, width=x * side)
        reference = "reference" in batch
        tokens = count_tokens(sized, reference)
        operations = flops.step_flops(sized, b, tokens, full=cfg.trains == "full")
        return b * tokens, operations

    return loop.StepCost(of, flops.peak_flops() * devices)
