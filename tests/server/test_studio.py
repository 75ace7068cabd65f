"""The Studio's page as the server hands it out, who gets in by it, and the command that opens it."""

from __future__ import annotations

import gzip
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from comfyvn.db.tokens import Tokens
from comfyvn.server import access, studio
from comfyvn.studio.core import AssetRegistry
from serving import COMFYVN, running, serve
from support import TIMEOUT_S, Answer

ROOT = Path(__file__).parents[2]
BUILD_S = 240
NO_SCRIPT_BUT_OURS = ("default-src 'none'", "script-src 'self'", "base-uri 'none'", "frame-ancestors 'none'")


@pytest.fixture(scope="session")
def built() -> Path:
    """The folder of the built page, which is built if it is old."""
    stated = os.environ.get("COMFYVN_TEST_PAGE")
    if stated is not None:
        return Path(stated)
    command = [sys.executable, str(ROOT / "tools" / "web.py"), "build"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return studio.FOLDER


@pytest.fixture(autouse=True)
def page(built: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the server send the page from there."""
    monkeypatch.setattr(studio, "FOLDER", built)
    return built


def files_of(page: str) -> list[str]:
    """Return what an index.html loads."""
    return re.findall(r'(?:src|href)="\./([^"]+)"', page)


# -- the page ---------------------------------------------------------------------------------------------


def test_the_page_and_its_files_find_each_other(client: httpx.Client) -> None:
    """Else a browser would show an empty window."""
    found = client.get("/studio?panel=gallery", follow_redirects=True)
    files = files_of(found.text)

    types = {
        name.rpartition(".")[2]: client.get(found.url.join(name)).headers["content-type"] for name in files
    }

    assert found.url.path == "/studio/"
    assert found.url.query == b"panel=gallery"
    assert found.headers["content-type"] == "text/html; charset=utf-8"
    assert types["js"] == "text/javascript; charset=utf-8"
    assert types["css"] == "text/css; charset=utf-8"
    assert types["svg"] == "image/svg+xml"


def test_a_new_release_is_seen_at_once_and_its_files_are_kept_for_good(client: httpx.Client) -> None:
    """Else an upgrade would show the old page, or every visit would load all of it again."""
    index = client.get("/studio/")
    again = client.get("/studio/", headers={"if-none-match": index.headers["etag"]})
    [script] = [name for name in files_of(index.text) if name.endswith(".js")]
    kept = client.get(f"/studio/{script}")
    icon = client.get("/studio/icon.svg")

    assert index.headers["cache-control"] == icon.headers["cache-control"] == "no-cache"
    assert (again.status_code, again.content) == (304, b"")
    assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [("gzip", True), ("br, gzip;q=0.5", True), ("gzip;q=0", False), ("identity", False), ("xgzip", False)],
)
def test_files_are_sent_compressed_to_whoever_wants_that(
    client: httpx.Client, page: Path, accepted: str, is_compressed: bool
) -> None:
    """Else the page would come slowly over a network, or as noise to a program that can't unpack it."""
    [script] = [name for name in files_of(client.get("/studio/").text) if name.endswith(".js")]
    plain = (page / script).read_bytes()

    with client.stream("GET", f"/studio/{script}", headers={"accept-encoding": accepted}) as answer:
        data = b"".join(answer.iter_raw())

    assert answer.headers.get("content-encoding") == ("gzip" if is_compressed else None)
    assert (gzip.decompress(data) if is_compressed else data) == plain
    assert answer.headers["vary"] == "accept-encoding"
    assert int(answer.headers["content-length"]) == len(data)
    assert (
        answer.headers["etag"]
        != client.get(f"/studio/{script}", headers=_other(is_compressed)).headers["etag"]
    )


def _other(is_compressed: bool) -> dict[str, str]:
    return {"accept-encoding": "identity" if is_compressed else "gzip"}


@pytest.mark.parametrize(
    "path",
    [
        *(
            "nothing",
            "nothing.html",
            "assets/",
            "assets",
            ".stamp",
            "../app.py",
            "..%2fapp.py",
            "%2e%2e/schemas.py",
        ),
        *(
            "/etc/passwd",
            "%2fetc%2fpasswd",
            "a%00.html",
            "..%5capp.py",
            "C:/x.html",
            "assets//x.js",
            "index.html/",
        ),
        *("./index.html%0a", "assets/../index.html", "index.html.gz"),
    ],
)
def test_nothing_but_the_page_is_sent(registry: AssetRegistry, path: str) -> None:
    """Else everybody could read files of the server's machine."""
    with (
        running(registry) as (_, address),
        socket.create_connection(_place(address), timeout=TIMEOUT_S) as sent,
    ):
        head = f"GET /studio/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        sent.sendall(head.encode())
        answer = b"".join(iter(lambda: sent.recv(65_536), b""))

    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"application/problem+json" in answer


def _place(address: str) -> tuple[str, int]:
    return "127.0.0.1", int(address.rpartition(":")[2])


def test_the_page_is_for_all_and_the_library_for_who_may_see_it(registry: AssetRegistry) -> None:
    """Else nobody could sign in where every request needs a token, or all could look at the library."""
    Tokens(registry.library.ledger.engine, "default").create("mara", "admin")

    with serve(registry, is_exposed=True) as client:
        stale = {"cookie": f"comfyvn_session_{client.base_url.port}=x"}
        script = files_of(client.get("/studio/").text)[-1]
        open_paths = [
            client.get(path, headers={**headers, "accept": "text/html"}).status_code
            for path in ("/", "/studio", "/studio/", f"/studio/{script}")
            for headers in ({}, stale)
        ]
        closed = [
            client.get(path).status_code for path in ("/assets", "/session", "/studiox", "/openapi.json")
        ]
        foreign = client.get("/studio/", headers={"host": "evil.example"})
        embedded = client.get(
            "/studio/", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
        )

    assert open_paths == [307] * 4 + [200] * 4
    assert closed == [401] * 4
    assert (foreign.status_code, embedded.status_code) == (421, 403)


def test_the_page_runs_no_script_but_its_own(client: httpx.Client) -> None:
    """Else a name or a note that somebody planted could act in the maker's name."""
    policy = client.get("/studio/").headers["content-security-policy"]

    assert set(NO_SCRIPT_BUT_OURS) <= set(policy.split("; "))
    assert "unsafe" not in policy
    assert client.get("/assets").headers["content-security-policy"].startswith("default-src 'none'; frame")


def test_a_browser_is_led_from_the_root_to_the_page_and_a_script_is_not(client: httpx.Client) -> None:
    """Else who types the address alone would see a problem as JSON, or a script a page it can't read."""
    browser = client.get("/", headers={"accept": "text/html,*/*;q=0.8"}, follow_redirects=True)
    script = client.get("/", headers={"accept": "*/*"})

    assert browser.url.path == "/studio/"
    assert script.status_code == 404
    assert script.headers["content-type"] == "application/problem+json"


def test_head_tells_of_the_page_what_get_does(client: httpx.Client) -> None:
    """Else what checks links or watches over the server would take the page for missing."""
    asked, read = client.head("/studio/"), client.get("/studio/")

    left = ("date", "x-request-id")
    assert asked.content == b""
    assert {name: value for name, value in asked.headers.items() if name not in left} == {
        name: value for name, value in read.headers.items() if name not in left
    }
    assert client.put("/studio/").headers["allow"] == "GET, HEAD"


def test_where_the_page_was_not_built_it_says_how_to_get_it(
    client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Answer]
) -> None:
    """Else who installed without it would take the server for broken."""
    monkeypatch.setattr(studio, "FOLDER", tmp_path / "nothing")

    index, file = client.get("/studio/"), client.get("/studio/assets/index.js")
    command = run("studio", "--port", "0")

    assert index.status_code == file.status_code == 503
    assert index.headers["content-type"].startswith("text/plain")
    assert "python tools/web.py build" in index.text
    assert (command.code, command.err.count("\n")) == (5, 1)
    assert "COMFYVN_SKIP_STUDIO" in command.err


# -- who comes in -----------------------------------------------------------------------------------------


def test_a_page_learns_what_it_may_offer(registry: AssetRegistry, client: httpx.Client) -> None:
    """Else it would show buttons that can't work, and send files that are refused."""
    told = client.get("/session").json()
    proxied = client.get("/session", headers={"x-forwarded-for": "203.0.113.9"})

    config = registry.library.config
    assert (told["is_local"], told["project"], told["library"]) == (
        True,
        "default",
        registry.library.library_id,
    )
    assert told["limits"]["page_size"] == config.page_size
    assert told["limits"]["upload_bytes"] == config.upload_bytes
    assert proxied.status_code == 401


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is always a desktop")
def test_a_page_learns_whether_there_is_a_file_manager(
    client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would offer to open one on a machine without a screen."""
    opener = tmp_path / "bin" / "xdg-open"
    opener.parent.mkdir()
    opener.write_text("#!/bin/sh\n")
    opener.chmod(0o755)
    monkeypatch.setenv("PATH", str(opener.parent))
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    told = []

    for display in ("", ":0"):
        monkeypatch.setenv("DISPLAY", display)
        told.append(client.get("/session").json()["can_reveal"])
    opener.unlink()
    told.append(client.get("/session").json()["can_reveal"])

    assert told == [False, True, False]


@pytest.fixture
def fenced(registry: AssetRegistry) -> AssetRegistry:
    """A library with a token."""
    Tokens(registry.library.ledger.engine, "default").create("ci", "assets.read")
    return registry


@contextmanager
def coded(registry: AssetRegistry, *, is_exposed: bool = False) -> Iterator[tuple[httpx.Client, str]]:
    """Serve a registry and give a client that sends its origin, as a page does, and a code."""
    with running(registry, is_exposed=is_exposed) as (server, address):
        code = server.state.doorkeeper.make_code()
        with httpx.Client(base_url=address, timeout=TIMEOUT_S, trust_env=False) as client:
            client.headers["origin"] = address
            yield client, code


@pytest.mark.parametrize("is_exposed", [False, True])
def test_a_code_lets_one_browser_in(fenced: AssetRegistry, is_exposed: bool) -> None:
    """Else who starts the Studio on his own machine would have to look for a token first."""
    with coded(fenced, is_exposed=is_exposed) as (client, code):
        before = client.patch("/assets/0123456789abcdef", json={})
        begun = client.post("/session", json={"code": code})
        after = client.patch("/assets/0123456789abcdef", json={})
        told = client.get("/session").json()
        client.cookies.clear()
        again = client.post("/session", json={"code": code})

    assert (before.status_code, begun.status_code, after.status_code) == (401, 200, 404)
    assert {"HttpOnly", "SameSite=strict"} <= set(begun.headers["set-cookie"].split("; "))
    assert code not in begun.headers["set-cookie"]
    assert (begun.json()["scope"], told["scope"], told["name"]) == ("admin", "admin", None)
    assert again.status_code == 401
    assert again.json()["type"] == "urn:comfyvn:problem:code-refused"
    assert "set-cookie" not in again.headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x-forwarded-for": "203.0.113.9"}, 401),
        ({"origin": "http://evil.example"}, 403),
        ({"host": "evil.example"}, 421),
    ],
)
def test_a_code_is_of_no_use_elsewhere(fenced: AssetRegistry, headers: dict[str, str], status: int) -> None:
    """Else another machine or page that gets hold of it could change the library."""
    with coded(fenced) as (client, code):
        refused = client.post("/session", json={"code": code}, headers=headers)
        good = client.post("/session", json={"code": code})

    assert (refused.status_code, good.status_code) == (status, 200)
    assert "set-cookie" not in refused.headers


def test_a_code_is_good_for_a_minute_only(fenced: AssetRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an address in a terminal or a history would let people in for as long as the server runs."""
    monkeypatch.setattr(access, "_CODE_S", 0.2)

    with coded(fenced) as (client, code):
        time.sleep(0.3)
        late = client.post("/session", json={"code": code})

    assert late.status_code == 401


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"code": "x"}, 401),
        ({"code": ""}, 401),
        ({"code": 7}, 422),
        ({"key": "x"}, 422),
        ({}, 401),
        ({"code": None}, 401),
    ],
)
def test_a_made_up_code_lets_nobody_in(fenced: AssetRegistry, body: Any, status: int) -> None:
    """Else anybody could come in by guessing or by saying nothing."""
    with coded(fenced, is_exposed=True) as (client, _):
        answer = client.post("/session", json=body)

    assert answer.status_code == status
    assert "set-cookie" not in answer.headers


