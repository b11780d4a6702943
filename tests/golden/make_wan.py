"""Write wan.npz and tokenizer.json beside this file: the real packages' answers to the questions of tests/parity/tiny.py.

    pip install -e '.[parity]' && python -m tests.golden.make_wan
Versions used are stored in the file. Run it again whenever tiny.py or strings.py changes.
"""

import importlib.metadata
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch

from tests.parity import reference, strings, tiny
from tests.parity.test_unipc import scheduler

HERE = Path(__file__).parent
PACKAGES = ("torch", "diffusers", "transformers", "sentencepiece")


def main() -> None:
    out = {"versions": np.array([f"{p} {importlib.metadata.version(p)}" for p in PACKAGES])}
    with tempfile.TemporaryDirectory() as tmp:
        for name, channels in (("base", tiny.Z), ("channel", 2 * tiny.Z)):
            folder = tiny.write_folder(Path(tmp) / name, tiny.config(channels))
            for clean in (False, True):
                out[f"dit/{name}/{clean}"] = reference.velocity(
                    folder, **tiny.dit_inputs(channels), first_clean=clean
                )
        folder = Path(tmp) / "base"
        for frames in (1, 5, 17):
            out[f"encode/{frames}"] = reference.encode(folder, tiny.clip(frames))
            out[f"decode/{frames}"] = reference.decode(folder, tiny.latents((frames + 3) // 4))
        out["text"] = reference.embed(folder, *tiny.text_inputs())
        loaded = reference.tokenizer(Path(tmp), "identity")
        out["ids"] = reference.ids(loaded, strings.STRINGS, 160)[0].astype(np.int16)
        shutil.copy(Path(tmp) / "tokenizer.json", HERE / "tokenizer.json")
    for schedule in ("wan", "diffusers"):
        for steps in (50, 40, 20, 4, 2, 1):
            out[f"unipc/{schedule}/{steps}"] = unipc(schedule, steps)
    np.savez_compressed(HERE / "wan.npz", **out)


def unipc(schedule: str, steps: int) -> np.ndarray:
    theirs = scheduler()
    grid = np.linspace(0.999, 0, steps + 1)[:-1] if schedule == "wan" else None
    theirs.set_timesteps(*(() if grid is not None else (steps,)), sigmas=grid)
    state = torch.from_numpy(tiny.normal("unipc", 1, 2, 3, 3, 2))
    for t in theirs.timesteps:
        velocity = (state - torch.tanh(1.5 * state + 0.0003 * t)) / (0.1 + 0.001 * t)
        state = theirs.step(velocity, t, state, return_dict=False)[0]
    return state.numpy()


if __name__ == "__main__":
    main()
