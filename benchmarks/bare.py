"""The bare work: what each job costs in a few plain lines, with no library, no rules and no promises."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sqlite3
import wave
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_RECORD_TABLE = "CREATE TABLE record (id INTEGER PRIMARY KEY, uid TEXT, path TEXT, hash TEXT, meta TEXT)"


def copy(source: Path, folder: Path, *, is_synced: bool = False) -> str:
    """Read a file, hash it, write the copy; return its SHA-256."""
    data = source.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    write(folder / source.name, data, is_synced=is_synced)
    return digest


def write(path: Path, data: bytes, *, is_synced: bool = False) -> None:
    with path.open("wb", buffering=0) as file:
        file.write(data)
        if is_synced:
            os.fsync(file.fileno())


def register(source: Path, folder: Path, *, is_synced_copy: bool = False) -> None:
    """Read, hash, copy, and three small synced writes: sidecar, mirror, and the place of the ledger's row."""
    digest = copy(source, folder, is_synced=is_synced_copy)
    note = describe(source.name, digest)
    for suffix in (".asset.json", ".mirror.json", ".row.json"):
        write(folder / (source.name + suffix), note, is_synced=True)


def thumbnails(source: Path, folder: Path) -> None:
    """Decode a picture once and write it at 512 px, and at 256 px made from that."""
    from PIL import Image

    with Image.open(source) as image:
        for side_px in (512, 256):
            image.thumbnail((side_px, side_px), Image.Resampling.LANCZOS, reducing_gap=1.0)
            sink = io.BytesIO()
            image.save(sink, "WEBP", quality=80, method=1)
            (folder / f"{source.name}_{side_px}.webp").write_bytes(sink.getvalue())


def waveform(source: Path, folder: Path) -> None:
    """Reduce a voice to 512 peaks."""
    import numpy as np

    with wave.open(str(source)) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), dtype="<i2").astype(np.int32)
    peaks = [int(part.max()) for part in np.array_split(np.abs(samples), 512)]
    (folder / f"{source.name}.json").write_text(json.dumps(peaks))


def take_in(source: Path, folder: Path) -> None:
    """Read, hash, copy, decode once, two thumbnails (of a voice: its waveform)."""
    copy(source, folder)
    (waveform if source.suffix == ".wav" else thumbnails)(source, folder)


def take_in_on_two_threads(sources: Sequence[Path], folder: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda source: take_in(source, folder), sources))


def check_on_two_threads(records: dict[Path, str]) -> int:
    """Read files and compare their SHA-256; return how many are right."""

    def is_right(path: Path) -> bool:
        sha256 = hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            while block := file.read(1 << 20):
                sha256.update(block)
        return sha256.hexdigest() == records[path]

    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(is_right, records))


def rewrite(records: dict[Path, bytes]) -> None:
    """Write small files over their older selves, then sync them and their folders."""
    for path, data in records.items():
        write(path, data)
    for path in (*records, *{path.parent for path in records}):
        number = os.open(path, os.O_RDONLY)
        os.fsync(number)
        os.close(number)


def register_tiny(sources: Sequence[Path], folder: Path) -> None:
    """Copy tiny files, write sidecar and mirror of each, and all rows in one batched insert."""
    rows: list[tuple[Any, ...]] = []
    for source in sources:
        digest = copy(source, folder)
        note = describe(source.name, digest)
        write(folder / (source.name + ".asset.json"), note)
        write(folder / (source.name + ".mirror.json"), note)
        rows.append((digest[:16], source.name, digest, note.decode()))
    connection = sqlite3.connect(folder / "rows.db")
    with connection:
        connection.execute(_RECORD_TABLE)
        connection.executemany("INSERT INTO record (uid, path, hash, meta) VALUES (?, ?, ?, ?)", rows)
    connection.close()


def describe(name: str, digest: str) -> bytes:
    """Return a record as large as a real sidecar."""
    meta = {"tags": ["bench", "night"], "license": "CC0-1.0", "version": 1, "note": "x" * 600}
    record = {
        "uid": digest[:16],
        "path": name,
        "hash": digest,
        "created_at": "2026-01-01 00:00:00",
        "meta": meta,
    }
    return (json.dumps(record, indent=2) + "\n").encode()
