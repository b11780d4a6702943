"""Report and pages of votes and training in a real browser. Skipped where there is no Chromium (Debian: `apt install chromium`)."""

import json
import shutil
import socket
import threading

import numpy as np
import pytest
import uvicorn

from tests.evaluation.sweeps import Shift, benchmark
from tests.evaluation.test_training_report import write_run
from v2v.app.vote_server import build_vote_server
from v2v.evaluation import study, training_report
from v2v.evaluation.cache import SweepCache
from v2v.evaluation.metrics.builtin import BUILTIN_METRICS
from v2v.evaluation.sweep import report, results, runner
from v2v.evaluation.sweep.methods import EditingMethod
from v2v.evaluation.sweep.sweep import Sweep
from v2v.evaluation.vote_store import VoteStore
from v2v.video.video import Video

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as p:
        chromium = p.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A sweep over an axis, with a failure and a hostile instruction."""
    home = tmp_path_factory.mktemp("pages")
    edits = [
        EditingMethod(
            f"by {n}", editor=lambda n=n: Shift(n, "dim the video 3"), revision=str(n), axes={"by": n}
        )
        for n in (0, 20, 40)
    ]
    bench = benchmark(home / "bench", n=4, T=12, H=48, W=64)
    object.__setattr__(
        bench.items[2], "instruction", "</script><script>throw Error('in')</script> brighten the video 2"
    )
    run = runner.run_sweep(Sweep(bench, edits, BUILTIN_METRICS, baseline="by 20"), SweepCache(home / "cache"))
    outcome = results.build_results(run)
    (home / "results.json").write_text(json.dumps(outcome.to_json()))
    (home / "report.html").write_text(report.build_report(outcome, SweepCache(home / "cache")))
    study.write_study(f"{home}:by 0", f"{home}:by 40", home / "study", SweepCache(home / "cache"))
    return home


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    page.set_default_timeout(60_000)
    page.trouble = []
    page.on("console", lambda m: page.trouble.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: page.trouble.append(str(e)))
    page.on("request", lambda r: page.trouble.append(r.url) if r.url.startswith("http") else None)
    yield page
    page.close()


def rows(page, table):
    return page.eval_on_selector_all(
        f"#{table} tbody tr",
        "trs => trs.map(t => [...t.children].map(c => c.firstChild ? c.firstChild.textContent : ''))",
    )


def level(page, k):
    """Mean level of what the k-th screen shows."""
    return page.evaluate(
        "k => { const c = document.querySelectorAll('#screens canvas')[k], d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        " let s = 0; for (let i = 0; i < d.length; i += 4) s += d[i] + d[i + 1] + d[i + 2]; return s / (d.length / 4 * 3); }",
        k,
    )


def wait_for_level(page, k, expected, tolerance=4):
    """Wait until the k-th screen shows a mean level: a player is there before its first frame is drawn."""
    for _ in range(100):
        if abs(level(page, k) - expected) < tolerance:
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"screen {k}: expected {expected}, got {level(page, k)}")


def test_odd_names_run_nothing_and_fit_a_phone(page, home):
    """Markup in names, and words as long as a line, in a copy of the report with its texts replaced."""
    text = (home / "report.html").read_text()
    evil = (
        r"\u003cimg src=x onerror='window.hacked=1'>\u003cscript>window.hacked=1\u003c/script>" + "long" * 90
    )
    odd = text.replace('"item3"', f'"{evil}"').replace('"by 20"', f'"20{evil}"').replace('"dim the', f'"{evil} the')  # fmt: skip
    assert odd.count("onerror") > 5
    (home / "odd.html").write_text(odd)
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"file://{home}/odd.html")
    page.wait_for_function("document.querySelectorAll('#items tbody tr').length === 4")
    for number in range(page.locator("#column option").count()):
        page.select_option("#column", index=number)
    page.select_option("#item", index=page.locator("#item option").count() - 1)
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_report_plays_sorts_and_is_quiet(page, home):
    page.goto(f"file://{home}/report.html")
    page.wait_for_function(
        "document.querySelectorAll('#screens canvas').length === 5 && players.length === 12"
    )
    labels = page.eval_on_selector_all("#screens figcaption", "f => f.map(x => x.firstChild.textContent)")
    assert labels == ["source", "by 0", "by 20", "by 40", "truth"]
    # Tables: best first after one click, worst first after two; sorting keeps every row.
    assert [r[0] for r in rows(page, "scores")] == ["by 0", "by 20", "by 40"]
    header = page.locator("#scores th", has_text="PSNR dB").first
    header.click()
    assert [r[0] for r in rows(page, "scores")] == ["by 40", "by 20", "by 0"] and header.get_attribute(
        "aria-sort"
    ) == "descending"
    header.click()
    assert [r[0] for r in rows(page, "scores")] == ["by 0", "by 20", "by 40"]
    assert "3 problems" in page.inner_text("#problems") and "out of luck" in page.inner_text("#problems")
    assert "1 of 4 failed" in page.inner_text("#scores")
    page.select_option("#column", "PSNR")
    # The column against seconds, and against the axis of the grid.
    assert page.locator("#plots svg circle").count() == 6 and page.locator("#wins tbody td").count() == 12
    assert [r[0] for r in rows(page, "kinds")] == ["brighten", "dim"]
    # Frames: all screens show the same moment, and the difference from the truth is nearly black for the right method.
    page.locator("#scrub").fill("7")
    page.wait_for_function(
        "players.frame === 7 && players.clips.every(c => Math.abs(c.video.currentTime - 7.5 / players.fps) < 1e-3)"
    )
    page.wait_for_timeout(100)
    assert level(page, 3) - level(page, 0) == pytest.approx(40, abs=3)
    page.select_option("#mode", "truth")
    page.wait_for_timeout(100)
    assert level(page, 3) < 12 < 60 < level(page, 1)  # four times 2 levels of coding noise; four times 40
    page.select_option("#mode", "plain")
    # Playing moves on, by itself and together.
    page.locator("#scrub").fill("0")
    page.select_option("#speed", "0.25")
    page.click("#play")
    page.wait_for_function("players.playing && players.frame >= 2")
    times = page.evaluate("players.clips.map(c => c.video.currentTime)")
    assert max(times) - min(times) < 2 / 25
    page.click("#play")
    assert page.evaluate("players.clips.every(c => c.video.paused)")
    # Items: a click shows its clips; a failed edit has none.
    page.locator("#items tr[data-item=item3]").click()
    page.wait_for_function("document.querySelectorAll('#screens canvas').length === 2")
    page.locator("#items tr[data-item=item2]").click()
    page.wait_for_function(
        "document.querySelectorAll('#screens canvas').length === 5 && players.length === 12"
    )
    assert "</script>" in page.inner_text("#sentence")
    assert "PSNR inside" in page.locator("#answers details", has_text="by 40").text_content()
    # Problems stand first and are found by their words; the address leads to an item.
    assert page.locator("#items tr.pick").first.get_attribute("data-item") == "item3"
    page.fill("#search", "LUCK dim")
    assert page.locator("#items tr.pick:visible").count() == 1 and page.inner_text("#found").startswith(
        "1 of 4"
    )
    page.fill("#search", "")
    page.check("#troubled")
    assert page.locator("#items tr.pick:visible").count() == 1
    page.goto(f"file://{home}/report.html#item=item1")
    page.wait_for_function("current === 'item1' && players.length === 12")
    assert page.trouble == []


def test_a_narrow_screen_scrolls_tables_and_not_the_page(page, home):
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"file://{home}/report.html")
    page.wait_for_function("players.length === 12")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("#scores td").first.bounding_box()["width"] > 60
    assert page.trouble == []


def test_a_rater_votes_by_keys_while_the_server_comes_and_goes(page, home):
    """What isn't confirmed is kept and sent again; a reload goes on where the rater was."""
    folder = home / "study"
    store = VoteStore(study.read_study(folder))
    rater = store.add_rater("ann")
    app, served = build_vote_server(study.read_study(folder), store), []

    def start(port: int) -> int:
        listener = socket.create_server(("127.0.0.1", port))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        served.append((server, thread))
        return listener.getsockname()[1]

    def stop() -> None:
        server, thread = served.pop()
        server.should_exit = server.force_exit = True
        thread.join()

    port = start(0)
    page.goto(f"http://127.0.0.1:{port}/r/{rater.token}")
    page.wait_for_function("players.length === 12 && players.clips.length === 3")
    assert page.locator("#after").is_disabled()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("document.getElementById('saved').textContent === 'all answers saved'")
    stop()
    page.keyboard.press("ArrowDown")
    page.wait_for_function("document.getElementById('saved').className === 'late'")
    assert len(store.read_votes()) == 1
    start(port)
    page.wait_for_function("!unsent.length")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_function("at === 1 && !unsent.length")
    assert [vote.choice for vote in store.read_votes()] == ["left", "tie", "right"]
    page.reload()
    page.wait_for_function("study && at === 1 && players.length === 12")
    page.click(".choice >> nth=1 >> button[data-value=right]")
    page.wait_for_function("!unsent.length")
    assert store.read_votes()[-1].question == "preservation"
    stop()
    store.close()
    # Its own requests, and those that found no server.
    own = (f"http://127.0.0.1:{port}/", "Failed to load resource: net::ERR_")
    assert [line for line in page.trouble if not line.startswith(own)] == []


