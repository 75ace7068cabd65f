"""Previews of a whole library: which are there, and the making of those that are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, Final

import click

from comfyvn.errors import ComfyVNError
from comfyvn.model import Asset
from comfyvn.registry import console
from comfyvn.registry.audit import named_lines
from comfyvn.studio.core import AssetRegistry
from comfyvn.studio.core.library import Library
from comfyvn.studio.core.previews import PreviewNeed, need_of, renew

__all__ = ["PreviewReport", "build", "command", "status"]

_CHUNK: Final = 256


@dataclass(frozen=True)
class PreviewReport:
    """What became of previews that were made anew. ``failed``: uid, path and reason of each that was not."""

    made: list[str] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self)


def build(
    registry: AssetRegistry,
    needs: Iterable[PreviewNeed] = ("missing",),
    uids: Iterable[str] | None = None,
    on_file: Callable[[], None] = lambda: None,
) -> PreviewReport:
    """Make previews and read facts anew; returns when all are made and recorded.

    Args:
        registry: the library.
        needs: of which assets (`comfyvn.studio.core.previews.need_of`).
        uids: only of these assets; default: of all.
        on_file: called for each asset that was looked at.

    Raises:
        AssetNotFound: a uid is unknown; nothing was made.
    """
    library, wanted = registry.library, frozenset(needs)
    report = PreviewReport()
    assets = iter(library.named(list(uids)) if uids is not None else library.ledger.iterate())
    while chunk := list(islice(assets, _CHUNK)):
        chosen = [asset for asset in chunk if need_of(library, asset) in wanted]
        tried = [asset for asset in chosen if _try(library, asset, report, is_forced="ready" in wanted)]
        registry.wait_for_thumbnails()
        _note(library, tried, report)
        for _ in chunk:
            on_file()
    return report


def _try(library: Library, asset: Asset, report: PreviewReport, *, is_forced: bool) -> bool:
    try:
        renew(library, asset, is_forced=is_forced)
    except (ComfyVNError, OSError) as error:
        if asset.missing_since is None:
            report.failed.append({"uid": asset.uid, "path": asset.key, "reason": str(error)})
        return False
    return True


def _note(library: Library, tried: list[Asset], report: PreviewReport) -> None:
    with library.read() as rows:
        for asset in rows.assets([asset.uid for asset in tried]):
            if asset.preview.state == "ready":
                report.made.append(asset.uid)
            elif asset.preview.kind is not None:
                reason = asset.preview.reason or "it could not be written; try again"
                report.failed.append({"uid": asset.uid, "path": asset.key, "reason": reason})


def status(registry: AssetRegistry) -> dict[str, Any]:
    """Return how many assets have which need, by format, and the reasons of those that failed.

    Returns:
        ``needs`` (counts of ``ready``, ``missing``, ``failed``, and ``none``: nothing to show), ``formats``
        (the same for each format, as far as known) and ``failed``: uid, path and reason of each.
    """
    needs: Counter[str] = Counter(dict.fromkeys(("ready", "missing", "failed", "none"), 0))
    formats: dict[str, Counter[str]] = {}
    failed = []
    for asset in registry.library.ledger.iterate():
        need = need_of(registry.library, asset)
        needs[need] += 1
        formats.setdefault(str(asset.media.get("format", "not looked at")), Counter())[need] += 1
        if need == "failed":
            failed.append({"uid": asset.uid, "path": asset.key, "reason": asset.preview.reason or ""})
    return {"needs": needs, "formats": formats, "failed": failed}


# -- the commands -----------------------------------------------------------------------------------------


@click.group("previews")
def command() -> None:
    """Tell which previews are there, and make those that are not."""


@command.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
@console.library_options
def status_command(as_json: bool, **library: str | None) -> int:
    """Count previews by format and state, and name those that failed with their reasons. Changes nothing.

    Exit code 1: some are missing or failed.
    """
    console.set_up_logging()
    with console.open_registry(**library, makes=False) as registry:
        found = status(registry)
    if as_json:
        console.emit_json(found)
    else:
        console.echo(_describe(found))
    return 1 if found["needs"]["missing"] or found["needs"]["failed"] else 0


@command.command("build")
@click.argument("uids", nargs=-1)
@click.option("--missing", is_flag=True, help="Those that are not there, or outdated. [default]")
@click.option("--failed", is_flag=True, help="Those that failed before.")
@click.option("--all", "is_all", is_flag=True, help="All.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document.")
@console.library_options
def build_command(
    uids: tuple[str, ...], missing: bool, failed: bool, is_all: bool, as_json: bool, **library: str | None
) -> int:
    """Make previews, and read what the files tell about themselves: of all assets, or those named.

    Exit code 1: some failed; each is named with its reason.
    """
    console.set_up_logging()
    needs: set[PreviewNeed] = {"missing"} if missing or not failed else set()
    needs |= {"failed"} if failed else set()
    needs = {"missing", "failed", "ready", "none"} if is_all else needs
    with console.open_registry(**library, makes=False) as registry:
        named = [registry.resolve_uid(uid) or uid for uid in uids] or None
        total = registry.count_assets() if named is None else len(set(named))
        with console.progress("previews", total, quiet=as_json) as bar:
            report = build(registry, needs, named, bar.advance)
    if as_json:
        console.emit_json(report.as_dict())
    else:
        console.echo(f"{len(report.made)} made, {len(report.failed)} failed.")
        named_failures = [f"{each['path']}: {each['reason']}" for each in report.failed]
        for line in named_lines("failed", named_failures):
            console.echo(line)
    return 1 if report.failed else 0


def _describe(found: dict[str, Any]) -> str:
    words = {
        "ready": "ready",
        "missing": "missing",
        "failed": "failed",
        "none": "without",
    }
    lines = [", ".join(f"{found['needs'][need]} {word}" for need, word in words.items())]
    for name, counts in sorted(found["formats"].items()):
        told = ", ".join(f"{counts[need]} {need}" for need in words if counts[need])
        lines.append(f"  {name + ':':<14} {told}")
    lines += named_lines("failed", [f"{each['path']}: {each['reason']}" for each in found["failed"]])
    if found["needs"]["missing"]:
        lines.append("`comfyvn previews build` makes the missing ones.")
    if found["needs"]["failed"]:
        lines.append("`comfyvn previews build --failed` tries the failed ones again.")
    return "\n".join(lines)
