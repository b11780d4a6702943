"""`v2v app`: settings that don't fit end in one line; the address with its token is told, and works for that token alone."""

import re
import socket
import subprocess
import sys

import httpx
import pytest


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--port", "70000"], "--port: expected 0 to 65535"),
        (["--max-upload", "0"], "--max-upload: expected more than 0"),
        (["--files", "file/inside"], "--files"),
    ],
)
def test_bad_settings(v2v, capsys, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    code, output = v2v("app", "--no-browser", *words), capsys.readouterr().err
    assert code == 2 and message in output and "Traceback" not in output


def test_a_port_in_use(v2v, capsys, tmp_path):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        code = v2v("app", "--no-browser", "--files", tmp_path / "app", "--port", port)
    assert code == 2 and f"--port {port}" in capsys.readouterr().err


@pytest.mark.slow
def test_the_address_and_its_token(tmp_path):
    words = [sys.executable, "-m", "v2v", "app", "--no-browser", "--files", tmp_path / "app"]
    server = subprocess.Popen([str(word) for word in words], stderr=subprocess.PIPE, text=True)
    try:
        for line in server.stderr:
            if match := re.search(r"(http://127\.0\.0\.1:\d+/)#token=(\S{32})$", line.strip()):
                break
        address, token = match.groups()
        client = httpx.Client(base_url=address, timeout=300, transport=httpx.HTTPTransport(retries=20))
        assert "What should change?" in client.get("/").text
        assert client.get("/v1/page").status_code == 401
        told = client.get("/v1/page", headers={"Authorization": f"Bearer {token}"}).json()
        assert told["model"] == "embedded" and len(told["looks"]) > 5 and told["steps"] > 0
    finally:
        server.terminate()
        assert server.wait(300) == 0
