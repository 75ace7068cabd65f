"""The command ``studio``: the library's page in the browser of whoever sits here."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
import webbrowser
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any, Final

import click

from comfyvn.cli import serving
from comfyvn.cli.shared import open_library
from comfyvn.errors import CannotListen
from comfyvn.registry import console

if TYPE_CHECKING:
    from comfyvn.server.access import Doorkeeper
    from comfyvn.server.run import Server
    from comfyvn.studio.core import AssetRegistry

__all__ = ["studio"]

_HERE: Final = "127.0.0.1"
_PATIENCE_S: Final = 2.0
_TURN_S: Final = 0.01
_ANSWER_BYTES: Final = 65_536


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    help="The port; by default that of the setting server_port, or a free one where another program has it.",
)
@click.option("--no-browser", "is_quiet", is_flag=True, help="Only tell the address.")
@click.option(
    "--watch/--no-watch",
    "is_watching",
    default=True,
    show_default="watch",
    help="Take in what changes in the assets folder, as `comfyvn watch` does.",
)
@console.library_options
def studio(port: int | None, is_quiet: bool, is_watching: bool, **library: str | None) -> None:
    """Open the Studio in the browser, and serve the library to this machine till Ctrl+C or SIGTERM.

    Where there is no library yet, a new one begins, as `comfyvn ingest` makes it.

    If this library is served on that port already, its page is opened there and the command ends. Where there
    are tokens, the browser is let in by a link that works once and within a minute; later, and in other
    browsers, the page asks for a token.

    Needs `pip install "comfyvn[server]"`.
    """
    serving.check_extra("`comfyvn studio`")
    from comfyvn.server.run import make_server
    from comfyvn.server.studio import check_page

    check_page()
    serving.raise_file_limit()
    is_new = console.is_new_place(**library)
    with open_library(library, makes=is_new) as registry:
        if is_new:
            console.echo("There is no library in this folder yet: a new one begins here.", err=True)
        wanted = registry.library.config.server_port if port is None else port
        if _is_served(registry, wanted):
            console.echo("This library is served already.", err=True)
            _show(registry, wanted, "", is_quiet=is_quiet)
            return
        with closing(_listen(wanted, is_stated=port is not None)) as opened:
            server = make_server(registry)
            serving.check_fence(server.state.doorkeeper, address=_HERE)
            login, at = _login(server.state.doorkeeper), opened.getsockname()[1]
            _show_when_ready(registry, server, at, login, is_quiet=is_quiet)
            serving.run(registry, server, opened, is_watching)


def _is_served(registry: AssetRegistry, port: int) -> bool:
    """Tell whether a server of this very library is at this port of this machine."""
    if not port:
        return False
    connection = HTTPConnection(_HERE, port, timeout=_PATIENCE_S)
    try:
        connection.request("GET", "/session", headers={"Accept": "application/json"})
        told: Any = json.loads(connection.getresponse().read(_ANSWER_BYTES))
    except (OSError, HTTPException, ValueError):
        return False
    finally:
        connection.close()
    own = (registry.library.library_id, registry.project_id)
    return isinstance(told, dict) and (told.get("library"), told.get("project")) == own


def _listen(port: int, *, is_stated: bool) -> socket.socket:
    """Return a socket that listens at this port, or at a free one if nobody stated it.

    Raises:
        CannotListen: the stated port is another program's.
    """
    from comfyvn.server.run import listen

    try:
        return listen(_HERE, port)
    except CannotListen:
        if is_stated:
            raise
        return listen(_HERE, 0)


def _login(doorkeeper: Doorkeeper) -> str:
    """Return what the address needs to let the browser in; behind ``#``, it is sent to no server."""
    is_fenced = doorkeeper.is_fenced() or doorkeeper.is_exposed
    return f"#login={doorkeeper.make_code()}" if is_fenced else ""


def _show(registry: AssetRegistry, port: int, login: str, *, is_quiet: bool) -> None:
    """Tell where the page is, and open it where there is a screen."""
    address = f"http://{_HERE}:{port}/studio/{login}"
    told = f"The Studio of project {registry.project_id}: {address}"
    if login:
        told += (
            "\nThis link lets one browser in, once and within a minute; without it the page asks for a token."
        )
    if not _has_screen():
        told += (
            "\nThere is no screen here. On the machine before you run"
            f"\n    ssh -L {port}:{_HERE}:{port} {socket.gethostname()}"
            "\nand open the address in a browser there."
        )
    console.echo(told, err=True)
    if not is_quiet and _has_screen() and not webbrowser.open(address):
        console.echo("No browser could be started: open the address yourself.", err=True)


def _has_screen() -> bool:
    """Tell whether a browser could show something; one that BROWSER names is asked in any case."""
    if sys.platform in ("win32", "darwin"):
        return True
    return any(os.environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"))


def _show_when_ready(
    registry: AssetRegistry, server: Server, port: int, login: str, *, is_quiet: bool
) -> None:
    """Wait in a thread till the server answers, then show the page."""

    def wait() -> None:
        while not server.started and not server.should_exit:
            time.sleep(_TURN_S)
        if server.started:
            _show(registry, port, login, is_quiet=is_quiet)
            console.echo("Ctrl+C ends it.", err=True)

    threading.Thread(target=wait, name="comfyvn-browser", daemon=True).start()
