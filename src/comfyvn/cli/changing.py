"""The commands that change assets: ``tag``, ``move`` and ``remove``."""

from __future__ import annotations

import click

from comfyvn.cli.shared import json_option, open_library
from comfyvn.errors import AssetNotFound, LibraryUnreachable, OutsideLibrary, RegistryUnusable
from comfyvn.registry import console

__all__ = ["move", "remove", "tag"]


@click.command()
@click.argument("uids", nargs=-1, required=True)
@click.option("--add", "add_tags", multiple=True, help="A tag to add; may be repeated.")
@click.option("--remove", "remove_tags", multiple=True, help="A tag to remove; may be repeated.")
@click.option("--license", "license_tag", help='The licence to set; "" clears it.')
@json_option
@console.library_options
def tag(
    uids: tuple[str, ...],
    add_tags: tuple[str, ...],
    remove_tags: tuple[str, ...],
    license_tag: str | None,
    as_json: bool,
    **library: str | None,
) -> int:
    """Add and remove tags, and set the licence, of assets: by uid, the beginning of one, or path.

    Exit code 3: a uid is unknown; the others are done.
    """
    if not add_tags and not remove_tags and license_tag is None:
        raise click.UsageError("Nothing to do: give --add, --remove or --license.")
    from comfyvn.registry import history as journal

    with open_library(library) as registry:
        uids = tuple(registry.resolve_uid(uid) or uid for uid in uids)
        new = registry.new_operation()
        changed = registry.bulk_update_tags(
            uids, add_tags=add_tags, remove_tags=remove_tags, license_tag=license_tag, operation=new
        )
        operation = journal.known_operation(registry, new)
    unknown = [uid for uid in dict.fromkeys(uids) if uid not in changed]
    if as_json:
        console.emit_json({"operation": operation, "changed": changed, "unknown": unknown})
    for uid, meta in {} if as_json else changed.items():
        licence = meta["license"] or "no licence"
        console.echo(f"{uid}: {', '.join(meta['tags']) or 'no tags'} ({licence})")
        if license_tag is not None and (license_tag.strip() or None) != meta["license"]:
            won = "its sidecar was edited by hand, and that licence won; run the same command again for yours"
            console.echo(f"comfyvn: {uid}: {won}", err=True)
    if not as_json:
        journal.tell_undo(operation)
    return _complain_unknown(unknown)


@click.command()
@click.argument("uid")
@click.argument("new")
@json_option
@console.library_options
def move(uid: str, new: str, as_json: bool, **library: str | None) -> int:
    """Give an asset, named by uid or path, another place or name: its file and sidecar move together.

    NEW starts at the assets folder, such as characters/mara/smile.png; with a slash at its end it is a
    folder, and the name stays. The suffix and the type stay. `comfyvn undo` moves it back.

    Exit code 3: the uid is unknown. 4: something lies there already, or it can't be moved.
    """
    from comfyvn.registry import history as journal

    with open_library(library) as registry:
        known = registry.resolve_uid(uid)
        if known is None:
            raise AssetNotFound(uid=uid, project=registry.project_id)
        number = registry.new_operation()
        record = registry.move_asset(known, new, operation=number)
        operation = journal.known_operation(registry, number)
    if as_json:
        console.emit_json({"operation": operation, "asset": record})
    else:
        console.echo(f"{known}: {'now' if operation else 'still'} at {record['path']}")
        journal.tell_undo(operation)
    return 0


@click.command()
@click.argument("uids", nargs=-1, required=True)
@click.option("--keep-file", is_flag=True, help="Leave the file where it is, unregistered.")
@json_option
@console.library_options
def remove(uids: tuple[str, ...], keep_file: bool, as_json: bool, **library: str | None) -> int:
    """Forget assets, by uid or path; their files and sidecars move to the library's trash.

    `comfyvn restore UID` or `comfyvn undo` brings them back. Exit code 1: a file could not be moved, and its
    asset is as it was. 3: a uid is unknown. The others are done.
    """
    from comfyvn.registry import history as journal

    removed: list[str] = []
    unknown: list[str] = []
    refused: list[dict[str, str]] = []
    with open_library(library) as registry:
        new = registry.new_operation()
        for uid in dict.fromkeys(registry.resolve_uid(uid) or uid for uid in uids):
            try:
                was_known = registry.remove_asset(uid, delete_files=not keep_file, operation=new)
            except (OSError, OutsideLibrary) as error:
                if isinstance(error, (RegistryUnusable, LibraryUnreachable)):
                    raise
                refused.append({"uid": uid, "why": str(error)})
            else:
                (removed if was_known else unknown).append(uid)
        operation = journal.known_operation(registry, new)
        trash = registry.ASSETS_ROOT / ".comfyvn" / "trash"
    if as_json:
        answer = {"operation": operation, "removed": removed, "unknown": unknown, "refused": refused}
        console.emit_json({**answer, "trash": str(trash)})
    elif removed:
        what = "Their sidecars lie" if keep_file else "Their files lie"
        console.echo(f"{len(removed)} removed. {what} in {trash}.")
        journal.tell_undo(operation)
    for each in refused:
        console.echo(f"comfyvn: {each['uid']} was not removed: {each['why']}", err=True)
    return _complain_unknown(unknown) or (1 if refused else 0)


def _complain_unknown(uids: list[str]) -> int:
    for uid in uids:
        console.echo(f"comfyvn: no asset with uid {uid}. List the uids with `comfyvn list`.", err=True)
    return 3 if uids else 0
