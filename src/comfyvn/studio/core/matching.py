"""Files that lost their origin: pictures are known again by their pixels, or by how they look.

Editors, upscalers and messengers strip what a tool wrote into a file; what is left is the picture. One with
the very pixels of another that tells what made it is certainly a copy of it. One that only looks like another
is proposed, and only if nothing else in the library could be meant: expressions of one sprite look alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, TypedDict

from comfyvn import media
from comfyvn.db.fingerprints import Fingerprint, Known
from comfyvn.errors import AssetNotFound, ComfyVNError, PreviewFailed, SourceChanged
from comfyvn.media import fingerprint
from comfyvn.media.isolation import WORKERS
from comfyvn.media.worker import Job
from comfyvn.model import Asset, Certainty, LinkKind, Parent, preview_names, unite_parents
from comfyvn.studio.core.library import Library, Transaction

if TYPE_CHECKING:
    from comfyvn.db import Reader

__all__ = ["MatchRecord", "MatchStatus", "Matcher"]

MatchStatus = Literal["linked", "proposed", "ambiguous", "nothing", "failed"]

# How these were found: "Files that lost their origin" in docs/provenance.md.
_DISTANCE: Final = 12
_FITS: Final = 20.0
_CLEARLY: Final = (1.5, 4.0)
_UPSCALED: Final = 1.2

_LOOKED_AT: Final = 256
_SHOWN: Final = 16
_PAGE: Final = 256
_BATCH: Final = 64
_PICTURES: Final = 256
_PAIRS: Final = 65_536
_PREVIEW: Final = 256
_CROWDED: Final = "more pictures look like it than can be compared"
_ALONE: Final = "no other picture is like it"
_TELLS: Final = "what made it is known, so it passes for an origin itself and not for a copy"
_MARKED: Final = "its marker told where it came from"
_OLDEST: Final = "of the pictures that are like it, it passes for the origin itself: it is the oldest"
_MEANWHILE: Final = "it, or what it may be of, was changed, linked or removed meanwhile"
_NOT_COMPARED: Final = "it can't be compared: "
_SMALL: Final = f"{_NOT_COMPARED}it is smaller than 64 x 96 px, or four times as long as wide"
_PLAIN: Final = f"{_NOT_COMPARED}it has hardly any edges by which it could be known again"
_UNREADABLE: Final = f"{_NOT_COMPARED}its preview can't be read; `comfyvn previews build` makes it anew"
_SETTLED: Final[Mapping[Certainty, str]] = {
    "certain": "its origin is known: {name}",
    "likely": "that it came from {name} waits for confirmation already",
    "rejected": "it looks like {name}, but somebody has rejected that it came from there",
}


class MatchRecord(TypedDict):
    """What was found out about one picture.

    ``status``: ``linked`` (certain), ``proposed`` (waits for confirmation), ``ambiguous`` (several could be
    meant: ``candidates``, by uid), ``nothing``, or ``failed``; ``reason`` says why, of these two always. The
    parent is None but for the first two. ``difference``: 0 to 255, where the two pictures differ most.
    """

    uid: str
    path: str
    status: MatchStatus
    parent: str | None
    parent_path: str | None
    kind: LinkKind | None
    found: str | None
    difference: float | None
    candidates: list[str]
    reason: str | None


@dataclass(frozen=True, slots=True)
class _Match:
    """That one picture came of another, as far as their looks tell; ``rivals``: others that it may be of."""

    child: Known
    parent: Known
    certainty: Certainty
    found: Literal["pixels", "similar"]
    difference: float
    rivals: tuple[Known, ...] = ()

    @property
    def kind(self) -> LinkKind:
        one, other = self.child, self.parent
        is_larger = one.width and other.width and one.width > other.width * _UPSCALED
        return "upscale" if is_larger else "variant"


class Matcher:
    """Looks for the origins of the pictures of one library."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._picture = lru_cache(_PICTURES)(self._reduced)
        self._measured = lru_cache(_PAIRS)(self._measure)

    def make_fingerprints(self, on_file: Callable[[], None] = lambda: None) -> int:
        """Make the fingerprints that are missing, from previews; return how many these could not tell."""
        after_id, untold = 0, 0
        while True:
            with self._library.read() as rows:
                page = rows.prints.missing(fingerprint.RECIPE, after_id, _PAGE)
            if not page:
                return untold
            made = []
            for asset_id, uid, digest in page:
                try:
                    picture = self._reduced(uid)
                except (OSError, PreviewFailed):
                    untold += 1
                else:
                    looks = None if picture is None else fingerprint.looks(picture)
                    made.append(Fingerprint(asset_id, digest, looks))
                on_file()
            with self._library.ledger.write(is_durable=False) as writer:
                writer.prints.put(fingerprint.RECIPE, made)
            after_id = page[-1][0]

    def match(
        self,
        uids: Sequence[str] | None,
        operation: int | None,
        *,
        is_dry_run: bool,
        on_look: Callable[[], None] = lambda: None,
    ) -> Iterator[MatchRecord]:
        """Look for the origins of pictures that have fingerprints; see `AssetRegistry.match`."""
        waiting: list[_Match] = []
        for known in self._pictures(uids):
            found = _incomparable(known) if isinstance(known, Asset) else self._look(known)
            on_look()
            if isinstance(found, _Match) and not is_dry_run:
                waiting.append(found)
            else:
                yield _as_found(found) if isinstance(found, _Match) else found
            if len(waiting) == _BATCH:
                yield from self._record(waiting, operation)
                waiting = []
        yield from self._record(waiting, operation)

    # -- looking --------------------------------------------------------------------------------------

    def _pictures(self, uids: Sequence[str] | None) -> Iterator[Known | Asset]:
        """Yield what is asked about, by id: all that have fingerprints, or those named."""
        if uids is not None:
            assets = self._library.named(uids)
            with self._library.read() as rows:
                known = {each.id: each for each in rows.prints.of(fingerprint.RECIPE, [a.id for a in assets])}
            yield from (known.get(asset.id, asset) for asset in sorted(assets, key=lambda asset: asset.id))
            return
        after_id = 0
        while True:
            with self._library.read() as rows:
                page = rows.prints.page(fingerprint.RECIPE, after_id, _PAGE)
            if not page:
                return
            yield from page
            after_id = page[-1].id

    def _look(self, child: Known) -> _Match | MatchRecord:
        """Look for the picture that one came of."""
        if child.looks is None:
            return _nothing(child, self._why_plain(child))
        with self._library.read() as rows:
            ids, is_cut = rows.prints.near(child.looks, _DISTANCE, _LOOKED_AT)
            others = rows.prints.of(fingerprint.RECIPE, [each for each in ids if each != child.id])
        measured = {each: self._difference(child, each) for each in others}
        fitting = [each for each in others if measured[each] <= _FITS]
        if is_cut:
            return _ambiguous(child, fitting, _CROWDED) if fitting else _nothing(child, _CROWDED)
        if not fitting:
            return _nothing(child, _ALONE)
        twins = [each for each in fitting if self._has_same_pixels(child, each)]
        found = _by_pixels(child, twins) if twins else self._by_looks(child, measured, fitting)
        if found is None:
            return _nothing(child, _TELLS if child.has_facts else _MARKED if child.is_marked else _OLDEST)
        settled = self._why_settled(found, fitting)
        return _judged(found) if settled is None else _nothing(child, settled)

    def _why_plain(self, child: Known) -> str:
        """Return why a picture has nothing by which it could be known again."""
        try:
            return _SMALL if self._picture(child.uid) is None else _PLAIN
        except (OSError, PreviewFailed):
            return _UNREADABLE

    def _by_looks(
        self, child: Known, measured: dict[Known, float], fitting: Sequence[Known]
    ) -> _Match | None:
        """Return of which picture one came that has no pixels like it; None if it is an origin itself."""
        parent = _origin([child, *fitting])
        if child.has_facts or parent == child:
            return None
        factor, more = _CLEARLY
        limit = max(_FITS, factor * measured[parent] + more)
        rivals = [each for each in measured if each != parent and measured[each] <= limit]
        others = tuple(each for each in rivals if self._difference(parent, each) > _FITS)
        return _Match(child, parent, "likely", "similar", measured[parent], others)

    def _why_settled(self, found: _Match, fitting: Sequence[Known]) -> str | None:
        """Return why this is not to be said, such as that somebody has linked or rejected it; else None."""
        child, parent = found.child.uid, found.parent.uid
        with self._library.read() as rows:
            uids = [child, *(each.uid for each in fitting)]
            edges = rows.lines.edges_among(uids, len(uids) ** 2, with_rejected=True)
            is_circle = rows.lines.way_up(parent, child) is not None
        name = f"{found.parent.key} ({parent})"
        if is_circle:
            return f"it looks like {name}, which came from it"
        for edge in edges:
            if {edge.child_uid, edge.parent_uid} == {child, parent}:
                return _SETTLED[edge.certainty].format(name=name)
        known = next((e.parent_uid for e in edges if e.child_uid == child and e.certainty == "certain"), None)
        return None if known is None else f"its origin is known: {known}"

    # -- comparing ------------------------------------------------------------------------------------

    def _difference(self, one: Known, other: Known) -> float:
        return self._measured(*sorted((one.uid, other.uid)))

    def _measure(self, one: str, other: str) -> float:
        try:
            first, second = self._picture(one), self._picture(other)
        except (OSError, PreviewFailed):
            return float("inf")
        if first is None or second is None:
            return float("inf")
        return fingerprint.difference(first, second)

    def _reduced(self, uid: str) -> fingerprint.Reduced | None:
        """Return a picture as its preview shows it.

        Raises:
            OSError, PreviewFailed: the preview is gone, or damaged.
        """
        name = preview_names(uid, "thumbnail")[str(_PREVIEW)]
        with self._library.thumbs.path(name).open("rb") as file:
            return fingerprint.reduce_preview(file)

    def _has_same_pixels(self, one: Known, other: Known) -> bool:
        """Tell whether two pictures have the same pixels; both are decoded once, if their sizes are alike."""
        if one.width is None or (one.width, one.height) != (other.width, other.height):
            return False
        pixels = self._pixels(one)
        return pixels is not None and pixels == self._pixels(other)

    def _pixels(self, known: Known) -> str | None:
        with self._library.read() as rows:
            now = next(iter(rows.prints.of(fingerprint.RECIPE, [known.id])), None)
        if now is None or now.digest != known.digest or now.pixels is not None:
            return None if now is None or now.digest != known.digest else now.pixels
        config = self._library.config
        limits = media.PreviewLimits(pixels=config.preview_pixels)
        job = Job(
            known.key, None, limits, config.preview_time_s, config.preview_memory_bytes, wants_pixels=True
        )
        try:
            asset = self._library.named([known.uid])[0]
            with self._library.storage.open(asset.key) as source:
                if asset.digest != known.digest or asset.file not in (None, source.stat):
                    return None
                pixels = WORKERS.make(source.file, source.path, job).facts.get("pixels")
        except (AssetNotFound, SourceChanged, ComfyVNError, OSError):
            return None
        if isinstance(pixels, str):
            with self._library.ledger.write(is_durable=False) as writer:
                writer.prints.put_pixels(known.id, known.digest, pixels)
            return pixels
        return None

    # -- recording ------------------------------------------------------------------------------------

    def _record(self, matches: Sequence[_Match], operation: int | None) -> Iterator[MatchRecord]:
        """Link what is certain and propose what is likely, in one transaction."""
        if matches:
            with self._library.transaction(operation) as change:
                records = [self._record_one(change, match) for match in matches]
            yield from records

    def _record_one(self, change: Transaction, match: _Match) -> MatchRecord:
        child, parent = (change.rows.asset(each.uid) for each in (match.child, match.parent))
        if child is None or parent is None or not _is_as_seen(change.rows, match, child, parent):
            return _nothing(match.child, _MEANWHILE)
        found = Parent(parent.uid, match.kind, match.certainty, match.found)
        try:
            with change.attempt():
                wanted = replace(child.facts, parents=unite_parents(child.facts.parents, [found]))
                self._library.change_one(change, child, wanted, is_as_read=True)
        except (ComfyVNError, OSError) as error:
            return _told(match.child, "failed", reason=str(error))
        return _as_found(match)


