"""Stored contexts: what the tool beside the published encoder writes is what is read, and nothing else is."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from tests.checkpoints import small_models
from v2v.checkpoints import context_file, safetensors_file
from v2v.checkpoints.context_file import StoredContext, check_context, read_context, write_context
from v2v.config import ConditionConfig
from v2v.errors import InputError, collect_notes
from v2v.train import stored_contexts

CONFIG = dataclasses.replace(
    small_models.config(), condition=ConditionConfig(layout="scaled_add", time="same", context="stored")
)
WIDTH = CONFIG.dit.width
ROWS = np.random.default_rng(0).standard_normal((5, WIDTH), np.float32)


def tool():
    """The script as a module: it needs no package until an encoder is loaded."""
    path = Path(__file__).parents[2] / "tools" / "kiwi_contexts.py"
    spec = importlib.util.spec_from_file_location("kiwi_contexts", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_the_tool_writes_is_read(tmp_path):
    source = tmp_path / "in.mp4"
    source.write_bytes(b"clip")
    script = tool()
    description = {"instruction": "Remove it.", "mode": "video", "source_sha256": script.digest(source)}
    script.save_context(tmp_path / "c.safetensors", ROWS, description, encoder="kiwi")
    context = read_context(tmp_path / "c.safetensors", CONFIG)
    np.testing.assert_array_equal(context.rows, ROWS)
    assert (context.instruction, context.mode) == ("Remove it.", "video")
    with collect_notes() as notes:
        check_context("c", context, " remove  it", source=source)
    assert not notes
    source.write_bytes(b"another")
    with collect_notes() as notes:
        check_context("c", context, "Remove it.", source=source, is_picture=True)
    assert len(notes) == 2 and any("another source" in text for text in notes)


def test_the_tool_names_what_lacks(tmp_path, capsys):
    script = tool()
    (tmp_path / "t.jsonl").write_text(json.dumps({"video": "none.mp4", "instruction": "x", "out": "o"}))
    with pytest.raises(SystemExit):
        script.main(["--model", str(tmp_path), "--table", str(tmp_path / "t.jsonl")])
    assert "none.mp4: no such file" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        script.main(["--model", str(tmp_path), "--instruction", "x"])
    assert "expected --video, --out" in capsys.readouterr().err


def test_round_trip(tmp_path):
    write_context(tmp_path / "c.safetensors", StoredContext(ROWS, "x", "reference", "a", "b"))
    context = read_context(tmp_path / "c.safetensors", CONFIG)
    np.testing.assert_array_equal(context.rows, ROWS)
    assert (context.mode, context.source_sha256, context.reference_sha256) == ("reference", "a", "b")


@pytest.mark.parametrize(
    "tensors, description, words",
    [
        ({"context": ROWS, "other": ROWS}, {}, "expected one tensor"),
        ({"context": ROWS[:, 1:]}, {}, "rows of 60 channels"),
        ({"context": ROWS[None]}, {}, "rows of 60 channels"),
        ({"context": ROWS * np.nan}, {"version": 1, "instruction": "x", "mode": "video"}, "NaN"),
        ({"context": ROWS}, {"version": 2, "instruction": "x", "mode": "video"}, "version 1, got 2"),
        ({"context": ROWS}, {"version": 1, "instruction": "x", "mode": "film"}, "'film'"),
        ({"context": ROWS}, {"version": 1, "instruction": 3, "mode": "video"}, "got 3"),
        ({"context": ROWS}, ["x"], "can't be read"),
        ({"context": ROWS}, None, "can't be read"),
    ],
)
def test_other_files_are_refused(tmp_path, tensors, description, words):
    header = None if description is None else {context_file.CONTEXT_KEY: json.dumps(description)}
    safetensors_file.write_safetensors(tmp_path / "c.safetensors", tensors, header)
    with pytest.raises(InputError, match=words):
        read_context(tmp_path / "c.safetensors", CONFIG)


def test_models_that_read_sentences_take_none(tmp_path):
    write_context(tmp_path / "c.safetensors", StoredContext(ROWS, "x", "video"))
    with pytest.raises(InputError, match="takes no stored context"):
        read_context(tmp_path / "c.safetensors", small_models.config())


def test_contexts_of_other_edits_are_refused():
    context = StoredContext(ROWS, "Remove it.", "video")
    with pytest.raises(InputError, match='is the context of "Remove it."'):
        check_context("c", context, "Add it.")
    with pytest.raises(InputError, match="was made without a reference, the edit has one"):
        check_context("c", context, "Remove it.", reference="r.png")
    with pytest.raises(InputError, match="was made with a reference, the edit has none"):
        check_context("c", dataclasses.replace(context, mode="reference"), "Remove it.")


def test_contexts_of_training_pairs(tmp_path):
    """Beside a table as in a set; of one length, since they are batched."""
    table = tmp_path / "pairs.csv"
    table.write_text("source,target\n")
    with pytest.raises(InputError, match="expected the contexts of the set's pairs"):
        stored_contexts.fingerprint_contexts(table)
    folder = stored_contexts.contexts_folder(table)
    assert folder == stored_contexts.contexts_folder(tmp_path) == tmp_path / "contexts"
    folder.mkdir()
    long = np.repeat(ROWS[:1], CONFIG.dit.text_len, 0)
    write_context(folder / "0000003.safetensors", StoredContext(long, "x", "video"))
    write_context(folder / "0000004.safetensors", StoredContext(ROWS, "x", "picture"))
    before = stored_contexts.fingerprint_contexts(table)
    rows = stored_contexts.read_pair_context(table, CONFIG, 3, ["x", "y", ""])
    assert [row.shape for row in rows] == [long.shape, long.shape, (1, WIDTH)] and not rows[2].any()
    with pytest.raises(InputError, match="got 5 \\(picture\\)"):
        stored_contexts.read_pair_context(table, CONFIG, 4, ["x", ""])
    with pytest.raises(InputError, match="0000005"):
        stored_contexts.read_pair_context(table, CONFIG, 5, ["x", ""])
    (folder / "0000004.safetensors").unlink()
    assert stored_contexts.fingerprint_contexts(table) != before
