"""Uploading: names, limits, several files, and what is cut off."""

from __future__ import annotations

import json
import random
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from comfyvn.studio.core import AssetRegistry
from disks import small_disk
from serving import drip, serve
from support import TIMEOUT_S

Open = Callable[..., AssetRegistry]
_BOUNDARY = "----limit"


def png(seed: int = 1) -> bytes:
    """Return a small picture; another seed gives other content."""
    data = BytesIO()
    Image.new("RGB", (16, 16), (seed % 256, seed // 256 % 256, 7)).save(data, "PNG")
    return data.getvalue()


def upload(client: httpx.Client, name: str = "mara.png", seed: int = 1, **fields: str) -> httpx.Response:
    return client.post("/assets/upload", files={"file": (name, png(seed))}, data=fields)


def part(name: str, value: bytes, *, filename: str | None = None) -> bytes:
    """Return one part of a form as it goes over the wire."""
    file = "" if filename is None else f'; filename="{filename}"'
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + value + b"\r\n"


def send(
    client: httpx.Client, *parts: bytes, end: bytes = b"--" + _BOUNDARY.encode() + b"--\r\n"
) -> httpx.Response:
    headers = {"content-type": f"multipart/form-data; boundary={_BOUNDARY}"}
    return client.post("/assets/upload", content=b"".join(parts) + end, headers=headers)


def files_of(registry: AssetRegistry) -> set[str]:
    """Return what lies in the assets folder: assets, sidecars, what is staged."""
    root = registry.ASSETS_ROOT
    every = (path for path in root.rglob("*") if path.is_file() and path.name not in ("lock", "library.json"))
    return {path.relative_to(root).as_posix() for path in every if "trash" not in path.parts}


def wait_for(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not is_true():
        assert time.monotonic() < deadline, "it does not become true"
        time.sleep(0.01)


def problem_of(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return str(answer.json()["type"]).rpartition(":")[2]


@contextmanager
def half_sent(client: httpx.Client, data: bytes, length: int) -> Iterator[socket.socket]:
    """Send the head of an upload and the beginning of its body."""
    address = (client.base_url.host, client.base_url.port)
    head = (
        f"POST /assets/upload HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nContent-Length: {length}\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\n\r\n"
    )
    with socket.create_connection(address, TIMEOUT_S) as connection:  # type: ignore[arg-type]
        connection.sendall(head.encode() + data)
        yield connection


# -- what comes in ----------------------------------------------------------------------------------------


def test_an_upload_is_registered_with_all_that_is_said_of_it(
    client: httpx.Client, registry: AssetRegistry
) -> None:
    """Else scripts of the spec could not upload."""
    said = {
        "asset_type": "characters",
        "metadata": json.dumps({"tags": ["mara"], "artist": "Jo"}),
        "license": "CC0-1.0",
        "provenance": json.dumps({"source": "comfyui", "seed": 7}),
    }

    answer = upload(client, **said)

    asset = answer.json()["asset"]
    assert (answer.status_code, answer.json()["ok"]) == (200, True)
    assert (asset["path"], asset["tags"], asset["license"]) == ("characters/mara.png", ["mara"], "CC0-1.0")
    assert asset["provenance"]["source"] == "comfyui"
    assert asset["provenance"]["inputs"]["seed"] == 7
    assert asset["duplicate"] is False
    downloaded = client.get(f"/assets/{asset['uid']}/download").content
    assert Image.open(BytesIO(downloaded)).tobytes() == Image.open(BytesIO(png())).tobytes()


def test_the_smallest_form_is_a_file(client: httpx.Client) -> None:
    """Else `curl -F file=@mara.png` would not do."""
    asset = upload(client).json()["asset"]

    assert (asset["type"], asset["path"]) == ("generic", "generic/mara.png")
    assert asset["provenance"]["source"] == "api.upload"


def test_one_upload_can_be_undone_too(client: httpx.Client, registry: AssetRegistry) -> None:
    """Else only uploads of several files could be taken back by one click."""
    answer = upload(client).json()

    undone = client.post(f"/assets/operations/{answer['operation']}/undo").json()

    assert undone["undone"] == [answer["asset"]["uid"]]
    assert registry.count_assets() == 0


def test_a_folder_that_was_dropped_comes_in_with_its_folders(client: httpx.Client) -> None:
    """Else the folders of a dropped folder would be lost, or one of their names would lead elsewhere."""
    paths = [
        upload(client, f"whatever/{name}", seed, dest_path=f"bg/{folder}/").json()["asset"]["path"]
        for seed, (folder, name) in enumerate([("city", "a.png"), ("city/night", "a.png"), ("city", "b.png")])
    ]
    refused = upload(client, "a.png", 9, dest_path="bg/../../up/")

    assert paths == ["bg/city/a.png", "bg/city/night/a.png", "bg/city/b.png"]
    assert refused.status_code == 400


def test_known_content_is_told_as_a_duplicate(client: httpx.Client, registry: AssetRegistry) -> None:
    """Else uploading twice would make two assets of one picture, or lose the new tags."""
    first = upload(client, metadata='{"tags": ["one"]}').json()["asset"]

    again = upload(client, name="other.png", metadata='{"tags": ["two"]}', license="").json()["asset"]

    assert (again["uid"], again["duplicate"], again["tags"]) == (first["uid"], True, ["one", "two"])
    assert registry.count_assets() == 1


def test_known_content_keeps_what_is_written_of_it_where_that_is_asked(
    client: httpx.Client, registry: AssetRegistry
) -> None:
    """Else one import of a folder would put its licence and tags on assets that had others."""
    said = {"metadata": '{"tags": ["one"], "artist": "Jo"}', "license": "CC0-1.0"}
    first = upload(client, **said).json()["asset"]
    files = [("file", ("again.png", png(1))), ("file", ("new.png", png(2))), ("file", ("twin.png", png(2)))]
    form = {"metadata": '{"tags": ["two"], "artist": "Al"}', "license": "MIT", "keep_known": "true"}

    answer = client.post("/assets/upload", files=files, data=form).json()

    known, new, twin = (each["asset"] for each in answer["items"])
    assert [each["duplicate"] for each in (known, new, twin)] == [True, False, True]
    for name in ("uid", "tags", "license"):
        assert known[name] == first[name], name
    assert known["meta"]["artist"] == "Jo"
    assert (new["tags"], new["license"], twin["uid"]) == (["two"], "MIT", new["uid"])
    assert "asset_provenance_added" in {each["event"] for each in registry.history(first["uid"])}


def test_two_uploads_of_one_new_picture_at_once_leave_the_words_of_the_first(
    client: httpx.Client, registry: AssetRegistry
) -> None:
    """Else whether a file is known would be asked too early, and the second one write over the first."""

    def send_as(tag: str) -> dict[str, Any]:
        said = {"metadata": json.dumps({"tags": [tag]}), "license": tag, "keep_known": "true"}
        asset: dict[str, Any] = upload(client, f"{tag}.png", **said).json()["asset"]
        return asset

    with ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(send_as, [f"tag{number}" for number in range(8)]))

    (won,) = [each for each in sent if not each["duplicate"]]
    (asset,) = registry.iter_assets()
    assert (asset["tags"], asset["license"]) == (won["tags"], won["license"])
    assert len(asset["tags"]) == 1


def test_several_files_each_have_an_asset_or_an_error(client: httpx.Client, registry: AssetRegistry) -> None:
    """Else one bad file of a folder would keep the others out, or its error would be lost."""
    files = [("file", ("a.png", png(1))), ("file", ("b.png", b"")), ("files", ("c.png", png(3)))]

    answer = client.post("/assets/upload", files=files, data={"dest_path": "bg/new/"})

    items = answer.json()["items"]
    assert answer.status_code == 200
    assert answer.json()["ok"] is False
    assert [each["name"] for each in items] == ["a.png", "b.png", "c.png"]
    assert [each["asset"]["path"] for each in items if "asset" in each] == ["bg/new/a.png", "bg/new/c.png"]
    assert items[1]["error"]["type"] == "urn:comfyvn:problem:source-unreadable"
    assert items[1]["error"]["detail"].startswith("b.png: the file is empty")
    operations = registry.operations(limit=1)
    assert operations[0]["operation"] == answer.json()["operation"]  # one undo takes them back
    assert operations[0]["assets"] == 2


def test_a_field_may_come_behind_the_file(client: httpx.Client) -> None:
    """Else a form would have to be sorted."""
    answer = send(client, part("file", png(), filename="a.png"), part("asset_type", b"props"))

    assert answer.json()["asset"]["path"] == "props/a.png"


def test_a_large_upload_arrives_whole(client: httpx.Client, registry: AssetRegistry) -> None:
    """Else what comes in many parts would be put together wrongly."""
    data = random.Random(1).randbytes(3_000_000)

    asset = client.post("/assets/upload", files={"file": ("noise.bin", data)}).json()["asset"]

    assert (registry.ASSETS_ROOT / asset["path"]).read_bytes() == data


def test_forty_uploads_at_sixteen_connections_all_arrive(
    client: httpx.Client, registry: AssetRegistry
) -> None:
    """Else a busy export would lose pictures."""

    def send_one(seed: int) -> str:
        while (answer := upload(client, f"{seed % 7}.png", seed + 1)).status_code == 503:
            assert int(answer.headers["retry-after"]) > 0
        return str(answer.json()["asset"]["uid"])

    with ThreadPoolExecutor(16) as pool:
        uids = list(pool.map(send_one, range(40)))

    assert len(set(uids)) == 40
    assert {each["uid"] for each in registry.list_assets()} == set(uids)
    assert not any(name.startswith(".comfyvn/staging") for name in files_of(registry))


# -- names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("夏 の 🌻.png", "夏 の 🌻.png"),
        ("../../../etc/mara.png", "mara.png"),
        ("C:\\Users\\jo\\mara.png", "mara.png"),
        ("/etc/mara.png", "mara.png"),
        ("..", "upload"),
        ("", "upload"),
        (".", "upload"),
        ("con.png", "_con.png"),
        ("a%22b%0D%0Ac.png", "a_b__c.png"),
        ("~root.png", "~root.png"),
        ("x.asset.json", "x.asset_.json"),
        ("\u202egnp.png", "_gnp.png"),
        ("x" * 300 + ".png", "x" * 193 + ".png"),
    ],
)
def test_names_of_the_client_are_data(
    client: httpx.Client, registry: AssetRegistry, sent: str, name: str
) -> None:
    """Else a name could write outside the library, or be one that another system refuses."""
    answer = send(client, part("file", png(), filename=sent))

    assert answer.status_code == 200, answer.text
    path = answer.json()["asset"]["path"]
    assert path == f"generic/{name}"
    assert (registry.ASSETS_ROOT / path).is_file()


def test_a_name_that_is_no_text_is_taken_as_well_as_it_goes(client: httpx.Client) -> None:
    """Else a file from an old archive could not be uploaded."""
    bad = part("file", png(), filename="X").replace(b'"X"', b'"m\xff\x00.png"')

    assert send(client, bad).json()["asset"]["path"].startswith("generic/m")


_OUTSIDE = ("..", "../x.png", "a/../../x.png", "/x.png", "/", "C:\\x.png", "c:x", "\\\\h\\x.png", "~/x.png")
_OURS = ("_meta/x.png", ".comfyvn/x.png", "a/" * 40, "x\0.png")


@pytest.mark.parametrize("dest", [*_OUTSIDE, *_OURS])
def test_a_destination_outside_the_library_is_refused(
    client: httpx.Client, registry: AssetRegistry, dest: str
) -> None:
    """Else a request could write anywhere."""
    answer = upload(client, dest_path=dest)

    assert (answer.status_code, problem_of(answer)) == (400, "unsafe-path")
    assert files_of(registry) == set()


@pytest.mark.parametrize(
    ("dest", "path"),
    [
        ("bg/city.png", "bg/city.png"),
        ("bg/", "bg/mara.png"),
        ("bg", "bg/mara.png"),
        ("a\\b.png", "a/b.png"),
        (" ", "generic/mara.png"),
    ],
)
def test_a_destination_names_a_file_or_a_folder(client: httpx.Client, dest: str, path: str) -> None:
    """Else scripts of older releases would put files elsewhere."""
    assert upload(client, dest_path=dest).json()["asset"]["path"] == path


def test_several_files_need_a_folder(client: httpx.Client, registry: AssetRegistry) -> None:
    """Else all but one would get a name that nobody chose."""
    files = [("file", ("a.png", png(1))), ("file", ("b.png", png(2)))]

    answer = client.post("/assets/upload", files=files, data={"dest_path": "bg/city.png"})

    assert answer.status_code == 422
    assert files_of(registry) == set()


# -- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status", "kind"),
    [
        ({"metadata": "{"}, 400, "invalid-body"),
        ({"metadata": "[]"}, 400, "invalid-body"),
        ({"metadata": '{"a": NaN}'}, 400, "invalid-body"),
        ({"metadata": '{"a": 1, "a": 2}'}, 400, "invalid-body"),
        ({"metadata": '{"tags": 7}'}, 400, "invalid-metadata"),
        ({"provenance": "x"}, 400, "invalid-body"),
        ({"provenance": '{"inputs": 7}'}, 400, "invalid-metadata"),
        ({"license": "x" * 1_001}, 400, "invalid-metadata"),
        ({"asset_type": "../x"}, 400, "invalid-asset-type"),
        ({"asset_type": ".hidden"}, 400, "invalid-asset-type"),
        ({"licence": "MIT"}, 422, "invalid-request"),
        ({"keep_known": "1"}, 422, "invalid-request"),
        ({"metadata": "x" * 1_100_000}, 413, "too-large"),
    ],
)
def test_a_bad_field_is_refused_and_nothing_is_left(
    client: httpx.Client, registry: AssetRegistry, fields: dict[str, str], status: int, kind: str
) -> None:
    """Else a slip would leave half an asset."""
    answer = upload(client, **fields)

    assert (answer.status_code, problem_of(answer)) == (status, kind)
    assert files_of(registry) == set()


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([], 422),
        ([part("license", b"MIT")], 422),
        ([part("file", b"no file")], 422),
        ([part("picture", b"x", filename="a.png")], 422),
        ([part("file", b"x", filename="a"), part("license", b"a"), part("license", b"b")], 422),
        ([part("file", b"x", filename="a"), part("license", b"\xff")], 400),
        ([part("file", b"", filename="a.png")], 400),
        ([part("file", b"x", filename=str(number)) for number in range(101)], 422),
        ([f"--{_BOUNDARY}\r\nX: {'y' * 9_000}\r\n\r\nz\r\n".encode()], 400),
        ([f"--{_BOUNDARY}\r\n".encode() + b"X: y\r\n" * 20 + b"\r\nz\r\n"], 400),
        ([f"--{_BOUNDARY}\r\nX: y\r\n\r\nz\r\n".encode()], 400),
        ([b"no form at all"], 400),
    ],
)
def test_a_bad_form_is_refused_and_nothing_is_left(
    client: httpx.Client, registry: AssetRegistry, parts: list[bytes], status: int
) -> None:
    """Else a broken client would fill the disk, or get an error of the server."""
    answer = send(client, *parts)

    assert answer.status_code == status, answer.text
    assert problem_of(answer)
    assert files_of(registry) == set()


