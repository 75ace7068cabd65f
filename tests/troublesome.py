"""A stranger's media format whose decoder does what its files tell it: crash, hang, eat memory and worse.

A file is a line of words: ``TROUBLE <what> <anything>``. The package's metadata is put where a test says.
"""

from __future__ import annotations

import ctypes
import io
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from PIL import Image

from comfyvn.errors import PreviewFailed
from comfyvn.media import PreviewLimits, Rendered
from comfyvn.model import PreviewKind

LOG = "TROUBLE_LOG"
"""The environment variable that names a file: each preview adds a line ``<process> <what>``."""
_POINT = "[comfyvn.formats]\n{name} = troublesome:{kind}\n"
_leaked: list[bytearray] = []


def install(site: Path, kind: str = "TroubleFormat") -> Path:
    """Write the metadata of an installed package with this format; return the folder for ``sys.path``."""
    folder = site / f"{kind.lower()}-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {kind}\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(_POINT.format(name=kind.lower(), kind=kind))
    return site


def content(what: str, salt: str = "") -> bytes:
    """Return a file that makes its decoder do something."""
    return f"TROUBLE {what} {salt}\n".encode()


class TroubleFormat:
    """The troublesome format, shown as a still picture."""

    name = "trouble"
    preview_kind: PreviewKind | None = "thumbnail"

    def sniff(self, head: bytes, name: str) -> bool:
        return head.startswith(b"TROUBLE ")

    def probe(self, file: BinaryIO) -> dict[str, Any]:
        what = file.read().decode().split()[1]
        if what == "crash-at-once":
            ctypes.string_at(0)
        if what == "odd-facts":
            return {
                "width": 1,
                "nan": float("nan"),
                "set": {1},
                "half": "\ud800",
                "tags": 5,
                "long": "x" * 1_000_000,
            }
        return {"width": 1, "codec": what}

    def preview(self, file: BinaryIO, limits: PreviewLimits) -> Rendered:
        what = file.read().decode().split()[1]
        if LOG in os.environ:
            with Path(os.environ[LOG]).open("a") as log:
                log.write(f"{os.getpid()} {what}\n")
        do = getattr(self, f"_{what.replace('-', '_')}", None)
        if do is not None:
            do()
        if what == "no-preview":
            return None  # type: ignore[return-value]
        if what == "other-files":
            return Rendered({"256": picture(), "1024": picture()})
        if what == "text-files":
            return Rendered({"256": "text", "512": "text"})  # type: ignore[dict-item]
        return Rendered({"256": picture(), "512": picture()}, {"height": 1})

    def unavailable(self) -> str | None:
        return None

    def _crash(self) -> None:
        ctypes.string_at(0)

    def _abort(self) -> None:
        os.abort()

    def _hang(self) -> None:
        while True:
            time.sleep(60)

    def _hang_deaf(self) -> None:
        """Sleep in C code that does not let other threads of Python run."""
        ctypes.PyDLL(None).sleep(600)

    def _spin(self) -> None:
        while True:
            pass

    def _eat(self) -> None:
        bytearray(4 << 30)

    def _leak(self) -> None:
        _leaked.append(bytearray(150 << 20))

    def _shout(self) -> None:
        """Fill every place where a decoder may print."""
        for _ in range(2_000):
            print("garbage" * 20)
            print("garbage" * 20, file=sys.__stdout__)
            os.write(1, b"\0\0\0\xff{garbage" * 20)
            os.write(2, b"\xff\xfe garbage\n" * 20)

    def _nap(self) -> None:
        time.sleep(1)

    def _exit(self) -> None:
        os._exit(3)

    def _quit(self) -> NoReturn:
        sys.exit("enough")

    def _scribble(self) -> None:
        """Write into every file that is open, the messages' own included."""
        for number in range(3, 64):
            try:
                os.write(number, b"\0\0\0\x02{}")
            except OSError:
                continue

    def _hang_up(self) -> None:
        os.closerange(3, 64)
        self._hang()

    def _move_out(self) -> None:
        """Die, and leave a child of another group behind that holds all that was open."""
        if os.fork() == 0:
            os.setsid()
            time.sleep(4)
        os._exit(3)

    def _chatter(self) -> NoReturn:
        raise PreviewFailed(why="\ud800" + "w" * 100_000)

    def _killed_once(self) -> None:
        """Be killed by somebody else, the first time."""
        if Path(os.environ[LOG]).read_text().count("killed-once") == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    def _killed_always(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _fail(self) -> None:
        raise RuntimeError("not my day")


class LongTroubleFormat(TroubleFormat):
    """The same as a sound."""

    name = "longtrouble"
    preview_kind: PreviewKind | None = "waveform"

    def sniff(self, head: bytes, name: str) -> bool:
        return head.startswith(b"TROUBLE ") and name.endswith(".sound")


def picture() -> bytes:
    """Return a small WebP picture."""
    sink = io.BytesIO()
    Image.new("RGB", (1, 1)).save(sink, "WEBP")
    return sink.getvalue()
