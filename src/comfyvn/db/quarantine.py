"""Quarantine: a damaged ledger is moved aside, whole and with its side files, and never deleted."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import sys
from contextlib import closing, suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Final

from comfyvn.db.files import check_files, files_of
from comfyvn.errors import LedgerInUse, LedgerSound, RegistryUnusable

__all__ = ["find_damage", "quarantine"]

_DAMAGE_CODES: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_LOCKS_AT: Final = 0x4000_0000  # where SQLite locks ("Database File Format", the lock-byte page)
_LOCK_BYTES: Final = 512


def quarantine(path: Path, folder: Path) -> Path:
    """Move a damaged ledger, with what lies beside it, into a new folder named by the time (UTC).

    Killed anywhere, each of its files lies in one of the two places, whole. No registry of this process may
    be open on it.

    Args:
        path: the ledger.
        folder: where quarantined things go; on any volume.

    Returns:
        The new folder.

    Raises:
        LedgerSound: nothing is wrong with it; it was not touched.
        LedgerInUse: another program has it open.
        RegistryUnusable: there is none, or it can't be moved, or looked into for another reason than damage.
    """
    path = Path(os.path.realpath(path))
    if not path.exists():
        raise RegistryUnusable(path=path, why="there is no database here, so nothing to move aside.")
    if path.is_dir():
        check_files(path)
    if find_damage(path) is None:
        raise LedgerSound(path=path)
    if _is_in_use(path):
        raise LedgerInUse(path=path)
    try:
        place = _new_folder(folder)
        _move_all([each for each in files_of(path) if os.path.lexists(each)], place)
    except OSError as error:
        why = f"it is damaged, but could not be moved to {folder}: {error.strerror or error}."
        raise RegistryUnusable(path=path, why=f"{why} It is where it was.") from error
    return place


def find_damage(path: Path) -> str | None:
    """Say what is wrong with a ledger, None when it is sound. Changes nothing; reads all of it.

    Raises:
        RegistryUnusable: it can't be looked at.
    """
    try:
        check_files(path)
        # where nobody has it open, a plain read would leave -wal and -shm files behind
        has_wal = path.with_name(f"{path.name}-wal").exists()
        how = "mode=ro" if has_wal else "mode=ro&immutable=1"
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)) as connection:
            found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(5)")]
    except RegistryUnusable as error:
        return str(error)
    except sqlite3.Error as error:
        if error.sqlite_errorcode & 0xFF in _DAMAGE_CODES:
            return str(error)
        raise RegistryUnusable(path=path, why=f"SQLite can't look into it: {error}.") from error
    return None if found == ["ok"] else "; ".join(found)


def _is_in_use(path: Path) -> bool:
    """Tell whether another process has locks on a database: every open connection in WAL mode has one."""
    if sys.platform == "win32":
        return False  # there an open file can't be moved, which will say so
    import fcntl

    try:
        with path.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, _LOCK_BYTES, _LOCKS_AT)
    except BlockingIOError:
        return True
    except OSError:  # no permission, a read-only disk: moving it will say so
        return False
    return False


def _new_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    name = datetime.now(UTC).strftime("%Y-%m-%d_%H%M%S")
    for number in count(1):
        place = folder / (name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError):
            place.mkdir()
            return place
    raise AssertionError("there is always another name")  # pragma: no cover


def _move_all(files: list[Path], place: Path) -> None:
    """Move files into a folder, in their order; if one can't be moved, the others go back."""
    moved: list[Path] = []
    try:
        for each in files:
            _move(each, place / each.name)
            moved.append(each)
        for folder in (place, files[-1].parent):
            _sync_folder(folder)
    except BaseException:
        for each in reversed(moved):
            _move(place / each.name, each)
        place.rmdir()
        raise


def _move(source: Path, target: Path) -> None:
    """Move a file, across volumes too: there it is copied, synced, and only then taken away."""
    try:
        source.rename(target)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    part = target.with_name(f"{target.name}.part")
    try:
        with source.open("rb") as old, part.open("xb") as new:
            shutil.copyfileobj(old, new, 1 << 20)
            new.flush()
            os.fsync(new.fileno())
        part.rename(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    source.unlink()


def _sync_folder(folder: Path) -> None:
    if sys.platform == "win32":
        return  # Windows writes folder entries through with the file's own data
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
