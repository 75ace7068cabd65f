"""The Asset Gallery as a person uses it: what to click, and what is to be seen."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from comfyvn.server import studio
from comfyvn.studio.core import AssetRegistry
from serving import running

TIMEOUT_MS = 20_000
expect.set_options(timeout=TIMEOUT_MS)
ROOT = Path(__file__).parents[1]
INSTALL_S = 240


class Gallery:
    """A window with the gallery; names stand for cards (``mara_07`` for ``mara_07.png``)."""

    def __init__(self, page: Any, address: str, registry: AssetRegistry) -> None:
        self.page = page
        self.address = address
        self.registry = registry

    def open(self, query: str = "", count: int | None = None) -> None:
        """Go to the gallery and wait for its first card (or for nothing, where ``count`` is 0)."""
        self.page.goto(f"{self.address}/studio/{query}", wait_until="load" if count == 0 else "commit")
        if count != 0:
            self.page.locator("[role=option][data-uid]").first.wait_for(timeout=TIMEOUT_MS)

    def open_in_place(self, query: str) -> None:
        """Go to another address of the page as Forward does, without loading it anew."""
        self.page.evaluate(
            """query => {
                history.pushState(null, "", location.pathname + query)
                dispatchEvent(new PopStateEvent("popstate"))
            }""",
            query,
        )

    def card(self, name: str) -> Any:
        """The card of a file."""
        return self.page.get_by_role("option", name=re.compile(rf"^{re.escape(name)}\b"))

    def names(self) -> list[str]:
        """The names on the cards in the window, in order, without suffix."""
        found = self.page.locator("[role=option][data-uid] .name").all_inner_texts()
        return [name.rpartition(".")[0] or name for name in found]

    def selected(self) -> set[str]:
        """The names of the selected cards in the window."""
        found = self.page.locator("[role=option][aria-selected=true] .name").all_inner_texts()
        return {name.rpartition(".")[0] or name for name in found}

    def status(self) -> str:
        """The line above the cards: how many there are, which has the focus, how many are selected."""
        return str(self.page.locator(".status").inner_text()).replace("\n", " ")

    def uid(self, name: str) -> str:
        """The uid of the asset whose file has this name."""
        return next(
            record["uid"] for record in self.registry.iter_assets() if Path(record["path"]).stem == name
        )

    def record(self, name: str) -> Any:
        """What the registry knows of the asset whose file has this name."""
        return self.registry.get_asset(self.uid(name))

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Wait for what is not to be seen in the window."""
        deadline = time.monotonic() + TIMEOUT_MS / 1_000
        while not is_so():
            assert time.monotonic() < deadline, "it did not happen in time"
            self.page.wait_for_timeout(20)

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)


@contextmanager
def opened(page: Any, registry: AssetRegistry, folder: Path, count: int | None = None) -> Iterator[Gallery]:
    """Serve a library with the page and open the gallery; errors in the page's console fail at the end."""
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda message: said.append(message.text) if is_fault(message) else None)
    page.set_default_timeout(TIMEOUT_MS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studio, "FOLDER", folder)
        with running(registry) as (_, address):
            gallery = Gallery(page, address, registry)
            gallery.open(count=count)
            yield gallery
            page.goto("about:blank")
    assert said == [], said


def is_fault(message: Any) -> bool:
    """Tell an error of ours; a refused request is written to the console as an error, too."""
    return message.type == "error" and "Failed to load resource" not in message.text


@cache
def axe_core() -> str:
    """The source of axe, which finds faults for assistive technology; installed if it is not there."""
    command = [sys.executable, str(ROOT / "tools" / "web.py"), "install"]
    subprocess.run(command, check=True, timeout=INSTALL_S)
    return (ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")
