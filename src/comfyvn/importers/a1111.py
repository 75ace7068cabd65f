"""The output folders of Stable Diffusion web UI (AUTOMATIC1111), Forge and SD.Next.

Format: ``outputs/<kind>-images/<date>/<number>-<seed>.png``, grids in ``<kind>-grids`` or named
``grid-<number>``; with the option ``save_txt`` a text file of the same stem with the parameters lies beside a
picture. The folders' names: options ``outdir_txt2img_samples`` and so on, as they are by default; SD.Next
calls them ``text``, ``image``, ``control``, ``extras``, ``grids``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from comfyvn.errors import ImportFailed
from comfyvn.importers.adapters import ImportContext, ImportItem, ImportSkip
from comfyvn.importers.finished import GrowingFolder
from comfyvn.importers.rules import below_type, judge, read_rules
from comfyvn.importers.walking import type_of_medium, written_name
from comfyvn.model import EmbeddedText

__all__ = ["A1111Adapter"]

_KINDS: Final = {
    "txt2img-images": "txt2img",
    "img2img-images": "img2img",
    "extras-images": "extras",
    "txt2img-grids": "txt2img",
    "img2img-grids": "img2img",
    "text": "txt2img",
    "image": "img2img",
    "control": "control",
    "extras": "extras",
}
"""What a folder says of how its pictures were made."""
_GRID_FOLDERS: Final = frozenset({"txt2img-grids", "img2img-grids", "grids"})
_GRID: Final = re.compile(r"grid-\d+.*", re.DOTALL)
_TAKEN: Final = frozenset({"images", "video"})
_PARAMETERS_BYTES: Final = 1_000_000
_OUTPUTS: Final = "outputs"


class A1111Adapter:
    """Takes in the outputs of the web UI; they can be watched."""

    name = "a1111"
    summary = "Outputs of Stable Diffusion web UI (AUTOMATIC1111), Forge and SD.Next, with their .txt files."

    def open(self, source: Path, context: ImportContext) -> _Outputs:
        """Open a folder of outputs, or that of the program's own folder.

        Raises:
            ImportFailed: it is no folder.
            InvalidSetting: a setting can't be what it must be.
        """
        context.know("rules", "grids")
        if not source.is_dir():
            raise ImportFailed(path=source, why="this is no folder; give the web UI's folder outputs")
        below = source / _OUTPUTS
        return _Outputs(below if below.is_dir() else source, context)


class _Outputs(GrowingFolder):
    def __init__(self, root: Path, context: ImportContext) -> None:
        super().__init__(root)
        self._rules = read_rules(context)
        self._takes_grids = context.flag("grids", False)

    def items(self, file: Path) -> Iterator[ImportItem | ImportSkip]:
        """Say what a file becomes: the folder of its kind is a tag.

        Raises:
            ImportFailed: its end is missing.
        """
        relative = self.relative(file)
        folders = relative.casefold().split("/")[:-1]
        is_grid = not _GRID_FOLDERS.isdisjoint(folders) or _GRID.fullmatch(file.stem) is not None
        verdict = judge(self._rules, relative)
        if verdict.is_skipped:
            yield ImportSkip("left out by a rule")
        elif type_of_medium(file.name) not in _TAKEN:
            yield ImportSkip(_why_left_out(file))
        elif is_grid and not self._takes_grids:
            yield ImportSkip("a grid of pictures; with --set grids=true it is taken in")
        elif self.is_finished(file) is False:
            raise ImportFailed(path=file, why="its end is missing: it is being written, or was cut off")
        else:
            kind = verdict.type or type_of_medium(file.name)
            own = [_KINDS[folder] for folder in folders if folder in _KINDS] + ["grid"] * is_grid
            yield ImportItem(
                path=file,
                asset_type=kind,
                name=below_type(relative, kind),
                tags=(*own, *verdict.tags),
                license=verdict.license,
                metadata=verdict.metadata,
                provenance={"source": "a1111", "inputs": {"file": written_name(relative)}},
                texts=_texts_beside(file),
            )


def _why_left_out(file: Path) -> str:
    if file.suffix.casefold() == ".txt":
        return "the text file of a picture, or another text"
    return "no picture or film, by its name"


def _texts_beside(file: Path) -> tuple[EmbeddedText, ...]:
    """Return the parameters that the text file of a picture holds, if there is one."""
    beside = file.with_suffix(".txt")
    if beside.is_symlink() or not beside.is_file():
        return ()
    try:
        with beside.open("rb") as opened:
            content = opened.read(_PARAMETERS_BYTES + 1)
    except OSError:
        return ()
    if len(content) > _PARAMETERS_BYTES:
        return ()
    text = content.decode("utf-8-sig", "replace").strip()
    return (EmbeddedText("text file", "parameters", text),) if text else ()
