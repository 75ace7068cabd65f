"""A Ren'Py game: its pictures, music, sounds and voices.

Names: Ren'Py's manual, "Displaying Images". A file below ``game/images`` is an image whose name is the one of
the file in small letters without suffix; the first word is its tag, the others its attributes; ``@2`` at the
end tells oversampling. That a tag is a character, and what a sound is for, is only taken from where it is
said: from the names of folders, and from the game's scripts as far as they are there as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from comfyvn.errors import ImportFailed
from comfyvn.importers.adapters import ImportContext, ImportItem, ImportSkip
from comfyvn.importers.rules import judge, read_rules
from comfyvn.importers.walking import FolderSource, type_of_medium, walk, written_name

__all__ = ["RenpyAdapter"]

_TAKEN: Final = frozenset({"images", "audio", "video", "fonts"})
_FOLDER_TYPES: Final = {
    "images": {
        **dict.fromkeys(("bg", "bgs", "background", "backgrounds"), "backgrounds"),
        **dict.fromkeys(("cg", "cgs"), "cgs"),
        **dict.fromkeys(("character", "characters", "chara", "charas", "sprite", "sprites"), "characters"),
    },
    "audio": {
        **dict.fromkeys(("music", "bgm", "ost"), "music"),
        **dict.fromkeys(("sfx", "se", "sound", "sounds"), "sounds"),
        **dict.fromkeys(("voice", "voices"), "voices"),
    },
}
"""What the name of a folder says, for pictures and for sounds."""
_TAG_TYPES: Final = {"bg": "backgrounds", "background": "backgrounds", "cg": "cgs"}
"""What the first word of an image's name says."""
_SIDE: Final = "side"
_OVERSAMPLING: Final = re.compile(r"@[\d.,]+$")
_OWN_FOLDERS: Final = ("cache", "saves")
_MEDIA_FOLDERS: Final = ("images", "audio")
_SCRIPT_BYTES: Final = 4_000_000
_SCRIPTS_BYTES: Final = 64_000_000

_STRING: Final = r"""(?:_\(\s*)?(?:"([^"\\\n]{1,200})"|'([^'\\\n]{1,200})')"""
_NAMED: Final = re.compile(r"\bCharacter\(\s*" + _STRING)
_LINKED: Final = re.compile(r"\bimage\s*=\s*" + _STRING)
_PLAYED: Final = re.compile(
    r"^[ \t]*(?:(?:play|queue)[ \t]+(music|sound)|(voice))[ \t]+(?:(\w+)|" + _STRING + ")", re.MULTILINE
)
_CALLED: Final = re.compile(r"\brenpy\.(music|sound)\.(?:play|queue)\(\s*()()" + _STRING)
_ALIAS: Final = re.compile(r"^[ \t]*define[ \t]+audio\.(\w+)\s*=\s*" + _STRING, re.MULTILINE)
_PART_PLAYED: Final = re.compile(r"^<[^>]*>")
_SETTING: Final = re.compile(r"^[ \t]*define[ \t]+config\.(name|version)\s*=\s*" + _STRING, re.MULTILINE)
_CHANNELS: Final = {"music": "music", "sound": "sounds", "voice": "voices"}


class RenpyAdapter:
    """Takes in the folder of a Ren'Py game."""

    name = "renpy"
    summary = "A Ren'Py game: images become character, outfit and expression tags, sounds their types."

    def open(self, source: Path, context: ImportContext) -> _Game:
        """Open a game's folder, its ``game`` folder, or ``images`` or ``audio`` in it.

        Raises:
            ImportFailed: it is none of them.
            InvalidSetting: a setting can't be what it must be.
        """
        context.know("rules", "gui", "characters", "separators")
        folder = source / "game" if (source / "game").is_dir() else source
        is_part = folder.name in _MEDIA_FOLDERS
        if not is_part and not any(_signs(folder)):
            why = "this is no Ren'Py game: neither game/ with images/, audio/ or scripts, nor one of these"
            raise ImportFailed(path=source, why=why)
        return _Game(folder.parent if is_part else folder, folder, context)


def _signs(folder: Path) -> Iterator[Path]:
    for name in _MEDIA_FOLDERS:
        if (folder / name).is_dir():
            yield folder / name
    for pattern in ("*.rpy", "*.rpyc", "*.rpa"):
        yield from folder.glob(pattern)


class _Script:
    """What the scripts of a game say."""

    def __init__(self) -> None:
        self.characters: set[str] = set()
        self.about: dict[str, str] = {}
        self._played: dict[str, set[str]] = {}
        self._aliases: dict[str, set[str]] = {}

    def read(self, text: str) -> None:
        """Add what one script says."""
        names = {_string(found).casefold() for found in _NAMED.finditer(text)}
        self.characters.update(name for name in names if len(name.split()) == 1)
        for line in text.splitlines():
            if "Character(" in line:
                self.characters.update(_string(found).casefold() for found in _LINKED.finditer(line))
        for pattern in (_PLAYED, _CALLED):
            for found in pattern.finditer(text):
                what = found[3] or _PART_PLAYED.sub("", _string(found)).casefold()
                self._played.setdefault(what, set()).add(_CHANNELS[found[1] or found[2]])
        for found in _ALIAS.finditer(text):
            self._aliases.setdefault(_string(found).casefold(), set()).add(found[1])
        for found in _SETTING.finditer(text):
            self.about.setdefault(found[1], _string(found))

    def type_of_sound(self, relative: str) -> str | None:
        """Return the one purpose for which a file is played, by its path below ``game``; None if unclear."""
        path = relative.casefold()
        names = {path, *self._aliases.get(path, ())}
        if path.startswith("audio/"):
            names |= {path.removeprefix("audio/"), path.rpartition("/")[2].rpartition(".")[0]}
        types = set[str]().union(*(self._played.get(name, ()) for name in names))
        return next(iter(types)) if len(types) == 1 else None


