"""Changing: metadata of one asset or many, removal and restoring, taking operations back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from comfyvn.config import Config
from comfyvn.errors import (
    AssetNotFound,
    Changed,
    ImportMissing,
    InvalidAssetType,
    InvalidFilter,
    InvalidMetadata,
    InvalidRequest,
    InvalidSidecar,
    NoDesktop,
    OperationNotFound,
    OutsideLibrary,
    PathConflict,
    RequestRefused,
    RestoreRefused,
    SourceChanged,
    SourceMissing,
    SourceUnreadable,
    TotalChanged,
    UnsafePath,
)
from comfyvn.model import MOST_STARS, Problem
from comfyvn.server.access import may_read, may_write
from comfyvn.server.answers import asset_etag, json_answer, scrub
from comfyvn.server.description import NOT_MODIFIED, problems
from comfyvn.server.lists import gather, named
from comfyvn.server.places import destination, open_import, origin_of
from comfyvn.server.questions import Body, Cursor, Limit, body_of, page_size, read_body, read_json
from comfyvn.server.reveal import check_is_here, open_file_manager
from comfyvn.server.schemas import (
    AssetAnswer,
    BulkAnswer,
    ChangedAnswer,
    DeletedAnswer,
    OperationList,
    RemovalAnswer,
    UidAnswer,
    UndoAnswer,
)
from comfyvn.server.state import State, here
from comfyvn.studio.core import AssetRecord, AssetRegistry

__all__ = ["RegisterBody", "asset_answer", "register_existing", "router"]

router = APIRouter()
_OPERATIONS_PAGE: Final = 50
_NAMED: Final = 1_000
_LAST: Final = 8
_ANY: Final = "*"

Uid = Annotated[str, Path(description="`uid` of the asset.")]


class BulkFilter(Body):
    """Which assets: the conditions of a list. Without any it is all of them."""

    type: str | list[str] | None = Field(None, description="The exact type, or any of several.")
    hash: str | None = Field(None, description="The exact SHA-256, ignoring case.")
    tags: list[str] = Field([], description="All of these, ignoring case.")
    license: str | list[str] | None = Field(
        None, description="Ignoring case, or any of several; empty for assets without one."
    )
    q: str | list[str] | None = Field(
        None, description="A part of the path, the metadata's texts or the file's own, or all of several."
    )
    where: list[str] = Field([], description="What the file tells about itself, such as `width>=1024`.")
    not_types: list[str] = Field([], description="None of these types.")
    not_tags: list[str] = Field([], description="None of these, ignoring case.")
    not_licenses: list[str] = Field([], description="None of these; empty: not those without one.")
    problems: list[Problem] = Field([], description="Any of these.")
    uid: str | None = Field(None, description="Four or more of the uid's first digits.")
    workflow: str | None = Field(None, description="A workflow hash, or 8 or more of its first characters.")
    descends_from: str | None = Field(None, description="The uid of an asset that they came from.")
    rating: int | None = Field(None, ge=0, le=MOST_STARS, description="At least so many stars; 0: all.")
    models: list[str] = Field([], description="Made with all of these models.")
    loras: list[str] = Field([], description="Made with all of these LoRAs.")
    samplers: list[str] = Field([], description="Made with any of these samplers.")
    tools: list[str] = Field([], description="Made by any of these tools.")
    seed: str | None = Field(None, description="Made from this seed: digits.")

    def conditions(self) -> dict[str, Any]:
        """Return them by the names that `AssetRegistry.list_assets` has."""
        return {
            "asset_type": self.type or None,
            "hash_value": self.hash or None,
            "tags": self.tags,
            "text": self.q or None,
            "license": self.license,
            "where": self.where,
            "not_types": self.not_types,
            "not_tags": self.not_tags,
            "not_licenses": self.not_licenses,
            "problems": self.problems,
            "uid": self.uid or None,
            "workflow": self.workflow or None,
            "descends_from": self.descends_from or None,
            "min_rating": self.rating,
            "models": self.models,
            "loras": self.loras,
            "samplers": self.samplers,
            "tools": self.tools,
            "seed": self.seed or None,
        }


class Choice(Body):
    """Which assets: in one of three ways."""

    uids: list[str] | None = Field(None, description="The assets; or", fail_fast=True)
    ids: list[Annotated[int, Field(ge=1, lt=2**63)]] | None = Field(
        None, description="their `id`, as in the index; or", fail_fast=True
    )
    filter: BulkFilter | None = Field(None, description="what they have in common.")
    expected: int | None = Field(
        None, ge=0, description="How many `filter` finds, as you have seen it; not needed for a dry run."
    )
    dry_run: bool = Field(False, description="Change nothing; tell what would change.")

    def chosen(self) -> dict[str, Any]:
        """Return them by the names that `AssetRegistry.bulk_edit` has."""
        matching = None if self.filter is None else self.filter.conditions()
        return {"uids": self.uids, "ids": self.ids, "matching": matching, "expected": self.expected}


class RemovalBody(Choice):
    """Which assets are to be removed."""


class BulkBody(Choice):
    """Which assets are to be changed, and how."""

    add_tags: list[str] = Field([], description="Tags that all of them get.")
    remove_tags: list[str] = Field([], description="Tags that none of them keeps, ignoring case.")
    license: str | None = Field(None, description="The licence that all get; empty or null clears it.")
    metadata: dict[str, Any] | None = Field(None, description="A merge patch, applied before the rest.")


class MoveBody(Body):
    """Where an asset is to lie."""

    path: str = Field(
        description="Below the assets folder; with a slash at its end a folder, and the name stays."
    )


class RegisterBody(Body):
    """A file that lies on the machine of the server."""

    path: str = Field(description="Below the assets folder or one of the setting `import_roots`.")
    asset_type: str = "generic"
    dest_path: str | None = Field(None, description="A file or a folder, relative to the assets folder.")
    metadata: dict[str, Any] | None = None
    copy_file: bool | None = Field(None, description="False registers it where it lies, below the assets.")
    copy_legacy: bool | None = Field(None, alias="copy", description="The older name of `copy_file`.")
    provenance: dict[str, Any] | None = None
    license: str | None = Field(None, description="Empty clears that of known content.")


# -- one asset --------------------------------------------------------------------------------------------


@router.patch(
    "/assets/{uid}",
    dependencies=[Depends(may_write)],
    response_model=ChangedAnswer,
    responses=problems(AssetNotFound, Changed, InvalidMetadata, PathConflict),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                name: {"schema": {"type": "object", "description": "Keys of the metadata; null deletes one."}}
                for name in ("application/merge-patch+json", "application/json")
            },
        }
    },
)
async def patch_asset(request: Request, uid: Uid) -> Response:
    """Change some of an asset's metadata and leave the rest: a JSON merge patch (RFC 7396).

    With ``If-Match`` and the entity tag of the asset as you read it, a change that somebody made since is
    not overwritten unseen. What its preview has become since then does not count.
    """
    state = here(request)
    patch = await read_json(request)
    if not isinstance(patch, dict):
        raise InvalidRequest(why="the body must be an object with keys of the metadata")
    merge = state.registry.merge_asset_meta
    return await state.run(_changed, state.registry, merge, uid, patch, if_match=_if_match(request))


def _changed(
    registry: AssetRegistry, change: Callable[..., AssetRecord], *arguments: Any, **options: Any
) -> Response:
    """Change an asset as an operation of its own, and answer with both."""
    operation = registry.new_operation()
    record = change(*arguments, operation=operation, **options)
    with registry.library.read() as rows:
        is_known = rows.has_operation(operation)
    return asset_answer(record, {"operation": operation if is_known else None})


@router.post(
    "/assets/{uid}/move",
    dependencies=[Depends(may_write)],
    response_model=ChangedAnswer,
    responses=problems(AssetNotFound, Changed, InvalidSidecar, OutsideLibrary, PathConflict, UnsafePath),
    openapi_extra=body_of(MoveBody),
)
async def move_asset(request: Request, uid: Uid) -> Response:
    """Give an asset another place or name: its file, sidecar and mirror move together; its type stays.

    The suffix stays, too. Never over another file. With ``If-Match`` as for a patch.
    """
    state = here(request)
    body = await read_body(request, MoveBody)
    move = state.registry.move_asset
    return await state.run(_changed, state.registry, move, uid, body.path, if_match=_if_match(request))


@router.delete(
    "/assets/{uid}",
    dependencies=[Depends(may_write)],
    response_model=DeletedAnswer,
    responses=problems(AssetNotFound, Changed, OutsideLibrary),
)
async def delete_asset(
    request: Request,
    uid: Uid,
    remove_files: Annotated[bool, Query(description="As older releases: the answer says `removed`.")] = False,
) -> Response:
    """Forget an asset; its file and sidecar move to the library's trash, from where restoring takes them."""
    state = here(request)
    operation, keys = await state.run(_remove, state.registry, uid, _if_match(request))
    moved = {"removed" if remove_files else "trashed": keys}
    return json_answer({"ok": True, "uid": uid, **moved, "operation": operation})