# -- in a browser -----------------------------------------------------------------------------------------


@pytest.mark.art
def test_a_browser_shows_and_plays_assets_inside_the_page(
    browser: Any, registry: AssetRegistry, art: Path
) -> None:
    """Else the policy of the page, or a header of the files, would keep its own pictures and sounds out."""
    chosen = {kind: next(iter(sorted(art.rglob(f"*.{kind}")))) for kind in ("png", "ogg", "webm")}
    uids = {kind: registry.register_file(path, "art")["uid"] for kind, path in chosen.items()}
    assert registry.wait_for_thumbnails(TIMEOUT_S)

    with running(registry) as (_, address):
        window = browser.new_page()
        said: list[str] = []
        window.on("console", lambda message: said.append(message.text))
        window.goto(f"{address}/studio/")
        shown = {
            "thumb": window.evaluate(LOADS, ["img", f"{address}/assets/{uids['png']}/thumb", "load"]),
            "file": window.evaluate(LOADS, ["img", f"{address}/assets/{uids['png']}/download", "load"]),
            "sound": window.evaluate(LOADS, ["audio", f"{address}/assets/{uids['ogg']}/download", "canplay"]),
            "film": window.evaluate(LOADS, ["video", f"{address}/assets/{uids['webm']}/download", "canplay"]),
            "socket": window.evaluate(LISTENS, f"{address.replace('http', 'ws')}/events/ws"),
            "inline": window.evaluate(INLINE),
        }
        window.close()

    assert shown == dict.fromkeys(("thumb", "file", "sound", "film"), "load") | {
        "socket": "open",
        "inline": False,
    }
    assert [text for text in said if "Content Security Policy" in text and "inline" not in text] == []


