"""What the tests of import adapters do the same way: make libraries of other programs, and look into them."""

from __future__ import annotations

import base64
import binascii
import json
import shutil
import struct
import tempfile
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from comfyvn.errors import ImportFailed
from comfyvn.importers import ImportAdapter, ImportContext, ImportItem, ImportSkip

PNG_HEAD = b"\x89PNG\r\n\x1a\n"


def picture(seed: int = 1) -> bytes:
    """Return a small PNG; another seed gives other pixels."""
    made = BytesIO()
    Image.new("RGB", (4, 4), (seed * 37 % 256, seed * 91 % 256, seed * 53 % 256)).save(made, "PNG")
    return made.getvalue()


def write(path: Path, content: bytes | str) -> Path:
    """Write a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", binascii.crc32(kind + data))


def with_text(png: bytes, keyword: bytes, text: bytes) -> bytes:
    """Return a PNG with a ``tEXt`` chunk before its end, where SillyTavern puts a card."""
    return png[:-12] + chunk(b"tEXt", keyword + b"\0" + text) + png[-12:]


def with_card(png: bytes, card: object, keyword: bytes = b"chara") -> bytes:
    return with_text(png, keyword, base64.b64encode(json.dumps(card).encode()))


def card(version: int = 2, **data: Any) -> dict[str, Any]:
    """Return a character card of version 2 or 3."""
    known = {"name": "Mara", "description": "A witch.", "first_mes": "Hello.", "mes_example": "", **data}
    return {"spec": f"chara_card_v{version}", "spec_version": f"{version}.0", "data": known}


def data_uri(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def bomb(size_bytes: int) -> bytes:
    """Return zeros, packed a thousandfold."""
    packer = zlib.compressobj(9)
    return packer.compress(bytes(size_bytes)) + packer.flush()


class Look:
    """What an adapter tells of a source: items by their file, skips and failures by theirs.

    Unpacked files are read before they are thrown away: ``content`` has them by type and name.
    """

    def __init__(self, adapter: ImportAdapter, source: Path, **context: Any) -> None:
        self.items: dict[str, list[ImportItem]] = {}
        self.skipped: dict[str, list[str]] = {}
        self.failed: dict[str, str] = {}
        self.content: dict[str, bytes] = {}
        scratch = Path(tempfile.mkdtemp())
        try:
            settings: Mapping[str, Any] = context.pop("settings", {})
            given = ImportContext(scratch=scratch, name=adapter.name, settings=settings, **context)
            opened = adapter.open(source, given)
            try:
                self._walk(opened, source)
            finally:
                opened.close()
        finally:
            shutil.rmtree(scratch)

    def _walk(self, opened: Any, source: Path) -> None:
        for file in opened.files():
            is_below = file != source and file.is_relative_to(source)
            name = file.relative_to(source).as_posix() if is_below else file.name
            try:
                found = list(opened.items(file))
            except ImportFailed as error:
                self.failed[name] = str(error.fields["why"])
                continue
            for each in found:
                if isinstance(each, ImportSkip):
                    self.skipped.setdefault(name, []).append(each.reason)
                else:
                    self.items.setdefault(name, []).append(each)
                    self.content[f"{each.asset_type}/{each.name}"] = each.path.read_bytes()

    def only(self, name: str) -> ImportItem:
        """Return the one item of a file."""
        (item,) = self.items[name]
        return item

    def all(self) -> list[ImportItem]:
        return [item for items in self.items.values() for item in items]

    def by_name(self) -> dict[str, ImportItem]:
        """Return the items by type and name."""
        return {f"{item.asset_type}/{item.name}": item for item in self.all()}


def tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return everything in a folder, with content and time: what must not change."""
    return {
        str(path.relative_to(folder)): (b"" if path.is_dir() else path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if not path.is_symlink() and (path.is_dir() or path.is_file())
    }
