"""Undo: what is taken back, what is refused and named, and that nothing is lost by either."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from comfyvn.errors import OperationNotFound
from comfyvn.registry.rebuild import rebuild
from comfyvn.studio.core import AssetRecord, AssetRegistry
from comfyvn.studio.core.registration import Registrar
from support import run_all


@dataclass(frozen=True)
class Desk:
    """A registry on the project, with the few things that these tests do again and again."""

    registry: AssetRegistry
    make_png: Callable[..., Path]
    project: Path

    def register(self, name: str = "mara.png", seed: int = 1, **arguments: Any) -> str:
        uid = self.registry.register_file(self.make_png(name, seed=seed), "characters", **arguments)["uid"]
        self.registry.wait_for_thumbnails()
        return uid

    def tag(self, *uids: str, **arguments: Any) -> int:
        """Edit assets; return the operation."""
        number = self.registry.new_operation()
        self.registry.bulk_update_tags(uids, operation=number, **arguments)
        return number

    def last(self) -> int:
        """Return the newest operation."""
        return self.registry.operations(limit=1)[0]["operation"]

    def get(self, uid: str) -> AssetRecord:
        record = self.registry.get_asset(uid)
        assert record is not None
        return record

    def path(self, uid: str) -> Path:
        return self.project / "assets" / self.get(uid)["path"]

    def sidecar(self, uid: str) -> Path:
        return self.project / "assets" / self.get(uid)["sidecar"]

    def edit_sidecar(self, uid: str, **values: object) -> None:
        """Change a sidecar as somebody with an editor does."""
        payload = json.loads(self.sidecar(uid).read_text("utf-8"))
        self.sidecar(uid).write_text(json.dumps({**payload, **values}), "utf-8")


@pytest.fixture
def desk(registry: AssetRegistry, make_png: Callable[..., Path], project: Path) -> Desk:
    return Desk(registry, make_png, project)


def state(project: Path) -> dict[str, bytes]:
    """Return every file of the library but staging, trash and the ledger."""
    assets = project / "assets"
    return {
        path.relative_to(assets).as_posix(): path.read_bytes()
        for path in assets.rglob("*")
        if path.is_file() and ".comfyvn" not in path.parts
    }


def facts(record: AssetRecord) -> dict[str, Any]:
    """Return what an undo brings back: all but the time of the change."""
    return {name: value for name, value in record.items() if name != "updated_at"}


# -- edits ------------------------------------------------------------------------------------------------


def test_an_edit_is_undone_in_ledger_sidecar_and_mirror(desk: Desk) -> None:
    """The undo would hold until the next rebuild reads the sidecar."""
    uid = desk.register(metadata={"tags": ["draft"], "artist": "J. Doe"}, license_tag="MIT")
    before = desk.get(uid)
    desk.registry.update_asset_meta(uid, {"tags": ["final"], "license": "CC0-1.0", "origin": "studio"})

    report = desk.registry.undo(desk.last())

    assert report == {"operation": desk.last(), "undone": [uid], "refused": [], "kept": []}
    assert facts(desk.get(uid)) == facts(before)
    written = json.loads(desk.sidecar(uid).read_text("utf-8"))
    mirror = json.loads((desk.project / "assets/_meta/characters/mara.json").read_text("utf-8"))
    assert written == mirror
    assert (written["tags"], written["license"], written["origin"]) == (["draft"], "MIT", None)
    assert written["meta"]["artist"] == "J. Doe"
    assert desk.registry.list_assets(tags=["final"]) == []


def test_a_bulk_edit_of_many_is_undone_as_one(desk: Desk) -> None:
    """A slip with a thousand pictures selected would take a thousand repairs."""
    items = [
        {"source_path": desk.make_png(f"{n}.png", seed=n), "asset_type": "x", "metadata": {"tags": [f"t{n}"]}}
        for n in range(600)
    ]
    uids = [each["asset"]["uid"] for each in desk.registry.register_many(items) if each["asset"]]
    desk.registry.wait_for_thumbnails()
    before = {record["uid"]: facts(record) for record in desk.registry.list_assets()}
    edit = desk.tag(*uids, add_tags=["wrong"], license_tag="MIT")

    report = desk.registry.undo(edit)

    assert sorted(report["undone"]) == sorted(uids)
    assert (report["refused"], report["kept"]) == ([], [])
    assert {record["uid"]: facts(record) for record in desk.registry.list_assets()} == before
    assert desk.registry.operations(limit=1)[0]["assets"] == 600


def test_hooks_hear_of_an_undo(desk: Desk) -> None:
    """A gallery that listens would go on showing what was taken back."""
    uid = desk.register()
    edit = desk.tag(uid, add_tags=["a"])
    heard: list[list[str]] = []
    desk.registry.add_hook("asset_meta_updated", lambda event: heard.append(event["meta"]["tags"]))

    desk.registry.undo(edit)

    assert heard == [[]]


def test_an_asset_edited_since_is_refused_and_named_and_the_others_are_undone(desk: Desk) -> None:
    """An undo would silently take a later edit of somebody else with it."""
    one, two = desk.register("one.png", 1), desk.register("two.png", 2)
    edit = desk.tag(one, two, add_tags=["a"])
    later = desk.tag(two, add_tags=["b"])

    report = desk.registry.undo(edit)

    assert report["undone"] == [one]
    assert [(each["uid"], each["path"]) for each in report["refused"]] == [(two, desk.get(two)["path"])]
    assert f"by operation {later}" in report["refused"][0]["why"]
    assert desk.get(two)["tags"] == ["a", "b"]


def test_an_asset_removed_since_is_refused_and_named(desk: Desk) -> None:
    """An undo would bring something back that nobody asked for, or end in a traceback."""
    uid = desk.register()
    edit = desk.tag(uid, add_tags=["a"])
    desk.registry.remove_asset(uid, delete_files=True)

    report = desk.registry.undo(edit)

    assert (report["operation"], report["undone"]) == (None, [])
    assert f"it was removed since, by operation {desk.last()}" in report["refused"][0]["why"]


def test_a_second_undo_of_the_same_changes_nothing(desk: Desk) -> None:
    """A double click would undo the undo, or write ten thousand sidecars again."""
    uid = desk.register(metadata={"tags": ["a"]})
    edit = desk.tag(uid, add_tags=["b"])
    first = desk.registry.undo(edit)
    before, position = state(desk.project), desk.registry.journal_position()

    second = desk.registry.undo(edit)

    assert (second["operation"], second["undone"]) == (None, [])
    assert f"undone already, by operation {first['operation']}" in second["refused"][0]["why"]
    assert (state(desk.project), desk.registry.journal_position()) == (before, position)


def test_an_undo_can_be_undone_again_and_again(desk: Desk) -> None:
    """Whoever takes back too much would have to type it in again."""
    uid = desk.register(metadata={"tags": ["a"]})
    number = desk.tag(uid, add_tags=["b"])

    seen = []
    for _ in range(4):
        report = desk.registry.undo(number)
        assert report["operation"] is not None
        number = report["operation"]
        seen.append(desk.get(uid)["tags"])

    assert seen == [["a"], ["a", "b"], ["a"], ["a", "b"]]


def test_several_edits_of_an_asset_in_one_operation_are_one_step(desk: Desk) -> None:
    """Only the last of them would be taken back."""
    uid = desk.register(metadata={"tags": ["a"]})
    number = desk.registry.new_operation()
    for name in ("b", "c"):
        desk.registry.bulk_update_tags([uid], add_tags=[name], operation=number)

    desk.registry.undo(number)

    assert desk.get(uid)["tags"] == ["a"]


def test_an_edit_between_two_edits_of_one_operation_is_not_lost(desk: Desk) -> None:
    """First before, last after: what another one wrote in between would vanish."""
    uid = desk.register(metadata={"tags": ["a"]})
    number = desk.registry.new_operation()
    desk.registry.bulk_update_tags([uid], add_tags=["b"], operation=number)
    desk.tag(uid, add_tags=["of somebody else"])
    desk.registry.bulk_update_tags([uid], add_tags=["c"], operation=number)

    report = desk.registry.undo(number)

    assert report["undone"] == []
    assert "in between" in report["refused"][0]["why"]
    assert desk.get(uid)["tags"] == ["a", "b", "of somebody else", "c"]


def test_numbers_and_truths_that_python_holds_equal_are_edits(desk: Desk) -> None:
    """1 and true are one value to Python and two in the sidecar: the edit would count as none."""
    uid = desk.register(metadata={"level": 1})
    desk.registry.update_asset_meta(uid, {"level": True})
    edit = desk.last()

    desk.registry.undo(edit)

    assert desk.get(uid)["meta"]["level"] is not True
    assert desk.registry.read_sidecar(uid)["meta"]["level"] == 1


def test_a_missing_asset_gets_its_tags_back_too(desk: Desk) -> None:
    """A drive that is not mounted would stop an undo."""
    uid = desk.register(metadata={"tags": ["a"]})
    edit = desk.tag(uid, add_tags=["b"])
    desk.path(uid).unlink()
    rebuild(desk.registry, allow_missing=True)

    report = desk.registry.undo(edit)

    assert report["undone"] == [uid]
    assert (desk.get(uid)["tags"], bool(desk.get(uid)["missing_since"])) == (["a"], True)


# -- hand edits -------------------------------------------------------------------------------------------


def test_a_hand_edit_of_other_fields_is_kept_by_an_undo(desk: Desk) -> None:
    """Notes that somebody typed into a sidecar this morning would be gone."""
    uid = desk.register(metadata={"tags": ["a"]})
    edit = desk.tag(uid, add_tags=["b"])
    desk.edit_sidecar(uid, tags=["a", "b", "by hand"], notes="mine")

    report = desk.registry.undo(edit)

    assert report["undone"] == [uid]
    assert desk.get(uid)["tags"] == ["a", "by hand"]
    assert desk.registry.read_sidecar(uid)["notes"] == "mine"


def test_a_hand_edit_of_just_that_field_is_refused(desk: Desk) -> None:
    """The licence that somebody put right by hand would fall back to the one before last."""
    uid = desk.register(license_tag="MIT")
    edit = desk.tag(uid, license_tag="CC0-1.0")
    desk.edit_sidecar(uid, license="CC-BY-4.0")
    before = state(desk.project)

    report = desk.registry.undo(edit)

    assert (report["operation"], report["undone"]) == (None, [])
    assert "edited by hand since: license" in report["refused"][0]["why"]
    assert state(desk.project) == before


def test_of_two_fields_the_one_edited_by_hand_stays_and_is_named(desk: Desk) -> None:
    """All or nothing would lose either the hand edit or the undo."""
    uid = desk.register(metadata={"tags": ["a"]}, license_tag="MIT")
    edit = desk.tag(uid, add_tags=["b"], license_tag="CC0-1.0")
    desk.edit_sidecar(uid, license="CC-BY-4.0")

    report = desk.registry.undo(edit)

    assert report["undone"] == [uid]
    assert [(each["uid"], each["event"]) for each in report["kept"]] == [(uid, "asset_meta_updated")]
    assert "license" in report["kept"][0]["why"]
    assert (desk.get(uid)["tags"], desk.get(uid)["license"]) == (["a"], "CC-BY-4.0")


def test_a_value_that_a_hand_edit_overruled_comes_back_by_undoing_that(desk: Desk) -> None:
    """ "The losing value can be seen and undone" would be half a promise."""
    uid = desk.register(license_tag="MIT")
    desk.edit_sidecar(uid, license="CC-BY-4.0")
    desk.tag(uid, license_tag="CC0-1.0")
    assert desk.get(uid)["license"] == "CC-BY-4.0"
    entry = next(each for each in desk.registry.history(uid) if "overruled" in (each["after"] or {}))

    desk.registry.undo(entry["operation"])

    assert entry["after"]["overruled"] == {"license": "CC0-1.0"}  # type: ignore[index]
    assert desk.get(uid)["license"] == "CC0-1.0"


def test_a_hand_edit_that_was_taken_in_can_be_undone(desk: Desk) -> None:
    """A search-and-replace over all sidecars gone wrong could not be taken back."""
    uid = desk.register(metadata={"tags": ["a"]})
    desk.edit_sidecar(uid, tags=["oops"])
    desk.registry.ensure_sidecar(uid)
    assert desk.get(uid)["tags"] == ["oops"]

    desk.registry.undo(desk.last())

    assert desk.get(uid)["tags"] == desk.registry.read_sidecar(uid)["tags"] == ["a"]


# -- registrations ----------------------------------------------------------------------------------------


def test_a_registration_is_undone_into_the_trash_and_comes_back_by_undoing_that(desk: Desk) -> None:
    """An ingest of the wrong folder would have to be picked out by hand."""
    uid = desk.register(metadata={"tags": ["a"]})
    before, files = desk.get(uid), state(desk.project)

    report = desk.registry.undo(desk.last())

    assert report["undone"] == [uid]
    assert desk.registry.get_asset(uid) is None
    assert state(desk.project) == {}
    assert report["operation"] is not None
    desk.registry.undo(report["operation"])
    desk.registry.wait_for_thumbnails()
    assert desk.get(uid) == before
    assert state(desk.project) == files


def test_undoing_the_registration_of_a_file_in_place_leaves_the_file(desk: Desk) -> None:
    """The artist's only copy would go to the trash because a program forgot it."""
    source = desk.project / "assets/characters/mara.png"
    source.parent.mkdir()
    source.write_bytes(desk.make_png().read_bytes())
    uid = desk.registry.register_file(source, "characters", copy_file=False)["uid"]
    desk.registry.wait_for_thumbnails()
    before = desk.get(uid)

    report = desk.registry.undo(desk.last())

    assert report["undone"] == [uid]
    assert state(desk.project) == {"characters/mara.png": desk.make_png().read_bytes()}
    assert report["operation"] is not None
    desk.registry.undo(report["operation"])
    desk.registry.wait_for_thumbnails()
    assert desk.get(uid) == before


