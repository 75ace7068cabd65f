"""Streams of events: what happens in a library, by any process, in order, each change once."""

from __future__ import annotations

import base64
import json
import os
import random
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from comfyvn.db import JournalEntry
from comfyvn.db.tokens import Tokens
from comfyvn.registry.news import Page, Position, news_behind, page_after, position_at
from comfyvn.server import hub
from comfyvn.studio.core import AssetRegistry
from serving import running, serve
from support import TIMEOUT_S, run_all

_BULKY = {"meta": {"text": "x" * 3_900}}

Message = dict[str, Any]


class Lines:
    """A stream of server-sent events, read as a browser reads it."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.last_id: str | None = None
        self.comments = 0

    def __iter__(self) -> Iterator[Message]:
        name, data, position = "message", [], None
        for line in self._lines:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if line == "":
                self.last_id = position or self.last_id
                if data:
                    yield {**json.loads("\n".join(data)), "name": name, "id": self.last_id}
                name, data, position = "message", [], None
            elif field == "":
                self.comments += 1
            elif field == "data":
                data.append(value)
            elif field == "event":
                name = value
            elif field == "id":
                position = value


@contextmanager
def listening(client: httpx.Client, path: str = "/events", **headers: str) -> Iterator[Iterator[Message]]:
    with client.stream("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()}) as answer:
        assert answer.status_code == 200, answer.read()
        yield iter(Lines(answer.iter_lines()))


@contextmanager
def socket_to(client: httpx.Client, query: str = "", **options: Any) -> Iterator[ClientConnection]:
    address = f"ws://{client.base_url.host}:{client.base_url.port}/events/ws{query}"
    with connect(address, proxy=None, open_timeout=TIMEOUT_S, max_queue=None, **options) as opened:
        yield opened


def hear(opened: ClientConnection) -> Message:
    told = json.loads(opened.recv(TIMEOUT_S))
    assert isinstance(told, dict)
    return told


def tell(registry: AssetRegistry, count: int, **after: object) -> None:
    """Write rows into the journal, as a change of many assets does."""
    with registry.library.ledger.write() as rows:
        operation = rows.reserve_ids(1)[0]
        rows.record(
            [
                JournalEntry("asset_meta_updated", f"{number:016x}", number, operation, after or None, None)
                for number in range(1, count + 1)
            ]
        )


def position_of(registry: AssetRegistry, seq: int) -> str:
    return str(position_at(registry, seq))


@contextmanager
def copied(registry: AssetRegistry, place: Path) -> Iterator[sqlite3.Connection]:
    """Make a copy of the ledger, to be changed and put back."""
    with closing(sqlite3.connect(place)) as copy:
        with closing(sqlite3.connect(registry.library.ledger.engine.path)) as ledger:
            ledger.backup(copy)
        yield copy


def put_back(registry: AssetRegistry, copy: sqlite3.Connection) -> None:
    copy.commit()
    with closing(sqlite3.connect(registry.library.ledger.engine.path, timeout=TIMEOUT_S)) as ledger:
        copy.backup(ledger)


def seqs_of(registry: AssetRegistry) -> list[int]:
    return [entry["seq"] for entry in registry.follow(0, timeout_s=0)]


def take(stream: Iterator[Message], last: int) -> list[int]:
    """Return the numbers of the changes up to one."""
    found = []
    for message in stream:
        if message.get("name", "message") == "message" and message["event"] not in ("hello", "reset"):
            found.append(message["seq"])
        if found and found[-1] >= last:
            return found
    return found


def frames(opened: ClientConnection) -> Iterator[Message]:
    while True:
        yield hear(opened)


# -- what is told ---------------------------------------------------------------------------------------


def test_a_stream_begins_with_its_position_and_tells_each_change(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path]
) -> None:
    """Else a gallery would not know from where on it is told, nor what."""
    registry.register_file(make_png("old.png", seed=1), "props")
    before = registry.journal_position()

    with listening(client) as stream, socket_to(client) as opened:
        hello, told = next(stream), hear(opened)
        known = registry.register_file(make_png("new.png", seed=2), "props", metadata={"tags": ["mara"]})
        message, frame = next(stream), hear(opened)

    position = position_of(registry, before)
    assert {"event": "hello", "seq": before, "position": position, "revision": before} == told
    assert (hello["name"], hello["seq"], hello["id"]) == ("hello", before, position)
    entry = next(registry.follow(before, timeout_s=0))
    for each in (message, frame):
        assert {name: each[name] for name in entry} == dict(entry)
        assert (each["type"], each["path"], each["cut"]) == ("props", known["path"], False)
        assert each["revision"] == each["seq"]
    assert message["id"] == message["position"] == frame["position"] == position_of(registry, entry["seq"])


_ELSEWHERE = """
import sys
from comfyvn.studio.core import AssetRegistry
with AssetRegistry(durability="off") as registry:
    record = registry.register_file(sys.argv[1], "props")
    registry.update_asset_meta(record["uid"], {"note": "from elsewhere"})
    registry.remove_asset(record["uid"])
