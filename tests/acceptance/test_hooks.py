"""Hooks: the four events, their payloads, their order, and what a bad hook can't do."""

import json
import logging
import re
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from comfyvn.studio.core import AssetRegistry

EVENTS = ("asset_registered", "asset_meta_updated", "asset_removed", "asset_sidecar_written")
ASSET_KEYS = {"hook_event", "timestamp", "uid", "type", "path", "sidecar", "meta", "bytes"}
SIDECAR_KEYS = {"hook_event", "timestamp", "uid", "type", "sidecar", "rel_path"}


@pytest.fixture
def heard(registry: AssetRegistry) -> list[dict[str, Any]]:
    """Every payload of every event, as it comes."""
    payloads: list[dict[str, Any]] = []
    for event in EVENTS:
        registry.add_hook(event, payloads.append)
    return payloads


def events(heard: list[dict[str, Any]]) -> list[str]:
    return [payload["hook_event"] for payload in heard]


# -- payloads -------------------------------------------------------------------------------------------


def test_registering_tells_of_the_asset_and_its_sidecar(
    project: Path, registry: AssetRegistry, heard: list[dict[str, Any]], make_png: Callable[..., Path]
) -> None:
    """A gallery that waits for hooks would not show what was registered."""
    info = registry.register_file(make_png(), "characters", metadata={"tags": ["mara"]})
    registry.wait_for_thumbnails()

    registered, written = heard
    assert registered.keys() == ASSET_KEYS
    assert written.keys() == SIDECAR_KEYS
    assert registered["hook_event"] == "asset_registered"
    same = ("uid", "type", "path", "sidecar", "meta", "bytes")
    assert {key: registered[key] for key in same} == {key: info[key] for key in same}  # type: ignore[literal-required]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", registered["timestamp"])
    assert written["hook_event"] == "asset_sidecar_written"
    assert written["rel_path"] == "characters/mara.png.asset.json"
    assert Path(written["sidecar"]) == project / "assets/characters/mara.png.asset.json"
    assert (written["uid"], written["type"]) == (info["uid"], "characters")


def test_changed_metadata_is_told_with_what_it_is_now(
    registry: AssetRegistry, heard: list[dict[str, Any]], make_png: Callable[..., Path]
) -> None:
    """A listener would have to ask for what it was just told about."""
    info = registry.register_file(make_png(), "characters")
    heard.clear()

    meta = registry.update_asset_meta(info["uid"], {"tags": ["new"]})
    bulk = registry.bulk_update_tags([info["uid"]], add_tags=["more"])

    updates = [payload for payload in heard if payload["hook_event"] == "asset_meta_updated"]
    assert [payload["meta"] for payload in updates] == [meta, bulk[info["uid"]]]
    assert all(payload.keys() == ASSET_KEYS for payload in updates)
    assert [payload["path"] for payload in updates] == ["characters/mara.png"] * 2
    assert sorted(events(heard)) == ["asset_meta_updated"] * 2 + ["asset_sidecar_written"] * 2


def test_known_content_is_told_as_an_update_and_not_as_new(
    registry: AssetRegistry, heard: list[dict[str, Any]], make_png: Callable[..., Path]
) -> None:
    """A script that counts new assets would count the same one twice."""
    info = registry.register_file(make_png(), "characters")
    heard.clear()

    registry.register_file(make_png(), "characters", metadata={"tags": ["again"]})

    assert "asset_registered" not in events(heard)
    (update,) = [payload for payload in heard if payload["hook_event"] == "asset_meta_updated"]
    assert (update["uid"], update["meta"]["tags"]) == (info["uid"], ["again"])


def test_a_removal_is_told_with_what_was_removed(
    registry: AssetRegistry, heard: list[dict[str, Any]], make_png: Callable[..., Path]
) -> None:
    """A listener could not clean up after an asset that it can't ask for any more."""
    uid = registry.register_file(make_png(), "characters", metadata={"tags": ["mara"]})["uid"]
    registry.wait_for_thumbnails()
    info = registry.get_asset(uid)
    heard.clear()

    registry.remove_asset(uid)

    (removed,) = heard
    assert removed.keys() == ASSET_KEYS
    assert removed["hook_event"] == "asset_removed"
    same = ("uid", "type", "path", "sidecar", "meta", "bytes")
    assert {key: removed[key] for key in same} == {key: info[key] for key in same}  # type: ignore[literal-required]


def test_a_rewritten_sidecar_is_told(
    registry: AssetRegistry, heard: list[dict[str, Any]], make_png: Callable[..., Path]
) -> None:
    """A watcher of sidecars would miss a repair."""
    info = registry.register_file(make_png(), "characters")
    registry.sidecar_path(info["uid"]).unlink()  # type: ignore[union-attr]
    heard.clear()

    registry.ensure_sidecar(info["uid"])

    assert "asset_sidecar_written" in events(heard)


