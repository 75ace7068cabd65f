"""Unpacking archives that others made: bounded in number and size, and never outside of its folder."""

from __future__ import annotations

import lzma
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from io import SEEK_END
from pathlib import Path, PurePosixPath
from typing import IO, Final

from comfyvn.errors import ImportFailed
from comfyvn.importers.adapters import ImportContext

__all__ = ["clear", "inner_name", "unpack_zip"]

_BLOCK: Final = 1 << 20
_DIRECTORY_BYTES: Final = 32 << 20
_END: Final = struct.Struct("<4s4H2LH")
"""The end of central directory record: APPNOTE 6.3, section 4.3.16."""
_COMMENT_BYTES: Final = 0xFFFF
_LOCATOR_BYTES: Final = 20
_DAMAGED: Final = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, RuntimeError, ValueError),
)
"""What `zipfile` raises on archives that are broken, encrypted or packed in ways that it doesn't know."""


def unpack_zip(
    archive: Path,
    context: ImportContext,
    wants: Callable[[str], bool] = lambda name: True,
    most_bytes: int | None = None,
) -> Iterator[tuple[str, Path]]:
    """Unpack a ZIP archive into a new folder of the scratch folder, file by file as they are asked for.

    Names and sizes that the archive tells are not believed: files get names of our own there, and what comes
    out is counted. Links, devices and folders are passed over.

    Args:
        archive: the file.
        context: says where to, and the limits.
        wants: tells by its name in the archive whether a file is wanted.
        most_bytes: no more than this is unpacked, if it is less than the limit of the context.

    Yields:
        The name in the archive, ``/``-separated and without ``..``, and the file.

    Raises:
        ImportFailed: no archive, damaged, encrypted, or beyond a limit. What was unpacked is removed.

    Format: ZIP (APPNOTE 6.3), read by Python's `zipfile`.
    """
    folder = Path(tempfile.mkdtemp(dir=context.scratch))
    try:
        _check_directory(archive)
        with zipfile.ZipFile(archive) as opened:
            yield from _members(archive, opened, folder, context, wants, most_bytes)
    except ImportFailed:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except _DAMAGED as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ImportFailed(path=archive, why=f"this archive can't be unpacked: {error}") from error


def _check_directory(archive: Path) -> None:
    """Refuse an archive whose table of files is too long for memory, before `zipfile` reads it.

    Raises:
        ImportFailed: it is; or it is a ZIP64, whose table may be of any length and lie anywhere.
    """
    with archive.open("rb") as file:
        size_bytes = file.seek(0, SEEK_END)
        file.seek(max(0, size_bytes - _END.size - _COMMENT_BYTES - _LOCATOR_BYTES))
        tail = file.read()
    at = len(tail) - _END.size  # where zipfile looks first
    if not (tail[at:].startswith(b"PK\5\6") and tail.endswith(b"\0\0")):
        at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < _END.size:
        return  # no archive, which zipfile says
    if tail[max(0, at - _LOCATOR_BYTES) :].startswith(b"PK\6\7"):
        raise ImportFailed(path=archive, why="this archive is a ZIP64, which isn't read; pack it again")
    if _END.unpack_from(tail, at)[5] > _DIRECTORY_BYTES:
        raise ImportFailed(path=archive, why="this archive says that it has more files than can be taken in")


def _members(
    archive: Path,
    opened: zipfile.ZipFile,
    folder: Path,
    context: ImportContext,
    wants: Callable[[str], bool],
    most_bytes: int | None,
) -> Iterator[tuple[str, Path]]:
    left = context.archive_bytes
    limit = f"the limit archive_bytes is {left:,} bytes"
    if most_bytes is not None and most_bytes < left:
        left, limit = most_bytes, f"{most_bytes:,} bytes are enough for its kind"
    count = 0
    for member in opened.infolist():
        name = _safe_name(member)
        if name is None or not wants(name):
            continue
        count += 1
        if count > context.archive_files:
            raise ImportFailed(
                path=archive,
                why=f"it holds too many files, the limit archive_files is {context.archive_files:,}",
            )
        target = folder / f"{count}{PurePosixPath(name).suffix[:20]}"
        with opened.open(member) as packed, target.open("xb") as unpacked:
            written = _copy(packed, unpacked, left)
        if written > left:
            raise ImportFailed(path=archive, why=f"it unpacks to too much, {limit}")
        left -= written
        yield name, target


def _safe_name(member: zipfile.ZipInfo) -> str | None:
    """Return a member's name, None for folders, links, devices and paths that lead out of the archive."""
    is_strange = stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG)
    return None if member.is_dir() or is_strange else inner_name(member.filename)


def inner_name(name: str) -> str | None:
    """Return a path inside of an archive as `unpack_zip` gives it; None for one that leads out.

    >>> inner_name("./art//mara.png"), inner_name("art\\\\mara.png"), inner_name("../mara.png")
    ('art/mara.png', 'art/mara.png', None)
    """
    name = name.replace("\\", "/")
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or ":" in name or "\0" in name:
        return None
    return "/".join(parts)


def clear(folder: Path, keep: Collection[Path] = ()) -> None:
    """Remove a folder with what was unpacked into it, but for some of the files."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path not in keep:
            with suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
    with suppress(OSError):
        folder.rmdir()


def _copy(packed: IO[bytes], unpacked: IO[bytes], most: int) -> int:
    """Copy until the end or beyond a number of bytes; return how many were copied."""
    written = 0
    while written <= most and (block := packed.read(_BLOCK)):
        written += unpacked.write(block)
    return written
