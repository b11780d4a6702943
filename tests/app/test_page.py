"""The page in a real browser, with the packaged model: paint, edit, cancel, download, refusal. Skipped where there is no Chromium."""

import re
import shlex
import shutil
import threading
import wave

import numpy as np
import pytest
import uvicorn

from tests.app.loopback_transcription import transcription_service
from v2v import EasyV2VEditor, read
from v2v.app.access import Tokens
from v2v.app.job_files import JobFiles
from v2v.app.job_store import JobStore
from v2v.app.page_info import PageInfo
from v2v.app.server import build_server
from v2v.app.speech import ServiceTranscriber
from v2v.app.worker import Worker, WorkerThread
from v2v.cli.main import main
from v2v.cli.serve import listen

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
expect = sync_api.expect
TOKEN = "t" * 24
PATIENCE = 120_000  # milliseconds; nothing is asserted about times


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser whose microphone hears a second of sound, then a pause, over and over."""
    path = tmp_path_factory.mktemp("sound") / "said.wav"
    sound = 12_000 * np.sin(np.arange(16_000) * 2 * np.pi * 440 / 16_000)
    with wave.open(str(path), "wb") as recording:
        recording.setparams((1, 2, 16_000, 0, "NONE", ""))
        recording.writeframes(np.concatenate([sound, np.zeros(64_000)]).astype("<i2").tobytes())
    fakes = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={path}"]  # fmt: skip
    with sync_api.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *fakes])
        expect.set_options(timeout=PATIENCE)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def transcriptions():
    with transcription_service() as service:
        yield service


@pytest.fixture(scope="module")
def address(tmp_path_factory, transcriptions):
    """A server with the packaged model and its worker, both in threads."""
    home = tmp_path_factory.mktemp("app")
    files, store = JobFiles(home / "files"), JobStore(f"sqlite:///{home / 'jobs.db'}")
    editor = EasyV2VEditor("embedded")
    info = PageInfo("embedded", editor.model.abilities, editor.model.config.flow.steps)
    app = build_server(
        store,
        files,
        model="embedded",
        tokens=Tokens({TOKEN: "me"}),
        info=info,
        transcriber=ServiceTranscriber(transcriptions.url, "whisper-1", "NO_KEY"),
    )
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    worker = WorkerThread.start(Worker(editor, store, files, "embedded"))
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server.should_exit = True
        thread.join(60)
    worker.stop()
    store.close()


@pytest.fixture
def page(browser, address):
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    page.set_default_timeout(PATIENCE)
    page.trouble = []
    page.on("console", lambda m: page.trouble.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: page.trouble.append(str(e)))
    page.on(
        "request", lambda r: page.trouble.append(r.url) if not r.url.startswith((address, "blob:")) else None
    )
    page.goto(f"{address}#token={TOKEN}")
    page.wait_for_selector("body[data-ready]")
    yield page
    page.close()


def take_sample(page):
    page.click("#sample")
    expect(page.locator("#editor")).to_be_visible()
    expect(page.locator("#clock")).to_have_text("0.00 s, frame 0")


def drag(page, *points):
    """Drag over the picture through points, shares of its width and height."""
    box = page.locator("#overlay").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


def painted(page):
    """Share of the picture that the mask of this frame covers."""
    return page.evaluate(
        "() => { const c = document.getElementById('overlay'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        " let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 90; return n / (c.width * c.height); }"
    )


def test_paint_follow_edit_compare_download(page, tmp_path):
    take_sample(page)
    assert TOKEN not in page.url  # the address can be shown to others
    page.fill("#prompt", "make it sepia")
    expect(page.locator("#plan")).to_have_text("Understood: sepia")
    # Brush, undo, redo, erase, box.
    page.keyboard.press("Tab")
    page.click("[data-tool=brush]")
    drag(page, (0.2, 0.3), (0.4, 0.3), (0.4, 0.6))
    brushed = painted(page)
    page.click("#undo")
    assert brushed > 0.01 and painted(page) < 0.01
    page.click("#redo")
    assert painted(page) == pytest.approx(brushed, abs=0.005)
    page.keyboard.press("x")
    drag(page, (0.5, 0.2), (0.9, 0.8))
    boxed = painted(page)
    assert boxed == pytest.approx(brushed + 0.4 * 0.6, abs=0.02)
    page.keyboard.press("e")
    drag(page, (0.5, 0.5), (0.9, 0.5))
    assert painted(page) < boxed - 0.02
    # The mask follows the clip, and is seen on a frame where nothing was painted.
    page.click("#preview")
    expect(page.locator("#mask-text")).to_have_text(re.compile("^covers"))
    page.click("#forward")
    expect(page.locator("#clock")).to_have_text("0.04 s, frame 1")
    page.wait_for_timeout(300)
    page.keyboard.press("v")
    assert painted(page) == pytest.approx(boxed - 0.04, abs=0.04)
    # A part of the clip.
    page.fill("#end", "0.4")
    page.locator("#end").press("Tab")
    page.locator("#more summary").click()
    page.fill("#seed", "3")
    page.fill("#steps", "4")
    page.locator("#playhead").press("End")
    page.locator("#prompt").press("Control+Enter")
    expect(page.locator("#running")).to_be_visible()
    expect(page.locator("#done")).to_be_visible()
    expect(page.locator("#viewer")).to_have_attribute("data-view", "wipe")
    expect(page.locator("#result")).to_be_visible()
    expect(page.locator("#clock")).to_have_text("0.00 s, frame 0")  # not where nothing was edited
    for view in ("result", "difference", "wipe"):  # choosing one moves nothing
        page.locator(f"[data-view={view}]").click()
        assert page.locator("#tools").bounding_box()["height"] < 60
    page.locator("#wipe").fill("20")
    assert (
        page.evaluate("getComputedStyle(document.getElementById('screen')).getPropertyValue('--wipe')")
        == "20%"
    )
    page.locator("[data-view=difference]").click()
    expect(page.locator("#result")).to_have_css("mix-blend-mode", "difference")
    # The command makes the same clip of the same files.
    with page.expect_download() as download:
        page.click("#download")
    download.value.save_as(tmp_path / "page.mp4")
    assert download.value.suggested_filename == "sample-make-it-sepia.mp4"
    page.locator("#command-box summary").click()
    expect(page.locator("#command")).to_have_text(re.compile("^v2v edit sample.mp4 'make it sepia'"))
    words = shlex.split(page.inner_text("#command"))
    assert words[words.index("--mask") + 1] == "mask.mp4" and words[words.index("--seed") + 1] == "3"
    for name in ("sample.mp4", "mask.mp4"):
        with page.expect_download() as download:
            page.get_by_role("button", name=name, exact=True).click()
        download.value.save_as(tmp_path / name)
    files = {name: str(tmp_path / name) for name in ("sample.mp4", "mask.mp4", "edited.mp4")}
    assert main([files.get(word, word) for word in words[1:]] + ["--quiet"]) == 0
    ours, theirs = read(tmp_path / "edited.mp4").frames, read(tmp_path / "page.mp4").frames
    np.testing.assert_array_equal(ours, theirs)
    source = read(tmp_path / "sample.mp4").frames
    assert np.abs(theirs[5, 120:200, 340:560].astype(int) - source[5, 120:200, 340:560]).mean() > 5
    assert np.abs(theirs[30].astype(int) - source[30]).mean() < 2  # beyond the time range
    # Opened again from the history it has its painted frame, and the mask of the others.
    page.reload()
    page.wait_for_selector("body[data-ready]")
    page.locator("#jobs .job").first.click()
    expect(page.locator("#done")).to_be_visible()
    expect(page.locator("[data-place=paint]")).to_have_attribute("aria-checked", "true")
    expect(page.locator("#marks span")).to_have_count(1)
    expect(page.locator("#viewer")).to_have_attribute("data-view", "wipe")
    page.locator("#views [data-view=source]").click()
    assert painted(page) == pytest.approx(boxed - 0.04, abs=0.04)
    page.click("#forward")
    page.wait_for_timeout(500)
    assert painted(page) == pytest.approx(boxed - 0.04, abs=0.04)
    page.click("#preview")  # the mask is made anew of what was painted
    expect(page.locator("#mask-text")).to_have_text(re.compile("^covers"))
    assert page.trouble == []


def test_cancel_history_and_a_sentence_that_is_refused(page):
    take_sample(page)
    page.fill("#prompt", "make the sky dance")
    expect(page.locator("#plan")).to_have_text(re.compile("instruction: .*dance"))
    page.click("#edit")
    expect(page.locator("#error")).to_have_text(re.compile("^instruction: .*dance"))
    assert "\n" not in page.inner_text("#error")
    page.get_by_role("button", name="winter", exact=True).click()
    page.locator("#more summary").click()
    page.fill("#steps", "200")
    page.click("#edit")
    expect(page.locator("#stage-text")).not_to_be_empty()
    page.click("#cancel")
    expect(page.locator("#edit")).to_be_visible()
    expect(page.locator("#done")).to_be_hidden()
    jobs = page.locator("#jobs li")
    expect(jobs.nth(0).locator("small")).to_have_text(re.compile("^canceled"))
    expect(jobs.nth(1).locator("small")).to_have_text(re.compile("^failed"))
    # A job of the history brings its settings back, also after the page was opened anew.
    page.reload()
    page.wait_for_selector("body[data-ready]")
    page.locator("#jobs .job").nth(1).click()
    expect(page.locator("#prompt")).to_have_value("make the sky dance")
    count = page.locator("#jobs li").count()
    page.get_by_role("button", name="Delete make the sky dance").click()
    expect(page.locator("#jobs li")).to_have_count(count - 1)
    assert [text for text in page.trouble if "400" not in text] == []


def test_keyboard_alone_and_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 844})
    take_sample(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    # Everything that can be pressed has a name.
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, select, textarea, canvas:not([aria-hidden]), [role=slider]')].filter(e => e.offsetParent && "
        "!(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.labels?.length || e.textContent.trim())).map(e => e.outerHTML)"
    )
    assert unnamed == []
    page.locator("#handle-start").press("PageUp")
    page.locator("#handle-end").press("End")
    assert float(page.input_value("#start")) > 0
    page.locator("#playhead").press("ArrowRight")
    page.keyboard.press("b")
    overlay = page.locator("#overlay")
    for key in ("ArrowRight", "ArrowRight", " "):
        overlay.press(key)
    assert painted(page) > 0.002
    page.keyboard.press("x")
    for key in ("Enter", "Shift+ArrowRight", "Shift+ArrowDown", "Enter"):
        overlay.press(key)
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    assert painted(page) < 0.002
    # A long word, as a file's name is one, is broken.
    for id in ("notes", "plan", "error", "banner"):
        page.evaluate(
            f"document.getElementById('{id}').textContent = 'x'.repeat(200); for (let e = document.getElementById('{id}'); e; e = e.parentElement) e.hidden = false"
        )
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.click("#help")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    assert page.trouble == []


def test_what_is_said_becomes_the_sentence(browser, address):
    page = browser.new_page()
    page.add_init_script(
        "window.SpeechRecognition = window.webkitSpeechRecognition = class { start() { setTimeout(() => { "
        "this.onresult({ results: [[{ transcript: 'make it night' }]] }); this.onend(); }, 50); } stop() {} }"
    )
    page.goto(f"{address}#token={TOKEN}")
    page.wait_for_selector("body[data-ready]")
    page.get_by_role("button", name="Speak the instruction").click()
    expect(page.locator("#prompt")).to_have_value("make it night")
    expect(page.locator("#plan")).to_have_text("Understood: night")
    expect(page.locator("#speak")).to_have_attribute("aria-pressed", "false")
    page.close()


def test_the_server_writes_down_what_the_browser_can_not(browser, address, transcriptions, monkeypatch):
    page = browser.new_page()
    # A recognition without a service behind it, as of Chromium that isn't Chrome.
    page.add_init_script(
        "window.SpeechRecognition = window.webkitSpeechRecognition = class { start() { setTimeout(() => { "
        "this.onerror({ error: 'network' }); this.onend(); }, 50); } stop() {} }"
    )
    page.goto(f"{address}#token={TOKEN}")
    page.wait_for_selector("body[data-ready]")
    page.get_by_role("button", name="Speak the instruction").click()
    expect(page.locator("#speech-status")).to_have_text("Listening …")
    # A pause ends the recording.
    expect(page.locator("#prompt")).to_have_value("make it night")
    expect(page.locator("#plan")).to_have_text("Understood: night")
    samples, rate = (transcriptions.requests[-1][name] for name in ("samples", "rate"))
    assert rate == 16_000 and len(samples) > 16_000
    spectrum = np.abs(np.fft.rfft(samples))
    assert abs(spectrum.argmax() * rate / len(samples) - 440) < 10  # what the microphone heard
    # Spoken again it is added; the button ends the recording, as does its key.
    monkeypatch.setattr(transcriptions, "answer", b'{"text": "and warmer"}')
    page.locator("#model").click()
    page.get_by_role("button", name="Speak the instruction").press("Enter")
    page.wait_for_timeout(500)
    page.get_by_role("button", name="Stop listening").press("Enter")
    expect(page.locator("#prompt")).to_have_value("make it night and warmer")
    for status, answer, text in (
        (500, b"", "answered HTTP 500; type the sentence"),
        (200, b'{"text": ""}', "Nothing could be understood"),
    ):
        monkeypatch.setattr(transcriptions, "status", status)
        monkeypatch.setattr(transcriptions, "answer", answer)
        page.click("#speak")
        page.wait_for_timeout(300)
        page.click("#speak")
        expect(page.locator("#error")).to_contain_text(text)
        expect(page.locator("#speak")).to_have_attribute("aria-pressed", "false")
    page.close()


def test_pointing_marks_a_thing_that_the_sentence_calls_this(page):
    take_sample(page)
    page.click("[data-tool=point]")
    # An arrow to the rabbit, and what it marks is taken back and restored.
    drag(page, (0.55, 0.85), (0.32, 0.6), (0.37, 0.6), (0.32, 0.6), (0.33, 0.67))
    expect(page.locator("#mask-text")).to_have_text(re.compile("^thing added"))
    marked = painted(page)
    assert 0.05 < marked < 0.2
    page.keyboard.press("Control+z")
    assert painted(page) < 0.01
    page.keyboard.press("Control+Shift+z")
    assert painted(page) == pytest.approx(marked, abs=0.01)
    # An outline is added; the keyboard points as well.
    drag(page, (0.7, 0.1), (0.9, 0.1), (0.9, 0.3), (0.7, 0.3), (0.7, 0.12))
    expect(page.locator("#mask-text")).to_have_text(re.compile("^area added"))
    assert painted(page) == pytest.approx(marked + 0.2 * 0.2, abs=0.015)
    page.click("#clear")
    page.locator("#overlay").press("ArrowLeft")
    page.locator("#overlay").press("Enter")
    expect(page.locator("#mask-text")).to_have_text(re.compile("^thing added"))
    assert painted(page) > 0.001
    page.fill("#prompt", "make this area darker")
    expect(page.locator("#plan")).to_have_text("Understood: darker")
    page.locator("[data-place='']").click()
    expect(page.locator("#plan")).to_have_text(re.compile("area"))
    assert [text for text in page.trouble if "400" not in text] == []


def test_without_a_token_it_asks(browser, address):
    page = browser.new_page()
    page.goto(address)
    expect(page.locator("#token-dialog")).to_be_visible()
    page.fill("#token", TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator("#looks button").first).to_be_visible()
    page.close()
