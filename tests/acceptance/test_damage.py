"""Damaged ledgers: one sentence, nothing touched; quarantined on request and rebuilt from the sidecars."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from comfyvn.db import quarantine
from comfyvn.db.quarantine import find_damage
from comfyvn.errors import LedgerInUse, LedgerSound, OutsideLibrary, RegistryUnusable
from comfyvn.registry.export import export
from comfyvn.registry.rebuild import rebuild_from_disk
from comfyvn.storage import LocalStorage
from comfyvn.studio.core import AssetRegistry
from disks import small_disk
from support import Answer

DB = Path("comfyvn/data/comfyvn.db")
WAL = DB.with_name("comfyvn.db-wal")
QUARANTINE = Path("assets/.comfyvn/quarantine")
REGISTER_AND_DIE = """
import os, signal, sys
from comfyvn.studio.core import AssetRegistry
registry = AssetRegistry()
for source in sys.argv[1:]:
    registry.register_file(source, "characters", metadata={"tags": ["late"]})
registry.wait_for_thumbnails()
os.kill(os.getpid(), signal.SIGKILL)
"""
needs_kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")


@pytest.fixture(autouse=True)
def plain_settings(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no disk: these tests are about something else."""
    monkeypatch.setenv("COMFYVN_DURABILITY", "off")


@pytest.fixture
def library(make_png: Callable[..., Path]) -> None:
    """Thirty assets: enough that their tables take more than a few pages."""
    with AssetRegistry() as registry:
        for seed in range(30):
            meta = {"tags": ["cast", f"n{seed}"], "license": "CC0-1.0", "note": "x" * 900}
            registry.register_file(make_png(f"{seed}.png", seed=seed), "characters", metadata=meta)


@pytest.fixture
def killed_writer(library: None, make_png: Callable[..., Path]) -> None:
    """The library as a killed process leaves it: its last registrations are in the -wal file only."""
    sources = [str(make_png(f"late{seed}.png", seed=100 + seed)) for seed in range(3)]
    died = subprocess.run(
        [sys.executable, "-c", REGISTER_AND_DIE, *sources], timeout=60, check=False, capture_output=True
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert WAL.stat().st_size > 0


def exported() -> bytes:
    with AssetRegistry() as registry:
        return b"".join(export(registry))


def rebuild() -> None:
    rebuild_from_disk(assets_root="assets", db_path=DB)


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "a folder"
        )
        for path in sorted(folder.rglob("*"))
    }


def spoil_everything(db: Path) -> None:
    db.write_bytes(b"This was a database once." * 4_000)


def spoil_header(db: Path) -> None:
    with db.open("r+b") as file:
        file.write(b"\0" * 100)


def spoil_pages(db: Path) -> None:
    with db.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (db.stat().st_size - 4096))


def cut(db: Path) -> None:
    os.truncate(db, 5 * 4096)


def cut_in_the_first_page(db: Path) -> None:
    os.truncate(db, 1_000)


def spoil_wal(db: Path) -> None:
    db.with_name(f"{db.name}-wal").write_bytes(b"\x5a\xa5" * 30_000)


def empty_beside_a_wal(db: Path) -> None:
    db.write_bytes(b"")
    with closing(sqlite3.connect("other.db")) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("CREATE TABLE lines (text)")
        shutil.copy("other.db-wal", db.with_name(f"{db.name}-wal"))


