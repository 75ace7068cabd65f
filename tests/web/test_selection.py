"""Selecting in the gallery: by pointer, by keys, across rows that were never loaded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from comfyvn.model import Asset, Facts
from comfyvn.studio.core import AssetRegistry
from gallery import Gallery, opened

MANY = 5_000


@pytest.fixture
def large(page: Any, registry: AssetRegistry, page_folder: Path) -> Iterator[Gallery]:
    """A gallery of 5,000 rows; the newest is ``row_4999``. They have no files."""
    ledger = registry.library.ledger
    rows = [row(place, number) for place, number in enumerate(ledger.reserve_ids(MANY))]
    with ledger.write() as writer:
        writer.insert(rows)
    with opened(page, registry, page_folder) as gallery:
        yield gallery


def row(place: int, number: int) -> Asset:
    digest = f"{place * 0x9E3779B97F4A7C15 % 2**64:016x}" * 4
    at = "2026-01-01 00:00:00"
    key = f"props/row_{place:04}.png"
    return Asset(number, "default", digest[:16], "props", key, digest, 9, Facts(), at, at)


def says(gallery: Gallery, text: str) -> None:
    expect(gallery.page.locator(".status")).to_contain_text(text)


def test_clicks_select_as_in_a_file_manager(studio: Gallery) -> None:
    """Else a maker who knows any file manager selects the wrong files."""
    studio.card("mara_29").click()
    assert studio.selected() == {"mara_29"}

    studio.card("mara_26").click(modifiers=["Shift"])
    assert studio.selected() == {"mara_29", "mara_28", "mara_27", "mara_26"}

    studio.card("mara_28").click(modifiers=["Shift"])
    assert studio.selected() == {"mara_29", "mara_28"}

    studio.card("mara_24").click(modifiers=["Control"])
    studio.card("mara_22").click(modifiers=["Control", "Shift"])
    assert studio.selected() == {"mara_29", "mara_28", "mara_24", "mara_23", "mara_22"}
    says(studio, "5 selected")


def test_the_mark_of_a_card_adds_it_to_the_selection(studio: Gallery) -> None:
    """Else somebody without a keyboard could not select two."""
    studio.card("mara_29").click()

    for name in ("mara_27", "mara_25"):
        studio.card(name).hover()
        studio.card(name).locator("[data-check]").click()

    assert studio.selected() == {"mara_29", "mara_27", "mara_25"}


def test_arrows_walk_through_the_cards_and_shift_extends(studio: Gallery) -> None:
    """Else the gallery can't be used without a mouse."""
    studio.card("mara_29").click()

    studio.press("ArrowRight", "ArrowRight")
    assert studio.selected() == {"mara_27"}
    says(studio, "30 assets · card 3")

    studio.press("Shift+ArrowRight", "Shift+ArrowRight", "Shift+ArrowLeft")
    assert studio.selected() == {"mara_27", "mara_26"}

    studio.press("Home")
    assert studio.selected() == {"mara_29"}
    studio.press("End")
    assert studio.selected() == {"mara_00"}
    expect(studio.card("mara_00")).to_be_in_viewport()
    columns = len(
        {round(studio.card(name).bounding_box()["x"]) for name in ("mara_05", "mara_04", "mara_03")}
    )
    assert columns == 3, "the test wants some columns"


def test_up_and_down_stay_in_their_column(studio: Gallery) -> None:
    """Else each step through a wide grid would have to be looked for."""
    studio.card("mara_28").click()
    before = studio.card("mara_28").bounding_box()

    studio.press("ArrowDown")

    (name,) = studio.selected()
    after = studio.card(name).bounding_box()
    assert name != "mara_28"
    assert after["x"] == before["x"]
    studio.press("ArrowUp")
    assert studio.selected() == {"mara_28"}
    studio.press("ArrowUp")
    assert studio.selected() == {"mara_28"}


def test_space_with_control_toggles_and_escape_clears(studio: Gallery) -> None:
    """Else a selection that is not one range needs a mouse."""
    studio.card("mara_29").click()

    studio.press("ArrowRight", "Control+Space")
    assert studio.selected() == set()
    studio.press("Control+Space")
    assert studio.selected() == {"mara_28"}
    studio.press("Control+a")
    says(studio, "30 selected")
    studio.press("Control+i")
    assert studio.selected() == set()
    studio.press("Control+a", "Escape")
    assert studio.selected() == set()


def test_the_whole_result_is_selected_however_long_it_is(large: Gallery) -> None:
    """Else Ctrl+A selects what happens to be loaded, and a bulk edit forgets the rest."""
    large.card("row_4999").click()

    large.press("Control+a")

    says(large, "5,000 selected")


def test_a_range_goes_across_rows_that_were_never_loaded(large: Gallery) -> None:
    """Else shift-click from the top to the end selects only the rows that were scrolled past."""
    asked: list[str] = []
    large.card("row_4999").click()
    large.page.on("request", lambda request: asked.append(request.url))

    large.page.get_by_role("listbox").evaluate("element => element.scrollTop = element.scrollHeight")
    large.card("row_0000").click(modifiers=["Shift"])

    says(large, "5,000 selected")
    assert len([url for url in asked if url.endswith("/assets/rows")]) < 10

    large.press("Shift+Home")
    says(large, "1 selected")