@pytest.mark.parametrize("width", [1300, 390])
def test_page_of_training_runs(page, tmp_path, width):
    folders = [write_run(tmp_path / name, rate=rate) for name, rate in (("a", 1e-4), ("b", 3e-4))]
    previews = folders[0] / "edit" / "previews"
    previews.mkdir()
    hostile = "</script><script>throw Error('in')</script>"
    (previews / "clips.json").write_text(json.dumps([{"instruction": hostile, "target": True}]))
    for step, gray in ((2, 40), (4, 200)):
        frames = np.full((6, 32, 96, 3), gray, np.uint8)
        Video.from_array(frames, 10.0).save(previews / f"{step:07d}-0.mp4")
    (tmp_path / "page.html").write_text(
        training_report.build_training_report(training_report.find_runs(folders))
    )
    page.set_viewport_size({"width": width, "height": 900})
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_function("players.length === 6")
    assert [row[0] for row in rows(page, "runs")] == ["● ", "● "] and len(rows(page, "attempts")) == 4
    titles = page.eval_on_selector_all("#curves svg", "all => all.map(s => s.getAttribute('aria-label'))")
    assert titles[:1] == ["loss"] and "is the condition used?" in titles and "device memory" not in titles
    wait_for_level(page, 0, 200)
    page.select_option("#step", "2")
    page.wait_for_function("document.querySelector('#screens small').textContent.startsWith('step 2')")
    page.wait_for_function("players.length === 6")
    wait_for_level(page, 0, 40)
    page.hover("#curves svg")
    assert "step" in page.text_content("#curves figcaption")
    assert page.evaluate("document.documentElement.scrollWidth") <= width and page.trouble == []
