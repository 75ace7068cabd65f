"""Storage in a folder: atomic, exclusive, inside its root, synced when told.

Whatever needs POSIX (hard links, folder sync, ``O_NOFOLLOW``, file locks) has its fallback here and nowhere
else.
"""

from __future__ import annotations

import errno
import functools
import itertools
import json
import logging
import os
import re
import shutil
import stat
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Final, Literal, TypeVar, cast

from comfyvn.errors import (
    ComfyVNError,
    LibraryUnreachable,
    OutsideLibrary,
    PathConflict,
    SourceChanged,
    SourceMissing,
    SourceUnreadable,
    StorageUnwritable,
    UnsafePath,
)
from comfyvn.model import FileStat, fold, utc_now
from comfyvn.storage.keys import OWN_FOLDERS

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

__all__ = [
    "LocalStorage",
    "PlainStat",
    "Source",
    "Staged",
    "Writes",
    "borrow_source",
    "move_exclusive",
    "open_source",
    "try_lock",
]

_log = logging.getLogger(__name__)
_OWN: Final = ".comfyvn"
_LIBRARY: Final = "library.json"
_NEWBORN_S: Final = 60.0
_LOCK_POLL_S: Final = 0.1
_LIBRARY_BYTES: Final = 100_000
_MAX_DEPTH: Final = 200  # of folders that a scan goes down
_INODE: Final = 0x7FFF_FFFF_FFFF_FFFF  # what a database's integer holds of one
_LOCK_OFFSET: Final = 1 << 30
_MANY_FILES: Final = 24
_SYNC_THREADS: Final = 6
_BEGIN_WRITING: Final = 2  # SYNC_FILE_RANGE_WRITE
_AT_FDCWD: Final = -100
_RENAME_NOREPLACE: Final = 1
_RENAME_EXCHANGE: Final = 2
_STAGING_NAME: Final = re.compile(r"[0-9]+-[0-9a-f]{8}")
_NO_LINK_ERRNOS: Final = {
    errno.EPERM,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EMLINK,
    errno.EACCES,
}
_NO_RENAME_ERRNOS: Final = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_LOCKED_ERRNOS: Final = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK}
_REFUSALS: Final = {
    errno.ENOSPC: "the disk is full",
    getattr(errno, "EDQUOT", errno.ENOSPC): "the disk is full",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
}
PlainStat = tuple[int, int, int]
"""The values of a FileStat in their order: where there are very many, objects cost more than looking."""
_T = TypeVar("_T")
_M = TypeVar("_M", bound=Callable[..., Any])
_O_SAFE: Final = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_O_NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)


@dataclass(frozen=True, slots=True)
class Source:
    """A file opened for reading once; `check_unchanged` tells whether it held still meanwhile."""

    path: Path
    file: BinaryIO
    stat: FileStat

    def check_unchanged(self) -> None:
        """Raise SourceChanged if the file was written to since it was opened."""
        if _file_stat(os.fstat(self.file.fileno())) != self.stat:
            raise SourceChanged(path=self.path)


@contextmanager
def open_source(path: Path, *, follow_links: bool = True) -> Iterator[Source]:
    """Open a regular file for reading, without ever waiting for a pipe or device.

    Raises:
        SourceMissing: there is no such file.
        SourceUnreadable: a folder, pipe, device, a link that leads nowhere or (when not followed) any link,
            or no permission.
    """
    number, found = _open_regular(path, follow_links=follow_links)
    with os.fdopen(number, "rb", buffering=0) as file:
        yield Source(path, file, found)


@contextmanager
def borrow_source(path: Path, file: BinaryIO) -> Iterator[Source]:
    """Read a file that somebody has open, from its start; it stays open.

    Raises:
        SourceUnreadable: it is no regular file.
    """
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise SourceUnreadable(path=path, why=_why_no_file(_kind(status.st_mode)))
    file.seek(0)
    yield Source(path, file, _file_stat(status))


def _open_regular(path: Path | str, *, follow_links: bool) -> tuple[int, FileStat]:
    flags = os.O_RDONLY | _O_SAFE | (0 if follow_links else _O_NOFOLLOW)
    try:
        number = os.open(path, flags)
    except OSError as error:
        raise _explain(Path(path), error, follow_links) from error
    except ValueError as error:  # a NUL in the name
        raise SourceMissing(path=path) from error
    status = os.fstat(number)
    if not stat.S_ISREG(status.st_mode):
        os.close(number)  # fdopen would refuse a folder in words of its own, and leave it open
        raise SourceUnreadable(path=path, why=_why_no_file(_kind(status.st_mode)))
    return number, _file_stat(status)


def _read_whole(number: int, size_bytes: int) -> bytes:
    data = os.read(number, size_bytes)
    while len(data) < size_bytes and (more := os.read(number, size_bytes - len(data))):
        data += more
    return data


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    """Have the system's refusal to write say where, what and what to do: it often names not even a file."""
    try:
        yield
    except OSError as error:
        refusal = _refusal(error, place)
        if refusal is None:
            raise
        raise refusal from error


