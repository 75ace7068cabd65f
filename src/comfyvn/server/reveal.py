"""Showing a file in the file manager of the machine on which the server runs, to who sits before it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from starlette.requests import HTTPConnection

from comfyvn.errors import NoDesktop, RequestRefused

__all__ = ["can_reveal", "check_is_here", "open_file_manager"]

_OPENERS: Final[Mapping[str, Callable[[Path], list[str]]]] = {
    "linux": lambda path: ["xdg-open", str(path.parent)],
    "darwin": lambda path: ["open", "-R", str(path)],
    "win32": lambda path: ["explorer", f"/select,{path}"],
}
"""The command that shows a file, by system; it never goes through a shell."""
_PATIENCE_S: Final = 3.0


def check_is_here(connection: HTTPConnection) -> None:
    """Refuse who does not sit before this machine, as the gate found out.

    Raises:
        RequestRefused: the request comes from elsewhere, or through a proxy.
    """
    if not connection.scope["state"]["is_local"]:
        why = "Only who sits before the machine of the server, and comes through no proxy, may open its file"
        raise RequestRefused(why=f"{why} manager.")


def can_reveal(connection: HTTPConnection) -> bool:
    """Tell whether the visitor sits before this machine, and it has a file manager as far as is known."""
    if not connection.scope["state"]["is_local"]:
        return False
    try:
        _command(Path())
    except NoDesktop:
        return False
    return True


def _command(path: Path) -> list[str]:
    """Return the command that shows a file.

    Raises:
        NoDesktop: there is no desktop, or no such program.
    """
    opener = _OPENERS.get(sys.platform)
    if opener is None:
        raise NoDesktop(why=f"nobody has said yet how that goes on {sys.platform}")
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise NoDesktop(why="the server runs without a desktop (no DISPLAY)")
    command = opener(path)
    if shutil.which(command[0]) is None:
        raise NoDesktop(why=f"the program {command[0]} is not installed")
    return command


def open_file_manager(path: Path) -> None:
    """Show a file in the file manager; returns when it was started.

    Raises:
        NoDesktop: there is none, or it could not be started.
    """
    command = _command(path)
    try:
        started = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise NoDesktop(why=f"{command[0]} could not be started: {error.strerror}") from error
    try:
        code = started.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:  # it is the file manager itself, and stays open
        threading.Thread(target=started.wait, daemon=True).start()
        return
    if code and sys.platform != "win32":  # Windows' explorer always says 1
        raise NoDesktop(why=f"{command[0]} ended with exit code {code}")