def test_a_hand_edit_that_is_taken_in_is_told(
    registry: AssetRegistry, heard: list[dict[str, Any]], make_png: Callable[..., Path]
) -> None:
    """Tags changed in an editor would never reach an open gallery."""
    info = registry.register_file(make_png(), "characters", metadata={"tags": ["a"]})
    path = registry.sidecar_path(info["uid"])
    assert path is not None
    path.write_text(path.read_text("utf-8").replace('"a"', '"by hand"'), "utf-8")
    heard.clear()

    registry.ensure_sidecar(info["uid"])

    (update,) = [payload for payload in heard if payload["hook_event"] == "asset_meta_updated"]
    assert update["meta"]["tags"] == ["by hand"]


def test_payloads_can_be_written_as_json(
    registry: AssetRegistry, heard: list[dict[str, Any]], make_png: Callable[..., Path]
) -> None:
    """A hook that forwards events to another program would fail."""
    info = registry.register_file(make_png(), "characters", metadata={"tags": {"夏"}, "deep": {"a": (1,)}})
    registry.update_asset_meta(info["uid"], {})
    registry.remove_asset(info["uid"])

    assert json.loads(json.dumps(heard, allow_nan=False)) == heard


def test_what_is_refused_or_changes_nothing_is_not_told(
    registry: AssetRegistry, heard: list[dict[str, Any]], make_png: Callable[..., Path]
) -> None:
    """A gallery would refresh for nothing, or show what does not exist."""
    info = registry.register_file(make_png(), "characters", metadata={"tags": ["a"]})
    heard.clear()

    with pytest.raises(ValueError, match="Metadata refused"):
        registry.register_file(make_png("b.png", seed=2), "x", metadata={"bad": {1}})
    with pytest.raises(ValueError, match="Metadata refused"):
        registry.update_asset_meta(info["uid"], {"bad": float("nan")})
    registry.bulk_update_tags([info["uid"]], add_tags=["A"], remove_tags=["b"])
    registry.bulk_update_tags(["unknown"], add_tags=["a"])
    registry.remove_asset("unknown")
    registry.ensure_sidecar(info["uid"])

    assert heard == []


# -- order ----------------------------------------------------------------------------------------------