def _remove(
    registry: AssetRegistry, uid: str, if_match: Callable[[AssetRecord], bool] | None
) -> tuple[int, list[str]]:
    """Remove an asset; return the operation, and the keys of what has come into the trash."""
    operation = registry.new_operation()
    if not registry.remove_asset(uid, delete_files=True, operation=operation, if_match=if_match):
        raise AssetNotFound(uid=f"{uid:.80}", project=registry.project_id)
    for entry in registry.history(uid, limit=_LAST):
        if entry["event"] == "asset_removed" and entry["operation"] == operation:
            told = entry["after"] or {}
            is_trashed = registry.library.storage.is_trashed
            return operation, [key for key in told["keys"] if is_trashed(told["trash"], key)]
    return operation, []


@router.post(
    "/assets/{uid}/restore",
    dependencies=[Depends(may_write)],
    response_model=ChangedAnswer,
    responses=problems(AssetNotFound, RestoreRefused),
)
async def restore_asset(request: Request, uid: Uid) -> Response:
    """Bring a removed asset back: file, sidecar, tags, licence, versions, provenance."""
    state = here(request)
    return await state.run(_changed, state.registry, state.registry.restore_asset, uid)


@router.post(
    "/assets/{uid}/reveal",
    dependencies=[Depends(may_write)],
    response_model=UidAnswer,
    responses=problems(AssetNotFound, NoDesktop, RequestRefused, SourceMissing),
)
async def reveal_asset(request: Request, uid: Uid) -> Response:
    """Show an asset's file in the file manager of this machine, to who sits before it."""
    check_is_here(request)
    state = here(request)
    await state.run(_reveal, state, uid)
    return json_answer({"ok": True, "uid": uid})


