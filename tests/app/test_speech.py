"""Spoken instructions: recordings that are read, a service that writes them down, pocketsphinx, limits and bad input."""

import importlib.util
import io
import shutil
import subprocess
import wave
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

import v2v.assets
from tests.app.loopback_transcription import transcription_service
from v2v import InputError
from v2v.app import speech_routes
from v2v.app.access import Tokens
from v2v.app.job_files import JobFiles
from v2v.app.server import build_server
from v2v.app.speech import (
    MOST_BYTES,
    RATE,
    LocalTranscriber,
    ServiceTranscriber,
    SpeechError,
    clean_text,
    find_transcriber,
    read_recording,
    write_recording,
)
from v2v.language.abilities import load_abilities
from v2v.language.spoken import list_spoken_sentences

TONE = (8000 * np.sin(np.arange(RATE) * 2 * np.pi * 440 / RATE)).astype(np.int16)


def record(samples, rate=RATE, channels=1, width=2):
    file = io.BytesIO()
    with wave.open(file, "wb") as recording:
        recording.setparams((channels, width, rate, 0, "NONE", ""))
        recording.writeframes(samples.tobytes())
    return file.getvalue()


def read(data):
    return read_recording(io.BytesIO(data))


@pytest.fixture(scope="module")
def service():
    with transcription_service() as service:
        yield service


@pytest.fixture
def http(tmp_path):
    """Connect to a server with a transcriber; nothing of it needs the store."""

    def connect(transcriber):
        files = JobFiles(tmp_path / "files")
        tokens = Tokens({"t" * 20: "ann"})
        app = build_server(None, files, model="fake", tokens=tokens, transcriber=transcriber)
        return TestClient(app, headers={"Authorization": "Bearer " + "t" * 20})

    return connect


def send(http, data, name="speech.wav"):
    answer = http.post("/v1/audio/transcriptions", files={"file": (name, data)})
    return answer.status_code, answer.json()


def test_recordings_are_read_at_one_rate():
    np.testing.assert_array_equal(read(write_recording(TONE)), TONE)
    stereo = np.stack([TONE, np.zeros_like(TONE)], 1)
    np.testing.assert_allclose(read(record(stereo, channels=2)), TONE / 2, atol=1)
    for rate in (8000, 44_100, 48_000):  # the same tone, sampled otherwise
        tone = (8000 * np.sin(np.arange(rate) * 2 * np.pi * 440 / rate)).astype(np.int16)
        resampled = read(record(tone, rate))
        assert len(resampled) == RATE and np.abs(resampled - TONE.astype(float)).max() < 40
    whole = record(TONE)
    assert len(read(whole[:-101])) == RATE - 51  # broken off


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "WAV recording"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "WAV recording"),
        (b"RIFF\xff\xff\xff\xffWAVE", "WAV recording"),
        (record(TONE, width=1), "got 8 bits"),
        (record(np.zeros(12, np.int16), channels=3), "got 16 bits in 3"),
        (record(TONE, rate=1), "8000 to 96000 Hz, got 1 Hz"),
        (record(TONE[:0]), "without sound"),
        (record(np.zeros(61 * 8000, np.int16), rate=8000), "at most 60 seconds"),
    ],
    ids=["empty", "picture", "header", "8 bits", "channels", "rate", "no samples", "too long"],
)
def test_what_is_no_recording(data, message):
    with pytest.raises(InputError, match=message):
        read(data)


def test_a_service_writes_it_down_and_its_key_goes_nowhere_else(service, http, monkeypatch):
    monkeypatch.setenv("SPEECH_KEY", "secret-of-ours")
    client = http(ServiceTranscriber(service.url + "/", "whisper-x", "SPEECH_KEY"))
    page = client.get("/v1/page")
    assert page.json()["speech"] == {"by": "service", "seconds": 60.0, "remedy": ""}
    assert "secret" not in page.text and "127.0.0.1" not in page.text
    assert send(client, record(np.repeat(TONE, 2), 32_000)) == (200, {"text": "make it night"})
    told = service.requests[-1]
    assert told["path"] == "/v1/audio/transcriptions" and told["model"] == "whisper-x"
    assert told["authorization"] == "Bearer secret-of-ours" and told["rate"] == RATE
    assert len(told["samples"]) == RATE and told["samples"].std() > 1000
    monkeypatch.delenv("SPEECH_KEY")
    ServiceTranscriber(service.url, "x", "SPEECH_KEY").transcribe(TONE)
    assert service.requests[-1]["authorization"] is None


