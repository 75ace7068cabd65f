"""The commands. Each is a thin door: options in, one call, a table or one JSON document out.

A command, and what it needs, is imported when it is named; ``comfyvn --help`` does not even load click.
"""

from __future__ import annotations

import atexit
import gc
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from comfyvn.cli import front

if TYPE_CHECKING:
    from comfyvn.cli.group import cli

__all__ = ["cli", "main"]


def main() -> None:
    """Run the command line and exit."""
    if sys.argv[1:] in (["--help"], ["-h"]):
        with suppress(OSError):  # stdout is full or closed: below, that is told as for every command
            print(front.page(front.width_of_help()), flush=True)
            sys.exit(0)
    atexit.register(gc.freeze)  # Python's last look for garbage takes a tenth of a short command's time
    from comfyvn.cli.group import cli
    from comfyvn.registry import console

    console.run(cli, "comfyvn")


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Load the group, and click with it, when it is asked for."""
        if name != "cli":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from comfyvn.cli.group import cli

        return cli
