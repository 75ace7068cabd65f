"""Opening a file below a folder by a name that a stranger gives: through no link, and nothing but a file."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

from comfyvn.errors import SourceMissing, SourceUnreadable

__all__ = ["open_below"]

_FILE: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_FOLDER: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def open_below(root: Path, parts: Sequence[str]) -> BinaryIO:
    """Open a regular file below a folder for reading, without a buffer; pipes and devices are not waited for.

    Args:
        root: the folder; links on the way to it are followed.
        parts: the names that lead from there to the file.

    Raises:
        SourceMissing: there is none, or a link lies on the way: where that leads is nobody's business.
        SourceUnreadable: it is a folder, a pipe or a device.
    """
    name = parts[-1] if parts else ""
    if not parts or any(part in ("", ".", "..") or os.sep in part or "\0" in part for part in parts):
        raise SourceMissing(path=name.replace("\0", "?"))
    try:
        number = _open_by_path(root, parts) if sys.platform == "win32" else _open_by_steps(root, parts)
    except OSError as error:
        raise SourceMissing(path=name) from error
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise SourceUnreadable(path=name, why="this is no file; register files only")
    return os.fdopen(number, "rb", buffering=0)


def _open_by_steps(root: Path, parts: Sequence[str]) -> int:
    """Open folder by folder: a link that somebody puts there meanwhile is not followed either."""
    folder = os.open(root, _FOLDER | getattr(os, "O_CLOEXEC", 0))
    try:
        for part in parts[:-1]:
            below = os.open(part, _FOLDER | _NO_LINK, dir_fd=folder)
            os.close(folder)
            folder = below
        return os.open(parts[-1], _FILE | _NO_LINK, dir_fd=folder)
    finally:
        os.close(folder)


def _open_by_path(root: Path, parts: Sequence[str]) -> int:
    """Open by the whole path where folders can't be opened; what was opened must lie where it says."""
    place = root.resolve().joinpath(*parts)
    if place.resolve() != place:
        raise FileNotFoundError(place)
    number = os.open(place, _FILE)
    if place.resolve() != place or not os.path.samestat(os.fstat(number), place.stat()):
        os.close(number)
        raise FileNotFoundError(place)
    return number
