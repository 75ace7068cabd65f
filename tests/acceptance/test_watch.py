"""`comfyvn watch`: what happens below the assets folder is taken in once it is quiet, and nothing twice."""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyvn.errors import LibraryUnreachable, WatchRunning
from comfyvn.registry.rebuild import rebuild
from comfyvn.registry.watch import Batch, watch
from comfyvn.studio.core import AssetRegistry

DEADLINE_S = 60.0
MANY = 2_050  # more than the watch waits for one by one; 10,000 take the same way, for half a minute
PIECES_LATER = 5  # in which a file would settle twice
HERE = Path("assets/characters")
DB = Path("comfyvn/data/comfyvn.db")
COMFYVN = [sys.executable, "-m", "comfyvn"]
IMPATIENT = """
from comfyvn.registry import watch
watch._RETRY_S = 0.5
from comfyvn.cli import main
main()
"""
needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="signals, links and names of POSIX")


class Watcher:
    """A running `comfyvn watch --json`; its batches are read as they come."""

    def __init__(self, *options: str, program: Sequence[str] = COMFYVN) -> None:
        self.process = subprocess.Popen(
            [*program, "watch", "--json", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.seen: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        self._readers = [
            threading.Thread(target=self._read_batches),
            threading.Thread(target=self._read_errors),
        ]
        for reader in self._readers:
            reader.start()

    def _read_batches(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors += list(self.process.stderr)

    def until(self, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for a batch of some kind and return it."""
        deadline_s = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline_s:
            has_ended = self.process.poll() is not None
            batch = self.next(0.5)
            if batch is not None and is_it(batch):
                return batch
            if batch is None and has_ended:
                break
        raise AssertionError(f"it did not come; these came: {self.seen}, {self.errors}")

    def until_any(self, *lists: str) -> dict[str, Any]:
        """Wait for a batch that brought something of each kind."""
        return self.until(lambda batch: batch["report"] is not None and all(map(batch["report"].get, lists)))

    def next(self, timeout_s: float) -> dict[str, Any] | None:
        """Return the next batch, None if none comes in time."""
        try:
            batch: dict[str, Any] = json.loads(self._lines.get(timeout=max(timeout_s, 0.01)))
        except queue.Empty:
            return None
        self.seen.append(batch)
        return batch

    def rest(self) -> list[dict[str, Any]]:
        """Save one more file, and return what came till it was taken in: what was changed before is in that.

        Its own batch is part of that if it holds anything else. The file is taken away again.
        """
        came = []
        last = Path(f"assets/last-{len(self.seen)}.txt")
        last.write_text(last.name)

        def is_last(batch: dict[str, Any]) -> bool:
            came.append(batch)
            return batch["report"] is not None and last.name in paths(batch["report"]["registered"])

        report = self.until(is_last)["report"]
        report["registered"] = [each for each in report["registered"] if each["path"] != last.name]
        report["processed"] -= 1
        with AssetRegistry(durability="off") as registry:
            registry.remove_asset(registry.resolve_uid(last.name), delete_files=True)
        return came if report["processed"] else came[:-1]

    def end(self, signal_number: int = signal.SIGTERM) -> int:
        """End the process, wait for it, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        try:
            return self.process.wait(DEADLINE_S)
        finally:
            self.process.kill()
            self.process.wait(DEADLINE_S)
            for reader in self._readers:
                reader.join(DEADLINE_S)
            for stream in (self.process.stdout, self.process.stderr):
                assert stream is not None
                stream.close()


@pytest.fixture(autouse=True)
def plain_settings(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no disk: these tests are about something else."""
    monkeypatch.setenv("COMFYVN_DURABILITY", "off")


@pytest.fixture
def start(project: Path) -> Iterator[Callable[..., Watcher]]:
    """Start watchers and wait until they watch; they are ended at the end."""
    started: list[Watcher] = []

    def one(*options: str, **named: Sequence[str]) -> Watcher:
        (project / "assets").mkdir(exist_ok=True)
        watcher = Watcher(*options, **named)
        started.append(watcher)
        watcher.until(lambda batch: batch["cause"] == "start")
        return watcher

    yield one
    for watcher in started:
        watcher.end()


@pytest.fixture
def mara(make_png: Callable[..., Path], open_registry: Callable[..., AssetRegistry]) -> str:
    """Six registered assets; the uid of ``characters/mara.png``, which has tags."""
    with AssetRegistry(durability="off") as registry:
        for seed, name in enumerate(("ellis", "ines", "ken", "yui", "tom"), 2):
            registry.register_file(make_png(f"{name}.png", seed=seed), "characters")
        uid: str = registry.register_file(
            make_png("mara.png"), "characters", metadata={"tags": ["cast"], "license": "CC-BY-4.0"}
        )["uid"]
        registry.wait_for_thumbnails()
    return uid


def records() -> dict[str, dict[str, Any]]:
    with AssetRegistry(durability="off") as registry:
        return {record["path"]: dict(record) for record in registry.list_assets()}


def is_anything(batch: dict[str, Any]) -> bool:
    """Tell a batch that brought or missed something from one that found all as it was."""
    counts = ("processed", "unchanged", "touched", "removed", "assets_root", "thumb_root")
    found = {name: value for name, value in (batch["report"] or {}).items() if name not in counts}
    return batch["trouble"] is not None or any(found.values())


def paths(items: list[dict[str, str]]) -> list[str]:
    return sorted(item["path"] for item in items)


def picture(path: Path, seed: int, size: int = 16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), (seed % 256, seed // 256 % 256, 7)).save(path)
    return path


# -- what people do ---------------------------------------------------------------------------------------


def test_a_file_that_is_saved_into_the_library_is_registered(start: Callable[..., Watcher]) -> None:
    """An artist saves a picture and has to run a command before anybody can find it."""
    watcher = start()

    picture(HERE / "mara.png", 1)

    batch = watcher.until_any("registered")
    assert paths(batch["report"]["registered"]) == ["characters/mara.png"]
    assert (HERE / "mara.png.asset.json").is_file()
    assert list(records()) == ["characters/mara.png"]


def test_what_happened_while_nothing_watched_is_taken_in_first(
    mara: str, start: Callable[..., Watcher]
) -> None:
    """Changes made while the watch was not running would be lost to it."""
    (HERE / "mara.png").rename(HERE / "heroine.png")
    picture(HERE / "new.png", 99)

    watcher = start()
    watcher.rest()  # a file that was saved the moment before has to settle first

    found = records()
    assert [batch["trouble"] for batch in watcher.seen if batch["trouble"]] == []
    assert found["characters/heroine.png"]["uid"] == mara
    assert "characters/new.png" in found


def test_a_repainted_file_gets_a_new_version(mara: str, start: Callable[..., Watcher]) -> None:
    """The artist paints on, and the library keeps describing yesterday's picture."""
    watcher = start()

    picture(HERE / "mara.png", 77)

    watcher.until_any("content_changed")
    record = records()["characters/mara.png"]
    assert (record["uid"], record["version"], record["meta"]["tags"]) == (mara, 2, ["cast"])


@pytest.mark.parametrize("with_sidecar", [True, False])
def test_a_moved_file_stays_the_same_asset(
    with_sidecar: bool, mara: str, start: Callable[..., Watcher]
) -> None:
    """A file manager moves the picture, with its sidecar or without, and tags and uid are gone."""
    watcher = start()
    place = Path("assets/cast/main")
    place.mkdir(parents=True)

    (HERE / "mara.png").rename(place / "mara.png")
    if with_sidecar:
        (HERE / "mara.png.asset.json").rename(place / "mara.png.asset.json")

    watcher.until_any("moved")
    record = records()["cast/main/mara.png"]
    assert (record["uid"], record["meta"]["tags"]) == (mara, ["cast"])
    assert (place / "mara.png.asset.json").is_file()
    assert not (HERE / "mara.png.asset.json").exists()


def test_a_renamed_folder_takes_all_its_assets_along(mara: str, start: Callable[..., Watcher]) -> None:
    """The system tells of the folder alone; every asset in it would be missing."""
    watcher = start()
    before = {record["uid"] for record in records().values()}

    HERE.rename("assets/people")

    report = watcher.until_any("moved")["report"]
    now = records()
    assert (len(report["moved"]), report["missing"], report["registered"]) == (6, [], [])
    assert {record["uid"] for record in now.values()} == before
    assert all(path.startswith("people/") for path in now)


def test_a_copy_whose_original_is_then_deleted_is_a_move(mara: str, start: Callable[..., Watcher]) -> None:
    """That is how files get to another disk: the copy would never become the asset that is missing."""
    watcher = start()
    shutil.copyfile(HERE / "mara.png", HERE / "copy.png")
    watcher.until_any("duplicates")

    (HERE / "mara.png").unlink()

    watcher.until_any("moved")
    assert records()["characters/copy.png"]["uid"] == mara


def test_a_deleted_file_is_missing_and_found_again(mara: str, start: Callable[..., Watcher]) -> None:
    """What was deleted by mistake and brought back must be what it was."""
    watcher = start()
    content = (HERE / "mara.png").read_bytes()

    (HERE / "mara.png").unlink()
    watcher.until_any("missing")
    gone = records()["characters/mara.png"]
    (HERE / "mara.png").write_bytes(content)
    watcher.until_any("restored")

    back = records()["characters/mara.png"]
    assert gone["missing_since"] is not None
    assert (back["uid"], back["meta"]["tags"], back["version"]) == (mara, ["cast"], 1)
    assert back.get("missing_since") is None


def test_an_edited_sidecar_changes_the_asset(mara: str, start: Callable[..., Watcher]) -> None:
    """A tag added in an editor is seen only after the next rebuild."""
    watcher = start()
    sidecar = HERE / "mara.png.asset.json"
    said = json.loads(sidecar.read_text("utf-8"))

    sidecar.write_text(json.dumps({**said, "tags": ["cast", "smile"]}), "utf-8")

    watcher.until_any("metadata_changed")
    assert records()["characters/mara.png"]["meta"]["tags"] == ["cast", "smile"]


def test_a_broken_sidecar_is_told_and_the_rest_goes_on(mara: str, start: Callable[..., Watcher]) -> None:
    """One bad file would hold up the others, or end the watch."""
    watcher = start()

    (HERE / "mara.png.asset.json").write_text("{", "utf-8")
    picture(HERE / "new.png", 99)

    failed = watcher.until_any("failed")["report"]["failed"]
    assert paths(failed) == ["characters/mara.png"]
    assert "mara.png.asset.json:1" in failed[0]["why"]
    assert "characters/new.png" in records()
    assert (HERE / "mara.png.asset.json").read_text("utf-8") == "{"


# -- files in the making ----------------------------------------------------------------------------------


def test_a_file_that_is_written_slowly_becomes_one_asset_with_one_version(
    make_png: Callable[..., Path], start: Callable[..., Watcher]
) -> None:
    """Half a picture would be registered, and every further piece as a version; others must not wait."""
    source = make_png("slow.png", size=(400, 300)).read_bytes()
    watcher = start()

    meanwhile: list[dict[str, Any]] = []
    pieces, later = iter(source[:-1]), 0
    HERE.mkdir(parents=True)
    with (HERE / "slow.png").open("wb", buffering=0) as target:
        while later < PIECES_LATER:
            target.write(bytes([next(pieces)]))
            if target.tell() == 3:
                picture(HERE / "quick.png", 9)
            later += bool(meanwhile)
            batch = watcher.next(0.25)
            meanwhile += [batch] if batch else []
        target.write(source[target.tell() :])
    watcher.until(lambda batch: "characters/slow.png" in paths(batch["report"]["registered"]))

    assert [paths(batch["report"]["registered"]) for batch in meanwhile] == [["characters/quick.png"]]
    assert records()["characters/slow.png"]["version"] == 1
    assert watcher.rest() == []


def test_temporary_files_of_programs_are_no_assets(start: Callable[..., Watcher]) -> None:
    """A browser's half download would be an asset for good, whether it began before the watch or after."""
    names = [".~lock.mara.png#", "mara.png.part", "mara.crdownload", "x.tmp", "~$x.doc", ".goutputstream-X"]
    HERE.mkdir(parents=True)
    for name in names:
        (HERE / name).write_bytes(b"begun")
    watcher = start()

    picture(HERE / "mara.png", 1)
    for name in names:
        (HERE / name).write_bytes(b"half")
    Path("assets/.git").mkdir()
    Path("assets/.git/index").write_bytes(b"git's own")

    watcher.until_any("registered")
    for name in names:
        (HERE / name).write_bytes(b"nearly")
    assert watcher.rest() == []
    assert list(records()) == ["characters/mara.png"]


@needs_posix
def test_a_download_that_gets_its_final_name_is_registered(start: Callable[..., Watcher]) -> None:
    """The bytes were told under the temporary name; of the final one only the renaming is."""
    watcher = start()
    picture(HERE / "mara.png", 1).rename(HERE / "mara.png.part")

    (HERE / "mara.png.part").rename(HERE / "mara.png")

    assert paths(watcher.until_any("registered")["report"]["registered"]) == ["characters/mara.png"]


# -- many, and others -------------------------------------------------------------------------------------


def test_thousands_of_files_at_once_are_one_batch(start: Callable[..., Watcher]) -> None:
    """Each would be a transaction of its own; and what the system's queue can't hold would be lost."""
    watcher = start()
    for number in range(MANY):
        path = Path(f"assets/notes/{number % 30}/{number}.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"note {number}")

    batch = watcher.until(lambda batch: bool(batch["report"]["registered"]))

    assert len(batch["report"]["registered"]) == MANY
    assert [batch for batch in watcher.rest() if is_anything(batch)] == []


REGISTER = """
import sys
from comfyvn.studio.core import AssetRegistry
with AssetRegistry() as registry:
    for source in sys.argv[1:]:
        registry.register_file(source, "characters", metadata={"tags": ["ours"]})
    registry.wait_for_thumbnails()
"""


def test_what_another_process_registers_leads_to_nothing(
    tmp_path: Path, start: Callable[..., Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sidecars that we write are changes, too: the watch would answer itself for ever."""
    monkeypatch.setenv("COMFYVN_DURABILITY", "full")
    watcher = start()
    sources = [str(picture(tmp_path / f"{number}.png", number, 64)) for number in range(50)]

    subprocess.run([sys.executable, "-c", REGISTER, *sources], check=True, timeout=DEADLINE_S)

    came = watcher.rest()
    found = records().values()
    assert [batch for batch in came if is_anything(batch)] == []
    assert len(came) <= 1
    assert len(found) == 50
    assert {(record["version"], *record["meta"]["tags"]) for record in found} == {(1, "ours")}
    assert len({record["uid"] for record in found}) == 50


def test_an_ingest_beside_the_watch_loses_nothing(
    tmp_path: Path, start: Callable[..., Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both see the same new files: one would take them from the other, or one would fail."""
    monkeypatch.setenv("COMFYVN_DURABILITY", "full")
    watcher = start("--settle", "0.05")
    for number in range(400):
        picture(tmp_path / "cast" / f"{number}.png", number, 48)

    answer = subprocess.run(
        [*COMFYVN, "ingest", "--json", "--tag", "ours", str(tmp_path / "cast")],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )

    came = watcher.rest()
    items = json.loads(answer.stdout)["items"]
    found = records()
    assert (answer.returncode, [item for item in items if "reason" in item]) == (0, [])
    assert [batch["trouble"] for batch in came if batch["trouble"]] == []
    assert sorted(found) == sorted(f"cast/{number}.png" for number in range(400))
    assert {(record["version"], *record["meta"]["tags"]) for record in found.values()} == {(1, "ours")}
    with AssetRegistry() as registry:
        report = rebuild(registry)
    assert (report.unchanged, report.conflicts, report.failed) == (400, [], [])


def test_a_second_watch_of_a_library_is_refused(start: Callable[..., Watcher]) -> None:
    """Two would do everything twice and race each other."""
    start()

    second = subprocess.run(
        [*COMFYVN, "watch"], capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )

    assert second.returncode == 4
    assert "another `comfyvn watch` is at work" in second.stderr


def test_a_killed_watch_does_not_keep_the_next_one_out(start: Callable[..., Watcher]) -> None:
    """A lock that outlives its process would have to be removed by hand."""
    start().end(signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)

    again = start()

    assert again.process.poll() is None


# -- drives, limits, ends ---------------------------------------------------------------------------------


def test_a_library_that_goes_away_is_waited_for(
    mara: str, project: Path, start: Callable[..., Watcher]
) -> None:
    """The drive is unplugged: all assets would be missing, or the watch would end unseen."""
    watcher = start()

    Path("assets").rename("unplugged")
    away = watcher.until(lambda batch: batch["cause"] == "absence")
    more = watcher.next(2.5)  # it looks every second whether the library is back
    picture(project / "unplugged" / "characters" / "new.png", 99)
    Path("unplugged").rename("assets")
    back = watcher.until(lambda batch: batch["cause"] == "return")
    picture(HERE / "newer.png", 100)
    watcher.until_any("registered")

    assert "goes on when it is back" in away["trouble"]
    assert more is None
    assert not Path("unplugged").exists()
    assert (paths(back["report"]["registered"]), back["report"]["missing"]) == (["characters/new.png"], [])
    assert len(records()) == 8


def test_too_many_lost_files_are_told_and_the_watch_goes_on(mara: str, start: Callable[..., Watcher]) -> None:
    """Half the library is deleted: it must not be marked missing, and what is new must still come in."""
    watcher = start()

    for name in ("ellis", "ines", "ken"):
        (HERE / f"{name}.png").unlink()
    picture(HERE / "new.png", 99)

    batch = watcher.until(lambda batch: batch["trouble"] is not None)
    assert "3 of 6 assets would be marked missing" in batch["trouble"]
    assert paths(batch["report"]["registered"]) == ["characters/new.png"]
    assert [path for path, record in records().items() if record.get("missing_since")] == []


def test_a_batch_that_fails_is_told_and_tried_again(
    project: Path, start: Callable[..., Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program keeps the ledger locked for a while: the new file would never be registered."""
    monkeypatch.setenv("COMFYVN_BUSY_TIMEOUT_S", "0.5")
    watcher = start(program=[sys.executable, "-c", IMPATIENT])

    with closing(sqlite3.connect(DB, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        picture(HERE / "mara.png", 1)
        failed = watcher.until(lambda batch: batch["trouble"] is not None)
        other.execute("ROLLBACK")
    later = watcher.until_any("registered")

    assert "another program has kept the ledger locked" in failed["trouble"]
    assert paths(later["report"]["registered"]) == ["characters/mara.png"]


@needs_posix
def test_a_name_that_is_no_text_does_not_end_the_watch(start: Callable[..., Watcher]) -> None:
    """The library that tells us of changes gives up at such a name."""
    watcher = start()

    Path(os.fsdecode(b"assets/bad\xff.txt")).write_bytes(b"from an old archive")
    watcher.until(lambda batch: batch["cause"] == "return")
    picture(HERE / "mara.png", 1)

    assert paths(watcher.until_any("registered")["report"]["registered"]) == ["characters/mara.png"]


@needs_posix
def test_files_behind_links_are_seen_once_and_only_inside(
    tmp_path: Path, start: Callable[..., Watcher]
) -> None:
    """A link to a folder would give every file in it a second name, or let strangers in."""
    (tmp_path / "outside").mkdir()
    HERE.mkdir(parents=True)
    Path("assets/alias").symlink_to(HERE.resolve())
    Path("assets/away").symlink_to(tmp_path / "outside")
    watcher = start()

    picture(Path("assets/alias/mara.png"), 1)
    picture(tmp_path / "outside" / "strange.png", 2)

    watcher.until_any("registered")
    watcher.rest()
    assert list(records()) == ["characters/mara.png"]


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 0), (signal.SIGINT, 130)],
)
@needs_posix
def test_the_watch_ends_cleanly_when_told(number: int, code: int, start: Callable[..., Watcher]) -> None:
    """A service manager would report a failure, or half a batch would be left."""
    watcher = start()
    picture(HERE / "mara.png", 1)
    watcher.until_any("registered")

    ended = watcher.end(number)

    assert ended == code
    assert not any("Traceback" in line for line in watcher.errors)


def test_polling_sees_new_changed_moved_and_removed_files(
    mara: str, start: Callable[..., Watcher], make_png: Callable[..., Path]
) -> None:
    """Network drives tell nothing; and polling by whole seconds would miss the second of two quick saves."""
    watcher = start("--polling")

    picture(HERE / "new.png", 99)
    time.sleep(0.3)
    final = picture(HERE / "new.png", 100, 40).read_bytes()
    watcher.until_any("registered")
    size = records()["characters/new.png"]["bytes"]
    picture(HERE / "ken.png", 50)
    watcher.until_any("content_changed")
    (HERE / "mara.png").rename(HERE / "heroine.png")
    watcher.until_any("moved")
    (HERE / "tom.png").unlink()
    watcher.until_any("missing")

    assert size == len(final)
    assert records()["characters/heroine.png"]["uid"] == mara


@pytest.mark.skipif(shutil.which("unshare") is None, reason="limits of one's own need Linux' unshare")
@pytest.mark.parametrize("limit", ["max_inotify_instances", "max_inotify_watches"])
def test_the_limit_of_the_system_is_named_with_the_way_out(
    limit: str, mara: str, start: Callable[..., Watcher]
) -> None:
    """A raw 'no space left on device' sends people to delete files."""
    script = f'echo 0 > /proc/sys/user/{limit} && exec "$@"'
    inside = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"]
    if subprocess.run([*inside, "true"], capture_output=True, timeout=DEADLINE_S, check=False).returncode:
        pytest.skip("this machine gives no user namespace")

    answer = subprocess.run(
        [*inside, *COMFYVN, "watch"], capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )

    assert answer.returncode == 5
    assert "--polling" in answer.stderr
    assert "fs.inotify.max_user_watches" in answer.stderr


def test_without_watchfiles_the_command_says_what_to_install(mara: str) -> None:
    """A traceback of an import tells a maker nothing."""
    script = "import sys; sys.modules['watchfiles'] = None; from comfyvn.cli import main; main()"

    answer = subprocess.run(
        [sys.executable, "-c", script, "watch"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )

    assert answer.returncode == 2
    assert 'pip install "comfyvn[server]"' in answer.stderr
    assert "Traceback" not in answer.stderr


def test_people_get_one_line_a_batch(mara: str, project: Path) -> None:
    """The terminal of an artist would be full of JSON."""
    process = subprocess.Popen(
        [*COMFYVN, "watch"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=project
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        picture(HERE / "new.png", 99)
        second = process.stdout.readline()
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_S)

    assert re.fullmatch(r"\d\d:\d\d:\d\d  \d files, nothing new\n", first)
    assert second.split("  ", 1)[1].strip() == "1 new (characters/new.png)"


# -- from Python ------------------------------------------------------------------------------------------


def test_python_code_can_watch_and_stop(registry: AssetRegistry, make_png: Callable[..., Path]) -> None:
    """A program with a library of its own would have to start a command for it."""
    stop = threading.Event()
    batches: list[Batch] = []

    def note(batch: Batch) -> None:
        batches.append(batch)
        if batch.cause == "start":
            shutil.copyfile(make_png(), registry.ASSETS_ROOT / "mara.png")
        else:
            stop.set()

    watch(registry, stop=stop, on_batch=note)

    assert [batch.cause for batch in batches] == ["start", "changes"]
    assert [record["path"] for record in registry.list_assets()] == ["mara.png"]


def test_python_code_hears_when_it_cannot_watch(
    registry: AssetRegistry, project: Path, start: Callable[..., Watcher]
) -> None:
    """It would wait for ever for something that does not come."""
    start()

    with pytest.raises(WatchRunning):
        watch(registry)
    Path("assets").rename("unplugged")
    with pytest.raises(LibraryUnreachable):
        watch(registry)
