"""Verify: read every file and check it against its hash. Changes nothing.

A file whose content is not what was recorded was either edited, which its size or time tells, or it rotted:
the disk, or a program that hides what it does, changed it silently. The one is taken in by a rebuild, the
other wants a backup.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

import click

from comfyvn import media
from comfyvn.errors import (
    ComfyVNError,
    InvalidSidecar,
    OutsideLibrary,
    SourceChanged,
    SourceMissing,
)
from comfyvn.model import Asset
from comfyvn.registry import console
from comfyvn.registry.audit import check_folder, check_library, named_lines
from comfyvn.sidecar import is_same
from comfyvn.studio.core import AssetRegistry
from comfyvn.studio.core.library import Library

__all__ = ["FileCheck", "Verdict", "VerifyReport", "check_file", "command", "verify"]

Verdict = Literal["sound", "edited", "rotten", "lost", "unreadable", "unverified"]
_AHEAD: Final = 64
_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class FileCheck:
    """What a look at one asset's file found.

    ``reading`` is None where the file could not be read, or need not be. ``why`` tells of ``unreadable``.
    """

    verdict: Verdict
    reading: media.Reading | None = None
    why: str | None = None


@dataclass(slots=True)
class VerifyReport:
    """What a verification found; nothing was changed.

    ``checked`` counts assets, ``sound`` those whose file has the recorded content, ``unverified`` those of
    older libraries that no rebuild has looked at yet. ``edited`` and ``rotten`` hold ``{"uid", "path",
    "hash", "found"}`` (the recorded hash and that of the content found), ``lost`` ``{"uid", "path", "hash",
    "missing_since"}`` (None: not known yet), ``unreadable`` and ``sidecars_broken`` ``{"uid", "path",
    "why"}``, ``sidecars_edited`` and ``sidecars_lost`` ``{"uid", "path"}``. Each list is in the order of
    paths.
    """

    checked: int = 0
    sound: int = 0
    unverified: int = 0
    edited: list[dict[str, str]] = field(default_factory=list)
    rotten: list[dict[str, str]] = field(default_factory=list)
    lost: list[dict[str, str | None]] = field(default_factory=list)
    unreadable: list[dict[str, str]] = field(default_factory=list)
    sidecars_edited: list[dict[str, str]] = field(default_factory=list)
    sidecars_broken: list[dict[str, str]] = field(default_factory=list)
    sidecars_lost: list[dict[str, str]] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Tell whether every asset was checked and nothing was found."""
        return self.sound == self.checked and not any(
            (self.sidecars_edited, self.sidecars_broken, self.sidecars_lost)
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self)


def verify(
    registry: AssetRegistry,
    uids: Iterable[str] | None = None,
    on_asset: Callable[[], None] | None = None,
) -> VerifyReport:
    """Read files and sidecars, and check them against what the ledger recorded.

    Files are read in ``ingest_workers`` threads, a bounded number ahead; memory grows with what is found,
    not with the library. An asset that somebody changes meanwhile is looked at again.

    Args:
        registry: the library.
        uids: the assets; all by default.
        on_asset: called after each asset, for a progress bar.

    Raises:
        AssetNotFound: a uid is unknown; nothing was read.
    """
    report, library = VerifyReport(), registry.library
    assets = library.ledger.iterate() if uids is None else iter(library.named(list(uids)))
    for asset, file, sidecar in _looked_at(library, assets):
        _note_file(report, asset, file)
        _note_sidecar(report, asset, *sidecar)
        if on_asset is not None:
            on_asset()
    for found in (report.edited, report.rotten, report.unreadable):
        found.sort(key=lambda each: each["path"])
    report.lost.sort(key=lambda each: each["path"] or "")
    for found in (report.sidecars_edited, report.sidecars_broken, report.sidecars_lost):
        found.sort(key=lambda each: each["path"])
    return report


def check_file(library: Library, asset: Asset) -> FileCheck:
    """Read an asset's file and tell whether it has the content that the ledger knows.

    ``unverified``: the ledger can't say, since an older release recorded it and no rebuild has looked at it.
    """
    if not asset.digest and library.storage.stat(asset.key) is not None:
        return FileCheck("unverified")
    try:
        with library.storage.open(asset.key) as source:
            reading = media.read(source.file, name=asset.key)
            source.check_unchanged()
    except SourceMissing:
        return FileCheck("lost")
    except SourceChanged:
        return FileCheck("unreadable", why="it changed while it was read; try again when that is finished")
    except ComfyVNError as error:
        return FileCheck("unreadable", why=str(error.fields.get("why", error)))
    except OSError as error:
        return FileCheck("unreadable", why=f"it can't be read: {error.strerror or error}")
    return FileCheck(_judge(asset, reading, source.stat.size_bytes, source.stat.mtime_ns), reading)


def _judge(asset: Asset, reading: media.Reading, size_bytes: int, mtime_ns: int) -> Verdict:
    if reading.digest == asset.digest:
        return "sound"
    if asset.file is None:
        return "unverified"
    # the inode has no say: a library that was copied to another disk has new ones, and its times
    is_untouched = (size_bytes, mtime_ns) == (asset.file.size_bytes, asset.file.mtime_ns)
    return "rotten" if is_untouched else "edited"


# -- the pipeline -----------------------------------------------------------------------------------------

_SidecarState = Literal["sound", "edited", "broken", "lost"]
_Look = tuple[Asset, FileCheck, tuple[_SidecarState, str]]


