"""Phases of one run on published weights, each at a size of its own and from the adapter of the one before.

fine_tuning.py -> **phases** -> experiments/wan22_phases.py

Every phase is a run of `fine_tune` in WORKDIR/NAME: it resumes by itself, and one that is done is passed over. Only the adapter goes on
(its moving average); the optimizer begins anew, with its warm-up.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from v2v.checkpoints.tensor_files import TensorFiles
from v2v.errors import InputError
from v2v.train.config import Experiment
from v2v.train.fine_tuning import encode_latents, fine_tune
from v2v.train.run_record import compare_run
from v2v.train.stage import log_info

# What `fine_tune` leaves when it is done.
RESULT_FILE = "lora.safetensors"


@dataclass(frozen=True)
class Phase:
    """A part of a run.

    Attributes:
      name: of its folder.
      steps: updates; 0 leaves it out.
      size: frames, height and width of its clips; pictures are clips of one frame.
      batch: clips of an update.
      micro: parts that a batch is cut into.
      peak_lr: learning rate; 0 for that of `edit.optim`.
      mixture: weight of each set; () for that of `data`.
    """

    name: str
    steps: int
    size: tuple[int, int, int]
    batch: int = 32
    micro: int = 1
    peak_lr: float = 0.0
    mixture: tuple[float, ...] = ()

    def __post_init__(self):
        if not self.name.isidentifier() and not self.name.replace("-", "_").isalnum():
            raise ValueError(f"Phase.name: expected letters, digits and '-', got {self.name!r}")
        if self.steps < 0:
            raise ValueError(f"Phase.steps: expected at least 0, got {self.steps}")


@dataclass(frozen=True)
class PhasedExperiment(Experiment):
    """An experiment of several phases.

    Attributes:
      phases: one after the other.
    """

    phases: tuple[Phase, ...] = ()


def run_phases(cfg: PhasedExperiment, workdir: Path) -> Path:
    """Run the phases of an experiment, resuming what is there; return the adapter of the last.

    Raises:
      InputError: no phases, two of one name, or as `fine_tune`; the settings of all phases are checked before the first.
    """
    phases = [phase for phase in cfg.phases if phase.steps]
    names = [phase.name for phase in phases]
    if not phases or len(set(names)) < len(names):
        raise InputError(
            f"{cfg.name}: expected phases with steps and names of their own, got {names or 'none'}"
        )
    if cfg.trains != "lora":
        raise InputError(f"{cfg.name}: phases go on with an adapter; give --trains lora")
    runs, start = [], cfg.start
    for phase in phases:
        runs.append((build_phase(cfg, phase, start), workdir / phase.name))
        start = str((workdir / phase.name / RESULT_FILE).absolute())
    result = workdir
    for run, folder in runs:
        result = folder / RESULT_FILE
        if _is_done(run, folder):
            compare_run(run, folder)
            log_info(f"{run.name}: done already, {result}")
        else:
            log_info(
                f"{run.name}: {run.edit.steps} steps at {run.model.frames}x{run.model.height}x{run.model.width}"
            )
            result = fine_tune(run, folder)
    return result


def encode_experiment(cfg: Experiment, run: Callable[..., Path]) -> str:
    """Encode the pairs of an experiment on published weights, of every phase that it has; return the folder.

    Args:
      cfg: the experiment; `weights`, `sets` and `latents` must be given.
      run: what would train it.

    Raises:
      InputError: it isn't one on published weights, or as `encode_latents`.
    """
    if run not in (fine_tune, run_phases):
        raise InputError(
            f"{cfg.name}: expected an experiment that trains on published weights, such as wan22_ti2v_5b; this one encodes its pairs itself, while it trains"
        )
    if not isinstance(cfg, PhasedExperiment):
        return encode_latents(cfg)
    folders = [encode_latents(build_phase(cfg, phase)) for phase in cfg.phases if phase.steps]
    if not folders:
        raise InputError(f"{cfg.name}: expected phases with steps, got none")
    return folders[0]


def build_phase(cfg: PhasedExperiment, phase: Phase, start: str = "") -> Experiment:
    """Return the configuration of one phase.

    Args:
      cfg: the experiment.
      phase: one of its phases.
      start: the adapter that it starts from; "" for a new one.

    Raises:
      InputError: a size that the model can't take, or a batch that doesn't divide.
    """
    frames, height, width = phase.size
    fields = {f.name: getattr(cfg, f.name) for f in dataclasses.fields(Experiment)}
    try:
        model = dataclasses.replace(cfg.model, frames=frames, height=height, width=width)
        optim = dataclasses.replace(cfg.edit.optim, peak_lr=phase.peak_lr or cfg.edit.optim.peak_lr)
        edit = dataclasses.replace(
            cfg.edit, steps=phase.steps, batch=phase.batch, micro=phase.micro, optim=optim
        )
        data = dataclasses.replace(cfg.data, mixture=phase.mixture or cfg.data.mixture)
    except ValueError as error:
        raise InputError(f"{cfg.name}: phase {phase.name}: {error}") from None
    fields |= {"name": f"{cfg.name}/{phase.name}", "model": model, "edit": edit, "data": data, "start": start}
    return Experiment(**fields)


def _is_done(run: Experiment, folder: Path) -> bool:
    """Return whether a phase has made its adapter, with all its steps."""
    file = folder / RESULT_FILE
    return file.exists() and TensorFiles.open(file).metadata.get("steps") == str(run.edit.steps)