def _refusal(error: OSError, place: Path) -> StorageUnwritable | None:
    why = None if isinstance(error, ComfyVNError) else _REFUSALS.get(error.errno or 0)
    return None if why is None else StorageUnwritable(path=place, why=f"{why} ({error.strerror})")


def _writes(method: _M) -> _M:
    """Mark a method that writes; see `LocalStorage.writing`."""

    @functools.wraps(method)
    def explained(self: LocalStorage, *arguments: Any, **named: Any) -> Any:
        try:  # not `writing`: entering a generator costs more than the rest of this
            return method(self, *arguments, **named)
        except OSError as error:
            refusal = _refusal(error, self._within)
            if refusal is None:
                raise
            raise refusal from error

    return cast(_M, explained)


@dataclass(slots=True)
class Writes:
    """What was written and not synced yet; `sync` makes all of it survive a power cut.

    ``is_wanted`` is False at durability ``off``: then nothing is remembered and nothing synced.
    """

    is_wanted: bool = True
    files: list[str] = field(default_factory=list)
    folders: set[str] = field(default_factory=set)

    def note(self, path: str) -> None:
        """Remember a new or replaced file."""
        if self.is_wanted:
            self.files.append(path)
            self.folders.add(_folder_of(path))

    def sync(self) -> None:
        """Bring all to the disk: contents, and the folders that name them.

        Raises:
            StorageUnwritable: the disk turned out to be full.
        """
        if not self.files and not self.folders:
            return
        with _writing(Path(min(self.folders))):
            self._sync()

    def _sync(self) -> None:
        if len(self.files) >= _MANY_FILES and _sync_volume(os.path.dirname(self.files[0])):
            self.files.clear()
            self.folders.clear()
            return
        _at_once(
            [
                *(functools.partial(_sync, path) for path in self.files),
                *(functools.partial(_sync_folder, folder) for folder in self.folders),
            ]
        )
        self.files.clear()
        self.folders.clear()


@dataclass(slots=True)
class Staged:
    """A file being made on the library's own volume, not yet visible under any key.

    ``place`` is where it lies. ``is_done``: it is placed, or thrown away.
    """

    place: str
    file: BinaryIO
    is_done: bool = False

    @property
    def path(self) -> Path:
        """Where it lies, as a path."""
        return Path(self.place)

    def __enter__(self) -> Staged:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def write_early(self) -> None:
        """Have the system, where it can, begin to write what is in the file: a sync then waits for less."""
        call = _sync_file_range()
        if call is not None:
            call(self.file.fileno(), 0, 0, _BEGIN_WRITING)  # it reports nothing that a sync does not

    def discard(self) -> None:
        """Throw the file away; once it is placed this does nothing."""
        if self.is_done:
            return
        with suppress(OSError):  # on a full disk closing fails too
            self.file.close()
        with suppress(FileNotFoundError):
            os.unlink(self.place)
        self.is_done = True


