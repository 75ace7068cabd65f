"""The shapes of answers, for the description of the server; what routes send is encoded from plain dicts.

An answer may grow by keys: clients must not mind those that they don't know.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from comfyvn import model

__all__ = [
    "Answer",
    "AssetAnswer",
    "AssetList",
    "AssetRecord",
    "BulkAnswer",
    "BulkCounts",
    "Card",
    "ChangedAnswer",
    "DeletedAnswer",
    "EnforcedAnswer",
    "FacetAnswer",
    "FacetCount",
    "FlatAnswer",
    "FlatAsset",
    "FlatList",
    "FlatRegistered",
    "HistoryEntry",
    "HistoryList",
    "HooksAnswer",
    "Job",
    "JobAnswer",
    "JobList",
    "JobSummary",
    "Kept",
    "LineageAnswer",
    "LineageEdge",
    "LineageNode",
    "ModderHook",
    "ModderHooksAnswer",
    "Moment",
    "OperationList",
    "OperationRecord",
    "OperationSummary",
    "ParentsAnswer",
    "PlannedEdit",
    "PlannedRemoval",
    "Problem",
    "ProblemCount",
    "ProposalList",
    "ProposedParent",
    "Provenance",
    "ProvenanceList",
    "RebuildSummary",
    "RebuiltAnswer",
    "RecentEvent",
    "RecentEvents",
    "Refused",
    "RemovalAnswer",
    "RemovalCounts",
    "RowList",
    "SearchFilters",
    "SelectionAnswer",
    "Shape",
    "SidecarAnswer",
    "TermCount",
    "TermList",
    "UidAnswer",
    "UndoAnswer",
    "UndoCounts",
    "UploadAnswer",
    "UploadedFile",
    "Waveform",
]


def _tidy(schema: dict[str, Any]) -> None:
    """Leave out what pydantic adds of its own: titles, and the defaults of keys that may be absent."""
    schema.pop("title", None)
    for each in schema.get("properties", {}).values():
        each.pop("title", None)
        each.pop("default", None)


class Shape(BaseModel):
    """The base of all shapes. A key with a default may be absent."""

    model_config = ConfigDict(json_schema_extra=_tidy, frozen=True)


Uid = Annotated[
    str, Field(description="16 or more hexadecimal digits; for good.", examples=["74447c55c74f2d7a"])
]
Time = Annotated[str, Field(description="UTC.", examples=["2026-11-23 03:06:21"])]
Moment = Annotated[str, Field(description="UTC, ISO 8601.", examples=["2026-11-23T03:06:21.302Z"])]
Key = Annotated[
    str,
    Field(
        description="Where the file lies, from the assets folder.",
        examples=["characters/mara/mara_happy.png"],
    ),
]
Tags = Annotated[list[str], Field(examples=[["mara", "smile"]])]
Licence = Annotated[
    str | None, Field(description="As people wrote it; null without one.", examples=["CC0-1.0"])
]
Cursor = Annotated[
    int | None, Field(description="Give it as `cursor` for the page behind; null on the last page.")
]
Operation = Annotated[
    int | None,
    Field(description="The operation, for an undo; null if nothing was changed.", examples=[244586828541952]),
]
Event = Annotated[str, Field(examples=["asset_registered"])]
PreviewState = Literal["none", "pending", "ready", "failed"]
Ok = Annotated[Literal[True], Field(description="Always true; a failure is a problem.")]


class Problem(Shape):
    """Why a request was refused or failed (RFC 9457)."""

    type: Annotated[str, Field(description="Stable: scripts may compare it. The errors are in errors.md.")]
    title: Annotated[str, Field(description="The kind of problem in words.")]
    status: Annotated[int, Field(description="The HTTP status.")]
    detail: Annotated[str, Field(description="What is wrong and what to do, for people; may change.")]
    instance: Annotated[str, Field(description="The path that was asked for.")] = ""


class Answer(Shape):
    """What every answer of success has."""

    ok: Ok


class Provenance(Shape):
    """Where a file came from."""

    id: int
    asset_id: int
    asset_uid: Uid
    source: Annotated[str, Field(examples=["comfyui"])]
    workflow_hash: str | None
    commit_hash: str | None
    user_id: str | None
    created_at: Time
    inputs: Annotated[dict[str, Any] | None, Field(description="Not in lists.")] = None
    c2pa_like: Annotated[dict[str, Any] | None, Field(description="Not in lists.")] = None


class AssetRecord(Shape):
    """One asset."""

    id: Annotated[int, Field(description="Below 2^53; newer assets have larger ones.")]
    uid: Uid
    project: Annotated[str, Field(examples=["default"])]
    type: Annotated[str, Field(examples=["characters"])]
    path: Key
    hash: Annotated[str, Field(description="SHA-256 of the content, without our marker.")]
    bytes: Annotated[int, Field(description="The size of that content.")]
    version: Annotated[int, Field(description="One more each time the content changes.", ge=1)]
    tags: Tags
    license: Licence
    meta: Annotated[dict[str, Any], Field(description="All metadata: tags, license and preview among it.")]
    thumb: Annotated[str | None, Field(description="The name of the smaller preview.")]
    preview: dict[str, Any] | None
    preview_state: PreviewState
    media: Annotated[dict[str, Any], Field(description="What the file tells about itself.")]
    sidecar: Annotated[str, Field(description="Where its sidecar lies, from the assets folder.")]
    links: dict[str, Any]
    provenance: Annotated[Provenance | None, Field(description="The newest; in lists without inputs.")]
    created_at: Time
    updated_at: Time
    missing_since: Annotated[Time | None, Field(description="Since when the file is gone.")]
    duplicate: Annotated[bool, Field(description="After a registration: the content was known already.")] = (
        False
    )


class AssetAnswer(Answer):
    """One asset."""

    asset: AssetRecord


class AssetList(Answer):
    """A page of assets, newest first."""

    items: list[AssetRecord]
    total: Annotated[int, Field(description="How many match, on all pages.")]
    next_cursor: Cursor


class SidecarAnswer(Answer):
    """What the sidecar of an asset says now."""

    uid: Uid
    path: Annotated[str, Field(description="Where it lies, from the assets folder.")]
    sidecar: dict[str, Any]


class ProvenanceList(Answer):
    """All provenance of an asset, newest first."""

    uid: Uid
    items: list[Provenance]
    next_cursor: Cursor


class HistoryEntry(Shape):
    """One row of the journal."""

    seq: Annotated[int, Field(description="Grows with every change of the library.")]
    at: Moment
    actor: Annotated[str | None, Field(description="Who did it.")]
    event: Event
    uid: Uid
    operation: int
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class HistoryList(Answer):
    """What happened to an asset, newest first."""

    uid: Uid
    items: list[HistoryEntry]
    next_cursor: Cursor


class FacetCount(Shape):
    """How many assets have one value."""

    value: Annotated[str | None, Field(description="null: those without one.", examples=["characters"])]
    count: int


class ProblemCount(Shape):
    """With how many assets something is wrong."""

    value: model.Problem
    count: int


class FacetAnswer(Answer):
    """How many assets match and what they are; each list is counted without its own condition."""

    total: int
    types: list[FacetCount]
    licenses: list[FacetCount]
    tags: list[FacetCount]
    models: list[FacetCount]
    loras: list[FacetCount]
    samplers: list[FacetCount]
    tools: list[FacetCount]
    problems: Annotated[list[ProblemCount], Field(description="All there are, always in this order.")]


class SelectionAnswer(Answer):
    """What some assets are."""

    total: Annotated[int, Field(description="How many of the ids have an asset.")]
    types: list[FacetCount]
    licenses: list[FacetCount]
    tags: list[FacetCount]
    models: list[FacetCount]
    loras: list[FacetCount]
    samplers: list[FacetCount]
    tools: list[FacetCount]
    missing: Annotated[int, Field(description="How many of the ids have none.")]


class Waveform(Shape):
    """The loudness of a sound from its beginning to its end."""

    kind: Literal["waveform"]
    channels: int
    sample_rate: int
    duration_s: float
    points: Annotated[list[float], Field(description="Peaks from 0 to 1, at most 512.")]


class Card(Shape):
    """What a gallery shows of one asset."""

    id: int
    uid: Uid
    type: Annotated[str, Field(examples=["characters"])]
    path: Key
    bytes: Annotated[int, Field(description="The size of the content.")]
    version: Annotated[int, Field(description="One more each time the content changes.", ge=1)]
    tags: Tags
    license: Licence
    rating: Annotated[
        int | None, Field(description="The metadata key of this name, if it is from 0 to 5.", ge=0, le=5)
    ]
    preview_kind: Annotated[str | None, Field(examples=["thumbnail"])]
    preview_state: PreviewState
    preview_version: Annotated[
        str | None, Field(description="For `?v=` of the preview's address, so that it may be kept for good.")
    ]
    missing_since: Time | None
    media: Annotated[dict[str, Any], Field(description="The facts that fit on a card.")]
    created_at: Time
    updated_at: Time


class RowList(Answer):
    """Assets in the order that was asked for."""

    items: Annotated[list[Card] | list[AssetRecord], Field(description="Whole records with `full`.")]
    missing: Annotated[list[int], Field(description="Ids of no asset.")]


class TermCount(Shape):
    """A type, tag or licence, and how many assets have it."""

    name: Annotated[str, Field(examples=["characters"])]
    count: int


class TermList(Answer):
    """What is in use, the most frequent first."""

    items: list[TermCount]


class LineageNode(Shape):
    """An asset of a lineage."""

    id: Annotated[int | None, Field(description="null where the library has no such asset.")]
    uid: Uid
    path: Annotated[Key | None, Field(description="null where the library has no such asset.")]
    type: Annotated[str | None, Field(examples=["characters"])]
    depth: Annotated[
        int, Field(description="0: the one that was asked about; -2: two levels up; 1: one down.")
    ]
    is_known: Annotated[bool, Field(description="The library has it.")]
    is_missing: Annotated[bool, Field(description="The library has it, but its file is gone.")]


class LineageEdge(Shape):
    """One asset came from another."""

    child: Uid
    parent: Annotated[Uid, Field(description="May be an asset that the library does not have.")]
    kind: model.LinkKind
    certainty: Annotated[
        model.Certainty, Field(description="`likely` waits for confirmation; `rejected` was a no.")
    ]
    found: Annotated[str, Field(description="How it was found.", examples=["script", "hand", "marker"])]


class LineageAnswer(Answer):
    """What an asset came from, and what came from it."""

    uid: Uid
    nodes: Annotated[
        list[LineageNode], Field(description="The asset, then ancestors and descendants, nearest first.")
    ]
    edges: Annotated[list[LineageEdge], Field(description="All between these assets.")]
    truncated: Annotated[bool, Field(description="There is more, beyond `depth` or 10,000 assets.")]


class ProposedParent(Shape):
    """An edge that waits for confirmation."""

    id: int
    child: Uid
    child_path: Key
    parent: Uid
    parent_path: Annotated[Key | None, Field(description="null where the library has no such asset.")]
    kind: model.LinkKind
    found: Annotated[str, Field(description="How it was found.", examples=["similar"])]


class ProposalList(Answer):
    """What waits for confirmation, the newest first."""

    items: list[ProposedParent]
    next_cursor: Cursor


# -- changing ---------------------------------------------------------------------------------------------


class ParentsAnswer(Answer):
    """What an asset comes from, as it is now."""

    uid: Uid
    parents: list[LineageEdge]
    operation: Operation


class ChangedAnswer(AssetAnswer):
    """An asset as it is now."""

    operation: Operation


class DeletedAnswer(Answer):
    """An asset is forgotten; what the trash has got stands under one of the two names."""

    uid: Uid
    trashed: Annotated[list[str], Field(description="What has come into the trash.")] = []
    removed: Annotated[list[str], Field(description="The same, with `remove_files`.")] = []
    operation: Operation


class UidAnswer(Answer):
    """It is done."""

    uid: Uid


class Refused(Shape):
    """An asset that is not as it was wanted, and why."""

    uid: Uid
    why: str
    path: Key = ""
    id: Annotated[int, Field(description="The `id` that was asked for, if no asset has it.")] = 0


class Kept(Shape):
    """A change that stays, and why."""

    uid: Uid
    event: Event
    why: str


class BulkCounts(Shape):
    """How many assets were asked for, and what became of them."""

    total: int
    changed: int
    unchanged: int
    failed: int


class PlannedEdit(Shape):
    """What a bulk edit would do to one asset."""

    uid: Uid
    path: Key
    tags_added: list[str]
    tags_removed: list[str]
    license: Annotated[list[str | None], Field(description="Now and then; absent where it stays.")] = []
    metadata: Annotated[list[str], Field(description="Other keys that would change.")]


class BulkAnswer(Answer):
    """What was done to many assets, or with `dry_run` would be."""

    operation: Operation
    dry_run: bool
    counts: BulkCounts
    changed: Annotated[list[Uid], Field(description="The first 1,000.")]
    unchanged: Annotated[list[Uid], Field(description="The first 1,000.")]
    failed: Annotated[list[Refused], Field(description="The first 1,000.")]
    plan: Annotated[list[PlannedEdit], Field(description="The first 100 of a dry run.")]
    stopped: Annotated[bool, Field(description="True where the server ended first; else absent.")] = False


class RemovalCounts(Shape):
    """How many assets were to be removed, and what became of them."""

    total: int
    removed: int
    failed: int


class PlannedRemoval(Shape):
    """An asset that would be removed."""

    uid: Uid
    path: Key


class RemovalAnswer(Answer):
    """Which assets were removed, or with `dry_run` would be."""

    operation: Operation
    dry_run: bool
    counts: RemovalCounts
    removed: Annotated[list[Uid], Field(description="The first 1,000.")]
    failed: Annotated[list[Refused], Field(description="The first 1,000.")]
    plan: Annotated[list[PlannedRemoval], Field(description="The first 100 of a dry run.")]
    stopped: Annotated[bool, Field(description="True where the server ended first; else absent.")] = False


class OperationSummary(Shape):
    """What an operation changed in the first of its assets; a key is absent where that is nothing."""

    add_tags: list[str] = []
    remove_tags: list[str] = []
    license: Annotated[str | None, Field(description="The new one, if all got the same.")] = None
    metadata: Annotated[list[str], Field(description="Other keys.")] = []
    moved_from: Annotated[Key, Field(description="Of the first asset.")] = ""
    moved_to: Annotated[Key, Field(description="Of the first asset.")] = ""


class OperationRecord(Shape):
    """One operation: an edit, a bulk edit, a registration, a removal, an undo."""

    operation: int
    at: Annotated[Moment, Field(description="When it ended.")]
    actor: str | None
    kind: Literal["register", "edit", "move", "remove", "restore", "undo", "rebuild", "sidecars"]
    text: Annotated[str, Field(description="What it was, in a sentence; may change.")]
    path: Annotated[str, Field(description="Where its first asset lies, or lay; empty if unknown.")]
    summary: OperationSummary
    events: Annotated[dict[str, int], Field(description="How many rows of each event it wrote.")]
    assets: Annotated[int, Field(description="About how many assets.")]
    is_undoable: Annotated[bool, Field(description="It did something that an undo takes back.")]
    undoes: Annotated[int | None, Field(description="The operation that it took back.")]
    undone_by: Annotated[
        int | None, Field(description="The newest operation that took it, or some of it, back.")
    ]


class OperationList(Answer):
    """What was done to the library, newest first."""

    items: list[OperationRecord]
    next_cursor: Cursor


class UndoCounts(Shape):
    """How much of an operation was taken back."""

    undone: int
    refused: int
    kept: int


class UndoAnswer(Answer):
    """What an undo did; each list names the first 1,000."""

    operation: Operation
    counts: UndoCounts
    undone: list[Uid]
    refused: list[Refused]
    kept: list[Kept]
    stopped: Annotated[bool, Field(description="True where the server ended first; else absent.")] = False


class UploadedFile(Shape):
    """What became of one of several files."""

    name: Annotated[str, Field(description="As the client named it.")]
    asset: AssetRecord | None = None
    error: Problem | None = None


class UploadAnswer(Shape):
    """What came in: `asset` of one file, `items` of several."""

    ok: Annotated[bool, Field(description="Whether all files came in.")]
    asset: AssetRecord | None = None
    items: list[UploadedFile] | None = None
    operation: Operation = None


# -- jobs -------------------------------------------------------------------------------------------------


class JobSummary(Shape):
    """How far a job is."""

    id: str
    kind: Annotated[str, Field(examples=["rebuild"])]
    state: Literal["running", "cancelling", "done", "failed", "cancelled"]
    done: int
    total: Annotated[int, Field(description="An estimate till the end.")]
    options: dict[str, Any]
    started_at: Time
    ended_at: Time | None
    error: Problem | None


class Job(JobSummary):
    """How far a job is, and its report."""

    report: Annotated[
        dict[str, Any] | None,
        Field(description="As the command's; the first 1,000 of each list, and `counts` of all."),
    ]


class JobAnswer(Answer):
    """One job."""

    job: Job


class JobList(Answer):
    """The jobs since the server was started, newest first."""

    items: list[JobSummary]


# -- older scripts ----------------------------------------------------------------------------------------


class FlatAsset(Shape):
    """One asset as older scripts know it."""

    id: Uid
    uid: Uid
    type: str
    hash: str
    bytes: int
    tags: Tags
    license: Licence
    origin: str | None
    version: int
    created_at: Time
    metadata: dict[str, Any]
    links: dict[str, Any]
    sidecar: str
    path: Key
    thumb: str = ""
    preview: dict[str, Any] = {}
    thumbnails: dict[str, Any] = {}


class FlatAnswer(Answer):
    """One asset."""

    asset: FlatAsset


class FlatRegistered(FlatAnswer):
    """A registered asset."""

    asset_id: Uid


class SearchFilters(Shape):
    """What was asked for."""

    type: Annotated[str | list[str] | None, Field(description="A list where there were several.")]
    tags: list[str]
    license: Annotated[str | list[str] | None, Field(description="A list where there were several.")]
    q: Annotated[str | list[str] | None, Field(description="A list where there were several.")]
    limit: int


class FlatList(Answer):
    """What a search found, newest first."""

    total: int
    items: list[FlatAsset]
    filters: SearchFilters
    debug: Annotated[dict[str, Any], Field(description="With `include_debug`.")] = {}


class RebuildSummary(Shape):
    """What a rebuild did, in the words of older releases."""

    processed: int
    skipped: int
    removed: int
    assets_root: str
    thumb_root: str


class RebuiltAnswer(Answer):
    """What a rebuild did."""

    summary: RebuildSummary


class EnforcedAnswer(Answer):
    """What an enforcement found and did."""

    report: dict[str, Any]


class HooksAnswer(Answer):
    """Who listens, by event."""

    hooks: dict[str, list[str]]


class ModderHook(Shape):
    """An event under the name that modders know."""

    name: Annotated[str, Field(examples=["on_asset_registered"])]
    aliases: list[str]
    hook_event: Event
    payload: Annotated[list[str], Field(description="The keys of what it tells.")]


class ModderHooksAnswer(Answer):
    """Events under the names that modders know."""

    hooks: list[ModderHook]


class RecentEvent(Shape):
    """Something that happened."""

    event: Annotated[str | None, Field(description="The name that modders know, if it has one.")]
    hook_event: Event
    timestamp: Moment
    uid: Uid
    seq: int
    operation: int
    actor: str | None
    payload: dict[str, Any] | None


class RecentEvents(Answer):
    """What has happened last, newest first."""

    items: list[RecentEvent]
