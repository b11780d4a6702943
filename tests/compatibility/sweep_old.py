"""The sweep whose finished work `files/results.tar.xz` holds: the stand-in model at two strengths, and a tiny real one with an adapter."""

from pathlib import Path

from tests.fake_model import FakePretrained
from v2v.evaluation.items import Benchmark, Item
from v2v.evaluation.metrics.builtin import BUILTIN_METRICS
from v2v.evaluation.sweep.methods import EditingMethod, grid
from v2v.evaluation.sweep.sweep import Sweep
from v2v.pipeline.editor import EasyV2VEditor


def fake() -> EasyV2VEditor:
    return EasyV2VEditor(FakePretrained())


def sweep(folder: Path) -> Sweep:
    items = (
        Item("grey", folder / "source0.mkv", "make it grey", "look", folder / "truth0.mkv", folder / "mask0.mkv"),
        Item("late", folder / "source1.mkv", "make it negative", "look", folder / "truth1.mkv", folder / "mask1.mkv",
             target_prompt="a negative", start=0.08, end=0.16),
    )  # fmt: skip
    methods = [
        *grid(
            EditingMethod(editor=fake, revision="1", options={"seed": 3}, use_mask=True), strength=(0.5, 1.0)
        ),
        EditingMethod(
            "tiny", model="model", lora=Path("lora/own.safetensors"), lora_scale=0.5, options={"steps": 1}
        ),
    ]
    return Sweep(Benchmark("old", items, "1"), methods, BUILTIN_METRICS)
