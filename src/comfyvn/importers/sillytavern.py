"""Character cards: SillyTavern's data folder, or any folder of cards, as characters with their expressions.

Formats: those of `comfyvn.importers.cards`; SillyTavern's documentation of its data folder ("1.12.0 Migration
Guide") and of its sprites ("Expression Images").
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Final

from comfyvn.errors import ImportFailed
from comfyvn.importers.adapters import ImportContext, ImportItem, ImportSkip
from comfyvn.importers.archives import clear, inner_name, unpack_zip
from comfyvn.importers.cards import (
    CARD_BYTES,
    CARD_NAME,
    Card,
    LeftOut,
    PngTexts,
    card_in_archive,
    card_of,
    from_base64,
    is_card,
)
from comfyvn.importers.foreign import (
    checked_file,
    entries,
    link,
    name_part,
    open_plain,
    read_json,
    tags_of,
)
from comfyvn.importers.walking import real_path, type_of_medium, walk, why_no_asset, written_name
from comfyvn.model import fold

__all__ = ["SillyTavernAdapter"]

_CARD_SUFFIXES: Final = frozenset({".png", ".json", ".charx"})
_CHARACTERS: Final = (("characters",), ("*/characters", "data/*/characters"))
"""Where the characters are: in a user's folder; in that of all users, the program's own, or an old one's."""
_FOLDERS_KNOWN: Final = 64
_NUMBERED: Final = re.compile(r"(?P<label>.+?)[-.]\d+")
_DATA: Final = re.compile(r"data:(?P<kind>[a-z0-9.+/-]*)(?:;[a-z0-9=_-]+)*;base64,", re.IGNORECASE)
_PACKED: Final = ("embeded://", "embedded://", "__asset:")
"""Places in the card's own file: in a CharX archive (as the specification spells it, and as others do), in a
chunk of a PNG."""
_SUFFIX: Final = re.compile(r"[a-z0-9]{1,8}")
_Packed = Callable[[str, str], Path | None]
"""Returns an asset that lies in the card's own file, unpacked, by its place and suffix; None without one."""
_TYPES: Final = {"images": "characters", "audio": "audio", "video": "video"}


class SillyTavernAdapter:
    """A card becomes a character: its portrait and its expressions are assets with its name and tags."""

    name = "sillytavern"
    summary = "Character cards (PNG, JSON, CharX) with their expressions, from SillyTavern or any folder."

    def open(self, source: Path, context: ImportContext) -> _Cards:
        """Open a card, a folder of cards, or the data folder of SillyTavern."""
        context.know()
        if source.is_dir():
            return _Cards(_roots(source), context)
        if source.suffix.lower() not in _CARD_SUFFIXES:
            why = "it is neither a folder nor a card; cards are .png, .json and .charx files"
            raise ImportFailed(path=source, why=why)
        checked_file(source.parent, source)
        return _Cards([_Root(source.parent, is_characters=False, only=source)], context)


@dataclass(frozen=True, slots=True)
class _Root:
    """A folder of cards. ``is_characters``: SillyTavern's own, where each sub-folder is a character's."""

    folder: Path
    is_characters: bool
    only: Path | None = None


def _roots(source: Path) -> list[_Root]:
    """Return the folders of characters in a data folder, or the folder itself if it is none."""
    top = real_path(source)
    if source.name.casefold() == "characters":
        return [_Root(source, is_characters=True)]
    for patterns in _CHARACTERS:
        below = sorted(folder for pattern in patterns for folder in source.glob(pattern) if folder.is_dir())
        if found := [folder for folder in below if real_path(folder).is_relative_to(top)]:
            return [_Root(folder, is_characters=True) for folder in found]
    return [_Root(source, is_characters=False)]


