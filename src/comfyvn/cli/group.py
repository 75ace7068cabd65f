"""The command ``comfyvn``: a group of commands that are imported when they are named."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import click

from comfyvn import __version__
from comfyvn.cli.front import ABOUT, COMMANDS, HOME_HELP, MAX_WIDTH

__all__ = ["cli"]


class _Group(click.Group):
    """A group that knows the names of its commands and one line of help on each."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name, _ = COMMANDS[cmd_name]
        found: click.Command = getattr(importlib.import_module(module), name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


def _set_home(_context: click.Context, _option: click.Parameter, folder: str | None) -> None:
    if folder is not None:
        os.environ["COMFYVN_HOME"] = str(Path(folder).absolute())


@click.group(
    cls=_Group,
    commands={name: click.Command(name, help=line) for name, (_, _, line) in COMMANDS.items()},
    help="\n\n".join(ABOUT),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": MAX_WIDTH},
)
@click.version_option(__version__, prog_name="comfyvn")
@click.option(
    "--home",
    type=click.Path(exists=True, file_okay=False),
    callback=_set_home,
    expose_value=False,
    help=HOME_HELP,
)
def cli() -> None:
    """Do what the named command does."""
