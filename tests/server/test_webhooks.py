"""Other programs are told of changes by signed requests, at least once, and only where they may go."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook as Judge

from comfyvn.errors import InvalidFilter, InvalidRequest, InvalidWebhook, NothingThere, WebhookNotFound
from comfyvn.registry import deliveries
from comfyvn.registry.deliveries import Deliverer
from comfyvn.registry.outgoing import Post, check_url
from comfyvn.registry.webhooks import Webhooks
from comfyvn.studio.core import AssetRegistry
from serving import serve
from support import TIMEOUT_S, Answer

_QUICK = (0.01, 0.01)


@dataclass
class Receiver:
    """A real HTTP server that keeps what it is sent, and answers with the next of some statuses."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    may_answer: threading.Event = field(default_factory=threading.Event)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.got]

    @property
    def seqs(self) -> list[int]:
        return [body["data"]["seq"] for body in self.bodies]

    def wait(self, count: int) -> None:
        wait_until(lambda: len(self.got) >= count, f"{count} deliveries; got {len(self.got)}")


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not is_so():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on 127.0.0.1."""
    known = Receiver()
    known.may_answer.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size_bytes = int(self.headers["Content-Length"])
            body = self.rfile.read(size_bytes)
            if len(body) < size_bytes:  # who sent it was killed meanwhile
                return
            known.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            known.may_answer.wait(TIMEOUT_S)
            self.send_response(known.statuses.pop(0) if known.statuses else 204)
            for name, value in known.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    known.url = f"http://127.0.0.1:{server.server_address[1]}/hook?key=of-theirs"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield known
    server.shutdown()
    server.server_close()
    thread.join(TIMEOUT_S)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, open_registry: Callable[..., AssetRegistry]) -> AssetRegistry:
    """A registry from which 127.0.0.1 may be told."""
    monkeypatch.setenv("COMFYVN_WEBHOOK_HOSTS", "127.0.0.1")
    return open_registry()


@contextmanager
def delivering(
    registry: AssetRegistry, schedule_s: Sequence[float] = _QUICK, timeout_s: float = 10.0
) -> Iterator[Deliverer]:
    deliverer = Deliverer(registry, schedule_s=schedule_s, timeout_s=timeout_s)
    deliverer.start()
    try:
        yield deliverer
    finally:
        deliverer.stop()


def is_settled(registry: AssetRegistry, webhook_id: str) -> bool:
    told = Webhooks(registry).get(webhook_id)
    return bool(told["position"] == registry.journal_position() and not told["waiting"])


# -- what is sent ---------------------------------------------------------------------------------------


def test_a_change_is_delivered_signed_as_the_specification_wants_it(
    registry: AssetRegistry, receiver: Receiver, make_png: Callable[..., Path]
) -> None:
    """Else no receiver with a library for Standard Webhooks could trust us."""
    made = Webhooks(registry).add(receiver.url, events=["asset_registered"])

    with delivering(registry):
        known = registry.register_file(make_png(), "characters")
        receiver.wait(1)

    headers, body = receiver.got[0]
    told = Judge(made["secret"]).verify(body, headers)
    assert told["type"] == "asset_registered"
    assert told["data"]["uid"] == known["uid"]
    assert told["data"]["type"] == "characters"
    assert headers["content-type"] == "application/json"


def test_only_wanted_events_of_wanted_types_are_delivered(
    registry: AssetRegistry, receiver: Receiver, make_png: Callable[..., Path]
) -> None:
    """Else a filter would be a promise that nobody keeps."""
    made = Webhooks(registry).add(receiver.url, events=["asset_registered"], types=["props"])

    with delivering(registry):
        registry.register_file(make_png("a.png", seed=1), "characters")
        wanted = registry.register_file(make_png("b.png", seed=2), "props")
        registry.update_asset_meta(wanted["uid"], {"note": 1})
        receiver.wait(1)
        registry.register_file(make_png("c.png", seed=3), "props")
        receiver.wait(2)

    assert [body["data"]["event"] for body in receiver.bodies] == ["asset_registered"] * 2
    assert receiver.bodies[0]["data"]["uid"] == wanted["uid"]
    assert Webhooks(registry).get(made["id"])["waiting"] == 0


def test_every_change_arrives_whatever_their_number(
    registry: AssetRegistry, receiver: Receiver, make_png: Callable[..., Path]
) -> None:
    """Else a bulk edit would be told in part."""
    made = Webhooks(registry).add(receiver.url)
    items = [{"source_path": make_png(f"{n}.png", seed=n), "asset_type": "props"} for n in range(40)]

    with delivering(registry):
        assert all(each["status"] == "registered" for each in registry.register_many(items))
        wait_until(lambda: is_settled(registry, made["id"]), "the deliveries")

    assert sorted(receiver.seqs) == [entry["seq"] for entry in registry.follow(0, timeout_s=0)]


# -- what fails -----------------------------------------------------------------------------------------


def test_what_fails_is_tried_again_under_the_same_id(
    registry: AssetRegistry, receiver: Receiver, make_png: Callable[..., Path]
) -> None:
    """Else one bad moment of a receiver would lose a change, or he would count it twice."""
    made = Webhooks(registry).add(receiver.url, events=["asset_registered"])
    receiver.statuses += [500, 503]

    with delivering(registry):
        registry.register_file(make_png(), "characters")
        receiver.wait(3)
        wait_until(lambda: is_settled(registry, made["id"]), "the end")

    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    assert len({body for _, body in receiver.got}) == 1
    for headers, body in receiver.got:
        Judge(made["secret"]).verify(body, headers)
    assert Webhooks(registry).deliveries(made["id"]) == []


def test_what_fails_for_good_is_kept_as_dead_and_can_be_replayed(
    registry: AssetRegistry, receiver: Receiver, make_png: Callable[..., Path]
) -> None:
    """Else a change that a receiver could not take would be gone, or would be tried for ever."""
    webhooks = Webhooks(registry)
    made = webhooks.add(receiver.url, events=["asset_registered"])
    receiver.statuses += [500] * 3

    with delivering(registry):
        registry.register_file(make_png(), "characters")
        wait_until(lambda: webhooks.get(made["id"])["dead"] == 1, "a dead delivery")
        dead = webhooks.deliveries(made["id"], state="dead")
        assert len(receiver.got) == 3
        assert webhooks.replay_dead(made["id"]) == 1
        receiver.wait(4)
        wait_until(lambda: is_settled(registry, made["id"]), "the replay")

    assert [(each["attempts"], each["last_status"]) for each in dead] == [(3, 500)]
    assert webhooks.deliveries(made["id"]) == []
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1


def test_changes_behind_a_position_and_single_ones_can_be_replayed(
    registry: AssetRegistry, receiver: Receiver, make_png: Callable[..., Path]
) -> None:
    """Else a receiver that lost its data could not get them again."""
    webhooks = Webhooks(registry)
    made = webhooks.add(receiver.url, events=["asset_registered"])

    with delivering(registry):
        for number in range(3):
            registry.register_file(make_png(f"{number}.png", seed=number + 1), "props")
        receiver.wait(3)
        wait_until(lambda: is_settled(registry, made["id"]), "the first time")
        first = sorted(receiver.seqs)
        webhooks.replay(made["id"], first[0])
        receiver.wait(4)
        webhooks.replay_since(made["id"], first[0])
        receiver.wait(6)
        wait_until(lambda: is_settled(registry, made["id"]), "the replay")

    assert receiver.seqs[3] == first[0]
    assert sorted(receiver.seqs[4:]) == first[1:]
    with pytest.raises(NothingThere):
        webhooks.replay(made["id"], 10_000)
    with pytest.raises(InvalidRequest):
        webhooks.replay_since(made["id"], 10_000)


def test_a_redirection_is_not_followed(
    registry: AssetRegistry, receiver: Receiver, make_png: Callable[..., Path]
) -> None:
    """Else a public receiver could send us to a private address."""
    webhooks = Webhooks(registry)
    made = webhooks.add(receiver.url, events=["asset_registered"])
    receiver.statuses += [302, 307, 308]
    receiver.headers["Location"] = receiver.url

    with delivering(registry):
        registry.register_file(make_png(), "characters")
        wait_until(lambda: webhooks.get(made["id"])["dead"] == 1, "a dead delivery")

    assert len(receiver.got) == 3
    assert webhooks.deliveries(made["id"])[0]["last_status"] == 308


def test_a_receiver_that_is_gone_for_good_disables_its_webhook(
    registry: AssetRegistry, receiver: Receiver, make_png: Callable[..., Path]
) -> None:
    """Else we would knock for ever at a door whose owner said that he moved out."""
    webhooks = Webhooks(registry)
    made = webhooks.add(receiver.url, events=["asset_registered"])
    receiver.statuses += [410]

    with delivering(registry):
        registry.register_file(make_png("a.png", seed=1), "characters")
        wait_until(lambda: not webhooks.get(made["id"])["is_enabled"], "the end of the webhook")
        registry.register_file(make_png("b.png", seed=2), "characters")
        assert "410" in webhooks.get(made["id"])["disabled_why"]
        webhooks.change(made["id"], is_enabled=True)
        receiver.wait(3)
        wait_until(lambda: is_settled(registry, made["id"]), "the rest")

    assert len(set(receiver.seqs)) == 2


def test_a_receiver_that_dawdles_is_left_after_the_time_limit(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Else a byte now and then would hold one of our threads for ever."""
    webhooks = Webhooks(registry)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        dawdler = threading.Thread(target=_dawdle, args=(listening,), daemon=True)
        dawdler.start()
        made = webhooks.add(f"http://127.0.0.1:{listening.getsockname()[1]}/", events=["asset_registered"])

        with delivering(registry, schedule_s=(), timeout_s=0.3):
            registry.register_file(make_png(), "characters")
            wait_until(lambda: webhooks.get(made["id"])["dead"] == 1, "a dead delivery")
        dawdler.join(TIMEOUT_S)

    assert webhooks.deliveries(made["id"])[0]["last_error"] == "no answer within 0.3 s"


