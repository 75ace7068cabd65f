"""Doctor: where everything lies and why, what is there, and whether it is sound. Changes nothing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import comfyvn
from comfyvn.config import SECRETS, Config, settings_table
from comfyvn.db import inspect_ledger
from comfyvn.db.files import MEND
from comfyvn.errors import ComfyVNError
from comfyvn.storage import LocalStorage

__all__ = ["Finding", "examine"]

_PARTS: Final = (
    ("sqlalchemy", "the ledger"),
    ("alembic", "upgrades of the ledger"),
    ("click", "commands"),
    ("rich", "tables and progress bars"),
    ("pillow", "thumbnails"),
    ("numpy", "waveforms"),
)
_SERVER: Final = '"comfyvn[server]"'
_EXTRAS: Final = (
    ("av", '"comfyvn[media]"', "previews of sound other than WAV, and of film"),
    *(
        (part, _SERVER, "`comfyvn serve`")
        for part in ("fastapi", "uvicorn", "httptools", "websockets", "pydantic")
    ),
    ("python-multipart", _SERVER, "uploads to `comfyvn serve`"),
    ("watchfiles", _SERVER, "`comfyvn watch`"),
    ("pillow-heif", "pillow-heif", "previews of HEIC"),
    ("pillow-jxl-plugin", "pillow-jxl-plugin", "previews of JPEG XL"),
)
_MODULES: Final = {
    "pillow": "PIL",
    "pillow-heif": "pillow_heif",
    "pillow-jxl-plugin": "pillow_jxl",
    "python-multipart": "python_multipart",
}
_WAL_RESET_FIXED: Final = (3, 51, 3)
_NOT_YET: Final = "not there yet; the first registration makes it"
_LOW_DISK_BYTES: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: ``ok`` is fine, ``note`` good to know, ``problem`` wants mending."""

    group: str
    name: str
    value: str
    level: Literal["ok", "note", "problem"] = "ok"
    why: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as JSON values."""
        return asdict(self)


def examine(config: Config) -> Iterator[Finding]:
    """Yield what a bug report should say of an installation and its library; nothing is made or changed."""
    yield from _versions()
    yield from _settings(config)
    for name in ("assets_root", "thumbs_root"):
        yield from _folder(name, getattr(config, name))
    yield from _library(config)
    yield from _ledger(config)


def _versions() -> Iterator[Finding]:
    yield Finding("versions", "comfyvn", comfyvn.__version__, why=str(Path(comfyvn.__file__).parent))
    yield Finding("versions", "python", platform.python_version(), why=sys.executable)
    system = f"{platform.system()} {platform.release()}"
    yield Finding("versions", "system", system, why=platform.machine())
    yield Finding("versions", "file names", sys.getfilesystemencoding())
    for part, use in _PARTS:
        if importlib.util.find_spec(_MODULES.get(part, part)) is None:
            why = f"{use} can't be made: pip install {part}"
            yield Finding("versions", part, "not installed", "problem", why)
        else:
            yield Finding("versions", part, importlib.metadata.version(part), why=use)
    for part, wanted, use in _EXTRAS:
        if importlib.util.find_spec(_MODULES.get(part, part)) is None:
            why = f"for {use}: pip install {wanted}"
            yield Finding("versions", part, "not installed", "note", why)
        else:
            yield Finding("versions", part, importlib.metadata.version(part), why=use)
    is_old = sqlite3.sqlite_version_info < _WAL_RESET_FIXED
    why = (
        "below 3.51.3 a rare fault of WAL files exists; several writers at once may meet it" if is_old else ""
    )
    yield Finding("versions", "sqlite", sqlite3.sqlite_version, "note" if is_old else "ok", why)


def _settings(config: Config) -> Iterator[Finding]:
    for setting in settings_table():
        name = setting["name"]
        yield Finding("settings", name, _shown(config, name), why=config.why(name))


def _shown(config: Config, name: str) -> str:
    value = getattr(config, name)
    if value is None or value == ():
        return "none"
    if name in SECRETS:
        return "set, not shown"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _folder(name: str, path: Path) -> Iterator[Finding]:
    if not path.exists():
        yield Finding("folders", name, str(path), "note", _NOT_YET)
        return
    if not path.is_dir():
        yield Finding("folders", name, str(path), "problem", "this is no folder; move it away")
        return
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("folders", name, str(path), "problem", "no permission to read and write here")
        return
    free_bytes = shutil.disk_usage(path).free
    level: Literal["ok", "problem"] = "problem" if free_bytes < _LOW_DISK_BYTES else "ok"
    yield Finding("folders", name, str(path), level, f"{free_bytes / 1e9:.1f} GB free")


def _library(config: Config) -> Iterator[Finding]:
    try:
        found = LocalStorage(config.assets_root).library_id()
    except ComfyVNError as error:
        yield Finding("library", "library.json", "damaged", "problem", str(error))
        return
    if found is not None:
        yield Finding("library", "library.json", found)
    elif config.assets_root.is_dir():
        yield Finding("library", "library.json", "not there", "note", "no assets were registered here yet")


def _ledger(config: Config) -> Iterator[Finding]:
    if not config.db.exists():
        yield Finding(
            "ledger", "db", str(config.db), "note", "not there yet; the first registration makes it"
        )
        return
    try:
        facts, wrong = inspect_ledger(config.db)
    except ComfyVNError as error:
        yield Finding("ledger", "db", str(config.db), "problem", str(error))
        return
    for name, value in facts.items():
        yield Finding("ledger", name, value)
    if wrong:
        why = "; ".join(wrong) + f". {MEND}"
        yield Finding("ledger", "integrity", "damaged", "problem", why)
    else:
        yield Finding("ledger", "integrity", "sound")
