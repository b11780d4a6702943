"""state and data iterator ↔ disk, together, asynchronously. The only file that imports orbax. loop.py → **checkpoint**

Converted models (weights/store.py) are single trees in orbax's layout, saved and restored here too.
"""

import shutil
from pathlib import Path
from typing import Any

import jax
from etils import epath
from orbax.checkpoint import multihost
from orbax.checkpoint import v1 as ocp

from v2v.checkpoints.orbax_tree import _first_line
from v2v.errors import InputError


class Checkpoints:
    """A folder of steps. A save is complete or absent: orbax writes beside and renames, and keeps the newest `keep`.

    With the state goes the data iterator's position, plain JSON: for random-access data (data/loader.py) it is the same in every
    process and says how many global batches were drawn, so a run may go on with other devices or another number of processes.
    """

    def __init__(self, folder: str | Path, keep: int = 2):
        """Args: folder: a local folder or gs://…; what a killed save left in it is cleared away."""
        folder = epath.Path(folder)
        self._folder = folder if "://" in str(folder) else epath.Path(Path(folder).absolute())
        policies = ocp.training.preservation_policies
        self._inner = ocp.training.Checkpointer(
            self._folder,
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=policies.LatestN(keep),
            cleanup_tmp_directories=True,
        )
        self._saving: int | None = None

    def latest(self) -> int | None:
        """The newest complete step, or None."""
        newest = self._inner.latest
        return None if newest is None else newest.step

    def save(self, step: int, state: Any, data: Any = None) -> None:
        """Start saving; waits only for the previous save. `data` is an iterator with `get_state`.

        Raises:
          InputError: the previous save failed, for example on a full disk.
        """
        self.wait()
        position = None if data is None else {"data": data.get_state()}
        with _Told(self, step):
            self._inner.save_checkpointables_async(step, {"state": state}, custom_metadata=position)
        self._saving = step

    def restore(self, state: Any, data: Any = None, step: int | None = None) -> Any:
        """The saved state, laid out like `state`; `data` is moved in place to where it was.

        Raises:
          InputError: the checkpoint was made by another configuration.
        """

        def abstract(leaf):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)

        try:
            restored = self._inner.load_checkpointables(step, {"state": jax.tree.map(abstract, state)})[
                "state"
            ]
            if data is not None:
                data.set_state(self._inner.checkpointables_metadata(step).custom_metadata["data"])
        except (ValueError, KeyError, TypeError) as err:
            raise InputError(
                f"checkpoint {self._folder}: expected the state of this configuration, got another one"
                f" ({_first_line(err)}); choose another --workdir or the configuration it was made with"
            ) from err
        return restored

    def check_room(self, state: Any) -> None:
        """Raises InputError when the disk can't hold one more save of `state`; knows local folders only."""
        if "://" in str(self._folder):
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        need = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) // jax.process_count()
        free = shutil.disk_usage(self._folder).free
        if free < need:
            raise InputError(
                f"checkpoint {self._folder}: a save needs about {need / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; make"
                " room or choose another --workdir"
            )

    def wait(self) -> None:
        """Until the save in flight is complete. Raises InputError when it failed; older checkpoints are as they were."""
        if self._saving is not None:
            step, self._saving = self._saving, None
            with _Told(self, step):
                self._inner.wait()

    def close(self) -> None:
        """Wait for the save in flight and let go of the folder."""
        try:
            self.wait()
        finally:
            self._inner.close()


class _Told:
    """Turns whatever a save dies of into one line that says which save, why, and what is still there."""

    def __init__(self, checkpoints: Checkpoints, step: int):
        self._checkpoints, self._step = checkpoints, step

    def __enter__(self):
        return self

    def __exit__(self, kind, err, trace):
        if err is None or not isinstance(err, Exception):
            return
        kept = [c.step for c in self._checkpoints._inner.checkpoints if c.step != self._step]
        last = f"step {max(kept)} is intact" if kept else "no earlier one was made"
        raise InputError(
            f"checkpoint {self._checkpoints._folder}: saving step {self._step} failed ({_first_line(err)}); {last}; is the disk"
            " full? make room and run again"
        ) from err


def meet(name: str, minutes: int = 60) -> None:
    """Wait until every process of the job is here; nothing for one alone."""
    multihost.get_barrier_sync_fn()(key=name, timeout_ms=minutes * 60_000)