def test_a_form_without_its_end_is_refused(client: httpx.Client, registry: AssetRegistry) -> None:
    """Else a file that was cut off on its way would pass for a whole one."""
    answer = send(client, part("file", png(), filename="a.png"), end=b"")

    assert (answer.status_code, problem_of(answer)) == (400, "invalid-body")
    assert files_of(registry) == set()


@pytest.mark.parametrize(
    "kind", [None, "application/json", "multipart/form-data", "multipart/form-data; boundary=" + "x" * 300]
)
def test_what_is_no_form_is_refused(client: httpx.Client, kind: str | None) -> None:
    """Else a script would be told about a missing file instead of its mistake."""
    headers = {} if kind is None else {"content-type": kind}

    answer = client.post("/assets/upload", content=b"{}", headers=headers)

    assert answer.status_code in (400, 415)


@pytest.mark.parametrize("is_announced", [True, False])
def test_what_is_too_large_is_refused_and_nothing_is_left(
    open_registry: Open, monkeypatch: pytest.MonkeyPatch, is_announced: bool
) -> None:
    """Else one upload could fill the disk, whatever length it says."""
    monkeypatch.setenv("COMFYVN_UPLOAD_BYTES", "100000")
    registry = open_registry()
    body = part("file", b"x" * 4_000_000, filename="a.bin") + f"--{_BOUNDARY}--\r\n".encode()
    content: Any = body if is_announced else (body[at : at + 65_536] for at in range(0, len(body), 65_536))
    headers = {"content-type": f"multipart/form-data; boundary={_BOUNDARY}"}

    with serve(registry) as client:
        answer = client.post("/assets/upload", content=content, headers=headers)
        small = upload(client)

    assert (answer.status_code, problem_of(answer)) == (413, "too-large")
    assert "upload_bytes" in answer.json()["detail"]
    assert small.status_code == 200
    assert not any("a.bin" in name or "staging" in name for name in files_of(registry))


