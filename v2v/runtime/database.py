"""A database of SQLAlchemy (extra `[serve]`) whose commits reach the disk: SQLite, or any other that an address names."""

from pathlib import Path
from typing import Any

import sqlalchemy as sa
import sqlalchemy.event
import sqlalchemy.exc

from v2v.errors import InputError, install_hint


class LostDatabaseError(sqlalchemy.exc.SQLAlchemyError):
    """The file of a database was deleted or replaced while it was open: what would be written to it would be gone with this process."""


def open_database(address: str, tables: sa.MetaData, place: str) -> sa.Engine:
    """Open a database, and create its tables where there are none.

    Args:
      address: of SQLAlchemy, such as "sqlite:///jobs.db" or "postgresql+psycopg://user@host/name".
      tables: what it holds.
      place: how a message names it.

    Raises:
      InputError: the address is malformed, its driver isn't installed, or nothing answers.
    """
    try:
        engine = sa.create_engine(address, pool_pre_ping=True)
        if engine.dialect.name == "sqlite":
            sqlalchemy.event.listen(engine, "connect", _configure_sqlite)
        try:
            tables.create_all(engine)
        except sqlalchemy.exc.DatabaseError as error:
            # SQLite's only; of others it says that nothing answers.
            if isinstance(error, sqlalchemy.exc.OperationalError) and engine.dialect.name != "sqlite":
                raise
            tables.create_all(engine)  # another process made them at the same moment
        if engine.dialect.name == "sqlite" and (file := _find_file(engine)) is not None:
            _watch_file(engine, file)
    except (sqlalchemy.exc.SQLAlchemyError, ModuleNotFoundError) as error:
        text, remedy = " ".join(str(error).split()), "such as sqlite:///jobs.db"
        if isinstance(error, ModuleNotFoundError) and error.name == "psycopg":
            remedy = install_hint("postgres")
        raise InputError(f"{place}: expected a database, got: {text[:300]}; {remedy}") from None
    return engine


def _find_file(engine: sa.Engine) -> Path | None:
    """Return the file of an SQLite database, as the database calls it; None where it lies in memory."""
    with engine.connect() as connection:
        rows = connection.execute(sa.text("PRAGMA database_list")).all()
    file = next((row[2] for row in rows if row[1] == "main"), "")
    return Path(file) if file else None


def _watch_file(engine: sa.Engine, file: Path) -> None:
    """Refuse every use of a database whose file is no longer there, or is another."""
    status = file.stat()
    identity = (status.st_dev, status.st_ino)

    def check(*_: Any) -> None:
        try:
            status = file.stat()
        except FileNotFoundError:
            pass
        except OSError:  # the database tells it, if it matters
            return
        else:
            if (status.st_dev, status.st_ino) == identity:
                return
        raise LostDatabaseError(
            f"the database {file} was deleted or replaced while it was open; start v2v again, which opens the one that is there then"
        )

    # Before connecting too: SQLite would create an empty file.
    for moment in ("do_connect", "checkout"):
        sqlalchemy.event.listen(engine, moment, check)


def _configure_sqlite(connection: Any, _: Any) -> None:
    """Let readers and a writer work at the same time, writers wait for each other, and a commit reach the disk."""
    # The patience first: changing the journal's mode waits for others too.
    for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")
