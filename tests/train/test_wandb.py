"""Rows and pictures in Weights & Biases' own offline files."""

import numpy as np
import pytest

from v2v.config import LogConfig
from v2v.train.metric_writer import MetricWriter


def test_rows_and_pictures_reach_wandb_and_a_resumed_run_is_the_same_one(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    ids, summaries = [], []
    for steps in ((1, 2), (3,)):
        with MetricWriter(tmp_path / "runs" / "edit", LogConfig(wandb="v2v"), {"batch": 4}) as log:
            for step in steps:
                log.picture(step, "preview/0 make it sepia", np.zeros((8, 8, 3), np.uint8))
                log.write(step, {"step": step, "loss": 1.0 / step, "loss_recipe_local": 0.5})
            ids.append(wandb.run.id)
            # What was handed over before the run's end, as if it were killed.
            summaries.append(dict(wandb.run.summary))
    assert ids == ["runs-edit"] * 2
    assert summaries[0]["loss"] == 0.5 and summaries[1]["loss_recipe_local"] == 0.5
    assert any("preview" in key for key in summaries[0])
    files = list((tmp_path / "wandb").glob("offline-run-*-runs-edit/run-runs-edit.wandb"))
    assert len(files) == 2
    assert list((tmp_path / "wandb").glob("offline-run-*/files/media/images/**/*.png"))
    assert len((tmp_path / "runs" / "edit" / "log.jsonl").read_text().splitlines()) == 3