@pytest.mark.parametrize("edit", ["tags", "sidecar", "broken sidecar", "content"])
def test_a_registration_that_somebody_worked_on_is_not_undone(desk: Desk, edit: str) -> None:
    """An afternoon of tagging would go to the trash with an old import."""
    uid = desk.register()
    number = desk.last()
    match edit:
        case "tags":
            desk.tag(uid, add_tags=["a"])
        case "sidecar":
            desk.edit_sidecar(uid, tags=["by hand"])
        case "broken sidecar":
            desk.sidecar(uid).write_text('{"tags": ["by hand"', "utf-8")
        case "content":
            desk.path(uid).write_bytes(desk.make_png("other.png", seed=9).read_bytes())
    before = state(desk.project)

    report = desk.registry.undo(number)

    assert (report["operation"], report["undone"]) == (None, [])
    assert "since" in report["refused"][0]["why"]
    assert state(desk.project) == before
    assert desk.registry.get_asset(uid) is not None


def test_a_registered_file_that_was_only_touched_or_moved_is_undone(desk: Desk) -> None:
    """A copy tool that sets new times would make an import permanent."""
    uid = desk.register()
    number = desk.last()
    desk.path(uid).touch()

    assert desk.registry.undo(number)["undone"] == [uid]
    assert desk.registry.get_asset(uid) is None


