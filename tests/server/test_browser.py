"""A real browser: what a page of another server can't do to a library, and what our own answers can't do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from comfyvn.db.tokens import Tokens
from comfyvn.studio.core import AssetRegistry
from serving import running
from support import TIMEOUT_S

READ = """async url => {
    try { return (await (await fetch(url, {credentials: 'include'})).text()).length }
    catch (error) { return error.name }
}"""
UPLOAD = """async url => {
    const form = new FormData()
    form.append('file', new Blob(['not yours']), 'planted.txt')
    const request = {method: 'POST', body: form, mode: 'no-cors', credentials: 'include'}
    try { return (await fetch(url, request)).type }
    catch (error) { return error.name }
}"""
REMOVE = """async url => {
    try { return (await fetch(url, {method: 'DELETE', credentials: 'include'})).status }
    catch (error) { return error.name }
}"""
LISTEN = """url => new Promise(done => {
    const socket = new WebSocket(url)
    socket.onopen = () => done('open')
    socket.onerror = () => done('refused')
})"""
STREAM = """url => new Promise(done => {
    const stream = new EventSource(url, {withCredentials: true})
    stream.onmessage = stream.onopen = () => done('open')
    stream.onerror = () => { stream.close(); done('refused') }
})"""
EMBED = """([tag, url]) => new Promise(done => {
    const element = document.createElement(tag)
    element.onload = () => done('loaded')
    element.onerror = () => done('refused')
    element.src = url
    document.body.append(element)
})"""
INLINE = """() => {
    const script = document.createElement('script')
    script.textContent = 'window.was_run = true'
    document.documentElement.append(script)
    return window.was_run === true
}"""

OUR_PAGE = "<!doctype html><title>ours</title><body></body>"
OUR_HEADERS = {
    "content-type": "text/html",
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:",
}
SHOW = """address => new Promise(done => {
    const image = new Image()
    image.onload = () => done([image.naturalWidth, image.naturalHeight])
    image.onerror = () => done('refused')
    image.src = address
})"""
PLAY = """([tag, address]) => new Promise(done => {
    const player = document.createElement(tag)
    player.muted = true
    player.onerror = () => done(player.error.message)
    player.onloadedmetadata = () => { player.currentTime = player.duration / 2 }
    player.onseeked = () => {
        player.onseeked = null
        player.ontimeupdate = () => {
            if (player.currentTime > player.duration / 2) done('played from the middle')
        }
        player.play().catch(error => done(error.message))
    }
    player.src = address
    document.body.append(player)
})"""
FRAME = """address => new Promise(done => {
    const frame = document.createElement('iframe')
    frame.src = address
    document.body.append(frame)
    setTimeout(() => done(frame.contentDocument?.body.innerHTML === '' ? 'empty' : 'shown'), 500)
})"""
FETCH = """async address => {
    const answer = await fetch(address), blob = await answer.blob()
    return [blob.type, blob.size, answer.headers.get('content-disposition')]
}"""


class _Page(BaseHTTPRequestHandler):
    """An empty page."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>another server</title><body></body>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def other_server() -> Iterator[int]:
    """The port of another server on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join(TIMEOUT_S)


@pytest.fixture
def library(registry: AssetRegistry, make_png: Callable[..., Path]) -> AssetRegistry:
    """A library with one picture that has its thumbnail."""
    registry.register_file(make_png(), "characters")
    registry.wait_for_thumbnails()
    return registry


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("has_session", [False, True])
def test_a_page_of_another_server_can_do_nothing(
    browser: Any, library: AssetRegistry, other_server: int, host: str, has_session: bool
) -> None:
    """Else any page that a maker looks at could read, change, delete or watch his unpublished work.

    By ``localhost`` it is of another site, by ``127.0.0.1`` of the same one but for its port: then the
    browser sends it our cookie.
    """
    uid = library.list_assets()[0]["uid"]
    headers = {}
    if has_session:
        _, text = Tokens(library.library.ledger.engine, "default").create("mara", "admin")
        headers = {"Authorization": f"Bearer {text}"}
    with running(library, is_exposed=has_session) as (server, own):
        context = browser.new_context()
        try:
            if has_session:
                assert context.request.post(f"{own}/session", headers={**headers, "Origin": own}).ok
                assert context.request.get(f"{own}/assets").ok
            page = context.new_page()
            page.goto(f"http://{host}:{other_server}/")
            found = {
                "read": page.evaluate(READ, f"{own}/assets"),
                "upload": page.evaluate(UPLOAD, f"{own}/assets/upload"),
                "remove": page.evaluate(REMOVE, f"{own}/assets/{uid}"),
                "socket": page.evaluate(LISTEN, f"{own.replace('http', 'ws')}/events/ws"),
                "stream": page.evaluate(STREAM, f"{own}/events"),
                "picture": page.evaluate(EMBED, ["img", f"{own}/assets/{uid}/thumb"]),
                "script": page.evaluate(EMBED, ["script", f"{own}/assets"]),
            }
            told = list(server.state.meters.lines())
        finally:
            context.close()

    assert found == {
        "read": "TypeError",
        "upload": "TypeError",
        "remove": "TypeError",
        "socket": "refused",
        "stream": "refused",
        "picture": "refused",
        "script": "refused",
    }
    assert 'comfyvn_requests_total{method="POST",route="none",status="4xx"} 1' in told  # it was sent
    assert [each["uid"] for each in library.list_assets()] == [uid]


def test_our_own_answers_run_and_load_nothing(browser: Any, library: AssetRegistry) -> None:
    """Else a file or name that somebody planted could act in the maker's name."""
    uid = library.list_assets()[0]["uid"]
    with running(library) as (_, own):
        page = browser.new_page()
        try:
            page.goto(f"{own}/assets/{uid}")
            text = page.inner_text("body")
            was_run = page.evaluate(INLINE)
            read = page.evaluate(READ, f"{own}/assets")
            picture = page.evaluate(EMBED, ["img", f"{own}/assets/{uid}/thumb"])
            page.goto(f"{own}/assets/{uid}/thumb")
            is_shown = page.evaluate("() => document.images[0].naturalWidth > 0")
        finally:
            page.close()

    assert uid in text
    assert was_run is False
    assert (read, picture) == ("TypeError", "refused")
    assert is_shown


