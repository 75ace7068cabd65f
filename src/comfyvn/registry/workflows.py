"""Workflows out of assets and into files: the graph that ComfyUI opens when a picture is dropped on it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, Literal

import click

from comfyvn import media
from comfyvn.errors import (
    GraphAtOrigin,
    GraphMissing,
    NoGraph,
    NoLibrary,
    PathConflict,
    SourceMissing,
    SourceUnreadable,
    StorageUnwritable,
    UnsupportedMedia,
)
from comfyvn.media.clean import CantClean, write_clean
from comfyvn.media.inserting import GRAPHS, foreign_suffix, with_graphs
from comfyvn.model import Asset, EmbeddedText
from comfyvn.registry import console
from comfyvn.registry.facts import asset_of, origins_of, uid_of
from comfyvn.storage import open_source
from comfyvn.studio.core import AssetRegistry
from comfyvn.studio.core.workflows import texts_of

__all__ = ["graph_of", "insert", "workflow_command", "workflow_of"]

_GRAPH_BYTES: Final = 64 << 20


def workflow_of(registry: AssetRegistry, uid: str, name: Literal["workflow", "prompt"] | None = None) -> str:
    """Return the graph that made an asset, as JSON text that ComfyUI opens.

    Args:
        registry: the library.
        uid: the asset.
        name: ``workflow`` (the graph with its layout) or ``prompt`` (as it was queued); by default the first
            of them that there is.

    Raises:
        AssetNotFound: no such uid.
        GraphAtOrigin: no such graph is known, but of an asset that it came from.
        GraphMissing: no such graph is known.
    """
    asset = asset_of(registry, uid)
    graph = _graph_among(registry, asset, name)
    if graph is not None:
        return graph
    for parent, origin in origins_of(registry, asset, "certain"):
        if _graph_among(registry, origin, name) is not None:
            how = {"kind": parent.kind, "found": parent.found}
            raise GraphAtOrigin(path=asset.key, parent=origin.key, uid=origin.uid, **how)
    raise GraphMissing(path=asset.key)


def _graph_among(registry: AssetRegistry, asset: Asset, name: str | None) -> str | None:
    graphs = {text.name: text.text for text in reversed(texts_of(registry.library, asset))}
    return next((graphs[each] for each in (GRAPHS if name is None else (name,)) if each in graphs), None)


def insert(source: Path, graphs: Mapping[str, str], target: Path) -> None:
    """Write a copy of a picture that holds some graphs where ComfyUI looks for them, and no older ones.

    Nothing is decoded: the copy differs from the original in these texts alone, and has no marker of ours: it
    is no asset, and would pass for a damaged one.

    Args:
        source: PNG or WebP.
        graphs: JSON by ``workflow`` and ``prompt``.
        target: the new file.

    Raises:
        SourceMissing, SourceUnreadable, SourceChanged: the picture can't be read.
        UnsupportedMedia: it is of another format, signed or damaged.
        PathConflict: something lies at the target, or its suffix is that of another format.
        StorageUnwritable: it can't be written.
    """
    plain = {name: _to_ascii(graphs[name]) for name in GRAPHS if name in graphs}
    with open_source(source) as opened:
        try:
            bare = _without_marker(opened.file, source.name)
            made = with_graphs(bare, plain, name=source.name)
            if suffix := foreign_suffix(bare, target.name):
                why = f"the copy is in the format of {source.name}; give it a name that ends with {suffix}"
                raise PathConflict(path=target, why=why)
            with _new_file(target) as file:
                write_clean(made, bare, file)
                told = {text.name: text.text for text in media.texts(file, name=source.name)}
                opened.check_unchanged()
                if plain.items() - told.items():
                    raise CantClean("the graph can't be read back from it")
        except CantClean as refused:
            raise UnsupportedMedia(path=source, why=str(refused)) from refused


def _without_marker(file: BinaryIO, name: str) -> BinaryIO:
    """Return a file as it was before it was stamped: the same one if it has no marker."""
    if media.read_marker(file, name=name) is None:
        return file
    bare = io.BytesIO()
    media.strip(file, bare, name=name)
    return bare


def graph_of(text: str, path: object) -> str:
    """Return what ComfyUI calls a graph: ``workflow`` (with its layout) or ``prompt`` (as it is queued).

    Args:
        text: JSON.
        path: where it comes from, for the reason.

    Raises:
        NoGraph: it is neither.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NoGraph(path=path, why=f"it is no JSON ({error})") from error
    if not isinstance(value, dict):
        raise NoGraph(path=path, why="it is no object with nodes")
    nodes = value.get("nodes")
    if isinstance(nodes, list) and nodes and all(isinstance(each, dict) and "type" in each for each in nodes):
        return "workflow"
    if value and all(isinstance(each, dict) and "class_type" in each for each in value.values()):
        return "prompt"
    raise NoGraph(path=path, why="it has neither a list of nodes with types nor nodes with a class_type")


