"""The folder of a run's latents: one that all processes see, or a bucket, whose files are staged on the disk of each machine.

latent_cache.py -> **latent_folder** -> train/encode_dataset.py

Training reads records at random, which a bucket can't give; so every machine fetches the files once, and goes on with those that it has. Encoding
uploads each shard as it is finished; a shard is seen when it is whole, after the facts of its records.
"""

import contextlib
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from tqdm import tqdm

from v2v.errors import InputError
from v2v.runtime.environment import cache_folder

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None

logger = logging.getLogger(__name__)

# Files that are fetched at the same time.
TRANSFERS = 8
SHARD_SUFFIX = ".array_record"
# What a machine fetched: a line of JSON for each file. Beside the folder, whose files tell what a set is (`datasets.dataset_fingerprint`).
RECORD_FILE = "staged.jsonl"
# Names of files in progress, which stay where they are.
UNFINISHED = (".partial", ".unfinished", ".unfinished.json")


class LatentFolder:
    """Latents in a folder that all processes see: nothing is moved.

    Attributes:
      path: the folder on this machine.
      place: its name for people.
      keeps_shards: whether finished shards stay on this machine.
    """

    def __init__(self, path: Path, place: str = "", keeps_shards: bool = True):
        self.path, self.place, self.keeps_shards = path, place or str(path), keeps_shards

    def fetch(self, with_shards: bool = True) -> None:
        """Bring what other machines made here; of a bucket, shards too or only what tells of them."""

    def publish(self) -> None:
        """Bring surveys, sources and masks of spans to the other machines."""

    def has_shard(self, shard: Path) -> bool:
        """Return whether a shard is finished."""
        return shard.exists()

    def add_shard(self, shard: Path) -> None:
        """Bring a finished shard to the other machines."""

    def remove_shard(self, shard: Path) -> None:
        """Remove a shard."""
        shard.unlink(missing_ok=True)

    def list_shards(self, folder: Path) -> list[Path]:
        """Return the finished shards of one set and size, in order."""
        return sorted(folder.glob(f"latents-*{SHARD_SUFFIX}"))


