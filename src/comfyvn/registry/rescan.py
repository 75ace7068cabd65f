"""Who is this file? What lies on disk, held against the ledger.

A file is recognised in this order: the sidecar beside it, its path with unchanged size and time, the content
of an asset that lies nowhere else, the uid in its marker; else it is new. A sidecar that lies where we wrote
it says nothing about the file beside it: a file manager moves files without it. Assets that changed places
with each other are therefore told by their content, all together, when every file has been seen. What can't
be decided is a conflict in the report, and nothing is changed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any, Final, Literal

from comfyvn import media
from comfyvn.db import Taken
from comfyvn.errors import (
    ComfyVNError,
    ForeignLibrary,
    InvalidSidecar,
    LibraryUnreachable,
    PathConflict,
    RegistryUnusable,
)
from comfyvn.importers.walking import type_of_medium, why_no_asset
from comfyvn.model import Asset, Facts, FileStat, Version, parse_provenance, utc_now
from comfyvn.sidecar import Sidecar
from comfyvn.storage import numbered_key
from comfyvn.studio.core.library import Beside, Library, Move, Transaction, rows_told
from comfyvn.studio.core.previews import need_of, renew
from comfyvn.studio.core.registration import Outcome, Registrar, Request

__all__ = ["RebuildReport", "Rescan"]

_CHUNK: Final = 256
_GROUP: Final = 64
_LARGE_BYTES: Final = 256 << 10  # of smaller files a thread would cost more than the reading
_NO_GOING_ON: Final = (RegistryUnusable, LibraryUnreachable, ForeignLibrary)
"""What would befall every further file as well."""
_Place = Literal["home", "gone", "taken", "changed"]
_Places = dict[str, tuple[Asset | None, Asset]]  # by key: whose place it is, and who lies there
_Look = tuple[media.Reading, FileStat]  # what was read of a file, and its stat then


@dataclass(slots=True)
class RebuildReport:
    """What a rebuild found and did.

    ``processed`` counts files seen, ``touched`` those whose time changed but not their content. ``conflicts``
    holds ``{"path", "why", "candidates"}``, ``skipped`` and ``failed`` ``{"path", "why"}``, of files and, in
    ``skipped``, of what of a sidecar is not understood; the other lists hold ``{"uid", "path"}``. ``healed``:
    the hash of an older release, which never matched the file that it had stamped, was put right.
    ``rotten``: damaged without a trace in size and time; found by ``verify``.
    ``recovered``: uids whose files a killed removal had left in the trash.
    """

    assets_root: str = ""
    thumb_root: str = ""
    processed: int = 0
    unchanged: int = 0
    touched: int = 0
    registered: list[dict[str, str]] = field(default_factory=list)
    restored: list[dict[str, str]] = field(default_factory=list)
    moved: list[dict[str, str]] = field(default_factory=list)
    content_changed: list[dict[str, str]] = field(default_factory=list)
    metadata_changed: list[dict[str, str]] = field(default_factory=list)
    sidecars_written: list[dict[str, str]] = field(default_factory=list)
    healed: list[dict[str, str]] = field(default_factory=list)
    recovered: list[str] = field(default_factory=list)
    missing: list[dict[str, str]] = field(default_factory=list)
    duplicates: list[dict[str, str]] = field(default_factory=list)
    rotten: list[dict[str, str]] = field(default_factory=list)
    conflicts: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)

    @property
    def removed(self) -> int:
        """How many assets are newly marked missing; older releases deleted their rows and counted those."""
        return len(self.missing)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values, with the counts that older releases had."""
        return {**asdict(self), "removed": self.removed}


@dataclass(frozen=True, slots=True)
class _Visit:
    """What is to be done with a known asset; ``stat`` is its file's, when that is to be remembered anew.

    ``reading`` is given when the ledger's hash is to be put right. ``is_broken``: its sidecar can't be read
    and stays as it is; ``is_lost``: its sidecar is gone.
    """

    uid: str
    key: str
    stat: FileStat | None = None
    reading: media.Reading | None = None
    is_broken: bool = False
    is_lost: bool = False
    is_mirror_lost: bool = False


@dataclass(frozen=True, slots=True)
class _Stranger:
    """A file that the ledger does not know by its key: what is written of it, and what is in it.

    ``marked_uid`` is the one that its marker names.
    """

    key: str
    found: Sidecar | None
    reading: media.Reading
    marked_uid: str | None

    def uids(self) -> list[str]:
        """Return the uids that its sidecar and its marker name."""
        said = self.found.uid if self.found is not None else None
        return [uid for uid in (said, self.marked_uid) if uid]


@dataclass(frozen=True, slots=True)
class _Claim:
    """Content of one asset at the place of another; ``is_certain``: the sidecar beside it agrees."""

    owner_uid: str
    uid: str
    stat: FileStat
    is_certain: bool