def _dawdle(listening: socket.socket) -> None:
    """Answer a byte every tenth of a second, till the other side has enough."""
    caller, _ = listening.accept()
    with caller:
        for _ in range(600):
            try:
                caller.sendall(b"H")
            except OSError:
                return
            time.sleep(0.1)


def test_receivers_that_never_answer_hold_up_nobody_else(
    registry: AssetRegistry, receiver: Receiver, make_png: Callable[..., Path]
) -> None:
    """Else two of them would take all threads, and the others would be told late or never."""
    webhooks = Webhooks(registry)

    with _silence() as silent, delivering(registry, timeout_s=10 * TIMEOUT_S):
        for _ in range(12):
            webhooks.add(silent, events=["asset_registered"])
        good = webhooks.add(receiver.url, events=["asset_registered"])
        for number in range(20):
            registry.register_file(make_png(f"{number}.png", seed=number), "props")
        wait_until(lambda: is_settled(registry, good["id"]), "the one that answers")

    assert len(set(receiver.seqs)) == 20


def test_receivers_that_never_answer_take_a_bounded_number_of_threads(
    registry: AssetRegistry,
    receiver: Receiver,
    make_png: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a hundred of them would be a hundred threads, or leave none for one that has always answered."""
    for name, value in (("_MOST", 8), ("_RESERVED", 2), ("_SOUND", 3), ("_AILING", 2), ("_SLOW_S", 0.1)):
        monkeypatch.setattr(deliveries, name, value)
    webhooks = Webhooks(registry)
    good = webhooks.add(receiver.url, events=["asset_registered"])

    with _silence() as silent, delivering(registry, timeout_s=10 * TIMEOUT_S) as deliverer:
        registry.register_file(make_png("first.png", seed=99), "props")
        wait_until(lambda: is_settled(registry, good["id"]), "the first one")
        for _ in range(20):
            webhooks.add(silent, events=["asset_registered"])
        for number in range(10):
            registry.register_file(make_png(f"{number}.png", seed=number), "props")
            wait_until(lambda: is_settled(registry, good["id"]), "the one that answers")
        wait_until(lambda: deliverer._running() == 6, "the others")
        registry.register_file(make_png("last.png", seed=98), "props")
        wait_until(lambda: is_settled(registry, good["id"]), "the last one")
        assert len(deliverer._workers) <= 8

    assert len(set(receiver.seqs)) == 12


def test_a_receiver_that_answers_again_is_told_everything(
    registry: AssetRegistry, receiver: Receiver, make_png: Callable[..., Path]
) -> None:
    """Else the smaller share of one that failed would cost him changes."""
    made = Webhooks(registry).add(receiver.url)
    receiver.statuses += [500, 204, 503, 503]

    with delivering(registry):
        for number in range(30):
            registry.register_file(make_png(f"{number}.png", seed=number), "props")
        wait_until(lambda: is_settled(registry, made["id"]), "the deliveries")

    assert set(receiver.seqs) == {entry["seq"] for entry in registry.follow(0, timeout_s=0)}
    assert len(receiver.got) == len(set(receiver.seqs)) + 3


@contextmanager
def _silence() -> Iterator[str]:
    """Give the address of a receiver that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"


# -- where it may go ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost:8765/assets",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://0.0.0.0/",
        "http://[::]/",
        "http://10.1.2.3/",
        "http://172.16.0.1/",
        "http://192.168.1.1/",
        "http://100.64.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        "http://[fe80::1]/",
        "http://168.63.129.16/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
    ],
)
def test_an_address_that_is_not_public_is_refused_unless_it_is_listed(url: str) -> None:
    """Else whoever may add a webhook could have our machine talk to its own network."""
    with pytest.raises(InvalidWebhook, match="webhook_hosts"):
        check_url(url, ())

    assert Post(url, ()).send(b"{}", {}).error is not None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "ftp://example.org/",
        "file:///etc/passwd",
        "http://",
        "http://user:pass@example.org/",
        "http://example.org:0/",
        "http://example.org:99999/",
        "http://example.org/#part",
        "http://example.org/\r\nX-Evil: 1",
        "http://exämple.org/",
        "http://[::1/",
        "https://example.org/" + "x" * 3_000,
    ],
)
def test_what_is_no_address_for_a_webhook_is_refused(url: str) -> None:
    """Else it would fail later, or smuggle a header in."""
    with pytest.raises(InvalidWebhook):
        check_url(url, ())


