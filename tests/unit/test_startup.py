"""Starting is quick: what a command does not need is not loaded, and the page of help tells the truth."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from comfyvn.cli import cli, front
from comfyvn.studio.core import AssetRegistry

HEAVY = (
    *("sqlalchemy", "alembic", "numpy", "PIL", "av", "rich", "watchfiles"),
    *(
        "asyncio",
        "concurrent.futures",
        "hashlib",
        "importlib.metadata",
        "multiprocessing",
        "ssl",
        "subprocess",
        "tomllib",
    ),
    "comfyvn.sample",
)
FOR_FILES = (
    *("comfyvn.media.formats", "comfyvn.media.reading", "comfyvn.media.isolation"),
    *("comfyvn.studio.core.registration", "comfyvn.studio.core.previews", "comfyvn.registry.ingest"),
)
"""What registers files and makes their previews."""


def loaded_by(code: str) -> list[str]:
    """Run code in a process of its own and return the modules that it has loaded at its end."""
    script = f"import sys\ntry:\n    {code}\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr.split()


def loaded_by_command(*arguments: str) -> list[str]:
    """Run a command as its script does, and return the modules that it has loaded at its end."""
    return loaded_by(f"sys.argv = {['comfyvn', *arguments]!r}; from comfyvn.cli import main; main()")


@pytest.fixture
def uid(project: Path) -> str:
    """An asset of a library that lies in the current folder."""
    source = project / "mara.txt"
    source.write_text("hello", "utf-8")
    with AssetRegistry(durability="off") as registry:
        return registry.register_file(source, "texts")["uid"]


@pytest.mark.parametrize("code", ["import comfyvn", "import comfyvn.cli", "import comfyvn.studio.core"])
def test_importing_loads_nothing_heavy_and_touches_no_disk(code: str, project: Path) -> None:
    """``import comfyvn`` would take a second, and need Pillow."""
    loaded = loaded_by(code)

    assert set(loaded) & {*HEAVY, *FOR_FILES, "click"} == set()
    assert list(project.iterdir()) == []


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_loads_not_even_click_and_touches_no_disk(option: str, project: Path) -> None:
    """Asking what there is would take three times as long as it does."""
    loaded = loaded_by_command(option)

    assert set(loaded) & {*HEAVY, *FOR_FILES, "click", "comfyvn.model"} == set()
    assert list(project.iterdir()) == []


@pytest.mark.parametrize("command", [["show", "UID"], ["show", "UID", "--json"], ["list", "--json"]])
def test_looking_at_assets_loads_nothing_that_only_registering_needs(command: list[str], uid: str) -> None:
    """A look at one asset would take half a second, and a script that asks for a thousand half an hour."""
    loaded = loaded_by_command(*(uid if word == "UID" else word for word in command))

    assert set(loaded) & {*HEAVY, *FOR_FILES} == set()
    assert "comfyvn.db.ledger" in loaded


def test_the_history_loads_neither_decoders_nor_what_registers_files(uid: str) -> None:
    """Looking back would take as long as working."""
    loaded = loaded_by_command("history", "--json")

    assert set(loaded) & {*HEAVY, *FOR_FILES} == set()


@pytest.mark.parametrize("name", front.COMMANDS)
def test_the_table_of_commands_says_of_each_what_its_own_help_says_first(name: str) -> None:
    """Help would promise what the command does not do, or name one that can't be loaded."""
    _, _, line = front.COMMANDS[name]
    command = cli.get_command(click.Context(cli), name)

    assert command is not None
    own = " ".join(inspect.cleandoc(command.help or "").split())
    assert re.match(re.escape(line.removesuffix(".")) + r"(?!\w)", own)
    assert line.endswith(".")


@pytest.mark.parametrize("width", range(50, 99))
def test_the_page_of_help_is_the_one_that_click_makes(width: int) -> None:
    """``comfyvn --help`` would not know an option that ``comfyvn --home x --help`` knows."""
    context = click.Context(cli, info_name="comfyvn", terminal_width=width, **cli.context_settings)

    assert front.page(width) == cli.get_help(context)


@pytest.mark.parametrize("columns", ["", "0", "x", "20", "60", "100", "300"])
def test_help_is_as_wide_as_the_terminal_within_limits(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines would be broken by the terminal, or be too long to read."""
    monkeypatch.setenv("COLUMNS", columns)
    context = click.Context(cli, info_name="comfyvn", **cli.context_settings)

    assert front.width_of_help() == context.make_formatter().width


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a file of Linux")
def test_help_that_can_not_be_printed_is_a_sentence_and_exit_code_1() -> None:
    """``comfyvn --help > page.txt`` on a full disk would leave an empty page and say nothing."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "comfyvn", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )

    assert (done.returncode, done.stderr) == (1, "comfyvn: the system: No space left on device.\n")
