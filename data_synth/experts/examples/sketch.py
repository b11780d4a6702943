"""An example expert: a pencil sketch, x = 255 Y / blur(Y) on inverted light, as plain Python, as a program, as a service.

What stands between a network and the engine is this little. Replace `sketch` by the network and keep the rest:

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
    """One clip, uint8 [T, H, W, 3], for each job."""
    return [np.stack([_sketch_frame(frame) for frame in job.clip]) for job in jobs]


def service(port: int) -> ThreadingHTTPServer:
    """An HTTP server on this machine alone; call serve_forever(). Port 0 picks a free one."""

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
    soft = 255 - cv2.GaussianBlur(255 - luma, (0, 0), max(1.0, min(luma.shape) / 32))
    return np.repeat(cv2.divide(luma, soft, scale=255)[..., None], 3, -1)


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        service(int(sys.argv[2])).serve_forever()
    jobs_path, answers_path = map(Path, sys.argv[1:])
    answers_path.write_bytes(wire.pack_clips(sketch(wire.unpack_jobs(jobs_path.read_bytes()))))
