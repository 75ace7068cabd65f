"""Real small disks for tests: file systems in memory that can be full or read-only."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import TIMEOUT_S


@contextmanager
def small_disk(place: Path, size_bytes: int) -> Iterator[Path]:
    """Mount a real file system of some size at a folder; skip the test where that is not permitted."""
    place.mkdir(parents=True, exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs"]
    if not _mount(*options, str(place)):
        pytest.skip("a small disk can't be mounted here: needs Linux and the right to mount")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], timeout=TIMEOUT_S, check=True)


def remount(place: Path, *, is_read_only: bool) -> None:
    """Make a disk of `small_disk` read-only, or writable again."""
    assert _mount("-o", f"remount,{'ro' if is_read_only else 'rw'}", str(place))


def _mount(*arguments: str) -> bool:
    try:
        done = subprocess.run(
            ["mount", *arguments],
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except OSError:  # no such program
        return False
    return done.returncode == 0