# -- removals ---------------------------------------------------------------------------------------------


def test_a_removal_of_several_is_undone_as_one(desk: Desk) -> None:
    """A removed chapter would have to be brought back picture by picture."""
    uids = [desk.register(f"{n}.png", n, metadata={"tags": [f"t{n}"]}) for n in range(1, 4)]
    before, files = [desk.get(uid) for uid in uids], state(desk.project)
    number = desk.registry.new_operation()
    for uid in uids:
        desk.registry.remove_asset(uid, delete_files=True, operation=number)

    report = desk.registry.undo(number)
    desk.registry.wait_for_thumbnails()

    assert report["undone"] == uids[::-1]
    assert [desk.get(uid) for uid in uids] == before
    assert state(desk.project) == files


def test_undoing_a_removal_twice_and_undoing_that_undo(desk: Desk) -> None:
    """Each step must find the files where the step before left them."""
    uid = desk.register()
    files = state(desk.project)
    desk.registry.remove_asset(uid, delete_files=True)
    removal = desk.last()

    back = desk.registry.undo(removal)
    again = desk.registry.undo(removal)
    assert back["operation"] is not None
    gone = desk.registry.undo(back["operation"])

    assert (again["operation"], again["undone"]) == (None, [])
    assert "undone already" in again["refused"][0]["why"]
    assert gone["undone"] == [uid]
    assert state(desk.project) == {}
    assert gone["operation"] is not None
    desk.registry.undo(gone["operation"])
    assert state(desk.project) == files


