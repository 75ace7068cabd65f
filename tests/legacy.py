"""Libraries as older ComfyVN releases left them on disk, made from the facts that we know of those releases.

`build` writes database, files, sidecars, mirrors and previews of one era with plain SQL and Pillow, and
returns what it put in, so that a test can look whether all of it is still there. The same call always makes
the same library.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import sqlite3
import struct
import wave
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from PIL import Image, PngImagePlugin

Era = Literal["1", "2", "3", "3-fresh", "v0.6"]
ERAS: tuple[Era, ...] = ("1", "2", "3", "3-fresh", "v0.6")

_REGISTRY = """
CREATE TABLE assets_registry (
    id INTEGER PRIMARY KEY,
    project_id TEXT DEFAULT 'default',
    uid TEXT UNIQUE,
    type TEXT,
    path_full TEXT,
    path_thumb TEXT,
    hash TEXT,
    bytes INTEGER,
    created_at TEXT DEFAULT CURRENT_TIMESTAMP,
    meta JSON
);
"""
_LEDGER = """
CREATE TABLE provenance (
    id INTEGER PRIMARY KEY,
    project_id TEXT DEFAULT 'default',
    asset_id INTEGER,
    source TEXT,
    workflow_hash TEXT,
    commit_hash TEXT,
    inputs_json JSON,
    c2pa_like JSON,
    user_id TEXT,
    created_at TEXT DEFAULT CURRENT_TIMESTAMP
);
"""
_BASELINE_REGISTRY = """
CREATE TABLE assets_registry (
    id INTEGER PRIMARY KEY,
    type TEXT NOT NULL,
    path TEXT NOT NULL,
    hash TEXT,
    bytes INTEGER,
    meta_json TEXT,
    created_at TEXT DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE thumbnails (
    asset_id INTEGER PRIMARY KEY,
    path TEXT,
    w INTEGER,
    h INTEGER,
    FOREIGN KEY (asset_id) REFERENCES assets_registry (id)
);
"""
_BASELINE_LEDGER = """
CREATE TABLE provenance (
    asset_id INTEGER PRIMARY KEY,
    seed TEXT,
    tool TEXT,
    workflow TEXT,
    "commit" TEXT,
    meta_json TEXT,
    FOREIGN KEY (asset_id) REFERENCES assets_registry (id)
);
"""
# what other parts of ComfyVN keep in the same file
_OTHERS = """
CREATE TABLE schema_migrations (version TEXT PRIMARY KEY, description TEXT, applied_at TEXT);
INSERT INTO schema_migrations VALUES ('v0.6', 'baseline', '2025-10-20 00:00:00');
CREATE TABLE scenes (id INTEGER PRIMARY KEY, title TEXT NOT NULL, body JSON);
INSERT INTO scenes VALUES (1, '夏の朝', '{"lines": []}'), (2, 'Straße', NULL);
CREATE INDEX ix_scenes_title ON scenes (title);
CREATE TABLE characters (
    id INTEGER PRIMARY KEY,
    name TEXT UNIQUE,
    portrait_asset_id INTEGER,
    FOREIGN KEY (portrait_asset_id) REFERENCES assets_registry (id)
);
INSERT INTO characters VALUES (1, 'Mara', 1), (2, 'Nobody', NULL);
CREATE TABLE settings (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
INSERT INTO settings VALUES ('theme', x'00ff'), ('lang', 'de');
CREATE TABLE jobs (id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT, payload JSON);
INSERT INTO jobs (kind, payload) VALUES ('render', '{"scene": 1}');
CREATE VIEW titles AS SELECT title FROM scenes;
CREATE TRIGGER keep_scenes BEFORE DELETE ON scenes BEGIN SELECT RAISE(ABORT, 'kept'); END;
"""


@dataclass(frozen=True)
class Item:
    """One asset to put in. ``has_provenance`` serves for the eras that could record any."""

    path: str
    tags: tuple[str, ...] = ()
    license: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    project: str = "default"
    has_provenance: bool = True

    @property
    def type(self) -> str:
        """The asset's type: its first folder."""
        return PurePosixPath(self.path).parts[0]


STANDARD = (
    Item("characters/mara.png", ("mara", "smile"), "CC-BY-4.0", {"artist": "J. Doe"}),
    Item("characters/mara/夏.png", ("Mara", "夏"), None, {"mood": "dawn", "notes": ["a", "b"]}),
    Item("backgrounds/harbour.jpg", (), "unknown", {"origin": "a walk", "seed": 7}),
    Item("audio/bell.wav", ("bell",), "CC0-1.0", {"source": "field recorder"}),
    Item("documents/readme.txt", ("text",), None, {}, has_provenance=False),
)


@dataclass(frozen=True)
class OldAsset:
    """What was put in of one asset: its row, its provenance rows as stored, its files.

    ``original`` is the content that was hashed, ``content`` what lies on disk (an old stamp changed it).
    """

    item: Item
    row: Mapping[str, Any]
    provenance: tuple[Mapping[str, Any], ...]
    original: bytes
    content: bytes
    thumbs: tuple[str, ...]

    @property
    def uid(self) -> str:
        """The uid that the asset has, or gets by the old rule."""
        return str(self.row.get("uid") or self.row["hash"][:16])

    @property
    def path(self) -> str:
        """Where the file lies under the assets folder."""
        return self.item.path

    @property
    def is_stamped(self) -> bool:
        """Tell whether the file differs from what was hashed."""
        return self.original != self.content


@dataclass(frozen=True)
class OldLibrary:
    """A library that `build` made."""

    folder: Path
    era: Era
    db: Path
    assets_root: Path
    thumbs_root: Path
    assets: tuple[OldAsset, ...]


def build(
    folder: Path,
    era: Era,
    assets: Sequence[Item] = STANDARD,
    *,
    layout: Literal["mirror", "beside", "json"] | None = None,
) -> OldLibrary:
    """Write a library of an older release into a project folder.

    Args:
        folder: the project folder; made if missing.
        era: "1", "2", "3" (opening a database of era 1 or 2), "3-fresh" (its provenance table has the shape
            of v0.6, so no row could be recorded) or "v0.6" (never opened by a registry).
        assets: what to put in; ids count from 1 in this order.
        layout: where sidecars lie: "mirror" alone, "beside" the asset and as mirror, or as
            ``<filename>.json``; as the era did by default. v0.6 had none.
    """
    root = folder / ("data/assets" if era == "1" else "assets")
    library = OldLibrary(
        folder=folder,
        era=era,
        db=folder / "comfyvn" / "data" / "comfyvn.db",
        assets_root=root,
        thumbs_root=folder / "cache" / "thumbs",
        assets=tuple(_old_asset(item, number, era) for number, item in enumerate(assets, 1)),
    )
    for place in (library.db.parent, root, library.thumbs_root):
        place.mkdir(parents=True, exist_ok=True)
    write_database(library.db, era, library.assets)
    for asset in library.assets:
        _write_files(library, asset, layout or ("mirror" if era == "1" else "beside"))
    return library


def write_database(path: Path, era: Era, assets: Sequence[OldAsset] = ()) -> None:
    """Write the database of an era with some assets, and tables of other ComfyVN parts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tables = _BASELINE_REGISTRY if era == "v0.6" else _REGISTRY
    tables += _BASELINE_LEDGER if era in ("3-fresh", "v0.6") else _LEDGER
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(tables + _OTHERS)
        for asset in assets:
            insert(connection, "assets_registry", asset.row)
            for row in asset.provenance:
                insert(connection, "provenance", row)
            if era == "v0.6" and asset.thumbs:
                values = {"asset_id": asset.row["id"], "path": asset.thumbs[0], "w": 256, "h": 192}
                insert(connection, "thumbnails", values)
        connection.commit()


def insert(connection: sqlite3.Connection, table: str, values: Mapping[str, Any]) -> None:
    """Insert one row as it stands, whatever it holds."""
    names = ", ".join(f'"{name}"' for name in values)
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))


# -- one asset ----------------------------------------------------------------------------------------


def _old_asset(item: Item, number: int, era: Era) -> OldAsset:
    original = _content(item.path, number)
    digest = hashlib.sha256(original).hexdigest()
    created_at = f"2025-10-2{number % 10} 09:14:{number % 60:02}"
    thumbs = _thumb_names(item.path, digest[:16], era)
    meta = _old_meta(item, thumbs, era)
    row: dict[str, Any] = {"id": number}
    if era == "v0.6":
        row |= {"type": item.type, "path": item.path, "hash": digest, "bytes": len(original)}
        row |= {"meta_json": json.dumps(meta) if meta else None, "created_at": created_at}
    else:
        row |= {"project_id": item.project, "uid": digest[:16], "type": item.type, "path_full": item.path}
        row |= {"path_thumb": thumbs[0] if thumbs else None, "hash": digest, "bytes": len(original)}
        row |= {"created_at": created_at, "meta": json.dumps(meta)}
    provenance = _old_provenance(item, number, digest, created_at, era)
    is_stamped = bool(provenance) and era != "v0.6" and item.path.endswith(".png")
    content = _stamp(original, provenance[0]) if is_stamped else original
    return OldAsset(item, row, provenance, original, content, thumbs)


def _old_meta(item: Item, thumbs: tuple[str, ...], era: Era) -> dict[str, Any]:
    if era == "v0.6":
        stated = {"tags": list(item.tags), "license": item.license, **item.meta}
        return {name: value for name, value in stated.items() if value}
    meta = {"tags": list(item.tags), "license": item.license, "version": 1, **item.meta}
    if era in ("3", "3-fresh") and thumbs:
        if item.path.endswith(".wav"):
            return {**meta, "preview": {"kind": "waveform", "path": thumbs[0]}}
        sizes = dict(zip(("256", "512"), thumbs, strict=True))
        preview = {"kind": "thumbnail", "paths": sizes, "default": thumbs[0]}
        return {**meta, "preview": preview, "thumbnails": sizes}
    return meta


def _thumb_names(path: str, uid: str, era: Era) -> tuple[str, ...]:
    suffix = PurePosixPath(path).suffix
    if suffix == ".wav":
        return () if era in ("1", "v0.6") else (f"cache/thumbs/{uid}.waveform.json",)
    if suffix not in (".png", ".jpg"):
        return ()
    if era in ("3", "3-fresh"):
        return (f"cache/thumbs/{uid}_256{suffix}", f"cache/thumbs/{uid}_512{suffix}")
    return (f"cache/thumbs/{uid}{suffix}",)


def _old_provenance(
    item: Item, number: int, digest: str, created_at: str, era: Era
) -> tuple[Mapping[str, Any], ...]:
    if not item.has_provenance or era == "3-fresh":
        return ()
    if era == "v0.6":
        more = json.dumps({"sampler": "euler", "steps": number})
        row = {"asset_id": number, "seed": str(1000 + number), "tool": "comfyui", "workflow": f"wf-{number}"}
        return ({**row, "commit": f"ab{number}", "meta_json": more},)
    rows = []
    for turn in (1, 2):  # a second one for every asset that was registered again
        if turn == 2 and number % 2 == 0:
            break
        inputs = {"prompt": f"mara, take {turn}", "asset_uid": digest[:16], "asset_hash": digest}
        rows.append(
            {
                "id": 10 * number + turn,
                "project_id": item.project,
                "asset_id": number,
                "source": "comfyui" if turn == 1 else "api.upload",
                "workflow_hash": hashlib.sha256(f"{number} {turn}".encode()).hexdigest(),
                "commit_hash": f"ab{number}",
                "inputs_json": json.dumps(inputs),
                "c2pa_like": json.dumps({"claim": number}) if turn == 1 else None,
                "user_id": "jd",
                "created_at": created_at,
            }
        )
    return tuple(rows)


def _content(path: str, number: int) -> bytes:
    suffix = PurePosixPath(path).suffix
    sink = io.BytesIO()
    if suffix in (".png", ".jpg"):
        image = Image.new("RGB", (96, 72), (number * 37 % 256, number * 91 % 256, number * 53 % 256))
        image.putpixel((number % 96, number // 96 % 72), (255, 255, 255))
        # every second one as another program packs it: saving it again gives other bytes
        level = {"compress_level": 1} if number % 2 else {}
        image.save(sink, format="PNG" if suffix == ".png" else "JPEG", **level)
    elif suffix == ".wav":
        with wave.open(sink, "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(8000)
            points = (int(9000 * math.sin(at * number / 9)) for at in range(1600))
            sound.writeframes(b"".join(struct.pack("<h", point) for point in points))
    else:
        sink.write(f"file number {number}\n".encode())
    return sink.getvalue()


def _stamp(content: bytes, row: Mapping[str, Any]) -> bytes:
    """Stamp as the old releases did: saved again with one text chunk of four keys, after hashing."""
    keys = ("source", "workflow_hash", "created_at")
    text = PngImagePlugin.PngInfo()
    value = {"provenance_id": row["id"], **{key: row[key] for key in keys}}
    text.add_text("comfyvn_provenance", json.dumps(value))
    sink = io.BytesIO()
    with Image.open(io.BytesIO(content)) as image:
        image.save(sink, format="PNG", pnginfo=text)
    return sink.getvalue()


# -- files --------------------------------------------------------------------------------------------


def _write_files(library: OldLibrary, asset: OldAsset, layout: str) -> None:
    place = library.assets_root / asset.path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(asset.content)
    for name in asset.thumbs:
        _write_thumb(library.thumbs_root / PurePosixPath(name).name, asset.original)
    if library.era == "v0.6":
        return
    text = json.dumps(_sidecar(library.era, asset), indent=2, ensure_ascii=False)
    if layout == "json":
        place.with_name(f"{place.name}.json").write_text(text, "utf-8")
        return
    mirror = library.assets_root / "_meta" / PurePosixPath(asset.path).with_suffix(".json")
    mirror.parent.mkdir(parents=True, exist_ok=True)
    mirror.write_text(text, "utf-8")
    if layout == "beside":
        place.with_name(f"{place.name}.asset.json").write_text(text, "utf-8")


def _write_thumb(place: Path, original: bytes) -> None:
    if place.name.endswith(".waveform.json"):
        points = [0.5] * 512
        shape = {"kind": "waveform", "channels": 1, "sample_rate": 8000, "points": points}
        place.write_text(json.dumps(shape), "utf-8")
        return
    with Image.open(io.BytesIO(original)) as image:
        image.thumbnail((256, 256))
        image.save(place)


def _sidecar(era: Era, asset: OldAsset) -> dict[str, Any]:
    row, meta = asset.row, json.loads(asset.row["meta"])
    newest = asset.provenance[-1] if asset.provenance else None
    provenance = None
    if newest is not None:
        provenance = {name: newest[name] for name in ("id", "asset_id", "source", "workflow_hash")}
        provenance |= {name: newest[name] for name in ("commit_hash", "user_id", "created_at")}
        provenance |= {"inputs": json.loads(newest["inputs_json"]), "asset_uid": row["uid"]}
        provenance["c2pa_like"] = json.loads(newest["c2pa_like"] or "{}")
    short = {"uid": row["uid"], "type": row["type"], "path": row["path_full"], "hash": row["hash"]}
    short["bytes"] = row["bytes"]
    tail = {} if provenance is None else {"provenance": provenance}
    if era in ("1", "2"):
        return {**short, "meta": meta, **tail}
    preview = meta.get("preview")
    links: dict[str, Any] = {"file": asset.path, "sidecar": f"{asset.path}.asset.json"}
    if "thumbnails" in meta:
        links |= {"thumbnail": row["path_thumb"], "thumbnails": meta["thumbnails"]}
    elif preview:
        links["preview"] = preview["path"]
    facts = {"tags": meta["tags"], "license": meta["license"], "origin": meta.get("origin")}
    return {
        "id": row["uid"],
        **short,
        **facts,
        "version": 1,
        "created_at": row["created_at"],
        "meta": meta,
        **({"preview": preview} if preview else {}),
        "links": links,
        **tail,
    }
