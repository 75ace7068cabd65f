"""The commands. Each is a thin door: options in, one call, a table or one JSON document out.

What a command needs is imported in it, so that ``comfyvn --help`` loads nothing heavy.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from comfyvn import __version__
from comfyvn.registry import console

if TYPE_CHECKING:
    from comfyvn.registry.ingest import IngestItem, Selection
    from comfyvn.studio.core import AssetRecord, AssetRegistry

__all__ = ["cli", "main"]

_PROBLEMS_SHOWN: Final = 30
_ROWS_SHOWN: Final = 50
# commands that live with their job, imported when they are named: module, object, line of help
_ELSEWHERE: Final = {
    "audit": ("comfyvn.registry.audit", "audit", "Look for missing sidecars, files, previews and licences."),
    "enforce": ("comfyvn.registry.audit", "enforce", "Write the sidecars and mirrors that are missing."),
    "rebuild": ("comfyvn.registry.rebuild", "command", "Bring the ledger in step with the assets folder."),
}
_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")


class _Group(click.Group):
    """A group some of whose commands are imported only when they are named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        module, name, _ = _ELSEWHERE[cmd_name]
        found: click.Command = getattr(importlib.import_module(module), name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, command.get_short_help_str(80)) for name, command in self.commands.items()]
        rows += [(name, text) for name, (_, _, text) in _ELSEWHERE.items()]
        with formatter.section("Commands"):
            formatter.write_dl(sorted(rows))


def _set_home(_context: click.Context, _option: click.Parameter, folder: str | None) -> None:
    if folder is not None:
        os.environ["COMFYVN_HOME"] = str(Path(folder).absolute())


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="comfyvn")
@click.option(
    "--home",
    type=click.Path(file_okay=False),
    callback=_set_home,
    expose_value=False,
    help="The project folder (setting home); the current folder by default.",
)
def cli() -> None:
    """The asset registry for visual novels: register files, and know from then on what they are.

    Commands work on the library of the current folder, or of --home. `comfyvn doctor` tells where everything
    lies and why.
    """


def main() -> None:
    """Run the command line and exit."""
    console.run(cli, "comfyvn")


# -- taking in ----------------------------------------------------------------------------------------


@cli.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--type", "asset_type", help="The type of all files; by default their folder's name.")
@click.option("--tag", "tags", multiple=True, help="A tag for all files; may be repeated.")
@click.option("--license", "license_tag", help="The licence of all files, such as CC-BY-4.0.")
@click.option("--source", help="Where the files come from, for their provenance.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave out matching files; may be repeated.")
@click.option("--in-place", is_flag=True, help="Register files of the assets folder where they are.")
@click.option("--dry-run", is_flag=True, help="Tell file by file what would happen; change nothing.")
@_json_option
@console.library_options
def ingest(
    paths: tuple[Path, ...],
    asset_type: str | None,
    tags: tuple[str, ...],
    license_tag: str | None,
    source: str | None,
    exclude: tuple[str, ...],
    in_place: bool,
    dry_run: bool,
    as_json: bool,
    **library: str | None,
) -> int:
    """Register files and folders, recursively: copied, hashed, stamped, with sidecars and previews.

    Run it again whenever you like: nothing is registered twice, and an interrupted run goes on.

    Exit code 0: all is well. 1: some files failed; each is named with its reason.
    """
    from comfyvn.registry import ingest as bulk

    selection = bulk.Selection(paths, asset_type, tags, license_tag, source, exclude, in_place)
    _check_words(selection)
    with _registry(library, makes=True) if not dry_run else _registry_or_empty(library) as registry:
        files, _ = bulk.measure(selection, registry)  # refuses a wrong folder before anything is printed
        if dry_run:
            return _report(bulk.plan(selection, registry), as_json, each=True)
        with console.progress("registering", files, quiet=as_json) as bar, _stop_on_interrupt() as is_stopped:
            items = _counted(bulk.ingest(selection, registry, is_stopped), bar)
            code = _report(items, as_json)
        interrupted = is_stopped()
        _finish_previews(registry, quiet=as_json, give_up=interrupted)
    if interrupted:
        console.echo("Interrupted. What is listed above is done; run the same command to go on.", err=True)
        return 130
    return code


