"""Finding in the gallery: facets, the search box, chips, and the address that holds them."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from comfyvn.db.tokens import Tokens
from comfyvn.registry.rebuild import rebuild
from comfyvn.studio.core import AssetRegistry
from gallery import Gallery, axe_core, opened

ODD_TAGS = ("two words", "angry, very", 'he said "hi"', "scene:night", "-minus", "笑顔")


def group(studio: Gallery, title: str) -> Any:
    """The group of filters of this name."""
    return studio.page.get_by_role("group", name=title, exact=True)


def value(studio: Gallery, title: str, name: str) -> Any:
    """The button of one value in a group of filters."""
    return group(studio, title).get_by_role("button", name=re.compile(rf"^{re.escape(name)}(,|$)"))


def values(studio: Gallery, title: str) -> list[str]:
    """What the buttons of a group say, from the top: value and number."""
    said = group(studio, title).locator("button.value").all_inner_texts()
    return [" ".join(text.split()) for text in said]


def box(studio: Gallery) -> Any:
    """The search box."""
    return studio.page.get_by_role("combobox", name="Search")


def suggestions(studio: Gallery) -> Any:
    """What the search box offers."""
    return studio.page.get_by_role("listbox", name="Suggestions").get_by_role("option")


def chip(studio: Gallery, name: str) -> Any:
    """The chip of a condition above the grid."""
    return studio.page.get_by_role("list", name="Conditions").get_by_role("listitem").filter(has_text=name)


def found(studio: Gallery, count: int) -> None:
    """Wait for a result of so many assets."""
    said = re.compile(rf"^{count} asset")
    expect(studio.page.locator(".status")).to_have_text(said)


def asked(studio: Gallery) -> dict[str, list[str]]:
    """The conditions that the address holds."""
    return parse_qs(urlsplit(studio.page.url).query, keep_blank_values=True)


def leave_the_filters(studio: Gallery) -> None:
    """Take pointer and focus to where no filter is."""
    studio.page.mouse.move(800, 400)
    box(studio).focus()


def entries(studio: Gallery) -> int:
    """How many steps the window's history has."""
    return int(studio.page.evaluate("history.length"))


# -- facets -----------------------------------------------------------------------------------------------


def test_several_types_find_any_of_them_and_several_tags_only_what_has_all(studio: Gallery) -> None:
    """Else a maker who picks two values gets another set than the two words say."""
    value(studio, "Type", "characters").click()
    found(studio, 10)
    value(studio, "Type", "props").click()
    found(studio, 20)
    expect(value(studio, "Type", "props")).to_have_attribute("aria-pressed", "true")

    value(studio, "Tag", "smile").click()
    found(studio, 10)
    value(studio, "Tag", "night").click()
    found(studio, 5)
    assert asked(studio) == {"type": ["characters", "props"], "tag": ["smile", "night"]}

    value(studio, "Type", "characters").click()
    found(studio, 0)


def test_a_value_is_excluded_by_its_button_or_with_alt_and_is_seen_to_be(studio: Gallery) -> None:
    """Else there is no way to look for all but one kind, or one overlooks that something is left out."""
    value(studio, "Tag", "night").hover()
    group(studio, "Tag").get_by_role("button", name="Exclude night").click()
    found(studio, 20)
    expect(value(studio, "Tag", "night")).to_have_accessible_name("night, 10 assets, excluded")
    expect(value(studio, "Tag", "night").locator(".word")).to_have_css("text-decoration-line", "line-through")
    expect(chip(studio, "Not tag: night")).to_be_visible()

    value(studio, "Type", "props").click(modifiers=["Alt"])
    found(studio, 10)
    assert asked(studio) == {"not_tag": ["night"], "not_type": ["props"]}

    value(studio, "Tag", "night").click()
    found(studio, 20)
    assert asked(studio) == {"not_type": ["props"]}


