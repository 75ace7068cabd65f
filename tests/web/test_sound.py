"""Sounds, films and animations on cards and in their player: what plays, when, and what says why not."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from comfyvn.studio.core import AssetRegistry
from encoders import encode_film, encode_sound
from gallery import Gallery, opened

RATE_HZ = 48_000
LISTEN = """
window.heard = new Set();
const { play } = HTMLMediaElement.prototype;
HTMLMediaElement.prototype.play = function () {
  window.heard.add(this);
  return play.call(this);
};
"""
"""Notes every element that ever played, so that a test can ask the page what is to be heard."""


class Sounds:
    """A gallery with sounds, and what is to be heard in it."""

    def __init__(self, studio: Gallery) -> None:
        self.studio = studio
        self.page = studio.page

    def play_button(self, name: str) -> Any:
        """What plays the sound of a card."""
        return self.studio.card(name).locator(".play")

    def wait_heard(self, name: str, from_s: float = 0) -> None:
        """Wait until just this sound is heard, by the one element that ever played."""
        asks = """([uid, from]) => {
            const [audio] = [...window.heard].filter((each) => !each.paused);
            return window.heard.size === 1 && audio?.src.includes(uid) && audio.currentTime > from;
        }"""
        self.page.wait_for_function(asks, arg=[self.studio.uid(name), from_s])

    def wait_silent(self) -> None:
        """Wait until nothing is heard."""
        self.page.wait_for_function("() => [...window.heard].every((each) => each.paused)")

    def position_s(self) -> float:
        """Where the sound that is or was heard stands."""
        return float(self.page.evaluate("() => [...window.heard][0].currentTime"))


@pytest.fixture(scope="session")
def three_sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project folder of `sounds`, made once and copied for each test."""
    folder, art = tmp_path_factory.mktemp("sounds"), tmp_path_factory.mktemp("sounds-art")
    with chdir(folder), AssetRegistry(durability="off") as registry:
        for number in range(100):
            colour = (number * 2, 80, 160)
            Image.new("RGB", (32, 24), colour).save(art / f"dot_{number:02}.png")
            registry.register_file(art / f"dot_{number:02}.png", "props")
        for name, seconds in (("tape.aiff", 2), ("bell.ogg", 20), ("rain.wav", 40)):
            (art / name).write_bytes(sine(seconds, name))
            registry.register_file(art / name, "music")
        assert registry.wait_for_thumbnails(60)
    return folder


@pytest.fixture
def sounds(
    page: Any,
    three_sounds: Path,
    project: Path,
    open_registry: Callable[..., AssetRegistry],
    page_folder: Path,
) -> Iterator[Sounds]:
    """Three sounds, the newest first: ``rain`` (40 s), ``bell`` (20 s), ``tape`` (2 s of AIFF, which Chromium
    doesn't know); and older than these a hundred small pictures."""
    shutil.copytree(three_sounds, project, dirs_exist_ok=True)
    page.add_init_script(LISTEN)
    with opened(page, open_registry(), page_folder) as studio:
        yield Sounds(studio)


def test_a_card_shows_the_waveform_and_how_long_it_is(sounds: Sounds) -> None:
    """Else a hundred voices look alike."""
    rain = sounds.studio.card("rain")

    expect(rain.locator("svg path").first).to_have_attribute("d", re.compile(r"^M0\.175 \d.*z$"))
    expect(sounds.play_button("rain")).to_have_text("0:40")
    expect(sounds.play_button("bell")).to_have_text("0:20")


def test_space_plays_and_pauses_the_focused_sound(sounds: Sounds) -> None:
    """Else one needs the mouse for each of a hundred voices."""
    sounds.studio.card("rain").click(position={"x": 20, "y": 230})
    sounds.studio.press("Space")
    sounds.wait_heard("rain", 0.3)
    expect(sounds.play_button("rain")).to_contain_text(re.compile(r"0:0[01] / 0:40"))

    sounds.studio.press("Space")
    sounds.wait_silent()
    at_s = sounds.position_s()
    sounds.studio.press("Space")
    sounds.wait_heard("rain", at_s + 0.1)
    sounds.studio.press("ArrowRight", "Space")
    sounds.wait_heard("bell")


def test_one_sound_is_heard_at_a_time(sounds: Sounds) -> None:
    """Else two themes play over each other, and nobody finds the one to stop."""
    sounds.play_button("rain").click()
    sounds.wait_heard("rain")
    sounds.play_button("bell").click()
    sounds.wait_heard("bell")
    expect(sounds.play_button("rain")).to_have_text("0:40")

    sounds.studio.card("rain").dblclick(position={"x": 20, "y": 230})
    sounds.wait_heard("rain")
    sounds.studio.press("Escape")
    sounds.wait_silent()


