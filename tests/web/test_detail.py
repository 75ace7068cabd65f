"""The detail pane: facts, history, provenance, and how assets leave the gallery: JSON, paths, files."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import expect

from comfyvn.db.tokens import Tokens
from comfyvn.registry.rebuild import rebuild
from comfyvn.studio.core import AssetRegistry
from films import encode
from gallery import Gallery, opened

WORKFLOW = "9f" * 32
INPUTS = {
    "prompt": "a girl by a lighthouse",
    "seed": 4242,
    "model": "sdxl_base",
    "steps": 28,
}

SIGN_IN = "token => fetch('/session', {method: 'POST', headers: {authorization: `Bearer ${token}`}})"


def pane(studio: Gallery) -> Any:
    """The detail pane."""
    return studio.page.get_by_role("complementary", name="Details")


def show(studio: Gallery, name: str) -> Any:
    """Click a card and have its details shown."""
    studio.card(name).click()
    if not pane(studio).is_visible():
        studio.press("d")
    expect(pane(studio).get_by_role("heading", level=2).last).to_have_text(f"{name}.png")
    return pane(studio)


def part(studio: Gallery, title: str) -> Any:
    """A section of the pane."""
    heading = studio.page.get_by_role("button", name=title, exact=True)
    return pane(studio).locator("section").filter(has=heading)


def said(studio: Gallery) -> Any:
    """The news at the edge of the window."""
    return studio.page.get_by_role("region", name="News")


def expect_result(studio: Gallery, count: int) -> None:
    """Wait till so many assets are found."""
    expect(studio.page.locator(".status")).to_contain_text(re.compile(rf"^\s*{count} assets"))


def copied(studio: Gallery) -> str:
    """What the clipboard holds."""
    return str(studio.page.evaluate("navigator.clipboard.readText()"))


def shape(record: Any) -> Any:
    """A record as JSON tells it."""
    return json.loads(json.dumps(record))


@pytest.fixture
def made(library: AssetRegistry, draw: Callable[..., Path]) -> AssetRegistry:
    """Of the thirty, four come from one workflow: ``lamp_0`` to ``lamp_3``, made from ``mara_05``."""
    parent = next(record for record in library.iter_assets() if record["path"].endswith("mara_05.png"))
    for number in range(4):
        library.register_file(
            draw(f"lamp_{number}.png", 40 + number),
            "props",
            dest_relative=f"lamps/lamp_{number}.png",
            metadata={"tags": ["lamp"], "license": "CC0-1.0", "artist": "Ann", "scene": {"act": 2}},
            provenance={
                "source": "comfyui",
                "workflow_hash": WORKFLOW,
                "commit_hash": "4f2ad9c0b1",
                "user_id": "ann",
                "inputs": {**INPUTS, "seed": 4242 + number, "parents": [parent["uid"]]},
            },
        )
    assert library.wait_for_thumbnails(60)
    return library


@pytest.fixture
def lamps(page: Any, made: AssetRegistry, page_folder: Path) -> Iterator[Gallery]:
    """The gallery with the four lamps."""
    with opened(page, made, page_folder) as gallery:
        yield gallery


@pytest.fixture
def far(
    browser_type: Any,
    browser_type_launch_args: dict[str, Any],
    made: AssetRegistry,
    page_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Gallery]:
    """The gallery with the four lamps as a browser elsewhere has it: through a proxy, without https."""
    made.close()
    monkeypatch.setenv("COMFYVN_ALLOWED_HOSTS", "gpu.test")
    flags = [*browser_type_launch_args["args"], "--host-resolver-rules=MAP gpu.test 127.0.0.1"]
    browser = browser_type.launch(**{**browser_type_launch_args, "args": flags})
    try:
        with AssetRegistry(durability="off") as registry:
            _, token = Tokens(registry.library.ledger.engine, registry.project_id).create("ann", "admin")
            page = browser.new_page(extra_http_headers={"X-Forwarded-For": "10.0.0.9"})
            with opened(page, registry, page_folder, count=0) as gallery:
                gallery.address = gallery.address.replace("127.0.0.1", "gpu.test")
                gallery.open(count=0)
                page.evaluate(SIGN_IN, token)
                gallery.open()
                yield gallery
    finally:
        browser.close()


# -- what is shown ----------------------------------------------------------------------------------------


def test_the_pane_tells_what_is_known_of_the_focused_asset(lamps: Gallery) -> None:
    """Else one would have to read database rows to learn what a file is."""
    record = lamps.record("lamp_2")

    shown = show(lamps, "lamp_2")

    expect(part(lamps, "File")).to_contain_text("96 × 72 px")
    expect(part(lamps, "File")).to_contain_text(re.compile(rf"{record['bytes']:,} bytes"))
    expect(part(lamps, "File")).to_contain_text(record["hash"][:16])
    expect(part(lamps, "Registry")).to_contain_text(record["uid"])
    expect(part(lamps, "Registry").get_by_role("time").first).to_have_text("just now")
    expect(part(lamps, "Metadata").get_by_role("row", name="artist Ann")).to_be_visible()
    expect(part(lamps, "Tags and licence")).to_contain_text("lamp")
    picture = shown.get_by_role("img", name="Open in the lightbox")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 96

    part(lamps, "File").get_by_role("button", name="Copy hash").click()
    expect(part(lamps, "File")).to_contain_text("Copied")
    assert copied(lamps) == record["hash"]


def test_a_held_arrow_key_asks_only_for_the_asset_where_it_stops(studio: Gallery) -> None:
    """Else walking through a thousand cards would put a thousand reads on the server."""
    show(studio, "mara_29")
    asked: list[str] = []
    studio.page.on("request", lambda request: asked.append(request.url))

    studio.press(*["ArrowRight"] * 12)
    expect(pane(studio).get_by_role("heading", level=2).last).to_have_text("mara_17.png")

    reads = {url.rpartition("/")[2] for url in asked if re.search(r"/assets/[0-9a-f]{16}$", url)}
    assert studio.uid("mara_17") in reads
    assert len(reads) < 6, reads


def test_a_tag_and_a_licence_lead_to_all_that_have_them(lamps: Gallery) -> None:
    """Else one would have to type what one can see."""
    show(lamps, "lamp_2")

    part(lamps, "Tags and licence").get_by_role("button", name="lamp").click()
    expect_result(lamps, 4)

    part(lamps, "Tags and licence").get_by_role("button", name="CC0-1.0").click()
    expect_result(lamps, 16)
    lamps.page.go_back()
    expect_result(lamps, 4)


def test_the_pane_follows_what_others_change_and_stays_where_it_was(lamps: Gallery) -> None:
    """Else a maker would look at tags that a script has long replaced, or lose his place with each change."""
    show(lamps, "lamp_1")
    part(lamps, "Provenance").get_by_text("Inputs as JSON").click()
    scroller = lamps.page.locator("aside.pane")
    scroller.evaluate("pane => pane.scrollTop = 300")

    lamps.registry.bulk_edit([lamps.uid("lamp_1")], add_tags=["brass"], metadata={"mood": "warm"})

    expect(part(lamps, "Tags and licence")).to_contain_text("brass")
    expect(part(lamps, "Metadata").get_by_role("row", name="mood warm")).to_be_attached()
    expect(part(lamps, "History").get_by_role("listitem").first).to_contain_text("changed tags and mood")
    expect(part(lamps, "Provenance").get_by_role("region", name="Inputs as JSON")).to_be_visible()
    assert scroller.evaluate("pane => pane.scrollTop") == 300


def test_stars_in_the_pane_rate_and_a_folded_part_stays_folded(lamps: Gallery) -> None:
    """Else one would have to know the digit keys, and fold the same part away again every day."""
    shown = show(lamps, "lamp_1")
    shown.get_by_role("button", name="Rate 4").click()
    expect(shown.get_by_role("button", name="Rated 4; take the rating away")).to_be_visible()
    assert lamps.record("lamp_1")["meta"]["rating"] == 4

    shown.get_by_role("button", name="File", exact=True).click()
    expect(shown).not_to_contain_text("96 × 72 px")
    lamps.page.reload()
    show(lamps, "lamp_2")
    expect(part(lamps, "Registry")).to_contain_text(lamps.uid("lamp_2"))
    expect(shown).not_to_contain_text("96 × 72 px")


def test_the_sidecar_is_shown_and_what_is_wrong_with_it(lamps: Gallery) -> None:
    """Else a broken or lost sidecar would be found only when somebody else gets the files."""
    show(lamps, "lamp_0")
    shown = part(lamps, "Registry")
    expect(shown).to_contain_text("present: lamps/lamp_0.png.asset.json")
    shown.get_by_text("Show sidecar").click()
    expect(shown.get_by_role("region", name="Show sidecar")).to_contain_text('"artist": "Ann"')

    sidecar = lamps.registry.sidecar_path(lamps.uid("lamp_1"))
    sidecar.write_text("{ this is no JSON")
    show(lamps, "lamp_1")
    expect(shown).to_contain_text("unreadable: lamps/lamp_1.png.asset.json")

    lamps.registry.sidecar_path(lamps.uid("lamp_2")).unlink()
    show(lamps, "lamp_2")
    expect(shown).to_contain_text("missing: lamps/lamp_2.png.asset.json")


def test_a_missing_file_says_since_when_and_what_to_do(lamps: Gallery) -> None:
    """Else one would only see that something is wrong; and nothing is offered that needs the file."""
    (lamps.registry.ASSETS_ROOT / "lamps" / "lamp_3.png").unlink()
    rebuild(lamps.registry)

    shown = show(lamps, "lamp_3")

    note = shown.get_by_role("note")
    expect(note).to_contain_text("The file is missing since just now")
    expect(note).to_contain_text("lamps/lamp_3.png")
    expect(shown.get_by_role("button", name="Download")).not_to_be_visible()
    note.get_by_role("button", name="Move to trash").click()
    expect(lamps.card("lamp_3")).not_to_be_visible()


def test_a_moving_preview_plays_unless_motion_is_unwanted(
    page: Any, registry: AssetRegistry, page_folder: Path, tmp_path: Path
) -> None:
    """Else a film would look like a picture, or move before the eyes of who can't bear it."""
    film = tmp_path / "rain.webm"
    film.write_bytes(encode("webm", video="libvpx-vp9"))
    registry.register_file(film, "films")
    assert registry.wait_for_thumbnails(60)

    with opened(page, registry, page_folder) as studio:
        studio.card("rain").click()
        studio.press("d")
        picture = pane(studio).get_by_role("img", name="Open in the lightbox")
        expect(picture).to_have_attribute("src", re.compile("/preview"))
        expect(part(studio, "File")).to_contain_text("VP9")

        page.emulate_media(reduced_motion="reduce")
        expect(picture).to_have_attribute("src", re.compile("/thumb"))
        pane(studio).get_by_role("button", name="Play", exact=True).first.click()
        expect(picture).to_have_attribute("src", re.compile("/preview"))