def test_assets_without_a_licence_or_without_tags_are_found(studio: Gallery) -> None:
    """Else those that still need work can't be told from the rest."""
    assert values(studio, "Licence")[0] == "no licence 6"
    value(studio, "Licence", "no licence").click()
    found(studio, 6)
    assert set(studio.names()) == {"mara_00", "mara_05", "mara_10", "mara_15", "mara_20", "mara_25"}

    value(studio, "Licence", "no licence").click()
    value(studio, "Licence", "no licence").click(modifiers=["Alt"])
    found(studio, 24)
    expect(chip(studio, "Has a licence")).to_be_visible()

    studio.page.get_by_role("button", name="Clear all").click()
    value(studio, "Tag", "no tags").click()
    found(studio, 10)
    assert "mara_01" in studio.names()
    assert "mara_02" not in studio.names()


def test_numbers_say_what_the_next_click_finds_and_ignore_the_choice_in_their_own_group(
    studio: Gallery,
) -> None:
    """Else a chosen type shows 0 beside every other, and nobody knows what there is."""
    value(studio, "Type", "characters").click()
    found(studio, 10)

    expect(value(studio, "Type", "props")).to_have_accessible_name("props, 10 assets")
    expect(value(studio, "Tag", "smile")).to_have_accessible_name("smile, 5 assets")
    expect(value(studio, "Licence", "no licence")).to_have_accessible_name("no licence, 2 assets")


def test_what_is_chosen_stands_on_top_even_when_nothing_has_it(studio: Gallery) -> None:
    """Else the condition that empties the gallery is nowhere to be found."""
    value(studio, "Tag", "night").click()
    leave_the_filters(studio)
    expect(group(studio, "Tag").locator("button.value").first).to_have_accessible_name("night, 10 assets")

    box(studio).fill("tag:night nowhere")
    found(studio, 0)
    expect(group(studio, "Tag").locator("button.value").first).to_have_accessible_name("night, 0 assets")
    expect(value(studio, "Tag", "night")).to_have_attribute("aria-pressed", "true")


def test_nothing_moves_under_the_pointer_or_the_focus(studio: Gallery) -> None:
    """Else a second click on the same spot hits another value, and one sees a result nobody asked for."""
    before = values(studio, "Tag")
    spot = value(studio, "Tag", "smile").bounding_box()
    here = (spot["x"] + spot["width"] / 2, spot["y"] + spot["height"] / 2)
    studio.page.mouse.click(*here)
    found(studio, 15)
    expect(chip(studio, "Tag: smile")).to_be_visible()
    studio.page.mouse.click(*here)
    found(studio, 30)
    studio.page.mouse.click(*here)
    found(studio, 15)
    assert [text.rsplit(" ", 1)[0] for text in values(studio, "Tag")] == [
        text.rsplit(" ", 1)[0] for text in before
    ]

    studio.page.mouse.move(800, 400)
    expect(value(studio, "Tag", "smile")).to_be_focused()
    expect(group(studio, "Tag").locator("button.value").first).not_to_have_accessible_name(
        re.compile("smile")
    )
    box(studio).focus()
    expect(group(studio, "Tag").locator("button.value").first).to_have_accessible_name(re.compile("smile"))


def test_stars_that_were_given_are_found(studio: Gallery, library: AssetRegistry) -> None:
    """Else one rates the best pictures and can't see them together."""
    for name, rating in (("mara_01", 5), ("mara_02", 3), ("mara_03", 1)):
        library.merge_asset_meta(studio.uid(name), {"rating": rating})
    group(studio, "Stars").get_by_role("button", name="3 stars or more").click()
    found(studio, 2)
    assert set(studio.names()) == {"mara_01", "mara_02"}
    assert asked(studio) == {"rating": ["3"]}
    expect(box(studio)).to_have_value("rating:3")
    expect(chip(studio, "3 stars or more")).to_be_visible()

    studio.press("ArrowRight", "ArrowRight", "Enter")
    found(studio, 1)
    group(studio, "Stars").get_by_role("button", name="5 stars").click()
    found(studio, 30)

    box(studio).fill("stars:1 mara_0")
    found(studio, 3)
    expect(group(studio, "Stars").get_by_role("button", pressed=True)).to_have_accessible_name(
        "1 star or more"
    )


