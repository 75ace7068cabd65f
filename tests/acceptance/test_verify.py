"""`comfyvn verify`: every file is read and checked; rot, edits and losses are told apart."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from comfyvn import media
from comfyvn.errors import AssetNotFound
from comfyvn.registry.rebuild import rebuild_from_disk
from comfyvn.registry.verify import verify
from comfyvn.studio.core import AssetRecord, AssetRegistry
from support import Answer

DB = Path("comfyvn/data/comfyvn.db")
ASSETS = Path("assets")


@pytest.fixture(autouse=True)
def plain_settings(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no disk: these tests are about something else."""
    monkeypatch.setenv("COMFYVN_DURABILITY", "off")


@pytest.fixture
def library(make_png: Callable[..., Path]) -> dict[str, AssetRecord]:
    """Eight assets by name."""
    names = ("mara", "ellis", "ines", "juno", "sky", "sea", "夕暮れ", "hall")
    with AssetRegistry() as registry:
        for seed, name in enumerate(names, 1):
            registry.register_file(make_png(f"{name}.png", seed=seed), "characters", metadata={"tags": ["a"]})
        return {Path(record["path"]).stem: record for record in registry.list_assets()}


def file_of(name: str) -> Path:
    return ASSETS / "characters" / f"{name}.png"


def sidecar_of(name: str) -> Path:
    return ASSETS / "characters" / f"{name}.png.asset.json"


def rot(path: Path) -> None:
    """Change a byte as a failing disk does: size and time stay."""
    status, data = path.stat(), bytearray(path.read_bytes())
    data[-20] ^= 0x40
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def repaint(path: Path) -> None:
    Image.new("RGB", (9, 9), (1, 2, 3)).save(path)


