"""Files as torch.save writes them, made without torch: a ZIP archive of a pickle and the raw bytes of each tensor."""

import struct
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np

STORAGES = {
    np.dtype(np.float32): "FloatStorage",
    np.dtype(np.float16): "HalfStorage",
    np.dtype(ml_dtypes.bfloat16): "BFloat16Storage",
    np.dtype(np.int64): "LongStorage",
}
ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def numbers(values) -> bytes:
    return b"(" + b"".join(b"J" + struct.pack("<i", n) for n in values) + b"t"


def tensor(key: int, x: np.ndarray) -> bytes:
    """What the pickle says of a tensor; its strides are those of the array."""
    storage = (
        b"(" + text("storage") + f"ctorch\n{STORAGES[x.dtype]}\n".encode() + text(str(key)) + text("cpu")
    )
    storage += b"J" + struct.pack("<i", x.size) + b"tQ"
    strides = [n // x.itemsize for n in x.strides]
    rebuild = b"(" + storage + b"K\0" + numbers(x.shape) + numbers(strides) + b"\x89" + ORDERED_DICT + b"t"
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + rebuild + b"R"


def write(path: Path, tensors: dict[str, np.ndarray], wrap: bytes = b"", behind: bytes = b"") -> Path:
    """Writes a file of a dictionary of tensors.

    `wrap` is put before the dictionary and `behind` after it, to make a dictionary of dictionaries or what harms.
    """
    items = b"".join(text(name) + tensor(i, x) for i, (name, x) in enumerate(tensors.items()))
    pickle = b"\x80\x02" + wrap + ORDERED_DICT + b"(" + items + b"u" + behind + b"."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle)
        archive.writestr("archive/byteorder", "little")
        for i, x in enumerate(tensors.values()):
            archive.writestr(f"archive/data/{i}", (x if x.flags.c_contiguous else x.T).tobytes())
        archive.writestr("archive/version", "3\n")
    return path
