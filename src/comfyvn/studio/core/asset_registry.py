"""`AssetRegistry`: register files, list them, change what is written about them, listen to changes."""

from __future__ import annotations

import os
import sys
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Literal, NotRequired, TypedDict, Unpack

from comfyvn import config as settings
from comfyvn import sidecar
from comfyvn.db import ACTING, CardRow, FacetCounts, TermKind
from comfyvn.errors import (
    AmbiguousUid,
    AssetNotFound,
    Changed,
    ComfyVNError,
    InvalidFilter,
    InvalidMetadata,
    SidecarMissing,
    UnsafePath,
)
from comfyvn.events import (
    HOOK_ASSET_META_UPDATED,
    HOOK_ASSET_REGISTERED,
    HOOK_ASSET_REMOVED,
    HOOK_ASSET_SIDECAR_WRITTEN,
    Hook,
)
from comfyvn.model import (
    MOST_STARS,
    SORTS,
    THUMBNAIL_SIZES,
    Asset,
    AssetFilter,
    Conditions,
    Facts,
    Problem,
    Sort,
    claimed_parents,
    normalise_license,
    normalise_type,
    parse_facts,
    parse_provenance,
    parse_version,
)
from comfyvn.storage import safe_key
from comfyvn.storage.keys import OWN_FOLDERS
from comfyvn.studio.core.library import Library

# What changes assets is imported by the first change: who only looks gets his answer in half the time.
if TYPE_CHECKING:
    from comfyvn.studio.core.editing import BulkReport, Edit, Editor
    from comfyvn.studio.core.history import (
        History,
        HistoryEntry,
        PurgeReport,
        RemovalReport,
        UndoReport,
    )
    from comfyvn.studio.core.lineage import (
        Direction,
        Lineage,
        LineageEdge,
        LineageRecord,
        ProposedParent,
    )
    from comfyvn.studio.core.many import Chosen
    from comfyvn.studio.core.matching import Matcher, MatchRecord
    from comfyvn.studio.core.operations import OperationRecord
    from comfyvn.studio.core.registration import Outcome, Registrar, Request

__all__ = [
    "AssetCard",
    "AssetRecord",
    "AssetRegistry",
    "FacetCount",
    "Facets",
    "ProblemCount",
    "RegisterResult",
    "SelectionFacets",
    "TermCount",
    "preview_version",
]

_ON_CARDS = ("format", "width", "height", "has_alpha", "frames", "duration_s", "sample_rate", "channels")


class AssetRecord(TypedDict):
    """One asset as the registry answers it; all values are JSON.

    ``path``, ``sidecar`` and ``links`` are relative to the assets folder; names of previews start with the
    setting ``thumbs_rel``. ``hash`` is the SHA-256 of the content without our marker, ``bytes``
    its length. ``preview_state`` is ``none``, ``pending``, ``ready`` or ``failed``. ``provenance`` is the
    newest row; in lists without ``inputs``. ``duplicate`` stands in answers to a registration. ``media`` is
    what the file tells about itself, ``{}`` till somebody has looked; it stands in ``meta``, too, unless you
    have a key of that name there.
    """

    id: int
    uid: str
    project: str
    type: str
    path: str
    hash: str
    bytes: int
    version: int
    tags: list[str]
    license: str | None
    meta: dict[str, Any]
    thumb: str | None
    preview: dict[str, Any] | None
    preview_state: str
    media: dict[str, Any]
    sidecar: str
    links: dict[str, Any]
    provenance: dict[str, Any] | None
    created_at: str
    updated_at: str
    missing_since: str | None
    duplicate: NotRequired[bool]


class RegisterResult(TypedDict):
    """What became of one file of `AssetRegistry.register_many`, in the order of the files.

    ``status``: ``registered`` (new), ``known`` (its content was there already), ``updated`` (a file in place
    has new content) or ``failed`` (``error`` says why and what to do; ``asset`` is None).
    """

    source: str
    status: Literal["registered", "known", "updated", "failed"]
    asset: AssetRecord | None
    error: str | None


class FacetCount(TypedDict):
    """How many assets have one value; ``value`` is None for those without licence or tag."""

    value: str | None
    count: int


class ProblemCount(TypedDict):
    """With how many assets something is wrong; see `comfyvn.model.Problem`."""

    value: Problem
    count: int


class Facets(TypedDict):
    """How many assets a filter finds, and what they are; each list begins with the most frequent value.

    ``problems`` has all of them, always in the same order.
    """

    total: int
    types: list[FacetCount]
    licenses: list[FacetCount]
    tags: list[FacetCount]
    models: list[FacetCount]
    loras: list[FacetCount]
    samplers: list[FacetCount]
    tools: list[FacetCount]
    problems: list[ProblemCount]


class SelectionFacets(TypedDict):
    """What some assets are; ``total`` of the ids were found, ``missing`` have no asset."""

    total: int
    types: list[FacetCount]
    licenses: list[FacetCount]
    tags: list[FacetCount]
    models: list[FacetCount]
    loras: list[FacetCount]
    samplers: list[FacetCount]
    tools: list[FacetCount]
    missing: int


class TermCount(TypedDict):
    """A type, licence, tag, model and so on, and how many assets have it."""

    name: str
    count: int


class AssetCard(TypedDict):
    """What a gallery shows of one asset: a small part of its `AssetRecord`.

    ``preview_version`` names the content and the recipe of its preview (``?v=`` of its address), so that what
    it leads to never changes; None while there is none. ``media`` holds the facts that fit on a card.
    ``rating`` is the metadata key of that name where it is a whole number from 0 to 5.
    """

    id: int
    uid: str
    type: str
    path: str
    bytes: int
    version: int
    tags: list[str]
    license: str | None
    rating: int | None
    preview_kind: str | None
    preview_state: str
    preview_version: str | None
    missing_since: str | None
    media: dict[str, Any]
    created_at: str
    updated_at: str


