"""The history of the library: who did what, and taking it back, also days later."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from gallery import Gallery


def history(studio: Gallery) -> Any:
    """The panel History."""
    return studio.page.get_by_role("region", name="History")


def rows(studio: Gallery) -> Any:
    """Its operations, the newest first."""
    return history(studio).get_by_role("list", name="Operations").get_by_role("listitem")


def said(studio: Gallery) -> Any:
    """The news at the edge of the window."""
    return studio.page.get_by_role("region", name="News")


def test_what_is_done_is_told_as_it_happens_with_who_and_how_many(studio: Gallery) -> None:
    """Else nobody could tell what a script did to the library last night."""
    studio.press("h")
    expect(rows(studio).first).to_contain_text("Imported mara_29.png")

    with studio.registry.acting_as("nightly.py"):
        uids = [record["uid"] for record in studio.registry.iter_assets()]
        studio.registry.bulk_edit(uids, add_tags=["hero"], license_tag="MIT")

    expect(rows(studio).first).to_contain_text("Edited 30 assets")
    expect(rows(studio).first).to_contain_text("nightly.py")
    expect(rows(studio).first).to_contain_text("+ hero")
    expect(rows(studio).first).to_contain_text("licence MIT")
    expect(rows(studio).first).to_contain_text("just now")
    expect(rows(studio).nth(1)).to_contain_text("Imported mara_29.png")


def test_an_operation_of_somebody_else_is_undone_and_done_again(studio: Gallery) -> None:
    """Else only the tab that made a mistake could mend it."""
    uids = [studio.uid("mara_29"), studio.uid("mara_28")]
    studio.registry.bulk_edit(uids, add_tags=["hero"])
    studio.press("h")
    rows(studio).first.get_by_role("button", name="Undo: Edited 2 assets").click()

    expect(said(studio)).to_contain_text("Undone: edited 2 assets")
    expect(rows(studio).nth(0)).to_contain_text("Undid: Edited 2 assets")
    expect(rows(studio).nth(1)).to_contain_text("undone")
    expect(rows(studio).nth(1).get_by_role("button")).to_have_count(0)
    assert "hero" not in studio.record("mara_29")["tags"]

    rows(studio).nth(0).get_by_role("button", name="Redo").click()
    expect(rows(studio).nth(0)).to_contain_text("Did again: Edited 2 assets")
    expect(rows(studio).nth(2)).not_to_contain_text("undone")
    assert "hero" in studio.record("mara_29")["tags"]

    rows(studio).nth(0).get_by_role("button", name="Undo").click()
    expect(rows(studio).nth(0)).to_contain_text("Undid: Edited 2 assets")
    assert "hero" not in studio.record("mara_29")["tags"]


def test_what_ctrl_z_took_back_is_marked_and_a_part_is_called_a_part(studio: Gallery) -> None:
    """Else one would undo twice, or believe that all is as it was."""
    studio.press("h")
    studio.card("mara_29").click()
    studio.press("Shift+ArrowRight", "4")
    expect(rows(studio).first).to_contain_text("Edited 2 assets")
    expect(rows(studio).first).to_contain_text("rating")
    studio.registry.merge_asset_meta(studio.uid("mara_28"), {"rating": 1})
    expect(rows(studio).first).to_contain_text("Edited mara_28.png")

    studio.press("Control+z")

    expect(said(studio)).to_contain_text("mara_28.png was left as it is: it was edited since")
    expect(rows(studio).filter(has_text="Edited 2 assets").last).to_contain_text("partly undone")
    assert studio.record("mara_28")["meta"]["rating"] == 1


def test_a_removal_and_a_renaming_are_undone_from_the_history(studio: Gallery) -> None:
    """Else they could be undone only as long as the news of them is shown."""
    uid, path = studio.uid("mara_29"), studio.record("mara_29")["path"]
    folder = str(Path(path).parent)
    studio.registry.move_asset(uid, f"{folder}/nao.png")
    studio.registry.remove_asset(studio.uid("mara_28"), delete_files=True)
    studio.press("h")
    expect(rows(studio).nth(0)).to_contain_text("Moved to the trash: mara_28.png")
    expect(rows(studio).nth(1)).to_contain_text("Renamed mara_29.png to nao.png")

    rows(studio).nth(0).get_by_role("button", name="Undo").click()
    expect(studio.card("mara_28")).to_be_visible()
    rows(studio).filter(has_text="Renamed").get_by_role("button", name="Undo").click()

    expect(studio.card("mara_29")).to_be_visible()
    assert studio.record("mara_29")["path"] == path


def test_the_past_is_read_page_by_page(studio: Gallery) -> None:
    """Else the first edit of a long day could not be found, or all of it would be read at once."""
    uid = studio.uid("mara_29")
    for number in range(60):
        studio.registry.merge_asset_meta(uid, {"take": number})
    studio.press("h")
    expect(rows(studio)).to_have_count(50)

    history(studio).get_by_role("button", name="Show older").click()
    expect(rows(studio)).to_have_count(90)
    expect(history(studio).get_by_role("button", name="Show older")).to_have_count(0)

    studio.registry.merge_asset_meta(uid, {"take": 60})
    expect(rows(studio)).to_have_count(91)


def test_the_panel_is_in_the_menu_and_in_the_address(studio: Gallery) -> None:
    """Else it could be found by who knows the key alone, and would be lost by a reload."""
    studio.page.get_by_role("menuitem", name="Panels").click()
    studio.page.get_by_role("menuitemcheckbox", name="History").click()
    expect(rows(studio).first).to_be_visible()

    studio.page.reload()
    expect(rows(studio).first).to_be_visible()
    studio.page.go_back()
    expect(history(studio)).to_have_count(0)


def test_an_empty_library_has_no_history(empty_studio: Gallery, draw: Callable[..., Path]) -> None:
    """Else an empty panel would look broken."""
    empty_studio.press("h")
    expect(history(empty_studio)).to_contain_text("Nothing was done to this library yet.")

    empty_studio.registry.register_file(draw("first.png", 1), "props")

    expect(rows(empty_studio)).to_contain_text([re.compile("Imported first.png")])
