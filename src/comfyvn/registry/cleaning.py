"""Clean copies of assets, for publishing: without prompts, graphs, names, places and times.

Each copy is proven before it gets its name: opened again, compared with its original, and searched for all
that was known of it. What can't be proven clean is refused, and not written.
"""

from __future__ import annotations

import errno
import filecmp
import io
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

from comfyvn import media
from comfyvn.errors import ComfyVNError, PathConflict, StorageUnwritable
from comfyvn.media.clean import CantClean, clean, write_clean
from comfyvn.media.clean_proof import known_texts, prove
from comfyvn.media.inserting import with_texts
from comfyvn.model import Asset, split_suffix
from comfyvn.registry.telling_names import what_it_tells
from comfyvn.storage.local import move_exclusive, try_lock
from comfyvn.studio.core import AssetRegistry
from comfyvn.studio.core.library import Library
from comfyvn.studio.core.workflows import texts_of

__all__ = ["CleanFile", "Names", "export_clean"]

Names = Literal["path", "uid"]

_LOCK: Final = ".comfyvn-{}.lock"
"""What an export at work has locked in its folder; its unfinished copy is named like it."""
_PART: Final = ".part"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
_OF_MAKING: Final = ("generation", "prompt", "negative_prompt", "seed")
"""What of the inputs of a provenance row tells of the making of a file."""
_OWN_FOLDERS: Final = ("assets_root", "thumbs_root")