def test_a_page_of_ours_shows_originals_and_nothing_in_them_is_run(
    browser: Any, registry: AssetRegistry, make_png: Callable[..., Path], art: Path, tmp_path: Path
) -> None:
    """Else a lightbox could show previews only; or a drawing that somebody planted would act in our name."""
    drawing, page_file = tmp_path / "mask.svg", tmp_path / "note.html"
    drawing.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10">'
        '<script>top.document.title = "run"</script><rect width="20" height="10"/></svg>'
    )
    page_file.write_text('<script>top.document.title = "run"</script>')
    found = {path.name: path for path in art.rglob("*") if path.suffix in (".opus", ".ogg", ".webm")}
    sources = {
        "picture": make_png(),
        "drawing": drawing,
        "page": page_file,
        "opus": found["pong_beep.opus"],
        "ogg": found["tower_clock.ogg"],
        "film": found["oa4_launch.webm"],
    }
    uids = {name: registry.register_file(path, "art")["uid"] for name, path in sources.items()}
    registry.wait_for_thumbnails()
    context = browser.new_context()
    try:
        with running(registry) as (_, own):
            page = context.new_page()
            page.route("**/our-page", lambda route: route.fulfill(body=OUR_PAGE, headers=OUR_HEADERS))
            page.goto(f"{own}/our-page")
            address = {name: f"/assets/{uid}/download" for name, uid in uids.items()}
            pictures = [page.evaluate(SHOW, address[name]) for name in ("picture", "drawing")]
            played = {
                name: page.evaluate(PLAY, [tag, address[name]])
                for name, tag in (("opus", "audio"), ("ogg", "audio"), ("film", "video"))
            }
            framed = [page.evaluate(FRAME, address[name]) for name in ("drawing", "page", "picture")]
            saved = []
            for name in ("drawing", "page"):
                with page.expect_download() as download:
                    page.evaluate("address => { location.href = address }", address[name])
                saved.append(download.value.suggested_filename)
            title = page.title()
    finally:
        context.close()

    assert pictures == [[64, 48], [20, 10]]
    assert played == dict.fromkeys(("opus", "ogg", "film"), "played from the middle")
    assert framed == ["empty"] * 3
    assert saved == ["mask.svg", "note.html"]
    assert title == "ours"


def test_a_listed_page_can_fetch_a_file_by_an_address_that_ends_with_its_suffix(
    browser: Any,
    library: AssetRegistry,
    other_server: int,
    open_registry: Callable[..., AssetRegistry],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a card that is dragged onto ComfyUI would be refused there, or by us."""
    monkeypatch.setenv("COMFYVN_ALLOWED_ORIGINS", f"http://127.0.0.1:{other_server}")
    record = library.list_assets()[0]

    with running(open_registry()) as (_, own):
        page = browser.new_page()
        try:
            page.goto(f"http://127.0.0.1:{other_server}/")
            fetched = page.evaluate(FETCH, f"{own}/assets/{record['uid']}/download?filename=mara.png")
        finally:
            page.close()

    size = (library.ASSETS_ROOT / record["path"]).stat().st_size
    assert fetched == ["image/png", size, 'attachment; filename="mara.png"']


def test_a_listed_page_can_read(
    browser: Any,
    library: AssetRegistry,
    other_server: int,
    open_registry: Callable[..., AssetRegistry],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the pages that a maker lists, such as ComfyUI's, would be kept out like all others."""
    monkeypatch.setenv("COMFYVN_ALLOWED_ORIGINS", f"http://127.0.0.1:{other_server}")
    uid = library.list_assets()[0]["uid"]

    with running(open_registry()) as (_, own):
        page = browser.new_page()
        try:
            page.goto(f"http://127.0.0.1:{other_server}/")
            read = page.evaluate(READ.replace(", {credentials: 'include'}", ""), f"{own}/assets")
            removed = page.evaluate(REMOVE.replace(", credentials: 'include'", ""), f"{own}/assets/{uid}")
        finally:
            page.close()

    assert isinstance(read, int)
    assert removed == 200
    assert library.list_assets() == []
