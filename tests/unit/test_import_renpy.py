"""What place and name of a file in a Ren'Py game say, and what only its scripts can."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comfyvn.errors import ImportFailed, InvalidSetting
from comfyvn.importers import ImportContext, ImportItem, ImportSkip
from comfyvn.importers.renpy import RenpyAdapter

SCRIPT = """
define e = Character("Eileen", color="#c8ffc8")
define m = Character(
    _('Mara'))
define o = Character("Old Man", image="grandpa")
define audio.harbour = "audio/Letters Home.ogg"

label start:
    play music "<from 5 to 15.5>illurock.opus" fadein 1.0
    play sound "audio/door.ogg"
    play music twice
    play sound twice
    play music harbour
    play sound bell
    voice "v/e001.ogg"
    $ renpy.sound.play("beep.opus")
"""
Tell = Callable[..., ImportItem | ImportSkip]


@pytest.fixture
def tell(tmp_path: Path) -> Tell:
    """Return what becomes of one file of a game with a script."""

    def one(relative: str, script: str = SCRIPT, **settings: Any) -> ImportItem | ImportSkip:
        game = tmp_path / "game"
        file = game / relative
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"content")
        (game / "script.rpy").write_text(script, "utf-8")
        context = ImportContext(scratch=tmp_path, name="renpy", settings=settings)
        source = RenpyAdapter().open(tmp_path, context)
        assert file in source.files()
        (said,) = source.items(file)
        return said

    return one


@pytest.mark.parametrize(
    ("file", "kind", "name", "tags"),
    [
        ("images/eileen happy.png", "characters", "eileen happy.png", ("eileen", "happy")),
        (
            "images/Eileen Green Happy.PNG",
            "characters",
            "Eileen Green Happy.PNG",
            ("eileen", "green", "happy"),
        ),
        ("images/eileen/eileen happy.png", "characters", "eileen/eileen happy.png", None),
        ("images/eileen happy@2.png", "characters", "eileen happy@2.png", ("eileen", "happy")),
        ("images/side eileen sad.png", "characters", "side eileen sad.png", ("eileen", "sad", "side")),
        ("images/grandpa calm.png", "characters", "grandpa calm.png", ("grandpa", "calm")),
        ("images/old house.png", "images", "old house.png", ("old", "house")),
        ("images/logo bw.png", "images", "logo bw.png", ("logo", "bw")),
        ("images/eileen_happy.png", "images", "eileen_happy.png", ("eileen_happy",)),
        ("images/characters/zoe/school/smile.png", "characters", "zoe/school/smile.png", None),
        ("images/bg cave dark.jpg", "backgrounds", "bg cave dark.jpg", ("cave", "dark")),
        ("images/bg/harbour.jpg", "backgrounds", "harbour.jpg", ("harbour",)),
        ("images/cg kiss.png", "cgs", "cg kiss.png", ("kiss",)),
        ("target1.png", "images", "target1.png", ()),
        ("tl/french/images/bg cave.jpg", "backgrounds", "french/bg cave.jpg", ("cave", "french")),
        ("illurock.opus", "music", "illurock.opus", ()),
        ("audio/door.ogg", "sounds", "door.ogg", ()),
        ("audio/twice.ogg", "audio", "twice.ogg", ()),
        ("audio/Letters Home.ogg", "music", "Letters Home.ogg", ()),
        ("audio/bell.ogg", "sounds", "bell.ogg", ()),
        ("audio/nobody.ogg", "audio", "nobody.ogg", ()),
        ("beep.opus", "sounds", "beep.opus", ()),
        ("v/e001.ogg", "voices", "v/e001.ogg", ("v",)),
        ("audio/bgm/town.ogg", "music", "town.ogg", ()),
        ("music/town/night.ogg", "music", "town/night.ogg", ("town",)),
        ("voice/mara/001.ogg", "voices", "mara/001.ogg", ("mara",)),
        ("movies/opening.webm", "video", "movies/opening.webm", ()),
        ("fonts/hand.ttf", "fonts", "fonts/hand.ttf", ()),
    ],
)
def test_place_and_name_say_type_and_tags(
    tell: Tell, file: str, kind: str, name: str, tags: tuple[str, ...] | None
) -> None:
    """A sprite would be filed as a background, or tagged as what it is not."""
    said = tell(file)

    assert isinstance(said, ImportItem)
    assert (said.asset_type, said.name) == (kind, name)
    assert tags is None or said.tags == tags


def test_folders_of_a_character_become_tags(tell: Tell) -> None:
    """Character and outfit would be lost where they stand in folders."""
    said = tell("images/characters/zoe/school/smile.png")

    assert isinstance(said, ImportItem)
    assert said.tags == ("zoe", "school", "smile")
    assert said.metadata == {"renpy_image": "smile"}


def test_without_scripts_nothing_is_said_to_be_a_character_unless_a_setting_says_so(tell: Tell) -> None:
    """Every picture of two words would be a character."""
    plain = tell("images/eileen happy.png", script="")
    stated = tell("images/eileen happy.png", script="", characters="Eileen, mara")

    assert isinstance(plain, ImportItem)
    assert isinstance(stated, ImportItem)
    assert (plain.asset_type, stated.asset_type) == ("images", "characters")
    assert plain.tags == stated.tags == ("eileen", "happy")


def test_other_separators_than_a_space_are_a_setting(tell: Tell) -> None:
    """Games that name files with underscores would have one tag for all of it."""
    said = tell("images/mara_school_smile-2.png", separators="_-")

    assert isinstance(said, ImportItem)
    assert (said.asset_type, said.tags) == ("characters", ("mara", "school", "smile", "2"))


def test_the_game_is_named_as_origin(tell: Tell) -> None:
    """Nobody could tell from which game a picture came."""
    script = 'define config.name = _("The Lighthouse")\ndefine config.version = "1.2"\n'

    said = tell("images/bg sea.png", script=script)

    assert isinstance(said, ImportItem)
    assert said.provenance == {
        "source": "renpy",
        "inputs": {"game": "The Lighthouse", "game_version": "1.2", "file": "images/bg sea.png"},
    }


def test_the_interface_and_archives_are_left_out_with_a_word(tell: Tell) -> None:
    """A library would fill with buttons, or a game's archive be passed over in silence."""
    frame, taken, archive = (tell("gui/frame.png"), tell("gui/frame.png", gui="yes"), tell("images.rpa"))

    assert isinstance(frame, ImportSkip)
    assert "gui=true" in frame.reason
    assert isinstance(taken, ImportItem)
    assert (taken.asset_type, taken.name) == ("gui", "frame.png")
    assert isinstance(archive, ImportSkip)
    assert "unpack" in archive.reason


