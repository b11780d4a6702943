"""The queue of edits: a table in SQLite, or in any database that SQLAlchemy reaches, so that machines can share it.

A job is claimed by one atomic UPDATE, with a lease that its worker renews; when a worker ends without a word (kill -9, a lost machine), the lease
runs out and the next claim takes the job again. Every change is committed before the answer is sent: what was accepted is never lost.
Queue libraries were tried in thought: huey and rq take a job out of the queue before it is done, and know neither owners nor progress.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from v2v.app.job import FINAL, Job, Status
from v2v.runtime.database import open_database

# Seconds that a claim lasts without being renewed.
LEASE = 60.0
# A job whose workers ended this often without a word is given up: it may be what ends them.
MOST_ATTEMPTS = 3
# Stage of a job that has ended while its webhook has not been told.
TELLING = "webhook"
# Jobs that wait of which some may join a batch; those behind them wait for another.
LOOKAHEAD = 200

_METADATA = sa.MetaData()
_JOBS = sa.Table(
    "v2v_jobs",
    _METADATA,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("owner", sa.String(200), nullable=False, index=True),
    sa.Column("status", sa.String(20), nullable=False, index=True),
    sa.Column("created", sa.Float(53), nullable=False, index=True),
    sa.Column("ended", sa.Float(53), nullable=False, default=0.0),
    sa.Column("lease_until", sa.Float(53), nullable=False, default=0.0),
    sa.Column("worker", sa.String(200), nullable=False, default=""),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("progress", sa.Float, nullable=False, default=0.0),
    sa.Column("stage", sa.String(200), nullable=False, default=""),
    # Everything else of a job, as JSON.
    sa.Column("details", sa.Text, nullable=False),
)
_DETAILS = ("prompt", "settings", "files", "error", "notes", "report", "webhook", "shape", "batch")


class JobStore:
    """The jobs of a server.

    Attributes:
      lease: seconds that a claim lasts without being renewed.
    """

    def __init__(self, address: str, lease: float = LEASE, clock: Callable[[], float] = time.time):
        """Open the store, and create its table where there is none.

        Args:
          address: of SQLAlchemy, such as "sqlite:///jobs.db" or "postgresql+psycopg://user@host/name".
          lease: seconds that a claim lasts without being renewed.
          clock: seconds since 1970.

        Raises:
          InputError: the address is malformed, its driver isn't installed, or nothing answers.
        """
        self.lease, self._clock = lease, clock
        self._engine = open_database(address, _METADATA, f"--store {address.split('@')[-1]}")

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def add(self, job: Job) -> Job:
        """Add a job to the queue; return it with its time."""
        job = dataclasses.replace(job, created=self._clock(), status="queued")
        with self._engine.begin() as connection:
            connection.execute(sa.insert(_JOBS).values(**_to_row(job)))
        return job

    def find(self, id: str, owner: str | None = None) -> Job | None:
        """Return a job; None where there is none, or it is somebody else's."""
        query = sa.select(_JOBS).where(_JOBS.c.id == id)
        if owner is not None:
            query = query.where(_JOBS.c.owner == owner)
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else _to_job(row)

    def list(self, owner: str, limit: int = 20, cursor: str = "", newest_first: bool = True) -> Sequence[Job]:
        """Return the jobs of an owner.

        Args:
          owner: whose.
          limit: most of them.
          cursor: id of the job that the list goes on behind; "" for its beginning.
          newest_first: the order.
        """
        query = sa.select(_JOBS).where(_JOBS.c.owner == owner)
        if cursor:
            last = self.find(cursor, owner)
            if last is None:
                return []
            position = sa.tuple_(_JOBS.c.created, _JOBS.c.id)
            last_position = sa.tuple_(sa.literal(last.created), sa.literal(last.id))
            query = query.where(position < last_position if newest_first else position > last_position)
        order = (_JOBS.c.created, _JOBS.c.id)
        query = query.order_by(*(column.desc() for column in order) if newest_first else order).limit(limit)
        with self._engine.connect() as connection:
            return [_to_job(row) for row in connection.execute(query).mappings()]

    def count(self, statuses: Sequence[Status], owner: str | None = None, since: float = 0.0) -> int:
        """Return the number of jobs with one of some statuses, of an owner or of all, created at `since` or later."""
        query = sa.select(sa.func.count()).where(_JOBS.c.status.in_(statuses))
        if since:
            # None of the future, as there are where the clock was put back.
            query = query.where(_JOBS.c.created.between(since, self._clock() + 1))
        if owner is not None:
            query = query.where(_JOBS.c.owner == owner)
        with self._engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def claim(self, worker: str) -> Job | None:
        """Take the next job that waits, or whose worker has ended without a word; None where there is none.

        Owners take turns: next is the oldest job of the owner for whom a job was begun longest ago.

        Args:
          worker: name of the worker, of no other.
        """
        while True:
            time_now = self._clock()
            waits = sa.or_(
                _JOBS.c.status == "queued",
                sa.and_(_JOBS.c.status == "in_progress", self._has_run_out(time_now)),
            )
            query = sa.select(_JOBS).where(waits).order_by(_JOBS.c.created, _JOBS.c.id).limit(1)
            with self._engine.begin() as connection:
                owner = _find_next_owner(connection, waits)
                if owner is not None:
                    query = query.where(_JOBS.c.owner == owner)
                row = connection.execute(query).mappings().first()
                if row is None:
                    return None
                job = _to_job(row)
                if job.attempts >= MOST_ATTEMPTS:
                    lost = dataclasses.replace(
                        job,
                        status="failed",
                        ended=time_now,
                        stage="",
                        error=f"its worker ended {job.attempts} times without a word",
                    )
                    connection.execute(_unchanged(job, waits).values(**_to_row(lost)))
                    continue
                if (mine := self._take(connection, job, waits, worker, time_now)) is not None:
                    return mine

    def _has_run_out(self, time_now: float) -> sa.ColumnElement[bool]:
        """Return whether a lease has run out; also one that lasts longer than any can: the clock was put back since."""
        return sa.or_(_JOBS.c.lease_until < time_now, _JOBS.c.lease_until > time_now + 2 * self.lease)

    def claim_batch(self, worker: str, limit: int) -> Sequence[Job]:
        """Take the next job, and others that can be computed in one batch with it (`Job.batch_key`).

        Those that join go before older jobs of other shapes, but never before the next one, which every batch begins with: nobody waits
        for more than one batch longer. Owners take turns among them too.

        Args:
          worker: name of the worker, of no other.
          limit: most jobs, the first included.
        """
        first = self.claim(worker)
        if first is None:
            return []
        jobs, key = [first], first.batch_key()
        if limit > 1 and first.shape and first.attempts == 1:
            waits = _JOBS.c.status == "queued"
            # One that has ended a worker is done alone.
            query = sa.select(_JOBS).where(waits, _JOBS.c.attempts == 0)
            query = query.order_by(_JOBS.c.created, _JOBS.c.id).limit(LOOKAHEAD)
            with self._engine.connect() as connection:
                waiting = [_to_job(row) for row in connection.execute(query).mappings()]
            for job in _take_turns([job for job in waiting if job.batch_key() == key], first.owner):
                if len(jobs) == limit:
                    break
                # One transaction each: workers that hold several rows would wait for one another.
                with self._engine.begin() as connection:
                    if (mine := self._take(connection, job, waits, worker, self._clock())) is not None:
                        jobs.append(mine)
        return [dataclasses.replace(job, batch=len(jobs)) for job in jobs]

    def _take(
        self, connection: sa.Connection, job: Job, waits: sa.ColumnElement[bool], worker: str, time_now: float
    ) -> Job | None:
        """Claim a job that was read; None where another worker was faster."""
        values = {
            "status": "in_progress", "worker": worker, "lease_until": time_now + self.lease, "attempts": job.attempts + 1,
            "progress": 0.0, "stage": "",
        }  # fmt: skip
        if connection.execute(_unchanged(job, waits).values(**values)).rowcount != 1:
            return None
        return dataclasses.replace(
            job, status="in_progress", attempts=job.attempts + 1, progress=0.0, stage=""
        )

    def renew(self, id: str, worker: str) -> None:
        """Renew the lease of a worker's job."""
        with self._engine.begin() as connection:
            connection.execute(_of(id, worker).values(lease_until=self._clock() + self.lease))

    def report(self, id: str, worker: str, progress: float, stage: str) -> bool:
        """Store how far a job is and renew its lease; return whether it is still the worker's, and not canceled."""
        values = {"progress": progress, "stage": stage[:200], "lease_until": self._clock() + self.lease}
        with self._engine.begin() as connection:
            return connection.execute(_of(id, worker).values(**values)).rowcount == 1

    def release(self, id: str, worker: str) -> None:
        """Give a job back to the queue: its worker stops. The attempt doesn't count."""
        values = {
            "status": "queued", "worker": "", "progress": 0.0, "stage": "", "attempts": _JOBS.c.attempts - 1,
        }  # fmt: skip
        with self._engine.begin() as connection:
            connection.execute(_of(id, worker).values(**values))

    def end(
        self, job: Job, worker: str, *, error: str = "", notes: Sequence[str] = (), report: dict | None = None
    ) -> Job | None:
        """Store the end of a job; return it, or None where it is no longer the worker's."""
        ended_job = dataclasses.replace(
            job,
            status="failed" if error else "completed",
            progress=job.progress if error else 100.0,
            stage=TELLING if job.webhook else "",
            error=error,
            notes=tuple(dict.fromkeys((*job.notes, *notes))),
            report=report,
            ended=self._clock(),
        )
        # Whoever tells the webhook has a lease for that, as for the job before.
        row = _to_row(ended_job) | {"lease_until": self._clock() + self.lease}
        with self._engine.begin() as connection:
            stored = connection.execute(_of(job.id, worker).values(**row)).rowcount == 1
        return ended_job if stored else None

    def claim_untold(self, worker: str, limit: int) -> Sequence[Job]:
        """Take jobs that have ended and whose webhook nobody tells: the worker that was to do it has ended.

        Args:
          worker: name of the worker, of no other.
          limit: most jobs.
        """
        time_now = self._clock()
        is_left = sa.and_(_JOBS.c.status.in_(FINAL), _JOBS.c.stage == TELLING, self._has_run_out(time_now))
        query = sa.select(_JOBS).where(is_left).order_by(_JOBS.c.ended, _JOBS.c.id).limit(limit)
        jobs = []
        with self._engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        for row in rows:
            update = sa.update(_JOBS).where(_JOBS.c.id == row["id"], is_left)
            with self._engine.begin() as connection:
                mine = {"worker": worker, "lease_until": time_now + self.lease}
                if connection.execute(update.values(**mine)).rowcount == 1:
                    jobs.append(_to_job(row))
        return jobs

    def begin_telling(self, id: str, worker: str) -> bool:
        """Renew the lease of a worker that tells a job's webhook; return whether that is still its to tell."""
        return self._set_telling(id, worker, lease_until=self._clock() + self.lease)

    def end_telling(self, id: str, worker: str) -> None:
        """Store that a job's webhook has been told, or was given up."""
        self._set_telling(id, worker, stage="")

    def _set_telling(self, id: str, worker: str, **values: Any) -> bool:
        query = sa.update(_JOBS).where(
            _JOBS.c.id == id, _JOBS.c.worker == worker, _JOBS.c.stage == TELLING, _JOBS.c.status.in_(FINAL)
        )
        with self._engine.begin() as connection:
            return connection.execute(query.values(**values)).rowcount == 1

    def cancel(self, id: str) -> bool:
        """Cancel a job that has not ended; return whether it had not."""
        query = sa.update(_JOBS).where(_JOBS.c.id == id, _JOBS.c.status.in_(("queued", "in_progress")))
        with self._engine.begin() as connection:
            values = {"status": "canceled", "ended": self._clock(), "stage": ""}
            return connection.execute(query.values(**values)).rowcount == 1

    def delete(self, id: str) -> None:
        """Delete a job."""
        with self._engine.begin() as connection:
            connection.execute(sa.delete(_JOBS).where(_JOBS.c.id == id))

    def find_expired(self, deadline: float) -> Sequence[str]:
        """Return the ids of jobs that ended before a time."""
        query = sa.select(_JOBS.c.id).where(_JOBS.c.status.in_(FINAL), _JOBS.c.ended < deadline)
        with self._engine.connect() as connection:
            return list(connection.execute(query).scalars())


