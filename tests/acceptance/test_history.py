"""The journal read back: the history of an asset, the list of operations, and following what is new."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from comfyvn.errors import InvalidFilter
from comfyvn.studio.core import AssetRegistry
from comfyvn.studio.core.history import HistoryEntry
from support import TIMEOUT_S, run_all

TAG_MANY = """
import sys
from comfyvn.studio.core import AssetRegistry
uid, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with AssetRegistry(durability="off") as registry:
    for number in range(count):
        registry.bulk_update_tags([uid], add_tags=[f"{name}-{number}"])
"""


def told(entries: list[HistoryEntry]) -> list[str]:
    """Return the events, without those that only follow from others."""
    return [entry["event"] for entry in entries if entry["event"] != "asset_sidecar_written"]


def start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", TAG_MANY, *arguments])


# -- the history of an asset ------------------------------------------------------------------------------


def test_an_asset_has_its_history_newest_first(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Nobody could tell who changed a licence, or what it was before."""
    uid = registry.register_file(make_png(), "characters", metadata={"tags": ["draft"]})["uid"]
    registry.bulk_update_tags([uid], add_tags=["happy"], remove_tags=["draft"], license_tag="CC0-1.0")

    entries = registry.history(uid)

    edit = entries[0]
    assert told(entries) == ["asset_meta_updated", "asset_registered"]
    assert [entry["seq"] for entry in entries] == sorted((each["seq"] for each in entries), reverse=True)
    assert edit["before"] is not None
    assert edit["after"] is not None
    assert (edit["before"]["meta"]["tags"], edit["before"]["meta"]["license"]) == (["draft"], None)
    assert (edit["after"]["meta"]["tags"], edit["after"]["meta"]["license"]) == (["happy"], "CC0-1.0")
    assert json.loads(json.dumps(entries)) == entries
    assert {entry["uid"] for entry in entries} == {uid}


