"""One stage of an experiment on the machine at hand: mesh, placement, step, loop. experiments/NAME.py → **run** → loop.py

    trained, frozen --table of sharding.py--> devices      batch of this process --rows--> one global array
Every process of a `jax.distributed` job runs the same lines; each reads its own rows of every global batch.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from etils import epath

from v2v import sharding
from v2v.train import clock, loop, optim, watch
from v2v.train.checkpoint import meet
from v2v.train.experiment import Experiment, Stage
from v2v.train.state import TrainState
from v2v.train.step import Objective, train_step


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
      data: a grain IterDataset of this process's rows.
      frozen: weights the objective reads and nobody changes.
      held: batches never trained on (this process's rows), for the held-out loss every cfg.log.held_out_every steps.
      work: log tokens a second and FLOP utilisation, those of edits.

    Raises:
      InputError: the mesh doesn't fit the devices, the batch or the weights; and what loop.fit raises.
    """
    mesh = sharding.make_mesh(**dataclasses.asdict(cfg.mesh))
    sharding.batch(mesh, stage.batch // stage.micro)  # before anything is compiled
    optimizer = optim.optimizer(stage.optim)

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
            placed = [sharding.put_batch(mesh, stage.batch, rows) for rows in held]
            watches = (*watches, watch.held_out(cfg.log.held_out_every, objective, frozen, placed))
        step = train_step(
            objective, optimizer, stage.optim.ema, seed=cfg.seed, micro=stage.micro, places=places
        )
        name = epath.Path(folder).name
        say(f"{name}: {stage.steps} steps of {stage.batch} on {mesh.size} {jax.default_backend()} devices")
        return loop.fit(
            folder,
            state,
            lambda state, batch: step(state, batch, frozen),
            iter(data),
            steps=stage.steps,
            save_every=cfg.save_every,
            log_every=cfg.log.every,
            place=lambda local: sharding.put_batch(mesh, stage.batch, local),
            log=cfg.log,
            watches=watches,
            work=_work(cfg, stage, mesh.size) if work else None,
        )


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
    """A line on stderr, from process 0."""
    if jax.process_index() == 0:
        print(text, file=sys.stderr, flush=True)


def _work(cfg: Experiment, stage: Stage, devices: int) -> loop.Work:
    flops = clock.step_flops(cfg.model, stage.batch, full=cfg.trains == "full")
    return loop.Work(stage.batch * clock.tokens(cfg.model), flops, clock.peak_flops() * devices)