def test_a_group_is_walked_and_used_by_keys_alone(studio: Gallery) -> None:
    """Else who has no mouse can't filter, or has to press Tab a hundred times."""
    value(studio, "Tag", "no tags").focus()
    studio.press("ArrowDown", "ArrowDown")
    expect(value(studio, "Tag", "night")).to_be_focused()
    studio.press("Enter")
    found(studio, 10)
    expect(value(studio, "Tag", "night")).to_be_focused()

    studio.press("End", "ArrowUp")
    expect(value(studio, "Tag", "smile")).to_be_focused()
    studio.press("Alt+Enter")
    found(studio, 5)
    expect(value(studio, "Tag", "smile")).to_be_focused()

    studio.press("Home", "End", "ArrowRight")
    expect(group(studio, "Tag").get_by_role("button", name="Exclude night")).to_be_focused()
    studio.press("Space")
    found(studio, 10)
    assert asked(studio) == {"not_tag": ["smile", "night"]}

    studio.press("Tab")
    expect(group(studio, "Licence").locator("h2 button")).to_be_focused()


def test_a_folded_group_stays_folded_and_says_that_something_is_chosen_in_it(studio: Gallery) -> None:
    """Else one folds it again each day, or forgets the condition inside."""
    value(studio, "Type", "props").click()
    found(studio, 10)
    heading = group(studio, "Type").locator("h2 button")
    heading.click()
    expect(value(studio, "Type", "props")).to_be_hidden()
    expect(heading).to_have_accessible_name(re.compile("1 chosen"))

    studio.page.reload()
    found(studio, 10)
    expect(heading).to_have_attribute("aria-expanded", "false")
    expect(value(studio, "Tag", "smile")).to_be_visible()


def test_rare_tags_are_found_though_only_a_hundred_are_counted(
    studio: Gallery, library: AssetRegistry
) -> None:
    """Else a library with many tags hides all but the most frequent."""
    tags = [f"scene {number:03}" for number in range(110)]
    for name, some in (("mara_01", [*tags, "zither"]), ("mara_07", tags)):
        library.update_asset_meta(studio.uid(name), {"tags": some})
    expect(group(studio, "Tag").get_by_role("textbox", name="Find in Tag")).to_be_visible()
    assert len(values(studio, "Tag")) < 20

    group(studio, "Tag").get_by_role("button", name=re.compile("^More")).click()
    expect(value(studio, "Tag", "scene 050")).to_be_visible()
    expect(value(studio, "Tag", "zither")).to_have_count(0)

    group(studio, "Tag").get_by_role("textbox", name="Find in Tag").fill("zi")
    expect(group(studio, "Tag").get_by_text("Counted in the whole library")).to_be_visible()
    value(studio, "Tag", "zither").click()
    found(studio, 1)
    assert studio.names() == ["mara_01"]


def test_numbers_change_when_another_process_tags(studio: Gallery, library: AssetRegistry) -> None:
    """Else a script's work is seen only after a reload."""
    expect(value(studio, "Tag", "smile")).to_have_accessible_name("smile, 15 assets")

    program = (
        "import sys; from comfyvn.studio.core import AssetRegistry\n"
        "with AssetRegistry() as registry: registry.bulk_edit(sys.argv[1:], add_tags=['smile', 'dawn'])"
    )
    command = [sys.executable, "-c", program, studio.uid("mara_01"), studio.uid("mara_03")]
    subprocess.run(command, check=True, timeout=30, cwd=Path.cwd())

    expect(value(studio, "Tag", "smile")).to_have_accessible_name("smile, 17 assets")
    expect(value(studio, "Tag", "dawn")).to_have_accessible_name("dawn, 2 assets")


# -- problems ---------------------------------------------------------------------------------------------


