"""Files that torch itself writes, read without it; needs the extra [parity]."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from v2v.checkpoints.tensor_files import TensorFiles


def test_what_torch_saves(tmp_path):
    """Types, strides, parts of a shared storage, parameters, dictionaries in dictionaries, and what is no tensor."""
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    tensors = {
        "a": base,
        "b": base[1:3, ::2],
        "c": base.T,
        "d": base.to(torch.bfloat16),
        "e": torch.nn.Parameter(base.half()),
        "f": torch.tensor(3),
        "g": torch.zeros(0, 5),
        "h": base.to(torch.float8_e4m3fn),
    }
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    torch.save(tensors, tmp_path / "plain.pth")
    torch.save(
        {"state_dict": tensors, "args": torch.device("cpu"), "step": 3, "names": {"a", "b"}},
        tmp_path / "more.ckpt",
    )
    torch.save(module.state_dict(), tmp_path / "module.pt")
    for name in ("plain.pth", "more.ckpt"):
        files = TensorFiles.open(tmp_path / name)
        assert set(files.slots) == set(tensors)
        for key, x in tensors.items():
            got = files.read(key)
            assert got.shape == tuple(x.shape)
            np.testing.assert_array_equal(got.astype(np.float32), x.detach().float().numpy())
    files = TensorFiles.open(tmp_path / "module.pt")
    for key, x in module.state_dict().items():
        np.testing.assert_array_equal(files.read(key), x.numpy())
    torch.save(tensors, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(Exception, match="older than torch 1.6"):
        TensorFiles.open(tmp_path / "old.pth")