@cli.command()
@click.argument("folder", default="demo-library", type=click.Path(path_type=Path, file_okay=False))
@_json_option
def demo(folder: Path, as_json: bool) -> int:
    """Draw a sample library of our own into FOLDER, register it, and show what that made."""
    from comfyvn import sample
    from comfyvn.registry import ingest as bulk
    from comfyvn.studio.core import AssetRegistry

    art = folder / "art"
    with console.progress("drawing the sample library", len(sample.files()), quiet=as_json) as bar:
        sample.build(art, on_file=lambda path: bar.advance())
    home = folder.absolute()
    with AssetRegistry(
        home / "comfyvn" / "data" / "comfyvn.db",
        "default",
        assets_root=home / "assets",
        thumb_root=home / "cache" / "thumbs",
    ) as registry:
        selection = bulk.Selection([art], license="CC0-1.0", tags=("sample",), source="comfyvn demo")
        with console.progress("registering", len(sample.files()), quiet=as_json) as bar:
            items = list(_counted(bulk.ingest(selection, registry), bar))
        _finish_previews(registry, quiet=as_json)
        records = registry.list_assets()
        places = {
            "files and sidecars": str(registry.ASSETS_ROOT),
            "mirrors": str(registry.META_ROOT),
            "thumbnails": str(registry.THUMB_ROOT),
            "ledger": str(registry.db_path),
        }
    if as_json:
        console.emit_json({"items": [item.as_dict() for item in items], "places": places})
    else:
        _print_assets(records, f"{len(records)} assets registered")
        console.echo("\nWhere it lies:")
        for what, place in places.items():
            console.echo(f"  {what:<18}  {place}")
        _print_next(folder, records)
    return 1 if any(item.status == "failed" for item in items) else 0


# -- looking ------------------------------------------------------------------------------------------


@cli.command(name="list")
@click.option("--type", "asset_type", help="Only this type.")
@click.option("--tag", "tags", multiple=True, help="Only assets with this tag; repeated: with all of them.")
@click.option("--license", "license_tag", help='Only this licence; "" for assets without one.')
@click.option("--text", help="Only assets whose path or metadata hold this text.")
@click.option("--hash", "hash_value", help="Only this SHA-256.")
@click.option("--limit", type=click.IntRange(min=0), help="At most so many; 0 for all. [50; JSON: all]")
@click.option("--cursor", type=click.IntRange(min=1), help="Go on behind the asset with this id.")
@_json_option
@console.library_options
def list_command(
    asset_type: str | None,
    tags: tuple[str, ...],
    license_tag: str | None,
    text: str | None,
    hash_value: str | None,
    limit: int | None,
    cursor: int | None,
    as_json: bool,
    **library: str | None,
) -> int:
    """List registered assets, newest first; all conditions given must hold."""
    wanted: dict[str, Any] = {"hash_value": hash_value, "tags": tags, "text": text, "license": license_tag}
    with _registry(library) as registry:
        if as_json:
            rows = _pages(registry, asset_type, wanted, limit or None, cursor)
            _emit_list("items", rows)
            return 0
        count = _ROWS_SHOWN if limit is None else limit or None
        records = registry.list_assets(asset_type, limit=count, cursor=cursor, **wanted)
        total = registry.count_assets(asset_type, **wanted)
        _print_assets(
            records, f"{len(records)} of {total} assets" if len(records) < total else f"{total} assets"
        )
        if records and len(records) == count and len(records) < total:
            console.echo(f"More: add --cursor {records[-1]['id']}, or --limit 0 for all.")
    return 0


@cli.command()
@click.argument("uid")
@_json_option
@console.library_options
def show(uid: str, as_json: bool, **library: str | None) -> int:
    """Show all that is known of one asset."""
    from comfyvn.errors import AssetNotFound

    with _registry(library) as registry:
        record = registry.get_asset(uid)
        if record is None:
            raise AssetNotFound(uid=uid, project=registry.project_id)
        history = registry.list_provenance(uid)
        if as_json:
            console.emit_json({**record, "provenance_history": history})
        else:
            _print_record(registry, record, history)
    return 0


