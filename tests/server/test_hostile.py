"""A hostile client with raw sockets: no trace, no hang, and the server still answers afterwards."""

from __future__ import annotations

import logging
import os
import random
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import httpx
import pytest

from comfyvn.studio.core import AssetRegistry
from serving import converse, drip, running
from support import TIMEOUT_S

HOST = b"Host: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"
HANDSHAKE = (
    b"GET /events/ws HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
Address = tuple[str, int]


@pytest.fixture
def address(
    open_registry: Callable[..., AssetRegistry],
    make_png: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Address]:
    """The address of a server that loses its patience after 0.4 s, and must still answer at the end."""
    monkeypatch.setenv("COMFYVN_IDLE_TIME_S", "0.4")
    monkeypatch.setenv("COMFYVN_CONNECTIONS", "40")
    registry = open_registry()
    registry.register_file(make_png(), "characters")
    with running(registry) as (_, text), caplog.at_level(logging.WARNING):
        port = int(text.rpartition(":")[2])
        yield "127.0.0.1", port
        alive = httpx.get(f"{text}/assets", timeout=TIMEOUT_S, trust_env=False)
    assert alive.status_code == 200
    assert [each.getMessage() for each in caplog.records if each.name != "asyncio"] == []
    assert [each for each in caplog.records if each.exc_info] == []


def statuses(answer: bytes) -> list[int]:
    """Return the statuses of all answers in what a server sent."""
    return [int(found) for found in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", answer)]


def check(answer: bytes) -> None:
    """Fail if an answer tells how the server is made."""
    for word in (b"Traceback", b'File "', b".py", b"uvicorn", b"httptools", b"/tmp", b"site-packages"):
        assert word not in answer, answer


BROKEN: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "no HTTP at all": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200, (400,)),
    "lines and nothing else": (b"\r\n" * 40_000, (431, 400)),
    "a foreign target": (b"GET http://evil.example/assets HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "a target with our name": (b"GET http://localhost/assets HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "a tunnel": (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", (400,)),
    "a trace": (b"TRACE /assets HTTP/1.1\r\n" + HOST + b"\r\n", (400, 405)),
    "an asterisk": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "no host": (b"GET /assets HTTP/1.1\r\n\r\n", (400,)),
    "two hosts": (b"GET /assets HTTP/1.1\r\n" + HOST + b"Host: evil.example\r\n\r\n", (400,)),
    "an empty host": (b"GET /assets HTTP/1.1\r\nHost:\r\n\r\n", (421,)),
    "an old version": (b"GET /assets HTTP/1.0\r\n\r\n", (400,)),
    "an older version": (b"GET /assets\r\n\r\n", (400,)),
    "a newer version": (b"GET /assets HTTP/3.0\r\n" + HOST + b"\r\n", (400,)),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400,)),
    "a NUL in a path": (b"GET /assets/\0 HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "a NUL in a header": (b"GET /assets HTTP/1.1\r\n" + HOST + b"X-A: \0\r\n\r\n", (400,)),
    "a bare line end": (b"GET /assets HTTP/1.1\n" + HOST + b"\r\n", (400, 200)),
    "bytes in a path": (b"GET /assets/\xff\xfe\x80 HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "a folded header": (b"GET /assets HTTP/1.1\r\n" + HOST + b"X-A: b\r\n c\r\n\r\n", (200, 400)),
    "a space before a colon": (b"GET /assets HTTP/1.1\r\n" + HOST + b"X-A : b\r\n\r\n", (400,)),
    "two lengths": (
        b"PATCH /assets/a HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
        (400,),
    ),
    "a length and chunks": (
        b"PATCH /assets/a HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: 2\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /assets HTTP/1.1\r\n" + HOST + b"\r\n",
        (400,),
    ),
    "chunks under another name": (
        b"PATCH /assets/a HTTP/1.1\r\n" + HOST + JSON + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        (400,),
    ),
    "a negative length": (b"PATCH /assets/a HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", (400,)),
    "an endless length": (
        b"PATCH /assets/a HTTP/1.1\r\n" + HOST + b"Content-Length: " + b"9" * 400 + b"\r\n\r\n",
        (400, 413),
    ),
    "a chunk of another size": (
        b"PATCH /assets/a HTTP/1.1\r\n" + HOST + JSON + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}}}}\r\n",
        (400,),
    ),
    "a chunk without a size": (
        b"PATCH /assets/a HTTP/1.1\r\n" + HOST + JSON + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        (400,),
    ),
    "an endless chunk": (
        b"PATCH /assets/a HTTP/1.1\r\n"
        + HOST
        + JSON
        + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        (400,),
    ),
    "two tokens": (
        b"GET /assets HTTP/1.1\r\n" + HOST + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
        (400,),
    ),
    "a token of bytes": (
        b"GET /assets HTTP/1.1\r\n" + HOST + b"Authorization: Bearer cvn_\xff_\xfe\r\n\r\n",
        (401,),
    ),
    "ten thousand headers": (b"GET /assets HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 10_000 + b"\r\n", (431,)),
    "one header that has no end": (b"GET /assets HTTP/1.1\r\n" + HOST + b"A: " + b"b" * 400_000, (431,)),
    "a path that has no end": (b"GET /" + b"a" * 400_000, (431,)),
    "a method that has no end": (b"G" * 400_000, (400, 431)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_proper_request_is_refused(address: Address, name: str) -> None:
    """Else a parser of another program between us and the client could read something else into it."""
    data, expected = BROKEN[name]

    answer = converse(address, data, must_close=True)

    found = statuses(answer)
    assert len(found) <= 2, answer
    assert not found or found[0] in expected, answer
    assert found or name in (
        "one header that has no end",
        "a path that has no end",
        "a method that has no end",
    )
    check(answer)


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../../../etc/passwd",
        "/assets/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/assets/..%2f..%2f..%2fetc%2fpasswd/download",
        "/assets/%00/download",
        "/assets/%ED%A0%80/download",
        "/assets/..%5c..%5cboot.ini/thumb",
        "//evil.example/assets",
        "/assets//",
        "/assets/%252e%252e%252fetc/sidecar",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/assets/%",
        "/assets/%zz",
        "/.comfyvn/library.json",
        "/assets/.comfyvn/library.json",
        "/assets/con/download",
    ],
)
def test_no_path_leads_out_of_the_library(address: Address, path: str) -> None:
    """Else anybody could read the maker's other files."""
    answer = converse(
        address, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    )

    assert statuses(answer)[0] in (400, 404, 422)
    assert b"root:" not in answer
    check(answer)


