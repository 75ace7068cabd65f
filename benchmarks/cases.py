"""What is measured: each case as ours and as the bare work, on the same files."""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import bare
import kinds
import library

from comfyvn.db import Ledger, open_engine
from comfyvn.media.isolation import WORKERS
from comfyvn.model import Asset, Facts
from comfyvn.registry.ingest import Selection, ingest
from comfyvn.registry.verify import verify
from comfyvn.studio.core import AssetRegistry

_PAGE = 10
_PAGES = 100
_STARTS = 3
_TAGGED = 1_000
_TIMES = 3


class Watch:
    """Adds up the wall and CPU time of its ``with`` blocks: of all threads, and of children that ended."""

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = 0.0

    def __enter__(self) -> None:
        self._wall_s, self._cpu_s = time.perf_counter(), _cpu_s()

    def __exit__(self, *_: object) -> None:
        self.wall_s += time.perf_counter() - self._wall_s
        self.cpu_s += _cpu_s() - self._cpu_s


@dataclass(frozen=True)
class Job:
    """One run of one side of a case: the art, a new empty folder to work in, the clock."""

    art: Path
    home: Path
    rows: int
    watch: Watch

    def files(self, kind: str) -> list[Path]:
        return library.recall(self.art / kind)


@dataclass(frozen=True)
class Case:
    """``ours`` and ``bare`` do the work and return how many units it was; ``goal`` is the ratio wanted."""

    ours: Callable[[Job], int]
    bare: Callable[[Job], int]
    unit: str = "files"
    goal: float | None = None


# -- one file at a time -----------------------------------------------------------------------------------


def _register(job: Job) -> int:
    pictures = _pictures(job)
    with _registry(job) as registry:
        for picture in pictures:
            settle()
            with job.watch:
                registry.register_file(picture, "pictures")
            registry.wait_for_thumbnails()
    return len(pictures)


def _register_bare(job: Job) -> int:
    pictures = _pictures(job)
    for picture in pictures:
        settle()
        with job.watch:
            bare.register(picture, job.home)
    return len(pictures)


def _previews(job: Job) -> int:
    pictures = _pictures(job)
    with _registry(job) as registry, job.watch:
        for picture in pictures:
            registry.register_file(picture, "pictures")
        _finish(registry)
    return len(pictures)


def _previews_bare(job: Job) -> int:
    pictures = _pictures(job)
    bare.thumbnails(pictures[0], job.home)  # loads Pillow, as the registry's first file did
    settle()
    with job.watch:
        for picture in pictures:
            bare.take_in(picture, job.home)
    return len(pictures)


# -- many files -------------------------------------------------------------------------------------------


def _ingest(job: Job) -> int:
    with _registry(job) as registry, job.watch:
        found = [
            item for item in ingest(Selection([job.art / "mixed"]), registry) if item.status == "registered"
        ]
        _finish(registry)
    return len(found)


def _ingest_bare(job: Job) -> int:
    files = job.files("mixed")
    bare.thumbnails(files[0], job.home)
    settle()
    with job.watch:
        bare.take_in_on_two_threads(files, job.home)
    return len(files)


def _tiny(job: Job) -> int:
    items = ({"source_path": file, "asset_type": "lines"} for file in job.files("tiny"))
    with _registry(job) as registry, job.watch:
        return sum(result["status"] == "registered" for result in registry.register_many(items))


def _tiny_bare(job: Job) -> int:
    files = job.files("tiny")
    settle()
    with job.watch:
        bare.register_tiny(files, job.home)
    return len(files)


def _tags(job: Job) -> int:
    items = ({"source_path": file, "asset_type": "lines"} for file in job.files("tiny")[:_TAGGED])
    with _registry(job) as registry:
        uids = [result["asset"]["uid"] for result in registry.register_many(items) if result["asset"]]
        settle()
        with job.watch:
            return len(registry.bulk_update_tags(uids, add_tags=["night"]))


def _tags_bare(job: Job) -> int:
    folders = (job.home / "sidecars", job.home / "mirrors")
    for folder in folders:
        folder.mkdir()
    note = bare.describe("line.txt", "0" * 64)
    records = {folder / f"{number:05}.json": note for number in range(_TAGGED) for folder in folders}
    for path, data in records.items():
        bare.write(path, data)
    settle()
    with job.watch:
        bare.rewrite(records)
    return _TAGGED


# -- checking ---------------------------------------------------------------------------------------------


def _verify(job: Job) -> int:
    with _registry(job) as registry:
        for _ in ingest(Selection([job.art / "mixed"]), registry):
            pass
        registry.wait_for_thumbnails()
        settle()
        with job.watch:
            report = verify(registry)
    assert report.is_sound
    return report.checked


def _verify_bare(job: Job) -> int:
    """Check the files as they were before they were stamped: the same bytes but for a marker."""
    records = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in job.files("mixed")}
    with job.watch:
        return bare.check_on_two_threads(records)


