"""What one server process holds: the registry, its settings, and threads for what takes long."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, ParamSpec, TypeVar

from starlette.requests import HTTPConnection

from comfyvn.config import Config
from comfyvn.server.access import Doorkeeper
from comfyvn.server.access_log import AccessLog
from comfyvn.server.background import Jobs
from comfyvn.server.hub import Hub
from comfyvn.server.meters import Meters
from comfyvn.studio.core import AssetRegistry

__all__ = ["State", "here"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_THREADS: Final = 8
_LONG_QUESTIONS: Final = 3


class State:
    """The library that is served, and what its routes share.

    A question that the ledger answers within about a millisecond is asked where the request is handled; what
    may take longer (facets of a text, the ids of a million, every change) goes through `run`.

    ``closing`` is set as soon as the server wants to end: what goes on for long ends itself then.
    """

    def __init__(
        self, registry: AssetRegistry, *, is_exposed: bool = False, access_log: AccessLog | None = None
    ) -> None:
        self.registry = registry
        self.doorkeeper = Doorkeeper(registry, is_exposed=is_exposed, run=self.run)
        self.meters = Meters()
        self.access_log = access_log
        self.closing = asyncio.Event()
        self.jobs = Jobs()
        self.uploads = asyncio.Semaphore(self.config.uploads_at_once)
        self.hub = Hub(registry, self.closing, self.config.event_streams)
        self._threads = ThreadPoolExecutor(_THREADS, "comfyvn-server")
        self._long_questions = asyncio.Semaphore(_LONG_QUESTIONS)

    @property
    def config(self) -> Config:
        """The settings of the library."""
        return self.registry.library.config

    async def run(self, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Call a function in a thread, so that other requests go on; who acts goes with it."""
        call = functools.partial(contextvars.copy_context().run, function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def ask(self, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """As `run`, for questions to the whole library: a few at once, so that others find a thread."""
        async with self._long_questions:
            return await self.run(function, *args, **kwargs)

    def close(self) -> None:
        """Let go of the threads; what they are doing is finished."""
        self.jobs.close()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self.doorkeeper.close()


def here(request: HTTPConnection) -> State:
    """Return the state of the server that handles this request."""
    state: Any = request.app.state.comfyvn
    assert isinstance(state, State)
    return state