def test_half_a_head_is_given_up(address: Address) -> None:
    """Else a thousand clients who never finish their requests would fill the server."""
    with closing(socket.create_connection(address, timeout=10)) as silent:
        slow = converse(address, b"GET /assets HTTP/1.1\r\nHost: loc")
        rest = silent.recv(1_000)

    assert statuses(slow) == [408]
    assert rest == b""


def test_a_head_sent_a_byte_at_a_time_is_given_up(address: Address) -> None:
    """Else a byte every second would hold a connection for ever."""
    answer = b""
    with closing(socket.create_connection(address, timeout=10)) as connection:
        connection.settimeout(0.05)
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                connection.sendall(b"G" if not answer else b"")
                part = connection.recv(1_000)
            except TimeoutError:
                continue
            except ConnectionError:
                break
            if not part:
                break
            answer += part

    assert statuses(answer) in ([400], [408])


@pytest.mark.parametrize("cut", [1, 40, 130, 160, 170])
def test_a_client_who_leaves_in_the_middle_leaves_nothing_behind(address: Address, cut: int) -> None:
    """Else requests of clients who are gone would pile up, or end in a trace."""
    body = b'{"tags": ["one", "two"]}'
    whole = b"PATCH /assets/0123456789abcdef HTTP/1.1\r\n" + HOST + JSON
    whole += b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body

    for _ in range(10):
        with closing(socket.create_connection(address, timeout=10)) as connection:
            connection.sendall(whole[:cut])
            if cut % 2:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # a reset


def test_a_client_who_reads_nothing_is_cut_off(address: Address) -> None:
    """Else he could make the server keep answers in memory for as long as he likes."""
    ask = b"GET /assets HTTP/1.1\r\n" + HOST + b"\r\n"
    with closing(socket.socket()) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.settimeout(0.2)
        connection.connect(address)
        deadline, is_cut_off = time.monotonic() + TIMEOUT_S, False
        while not is_cut_off and time.monotonic() < deadline:
            try:
                connection.sendall(ask * 50)
            except TimeoutError:
                pass
            except ConnectionError:
                is_cut_off = True

    assert is_cut_off


