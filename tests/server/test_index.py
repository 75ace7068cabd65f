"""The index: the ids of a whole filtered result, packed."""

from __future__ import annotations

import gzip
import sys
import threading
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from comfyvn.model import SORTS, Sort
from comfyvn.server import lists
from comfyvn.studio.core import AssetRegistry
from support import TIMEOUT_S


@pytest.fixture
def ids(registry: AssetRegistry, tmp_path: Path) -> list[int]:
    """The ids of forty assets, newest first."""
    items = []
    for number in range(40):
        path = tmp_path / f"{number}.txt"
        path.write_text(f"text {number}")
        kind = "even" if number % 2 == 0 else "odd"
        items.append({"source_path": path, "asset_type": kind, "metadata": {"tags": ["all"]}})
    assert all(each["status"] == "registered" for each in registry.register_many(items))
    return [record["id"] for record in registry.list_assets()]


def unpack(data: bytes) -> list[int]:
    """Read unsigned integers of 64 bits, little-endian."""
    numbers = array("Q")
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return list(numbers)


@pytest.mark.parametrize(
    ("asked", "condition"),
    [
        ({}, {}),
        ({"type": "odd"}, {"asset_type": "odd"}),
        ({"tag": "all", "type": "even"}, {"tags": ["all"], "asset_type": "even"}),
        ({"q": "1.txt"}, {"text": "1.txt"}),
        ({"tag": "none"}, {"tags": ["none"]}),
    ],
)
def test_an_index_has_the_ids_of_the_list_in_their_order(
    registry: AssetRegistry,
    client: httpx.Client,
    ids: list[int],
    asked: dict[str, Any],
    condition: dict[str, Any],
) -> None:
    """Else a gallery would scroll through other assets than the list has."""
    wanted = [number for part in registry.iter_ids(**condition) for number in part]

    answer = client.get("/assets/index", params=asked)

    assert answer.headers["content-type"] == "application/octet-stream"
    assert unpack(answer.content) == wanted
    assert wanted == [record["id"] for record in registry.list_assets(**condition)]
    assert answer.headers["x-total"] == str(len(wanted))
    assert answer.headers["x-registry-revision"] == str(registry.journal_position())


@pytest.mark.parametrize("sort", SORTS)
def test_an_index_comes_in_the_order_that_was_asked_for(
    registry: AssetRegistry, client: httpx.Client, ids: list[int], sort: Sort
) -> None:
    """Else a gallery that is sorted by name would show its assets in another order."""
    for asked, conditions in (({}, {}), ({"not_type": "odd"}, {"not_types": ["odd"]})):
        wanted = [number for part in registry.iter_ids(sort=sort, **conditions) for number in part]

        answer = client.get("/assets/index", params={**asked, "sort": sort})

        assert unpack(answer.content) == wanted
        assert len(wanted) == (20 if asked else 40)
    by_path = sorted(ids, key=lambda number: registry.get_cards([number])[number]["path"])
    assert unpack(client.get("/assets/index", params={"sort": "name"}).content) == by_path
    assert client.get("/assets/index", params={"sort": "size"}).status_code == 422


def test_a_packed_index_is_the_same_index(client: httpx.Client, ids: list[int]) -> None:
    """Else what a browser asks for would differ from what a script gets."""
    with client.stream("GET", "/assets/index", headers={"accept-encoding": "gzip"}) as answer:
        packed = b"".join(answer.iter_raw())
        headers = answer.headers
    plain = client.get("/assets/index", headers={"accept-encoding": "identity"})

    assert headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(packed) == plain.content
    assert unpack(plain.content) == ids
    assert headers["etag"] != plain.headers["etag"], "two encodings are two sequences of bytes"
    assert headers["vary"] == plain.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize(
    ("stated", "is_packed"),
    [
        ("gzip", True),
        ("GZIP;q=0.5", True),
        ("gzip;q=1.000, br", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000, *", False),
        ("*;q=0", False),
        ("br, deflate", False),
        ("", False),
    ],
)
def test_an_index_is_packed_only_for_who_takes_it(
    client: httpx.Client, ids: list[int], stated: str, is_packed: bool
) -> None:
    """Else a plain client would take packed bytes for ids."""
    answer = client.get("/assets/index", headers={"accept-encoding": stated})

    assert ("content-encoding" in answer.headers) == is_packed
    assert unpack(answer.content) == ids


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_an_index_that_does_not_fit_into_memory_is_the_same(
    client: httpx.Client, ids: list[int], monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    """Else a large library would have another order, or lose what lies between two parts."""
    monkeypatch.setattr(lists, "_IN_MEMORY_BYTES", 100)
    monkeypatch.setattr(lists, "PART_BYTES", 24)

    answer = client.get("/assets/index", headers={"accept-encoding": encoding})

    assert unpack(answer.content) == ids


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_an_index_that_the_client_has_is_not_sent_again(
    registry: AssetRegistry, client: httpx.Client, ids: list[int], tmp_path: Path, encoding: str
) -> None:
    """Else going back to a filter would load a million ids again."""
    headers = {"accept-encoding": encoding}
    first = client.get("/assets/index", headers=headers)
    known = {**headers, "if-none-match": first.headers["etag"]}

    same = client.get("/assets/index", headers=known)
    (tmp_path / "new.txt").write_text("new")
    registry.register_file(tmp_path / "new.txt", "odd")
    changed = client.get("/assets/index", headers=known)

    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["x-registry-revision"] == first.headers["x-registry-revision"]
    assert changed.status_code == 200
    assert unpack(changed.content)[1:] == ids


def test_events_from_the_revision_on_bring_an_index_up_to_date(
    registry: AssetRegistry, client: httpx.Client, ids: list[int], tmp_path: Path
) -> None:
    """Else an asset that is registered while the index is read would be in neither."""
    revision = int(client.get("/assets/index").headers["x-registry-revision"])
    (tmp_path / "new.txt").write_text("new")
    uid = registry.register_file(tmp_path / "new.txt", "odd")["uid"]

    told = registry.follow(revision, timeout_s=0.01)

    assert uid in {entry["uid"] for entry in told}


def test_others_are_answered_while_many_ask_for_everything(
    registry: AssetRegistry, client: httpx.Client, ids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else some galleries that open at once would hold up every download and every change."""
    may_go_on = threading.Event()
    read_ids = AssetRegistry.iter_ids

    def slowly(self: AssetRegistry, *args: Any, **kwargs: Any) -> Iterator[array[int]]:
        assert may_go_on.wait(TIMEOUT_S)
        return read_ids(self, *args, **kwargs)

    monkeypatch.setattr(AssetRegistry, "iter_ids", slowly)
    answers: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda: answers.append(client.get("/assets/index")), daemon=True)
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()

    uid = registry.list_assets(limit=1)[0]["uid"]
    sent = client.get(f"/assets/{uid}/download")
    may_go_on.set()
    for thread in threads:
        thread.join(TIMEOUT_S)

    assert sent.status_code == 200
    assert [unpack(answer.content) for answer in answers] == [ids] * 20


def test_a_wrong_filter_is_refused_before_anything_is_sent(client: httpx.Client) -> None:
    """Else an index would break off instead of saying what is wrong."""
    answer = client.get("/assets/index", params={"where": "nonsense"})

    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:comfyvn:problem:invalid-filter"
