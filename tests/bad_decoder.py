"""A decoder that fails at files called bad.*, as native libraries do: for tests of what goes on without it."""

from v2v.video import decoding_process

FAILURES = {
    "abort": "os.abort()",
    "segfault": "ctypes.string_at(0)",
    "exit": "os._exit(3)",
    "hang": "time.sleep(1000)",
    "none": "pass",
}
PROGRAM = """\
import ctypes, json, os, sys, time
sys.path[:] = json.loads(sys.argv[1])
from v2v.video import decoder
from v2v.video.decoding_worker import serve

plain_decode = decoder._decode

def decode(container, path, *args):
    for number, frame in enumerate(plain_decode(container, path, *args)):
        if path.stem.startswith("bad") and number == FRAME:
            FAILURE
        yield frame

decoder._decode = decode
serve(*map(int, sys.argv[2:]))
"""


def replace_decoder(monkeypatch, failure: str, frame: int) -> None:
    """Let the children of this process fail at a frame of files called bad.*, until the test ends."""
    program = PROGRAM.replace("FRAME", str(frame)).replace("FAILURE", FAILURES[failure])
    monkeypatch.setattr(decoding_process, "PROGRAM", program)
    monkeypatch.setattr(decoding_process, "_idle", [])
