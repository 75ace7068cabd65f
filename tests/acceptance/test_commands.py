"""`list`, `show`, `tag`, `remove`, `audit`, `enforce`, `doctor`, `demo`, and the door to all of them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

import comfyvn
from comfyvn.config import load, settings_table
from comfyvn.registry import doctor
from comfyvn.studio.core import AssetRecord, AssetRegistry
from support import Answer

ROOT = Path(__file__).parents[2]
COMFYVN = str(Path(sys.executable).with_name("comfyvn"))
CONTROL = "\x1b[31m"


@pytest.fixture(autouse=True)
def plain_settings(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no disk: these tests are about something else."""
    monkeypatch.setenv("COMFYVN_DURABILITY", "off")


def shell(*command: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a real process in the current folder."""
    return subprocess.run(
        [*map(str, command)],
        capture_output=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
        env={**os.environ, **environ},
    )


@pytest.fixture
def library(make_png: Callable[..., Path], tmp_path: Path) -> dict[str, AssetRecord]:
    """Six assets, by file name: three characters, two backgrounds, one text."""
    with AssetRegistry() as registry:
        for seed, name in enumerate(("mara.png", "ellis.png", "ines.png"), 1):
            meta = {"tags": ["cast", name[:-4]], "license": "CC-BY-4.0", "artist": "J. Doe"}
            registry.register_file(make_png(name, seed=seed), "characters", metadata=meta)
        for seed, name in enumerate(("sky.png", "夕暮れ.png"), 10):
            registry.register_file(make_png(name, seed=seed), "backgrounds", metadata={"tags": ["Cast"]})
        notes = tmp_path / "notes.txt"
        notes.write_text("notes")
        registry.register_file(notes, "generic")
        return {Path(record["path"]).name: record for record in registry.list_assets()}


def tree(folder: Path) -> dict[str, str]:
    """Return the content of every file, and every folder."""
    return {
        path.relative_to(folder).as_posix(): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "a folder"
        )
        for path in sorted(folder.rglob("*"))
    }


def _read(terminal: int) -> bytes:
    """Return what was written to a terminal, nothing at its end: Linux says that by an error."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


def names(answer: Answer) -> list[str]:
    return [Path(item["path"]).name for item in answer.document["items"]]


def get(uid: str) -> AssetRecord | None:
    with AssetRegistry() as registry:
        return registry.get_asset(uid)


# -- list -------------------------------------------------------------------------------------------------

CAST = {"mara.png", "ellis.png", "ines.png"}


def test_list_shows_people_a_table_newest_first(
    run: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """The one command that everybody tries first shows nothing that helps."""
    answer = run("list")

    assert answer.code == 0
    lines = answer.out.splitlines()
    at = {name: next(n for n, line in enumerate(lines) if name in line) for name in library}
    assert sorted(at, key=lambda name: at[name]) == list(library)
    assert library["mara.png"]["uid"] in lines[at["mara.png"]]
    assert re.search(r"characters .* cast, mara +CC-BY-4.0 +thumbnail", lines[at["mara.png"]])
    assert lines[-1] == "6 assets"


def test_list_gives_programs_the_records_of_the_registry(
    run: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """A script would get other names or values than from Python."""
    answer = run("list", "--json")

    assert answer.code == 0
    with AssetRegistry() as registry:
        assert answer.document == {"items": registry.list_assets()}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--type", "backgrounds"], {"sky.png", "夕暮れ.png"}),
        (["--tag", "CAST"], {"mara.png", "ellis.png", "ines.png", "sky.png", "夕暮れ.png"}),
        (["--tag", "cast", "--tag", "mara"], {"mara.png"}),
        (["--license", "cc-by-4.0"], {"mara.png", "ellis.png", "ines.png"}),
        (["--license", ""], {"sky.png", "夕暮れ.png", "notes.txt"}),
        (["--text", "j. doe"], {"mara.png", "ellis.png", "ines.png"}),
        (["--text", "夕"], {"夕暮れ.png"}),
        (["--text", "doe", "--text", "INES"], {"ines.png"}),
        (["--text", "doe ines"], set()),
        (["--type", "characters", "--tag", "ines", "--text", "doe"], {"ines.png"}),
        (["--type", "backgrounds", "--type", "characters"], {*CAST, "sky.png", "夕暮れ.png"}),
        (["--license", "", "--license", "cc-by-4.0"], {*CAST, "sky.png", "夕暮れ.png", "notes.txt"}),
        (["--not-type", "backgrounds"], {*CAST, "notes.txt"}),
        (["--not-tag", "CAST", "--not-tag", "mara"], {"notes.txt"}),
        (["--not-license", ""], CAST),
        (["--tag", "cast", "--not-license", "cc-by-4.0"], {"sky.png", "夕暮れ.png"}),
        (["--problem", "no-tags"], {"notes.txt"}),
        (["--problem", "no-license", "--problem", "missing"], {"sky.png", "夕暮れ.png", "notes.txt"}),
        (["--uid", "0000000000"], set()),
        (["--workflow", "nothing came of it"], set()),
        (["--rating", "1"], set()),
        (["--tag", "nobody has this"], set()),
        (["--type", "music"], set()),
    ],
)
def test_list_shows_only_what_meets_all_conditions(
    options: list[str], expected: set[str], run: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """A filter that is ignored shows the whole library as if all of it matched."""
    program, person = run("list", "--json", *options), run("list", *options)

    assert set(names(program)) == expected
    assert person.out.splitlines()[-1] == f"{len(expected)} assets"
    assert {name for name in library if name in person.out} == expected


def test_a_condition_that_there_is_not_is_refused(
    run: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """A mistyped problem would look like a library without any."""
    answer = run("list", "--problem", "no-licence")

    assert answer.code == 2
    assert "'no-license'" in answer.err
    assert run("list", "--uid", "xyz").code == run("list", "--rating", "6").code == 2


def test_facets_count_for_people_and_programs(
    run: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """Nobody could see what there is without a list of everything."""
    plain, found = run("facets"), run("facets", "--json").document

    assert found["total"] == len(library)
    assert sum(each["count"] for each in found["types"]) == len(library)
    for group in ("types", "tags"):
        assert all((each["value"] or "(none)") in plain.out for each in found[group])
    assert {"value": None, "count": 1} in found["tags"]
    wrong = {each["value"]: each["count"] for each in found["problems"]}
    assert (wrong["no-license"], wrong["no-tags"], wrong["missing"]) == (3, 1, 0)
    assert "no-license" in plain.out
    assert "missing" not in plain.out
    assert f"{len(library)} assets" in plain.out
    left = run("facets", "--json", "--not-tag", "cast").document
    assert (left["total"], left["types"]) == (1, [{"value": library["notes.txt"]["type"], "count": 1}])


def test_list_finds_a_file_by_its_hash(run: Callable[..., Answer], library: dict[str, AssetRecord]) -> None:
    """Nobody could ask whether the library has a file that they hold in hand."""
    answer = run("list", "--json", "--hash", library["sky.png"]["hash"].upper())

    assert names(answer) == ["sky.png"]


def test_list_pages_by_cursor_through_everything_once(
    run: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """A page would repeat or lose assets."""
    seen: list[str] = []
    cursor: list[object] = []

    for _ in range(3):
        answer = run("list", "--json", "--limit", "2", *cursor)
        seen += names(answer)
        cursor = ["--cursor", answer.document["items"][-1]["id"]]

    assert seen == list(library)
    assert names(run("list", "--json", *cursor)) == []


def test_list_tells_people_how_to_see_the_next_page(
    run: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """A table that ends silently is taken for the whole library."""
    first = run("list", "--limit", "4")

    *_, count, more = first.out.splitlines()
    assert count == "4 of 6 assets"
    found = re.search(r"--cursor (\d+)", more)
    assert found is not None
    second = run("list", "--limit", "4", "--cursor", found[1])
    assert [name for name in library if name in second.out] == list(library)[4:]
    assert "--cursor" not in second.out


def test_list_shows_people_fifty_and_all_of_them_when_asked(run: Callable[..., Answer]) -> None:
    """Ten thousand lines would run through the terminal, or could not be had at all."""
    with AssetRegistry() as registry:
        for number in range(53):
            Path(f"n{number}.txt").write_text(str(number))
        requests = [{"source_path": f"n{number}.txt", "asset_type": "t"} for number in range(53)]
        assert len(list(registry.register_many(requests))) == 53

    shown, everything, program = run("list"), run("list", "--limit", "0"), run("list", "--json")

    assert shown.out.count(".txt") == 50
    assert everything.out.count(".txt") == 53
    assert len(names(program)) == 53


def test_an_asset_whose_file_is_gone_is_marked_in_the_list(
    run: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """A maker would learn from a player that a picture is missing."""
    Path("assets/characters/mara.png").unlink()
    rebuilt = run("rebuild")

    answer = run("list")

    assert rebuilt.code == 0
    assert "characters/mara.png (missing)" in answer.out
    assert answer.out.count("(missing)") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="a name that Windows does not allow")
def test_control_characters_of_names_and_metadata_never_reach_the_terminal(
    run: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """A stranger's pack would recolour the terminal, or hide what stands there."""
    uid = library["mara.png"]["uid"]
    with AssetRegistry() as registry:
        registry.update_asset_meta(uid, {"artist": f"{CONTROL}x"})
    Path(f"{CONTROL}empty.txt").touch()

    told = [run("show", uid).out, run("ingest", f"{CONTROL}empty.txt").err]

    assert all("\x1b" not in text for text in told)
    assert all("\\x1b[31m" in text for text in told)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--text", "doe ines"],
            "No asset has the text 'doe ines' in its path, metadata, tags or prompt; words that need not"
            " stand together go in a --text each.",
        ),
        (["--text", "zzz"], "No asset has the text 'zzz' in its path, metadata, tags or prompt."),
        (["--tag", "mara", "--tag", "ines"], "Each of these conditions finds something, but no asset meets"),
        (["--type", "generic", "--text", "doe"], "Each of these conditions finds something, but no asset"),
        (["--license", "", "--type", "characters"], "Each of these conditions finds something, but no asset"),
    ],
)
def test_list_says_why_it_found_nothing(
    options: list[str], said: str, run: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """Nobody could tell a slip of the finger from conditions that never meet."""
    answer = run("list", *options)

    assert answer.err.startswith(said)
    assert len(answer.err.splitlines()) == 1


# -- show -------------------------------------------------------------------------------------------------


def test_show_tells_people_all_that_is_known(
    run: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """To see a licence or an artist, people would have to open sidecars."""
    record = library["mara.png"]

    answer = run("show", record["uid"])

    assert answer.code == 0
    words = re.sub(r"\s+", "", answer.out)
    for expected in (
        record["uid"],
        record["hash"],
        "cast, mara",
        "CC-BY-4.0",
        "J. Doe",
        f"provenance {record['provenance']['id'] if record['provenance'] else ''}",
        str(Path.cwd() / "assets" / "characters" / "mara.png"),
        f"{record['uid']}_256.webp",
    ):
        assert expected.replace(" ", "") in words


def test_show_tells_in_short_what_made_it_and_where_it_came_from(
    run: Callable[..., Answer], library: dict[str, AssetRecord], make_png: Callable[..., Path]
) -> None:
    """A prompt in a cut line of JSON tells nobody where to read on, and the lineage would stay unknown."""
    mara, ellis, ines = (library[name]["uid"] for name in ("mara.png", "ellis.png", "ines.png"))
    facts = {"models": [{"name": "anima_v2"}], "seed": "4455", "prompt": "mara at the window"}
    said = {"inputs": {"generation": {"tool": "ComfyUI", "facts": facts}}}
    with AssetRegistry() as registry:
        made = registry.register_file(make_png("made.png", seed=20), "characters", provenance=said)["uid"]
        registry.link(made, mara)
        registry.link(ellis, made)
        registry.link(ines, made)

    lines = {re.sub(r"\s+", " ", line) for line in run("show", made).out.splitlines()}
    plain = run("show", library["sky.png"]["uid"]).out

    assert f"made with ComfyUI, anima_v2, seed 4455 (comfyvn facts show {made})" in lines
    assert f"came from characters/mara.png (comfyvn lineage {made})" in lines
    assert f"came of it 2 (comfyvn lineage {made})" in lines
    assert not any("at the window" in line or "{" in line for line in lines)
    assert not re.search("^(made with|came from|came of it)", plain, re.MULTILINE)


def test_show_on_a_terminal_wraps_prose_and_keeps_each_path_whole(
    library: dict[str, AssetRecord], tmp_path: Path
) -> None:
    """A prompt would fill the columns of the names, and a path would not survive copying."""
    pty = pytest.importorskip("pty")
    uid = library["mara.png"]["uid"]
    with AssetRegistry() as registry:
        registry.update_asset_meta(uid, {"キー": "夏の 夕暮れ " * 20, "note": "first\nuid  second"})
    ours, theirs = pty.openpty()
    environ = {**os.environ, "COLUMNS": "60", "TERM": "xterm"}

    with subprocess.Popen([COMFYVN, "show", uid], stdout=theirs, stderr=theirs, env=environ) as process:
        os.close(theirs)
        told = b"".join(iter(lambda: _read(ours), b"")).decode()
        process.wait(60)
    os.close(ours)

    lines = told.replace("\r", "").splitlines()
    assert lines[0] == f"\x1b[1muid\x1b[0m             {uid}"
    assert any(line.endswith(str(Path.cwd() / "assets" / "characters" / "mara.png")) for line in lines)
    assert "\x1b[1mキー\x1b[0m            " + "夏の 夕暮れ " * 3 + "夏の" in lines
    assert " " * 16 + "uid  second" in lines
    assert told.count("夕暮れ") == 20


def test_show_gives_programs_the_record_and_every_provenance_row(
    run: Callable[..., Answer], library: dict[str, AssetRecord], tmp_path: Path
) -> None:
    """The history of an asset would be out of a script's reach."""
    uid = library["mara.png"]["uid"]
    with AssetRegistry() as registry:
        again = {"source": "comfyui", "inputs": {"prompt": "夏"}}
        registry.register_file(tmp_path / "art" / "mara.png", "characters", provenance=again)

    answer = run("show", uid, "--json")

    assert answer.code == 0
    told = answer.document
    with AssetRegistry() as registry:
        assert {key: told[key] for key in told if key != "provenance_history"} == registry.get_asset(uid)
    assert [row["source"] for row in told["provenance_history"]] == ["comfyui", "unspecified"]
    assert told["provenance_history"][0]["inputs"]["prompt"] == "夏"


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_an_unknown_uid_is_a_sentence_and_exit_code_3(
    more: tuple[str, ...], run: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """A script could not tell "no such asset" from a crash."""
    answer = run("show", "0123456789abcdef", *more)

    assert answer.code == 3
    assert answer.out == ""
    assert answer.err == (
        "comfyvn: No asset with uid 0123456789abcdef in project default. List the uids with `comfyvn list`.\n"
    )


# -- tag --------------------------------------------------------------------------------------------------


def test_tag_changes_tags_and_licence_in_ledger_and_sidecar(
    run: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """The ledger and the file that goes into git would tell different stories."""
    uids = [library[name]["uid"] for name in ("mara.png", "sky.png")]

    answer = run("tag", *uids, "--add", "夏", "--add", "Final", "--remove", "CAST", "--license", "CC0-1.0")

    assert (answer.code, answer.err) == (0, "")
    *told, last = answer.out.splitlines()
    assert re.fullmatch(r"Undo with: comfyvn undo \d+", last)
    assert sorted(told) == sorted(
        [f"{uids[0]}: mara, 夏, Final (CC0-1.0)", f"{uids[1]}: 夏, Final (CC0-1.0)"]
    )
    for uid, tags in zip(uids, (["mara", "夏", "Final"], ["夏", "Final"]), strict=True):
        record = get(uid)
        assert record is not None
        written = json.loads(Path("assets", record["sidecar"]).read_text("utf-8"))
        assert record["tags"] == written["tags"] == tags
        assert record["license"] == written["license"] == "CC0-1.0"


def test_tag_clears_a_licence(run: Callable[..., Answer], library: dict[str, AssetRecord]) -> None:
    """A wrong licence could never be taken back."""
    uid = library["mara.png"]["uid"]

    answer = run("tag", uid, "--license", "", "--json")

    assert answer.document["changed"][uid]["license"] is None
    record = get(uid)
    assert record is not None
    assert record["license"] is None
    assert record["tags"] == ["cast", "mara"]


@pytest.mark.parametrize("as_json", [False, True])
def test_tag_names_unknown_uids_and_does_the_others(
    as_json: bool, run: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """One typing error among fifty uids would stop the rest, or pass in silence."""
    uid = library["mara.png"]["uid"]

    answer = run("tag", "feedfeedfeedfeed", uid, "--add", "new", *(["--json"] if as_json else []))

    assert answer.code == 3
    assert "comfyvn: no asset with uid feedfeedfeedfeed. List the uids" in answer.err
    record = get(uid)
    assert record is not None
    assert record["tags"] == ["cast", "mara", "new"]
    if as_json:
        assert answer.document["unknown"] == ["feedfeedfeedfeed"]
        assert list(answer.document["changed"]) == [uid]


def test_tag_without_anything_to_do_is_wrong_usage(
    run: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """A forgotten option would look like a success."""
    answer = run("tag", library["mara.png"]["uid"])

    assert answer.code == 2
    assert "Nothing to do: give --add, --remove or --license." in answer.err


def test_a_tag_that_is_too_long_is_refused_and_nothing_is_changed(
    run: Callable[..., Answer], library: dict[str, AssetRecord], project: Path
) -> None:
    """Some assets would be tagged, the others not."""
    before = tree(project / "assets")

    answer = run("tag", *(record["uid"] for record in library.values()), "--add", "x" * 201)

    assert answer.code == 4
    assert "Metadata refused, nothing was written" in answer.err
    assert tree(project / "assets") == before


# -- remove -----------------------------------------------------------------------------------------------


def test_remove_forgets_an_asset_and_moves_its_files_to_the_trash(
    run: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """A slip of the hand would cost the picture; or the removed file would come back with a rebuild."""
    uid = library["mara.png"]["uid"]
    image = Path("assets/characters/mara.png")
    content = image.read_bytes()

    answer = run("remove", uid)

    assert answer.code == 0
    assert answer.out.startswith("1 removed. Their files lie in ")
    assert get(uid) is None
    assert not image.exists()
    assert not image.with_name("mara.png.asset.json").exists()
    kept = {path.name: path for path in Path("assets/.comfyvn/trash").rglob("*") if path.is_file()}
    assert set(kept) == {"mara.png", "mara.png.asset.json"}
    assert kept["mara.png"].read_bytes() == content
    assert Path("assets/characters/ellis.png").is_file()


def test_remove_leaves_the_file_when_told(
    run: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """Who only wants to forget an asset would lose its place on disk."""
    uid = library["mara.png"]["uid"]

    answer = run("remove", uid, "--keep-file", "--json")

    assert answer.document["removed"] == [uid]
    assert Path("assets/characters/mara.png").is_file()
    assert get(uid) is None


def test_remove_names_unknown_uids_and_does_the_others(
    run: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """One typing error would stop the rest, or pass in silence."""
    uid = library["mara.png"]["uid"]

    answer = run("remove", "feedfeedfeedfeed", uid, uid, "--json")

    assert answer.code == 3
    assert answer.document["removed"] == [uid]
    assert answer.document["unknown"] == ["feedfeedfeedfeed"]
    assert "no asset with uid feedfeedfeedfeed" in answer.err


# -- audit, enforce ---------------------------------------------------------------------------------------


def damage(library: dict[str, AssetRecord]) -> dict[str, str]:
    """Take a sidecar, a mirror and a file away, and break another sidecar; return the uids by damage."""
    Path("assets/characters/mara.png.asset.json").unlink()
    Path("assets/_meta/characters/ellis.json").unlink()
    Path("assets/backgrounds/sky.png").unlink()
    Path("assets/characters/ines.png.asset.json").write_text('{\n  "uid": oops\n}\n')
    hurt = {"sidecar": "mara.png", "mirror": "ellis.png", "file": "sky.png", "broken": "ines.png"}
    return {what: library[name]["uid"] for what, name in hurt.items()}


def test_audit_of_a_healthy_library_finds_nothing(
    run: Callable[..., Answer], library: dict[str, AssetRecord], project: Path
) -> None:
    """A check in CI would fail on a library without a fault."""
    before = tree(project)

    person, program = run("audit"), run("audit", "--json")

    assert (person.code, program.code) == (0, 0)
    assert person.out.splitlines()[0] == "6 assets checked."
    assert program.document["checked"] == 6
    assert tree(project) == before


def test_audit_names_each_damage_and_changes_nothing(
    run: Callable[..., Answer], library: dict[str, AssetRecord], project: Path
) -> None:
    """A damage that stays unseen is found by the players."""
    uid = damage(library)
    before = tree(project)

    person, program = run("audit"), run("audit", "--json")

    assert (person.code, program.code) == (1, 1)
    told = program.document
    assert told["missing_sidecars"] == [uid["sidecar"]]
    assert told["missing_mirrors"] == [uid["mirror"]]
    assert told["missing_files"] == [uid["file"]]
    assert [each["uid"] for each in told["broken_sidecars"]] == [uid["broken"]]
    assert "characters/ines.png.asset.json:2:10: this sidecar is not usable" in person.out
    assert {
        "1 without sidecar:",
        "1 without mirror:",
        "1 whose file is gone:",
        "1 with a broken sidecar:",
    } <= {line.strip() for line in person.out.splitlines()}
    assert tree(project) == before


def test_audit_counts_missing_tags_and_licences_as_findings_only_when_strict(
    run: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """A young library would never pass, or a release would ship pictures without a licence."""
    relaxed, strict = run("audit", "--json"), run("audit", "--strict", "--json")

    assert (relaxed.code, strict.code) == (0, 1)
    missing = {each["uid"]: each["fields"] for each in strict.document["metadata_missing"]}
    assert missing == {
        library["sky.png"]["uid"]: ["license"],
        library["夕暮れ.png"]["uid"]: ["license"],
        library["notes.txt"]["uid"]: ["tags", "license"],
    }


def test_enforce_writes_what_is_missing_and_keeps_what_is_broken(
    run: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """A repair that overwrites a half-edited sidecar destroys what somebody wrote in it."""
    uid = damage(library)
    broken = Path("assets/characters/ines.png.asset.json").read_text()

    answer = run("enforce", "--json")

    assert answer.code == 1
    assert set(answer.document["repaired_sidecars"]) == {uid["sidecar"], uid["mirror"]}
    assert Path("assets/characters/mara.png.asset.json").is_file()
    assert Path("assets/_meta/characters/ellis.json").is_file()
    assert Path("assets/characters/ines.png.asset.json").read_text() == broken


@pytest.mark.parametrize("command", ["audit", "enforce"])
def test_an_assets_folder_that_is_not_there_is_refused_and_not_made(
    command: str, run: Callable[..., Answer], library: dict[str, AssetRecord], project: Path
) -> None:
    """With the drive not mounted, a thousand sidecars would be written into its empty mount point."""
    (project / "assets").rename(project / "on-another-drive")
    before = tree(project)

    answer = run(command)

    assert answer.code == 4
    assert "there is no such assets folder" in answer.err
    assert tree(project) == before


# -- doctor -----------------------------------------------------------------------------------------------


def test_doctor_in_an_empty_folder_is_content_and_makes_nothing(
    run: Callable[..., Answer], project: Path
) -> None:
    """The first command of a newcomer would litter the folder, or report what is only not there yet."""
    answer = run("doctor")

    assert answer.code == 0
    assert list(project.iterdir()) == []
    assert comfyvn.__version__ in answer.out
    assert "not there yet; the first registration makes it" in answer.out
    assert "PROBLEM" not in answer.out


def test_doctor_names_every_setting_with_its_value_and_where_it_comes_from(
    run: Callable[..., Answer],
    library: dict[str, AssetRecord],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody could find out why comfyvn looks into another folder."""
    (project / "comfyvn.toml").write_text('user = "jd"\npreview_workers = 3\n')
    monkeypatch.setenv("COMFYVN_PREVIEW_WORKERS", "1")

    answer = run("doctor", "--json")

    assert answer.code == 0
    found = {
        each["name"]: (each["value"], each["why"])
        for each in answer.document["findings"]
        if each["group"] == "settings"
    }
    assert set(found) == {setting["name"] for setting in settings_table()}
    assert found["user"] == ("jd", "comfyvn.toml")
    assert found["preview_workers"] == ("1", "COMFYVN_PREVIEW_WORKERS")
    assert found["durability"] == ("off", "COMFYVN_DURABILITY")
    assert found["assets_root"] == (str(project / "assets"), "default")


def test_doctor_names_each_package_that_the_server_needs(
    run: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug report about the server would not say which one it was, or what to install."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    packages = [re.split("[><=]", each)[0] for each in wanted["server"]]

    answer = run("doctor", "--json")
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    lacking = {each.name: each for each in doctor.examine(load())}

    found = {each["name"]: each["value"] for each in answer.document["findings"]}
    assert {name: found.get(name) for name in packages} == {name: version(name) for name in packages}
    assert lacking["fastapi"].why == 'for `comfyvn serve`: pip install "comfyvn[server]"'
    assert {lacking[name].level for name in packages} == {"note"}


def test_doctor_tells_people_the_same_as_programs(
    run: Callable[..., Answer], library: dict[str, AssetRecord]
) -> None:
    """A bug report would lack what the maintainer needs."""
    person, program = run("doctor"), run("doctor", "--json")

    said = re.sub(r"\s+", "", person.out)
    for finding in program.document["findings"]:
        assert f"{finding['group']}:{finding['name']}".replace(" ", "") in said
    assert "ledger:integritysound" in said


def spoil_header(ledger: Path) -> None:
    ledger.write_bytes(b"This was a database once." * 400)


def spoil_pages(ledger: Path) -> None:
    data = bytearray(ledger.read_bytes())
    data[8192:40960] = b"\xa5" * (40960 - 8192)
    ledger.write_bytes(bytes(data))


def cut(ledger: Path) -> None:
    ledger.write_bytes(ledger.read_bytes()[:9000])


@pytest.mark.parametrize("spoil", [spoil_header, spoil_pages, cut])
def test_doctor_names_a_damaged_database(
    spoil: Callable[[Path], None],
    run: Callable[..., Answer],
    library: dict[str, AssetRecord],
    project: Path,
) -> None:
    """The report would say that all is well, or end in a traceback of its own."""
    ledger = project / "comfyvn" / "data" / "comfyvn.db"
    spoil(ledger)
    spoiled = ledger.read_bytes()

    answer = run("doctor", "--json")

    assert answer.code == 1
    problems = [each for each in answer.document["findings"] if each["level"] == "problem"]
    assert [each["group"] for each in problems] == ["ledger"]
    assert str(ledger) in json.dumps(answer.document)
    assert ledger.read_bytes() == spoiled


@pytest.mark.parametrize("command", [["list"], ["show", "x"], ["tag", "x", "--add", "y"], ["audit"]])
def test_a_damaged_database_is_a_sentence_with_its_name_and_exit_code_5(
    command: list[str], run: Callable[..., Answer], library: dict[str, AssetRecord], project: Path
) -> None:
    """People would see a traceback of a library that they have never heard of."""
    ledger = project / "comfyvn" / "data" / "comfyvn.db"
    spoil_header(ledger)

    answer = run(*command)

    assert answer.code == 5
    assert answer.out == ""
    assert answer.err.startswith(f"comfyvn: {ledger}: this file is no SQLite database;")
    assert "Traceback" not in answer.err


# -- demo -------------------------------------------------------------------------------------------------


def test_demo_draws_and_registers_a_library_that_other_commands_then_know(project: Path) -> None:
    """The first thing that a newcomer tries would not work, or would not lead on."""
    answer = shell(COMFYVN, "demo", "my library")

    assert answer.returncode == 0, answer.stderr
    assert "25 assets registered" in answer.stdout
    assert [path.name for path in project.iterdir()] == ["my library"]
    tips = re.findall(r'^  \S*comfyvn (--home "my library" list .*)$', answer.stdout, re.MULTILINE)
    assert len(tips) == 1
    listed = shell(COMFYVN, *shlex.split(tips[0]), "--json")
    items = json.loads(listed.stdout)["items"]
    assert items
    assert {item["type"] for item in items} == {"characters"}
    assert {item["license"] for item in items} == {"CC0-1.0"}
    assert shell(COMFYVN, "--home", "my library", "audit", "--strict").returncode == 0
    assert re.search(r'^  \S*comfyvn --home "my library" serve$', answer.stdout, re.MULTILINE)


# -- the door ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ["list"],
        ["list", "--json"],
        ["show", "x"],
        ["tag", "x", "--add", "y"],
        ["remove", "x"],
        ["audit"],
        ["enforce"],
        ["enforce", "--dry-run"],
    ],
)
def test_without_a_library_a_command_says_so_and_makes_nothing(
    command: list[str], run: Callable[..., Answer], project: Path
) -> None:
    """A command in the wrong folder would leave an empty library there, and say that there are no assets."""
    answer = run(*command)

    assert answer.code == 5
    assert answer.out == ""
    assert "there is no library here yet. Register something with `comfyvn ingest FOLDER`" in answer.err
    assert list(project.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        ["list", "--wrong"],
        ["list", "--limit", "-1"],
        ["list", "--cursor", "x"],
        ["show"],
        ["show", "a", "b"],
        ["tag"],
        ["remove"],
        ["ingest"],
        ["nonsense"],
        [],
    ],
)
def test_wrong_usage_is_exit_code_2_with_a_hint_and_makes_nothing(
    command: list[str], run: Callable[..., Answer], project: Path
) -> None:
    """A script with a typing error would go on as if all were well."""
    answer = run(*command)

    assert answer.code == 2
    assert "Usage: comfyvn" in answer.err + answer.out
    assert list(project.iterdir()) == []


def test_a_wrong_setting_is_exit_code_2_and_says_where_it_stands(
    run: Callable[..., Answer], project: Path
) -> None:
    """A slip in comfyvn.toml would be ignored, or end in a traceback."""
    (project / "comfyvn.toml").write_text("preview_wokers = 3\n")

    answer = run("list")

    assert answer.code == 2
    assert "preview_wokers" in answer.err
    assert "comfyvn.toml" in answer.err


def test_home_says_which_project_a_command_works_on(
    library: dict[str, AssetRecord], project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--home`` would be taken for the current folder."""
    monkeypatch.chdir(tmp_path)

    there = shell(COMFYVN, "--home", "project", "list", "--json")
    here = shell(COMFYVN, "list", "--json")

    assert len(json.loads(there.stdout)["items"]) == 6
    assert here.returncode == 5


@pytest.mark.parametrize("start", [[COMFYVN], [sys.executable, "-m", "comfyvn"]])
def test_the_program_and_the_module_are_the_same_door(start: list[str]) -> None:
    """Where scripts are not on the path, ``python -m comfyvn`` is the only way in."""
    answer = shell(*start, "--version")

    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout == f"comfyvn, version {comfyvn.__version__}\n"


def test_help_names_every_command_with_its_purpose(run: Callable[..., Answer]) -> None:
    """A command that help does not name is a command that nobody finds."""
    answer = run("--help")

    assert answer.code == 0
    named = dict(re.findall(r"^  (\w+)  +(\S.*)$", answer.out.partition("Commands:")[2], re.MULTILINE))
    expected = (
        "adapters audit demo doctor enforce export facets facts history ingest lineage link list"
        " match move previews proposal purge rebuild remove restore serve show stamp studio tag token"
        " undo unlink upgrade verify watch webhook workflow"
    )
    assert list(named) == expected.split()
    for command in named:
        help_page = run(command, "--help")
        assert help_page.code == 0
        assert help_page.out.startswith(f"Usage: comfyvn {command}")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of a POSIX shell")
@pytest.mark.parametrize("options", ["", "--json"])
def test_a_reader_that_stops_reading_ends_the_command_quietly(options: str) -> None:
    """``comfyvn list | head -1`` would end in a traceback."""
    with AssetRegistry() as registry:
        text = "x" * 4000
        for number in range(60):
            Path(f"n{number}.txt").write_text(str(number))
        metadata = {"notes": [text] * 10}
        requests = [
            {"source_path": f"n{number}.txt", "asset_type": "t" * 60, "metadata": metadata}
            for number in range(60)
        ]
        assert {each["status"] for each in registry.register_many(requests)} == {"registered"}

    answer = shell("sh", "-c", f'"{COMFYVN}" list {options} --limit 0 | head -c 20')

    assert answer.stderr == ""
    assert len(answer.stdout) == 20


@pytest.mark.parametrize("environ", [{"LC_ALL": "C", "LANG": "C"}, {"PYTHONIOENCODING": "ascii"}])
def test_names_of_any_script_are_shown_on_a_plain_terminal(
    environ: dict[str, str], library: dict[str, AssetRecord]
) -> None:
    """On a server without a locale every command would die of the first Japanese name."""
    uid = library["夕暮れ.png"]["uid"]

    answers = [
        shell(COMFYVN, *command, **environ) for command in (["list"], ["show", uid], ["list", "--json"])
    ]

    assert [(answer.returncode, answer.stderr) for answer in answers] == [(0, "")] * 3
    assert {Path(item["path"]).name for item in json.loads(answers[2].stdout)["items"]} == set(library)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_json_is_right_whatever_the_encoding_of_stdout(
    encoding: str, library: dict[str, AssetRecord]
) -> None:
    """On Windows, ``comfyvn list --json > file`` would write what no program can read."""
    uid = library["mara.png"]["uid"]
    with AssetRegistry() as registry:
        registry.update_asset_meta(uid, {"tags": ["é", "夏", "😀"]})

    answer = subprocess.run(
        [COMFYVN, "show", uid, "--json"],
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )

    assert json.loads(answer.stdout.decode(encoding))["tags"] == ["é", "夏", "😀"]


def test_a_ledger_that_another_program_keeps_locked_is_a_sentence_and_exit_code_5(
    run: Callable[..., Answer],
    library: dict[str, AssetRecord],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """People would read "database is locked" in a traceback."""
    monkeypatch.setenv("COMFYVN_BUSY_TIMEOUT_S", "0.2")
    other = sqlite3.connect(project / "comfyvn" / "data" / "comfyvn.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    answer = run("tag", library["mara.png"]["uid"], "--add", "x")

    other.close()
    assert answer.code == 5
    assert "another program has kept the ledger locked" in answer.err
    assert "Traceback" not in answer.err
