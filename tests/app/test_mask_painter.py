"""Masks that are painted in a notebook: strokes become a mask, and a browser's strokes are Python's."""

import base64
import importlib.util
import json
import re
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

from tests.example_clips import picture
from v2v import InputError
from v2v.app.mask_painter import MaskPainter, read_widget_script

FRAME = picture(1, 48, 64)[0]


def test_strokes_become_a_mask():
    painter = MaskPainter(FRAME)
    assert painter.mask.shape == (48, 64) and not painter.mask.any()
    painter.stroke([(10, 10), (50, 10)], width=8)
    assert set(np.unique(painter.mask)) == {0, 255}
    ys, xs = np.nonzero(painter.mask)
    assert abs(ys.min() - 6) <= 1 and abs(ys.max() - 13) <= 1 and abs(xs.min() - 6) <= 1
    assert abs(xs.max() - 53) <= 1
    dot = MaskPainter(FRAME).stroke([(32, 24)], width=20).mask
    assert dot.sum() / 255 == pytest.approx(np.pi * 100, rel=0.1)
    once = painter.mask
    painter.stroke([(30, 0), (30, 47)], width=6, erases=True)
    assert not painter.mask[:, 28:32].any() and painter.mask[10, 15] == 255
    np.testing.assert_array_equal(painter.undo().mask, once)
    assert not painter.clear().undo().mask.any() and painter.strokes == ()


def test_the_mask_is_seen_over_the_frame():
    painter = MaskPainter(FRAME).stroke([(32, 24)], width=20)
    seen = painter.preview()
    np.testing.assert_array_equal(seen[0], FRAME[0])
    assert seen[24, 32, 0] > seen[24, 32, 1] and seen.dtype == np.uint8


@pytest.mark.parametrize(
    ("points", "width", "message"),
    [
        ([], 4, "points"),
        ([(1, 2, 3)], 4, "points"),
        ([(float("nan"), 1)], 4, "points"),
        ([(1, 1)], 0, "width"),
    ],
)
def test_strokes_that_are_none(points, width, message):
    painter = MaskPainter(FRAME)
    with pytest.raises(InputError, match=message):
        painter.stroke(points, width)
    assert painter.strokes == ()


def test_a_frame_that_is_none():
    with pytest.raises(InputError, match=r"expected uint8 \[H, W, 3\], got float64 \[2, 3, 4, 3\]"):
        MaskPainter(np.zeros((2, 3, 4, 3)))


def test_without_anywidget_it_is_a_picture(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    painter = MaskPainter(FRAME).stroke([(32, 24)], width=20)
    shown = painter._repr_mimebundle_()
    data = np.frombuffer(base64.b64decode(shown["image/png"]), np.uint8)
    np.testing.assert_array_equal(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1], painter.preview())
    assert "pip install anywidget" in shown["text/plain"]


def test_the_widget_is_one_module_and_draws_as_the_page_does():
    script = read_widget_script()
    assert "import {" not in script and script.count("function drawLine") == 1


@pytest.mark.skipif(importlib.util.find_spec("anywidget") is None, reason="needs anywidget")
def test_the_browser_and_python_share_the_strokes():
    painter = MaskPainter(FRAME).stroke([(10, 10)], width=8)
    assert "application/vnd.jupyter.widget-view+json" in str(painter._repr_mimebundle_())
    widget = painter._build_widget()
    assert widget is painter._build_widget() and widget.picture.startswith("data:image/png;base64,")
    assert widget.strokes == [{"points": [[10.0, 10.0]], "width": 8.0, "erases": False}]
    widget.strokes = [*widget.strokes, {"points": [[40, 20], [50, 20]], "width": 6, "erases": False}]
    assert len(painter.strokes) == 2 and painter.mask[20, 45] == 255
    painter.undo()
    assert len(widget.strokes) == 1


# A page in which a program paints: two strokes, the second erases, a third is taken back; then it writes what Python would be told.
PAGE = """<!doctype html><body><div id="root" style="width: 64px"></div><pre id="out"></pre><script type="module">
import painter from "data:text/javascript;base64,MODULE";
const values = {picture: "data:image/png;base64,PICTURE", strokes: []}, listeners = [];
const model = {get: (name) => values[name], set: (name, value) => { values[name] = value; }, save_changes() { listeners.forEach((f) => f()); },
  on: (name, f) => listeners.push(f), off() {}};
const root = document.getElementById("root");
painter.render({model, el: root});
const canvas = root.querySelector("canvas");
canvas.setPointerCapture = () => {};
function drag(...points) {
  const box = canvas.getBoundingClientRect(), scale = box.width / canvas.width;
  const send = (kind, [x, y]) => canvas.dispatchEvent(new PointerEvent(kind,
    {clientX: box.left + x * scale, clientY: box.top + y * scale, pointerId: 1, bubbles: true}));
  send("pointerdown", points[0]);
  points.slice(1).forEach((point) => send("pointermove", point));
  send("pointerup", points.at(-1));
}
setTimeout(() => {
  root.querySelector("input[type=range]").value = 10;
  drag([10, 20], [50, 20]);
  const shown = [...canvas.getContext("2d").getImageData(30, 20, 1, 1).data];
  root.querySelector("input[type=checkbox]").checked = true;
  drag([30, 5], [30, 40]);
  drag([1, 1]);
  root.querySelector("button").click();
  document.getElementById("out").textContent = JSON.stringify({strokes: values.strokes, shown, size: [canvas.width, canvas.height]});
}, 500);
</script></body>"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_browser_paints(tmp_path):
    script = read_widget_script().encode()
    page = PAGE.replace("MODULE", base64.b64encode(script).decode())
    black = cv2.imencode(".png", np.zeros_like(FRAME))[1].tobytes()
    (tmp_path / "page.html").write_text(page.replace("PICTURE", base64.b64encode(black).decode()))
    words = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    words += ["--virtual-time-budget=20000", "--dump-dom", str(tmp_path / "page.html")]
    dom = subprocess.run(words, capture_output=True, text=True, timeout=300).stdout
    told = json.loads(re.search(r'<pre id="out">(.*?)</pre>', dom, re.S)[1])
    assert told["size"] == [64, 48] and told["shown"][0] > 100 > told["shown"][1]
    first, second = told["strokes"]
    np.testing.assert_allclose(first["points"], [[10, 20], [50, 20]], atol=0.1)
    assert first["width"] == 10 and not first["erases"] and second["erases"]
    painter = MaskPainter(FRAME)
    for stroke in told["strokes"]:
        painter.stroke(stroke["points"], stroke["width"], erases=stroke["erases"])
    assert painter.mask[20, 12] == 255 and painter.mask[20, 30] == 0
