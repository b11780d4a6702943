"""The configuration of a run, stored in its folder, so that a resumed run is the same run.

cli/train.py, fine_tuning.py -> **run_record**
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
from etils import epath

from v2v.errors import InputError, note
from v2v.train.config import Experiment

RECORD_FILE = "experiment.json"
# Lists the clips of previews beside them.
PREVIEW_LIST = "clips.json"
# Fields that change neither the meaning of a checkpoint nor the batches that are drawn.
ADJUSTABLE = (
    "adopt", "autoencoder", "cpu_devices", "data.threads", "latents", "log", "memory", "mesh", "model.dit.backend", "model.dit.remat", "name",
    "save_every", "save_minutes", "snapshot_every", "weights", "weights_memory", "workers",
)  # fmt: skip
# The file of a stage that is not run again once it exists.
STAGE_RESULTS = {
    "vae": "vae/vae.safetensors",
    "text": "text/text.safetensors",
    "base": "base/base.safetensors",
}


def check_run(cfg: Experiment, workdir: Path) -> None:
    """Check that a folder holds no run of another configuration (`compare_run`), and store this one there."""
    compare_run(cfg, workdir)
    record_run(cfg, workdir)


def record_run(cfg: Experiment, workdir: Path) -> None:
    """Store the configuration of a run in its folder; from then on it goes on with this one alone."""
    if jax.process_index() == 0:
        path = epath.Path(workdir) / RECORD_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(_to_json(cfg), indent=1) + "\n")


def compare_run(cfg: Experiment, workdir: Path) -> None:
    """Check that a folder holds no run of another configuration.

    A run may go on with more steps of a stage that is not finished, on another mesh, with other logs and saves. Every other difference is
    refused, or with `adopt` told in a note. Fields that one of both versions of v2v doesn't have are not compared.

    Args:
      cfg: the experiment.
      workdir: folder of the run; a local folder or gs://...

    Raises:
      InputError: the folder's run was made with another configuration.
    """
    path = epath.Path(workdir) / RECORD_FILE
    if path.exists():
        differences = [
            f"{field}: was {before!r}, now {after!r}"
            for field, (before, after) in _differences(json.loads(path.read_text()), _to_json(cfg)).items()
            if not _may_change(field, workdir)
        ]
        if differences:
            text = "; ".join(differences[:8]) + (
                f"; and {len(differences) - 8} more" if differences[8:] else ""
            )
            if not cfg.adopt:
                raise InputError(
                    f"{workdir}: its run was begun with another configuration ({text}); choose another --workdir, use the same values, or"
                    " go on with these by --adopt"
                )
            note(f"{workdir}: goes on with another configuration ({text})")


def _to_json(cfg: Experiment) -> dict[str, Any]:
    """Return a configuration as JSON gives it back."""
    return json.loads(json.dumps(dataclasses.asdict(cfg)))


def _may_change(field: str, workdir: Path) -> bool:
    """Return whether a run may go on with another value of a field, such as "edit.steps"."""
    if any(field == name or field.startswith(f"{name}.") for name in ADJUSTABLE):
        return True
    stage, _, name = field.partition(".")
    if name != "steps":
        return False
    return stage not in STAGE_RESULTS or not (epath.Path(workdir) / STAGE_RESULTS[stage]).exists()


def _differences(before: Any, after: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Return the fields of two JSON objects that both have with different values, by dotted name."""
    if isinstance(before, dict) and isinstance(after, dict):
        out: dict[str, tuple[Any, Any]] = {}
        for name in before.keys() & after.keys():
            out |= _differences(before[name], after[name], f"{prefix}.{name}" if prefix else name)
        return dict(sorted(out.items()))
    return {} if before == after else {prefix: (before, after)}
