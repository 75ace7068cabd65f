"""What there is to see when there is nothing to see: no server, no token, no result, no assets."""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from comfyvn.db.tokens import Tokens
from comfyvn.server import studio as page_routes
from comfyvn.server.run import Server, listen, make_server
from comfyvn.studio.core import AssetRegistry
from gallery import TIMEOUT_MS, Gallery, opened
from serving import running
from support import TIMEOUT_S


@contextmanager
def serving_at(
    registry: AssetRegistry, port: int, *, is_exposed: bool = False
) -> Iterator[tuple[Server, int]]:
    """Serve at a port (0 for a free one) till the end of the block."""
    opened_socket = listen("127.0.0.1", port)
    server = make_server(registry, is_exposed=is_exposed)
    thread = threading.Thread(target=server.run, args=([opened_socket],), daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while not server.started:
            assert time.monotonic() < deadline, "the server did not start in time"
            time.sleep(0.005)
        yield server, opened_socket.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(TIMEOUT_S)
        opened_socket.close()


@pytest.fixture
def built(page_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have servers of this test serve the built page."""
    monkeypatch.setattr(page_routes, "FOLDER", page_folder)


def token_of(registry: AssetRegistry, scope: str) -> str:
    """A new token, as `comfyvn token create` makes it."""
    engine = registry.library.ledger.engine
    return Tokens(engine, registry.project_id).create(scope.replace(".", "-"), scope)[1]


def connection(page: Any) -> Any:
    """The sign that tells whether changes come in."""
    return page.locator(".connection")


# -- nothing to see ---------------------------------------------------------------------------------------


def test_an_empty_library_says_how_assets_get_in(empty_studio: Gallery) -> None:
    """Else the first thing that a new user sees is a void."""
    page = empty_studio.page
    expect(page.get_by_role("heading", name="This library is empty")).to_be_visible()
    expect(page.get_by_text("comfyvn ingest FOLDER")).to_be_visible()

    page.get_by_role("button", name="Import files …").click()

    expect(page.get_by_role("dialog", name="Import files")).to_be_visible()


def test_assets_that_come_into_an_empty_library_are_shown_at_once(
    empty_studio: Gallery, draw: Callable[..., Path]
) -> None:
    """Else one would have to reload to see the first one."""
    expect(empty_studio.page.get_by_role("heading", name="This library is empty")).to_be_visible()
    expect(connection(empty_studio.page)).to_have_text("Live")
    empty_studio.registry.register_file(draw("first.png", 1), "characters")

    expect(empty_studio.card("first")).to_be_visible()


def test_no_result_names_what_was_asked_for_and_leads_out(studio: Gallery) -> None:
    """Else one doesn't see which of the conditions is too much."""
    studio.open("?type=props&tag=sunset", count=0)
    found = studio.page.locator(".cards")
    expect(found.get_by_role("heading", name="No asset is like that")).to_be_visible()
    expect(found.get_by_text("Asked for all of: Type: props, Tag: sunset")).to_be_visible()

    found.get_by_role("button", name="Without “Tag: sunset”").click()
    expect(studio.page.locator(".status")).to_contain_text("10 assets")
    studio.page.go_back()
    found.get_by_role("button", name="Show all assets").click()

    expect(studio.page.locator(".status")).to_contain_text("30 assets")


def test_a_first_read_that_fails_says_why_and_can_be_tried_again(
    page: Any, library: AssetRegistry, page_folder: Path
) -> None:
    """Else a broken ledger looks like an empty library."""
    with closing(sqlite3.connect(library.db_path)) as ledger:
        ledger.execute("ALTER TABLE assets_registry RENAME TO away")
        with opened(page, library, page_folder, count=0) as studio:
            told = page.get_by_role("alert")
            expect(told.get_by_role("heading", name="The assets could not be read")).to_be_visible()
            assert len(told.locator("p").inner_text()) > 20
            ledger.execute("ALTER TABLE away RENAME TO assets_registry")

            def has_come() -> bool:
                # it tries again by itself, too: the button may be away at this moment, and come back
                page.evaluate("() => document.querySelector('[role=alert] button')?.click()")
                return bool(studio.card("mara_29").is_visible())

            studio.wait_until(has_come)


def test_a_slow_first_read_shows_where_cards_will_be(studio: Gallery) -> None:
    """Else a slow line looks like an empty library."""
    session = studio.page.context.new_cdp_session(studio.page)
    slow = {"offline": False, "latency": 700, "downloadThroughput": -1, "uploadThroughput": -1}
    session.send("Network.emulateNetworkConditions", slow)
    studio.page.goto(f"{studio.address}/studio/")

    expect(studio.page.locator(".cards .skeleton")).to_be_visible()
    expect(studio.card("mara_29")).to_be_visible()
    expect(studio.page.locator(".cards .skeleton")).to_have_count(0)


# -- no server --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("built")
def test_a_server_that_goes_and_comes_back_is_told_and_nothing_is_missed(
    page: Any, library: AssetRegistry, draw: Callable[..., Path]
) -> None:
    """Else one goes on working on a picture of the past."""
    page.set_default_timeout(TIMEOUT_MS)
    with serving_at(library, 0) as (_, port):
        studio = Gallery(page, f"http://127.0.0.1:{port}", library)
        studio.open()
        expect(connection(page)).to_have_text("Live")
        studio.card("mara_28").click()

    expect(connection(page)).to_have_text("Offline, trying again …")
    expect(studio.card("mara_28")).to_be_visible()
    library.register_file(draw("meanwhile.png", 50), "characters")
    with serving_at(library, port):
        expect(connection(page)).to_have_text("Live")
        page.get_by_role("button", name="1 new").click()
        expect(studio.card("meanwhile")).to_be_visible()
        assert studio.selected() == {"mara_28"}
        page.goto("about:blank")


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("wish", ["button", "focus", "online"])
def test_a_new_try_is_made_at_once_where_it_is_wanted(page: Any, library: AssetRegistry, wish: str) -> None:
    """Else one waits for seconds before a page that could be right again."""
    page.set_default_timeout(TIMEOUT_MS)
    again = page.get_by_role("button", name="Try now")
    with serving_at(library, 0) as (_, port):
        Gallery(page, f"http://127.0.0.1:{port}", library).open()
        expect(connection(page)).to_have_text("Live")
        expect(again).to_have_count(0)
        page.clock.install()

    expect(again).to_be_visible()
    page.clock.pause_at(time.time() + 3_600)  # from here on no timer of the page runs
    expect(connection(page)).to_have_text("Offline, trying again …")
    with serving_at(library, port):
        if wish == "button":
            again.click()
        else:
            page.evaluate(f"dispatchEvent(new Event('{wish}'))")
        expect(connection(page)).to_have_text("Live")
        expect(again).to_have_count(0)
        page.goto("about:blank")


@pytest.mark.usefixtures("built")
def test_a_search_while_the_server_is_away_goes_on_by_itself(page: Any, library: AssetRegistry) -> None:
    """Else one tries again and again by hand."""
    page.set_default_timeout(TIMEOUT_MS)
    with serving_at(library, 0) as (_, port):
        studio = Gallery(page, f"http://127.0.0.1:{port}", library)
        studio.open()

    page.get_by_role("button", name=re.compile("^props,")).click()
    expect(page.get_by_role("heading", name="The server can't be reached")).to_be_visible()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", name="The server can't be reached")).to_be_visible()
    with serving_at(library, port):
        expect(studio.card("mara_29")).to_be_visible()
        expect(page.locator(".status")).to_contain_text("10 assets")
        page.goto("about:blank")


# -- no token ---------------------------------------------------------------------------------------------


def field(page: Any) -> Any:
    """The field for the token."""
    return page.get_by_label("Token", exact=True)


def sign_in(page: Any, token: str) -> None:
    """Paste a token and send it."""
    field(page).fill(token)
    page.get_by_role("button", name="Sign in", exact=True).last.click()


@pytest.mark.usefixtures("built")
def test_where_everything_needs_a_token_the_page_asks_for_it(page: Any, library: AssetRegistry) -> None:
    """Else a library on the network shows a page of errors."""
    page.set_default_timeout(TIMEOUT_MS)
    token = token_of(library, "assets.write")
    with running(library, is_exposed=True) as (_, address):
        studio = Gallery(page, address, library)
        studio.open("?type=props", count=0)
        expect(field(page)).to_be_focused()
        expect(page.get_by_text("comfyvn token create")).to_be_visible()
        assert field(page).get_attribute("type") == "password"

        sign_in(page, "cvn_wrong")
        expect(page.get_by_role("alert")).to_contain_text("This token is not valid here")
        sign_in(page, "two words")
        expect(page.get_by_role("alert")).to_contain_text("This is no token")
        sign_in(page, f"  {token}\n")

        expect(studio.card("mara_29")).to_be_visible()
        expect(page.locator(".status")).to_contain_text("10 assets")
        expect(connection(page)).to_have_text("Live")
        page.reload()
        expect(studio.card("mara_29")).to_be_visible()
        page.get_by_role("menuitem", name="Help").click()
        page.get_by_role("menuitem", name="Sign out").click()
        expect(field(page)).to_be_visible()
        expect(studio.card("mara_29")).to_have_count(0)
        page.goto("about:blank")


@pytest.mark.usefixtures("built")
def test_who_has_guessed_too_often_is_told_how_long_to_wait(page: Any, library: AssetRegistry) -> None:
    """Else the right token seems to be wrong, too."""
    page.set_default_timeout(TIMEOUT_MS)
    with running(library, is_exposed=True) as (_, address):
        for _ in range(20):
            httpx.post(f"{address}/session", headers={"authorization": "Bearer guessed"})
        Gallery(page, address, library).open(count=0)
        sign_in(page, "guessed")

        expect(page.get_by_role("alert")).to_contain_text(
            re.compile(r"Too many wrong tokens.* Wait \d+ seconds")
        )
        page.goto("about:blank")


@pytest.mark.usefixtures("built")
def test_a_change_that_needs_a_token_can_be_made_after_signing_in(page: Any, library: AssetRegistry) -> None:
    """Else who may only look finds no way to become who may change."""
    page.set_default_timeout(TIMEOUT_MS)
    token = token_of(library, "assets.write")
    with running(library) as (_, address):
        studio = Gallery(page, address, library)
        studio.open()
        studio.card("mara_29").click()
        page.get_by_role("button", name="Sign in", exact=True).click()
        expect(page.get_by_role("dialog", name="Sign in to change assets")).to_be_visible()
        page.get_by_role("button", name="Go on without").click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.get_by_role("button", name="Sign in", exact=True).click()
        sign_in(page, token)

        expect(page.get_by_role("dialog")).to_have_count(0)
        assert studio.selected() == {"mara_29"}
        expect(page.get_by_role("button", name="Sign in", exact=True)).to_have_count(0)
        expect(page.get_by_role("banner")).to_contain_text("Signed in as assets-write")
        page.get_by_role("listbox", name="Assets").focus()
        studio.press("5")
        expect(page.get_by_role("region", name="News")).to_contain_text("Rated")
        assert studio.record("mara_29")["meta"]["rating"] == 5
        page.goto("about:blank")


@pytest.mark.usefixtures("built")
def test_a_session_that_ends_with_its_server_is_asked_for_anew(page: Any, library: AssetRegistry) -> None:
    """Else the page stays offline for ever, and says that it tries again."""
    page.set_default_timeout(TIMEOUT_MS)
    token = token_of(library, "assets.write")
    with serving_at(library, 0, is_exposed=True) as (_, port):
        studio = Gallery(page, f"http://127.0.0.1:{port}", library)
        studio.open(count=0)
        sign_in(page, token)
        expect(connection(page)).to_have_text("Live")

    expect(connection(page)).to_have_text("Offline, trying again …")
    with serving_at(library, port, is_exposed=True):
        expect(field(page)).to_be_visible()
        sign_in(page, token)
        expect(connection(page)).to_have_text("Live")
        expect(studio.card("mara_29")).to_be_visible()
        page.goto("about:blank")


@pytest.mark.usefixtures("built")
def test_the_cookie_of_an_ended_session_does_not_lock_out_who_may_look(
    page: Any, library: AssetRegistry
) -> None:
    """Else a restart of the server would make a page that was open to all ask for a token."""
    page.set_default_timeout(TIMEOUT_MS)
    token = token_of(library, "assets.write")
    with serving_at(library, 0) as (_, port):
        studio = Gallery(page, f"http://127.0.0.1:{port}", library)
        studio.open()
        page.get_by_role("button", name="Sign in", exact=True).click()
        sign_in(page, token)
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.goto("about:blank")

    with serving_at(library, port):
        studio.open()
        expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
        expect(connection(page)).to_have_text("Live")
        page.goto("about:blank")


@pytest.mark.usefixtures("built")
def test_the_link_of_comfyvn_studio_lets_one_browser_in_once(page: Any, library: AssetRegistry) -> None:
    """Else who starts the Studio on his own machine has to look for a token first."""
    page.set_default_timeout(TIMEOUT_MS)
    token_of(library, "assets.write")
    with running(library) as (server, address):
        code = server.state.doorkeeper.make_code()
        studio = Gallery(page, address, library)
        studio.open(f"?type=props#login={code}")
        assert "login" not in page.url
        expect(page.get_by_role("button", name="Sign in", exact=True)).to_have_count(0)
        studio.card("mara_29").click()
        studio.press("3")
        expect(page.get_by_role("region", name="News")).to_contain_text("Rated")

        page.context.clear_cookies()
        page.goto("about:blank")
        studio.open(f"#login={code}")
        expect(page.get_by_role("region", name="News")).to_contain_text("This code lets nobody in")
        expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
        page.goto("about:blank")
