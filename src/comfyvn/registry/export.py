"""Export: all that a library knows, as one JSON document that is the same for the same library.

For diffs, backups and checks: only what people wrote and what proves origin, nothing that belongs to one
machine or one run. Delete the database, rebuild, export again: the same document, byte for byte.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from comfyvn import sidecar
from comfyvn.errors import ComfyVNError, ExportFailed, PathConflict
from comfyvn.model import Asset
from comfyvn.registry import console
from comfyvn.registry.conditions import filtered, resolved
from comfyvn.studio.core import AssetRegistry

if TYPE_CHECKING:
    from comfyvn.registry.cleaning import Names

__all__ = ["FORMAT", "command", "describe", "export", "export_to_file"]

FORMAT: Final = "comfyvn-export"
SCHEMA: Final = 1
_PAGE: Final = 200
_INDENT: Final = "    "
_BEGINNING: Final = f'{{\n  "format": "{FORMAT}",\n'.encode()


def export(registry: AssetRegistry) -> Iterator[bytes]:
    """Yield a library's export piece by piece: UTF-8 JSON, one state of the ledger, assets in order of uid.

    The pieces together are an object with ``format``, ``schema``, ``library`` (its id), ``project`` and
    ``assets`` (`describe`). Memory does not grow with the library. The ledger is held in its present state
    till the last piece is taken; others go on writing meanwhile.
    """
    with registry.library.read() as rows:
        library_id = json.dumps(rows.library_id())
        project = json.dumps(registry.project_id, ensure_ascii=False)
        head = f'  "schema": {SCHEMA},\n  "library": {library_id},\n  "project": {project},\n  "assets": ['
        yield _BEGINNING + head.encode()
        separator, last_uid = "\n", ""
        while page := rows.page_by_uid(last_uid, _PAGE):
            for asset in page:
                yield (separator + _INDENT + _to_json(describe(asset))).encode()
                separator = ",\n"
            last_uid = page[-1].uid
        yield b"\n  ]\n}\n" if last_uid else b"]\n}\n"


def describe(asset: Asset) -> dict[str, Any]:
    """Return what an export says of one asset: the facts that a rebuild brings back.

    Args:
        asset: with all of its provenance and versions.
    """
    rows = asset.all_provenance
    versions = asset.versions if len(asset.versions) > 1 else ()  # as in the sidecar: else there is one
    return {
        "uid": asset.uid,
        "id": asset.id,
        "type": asset.type,
        "path": asset.key,
        "hash": asset.digest,
        "bytes": asset.size_bytes,
        "version": asset.version,
        "tags": list(asset.facts.tags),
        "license": asset.facts.license,
        "origin": asset.facts.origin,
        "meta": _sorted(asset.facts.meta),
        "extra": _sorted(asset.facts.extra),
        "lineage": [each.describe() for each in asset.facts.parents],
        "created_at": asset.created_at,
        "updated_at": asset.updated_at,
        "missing": asset.missing_since is not None,
        "preview": asset.preview.kind,
        "versions": [sidecar.describe_version(each) for each in versions],
        "provenance": [_sorted_inside(sidecar.describe_provenance(row)) for row in rows],
    }


def export_to_file(registry: AssetRegistry, target: Path) -> int:
    """Write an export to a file, whole or not at all; return its size in bytes.

    An older export there is replaced. Any other file, and the library's own folders, are refused.

    Raises:
        PathConflict: refused.
        ExportFailed: the file can't be written.
    """
    target = Path(os.path.realpath(target))
    _check_target(registry, target)
    part = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            size_bytes = sum(file.write(piece) for piece in export(registry))
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except ComfyVNError:
        raise  # the ledger could not be read
    except OSError as error:
        raise ExportFailed(path=target, why=error.strerror or str(error)) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return size_bytes


def _check_target(registry: AssetRegistry, target: Path) -> None:
    """Refuse to write where an export could take the place of something else, or be taken for an asset."""
    for name in ("assets_root", "thumbs_root"):
        folder = Path(os.path.realpath(getattr(registry.library.config, name)))
        if target.is_relative_to(folder):
            why = f"it lies in {folder}, which is the library's own (setting {name}); choose another place"
            raise PathConflict(path=target, why=why)
    ledger = Path(os.path.realpath(registry.db_path))
    if target in {ledger.with_name(ledger.name + end) for end in ("", "-wal", "-shm", "-journal")}:
        raise PathConflict(path=target, why="that name is the ledger's own; choose another one")
    if target.exists() and not (target.is_file() or target.is_dir()):
        raise PathConflict(path=target, why="this is no file; choose another name")
    try:
        with target.open("rb") as file:
            is_export = file.read(len(_BEGINNING)) == _BEGINNING
    except FileNotFoundError:
        return
    except OSError as error:
        is_folder = error.errno in (errno.EISDIR, errno.EACCES) and target.is_dir()
        why = "this is a folder; name a file" if is_folder else str(error.strerror)
        raise PathConflict(path=target, why=why) from error
    if not is_export:
        raise PathConflict(path=target, why="a file lies there that is no export; choose another name")


def _to_json(value: object) -> str:
    # by hand: str.splitlines would also break lines at characters that stand inside of texts
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return text.replace("\n", f"\n{_INDENT}")


def _sorted_inside(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _sorted(value) for name, value in row.items()}


def _sorted(value: Any) -> Any:
    """Return JSON with its keys in order: moving a key inside of a sidecar by hand is no change."""
    if isinstance(value, Mapping):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


@click.command("export")
@click.argument("assets", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="The document is JSON anyway; with others, a report.")
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file, whole or not at all.")
@click.option("--clean", "folder", type=click.Path(path_type=Path), help="Write clean copies to this folder.")
@click.option("--keep-credit", "keeps_credit", is_flag=True, help="Clean PNGs name author and licence.")
@click.option(
    "--names",
    type=click.Choice(["path", "uid"]),
    default="path",
    show_default=True,
    help="What clean copies are called: as in the library, or TYPE/UID.",
)
@filtered
@console.library_options
def command(
    assets: tuple[str, ...],
    as_json: bool,
    output: Path | None,
    folder: Path | None,
    keeps_credit: bool,
    names: Names,
    wanted: dict[str, Any],
    **library: str | None,
) -> int:
    """Print the whole library as one JSON document, the same each time for the same library.

    For diffs, backups and checks: what people wrote and what proves origin, in order of uid; nothing that
    belongs to this machine or run. With or without --json the document is the same.

    With --clean FOLDER it writes copies of the files instead, for publishing: of all assets, of ASSETS (uids
    or paths), or of those for which the conditions hold. In them are no prompts, graphs, names, places and
    times, but the same pixels and sound. Each is opened again and checked; what can't be proven clean, or has
    its prompt or seed in its path, is not written. Nothing is written over. Exit code 1: some were refused;
    each is named. 3: nothing to write.
    """
    console.set_up_logging()
    is_choosy = bool(assets or keeps_credit or names != "path" or any(wanted.values()))
    if folder is None and is_choosy:
        raise click.UsageError("Assets, conditions, --keep-credit and --names go with --clean FOLDER only.")
    if folder is not None and output is not None:
        raise click.UsageError("Give either --clean or --output.")
    if assets and any(wanted.values()):
        raise click.UsageError("Give either assets or conditions.")
    with console.open_registry(**library, makes=False) as registry:
        if folder is not None:
            told = {"as_json": as_json, "keeps_credit": keeps_credit}
            return _export_clean(registry, assets, wanted, folder, names, **told)
        if output is None:
            for piece in export(registry):  # as bytes: the document is UTF-8, whatever the terminal speaks
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            return 0
        size_bytes, count = export_to_file(registry, output), registry.count_assets()
    if as_json:
        console.emit_json({"output": str(output), "bytes": size_bytes, "assets": count})
    else:
        console.echo(f"{count} assets exported to {output}.")
    return 0


def _export_clean(
    registry: AssetRegistry,
    assets: Sequence[str],
    wanted: dict[str, Any],
    folder: Path,
    names: Names,
    *,
    as_json: bool,
    keeps_credit: bool,
) -> int:
    """Write clean copies and print what became of them; return the exit code."""
    from comfyvn.registry.cleaning import export_clean
    from comfyvn.registry.facts import uid_of

    wanted = resolved(registry, wanted)
    uids = [uid_of(registry, each) for each in assets] or (
        record["uid"] for record in registry.iter_assets(**wanted)
    )
    total = len(assets) or registry.count_assets(**wanted)
    if not total:
        console.echo("No asset meets these conditions; nothing was written.", err=True)
        return 3
    counts: Counter[str] = Counter(dict.fromkeys(("written", "there", "refused"), 0))
    items = []
    with warnings.catch_warnings(), console.progress("Cleaning", total, quiet=as_json) as bar:
        warnings.simplefilter("ignore")  # Pillow's, of files that are odd
        for item in export_clean(registry, uids, folder, keeps_credit=keeps_credit, names=names):
            bar.advance()
            counts[item.status] += 1
            if as_json:
                items.append(item.as_dict())
            elif item.reason or item.note:
                bar.echo(f"{item.path}: {item.reason or item.note}.")
    if as_json:
        console.emit_json({"folder": str(folder), "counts": counts, "items": items})
    else:
        console.echo(
            f"{counts['written']:,} written to {folder}, {counts['there']:,} there already,"
            f" {counts['refused']:,} refused"
        )
    return 1 if counts["refused"] else 0
