"""Folders of files, walked in order and lazily, and what a file's name alone says of it."""

from __future__ import annotations

import fnmatch
import mimetypes
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

__all__ = ["FolderSource", "real_path", "type_of_medium", "walk", "why_no_asset", "written_name"]

_JUNK: Final = frozenset(
    {"thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r", "_output_images_will_be_put_here"}
)
_UNFINISHED: Final = re.compile(
    "|".join(map(fnmatch.translate, ("*.crdownload", "*.part", "*.partial", "*.tmp", "*~", "~$*")))
)
_TYPES: Final = {"image": "images", "audio": "audio", "video": "video", "font": "fonts"}
# what Python and the system know of these differs from machine to machine
_SUFFIXES: Final = {
    **dict.fromkeys(("png", "jpg", "jpeg", "webp", "gif", "avif", "heic", "jxl", "bmp", "tif"), "images"),
    **dict.fromkeys(("tiff", "tga", "qoi", "psd", "svg"), "images"),
    **dict.fromkeys(("wav", "flac", "ogg", "oga", "opus", "mp3", "mp2", "m4a", "aac", "aiff"), "audio"),
    **dict.fromkeys(("mp4", "m4v", "webm", "mkv", "mov", "avi", "ogv", "mpg", "mpeg"), "video"),
    **dict.fromkeys(("ttf", "otf", "ttc", "woff", "woff2"), "fonts"),
}


class FolderSource:
    """A folder as an `ImportSource`: all its files, in order; subclasses say what one becomes."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def root(self) -> Path:
        """The folder."""
        return self._root

    def files(self) -> Iterator[Path]:
        """Yield everything below the folder; folders only where they can't be read."""
        return (path for path, _, _ in walk(self._root))

    def relative(self, file: Path) -> str:
        """Return the path of a file below the folder, with ``/``."""
        return file.relative_to(self._root).as_posix()

    def close(self) -> None:
        """Nothing is open between two files."""


def walk(folder: Path, below: str = "", leave_out: Collection[Path] = ()) -> Iterator[tuple[Path, str, bool]]:
    """Yield files, links, special files and unreadable folders below a folder, in sorted order.

    That is the path, the path below the folder (``below`` in front of it) with ``/``, and whether it is a
    plain file, no link and nothing special. Links to folders are not followed, hidden folders not entered.
    """
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        yield folder, below.rstrip("/"), False
        return
    names = {path.name for path in leave_out}
    for entry in entries:
        path = folder / entry.name
        if entry.name in names and real_path(path) in leave_out:
            continue
        if not entry.is_dir(follow_symlinks=False):
            yield path, below + entry.name, entry.is_file(follow_symlinks=False)
        elif not entry.name.startswith("."):
            yield from walk(path, f"{below}{entry.name}/", leave_out)


def real_path(path: Path) -> Path:
    """Return where a path leads after all links; `Path.resolve` raises on links that lead in a circle."""
    return Path(os.path.realpath(path))


def written_name(path: str) -> str:
    """Return a path as a text that can be recorded: bytes of a name that are no UTF-8 are written out.

    >>> written_name("art/mara.png"), written_name("art/\\udcff.png")
    ('art/mara.png', 'art/\\\\udcff.png')
    """
    return path.encode("utf-8", "backslashreplace").decode()


def type_of_medium(name: str) -> str:
    """Return the type that a file gets from its suffix alone.

    >>> type_of_medium("mara.png"), type_of_medium("mara.WebP"), type_of_medium("notes.xyz")
    ('images', 'images', 'generic')
    """
    if (known := _SUFFIXES.get(name.rpartition(".")[2].lower())) is not None:
        return known
    kind = (mimetypes.guess_type(name)[0] or "").partition("/")[0]
    return _TYPES.get(kind, "generic")


def why_no_asset(name: str) -> str | None:
    """Tell by its name why a file is none that somebody made to keep; None if nothing speaks against it.

    >>> why_no_asset("mara.png"), why_no_asset(".DS_Store"), why_no_asset("mara.png.part")[:11]
    (None, 'hidden files and folder leavings of the system are no assets', 'a temporary')
    """
    if name.startswith(".") or name.casefold() in _JUNK:
        return "hidden files and folder leavings of the system are no assets"
    if _UNFINISHED.match(name.casefold()):
        return "a temporary or backup file of another program, by its name; rename it if it is an asset"
    return None