class _Cards:
    """Opened cards."""

    def __init__(self, roots: list[_Root], context: ImportContext) -> None:
        self._roots = roots
        self._context = context
        self._names = count(1)
        self._known: dict[Path, dict[str, Card]] = {}

    def files(self) -> Iterator[Path]:
        """Yield every file of the folders."""
        for root in self._roots:
            if root.only is not None:
                yield root.only
            else:
                yield from (path for path, _, _ in walk(root.folder))

    def items(self, file: Path) -> Iterator[ImportItem | ImportSkip]:
        """Yield a card's portrait and assets, or an expression of a character beside it."""
        root = next((root for root in self._roots if file.is_relative_to(root.folder)), None)
        if root is None:
            raise ImportFailed(path=file, why="it lies in none of the folders that were opened")
        if (reason := why_no_asset(file.name)) is not None:
            yield ImportSkip(reason)
            return
        checked_file(root.folder, file)
        inputs = {"file": written_name(file.relative_to(root.folder).as_posix())}
        for each in self._told(file, root):
            if isinstance(each, ImportItem):
                yield replace(each, provenance={**(each.provenance or {}), "inputs": inputs})
            else:
                yield each

    def _told(self, file: Path, root: _Root) -> Iterator[ImportItem | ImportSkip]:
        suffix = file.suffix.lower()
        if suffix == ".charx":
            yield from self._unpacking(lambda context: self._of_archive(file, context))
        elif suffix == ".json":
            yield from self._unpacking(lambda context: self._of_json(file, context))
        elif suffix == ".png" and (texts := PngTexts.read(file)).cards:
            yield from self._unpacking(lambda context: self._of_png(file, texts, context))
        else:
            yield self._expression(file, root)

    def _unpacking(
        self, told: Callable[[ImportContext], Iterator[ImportItem | ImportSkip]]
    ) -> Iterator[ImportItem | ImportSkip]:
        """Yield what is told of a card; of what it unpacked for that only what it hands on is left."""
        scratch = Path(tempfile.mkdtemp(dir=self._context.scratch))
        handed_on: set[Path] = set()
        try:
            for each in told(replace(self._context, scratch=scratch)):
                if isinstance(each, ImportItem):
                    handed_on.add(each.path)
                yield each
        except BaseException:
            handed_on.clear()
            raise
        finally:
            clear(scratch, keep=handed_on)

    def close(self) -> None:
        """Nothing is open between two files."""

    def _of_png(
        self, file: Path, texts: PngTexts, context: ImportContext
    ) -> Iterator[ImportItem | ImportSkip]:
        card = card_of(texts, file)
        yield _portrait(card, file, file.name)

        def packed(uri: str, suffix: str) -> Path | None:
            return self._from_chunk(uri, suffix, file, texts, context)

        yield from self._assets(card, packed, context)

    def _of_json(self, file: Path, context: ImportContext) -> Iterator[ImportItem | ImportSkip]:
        value = read_json(file, CARD_BYTES)
        if not is_card(value):
            yield ImportSkip("JSON, and no character card")
            return
        card = Card.parse(value, file.stem)
        yield _portrait(card, file, file.name)
        yield from self._assets(card, lambda uri, suffix: None, context)

    def _of_archive(self, file: Path, context: ImportContext) -> Iterator[ImportItem | ImportSkip]:
        card, text = card_in_archive(file, context)
        yield _portrait(card, text, f"{file.stem}.json")
        named, passed_over = {_inner(asset.get("uri")) for asset in card.assets}, 0
        wanted = {
            _inner(asset["uri"]) for asset in card.assets[: context.archive_files] if _can_be_had(asset)
        }

        def wants(name: str) -> bool:
            nonlocal passed_over
            passed_over += name not in named and name != CARD_NAME
            return name in wanted

        unpacked = dict(unpack_zip(file, context, wants))
        yield from self._assets(card, lambda uri, suffix: unpacked.get(_inner(uri) or ""), context)
        if passed_over:
            yield ImportSkip(f"{passed_over} more files in the archive, which its card doesn't name")

    def _assets(
        self, card: Card, packed: _Packed, context: ImportContext
    ) -> Iterator[ImportItem | ImportSkip]:
        """Yield the assets that a card of version 3 names; ``packed`` finds those in the same file."""
        most = context.archive_files
        places: dict[str, Path] = {}
        found: dict[Path, ImportItem] = {}  # one picture may show several expressions
        for asset in card.assets[:most]:
            name, uri = name_part(asset.get("name"), "main"), asset.get("uri")
            try:
                if not isinstance(uri, str) or not uri:
                    raise LeftOut("the card doesn't say where it is")
                path = places.get(uri) or self._unpacked(asset, uri, packed, context)
                if path is not None:
                    places[uri] = path
                    found[path] = _asset_item(card, asset, name, path, _suffix(asset, uri), found.get(path))
            except LeftOut as error:
                yield ImportSkip(f"the asset {name!r} of {card.name!r}: {error}")
        yield from found.values()
        if len(card.assets) > most:
            yield ImportSkip(f"{len(card.assets) - most} more assets, the limit is {most}")

    def _unpacked(
        self, asset: Mapping[str, Any], uri: str, packed: _Packed, context: ImportContext
    ) -> Path | None:
        """Return an asset as a file of its own; None if it is the card itself or a default.

        Raises:
            LeftOut: it can't be had, and why.
        """
        if uri.startswith("ccdefault:"):
            return None
        if link(uri[:1_000]) is not None:
            raise LeftOut(f"it lies at {uri:.200}, and nothing is fetched from the net")
        head = _DATA.match(uri)
        if head is None and not uri.startswith(_PACKED):
            raise LeftOut(f"{uri!r:.40} is no place that can be read")
        suffix = _suffix(asset, uri)
        if head is None:
            path = packed(uri, suffix)
        else:
            path = self._written(from_base64(uri[head.end() :]), suffix, context)
        if path is None:
            raise LeftOut(f"there is no {uri!r:.200} in the file")
        return path

    def _from_chunk(
        self, uri: str, suffix: str, file: Path, texts: PngTexts, context: ImportContext
    ) -> Path | None:
        """Return an asset that stands in a text chunk of a PNG."""
        if (place := texts.assets.get(uri.removeprefix("__asset:"))) is None:
            return None
        offset, length = place
        if length > CARD_BYTES:
            raise LeftOut(f"it is larger than {CARD_BYTES >> 20} MiB, too large for a text in a PNG")
        with open_plain(file) as opened:
            opened.seek(offset)
            return self._written(from_base64(opened.read(length)), suffix, context)

    def _written(self, content: bytes, suffix: str, context: ImportContext) -> Path:
        """Return a new file of the scratch folder with a content."""
        path = context.scratch / f"card-asset-{next(self._names)}.{suffix}"
        path.write_bytes(content)
        return path

    def _expression(self, file: Path, root: _Root) -> ImportItem | ImportSkip:
        """Return a picture in a character's own folder as one of its expressions."""
        if type_of_medium(file.name) not in _TYPES:
            return ImportSkip("neither a character card nor an expression")
        parts = file.relative_to(root.folder).parts
        for at, part in enumerate(parts[:-1]):
            card = self._cards_in(root.folder.joinpath(*parts[:at])).get(fold(part))
            if card is not None:
                return _expression_item(file, card, parts[at + 1 :])
        if root.is_characters and len(parts) > 1:
            return _expression_item(file, Card(name_part(parts[0], "unnamed")), parts[1:])
        return ImportSkip("no character card is in it, and no card beside its folder has the folder's name")

    def _cards_in(self, folder: Path) -> dict[str, Card]:
        """Return the cards that lie directly in a folder, by file name and by the name in the card."""
        known = self._known.pop(folder, None)
        if known is None:
            known = dict(_cards_of(folder, self._context))
        self._known[folder] = known
        if len(self._known) > _FOLDERS_KNOWN:
            del self._known[next(iter(self._known))]  # the one asked for longest ago
        return known


