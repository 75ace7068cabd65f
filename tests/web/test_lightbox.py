"""The lightbox: one asset as large as there is room, two to four side by side, and everything by keys."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from comfyvn.studio.core import AssetRegistry
from encoders import encode_film
from gallery import Gallery, opened

MANY = 260
SHARP = (1600, 1200)


class Lightbox:
    """What is to be seen of the lightbox."""

    def __init__(self, studio: Gallery) -> None:
        self.studio = studio
        self.page = studio.page
        self.dialog = self.page.locator(".lightbox")
        self.name = self.dialog.get_by_role("heading")
        self.position = self.dialog.locator(".position")
        self.percent = self.dialog.locator(".percent")
        self.picture = self.dialog.locator("img.full:not(.waits)")

    def open(self, name: str) -> None:
        """Open it on a card, as a person does."""
        self.studio.card(name).click()
        self.studio.press("Enter")
        self.picture.wait_for()

    def box(self, at: int = 0) -> dict[str, float]:
        """Where a picture is, in CSS px of the page."""
        box: dict[str, float] = self.picture.nth(at).bounding_box()
        return box


@pytest.fixture
def lightbox(studio: Gallery) -> Lightbox:
    return Lightbox(studio)


@pytest.fixture
def sharp(
    page: Any, registry: AssetRegistry, draw: Callable[..., Path], page_folder: Path
) -> Iterator[Lightbox]:
    """Four drawings of 1600 x 1200 px."""
    for number in range(4):
        registry.register_file(draw(f"sharp_{number}.png", number, SHARP), "characters")
    assert registry.wait_for_thumbnails(60)
    with opened(page, registry, page_folder) as studio:
        yield Lightbox(studio)


def test_enter_opens_arrows_walk_and_back_ends_on_the_card_shown_last(lightbox: Lightbox) -> None:
    """Else one loses one's place with each look at a picture."""
    lightbox.open("mara_29")

    expect(lightbox.name).to_have_text("mara_29.png")
    expect(lightbox.position).to_have_text("1 of 30")
    lightbox.studio.press("ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft")
    expect(lightbox.name).to_have_text("mara_27.png")
    expect(lightbox.position).to_have_text("3 of 30")
    expect(lightbox.page).to_have_url(re.compile(f"lightbox={lightbox.studio.uid('mara_27')}"))
    lightbox.page.go_back()

    expect(lightbox.dialog).to_have_count(0)
    expect(lightbox.studio.card("mara_27")).to_have_class(re.compile("focused"))
    lightbox.studio.press("ArrowRight")
    expect(lightbox.studio.card("mara_26")).to_have_class(re.compile("focused"))


def test_escape_closes_like_back_and_leaves_no_step_behind(lightbox: Lightbox) -> None:
    """Else Back after a look at a picture does nothing, or opens it again."""
    lightbox.page.goto(f"{lightbox.studio.address}/studio/?type=props")
    expect(lightbox.studio.card("mara_29")).to_be_visible()
    lightbox.page.goto(f"{lightbox.studio.address}/studio/")
    lightbox.studio.card("mara_28").dblclick()
    expect(lightbox.name).to_have_text("mara_28.png")

    lightbox.studio.press("Escape")
    expect(lightbox.dialog).to_have_count(0)
    expect(lightbox.studio.card("mara_28")).to_have_class(re.compile("focused"))
    lightbox.page.go_back()

    expect(lightbox.page).to_have_url(re.compile(r"\?type=props$"))


