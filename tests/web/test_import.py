"""Bringing files into the library by the gallery, and dragging them out of it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from playwright.sync_api import expect

from comfyvn.studio.core import AssetRegistry
from gallery import Gallery, opened

SECOND_MS = 1_000


def dialog(studio: Gallery) -> Any:
    """The dialog of the import."""
    return studio.page.get_by_role("dialog", name=re.compile("^Import"))


def choose(studio: Gallery, *paths: Path) -> None:
    """Open the dialog and choose files in that of the browser."""
    studio.page.get_by_role("button", name="Import …").click()
    with studio.page.expect_file_chooser() as chooser:
        dialog(studio).get_by_role("button", name="Choose files …").click()
    chooser.value.set_files(paths)


def send(studio: Gallery) -> None:
    """Begin the import."""
    dialog(studio).get_by_role("button", name=re.compile(r"^Import [\d,]+$")).click()


def row(studio: Gallery, name: str) -> Any:
    """The line of a file."""
    return dialog(studio).get_by_role("listitem").filter(has_text=name)


def outcome(studio: Gallery) -> Any:
    """How far the import is, or what came of it."""
    return dialog(studio).locator(".whole").get_by_role("status").first


def said(studio: Gallery) -> Any:
    """The news at the edge of the window."""
    return studio.page.get_by_role("region", name="News")


def drag_in(studio: Gallery, *paths: Path, drops: bool = True) -> None:
    """Drag files from the desktop onto the middle of the window, as the browser hears it from the system."""
    session = studio.page.context.new_cdp_session(studio.page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", *(["drop"] if drops else [])):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 600, "y": 400, "data": data})
    session.detach()


def slow_line(studio: Gallery) -> Callable[[int], None]:
    """Return what lets the browser send only so many bytes a second; -1 is as many as it can."""
    session = studio.page.context.new_cdp_session(studio.page)

    def set_speed(bytes_per_s: int) -> None:
        session.send(
            "Network.emulateNetworkConditions",
            {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_per_s},
        )

    return set_speed


@pytest.fixture
def noise(tmp_path: Path) -> Callable[[str, int], Path]:
    """Make pictures that do not get smaller by packing: so many pixels wide and high."""

    def make(name: str, side: int) -> Path:
        path = tmp_path / "art" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((side, side), 90).save(path)
        return path

    return make


# -- what is chosen ---------------------------------------------------------------------------------------


def test_files_come_in_with_the_type_licence_and_tags_that_were_chosen(
    empty_studio: Gallery, draw: Callable[..., Path]
) -> None:
    """Else what is imported must be found again and edited."""
    choose(empty_studio, draw("mara.png", 1), draw("zoe.png", 2))
    form = dialog(empty_studio)
    form.get_by_role("combobox", name="Type").fill("char")
    form.get_by_role("option", name="characters").click()
    form.get_by_role("combobox", name="Licence").fill("CC0-1.0")
    form.get_by_role("combobox", name="Add a tag").fill("red hair")
    empty_studio.press("Enter")
    form.get_by_role("combobox", name="Add a tag").fill("smile")
    form.get_by_label("Sub folder").fill("act 1")
    expect(form.get_by_text("To characters/act 1/")).to_be_visible()
    send(empty_studio)

    expect(outcome(empty_studio)).to_have_text("2 new")
    record = empty_studio.record("mara")
    assert (record["path"], record["license"]) == ("characters/act 1/mara.png", "CC0-1.0")
    assert sorted(record["tags"]) == ["red hair", "smile"]
    form.get_by_role("button", name="Show 2 assets").click()
    expect(form).to_be_hidden()
    expect(empty_studio.card("mara")).to_be_visible()
    assert empty_studio.selected() == {"mara", "zoe"}


def test_a_file_that_is_there_already_leads_to_the_asset(studio: Gallery, draw: Callable[..., Path]) -> None:
    """Else one thinks it came in again, and looks for it in vain."""
    choose(studio, draw("another_name.png", 7), draw("new.png", 70))
    send(studio)

    expect(outcome(studio)).to_have_text("1 new, 1 already there")
    known = row(studio, "another_name.png")
    expect(known).to_contain_text("Already there")
    expect(known).to_contain_text("mara_07.png")
    known.get_by_role("button", name="Show another_name.png").click()

    expect(studio.card("mara_07")).to_have_attribute("aria-selected", "true")
    expect(studio.page.locator(".card.focused .name")).to_have_text("mara_07.png")


def test_what_is_there_already_keeps_its_licence_and_tags_unless_that_is_ticked(
    studio: Gallery, draw: Callable[..., Path]
) -> None:
    """Else one known picture among the chosen ones gets a licence that is not its own."""
    known = studio.uid("mara_07")
    studio.registry.bulk_edit(uids=[known], add_tags=["hers"], license_tag="CC-BY-4.0")

    def come_in(ticks: bool) -> tuple[str | None, set[str]]:
        choose(studio, draw("again.png", 7))
        dialog(studio).get_by_role("combobox", name="Licence").fill("MIT")
        dialog(studio).get_by_role("combobox", name="Add a tag").fill("new")
        studio.press("Enter")
        box = dialog(studio).get_by_role("checkbox", name="Also give them to files that are there already")
        expect(box).not_to_be_checked()
        box.set_checked(ticks)
        send(studio)
        expect(outcome(studio)).to_have_text("1 already there")
        dialog(studio).get_by_role("button", name="Close").click()
        record = studio.registry.get_asset(known)
        assert record is not None
        return record["license"], set(record["tags"]) & {"hers", "new"}

    assert come_in(ticks=False) == ("CC-BY-4.0", {"hers"})
    assert come_in(ticks=True) == ("MIT", {"hers", "new"})
    studio.press("Control+z")
    expect(said(studio)).to_contain_text("Undone: changed 1 asset by an import")
    record = studio.registry.get_asset(known)
    assert record is not None
    assert (record["license"], set(record["tags"]) & {"hers", "new"}) == ("CC-BY-4.0", {"hers"})


def test_an_import_is_taken_back_as_one_and_done_again(studio: Gallery, draw: Callable[..., Path]) -> None:
    """Else a wrong folder has to be picked out of the library by hand."""
    fresh = [draw(f"new_{number}.png", 100 + number) for number in range(20)]
    choose(studio, *fresh, draw("again.png", 7))
    send(studio)
    expect(outcome(studio)).to_have_text("20 new, 1 already there")
    dialog(studio).get_by_role("button", name="Close").click()
    expect(said(studio)).to_contain_text("Imported 20 assets, 1 already there")
    expect(said(studio).get_by_role("button", name="Undo")).to_be_visible()
    before = studio.registry.operations(limit=2)
    assert sum(each["assets"] for each in before) == 21  # two forms

    studio.press("Control+z")

    expect(said(studio)).to_contain_text("Undone: imported 20 assets")
    expect(studio.card("new_3")).to_have_count(0)
    expect(said(studio).locator(".error")).to_have_count(0)
    assert studio.registry.count_assets() == 30
    said(studio).get_by_role("button", name="Redo").click()
    expect(said(studio)).to_contain_text("Done again: imported 20 assets")
    assert studio.registry.count_assets() == 50
    said(studio).get_by_role("button", name="Undo").click()
    studio.wait_until(lambda: studio.registry.count_assets() == 30)
    expect(studio.card("new_3")).to_have_count(0)


def test_an_import_that_was_partly_changed_since_says_what_stays(
    studio: Gallery, draw: Callable[..., Path]
) -> None:
    """Else the undo looks whole, and what was changed since is looked for in vain."""
    choose(studio, draw("one.png", 91), draw("two.png", 92), draw("again.png", 7))
    send(studio)
    dialog(studio).get_by_role("button", name="Close").click()
    studio.registry.bulk_edit(uids=[studio.uid("two")], add_tags=["kept"])

    said(studio).get_by_role("button", name="Undo").click()

    expect(said(studio)).to_contain_text("2 assets were left as they are")
    said(studio).get_by_role("button", name="Show why").click()
    why = studio.page.get_by_role("dialog", name="2 assets were left as they are")
    expect(why).to_contain_text("it was edited since")
    expect(why).to_contain_text("it was there before")
    assert studio.registry.count_assets() == 31


def test_a_bad_file_leaves_the_others_and_can_be_tried_again(
    studio: Gallery, draw: Callable[..., Path], tmp_path: Path
) -> None:
    """Else one broken export would cost the whole import."""
    bad = tmp_path / "art" / "broken.png"
    good = draw("fine.png", 80)
    bad.touch()
    choose(studio, good, bad, draw("well.png", 81))
    send(studio)

    expect(outcome(studio)).to_have_text("2 new, 1 refused")
    expect(row(studio, "broken.png")).to_contain_text("the file is empty (0 bytes)")
    expect(dialog(studio).get_by_role("listitem").first).to_contain_text("broken.png")
    dialog(studio).get_by_role("button", name="Try again (1)").click()
    expect(outcome(studio)).to_have_text("2 new, 1 refused")
    assert {"fine", "well"} <= {Path(each["path"]).stem for each in studio.registry.iter_assets()}


def test_a_wrong_type_is_told_and_mended_in_the_same_dialog(
    studio: Gallery, draw: Callable[..., Path]
) -> None:
    """Else everything would have to be chosen anew for a slip of the pen."""
    choose(studio, draw("slip.png", 82))
    dialog(studio).get_by_role("combobox", name="Type").fill("cg/night")
    send(studio)
    expect(row(studio, "slip.png")).to_contain_text("can't be an asset type")

    dialog(studio).get_by_role("combobox", name="Type").fill("cg")
    dialog(studio).get_by_role("button", name="Try again (1)").click()

    expect(outcome(studio)).to_have_text("1 new")
    assert studio.record("slip")["path"] == "cg/slip.png"


def test_hundreds_of_files_stay_quick(empty_studio: Gallery, tmp_path: Path) -> None:
    """Else the dialog would draw a line and a picture for each, and send hundreds of forms."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(240):
        Image.new("RGB", (4, 4), (number, 255 - number, 7)).save(folder / f"{number:03}.png")
    forms: list[str] = []
    empty_studio.page.on(
        "request", lambda request: forms.append(request.url) if request.url.endswith("/upload") else None
    )
    choose(empty_studio, *sorted(folder.iterdir()))

    assert dialog(empty_studio).get_by_role("listitem").count() < 40
    expect(dialog(empty_studio).get_by_role("listitem").first).to_contain_text("000.png")
    send(empty_studio)
    expect(outcome(empty_studio)).to_have_text("240 new", timeout=30 * SECOND_MS)
    assert len(forms) == 15
    dialog(empty_studio).get_by_role("region", name="Files").press("End")
    expect(row(empty_studio, "239.png")).to_contain_text("New")


