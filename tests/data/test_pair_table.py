"""Tables of people's own pairs: every spelling gives the same rows, and bad rows cost themselves and say why."""

import gc
import json
import pickle
import shutil
import tracemalloc

import numpy as np
import pytest

from tests.example_clips import picture, write
from v2v.data import pair_row, pair_table, pair_table_check
from v2v.data.pair_row import PairRow, UnusableRow
from v2v.data.pair_table import read_table
from v2v.errors import InputError


def rows_of(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return read_table(path).rows


def reasons_of(rows):
    return {row.line: row.reason for row in rows if isinstance(row, UnusableRow)}


def test_every_spelling_gives_the_same_rows(tmp_path):
    fields = {"control_path": "a.mp4", "video_path": "b.mp4", "cap": "make it blue", "mask": "m.png"}
    for name in ("vace_video", "source"):
        fields[name] = fields.pop("control_path", None) or fields.pop("vace_video", None)
    expected = PairRow(
        "line 2",
        2,
        tmp_path / "a.mp4",
        tmp_path / "b.mp4",
        ("make it blue", "paint it blue"),
        mask=tmp_path / "m.png",
        start=0.5,
        end=1.5,
        weight=2.0,
        split="held_out",
        license="CC0",
    )
    values = {"start": "0.5", "end": 1.5, "weight": 2, "split": "val", "licence": "CC0"}
    sentences = ["make it blue", "paint it  blue"]
    item = {
        "source": "a.mp4",
        "file_path": "b.mp4",
        "prompt": sentences,
        "vace_video_mask": "m.png",
        **values,
    }
    names = ",".join(item).replace(",", ";")
    cells = ";".join(
        '"' + json.dumps(sentences).replace('"', '""') + '"' if value is sentences else str(value)
        for value in item.values()
    )
    assert rows_of(tmp_path / "a.csv", f"\ufeff{names.upper()}\r\n{cells}\r\n") == (expected,)
    assert rows_of(tmp_path / "a.jsonl", "\n" + json.dumps(item)) == (expected,)
    assert rows_of(tmp_path / "a.json", "[\n" + json.dumps(item) + "]") == (expected,)


def test_caption_and_image_path_stand_for_what_is_missing(tmp_path):
    [musubi] = rows_of(
        tmp_path / "a.jsonl", '{"image_path": "b.png", "control_path": "a.png", "caption": "x y"}'
    )
    assert (musubi.target.name, musubi.instructions, musubi.reference) == ("b.png", ("x y",), None)
    text = '{"image_path": "r.png", "video": "b.mp4", "source": "a.mp4", "prompt": "x y", "caption": "a cat"}'
    [row] = rows_of(tmp_path / "b.jsonl", text)
    assert (row.target.name, row.reference.name, row.source_caption) == ("b.mp4", "r.png", "a cat")


def test_bad_rows_cost_themselves_and_name_their_line(tmp_path):
    text = (
        "source,target,instruction,start,end,weight,split\n"
        'a.mp4,b.mp4,"two\nlines",,,,\n'
        "\n"
        ",b.mp4,x,,,,\n"
        "a.mp4,,x,,,,\n"
        "a.mp4,b.mp4\n"
        "a.mp4,b.mp4,x, y,,,,\n"
        "a.mp4,./a.mp4,x,,,,\n"
        "a.mp4,b.mp4,x,2,1,,\n"
        "a.mp4,b.mp4,x,nan,,,\n"
        "a.mp4,b.mp4,x,,,0,\n"
        "a.mp4,b.mp4,x,,,,none\n"
        "a.mp4,https://b.mp4,x,,,,\n"
        "a.mp4,./b.mp4,two lines,,,,\n"
        'a.mp4,b.mp4,"open,,,,\n'
    )
    rows = rows_of(tmp_path / "a.csv", text)
    assert isinstance(rows[0], PairRow) and rows[0].instructions == ("two lines",)
    reasons = reasons_of(rows)
    beginnings = {
        5: "no source",
        6: "no target",
        7: "no instruction",
        8: "malformed row: 8 fields for 7 columns",
        9: "source and target are the same file",
        10: "start is not before end",
        11: "malformed row: start: expected a number",
        12: "weight 0",
        13: "malformed row: split: expected train or held_out",
        14: "not a file of this machine",
        15: "repeated row: the same as line 2",
        16: "malformed row: unexpected end of data",
    }
    assert reasons.keys() == beginnings.keys()
    assert all(reasons[line].startswith(start) for line, start in beginnings.items())
    lines = [
        '{"source": "a", "target": "b", "text": "x"}',
        "{",
        "3",
        '{"source": 3}',
        '{"source": "a", "target": "b", "text": "\\ud800"}',
    ]
    reasons = reasons_of(rows_of(tmp_path / "a.jsonl", "\n".join(lines)))
    assert [reasons[line].partition(" (")[0] for line in (2, 3, 4, 5)] == [
        "malformed row: not JSON",
        "malformed row: expected an object, got 3",
        "malformed row: source: expected text, got 3",
        'malformed row: instruction: expected text, got "\\ud800"',
    ]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.csv", "source,target\n".encode("utf-16"), "a.csv: expected UTF-8"),
        ("a.csv", b"source,target,text\na,b,caf\xe9\n", "a.csv: expected UTF-8 text, got byte 0xe9"),
        ("a.jsonl", "{}".encode("utf-16-le"), "a.jsonl: expected UTF-8 text, got a zero byte"),
        ("a.csv", b"", "column names"),
        ("a.csv", b"source,target,Source\n", "got source twice"),
        ("a.csv", b"source,prompt\na,b\n", "expected a column target"),
        ("a.csv", b"source,target,text\n", "found none"),
        ("a.json", b'[{"source": 1}, {', "a.json: expected a JSON list"),
        ("a.json", b"[", "a.json: expected a JSON list"),
        ("a.xlsx", b"", "expected a table that ends in .csv"),
    ],
)
def test_unreadable_tables_are_refused_by_name(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / name)