def test_idle_connections_keep_nobody_out(address: Address) -> None:
    """Else one client could take all places, and every other would be turned away."""
    with ExitStack() as held:
        for _ in range(200):
            held.enter_context(closing(socket.create_connection(address, timeout=10)))
            answer = None
        for _ in range(5):
            answer = converse(address, b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
            assert statuses(answer) == [200]


def test_requests_sent_ahead_are_answered_in_order(address: Address) -> None:
    """Else a client could mix the answers of a proxy's other clients up."""
    paths = ["/healthz", "/assets/0000000000000001", "/assets", "/nothing"]
    data = b"".join(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for path in paths)

    answer = converse(address, data)

    assert statuses(answer) == [200, 404, 200, 404]


def test_an_answer_without_a_body_is_the_end_of_it(address: Address) -> None:
    """Else the next answer on that connection would begin in the middle of the one before."""
    paths = (b"/assets", b"/healthz", b"/openapi.json", b"/assets?limit=x", b"/nothing", b"/assets/index")
    asked = b"".join(b"HEAD " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n" for path in paths)
    last = b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"

    answer = converse(address, asked + last, must_close=True)

    *heads, body = answer.split(b"\r\n\r\n")
    assert statuses(answer) == [200, 200, 200, 422, 404, 200, 200]
    assert all(each.startswith(b"HTTP/1.1 ") for each in heads)
    assert body == b'{"ok":true}'


def test_garbage_behind_a_request_spoils_no_answer(address: Address) -> None:
    """Else what is appended to a request could put words into its answer."""
    ask = b"GET /assets HTTP/1.1\r\n" + HOST + b"\r\n"

    answer = converse(address, ask + ask + b"\0\xff GARBAGE\r\n\r\n")

    assert statuses(answer)[:1] == [200]
    assert statuses(answer) in ([200, 200], [200, 200, 400])


def test_thousands_of_requests_at_once_harm_nobody(address: Address) -> None:
    """Else one packet could keep the server busy for minutes, or fill its memory."""
    ask = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"

    answer = converse(address, ask * 20_000, limit_s=3)

    assert set(statuses(answer)) <= {200, 400}


def test_more_body_than_was_wanted_is_read_away(address: Address) -> None:
    """Else the answer would be lost, or the rest of the body be taken for the next request."""
    inner = b"GET /assets HTTP/1.1\r\n" + HOST + b"\r\n"
    head = b"POST /nothing HTTP/1.1\r\n" + HOST + b"Content-Length: " + str(len(inner) * 50).encode()

    answer = converse(address, head + b"\r\n\r\n" + inner * 20, must_close=True)

    assert statuses(answer) == [404]


def test_who_waits_for_a_go_ahead_and_is_refused_is_hung_up_on(address: Address) -> None:
    """Else the next request on the connection would be taken for the body of this one."""
    head = b"POST /nothing HTTP/1.1\r\n" + HOST + b"Content-Length: 90\r\nExpect: 100-continue\r\n\r\n"

    answer = converse(address, head, must_close=True)

    assert statuses(answer) == [404]


SOCKETS: dict[str, bytes] = {
    "no key": HANDSHAKE.replace(b"Sec-WebSocket-Key", b"X-Key") + b"\r\n",
    "an old version": HANDSHAKE.replace(b"Version: 13", b"Version: 8") + b"\r\n",
    "many headers": HANDSHAKE + b"A: b\r\n" * 300 + b"\r\n",
    "a long header": HANDSHAKE + b"A: " + b"b" * 20_000 + b"\r\n\r\n",
    "another page": HANDSHAKE + b"Origin: http://evil.example\r\n\r\n",
    "no page": HANDSHAKE + b"Origin: null\r\n\r\n",
    "another host": HANDSHAKE.replace(b"localhost", b"evil.example") + b"\r\n",
    "a wrong token": HANDSHAKE + b"Authorization: Bearer x\r\n\r\n",
    "another address": HANDSHAKE.replace(b"/events/ws", b"/assets") + b"\r\n",
    "another upgrade": HANDSHAKE.replace(b"Upgrade: websocket", b"Upgrade: h2c") + b"\r\n",
    "a body": HANDSHAKE + b"Content-Length: 4\r\n\r\nabcd",
    "a method": HANDSHAKE.replace(b"GET", b"POST") + b"\r\n",
    "behind a request": b"GET /assets HTTP/1.1\r\n" + HOST + b"\r\n" + HANDSHAKE + b"\r\n",
}


@pytest.mark.parametrize("name", SOCKETS)
def test_a_socket_is_not_opened_for_everybody(address: Address, name: str) -> None:
    """Else any page could listen to what happens in a maker's library."""
    answer = converse(address, SOCKETS[name], must_close=True)

    assert 101 not in statuses(answer)
    assert 500 not in statuses(answer)
    check(answer)


@pytest.mark.parametrize(
    "frame",
    [
        b"\x81\x05hello",  # not masked
        b"\xff\x80\0\0\0\0",  # no such kind
        b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",  # nine exabytes announced
        b"\x81\xfe\x20\x00" + b"\0" * 8_196,  # more than we take
        b"\x80\x80\0\0\0\0",  # goes on with nothing
        b"\x89\xfe\x01\x00\0\0\0\0" + b"\0" * 256,  # a ping that is too long
        b"\x81\x82\0\0\0\0\xff\xfe",  # no UTF-8
        b"\x88\x82\0\0\0\0\x00\x01",  # closed for no known reason
        b"GET /assets HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=range(9),
)
def test_a_bad_frame_closes_its_socket(address: Address, frame: bytes) -> None:
    """Else what one client sends could end the streams of all."""
    with closing(socket.create_connection(address, timeout=10)) as connection:
        connection.sendall(HANDSHAKE + b"\r\n")
        answer = b""
        while b"hello" not in answer:
            answer += connection.recv(65_536)
        connection.sendall(frame)
        while part := connection.recv(65_536):
            answer += part
    early = converse(address, HANDSHAKE + b"\r\n", frame, limit_s=0.5)

    assert statuses(answer) == [101]
    assert statuses(early) in ([], [101])
    check(answer)


def test_noise_is_no_danger(address: Address) -> None:
    """Else what nobody thought of would stop the server."""
    chance = random.Random(20_251)
    seeds = [data for data, _ in BROKEN.values() if len(data) < 1_000] + list(SOCKETS.values())

    for _ in range(150):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(data))
            data[at : at + chance.randrange(3)] = os.urandom(chance.randrange(3))
        with closing(socket.create_connection(address, timeout=10)) as connection:
            connection.sendall(bytes(data))
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(3)
            with suppress(TimeoutError, ConnectionError):
                check(connection.recv(65_536))


# -- who sends slowly, or too much --------------------------------------------------------------------------


def begun(length: int = 900_000, path: bytes = b"/assets/rows") -> bytes:
    """Return a request of which nearly all is still to come."""
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: %d\r\n\r\n[" % length


def test_half_sent_requests_keep_nobody_out(address: Address) -> None:
    """Else as many bodies that never come as there are places would turn everybody away."""
    with ExitStack() as held:
        for _ in range(60):
            connection = held.enter_context(closing(socket.create_connection(address, timeout=10)))
            connection.sendall(begun(path=b"/assets/bulk"))
        answer = converse(address, b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")

    assert statuses(answer) == [200]


def test_who_is_still_sending_outlasts_who_is_silent(
    open_registry: Callable[..., AssetRegistry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the crowd that sends nothing would throw the upload out that is under way."""
    monkeypatch.setenv("COMFYVN_CONNECTIONS", "16")
    head, body = begun(10, b"/assets/bulk")[:-1], b"[1, 2, 3] "
    with running(open_registry()) as (_, text), ExitStack() as held:
        address = ("127.0.0.1", int(text.rpartition(":")[2]))
        at_work = held.enter_context(closing(socket.create_connection(address, timeout=10)))
        at_work.sendall(head)
        for number in range(30):
            connection = held.enter_context(closing(socket.create_connection(address, timeout=10)))
            connection.sendall(begun(path=b"/assets/bulk"))
            if number % 4 == 0 and number < 4 * 9:
                at_work.sendall(body[number // 4 : number // 4 + 1])
                httpx.get(f"{text}/healthz", timeout=TIMEOUT_S, trust_env=False)
        at_work.sendall(body[8:])
        answer = at_work.recv(65_536)

    assert statuses(answer) == [422]  # a list is no bulk edit: the whole body was read


def test_a_body_sent_a_byte_at_a_time_is_given_up(address: Address) -> None:
    """Else a byte every second would hold a connection for days."""
    with closing(socket.create_connection(address, timeout=10)) as connection:
        connection.sendall(begun(path=b"/assets/bulk"))
        answer = drip(connection, b" ")

    assert statuses(answer) == [408]
    assert b"too slowly" in answer


@pytest.mark.parametrize(
    "frame", [b"\x89\x80\0\0\0\0", b"\x81\x81\0\0\0\0a", b"\x8a\x80\0\0\0\0"], ids=["pings", "texts", "pongs"]
)
def test_who_floods_a_socket_is_hung_up_on(address: Address, frame: bytes) -> None:
    """Else one client with small frames would take all the time that the others need."""
    with closing(socket.create_connection(address, timeout=10)) as connection:
        connection.sendall(HANDSHAKE + b"\r\n")
        answer = b""
        while b"hello" not in answer:
            answer += connection.recv(65_536)
        answer = b""
        with suppress(ConnectionError):  # what is still on its way to it makes its system reset
            connection.sendall(frame * 200)
            while part := connection.recv(65_536):
                answer += part

    assert b"\x88\x13\x03\xf0too much was sent" in answer


def test_a_few_frames_a_second_are_nothing_to_hang_up_on(address: Address) -> None:
    """Else a page that says a word now and then would lose its stream."""
    with closing(socket.create_connection(address, timeout=10)) as connection:
        connection.sendall(HANDSHAKE + b"\r\n")
        answer = b""
        while b"hello" not in answer:
            answer += connection.recv(65_536)
        for _ in range(4):
            connection.sendall(b"\x89\x80\0\0\0\0" * 10)
            time.sleep(0.3)
        answer = connection.recv(65_536)

    assert answer.startswith(b"\x8a\x00" * 10)
    assert b"\x88" not in answer
