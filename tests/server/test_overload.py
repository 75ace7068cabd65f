"""Questions that take too long, and answers that would be too large: others must not wait for them."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from comfyvn.db.engine import GIVE_UP
from comfyvn.errors import InvalidFilter, TooBusy
from comfyvn.server import lists
from comfyvn.studio.core import AssetRecord, AssetRegistry
from serving import running, serve
from support import TIMEOUT_S

ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
PLACES = 3


class Endless:
    """Facets that SQLite counts for ever; tells when it begins and how each question ended."""

    def __init__(self, registry: AssetRegistry) -> None:
        self._engine = registry.library.ledger.engine
        self.begun = threading.Semaphore(0)
        self.ended = threading.Semaphore(0)

    def __call__(self, **_: Any) -> None:
        self.begun.release()
        try:
            with self._engine.read() as connection:
                connection.execute(ENDLESS).fetchall()
        except TooBusy:
            self.ended.release()
            raise


@pytest.fixture
def endless(registry: AssetRegistry, monkeypatch: pytest.MonkeyPatch) -> Endless:
    """A library whose facets never come to an end."""
    found = Endless(registry)
    monkeypatch.setattr(registry, "facets", found)
    return found


@pytest.fixture
def known(registry: AssetRegistry, tmp_path: Path) -> list[AssetRecord]:
    """Twelve assets with a long text each, newest first."""
    for number in range(12):
        path = tmp_path / f"{number:02}.txt"
        path.write_text(f"text {number}")
        registry.register_file(path, "notes", metadata={"story": "x" * 1000})
    return registry.list_assets()


def open_facets(client: httpx.Client) -> socket.socket:
    """Ask for facets and wait for nothing."""
    address = urlsplit(str(client.base_url))
    opened = socket.create_connection((address.hostname, address.port), timeout=TIMEOUT_S)
    opened.sendall(b"GET /assets/facets?q=night HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return opened


# -- conditions -------------------------------------------------------------------------------------------


def test_too_many_conditions_are_refused(client: httpx.Client, registry: AssetRegistry) -> None:
    """Each is looked up for every asset: hundreds took half a minute, a thousand broke SQLite's parser."""
    many = [f"width!={number}" for number in range(21)]

    by_where = client.get("/assets", params={"where": many})
    by_thousand = client.get("/assets", params={"where": many * 45})
    by_tags = client.get("/assets", params={"tag": [f"tag-{number}" for number in range(101)]})

    assert by_where.status_code == by_thousand.status_code == by_tags.status_code == 422
    assert "21 conditions in where, the limit is 20" in by_where.json()["detail"]
    assert "101 tags, the limit is 100" in by_tags.json()["detail"]
    assert client.get("/assets", params={"where": many[:20]}).status_code == 200
    with pytest.raises(InvalidFilter):
        registry.list_assets(where=many)


# -- questions that nobody waits for ----------------------------------------------------------------------


def test_a_reader_can_be_told_to_give_up_and_its_connection_reads_on(registry: AssetRegistry) -> None:
    """A thread would count for hours after its client left; or the next question would be cut off too."""
    engine = registry.library.ledger.engine
    asked = iter([False, False, False])
    token = GIVE_UP.set(lambda: next(asked, True))
    try:
        with pytest.raises(TooBusy), engine.read() as connection:
            connection.execute(ENDLESS).fetchall()
    finally:
        GIVE_UP.reset(token)

    with engine.read() as again:
        assert again is connection
        assert again.execute("SELECT count(*) FROM json_each(?)", (json.dumps([0] * 50_000),)).fetchone() == (
            50_000,
        )


def test_a_change_is_never_given_up(registry: AssetRegistry, tmp_path: Path) -> None:
    """Else half of what somebody asked to have changed would be missing."""
    engine = registry.library.ledger.engine
    token = GIVE_UP.set(lambda: True)
    try:
        with engine.write() as connection:
            connection.execute(
                "CREATE TABLE mine AS SELECT value FROM json_each(?)", (json.dumps([0] * 50_000),)
            )
    finally:
        GIVE_UP.reset(token)

    with engine.read() as connection:
        assert connection.execute("SELECT count(*) FROM mine").fetchone() == (50_000,)


def test_a_question_ends_when_its_client_leaves(client: httpx.Client, endless: Endless) -> None:
    """A few clients that hang up at once held all places for as long as SQLite had to count."""
    left = [open_facets(client) for _ in range(3 * PLACES)]
    for _ in range(PLACES):
        assert endless.begun.acquire(timeout=TIMEOUT_S)

    for each in left:
        each.close()

    for _ in range(PLACES):
        assert endless.ended.acquire(timeout=TIMEOUT_S)
    assert client.get("/assets", params={"where": "width>1"}).status_code == 200


def test_health_is_told_while_every_place_is_taken(client: httpx.Client, endless: Endless) -> None:
    """Else a supervisor would take a busy server for a dead one, and kill it."""
    busy = [open_facets(client) for _ in range(4 * PLACES)]
    for _ in range(PLACES):
        assert endless.begun.acquire(timeout=TIMEOUT_S)

    answer = client.get("/healthz", timeout=TIMEOUT_S)

    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    for each in busy:
        each.close()


