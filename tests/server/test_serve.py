"""`comfyvn serve` as a process: how it begins, who may come in, how it ends."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from comfyvn.studio.core import AssetRegistry, history, many
from serving import running, serve_process
from support import TIMEOUT_S, Answer

ENDING_S = 2.0
SLACK_S = 1.5  # for the start and end of Python itself on a busy machine
MANY = 200


@pytest.fixture(autouse=True)
def library(project: Path, registry: AssetRegistry) -> AssetRegistry:
    """A library for the process to serve."""
    return registry


def get(address: str, **headers: str) -> httpx.Response:
    return httpx.get(address, headers=headers, timeout=TIMEOUT_S, trust_env=False)


def test_it_says_where_it_is_and_who_may_come_in(library: AssetRegistry) -> None:
    """Else nobody would find it, or know that it is open."""
    with serve_process() as served:
        answer = get(f"{served.address}/assets")
        code, out, err = served.end(signal.SIGTERM)

    assert answer.status_code == 200
    assert re.search(r"Serving project default at http://127\.0\.0\.1:[0-9]+\n", err)
    assert "comfyvn token create" in err
    assert (code, out) == (0, "")


def test_it_notes_requests_on_stdout_when_asked() -> None:
    """Else the log could not be given to another program."""
    with serve_process("--access-log") as served:
        get(f"{served.address}/assets?q=secret", **{"x-request-id": "mine"})
        get(f"{served.address}/nothing")
        code, out, err = served.end(signal.SIGTERM)

    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [(line["path"], line["status"]) for line in lines] == [("/assets", 200), ("/nothing", 404)]
    assert lines[0]["id"] == "mine"
    assert "secret" not in out + err


def test_a_line_of_the_log_holds_nothing_that_a_terminal_obeys() -> None:
    """Else who asks for a strange path could recolour, or forge lines on, the screen of who reads the log."""
    with serve_process("--access-log") as served:
        get(f"{served.address}/%C2%9B31mRED%E2%80%AE%C2%85%E2%80%A8%1B")
        _, out, _ = served.end(signal.SIGTERM)

    assert out.rstrip("\n").isprintable()
    assert out.isascii()
    assert json.loads(out)["path"] == "/\x9b31mRED\u202e\x85\u2028\x1b"


def test_a_port_in_use_is_one_clear_error(run: Callable[..., Answer]) -> None:
    """Else the second start would end in a trace, or two servers would share the clients."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = run("serve", "--port", taken.getsockname()[1])

    assert said.code == 4
    assert len(said.err.splitlines()) == 1
    assert "--port" in said.err


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1", "a" * 300, "::g"])
def test_an_address_of_another_machine_is_one_clear_error(run: Callable[..., Answer], host: str) -> None:
    """Else a mistyped address would end in a trace."""
    said = run("serve", "--host", host, "--port", "0")

    assert said.code == 4
    assert len(said.err.splitlines()) == 1
    assert "--host" in said.err


def test_where_there_is_no_library_it_says_so(run: Callable[..., Answer], tmp_path: Path) -> None:
    """Else a wrong folder would become a new, empty library."""
    said = run("--home", tmp_path, "serve")

    assert said.code == 5
    assert "no library here" in said.err
    assert not (tmp_path / "comfyvn").exists()


def test_without_the_extra_it_says_which_to_install() -> None:
    """Else who installed only the core would see a trace."""
    script = (
        "import sys; sys.modules['fastapi'] = None; sys.argv = ['comfyvn', 'serve'];"
        "from comfyvn.cli import main; main()"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, encoding="utf-8", timeout=TIMEOUT_S, check=False
    )

    assert done.returncode == 2
    assert 'pip install "comfyvn[server]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_help_works_without_the_extra() -> None:
    """Else the commands could not be looked up."""
    script = (
        "import sys; sys.modules['fastapi'] = None; sys.argv = ['comfyvn', 'serve', '--help'];"
        "from comfyvn.cli import main; main()"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, encoding="utf-8", timeout=TIMEOUT_S, check=False
    )

    assert done.returncode == 0
    assert "Serve the library over HTTP" in done.stdout


