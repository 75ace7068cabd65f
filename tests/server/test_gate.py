"""The gate: names, origins, limits, security headers, request ids, numbers and the access log."""

from __future__ import annotations

import io
import json
import logging
import re
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response, StreamingResponse

from comfyvn.db.tokens import Tokens
from comfyvn.server import app as application
from comfyvn.server.access import may_read
from comfyvn.server.access_log import AccessLog
from comfyvn.server.gate import SECURITY
from comfyvn.studio.core import AssetRegistry
from serving import converse, serve
from support import TIMEOUT_S

FOREIGN = "http://pages.example"
LISTED = "http://127.0.0.1:8188"


@pytest.fixture
def extra_routes(monkeypatch: pytest.MonkeyPatch) -> APIRouter:
    """A router of the test's own, served with the others."""
    router = APIRouter(dependencies=[Depends(may_read)])
    monkeypatch.setattr(application.health, "router", _joined(application.health.router, router))
    return router


def _joined(first: APIRouter, second: APIRouter) -> APIRouter:
    both = APIRouter()
    both.include_router(first)
    both.include_router(second)
    return both


def numbers(client: httpx.Client) -> dict[str, float]:
    """Return what /metrics says, by name and labels."""
    lines = client.get("/metrics").text.splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))
    }


# -- names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "0.0.0.0:{port}",
        "127.0.0.1@evil.example",
        "[::ffff:198.51.100.7]",
        "198.51.100.7",
        "a b",
        "::1",
        "[]",
        "127.0.0.1:",
        "*",
    ],
)
def test_a_name_that_is_not_ours_is_refused(client: httpx.Client, host: str) -> None:
    """Else a page could have its own name point here and then read the library (DNS rebinding)."""
    answer = client.get("/assets", headers={"host": host.format(port=client.base_url.port)})

    assert answer.status_code == 421
    assert answer.json()["type"] == "urn:comfyvn:problem:host-refused"
    assert "allowed_hosts" in answer.json()["detail"]


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:80", "[::1]:7", "localhost."]
)
def test_a_loopback_name_is_ours(client: httpx.Client, host: str) -> None:
    """Else forwarded ports and `localhost` would not work."""
    assert client.get("/assets", headers={"host": host}).status_code == 200