def test_a_question_ends_when_its_time_is_over(
    project: Path, open_registry: Callable[..., AssetRegistry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer that it took too long came, and its thread counted on."""
    (project / "comfyvn.toml").write_text("request_time_s = 0.3\n")
    registry = open_registry()
    endless = Endless(registry)
    monkeypatch.setattr(registry, "facets", endless)

    with serve(registry) as client:
        answers = [client.get("/assets/facets") for _ in range(PLACES + 1)]

        assert {each.status_code for each in answers} == {503}
        assert answers[0].json()["type"] == "urn:comfyvn:problem:too-long"
        for _ in answers:
            assert endless.ended.acquire(timeout=TIMEOUT_S)


def test_the_server_ends_in_the_middle_of_questions(registry: AssetRegistry, endless: Endless) -> None:
    """Ctrl+C would wait for what nobody will read."""
    with running(registry) as (server, address), httpx.Client(base_url=address) as client:
        busy = [open_facets(client) for _ in range(PLACES + 1)]
        for _ in range(PLACES):
            assert endless.begun.acquire(timeout=TIMEOUT_S)

        server.handle_exit(signal.SIGTERM, None)

        for _ in range(PLACES):
            assert endless.ended.acquire(timeout=TIMEOUT_S)
        for each in busy:
            each.close()


# -- large answers ----------------------------------------------------------------------------------------


def test_a_repeated_id_is_answered_once(client: httpx.Client, known: list[AssetRecord]) -> None:
    """A small question with one id a thousand times made an answer of a quarter of a gigabyte."""
    first, second = known[0]["id"], known[1]["id"]

    for full in (True, False):
        answer = client.post("/assets/rows", json={"ids": [second, first, 5, second, 5] * 100, "full": full})

        assert [each["id"] for each in answer.json()["items"]] == [second, first]
        assert answer.json()["missing"] == [5]


def test_rows_that_would_make_a_huge_answer_are_to_be_asked_for_in_parts(
    client: httpx.Client, known: list[AssetRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a question of ten kilobytes fills the server's memory."""
    ids = [each["id"] for each in known]
    monkeypatch.setattr(lists, "PIECE", 4)
    monkeypatch.setattr(lists, "ANSWER_BYTES", 5_000)
    monkeypatch.setattr(lists, "_FEW", 4)

    refused = client.post("/assets/rows", json={"ids": ids, "full": True})

    assert refused.status_code == 422
    assert "ask for fewer" in refused.json()["detail"]
    assert len(client.post("/assets/rows", json={"ids": ids[:4], "full": True}).json()["items"]) == 4


def pages(client: httpx.Client, path: str, **asked: Any) -> Iterator[dict[str, Any]]:
    """Yield the pages of a list as a client reads them on."""
    cursor: int | None = None
    while True:
        answer = client.get(path, params={**asked, **({} if cursor is None else {"cursor": cursor})})
        assert answer.status_code == 200, answer.text
        yield answer.json()
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return


@pytest.mark.parametrize("path", ["/assets", "/assets/{uid}/history", "/assets/{uid}/provenance"])
def test_a_page_that_has_become_large_ends_early_and_the_next_goes_on(
    client: httpx.Client,
    registry: AssetRegistry,
    known: list[AssetRecord],
    monkeypatch: pytest.MonkeyPatch,
    path: str,
) -> None:
    """Else a thousand large records come at once; or some would be on no page."""
    uid = known[0]["uid"]
    for number in range(8):
        registry.update_asset_meta(uid, {"story": f"{number}" * 1000})
    whole = client.get(path.format(uid=uid), params={"limit": 100}).json()["items"]
    monkeypatch.setattr(lists, "PIECE", 2)
    monkeypatch.setattr(lists, "ANSWER_BYTES", 100)
    monkeypatch.setattr(lists, "_FEW", 0)

    found = list(pages(client, path.format(uid=uid), limit=100))

    assert [each for page in found for each in page["items"]] == whole
    assert all(len(page["items"]) <= 2 for page in found)
    if path == "/assets":
        assert {page["total"] for page in found} == {len(whole)}


# -- large bodies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        '{"ids":[' + ",".join("0" * 490_000) + "]}",
        '{"ids":[' + ",".join(["-1"] * 300_000) + "]}",
        "{" + ",".join(f'"{number:x}":0' for number in range(90_000)) + "}",
    ],
    ids=["zeros", "negative", "unknown keys"],
)
def test_a_body_with_ever_so_many_faults_is_refused_in_short(client: httpx.Client, body: str) -> None:
    """To describe half a million faults and tell the first held up everybody for two seconds."""
    answer = client.post("/assets/rows", content=body, headers={"content-type": "application/json"})

    assert answer.status_code == 422
    assert len(answer.content) < 1_000


def test_an_error_does_not_repeat_a_huge_key(client: httpx.Client) -> None:
    """Else a log or a page would be flooded by what somebody sent."""
    key = "a" * 400_000

    answer = client.post(
        "/assets/rows",
        content=f'{{"{key}":1,"{key}":1}}',
        headers={"content-type": "application/json"},
    )

    assert answer.status_code == 400
    assert "stands twice" in answer.json()["detail"]
    assert len(answer.content) < 1_000
