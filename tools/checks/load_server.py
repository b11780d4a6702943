"""Load `v2v serve` on this machine, kill it once in between, and count what was lost.

    python tools/checks/load_server.py --jobs 200 --clients 20

Clients send clips of 9x64x64 frames and wait for each; at half of the jobs the server gets SIGKILL and is started again. Every accepted job must be
completed with a clip of all frames. Resident memory is read after every 20 jobs of a process; what counts is the growth from the 20th job of the
process that does the last one to that last one. With --no-kill one process does them all. Prints one JSON line; exit code 1 if a job was lost or memory
grew by more than a tenth.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import tyro

from v2v.video.video import Video, read_video

# Seconds after which a client gives up.
_PATIENCE = 4 * 3600
# Seconds between a client's questions: twenty of them, asking more often, would keep the server busy with answers.
_POLL = 0.5
# Jobs between readings of memory.
_INTERVAL = 20


@dataclasses.dataclass
class Args:
    """The command line; the comments are its help."""

    jobs: int = 200
    clients: int = 20
    kill: bool = True  # SIGKILL at half of the jobs
    batch: int = 4  # of the server


@dataclasses.dataclass
class Tally:
    """What clients have seen; `lock` guards it."""

    done: int = 0
    refused: int = 0
    lost: list[str] = dataclasses.field(default_factory=list)
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)


class Server:
    """`v2v serve` in a process of its own."""

    def __init__(self, files: Path, port: int, batch: int):
        self._words = [
            sys.executable, "-m", "v2v", "serve", "--files", str(files), "--port", str(port), "--max-waiting", "1000", "--max-rate", "100000",
            "--batch", str(batch),
        ]  # fmt: skip
        self.address = f"http://127.0.0.1:{port}"
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.process = subprocess.Popen(self._words)
        for _ in range(1200):
            try:
                httpx.get(f"{self.address}/healthz", timeout=5)
                return
            except httpx.HTTPError:
                time.sleep(0.2)
        raise SystemExit("the server doesn't answer")

    def resident_mib(self) -> int:
        """Return the resident memory of the process."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)


def send_jobs(address: str, clip: bytes, count: int, first: int, tally: Tally) -> None:
    """Send jobs one after the other, and wait for each."""
    client = httpx.Client(base_url=address, timeout=60)
    for seed in range(first, first + count):
        fields = {"prompt": "make it sepia", "seed": str(seed)}
        answer = _insist(
            client, "POST", "/v1/videos", files={"video": ("in.mp4", clip)}, data=fields, tally=tally
        )
        id, end = answer.json()["id"], time.monotonic() + _PATIENCE
        status = "queued"
        while status in ("queued", "in_progress") and time.monotonic() < end:
            time.sleep(_POLL)
            job = _insist(client, "GET", f"/v1/videos/{id}", tally=tally).json()
            status = job.get("status", "missing")
        whole = False
        if status == "completed":
            data = _insist(client, "GET", f"/v1/videos/{id}/content", tally=tally).content
            with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
                file.write(data)
                file.flush()
                whole = read_video(file.name).frames.shape == (9, 64, 64, 3)
        with tally.lock:
            tally.done += whole
            if not whole:
                tally.lost.append(f"{id}: {status}")


def _insist(client: httpx.Client, method: str, path: str, *, tally: Tally, **content) -> httpx.Response:
    """Return an answer, asking again while the server is away."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        try:
            answer = client.request(method, path, **content)
            if answer.status_code < 500 and answer.status_code != 429:
                return answer
        except httpx.HTTPError:
            pass
        with tally.lock:
            tally.refused += 1
        time.sleep(0.3)
    raise SystemExit(f"{method} {path}: no answer")


def main(args: Args) -> int:
    """Run the check; return the exit code."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        rng = np.random.default_rng(0)
        frames = np.repeat(rng.integers(0, 255, (1, 64, 64, 3), np.uint8), 9, 0)
        clip = Path(folder) / "in.mp4"
        Video.from_array(frames, 25).save(clip)
        server, tally = Server(Path(folder) / "jobs", port, args.batch), Tally()
        begin = time.monotonic()
        shares = [len(range(i, args.jobs, args.clients)) for i in range(args.clients)]
        threads = [
            threading.Thread(
                target=send_jobs, args=(server.address, clip.read_bytes(), share, 1000 * i, tally)
            )
            for i, share in enumerate(shares)
        ]
        for thread in threads:
            thread.start()
        readings: list[tuple[int, int]] = []
        first, is_killed = 0, not args.kill
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.05)
            if tally.done + len(tally.lost) >= args.jobs // 2 and not is_killed:
                server.process.send_signal(signal.SIGKILL)
                server.process.wait()
                first, is_killed = tally.done, True
                readings.clear()
                server.start()
            elif tally.done - first >= _INTERVAL * (len(readings) + 1):
                readings.append((tally.done - first, server.resident_mib()))
                print(
                    f"{tally.done} done: {readings[-1][1]} MiB after {readings[-1][0]} jobs", file=sys.stderr
                )
        readings.append((tally.done - first, server.resident_mib()))
        server.process.terminate()
        code = server.process.wait(120)
    # Where fewer than one interval were done there is nothing to compare.
    growth = readings[-1][1] / readings[0][1] - 1 if len(readings) > 1 else float("nan")
    result = {
        "jobs": args.jobs, "completed": tally.done, "lost": tally.lost, "asked_again": tally.refused, "seconds": round(time.monotonic() - begin, 1),
        "resident_mib": readings, "growth": round(growth, 3), "exit_code_of_sigterm": code,
    }  # fmt: skip
    print(json.dumps(result))
    return int(bool(tally.lost) or tally.done != args.jobs or not growth <= 0.1)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Args, description=__doc__)))
