"""The engine: how to reach SQLite, what it can do, and what its failures mean to a user.

No other file asks which database it talks to.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Final

from comfyvn.db.files import MEND, check_files, files_of, is_frozen
from comfyvn.errors import LedgerConflict, OlderLibrary, RegistryBusy, RegistryUnusable, TooBusy
from comfyvn.model import Limits

if TYPE_CHECKING:
    from comfyvn.db.legacy import Upgrade

__all__ = [
    "GIVE_UP",
    "HEAD",
    "VERSION_TABLE",
    "Engine",
    "inspect_ledger",
    "open_engine",
    "rehearse_upgrade",
]

GIVE_UP: Final[ContextVar[Callable[[], bool] | None]] = ContextVar("comfyvn_give_up", default=None)
"""Asked again and again while this task or thread reads: once it says True, the question ends with `TooBusy`.

A write is never given up.
"""

HEAD: Final = "0006"
"""The newest revision in ``migrations/versions``; opening a ledger at this revision runs no migration."""
VERSION_TABLE: Final = "asset_schema_version"

_log = logging.getLogger(__name__)
_LIMITS: Final = Limits()
_COPY_TRIES: Final = 5
_IDLE_CONNECTIONS: Final = 8
_CACHED_STATEMENTS: Final = 256
_ASKED_EVERY: Final = 10_000  # instructions of SQLite, about a millisecond
_NO_SEARCH: Final = (
    f"the SQLite of this Python ({sqlite3.sqlite_version}) has no full-text index of trigrams (FTS5; since "
    "3.34). Use a Python with a newer one, as those of python.org and of Linux distributions since 2022 are."
)
_GIVEN_UP: Final = "The question was given up: who asked it is gone, or the server ends."
_OURS_MEANWHILE: Final = ("asset_upgrade_", "asset_tag", "asset_search", "ix_assets_registry_")
"""How names begin that an upgrade or the migrations use, be it for a moment."""
_SHM_BYTES: Final = 65_536
_SYNCHRONOUS: Final = {"full": "FULL", "batch": "FULL", "off": "OFF"}
_MIGRATING: Final = threading.Lock()
"""Alembic keeps the migration at hand in module globals: two at once would use each other's connection."""
_LEFT_TO_PARENT: Final[list[sqlite3.Connection]] = []
"""Connections of a parent process in a forked child; to collect them would close them."""


class _Connection(sqlite3.Connection):
    """A connection whose transactions only `Engine` begins and ends, by SQL, whatever a migration calls."""

    synchronous: str | None = None
    generation = 0

    def commit(self) -> None:
        pass

    def rollback(self) -> None:
        pass