def test_a_listed_host_lets_nothing_else_through_that_is_private() -> None:
    """Else the setting would open more than it names, or close what is public."""
    check_url("https://1.1.1.1/", ["127.0.0.1"])
    check_url("http://127.0.0.1:9/", ["127.0.0.1"])
    check_url("http://127.0.0.1:9/", ["127.0.0.1:9"])
    check_url("http://[::1]:9/", ["[::1]:9"])
    check_url("http://LocalHost./", ["localhost"])

    for url, hosts in (
        ("http://127.0.0.1:8/", ["127.0.0.1:9"]),
        ("http://127.0.0.2/", ["127.0.0.1"]),
        ("http://[::1]/", ["127.0.0.1"]),
    ):
        with pytest.raises(InvalidWebhook, match="not a public one"):
            check_url(url, hosts)


def test_the_connection_goes_to_the_address_that_was_checked(receiver: Receiver) -> None:
    """Else a name could mean a public address when it is checked, and ours when it is used (rebinding)."""
    port = int(receiver.url.split(":")[2].split("/")[0])
    asked: list[str] = []

    def resolve(host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))]

    url = f"http://moves.invalid:{port}/"
    through = Post(url, ["moves.invalid"], resolve=resolve).send(b"{}", {})
    refused = Post(url, (), resolve=resolve).send(b"{}", {})

    assert asked == ["moves.invalid", "moves.invalid"]  # once for each
    assert through.status == 204
    assert receiver.got[0][0]["host"] == f"moves.invalid:{port}"
    assert refused.status is None
    assert "not a public one" in str(refused.error)
    assert len(receiver.got) == 1


