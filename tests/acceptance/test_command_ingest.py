"""`comfyvn ingest`: folders of art become registered assets, told to people and to programs."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from comfyvn import cli
from comfyvn.studio.core import AssetRecord, AssetRegistry

COMFYVN = str(Path(sys.executable).with_name("comfyvn"))
# root may read everything; without these two rights it is held to the permissions of a file like anybody
WITHOUT_ROOT_RIGHTS = """
import ctypes, os, sys
for right in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    ctypes.CDLL(None).prctl(24, right)
os.execv(sys.argv[1], sys.argv[1:])
"""
PEAK_OF_MEMORY = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
unit = 1 if sys.platform == "darwin" else 1024
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit)
"""
Run = Callable[..., subprocess.CompletedProcess[str]]
needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="pipes, links and rights of POSIX")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes, rights of Linux")


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "COMFYVN_DURABILITY": "off", **more}


def process(
    *arguments: str | Path, through: tuple[str, ...] = (), environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the installed command as a process of its own in the current folder."""
    return subprocess.run(
        [*through, COMFYVN, *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
        env=environment(**(environ or {})),
    )


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run the command through the program's own entry, in this process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setenv("COMFYVN_DURABILITY", "off")

    def run_one(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["comfyvn", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return subprocess.CompletedProcess(sys.argv, ended.value.code, told.out, told.err)

    yield run_one
    root.handlers[:], root.level = handlers, level


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write text files below a folder; return the folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")
    return folder


def tree(folder: Path) -> dict[str, tuple[int, str]]:
    """Return every file with its time and content, and every folder."""
    return {
        path.relative_to(folder).as_posix(): (
            (path.lstat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
            if path.is_file()
            else (0, "a folder")
        )
        for path in sorted(folder.rglob("*"))
    }


def records() -> list[AssetRecord]:
    with AssetRegistry() as registry:
        return registry.list_assets()


def keys() -> list[str]:
    return sorted(record["path"] for record in records())


def provenance_rows() -> int:
    with AssetRegistry() as registry:
        return sum(len(registry.list_provenance(record["uid"])) for record in registry.list_assets())


def document(answer: subprocess.CompletedProcess[str]) -> Any:
    """Return the one JSON document that is all of stdout."""
    assert answer.stdout.endswith("}\n"), answer.stdout + answer.stderr
    return json.loads(answer.stdout)


# -- what becomes an asset, and as what -------------------------------------------------------------------


def test_a_folder_is_taken_in_recursively_and_its_folders_name_the_types(
    run: Run, make_png: Callable[..., Path], tmp_path: Path
) -> None:
    """A maker's folders would be flattened, or deep ones forgotten."""
    make_png("characters/mara.png", seed=1)
    make_png("characters/mara/angry/close.png", seed=2)
    write(tmp_path / "art", {"backgrounds/sky.txt": "sky", "readme.txt": "loose"})

    answer = run("ingest", tmp_path / "art")

    assert answer.returncode == 0, answer.stderr
    assert {record["path"]: record["type"] for record in records()} == {
        "characters/mara.png": "characters",
        "characters/mara/angry/close.png": "characters",
        "backgrounds/sky.txt": "backgrounds",
        "art/readme.txt": "art",
    }
    assert answer.stdout == "4 files: 4 registered.\n"


def test_previews_are_made_when_the_command_is_back(run: Run, make_png: Callable[..., Path]) -> None:
    """The command would end before its own thumbnails are there."""
    art = make_png("characters/mara.png").parent

    answer = run("ingest", art)

    assert answer.returncode == 0, answer.stderr
    (record,) = records()
    assert record["preview_state"] == "ready"
    assert sorted(path.name for path in Path("cache/thumbs").glob("*.*p")) == [
        f"{record['uid']}_256.webp",
        f"{record['uid']}_512.webp",
    ]


def test_the_type_that_is_stated_serves_for_all_files(run: Run, tmp_path: Path) -> None:
    """``--type`` would be overruled by folders, or would swallow them."""
    art = write(tmp_path / "art", {"one.txt": "1", "deep/two.txt": "2"})

    answer = run("ingest", art, "--type", "voices")

    assert answer.returncode == 0, answer.stderr
    assert {(record["type"], record["path"]) for record in records()} == {
        ("voices", "voices/one.txt"),
        ("voices", "voices/deep/two.txt"),
    }


def test_several_paths_are_taken_in_at_once_and_a_single_file_gets_the_type_of_its_folder(
    run: Run, make_png: Callable[..., Path], tmp_path: Path
) -> None:
    """A file that is named itself has no folder of the maker's to be named after."""
    single, folder = make_png("mara.png"), write(tmp_path / "sounds", {"rain.txt": "rain"})

    answer = run("ingest", single, folder)

    assert answer.returncode == 0, answer.stderr
    assert keys() == ["art/mara.png", "sounds/rain.txt"]


def test_tags_licence_and_source_are_given_to_every_file_in_ledger_and_sidecar(
    run: Run, tmp_path: Path
) -> None:
    """What was said of the whole folder would be lost for some files or in one of the places."""
    art = write(tmp_path / "art", {"one.txt": "1", "two.txt": "2"})

    answer = run("ingest", art, "--tag", "夏", "--tag", "Rain", "--license", "CC-BY-4.0", "--source", "kit")

    assert answer.returncode == 0, answer.stderr
    for record in records():
        written = json.loads(Path("assets", record["sidecar"]).read_text("utf-8"))
        assert record["tags"] == written["tags"] == ["夏", "Rain"]
        assert record["license"] == written["license"] == "CC-BY-4.0"
        assert written["provenance"]["source"] == "kit"


def test_files_of_the_assets_folder_are_registered_in_place_and_never_written_to(
    run: Run, make_png: Callable[..., Path], project: Path
) -> None:
    """An artist's working file would be stamped, moved or copied."""
    make_png("mara.png")
    place = project / "assets" / "characters" / "mara.png"
    place.parent.mkdir(parents=True)
    (project.parent / "art" / "mara.png").rename(place)
    before = (place.read_bytes(), place.stat().st_mtime_ns)

    answer = run("ingest", "--in-place", "assets")

    assert answer.returncode == 0, answer.stderr
    assert (place.read_bytes(), place.stat().st_mtime_ns) == before
    assert [(record["type"], record["path"]) for record in records()] == [
        ("characters", "characters/mara.png")
    ]
    assert place.with_name("mara.png.asset.json").is_file()


def test_a_file_elsewhere_is_not_registered_in_place(run: Run, tmp_path: Path) -> None:
    """The ledger would point out of the library."""
    art = write(tmp_path / "art", {"one.txt": "1"})

    answer = run("ingest", "--in-place", art / "one.txt")

    assert answer.returncode == 1
    assert "one.txt: this lies outside the assets folder" in answer.stderr
    assert records() == []


def test_equal_content_in_two_files_is_one_asset_and_equal_names_are_two(run: Run, tmp_path: Path) -> None:
    """A copy would be registered twice, or one of two namesakes overwritten."""
    art = write(tmp_path / "art", {"a/one.txt": "same", "b/copy.txt": "same", "c/x.txt": "X"})
    other = write(tmp_path / "other", {"c/x.txt": "another X"})

    answer = run("ingest", art, other)

    assert answer.stdout == "4 files: 3 registered, 1 already known (1 the same as another new file).\n"
    names = keys()
    assert names[0] == "a/one.txt"
    assert {Path("assets", name).read_text() for name in names} == {"same", "X", "another X"}


def test_files_that_a_pattern_excludes_stay_out(run: Run, tmp_path: Path) -> None:
    """Working files of the paint program would fill the library."""
    art = write(tmp_path / "art", {"mara.txt": "1", "mara.psd": "2", "old/mara.txt": "3"})

    answer = run("ingest", art, "--exclude", "*.psd", "--exclude", "old/*")

    assert answer.returncode == 0
    assert keys() == ["art/mara.txt"]
    assert "mara.psd: excluded by '*.psd'" in answer.stderr


# -- looking before it is done ----------------------------------------------------------------------------


@needs_posix
def test_a_dry_run_tells_file_by_file_what_the_run_then_does_and_changes_nothing(
    run: Run, make_png: Callable[..., Path], tmp_path: Path, project: Path
) -> None:
    """People try ``--dry-run`` on the library they fear for."""
    art = make_png("characters/mara.png").parents[1]
    run("ingest", art)
    write(art, {"characters/new.txt": "new", "characters/copy.txt": "new"})
    (art / "gone.png").symlink_to("nowhere")
    before, source_before = tree(project), tree(art)

    planned = run("ingest", art, "--dry-run")

    assert (tree(project), tree(art)) == (before, source_before)
    lines = [line.split(maxsplit=1) for line in planned.stdout.splitlines()[:-1]]
    told = {Path(rest.split(" -> ")[0].split(": ")[0]).name: status for status, rest in lines}
    assert told == {"mara.png": "known", "copy.txt": "new", "new.txt": "known", "gone.png": "failed"}
    assert planned.stdout.splitlines()[-1].startswith("4 files: ")
    assert planned.returncode == 1
    done = {item["file"]: item for item in document(run("ingest", art, "--json"))["items"]}
    for status, rest in lines:
        file, _, path = rest.partition(" -> ")
        if status != "failed":
            assert done[file]["path"] == path


def test_a_dry_run_gives_json_to_programs(run: Run, tmp_path: Path, project: Path) -> None:
    """A script would have to read the lines meant for people."""
    art = write(tmp_path / "art", {"characters/mara.txt": "m"})
    run("ingest", write(tmp_path / "first", {"x.txt": "x"}))
    before = tree(project)

    answer = run("ingest", art, "--dry-run", "--json")

    (item,) = document(answer)["items"]
    assert (item["status"], item["path"]) == ("new", "characters/mara.txt")
    assert tree(project) == before


def test_a_wrong_type_is_refused_before_anything_is_made(run: Run, tmp_path: Path, project: Path) -> None:
    """Half a folder would be registered, or each file would fail on its own."""
    art = write(tmp_path / "art", {"one.txt": "1"})

    answer = run("ingest", art, "--type", "../outside")

    assert answer.returncode == 4
    assert answer.stderr.startswith("comfyvn: '../outside' can't be an asset type:")
    assert list(project.iterdir()) == []


@pytest.mark.parametrize("more", [(), ("--dry-run", "--json")])
def test_a_folder_inside_the_library_is_refused_with_nothing_on_stdout(
    run: Run, more: tuple[str, ...], tmp_path: Path, project: Path
) -> None:
    """The library would be copied into itself; or a program would get half a JSON document."""
    run("ingest", write(tmp_path / "art", {"characters/one.txt": "1"}))
    before = tree(project)

    answer = run("ingest", "assets/characters", *more)

    assert answer.returncode == 4
    assert answer.stdout == ""
    assert "lies inside the library: use --in-place" in answer.stderr
    assert tree(project) == before


# -- telling what was done --------------------------------------------------------------------------------


def test_json_is_one_document_on_stdout_and_nothing_else(
    make_png: Callable[..., Path], tmp_path: Path
) -> None:
    """A program that reads stdout would choke on a summary or a bar."""
    art = make_png("characters/mara.png").parents[1]
    write(art, {"Thumbs.db": "x", "broken.txt": ""})

    answer = process("ingest", art, "--json")

    told = document(answer)
    assert answer.stderr == ""
    assert answer.returncode == 1
    assert told["counts"] == {"registered": 1, "skipped": 1, "failed": 1}
    by_status = {item["status"]: item for item in told["items"]}
    (record,) = records()
    assert by_status["registered"] == {
        "file": str(art / "characters" / "mara.png"),
        "status": "registered",
        "uid": record["uid"],
        "path": "characters/mara.png",
    }
    assert by_status["skipped"]["file"] == str(art / "Thumbs.db")
    assert "the file is empty" in by_status["failed"]["reason"]


def test_the_summary_counts_all_and_gives_reasons_for_what_was_left_out(run: Run, tmp_path: Path) -> None:
    """A file that did not get in would go unnoticed, or nobody would know what to do about it."""
    art = write(tmp_path / "art", {"one.txt": "1", "two.txt": "2"})
    run("ingest", art)
    write(art, {"three.txt": "3", "empty.txt": "", "desktop.ini": "x"})

    answer = run("ingest", art)

    assert answer.returncode == 1
    (summary,) = answer.stdout.splitlines()
    assert summary.startswith("5 files: ")
    told = {part.strip(" .") for part in summary.partition(":")[2].split(",")}
    assert told == {"1 registered", "2 already known", "1 skipped", "1 failed"}
    problems = answer.stderr.splitlines()
    assert any(line.startswith("skipped") and "desktop.ini: " in line for line in problems)
    why = "the file is empty (0 bytes); export it again. Nothing was registered."
    assert f"failed     {art / 'empty.txt'}: {why}" in problems
    assert problems[-1].startswith("Mend what failed and run the same command again")


def test_a_path_that_is_not_there_is_named_and_the_others_go_on(run: Run, tmp_path: Path) -> None:
    """A typing error in one of many paths would stop the rest, or pass in silence."""
    art = write(tmp_path / "art", {"one.txt": "1"})

    answer = run("ingest", "not-here", art)

    assert answer.returncode == 1
    assert "not-here: no such file. Check the name" in answer.stderr
    assert keys() == ["art/one.txt"]


def on_a_terminal(*arguments: str | Path) -> tuple[int, str]:
    """Run the command on a pseudo-terminal; return its exit code and all that was shown."""
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [COMFYVN, *map(str, arguments)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(TERM="xterm", COLUMNS="120", LINES="40"),
    )
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 65536):
            shown += block
    except OSError:  # Linux says so when the other side has closed
        pass
    finally:
        os.close(ours)
        code = process.wait(timeout=60)
    return code, shown.decode()