def test_arrows_walk_through_rows_that_were_never_loaded(
    page: Any, registry: AssetRegistry, draw: Callable[..., Path], page_folder: Path
) -> None:
    """Else the lightbox ends where the grid has not been yet."""
    for number in range(MANY):
        registry.register_file(draw(f"pose_{number:03}.png", number, (32, 24)), "characters")
    with opened(page, registry, page_folder) as studio:
        lightbox = Lightbox(studio)
        lightbox.open("pose_259")

        studio.press("End")
        expect(lightbox.name).to_have_text("pose_000.png")
        expect(lightbox.position).to_have_text("260 of 260")
        for _ in range(100):
            studio.press("ArrowLeft")
        expect(lightbox.name).to_have_text("pose_100.png")
        expect(lightbox.position).to_have_text("160 of 260")
        studio.press("Escape")

        expect(studio.card("pose_100")).to_be_in_viewport()
        expect(studio.card("pose_100")).to_have_class(re.compile("focused"))
        expect(studio.page.locator(".status")).to_contain_text("260 assets · card 160")


def test_the_thumbnail_is_shown_till_the_file_is_there(sharp: Lightbox) -> None:
    """Else one looks at nothing while a large picture comes over the network."""
    held: list[Any] = []
    sharp.page.route("**/download*", lambda route: held.append(route))
    sharp.studio.card("sharp_3").click()
    sharp.studio.press("Enter")
    still = sharp.dialog.locator("img[src*='/thumb']")
    expect(still).to_have_js_property("naturalWidth", 512)
    before = still.bounding_box()
    for route in held:
        route.continue_()

    expect(sharp.picture).to_have_js_property("naturalWidth", 1600)
    expect(still).to_have_count(0)
    assert sharp.box() == before


def test_one_to_one_is_a_pixel_of_the_screen_and_fit_is_all_of_it(sharp: Lightbox) -> None:
    """Else line art is judged by pixels that were scaled."""
    sharp.open("sharp_3")
    stage = sharp.dialog.locator(".stage").bounding_box()

    assert sharp.box()["height"] == pytest.approx(stage["height"], abs=1)
    sharp.studio.press("z")
    expect(sharp.percent).to_have_text("100 %")
    assert (sharp.box()["width"], sharp.box()["height"]) == SHARP
    sharp.studio.press("f")
    assert sharp.box()["height"] == pytest.approx(stage["height"], abs=1)
    sharp.picture.dblclick()
    assert sharp.box()["width"] == 1600
    sharp.picture.dblclick(position={"x": 700, "y": 600})
    assert sharp.box()["height"] == pytest.approx(stage["height"], abs=1)


@pytest.mark.parametrize("ratio", [1.5, 2])
def test_one_to_one_counts_the_pixels_of_a_fine_screen(
    browser: Any, registry: AssetRegistry, draw: Callable[..., Path], page_folder: Path, ratio: float
) -> None:
    """Else 1:1 on a laptop is twice as large as the picture is."""
    registry.register_file(draw("sharp.png", 1, SHARP), "characters")
    page = browser.new_page(device_scale_factor=ratio, viewport={"width": 1000, "height": 700})
    with opened(page, registry, page_folder) as studio:
        lightbox = Lightbox(studio)
        lightbox.open("sharp")
        studio.press("z")

        expect(lightbox.percent).to_have_text("100 %")
        assert lightbox.box()["width"] * ratio == pytest.approx(1600, abs=0.1)
    page.close()


def test_the_wheel_zooms_at_the_pointer_and_dragging_pans(sharp: Lightbox) -> None:
    """Else what one wants to see leaves the window while one goes nearer."""
    sharp.open("sharp_3")
    sharp.studio.press("z")
    before = sharp.box()
    at = (before["x"] + 700, before["y"] + 500)
    sharp.page.mouse.move(*at)
    sharp.page.mouse.wheel(0, -300)
    expect(sharp.percent).not_to_have_text("100 %")
    near = sharp.box()

    assert near["width"] > before["width"]
    assert (at[0] - near["x"]) / near["width"] == pytest.approx(700 / 1600, abs=0.002)
    assert (at[1] - near["y"]) / near["height"] == pytest.approx(500 / 1200, abs=0.002)

    sharp.page.mouse.down()
    sharp.page.mouse.move(at[0] - 60, at[1] + 40, steps=4)
    sharp.page.mouse.up()
    moved = sharp.box()
    assert (moved["x"] - near["x"], moved["y"] - near["y"]) == pytest.approx((-60, 40), abs=1.1)
    sharp.studio.press("Shift+ArrowRight")
    assert sharp.box()["x"] == pytest.approx(moved["x"] - 80, abs=1.1)


