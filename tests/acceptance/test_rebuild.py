"""`python -m comfyvn.registry.rebuild`: the ledger follows the folder, and nothing that was known is lost."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from comfyvn.errors import ForeignLibrary, LibraryChanged, LibraryUnreachable
from comfyvn.registry import console
from comfyvn.registry import rebuild as rebuild_module
from comfyvn.registry import rescan as rescan_module
from comfyvn.registry.rebuild import rebuild_from_disk
from comfyvn.studio.core import AssetRecord, AssetRegistry

# as the workflow page prints it, its two lines joined
DOCUMENTED = (
    "python -m comfyvn.registry.rebuild --from-disk --assets-dir assets "
    "--db-path comfyvn/data/comfyvn.db --enforce-sidecars --fix-metadata"
)
DB = Path("comfyvn/data/comfyvn.db")
MARA = Path("assets/characters/mara.png")
LIBRARY_JSON = Path("assets/.comfyvn/library.json")
needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="pipes, links and shell of POSIX")


@dataclass(frozen=True)
class Answer:
    """What the command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> Any:
        """The rebuild's part of the one JSON document that is all of stdout."""
        return json.loads(self.out)["rebuild"]


@pytest.fixture(autouse=True)
def plain_settings(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no disk: these tests are about something else."""
    monkeypatch.setenv("COMFYVN_DURABILITY", "off")


@pytest.fixture
def rebuild(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Answer]]:
    """Run the command ``--from-disk`` through its own entry, in this process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["rebuild", "--from-disk", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            console.run(rebuild_module.command, "rebuild")
        told = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Answer(ended.value.code, told.out, told.err)

    yield run
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def library(make_png: Callable[..., Path], tmp_path: Path) -> dict[str, AssetRecord]:
    """Eight assets with tags and licences, by file name; `mara.png` has two provenance rows."""
    tune = tmp_path / "art" / "rain.wav"
    tune.parent.mkdir()
    with wave.open(str(tune), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(range(256)) * 16)
    with AssetRegistry() as registry:
        for seed, name in enumerate(("mara", "ellis", "ines"), 1):
            said = {
                "source": "comfyui",
                "workflow_hash": f"{seed}" * 8,
                "inputs": {"prompt": name, "seed": 7},
            }
            meta = {
                "tags": ["cast", name],
                "license": "CC-BY-4.0",
                "artist": "J. Doe",
                "seen": [1, {"a": None}],
            }
            image = make_png(f"{name}.png", seed=seed)
            registry.register_file(image, "characters", metadata=meta, provenance=said)
        again = {"source": "upscaler", "inputs": {"factor": 2}, "user_id": "jd"}
        registry.register_file(tmp_path / "art" / "mara.png", "characters", provenance=again)
        rest = {"tags": ["place", "夏"], "license": "CC0-1.0"}
        for seed, name in enumerate(("sky.png", "夕暮れ.png"), 10):
            registry.register_file(make_png(name, seed=seed), "backgrounds", metadata=rest)
        registry.register_file(tune, "sounds", metadata=rest)
        for name in ("notes.txt", "script.txt"):
            (tmp_path / name).write_text(name)
            registry.register_file(tmp_path / name, "generic", metadata=rest)
        return {Path(record["path"]).name: record for record in registry.list_assets()}


def everything() -> dict[str, dict[str, Any]]:
    """Return all that the ledger knows, by uid: records, inputs and every provenance row."""
    with AssetRegistry() as registry:
        uids = [record["uid"] for record in registry.list_assets()]
        return {
            uid: {**dict(registry.get_asset(uid) or {}), "history": registry.list_provenance(uid)}
            for uid in uids
        }


def get(uid: str) -> dict[str, Any]:
    return everything()[uid]


def tree(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Return every file with its time, inode and content, and every folder; locks of SQLite left out."""
    return {
        path.relative_to(folder).as_posix(): (
            (path.stat().st_mtime_ns, path.stat().st_ino, hashlib.sha256(path.read_bytes()).hexdigest())
            if path.is_file()
            else (0, 0, "a folder")
        )
        for path in sorted(folder.rglob("*"))
        if not path.name.endswith(("-wal", "-shm"))
    }


def delete_ledger() -> None:
    for path in DB.parent.iterdir():
        path.unlink()


def repaint(path: Path, colour: tuple[int, int, int, int] = (1, 2, 3, 255)) -> None:
    """Paint over a picture as a paint program does that keeps the text chunks."""
    with Image.open(path) as image:
        image.load()
        painted, texts = image.copy(), dict(image.text)  # type: ignore[attr-defined]
    painted.putpixel((5, 5), colour)
    kept = PngInfo()
    for key, value in texts.items():
        kept.add_text(key, value)
    painted.save(path, pnginfo=kept)


def edit(sidecar: Path, **changes: Any) -> None:
    """Edit a sidecar by hand."""
    payload = json.loads(sidecar.read_text("utf-8"))
    payload.update(changes)
    sidecar.write_text(json.dumps(payload, ensure_ascii=False, indent=4), "utf-8")


def sidecar_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.asset.json")


# -- the documented command -------------------------------------------------------------------------------


@needs_posix
def test_the_documented_command_leaves_a_healthy_library_as_it_is(
    library: dict[str, AssetRecord], project: Path
) -> None:
    """Makers run this line from the docs; it would change what is fine, or fail."""
    before, known = tree(project), everything()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

    answer = subprocess.run(
        ["sh", "-c", DOCUMENTED],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
        env={**os.environ, "PATH": path, "PYTHONWARNINGS": "error"},
    )

    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.splitlines() == [
        f"8 files in {project / 'assets'}: 8 unchanged.",
        "8 assets checked.",
    ]
    assert everything() == known
    assert {name: state[2] for name, state in tree(project / "assets").items()} == {
        name.removeprefix("assets/"): state[2] for name, state in before.items() if name.startswith("assets/")
    }


def test_without_from_disk_it_prints_its_help_and_does_nothing(project: Path) -> None:
    """The old command did nothing without the flag; a script that relies on it would rebuild."""
    answer = subprocess.run(
        [sys.executable, "-m", "comfyvn.registry.rebuild"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert answer.returncode == 1
    assert answer.stdout == ""
    for flag in (
        *("--from-disk", "--assets-dir", "--db-path", "--enforce-sidecars", "--fix-metadata"),
        *("--overwrite-sidecars", "--metadata-report", "--thumbs-dir", "--project-id", "--no-remove-stale"),
        *("--no-thumb-wait", "--no-smoke", "--quiet", "--verbose"),
    ):
        assert flag in answer.stderr
    assert list(project.iterdir()) == []


def test_a_wrong_option_is_exit_code_2(rebuild: Callable[..., Answer], project: Path) -> None:
    """A misspelt flag would be ignored, and CI would stay green."""
    answer = rebuild("--enforce-sidecar-files")

    assert answer.code == 2
    assert list(project.iterdir()) == []


@pytest.mark.parametrize("flag", ["--metadata-report", "--json"])
def test_the_report_is_one_json_document_on_stdout_and_nothing_else(
    flag: str, rebuild: Callable[..., Answer], library: dict[str, AssetRecord], project: Path
) -> None:
    """A pipeline could not read the report."""
    sidecar_of(MARA).unlink()

    answer = rebuild(flag, "--verbose")

    told = json.loads(answer.out)
    assert set(told) == {"rebuild", "audit"}
    assert told["rebuild"]["processed"] == told["rebuild"]["unchanged"] == told["audit"]["checked"] == 8
    assert told["rebuild"]["assets_root"] == str(project / "assets")
    assert told["audit"]["missing_sidecars"] == [library["mara.png"]["uid"]]


def test_quiet_prints_nothing(rebuild: Callable[..., Answer], library: dict[str, AssetRecord]) -> None:
    """A nightly job would send a mail each night."""
    answer = rebuild("--quiet")

    assert answer == Answer(0, "", "")


# -- a lost database --------------------------------------------------------------------------------------


def test_a_deleted_database_comes_back_equal_from_files_and_sidecars(
    rebuild: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """Ids, tags, licences, provenance or dates would be lost with the database."""
    edit(sidecar_of(MARA), our_studio={"shot": 12}, tags=["cast", "mara", "by hand"])
    assert rebuild().code == 0
    known, thumbs = everything(), tree(Path("cache/thumbs"))
    sidecars = {path: path.read_bytes() for path in Path("assets").rglob("*.asset.json")}
    delete_ledger()

    answer = rebuild("--json")

    assert answer.code == 0
    assert len(answer.report["registered"]) == 8
    again = everything()
    assert again == known
    mara = again[library["mara.png"]["uid"]]
    assert mara["tags"] == ["cast", "mara", "by hand"]
    assert [row["source"] for row in mara["history"]] == ["upscaler", "comfyui"]
    assert mara["history"][1]["inputs"]["prompt"] == "mara"
    assert {name: state for name, state in tree(Path("cache/thumbs")).items() if name[0] != "."} == {
        name: state for name, state in thumbs.items() if name[0] != "."
    }
    assert {path: path.read_bytes() for path in sidecars} == sidecars
    assert json.loads(sidecar_of(MARA).read_text("utf-8"))["our_studio"] == {"shot": 12}


def test_after_a_rebuild_into_a_new_database_new_ids_do_not_meet_old_ones(
    rebuild: Callable[..., Answer], library: dict[str, AssetRecord], tmp_path: Path
) -> None:
    """A new asset would inherit the provenance of an old one."""
    delete_ledger()
    rebuild()
    (tmp_path / "new.txt").write_text("new")

    with AssetRegistry() as registry:
        new = registry.register_file(tmp_path / "new.txt", "generic")

    assert new["id"] not in {record["id"] for record in library.values()}
    assert [row["source"] for row in everything()[new["uid"]]["history"]] == ["unspecified"]


def test_a_version_survives_the_loss_of_the_database(
    rebuild: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """A picture that was painted over three times would be version 1 again."""
    repaint(MARA)
    rebuild()
    known = everything()
    delete_ledger()

    answer = rebuild()

    assert answer.code == 0
    assert everything() == known
    assert known[library["mara.png"]["uid"]]["version"] == 2


@pytest.mark.parametrize("group", [1, 3, 64])
def test_large_files_that_come_back_while_others_are_still_read_come_back_equal(
    rebuild: Callable[..., Answer],
    library: dict[str, AssetRecord],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    group: int,
) -> None:
    """A copy with its sidecar, met after its original was recorded, would be taken for another asset."""
    with AssetRegistry() as registry:
        for number in range(8):
            source = tmp_path / f"take {number}.bin"
            source.write_bytes(bytes([number]) * (300 << 10))
            registry.register_file(source, "takes", metadata={"tags": [f"take {number}"]})
    for name in ("take 0.bin", "take 5.bin"):
        for path in (Path("assets/takes", name), sidecar_of(Path("assets/takes", name))):
            shutil.copyfile(path, path.with_name(f"zz {path.name}"))
    known = everything()
    delete_ledger()
    monkeypatch.setattr(rescan_module, "_GROUP", group)

    answer = rebuild("--json")

    assert everything() == known
    assert sorted(each["path"] for each in answer.report["duplicates"]) == [
        "takes/zz take 0.bin",
        "takes/zz take 5.bin",
    ]


def test_without_database_and_sidecars_a_png_still_tells_its_uid(
    rebuild: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """Links to the asset would break, though its marker names it. Its content alone gives another uid."""
    repaint(MARA)
    rebuild()
    for path in [*Path("assets").rglob("*.asset.json"), *Path("assets/_meta").rglob("*.json")]:
        path.unlink()
    delete_ledger()

    answer = rebuild("--enforce-sidecars")

    assert answer.code == 0
    mara = get(library["mara.png"]["uid"])
    assert mara["path"] == "characters/mara.png"
    assert not mara["hash"].startswith(mara["uid"])
    assert len(list(Path("assets").rglob("*.asset.json"))) == 8


def test_a_broken_sidecar_does_not_cost_the_others_their_way_back(
    rebuild: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """One half-written file would stop the rebuild of a whole library."""
    sidecar_of(MARA).write_text("{")
    known = everything()
    delete_ledger()

    answer = rebuild("--json")

    assert answer.code == 1
    assert [each["path"] for each in answer.report["failed"]] == ["characters/mara.png"]
    del known[library["mara.png"]["uid"]]
    assert everything() == known
    assert sidecar_of(MARA).read_text() == "{"


# -- lost sidecars, mirrors, previews ---------------------------------------------------------------------


@pytest.mark.parametrize("flags", [(), ("--enforce-sidecars",)], ids=["plain", "enforcing"])
def test_deleted_sidecars_and_mirrors_are_written_back_equal(
    flags: tuple[str, ...], rebuild: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """What people wrote would be gone with the file, or come back changed."""
    written = [*Path("assets").rglob("*.asset.json"), *Path("assets/_meta").rglob("*.json")]
    before = {path: path.read_bytes() for path in written}
    for path in written:
        path.unlink()

    answer = rebuild(*flags, "--json")

    assert answer.code == 0
    assert len(answer.report["sidecars_written"]) == 8
    assert len(json.loads(answer.out)["audit"]["missing_sidecars"]) == 8
    assert len(json.loads(answer.out)["audit"]["repaired_sidecars"]) == 8
    assert {path: path.read_bytes() for path in written} == before


def test_deleted_previews_are_made_again(
    rebuild: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """The gallery would show holes for ever."""
    before = {path: path.read_bytes() for path in Path("cache/thumbs").glob("*.*") if path.is_file()}
    shutil.rmtree("cache")

    answer = rebuild()

    assert answer.code == 0
    assert len(before) == 17  # of five pictures and a sound, with the facts of each
    assert {path: path.read_bytes() for path in before} == before
    assert {record["preview_state"] for record in everything().values()} == {"ready", "none"}


def test_previews_that_nobody_waits_for_are_made_by_the_next_run(
    rebuild: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """``--no-thumb-wait`` would cost the previews for good."""
    shutil.rmtree("cache")

    answer = rebuild("--no-thumb-wait")
    rebuild()

    assert answer.code == 0
    assert len([path for path in Path("cache/thumbs").glob("*.*") if path.is_file()]) == 17


def test_overwriting_sidecars_keeps_hand_edits_and_a_copy_of_a_broken_one(
    rebuild: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """``--overwrite-sidecars`` would destroy what somebody wrote an hour ago."""
    edit(sidecar_of(MARA), license="CC0-1.0")
    broken = sidecar_of(MARA.with_name("ellis.png"))
    broken.write_text('{"tags": ["half a')

    answer = rebuild("--overwrite-sidecars")

    assert json.loads(sidecar_of(MARA).read_text("utf-8"))["license"] == "CC0-1.0"
    assert json.loads(broken.read_text("utf-8"))["tags"] == ["cast", "ellis"]
    assert broken.with_name("ellis.png.asset.json.broken").read_text() == '{"tags": ["half a'
    assert "ellis.png.asset.json:1:" in answer.out
    assert rebuild().code == 0


# -- metadata ---------------------------------------------------------------------------------------------


def test_nothing_is_invented_unless_asked(
    rebuild: Callable[..., Answer], make_png: Callable[..., Path], project: Path
) -> None:
    """A licence "unknown" that nobody stated would be shipped with the game."""
    with AssetRegistry() as registry:
        uid = registry.register_file(
            make_png("Happy.png"), "characters", dest_relative="characters/Mara/Happy.png"
        )["uid"]
        other = registry.register_file(
            make_png("x.png", seed=2), "ui", metadata={"tags": ["mine"], "license": "MIT"}
        )["uid"]

    kept = (rebuild("--enforce-sidecars", "--overwrite-sidecars").code, get(uid))
    fixed = (rebuild("--fix-metadata").code, get(uid))

    assert kept[0] == fixed[0] == 0
    assert (kept[1]["tags"], kept[1]["license"]) == ([], None)
    assert (fixed[1]["tags"], fixed[1]["license"]) == (["characters", "mara", "happy"], "unknown")
    assert (get(other)["tags"], get(other)["license"]) == (["mine"], "MIT")
    assert json.loads(Path("assets", fixed[1]["sidecar"]).read_text("utf-8"))["license"] == "unknown"


def test_what_was_written_into_a_sidecar_by_hand_comes_into_the_ledger(
    rebuild: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """Hand edits would be ignored and then overwritten; a tag that was taken out would come back."""
    written = json.loads(sidecar_of(MARA).read_text("utf-8"))
    meta = {**written["meta"], "artist": "M. Mustermann", "mood": "夕"}
    edit(sidecar_of(MARA), tags=["mara", "new"], license="CC0-1.0", origin="sketchbook", meta=meta)

    answer = rebuild("--json")

    assert answer.code == 0
    uid = library["mara.png"]["uid"]
    assert answer.report["metadata_changed"] == [{"uid": uid, "path": "characters/mara.png"}]
    mara = get(uid)
    assert (mara["tags"], mara["license"]) == (["mara", "new"], "CC0-1.0")
    assert mara["meta"]["artist"] == "M. Mustermann"
    assert mara["meta"]["mood"] == "夕"
    assert mara["meta"]["origin"] == "sketchbook"
    with AssetRegistry() as registry:
        assert [record["uid"] for record in registry.list_assets(tags=["new"])] == [uid]
    assert rebuild("--json").report["metadata_changed"] == []


@pytest.mark.parametrize(
    ("content", "where", "why"),
    [
        ('{\n  "uid": oops\n}', "2:10", "Expecting value"),
        ("[]", "1:1", "it must be a JSON object"),
        ('{"tags": ["a"],\n "tags": ["b"]}', "1:2", "the key 'tags' stands twice"),
        ('{\n  "tags": 7}', "2:3", "tags must be a list of texts"),
        (b'{"tags": ["\xff"]}', "1:12", "it is not UTF-8 text"),
    ],
)
def test_a_broken_sidecar_is_told_with_line_and_column_and_kept(
    content: str | bytes,
    where: str,
    why: str,
    rebuild: Callable[..., Answer],
    library: dict[str, AssetRecord],
) -> None:
    """Its writer would not find the slip, or lose the text to a repair; or the run would end there."""
    data = content if isinstance(content, bytes) else content.encode()
    sidecar_of(MARA).write_bytes(data)
    edit(sidecar_of(MARA.with_name("ines.png")), license="CC0-1.0")

    answer = rebuild("--enforce-sidecars")

    assert answer.code == 1
    assert f"characters/mara.png.asset.json:{where}: this sidecar is not usable: {why}" in answer.out
    assert sidecar_of(MARA).read_bytes() == data
    assert get(library["mara.png"]["uid"])["tags"] == ["cast", "mara"]
    assert get(library["ines.png"]["uid"])["license"] == "CC0-1.0"


# -- files that changed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("takes_sidecar", [True, False])
@pytest.mark.parametrize("target", ["characters/mara smiling.png", "heroines/deep/down/夏.png"])
def test_a_file_that_was_moved_stays_the_same_asset(
    target: str, takes_sidecar: bool, rebuild: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """An artist tidies up, and tags, licence and provenance are gone."""
    uid = library["mara.png"]["uid"]
    before = get(uid)
    there = Path("assets", target)
    there.parent.mkdir(parents=True, exist_ok=True)
    MARA.rename(there)
    if takes_sidecar:
        sidecar_of(MARA).rename(sidecar_of(there))

    answer = rebuild("--json")

    assert answer.code == 0
    assert answer.report["moved"] == [{"uid": uid, "path": target}]
    assert answer.report["missing"] == answer.report["registered"] == []
    after = get(uid)
    assert after["path"] == target
    assert after["missing_since"] is None
    assert after["links"]["file"] == target
    for name in ("id", "tags", "license", "version", "hash", "created_at", "history", "type"):
        assert after[name] == before[name]
    assert json.loads(sidecar_of(there).read_text("utf-8"))["path"] == target
    assert not sidecar_of(MARA).exists()
    assert not Path("assets/_meta/characters/mara.json").exists()
    assert Path("assets/_meta", target).with_suffix(".json").is_file()
    assert len(everything()) == 8
    assert rebuild("--json").report["unchanged"] == 8


@pytest.mark.parametrize("takes_sidecars", [True, False])
def test_a_folder_that_was_renamed_is_no_lost_drive(
    takes_sidecars: bool, rebuild: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """Renaming the folder with most of the art would be refused as if a fifth of it were gone."""
    Path("assets/heroines").mkdir()
    for path in sorted(Path("assets/characters").iterdir()):
        if takes_sidecars or path.suffix == ".png":
            path.rename(Path("assets/heroines", path.name))
    Path("assets/characters/new.txt").write_text("new")

    answer = rebuild("--json")

    assert answer.code == 0, answer.err
    assert len(answer.report["moved"]) == 3
    assert answer.report["missing"] == []
    for name in ("mara.png", "ellis.png", "ines.png"):
        record = get(library[name]["uid"])
        assert (record["path"], record["missing_since"]) == (f"heroines/{name}", None)
        assert record["tags"] == library[name]["tags"]


def test_a_file_that_was_moved_and_painted_over_is_known_by_its_sidecar(
    rebuild: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """Two changes at once would make a stranger of it."""
    uid = library["mara.png"]["uid"]
    there = MARA.with_name("renamed.png")
    MARA.rename(there)
    sidecar_of(MARA).rename(sidecar_of(there))
    repaint(there)

    answer = rebuild()

    assert answer.code == 0
    after = get(uid)
    assert (after["path"], after["version"]) == ("characters/renamed.png", 2)
    assert after["tags"] == ["cast", "mara"]


def test_a_picture_that_was_painted_over_is_the_next_version_of_the_same_asset(
    rebuild: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """The artist's correction would be a second asset without tags, or not be noticed at all."""
    uid = library["mara.png"]["uid"]
    before = get(uid)
    shown = Path("cache/thumbs", f"{uid}_256.webp").read_bytes()
    repaint(MARA, (255, 255, 255, 255))

    answer = rebuild("--json")

    assert answer.code == 0
    assert answer.report["content_changed"] == [{"uid": uid, "path": "characters/mara.png"}]
    after = get(uid)
    assert (after["version"], after["path"]) == (2, before["path"])
    assert after["hash"] != before["hash"]
    assert (after["tags"], after["license"]) == (before["tags"], before["license"])
    assert after["history"][1:] == before["history"]
    assert json.loads(sidecar_of(MARA).read_text("utf-8"))["version"] == 2
    assert Path("cache/thumbs", f"{uid}_256.webp").read_bytes() != shown
    assert len(everything()) == 8
    assert rebuild("--json").report["unchanged"] == 8


def test_a_file_that_was_only_touched_is_not_a_new_version(
    rebuild: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """Each checkout from git would make a version of every file."""
    os.utime(MARA, (1_000_000_000, 1_000_000_000))

    answer = rebuild("--json")

    assert answer.report["content_changed"] == []
    assert get(library["mara.png"]["uid"])["version"] == 1


def test_a_copy_is_told_and_nothing_is_changed(
    rebuild: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """The copy would be a second asset, or take the place of the first."""
    shutil.copy(MARA, MARA.with_name("backup of mara.png"))
    known = everything()

    answer = rebuild("--json")

    assert answer.code == 0
    copy = "characters/backup of mara.png"
    assert answer.report["duplicates"] == [{"uid": library["mara.png"]["uid"], "path": copy}]
    assert everything() == known
    assert not Path(f"assets/{copy}.asset.json").exists()


def test_a_painted_copy_with_its_sidecar_is_a_conflict_and_nothing_is_changed(
    rebuild: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """Two files claim to be one asset; whoever guesses destroys one of them."""
    copy = MARA.with_name("copy.png")
    Image.new("RGB", (3, 3), "red").save(copy)
    shutil.copy(sidecar_of(MARA), sidecar_of(copy))
    known, before = everything(), tree(Path("assets/characters"))

    answer = rebuild("--json")

    assert answer.code == 1
    (conflict,) = answer.report["conflicts"]
    assert conflict["path"] == "characters/copy.png"
    assert conflict["candidates"] == [library["mara.png"]["uid"]]
    assert "characters/mara.png" in conflict["why"]
    assert everything() == known
    assert tree(Path("assets/characters")) == before


def test_a_file_that_is_gone_is_missing_keeps_everything_and_comes_back(
    rebuild: Callable[..., Answer], library: dict[str, AssetRecord], tmp_path: Path
) -> None:
    """A row that is deleted takes tags and provenance with it, and tomorrow the file is back."""
    uid = library["mara.png"]["uid"]
    before = get(uid)
    MARA.rename(tmp_path / "elsewhere.png")

    gone = rebuild("--json")
    meanwhile = get(uid)
    (tmp_path / "elsewhere.png").rename(MARA)
    back = rebuild("--json")

    assert (gone.code, back.code) == (0, 0)
    assert gone.report["missing"] == [{"uid": uid, "path": "characters/mara.png"}]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", meanwhile["missing_since"])
    assert {**meanwhile, "missing_since": None} == before
    assert sidecar_of(MARA).is_file()
    assert back.report["restored"] == [{"uid": uid, "path": "characters/mara.png"}]
    assert get(uid) == before


def test_stale_rows_stay_unmarked_when_told(
    rebuild: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """``--no-remove-stale`` of old scripts would be ignored."""
    MARA.unlink()

    answer = rebuild("--no-remove-stale", "--json")

    assert answer.report["missing"] == []
    assert get(library["mara.png"]["uid"])["missing_since"] is None


def test_files_that_were_put_into_the_folder_by_hand_are_taken_in(
    rebuild: Callable[..., Answer],
    library: dict[str, AssetRecord],
    make_png: Callable[..., Path],
) -> None:
    """Dropping a file into the folder is how people add one; it would stay unknown."""
    Path("assets/music/act 1").mkdir(parents=True)
    Path("assets/music/act 1/theme.ogg").write_text("a tune")
    make_png("loose.png", seed=99).rename("assets/loose.png")
    before = Path("assets/loose.png").read_bytes()

    answer = rebuild("--json")

    assert answer.code == 0
    new = {each["path"]: get(each["uid"]) for each in answer.report["registered"]}
    assert {path: record["type"] for path, record in new.items()} == {
        "music/act 1/theme.ogg": "music",
        "loose.png": "images",
    }
    assert all(Path("assets", record["sidecar"]).is_file() for record in new.values())
    assert Path("assets/loose.png").read_bytes() == before
    assert all((record["tags"], record["license"]) == ([], None) for record in new.values())


def test_leavings_of_other_programs_are_told_and_no_assets(
    rebuild: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """`.DS_Store`, half a download and the objects of git would stand in the gallery."""
    names = ["characters/.DS_Store", "Thumbs.db", ".git/objects/ab/cd", "characters/new.png.part"]
    for name in names:
        path = Path("assets") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not art")

    answer = rebuild("--json")

    assert answer.code == 0
    assert sorted(each["path"] for each in answer.report["skipped"]) == sorted(names)
    assert answer.report["registered"] == []


@needs_posix
def test_pipes_and_links_in_the_folder_are_told_and_left_alone(
    rebuild: Callable[..., Answer], library: dict[str, AssetRecord], tmp_path: Path
) -> None:
    """A pipe would stop the rebuild for ever, a link lead it out of the library."""
    os.mkfifo("assets/characters/pipe.png")
    Path("assets/characters/link.png").symlink_to(tmp_path / "notes.txt")

    answer = rebuild("--json")

    assert {each["path"]: each["why"] for each in answer.report["skipped"]} == {
        "characters/pipe.png": "a pipe, not a file",
        "characters/link.png": "a link, which an asset can't be",
    }
    assert len(everything()) == 8


# -- refusing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [(), ("--json",), ("--enforce-sidecars", "--fix-metadata")])
def test_a_folder_that_is_not_there_is_refused_and_nothing_is_made(
    more: tuple[str, ...], rebuild: Callable[..., Answer], library: dict[str, AssetRecord], project: Path
) -> None:
    """A typing error in ``--assets-dir`` deleted every row of the old release."""
    before, known = tree(project), everything()

    answer = rebuild("--assets-dir", "asets", *more)

    assert (answer.code, answer.out) == (4, "")
    assert answer.err.startswith(f"comfyvn: {project / 'asets'}: there is no such assets folder. No row was")
    assert set(tree(project)) == set(before)
    assert everything() == known


def test_in_an_empty_project_nothing_is_made(rebuild: Callable[..., Answer], project: Path) -> None:
    """A rebuild in the wrong folder would leave an empty library there."""
    answer = rebuild()

    assert answer.code == 4
    assert list(project.iterdir()) == []


@pytest.mark.parametrize("leaves", [True, False])
def test_an_empty_folder_is_refused_and_no_row_is_changed(
    leaves: bool, rebuild: Callable[..., Answer], library: dict[str, AssetRecord], project: Path
) -> None:
    """The drive is not mounted, and every asset is marked missing."""
    known = everything()
    Path("assets").rename("on the drive")
    Path("assets").mkdir()
    if leaves:
        shutil.copytree("on the drive/.comfyvn", "assets/.comfyvn")

    answer = rebuild("--enforce-sidecars")

    assert (answer.code, answer.out) == (4, "")
    assert "there is no asset in this folder" in answer.err
    assert [path for path in Path("assets").iterdir() if path.name != ".comfyvn"] == []
    shutil.rmtree("assets")
    Path("on the drive").rename("assets")
    assert everything() == known


def test_an_empty_folder_is_fine_for_a_new_library_when_told(
    rebuild: Callable[..., Answer], project: Path
) -> None:
    """A setup script that starts with a rebuild could never begin."""
    Path("assets").mkdir()

    refused, accepted = rebuild(), rebuild("--no-smoke")

    assert (refused.code, accepted.code) == (4, 0)
    assert "--no-smoke accepts that for a new library" in refused.err
    assert accepted.out.startswith("0 files in")


def test_more_than_a_fifth_missing_is_refused_unless_allowed(
    rebuild: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """Half of a drive is not there today; tomorrow every list would be full of holes."""
    known = everything()
    for path in sorted(Path("assets/characters").glob("*.png")):
        path.rename(f"{path.name}.away")

    refused = rebuild("--json")
    after_refusal = everything()
    allowed = rebuild("--allow-missing", "--json")

    assert (refused.code, refused.out) == (4, "")
    assert "3 of 8 assets would be marked missing, more than 20 %. No row was changed." in refused.err
    assert after_refusal == known
    assert allowed.code == 0
    assert len(allowed.report["missing"]) == 3
    assert len([record for record in everything().values() if record["missing_since"]]) == 3


def test_the_folder_of_another_library_is_refused(
    rebuild: Callable[..., Answer],
    library: dict[str, AssetRecord],
    tmp_path: Path,
    make_png: Callable[..., Path],
) -> None:
    """One wrong path would mix two games."""
    other = tmp_path / "other"
    with AssetRegistry(other / "db" / "x.db", assets_root=other / "assets") as registry:
        registry.register_file(make_png("theirs.png", seed=50), "characters")
    known, theirs = everything(), tree(other / "assets")

    answer = rebuild("--assets-dir", other / "assets", "--enforce-sidecars", "--overwrite-sidecars")

    assert (answer.code, answer.out) == (4, "")
    assert f"{other / 'assets'} belongs to another library" in answer.err
    assert json.loads(LIBRARY_JSON.read_text())["library"] in answer.err
    assert everything() == known
    assert tree(other / "assets") == theirs


def test_a_folder_without_its_library_json_is_refused_unless_allowed(
    rebuild: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """The mount point of a drive that is not there would be taken for the library."""
    identity = json.loads(LIBRARY_JSON.read_text())["library"]
    LIBRARY_JSON.unlink()
    known = everything()

    refused = rebuild("--enforce-sidecars")
    made = LIBRARY_JSON.exists()
    allowed = rebuild("--allow-missing")

    assert (refused.code, refused.out, made) == (4, "", False)
    assert "its .comfyvn/library.json is gone" in refused.err
    assert "Is the drive mounted, and is this the right folder?" in refused.err
    assert allowed.code == 0
    assert everything() == known
    assert json.loads(LIBRARY_JSON.read_text())["library"] == identity


# -- other places, other users of the file ----------------------------------------------------------------


def test_ledger_previews_and_project_may_lie_elsewhere(
    rebuild: Callable[..., Answer], library: dict[str, AssetRecord], tmp_path: Path
) -> None:
    """An option would be accepted and ignored."""
    for path in Path("assets").rglob("*.asset.json"):
        path.unlink()  # they say that the files belong to another project

    answer = rebuild(
        *("--db-path", tmp_path / "new.db", "--thumbs-dir", tmp_path / "thumbs", "--project-id", "remake")
    )

    assert answer.code == 0, answer.err
    with AssetRegistry(tmp_path / "new.db", "remake", thumb_root=tmp_path / "thumbs") as registry:
        found = registry.list_assets()
        assert {record["uid"] for record in found} == {record["uid"] for record in library.values()}
        assert {record["project"] for record in found} == {"remake"}
    with AssetRegistry(tmp_path / "new.db") as registry:
        assert registry.list_assets() == []
    assert len(list((tmp_path / "thumbs").glob("*_256.webp"))) == 5


def test_tables_of_other_parts_of_comfyvn_are_left_alone(
    rebuild: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """Scenes share the file with us; a rebuild must neither need nor touch them."""
    connection = sqlite3.connect(DB)
    connection.execute("CREATE TABLE scenes (id INTEGER PRIMARY KEY, title TEXT)")
    connection.execute("INSERT INTO scenes (title) VALUES ('夕暮れ')")
    connection.commit()
    connection.close()

    answer = rebuild("--enforce-sidecars", "--overwrite-sidecars")

    assert answer.code == 0
    connection = sqlite3.connect(DB)
    assert connection.execute("SELECT id, title FROM scenes").fetchall() == [(1, "夕暮れ")]
    connection.close()


# -- from Python ------------------------------------------------------------------------------------------


def test_rebuild_from_disk_has_the_signature_and_answer_of_older_releases(
    library: dict[str, AssetRecord], project: Path
) -> None:
    """Scripts of today would break."""
    known = everything()
    delete_ledger()

    report = rebuild_from_disk(
        assets_root="assets",
        db_path=str(DB),
        thumbs_root=None,
        project_id="default",
        remove_stale=True,
        wait_for_thumbs=True,
    )

    assert everything() == known
    assert (report.processed, report.removed, list(report.skipped)) == (8, 0, [])
    assert Path(report.assets_root) == project / "assets"
    assert Path(report.thumb_root) == project / "cache" / "thumbs"
    told = report.as_dict()
    assert {"processed", "skipped", "removed", "assets_root", "thumb_root"} <= set(told)
    assert json.loads(json.dumps(told)) == told
    parameters = inspect.signature(rebuild_from_disk).parameters.values()
    assert {each.kind for each in parameters} == {inspect.Parameter.KEYWORD_ONLY}
    defaults = {each.name: each.default for each in parameters if each.default is not each.empty}
    assert defaults == {
        "thumbs_root": None,
        "project_id": "default",
        "remove_stale": True,
        "wait_for_thumbs": True,
    }


def test_rebuild_from_disk_counts_what_is_gone_and_leaves_it_when_told(
    library: dict[str, AssetRecord],
) -> None:
    """The number that a script prints would be wrong."""
    MARA.unlink()

    left = rebuild_from_disk(assets_root="assets", db_path=DB, remove_stale=False)
    marked = rebuild_from_disk(assets_root="assets", db_path=DB)

    assert (left.removed, marked.removed) == (0, 1)
    assert get(library["mara.png"]["uid"])["missing_since"]


def test_rebuild_from_disk_raises_what_a_caller_would_catch(
    library: dict[str, AssetRecord], tmp_path: Path
) -> None:
    """A script could not tell a wrong folder from a bug."""
    for path in Path("assets/characters").glob("*.png"):
        path.unlink()

    with pytest.raises(LibraryChanged) as changed:
        rebuild_from_disk(assets_root="assets", db_path=DB)
    with pytest.raises(LibraryUnreachable) as unreachable:
        rebuild_from_disk(assets_root=tmp_path / "nowhere", db_path=tmp_path / "new.db")
    LIBRARY_JSON.write_text('{"library": "another"}')
    with pytest.raises(ForeignLibrary) as foreign:
        rebuild_from_disk(assets_root="assets", db_path=DB)

    assert isinstance(unreachable.value, FileNotFoundError)
    assert {each.value.exit_code for each in (changed, unreachable, foreign)} == {4}
    assert not (tmp_path / "nowhere").exists()
    assert not (tmp_path / "new.db").exists()


def test_hooks_hear_of_what_a_rebuild_changes(library: dict[str, AssetRecord]) -> None:
    """A gallery that listens would show yesterday's tags."""
    heard: list[tuple[str, str, list[str]]] = []
    edit(sidecar_of(MARA), tags=["by hand"])
    Path("assets/generic/new.txt").write_text("new")

    with AssetRegistry() as registry:
        for event in ("asset_registered", "asset_meta_updated"):
            registry.add_hook(
                event, lambda news: heard.append((news["hook_event"], news["path"], news["meta"]["tags"]))
            )
        rebuild_module.rebuild(registry)

    assert heard == [
        ("asset_meta_updated", "characters/mara.png", ["by hand"]),
        ("asset_registered", "generic/new.txt", []),
    ]


def test_previews_made_again_are_no_finding_of_the_same_run(
    rebuild: Callable[..., Answer], library: dict[str, AssetRecord], project: Path
) -> None:
    """The report would name previews as gone that lie there when it is read."""
    shutil.rmtree(project / "cache")

    answer = rebuild("--json")

    assert json.loads(answer.out)["audit"]["missing_previews"] == []


def test_a_moved_file_with_edited_sidecars_at_both_places_keeps_both_edits(
    rebuild: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """The edits in the sidecar that stayed behind would be deleted unread."""
    uid = library["mara.png"]["uid"]
    old, new = Path("assets/characters/mara.png"), Path("assets/moved/mara.png")
    new.parent.mkdir()
    beside = old.with_name("mara.png.asset.json")
    text = beside.read_text("utf-8")
    assert '  "origin": null' in text
    new.with_name("mara.png.asset.json").write_text(
        text.replace('"tags": [', '"tags": ["there", ', 1), "utf-8"
    )
    beside.write_text(text.replace('  "origin": null', '  "origin": "here"', 1), "utf-8")
    old.rename(new)

    answer = rebuild()

    assert answer.code == 0, answer.err
    with AssetRegistry() as registry:
        record = registry.get_asset(uid)
        assert record is not None
        assert (record["path"], record["meta"]["origin"]) == ("moved/mara.png", "here")
        assert "there" in record["tags"]