@needs_posix
def test_a_terminal_sees_a_bar_that_counts_the_files_and_tells_the_rate(tmp_path: Path) -> None:
    """Whoever takes in ten thousand files would sit before a silent screen."""
    art = write(tmp_path / "art", {f"n{number}.txt": str(number) for number in range(150)})

    code, shown = on_a_terminal("ingest", art)

    assert code == 0
    assert "registering" in shown
    assert "150/150" in shown
    assert "files/s" in shown
    assert "150 files: 150 registered." in shown


@needs_posix
def test_json_on_a_terminal_has_no_bar_in_it(tmp_path: Path) -> None:
    """Copied from the terminal, the document would hold control characters."""
    art = write(tmp_path / "art", {"one.txt": "1"})

    code, shown = on_a_terminal("ingest", art, "--json")

    assert code == 0
    assert json.loads(shown)["counts"] == {"registered": 1}


def test_without_a_terminal_there_is_no_bar(tmp_path: Path) -> None:
    """Logs of a build would fill with the frames of an animation."""
    art = write(tmp_path / "art", {"one.txt": "1"})

    answer = process("ingest", art, environ={"TERM": "xterm"})

    assert (answer.stdout, answer.stderr) == ("1 file: 1 registered.\n", "")


# -- again and again --------------------------------------------------------------------------------------


