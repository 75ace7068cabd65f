"""Deliveries: what happens in a library goes to its webhooks, at least once, from the journal.

One process delivers for a project; the others wait for its lock. A webhook is served in rounds: what is to be
tried again now, and the next changes of the journal. A round is noted when all of it was tried, so a process
that is killed delivers at most that round a second time. A round of a journal that was replaced meanwhile, by
a ledger that somebody put back, is not noted at all.

Who does not answer holds up nobody else: what goes to him goes one at a time, in a few threads for his like.
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
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from comfyvn.db.news import PlaceRow
from comfyvn.db.webhooks import Delivery, Outcome, Webhook, WebhookTable, utc_text
from comfyvn.errors import ComfyVNError
from comfyvn.registry.news import News, is_wanted, news_at, news_behind
from comfyvn.registry.outgoing import Answer, Post
from comfyvn.registry.webhooks import headers_of, payload_of
from comfyvn.studio.core import AssetRegistry

__all__ = ["SCHEDULE_S", "Deliverer"]

SCHEDULE_S: Final = (5.0, 30.0, 120.0, 600.0, 3_600.0, 18_000.0, 36_000.0)
"""How long to wait before each further try, but for chance; after the last one a delivery is dead."""
_POLL_S: Final = 0.25
_PAUSE_S: Final = 2.0
_STOP_S: Final = 0.3
_SLOW_S: Final = 1.0  # who needs longer is served among those that fail, till he has answered
_SOUND: Final = 8  # so many tries at once to those that answer, and as many to those that don't
_AILING: Final = 8
_MOST: Final = 64  # tries at once, with those to receivers that have fallen silent at the same moment
_RESERVED: Final = 8  # of these only for those that answered the last time
_AT_ONCE: Final = 4  # to one webhook
_PAGE: Final = 16
_FIRST_PAGE: Final = 2  # one at a time, perhaps ten seconds each: a longer round would be noted late
_READ: Final = 256
_UNNOTED: Final = 1_000  # so many changes that a webhook does not want are read again after a crash
_CROWD: Final = 100  # so many may wait for a webhook; the rest of the journal waits unread
_GONE: Final = 410
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Job:
    """One try: a change, the delivery that failed before, if it did, and when it began (`time.monotonic`)."""

    news: News
    was: Delivery | None
    began_s: float = 0.0

    @property
    def is_slow(self) -> bool:
        """Whether it goes on for long."""
        return time.monotonic() - self.began_s > _SLOW_S


@dataclass(slots=True)
class _Lane:
    """One webhook and its round.

    ``begun`` is the webhook as it was when the round began, None between rounds; ``reached`` is how far the
    journal was read, ``target`` up to where it is told when the round is over. ``mark`` is the last row that
    was read, ``proof`` the one when the round began: a ledger that has it is the one that was read.

    ``is_ailing`` is whether the last try failed or takes long, ``at_once`` how many tries may run at once.
    """

    webhook: Webhook
    reached: int
    is_ailing: bool = False
    mark: PlaceRow | None = None
    at_once: int = 1
    begun: Webhook | None = None
    target: int = 0
    proof: PlaceRow | None = None
    waiting: deque[_Job] = field(default_factory=deque)
    running: dict[int, _Job] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    disabled_why: str | None = None
    is_over: bool = False
    tried_s: float = 0.0

    @property
    def leaves(self) -> int:
        """How many tries must be left to others when one is made here."""
        return 0 if self.at_once > 1 and not self.is_ailing else _RESERVED

    @property
    def is_ready(self) -> bool:
        """Whether a try may be made now."""
        return bool(self.waiting) and len(self.running) < self.at_once

    @property
    def is_tried(self) -> bool:
        """Whether the round is to be noted."""
        return self.begun is not None and not self.waiting and not self.running

    def learn(self, is_success: bool) -> None:
        """Learn from a try how it is to be served."""
        self.at_once = _AT_ONCE if is_success else 1
        if not is_success and not self.is_ailing:
            self.drop_waiting()  # a round that was meant for one who answers
        self.is_ailing = not is_success

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
        self._is_other = False
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
            is_news = version != seen or self._is_other
            if is_news:
                self._is_other = False
                self._know()
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

    def _know(self) -> None:
        """Have one lane for each webhook that is enabled."""
        survey = self._table.survey({lane.mark.seq for lane in self._lanes.values() if lane.mark is not None})
        enabled = {each.id: each for each in survey.webhooks if each.disabled_at is None}
        for webhook_id, lane in list(self._lanes.items()):
            lane.is_over = webhook_id not in enabled
            if lane.is_over:
                lane.drop_waiting()
                if lane.begun is None:
                    del self._lanes[webhook_id]
        for webhook in enabled.values():
            lane = self._lanes.setdefault(webhook.id, _lane(webhook, min(webhook.position, survey.end)))
            is_past = webhook.position > survey.end  # a number of another ledger
            position = min(lane.reached, survey.end) if is_past else webhook.position
            if lane.mark is None or survey.rows.get(lane.mark.seq) != lane.mark:
                lane.reached, lane.mark = position, survey.rows.get(position)
            is_replay = webhook.position < lane.webhook.position
            # another process may have told it of more than we know, while that one had the lock
            lane.reached = position if is_replay else max(lane.reached, position)
            lane.webhook = webhook

    def _serve(self, *, begins: bool) -> None:
        self._take_results()
        for lane in self._lanes.values():
            if begins and lane.begun is None and not lane.is_over:
                self._begin(lane)
        self._hand_out()
        for webhook_id, lane in list(self._lanes.items()):
            if lane.is_tried:
                self._settle(lane)
                if lane.is_over:
                    del self._lanes[webhook_id]
                self._wake.set()

    def _begin(self, lane: _Lane) -> None:
        """Begin a round, if there is anything to be told."""
        page = _PAGE if lane.at_once > 1 else _FIRST_PAGE
        due, waiting = self._table.due(lane.webhook.id, utc_text(), page)
        news, target = self._next_news(lane, page) if waiting < _CROWD else ([], lane.reached)
        is_past = lane.reached < lane.webhook.position
        is_far = lane.reached - lane.webhook.position > _UNNOTED
        if not (due or news or is_far or is_past):
            return
        lane.begun = lane.webhook
        lane.target, lane.proof = target, lane.mark
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

    def _next_news(self, lane: _Lane, most: int) -> tuple[list[News], int]:
        """Return the next changes that a webhook wants, and up to where it is told once they have arrived."""
        while not self._stopping.is_set():
            found = news_behind(self._registry, lane.reached, lane.mark, _READ)
            if found is None:  # another ledger: what it holds is known in a moment
                break
            page, end, lane.mark = found
            wanted = [each for each in page if is_wanted(each, lane.webhook.events, lane.webhook.types)]
            if len(wanted) > most:
                return wanted[:most], wanted[most - 1].seq
            if wanted:
                return wanted, end
            lane.reached = end
            if len(page) < _READ:
                break
        return [], lane.reached

    def _hand_out(self) -> None:
        """Have the next tries made, by turns, and those to who answers apart from those to who does not."""
        for lane in self._lanes.values():
            if not lane.is_ailing and any(job.is_slow for job in lane.running.values()):
                lane.learn(is_success=False)
        for is_ailing, most in ((False, _SOUND), (True, _AILING)):
            lanes = [lane for lane in self._lanes.values() if lane.is_ailing == is_ailing]
            free = most - sum(len(lane.running) for lane in lanes)
            while free > 0:
                left = _MOST - self._running()
                ready = [each for each in lanes if each.is_ready and left > each.leaves]
                if not ready:
                    break
                self._try(min(ready, key=lambda each: (each.leaves, len(each.running), each.tried_s)))
                free -= 1

    def _try(self, lane: _Lane) -> None:
        """Have the next try of a lane made now."""
        job = lane.waiting.popleft()
        job.began_s = lane.tried_s = time.monotonic()
        lane.running[job.news.seq] = job
        self._jobs.put((lane, job))
        if len(self._workers) < self._running():
            worker = threading.Thread(target=self._work, name="comfyvn-webhook", daemon=True)
            self._workers.append(worker)
            worker.start()

    def _running(self) -> int:
        return sum(len(lane.running) for lane in self._lanes.values())

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
            lane.learn(answer.is_success)
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
        now = self._table.settle(
            lane.begun, noted, lane.target, mark=lane.proof, disabled_why=why, crowd=_CROWD
        )
        lane.begun, lane.outcomes, lane.disabled_why = None, [], None
        if now is None:
            self._is_other = True
            lane.mark = None
        else:
            lane.is_over = lane.is_over or why is not None
            lane.webhook, lane.reached = now, now.position

    def _leave(self) -> None:
        """Note what was done when the process ends."""
        self._take_results()
        for lane in self._lanes.values():
            if lane.begun is None and lane.reached > lane.webhook.position:
                lane.begun, lane.target, lane.proof = lane.webhook, lane.reached, lane.mark
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


def _lane(webhook: Webhook, position: int) -> _Lane:
    """Return the lane of a webhook as its last try tells it."""
    answered = webhook.last_status is not None and 200 <= webhook.last_status < 300
    is_ailing = webhook.last_at is not None and not answered
    return _Lane(webhook, position, is_ailing, at_once=_AT_ONCE if answered else 1)
