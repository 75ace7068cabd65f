"""The engine: how to reach SQLite, what it can do, and what its failures mean to a user.

No other file asks which database it talks to.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from comfyvn.db import schema
from comfyvn.errors import LedgerConflict, OlderLibrary, RegistryBusy, RegistryUnusable

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

__all__ = ["Engine", "inspect_ledger", "open_engine"]

_WRITE: Final = "comfyvn_write"
_SYNCHRONOUS: Final = {"full": "FULL", "batch": "FULL", "off": "OFF"}
_MIGRATING: Final = threading.Lock()
"""Alembic keeps the migration at hand in module globals: two at once would use each other's connection."""


class Engine:
    """One ledger file, reached by any number of threads.

    ``read()`` and ``write()`` are the only ways in. A write transaction takes the lock at its start
    (``BEGIN IMMEDIATE``): one that reads first and locks later fails when another was faster.
    """

    def __init__(self, path: Path, *, busy_timeout_s: float, durability: str) -> None:
        self.path = path
        self._busy_timeout_s = busy_timeout_s
        self._synchronous = _SYNCHRONOUS[durability]
        self._writer = threading.Lock()
        self._pid = os.getpid()
        self._engine = sa.create_engine(
            sa.URL.create("sqlite+pysqlite", database=str(path)),
            connect_args={"timeout": busy_timeout_s, "check_same_thread": False},
            json_serializer=_dump_json,
            pool_size=8,
            max_overflow=-1,
        )
        sa.event.listen(self._engine, "connect", self._on_connect)
        sa.event.listen(self._engine, "begin", _on_begin)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Give a connection that sees one state of the ledger."""
        self._notice_fork()
        with self._explained(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self, *, is_durable: bool = True) -> Iterator[sa.Connection]:
        """Give a connection inside a write transaction: committed at the end, rolled back on an error.

        Args:
            is_durable: False for what may be lost in a power cut (ids held back, the state of previews): the
                commit then waits for no disk.
        """
        self._notice_fork()
        with self._explained(), self._writer, self._engine.connect() as connection:
            connection = connection.execution_options(**{_WRITE: True})
            _set_synchronous(connection, self._synchronous if is_durable else "OFF")
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    # -- inside ---------------------------------------------------------------------------------------

    def _notice_fork(self) -> None:
        """Leave the parent's connections to the parent: SQLite forbids to use them in a forked child."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._writer = threading.Lock()
            self._engine.dispose(close=False)

    def _on_connect(self, connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        cursor = connection.cursor()
        try:
            self._enter_wal(cursor)
            cursor.execute("PRAGMA cache_size = -16000")
        finally:
            cursor.close()

    def _enter_wal(self, cursor: Any) -> None:
        """Switch to WAL; SQLite answers "busy" at once here, without the usual waiting, so we wait.

        The switch writes to the file, so one that is to be left untouched is refused before it.
        """
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
            return
        _refuse_older(cursor.connection, self.path)
        deadline = time.monotonic() + self._busy_timeout_s
        while True:
            try:
                cursor.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            known = self._explain(error.orig)
            if known is None:
                raise
            raise known from error
        except sqlite3.Error as error:
            known = self._explain(error)
            if known is None:
                raise
            raise known from error

    def _explain(self, error: BaseException | None) -> RegistryUnusable | LedgerConflict | None:
        """Return our own error for what can befall a database, None for a fault of ours."""
        if not isinstance(error, sqlite3.Error):
            return None
        if isinstance(error, sqlite3.IntegrityError):
            return LedgerConflict(path=self.path)
        text = str(error)
        if _is_busy(error):
            return RegistryBusy(path=self.path, seconds=self._busy_timeout_s)
        whys = {
            "disk is full": "the disk is full. Nothing was half-written; make room and try again.",
            "readonly": "the ledger can't be written to. Check the permissions of the file and its folder.",
            "unable to open": "the ledger can't be opened. Does its folder exist, and may you write there?",
            "not a database": "this file is no SQLite database; it is untouched. If it was your ledger, "
            "move it away and run `comfyvn rebuild`: files and sidecars hold all that it held.",
            "malformed": "this database is damaged. Move it away and run `comfyvn rebuild`: the files and "
            "sidecars hold all that it held.",
            "disk I/O": "the disk reported an error while the ledger was read or written.",
        }
        why = next((why for sign, why in whys.items() if sign in text), None)
        return RegistryUnusable(path=self.path, why=why) if why else None


def open_engine(path: Path, *, busy_timeout_s: float = 30.0, durability: str = "full") -> Engine:
    """Open a ledger, making or upgrading its tables where they are behind.

    Any number of processes may do this at once on a file that does not exist yet. An up-to-date ledger costs
    one small query.

    Raises:
        OlderLibrary: the file is one of an older release; it is not touched.
        RegistryBusy: another program kept it locked for too long.
        RegistryUnusable: it can't be opened, written or read.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RegistryUnusable(path=path, why=f"its folder can't be made: {error.strerror}.") from error
    engine = Engine(path, busy_timeout_s=busy_timeout_s, durability=durability)
    try:
        with engine.read() as connection:
            revision = _revision(connection)
        if revision != schema.HEAD:
            _migrate(engine)
    except BaseException:
        engine.close()
        raise
    return engine


def inspect_ledger(path: Path) -> tuple[dict[str, str], list[str]]:
    """Look at a ledger without changing it, not even its mode.

    Returns:
        What a bug report should say of it (schema, journal mode, size), and what SQLite's own quick check
        finds wrong, empty when the file is sound.

    Raises:
        RegistryUnusable: it can't be opened or read as a database.
    """
    try:
        # where nobody has it open, a plain read of a WAL database would leave a -wal and a -shm file behind
        is_open = path.with_name(f"{path.name}-wal").exists()
        how = "mode=ro" if is_open else "mode=ro&immutable=1"
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)
        try:
            facts = {
                name: str(connection.execute(f"PRAGMA {name}").fetchone()[0])
                for name in ("page_count", "page_size")
            }
            facts["journal_mode"] = _journal_mode(path)
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
            if schema.VERSION_TABLE in tables:
                query = f"SELECT version_num FROM {schema.VERSION_TABLE}"
                facts["schema"] = str(connection.execute(query).fetchone()[0])
            else:
                facts["schema"] = "of an older release" if "assets_registry" in tables else "none yet"
            found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(20)")]
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise RegistryUnusable(path=path, why=f"SQLite can't read it: {error}.") from error
    return facts, [] if found == ["ok"] else found


def _journal_mode(path: Path) -> str:
    """Return the mode that a database file states in its header (bytes 18 and 19; SQLite file format 1.3)."""
    with path.open("rb") as file:
        return "wal" if file.read(20)[18:20] == b"\x02\x02" else "rollback"


def _migrate(engine: Engine) -> None:
    with engine.write() as connection:
        revision = _revision(connection)  # another process may have been faster
        if revision == schema.HEAD:
            return
        if revision is not None and revision > schema.HEAD:
            why = f"a newer comfyvn wrote it (schema {revision}; known here: {schema.HEAD}). Upgrade comfyvn."
            raise RegistryUnusable(path=engine.path, why=why)
        driver: Any = connection.connection.driver_connection
        _refuse_older(driver, engine.path)
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", "comfyvn.db:migrations")
        config.attributes["connection"] = connection
        with _MIGRATING:
            command.upgrade(config, schema.HEAD)


def _revision(connection: sa.Connection) -> str | None:
    driver: Any = connection.connection.driver_connection
    if not _has_table(driver, schema.VERSION_TABLE):
        return None
    found = connection.exec_driver_sql(f"SELECT version_num FROM {schema.VERSION_TABLE}").scalar()
    return None if found is None else str(found)


def _refuse_older(driver: sqlite3.Connection, path: Path) -> None:
    """Leave a database alone whose asset tables are not ours."""
    if _has_table(driver, schema.VERSION_TABLE):
        return
    for table in ("assets_registry", "provenance"):
        if _has_table(driver, table):
            columns = [row[1] for row in driver.execute(f"PRAGMA table_info({table})")]
            raise OlderLibrary(path=path, shape=f"{table} with the columns {', '.join(columns)}")


def _has_table(driver: sqlite3.Connection, name: str) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type IN ('table', 'view') AND name = ?"
    return driver.execute(query, (name,)).fetchone() is not None


def _dump_json(value: object) -> str:
    """Return compact JSON with the keys in their own order: it is the order in which sidecars show them."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _set_synchronous(connection: sa.Connection, level: str) -> None:
    """Set what a commit waits for; on the driver's connection, since SQLite refuses it in a transaction."""
    driver: Any = connection.connection.driver_connection
    driver.execute(f"PRAGMA synchronous = {level}").close()


def _on_begin(connection: sa.Connection) -> None:
    is_write = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")


def _is_busy(error: sqlite3.Error) -> bool:
    return "locked" in str(error) or "busy" in str(error)