@cli.command()
@_json_option
def doctor(as_json: bool) -> int:
    """Tell where everything lies and why, what is installed, and whether it is sound.

    The first thing to paste into a bug report. Changes nothing. Exit code 1: a problem was found.
    """
    from comfyvn.config import load
    from comfyvn.registry.doctor import examine

    findings = list(examine(load()))
    if as_json:
        console.emit_json({"findings": [finding.as_dict() for finding in findings]})
    else:
        from rich.text import Text

        table = _table("", "what", "value", "why")
        marks = {"ok": "", "note": "note", "problem": "PROBLEM"}
        for finding in findings:
            style = {"problem": "bold red", "note": "yellow"}.get(finding.level, "")
            cells = (marks[finding.level], f"{finding.group}: {finding.name}", finding.value, finding.why)
            table.add_row(*(Text(console.plain(cell), style=style) for cell in cells))
        _print(table)
    return 1 if any(finding.level == "problem" for finding in findings) else 0


# -- changing -----------------------------------------------------------------------------------------


@cli.command()
@click.argument("uids", nargs=-1, required=True)
@click.option("--add", "add_tags", multiple=True, help="A tag to add; may be repeated.")
@click.option("--remove", "remove_tags", multiple=True, help="A tag to remove; may be repeated.")
@click.option("--license", "license_tag", help='The licence to set; "" clears it.')
@_json_option
@console.library_options
def tag(
    uids: tuple[str, ...],
    add_tags: tuple[str, ...],
    remove_tags: tuple[str, ...],
    license_tag: str | None,
    as_json: bool,
    **library: str | None,
) -> int:
    """Add and remove tags, and set the licence, of assets.

    Exit code 3: a uid is unknown; the others are done.
    """
    if not add_tags and not remove_tags and license_tag is None:
        raise click.UsageError("Nothing to do: give --add, --remove or --license.")
    with _registry(library) as registry:
        changed = registry.bulk_update_tags(
            uids, add_tags=add_tags, remove_tags=remove_tags, license_tag=license_tag
        )
    unknown = [uid for uid in dict.fromkeys(uids) if uid not in changed]
    if as_json:
        console.emit_json({"changed": changed, "unknown": unknown})
    for uid, meta in {} if as_json else changed.items():
        licence = meta["license"] or "no licence"
        console.echo(f"{uid}: {', '.join(meta['tags']) or 'no tags'} ({licence})")
    return _complain_unknown(unknown)


@cli.command()
@click.argument("uids", nargs=-1, required=True)
@click.option("--keep-file", is_flag=True, help="Leave the file where it is, unregistered.")
@_json_option
@console.library_options
def remove(uids: tuple[str, ...], keep_file: bool, as_json: bool, **library: str | None) -> int:
    """Forget assets; their files and sidecars move to the library's trash.

    Exit code 3: a uid is unknown; the others are done.
    """
    with _registry(library) as registry:
        done = {uid: registry.remove_asset(uid, delete_files=not keep_file) for uid in dict.fromkeys(uids)}
        trash = registry.ASSETS_ROOT / ".comfyvn" / "trash"
    removed = [uid for uid, was_known in done.items() if was_known]
    unknown = [uid for uid, was_known in done.items() if not was_known]
    if as_json:
        console.emit_json({"removed": removed, "unknown": unknown, "trash": str(trash)})
    elif removed:
        what = "Their sidecars lie" if keep_file else "Their files lie"
        console.echo(f"{len(removed)} removed. {what} in {trash}.")
    return _complain_unknown(unknown)


# -- inside -------------------------------------------------------------------------------------------


@contextmanager
def _registry(library: dict[str, str | None], *, makes: bool = False) -> Iterator[AssetRegistry]:
    """Open the library that the options name; only a command that registers makes one where there is none."""
    console.set_up_logging()
    with console.open_registry(**library, makes=makes) as registry:
        yield registry


