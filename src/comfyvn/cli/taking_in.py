"""The commands that take files in: ``ingest``, ``adapters`` and ``demo``."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from comfyvn.cli.looking import print_assets
from comfyvn.cli.shared import emit_list, json_option, open_library
from comfyvn.errors import NoLibrary, PathConflict, SourceMissing
from comfyvn.registry import console

if TYPE_CHECKING:
    from comfyvn.registry.ingest import IngestItem, Selection
    from comfyvn.studio.core import AssetRecord, AssetRegistry

__all__ = ["adapters", "demo", "ingest"]

_PROBLEMS_SHOWN: Final = 30
_NAMES_SHOWN: Final = 3


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--type", "asset_type", help="The type of all files; by default their folder's name.")
@click.option("--tag", "tags", multiple=True, help="A tag for all files; may be repeated.")
@click.option("--license", "license_tag", help="The licence of all files, such as CC-BY-4.0.")
@click.option("--source", help="Where the files come from, for their provenance.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave out matching files; may be repeated.")
@click.option("--in-place", is_flag=True, help="Register files of the assets folder where they are.")
@click.option("--adapter", metavar="NAME", help="Have an import adapter tell what files become.")
@click.option(
    "--set", "stated", multiple=True, metavar="KEY=VALUE", help="A setting of the adapter; may be repeated."
)
@click.option("--watch", is_flag=True, help="Go on and take in what comes, as soon as it is finished.")
@click.option("--polling", is_flag=True, help="Watch by looking at every file twice a second.")
@click.option("--dry-run", is_flag=True, help="Tell file by file what would happen; change nothing.")
@json_option
@console.library_options
def ingest(
    paths: tuple[Path, ...],
    asset_type: str | None,
    tags: tuple[str, ...],
    license_tag: str | None,
    source: str | None,
    exclude: tuple[str, ...],
    in_place: bool,
    adapter: str | None,
    stated: tuple[str, ...],
    watch: bool,
    polling: bool,
    dry_run: bool,
    as_json: bool,
    **library: str | None,
) -> int:
    """Register files and folders, recursively: copied, hashed, stamped, with sidecars and previews.

    Run it again whenever you like: nothing is registered twice, and an interrupted run goes on.

    An import adapter knows what other programs say of their files: type, tags, licence, provenance.
    `comfyvn adapters` lists them; their settings are the tables [importers.NAME] of comfyvn.toml, and --set.
    With --watch their output folders are taken in as they grow (JSON Lines with --json); Ctrl-C ends it.

    Exit code 0: all is well. 1: some files failed; each is named with its reason.
    """
    from comfyvn.registry import ingest as bulk

    _check_options(adapter, stated=stated, in_place=in_place, watch=watch, polling=polling, dry_run=dry_run)
    settings = _settings(stated)
    selection = bulk.Selection(
        paths, asset_type, tags, license_tag, source, exclude, in_place, adapter, settings
    )
    _check_words(selection)
    if not any(os.path.lexists(path) for path in paths):
        raise SourceMissing(path=paths[0])  # mistyped: no library is made for it
    if adapter is not None and (watch or console.is_new_place(**library)):
        _try_adapter(selection, is_watched=watch)
    if watch:
        return _watch(selection, library, polling=polling, as_json=as_json)
    with open_library(library, makes=True) if not dry_run else _registry_or_empty(library) as registry:
        files = bulk.count_files(selection, registry)  # refuses a wrong folder before anything is printed
        tally = _Tally(groups_skipped=adapter is not None or not dry_run)
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
        of_all = f" of {files}" if files is not None else ""
        left = f"{tally.total}{of_all} files were looked at"
        console.echo(f"Interrupted: {left}; run the same command to go on.", err=True)
        return 130
    return code


@click.command()
@json_option
def adapters(as_json: bool) -> int:
    """List the import adapters of this installation, for `comfyvn ingest --adapter`.

    Exit code 1: one can't be loaded; the log says why.
    """
    from comfyvn.errors import UnknownAdapter
    from comfyvn.importers import adapter_names, load_adapter

    console.set_up_logging()
    found: dict[str, str | None] = {}
    for name in adapter_names():
        try:
            found[name] = load_adapter(name).summary
        except UnknownAdapter:
            found[name] = None
    if as_json:
        console.emit_json({"adapters": [{"name": name, "summary": text} for name, text in found.items()]})
    else:
        width = max(map(len, found), default=0)
        for name, text in found.items():
            console.echo(f"{name:<{width}}  {text or 'can not be loaded'}")
    return 1 if None in found.values() else 0


@click.command()
@click.argument("folder", default="demo-library", type=click.Path(path_type=Path, file_okay=False))
@json_option
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
        print_assets(records, f"{len(records)} assets registered")
        console.echo("\nWhere it lies:")
        for what, place in places.items():
            console.echo(f"  {what:<18}  {place}")
        _print_next(folder, records)
    return 1 if any(item.status == "failed" for item in items) else 0


# -- inside -------------------------------------------------------------------------------------------


def _check_options(
    adapter: str | None, *, stated: tuple[str, ...], in_place: bool, watch: bool, polling: bool, dry_run: bool
) -> None:
    """Refuse options that have no meaning together."""
    if adapter is None and (stated or watch):
        raise click.UsageError(f"{'--set' if stated else '--watch'} needs --adapter: see `comfyvn adapters`.")
    if adapter is not None and in_place:
        raise click.UsageError("--in-place and --adapter don't go together: an adapter's files are copied.")
    if watch and dry_run:
        raise click.UsageError("--watch and --dry-run don't go together.")
    if polling and not watch:
        raise click.UsageError("--polling needs --watch.")


def _settings(stated: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in stated:
        key, sign, value = text.partition("=")
        if not sign or not key.strip():
            raise click.BadParameter(f"{text!r} must be KEY=VALUE, such as gui=true", param_hint="--set")
        found[key.strip()] = value
    return found


def _try_adapter(selection: Selection, *, is_watched: bool) -> None:
    """Open the sources once, so that no library is made for what is refused."""
    from comfyvn.config import load
    from comfyvn.registry.imports import opened_sources
    from comfyvn.registry.noticing import check_extra

    if is_watched:
        check_extra()
    console.set_up_logging()
    with opened_sources(str(selection.adapter), selection.paths, selection.settings, load(), ()) as sources:
        for source in sources if is_watched else ():
            source.watched()


def _watch(selection: Selection, library: dict[str, str | None], *, polling: bool, as_json: bool) -> int:
    """Take in what is there, then what comes; return the exit code."""
    from comfyvn.registry.ingest_watch import watch_selection
    from comfyvn.registry.noticing import stop_on_signals
    from comfyvn.studio.core.previews import POOL

    def show(item: IngestItem) -> None:
        if as_json:
            click.echo(console.to_json(item.as_dict()))
        elif item.status in ("registered", "failed") or item.left_out:
            told = f"{item.file} -> {item.path}" if item.status == "registered" else _with_file(item)
            console.echo(f"{datetime.now():%H:%M:%S}  {item.status:<10} {told}", err=item.uid is None)

    def trouble(text: str) -> None:
        if as_json:
            click.echo(console.to_json({"trouble": text}))
        else:
            console.echo(f"{datetime.now():%H:%M:%S}  {text}", err=True)

    with open_library(library, makes=True) as registry, stop_on_signals() as (stop, interrupts):
        console.echo(f"Watching {', '.join(map(str, selection.paths))}. Ctrl-C ends it.", err=True)
        try:
            watch_selection(selection, registry, stop=stop, on_item=show, on_trouble=trouble, polling=polling)
        finally:
            POOL.cancel()  # previews that wait stay pending; `comfyvn previews` makes them
            registry.wait_for_thumbnails()
    console.echo("Watching has ended; what was reported is done.", err=True)
    return 130 if interrupts else 0


@contextmanager
def _registry_or_empty(library: dict[str, str | None]) -> Iterator[AssetRegistry]:
    """Open the library, or an empty one in a temporary folder where there is none: nothing is made."""
    try:
        with open_library(library) as registry:
            yield registry
    except NoLibrary:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            places: dict[str, str | None] = {
                "db_path": f"{folder}/l.db",
                "assets_dir": f"{folder}/a",
                "thumbs_dir": f"{folder}/t",
            }
            with open_library(places, makes=True) as registry:
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

    def __init__(self, *, groups_skipped: bool = True) -> None:
        self.groups_skipped = groups_skipped
        self.counts: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}
        self.lines: Counter[str] = Counter()
        self.new_uids: set[str | None] = set()
        self.twins = 0
        self.kept = 0
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
            emit_list(
                "items", (item.as_dict() for item in self._count(items, bar)), lambda: self._end(finish)
            )
            return
        for item in self._count(items, bar):
            if each and not (item.status == "skipped" and self.groups_skipped):
                shown = _with_file(item) if item.reason else f"{item.file} -> {item.path}"
                console.echo(f"{item.status:<10} {shown}")
                for line in _planned(item, is_twin=item.uid in self.new_uids):
                    console.echo(f"{'':<10} {line}")
            elif item.status != "skipped" and item.reason is not None:
                self.lines[item.status] += 1
                if self.lines[item.status] <= _PROBLEMS_SHOWN:
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
            self.kept += bool(item.left_out)
            if item.status in ("registered", "new"):
                self.new_uids.add(item.uid)
            self.twins += item.status == "known" and item.uid in self.new_uids
            yield item

    def summarise(self, *, as_json: bool, each: bool = False) -> int:
        """Print the summary for people; return the exit code."""
        code = 1 if self.counts["failed"] else 0
        if as_json:
            return code
        for reason, files in self.examples.items() if self.groups_skipped else ():
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
        if self.lines["failed"] > _PROBLEMS_SHOWN:
            console.echo("Not every reason is shown; --json lists them all.", err=True)
        if self.kept and self.lines["known"] > _PROBLEMS_SHOWN:
            console.echo(f"Of {self.kept} known files something was left out; --json lists it.", err=True)
        if self.counts["failed"] and not each:
            console.echo("Mend what failed and run the same command again; nothing is done twice.", err=True)
        return code


def _planned(item: IngestItem, *, is_twin: bool) -> Iterator[str]:
    """Yield what a plan with an adapter says of a file, a line each; a twin is one of another new file."""
    if item.provenance is None:
        return
    licence, tags = item.license or "none", ", ".join(item.tags or ()) or "none"
    if item.stays is None:
        yield f"type {item.type}, licence {licence}, tags {tags}"
    else:
        known = f"already known as {item.uid}, {item.duplicate_of}:"
        known = f"the same content as {item.duplicate_of}, which" if is_twin else known
        becomes = f", licence {licence}" if "license" in item.stays else f"; its licence becomes {licence}"
        yield f"{known} stays {item.type}{becomes}"
        if item.tags:
            yield f"tags {tags} are added to that"
    yield f"source {item.provenance.get('source')}{_made(item.provenance.get('inputs') or {})}"
    if item.metadata:
        yield f"metadata {', '.join(item.metadata)}"
    if item.left_out:
        yield f"left out, as other values stay: {', '.join(item.left_out)}"


def _made(inputs: Mapping[str, Any]) -> str:
    """Return what is known of a file's making in a few words."""
    told = inputs.get("generation")
    facts = told["facts"] if isinstance(told, dict) and isinstance(told.get("facts"), dict) else {}
    models = [str(each.get("name")) for each in facts.get("models", ())]
    words = [f"made by {told['tool']}" if isinstance(told, dict) and told.get("tool") else ""]
    words += [f"model {models[0]}" if models else "", f"seed {facts['seed']}" if "seed" in facts else ""]
    told_ones = {key: value for key, value in inputs.items() if key != "file"}
    words += [f"{key} {value}" for key, value in told_ones.items() if isinstance(value, (str, int, float))]
    return "".join(f", {word}" for word in words if word)


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


def _print_next(folder: Path, records: list[AssetRecord]) -> None:
    program = "comfyvn" if Path(sys.argv[0]).name != "comfyvn" else sys.argv[0]
    program = program if program.startswith((".", "/")) and not _is_on_path(program) else "comfyvn"
    home = f'"{folder}"' if " " in str(folder) else str(folder)
    uid = records[-1]["uid"] if records else "UID"
    console.echo("\nTry next:")
    console.echo(f"  {program} --home {home} list --type characters --tag sample")
    console.echo(f"  {program} --home {home} show {uid}")
    console.echo(f"  {program} --home {home} tag {uid} --add favourite --license CC-BY-4.0")
    console.echo(f"  {program} --home {home} serve")


def _is_on_path(program: str) -> bool:
    import shutil

    found = shutil.which("comfyvn")
    return found is not None and Path(found).resolve() == Path(program).resolve()