def test_a_name_with_one_private_address_among_public_ones_is_refused() -> None:
    """Else the second address of a name would be the way in."""

    def resolve(_host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port))
            for address in ("1.1.1.1", "10.0.0.1")
        ]

    with pytest.raises(InvalidWebhook, match="not a public one"):
        check_url("https://two.invalid/", (), resolve=resolve)


# -- restarts -------------------------------------------------------------------------------------------


def test_a_restart_goes_on_where_the_last_process_stopped(
    registry: AssetRegistry, receiver: Receiver, make_png: Callable[..., Path]
) -> None:
    """Else what happened while no server ran would never be told."""
    made = Webhooks(registry).add(receiver.url, events=["asset_registered"])
    with delivering(registry):
        registry.register_file(make_png("a.png", seed=1), "props")
        wait_until(lambda: is_settled(registry, made["id"]), "the first one")

    registry.register_file(make_png("b.png", seed=2), "props")
    with delivering(registry):
        receiver.wait(2)
        wait_until(lambda: is_settled(registry, made["id"]), "the second one")

    assert len(set(receiver.seqs)) == len(receiver.got) == 2


_SERVING = """
import sys, time
from comfyvn.registry.deliveries import Deliverer
from comfyvn.studio.core import AssetRegistry
registry = AssetRegistry(durability="off")
Deliverer(registry, schedule_s=(0.01,) * 50).start()
print("ready", flush=True)
time.sleep(300)
"""


