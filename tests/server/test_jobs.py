"""Rebuilding and enforcing over HTTP, in the background and as older scripts do it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from comfyvn.server.background import Job
from comfyvn.studio.core import AssetRecord, AssetRegistry
from serving import serve
from support import TIMEOUT_S

Make = Callable[..., Path]


@pytest.fixture
def mara(registry: AssetRegistry, make_png: Make) -> AssetRecord:
    """One asset."""
    return registry.register_file(make_png(), "characters", metadata={"tags": ["mara"]})


@pytest.fixture
def busy(registry: AssetRegistry, client: httpx.Client, mara: AssetRecord) -> Iterator[str]:
    """The id of a job that is at work as long as somebody else holds the library's lock."""
    with registry.library.storage.lock(lambda: None):
        yield client.post("/assets/rebuild").json()["job"]["id"]


def ended(client: httpx.Client, job: str) -> dict[str, Any]:
    """Wait for the end of a job."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        found: dict[str, Any] = client.get(f"/assets/jobs/{job}").json()["job"]
        if found["ended_at"] is not None:
            return found
        assert time.monotonic() < deadline, f"it does not end: {found}"
        time.sleep(0.01)


def test_a_rebuild_in_the_background_takes_in_what_was_put_there(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord, make_png: Make
) -> None:
    """Else a maker would have to leave the browser to bring his library in step."""
    (registry.ASSETS_ROOT / "characters" / "new.png").write_bytes(make_png("n.png", seed=2).read_bytes())
    (registry.ASSETS_ROOT / "characters" / "mara.png.asset.json").unlink()

    started = client.post("/assets/rebuild", json={"enforce_sidecars": True, "verify": True})
    job = ended(client, started.json()["job"]["id"])

    assert started.status_code == 202
    assert started.headers["location"] == f"/assets/jobs/{job['id']}"
    assert (job["state"], job["error"]) == ("done", None)
    assert job["done"] == job["total"] >= 2
    assert [each["path"] for each in job["report"]["rebuild"]["registered"]] == ["characters/new.png"]
    assert job["report"]["rebuild"]["counts"]["registered"] == 1
    assert (registry.ASSETS_ROOT / "characters" / "mara.png.asset.json").is_file()
    assert str(registry.ASSETS_ROOT.parent) not in str(job)


def test_an_enforcement_writes_missing_sidecars(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord
) -> None:
    """Else what a careless clean-up deleted would stay away."""
    (registry.ASSETS_ROOT / mara["sidecar"]).unlink()

    started = client.post("/assets/enforce", json={"fill_metadata": True})
    job = ended(client, started.json()["job"]["id"])

    assert started.status_code == 202
    assert (job["done"], job["total"]) == (1, 1)
    assert job["report"]["audit"]["repaired_sidecars"] == [mara["uid"]]
    assert registry.read_sidecar(mara["uid"])["license"] == "unknown"


def test_one_job_at_a_time(client: httpx.Client, busy: str) -> None:
    """Else two clicks would read a large library twice at once."""
    answers = [
        client.post("/assets/rebuild"),
        client.post("/assets/enforce"),
        client.post("/api/assets/rebuild"),
    ]
    listed = client.get("/assets/jobs").json()["items"]

    assert [each.status_code for each in answers] == [409] * 3
    assert {each.json()["type"] for each in answers} == {"urn:comfyvn:problem:job-running"}
    assert [(each["id"], each["kind"], each["state"]) for each in listed] == [(busy, "rebuild", "running")]
    assert "report" not in listed[0]


def test_a_job_that_waits_can_be_cancelled(client: httpx.Client, busy: str) -> None:
    """Else a rebuild by another program would hold a job, and the end of the server, as long as it takes."""
    client.delete(f"/assets/jobs/{busy}")

    assert ended(client, busy)["state"] == "cancelled"


def test_a_server_ends_with_a_job_at_work(registry: AssetRegistry, mara: AssetRecord) -> None:
    """Else a restart of the machine would wait for the end of a rebuild."""
    with registry.library.storage.lock(lambda: None):
        with serve(registry) as client:
            job = client.post("/assets/rebuild").json()["job"]["id"]
        with serve(registry) as client:
            gone = client.get(f"/assets/jobs/{job}")

    assert gone.status_code == 404


def test_a_cancelled_job_ends_and_the_next_one_goes_on(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord, make_png: Make
) -> None:
    """Else a rebuild of a slow drive could only be stopped together with the server."""
    (registry.ASSETS_ROOT / "characters" / "new.png").write_bytes(make_png("n.png", seed=2).read_bytes())
    with registry.library.storage.lock(lambda: None):
        job = client.post("/assets/rebuild").json()["job"]["id"]
        asked = client.delete(f"/assets/jobs/{job}").json()["job"]
    cancelled = ended(client, job)
    again = client.delete(f"/assets/jobs/{job}").json()["job"]

    then = ended(client, client.post("/assets/rebuild").json()["job"]["id"])

    assert asked["state"] == "cancelling"
    assert (cancelled["state"], cancelled["report"], again["state"]) == ("cancelled", None, "cancelled")
    assert then["state"] == "done"
    assert registry.count_assets() == 2


def test_what_stops_a_job_is_told_as_a_problem(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord, make_png: Make
) -> None:
    """Else a drive that is not mounted would look like a job that found nothing."""
    for seed in range(2, 12):
        registry.register_file(make_png(f"{seed}.png", seed=seed), "props")
    registry.wait_for_thumbnails()
    for path in (registry.ASSETS_ROOT / "props").glob("*.png"):
        path.unlink()

    job = ended(client, client.post("/assets/rebuild").json()["job"]["id"])
    allowed = ended(client, client.post("/assets/rebuild", json={"allow_missing": True}).json()["job"]["id"])

    assert (job["state"], job["report"]) == ("failed", None)
    assert job["error"]["type"] == "urn:comfyvn:problem:library-changed"
    assert allowed["report"]["rebuild"]["removed"] == 10


def test_what_nobody_foresaw_ends_a_job_without_a_trace(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a fault of ours would leave a job at work for ever, and no other could be started."""

    def fail(_: Job, count: int = 1) -> None:
        raise ZeroDivisionError(f"in /home/mika/{count}")

    monkeypatch.setattr(Job, "advance", fail)
    job = ended(client, client.post("/assets/enforce").json()["job"]["id"])
    monkeypatch.undo()

    assert job["state"] == "failed"
    assert job["error"]["type"] == "urn:comfyvn:problem:server-fault"
    assert "mika" not in str(job)