def tree(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        path.relative_to(folder).as_posix(): (
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def paths(found: list[dict[str, str]]) -> list[str]:
    return [Path(each["path"]).stem for each in found]


def test_a_healthy_library_is_sound(run: Callable[..., Answer], library: dict[str, AssetRecord]) -> None:
    """A check that cries wolf is a check that nobody runs; the marker must not count as a change."""
    answer = run("verify")

    assert (answer.code, answer.out, answer.err) == (0, "8 assets: 8 files sound.\n", "")


def test_rot_edits_and_losses_are_told_apart_and_nothing_is_changed(
    run: Callable[..., Answer], library: dict[str, AssetRecord], project: Path
) -> None:
    """Who takes rot for an edit lets a rebuild make it the newest version; who takes it for loss despairs."""
    rot(file_of("mara"))
    repaint(file_of("ellis"))
    file_of("ines").unlink()
    file_of("juno").unlink()
    file_of("juno").mkdir()
    before = tree(project)

    answer = run("verify", "--json")

    report = answer.document
    assert answer.code == 1
    assert (report["checked"], report["sound"], report["unverified"]) == (8, 4, 0)
    assert paths(report["rotten"]) == ["mara"]
    assert report["rotten"][0]["hash"] == library["mara"]["hash"]
    assert report["rotten"][0]["found"] not in (library["mara"]["hash"], "")
    assert paths(report["edited"]) == ["ellis"]
    assert report["edited"][0]["found"] == hashlib.sha256(file_of("ellis").read_bytes()).hexdigest()
    assert [(Path(each["path"]).stem, each["missing_since"]) for each in report["lost"]] == [("ines", None)]
    assert paths(report["unreadable"]) == ["juno"]
    assert "a folder" in report["unreadable"][0]["why"]
    assert tree(project) == before


def test_sidecars_are_checked_too(run: Callable[..., Answer], library: dict[str, AssetRecord]) -> None:
    """Tags and licences live in the sidecars: a file alone that is sound is half a library."""
    payload = json.loads(sidecar_of("mara").read_text("utf-8"))
    sidecar_of("mara").write_text(json.dumps({**payload, "tags": ["by hand"]}), "utf-8")
    sidecar_of("ellis").write_text('{"tags": ["oops"', "utf-8")
    sidecar_of("ines").unlink()
    status = sidecar_of("juno").stat()
    sidecar_of("juno").write_bytes(sidecar_of("juno").read_bytes().replace(b'"a"', b'"q"'))
    os.utime(sidecar_of("juno"), ns=(status.st_atime_ns, status.st_mtime_ns))

    answer = run("verify", "--json")

    report = answer.document
    assert (answer.code, report["sound"]) == (1, 8)
    assert paths(report["sidecars_edited"]) == ["mara"]
    assert paths(report["sidecars_broken"]) == ["ellis", "juno"]
    assert report["sidecars_broken"][0]["why"].startswith("characters/ellis.png.asset.json:1:")
    assert "the disk may be failing" in report["sidecars_broken"][1]["why"]
    assert paths(report["sidecars_lost"]) == ["ines"]


def test_people_read_what_was_found_and_what_to_do(
    run: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """A list of hashes would leave an artist alone with it."""
    rot(file_of("mara"))
    repaint(file_of("ellis"))
    file_of("ines").unlink()

    answer = run("verify")

    lines = answer.out.splitlines()
    assert lines[0] == "8 assets: 5 files sound."
    after = {line.strip(): lines[at + 1].strip() for at, line in enumerate(lines[:-1]) if line.endswith(":")}
    edited, rotten, lost = (next(line for line in after if word in line) for word in ("edit", "ROT", "lost"))
    assert "comfyvn rebuild" in edited
    assert after[edited] == "characters/ellis.png"
    assert "backup" in rotten
    assert after[rotten] == f"characters/mara.png (hash {library['mara']['hash']})"
    assert after[lost] == "characters/ines.png"


def test_a_long_list_is_cut_for_people_and_whole_for_programs(run: Callable[..., Answer]) -> None:
    """A lost drive would scroll the one line that matters off the screen."""
    with AssetRegistry() as registry:
        for number in range(25):
            source = Path(f"{number}.txt")
            source.write_text(f"line {number}")
            registry.register_file(source, "lines")
    for number in range(25):
        (ASSETS / f"lines/{number}.txt").write_text("other words")

    person, program = run("verify"), run("verify", "--json")

    assert "    ... and 5 more: see --json" in person.out.splitlines()
    assert len(program.document["edited"]) == 25
    assert [each["path"] for each in program.document["edited"]] == sorted(
        f"lines/{number}.txt" for number in range(25)
    )


def test_a_library_on_another_disk_and_touched_files_are_sound(
    run: Callable[..., Answer], library: dict[str, AssetRecord], project: Path, tmp_path: Path
) -> None:
    """After moving to a new computer, every file has another inode: all would be reported."""
    shutil.copytree(project, tmp_path / "copy")
    os.utime(tmp_path / "copy" / file_of("mara"))
    os.utime(tmp_path / "copy" / sidecar_of("mara"))

    answer = run("--home", tmp_path / "copy", "verify")

    assert (answer.code, answer.out) == (0, "8 assets: 8 files sound.\n")


def test_a_file_whose_marker_was_taken_out_is_sound(
    run: Callable[..., Answer], library: dict[str, AssetRecord], tmp_path: Path
) -> None:
    """The hash is that of the content without our marker, whoever wrote or removed that."""
    with file_of("mara").open("rb") as marked, (tmp_path / "bare.png").open("wb") as bare:
        media.strip(marked, bare)
    shutil.copy(tmp_path / "bare.png", file_of("mara"))

    answer = run("verify")

    assert answer.code == 0


def test_only_the_named_assets_are_read(run: Callable[..., Answer], library: dict[str, AssetRecord]) -> None:
    """Looking at one file again would mean to read the whole library again."""
    rot(file_of("mara"))
    file_of("ellis").unlink()

    answer = run("verify", "--json", library["mara"]["uid"], "characters/sky.png", library["sky"]["uid"][:6])

    assert answer.code == 1
    assert (answer.document["checked"], answer.document["sound"]) == (2, 1)
    assert paths(answer.document["rotten"]) == ["mara"]
    assert answer.document["lost"] == []


def test_an_unknown_uid_is_a_sentence_and_exit_code_3(
    run: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """A typing mistake would read as "all is sound"."""
    answer = run("verify", "0000000000000000", library["mara"]["uid"])

    assert (answer.code, answer.out) == (3, "")
    assert "0000000000000000" in answer.err


def test_what_no_rebuild_has_looked_at_yet_counts_as_unverified(
    run: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """Old releases recorded hashes that their stamped files never had: those files are not rotten."""
    never_looked_at = "file_size = NULL, file_mtime_ns = NULL, file_inode = NULL"
    with closing(sqlite3.connect(DB)) as ledger, ledger:
        for name, change in {
            "mara": f"hash = '', {never_looked_at}",
            "ellis": f"hash = '{'0' * 64}', {never_looked_at}",
            "ines": never_looked_at,
            "juno": "hash = ''",
        }.items():
            ledger.execute(f"UPDATE assets_registry SET {change} WHERE uid = ?", (library[name]["uid"],))

    answer, told = run("verify", "--json"), run("verify")

    assert answer.code == 1
    assert (answer.document["sound"], answer.document["unverified"]) == (5, 3)
    assert answer.document["rotten"] == answer.document["edited"] == []
    assert "3 not looked at" in told.out
    assert "comfyvn rebuild" in told.out


def test_an_asset_known_to_be_missing_is_lost_since_then(
    run: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """The date tells which backup still has it."""
    file_of("mara").unlink()
    rebuild_from_disk(assets_root=ASSETS, db_path=DB)

    answer = run("verify", "--json")

    with AssetRegistry() as registry:
        record = registry.get_asset(library["mara"]["uid"])
    assert record is not None
    assert answer.document["lost"] == [
        {
            "uid": record["uid"],
            "path": "characters/mara.png",
            "hash": record["hash"],
            "missing_since": record["missing_since"],
        }
    ]


def test_what_others_change_meanwhile_is_no_finding(registry: AssetRegistry, tmp_path: Path) -> None:
    """A check of an hour beside people at work would be full of false alarms."""
    for number in range(80):
        source = tmp_path / f"{number:02}.txt"
        source.write_text(f"line {number}")
        registry.register_file(source, "lines")
    uids = [record["uid"] for record in registry.list_assets()]  # newest first, as they are looked at
    seen: list[int] = []

    def work_beside() -> None:
        if not seen:
            with AssetRegistry() as other:
                other.remove_asset(uids[-1], delete_files=True)
                repainted = ASSETS / "lines/01.txt"
                repainted.write_text("another line")
                other.register_file(repainted, "lines", copy_file=False)
                other.bulk_update_tags([uids[-3]], add_tags=["new"])
        seen.append(1)

    report = verify(registry, on_asset=work_beside)

    assert (report.checked, report.sound, len(seen)) == (79, 79, 79)
    assert report.is_sound


def test_from_python_an_unknown_uid_is_an_error_of_its_own(registry: AssetRegistry) -> None:
    """A script would take an empty report for a sound library."""
    with pytest.raises(AssetNotFound):
        verify(registry, ["0000000000000000"])


def test_the_folder_of_another_library_is_refused(
    run: Callable[..., Answer], library: dict[str, AssetRecord], tmp_path: Path
) -> None:
    """With a drive that is not mounted, every file would be reported as lost."""
    (tmp_path / "elsewhere").mkdir()

    answer = run("verify", "--assets-dir", tmp_path / "elsewhere")

    assert (answer.code, answer.out) == (4, "")
    assert "Is the drive mounted" in answer.err
