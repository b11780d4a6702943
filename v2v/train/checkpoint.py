"""state and data iterator ↔ disk, together, asynchronously. The only file that imports orbax. loop.py → **checkpoint**"""

from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from v2v.errors import InputError


class Checkpoints:
    """A folder of steps. A save is complete or absent: orbax writes beside and renames, and keeps the newest `keep`."""

    def __init__(self, folder: str | Path, keep: int = 2):
        policies = ocp.training.preservation_policies
        self._inner = ocp.training.Checkpointer(
            Path(folder).absolute(),
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=policies.LatestN(keep),
        )

    def latest(self) -> int | None:
        """The newest complete step, or None."""
        newest = self._inner.latest
        return None if newest is None else newest.step

    def save(self, step: int, state: Any, data: Any = None) -> None:
        """Start saving; waits only for the previous save. `data` is a grain iterator."""
        items = {"state": state} | ({} if data is None else {"data": data})
        self._inner.save_checkpointables_async(step, items)

    def restore(self, state: Any, data: Any = None, step: int | None = None) -> Any:
        """The saved state, laid out like `state`; `data` is moved in place to where it was.

        Raises:
          InputError: the checkpoint was made by another configuration.
        """

        def abstract(leaf):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)

        items = {"state": jax.tree.map(abstract, state)} | ({} if data is None else {"data": data})
        try:
            return self._inner.load_checkpointables(step, items)["state"]
        except (ValueError, KeyError) as err:
            first = str(err).strip().splitlines()[0]
            raise InputError(
                f"checkpoint {self._inner.directory}: expected the state of this configuration, got another one"
                f" ({first}); choose another --workdir or the configuration it was made with"
            ) from err

    def close(self) -> None:
        """Wait for the save in flight."""
        self._inner.close()
