"""Downloads and previews over HTTP."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
import wave
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from comfyvn.server import files
from comfyvn.studio.core import AssetRegistry
from support import PEAK_KIB, TIMEOUT_S

NAMES = [
    "mara.png",
    "夏の夜.png",
    "🌙 moon.png",
    'say "hi".png',
    "a'b;c,d.png",
    "100%25.png",
    "Zoë – smile.png",
    "line\u2028break\x85.png",
]
PARTS = ("download", "thumb", "preview", "waveform", "sidecar", "provenance", "history")
LARGE = 3 * (1 << 17) + 17


LARGE_DOWNLOAD = (
    PEAK_KIB
    + """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from comfyvn.studio.core import AssetRegistry
from serving import serve

with AssetRegistry(durability="off") as registry:
    paths = [registry.ASSETS_ROOT / "films" / name for name in ("small.bin", "large.bin")]
    paths[0].parent.mkdir()
    for path, size in zip(paths, (1 << 20, 256 << 20)):
        with path.open("wb") as file:
            file.truncate(size)
    uids = [registry.register_file(path, "films", copy_file=False)["uid"] for path in paths]
    with serve(registry) as client:
        for uid in uids:
            before = peak_kib()
            with client.stream("GET", f"/assets/{uid}/download") as answer:
                size = sum(map(len, answer.iter_raw()))
    print(size, before, peak_kib())
"""
)
"""Prints the bytes of the second file, and the most memory (KiB) that the process had before and after it."""


@pytest.fixture
def large(registry: AssetRegistry, tmp_path: Path) -> tuple[str, bytes]:
    """An asset that is sent in several parts: its uid and its bytes."""
    data = b"".join(hashlib.sha256(number.to_bytes(4)).digest() for number in range(LARGE // 32 + 1))[:LARGE]
    (tmp_path / "large.bin").write_bytes(data)
    return registry.register_file(tmp_path / "large.bin", "data")["uid"], data


def ask(client: httpx.Client, target: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    """Send a target as it is, which httpx would tidy; return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", client.base_url.port, timeout=TIMEOUT_S)
    try:
        connection.request(method, target, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


# -- content ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_download_has_the_bytes_and_the_name_of_the_file(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path], project: Path, name: str
) -> None:
    """Else a file would be saved under mangled characters, or a name could smuggle in a header."""
    path = project / "assets" / "characters" / name
    path.parent.mkdir(parents=True)
    shutil.copy(make_png(), path)
    uid = registry.register_file(path, "characters", copy_file=False)["uid"]

    answer = client.get(f"/assets/{uid}/download")

    stated = answer.headers["content-disposition"]
    _, _, encoded = stated.partition("filename*=UTF-8''")
    assert answer.status_code == 200
    assert answer.content == path.read_bytes()
    assert stated.isascii()
    assert stated.startswith('attachment; filename="')
    assert (unquote(encoded) if encoded else stated.split('"')[1]) == name
    assert answer.headers["content-length"] == str(path.stat().st_size)


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("heroine.png", "heroine.png"),
        ("HEROINE.PNG", "HEROINE.PNG"),
        ("夏.png", "夏.png"),
        ("../../etc/mara.png", ".._.._etc_mara.png"),
        ('a"; x="b.png', "a_; x=_b.png"),
        ("line\r\nset-cookie: a=b.png", "line__set-cookie_ a=b.png"),
    ],
)
def test_a_download_may_have_another_name_of_the_same_suffix(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path], wanted: str, name: str
) -> None:
    """Else ComfyUI, which tells a file by the end of its address, would take no card."""
    uid = registry.register_file(make_png(), "characters")["uid"]

    answer = client.get(f"/assets/{uid}/download", params={"filename": wanted})

    stated = answer.headers["content-disposition"]
    _, _, encoded = stated.partition("filename*=UTF-8''")
    assert answer.status_code == 200
    assert (unquote(encoded) if encoded else stated.split('"')[1]) == name
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("wanted", ["mara.exe", "mara", "mara.png.exe", "", ".png", "mara.jpg", "mara.png/x"])
def test_no_link_makes_something_else_of_a_file_by_its_name(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path], wanted: str
) -> None:
    """Else a link of a stranger could save a picture of ours as a program."""
    uid = registry.register_file(make_png(), "characters")["uid"]

    answer = client.get(f"/assets/{uid}/download", params={"filename": wanted})

    assert answer.status_code == 422
    assert "must end with .png" in answer.json()["detail"]