def test_a_file_larger_than_an_upload_may_be_is_told_before_it_is_sent(
    page: Any,
    project: Path,
    open_registry: Callable[[], AssetRegistry],
    page_folder: Path,
    noise: Callable[[str, int], Path],
) -> None:
    """Else minutes of sending end in a refusal."""
    (project / "comfyvn.toml").write_text("upload_bytes = 20000\n")
    registry = open_registry()
    with opened(page, registry, page_folder, count=0) as studio:
        choose(studio, noise("huge.png", 300), noise("small.png", 40))
        expect(row(studio, "huge.png")).to_contain_text("an upload may have 20 kB")
        send(studio)

        expect(outcome(studio)).to_have_text("1 new, 1 refused")
        assert [Path(each["path"]).name for each in registry.iter_assets()] == ["small.png"]


# -- dragged in -------------------------------------------------------------------------------------------


def test_files_dragged_onto_the_window_are_imported(studio: Gallery, draw: Callable[..., Path]) -> None:
    """Else the way that everybody tries first opens the file in place of the page."""
    dropped = draw("dropped.png", 83)
    drag_in(studio, dropped, drops=False)
    expect(studio.page.get_by_text("Drop files or folders to import them")).to_be_visible()

    drag_in(studio, dropped)

    expect(studio.page.get_by_text("Drop files or folders to import them")).to_be_hidden()
    expect(row(studio, "dropped.png").locator("img")).to_be_visible()
    send(studio)
    expect(outcome(studio)).to_have_text("1 new")