class Engine:
    """One ledger file, reached by any number of threads.

    SQL goes straight to the driver: a statement of SQLAlchemy costs some 60 us a call, and loading it twenty
    times an empty start of Python (benchmarks ``tiny``, ``page`` and ``show``). It declares the tables and
    changes them (`comfyvn.db.schema`, migrations), and is loaded for that alone. Connections stay open and
    are lent to one thread at a time: to connect costs 25 times a look-up.

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
        self._idle: list[_Connection] = []
        self._generation = 0

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Give a connection that sees one state of the ledger.

        Raises:
            TooBusy: `GIVE_UP` said so.
        """
        give_up = GIVE_UP.get()
        if give_up is not None and give_up():
            raise TooBusy(why=_GIVEN_UP)
        with self._lent() as connection:
            connection.execute("BEGIN")
            if give_up is not None:
                connection.set_progress_handler(give_up, _ASKED_EVERY)
            try:
                yield connection
            finally:
                if give_up is not None:
                    connection.set_progress_handler(None, 0)
                _end(connection, "COMMIT")
        if self._frozen_at is not None and self._frozen_at != _size_and_time(self.path):
            why = "another program wrote to it while it was read from where it can't be written. Try again."
            raise RegistryUnusable(path=self.path, why=why)

    @contextmanager
    def write(self, *, is_durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Give a connection inside a write transaction: committed at the end, rolled back on an error.

        Args:
            is_durable: False for what may be lost in a power cut (ids held back, the state of previews): the
                commit then waits for no disk.
        """
        self._notice_fork()
        with self._writer, self._lent() as connection:
            # not OFF: a checkpoint that such a commit starts would trust a log which no disk has yet
            level = self._synchronous if is_durable or self._synchronous == "OFF" else "NORMAL"
            if connection.synchronous != level:  # SQLite refuses to change it in a transaction
                connection.execute(f"PRAGMA synchronous = {level}")
                connection.synchronous = level
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                _end(connection, "ROLLBACK")

    @contextmanager
    def watch(self) -> Iterator[Callable[[], int]]:
        """Give a cheap question whose answer changes with every commit, of any connection or process.

        It has a connection of its own, which is given back at the end.
        """
        with self._lent() as connection:
            yield lambda: int(connection.execute("PRAGMA data_version").fetchall()[0][0])

    def close(self) -> None:
        """Close every connection; one that is lent is closed when it comes back."""
        self._generation += 1
        while self._idle:
            self._idle.pop().close()

    # -- inside ---------------------------------------------------------------------------------------

    @contextmanager
    def _lent(self) -> Iterator[_Connection]:
        """Lend a connection; what SQLite says meanwhile is raised as our own error where it is known."""
        self._notice_fork()
        connection = None
        try:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect()
            yield connection
        except sqlite3.Error as error:
            known = self._explain(error)
            if known is None:
                raise
            raise known from error
        finally:
            if connection is not None:
                self._take_back(connection)

    def _take_back(self, connection: _Connection) -> None:
        is_whole = not connection.in_transaction and connection.generation == self._generation
        if is_whole and len(self._idle) < _IDLE_CONNECTIONS:
            self._idle.append(connection)
        else:
            connection.close()

    def _notice_fork(self) -> None:
        """Leave the parent's connections to the parent: SQLite forbids to use them in a forked child."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._writer = threading.Lock()
            _LEFT_TO_PARENT.extend(self._idle)
            self._idle = []

    def _connect(self) -> _Connection:
        is_frozen = self._frozen_at is not None
        place = f"{self.path.absolute().as_uri()}?mode=ro&immutable=1" if is_frozen else str(self.path)
        connection = sqlite3.connect(
            place,
            uri=is_frozen,
            timeout=self._busy_timeout_s,
            isolation_level=None,  # we say BEGIN ourselves
            check_same_thread=False,
            cached_statements=_CACHED_STATEMENTS,
            factory=_Connection,
        )
        connection.generation = self._generation
        try:
            if not is_frozen:
                self._enter_wal(connection)
            connection.execute("PRAGMA cache_size = -16000")
            # some builds switch them on; tables of other parts that point to assets must not bind us
            connection.execute("PRAGMA foreign_keys = OFF")
        except BaseException:
            connection.close()
            raise
        return connection

    def _enter_wal(self, connection: sqlite3.Connection) -> None:
        """Switch to WAL; SQLite answers "busy" at once here, without the usual waiting, so we wait.

        The switch writes to the file, and a database of an older release is backed up before that.
        """
        if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal" or _is_older(connection):
            return
        deadline = time.monotonic() + self._busy_timeout_s
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _explain(self, error: sqlite3.Error) -> RegistryUnusable | LedgerConflict | TooBusy | None:
        """Return our own error for what can befall a database, None for a fault of ours."""
        text = str(error)
        if isinstance(error, sqlite3.IntegrityError):
            return LedgerConflict(path=self.path) if "constraint" in text else None
        if text == "interrupted":
            return TooBusy(why=_GIVEN_UP)
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
            "fts5": _NO_SEARCH,
            "no such tokenizer": _NO_SEARCH,
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
        if revision != HEAD:
            if revision is not None and revision < HEAD and (is_frozen(path) or not os.access(path, os.W_OK)):
                why = (
                    "an older version of comfyvn wrote it, and it can't be brought up to date where it can't"
                )
                raise RegistryUnusable(path=path, why=f"{why} be written to. Copy the library elsewhere.")
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
    import tempfile  # loads half of the standard library, and nothing else here wants it

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
            if VERSION_TABLE in tables:
                query = f"SELECT version_num FROM {VERSION_TABLE}"
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
            return _has_table(connection, VERSION_TABLE)
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
        if revision == HEAD:
            return
        if revision is not None and revision > HEAD:
            why = f"a newer comfyvn wrote it (schema {revision}; known here: {HEAD}). Upgrade comfyvn."
            raise RegistryUnusable(path=engine.path, why=why)
        if revision is None:
            _refuse_clash(connection, engine.path)
        if not _is_older(connection):
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


def _refuse_clash(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a database in which somebody else's tables, views or indexes have names that ours get."""
    from comfyvn.db import schema

    tables = schema.metadata.tables.values()
    ours = {name for table in tables for name in (table.name, *(str(index.name) for index in table.indexes))}
    ours -= {"assets_registry", "provenance"}  # these are an older release's, or looked at by the upgrade
    for kind, name in connection.execute("SELECT type, name FROM sqlite_master").fetchall():
        if str(name).lower() in ours or str(name).lower().startswith(_OURS_MEANWHILE):
            raise OlderLibrary(path=path, shape=f"a {kind} named {name}, which is not ours")


def _make_tables(connection: sqlite3.Connection) -> None:
    """Run the migrations in the transaction that the connection has open."""
    import sqlalchemy as sa
    from alembic import command
    from alembic.config import Config

    engine = sa.create_engine("sqlite://", creator=lambda: connection, poolclass=sa.StaticPool)
    config = Config()
    config.set_main_option("script_location", "comfyvn.db:migrations")
    with _MIGRATING, _as_our_errors(), engine.connect() as config.attributes["connection"]:
        command.upgrade(config, HEAD)


@contextmanager
def _as_our_errors() -> Iterator[None]:
    """Have what SQLAlchemy wraps raised as the driver said it."""
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise error.orig from error
        raise


def _revision(connection: sqlite3.Connection) -> str | None:
    if not _has_table(connection, VERSION_TABLE):
        return None
    found = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()
    return None if found is None else str(found[0])


def _is_older(connection: sqlite3.Connection) -> bool:
    """Tell a database whose asset tables are not ours."""
    if _has_table(connection, VERSION_TABLE):
        return False
    return any(_has_table(connection, table) for table in ("assets_registry", "provenance"))


def _has_table(connection: sqlite3.Connection, name: str) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type IN ('table', 'view') AND name = ?"
    return connection.execute(query, (name,)).fetchone() is not None


def _end(connection: sqlite3.Connection, how: str) -> None:
    """End a transaction, if SQLite has not done so itself."""
    if connection.in_transaction:
        connection.execute(how)


def _is_busy(error: sqlite3.Error) -> bool:
    return "locked" in str(error) or "busy" in str(error)
