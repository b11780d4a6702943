"""The check that mutates files: it finds what it looks for, and locates what ends a process."""

import os
import time

import pytest

from tools.checks import fuzz
from v2v.errors import InputError


def write_bases(folder):
    (folder / "a.txt").write_text("text")


def append_seed(data, rng):
    return data + str(rng.randrange(1000)).encode()


def use(path, out):
    """Do something else wrong for some of the files."""
    number = int(path.read_text().removeprefix("text"))
    match number % 8:
        case 0:
            os.abort()
        case 1:
            raise ZeroDivisionError
        case 2:
            raise InputError("two\nlines")
        case 3:
            out.with_suffix(".mp4").write_text("left")
            raise InputError("refused")
        case 4:
            path.with_suffix(".partial").write_text("left")
        case 5:
            raise InputError("refused")
        case 6 if number > 900:
            time.sleep(100)


@pytest.mark.slow
def test_everything_is_found_and_located(tmp_path, capfd):
    kind = fuzz.Kind("broken", 12, write_bases, append_seed, {"": use})
    counts, findings = fuzz.run_kind(kind, 0, 12, tmp_path, 3)
    number_of = {
        seed: int(fuzz.write_case(kind, seed, tmp_path).read_text().removeprefix("text"))
        for seed in range(12)
    }
    expected = {0: "crash", 1: "traceback", 2: "lines", 3: "leftover", 4: "leftover"}
    found = {finding.seeds: finding.what for finding in findings}
    for seed, number in number_of.items():
        what = "hang" if number % 8 == 6 and number > 900 else expected.get(number % 8)
        assert found.pop((seed,), None) == what, (seed, number)
    assert not found and counts.total() == 12
    assert "broken --seed" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["manifests", "listings", "captions"])
def test_cases_repeat(tmp_path, name):
    kind = fuzz.KINDS[name]
    contents = [fuzz.write_case(kind, 3, tmp_path / folder).read_bytes() for folder in _folders(tmp_path)]
    assert contents[0] == contents[1]


def _folders(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        yield folder


@pytest.mark.slow
def test_one_line_of_counts(capfd):
    assert fuzz.main(["--only", "manifests", "--count", "3", "--seed", "7"]) == 0
    (line,) = capfd.readouterr().out.splitlines()
    assert line.startswith("manifests ") and line.endswith("found nothing")