def test_killing_the_process_at_any_moment_loses_nothing(
    registry: AssetRegistry, receiver: Receiver, make_png: Callable[..., Path]
) -> None:
    """Else a crash between sending and noting would leave a hole that nobody sees."""
    made = Webhooks(registry).add(receiver.url)
    items = [{"source_path": make_png(f"{n}.png", seed=n), "asset_type": "props"} for n in range(60)]
    list(registry.register_many(items))

    for share in (1, 17, 40):
        with subprocess.Popen([sys.executable, "-c", _SERVING], stdout=subprocess.PIPE) as process:
            receiver.wait(share)
            os.kill(process.pid, signal.SIGKILL)
    with delivering(registry):
        wait_until(lambda: is_settled(registry, made["id"]), "the rest")

    assert set(receiver.seqs) == {entry["seq"] for entry in registry.follow(0, timeout_s=0)}


def test_two_servers_of_one_library_deliver_once(
    registry: AssetRegistry,
    open_registry: Callable[..., AssetRegistry],
    receiver: Receiver,
    make_png: Callable[..., Path],
) -> None:
    """Else every further server would send everything once more."""
    made = Webhooks(registry).add(receiver.url, events=["asset_registered"])

    with delivering(registry), delivering(open_registry()):
        for number in range(10):
            registry.register_file(make_png(f"{number}.png", seed=number), "props")
        wait_until(lambda: is_settled(registry, made["id"]), "the deliveries")

    assert len(receiver.got) == 10


def test_another_server_takes_over_where_the_first_one_stopped(
    registry: AssetRegistry,
    open_registry: Callable[..., AssetRegistry],
    receiver: Receiver,
    make_png: Callable[..., Path],
) -> None:
    """Else the second one would tell everything anew that happened since it was started, or nothing."""
    made = Webhooks(registry).add(receiver.url, events=["asset_registered"])

    with ExitStack() as first:
        first.enter_context(delivering(registry))
        registry.register_file(make_png("a.png", seed=1), "props")
        receiver.wait(1)
        with delivering(open_registry()):
            registry.register_file(make_png("b.png", seed=2), "props")
            wait_until(lambda: is_settled(registry, made["id"]), "the first server")
            first.close()
            registry.register_file(make_png("c.png", seed=3), "props")
            receiver.wait(3)
            wait_until(lambda: is_settled(registry, made["id"]), "the second server")

    assert len(set(receiver.seqs)) == len(receiver.got) == 3


def test_stopping_does_not_wait_for_a_slow_receiver(
    registry: AssetRegistry, receiver: Receiver, make_png: Callable[..., Path]
) -> None:
    """Else a server would hang at its end; what was broken off comes again."""
    made = Webhooks(registry).add(receiver.url, events=["asset_registered"])
    receiver.may_answer.clear()
    with delivering(registry):
        registry.register_file(make_png(), "props")
        receiver.wait(1)

    assert not receiver.may_answer.is_set()
    receiver.may_answer.set()
    with delivering(registry):
        receiver.wait(2)
        wait_until(lambda: is_settled(registry, made["id"]), "the delivery")

    assert len(set(receiver.seqs)) == 1


def test_an_older_ledger_put_back_during_a_round_skips_nothing(
    registry: AssetRegistry, receiver: Receiver, make_png: Callable[..., Path], tmp_path: Path
) -> None:
    """Else the position of the ledger that is gone would be noted, and as many new changes never told."""
    made = Webhooks(registry).add(receiver.url)

    with delivering(registry):
        registry.register_file(make_png("first.png", seed=1), "props")
        wait_until(lambda: is_settled(registry, made["id"]), "the first one")
        copy_ledger(registry.library.ledger.engine.path, tmp_path / "older.db")
        receiver.may_answer.clear()
        for number in range(8):
            registry.register_file(make_png(f"lost{number}.png", seed=10 + number), "props")
        receiver.wait(3)
        copy_ledger(tmp_path / "older.db", registry.library.ledger.engine.path)
        receiver.may_answer.set()
        for number in range(12):
            registry.register_file(make_png(f"new{number}.png", seed=30 + number), "props")
        wait_until(lambda: is_settled(registry, made["id"]), "the new ones")

    assert {body["data"]["uid"] for body in receiver.bodies} >= {
        entry["uid"] for entry in registry.follow(0, timeout_s=0)
    }


