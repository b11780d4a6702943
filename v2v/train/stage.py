"""One stage of an experiment on the machine at hand: mesh, placement, step, loop. experiments/NAME.py → **run** → loop.py

    trained, frozen --table of sharding.py--> devices      batch of this process --rows--> one global array
Every process of a `jax.distributed` job runs the same lines; each reads its own rows of every global batch.
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
from v2v.runtime import flops, sharding
from v2v.train import callbacks, loop
from v2v.train import optimizer as optimizer_lib
from v2v.train.checkpointing import meet
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
    held: Sequence[Any] = (),
    watches: Sequence[loop.Watch] = (),
    work: bool = False,
) -> TrainState:
    """Train `trained` (a tree whose top-level entries are groups) for `stage.steps`, resuming from `folder`.

    Args:
      data: batches of this process's rows: a loader.Stream, whose report is printed and whose shapes are all compiled before the
        first step, or any grain IterDataset.
      frozen: weights the objective reads and nobody changes.
      held: batches never trained on (this process's rows), for the held-out loss every cfg.log.held_out_every steps.
      work: log tokens a second and FLOP utilisation, those of edits.

    Raises:
      InputError: the mesh doesn't fit the devices, the batch or the weights; and what loop.fit raises.
    """
    mesh = sharding.make_mesh(**dataclasses.asdict(cfg.mesh))
    sharding.batch(mesh, stage.batch // stage.micro)  # before anything is compiled
    optimizer = optimizer_lib.optimizer(stage.optim)

    def create(trained):
        return TrainState.create(trained, optimizer, ema=stage.optim.ema > 0)

    with jax.set_mesh(mesh):
        places = sharding.shardings(jax.eval_shape(create, trained), mesh)
        if jax.process_count() > 1:
            meet(
                f"{epath.Path(folder).name} begins"
            )  # collectives wait for stragglers for seconds, this for long
            trained = sharding.put(trained, sharding.shardings(trained, mesh))
        state = jax.jit(create, out_shardings=places)(trained)
        if frozen is not None:
            frozen = sharding.put(frozen, sharding.shardings(frozen, mesh))
        if held:
            placed = [_placed(mesh, rows) for rows in held]
            watches = (*watches, callbacks.held_out(cfg.log.held_out_every, objective, frozen, placed))
        step = train_step(
            objective, optimizer, stage.optim.ema, seed=cfg.seed, micro=stage.micro, places=places
        )
        name = epath.Path(folder).name
        say(f"{name}: {stage.steps} steps of {stage.batch} on {mesh.size} {jax.default_backend()} devices")
        if isinstance(data, Stream):
            if data.report:
                say(data.report)
            compile_all(step, mesh, state, data, frozen)
        return loop.fit(
            folder,
            state,
            lambda state, batch: step(state, batch, frozen),
            iter(data),
            steps=stage.steps,
            save_every=cfg.save_every,
            log_every=cfg.log.every,
            place=lambda local: _placed(mesh, local),
            log=cfg.log,
            watches=watches,
            work=_work(cfg, mesh.size) if work else None,
        )


def check(cfg: Experiment, *stages: str, reads: Sequence[str] = ()) -> None:
    """Before any work: the mesh fits the devices, every stage's batch the mesh, and nothing is set that the experiment doesn't read.

    Args:
      stages: names of `cfg`'s stages that will run.
      reads: those of weights, sets, latents and start that the experiment looks at.

    Raises:
      InputError: naming what doesn't fit.
    """
    unread = [
        name for name in ("weights", "sets", "latents", "start") if getattr(cfg, name) and name not in reads
    ]
    if unread:
        asked = ", ".join(f"--{name}" for name in unread)
        raise InputError(
            f"{cfg.name}: {asked} would change nothing, this experiment doesn't read it; leave it out"
        )
    mesh = sharding.make_mesh(**dataclasses.asdict(cfg.mesh))
    for name in stages:
        stage = getattr(cfg, name)
        sharding.batch(mesh, stage.batch // stage.micro)


def compile_all(step: Step, mesh: Mesh, state: TrainState, data: Stream, frozen: Any) -> None:
    """Compile the step for every shape of batch the stream holds; what is compiled is what the loop then calls. A shape that doesn't
    compile, for want of memory say, is so known before the first step."""
    began, known = time.perf_counter(), set()
    for kind in data.kinds:
        rows = _placed(mesh, loop.without_record(kind[0])[0])
        shapes = loop.shapes_of(rows)
        if shapes not in known:
            known.add(shapes)
            step.lower(state, rows, frozen).compile()
    say(f"compiled for {len(known)} shapes of batch in {time.perf_counter() - began:.1f} s")


def on_host(tree: Any) -> Any:
    """A tree of global arrays as numpy arrays, whole, in every process."""

    def whole(x):
        alone = not isinstance(x, jax.Array) or x.is_fully_addressable or x.is_fully_replicated
        return x if alone else jax.jit(lambda x: x, out_shardings=sharding.replicated(x.sharding.mesh))(x)

    return jax.device_get(jax.tree.map(whole, tree))


def save_config(cfg: Experiment, workdir: str | Path) -> None:
    """The resolved experiment beside the run, as JSON."""
    if jax.process_index() == 0:
        folder = epath.Path(workdir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "experiment.json").write_text(json.dumps(dataclasses.asdict(cfg), indent=1) + "\n")


def say(text: str) -> None:
    """Log a line of information, from process 0."""
    if jax.process_index() == 0:
        logger.info("%s", text)


def _placed(mesh: Mesh, local: Any) -> Any:
    """Rows of this process, as many in every process, as one global batch."""
    rows = len(jax.tree.leaves(local)[0]) * jax.process_count()
    return sharding.put_batch(mesh, rows, local)


def _work(cfg: Experiment, devices: int) -> loop.Work:
    """Of edits, whatever their size: tokens and FLOPs follow from the target's latents."""
    m = cfg.model

    def of(batch: dict) -> tuple[int, float]:
        b, t, y, x, _ = batch["target"].shape
        frames, side = m.vae.stride_t * (t - 1) + 1, m.vae.stride_xy
        sized = dataclasses.replace(m, frames=frames, height=y * side, width=x * side)
        reference = "reference" in batch
        operations = flops.step_flops(sized, b, full=cfg.trains == "full", reference=reference)
        return b * flops.tokens(sized, reference), operations

    return loop.Work(of, flops.peak_flops() * devices)