def test_a_listed_name_is_ours(
    open_registry: Callable[..., AssetRegistry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nobody could put the server behind a name of his own."""
    monkeypatch.setenv("COMFYVN_ALLOWED_HOSTS", "VN.example.com, studio.local:9000")
    registry = open_registry()
    _, text = Tokens(registry.library.ledger.engine, "default").create("ci", "admin")

    with serve(registry, token=text) as client:
        hosts = ["vn.EXAMPLE.com", "vn.example.com:443", "studio.local:9000", "studio.local", "x.example.com"]
        answers = [client.get("/assets", headers={"host": host}).status_code for host in hosts]

    assert answers == [200, 200, 200, 421, 421]


def test_the_address_at_which_somebody_arrived_is_ours(registry: AssetRegistry) -> None:
    """Else a server on the network could only be reached by names that somebody listed."""
    _, text = Tokens(registry.library.ledger.engine, "default").create("ci", "admin")

    with serve(registry, is_exposed=True, host="127.0.0.2", token=text) as client:
        arrived = client.get("/assets")

    assert arrived.status_code == 200


def test_everybody_may_ask_how_it_is(registry: AssetRegistry) -> None:
    """Else whoever watches over the server would need a token and a listed name."""
    with serve(registry, is_exposed=True) as client:
        answer = client.get("/healthz", headers={"host": "balancer.example", "authorization": "Bearer wrong"})

    assert answer.status_code == 200
    assert answer.json() == {"ok": True}


def test_a_ledger_that_cannot_be_read_is_told(registry: AssetRegistry, client: httpx.Client) -> None:
    """Else a broken server would look well from outside."""
    client.get("/healthz").raise_for_status()
    registry.close()
    for path in registry.db_path.parent.iterdir():
        path.unlink()
    registry.db_path.mkdir()

    answer = client.get("/healthz")

    assert answer.status_code == 503
    assert answer.json() == {"ok": False}


# -- other pages ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE", "PROPFIND"])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": FOREIGN},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "https://127.0.0.1"},
        {"origin": "file://"},
        {"origin": ""},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
    ids=str,
)
def test_a_change_from_another_page_is_refused(
    client: httpx.Client, method: str, headers: dict[str, str]
) -> None:
    """Else any page that a maker looks at could change or delete his assets."""
    answer = client.request(method, "/assets/0123456789abcdef", headers=headers)

    assert answer.status_code == 403
    assert answer.json()["type"] == "urn:comfyvn:problem:origin-refused"


def test_a_page_of_our_own_may_change(client: httpx.Client) -> None:
    """Else the Studio could not work."""
    own = str(client.base_url).rstrip("/")

    first = client.patch("/assets/0123456789abcdef", json={}, headers={"origin": own})
    second = client.patch("/assets/0123456789abcdef", json={}, headers={"sec-fetch-site": "same-origin"})
    script = client.patch("/assets/0123456789abcdef", json={})

    assert [first.status_code, second.status_code, script.status_code] == [404, 404, 404]


def test_a_listed_page_may_read_and_change(
    open_registry: Callable[..., AssetRegistry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else ComfyUI's page could not use the library, though its maker says so."""
    monkeypatch.setenv("COMFYVN_ALLOWED_ORIGINS", LISTED)
    asks = {"origin": LISTED, "access-control-request-method": "PATCH"}

    with serve(open_registry()) as client:
        asked = client.options("/assets/0123456789abcdef", headers=asks)
        read = client.get("/assets", headers={"origin": LISTED, "sec-fetch-site": "same-site"})
        changed = client.patch("/assets/0123456789abcdef", json={}, headers={"origin": LISTED})
        foreign_asks = client.options("/assets/0123456789abcdef", headers={**asks, "origin": FOREIGN})
        foreign = client.get("/assets", headers={"origin": FOREIGN})

    assert asked.status_code == 204
    assert "PATCH" in asked.headers["access-control-allow-methods"]
    assert "authorization" in asked.headers["access-control-allow-headers"]
    for answer in (asked, read, changed):
        assert answer.headers["access-control-allow-origin"] == LISTED
        assert "origin" in answer.headers["vary"].lower()
        assert "access-control-allow-credentials" not in answer.headers
    assert changed.status_code == 404
    for answer in (foreign_asks, foreign):
        assert "access-control-allow-origin" not in answer.headers
        assert "origin" in answer.headers["vary"].lower()


def test_no_other_page_is_told_that_it_may(client: httpx.Client) -> None:
    """Else a browser would hand the answers to every page."""
    asked = client.options("/assets", headers={"origin": FOREIGN, "access-control-request-method": "POST"})
    read = client.get("/assets", headers={"origin": FOREIGN})

    assert asked.status_code >= 400
    for answer in (asked, read):
        assert not any(name.startswith("access-control-") for name in answer.headers)


# -- what goes out ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/assets", 200),
        ("GET", "/healthz", 200),
        ("GET", "/nothing", 404),
        ("PUT", "/assets", 405),
        ("GET", "/assets/%00", 404),
        ("GET", "/assets?limit=x", 422),
    ],
)
def test_every_answer_says_how_it_may_be_used(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    """Else a browser could take an answer for a page, or another page could frame or embed it."""
    answer = client.request(method, path)

    assert answer.status_code == status
    for name, value in SECURITY:
        assert answer.headers[name.decode()] == value.decode()
    assert "server" not in answer.headers
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])


def test_whatever_can_be_read_can_be_asked_about(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path]
) -> None:
    """Else `curl -I` and what watches over servers would be told that there is nothing to see."""
    uid = registry.register_file(make_png(), "characters")["uid"]
    registry.wait_for_thumbnails()
    described = client.get("/openapi.json").json()["paths"]
    paths = [path for path, methods in described.items() if "get" in methods and path != "/events"]
    changing = {"date", "x-request-id", "transfer-encoding"}
    wrong: list[tuple[str, object, object]] = []

    for path in [*paths, "/assets?limit=x", "/nothing"]:
        address = path.replace("{uid}", uid).replace("{", "").replace("}", "")
        read, asked = client.get(address), client.head(address)
        left = changing | ({"content-length"} if path == "/metrics" else set())
        expected = {name: value for name, value in read.headers.items() if name not in left}
        found = {name: value for name, value in asked.headers.items() if name not in left}
        if (read.status_code, expected, b"") != (asked.status_code, found, asked.content):
            wrong.append((path, (read.status_code, expected), (asked.status_code, found)))

    assert len(paths) > 15
    assert wrong == []


