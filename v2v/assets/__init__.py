"""Paths of the files that come with the package: the sample clip and the packaged model."""

from pathlib import Path

SAMPLE = Path(__file__).parent / "sample.mp4"
EMBEDDED = Path(__file__).parent / "embedded"