class LocalStorage:
    """Files by key below one folder; files in the making lie in ``own``, on the same volume.

    Args:
        root: the folder.
        own: our corner, with ``library.json``, staging and trash; default ``<root>/.comfyvn``.
        within: the folder that all keys must lead into after links; default the root.

    Opening touches no disk; folders are made by the first write. A key is what
    `comfyvn.storage.safe_key` made, or what a scan found; either way the folder it leads to is resolved and
    must lie inside the root.
    """

    def __init__(self, root: Path, own: Path | None = None, within: Path | None = None) -> None:
        self.root = root
        self._within = root if within is None else within
        self._own = root / _OWN if own is None else own
        # texts: putting Path objects together costs more than most of what is done with them
        self._root_text, self._within_text = str(root), str(self._within)
        self._library_path = str(self._own / _LIBRARY)
        self._library_seen: tuple[tuple[int, ...], str] | None = None
        self._staging: _StagingFolder | None = None
        self._staging_guard = threading.Lock()

    # -- places ---------------------------------------------------------------------------------------

    def path(self, key: str) -> Path:
        """Return where a key lies; nothing is checked or touched."""
        return self.root.joinpath(*key.split("/"))

    def key_of(self, path: Path) -> str:
        """Return the key of a file that lies in the folder.

        Raises:
            OutsideLibrary: it doesn't, after following links.
            UnsafePath: its name has bytes that are not text, so no ledger could hold it.
        """
        # not with `Path.resolve` and `relative_to`, which take several times as long
        folder, root = os.path.realpath(path.parent), os.path.realpath(self._root_text)
        inside = f"{root.rstrip(os.sep)}{os.sep}"
        if not os.path.normcase(f"{folder}{os.sep}").startswith(os.path.normcase(inside)):
            raise OutsideLibrary(path=path, root=self.root)
        key = os.path.join(folder, path.name)[len(inside) :].replace(os.sep, "/")
        try:
            key.encode()
        except UnicodeEncodeError as error:
            raise UnsafePath(path=key, why="the name is not valid Unicode; rename the file") from error
        return key

    def library_id(self) -> str | None:
        """Return the id in ``library.json``, or None where there is none.

        It is looked up each time, and read when it is another file than the last time or was written to.

        Raises:
            LibraryUnreachable: the file is there but damaged.
        """
        try:
            status = os.stat(self._library_path)
        except OSError:  # reading it says what is wrong
            return self._read_library_id()
        seen = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        known = self._library_seen
        if known is not None and known[0] == seen:
            return known[1]
        found = self._read_library_id()
        self._library_seen = None if found is None else (seen, found)
        return found

    def _read_library_id(self) -> str | None:
        path = self._own / _LIBRARY
        try:
            with open_source(path) as source:
                return str(json.loads(source.file.read(_LIBRARY_BYTES))["library"])
        except SourceMissing:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise LibraryUnreachable(path=path, why=f"this file is damaged ({error})") from error

    def ensure(self, library_id: str | None = None) -> str:
        """Make the folder and its ``library.json`` where missing; return the library's id.

        Args:
            library_id: the id that a missing ``library.json`` gets; a new one by default.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        known = self.library_id()
        if known is not None:
            return known
        payload = {"library": library_id or str(uuid.uuid4()), "created_at": utc_now()}
        with self.writing(), suppress(FileExistsError):  # another process was first: its id counts
            data = (json.dumps(payload, indent=2) + "\n").encode()
            self._put(data, self._library_path, move_exclusive, Writes(is_wanted=False))
        return str(self.library_id())

    # -- reading --------------------------------------------------------------------------------------

    def stat(self, key: str) -> FileStat | None:
        """Return size, time and inode of a regular file; None where there is none. Links are not followed."""
        try:
            status = os.lstat(self._inside(self._text(key)))
        except (OSError, ValueError):  # OutsideLibrary is one of the latter
            return None
        return _file_stat(status) if stat.S_ISREG(status.st_mode) else None

    def exists(self, key: str) -> bool:
        """Tell whether anything at all lies at the key: a file, a folder, a dangling link."""
        return os.path.lexists(self._text(key))

    def read(self, key: str, limit_bytes: int) -> tuple[bytes, FileStat] | None:
        """Return a small file and its stat, None where there is none.

        Raises:
            SourceUnreadable: a link, a folder, no permission, or larger than the limit.
        """
        path = self._inside(self._text(key))
        if not os.path.lexists(path):  # the usual answer; an exception costs ten times as much
            return None
        try:
            number, found = _open_regular(path, follow_links=False)
        except SourceMissing:
            return None
        try:
            if found.size_bytes > limit_bytes:
                why = f"{found.size_bytes:,} bytes, the limit sidecar_bytes is {limit_bytes:,}"
                raise SourceUnreadable(path=self.path(key), why=why)
            return _read_whole(number, found.size_bytes), found
        finally:
            os.close(number)

    def open(self, key: str) -> AbstractContextManager[Source]:
        """Open a file for reading; links are not followed.

        Raises:
            SourceMissing: there is none.
            SourceUnreadable: a link, a folder, a pipe, or no permission.
            OutsideLibrary: its folder leads out of the root.
        """
        self._inside(self._text(key))
        return open_source(self.path(key), follow_links=False)

    def walk(self, skipped: list[tuple[str, str]], folder: str = "") -> Iterator[tuple[str, FileStat]]:
        """Yield (key, stat) of every regular file, in the order of keys; our own folders are left out.

        Args:
            skipped: gets (path, why) of what can't be an asset: links, pipes, unreadable folders, names that
                are no text.
            folder: only what lies below this key.
        """
        for key, plain, _ in _walk(self.root, folder, "", skipped, []):
            yield key, FileStat(*plain)

    def walk_beside(
        self, suffix: str, skipped: list[tuple[str, str]], uneven: list[str]
    ) -> Iterator[tuple[str, PlainStat, PlainStat | None]]:
        """Yield every file whose name does not end in ``suffix``, with the one of that name and the suffix.

        That is (key, stat, stat of the file beside it), in the order of keys: by code points, which is also
        how SQLite compares texts.

        Args:
            suffix: such as that of sidecars.
            skipped: as in `walk`.
            uneven: gets the folders (``""``, ``"characters/"``) where a name with the suffix may stand alone.
        """
        return _walk(self.root, "", suffix, skipped, uneven)

    def names(self, folder: str) -> set[str]:
        """Return the names of all in a folder that is no folder itself.

        Args:
            folder: the beginning of its keys: ``""``, ``"characters/"``.
        """
        try:
            with os.scandir(self.path(folder) if folder else self.root) as found:
                names = {entry.name for entry in found if not entry.is_dir(follow_symlinks=False)}
        except OSError:
            return set()  # `walk` says so
        return {name for name in names if name.isascii() or _is_text(name)}

    def file_names(self, folder: str) -> set[str]:
        """Return the names of the regular files in a folder; none if it leads out of the root."""
        try:
            place = self._inside(self._text(f"{folder}x"))
            with os.scandir(os.path.dirname(place)) as found:
                return {entry.name for entry in found if entry.is_file(follow_symlinks=False)}
        except (OSError, ValueError):  # OutsideLibrary is one of the latter
            return set()

    def is_folder(self, key: str) -> bool:
        """Tell a real folder of ours from a file, a link, or nothing."""
        path = self.path(key)
        expected = Path(os.path.realpath(self.root)).joinpath(*key.split("/"))
        return path.is_dir() and Path(os.path.realpath(path)) == expected

    @contextmanager
    def lock(self, on_wait: Callable[[], None]) -> Iterator[None]:
        """Hold the library's lock, which one process at a time has; it goes with the process.

        Args:
            on_wait: called again and again while another one has it and we wait; what it raises ends that.
        """
        with open_source(self._own / "library.json") as source:
            if not try_lock(
                source.file, if_unknown=True
            ):  # without locks, as on some network drives, we go on
                on_wait()
                while not try_lock(source.file, if_unknown=True):
                    time.sleep(_LOCK_POLL_S)
                    on_wait()
            yield

    @contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Hold a lock file of our own corner while no other process does; it goes with the process.

        Yields:
            Whether it is ours; always True where the file system has no locks.
        """
        path = self._own_folder(f"{name}.lock")
        if os.path.lexists(path) and not path.is_file():
            raise PathConflict(path=path, why="this should be a file of ours; remove it")
        with self.writing():
            file = path.open("ab", buffering=0)
        with file:
            yield try_lock(file, if_unknown=True)

    # -- writing --------------------------------------------------------------------------------------

    def writing(self) -> AbstractContextManager[None]:
        """Have a refusal of the disk (full, read-only, no permission) raise StorageUnwritable."""
        return _writing(self._within)

    @_writes
    def stage(self) -> Staged:
        """Open a new file on the library's volume; discard it, or use it in ``with``, if it is not placed."""
        return Staged(*self._make(_open_new))

    @_writes
    def place(self, staged: Staged, key: str, writes: Writes) -> FileStat:
        """Give a staged file its key, atomically, never over another file.

        Raises:
            FileExistsError: something lies there already.
            OutsideLibrary: the folder leads out of the root.
            PathConflict: a file lies where the folder should be.
        """
        staged.file.close()
        target = self._prepare(key, writes)
        move_exclusive(staged.place, target)
        staged.is_done = True
        writes.note(target)
        return _file_stat(os.lstat(target))

    @_writes
    def move(self, key: str, target: str, writes: Writes) -> Callable[[], None]:
        """Give a file another key, never over another file; only the case of its name may change, too.

        It has one name at each moment, but where the system can't do that: then a kill may leave it with two.

        Returns:
            What moves it back.

        Raises:
            FileNotFoundError: it is gone.
            FileExistsError: something lies there already.
            OutsideLibrary: a folder leads out of the root.
            PathConflict: a file lies where the folder should be.
        """
        place, goal = self._inside(self._text(key)), self._prepare(target, writes)
        _rename_exclusive(place, goal)
        writes.note(goal)
        if writes.is_wanted:
            writes.folders.add(_folder_of(place))

        def move_back() -> None:
            try:
                _rename_exclusive(goal, place)
            except FileExistsError:  # somebody put another file there meanwhile
                _log.warning("%s is taken by another file; what lay there is now %s", place, goal)

        return move_back

    @_writes
    def write(self, key: str, data: bytes, writes: Writes, *, over: FileStat | None = None) -> FileStat:
        """Write a small file of our own, atomically, over its older self.

        Args:
            key: where.
            data: what.
            writes: notes it, to be synced.
            over: what the caller knows to lie there; None writes over whatever does.

        Raises:
            FileExistsError: something else than ``over`` lies there; it was left as it is.
            OutsideLibrary: the folder leads out of the root.
        """
        target = self._prepare(key, writes)
        move = os.replace if over is None else functools.partial(_replace_known, over)
        return self._put(data, target, move, writes)

    @_writes
    def create(self, key: str, data: bytes, writes: Writes) -> FileStat:
        """Write a small file of our own where nothing lies yet.

        Raises:
            FileExistsError: something lies there already.
            OutsideLibrary: the folder leads out of the root.
        """
        target = self._prepare(key, writes)
        return self._put(data, target, move_exclusive, writes)

    def _put(self, data: bytes, target: str, move: Callable[[str, str], None], writes: Writes) -> FileStat:
        path, number = self._make(_create_new)
        try:
            _write_and_close(number, data)
            written = _file_stat(os.lstat(path))  # of ours: an editor may save right after we do
            move(path, target)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(path)
            raise
        writes.note(target)
        return written

    @_writes
    def delete(self, key: str) -> None:
        """Remove a file that we wrote ourselves; one that is gone is fine."""
        with suppress(FileNotFoundError):
            os.unlink(self._inside(self._text(key)))

    @_writes
    def keep_copy(self, key: str) -> str:
        """Copy a damaged file beside itself (``<name>.broken``, ``.broken-2``, ...) and return that key.

        What is no file (a link, a pipe, a folder) is not read but moved there.
        """
        for number in range(1, 10_000):
            copy = f"{key}.broken" if number == 1 else f"{key}.broken-{number}"
            place = Path(self._inside(self._text(copy)))
            if os.path.lexists(place):
                continue
            try:
                with self.open(key) as source, place.open("xb") as target:
                    shutil.copyfileobj(source.file, target)
            except FileExistsError:
                continue
            except SourceUnreadable:
                self.path(key).rename(place)
            return copy
        raise FileExistsError(errno.EEXIST, "there are 9,999 copies already", str(self.path(key)))

    @_writes
    def trash(self, keys: list[str], folder: str) -> Callable[[], None]:
        """Move files into one folder of the library's trash, with their folders; what is gone is left out.

        Returns:
            What moves them back.

        Raises:
            OutsideLibrary: the file's folder, or the trash, is a link that leads elsewhere.
            OSError: a file could not be moved; those before it are back in their places.
        """
        moved: list[tuple[Path, Path]] = []

        def move_back() -> None:
            for place, trashed in reversed(moved):
                try:
                    move_exclusive(str(trashed), str(place))
                except FileExistsError:  # somebody put another file there meanwhile
                    _log.warning("%s is taken by another file; what lay there is now %s", place, trashed)

        try:
            for key in keys:
                place = Path(self._inside(self._text(key)))
                if os.path.lexists(place):
                    trashed = self._own_folder("trash").joinpath(folder, *key.split("/"))
                    trashed.parent.mkdir(parents=True, exist_ok=True)
                    place.replace(trashed)
                    moved.append((place, trashed))
        except BaseException:
            move_back()
            raise
        return move_back

    def trash_folders(self) -> list[str]:
        """Return the names of the folders in the library's trash, in order."""
        try:
            return sorted(path.name for path in self._own_folder("trash").iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def is_trashed(self, folder: str, key: str) -> bool:
        """Tell whether a regular file lies in a folder of the trash under the key that it had."""
        try:
            return stat.S_ISREG(os.lstat(self._trashed(folder, key)).st_mode)
        except (OSError, ValueError):
            return False

    def open_trashed(self, folder: str, key: str) -> AbstractContextManager[Source]:
        """Open a file in a folder of the trash by the key that it had; links are not followed.

        Raises:
            SourceMissing, SourceUnreadable: there is none, or it can't be read.
        """
        return open_source(self._trashed(folder, key), follow_links=False)

    @_writes
    def take_from_trash(self, folder: str, keys: Mapping[str, str], writes: Writes) -> Callable[[], None]:
        """Move files out of a folder of the trash: `trash` the other way round.

        Args:
            folder: in the trash.
            keys: the key that a file had, and the one that it gets, in the order of the moves.
            writes: notes what is to be synced.

        Returns:
            What moves them back into the trash.

        Raises:
            FileExistsError: something lies where a file should go; it is never replaced.
            OSError, OutsideLibrary: a file could not be moved; those before it are back in the trash.
        """
        moved: list[tuple[Path, Path]] = []

        def move_back() -> None:
            for place, trashed in reversed(moved):
                trashed.parent.mkdir(parents=True, exist_ok=True)
                place.replace(trashed)

        try:
            for old, new in keys.items():
                trashed, place = self._trashed(folder, old), self._prepare(new, writes)
                move_exclusive(str(trashed), place)
                moved.append((Path(place), trashed))
                writes.note(place)
                _drop_empty(trashed.parent, self._own / "trash")
        except BaseException:
            move_back()
            raise
        return move_back

    def quarantine_folder(self) -> Path:
        """Return where damaged things go; the folder need not be there yet.

        Raises:
            OutsideLibrary: it is a link that leads elsewhere.
        """
        return self._own_folder("quarantine")

    def close(self) -> None:
        """Remove our staging folder; the storage can still be used and makes a new one."""
        if self._staging is not None:
            self._staging.close()
            self._staging = None

    # -- inside ---------------------------------------------------------------------------------------

    def _text(self, key: str) -> str:
        """Return where a key lies, as text."""
        return f"{self._root_text}{os.sep}{key if os.sep == '/' else key.replace('/', os.sep)}"

    def _make(self, make: Callable[[str], _T]) -> tuple[str, _T]:
        """Make a file under a new name in our staging folder; somebody may have removed that."""
        path = self._new_name()
        try:
            return path, make(path)
        except FileNotFoundError:
            path = self._new_name(gone=os.path.dirname(path))
            return path, make(path)

    def _new_name(self, gone: str | None = None) -> str:
        """Return a new name in our staging folder; ``gone`` is one that was removed."""
        with self._staging_guard:  # of two folders made at once, one would be swept with its files
            staging = self._staging
            if staging is None or staging.pid != os.getpid() or staging.text == gone:
                staging = self._staging = _StagingFolder(self._own_folder("staging"))
            return f"{staging.text}{os.sep}{next(staging.numbers):x}"

    def _prepare(self, key: str, writes: Writes) -> str:
        """Return where a key goes, its folder made; new folders are to be synced like new files."""
        target = self._text(key)
        folder = _folder_of(target)
        if self._way_to(folder) != "plain":
            if not os.path.isdir(folder):
                self._make_folder(self.path(key), writes)
            self._inside(target)
        return target

    def _make_folder(self, target: Path, writes: Writes) -> None:
        nearest = self._nearest_folder(target.parent)
        self._inside(str(nearest / "x"))
        if os.path.lexists(nearest) and not nearest.is_dir():
            raise PathConflict(path=target, why=f"{nearest} is a file, where a folder is needed")
        target.parent.mkdir(parents=True, exist_ok=True)
        if writes.is_wanted:
            writes.folders.update(
                str(folder) for folder in target.parents if folder == nearest or nearest in folder.parents
            )

    def _nearest_folder(self, folder: Path) -> Path:
        while not os.path.lexists(folder) and folder != self.root:
            folder = folder.parent
        return folder

    def _inside(self, path: str) -> str:
        """Return a path if its folder lies inside after links: looked at anew by each operation.

        Raises:
            OutsideLibrary: it leads out.
        """
        folder = _folder_of(path)
        if self._way_to(folder) == "unclear":
            root, parent = os.path.realpath(self._within_text), os.path.realpath(folder)
            if parent != root and not parent.startswith(root.rstrip(os.sep) + os.sep):
                raise OutsideLibrary(path=Path(path), root=self._within)
        return path

    def _way_to(self, folder: str) -> Literal["plain", "nowhere", "unclear"]:
        """Tell a folder below the root to which no link leads: far cheaper than to ask where it is."""
        within = self._within_text
        if sys.platform == "win32" or not f"{folder}{os.sep}".startswith(f"{within}{os.sep}"):
            return "unclear"  # Windows has junctions, which look like folders
        at = len(within)
        if at == len(folder):
            return "plain" if os.path.isdir(folder) else "nowhere"
        if f"{os.sep}.." in folder[at:]:
            return "unclear"
        while at < len(folder):
            at = folder.find(os.sep, at + 1)
            at = len(folder) if at < 0 else at
            try:
                mode = os.lstat(folder[:at]).st_mode
            except FileNotFoundError:
                return "nowhere"
            except (OSError, ValueError):
                return "unclear"
            if not stat.S_ISDIR(mode):
                return "unclear"
        return "plain"

    def _trashed(self, folder: str, key: str) -> Path:
        """Return where a file lies in the trash; a link on the way would have us move files of others."""
        trash = self._own_folder("trash")
        path = trash.joinpath(folder, *key.split("/"))
        if not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(trash)):
            raise OutsideLibrary(path=path, root=trash)
        return path

    def _own_folder(self, name: str) -> Path:
        """Return a folder of our corner; a link there would have us move or delete files elsewhere."""
        folder = self._own / name
        expected = Path(os.path.realpath(self._own.parent)) / self._own.name / name
        if Path(os.path.realpath(folder)) != expected:
            raise OutsideLibrary(path=folder, root=self._own.parent)
        return folder