# -- looking ----------------------------------------------------------------------------------------------


def _list(job: Job, rows: int | None = None) -> int:
    """List pages under each kind of filter; the bare side does the same in a library of 1,000 rows."""
    folder = job.art / f"rows-{rows or job.rows}"
    db = folder / "rows.db"
    if not db.exists():
        _fill_ledger(db, rows or job.rows)
    with AssetRegistry(
        db, "default", assets_root=folder / "assets", thumb_root=folder / "thumbs"
    ) as registry:
        filters = ({"tags": "tag7"}, {"asset_type": "type3"}, {"license": "CC0-1.0"}, {"text": "harbour"})
        registry.list_assets(limit=_PAGE)
        with job.watch:
            for wanted in filters:
                for _ in range(_PAGES):
                    assert len(registry.list_assets(limit=_PAGE, **wanted)) == _PAGE
    return len(filters) * _PAGES


def _fill_ledger(db: Path, rows: int) -> None:
    engine = open_engine(db, durability="off")
    ledger = Ledger(engine, "default", None)
    for start in range(0, rows, 1_000):
        ids = ledger.reserve_ids(1_000)
        with ledger.write() as writer:
            writer.insert([_made_up(start + at, asset_id) for at, asset_id in enumerate(ids)])
    engine.close()


def _made_up(number: int, asset_id: int) -> Asset:
    digest = f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}" * 4
    place = "harbour" if number % 5 == 0 else "forest"
    facts = Facts((f"tag{number % 20}", "bench"), "CC0-1.0" if number % 4 else None, None, {"place": place})
    key = f"type{number % 6}/picture_{number:06}.png"
    at = "2026-01-01 00:00:00"
    return Asset(asset_id, "default", digest[:16], f"type{number % 6}", key, digest, 1_000_000, facts, at, at)


# -- one kind of medium -----------------------------------------------------------------------------------


def _kind(job: Job, name: str, make: Callable[[Path], None]) -> int:
    path = job.art / "kinds" / name
    make(path)  # loads the decoder
    with job.watch:
        for _ in range(_TIMES):
            make(path)
    return _TIMES


# -- starting ---------------------------------------------------------------------------------------------


def _help(job: Job) -> int:
    return _start(job, "-m", "comfyvn", "--help")


def _show(job: Job) -> int:
    with _registry(job) as registry:
        uid = registry.list_assets(limit=1)[0]["uid"]
    return _start(job, "-m", "comfyvn", "--home", str(job.home), "show", uid)


def _python(job: Job) -> int:
    return _start(job, "-c", "pass")


def _start(job: Job, *arguments: str) -> int:
    command = [sys.executable, *arguments]
    subprocess.run(command, check=True, capture_output=True)  # the first start reads from the disk
    with job.watch:
        for _ in range(_STARTS):
            subprocess.run(command, check=True, capture_output=True)
    return _STARTS


# -- inside -----------------------------------------------------------------------------------------------


def settle() -> None:
    """Let no earlier write be waited for in a measured stretch."""
    if hasattr(os, "sync"):
        os.sync()


@contextmanager
def _registry(job: Job) -> Iterator[AssetRegistry]:
    """Open a new library that has seen one file: tables made, everything imported, thumbnails too."""
    home = job.home
    warm = library.make_warm(home / "warm.png")
    db = home / "comfyvn" / "data" / "comfyvn.db"
    with AssetRegistry(
        db, "default", assets_root=home / "assets", thumb_root=home / "cache" / "thumbs"
    ) as registry:
        registry.register_file(warm, "warm")
        registry.wait_for_thumbnails()
        settle()
        yield registry


def _finish(registry: AssetRegistry) -> None:
    """Wait for the previews, and end the workers: the time of processes counts when they have ended."""
    registry.wait_for_thumbnails()
    WORKERS.close()


def _pictures(job: Job) -> list[Path]:
    return [file for file in job.files("mixed") if library.is_picture(file)]


def _cpu_s() -> float:
    own, ended = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


CASES = {
    "register": Case(_register, _register_bare),
    "previews": Case(_previews, _previews_bare, goal=1.5),
    "ingest": Case(_ingest, _ingest_bare, goal=1.5),
    "list": Case(_list, partial(_list, rows=1_000), "pages", goal=1.5),
    "tags": Case(_tags, _tags_bare, "assets"),
    "verify": Case(_verify, _verify_bare, goal=2.0),
    "tiny": Case(_tiny, _tiny_bare),
    "help": Case(_help, _python, "starts"),
    "show": Case(_show, _python, "starts"),
    **{
        f"kind:{name}": Case(
            partial(_kind, name=name, make=kinds.preview),
            partial(_kind, name=name, make=kinds.decode),
            "files",
        )
        for name in kinds.names()
    },
}
