"""`history`, `undo`, `restore`, `purge`, and the hints of `tag` and `remove`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from comfyvn.registry.rebuild import rebuild
from comfyvn.studio.core import AssetRecord, AssetRegistry
from support import Answer

Run = Callable[..., Answer]


@pytest.fixture(autouse=True)
def plain_settings(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no disk: these tests are about something else."""
    monkeypatch.setenv("COMFYVN_DURABILITY", "off")


@pytest.fixture
def library(make_png: Callable[..., Path], run: Run) -> dict[str, AssetRecord]:
    """Three characters, by file name."""
    with AssetRegistry() as registry:
        for seed, name in enumerate(("mara.png", "ellis.png", "ines.png"), 1):
            meta = {"tags": ["draft"], "license": "CC0-1.0", "artist": "J. Doe"}
            registry.register_file(make_png(name, seed=seed), "characters", metadata=meta)
        return {Path(record["path"]).name: record for record in registry.list_assets()}


def get(uid: str) -> AssetRecord | None:
    with AssetRegistry() as registry:
        return registry.get_asset(uid)


def lose(*records: AssetRecord) -> None:
    """Delete files of assets behind the registry's back, and have that noticed."""
    for record in records:
        Path("assets", record["path"]).unlink()
    with AssetRegistry() as registry:
        rebuild(registry, allow_missing=True)


def mara(library: dict[str, AssetRecord]) -> str:
    return library["mara.png"]["uid"]


# -- history ----------------------------------------------------------------------------------------------


def test_history_says_what_changed_in_words(run: Run, library: dict[str, AssetRecord]) -> None:
    """People would have to compare two JSON documents by eye."""
    number = run(
        "tag", mara(library), "--add", "happy", "--remove", "draft", "--license", "CC-BY-4.0"
    ).operation

    answer = run("history", "characters/mara.png")

    assert (answer.code, answer.err) == (0, "")
    edit, registered = [line for line in answer.out.splitlines() if re.match(r" *\d{4}-", line)]
    assert "tags + happy - draft; licence CC0-1.0 -> CC-BY-4.0" in edit
    assert number in edit
    assert "registered as characters/mara.png" in registered


def test_history_shows_what_a_hand_edit_overruled(run: Run, library: dict[str, AssetRecord]) -> None:
    """The losing value would be in the journal, where nobody sees it."""
    path = Path("assets", library["mara.png"]["sidecar"])
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "license": "CC-BY-4.0"}), "utf-8")
    run("tag", mara(library), "--license", "MIT")

    answer = run("history", mara(library))

    assert "the sidecar's license overruled MIT" in answer.out


def test_history_of_an_asset_is_json_for_programs(run: Run, library: dict[str, AssetRecord]) -> None:
    """A script would have to take tables apart."""
    run("tag", mara(library), "--add", "happy")

    answer = run("history", mara(library)[:8], "--json", "--limit", 2)

    assert (answer.code, answer.err) == (0, "")
    assert answer.document["uid"] == mara(library)
    assert [sorted(each) for each in answer.document["items"]] == [
        ["actor", "after", "at", "before", "event", "operation", "seq", "uid"]
    ] * 2


def test_history_without_a_uid_lists_operations(run: Run, library: dict[str, AssetRecord]) -> None:
    """Nobody could find the number of yesterday's slip."""
    number = run("tag", mara(library), library["ines.png"]["uid"], "--add", "happy").operation
    run("undo", number)

    answer = run("history", "--limit", 2)

    undone, edit = [line for line in answer.out.splitlines() if re.match(r" *\d{4}-", line)]
    assert f"2 edited (undoes operation {number})" in undone
    assert number in edit
    assert f"More: add --cursor {number}." in answer.out
    document = run("history", "--cursor", number, "--json").document
    assert [each["events"]["asset_registered"] for each in document["items"]] == [1, 1, 1]


def test_history_knows_removed_assets_and_names_unknown_ones(
    run: Run, library: dict[str, AssetRecord]
) -> None:
    """The history of what is gone is the one that is wanted."""
    run("remove", mara(library))

    answer = run("history", mara(library)[:6])
    unknown = run("history", "feedfeedfeedfeed")

    assert answer.code == 0
    assert "removed; in the trash as " in answer.out
    assert (unknown.code, unknown.out) == (3, "")
    assert "feedfeedfeedfeed" in unknown.err


def test_control_characters_in_a_history_never_reach_the_terminal(
    run: Run, library: dict[str, AssetRecord]
) -> None:
    """A tag or value could paint over what the terminal shows."""
    with AssetRegistry() as registry:
        registry.update_asset_meta(mara(library), {"note": "\x1b[31mred"})

    answer = run("history", mara(library))

    assert "\x1b" not in answer.out
    assert "red" in answer.out


