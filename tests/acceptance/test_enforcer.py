"""`python tools/assets_enforcer.py`, `audit_sidecars`: each asset has its sidecar, nothing is invented."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from comfyvn.registry.rebuild import audit_sidecars
from comfyvn.studio.core import AssetRecord, AssetRegistry

TOOL = Path(__file__).parents[2] / "tools" / "assets_enforcer.py"
Run = Callable[..., subprocess.CompletedProcess[str]]
DOCUMENTED = "python tools/assets_enforcer.py --dry-run --json"
LISTS = ("missing_sidecars", "repaired_sidecars", "metadata_missing", "metadata_fixed")


@pytest.fixture(autouse=True)
def plain_settings(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no disk: these tests are about something else."""
    monkeypatch.setenv("COMFYVN_DURABILITY", "off")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run the tool of the checkout on the current folder, in this process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def run_one(*arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(TOOL), run_name="__main__")
        told = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return subprocess.CompletedProcess(sys.argv, ended.value.code, told.out, told.err)

    yield run_one
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def library(make_png: Callable[..., Path]) -> dict[str, AssetRecord]:
    """Three assets by file name: `mara.png` with tags and licence, the others without."""
    with AssetRegistry() as registry:
        said = {"tags": ["cast"], "license": "CC-BY-4.0", "artist": "J. Doe"}
        registry.register_file(make_png("mara.png", seed=1), "characters", metadata=said)
        for seed, name in enumerate(("ellis.png", "Ines.png"), 2):
            registry.register_file(
                make_png(name, seed=seed), "characters", dest_relative=f"characters/Crew/{name}"
            )
        return {Path(record["path"]).name: record for record in registry.list_assets()}


def sidecar(record: AssetRecord) -> Path:
    return Path("assets", record["sidecar"])


def mirror(record: AssetRecord) -> Path:
    return Path("assets", "_meta", record["path"]).with_suffix(".json")


def get(uid: str) -> AssetRecord:
    with AssetRegistry() as registry:
        record = registry.get_asset(uid)
    assert record is not None
    return record


def tree(folder: Path) -> dict[str, str]:
    """Return the content of every file, and every folder."""
    return {
        path.relative_to(folder).as_posix(): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "a folder"
        )
        for path in sorted(folder.rglob("*"))
    }


# -- looking ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
def test_the_documented_command_looks_at_a_healthy_library_and_changes_nothing(
    library: dict[str, AssetRecord], project: Path
) -> None:
    """CI runs this line from the docs; it would fail, or print what no program can read."""
    (project / "tools").mkdir()
    shutil.copy(TOOL, project / "tools")
    before = tree(project)
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
    told = json.loads(answer.stdout)
    assert {name: told[name] for name in LISTS if name != "metadata_missing"} == {
        "missing_sidecars": [],
        "repaired_sidecars": [],
        "metadata_fixed": [],
    }
    assert {each["uid"]: each["fields"] for each in told["metadata_missing"]} == {
        library[name]["uid"]: ["tags", "license"] for name in ("ellis.png", "Ines.png")
    }
    assert tree(project) == before


@pytest.mark.parametrize("more", [(), ("--fill-metadata", "--overwrite")])
def test_a_dry_run_names_what_is_missing_and_changes_nothing(
    run: Run, more: tuple[str, ...], library: dict[str, AssetRecord], project: Path
) -> None:
    """Whoever only wants to look would get a repair, or a green light for a library with holes."""
    sidecar(library["mara.png"]).unlink()
    before = tree(project)

    answer = run("--dry-run", "--json", *more)

    assert answer.returncode == 1
    told = json.loads(answer.stdout)
    assert told["missing_sidecars"] == [library["mara.png"]["uid"]]
    assert told["repaired_sidecars"] == told["metadata_fixed"] == []
    assert tree(project) == before


def test_without_json_the_same_is_told_to_people(run: Run, library: dict[str, AssetRecord]) -> None:
    """People would have to read JSON, or see nothing at all."""
    sidecar(library["mara.png"]).unlink()

    looked, repaired = run("--dry-run"), run("--verbose")

    assert (looked.returncode, repaired.returncode) == (1, 0)
    assert "3 assets checked.\n  1 without sidecar:\n    characters/mara.png\n" in looked.stdout
    assert "1 sidecars written" in repaired.stdout


# -- repairing --------------------------------------------------------------------------------------------