def test_an_older_removal_is_not_undone_in_place_of_the_newest(desk: Desk) -> None:
    """The tags of the first life would come back with the files of the second."""
    uid = desk.register(metadata={"tags": ["first"]})
    desk.registry.remove_asset(uid, delete_files=True)
    older = desk.last()
    desk.register(metadata={"tags": ["second"]})
    desk.registry.remove_asset(uid, delete_files=True)

    refused = desk.registry.undo(older)
    desk.registry.undo(desk.last())

    assert "came back and was removed since" in refused["refused"][0]["why"]
    assert desk.get(uid)["tags"] == ["second"]


def test_a_removal_whose_content_was_registered_again_is_refused(desk: Desk) -> None:
    """Two assets would have one uid."""
    uid = desk.register(metadata={"tags": ["old"]})
    desk.registry.remove_asset(uid, delete_files=True)
    removal = desk.last()
    desk.register(metadata={"tags": ["new"]})

    report = desk.registry.undo(removal)

    assert "registered again" in report["refused"][0]["why"]
    assert desk.get(uid)["tags"] == ["new"]


# -- what can't be undone ---------------------------------------------------------------------------------


def test_what_no_program_can_take_back_is_kept_and_named(desk: Desk) -> None:
    """One such row would make the undo of all the others fail."""
    uid, other = desk.register(metadata={"tags": ["a"]}), desk.register("other.png", 2)
    number = desk.registry.new_operation()
    desk.registry.register_file(desk.make_png(), "characters", metadata={"tags": ["b"]})
    again = desk.last()
    desk.registry.bulk_update_tags([other], add_tags=["c"], operation=again)
    rows = desk.registry.list_provenance(uid)

    report = desk.registry.undo(again)

    assert number < again
    assert report["undone"] == [other, uid]
    assert [(each["uid"], each["event"]) for each in report["kept"]] == [(uid, "asset_provenance_added")]
    assert "provenance" in report["kept"][0]["why"]
    assert desk.registry.list_provenance(uid) == rows
    assert desk.get(uid)["tags"] == ["a"]