class _StagingFolder:
    """A folder of this process for files in the making, locked while the process lives.

    The lock, which the system drops when a process dies however it dies, tells a dead process's leavings
    from the work of a living one: opening sweeps the former.
    """

    def __init__(self, parent: Path) -> None:
        parent.mkdir(parents=True, exist_ok=True)
        for other in parent.iterdir():
            _sweep(other)
        self.pid = os.getpid()
        self.path, lock = self._claim(parent)
        self.text = str(self.path)
        self.numbers = itertools.count()
        self.close = weakref.finalize(self, _remove_staging, self.path, lock, self.pid)

    def _claim(self, parent: Path) -> tuple[Path, IO[bytes]]:
        while True:
            path = parent / f"{self.pid}-{os.urandom(4).hex()}"
            path.mkdir()
            lock = (path / "lock").open("xb", buffering=0)
            try:
                if try_lock(lock):
                    lock.write(b"claimed")  # from now on a free lock means that we are dead
                    return path, lock
            except OSError:  # the disk is full
                _remove_staging(path, lock, self.pid)
                raise
            _remove_staging(path, lock, self.pid)  # a sweep of another process was just looking at it


def _remove_staging(path: Path, lock: IO[bytes], pid: int) -> None:
    lock.close()
    if pid == os.getpid():  # a forked child must not take the parent's files away
        _clear_staging(path)


