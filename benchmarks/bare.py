"""The bare work: what each job costs in a few plain lines, with no library, no rules and no promises."""

from __future__ import annotations

import hashlib
import io
import json
import operator
import os
import sqlite3
import wave
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

SIDECAR = ".asset.json"
_RECORD_TABLE = "CREATE TABLE record (id INTEGER PRIMARY KEY, uid TEXT, path TEXT, hash TEXT, meta TEXT)"
_STAT_TABLE = """CREATE TABLE remembered (path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER,
    inode INTEGER, sidecar_size INTEGER, sidecar_mtime_ns INTEGER, sidecar_inode INTEGER) WITHOUT ROWID"""


def copy(source: Path, folder: Path) -> str:
    """Read a file, hash it, write the copy; return its SHA-256."""
    data = source.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    write(folder / source.name, data)
    return digest


def write(path: Path, data: bytes, *, is_synced: bool = False) -> None:
    with path.open("wb", buffering=0) as file:
        file.write(data)
        if is_synced:
            os.fsync(file.fileno())


def register(source: Path, folder: Path) -> None:
    """Read, hash, copy, and three small synced writes: sidecar, mirror, and the place of the ledger's row."""
    digest = copy(source, folder)
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
    """Decode a sound and reduce it to 512 pairs of least and greatest."""
    samples = decode_wav(source) if source.suffix == ".wav" else decode_sound(source)
    length = max(1, samples.size // 512)
    parts = samples.reshape(-1)[: length * 512].reshape(-1, length)
    pairs = [parts.min(axis=1).tolist(), parts.max(axis=1).tolist()]
    (folder / f"{source.name}.json").write_text(json.dumps(pairs))


def decode_wav(source: Path) -> Any:
    import numpy as np

    with wave.open(str(source)) as sound:
        return np.frombuffer(sound.readframes(sound.getnframes()), dtype="<i2")


def decode_sound(source: Path) -> Any:
    """Return one channel, decoded with PyAV."""
    import av
    import numpy as np

    with av.open(str(source)) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


def take_in(source: Path, folder: Path) -> None:
    """Read, hash, copy, decode once, two thumbnails (of a sound: its waveform)."""
    copy(source, folder)
    is_picture = source.suffix in (".png", ".jpg", ".webp")
    (thumbnails if is_picture else waveform)(source, folder)


def take_in_on_two_threads(sources: Sequence[Path], folder: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda source: take_in(source, folder), sources))


def check_on_two_threads(records: dict[Path, str]) -> int:
    """Read files and compare their SHA-256; return how many are right."""
    with ThreadPoolExecutor(2) as pool:
        return sum(map(operator.eq, records.values(), pool.map(hash_file, records)))


def rewrite(records: dict[Path, bytes]) -> None:
    """Write small files over their older selves, then sync them and their folders."""
    for path, data in records.items():
        write(path, data)
    for path in (*records, *{path.parent for path in records}):
        number = os.open(path, os.O_RDONLY)
        os.fsync(number)
        os.close(number)


def write_records(names: Sequence[str], folder: Path) -> None:
    """Write a sidecar and a mirror for each name, 250 to a folder, and all rows in one batched insert."""
    rows: list[tuple[Any, ...]] = []
    for number, name in enumerate(names):
        below = f"part{number // 250:04}"
        if number % 250 == 0:
            for top in ("sidecars", "mirrors"):
                (folder / top / below).mkdir(parents=True)
        digest = f"{number:064x}"
        note = describe(name, digest)
        write(folder / "sidecars" / below / f"{name}.asset.json", note)
        write(folder / "mirrors" / below / f"{name}.json", note)
        rows.append((digest[:16], name, digest, note.decode()))
    connection = sqlite3.connect(folder / "rows.db")
    with connection:
        connection.execute(_RECORD_TABLE)
        connection.executemany("INSERT INTO record (uid, path, hash, meta) VALUES (?, ?, ?, ?)", rows)
    connection.close()


def remember(root: Path, db: Path) -> None:
    """Note size, time and inode of every file below a folder and of its sidecar, as a ledger does."""
    found = walk(root)
    rows = [
        (key, *stat, *found.get(key + SIDECAR, (0, 0, 0)))
        for key, stat in found.items()
        if not key.endswith(SIDECAR)
    ]
    connection = sqlite3.connect(db)
    with connection:
        connection.execute(_STAT_TABLE)
        connection.executemany("INSERT INTO remembered VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    connection.close()


def compare(root: Path, db: Path) -> int:
    """Compare every file below a folder with what was noted; return how many are as they were."""
    found, same = walk(root), 0
    connection = sqlite3.connect(db)
    for row in connection.execute("SELECT * FROM remembered ORDER BY path"):
        same += found.get(row[0]) == row[1:4] and found.get(row[0] + SIDECAR) == row[4:]
    connection.close()
    return same


def walk(root: Path) -> dict[str, tuple[int, int, int]]:
    """Return size, time and inode of every file below a folder but mirrors and our own."""
    found: dict[str, tuple[int, int, int]] = {}
    folders = [""]
    while folders:
        below = folders.pop()
        with os.scandir(root / below) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    stat = entry.stat(follow_symlinks=False)
                    found[below + entry.name] = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
                elif below or entry.name not in ("_meta", ".comfyvn"):
                    folders.append(f"{below}{entry.name}/")
    return found


def read_all(root: Path, *, threads: int) -> int:
    """Read and hash every file below a folder, parse every sidecar; return how many files that were."""
    sidecars: list[Path] = []
    files: list[Path] = []
    for key in walk(root):
        (sidecars if key.endswith(SIDECAR) else files).append(root / key)
    if threads == 1:
        for file in files:
            hash_file(file)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(hash_file, files))
    for sidecar in sidecars:
        json.loads(sidecar.read_bytes())
    return len(files)


def hash_file(path: Path) -> str:
    sha256 = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(1 << 20):
            sha256.update(block)
    return sha256.hexdigest()


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