def _reveal(state: State, uid: str) -> None:
    record, storage = named(state, uid), state.registry.library.storage
    if storage.stat(record["path"]) is None:
        raise SourceMissing(path=record["path"])
    open_file_manager(storage.path(record["path"]))


@router.post(
    "/assets/register",
    dependencies=[Depends(may_write)],
    response_model=AssetAnswer,
    responses=problems(
        ImportMissing,
        InvalidAssetType,
        InvalidMetadata,
        OutsideLibrary,
        PathConflict,
        SourceChanged,
        SourceUnreadable,
        UnsafePath,
    ),
    openapi_extra=body_of(RegisterBody),
)
async def register_asset(request: Request) -> Response:
    """Register a file that lies on the machine of the server; links are not followed."""
    state = here(request)
    return asset_answer(await register_existing(state, await read_body(request, RegisterBody)))


async def register_existing(state: State, body: RegisterBody) -> AssetRecord:
    """Register a file that lies on the machine of the server.

    Raises:
        ComfyVNError: what is wrong with it.
    """
    if body.copy_file is not None and body.copy_legacy not in (None, body.copy_file):
        raise InvalidRequest(why="copy and copy_file say different things")
    return await state.run(_register, state.registry, state.config, body)


def _register(registry: AssetRegistry, config: Config, body: RegisterBody) -> AssetRecord:
    is_copy = body.copy_legacy if body.copy_file is None else body.copy_file
    file, place = open_import(config, body.path)
    with file:
        return registry.register_open_file(
            file,
            place,
            body.asset_type,
            dest_relative=destination(registry, body.asset_type, body.dest_path, place.name),
            metadata=body.metadata,
            copy_file=is_copy is not False,
            provenance=origin_of(body.provenance, body.metadata, "api.register_existing"),
            license_tag=body.license,
        )


# -- many -------------------------------------------------------------------------------------------------


@router.post(
    "/assets/bulk",
    dependencies=[Depends(may_write)],
    response_model=BulkAnswer,
    responses=problems(InvalidFilter, InvalidMetadata, TotalChanged),
    openapi_extra=body_of(BulkBody),
)
async def edit_assets(request: Request) -> Response:
    """Change tags, licence and metadata of many assets as one operation, or tell what would change.

    One that can't be changed is named in ``failed``, and the others are done. ``counts`` counts all; the
    lists name the first 1,000 each, ``plan`` of a dry run the first 100. Where the server is ended meanwhile,
    the answer has ``stopped``, and the rest is counted in ``failed``.
    """
    state = here(request)
    body = await read_body(request, BulkBody)
    _check_bulk(body, state.config)
    report = await state.run(
        state.registry.bulk_edit,
        **body.chosen(),
        add_tags=body.add_tags,
        remove_tags=body.remove_tags,
        license_tag=(body.license or "") if "license" in body.model_fields_set else None,
        metadata=body.metadata,
        dry_run=body.dry_run,
        should_stop=state.closing.is_set,
    )
    failed = [{**each, "why": scrub(each["why"], state.config)} for each in report["failed"]]
    return json_answer({"ok": True, **report, "failed": failed})