class Rescan:
    """Takes files in by chunks, then settles what could not be told from one file alone.

    Args:
        library: the library.
        report: gets what became of each file.
        shared: mirror keys that another asset may have, too: mirrors were deleted, and one took the name.
        is_verifying: read files that look untouched, too.
        on_files: called now and then with how many more files were looked at, for a progress bar.
    """

    def __init__(
        self,
        library: Library,
        report: RebuildReport,
        shared: Collection[str] = (),
        *,
        is_verifying: bool = False,
        on_files: Callable[[int], None] | None = None,
    ) -> None:
        self._library = library
        self._report = report
        self._is_verifying = is_verifying
        self._on_files = on_files
        self._operation_id = library.ledger.reserve_ids(1)[0]
        self._registrar = Registrar(library, is_repeatable=True, operation_id=self._operation_id)
        self._claim = parse_provenance(
            None, {}, user_id=library.config.user, commit_hash=library.commit_hash(), limits=library.limits
        )
        self._visits: list[_Visit] = []
        self._requests: list[Request] = []
        self._moves: dict[str, tuple[str, media.Reading]] = {}
        self._claims: dict[str, _Claim] = {}
        self._doubtful: dict[str, str] = {}
        self._contested: dict[str, tuple[str, str]] = {}
        self._late: dict[str, list[tuple[str, bool]]] = {}
        self._later: list[str] = []
        self._is_looking_again = False
        self._stale: dict[str, None] = {}
        self._ahead: dict[str, Future[_Look]] = {}
        self._looks: dict[str, _Look] = {}
        self._sidecars: dict[str, Beside | None] = {}
        self._returning: list[tuple[Request, Beside]] = []
        self._coming: set[str | None] = set()
        self._taken: Taken | None = None
        self._shared_anyway = shared
        self._shared_mirrors: set[str | None] = set()
        self.has_newcomers = False

    # -- in running order -----------------------------------------------------------------------------

    def take_lost(self, sidecars: Iterable[tuple[str, Sidecar]]) -> None:
        """Record assets that the ledger does not know and of which only the sidecar is left."""
        sidecars = list(sidecars)
        for key, found in sidecars:
            self._warn_of(key, found)
        for asset in self._registrar.register_missing(sidecars, self._request):
            self._note(self._report.missing, asset.uid, asset.key)

    def take(self, files: Sequence[tuple[str, FileStat]]) -> None:
        """Take in some files; a bad one is reported and the others go on.

        A file that the ledger does not know and that has no sidecar is only noted, in ``has_newcomers``: it
        may be a copy of one whose sidecar says more.
        """
        owners = self._owners(files)
        named = Counter(owner.mirror_key for owner in owners.values())
        self._shared_mirrors = {
            key for key, times in named.items() if times > 1 or key in self._shared_anyway
        }
        exists, sidecar_key = self._library.storage.exists, self._library.sidecar_key
        met = [(key, stat) for key, stat in files if key in owners or exists(sidecar_key(key))]
        self.has_newcomers |= len(met) < len(files)
        self._report.processed += len(met)
        with self._reading_ahead([each for each in met if self._is_to_be_read(*each, owners.get(each[0]))]):
            for at in range(0, len(met), _GROUP):
                self._take_group(met[at : at + _GROUP], owners)
                if not all(look.done() for look in self._ahead.values()):
                    self._bring_back()  # instead of waiting for them
            self._flush()
        if self._on_files is not None:
            self._on_files(len(files))

    def _take_group(self, met: Sequence[tuple[str, FileStat]], owners: Mapping[str, Asset]) -> None:
        strangers = self._strangers([key for key, _ in met if key not in owners])
        for key, stat in met:
            if key in strangers:
                self._try(key, partial(self._settle_stranger, strangers[key]))
            elif key in owners:
                self._try(key, partial(self._revisit, owners[key], stat))

    def take_newcomers(self, files: Sequence[tuple[str, FileStat]]) -> None:
        """Take in those of some files that `take` left for later."""
        self._settle_later()
        owners = self._owners(files)
        exists, sidecar_key = self._library.storage.exists, self._library.sidecar_key
        settled = owners.keys() | self._doubtful.keys() | self._claims.keys()
        new = [each for each in files if each[0] not in settled and not exists(sidecar_key(each[0]))]
        self._report.processed += len(new)
        with self._reading_ahead([each for each in new if self._is_to_be_read(*each, None)]):
            for key, _ in new:
                self._try(key, partial(self._meet_stranger, key))
            self._flush()
        if self._on_files is not None:
            self._on_files(0)  # `take` has counted them

    def take_recovered(self, uids: Sequence[str]) -> None:
        """Look at the files of assets that have just come back from the trash."""
        for at in range(0, len(uids), _CHUNK):
            with self._library.read() as rows:
                assets = list(rows.assets(uids[at : at + _CHUNK]))
            stats = [(asset.key, self._library.storage.stat(asset.key)) for asset in assets]
            self.take([(key, stat) for key, stat in stats if stat is not None])

    @contextmanager
    def _reading_ahead(self, files: Sequence[tuple[str, FileStat]]) -> Iterator[None]:
        """Have large files read in threads, and remember what is read meanwhile: each is read once."""
        large = [key for key, stat in files if stat.size_bytes >= _LARGE_BYTES]
        pool = ThreadPoolExecutor(self._library.config.ingest_workers) if large else None
        try:
            if pool is not None:
                self._ahead = {key: pool.submit(self._look, key) for key in large}
            yield
        finally:
            if pool is not None:
                pool.shutdown(cancel_futures=True)
            self._ahead.clear()

    def _is_to_be_read(self, key: str, stat: FileStat, owner: Asset | None) -> bool:
        if owner is not None:
            return self._is_verifying or stat != owner.file or owner.missing_since is not None
        if stat.size_bytes < _LARGE_BYTES:
            return False  # it is not read ahead
        try:
            beside = self._beside(key)
        except (ComfyVNError, OSError):
            return False
        if beside is None:
            return not any(map(why_no_asset, key.split("/")))
        return beside.said.project in (None, self._library.ledger.project_id)

    def _beside(self, key: str) -> Beside | None:
        if key not in self._sidecars:
            self._sidecars[key] = self._library.read_beside(key)
        return self._sidecars[key]

    def _settle_later(self) -> None:
        self._is_looking_again = True
        later, self._later = self._later, []
        for key in later:
            self._try(key, partial(self._meet_stranger, key))
        self._flush()

    def _owners(self, files: Sequence[tuple[str, FileStat]]) -> dict[str, Asset]:
        with self._library.read() as rows:
            return rows.owners([key for key, _ in files])

    def finish(self) -> None:
        """Settle what could not be told from one file alone, now that all were seen."""
        self._settle_later()
        again = self._settle_places()
        for key, uid in self._doubtful.items():
            owner = self._still_at(key, uid)
            if owner is not None:
                self._requests.append(self._request(key, owner.type))
            else:
                again.append(key)
        self._flush()
        for key, (uid, named) in self._contested.items():
            if self._still_at(key, uid) is None:
                again.append(key)
                continue
            why = f"its sidecar names the asset {named}, but this is {uid}"
            hint = "delete this sidecar, and `comfyvn rebuild` writes the right one"
            self._conflict(key, f"{why}; {hint}", [uid, named])
        for key in again:
            self._try(key, partial(self._meet_stranger, key))
        self._flush()
        late, self._late = self._late, {}
        for uid, claims in late.items():
            self._settle_late(uid, claims)

    def _still_at(self, key: str, uid: str) -> Asset | None:
        with self._library.read() as rows:
            owner = rows.asset_at(key)
        return owner if owner is not None and owner.uid == uid else None

    def _settle_late(self, uid: str, claims: list[tuple[str, bool]]) -> None:
        """Settle which of the files with new content is an asset, by sidecar before marker."""
        with self._library.read() as rows:
            asset = rows.asset(uid)
        by_sidecar = [key for key, has_sidecar in claims if has_sidecar]
        wanted = by_sidecar or [key for key, _ in claims]
        if asset is None and not by_sidecar and len(wanted) > 1:
            for key in wanted:
                self._take_in(key, None, None)  # copies of what nobody knows: none of them is the original
        elif len(wanted) > 1 and (asset is None or self._place_of(asset) == "gone"):
            for key, _ in claims:
                why = f"{len(wanted)} files with other content claim to be the asset {uid}"
                hint = "delete the sidecars of those that are not, or `comfyvn ingest --in-place` them"
                self._conflict(key, f"{why}; {hint}", [uid])
        else:
            for key in [*wanted, *(key for key, _ in claims if key not in wanted)]:
                self._try(key, partial(self._meet_stranger, key, is_last=True))
                self._flush()
        self._flush()

    # -- a file where the ledger knows an asset -------------------------------------------------------

    def _revisit(self, asset: Asset, stat: FileStat) -> None:
        library, key = self._library, asset.key
        beside = library.storage.stat(library.sidecar_key(key))
        is_same = asset.missing_since is None and stat == asset.file
        is_there = beside is not None or library.storage.exists(library.sidecar_key(key))
        is_broken = False
        if is_there and beside != asset.sidecar_file:
            try:
                found = library.read_sidecar(key, asset.facts)
            except InvalidSidecar as error:
                self._fail(key, error)
                is_broken = True
            else:
                self._warn_of(key, found)
                if found is not None and found.project not in (None, library.ledger.project_id):
                    why = f"its sidecar belongs to the project {found.project!r}; put the right one back"
                    self._conflict(key, why, [asset.uid])
                    return
                if found is not None and found.uid not in (None, asset.uid):
                    self._contest(asset, str(found.uid), stat)
                    return
        is_mirror_lost = self._is_mirror_lost(asset)
        visit = _Visit(
            asset.uid, key, is_broken=is_broken, is_lost=not is_there, is_mirror_lost=is_mirror_lost
        )
        if is_same:
            self._report.unchanged += 1
            if self._is_verifying and self._read(key).digest != asset.digest:
                self._note(self._report.rotten, asset.uid, key)
            self._renew_preview(asset)
            if is_mirror_lost or beside != asset.sidecar_file:
                self._visits.append(visit)
        elif (known := self._look_inside(asset, stat, visit, has_sidecar=beside is not None)) is not None:
            self._renew_preview(replace(asset, file=known.stat, missing_since=None))
            self._visits.append(known)

    def _is_mirror_lost(self, asset: Asset) -> bool:
        mirrors = self._library.mirrors
        if mirrors is None or asset.mirror_key is None:
            return mirrors is not None
        is_taken = asset.mirror_key in self._shared_mirrors and not self._library.has_mirror(asset)
        return is_taken or mirrors.stat(asset.mirror_key) is None

    def _look_inside(
        self, asset: Asset, stat: FileStat, visit: _Visit, *, has_sidecar: bool
    ) -> _Visit | None:
        """Tell a touched file from a repainted one, and that from another asset's at this place.

        None is returned for new content: who that is, or that it is recorded, comes later.
        """
        reading = self._read(asset.key)
        if reading.digest == asset.digest:
            if asset.file is None:  # of an older release, and as it left it
                self._report.unchanged += 1
            else:
                self._report.touched += asset.missing_since is None
            return replace(visit, stat=stat)
        if asset.file is None and self._was_stamped(asset, reading):
            return replace(visit, stat=stat, reading=reading)
        with self._library.read() as rows:
            other = rows.known(reading.digest)
        if other is not None and other.uid != asset.uid and other.digest == reading.digest:
            self._claims[asset.key] = _Claim(asset.uid, other.uid, stat, is_certain=False)
        elif asset.file is not None and _is_untouched(stat, asset.file):
            self._note(self._report.rotten, asset.uid, asset.key)
        elif not has_sidecar:
            self._doubtful[asset.key] = asset.uid  # its sidecar may turn up beside another file
        else:
            self._requests.append(self._request(asset.key, asset.type))
        return None

    def _was_stamped(self, asset: Asset, reading: media.Reading) -> bool:
        """Tell a file that an older release stamped after it had taken its hash."""
        if not asset.digest:
            return True
        marker = _parse(reading.marker)
        if marker is None:
            with self._library.storage.open(asset.key) as source:
                return media.mentions_marker(source.file)
        with self._library.read() as rows:
            whole = rows.asset(asset.uid)
        ids = [row.id for row in whole.all_provenance] if whole else []
        return "uid" not in marker and (not ids or marker.get("provenance_id") in ids)

    def _inherit_by_marker(self, change: Transaction, asset: Asset, marker: bytes | None) -> Asset:
        """Give an asset the provenance of its twin: rebuilding with an older release made a second row.

        That release hashed the stamped file again and took it for new; the marker tells of the first row.
        The twin keeps its own, and counts as missing.
        """
        row_id = (_parse(marker) or {}).get("provenance_id")
        if not isinstance(row_id, int) or isinstance(row_id, bool):
            return asset
        uid = change.rows.taken_provenance_ids([row_id]).get(row_id)
        twin = change.rows.asset(uid) if uid else None
        if twin is None or twin.uid == asset.uid or twin.missing_since is None:
            return asset
        told = change.rows.provenance_of(twin.uid)
        new = rows_told(told, asset, change.rows, change.rows.reserve_ids)
        change.rows.add_provenance(new)
        return asset.with_provenance(sorted([*asset.all_provenance, *new], key=lambda row: -row.id))

    def _contest(self, owner: Asset, uid: str, stat: FileStat) -> None:
        """Somebody put another asset's sidecar beside an asset's file: believe it if the content agrees."""
        with self._library.read() as rows:
            named = rows.asset(uid)
        if named is not None and stat != owner.file:
            digest = self._read(owner.key).digest
            if digest == named.digest and self._place_of(named) != "home":
                self._claims[owner.key] = _Claim(owner.uid, uid, stat, is_certain=True)
                return
        self._contested[owner.key] = (owner.uid, uid)  # the owner may turn up at another place

    # -- a file where the ledger knows none -----------------------------------------------------------

    def _strangers(self, keys: Iterable[str]) -> dict[str, _Stranger]:
        """Look at some files, by key, and ask the ledger at once what it knows of all of them."""
        found: dict[str, _Stranger] = {}

        def look(key: str) -> None:
            if (stranger := self._look_at_stranger(key)) is not None:
                found[key] = stranger

        for key in keys:
            self._try(key, partial(look, key))
        if found:
            uids = [uid for stranger in found.values() for uid in stranger.uids()]
            with self._library.read() as rows:
                self._taken = rows.taken(uids, (), [each.reading.digest for each in found.values()])
        return found

    def _meet_stranger(self, key: str, *, is_last: bool = False) -> None:
        if (stranger := self._look_at_stranger(key)) is not None:
            self._settle_stranger(stranger, is_last=is_last)

    def _look_at_stranger(self, key: str) -> _Stranger | None:
        """Return what is to be known of a file to settle it, None where it is none for us."""
        library = self._library
        if library.is_oldest_sidecar(key):
            why = "the sidecar of an older release; what it says was taken in with its file"
            self._report.skipped.append({"path": key, "why": why})
            return None
        beside = self._beside(key)
        found = self._other_record(key) if beside is None else beside.said
        if found is not None and found.project not in (None, library.ledger.project_id):
            why = f"its sidecar belongs to the project {found.project!r}"
            self._report.skipped.append({"path": key, "why": why})
            return None
        why_not = None if found else next(filter(None, map(why_no_asset, key.split("/"))), None)
        if why_not is not None:
            self._report.skipped.append({"path": key, "why": why_not})
            return None
        self._warn_of(key, found)
        reading = self._read(key)
        return _Stranger(key, found, reading, _uid_of(reading.marker))

    def _settle_stranger(self, stranger: _Stranger, *, is_last: bool = False) -> None:
        key, found, reading, marked_uid = (
            stranger.key,
            stranger.found,
            stranger.reading,
            stranger.marked_uid,
        )
        if found is not None and found.uid is not None and found.uid in self._coming:
            looks = self._looks.copy()
            self._flush()  # of two whose sidecars name one asset the first is that asset
            self._looks = looks
        named, known, marked = self._known_of(stranger)
        if not is_last and (uid := self._claims_late(found, named, known, marked_uid, marked, reading)):
            self._late.setdefault(uid, []).append((key, found is not None and bool(found.uid)))
        elif named is not None and found is not None:
            self._settle_named(named, key, reading, known, found)
        elif found is not None and found.uid:
            self._take_in_or_refuse_copy(key, reading, found)
        elif known is not None:
            self._settle_known(known, key, reading)
        elif marked is not None and self._place_of(marked) == "gone" and marked.uid not in self._moves:
            self._moves[marked.uid] = (key, reading)
        else:
            self._take_in(key, found, None if marked is not None else marked_uid)

    def _known_of(self, stranger: _Stranger) -> tuple[Asset | None, Asset | None, Asset | None]:
        """Return the assets that a file's sidecar names, that know its content, and that its marker names."""
        found, digest, marked_uid = stranger.found, stranger.reading.digest, stranger.marked_uid
        taken = self._taken
        if taken is not None and digest not in taken.digests and taken.uids.isdisjoint(stranger.uids()):
            return None, None, None
        with self._library.read() as rows:
            named = rows.asset(found.uid) if found is not None and found.uid else None
            return named, rows.known(digest), rows.asset(marked_uid) if marked_uid else None

    def _claims_late(
        self,
        found: Sidecar | None,
        named: Asset | None,
        known: Asset | None,
        marked_uid: str | None,
        marked: Asset | None,
        reading: media.Reading,
    ) -> str | None:
        """Return the uid that a file claims without having its content: that may turn up in another file."""
        if named is not None:
            return named.uid if known is None and self._has_left(named, reading) else None
        if found is not None and found.uid:
            return found.uid if found.digest not in (None, reading.digest) else None
        if known is not None or marked_uid is None or reading.digest.startswith(marked_uid):
            return None
        return marked_uid if marked is None or self._place_of(marked) == "gone" else None

    def _other_record(self, key: str) -> Sidecar | None:
        """Return what a mirror says of a file without sidecar, if the ledger lost that asset."""
        found = self._library.read_other_record(key)
        with self._library.read() as rows:
            is_lost = found is not None and found.uid is not None and rows.asset(found.uid) is None
        return found if is_lost else None

    def _settle_named(
        self, named: Asset, key: str, reading: media.Reading, known: Asset | None, found: Sidecar
    ) -> None:
        """The sidecar beside a file says which asset it is: believe it if that one lies nowhere else."""
        is_other = known is not None and known.uid != named.uid and known.digest == reading.digest
        if known is not None and is_other:
            why = f"its sidecar names the asset {named.uid}, its content is that of {known.uid}"
            self._conflict(key, why, [named.uid, known.uid])
        elif named.uid not in self._moves and self._has_left(named, reading):
            beside = self._library.storage.stat(self._library.sidecar_key(key))
            if beside == named.sidecar_file or self._is_looking_again:
                self._moves[named.uid] = (key, reading)
            else:
                self._later.append(key)  # it was edited or copied; the very one that we wrote may come
        elif reading.digest == named.digest:
            self._note(self._report.duplicates, named.uid, key)
            self._taken = None
            self._library.take_word(named.uid, found)
        else:
            why = f"its sidecar names the asset {named.uid}, whose file lies at {named.key}"
            self._conflict(key, f"{why}; delete this sidecar if this is another asset", [named.uid])

    def _has_left(self, asset: Asset, reading: media.Reading) -> bool:
        place = self._place_of(asset)
        if place == "taken" and reading.digest == asset.digest:
            return True
        return place == "gone" or (place != "home" and not self._names(asset.key, asset.uid))

    def _settle_known(self, known: Asset, key: str, reading: media.Reading) -> None:
        """The content is known: the asset was moved here, or this is one more copy of it."""
        place = self._place_of(known)
        is_present = known.digest == reading.digest
        if known.uid not in self._moves and (place == "gone" or (place == "taken" and is_present)):
            self._moves[known.uid] = (key, reading)  # it may have come back as an older version
        else:
            self._note(self._report.duplicates, known.uid, key)

    def _take_in_or_refuse_copy(self, key: str, reading: media.Reading, found: Sidecar) -> None:
        """Bring back an asset that the ledger lost, unless this is a copy of it with its sidecar."""
        if found.key not in (None, key) and found.key is not None and self._names(found.key, found.uid):
            if reading.digest == found.digest:
                self._note(self._report.duplicates, str(found.uid), key)
            else:
                why = (
                    f"its sidecar is a copy of the one beside {found.key}; remove it if this is another asset"
                )
                self._conflict(key, why, [found.uid])
            return
        self._take_in(key, found, found.uid)

    def _names(self, key: str, uid: str | None) -> bool:
        """Tell whether a file lies at a key whose sidecar names an asset."""
        if self._library.storage.stat(key) is None:
            return False
        try:
            found = self._library.read_sidecar(key)
        except (ComfyVNError, OSError):
            return False
        return found is not None and found.uid == uid

    def _take_in(self, key: str, found: Sidecar | None, uid: str | None) -> None:
        """Register a file that nobody knows; what its sidecar says comes back with it."""
        kind = (found.type if found else None) or _type_of(key)
        request = self._request(key, kind, uid)
        beside = self._sidecars.get(key)
        if beside is not None and request.look is not None and _is_of(beside.said, key, request.look[0]):
            self._returning.append((request, beside))
        else:
            self._requests.append(request)
        self._coming.add(uid)

    # -- where an asset is ----------------------------------------------------------------------------

    def _place_of(self, asset: Asset) -> _Place:
        """Tell what lies at an asset's key: its own content, nothing, another asset's, or something new."""
        stat = self._library.storage.stat(asset.key)
        if stat is None:
            return "gone"
        if stat == asset.file:
            return "home"
        try:
            digest = self._read(asset.key).digest
        except (ComfyVNError, OSError):
            return "changed"
        if digest == asset.digest:
            return "home"
        with self._library.read() as rows:
            other = rows.known(digest)
        is_other = other is not None and other.uid != asset.uid and other.digest == digest
        return "taken" if is_other else "changed"

    def _settle_places(self) -> list[str]:
        """Move the assets that lie at each other's places; return the keys that nobody owns any more.

        An asset may only come to a place whose owner goes to another one, or when the sidecar says so too:
        else nobody knows whether the owner was overwritten or repainted.
        """
        again: list[str] = []
        goes: _Places = {}
        for key, claim in sorted(self._claims.items()):
            with self._library.read() as rows:
                owner, other = rows.asset_at(key), rows.asset(claim.uid)
            is_copy = other is None or self._place_of(other) == "home"
            if other is not None and not is_copy and other.uid not in {each.uid for _, each in goes.values()}:
                goes[key] = (owner, other)
            elif owner is None:
                again.append(key)
            else:
                self._requests.append(self._request(key, owner.type))  # a copy was saved over this one
        self._refuse_undecided(goes)
        if goes:
            self._try(min(goes), lambda: self._change_places(goes))
        return again

    def _refuse_undecided(self, goes: _Places) -> None:
        """Take out, until nothing changes, the places whose owner would have nowhere to go."""
        is_settled = False
        while not is_settled:
            leaving = {other.uid for _, other in goes.values()}
            undecided = [
                key
                for key, (owner, _) in goes.items()
                if owner is not None and owner.uid not in leaving and not self._claims[key].is_certain
            ]
            is_settled = not undecided
            for key in undecided:
                uids = [self._claims[key].owner_uid, goes.pop(key)[1].uid]
                why = f"it lies where {uids[0]} belongs and holds the content of {uids[1]}"
                hint = "if it is that one, move its sidecar here; if not, `comfyvn ingest --in-place` it"
                self._conflict(key, f"{why}; {hint}", uids)

    def _change_places(self, goes: _Places) -> None:
        leaving = {other.uid for _, other in goes.values()}
        with self._library.transaction(self._operation_id) as change:
            moves = []
            for key, (owner, other) in goes.items():
                moves.append(Move(self._still(change, other), key, self._claims[key].stat))
                if owner is not None and owner.uid not in leaving:
                    away = self._free_key(change, key, owner.uid)
                    moves.append(Move(self._still(change, owner), away, None, is_missing=True))
            moved = self._library.relocate(change, moves)
        for asset in moved:
            self._renew_preview(asset)
        for move in moves:
            self._note(
                self._report.missing if move.is_missing else self._report.moved, move.asset.uid, move.key
            )

    def _still(self, change: Transaction, asset: Asset) -> Asset:
        current = change.rows.asset(asset.uid)
        if current is None or current.key != asset.key or current.digest != asset.digest:
            raise PathConflict(path=asset.key, why="the asset was changed meanwhile; run the rebuild again")
        return current

    def _free_key(self, change: Transaction, key: str, uid: str) -> str:
        """Return where an asset belongs whose place another one has taken."""
        marks = (uid[:8] if number == 1 else f"{uid[:8]}-{number}" for number in count(1))
        keys = (numbered_key(key, mark) for mark in marks)
        return next(
            free for free in keys if not change.rows.is_taken(free) and not self._library.storage.exists(free)
        )

    # -- doing it, by chunks --------------------------------------------------------------------------

    def _flush(self) -> None:
        self._taken = None
        moves, self._moves = self._moves, {}
        self._settle_moves([(uid, key, reading) for uid, (key, reading) in moves.items()])
        visits, self._visits = self._visits, []
        for at in range(0, len(visits), _CHUNK):
            self._settle_visits(visits[at : at + _CHUNK])
        requests, self._requests = self._requests, []
        self._coming.clear()
        self._bring_back()
        for outcome in self._registrar.register_all(requests) if requests else ():
            self._note_outcome(outcome)
        self._looks.clear()
        self._sidecars.clear()
        self._renew_previews()

    def _bring_back(self) -> None:
        self._taken = None
        returning, self._returning = self._returning, []
        for outcome in self._registrar.bring_back(returning) if returning else ():
            self._note_outcome(outcome)

    def _settle_moves(self, moves: Sequence[tuple[str, str, media.Reading]]) -> None:
        if not moves:
            return
        done: list[tuple[Asset, str, media.Reading]] = []
        try:
            with self._library.transaction(self._operation_id) as change:
                for uid, key, reading in moves:
                    stat, current = self._library.storage.stat(key), change.rows.asset(uid)
                    if stat is None or current is None or change.rows.asset_at(key) is not None:
                        continue
                    is_same = reading.digest == current.digest
                    move = Move(current, key, stat if is_same else None)
                    done.append((self._library.relocate(change, [move])[0], key, reading))
        except _NO_GOING_ON:
            raise
        except (ComfyVNError, OSError) as error:
            if len(moves) == 1:
                self._fail(moves[0][1], error)
            else:
                for each in moves:
                    self._settle_moves([each])
            return
        for asset, key, reading in done:
            self._note(self._report.moved, asset.uid, key)
            if reading.digest != asset.digest:
                self._requests.append(self._request(key, asset.type))
            else:
                self._renew_preview(asset)

    def _settle_visits(self, visits: Sequence[_Visit]) -> None:
        by_uid = {visit.uid: visit for visit in visits}
        notes: list[tuple[list[dict[str, str]], Asset]] = []
        try:
            with self._library.transaction(self._operation_id) as change:
                for asset in change.rows.assets(by_uid):
                    if asset.key == by_uid[asset.uid].key:
                        notes += self._settle_visit(change, asset, by_uid[asset.uid])
        except _NO_GOING_ON:
            raise
        except (ComfyVNError, OSError) as error:
            if len(visits) == 1:
                self._fail(visits[0].key, error)
            else:
                for visit in visits:
                    self._settle_visits([visit])
            return
        for items, asset in notes:
            self._note(items, asset.uid, asset.key)
            if items is self._report.healed:
                self._renew_preview(asset)

    def _settle_visit(
        self, change: Transaction, asset: Asset, visit: _Visit
    ) -> list[tuple[list[dict[str, str]], Asset]]:
        report, now = self._report, asset
        notes = []
        if visit.stat is not None:
            if asset.missing_since is not None:
                notes.append(report.restored)
                change.tell("asset_restored", asset, before={"missing_since": asset.missing_since})
            now = replace(now, file=visit.stat, missing_since=None)
        if visit.reading is not None:
            notes.append(report.healed)
            now = self._inherit_by_marker(change, now, visit.reading.marker)
            now = self._heal(change, now, visit.reading)
        if not visit.is_broken:
            force = visit.is_lost or visit.is_mirror_lost or visit.reading is not None
            now = self._library.change_one(change, now, now.facts, force=force)
        if now != asset:
            change.update(now)
        if visit.is_lost:
            notes.append(report.sidecars_written)
        if now.facts != asset.facts:
            notes.append(report.metadata_changed)
        return [(items, now) for items in notes]

    def _heal(self, change: Transaction, asset: Asset, reading: media.Reading) -> Asset:
        """Put the hash of a file right that an older release stamped after it had taken its hash.

        The older hash stays known as version 0: the file as its maker has it, before the stamp.
        """
        present = Version(asset.version, reading.digest, reading.size_bytes, asset.created_at)
        before = [Version(0, asset.digest, asset.size_bytes, asset.created_at)] if asset.digest else []
        older = [each for each in asset.versions if 0 < each.version < asset.version]
        healed = replace(
            asset,
            digest=reading.digest,
            size_bytes=reading.size_bytes,
            versions=(present, *older, *before),
            preview=self._library.planned_preview(asset.uid, reading.preview_kind),
            media=self._library.first_media(reading, is_in_place=asset.is_in_place),
        )
        change.rows.set_versions(healed)
        change.tell("asset_healed", healed, before={"hash": asset.digest}, after={"hash": healed.digest})
        return healed

    def mark_missing(self, uids: Sequence[str]) -> None:
        """Mark those of some assets whose files are nowhere; keep in step what is written of them."""
        for at in range(0, len(uids), _CHUNK):
            with self._library.transaction(self._operation_id) as change:
                for asset in change.rows.assets(uids[at : at + _CHUNK]):
                    if self._library.storage.stat(asset.key) is None:
                        self._settle_missing(change, asset)

    def _settle_missing(self, change: Transaction, asset: Asset) -> None:
        """Mark an asset missing; what is written of it is kept in step all the same."""
        missing, library = asset, self._library
        if asset.missing_since is None:
            missing = replace(asset, missing_since=utc_now())
            change.update(missing)
            change.tell("asset_missing", missing, after={"missing_since": missing.missing_since})
            self._note(self._report.missing, asset.uid, asset.key)
        beside = library.storage.stat(library.sidecar_key(asset.key))
        folder = asset.key.rpartition("/")[0]
        if folder and not library.storage.is_folder(folder):
            return  # the folder may come back with all that lies in it, and wants its name then
        try:
            with change.attempt():
                library.read_sidecar(asset.key, asset.facts)  # a broken one stays as it is
                is_mirrored = library.has_mirror(asset) and not self._is_mirror_lost(asset)
                force = beside is None or not is_mirrored
                now = library.change_one(change, missing, missing.facts, force=force)
        except InvalidSidecar as error:
            self._fail(asset.key, error)
        except PathConflict as error:
            self._conflict(asset.key, str(error.fields["why"]), [asset.uid])
        except _NO_GOING_ON:
            raise
        except (ComfyVNError, OSError) as error:
            self._fail(asset.key, error)
        else:
            if beside is None:
                self._note(self._report.sidecars_written, asset.uid, asset.key)
            if now.facts != asset.facts:
                self._note(self._report.metadata_changed, asset.uid, asset.key)

    def _renew_preview(self, asset: Asset) -> None:
        """Remember a preview that is not there or older than its recipe, and facts that nobody has read.

        They are asked for when all else is settled: what a preview writes must not come between.
        """
        if need_of(self._library, asset) == "missing":
            self._stale[asset.uid] = None

    def _renew_previews(self) -> None:
        uids, self._stale = list(self._stale), {}
        for at in range(0, len(uids), _CHUNK):
            with self._library.read() as rows:
                assets = list(rows.assets(uids[at : at + _CHUNK]))
            for asset in assets:
                if need_of(self._library, asset) == "missing":
                    self._try(asset.key, partial(renew, self._library, asset))

    # -- inside ---------------------------------------------------------------------------------------

    def _try(self, key: str, step: Callable[[], None]) -> None:
        try:
            step()
        except _NO_GOING_ON:
            raise
        except (ComfyVNError, OSError) as error:
            self._fail(key, error)

    def _request(self, key: str, kind: str, wanted_uid: str | None = None) -> Request:
        return Request(
            source=self._library.storage.path(key),
            type=kind,
            key=key,
            facts=Facts(),
            claim=self._claim,
            is_copy=False,
            is_rebuild=True,
            wanted_uid=wanted_uid,
            look=self._looks.get(key),
        )

    def _read(self, key: str) -> media.Reading:
        """Return what is in a file, read now or as long as it has been the same file since."""
        known = self._looks.get(key)
        if known is None and key in self._ahead:
            known = self._ahead.pop(key).result()
        if known is None or self._library.storage.stat(key) != known[1]:
            known = self._look(key)
        self._looks[key] = known
        return known[0]

    def _look(self, key: str) -> _Look:
        with self._library.storage.open(key) as source:
            reading = media.read(source.file, name=key)
            source.check_unchanged()
        return reading, source.stat

    def _note_outcome(self, outcome: Outcome) -> None:
        if isinstance(outcome.error, _NO_GOING_ON):
            raise outcome.error
        if outcome.asset is None:
            self._fail(outcome.request.key, outcome.error)
            return
        lists = {
            "registered": self._report.registered,
            "known": self._report.duplicates,
            "updated": self._report.content_changed,
        }
        self._note(lists[outcome.status], outcome.asset.uid, outcome.request.key)

    def _fail(self, key: str, error: object) -> None:
        self._report.failed.append({"path": key, "why": str(error)})

    def _conflict(self, key: str, why: str, candidates: Sequence[str | None]) -> None:
        uids = [uid for uid in candidates if uid]
        self._report.conflicts.append({"path": key, "why": why, "candidates": uids})

    def _warn_of(self, key: str, found: Sidecar | None) -> None:
        """Report what of a file's sidecar is not understood, once: some are read again and again."""
        if found is not None and found.warning is not None:
            told = {"path": self._library.sidecar_key(key), "why": found.warning}
            if told not in self._report.skipped:
                self._report.skipped.append(told)

    def _note(self, items: list[dict[str, str]], uid: str, key: str) -> None:
        items.append({"uid": uid, "path": key})


def _is_untouched(now: FileStat, before: FileStat) -> bool:
    """Tell whether nobody wrote to a file, by size and time: a copied library has other inodes."""
    return (now.size_bytes, now.mtime_ns) == (before.size_bytes, before.mtime_ns)


def _is_of(said: Sidecar, key: str, reading: media.Reading) -> bool:
    """Tell a sidecar of this release that we wrote for this very file at this place."""
    is_whole = said.uid is not None and said.type is not None and bool(said.payload.get("schema"))
    return is_whole and said.key == key and said.digest == reading.digest


def _parse(marker: bytes | None) -> dict[str, Any] | None:
    try:
        value = json.loads(marker or b"null")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _uid_of(marker: bytes | None) -> str | None:
    """Return the uid that a marker names, if it looks like one of ours."""
    uid = (_parse(marker) or {}).get("uid")
    is_uid = isinstance(uid, str) and 16 <= len(uid) <= 64 and set(uid) <= set("0123456789abcdef")
    return uid if is_uid else None


def _type_of(key: str) -> str:
    """Return the type of a file that nobody named: its first folder, else its kind of medium."""
    folder, slash, _ = key.partition("/")
    return folder if slash else type_of_medium(key)