# -- history ----------------------------------------------------------------------------------------------


def test_the_history_tells_before_and_after_and_takes_an_edit_back(lamps: Gallery) -> None:
    """Else nobody would know who replaced a licence, or how to get the old one back."""
    uid = lamps.uid("lamp_1")
    with lamps.registry.acting_as("ben"):
        lamps.registry.bulk_edit([uid], add_tags=["brass"], remove_tags=["lamp"], license_tag="MIT")
    show(lamps, "lamp_1")
    edit = part(lamps, "History").get_by_role("listitem").first

    expect(edit).to_contain_text("ben changed tags and licence")
    expect(edit).to_contain_text("removed tag −lamp")
    expect(edit).to_contain_text("added tag +brass")
    expect(edit).to_contain_text(re.compile(r"Licence: CC0-1\.0\s+→ MIT"))
    expect(part(lamps, "History").get_by_role("listitem").last).to_contain_text(
        "registered it as lamps/lamp_1.png"
    )

    edit.get_by_role("button", name="Undo").click()

    expect(part(lamps, "Tags and licence")).to_contain_text("CC0-1.0")
    expect(part(lamps, "History").get_by_role("listitem")).to_have_count(3)
    record = lamps.registry.get_asset(uid)
    assert record is not None
    assert (record["tags"], record["license"]) == (["lamp"], "CC0-1.0")


