"""Removing: what goes, what stays, and what never comes back to another asset."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from comfyvn.errors import InvalidFilter
from comfyvn.studio.core import AssetRegistry
from support import check_library


def rows(query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect("comfyvn/data/comfyvn.db")) as connection:
        return connection.execute(query).fetchall()


def trashed(project: Path) -> dict[str, bytes]:
    """Return what lies in the library's trash, by its key."""
    trash = project / "assets/.comfyvn/trash"
    return {
        "/".join(path.relative_to(trash).parts[1:]): path.read_bytes()
        for path in trash.rglob("*")
        if path.is_file()
    }


def test_a_removed_asset_is_gone_but_its_file_stays(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Forgetting an asset would delete somebody's picture."""
    info = registry.register_file(make_png(), "characters", metadata={"tags": ["mara"]})
    registry.wait_for_thumbnails()
    stored = (project / "assets" / info["path"]).read_bytes()

    removed = registry.remove_asset(info["uid"])

    assert removed is True
    assert registry.get_asset(info["uid"]) is None
    assert registry.list_assets() == registry.list_assets(tags=["mara"]) == []
    assert (project / "assets" / info["path"]).read_bytes() == stored
    assert not (project / "assets" / info["sidecar"]).exists()
    assert not (project / "assets/_meta/characters/mara.json").exists()
    assert [path.name for path in (project / "cache/thumbs").glob(f"*{info['uid']}*")] == []
    assert registry.remove_asset(info["uid"]) is False


def test_deleted_files_lie_in_the_trash(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A mistaken click could not be taken back."""
    info = registry.register_file(make_png(), "characters", metadata={"tags": ["mara"]})
    stored = (project / "assets" / info["path"]).read_bytes()
    sidecar = (project / "assets" / info["sidecar"]).read_bytes()

    registry.remove_asset(info["uid"], delete_files=True)

    assert not (project / "assets" / info["path"]).exists()
    assert trashed(project) == {info["path"]: stored, info["sidecar"]: sidecar}


def test_the_trash_keeps_every_removal_apart(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """The second removal of a name would overwrite the first in the trash."""
    for seed in (1, 2):
        info = registry.register_file(make_png(seed=seed), "characters")
        assert info["path"] == "characters/mara.png"
        registry.remove_asset(info["uid"], delete_files=True)

    kept = list((project / "assets/.comfyvn/trash").rglob("mara.png"))
    assert len({path.read_bytes() for path in kept}) == 2


def test_a_hand_edited_sidecar_goes_to_the_trash_as_it_is(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """What somebody wrote last would be lost with the asset."""
    info = registry.register_file(make_png(), "characters")
    (project / "assets" / info["sidecar"]).write_text("my notes", "utf-8")

    registry.remove_asset(info["uid"])

    assert trashed(project) == {info["sidecar"]: b"my notes"}


def test_provenance_rows_stay_and_carry_the_uid(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Nobody could tell any more where a published picture came from."""
    info = registry.register_file(make_png(), "characters", provenance={"source": "comfyui", "seed": 1})
    before = registry.list_provenance(info["uid"])

    registry.remove_asset(info["uid"], delete_files=True)

    assert registry.list_provenance(info["uid"]) == before
    assert before[0]["source"] == "comfyui"
    assert rows("SELECT asset_uid, source FROM provenance") == [(info["uid"], "comfyui")]


def test_ids_are_never_given_to_another_asset(registry: AssetRegistry, make_png: Callable[..., Path]) -> None:
    """A new asset inherited the provenance of a removed one."""
    seen: set[int] = set()
    for seed in range(5):
        info = registry.register_file(make_png(seed=seed), "characters", provenance={"source": f"s{seed}"})
        row = info["provenance"]
        assert row is not None
        assert info["id"] not in seen
        assert row["id"] not in seen
        assert rows(f"SELECT source FROM provenance WHERE asset_id = {info['id']}") == [(f"s{seed}",)]
        seen.update((info["id"], row["id"]))
        registry.remove_asset(info["uid"], delete_files=seed % 2 == 0)


def test_ids_are_not_reused_by_another_program_either(
    open_registry: Callable[..., AssetRegistry], make_png: Callable[..., Path]
) -> None:
    """Ids would start again with each opening."""
    first = open_registry()
    old = first.register_file(make_png(seed=1), "characters")
    first.remove_asset(old["uid"], delete_files=True)
    first.close()

    new = open_registry().register_file(make_png(seed=2), "characters")

    assert new["id"] > old["id"]
    assert new["provenance"]["id"] > old["provenance"]["id"]  # type: ignore[index]


@pytest.mark.parametrize("delete_files", [False, True])
def test_removed_content_can_be_registered_again_as_a_new_asset(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path], delete_files: bool
) -> None:
    """A removed picture could never come back, or would come back with its old tags."""
    old = registry.register_file(make_png(), "characters", metadata={"tags": ["old"]}, license_tag="MIT")
    registry.remove_asset(old["uid"], delete_files=delete_files)

    new = registry.register_file(make_png(), "characters", metadata={"tags": ["new"]})
    registry.wait_for_thumbnails()

    assert new["duplicate"] is False
    assert (new["uid"], new["path"]) == (old["uid"], old["path"])
    assert new["id"] != old["id"]
    assert (new["tags"], new["license"]) == (["new"], None)
    assert "history" not in registry.read_sidecar(new["uid"])["provenance"]
    assert registry.resolve_thumbnail_path(new["uid"]) is not None
    assert [row["asset_id"] for row in registry.list_provenance(new["uid"])] == [new["id"], old["id"]]


def test_removing_one_of_two_files_of_one_stem_leaves_the_mirror_of_the_other(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path], tmp_path: Path
) -> None:
    """Removing ``a.png`` removed the mirror of ``a.jpg`` too."""
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff a photograph")
    png = registry.register_file(make_png("a.png"), "characters")
    jpg = registry.register_file(tmp_path / "a.jpg", "characters")
    registry.wait_for_thumbnails()

    registry.remove_asset(png["uid"], delete_files=True)

    mirrors = list((project / "assets/_meta/characters").iterdir())
    assert [json.loads(path.read_text("utf-8"))["uid"] for path in mirrors] == [jpg["uid"]]
    assert registry.read_sidecar(jpg["uid"])["uid"] == jpg["uid"]


