"""The page for keyboards, screen readers and narrow windows."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from comfyvn.studio.core import AssetRegistry
from gallery import Gallery, axe_core
from serving import running

FOCUSED = """() => {
    const at = document.activeElement
    return at.closest("[role=menubar]") ? "menus" : at.closest(".side") ? "filters"
        : at.matches(".search input") ? "search" : at.closest(".tools") ? "tools"
        : at.closest(".status") ? "status" : at.matches("[role=listbox]") ? "cards"
        : at.closest(".pane") ? "pane" : at.tagName
}"""


def faults(page: Any) -> list[tuple[str, str, str]]:
    """What axe finds in the page as it is, in both themes."""
    found = []
    page.evaluate(axe_core())
    for theme in ("dark", "light"):
        page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
        page.wait_for_function("() => document.getAnimations().every(each => each.playState !== 'running')")
        told = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        found += [(theme, each["id"], node["html"]) for each in told["violations"] for node in each["nodes"]]
    return found


def with_details(studio: Gallery) -> None:
    """Show the details of the focused asset."""
    studio.card("mara_28").click()
    studio.press("d")
    expect(studio.page.get_by_role("complementary", name="Details")).to_contain_text("mara_28")


def with_drawer(studio: Gallery) -> None:
    """Edit two assets."""
    studio.card("mara_28").click()
    studio.card("mara_27").click(modifiers=["Control"])
    studio.press("e")
    expect(studio.page.get_by_role("complementary", name="Edit")).to_contain_text("2 assets")


def with_list(studio: Gallery) -> None:
    """Show the list, with one row selected."""
    studio.card("mara_28").click()
    studio.press("g")


def with_menu(studio: Gallery) -> None:
    """Open the menu of a card."""
    studio.card("mara_28").click(button="right")
    expect(studio.page.get_by_role("menu")).to_be_visible()


def with_bar(studio: Gallery) -> None:
    """Open a menu of the bar."""
    studio.page.get_by_role("menuitem", name="View").click()
    expect(studio.page.get_by_role("menu")).to_be_visible()


def with_sheet(studio: Gallery) -> None:
    """Open the sheet of shortcuts."""
    studio.press("?")
    expect(studio.page.get_by_role("dialog")).to_be_visible()


def with_lightbox(studio: Gallery) -> None:
    """Open an asset in the lightbox."""
    studio.card("mara_28").click()
    studio.press("Enter")
    expect(studio.page.locator(".lightbox img").first).to_be_visible()


def with_history(studio: Gallery) -> None:
    """Rate an asset, and show the history."""
    studio.card("mara_28").click()
    studio.press("4")
    expect(studio.page.get_by_role("region", name="News")).to_contain_text("Rated")
    studio.press("h")
    expect(studio.page.get_by_role("list", name="Operations")).to_contain_text("mara_28")


def with_nothing(studio: Gallery) -> None:
    """Ask for what is not there."""
    studio.open("?tag=sunset", count=0)
    expect(studio.page.get_by_role("heading", name="No asset is like that")).to_be_visible()


STATES = {
    "grid": lambda studio: None,
    "list": with_list,
    "details": with_details,
    "drawer": with_drawer,
    "menu": with_menu,
    "bar": with_bar,
    "sheet": with_sheet,
    "lightbox": with_lightbox,
    "history": with_history,
    "nothing": with_nothing,
}


@pytest.mark.parametrize("state", STATES)
def test_axe_finds_no_fault_in_either_theme(studio: Gallery, state: str) -> None:
    """Else somebody can't read or reach a part of the page."""
    STATES[state](studio)

    assert faults(studio.page) == []


def test_axe_finds_no_fault_in_an_import(studio: Gallery, draw: Callable[..., Path], tmp_path: Path) -> None:
    """Else the dialog can't be used by ear, before or after."""
    (tmp_path / "broken.png").touch()
    studio.press("u")
    form = studio.page.get_by_role("dialog")
    expect(form).to_be_visible()
    assert faults(studio.page) == []
    with studio.page.expect_file_chooser() as chooser:
        form.get_by_role("button", name="Choose files …").click()
    chooser.value.set_files([draw("new.png", 90), draw("mara_01.png", 1), tmp_path / "broken.png"])
    form.get_by_role("combobox", name="Add a tag").fill("smile")
    studio.press("Enter")
    assert faults(studio.page) == []
    form.get_by_role("button", name="Import 3").click()
    expect(form).to_contain_text("1 new, 1 already there, 1 refused")

    assert faults(studio.page) == []


def test_axe_finds_no_fault_in_an_empty_library(empty_studio: Gallery) -> None:
    """Else the first page that a new user meets is a bad one."""
    expect(empty_studio.page.get_by_role("heading", name="This library is empty")).to_be_visible()

    assert faults(empty_studio.page) == []