def _is_as_seen(rows: Reader, match: _Match, child: Asset, parent: Asset) -> bool:
    """Tell whether two assets still have the contents that were compared, and nothing was said of them."""
    if (child.digest, parent.digest) != (match.child.digest, match.parent.digest):
        return False
    named = {each.uid for each in child.facts.parents}
    if parent.uid in named or child.uid in {each.uid for each in parent.facts.parents}:
        return False
    return rows.lines.way_up(parent.uid, child.uid) is None


def _by_pixels(child: Known, twins: Sequence[Known]) -> _Match | None:
    """Return of which picture with the same pixels one came; None if it is the origin, or tells its own.

    Where several tell what made them and don't agree, each could be meant.
    """
    group = [child, *twins]
    telling = [each for each in group if each.has_facts or (len(group) > 2 and each.is_marked)]
    parent = _oldest(telling or group)
    if parent == child or (child.has_facts and parent.workflow_hash == child.workflow_hash):
        return None
    if len(group) > 2 and child.has_facts:
        return None
    made = [each for each in telling if each.has_facts]
    is_agreed = child.has_facts or len({(each.workflow_hash, each.seed) for each in made}) <= 1
    rivals = () if is_agreed else tuple(each for each in made if each != parent)
    return _Match(child, parent, "certain" if telling else "likely", "pixels", 0.0, rivals)


