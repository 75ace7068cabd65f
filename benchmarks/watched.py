"""How soon ``comfyvn ingest --watch`` registers a finished picture, and what an adapter costs a folder.

See ``README.md``. Everything is generated into a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from comfyvn.registry.ingest import Selection, ingest
from comfyvn.registry.ingest_watch import watch_selection
from comfyvn.studio.core import AssetRegistry
from comfyvn.studio.core.previews import POOL

_SIDE_PX = 1_024
_TINY_PX = 8
_LIMIT_S = 30.0
_ROUNDS = 5


def main() -> None:
    """Measure, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=50, help="pictures that are watched for")
    parser.add_argument("--files", type=int, default=10_000, help="files of the folder")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        waits_s = sorted(_waits(Path(folder), wanted.pictures))
        print(
            f"from the last byte of a picture of {_SIDE_PX} px to its record: median "
            f"{statistics.median(waits_s):.2f} s, longest {waits_s[-1]:.2f} s of {len(waits_s)}"
        )
        output = _write_tiny(Path(folder) / "tiny", wanted.files)
        taken_s: dict[str | None, list[float]] = {None: [], "comfyui": []}
        for _ in range(_ROUNDS):  # by turns: the disk has better and worse times
            for name, found_s in taken_s.items():
                found_s.append(_ingest_s(output, Path(folder), name))
        plain_s, adapter_s = (min(found_s) for found_s in taken_s.values())
        print(
            f"{wanted.files} tiny files: {plain_s:.1f} s, with the adapter comfyui {adapter_s:.1f} s, "
            f"{adapter_s / plain_s:.2f} x"
        )


def _waits(folder: Path, count: int) -> Iterator[float]:
    output = folder / "output"
    output.mkdir()
    Image.effect_noise((_SIDE_PX, _SIDE_PX), 40).save(output / "first_00001_.png")
    done: dict[str, float] = {}
    arrived, stop = threading.Event(), threading.Event()

    def note(path: str) -> None:
        done[Path(path).name] = time.monotonic()
        arrived.set()

    with _registry(folder / "watched") as registry:
        watch = threading.Thread(
            target=watch_selection,
            args=(Selection([output], adapter="comfyui"), registry),
            kwargs={"stop": stop, "on_item": lambda item: note(item.file), "on_trouble": print},
        )
        watch.start()
        arrived.wait(_LIMIT_S)
        for number in range(count):
            arrived.clear()
            path = output / f"mara_{number:05}_.png"
            Image.effect_noise((_SIDE_PX, _SIDE_PX), 40).convert("RGB").save(path)
            finished_s = time.monotonic()
            if not arrived.wait(_LIMIT_S):
                raise SystemExit(f"{path.name} was not registered within {_LIMIT_S} s")
            yield done[path.name] - finished_s
            time.sleep(random.random() / 5)
        stop.set()
        watch.join()


def _write_tiny(folder: Path, count: int) -> Path:
    for number in range(count):
        path = folder / f"type{number % 5}" / f"group{number % 40}" / f"mara_{number:05}_.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = (number & 255, number >> 8 & 255, 0)
        Image.new("RGB", (_TINY_PX, _TINY_PX), colour).save(path)
    return folder


def _ingest_s(output: Path, folder: Path, adapter: str | None) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as home, _registry(Path(home)) as registry:
        started_s = time.perf_counter()
        for item in ingest(Selection([output], adapter=adapter), registry):
            if item.status != "registered":
                raise SystemExit(f"{item.file}: {item.status}: {item.reason}")
        taken_s = time.perf_counter() - started_s
        POOL.cancel()
    return taken_s


@contextmanager
def _registry(home: Path) -> Iterator[AssetRegistry]:
    home.mkdir(exist_ok=True)
    os.environ["COMFYVN_HOME"] = str(home)
    with AssetRegistry(durability="batch") as registry:
        yield registry


if __name__ == "__main__":
    main()