def test_an_undo_in_the_history_of_one_says_for_how_many_it_is(lamps: Gallery) -> None:
    """Else one who puts one asset right would undo an edit of hundreds without a word."""
    uids = [lamps.uid(f"lamp_{number}") for number in range(3)]
    lamps.registry.bulk_edit(uids, add_tags=["brass"])
    show(lamps, "lamp_1")

    part(lamps, "History").get_by_role("button", name="Undo for all 3 assets").click()

    news = lamps.page.get_by_role("region", name="News")
    expect(news).to_contain_text("Undone: changed tags (3 assets)")
    assert not any("brass" in record["tags"] for record in lamps.registry.iter_assets())


def test_new_content_of_a_file_is_a_new_version(lamps: Gallery) -> None:
    """Else a repainted sprite would show its old size, and nobody would see that it is another one."""
    show(lamps, "lamp_0")
    Image.new("RGBA", (200, 100), (10, 120, 90, 255)).save(
        lamps.registry.ASSETS_ROOT / "lamps" / "lamp_0.png"
    )

    rebuild(lamps.registry)

    expect(part(lamps, "File")).to_contain_text("200 × 100 px")
    newest = part(lamps, "History").get_by_role("listitem").first
    expect(newest).to_contain_text("took in new content")
    expect(newest).to_contain_text(re.compile(r"Version: 1\s+→ 2"))
    expect(part(lamps, "Provenance")).to_contain_text("Origin not told")


