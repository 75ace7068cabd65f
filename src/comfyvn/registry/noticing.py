"""Noticing changes of files: what everything that watches has in common."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from comfyvn.errors import ExtraMissing, WatchLimit

if TYPE_CHECKING:
    import watchfiles

    Group = set[tuple[watchfiles.Change, str]]

__all__ = ["changes_below", "check_extra", "is_of_a_name", "refuse_limit", "stop_on_signals"]

_TICK_MS: Final = 100
_STEP_MS: Final = 50
_GROUP_MS: Final = 300
_POLL_MS: Final = 500
_NO_NAME: Final = "Unable to decode path"
"""How watchfiles says that a name is no UTF-8; it tells of no change any more then."""
_LIMITS: Final = ("limit reached", "too many open files", "no space left")


def check_extra() -> None:
    """Refuse to go on without the package that watches.

    Raises:
        ExtraMissing: it is not installed.
    """
    try:
        import watchfiles  # noqa: F401 - said here, not in the middle
    except ImportError as error:
        raise ExtraMissing(what="Watching", package="watchfiles", extra="server") from error


def changes_below(
    folders: Sequence[str | Path], stop: threading.Event, *, polling: bool, is_lenient: bool
) -> Iterator[Group]:
    """Yield what the system tells of changes below folders, an empty group every tenth of a second of quiet.

    Args:
        folders: what to watch, with all below.
        stop: ends it.
        polling: look at every file twice a second, for drives that tell nothing.
        is_lenient: pass over folders that can't be read; the system's limits are then not told either.

    Raises:
        OSError, RuntimeError: it can't be watched, or no longer; see `refuse_limit`.
    """
    import watchfiles

    return watchfiles.watch(
        *folders,
        watch_filter=None,
        debounce=_GROUP_MS,
        step=_STEP_MS,
        stop_event=stop,
        rust_timeout=_TICK_MS,
        yield_on_timeout=True,
        debug=False,
        force_polling=polling,
        poll_delay_ms=_POLL_MS,
        ignore_permission_denied=is_lenient,
    )


def refuse_limit(error: Exception, path: str | Path, *, polling: bool) -> None:
    """Say it where the system lets no more folders be watched.

    Raises:
        WatchLimit: that is what an error of `changes_below` means.
    """
    if not polling and any(words in str(error).casefold() for words in _LIMITS):
        raise WatchLimit(path=path, why=str(error).partition(" about ")[0]) from error


def is_of_a_name(error: Exception) -> bool:
    """Tell the error of `changes_below` that a file's name is no UTF-8: what changed then is not told."""
    return _NO_NAME in str(error)


@contextmanager
def stop_on_signals() -> Iterator[tuple[threading.Event, list[int]]]:
    """Let Ctrl-C and SIGTERM end a watch after the batch at work; a second Ctrl-C ends it at once."""
    stop, interrupts = threading.Event(), list[int]()

    def interrupt(number: int, frame: Any) -> None:
        interrupts.append(number)
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, interrupt), signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        yield stop, interrupts
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])
