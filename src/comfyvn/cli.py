"""The commands. Each is a thin door: options in, one call, a table or one JSON document out.

What a command needs is imported in it, so that ``comfyvn --help`` loads nothing heavy.
"""

from __future__ import annotations

import importlib
import itertools
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
from comfyvn.errors import (
    AssetNotFound,
    ComfyVNError,
    LibraryUnreachable,
    NoLibrary,
    OutsideLibrary,
    PathConflict,
    RegistryUnusable,
    SourceMissing,
)
from comfyvn.registry import console

if TYPE_CHECKING:
    from comfyvn.registry.ingest import IngestItem, Selection
    from comfyvn.studio.core import AssetRecord, AssetRegistry

__all__ = ["cli", "main"]

_PROBLEMS_SHOWN: Final = 30
_NAMES_SHOWN: Final = 3
_END: Final = object()
_ROWS_SHOWN: Final = 50
# the columns of a list, and the width of terminal from which each is shown
_COLUMNS: Final = {"uid": 0, "type": 110, "path": 0, "size": 100, "tags": 0, "licence": 0, "preview": 90}
# commands that live with their job, imported when they are named: module, object, line of help
_ELSEWHERE: Final = {
    "audit": ("comfyvn.registry.audit", "audit", "Look for missing sidecars, files, previews and licences."),
    "enforce": ("comfyvn.registry.audit", "enforce", "Write the sidecars and mirrors that are missing."),
    "export": ("comfyvn.registry.export", "command", "Print the whole library as one JSON document."),
    "previews": ("comfyvn.registry.previews", "command", "Tell which previews are there, make the others."),
    "rebuild": ("comfyvn.registry.rebuild", "command", "Bring the ledger in step with the assets folder."),
    "history": ("comfyvn.registry.history", "history", "Tell what was done, by whom and when."),
    "undo": ("comfyvn.registry.history", "undo", "Take an operation back."),
    "restore": ("comfyvn.registry.history", "restore", "Bring removed assets back."),
    "purge": ("comfyvn.registry.history", "purge", "Forget assets whose file is gone."),
    "stamp": ("comfyvn.registry.stamp", "command", "Read the marker in a file, or take it out."),
    "upgrade": ("comfyvn.registry.upgrade", "command", "Make the database of an older release ours."),
    "verify": ("comfyvn.registry.verify", "command", "Check every file against its hash."),
    "watch": ("comfyvn.registry.watch", "command", "Take in what changes in the assets folder."),
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
    type=click.Path(exists=True, file_okay=False),
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
    if not any(os.path.lexists(path) for path in paths):
        raise SourceMissing(path=paths[0])  # mistyped: no library is made for it
    with _registry(library, makes=True) if not dry_run else _registry_or_empty(library) as registry:
        files = bulk.count_files(selection, registry)  # refuses a wrong folder before anything is printed
        tally = _Tally()
        if dry_run:
            tally.take(bulk.plan(selection, registry), console.Bar(None, None), as_json=as_json, each=True)
            return tally.summarise(as_json=as_json, each=True)
        with console.progress("registering", files, quiet=as_json) as bar, _stop_on_interrupt() as is_stopped:
            items = bulk.ingest(selection, registry, is_stopped)
            tally.take(
                items, bar, as_json=as_json, finish=lambda: _finish(registry, is_stopped, bar, as_json)
            )
        code = tally.summarise(as_json=as_json)
    if is_stopped():
        left = f"{tally.total} of {files} files were looked at"
        console.echo(f"Interrupted: {left}; run the same command to go on.", err=True)
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
    home = folder.absolute()
    if (home / "comfyvn" / "data" / "comfyvn.db").exists() and not art.is_dir():
        raise PathConflict(path=folder, why="there is a library of yours; give the demo a folder of its own")
    with console.progress("drawing the sample library", len(sample.files()), quiet=as_json) as bar:
        sample.build(art, on_file=lambda path: bar.advance())
    with AssetRegistry(
        home / "comfyvn" / "data" / "comfyvn.db",
        "default",
        assets_root=home / "assets",
        thumb_root=home / "cache" / "thumbs",
    ) as registry:
        selection = bulk.Selection([art], license="CC0-1.0", tags=("sample",), source="comfyvn demo")
        with console.progress("registering", len(sample.files()), quiet=as_json) as bar:
            items = []
            for item in bulk.ingest(selection, registry):
                items.append(item)
                bar.advance()
        registry.wait_for_thumbnails()
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
@click.option(
    "--where", multiple=True, help="Only files of which this is true, as 'width>=1024' or 'codec=opus'."
)
@click.option("--limit", type=click.IntRange(0, 2**31), help="At most so many; 0 for all. [50; JSON: all]")
@click.option("--cursor", type=click.IntRange(1, 2**53), help="Go on behind the asset with this id.")
@_json_option
@console.library_options
def list_command(
    asset_type: str | None,
    tags: tuple[str, ...],
    license_tag: str | None,
    text: str | None,
    hash_value: str | None,
    where: tuple[str, ...],
    limit: int | None,
    cursor: int | None,
    as_json: bool,
    **library: str | None,
) -> int:
    """List registered assets, newest first; all conditions given must hold."""
    wanted: dict[str, Any] = {
        "hash_value": hash_value,
        "tags": tags,
        "text": text,
        "license": license_tag,
        "where": where,
    }
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
    """Show all that is known of one asset: by its uid, the beginning of that, or its path."""
    with _registry(library) as registry:
        record = registry.get_asset(registry.resolve_uid(uid) or uid)
        if record is None:
            raise AssetNotFound(uid=uid, project=registry.project_id)
        history = registry.list_provenance(record["uid"])
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
    """Add and remove tags, and set the licence, of assets: by uid, the beginning of one, or path.

    Exit code 3: a uid is unknown; the others are done.
    """
    if not add_tags and not remove_tags and license_tag is None:
        raise click.UsageError("Nothing to do: give --add, --remove or --license.")
    from comfyvn.registry import history as journal

    with _registry(library) as registry:
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


@cli.command()
@click.argument("uids", nargs=-1, required=True)
@click.option("--keep-file", is_flag=True, help="Leave the file where it is, unregistered.")
@_json_option
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
    with _registry(library) as registry:
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


class _Tally:
    """Counts what became of files and says what people want to know of it: the rest is in --json."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}
        self.lines = 0
        self.new_uids: set[str | None] = set()
        self.twins = 0
        self.rest: dict[str, Any] = {}

    @property
    def total(self) -> int:
        """How many files were looked at."""
        return sum(self.counts.values())

    def take(
        self,
        items: Iterable[IngestItem],
        bar: console.Bar,
        *,
        as_json: bool,
        each: bool = False,
        finish: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        """Take in items as they come, print those that need a word, then do what ``finish`` does."""
        if as_json:
            _emit_list(
                "items", (item.as_dict() for item in self._count(items, bar)), lambda: self._end(finish)
            )
            return
        for item in self._count(items, bar):
            if each:
                shown = _with_file(item) if item.reason else f"{item.file} -> {item.path}"
                console.echo(f"{item.status:<10} {shown}")
            elif item.status != "skipped" and item.reason is not None and self.lines < _PROBLEMS_SHOWN:
                self.lines += 1
                bar.echo(f"{item.status:<10} {_with_file(item)}")
        self._end(finish)

    def _end(self, finish: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        self.rest = finish()
        return {"counts": dict(self.counts), **self.rest}

    def _count(self, items: Iterable[IngestItem], bar: console.Bar) -> Iterator[IngestItem]:
        for item in items:
            self.counts[item.status] += 1
            if item.status == "skipped":
                reason = item.reason or ""
                self.skipped[reason] += 1
                if self.skipped[reason] <= _NAMES_SHOWN:
                    self.examples.setdefault(reason, []).append(item.file)
            else:
                bar.advance()
            if item.status == "registered":
                self.new_uids.add(item.uid)
            self.twins += item.status == "known" and item.uid in self.new_uids
            yield item

    def summarise(self, *, as_json: bool, each: bool = False) -> int:
        """Print the summary for people; return the exit code."""
        code = 1 if self.counts["failed"] else 0
        if as_json:
            return code
        for reason, files in self.examples.items() if not each else ():
            count = self.skipped[reason]
            names = files if count <= _NAMES_SHOWN else [f"{count} files, such as {files[0]}"]
            for name in names:
                console.echo(f"skipped    {name}: {reason}", err=True)
        failures = self.rest.get("failed_previews", [])
        for failure in failures[:_PROBLEMS_SHOWN]:
            console.echo(f"no preview {failure['path']}: {failure['reason']}", err=True)
        words = {"updated": "with new content", "known": "already known"}
        shown = ", ".join(f"{count} {words.get(status, status)}" for status, count in self.counts.items())
        shown += f" ({self.twins} the same as another new file)" if self.twins else ""
        shown += f"; {len(failures)} without preview" if failures else ""
        files_word = "file" if self.total == 1 else "files"
        console.echo(f"{self.total} {files_word}: {shown}." if self.counts else "There are no files.")
        if self.counts["failed"] > self.lines and not each:
            console.echo("Not every reason is shown; --json lists them all.", err=True)
        if self.counts["failed"] and not each:
            console.echo("Mend what failed and run the same command again; nothing is done twice.", err=True)
        return code


def _with_file(item: IngestItem) -> str:
    reason = item.reason or ""
    return reason if item.file in reason else f"{item.file}: {reason}"


def _finish(
    registry: AssetRegistry, is_stopped: Callable[[], bool], bar: console.Bar, quiet: bool
) -> dict[str, Any]:
    """Wait for the previews, or give them up when interrupted; return those that failed."""
    from comfyvn.studio.core.previews import POOL

    if is_stopped():
        POOL.cancel()
    elif not quiet and sys.stderr.isatty() and not registry.wait_for_thumbnails(0.5):
        bar.echo("Finishing previews ...")
    registry.wait_for_thumbnails()
    failures = registry.library.preview_failures
    return {"failed_previews": [{"path": path, "reason": reason} for path, reason in failures]}


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
    """Print one JSON document with a list that is written as it comes; an error still ends it properly."""
    wanted = iter(items)
    first = next(wanted, _END)  # what is refused is refused before the first character
    click.echo(f'{{\n  "{name}": [', nl=False)
    separator, failure = "\n    ", None
    try:
        for item in () if first is _END else itertools.chain([first], wanted):
            click.echo(separator + console.to_json(item), nl=False)
            separator = ",\n    "
    except ComfyVNError as error:
        failure = error
    tail = {"error": str(failure)} if failure else rest()
    text = "".join(f',\n  "{key}": {console.to_json(value)}' for key, value in tail.items())
    click.echo(f"\n  ]{text}\n}}")
    if failure is not None:
        raise failure


def _complain_unknown(uids: list[str]) -> int:
    for uid in uids:
        console.echo(f"comfyvn: no asset with uid {uid}. List the uids with `comfyvn list`.", err=True)
    return 3 if uids else 0


def _table(*columns: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "uid")  # a uid is there to be copied
    return table


def _width() -> int | None:
    """Return the width of tables: that of the terminal (None), elsewhere enough for all columns."""
    return None if sys.stdout.isatty() else 160


def _print(*things: Any) -> None:
    from rich.console import Console

    for thing in things:
        Console(width=_width(), soft_wrap=False, markup=False, highlight=False).print(thing)


def _print_assets(records: list[AssetRecord], title: str) -> None:
    from rich.console import Console
    from rich.text import Text

    width = Console(width=_width()).width
    shown = [name for name, least in _COLUMNS.items() if width >= least]
    table = _table(*shown)
    for record in records:
        preview = record["preview"] or {}
        state = preview.get("kind", "none") if record["preview_state"] == "ready" else record["preview_state"]
        cells = {
            "uid": record["uid"],
            "type": record["type"],
            "path": record["path"] + (" (missing)" if record["missing_since"] else ""),
            "size": _size(record["bytes"]),
            "tags": ", ".join(record["tags"]),
            "licence": record["license"] or "",
            "preview": state,
        }
        table.add_row(*(Text(console.plain(cells[name])) for name in shown))
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
    told = record["media"]
    if told:
        stamped = "yes" if told["stamped"] else f"no: {told['not_stamped_because']}"
        facts = {key: value for key, value in told.items() if "stamped" not in key and key != "recipe"}
        rows |= {"marker in file": stamped, "file tells": ", ".join(map(_fact, facts.items()))}
    derived = {"tags", "license", "version", "preview", "thumbnails"}
    derived |= {"media"} if record["meta"].get("media") == told else set()
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
    # one derived from nothing says nothing
    parts += [f"workflow {row['workflow_hash'][:16]}"] if row["workflow_hash"] and inputs else []
    parts += [f"commit {row['commit_hash'][:12]}"] if row["commit_hash"] else []
    parts += [_inline(inputs)] if inputs else []
    return ", ".join(parts)


def _fact(fact: tuple[str, object]) -> str:
    name, value = fact
    return f"{name} {value if isinstance(value, float) else _inline(value)}"


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