@dataclass(frozen=True, slots=True)
class CleanFile:
    """What became of one asset: its clean copy was written, was there before, or was refused.

    ``removed`` names what the copy does not have; ``bytes_before`` and ``bytes_after`` are sizes; ``credit``
    names what was written of author and licence; ``note`` says why not. ``reason`` tells why it was refused.
    ``path`` is that in the library; ``copy`` is that of the copy in the folder, where it has another.
    """

    uid: str
    path: str
    status: Literal["written", "there", "refused"]
    removed: tuple[str, ...] = ()
    bytes_before: int | None = None
    bytes_after: int | None = None
    credit: tuple[str, ...] = ()
    note: str | None = None
    reason: str | None = None
    copy: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values, without what does not apply."""
        shown = {"uid": self.uid, "path": self.path, "status": self.status, "removed": list(self.removed)}
        more = {
            "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
            "credit": list(self.credit) or None,
            "note": self.note,
            "reason": self.reason,
            "copy": self.copy,
        }
        return {**shown, **{name: value for name, value in more.items() if value is not None}}


def export_clean(
    registry: AssetRegistry,
    uids: Iterable[str],
    folder: Path,
    *,
    keeps_credit: bool = False,
    names: Names = "path",
) -> Iterator[CleanFile]:
    """Write clean copies of assets into a folder; tell what became of each.

    Nothing is ever written over: a file that is there and equal is fine, another one is a refusal. So is a
    path that tells of the prompt or the seed.

    Args:
        registry: the library.
        uids: of the assets.
        folder: where to; made if need be.
        keeps_credit: write author (``meta.author``, else ``meta.artist``) and licence into each PNG, nothing
            else.
        names: ``path``, as in the library; or ``uid``: ``<type>/<uid>`` and the suffix.

    Raises:
        PathConflict: the folder is the library's own, or no folder.
        StorageUnwritable: it can't be written to.
    """
    folder = Path(os.path.realpath(folder))
    _check_folder(registry.library, folder)
    return _exported(registry.library, uids, folder, keeps_credit=keeps_credit, names=names)


def _exported(
    library: Library, uids: Iterable[str], folder: Path, *, keeps_credit: bool, names: Names
) -> Iterator[CleanFile]:
    _sweep(folder)
    with _part(folder) as part:
        exporter = _Exporter(library, folder, part, keeps_credit, names)
        for uid in uids:
            with library.read() as rows:
                asset = rows.asset(uid)
            if asset is None:
                yield CleanFile(uid, "", "refused", reason="no asset has this uid")
            else:
                yield exporter.export(asset)


def _check_folder(library: Library, folder: Path) -> None:
    if own := _own_folder(library, folder):
        raise PathConflict(path=folder, why=f"it lies in {own}; choose another place")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise PathConflict(path=folder, why="this is no folder; choose another name") from error
    except OSError as error:
        raise StorageUnwritable(path=folder, why=error.strerror or str(error)) from error


def _own_folder(library: Library, folder: Path) -> str | None:
    """Tell the folder of the library itself that a folder, without links, lies in."""
    for name in _OWN_FOLDERS:
        own = Path(os.path.realpath(getattr(library.config, name)))
        if folder.is_relative_to(own):
            return f"{own}, which is the library's own (setting {name})"
    return None


def _sweep(folder: Path) -> None:
    """Remove what exports left behind that were killed: their locks are free, those at work hold theirs.

    Where the file system has no locks that can't be told, and all stays.
    """
    for lock in folder.glob(_LOCK.format("*")):
        with suppress(OSError):
            if lock.is_symlink() or not lock.is_file():
                continue
            with lock.open("r+b") as file:
                if not try_lock(file):
                    continue
                lock.with_suffix(_PART).unlink(missing_ok=True)
                if os.name != "nt":
                    lock.unlink()
            lock.unlink(missing_ok=True)


@contextmanager
def _part(folder: Path) -> Iterator[Path]:
    """Claim a name for the unfinished copies of one export, and take away what is left of them at the end.

    Raises:
        StorageUnwritable: the folder can't be written to.
    """
    try:
        lock, file = _claimed(folder)
    except OSError as error:
        raise StorageUnwritable(path=folder, why=error.strerror or str(error)) from error
    part = lock.with_suffix(_PART)
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)
        if os.name != "nt":
            lock.unlink(missing_ok=True)
        file.close()
        lock.unlink(missing_ok=True)  # Windows removes no open file


def _claimed(folder: Path) -> tuple[Path, BinaryIO]:
    """Make a lock of our own and lock it, before another export takes it for one that was left."""
    while True:
        lock = folder / _LOCK.format(secrets.token_hex(8))
        file = lock.open("x+b")
        if try_lock(file, if_unknown=True) and lock.exists():
            return lock, file
        file.close()


@dataclass(frozen=True, slots=True)
class _Exporter:
    """Writes clean copies below a folder, each first as ``part``."""

    library: Library
    folder: Path
    part: Path
    keeps_credit: bool
    names: Names

    def export(self, asset: Asset) -> CleanFile:
        """Write the clean copy of one asset."""
        try:
            key = self._named(asset)
            with self.library.storage.open(asset.key) as source:
                removed, before = self._write(asset, source.file), source.stat.size_bytes
                source.check_unchanged()
            credit, note = self._credit(asset) if self.keeps_credit else ({}, None)
            after = self.part.stat().st_size
            status = self._place(key)
        except CantClean as refused:
            return _refused(asset, str(refused))
        except ComfyVNError as error:
            return _refused(asset, str(error.fields.get("why", error)))
        except OSError as error:
            is_ours = error.filename is not None and Path(error.filename) == self.part
            if is_ours or error.errno in _FULL:
                raise StorageUnwritable(path=self.folder, why=error.strerror or str(error)) from error
            return _refused(asset, error.strerror or str(error))
        copy = None if key == asset.key else key
        return CleanFile(asset.uid, asset.key, status, removed, before, after, tuple(credit), note, copy=copy)

    def _named(self, asset: Asset) -> str:
        """Return the path of a copy below the folder.

        Raises:
            CantClean: it would tell of the prompt or the seed.
        """
        name = asset.key.rpartition("/")[2]
        key = asset.key if self.names == "path" else f"{asset.type}/{asset.uid}{split_suffix(name)[1]}"
        told = what_it_tells(asset.key if self.names == "path" else asset.type, _making(self.library, asset))
        if told is not None:
            raise CantClean(f"its path has {told}; rename it with `comfyvn move`, or add --names uid")
        return key

    def _write(self, asset: Asset, source: BinaryIO) -> tuple[str, ...]:
        """Write a proven copy to ``part``; return what it does not have."""
        name = asset.key.rpartition("/")[2]
        _, cleaning = clean(source, name=name)
        with self.part.open("w+b") as copy:
            write_clean(cleaning, source, copy)
            copy.flush()
            limits = media.PreviewLimits(pixels=self.library.config.preview_pixels)
            prove(source, copy, _known(self.library, asset), name=name, limits=limits)
        return cleaning.removed

    def _credit(self, asset: Asset) -> tuple[dict[str, str], str | None]:
        """Put author and licence into ``part``, if it is a PNG; return what was put there, or why nothing."""
        author = asset.facts.meta.get("author") or asset.facts.meta.get("artist")
        known = {"Author": author, "Copyright": asset.facts.license}
        credit = {key: value for key, value in known.items() if isinstance(value, str) and value.strip()}
        if not credit:
            return {}, "no author and no licence is known"
        if not asset.key.lower().endswith(".png"):
            return {}, "author and licence are written into PNG files only"
        if any("\0" in value or not value.isprintable() for value in credit.values()):
            return {}, "author and licence have signs that a PNG can't hold"
        with self.part.open("r+b") as copy:
            made = io.BytesIO()
            try:
                write_clean(with_texts(copy, credit), copy, made)
            except CantClean as refused:
                return {}, f"author and licence were left out: {refused}"
            copy.seek(0)
            copy.write(made.getbuffer())
            told = {text.name: text.text for text in media.texts(copy)}
        if told != credit:
            raise CantClean("author and licence can't be read back from its clean copy")
        return credit, None

    def _place(self, key: str) -> Literal["written", "there"]:
        """Give ``part`` the name of an asset, never over another file.

        Raises:
            CantClean: another file has it, or a link or its name leads out of the folder or into the library.
        """
        target = self.folder.joinpath(*key.split("/"))
        parent = Path(os.path.realpath(target.parent))
        if not parent.is_relative_to(self.folder):
            raise CantClean("a link in the folder leads elsewhere")
        if own := _own_folder(self.library, parent):
            raise CantClean(f"it would lie in {own}")
        try:
            parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise CantClean("a file lies where its folder should be") from error
        try:
            move_exclusive(os.fspath(self.part), os.fspath(target))
        except FileExistsError as error:
            if target.is_file() and not target.is_symlink() and filecmp.cmp(self.part, target, shallow=False):
                return "there"
            raise CantClean("another file lies there already") from error
        return "written"


def _refused(asset: Asset, reason: str) -> CleanFile:
    return CleanFile(asset.uid, asset.key, "refused", reason=reason)


def _making(library: Library, asset: Asset) -> list[object]:
    """Return what is known of the making of an asset: the texts of its tool, and what was stated."""
    stated = [
        {name: row.inputs[name] for name in _OF_MAKING if name in row.inputs} for row in asset.all_provenance
    ]
    return [*texts_of(library, asset), *stated]


def _known(library: Library, asset: Asset) -> set[str]:
    """Return the texts that must not be in a copy: what was read of its making, and where it came from."""
    told: list[object] = list(texts_of(library, asset))
    for row in asset.all_provenance:
        told += [row.inputs.get("generation"), row.user_id]
    return known_texts([*told, asset.facts.origin, str(library.config.assets_root)])