def test_news_come_after_the_commit(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A listener that looks into the ledger would not find what it was told of."""
    seen: list[tuple[str, int, bool]] = []

    def look(payload: dict[str, Any]) -> None:
        with closing(sqlite3.connect(project / "comfyvn/data/comfyvn.db")) as connection:
            query = "SELECT COUNT(*) FROM assets_registry WHERE uid = ?"
            (count,) = connection.execute(query, (payload["uid"],)).fetchone()
        seen.append((payload["hook_event"], count, (project / "assets" / payload["sidecar"]).is_file()))

    for event in EVENTS:
        registry.add_hook(event, look)

    info = registry.register_file(make_png(), "characters")
    registry.update_asset_meta(info["uid"], {"tags": ["a"]})
    registry.remove_asset(info["uid"])

    assert sorted(seen) == sorted(
        [
            ("asset_registered", 1, True),
            ("asset_sidecar_written", 1, True),
            ("asset_meta_updated", 1, True),
            ("asset_sidecar_written", 1, True),
            ("asset_removed", 0, False),
        ]
    )


def test_news_come_in_the_order_of_the_commits(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Of two changes made by two threads, a listener would keep the older one."""
    info = registry.register_file(make_png(), "characters")
    told: list[str] = []
    registry.add_hook("asset_meta_updated", lambda payload: told.append(payload["meta"]["by"]))

    def change(worker: int) -> None:
        for number in range(15):
            registry.update_asset_meta(info["uid"], {"by": f"{worker}:{number}"})

    threads = [threading.Thread(target=change, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with closing(sqlite3.connect("comfyvn/data/comfyvn.db")) as connection:
        query = "SELECT after_json FROM asset_journal WHERE event = 'asset_meta_updated' ORDER BY seq"
        committed = [json.loads(row[0])["meta"]["by"] for row in connection.execute(query)]
    assert len(told) == 60
    assert told == committed
    assert registry.get_asset(info["uid"])["meta"]["by"] == told[-1]  # type: ignore[index]
    assert registry.read_sidecar(info["uid"])["meta"]["by"] == told[-1]


def test_many_registrations_are_each_told_in_order(
    registry: AssetRegistry, heard: list[dict[str, Any]], make_png: Callable[..., Path]
) -> None:
    """A batch would be told as one, or mixed up."""
    items = [
        {"source_path": make_png(f"{seed}.png", seed=seed), "asset_type": "characters"} for seed in range(5)
    ]

    list(registry.register_many(items))

    told = [payload["path"] for payload in heard if payload["hook_event"] == "asset_registered"]
    assert told == [f"characters/{seed}.png" for seed in range(5)]


# -- hooks that misbehave -------------------------------------------------------------------------------


def test_a_hook_that_fails_is_logged_and_harms_nobody(
    registry: AssetRegistry, make_png: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """A bug in somebody's script would stop a registration half-way, or the hooks after it."""
    told: list[object] = []

    def fail(payload: dict[str, Any]) -> None:
        raise RuntimeError("a bug in a script")

    registry.add_hook("asset_registered", fail)
    registry.add_hook("asset_registered", told.append)

    with caplog.at_level(logging.ERROR):
        info = registry.register_file(make_png(), "characters")

    assert registry.get_asset(info["uid"]) is not None
    assert len(told) == 1
    assert "a bug in a script" in caplog.text
    assert "Traceback" in caplog.text


def test_a_hook_that_changes_its_payload_changes_nobody_elses(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """One script could falsify what the next one sees."""
    told: list[dict[str, Any]] = []
    registry.add_hook("asset_registered", lambda payload: payload["meta"]["tags"].append("fake"))
    registry.add_hook("asset_registered", lambda payload: payload.clear())
    registry.add_hook("asset_registered", told.append)

    info = registry.register_file(make_png(), "characters", metadata={"tags": ["real"]})

    assert told[0]["meta"]["tags"] == info["tags"] == ["real"]
    assert registry.get_asset(info["uid"])["tags"] == ["real"]  # type: ignore[index]


def test_a_hook_may_use_the_registry(
    registry: AssetRegistry, heard: list[dict[str, Any]], make_png: Callable[..., Path]
) -> None:
    """A hook that tags new assets would wait for itself for ever."""

    def tag(payload: dict[str, Any]) -> None:
        registry.bulk_update_tags([payload["uid"]], add_tags=["new"])
        registry.update_asset_meta(payload["uid"], {"tags": ["new"], "seen": registry.count_assets()})

    registry.add_hook("asset_registered", tag)

    info = registry.register_file(make_png(), "characters")

    record = registry.get_asset(info["uid"])
    assert record is not None
    assert (record["tags"], record["meta"]["seen"]) == (["new"], 1)
    assert registry.read_sidecar(info["uid"])["tags"] == ["new"]
    assert events(heard)[0] == "asset_registered"
    assert events(heard).count("asset_meta_updated") == 2


def test_a_hook_may_register_and_remove(registry: AssetRegistry, make_png: Callable[..., Path]) -> None:
    """A script that makes a second file of each first one could not be a hook."""
    second = make_png("second.png", seed=2)
    removed: list[str] = []

    def follow(payload: dict[str, Any]) -> None:
        if payload["path"].endswith("mara.png"):
            registry.register_file(second, "derived")
            registry.remove_asset(payload["uid"])

    registry.add_hook("asset_registered", follow)
    registry.add_hook("asset_removed", lambda payload: removed.append(payload["path"]))

    result = list(registry.register_many([{"source_path": make_png(), "asset_type": "characters"}]))

    assert result[0]["status"] == "registered"
    assert removed == ["characters/mara.png"]
    assert [entry["path"] for entry in registry.list_assets()] == ["derived/second.png"]


def test_a_hook_that_removes_the_asset_does_not_break_the_registration(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A script that keeps certain files out would turn each registration into an error."""
    registry.add_hook("asset_registered", lambda payload: registry.remove_asset(payload["uid"]))

    info = registry.register_file(make_png(), "characters")

    assert info["path"] == "characters/mara.png"
    assert registry.count_assets() == 0


# -- adding and removing --------------------------------------------------------------------------------


def test_a_removed_hook_is_not_called(registry: AssetRegistry, make_png: Callable[..., Path]) -> None:
    """A closed gallery would go on being refreshed."""
    told: list[object] = []
    registry.add_hook("asset_registered", told.append)
    registry.remove_hook("asset_registered", told.append)
    registry.remove_hook("asset_registered", told.append)

    registry.register_file(make_png(), "characters")

    assert told == []


def test_the_same_hook_is_called_once(registry: AssetRegistry, make_png: Callable[..., Path]) -> None:
    """A panel that is opened twice would do everything twice."""
    told: list[object] = []
    registry.add_hook("asset_registered", told.append)
    registry.add_hook("asset_registered", told.append)

    registry.register_file(make_png(), "characters")

    assert len(told) == 1


def test_hooks_can_be_listed(registry: AssetRegistry) -> None:
    """Nobody could see who listens."""

    def hook(payload: dict[str, Any]) -> None:
        pass

    registry.add_hook(AssetRegistry.HOOK_ASSET_REMOVED, hook)

    assert registry.iter_hooks("asset_removed") == {"asset_removed": (hook,)}
    assert registry.iter_hooks() == {event: ((hook,) if event == "asset_removed" else ()) for event in EVENTS}


@pytest.mark.parametrize("method", ["add_hook", "remove_hook"])
def test_an_unknown_event_is_refused(registry: AssetRegistry, method: str) -> None:
    """A misspelled event would never be called, and nobody know why."""
    with pytest.raises(ValueError, match="asset_registered, asset_meta_updated"):
        getattr(registry, method)("asset_registred", print)
    with pytest.raises(ValueError, match="asset_registred"):
        registry.iter_hooks("asset_registred")


def test_hooks_of_one_registry_are_not_those_of_another(
    registry: AssetRegistry, open_registry: Callable[..., AssetRegistry], make_png: Callable[..., Path]
) -> None:
    """A hook would stay with every registry of the process."""
    told: list[object] = []
    registry.add_hook("asset_registered", told.append)

    open_registry().register_file(make_png(), "characters")

    assert told == []
