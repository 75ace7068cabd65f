"""Deliveries: what happens in a library goes to its webhooks, at least once, from the journal.

One process delivers for a project; the others wait for its lock. A webhook is served in rounds: what is to be
tried again now, and the next changes of the journal. A round is noted when all of it was tried, so a process
that is killed delivers at most that round a second time.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from comfyvn.db.webhooks import Delivery, Outcome, Webhook, WebhookTable, utc_text
from comfyvn.errors import ComfyVNError
from comfyvn.registry.news import News, is_wanted, news_after, news_at
from comfyvn.registry.outgoing import Answer, Post
from comfyvn.registry.webhooks import headers_of, payload_of
from comfyvn.studio.core import AssetRegistry

__all__ = ["SCHEDULE_S", "Deliverer"]

SCHEDULE_S: Final = (5.0, 30.0, 120.0, 600.0, 3_600.0, 18_000.0, 36_000.0)
"""How long to wait before each further try, but for chance; after the last one a delivery is dead."""
_POLL_S: Final = 0.25
_PAUSE_S: Final = 2.0
_STOP_S: Final = 0.3
_THREADS: Final = 8
_AT_ONCE: Final = 4  # to one webhook: a slow one must not take all threads
_PAGE: Final = 16
_READ: Final = 256
_UNNOTED: Final = 1_000  # so many changes that a webhook does not want are read again after a crash
_CROWD: Final = 100  # so many may wait for a webhook; the rest of the journal waits unread
_GONE: Final = 410
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Job:
    """One try: a change, and the delivery that failed before, if it did."""

    news: News
    was: Delivery | None


@dataclass(slots=True)
class _Lane:
    """One webhook and its round.

    ``begun`` is the webhook as it was when the round began, None between rounds; ``reached`` is how far the
    journal was read, ``target`` up to where it is told when the round is over.
    """

    webhook: Webhook
    reached: int
    begun: Webhook | None = None
    target: int = 0
    waiting: deque[_Job] = field(default_factory=deque)
    running: dict[int, _Job] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    disabled_why: str | None = None
    is_over: bool = False

    @property
    def is_tried(self) -> bool:
        """Whether the round is to be noted."""
        return self.begun is not None and not self.waiting and not self.running

    def drop_waiting(self) -> None:
        """Leave what was not tried yet for another time."""
        for job in self.waiting:
            if job.was is None:
                self.target = min(self.target, job.news.seq - 1)
        self.waiting.clear()


class Deliverer:
    """Delivers in threads of its own between `start` and `stop`.

    Args:
        registry: the library.
        schedule_s: how long to wait before each further try.
        timeout_s: how long a try may take.
    """

    def __init__(
        self, registry: AssetRegistry, *, schedule_s: Sequence[float] = SCHEDULE_S, timeout_s: float = 10.0
    ) -> None:
        ledger = registry.library.ledger
        self._registry = registry
        self._table = WebhookTable(ledger.engine, ledger.project_id)
        self._schedule_s = schedule_s
        self._timeout_s = timeout_s
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._lanes: dict[str, _Lane] = {}
        self._trouble: str | None = None
        self._jobs: queue.SimpleQueue[tuple[_Lane, _Job] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[_Lane, _Job, Answer]] = queue.SimpleQueue()
        self._posts: set[Post] = set()
        self._lock = threading.Lock()
        self._workers: list[threading.Thread] = []
        self._manager = threading.Thread(target=self._run, name="comfyvn-webhooks", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._manager.start()

    def stop(self) -> None:
        """End within about a second: what is on its way is broken off, and delivered again next time."""
        self._stopping.set()
        self._wake.set()
        with self._lock:
            for post in self._posts:
                post.abort()
        self._manager.join()
        for _ in self._workers:
            self._jobs.put(None)
        deadline = time.monotonic() + _STOP_S
        for worker in self._workers:  # one that asks what a name means can't be interrupted: it ends alone
            worker.join(max(deadline - time.monotonic(), 0.0))

    # -- the manager ----------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with ExitStack() as stack:
                    self._follow(stack)
            except (ComfyVNError, OSError) as error:
                if str(error) != self._trouble:
                    _log.warning("webhooks are not delivered for the moment: %s", error)
                self._trouble = str(error)
                self._stopping.wait(_PAUSE_S)

    def _follow(self, stack: ExitStack) -> None:
        """Serve the webhooks whenever there may be something to do."""
        ask_version = stack.enter_context(self._registry.library.ledger.engine.watch())
        seen, next_due, is_mine, ask_at = -1, None, False, 0.0
        while not self._stopping.is_set():
            self._wake.clear()
            version = ask_version()  # before looking: what comes meanwhile changes it again
            is_news = version != seen
            if is_news:
                self._know(self._table.all())
                next_due, seen = self._table.next_due(), version
            if self._lanes and not is_mine and time.monotonic() >= ask_at:
                is_mine = is_news = self._claim(stack)
                ask_at = time.monotonic() + _PAUSE_S
            if is_mine:
                self._serve(begins=is_news or (next_due is not None and next_due <= utc_text()))
                self._trouble = None
            self._wake.wait(_POLL_S)
        if is_mine:
            self._leave()

    def _claim(self, stack: ExitStack) -> bool:
        """Take the project's lock if nobody else has it."""
        project = self._registry.project_id.encode("utf-8", "surrogatepass")
        name = f"webhooks-{hashlib.blake2b(project, digest_size=8).hexdigest()}"
        with ExitStack() as attempt:
            is_mine = attempt.enter_context(self._registry.library.storage.claim(name))
            if is_mine:
                stack.enter_context(attempt.pop_all())
        return is_mine

    def _know(self, webhooks: Sequence[Webhook]) -> None:
        """Have one lane for each webhook that is enabled."""
        enabled = {each.id: each for each in webhooks if each.disabled_at is None}
        for webhook_id, lane in list(self._lanes.items()):
            lane.is_over = webhook_id not in enabled
            if lane.is_over:
                lane.drop_waiting()
                if lane.begun is None:
                    del self._lanes[webhook_id]
        for webhook in enabled.values():
            lane = self._lanes.setdefault(webhook.id, _Lane(webhook, webhook.position))
            is_replay = webhook.position < lane.webhook.position
            # another process may have told it of more than we know, while that one had the lock
            lane.reached = webhook.position if is_replay else max(lane.reached, webhook.position)
            lane.webhook = webhook

    def _serve(self, *, begins: bool) -> None:
        self._take_results()
        for webhook_id, lane in list(self._lanes.items()):
            if begins and lane.begun is None and not lane.is_over:
                self._begin(lane)
            self._hand_out(lane)
            if lane.is_tried:
                self._settle(lane)
                if lane.is_over:
                    del self._lanes[webhook_id]
                self._wake.set()

    def _begin(self, lane: _Lane) -> None:
        """Begin a round, if there is anything to be told."""
        due, waiting = self._table.due(lane.webhook.id, utc_text(), _PAGE)
        news, target = self._next_news(lane) if waiting < _CROWD else ([], lane.reached)
        is_far = lane.reached - lane.webhook.position > _UNNOTED
        if not (due or news or is_far):
            return
        lane.begun = lane.webhook
        lane.target = target
        for delivery in due:
            found = news_at(self._registry, delivery.seq)
            if found is None:
                at = utc_text()
                why = "the journal has no such change any more"
                lane.outcomes.append(Outcome(delivery.seq, delivery, "dead", at, error=why))
            else:
                lane.waiting.append(_Job(found, delivery))
        again = {delivery.seq for delivery in due}
        lane.waiting += [_Job(each, None) for each in news if each.seq not in again]

    def _next_news(self, lane: _Lane) -> tuple[list[News], int]:
        """Return the next changes that a webhook wants, and up to where it is told once they have arrived."""
        while not self._stopping.is_set():
            page, end = news_after(self._registry, lane.reached, _READ)
            wanted = [each for each in page if is_wanted(each, lane.webhook.events, lane.webhook.types)]
            if len(wanted) > _PAGE:
                return wanted[:_PAGE], wanted[_PAGE - 1].seq
            if wanted:
                return wanted, end
            lane.reached = end
            if len(page) < _READ:
                break
        return [], lane.reached

    def _hand_out(self, lane: _Lane) -> None:
        while lane.waiting and len(lane.running) < _AT_ONCE:
            job = lane.waiting.popleft()
            lane.running[job.news.seq] = job
            self._jobs.put((lane, job))
            if len(self._workers) < min(_THREADS, sum(len(each.running) for each in self._lanes.values())):
                worker = threading.Thread(target=self._work, name="comfyvn-webhook", daemon=True)
                self._workers.append(worker)
                worker.start()

    def _take_results(self) -> None:
        while True:
            try:
                lane, job, answer = self._done.get_nowait()
            except queue.Empty:
                return
            if self._stopping.is_set() and not answer.is_success:
                continue  # it was broken off
            del lane.running[job.news.seq]
            lane.outcomes.append(self._judge(lane, job, answer))
            if answer.status == _GONE:
                lane.disabled_why = "the receiver answered 410: it wants nothing any more"
                lane.drop_waiting()
                _log.warning("webhook %s is disabled: %s", lane.webhook.id, lane.disabled_why)

    def _judge(self, lane: _Lane, job: _Job, answer: Answer) -> Outcome:
        """Say what is to become of a delivery."""
        now, tries = datetime.now(UTC), (job.was.attempts if job.was else 0) + 1
        seq, at, status = job.news.seq, utc_text(now), answer.status
        if answer.is_success:
            return Outcome(seq, job.was, None, at, status=status)
        error = answer.error or f"it answered {status}"
        if tries > len(self._schedule_s) and status != _GONE:
            _log.warning("webhook %s: change %d is given up after %d tries", lane.webhook.id, seq, tries)
            return Outcome(seq, job.was, "dead", at, status=status, error=error)
        wait_s = 0.0 if status == _GONE else self._schedule_s[tries - 1] * random.uniform(0.8, 1.2)
        next_at = utc_text(now + timedelta(seconds=wait_s))
        return Outcome(seq, job.was, "waiting", at, next_at, status, error)

    def _settle(self, lane: _Lane) -> None:
        """Note what became of a round."""
        assert lane.begun is not None
        noted = [each for each in lane.outcomes if each.was is not None or each.seq <= lane.target]
        why = lane.disabled_why
        position = self._table.settle(lane.begun, noted, lane.target, disabled_why=why, crowd=_CROWD)
        lane.is_over = lane.is_over or why is not None
        lane.begun, lane.outcomes, lane.disabled_why = None, [], None
        lane.webhook, lane.reached = replace(lane.webhook, position=position), position

    def _leave(self) -> None:
        """Note what was done when the process ends."""
        self._take_results()
        for lane in self._lanes.values():
            if lane.begun is None and lane.reached > lane.webhook.position:
                lane.begun, lane.target = lane.webhook, lane.reached
            if lane.begun is not None:
                lane.waiting.extend(lane.running.values())
                lane.drop_waiting()
                self._settle(lane)

    # -- the workers ----------------------------------------------------------------------------------

    def _work(self) -> None:
        while (given := self._jobs.get()) is not None:
            lane, job = given
            self._done.put((lane, job, self._deliver(lane.webhook, job.news)))
            self._wake.set()

    def _deliver(self, webhook: Webhook, news: News) -> Answer:
        body = payload_of(news)
        post = Post(webhook.url, self._registry.library.config.webhook_hosts, timeout_s=self._timeout_s)
        with self._lock:
            self._posts.add(post)
            if self._stopping.is_set():
                post.abort()
        try:
            return post.send(body, headers_of(webhook, news.seq, body))
        finally:
            with self._lock:
                self._posts.discard(post)
