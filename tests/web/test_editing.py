"""Editing in the gallery: tags, licence and rating of many, renaming, the trash, and the way back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from comfyvn.db.tokens import Tokens
from comfyvn.studio.core import AssetRegistry
from gallery import Gallery, opened


def drawer(studio: Gallery) -> Any:
    """The edit drawer."""
    return studio.page.get_by_role("complementary", name="Edit")


def tag_row(studio: Gallery, tag: str) -> Any:
    """A tag in the drawer."""
    return drawer(studio).get_by_role("checkbox", name=re.compile(rf"^{re.escape(tag)}(,|$)"))


def said(studio: Gallery) -> Any:
    """The news at the edge of the window."""
    return studio.page.get_by_role("region", name="News")


def apply(studio: Gallery) -> None:
    """Apply what the drawer has."""
    drawer(studio).get_by_role("button", name=re.compile("^Apply to")).click()


def undo_by_toast(studio: Gallery) -> None:
    """Take the last thing back by the button beside the news of it."""
    said(studio).get_by_role("button", name="Undo").last.click()


def tags_of(studio: Gallery) -> dict[str, set[str]]:
    """All tags that the registry knows, by the name of the file."""
    return {Path(record["path"]).stem: set(record["tags"]) for record in studio.registry.iter_assets()}


def select(studio: Gallery, *names: str) -> None:
    """Select cards, the first by a plain click."""
    studio.card(names[0]).click()
    for name in names[1:]:
        studio.card(name).click(modifiers=["Control"])


# -- many at once -----------------------------------------------------------------------------------------


def test_one_tag_reaches_assets_that_were_never_shown(studio: Gallery) -> None:
    """Else "select all, tag" would mean "tag what happens to be in the window"."""
    before = tags_of(studio)
    studio.card("mara_29").click()
    studio.press("Control+a", "e")
    studio.page.keyboard.type("hero")
    studio.press("Enter", "Control+Enter")

    expect(said(studio)).to_contain_text("Tagged 30 assets")
    assert tags_of(studio) == {name: tags | {"hero"} for name, tags in before.items()}
    expect(studio.page.locator(".status")).to_contain_text("30 selected")
    expect(tag_row(studio, "hero")).to_have_accessible_name("hero, on 30 of 30")


def test_a_tag_of_some_is_left_added_or_removed(studio: Gallery) -> None:
    """Else a tag of a few would be set or lost for all of them with any edit."""
    select(studio, "mara_29", "mara_28", "mara_27")
    studio.press("e")
    smile, night = tag_row(studio, "smile"), tag_row(studio, "night")
    expect(smile).to_have_accessible_name("smile, on 1 of 3")
    expect(smile).to_be_checked(indeterminate=True)

    smile.click()
    expect(smile).to_have_accessible_name("smile, on 1 of 3, to be added to all")
    night.click()
    night.click()
    expect(night).to_have_accessible_name("night, on 1 of 3, to be removed from all")
    apply(studio)

    expect(said(studio)).to_contain_text("Tagged 2 assets, 1 is so already")
    tags = tags_of(studio)
    assert [tags[name] for name in ("mara_29", "mara_28", "mara_27")] == [{"smile"}] * 3
    assert studio.selected() == {"mara_29", "mara_28", "mara_27"}
    expect(smile).to_have_accessible_name("smile, on 3 of 3")

    smile.click()
    smile.click()
    expect(smile).to_have_accessible_name("smile, on 3 of 3")
    expect(drawer(studio).get_by_role("button", name="Apply to")).to_be_disabled()


def test_what_would_change_is_shown_before_it_changes(studio: Gallery) -> None:
    """Else a wrong edit of many would be seen only afterwards."""
    select(studio, "mara_29", "mara_28", "mara_25")
    studio.press("e")
    tag_row(studio, "smile").click()
    drawer(studio).get_by_role("combobox", name="New licence").fill("MIT")
    drawer(studio).get_by_role("radio", name="4 of 5").check(force=True)

    preview = drawer(studio).get_by_role("region", name="What will change")
    expect(preview).to_contain_text("Add smile to 3 assets; licence MIT; rating 4")
    expect(preview).to_contain_text("3 assets would change")
    expect(preview.get_by_role("listitem").filter(has_text="mara_29.png")).to_contain_text("smile")
    expect(preview.get_by_role("listitem").filter(has_text="mara_28.png")).not_to_contain_text("smile")
    expect(preview.get_by_role("listitem").filter(has_text="mara_28.png")).to_contain_text(
        re.compile("CC0-1.0 →.*MIT")
    )
    expect(preview.get_by_role("listitem").filter(has_text="mara_25.png")).to_contain_text("no licence")
    assert studio.record("mara_29")["license"] == "CC-BY-4.0"
    assert "smile" not in studio.record("mara_29")["tags"]


def test_a_licence_is_set_by_completion_and_cleared(studio: Gallery) -> None:
    """Else the common licences would be misspelled, and a wrong one would stay for good."""
    select(studio, "mara_29", "mara_28")
    studio.press("e")
    expect(drawer(studio)).to_contain_text("Now: CC-BY-4.0 on 1, CC0-1.0 on 1")
    field = drawer(studio).get_by_role("combobox", name="New licence")
    field.press_sequentially("cc-by-s")
    expect(drawer(studio).get_by_role("option", name="CC-BY-SA-4.0")).to_be_visible()
    studio.press("ArrowDown", "Enter")
    expect(field).to_have_value("CC-BY-SA-4.0")
    studio.press("Control+Enter")

    expect(said(studio)).to_contain_text("Set the licence of 2 assets to CC-BY-SA-4.0")
    assert studio.record("mara_28")["license"] == "CC-BY-SA-4.0"
    expect(drawer(studio)).to_contain_text("Now: CC-BY-SA-4.0")

    drawer(studio).get_by_role("radio", name="Clear").first.check()
    studio.press("Control+Enter")  # the button lies under what was said
    expect(said(studio)).to_contain_text("Cleared the licence of 2 assets")
    assert [studio.record(name)["license"] for name in ("mara_29", "mara_28", "mara_27")] == [
        None,
        None,
        "CC-BY-4.0",
    ]


def test_tags_are_completed_and_written_as_they_are_known(studio: Gallery) -> None:
    """Else one idea would have three spellings."""
    studio.card("mara_29").click()
    studio.press("e")
    field = drawer(studio).get_by_role("combobox", name="Add a tag")
    expect(field).to_be_focused()
    field.press_sequentially("NIG")
    expect(drawer(studio).get_by_role("option", name="night")).to_be_visible()
    studio.press("ArrowDown", "Enter")
    field.press_sequentially("left in the field")
    apply(studio)

    expect(said(studio)).to_contain_text("Tagged 1 asset")
    assert set(studio.record("mara_29")["tags"]) == {"night", "left in the field"}


def test_a_comma_parts_tags_and_quotes_keep_it(studio: Gallery) -> None:
    """Else a list of tags would become one long tag that nobody finds again."""
    studio.card("mara_29").click()
    studio.press("e")
    studio.page.keyboard.type('hero, main cast,, "red, torn"')
    studio.press("Enter")
    for tag in ("hero", "main cast", "red, torn"):
        expect(tag_row(studio, tag)).to_have_accessible_name(f"{tag}, new, to be added to all")
    apply(studio)

    expect(said(studio)).to_contain_text("Tagged 1 asset")
    assert set(studio.record("mara_29")["tags"]) == {"hero", "main cast", "red, torn"}


def test_unapplied_changes_are_neither_lost_nor_applied_unseen(studio: Gallery) -> None:
    """Else a click on another card would throw work away, or tag the wrong asset."""
    studio.card("mara_29").click()
    studio.press("e")
    studio.page.keyboard.type("hero")
    studio.press("Enter", "Escape")
    expect(drawer(studio)).to_have_count(0)
    assert "hero" not in studio.record("mara_29")["tags"]

    studio.press("e")
    expect(tag_row(studio, "hero")).to_have_accessible_name("hero, new, to be added to all")
    studio.card("mara_28").click()
    expect(drawer(studio)).to_contain_text("Your changes for 1 asset are not applied yet")
    expect(drawer(studio)).to_contain_text("makes them to mara_28.png")

    drawer(studio).get_by_role("button", name="Discard changes").click()
    expect(tag_row(studio, "hero")).to_have_count(0)
    expect(tag_row(studio, "smile")).to_have_accessible_name("smile")
    assert not any("hero" in tags for tags in tags_of(studio).values())


def test_nothing_selected_says_what_to_do(studio: Gallery) -> None:
    """Else the drawer would be an empty riddle."""
    studio.open("?panel=edit")

    expect(drawer(studio)).to_contain_text("Select assets to edit them.")


def test_the_drawer_tells_what_others_change(studio: Gallery) -> None:
    """Else "on 2 of 3" would be a thing of the past."""
    select(studio, "mara_29", "mara_28", "mara_27")
    studio.press("e")
    expect(tag_row(studio, "smile")).to_have_accessible_name("smile, on 1 of 3")

    studio.registry.bulk_update_tags([studio.uid("mara_29")], add_tags=["smile"])

    expect(tag_row(studio, "smile")).to_have_accessible_name("smile, on 2 of 3")


# -- what is refused --------------------------------------------------------------------------------------


def fill_up(studio: Gallery, *names: str) -> None:
    """Give assets as many tags as one may have."""
    most = studio.registry.library.config.tags_per_asset
    for name in names:
        free = most - len(studio.record(name)["tags"])
        tags = [f"tag {number}" for number in range(free)]
        studio.registry.bulk_update_tags([studio.uid(name)], add_tags=tags)


def test_one_that_is_refused_is_named_and_the_others_are_done(studio: Gallery) -> None:
    """Else one full asset would stop an edit of thirty, or be passed over in silence."""
    fill_up(studio, "mara_28")
    select(studio, "mara_29", "mara_28", "mara_27")
    studio.press("e")
    studio.page.keyboard.type("hero")
    studio.press("Control+Enter")

    expect(said(studio)).to_contain_text("Tagged 2 assets")
    expect(said(studio)).to_contain_text("mara_28.png was not changed: ")
    tags = tags_of(studio)
    assert ["hero" in tags[name] for name in ("mara_29", "mara_28", "mara_27")] == [True, False, True]


def test_several_that_are_refused_are_listed_by_name(studio: Gallery) -> None:
    """Else one would have to look for them among thousands."""
    fill_up(studio, "mara_28", "mara_27")
    select(studio, "mara_29", "mara_28", "mara_27")
    studio.press("e")
    studio.page.keyboard.type("hero")
    studio.press("Control+Enter")

    expect(said(studio)).to_contain_text("2 assets were not changed")
    said(studio).get_by_role("button", name="Show why").click()
    dialog = studio.page.get_by_role("dialog", name="2 assets were not changed")
    expect(dialog.get_by_role("listitem")).to_contain_text(["mara_28.png", "mara_27.png"])


def test_an_undo_leaves_what_was_edited_since_and_says_so(studio: Gallery) -> None:
    """Else an undo would throw away what somebody else wrote meanwhile."""
    select(studio, "mara_29", "mara_28")
    studio.press("e")
    studio.page.keyboard.type("hero")
    studio.press("Control+Enter")
    expect(said(studio)).to_contain_text("Tagged 2 assets")
    studio.registry.bulk_update_tags([studio.uid("mara_28")], add_tags=["by hand"])

    undo_by_toast(studio)

    expect(said(studio)).to_contain_text("mara_28.png was left as it is: it was edited since")
    assert "hero" not in studio.record("mara_29")["tags"]
    assert {"hero", "by hand"} <= set(studio.record("mara_28")["tags"])


# -- undo -------------------------------------------------------------------------------------------------


def test_the_toast_and_ctrl_z_take_whole_edits_back_and_forth(studio: Gallery) -> None:
    """Else a slip over thirty assets would be thirty repairs."""
    before = tags_of(studio)
    studio.card("mara_29").click()
    studio.press("Control+a", "e")
    studio.page.keyboard.type("hero")
    studio.press("Enter", "Control+Enter")
    expect(said(studio)).to_contain_text("Tagged 30 assets")

    undo_by_toast(studio)
    expect(said(studio)).to_contain_text("Undone: tagged 30 assets")
    assert tags_of(studio) == before

    said(studio).get_by_role("button", name="Redo").click()
    expect(said(studio)).to_contain_text("Done again: tagged 30 assets")
    assert all("hero" in tags for tags in tags_of(studio).values())

    studio.press("Escape", "Control+z")
    expect(said(studio)).to_contain_text("Undone: tagged 30 assets")
    assert tags_of(studio) == before
    studio.press("Control+Shift+Z")
    expect(said(studio)).to_contain_text("Done again: tagged 30 assets")
    assert all("hero" in tags for tags in tags_of(studio).values())


def test_ctrl_z_goes_back_step_by_step_even_while_a_change_is_under_way(studio: Gallery) -> None:
    """Else a quick second Ctrl+Z would take back the same thing again, or nothing."""
    studio.card("mara_29").click()
    studio.press("3", "ArrowRight", "4", "Control+z", "Control+z")

    expect(said(studio).get_by_text(re.compile("^Undone: "))).to_have_count(2)
    assert "rating" not in studio.record("mara_28")["meta"]
    assert "rating" not in studio.record("mara_29")["meta"]
    studio.press("Control+z")
    expect(said(studio)).to_contain_text("This tab has changed nothing that it could undo")


def test_a_key_that_is_held_down_takes_back_only_one_step(studio: Gallery) -> None:
    """Else a second on Ctrl+Z would take back the work of an hour."""
    studio.card("mara_29").click()
    studio.press("3", "ArrowRight", "4")
    expect(studio.card("mara_28")).to_contain_text("★★★★")
    studio.page.keyboard.down("Control")
    for _ in range(4):
        studio.page.keyboard.down("z")
    studio.page.keyboard.up("z")
    studio.page.keyboard.up("Control")

    expect(said(studio)).to_contain_text("Undone: rated mara_28.png")
    studio.press("ArrowLeft", "5")
    expect(studio.card("mara_29")).to_contain_text("★★★★★")
    studio.press("Control+z")
    expect(said(studio)).to_contain_text("Undone: rated mara_29.png ★★★★★")
    assert studio.record("mara_29")["meta"]["rating"] == 3


def test_ctrl_z_in_a_dialog_leaves_what_was_typed_behind_it(studio: Gallery) -> None:
    """Else the search would change behind a question that hides it."""
    search = studio.page.get_by_role("combobox", name="Search")
    search.click()
    studio.page.keyboard.type("mara")
    studio.card("mara_29").click()
    studio.press("Control+a", "Delete")
    question = studio.page.get_by_role("alertdialog", name="Move 30 assets to the trash?")
    expect(question).to_be_visible()
    studio.press("Control+z", "Escape")

    expect(question).to_have_count(0)
    expect(search).to_have_value("mara")


# -- rating -----------------------------------------------------------------------------------------------


def test_digits_rate_the_focused_card_and_the_selection(studio: Gallery) -> None:
    """Else sorting the good from the bad would take a form for each picture."""
    studio.card("mara_29").click()
    studio.press("4")
    expect(studio.card("mara_29")).to_contain_text("★★★★")
    expect(said(studio)).to_contain_text("Rated mara_29.png ★★★★")

    studio.press("Shift+ArrowRight", "2")
    expect(said(studio)).to_contain_text("Rated 2 assets ★★")
    expect(studio.card("mara_28")).to_contain_text("★★")
    assert [studio.record(name)["meta"]["rating"] for name in ("mara_29", "mara_28")] == [2, 2]

    studio.press("0")
    expect(said(studio)).to_contain_text("Cleared the rating of 2 assets")
    assert "rating" not in studio.record("mara_29")["meta"]
    expect(studio.card("mara_29")).not_to_contain_text("★")

    studio.press("Control+z")
    expect(studio.card("mara_28")).to_contain_text("★★")


def test_several_quick_digits_end_at_the_last(studio: Gallery) -> None:
    """Else a corrected slip of the finger could come out as the slip."""
    studio.card("mara_29").click()
    studio.press("1", "2", "3", "5")

    expect(studio.card("mara_29")).to_contain_text("★★★★★")
    studio.wait_until(lambda: studio.record("mara_29")["meta"]["rating"] == 5)


# -- names ------------------------------------------------------------------------------------------------


def test_f2_renames_file_and_sidecar_and_undo_takes_it_back(studio: Gallery) -> None:
    """Else a typing error in a name would need a file manager, and cost the tags."""
    folder = Path(studio.record("mara_29")["path"]).parent
    uid = studio.uid("mara_29")
    studio.card("mara_29").click()
    studio.press("F2")
    dialog = studio.page.get_by_role("dialog", name="Rename mara_29.png")
    expect(dialog.get_by_role("textbox", name="File name")).to_be_focused()
    studio.page.keyboard.type("mara_angry")
    studio.press("Enter")

    expect(said(studio)).to_contain_text("Renamed mara_29.png to mara_angry.png")
    expect(studio.card("mara_angry")).to_be_visible()
    storage = studio.registry.library.storage
    assert storage.exists(str(folder / "mara_angry.png"))
    assert not storage.exists(str(folder / "mara_29.png"))
    assert studio.uid("mara_angry") == uid
    assert studio.selected() == {"mara_angry"}

    studio.press("Control+z")
    expect(studio.card("mara_29")).to_be_visible()
    assert storage.exists(str(folder / "mara_29.png"))


def test_a_name_that_is_taken_or_wrong_is_refused_where_it_is_typed(studio: Gallery) -> None:
    """Else the other file would be lost, or the typed name."""
    studio.card("mara_29").click()
    studio.press("F2")
    dialog = studio.page.get_by_role("dialog", name="Rename")
    name = dialog.get_by_role("textbox", name="File name")
    name.fill("mara_26.png")
    studio.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("choose another")
    expect(name).to_have_value("mara_26.png")

    name.fill("props/mara.png")
    studio.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("A name holds no slash")
    name.fill("mara_29.jpg")
    studio.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("the name must end as now")
    studio.press("Escape")
    expect(dialog).to_have_count(0)

    select(studio, "mara_29", "mara_28")
    studio.press("F2")
    expect(said(studio)).to_contain_text("Only one asset at a time can be renamed")


# -- the trash --------------------------------------------------------------------------------------------


def test_delete_moves_few_to_the_trash_and_undo_brings_all_back(studio: Gallery) -> None:
    """Else a slip of the finger would cost files, tags and licence."""
    before = {record["uid"]: (record["path"], record["tags"]) for record in studio.registry.iter_assets()}
    select(studio, "mara_29", "mara_28", "mara_26")
    studio.press("Delete")

    expect(said(studio)).to_contain_text("Moved 3 assets to the trash")
    expect(studio.page.locator(".status")).to_have_text(re.compile("27 assets"))
    assert studio.names()[:2] == ["mara_27", "mara_25"]
    assert studio.registry.count_assets() == 27
    studio.press("Delete", "4")
    expect(said(studio)).to_contain_text("Select an asset first.")
    assert studio.registry.count_assets() == 27
    studio.press("Control+Space", "4")
    expect(said(studio)).to_contain_text("Rated mara_25.png ★★★★")

    studio.press("Control+z", "Control+z")
    expect(studio.page.locator(".status")).to_have_text(re.compile("30 assets"))
    expect(studio.card("mara_28")).to_be_visible()
    after = {record["uid"]: (record["path"], record["tags"]) for record in studio.registry.iter_assets()}
    assert after == before


def test_many_go_to_the_trash_only_after_a_question(studio: Gallery) -> None:
    """Else Ctrl+A and a cat on the keyboard would empty the gallery."""
    studio.card("mara_29").click()
    studio.press("Control+a", "Delete")
    question = studio.page.get_by_role("alertdialog", name="Move 30 assets to the trash?")
    expect(question).to_be_visible()
    studio.press("Enter")
    expect(question).to_have_count(0)
    assert studio.registry.count_assets() == 30

    studio.press("Delete")
    question.get_by_role("button", name="Move 30 to the trash").click()
    expect(said(studio)).to_contain_text("Moved 30 assets to the trash")
    assert studio.registry.count_assets() == 0
    undo_by_toast(studio)
    expect(said(studio)).to_contain_text("Undone: moved 30 assets to the trash")
    expect(studio.card("mara_29")).to_be_visible()
    assert studio.registry.count_assets() == 30


# -- who may only read ------------------------------------------------------------------------------------


@pytest.fixture
def read_only(page: Any, library: AssetRegistry, page_folder: Path) -> Iterator[Gallery]:
    """The gallery for who sits at the machine without a token, where changes need one."""
    engine = library.library.ledger.engine
    Tokens(engine, library.project_id).create("nightly", "assets.write")
    with opened(page, library, page_folder) as gallery:
        yield gallery


def test_who_may_only_read_is_told_so_before_and_at_the_key(read_only: Gallery) -> None:
    """Else one would fill in a form for nothing, or press keys that do nothing."""
    read_only.card("mara_29").click()
    read_only.press("e")
    expect(drawer(read_only)).to_contain_text("changes need a token")
    expect(drawer(read_only).get_by_role("combobox", name="Add a tag")).to_be_disabled()
    expect(tag_row(read_only, "smile")).to_have_count(0)
    expect(drawer(read_only).get_by_role("button", name="Apply to")).to_be_disabled()

    read_only.card("mara_28").click()
    read_only.press("Delete")
    expect(said(read_only)).to_contain_text("changes need a token")
    read_only.press("5")
    assert read_only.registry.count_assets() == 30
    assert "rating" not in read_only.record("mara_28")["meta"]


def test_a_right_that_was_taken_meanwhile_is_told_with_what_to_do(studio: Gallery) -> None:
    """Else a change would vanish without a word when the maker fences the library off."""
    studio.card("mara_29").click()
    Tokens(studio.registry.library.ledger.engine, studio.registry.project_id).create(
        "nightly", "assets.write"
    )
    studio.press("5")

    expect(said(studio)).to_contain_text("token")
    assert "rating" not in studio.record("mara_29")["meta"]


def test_a_tag_that_was_being_typed_stays_with_those_it_was_typed_for(studio: Gallery) -> None:
    """Else a click on another card turns it into a change of that one, unseen."""
    studio.card("mara_29").click()
    studio.press("e")
    studio.page.keyboard.type("halftyped")

    studio.card("mara_28").click()

    expect(studio.page.get_by_text("The selection is another now")).to_be_visible()
