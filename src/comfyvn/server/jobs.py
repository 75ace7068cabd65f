"""Rebuilding and enforcing in the background, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Request
from pydantic import Field
from starlette.responses import Response

from comfyvn.config import Config
from comfyvn.errors import ComfyVNError, InvalidRequest, JobNotFound, JobRunning, ServerFault
from comfyvn.server.access import may_read, may_write
from comfyvn.server.answers import json_answer, problem_body, scrub
from comfyvn.server.background import Job
from comfyvn.server.description import NOT_MODIFIED, problems
from comfyvn.server.questions import Body, body_of, read_optional_body
from comfyvn.server.schemas import EnforcedAnswer, JobAnswer, JobList, RebuiltAnswer
from comfyvn.server.state import State, here
from comfyvn.studio.core import AssetRegistry

__all__ = ["router"]

router = APIRouter()
_NAMED: Final = 1_000
JobId = Annotated[str, Path(description="`id` of the job.")]


class RebuildBody(Body):
    """What a rebuild is to do; as the options of `comfyvn rebuild`."""

    remove_stale: bool = Field(True, description="Mark assets whose file is gone as missing.")
    allow_missing: bool = Field(False, description="Even if they are more than a fifth.")
    verify: bool = Field(False, description="Read every file, also those that look untouched.")
    enforce_sidecars: bool = Field(False, description="Then write sidecars and mirrors that are missing.")
    overwrite_sidecars: bool = Field(False, description="Write every sidecar again.")
    fix_metadata: bool = Field(False, description="Guess missing tags and licences from the folders.")
    wait_for_thumbs: bool = Field(True, description="Wait for the previews before the audit.")


class EnforceBody(Body):
    """What an enforcement is to do; as the options of `assets_enforcer.py`."""

    fix_missing: bool = Field(True, description="Write missing sidecars and mirrors.")
    overwrite: bool = Field(False, description="Write every sidecar again.")
    fill_metadata: bool = Field(False, description="Guess missing tags and licences from the folders.")


class OlderRebuild(Body):
    """The body of older releases; the places may only be those of the library that is served."""

    assets_root: str | None = None
    db_path: str | None = None
    thumbs_root: str | None = None
    project_id: str | None = None
    remove_stale: bool = True
    wait_for_thumbs: bool = True


# -- routes -----------------------------------------------------------------------------------------------


@router.post(
    "/assets/rebuild",
    status_code=202,
    response_model=JobAnswer,
    dependencies=[Depends(may_write)],
    responses=problems(JobRunning),
    openapi_extra=body_of(RebuildBody, is_required=False),
)
async def start_rebuild(request: Request) -> Response:
    """Start to bring the ledger in step with the assets folder; no asset is ever deleted."""
    state = here(request)
    wanted = await read_optional_body(request, RebuildBody)
    return _started(state, await _start(state, "rebuild", wanted, _rebuilding(state.registry, wanted)))


@router.post(
    "/assets/enforce",
    status_code=202,
    response_model=JobAnswer,
    dependencies=[Depends(may_write)],
    responses=problems(JobRunning),
    openapi_extra=body_of(EnforceBody, is_required=False),
)
async def start_enforce(request: Request) -> Response:
    """Start to check that every asset has its sidecar, and to write those that are missing."""
    state = here(request)
    wanted = await read_optional_body(request, EnforceBody)
    return _started(state, await _start(state, "enforce", wanted, _enforcing(state.registry, wanted)))


@router.get("/assets/jobs", dependencies=[Depends(may_read)], response_model=JobList, responses=NOT_MODIFIED)
async def list_jobs(request: Request) -> Response:
    """List the jobs since the server was started, newest first, without their reports."""
    state = here(request)
    items = [_shown(job, state.config, with_report=False) for job in state.jobs.all()]
    return json_answer({"ok": True, "items": items}, request=request)


@router.get(
    "/assets/jobs/{job}",
    dependencies=[Depends(may_read)],
    response_model=JobAnswer,
    responses=NOT_MODIFIED | problems(JobNotFound),
)
async def show_job(request: Request, job: JobId) -> Response:
    """Return how far a job is, and its report when it has ended."""
    state = here(request)
    return json_answer({"ok": True, "job": _shown(state.jobs.get(job), state.config)}, request=request)


@router.delete(
    "/assets/jobs/{job}",
    dependencies=[Depends(may_write)],
    response_model=JobAnswer,
    responses=problems(JobNotFound),
)
async def cancel_job(request: Request, job: JobId) -> Response:
    """Ask a job to end at its next safe point; what it has done stays, the next one goes on from there."""
    state = here(request)
    found = state.jobs.get(job)
    found.cancel()
    return json_answer({"ok": True, "job": _shown(found, state.config)})


@router.post(
    "/api/assets/rebuild",
    dependencies=[Depends(may_write)],
    response_model=RebuiltAnswer,
    responses=problems(JobRunning),
    openapi_extra=body_of(OlderRebuild, is_required=False),
)
async def rebuild_older(request: Request) -> Response:
    """Rebuild and wait for the end, as older releases did."""
    state = here(request)
    older = await read_optional_body(request, OlderRebuild)
    _check_places(older, state.config)
    stated = older.model_dump(include={"remove_stale", "wait_for_thumbs"})
    wanted = RebuildBody.model_validate(stated)
    report = (await _finished(state, "rebuild", wanted, _rebuilding(state.registry, wanted)))["rebuild"]
    summary = {
        "processed": report["processed"],
        "skipped": report["counts"]["skipped"],
        "removed": report["removed"],
        "assets_root": report["assets_root"],
        "thumb_root": report["thumb_root"],
    }
    return json_answer({"ok": True, "summary": summary})


@router.post(
    "/api/assets/enforce",
    dependencies=[Depends(may_write)],
    response_model=EnforcedAnswer,
    responses=problems(JobRunning),
    openapi_extra=body_of(EnforceBody, is_required=False),
)
async def enforce_older(request: Request) -> Response:
    """Check sidecars, write missing ones, and wait for the end, as older releases did."""
    state = here(request)
    wanted = await read_optional_body(request, EnforceBody)
    report = await _finished(state, "enforce", wanted, _enforcing(state.registry, wanted))
    return json_answer({"ok": True, "report": report["audit"]})


# -- work -------------------------------------------------------------------------------------------------


def _rebuilding(registry: AssetRegistry, wanted: RebuildBody) -> Callable[[Job], dict[str, Any]]:
    def work(job: Job) -> dict[str, Any]:
        from comfyvn.registry.rebuild import audit_sidecars, rebuild

        report = rebuild(
            registry,
            mark_missing=wanted.remove_stale,
            allow_missing=wanted.allow_missing,
            verify=wanted.verify,
            on_files=job.advance,
        )
        if wanted.wait_for_thumbs:
            while not registry.wait_for_thumbnails(0.1):
                job.advance(0)
        job.advance(0)
        audit = audit_sidecars(
            registry,
            fix_missing=wanted.enforce_sidecars,
            overwrite=wanted.overwrite_sidecars,
            fill_metadata=wanted.fix_metadata,
            on_asset=lambda: job.advance(0),
        )
        return {"rebuild": report.as_dict(), "audit": audit.as_dict()}

    return work


def _enforcing(registry: AssetRegistry, wanted: EnforceBody) -> Callable[[Job], dict[str, Any]]:
    def work(job: Job) -> dict[str, Any]:
        from comfyvn.registry.audit import audit_sidecars, check_library

        check_library(registry.library)
        audit = audit_sidecars(
            registry,
            fix_missing=wanted.fix_missing,
            overwrite=wanted.overwrite,
            fill_metadata=wanted.fill_metadata,
            on_asset=job.advance,
        )
        return {"audit": audit.as_dict()}

    return work


async def _start(state: State, kind: str, wanted: Body, work: Callable[[Job], dict[str, Any]]) -> Job:
    total = await state.run(state.registry.count_assets)

    def bounded(job: Job) -> dict[str, Any]:
        return {name: _bounded(part, state.config) for name, part in work(job).items()}

    return state.jobs.start(kind, wanted.model_dump(), total, bounded)


async def _finished(
    state: State, kind: str, wanted: Body, work: Callable[[Job], dict[str, Any]]
) -> dict[str, Any]:
    """Start a job, wait for it, and return its report or raise what stopped it."""
    job = await _start(state, kind, wanted, work)
    await state.jobs.wait(job)
    if job.error is not None:
        raise job.error
    if job.report is None:
        raise InvalidRequest(why=f"the job {job.id} was cancelled before its end")
    return job.report


def _started(state: State, job: Job) -> Response:
    headers = {"location": f"/assets/jobs/{job.id}"}
    return json_answer({"ok": True, "job": _shown(job, state.config)}, status=202, headers=headers)


def _shown(job: Job, config: Config, *, with_report: bool = True) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "done": job.done,
        "total": job.total,
        "options": job.options,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
        "error": None if job.error is None else _problem_of(job, job.error, config),
    }
    return {**shown, "report": job.report} if with_report else shown


def _problem_of(job: Job, error: Exception, config: Config) -> dict[str, Any]:
    known = error if isinstance(error, ComfyVNError) else ServerFault(request=f"of the job {job.id}")
    return problem_body(type(known), scrub(str(known), config))


def _bounded(report: dict[str, Any], config: Config) -> dict[str, Any]:
    """Return a report as it is sent: the first 1,000 of each list, ``counts`` of all, no place outside."""
    lists = {name: value for name, value in report.items() if isinstance(value, list)}
    named = {uid for value in lists.values() for uid in map(_uid, value[:_NAMED])}
    bounded: dict[str, Any] = {}
    for name, value in report.items():
        if isinstance(value, list):
            bounded[name] = _scrubbed(value[:_NAMED], config)
        elif isinstance(value, dict):  # the paths of uids
            bounded[name] = {uid: path for uid, path in value.items() if uid in named}
        else:
            bounded[name] = _scrubbed(value, config)
    return {**bounded, "counts": {name: len(value) for name, value in lists.items()}}


def _uid(item: Any) -> Any:
    return item.get("uid") if isinstance(item, dict) else item


def _scrubbed(value: Any, config: Config) -> Any:
    if isinstance(value, str):
        return scrub(value, config)
    if isinstance(value, list):
        return [_scrubbed(each, config) for each in value]
    if isinstance(value, dict):
        return {name: _scrubbed(each, config) for name, each in value.items()}
    return value


def _check_places(older: OlderRebuild, config: Config) -> None:
    """Refuse a place that is not the one served: no request names a path of this machine.

    Raises:
        InvalidRequest: it is another one.
    """
    ours = {
        "assets_root": config.assets_root,
        "db_path": config.db,
        "thumbs_root": config.thumbs_root,
    }
    for name, place in ours.items():
        stated = getattr(older, name)
        if stated is not None and "\0" not in stated and config.home / stated == place:
            continue
        if stated is not None:
            raise InvalidRequest(why=f"{name}: this server works on its own library; leave it out")
    if older.project_id not in (None, config.project):
        raise InvalidRequest(why=f"project_id: this server works on the project {config.project!r}")