def test_an_older_ledger_put_back_skips_nothing_behind_what_was_passed_over(
    registry: AssetRegistry, receiver: Receiver, make_png: Callable[..., Path], tmp_path: Path
) -> None:
    """Else what was read of the ledger that is gone would count as read in the one that was put back."""
    made = Webhooks(registry).add(receiver.url, events=["asset_registered"], types=["props"])

    with delivering(registry) as deliverer:
        registry.register_file(make_png("first.png", seed=1), "props")
        wait_until(lambda: is_settled(registry, made["id"]), "the first one")
        copy_ledger(registry.library.ledger.engine.path, tmp_path / "older.db")
        for number in range(8):
            registry.register_file(make_png(f"other{number}.png", seed=10 + number), "characters")
        end = registry.journal_position()
        wait_until(lambda: deliverer._lanes[made["id"]].reached == end, "the reading")
        copy_ledger(tmp_path / "older.db", registry.library.ledger.engine.path)
        wanted = registry.register_file(make_png("new.png", seed=30), "props")
        receiver.wait(2)

    assert receiver.bodies[-1]["data"]["uid"] == wanted["uid"]


def test_a_position_past_the_end_of_the_journal_is_mended(
    registry: AssetRegistry, receiver: Receiver, make_png: Callable[..., Path]
) -> None:
    """Else a number from nowhere would keep a receiver uninformed till the journal has come that far."""
    made = Webhooks(registry).add(receiver.url)
    with registry.library.ledger.engine.write() as connection:
        connection.execute("UPDATE asset_webhooks SET position = 1000")

    with delivering(registry):
        wait_until(lambda: Webhooks(registry).get(made["id"])["position"] == 0, "the true position")
        known = registry.register_file(make_png(), "props")
        receiver.wait(1)
        wait_until(lambda: is_settled(registry, made["id"]), "the delivery")

    assert receiver.bodies[0]["data"]["uid"] == known["uid"]


def copy_ledger(source: Path, target: Path) -> None:
    """Put one ledger in the place of another, as a backup tool does."""
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target, timeout=TIMEOUT_S)) as new:
        old.backup(new)


# -- the doors ------------------------------------------------------------------------------------------


def test_a_webhook_is_made_shown_changed_and_removed_over_http(
    registry: AssetRegistry, receiver: Receiver, make_png: Callable[..., Path]
) -> None:
    """Else a CI pipeline could not set itself up; and a secret is told once."""
    with serve(registry) as client:
        made = client.post("/webhooks", json={"url": receiver.url, "events": ["asset_registered"]})
        where = made.headers["location"]
        tested = client.post(f"{where}/test")
        registry.register_file(make_png(), "props")
        receiver.wait(2)
        made_id = made.json()["webhook"]["id"]
        wait_until(lambda: is_settled(registry, made_id), "the delivery")
        listed, shown = client.get("/webhooks"), client.get(where)
        changed = client.patch(where, json={"types": ["props"], "is_enabled": False})
        replayed = client.post(f"{where}/replay", params={"since": 0})
        single = client.post(f"{where}/deliveries/1/replay")
        waiting = client.get(f"{where}/deliveries", params={"state": "waiting"})
        removed = client.delete(where)
        gone = client.get(where)

    secret = made.json()["webhook"]["secret"]
    assert made.status_code == 201
    assert secret.startswith("whsec_")
    assert tested.json() == {"ok": True, "delivered": True, "status": 204, "error": None}
    assert Judge(secret).verify(receiver.got[0][1], receiver.got[0][0])["type"] == "webhook_test"
    assert listed.json()["items"] == [shown.json()["webhook"]]
    assert changed.json()["webhook"]["is_enabled"] is False
    assert changed.json()["webhook"]["types"] == ["props"]
    assert (replayed.status_code, single.status_code) == (202, 202)
    assert [each["seq"] for each in waiting.json()["items"]] == [1]
    assert removed.json()["ok"] is True
    assert gone.status_code == 404
    for answer in (tested, listed, shown, changed, replayed, single, waiting, removed, gone):
        assert secret not in answer.text


