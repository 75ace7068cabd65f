"""The Studio in a real browser, on a real server and a real library."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from comfyvn.studio.core import AssetRegistry
from gallery import Gallery, opened

ROOT = Path(__file__).resolve().parents[2]
BUILD_S = 240
TYPES = ("characters", "backgrounds", "props")


@pytest.fixture(scope="session")
def page_folder() -> Path:
    """Where the built page lies: `COMFYVN_TEST_PAGE`, or built here if the sources are newer."""
    stated = os.environ.get("COMFYVN_TEST_PAGE")
    if stated:
        return Path(stated)
    command = [sys.executable, str(ROOT / "tools" / "web.py"), "build"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_S, check=False)
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
    return ROOT / "src" / "comfyvn" / "server" / "static"


@pytest.fixture(scope="session")
def browser_context_args() -> dict[str, Any]:
    """A window of a usual size that may use the clipboard."""
    return {
        "viewport": {"width": 1280, "height": 800},
        "permissions": ["clipboard-read", "clipboard-write"],
    }


def draw_into(folder: Path, name: str, number: int, size: tuple[int, int] = (96, 72)) -> Path:
    """Draw a real PNG file, each number another picture."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = (number * 47 % 200 + 40, number * 91 % 200 + 40, number * 29 % 200 + 40, 255)
    image = Image.new("RGBA", size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    pen.ellipse((8, 4, size[0] - 8, size[1] - 4), fill=colour)
    pen.text((size[0] // 2 - 8, size[1] // 2 - 6), str(number), fill=(255, 255, 255, 255))
    image.save(path)
    return path


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., Path]:
    """Draw real PNG files outside the library: `draw_into` without the folder."""
    return partial(draw_into, tmp_path / "art")


@pytest.fixture(scope="session")
def thirty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project folder of `library`, made once and copied for each test."""
    folder = tmp_path_factory.mktemp("thirty")
    art = tmp_path_factory.mktemp("thirty-art")
    with chdir(folder), AssetRegistry(durability="off") as registry:
        for number in range(30):
            tags = [tag for tag, step in (("smile", 2), ("night", 3)) if number % step == 0]
            metadata: dict[str, Any] = {"tags": tags}
            if number % 5:
                metadata["license"] = ("CC0-1.0", "CC-BY-4.0")[number % 2]
            path = draw_into(art, f"mara_{number:02}.png", number)
            registry.register_file(path, TYPES[number % 3], metadata=metadata)
        assert registry.wait_for_thumbnails(60)
    return folder


@pytest.fixture
def library(thirty: Path, project: Path, open_registry: Callable[..., AssetRegistry]) -> AssetRegistry:
    """Thirty pictures: three types in turn; every second has the tag ``smile``, every third ``night``; every
    fifth has no licence, the others CC0-1.0 or CC-BY-4.0 in turn. The newest is ``mara_29.png``."""
    shutil.copytree(thirty, project, dirs_exist_ok=True)
    return open_registry()


@pytest.fixture
def studio(page: Any, library: AssetRegistry, page_folder: Path) -> Iterator[Gallery]:
    """The gallery of the thirty pictures, in a window; no error may have been written to its console."""
    with opened(page, library, page_folder) as gallery:
        yield gallery


@pytest.fixture
def empty_studio(page: Any, registry: AssetRegistry, page_folder: Path) -> Iterator[Gallery]:
    """The gallery of a library without assets."""
    with opened(page, registry, page_folder, count=0) as gallery:
        yield gallery