def test_a_click_on_a_waveform_goes_there(sounds: Sounds) -> None:
    """Else one hears the beginning of a long piece again and again."""
    wave = sounds.studio.card("rain").locator(".drawn")
    box = wave.bounding_box()

    wave.click(position={"x": box["width"] / 4, "y": 60})
    assert sounds.studio.selected() == {"rain"}
    expect(sounds.play_button("rain")).to_have_text("0:40")
    wave.click(position={"x": box["width"] / 2, "y": 60})
    expect(sounds.play_button("rain")).to_have_text("0:20 / 0:40")
    sounds.studio.press("Space")
    sounds.wait_heard("rain", 20)
    wave.click(position={"x": box["width"] * 0.75, "y": 60})
    sounds.wait_heard("rain", 29.7)
    assert sounds.position_s() == pytest.approx(30, abs=2)
    assert sounds.studio.selected() == {"rain"}


def test_the_player_goes_by_keys_and_says_where_it_is(sounds: Sounds) -> None:
    """Else a screen reader or a keyboard can't find a place in a sound."""
    sounds.studio.card("rain").click(position={"x": 20, "y": 230})
    sounds.studio.press("Enter")
    sounds.wait_heard("rain")
    slider = sounds.page.locator(".lightbox").get_by_role("slider", name="Position in rain.wav")
    slider.focus()
    sounds.studio.press("Space")
    sounds.wait_silent()

    sounds.studio.press("Home", "ArrowRight", "ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", "0:10 of 0:40")
    sounds.studio.press("PageUp", "ArrowLeft")
    expect(slider).to_have_attribute("aria-valuetext", "0:09 of 0:40")
    assert sounds.position_s() == pytest.approx(9, abs=0.1)
    box = slider.bounding_box()
    slider.click(position={"x": box["width"] * 0.25, "y": 20})
    expect(slider).to_have_attribute("aria-valuetext", "0:10 of 0:40")


def test_the_volume_is_kept(sounds: Sounds) -> None:
    """Else each visit begins with a shock."""
    sounds.studio.card("rain").click(position={"x": 20, "y": 230})
    sounds.studio.press("Enter")
    volume = sounds.page.locator(".lightbox").get_by_role("slider", name="Volume")
    volume.fill("0.25")
    sounds.page.reload()
    expect(volume).to_have_value("0.25")
    sounds.wait_heard("rain")

    assert sounds.page.evaluate("() => [...window.heard][0].volume") == 0.25


def test_a_sound_plays_on_while_one_scrolls_and_can_be_stopped_from_anywhere(sounds: Sounds) -> None:
    """Else music ends when its card leaves the window, or can't be stopped there."""
    sounds.play_button("rain").click()
    sounds.wait_heard("rain")
    sounds.studio.press("End")
    expect(sounds.studio.card("rain")).to_have_count(0)
    sounds.wait_heard("rain", sounds.position_s() + 0.2)

    strip = sounds.page.get_by_role("group", name="Now playing")
    expect(strip).to_contain_text("rain.wav")
    strip.get_by_role("button", name="Pause").click()
    sounds.wait_silent()
    strip.get_by_role("button", name="Show").click()
    expect(sounds.studio.card("rain")).to_be_in_viewport()
    strip.get_by_role("button", name="Stop").click()
    expect(strip).to_have_count(0)


def test_a_sound_that_is_removed_ends_with_a_sentence(sounds: Sounds) -> None:
    """Else one hears what is no longer there, or silence without a reason."""
    sounds.play_button("bell").click()
    sounds.wait_heard("bell")

    sounds.studio.registry.remove_asset(sounds.studio.uid("bell"))

    expect(sounds.page.get_by_role("region", name="News")).to_contain_text("bell.ogg was removed")
    sounds.wait_silent()


def test_what_the_browser_cannot_play_says_so_and_offers_the_file(sounds: Sounds) -> None:
    """Else the button seems to be broken."""
    sounds.play_button("tape").click()

    news = sounds.page.get_by_role("region", name="News")
    expect(news).to_contain_text("can't play tape.aiff")
    with sounds.page.expect_download() as download:
        news.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "tape.aiff"
    sounds.play_button("bell").click()
    sounds.wait_heard("bell")


def test_a_sound_whose_file_is_gone_says_so(sounds: Sounds) -> None:
    """Else a missing file looks like a format that nobody knows."""
    path = sounds.studio.registry.resolve_path(sounds.studio.uid("bell"))
    assert path is not None
    path.unlink()

    sounds.play_button("bell").click()

    news = sounds.page.get_by_role("region", name="News")
    expect(news).to_contain_text(re.compile("bell.ogg.*it is not in its place"))