def _cards_of(folder: Path, context: ImportContext) -> Iterator[tuple[str, Card]]:
    found: list[tuple[str, Card]] = []
    for entry in entries(folder):
        if entry.is_file(follow_symlinks=False) and (card := _summary(Path(entry.path), context)) is not None:
            card = replace(card, assets=())  # they may be large, and only the name is wanted
            found += [(fold(Path(entry.name).stem), card), (fold(card.name), card)]
    return reversed(found)  # the first of a name counts


def _summary(file: Path, context: ImportContext) -> Card | None:
    """Return the card in a file, None if there is none that can be read."""
    try:
        if file.suffix.lower() == ".png":
            texts = PngTexts.read(file)
            return card_of(texts, file) if texts.cards else None
        if file.suffix.lower() == ".charx":
            with tempfile.TemporaryDirectory(dir=context.scratch) as scratch:
                return card_in_archive(file, replace(context, scratch=Path(scratch)))[0]
        value = read_json(file, CARD_BYTES) if file.suffix.lower() == ".json" else None
    except ImportFailed:  # told when its own turn comes
        return None
    return Card.parse(value, file.stem) if is_card(value) else None


def _portrait(card: Card, path: Path, name: str) -> ImportItem:
    """Return the card itself: the picture that holds it, or its text where it has no picture."""
    return _item(card, path, "characters", name, card.tags, card.metadata)