def _origin(group: Sequence[Known]) -> Known:
    """Return the one of some pictures of which the others came: the oldest that tells what made it."""
    return _oldest([each for each in group if each.has_facts] or group)


def _oldest(group: Sequence[Known]) -> Known:
    return min(group, key=lambda each: each.id)


def _judged(found: _Match) -> _Match | MatchRecord:
    return _ambiguous(found.child, [found.parent, *found.rivals]) if found.rivals else found


def _as_found(match: _Match) -> MatchRecord:
    status: MatchStatus = "linked" if match.certainty == "certain" else "proposed"
    return MatchRecord(
        uid=match.child.uid,
        path=match.child.key,
        status=status,
        parent=match.parent.uid,
        parent_path=match.parent.key,
        kind=match.kind,
        found=match.found,
        difference=round(match.difference, 1),
        candidates=[],
        reason=None,
    )


def _ambiguous(child: Known, candidates: Sequence[Known], reason: str | None = None) -> MatchRecord:
    return _told(child, "ambiguous", [each.uid for each in candidates[:_SHOWN]], reason)


def _nothing(asset: Known | Asset, reason: str) -> MatchRecord:
    return _told(asset, "nothing", reason=reason)


def _incomparable(asset: Asset) -> MatchRecord:
    """Return why an asset has no fingerprint."""
    state, why = asset.preview.state, _UNREADABLE
    if asset.missing_since is not None:
        why = f"{_NOT_COMPARED}its file is gone"
    elif asset.preview.kind != "thumbnail":
        why = f"{_NOT_COMPARED}it is no still picture"
    elif state == "failed":
        why = f"{_NOT_COMPARED}its preview can't be made: {asset.preview.reason}"
    elif state != "ready":
        why = f"{_NOT_COMPARED}it has no preview yet; `comfyvn previews build` makes it"
    return _nothing(asset, why)


def _told(
    asset: Known | Asset, status: MatchStatus, candidates: Sequence[str] = (), reason: str | None = None
) -> MatchRecord:
    return MatchRecord(
        uid=asset.uid,
        path=asset.key,
        status=status,
        parent=None,
        parent_path=None,
        kind=None,
        found=None,
        difference=None,
        candidates=list(candidates),
        reason=reason,
    )
