"""Purge and restore: what is forgotten can be found again, whatever happened to its place meanwhile."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comfyvn.errors import AssetNotFound, RestoreRefused
from comfyvn.registry.rebuild import rebuild
from comfyvn.studio.core import AssetRecord, AssetRegistry
from comfyvn.studio.core.history import History

# Runs one call of a registry and dies without warning at a chosen moment of it: nothing is tidied up.
DIE_AT = """
import os, signal, sys
from comfyvn.db import Writer
from comfyvn.storage import local
from comfyvn.studio.core import AssetRegistry
call, uid, moment = sys.argv[1:]
moves = 0

def die(*arguments, **named):
    os.kill(os.getpid(), signal.SIGKILL)

def counted(place, original):
    def move(*arguments):
        global moves
        moves += 1
        original(*arguments)
        if moves == int(moment.partition(" ")[2]):
            die()
    return move

registry = AssetRegistry()
if moment == "before commit":
    Writer.record = die
elif call == "restore":
    local.move_exclusive = counted("restore", local.move_exclusive)
else:
    from pathlib import Path
    replace = Path.replace
    Path.replace = counted("remove", replace)
if call == "restore":
    registry.restore_asset(uid)
else:
    registry.remove_asset(uid, delete_files=True)
"""


def die_at(call: str, uid: str, moment: str) -> None:
    """Restore or remove an asset in a process that is killed at that moment."""
    process = subprocess.run([sys.executable, "-c", DIE_AT, call, uid, moment], timeout=60, check=False)
    assert process.returncode == -signal.SIGKILL


def register(registry: AssetRegistry, source: Path, **arguments: Any) -> AssetRecord:
    """Register a picture and return its record once the preview is made."""
    uid = registry.register_file(source, "characters", **arguments)["uid"]
    registry.wait_for_thumbnails()
    record = registry.get_asset(uid)
    assert record is not None
    return record


def again(registry: AssetRegistry, uid: str) -> AssetRecord:
    """Return a record once its preview is made."""
    registry.wait_for_thumbnails()
    record = registry.get_asset(uid)
    assert record is not None
    return record


def state(project: Path) -> dict[str, bytes]:
    """Return every file of the library but staging, trash and the ledger."""
    assets = project / "assets"
    return {
        path.relative_to(assets).as_posix(): path.read_bytes()
        for path in assets.rglob("*")
        if path.is_file() and ".comfyvn" not in path.parts
    }


def trash(project: Path) -> list[Path]:
    folder = project / "assets/.comfyvn/trash"
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


# -- restore ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delete_files", [True, False])
def test_a_restored_asset_is_all_that_it_was(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path], delete_files: bool
) -> None:
    """A restore that forgets the licence or the provenance is no restore."""
    meta = {"tags": ["mara"], "license": "CC-BY-4.0", "origin": "studio", "artist": "J. Doe"}
    before = register(registry, make_png(), metadata=meta, provenance={"source": "comfyui", "seed": 7})
    uid, files = before["uid"], state(project)
    rows = registry.list_provenance(uid)
    registry.remove_asset(uid, delete_files=delete_files)

    answer = registry.restore_asset(uid)

    assert again(registry, uid) == before
    assert (answer["uid"], answer["id"], answer["path"]) == (uid, before["id"], before["path"])
    assert state(project) == files
    assert registry.list_provenance(uid) == rows
    assert registry.resolve_thumbnail_path(uid) is not None
    assert [each["uid"] for each in registry.list_assets(tags=["mara"], text="j. doe")] == [uid]
    assert trash(project) == []


def test_a_restored_asset_brings_its_versions_back(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """The content of last week would be taken for a new picture."""
    first = make_png()
    before = register(registry, first)
    uid = before["uid"]
    (project / "assets" / before["path"]).write_bytes(make_png("other.png", seed=9).read_bytes())
    rebuild(registry)
    before, sidecar = again(registry, uid), registry.read_sidecar(uid)
    registry.remove_asset(uid, delete_files=True)

    registry.restore_asset(uid)

    assert again(registry, uid) == before
    assert before["version"] == 2
    assert registry.read_sidecar(uid) == sidecar
    assert [each["version"] for each in sidecar["versions"]] == [2, 1]
    assert registry.register_file(first, "characters")["uid"] == uid


def test_hooks_hear_that_an_asset_came_back(registry: AssetRegistry, make_png: Callable[..., Path]) -> None:
    """A gallery would not show what was brought back."""
    before = register(registry, make_png())
    heard: list[dict[str, Any]] = []
    registry.remove_asset(before["uid"], delete_files=True)
    registry.add_hook("asset_registered", heard.append)

    registry.restore_asset(before["uid"])

    assert [(each["uid"], each["path"]) for each in heard] == [(before["uid"], before["path"])]
    assert registry.history(before["uid"])[1]["event"] == "asset_restored"


def test_an_asset_whose_name_is_taken_comes_back_beside_it(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """The newer picture of that name would be overwritten."""
    before = register(registry, make_png(), metadata={"tags": ["old"]})
    uid, stored = before["uid"], (project / "assets" / before["path"]).read_bytes()
    registry.remove_asset(uid, delete_files=True)
    newer = register(registry, make_png("mara.png", seed=2), metadata={"tags": ["new"]})
    newer_files = state(project)
    assert newer["path"] == before["path"]

    back = registry.restore_asset(uid)

    assert back["path"] == f"characters/mara-{uid[:8]}.png"
    assert (project / "assets" / back["path"]).read_bytes() == stored
    assert registry.read_sidecar(uid)["tags"] == ["old"]
    assert registry.read_sidecar(uid)["path"] == back["path"]
    assert newer_files.items() <= state(project).items()
    report = rebuild(registry)
    assert (report.conflicts, report.missing, report.registered) == ([], [], [])


@pytest.mark.parametrize("in_the_way", ["a file", "a folder", "a link", "a sidecar of another"])
def test_nothing_that_lies_in_the_way_is_replaced(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path], in_the_way: str
) -> None:
    """A file that nobody registered yet is somebody's file all the same."""
    before = register(registry, make_png())
    registry.remove_asset(before["uid"], delete_files=True)
    place = project / "assets" / before["path"]
    match in_the_way:
        case "a file":
            place.write_bytes(b"unregistered")
        case "a folder":
            place.mkdir()
        case "a link":
            place.symlink_to("nowhere.png")
        case _:
            (project / "assets" / before["sidecar"]).write_text('{"uid": "feedfeedfeedfeed"}', "utf-8")
    found = state(project)

    back = registry.restore_asset(before["uid"])

    assert back["path"] == f"characters/mara-{before['uid'][:8]}.png"
    assert found.items() <= state(project).items()
    assert (project / "assets" / back["path"]).is_file()