# -- undo -------------------------------------------------------------------------------------------------


def test_undo_takes_back_and_tells_how_to_undo_that(run: Run, library: dict[str, AssetRecord]) -> None:
    """Whoever undoes the wrong thing would be stuck."""
    number = run("tag", mara(library), "--add", "happy").operation

    answer = run("undo", number)

    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("1 taken back.\n")
    assert get(mara(library))["tags"] == ["draft"]  # type: ignore[index]
    assert run("undo", answer.operation).code == 0
    assert get(mara(library))["tags"] == ["draft", "happy"]  # type: ignore[index]


def test_undo_exits_with_what_became_of_it(run: Run, library: dict[str, AssetRecord]) -> None:
    """A script could not tell a half undo from a whole one."""
    number = run("tag", mara(library), library["ines.png"]["uid"], "--add", "happy").operation
    run("tag", mara(library), "--add", "later")

    half = run("undo", number, "--json")
    nothing = run("undo", number)
    unknown = run("undo", 7)
    wrong = run("undo", "yesterday")

    assert (half.code, half.err) == (1, "")
    assert half.document["undone"] == [library["ines.png"]["uid"]]
    assert [each["uid"] for each in half.document["refused"]] == [mara(library)]
    assert sorted(half.document) == ["kept", "operation", "refused", "undone"]
    assert nothing.code == 4
    assert nothing.err.count("refused    ") == 2
    assert "Undo with" not in nothing.out
    assert (unknown.code, wrong.code) == (3, 2)
    assert "knows no operation 7" in unknown.err


# -- tag and remove ---------------------------------------------------------------------------------------


def test_tag_gives_the_operation_to_programs_and_none_where_nothing_changed(
    run: Run, library: dict[str, AssetRecord]
) -> None:
    """A program would offer an undo of nothing."""
    changed = run("tag", mara(library), "--add", "happy", "--json").document
    unchanged = run("tag", mara(library), "--add", "happy", "--json").document
    silent = run("tag", mara(library), "--add", "happy")

    assert run("undo", changed["operation"]).code == 0
    assert unchanged["operation"] is None
    assert "Undo with" not in silent.out


def test_remove_of_several_is_one_operation(run: Run, library: dict[str, AssetRecord]) -> None:
    """Twenty removed by a slip would be twenty undos."""
    uids = [record["uid"] for record in library.values()]

    answer = run("remove", *uids)
    undone = run("undo", answer.operation, "--json")

    assert answer.out.startswith("3 removed. Their files lie in ")
    assert sorted(undone.document["undone"]) == sorted(uids)
    assert all(get(uid) is not None for uid in uids)


def test_remove_names_what_it_can_not_move_and_does_the_others(
    run: Run, library: dict[str, AssetRecord], tmp_path: Path
) -> None:
    """The first bad file would end the batch, and nobody would know where."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder = Path("assets/characters")
    folder.rename(elsewhere / "characters")
    folder.symlink_to(elsewhere / "characters")

    answer = run("remove", *(record["uid"] for record in library.values()), "--json")

    assert answer.code == 1
    assert (answer.document["operation"], answer.document["removed"]) == (None, [])
    assert sorted(each["uid"] for each in answer.document["refused"]) == sorted(
        record["uid"] for record in library.values()
    )
    assert sorted(path.name for path in (elsewhere / "characters").glob("*.png")) == sorted(library)


# -- restore ----------------------------------------------------------------------------------------------


def test_restore_brings_back_by_the_beginning_of_a_uid(run: Run, library: dict[str, AssetRecord]) -> None:
    """Sixteen digits would have to be typed, of something that no list shows any more."""
    run("remove", mara(library))

    answer = run("restore", mara(library)[:8])

    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines()[0] == f"{mara(library)}: back at characters/mara.png"
    assert get(mara(library))["tags"] == ["draft"]  # type: ignore[index]
    assert run("undo", answer.operation).code == 0
    assert get(mara(library)) is None


def test_restore_does_what_it_can_and_names_the_rest(run: Run, library: dict[str, AssetRecord]) -> None:
    """One uid too many would keep the others in the trash."""
    run("remove", mara(library), library["ines.png"]["uid"])

    answer = run("restore", mara(library), library["ellis.png"]["uid"], library["ines.png"]["uid"], "--json")
    unknown = run("restore", "feedfeedfeedfeed")
    refused = run("restore", mara(library))

    assert answer.code == 1
    assert [each["uid"] for each in answer.document["restored"]] == [
        mara(library),
        library["ines.png"]["uid"],
    ]
    assert [each["uid"] for each in answer.document["refused"]] == [library["ellis.png"]["uid"]]
    assert sorted(answer.document) == ["operation", "refused", "restored"]
    assert unknown.code == 3
    assert (refused.code, "it is registered" in refused.err) == (4, True)


# -- purge ------------------------------------------------------------------------------------------------


def test_purge_lists_and_needs_a_yes(
    run: Run, library: dict[str, AssetRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job at night would forget whatever a drive that was not mounted held."""
    lose(library["mara.png"])
    with Path("/dev/null").open() as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)

        answer = run("purge")

    assert answer.code == 4
    assert mara(library) in answer.out
    assert "--yes" in answer.err
    assert get(mara(library)) is not None


