"""Import adapters at work: foreign code is called here, and what it says is checked before it counts."""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import NoneType
from typing import Any, Final

from comfyvn import config as settings
from comfyvn.errors import ComfyVNError, ImportFailed, SourceMissing
from comfyvn.importers import (
    ImportAdapter,
    ImportContext,
    ImportItem,
    ImportSkip,
    ImportSource,
    SupportsWatch,
    check_tables,
    load_adapter,
)
from comfyvn.importers.walking import real_path, why_no_asset
from comfyvn.model import EmbeddedText

__all__ = ["OpenedSource", "Told", "opened_sources"]

log = logging.getLogger(__name__)
_ITEMS: Final = 10_000
"""The most assets that one file may become."""
_SHAPE: Final[dict[str, tuple[type, ...]]] = {
    "path": (Path,),
    "asset_type": (str,),
    "name": (str,),
    "tags": (tuple, list),
    "license": (str, NoneType),
    "metadata": (Mapping,),
    "provenance": (Mapping, NoneType),
    "texts": (tuple, list),
}
"""Of which types the values of an item are; what they hold is checked where it is registered."""
_UNREADABLE: Final = "this folder can't be read; nothing in it was registered. Check its permissions."


@dataclass(frozen=True, slots=True)
class Told:
    """What an adapter says of a file: the asset that it becomes, or why it becomes none.

    ``item`` is None where there is ``reason``; ``is_failure`` tells what went wrong from what was left out.
    """

    file: Path
    item: ImportItem | None = None
    reason: str | None = None
    is_failure: bool = False


@dataclass(slots=True)
class OpenedSource:
    """A source that an adapter has opened."""

    path: Path
    adapter: ImportAdapter
    source: ImportSource
    scratch: Path
    leave_out: tuple[Path, ...] = ()
    _folders: dict[Path, Path] = field(default_factory=dict)
    _unpacked: Counter[Path] = field(default_factory=Counter)
    """How many items of each unpacked file are still to be registered."""

    def all(self, wants: Callable[[Path], bool] = lambda file: True) -> Iterator[Told]:
        """Yield what becomes of every file of the source that is wanted, as it is asked for."""
        for file in self._files():
            if isinstance(file, Told):
                yield file
            elif wants(file):
                yield from self.told(file)

    def told(self, file: Path) -> list[Told]:
        """Return what becomes of one file; whatever the adapter does, it costs this file only."""
        reason, is_failure = self._why_not(file)
        if reason is not None:
            return [Told(file, reason=reason, is_failure=is_failure)]
        try:
            said = list(islice(self.source.items(file), _ITEMS + 1))
            if len(said) > _ITEMS:
                raise ImportFailed(path=file, why=f"it becomes more than {_ITEMS:,} assets")
            found = [self._checked(file, each) for each in said]
        except (ComfyVNError, OSError) as error:
            return [Told(file, reason=str(error), is_failure=True)]
        except Exception as error:  # a stranger's code
            log.exception("import adapter %s failed at %s", self.adapter.name, file)
            return [self._fault(file, error)]
        paths = [told.item.path for told in found if told.item is not None]
        self._unpacked.update(path for path in paths if path.is_relative_to(self.scratch))
        return found

    def is_ours(self, file: Path) -> bool:
        """Tell a file of the library itself, where that lies inside of the source."""
        if not self.leave_out:
            return False
        real = self._folders.get(file.parent)
        if real is None:
            real = self._folders[file.parent] = real_path(file.parent)
        return any((real / file.name).is_relative_to(ours) for ours in self.leave_out)

    def watched(self) -> SupportsWatch:
        """Return the source as one that can be watched.

        Raises:
            ImportFailed: its adapter doesn't know how.
        """
        if not isinstance(self.source, SupportsWatch):
            why = f"what the import adapter {self.adapter.name} takes in can't be watched; leave --watch out"
            raise ImportFailed(path=self.path, why=why)
        return self.source

    def is_unfinished(self, file: Path) -> bool | None:
        """Tell whether a file's end is missing; None where its adapter can't tell."""
        if not isinstance(self.source, SupportsWatch) or not file.is_file():  # a pipe would be waited for
            return None
        try:
            is_finished = self.source.is_finished(file)
        except OSError:
            return None
        except Exception:  # a stranger's code
            log.exception("import adapter %s failed at %s", self.adapter.name, file)
            return None
        return None if is_finished is None else not is_finished

    def forget(self, file: Path) -> None:
        """Remove a file that was unpacked, once all that it becomes is registered or left out."""
        if file not in self._unpacked:
            return
        self._unpacked[file] -= 1
        if self._unpacked[file] > 0:
            return
        del self._unpacked[file]
        with suppress(OSError):
            file.unlink()

    def _files(self) -> Iterator[Path | Told]:
        """Yield the adapter's files; if it fails on its way, that ends the source with a failure."""
        try:
            for file in self.source.files():
                if not isinstance(file, Path):
                    raise TypeError(f"files() yielded {file!r:.80}, no path")
                if not self.is_ours(file):
                    yield file
        except (ComfyVNError, OSError) as error:
            yield Told(self.path, reason=str(error), is_failure=True)
        except Exception as error:  # a stranger's code
            log.exception("import adapter %s failed at %s", self.adapter.name, self.path)
            yield self._fault(self.path, error)

    def _why_not(self, file: Path) -> tuple[str | None, bool]:
        """Return why a file is not even asked about, and whether that is a failure."""
        if (reason := why_no_asset(file.name)) is not None:
            return reason, False
        try:
            mode = os.lstat(file).st_mode
            is_link = stat.S_ISLNK(mode)
            mode = file.stat().st_mode if is_link else mode
        except (OSError, ValueError):  # a name that a library holds may be none: NUL characters, half ones
            return str(SourceMissing(path=file)), True
        top = self.path if self.path.is_dir() else self.path.parent
        if is_link and not real_path(file).is_relative_to(real_path(top)):
            return "a link that leads out of the folder; ingest its target instead", False
        if is_link and stat.S_ISDIR(mode):
            return "a link to a folder, which is taken in under its own name", False
        if stat.S_ISDIR(mode):
            return f"{file}: {_UNREADABLE}", True
        return (None, False) if stat.S_ISREG(mode) else ("a pipe or a device, no file", False)

    def _checked(self, file: Path, said: object) -> Told:
        """Take what an adapter said for true if it has the shape that it must have.

        Raises:
            TypeError: it has not.
        """
        if isinstance(said, ImportSkip):
            return Told(file, reason=str(said.reason))
        if not isinstance(said, ImportItem):
            raise TypeError(f"items() yielded {said!r:.80}, neither ImportItem nor ImportSkip")
        for name, kinds in _SHAPE.items():
            value = getattr(said, name)
            if not isinstance(value, kinds):
                raise TypeError(f"items() yielded an item whose {name} is {value!r:.80}")
        if not all(isinstance(text, EmbeddedText) for text in said.texts):
            raise TypeError("items() yielded an item whose texts are no EmbeddedText")
        return Told(file, said)

    def _fault(self, file: Path, error: Exception) -> Told:
        why = f"the import adapter {self.adapter.name} failed: {type(error).__name__}: {error}"
        return Told(file, reason=str(ImportFailed(path=file, why=f"{why:.500}")), is_failure=True)


