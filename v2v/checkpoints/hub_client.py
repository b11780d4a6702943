"""Repositories of the Hugging Face Hub: their names and files, downloads into the hub's own cache, and errors in one line.

Everything goes through the package `huggingface_hub`, which reads HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE, shares its cache
with other programs, and goes on with interrupted downloads. What it leaves to its callers is done here: files are compared with the hash
that the hub lists, room on the disk is checked for all files together, and connections that break are taken up again. It is imported
when it is first needed, because it takes most of a second.
"""

import errno
import hashlib
import logging
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from v2v.errors import InputError, note

logger = logging.getLogger(__name__)

DEFAULT_REVISION = "main"
# Files that are fetched at a time.
MAX_CONNECTIONS = 4
# How often in a row a download may break without a new byte before it is given up.
MAX_RETRIES = 5
HEADER_RETRIES = 3
BLOCK_BYTES = 1 << 20
# Seconds to wait for the list of a repository's files.
TIMEOUT = 20.0

_PART = r"[A-Za-z0-9][\w.-]{0,95}"
_NAME = re.compile(
    rf"(?P<repository>{_PART}/{_PART}?)(?:/(?P<file>[^@:]+\.(?:safetensors|gguf)))?(?:@(?P<revision>[\w./+-]+))?"
)
_FILE_SUFFIXES = (".safetensors", ".gguf", ".pth", ".pt", ".bin", ".ckpt", ".json")


@dataclass(frozen=True)
class HubName:
    """The name of a repository, or of one file in it: ORG/NAME[/FILE.safetensors][@REVISION]; FILE.gguf where it is a transformer.

    Attributes:
      repository: ORG/NAME.
      file: path of a file in it, or "".
      revision: a branch, a tag or a commit; None for the repository's main branch.
    """

    repository: str
    file: str = ""
    revision: str | None = None

    def __str__(self) -> str:
        file = f"/{self.file}" if self.file else ""
        return f"{self.repository}{file}" + (f"@{self.revision}" if self.revision else "")


@dataclass(frozen=True)
class HubFile:
    """A file of a repository.

    Attributes:
      path: in the repository.
      size: bytes.
      sha256: of its content, where it is kept in large-file storage; else "".
      blob: Git's hash of it; "" where the hub doesn't tell.
    """

    path: str
    size: int
    sha256: str
    blob: str


@dataclass(frozen=True)
class Repository:
    """What the hub says of a repository at one commit.

    Attributes:
      name: as it was asked for.
      commit: hash of the commit.
      files: its files.
      licence: of its card, or "".
      is_gated: whether its files are opened only to those who accepted its terms.
    """

    name: HubName
    commit: str
    files: tuple[HubFile, ...]
    licence: str
    is_gated: bool


def parse_hub_name(text: str) -> HubName | None:
    """Return the name that a text gives, None if it can be none; whether a path of that name exists is not looked at."""
    match = _NAME.fullmatch(text)
    if match is None or ".." in text or "--" in match["repository"]:
        return None
    if match["repository"].endswith(_FILE_SUFFIXES):
        return None
    return HubName(match["repository"], match["file"] or "", match["revision"])


def find_hub_name(text: str | Path) -> HubName | None:
    """Return the name of a repository that a text gives; None where a file or folder of that name exists, or for a `Path`.

    `./x` and `/x` are never names, nor is a word without a slash.
    """
    if isinstance(text, Path) or Path(text).exists():
        return None
    return parse_hub_name(text)


def find_snapshot(path: Path) -> Path:
    """Return the snapshot of a model in the folder that the hub's cache has for its repository (models--ORG--NAME); other paths as they are.

    Raises:
      InputError: several snapshots, none of which is the main one.
    """
    if not (path / "snapshots").is_dir() or not path.name.startswith("models--"):
        return path
    reference = path / "refs" / DEFAULT_REVISION
    commits = sorted(folder.name for folder in (path / "snapshots").iterdir() if folder.is_dir())
    commit = reference.read_text().strip() if reference.is_file() else commits[0] if len(commits) == 1 else ""
    if commit not in commits:
        raise InputError(
            f"{path}: expected one snapshot, or a main one, found {len(commits)}; pass a folder in {path}/snapshots"
        )
    return path / "snapshots" / commit


def endpoint() -> str:
    """Return the address of the hub, $HF_ENDPOINT or https://huggingface.co."""
    from huggingface_hub import constants

    return constants.ENDPOINT