class AssetRegistry:
    """The assets of one project.

    Args:
        db_path: the ledger; default: setting ``db``, ``comfyvn/data/comfyvn.db`` in the project folder.
        project_id: the project in that ledger; default: setting ``project``, "default".
        assets_root: the assets folder; default: setting ``assets_root``.
        thumb_root: the preview cache; default: setting ``thumbs_root``.
        meta_root: where the mirrors go; default ``<assets>/_meta``, False for no mirrors.
        sidecar_suffix: what is added to an asset's file name; default ``.asset.json``.
        durability: default: setting ``durability``, ``full``.

    Folders and tables are made where they are missing. Any number of registries, threads and processes may
    work on one library at once. Close it, or use it in ``with``, to release its files.

    Raises:
        RegistryUnusable: folders or ledger can't be made or opened.
        InvalidSetting: a setting can't be what it must be.
    """

    THUMB_SIZES: ClassVar[tuple[int, ...]] = THUMBNAIL_SIZES
    HOOK_ASSET_REGISTERED: ClassVar[str] = HOOK_ASSET_REGISTERED
    HOOK_ASSET_META_UPDATED: ClassVar[str] = HOOK_ASSET_META_UPDATED
    HOOK_ASSET_REMOVED: ClassVar[str] = HOOK_ASSET_REMOVED
    HOOK_ASSET_SIDECAR_WRITTEN: ClassVar[str] = HOOK_ASSET_SIDECAR_WRITTEN

    def __init__(
        self,
        db_path: str | Path | None = None,
        project_id: str | None = None,
        *,
        assets_root: str | Path | None = None,
        thumb_root: str | Path | None = None,
        meta_root: str | Path | Literal[False] | None = None,
        sidecar_suffix: str | None = None,
        durability: settings.Durability | None = None,
    ) -> None:
        stated = {
            "db": db_path,
            "project": project_id,
            "assets_root": assets_root,
            "thumbs_root": thumb_root,
            "durability": durability,
        }
        suffix = sidecar.SUFFIX if sidecar_suffix is None else _check_suffix(sidecar_suffix)
        mirror_root = Path(meta_root) if isinstance(meta_root, str) else meta_root
        self._library = Library(settings.load(stated), meta_root=mirror_root, sidecar_suffix=suffix)

    def __enter__(self) -> AssetRegistry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        root = str(self.ASSETS_ROOT)
        return f"AssetRegistry({str(self.db_path)!r}, {self.project_id!r}, assets_root={root!r})"

    def close(self) -> None:
        """Wait for previews in the making, then close the ledger."""
        self.wait_for_thumbnails()
        self._library.close()

    @staticmethod
    @contextmanager
    def acting_as(name: str) -> Iterator[None]:
        """Have the journal name ``name`` for the changes that this task or thread makes meanwhile."""
        token = ACTING.set(name)
        try:
            yield
        finally:
            ACTING.reset(token)

    # -- where it lies --------------------------------------------------------------------------------

    @property
    def ASSETS_ROOT(self) -> Path:  # noqa: N802 - the name that scripts know
        """The assets folder."""
        return self._library.config.assets_root

    @property
    def META_ROOT(self) -> Path | None:  # noqa: N802 - the name that scripts know
        """The folder of the mirrors, None when there are none."""
        return self._library.mirrors.root if self._library.mirrors else None

    @property
    def THUMB_ROOT(self) -> Path:  # noqa: N802 - the name that scripts know
        """The preview cache."""
        return self._library.config.thumbs_root

    @property
    def db_path(self) -> Path:
        """The ledger's file."""
        return self._library.config.db

    @property
    def project_id(self) -> str:
        """The project whose assets these are."""
        return self._library.config.project

    @property
    def sidecar_suffix(self) -> str:
        """What is added to an asset's file name to name its sidecar."""
        return self._library.sidecar_suffix

    # -- registering ----------------------------------------------------------------------------------

    def register_file(
        self,
        source_path: str | Path,
        asset_type: str,
        *,
        dest_relative: str | Path | None = None,
        metadata: Mapping[str, Any] | None = None,
        copy: bool = True,
        provenance: Mapping[str, Any] | None = None,
        license_tag: str | None = None,
        copy_file: bool | None = None,
        keep_known: bool = False,
    ) -> AssetRecord:
        """Register one file: copy, hash, stamp, sidecar, ledger row, provenance row, preview.

        Content that the project knows is not copied again: its asset is returned with ``duplicate`` true,
        tags united, licence and other keys replaced where given, and a provenance row appended.

        Args:
            source_path: a regular file, read once.
            asset_type: one plain folder name, such as ``characters``.
            dest_relative: where under the assets folder; default ``<asset_type>/<file name>``. A name that
                other content has gets ``-<first 8 of the uid>``; one that some systems refuse is made safe,
                and the given one kept as ``meta["original_name"]``.
            metadata: JSON values; ``tags``, ``license``, ``origin``, ``source`` have a meaning of their own.
            copy: the older name of ``copy_file``.
            provenance: ``source``, ``workflow_hash``, ``commit_hash``, ``inputs``, ``user_id``,
                ``c2pa_like``; any other key counts as an input.
            license_tag: the licence, where ``metadata`` has none; "" clears that of known content.
            copy_file: False registers a file of the assets folder where it is, and never writes to it. So
                does True for a file that lies already where it would be copied to.
            keep_known: content that the project knows keeps its tags, licence and metadata; only the
                provenance row is appended.

        Returns:
            The record, recorded and synced; its preview is made behind the call.

        Raises:
            SourceMissing, SourceUnreadable, SourceChanged: the file can't be read as one.
            InvalidAssetType, InvalidMetadata, UnsafePath, OutsideLibrary: refused, nothing was written.
            RegistryUnusable: the library can't be written.
        """
        is_copy = copy if copy_file is None else copy_file
        request = self._request(
            source_path, asset_type, dest_relative, metadata, is_copy, provenance, license_tag
        )
        request = replace(request, keeps_known=keep_known)
        return self._registered(self._registrar().register(request))

    def _registered(self, outcome: Outcome) -> AssetRecord:
        assert outcome.asset is not None
        record = self._record(outcome.asset)
        record["duplicate"] = outcome.status == "known"
        return record

    def register_open_file(
        self,
        file: BinaryIO,
        name: str | Path,
        asset_type: str,
        *,
        dest_relative: str | Path | None = None,
        metadata: Mapping[str, Any] | None = None,
        copy_file: bool = True,
        provenance: Mapping[str, Any] | None = None,
        license_tag: str | None = None,
        operation: int | None = None,
        keep_known: bool = False,
    ) -> AssetRecord:
        """Register what an open file holds, whatever lies at its name by now; see `register_file`.

        Args:
            file: a regular file of the file system, open for reading without a buffer; it is read from its
                start, and stays open.
            name: what the file is called; with ``copy_file`` False its path in the assets folder.
            asset_type, dest_relative, metadata, copy_file, provenance, license_tag, keep_known: as in
                `register_file`.
            operation: the operation that this belongs to (`new_operation`); one of its own by default.

        Raises:
            ComfyVNError: as `register_file`.
        """
        request = self._request(
            name, asset_type, dest_relative, metadata, copy_file, provenance, license_tag, file
        )
        request = replace(request, keeps_known=keep_known)
        return self._registered(self._registrar(operation=operation).register(request))

    def plan_file(
        self,
        source_path: str | Path,
        asset_type: str,
        *,
        dest_relative: str | Path | None = None,
        metadata: Mapping[str, Any] | None = None,
        license_tag: str | None = None,
        copy_file: bool = True,
    ) -> dict[str, Any]:
        """Tell what `register_file` would do with a file: reads it, changes nothing.

        Returns:
            ``status`` (``new`` or ``known``), ``uid``, ``path`` (where it would lie, or lies) and ``hash``.

        Raises:
            ComfyVNError: as `register_file`.
        """
        request = self._request(
            source_path, asset_type, dest_relative, metadata, copy_file, None, license_tag
        )
        return self._registrar().plan(request)

    def register_many(
        self, items: Iterable[Mapping[str, Any]], *, is_repeatable: bool = True
    ) -> Iterator[RegisterResult]:
        """Register many files in one pipeline: reading and copying ahead, ledger writes in batches.

        Args:
            items: the arguments of `register_file` by name, for each file.
            is_repeatable: known content gets another provenance row only if that says something new, so
                that the same call may be run again and again.

        Yields:
            One result a file, in order, once its batch is recorded and synced. A bad file is a result with
            its error; the others go on.
        """
        refusals: deque[RegisterResult | None] = deque()  # None stands for a file on its way

        def good() -> Iterator[Request]:
            for item in items:
                try:
                    request = self._request_of(item)
                except ComfyVNError as error:
                    refusals.append(
                        RegisterResult(
                            source=str(item.get("source_path")), status="failed", asset=None, error=str(error)
                        )
                    )
                else:
                    refusals.append(None)
                    yield request

        def refused() -> Iterator[RegisterResult]:
            while refusals and (first := refusals[0]) is not None:
                refusals.popleft()
                yield first

        for outcome in self._registrar(is_repeatable=is_repeatable).register_all(good()):
            yield from refused()
            refusals.popleft()
            yield self._result(outcome)
        yield from refused()

    # -- listing --------------------------------------------------------------------------------------

    def list_assets(
        self,
        asset_type: str | Iterable[str] | None = None,
        *,
        limit: int | None = None,
        cursor: int | None = None,
        **conditions: Unpack[Conditions],
    ) -> list[AssetRecord]:
        """Return assets, newest first; all conditions given must hold.

        Args:
            asset_type: the exact type, or any of several.
            limit: at most so many.
            cursor: ``id`` of the last record of the page before; only older ones follow.
            **conditions:
                ``tags``: all of them, ignoring case. ``license``: the licence, or any of several, ignoring
                case; "" for assets without one. ``text``: a substring of the path, of a text at the top of
                the metadata or of the file's own tags (title, artist), ignoring case. ``where``: what the
                file tells about itself, such as ``"width>=1024"`` or ``["codec=opus", "duration_s<3"]``;
                names of facts as in ``meta.media``. ``hash_value``: the exact hash, ignoring case.

                ``not_types``, ``not_tags``, ``not_licenses``: none of them. ``problems``: any of those that
                `comfyvn.model.Problem` names. ``uid``: four or more of its first digits. ``workflow``: the
                hash of any of its provenance rows, or eight or more of its first characters. ``min_rating``:
                at least so many stars in the metadata key ``rating``; 0 for all assets. ``descends_from``:
                the uid of an asset that they came of, by way of others or not.

                What made them, where files tell of it: all of ``models`` and ``loras`` (names without folder
                and suffix), any of ``samplers`` and ``tools``, ignoring case; the ``seed``.

        Raises:
            InvalidFilter: a condition of a wrong type, or a limit below 1.
        """
        wanted = _wanted("list_assets", asset_type, conditions)
        _check_page(limit, cursor)
        if cursor is None and limit is None:
            return [self._record(asset, with_inputs=False) for asset in self._library.ledger.iterate(wanted)]
        with self._library.read() as rows:
            found = rows.find(wanted, limit=limit, before_id=cursor)
        return [self._record(asset, with_inputs=False) for asset in found]

    def iter_assets(
        self, asset_type: str | Iterable[str] | None = None, **conditions: Unpack[Conditions]
    ) -> Iterator[AssetRecord]:
        """Yield what `list_assets` returns, page by page: memory does not grow with the library."""
        wanted = _wanted("iter_assets", asset_type, conditions)
        for asset in self._library.ledger.iterate(wanted):
            yield self._record(asset, with_inputs=False)

    def count_assets(
        self, asset_type: str | Iterable[str] | None = None, **conditions: Unpack[Conditions]
    ) -> int:
        """Return how many assets match; conditions as in `list_assets`."""
        with self._library.read() as rows:
            return rows.count(_wanted("count_assets", asset_type, conditions))

    def iter_ids(
        self,
        asset_type: str | Iterable[str] | None = None,
        *,
        sort: Sort = "newest",
        **conditions: Unpack[Conditions],
    ) -> Iterator[array[int]]:
        """Yield the ids (``id`` of the records) of what `list_assets` returns, in any order.

        They come in arrays of at most 65,536 numbers of 64 bits: a million takes less than a second.

        Args:
            asset_type: as in `list_assets`.
            sort: ``newest`` or ``oldest`` first, by ``name`` (the path, ignoring case), ``largest`` first, or
                those first that were ``changed`` last. Where that says nothing, newer ones come first; with
                ``oldest`` and ``name`` older ones.
            **conditions: as in `list_assets`.

        Raises:
            InvalidFilter: a condition of a wrong type, or an order that there is not.
        """
        if sort not in SORTS:
            raise InvalidFilter(why=f"there is no order {sort!r:.40}; there are {', '.join(SORTS)}")
        wanted = _wanted("iter_ids", asset_type, conditions)
        return self._library.ledger.iterate_ids(wanted, sort)

    def facets(
        self,
        asset_type: str | Iterable[str] | None = None,
        *,
        top_tags: int = 100,
        **conditions: Unpack[Conditions],
    ) -> Facets:
        """Count the types, licences, tags, problems and makings of what `list_assets` would return.

        Each list is counted under the other conditions, without its own: with ``asset_type="audio"`` the
        types are those of the whole library, the tags those of sounds.

        Args:
            asset_type: as in `list_assets`.
            top_tags: at most so many tags, models and so on, the most frequent ones; those without a tag are
                counted besides.
            **conditions: as in `list_assets`.

        Raises:
            InvalidFilter: a condition of a wrong type, or ``top_tags`` below 1.
        """
        _check_number("top_tags", top_tags)
        wanted = _wanted("facets", asset_type, conditions)
        with self._library.read() as rows:
            found = rows.facets(wanted, top_tags)
        problems = [ProblemCount(value=name, count=count) for name, count in found.problems]
        return Facets(total=found.total, **_groups(found), problems=problems)

    def facets_among(self, ids: Iterable[int], *, top_tags: int = 100) -> SelectionFacets:
        """Count the types, licences and tags of some assets by ``id``; one that is repeated counts once.

        Raises:
            InvalidFilter: an id that is no whole number of at least 1, or ``top_tags`` below 1.
        """
        _check_number("top_tags", top_tags)
        wanted = list(dict.fromkeys(ids))
        for each in wanted:
            _check_number("an id", each)
        with self._library.read() as rows:
            found = rows.facets_among(wanted, top_tags)
        missing = len(wanted) - found.total
        return SelectionFacets(total=found.total, **_groups(found), missing=missing)

    def terms(self, kind: TermKind, *, prefix: str = "", limit: int = 100) -> list[TermCount]:
        """Return the types, licences, tags or models (and so on) that are in use, the most frequent first.

        Args:
            kind: which of them: ``type``, ``license``, ``tag``, ``model``, ``lora``, ``sampler`` or ``tool``.
            prefix: only those that begin like that; ignoring case but for types.
            limit: at most so many.

        Raises:
            InvalidFilter: a limit below 1, or a prefix that is no text.
        """
        _check_number("limit", limit)
        AssetFilter.build(text=[prefix])
        with self._library.read() as rows:
            return [TermCount(name=name, count=count) for name, count in rows.terms(kind, prefix, limit)]

    def get_records(self, ids: Iterable[int]) -> dict[int, AssetRecord]:
        """Return the known ones of some assets by ``id``, as `list_assets` returns them."""
        with self._library.read() as rows:
            found = rows.listed_by_id(ids)
        return {number: self._record(asset, with_inputs=False) for number, asset in found.items()}

    def get_cards(self, ids: Iterable[int]) -> dict[int, AssetCard]:
        """Return what a gallery shows of assets by ``id``; unknown ones are left out."""
        with self._library.read() as rows:
            return {row.id: _card(row) for row in rows.cards(ids)}

    def get_asset(self, uid: str) -> AssetRecord | None:
        """Return one record with the inputs of its newest provenance, None if the uid is unknown."""
        asset = self._find(uid)
        return None if asset is None else self._record(asset)

    def resolve_uid(self, name: str | Path) -> str | None:
        """Return the uid that people mean: by a uid, the path of an asset, or the beginning of one uid.

        Args:
            name: a uid, four or more of its first digits, a key (``characters/mara.png``), or a path.

        Raises:
            AmbiguousUid: several uids begin like that.
        """
        text = str(name)
        with self._library.read() as rows:
            keys = [text.replace("\\", "/"), *self._keys_on_disk(Path(name))]
            exact = rows.asset(text) or next(filter(None, map(rows.asset_at, keys)), None)
            if exact is not None:
                return exact.uid
            found = rows.uids_from(text, 5) if len(text) >= 4 else []
        if len(found) > 1:
            raise AmbiguousUid(uid=text, found=", ".join(found))
        return found[0] if found else None

    def list_provenance(
        self, uid: str, *, limit: int | None = None, cursor: int | None = None
    ) -> list[dict[str, Any]]:
        """Return the provenance rows of a uid, newest first; those of removed assets too.

        Args:
            uid: the asset.
            limit: at most so many.
            cursor: ``id`` of the last row of the page before; only older ones follow.

        Raises:
            InvalidFilter: a limit or cursor below 1.
        """
        _check_page(limit, cursor)
        with self._library.read() as rows:
            found = rows.provenance_of(uid, limit=limit, before=cursor)
        return [sidecar.describe_provenance(row) for row in found]

    # -- changing -------------------------------------------------------------------------------------

    def update_asset_meta(self, uid: str, meta: Mapping[str, Any]) -> dict[str, Any]:
        """Replace an asset's metadata (tags, licence and origin included) and rewrite its sidecar.

        Keys that only we fill in (``preview``, ``thumbnails``, ``version``) may be handed back as they came.

        Raises:
            AssetNotFound: no such uid.
            InvalidMetadata: refused; nothing was changed.
        """
        new = parse_facts(meta, self._library.limits)
        done = self._library.change(
            [uid], lambda asset: replace(new, extra=asset.facts.extra, parents=asset.facts.parents)
        )
        if uid not in done:
            raise AssetNotFound(uid=uid, project=self.project_id)
        return sidecar.describe_meta(done[uid], with_media=True)

    def bulk_update_tags(
        self,
        uids: Iterable[str],
        *,
        add_tags: str | Iterable[str] | None = None,
        remove_tags: str | Iterable[str] | None = None,
        license_tag: str | None = None,
        operation: int | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Add and remove tags and set the licence of many assets, as one operation in the journal.

        Args:
            uids: the assets; unknown ones are skipped.
            add_tags: tags that all of them get.
            remove_tags: tags that none of them keeps, ignoring case.
            license_tag: the licence that all get; "" clears, None leaves.
            operation: the operation that this belongs to (`new_operation`); one of its own by default.

        Returns:
            The new metadata, by uid.

        Raises:
            InvalidMetadata: a tag or licence of a wrong type; nothing was changed.
        """
        edit = self._edit(add_tags=add_tags, remove_tags=remove_tags, license_tag=license_tag)
        wanted = list(dict.fromkeys([uids] if isinstance(uids, str) else uids))
        if edit.add:
            self._check_room(wanted, edit)
        changed = self._editor.tag(wanted, edit, operation or self.new_operation())
        return {asset.uid: sidecar.describe_meta(asset, with_media=True) for asset in changed}

    def merge_asset_meta(
        self,
        uid: str,
        patch: Mapping[str, Any],
        *,
        operation: int | None = None,
        if_match: Callable[[AssetRecord], bool] | None = None,
    ) -> AssetRecord:
        """Change some of an asset's metadata and leave the rest: a JSON merge patch (RFC 7396).

        Keys that are named get their value, those with None are deleted, objects are merged; ``tags``,
        ``license`` and ``origin`` are among them. Who changes other keys at the same time loses nothing.

        Args:
            uid: the asset.
            patch: what is to be merged in.
            operation: the operation that this belongs to (`new_operation`); one of its own by default.
            if_match: gets the record as it is, inside the transaction; False refuses, so that nobody's change
                is overwritten unseen.

        Returns:
            The record as it is now.

        Raises:
            AssetNotFound: no such uid.
            Changed: ``if_match`` says no.
            InvalidMetadata: refused; nothing was changed.
        """
        edit = self._edit(metadata=patch)
        return self._record(self._editor.merge(uid, edit, self._check_of(if_match), operation))

    def bulk_edit(
        self,
        uids: str | Iterable[str] | None = None,
        *,
        ids: Iterable[int] | None = None,
        matching: Mapping[str, Any] | None = None,
        expected: int | None = None,
        add_tags: str | Iterable[str] | None = None,
        remove_tags: str | Iterable[str] | None = None,
        license_tag: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        dry_run: bool = False,
        operation: int | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> BulkReport:
        """Change many assets as one operation of the journal, or tell what that would do.

        One that can't be changed is named in the report, and the others are done. It goes by chunks, each in
        one transaction: memory stays bounded. A hand edit that a sidecar holds wins, as always, and its asset
        is then named as failed; a dry run does not look at sidecars.

        Args:
            uids: the assets; or
            ids: their numbers (``id`` of the records), as `iter_ids` yields them; or
            matching: conditions of `list_assets` by name, such as ``{"tags": ["draft"]}``.
            expected: how many ``matching`` must find, so that nothing is changed that nobody has seen.
            add_tags: tags that all of them get.
            remove_tags: tags that none of them keeps, ignoring case.
            license_tag: the licence that all get; "" clears, None leaves.
            metadata: a merge patch as in `merge_asset_meta`; it is applied first.
            dry_run: change nothing.
            operation: the operation that this belongs to (`new_operation`); one of its own by default.
            should_stop: asked before each chunk; once it says True, the rest is left and named as failed.

        Raises:
            InvalidFilter: not exactly one of ``uids``, ``ids`` and ``matching``, or a wrong one.
            InvalidMetadata: a value that no asset can have; nothing was changed.
            TotalChanged: ``matching`` finds another number of assets; nothing was changed.
        """
        edit = self._edit(
            add_tags=add_tags, remove_tags=remove_tags, license_tag=license_tag, metadata=metadata
        )
        chosen = self._chosen(uids, ids, matching, expected)
        return self._editor.bulk(chosen, edit, operation, is_dry_run=dry_run, should_stop=should_stop)

    def _chosen(
        self,
        uids: str | Iterable[str] | None,
        ids: Iterable[int] | None,
        matching: Mapping[str, Any] | None,
        expected: int | None,
    ) -> Chosen:
        """Return the assets that are named in one of three ways.

        Raises:
            InvalidFilter: not exactly one of them is given, or it is wrong.
            TotalChanged: ``matching`` finds another number of assets.
        """
        from comfyvn.studio.core.many import ids_of

        if sum(each is not None for each in (uids, ids, matching)) != 1:
            raise InvalidFilter(why="give exactly one of uids, ids and conditions")
        if uids is not None:
            return list(dict.fromkeys([uids] if isinstance(uids, str) else uids))
        if matching is not None:
            return ids_of(self._library, _filter_of(matching), expected)
        try:
            return array("q", dict.fromkeys(ids or ()))
        except (TypeError, OverflowError) as error:
            raise InvalidFilter(why=f"ids must be whole numbers as records have them: {error}") from error

    def _check_room(self, uids: list[str], edit: Edit) -> None:
        """Raise InvalidMetadata before the first change if an asset can't take so many more tags."""
        with self._library.read() as rows:
            fullest = rows.most_tags(uids)
            if fullest + len(edit.add) > self._library.limits.tags_per_asset:
                for asset in rows.assets(uids):
                    edit.facts_after(asset.facts)

    def remove_asset(
        self,
        uid: str,
        *,
        delete_files: bool = False,
        operation: int | None = None,
        if_match: Callable[[AssetRecord], bool] | None = None,
    ) -> bool:
        """Forget an asset; its sidecar and mirror move to the library's trash, its provenance rows stay.

        Args:
            uid: the asset.
            delete_files: move the file to the trash as well; else it stays where it is, unregistered.
            operation: the operation that this belongs to (`new_operation`); one of its own by default.
            if_match: gets the record as it is; False refuses, as in `merge_asset_meta`.

        Returns:
            False if the uid is unknown.

        Raises:
            Changed: ``if_match`` says no.
            OSError, OutsideLibrary: a file could not be moved; then nothing is removed.
        """
        check = self._check_of(if_match)
        return self._history.remove(uid, with_file=delete_files, operation_id=operation, check=check)

    def remove_assets(
        self,
        uids: str | Iterable[str] | None = None,
        *,
        ids: Iterable[int] | None = None,
        matching: Mapping[str, Any] | None = None,
        expected: int | None = None,
        delete_files: bool = False,
        dry_run: bool = False,
        operation: int | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> RemovalReport:
        """Forget many assets as one operation of the journal, or tell which; `undo` brings all of them back.

        One that can't be removed is named in the report, and the others are done. It goes by chunks, each in
        one transaction.

        Args:
            uids: the assets; or
            ids: their numbers (``id`` of the records); or
            matching: conditions of `list_assets` by name.
            expected: how many ``matching`` must find, so that nothing is removed that nobody has seen.
            delete_files: move the files to the trash as well; else they stay where they are, unregistered.
            dry_run: change nothing.
            operation: the operation that this belongs to (`new_operation`); one of its own by default.
            should_stop: asked before each chunk; once it says True, the rest is left and named as failed.

        Raises:
            InvalidFilter: not exactly one of ``uids``, ``ids`` and ``matching``, or a wrong one.
            TotalChanged: ``matching`` finds another number of assets; nothing was removed.
        """
        return self._history.remove_many(
            self._chosen(uids, ids, matching, expected),
            with_files=delete_files,
            operation_id=operation,
            is_dry_run=dry_run,
            should_stop=should_stop,
        )

    def move_asset(
        self,
        uid: str,
        path: str | Path,
        *,
        operation: int | None = None,
        if_match: Callable[[AssetRecord], bool] | None = None,
    ) -> AssetRecord:
        """Give an asset another place or name; its file, sidecar and mirror move together, its type stays.

        Args:
            uid: the asset.
            path: where to, below the assets folder. With a slash at its end it is a folder, and the name
                stays; else the suffix has to stay. A name that some systems refuse is made safe.
            operation: the operation that this belongs to (`new_operation`); one of its own by default.
            if_match: gets the record as it is; False refuses, as in `merge_asset_meta`.

        Returns:
            The record as it is now; `undo` moves it back.

        Raises:
            AssetNotFound: no such uid.
            Changed: ``if_match`` says no.
            PathConflict: something lies there, or its file is missing; nothing was changed.
            UnsafePath, OutsideLibrary: refused, nothing was changed.
        """
        wanted, check = _relative(path, "path"), self._check_of(if_match)
        return self._record(self._history.move(uid, wanted, operation_id=operation, check=check))

    def restore_asset(self, uid: str, *, operation: int | None = None) -> AssetRecord:
        """Bring a removed asset back: file, sidecar, tags, licence, versions, provenance, under its old ids.

        If its place is taken by now it comes back beside that, as ``<name>-<first 8 of uid>``. What was
        missing when it was removed comes back missing. Of several removals the last one counts.

        Args:
            uid: the asset.
            operation: the operation that this belongs to (`new_operation`); one of its own by default.

        Raises:
            AssetNotFound: no asset of that uid was ever removed.
            RestoreRefused: it is registered, its file is gone from the trash, or other content lies where its
                file was left.
        """
        return self._record(self._history.restore(uid, operation_id=operation))

    def purge(self, uids: str | Iterable[str] | None = None) -> PurgeReport:
        """Forget assets that are marked missing, as one operation; their sidecars move to the trash.

        Args:
            uids: the assets; None for all that are missing. One whose file is there, or that no rebuild has
                marked missing yet, is refused.

        Returns:
            What was forgotten and what was refused; `undo` takes it back.
        """
        return self._history.purge([uids] if isinstance(uids, str) else uids)

    def iter_missing(self) -> Iterator[AssetRecord]:
        """Yield the assets that are marked missing, newest first."""
        for asset in self._history.missing():
            yield self._record(asset, with_inputs=False)

    # -- lineage --------------------------------------------------------------------------------------

    def lineage(
        self, uid: str, direction: Direction = "both", depth: int = 20, *, with_rejected: bool = False
    ) -> LineageRecord:
        """Return of which assets an asset came, and what came of it.

        Args:
            uid: the asset; also one that is not in the library, if any asset came of it.
            direction: ``ancestors``, ``descendants``, or ``both``.
            depth: so many levels each way.
            with_rejected: along edges that somebody rejected, too.

        Returns:
            At most 10,000 assets, the nearest of each way; ``truncated`` tells that there is more.

        Raises:
            AssetNotFound: no such uid.
            InvalidFilter: there is no such direction, or the depth is below 1.
        """
        _check_number("depth", depth)
        return self._lineage.show(uid, direction, depth, with_rejected=with_rejected)

    def link(
        self, child: str, parent: str, kind: str = "manual", *, operation: int | None = None
    ) -> list[LineageEdge]:
        """Note that an asset came of another one, for certain.

        Args:
            child: what came of it.
            parent: what it came of.
            kind: how: one of `comfyvn.model.LinkKind`.
            operation: the operation that this belongs to (`new_operation`); one of its own by default.

        Returns:
            All parents of the child as they are now. A hand edit that its sidecar holds wins, as always.

        Raises:
            AssetNotFound: one of the two is unknown.
            InvalidMetadata: there is no such kind, or the child has 1,000 parents already.
            LineageCircle: the parent came of the child.
        """
        return self._lineage.link(child, parent, kind, operation)

    def unlink(
        self, child: str, parent: str, kind: str | None = None, *, operation: int | None = None
    ) -> list[LineageEdge]:
        """Forget that an asset came of another one; `reject_parent` says that it did not.

        Args:
            child: what came of it.
            parent: what it came of; it need not be in the library.
            kind: how; None for all kinds.
            operation: as in `link`.

        Returns:
            All parents of the child as they are now.

        Raises:
            AssetNotFound: the child is unknown.
            LinkNotFound: it is not known to come of that.
        """
        return self._lineage.unlink(child, parent, kind, operation)

    def confirm_parent(
        self, child: str, parent: str, kind: str | None = None, *, operation: int | None = None
    ) -> list[LineageEdge]:
        """Say that an asset certainly came of another one, where that was likely or rejected.

        Args:
            child: what came of it.
            parent: what it came of.
            kind: how; None for the kinds that wait for a word, or all if none does.
            operation: as in `link`.

        Returns:
            All parents of the child as they are now.

        Raises:
            AssetNotFound: the child is unknown.
            LinkNotFound: nobody said that it came of that; use `link`.
            LineageCircle: the parent came of the child.
        """
        return self._lineage.judge(child, parent, kind, "certain", operation)

    def reject_parent(
        self, child: str, parent: str, kind: str | None = None, *, operation: int | None = None
    ) -> list[LineageEdge]:
        """Say that an asset did not come of another one: it is shown no more, and never proposed again.

        Arguments, answer and errors are those of `confirm_parent`.
        """
        return self._lineage.judge(child, parent, kind, "rejected", operation)

    def proposed_parents(
        self, uid: str | None = None, *, limit: int = 50, cursor: int | None = None
    ) -> list[ProposedParent]:
        """Return what waits for `confirm_parent` or `reject_parent`, the newest proposal first.

        Args:
            uid: only parents of this asset.
            limit: at most so many.
            cursor: ``id`` of the last one of the page before; only older ones follow.

        Raises:
            InvalidFilter: a limit or cursor below 1.
        """
        _check_number("limit", limit)
        _check_page(None, cursor)
        return self._lineage.proposed(limit, cursor, uid)

    def match(
        self,
        uids: Iterable[str] | None = None,
        *,
        dry_run: bool = False,
        operation: int | None = None,
        on_look: Callable[[], None] = lambda: None,
    ) -> Iterator[MatchRecord]:
        """Look for the origins of pictures that lost what their files told: link and propose them.

        A picture with the very pixels of another one that tells what made it is linked to that, one whose
        twin tells nothing or that only looks like another is proposed
        (`proposed_parents`); where several could be meant, nothing is. Fingerprints that are missing are made
        first, from the previews, of all pictures.

        Args:
            uids: only the origins of these; default: of all pictures.
            dry_run: only tell.
            operation: the operation that this belongs to (`new_operation`); one of its own by default.
            on_look: called for each fingerprint that was made, and each picture that was looked at.

        Returns:
            An iterator, which does the work as it is read and none before (``for each in registry.match():``,
            ``list(registry.match())``): what was found out about each picture.

        Raises:
            AssetNotFound: a uid is unknown.
        """
        matcher, wanted = self._matcher(), None if uids is None else list(uids)
        if wanted is not None:
            self._library.named(wanted)
        matcher.make_fingerprints(on_look)
        number = operation or (None if dry_run else self.new_operation())
        yield from matcher.match(wanted, number, is_dry_run=dry_run, on_look=on_look)

    # -- history --------------------------------------------------------------------------------------

    def new_operation(self) -> int:
        """Return the number of a new operation: changes that are given it are listed and undone as one."""
        return self._library.ledger.reserve_ids(1)[0]

    def history(self, uid: str, *, limit: int | None = None, cursor: int | None = None) -> list[HistoryEntry]:
        """Return what happened to an asset, newest first; also to a removed one.

        Args:
            uid: the asset.
            limit: at most so many.
            cursor: ``seq`` of the last entry of the page before; only older ones follow.

        Raises:
            InvalidFilter: a limit or cursor below 1.
        """
        _check_page(limit, cursor)
        return self._history.entries(uid, limit=limit, cursor=cursor)

    def operations(self, *, limit: int = 50, cursor: int | None = None) -> list[OperationRecord]:
        """Return what was done to the library, newest first.

        Args:
            limit: at most so many.
            cursor: ``operation`` of the last record of the page before; only older ones follow.

        Raises:
            InvalidFilter: a limit or cursor below 1.
        """
        _check_number("limit", limit)
        _check_page(None, cursor)
        return self._history.operations(limit, cursor)

    def undo(self, operation: int, *, should_stop: Callable[[], bool] = lambda: False) -> UndoReport:
        """Take an operation back: an edit, a bulk edit, a registration, a removal, a move, a purge, an undo.

        An asset that was edited, moved into other content or removed since is left as it is and named with
        the reason; so is a change that can't be taken back, such as provenance. The undo is an operation of
        its own, and can be undone. Chunk by chunk, each in one transaction: memory stays bounded.

        Args:
            operation: its number, from `history` or `operations`.
            should_stop: asked before each chunk; once it says True, the rest is left for another undo of the
                same operation, and the report has ``stopped``.

        Raises:
            OperationNotFound: the journal does not know it.
        """
        return self._history.undo(operation, should_stop)

    def resolve_removed_uid(self, name: str) -> str | None:
        """Return the uid of the removed asset that has, or alone begins with, these four or more digits.

        Raises:
            AmbiguousUid: several removed uids begin like that.
        """
        with self._library.read() as rows:
            found = rows.removed_uids_from(name, 5) if len(name) >= 4 else []
        if len(found) > 1 and name not in found:
            raise AmbiguousUid(uid=name, found=", ".join(found))
        return name if name in found else found[0] if found else None

    def journal_position(self) -> int:
        """Return the number (``seq``) of the newest change, to `follow` from; 0 in a new library."""
        return self._history.position()

    def follow(self, since: int | None = None, *, timeout_s: float | None = None) -> Iterator[HistoryEntry]:
        """Yield changes as they are committed, by any process or registry, in order, each once.

        Close the generator (or exhaust it) before the registry: it holds a connection of its own.

        Args:
            since: a ``seq``; only later changes follow. 0 for all, None for what comes from now on.
            timeout_s: end after so many seconds without news; None never ends.

        Raises:
            InvalidFilter: ``since`` is no position.
        """
        if since is not None and (
            isinstance(since, bool) or not isinstance(since, int) or not 0 <= since < 2**63
        ):
            raise InvalidFilter(why=f"since must be a whole number of at least 0, not {since!r:.40}")
        return self._history.follow(since, timeout_s)

    # -- sidecars and files ---------------------------------------------------------------------------

    def ensure_sidecar(self, uid: str, *, overwrite: bool = False) -> Path:
        """Make sure that an asset has its sidecar and return where it lies.

        Hand edits in it are taken into the ledger.

        Args:
            uid: the asset.
            overwrite: write it again even if it is there; a broken one is copied aside first.

        Raises:
            AssetNotFound: no such uid.
            InvalidSidecar: it is broken, and ``overwrite`` is False.
        """
        asset = self._asset(uid)
        if not overwrite:
            self._library.read_sidecar(asset.key, asset.facts)
        done = self._library.change([uid], lambda known: known.facts, force=overwrite)
        if uid not in done:
            raise AssetNotFound(uid=uid, project=self.project_id)
        return self._library.storage.path(self._library.sidecar_key(done[uid].key))

    def read_sidecar(self, uid: str) -> dict[str, Any]:
        """Return what an asset's sidecar says now.

        Raises:
            AssetNotFound: no such uid.
            SidecarMissing: there is none on disk.
            InvalidSidecar: it is not JSON, or not usable.
        """
        asset = self._asset(uid)
        found = self._library.read_sidecar(asset.key)
        if found is None:
            raise SidecarMissing(path=self._library.sidecar_key(asset.key), uid=uid)
        return dict(found.payload)

    def sidecar_path(self, uid: str) -> Path | None:
        """Return where an asset's sidecar lies or would lie, None if the uid is unknown."""
        asset = self._find(uid)
        return None if asset is None else self._library.storage.path(self._library.sidecar_key(asset.key))

    def resolve_path(self, uid: str) -> Path | None:
        """Return where an asset's file lies or should lie, None if the uid is unknown."""
        asset = self._find(uid)
        return None if asset is None else self._library.storage.path(asset.key)

    def resolve_thumbnail_path(self, uid: str | Mapping[str, Any]) -> Path | None:
        """Return the file of an asset's preview (256 px, or the waveform) if it exists.

        Args:
            uid: a uid or a record.
        """
        wanted = uid if isinstance(uid, str) else uid.get("uid")
        asset = self._find(wanted) if isinstance(wanted, str) else None
        paths = self._library.preview_paths(asset) if asset is not None else []
        return paths[0] if paths and paths[0].is_file() else None

    @classmethod
    def wait_for_thumbnails(cls, timeout: float | None = None) -> bool:
        """Wait till all queued previews of this process are made.

        Args:
            timeout: seconds; None waits as long as it takes.

        Returns:
            False if the time was up before that.
        """
        # not loaded: nobody has asked for a preview
        pool = getattr(sys.modules.get("comfyvn.studio.core.previews"), "POOL", None)
        return pool is None or bool(pool.wait(timeout))

    # -- hooks ----------------------------------------------------------------------------------------

    def add_hook(self, event: str, callback: Hook) -> None:
        """Call ``callback(payload)`` after each ``event`` of this registry, once it is committed, in order.

        Payloads are plain dicts of their own (`comfyvn.events`). What a hook raises is logged. A hook may use
        the registry, but must not wait for another thread that changes it.

        Raises:
            UnknownEvent: no event has that name.
        """
        self._library.bus.add(event, callback)

    def remove_hook(self, event: str, callback: Hook) -> None:
        """Forget a hook; one that was never added is fine.

        Raises:
            UnknownEvent: no event has that name.
        """
        self._library.bus.remove(event, callback)

    def iter_hooks(self, event: str | None = None) -> dict[str, tuple[Hook, ...]]:
        """Return the hooks of one event, or of all, as ``{event: (callback, ...)}``.

        Raises:
            UnknownEvent: no event has that name.
        """
        return self._library.bus.hooks(event)

    @property
    def library(self) -> Library:
        """The parts behind this registry, for our own upkeep commands; not a public interface."""
        return self._library

    # -- inside ---------------------------------------------------------------------------------------

    @cached_property
    def _history(self) -> History:
        from comfyvn.studio.core.history import History

        return History(self._library)

    @cached_property
    def _lineage(self) -> Lineage:
        from comfyvn.studio.core.lineage import Lineage

        return Lineage(self._library)

    def _matcher(self) -> Matcher:
        from comfyvn.studio.core.matching import Matcher  # a new one each time: it remembers pictures

        return Matcher(self._library)

    @cached_property
    def _editor(self) -> Editor:
        from comfyvn.studio.core.editing import Editor

        return Editor(self._library)

    def _edit(self, **wanted: Any) -> Edit:
        from comfyvn.studio.core.editing import Edit

        return Edit.build(self._library.limits, **wanted)

    def _check_of(self, if_match: Callable[[AssetRecord], bool] | None) -> Callable[[Asset], None] | None:
        if if_match is None:
            return None

        def check(asset: Asset) -> None:
            if not if_match(self._record(asset)):
                raise Changed(uid=asset.uid)

        return check

    def _registrar(self, *, is_repeatable: bool = False, operation: int | None = None) -> Registrar:
        from comfyvn.studio.core.registration import Registrar

        return Registrar(self._library, is_repeatable=is_repeatable, operation_id=operation)

    def _request_of(self, item: Mapping[str, Any]) -> Request:
        known = {
            "source_path", "asset_type", "dest_relative", "metadata", "copy", "provenance", "license_tag",
            "copy_file", "keep_known", "keep_license", "keep_metadata", "unstated_sources",
        }  # fmt: skip
        if unknown := set(item) - known:
            raise InvalidMetadata(why=f"register_file has no argument {sorted(unknown)[0]!r}")
        is_copy = item.get("copy", True) if item.get("copy_file") is None else item["copy_file"]
        request = self._request(
            item.get("source_path"),
            item.get("asset_type"),
            item.get("dest_relative"),
            item.get("metadata"),
            is_copy,
            item.get("provenance"),
            item.get("license_tag"),
        )
        keeps_known, is_kept = bool(item.get("keep_known")), bool(item.get("keep_license"))
        unstated = item.get("unstated_sources")
        return replace(
            request,
            keeps_known=keeps_known,
            license_given=request.license_given and not is_kept,
            only_adds=bool(item.get("keep_metadata")),
            unstated=None if unstated is None else frozenset(unstated),
        )

    def _request(
        self,
        source_path: object,
        asset_type: object,
        dest_relative: object,
        metadata: Mapping[str, Any] | None,
        is_copy: bool,
        provenance: Mapping[str, Any] | None,
        license_tag: str | None,
        file: BinaryIO | None = None,
    ) -> Request:
        """Check and normalise everything before the first side effect."""
        from comfyvn.studio.core.registration import Request

        if not isinstance(source_path, (str, Path)) or not str(source_path):
            raise UnsafePath(path=source_path, why="the source must be a path")
        source = source_path if isinstance(source_path, Path) else Path(source_path)
        library = self._library
        kind = normalise_type(asset_type)
        facts = parse_facts(metadata, library.limits, normalise_license(license_tag))
        claim = parse_provenance(
            provenance,
            facts.meta,
            user_id=library.config.user,
            commit_hash=library.commit_hash(),
            limits=library.limits,
        )
        facts = replace(facts, parents=claimed_parents(claim.inputs.get("parents")))
        if is_copy:
            wanted = f"{kind}/{source.name}" if dest_relative is None else _relative(dest_relative)
            key = safe_key(wanted, sidecar_suffix=library.sidecar_suffix)
            facts = _keep_original_name(facts, wanted, key)
            target = library.storage.path(key)
            there = source if file is None else file
            is_copy = not (library.storage.exists(key) and _is_same_file(there, target))
        else:
            key = self._key_in_place(source)
        stated = (metadata or {}).get("version", 1)
        return Request(
            source=source,
            type=kind,
            key=key,
            facts=facts,
            claim=claim,
            version=parse_version(stated),
            is_copy=is_copy,
            license_given=license_tag is not None or "license" in (metadata or {}),
            file=file,
        )

    def _key_in_place(self, source: Path) -> str:
        key = self._library.storage.key_of(source)
        if key.partition("/")[0].casefold() in OWN_FOLDERS:
            raise UnsafePath(path=str(source), why="that folder is reserved for comfyvn itself")
        if self._library.is_sidecar(key):
            raise UnsafePath(path=str(source), why="a sidecar can't be an asset")
        return key

    def _keys_on_disk(self, path: Path) -> list[str]:
        try:
            return [self._library.storage.key_of(path)]
        except (ComfyVNError, OSError, ValueError):
            return []

    def _find(self, uid: str) -> Asset | None:
        with self._library.read() as rows:
            return rows.asset(uid)

    def _asset(self, uid: str) -> Asset:
        asset = self._find(uid)
        if asset is None:
            raise AssetNotFound(uid=uid, project=self.project_id)
        return asset

    def _result(self, outcome: Outcome) -> RegisterResult:
        asset = self._record(outcome.asset) if outcome.asset is not None else None
        if asset is not None:
            asset["duplicate"] = outcome.status == "known"
        return RegisterResult(
            source=str(outcome.request.source),
            status=outcome.status,
            asset=asset,
            error=str(outcome.error) if outcome.error is not None else None,
        )

    def _record(self, asset: Asset, *, with_inputs: bool = True) -> AssetRecord:
        newest = asset.provenance
        meta, preview, links = sidecar.describe_shown(asset, self._library.sidecar_suffix)
        return AssetRecord(
            id=asset.id,
            uid=asset.uid,
            project=asset.project_id,
            type=asset.type,
            path=asset.key,
            hash=asset.digest,
            bytes=asset.size_bytes,
            version=asset.version,
            tags=list(asset.facts.tags),
            license=asset.facts.license,
            meta=meta,
            thumb=asset.preview.path,
            preview=preview,
            preview_state=asset.preview.state,
            media=dict(asset.media),
            sidecar=self._library.sidecar_key(asset.key),
            links=links,
            provenance=sidecar.describe_provenance(newest, with_inputs=with_inputs) if newest else None,
            created_at=asset.created_at,
            updated_at=asset.updated_at,
            missing_since=asset.missing_since,
        )


def _card(row: CardRow) -> AssetCard:
    media = row.media
    return AssetCard(
        id=row.id,
        uid=row.uid,
        type=row.type,
        path=row.key,
        bytes=row.size_bytes,
        version=row.version,
        tags=row.meta.get("tags") or [],
        license=row.meta.get("license"),
        rating=_stars(row.meta.get("rating")),
        preview_kind=row.preview_kind,
        preview_state=row.preview_state,
        preview_version=preview_version(row.preview_state, row.version, row.preview_recipe),
        missing_since=row.missing_since,
        media={name: media[name] for name in _ON_CARDS if name in media},
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _stars(rating: object) -> int | None:
    return rating if type(rating) is int and 0 <= rating <= MOST_STARS else None


class _Groups(TypedDict):
    types: list[FacetCount]
    licenses: list[FacetCount]
    tags: list[FacetCount]
    models: list[FacetCount]
    loras: list[FacetCount]
    samplers: list[FacetCount]
    tools: list[FacetCount]


def _groups(found: FacetCounts) -> _Groups:
    tags = [FacetCount(value=name, count=count) for name, count in found.tags]
    if found.untagged:
        tags.append(FacetCount(value=None, count=found.untagged))
        tags.sort(key=lambda each: -each["count"])
    return _Groups(
        types=_counts(found.types),
        licenses=[FacetCount(value=name or None, count=count) for name, count in found.licenses],
        tags=tags,
        models=_counts(found.models),
        loras=_counts(found.loras),
        samplers=_counts(found.samplers),
        tools=_counts(found.tools),
    )


def _counts(found: Iterable[tuple[str, int]]) -> list[FacetCount]:
    return [FacetCount(value=name, count=count) for name, count in found]


def preview_version(state: str, version: int, recipe: int) -> str | None:
    """Return under which name a preview may be kept for ever: another content or recipe has another one.

    Args:
        state: of the preview; only what is ``ready`` has such a name.
        version: of the asset.
        recipe: of the preview.
    """
    return f"{version}-{recipe}" if state == "ready" else None


def _check_page(limit: object, cursor: object) -> None:
    for name, value in (("limit", limit), ("cursor", cursor)):
        if value is not None:
            _check_number(name, value)


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**63:
        raise InvalidFilter(why=f"{name} must be a whole number of at least 1, not {value!r:.40}")


def _wanted(method: str, asset_type: str | Iterable[str] | None, conditions: Conditions) -> AssetFilter:
    """Build the filter that a method was called with.

    Raises:
        TypeError: there is no such condition, which Python would say of a function of ours.
        InvalidFilter: a condition of a wrong type.
    """
    if (why := _unknown_condition(conditions)) is not None:
        raise TypeError(f"{method}(): {why}")
    return AssetFilter.build(asset_type=asset_type, **conditions)


def _filter_of(conditions: Mapping[str, Any]) -> AssetFilter:
    """Build the filter of conditions by the names that `AssetRegistry.list_assets` has for them."""
    if (why := _unknown_condition(conditions)) is not None:
        raise InvalidFilter(why=why)
    return AssetFilter.build(**conditions)


def _unknown_condition(conditions: Mapping[str, Any]) -> str | None:
    """Return which condition there is not, and those that there are; None where all are known."""
    known = ("asset_type", *Conditions.__annotations__)
    unknown = sorted((name for name in conditions if name not in known), key=str)
    return f"there is no condition {unknown[0]!r:.80}; there are {', '.join(known)}" if unknown else None


def _relative(path: object, name: str = "dest_relative") -> str:
    if not isinstance(path, (str, Path)):
        raise UnsafePath(path=path, why=f"{name} must be a path")
    return str(path)


def _is_same_file(source: Path | BinaryIO, target: Path) -> bool:
    """Tell a file that lies already where it would be copied to: it is registered in place."""
    try:
        status = source.stat() if isinstance(source, Path) else os.fstat(source.fileno())
        return os.path.samestat(status, target.stat())
    except (OSError, ValueError):
        return False


def _keep_original_name(facts: Facts, wanted: str, key: str) -> Facts:
    """Remember the name that the user gave where the key could not keep it."""
    name = wanted.replace("\\", "/").rpartition("/")[2]
    if key.rpartition("/")[2] == name or "original_name" in facts.meta:
        return facts
    readable = name.encode(errors="replace").decode()
    return replace(facts, meta={**facts.meta, "original_name": readable})


def _check_suffix(suffix: str) -> str:
    if not suffix.startswith(".") or len(suffix) < 2 or "/" in suffix or "\\" in suffix:
        raise UnsafePath(path=suffix, why="a sidecar suffix starts with a dot and holds no slash")
    return suffix
