"""The table of environment variables is complete: it is what the README shows and what the code reads."""

import re
from pathlib import Path

from v2v.runtime import environment

ROOT = Path(__file__).parents[2]


def test_the_readme_shows_the_table():
    rows = re.findall(
        r"^\| `(V2V_\w+)` \| (?:`(.*?)`)? *\| (.*?) \|$", (ROOT / "v2v/README.md").read_text(), re.M
    )
    assert rows == [(v.name, v.default, v.description) for v in environment.VARIABLES]


def test_nothing_else_reads_a_variable_of_ours():
    names = {v.name for v in environment.VARIABLES}
    for path in [*ROOT.glob("v2v/**/*.py"), *ROOT.glob("data_synth/**/*.py"), *ROOT.glob("experiments/*.py")]:
        text = path.read_text()
        assert set(re.findall(r"\bV2V_[A-Z_]+", text)) <= names, path
        if path.name != "environment.py":
            assert not re.search(r"environ[^\n]*V2V_|getenv[^\n]*V2V_", text), path


def test_caches_lie_where_they_are_asked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("V2V_CACHE", str(tmp_path / "mine"))
    assert environment.cache_folder("jax") == tmp_path / "mine" / "jax"
    monkeypatch.delenv("V2V_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert environment.cache_folder() == tmp_path / "v2v"


def test_messages_name_the_distribution_that_is_ours():
    """The package called v2v on the index is another project."""
    wrong = re.compile(r"pip install (?:-U )?['\"]?v2v(?![-\w])")
    for path in [*ROOT.glob("**/*.py"), *ROOT.glob("*.md"), *ROOT.glob("**/README.md")]:
        assert path == Path(__file__) or not wrong.search(path.read_text()), path
