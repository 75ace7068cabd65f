"""Make docs/images/studio-*.webp: the Studio's main states, in a real browser on the sample library.

Needs Debian's chromium, playwright, and the built page (``python tools/web.py build``).
"""

from __future__ import annotations

import argparse
import colorsys
import os
import shutil
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from comfyvn import sample
from comfyvn.server.run import listen, make_server
from comfyvn.studio.core import AssetRegistry

TARGET: Final = Path(__file__).parent.parent / "docs" / "images"
_FLAGS: Final = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
_WIDE: Final = (1280, 800)
_NARROW: Final = (420, 800)
_QUALITY: Final = 82
_HUES: Final = (0.12, 0.3, 0.55, 0.75)
_LICENCES: Final = ("CC0-1.0", "CC-BY-4.0", "CC-BY-4.0", "CC-BY-SA-4.0", None)
_SETTLED: Final = """async () => {
    const isLoaded = image => image.complete && image.naturalWidth > 0
    for (let turn = 0; turn < 100; turn++) {
        if ([...document.images].every(isLoaded)) return
        await new Promise(done => setTimeout(done, 50))
    }
}"""

State = Callable[[Page], None]


def main() -> int:
    """Make a library, walk through the states, and write a picture of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which [all]: {', '.join(STATES)}")
    parser.add_argument("--png", type=Path, metavar="FOLDER", help="write PNG files there instead")
    wanted = parser.parse_args()
    for name in wanted.names:
        if name not in STATES:
            parser.error(f"no state is called {name!r}; there are {', '.join(STATES)}")
    target = wanted.png or TARGET
    target.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        _libraries(Path(folder)) as addresses,
        _browser() as browser,
    ):
        for name in wanted.names or STATES:
            size, theme, library, act = STATES[name]
            picture = _take(browser, addresses[library], size, theme, act, Path(folder) / f"{name}.png")
            path = target / f"studio-{name}.{'png' if wanted.png else 'webp'}"
            picture.save(path, quality=_QUALITY, method=6)
            sys.stdout.write(f"{path.name}: {path.stat().st_size / 1000:.0f} kB\n")
    return 0


# -- the library ------------------------------------------------------------------------------------------


@contextmanager
def _libraries(folder: Path) -> Iterator[dict[str, str]]:
    """Serve the sample library with takes of each picture, and an empty one; give their addresses."""
    with _served(folder / "full") as full, _served(folder / "empty", is_empty=True) as empty:
        yield {"full": full, "empty": empty}


@contextmanager
def _served(home: Path, *, is_empty: bool = False) -> Iterator[str]:
    home.mkdir()
    with AssetRegistry(
        home / "library.db", assets_root=home / "assets", thumb_root=home / "thumbs", durability="off"
    ) as registry:
        if not is_empty:
            _fill(registry, home / "art")
        registry.wait_for_thumbnails()
        opened = listen("127.0.0.1", 0)
        server = make_server(registry, is_exposed=False, access_log=None)
        thread = threading.Thread(target=server.run, args=([opened],), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{opened.getsockname()[1]}"
        finally:
            server.end()
            thread.join(10)


def _fill(registry: AssetRegistry, art: Path) -> None:
    paths = [take for path in sample.build(art) for take in _takes(path)]
    for number, path in enumerate(sorted(paths, key=lambda path: _mixed(path.name))):
        kind = path.relative_to(art).parts[0]
        words = [word for word in path.stem.split("_") if not word.isdigit()]
        metadata: dict[str, Any] = {"tags": [*words[:2], "draft"][: 2 + number % 2], "title": " ".join(words)}
        if licence := _LICENCES[number % len(_LICENCES)]:
            metadata["license"] = licence
        if number % 4 == 0:
            metadata["rating"] = 3 + number % 3
        inputs = {
            "prompt": f"{' '.join(words)}, visual novel sprite, clean line art, soft light",
            "seed": 8_251_907 + 4_391 * number,
            "model": "anything-v5",
            "steps": 28,
            "sampler": "dpmpp_2m",
        }
        provenance = {"source": "comfyui", "workflow_hash": f"{_mixed(kind):08x}" * 8, "inputs": inputs}
        registry.register_file(path, kind, metadata=metadata, provenance=provenance)


def _mixed(text: str) -> int:
    """Return a number that stands for a name, the same each time."""
    return zlib.crc32(text.encode())


def _takes(path: Path) -> Iterator[Path]:
    """Yield a file and, of a picture, others in other colours, as a generator makes them."""
    yield path
    if path.suffix not in (".png", ".jpg", ".webp"):
        return
    with Image.open(path) as opened:
        picture = opened.convert("RGBA")
    for turn, hue in enumerate(_HUES, 1):
        made = path.with_name(f"{path.stem}_{turn:02}{path.suffix}")
        other = _shifted(picture, hue)
        (other if path.suffix != ".jpg" else other.convert("RGB")).save(made)
        yield made


def _shifted(picture: Image.Image, hue: float) -> Image.Image:
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.35, 1.0)
    bands = picture.split()
    tinted = [
        band.point([round(value * share) for value in range(256)])
        for band, share in zip(bands[:3], (red, green, blue), strict=True)
    ]
    return Image.merge("RGBA", (*tinted, bands[3]))


# -- the browser ------------------------------------------------------------------------------------------


@contextmanager
def _browser() -> Iterator[Browser]:
    flags = [*_FLAGS, "--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else [*_FLAGS]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        yield browser
        browser.close()


def _take(
    browser: Browser, address: str, size: tuple[int, int], theme: str, act: State, path: Path
) -> Image.Image:
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, reduced_motion="reduce")
    context.add_init_script(f"localStorage.setItem('comfyvn-studio', '{{\"theme\": \"{theme}\"}}')")
    page = context.new_page()
    page.goto(f"{address}/studio/")
    page.locator(".status").filter(has_text="asset").wait_for()
    page.wait_for_timeout(400)
    act(page)
    page.wait_for_timeout(400)
    page.evaluate(_SETTLED)
    page.screenshot(path=path)
    context.close()
    with Image.open(path) as taken:
        return taken.convert("RGB")


def _card(page: Page, number: int) -> Any:
    return page.locator("[role=option][data-uid]").nth(number)


def _full(page: Page) -> None:
    _card(page, 2).hover()


def _edit(page: Page) -> None:
    page.get_by_role("button", name="mara").first.click()
    _card(page, 0).click()
    page.keyboard.press("Control+a")
    page.keyboard.press("e")
    page.get_by_role("combobox", name="Add").first.fill("festival")
    page.keyboard.press("Enter")


def _detail(page: Page) -> None:
    _card(page, 1).click()
    page.keyboard.press("d")


def _provenance(page: Page) -> None:
    _detail(page)
    page.get_by_role("heading", name="Provenance").scroll_into_view_if_needed()


def _lightbox(page: Page) -> None:
    _card(page, 2).dblclick()


def _compare(page: Page) -> None:
    page.get_by_role("button", name="mara").first.click()
    _card(page, 0).click()
    _card(page, 2).click(modifiers=["Control"])
    page.keyboard.press("c")


def _sound(page: Page) -> None:
    page.goto(page.url + "?type=voices&type=music&type=sounds")
    _card(page, 0).click()
    page.keyboard.press("d")


def _search(page: Page) -> None:
    page.keyboard.press("/")
    page.keyboard.type("mara -tag:s", delay=40)


def _list(page: Page) -> None:
    _card(page, 0).click()
    page.keyboard.press("g")


def _nothing(page: Page) -> None:
    pass


STATES: Final[dict[str, tuple[tuple[int, int], str, str, State]]] = {
    "gallery": (_WIDE, "dark", "full", _full),
    "empty": (_WIDE, "dark", "empty", _nothing),
    "search": (_WIDE, "dark", "full", _search),
    "edit": (_WIDE, "dark", "full", _edit),
    "detail": (_WIDE, "dark", "full", _detail),
    "provenance": (_WIDE, "dark", "full", _provenance),
    "lightbox": (_WIDE, "dark", "full", _lightbox),
    "compare": (_WIDE, "dark", "full", _compare),
    "sound": (_WIDE, "dark", "full", _sound),
    "list": (_WIDE, "dark", "full", _list),
    "light": (_WIDE, "light", "full", _detail),
    "narrow": (_NARROW, "dark", "full", _full),
}
"""Each state: the window's size, the theme, the library, and what to do in it."""


if __name__ == "__main__":
    sys.exit(main())