def test_a_long_history_comes_page_by_page_and_a_move_is_told(lamps: Gallery) -> None:
    """Else an asset with a long past would load all of it, or show only a part without saying so."""
    uid = lamps.uid("lamp_1")
    for number in range(60):
        lamps.registry.bulk_edit([uid], metadata={"round": number})
    lamps.registry.move_asset(uid, "lamps/lantern.png")
    show(lamps, "lantern")
    items = part(lamps, "History").get_by_role("listitem")

    expect(items.first).to_contain_text("renamed it")
    expect(items.first).to_contain_text(re.compile(r"Path: lamps/lamp_1\.png\s+→ lamps/lantern\.png"))
    more = part(lamps, "History").get_by_role("button", name="Show older")
    while more.is_visible():
        before = items.count()
        more.click()
        expect(items).not_to_have_count(before)
    expect(items).to_have_count(62)
    lamps.registry.bulk_edit([uid], metadata={"round": 99})
    expect(items).to_have_count(63)


# -- provenance -------------------------------------------------------------------------------------------


def test_provenance_tells_the_inputs_that_matter_first(lamps: Gallery) -> None:
    """Else nobody could make such a picture again."""
    show(lamps, "lamp_2")
    shown = part(lamps, "Provenance")

    for text in ("comfyui", WORKFLOW[:16], "4f2ad9c0b1", "ann"):
        expect(shown).to_contain_text(text)
    rows = [row.replace("\t", " ") for row in shown.get_by_role("row").all_inner_texts()]
    assert rows[:4] == ["prompt a girl by a lighthouse", "seed 4244", "model sdxl_base", "steps 28"]
    shown.get_by_text("Inputs as JSON").click()
    told = json.loads(shown.get_by_role("region", name="Inputs as JSON").inner_text())
    [known] = lamps.registry.list_provenance(lamps.uid("lamp_2"))
    assert told == known["inputs"]


def test_provenance_leads_to_parents_and_to_others_of_the_workflow(lamps: Gallery) -> None:
    """Else one could not go from a picture to what it was made from, and to what was made with it."""
    show(lamps, "lamp_2")
    shown = part(lamps, "Provenance")

    shown.get_by_role("button", name="3 others from this workflow").click()
    expect_result(lamps, 4)
    assert sorted(lamps.names()) == ["lamp_0", "lamp_1", "lamp_2", "lamp_3"]

    expect(pane(lamps).get_by_role("button", name=re.compile("^Go to: "))).to_have_count(1)
    part(lamps, "Lineage").get_by_role("button", name="Go to: mara_05.png").click()
    expect(pane(lamps).get_by_role("heading", level=2).last).to_have_text("mara_05.png")
    expect(lamps.card("mara_05")).to_have_attribute("aria-selected", "true")

    lamps.page.go_back()
    expect_result(lamps, 4)


# -- out of the gallery -----------------------------------------------------------------------------------


