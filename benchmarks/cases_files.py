"""What is done with files: taking in, tagging, bringing the ledger in step, checking."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import bare
import library
from measuring import Case, Job, new_registry, open_registry, settle

from comfyvn.media.isolation import WORKERS
from comfyvn.registry.ingest import Selection, ingest
from comfyvn.registry.rebuild import rebuild
from comfyvn.registry.verify import verify
from comfyvn.studio.core import AssetRegistry
from comfyvn.studio.core.workflows import told_by_file

# -- one file at a time -----------------------------------------------------------------------------------


def _register(job: Job) -> int:
    pictures = job.pictures()
    with new_registry(job) as registry:
        for picture in pictures:
            settle()
            with job.watch():
                registry.register_file(picture, "pictures")
            registry.wait_for_thumbnails()
    return len(pictures)


def _register_bare(job: Job) -> int:
    pictures = job.pictures()
    for picture in pictures:
        settle()
        with job.watch():
            bare.register(picture, job.home)
    return len(pictures)


def _previews(job: Job) -> int:
    pictures = job.pictures()
    with new_registry(job) as registry, job.watch():
        for picture in pictures:
            registry.register_file(picture, "pictures")
        _finish(registry)
    return len(pictures)


def _previews_bare(job: Job) -> int:
    pictures = job.pictures()
    bare.thumbnails(pictures[0], job.home)  # loads Pillow, as the registry's first file did
    settle()
    with job.watch():
        for picture in pictures:
            bare.take_in(picture, job.home)
    return len(pictures)


# -- many files -------------------------------------------------------------------------------------------


def _ingest(job: Job) -> int:
    source = job.mixed()
    with new_registry(job, "batch") as registry:
        registry.register_file(library.make_warm_sound(job.home / "warm.ogg"), "warm")
        registry.wait_for_thumbnails()
        settle()
        with job.watch():
            found = [item for item in ingest(Selection([source]), registry) if item.status == "registered"]
            _finish(registry)
    return len(found)


def _ingest_bare(job: Job) -> int:
    files = job.mixed_files()
    bare.thumbnails(library.make_warm(job.home / "warm.png"), job.home)
    bare.waveform(library.make_warm_sound(job.home / "warm.ogg"), job.home)
    settle()
    with job.watch():
        bare.take_in_on_two_threads(files, job.home)
    return len(files)


def _tiny(job: Job) -> int:
    source = job.tiny()
    with new_registry(job, "batch") as registry, job.watch():
        return sum(item.status == "registered" for item in ingest(Selection([source]), registry))


def _tiny_in_place(job: Job) -> int:
    shutil.copytree(job.tiny(), job.home / "assets", dirs_exist_ok=True)
    with new_registry(job, "batch") as registry, job.watch():
        wanted = Selection([registry.ASSETS_ROOT / "lines"], is_in_place=True)
        return sum(item.status == "registered" for item in ingest(wanted, registry))


def _tiny_bare(job: Job) -> int:
    names = [file.name for file in job.tiny_files()]
    settle()
    with job.watch():
        bare.write_records(names, job.home)
    return len(names)


def _tags(job: Job) -> int:
    source = job.tiny(job.sizes.tagged)
    with new_registry(job) as registry:
        uids = [item.uid for item in ingest(Selection([source]), registry) if item.uid]
        operation = registry.new_operation()
        settle()
        with job.watch("add", count=len(uids)):
            done = registry.bulk_update_tags(uids, add_tags=["night"], operation=operation)
        settle()
        with job.watch("undo", count=len(uids)):
            undone = registry.undo(operation)
    assert len(done) == len(undone["undone"]) == len(uids)
    return 2 * len(uids)


def _tags_bare(job: Job) -> int:
    """Write each sidecar and mirror over its older self, twice."""
    count = job.sizes.tagged
    folders = (job.home / "sidecars", job.home / "mirrors")
    for folder in folders:
        folder.mkdir()
    note = bare.describe("line.txt", "0" * 64)
    records = {folder / f"{number:07}.json": note for number in range(count) for folder in folders}
    for path, data in records.items():
        bare.write(path, data)
    for part in ("add", "undo"):
        settle()
        with job.watch(part, count=count):
            bare.rewrite(records)
    return 2 * count


# -- files and ledger in step -----------------------------------------------------------------------------


def _rebuild(job: Job) -> int:
    home = job.registered("tiny")
    with new_registry(job) as warm:
        rebuild(warm)
    with open_registry(home) as registry:
        settle()
        with job.watch():
            report = rebuild(registry)
    assert report.unchanged == report.processed == job.sizes.tiny, "delete the kept library; it was changed"
    return report.processed


def _rebuild_bare(job: Job) -> int:
    root, db = job.registered("tiny") / "assets", job.home / "remembered.db"
    bare.remember(root, db)
    settle()
    with job.watch():
        return bare.compare(root, db)


def _lost(job: Job, kind: str) -> int:
    """Rebuild into a new ledger; nothing else is written, so that the library serves again."""
    home = job.registered(kind)
    with new_registry(job) as warm:
        rebuild(warm)
    with open_registry(home, db=job.home / "new.db") as registry:
        settle()
        with job.watch():
            report = rebuild(registry)
            _finish(registry)
    assert len(report.registered) == report.processed
    assert not report.sidecars_written
    return report.processed


def _lost_bare(job: Job, kind: str) -> int:
    root = job.registered(kind) / "assets"
    settle()
    with job.watch():
        return bare.read_all(root, threads=2 if kind == "mixed" else 1)


def _verify(job: Job) -> int:
    with open_registry(job.registered("mixed")) as registry:
        settle()
        with job.watch():
            report = verify(registry)
    assert report.is_sound
    return report.checked


def _verify_bare(job: Job) -> int:
    root = job.registered("mixed") / "assets"
    paths = [root / key for key in bare.walk(root) if not key.endswith(bare.SIDECAR)]
    records = {path: bare.hash_file(path) for path in paths}
    settle()
    with job.watch():
        return bare.check_on_two_threads(records)


# -- inside -----------------------------------------------------------------------------------------------


def _finish(registry: AssetRegistry) -> None:
    """Wait for the previews, and end the workers: the time of processes counts when they have ended."""
    registry.wait_for_thumbnails()
    WORKERS.close()


def _make_tagged(job: Job) -> Path:
    return job.tiny(job.sizes.tagged)


_registered = {kind: partial(Job.registered, kind=kind) for kind in ("mixed", "tiny")}

# -- what made them ---------------------------------------------------------------------------------------


def _facts(job: Job) -> int:
    files = library.files(job.generated())
    settle()
    with job.watch():
        for path in files:
            with path.open("rb") as file:
                told = told_by_file(file, path.name)
            assert told is not None
            assert told.facts["steps"] == 28
    return len(files)


def _facts_bare(job: Job) -> int:
    files = library.files(job.generated())
    settle()
    with job.watch():
        for path in files:
            path.read_bytes()
    return len(files)


CASES = {
    "register": Case(_register, _register_bare, goal=1.5, prepare=Job.mixed),
    "previews": Case(_previews, _previews_bare, goal=1.25, prepare=Job.mixed),
    "ingest": Case(_ingest, _ingest_bare, goal=1.25, prepare=Job.mixed),
    "tiny": Case(_tiny, _tiny_bare, goal=2.0, prepare=Job.tiny),
    "tiny:in-place": Case(_tiny_in_place, _tiny_bare, goal=2.0, prepare=Job.tiny),
    "tags": Case(_tags, _tags_bare, "assets", goal=1.5, prepare=_make_tagged),
    "rebuild": Case(_rebuild, _rebuild_bare, goal=2.0, prepare=_registered["tiny"]),
    **{
        f"lost:{kind}": Case(
            partial(_lost, kind=kind),
            partial(_lost_bare, kind=kind),
            goal=1.25,
            prepare=prepare,
        )
        for kind, prepare in _registered.items()
    },
    "facts": Case(_facts, _facts_bare, prepare=Job.generated),
    "verify": Case(_verify, _verify_bare, goal=2.0, prepare=_registered["mixed"]),
}
