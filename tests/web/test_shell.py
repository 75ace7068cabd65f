"""The frame of the page: news in its corner, panes over the grid of a narrow window, focus, the list."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from gallery import Gallery

TOAST_PX = 420


def pane(studio: Gallery) -> Any:
    """The details beside the grid, or over it."""
    return studio.page.get_by_role("complementary", name="Details")


def grid(studio: Gallery) -> Any:
    """What has the focus while one goes through the cards."""
    return studio.page.get_by_role("listbox", name="Assets")


@pytest.fixture
def phone(studio: Gallery) -> Gallery:
    """The gallery in a window as wide as a phone."""
    studio.page.set_viewport_size({"width": 390, "height": 700})
    return studio


# -- news -------------------------------------------------------------------------------------------------


def test_news_is_small_and_in_the_corner(studio: Gallery) -> None:
    """Else it covers the cards that one works on, and its close button is somewhere else each time."""
    studio.card("mara_29").click()
    studio.press("5", "Shift+L", "Shift+L", "Shift+L")

    toasts = studio.page.locator(".toast")
    expect(toasts).to_have_count(3)
    boxes = [toast.bounding_box() for toast in toasts.all()]
    ends = [toast.get_by_role("button", name="Close").bounding_box() for toast in toasts.all()]
    assert all(box["width"] <= TOAST_PX and 1280 - 24 <= box["x"] + box["width"] <= 1280 for box in boxes)
    assert len({round(end["x"]) for end in ends}) == 1
    assert all(
        box["x"] + box["width"] - end["x"] - end["width"] < 16 for box, end in zip(boxes, ends, strict=True)
    )


# -- a narrow window --------------------------------------------------------------------------------------


def test_escape_closes_a_pane_over_the_grid_from_inside(phone: Gallery) -> None:
    """Else the pane hides the cards, and who has no mouse must find its button first."""
    phone.card("mara_29").click()
    phone.press("d")
    pane(phone).get_by_role("button", name="Close details").focus()
    phone.press("Escape")

    expect(pane(phone)).to_have_count(0)
    expect(grid(phone)).to_be_focused()
    assert phone.selected() == {"mara_29"}


def test_escape_closes_a_pane_over_the_grid_when_nothing_is_selected(phone: Gallery) -> None:
    """Else Escape does nothing while a pane lies over everything."""
    phone.card("mara_29").click()
    phone.press("d")
    expect(pane(phone)).to_be_visible()
    phone.press("Escape")
    assert phone.selected() == set()
    expect(pane(phone)).to_be_visible()
    phone.press("Escape")

    expect(pane(phone)).to_have_count(0)


def test_filters_open_above_a_pane(phone: Gallery) -> None:
    """Else the key F does nothing that one sees."""
    phone.card("mara_29").click()
    phone.press("d")
    expect(pane(phone)).to_be_visible()
    phone.press("f")

    phone.page.get_by_role("button", name="props,").click()
    expect(phone.page.locator(".status")).to_contain_text("10 assets")


def test_in_the_lightbox_details_lie_over_the_picture(phone: Gallery) -> None:
    """Else the picture and its details have half a phone each, and neither can be read."""
    phone.card("mara_29").dblclick()
    phone.press("d")

    expect(pane(phone)).to_be_visible()
    assert pane(phone).bounding_box()["width"] == 390
    assert phone.page.evaluate(SCROLLS_ASIDE) == []
    pane(phone).get_by_role("button", name="Close details").focus()
    phone.press("Escape")
    expect(pane(phone)).to_have_count(0)
    expect(phone.page.get_by_role("dialog")).to_be_focused()


SCROLLS_ASIDE = """() => [...document.querySelectorAll('.lightbox, .lightbox *')]
    .filter(each => each.scrollWidth > each.clientWidth && each.clientWidth > 1)
    .filter(each => ['auto', 'scroll'].includes(getComputedStyle(each).overflowX))
    .map(each => each.outerHTML.slice(0, 90))"""


# -- the grid ---------------------------------------------------------------------------------------------


def test_the_focus_of_the_grid_is_a_whole_frame(studio: Gallery) -> None:
    """Else cards break it into dashes, and one doesn't see where the keys go."""
    studio.page.get_by_role("button", name="Import …").focus()
    before = studio.page.evaluate(FRAME)
    studio.press("Tab")
    grid(studio).focus()

    assert before == "none"
    assert studio.page.evaluate(FRAME) == "solid"


FRAME = """() => getComputedStyle(document.querySelector('.cards'), '::after').borderTopStyle"""


def test_the_list_has_names_above_its_columns(studio: Gallery) -> None:
    """Else one guesses which of two words is the type and which the tag."""
    names = studio.page.get_by_text("Licence", exact=True).and_(studio.page.locator("[aria-hidden] *"))
    expect(names).to_have_count(0)
    studio.page.get_by_role("button", name="List view").click()

    row = studio.page.locator("[data-id] .cell").filter(has_text="CC-BY-4.0").first
    expect(row).to_be_visible()
    assert names.bounding_box()["x"] == pytest.approx(row.bounding_box()["x"], abs=1)
    last = studio.page.get_by_text("Bytes", exact=True).bounding_box()
    size = studio.page.locator("[data-id] .number").first.bounding_box()
    assert last["x"] + last["width"] == pytest.approx(size["x"] + size["width"], abs=1)