def test_a_download_is_neither_shown_nor_run_by_a_browser(
    registry: AssetRegistry, client: httpx.Client, tmp_path: Path
) -> None:
    """Else a page that somebody registered could act in the name of who looks at it."""
    (tmp_path / "page.html").write_text("<script>alert(1)</script>")
    uid = registry.register_file(tmp_path / "page.html", "docs")["uid"]

    headers = client.get(f"/assets/{uid}/download").headers

    assert headers["content-disposition"].startswith("attachment")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("sandbox")


@pytest.mark.parametrize(
    ("name", "told"),
    [("liar.png", "image/jpeg"), ("notes.txt", "text/plain"), ("thing.unknown", "application/octet-stream")],
)
def test_a_media_type_is_that_of_the_content(
    registry: AssetRegistry, client: httpx.Client, tmp_path: Path, name: str, told: str
) -> None:
    """Else a JPEG that is called PNG would be handed on as what it is not."""
    if name == "liar.png":
        Image.new("RGB", (8, 8)).save(tmp_path / name, "JPEG")
    else:
        (tmp_path / name).write_text("plain words")
    uid = registry.register_file(tmp_path / name, "docs")["uid"]

    answer = client.get(f"/assets/{uid}/download")

    assert answer.headers["content-type"] == told


def test_a_large_file_comes_whole(client: httpx.Client, large: tuple[str, bytes]) -> None:
    """Else what is sent in parts could lose one, or its end."""
    uid, data = large

    answer = client.get(f"/assets/{uid}/download")

    assert answer.content == data


def test_a_file_that_was_emptied_can_be_downloaded(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path]
) -> None:
    """Else a size of nothing would be taken for an error of the server."""
    uid = registry.register_file(make_png(), "characters")["uid"]
    place = registry.resolve_path(uid)
    assert place is not None
    place.write_bytes(b"")

    whole = client.get(f"/assets/{uid}/download")
    suffix = client.get(f"/assets/{uid}/download", headers={"range": "bytes=-5"})
    part = client.get(f"/assets/{uid}/download", headers={"range": "bytes=0-"})

    assert (whole.status_code, whole.content) == (200, b"")
    assert (suffix.status_code, suffix.content) == (200, b"")
    assert (part.status_code, part.headers["content-range"]) == (416, "bytes */0")


def test_head_tells_all_but_the_content(client: httpx.Client, large: tuple[str, bytes]) -> None:
    """Else a program would have to load a film to learn its size."""
    uid, data = large

    head, whole = (client.request(how, f"/assets/{uid}/download") for how in ("HEAD", "GET"))
    names = ("content-length", "etag", "last-modified", "content-type", "accept-ranges")

    assert head.content == b""
    assert [head.headers[name] for name in names] == [whole.headers[name] for name in names]
    assert head.headers["content-length"] == str(len(data))


def test_a_copy_without_a_graph_names_the_origin_that_has_one(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path], tmp_path: Path
) -> None:
    """A program would have to walk the lineage to find what it asked for."""
    info = PngInfo()
    info.add_text("prompt", json.dumps({"9": {"class_type": "SaveImage", "inputs": {}}}))
    Image.new("RGB", (8, 8), "red").save(tmp_path / "mara.png", pnginfo=info)
    origin = registry.register_file(tmp_path / "mara.png", "characters")["uid"]
    copy = registry.register_file(make_png("copy.png"), "characters")["uid"]
    before = client.get(f"/assets/{copy}/workflow").json()
    registry.link(copy, origin)

    after = client.get(f"/assets/{copy}/workflow")

    assert before["type"].endswith(":graph-missing")
    assert (after.status_code, after.json()["type"]) == (404, "urn:comfyvn:problem:graph-at-origin")
    assert f"characters/mara.png ({origin}; manual, found by " in after.json()["detail"]
    assert f"`GET /assets/{origin}/workflow`" in after.json()["detail"]
    assert client.get(f"/assets/{origin}/workflow").status_code == 200