def test_axe_finds_no_fault_where_one_signs_in(
    page: Any, library: AssetRegistry, page_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the door itself is closed to some."""
    monkeypatch.setattr("comfyvn.server.studio.FOLDER", page_folder)
    with running(library, is_exposed=True) as (_, address):
        page.goto(f"{address}/studio/")
        page.get_by_label("Token").fill("two words")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("no token")

        assert faults(page) == []
        page.goto("about:blank")


# -- by keyboard ------------------------------------------------------------------------------------------


def test_tab_walks_through_the_page_in_a_sensible_order(studio: Gallery) -> None:
    """Else one is lost between panes, or never gets to the cards."""
    studio.card("mara_28").click()
    studio.press("d")
    expect(studio.page.get_by_role("complementary", name="Details")).to_contain_text("mara_28")
    studio.page.get_by_role("menuitem", name="Panels").focus()
    walked = ["menus"]
    for _ in range(60):
        studio.press("Tab")
        at = studio.page.evaluate(FOCUSED)
        if at == walked[-1]:
            continue
        walked.append(at)
        if at == "pane":
            break

    assert [each for each in walked if each != "tools"] == [
        "menus", "search", "filters", "status", "cards", "pane",
    ]  # fmt: skip


def test_position_and_count_are_told_to_a_screen_reader(studio: Gallery) -> None:
    """Else walking through the cards by ear is walking in the dark."""
    studio.card("mara_29").click()
    studio.press("ArrowRight", "ArrowRight")
    grid = studio.page.get_by_role("listbox", name="Assets")
    active = studio.page.locator(f"#{grid.get_attribute('aria-activedescendant')}")

    expect(active).to_have_attribute("aria-posinset", "3")
    expect(active).to_have_attribute("aria-setsize", "30")
    expect(active).to_have_accessible_name(
        re.compile(r"^mara_27\.png ?, characters, licence CC-BY-4.0, tags night$")
    )
    expect(studio.page.get_by_role("status").filter(has_text="30 assets · card 3")).to_be_visible()


@pytest.mark.parametrize("key", ["u", "?", "F2"])
def test_a_dialog_gives_the_focus_back(studio: Gallery, key: str) -> None:
    """Else after each dialog one begins at the top of the page."""
    studio.card("mara_28").click()
    studio.press(key)
    expect(studio.page.get_by_role("dialog")).to_be_visible()
    assert studio.page.evaluate("document.activeElement.closest('[role=dialog]') !== null")

    studio.press("Escape")

    expect(studio.page.get_by_role("dialog")).to_have_count(0)
    expect(studio.page.get_by_role("listbox", name="Assets")).to_be_focused()


# -- narrow windows ---------------------------------------------------------------------------------------


OVERFLOW = """() => {
    const wide = document.documentElement.clientWidth
    return [...document.querySelectorAll("header *, .tools *, .status *, .side *, .pane *, [role=dialog] *")]
        .filter(each => each.checkVisibility() && each.getClientRects().length)
        .filter(each => !each.closest(".unseen, .connection .word, .facets [style*=none]"))
        .filter(each => {
            const {left, right, width} = each.getBoundingClientRect()
            return width > 1 && (right > wide + 1 || left < -1)
        })
        .map(each => each.outerHTML.slice(0, 90))
}"""


@pytest.fixture(params=[700, 360])
def narrow(request: Any, studio: Gallery) -> Gallery:
    """The gallery in a narrow window."""
    studio.page.set_viewport_size({"width": request.param, "height": 700})
    return studio


def test_in_a_narrow_window_filters_are_a_drawer(narrow: Gallery) -> None:
    """Else they take the place of the cards, or can't be reached."""
    side = narrow.page.get_by_role("complementary", name="Filters")
    expect(side).to_be_hidden()
    assert narrow.page.evaluate(OVERFLOW) == []
    narrow.page.get_by_role("button", name="Filters", exact=True).click()
    expect(side).to_be_visible()
    assert narrow.page.evaluate(OVERFLOW) == []

    side.get_by_role("button", name="props,").click()
    expect(narrow.page.locator(".status")).to_contain_text("10 assets")
    narrow.press("Escape")

    expect(side).to_be_hidden()
    expect(narrow.page.get_by_role("listbox", name="Assets")).to_be_focused()


@pytest.mark.parametrize(("key", "name"), [("d", "Details"), ("e", "Edit")])
def test_in_a_narrow_window_a_pane_lies_over_the_cards_and_closes(
    narrow: Gallery, key: str, name: str
) -> None:
    """Else cards shrink to a strip, or the pane can't be left."""
    cards = narrow.page.get_by_role("listbox", name="Assets")
    before = cards.bounding_box()
    narrow.card("mara_29").click()
    narrow.press(key)
    pane = narrow.page.get_by_role("complementary", name=name)
    expect(pane).to_contain_text("mara_29")
    assert narrow.page.evaluate(OVERFLOW) == []
    assert cards.bounding_box()["width"] == before["width"]

    pane.get_by_role("button", name="Close").first.click()

    expect(pane).to_have_count(0)


@pytest.mark.parametrize("key", ["u", "?", "F2"])
def test_in_a_narrow_window_dialogs_fit(narrow: Gallery, key: str) -> None:
    """Else their buttons lie outside of a window on a phone."""
    narrow.card("mara_29").click()
    narrow.press(key)
    expect(narrow.page.get_by_role("dialog")).to_be_visible()

    assert narrow.page.evaluate(OVERFLOW) == []
