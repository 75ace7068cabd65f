"""What all commands share: the options that say which library, JSON on stdout, sentences and exit codes."""

from __future__ import annotations

import json
import logging
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from comfyvn.config import Config, load
from comfyvn.errors import ComfyVNError, NestedLibrary, NoLibrary

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from comfyvn.studio.core import AssetRegistry

__all__ = [
    "Bar",
    "echo",
    "emit_json",
    "is_new_place",
    "library_options",
    "open_registry",
    "plain",
    "progress",
    "run",
    "set_up_logging",
    "to_json",
]

_F = TypeVar("_F", bound=Callable[..., Any])
_OPTIONS = (
    click.option("--db-path", type=click.Path(), help="The ledger (setting db)."),
    click.option("--assets-dir", type=click.Path(), help="The assets folder (setting assets_root)."),
    click.option("--thumbs-dir", type=click.Path(), help="The preview cache (setting thumbs_root)."),
    click.option("--project-id", help="The project in the ledger (setting project)."),
)


def library_options(command: _F) -> _F:
    """Add the options that say which library a command works on."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@contextmanager
def open_registry(
    db_path: str | None = None,
    assets_dir: str | None = None,
    thumbs_dir: str | None = None,
    project_id: str | None = None,
    *,
    makes: bool = True,
) -> Iterator[AssetRegistry]:
    """Open the library that the options name, and close it at the end.

    Args:
        makes: make the library where there is none; else say that there is none.

    Raises:
        NoLibrary: there is none.
        RegistryUnusable: it can't be made or opened.
    """
    config = load({"db": db_path, "assets_root": assets_dir})
    if _is_empty(config.db):
        _check_new(config, makes)
    from comfyvn.studio.core import AssetRegistry

    registry = AssetRegistry(db_path, project_id, assets_root=assets_dir, thumb_root=thumbs_dir)
    try:
        yield registry
    finally:
        registry.close()


def echo(text: str, *, err: bool = False) -> None:
    """Print text for people; control characters of names and metadata never reach the terminal."""
    click.echo(plain(text), err=err)


def plain(text: str) -> str:
    r"""Return text with its control and direction characters spelled out, line ends kept.

    >>> plain("mara\x1b[31m.png")
    'mara\\x1b[31m.png'
    """
    if text.isprintable():
        return text
    return "".join(
        char if char == "\n" or unicodedata.category(char) not in ("Cc", "Cf", "Cs") else _spelled(char)
        for char in text
    )


def _spelled(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def emit_json(value: object) -> None:
    """Print one JSON document on stdout."""
    click.echo(to_json(value, indent=2))


def to_json(value: object, indent: int | None = None) -> str:
    """Return JSON for stdout; ASCII alone where that is not UTF-8, since JSON is UTF-8 everywhere."""
    encoding = (sys.stdout.encoding or "").lower().replace("-", "").replace("_", "")
    return json.dumps(value, indent=indent, ensure_ascii=encoding != "utf8")


def _is_empty(db: Path) -> bool:
    """Tell a ledger that is not there, or has not one byte: what a restore that failed leaves."""
    has_changes = db.with_name(f"{db.name}-wal").exists()
    return not db.exists() or (db.stat().st_size == 0 and not has_changes)


def is_new_place(
    db_path: str | None = None,
    assets_dir: str | None = None,
    thumbs_dir: str | None = None,
    project_id: str | None = None,
) -> bool:
    """Tell whether nothing of a library is where the options say, neither a ledger nor its assets."""
    config = load({"db": db_path, "assets_root": assets_dir})
    return _is_empty(config.db) and not _is_lost(config)


def _is_lost(config: Config) -> bool:
    """Tell whether there are assets of a library; without a ledger, that was lost."""
    return (config.assets_root / ".comfyvn" / "library.json").exists()


def _check_new(config: Config, makes: bool) -> None:
    """Say where to go when there is no ledger; refuse to make a library inside a library."""
    if not makes:
        lost = f"The assets are here, in {config.assets_root}: `comfyvn rebuild` brings the ledger back."
        new = "Register something with `comfyvn ingest FOLDER`, or say where your project lies with --home."
        raise NoLibrary(path=config.db, hint=lost if _is_lost(config) else new)
    for folder in config.assets_root.parents:
        if (folder / ".comfyvn" / "library.json").exists():
            raise NestedLibrary(path=config.assets_root, root=folder)


class Bar:
    """A progress bar on a terminal, nothing elsewhere."""

    def __init__(self, progress: Progress | None, task: TaskID | None) -> None:
        self._progress = progress
        self._task = task
        self._started_s = time.monotonic()
        self._files = 0

    def advance(self, files: int = 1) -> None:
        """Count more files."""
        self._files += files
        if self._progress is not None and self._task is not None:
            elapsed_s = max(time.monotonic() - self._started_s, 1e-3)
            self._progress.update(self._task, advance=files, rate=f"{self._files / elapsed_s:,.0f} files/s")

    def echo(self, text: str) -> None:
        """Print a line on stderr, above the bar where there is one."""
        if self._progress is not None:
            self._progress.console.print(plain(text), markup=False, highlight=False, soft_wrap=True)
        else:
            echo(text, err=True)


@contextmanager
def progress(what: str, total: int | None = None, *, quiet: bool = False) -> Iterator[Bar]:
    """Show a progress bar with rate and remaining time on stderr, if that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield Bar(None, None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as shown:
        yield Bar(shown, shown.add_task(what, total=total, rate=""))


def set_up_logging(level: str | None = None) -> None:
    """Send log messages to stderr, from the given level on (default: setting ``log_level``)."""
    wanted = (level or load().log_level).upper()
    numeric = logging.getLevelNamesMapping().get(wanted, logging.WARNING)
    logging.basicConfig(level=numeric, format="%(levelname)s: %(message)s", stream=sys.stderr, force=True)


def run(command: click.Command, prog_name: str) -> NoReturn:
    """Run a command and exit: our errors become one sentence on stderr and their exit code.

    Exit codes: 0 fine, 1 findings or some items failed, 2 wrong usage, 3 not found, 4 refused, 5 registry
    unusable, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the terminal can't show must not end the command
            stream.reconfigure(errors="backslashreplace")
    try:
        code = command.main(prog_name=prog_name, standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except ComfyVNError as error:
        echo(f"comfyvn: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("comfyvn: interrupted. What was reported done is done.", err=True)
        sys.exit(130)
    except UnicodeEncodeError as error:
        echo(f"comfyvn: an argument holds bytes that are no text: {error.object!r:.80}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone: nothing more to say
        sys.exit(0)
    except OSError as error:
        echo(f"comfyvn: {error.filename or 'the system'}: {error.strerror or error}.", err=True)
        sys.exit(1)
