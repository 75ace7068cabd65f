"""The engine: how to reach SQLite, what it can do, and what its failures mean to a user.

No other file asks which database it talks to.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from comfyvn.db import schema
from comfyvn.db.files import MEND, check_files, files_of, is_frozen
from comfyvn.errors import LedgerConflict, OlderLibrary, RegistryBusy, RegistryUnusable
from comfyvn.model import Limits

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

    from comfyvn.db.legacy import Upgrade

__all__ = ["Engine", "inspect_ledger", "open_engine", "rehearse_upgrade"]

_log = logging.getLogger(__name__)
_LIMITS: Final = Limits()
_COPY_TRIES: Final = 5
_WRITE: Final = "comfyvn_write"
_SHM_BYTES: Final = 65_536
_SYNCHRONOUS: Final = {"full": "FULL", "batch": "FULL", "off": "OFF"}
_MIGRATING: Final = threading.Lock()
"""Alembic keeps the migration at hand in module globals: two at once would use each other's connection."""


class Engine:
    """One ledger file, reached by any number of threads.

    ``read()`` and ``write()`` are the only ways in. A write transaction takes the lock at its start
    (``BEGIN IMMEDIATE``): one that reads first and locks later fails when another was faster.

    ``upgraded`` tells what opening it did to a database of an older release.
    """

    def __init__(self, path: Path, *, busy_timeout_s: float, durability: str) -> None:
        self.path = path
        self._busy_timeout_s = busy_timeout_s
        self._synchronous = _SYNCHRONOUS[durability]
        self._writer = threading.Lock()
        self._pid = os.getpid()
        self.upgraded: Upgrade | None = None
        self._frozen_at = _size_and_time(path) if is_frozen(path) else None
        self._engine = sa.create_engine(
            _url(path, is_frozen=self._frozen_at is not None),
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
        if self._frozen_at is not None and self._frozen_at != _size_and_time(self.path):
            why = "another program wrote to it while it was read from where it can't be written. Try again."
            raise RegistryUnusable(path=self.path, why=why)

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

    @contextmanager
    def watch(self) -> Iterator[Callable[[], int]]:
        """Give a cheap question whose answer changes with every commit, of any connection or process.

        It has a connection of its own, which is given back at the end.
        """
        self._notice_fork()
        with self._explained(), self._engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            yield lambda: int(driver.execute("PRAGMA data_version").fetchall()[0][0])

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
            if self._frozen_at is None:
                self._enter_wal(cursor)
            cursor.execute("PRAGMA cache_size = -16000")
            # some builds switch them on; tables of other parts that point to assets must not bind us
            cursor.execute("PRAGMA foreign_keys = OFF")
        finally:
            cursor.close()

    def _enter_wal(self, cursor: Any) -> None:
        """Switch to WAL; SQLite answers "busy" at once here, without the usual waiting, so we wait.

        The switch writes to the file, and a database of an older release is backed up before that.
        """
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] == "wal" or _is_older(cursor.connection):
            return
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
        if "disk I/O" in text and _is_full(self.path.parent):  # there is no room for the -shm file
            text = "disk is full"
        if _is_busy(error):
            return RegistryBusy(path=self.path, seconds=self._busy_timeout_s)
        whys = {
            "disk is full": "the disk is full. Nothing was half-written; make room and try again.",
            "readonly": "the ledger can't be written to. Is its disk read-only? Check the permissions of the "
            "file and its folder.",
            "unable to open": "the ledger can't be opened. Does its folder exist, and may you write there? "
            "SQLite writes beside a ledger with unfinished changes even to read it.",
            "not a database": "this file is no SQLite database; it is untouched. If it was your ledger, "
            + MEND,
            "malformed": f"this database is damaged. {MEND}",
            "disk I/O": "the disk reported an error while the ledger was read or written.",
        }
        why = next((why for sign, why in whys.items() if sign in text), None)
        return RegistryUnusable(path=self.path, why=why) if why else None