@pytest.mark.parametrize("route", ["rebuild", "enforce"])
@pytest.mark.parametrize("body", [{"verify": 1}, {"assets_root": "/etc"}, [], {"fix_missing": "yes"}])
def test_a_job_takes_its_options_and_no_path(client: httpx.Client, route: str, body: object) -> None:
    """Else a request could have another folder of the machine read."""
    assert client.post(f"/assets/{route}", json=body).status_code == 422


def test_an_unknown_job_is_not_found(client: httpx.Client) -> None:
    """Else a script would wait for ever for a job of the server before."""
    assert client.get("/assets/jobs/x").status_code == client.delete("/assets/jobs/x").status_code == 404
    assert client.get("/assets/jobs").json() == {"ok": True, "items": []}


# -- as older scripts do it -------------------------------------------------------------------------------


def test_the_older_rebuild_waits_and_answers_its_summary(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord
) -> None:
    """Else scripts of older releases would read nothing out of the answer."""
    body = {
        "assets_root": str(registry.ASSETS_ROOT),
        "db_path": "comfyvn/data/comfyvn.db",
        "thumbs_root": None,
        "project_id": "default",
        "remove_stale": True,
        "wait_for_thumbs": False,
    }

    answer = client.post("/api/assets/rebuild", json=body)

    assert answer.status_code == 200
    assert answer.json()["summary"] == {
        "processed": 1,
        "skipped": 0,
        "removed": 0,
        "assets_root": "assets",
        "thumb_root": "cache/thumbs",
    }


def test_the_older_enforcement_waits_and_answers_its_report(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord
) -> None:
    """Else scripts of older releases would read nothing out of the answer."""
    (registry.ASSETS_ROOT / mara["sidecar"]).unlink()

    answer = client.post("/api/assets/enforce", json={"fix_missing": True}).json()

    assert answer["report"]["missing_sidecars"] == [mara["uid"]]
    assert answer["report"]["repaired_sidecars"] == [mara["uid"]]
    assert answer["report"]["metadata_missing"] == [{"uid": mara["uid"], "fields": ["license"]}]


@pytest.mark.parametrize(
    "body", [{"assets_root": "/etc"}, {"db_path": "other.db"}, {"thumbs_root": "\0"}, {"project_id": "other"}]
)
def test_the_older_rebuild_works_on_no_other_library(client: httpx.Client, body: dict[str, str]) -> None:
    """Else a request could have another folder of the machine read and written."""
    assert client.post("/api/assets/rebuild", json=body).status_code == 422


def test_the_older_rebuild_tells_what_stopped_it(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord
) -> None:
    """Else a script would take a failed rebuild for one that found nothing."""
    registry.wait_for_thumbnails()
    (registry.ASSETS_ROOT / ".comfyvn" / "library.json").unlink()

    answer = client.post("/api/assets/rebuild")

    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:comfyvn:problem:library-unreachable"