def _unchanged(job: Job, waits: sa.ColumnElement[bool]) -> sa.Update:
    """Return the update of a job that was read: it does something only for the first of several workers that have read it."""
    return sa.update(_JOBS).where(_JOBS.c.id == job.id, waits, _JOBS.c.attempts == job.attempts)


def _find_next_owner(connection: sa.Connection, waits: sa.ColumnElement[bool]) -> str | None:
    """Return whose turn it is, of the owners with jobs that wait; None where there is one at most."""
    owners = connection.execute(sa.select(_JOBS.c.owner).where(waits).distinct()).scalars().all()
    if len(owners) < 2:
        return None
    # Leases end so long after a job was begun, or was last renewed.
    last = sa.func.max(_JOBS.c.lease_until)
    query = sa.select(_JOBS.c.owner).where(_JOBS.c.owner.in_(owners)).group_by(_JOBS.c.owner)
    first_job = sa.func.min(sa.case((waits, _JOBS.c.created)))
    return connection.execute(query.order_by(last, first_job, _JOBS.c.owner).limit(1)).scalar_one()


def _take_turns(jobs: Sequence[Job], last_owner: str) -> Sequence[Job]:
    """Return jobs, in the order of their age, so that their owners take turns, beginning behind the one whose turn was last."""
    turns: dict[str, int] = {last_owner: 1}
    numbered = []
    for place, job in enumerate(jobs):
        turn = turns.get(job.owner, 0)
        turns[job.owner] = turn + 1
        numbered.append((turn, place, job))
    return [job for _, _, job in sorted(numbered, key=lambda entry: entry[:2])]


def _of(id: str, worker: str) -> sa.Update:
    """Return the update of a job that a worker has claimed."""
    return sa.update(_JOBS).where(_JOBS.c.id == id, _JOBS.c.worker == worker, _JOBS.c.status == "in_progress")


def _to_row(job: Job) -> dict[str, Any]:
    values = dataclasses.asdict(job)
    details = {name: values.pop(name) for name in _DETAILS}
    return values | {"details": json.dumps(details)}


def _to_job(row: Any) -> Job:
    names = [field.name for field in dataclasses.fields(Job) if field.name not in _DETAILS]
    details = json.loads(row["details"])
    return Job(**{name: row[name] for name in names}, **details | {"notes": tuple(details["notes"])})
