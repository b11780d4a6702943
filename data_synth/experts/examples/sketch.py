"""An example expert, a pencil sketch: x = 255 Y / (255 - blur(255 - Y)), as a Python callable, a program and a service.

Replace `sketch` by a network and keep the rest:

    python  sketch.toml           the engine calls sketch(jobs) in a process of its own
    command sketch_command.toml   python sketch.py JOBS ANSWERS
    http    sketch_service.toml   python sketch.py --serve 8765    (run it first)

    v2v synth --out pairs --pairs 8 --recipes to-sketch,from-sketch --expert data_synth/experts/examples/sketch.toml
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np

from data_synth.experts import wire


def sketch(jobs: Sequence[wire.Job]) -> list[np.ndarray]:
    """Return one clip, uint8 [T, H, W, 3], for each job."""
    return [np.stack([_sketch_frame(frame) for frame in job.clip]) for job in jobs]


def service(port: int) -> ThreadingHTTPServer:
    """Return an HTTP server that only this machine reaches; call `serve_forever()` on it.

    Args:
      port: Port to listen on; 0 picks a free one.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer = wire.pack_clips(
                sketch(wire.unpack_jobs(self.rfile.read(int(self.headers["Content-Length"]))))
            )
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def _sketch_frame(frame: np.ndarray) -> np.ndarray:
    luma = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    blurred = 255 - cv2.GaussianBlur(255 - luma, (0, 0), max(1.0, min(luma.shape) / 32))
    return np.repeat(cv2.divide(luma, blurred, scale=255)[..., None], 3, -1)


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        service(int(sys.argv[2])).serve_forever()
    jobs_path, answers_path = map(Path, sys.argv[1:])
    answers_path.write_bytes(wire.pack_clips(sketch(wire.unpack_jobs(jobs_path.read_bytes()))))