def test_a_stream_can_only_be_read(client: httpx.Client) -> None:
    """Else a question about it would never be answered."""
    answer = client.head("/events")

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/assets", "GET, HEAD"),
        ("/assets/0123456789abcdef", "GET, HEAD, PATCH, DELETE"),
        ("/assets/0123456789abcdef/download", "GET, HEAD"),
        ("/session", "GET, HEAD, POST, DELETE"),
    ],
)
def test_who_asks_for_the_impossible_is_told_what_is_possible(
    client: httpx.Client, path: str, allowed: str
) -> None:
    """Else a client would take it that an asset can be changed but not read."""
    answer = client.put(path)

    assert answer.status_code == 405
    assert answer.headers["allow"] == allowed
    assert allowed in answer.json()["detail"]


@pytest.mark.parametrize(
    ("stated", "is_taken"),
    [
        ("job-7.2_x", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("a b", False),
        ("<script>", False),
        ("", False),
    ],
)
def test_a_plain_request_id_is_kept(client: httpx.Client, stated: str, is_taken: bool) -> None:
    """Else requests could not be followed through several programs, or anything could get into the log."""
    answer = client.get("/assets", headers={"x-request-id": stated})

    assert (answer.headers["x-request-id"] == stated) is is_taken


def test_a_fault_of_ours_tells_nothing_but_its_number(
    extra_routes: APIRouter,
    registry: AssetRegistry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Else an error would show strangers how the server is made and where it lies."""

    @extra_routes.get("/boom")
    async def boom() -> Response:
        raise ZeroDivisionError(str(Path(__file__)))

    with serve(registry) as client, caplog.at_level(logging.ERROR):
        answer = client.get("/boom")
        after = client.get("/assets")

    number = answer.headers["x-request-id"]
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:comfyvn:problem:server-fault"
    assert number in answer.json()["detail"]
    assert "Zero" not in answer.text
    assert Path(__file__).name not in answer.text
    assert after.status_code == 200
    told = [each for each in caplog.records if number in each.getMessage()]
    assert len(told) == 1
    assert told[0].exc_info is not None


def test_a_fault_in_the_middle_of_an_answer_cuts_it_off(
    extra_routes: APIRouter, registry: AssetRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """Else half an answer would look like a whole one."""

    async def parts() -> object:
        yield b"half"
        raise ZeroDivisionError

    @extra_routes.get("/half")
    async def half() -> Response:
        return StreamingResponse(parts())

    with serve(registry) as client, caplog.at_level(logging.ERROR):
        with pytest.raises(httpx.RemoteProtocolError):
            client.get("/half")
        after = client.get("/assets")

    assert after.status_code == 200
    assert [each.name for each in caplog.records] == ["comfyvn.server.gate"]


# -- limits -----------------------------------------------------------------------------------------------


def test_large_heads_and_long_paths_are_refused(client: httpx.Client) -> None:
    """Else a stranger could make the server hold and look through megabytes."""
    heads = client.get("/assets", headers={"x-much": "a" * 40_000})
    path = client.get("/assets/" + "a" * 40_000)
    query = client.get("/assets?q=" + "a" * 40_000)
    fine = client.get("/assets", headers={"x-much": "a" * 20_000})

    assert [each.status_code for each in (heads, path, query, fine)] == [431, 431, 431, 200]


def test_a_large_body_is_refused_before_it_is_sent(client: httpx.Client) -> None:
    """Else a client would send a gigabyte to learn that a megabyte is the limit."""
    port = client.base_url.port
    head = (
        b"PATCH /assets/0123456789abcdef HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 1000000001\r\n\r\n"
    )

    answer = converse(("127.0.0.1", port), head)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"request_bytes" in answer


def test_a_body_that_stops_coming_is_given_up(
    open_registry: Callable[..., AssetRegistry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else half-sent requests would pile up."""
    monkeypatch.setenv("COMFYVN_IDLE_TIME_S", "0.2")

    with serve(open_registry()) as client:
        port = client.base_url.port
        head = (
            b"PATCH /assets/0123456789abcdef HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{"
        )
        answer = converse(("127.0.0.1", port), head)
        after = client.get("/assets")

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"idle_time_s" in answer
    assert after.status_code == 200


def test_an_answer_that_takes_too_long_is_given_up(
    extra_routes: APIRouter, open_registry: Callable[..., AssetRegistry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a few questions that never end would fill the server."""
    import asyncio

    monkeypatch.setenv("COMFYVN_REQUEST_TIME_S", "0.2")

    @extra_routes.get("/slow")
    async def slow(request: Request) -> Response:
        await asyncio.sleep(30)
        return Response()

    with serve(open_registry()) as client:
        answer = client.get("/slow")

    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:comfyvn:problem:too-long"
    assert "request_time_s" in answer.json()["detail"]


# -- numbers and log --------------------------------------------------------------------------------------


def test_requests_are_counted_by_route(client: httpx.Client) -> None:
    """Else nobody could see what a server is doing, or a stranger could fill its memory with names."""
    for uid in range(20):
        client.get(f"/assets/{uid:016x}")
        client.get(f"/nothing/{uid}")
    client.get("/assets")
    client.head("/assets")

    told = numbers(client)

    assert told['comfyvn_requests_total{method="GET",route="/assets/{uid}",status="4xx"}'] == 20
    assert told['comfyvn_requests_total{method="GET",route="/assets",status="2xx"}'] == 1
    assert told['comfyvn_requests_total{method="HEAD",route="/assets",status="2xx"}'] == 1
    assert told['comfyvn_requests_total{method="GET",route="none",status="4xx"}'] == 20
    assert told['comfyvn_request_duration_seconds_count{method="GET",route="/assets/{uid}"}'] == 20
    buckets = 'comfyvn_request_duration_seconds_bucket{method="GET",route="/assets/{uid}",le="+Inf"}'
    assert told[buckets] == 20
    assert told["comfyvn_assets"] == told["comfyvn_webhook_backlog"] == 0
    assert told["comfyvn_requests_running"] == 1
    assert told["comfyvn_response_bytes_total"] > 0


def test_each_request_is_one_line_of_json(registry: AssetRegistry, tmp_path: Path) -> None:
    """Else nobody could tell afterwards who did what."""
    _, text = Tokens(registry.library.ledger.engine, "default").create("ci", "assets.write")
    stream = io.StringIO()
    log = AccessLog(stream)

    with serve(registry, access_log=log) as client:
        client.get("/assets", params={"q": "hidden words"}, headers={"x-request-id": "first"})
        client.get("/assets/%0a{", headers={"authorization": f"Bearer {text}"})
        client.get("/assets", headers={"authorization": "Bearer cvn_wrong"})
    log.close()

    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["status"] for line in lines] == [200, 404, 401]
    assert [line["visitor"] for line in lines] == [None, "ci", None]
    assert lines[0]["id"] == "first"
    assert lines[0]["method"] == "GET"
    assert lines[0]["path"] == "/assets"
    assert lines[0]["bytes"] > 0
    assert "hidden" not in stream.getvalue()
    assert text not in stream.getvalue()


def test_a_log_that_nobody_reads_holds_nothing_up() -> None:
    """Else a full pipe would stop the server, or its memory would grow."""
    released = threading.Event()

    class Stuck(io.StringIO):
        def write(self, text: str) -> int:
            released.wait(TIMEOUT_S)
            return super().write(text)

    log = AccessLog(Stuck())
    for _ in range(30_000):
        log.note({"path": "/assets"})
    log.close(0.1)

    assert log._waiting.qsize() <= 10_000
    released.set()


@pytest.mark.parametrize("mode", ["no-cors", "cors", "websocket", None])
def test_a_page_of_another_site_can_not_have_questions_asked(client: httpx.Client, mode: str | None) -> None:
    """It could not read the answers, but keep the library busy from any tab."""
    headers = {"sec-fetch-site": "cross-site", **({"sec-fetch-mode": mode} if mode else {})}

    embedded = client.get("/assets", headers=headers)
    followed = client.get("/assets", headers={**headers, "sec-fetch-mode": "navigate"})

    assert embedded.status_code == 403
    assert embedded.json()["type"] == "urn:comfyvn:problem:origin-refused"
    assert followed.status_code == 200