@pytest.mark.parametrize(
    ("stated", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("BYTES=10-19", 10, 19),
        ("bytes=5-", 5, LARGE - 1),
        ("bytes=-1", LARGE - 1, LARGE - 1),
        ("bytes=-999999999", 0, LARGE - 1),
        ("bytes=131070-262150", 131_070, 262_150),
        (f"bytes={LARGE - 1}-", LARGE - 1, LARGE - 1),
        (f"bytes=100-{10**17}", 100, LARGE - 1),
    ],
)
def test_a_part_of_a_file_can_be_asked_for(
    client: httpx.Client, large: tuple[str, bytes], stated: str, first: int, last: int
) -> None:
    """Else a player could not seek, and a broken download not go on."""
    uid, data = large

    answer = client.get(f"/assets/{uid}/download", headers={"range": stated})

    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{LARGE}"
    assert answer.content == data[first : last + 1]


@pytest.mark.parametrize(
    "stated",
    ["bytes=0-1,5-6", "bytes=9-3", "bytes=", "bytes=-", "bytes=a-b", "lines=0-1", "bytes=0-1x", "bytes=٣-٤"],
)
def test_what_is_no_single_range_gives_the_whole_file(
    client: httpx.Client, large: tuple[str, bytes], stated: str
) -> None:
    """Else a header that nobody understands would be an error, or bytes that nobody asked for."""
    uid, data = large

    answer = client.get(f"/assets/{uid}/download", headers={"range": stated.encode()})

    assert (answer.status_code, len(answer.content)) == (200, len(data))


@pytest.mark.parametrize("stated", [f"bytes={LARGE}-", f"bytes={10**17}-{10**17}", "bytes=-0"])
def test_a_range_behind_the_end_is_refused_with_the_size(
    client: httpx.Client, large: tuple[str, bytes], stated: str
) -> None:
    """Else a program that resumes a finished download would get it all again."""
    uid, _ = large

    answer = client.get(f"/assets/{uid}/download", headers={"range": stated})

    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{LARGE}"
    assert answer.json()["type"] == "urn:comfyvn:problem:range-refused"


def test_if_range_goes_on_only_with_the_same_file(
    registry: AssetRegistry, client: httpx.Client, large: tuple[str, bytes]
) -> None:
    """Else the end of a new file would be glued to the beginning of the old one."""
    uid, data = large
    place = registry.resolve_path(uid)
    assert place is not None
    os.utime(place, (1_700_000_000, 1_700_000_000))
    known = client.head(f"/assets/{uid}/download").headers
    part = {"range": "bytes=100-199"}

    def status(condition: str) -> int:
        return client.get(f"/assets/{uid}/download", headers={**part, "if-range": condition}).status_code

    assert status(known["etag"]) == 206
    assert status(known["last-modified"]) == 206
    assert status('"another"') == 200
    assert status(f"W/{known['etag']}") == 200
    assert status(formatdate(1_700_000_001, usegmt=True)) == 200
    place.write_bytes(data[::-1])
    assert status(known["etag"]) == 200
    assert status(known["last-modified"]) == 200


def test_a_date_of_this_second_is_no_proof_of_the_same_file(
    registry: AssetRegistry, client: httpx.Client, large: tuple[str, bytes]
) -> None:
    """Else a file that was written twice in a second would count as one."""
    uid, _ = large
    place = registry.resolve_path(uid)
    assert place is not None
    os.utime(place, (time.time() + 3600, time.time() + 3600))
    modified = client.head(f"/assets/{uid}/download").headers["last-modified"]

    answer = client.get(f"/assets/{uid}/download", headers={"range": "bytes=0-9", "if-range": modified})

    assert answer.status_code == 200


def test_what_the_client_has_is_not_sent_again(client: httpx.Client, large: tuple[str, bytes]) -> None:
    """Else each look at a library would load it all."""
    uid, _ = large
    known = client.head(f"/assets/{uid}/download").headers
    old = formatdate(1_000_000_000, usegmt=True)

    def status(**headers: str) -> int:
        stated = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = client.get(f"/assets/{uid}/download", headers=stated)
        assert answer.status_code != 304 or answer.content == b""
        return answer.status_code

    assert status(if_none_match=known["etag"]) == 304
    assert status(if_none_match=f'"other", W/{known["etag"]}') == 304
    assert status(if_none_match="*") == 304
    assert status(if_none_match='"other"') == 200
    assert status(if_modified_since=known["last-modified"]) == 304
    assert status(if_modified_since=old) == 200
    assert status(if_modified_since="yesterday") == 200
    assert status(if_none_match='"other"', if_modified_since=known["last-modified"]) == 200
    assert status(if_match=known["etag"]) == 200
    assert status(if_match='"other"') == 412
    assert status(if_match="*") == 200
    assert status(if_unmodified_since=old) == 412
    assert status(if_unmodified_since=known["last-modified"]) == 200


