"""What other programs wrote: read within bounds, never outside their folder, and made fit for us.

Nothing here trusts what it reads: a file may be a pipe or a link out of the library, JSON may be huge, deep
or of the wrong types, texts may hold what no sidecar may.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO, Final

from comfyvn.errors import ImportFailed, InvalidAssetType, InvalidMetadata
from comfyvn.importers.adapters import ImportContext
from comfyvn.importers.walking import real_path, type_of_medium
from comfyvn.model import DERIVED_KEYS, Limits, fold, normalise_tags, normalise_type

__all__ = [
    "LONG_TEXT",
    "as_dict",
    "as_list",
    "checked_file",
    "entries",
    "free_key",
    "line",
    "link",
    "long_text",
    "name_part",
    "open_plain",
    "parse_json",
    "read_json",
    "read_plain",
    "read_text",
    "tags_of",
    "type_chooser",
]

LONG_TEXT: Final = 20_000
"""The longest text, in characters, that goes into metadata; a longer one is left out."""

_LINE: Final = 1_000
_FLAGS: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NO_TEXT: Final = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_NOT_IN_A_NAME: Final = re.compile(r'[\0-\x1f\x7f-\x9f\ud800-\udfff/\\:*?"<>|]')
_LINK: Final = re.compile(r"https?://[^\s/]\S*", re.IGNORECASE)
_TAKEN: Final = (
    DERIVED_KEYS
    | {"tags", "license", "origin", "version", "rating"}
    | {"media", "source", "user_id", "original_name"}
)
"""Metadata keys with a meaning of their own, or that we fill in."""


def open_plain(path: Path) -> BinaryIO:
    """Open a regular file for reading; a pipe or a device is refused, and never waited for.

    Raises:
        ImportFailed: it is none, isn't there or can't be read.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except (OSError, ValueError) as error:
        raise ImportFailed(path=path, why=_said(error)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ImportFailed(path=path, why="it is no regular file")
    return os.fdopen(descriptor, "rb")


def read_plain(path: Path, limit_bytes: int) -> bytes:
    """Return the content of a regular file of at most so many bytes.

    Raises:
        ImportFailed: it is none, can't be read, or is larger.
    """
    with open_plain(path) as file:
        try:
            data = file.read(limit_bytes + 1)
        except OSError as error:
            raise ImportFailed(path=path, why=_said(error)) from error
    if len(data) > limit_bytes:
        raise ImportFailed(
            path=path, why=f"it is larger than {limit_bytes >> 20} MiB, too large for its kind"
        )
    return data


def read_text(path: Path, limit_bytes: int) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 that says so with its first bytes.

    Raises:
        ImportFailed: it is in another encoding, can't be read, or is larger.
    """
    data = read_plain(path, limit_bytes)
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ImportFailed(path=path, why="its text is not in UTF-8; save it so") from error
    if "\0" in text:  # UTF-16 or UTF-32 that doesn't say so looks like this
        raise ImportFailed(path=path, why="its text is not in UTF-8; save it so")
    return text


def read_json(path: Path, limit_bytes: int, most_values: int = 1_000_000) -> Any:
    """Return what a JSON file holds.

    Raises:
        ImportFailed: it can't be read, is larger, or is no JSON.
    """
    return parse_json(read_plain(path, limit_bytes), path, most_values=most_values)


def parse_json(data: bytes, path: Path, what: str = "it", most_values: int = 1_000_000) -> Any:
    """Return the value of a JSON text in UTF-8; numbers must be finite.

    Args:
        data: the text.
        path: the file that it stands in, for messages.
        what: how messages call the text.
        most_values: more than about so many values are refused unread: an empty list takes twenty times its
            text in memory.

    Raises:
        ImportFailed: it is no such text.
    """
    if sum(map(data.count, (b",", b"[", b"{"))) > most_values:
        raise ImportFailed(path=path, why=f"{what} holds more than {most_values:,} values")
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ImportFailed(path=path, why=f"{what} is nested too deeply") from error
    except ValueError as error:
        raise ImportFailed(path=path, why=f"{what} is no JSON that can be read: {error!s:.200}") from error


def checked_file(top: Path, path: Path) -> Path:
    """Return a path that leads, after all links, to a regular file below a folder.

    Raises:
        ImportFailed: it leads elsewhere, or nothing is there.
    """
    try:
        real = real_path(path)
        is_below = real.is_relative_to(real_path(top))
        mode = real.stat().st_mode if is_below else 0
    except FileNotFoundError as error:
        raise ImportFailed(path=path, why="the library names this file, and it isn't there") from error
    except (OSError, ValueError) as error:
        raise ImportFailed(path=path, why=_said(error)) from error
    if not is_below:
        raise ImportFailed(path=path, why=f"it leads out of {top}")
    if not stat.S_ISREG(mode):
        raise ImportFailed(path=path, why="it is no regular file")
    return path


def as_dict(value: object) -> Mapping[str, Any]:
    """Return a JSON object, and an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """Return a JSON array, and an empty one for anything else."""
    return value if isinstance(value, list) else []


def long_text(value: object, most: int = LONG_TEXT) -> str | None:
    """Return a text for metadata: trimmed, without control characters but tabs and line breaks.

    None for what is no text, empty or longer than ``most`` characters: half a text would mislead.
    """
    if not isinstance(value, str) or len(value) > 2 * most:
        return None
    text = _NO_TEXT.sub("", value).strip()
    return text if 0 < len(text) <= most else None


def line(value: object, most: int = _LINE) -> str | None:
    """Return a text as one line, as `long_text` otherwise.

    >>> line("Mara\\n the  Witch\\0"), line(3)
    ('Mara the Witch', None)
    """
    text = long_text(value, LONG_TEXT)
    text = None if text is None else " ".join(text.split())
    return text if text and len(text) <= most else None


def link(value: object) -> str | None:
    """Return a web address, None for anything else.

    >>> link("https://example.com/mara"), link("file:///etc/passwd"), link("javascript:alert(1)")
    ('https://example.com/mara', None, None)
    """
    text = line(value)
    return text if text is not None and _LINK.fullmatch(text) else None


def tags_of(values: Iterable[object]) -> tuple[str, ...]:
    """Return what of some values can be tags, each once ignoring case, at most as many as an asset may have.

    >>> tags_of([" Mara ", 3, None, "mara", "two\\nlines", "x" * 300])
    ('Mara', 'two lines')
    """
    limits = Limits()
    kept: dict[str, str] = {}
    for value in values:
        text = line(value, limits.tag_length)
        try:
            tags = normalise_tags(text, limits)
        except InvalidMetadata:  # grew longer in its normal form
            continue
        for tag in tags:
            kept.setdefault(fold(tag), tag)
        if len(kept) >= limits.tags_per_asset:
            break
    return tuple(kept.values())


def name_part(value: object, default: str) -> str:
    """Return a text as one part of a path: a folder's or a file's name.

    >>> name_part("../../etc/passwd", "unnamed"), name_part("..", "unnamed"), name_part("Mara?", "unnamed")
    ('_.._etc_passwd', 'unnamed', 'Mara_')
    """
    text = _NOT_IN_A_NAME.sub("_", value).strip(" .~") if isinstance(value, str) else ""
    return text[:100].strip(" .") or default


def free_key(name: object, prefix: str) -> str | None:
    """Return a metadata key for a field that people named; one with a meaning of its own gets a prefix.

    >>> free_key("Date Taken", "x"), free_key("SOURCE", "x"), free_key("...", "x")
    ('date_taken', 'x_source', None)
    """
    text = line(name, 100)
    key = "" if text is None else re.sub(r"\W+", "_", text.casefold()).strip("_")
    return f"{prefix}_{key}" if key in _TAKEN else key or None


def type_chooser(context: ImportContext) -> Callable[[str, Iterable[str]], str]:
    """Return what chooses an asset's type by its file name and tags, as the setting ``types`` says.

    That is a table of patterns for tags, such as ``{"background*" = "backgrounds"}``: the first that fits any
    tag wins, case doesn't count. Otherwise the kind of file does: ``images``, ``audio``, ``video``, ``fonts``
    or ``generic``.

    Raises:
        InvalidSetting: it is something else, or names what can't be a type.
    """
    table = context.settings.get("types", {})
    if not isinstance(table, Mapping):
        raise context.refusal("types", "it must be a table of patterns for tags, and types")
    rules = [(fold(pattern), _type(context, kind)) for pattern, kind in table.items()]

    def choose(name: str, tags: Iterable[str]) -> str:
        folded = [fold(tag) for tag in tags]
        fitting = (kind for pattern, kind in rules if any(fnmatchcase(tag, pattern) for tag in folded))
        return next(fitting, None) or type_of_medium(name)

    return choose


def entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield what a folder holds, sorted by name; nothing if it can't be read."""
    try:
        with os.scandir(folder) as found:
            yield from sorted(found, key=lambda entry: entry.name)
    except OSError:
        return


def _type(context: ImportContext, value: object) -> str:
    try:
        return normalise_type(value)
    except InvalidAssetType as error:
        raise context.refusal("types", f"{value!r:.80} can't be a type: {error.fields['why']}") from error


def _said(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or f"it can't be read: {error}"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