@contextmanager
def _registry_or_empty(library: dict[str, str | None]) -> Iterator[AssetRegistry]:
    """Open the library, or an empty one in a temporary folder where there is none: nothing is made."""
    from comfyvn.errors import NoLibrary

    try:
        with _registry(library) as registry:
            yield registry
    except NoLibrary:
        with tempfile.TemporaryDirectory() as folder:
            places: dict[str, str | None] = {
                "db_path": f"{folder}/l.db",
                "assets_dir": f"{folder}/a",
                "thumbs_dir": f"{folder}/t",
            }
            with _registry(places, makes=True) as registry:
                yield registry


def _check_words(selection: Selection) -> None:
    """Refuse a bad type, tag or licence once, before the first file."""
    from comfyvn.model import normalise_license, normalise_tags, normalise_type

    if selection.asset_type is not None:
        normalise_type(selection.asset_type)
    normalise_tags(selection.tags)
    normalise_license(selection.license)


@contextmanager
def _stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C end a batch properly; the second one ends it at once."""
    pressed: list[int] = []

    def note(number: int, frame: Any) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


def _counted(items: Iterable[IngestItem], bar: console.Bar) -> Iterator[IngestItem]:
    for item in items:
        if item.status != "skipped":
            bar.advance()
        yield item


def _report(items: Iterable[IngestItem], as_json: bool, *, each: bool = False) -> int:
    """Print what became of files, as they come; return the exit code."""
    counts: Counter[str] = Counter()

    def counted() -> Iterator[IngestItem]:
        for item in items:
            counts[item.status] += 1
            yield item

    if as_json:
        _emit_list("items", (item.as_dict() for item in counted()), lambda: {"counts": dict(counts)})
    else:
        problems = 0
        for item in counted():
            if each and item.reason is None:
                console.echo(f"{item.status:<10} {item.file} -> {item.path}")
            elif item.reason is not None and (each or problems < _PROBLEMS_SHOWN):
                problems += 1
                console.echo(f"{item.status:<10} {_with_file(item)}", err=not each)
        words = {"updated": "with new content", "known": "already known"}
        shown = ", ".join(f"{count} {words.get(status, status)}" for status, count in counts.items())
        console.echo(f"{sum(counts.values())} files: {shown}." if counts else "There are no files.")
        if sum(counts[status] for status in ("skipped", "failed")) > problems:
            console.echo("Not every reason is shown; --json lists them all.", err=True)
        if counts["failed"] and not each:
            console.echo("Mend what failed and run the same command again; nothing is done twice.", err=True)
    return 1 if counts["failed"] else 0


def _with_file(item: IngestItem) -> str:
    reason = item.reason or ""
    return reason if item.file in reason else f"{item.file}: {reason}"


def _finish_previews(registry: AssetRegistry, *, quiet: bool = False, give_up: bool = False) -> None:
    from comfyvn.studio.core.previews import POOL

    if give_up:
        POOL.cancel()
        return
    if not quiet and sys.stderr.isatty() and not registry.wait_for_thumbnails(0.5):
        console.echo("Finishing previews ...", err=True)
    registry.wait_for_thumbnails()


def _pages(
    registry: AssetRegistry,
    asset_type: str | None,
    wanted: dict[str, Any],
    limit: int | None,
    cursor: int | None,
) -> Iterator[AssetRecord]:
    """Yield records page by page, so that memory does not grow with the library."""
    left = limit
    while left is None or left > 0:
        count = 500 if left is None else min(500, left)
        page = registry.list_assets(asset_type, limit=count, cursor=cursor, **wanted)
        yield from page
        if len(page) < count:
            return
        cursor, left = page[-1]["id"], None if left is None else left - len(page)


def _emit_list(name: str, items: Iterable[Any], rest: Callable[[], dict[str, Any]] = dict) -> None:
    """Print one JSON document with a list that is written as it comes."""
    click.echo(f'{{\n  "{name}": [', nl=False)
    separator = "\n    "
    for item in items:
        click.echo(separator + console.to_json(item), nl=False)
        separator = ",\n    "
    tail = "".join(f',\n  "{key}": {console.to_json(value)}' for key, value in rest().items())
    click.echo(f"\n  ]{tail}\n}}")


def _complain_unknown(uids: list[str]) -> int:
    for uid in uids:
        console.echo(f"comfyvn: no asset with uid {uid}. List the uids with `comfyvn list`.", err=True)
    return 3 if uids else 0


def _table(*columns: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _print(*things: Any) -> None:
    from rich.console import Console

    width = None if sys.stdout.isatty() else 160
    for thing in things:
        Console(width=width, soft_wrap=False, markup=False, highlight=False).print(thing)


def _print_assets(records: list[AssetRecord], title: str) -> None:
    from rich.text import Text

    table = _table("uid", "type", "path", "size", "tags", "licence", "preview")
    for record in records:
        preview = record["preview"] or {}
        state = preview.get("kind", "none") if record["preview_state"] == "ready" else record["preview_state"]
        cells = (
            record["uid"],
            record["type"],
            record["path"] + (" (missing)" if record["missing_since"] else ""),
            _size(record["bytes"]),
            ", ".join(record["tags"]),
            record["license"] or "",
            state,
        )
        table.add_row(*(Text(console.plain(cell)) for cell in cells))
    if records:
        _print(table)
    console.echo(title)


def _print_next(folder: Path, records: list[AssetRecord]) -> None:
    program = "comfyvn" if Path(sys.argv[0]).name != "comfyvn" else sys.argv[0]
    program = program if program.startswith((".", "/")) and not _is_on_path(program) else "comfyvn"
    home = f'"{folder}"' if " " in str(folder) else str(folder)
    uid = records[-1]["uid"] if records else "UID"
    console.echo("\nTry next:")
    console.echo(f"  {program} --home {home} list --type characters --tag sample")
    console.echo(f"  {program} --home {home} show {uid}")
    console.echo(f"  {program} --home {home} tag {uid} --add favourite --license CC-BY-4.0")


def _is_on_path(program: str) -> bool:
    import shutil

    found = shutil.which("comfyvn")
    return found is not None and Path(found).resolve() == Path(program).resolve()


def _print_record(registry: AssetRegistry, record: AssetRecord, history: list[dict[str, Any]]) -> None:
    from rich.text import Text

    preview = registry.resolve_thumbnail_path(record)
    reason = (record["preview"] or {}).get("reason")
    rows: dict[str, object] = {
        "uid": record["uid"],
        "type": record["type"],
        "file": registry.ASSETS_ROOT / record["path"],
        "missing since": record["missing_since"],
        "sidecar": registry.ASSETS_ROOT / record["sidecar"],
        "hash": record["hash"],
        "size": f"{_size(record['bytes'])} ({record['bytes']:,} bytes)",
        "version": record["version"],
        "tags": ", ".join(record["tags"]) or "none",
        "licence": record["license"] or "none",
        "preview": preview or reason or record["preview_state"],
        "registered": f"{record['created_at']} UTC",
        "changed": f"{record['updated_at']} UTC",
    }
    derived = {"tags", "license", "version", "preview", "thumbnails"}
    rows |= {name: _inline(value) for name, value in record["meta"].items() if name not in derived}
    for row in history:
        rows[f"provenance {row['id']}"] = _describe(row)
    table = _table("", "")
    table.show_header = False
    for name, value in rows.items():
        if value is not None:
            table.add_row(Text(console.plain(name), style="bold"), Text(console.plain(str(value))))
    _print(table)


def _describe(row: dict[str, Any]) -> str:
    inputs = {key: value for key, value in row["inputs"].items() if key not in ("asset_uid", "asset_hash")}
    parts = [f"from {row['source']}", f"{row['created_at']} UTC"]
    parts += [f"by {row['user_id']}"] if row["user_id"] else []
    parts += [f"workflow {row['workflow_hash'][:16]}"] if row["workflow_hash"] else []
    parts += [f"commit {row['commit_hash'][:12]}"] if row["commit_hash"] else []
    parts += [_inline(inputs)] if inputs else []
    return ", ".join(parts)


def _inline(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else text[:299] + "…"


def _size(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


if __name__ == "__main__":
    main()
