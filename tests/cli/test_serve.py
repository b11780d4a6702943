"""`v2v serve`: settings that don't fit end in one line before anything is loaded."""

import socket
import subprocess
import sys
import time

import httpx
import pytest

from tests.example_clips import picture
from tests.example_clips import write as make


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--host", "0.0.0.0"], "others could use this server"),
        (["--host", "my.machine"], "others could use this server"),
        (["--port", "70000"], "--port: expected 0 to 65535"),
        (["--max-seconds", "0"], "--max-seconds: expected more than 0"),
        (["--keep", "-1"], "--keep: expected more than 0"),
        (["--tokens", "missing.txt"], "--tokens missing.txt"),
        (["--store", "nonsense"], "--store nonsense"),
        (["--store", "@missing.txt"], "--store @missing.txt: expected a text file with the address"),
        (["--batch", "0"], "--batch: expected more than 0"),
        (["--role", "queen"], "--role: expected one of all, http, worker, got 'queen'"),
    ],
)
def test_bad_settings(v2v, capsys, tmp_path, words, message):
    code, output = v2v("serve", "--files", tmp_path / "jobs", *words), capsys.readouterr().err
    assert code == 2 and message in output and "Traceback" not in output


def test_files_that_cannot_be_a_folder(v2v, capsys, tmp_path):
    (tmp_path / "file").touch()
    code, output = v2v("serve", "--files", tmp_path / "file" / "jobs"), capsys.readouterr().err
    assert code == 2 and "--files" in output


def test_a_port_in_use(v2v, capsys, tmp_path):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        code, output = (
            v2v("serve", "--files", tmp_path / "jobs", "--role", "http", "--port", port),
            capsys.readouterr().err,
        )
    assert code == 2 and f"--port {port}" in output


@pytest.mark.slow
def test_a_signal_gives_the_job_back(tmp_path):
    """SIGTERM ends server and worker with code 0; what was being edited waits again, and a second server does it."""
    clip = tmp_path / "in.mp4"
    make(clip, picture(5, 64, 64))

    def start(role):
        words = [
            sys.executable,
            "-m",
            "v2v",
            "serve",
            "--files",
            tmp_path / "jobs",
            "--port",
            port,
            "--role",
            role,
        ]
        return subprocess.Popen([str(word) for word in words], stderr=subprocess.PIPE, text=True)

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = start("http")
    address = f"http://127.0.0.1:{port}/v1/videos"
    client = httpx.Client(transport=httpx.HTTPTransport(retries=0), timeout=60)
    for _ in range(600):
        try:
            id = client.post(
                address, files={"video": clip.read_bytes()}, data={"prompt": "make it sepia"}
            ).json()["id"]
            break
        except httpx.ConnectError:
            time.sleep(0.1)
    worker = start("worker")
    while client.get(f"{address}/{id}").json()["status"] == "queued":
        time.sleep(0.02)
    worker.terminate()
    assert worker.wait(120) == 0
    assert client.get(f"{address}/{id}").json()["status"] in ("queued", "completed")
    second = start("worker")
    while client.get(f"{address}/{id}").json()["status"] != "completed":
        assert second.poll() is None
        time.sleep(0.1)
    assert client.get(f"{address}/{id}/content").content[4:8] == b"ftyp"
    for process in (second, server):
        process.terminate()
    assert second.wait(120) == server.wait(120) == 0