def cache_folder() -> Path:
    """Return the folder of the hub's cache, $HF_HUB_CACHE or $HF_HOME/hub."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def repository_folder(repository: str) -> Path:
    """Return the folder of a repository in the cache; it need not exist."""
    return cache_folder() / f"models--{repository.replace('/', '--')}"


def snapshot_name(path: Path) -> str | None:
    """Return NAME for a folder models--ORG--NAME/snapshots/COMMIT of the cache, None for other folders."""
    is_snapshot = path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--")
    return path.parent.parent.name.rpartition("--")[2] if is_snapshot else None


def read_repository(name: HubName) -> Repository:
    """Ask the hub for the files of a repository.

    Raises:
      InputError: no such repository or revision, no access to it, or no connection.
    """
    from huggingface_hub import HfApi

    with explained_errors(name):
        info = HfApi().model_info(
            name.repository, revision=name.revision, files_metadata=True, timeout=TIMEOUT
        )
    files = tuple(
        HubFile(s.rfilename, s.size or 0, s.lfs.sha256 if s.lfs else "", s.blob_id or "")
        for s in info.siblings or ()
        if ".." not in s.rfilename.split("/")
    )
    card = info.card_data.to_dict() if info.card_data else {}
    licence = card.get("license")
    if licence == "other":
        licence = card.get("license_name") or licence
    return Repository(
        name, info.sha or "", files, licence if isinstance(licence, str) else "", bool(info.gated)
    )


def cached_snapshot(name: HubName) -> Path | None:
    """Return the folder of a repository's revision in the cache, which need not hold all files; None if there is none."""
    folder, revision = repository_folder(name.repository), name.revision or DEFAULT_REVISION
    reference = folder / "refs" / revision
    commit = reference.read_text().strip() if reference.is_file() else revision
    snapshot = folder / "snapshots" / commit
    return snapshot if snapshot.is_dir() else None


@dataclass(frozen=True)
class Listing:
    """What is known of a repository: from the hub, or from the cache where the hub can't be asked; one of the two is None.

    Attributes:
      repository: what the hub says.
      snapshot: the folder in the cache.
    """

    repository: Repository | None
    snapshot: Path | None


def read_listing(name: HubName) -> Listing:
    """Ask the hub for a repository, or look into the cache where the hub can't be reached or HF_HUB_OFFLINE is set.

    Raises:
      InputError: as `read_repository`; without a connection only if the cache holds nothing either.
    """
    from huggingface_hub import constants

    if not constants.HF_HUB_OFFLINE:
        try:
            return Listing(read_repository(name), None)
        except UnreachableError as error:
            snapshot = cached_snapshot(name)
            if snapshot is None:
                raise
            note(f"{error}; using the files in {snapshot}")
            return Listing(None, snapshot)
    snapshot = cached_snapshot(name)
    if snapshot is None:
        raise InputError(
            f"{name}: no folder of this name, and with HF_HUB_OFFLINE set only {cache_folder()} is looked into, which doesn't hold it; "
            "unset HF_HUB_OFFLINE to fetch it"
        )
    return Listing(None, snapshot)


class UnreachableError(InputError):
    """The hub can't be reached or doesn't answer; what is in the cache can be used."""


def missing_files(repository: Repository, files: Sequence[HubFile]) -> list[HubFile]:
    """Return the files whose content is not in the cache."""
    snapshot = repository_folder(repository.name.repository) / "snapshots" / repository.commit
    return [f for f in files if not (snapshot / f.path).exists()]


def download(repository: Repository, files: Sequence[HubFile], progress: bool | None = None) -> Path:
    """Fetch files into the hub's cache, as far as they aren't there.

    Args:
      repository: where they are from.
      files: the files.
      progress: show a bar on stderr; None to show one where stderr is a terminal.

    Returns:
      the folder of the repository's commit in the cache.

    Raises:
      InputError: no access, too little room on the disk, a connection that keeps breaking, or content that isn't what the hub lists.
    """
    name = repository.name
    folder = repository_folder(name.repository)
    snapshot = folder / "snapshots" / repository.commit
    missing = missing_files(repository, files)
    if not missing:
        return snapshot
    blobs = folder / "blobs"
    missing_bytes = sum(f.size - _size_on_disk(blobs, f) for f in missing)
    free = shutil.disk_usage(_existing_parent(folder)).free
    licence = f", licence {repository.licence}" if repository.licence else ""
    logger.info(
        "fetching %s: %s in %d file%s%s, %s of it here; %s free in %s",
        name, format_bytes(sum(f.size for f in files)), len(files), "s" * (len(files) > 1), licence,
        format_bytes(sum(f.size for f in files) - missing_bytes), format_bytes(free), cache_folder(),
    )  # fmt: skip
    if missing_bytes > free:
        raise InputError(
            f"{name}: needs {format_bytes(missing_bytes)} more in {cache_folder()}, {format_bytes(free)} are free; free some (v2v models --cached "
            "lists what is there), or set HF_HOME to a folder on a larger disk"
        )
    _download(repository, missing, sys.stderr.isatty() if progress is None else progress)
    return snapshot


