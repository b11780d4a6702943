"""Listings of published benchmarks as people save them: a byte order mark is skipped; other encodings and shapes are one line."""

import json

import pytest

from v2v.errors import InputError
from v2v.evaluation import study
from v2v.evaluation.benchmarks import published

EDITVERSE = {"7": {"<text>": "make it blue", "<video1>": "a.mp4", "type": "color", "<image1>": "b.png"}}
OPENVE = "original_video,prompt,edited_type\na.mp4,make it blue,color\n"
IVEBENCH = [{"id": 3, "src_video_name": "a.mp4", "category": "color", "edit_prompt": "make it blue"}]
IMGEDIT = {"1": {"id": "a/1.jpg", "prompt": "make it blue", "edit_type": "color"}}
READERS = {
    "editverse": (published.read_editverse_bench, "test.json", json.dumps(EDITVERSE)),
    "openve": (published.read_openve_bench, "benchmark_videos.csv", OPENVE),
    "ivebench": (published.read_ivebench, "list.json", json.dumps(IVEBENCH)),
    "imgedit": (published.read_imgedit_bench, "basic_edit.json", json.dumps(IMGEDIT)),
}


@pytest.mark.parametrize("name", READERS)
def test_a_byte_order_mark_is_skipped(tmp_path, name):
    read, file, text = READERS[name]
    (tmp_path / file).write_bytes(b"\xef\xbb\xbf" + text.encode())
    (item,) = read(tmp_path).items
    assert item.instruction == "make it blue" and item.kind == "color"


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_other_encodings_are_named(tmp_path, name, encoding):
    read, file, text = READERS[name]
    (tmp_path / file).write_bytes(text.replace("blue", "bl\xfce").encode(encoding))
    with pytest.raises(
        InputError, match=rf"{file}: expected text in UTF-8, got byte 0x\w\w at \d+; save it as UTF-8"
    ):
        read(tmp_path)


def changed(name: str, value) -> list[str]:
    """The listing with each of its values changed to another one."""
    listing = {"editverse": EDITVERSE, "ivebench": IVEBENCH, "imgedit": IMGEDIT}[name]
    (row,) = listing.values() if isinstance(listing, dict) else listing
    rows = [{**row, key: value} for key in row] + [value]
    return [json.dumps({"7": r} if isinstance(listing, dict) else [r]) for r in rows]


@pytest.mark.parametrize("name", ["editverse", "ivebench", "imgedit"])
@pytest.mark.parametrize("value", [7.5, [], ["a"], {}, {"a": 1}, True, "\ud83d"])
def test_other_shapes_are_named(tmp_path, name, value):
    read, file, _ = READERS[name]
    for text in changed(name, value):
        (tmp_path / file).write_text(text)
        with pytest.raises(InputError, match=f"{file}, (item 7|row 1): ") as error:
            read(tmp_path)
        assert "\n" not in str(error.value) and "expected" in str(error.value)


@pytest.mark.parametrize("name", ["editverse", "ivebench", "imgedit"])
@pytest.mark.parametrize("text", ["7", "null", '"x"', "{", "", "[" * 200_000, "[1]", '{"1": 2}'])
def test_other_documents_are_named(tmp_path, name, text):
    read, file, _ = READERS[name]
    (tmp_path / file).write_text(text)
    with pytest.raises(InputError, match=f"{file}"):
        read(tmp_path)


def test_rows_of_a_csv_with_too_few_or_many_fields(tmp_path):
    (tmp_path / "benchmark_videos.csv").write_text(OPENVE + "b.mp4,make it red\n")
    with pytest.raises(InputError, match=r"benchmark_videos.csv, row 2: .*edited_type missing"):
        published.read_openve_bench(tmp_path)
    (tmp_path / "benchmark_videos.csv").write_bytes(OPENVE.encode() + b"\x00" * 9)
    with pytest.raises(InputError, match="benchmark_videos.csv"):
        published.read_openve_bench(tmp_path)


@pytest.mark.parametrize("path", ["x" * 300 + ".mp4", "a\x00b.mp4", "**", "[", "../" * 2000 + "a.mp4"])
def test_paths_that_cannot_be_fail_as_items(tmp_path, path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "basic_edit.json").write_text(json.dumps({"1": {**IMGEDIT["1"], "id": path}}))
    assert len(published.read_imgedit_bench(tmp_path).items) == 1
    (tmp_path / "basic_edit.json").unlink()
    (tmp_path / "list.json").write_text(json.dumps([{**IVEBENCH[0], "src_video_name": path}]))
    assert len(published.read_ivebench(tmp_path).items) == 1


@pytest.mark.parametrize(
    "text",
    ["[]", "{", '{"methods": 1, "edits": [], "items": []}', '{"methods": [1], "edits": [], "items": []}'],
)
def test_results_of_another_shape(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(InputError, match="results.json: expected results of v2v eval"):
        study.write_study(f"{tmp_path}:a", f"{tmp_path}:b", tmp_path / "study", None)


@pytest.mark.parametrize("name", ["editverse", "imgedit"])
def test_names_of_items_are_texts(tmp_path, name):
    read, file, text = READERS[name]
    (tmp_path / file).write_text(json.dumps({"\ud83d": next(iter(json.loads(text).values()))}))
    with pytest.raises(InputError, match="half a character"):
        read(tmp_path)