def test_the_tag_changes_with_the_file(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path]
) -> None:
    """Else a picture that was painted over would be shown from the cache."""
    uid = registry.register_file(make_png(), "characters")["uid"]
    place = registry.resolve_path(uid)
    assert place is not None
    before = client.head(f"/assets/{uid}/download").headers["etag"]
    place.write_bytes(place.read_bytes() + b"x")

    after = client.get(f"/assets/{uid}/download", headers={"if-none-match": before})

    assert after.status_code == 200
    assert after.headers["etag"] != before


def test_a_file_that_changes_while_it_is_sent_breaks_off(
    registry: AssetRegistry, client: httpx.Client, tmp_path: Path
) -> None:
    """Else a mixture of two contents would be taken for the file."""
    with (tmp_path / "film.bin").open("wb") as file:
        file.truncate(64 << 20)
    uid = registry.register_file(tmp_path / "film.bin", "films")["uid"]
    place = registry.resolve_path(uid)
    assert place is not None

    with client.stream("GET", f"/assets/{uid}/download") as answer:
        parts = answer.iter_raw()
        next(parts)
        with place.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"x")
        with pytest.raises(httpx.RemoteProtocolError):
            for _ in parts:
                pass

    assert client.get(f"/assets/{uid}").status_code == 200


def test_a_client_that_leaves_does_not_keep_the_file_open(
    registry: AssetRegistry, client: httpx.Client, tmp_path: Path
) -> None:
    """Else each cancelled download would cost the server one of its files till it has none left."""
    with (tmp_path / "film.bin").open("wb") as file:
        file.truncate(64 << 20)
    uid = registry.register_file(tmp_path / "film.bin", "films")["uid"]
    place = str(registry.resolve_path(uid))

    for _ in range(20):
        with client.stream("GET", f"/assets/{uid}/download") as answer:
            next(answer.iter_raw())

    deadline = time.monotonic() + TIMEOUT_S
    while _is_open(place) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _is_open(place)


def _is_open(path: str) -> bool:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not tell which files are open")
    return any(os.path.realpath(link) == path for link in Path("/proc/self/fd").iterdir())