def test_a_rectangle_drawn_from_empty_space_selects_and_scrolls_along(large: Gallery) -> None:
    """Else selecting a block of cards takes a click each."""
    box = large.page.get_by_role("listbox").bounding_box()
    mouse = large.page.mouse
    mouse.move(box["x"] + 4, box["y"] + 4)
    mouse.down()
    mouse.move(box["x"] + 300, box["y"] + 200, steps=4)
    few = len(large.selected())
    assert 0 < few < 10

    mouse.move(box["x"] + box["width"] - 30, box["y"] + box["height"] - 3, steps=4)
    expect(large.card("row_4999")).not_to_be_in_viewport()
    mouse.up()

    count = int(large.page.locator(".status .selected").inner_text().split()[0].replace(",", ""))
    assert count > few
    assert large.page.get_by_role("listbox").evaluate("element => element.scrollTop") > 0


def test_with_control_a_rectangle_adds_and_with_shift_takes_out(studio: Gallery) -> None:
    """Else one more block can't be added to what is selected."""
    studio.press("Tab")
    studio.card("mara_29").click()
    studio.press("Control+a")
    box = studio.page.get_by_role("listbox").bounding_box()

    def draw(*keys: str) -> None:
        for key in keys:
            studio.page.keyboard.down(key)
        first = studio.card("mara_29").bounding_box()
        studio.page.mouse.move(box["x"] + 4, box["y"] + 4)
        studio.page.mouse.down()
        studio.page.mouse.move(first["x"] + first["width"] / 2, first["y"] + first["height"] / 2, steps=3)
        studio.page.mouse.up()
        for key in keys:
            studio.page.keyboard.up(key)

    draw("Control", "Shift")
    says(studio, "29 selected")
    draw("Control")
    says(studio, "30 selected")
    draw()
    assert studio.selected() == {"mara_29"}


def test_a_click_on_empty_space_selects_nothing(studio: Gallery) -> None:
    """Else there is no way out of a selection by mouse."""
    studio.card("mara_29").click()
    box = studio.page.get_by_role("listbox").bounding_box()

    studio.page.mouse.click(box["x"] + 4, box["y"] + 4)

    assert studio.selected() == set()


def test_the_selection_survives_a_filter_and_says_what_is_out_of_view(studio: Gallery) -> None:
    """Else "2 selected" looks like two, and the edit changes eleven."""
    studio.card("mara_29").click()
    studio.card("mara_19").click(modifiers=["Shift"])
    says(studio, "11 selected")

    studio.open_in_place("?type=characters")

    says(studio, "10 assets")
    says(studio, "11 selected, 8 outside this view")
    studio.page.go_back()
    says(studio, "30 assets")
    assert len(studio.selected()) == 11


def test_the_selection_survives_an_edit_by_another_program(studio: Gallery) -> None:
    """Else each edit by a script throws away what was just selected by hand."""
    studio.card("mara_29").click()
    studio.card("mara_25").click(modifiers=["Shift"])

    studio.registry.bulk_update_tags([studio.uid("mara_27")], add_tags=["seen"])

    expect(studio.card("mara_27")).to_contain_text("seen")
    assert len(studio.selected()) == 5


def test_the_place_of_a_card_is_told_to_screen_readers(studio: Gallery) -> None:
    """Else who can't see the grid hears nothing of where he is."""
    studio.card("mara_28").click()

    card = studio.card("mara_28")

    assert card.get_attribute("aria-posinset") == "2"
    assert card.get_attribute("aria-setsize") == "30"
    active = studio.page.get_by_role("listbox").get_attribute("aria-activedescendant")
    assert active == card.get_attribute("id")


@pytest.mark.skipif(sys.platform == "darwin", reason="there it is the command key")
def test_the_tile_size_keeps_the_card_that_is_looked_at(large: Gallery) -> None:
    """Else the picture is lost each time that one looks closer."""
    large.card("row_4999").click()
    large.press("PageDown", "PageDown", "PageDown", "PageDown")
    (name,) = large.selected()

    for _ in range(4):
        large.press("+")
        expect(large.card(name)).to_be_in_viewport()
    for _ in range(6):
        large.press("-")
        expect(large.card(name)).to_be_in_viewport()
    large.press("g")
    expect(large.card(name)).to_be_in_viewport()


def test_keys_on_a_control_do_nothing_to_what_is_selected(studio: Gallery) -> None:
    """Else a digit on the slider rates, and Backspace on a filter's button moves files to the trash."""
    studio.press("Tab")
    studio.card("mara_29").click()
    for control in (
        studio.page.get_by_role("slider", name="Tile size"),
        studio.page.get_by_role("combobox", name="Order"),
        studio.page.get_by_role("button", name="characters").first,
    ):
        control.focus()
        studio.press("Delete", "Backspace", "4")

    says(studio, "30 assets")
    assert "rating" not in studio.record("mara_29")["meta"]


def test_after_selecting_all_the_keys_are_for_the_cards(studio: Gallery) -> None:
    """Else a click on a filter, Ctrl+A and a digit rate nothing."""
    studio.page.get_by_role("button", name="props").first.click()
    says(studio, "10 assets")

    studio.press("Control+a", "3")

    expect(studio.page.locator(".toast")).to_contain_text("10 assets")
    assert studio.record("mara_29")["meta"]["rating"] == 3


def test_nothing_unseen_is_selected_after_a_failed_read(studio: Gallery) -> None:
    """Else Ctrl+A and a key change assets that are not on the screen."""
    studio.page.route("**/assets/index*", lambda route: route.fulfill(status=503, json={"detail": "busy"}))
    studio.open_in_place("?type=props")
    expect(studio.page.get_by_role("listbox")).to_be_hidden()

    studio.press("Control+a", "4")

    assert not any("rating" in record["meta"] for record in studio.registry.iter_assets())