def test_a_second_run_registers_nothing_and_rewrites_nothing(
    run: Run, make_png: Callable[..., Path], tmp_path: Path, project: Path
) -> None:
    """Each nightly run would grow the history, and git would show every sidecar as changed."""
    art = make_png("characters/mara.png").parents[1]
    write(art, {"sounds/rain.txt": "rain", "sounds/copy.txt": "rain"})
    run("ingest", art, "--tag", "a", "--source", "kit")
    before, rows = tree(project / "assets"), provenance_rows()

    answer = run("ingest", art, "--tag", "a", "--source", "kit")

    assert answer.stdout == "3 files: 3 already known.\n"
    assert tree(project / "assets") == before
    assert (len(records()), provenance_rows()) == (2, rows)


def test_a_second_run_that_says_more_adds_it_to_what_is_known(run: Run, tmp_path: Path) -> None:
    """A tag given later would be lost, since the files are known already."""
    art = write(tmp_path / "art", {"one.txt": "1"})
    run("ingest", art, "--tag", "first")

    answer = run("ingest", art, "--tag", "second", "--license", "CC0-1.0")

    assert answer.stdout == "1 file: 1 already known.\n"
    (record,) = records()
    assert (record["tags"], record["license"]) == (["first", "second"], "CC0-1.0")