DAMAGES = [
    spoil_everything,
    spoil_header,
    spoil_pages,
    cut,
    cut_in_the_first_page,
    spoil_wal,
    empty_beside_a_wal,
]
COMMANDS = [
    ["list"],
    ["list", "--json"],
    ["show", "x"],
    ["tag", "x", "--add", "y"],
    ["remove", "x"],
    ["audit"],
    ["enforce"],
    ["verify"],
    ["export"],
    ["rebuild"],
    ["ingest", "."],
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_command_says_it_in_one_sentence_and_touches_nothing(
    damage: Callable[[Path], None], run: Callable[..., Answer], library: None, project: Path
) -> None:
    """SQLite mends on opening what it thinks is wrong, and so throws away what could have been rescued."""
    damage(DB)
    before = tree(project)

    for command in COMMANDS:
        answer = run(*command)

        assert (answer.code, answer.out) == (5, ""), command
        assert answer.err.count("\n") == 1
        assert answer.err.startswith(f"comfyvn: {project / DB}")
        assert "`comfyvn rebuild --quarantine`" in answer.err
        assert tree(project) == before, command
    doctor = run("doctor", "--json")
    problems = [each for each in doctor.document["findings"] if each["level"] == "problem"]
    assert [each["group"] for each in problems if each["group"] != "folders"] == ["ledger"]
    assert "rebuild --quarantine" in json.dumps(problems)
    assert tree(project) == before


def test_a_folder_in_its_place_is_named_and_left(
    run: Callable[..., Answer], library: None, project: Path
) -> None:
    """A folder full of somebody's files would be moved away as a broken database."""
    DB.unlink()
    DB.mkdir()
    (DB / "chapter.txt").write_text("one")
    before = tree(project)

    answers = [run(*command) for command in COMMANDS]

    assert {answer.code for answer in answers} == {5}
    assert all("this is a folder, not a database" in answer.err for answer in answers)
    with pytest.raises(RegistryUnusable, match="this is a folder"):
        quarantine(DB, QUARANTINE)
    assert tree(project) == before


def test_an_empty_ledger_beside_a_library_is_one_that_is_lost(
    run: Callable[..., Answer], library: None, project: Path
) -> None:
    """A restore that failed leaves a file of 0 bytes: an empty list would say that nothing is amiss."""
    before = exported()
    DB.write_bytes(b"")
    files = tree(project)

    listed, verified = run("list"), run("verify")

    assert (listed.code, verified.code) == (5, 5)
    assert "`comfyvn rebuild` brings the ledger back" in listed.err
    assert tree(project) == files
    assert run("rebuild").code == 0
    assert exported() == before


# -- the -wal file ----------------------------------------------------------------------------------------


@needs_kill
def test_what_a_killed_process_left_in_the_wal_is_taken_over(killed_writer: None) -> None:
    """A check that is too strict would call every crash a damage."""
    with AssetRegistry() as registry:
        assert registry.count_assets(tags="late") == 3


@needs_kill
def test_a_wal_with_a_damaged_header_is_not_thrown_away(
    killed_writer: None, run: Callable[..., Answer], project: Path
) -> None:
    """SQLite takes it for empty and deletes it: the last registrations would be gone without a word."""
    with WAL.open("r+b") as file:
        file.seek(16)
        file.write(b"\xff\xff")
    damaged = tree(project)

    answer = run("list")

    assert (answer.code, answer.out) == (5, "")
    assert answer.err.startswith(f"comfyvn: {project / WAL}: this part of the ledger is damaged.")
    assert tree(project) == damaged
    place = quarantine(DB, QUARANTINE)
    assert (place / WAL.name).is_file()
    rebuild()
    with AssetRegistry() as registry:
        assert registry.count_assets(tags="late") == 3
        assert registry.count_assets() == 33


def test_a_wal_that_a_power_cut_left_without_content_is_fine(library: None) -> None:
    """After a power cut files may be longer than what was written; nothing reported is in there."""
    WAL.write_bytes(bytes(8192))

    with AssetRegistry() as registry:
        count = registry.count_assets()

    assert count == 30


# -- quarantine -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_ledger_moves_aside_whole_and_a_rebuild_brings_all_back(
    damage: Callable[[Path], None], library: None
) -> None:
    """What could still be rescued from it, by hand or by a later release, would be gone."""
    before = exported()
    damage(DB)
    files = {path.name: path.read_bytes() for path in DB.parent.iterdir()}

    place = quarantine(DB, QUARANTINE)

    assert place.parent == QUARANTINE
    assert {path.name: path.read_bytes() for path in place.iterdir()} == files
    assert list(DB.parent.iterdir()) == []
    rebuild()
    assert exported() == before


def test_a_sound_ledger_is_not_moved(library: None, project: Path) -> None:
    """A word too many on the command line would cost the history of the library."""
    before = tree(project)

    with pytest.raises(LedgerSound):
        quarantine(DB, QUARANTINE)

    assert tree(project) == before
    assert find_damage(DB) is None


def test_an_index_that_disagrees_with_its_table_is_a_damage(library: None) -> None:
    """A quick check finds nothing, SQLite says "malformed", and the maker goes round in circles."""
    with closing(sqlite3.connect(DB)) as ledger, ledger:
        ledger.execute("PRAGMA writable_schema = ON")
        ledger.execute("DELETE FROM sqlite_schema WHERE name = 'ix_assets_registry_path_fold'")
        ledger.execute("PRAGMA writable_schema = OFF")

    found = find_damage(DB)

    assert found is not None
    assert quarantine(DB, QUARANTINE).is_dir()


