"""The docs say what is so: pages made from the code are fresh, examples run, links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from comfyvn import errors, events

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def test_pages_made_from_the_code_are_up_to_date() -> None:
    """A setting, option or error changed, and its page still tells the old story."""
    check = [sys.executable, str(ROOT / "tools" / "make_docs.py"), "--check"]

    answer = subprocess.run(check, capture_output=True, text=True, timeout=60, check=False)

    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """A reader clicks and gets a missing page."""
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8"))

    missing = [target for target in targets if not (page.parent / target).exists()]

    assert missing == []


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_python_examples_run(page: str, project: Path, make_png: Callable[..., Path]) -> None:
    """A newcomer pastes the example and gets a traceback."""
    (project / "tmp").mkdir()
    make_png("city.png").rename(project / "tmp" / "city.png")
    blocks = python_blocks(ROOT / page)
    scope: dict[str, object] = {}

    exec(blocks[0], scope)

    assert scope["info"]["type"] == "backgrounds"
    assert (project / "assets" / "backgrounds" / "city.png.asset.json").is_file()


def test_every_hook_has_its_line_in_the_docs() -> None:
    """An event that nobody can find is an event that nobody uses."""
    text = (ROOT / "docs" / "python.md").read_text("utf-8")

    missing = [event for event in events.EVENTS if f"`{event}`" not in text]

    assert missing == []


def test_every_error_class_is_exported_and_so_documented() -> None:
    """An error outside ``__all__`` would be missing from docs/errors.md."""
    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.ComfyVNError)
    }

    assert classes == set(errors.__all__)