def test_a_large_download_needs_no_more_memory_than_a_small_one(tmp_path: Path) -> None:
    """Else some people who load films would take all of the server's memory."""
    script = tmp_path / "download.py"
    script.write_text(LARGE_DOWNLOAD)
    tests = Path(__file__).parents[1]

    run = subprocess.run(
        [sys.executable, str(script), str(tests)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    size, before_kib, after_kib = map(int, run.stdout.split())
    assert size == 256 << 20
    assert after_kib - before_kib < 32 << 10, "it was read into memory"


# -- what must not be sent --------------------------------------------------------------------------------


def test_a_file_that_is_gone_is_a_problem_that_says_so(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path], project: Path
) -> None:
    """Else a missing file would look like an unknown asset, or like a broken server."""
    uid = registry.register_file(make_png(), "characters")["uid"]
    place = registry.resolve_path(uid)
    assert place is not None
    place.unlink()

    answer = client.get(f"/assets/{uid}/download")

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:comfyvn:problem:file-missing"
    assert "characters/mara.png" in answer.json()["detail"]
    assert str(project) not in answer.text


@pytest.mark.parametrize("kind", ["link", "folder link", "pipe", "folder"])
def test_what_took_the_place_of_a_file_is_never_sent(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    """Else who can write into the assets folder could have any file sent, or hang the server."""
    uid = registry.register_file(make_png(), "characters")["uid"]
    place = registry.resolve_path(uid)
    assert place is not None
    secret = tmp_path / "elsewhere" / place.name
    secret.parent.mkdir()
    secret.write_bytes(b"secret")
    shutil.rmtree(place.parent) if kind == "folder link" else place.unlink()
    match kind:
        case "link":
            place.symlink_to(secret)
        case "folder link":
            place.parent.symlink_to(secret.parent)
        case "pipe":
            os.mkfifo(place)
        case _:
            place.mkdir()

    answers = [client.request(method, f"/assets/{uid}/download") for method in ("GET", "HEAD")]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert b"secret" not in answers[0].content
    assert str(tmp_path) not in answers[0].text


@pytest.mark.parametrize(
    "uid",
    ["0123456789abcdef", "..", "%2e%2e", "%2e%2e%2f%2e%2e%2fetc", "%00", "a%00b", "x" * 5_000, "%ED%A0%80",
     "%F0%9F%8C%99", "%", "%zz", "~", "*", "'%20OR%201=1--", "con", "C:", "%0d%0aset-cookie:%20a=b"],
)  # fmt: skip
def test_a_hostile_uid_finds_nothing(registry: AssetRegistry, client: httpx.Client, uid: str) -> None:
    """Else an address could lead out of the library, or break the server."""
    for what in ("", *(f"/{name}" for name in PARTS)):
        status, body = ask(client, f"/assets/{uid}{what}")

        assert (what, status, json.loads(body)["status"]) == (what, 404, 404)
        assert str(registry.ASSETS_ROOT) not in body

    assert client.get("/assets").status_code == 200


# -- previews ---------------------------------------------------------------------------------------------


def test_a_thumb_is_shown_in_both_sizes(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path]
) -> None:
    """Else a gallery would have nothing to show."""
    uid = registry.register_file(make_png(size=(900, 600)), "characters")["uid"]
    registry.wait_for_thumbnails()

    small, large = (client.get(f"/assets/{uid}/thumb", params={"size": size}) for size in (256, 512))

    assert small.headers["content-type"] == large.headers["content-type"] == "image/webp"
    assert small.content == (registry.THUMB_ROOT / f"{uid}_256.webp").read_bytes()
    assert large.content == (registry.THUMB_ROOT / f"{uid}_512.webp").read_bytes()
    assert client.get(f"/assets/{uid}/thumb").content == small.content
    assert small.headers["x-content-type-options"] == "nosniff"
    assert client.get(f"/assets/{uid}/thumb", params={"size": 100}).status_code == 422


def test_a_thumb_is_kept_for_ever_only_under_its_version(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path]
) -> None:
    """Else browsers would never see a picture that was painted over, or load all at each look."""
    record = registry.register_file(make_png(), "characters")
    registry.wait_for_thumbnails()
    version = registry.get_cards([record["id"]])[record["id"]]["preview_version"]
    assert version is not None
    address = f"/assets/{record['uid']}/thumb"

    named, plain, other = (
        client.get(address, params=params) for params in ({"v": version}, {}, {"v": f"{version}0"})
    )
    again = client.get(address, headers={"if-none-match": plain.headers["etag"]})

    assert named.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert plain.headers["cache-control"] == other.headers["cache-control"] == "no-cache"
    assert (again.status_code, again.content) == (304, b"")


def test_what_took_a_token_is_kept_by_the_browser_alone(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path]
) -> None:
    """Else a proxy would hand it to people without one."""
    record = registry.register_file(make_png(), "characters")
    registry.wait_for_thumbnails()
    version = registry.get_cards([record["id"]])[record["id"]]["preview_version"]

    answer = client.get(f"/assets/{record['uid']}/thumb", params={"v": version}, headers={"cookie": "a=b"})

    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"


def test_a_thumb_of_an_older_release_is_shown_as_what_it_is(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path]
) -> None:
    """Else an upgraded library would stay grey till its first rebuild."""
    uid = registry.register_file(make_png(), "characters")["uid"]
    registry.wait_for_thumbnails()
    Image.new("RGB", (9, 9)).save(registry.THUMB_ROOT / f"{uid}_old.png")
    with registry.library.ledger.engine.write() as connection:
        name = f"cache/thumbs/{uid}_old.png"
        connection.execute("UPDATE assets_registry SET preview_recipe = 0, path_thumb = ?", (name,))

    answers = [client.get(f"/assets/{uid}/thumb", params={"size": size}) for size in (256, 512)]

    assert [answer.headers["content-type"] for answer in answers] == ["image/png", "image/png"]
    assert client.get(f"/assets/{uid}/preview").status_code == 404