@contextmanager
def _new_file(target: Path) -> Iterator[BinaryIO]:
    """Open a new file for writing, never over another one; nothing is left of it where that fails."""
    try:
        file = target.open("x+b")
    except FileExistsError as error:
        raise PathConflict(path=target, why="something lies there already; choose another name") from error
    except OSError as error:
        raise StorageUnwritable(path=target, why=error.strerror or str(error)) from error
    try:
        with file:
            yield file
    except BaseException as error:
        with suppress(OSError):
            target.unlink()
        if isinstance(error, OSError) and error.__class__.__module__ == "builtins":
            raise StorageUnwritable(path=target, why=error.strerror or str(error)) from error
        raise


def _to_ascii(text: str) -> str:
    """Return JSON without other letters: ``tEXt`` and Exif have none."""
    return text if text.isascii() else json.dumps(json.loads(text))


# -- the commands ---------------------------------------------------------------------------------------


@click.group("workflow")
def workflow_command() -> None:
    """Get the graph that made an asset, and put graphs into files."""


@workflow_command.command("extract")
@click.argument("asset")
@click.option("-o", "--output", "target", type=click.Path(path_type=Path), help="The new file. [stdout]")
@click.option("--prompt", "is_prompt", is_flag=True, help="The graph as it was queued, without its layout.")
@console.library_options
def extract(asset: str, target: Path | None, is_prompt: bool, **library: str | None) -> int:
    """Write the graph that made ASSET (uid, the beginning of one, or path) as JSON that ComfyUI opens.

    What was kept of it serves also where an editor has stripped it from the file. Exit code 3: none is known.
    """
    console.set_up_logging()
    with console.open_registry(**library, makes=False) as registry:
        graph = workflow_of(registry, uid_of(registry, asset), "prompt" if is_prompt else None)
    text = graph if graph.endswith("\n") else f"{graph}\n"
    if target is None:
        click.echo(text, nl=False)
        return 0
    with _new_file(target) as file:
        file.write(text.encode())
    console.echo(f"{target}: {len(text.encode()):,} bytes.")
    return 0


@workflow_command.command("insert")
@click.argument("file")
@click.argument("graph", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "target", type=click.Path(path_type=Path), required=True, help="The new file."
)
@console.library_options
def insert_command(file: str, graph: Path, target: Path, **library: str | None) -> int:
    """Write a copy of FILE (asset or file, PNG or WebP) with the graph of the JSON file GRAPH.

    ComfyUI opens it when the copy is dropped on it. Older graphs in FILE are replaced; pixels don't change.
    """
    console.set_up_logging()
    text = _read(graph)
    name = graph_of(text, graph)
    insert(_path_of(file, library), {name: text}, target)
    console.echo(f"{target}: holds the {name} of {graph.name}.")
    return 0


@workflow_command.command("copy")
@click.argument("origin", metavar="FROM")
@click.argument("file", metavar="TO")
@click.option(
    "-o", "--output", "target", type=click.Path(path_type=Path), required=True, help="The new file."
)
@console.library_options
def copy_command(origin: str, file: str, target: Path, **library: str | None) -> int:
    """Write a copy of TO (PNG or WebP) with the graphs of FROM; both are assets or files.

    What was kept of an asset's graph serves also where an editor has stripped it. Exit code 3: FROM has none.
    """
    console.set_up_logging()
    graphs = _graphs(_texts_of(origin, library))
    if not graphs:
        raise GraphMissing(path=origin)
    insert(_path_of(file, library), graphs, target)
    console.echo(f"{target}: holds the {' and the '.join(graphs)} of {origin}.")
    return 0


def _graphs(texts: Iterable[EmbeddedText]) -> dict[str, str]:
    """Return the graphs among some texts; the first of a name counts."""
    found: dict[str, str] = {}
    for text in texts:
        with suppress(NoGraph):
            if text.name in GRAPHS and text.name not in found and graph_of(text.text, text.name) == text.name:
                found[text.name] = text.text
    return {name: found[name] for name in GRAPHS if name in found}


def _texts_of(name: str, library: Mapping[str, str | None]) -> Iterable[EmbeddedText]:
    """Return the texts of an asset, as they were kept, or of any file."""
    with suppress(NoLibrary), console.open_registry(**library, makes=False) as registry:
        uid = registry.resolve_uid(name)
        if uid is not None:
            return texts_of(registry.library, asset_of(registry, uid))
    _check_there(name)
    with open_source(Path(name)) as source:
        return media.texts(source.file, name=name)


def _path_of(name: str, library: Mapping[str, str | None]) -> Path:
    """Return where an asset's file lies, or any file."""
    with suppress(NoLibrary), console.open_registry(**library, makes=False) as registry:
        uid = registry.resolve_uid(name)
        path = registry.resolve_path(uid) if uid is not None else None
        if path is not None:
            return path
    _check_there(name)
    return Path(name)


def _check_there(name: str) -> None:
    if not Path(name).exists():
        raise SourceMissing(path=name)


def _read(path: Path) -> str:
    """Return a text file.

    Raises:
        SourceMissing, SourceUnreadable: it can't be read, or is no text.
    """
    with open_source(path) as source:
        if source.stat.size_bytes > _GRAPH_BYTES:
            raise SourceUnreadable(path=path, why=f"it is larger than {_GRAPH_BYTES >> 20} MiB")
        try:
            return source.file.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise NoGraph(path=path, why="it is no text in UTF-8") from error