def test_zooming_has_an_end_and_shows_pixels_when_one_is_near(sharp: Lightbox) -> None:
    """Else a pixel artist sees mush, and a key held down leads into nowhere."""
    sharp.open("sharp_3")
    style = "image => getComputedStyle(image).imageRendering"

    sharp.studio.press("z")
    assert sharp.picture.evaluate(style) == "auto"
    for _ in range(25):
        sharp.studio.press("+")
    expect(sharp.percent).to_have_text("3200 %")
    assert sharp.picture.evaluate(style) == "pixelated"
    for _ in range(50):
        sharp.studio.press("-")
    assert 100 < sharp.box()["width"] < 400


def test_a_very_large_picture_opens_whole_and_can_be_looked_at_closely(
    page: Any, registry: AssetRegistry, tmp_path: Path, page_folder: Path
) -> None:
    """Else the backgrounds of a game can't be looked at."""
    wide = Image.linear_gradient("L").resize((8000, 4000)).convert("RGB")
    wide.save(tmp_path / "wide.jpg", quality=70)
    registry.register_file(tmp_path / "wide.jpg", "backgrounds")
    assert registry.wait_for_thumbnails(60)
    with opened(page, registry, page_folder) as studio:
        lightbox = Lightbox(studio)
        lightbox.open("wide")

        assert lightbox.box()["width"] == pytest.approx(1280, abs=1)
        studio.press("z")
        expect(lightbox.percent).to_have_text("100 %")
        assert lightbox.box()["width"] == 8000
        lightbox.page.mouse.move(640, 400)
        lightbox.page.mouse.down()
        lightbox.page.mouse.move(140, 400, steps=5)
        lightbox.page.mouse.up()
        assert lightbox.box()["x"] == pytest.approx(-3360 - 500, abs=1.1)


def test_two_are_compared_under_one_zoom(sharp: Lightbox) -> None:
    """Else one searches for the same place in each of two versions."""
    sharp.studio.card("sharp_3").click()
    sharp.studio.card("sharp_1").click(modifiers=["Control"])
    sharp.studio.press("c")
    expect(sharp.dialog.locator("figure")).to_have_count(2)
    expect(sharp.dialog.locator("figcaption")).to_contain_text(["sharp_3.png", "sharp_1.png"])
    expect(sharp.picture).to_have_count(2)
    expect(sharp.dialog.locator("figcaption").first).to_contain_text("1600 × 1200")
    whole = sharp.box(0)

    sharp.page.mouse.move(whole["x"] + 100, whole["y"] + 100)
    sharp.page.mouse.wheel(0, -800)
    sharp.page.mouse.down()
    sharp.page.mouse.move(whole["x"] + 140, whole["y"] + 130, steps=3)
    sharp.page.mouse.up()
    left, right = sharp.box(0), sharp.box(1)

    assert left["width"] > 2 * whole["width"]
    assert right["width"] == left["width"]
    stages = [stage.bounding_box()["x"] for stage in sharp.dialog.locator(".stage").all()]
    assert right["x"] - stages[1] == pytest.approx(left["x"] - stages[0], abs=1.1)
    assert right["y"] == pytest.approx(left["y"], abs=1.1)


