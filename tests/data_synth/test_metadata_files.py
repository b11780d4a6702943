"""Metadata of published sets read a row at a time: the same rows as read at once, whatever the file looks like, and memory that stays."""

import csv
import json

import pytest

from data_synth.recipes.published import metadata_files
from data_synth.recipes.published.metadata_files import Concatenation, CsvRecords, CsvRows, JsonList
from v2v.errors import InputError

ITEMS = [{"a": "é" * i, "n": [i, {"x": None}]} for i in range(20)] + [1, 12345, "s", "[,]", None, [], {}]


@pytest.mark.parametrize("block", [1, 5, 1 << 20])
@pytest.mark.parametrize("indent", [None, 1])
def test_items_of_a_list(tmp_path, monkeypatch, block, indent):
    """However the file is cut into blocks, in the middle of a number or a character."""
    monkeypatch.setattr(metadata_files, "_BLOCK", block)
    path = tmp_path / "l.json"
    path.write_text("\ufeff" + json.dumps(ITEMS, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")
    items = JsonList(path)
    assert list(items) == ITEMS and len(items) == len(ITEMS) and items[3] == ITEMS[3]
    path.write_text("[ ]")
    assert list(JsonList(path)) == []


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "Expecting value"),
        ("{}", "got dict"),
        ("[1,\n1 2]", "in line 2: expected a comma"),
        ("[1,]", "in line 1: Expecting value"),
        ("[1", "expected a comma or the end"),
        ("[1]x", "expected nothing behind the list"),
        ('["a', "Unterminated string"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_what_is_no_list(tmp_path, text, words):
    (tmp_path / "l.json").write_text(text)
    with pytest.raises(InputError, match=f"l.json: expected a JSON list.*{words}"):
        JsonList(tmp_path / "l.json")


@pytest.mark.parametrize(
    "text",
    [
        '\ufeffa;b;c\n"1\n2";x;"y;z"\n\n3;é;"q"\n4;5\n6;7;8;9\n',
        'a,b\r\n1,"2\r\nx"\r\n3,4',
        "a\tb\n1\t2\n",
    ],
)
def test_rows_of_a_csv_file(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    with path.open(encoding="utf-8-sig", newline="") as file:
        delimiter = max(",;\t", key=text.split("\n")[0].count)
        expected = list(csv.DictReader(file, delimiter=delimiter))
    records = CsvRecords(path, ("a", "b"))
    assert list(records) == expected and records[len(expected) - 1] == expected[-1]


def test_lines_that_end_as_on_old_macs(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\r\ra,b\r1,2\r")
    rows = CsvRows(tmp_path / "t.csv")
    assert rows.names == ["a", "b"] and list(rows) == [["1", "2"]]


def test_other_encodings_and_columns(tmp_path):
    for name, content, place in (("t.csv", b"a,b\n1,\xfc\n", 6), ("t.json", b'["\xfc"]', 2)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: expected text in UTF-8, got byte 0xfc at {place};"):
            CsvRecords(tmp_path / name, ("a",)) if name == "t.csv" else JsonList(tmp_path / name)
    (tmp_path / "t.csv").write_text("a,b\n")
    with pytest.raises(InputError, match=r'expected columns c, got \["a", "b"\]'):
        CsvRecords(tmp_path / "t.csv", ("c",))
    with pytest.raises(InputError, match="no such file"):
        CsvRows(tmp_path / "none.csv")


def test_sequences_after_one_another():
    joined = Concatenation([[1, 2], [], [3]])
    assert list(joined) == [1, 2, 3] and len(joined) == 3 and joined[2] == 3
    assert len(Concatenation([])) == 0
    with pytest.raises(IndexError):
        joined[3]
