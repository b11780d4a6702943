"""The child process of a Python expert: `python -m data_synth.experts.child package.module:function FD PARENT`.

`remote.ChildExpert` → socket FD → **child** → the function. Requests and answers are those of `wire.py`; an answer starts with
`ANSWER_TAG`, the text of an exception with `ERROR_TAG`. Output of the function goes to the standard error of the parent PARENT, a
process id; the child ends when the parent does.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any, cast

import numpy as np

from data_synth.experts import wire
from data_synth.experts.base import ExpertFunction

ANSWER_TAG, ERROR_TAG = b"A", b"E"


def serve_requests(call: str, pipe: Connection) -> None:
    """Answer requests until the parent closes the connection.

    Args:
      call: "package.module:function". An import error is the answer to every request, as the parent does not listen earlier.
      pipe: Connection to the parent.
    """
    function, import_error = _import_function(call)
    while True:
        try:
            data = pipe.recv_bytes()
        except EOFError:
            return
        try:
            answer = (
                ANSWER_TAG + _pack(function(wire.unpack_jobs(data)))
                if function
                else ERROR_TAG + import_error.encode()
            )
        except Exception as error:  # an exception of the function is an answer; the process goes on
            answer = ERROR_TAG + f"{type(error).__name__}: {error}".encode()
        pipe.send_bytes(answer)


def _pack(results: Sequence[Any]) -> bytes:
    """Encode clips, or what an expert that writes returns instead."""
    if all(isinstance(result, np.ndarray) for result in results):
        return wire.pack_clips(cast(Sequence[np.ndarray], results))
    return wire.pack_texts(results)


def exit_with_parent(parent: int) -> None:
    """End this process once its parent is gone: a function that hangs would never see the connection close.

    Args:
      parent: Process id of the parent as it states it; `os.getppid` here could come too late.
    """
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _import_function(call: str) -> tuple[ExpertFunction | None, str]:
    """Return the function, or the text of the error."""
    module, _, name = call.partition(":")
    try:
        return getattr(importlib.import_module(module), name), ""
    except Exception as error:  # importing runs foreign code, which may raise anything
        return None, f"ImportError: {call}: {error}"


if __name__ == "__main__":
    threading.Thread(target=exit_with_parent, args=(int(sys.argv[3]),), daemon=True).start()
    serve_requests(sys.argv[1], Connection(int(sys.argv[2])))