def _string(found: re.Match[str]) -> str:
    return str(found.groups()[-2] or found.groups()[-1])


class _Game(FolderSource):
    def __init__(self, game: Path, part: Path, context: ImportContext) -> None:
        super().__init__(part)
        self._game = game
        self._rules = read_rules(context)
        self._takes_gui = context.flag("gui", False)
        separators = context.text("separators", " ")
        self._separators = re.compile("[" + re.escape(separators) + " ]+")
        self._script = _read_scripts(game)
        self._script.characters |= {word.casefold() for word in context.words("characters")}

    def relative(self, file: Path) -> str:
        """Return the path of a file below ``game``, as the game's scripts name it."""
        return file.relative_to(self._game).as_posix()

    def files(self) -> Iterator[Path]:
        """Yield what may be an asset: no scripts, saves and caches."""
        for path, _, _ in walk(self._root, leave_out=[self._game / name for name in _OWN_FOLDERS]):
            if path.suffix.casefold() == ".rpa" or type_of_medium(path.name) in _TAKEN or path.is_dir():
                yield path

    def items(self, file: Path) -> Iterator[ImportItem | ImportSkip]:
        """Say what a file becomes, by its place and its name."""
        relative = self.relative(file)
        verdict = judge(self._rules, relative)
        if file.suffix.casefold() == ".rpa":
            yield ImportSkip("an archive of Ren'Py, which is not read: unpack it and take in the folder")
        elif relative.casefold().startswith("gui/") and not self._takes_gui:
            yield ImportSkip("part of the game's interface; with --set gui=true it is taken in")
        elif verdict.is_skipped:
            yield ImportSkip("left out by a rule")
        else:
            told = self._told(file, relative)
            kind = verdict.type or told.type
            yield ImportItem(
                path=file,
                asset_type=kind,
                name=told.name,
                tags=(*told.tags, *verdict.tags),
                license=verdict.license,
                metadata={**({"renpy_image": told.image} if told.image else {}), **verdict.metadata},
                provenance={"source": "renpy", "inputs": self._inputs(relative)},
            )

    def _inputs(self, relative: str) -> dict[str, Any]:
        about = self._script.about
        game = {"game": about.get("name"), "game_version": about.get("version")}
        named = {**game, "file": written_name(relative)}
        return {key: value for key, value in named.items() if value}

    def _told(self, file: Path, relative: str) -> _Told:
        medium = type_of_medium(file.name)
        *folders, _ = relative.split("/")
        if folders[:1] == ["tl"]:
            language, folders = folders[1:2], folders[2:]
        else:
            language = []
        if folders[:1] == ["gui"]:
            told = _Told("gui", "/".join((*folders[1:], file.name)))
        elif medium == "images":
            told = self._picture(file, folders)
        elif medium == "audio":
            told = self._sound(file, folders, relative)
        else:
            told = _Told(medium, "/".join((*folders, file.name)))
        if language:
            return _Told(told.type, f"{language[0]}/{told.name}", (*told.tags, *language), told.image)
        return told

    def _picture(self, file: Path, folders: list[str]) -> _Told:
        is_image = folders[:1] == ["images"]
        below = folders[1:] if is_image else folders
        kind, groups, rest = _by_folders(below, "images")
        image = _OVERSAMPLING.sub("", file.stem).lower()
        words = [word for word in self._separators.split(image) if word] if is_image else []
        if words and words[0] in _TAG_TYPES:
            kind = kind or _TAG_TYPES[words[0]]
            words = words[1:]
        is_side = words[:1] == [_SIDE] and len(words) > 1
        tags = [*groups, *(words[1:] if is_side else words)]
        if kind is None and tags and tags[0].casefold() in self._script.characters:
            kind = "characters"
        name = "/".join((*rest, file.name))
        return _Told(kind or "images", name, (*tags, *[_SIDE] * is_side), image if is_image else None)

    def _sound(self, file: Path, folders: list[str], relative: str) -> _Told:
        below = folders[1:] if folders[:1] == ["audio"] else folders
        kind, groups, rest = _by_folders(below, "audio")
        kind = kind or self._script.type_of_sound(relative)
        return _Told(kind or "audio", "/".join((*rest, file.name)), tuple(groups))


@dataclass(frozen=True, slots=True)
class _Told:
    """What place and name of a file say. ``image`` is the name by which scripts show it."""

    type: str
    name: str
    tags: tuple[str, ...] = ()
    image: str | None = None


def _by_folders(folders: list[str], medium: str) -> tuple[str | None, list[str], list[str]]:
    """Return the type that folders tell, the others as tags, and all but a first one that tells a type."""
    types = _FOLDER_TYPES[medium]
    kinds = [types[folder.casefold()] for folder in folders if folder.casefold() in types]
    groups = [folder for folder in folders if folder.casefold() not in types]
    rest = folders[1:] if folders and folders[0].casefold() in types else folders
    return (kinds[0] if kinds else None), groups, rest


def _read_scripts(game: Path) -> _Script:
    """Read the scripts of a game, as far as they are text and not too long."""
    script, left = _Script(), _SCRIPTS_BYTES
    for path, relative, is_plain in walk(game):
        if not is_plain or not path.name.endswith(".rpy") or relative.startswith("tl/") or left <= 0:
            continue
        try:
            with path.open("rb") as file:
                content = file.read(min(_SCRIPT_BYTES, left))
        except OSError:
            continue
        left -= len(content)
        script.read(content.decode("utf-8-sig", "replace"))
    return script