@needs_posix
def test_an_interrupted_run_has_recorded_what_it_did_and_the_next_one_completes_it(
    run: Run, tmp_path: Path, project: Path
) -> None:
    """Ctrl-C in the middle of a big folder would leave files without rows, or everything to do again."""
    total = 600
    art = write(tmp_path / "art", {f"n{number}.txt": f"text {number}" for number in range(total)})
    process = subprocess.Popen(
        [COMFYVN, "ingest", str(art), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment(),
    )
    deadline = time.monotonic() + 30
    while not list((project / "assets").glob("art/*.asset.json")) and time.monotonic() < deadline:
        time.sleep(0.005)

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 130, err
    assert "files were looked at; run the same command to go on" in err
    done = keys()
    assert 0 < len(done) < total
    lying = {path.relative_to("assets").as_posix() for path in Path("assets/art").glob("*.txt")}
    assert set(done) == lying
    assert all(Path("assets", f"{key}.asset.json").is_file() for key in done)
    assert json.loads(out)["counts"] == {"registered": len(done)}
    again = run("ingest", art)
    assert again.returncode == 0, again.stderr
    assert again.stdout == f"{total} files: {len(done)} already known, {total - len(done)} registered.\n"
    assert len(records()) == total


# -- files that are none ----------------------------------------------------------------------------------


@needs_posix
def test_bad_files_in_the_middle_are_each_named_and_the_rest_goes_on(run: Run, tmp_path: Path) -> None:
    """One pipe or broken link would hang or end the run of a whole folder."""
    art = write(tmp_path / "art", {"a.txt": "a", "m.txt": "m", "z.txt": "z", "empty.txt": ""})
    os.mkfifo(art / "pipe.wav")
    (art / "dangling.png").symlink_to("nowhere.png")
    (art / "circle").symlink_to("circle")
    (art / "there-and-back").symlink_to("back-again")
    (art / "back-again").symlink_to("there-and-back")

    answer = run("ingest", art)

    assert answer.returncode == 1
    assert keys() == ["art/a.txt", "art/m.txt", "art/z.txt"]
    reasons = {
        Path(line.split(maxsplit=1)[1].split(": ")[0]).name: line.split(": ")[1]
        for line in answer.stderr.splitlines()
        if line.startswith("failed")
    }
    assert reasons == {
        "empty.txt": "the file is empty (0 bytes); export it again. Nothing was registered.",
        "pipe.wav": "this is a pipe, not a file; register files only. Nothing was registered.",
        "dangling.png": "this link leads nowhere; mend or remove it. Nothing was registered.",
        "circle": "these links lead in a circle. Nothing was registered.",
        "there-and-back": "these links lead in a circle. Nothing was registered.",
        "back-again": "these links lead in a circle. Nothing was registered.",
    }


@needs_linux
def test_files_and_folders_that_may_not_be_read_are_each_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    """A folder that was silently left out looks like one that was taken in."""
    art = write(tmp_path / "art", {"a.txt": "a", "secret.txt": "s", "shut/b.txt": "b", "z.txt": "z"})
    (art / "secret.txt").chmod(0)
    (art / "shut").chmod(0)

    answer = process("ingest", art, through=(sys.executable, "-c", WITHOUT_ROOT_RIGHTS))

    (art / "shut").chmod(0o700)
    assert answer.returncode == 1, answer.stderr
    assert keys() == ["art/a.txt", "art/z.txt"]
    assert "secret.txt: it can't be read: Permission denied; check its permissions." in answer.stderr
    assert "shut: this folder can't be read; nothing in it was registered. Check its" in answer.stderr
    assert " 2 failed" in answer.stdout


@needs_posix
def test_links_out_of_the_folder_are_not_followed(run: Run, tmp_path: Path) -> None:
    """A link in a downloaded pack would take in what its author wanted to see."""
    art = write(tmp_path / "art", {"a.txt": "a"})
    write(tmp_path, {"private.txt": "private", "home/diary.txt": "private"})
    (art / "b.txt").symlink_to("../private.txt")
    (art / "c").symlink_to(tmp_path / "home")

    answer = run("ingest", art)

    assert keys() == ["art/a.txt"]
    assert answer.stderr.count("a link that leads out of the folder") == 2


def test_sidecars_and_mirrors_of_another_library_are_no_assets(run: Run, tmp_path: Path) -> None:
    """Taking in somebody's old library would double each file with its descriptions."""
    old = write(
        tmp_path / "old",
        {
            "assets/characters/mara.txt": "mara",
            "assets/_meta/characters/mara.json": "{}",
            "_meta/mara.json": "{}",
            "assets/characters/mara.txt.asset.json": "{}",
        },
    )

    answer = run("ingest", old)

    assert answer.returncode == 0, answer.stderr
    assert keys() == ["assets/characters/mara.txt"]
    assert answer.stdout == "4 files: 3 skipped, 1 registered.\n"
    assert answer.stderr.count("a mirror of a sidecar, not an asset") == 2


@pytest.mark.parametrize("times", [1, 2])
def test_a_folder_that_contains_the_library_itself_gives_only_its_other_files(
    run: Run, times: int, tmp_path: Path, project: Path
) -> None:
    """``comfyvn ingest .`` would take in assets, thumbnails, settings and the database."""
    write(project, {"art/mara.txt": "mara", "comfyvn.toml": 'user = "jd"\n'})

    for _ in range(times):
        answer = run("ingest", ".")

    assert answer.returncode == 0, answer.stderr
    assert keys() == ["art/mara.txt"]


def test_a_ledger_that_lies_among_the_files_is_left_out_and_nothing_else(
    run: Run, tmp_path: Path, project: Path
) -> None:
    """``--db-path`` beside the art would register the database, or hide the art that lies beside it."""
    write(project, {"art/mara.txt": "mara"})

    answer = run("ingest", ".", "--db-path", "art/my.db")

    assert answer.returncode == 0, answer.stderr
    with AssetRegistry("art/my.db") as registry:
        assert [record["path"] for record in registry.list_assets()] == ["art/mara.txt"]


# -- names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_names_of_any_script_are_kept_and_told_on_any_terminal(encoding: str, tmp_path: Path) -> None:
    """A Japanese maker's file would stop the run where the terminal knows no Japanese."""
    art = write(
        tmp_path / "背景", {"夕暮れ.txt": "sunset", "empty.txt": "", "café.txt": "é", "😀.txt": "smile"}
    )

    person = process("ingest", art, environ={"PYTHONIOENCODING": encoding})
    program = process("ingest", art, "--json", environ={"PYTHONIOENCODING": encoding})

    assert person.returncode == 1
    assert "Traceback" not in person.stderr
    assert keys() == ["背景/café.txt", "背景/夕暮れ.txt", "背景/😀.txt"]
    files = {item["file"] for item in document(program)["items"]}
    assert files == {str(art / name) for name in ("夕暮れ.txt", "empty.txt", "café.txt", "😀.txt")}


@needs_linux
@pytest.mark.parametrize("environ", [{"LANG": "C.UTF-8"}, {"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}])
def test_names_that_are_no_text_are_registered_under_a_safe_one_and_told(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """A name from an old Shift-JIS disk would raise in the middle of the run, or spoil the JSON."""
    art = write(tmp_path / "art", {"a.txt": "a"})
    for name in (b"\x89\xc4.txt", b"\xff.txt"):
        Path(os.fsdecode(os.fsencode(art) + b"/" + name)).write_bytes(name)
    Path(os.fsdecode(os.fsencode(art) + b"/\xfe-empty.txt")).write_bytes(b"")

    person = process("ingest", art, environ=environ)
    program = process("ingest", art, "--json", environ=environ)

    assert person.returncode == program.returncode == 1
    assert "Traceback" not in person.stderr
    assert "-empty.txt: the file is empty" in person.stderr
    contents = sorted(Path("assets", key).read_bytes() for key in keys())
    assert contents == [b"a", b"\x89\xc4.txt", b"\xff.txt"]
    assert len([record for record in records() if "original_name" in record["meta"]]) == 2
    files = {os.fsencode(item["file"]) for item in document(program)["items"]}
    assert files == {os.fsencode(art) + end for end in (b"/a.txt", b"/\x89\xc4.txt", b"/\xff.txt")} | {
        os.fsencode(art) + b"/\xfe-empty.txt"
    }


# -- at full size -----------------------------------------------------------------------------------------


@needs_posix
def test_memory_grows_neither_with_the_number_of_files_nor_with_their_size(
    tmp_path: Path, project: Path
) -> None:
    """A folder of videos, or a hundred thousand voices, would bring the machine to its knees."""
    small = write(tmp_path / "small", {"one.txt": "1"})
    big = write(tmp_path / "big", {f"n{number}.txt": str(number) for number in range(500)})
    with (big / "film.bin").open("wb") as file:
        file.truncate(200_000_000)

    def peak_bytes(folder: Path) -> int:
        through = (sys.executable, "-c", PEAK_OF_MEMORY)
        code, peak = map(int, process("ingest", folder, "--json", through=through).stdout.split())
        assert code == 0
        return peak

    growth_bytes = peak_bytes(big) - peak_bytes(small)

    assert len(records()) == 501
    assert growth_bytes < 40_000_000


@pytest.mark.art
def test_the_art_of_real_games_goes_in_byte_for_byte_and_a_second_run_changes_nothing(
    art: Path, project: Path
) -> None:
    """What works on our own little files would fail on those that makers have."""
    files = [path for path in art.rglob("*") if path.is_file()]
    hashes = {hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    first = process("ingest", art, "--json")

    assert first.returncode == 0, first.stderr
    told = document(first)
    statuses = Counter(item["status"] for item in told["items"])
    assert told["counts"] == statuses
    assert {item["file"] for item in told["items"]} == {
        str(path) for path in art.rglob("*") if path.is_file() or path.is_symlink()
    }
    found = records()
    assert {record["hash"] for record in found} == hashes
    assert statuses["registered"] == len(found) == len(hashes)
    images = [record for record in found if Path(record["path"]).suffix in (".png", ".jpg", ".webp")]
    assert images
    assert {record["preview_state"] for record in images} == {"ready"}
    before = tree(project / "assets")
    second = document(process("ingest", art, "--json"))
    assert set(second["counts"]) <= {"known", "skipped"}
    assert tree(project / "assets") == before
