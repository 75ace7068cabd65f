"""Make the pages of docs/ that come from the code: settings, commands, errors, and most of HTTP.

``--check`` only compares.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from comfyvn import errors
from comfyvn.cli import cli
from comfyvn.config import settings_table
from http_page import http_page

DOCS = Path(__file__).parent.parent / "docs"
NOTE = "<!-- Made by tools/make_docs.py from the code; edit that. -->\n\n"


def settings_page() -> str:
    """Return docs/settings.md."""
    head = (
        "# Settings\n\n"
        "A setting is taken from, in this order: an argument of the Python call or command, its\n"
        "environment variable, `comfyvn.toml` in the project folder, its default. `comfyvn doctor` shows\n"
        "each value and where it came from. Relative paths in variables and in `comfyvn.toml` start at\n"
        "the project folder.\n\n"
        '```toml\n# comfyvn.toml\nassets_root = "game/assets"\nuser = "mika"\n'
        'allowed_hosts = ["gpu.lan", "vn.example"]\n```\n\n'
        "In a variable a list is written with commas: `COMFYVN_ALLOWED_HOSTS=gpu.lan,vn.example`. Between\n"
        "folders stands what the system puts between those of `PATH`: `:`, on Windows `;`. Programs read\n"
        "their settings when they start: end `comfyvn serve` and start it again after a change.\n\n"
        "The tables `[importers.NAME]` are for import adapters: see [importing.md](importing.md).\n\n"
        "| setting | variable | default | what it is |\n|---|---|---|---|\n"
    )
    rows = [
        f"| `{row['name']}` | `{row['env']}` | {row['default']} | {row['doc']} |" for row in settings_table()
    ]
    return NOTE + head + "\n".join(rows) + "\n"


def commands_page() -> str:
    """Return docs/commands.md."""
    exits = (
        "Exit codes: 0 fine, 1 findings or some items failed, 2 wrong usage, 3 not found, 4 refused,\n"
        "5 registry unusable, 130 interrupted. With `--json` a command prints one JSON document on stdout\n"
        "and nothing else; progress and messages go to stderr. Only `comfyvn watch --json` and\n"
        "`comfyvn ingest --watch --json` are streams, a JSON object a line (JSON Lines): the first with\n"
        "`cause`, `at`, `trouble` and `report` of each batch, the second with what became of each file.\n\n"
        "The two commands of older releases are here too: `python -m comfyvn.registry.rebuild` is\n"
        "`comfyvn rebuild`, and `python tools/assets_enforcer.py` in a checkout is `comfyvn enforce`.\n\n"
    )
    context = cli.make_context("comfyvn", ["list"], resilient_parsing=True, terminal_width=100)
    pages = [f"```text\n{cli.get_help(context)}\n```\n", *_below(cli, context, "##")]
    return f"{NOTE}# Commands\n\n{exits}" + "\n".join(pages)


def _below(group: click.Group, context: click.Context, mark: str) -> Iterator[str]:
    """Yield the help of every command of a group, and of those below it."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inside = click.Context(command, parent=context, info_name=name, terminal_width=100)
        yield f"{mark} {inside.command_path}\n\n```text\n{command.get_help(inside)}\n```\n"
        if isinstance(command, click.Group):
            yield from _below(command, inside, f"{mark}#")


def errors_page() -> str:
    """Return docs/errors.md."""
    head = (
        "# Errors\n\n"
        "All of them are in `comfyvn.errors` and derive from `ComfyVNError`; each is also the built-in\n"
        "error in the third column, so that `except FileNotFoundError` works as well. `error.fields` holds\n"
        "the parts of the message by name. Over [HTTP](http.md) an error is a problem with this status; its\n"
        "`type` is `urn:comfyvn:problem:` and the name in small letters with hyphens: `asset-not-found`.\n\n"
        "| error | exit code | HTTP | also a | message |\n|---|---|---|---|---|\n"
    )
    return NOTE + head + "\n".join(_error_rows()) + "\n"


def _error_rows() -> Iterator[str]:
    for name in errors.__all__:
        kind = getattr(errors, name)
        if kind is errors.ComfyVNError:
            continue
        builtin = next(base.__name__ for base in kind.__mro__ if base.__module__ == "builtins")
        message = inspect.cleandoc(kind.__doc__).replace("\n", " ").replace("|", "\\|")
        yield f"| `{name}` | {kind.exit_code} | {kind.status} | `{builtin}` | {message} |"


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "commands.md": commands_page,
    "errors.md": errors_page,
    "http.md": lambda: http_page(DOCS / "http.md"),
}


def main() -> int:
    """Write the pages, or with ``--check`` name those that are not up to date."""
    stale = []
    for name, make in PAGES.items():
        path, text = DOCS / name, make()
        if "--check" in sys.argv:
            stale += [name] if not path.exists() or path.read_text("utf-8") != text else []
        else:
            path.write_text(text, "utf-8")
    for name in stale:
        print(f"docs/{name} is not up to date: run tools/make_docs.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
