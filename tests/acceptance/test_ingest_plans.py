"""What `comfyvn ingest` says before it does anything: of known content, and of what it can't do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comfyvn.studio.core import AssetRegistry
from outputs import PARAMETERS, draw
from support import Answer

Run = Callable[..., Answer]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYVN_DURABILITY", "off")


@pytest.fixture
def outputs(tmp_path: Path, run: Run) -> Path:
    """A folder of three pictures, of which the library has one as a keeper, and two are the same."""
    folder = tmp_path / "outputs"
    kept = draw(folder / "a.png", 1, {"parameters": PARAMETERS})
    draw(folder / "b.png", 2)
    draw(folder / "c.png", 2)
    assert run("ingest", kept, "--type", "keepers", "--license", "CC0-1.0", "--tag", "mine").code == 0
    return folder


def kept() -> dict[str, tuple[str, str | None]]:
    """Return type and licence of every asset, by its path."""
    with AssetRegistry() as registry:
        return {each["path"]: (each["type"], each["license"]) for each in registry.list_assets()}


def planned(answer: Answer) -> dict[str, dict[str, Any]]:
    return {Path(item["file"]).name: item for item in answer.document["items"]}


@pytest.mark.parametrize("adapter", [(), ("--adapter", "a1111")])
@pytest.mark.parametrize("stated", [(), ("--license", "MIT"), ("--type", "props", "--license", "MIT")])
def test_a_plan_tells_type_and_licence_as_they_then_are(
    adapter: tuple[str, ...], stated: tuple[str, ...], outputs: Path, run: Run
) -> None:
    """A maker would read of known pictures a type and a licence that they never get."""
    plan = planned(run("ingest", outputs, *adapter, *stated, "--dry-run", "--json"))
    run("ingest", outputs, *adapter, *stated)

    assert (plan["a.png"]["status"], plan["a.png"]["stays"]["type"]) == ("known", "keepers")
    assert ("license" in plan["a.png"]["stays"]) is not bool(stated)
    now = kept()
    for item in plan.values():
        if item["status"] == "known":
            assert now[item["path"]] == (item["type"], item.get("license"))
    assert [item["status"] for item in plan.values()].count("new") == 1


def test_people_read_what_known_content_keeps(outputs: Path, run: Run) -> None:
    """They would stop an ingest that changes nothing of theirs, or start one that does."""
    uid = planned(run("ingest", outputs, "--dry-run", "--json"))["a.png"]["uid"]

    plan = run("ingest", outputs, "--adapter", "a1111", "--dry-run").out
    stated = run("ingest", outputs, "--adapter", "a1111", "--license", "MIT", "--dry-run").out
    plain = run("ingest", outputs, "--type", "props", "--dry-run").out

    assert f"already known as {uid}, keepers/a.png: stays keepers, licence CC0-1.0\n" in plan
    assert f"already known as {uid}, keepers/a.png: stays keepers; its licence becomes MIT\n" in stated
    assert "the same content as images/b.png, which stays images, licence none\n" in plan
    assert "type images, licence none" in plan
    assert "with the type keepers, which ingesting again does not change" in plain
    assert "2 already known, 1 new (1 the same as another new file)" in plain


def test_what_can_not_be_watched_is_refused_before_a_library_is_made(
    run: Run, project: Path, tmp_path: Path
) -> None:
    """A game would seem to be watched, and an empty library lie there."""
    draw(tmp_path / "sea" / "game" / "images" / "bg sea.png", 1)

    answer = run("ingest", tmp_path / "sea", "--adapter", "renpy", "--watch")

    assert answer.code == 4
    assert "can't be watched; leave --watch out" in answer.err
    assert "Watching" not in answer.err
    assert (answer.out, list(project.iterdir())) == ("", [])


@pytest.mark.parametrize("name", ["", "b.png"])
def test_what_lies_elsewhere_is_refused_in_place_in_words_of_the_command(
    name: str, outputs: Path, run: Run
) -> None:
    """Nobody can type an argument of a Python function into a terminal."""
    answer = run("ingest", "--in-place", outputs / name)

    assert answer.code != 0
    assert "have it copied: without --in-place" in answer.err
