"""The votes of a study: raters and what they answered, in votes.db of its folder (SQLite).

Every vote is committed to disk before it is acknowledged, and only ever added: a rater who thinks again adds another one, and the last counts. What
a rater sees is stored with them, so that a study goes on as it began whatever version of v2v serves it.
"""

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import sqlalchemy as sa

from v2v.errors import InputError
from v2v.evaluation.study import QUESTIONS, Study, Trial, plan_trials
from v2v.runtime.database import open_database

DATABASE_FILE = "votes.db"
Choice = Literal["left", "tie", "right"]
CHOICES: tuple[Choice, ...] = get_args(Choice)
LONGEST_NAME = 100
# Votes of one rater on one question of one trial, beyond which somebody is writing programs.
MOST_CHANGES = 200

_TABLES = sa.MetaData()
_RATERS = sa.Table(
    "raters",
    _TABLES,
    sa.Column("token", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(LONGEST_NAME), nullable=False, unique=True),
    # What they see, as JSON.
    sa.Column("trials", sa.Text, nullable=False),
    sa.Column("created", sa.Float(53), nullable=False),
)
_VOTES = sa.Table(
    "votes",
    _TABLES,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("token", sa.String(64), nullable=False, index=True),
    sa.Column("trial", sa.Integer, nullable=False),
    sa.Column("question", sa.String(40), nullable=False),
    sa.Column("choice", sa.String(10), nullable=False),
    # From when the trial was shown to the vote.
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("time", sa.Float(53), nullable=False),
)


@dataclass(frozen=True)
class Rater:
    """Somebody who votes.

    Attributes:
      token: the secret part of their link.
      name: unique in the study.
      trials: what they see, in order.
    """

    token: str
    name: str
    trials: Sequence[Trial]


@dataclass(frozen=True)
class Vote:
    """The last answer of a rater to a question of a trial.

    Attributes:
      rater: their name.
      number: number of the trial, from 0 on.
      trial: what they saw.
      question: one of `QUESTIONS`.
      choice: what they chose.
      seconds: from when the trial was shown to the vote.
    """

    rater: str
    number: int
    trial: Trial
    question: str
    choice: Choice
    seconds: float


class VoteStore:
    """The raters and votes of a study."""

    def __init__(self, study: Study):
        """Open votes.db in the study's folder, and create it where it is missing.

        Raises:
          InputError: it is no database, or can't be written.
        """
        self._study = study
        path = study.folder / DATABASE_FILE
        self._engine = open_database(f"sqlite:///{path.resolve()}", _TABLES, str(path))

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def add_rater(self, name: str) -> Rater:
        """Add a rater with a link of their own; one who is there already stays as they are.

        Raises:
          InputError: an empty or endless name.
        """
        name = " ".join(name.split())
        if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
            raise InputError(f"--raters: expected names of 1 to {LONGEST_NAME} letters, got {name[:120]!r}")
        present = [rater for rater in self.list_raters() if rater.name == name]
        if present:
            return present[0]
        rater = Rater(secrets.token_urlsafe(16), name, plan_trials(self._study, name))
        trials = json.dumps([asdict(trial) for trial in rater.trials])
        values = {"token": rater.token, "name": name, "trials": trials, "created": time.time()}
        with self._engine.begin() as connection:
            connection.execute(sa.insert(_RATERS).values(**values))
        return rater

    def list_raters(self) -> list[Rater]:
        """Return all raters in the order in which they were added."""
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(_RATERS).order_by(_RATERS.c.created, _RATERS.c.name))
            return [_to_rater(row) for row in rows.mappings()]

    def find_rater(self, token: str) -> Rater | None:
        """Return the rater of a link; None where nobody has it."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(_RATERS).where(_RATERS.c.token == token)).mappings().first()
        return None if row is None else _to_rater(row)

    def add_vote(self, rater: Rater, number: int, question: str, choice: Choice, seconds: float) -> None:
        """Store a vote; when this returns, it is on the disk.

        Raises:
          InputError: no such trial, question or choice, a rater who is no person, or a disk that is full.
        """
        if not 0 <= number < len(rater.trials):
            raise InputError(f"trial: expected 0 to {len(rater.trials) - 1}, got {number}")
        if question not in dict(QUESTIONS):
            raise InputError(f"question: expected one of {', '.join(dict(QUESTIONS))}, got {question[:80]!r}")
        if choice not in CHOICES:
            raise InputError(f"choice: expected one of {', '.join(CHOICES)}, got {choice[:80]!r}")
        if not 0 <= seconds < 1e7:
            raise InputError(f"seconds: expected a number from 0 on, got {seconds}")
        values = {
            "token": rater.token, "trial": number, "question": question, "choice": choice, "seconds": seconds, "time": time.time(),
        }  # fmt: skip
        earlier = sa.select(sa.func.count()).where(
            _VOTES.c.token == rater.token, _VOTES.c.trial == number, _VOTES.c.question == question
        )
        with self._engine.begin() as connection:
            if connection.execute(earlier).scalar_one() >= MOST_CHANGES:
                raise InputError(f"trial {number}: this question was answered {MOST_CHANGES} times")
            connection.execute(sa.insert(_VOTES).values(**values))

    def read_votes(self, token: str = "") -> list[Vote]:
        """Return the last vote on each question of each trial, of one rater or of all."""
        raters = {rater.token: rater for rater in self.list_raters()}
        query = sa.select(_VOTES).order_by(_VOTES.c.id)
        if token:
            query = query.where(_VOTES.c.token == token)
        last: dict[tuple[str, int, str], Vote] = {}
        with self._engine.connect() as connection:
            for row in connection.execute(query).mappings():
                rater, number = raters[row["token"]], row["trial"]
                last[rater.token, number, row["question"]] = Vote(
                    rater.name, number, rater.trials[number], row["question"], row["choice"], row["seconds"]
                )
        return list(last.values())


def _to_rater(row: sa.RowMapping) -> Rater:
    return Rater(row["token"], row["name"], [Trial(**trial) for trial in json.loads(row["trials"])])