@contextmanager
def opened_sources(
    name: str, paths: Iterable[Path], stated: Mapping[str, Any], config: settings.Config, ours: Iterable[Path]
) -> Iterator[list[OpenedSource]]:
    """Open sources with an adapter; at the end they are closed, and what was unpacked is removed.

    Args:
        name: the adapter's.
        paths: the sources.
        stated: settings of the adapter that count before those of ``comfyvn.toml``.
        config: has the latter.
        ours: the library's own files and folders, which are left out where they lie inside of a source.

    Raises:
        UnknownAdapter: there is none of that name.
        UnknownTable: settings are for one that there is not, by a slip.
        SourceMissing: there is no such source.
        ImportFailed: it is none that the adapter knows, or the adapter fails.
        InvalidSetting: a setting can't be what it must be.
    """
    adapter = load_adapter(name)
    check_tables(config.importers)
    with ExitStack() as stack:
        opened = []
        for path in paths:
            if not os.path.lexists(path):
                raise SourceMissing(path=path)
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="comfyvn-import-", ignore_cleanup_errors=True)
            )
            context = ImportContext(
                scratch=Path(folder),
                name=name,
                settings={**config.importers.get(name, {}), **stated},
                stated=frozenset(stated),
                archive_files=config.archive_files,
                archive_bytes=config.archive_bytes,
            )
            source = _open(adapter, path, context)
            stack.callback(_close, adapter, source)
            inside = tuple(each for each in ours if real_path(each).is_relative_to(real_path(path)))
            opened.append(OpenedSource(path, adapter, source, context.scratch, inside))
        yield opened


def _open(adapter: ImportAdapter, path: Path, context: ImportContext) -> ImportSource:
    try:
        return adapter.open(path, context)
    except (ComfyVNError, OSError):
        raise
    except Exception as error:  # a stranger's code
        log.exception("import adapter %s can't open %s", adapter.name, path)
        why = f"the import adapter {adapter.name} failed: {type(error).__name__}: {error}"
        raise ImportFailed(path=path, why=f"{why:.500}") from error


def _close(adapter: ImportAdapter, source: ImportSource) -> None:
    try:
        source.close()
    except Exception:  # a stranger's code
        log.exception("import adapter %s failed at its end; what was registered is", adapter.name)