def _sweep(folder: Path) -> None:
    """Remove a staging folder whose process is dead; a young unclaimed one is just being made.

    Nothing but what we made ourselves is removed: a real folder with a name like ours.
    """
    if folder.is_symlink() or not _STAGING_NAME.fullmatch(folder.name):
        return
    try:
        with (folder / "lock").open("r+b") as lock:
            is_dead = try_lock(lock) and (os.fstat(lock.fileno()).st_size > 0 or _is_old(folder))
    except FileNotFoundError:
        if _is_old(folder):
            with suppress(OSError):  # not empty: then we did not make it
                folder.rmdir()
        return
    except OSError:
        return
    if is_dead:
        _clear_staging(folder)


def _clear_staging(folder: Path) -> None:
    """Remove a staging folder, its lock last: what a killed sweep leaves must still be known as ours."""
    with suppress(OSError):
        for path in folder.iterdir():
            if path.name != "lock":
                path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _is_old(folder: Path) -> bool:
    try:
        return time.time() - folder.stat().st_mtime > _NEWBORN_S
    except FileNotFoundError:  # another sweep was faster
        return False


def try_lock(file: IO[bytes], *, if_unknown: bool = False) -> bool:
    """Lock a file for this process if nobody else has; the lock goes with the open file.

    ``if_unknown`` is the answer where the file system has no locks.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(_LOCK_OFFSET)  # what is locked there can't be read
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return if_unknown and error.errno not in _LOCKED_ERRNOS
    return True


def _folder_of(place: str) -> str:
    """Return the folder that a file of a `LocalStorage` lies in, faster than `os.path.dirname` does."""
    return place.rpartition(os.sep)[0]


def _open_new(path: str) -> BinaryIO:
    return open(path, "x+b", buffering=0)


def _create_new(path: str) -> int:
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _O_SAFE, 0o666)


def _write_and_close(number: int, data: bytes) -> None:
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(number, rest) :]
    finally:
        os.close(number)


def move_exclusive(staged: str, target: str) -> None:
    """Give a file its final name, or raise FileExistsError; both are on one volume."""
    if sys.platform == "win32":
        os.rename(staged, target)  # on Windows a rename never replaces
        return
    try:
        os.link(staged, target)
    except OSError as error:
        if isinstance(error, FileExistsError) or error.errno not in _NO_LINK_ERRNOS:
            raise
        # exFAT and some network drives have no links: claim the name with an empty file, then replace that
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        os.replace(staged, target)
        return
    os.unlink(staged)


def _rename_exclusive(source: str, target: str) -> None:
    """Rename a file in one step, or raise FileExistsError; both are on one volume."""
    if sys.platform == "win32" or _is_other_case(source, target):
        os.rename(source, target)  # on Windows a rename never replaces
    elif not _rename(source, target, _RENAME_NOREPLACE):
        move_exclusive(source, target)


def _rename(source: str, target: str, flag: int) -> bool:
    """Rename as Linux can, with a flag of ``renameat2``; False where the system or the disk can't."""
    call = _renameat2()
    if call is None:
        return False
    import ctypes

    sys.audit("os.rename", source, target, -1, -1)  # as `os.rename` does
    if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flag) == 0:
        return True
    number = ctypes.get_errno()
    if number not in _NO_RENAME_ERRNOS:
        raise OSError(number, os.strerror(number), source, None, target)
    return False


