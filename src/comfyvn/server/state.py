"""What one server process holds: the registry, its settings, and threads for what takes long."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from starlette.requests import HTTPConnection, Request

from comfyvn.config import Config
from comfyvn.db.engine import GIVE_UP
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
    may take longer goes through `ask` (facets of a text, the ids of a million) or `run` (every change).

    ``uploads`` are the places for uploads, and ``upload_shares`` those that each visitor may hold of them; a
    share is forgotten with its last upload.

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
        self.upload_shares: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self.hub = Hub(registry, self.closing, self.config.event_streams, run=self.run)
        self._threads = ThreadPoolExecutor(_THREADS, "comfyvn-server")
        self._quick_thread = ThreadPoolExecutor(1, "comfyvn-glance")
        self._long_questions = asyncio.Semaphore(_LONG_QUESTIONS)

    @property
    def config(self) -> Config:
        """The settings of the library."""
        return self.registry.library.config

    async def run(self, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Call a function in a thread, so that other requests go on; who acts goes with it."""
        call = functools.partial(contextvars.copy_context().run, function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def glance(self, function: Callable[[], _R]) -> _R:
        """As `run`, for what must never wait behind others, and itself takes next to no time."""
        return await asyncio.get_running_loop().run_in_executor(self._quick_thread, function)

    async def ask(
        self, request: Request, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs
    ) -> _R:
        """As `run`, for what a request only reads: a few at once, so that others find a thread.

        It is given up once nobody waits for it any more: the request is over, its client left, or the server
        ends. Its place is free when its thread is.

        Raises:
            TooBusy: it was given up.
        """
        is_over = threading.Event()
        context = contextvars.copy_context()
        context.run(GIVE_UP.set, lambda: is_over.is_set() or self.closing.is_set())
        leaving = asyncio.create_task(_note_leaving(request, is_over))
        try:
            await self._long_questions.acquire()
            asked = self._in_place(functools.partial(context.run, function, *args, **kwargs))
            return await asyncio.wrap_future(asked)
        finally:
            is_over.set()
            leaving.cancel()

    def _in_place(self, call: Callable[[], _R]) -> Future[_R]:
        """Start a long question; its place, which is taken, is given back when it has really ended."""
        loop = asyncio.get_running_loop()
        try:
            asked = self._threads.submit(call)
        except BaseException:
            self._long_questions.release()
            raise
        asked.add_done_callback(lambda _: loop.call_soon_threadsafe(self._long_questions.release))
        return asked

    def close(self) -> None:
        """Let go of the threads; the changes that they make are finished, what they only read is given up."""
        self.closing.set()
        self.jobs.close()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._quick_thread.shutdown(wait=True, cancel_futures=True)
        self.doorkeeper.close()


async def _note_leaving(request: Request, is_over: threading.Event) -> None:
    """Wait till a client is gone, and note that."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    is_over.set()


def here(request: HTTPConnection) -> State:
    """Return the state of the server that handles this request."""
    state: Any = request.app.state.comfyvn
    assert isinstance(state, State)
    return state