def test_a_rebuild_that_found_moved_and_painted_files_has_nothing_to_undo(desk: Desk) -> None:
    """An undo would point the ledger at files that are not there."""
    uid = desk.register()
    desk.path(uid).write_bytes(desk.make_png("other.png", seed=9).read_bytes())
    rebuild(desk.registry)
    operations = [
        each["operation"] for each in desk.registry.operations() if "asset_content_changed" in each["events"]
    ]

    report = desk.registry.undo(operations[0])

    assert (report["operation"], report["undone"], report["refused"]) == (None, [], [])
    assert "asset_content_changed" in [each["event"] for each in report["kept"]]
    assert desk.get(uid)["version"] == 2


@pytest.mark.parametrize("number", [1, 0, -5, 2**80, "7", None])
def test_an_unknown_operation_is_named(desk: Desk, number: Any) -> None:
    """A mistyped number would look like a success."""
    desk.register()

    with pytest.raises(OperationNotFound, match=str(number)):
        desk.registry.undo(number)


def test_the_operation_of_another_project_is_unknown(
    open_registry: Callable[..., AssetRegistry], make_png: Callable[..., Path]
) -> None:
    """One game's undo would reach into the other one."""
    one, two = open_registry(project_id="one"), open_registry(project_id="two")
    one.register_file(make_png(), "characters")

    with pytest.raises(OperationNotFound):
        two.undo(one.operations()[0]["operation"])


