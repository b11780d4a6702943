"""Write judges.npz beside this file: the real packages' answers to the questions of tests/parity/judges.py.

pip install -e '.[parity]' pillow && python -m tests.golden.make_judges
"""

import importlib.metadata
import tempfile
from pathlib import Path

import numpy as np

from tests.parity.judges_reference import answers

if __name__ == "__main__":
    versions = np.array([f"{p} {importlib.metadata.version(p)}" for p in ("torch", "transformers", "pillow")])
    with tempfile.TemporaryDirectory() as tmp:
        np.savez_compressed(Path(__file__).parent / "judges.npz", versions=versions, **answers(Path(tmp)))
