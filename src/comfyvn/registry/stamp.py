"""The marker in a single file, also outside of any library: what it says, and the file without it."""

from __future__ import annotations

import json
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from comfyvn import media
from comfyvn.config import load
from comfyvn.errors import ComfyVNError, NoMarker, PathConflict, StorageUnwritable
from comfyvn.registry import console
from comfyvn.storage import open_source

__all__ = ["command", "read_stamp", "write_stripped"]


def read_stamp(path: Path) -> dict[str, Any]:
    """Return what the marker of a file says, and whether it is still the file that was stamped.

    Returns:
        ``path``, ``format``, ``hash`` (SHA-256 of the content, the marker left out), ``is_unchanged`` (it is
        the hash that the marker names; None when it names none) and ``marker``: its JSON object, or its text
        where that is no JSON object.

    Raises:
        NoMarker: there is none.
        SourceMissing, SourceUnreadable, SourceChanged: the file can't be read.
    """
    with open_source(path) as source:
        reading = media.read(source.file, name=path.name)
        source.check_unchanged()
    if reading.marker is None:
        raise NoMarker(path=path, why=reading.refusal or f"its format, {reading.format}, can carry one")
    said = _parse(reading.marker)
    named = said.get("hash") if isinstance(said, dict) else None
    return {
        "path": str(path),
        "format": reading.format,
        "hash": reading.digest,
        "is_unchanged": None if named is None else named == reading.digest,
        "marker": said,
    }


def write_stripped(path: Path, target: Path) -> int:
    """Write a file without its marker, as it was before it was stamped; return its length in bytes.

    Args:
        path: the file; it stays as it is.
        target: a new file, or a folder to write one of the same name into.

    Raises:
        NoMarker: there is none to leave out.
        PathConflict: the target is taken.
        SourceMissing, SourceUnreadable, SourceChanged, StorageUnwritable: it can't be read, or not written.
    """
    target = target / path.name if target.is_dir() else target
    part = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.part")
    with open_source(path) as source:
        if media.read_marker(source.file, name=path.name) is None:
            raise NoMarker(path=path, why="so nothing is to be taken out")
        try:
            with part.open("xb") as sink:
                media.strip(source.file, sink, name=path.name)
                source.check_unchanged()
                size_bytes = sink.tell()
            target.hardlink_to(part)  # never over another file
        except FileExistsError as error:
            raise PathConflict(
                path=target, why="something lies there already; choose another name"
            ) from error
        except ComfyVNError:
            raise
        except OSError as error:
            raise StorageUnwritable(path=target, why=error.strerror or str(error)) from error
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
    return size_bytes


def _parse(marker: bytes) -> dict[str, Any] | str:
    try:
        said = json.loads(marker)
    except (ValueError, RecursionError):
        said = None
    return said if isinstance(said, dict) else marker.decode("utf-8", "replace")


# -- the commands -----------------------------------------------------------------------------------------


@click.group("stamp")
def command() -> None:
    """Read the marker in a file, or take it out. Works on any file, registered or not."""


@command.command("show")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
@console.library_options
def show(file: Path, as_json: bool, **library: str | None) -> int:
    """Tell which asset and provenance the marker in FILE names, and whether the file was changed since.

    Exit code 1: the content is not the one that was stamped. 3: there is no marker.
    """
    console.set_up_logging()
    found = read_stamp(file)
    said = found["marker"]
    record = _known(str(said.get("uid")), library) if isinstance(said, dict) else None
    if as_json:
        console.emit_json({**found, "asset": record})
    else:
        console.echo(_describe(found, record))
    return 1 if found["is_unchanged"] is False else 0


@command.command("strip")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "target", required=True, type=click.Path(path_type=Path), help="The new file."
)
def strip(file: Path, target: Path) -> int:
    """Write FILE without its marker: byte for byte what it was before it was stamped."""
    console.set_up_logging()
    size_bytes = write_stripped(file, target)
    console.echo(f"{target}: {size_bytes:,} bytes, without the marker of {file}.")
    return 0


def _known(uid: str, library: dict[str, str | None]) -> dict[str, Any] | None:
    """Return the record of an asset in the library of this place, None where there is none of either."""
    if not load({"db": library["db_path"]}).db.exists():
        return None
    with console.open_registry(**library, makes=False) as registry:
        record = registry.get_asset(uid)
    return None if record is None else {**record}


def _describe(found: dict[str, Any], record: dict[str, Any] | None) -> str:
    said = found["marker"]
    lines = [f"{found['path']}: {found['format']}"]
    if isinstance(said, str):
        return "\n".join([*lines, f"  its marker is no JSON object: {said[:400]}"])
    lines += [f"  {name + ':':<15} {_shown(value)}" for name, value in said.items()]
    state = {
        True: "as it was stamped",
        False: f"CHANGED since it was stamped: its content has the hash {found['hash']}",
        None: "unknown: the marker names no hash",
    }[found["is_unchanged"]]
    lines.append(f"  {'content:':<15} {state}")
    if record is not None:
        lines.append(f"  {'registered as:':<15} {record['path']} (version {record['version']})")
    return "\n".join(lines)


def _shown(value: object) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value)
