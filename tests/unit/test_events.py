"""Hooks hear of each change once, in the order of the commits, and what they do harms nobody."""

import logging
import threading
from collections import Counter
from typing import Any

import pytest

from comfyvn import events
from comfyvn.errors import UnknownEvent
from comfyvn.events import EVENTS, HookBus
from support import run_all

REGISTERED = events.HOOK_ASSET_REGISTERED
UPDATED = events.HOOK_ASSET_META_UPDATED
TIMEOUT_S = 20.0


def payload(number: object, event: str = REGISTERED, **more: object) -> dict[str, Any]:
    return {"hook_event": event, "uid": str(number), **more}


def test_the_events_have_the_names_that_scripts_use() -> None:
    """Hooks of today would be refused."""
    assert EVENTS == ("asset_registered", "asset_meta_updated", "asset_removed", "asset_sidecar_written")
    assert EVENTS[2:] == (events.HOOK_ASSET_REMOVED, events.HOOK_ASSET_SIDECAR_WRITTEN)


def test_a_hook_is_called_with_its_event_only() -> None:
    """A hook would be told of what it did not ask for."""
    bus, heard = HookBus(), []
    bus.add(UPDATED, heard.append)

    bus.post([payload(1), payload(2, UPDATED), payload(3, events.HOOK_ASSET_REMOVED)])
    bus.deliver()

    assert heard == [payload(2, UPDATED)]


def test_posting_alone_calls_nobody() -> None:
    """A hook would run inside the transaction that it is told about."""
    bus, heard = HookBus(), []
    bus.add(REGISTERED, heard.append)

    bus.post([payload(1)])

    assert heard == []


def test_hooks_are_called_in_the_order_of_posts_and_of_their_adding() -> None:
    """A gallery would show the older state last."""
    bus, heard = HookBus(), []
    bus.add(REGISTERED, lambda what: heard.append(("first", what["uid"])))
    bus.add(REGISTERED, lambda what: heard.append(("second", what["uid"])))

    bus.post([payload(1), payload(2)])
    bus.post([payload(3)])
    bus.deliver()

    assert heard == [(who, number) for number in "123" for who in ("first", "second")]


def test_what_is_delivered_is_delivered_once() -> None:
    """Each later change would repeat all news."""
    bus, heard = HookBus(), []
    bus.add(REGISTERED, heard.append)

    bus.post([payload(1)])
    bus.deliver()
    bus.deliver()

    assert len(heard) == 1


def test_adding_a_hook_twice_calls_it_once() -> None:
    """A script that is loaded again would do its work twice."""
    bus, heard = HookBus(), []
    bus.add(REGISTERED, heard.append)
    bus.add(REGISTERED, heard.append)

    bus.post([payload(1)])
    bus.deliver()

    assert len(heard) == 1


def test_a_removed_hook_is_not_called() -> None:
    """A closed window would go on listening."""
    bus, heard = HookBus(), []
    bus.add(REGISTERED, heard.append)
    bus.remove(REGISTERED, heard.append)
    bus.remove(REGISTERED, heard.append)

    bus.post([payload(1)])
    bus.deliver()

    assert heard == []


def test_hooks_are_listed_by_event() -> None:
    """`iter_hooks` promises them."""
    bus, hook = HookBus(), print
    bus.add(UPDATED, hook)

    assert bus.hooks() == {event: (hook,) if event == UPDATED else () for event in EVENTS}
    assert bus.hooks(UPDATED) == {UPDATED: (hook,)}
    assert bus.wants(UPDATED)
    assert not bus.wants(REGISTERED)


@pytest.mark.parametrize("use", ["add", "remove", "hooks"])
def test_an_unknown_event_is_refused_with_the_list_of_events(use: str) -> None:
    """A mistyped event would never be heard of."""
    bus = HookBus()
    arguments = ("asset_registred",) if use == "hooks" else ("asset_registred", print)

    with pytest.raises(UnknownEvent, match="asset_registred") as caught:
        getattr(bus, use)(*arguments)

    assert all(event in str(caught.value) for event in EVENTS)


def test_each_hook_gets_a_copy_of_its_own() -> None:
    """A hook that edits what it was given would change what the next one, or the registry, sees."""
    bus, heard = HookBus(), []
    original = payload(1, meta={"tags": ["mara"]})

    def spoil(what: dict[str, Any]) -> None:
        what["meta"]["tags"].append("spoilt")
        what.clear()

    bus.add(REGISTERED, spoil)
    bus.add(REGISTERED, heard.append)

    bus.post([original])
    bus.deliver()

    assert heard == [payload(1, meta={"tags": ["mara"]})]
    assert original == payload(1, meta={"tags": ["mara"]})


def test_a_failing_hook_is_logged_and_the_others_are_called(caplog: pytest.LogCaptureFixture) -> None:
    """One broken plug-in would stop every other, or the registration itself."""
    bus, heard = HookBus(), []

    def broken(what: dict[str, Any]) -> None:
        raise RuntimeError(f"no camera for {what['uid']}")

    bus.add(REGISTERED, broken)
    bus.add(REGISTERED, heard.append)

    with caplog.at_level(logging.ERROR, "comfyvn.events"):
        bus.post([payload("3f1a"), payload("9c00")])
        bus.deliver()

    assert [what["uid"] for what in heard] == ["3f1a", "9c00"]
    assert len(caplog.records) == 2
    assert "broken" in caplog.text
    assert "asset_registered of 3f1a" in caplog.text
    assert "RuntimeError: no camera for 9c00" in caplog.text


