"""The list of operations: what a history panel tells of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from comfyvn.registry.rebuild import rebuild
from comfyvn.studio.core import AssetRegistry

Make = Callable[..., Path]


@pytest.fixture
def three(registry: AssetRegistry, make_png: Make) -> list[str]:
    """Three assets of one operation; the first has a tag and a licence."""
    items = [{"source_path": make_png(f"{n}.png", seed=n), "asset_type": "props"} for n in range(3)]
    items[0] |= {"metadata": {"tags": ["draft"], "license": "MIT"}}
    return [each["asset"]["uid"] for each in registry.register_many(items) if each["asset"]]


def test_each_kind_of_operation_is_told_in_a_word_and_a_sentence(
    registry: AssetRegistry, three: list[str], project: Path
) -> None:
    """Else a history panel would show numbers, and nobody would find what he wants to undo."""
    registry.bulk_edit(
        three, add_tags=["final"], remove_tags=["draft"], license_tag="CC0-1.0", metadata={"rating": 4}
    )
    registry.move_asset(three[0], "props/chair.png")
    registry.remove_assets(three[1:], delete_files=True)
    removal = registry.operations(limit=1)[0]["operation"]
    registry.restore_asset(three[1])
    registry.undo(removal)
    registry.wait_for_thumbnails()
    (project / "assets/props/chair.png").rename(project / "assets/props/stool.png")
    rebuild(registry)
    sidecar = registry.sidecar_path(three[0])
    assert sidecar is not None
    sidecar.unlink()
    registry.ensure_sidecar(three[0])

    found = registry.operations()

    assert [(each["kind"], each["text"]) for each in found] == [
        ("sidecars", "Wrote the sidecar of props/stool.png"),
        ("rebuild", "Took in what became of the files of props/stool.png"),
        ("undo", f"Took back operation {removal} on props/2.png"),
        ("restore", "Brought back props/1.png"),
        ("remove", "Removed props/1.png and 1 more"),
        ("move", "Moved props/0.png to props/chair.png"),
        ("edit", "Edited props/stool.png and 2 more: + final, - draft, licence CC0-1.0, rating"),
        ("register", "Registered props/stool.png and 2 more"),
    ]
    assert [each["is_undoable"] for each in found] == [False, False, *[True] * 6]
    by_kind = {each["kind"]: each for each in found}
    assert by_kind["edit"]["summary"] == {
        "add_tags": ["final"],
        "remove_tags": ["draft"],
        "license": "CC0-1.0",
        "metadata": ["rating"],
    }
    assert by_kind["move"]["summary"] == {"moved_from": "props/0.png", "moved_to": "props/chair.png"}
    assert by_kind["register"]["summary"] == {}


def test_what_was_taken_back_names_the_newest_undo(registry: AssetRegistry, three: list[str]) -> None:
    """Else a panel would offer to undo what is undone already."""
    edit = registry.bulk_edit(three, add_tags=["x"])["operation"] or 0

    first = registry.undo(edit)["operation"] or 0
    redo = registry.undo(first)["operation"] or 0
    second = registry.undo(edit)["operation"]
    found = {each["operation"]: each for each in registry.operations()}

    assert (found[edit]["undone_by"], found[first]["undone_by"]) == (second, redo)
    assert (found[redo]["undone_by"], found[redo]["undoes"]) == (None, first)
    assert found[redo]["kind"] == "undo"
    assert found[redo]["text"].endswith("and 2 more: + x")


def test_licences_that_differ_are_not_told_as_one(registry: AssetRegistry, three: list[str]) -> None:
    """Else an operation that set several licences would seem to have set the first."""
    number = registry.new_operation()
    registry.bulk_update_tags(three[:1], license_tag="CC0-1.0", operation=number)
    registry.bulk_update_tags(three[1:], license_tag="MIT", operation=number)
    cleared = registry.bulk_edit(three, license_tag="")["operation"]

    found = {each["operation"]: each for each in registry.operations()}

    assert "license" not in found[number]["summary"]
    assert found[cleared or 0]["summary"] == {"license": None}
    assert found[cleared or 0]["text"].endswith(": licence none")


def test_very_long_metadata_does_not_make_the_list_of_operations_slow_or_wrong(
    registry: AssetRegistry, three: list[str]
) -> None:
    """Else fifty edits of large metadata would be read to show fifty lines."""
    registry.merge_asset_meta(three[0], {"prompt": "x" * 100_000})

    newest = registry.operations(limit=1)[0]

    assert (newest["kind"], newest["summary"], newest["assets"]) == ("edit", {}, 1)
    assert newest["text"] == "Edited props/0.png"
