"""The hub: one follower of the journal for all who listen to this server.

A listener has a position and no queue: what happened lately lies in one ring that all share, encoded once;
what is older is read from the journal again. So nobody's slowness costs memory, and going from the past to
what is live needs no joint at which something could be lost or doubled.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any, Final, NamedTuple

from comfyvn.errors import RegistryUnusable, TooBusy
from comfyvn.registry.news import News, Page, Position, newest, page_after, position_at
from comfyvn.studio.core import AssetRegistry

__all__ = ["Batch", "Hub", "Place"]

_PAGE: Final = 256
_POLL_S: Final = 0.05
_READERS: Final = 2
_PAUSE_S: Final = 1.0
_KEPT_NEWS: Final = 2_048
_KEPT_BYTES: Final = 4_000_000
_log = logging.getLogger(__name__)
_seq = attrgetter("seq")


class Place(NamedTuple):
    """How far a listener has come, and in which journal: their number counts those that were seen here."""

    position: Position
    journal: int


class Batch(NamedTuple):
    """Some changes, and the place behind them; ``is_reset`` if the journal is another than it was."""

    news: list[News]
    place: Place
    is_reset: bool = False


class Hub:
    """Follows the journal while anybody listens.

    Args:
        registry: the library.
        closing: set when the server is about to end; then every stream ends.
        limit: how many may listen at once.
        run: how to call a function in a thread.

    ``beat_s`` is how often a silent stream gives a sign of life, ``patience_s`` how long a reader may take
    for what is handed to him at once.
    """

    def __init__(
        self,
        registry: AssetRegistry,
        closing: asyncio.Event,
        limit: int,
        *,
        run: Callable[..., Awaitable[Any]],
    ) -> None:
        self._registry = registry
        self._closing = closing
        self._limit = limit
        self.beat_s = 15.0
        self.patience_s = 10.0
        self._listeners = 0
        self._follower: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._ring: list[News] = []
        self._bytes = 0
        self._run = run
        self._readers = asyncio.Semaphore(_READERS)
        self._read_now: dict[Place, asyncio.Task[Page]] = {}
        self._start = self._end = Position(0)
        self._journal = 0

    @property
    def listeners(self) -> int:
        """How many listen."""
        return self._listeners

    def check_room(self) -> None:
        """Refuse one listener too many.

        Raises:
            TooBusy: as many listen as may.
        """
        if self._listeners >= self._limit:
            raise TooBusy(why=f"{self._limit} listen to events already (setting event_streams).")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Have the journal followed."""
        self._listeners += 1
        try:
            if self._follower is None and not self._closing.is_set():
                self._forget_all(newest(self._registry))
                following = self._follow()
                self._follower = asyncio.get_running_loop().create_task(following, name="comfyvn-follower")
            yield
        finally:
            self._listeners -= 1

    async def end(self) -> Place:
        """Return the place of the newest change, which is then known here."""
        while not self._take_in():
            await asyncio.sleep(0)
        return self._here(self._end)

    async def find(self, stated: Position, backlog: int) -> Place | None:
        """Return the place that somebody states, None if it is none of this journal or too far back.

        Args:
            stated: the position; without a mark its number alone counts.
            backlog: how many changes lie behind it at most.
        """
        end = (await self.end()).position.seq
        found = position_at(self._registry, stated.seq)
        is_known = end - backlog <= stated.seq <= end and stated.mark in (None, found.mark)
        return self._here(found) if is_known else None

    async def patiently(self, handing_over: Coroutine[Any, Any, None]) -> None:
        """Wait for a reader, but not for long.

        Raises:
            TimeoutError: he takes nothing.
        """
        async with asyncio.timeout(self.patience_s):
            await handing_over

    async def after(self, place: Place, deadline: float) -> Batch | None:
        """Return what comes behind a place, as soon as there is something.

        Other tasks always have their turn meanwhile.

        Args:
            place: how far the listener has come.
            deadline: when to give up (time of the loop): then there are no news, and the place of now.

        Returns:
            None when the server is about to end.
        """
        await asyncio.sleep(0)
        while self._follower is not None:
            seq = place.position.seq
            if place.journal != self._journal or seq < self._start.seq:
                batch = await self._past(place)
                if batch is not None:
                    return batch
                continue
            first = bisect_right(self._ring, seq, key=_seq)
            if first < len(self._ring):
                page = self._ring[first : first + _PAGE]
                return Batch(page, self._here(page[-1].position))
            place = self._here(self._end)
            try:
                async with asyncio.timeout_at(deadline):
                    await self._wake.wait()
            except TimeoutError:
                return Batch([], place)
        return None

    # -- inside ---------------------------------------------------------------------------------------

    def _here(self, position: Position) -> Place:
        return Place(position, self._journal)

    async def _past(self, place: Place) -> Batch | None:
        """Return what the journal has behind a place; None if another journal came meanwhile."""
        journal = self._journal
        page = await self._page_after(place._replace(journal=journal))
        if journal != self._journal:
            return None
        is_unknown = place.journal != journal and place.position.mark is None
        if page.is_other or is_unknown:
            return Batch([], await self.end(), is_reset=True)
        if page.end.seq <= self._end.seq:
            return Batch(page.news, self._here(page.end))
        return Batch([each for each in page.news if each.seq <= self._end.seq], self._here(self._end))

    async def _page_after(self, place: Place) -> Page:
        """Read changes in a thread, a few at once, and once for all who ask for the same meanwhile."""
        reading = self._read_now.get(place)
        if reading is None:
            reading = self._read_now[place] = asyncio.create_task(self._read(place.position))
            reading.add_done_callback(functools.partial(self._note_read, place))
        return await asyncio.shield(reading)  # one who goes does not take it from the others

    def _note_read(self, place: Place, reading: asyncio.Task[Page]) -> None:
        del self._read_now[place]
        if not reading.cancelled():
            reading.exception()  # raised to those who wait; it is no fault that all of them went

    async def _read(self, position: Position) -> Page:
        async with self._readers:
            page: Page = await self._run(page_after, self._registry, position, _PAGE)
            return page

    async def _follow(self) -> None:
        try:
            while self._listeners and not self._closing.is_set():
                try:
                    await self._follow_ledger()
                except RegistryUnusable:
                    _log.exception("the journal can't be followed; trying again")
                    await asyncio.sleep(_PAUSE_S)
        finally:
            self._follower = None
            self._tell_all()

    async def _follow_ledger(self) -> None:
        with self._registry.library.ledger.engine.watch() as ask_version:
            seen: int | None = None
            while self._listeners and not self._closing.is_set():
                version = ask_version()  # before looking: what comes meanwhile changes it again
                if version != seen:
                    is_all = self._take_in()
                    seen = version if is_all else None
                    await asyncio.sleep(0 if not is_all else _POLL_S)
                else:
                    await asyncio.sleep(_POLL_S)

    def _take_in(self) -> bool:
        """Put what is new into the ring; False if there is more."""
        found, end, is_other = page_after(self._registry, self._end, _PAGE)
        if is_other:  # somebody put an older ledger there
            self._forget_all(end)
            self._tell_all()
            return True
        if end != self._end:
            self._ring += found
            self._end = end
            self._bytes += sum(len(each.body) for each in found)
            self._trim()
            self._tell_all()
        return len(found) < _PAGE

    def _trim(self) -> None:
        """Forget the older half of the ring when it is full."""
        if len(self._ring) > _KEPT_NEWS or self._bytes > _KEPT_BYTES:
            gone = self._ring[: len(self._ring) // 2]
            del self._ring[: len(gone)]
            self._bytes -= sum(len(each.body) for each in gone)
            self._start = gone[-1].position if gone else self._start

    def _forget_all(self, position: Position) -> None:
        self._ring = []
        self._bytes = 0
        self._start = self._end = position
        self._journal += 1

    def _tell_all(self) -> None:
        self._wake.set()
        self._wake = asyncio.Event()