def test_a_hand_edit_that_went_to_the_trash_comes_back(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """What somebody typed in just before the removal would be overwritten with the ledger's words."""
    before = register(registry, make_png(), metadata={"tags": ["a"]}, license_tag="MIT")
    path = project / "assets" / before["sidecar"]
    edited = {**json.loads(path.read_text("utf-8")), "tags": ["a", "by hand"], "notes": "mine"}
    path.write_text(json.dumps(edited), "utf-8")
    registry.remove_asset(before["uid"], delete_files=True)

    back = registry.restore_asset(before["uid"])

    assert (back["tags"], back["license"]) == (["a", "by hand"], "MIT")
    assert registry.read_sidecar(before["uid"])["notes"] == "mine"


def test_a_broken_sidecar_that_went_to_the_trash_is_kept_beside_the_new_one(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Notes with a comma too many are still notes."""
    before = register(registry, make_png(), metadata={"tags": ["a"]})
    path = project / "assets" / before["sidecar"]
    path.write_text('{"tags": ["by hand"]', "utf-8")
    registry.remove_asset(before["uid"], delete_files=True)

    back = registry.restore_asset(before["uid"])

    assert back["tags"] == registry.read_sidecar(before["uid"])["tags"] == ["a"]
    assert path.with_name(f"{path.name}.broken").read_text("utf-8") == '{"tags": ["by hand"]'


def test_a_file_in_place_that_was_left_is_adopted_again(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """The artist's file would be written to, or doubled."""
    source = project / "assets/characters/mara.png"
    source.parent.mkdir()
    source.write_bytes(make_png().read_bytes())
    uid = registry.register_file(source, "characters", copy_file=False, metadata={"tags": ["a"]})["uid"]
    before, files = again(registry, uid), state(project)
    registry.remove_asset(uid)

    registry.restore_asset(uid)

    assert again(registry, uid) == before
    assert state(project) == files
    registry.remove_asset(uid)
    assert source.read_bytes() == make_png().read_bytes()


@pytest.mark.parametrize("happened", ["repainted", "deleted", "registered again under another uid"])
def test_a_file_that_was_left_and_is_not_what_it_was_is_refused(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path], happened: str
) -> None:
    """Old tags and an old licence would be put onto another picture."""
    before = register(registry, make_png(), metadata={"tags": ["old"]})
    uid, place = before["uid"], project / "assets" / before["path"]
    if happened == "registered again under another uid":  # its uid is that of its first content
        place.write_bytes(make_png("other.png", seed=9).read_bytes())
        rebuild(registry)
    registry.remove_asset(uid)
    match happened:
        case "repainted":
            place.write_bytes(make_png("other.png", seed=9).read_bytes())
        case "deleted":
            place.unlink()
        case _:
            assert registry.register_file(place, "characters", copy_file=False)["uid"] != uid
    files = state(project)

    with pytest.raises(RestoreRefused, match=r"mara\.png: .* its file was left where it is"):
        registry.restore_asset(uid)

    assert registry.get_asset(uid) is None
    assert state(project) == files


def test_a_file_that_is_gone_from_the_trash_is_named(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A record without its picture would look like a success."""
    before = register(registry, make_png())
    registry.remove_asset(before["uid"], delete_files=True)
    for path in trash(project):
        path.unlink()

    with pytest.raises(RestoreRefused, match="gone from the trash"):
        registry.restore_asset(before["uid"])

    assert registry.get_asset(before["uid"]) is None


def test_a_file_that_somebody_put_back_by_hand_is_adopted(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Whoever moved the file out of the trash first would be told that it is lost."""
    before = register(registry, make_png(), metadata={"tags": ["a"]})
    registry.remove_asset(before["uid"], delete_files=True)
    moved = next(path for path in trash(project) if path.name == "mara.png")
    moved.rename(project / "assets" / before["path"])

    back = registry.restore_asset(before["uid"])

    assert (back["path"], back["tags"], back["id"]) == (before["path"], ["a"], before["id"])


def test_a_link_in_the_trash_is_not_followed(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path], tmp_path: Path
) -> None:
    """A file from outside the library would be moved into it."""
    before = register(registry, make_png())
    registry.remove_asset(before["uid"], delete_files=True)
    folder = next(path for path in trash(project) if path.name == "mara.png").parent
    elsewhere = tmp_path / "elsewhere"
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)

    with pytest.raises(RestoreRefused):
        registry.restore_asset(before["uid"])

    assert sorted(path.name for path in elsewhere.iterdir()) == ["mara.png", "mara.png.asset.json"]