def test_a_dropped_folder_keeps_its_folders_and_names_the_type(
    empty_studio: Gallery, draw: Callable[..., Path], tmp_path: Path
) -> None:
    """Else a game's art falls into one heap."""
    draw("backgrounds/city/night.png", 84)
    draw("backgrounds/city/day.png", 85)
    draw("backgrounds/title.png", 86)
    folder = tmp_path / "art" / "backgrounds"
    (folder / ".DS_Store").write_bytes(b"x")
    drag_in(empty_studio, folder, draw("alone.png", 87))
    expect(dialog(empty_studio)).to_contain_text("1 hidden or temporary file was left out")
    expect(dialog(empty_studio)).to_contain_text("backgrounds/city/ (2)")
    send(empty_studio)

    expect(outcome(empty_studio)).to_have_text("4 new")
    assert {each["path"] for each in empty_studio.registry.iter_assets()} == {
        "backgrounds/city/night.png",
        "backgrounds/city/day.png",
        "backgrounds/title.png",
        "generic/alone.png",
    }


def test_a_chosen_folder_is_read_with_its_folders(
    empty_studio: Gallery, draw: Callable[..., Path], tmp_path: Path
) -> None:
    """Else who can't drag would have to choose folder by folder."""
    draw("mara/smile/one.png", 88)
    empty_studio.press("u")
    with empty_studio.page.expect_file_chooser() as chooser:
        dialog(empty_studio).get_by_role("button", name="Choose a folder …").click()
    chooser.value.set_files(tmp_path / "art")
    dialog(empty_studio).get_by_role("combobox", name="Type").fill("characters")
    dialog(empty_studio).get_by_role("checkbox", name="Keep the folders").uncheck()
    expect(dialog(empty_studio).get_by_text("To characters/", exact=True)).to_be_visible()
    dialog(empty_studio).get_by_role("checkbox", name="Keep the folders").check()
    send(empty_studio)

    expect(outcome(empty_studio)).to_have_text("1 new")
    assert empty_studio.record("one")["path"] == "characters/art/mara/smile/one.png"


