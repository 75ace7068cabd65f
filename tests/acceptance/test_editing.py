"""Merge patches and bulk edits from Python: what scripts have, and the server stands on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comfyvn.errors import AssetNotFound, Changed, InvalidFilter, InvalidMetadata, SourceMissing, TotalChanged
from comfyvn.storage import open_below
from comfyvn.studio.core import AssetRegistry
from comfyvn.studio.core.editing import merge_patch

Make = Callable[..., Path]


def add_many(registry: AssetRegistry, folder: Path, count: int) -> list[str]:
    """Register small files; return their uids, newest first."""
    folder.mkdir()
    items = []
    for number in range(count):
        (folder / f"{number}.txt").write_text(str(number))
        items.append({"source_path": folder / f"{number}.txt", "asset_type": "notes"})
    assert all(each["status"] == "registered" for each in registry.register_many(items))
    return [each["uid"] for each in registry.list_assets()]


@pytest.mark.parametrize(
    ("target", "patch", "merged"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_patches_merge_as_the_standard_shows(target: Any, patch: Any, merged: Any) -> None:
    """Else clients that follow RFC 7396 would get something else (its appendix A)."""
    before = repr(target)

    assert merge_patch(target, patch, 8) == merged
    assert repr(target) == before


def test_a_patch_without_end_is_refused(registry: AssetRegistry, make_png: Make) -> None:
    """Else a dict that holds itself would end the whole script."""
    uid = registry.register_file(make_png(), "props")["uid"]
    endless: dict[str, Any] = {}
    endless["self"] = endless

    with pytest.raises(InvalidMetadata):
        registry.merge_asset_meta(uid, endless)
    with pytest.raises(InvalidMetadata):
        registry.merge_asset_meta(uid, ["no object"])  # type: ignore[arg-type]
    with pytest.raises(AssetNotFound):
        registry.merge_asset_meta("unknown", {})


def test_a_patch_takes_hand_edits_in_and_keeps_unknown_keys(registry: AssetRegistry, make_png: Make) -> None:
    """Else an edit in the gallery would undo what somebody wrote into the sidecar."""
    uid = registry.register_file(make_png(), "props", metadata={"tags": ["old"], "a": 1})["uid"]
    path = registry.sidecar_path(uid)
    assert path is not None
    text = path.read_text("utf-8").replace('"a": 1', '"a": 2').replace('"uid"', '"mine": "kept",\n  "uid"', 1)
    path.write_text(text, "utf-8")

    record = registry.merge_asset_meta(uid, {"tags": ["new"], "b": 3})

    said = registry.read_sidecar(uid)
    assert (record["tags"], record["meta"]["a"], record["meta"]["b"]) == (["new"], 2, 3)
    assert (said["mine"], said["meta"]["a"]) == ("kept", 2)


def test_what_if_match_sees_is_what_is_changed(registry: AssetRegistry, make_png: Make) -> None:
    """Else a change could slip in between the look and the write."""
    record = registry.register_file(make_png(), "props")
    seen: list[Any] = []

    def refuse(now: Any) -> bool:
        seen.append(now)
        return False

    with pytest.raises(Changed):
        registry.merge_asset_meta(record["uid"], {"a": 1}, if_match=refuse)
    with pytest.raises(Changed):
        registry.remove_asset(record["uid"], if_match=refuse)

    assert [each["uid"] for each in seen] == [record["uid"]] * 2
    assert registry.get_asset(record["uid"]) is not None


def test_a_bulk_edit_goes_by_chunks_and_one_undo_takes_it_back(
    registry: AssetRegistry, tmp_path: Path
) -> None:
    """Else a library larger than one chunk would be changed in part, or not be undone as a whole."""
    uids = add_many(registry, tmp_path / "notes", 600)

    report = registry.bulk_edit(matching={"asset_type": "notes"}, expected=600, add_tags="all")
    undone = registry.undo(report["operation"] or 0)

    assert report["counts"] == {"total": 600, "changed": 600, "unchanged": 0, "failed": 0}
    assert report["changed"] == uids
    assert len(undone["undone"]) == 600
    assert registry.count_assets(tags="all") == 0


def test_the_answer_names_the_first_and_counts_all(registry: AssetRegistry, tmp_path: Path) -> None:
    """Else an edit of a large library would be answered with more than anybody reads."""
    add_many(registry, tmp_path / "notes", 1_100)

    planned = registry.bulk_edit(matching={}, add_tags="x", dry_run=True)
    done = registry.bulk_edit(matching={}, add_tags="x")
    unknown = registry.bulk_edit([f"u{number}" for number in range(1_100)], add_tags="x")

    assert (planned["counts"]["changed"], len(planned["changed"]), len(planned["plan"])) == (
        1_100,
        1_000,
        100,
    )
    assert (done["counts"]["changed"], len(done["changed"])) == (1_100, 1_000)
    assert (unknown["counts"]["failed"], len(unknown["failed"]), unknown["operation"]) == (1_100, 1_000, None)


def test_what_was_done_before_the_drive_went_away_is_told(registry: AssetRegistry, tmp_path: Path) -> None:
    """Else nobody could undo the half of a bulk edit that was done."""
    add_many(registry, tmp_path / "notes", 400)
    sign = registry.ASSETS_ROOT / ".comfyvn" / "library.json"
    content = sign.read_bytes()

    def unplug(_: dict[str, Any]) -> None:
        sign.unlink(missing_ok=True)

    registry.add_hook("asset_meta_updated", unplug)
    report = registry.bulk_edit(matching={}, add_tags="x")
    registry.remove_hook("asset_meta_updated", unplug)
    sign.write_bytes(content)

    assert report["counts"] == {"total": 400, "changed": 256, "unchanged": 0, "failed": 144}
    assert "library.json" in report["failed"][0]["why"]
    assert len(registry.undo(report["operation"] or 0)["undone"]) == 256


def test_assets_that_are_removed_meanwhile_are_told(registry: AssetRegistry, tmp_path: Path) -> None:
    """Else a removal by somebody else would end the whole edit."""
    uids = add_many(registry, tmp_path / "notes", 300)
    registry.add_hook("asset_meta_updated", lambda _: registry.remove_asset(uids[-1]))

    report = registry.bulk_edit(matching={}, expected=300, add_tags="x")

    assert report["counts"] == {"total": 300, "changed": 299, "unchanged": 0, "failed": 1}
    assert "removed meanwhile" in report["failed"][0]["why"]


def test_a_bulk_edit_that_is_not_clear_is_refused(registry: AssetRegistry, make_png: Make) -> None:
    """Else a slip in a script would change all assets."""
    registry.register_file(make_png(), "props")

    with pytest.raises(InvalidFilter):
        registry.bulk_edit(add_tags="x")
    with pytest.raises(InvalidFilter):
        registry.bulk_edit(matching={"tag": "x"}, add_tags="x")
    with pytest.raises(TotalChanged):
        registry.bulk_edit(matching={}, expected=2, add_tags="x")

    assert registry.count_assets(tags="x") == 0


def test_an_open_file_is_registered_whatever_lies_at_its_name(
    registry: AssetRegistry, make_png: Make, tmp_path: Path
) -> None:
    """Else a file that is swapped after it was checked could bring another one in."""
    checked, other = make_png("checked.png", seed=1), make_png("other.png", seed=2)
    with checked.open("rb", buffering=0) as file:
        checked.unlink()
        checked.symlink_to(other)
        opened = registry.register_open_file(file, checked, "props")

    assert opened["uid"] == registry.register_file(make_png("again.png", seed=1), "props")["uid"]
    assert registry.count_assets() == 1


def test_a_file_is_opened_below_its_folder_only(tmp_path: Path) -> None:
    """Else a name of a stranger could lead out of the folders that he may read."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "sub", outside):
        folder.mkdir(parents=True)
        (folder / "file").write_text(folder.name)
    (root / "link").symlink_to(outside)
    (root / "sub" / "link").symlink_to(outside / "file")

    with open_below(root, ("sub", "file")) as file:
        assert file.read() == b"sub"
    for parts in [
        ("link", "file"),
        ("sub", "link"),
        ("..", "outside", "file"),
        ("sub", "", "file"),
        (),
        ("no",),
    ]:
        with pytest.raises(SourceMissing):
            open_below(root, parts)