def test_what_a_hook_posts_comes_after_the_event_at_hand() -> None:
    """Hooks behind the one that changed something would hear of the later change first."""
    bus, heard = HookBus(), []

    def answer(what: dict[str, Any]) -> None:
        if what["uid"] == "1":
            bus.post([payload("answer", UPDATED)])
            bus.deliver()

    bus.add(REGISTERED, answer)
    for event in (REGISTERED, UPDATED):
        bus.add(event, lambda what: heard.append(what["uid"]))

    bus.post([payload(1), payload(2)])
    bus.deliver()

    assert heard == ["1", "2", "answer"]


def test_a_hook_may_add_and_remove_hooks() -> None:
    """A hook that wants one event only would break the list it is called from."""
    bus, heard = HookBus(), []

    def once(what: dict[str, Any]) -> None:
        heard.append(("once", what["uid"]))
        bus.remove(REGISTERED, once)
        bus.add(REGISTERED, later)

    def later(what: dict[str, Any]) -> None:
        heard.append(("later", what["uid"]))

    bus.add(REGISTERED, once)

    bus.post([payload(1), payload(2)])
    bus.deliver()

    assert heard == [("once", "1"), ("later", "2")]


def test_a_hook_that_ends_the_program_leaves_a_bus_that_works() -> None:
    """After Ctrl-C in a hook, no hook would ever be called again."""
    bus, heard = HookBus(), []

    def interrupt(what: dict[str, Any]) -> None:
        heard.append(what["uid"])
        if what["uid"] == "1":
            raise KeyboardInterrupt

    bus.add(REGISTERED, interrupt)
    bus.post([payload(1), payload(2)])

    with pytest.raises(KeyboardInterrupt):
        bus.deliver()
    bus.deliver()

    assert heard == ["1", "2"]


def test_a_hook_hears_one_event_at_a_time_in_commit_order_though_many_threads_post() -> None:
    """A gallery would show an older state over a newer one, or run in two threads at once."""
    bus, heard = HookBus(), []
    order, busy, overlaps = threading.Lock(), threading.Lock(), []
    numbers = iter(range(10_000))

    def hook(what: dict[str, Any]) -> None:
        if not busy.acquire(blocking=False):
            overlaps.append(what)
            return
        heard.append(int(what["uid"]))
        busy.release()

    def work() -> None:
        for _ in range(60):
            with order:  # as the registry does: post while the order of commits is still guarded
                number = next(numbers)
                bus.post([payload(number)])
            bus.deliver()
            assert number in seen()

    def seen() -> set[int]:
        return set(heard)

    bus.add(REGISTERED, hook)

    run_all(*[work] * 6)

    assert heard == list(range(360))
    assert overlaps == []


def test_nothing_stays_behind_when_no_thread_waits() -> None:
    """The last news would be heard with the next change only, perhaps an hour later."""
    for _ in range(30):
        bus, heard = HookBus(), []
        bus.add(REGISTERED, lambda what, heard=heard: heard.append(what["uid"]))

        def work(bus: HookBus = bus) -> None:
            for number in range(20):
                bus.post([payload(number)])
                bus.deliver(wait=False)

        run_all(work, work, work)

        assert Counter(heard) == {str(number): 3 for number in range(20)}


def test_a_thread_that_does_not_wait_returns_while_another_runs_a_slow_hook() -> None:
    """Preview threads would stand still behind somebody's slow hook."""
    bus, heard = HookBus(), []
    entered, released = threading.Event(), threading.Event()

    def slow(what: dict[str, Any]) -> None:
        entered.set()
        assert released.wait(TIMEOUT_S)
        heard.append(what["uid"])

    def deliver_first() -> None:
        bus.post([payload(1)])
        bus.deliver()

    def deliver_second() -> None:
        assert entered.wait(TIMEOUT_S)
        bus.post([payload(2)])
        bus.deliver(wait=False)
        assert heard == []
        released.set()

    bus.add(REGISTERED, slow)

    run_all(deliver_first, deliver_second)

    assert heard == ["1", "2"]


def test_a_thread_that_waits_returns_only_when_its_news_is_out() -> None:
    """A script could not rely on its hook having run."""
    bus, heard = HookBus(), []
    entered, posted, returned = threading.Event(), threading.Event(), threading.Event()

    def slow(what: dict[str, Any]) -> None:
        entered.set()
        assert posted.wait(TIMEOUT_S)
        heard.append((what["uid"], returned.is_set()))

    def deliver_first() -> None:
        bus.post([payload(1)])
        bus.deliver()

    def deliver_second() -> None:
        assert entered.wait(TIMEOUT_S)
        bus.post([payload(2)])
        posted.set()
        bus.deliver()
        returned.set()
        assert [uid for uid, _ in heard] == ["1", "2"]

    bus.add(REGISTERED, slow)

    run_all(deliver_first, deliver_second)

    assert heard == [("1", False), ("2", False)]
