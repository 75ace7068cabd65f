"""What the server answers, beside servers that do nothing: a trivial FastAPI route, and plain files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from random import Random
from urllib.parse import urlencode

import cases_rows
import library
import rows
from measuring import Case, Job, once, open_registry, settle
from servers import Client, Server, client_of, request, running

_PAGE = 50
_WARM = 20
_UPLOADS = 1_000
_UPLOAD_CONNECTIONS = 16
_ROUNDS = 12
_ROUND = 400
# what is asked of everything in a round of the soak
_OFTEN, _SELDOM = 98, 4
_GROWTH_MB = 16.0
_TRIVIAL = request("/trivial")

Requests = Callable[[Path], list[bytes]]
"""Makes the requests of a case for the library of a project folder."""


def served(job: Job) -> Path:
    """Return a library of `--rows` assets without files and some pictures with theirs; made at first."""
    return once(job.art / f"served-{job.sizes.rows}-{job.sizes.files}-{job.mark}", partial(_make_served, job))


def _make_served(job: Job, home: Path) -> None:
    shutil.copytree(cases_rows.library(job), home, dirs_exist_ok=True)
    with open_registry(home, "off") as registry:
        known = [registry.register_file(picture, "pictures") for picture in job.pictures()]
        registry.wait_for_thumbnails()
        ids = [number for chunk in registry.iter_ids() for number in chunk]
    (home / "pictures.json").write_text(json.dumps([[each["uid"], each["path"]] for each in known]))
    (home / "whole.index").write_bytes(b"".join(number.to_bytes(8, "little") for number in ids))
    (home / "ids.json").write_text(json.dumps(Random(8).sample(ids, 2_000)))


# -- questions --------------------------------------------------------------------------------------------


def _lists(home: Path) -> list[bytes]:
    wanted: list[dict[str, object]] = []
    for sample in Random(9).sample(rows.samples(home), 50):
        wanted += [{}, {"type": sample.type}, {"license": sample.license}, {"cursor": sample.id}]
        wanted += [{"tag": tag} for tag in sample.tags[:1]]
    return [request("/assets?" + urlencode({**each, "limit": _PAGE})) for each in wanted]


def _rows(home: Path) -> list[bytes]:
    ids, dice = json.loads((home / "ids.json").read_text()), Random(10)
    return [
        request("/assets/rows", json.dumps({"ids": dice.sample(ids, _PAGE)}).encode()) for _ in range(200)
    ]


def _facets(home: Path) -> list[bytes]:
    wanted: list[dict[str, str]] = [{}]
    for sample in Random(11).sample(rows.samples(home), 20):
        wanted += [{"type": sample.type}, {"license": sample.license}]
    return [request("/assets/facets?" + urlencode(each)) for each in wanted]


def _pictures(home: Path) -> list[list[str]]:
    found: list[list[str]] = json.loads((home / "pictures.json").read_text())
    return found


def _thumbs(home: Path) -> list[bytes]:
    return [request(f"/assets/{uid}/thumb?size=256") for uid, _ in _pictures(home)]


def _thumb_files(home: Path) -> list[bytes]:
    return [request(f"/cache/thumbs/{uid}_256.webp") for uid, _ in _pictures(home)]


def _downloads(home: Path) -> list[bytes]:
    return [request(f"/assets/{uid}/download") for uid, _ in _pictures(home)]


def _download_files(home: Path) -> list[bytes]:
    return [request(f"/assets/{path}") for _, path in _pictures(home)]


def _indexes(_home: Path) -> list[bytes]:
    return [request("/assets/index")]


def _index_files(_home: Path) -> list[bytes]:
    return [request("/whole.index")]


def _trivial(_home: Path) -> list[bytes]:
    return [_TRIVIAL]


# -- asking -----------------------------------------------------------------------------------------------


def _ask(job: Job, kind: str, make: Requests, count: int) -> int:
    """Ask a server so many questions on eight connections; the CPU time is the server's."""
    home = served(job)
    with running(kind, *_places(kind, home)) as server, client_of(server) as client:
        wanted = list(islice(cycle(make(home)), count))
        client.ask(wanted[:_WARM])
        with _watch(job, server):
            assert client.ask(wanted) > 0
    return count


def _places(kind: str, home: Path) -> list[Path]:
    return [] if kind == "trivial" else [home]


