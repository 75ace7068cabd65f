"""The table of the commands, and the page of ``comfyvn --help`` made from it.

Loading click takes nearly three times as long as starting Python, so this page does without; it is the same
as click's own, letter for letter.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

__all__ = ["ABOUT", "COMMANDS", "HOME_HELP", "MAX_WIDTH", "columns", "page", "width_of_help"]

MAX_WIDTH: Final = 100
ABOUT: Final = (
    "The asset registry for visual novels: register files, and know from then on what they are.",
    "Commands work on the library of the current folder, or of --home. `comfyvn doctor` tells where "
    "everything lies and why.",
)
"""The paragraphs of the help."""
HOME_HELP: Final = "The project folder (setting home); the current folder by default."
# commands are imported when they are named: module, object, and how the command's own help begins
COMMANDS: Final = {
    "adapters": (
        "comfyvn.cli.taking_in",
        "adapters",
        "List the import adapters of this installation.",
    ),
    "audit": (
        "comfyvn.registry.audit",
        "audit",
        "Look for missing sidecars, mirrors, files, previews and metadata.",
    ),
    "demo": ("comfyvn.cli.taking_in", "demo", "Draw a sample library of our own into FOLDER."),
    "doctor": ("comfyvn.cli.looking", "doctor", "Tell where everything lies and why."),
    "enforce": (
        "comfyvn.registry.audit",
        "enforce",
        "Check that every asset has its sidecar, and write those that are missing.",
    ),
    "export": ("comfyvn.registry.export", "command", "Print the whole library as one JSON document."),
    "facets": ("comfyvn.cli.looking", "facets", "Count assets by type, licence, tag, making and problem."),
    "facts": ("comfyvn.registry.facts", "command", "Tell what made an asset."),
    "history": ("comfyvn.registry.history", "history", "Tell what was done to the library."),
    "ingest": ("comfyvn.cli.taking_in", "ingest", "Register files and folders, recursively."),
    "lineage": ("comfyvn.cli.lineage", "lineage", "Show what an asset came from, and what came from it."),
    "link": ("comfyvn.cli.lineage", "link", "Note that the asset CHILD came from the asset PARENT."),
    "list": ("comfyvn.cli.looking", "list_command", "List registered assets, newest first."),
    "match": (
        "comfyvn.registry.matching",
        "command",
        "Find the origins of pictures whose metadata is gone.",
    ),
    "move": ("comfyvn.cli.changing", "move", "Give an asset, named by uid or path, another place or name."),
    "previews": (
        "comfyvn.registry.previews",
        "command",
        "Tell which previews are there, and make those that are not.",
    ),
    "proposal": (
        "comfyvn.cli.lineage",
        "proposal",
        "List, confirm and reject the likely parents of assets.",
    ),
    "purge": ("comfyvn.registry.history", "purge", "Forget assets whose file is gone."),
    "rebuild": ("comfyvn.registry.rebuild", "command", "Bring the ledger in step with the assets folder."),
    "remove": (
        "comfyvn.cli.changing",
        "remove",
        "Forget assets, by uid or path; their files and sidecars move to the library's trash.",
    ),
    "restore": ("comfyvn.registry.history", "restore", "Bring removed assets back."),
    "serve": ("comfyvn.cli.serving", "serve", "Serve the library over HTTP."),
    "show": ("comfyvn.cli.showing", "show", "Show all that is known of one asset."),
    "stamp": ("comfyvn.registry.stamp", "command", "Read the marker in a file, or take it out."),
    "studio": ("comfyvn.cli.studio", "studio", "Open the Studio in the browser."),
    "tag": ("comfyvn.cli.changing", "tag", "Add and remove tags, and set the licence, of assets."),
    "token": (
        "comfyvn.cli.tokens",
        "token",
        "Make, list and revoke the tokens with which others come in by `comfyvn serve`.",
    ),
    "undo": ("comfyvn.registry.history", "undo", "Take an operation back."),
    "unlink": ("comfyvn.cli.lineage", "unlink", "Forget that the asset CHILD came from PARENT."),
    "upgrade": (
        "comfyvn.registry.upgrade",
        "command",
        "Make the database of an older ComfyVN release one of this release.",
    ),
    "verify": ("comfyvn.registry.verify", "command", "Check every file against its hash."),
    "watch": ("comfyvn.registry.watch", "command", "Take in what changes in the assets folder."),
    "webhook": ("comfyvn.cli.webhooks", "webhook", "Have other programs told of changes by a signed POST."),
    "workflow": (
        "comfyvn.registry.workflows",
        "workflow_command",
        "Get the graph that made an asset, and put graphs into files.",
    ),
}
_OPTIONS: Final = (
    ("--version", "Show the version and exit."),
    ("--home DIRECTORY", HOME_HELP),
    ("-h, --help", "Show this message and exit."),
)


def page(width: int) -> str:
    """Return what ``comfyvn --help`` prints, in lines of at most ``width`` characters."""
    lines = ["Usage: comfyvn [OPTIONS] COMMAND [ARGS]...", ""]
    for paragraph in ABOUT:
        lines += [*textwrap.wrap(paragraph, width, initial_indent="  ", subsequent_indent="  "), ""]
    lines += ["Options:", *_in_columns(_OPTIONS, width), "", "Commands:"]
    lines += _in_columns([(name, line) for name, (_, _, line) in COMMANDS.items()], width)
    return "\n".join(lines)


def width_of_help() -> int:
    """Return the width of help pages: that of the terminal, within limits."""
    return max(min(columns() or 80, MAX_WIDTH) - 2, 50)


def columns() -> int | None:
    """Return the width of the terminal, None where there is none; ``COLUMNS`` overrules it."""
    with suppress(KeyError, ValueError):
        if (stated := int(os.environ["COLUMNS"])) > 0:
            return stated
    if sys.__stdout__ is None:
        return None
    with suppress(ValueError, OSError):
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or None
    return None


def _in_columns(rows: Iterable[tuple[str, str]], width: int) -> list[str]:
    rows = list(rows)
    left = 2 + max(len(first) for first, _ in rows) + 2
    lines: list[str] = []
    for first, second in rows:
        wrapped = textwrap.wrap(second, width - left)
        lines += [f"{f'  {first}':<{left}}{wrapped[0]}", *(" " * left + line for line in wrapped[1:])]
    return lines