def test_a_missing_file_is_a_problem_until_it_is_found_again(studio: Gallery, library: AssetRegistry) -> None:
    """Else assets whose file is gone are met only when a game fails to load them."""
    expect(value(studio, "Problems", "No licence")).to_have_accessible_name("No licence, 6 assets")
    expect(value(studio, "Problems", "File missing")).to_have_count(0)
    path = library.resolve_path(studio.uid("mara_04"))
    assert path is not None
    away = Path.cwd() / "away.bin"
    shutil.move(path, away)
    rebuild(library)

    value(studio, "Problems", "File missing").click()
    found(studio, 1)
    assert studio.names() == ["mara_04"]
    expect(value(studio, "Problems", "File missing")).to_have_attribute("title", re.compile("assets folder"))

    shutil.move(away, path)
    group(studio, "Problems").get_by_role("button", name="Fix File missing").click()
    found(studio, 0)
    expect(studio.page.get_by_text("All of them are fixed.")).to_be_visible()
    assert library.count_assets(problems=["missing"]) == 0


def test_sidecars_that_nobody_has_read_are_read_or_written(studio: Gallery, library: AssetRegistry) -> None:
    """Else the problem stays after "Fix", as it does after an enforcement."""
    gone = library.sidecar_path(studio.uid("mara_04"))
    assert gone is not None
    gone.unlink()
    with closing(sqlite3.connect(library.db_path)) as ledger, ledger:  # as an older release leaves it
        older = [(studio.uid(name),) for name in ("mara_04", "mara_05", "mara_06")]
        ledger.executemany("UPDATE assets_registry SET sidecar_size = NULL WHERE uid = ?", older)
    studio.page.reload()

    value(studio, "Problems", "No sidecar").click()
    found(studio, 3)
    group(studio, "Problems").get_by_role("button", name="Fix No sidecar").click()
    found(studio, 0)
    assert gone.is_file()


def test_a_missing_licence_is_fixed_by_editing_all_that_have_none(studio: Gallery) -> None:
    """Else a maker has to find, select and open them by hand."""
    value(studio, "Type", "characters").click()
    found(studio, 10)
    group(studio, "Problems").get_by_role("button", name="Fix No licence").click()

    found(studio, 2)
    expect(studio.page.locator(".status")).to_contain_text("2 selected")
    expect(studio.page.get_by_role("complementary", name="Edit")).to_be_visible()
    assert asked(studio) == {"type": ["characters"], "problem": ["no-license"], "panel": ["edit"]}


def test_who_may_only_read_sees_problems_but_is_told_that_fixing_needs_a_token(
    page: Any, library: AssetRegistry, page_folder: Path
) -> None:
    """Else one is sent into a refusal, or can't even look at what is wrong."""
    Tokens(library.library.ledger.engine, library.project_id).create("nightly", "assets.write")
    with opened(page, library, page_folder) as studio:
        fix = group(studio, "Problems").get_by_role("button", name="Fix No licence")
        expect(fix).to_be_disabled()
        expect(fix).to_have_attribute("title", re.compile("need a token"))

        value(studio, "Problems", "No licence").click()
        found(studio, 6)


# -- the search box ---------------------------------------------------------------------------------------


def test_the_result_follows_as_one_types_and_is_one_step_back(studio: Gallery) -> None:
    """Else each letter is a step of its own for Back, or nothing happens before Enter."""
    before = entries(studio)
    studio.press("/")
    expect(box(studio)).to_be_focused()
    studio.page.keyboard.type("mara_1", delay=5)
    found(studio, 10)
    studio.page.keyboard.type("7")
    found(studio, 1)
    assert studio.names() == ["mara_17"]
    assert asked(studio) == {"q": ["mara_17"]}
    assert entries(studio) == before + 1

    studio.page.go_back()
    found(studio, 30)
    expect(box(studio)).to_have_value("")
    studio.page.go_forward()
    found(studio, 1)
    expect(box(studio)).to_have_value("mara_17")


def test_words_are_found_in_any_order_and_in_quotes_as_they_stand(
    studio: Gallery, library: AssetRegistry
) -> None:
    """Else "mara smile" finds nothing although both words are there."""
    library.update_asset_meta(studio.uid("mara_07"), {"title": "The Harbour at Dusk"})
    box(studio).fill("dusk mara harbour")
    found(studio, 1)
    assert studio.names() == ["mara_07"]
    assert asked(studio) == {"q": ["dusk", "mara", "harbour"]}

    box(studio).fill('mara "dusk harbour"')
    found(studio, 0)
    box(studio).fill('mara "harbour at dusk"')
    found(studio, 1)
    studio.page.reload()
    found(studio, 1)
    expect(box(studio)).to_have_value('mara "harbour at dusk"')

    studio.page.get_by_role("button", name="Remove text harbour at dusk").click()
    found(studio, 30)
    expect(box(studio)).to_have_value("mara")


