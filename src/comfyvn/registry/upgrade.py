"""Upgrade: make a library of an older release ours, or tell beforehand what that would do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from comfyvn.config import load
from comfyvn.errors import NoLibrary
from comfyvn.registry import console

if TYPE_CHECKING:
    from comfyvn.db.legacy import Named, Upgrade

__all__ = ["command", "plan"]

_NAMES_SHOWN: Final = 10


def plan(db_path: str | Path | None = None, *, assets_root: str | Path | None = None) -> Upgrade | None:
    """Tell what opening a library would do to its database; nothing of it is touched, by trying on a copy.

    No registry of this process may be open on it.

    Args:
        db_path: the database; default: setting ``db``.
        assets_root: the assets folder; default: setting ``assets_root``.

    Returns:
        None when it is of this release already.

    Raises:
        NoLibrary: there is no database.
        OlderLibrary: its tables are of no known release.
        RegistryUnusable: it can't be read.
    """
    config = load({"db": db_path, "assets_root": assets_root})
    if not config.db.exists():
        hint = "Say where your project lies with --home, or where the database lies with --db-path."
        raise NoLibrary(path=config.db, hint=hint)
    from comfyvn.db import rehearse_upgrade

    return rehearse_upgrade(config.db, thumbs_rel=config.thumbs_rel, limits=config.limits())


@click.command("upgrade")
@console.library_options
@click.option("--dry-run", is_flag=True, help="Tell what would be done; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(dry_run: bool, as_json: bool, **library: str | None) -> int:
    """Make the database of an older ComfyVN release one of this release.

    Every other command does that too, when it meets one. The database as it was is kept beside it, in
    comfyvn.db.before-upgrade. Run again, it does nothing.
    """
    console.set_up_logging()
    path = load({"db": library["db_path"], "assets_root": library["assets_dir"]}).db
    if dry_run:
        found = plan(library["db_path"], assets_root=library["assets_dir"])
    else:
        with console.open_registry(**library, makes=False) as registry:
            found = registry.library.ledger.engine.upgraded
    if as_json:
        console.emit_json(_as_dict(path, found, dry_run=dry_run))
    else:
        console.echo(_summary(path, found, dry_run=dry_run))
    return 0


def _as_dict(path: Path, found: Upgrade | None, *, dry_run: bool) -> dict[str, Any]:
    known = {"path": str(path), "dry_run": dry_run, "is_older": found is not None}
    return {**known, "upgrade": None if found is None else found.as_dict()}


def _summary(path: Path, found: Upgrade | None, *, dry_run: bool) -> str:
    if found is None:
        return f"{path} is of this release: nothing to do."
    does, are, is_kept = ("would", "would be", "would be kept") if dry_run else ("", "are", "is kept")
    lines = [
        f"{path} {'is' if dry_run else 'was'} of an older release: {found.shape}.",
        f"{found.assets:,} assets and {found.provenance:,} provenance rows {are} taken over.",
        *_named(
            f"assets {does} get another path; each is missing until `comfyvn rebuild` finds its file:",
            found.renamed,
            lambda each: f"{each['was']} -> {each['now']}",
        ),
        *_named(
            f"assets {does} keep values that don't fit as text in their metadata:",
            found.kept_aside,
            lambda each: f"{each['path']}: {', '.join(each['keys'])}",
        ),
    ]
    if found.without_asset:
        lines.append(f"{found.without_asset:,} provenance rows of assets that are gone {are} kept.")
    lines += [
        f"The trigger {name} doesn't fit the new tables; its text {is_kept} in asset_library."
        for name in found.triggers
    ]
    lines.append(f"The database as it {'is' if dry_run else 'was'} {is_kept} as {found.backup}.")
    return "\n".join(lines)


def _named(what: str, names: Named, line: Callable[[dict[str, Any]], str]) -> list[str]:
    if not names.count:
        return []
    shown = [f"  {line(each)}" for each in names.first[:_NAMES_SHOWN]]
    rest = names.count - len(shown)
    more = [f"  ... and {rest:,} more: see --json"] if rest else []
    return [f"{names.count:,} {' '.join(what.split())}", *shown, *more]
