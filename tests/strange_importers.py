"""A stranger's import adapter that does what its files tell it: raise, talk nonsense and worse.

A file is a line of words: ``STRANGE <what>``. The package's metadata is put where a test says.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from comfyvn.errors import ImportFailed
from comfyvn.importers import ImportContext, ImportItem, ImportSkip
from comfyvn.importers.archives import unpack_zip

_POINTS = """[comfyvn.importers]
strange = strange_importers:StrangeAdapter
renpy = strange_importers:StrangeAdapter
broken = strange_importers:NotThere
shapeless = strange_importers:Shapeless
"""


def install(site: Path) -> Path:
    """Write the metadata of an installed package with these adapters; return the folder for ``sys.path``."""
    folder = site / "strange-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: strange\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(_POINTS)
    return site


class Shapeless:
    """No adapter at all."""


class StrangeAdapter:
    """The strange adapter. The settings ``open``, ``files`` and ``close`` name what goes wrong there.

    With ``twice`` each file of an archive is two assets.
    """

    name = "strange"
    summary = "Files that tell an adapter how to misbehave."

    def open(self, source: Path, context: ImportContext) -> StrangeSource:
        if context.settings.get("open"):
            raise RuntimeError("not today")
        return StrangeSource(source, context)


class StrangeSource:
    def __init__(self, root: Path, context: ImportContext) -> None:
        self.root = root
        self.context = context

    def files(self) -> Iterator[Path]:
        for number, path in enumerate(sorted(self.root.iterdir())):
            if number == 1 and self.context.settings.get("files") == "raise":
                raise RuntimeError("lost my way")
            if number == 1 and self.context.settings.get("files") == "nonsense":
                yield "a text"  # type: ignore[misc]
            yield path

    def items(self, file: Path) -> Iterable[Any]:
        if file.suffix == ".zip":
            for name, path in unpack_zip(file, self.context):
                yield ImportItem(path=path, asset_type="unpacked", name=name)
                if self.context.settings.get("twice"):
                    yield ImportItem(path=path, asset_type="unpacked", name=f"again/{name}")
            return
        what = file.read_text().split()[1]
        item = ImportItem(path=file, asset_type="strange", name=file.name, tags=("strange",))
        if what == "raises-late":
            yield item
        if what.startswith("raises"):
            raise RuntimeError("no idea what this is")
        if what == "refuses":
            raise ImportFailed(path=file, why="this one is refused")
        yield from _nonsense(file, item).get(what, [item])

    def is_finished(self, file: Path) -> bool | None:
        raise RuntimeError("how should I know")

    def close(self) -> None:
        if self.context.settings.get("close"):
            raise RuntimeError("never closes")


def _nonsense(file: Path, item: ImportItem) -> dict[str, Iterable[Any]]:
    path, kind = file, "strange"
    return {
        "nothing": [],
        "skips": [ImportSkip("it asked for that")],
        "none": [None],
        "text": ["an item"],
        "number-type": [ImportItem(path=path, asset_type=3, name="x")],  # type: ignore[arg-type]
        "bad-type": [ImportItem(path=path, asset_type="a/b", name="x")],
        "bad-name": [ImportItem(path=path, asset_type=kind, name="../../x")],
        "no-name": [ImportItem(path=path, asset_type=kind, name=None)],  # type: ignore[arg-type]
        "text-tags": [ImportItem(path=path, asset_type=kind, name="x", tags="abc")],  # type: ignore[arg-type]
        "number-tags": [ImportItem(path=path, asset_type=kind, name="x", tags=(1,))],  # type: ignore[arg-type]
        "list-meta": [ImportItem(path=path, asset_type=kind, name="x", metadata=[1])],  # type: ignore[arg-type]
        "set-meta": [ImportItem(path=path, asset_type=kind, name="x", metadata={"a": {1}})],
        "text-texts": [ImportItem(path=path, asset_type=kind, name="x", texts=("a",))],  # type: ignore[arg-type]
        "bad-source": [ImportItem(path=path, asset_type=kind, name="x", provenance={"source": 3})],
        "no-file": [ImportItem(path=path.with_name("nowhere"), asset_type=kind, name="x")],
        "endless": itertools.repeat(item),
    }