def test_arrows_go_from_one_compared_asset_to_the_next(sharp: Lightbox) -> None:
    """Else one can't say which of the versions is to be rated."""
    for name in ("sharp_3", "sharp_2", "sharp_1"):
        sharp.studio.card(name).click(modifiers=["Control"])
    sharp.studio.press("c")
    expect(sharp.dialog.locator("figure[aria-current=true]")).to_contain_text("sharp_3.png")

    sharp.studio.press("ArrowRight", "ArrowRight")
    expect(sharp.dialog.locator("figure[aria-current=true]")).to_contain_text("sharp_1.png")
    sharp.studio.press("2")
    sharp.studio.wait_until(lambda: sharp.studio.record("sharp_1")["meta"].get("rating") == 2)
    sharp.studio.press("ArrowRight")
    expect(sharp.name).to_have_text("sharp_3.png")
    assert "rating" not in sharp.studio.record("sharp_3")["meta"]
    sharp.studio.press("Escape")

    expect(sharp.dialog).to_have_count(0)
    assert sharp.studio.selected() == {"sharp_3", "sharp_2", "sharp_1"}


@pytest.mark.parametrize("is_ours", [True, False], ids=["here", "elsewhere"])
def test_when_one_of_three_is_trashed_the_others_stay_compared(sharp: Lightbox, is_ours: bool) -> None:
    """Else one would choose all anew after each version that is thrown away."""
    for name in ("sharp_3", "sharp_2", "sharp_1"):
        sharp.studio.card(name).click(modifiers=["Control"])
    sharp.studio.press("c", "ArrowRight")
    expect(sharp.dialog.locator("figure[aria-current=true]")).to_contain_text("sharp_2.png")
    news = sharp.page.get_by_role("region", name="News")
    if is_ours:
        sharp.studio.press("Delete")
        expect(news).to_contain_text("Moved sharp_2.png to the trash")
    else:
        sharp.studio.registry.remove_asset(sharp.studio.uid("sharp_2"))
        expect(news).to_contain_text("sharp_2.png was removed.")

    expect(sharp.dialog.locator("figure")).to_have_count(2)
    expect(sharp.dialog.locator("figcaption")).to_contain_text(["sharp_3.png", "sharp_1.png"])
    sharp.studio.wait_until(lambda: sharp.page.url.count("lightbox=") == 2)


def test_of_two_that_lie_one_over_the_other_a_divider_shows_more_of_either(sharp: Lightbox) -> None:
    """Else a small change between two versions can't be seen."""
    sharp.studio.card("sharp_3").click()
    sharp.studio.card("sharp_2").click(modifiers=["Control"])
    sharp.studio.press("c", "s")
    divider = sharp.dialog.get_by_role("slider", name="Divider")
    expect(divider).to_have_attribute("aria-valuenow", "50")
    expect(sharp.picture).to_have_count(2)
    middle = (640, 440)
    assert sharp.box(0) == sharp.box(1)

    divider.press("Home")
    shows_second = colour_at(sharp.page, *middle)
    divider.press("End")
    shows_first = colour_at(sharp.page, *middle)
    assert shows_first != shows_second
    handle = divider.bounding_box()
    sharp.page.mouse.move(handle["x"] + 6, handle["y"] + 100)
    sharp.page.mouse.down()
    sharp.page.mouse.move(320, handle["y"] + 100, steps=3)
    sharp.page.mouse.up()
    expect(divider).to_have_attribute("aria-valuenow", "25")
    assert colour_at(sharp.page, *middle) == shows_second


def test_more_than_four_are_not_compared_and_a_sentence_says_so(lightbox: Lightbox) -> None:
    """Else the key does nothing and nobody knows why."""
    news = lightbox.page.get_by_role("region", name="News")
    lightbox.studio.card("mara_29").click()
    lightbox.studio.press("c")
    expect(news).to_contain_text("Select two to four assets")
    lightbox.studio.press("Control+a", "c")

    expect(news).to_contain_text("At most four assets")
    expect(lightbox.dialog).to_have_count(0)


