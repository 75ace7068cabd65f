"""The files of a ledger as they lie on disk: what SQLite must not be let near, and how to open the rest.

SQLite mends what it finds without asking: a ``-wal`` beside an empty database is deleted, one whose header is
damaged is taken for empty and overwritten. Either way changes that were reported would be gone for good, so
such files are refused before it sees them. Format: "Database File Format" (with that of the WAL), sqlite.org.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from comfyvn.errors import RegistryUnusable

__all__ = ["MEND", "check_files", "files_of", "is_frozen"]

MEND: Final = (
    "`comfyvn rebuild --quarantine` moves it aside and makes a new one from files and sidecars, which hold "
    "all that people wrote."
)
_WAL_HEADER: Final = struct.Struct(">8I")
_WAL_MAGIC: Final = 0x377F0682  # and one more where the checksums are big-endian
_TORN_TRIES: Final = 5


def files_of(path: Path) -> Iterator[Path]:
    """Yield the files that belong to a database, there or not, the database itself last."""
    for end in ("-shm", "-wal", "-journal", ""):
        yield path.with_name(path.name + end)


def check_files(path: Path) -> None:
    """Refuse a ledger in which SQLite would drop changes that it has reported.

    The database file itself is not opened: closing it again would drop the locks that other connections of
    this process hold on it.

    Raises:
        RegistryUnusable: a folder, an empty database with a ``-wal``, or a ``-wal`` with a damaged header.
    """
    path = Path(os.path.realpath(path))  # beside the file that a link leads to, SQLite keeps the others
    if path.is_dir():
        raise RegistryUnusable(path=path, why="this is a folder, not a database. Name a file (setting db).")
    wal = path.with_name(f"{path.name}-wal")
    if not _size(wal):
        return
    if _size(path) == 0:
        why = (
            "this database is empty (0 bytes), but the changes in its -wal file say that it was not. " + MEND
        )
        raise RegistryUnusable(path=path, why=why)
    if not _is_wal(wal):
        raise RegistryUnusable(path=wal, why=f"this part of the ledger is damaged. {MEND}")


def is_frozen(path: Path) -> bool:
    """Tell a ledger that lies where nothing can be written, with all of its changes in the one file.

    SQLite reads such a one only if it is told that nobody changes it.
    """
    path = Path(os.path.realpath(path))
    is_there = _size(path) is not None
    return is_there and not os.access(path.parent, os.W_OK) and not _size(path.with_name(f"{path.name}-wal"))


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _is_wal(path: Path) -> bool:
    """Tell whether a ``-wal`` file has a sound header, or none yet; it may be written at this moment."""
    for _ in range(_TORN_TRIES):
        try:
            with path.open("rb") as file:
                head = file.read(_WAL_HEADER.size)
        except OSError:  # gone by now, or not ours to read: SQLite will say so
            return True
        # after a power cut a file may be longer than what was ever written into it
        if len(head) < _WAL_HEADER.size or not any(head) or _is_wal_header(head):
            return True
        time.sleep(0.02)
    return False


def _is_wal_header(head: bytes) -> bool:
    magic, *_, sum_1, sum_2 = _WAL_HEADER.unpack(head)
    if magic & ~1 != _WAL_MAGIC:
        return False
    return _checksum(head[:24], "big" if magic & 1 else "little") == (sum_1, sum_2)


def _checksum(data: bytes, order: Literal["big", "little"]) -> tuple[int, int]:
    one = two = 0
    words = [int.from_bytes(data[at : at + 4], order) for at in range(0, len(data), 4)]
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = (one + even + two) & 0xFFFF_FFFF
        two = (two + odd + one) & 0xFFFF_FFFF
    return one, two
