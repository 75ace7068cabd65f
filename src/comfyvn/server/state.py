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
from comfyvn.studio.core import AssetRegistry

__all__ = ["State", "here"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_THREADS: Final = 8


class State:
    """The library that is served, and what its routes share.

    A question that the ledger answers within about a millisecond is asked where the request is handled; what
    may take longer (facets of a text, the ids of a million, every change) goes through `run`.
    """

    def __init__(self, registry: AssetRegistry) -> None:
        self.registry = registry
        self._threads = ThreadPoolExecutor(_THREADS, "comfyvn-server")

    @property
    def config(self) -> Config:
        """The settings of the library."""
        return self.registry.library.config

    async def run(self, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Call a function in a thread, so that other requests go on; who acts goes with it."""
        call = functools.partial(contextvars.copy_context().run, function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def close(self) -> None:
        """Let go of the threads; what they are doing is finished."""
        self._threads.shutdown(wait=True, cancel_futures=True)


def here(request: HTTPConnection) -> State:
    """Return the state of the server that handles this request."""
    state: Any = request.app.state.comfyvn
    assert isinstance(state, State)
    return state