class BucketFolder(LatentFolder):
    """Latents in a bucket, staged in the cache folder (`V2V_CACHE`).

    Args:
      address: gs://BUCKET/FOLDER, or another that fsspec opens.
      keeps_shards: finished shards stay on this machine too, for training; without, they make room.

    Raises:
      InputError: nothing here opens such addresses.
    """

    def __init__(self, address: str, keeps_shards: bool = True):
        try:
            files, root = fsspec.core.url_to_fs(address)
        except (ImportError, ValueError) as error:
            raise InputError(
                f"{address}: expected an address that can be opened, got '{error}'; install what opens it (for gs://: pip install 'v2v-edit[gcs]')"
            ) from None
        key = hashlib.sha256(address.rstrip("/").encode()).hexdigest()[:12]
        # The last part of an address is the name of a set.
        super().__init__(cache_folder("staged") / key / PurePosixPath(root).name, address, keeps_shards)
        self._files, self._root = files, root.rstrip("/")
        self._listing: dict[str, tuple[int, str]] = {}

    def fetch(self, with_shards: bool = True) -> None:
        """Fetch the files that are missing here or were replaced, and remove those that are gone from the bucket.

        Args:
          with_shards: fetch shards too, not only what tells of them.

        Raises:
          InputError: the disk has no room for them, or the bucket can't be read.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._listing = self._list_files()
            staged = self._read_record()
            for name in staged.keys() - self._listing.keys():
                (self.path / name).unlink(missing_ok=True)
            missing = {
                name: stamp
                for name, stamp in self._listing.items()
                if (with_shards or not name.endswith(SHARD_SUFFIX))
                and (staged.get(name) != stamp or not (self.path / name).exists())
            }
            self._check_room(sum(size for size, _ in missing.values()))
            self._fetch_files(missing)

    def publish(self) -> None:
        """Upload everything but shards and their facts, which `add_shard` uploads."""
        for path in sorted(self.path.rglob("*")):
            is_of_shard = path.name.startswith("latents-")
            if (
                not path.is_file()
                or path.name.startswith(".")
                or path.name.endswith(UNFINISHED)
                or is_of_shard
            ):
                continue
            self._upload(path)

    def has_shard(self, shard: Path) -> bool:
        """Return whether a shard is in the bucket, by the listing of the last `fetch`."""
        return self._name(shard) in self._listing

    def add_shard(self, shard: Path) -> None:
        """Upload a shard and the facts of its records."""
        self._upload(shard.with_suffix(".json"))
        self._upload(shard)
        if not self.keeps_shards:
            shard.unlink()

    def remove_shard(self, shard: Path) -> None:
        """Remove a shard from the bucket and from here."""
        if self._name(shard) in self._listing:
            self._call(lambda: self._files.rm_file(f"{self._root}/{self._name(shard)}"))
            del self._listing[self._name(shard)]
        shard.unlink(missing_ok=True)

    def list_shards(self, folder: Path) -> list[Path]:
        """Return the shards of one set and size in the bucket, by the listing of the last `fetch`, as the paths that they have here."""
        paths = (self.path / name for name in self._listing if name.endswith(SHARD_SUFFIX))
        return sorted(path for path in paths if path.parent == folder)

    def has_files(self) -> bool:
        """Return whether the bucket holds anything in this folder, by the listing of the last `fetch`."""
        return bool(self._listing)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.path).as_posix()

    def _list_files(self) -> dict[str, tuple[int, str]]:
        """Return (bytes, what changes when it is written again) of every file of the bucket, by its path in the folder."""

        def find() -> dict[str, dict[str, Any]]:
            self._files.invalidate_cache()
            return self._files.find(self._root, detail=True)

        return {
            name[len(self._root) :].lstrip("/"): self._stamp(details)
            for name, details in self._call(find).items()
        }

    @staticmethod
    def _stamp(details: dict[str, Any]) -> tuple[int, str]:
        marks = ("md5Hash", "etag", "ETag", "generation", "mtime", "updated", "LastModified", "created")
        return int(details["size"]), str(next((details[m] for m in marks if details.get(m)), ""))

    def _fetch_files(self, missing: dict[str, tuple[int, str]]) -> None:
        """Fetch files, several at a time; each has its name when it is whole."""
        total = sum(size for size, _ in missing.values())
        if any(name.endswith(SHARD_SUFFIX) for name in missing):
            logger.info(
                "fetching %d files, %.2g GB, of %s to %s", len(missing), total / 1e9, self.place, self.path
            )

        def fetch(name: str) -> str:
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.fetched")
            self._call(lambda: self._files.get_file(f"{self._root}/{name}", str(partial)))
            partial.replace(path)
            return name

        pool = ThreadPoolExecutor(TRANSFERS)
        try:
            with tqdm(
                total=total, desc="latents", unit="B", unit_scale=True, disable=not total, leave=False
            ) as bar:
                for name in pool.map(fetch, missing):
                    self._record(name, missing[name])
                    bar.update(missing[name][0])
        finally:
            pool.shutdown(cancel_futures=True)

    def _upload(self, path: Path) -> None:
        """Upload a file that the bucket does not have as it is."""
        name = self._name(path)
        address = f"{self._root}/{name}"
        if name in self._listing and not name.endswith(SHARD_SUFFIX):
            if (
                self._listing[name][0] == path.stat().st_size
                and self._call(lambda: self._files.cat_file(address)) == path.read_bytes()
            ):
                return
        self._call(lambda: self._files.makedirs(address.rpartition("/")[0], exist_ok=True))
        self._call(lambda: self._files.put_file(str(path), address))
        self._call(self._files.invalidate_cache)
        self._listing[name] = self._stamp(self._call(lambda: self._files.info(address)))
        self._record(name, self._listing[name])

    def _record(self, name: str, stamp: tuple[int, str]) -> None:
        with (self.path.parent / RECORD_FILE).open("a") as file:
            file.write(json.dumps([name, *stamp]) + "\n")

    def _read_record(self) -> dict[str, tuple[int, str]]:
        staged: dict[str, tuple[int, str]] = {}
        with contextlib.suppress(OSError):
            for line in (self.path.parent / RECORD_FILE).read_text().splitlines():
                with contextlib.suppress(ValueError):  # the end of a line that a killed process wrote
                    name, size, mark = json.loads(line)
                    staged[name] = (size, mark)
        return staged

    def _check_room(self, size: int) -> None:
        free = shutil.disk_usage(self.path).free
        if free < size:
            raise InputError(
                f"{self.place}: its files take {size / 1e9:.1f} GB on the disk of each machine, {free / 1e9:.1f} GB are free at {self.path}; "
                "make room, name another disk in V2V_CACHE, or mount the bucket (gcsfuse) and give its folder"
            )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process of a machine fetch at a time; others find the files there."""
        if fcntl is None:
            yield
            return
        with open(self.path.parent / "lock", "a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _call(self, function: Callable[[], Any]) -> Any:
        """Call a function of the bucket; what fails is bad input, as a name or a right to read."""
        try:
            return function()
        except InputError:
            raise
        except Exception as error:  # each kind of bucket has its own
            cause = " ".join(str(error).split())[:200] or type(error).__name__
            raise InputError(
                f"{self.place}: expected a folder of a bucket that can be read and written, got '{cause}'; look at its name and your rights there"
            ) from error


def open_latent_folder(place: str | Path, keeps_shards: bool = True) -> LatentFolder:
    """Return the folder of latents at a path or an address (`gs://...`); arguments as in `BucketFolder`."""
    return BucketFolder(str(place), keeps_shards) if "://" in str(place) else LatentFolder(Path(place))


def stage_set(place: str) -> str:
    """Return a folder of this machine with the pairs of a set: itself, or a copy of one in a bucket, fetched where it is missing.

    Raises:
      InputError: the disk has no room, or the bucket holds no such folder.
    """
    if "://" not in place:
        return place
    folder = BucketFolder(place)
    folder.fetch()
    if not folder.has_files():
        raise InputError(
            f"{place}: expected a folder of pairs in a bucket, found no files there; look at its name"
        )
    return str(folder.path)