def test_a_tag_is_completed_by_keys_and_not_asked_for_by_halves(studio: Gallery) -> None:
    """Else the gallery empties while one types, or the tags have to be known by heart."""
    studio.press("Control+f")
    studio.page.keyboard.type("tag:ni", delay=5)
    expect(suggestions(studio)).to_have_text([re.compile(r"tag:night\s*10")])
    found(studio, 30)

    studio.press("Enter")
    found(studio, 10)
    expect(box(studio)).to_have_value("tag:night ")
    expect(suggestions(studio)).to_have_count(0)

    studio.page.keyboard.type("-tag:sm", delay=5)
    expect(suggestions(studio)).to_have_count(1)
    studio.press("Tab")
    found(studio, 5)
    expect(box(studio)).to_be_focused()
    assert asked(studio) == {"tag": ["night"], "not_tag": ["smile"]}


def test_a_plain_word_offers_what_is_called_so(studio: Gallery) -> None:
    """Else only who knows the syntax finds by tag, type and licence."""
    box(studio).click()
    expect(suggestions(studio).filter(has_text="licence:")).to_have_count(2)

    studio.page.keyboard.type("cc", delay=5)
    expect(suggestions(studio)).to_have_text(
        [re.compile(r"licence:CC-BY-4\.0\s*12"), re.compile(r"licence:CC0-1\.0\s*12")]
    )
    studio.press("ArrowDown", "ArrowDown", "Enter")
    found(studio, 12)
    assert asked(studio) == {"license": ["CC0-1.0"]}

    studio.page.keyboard.type("pro", delay=5)
    expect(suggestions(studio).filter(has_text="type:props")).to_be_visible()
    suggestions(studio).filter(has_text="problem:").click()
    expect(box(studio)).to_have_value("licence:CC0-1.0 problem:")
    suggestions(studio).filter(has_text="problem:no-tags").click()
    expect(box(studio)).to_have_value("licence:CC0-1.0 problem:no-tags ")
    found(studio, 0)


def test_escape_closes_the_suggestions_and_then_leads_to_the_cards(studio: Gallery) -> None:
    """Else one is caught in the search box."""
    studio.press("/")
    studio.page.keyboard.type("type:pro", delay=5)
    expect(suggestions(studio)).to_have_count(1)
    studio.press("Escape")
    expect(suggestions(studio)).to_have_count(0)
    expect(box(studio)).to_be_focused()

    studio.press("Escape", "Home")
    expect(studio.page.locator("[role=option][aria-selected=true]")).to_have_count(1)
    assert studio.selected() == {"mara_29"}
    expect(studio.page.get_by_text("Not finished, so it does not count yet: type:pro")).to_be_visible()


def test_what_is_typed_is_not_touched_while_the_result_follows(studio: Gallery) -> None:
    """Else the caret jumps, and letters land in the wrong place."""
    box(studio).fill("mara tag:smile")
    found(studio, 15)
    for _ in range(10):
        studio.press("ArrowLeft")
    studio.page.keyboard.type("_2", delay=60)
    found(studio, 5)
    studio.page.keyboard.type("8", delay=60)

    found(studio, 1)
    expect(box(studio)).to_have_value("mara_28 tag:smile")
    assert box(studio).evaluate("element => element.selectionStart") == len("mara_28")