@router.post(
    "/assets/remove",
    dependencies=[Depends(may_write)],
    response_model=RemovalAnswer,
    responses=problems(InvalidFilter, TotalChanged),
    openapi_extra=body_of(RemovalBody),
)
async def remove_assets(request: Request) -> Response:
    """Remove many assets as one operation, or tell which; one undo brings all of them back.

    Their files and sidecars move to the library's trash. One that can't be removed is named in ``failed``,
    and the others are done. ``counts`` counts all; the lists name the first 1,000 each, ``plan`` of a dry run
    the first 100. Where the server is ended meanwhile, the answer has ``stopped``, and the rest is counted in
    ``failed``.
    """
    state = here(request)
    body = await read_body(request, RemovalBody)
    _check_choice(body, state.config)
    report = await state.run(
        state.registry.remove_assets,
        **body.chosen(),
        delete_files=True,
        dry_run=body.dry_run,
        should_stop=state.closing.is_set,
    )
    failed = [{**each, "why": scrub(each["why"], state.config)} for each in report["failed"]]
    return json_answer({"ok": True, **report, "failed": failed})


def _check_bulk(body: BulkBody, config: Config) -> None:
    _check_choice(body, config)
    has_license = "license" in body.model_fields_set
    if not (body.add_tags or body.remove_tags or body.metadata or has_license):
        raise InvalidRequest(why="nothing to do: give add_tags, remove_tags, license or metadata")


def _check_choice(body: Choice, config: Config) -> None:
    given = [name for name in ("uids", "ids", "filter") if getattr(body, name) is not None]
    if len(given) != 1:
        raise InvalidRequest(why="give exactly one of uids, ids and filter")
    for name, stated in (("uids", body.uids), ("ids", body.ids)):
        if stated is not None and len(stated) > config.bulk_assets:
            raise InvalidRequest(why=f"{name}: at most {config.bulk_assets} of them (setting bulk_assets)")
    if body.filter is None and body.expected is not None:
        raise InvalidRequest(why="expected belongs to filter")
    if body.filter is not None and body.expected is None and not body.dry_run:
        raise InvalidRequest(why="with filter, expected says how many assets you mean; a dry run counts them")


# -- operations -------------------------------------------------------------------------------------------


@router.get(
    "/assets/operations",
    dependencies=[Depends(may_read)],
    response_model=OperationList,
    responses=NOT_MODIFIED | problems(InvalidFilter),
)
async def list_operations(request: Request, limit: Limit = None, cursor: Cursor = None) -> Response:
    """List what was done to the library, newest first; 50 unless ``limit`` is given."""
    state = here(request)
    size = page_size(state.config, limit, _OPERATIONS_PAGE)
    items, following = await state.ask(request, gather, state.registry.operations, size, cursor, "operation")
    return json_answer({"ok": True, "items": items, "next_cursor": following}, request=request)


@router.post(
    "/assets/operations/{operation}/undo",
    dependencies=[Depends(may_write)],
    response_model=UndoAnswer,
    responses=problems(OperationNotFound),
)
async def undo_operation(
    request: Request, operation: Annotated[int, Path(ge=1, lt=2**63, description="Its number.")]
) -> Response:
    """Take an operation back; what was changed since is left as it is, and named with the reason.

    Where the server is ended meanwhile, the answer has ``stopped``: another undo of it takes back the rest.
    """
    state = here(request)
    report = await state.run(state.registry.undo, operation, should_stop=state.closing.is_set)
    refused = [{**each, "why": scrub(each["why"], state.config)} for each in report["refused"][:_NAMED]]
    answer = {
        "ok": True,
        "operation": report["operation"],
        "counts": {
            "undone": len(report["undone"]),
            "refused": len(report["refused"]),
            "kept": len(report["kept"]),
        },
        "undone": report["undone"][:_NAMED],
        "refused": refused,
        "kept": report["kept"][:_NAMED],
        **({"stopped": True} if report.get("stopped") else {}),
    }
    return json_answer(answer)


# -- inside -----------------------------------------------------------------------------------------------


def asset_answer(record: AssetRecord, besides: Mapping[str, Any] = MappingProxyType({})) -> Response:
    """Answer with an asset as it is now, and the entity tag that it has when it is read."""
    plain: dict[str, Any] = {name: value for name, value in record.items() if name != "duplicate"}
    return json_answer({"ok": True, "asset": record, **besides}, headers={"etag": asset_etag(plain)})


def _if_match(request: Request) -> Callable[[AssetRecord], bool] | None:
    """Return what ``If-Match`` wants of an asset; only the part of a tag before its dot counts."""
    stated = request.headers.getlist("if-match")
    tags = [tag.strip() for line in stated for tag in line.split(",")]
    if not stated or _ANY in tags:
        return None  # an empty one is no "any": a script whose variable was empty meant something else
    wanted = {_facts_part(tag) for tag in tags if tag.startswith('"')}
    return lambda record: _facts_part(asset_etag(record)) in wanted


def _facts_part(tag: str) -> str:
    return tag.strip('"').partition(".")[0]