# -- failures and races -----------------------------------------------------------------------------------


def test_one_asset_that_can_not_be_written_does_not_stop_the_others(desk: Desk) -> None:
    """A folder in the way of one sidecar would keep a thousand pictures wrong."""
    uids = [desk.register(f"{n}.png", n) for n in (1, 2, 3)]
    edit = desk.tag(*uids, add_tags=["wrong"])
    blocked = desk.project / "assets/characters/2.png.asset.json"
    blocked.unlink()
    (blocked / "in the way").mkdir(parents=True)

    report = desk.registry.undo(edit)

    assert sorted(report["undone"]) == sorted([uids[2], uids[0]])
    assert [each["uid"] for each in report["refused"]] == [uids[1]]
    assert [desk.get(uid)["tags"] for uid in uids] == [[], ["wrong"], []]
    mirror = json.loads((desk.project / "assets/_meta/characters/2.json").read_text("utf-8"))
    assert mirror["tags"] == ["wrong"]


def test_of_two_undos_at_once_one_does_it(
    open_registry: Callable[..., AssetRegistry], make_png: Callable[..., Path], project: Path
) -> None:
    """Both would, and the second would undo the first or lose its own rows."""
    registries = [open_registry(), open_registry()]
    desk = Desk(registries[0], make_png, project)
    uids = [desk.register(f"{n}.png", n, metadata={"tags": ["a"]}) for n in range(1, 21)]
    edit = desk.tag(*uids, add_tags=["b"])
    reports: list[Any] = []

    run_all(*[lambda registry=registry: reports.append(registry.undo(edit)) for registry in registries])

    assert sorted(len(report["undone"]) for report in reports) == [0, 20]
    assert sorted(len(report["refused"]) for report in reports) == [0, 20]
    assert [desk.get(uid)["tags"] for uid in uids] == [["a"]] * 20


def test_an_undo_while_others_edit_loses_no_edit(
    open_registry: Callable[..., AssetRegistry], make_png: Callable[..., Path], project: Path
) -> None:
    """What is decided before the lock is taken is decided on yesterday's tags."""
    ours, theirs = open_registry(), open_registry()
    desk = Desk(ours, make_png, project)
    uids = [desk.register(f"{n}.png", n, metadata={"tags": ["a"]}) for n in range(1, 21)]
    edit = desk.tag(*uids, add_tags=["b"])

    def add() -> None:
        for uid in uids:
            theirs.bulk_update_tags([uid], add_tags=["c"])

    run_all(lambda: ours.undo(edit), add)

    for uid in uids:
        tags = desk.get(uid)["tags"]
        assert tags in (["a", "c"], ["a", "b", "c"])
        assert ours.read_sidecar(uid)["tags"] == tags


def test_a_journal_that_older_rows_lack_things_in_is_no_trap(desk: Desk) -> None:
    """A library of last month would be one that can't be undone at all."""
    uid = desk.register(metadata={"tags": ["a"]})
    edit = desk.tag(uid, add_tags=["b"])
    with closing(sqlite3.connect(desk.registry.db_path)) as connection:
        connection.execute(
            "UPDATE asset_journal SET before_json = json_remove(before_json, '$.extra'), "
            "after_json = json_remove(after_json, '$.extra') WHERE operation_id = ?",
            (edit,),
        )
        connection.commit()

    assert desk.registry.undo(edit)["undone"] == [uid]
    assert desk.get(uid)["tags"] == ["a"]


def test_an_operation_that_edits_and_removes_is_taken_back_whole(desk: Desk) -> None:
    """The asset would come back with the tags that were to be undone."""
    uid = desk.register("1.png", 1, metadata={"tags": ["a"], "license": "L"})
    operation = desk.registry.new_operation()
    desk.registry.bulk_update_tags([uid], add_tags=["b"], license_tag="X", operation=operation)
    desk.registry.remove_asset(uid, delete_files=True, operation=operation)

    report = desk.registry.undo(operation)
    there = desk.get(uid)
    again = desk.registry.undo(report["operation"])

    assert (report["undone"], report["refused"]) == ([uid], [])
    assert (there["tags"], there["license"]) == (["a"], "L")
    assert (again["undone"], again["refused"]) == ([uid], [])
    assert desk.registry.get_asset(uid) is None