def test_a_webhook_that_may_not_be_is_refused_with_the_reason(
    registry: AssetRegistry, client: httpx.Client
) -> None:
    """Else it would be found out by the silence of the receiver."""
    private = client.post("/webhooks", json={"url": "http://10.0.0.1/"})
    unknown = client.post("/webhooks", json={"url": "http://127.0.0.1:1/", "events": ["asset_sold"]})
    strange = client.post("/webhooks", json={"url": "http://127.0.0.1:1/", "secret": "mine"})
    asked = client.post("/webhooks", params={"tpye": "props"}, json={"url": "http://127.0.0.1:1/"})

    assert private.status_code == 400
    assert "webhook_hosts" in private.json()["detail"]
    assert unknown.status_code == 422
    assert "asset_registered" in unknown.json()["detail"]
    assert (strange.status_code, asked.status_code) == (422, 422)
    assert client.get("/webhooks").json()["items"] == []


def test_the_commands_do_the_same(
    registry: AssetRegistry, receiver: Receiver, run: Callable[..., Answer], make_png: Callable[..., Path]
) -> None:
    """Else webhooks could only be made by those who can send a PATCH."""
    made = run("webhook", "add", receiver.url, "--event", "asset_registered", "--json").document
    listed = run("webhook", "list", "--json").document["webhooks"]
    tested = run("webhook", "test", made["id"])
    registry.register_file(make_png(), "props")
    receiver.statuses += [500] * 3
    with delivering(registry):
        wait_until(lambda: Webhooks(registry).get(made["id"])["dead"] == 1, "a dead delivery")
    dead = run("webhook", "deliveries", made["id"], "--state", "dead", "--json").document["items"]
    told = run("webhook", "list").out
    replayed = run("webhook", "replay", made["id"])
    single = run("webhook", "replay", made["id"], "--seq", dead[0]["seq"])
    both = run("webhook", "replay", made["id"], "--seq", "1", "--since", "0")
    removed = run("webhook", "remove", made["id"])
    again = run("webhook", "remove", made["id"])

    assert made["secret"].startswith("whsec_")
    assert "secret" not in listed[0]
    assert tested.code == 0
    assert [each["state"] for each in dead] == ["dead"]
    assert "1 dead" in told
    assert "1 change again" in replayed.out
    assert single.code == 0
    assert (both.code, removed.code, again.code) == (2, 0, 3)


def test_a_webhook_is_switched_off_and_on_by_commands(
    registry: AssetRegistry, receiver: Receiver, run: Callable[..., Answer], make_png: Callable[..., Path]
) -> None:
    """Else one that a receiver's 410 switched off would stay off for who works at a terminal."""
    made = Webhooks(registry).add(receiver.url, events=["asset_registered"])
    receiver.statuses += [410]

    with delivering(registry):
        registry.register_file(make_png("a.png", seed=1), "characters")
        wait_until(lambda: not Webhooks(registry).get(made["id"])["is_enabled"], "the end of the webhook")
        told = run("webhook", "list").out
        enabled = run("webhook", "enable", made["id"])
        receiver.wait(2)
        wait_until(lambda: is_settled(registry, made["id"]), "the change")
        disabled = run("webhook", "disable", made["id"], "--json").document
    unknown = [run("webhook", which, "wh_0").code for which in ("enable", "disable")]

    assert "410" in told
    assert f"`comfyvn webhook enable {made['id']}`" in told
    assert enabled.code == 0
    assert len(set(receiver.seqs)) == 1
    assert (disabled["is_enabled"], disabled["disabled_why"]) == (False, "by hand")
    assert unknown == [3, 3]


def test_a_secret_stands_in_no_text_that_is_shown(registry: AssetRegistry, receiver: Receiver) -> None:
    """Else it would end in a log."""
    webhooks = Webhooks(registry)
    made = webhooks.add(receiver.url)

    told = [webhooks.get(made["id"]), webhooks.all(), webhooks._table.all()]

    assert made["secret"] not in repr(told)
    with pytest.raises(WebhookNotFound):
        webhooks.get("wh_0")
    with pytest.raises(InvalidFilter):
        webhooks.change(made["id"], events=["asset_sold"])
