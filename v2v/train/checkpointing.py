"""Training state and data position on disk, saved together and asynchronously with orbax.

loop.py -> **checkpointing**

orbax notices files that are missing or cut short, but not all bytes that have changed: weights would be wrong without a word. So the
checksums of a save's files are recorded beside them (checksums.py) and compared before it is read.
"""

import shutil
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from orbax.checkpoint import multihost
from orbax.checkpoint import v1 as ocp

from v2v.checkpoints.orbax_tree import first_line, quiet_absl, tree_differences
from v2v.data.batch import Resumable
from v2v.errors import InputError, note
from v2v.runtime.interruptible import run_interruptible
from v2v.train import checksums

State = TypeVar("State")

CHECKPOINTS_FOLDER = "checkpoints"


class Checkpoints:
    """A folder of steps, of which the newest are kept; orbax writes a step under another name and renames it when complete.

    The position of the data iterator is saved with the state as JSON. For data with random access (data/loader.py) it is the number of
    global batches drawn and the same in every process, so a run can continue on other devices or with another number of processes.
    """

    def __init__(self, folder: epath.PathLike, keep: int = 2):
        """Open the folder and delete what an interrupted save left in it.

        Args:
          folder: local or gs://...
          keep: number of steps that are kept, the newest.
        """
        self._folder = epath.Path(folder if "://" in str(folder) else Path(folder).absolute())
        self._keep = keep
        self._checkpointer = self._open()
        self._saving: int | None = None
        self._recording: threading.Thread | None = None

    def _open(self) -> Any:
        # The policies' own methods are annotated with another class of checkpoints than the protocols that they implement.
        save_policy: Any = ocp.training.save_decision_policies.FixedIntervalPolicy(1)
        preservation_policy: Any = ocp.training.preservation_policies.LatestN(self._keep)
        return ocp.training.Checkpointer(
            self._folder,
            save_decision_policy=save_policy,
            preservation_policy=preservation_policy,
            cleanup_tmp_directories=True,
        )

    @property
    def folder(self) -> epath.Path:
        """The folder of the checkpoints."""
        return self._folder

    def steps(self) -> list[int]:
        """Return the complete steps."""
        return [checkpoint.step for checkpoint in self._checkpointer.checkpoints]

    def latest(self) -> int | None:
        """Return the newest complete step, or None."""
        newest = self._checkpointer.latest
        return None if newest is None else newest.step

    def save(self, step: int, state: Any, data: Resumable | None = None) -> None:
        """Start saving; waits only for the previous save.

        Args:
          step: number of the checkpoint.
          state: a tree of arrays.
          data: the iterator whose position is saved too.

        Raises:
          InputError: the previous save failed, for example on a full disk.
        """
        self.wait()
        position = None if data is None else {"data": data.get_state()}
        with _SaveErrors(self, step):
            self._checkpointer.save_checkpointables_async(step, {"state": state}, custom_metadata=position)
        self._saving = step

    def restore(self, state: State, data: Resumable | None = None, step: int | None = None) -> State:
        """Return a saved state.

        Args:
          state: gives shapes, types and shardings of the result.
          data: the iterator that is set to its saved position.
          step: number of the checkpoint; None for the newest.

        Raises:
          InputError: the checkpoint was made by another configuration, or no checkpoint is whole. A damaged one is set aside with a note,
            and the one before is taken.
        """
        steps = sorted(self.steps(), reverse=True) if step is None else [step]
        for number, earlier in zip(steps, [*steps[1:], None], strict=True):
            try:
                return self._load(number, state, data)
            except Exception as err:  # orbax and TensorStore raise many kinds
                differences = self._differences(number, state)
                if differences:
                    text = "; ".join(differences[:4]) + ("; ..." if differences[4:] else "")
                    raise InputError(
                        f"checkpoint {self._folder}: expected the state of this configuration, got another one"
                        f" ({text}); choose another --workdir or the configuration it was made with"
                    ) from err
                cause = _innermost(err)
                if earlier is None:
                    raise InputError(
                        f"checkpoint {self._folder / str(number)}: is damaged ({cause}), and there is no earlier one; remove it to begin anew"
                    ) from err
                note(
                    f"checkpoint {self._folder / str(number)} is damaged ({cause}); going on from step {earlier}"
                )
                self._set_aside(number)
        raise InputError(f"checkpoint {self._folder}: expected a checkpoint, found none")

    def _load(self, step: int, state: State, data: Resumable | None) -> State:
        def abstract(leaf: jax.Array) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)

        self._check_files(step)
        shapes = {"state": jax.tree.map(abstract, state)}
        # A thread of orbax logs an error with a traceback before it is raised here.
        with quiet_absl():
            restored = self._checkpointer.load_checkpointables(step, shapes)["state"]
            if data is not None:
                metadata: Any = self._checkpointer.checkpointables_metadata(step)
                data.set_state(metadata.custom_metadata["data"])
        return restored

    def _check_files(self, step: int) -> None:
        """Compare the files of a step with their checksums, in process 0 for all; buckets check what they store themselves.

        Raises:
          ChangedFileError: one is damaged.
        """
        if "://" in str(self._folder):
            return
        damage = None
        if jax.process_index() == 0:
            try:
                checksums.check_checksums(Path(self._folder / str(step)))
            except checksums.ChangedFileError as error:
                damage = error
        if jax.process_count() > 1 and multihost_utils.broadcast_one_to_all(np.int32(damage is not None)):
            damage = damage or checksums.ChangedFileError("a file has changed since it was written")
        if damage is not None:
            raise damage

    def _differences(self, step: int, state: Any) -> list[str]:
        """Return how a saved state differs from another in names and shapes; empty also where that can't be read."""
        try:
            with quiet_absl():
                metadata: Any = self._checkpointer.checkpointables_metadata(step)
            saved = metadata.metadata["state"]
        except Exception:
            return []
        return [] if saved is None else tree_differences(saved, state)

    def _set_aside(self, step: int) -> None:
        """Move a damaged step beside the folder, so that it is neither read nor in the way of a save."""
        self._checkpointer.close()
        if jax.process_index() == 0:
            target = self._folder.parent / f"damaged-checkpoint-{step}"
            if target.exists():
                target.rmtree()
            (self._folder / str(step)).rename(target)
        wait_for_processes(f"damaged checkpoint {step}")
        self._checkpointer = self._open()

    def check_room(self, state: Any) -> None:
        """Check that a local disk can hold one more save of `state`; raise InputError when it cannot."""
        if "://" in str(self._folder):
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) // jax.process_count()
        free = shutil.disk_usage(self._folder).free
        if free < size:
            raise InputError(
                f"checkpoint {self._folder}: a save needs about {size / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; make"
                " room or choose another --workdir"
            )

    def wait(self) -> None:
        """Wait for the save in progress; raise InputError when it failed. Older checkpoints are not affected."""
        if self._recording is not None:
            self._recording.join()
        if self._saving is not None:
            step, self._saving = self._saving, None
            with _SaveErrors(self, step):
                self._checkpointer.wait()
            if jax.process_index() == 0 and "://" not in str(self._folder):
                folder = Path(self._folder / str(step))
                self._recording = threading.Thread(target=checksums.record_checksums, args=(folder,))
                self._recording.start()

    def close(self) -> None:
        """Wait for the save in progress and close the folder."""
        try:
            self.wait()
            if self._recording is not None:
                self._recording.join()
        finally:
            self._checkpointer.close()