"""


def test_changes_of_another_process_arrive(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path]
) -> None:
    """Else `comfyvn ingest` in a terminal would leave every gallery as it was."""
    with listening(client) as stream, socket_to(client) as opened:
        next(stream)
        subprocess.run([sys.executable, "-c", _ELSEWHERE, make_png()], check=True, timeout=TIMEOUT_S)
        wanted = seqs_of(registry)
        heard, seen = take(stream, wanted[-1]), take(frames(opened), wanted[-1])

    assert heard == seen == wanted


def test_only_wanted_events_of_wanted_types_are_told(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path]
) -> None:
    """Else a script that waits for new props would be woken by everything."""
    query = "?since=0&event=asset_registered,asset_removed&type=props"
    first = registry.register_file(make_png("a.png", seed=1), "props")
    registry.register_file(make_png("b.png", seed=2), "characters")
    registry.update_asset_meta(first["uid"], {"note": 1})
    registry.remove_asset(first["uid"])

    with listening(client, f"/events{query}") as stream, socket_to(client, query) as opened:
        heard = [next(stream) for _ in range(3)][1:]
        seen = [hear(opened) for _ in range(3)][1:]

    for each in (heard, seen):
        assert [(told["event"], told["uid"]) for told in each] == [
            ("asset_registered", first["uid"]),
            ("asset_removed", first["uid"]),
        ]


def test_a_change_has_a_type_after_its_asset_was_removed_too(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path]
) -> None:
    """Else who was away when it was removed would not hear of what he asked for."""
    known = registry.register_file(make_png("a.png", seed=1), "props")
    registry.update_asset_meta(known["uid"], {"note": 1})
    before = page_after(registry, Position(0), 100).news
    registry.remove_asset(known["uid"])
    last = registry.journal_position()

    with listening(client, "/events?since=0&type=props") as stream:
        next(stream)
        heard = []
        for message in stream:
            heard.append(message)
            if message["seq"] == last:
                break
    delivered = news_behind(registry, 0, None, 100)

    assert [each["seq"] for each in heard] == seqs_of(registry)
    assert {(each["type"], each["path"]) for each in heard} == {("props", known["path"])}
    assert {each.type for each in before} == {"props"}
    assert delivered is not None
    assert {each.type for each in delivered[0]} == {"props"}


def test_a_long_change_is_told_without_what_it_says(registry: AssetRegistry, client: httpx.Client) -> None:
    """Else one asset with a workflow of 200 kB would be sent to every gallery, twice."""
    tell(registry, 1, meta={"text": "x" * 100_000})
    tell(registry, 1, meta={"text": "é\n\r\u2028\x00"})

    with listening(client, "/events?since=0") as stream:
        next(stream)
        long, short = next(stream), next(stream)

    assert (long["cut"], long["before"]) == (True, None)
    assert (short["cut"], short["before"]) == (False, {"meta": {"text": "é\n\r\u2028\x00"}})


# -- reconnecting ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["lines", "socket"])
def test_reconnecting_at_random_moments_misses_and_doubles_nothing(
    way: str, registry: AssetRegistry, client: httpx.Client
) -> None:
    """Else a gallery behind a bad line would show what is not so."""
    chance = random.Random(7)
    total, heard = 1_500, list[int]()

    def write() -> None:
        while (done := registry.journal_position()) < total:
            tell(registry, min(chance.choice((1, 2, 40, 300)), total - done))
            time.sleep(0.002)

    def read() -> None:
        last = 0
        while last < total:
            wanted = min(last + chance.choice((1, 5, 60, 400)), total)
            if way == "lines":
                with listening(client, "/events?since=0", last_event_id=str(last)) as stream:
                    heard.extend(take(stream, wanted))
            else:
                with socket_to(client, f"?since={last}") as opened:
                    heard.extend(take(frames(opened), wanted))
            last = heard[-1]

    run_all(write, read)

    assert heard == list(range(1, total + 1))


def test_who_missed_too_much_is_told_to_start_anew(
    monkeypatch: pytest.MonkeyPatch, open_registry: Callable[..., AssetRegistry]
) -> None:
    """Else a gallery that slept for a week would be sent a million changes one by one."""
    monkeypatch.setenv("COMFYVN_EVENT_BACKLOG", "10")
    registry = open_registry()
    tell(registry, 30)

    with serve(registry) as client:
        for since in (0, 19, 31, 2**62):
            with (
                listening(client, f"/events?since={since}") as stream,
                socket_to(client, f"?since={since}") as opened,
            ):
                heard, seen = [next(stream), next(stream)], [hear(opened), hear(opened)]
                assert [each["name"] for each in heard] == ["hello", "reset"]
                assert [each["event"] for each in seen] == ["hello", "reset"]
                assert {each["seq"] for each in heard + seen} == {30}
                assert heard[1]["id"] == position_of(registry, 30)
        with listening(client, "/events?since=20") as stream:
            assert next(stream)["name"] == "hello"
            assert take(stream, 30) == list(range(21, 31))


def test_an_older_ledger_in_its_place_is_told_to_who_listens(
    registry: AssetRegistry, client: httpx.Client
) -> None:
    """Else he would wait for a position that comes back only after other changes, and miss these."""
    tell(registry, 9)

    with listening(client, "/events?since=8") as stream, socket_to(client) as opened:
        heard = [next(stream), next(stream)]
        hear(opened)
        with registry.library.ledger.engine.write() as connection:
            connection.execute("DELETE FROM asset_journal WHERE seq > 5")
            connection.execute("UPDATE sqlite_sequence SET seq = 5 WHERE name = 'asset_journal'")
        heard += [next(stream)]
        seen = [hear(opened)]
        tell(registry, 1)
        heard += [next(stream)]
        seen += [hear(opened)]

    assert [each["seq"] for each in heard] == [8, 9, 5, 6]
    assert [(each["event"], each["seq"]) for each in seen] == [("reset", 5), ("asset_meta_updated", 6)]


def test_an_older_ledger_put_back_while_one_was_away_is_told(
    tmp_path: Path, registry: AssetRegistry, client: httpx.Client
) -> None:
    """Else he would miss the changes that have the numbers of those he heard of."""
    tell(registry, 3)
    with copied(registry, tmp_path / "copy.db") as copy:
        tell(registry, 4)
        common, gone = position_of(registry, 3), position_of(registry, 7)
        with listening(client, "/events?since=6") as stream:
            next(stream)
            heard = next(stream)
        put_back(registry, copy)
    tell(registry, 9)

    told = list[list[tuple[str, int]]]()
    for since in (heard["id"], common, "7"):
        with listening(client, last_event_id=since) as stream, socket_to(client, f"?since={since}") as opened:
            lines = [next(stream), next(stream)]
            seen = [hear(opened), hear(opened)]
        assert [(each["event"], each["seq"]) for each in lines] == [
            (each["event"], each["seq"]) for each in seen
        ]
        told.append([(each["event"], each["seq"]) for each in lines])

    assert heard["id"] == gone
    assert told[0] == [("hello", 12), ("reset", 12)]
    assert told[1] == [("hello", 3), ("asset_meta_updated", 4)]
    assert told[2] == [("hello", 7), ("asset_meta_updated", 8)]  # a bare number can't show it


def test_another_ledger_that_is_no_shorter_is_told_to_who_listens(
    tmp_path: Path, registry: AssetRegistry, client: httpx.Client
) -> None:
    """Else a backup with as many changes as there were would go unnoticed."""
    tell(registry, 3)

    with copied(registry, tmp_path / "copy.db") as copy:
        time.sleep(0.002)
        tell(registry, 4)
        copy.executescript(
            "INSERT INTO asset_journal (project_id, at, event, uid, asset_id, operation_id)"
            " SELECT project_id, at, event, uid, asset_id, 0 FROM asset_journal;"
            "INSERT INTO asset_journal (project_id, at, event, uid, asset_id, operation_id)"
            " SELECT project_id, at, event, uid, asset_id, 0 FROM asset_journal;"
        )
        with listening(client, "/events?since=6") as stream, socket_to(client) as opened:
            heard = [next(stream), next(stream)]
            hear(opened)
            put_back(registry, copy)
            heard += [next(stream)]
            seen = [hear(opened)]
            tell(registry, 1)
            heard += [next(stream)]
            seen += [hear(opened)]

    assert [each["seq"] for each in heard] == [6, 7, 12, 13]
    assert [(each["event"], each["seq"]) for each in seen] == [("reset", 12), ("asset_meta_updated", 13)]


def test_a_position_that_is_none_is_refused(client: httpx.Client) -> None:
    """Else a client with a fault would be told from anywhere on."""
    for path, headers in (
        ("/events?since=-1", {}),
        ("/events?since=x", {}),
        (f"/events?since={2**63}", {}),
        ("/events", {"last-event-id": "x"}),
        ("/events", {"last-event-id": "9" * 40}),
        ("/events", {"last-event-id": "0" * 5_000}),
        ("/events", {"last-event-id": "1-"}),
        ("/events?since=1-xyz", {}),
        (f"/events?since={'0' * 5_000}", {}),
        ("/events?event=asset_sold", {}),
    ):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
    for query in ("?since=-1", "?since=x", f"?since={'0' * 5_000}", f"?since={2**63}", "?event=asset_sold"):
        with pytest.raises(InvalidStatus) as refused, socket_to(client, query):
            pass
        assert refused.value.response.status_code == 422


# -- many, slow and silent ones -------------------------------------------------------------------------


def test_fifty_listeners_hear_the_same(registry: AssetRegistry) -> None:
    """Else a studio with some open tabs each would be told in part."""
    with serve(registry) as client, ExitStack() as stack:
        client = stack.enter_context(
            httpx.Client(base_url=client.base_url, timeout=TIMEOUT_S, limits=httpx.Limits(max_connections=50))
        )
        streams = [stack.enter_context(listening(client)) for _ in range(25)]
        opened = [stack.enter_context(socket_to(client)) for _ in range(25)]
        assert all(next(each)["name"] == "hello" for each in streams)
        assert all(hear(each)["event"] == "hello" for each in opened)
        for _ in range(4):
            tell(registry, 25)
        heard = [take(each, 100) for each in streams] + [take(frames(each), 100) for each in opened]

    assert heard == [list(range(1, 101))] * 50


def test_who_comes_back_from_far_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch, registry: AssetRegistry
) -> None:
    """Else a hundred galleries that connect again would stop the server for seconds."""
    tell(registry, 1_000)
    asked, going_on, running_now, most = list[int](), threading.Event(), set[int](), list[int]()

    def read(registry: AssetRegistry, position: Position, limit: int) -> Page:
        if threading.current_thread().name.startswith("comfyvn-server"):
            asked.append(position.seq)
            running_now.add(threading.get_ident())
            most.append(len(running_now))
            assert going_on.wait(TIMEOUT_S)
            running_now.discard(threading.get_ident())
        return page_after(registry, position, limit)

    monkeypatch.setattr(hub, "page_after", read)
    with serve(registry) as client, ExitStack() as stack:
        streams = [
            stack.enter_context(listening(client, f"/events?since={1 + number % 4}")) for number in range(12)
        ]
        nothing = [
            stack.enter_context(listening(client, "/events?since=5&type=nosuch&event=asset_removed"))
            for _ in range(12)
        ]
        assert {next(each)["name"] for each in streams + nothing} == {"hello"}
        wait_until(lambda: len(asked) == 2, "two that read")
        answer = httpx.get(f"{client.base_url}/assets", trust_env=False, timeout=TIMEOUT_S)
        going_on.set()
        heard = [take(each, 1_000) for each in streams]

    assert answer.status_code == 200
    assert heard == [list(range(2 + number % 4, 1_001)) for number in range(12)]
    assert max(most) == 2
    assert len(asked) < 60  # each page is read once for those who ask for it at the same time


def test_one_listener_too_many_is_told_to_come_back(
    monkeypatch: pytest.MonkeyPatch, open_registry: Callable[..., AssetRegistry]
) -> None:
    """Else open tabs could use up the server."""
    monkeypatch.setenv("COMFYVN_EVENT_STREAMS", "2")

    with serve(open_registry()) as client:
        with listening(client) as first, socket_to(client) as second:
            next(first)
            hear(second)
            refused = client.get("/events")
            with pytest.raises(InvalidStatus) as refused_socket, socket_to(client):
                pass
        wait_until(lambda: _is_let_in(client), "a free place")

    assert refused.status_code == 503
    assert "event_streams" in refused.json()["detail"]
    assert refused_socket.value.response.status_code == 503


def _is_let_in(client: httpx.Client) -> bool:
    with client.stream("GET", "/events") as answer:
        return answer.status_code == 200


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not is_so():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


def _ask(server_address: str, path: str, *headers: str) -> socket.socket:
    """Send a request whose answer nobody reads for now."""
    host, port = server_address.removeprefix("http://").split(":")
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    opened.settimeout(TIMEOUT_S)
    opened.connect((host, int(port)))
    head = [f"GET {path} HTTP/1.1", f"Host: {host}:{port}", *headers, "", ""]
    opened.sendall("\r\n".join(head).encode())
    return opened


def _read_all(opened: socket.socket, end: bytes | None = None) -> bytes:
    answer = bytearray()
    try:
        while (end is None or end not in answer[-100:]) and (chunk := opened.recv(1 << 20)):
            answer += chunk
    except ConnectionError:
        pass
    return bytes(answer)


def test_a_reader_who_takes_nothing_is_dropped_and_others_are_not_disturbed(
    registry: AssetRegistry,
) -> None:
    """Else a laptop that sleeps would be kept in memory, with all that happens meanwhile."""
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = ("Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}")
    with running(registry) as (server, address):
        server.state.hub.patience_s = 0.2
        with (
            httpx.Client(base_url=address, timeout=TIMEOUT_S) as client,
            listening(client) as stream,
            _ask(address, "/events") as lines,
            _ask(address, "/events/ws", *upgrade, "Sec-WebSocket-Version: 13") as frames_of,
        ):
            next(stream)
            wait_until(lambda: server.state.hub.listeners == 3, "three listeners")
            heard: list[int] = []
            reading = threading.Thread(target=lambda: heard.extend(take(stream, 4_000)), daemon=True)
            reading.start()
            for _ in range(10):
                tell(registry, 400, **_BULKY)
            reading.join(TIMEOUT_S)
            wait_until(lambda: server.state.hub.listeners <= 1, "the slow ones to be dropped")
            got, seen = _read_all(lines), _read_all(frames_of, b"too slow")

    assert heard == list(range(1, 4_001))
    assert b"\nid: 1-" in got
    assert b"\nid: 4000-" not in got
    assert not got.endswith(b"0\r\n\r\n")  # cut off, so that no reader takes it for whole
    assert struct.pack("!H", 1013) + b"too slow" in seen[-100:]


def test_a_socket_that_nobody_reads_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, open_registry: Callable[..., AssetRegistry]
) -> None:
    """Else each would stay for good, with what was last sent to it."""
    monkeypatch.setenv("COMFYVN_IDLE_TIME_S", "0.2")
    registry = open_registry()
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = ("Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}")

    with running(registry) as (server, address):
        server.state.hub.patience_s = 0.1
        with _ask(address, "/events/ws", *upgrade, "Sec-WebSocket-Version: 13"):
            wait_until(lambda: server.state.hub.listeners == 1, "the listener")
            for _ in range(10):
                tell(registry, 400, **_BULKY)
            wait_until(lambda: not server.server_state.connections, "its end")


def test_a_silent_stream_shows_that_it_lives_and_keeps_its_position(registry: AssetRegistry) -> None:
    """Else proxies would cut it off, and a filtered stream would go back to its beginning on reconnecting."""
    with running(registry) as (server, address):
        server.state.hub.beat_s = 0.05
        with (
            httpx.Client(base_url=address, timeout=TIMEOUT_S) as client,
            client.stream("GET", "/events?event=asset_removed") as answer,
        ):
            lines = answer.iter_lines()
            while not next(lines).startswith("data:"):
                pass
            tell(registry, 7)
            told = set[str]()
            for line in lines:
                told.add(line)
                if line.startswith("id: 7-"):
                    break

    assert told - {"id: 0"} == {"", ": still here", f"id: {position_of(registry, 7)}"}


def test_what_a_client_sends_is_ignored_and_too_much_ends_it(
    registry: AssetRegistry, client: httpx.Client
) -> None:
    """Else a socket that only tells could be used to fill our memory."""
    with socket_to(client) as opened:
        hear(opened)
        opened.send("hello?")
        opened.send(b"\x00")
        tell(registry, 1)
        assert hear(opened)["seq"] == 1
        opened.send("x" * 5_000)
        with pytest.raises(ConnectionClosed) as closed:
            hear(opened)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


# -- ends -----------------------------------------------------------------------------------------------


def test_streams_end_when_the_server_ends(registry: AssetRegistry) -> None:
    """Else one open tab would hold the server for as long as it likes."""
    with running(registry) as (server, address), ExitStack() as stack:
        client = stack.enter_context(httpx.Client(base_url=address, timeout=TIMEOUT_S))
        stream = stack.enter_context(listening(client))
        opened = stack.enter_context(socket_to(client))
        next(stream)
        hear(opened)
        server.should_exit = True
        rest = list(stream)  # it ends properly, else httpx complains
        with pytest.raises(ConnectionClosed) as closed:
            hear(opened)

    assert rest == []
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code in (1001, 1012)


def test_who_loses_his_token_hears_nothing_more(registry: AssetRegistry) -> None:
    """Else a stream that was opened once would tell for ever."""
    tokens = Tokens(registry.library.ledger.engine, registry.project_id)
    token, text = tokens.create("gallery", "assets.read")
    _, other = tokens.create("another", "assets.read")

    with serve(registry, token=other) as client:
        with client.stream("GET", "/events", headers={"authorization": f"Bearer {text}"}) as answer:
            stream = iter(Lines(answer.iter_lines()))
            with socket_to(client, additional_headers={"Authorization": f"Bearer {text}"}) as opened:
                next(stream)
                hear(opened)
                tokens.revoke(token.name)
                tell(registry, 1)
                rest = list(stream)
                with pytest.raises(ConnectionClosed) as closed:
                    hear(opened)
        with listening(client, "/events?since=0") as stream:
            assert take(stream, 1) == [1]

    assert rest == []
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def test_a_page_of_another_site_hears_nothing(registry: AssetRegistry, client: httpx.Client) -> None:
    """Else any page in the browser could read along."""
    with (
        pytest.raises(InvalidStatus) as refused,
        socket_to(client, additional_headers={"Origin": "https://evil.example"}),
    ):
        pass
    foreign = client.get("/events", headers={"host": "evil.example"})

    assert refused.value.response.status_code == 403
    assert foreign.status_code in (400, 403, 421)