def test_a_file_registered_in_place_stays_unless_told(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Forgetting an asset would delete the artist's only copy."""
    source = project / "assets/characters/mara.png"
    source.parent.mkdir()
    source.write_bytes(make_png().read_bytes())
    info = registry.register_file(source, "characters", copy_file=False)

    registry.remove_asset(info["uid"])

    assert source.read_bytes() == make_png().read_bytes()


def test_an_asset_whose_files_are_gone_can_be_removed(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A record without a file could never be got rid of."""
    info = registry.register_file(make_png(), "characters")
    registry.wait_for_thumbnails()
    for path in [*(project / "assets/characters").iterdir(), *(project / "cache/thumbs").glob("*.webp")]:
        path.unlink()
    (project / "assets/_meta/characters/mara.json").unlink()

    assert registry.remove_asset(info["uid"], delete_files=True) is True
    assert registry.count_assets() == 0


def test_a_removal_does_not_touch_the_neighbours(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A removal by pattern would take more than was meant."""
    infos = [
        registry.register_file(make_png(f"{name}.png", seed=seed), "characters", metadata={"tags": ["same"]})
        for seed, name in enumerate(["mara", "mara2", "mar"])
    ]
    registry.wait_for_thumbnails()

    registry.remove_asset(infos[0]["uid"], delete_files=True)

    for info in infos[1:]:
        assert (project / "assets" / info["path"]).is_file()
        assert registry.read_sidecar(info["uid"])["tags"] == ["same"]
        assert registry.resolve_thumbnail_path(info["uid"]) is not None
    assert len(registry.list_assets(tags=["same"])) == 2


def test_removing_in_one_project_leaves_the_preview_of_another(
    open_registry: Callable[..., AssetRegistry], make_png: Callable[..., Path]
) -> None:
    """Two projects with the same picture share its thumbnails; one would take them from the other."""
    one, two = open_registry(project_id="one"), open_registry(project_id="two")
    picture = make_png()
    uid = one.register_file(picture, "characters")["uid"]
    two.register_file(picture, "characters")
    one.wait_for_thumbnails()

    two.remove_asset(uid, delete_files=True)

    assert one.resolve_thumbnail_path(uid) is not None


# -- many -------------------------------------------------------------------------------------------------


@pytest.fixture
def many(registry: AssetRegistry, make_png: Callable[..., Path]) -> list[str]:
    """Some hundred assets: more than go into one transaction."""
    source = make_png()
    lines = [source.with_name(f"{number}.txt") for number in range(300)]
    for path in lines:
        path.write_text(path.name)
    items = [{"source_path": path, "asset_type": "lines"} for path in lines]
    return [each["asset"]["uid"] for each in registry.register_many(items) if each["asset"]]


def test_many_are_removed_at_once_and_leave_nothing_but_the_trash(
    project: Path, registry: AssetRegistry, many: list[str]
) -> None:
    """Removing a folder of pictures would be as many operations, or leave sidecars and mirrors lying."""
    ids = {record["uid"]: record["id"] for record in registry.list_assets()}

    report = registry.remove_assets(ids=[ids[uid] for uid in many], delete_files=True)
    trash = trashed(project)
    again = registry.remove_assets(many)
    undone = registry.undo(report["operation"] or 0)

    assert report["counts"] == {"total": 300, "removed": 300, "failed": 0}
    assert set(report["removed"]) == set(many)
    assert len(trash) == 600
    assert again["operation"] is None
    assert again["counts"] == {"total": 300, "removed": 0, "failed": 300}
    assert set(undone["undone"]) == set(many)
    assert trashed(project) == {}
    registry.close()
    check_library(project)


def test_files_stay_where_they_are_unless_they_are_to_go(
    project: Path, registry: AssetRegistry, many: list[str]
) -> None:
    """Forgetting many would delete files that nobody wanted deleted."""
    report = registry.remove_assets(matching={"asset_type": "lines"}, expected=300)

    assert report["counts"]["removed"] == 300
    assert registry.count_assets() == 0
    assert len(list((project / "assets/lines").iterdir())) == 300


def test_a_removal_of_many_can_be_stopped_between_chunks(registry: AssetRegistry, many: list[str]) -> None:
    """A server that ends would have to wait for a hundred thousand files, or be killed in between."""
    asked = iter([False, True, True])

    report = registry.remove_assets(many, delete_files=True, should_stop=lambda: next(asked))

    assert report["stopped"] is True
    assert report["counts"] == {"total": 300, "removed": 256, "failed": 44}
    assert {each["uid"] for each in report["failed"]} == set(many[256:])
    assert registry.count_assets() == 44


@pytest.mark.parametrize(
    "chosen", [{}, {"uids": ["a"], "ids": [1]}, {"ids": ["1"]}, {"ids": [2**63]}, {"matching": {"tag": "x"}}]
)
def test_a_choice_that_is_not_clear_is_refused(registry: AssetRegistry, chosen: dict[str, Any]) -> None:
    """A slip in a script would remove other assets than it names, or all."""
    with pytest.raises(InvalidFilter):
        registry.remove_assets(**chosen)
    with pytest.raises(InvalidFilter):
        registry.bulk_edit(**chosen, add_tags=["x"])
