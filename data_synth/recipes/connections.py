"""Connections to external experts, one a process for every TOML file, so that weights are loaded once for all recipes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from data_synth.experts import protocol
from data_synth.experts import spec as spec_lib
from data_synth.experts.base import Answer, Expert, Failure
from data_synth.experts.wire import Job
from data_synth.file_cache import cached_by_file
from data_synth.rejection import Rejected
from v2v.runtime import text_files

Text = TypeVar("Text")


@dataclasses.dataclass(frozen=True)
class Connection:
    """An expert with its description."""

    spec: spec_lib.ExpertSpec
    expert: Expert

    def run(self, jobs: Sequence[Job], label: str = "expert") -> list[np.ndarray | Rejected]:
        """Run jobs and return one clip or rejection for each, in order.

        Args:
          jobs: Any number of jobs.
          label: First words of the reasons.
        """
        return [
            Rejected(f"{label} {answer.reason}", transient=True, outage=answer.outage)
            if isinstance(answer, Failure)
            else answer
            for answer in protocol.run_expert(self.expert, jobs)
        ]

    def ask(self, jobs: Sequence[Job], parse: Callable[[Answer], Text]) -> list[Text | Rejected]:
        """Ask about jobs and return one text or rejection for each, in order.

        Args:
          jobs: Any number of jobs.
          parse: As for `protocol.ask_expert`.
        """
        return [
            Rejected(f"expert {self.spec.name} {answer.reason}", transient=True, outage=answer.outage)
            if isinstance(answer, Failure)
            else answer
            for answer in protocol.ask_expert(self.expert, jobs, parse)
        ]

    @property
    def provenance(self) -> dict[str, str]:
        """Return what pairs record of the expert: name, version and license."""
        return {"name": self.spec.name, "version": self.spec.version, "license": self.spec.license}


_connections: dict[str, Connection] = {}


@cached_by_file()
def load_spec(path: str) -> spec_lib.ExpertSpec:
    """Return the description in a TOML file.

    Raises:
      InputError: As `experts.spec.load_spec`.
    """
    return spec_lib.load_spec(path)


@cached_by_file()
def read_role(path: str) -> str:
    """Return the role in a TOML file as it stands there, "composition" too; "" for several.

    Raises:
      InputError: The file can't be read.
    """
    role = text_files.read_toml(path, "an expert").get("role")
    return role if isinstance(role, str) else ""


def find_experts(experts: Sequence[str], role: str) -> tuple[str, ...]:
    """Return the TOML files that describe experts of a role.

    Raises:
      InputError: As `experts.spec.load_spec`.
    """
    return tuple(
        path for path in experts if read_role(path) != "composition" and role in load_spec(path).roles
    )


def connect(path: str) -> Connection:
    """Return the process's connection to the expert of a TOML file; a description that has changed gets a new one.

    Raises:
      InputError: As `experts.spec.load_spec`.
    """
    spec = load_spec(path)
    current = _connections.get(path)
    if current is not None and current.spec == spec:
        return current
    if current is not None:
        current.expert.close()
    _connections[path] = Connection(spec, protocol.connect_expert(spec))
    return _connections[path]
