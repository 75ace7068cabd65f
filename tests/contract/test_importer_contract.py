"""The import adapters that read folders keep the contract of all import adapters."""

import shutil
from pathlib import Path

import pytest

from comfyvn.importers.a1111 import A1111Adapter
from comfyvn.importers.comfyui import ComfyuiAdapter
from comfyvn.importers.folders import FoldersAdapter
from comfyvn.importers.renpy import RenpyAdapter
from comfyvn.testing import ImportAdapterContract
from outputs import draw, write_a1111_outputs, write_comfyui_output


class TestFolders(ImportAdapterContract):
    adapter = FoldersAdapter()
    settings = {  # noqa: RUF012
        "rules": [
            {"match": "cast/{who}/{mood}.png", "type": "characters", "tags": ["{who}", "{mood}"]},
            {"match": "**/*.txt", "skip": True},
        ]
    }

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        draw(tmp_path / "art" / "cast" / "mara" / "smile.png", 1)
        draw(tmp_path / "art" / "sky.webp", 2)
        (tmp_path / "art" / "notes.txt").write_text("draw more")
        return tmp_path / "art"


class TestComfyui(ImportAdapterContract):
    adapter = ComfyuiAdapter()

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        return write_comfyui_output(tmp_path / "output")


class TestA1111(ImportAdapterContract):
    adapter = A1111Adapter()

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        return write_a1111_outputs(tmp_path / "outputs")


class TestRenpy(ImportAdapterContract):
    adapter = RenpyAdapter()

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        game = tmp_path / "my-game" / "game"
        draw(game / "images" / "mara smile.png", 1)
        draw(game / "gui" / "frame.png", 2)
        (game / "script.rpy").write_text('define m = Character("Mara")\nlabel start:\n    show mara smile\n')
        (game / "archive.rpa").write_bytes(b"RPA-3.0 0000000000000000 00000000\n")
        return tmp_path / "my-game"


@pytest.mark.art
class TestRenpyWithARealGame(ImportAdapterContract):
    adapter = RenpyAdapter()

    @pytest.fixture
    def source(self, art: Path, tmp_path: Path) -> Path:
        game = art / "renpy-thequestion/usr/share/games/renpy/the_question/game"
        kept = tmp_path / "the_question" / "game"
        kept.mkdir(parents=True)
        for name in ("script.rpy", "options.rpy", "images/sylvie green smile.png", "images/bg club.jpg"):
            (kept / name).parent.mkdir(exist_ok=True)
            shutil.copy2(game / name, kept / name)
        return tmp_path / "the_question"