# -- on the way -------------------------------------------------------------------------------------------


def test_progress_is_seen_and_what_is_not_sent_can_be_cancelled(
    empty_studio: Gallery, noise: Callable[[str, int], Path]
) -> None:
    """Else a slow line looks like a page that hangs, and can only be left."""
    choose(empty_studio, *(noise(f"{number}.png", 1_200) for number in range(6)))
    set_speed = slow_line(empty_studio)
    set_speed(400_000)
    send(empty_studio)

    bar = dialog(empty_studio).get_by_role("progressbar", name="0.png: uploading")
    expect(bar).to_be_visible()
    empty_studio.page.wait_for_function("() => document.querySelector('.whole progress').value > 100000")
    expect(outcome(empty_studio)).to_contain_text(re.compile(r"0 of 6 files, \d+ kB of [\d.]+ MB"))
    dialog(empty_studio).get_by_role("button", name="Cancel what is left").click()

    expect(outcome(empty_studio)).to_have_text("6 cancelled")
    set_speed(-1)
    assert list(empty_studio.registry.iter_assets()) == []
    dialog(empty_studio).get_by_role("button", name="Try again (6)").click()
    expect(outcome(empty_studio)).to_have_text("6 new")


def test_closing_the_dialog_lets_the_import_go_on(
    empty_studio: Gallery, noise: Callable[[str, int], Path]
) -> None:
    """Else one has to watch it, or loses what was not sent yet."""
    choose(empty_studio, *(noise(f"{number}.png", 700) for number in range(4)))
    set_speed = slow_line(empty_studio)
    set_speed(300_000)
    send(empty_studio)
    empty_studio.press("Escape")

    expect(said(empty_studio)).to_contain_text("The import goes on")
    shown = empty_studio.page.get_by_role("button", name=re.compile(r"^Importing \d of 4$"))
    expect(shown).to_be_visible()
    shown.click()
    expect(dialog(empty_studio)).to_be_visible()
    empty_studio.press("Escape")
    set_speed(-1)

    expect(said(empty_studio)).to_contain_text("Imported 4 assets")
    expect(empty_studio.card("3")).to_be_visible()


def test_escape_keeps_what_was_chosen_and_cancel_forgets_it(
    empty_studio: Gallery, draw: Callable[..., Path]
) -> None:
    """Else one key too many costs a long choice."""
    choose(empty_studio, draw("mara.png", 1), draw("zoe.png", 2))
    dialog(empty_studio).get_by_label("Sub folder").fill("act 1")
    empty_studio.press("Escape")
    empty_studio.page.get_by_role("button", name="Import: 2 chosen").click()
    expect(dialog(empty_studio).get_by_text("To generic/act 1/")).to_be_visible()

    dialog(empty_studio).get_by_role("button", name="Cancel").click()
    empty_studio.press("u")

    expect(dialog(empty_studio).get_by_role("button", name="Choose files …")).to_be_visible()


