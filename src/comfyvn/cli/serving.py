"""The command ``serve``: the library over HTTP."""

from __future__ import annotations

import gc
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

import click

from comfyvn.cli.shared import open_library
from comfyvn.errors import ExtraMissing, OpenToAll
from comfyvn.registry import console

if TYPE_CHECKING:
    from comfyvn.server.access import Doorkeeper
    from comfyvn.server.access_log import AccessLog
    from comfyvn.server.run import Server
    from comfyvn.studio.core import AssetRegistry

__all__ = ["check_extra", "check_fence", "raise_file_limit", "run", "serve"]

_FILES: Final = 65_536
_GARBAGE: Final = (20_000, 20, 20)
_ENDING: Final = [signal.SIGINT, signal.SIGTERM]
if sys.platform == "win32":
    _ENDING.append(signal.SIGBREAK)


@click.command()
@click.option("--host", help="The address to listen on (setting server_host).")
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="The port; 0 takes a free one (setting server_port)."
)
@click.option("--access-log", "has_log", is_flag=True, help="Print a JSON object on stdout for each request.")
@click.option(
    "--watch/--no-watch",
    "is_watching",
    default=None,
    help="Take in what changes in the assets folder, as `comfyvn watch` does (setting server_watch).",
)
@console.library_options
def serve(
    host: str | None, port: int | None, has_log: bool, is_watching: bool | None, **library: str | None
) -> None:
    """Serve the library over HTTP, till Ctrl+C or SIGTERM.

    On a loopback address, the default, programs of this machine may do everything till there is a token;
    from then on they may read, and a change needs one. On any other address every request needs a token, and
    without one the server does not start.
    """
    check_extra("`comfyvn serve`")
    from comfyvn.server.run import make_server

    raise_file_limit()
    with open_library(library) as registry, _access_log(has_log) as access_log:
        config = registry.library.config
        with _listening(host or config.server_host, config.server_port if port is None else port) as opened:
            is_exposed = not ip_address(opened.getsockname()[0].partition("%")[0]).is_loopback
            server = make_server(registry, is_exposed=is_exposed, access_log=access_log)
            _welcome(registry, opened, server.state.doorkeeper, is_reachable=is_exposed)
            run(registry, server, opened, config.server_watch if is_watching is None else is_watching)


def check_extra(what: str) -> None:
    """Refuse to go on without the packages of the server.

    Raises:
        ExtraMissing: one is missing.
    """
    try:
        import comfyvn.server.run  # noqa: F401 - for what it imports
    except ImportError as error:
        package = (error.name or "fastapi").partition(".")[0]
        raise ExtraMissing(what=what, package=package, extra="server") from error


def run(registry: AssetRegistry, server: Server, opened: socket.socket, is_watching: bool) -> None:
    """Serve a library till a signal ends it, watched or not."""
    from comfyvn.server.watching import watching
    from comfyvn.studio.core.previews import POOL

    # these stay: behind the server there is only the library to close, and that is not to be cut off
    for number in _ENDING:
        signal.signal(number, server.end)
    _spare_garbage_collection()
    with watching(registry, _say) if is_watching else nullcontext():
        server.run([opened])
    POOL.cancel()  # what is waiting is made by the next `comfyvn previews`


def _say(trouble: str) -> None:
    console.echo(trouble, err=True)


def check_fence(doorkeeper: Doorkeeper, *, address: str, is_reachable: bool = False) -> None:
    """Refuse to go on where everybody would need a token, and there is none.

    Raises:
        OpenToAll: it is so.
    """
    if doorkeeper.is_exposed and not doorkeeper.has_token():
        doorkeeper.close()
        why = "The setting allowed_hosts gives this server names for other machines"
        raise OpenToAll(why=f"{address} can be reached from other machines" if is_reachable else why)


def _welcome(
    registry: AssetRegistry, opened: socket.socket, doorkeeper: Doorkeeper, *, is_reachable: bool
) -> None:
    """Say where the server is and who may come in.

    Raises:
        OpenToAll: every request needs a token, and there is none.
    """
    address, port = opened.getsockname()[:2]
    check_fence(doorkeeper, address=address, is_reachable=is_reachable)
    shown = " and ".join(
        f"http://{f'[{each}]' if ':' in each else each}:{port}" for each in _reached(address)
    )
    who = "Programs of this machine may read and change all, till `comfyvn token create` makes a token."
    if doorkeeper.is_fenced():
        who = "Programs of this machine may read; a change needs a token (`comfyvn token create`)."
    if doorkeeper.is_exposed:
        who = "Every request needs a token (`comfyvn token create`)."
    console.echo(f"Serving project {registry.project_id} at {shown}\n{who}\nCtrl+C ends it.", err=True)


def _reached(address: str) -> list[str]:
    """Return under which addresses a server is reached that listens on one, or on all of them."""
    if not ip_address(address.partition("%")[0]).is_unspecified:
        return [address]
    with suppress(OSError):
        found = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
        kinds = (socket.AF_INET, socket.AF_INET6) if ":" in address else (socket.AF_INET,)
        named = [str(each[4][0]) for each in found if each[0] in kinds and "%" not in str(each[4][0])]
        others = [each for each in dict.fromkeys(named) if not ip_address(each).is_loopback]
        return ["127.0.0.1", *others]
    return ["127.0.0.1"]


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    from comfyvn.server.run import listen

    opened = listen(host, port)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def _access_log(is_wanted: bool) -> Iterator[AccessLog | None]:
    if not is_wanted:
        yield None
        return
    from comfyvn.server.access_log import AccessLog

    log = AccessLog(sys.stdout)
    try:
        yield log
    finally:
        log.close()


def _spare_garbage_collection() -> None:
    """Leave what was loaded to the end, and look for garbage more seldom: a page of a list makes thousands of
    objects, none of which points back (benchmark ``serve:list``)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE)


def raise_file_limit() -> None:
    """Let this process have as many open files as it may: each connection is one."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