@contextmanager
def _watch(job: Job, server: Server, part: str = "", *, count: int = 0) -> Iterator[None]:
    """Take the time here and the CPU time there: what the client used is not what is measured."""
    with job.watch(part, count=count, cpu_s=server.cpu_s):
        yield


def _served_case(ours: Requests, bare: Requests, kind: str, count: int, goal: float | None) -> Case:
    return Case(
        partial(_ask, kind="library", make=ours, count=count),
        partial(_ask, kind=kind, make=bare, count=count),
        "answers",
        goal,
        prepare=served,
    )


# -- uploads ----------------------------------------------------------------------------------------------


def _upload(job: Job) -> int:
    """Send 1,000 tiny files on 16 connections; every one of them must be there afterwards."""
    files = library.files(job.tiny(_UPLOADS))
    with running("library", job.home) as server, client_of(server, _UPLOAD_CONNECTIONS) as client:
        client.ask([_form("/assets/upload", "warm.txt", b"a first line\n")])
        settle()
        with _watch(job, server):
            client.ask([_form("/assets/upload", path.name, path.read_bytes()) for path in files])
    with open_registry(job.home) as registry:
        kept = {path.read_bytes() for path in (registry.ASSETS_ROOT / "generic").glob("line_*.txt")}
        assert registry.count_assets() == _UPLOADS + 1, "an upload was lost"
    assert kept == {path.read_bytes() for path in files}, "a file was lost"
    return _UPLOADS


def _upload_bare(job: Job) -> int:
    files = library.files(job.tiny(_UPLOADS))
    with running("uploads", job.home) as server, client_of(server, _UPLOAD_CONNECTIONS) as client:
        client.ask([_form("/upload", "warm.txt", b"a first line\n")])
        settle()
        with _watch(job, server):
            client.ask([_form("/upload", path.name, path.read_bytes()) for path in files])
    return _UPLOADS


def _form(path: str, name: str, data: bytes) -> bytes:
    head = f'--part\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    return request(path, head + data + b"\r\n--part--\r\n", kind="multipart/form-data; boundary=part")


# -- memory -----------------------------------------------------------------------------------------------


def _soak(job: Job) -> int:
    """Ask for everything again and again; from the second round on the server's memory must not grow."""
    home = served(job)
    with running("library", home) as server, client_of(server) as client:
        wanted = [each for make in (_lists, _rows, _thumbs, _downloads) for each in _some(make(home), _OFTEN)]
        wanted += [each for make in (_facets, _indexes) for each in _some(make(home), _SELDOM)]
        Random(12).shuffle(wanted)
        before_mb = _soak_rounds(job, server, client, wanted)
        grown_mb = server.rss_mb() - before_mb
    assert grown_mb < _GROWTH_MB, f"the server's memory grew by {grown_mb:.0f} MB"
    return _ROUNDS * _ROUND


def _some(requests: list[bytes], count: int) -> list[bytes]:
    return list(islice(cycle(requests), count))


def _soak_rounds(job: Job, server: Server, client: Client, wanted: list[bytes]) -> float:
    """Go round and return how much memory there was after the first quarter."""
    before_mb = 0.0
    turns = cycle(wanted)
    for turn in range(_ROUNDS):
        with _watch(job, server):
            client.ask(list(islice(turns, _ROUND)))
        if turn == _ROUNDS // 4:
            before_mb = server.rss_mb()
    return before_mb


def _soak_bare(job: Job) -> int:
    with running("trivial") as server, client_of(server) as client:
        _soak_rounds(job, server, client, [_TRIVIAL])
    return _ROUNDS * _ROUND


def _prepare_uploads(job: Job) -> Path:
    return job.tiny(_UPLOADS)


CASES = {
    "serve:list": _served_case(_lists, _trivial, "trivial", 2_000, 3.0),
    "serve:rows": _served_case(_rows, _trivial, "trivial", 2_000, 3.0),
    "serve:facets": _served_case(_facets, _trivial, "trivial", 200, None),
    "serve:thumb": _served_case(_thumbs, _thumb_files, "files", 4_000, 1.0),
    "serve:download": _served_case(_downloads, _download_files, "files", 500, 1.25),
    "serve:index": _served_case(_indexes, _index_files, "files", 100, None),
    "serve:upload": Case(_upload, _upload_bare, "files", prepare=_prepare_uploads),
    "serve:soak": Case(_soak, _soak_bare, "answers", prepare=served),
}