def test_the_box_and_the_facets_say_the_same(studio: Gallery) -> None:
    """Else two places show two different searches."""
    box(studio).fill("mara type:props")
    found(studio, 10)
    expect(value(studio, "Type", "props")).to_have_attribute("aria-pressed", "true")

    value(studio, "Tag", "smile").click()
    value(studio, "Licence", "no licence").click(modifiers=["Alt"])
    expect(box(studio)).to_have_value("type:props tag:smile -licence:none mara")
    found(studio, 4)

    studio.page.get_by_role("button", name="Clear the search").click()
    found(studio, 30)
    expect(box(studio)).to_be_focused()
    expect(value(studio, "Type", "props")).to_have_attribute("aria-pressed", "false")


@pytest.mark.parametrize("tag", ODD_TAGS)
def test_a_tag_is_found_whatever_signs_it_holds(studio: Gallery, library: AssetRegistry, tag: str) -> None:
    """Else tags with spaces, commas, quotes or colons can be given but never found."""
    library.update_asset_meta(studio.uid("mara_07"), {"tags": [tag]})
    expect(value(studio, "Tag", tag)).to_be_visible()

    studio.press("/")
    studio.page.keyboard.type(f"tag:{tag[:-1]}" if " " not in tag else f'tag:"{tag[:5]}', delay=5)
    expect(suggestions(studio)).to_have_count(1)
    studio.press("Enter")
    found(studio, 1)
    assert studio.names() == ["mara_07"]
    expect(chip(studio, f"Tag: {tag}")).to_be_visible()

    studio.page.reload()
    found(studio, 1)
    value(studio, "Tag", tag).click()
    found(studio, 30)
    value(studio, "Tag", tag).click(modifiers=["Alt"])
    found(studio, 29)


def test_what_the_server_refuses_is_told_and_the_old_result_stays(studio: Gallery) -> None:
    """Else a pasted page of text takes the gallery away and says nothing."""
    box(studio).fill("mara_0")
    found(studio, 10)
    box(studio).fill("x" * 600)
    told = studio.page.get_by_role("alert").filter(has_text="can't be searched")
    expect(told).to_contain_text("the search text has 600 characters, the limit is 512")
    found(studio, 10)
    expect(studio.card("mara_09")).to_be_visible()

    box(studio).fill("mara_1")
    found(studio, 10)
    expect(told).to_have_count(0)


def test_an_unfinished_word_is_no_error(studio: Gallery) -> None:
    """Else the box complains about each search before it is typed."""
    for typed in ("tag:", '"', "uid:7", "is:mis", "width>=", "-", 'tag:"two'):
        box(studio).fill(typed)
        expect(studio.page.get_by_role("alert")).to_have_count(0)
    box(studio).fill("width>=96")
    found(studio, 30)
    box(studio).fill("width>96")
    found(studio, 0)


def test_a_token_that_means_nothing_is_told_with_the_reason(studio: Gallery) -> None:
    """Else a slip of the finger shows all assets as if they had been found."""
    told = studio.page.get_by_text("does not count")
    box(studio).press_sequentially("problem:nonsense", delay=5)
    expect(told).to_have_text(
        "problem:nonsense does not count: there is no such problem; "
        "there are no-license, no-tags, missing, no-sidecar, no-thumbnail, conflict."
    )

    box(studio).fill("uid:7")
    expect(told).to_have_count(0)
    box(studio).press_sequentially(" ")
    expect(told).to_have_text(
        "uid:7 does not count: a uid has 4 to 64 digits, each of them 0 to 9 or a to f."
    )

    box(studio).fill("sort:name")
    studio.page.get_by_role("button", name="Import …").focus()
    expect(studio.page.get_by_text("sort:name is looked for as text: there is no sort: here")).to_be_visible()


# -- chips and the address --------------------------------------------------------------------------------


def test_each_condition_has_a_chip_that_takes_it_away(studio: Gallery) -> None:
    """Else one has to find out where a condition came from to get rid of it."""
    expect(studio.page.get_by_role("list", name="Conditions")).to_have_count(0)
    box(studio).fill("tag:smile -type:props width>=10 mara")
    found(studio, 10)
    expect(studio.page.get_by_role("list", name="Conditions").get_by_role("listitem")).to_have_text(
        [
            re.compile("Not type: props"),
            re.compile("Tag: smile"),
            *map(re.compile, ("width>=10", "Text: mara")),
            "Clear all",
        ],
        use_inner_text=True,
    )

    studio.page.get_by_role("button", name="Remove tag smile").click()
    found(studio, 20)
    studio.page.get_by_role("button", name="Remove not type props").press("Enter")
    found(studio, 30)
    expect(studio.page.get_by_role("button", name="Remove width>=10")).to_be_focused()

    studio.page.get_by_role("button", name="Clear all").click()
    expect(studio.page.get_by_role("list", name="Conditions")).to_have_count(0)
    assert asked(studio) == {}


