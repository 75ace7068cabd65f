"""Selecting in the gallery: by pointer, by keys, across rows that were never loaded."""

from __future__ import annotations

from playwright.sync_api import expect

from gallery import Gallery


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
    expect(studio.page.locator(".status")).to_contain_text("5 selected")
