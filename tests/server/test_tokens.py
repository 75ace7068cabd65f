"""Tokens: made, listed, revoked, and what they let people do."""

from __future__ import annotations

import base64
import json
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute, APIWebSocketRoute

from comfyvn.db.tokens import Scope, Tokens
from comfyvn.errors import InvalidToken, TokenNotFound
from comfyvn.server import access, create_app
from comfyvn.studio.core import AssetRegistry
from serving import COMFYVN, converse, serve, serve_process
from support import TIMEOUT_S, Answer

UNKNOWN = "cvn_00000000_" + "0" * 48
OPEN_ROUTES = {("GET", "/healthz"), ("POST", "/session"), ("DELETE", "/session")}
OPEN_PAGES = {"/", "/studio", "/studio/{path:path}"}


def tokens_of(registry: AssetRegistry) -> Tokens:
    return Tokens(registry.library.ledger.engine, registry.project_id)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def command(*arguments: str) -> Any:
    done = subprocess.run(
        [COMFYVN, *arguments, "--json"],
        capture_output=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        timeout=TIMEOUT_S,
        check=True,
    )
    return json.loads(done.stdout)


# -- who may come in --------------------------------------------------------------------------------------


def test_without_any_token_a_local_visitor_may_do_everything(client: httpx.Client) -> None:
    """Else a maker would have to learn about tokens before the first look at the library."""
    told = client.get("/session").json()

    assert (told["scope"], told["name"]) == ("admin", None)


def test_once_there_is_a_token_a_local_visitor_only_reads(
    registry: AssetRegistry, client: httpx.Client
) -> None:
    """Else making a token would keep nobody out, or would break every script that looks."""
    _, text = tokens_of(registry).create("ci", "assets.write")

    looked = client.get("/assets")
    changed = client.patch("/assets/0123456789abcdef", json={})
    with_token = client.patch("/assets/0123456789abcdef", json={}, headers=bearer(text))

    assert looked.status_code == 200
    assert changed.status_code == 401
    assert changed.headers["www-authenticate"].startswith("Bearer")
    assert with_token.status_code == 404


