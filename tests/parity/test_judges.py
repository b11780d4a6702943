"""Models that metrics use, against stored answers (tests/golden/make_judges.py) and, with the extra [parity], against the packages live."""

from pathlib import Path

import numpy as np
import pytest

from tests.parity import judges

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "judges.npz")


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return judges.ours(tmp_path_factory.mktemp("models"))


def compare(ours, theirs):
    assert set(ours) == set(theirs)
    for name, answer in theirs.items():
        assert ours[name].shape == answer.shape, name
        if name.startswith("resize"):  # Pillow's weights are fixed-point
            off = np.abs(ours[name].astype(int) - answer.astype(int))
            assert off.max() <= 1 and (off > 0).mean() < 0.01, name
        else:
            assert answer.std() > 1e-3 or answer.ndim == 0
            np.testing.assert_allclose(ours[name], answer, rtol=0, atol=1e-5, err_msg=name)


def test_against_stored_answers(ours):
    compare(ours, {k: GOLDEN[k] for k in GOLDEN.files if k != "versions"})


def test_against_the_packages(ours, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    pytest.importorskip("PIL")
    from tests.parity.judges_reference import answers

    compare(ours, answers(tmp_path))