@pytest.mark.parametrize(("number", "times"), [(signal.SIGTERM, 1), (signal.SIGINT, 1), (signal.SIGINT, 3)])
def test_it_ends_at_once_whoever_is_being_served(number: signal.Signals, times: int) -> None:
    """Else a restart would wait for open pages, or be killed in the middle of a change."""
    with ExitStack() as held, serve_process() as served:
        address = ("127.0.0.1", served.port)
        for opening in (
            b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET /events/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        ):
            stream = held.enter_context(socket.create_connection(address, timeout=TIMEOUT_S))
            stream.sendall(opening)
            assert stream.recv(12) in (b"HTTP/1.1 200", b"HTTP/1.1 101")
        for opening in (
            b"POST /assets/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n"
            b"Content-Type: multipart/form-data; boundary=xx\r\n\r\n--xx\r\nContent-Disposition: form-data;"
            b' name="file"; filename="a.png"\r\n\r\n' + b"x" * 100_000,
            b"PATCH /assets/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n{",
            b"GET /ass",
            b"",
        ):
            held.enter_context(socket.create_connection(address, timeout=TIMEOUT_S)).sendall(opening)
        get(f"{served.address}/healthz").raise_for_status()
        begun = time.monotonic()
        code, out, err = served.end(number, times=times)
        took_s = time.monotonic() - begun

    assert code == 0
    assert took_s < ENDING_S + SLACK_S
    assert out == ""
    assert err.endswith("Ctrl+C ends it.\n")
    assert [path for path in Path("assets/.comfyvn/staging").rglob("*") if _is_data(path)] == []


def _is_data(path: Path) -> bool:
    """Tell a file from the lock of the staging folder that the test's own registry has."""
    return path.is_file() and path.name != "lock"


def test_an_answer_that_is_nearly_done_is_finished(library: AssetRegistry) -> None:
    """Else the end of the server would cut off changes that were made, and nobody would know."""
    body = b'{"tags": ["one"]}'
    head = b"PATCH /assets/0123456789abcdef HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with running(library) as (server, address):
        port = int(address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
            connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body[:5])
            httpx.get(f"{address}/healthz", timeout=TIMEOUT_S, trust_env=False).raise_for_status()
            server.end()
            assert server.state.closing is not None
            deadline = time.monotonic() + TIMEOUT_S
            while not server.state.closing.is_set() and time.monotonic() < deadline:
                time.sleep(0.005)
            connection.sendall(body[5:])
            answer = connection.recv(65_536)

    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"connection: close" in answer.lower()


def test_two_servers_share_a_library() -> None:
    """Else a second one, started by mistake, would do harm."""
    with serve_process() as first, serve_process() as second:
        answers = [get(f"{each.address}/assets").status_code for each in (first, second)]
        ends = [each.end(signal.SIGTERM)[0] for each in (first, second)]

    assert answers == [200, 200]
    assert ends == [0, 0]


def test_all_places_can_be_taken_and_given_back() -> None:
    """Else connections would be lost one by one till nobody gets in."""
    with serve_process(COMFYVN_CONNECTIONS="50") as served:
        for _ in range(3):
            with ExitStack() as held:
                for _ in range(120):
                    held.enter_context(
                        socket.create_connection(("127.0.0.1", served.port), timeout=TIMEOUT_S)
                    )
        answers: list[int] = []
        threads = [
            threading.Thread(target=lambda: answers.append(get(f"{served.address}/assets").status_code))
            for _ in range(30)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT_S)
        code, _, err = served.end(signal.SIGTERM)

    assert answers == [200] * 30
    assert code == 0
    assert "Traceback" not in err


@pytest.mark.parametrize("kind", ["bulk", "undo"])
def test_a_long_change_ends_at_a_safe_point_and_tells_how_far_it_came(
    library: AssetRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Else the end would wait for thousands of assets, and nobody would learn which of them were changed."""
    monkeypatch.setattr(many, "_CHUNK", 1)
    monkeypatch.setattr(history, "_CHUNK", 1)
    for number in range(MANY):
        (tmp_path / f"{number}.dat").write_bytes(b"asset %d" % number)
    files = [{"source_path": tmp_path / f"{number}.dat", "asset_type": "many"} for number in range(MANY)]
    assert all(each["asset"] for each in library.register_many(files))
    path, body = "/assets/bulk", {"filter": {"type": "many"}, "expected": MANY, "add_tags": ["night"]}
    operation = None
    if kind == "undo":
        operation = library.bulk_edit(matching={"asset_type": "many"}, add_tags=["night"])["operation"]
        path, body = f"/assets/operations/{operation}/undo", {}
    position = library.journal_position()

    with running(library) as (server, address), ThreadPoolExecutor(1) as pool:
        asked = pool.submit(httpx.post, address + path, json=body, timeout=TIMEOUT_S, trust_env=False)
        deadline = time.monotonic() + TIMEOUT_S
        while library.journal_position() == position and time.monotonic() < deadline:
            time.sleep(0.005)
        server.end()
        answer = asked.result(TIMEOUT_S).json()

    assert answer["stopped"] is True
    tagged = library.count_assets(tags=["night"])
    assert 0 < tagged < MANY
    if operation is None:
        assert answer["counts"] == {"total": MANY, "changed": tagged, "unchanged": 0, "failed": MANY - tagged}
    else:
        assert answer["counts"] == {"undone": MANY - tagged, "refused": 0, "kept": 0}
        assert len(library.undo(operation)["undone"]) == tagged