def _looked_at(library: Library, assets: Iterable[Asset]) -> Iterator[_Look]:
    """Yield what was found of each asset, in order; reading runs ahead in threads."""
    ahead: deque[Future[_Look | None]] = deque()
    with ThreadPoolExecutor(library.config.ingest_workers, thread_name_prefix="comfyvn-verify") as pool:
        try:
            for asset in assets:
                ahead.append(pool.submit(_look, library, asset))
                if len(ahead) >= _AHEAD and (found := ahead.popleft().result()) is not None:
                    yield found
            while ahead:
                if (found := ahead.popleft().result()) is not None:
                    yield found
        finally:
            for future in ahead:
                future.cancel()


def _look(library: Library, asset: Asset) -> _Look | None:
    """Look at one asset; once more when another program has changed it since its row was read."""
    for _ in range(_TRIES):
        file, sidecar = check_file(library, asset), _check_sidecar(library, asset)
        if (file.verdict, sidecar[0]) == ("sound", "sound"):
            break
        with library.read() as rows:
            known = rows.asset(asset.uid)
        if known is None:
            return None  # removed meanwhile
        if _watched(known) == _watched(asset):
            break
        asset = known
    return asset, file, sidecar


def _watched(asset: Asset) -> tuple[object, ...]:
    return asset.key, asset.digest, asset.file, asset.sidecar_file, asset.facts


def _check_sidecar(library: Library, asset: Asset) -> tuple[_SidecarState, str]:
    key = library.sidecar_key(asset.key)
    try:
        found = library.read_sidecar(asset.key, asset.facts)
    except (InvalidSidecar, OutsideLibrary) as error:
        return "broken", str(error)
    if found is None:
        return "lost", ""
    if found.uid in (None, asset.uid) and is_same(found.facts, asset.facts):
        return "sound", ""
    if library.storage.stat(key) == asset.sidecar_file:
        why = "its content is not what was written, though its time is: the disk may be failing"
        return "broken", f"{key}: {why}"
    return "edited", ""


def _note_file(report: VerifyReport, asset: Asset, file: FileCheck) -> None:
    report.checked += 1
    named = {"uid": asset.uid, "path": asset.key}
    if file.verdict == "sound":
        report.sound += 1
    elif file.verdict == "unverified":
        report.unverified += 1
    elif file.verdict == "lost":
        report.lost.append({**named, "hash": asset.digest, "missing_since": asset.missing_since})
    elif file.verdict == "unreadable":
        report.unreadable.append({**named, "why": file.why or ""})
    else:
        found = file.reading.digest if file.reading else ""
        changed = report.edited if file.verdict == "edited" else report.rotten
        changed.append({**named, "hash": asset.digest, "found": found})


def _note_sidecar(report: VerifyReport, asset: Asset, state: _SidecarState, why: str) -> None:
    named = {"uid": asset.uid, "path": asset.key}
    if state == "edited":
        report.sidecars_edited.append(named)
    elif state == "broken":
        report.sidecars_broken.append({**named, "why": why})
    elif state == "lost":
        report.sidecars_lost.append(named)


# -- the command ------------------------------------------------------------------------------------------


@click.command("verify")
@click.argument("uids", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document.")
@console.library_options
def command(uids: tuple[str, ...], as_json: bool, **library: str | None) -> int:
    """Check every file against its hash, or the files of the assets named by uid or path.

    Tells edited files from rotten ones, and finds lost files and broken sidecars. Changes nothing.

    Exit code 0: all is sound. 1: findings.
    """
    console.set_up_logging()
    with console.open_registry(**library, makes=False) as registry:
        check_folder(registry.ASSETS_ROOT)
        check_library(registry.library)
        named = [registry.resolve_uid(uid) or uid for uid in uids] or None
        total = registry.count_assets() if named is None else len(set(named))
        with console.progress("verifying", total, quiet=as_json) as bar:
            report = verify(registry, named, bar.advance)
    if as_json:
        console.emit_json(report.as_dict())
    else:
        console.echo(summary(report))
    return 0 if report.is_sound else 1


def summary(report: VerifyReport) -> str:
    """Return a report as lines for people: the counts, then each finding with what to do about it."""
    findings: dict[str, list[str]] = {
        "edited (`comfyvn rebuild` takes them in)": _paths(report.edited),
        "ROTTEN, changed without a trace (bring them back from a backup, then `comfyvn verify`)": [
            f"{each['path']} (hash {each['hash']})" for each in report.rotten
        ],
        "lost (bring them back, or let `comfyvn rebuild` mark them missing)": [
            f"{each['path']}"
            + (f" (missing since {each['missing_since']} UTC)" if each["missing_since"] else "")
            for each in report.lost
        ],
        "unreadable": [f"{each['path']}: {each['why']}" for each in report.unreadable],
        "with an edited sidecar (`comfyvn rebuild` takes it in)": _paths(report.sidecars_edited),
        "with a broken sidecar (mend it, or `comfyvn enforce --overwrite` writes it again)": [
            each["why"] for each in report.sidecars_broken
        ],
        "without sidecar (`comfyvn enforce` writes it again)": _paths(report.sidecars_lost),
    }
    lines = [f"{report.checked} assets: {report.sound} files sound."]
    if report.unverified:
        lines.append(f"  {report.unverified} not looked at since the upgrade (`comfyvn rebuild` does that)")
    for what, names in findings.items():
        lines += named_lines(what, names)
    return "\n".join(lines)


def _paths(found: list[dict[str, str]]) -> list[str]:
    return [each["path"] for each in found]
