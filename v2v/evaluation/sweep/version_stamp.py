"""Versions of packages, commit and time of results: what a reader needs to repeat them."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from v2v import __version__
from v2v.evaluation.code_version import package_commit

# Distributions whose versions are recorded.
PACKAGES = ("jax", "numpy", "opencv-python-headless", "av")


def version_stamp() -> dict[str, Any]:
    """Return the versions of packages, the commit if there is one, and the time, JSON-able."""
    return {"made": datetime.now(UTC).isoformat(timespec="seconds"), **code_stamp()}


def code_stamp() -> dict[str, Any]:
    """Return the same without the time."""
    versions = {"v2v": __version__}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "commit": package_commit(),
        "packages": versions,
    }