def test_a_ledger_in_use_is_not_moved(library: None, project: Path) -> None:
    """The other program would go on writing into a file that nobody looks into any more."""
    hold = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM asset_ids')"
    with subprocess.Popen(
        [sys.executable, "-c", f"{hold}; print('open', flush=True); sys.stdin.read()", str(DB)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        spoil_pages(DB)
        before = tree(project)

        with pytest.raises(LedgerInUse):
            quarantine(DB, QUARANTINE)

        assert {name: state for name, state in tree(project).items() if "-shm" not in name} == {
            name: state for name, state in before.items() if "-shm" not in name
        }
        other.communicate(timeout=60)
    assert quarantine(DB, QUARANTINE).is_dir()


def test_two_in_one_second_lie_in_two_folders(library: None) -> None:
    """The second would overwrite the first."""
    for text in (b"first", b"second"):
        DB.write_bytes(text * 1_000)
        quarantine(DB, QUARANTINE)

    contents = {(folder / DB.name).read_bytes()[:6] for folder in QUARANTINE.iterdir()}

    assert contents == {b"firstf", b"second"}


def test_nothing_to_move_is_said(project: Path) -> None:
    """A mistyped name would be answered by silence."""
    with pytest.raises(RegistryUnusable, match="there is no database here"):
        quarantine(DB, QUARANTINE)

    assert list(project.iterdir()) == []


def test_a_linked_quarantine_folder_is_refused(library: None, tmp_path: Path) -> None:
    """A library from elsewhere would have the ledger moved out of the project."""
    (tmp_path / "elsewhere").mkdir()
    QUARANTINE.symlink_to(tmp_path / "elsewhere", target_is_directory=True)

    with pytest.raises(OutsideLibrary):
        LocalStorage(Path("assets").absolute()).quarantine_folder()


@pytest.mark.skipif(sys.platform == "win32", reason="links of POSIX")
def test_the_file_that_a_link_leads_to_is_moved(library: None, tmp_path: Path) -> None:
    """Only the link would be moved, and the new ledger be made in the damaged one."""
    spoil_pages(DB)
    real = tmp_path / "real.db"
    shutil.move(DB, real)
    DB.symlink_to(real)
    content = real.read_bytes()

    place = quarantine(DB, QUARANTINE)

    assert [(path.name, path.read_bytes()) for path in place.iterdir()] == [("real.db", content)]
    assert not real.exists()


def test_it_moves_to_another_volume(library: None, tmp_path: Path) -> None:
    """Ledger and assets often lie on two disks."""
    spoil_pages(DB)
    content = DB.read_bytes()

    with small_disk(tmp_path / "disk", 4_000_000):
        place = quarantine(DB, tmp_path / "disk/quarantine")

        assert [(path.name, path.read_bytes()) for path in place.iterdir()] == [(DB.name, content)]
    assert list(DB.parent.iterdir()) == []


def test_another_volume_that_is_full_leaves_it_where_it_is(library: None, tmp_path: Path) -> None:
    """Half a copy would be all that is left."""
    spoil_pages(DB)
    content = DB.read_bytes()

    with small_disk(tmp_path / "disk", 100_000) as disk:
        with pytest.raises(RegistryUnusable, match=r"could not be moved to .*quarantine: No space left"):
            quarantine(DB, disk / "quarantine")

        assert list(disk.iterdir()) == [disk / "quarantine"]
        assert list((disk / "quarantine").iterdir()) == []
    assert DB.read_bytes() == content


# -- the flag ---------------------------------------------------------------------------------------------


def test_rebuild_quarantine_moves_the_damaged_one_and_makes_a_new_one(
    run: Callable[..., Answer], library: None
) -> None:
    """The sentence that every command gives would lead nowhere."""
    before = exported()
    spoil_header(DB)
    content = DB.read_bytes()

    answer = run("rebuild", "--quarantine")

    assert answer.code == 0
    (place,) = QUARANTINE.iterdir()
    assert (place / DB.name).read_bytes() == content
    assert str(place) in answer.out + answer.err
    assert "tables of other" in (answer.out + answer.err).lower()
    assert exported() == before


def test_rebuild_quarantine_refuses_a_sound_one(
    run: Callable[..., Answer], library: None, project: Path
) -> None:
    """The history of a healthy library would be put away by a word too many."""
    before = tree(project)

    answer = run("rebuild", "--quarantine")

    assert (answer.code, answer.out) == (4, "")
    assert "nothing is wrong with this database" in answer.err
    assert tree(project) == before


def test_rebuild_quarantine_moves_nothing_when_the_assets_are_not_there(
    run: Callable[..., Answer], library: None, project: Path
) -> None:
    """With the drive of the assets not mounted, the ledger would be replaced by an empty one."""
    spoil_header(DB)
    Path("assets").rename("unplugged")
    before = tree(project)

    answer = run("rebuild", "--quarantine")

    assert answer.code in (4, 5)
    assert tree(project) == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
@pytest.mark.timeout(60)
def test_pipes_in_our_corner_are_refused_not_waited_for(run: Callable[..., Answer], project: Path) -> None:
    """Every command would hang until somebody kills it."""
    with AssetRegistry():
        pass
    library = project / "assets/.comfyvn/library.json"
    library.unlink()
    os.mkfifo(library)

    answer = run("rebuild", "--no-smoke")

    assert answer.code == 4
    assert "library.json" in answer.err
