"""The Studio's gallery with very many assets beside the same with few, in a real browser; see ``README.md``.

Needs Debian's chromium, playwright, and the page (``python tools/web.py build``).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import library
import rows
from measuring import once, open_registry
from playwright.sync_api import BrowserContext, Page, Request, sync_playwright
from rich.console import Console
from rich.table import Table
from servers import Server, running

from comfyvn import media
from comfyvn.model import Asset, Preview

_PICTURES: Final = 60
_FLAGS: Final = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-precise-memory-info",
)
_SPEEDS: Final = (1_000, 6_000, 20_000)
_SCROLLED_S: Final = 2.0
_FLUNG_S: Final = 1.0
_LIMIT_MS: Final = 30_000
_KEYS: Final = (
    ("select all", "Control+a", "document.querySelector('.status').textContent.includes('selected')"),
    ("select nothing", "Escape", "!document.querySelector('.status').textContent.includes('selected')"),
    ("to the end", "End", "bench.cards().at(-1)?.ariaPosInSet === bench.cards().at(-1)?.ariaSetSize"),
    ("to the top", "Home", "bench.cards().at(0)?.ariaPosInSet === '1'"),
)

_HELPERS: Final = """
window.bench = {
  box: () => document.querySelector('[role=listbox]'),
  cards() {
    const box = this.box().getBoundingClientRect()
    return [...document.querySelectorAll('[role=option]')].filter(card => {
      const its = card.getBoundingClientRect()
      return its.bottom > box.top && its.top < box.bottom
    })
  },
  isDrawn(card) { const image = card.querySelector('img'); return image?.complete && image.naturalWidth > 0 },
  frame: () => new Promise(requestAnimationFrame),
  async until(isSo) {
    while (!isSo()) await this.frame()
    await new Promise(done => requestAnimationFrame(() => setTimeout(done)))
    return performance.now()
  },
  after(event, isSo) {
    this.done = new Promise(done => addEventListener(event, async told => {
      done(await this.until(isSo) - told.timeStamp)
    }, {once: true, capture: true}))
  },
  async scroll(speed, seconds) {
    const box = this.box(), most = box.scrollHeight - box.clientHeight
    const times = [], begun = performance.now()
    let last = begun, blank = 0
    for (;;) {
      const now = await this.frame()
      times.push(now - last)
      last = now
      const cards = this.cards()
      if (cards.filter(card => !card.dataset.uid).length > cards.length / 10) blank++
      if (now - begun > seconds * 1000) break
      const way = speed * (now - begun) / 1000 % (2 * most)
      box.scrollTop = way < most ? way : 2 * most - way
    }
    times.shift()
    times.sort((a, b) => a - b)
    return {p95: times[Math.floor(times.length * 0.95)], blank: 100 * blank / (times.length + 1)}
  },
  async settle() {
    const begun = performance.now()
    return await this.until(() => this.cards().length && this.cards().every(this.isDrawn)) - begun
  },
}
"""

Figures = dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the gallery with many assets beside one with few.")
    parser.add_argument("--rows", type=int, default=100_000, help="assets of the large library [100,000]")
    parser.add_argument("--few", type=int, default=100, help="assets of the small one [100]")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each, in turns [5]")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the libraries there")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="comfyvn-studio-") as folder:
        base = (wanted.keep or Path(folder)).resolve()
        homes = [_library(base, count) for count in (wanted.few, wanted.rows)]
        runs = _measure(homes, wanted.repeat)
    counts = (wanted.few, wanted.rows)
    if wanted.json:
        print(json.dumps({"assets": counts, "runs": runs}, indent=2))
    else:
        few, many = (
            {name: statistics.median(run[name] for run in each) for name in each[0]} for each in runs
        )
        _print(few, many, counts)
    return 0


# -- libraries --------------------------------------------------------------------------------------------


def _library(base: Path, count: int) -> Path:
    """Return a project folder of so many assets that all have thumbnails, those of some pictures in turn."""
    pictures = once(base / "gallery-pictures", _draw)
    return once(base / f"gallery-{count}", partial(_fill, pictures, count))


def _draw(home: Path) -> None:
    library.make_mixed(home / "art", _PICTURES)
    with open_registry(home, "off") as registry:
        for path in filter(library.is_picture, library.files(home / "art")):
            registry.register_file(path, "art")
        registry.wait_for_thumbnails()


def _fill(pictures: Path, count: int, home: Path) -> None:
    _say(f"making a library of {count:,} assets ...")
    sources = sorted((pictures / "cache" / "thumbs").glob("*_256.webp"))
    thumbs = home / "cache" / "thumbs"
    thumbs.mkdir(parents=True)

    def dress(number: int, asset: Asset) -> Asset:
        source = sources[number % len(sources)]
        for size in ("256", "512"):
            os.link(str(source).replace("_256.", f"_{size}."), thumbs / f"{asset.uid}_{size}.webp")
        preview = Preview("thumbnail", "ready", None, media.RECIPES["thumbnail"], f"{asset.uid}_256.webp")
        return replace(asset, preview=preview, media={"width": 1280, "height": 720})

    rows.fill(home, count, dress)


# -- measuring --------------------------------------------------------------------------------------------


def _measure(homes: Sequence[Path], repeat: int) -> list[list[Figures]]:
    """Measure each library so many times, in turns."""
    runs: list[list[Figures]] = [[] for _ in homes]
    with ExitStack() as stack:
        servers = [stack.enter_context(running("library", home)) for home in homes]
        driver = stack.enter_context(sync_playwright())
        flags = [*_FLAGS, "--no-sandbox"] if os.geteuid() == 0 else [*_FLAGS]
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        stack.callback(browser.close)
        for turn in range(repeat + 1):  # the first warms everything up
            for at, server in enumerate(servers):
                _say(f"{homes[at].name}: run {turn} of {repeat} ...")
                context = browser.new_context(viewport={"width": 1400, "height": 900})
                context.set_default_timeout(_LIMIT_MS)
                figures = _visit(context, server)
                context.close()
                if turn:
                    runs[at].append(figures)
    return runs


def _visit(context: BrowserContext, server: Server) -> Figures:
    """Do with the gallery what a person does, and return what it took."""
    figures: Figures = {}
    page = _open(context, server)
    is_there = "bench.until(() => bench.box() && bench.cards().some(bench.isDrawn))"
    figures["first card, ms"] = page.evaluate(is_there)
    for speed in _SPEEDS:
        page = _open(context, server)  # each begins with no thumbnail seen but those of the top
        page.evaluate("bench.settle()")
        seen = page.evaluate("([speed, seconds]) => bench.scroll(speed, seconds)", [speed, _SCROLLED_S])
        figures[f"frame at {speed:,} px/s, 95th, ms"] = seen["p95"]
        figures[f"blank frames at {speed:,} px/s, %"] = seen["blank"]
        figures[f"settled after {speed:,} px/s, ms"] = page.evaluate("bench.settle()")
    figures |= _fling(_open(context, server))
    page = _open(context, server)
    page.evaluate("bench.settle()")
    page.evaluate("bench.box().focus()")
    for name, key, condition in _KEYS:
        page.evaluate(f"bench.after('keydown', () => {condition})")
        page.keyboard.press(key)
        figures[f"{name}, ms"] = page.evaluate("bench.done")
        page.evaluate("bench.settle()")
    figures["facet, ms"] = _choose(page)
    figures["event to repaint, ms"] = _change(page, server.port)
    page.context.new_cdp_session(page).send("HeapProfiler.collectGarbage")
    figures["memory of the page, MB"] = page.evaluate("performance.memory.usedJSHeapSize") / 1e6
    return figures


def _open(context: BrowserContext, server: Server) -> Page:
    for page in context.pages:
        page.close()
    page = context.new_page()
    page.add_init_script(_HELPERS)
    page.goto(f"http://127.0.0.1:{server.port}/studio/")
    return page


def _fling(page: Page) -> Figures:
    """Go from the first row to the last in a second, and wait for the thumbnails there."""
    page.evaluate("bench.settle()")
    asked = 0

    def count(request: Request) -> None:
        nonlocal asked
        asked += "/thumb" in request.url

    page.on("request", count)
    height = page.evaluate("bench.box().scrollHeight")
    page.evaluate("([speed, seconds]) => bench.scroll(speed, seconds)", [height / _FLUNG_S, _FLUNG_S])
    settled_ms = page.evaluate("bench.settle()")
    page.wait_for_timeout(300)
    return {"settled after a fling over all, ms": settled_ms, "thumbnails asked for in that fling": asked}


def _choose(page: Page) -> float:
    """Choose a type, and take the time till its first card is there."""
    page.evaluate(
        "bench.after('click', () => bench.box().ariaBusy === 'false' && location.search"
        " && bench.cards().length && bench.cards().every(card => card.textContent.includes(', characters')))"
    )
    filters = page.get_by_role("complementary", name="Filters")
    filters.get_by_role("button", name=re.compile("^characters")).first.click()
    took: float = page.evaluate("bench.done")
    return took


def _change(page: Page, port: int) -> float:
    """Tag an asset in view over HTTP, and take the time from the answer till its card shows that."""
    card = page.locator("[role=option][data-uid]").first
    uid, tag = card.get_attribute("data-uid"), f"tag-{time.time_ns()}"
    page.evaluate(
        """([uid, tag]) => { bench.told = bench.until(
            () => document.querySelector(`[data-uid="${uid}"]`)?.textContent.includes(tag)
        ).then(at => performance.timeOrigin + at) }""",
        [uid, tag],
    )
    body = json.dumps({"uids": [uid], "add_tags": [tag]}).encode()
    headers = {"content-type": "application/json"}
    with urllib.request.urlopen(
        urllib.request.Request(f"http://127.0.0.1:{port}/assets/bulk", body, headers), timeout=30
    ) as answer:
        answer.read()
    answered_ms = time.time() * 1_000
    told: float = page.evaluate("bench.told")
    return told - answered_ms


def _middle(runs: Sequence[Figures]) -> Figures:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


# -- telling ----------------------------------------------------------------------------------------------


def _print(few: Figures, many: Figures, counts: Sequence[int]) -> None:
    table = Table("", *(f"{count:,} assets" for count in counts), "ratio")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, value in many.items():
        ratio = f"{value / few[name]:.2f}" if name.endswith("ms") and few[name] > 0 else ""
        table.add_row(name, f"{few[name]:.1f}", f"{value:.1f}", ratio)
    Console().print(table)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
