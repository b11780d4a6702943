"""A batch that the devices can share, chosen where the mesh leaves it open."""

import pytest

from tests.notes import expect_note
from v2v.config import MeshConfig, wan22_ti2v_5b
from v2v.errors import collect_notes
from v2v.train.config import Experiment, Stage
from v2v.train.fine_tuning import share_clips


def experiment(batch, mesh, micro=1):
    return Experiment(name="mine", model=wan22_ti2v_5b(), mesh=mesh, edit=Stage(batch=batch, micro=micro))


@pytest.mark.parametrize(
    "batch, micro, mesh, seq",
    [
        (4, 1, MeshConfig(data=1, fsdp=-1), 2),
        (1, 1, MeshConfig(data=1, fsdp=-1), 8),
        (8, 2, MeshConfig(data=-1), 2),
        (16, 1, MeshConfig(data=1, fsdp=-1), 1),
        (4, 1, MeshConfig(data=1, fsdp=8), 1),
        (4, 1, MeshConfig(data=-1, seq=4), 4),
    ],
)
def test_more_devices_than_clips_share_clips(batch, micro, mesh, seq):
    """A small batch used to be refused on eight chips."""
    if seq > 1 and mesh.seq == 1:
        with expect_note(f"on 8 devices: {seq} devices share a clip"):
            assert share_clips(experiment(batch, mesh, micro)).mesh.seq == seq
    else:
        with collect_notes() as notes:
            assert share_clips(experiment(batch, mesh, micro)).mesh.seq == seq
        assert not notes
