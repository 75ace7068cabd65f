"""Menus, the sheet of shortcuts and themes: the same commands by mouse and by keyboard."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from gallery import Gallery


def menu(studio: Gallery) -> Any:
    """The menu that is open."""
    return studio.page.get_by_role("menu").last


def item(studio: Gallery, title: str) -> Any:
    """An entry of the menu that is open."""
    return menu(studio).get_by_role("menuitem", name=title, exact=True)


def open_menu(studio: Gallery, name: str) -> None:
    """Open the menu of a card with the mouse."""
    studio.card(name).click(button="right")
    expect(menu(studio)).to_be_visible()


def grid(studio: Gallery) -> Any:
    """What has the focus when one walks from card to card."""
    return studio.page.get_by_role("listbox", name="Assets")


def sheet(studio: Gallery) -> Any:
    """The sheet of shortcuts."""
    return studio.page.get_by_role("dialog", name="Keyboard shortcuts")


# -- the menu of the grid ---------------------------------------------------------------------------------


def test_the_menu_is_about_the_card_that_was_clicked(studio: Gallery) -> None:
    """Else "move to trash" would hit what was selected somewhere else."""
    studio.card("mara_29").click()
    open_menu(studio, "mara_25")
    assert studio.selected() == {"mara_25"}

    item(studio, "Move to trash").click()

    expect(studio.card("mara_25")).to_have_count(0)
    expect(studio.card("mara_29")).to_be_visible()


def test_the_menu_on_a_selected_card_is_about_the_whole_selection(studio: Gallery) -> None:
    """Else a right click would throw away what was selected with care."""
    studio.card("mara_29").click()
    studio.card("mara_27").click(modifiers=["Control"])
    open_menu(studio, "mara_27")
    assert studio.selected() == {"mara_27", "mara_29"}

    item(studio, "Rate").click()
    item(studio, "Rate 4").click()

    expect(studio.page.get_by_role("region", name="News")).to_contain_text("Rated 2 assets")
    assert [studio.record(name)["meta"]["rating"] for name in ("mara_27", "mara_29")] == [4, 4]


@pytest.mark.parametrize("key", ["Shift+F10", "ContextMenu"])
def test_the_menu_opens_by_key_at_the_focused_card(studio: Gallery, key: str) -> None:
    """Else nothing of it could be reached without a mouse, or it would open in a corner."""
    studio.card("mara_28").click()
    studio.press("ArrowRight")
    card = studio.card("mara_27").bounding_box()
    studio.press(key)
    box = menu(studio).bounding_box()
    assert card["x"] < box["x"] < card["x"] + card["width"]

    studio.press("Escape")
    expect(menu(studio)).to_have_count(0)
    expect(grid(studio)).to_be_focused()
    assert studio.selected() == {"mara_27"}
    studio.press("ArrowRight")
    assert studio.selected() == {"mara_26"}


def test_what_is_not_possible_is_grey(studio: Gallery) -> None:
    """Else an entry that does nothing is clicked again and again."""
    open_menu(studio, "mara_29")
    expect(item(studio, "Compare two to four assets")).to_be_disabled()
    expect(item(studio, "Rename")).to_be_enabled()
    studio.press("Escape")

    studio.card("mara_28").click(modifiers=["Control"])
    open_menu(studio, "mara_28")
    expect(item(studio, "Compare two to four assets")).to_be_enabled()
    expect(item(studio, "Rename")).to_be_disabled()


def test_entries_show_the_keys_that_do_the_same(studio: Gallery) -> None:
    """Else nobody learns the quick way."""
    open_menu(studio, "mara_29")
    expect(item(studio, "Rename")).to_contain_text("F2")
    expect(item(studio, "Copy debug JSON")).to_contain_text("Ctrl+Shift+C")


def test_a_dialog_from_the_menu_gives_the_focus_back_to_the_grid(studio: Gallery) -> None:
    """Else the next arrow key would go nowhere."""
    open_menu(studio, "mara_28")
    item(studio, "Rename").click()
    expect(studio.page.get_by_role("textbox", name="File name")).to_be_focused()

    studio.press("Escape")

    expect(grid(studio)).to_be_focused()
    studio.press("ArrowRight")
    assert studio.selected() == {"mara_27"}


def test_a_command_of_the_menu_bar_leaves_one_where_one_was(studio: Gallery) -> None:
    """Else each use of the bar would cost the place in the grid."""
    studio.card("mara_28").click()
    studio.page.get_by_role("menuitem", name="Select").click()
    item(studio, "Select the whole result").click()

    expect(studio.page.locator(".status")).to_contain_text("30 selected")
    expect(grid(studio)).to_be_focused()


def test_the_menu_bar_works_by_keyboard(studio: Gallery) -> None:
    """Else panels could be opened by mouse only."""
    studio.page.get_by_role("menuitem", name="Panels").focus()
    studio.press("Enter")
    expect(studio.page.get_by_role("menuitemcheckbox", name="Asset Gallery")).to_be_checked()
    studio.press("ArrowRight", "ArrowRight", "ArrowRight")
    item(studio, "Show or hide details").focus()
    studio.press("Enter")

    expect(studio.page.get_by_role("complementary", name="Details")).to_be_visible()


# -- the sheet --------------------------------------------------------------------------------------------


def test_the_question_mark_shows_all_shortcuts(studio: Gallery) -> None:
    """Else they must be guessed."""
    studio.card("mara_28").click()
    studio.press("?")

    for title, key in {
        "Select the whole result": "Ctrl+A",
        "Rename": "F2",
        "Actual size (1:1)": "Z",
        "Play or pause": "Space",
    }.items():
        line = sheet(studio).locator(".row").filter(has_text=re.compile(rf"^{re.escape(title)}"))
        expect(line.locator("kbd").first).to_have_text(key)
    expect(sheet(studio).get_by_role("heading", level=2).nth(1)).to_have_text("In the gallery")
    studio.press("Escape")
    expect(sheet(studio)).to_have_count(0)
    expect(grid(studio)).to_be_focused()


def test_in_the_lightbox_its_own_shortcuts_come_first(studio: Gallery) -> None:
    """Else one reads about tiles while one looks for the zoom."""
    studio.card("mara_28").click()
    studio.press("Enter")
    expect(studio.page.locator(".lightbox")).to_be_visible()
    studio.press("?")

    expect(sheet(studio).get_by_role("heading", level=2).nth(1)).to_have_text("In the lightbox")
    studio.press("Escape")
    expect(studio.page.locator(".lightbox")).to_be_visible()


# -- themes -----------------------------------------------------------------------------------------------


DARK, LIGHT = "rgb(21, 20, 27)", "rgb(241, 239, 246)"


def has_ground(studio: Gallery, colour: str) -> None:
    """Expect a colour behind everything."""
    expect(studio.page.locator("html")).to_have_css("background-color", colour)


def test_the_theme_is_dark_can_be_switched_and_is_kept(studio: Gallery) -> None:
    """Else art is judged on a ground that nobody chose."""
    has_ground(studio, DARK)
    studio.press("Shift+L")
    has_ground(studio, LIGHT)

    studio.page.reload()
    expect(studio.card("mara_29")).to_be_visible()
    has_ground(studio, LIGHT)
    studio.page.get_by_role("menuitem", name="View").click()
    expect(studio.page.get_by_role("menuitemradio", name="Light")).to_be_checked()
    studio.page.get_by_role("menuitemradio", name="As the system").click()
    studio.page.emulate_media(color_scheme="dark")
    has_ground(studio, DARK)
    studio.page.emulate_media(color_scheme="light")
    has_ground(studio, LIGHT)


def test_in_high_contrast_selection_and_focus_can_be_told(studio: Gallery) -> None:
    """Else with the colours of the system all cards look the same."""
    studio.page.emulate_media(forced_colors="active")
    studio.card("mara_28").click()
    studio.card("mara_27").click(modifiers=["Control"])

    def border(name: str) -> str:
        return str(studio.card(name).evaluate("card => getComputedStyle(card).borderTopColor"))

    assert border("mara_28") == border("mara_27") != border("mara_26")
    ring = "card => getComputedStyle(card, '::after').borderTopStyle"
    assert [studio.card(name).evaluate(ring) for name in ("mara_27", "mara_28")] == ["dashed", "none"]