def test_the_address_holds_the_search_and_its_order(studio: Gallery) -> None:
    """Else a search can't be kept, shared or survive a reload."""
    value(studio, "Tag", "smile").click()
    value(studio, "Licence", "CC0-1.0").click()
    studio.page.get_by_label("Order").select_option("oldest")
    expect(studio.page.locator("[role=option][data-uid] .name").first).to_have_text("mara_02.png")
    assert asked(studio) == {"tag": ["smile"], "license": ["CC0-1.0"], "sort": ["oldest"]}

    studio.page.reload()
    found(studio, 12)
    assert studio.names()[0] == "mara_02"
    expect(box(studio)).to_have_value("tag:smile licence:CC0-1.0")
    expect(chip(studio, "Tag: smile")).to_be_visible()
    expect(studio.page.get_by_label("Order")).to_have_value("oldest")


def test_back_and_forward_walk_through_the_searches(studio: Gallery) -> None:
    """Else one wrong click loses the way that led there."""
    value(studio, "Type", "props").click()
    found(studio, 10)
    value(studio, "Tag", "smile").click()
    found(studio, 5)
    studio.page.get_by_label("Order").select_option("name")
    expect(studio.page.locator("[role=option][data-uid] .name").first).to_have_text("mara_02.png")

    studio.page.go_back()
    expect(studio.page.locator("[role=option][data-uid] .name").first).to_have_text("mara_26.png")
    studio.page.go_back()
    found(studio, 10)
    expect(box(studio)).to_have_value("type:props")
    expect(value(studio, "Tag", "smile")).to_have_attribute("aria-pressed", "false")
    studio.page.go_back()
    found(studio, 30)
    studio.page.go_forward()
    studio.page.go_forward()
    found(studio, 5)


def test_no_result_says_so_and_a_chip_leads_out(studio: Gallery) -> None:
    """Else an empty page looks like a broken one."""
    box(studio).fill("type:props nowhere")
    found(studio, 0)
    expect(studio.page.locator("[role=option][data-uid]:visible")).to_have_count(0)

    studio.page.get_by_role("button", name="Remove text nowhere").click()
    found(studio, 10)
    expect(studio.card("mara_29")).to_be_visible()


def test_the_filters_have_no_faults_for_assistive_technology(studio: Gallery) -> None:
    """Else a screen reader meets buttons without names and lists without order."""
    value(studio, "Tag", "smile").click()
    value(studio, "Type", "props").click(modifiers=["Alt"])
    studio.press("/", "End")
    studio.page.keyboard.type(" tag:n", delay=5)
    expect(suggestions(studio)).to_have_count(1)

    studio.page.evaluate(axe_core())
    for theme in ("dark", "light"):
        studio.page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
        for part in (".side", ".tools", ".chips"):
            told = studio.page.evaluate("part => axe.run(part)", part)
            faults = [(each["id"], node["html"]) for each in told["violations"] for node in each["nodes"]]
            assert faults == []


def test_nothing_in_the_filters_grows_with_the_number_of_tags(
    studio: Gallery, library: AssetRegistry, draw: Callable[..., Path]
) -> None:
    """Else a library with thousands of tags makes each click slow."""
    tags = [f"scene {number:04}" for number in range(400)]
    library.register_file(draw("many.png", 99), "characters", metadata={"tags": tags})
    studio.page.reload()
    group(studio, "Tag").get_by_role("button", name=re.compile("^More")).click()

    expect(group(studio, "Tag").get_by_text("Rarer ones: type their beginning above.")).to_be_visible()
    assert len(values(studio, "Tag")) <= 102