@pytest.mark.parametrize(
    ("status", "answer", "message"),
    [
        (401, b'{"error": "wrong key secret-of-ours"}', "answered HTTP 401"),
        (302, b"", "answered HTTP 302"),
        (200, b"<html>", "answered no text"),
        (200, b'{"text": 5}', "answered no text"),
        (200, b"[" * 100_000, "answered no text"),
        (200, bytes(2**20 + 1), "far more than a sentence"),
    ],
    ids=["key", "redirect", "page", "number", "nested", "large"],
)
def test_a_service_that_fails_is_told_in_one_line(service, monkeypatch, status, answer, message):
    monkeypatch.setattr(service, "status", status)
    monkeypatch.setattr(service, "answer", answer)
    with pytest.raises(SpeechError, match=message) as error:
        ServiceTranscriber(service.url, "x", "NO_KEY").transcribe(TONE[:160])
    assert "secret" not in str(error.value) and "\n" not in str(error.value)


def test_a_service_that_is_not_there(http):
    code, told = send(http(ServiceTranscriber("http://127.0.0.1:9/v1", "x", "NO_KEY", 5)), record(TONE))
    text = told["error"]["message"]
    assert code == 502 and "can't be reached (" in text and "type the sentence" in text and "\n" not in text
    with pytest.raises(InputError, match="--speech localhost:8000: expected an address"):
        find_transcriber("localhost:8000")


def test_without_anything_that_could_write_it_down(http, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert find_transcriber() is None
    client = http(None)
    told = client.get("/v1/page").json()["speech"]
    assert told["by"] == "" and "--speech URL" in told["remedy"] and "v2v-edit[speech]" in told["remedy"]
    code, answer = send(client, record(TONE))
    assert code == 501 and answer["error"]["code"] == "no_speech"


def test_limits_and_whoever_has_no_token(http, monkeypatch):
    client = http(LocalTranscriber())
    assert client.post("/v1/audio/transcriptions", headers={"Authorization": ""}).status_code == 401
    assert send(client, bytes(MOST_BYTES))[0] == 413
    code, told = send(client, b"<html>", "page.wav")
    assert code == 400 and "WAV recording" in told["error"]["message"]
    monkeypatch.setattr(LocalTranscriber, "transcribe", lambda self, samples: "make it sepia")
    missing = client.post("/v1/audio/transcriptions", data={"file": "text"})
    assert missing.status_code == 400 and "file: expected a recording" in missing.text
    monkeypatch.setattr(speech_routes, "MOST_PER_MINUTE", 3)
    assert send(client, record(TONE)) == (200, {"text": "make it sepia"})
    code, answer = send(client, record(TONE))
    assert code == 429 and answer["error"]["code"] == "too_fast"


def test_texts_become_one_line():
    assert clean_text(" make\nit\t\x1b[31m night\u2028 ") == "make it [31m night"
    assert len(clean_text("a" * 9000)) == 4000


def test_sentences_that_may_be_said_name_what_the_model_can_do():
    sentences = list_spoken_sentences(load_abilities(Path(v2v.assets.__file__).parent / "embedded"))
    assert {"make it sepia", "remove the red ball", "make it darker in the left half", "make the ball blue"} <= {*sentences}  # fmt: skip
    assert not any(
        "," in sentence or "  " in sentence or sentence != sentence.lower() for sentence in sentences
    )


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("pocketsphinx") is None, reason="needs pocketsphinx")
@pytest.mark.skipif(shutil.which("flite") is None, reason="needs flite, which speaks")
def test_pocketsphinx_hears_what_flite_says(tmp_path):
    local = LocalTranscriber(
        list_spoken_sentences(load_abilities(Path(v2v.assets.__file__).parent / "embedded"))
    )
    said = ["make it look like winter", "make it sepia", "make it black and white", "remove the red ball", "make it darker in the left half"]  # fmt: skip
    for voice in ("slt", "rms"):
        heard = []
        for number, sentence in enumerate(said):
            path = tmp_path / f"{voice}{number}.wav"
            subprocess.run(["flite", "-voice", voice, "-t", sentence, "-o", str(path)], check=True)
            heard.append(local.transcribe(read(path.read_bytes())))
        assert heard == said
    assert local.transcribe(np.zeros(RATE, np.int16)) == ""
    at_large = LocalTranscriber().transcribe(read((tmp_path / "slt0.wav").read_bytes()))
    assert at_large == said[0]
