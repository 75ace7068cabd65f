"""Changes by others: another window, a script, a hand-edited sidecar. They appear, and nothing jumps."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from comfyvn.server.watching import watching
from comfyvn.studio.core import AssetRegistry
from gallery import Gallery

SOON_MS = 500
TAG = """
import sys
from comfyvn.studio.core import AssetRegistry
with AssetRegistry() as registry:
    print("ready", flush=True)
    for line in sys.stdin:
        uid, tag = line.split()
        registry.bulk_update_tags([uid], add_tags=[tag])
        print("done", flush=True)
"""


@pytest.fixture
def script(project: Path, library: AssetRegistry) -> Iterator[Callable[[str, str], None]]:
    """A Python process of its own that adds a tag to an asset."""
    command = [sys.executable, "-c", TAG]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=project
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

        def add_tag(uid: str, tag: str) -> None:
            process.stdin.write(f"{uid} {tag}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "done\n"

        yield add_tag
        process.stdin.close()


def wait_until_watched(studio: Gallery) -> None:
    """Write into a sidecar till that is taken in: a watch begins with a look at everything."""
    path = studio.registry.sidecar_path(studio.uid("mara_00"))
    assert path is not None
    for turn in range(20):
        said = json.loads(path.read_text())
        path.write_text(json.dumps({**said, "tags": [f"turn_{turn}"]}))
        time.sleep(0.7)
        if studio.record("mara_00")["tags"] != ["smile", "night"]:
            return
    raise AssertionError("nothing is watched")


def count_requests(page: Any, part: str) -> list[str]:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if part in request.url else None)
    return asked


def test_what_a_script_does_appears_within_half_a_second(
    studio: Gallery, script: Callable[[str, str], None]
) -> None:
    """Else a maker works on with what is no longer true."""
    card = studio.card("mara_27")

    script(studio.uid("mara_27"), "by_script")

    expect(card).to_contain_text("by_script", timeout=SOON_MS)
    expect(card).to_have_class("card flash", timeout=SOON_MS)
    expect(card).not_to_have_class("card flash")


def test_two_windows_see_what_each_other_does(studio: Gallery, context: Any) -> None:
    """Else two people (or one with two windows) overwrite each other."""
    other = context.new_page()
    other.goto(f"{studio.address}/studio/")
    theirs = Gallery(other, studio.address, studio.registry)
    other.locator("[role=option][data-uid]").first.wait_for()

    other.evaluate(
        """uid => fetch(`/assets/${uid}`, {
            method: "PATCH", headers: {"content-type": "application/json"}, body: '{"tags": ["theirs"]}'
        })""",
        studio.uid("mara_28"),
    )

    expect(studio.card("mara_28")).to_contain_text("theirs", timeout=SOON_MS)
    expect(theirs.card("mara_28")).to_contain_text("theirs", timeout=SOON_MS)
    other.close()


def test_new_assets_wait_till_they_are_wanted(studio: Gallery, draw: Callable[..., Path]) -> None:
    """Else the card under the pointer is another one at the moment of the click."""
    studio.card("mara_29").click()
    before = studio.card("mara_29").bounding_box()

    for number in range(12):
        studio.registry.register_file(draw(f"new_{number}.png", 100 + number), "props")

    pill = studio.page.get_by_role("button", name="12 new")
    expect(pill).to_be_visible(timeout=4_000)
    assert studio.card("mara_29").bounding_box() == before
    assert studio.selected() == {"mara_29"}
    pill.click()
    expect(studio.card("new_11")).to_be_visible()
    expect(studio.page.locator(".status")).to_contain_text("42 assets")
    expect(studio.page.locator(".status")).to_contain_text("1 selected")


def test_a_removed_asset_leaves_at_once(studio: Gallery) -> None:
    """Else one could go on to tag what is in the trash."""
    studio.card("mara_29").click()

    studio.registry.remove_asset(studio.uid("mara_27"))

    expect(studio.card("mara_27")).to_have_count(0, timeout=2_000)
    expect(studio.page.locator(".status")).to_contain_text("29 assets")
    assert studio.selected() == {"mara_29"}


def test_what_no_longer_matches_stays_till_one_looks_anew(studio: Gallery) -> None:
    """Else cards run away under the pointer while a script tags them."""
    studio.open_in_place("?tag=smile")
    expect(studio.page.locator(".status")).to_contain_text("15 assets")

    studio.registry.bulk_update_tags([studio.uid("mara_28")], remove_tags=["smile"])

    pill = studio.page.get_by_role("button", name="1 no longer here")
    expect(pill).to_be_visible(timeout=4_000)
    expect(studio.card("mara_28")).to_be_visible()
    pill.click()
    expect(studio.card("mara_28")).to_have_count(0)


def test_a_storm_of_edits_is_few_requests_and_keeps_the_scroll(studio: Gallery) -> None:
    """Else 400 edits of a script are 400 refreshes, and the window stands still."""
    box = studio.page.get_by_role("listbox")
    box.evaluate("element => element.scrollTop = 300")
    studio.page.wait_for_timeout(300)
    asked = count_requests(studio.page, "/assets/rows")

    uids = [record["uid"] for record in studio.registry.iter_assets()]
    for turn in range(400):
        studio.registry.merge_asset_meta(uids[turn % 30], {"note": turn})
    studio.registry.bulk_update_tags(uids, add_tags=["last"])

    expect(studio.card("mara_15")).to_contain_text("last", timeout=4_000)
    assert len(asked) < 60
    assert box.evaluate("element => element.scrollTop") == 300


def test_a_preview_that_gets_ready_appears(empty_studio: Gallery, draw: Callable[..., Path]) -> None:
    """Else a freshly imported picture stays grey till one loads the page anew."""
    large = draw("large.png", 1, size=(3_000, 3_000))

    empty_studio.registry.register_file(large, "props")

    expect(empty_studio.card("large")).to_be_visible()
    expect(empty_studio.card("large").locator("img")).to_be_visible()


def test_a_broken_line_is_taken_up_where_it_was(studio: Gallery) -> None:
    """Else changes made while a laptop slept are never seen."""
    studio.page.context.set_offline(True)
    studio.page.evaluate("dispatchEvent(new Event('offline'))")

    studio.registry.bulk_update_tags([studio.uid("mara_26")], add_tags=["meanwhile"])
    studio.page.context.set_offline(False)

    expect(studio.card("mara_26")).to_contain_text("meanwhile", timeout=10_000)


def test_a_card_that_is_away_is_read_anew_when_it_comes_into_view(studio: Gallery) -> None:
    """Else what was once loaded is shown for ever."""
    box = studio.page.get_by_role("listbox")
    box.evaluate("element => element.scrollTop = element.scrollHeight")
    expect(studio.card("mara_00")).to_be_visible()

    studio.registry.bulk_update_tags([studio.uid("mara_29")], add_tags=["away"])
    time.sleep(0.3)
    box.evaluate("element => element.scrollTop = 0")

    expect(studio.card("mara_29")).to_contain_text("away")


def test_a_hand_edited_sidecar_appears(studio: Gallery) -> None:
    """Else who edits sidecars in an editor has to load the page anew."""
    path = studio.registry.sidecar_path(studio.uid("mara_25"))
    assert path is not None
    said = json.loads(path.read_text())
    said["tags"] = [*said.get("tags", []), "by_hand"]
    troubles: list[str] = []

    with watching(studio.registry, troubles.append):
        wait_until_watched(studio)
        path.write_text(json.dumps(said))
        expect(studio.card("mara_25")).to_contain_text("by_hand", timeout=2 * SOON_MS)

    assert troubles == []


def test_a_refresh_that_fails_once_is_tried_again(studio: Gallery, draw: Callable[..., Path]) -> None:
    """Else one busy moment of the server leaves an old result for good."""
    failed: list[str] = []

    def fail_once(route: Any) -> None:
        if failed:
            route.continue_()
            return
        failed.append(route.request.url)
        route.fulfill(status=503, json={"detail": "busy"})

    studio.page.route("**/assets/index*", fail_once)

    studio.registry.register_file(draw("late.png", 200), "props")

    expect(studio.page.get_by_role("button", name="1 new")).to_be_visible()
    assert len(failed) == 1