def test_debug_json_of_one_asset_is_the_registrys_record(lamps: Gallery) -> None:
    """Else a report would hold something else than what the registry knows, or lack the inputs."""
    show(lamps, "lamp_2").get_by_role("button", name="Copy Debug JSON").click()
    expect(said(lamps)).to_contain_text(re.compile(r"Copied 1 asset, \d+\.\d kB of JSON"))

    told = json.loads(copied(lamps))
    assert told["project"] == "default"
    assert told["comfyvn"]
    assert told["assets"] == [shape(lamps.record("lamp_2"))]
    assert told["assets"][0]["provenance"]["inputs"]["seed"] == 4244


def test_debug_json_holds_the_whole_selection(lamps: Gallery) -> None:
    """Else what lies outside the window would be missing."""
    lamps.card("lamp_2").click()
    lamps.press("Control+a", "Control+Shift+c")
    expect(said(lamps)).to_contain_text("Copied 34 assets")

    told = json.loads(copied(lamps))["assets"]
    assert {record["uid"]: record for record in told} == {
        record["uid"]: shape(record) for record in lamps.registry.list_assets()
    }


def test_where_the_browser_gives_no_clipboard_a_dialog_has_the_text(far: Gallery, tmp_path: Path) -> None:
    """Else the button would be dead on a page from another machine without https."""
    far.card("lamp_2").click()
    far.press("Control+Shift+c")

    dialog = far.page.get_by_role("dialog", name="Debug JSON")
    field = dialog.get_by_role("textbox")
    expect(field).to_be_focused()
    text = field.input_value()
    assert json.loads(text)["assets"] == [shape(far.record("lamp_2"))]
    assert field.evaluate("field => field.selectionEnd - field.selectionStart") == len(text)
    with far.page.expect_download() as coming:
        dialog.get_by_role("button", name="Save as file").click()
    coming.value.save_as(tmp_path / "saved.json")
    assert (tmp_path / "saved.json").read_text() == text
    expect(dialog).not_to_be_visible()


def test_debug_json_of_very_many_becomes_a_file(
    page: Any, registry: AssetRegistry, page_folder: Path, tmp_path: Path
) -> None:
    """Else the clipboard would choke, or hold a part without saying so."""
    files = [tmp_path / "notes" / f"note_{number:04}.txt" for number in range(1_001)]
    files[0].parent.mkdir()
    for number, file in enumerate(files):
        file.write_text(f"scene {number}")
    results = registry.register_many({"source_path": file, "asset_type": "notes"} for file in files)
    assert {result["status"] for result in results} == {"registered"}

    with opened(page, registry, page_folder) as studio:
        studio.card("note_1000").click()
        studio.press("Control+a")
        with page.expect_download() as coming:
            studio.press("Control+Shift+c")
        coming.value.save_as(tmp_path / "saved.json")
        expect(said(studio)).to_contain_text("1,001 assets")

    assert re.fullmatch(r"comfyvn-debug-[\d-]{10}\.json", coming.value.suggested_filename)
    told = json.loads((tmp_path / "saved.json").read_text())["assets"]
    assert {record["uid"]: record for record in told} == {
        record["uid"]: shape(record) for record in registry.iter_assets()
    }


def test_paths_go_to_the_clipboard_one_a_line(lamps: Gallery) -> None:
    """Else a list for a script would have to be typed."""
    lamps.card("lamp_2").click()
    lamps.press("Control+Alt+c")
    expect(said(lamps)).to_contain_text("Copied lamps/lamp_2.png (from the assets folder)")
    assert copied(lamps) == "lamps/lamp_2.png"

    lamps.card("lamp_0").click(modifiers=["Control"])
    lamps.press("Control+Alt+c")
    expect(said(lamps)).to_contain_text("Copied 2 paths")
    assert copied(lamps) == "lamps/lamp_2.png\nlamps/lamp_0.png"


