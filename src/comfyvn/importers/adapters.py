"""What an import adapter is, and which there are."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from comfyvn.config import SETTINGS_FILE, did_you_mean
from comfyvn.errors import InvalidSetting, UnknownAdapter, UnknownTable
from comfyvn.model import EmbeddedText

__all__ = [
    "GROUP",
    "ImportAdapter",
    "ImportContext",
    "ImportItem",
    "ImportSkip",
    "ImportSource",
    "SupportsWatch",
    "adapter_names",
    "check_tables",
    "load_adapter",
]

log = logging.getLogger(__name__)

GROUP: Final = "comfyvn.importers"
_OURS: Final = "comfyvn.importers."
"""How the values of our own entry points begin."""
_FLAGS: Final = {"true": True, "yes": True, "on": True, "1": True} | dict.fromkeys(
    ("false", "no", "off", "0"), False
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportItem:
    """One asset that a file becomes.

    ``path`` is the file with the content: the one that was asked about, or one that the adapter unpacked into
    `ImportContext.scratch`. ``asset_type`` and ``name`` (relative, ``/``-separated, such as
    ``mara/smile.png``) say where it goes: below the folder of its type. ``metadata`` and ``provenance`` are
    what `AssetRegistry.register_file` takes; tags and licence stand here. ``texts`` are generation data that
    lie beside the file, such as a text file with its parameters: they count where the file itself has none.
    """

    path: Path
    asset_type: str
    name: str
    tags: tuple[str, ...] = ()
    license: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] | None = None
    texts: tuple[EmbeddedText, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportSkip:
    """Something that is left out on purpose, with the reason in one clause: it is told, and no failure."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportContext:
    """What an adapter may use.

    ``scratch`` is an empty folder for unpacked files; each is removed once all items with it are registered
    or left out. What is unpacked and never handed on stays there till the end of the run. ``settings`` is the
    table ``[importers.NAME]`` of ``comfyvn.toml``, and over it what ``--set key=value`` says: those keys
    are in ``stated``, and their values are texts. `flag`, `text` and `words` read both. At most
    ``archive_files`` files and ``archive_bytes`` bytes may be unpacked from one archive (settings of these
    names).
    """

    scratch: Path
    name: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    stated: frozenset[str] = frozenset()
    archive_files: int = 10_000
    archive_bytes: int = 8_000_000_000

    def flag(self, key: str, default: bool) -> bool:
        """Return a setting that is true or false.

        Raises:
            InvalidSetting: it is neither.
        """
        value = self.settings.get(key, default)
        found = value if isinstance(value, bool) else _FLAGS.get(str(value).strip().casefold())
        if found is None:
            raise self.refusal(key, "it must be true or false")
        return found

    def text(self, key: str, default: str) -> str:
        """Return a setting that is a text.

        Raises:
            InvalidSetting: it is something else.
        """
        value = self.settings.get(key, default)
        if not isinstance(value, str):
            raise self.refusal(key, "it must be a text")
        return value

    def words(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return a setting that is a list of texts, or one text with commas between.

        Raises:
            InvalidSetting: it is something else.
        """
        value = self.settings.get(key, default)
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        if not isinstance(value, (list, tuple)) or not all(isinstance(part, str) for part in value):
            raise self.refusal(key, "it must be a list of texts")
        return tuple(value)

    def know(self, *keys: str) -> None:
        """Refuse settings with other keys: a mistyped one is not to be ignored in silence.

        Raises:
            InvalidSetting: there is one.
        """
        for key in self.settings:
            if key not in keys:
                there = f"there are {', '.join(keys)}" if keys else "it has none"
                hint = did_you_mean(key, keys)
                raise self.refusal(key, f"this adapter has no such setting{hint}; {there}")

    def refusal(self, key: str, why: str) -> InvalidSetting:
        """Return the error that names a setting, where it was said, and what is wrong with it."""
        origin = "--set" if key in self.stated else SETTINGS_FILE
        return InvalidSetting(
            name=f"importers.{self.name}.{key}", value=self.settings.get(key), origin=origin, why=why
        )


class ImportSource(Protocol):
    """A folder, a file or a library of another program, opened for reading. Nothing in it is ever changed."""

    def files(self) -> Iterator[Path]:
        """Yield the files that may be assets, in a stable order, lazily."""

    def items(self, file: Path) -> Iterable[ImportItem | ImportSkip]:
        """Return what a file becomes: mostly one item, none where it is no asset.

        Raises:
            ImportFailed: why this file can't be taken in, in one clause; nothing of it is registered then.
        """

    def close(self) -> None:
        """Let go of what was opened."""


@runtime_checkable
class SupportsWatch(Protocol):
    """A source to which files are added while we look: ``comfyvn ingest --watch``."""

    @property
    def root(self) -> Path:
        """The folder to be watched, with all below it."""

    def is_finished(self, file: Path) -> bool | None:
        """Tell whether a file is whole by what it holds; None where that can't be told."""


@runtime_checkable
class ImportAdapter(Protocol):
    """A way in for files of another program. ``name`` is one lower-case word."""

    @property
    def name(self) -> str:
        """The name under which it is chosen: ``comfyvn ingest --adapter NAME``."""

    @property
    def summary(self) -> str:
        """What it takes in, in one sentence."""

    def open(self, source: Path, context: ImportContext) -> ImportSource:
        """Open a source.

        Raises:
            ImportFailed: it is none that this adapter knows; says what it looks for.
            InvalidSetting: a setting can't be what it must be.
        """


def adapter_names() -> list[str]:
    """Return the names of the adapters of this installation, sorted; none is loaded."""
    return sorted(_points())


def load_adapter(name: str) -> ImportAdapter:
    """Return the adapter of a name.

    Raises:
        UnknownAdapter: there is none, or it can't be loaded; the log then has the traceback.
    """
    point = _points().get(name)
    adapter = None if point is None else _made(point)
    if adapter is None:
        raise UnknownAdapter(name=name, known=", ".join(adapter_names()))
    return adapter


def check_tables(tables: Iterable[str]) -> None:
    """Look through the names of the tables ``[importers.NAME]`` for those that belong to no adapter.

    One that is near to the name of an adapter is a slip, and refused: its rules would not count, in silence.
    Another one may be for an adapter of another machine: the log says so, once.

    Raises:
        UnknownTable: there is a slip.
    """
    known = adapter_names()
    for name in tables:
        if name not in known:
            hint = did_you_mean(name, known)
            error = UnknownTable(name=name, hint=hint, known=", ".join(known))
            if hint:
                raise error
            _warn(str(error))


@functools.cache
def _warn(message: str) -> None:
    log.warning("%s", message)


def _points() -> dict[str, Any]:
    """Return the entry points by name; a stranger's never takes the place of one of ours."""
    from importlib.metadata import entry_points  # slow to import, and few commands need it

    points = sorted(entry_points(group=GROUP), key=lambda point: not point.value.startswith(_OURS))
    found: dict[str, Any] = {}
    for point in points:
        if point.name in found and found[point.name].value != point.value:
            log.error("import adapter %s: the name %r is taken; it is left out", point.value, point.name)
        found.setdefault(point.name, point)
    return found


def _made(point: Any) -> ImportAdapter | None:
    try:
        made = point.load()()
        if not isinstance(made, ImportAdapter) or not isinstance(made.name, str):
            raise TypeError(f"{point.value} has no name, summary and open(source, context)")
    except Exception:  # a stranger's code: it may raise anything while it is imported
        log.exception("import adapter %s can't be loaded; it is left out", point.value)
        return None
    return made