LOADS = """([tag, url, event]) => new Promise(done => {
    const element = document.createElement(tag)
    element.addEventListener(event, () => done('load'))
    element.addEventListener('error', () => done('error'))
    element.src = url
    document.body.append(element)
})"""
LISTENS = """url => new Promise(done => {
    const socket = new WebSocket(url)
    socket.onopen = () => done('open')
    socket.onerror = () => done('refused')
})"""
INLINE = """() => {
    const script = document.createElement('script')
    script.textContent = 'window.was_run = true'
    document.documentElement.append(script)
    return window.was_run === true
}"""


# -- the command ------------------------------------------------------------------------------------------


@pytest.fixture
def screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A browser that only writes down which address it is to open."""
    program, opened = tmp_path / "browser", tmp_path / "opened.txt"
    program.write_text(f'#!/bin/sh\necho "$1" >> "{opened}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(program))
    return opened


@contextmanager
def studio_process(
    *arguments: str, until: str = "Ctrl+C ends it."
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run `comfyvn studio` and give it with what it has said till it is ready."""
    command = [COMFYVN, "studio", *arguments]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said: list[str] = []
        try:
            for line in process.stderr:
                said.append(line.rstrip("\n"))
                if until in line:
                    break
            yield process, said
        finally:
            process.kill()