def test_files_are_downloaded_under_their_names(lamps: Gallery, tmp_path: Path) -> None:
    """Else files would come as uids, or only the last of several."""
    came: list[Any] = []
    lamps.page.on("download", lambda download: came.append(download))
    lamps.card("lamp_3").click()
    lamps.card("lamp_1").click(modifiers=["Shift"])

    with lamps.page.expect_event("download", predicate=lambda _: len(came) == 3):
        lamps.press("Control+s")

    assert sorted(each.suggested_filename for each in came) == ["lamp_1.png", "lamp_2.png", "lamp_3.png"]
    for each in came:
        each.save_as(tmp_path / each.suggested_filename)
        original = lamps.registry.ASSETS_ROOT / "lamps" / each.suggested_filename
        assert (tmp_path / each.suggested_filename).read_bytes() == original.read_bytes()

    lamps.press("Control+a", "Control+s")
    expect(said(lamps)).to_contain_text("At most 10 files can be downloaded at once")


@pytest.fixture
def file_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A desktop whose file manager writes down what it is to show."""
    told, opener = tmp_path / "told", tmp_path / "bin" / "xdg-open"
    opener.parent.mkdir()
    opener.write_text(f'#!/bin/sh\nprintf "%s" "$1" > "{told}"\n')
    opener.chmod(0o755)
    monkeypatch.setenv("PATH", f"{opener.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DISPLAY", ":0")
    return told


@pytest.mark.skipif(os.name == "nt", reason="the file manager of this test is a shell script")
def test_who_sits_before_the_machine_opens_its_file_manager(file_manager: Path, lamps: Gallery) -> None:
    """Else one would search the folder by hand."""
    shown = show(lamps, "lamp_2")

    with lamps.page.expect_response(re.compile("/reveal")):
        shown.get_by_role("button", name="Open in file manager").click()

    assert file_manager.read_text() == str(lamps.registry.ASSETS_ROOT / "lamps")


def test_when_the_desktop_is_gone_the_path_is_copied_instead(
    file_manager: Path, lamps: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the button would say nothing once the screen is gone, again and again."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    shown = show(lamps, "lamp_2")

    shown.get_by_role("button", name="Open in file manager").click()

    expect(said(lamps)).to_contain_text("without a desktop")
    expect(said(lamps)).to_contain_text("Copied lamps/lamp_2.png")
    assert copied(lamps) == "lamps/lamp_2.png"
    expect(shown.get_by_role("button", name="Open in file manager")).not_to_be_visible()
    expect(shown.get_by_role("button", name="Copy path")).to_be_visible()
    assert not file_manager.exists()


def test_from_elsewhere_there_is_no_button_for_the_file_manager(far: Gallery) -> None:
    """Else a visitor of a GPU box would have a button that can only be refused."""
    shown = show(far, "lamp_2")
    asked: list[str] = []
    far.page.on("request", lambda request: asked.append(request.url))

    expect(shown.get_by_role("button", name="Copy path")).to_be_visible()
    expect(shown.get_by_role("button", name="Open in file manager")).not_to_be_visible()
    far.press("Control+Shift+e")
    with far.page.expect_download() as coming:
        shown.get_by_role("button", name="Download").click()

    assert coming.value.suggested_filename == "lamp_2.png"
    assert not [url for url in asked if url.endswith("/reveal")]


# -- many -------------------------------------------------------------------------------------------------


def test_the_pane_tells_what_a_selection_has_in_common(lamps: Gallery) -> None:
    """Else one would not see what one is about to change."""
    lamps.press("d")
    lamps.card("lamp_3").click()
    lamps.card("mara_28").click(modifiers=["Shift"])
    shown = pane(lamps)

    expect(shown.get_by_role("heading", level=2).last).to_have_text("6 assets selected")
    sizes = sum(record["bytes"] for record in lamps.registry.list_assets(limit=6))
    expect(shown).to_contain_text(f"{sizes / 1000:.1f} kB in all")
    terms = [item.replace("\n", " ") for item in shown.get_by_role("listitem").all_inner_texts()]
    assert "lamp 4 of 6" in terms
    assert "props 5 of 6" in terms
    expect(shown.get_by_role("button", name=re.compile("^Open: "))).to_have_count(6)

    lamps.registry.bulk_edit([lamps.uid("mara_28")], add_tags=["lamp"])
    expect(shown.get_by_role("listitem").filter(has_text="lamp")).to_contain_text("5 of 6")
    lamps.press("Control+Shift+c")
    expect(said(lamps)).to_contain_text("Copied 6 assets")
