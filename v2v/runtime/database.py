"""A database of SQLAlchemy (extra `[serve]`) whose commits reach the disk: SQLite, or any other that an address names."""

from typing import Any

import sqlalchemy as sa
import sqlalchemy.event
import sqlalchemy.exc

from v2v.errors import InputError, install_hint


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
        except (sqlalchemy.exc.ProgrammingError, sqlalchemy.exc.IntegrityError):
            tables.create_all(engine)  # another process made them at the same moment
    except (sqlalchemy.exc.SQLAlchemyError, ModuleNotFoundError) as error:
        text, remedy = " ".join(str(error).split()), "such as sqlite:///jobs.db"
        if isinstance(error, ModuleNotFoundError) and error.name == "psycopg":
            remedy = install_hint("postgres")
        raise InputError(f"{place}: expected a database, got: {text[:300]}; {remedy}") from None
    return engine


def _configure_sqlite(connection: Any, _: Any) -> None:
    """Let readers and a writer work at the same time, writers wait for each other, and a commit reach the disk."""
    for pragma in ("journal_mode=WAL", "busy_timeout=30000", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")
