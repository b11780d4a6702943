"""A page to look through a set: pairs that play, a filter by words, and votes to keep or drop that are saved as a file.

facts, pairs → **view.html** → votes.json → `v2v pairs drop --votes`

The page needs no server, no network and no video codec. Votes are kept by the browser until they are saved.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path

from data_synth.dataset.facts import PairFacts
from data_synth.dataset.report import STYLE, format_example
from v2v.data.pair import Pair
from v2v.errors import InputError
from v2v.runtime import text_files

_PAGE_STYLE = """.bar2{position:sticky;top:0;background:#eee;padding:.6em 0;z-index:1}.item{background:#fff;padding:.6em;border-radius:4px}
.item.drop{outline:3px solid #c33}.item.keep{outline:3px solid #393}.facts{color:#666;font-size:12px}button{margin-right:.5em}"""
_SCRIPT = """
const name = document.body.dataset.set, items = [...document.querySelectorAll('.item')];
let votes = JSON.parse(localStorage.getItem('v2v ' + name) || '{}');
function show() {
  for (const item of items) item.className = 'item ' + (votes[item.dataset.position] || '');
  const values = Object.values(votes);
  document.querySelector('#count').textContent =
    `${values.filter(v => v == 'keep').length} to keep, ${values.filter(v => v == 'drop').length} to drop`;
}
function vote(position, value) {
  if (votes[position] == value) delete votes[position]; else votes[position] = value;
  localStorage.setItem('v2v ' + name, JSON.stringify(votes)); show();
}
function filter(text) {
  const words = text.toLowerCase().split(/\\s+/).filter(Boolean);
  for (const item of items) item.hidden = !words.every(word => item.dataset.text.includes(word));
}
function save() {
  const numbers = kind => Object.keys(votes).filter(k => votes[k] == kind).map(Number).sort((a, b) => a - b);
  const content = JSON.stringify({set: name, keep: numbers('keep'), drop: numbers('drop')});
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([content], {type: 'application/json'}));
  link.download = 'votes.json'; link.click();
}
show();
"""


def format_page(name: str, pairs: Iterable[tuple[int, PairFacts, Pair]]) -> str:
    """Return the text of the page.

    Args:
      name: Name of the set, under which the browser keeps votes.
      pairs: Positions in the set, facts and pairs.
    """
    items = []
    for position, facts, pair in pairs:
        text = " ".join((facts.edit, facts.recipe, facts.license, facts.clip, *facts.instructions)).lower()
        numbers = f"{facts.width}x{facts.height}x{facts.frames}, mask {facts.area:.1%}, {facts.license}, {facts.clip}"
        items.append(
            f'<div class=item data-position={position} data-text="{html.escape(text)}"><b>{html.escape(facts.edit)}</b> '
            f"<span class=facts>{position}: {html.escape(numbers)}</span>{format_example(pair)}"
            f"<button onclick=\"vote({position},'keep')\">keep</button>"
            f"<button onclick=\"vote({position},'drop')\">drop</button></div>"
        )
    return (
        f"<!doctype html><meta charset=utf-8><title>{html.escape(name)}</title><style>{STYLE}{_PAGE_STYLE}</style>"
        f'<body data-set="{html.escape(name)}"><div class=bar2><input size=40 placeholder="filter by recipe, edit, words, licence" '
        f'oninput="filter(this.value)"> <span id=count></span> <button onclick="save()">save votes</button> '
        f"{len(items)} pairs; source above, target below, mask last</div>"
        f"<div class=row>{''.join(items)}</div><script>{_SCRIPT}</script>\n"
    )


def read_votes(path: str | Path, count: int) -> tuple[set[int], set[int]]:
    """Return the positions that people voted to keep and to drop.

    Args:
      path: The file that the page saved.
      count: Number of pairs of the set.

    Raises:
      InputError: The file holds something else, or votes of a larger set.
    """
    try:
        table = text_files.parse_json(text_files.read_text(Path(path)))
        votes = tuple({int(number) for number in table[kind]} for kind in ("keep", "drop"))
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{path}: expected votes that the page of v2v pairs view saved, got something else"
        ) from None
    if any(not 0 <= number < count for numbers in votes for number in numbers):
        raise InputError(
            f"{path}: expected votes on {count} pairs, got one on another pair; is it of another set?"
        )
    return votes[0], votes[1]
