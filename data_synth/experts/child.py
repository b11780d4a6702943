"""The child process of a Python expert: `python -m data_synth.experts.child package.module:function FD`.

remote.Child → socket → **child** → the function. Requests and answers are those of `wire.py`; an answer starts with
b"A", the text of an exception with b"E". What the function prints goes where the parent's output goes.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from multiprocessing.connection import Connection

from data_synth.experts import wire


def serve_requests(call: str, pipe: Connection) -> None:
    """Answers requests until the parent hangs up."""
    module, _, name = call.partition(":")
    function, trouble = None, ""
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:  # reported with the first request: the parent is not listening yet
        trouble = f"ImportError: {call}: {error}"
    while True:
        try:
            data = pipe.recv_bytes()
        except EOFError:
            return
        try:
            answer = (
                b"A" + wire.pack_clips(function(wire.unpack_jobs(data)))
                if function
                else b"E" + trouble.encode()
            )
        except Exception as error:  # an expert's failure is an answer, not our end
            answer = b"E" + f"{type(error).__name__}: {error}".encode()
        pipe.send_bytes(answer)


def exit_with_parent(parent: int) -> None:
    """Ends this process once its parent is gone: a function that hangs would never see the pipe close.

    Args: parent: its number as it says itself: it may be gone before we could ask.
    """
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=exit_with_parent, args=(int(sys.argv[3]),), daemon=True).start()
    serve_requests(sys.argv[1], Connection(int(sys.argv[2])))