def test_missing_sidecars_and_mirrors_are_written_back_equal(
    run: Run, library: dict[str, AssetRecord], project: Path
) -> None:
    """A repair that writes less than there was loses provenance and licences without a word."""
    hurt = [sidecar(library["mara.png"]), mirror(library["mara.png"]), mirror(library["Ines.png"])]
    before = tree(project / "assets")
    for path in hurt:
        path.unlink()

    answer = run("--json")

    assert answer.returncode == 0, answer.stderr
    told = json.loads(answer.stdout)
    assert told["missing_sidecars"] == [library["mara.png"]["uid"]]
    assert set(told["repaired_sidecars"]) == {library[name]["uid"] for name in ("mara.png", "Ines.png")}
    assert tree(project / "assets") == before
    assert json.loads(run("--json").stdout)["repaired_sidecars"] == []


def test_a_repair_invents_nothing_and_filling_takes_folders_and_name(
    run: Run,
    library: dict[str, AssetRecord],
) -> None:
    """A guessed licence would be taken for a stated one."""
    uid = library["Ines.png"]["uid"]
    sidecar(library["Ines.png"]).unlink()

    repaired, kept = run("--json"), get(uid)
    filled, guessed = run("--fill-metadata", "--json"), get(uid)

    assert (repaired.returncode, filled.returncode) == (0, 0)
    assert (kept["tags"], kept["license"]) == ([], None)
    assert json.loads(repaired.stdout)["metadata_fixed"] == []
    assert (guessed["tags"], guessed["license"]) == (["characters", "crew", "ines"], "unknown")
    written = json.loads(sidecar(guessed).read_text("utf-8"))
    assert (written["tags"], written["license"]) == (guessed["tags"], "unknown")
    others = {library[name]["uid"] for name in ("ellis.png", "Ines.png")}
    assert set(json.loads(filled.stdout)["metadata_fixed"]) == others
    mara = get(library["mara.png"]["uid"])
    assert (mara["tags"], mara["license"]) == (["cast"], "CC-BY-4.0")


def test_a_broken_sidecar_is_told_and_kept_until_it_is_to_be_overwritten(
    run: Run,
    library: dict[str, AssetRecord],
) -> None:
    """Half-written text would be destroyed, or counted as a healthy sidecar."""
    broken = sidecar(library["mara.png"])
    broken.write_text('{\n  "tags": ["half a')

    looked, kept = run("--json"), broken.read_text()
    rewritten = run("--overwrite", "--json")

    assert (looked.returncode, rewritten.returncode) == (1, 0)
    (told,) = json.loads(looked.stdout)["broken_sidecars"]
    assert told["uid"] == library["mara.png"]["uid"]
    assert "characters/mara.png.asset.json:2:12: this sidecar is not usable" in told["error"]
    assert kept == '{\n  "tags": ["half a'
    assert json.loads(broken.read_text("utf-8"))["tags"] == ["cast"]
    assert broken.with_name("mara.png.asset.json.broken").read_text() == kept
    assert set(json.loads(rewritten.stdout)["repaired_sidecars"]) == {
        record["uid"] for record in library.values()
    }


def test_overwriting_merges_what_was_written_by_hand(run: Run, library: dict[str, AssetRecord]) -> None:
    """A rewrite would undo the edit that somebody made an hour ago."""
    path = sidecar(library["mara.png"])
    payload = json.loads(path.read_text("utf-8")) | {"tags": ["by hand"], "our_key": 7}
    path.write_text(json.dumps(payload), "utf-8")

    answer = run("--overwrite")

    assert answer.returncode == 0
    written = json.loads(path.read_text("utf-8"))
    assert (written["tags"], written["our_key"]) == (["by hand"], 7)
    assert get(library["mara.png"]["uid"])["tags"] == ["by hand"]
    assert path.read_text("utf-8").count("\n") > 10


# -- which library ----------------------------------------------------------------------------------------


def test_ledger_folders_and_project_may_lie_elsewhere(
    run: Run, library: dict[str, AssetRecord], tmp_path: Path, make_png: Callable[..., Path]
) -> None:
    """An option would be accepted and ignored, and another library repaired."""
    there = tmp_path / "there"
    with AssetRegistry(there / "x.db", "remake", assets_root=there / "a", thumb_root=there / "t") as registry:
        record = registry.register_file(make_png("sky.png", seed=9), "backgrounds")
    (there / "a" / record["sidecar"]).unlink()
    options = ("--db-path", there / "x.db", "--assets-dir", there / "a", "--thumbs-dir", there / "t")

    other_project = run(*options, "--json")
    answer = run(*options, "--project-id", "remake", "--json")

    assert json.loads(other_project.stdout)["checked"] == 0
    assert json.loads(answer.stdout)["repaired_sidecars"] == [record["uid"]]
    assert (there / "a" / record["sidecar"]).is_file()