def open_engine(
    path: Path,
    *,
    busy_timeout_s: float = 30.0,
    durability: str = "full",
    thumbs_rel: str = "cache/thumbs",
    limits: Limits = _LIMITS,
) -> Engine:
    """Open a ledger, making or upgrading its tables where they are behind.

    Any number of processes may do this at once on a file that does not exist yet, or that an older release
    wrote: that is backed up beside itself and upgraded by one of them. An up-to-date ledger costs one small
    query.

    Args:
        path: the file.
        busy_timeout_s: how long to wait for other programs.
        durability: what a commit waits for.
        thumbs_rel: what names of previews start with; for upgraded assets that have none yet.
        limits: how much metadata an upgraded asset may have; what is more is kept aside.

    Raises:
        OlderLibrary: its asset tables are of no known release; it is not touched.
        RegistryBusy: another program kept it locked for too long.
        RegistryUnusable: it can't be opened, written or read.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RegistryUnusable(path=path, why=f"its folder can't be made: {error.strerror}.") from error
    check_files(path)
    engine = Engine(path, busy_timeout_s=busy_timeout_s, durability=durability)
    try:
        with engine.read() as connection:
            revision = _revision(connection)
        if revision != schema.HEAD:
            _migrate(engine, thumbs_rel, limits)
    except BaseException:
        engine.close()
        raise
    if engine.upgraded is not None:
        backup = engine.upgraded.backup
        _log.warning("%s was of an older ComfyVN release and is upgraded; as it was: %s", path, backup)
    return engine


def rehearse_upgrade(
    path: Path, *, thumbs_rel: str = "cache/thumbs", limits: Limits = _LIMITS
) -> Upgrade | None:
    """Tell what opening a database would do to it, by doing that to a copy in the system's temporary folder.

    No registry of this process may be open on it: a file read otherwise than by SQLite loses its locks.

    Returns:
        None when its assets are in this release's tables already.

    Raises:
        OlderLibrary, RegistryBusy, RegistryUnusable: what opening it would raise.
    """
    check_files(path)
    if _is_ours(path):
        return None
    with tempfile.TemporaryDirectory(prefix="comfyvn-", ignore_cleanup_errors=True) as folder:
        copy = Path(folder) / path.name
        _copy_quiet(path, copy)
        engine = Engine(copy, busy_timeout_s=0.0, durability="off")
        try:
            _migrate(engine, thumbs_rel, limits, keeps_backup=False)
        except RegistryUnusable as error:
            raise type(error)(**{**error.fields, "path": path}) from error
        finally:
            engine.close()
    if engine.upgraded is not None:
        from comfyvn.db.legacy import backup_path

        engine.upgraded.backup = backup_path(path)
    return engine.upgraded


def inspect_ledger(path: Path) -> tuple[dict[str, str], list[str]]:
    """Look at a ledger without changing it, not even its mode.

    Returns:
        What a bug report should say of it (schema, journal mode, size), and what SQLite's own quick check
        finds wrong, empty when the file is sound.

    Raises:
        RegistryUnusable: it can't be opened or read as a database.
    """
    check_files(path)
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
        is_damaged = any(sign in str(error) for sign in ("not a database", "malformed"))
        why = f"SQLite can't read it: {error}." + (f" {MEND}" if is_damaged else "")
        raise RegistryUnusable(path=path, why=why) from error
    return facts, [] if found == ["ok"] else found


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < _SHM_BYTES
    except OSError:
        return False


def _url(path: Path, *, is_frozen: bool) -> sa.URL:
    if not is_frozen:
        return sa.URL.create("sqlite+pysqlite", database=str(path))
    options = {"mode": "ro", "immutable": "1", "uri": "true"}
    return sa.URL.create("sqlite+pysqlite", database=path.absolute().as_uri(), query=options)


def _size_and_time(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _journal_mode(path: Path) -> str:
    """Return the mode that a database file states in its header (bytes 18 and 19; SQLite file format 1.3)."""
    with path.open("rb") as file:
        return "wal" if file.read(20)[18:20] == b"\x02\x02" else "rollback"


def _is_ours(path: Path) -> bool:
    """Tell a ledger of ours by a look that leaves no trace; what its ``-wal`` holds can't make it older."""
    with suppress(sqlite3.Error):
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            return _has_table(connection, schema.VERSION_TABLE)
    return False


def _copy_quiet(path: Path, target: Path) -> None:
    """Copy a database and its side files as they lie there, at a moment when nobody writes to them."""
    for _ in range(_COPY_TRIES):
        sources = [each for each in files_of(path) if each.exists() and not each.name.endswith("-shm")]
        with suppress(FileNotFoundError):
            before = [_size_and_time(each) for each in sources]
            for each in sources:
                shutil.copyfile(each, target.with_name(each.name))
            if before == [_size_and_time(each) for each in sources]:
                return
        for each in files_of(target):
            each.unlink(missing_ok=True)
    raise RegistryUnusable(path=path, why="another program is writing to it. Close that one, and try again.")


def _migrate(engine: Engine, thumbs_rel: str, limits: Limits, *, keeps_backup: bool = True) -> None:
    with engine.write() as connection:
        revision = _revision(connection)  # another process may have been faster
        if revision == schema.HEAD:
            return
        if revision is not None and revision > schema.HEAD:
            why = f"a newer comfyvn wrote it (schema {revision}; known here: {schema.HEAD}). Upgrade comfyvn."
            raise RegistryUnusable(path=engine.path, why=why)
        driver: Any = connection.connection.driver_connection
        if revision is None:
            _refuse_clash(driver, engine.path)
        if not _is_older(driver):
            _make_tables(connection)
            return
        from comfyvn.db import legacy

        upgraded = legacy.upgrade(
            connection,
            engine.path,
            lambda: _make_tables(connection),
            thumbs_rel=thumbs_rel,
            limits=limits,
            keeps_backup=keeps_backup,
        )
    engine.upgraded = upgraded
    engine.close()  # its connections are still in the mode that the older release left


def _refuse_clash(driver: sqlite3.Connection, path: Path) -> None:
    """Refuse a database in which somebody else's tables, views or indexes have names that ours get."""
    tables = schema.metadata.tables.values()
    ours = {name for table in tables for name in (table.name, *(str(index.name) for index in table.indexes))}
    ours -= {"assets_registry", "provenance"}  # these are an older release's, or looked at by the upgrade
    for kind, name in driver.execute("SELECT type, name FROM sqlite_master").fetchall():
        if str(name).lower() in ours or str(name).lower().startswith("asset_upgrade_"):
            raise OlderLibrary(path=path, shape=f"a {kind} named {name}, which is not ours")


def _make_tables(connection: sa.Connection) -> None:
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


def _is_older(driver: sqlite3.Connection) -> bool:
    """Tell a database whose asset tables are not ours."""
    if _has_table(driver, schema.VERSION_TABLE):
        return False
    return any(_has_table(driver, table) for table in ("assets_registry", "provenance"))


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