def _is_other_case(source: str, target: str) -> bool:
    """Tell two spellings of one name, on a disk that does not tell them apart."""
    if fold(source) != fold(target) or not os.path.lexists(target):
        return False
    if not os.path.samestat(os.lstat(source), os.lstat(target)):
        return False
    folder, name = os.path.split(target)
    return name not in os.listdir(folder)


def _replace_known(known: FileStat, staged: str, target: str) -> None:
    """Move a file over another one that is still the known one, or to where that is gone from.

    Where two files can be exchanged, one that was saved at the last moment is seen too, and put back.

    Raises:
        FileExistsError: another file lies there; it was left as it is.
    """
    ours = _file_stat(os.lstat(staged))
    try:
        is_known = _file_stat(os.lstat(target)) == known
        if is_known and not _rename(staged, target, _RENAME_EXCHANGE):
            return os.replace(staged, target)
    except FileNotFoundError:
        return move_exclusive(staged, target)
    if is_known and _file_stat(os.lstat(staged)) == known:
        return os.unlink(staged)
    if is_known:
        _give_back(staged, target, ours)
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)


def _give_back(taken: str, target: str, ours: FileStat) -> None:
    """Put back a file that an exchange took for ours; if somebody saved another one since, that stays."""
    while True:
        given = _file_stat(os.lstat(taken))
        _rename(taken, target, _RENAME_EXCHANGE)
        if _file_stat(os.lstat(taken)) == ours:
            return
        ours = given