def read_range(repository: Repository, path: str, start: int, size: int) -> bytes:
    """Read some bytes of a file from the hub; a server that ignores ranges is left after the first bytes.

    Args:
      repository: where it is from.
      path: of the file.
      start: number of the first byte.
      size: number of bytes.

    Raises:
      InputError: no access, no connection, or a server that ignores ranges and is asked for others than the first bytes.
    """
    import httpx

    for retries_left in reversed(range(HEADER_RETRIES + 1)):
        try:
            with explained_errors(repository.name):
                return _request_range(repository, path, start, size)
        except UnreachableError as error:
            if not retries_left or not isinstance(error.__cause__, httpx.TransportError):
                raise
    raise AssertionError("the last try returns or raises")


def _request_range(repository: Repository, path: str, start: int, size: int) -> bytes:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_stream_backoff

    url = hf_hub_url(repository.name.repository, path, revision=repository.commit, endpoint=endpoint())
    headers = build_hf_headers(
        headers={"Range": f"bytes={start}-{start + size - 1}", "Accept-Encoding": "identity"}
    )
    data = b""
    with http_stream_backoff("GET", url, headers=headers, timeout=TIMEOUT, max_retries=2) as response:
        hf_raise_for_status(response)
        if start and response.status_code != 206:
            raise InputError(
                f"{repository.name}: {endpoint()} gives no parts of files, so {path} can't be examined; fetch its files "
                "in another way and name the folder"
            )
        for block in response.iter_bytes():
            data += block
            if len(data) >= size:
                break
    return data[:size]


@contextmanager
def explained_errors(name: HubName) -> Iterator[None]:
    """Turn the errors of `huggingface_hub` and its HTTP client into an InputError that says what to do.

    Args:
      name: what was asked for.
    """
    import httpx
    from huggingface_hub import errors

    try:
        yield
    except errors.HfHubHTTPError as error:
        raise _explain_answer(name, error) from error
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, errors.FileMetadataError, httpx.HTTPError) as error:  # fmt: skip
        raise UnreachableError(
            f"{name}: no folder of this name, and {endpoint()} can't be reached ({_first_line(error)}); check the connection, the "
            "proxy and HF_ENDPOINT, or name a folder"
        ) from error
    except errors.HFValidationError as error:
        raise InputError(f"{name}: is no name of a repository ({_first_line(error)})") from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise InputError(
                f"{name}: the disk of {cache_folder()} is full; free some, or set HF_HOME"
            ) from error
        raise InputError(f"{name}: can't be stored in {cache_folder()} ({_first_line(error)})") from error


