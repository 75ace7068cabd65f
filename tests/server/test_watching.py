"""A server that watches its library: what changes on disk is an event at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from comfyvn.registry.watch import watch
from comfyvn.server import watching as beside
from comfyvn.server.watching import watching
from comfyvn.studio.core import AssetRegistry
from serving import serve_process
from support import TIMEOUT_S

GOAL_S = 0.5
SLACK_S = 2.0  # for a machine on which other tests run
OLD_S = 1_600_000_000.0


@pytest.fixture
def asset(registry: AssetRegistry, make_png: Callable[..., Path]) -> Path:
    """A registered file that nobody has written to lately."""
    uid = registry.register_file(make_png(), "characters")["uid"]
    assert registry.wait_for_thumbnails(TIMEOUT_S)
    path = Path(registry.resolve_path(uid))
    os.utime(path, (OLD_S, OLD_S))
    return path


@contextmanager
def heard(address: str) -> Iterator[list[tuple[float, str]]]:
    """Give the list of the events of a server, with when each came, as it grows."""
    events: list[tuple[float, str]] = []
    begun = threading.Event()

    def listen() -> None:
        try:
            with httpx.stream("GET", f"{address}/events", timeout=None, trust_env=False) as stream:
                for line in stream.iter_lines():
                    begun.set()
                    if line.startswith("data: {"):
                        events.append((time.monotonic(), str(json.loads(line[6:]).get("event"))))
        except httpx.TransportError:
            pass  # the server has ended

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    assert begun.wait(TIMEOUT_S)
    yield events
    thread.join(TIMEOUT_S)


def waited_for(
    events: list[tuple[float, str]], name: str, count: int = 1, limit_s: float = TIMEOUT_S
) -> float | None:
    """Wait for the so-manieth event of a kind and return when it came, None if it does not."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        times = [at for at, event in events if event == name]
        if len(times) >= count:
            return times[count - 1]
        time.sleep(0.005)
    return None


def add_tag(path: Path, tag: str) -> float:
    """Edit a sidecar as a person does, and return when that was."""
    sidecar = path.with_name(f"{path.name}.asset.json")
    said = json.loads(sidecar.read_text("utf-8"))
    said["tags"] = [*said.get("tags", []), tag]
    sidecar.write_text(json.dumps(said), "utf-8")
    return time.monotonic()


def test_an_edited_sidecar_and_a_moved_file_are_events_at_once(registry: AssetRegistry, asset: Path) -> None:
    """Else the page would show old tags till somebody runs a rebuild."""
    taken: list[float] = []
    with serve_process("--watch") as served, heard(served.address) as events:
        add_tag(asset, "first")
        assert waited_for(events, "asset_meta_updated") is not None  # from here on it watches
        for number in range(2, 6):
            edited = add_tag(asset, f"tag{number}")
            at = waited_for(events, "asset_meta_updated", number)
            assert at is not None
            taken.append(at - edited)
        moved = asset.rename(asset.with_name("mara_moved.png"))
        assert waited_for(events, "asset_moved") is not None
        served.process.terminate()

    assert min(taken) < GOAL_S
    assert max(taken) < GOAL_S + SLACK_S
    [record] = registry.list_assets()
    assert record["path"].endswith(moved.name)
    assert {"first", "tag5"} <= set(record["tags"])


def test_a_server_watches_only_if_it_is_to(asset: Path) -> None:
    """Else every server would read all files at its start, also where a watch runs elsewhere."""
    with serve_process() as served, heard(served.address) as events:
        add_tag(asset, "unseen")
        silent = waited_for(events, "asset_meta_updated", limit_s=1.5)
        served.process.terminate()
    with serve_process(COMFYVN_SERVER_WATCH="yes") as served, heard(served.address) as events:
        add_tag(asset, "seen")
        told = waited_for(events, "asset_meta_updated")
        served.process.terminate()

    assert silent is None
    assert told is not None


def test_where_another_process_watches_it_waits_for_its_turn(
    registry: AssetRegistry, asset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a second server would fail, or nobody would watch any more when the first one ends."""
    monkeypatch.setattr(beside, "_RETRY_S", 0.1)
    said: list[str] = []
    stop, batches = threading.Event(), threading.Event()
    with AssetRegistry(durability="off") as other:
        first = threading.Thread(
            target=watch, args=(other,), kwargs={"stop": stop, "on_batch": lambda _: batches.set()}
        )
        first.start()
        assert batches.wait(TIMEOUT_S)
        with watching(registry, said.append):
            time.sleep(0.3)
            stop.set()
            first.join(TIMEOUT_S)
            position = registry.journal_position()
            add_tag(asset, "seen")
            deadline = time.monotonic() + TIMEOUT_S
            while registry.journal_position() == position and time.monotonic() < deadline:
                time.sleep(0.01)

    assert registry.list_assets()[0]["tags"] == ["seen"]
    assert said == []


def test_it_ends_at_once_in_the_middle_of_a_look_at_everything(registry: AssetRegistry) -> None:
    """Else Ctrl+C would wait till thousands of new files are taken in."""
    folder = registry.ASSETS_ROOT / "many"
    folder.mkdir(parents=True)
    for number in range(3_000):
        path = folder / f"{number}.dat"
        path.write_bytes(b"asset %d" % number)
        os.utime(path, (OLD_S, OLD_S))

    with watching(registry, print):
        deadline = time.monotonic() + TIMEOUT_S
        while registry.count_assets() == 0 and time.monotonic() < deadline:
            time.sleep(0.005)
        begun = time.monotonic()
    took_s = time.monotonic() - begun

    assert took_s < beside._PATIENCE_S
    assert not any(each.name == "comfyvn-watch" for each in threading.enumerate())
    assert 0 < registry.count_assets() < 3_000


def test_without_watchfiles_it_says_so_and_serves(registry: AssetRegistry) -> None:
    """Else one missing package would keep the whole library from being served."""
    script = (
        "import sys; sys.modules['watchfiles'] = None;"
        "sys.argv = ['comfyvn', 'serve', '--port', '0', '--watch'];"
        "from comfyvn.cli import main; main()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = [process.stderr.readline() for _ in range(4)]
        address = said[0].split()[-1]
        status = httpx.get(f"{address}/assets", timeout=TIMEOUT_S, trust_env=False).status_code
        process.terminate()

    assert status == 200
    assert 'pip install "comfyvn[server]"' in said[3]
    assert "not watched" in said[3]