def opened_in(screen: Path) -> list[str]:
    deadline = time.monotonic() + TIMEOUT_S
    while not screen.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return screen.read_text("utf-8").splitlines()


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        return int(taken.getsockname()[1])


def test_the_command_opens_the_page_and_ends_cleanly(registry: AssetRegistry, screen: Path) -> None:
    """Else a maker would have to find out address and port, or kill the server."""
    with studio_process("--port", "0") as (process, said):
        [address] = opened_in(screen)
        answer = httpx.get(address, timeout=TIMEOUT_S, trust_env=False)
        process.send_signal(signal.SIGINT)
        code = process.wait(TIMEOUT_S)

    assert answer.status_code == 200
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/studio/", address)
    assert said == [f"The Studio of project default: {address}", "Ctrl+C ends it."]
    assert code == 0


def test_in_a_folder_without_a_library_a_new_one_begins(project: Path, screen: Path) -> None:
    """Else a maker could not open the page to drag the first pictures onto it."""
    with studio_process("--port", "0") as (_, said):
        [address] = opened_in(screen)
        listed = httpx.get(address.replace("/studio/", "/assets"), timeout=TIMEOUT_S, trust_env=False).json()
    with studio_process("--port", "0") as (_, said_later):
        pass

    assert said[0] == "There is no library in this folder yet: a new one begins here."
    assert listed["total"] == 0
    assert (project / "assets" / ".comfyvn" / "library.json").exists()
    assert not any("new one" in line for line in said_later)


