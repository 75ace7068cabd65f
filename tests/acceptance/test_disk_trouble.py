"""Full disks, read-only places, a locked ledger: one clear error, nothing lost, and the next run goes on."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyvn import cli
from comfyvn.errors import RegistryBusy, RegistryUnusable, StorageUnwritable
from comfyvn.registry.verify import verify
from comfyvn.storage import LocalStorage, Writes
from comfyvn.studio.core import AssetRegistry
from disks import remount, small_disk

DISK_BYTES = 2_500_000
DB = Path("comfyvn/data/comfyvn.db")
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@pytest.fixture
def disk(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A real disk of 2.5 MB, for one of the library's places; the others lie in the project folder."""
    with small_disk(project / "disk", DISK_BYTES) as place:
        yield place


@pytest.fixture
def art(tmp_path: Path) -> list[Path]:
    """Ten pictures of some 50 kB that no disk can squeeze."""
    folder = tmp_path / "art"
    folder.mkdir()
    for number in range(10):
        noise = random.Random(number).randbytes(128 * 128 * 3)
        Image.frombytes("RGB", (128, 128), noise).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


@dataclass(frozen=True)
class Answer:
    """What a command said, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


class Program:
    """The program, run through its own entry in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: object) -> Answer:
        self._monkeypatch.setattr(sys, "argv", ["comfyvn", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = self._capsys.readouterr()
        os.environ.pop("COMFYVN_HOME", None)  # which --home has set
        assert isinstance(ended.value.code, int)
        return Answer(ended.value.code, told.out, told.err)

    def items(self, *arguments: object) -> list[dict[str, Any]]:
        """Return the assets that ``comfyvn list`` knows; arguments are those before the command."""
        found: list[dict[str, Any]] = json.loads(self(*arguments, "list", "--json").stdout)["items"]
        return found


@pytest.fixture
def comfyvn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Program]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield Program(monkeypatch, capsys)
    root.handlers[:], root.level = handlers, level


def start(*arguments: object, prefix: tuple[str, ...] = ()) -> Answer:
    """Run the program in a process of its own."""
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "comfyvn", *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def fill(disk: Path, left_bytes: int = 0) -> None:
    """Fill a disk but for some bytes."""
    free = os.statvfs(disk)
    with (disk / "filler").open("wb") as file:
        file.truncate(0)
        os.posix_fallocate(file.fileno(), 0, max(1, free.f_bavail * free.f_frsize - left_bytes))


def make_room(disk: Path) -> None:
    (disk / "filler").unlink()


def staged(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("staging/*") if path.name != "staging"]


def check_all_is_well(comfyvn: Program, sources: list[Path]) -> None:
    """Check that every source is registered once, and files, sidecars, mirrors and previews are there."""
    with AssetRegistry() as registry:
        assert registry.count_assets() == len(sources)
        assert verify(registry).is_sound
        known = {record["bytes"] for record in registry.list_assets()}
        assert known == {source.stat().st_size for source in sources}
        for record in registry.list_assets():
            assert registry.resolve_thumbnail_path(record) is not None
        root = registry.ASSETS_ROOT
        assets = [path for path in (root / "art").iterdir() if path.suffix == ".png"]
        assert len(assets) == len(sources)
    audit = comfyvn("audit", "--json")
    assert audit.returncode == 0, audit.stdout


# -- a full disk ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left_bytes", [0, 60_000])
def test_an_ingest_on_a_full_assets_disk_names_it_and_goes_on_when_there_is_room(
    comfyvn: Program, disk: Path, art: list[Path], monkeypatch: pytest.MonkeyPatch, left_bytes: int
) -> None:
    """Half a copy would stay, under a name that the next run takes for a picture."""
    monkeypatch.setenv("COMFYVN_ASSETS_ROOT", str(disk / "assets"))
    assert comfyvn("ingest", art[0]).returncode == 0
    fill(disk, left_bytes)

    answer = comfyvn("ingest", art[0].parent, "--json")

    assert answer.returncode == 1
    assert answer.stderr == ""
    failed = [item for item in json.loads(answer.stdout)["items"] if item["status"] == "failed"]
    assert failed
    for item in failed:
        assert item["file"] in item["reason"]
        assert (
            f"{disk / 'assets'}: nothing can be written here: the disk is full (No space left on device)"
            in item["reason"]
        )
    registered = comfyvn.items()
    new = [item for item in json.loads(answer.stdout)["items"] if item["status"] == "registered"]
    assert len(registered) == 1 + len(new)
    assert staged(disk) == []
    assert json.loads(comfyvn("verify", "--json").stdout)["sound"] == len(registered)
    make_room(disk)
    assert comfyvn("ingest", art[0].parent).returncode == 0
    assert comfyvn("rebuild").returncode == 0
    check_all_is_well(comfyvn, art)


def test_a_change_on_a_full_assets_disk_is_refused_whole(
    comfyvn: Program, disk: Path, art: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a bulk edit, some sidecars would say the new thing and the ledger the old one, or they be empty."""
    monkeypatch.setenv("COMFYVN_ASSETS_ROOT", str(disk / "assets"))
    assert comfyvn("ingest", art[0].parent, "--tag", "old").returncode == 0
    uids = [item["uid"] for item in comfyvn.items()]
    before = {path: path.read_bytes() for path in disk.rglob("*.json")}
    fill(disk)

    answer = comfyvn("tag", *uids, "--add", "new" * 60)

    assert (answer.returncode, answer.stdout) == (5, "")
    assert answer.stderr.startswith(f"comfyvn: {disk / 'assets'}")
    assert "the disk is full (No space left on device). Nothing was half-written;" in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert {path: path.read_bytes() for path in disk.rglob("*.json")} == before
    assert all(item["tags"] == ["old"] for item in comfyvn.items())
    make_room(disk)
    assert comfyvn("tag", *uids, "--add", "new").returncode == 0
    assert all(item["tags"] == ["old", "new"] for item in comfyvn.items())


def test_a_rebuild_on_a_full_assets_disk_names_it_and_goes_on_when_there_is_room(
    comfyvn: Program, disk: Path, art: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file without a sidecar would be registered, or a hand edit be taken for done and lost."""
    monkeypatch.setenv("COMFYVN_ASSETS_ROOT", str(disk / "assets"))
    assert comfyvn("ingest", art[0]).returncode == 0
    for source in art[1:]:
        shutil.copy(source, disk / "assets/art")
    edited = disk / "assets/art/0.png.asset.json"
    payload = json.loads(edited.read_text("utf-8"))
    edited.write_text(json.dumps({**payload, "tags": ["by hand"]}), "utf-8")
    fill(disk)

    answer = comfyvn("rebuild", "--json")

    assert answer.returncode in (1, 5)
    assert (
        f"{disk / 'assets'}: nothing can be written here: the disk is full" in answer.stdout + answer.stderr
    )
    assert json.loads(edited.read_text("utf-8"))["tags"] == ["by hand"]
    assert staged(disk) == []
    make_room(disk)
    assert comfyvn("rebuild").returncode == 0
    assert {path.name: item["tags"] for item in comfyvn.items() for path in [Path(item["path"])]} == {
        source.name: ["by hand"] if source == art[0] else [] for source in art
    }
    check_all_is_well(comfyvn, art)


def test_removing_on_a_full_assets_disk_works_or_changes_nothing(
    comfyvn: Program, disk: Path, art: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Removing is what people do to make room; a picture halfway to the trash would belong nowhere."""
    monkeypatch.setenv("COMFYVN_ASSETS_ROOT", str(disk / "assets"))
    assert comfyvn("ingest", art[0].parent).returncode == 0
    uid = comfyvn.items()[0]["uid"]
    fill(disk)

    answer = comfyvn("remove", uid)

    known = {item["uid"] for item in comfyvn.items()}
    assert (uid in known) == (answer.returncode != 0)
    pictures = sorted(path.name for path in disk.rglob("*.png"))
    assert pictures == [source.name for source in art]
    make_room(disk)
    assert comfyvn("verify").returncode == 0


@pytest.mark.parametrize("left_bytes", [0, 60_000])
def test_on_a_full_ledger_disk_nothing_is_lost_and_the_next_run_goes_on(
    comfyvn: Program, disk: Path, art: list[Path], monkeypatch: pytest.MonkeyPatch, left_bytes: int
) -> None:
    """Files would lie in the library that no run ever takes in, or twice."""
    monkeypatch.setenv("COMFYVN_DB", str(disk / "ledger.db"))
    assert comfyvn("ingest", art[0]).returncode == 0
    uid = comfyvn.items()[0]["uid"]
    fill(disk, left_bytes)

    ingested = comfyvn("ingest", art[0].parent)
    tagged = comfyvn("tag", uid, "--add", "x" * 150)
    rebuilt = comfyvn("rebuild")

    assert ingested.returncode in (1, 5)
    for answer in (ingested, tagged, rebuilt):
        told = answer.stdout + answer.stderr
        assert "Traceback" not in told
        if answer.returncode:
            assert f"{disk / 'ledger.db'}: the disk is full. Nothing was half-written" in told
    make_room(disk)
    with closing(sqlite3.connect(disk / "ledger.db")) as ledger:
        assert ledger.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert comfyvn("ingest", art[0].parent).returncode == 0
    assert comfyvn("rebuild").returncode == 0
    check_all_is_well(comfyvn, art)


@pytest.mark.parametrize("left_bytes", [0, 30_000])
def test_on_a_full_cache_disk_assets_are_registered_and_previews_made_later(
    comfyvn: Program, disk: Path, art: list[Path], monkeypatch: pytest.MonkeyPatch, left_bytes: int
) -> None:
    """The cache may be thrown away at any time: it must stop nobody, and not stay empty for ever."""
    monkeypatch.setenv("COMFYVN_THUMBS_ROOT", str(disk / "thumbs"))
    fill(disk, left_bytes)

    answer = comfyvn("ingest", art[0].parent, "--json")

    assert answer.returncode == 0
    document = json.loads(answer.stdout)
    assert document["counts"] == {"registered": 10}
    assert document["failed_previews"]
    for failure in document["failed_previews"]:
        assert "the disk is full" in failure["reason"]
        assert str(disk) not in failure["reason"]
    assert staged(disk) == []
    make_room(disk)
    assert comfyvn("rebuild").returncode == 0
    check_all_is_well(comfyvn, art)


def test_from_python_a_full_disk_is_an_error_of_its_own(
    disk: Path, art: list[Path], open_registry: Callable[..., AssetRegistry]
) -> None:
    """A script could not tell "make room" from "this picture is broken"."""
    registry = open_registry(assets_root=disk / "assets")
    uid = registry.register_file(art[0], "art")["uid"]
    fill(disk)

    with pytest.raises(StorageUnwritable, match="the disk is full"):
        registry.register_file(art[1], "art")
    with pytest.raises(StorageUnwritable, match="the disk is full"):
        registry.bulk_update_tags([uid], add_tags=["x"])

    assert registry.count_assets() == 1
    assert registry.read_sidecar(uid)["tags"] == []
    assert not any(path.stat().st_size for path in staged(disk) if path.is_file() and path.name != "lock")
    make_room(disk)
    assert registry.register_file(art[1], "art")["path"] == "art/1.png"
    assert registry.bulk_update_tags([uid], add_tags=["x"])[uid]["tags"] == ["x"]


def test_a_commit_that_fails_leaves_no_newer_sidecar(
    disk: Path, art: list[Path], open_registry: Callable[..., AssetRegistry]
) -> None:
    """The next change would take what was refused for an edit by hand."""
    registry = open_registry(db_path=disk / "ledger.db")
    uids = [registry.register_file(path, "art")["uid"] for path in art[:2]]
    assert registry.wait_for_thumbnails(60)
    before = [registry.sidecar_path(uid).read_bytes() for uid in uids]  # type: ignore[union-attr]
    fill(disk)

    with pytest.raises(RegistryUnusable, match="the disk is full"):
        registry.bulk_update_tags(uids, add_tags=["refused" * 20])

    assert [registry.sidecar_path(uid).read_bytes() for uid in uids] == before  # type: ignore[union-attr]
    make_room(disk)
    assert registry.bulk_update_tags(uids, add_tags=["x"])[uids[0]]["tags"] == ["x"]


def test_what_could_not_be_staged_takes_no_room(disk: Path) -> None:
    """A program that runs for weeks would keep the disk full with halves of files that it gave up."""
    storage = LocalStorage(disk / "assets")
    storage.create("first.txt", b"x", Writes(is_wanted=False))
    fill(disk, 100_000)
    before = os.statvfs(disk).f_bavail

    for number in range(5):
        with pytest.raises(StorageUnwritable):
            storage.create(f"{number}.bin", bytes(200_000), Writes(is_wanted=False))

    assert os.statvfs(disk).f_bavail == before
    storage.close()


def test_an_export_to_a_full_disk_leaves_the_older_one(
    comfyvn: Program, disk: Path, art: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nightly backup would destroy that of yesterday."""
    assert comfyvn("ingest", art[0].parent).returncode == 0
    assert comfyvn("export", "--output", disk / "e.json").returncode == 0
    before = (disk / "e.json").read_bytes()
    fill(disk)

    answer = comfyvn("export", "--output", disk / "e.json")

    assert (answer.returncode, answer.stdout) == (1, "")
    assert f"{disk / 'e.json'}: the export could not be written: No space left on device" in answer.stderr
    assert (disk / "e.json").read_bytes() == before
    assert sorted(path.name for path in disk.iterdir()) == ["e.json", "filler"]


# -- read-only --------------------------------------------------------------------------------------------

READING = [["list"], ["show", "UID"], ["export"], ["verify"], ["audit"], ["enforce", "--dry-run"]]
WRITING = [["tag", "UID", "--add", "x"], ["remove", "UID"], ["rebuild"], ["ingest", "ART"]]


def check_reading_and_writing(run: Callable[..., Answer], home: Path, art: list[Path], uid: str) -> None:
    """Check that all reading commands answer and all writing ones are refused with a sentence."""
    names = {"UID": uid, "ART": str(art[0].parent)}
    for command in READING:
        answer = run("--home", home, *[names.get(word, word) for word in command])
        assert (answer.returncode, answer.stderr) == (0, ""), command
        assert answer.stdout
    for command in WRITING:
        answer = run("--home", home, *[names.get(word, word) for word in command])
        assert (answer.returncode, answer.stdout) == (5, ""), command
        assert answer.stderr.startswith(f"comfyvn: {home}")
        assert answer.stderr.count("\n") == 1
        assert "can't be written to" in answer.stderr


def test_a_library_on_a_read_only_disk_can_be_read(comfyvn: Program, disk: Path, art: list[Path]) -> None:
    """A backup disc, or a snapshot of last week, could not be looked into to find what was lost."""
    home = disk / "vn"
    home.mkdir()
    assert comfyvn("--home", home, "ingest", art[0], art[1]).returncode == 0
    uid = comfyvn.items("--home", home)[0]["uid"]
    remount(disk, is_read_only=True)

    check_reading_and_writing(comfyvn, home, art, uid)

    doctor = comfyvn("--home", home, "doctor", "--json")
    findings = {(each["group"], each["name"]): each for each in json.loads(doctor.stdout)["findings"]}
    assert findings["ledger", "integrity"]["value"] == "sound"
    remount(disk, is_read_only=False)
    assert comfyvn("--home", home, "tag", uid, "--add", "x").returncode == 0


@pytest.mark.skipif(
    shutil.which("setpriv") is None or not hasattr(os, "geteuid") or os.geteuid() != 0,
    reason="needs root, to become a user without permission",
)
def test_a_library_of_somebody_else_can_be_read(comfyvn: Program, disk: Path, art: list[Path]) -> None:
    """A team shares a library that most of them may only look at."""
    home = disk / "vn"
    home.mkdir()
    assert comfyvn("--home", home, "ingest", art[0], art[1]).returncode == 0
    uid = comfyvn.items("--home", home)[0]["uid"]
    subprocess.run(["chmod", "-R", "a+rX", str(home)], check=True, timeout=60)
    bound = Path("/tmp") / f"comfyvn-read-{os.getpid()}"  # pytest's own folders let nobody else in
    bound.mkdir()
    subprocess.run(["mount", "--bind", str(disk), str(bound)], check=True, timeout=60)
    try:
        as_nobody = partial(start, prefix=NOBODY)
        check_reading_and_writing(as_nobody, bound / "vn", [Path("/etc/hostname")], uid)
    finally:
        subprocess.run(["umount", "-l", str(bound)], check=True, timeout=60)
        bound.rmdir()


def test_unfinished_changes_on_a_read_only_disk_are_never_passed_over(
    comfyvn: Program, disk: Path, art: list[Path]
) -> None:
    """A snapshot made while a program worked would show the state before its last changes as the last one."""
    home = disk / "vn"
    home.mkdir()
    assert comfyvn("--home", home, "ingest", art[0]).returncode == 0
    with AssetRegistry(home / DB, assets_root=home / "assets", thumb_root=home / "cache/thumbs") as registry:
        registry.register_file(art[1], "art")
        for name in ("comfyvn.db", "comfyvn.db-wal"):
            shutil.copy(home / DB.parent / name, home / name)
    snapshot = home / "comfyvn.db"
    assert snapshot.with_name("comfyvn.db-wal").stat().st_size > 0
    remount(disk, is_read_only=True)

    answer = comfyvn("--home", home, "list", "--db-path", snapshot)

    assert (answer.returncode, answer.stdout) == (5, "")
    assert f"{snapshot}: the ledger can't be opened." in answer.stderr
    assert "unfinished changes" in answer.stderr


@pytest.mark.parametrize("place", ["assets", "cache"])
def test_one_read_only_place_is_named_and_the_rest_works(
    comfyvn: Program, disk: Path, art: list[Path], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """An archive disk for the assets, or a cache that an administrator made: neither may cost anything."""
    variable = {"assets": "COMFYVN_ASSETS_ROOT", "cache": "COMFYVN_THUMBS_ROOT"}[place]
    monkeypatch.setenv(variable, str(disk / place))
    assert comfyvn("ingest", art[0]).returncode == 0
    uid = comfyvn.items()[0]["uid"]
    remount(disk, is_read_only=True)

    tagged, ingested = comfyvn("tag", uid, "--add", "x"), comfyvn("ingest", art[1])

    assert comfyvn("verify").returncode == 0 or place == "cache"
    if place == "assets":
        assert (tagged.returncode, tagged.stdout) == (5, "")
        assert f"{disk / place}" in tagged.stderr
        assert "the disk is read-only" in tagged.stderr
        assert ingested.returncode == 1
        assert "the disk is read-only" in ingested.stderr
        assert comfyvn.items()[0]["tags"] == []
    else:
        assert (tagged.returncode, ingested.returncode) == (0, 0)
        assert "the preview could not be written: the disk is read-only" in ingested.stderr
    remount(disk, is_read_only=False)
    assert comfyvn("ingest", art[1]).returncode == 0
    assert comfyvn("rebuild").returncode == 0
    check_all_is_well(comfyvn, art[:2])


# -- locked -----------------------------------------------------------------------------------------------


def test_a_ledger_locked_for_too_long_is_a_sentence_and_readers_go_on(
    comfyvn: Program,
    registry: AssetRegistry,
    open_registry: Callable[..., AssetRegistry],
    art: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A backup program that holds the database would cost a file, or hang the gallery."""
    uid = registry.register_file(art[0], "art", metadata={"tags": ["old"]})["uid"]
    registry.wait_for_thumbnails()
    monkeypatch.setenv("COMFYVN_BUSY_TIMEOUT_S", "0.3")
    impatient = open_registry()
    other = sqlite3.connect(DB, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    for change in (
        lambda: impatient.register_file(art[1], "art"),
        lambda: impatient.bulk_update_tags([uid], add_tags=["new"]),
        lambda: impatient.remove_asset(uid, delete_files=True),
    ):
        with pytest.raises(RegistryBusy, match=r"kept the ledger locked for 0\.3 s\. Nothing was lost"):
            change()
    listed, verified, exported = comfyvn("list", "--json"), comfyvn("verify"), comfyvn("export")

    assert [answer.returncode for answer in (listed, verified, exported)] == [0, 0, 0]
    assert json.loads(listed.stdout)["items"][0]["tags"] == ["old"]
    other.execute("ROLLBACK")
    other.close()
    assert registry.read_sidecar(uid)["tags"] == ["old"]
    assert [path.name for path in Path("assets/art").iterdir() if path.suffix == ".png"] == ["0.png"]
    assert impatient.bulk_update_tags([uid], add_tags=["new"])[uid]["tags"] == ["old", "new"]
    assert impatient.register_file(art[1], "art")["path"] == "art/1.png"


def test_a_writer_waits_for_another_one(registry: AssetRegistry, art: list[Path]) -> None:
    """A lock of a moment would fail what only had to wait."""
    other = sqlite3.connect(DB, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.5, other.execute, ["ROLLBACK"])
    release.start()

    info = registry.register_file(art[0], "art")

    release.join()
    other.close()
    assert info["path"] == "art/0.png"
