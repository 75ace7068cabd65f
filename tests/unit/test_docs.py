"""The docs say what is so: pages made from the code are fresh, examples run, links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from comfyvn import errors, events, sample
from comfyvn.registry.rebuild import rebuild
from comfyvn.studio.core import AssetRegistry

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def test_pages_made_from_the_code_are_up_to_date() -> None:
    """A setting, option or error changed, and its page still tells the old story."""
    check = [sys.executable, str(ROOT / "tools" / "make_docs.py"), "--check"]

    answer = subprocess.run(check, capture_output=True, text=True, timeout=60, check=False)

    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("document", PAGES, ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(document: Path) -> None:
    """A reader clicks and gets a missing page."""
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text("utf-8"))

    missing = [target for target in targets if not (document.parent / target).exists()]

    assert missing == []


@pytest.mark.parametrize("document", ["README.md", "docs/python.md"])
def test_python_examples_run(document: str, project: Path, make_png: Callable[..., Path]) -> None:
    """A newcomer pastes the example and gets a traceback."""
    (project / "tmp").mkdir()
    make_png("city.png").rename(project / "tmp" / "city.png")
    blocks = python_blocks(ROOT / document)
    scope: dict[str, object] = {}

    exec(blocks[0], scope)

    assert scope["info"]["type"] == "backgrounds"
    assert (project / "assets" / "backgrounds" / "city.png.asset.json").is_file()


def test_every_hook_has_its_line_in_the_docs() -> None:
    """An event that nobody can find is an event that nobody uses."""
    text = (ROOT / "docs" / "python.md").read_text("utf-8")

    missing = [event for event in events.EVENTS if f"`{event}`" not in text]

    assert missing == []


def events_of_docs() -> dict[str, tuple[set[str], set[str]]]:
    """Return what the table in docs/http.md says that ``before`` and ``after`` of each event hold."""
    page = (ROOT / "docs" / "http.md").read_text("utf-8")
    table = page.partition("| event | what it means |")[2].partition("\n\n")[0]
    told: dict[str, tuple[set[str], set[str]]] = {}
    name = ""
    for line in table.splitlines()[2:]:
        event, _, before, after = (set(re.findall("`([a-z_]+)`", cell)) for cell in line.split("|")[1:5])
        name = event.pop() if event else name
        known = told.setdefault(name, (set(), set()))
        known[0].update(before)
        known[1].update(after)
    return told


def test_every_event_of_the_journal_is_in_the_docs() -> None:
    """A webhook that nobody knows how to ask for, or one that is asked for and never comes."""
    text = (ROOT / "docs" / "python.md").read_text("utf-8")

    assert set(events_of_docs()) == set(events.JOURNAL_EVENTS)
    assert [event for event in events.JOURNAL_EVENTS if f"`{event}`" not in text] == []


def test_events_hold_what_the_docs_say(registry: AssetRegistry, make_png: Callable[..., Path]) -> None:
    """A reader's script looks for a key that never comes, or nobody knows of one that does."""
    told = events_of_docs()

    live_through_much(registry, make_png)
    seen: dict[str, tuple[set[str], set[str]]] = {}
    for entry in registry.follow(0, timeout_s=0.1):
        known = seen.setdefault(entry["event"], (set(), set()))
        known[0].update(entry["before"] or {})
        known[1].update(set(entry["after"] or {}) - {"undoes"})

    assert set(seen) == set(told) - {"asset_healed"}
    for event, (before, after) in seen.items():
        assert (event, before, after | ({"overruled"} & told[event][1])) == (event, *told[event])


def live_through_much(registry: AssetRegistry, make_png: Callable[..., Path]) -> None:
    """Let everything happen to an asset that can happen to one of today."""
    claim = {"inputs": {"parents": ["feedfeedfeedfeed"]}}
    uid = registry.register_file(make_png(), "characters", provenance=claim)["uid"]
    registry.register_file(make_png(), "characters", provenance={"source": "another program"})
    registry.undo(registry.bulk_edit([uid], add_tags=["smile"])["operation"])
    registry.remove_asset(uid, delete_files=True)
    registry.restore_asset(uid)
    registry.move_asset(uid, "people/")
    file = registry.resolve_path(uid)
    away = file.rename(registry.ASSETS_ROOT.parent / "away.png")
    rebuild(registry, allow_missing=True)
    away.rename(file)
    rebuild(registry)
    file.rename(file.with_name("mara_moved.png"))
    rebuild(registry)
    registry.resolve_path(uid).write_bytes(make_png("other.png", seed=2).read_bytes())
    rebuild(registry)


# -- examples of the page of routes -----------------------------------------------------------------------


def curl_lines(page: Path) -> list[str]:
    return re.findall(r"^curl .*$", page.read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("document", PAGES, ids=lambda path: path.name)
def test_curl_lines_work_in_every_shell(document: Path) -> None:
    """zsh, the shell of every Mac, looks for files that match an address with a question mark."""
    outside_quotes = [re.sub(r"'[^']*'|\"[^\"]*\"|#.*", "", line) for line in curl_lines(document)]

    assert [line for line in outside_quotes if re.search(r"[?*&\[\]{}()<>]", line)] == []


def test_examples_show_the_token_that_they_need_and_keep_files_off_the_terminal() -> None:
    """A reader pastes the example of a webhook and gets 403, or a picture as noise on the screen."""
    routes = (ROOT / "docs" / "http.md").read_text("utf-8").partition("# Routes")[2].split("\n### ")
    wrong = []
    for route in routes:
        is_file = re.search(r"`200` `(?!text/|application/json)", route) is not None
        for line in re.findall(r"^curl .*$", route, re.MULTILINE):
            is_kept = " -o " in line or " -OJ " in line
            if is_file != is_kept or ("Scope: `admin`" in route) != ("$ADMIN" in line):
                wrong.append(route.splitlines()[0])

    assert len(routes) > 40
    assert wrong == []


def test_examples_ask_for_assets_of_the_demo(registry: AssetRegistry, tmp_path: Path) -> None:
    """A newcomer who pastes an example gets 404; the demo has nothing that moves, and no graphs."""
    files = sample.build(tmp_path / "art")
    results = registry.register_many({"source_path": path, "asset_type": "demo"} for path in files)
    known = {result["asset"]["uid"] for result in results if result["asset"]}
    lines = [
        line
        for line in curl_lines(ROOT / "docs" / "http.md")
        if not re.search(r"/(preview|workflow\?.*)'?$", line)
    ]

    asked = {uid for line in lines for uid in re.findall(r"\b[0-9a-f]{16}\b", line)}

    assert len(asked) > 3
    assert asked - known == set()


def test_every_error_class_is_exported_and_so_documented() -> None:
    """An error outside ``__all__`` would be missing from docs/errors.md."""
    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.ComfyVNError)
    }

    assert classes == set(errors.__all__)
