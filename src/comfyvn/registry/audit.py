"""Audit of sidecars and metadata: look, and on request repair. One code behind both commands of the spec."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import click

from comfyvn import media
from comfyvn.config import load
from comfyvn.errors import ComfyVNError, ForeignLibrary, InvalidSidecar, LibraryUnreachable, OutsideLibrary
from comfyvn.model import Asset, Facts, fold, normalise_tags
from comfyvn.registry import console
from comfyvn.studio.core import AssetRegistry
from comfyvn.studio.core.library import Library

__all__ = ["AuditReport", "audit_sidecars", "check_folder", "check_library", "enforce", "named_lines"]


UNKNOWN_LICENSE: Final = "unknown"
"""What older releases, and ``fill_metadata``, write where nobody said a licence: as good as none."""
_NAMES_SHOWN: Final = 20


@dataclass(slots=True)
class AuditReport:
    """What an audit found and did; lists of uids unless said otherwise.

    ``metadata_missing`` holds ``{"uid", "fields"}``, ``broken_sidecars`` ``{"uid", "error"}``,
    ``failed_previews`` ``{"uid", "path", "reason"}``, ``refused`` ``{"uid", "path", "why"}``, ``paths``
    the path of each uid named elsewhere. What was repaired stands in both lists.
    """

    checked: int = 0
    missing_sidecars: list[str] = field(default_factory=list)
    repaired_sidecars: list[str] = field(default_factory=list)
    metadata_missing: list[dict[str, Any]] = field(default_factory=list)
    metadata_fixed: list[str] = field(default_factory=list)
    broken_sidecars: list[dict[str, str]] = field(default_factory=list)
    missing_mirrors: list[str] = field(default_factory=list)
    missing_files: list[str] = field(default_factory=list)
    changed_files: list[str] = field(default_factory=list)
    missing_previews: list[str] = field(default_factory=list)
    unknown_licenses: list[str] = field(default_factory=list)
    refused: list[dict[str, str]] = field(default_factory=list)
    failed_previews: list[dict[str, str]] = field(default_factory=list)
    paths: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self)

    def note(self, uids: list[str], asset: Asset) -> None:
        """Put an asset into one of the lists."""
        uids.append(asset.uid)
        self.paths[asset.uid] = asset.key

    @property
    def unrepaired_sidecars(self) -> list[str]:
        """The sidecars that are still missing or broken."""
        wrong = [*self.missing_sidecars, *(each["uid"] for each in self.broken_sidecars)]
        return sorted(set(wrong) - set(self.repaired_sidecars))


def audit_sidecars(
    registry: AssetRegistry,
    *,
    fix_missing: bool = False,
    overwrite: bool = False,
    fill_metadata: bool = False,
    on_asset: Callable[[], None] | None = None,
) -> AuditReport:
    """Check every asset's sidecar, mirror, file, preview and metadata.

    Args:
        registry: the library.
        fix_missing: write missing sidecars and mirrors from the ledger.
        overwrite: write every sidecar again; hand edits are merged in, a broken one is copied aside first.
        fill_metadata: where tags or licence are missing, take tags from folders and file name, and
            "unknown" as licence. Nothing is invented without it.
        on_asset: called after each asset, for a progress bar.
    """
    report = AuditReport()
    for asset in registry.library.ledger.iterate():
        report.checked += 1
        _check(registry.library, asset, report)
        if fill_metadata:
            _fill(registry.library, asset, report)
        is_wrong = asset.uid in report.missing_sidecars[-1:] or asset.uid in report.missing_mirrors[-1:]
        if overwrite or (fix_missing and is_wrong):
            _repair(registry.library, asset, report)
        if on_asset is not None:
            on_asset()
    return report


def _repair(library: Library, asset: Asset, report: AuditReport) -> None:
    try:
        library.change([asset.uid], lambda known: known.facts, force=True)
    except (ComfyVNError, OSError) as error:
        report.refused.append({"uid": asset.uid, "path": asset.key, "why": str(error)})
    else:
        report.repaired_sidecars.append(asset.uid)


def _check(library: Library, asset: Asset, report: AuditReport) -> None:
    stat = library.storage.stat(asset.key)
    if stat is None:
        report.note(report.missing_files, asset)
    elif stat != asset.file and not _is_as_known(library, asset):
        report.note(report.changed_files, asset)
    try:
        is_ours = asset.sidecar_file == library.storage.stat(library.sidecar_key(asset.key)) is not None
        if not is_ours and library.read_sidecar(asset.key, asset.facts) is None:
            report.note(report.missing_sidecars, asset)
    except (InvalidSidecar, OutsideLibrary) as error:
        report.broken_sidecars.append({"uid": asset.uid, "error": str(error)})
    if library.mirrors is not None and (
        asset.mirror_key is None or library.mirrors.stat(asset.mirror_key) is None
    ):
        report.note(report.missing_mirrors, asset)
    if asset.preview.state == "ready" and not all(path.is_file() for path in library.preview_paths(asset)):
        report.note(report.missing_previews, asset)
    if fold(asset.facts.license or "") == UNKNOWN_LICENSE:
        report.note(report.unknown_licenses, asset)
    if asset.preview.state == "failed":
        reason = asset.preview.reason or ""
        report.failed_previews.append({"uid": asset.uid, "path": asset.key, "reason": reason})
    missing = _missing_fields(asset.facts)
    if missing:
        report.metadata_missing.append({"uid": asset.uid, "fields": missing})
        report.paths[asset.uid] = asset.key


def _is_as_known(library: Library, asset: Asset) -> bool:
    """Tell whether a file that looks touched has the known content: a copied library has new inodes."""
    try:
        with library.storage.open(asset.key) as source:
            return media.read(source.file, name=asset.key).digest == asset.digest
    except (ComfyVNError, OSError):
        return False


def _fill(library: Library, asset: Asset, report: AuditReport) -> None:
    if not _missing_fields(asset.facts):
        return
    try:
        library.change([asset.uid], lambda known: fallback_facts(known.key, known.facts))
    except (ComfyVNError, OSError) as error:
        report.refused.append({"uid": asset.uid, "path": asset.key, "why": str(error)})
    else:
        report.metadata_fixed.append(asset.uid)


def _missing_fields(facts: Facts) -> list[str]:
    return [name for name, value in (("tags", facts.tags), ("license", facts.license)) if not value]


def fallback_facts(key: str, facts: Facts) -> Facts:
    """Fill missing tags from folder names and file name, in lower case, and a missing licence with "unknown".

    >>> fallback_facts("characters/Mara/happy.png", Facts()).tags
    ('characters', 'mara', 'happy')
    """
    *folders, name = key.split("/")
    guessed = normalise_tags(
        [*(folder.lower() for folder in folders), name.rpartition(".")[0].lower() or name]
    )
    return replace(facts, tags=facts.tags or guessed, license=facts.license or UNKNOWN_LICENSE)


def check_folder(folder: Path) -> None:
    """Refuse a folder that is not there, before anything is made.

    Raises:
        LibraryUnreachable: no such folder.
    """
    if not folder.is_dir():
        raise LibraryUnreachable(path=folder, why="there is no such assets folder")


def check_library(library: Library, *, allow_missing: bool = False) -> None:
    """Refuse when folder and ledger don't belong together, or the folder has lost everything.

    Raises:
        LibraryUnreachable, ForeignLibrary: refused; no row was changed.
    """
    root = library.storage.root
    with library.read() as rows:
        expected, known = rows.library_id(), rows.count()
    found = library.storage.library_id()
    if found is None and not allow_missing:
        why = (
            "its .comfyvn/library.json is gone (`rebuild --allow-missing` says that this is the right folder)"
        )
        raise LibraryUnreachable(path=root, why=why)
    if found is None:
        library.storage.ensure(expected)
    elif expected not in (None, found):
        raise ForeignLibrary(path=root, found=found, expected=expected)
    is_empty = next(library.storage.walk([]), None) is None
    if known and is_empty and not allow_missing:
        why = f"this assets folder is empty, but the ledger knows {known} assets"
        raise LibraryUnreachable(path=root, why=why)


@contextmanager
def _open_whole(**library: str | None) -> Iterator[AssetRegistry]:
    """Open a library whose folder is there and its own: what is written into another one is a mess."""
    config = load({"db": library["db_path"], "assets_root": library["assets_dir"]})
    if config.db.exists():
        check_folder(config.assets_root)
    with console.open_registry(**library, makes=False) as registry:
        check_library(registry.library)
        yield registry


@click.command("assets_enforcer")
@console.library_options
@click.option("--dry-run", is_flag=True, help="Only look; change nothing.")
@click.option("--fill-metadata", is_flag=True, help="Guess missing tags and licences from the folders.")
@click.option("--overwrite", is_flag=True, help="Write every sidecar again, also those that are there.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document.")
@click.option("--verbose", is_flag=True, help="Show more log messages.")
def enforce(
    dry_run: bool, fill_metadata: bool, overwrite: bool, as_json: bool, verbose: bool, **library: str | None
) -> int:
    """Check that every asset has its sidecar, and write those that are missing.

    Exit code 0: fine. 1: sidecars are (still) missing or broken.
    """
    console.set_up_logging("INFO" if verbose else None)
    with _open_whole(**library) as registry:
        report = audit_sidecars(
            registry,
            fix_missing=not dry_run,
            overwrite=overwrite and not dry_run,
            fill_metadata=fill_metadata and not dry_run,
        )
    if as_json:
        console.emit_json(report.as_dict())
    else:
        console.echo(summary(report))
    return 1 if report.unrepaired_sidecars or report.refused else 0


@click.command()
@console.library_options
@click.option("--strict", is_flag=True, help="Assets without tags or licence are findings too.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document.")
def audit(strict: bool, as_json: bool, **library: str | None) -> int:
    """Look for missing sidecars, mirrors, files, previews and metadata; change nothing.

    Exit code 0: fine. 1: findings.
    """
    console.set_up_logging()
    with _open_whole(**library) as registry:
        report = audit_sidecars(registry)
    if as_json:
        console.emit_json(report.as_dict())
    else:
        console.echo(summary(report))
    findings = (
        report.unrepaired_sidecars,
        report.missing_mirrors,
        report.missing_files,
        report.changed_files,
        report.missing_previews,
        report.failed_previews,
        [*report.metadata_missing, *report.unknown_licenses] if strict else [],
    )
    return 1 if any(findings) else 0


def summary(report: AuditReport, *, is_brief: bool = False) -> str:
    """Return an audit as lines for people: what is wrong, and where; nothing about what is fine.

    Args:
        report: the audit.
        is_brief: only count what lacks tags or licence; `comfyvn audit` names it.
    """
    findings = {
        "without sidecar": report.missing_sidecars,
        "without mirror": report.missing_mirrors,
        "whose file is gone": report.missing_files,
        "whose file was changed (`comfyvn rebuild` looks into it)": report.changed_files,
        "whose preview is gone (`comfyvn rebuild` makes it again)": report.missing_previews,
    }
    wanting = {
        "without tags": _lacking(report, "tags"),
        "without licence": _lacking(report, "license"),
        "with the licence unknown": report.unknown_licenses,
    }
    lines = [f"{report.checked} assets checked."]
    for what, uids in (findings if is_brief else findings | wanting).items():
        lines += named_lines(what, [report.paths[uid] for uid in uids])
    counts = [f"{len(uids)} {what}" for what, uids in wanting.items() if uids and is_brief]
    lines += [f"  {', '.join(counts)}: `comfyvn audit` names them"] if counts else []
    lines += named_lines("with a broken sidecar", [each["error"] for each in report.broken_sidecars])
    failed = [f"{each['path']}: {each['reason']}" for each in report.failed_previews]
    lines += named_lines("without preview", failed)
    lines += named_lines("refused", [f"{each['path']}: {each['why']}" for each in report.refused])
    if report.repaired_sidecars:
        lines.append(f"  {len(report.repaired_sidecars)} sidecars written")
    if report.metadata_fixed:
        lines.append(f"  {len(report.metadata_fixed)} assets given tags or licence from their folders")
    return "\n".join(lines)


def _lacking(report: AuditReport, name: str) -> list[str]:
    return [each["uid"] for each in report.metadata_missing if name in each["fields"]]


def named_lines(what: str, names: list[str]) -> list[str]:
    """Return a finding for people: how many, and the first of their names."""
    if not names:
        return []
    rest = [f"    ... and {len(names) - _NAMES_SHOWN} more: see --json"] if len(names) > _NAMES_SHOWN else []
    return [f"  {len(names)} {what}:", *(f"    {name}" for name in names[:_NAMES_SHOWN]), *rest]


def main() -> None:
    """Run the command of ``tools/assets_enforcer.py``."""
    console.run(enforce, "assets_enforcer.py")
