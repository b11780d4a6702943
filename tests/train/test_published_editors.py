"""From a folder of a published editor and a table of own clips to an adapter, and from that to an edit, as users type it."""

import dataclasses

import numpy as np
import pytest

from tests.checkpoints.test_editor_folder import write_bernini, write_kiwi
from tests.parity import tiny
from v2v import Video, read
from v2v.checkpoints.context_file import StoredContext, write_context
from v2v.cli import main
from v2v.errors import InputError
from v2v.pipeline.pretrained import load_pretrained
from v2v.train import stored_contexts


def write_table(folder, side: int, rows: int) -> None:
    """Pairs of a dark and a bright clip."""
    for name, shade in {"before": 60, "after": 180}.items():
        frames = np.full((8, side, side, 3), shade, np.uint8)
        frames[:, ::2] += 30
        Video.from_array(frames, 16.0).save(folder / f"{name}.mp4")
    lines = ["source,target,instruction"] + [
        f"before.mp4,after.mp4,make it brighter {i}" for i in range(rows)
    ]
    (folder / "my.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.slow
@pytest.mark.parametrize("editor", ["kiwi", "bernini"])
def test_from_own_clips_to_an_adapter_that_edits(tmp_path, editor, capsys):
    """The adapter changes the edit, of weights alone at weight 0 not a bit; without contexts Kiwi-Edit's training says what lacks."""
    side, config = (64, tiny.config()) if editor == "kiwi" else (32, tiny.config())
    write_table(tmp_path, side, 8)
    if editor == "kiwi":
        model = write_kiwi(tmp_path / "model", vae=dataclasses.replace(config.vae, mean=(), std=()))
    else:
        model = write_bernini(tmp_path / "model", model_type="bernini_renderer")
    train = [
        "train", "wan22_lora", "--model", str(model), "--sets", str(tmp_path / "my.csv"), "--workdir", str(tmp_path / "run"),
        "--edit.steps", "3", "--edit.optim.peak-lr", "0.05", "--edit.optim.warmup-steps", "0", "--model.frames", "5", "--edit.batch", "8",
        "--mesh.data", "4", "--mesh.fsdp", "2", "--data.held-out", "0", "--log.held-out-every", "0", "--log.preview-every", "0",
        "--data.fps", "16",
    ]  # fmt: skip
    edit = [
        "edit",
        str(tmp_path / "before.mp4"),
        "make it brighter",
        "--model",
        str(model),
        "--size",
        f"{side}x{side}x5",
        "--steps",
        "2",
    ]
    edit += ["--detail", "model", "--crf", "0", "--pix-fmt", "yuv444p"]
    if editor == "kiwi":
        assert main.main(train) == 2 and "expected the contexts of the set's pairs" in capsys.readouterr().err
        (tmp_path / "contexts").mkdir()
        width, length = config.dit.width, load_pretrained(str(model)).config.dit.text_len
        for i in range(8):
            rows = tiny.normal(f"context {i}", length, width)
            context = StoredContext(rows, f"make it brighter {i}", "video")
            write_context(tmp_path / "contexts" / f"{i:07d}.safetensors", context)
        write_context(tmp_path / "c.safetensors", StoredContext(rows, "make it brighter", "video"))
        edit += ["--context", str(tmp_path / "c.safetensors")]
    assert main.main(train) == 0, capsys.readouterr().err
    lora = str(tmp_path / "run" / "lora.safetensors")
    clips = []
    for name, more in (("plain", []), ("adapted", ["--lora", lora]), ("idle", ["--lora", f"{lora}=0"])):
        assert main.main([*edit, *more, "-o", str(tmp_path / f"{name}.mkv")]) == 0, capsys.readouterr().err
        clips.append(read(tmp_path / f"{name}.mkv").frames.astype(int))
    plain, adapted, idle = clips
    assert np.abs(plain - adapted).max() > 2
    if editor == "bernini":  # Kiwi-Edit's own embeddings are trained too, and weigh the same with any adapter
        np.testing.assert_array_equal(plain, idle)


def test_contexts_of_another_length_are_refused(tmp_path):
    """Batches hold contexts of one length, that of clips without a reference."""
    config = dataclasses.replace(
        tiny.config(), condition=dataclasses.replace(tiny.config().condition, context="stored")
    )
    (tmp_path / "contexts").mkdir()
    rows = np.zeros((3, config.dit.width), np.float32)
    write_context(tmp_path / "contexts" / "0000000.safetensors", StoredContext(rows, "a", "reference"))
    with pytest.raises(InputError, match=r"contexts of \d+ rows, .* got 3 \(reference\)"):
        stored_contexts.read_pair_context(tmp_path / "my.csv", config, 0, ["a"])