def test_more_uploads_at_once_are_asked_to_come_back(
    open_registry: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a crowd could fill the disk with half-sent files, or hold every thread."""
    monkeypatch.setenv("COMFYVN_UPLOADS_AT_ONCE", "1")
    registry = open_registry()
    begun = part("file", b"x" * 300_000, filename="slow.bin")

    with serve(registry) as client:
        with half_sent(client, begun, len(begun) + 100):
            wait_for(lambda: any("staging" in name for name in files_of(registry)))
            refused = upload(client)
            others = client.get("/assets")
        wait_for(lambda: upload(client).status_code == 200)

    assert (refused.status_code, problem_of(refused)) == (503, "too-busy")
    assert int(refused.headers["retry-after"]) > 0
    assert "uploads_at_once" in refused.json()["detail"]
    assert others.status_code == 200


def test_an_upload_that_stops_coming_is_ended(open_registry: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a client that sleeps would hold its place for ever."""
    monkeypatch.setenv("COMFYVN_IDLE_TIME_S", "0.3")
    registry = open_registry()
    begun = part("file", b"x" * 300_000, filename="slow.bin")

    with serve(registry) as client:
        with half_sent(client, begun, len(begun) + 100) as connection:
            answer = connection.recv(65_536)
        wait_for(lambda: files_of(registry) == set())

    assert answer.startswith(b"HTTP/1.1 408 ")


def test_an_upload_that_comes_drop_by_drop_is_ended(
    open_registry: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a byte every few seconds would hold a place for ever, and eight of them all places."""
    monkeypatch.setenv("COMFYVN_IDLE_TIME_S", "0.4")
    registry = open_registry()

    with serve(registry) as client:
        with half_sent(client, part("file", b"", filename="slow.bin")[:-2], 100_000) as connection:
            answer = drip(connection, b"x")
        wait_for(lambda: files_of(registry) == set())

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"too slowly" in answer


def test_a_slow_line_that_goes_on_may_take_its_time(
    open_registry: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else large files could not be sent from far away."""
    monkeypatch.setenv("COMFYVN_IDLE_TIME_S", "0.4")
    registry = open_registry()
    body = part("file", b"x" * 40_000, filename="slow.bin") + f"--{_BOUNDARY}--\r\n".encode()

    with serve(registry) as client, half_sent(client, b"", len(body)) as connection:
        for at in range(0, len(body), 2_000):
            connection.sendall(body[at : at + 2_000])
            time.sleep(0.05)
        answer = connection.recv(65_536)

    assert answer.startswith(b"HTTP/1.1 200 ")


def test_one_sender_does_not_get_all_places(open_registry: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one client who sends slowly could shut all others out."""
    monkeypatch.setenv("COMFYVN_UPLOADS_AT_ONCE", "4")
    registry = open_registry()
    begun = part("file", b"x" * 300_000, filename="slow.bin")

    with serve(registry) as client, ExitStack() as held:
        for _ in range(4):
            held.enter_context(half_sent(client, begun, len(begun) + 100))
        wait_for(lambda: sum("staging" in name for name in files_of(registry)) >= 2)
        refused = upload(client)
        elsewhere = httpx.HTTPTransport(local_address="127.0.0.2")
        with httpx.Client(base_url=client.base_url, transport=elsewhere, timeout=TIMEOUT_S) as neighbour:
            other = upload(neighbour, "b.png", 2)

    assert (refused.status_code, problem_of(refused)) == (503, "too-busy")
    assert "uploads of yours" in refused.json()["detail"]
    assert other.status_code == 200


def test_a_disk_that_is_full_is_no_fault_of_the_upload(open_registry: Open, tmp_path: Path) -> None:
    """Else a client would look for the mistake in his file, and never send it again."""
    with small_disk(tmp_path / "disk", 12_000_000) as disk:
        registry = open_registry(assets_root=disk / "assets")
        data = random.Random(3).randbytes(7_000_000)
        with serve(registry) as client:
            answer = client.post("/assets/upload", files={"file": ("big.bin", data)})
        registry.close()

    assert (answer.status_code, problem_of(answer)) == (503, "storage-unwritable")
    assert "full" in answer.json()["detail"]
    assert str(tmp_path) not in answer.text


def test_uploads_that_are_cut_off_anywhere_leave_nothing(
    client: httpx.Client, registry: AssetRegistry
) -> None:
    """Else each broken connection would leave a piece of a file on the disk."""
    body = part("asset_type", b"props") + part("file", random.Random(1).randbytes(600_000), filename="a.bin")
    body += part("file", png(), filename="b.png") + f"--{_BOUNDARY}--\r\n".encode()
    chance = random.Random(7)

    for _ in range(25):
        cut = chance.randrange(len(body))
        with half_sent(client, body[:cut], len(body)):
            pass

    assert upload(client, seed=9).status_code == 200
    wait_for(lambda: not any("staging" in name for name in files_of(registry)))
    assert [each["path"] for each in registry.list_assets()] == ["generic/mara.png"]


def test_without_its_package_an_upload_says_what_to_install(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else who installed a part only would get an error of the server."""
    monkeypatch.setitem(sys.modules, "python_multipart.exceptions", None)

    answer = upload(client)

    assert (answer.status_code, problem_of(answer)) == (503, "extra-missing")
    assert 'pip install "comfyvn[server]"' in answer.json()["detail"]