def test_what_is_registered_or_was_never_removed_can_not_be_restored(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A second click would make a second asset."""
    uid = register(registry, make_png())["uid"]

    with pytest.raises(RestoreRefused, match="it is registered"):
        registry.restore_asset(uid)
    with pytest.raises(AssetNotFound):
        registry.restore_asset("feedfeedfeedfeed")
    assert registry.count_assets() == 1


def test_content_registered_again_since_is_not_doubled(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """One uid would stand for two assets, or the tags of the first be out of reach for ever."""
    uid = register(registry, make_png(), metadata={"tags": ["old"], "license": "L", "artist": "a"})["uid"]
    registry.remove_asset(uid, delete_files=True)
    register(registry, make_png(), metadata={"tags": ["new"], "artist": "b"})

    registry.restore_asset(uid)
    with pytest.raises(RestoreRefused, match="it is registered, and has all"):
        registry.restore_asset(uid)

    (record,) = registry.list_assets()
    assert (record["tags"], record["license"], record["meta"]["artist"]) == (["old", "new"], "L", "b")
    assert registry.read_sidecar(uid)["tags"] == ["old", "new"]


def test_of_several_removals_the_last_counts(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """The tags of the year before last would come back."""
    for tag in ("first", "second"):
        uid = register(registry, make_png(), metadata={"tags": [tag]})["uid"]
        registry.remove_asset(uid, delete_files=True)

    assert registry.restore_asset(uid)["tags"] == ["second"]
    assert len(trash(project)) == 2


def test_lower_limits_do_not_keep_an_asset_in_the_trash(
    open_registry: Callable[..., AssetRegistry],
    make_png: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A setting that somebody tightened would turn old pictures into lost ones."""
    first = open_registry()
    uid = register(first, make_png(), metadata={"tags": [str(n) for n in range(20)]})["uid"]
    first.remove_asset(uid, delete_files=True)
    monkeypatch.setenv("COMFYVN_TAGS_PER_ASSET", "5")

    back = open_registry().restore_asset(uid)

    assert len(back["tags"]) == 20


# -- killed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["move 1", "move 2", "before commit"])
def test_a_restore_that_is_killed_can_be_done_again(
    project: Path, open_registry: Callable[..., AssetRegistry], make_png: Callable[..., Path], moment: str
) -> None:
    """The file would lie in neither place where anybody looks, or come back without its tags."""
    first = open_registry()
    before = register(first, make_png(), metadata={"tags": ["a"]}, license_tag="MIT")
    first.remove_asset(before["uid"], delete_files=True)
    first.close()
    die_at("restore", before["uid"], moment)

    back = open_registry().restore_asset(before["uid"])

    same = ("id", "uid", "path", "hash", "tags", "license", "created_at")
    assert [back[name] for name in same] == [before[name] for name in same]  # type: ignore[literal-required]
    assert trash(project) == []


@pytest.mark.parametrize("moment", ["move 2", "before commit"])
def test_a_rebuild_adopts_what_a_killed_restore_left(
    open_registry: Callable[..., AssetRegistry], make_png: Callable[..., Path], moment: str
) -> None:
    """Whoever does not know that a restore was under way would find a picture without its licence."""
    first = open_registry()
    before = register(first, make_png(), metadata={"tags": ["a"]}, license_tag="MIT")
    first.remove_asset(before["uid"], delete_files=True)
    first.close()
    die_at("restore", before["uid"], moment)
    second = open_registry()

    rebuild(second)

    after = again(second, before["uid"])
    assert (after["tags"], after["license"], after["path"]) == (["a"], "MIT", before["path"])
    assert [row["source"] for row in second.list_provenance(before["uid"])].count("unspecified") >= 1


@pytest.mark.parametrize("moment", ["move 1", "move 2", "before commit"])
def test_a_removal_that_is_killed_is_taken_back(
    project: Path, open_registry: Callable[..., AssetRegistry], make_png: Callable[..., Path], moment: str
) -> None:
    """The asset would be missing for ever, with its file in a trash that no removal knows of."""
    first = open_registry()
    before, files = register(first, make_png(), metadata={"tags": ["a"]}), state(project)
    first.close()
    die_at("remove", before["uid"], moment)
    second = open_registry()
    assert not (project / "assets" / before["path"]).exists()

    is_back = History(second.library).recover_trash(before["uid"])

    assert is_back is True
    assert again(second, before["uid"]) == before
    assert state(project) == files
    assert History(second.library).recover_trash(before["uid"]) is False


def test_a_removal_that_was_recorded_is_not_taken_back(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """What somebody removed on purpose would haunt the library."""
    before = register(registry, make_png())
    registry.remove_asset(before["uid"], delete_files=True)
    register(registry, make_png())
    (project / "assets" / before["path"]).unlink()

    is_back = History(registry.library).recover_trash(before["uid"])

    assert is_back is False
    assert not (project / "assets" / before["path"]).exists()
    assert len(trash(project)) == 2


# -- purge ------------------------------------------------------------------------------------------------


def lose(registry: AssetRegistry, project: Path, *records: AssetRecord) -> None:
    """Delete files of assets behind the registry's back, and have that noticed."""
    for record in records:
        (project / "assets" / record["path"]).unlink()
    rebuild(registry, allow_missing=True)


def test_a_purge_forgets_what_is_missing_and_nothing_else(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """The list would fill up with things that are gone; or lose some that are not."""
    there = register(registry, make_png("there.png", seed=1))
    gone = register(registry, make_png("gone.png", seed=2), metadata={"tags": ["a"]})
    lose(registry, project, gone)
    heard: list[dict[str, Any]] = []
    registry.add_hook("asset_removed", heard.append)

    assert [each["uid"] for each in registry.iter_missing()] == [gone["uid"]]
    report = registry.purge()

    assert report["purged"] == [gone["uid"]]
    assert (report["refused"], report["unknown"]) == ([], [])
    assert [each["uid"] for each in registry.list_assets()] == [there["uid"]]
    assert not (project / "assets" / gone["sidecar"]).exists()
    assert not (project / "assets/_meta/characters/gone.json").exists()
    assert [path.name for path in trash(project)] == ["gone.png.asset.json"]
    assert [each["uid"] for each in heard] == [gone["uid"]]
    newest = registry.history(gone["uid"], limit=1)[0]
    assert newest["after"] is not None
    assert (newest["event"], newest["after"]["was_missing"]) == ("asset_removed", True)
    assert list(registry.iter_missing()) == []
    assert registry.purge() == {"operation": None, "purged": [], "refused": [], "unknown": []}


def test_a_purge_refuses_what_is_there_or_was_never_looked_for(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A mistyped uid would cost a picture; an unplugged drive the whole library."""
    there = register(registry, make_png("there.png", seed=1))
    unnoticed = register(registry, make_png("unnoticed.png", seed=2))
    back = register(registry, make_png("back.png", seed=3))
    stored = (project / "assets" / back["path"]).read_bytes()
    lose(registry, project, back)
    (project / "assets" / back["path"]).write_bytes(stored)
    (project / "assets" / unnoticed["path"]).unlink()
    uids = [there["uid"], unnoticed["uid"], back["uid"]]

    report = registry.purge([*uids, "feedfeedfeedfeed"])

    whys = {each["uid"]: each["why"] for each in report["refused"]}
    assert (report["operation"], report["purged"]) == (None, [])
    assert report["unknown"] == ["feedfeedfeedfeed"]
    assert "its file is there" in whys[there["uid"]]
    assert "not marked missing" in whys[unnoticed["uid"]]
    assert "its file is there" in whys[back["uid"]]
    assert registry.count_assets() == 3


@pytest.mark.parametrize("how", ["undo", "restore"])
def test_a_purge_is_taken_back_and_the_asset_is_missing_as_before(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path], how: str
) -> None:
    """The drive turns up in a drawer, and all that was known of its files is forgotten."""
    records = [register(registry, make_png(f"{n}.png", seed=n), metadata={"tags": ["a"]}) for n in (1, 2)]
    stored = {record["uid"]: (project / "assets" / record["path"]).read_bytes() for record in records}
    lose(registry, project, *records)
    before = [again(registry, record["uid"]) for record in records]
    report = registry.purge(record["uid"] for record in records)

    if how == "undo":
        assert report["operation"] is not None
        registry.undo(report["operation"])
    else:
        for record in records:
            registry.restore_asset(record["uid"])

    after = [again(registry, record["uid"]) for record in records]
    same = ("id", "uid", "path", "tags", "missing_since", "created_at", "provenance")
    for name in same:
        assert [each[name] for each in after] == [each[name] for each in before]  # type: ignore[literal-required]
    for record in records:
        (project / "assets" / record["path"]).write_bytes(stored[record["uid"]])
    rebuild(registry)
    assert [again(registry, each["uid"])["missing_since"] for each in records] == [None, None]
    assert all(registry.resolve_thumbnail_path(each["uid"]) for each in records)


def test_a_purged_asset_whose_file_came_back_is_restored_with_it(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """It would come back missing beside its own file."""
    gone = register(registry, make_png(), metadata={"tags": ["a"]})
    stored = (project / "assets" / gone["path"]).read_bytes()
    lose(registry, project, gone)
    registry.purge()
    (project / "assets" / gone["path"]).write_bytes(stored)

    back = registry.restore_asset(gone["uid"])

    assert (back["path"], back["missing_since"], back["tags"]) == (gone["path"], None, ["a"])


def test_a_purged_asset_whose_place_another_one_has_comes_back_beside_it(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Two assets would have one file, and the next rebuild would give the one the other's content."""
    gone = register(registry, make_png(), metadata={"tags": ["a"]})
    lose(registry, project, gone)
    registry.purge()
    newer = register(registry, make_png("mara.png", seed=2))
    assert newer["path"] == gone["path"]

    back = registry.restore_asset(gone["uid"])

    assert back["path"] == f"characters/mara-{gone['uid'][:8]}.png"
    assert back["missing_since"] is not None
    assert registry.get_asset(newer["uid"])["path"] == gone["path"]  # type: ignore[index]


def test_a_purge_of_hundreds_is_one_operation(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A lost folder would be two undos, or one that stops in the middle."""
    items = [{"source_path": make_png(f"{n}.png", seed=n), "asset_type": "x"} for n in range(300)]
    uids = [each["asset"]["uid"] for each in registry.register_many(items) if each["asset"]]
    registry.wait_for_thumbnails()
    for path in (project / "assets/x").glob("*.png"):
        path.unlink()
    rebuild(registry, allow_missing=True)

    report = registry.purge()

    assert sorted(report["purged"]) == sorted(uids)
    assert registry.count_assets() == 0
    assert report["operation"] is not None
    assert sorted(registry.undo(report["operation"])["undone"]) == sorted(uids)
    assert registry.count_assets() == 300


def test_what_an_old_removal_left_in_the_trash_is_not_taken_for_a_file_that_moved(
    registry: AssetRegistry, make_png: Callable[..., Path], project: Path
) -> None:
    """A rename would bring the old content back, and make the newest work a copy that belongs to nobody."""
    record = register(registry, make_png())
    path = registry.ASSETS_ROOT / record["path"]
    planted = registry.ASSETS_ROOT / ".comfyvn/trash" / f"2025-01-01_000000-{record['uid']}-7"
    (planted / record["path"]).parent.mkdir(parents=True)
    shutil.copy(path, planted / record["path"])
    path.write_bytes(make_png("new.png", seed=5).read_bytes())
    rebuild(registry)
    path.rename(path.with_name("hero.png"))

    report = rebuild(registry)

    assert (report.recovered, report.content_changed) == ([], [])
    assert [each["path"] for each in report.moved] == [f"{record['type']}/hero.png"]


@pytest.mark.parametrize("number", ["9" * 20, "x", ""])
def test_folders_that_others_put_into_the_trash_do_no_harm(
    number: str, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A rebuild would end in a traceback."""
    record = register(registry, make_png())
    (registry.ASSETS_ROOT / record["path"]).unlink()
    name = f"2025-01-01_000000-{record['uid']}-{number}"
    (registry.ASSETS_ROOT / ".comfyvn/trash" / name).mkdir(parents=True)

    report = rebuild(registry)

    assert [each["uid"] for each in report.missing] == [record["uid"]]


def test_a_removal_leaves_the_sidecar_of_another_asset_where_it_is(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """It would go to the trash with its hand edits, and the removal could never be undone."""
    red = register(registry, make_png("red.png", seed=1))
    green = register(registry, make_png("green.png", seed=2))
    stray = registry.ASSETS_ROOT / green["sidecar"]
    stray = stray.replace(registry.ASSETS_ROOT / red["sidecar"])

    registry.remove_asset(red["uid"], delete_files=True)
    left = json.loads(stray.read_text("utf-8"))
    stray.replace(registry.ASSETS_ROOT / green["sidecar"])
    back = registry.restore_asset(red["uid"])

    assert left["uid"] == green["uid"]
    assert back["path"] == red["path"]
    assert registry.read_sidecar(red["uid"])["uid"] == red["uid"]