def _drop_empty(folder: Path, root: Path) -> None:
    """Remove a folder and those above it, up to the root, as long as they are empty."""
    with suppress(OSError):  # not empty
        while folder != root:
            folder.rmdir()
            folder = folder.parent


@dataclass(slots=True)
class _Folder:
    """A folder that is walked: what of its names is left to visit, folders among them with a final ``/``.

    ``others`` counts the names with the suffix that no visited file has accounted for.
    """

    prefix: str
    names: Iterator[str]
    others: int


def _walk(
    root: Path, start: str, suffix: str, skipped: list[tuple[str, str]], uneven: list[str]
) -> Iterator[tuple[str, PlainStat, PlainStat | None]]:
    """See `LocalStorage.walk_beside`; without a suffix every file is yielded, and nothing is beside it.

    Names are held by folder and looked at one by one: what `os.scandir` remembers of each would take three
    times as much memory, and on Windows it knows no inodes.
    """
    base = f"{root}{os.sep}"
    folders = [_list_folder(root, f"{start}/" if start else "", suffix, skipped)]
    while folders:
        folder = folders[-1]
        for name in folder.names:
            key = folder.prefix + name
            if name[-1] == "/":
                folders.append(_list_folder(root, key, suffix, skipped))
                break
            try:
                file = _plain_stat(base + key)
            except OSError as error:
                skipped.append((key, str(error.strerror)))
                continue
            beside = None
            if suffix:
                try:
                    beside = _plain_stat(base + key + suffix)
                except OSError:
                    pass
                else:
                    folder.others -= beside is not None
            if file is not None:
                yield key, file, beside
        else:
            folders.pop()
            if folder.others:
                uneven.append(folder.prefix)