def test_the_token_of_older_set_ups_may_do_everything(
    open_registry: Callable[..., AssetRegistry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else scripts that send API_TOKEN would stop working."""
    monkeypatch.setenv("API_TOKEN", "päss word/of=old")

    with serve(open_registry()) as client:
        without = client.get("/session").json()
        right = client.get("/session", headers={b"authorization": "Bearer päss word/of=old".encode()}).json()
        wrong = client.get("/session", headers=bearer("pass word"))

    assert (without["scope"], without["name"]) == ("assets.read", None)
    assert (right["scope"], right["name"]) == ("admin", "api_token")
    assert wrong.status_code == 401


@pytest.mark.parametrize("path", ["/assets", "/assets/0123456789abcdef", "/metrics", "/nothing", "/session"])
def test_where_others_can_reach_the_server_nobody_reads_without_a_token(
    registry: AssetRegistry, path: str
) -> None:
    """Else everybody in the network could look at unpublished work."""
    _, text = tokens_of(registry).create("reader", "assets.read")

    with serve(registry, is_exposed=True) as client:
        without = client.get(path)
        with_token = client.get(path, headers=bearer(text))

    assert without.status_code == 401
    assert with_token.status_code in (200, 404)


def test_behind_a_proxy_nobody_is_local(
    open_registry: Callable[..., AssetRegistry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else all who come through a proxy on this machine would count as its owner."""
    registry = open_registry()
    with serve(registry) as client:
        forwarded = client.get("/assets", headers={"x-forwarded-for": "203.0.113.9"})
    monkeypatch.setenv("COMFYVN_ALLOWED_HOSTS", "vn.example.com")
    with serve(open_registry()) as client:
        named = client.get("/assets", headers={"host": "vn.example.com"})
        direct = client.get("/assets")

    assert [forwarded.status_code, named.status_code, direct.status_code] == [401, 401, 401]


@pytest.mark.parametrize(
    "text", ["x", UNKNOWN, "cvn_", "cvn__", "cvn_%00_", "cvn_a_" + "b" * 9_000, "Bearer", "null"]
)
def test_a_wrong_token_is_refused_also_for_reads(client: httpx.Client, text: str) -> None:
    """Else a script with a mistyped token would work till the first change."""
    answer = client.get("/assets", headers={"authorization": f"Bearer {text}"})

    assert answer.status_code == 401
    assert answer.json()["type"] == "urn:comfyvn:problem:token-refused"


@pytest.mark.parametrize("header", [b"Bearer", b"Bearer ", b"bearer \t "])
def test_an_empty_token_is_none(registry: AssetRegistry, header: bytes) -> None:
    """Else `curl -H "Authorization: Bearer $TOKEN"` would be told of a wrong token where none is set."""
    ask = b"GET /session HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: %b\r\n\r\n"

    with serve(registry) as client:
        local = converse(("127.0.0.1", client.base_url.port or 0), ask % header)
    with serve(registry, is_exposed=True) as client:
        asked = converse(("127.0.0.1", client.base_url.port or 0), ask % header)

    assert b'"scope":"admin"' in local
    assert asked.startswith(b"HTTP/1.1 401 ")
    assert b"urn:comfyvn:problem:token-missing" in asked


def test_a_token_in_the_address_is_no_token(registry: AssetRegistry, client: httpx.Client) -> None:
    """Else tokens would end up in logs, histories and Referer headers."""
    _, text = tokens_of(registry).create("ci", "admin")

    names = ("token", "access_token", "api_token")
    answers = [client.get("/session", params={name: text}) for name in names]

    assert [each.status_code for each in answers] == [422] * len(names)
    assert not any(text in each.text for each in answers)


def test_guessing_is_stopped_while_good_tokens_go_on(
    open_registry: Callable[..., AssetRegistry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a short API_TOKEN could be found by trying, or one bad script would lock all others out."""
    monkeypatch.setenv("API_TOKEN", "short")
    registry = open_registry()
    _, good = tokens_of(registry).create("ci", "assets.read")

    with serve(registry) as client:
        answers = [client.get("/assets", headers=bearer(f"guess {n}")) for n in range(30)]
        guessed_right = client.get("/assets", headers=bearer("short"))
        made_here = client.get("/assets", headers=bearer(good))
        without = client.get("/assets")

    assert {each.status_code for each in answers[:20]} == {401}
    assert {each.status_code for each in answers[20:]} == {429}
    assert int(answers[-1].headers["retry-after"]) > 0
    assert guessed_right.status_code == 429
    assert made_here.status_code == without.status_code == 200


def test_what_is_remembered_of_wrong_tokens_is_bounded() -> None:
    """Else somebody with many addresses could fill the memory."""
    strikes = access._Strikes()

    for number in range(10_000):
        strikes.add(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        strikes.add(f"2001:db8::{number:x}")

    assert len(strikes._known) <= access._ADDRESSES
    with pytest.raises(access.TooManyAttempts):
        strikes.check("2001:db8::1")  # one network is one guest


# -- what they let people do ------------------------------------------------------------------------------


def routes(registry: AssetRegistry) -> list[tuple[str, str, APIRoute | APIWebSocketRoute]]:
    """Return every route of the application with its method; sockets as GET."""
    found: list[tuple[str, str, APIRoute | APIWebSocketRoute]] = []
    left = [each for each in create_app(registry).routes if getattr(each, "path", None) not in OPEN_PAGES]
    while left:
        route = left.pop()
        if isinstance(route, APIRoute):
            found += [(method, route.path, route) for method in route.methods]
        elif isinstance(route, APIWebSocketRoute):
            found.append(("GET", route.path, route))
        else:
            inner = getattr(route, "original_router", None)
            assert inner is not None, f"what is {route!r}?"
            left += inner.routes
    return found


def scope_of(route: APIRoute | APIWebSocketRoute) -> Scope | None:
    """Return the scope that a route asks for."""
    wanted = {"may_read": "assets.read", "may_write": "assets.write", "may_administer": "admin"}
    calls = [getattr(each.call, "__name__", "") for each in route.dependant.dependencies]
    scopes = [wanted[name] for name in calls if name in wanted]
    return max(scopes, key=access.SCOPES.index, default=None)


def test_every_route_asks_for_a_scope(registry: AssetRegistry) -> None:
    """Else a new route would be open to everybody who reaches the server, unnoticed."""
    found = routes(registry)

    assert len(found) > 10
    assert {(method, path) for method, path, route in found if scope_of(route) is None} == OPEN_ROUTES


def test_no_route_that_changes_asks_for_reading_only(registry: AssetRegistry) -> None:
    """Else whoever may look could change."""
    asks_only = {"/assets/facets", "/assets/rows"}  # POST, but they change nothing of the library

    readers = {
        path
        for method, path, route in routes(registry)
        if method not in ("GET", "HEAD", "OPTIONS") and scope_of(route) == "assets.read"
    }

    assert readers <= asks_only


def test_each_route_refuses_a_token_of_less(registry: AssetRegistry) -> None:
    """Else a scope would be a word in a list only."""
    tokens = {scope: tokens_of(registry).create(scope, scope)[1] for scope in access.SCOPES}
    wrong: list[tuple[str, str, str, int]] = []

    with serve(registry, is_exposed=True) as client:
        for method, path, route in routes(registry):
            wanted = scope_of(route)
            if wanted is None or isinstance(route, APIWebSocketRoute):
                continue
            address = path.replace("{", "").replace("}", "")
            for scope in access.SCOPES[: access.SCOPES.index(wanted)]:
                answer = client.request(method, address, headers=bearer(tokens[scope]))
                if answer.status_code != 403:
                    wrong.append((method, path, scope, answer.status_code))
            if (status := client.request(method, address).status_code) != 401:
                wrong.append((method, path, "none", status))

    assert wrong == []


def test_a_change_through_a_token_is_told_under_its_name(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path]
) -> None:
    """Else nobody could find out which script changed what."""
    uid = registry.register_file(make_png(), "characters")["uid"]
    before = client.patch(f"/assets/{uid}", json={"tags": ["first"]})
    _, text = tokens_of(registry).create("ci", "assets.write")

    after = client.patch(f"/assets/{uid}", json={"tags": ["second"]}, headers=bearer(text))

    assert before.status_code == after.status_code == 200
    actors = [each["actor"] for each in registry.history(uid) if each["event"] == "asset_meta_updated"]
    assert sorted(actor.partition(":")[0] for actor in actors if actor) == ["http", "token"]
    assert "token:ci" in actors


def test_scripts_may_say_who_acts(registry: AssetRegistry, make_png: Callable[..., Path]) -> None:
    """Else a program that works for several people could not tell them apart in the journal."""
    uid = registry.register_file(make_png(), "characters")["uid"]

    with registry.acting_as("token:ines"):
        registry.update_asset_meta(uid, {"tags": ["hers"]})
    registry.update_asset_meta(uid, {"tags": ["ours"]})

    actors = [each["actor"] for each in registry.history(uid) if each["event"] == "asset_meta_updated"]
    assert actors.count("token:ines") == 1
    assert len(actors) == 2


# -- their life -------------------------------------------------------------------------------------------


def test_only_the_digest_of_a_token_is_kept(registry: AssetRegistry, project: Path) -> None:
    """Else whoever reads the database, or a backup of it, could come in."""
    _, text = tokens_of(registry).create("ci", "admin")
    registry.close()

    with closing(sqlite3.connect(registry.db_path)) as connection:
        dump = "\n".join(connection.iterdump())
    kept = b"".join(path.read_bytes() for path in registry.db_path.parent.iterdir())

    secret = text.rpartition("_")[2]
    assert len(secret) >= 32
    assert "asset_tokens" in dump
    assert secret not in dump
    assert secret.encode() not in kept


def test_a_token_lives_as_its_commands_say(project: Path, registry: AssetRegistry) -> None:
    """Else a revoked token would go on working in a server that runs already."""
    with serve(registry) as client:
        made = command("token", "create", "--name", "ci", "--scope", "assets.write", "--expires", "30d")
        good = client.get("/session", headers=bearer(made["token"]))
        listed = command("token", "list")["tokens"]
        gone = command("token", "revoke", "ci")
        late = client.get("/session", headers=bearer(made["token"]))

    assert (good.json()["scope"], good.json()["name"]) == ("assets.write", "ci")
    assert [each["name"] for each in listed] == ["ci"]
    assert listed[0]["is_active"] is True
    assert listed[0]["expires_at"] > listed[0]["created_at"]
    assert "token" not in listed[0]
    assert "digest" not in listed[0]
    assert gone["is_active"] is False
    assert late.status_code == 401


def test_the_last_use_of_a_token_is_noted(registry: AssetRegistry) -> None:
    """Else nobody could tell which tokens are still needed."""
    _, text = tokens_of(registry).create("ci", "assets.read")

    with serve(registry, token=text) as client:
        for _ in range(5):
            assert client.get("/assets").status_code == 200

    used = tokens_of(registry).all()[0].last_used_at
    assert used is not None


def test_a_token_that_expired_lets_nobody_in_and_keeps_the_fence_up(registry: AssetRegistry) -> None:
    """Else the end of a token would open every door to programs of this machine."""
    made, text = tokens_of(registry).create("ci", "admin", lifetime=timedelta(days=1))
    with registry.library.ledger.engine.write() as connection:
        connection.execute("UPDATE asset_tokens SET expires_at = '2020-01-01T00:00:00.000Z'")

    with serve(registry) as client:
        with_token = client.get("/assets", headers=bearer(text))
        without = client.get("/session").json()
        tokens_of(registry).revoke(made.id)
        after = client.get("/session").json()

    assert with_token.status_code == 401
    assert without["scope"] == "assets.read"
    assert after["scope"] == "admin"


def test_a_token_belongs_to_its_project(open_registry: Callable[..., AssetRegistry]) -> None:
    """Else a token for one project would open all that share its database."""
    _, text = tokens_of(open_registry(project_id="other")).create("ci", "admin")

    with serve(open_registry()) as client:
        answer = client.get("/assets", headers=bearer(text))

    assert answer.status_code == 401


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 61, "api_token", "\x1b[31m"])
def test_a_name_that_nobody_could_tell_apart_is_refused(registry: AssetRegistry, name: str) -> None:
    """Else the journal could be made to say things."""
    with pytest.raises(InvalidToken):
        tokens_of(registry).create(name, "admin")

    assert tokens_of(registry).all() == []


def test_two_tokens_never_have_one_name(registry: AssetRegistry) -> None:
    """Else nobody could tell whose change it was, or which of them is revoked."""
    tokens = tokens_of(registry)
    first, _ = tokens.create("ci", "admin")

    with pytest.raises(InvalidToken, match="ci"):
        tokens.create("ci", "assets.read")
    with pytest.raises(InvalidToken):
        tokens.create(first.id, "assets.read")
    tokens.revoke("ci")
    second, _ = tokens.create("ci", "assets.read")

    assert second.id != first.id
    with pytest.raises(TokenNotFound):
        tokens.revoke("nobody")


@pytest.mark.parametrize("lifetime", ["0d", "soon", "-1d", "999999w", "1.5d", ""])
def test_a_lifetime_that_is_none_is_refused(
    run: Callable[..., Answer], registry: AssetRegistry, lifetime: str
) -> None:
    """Else a token would be valid for another time than somebody meant."""
    said = run("token", "create", "--expires", lifetime)

    assert said.code == 2
    assert "No token was made" in said.err
    assert tokens_of(registry).all() == []


def test_people_see_the_token_once(run: Callable[..., Answer], registry: AssetRegistry) -> None:
    """Else `TOKEN=$(comfyvn token create)` would hold words, or a list would tell secrets."""
    made = run("token", "create", "--name", "mara's laptop", "--scope", "admin")
    listed = run("token", "list")
    revoked = run("token", "revoke", "mara's laptop")
    unknown = run("token", "revoke", "mara's laptop")

    assert made.code == listed.code == revoked.code == 0
    assert made.out.startswith("cvn_")
    assert len(made.out.split()) == 1
    assert "mara's laptop" in listed.out
    assert made.out.strip() not in listed.out
    assert unknown.code == 3


# -- browsers ---------------------------------------------------------------------------------------------


def test_a_browser_keeps_its_token_in_a_cookie(registry: AssetRegistry) -> None:
    """Else a page would have to keep the token where scripts, also bad ones, can read it."""
    _, text = tokens_of(registry).create("mara", "assets.write")

    with serve(registry, is_exposed=True) as client:
        own = str(client.base_url).rstrip("/")
        refused = client.post("/session", headers={"origin": own})
        begun = client.post("/session", headers={"origin": own, **bearer(text)})
        reads = client.get("/session")
        changes = client.patch("/assets/0123456789abcdef", json={}, headers={"origin": own})
        foreign = client.patch("/assets/0123456789abcdef", json={}, headers={"origin": "http://evil.example"})
        silent = client.patch("/assets/0123456789abcdef", json={})
        ended = client.delete("/session", headers={"origin": own})
        after = client.get("/session")

    cookie = begun.headers["set-cookie"]
    assert refused.status_code == 401
    assert begun.status_code == 200
    assert text not in cookie
    assert base64.urlsafe_b64encode(text.encode()).decode().rstrip("=") not in cookie
    assert {"HttpOnly", "Path=/", "SameSite=strict"} <= set(cookie.split("; "))
    assert f"comfyvn_session_{client.base_url.port}=" in cookie
    assert "Secure" not in cookie
    assert (reads.json()["scope"], reads.json()["name"]) == ("assets.write", "mara")
    assert changes.status_code == 404
    assert [foreign.status_code, silent.status_code] == [403, 403]
    assert foreign.json()["type"] == "urn:comfyvn:problem:origin-refused"
    assert silent.json()["type"] == "urn:comfyvn:problem:origin-missing"
    assert ended.status_code == 200
    assert after.status_code == 401


def test_the_description_names_the_cookie(registry: AssetRegistry, client: httpx.Client) -> None:
    """Else a client made from the description would send a cookie that the server does not know."""
    described = client.get("/openapi.json").json()["components"]["securitySchemes"]["cookie"]

    assert described["name"] == f"comfyvn_session_{registry.library.config.server_port}"
    assert "port" in described["description"]


def test_a_cookie_over_tls_is_for_tls_only(
    open_registry: Callable[..., AssetRegistry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be sent in the clear, too."""
    monkeypatch.setenv("COMFYVN_ALLOWED_HOSTS", "vn.example.com")
    registry = open_registry()
    _, text = tokens_of(registry).create("mara", "assets.write")

    with serve(registry, token=text) as client:
        headers = {"host": "vn.example.com", "origin": "https://vn.example.com"}
        begun = client.post("/session", headers=headers)

    assert begun.status_code == 200
    assert "Secure" in begun.headers["set-cookie"].split("; ")


def test_a_cookie_of_a_revoked_token_takes_itself_away(registry: AssetRegistry) -> None:
    """Else a browser would be locked out till somebody deletes its cookies by hand."""
    _, text = tokens_of(registry).create("mara", "assets.write")

    with serve(registry) as client:
        own = {"origin": str(client.base_url).rstrip("/")}
        client.post("/session", headers={**own, **bearer(text)}).raise_for_status()
        tokens_of(registry).revoke("mara")
        refused = client.get("/assets")
        again = client.get("/assets")

    assert [refused.status_code, again.status_code] == [401, 200]
    assert "Max-Age=0" in refused.headers["set-cookie"]


def sign_in(client: httpx.Client, token: str) -> str:
    """Begin a session and return what its cookie holds."""
    own = str(client.base_url).rstrip("/")
    client.post("/session", headers={"origin": own, **bearer(token)}).raise_for_status()
    return client.cookies[f"comfyvn_session_{client.base_url.port}"]


def cookie(client: httpx.Client, session: str) -> dict[str, str]:
    """Return the header by which a browser shows a session to a server."""
    return {"cookie": f"comfyvn_session_{client.base_url.port}={session}"}


def test_a_cookie_is_of_use_to_one_server_only(registry: AssetRegistry) -> None:
    """Else any other server on this machine, to which browsers send it too, could come in by it."""
    _, text = tokens_of(registry).create("mara", "admin")

    with serve(registry, is_exposed=True) as client, serve(registry, is_exposed=True) as other:
        first, second = sign_in(client, text), sign_in(other, text)
        there = httpx.get(
            f"{other.base_url}/session", headers=cookie(other, first), timeout=TIMEOUT_S, trust_env=False
        )
        as_token = httpx.get(
            f"{client.base_url}/session", headers=bearer(first), timeout=TIMEOUT_S, trust_env=False
        )

    assert first != second
    assert len(first) >= 22  # 128 bits
    assert [there.status_code, as_token.status_code] == [401, 401]
    assert "Max-Age=0" in there.headers["set-cookie"]


def test_a_session_that_was_ended_is_over(registry: AssetRegistry) -> None:
    """Else whoever has a copy of the cookie would go on after its owner signed out."""
    _, text = tokens_of(registry).create("mara", "assets.write")

    with serve(registry, is_exposed=True) as client:
        own = {"origin": str(client.base_url).rstrip("/")}
        first = sign_in(client, text)
        second = sign_in(client, text)
        replaced = client.get("/session", headers=cookie(client, first))
        current = client.get("/session", headers=cookie(client, second))
        client.delete("/session", headers={**own, **cookie(client, second)}).raise_for_status()
        ended = client.get("/session", headers=cookie(client, second))

    assert [replaced.status_code, current.status_code, ended.status_code] == [401, 200, 401]
    assert current.json()["name"] == "mara"


def test_a_session_ends_with_its_token(registry: AssetRegistry) -> None:
    """Else a browser would go on with a token that has expired."""
    _, text = tokens_of(registry).create("mara", "assets.write", lifetime=timedelta(days=1))

    with serve(registry, is_exposed=True) as client:
        session = sign_in(client, text)
        before = client.get("/session", headers=cookie(client, session))
        with registry.library.ledger.engine.write() as connection:
            connection.execute("UPDATE asset_tokens SET expires_at = '2020-01-01T00:00:00.000Z'")
        after = client.get("/session", headers=cookie(client, session))

    assert [before.status_code, after.status_code] == [200, 401]
    assert "Max-Age=0" in after.headers["set-cookie"]


def test_the_token_of_older_set_ups_can_begin_a_session(
    open_registry: Callable[..., AssetRegistry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else pages could not be used where only API_TOKEN is set."""
    monkeypatch.setenv("API_TOKEN", "päss word")

    with serve(open_registry(), is_exposed=True) as client:
        own = {"origin": str(client.base_url).rstrip("/")}
        token = {b"authorization": "Bearer päss word".encode()}
        begun = client.post("/session", headers={b"origin": own["origin"].encode(), **token})
        told = client.get("/session").json()

    assert begun.status_code == 200
    assert (told["scope"], told["name"]) == ("admin", "api_token")


def test_a_stream_ends_with_its_session(registry: AssetRegistry, make_png: Callable[..., Path]) -> None:
    """Else a page would go on hearing of the library after its user signed out."""
    _, text = tokens_of(registry).create("mara", "assets.read")

    with serve(registry, is_exposed=True) as client:
        own = {"origin": str(client.base_url).rstrip("/")}
        sign_in(client, text)
        with client.stream("GET", "/events") as stream:
            lines = stream.iter_lines()
            begun = next(lines)
            client.delete("/session", headers=own).raise_for_status()
            registry.register_file(make_png(), "characters")
            rest = list(lines)

    assert stream.status_code == 200
    assert begun
    assert "asset_registered" not in "".join(rest)


def test_a_wrong_token_leaves_the_session_alone(registry: AssetRegistry) -> None:
    """Else a mistyped token would sign out who is signed in."""
    _, text = tokens_of(registry).create("mara", "assets.read")

    with serve(registry, is_exposed=True) as client:
        sign_in(client, text)
        wrong = client.get("/session", headers=bearer(UNKNOWN))
        after = client.get("/session")

    assert [wrong.status_code, after.status_code] == [401, 200]
    assert "set-cookie" not in wrong.headers


@pytest.mark.parametrize("session", ["", "x", "a" * 9_000, "%00", "cvn_00000000_0"])
def test_cookies_of_before_are_no_guesses(
    open_registry: Callable[..., AssetRegistry], monkeypatch: pytest.MonkeyPatch, session: str
) -> None:
    """Else a page with many pictures would lock its user out after each start of the server."""
    monkeypatch.setenv("API_TOKEN", "short")

    with serve(open_registry()) as client:
        stale = [client.get("/assets", headers=cookie(client, session)) for _ in range(30)]
        after = client.get("/assets", headers=bearer("short"))

    assert {each.status_code for each in stale} == {401}
    assert all("Max-Age=0" in each.headers["set-cookie"] for each in stale)
    assert after.status_code == 200


def test_what_is_remembered_of_sessions_is_bounded() -> None:
    """Else somebody with a token could fill the memory."""
    sessions = access._Sessions()
    visitor = access.Visitor("assets.read", "ci", "01234567")

    begun = [sessions.begin(visitor) for _ in range(3_000)]

    found = [sessions.find(access.digest_of(each)) for each in begun]
    assert len(set(begun)) == 3_000
    assert [each is not None for each in found] == [False] * 2_000 + [True] * 1_000


@pytest.mark.parametrize("state", ["none", "revoked", "expired"])
def test_a_server_for_others_names_why_it_does_not_start(
    run: Callable[..., Answer], registry: AssetRegistry, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """Else its maker would look for the reason in the wrong place."""
    if state != "none":
        made, _ = tokens_of(registry).create("ci", "assets.read", lifetime=timedelta(days=1))
        if state == "revoked":
            tokens_of(registry).revoke(made.id)
        with registry.library.ledger.engine.write() as connection:
            connection.execute("UPDATE asset_tokens SET expires_at = '2020-01-01T00:00:00.000Z'")

    reachable = run("serve", "--host", "0.0.0.0", "--port", "0")
    monkeypatch.setenv("COMFYVN_ALLOWED_HOSTS", "vn.example.com")
    listed = run("serve", "--port", "0")

    assert [reachable.code, listed.code] == [4, 4]
    assert "can be reached from other machines" in reachable.err
    assert "0.0.0.0" in reachable.err
    assert "allowed_hosts" in listed.err
    assert "127.0.0.1" not in listed.err
    assert "no valid token" in reachable.err
    assert "no valid token" in listed.err


def test_a_server_for_others_does_not_start_without_a_token(project: Path, registry: AssetRegistry) -> None:
    """Else unpublished work would be open to a whole network by one option."""
    done = subprocess.run(
        [COMFYVN, "serve", "--host", "0.0.0.0", "--port", "0"],
        capture_output=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        timeout=TIMEOUT_S,
        check=False,
    )
    tokens_of(registry).create("ci", "assets.read")
    with serve_process("--host", "0.0.0.0") as served:
        refused = httpx.get(f"http://127.0.0.1:{served.port}/assets", trust_env=False, timeout=TIMEOUT_S)

    assert done.returncode == 4
    assert "comfyvn token create" in done.stderr
    assert "Traceback" not in done.stderr
    assert refused.status_code == 401