def latest_step(workdir: epath.PathLike) -> int | None:
    """Return the newest complete step in the checkpoints of a stage's folder, or None."""
    folder = epath.Path(workdir) / CHECKPOINTS_FOLDER
    if not folder.exists():
        return None
    checkpoints = Checkpoints(folder)
    try:
        return checkpoints.latest()
    finally:
        checkpoints.close()


def _innermost(err: BaseException) -> str:
    """Return the message of the first cause of an error, in one line."""
    while err.__cause__ or err.__context__:
        err = err.__cause__ or err.__context__ or err
    return first_line(err)


class _SaveErrors:
    """A context that turns any failure of a save into an InputError naming the step, the cause and the last good checkpoint."""

    def __init__(self, checkpoints: Checkpoints, step: int):
        self._checkpoints, self._step = checkpoints, step

    def __enter__(self) -> "_SaveErrors":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(err, Exception):
            return
        other_steps = [step for step in self._checkpoints.steps() if step != self._step]
        last = f"step {max(other_steps)} is intact" if other_steps else "no earlier one was made"
        raise InputError(
            f"checkpoint {self._checkpoints.folder}: saving step {self._step} failed ({first_line(err)}); {last}; is the disk"
            " full? make room and run again"
        ) from err


def wait_for_processes(name: str, minutes: int = 60) -> None:
    """Wait until every process of the job has called this; a single process does not wait, and a signal ends the wait.

    Args:
      name: the same in every process, and different at every wait.
      minutes: time after which waiting fails.
    """
    barrier = multihost.get_barrier_sync_fn()
    run_interruptible(lambda: barrier(key=name, timeout_ms=minutes * 60_000))