def _explain_answer(name: HubName, error: Any) -> InputError:
    """Return what an error status of the hub means for the user."""
    from huggingface_hub import errors, get_token

    has_token, page = bool(get_token()), f"{endpoint()}/{name.repository}"
    status = error.response.status_code
    if isinstance(error, errors.GatedRepoError):
        account = (
            "with the account of your token" if has_token else "and set HF_TOKEN to a token of that account"
        )
        return InputError(f"{name}: is gated; accept its terms at {page} {account}, then run this again")
    if isinstance(error, errors.RepositoryNotFoundError):
        private = "your HF_TOKEN may not read" if has_token else "that needs HF_TOKEN"
        return InputError(
            f"{name}: no folder of this name here, and no model at {page}, or a private one {private}; check the spelling "
            "(v2v models lists what is known to work)"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return InputError(f"{name}: has no revision {name.revision}; {page}/commits lists them")
    if isinstance(error, errors.EntryNotFoundError):
        return InputError(f"{name}: has no such file; {page}/tree/main lists its files")
    if status == 401:
        return InputError(
            f"{name}: {endpoint()} refuses the token in HF_TOKEN; make a new one at {endpoint()}/settings/tokens"
        )
    if status == 403:
        return InputError(f"{name}: {endpoint()} denies access (403); check what your HF_TOKEN may read")
    if status == 429:
        login = "" if has_token else ", or set HF_TOKEN, which raises the limit"
        return UnreachableError(
            f"{name}: {endpoint()} got too many requests from here (429); wait some minutes{login}"
        )
    if status >= 500:
        return UnreachableError(f"{name}: {endpoint()} is out of order ({status}); try again later")
    return InputError(f"{name}: {endpoint()} answered {status} ({_first_line(error)})")


def _download(repository: Repository, files: Sequence[HubFile], progress: bool) -> None:
    """Fetch files side by side and compare them with their hashes; an interruption ends all of them at their next bytes."""
    blobs = repository_folder(repository.name.repository) / "blobs"
    total, stored = sum(f.size for f in files), sum(_size_on_disk(blobs, f) for f in files)
    stop = threading.Event()
    with tqdm(
        total=total,
        initial=stored,
        unit="B",
        unit_scale=True,
        desc="fetching",
        leave=False,
        disable=not progress,
    ) as bar:
        counter = _make_counter_class(bar, stop)
        executor = ThreadPoolExecutor(MAX_CONNECTIONS)
        try:
            for future in as_completed(
                [executor.submit(_download_file, repository, f, counter) for f in files]
            ):
                future.result()
        finally:
            stop.set()
            executor.shutdown(cancel_futures=True)


def _download_file(repository: Repository, file: HubFile, counter: type) -> None:
    """Fetch a file, again where the connection breaks, as long as bytes arrive."""
    import httpx
    from huggingface_hub import errors, hf_hub_download

    name = repository.name
    folder = repository_folder(name.repository)
    path = folder / "snapshots" / repository.commit / file.path
    has_content = _blob(folder / "blobs", file).is_file()
    retries, stored = 0, -1
    while True:
        try:
            with explained_errors(name):
                # By the name of the branch, so that the cache knows its commit without a connection.
                hf_hub_download(
                    name.repository, file.path, revision=name.revision or DEFAULT_REVISION, tqdm_class=counter
                )
            break
        except InputError as error:
            cause = error.__cause__
            is_broken = isinstance(cause, httpx.TransportError) and not isinstance(cause, httpx.ConnectError)
            # Without status and number it is the library's word for a file that ended early.
            is_short = (
                type(cause) is OSError
                and cause.errno is None
                and not isinstance(cause, errors.HfHubHTTPError)
            )
            if not (is_broken or is_short):
                raise
            arrived = _size_on_disk(folder / "blobs", file)
            retries = retries + 1 if arrived <= stored else 1
            stored = arrived
            if retries > MAX_RETRIES:
                raise UnreachableError(
                    f"{name}: the connection to {endpoint()} broke {retries} times in a row, with {format_bytes(arrived)} of "
                    f"{format_bytes(file.size)} of {file.path} here ({_first_line(cause or error)}); run this again to go on"
                ) from error
            logger.debug("%s: the connection broke after %d bytes of %s, going on", name, arrived, file.path)
            time.sleep(0.2 * (retries - 1))
    if not path.is_file():
        raise InputError(f"{name}: has changed while it was fetched; run this again to fetch what is new")
    if not has_content:
        _check_hash(name, file, path)


class _StoppedError(Exception):
    """Ends a download whose result nobody waits for any more."""


def _make_counter_class(bar: tqdm, stop: threading.Event) -> type:
    """Return what `huggingface_hub` takes as the class of its bars: each instance counts the bytes of one file in `bar`."""
    lock = threading.Lock()

    class Counter:
        def __init__(self, *args, **kwargs):
            pass  # What a file had before is in the bar already.

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def update(self, n: float | None = 1) -> None:
            if stop.is_set():
                raise _StoppedError
            with lock:
                bar.update(n)

    return Counter


def _check_hash(name: HubName, file: HubFile, path: Path) -> None:
    """Compare a file with the hash that the hub lists; remove it and raise InputError if it is another one."""
    if not (file.sha256 or file.blob):
        return
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as opened:
        while block := opened.read(BLOCK_BYTES):
            digest.update(block)
    expected = file.sha256 or file.blob
    if digest.hexdigest() != expected:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise InputError(
            f"{name}: {file.path} arrived damaged, expected the hash {expected[:12]}…, got {digest.hexdigest()[:12]}…; it was removed, "
            "run this again to fetch it anew"
        )


def _blob(blobs: Path, file: HubFile) -> Path:
    """Return the place of a file's content in the cache."""
    return blobs / (file.sha256 or file.blob or "unknown")


def _size_on_disk(blobs: Path, file: HubFile) -> int:
    """Return how many bytes of a file have arrived."""
    blob = _blob(blobs, file)
    partial = blob.with_name(f"{blob.name}.incomplete")
    if blob.is_file():
        return file.size
    return min(file.size, partial.stat().st_size) if partial.is_file() else 0


def _existing_parent(path: Path) -> Path:
    """Return the nearest folder above a path that exists."""
    return next(parent for parent in [path, *path.absolute().parents] if parent.is_dir())


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def format_bytes(size: float) -> str:
    """Return a size for people: 22.8 GB, 3.1 MB, 4.0 kB."""
    unit, divisor = ("GB", 1e9) if size >= 1e8 else ("MB", 1e6) if size >= 1e5 else ("kB", 1e3)
    return f"{size / divisor:.1f} {unit}"
