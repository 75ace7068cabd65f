"""What a case is made of: the clock, the sizes, the folders, a library to work in."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import library

from comfyvn.config import Durability
from comfyvn.registry.ingest import Selection, ingest
from comfyvn.studio.core import AssetRegistry

BASE_ROWS = 10_000
"""How many rows the smaller library has, in which the same questions are asked."""


@dataclass(frozen=True)
class Sizes:
    """How much of everything: mixed files, tiny files, assets to be tagged, rows of the large ledger."""

    files: int = 40
    tiny: int = 2_000
    tagged: int = 2_000
    rows: int = 100_000


@dataclass
class Part:
    """What the clock counted under one name; ``laps_s`` are the wall times of its stretches."""

    cpu_s: float = 0.0
    count: int = 0
    laps_s: list[float] = field(default_factory=list)


class Watch:
    """Adds up the wall and CPU time of ``with`` blocks: of all threads, and of children that ended.

    ``cpu_s`` tells another process's CPU time where that is to be counted instead.
    """

    def __init__(self) -> None:
        self.parts: dict[str, Part] = {}

    @contextmanager
    def __call__(
        self, part: str = "", *, count: int = 0, cpu_s: Callable[[], float] | None = None
    ) -> Iterator[None]:
        tell_cpu_s = cpu_s or _cpu_s
        used_s, wall_s = tell_cpu_s(), time.perf_counter()
        yield
        wall_s, used_s = time.perf_counter() - wall_s, tell_cpu_s() - used_s
        counted = self.parts.setdefault(part, Part())
        counted.laps_s.append(wall_s)
        counted.cpu_s += used_s
        counted.count += count


@dataclass(frozen=True)
class Job:
    """One run of one side of a case: ``art`` is shared by all runs, ``home`` is its own and empty.

    ``mark`` stands in the names of libraries in ``art``: a kept one of other tables is of no use.
    """

    art: Path
    home: Path
    mark: str
    sizes: Sizes
    watch: Watch = field(default_factory=Watch)

    def mixed(self) -> Path:
        """Return the folder of mixed files; made at the first call."""
        count = self.sizes.files
        return once(self.art / f"mixed-{count}", lambda folder: library.make_mixed(folder, count))

    def mixed_files(self) -> list[Path]:
        return library.files(self.mixed())

    def pictures(self) -> list[Path]:
        return [file for file in self.mixed_files() if library.is_picture(file)]

    def tiny(self, count: int | None = None) -> Path:
        """Return the folder of tiny files; made at the first call."""
        count = count or self.sizes.tiny
        return once(self.art / f"tiny-{count}", lambda folder: library.make_tiny(folder, count))

    def generated(self) -> Path:
        """Return the folder of pictures as ComfyUI saves them; made at the first call."""
        count = self.sizes.files
        return once(self.art / f"generated-{count}", lambda folder: library.make_generated(folder, count))

    def tiny_files(self) -> list[Path]:
        return library.files(self.tiny())

    def registered(self, kind: str) -> Path:
        """Return a project folder whose library holds all ``mixed`` or all ``tiny`` files, previews done."""
        source = self.mixed() if kind == "mixed" else self.tiny()
        return once(self.art / f"registered-{source.name}-{self.mark}", lambda home: _register(source, home))


def nothing(_job: Job) -> None:
    """Prepare nothing."""


@dataclass(frozen=True)
class Case:
    """``ours`` and ``bare`` do the work and return how many units it was.

    ``prepare`` makes what both need, before any clock. ``goal`` is the ratio wanted. ``goal_ms`` makes it a
    case of questions, each timed by itself: how long one may take, by part, "other" for all that are not
    named; None is no goal. ``environment`` is added to that of both sides.
    """

    ours: Callable[[Job], int]
    bare: Callable[[Job], int]
    unit: str = "files"
    goal: float | None = None
    goal_ms: Mapping[str, float | None] = field(default_factory=dict)
    prepare: Callable[[Job], object] = nothing
    environment: Mapping[str, str] = field(default_factory=dict)


def once(folder: Path, make: Callable[[Path], object]) -> Path:
    """Return a folder that ``make`` has filled; what a killed run left half-made is made anew."""
    if not folder.exists():
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        make(part)
        part.rename(folder)
    return folder


def settle() -> None:
    """Let no earlier write be waited for in a measured stretch."""
    if hasattr(os, "sync"):
        os.sync()


def mark_of_tables(folder: Path) -> str:
    """Return a few digits that differ where a new ledger's tables do; one is made in the folder to see."""
    with open_registry(folder) as registry:
        db = registry.db_path
    with closing(sqlite3.connect(db)) as connection:
        tables = connection.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
    return hashlib.sha256(repr(tables).encode()).hexdigest()[:8]


@contextmanager
def new_registry(job: Job, durability: Durability = "full") -> Iterator[AssetRegistry]:
    """Open a new library that has seen one picture: tables made, everything imported, thumbnails too."""
    warm = library.make_warm(job.home / "warm.png")
    with open_registry(job.home, durability) as registry:
        registry.register_file(warm, "warm")
        registry.wait_for_thumbnails()
        settle()
        yield registry


def open_registry(home: Path, durability: Durability = "full", *, db: Path | None = None) -> AssetRegistry:
    """Open the library of a project folder, with another ledger if one is given."""
    db = db or home / "comfyvn" / "data" / "comfyvn.db"
    assets, thumbs = home / "assets", home / "cache" / "thumbs"
    return AssetRegistry(db, "default", assets_root=assets, thumb_root=thumbs, durability=durability)


def _register(source: Path, home: Path) -> None:
    with open_registry(home, "off") as registry:
        failed = [item for item in ingest(Selection([source]), registry) if item.status != "registered"]
        assert not failed, failed[:3]
        registry.wait_for_thumbnails()


def _cpu_s() -> float:
    own, ended = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