def test_the_history_names_who_did_it(
    open_registry: Callable[..., AssetRegistry],
    make_png: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a team, an edit without a name is an edit that nobody made."""
    monkeypatch.setenv("COMFYVN_USER", "mika")

    uid = open_registry().register_file(make_png(), "characters")["uid"]

    assert {entry["actor"] for entry in open_registry().history(uid)} == {"mika"}


def test_a_removed_asset_keeps_its_history(registry: AssetRegistry, make_png: Callable[..., Path]) -> None:
    """Just what was removed by mistake could not be looked up."""
    uid = registry.register_file(make_png(), "characters")["uid"]
    registry.remove_asset(uid, delete_files=True)

    assert told(registry.history(uid)) == ["asset_removed", "asset_registered"]
    assert registry.history("feedfeedfeedfeed") == []
    assert registry.history("\udcff") == []


def test_a_history_comes_in_pages(registry: AssetRegistry, make_png: Callable[..., Path]) -> None:
    """The history of a picture that was tagged for years would have to be loaded at once."""
    uid = registry.register_file(make_png(), "characters")["uid"]
    for number in range(5):
        registry.bulk_update_tags([uid], add_tags=[f"tag{number}"])
    whole = registry.history(uid)

    pages, cursor = [], None
    while page := registry.history(uid, limit=3, cursor=cursor):
        pages.append(page)
        cursor = page[-1]["seq"]

    assert list(itertools.chain(*pages)) == whole
    assert max(len(page) for page in pages) == 3


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": "3"}, {"cursor": -1}, {"cursor": True}])
def test_a_page_that_can_not_be_is_refused(registry: AssetRegistry, wrong: dict[str, object]) -> None:
    """A negative limit would mean "all" to the database."""
    with pytest.raises(InvalidFilter):
        registry.history("feedfeedfeedfeed", **wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidFilter):
        registry.operations(**wrong)  # type: ignore[arg-type]


# -- operations -------------------------------------------------------------------------------------------


def test_operations_tell_what_they_did_and_to_how_many(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """To undo last week's bulk edit one must find it first."""
    items = [{"source_path": make_png(f"{n}.png", seed=n), "asset_type": "x"} for n in range(3)]
    uids = [each["asset"]["uid"] for each in registry.register_many(items) if each["asset"]]
    registry.bulk_update_tags(uids, add_tags=["cast"])

    edit, ingest = registry.operations()

    assert ingest["events"] == {"asset_registered": 3, "asset_sidecar_written": 3}
    assert edit["events"] == {"asset_meta_updated": 3, "asset_sidecar_written": 3}
    assert (edit["assets"], edit["undoes"]) == (3, None)
    assert edit["operation"] == registry.history(uids[0], limit=1)[0]["operation"]
    assert edit["at"] == max(registry.history(uid, limit=1)[0]["at"] for uid in uids)


def test_an_undo_says_what_it_undoes(registry: AssetRegistry, make_png: Callable[..., Path]) -> None:
    """Two edits that cancel each other would look like two unrelated ones."""
    uid = registry.register_file(make_png(), "characters")["uid"]
    registry.bulk_update_tags([uid], add_tags=["happy"])
    edit = registry.operations(limit=1)[0]["operation"]

    undone = registry.undo(edit)

    newest = registry.operations(limit=1)[0]
    assert (newest["operation"], newest["undoes"]) == (undone["operation"], edit)


def test_operations_come_in_pages(registry: AssetRegistry, make_png: Callable[..., Path]) -> None:
    """A page that skips or repeats one hides it from its undo."""
    uid = registry.register_file(make_png(), "characters")["uid"]
    for number in range(6):
        registry.bulk_update_tags([uid], add_tags=[f"tag{number}"])
    whole = registry.operations()

    pages, cursor = [], None
    while page := registry.operations(limit=2, cursor=cursor):
        pages += page
        cursor = page[-1]["operation"]

    assert pages == whole
    assert len(whole) == 7


def test_changes_that_share_a_number_are_one_operation(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A script that does a thing in steps leaves its user as many undos."""
    one, two = (registry.register_file(make_png(f"{n}.png", seed=n), "x")["uid"] for n in (1, 2))

    number = registry.new_operation()
    registry.bulk_update_tags([one], add_tags=["a"], operation=number)
    registry.remove_asset(two, operation=number)

    newest = registry.operations(limit=1)[0]
    assert (newest["operation"], newest["assets"]) == (number, 2)
    assert registry.undo(number)["undone"] == [two, one]


def test_another_project_of_the_ledger_has_a_history_of_its_own(
    open_registry: Callable[..., AssetRegistry], make_png: Callable[..., Path]
) -> None:
    """One game's undo would reach into the other one."""
    one, two = open_registry(project_id="one"), open_registry(project_id="two")
    uid = one.register_file(make_png(), "characters")["uid"]
    two.register_file(make_png("other.png", seed=2), "characters")

    assert two.history(uid) == []
    assert len(one.operations()) == len(two.operations()) == 1
    assert {entry["uid"] for entry in one.follow(0, timeout_s=0)} == {uid}


# -- following --------------------------------------------------------------------------------------------


def test_following_from_the_beginning_tells_all_in_order(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A gallery that starts late would show an empty library."""
    uid = registry.register_file(make_png(), "characters")["uid"]
    registry.bulk_update_tags([uid], add_tags=["a"])

    entries = list(registry.follow(0, timeout_s=0))

    assert entries == registry.history(uid)[::-1]
    assert registry.journal_position() == entries[-1]["seq"]
    assert list(registry.follow(entries[-1]["seq"], timeout_s=0)) == []
    assert list(registry.follow(entries[0]["seq"], timeout_s=0)) == entries[1:]


def test_following_starts_when_it_is_asked_for_not_at_the_first_look(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """What happens between "listen" and the first look would be missed."""
    registry.register_file(make_png("old.png", seed=1), "characters")

    news = registry.follow(timeout_s=0)
    uid = registry.register_file(make_png("new.png", seed=2), "characters")["uid"]

    assert {entry["uid"] for entry in news} == {uid}


def test_following_hears_other_processes_and_misses_and_doubles_nothing(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A gallery would show yesterday's tags, or the same change twice."""
    uid = registry.register_file(make_png(), "characters")["uid"]
    writers = [start(uid, name, "15") for name in ("one", "two")]
    seen: list[HistoryEntry] = []

    with closing(registry.follow(0, timeout_s=TIMEOUT_S)) as news:
        for entry in news:
            seen.append(entry)
            if told(seen).count("asset_meta_updated") == 30:
                break
    codes = [writer.wait(TIMEOUT_S) for writer in writers]

    assert codes == [0, 0]
    assert seen == registry.history(uid)[::-1][: len(seen)]
    assert len({entry["seq"] for entry in seen}) == len(seen)


def test_following_hears_other_registries_of_this_process(
    open_registry: Callable[..., AssetRegistry], make_png: Callable[..., Path]
) -> None:
    """Two windows of one program would not see each other's changes."""
    listener, writer = open_registry(), open_registry()
    heard: list[str] = []
    news = listener.follow(timeout_s=TIMEOUT_S)

    def listen() -> None:
        heard.extend(entry["uid"] for entry in itertools.islice(news, 2))
        news.close()  # type: ignore[attr-defined]

    uids: list[str] = []
    run_all(listen, lambda: uids.append(writer.register_file(make_png(), "characters")["uid"]))

    assert heard == uids * 2


def test_a_big_batch_is_followed_page_by_page(registry: AssetRegistry, make_png: Callable[..., Path]) -> None:
    """At a full page the rest would wait for the next change, which may never come."""
    items = [{"source_path": make_png(f"{n}.png", seed=n), "asset_type": "x"} for n in range(300)]
    results = list(registry.register_many(items))

    entries = list(registry.follow(0, timeout_s=0))

    assert len(results) == 300
    assert told(entries) == ["asset_registered"] * 300
    assert [entry["seq"] for entry in entries] == list(range(1, 601))


def test_a_follower_that_stops_gives_its_connection_back(
    open_registry: Callable[..., AssetRegistry], make_png: Callable[..., Path]
) -> None:
    """A server would lose a connection with every tab that is closed."""
    registry = open_registry()
    registry.register_file(make_png(), "characters")
    with closing(registry.follow(0)) as news:
        next(iter(news))
    never_started: Iterator[HistoryEntry] = registry.follow()

    registry.close()

    assert never_started is not None
    fds = Path("/proc/self/fd")
    if fds.is_dir():
        held = [fd.resolve().name for fd in fds.iterdir()]
        assert "comfyvn.db" not in held


def test_a_follower_that_waits_hinders_nobody(
    open_registry: Callable[..., AssetRegistry], make_png: Callable[..., Path]
) -> None:
    """A listener that holds a read transaction keeps the log from ever being folded back."""
    registry = open_registry()
    news = registry.follow(timeout_s=TIMEOUT_S)
    is_over = threading.Event()

    def listen() -> None:
        for entry in news:
            if entry["event"] == "asset_removed":
                break
        news.close()  # type: ignore[attr-defined]
        is_over.set()

    def work() -> None:
        uid = registry.register_file(make_png(), "characters")["uid"]
        for number in range(10):
            registry.bulk_update_tags([uid], add_tags=[str(number)])
        registry.remove_asset(uid)

    run_all(listen, work)

    assert is_over.is_set()


@pytest.mark.parametrize("since", [-1, True, "7", 1.5])
def test_a_position_that_can_not_be_is_refused_at_once(registry: AssetRegistry, since: object) -> None:
    """The error would come out of a loop far away from its cause."""
    with pytest.raises(InvalidFilter, match="since"):
        registry.follow(since)  # type: ignore[arg-type]