def test_where_the_ledger_was_lost_no_new_library_begins(
    registry: AssetRegistry, run: Callable[..., Answer]
) -> None:
    """Else the page would show nothing in a folder full of assets, and nobody would think of a rebuild."""
    registry.close()
    for part in registry.db_path.parent.glob(f"{registry.db_path.name}*"):
        part.unlink()

    refused = run("studio", "--port", "0", "--no-browser")

    assert refused.code != 0
    assert "comfyvn rebuild" in refused.err
    assert not registry.db_path.exists()


def test_where_there_are_tokens_the_link_lets_in_once(fenced: AssetRegistry, screen: Path) -> None:
    """Else who has made a token for a script could no longer edit in the Studio without one."""
    with studio_process("--port", "0") as (_, said):
        [link] = opened_in(screen)
        address, _, code = link.partition("/studio/#login=")
        tries = [
            httpx.post(f"{address}/session", json={"code": code}, timeout=TIMEOUT_S, trust_env=False)
            for _ in range(2)
        ]

    assert [each.status_code for each in tries] == [200, 401]
    assert link in said[0]
    assert "once and within a minute" in said[1]


def test_a_library_that_is_served_already_is_only_shown(
    registry: AssetRegistry, screen: Path, run: Callable[..., Answer]
) -> None:
    """Else each click on a starter would leave one more server behind."""
    port = free_port()
    with studio_process("--port", str(port), "--no-browser"):
        second = run("studio", "--port", port)

    assert second.code == 0
    assert "served already" in second.err
    assert opened_in(screen) == [f"http://127.0.0.1:{port}/studio/"]


def test_another_program_on_the_port_is_got_out_of_the_way_of(
    registry: AssetRegistry, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Answer], screen: Path
) -> None:
    """Else the Studio could not be opened, or another library's would be."""
    with AssetRegistry("other.db", assets_root="other", durability="off") as library, serve(library) as other:
        port = other.base_url.port
        monkeypatch.setenv("COMFYVN_SERVER_PORT", str(port))
        with studio_process("--no-browser") as (_, said):
            address = said[0].rpartition(" ")[2]
            told = httpx.get(
                address.replace("/studio/", "/session"), timeout=TIMEOUT_S, trust_env=False
            ).json()
        stated = run("studio", "--port", port)

    assert f":{port}/" not in address
    assert told["library"] == registry.library.library_id
    assert stated.code == 4
    assert not screen.exists()


def test_without_a_screen_it_says_how_to_come_in_from_elsewhere(
    registry: AssetRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever starts it on a GPU box over SSH would see an address that his browser can't reach."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)

    with studio_process("--port", "0") as (process, said):
        port = re.search(r":(\d+)/studio/", said[0])
        process.send_signal(signal.SIGTERM)
        code = process.wait(TIMEOUT_S)

    assert port is not None
    assert any(line.strip().startswith(f"ssh -L {port[1]}:127.0.0.1:{port[1]} ") for line in said)
    assert code == 0
