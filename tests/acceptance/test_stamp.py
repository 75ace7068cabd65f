"""`comfyvn stamp`: the marker in a file is read back, and taken out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from comfyvn.errors import PathConflict
from comfyvn.registry.stamp import write_stripped
from comfyvn.studio.core import AssetRecord, AssetRegistry
from support import Answer

Run = Callable[..., Answer]


@pytest.fixture
def source(make_png: Callable[..., Path]) -> Path:
    return make_png("mara.png")


@pytest.fixture
def mara(source: Path) -> AssetRecord:
    with AssetRegistry() as registry:
        return registry.register_file(source, "characters", provenance={"source": "comfyui"})


@pytest.fixture
def stamped(mara: AssetRecord) -> Path:
    return Path("assets", mara["path"])


def test_the_marker_tells_asset_and_provenance(run: Run, mara: AssetRecord, stamped: Path) -> None:
    """A file that was sent to somebody could not be traced back."""
    answer = run("stamp", "show", stamped, "--json")

    said = answer.document
    assert answer.code == 0
    assert mara["provenance"] is not None
    assert said["marker"]["uid"] == mara["uid"] == said["asset"]["uid"]
    assert said["marker"]["provenance_id"] == mara["provenance"]["id"]
    assert said["marker"]["source"] == "comfyui"
    assert (said["hash"], said["is_unchanged"]) == (mara["hash"], True)


def test_the_marker_is_told_in_words(run: Run, mara: AssetRecord, stamped: Path) -> None:
    """People would have to read JSON."""
    answer = run("stamp", "show", stamped)

    assert answer.code == 0
    assert f"uid:            {mara['uid']}" in answer.out
    assert "content:        as it was stamped" in answer.out
    assert "registered as:  characters/mara.png (version 1)" in answer.out


def test_a_file_is_told_apart_from_any_library(run: Run, stamped: Path, tmp_path: Path) -> None:
    """Whoever gets the file has not the library, and none must be made for looking."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    lone = elsewhere / "mara.png"
    lone.write_bytes(stamped.read_bytes())

    answer = run("--home", elsewhere, "stamp", "show", lone, "--json")

    assert answer.document["asset"] is None
    assert [path.name for path in elsewhere.iterdir()] == ["mara.png"]


def test_content_that_was_changed_since_is_told(run: Run, stamped: Path) -> None:
    """Painted-over art would pass for the art that was reviewed."""
    with stamped.open("ab") as file:
        file.write(b"more")

    answer = run("stamp", "show", stamped)

    assert answer.code == 1
    assert "CHANGED since it was stamped" in answer.out


def test_a_file_without_a_marker_says_why(run: Run, source: Path, tmp_path: Path) -> None:
    """An empty answer would leave people guessing."""
    text = tmp_path / "notes.txt"
    text.write_text("notes")

    plain, unmarked, missing = (run("stamp", "show", path) for path in (text, source, tmp_path / "gone.png"))

    assert (plain.code, unmarked.code, missing.code) == (3, 3, 3)
    assert "it is plain data" in plain.err
    assert "its format, png, can carry one" in unmarked.err
    assert "gone.png" in missing.err


def test_without_its_marker_a_file_is_the_original(
    run: Run, source: Path, stamped: Path, tmp_path: Path
) -> None:
    """Nobody could have back what was given to the library."""
    before = stamped.read_bytes()

    answer = run("stamp", "strip", stamped, "-o", tmp_path / "original.png")

    assert answer.code == 0
    assert (tmp_path / "original.png").read_bytes() == source.read_bytes()
    assert stamped.read_bytes() == before


def test_a_folder_gets_a_file_of_the_same_name(run: Run, source: Path, stamped: Path, tmp_path: Path) -> None:
    """A folder as the target is what people expect of `cp`."""
    folder = tmp_path / "out"
    folder.mkdir()

    run("stamp", "strip", stamped, "-o", folder)

    assert (folder / "mara.png").read_bytes() == source.read_bytes()


def test_no_file_is_overwritten(stamped: Path, source: Path, tmp_path: Path) -> None:
    """A mistyped name would cost another file."""
    taken = tmp_path / "taken.png"
    taken.write_bytes(b"mine")

    for target in (taken, stamped):
        before = target.read_bytes()
        with pytest.raises(PathConflict):
            write_stripped(stamped, target)
        assert target.read_bytes() == before
    assert not list(tmp_path.glob(".*.part"))


def test_a_file_without_a_marker_is_not_written_again(run: Run, source: Path, tmp_path: Path) -> None:
    """People would believe that something was taken out."""
    answer = run("stamp", "strip", source, "-o", tmp_path / "new.png")

    assert answer.code == 3
    assert not (tmp_path / "new.png").exists()


def test_a_target_that_can_not_be_written_is_named(run: Run, stamped: Path, tmp_path: Path) -> None:
    """The error would name a temporary file, or none."""
    answer = run("stamp", "strip", stamped, "-o", tmp_path / "nowhere" / "new.png")

    assert answer.code == 5
    assert "nowhere/new.png" in answer.err