def test_the_ground_behind_a_picture_is_chosen_and_kept(lightbox: Lightbox) -> None:
    """Else dark line art can't be told from its ground."""
    lightbox.open("mara_29")
    box = lightbox.box()
    corner = (box["x"] + 1, box["y"] + 1)
    other = (box["x"] + 9, box["y"] + 1)
    assert colour_at(lightbox.page, *corner) != colour_at(lightbox.page, *other)

    lightbox.dialog.get_by_role("button", name="Light behind it").click()
    assert colour_at(lightbox.page, *corner) == colour_at(lightbox.page, *other) == (255, 255, 255)
    lightbox.dialog.get_by_role("button", name="Dark behind it").click()
    assert max(colour_at(lightbox.page, *corner)) < 30
    lightbox.page.reload()
    lightbox.picture.wait_for()
    assert max(colour_at(lightbox.page, *corner)) < 30
    lightbox.studio.press("b")
    assert colour_at(lightbox.page, *corner) != colour_at(lightbox.page, *other)


def test_rating_selecting_and_moving_to_the_trash_work_inside(lightbox: Lightbox) -> None:
    """Else one closes the lightbox for each picture that is to be kept or thrown away."""
    studio = lightbox.studio
    lightbox.open("mara_29")

    studio.press("ArrowRight", "4")
    expect(lightbox.dialog.get_by_role("group", name="Rating").locator(".given")).to_have_count(4)
    studio.wait_until(lambda: studio.record("mara_28")["meta"].get("rating") == 4)
    studio.press("ArrowRight", "Control+Space")
    expect(lightbox.dialog.get_by_role("button", name="✓ Selected")).to_be_visible()
    studio.press("ArrowRight")
    expect(lightbox.name).to_have_text("mara_26.png")
    studio.press("Delete")
    expect(lightbox.name).to_have_text("mara_25.png")
    expect(lightbox.position).to_have_text("4 of 29")

    studio.press("Escape")
    expect(lightbox.dialog).to_have_count(0)
    expect(studio.card("mara_26")).to_have_count(0)
    assert studio.selected() == {"mara_29", "mara_27"}


def test_details_and_tags_are_open_to_edits_beside_the_picture(lightbox: Lightbox) -> None:
    """Else one tags blindly, or can't tag what one looks at."""
    lightbox.open("mara_29")

    lightbox.studio.press("d")
    expect(lightbox.dialog.get_by_role("complementary", name="Details")).to_be_visible()
    lightbox.dialog.locator(".picture, .stage").first.click()
    lightbox.studio.press("ArrowRight")
    expect(lightbox.dialog.get_by_role("complementary", name="Details")).to_contain_text("mara_28")


def test_an_asset_that_somebody_removes_makes_room_for_the_next(lightbox: Lightbox) -> None:
    """Else one looks at what is no longer there."""
    lightbox.open("mara_29")
    lightbox.studio.press("ArrowRight")
    expect(lightbox.name).to_have_text("mara_28.png")

    lightbox.page.evaluate(
        """() => {
            const look = () => {
                if (!document.querySelector(".lightbox")?.textContent.includes("mara_27.png")) return
                watcher.disconnect()
                const key = { key: "Delete", bubbles: true, cancelable: true }
                document.querySelector(".lightbox").dispatchEvent(new KeyboardEvent("keydown", key))
            }
            const watcher = new MutationObserver(look)
            watcher.observe(document.body, { subtree: true, childList: true, characterData: true })
        }"""
    )
    lightbox.studio.registry.remove_asset(lightbox.studio.uid("mara_28"))

    expect(lightbox.name).to_have_text("mara_27.png")
    news = lightbox.page.get_by_role("region", name="News")
    expect(news).to_contain_text("mara_28.png was removed; this is the next one.")
    expect(news).to_contain_text("Another asset is shown now. Look at it, then press again.")
    assert lightbox.studio.registry.count_assets() == 29
    expect(lightbox.dialog.get_by_role("button", name="Trash")).to_be_enabled()
    lightbox.page.keyboard.down("Delete")
    lightbox.page.keyboard.down("Delete")
    lightbox.page.keyboard.up("Delete")
    expect(lightbox.name).to_have_text("mara_26.png")
    assert lightbox.studio.registry.count_assets() == 28