def test_scripts_saves_and_caches_are_no_assets(tmp_path: Path) -> None:
    """Screenshots of saved games would be registered."""
    game = tmp_path / "game"
    for name in ("cache/a.png", "saves/1.png", "images/a.png", "script.rpy", "notes.txt"):
        (game / name).parent.mkdir(parents=True, exist_ok=True)
        (game / name).write_bytes(b"x")

    source = RenpyAdapter().open(tmp_path, ImportContext(scratch=tmp_path, name="renpy"))

    assert [file.name for file in source.files()] == ["a.png"]


@pytest.mark.parametrize("part", ["", "game", "game/images", "game/audio"])
def test_a_game_may_be_given_by_any_of_its_folders(part: str, tmp_path: Path) -> None:
    """A user would have to know which folder is meant."""
    for name in ("game/images/a.png", "game/audio/a.ogg", "game/script.rpy"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('label start:\n    play music "audio/a.ogg"\n')

    source = RenpyAdapter().open(tmp_path / part, ImportContext(scratch=tmp_path, name="renpy"))
    said = {item.name: item.asset_type for file in source.files() for item in source.items(file)}  # type: ignore[union-attr]

    assert said == {
        name: kind
        for name, kind in (("a.png", "images"), ("a.ogg", "music"))
        if not part.startswith("game/") or part.endswith("images") == name.endswith("png")
    }


def test_what_is_no_game_is_refused(tmp_path: Path) -> None:
    """Any folder of pictures would be taken for a game."""
    (tmp_path / "a.png").write_bytes(b"x")

    with pytest.raises(ImportFailed, match="no Ren'Py game"):
        RenpyAdapter().open(tmp_path, ImportContext(scratch=tmp_path, name="renpy"))


def test_a_mistyped_setting_is_refused(tell: Tell) -> None:
    """``gui = true`` with a typing error would be ignored in silence."""
    with pytest.raises(InvalidSetting, match="there are rules, gui, characters, separators"):
        tell("images/a.png", guy=True)


def test_hostile_scripts_cost_little_time(tell: Tell) -> None:
    """A file of brackets would keep the import busy for hours."""
    script = "Character(" * 100_000 + "play music " * 50_000 + '"' * 100_000 + "\x00\xff"

    said = tell("images/eileen happy.png", script=script)

    assert isinstance(said, ImportItem)
