"""Send damaged files to `v2v serve`, and see that each is refused in one line or accepted, and that the server is well afterwards.

    python tools/checks/fuzz_server.py [--files DIR ...] [--count N] [--seed S] [--jobs]

Sends every file of the folders as a clip, mask, reference and first frame, then N mutations of small clips and pictures (as
tools/checks/fuzz.py makes them), then malformed forms. What is looked for: answers of 500 and above, none within a minute, errors of several lines or
with paths of this machine, files that are left behind, and a server that is not healthy. With --jobs what is accepted is edited too, by a worker with
the packaged model; each such job must end. Prints a line for each finding on stderr and one line of counts at the end; exit code 1 where anything was found.
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import httpx

from tools.checks import fuzz_files

# Seconds that an answer may take, and a job.
PATIENCE, JOB_PATIENCE = 60.0, 300.0
ROLES = ("video", "mask", "reference", "first_frame")
# Content types and bodies that are no proper form.
FORMS: tuple[tuple[str, bytes], ...] = (
    ("", b""),
    ("text/plain", b"video"),
    ("application/json", b"{"),
    ("multipart/form-data", b"--x\r\n"),
    ("multipart/form-data; boundary=x", b""),
    ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nv\r\n--x--\r\n"),
    (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n\xff\xfe\r\n--x--\r\n',
    ),
    (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="video"; filename="a"\r\n\r\nv',
    ),
    ("multipart/form-data; boundary=" + "y" * 300, b"--" + b"y" * 300 + b"--\r\n"),
    ("application/x-www-form-urlencoded", b"prompt=make+it+sepia&video=%00"),
    ("application/x-www-form-urlencoded", b"&".join(b"f%d=1" % i for i in range(200))),
)


@dataclass(frozen=True)
class Upload:
    """A file that is sent.

    Attributes:
      name: of the case.
      role: what it is sent as.
      file: the name that it is sent with.
      data: its content.
    """

    name: str
    role: str
    file: str
    data: bytes


class Check:
    """Sends files to a server and counts what it answers.

    Attributes:
      counts: of statuses of answers and jobs.
      findings: lines about what should not have happened.
    """

    def __init__(self, client: httpx.Client, clip: bytes, root: Path | None = None, *, wait: bool = False):
        """Make a check.

        Args:
          client: of the server.
          clip: a sound clip, sent beside masks and references.
          root: the server's folder of jobs; None if it is on another machine.
          wait: wait for the end of jobs.
        """
        self._client, self._clip, self._root, self._wait = client, clip, root, wait
        self.counts: Counter[str] = Counter()
        self.findings: list[str] = []

    def send(self, upload: Upload) -> None:
        """Send a file."""
        files = {upload.role: (upload.file, upload.data)}
        if upload.role != "video":
            files["video"] = ("clip.mp4", self._clip)
        # The model doesn't matter here, nor whether it can.
        self._examine(upload.name, data={"prompt": "make it sepia", "anyway": "true"}, files=files)

    def send_form(self, number: int) -> None:
        """Send one of the malformed forms."""
        kind, body = FORMS[number]
        self._examine(f"form {number}", content=body, headers={"Content-Type": kind} if kind else {})

    def _examine(self, name: str, **content) -> None:
        begin = time.monotonic()
        try:
            answer = self._client.post("/v1/videos", timeout=PATIENCE, **content)
        except httpx.HTTPError as error:
            self.findings.append(f"{name}: no answer: {type(error).__name__}: {error}")
            self.counts["none"] += 1
            self._check_health(name)
            return
        self.counts[str(answer.status_code)] += 1
        if answer.status_code == 200:
            self._finish(name, answer.json()["id"])
        elif not 400 <= answer.status_code < 500:
            self.findings.append(f"{name}: {answer.status_code} {answer.text[:200]!r}")
        else:
            self._check_error(name, answer)
        if time.monotonic() - begin > PATIENCE:
            self.findings.append(f"{name}: answered after {time.monotonic() - begin:.0f} s")
        if self._root is not None and list(self._root.glob("video_*")):
            self.findings.append(f"{name}: files are left behind")
        self._check_health(name)

    def _check_error(self, name: str, answer: httpx.Response) -> None:
        try:
            message = answer.json()["error"]["message"]
        except (ValueError, KeyError, TypeError):
            self.findings.append(f"{name}: {answer.status_code} without an error: {answer.text[:200]!r}")
            return
        root = "" if self._root is None else str(self._root)
        if "\n" in message or "Traceback" in message or (root and root in answer.text):
            self.findings.append(f"{name}: {message[:300]!r}")

    def _finish(self, name: str, id: str) -> None:
        """Wait for the end of a job if wanted, and delete it."""
        end = time.monotonic() + JOB_PATIENCE
        while self._wait:
            job = self._client.get(f"/v1/videos/{id}").json()
            if job["status"] in ("completed", "failed", "canceled"):
                self.counts[job["status"]] += 1
                message = (job["error"] or {}).get("message", "")
                if "the server's log says where" in message or "\n" in message:
                    self.findings.append(f"{name}: accepted, then {message!r}")
                break
            if time.monotonic() > end:
                self.findings.append(f"{name}: its job is {job['status']} after {JOB_PATIENCE:.0f} s")
                break
            time.sleep(0.1)
        self._client.delete(f"/v1/videos/{id}")

    def _check_health(self, name: str) -> None:
        try:
            health = self._client.get("/healthz", timeout=PATIENCE).json()["status"]
        except (httpx.HTTPError, ValueError, KeyError) as error:
            health = type(error).__name__
        if health != "ok":
            self.findings.append(f"{name}: the server is not healthy afterwards: {health}")


def list_uploads(folders: list[Path], count: int, seed: int) -> Iterator[Upload]:
    """Return files of folders in every role, then mutated clips and pictures."""
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            for role in ROLES:
                name = str(path.relative_to(folder))
                yield Upload(f"{name} as {role}", role, path.name, path.read_bytes())
    with tempfile.TemporaryDirectory() as scratch:
        for kind in ("videos", "pictures"):
            folder = Path(scratch) / kind
            folder.mkdir()
            (fuzz_files.write_videos if kind == "videos" else fuzz_files.write_pictures)(folder)
        bases = sorted(path for path in Path(scratch).rglob("*") if path.is_file())
        for case in range(seed, seed + count):
            rng = random.Random(f"upload {case}")
            base, role = rng.choice(bases), rng.choice(ROLES)
            data = fuzz_files.mutate_bytes(base.read_bytes(), rng)
            yield Upload(f"case {case} ({base.name} as {role})", role, base.name, data)


def main() -> int:
    """Run the check; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--files", nargs="*", type=Path, default=[], metavar="DIR", help="folders whose files are sent"
    )
    parser.add_argument("--count", type=int, default=200, help="mutations (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="first of them (default: 0)")
    parser.add_argument("--jobs", action="store_true", help="also edit what is accepted")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        root = Path(folder) / "jobs"
        words = [sys.executable, "-m", "v2v", "serve", "--files", str(root), "--port", str(port)]
        words += ["--max-rate", "1000000", "--max-waiting", "1000", "--role", "all" if args.jobs else "http"]
        server = subprocess.Popen(
            words, env={**os.environ, "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", "cpu")}
        )
        try:
            client = httpx.Client(base_url=f"http://127.0.0.1:{port}")
            _wait_for(client, server)
            clip = Path(folder) / "clip.mp4"
            fuzz_files.codec.Video.from_array(fuzz_files.example_frames(), 12).save(clip)
            check = Check(client, clip.read_bytes(), root, wait=args.jobs)
            for upload in list_uploads(args.files, args.count, args.seed):
                check.send(upload)
            for number in range(len(FORMS)):
                check.send_form(number)
            if server.poll() is not None:
                check.findings.append(f"the server has ended: {server.returncode}")
        finally:
            server.send_signal(signal.SIGTERM)
            code = server.wait(120)
    for line in check.findings:
        print(line, file=sys.stderr)
    counts = {"answers": dict(sorted(check.counts.items())), "findings": len(check.findings), "exit": code}
    print(json.dumps(counts))
    return int(bool(check.findings) or code != 0)


def _wait_for(client: httpx.Client, server: subprocess.Popen) -> None:
    for _ in range(3000):
        try:
            client.get("/healthz", timeout=5)
            return
        except httpx.HTTPError:
            if server.poll() is not None:
                raise SystemExit("the server has ended") from None
            time.sleep(0.2)
    raise SystemExit("the server doesn't answer")


if __name__ == "__main__":
    sys.exit(main())