def test_a_new_content_has_another_version_and_tag(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path]
) -> None:
    """Else browsers would go on showing the earlier picture."""
    record = registry.register_file(make_png(), "characters")
    place = registry.resolve_path(record["uid"])
    assert place is not None
    registry.wait_for_thumbnails()
    before = client.get(f"/assets/{record['uid']}/thumb")
    known = registry.get_cards([record["id"]])[record["id"]]["preview_version"]
    shutil.copy(make_png("other.png", seed=9), place)
    registry.register_file(place, "characters", copy_file=False)
    registry.wait_for_thumbnails()

    after = client.get(f"/assets/{record['uid']}/thumb", params={"v": known})

    assert after.headers["etag"] != before.headers["etag"]
    assert after.headers["cache-control"] == "no-cache"


def test_what_moves_has_a_moving_preview(
    registry: AssetRegistry, client: httpx.Client, tmp_path: Path, make_png: Callable[..., Path]
) -> None:
    """Else a gallery could not let sprites move."""
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "green", "blue")]
    frames[0].save(tmp_path / "blink.gif", save_all=True, append_images=frames[1:], duration=80)
    moving = registry.register_file(tmp_path / "blink.gif", "sprites")["uid"]
    still = registry.register_file(make_png(), "sprites")["uid"]
    registry.wait_for_thumbnails()

    shown, refused = (client.get(f"/assets/{uid}/preview") for uid in (moving, still))

    assert shown.headers["content-type"] == "image/webp"
    assert b"ANIM" in shown.content
    assert refused.status_code == 404
    assert "thumbnail" in refused.json()["detail"]
    assert client.get(f"/assets/{moving}/thumb").status_code == 200


def test_a_sound_has_a_waveform_and_no_thumb(
    registry: AssetRegistry, client: httpx.Client, tmp_path: Path
) -> None:
    """Else a gallery could not draw sounds, or would show a broken picture."""
    uid = registry.register_file(_make_wav(tmp_path / "rain.wav"), "sounds")["uid"]
    registry.wait_for_thumbnails()

    waveform, thumb = (client.get(f"/assets/{uid}/{what}") for what in ("waveform", "thumb"))

    assert waveform.headers["content-type"] == "application/json"
    assert waveform.json()["kind"] == "waveform"
    assert thumb.status_code == 404
    assert "waveform" in thumb.json()["detail"]


def _make_wav(path: Path) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
        file.writeframes(bytes(range(256)) * 64)
    return path


def test_a_preview_that_failed_says_why(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path], tmp_path: Path
) -> None:
    """Else nobody would learn why a picture stays grey."""
    data = make_png().read_bytes()
    (tmp_path / "cut.png").write_bytes(data[:60])
    uid = registry.register_file(tmp_path / "cut.png", "characters")["uid"]
    registry.wait_for_thumbnails()
    reason = registry.list_assets()[0]["preview"]

    answer = client.get(f"/assets/{uid}/thumb")

    assert reason is not None
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:comfyvn:problem:preview-missing"
    assert reason["reason"] in answer.json()["detail"]


def test_a_preview_that_is_not_made_yet_asks_to_come_again(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path]
) -> None:
    """Else a page would give up on a picture that is there a moment later."""
    uid = registry.register_file(make_png(), "characters")["uid"]
    registry.wait_for_thumbnails()
    with registry.library.ledger.engine.write() as connection:
        connection.execute("UPDATE assets_registry SET preview_state = 'pending'")

    answer = client.get(f"/assets/{uid}/thumb")

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:comfyvn:problem:preview-pending"
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("harm", ["gone", "link", "text"])
def test_a_harmed_preview_cache_shows_nothing_else(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path], tmp_path: Path, harm: str
) -> None:
    """Else what lies in the cache by accident or malice would be shown as if we had made it."""
    uid = registry.register_file(make_png(), "characters")["uid"]
    registry.wait_for_thumbnails()
    place = registry.THUMB_ROOT / f"{uid}_256.webp"
    place.unlink()
    (tmp_path / "secret.txt").write_text("<script>secret</script>")
    if harm == "link":
        place.symlink_to(tmp_path / "secret.txt")
    elif harm == "text":
        place.write_text("<script>secret</script>")

    answer = client.get(f"/assets/{uid}/thumb")

    assert answer.status_code == 404
    assert "secret" not in answer.text


def test_every_format_with_bytes_of_its_own_has_a_media_type() -> None:
    """Else a format that is added later would be sent as nobody knows what."""
    from importlib.metadata import entry_points

    names = {each.name for each in entry_points(group="comfyvn.formats")}

    assert names - set(files._BY_FORMAT) == {"qoi", "tga"}, "they have no registered type"