def _expression_item(file: Path, card: Card, below: tuple[str, ...]) -> ImportItem:
    *outfits, name = below
    label = _label(Path(name).stem)
    kind = _TYPES[type_of_medium(name)]
    name = "/".join([*(name_part(part, "unnamed") for part in outfits), name])
    return _item(card, file, kind, name, (*outfits, label), {"expression": label})


def _asset_item(
    card: Card, asset: Mapping[str, Any], name: str, path: Path, suffix: str, known: ImportItem | None
) -> ImportItem:
    """Return an unpacked asset as what its type says it is for; one that is known gets the tags besides."""
    purpose = name_part(asset.get("type"), "other")
    name = name.removesuffix(f".{suffix}")
    file_name = f"{name}.{suffix}"
    kind = _TYPES[type_of_medium(file_name)]
    named = () if name == "main" else (name,)
    if purpose == "emotion":
        label = _label(name)
        item = _item(card, path, kind, file_name, (label,), {"expression": label})
    elif purpose == "background":
        item = _item(card, path, "backgrounds", file_name, named, {})
    else:
        tags = {"icon": card.tags, "user_icon": ("user icon",)}.get(purpose, ())
        item = _item(card, path, kind, f"{purpose}/{file_name}", (*tags, *named), {})
    return item if known is None else replace(known, tags=tags_of([*known.tags, *item.tags]))


def _item(
    card: Card, path: Path, kind: str, name: str, tags: tuple[str, ...], more: Mapping[str, Any]
) -> ImportItem:
    folder = name_part(card.name, "unnamed")
    return ImportItem(
        path=path,
        asset_type=kind,
        name=f"{folder}/{name}",
        tags=tags_of([card.name, *tags]),
        metadata={**card.credits, **more},
        provenance={"source": card.source},
    )


def _label(stem: str) -> str:
    """Return the expression that a picture shows; ``joy-1`` and ``joy-2`` both show ``joy``."""
    found = _NUMBERED.fullmatch(stem)
    return found["label"] if found else stem


def _inner(uri: object) -> str | None:
    """Return the path in the archive that the place of an asset names."""
    if not isinstance(uri, str) or not uri.startswith(_PACKED) or "://" not in uri:
        return None
    return inner_name(uri.partition("://")[2])


def _can_be_had(asset: Mapping[str, Any]) -> bool:
    """Tell whether an asset's place is one in the archive, and its kind one that is taken in."""
    try:
        return _inner(asset.get("uri")) is not None and _suffix(asset, str(asset["uri"])) != ""
    except LeftOut:
        return False


def _suffix(asset: Mapping[str, Any], uri: str) -> str:
    """Return an asset's suffix, without the dot: as the card says, or as the place where it lies does.

    Raises:
        LeftOut: it is no picture, sound or film.
    """
    head = _DATA.match(uri)
    ending = (head["kind"].rpartition("/")[2] if head else uri.rpartition(".")[2]).lower()
    for suffix in (asset.get("ext"), {"svg+xml": "svg", "mpeg": "mp3"}.get(ending, ending)):
        known = suffix.lower().removeprefix(".") if isinstance(suffix, str) else ""
        if _SUFFIX.fullmatch(known) and type_of_medium(f"x.{known}") in _TYPES:
            return known
    raise LeftOut("it is neither a picture nor a sound nor a film")