def test_a_folder_of_files_named_alike(tmp_path):
    (tmp_path / "more").mkdir()
    names = ("a.mp4", "a_control.mov", "a_mask.png", "more/b.png", "more/b_source.jpg", "c.mp4", "notes.md")
    for name in (*names, "d.mp4", "d_source.mp4", "d_control.mp4", ".hidden.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "a.txt").write_text("\ufeffmake it blue\n\npaint it blue\n", encoding="utf-8")
    (tmp_path / "more/b.txt").write_text("x y")
    table = read_table(tmp_path)
    assert [(row.place, row.source.name, row.target.name) for row in table.pairs] == [
        ("a", "a_control.mov", "a.mp4"),
        ("more/b", "b_source.jpg", "b.png"),
    ]
    assert table.pairs[0].instructions == ("make it blue", "paint it blue")
    assert table.pairs[0].mask == tmp_path / "a_mask.png" and table.ignored == ("notes.md",)
    assert [row.kind for row in table.rows if isinstance(row, UnusableRow)] == [
        "no source",
        "more than one source",
    ]


def test_the_check_tells_what_is_used_cut_and_left_out(tmp_path):
    before = picture(12)
    after = np.clip(before.astype(int) + 60, 0, 255).astype(np.uint8)
    for name, frames in (("a", before), ("b", after), ("long", after[:6])):
        write(tmp_path / f"{name}.mp4", frames)
    shutil.copy(tmp_path / "a.mp4", tmp_path / "same.mp4")  # encoded again it may differ by a level
    write(tmp_path / "slow.mp4", after[::2], pts=list(range(0, 12, 2)))
    for name, level in (("black", 0), ("white", 255)):
        write(tmp_path / f"{name}.mp4", np.full_like(before[:1], level))
    lines = ["b,,", "slow,,", "same,,", "long,,", "gone,,", "b,white.mp4,", "b,,0.2", "b,,9", "b,black.mp4,"]
    text = "source,target,instruction,mask,start\n"
    text += "".join(f"a.mp4,{line.replace(',', f'.mp4,edit {n},', 1)}\n" for n, line in enumerate(lines))
    (tmp_path / "a.csv").write_text(text)
    report = pair_table_check.check_table(read_table(tmp_path / "a.csv"), (6, 48, 48))
    assert {row.line: row.kind for row in report.left_out} == {
        4: "source and target are the same",
        5: "another length",
        6: "file missing",
        8: "drift outside the mask",
        9: "outside the clip",
        10: "black mask",
    }
    used = {check.row.line: check for check in report.usable}
    assert used.keys() == {2, 3, 7}
    assert (used[2].frames, used[2].fps, used[3].frames, used[3].fps) == (12, 25, 6, 12.5)
    assert used[2].cuts == ("6 of 12 frames", "25% of the picture, 64x48 into 48x48")
    assert used[3].cuts[0].startswith("6 moments of 12 source and 6 target frames")
    assert used[7].drift is None and used[7].notes[0].startswith("its mask is white everywhere")
    assert json.loads(json.dumps(report.to_json()))["reasons"]["file missing"] == 1
    assert "line 6 left out: file missing: gone.mp4" in report.format()
    assert pair_table.read_table(tmp_path / "a.csv").pairs[0].files[0].is_file()


def test_rows_are_held_as_text_and_come_back_equal(tmp_path):
    rows: list[PairRow | UnusableRow] = [
        PairRow("line 2", 2, tmp_path / "ä\udcff.mp4", tmp_path / "b.mp4", ("make it “blue”", "x")),
        PairRow("l", 3, tmp_path / "a", tmp_path / "b", ("x",), tmp_path / "m", tmp_path / "r@1.5", 0.1, 2.5, 3.0, "held_out", "MIT", "a", "b", "c"),
        UnusableRow("line 4", 4, "no source"),
        UnusableRow("line 5", 5, "malformed row", "why"),
    ]  # fmt: skip
    packed = pair_row.pack_rows(rows)
    assert list(packed) == rows == packed[:] and packed[-1] == rows[-1] and packed[1:3] == rows[1:3]
    assert pickle.loads(pickle.dumps(packed)) == packed
    with pytest.raises(IndexError):
        packed[4]


def test_rows_with_other_references_are_other_pairs(tmp_path):
    text = "source,target,instruction,reference\n" + "".join(
        f"a.mp4,b.mp4,x,{reference}\n" for reference in ("", "r.png", "s.png", "./r.png")
    )
    rows = rows_of(tmp_path / "a.csv", text)
    assert reasons_of(rows) == {5: "repeated row: the same as line 3"} and len(rows) == 4


@pytest.mark.slow
def test_a_large_table_takes_little_memory(tmp_path):
    lines = [
        f"original/{i}.mp4,edited/{i}.mp4,turn the small brown dog number {i} into a fox" for i in range(2000)
    ]
    (tmp_path / "a.csv").write_text("source,target,instruction\n" + "\n".join([*lines, lines[7]]) + "\n")
    tracemalloc.start()
    try:
        table = pair_table.read_table(tmp_path / "a.csv")
        number, last = len(table.rows), table.rows[2000]
        gc.collect()
        with_table, _ = tracemalloc.get_traced_memory()
        del table  # what it gives back is its own, whatever other threads of these tests hold
        gc.collect()
        size = with_table - tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert number == 2001 and 20 * 2001 < size < 500 * 2001
    assert last == UnusableRow("line 2002", 2002, "repeated row", "the same as line 9")