@pytest.fixture
def films(page: Any, registry: AssetRegistry, tmp_path: Path, page_folder: Path) -> Iterator[Gallery]:
    """A film ``walk``, an animation ``blink`` and a still picture ``still``."""
    frames = list(moving(40))
    (tmp_path / "walk.webm").write_bytes(encode_film(frames, "libvpx", "webm"))
    pictures = [Image.fromarray(each) for each in frames[:12]]
    pictures[0].save(tmp_path / "blink.gif", save_all=True, append_images=pictures[1:], duration=80, loop=0)
    pictures[0].save(tmp_path / "still.png")
    for name in ("walk.webm", "blink.gif", "still.png"):
        registry.register_file(tmp_path / name, "things")
    assert registry.wait_for_thumbnails(60)
    with opened(page, registry, page_folder) as studio:
        yield studio


@pytest.mark.parametrize("name", ["walk", "blink"])
def test_what_moves_plays_under_the_pointer_and_rests_without_it(films: Gallery, name: str) -> None:
    """Else one opens each film to know what it is, or a wall of cards flickers."""
    card = films.card(name)
    expect(card.locator(".film")).to_have_text(re.compile(r"0:0\d"))
    expect(card.locator(".moving")).to_have_count(0)

    card.hover()
    expect(card.locator(".moving.shown")).to_be_visible()
    assert "/preview?v=" in card.locator(".moving").get_attribute("src")
    films.card("still").hover()
    expect(card.locator(".moving")).to_have_count(0)


def test_the_keyboard_makes_move_what_it_comes_to(films: Gallery) -> None:
    """Else films are for mice."""
    films.card("still").click()
    films.press("ArrowRight")
    expect(films.card("blink").locator(".moving.shown")).to_be_visible()
    films.press("Space")
    expect(films.card("blink").locator(".moving")).to_have_count(0)
    films.press("ArrowRight")

    expect(films.card("walk").locator(".moving.shown")).to_be_visible()
    expect(films.card("blink").locator(".moving")).to_have_count(0)


def test_a_pointer_that_only_passes_asks_for_nothing(films: Gallery) -> None:
    """Else a way across the window costs a film for each card."""
    asked: list[str] = []
    films.page.on(
        "request", lambda request: asked.append(request.url) if "/preview?" in request.url else None
    )

    for _ in range(3):
        films.card("walk").hover()
        films.card("still").hover()
    films.card("blink").hover()
    expect(films.card("blink").locator(".moving.shown")).to_be_visible()

    assert all(films.uid("blink") in url for url in asked), asked


def test_who_prefers_less_motion_sees_it_only_on_request(films: Gallery) -> None:
    """Else the page makes people sick who have said so to their system."""
    films.page.emulate_media(reduced_motion="reduce")
    card = films.card("blink")

    card.click()
    films.page.wait_for_timeout(400)
    expect(card.locator(".moving")).to_have_count(0)
    films.press("Space")
    expect(card.locator(".moving.shown")).to_be_visible()
    films.press("Space")
    expect(card.locator(".moving")).to_have_count(0)
    films.press("Enter")
    expect(films.page.locator(".lightbox .note")).to_contain_text("Press Space to play it")
    films.press("Space")
    expect(films.page.locator(".lightbox img.full:not(.waits)")).to_be_visible()


def test_a_film_silences_the_sound_that_plays(
    page: Any, registry: AssetRegistry, tmp_path: Path, page_folder: Path
) -> None:
    """Else two things are heard at once."""
    (tmp_path / "walk.webm").write_bytes(encode_film(moving(40), "libvpx", "webm"))
    (tmp_path / "rain.wav").write_bytes(sine(20, "rain.wav"))
    for name in ("rain.wav", "walk.webm"):
        registry.register_file(tmp_path / name, "things")
    assert registry.wait_for_thumbnails(60)
    page.add_init_script(LISTEN)
    with opened(page, registry, page_folder) as studio:
        sounds = Sounds(studio)
        sounds.play_button("rain").click()
        sounds.wait_heard("rain")
        studio.card("walk").dblclick()

        playing = (
            "() => [...window.heard].filter((each) => !each.paused).map((each) => each.localName).join()"
        )
        page.wait_for_function(f"() => ({playing})() === 'video'")


def sine(seconds: int, name: str) -> bytes:
    """A sound that swells, in the format of its suffix."""
    times_s = np.arange(seconds * RATE_HZ) / RATE_HZ
    wave = np.sin(times_s * 440 * 2 * np.pi) * np.abs(np.sin(times_s / 3)) * 0.4
    if name.endswith(".ogg"):
        return encode_sound(np.stack([wave, wave]).astype("f4"), "vorbis", "ogg", kind="fltp")
    codec, container = ("pcm_s16be", "aiff") if name.endswith(".aiff") else ("pcm_s16le", "wav")
    return encode_sound((np.stack([wave, wave]) * 32_767).astype("i2"), codec, container)


def moving(frames: int) -> Iterator[Any]:
    """Pictures of a bar that moves."""
    for at in range(frames):
        pixels = np.zeros((120, 160, 3), np.uint8)
        pixels[:, at * 4 % 160 : at * 4 % 160 + 20] = (250, 80, 20)
        yield pixels