@pytest.mark.parametrize(("reply", "is_forgotten"), [("y", True), ("n", False), ("", False)])
def test_purge_asks_at_a_terminal_and_no_is_the_default(
    library: dict[str, AssetRecord], reply: str, is_forgotten: bool
) -> None:
    """A return key hit too often would count as a yes."""
    pty = pytest.importorskip("pty")
    lose(library["mara.png"])
    ours, theirs = pty.openpty()
    os.write(ours, f"{reply}\n".encode())

    try:
        answer = subprocess.run(
            [sys.executable, "-m", "comfyvn", "purge"],
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)

    assert answer.returncode == 0, answer.stderr
    assert "Forget 1 asset whose file is gone? [y/N]" in answer.stdout
    assert ("1 forgotten." in answer.stdout) is is_forgotten
    assert (get(mara(library)) is None) is is_forgotten


def test_purge_with_yes_forgets_and_can_be_undone(run: Run, library: dict[str, AssetRecord]) -> None:
    """What is forgotten by mistake would have to be tagged again."""
    lose(library["mara.png"], library["ines.png"])

    answer = run("purge", "--yes")

    assert (answer.code, answer.err) == (0, "")
    assert "2 assets are missing." in answer.out
    assert "2 forgotten." in answer.out
    assert "forgotten, its file was missing" in run("history", mara(library)).out
    assert run("undo", answer.operation).code == 0
    assert get(mara(library))["missing_since"] is not None  # type: ignore[index]
    assert run("purge", mara(library)[:8], "--yes").code == 0
    assert get(mara(library)) is None


@pytest.mark.parametrize("flags", ["--json", "--dry-run", "--dry-run --yes", "--dry-run --json"])
def test_purge_that_only_lists_changes_nothing(run: Run, library: dict[str, AssetRecord], flags: str) -> None:
    """A look would be a deed."""
    lose(library["mara.png"])

    answer = run("purge", *flags.split())

    assert (answer.code, answer.err) == (0, "")
    assert mara(library) in answer.out
    assert get(mara(library)) is not None
    if "--json" in flags:
        assert sorted(answer.document) == ["missing", "operation", "purged", "refused", "unknown"]
        assert answer.document["purged"] == []


def test_purge_of_what_is_there_or_unknown_is_refused(run: Run, library: dict[str, AssetRecord]) -> None:
    """A mistyped uid would cost a picture, or look like a success."""
    lose(library["ines.png"])

    there = run("purge", mara(library), "--yes", "--json")
    both = run("purge", mara(library), library["ines.png"]["uid"], "--yes")
    unknown = run("purge", "feedfeedfeedfeed", "--yes")

    assert there.code == 4
    assert [each["uid"] for each in there.document["refused"]] == [mara(library)]
    assert both.code == 1
    assert "its file is there" in both.err
    assert (unknown.code, "feedfeedfeedfeed" in unknown.err) == (3, True)
    assert get(mara(library)) is not None


def test_purge_with_nothing_missing_asks_nothing(run: Run, library: dict[str, AssetRecord]) -> None:
    """A cron job would fail every night that all is well."""
    answer = run("purge")

    assert (answer.code, answer.out, answer.err) == (0, "No asset is missing.\n", "")


@pytest.mark.parametrize("command", [["history"], ["undo", "5"], ["restore", "feedfeed"], ["purge"]])
def test_where_there_is_no_library_none_is_made(run: Run, project: Path, command: list[str]) -> None:
    """A command in the wrong folder would leave an empty library there."""
    answer = run(*command)

    assert answer.code == 5
    assert list(project.iterdir()) == []


@pytest.mark.parametrize("command", ["history", "undo", "restore", "purge"])
def test_the_help_of_a_command_says_what_it_does(run: Run, command: str) -> None:
    """A command without help is tried out on the real library."""
    answer = run(command, "--help")

    assert answer.code == 0
    assert "--json" in answer.out
    assert len(answer.out.splitlines()[2].strip()) > 20