def test_an_import_waits_while_the_server_has_no_room(
    page: Any,
    project: Path,
    open_registry: Callable[[], AssetRegistry],
    page_folder: Path,
    draw: Callable[..., Path],
) -> None:
    """Else files are refused only because somebody else is uploading."""
    (project / "comfyvn.toml").write_text("uploads_at_once = 1\n")
    may_end = threading.Event()

    def slowly() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\na'
        may_end.wait(20)
        yield b"\r\n--x--\r\n"

    with opened(page, open_registry(), page_folder, count=0) as studio:
        sending = threading.Thread(
            target=httpx.post,
            args=(f"{studio.address}/assets/upload",),
            kwargs={
                "content": slowly(),
                "headers": {"content-type": "multipart/form-data; boundary=x"},
                "timeout": 30,
            },
            daemon=True,
        )
        sending.start()
        choose(studio, draw("patient.png", 89))
        send(studio)

        expect(dialog(studio)).to_contain_text("The server is busy")
        may_end.set()
        expect(outcome(studio)).to_have_text("1 new")
        sending.join(20)
        assert {Path(each["path"]).name for each in studio.registry.iter_assets()} == {"a.txt", "patient.png"}


# -- dragged out ------------------------------------------------------------------------------------------

DRAGGED = """() => {
    window.dragged = null
    addEventListener("dragstart", event => {
        const kinds = ["text/uri-list", "text/plain", "DownloadURL"]
        window.dragged = Object.fromEntries(kinds.map(kind => [kind, event.dataTransfer.getData(kind)]))
    })
}"""


def dragged(studio: Gallery, name: str) -> dict[str, str]:
    """What a card gives that is dragged by the mouse; it is let go where it began."""
    studio.page.evaluate(DRAGGED)
    box = studio.card(name).bounding_box()
    studio.page.mouse.move(box["x"] + 60, box["y"] + 60)
    studio.page.mouse.down()
    studio.page.mouse.move(box["x"] + 90, box["y"] + 90, steps=4)
    told: dict[str, str] = studio.page.evaluate("dragged")
    expect(studio.page.get_by_text("Drop files or folders to import them")).to_be_hidden()
    studio.page.mouse.up()
    return told


def test_a_card_that_is_dragged_out_is_a_download_under_its_name(studio: Gallery) -> None:
    """Else ComfyUI can't tell what it gets, and the desktop gets a file without a name."""
    told = dragged(studio, "mara_28")

    address = f"{studio.address}/assets/{studio.uid('mara_28')}/download?filename=mara_28.png"
    assert told == {
        "text/uri-list": address,
        "text/plain": address,
        "DownloadURL": f"application/octet-stream:mara_28.png:{address}",
    }
    answer = httpx.get(address)
    assert answer.headers["content-type"] == "image/png"
    assert 'filename="mara_28.png"' in answer.headers["content-disposition"]


def test_a_page_of_an_allowed_origin_can_fetch_what_is_dropped_on_it(
    page: Any,
    project: Path,
    open_registry: Callable[[], AssetRegistry],
    page_folder: Path,
    draw: Callable[..., Path],
) -> None:
    """Else ComfyUI, which fetches the address that is dropped, gets nothing."""
    elsewhere = project.parent / "comfy"
    elsewhere.mkdir()
    (elsewhere / "index.html").write_text("<title>ComfyUI</title>")
    handler = partial(SimpleHTTPRequestHandler, directory=str(elsewhere))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        origin = f"http://127.0.0.1:{other.server_port}"
        (project / "comfyvn.toml").write_text(f'allowed_origins = ["{origin}"]\n')
        registry = open_registry()
        registry.register_file(draw("mara.png", 90), "characters")
        with opened(page, registry, page_folder) as studio:
            address = dragged(studio, "mara")["text/uri-list"]
            page.goto(origin)
            fetched = page.evaluate(
                """async address => {
                    const blob = await (await fetch(address)).blob()
                    return [blob.type, (await createImageBitmap(blob)).width]
                }""",
                address,
            )
        other.shutdown()

    assert fetched == ["image/png", 96]