def test_a_link_to_the_lightbox_opens_it_and_one_to_nothing_says_so(lightbox: Lightbox) -> None:
    """Else a link in an issue shows an empty page."""
    lightbox.studio.open(f"?lightbox={lightbox.studio.uid('mara_07')}")
    expect(lightbox.name).to_have_text("mara_07.png")
    expect(lightbox.position).to_have_text("23 of 30")
    lightbox.studio.press("ArrowRight")
    expect(lightbox.name).to_have_text("mara_06.png")

    lightbox.studio.open("?lightbox=0123456789abcdef")
    expect(lightbox.dialog.get_by_role("alert")).to_contain_text("0123456789abcdef")
    lightbox.dialog.get_by_role("button", name="Back to the gallery").click()
    expect(lightbox.dialog).to_have_count(0)


def test_what_is_behind_the_lightbox_takes_no_keys_and_no_focus(lightbox: Lightbox) -> None:
    """Else Tab leads into a page that nobody sees."""
    lightbox.open("mara_29")

    for _ in range(40):
        lightbox.studio.press("Tab")
        inside = (
            "() => document.activeElement === document.body || !!document.activeElement.closest('.lightbox')"
        )
        assert lightbox.page.evaluate(inside)


def test_a_film_plays_and_one_that_no_browser_knows_shows_its_preview(
    page: Any, registry: AssetRegistry, tmp_path: Path, page_folder: Path
) -> None:
    """Else a film is a black box."""
    (tmp_path / "known.webm").write_bytes(encode_film(moving(60), "libvpx", "webm"))
    (tmp_path / "old.avi").write_bytes(encode_film(moving(20), "mpeg4", "avi"))
    for name in ("old.avi", "known.webm"):
        registry.register_file(tmp_path / name, "films")
    assert registry.wait_for_thumbnails(60)
    with opened(page, registry, page_folder) as studio:
        studio.card("known").click()
        studio.press("Enter")
        film = page.locator(".lightbox video")
        page.wait_for_function("() => document.querySelector('.lightbox video').currentTime > 0.2")
        studio.press("Space")
        expect(film).to_have_js_property("paused", True)

        studio.press("ArrowRight")
        expect(page.locator(".lightbox").get_by_role("alert")).to_contain_text("can't play old.avi")
        expect(page.get_by_role("img", name="Moving preview of old.avi")).to_be_visible()


def test_a_picture_that_no_browser_knows_shows_its_preview_and_says_so(
    page: Any, registry: AssetRegistry, tmp_path: Path, page_folder: Path
) -> None:
    """Else a TIFF is an empty window."""
    Image.new("RGB", (300, 200), (200, 40, 40)).save(tmp_path / "scan.tiff")
    registry.register_file(tmp_path / "scan.tiff", "scans")
    assert registry.wait_for_thumbnails(60)
    with opened(page, registry, page_folder) as studio:
        studio.card("scan").click()
        studio.press("Enter")

        expect(page.locator(".lightbox .note")).to_contain_text("can't show TIFF files: this is its preview")
        assert colour_at(page, 640, 430) == pytest.approx((200, 40, 40), abs=6)


def moving(frames: int) -> Iterator[Any]:
    """Pictures of a bar that moves."""
    for at in range(frames):
        pixels = np.zeros((120, 160, 3), np.uint8)
        pixels[:, at * 4 % 160 : at * 4 % 160 + 20] = (250, 80, 20)
        yield pixels


def colour_at(page: Any, x: float, y: float) -> tuple[int, ...]:
    """The colour of one pixel of the window."""
    shot = page.screenshot(clip={"x": x, "y": y, "width": 1, "height": 1})
    colour = Image.open(io.BytesIO(shot)).convert("RGB").getpixel((0, 0))
    assert isinstance(colour, tuple)
    return tuple(int(part) for part in colour)
