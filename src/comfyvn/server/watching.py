"""The watch beside the server: what changes in the assets folder is taken in while the library is served."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from comfyvn.errors import ComfyVNError, ForeignLibrary, LibraryUnreachable, WatchLimit, WatchRunning
from comfyvn.registry.watch import Batch, watch
from comfyvn.studio.core import AssetRegistry

__all__ = ["watching"]

_RETRY_S: Final = 5.0
_PATIENCE_S: Final = 1.5


@contextmanager
def watching(registry: AssetRegistry, say: Callable[[str], None]) -> Iterator[None]:
    """Watch a library in a thread of its own.

    What is at work at the end is cut off at a safe point; the next start goes on from there. Where another
    process watches, this waits to take its place.

    Args:
        registry: the library.
        say: told once of each trouble, in a sentence, from that thread. It is also told why nothing is
            watched: the package ``watchfiles`` is missing, or the system lets no more folders be watched.
    """
    stop, hurry = threading.Event(), threading.Event()
    thread = threading.Thread(
        target=_watch, args=(registry, stop, hurry, say), name="comfyvn-watch", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        hurry.set()
        stop.set()
        thread.join(_PATIENCE_S)


def _watch(
    registry: AssetRegistry, stop: threading.Event, hurry: threading.Event, say: Callable[[str], None]
) -> None:
    said = None

    def tell(trouble: str) -> None:
        nonlocal said
        if trouble != said:
            say(trouble)
        said = trouble

    def note(batch: Batch) -> None:
        if batch.trouble is not None:
            tell(batch.trouble)

    while not stop.is_set():
        try:
            watch(registry, stop=stop, hurry=hurry, on_batch=note)
        except WatchRunning:
            pass  # that one takes in what changes, and we hear of it by the journal
        except (LibraryUnreachable, ForeignLibrary) as error:
            tell(str(error))
        except (ComfyVNError, OSError) as error:
            hint = (
                "; `comfyvn watch --polling` beside the server can do that"
                if isinstance(error, WatchLimit)
                else ""
            )
            tell(f"{error} The library is served, but not watched{hint}.")
            return
        stop.wait(_RETRY_S)
