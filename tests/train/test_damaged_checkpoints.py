"""A damaged checkpoint is told from one of another configuration, and the one before is taken."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.notes import expect_note
from v2v.errors import InputError
from v2v.train.checkpointing import Checkpoints

STATE = {"a": jnp.arange(1 << 12, dtype=jnp.float32), "b": {"c": jnp.ones((3, 4))}}


class Position:
    """Data whose position is a number."""

    def __init__(self, index: int = 0):
        self.index = index

    def get_state(self) -> dict[str, int]:
        return {"index": self.index}

    def set_state(self, state: dict[str, int]) -> None:
        self.index = state["index"]


@pytest.fixture
def folder(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (36, 40):
        checkpoints.save(step, jax.tree.map(lambda x, step=step: x + step, STATE), Position(step))
        checkpoints.wait()
    checkpoints.close()
    return tmp_path / "checkpoints"


def largest(folder):
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def cut_data(step):
    path = largest(step)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_bytes(step):
    path = largest(step)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(255 - x for x in data[middle : middle + 64])
    path.write_bytes(data)


def empty_manifest(step):
    (step / "state" / "manifest.ocdbt").write_bytes(b"")


def remove_metadata(step):
    (step / "_CHECKPOINT_METADATA").unlink()


@pytest.mark.parametrize("damage", [cut_data, flip_bytes, empty_manifest, remove_metadata])
def test_the_step_before_is_taken_with_a_note(folder, damage):
    damage(folder / "40")
    checkpoints, data = Checkpoints(folder), Position()
    with expect_note(r"checkpoints/40 is damaged \(.+\); going on from step 36"):
        state = checkpoints.restore(STATE, data)
    np.testing.assert_array_equal(state["b"]["c"], 37)
    assert data.index == 36 and checkpoints.latest() == 36
    # The way is free for the same step.
    checkpoints.save(40, jax.tree.map(lambda x: x + 40, STATE), Position(40))
    checkpoints.close()
    np.testing.assert_array_equal(Checkpoints(folder).restore(STATE)["b"]["c"], 41)
    assert (folder.parent / "damaged-checkpoint-40").is_dir()


def test_the_only_one_is_named(folder):
    for step in (36, 40):
        cut_data(folder / str(step))
    with pytest.raises(
        InputError, match="checkpoints/36: is damaged .* no earlier one; remove it to begin anew"
    ):
        Checkpoints(folder).restore(STATE)


def test_another_configuration_is_no_damage(folder):
    with pytest.raises(InputError, match=r"another one \(a \(4096,\), expected \(5,\)\)"):
        Checkpoints(folder).restore(STATE | {"a": jnp.zeros(5)})
    assert Checkpoints(folder).steps() == [36, 40]