def away(project: Path) -> None:
    (project / "assets").rename(project / "unplugged")


def empty(project: Path) -> None:
    away(project)
    shutil.copytree(project / "unplugged" / ".comfyvn", project / "assets" / ".comfyvn")


def unmarked(project: Path) -> None:
    (project / "assets" / ".comfyvn" / "library.json").unlink()


def foreign(project: Path) -> None:
    (project / "assets" / ".comfyvn" / "library.json").write_text('{"library": "another"}')


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (away, "there is no such assets folder"),
        (empty, "this assets folder is empty, but the ledger knows 3 assets"),
        (unmarked, "its .comfyvn/library.json is gone"),
        (foreign, "belongs to another library (it says another, the ledger knows "),
    ],
)
def test_a_folder_that_is_not_the_librarys_is_refused_and_nothing_is_written_there(
    run: Run, damage: Callable[[Path], None], sentence: str, library: dict[str, AssetRecord], project: Path
) -> None:
    """With the drive unplugged, its mount point would fill with sidecars of files that are not there."""
    damage(project)
    before = tree(project)

    answer = run("--overwrite", "--fill-metadata", "--json")

    assert (answer.returncode, answer.stdout) == (4, "")
    assert sentence in answer.stderr
    assert "No row was changed." in answer.stderr
    assert tree(project) == before


def test_without_a_library_it_says_so_and_makes_nothing(run: Run, project: Path) -> None:
    """A check in the wrong folder would be green and leave an empty library there."""
    answer = run("--json")

    assert (answer.returncode, answer.stdout) == (5, "")
    assert "there is no library here yet" in answer.stderr
    assert list(project.iterdir()) == []


def test_a_wrong_option_is_exit_code_2(run: Run, library: dict[str, AssetRecord]) -> None:
    """A misspelt ``--dry-run`` would repair."""
    sidecar(library["mara.png"]).unlink()

    answer = run("--dryrun")

    assert answer.returncode == 2
    assert "--dry-run" in answer.stderr
    assert not sidecar(library["mara.png"]).exists()


# -- from Python ------------------------------------------------------------------------------------------


def test_audit_sidecars_has_the_signature_and_answer_of_older_releases(
    library: dict[str, AssetRecord],
) -> None:
    """Scripts of today would break."""
    sidecar(library["mara.png"]).unlink()
    parameters = inspect.signature(audit_sidecars).parameters

    with AssetRegistry() as registry:
        looked = audit_sidecars(registry)
        was_there = sidecar(library["mara.png"]).exists()
        done = audit_sidecars(registry, fix_missing=True, overwrite=False, fill_metadata=True)

    uid = {name: record["uid"] for name, record in library.items()}
    assert not was_there
    assert (looked.missing_sidecars, looked.repaired_sidecars) == ([uid["mara.png"]], [])
    assert (done.missing_sidecars, done.repaired_sidecars) == ([uid["mara.png"]], [uid["mara.png"]])
    assert [sorted(each) for each in done.metadata_missing] == [["fields", "uid"]] * 2
    assert set(done.metadata_fixed) == {uid["ellis.png"], uid["Ines.png"]}
    told: dict[str, Any] = done.as_dict()
    assert {name: told[name] for name in LISTS} == {name: getattr(done, name) for name in LISTS}
    assert json.loads(json.dumps(told)) == told
    flags = {name: each.default for name, each in parameters.items() if name in ("fix_missing", "overwrite")}
    assert flags == {"fix_missing": False, "overwrite": False}
    assert parameters["fill_metadata"].default is False


def test_an_audit_names_previews_that_could_not_be_made(project: Path) -> None:
    """A picture that nobody can open would stay unseen until the game is out."""
    Path("broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"no picture" * 10)

    with AssetRegistry() as registry:
        uid = registry.register_file("broken.png", "characters")["uid"]
        registry.wait_for_thumbnails()
        report = audit_sidecars(registry)

    (failed,) = report.failed_previews
    assert (failed["uid"], failed["path"]) == (uid, "characters/broken.png")
    assert failed["reason"]
