"""Fixtures that every test may use: a project folder of its own, registries that are closed, real art."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyvn import cli
from comfyvn.studio.core import AssetRegistry
from support import Answer

# The first starts a page in half the time of the others.
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def pytest_collection_finish() -> None:
    """Keep the thousands of tests out of Python's looks for garbage: they stay to the end."""
    gc.freeze()


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Run each test in an empty project folder, with no setting from the environment."""
    _forget_settings()
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder
    _forget_settings()  # those that a command has set here would be there for the next fixture of the session


def _forget_settings() -> None:
    for name in list(os.environ):
        if name == "API_TOKEN" or (name.startswith("COMFYVN_") and not name.startswith("COMFYVN_TEST_")):
            del os.environ[name]


@pytest.fixture
def open_registry(project: Path) -> Iterator[Callable[..., AssetRegistry]]:
    """Open registries on the project (durability ``off`` unless said); they are closed at the end."""
    opened: list[AssetRegistry] = []

    def open_one(**arguments: object) -> AssetRegistry:
        registry = AssetRegistry(**{"durability": "off", **arguments})
        opened.append(registry)
        return registry

    yield open_one
    for registry in opened:
        registry.close()


@pytest.fixture
def registry(open_registry: Callable[..., AssetRegistry]) -> AssetRegistry:
    """A registry on the empty project."""
    return open_registry()


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Answer]]:
    """Run a command through the program's own entry, in this process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def run_one(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["comfyvn", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Answer(ended.value.code, told.out, told.err)

    yield run_one
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def make_png(tmp_path: Path) -> Callable[..., Path]:
    """Make real PNG files outside the project; another ``seed`` gives other content."""

    def make(
        name: str = "mara.png", *, seed: int = 1, size: tuple[int, int] = (64, 48), **save: object
    ) -> Path:
        path = tmp_path / "art" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGBA", size, (seed * 37 % 256, seed * 91 % 256, seed * 53 % 256, 255))
        image.putpixel((seed % size[0], seed // size[0] % size[1]), (255, 0, 0, 0))
        image.save(path, format="PNG", **save)
        return path

    return make


@pytest.fixture(scope="session")
def art() -> Path:
    """The unpacked art of Debian's Ren'Py games; CI must have it, elsewhere such tests are skipped."""
    folder = os.environ.get("COMFYVN_TEST_ART")
    if folder is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI must set COMFYVN_TEST_ART: see scripts/fetch-art")
        pytest.skip("COMFYVN_TEST_ART is not set: run scripts/fetch-art")
    return Path(folder)


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Odd files of Pillow, mutagen and others; CI must have them, elsewhere such tests are skipped."""
    folder = os.environ.get("COMFYVN_TEST_CORPUS")
    if folder is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI must set COMFYVN_TEST_CORPUS: see scripts/fetch-corpus")
        pytest.skip("COMFYVN_TEST_CORPUS is not set: run scripts/fetch-corpus")
    return Path(folder)


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    """Debian's browser, without a window and without traffic of its own."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI must have chromium: see .ci/run")
        pytest.skip("there is no chromium here: install Debian's package chromium-headless-shell")
    flags = [
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--autoplay-policy=no-user-gesture-required",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        flags.append("--no-sandbox")
    return {"executable_path": program, "args": flags}