def _list_folder(root: Path, prefix: str, suffix: str, skipped: list[tuple[str, str]]) -> _Folder:
    names: list[str] = []
    odd: list[tuple[str, str]] = []
    others = 0
    try:
        with os.scandir(root.joinpath(*prefix.split("/")) if prefix else root) as found:
            for entry in found:
                name = entry.name
                if (why := _why_skipped(prefix, entry)) is not None:
                    odd.append((prefix + name, why))
                elif entry.is_dir():
                    names += [f"{name}/"] if prefix or name not in OWN_FOLDERS else []
                elif suffix and name.endswith(suffix):
                    others += 1
                else:
                    names.append(name)
    except OSError as error:
        if not prefix:
            raise LibraryUnreachable(path=root, why=str(error.strerror)) from error
        odd = [(prefix.rstrip("/"), str(error.strerror))]
    skipped += [(key.encode(errors="replace").decode(), why) for key, why in sorted(odd)]
    names.sort()
    return _Folder(prefix, iter(names), others)


def _why_skipped(prefix: str, entry: os.DirEntry[str]) -> str | None:
    """Return why a name in a folder is no file that an asset could be, nor a folder to go into."""
    try:
        if not entry.name.isascii() and not _is_text(entry.name):
            return "its name is not valid Unicode"
        if entry.is_file(follow_symlinks=False):
            return None
        if entry.is_symlink():
            return "a link, which an asset can't be"
        if not entry.is_dir():
            return f"{_kind(entry.stat().st_mode)}, not a file"
    except OSError as error:
        return str(error.strerror)
    is_deep = prefix.count("/") >= _MAX_DEPTH
    return f"more than {_MAX_DEPTH} folders deep" if is_deep else None


def _plain_stat(path: str) -> PlainStat | None:
    """Return size, time and inode of a regular file, None for anything else."""
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino & _INODE


def _is_text(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def _file_stat(status: os.stat_result) -> FileStat:
    return FileStat(status.st_size, status.st_mtime_ns, status.st_ino & _INODE)


def _kind(mode: int) -> str:
    names = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFSOCK: "a socket",
        stat.S_IFLNK: "a link",
    }
    return names.get(stat.S_IFMT(mode), "something else")


def _why_no_file(kind: str) -> str:
    hint = "`comfyvn ingest` takes in all files of a folder" if kind == "a folder" else "register files only"
    return f"this is {kind}, not a file; {hint}"


def _explain(path: Path, error: OSError, follow_links: bool) -> SourceMissing | SourceUnreadable:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        if path.is_symlink():
            return SourceUnreadable(path=path, why="this link leads nowhere; mend or remove it")
        return SourceMissing(path=path)
    if error.errno == errno.ELOOP:
        why = "these links lead in a circle" if follow_links else "this is a link, not a file"
        return SourceUnreadable(path=path, why=why)
    if error.errno == errno.ENXIO:
        return SourceUnreadable(path=path, why=_why_no_file("a socket or pipe"))
    if error.errno == errno.EACCES and path.is_dir():
        return SourceUnreadable(path=path, why=_why_no_file("a folder"))  # Windows says "no permission"
    hint = "; check its permissions" if error.errno in (errno.EACCES, errno.EPERM) else ""
    return SourceUnreadable(path=path, why=f"it can't be read: {error.strerror or error}{hint}")


def _at_once(syncs: Sequence[Callable[[], None]]) -> None:
    """Sync from some threads: what waits together goes to the disk in one write of the system's journal."""
    try:
        waiting = [_syncers().submit(sync) for sync in syncs]
    except RuntimeError:  # the interpreter is about to end, and takes no more work for threads
        for sync in syncs:
            sync()
        return
    for each in waiting:
        each.result()


@functools.cache
def _syncers() -> ThreadPoolExecutor:
    """Return the threads that sync; they stay: to start them takes as long as the syncing of a small file."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(_SYNC_THREADS, thread_name_prefix="comfyvn-sync")


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_syncers.cache_clear)  # it has none of its parent's threads


def _sync(path: str) -> None:
    try:
        number = os.open(path, (os.O_RDWR if sys.platform == "win32" else os.O_RDONLY) | _O_SAFE)
    except FileNotFoundError:  # taken back meanwhile: the file of a registration that failed
        return
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _sync_volume(folder: str) -> bool:
    """Sync all of a folder's volume in one go, where the system can: cheaper for many files."""
    call = _syncfs()
    if call is None:
        return False
    try:
        number = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return bool(call(number) == 0)
    finally:
        os.close(number)


@functools.cache
def _syncfs() -> Any:
    """Return Linux's ``syncfs``, which waits till all is written and tells of errors since Linux 5.8."""
    if sys.platform != "linux":
        return None
    import ctypes

    return getattr(ctypes.CDLL(None), "syncfs", None)


@functools.cache
def _sync_file_range() -> Any:
    """Return Linux's ``sync_file_range``, which waits for nothing when it is told so."""
    if sys.platform != "linux":
        return None
    import ctypes

    call = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if call is not None:
        call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return call


@functools.cache
def _renameat2() -> Any:
    """Return Linux's ``renameat2``, which can rename without replacing, and exchange two files."""
    if sys.platform != "linux":
        return None
    import ctypes

    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is not None:
        call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return call


def _sync_folder(folder: str) -> None:
    if sys.platform == "win32":
        return  # Windows writes folder entries through with the file's own data
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