REBUILD_AND_DIE = """
import os
from comfyvn.registry.rebuild import rebuild
from comfyvn.studio.core import AssetRegistry
from comfyvn.studio.core.registration import Registrar
Registrar._record_batch = lambda *arguments: os._exit(9)
with AssetRegistry() as registry:
    rebuild(registry)
"""


@dataclass(frozen=True)
class Removed:
    """An asset with much written of it whose file was left, and the operation that removed it."""

    uid: str
    operation: int
    facts: tuple[Any, ...]
    file: Path


def said(record: AssetRecord) -> tuple[Any, ...]:
    return record["tags"], record["license"], record["meta"].get("note")


@pytest.fixture(params=["moved by hand", "left in place"])
def removed(request: pytest.FixtureRequest, desk: Desk) -> Removed:
    uid = desk.register(metadata={"tags": ["a", "b"], "note": "mine"}, license_tag="CC0-1.0")
    facts, file = said(desk.get(uid)), desk.path(uid)
    is_moved = request.param == "moved by hand"
    if is_moved:
        file = file.rename(file.with_name("elsewhere.png"))
    operation = desk.registry.new_operation()
    desk.registry.remove_asset(uid, delete_files=is_moved, operation=operation)
    return Removed(uid, operation, facts, file)


def test_a_removal_undone_while_its_file_comes_in_anew_loses_no_facts(
    desk: Desk, removed: Removed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new sidecar of the file was taken for a hand edit that deleted tags, licence and note."""
    record = Registrar._record_batch
    reports: list[Any] = []

    def undo_and_record(self: Registrar, batch: Any) -> Any:
        if batch.admitted and not reports:
            with AssetRegistry() as other:
                reports.append(other.undo(removed.operation))
        return record(self, batch)

    monkeypatch.setattr(Registrar, "_record_batch", undo_and_record)
    rebuild(desk.registry)
    monkeypatch.undo()
    rebuild(desk.registry)

    assert [report["undone"] for report in reports] == [[removed.uid]]
    assert said(desk.get(removed.uid)) == removed.facts
    assert (desk.path(removed.uid), desk.registry.count_assets()) == (removed.file, 1)
    assert len([*removed.file.parent.glob("*.asset.json")]) == 1


def test_the_sidecar_of_a_killed_registration_deletes_no_facts_of_a_removal_undone(
    desk: Desk, removed: Removed
) -> None:
    """Killed before it recorded the file, a watch left a sidecar that says nothing; tags and licence went."""
    command = [sys.executable, "-c", REBUILD_AND_DIE]
    assert subprocess.run(command, cwd=desk.project, timeout=60, check=False).returncode == 9
    left = json.loads(removed.file.with_name(f"{removed.file.name}.asset.json").read_text("utf-8"))

    desk.registry.undo(removed.operation)
    rebuild(desk.registry)

    assert left["tags"] == []
    assert said(desk.get(removed.uid)) == removed.facts
    assert desk.path(removed.uid) == removed.file


def test_a_hand_edit_of_a_sidecar_that_gives_way_is_kept(
    desk: Desk, removed: Removed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would go with the sidecar of the newcomer, which is taken away."""
    record = Registrar._record_batch
    done: list[Any] = []

    def edit_undo_and_record(self: Registrar, batch: Any) -> Any:
        if batch.admitted and not done:
            beside = removed.file.with_name(f"{removed.file.name}.asset.json")
            payload = json.loads(beside.read_text("utf-8"))
            beside.write_text(json.dumps({**payload, "tags": ["by hand"]}), "utf-8")
            with AssetRegistry() as other:
                done.append(other.undo(removed.operation))
        return record(self, batch)

    monkeypatch.setattr(Registrar, "_record_batch", edit_undo_and_record)
    rebuild(desk.registry)

    tags, *others = said(desk.get(removed.uid))
    assert sorted(tags) == ["a", "b", "by hand"]
    assert others == list(removed.facts[1:])
