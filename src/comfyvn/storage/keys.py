"""Keys: paths under the assets root, ``/``-separated, that every file system we know can hold.

`safe_key` is the one door: whatever way a name came in (Python, a command, an upload), it becomes a key here.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

from comfyvn.errors import UnsafePath
from comfyvn.model import MAX_NAME_BYTES, OWN_FOLDERS, cut_name, numbered_key, split_suffix

__all__ = ["MAX_DEPTH", "MAX_NAME_BYTES", "OWN_FOLDERS", "numbered_key", "safe_key", "safe_name"]

MAX_DEPTH: Final = 32

_FORBIDDEN: Final = frozenset('<>:"|?*\\/')
_UNSAFE_ASCII: Final = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\/]')
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)", re.IGNORECASE)
_BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def safe_key(path: str, *, sidecar_suffix: str = ".asset.json") -> str:
    r"""Turn a relative path that somebody asked for into a key.

    Parts that another system would refuse or fold are made safe (`safe_name`). Both ``/`` and ``\`` separate.

    Raises:
        UnsafePath: absolute, empty, with ``..``, with a drive, too deep, or in one of our own folders.

    >>> safe_key("characters\\mara.png")
    'characters/mara.png'
    """
    if not isinstance(path, str) or not path.strip():
        raise UnsafePath(path=path, why="the path is empty")
    unified = path.replace("\\", "/")
    if unified.startswith("/") or re.match(r"[A-Za-z]:", unified):
        raise UnsafePath(path=path, why="the path is absolute")
    if "\0" in unified:
        raise UnsafePath(path=path, why="the path has a NUL character")
    parts = [part for part in unified.split("/") if part not in ("", ".")]
    if ".." in (part.strip() for part in parts):
        raise UnsafePath(path=path, why="'..' leads out of the assets folder")
    if not parts or unified.endswith(("/", "/.")):
        raise UnsafePath(path=path, why="the path names a folder, not a file")
    if len(parts) > MAX_DEPTH:
        raise UnsafePath(path=path, why=f"{len(parts)} folders deep, the limit is {MAX_DEPTH}")
    safe = [_safe_folder(part) for part in parts[:-1]] + [safe_name(parts[-1], sidecar_suffix)]
    if safe[0].startswith("~"):
        raise UnsafePath(path=path, why="the path is absolute")
    if len(safe) > 1 and safe[0].casefold() in OWN_FOLDERS:
        raise UnsafePath(path=path, why=f"the folder {safe[0]!r} is reserved for comfyvn itself")
    if len(safe) == 1 and safe[0].casefold() in OWN_FOLDERS:
        raise UnsafePath(path=path, why=f"the name {safe[0]!r} is reserved for comfyvn itself")
    return "/".join(safe)


def safe_name(name: str, sidecar_suffix: str = "") -> str:
    """Return a file or folder name that Linux, macOS and Windows all hold as it is written.

    Unicode form NFC; control, direction and forbidden characters and undecodable bytes become ``_``; no
    trailing dot or space; no device name of Windows; at most 200 bytes, the suffix kept. A name that would
    pass for a sidecar is changed.

    >>> safe_name("aux.png"), safe_name("what?.wav"), safe_name("x.asset.json", ".asset.json")
    ('_aux.png', 'what_.wav', 'x.asset_.json')
    """
    text = name
    if not name.isascii() or _UNSAFE_ASCII.search(name):
        text = "".join(_safe_char(char) for char in unicodedata.normalize("NFC", name))
    safe = _mend(text, sidecar_suffix)
    if len(safe.encode()) > MAX_NAME_BYTES:  # what is cut off may lay bare a device name or the suffix
        safe = _mend(_shorten(safe, MAX_NAME_BYTES - 3), sidecar_suffix)
    return safe


_safe_folder: Final = lru_cache(1_024)(safe_name)
"""For folders, of which a library has few and its keys many."""


def _mend(text: str, sidecar_suffix: str) -> str:
    """Return the name with what is wrong at its ends put right; at most three bytes longer."""
    text = text.strip(" ").rstrip(". ")
    if not text.strip("."):
        text = "_"
    if _RESERVED.match(text):
        text = f"_{text}"
    if _ends_with(text, sidecar_suffix):
        stem, dot, last = text.rpartition(".")
        text = f"{stem}_{dot}{last}" if dot else text
    return f"{text}_" if _ends_with(text, sidecar_suffix) else text


def _ends_with(text: str, suffix: str) -> bool:
    return bool(suffix) and text.casefold().endswith(suffix.casefold())


def _safe_char(char: str) -> str:
    is_unsafe = char in _FORBIDDEN or char in _BIDI or unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")
    return "_" if is_unsafe else char


def _shorten(name: str, size_bytes: int) -> str:
    stem, suffix = split_suffix(name)
    return cut_name(stem, size_bytes - len(suffix.encode())) + suffix
