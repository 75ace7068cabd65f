"""Kill a real process before each step of an operation that changes something on disk.

A step is a file opened for writing, moved, linked, removed or synced, a folder made or removed, a statement
of a write transaction with its BEGIN and COMMIT, and each report to the caller. Nothing in the product knows
of this: Python's audit hooks and SQLite's trace tell of the steps.

Run as a program this is a small server: it forks a process for each kill, so that a kill costs no imports.
"""

from __future__ import annotations

import dataclasses
import importlib
import io
import json
import math
import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
import wave
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from PIL import Image

import legacy
from comfyvn.media.isolation import WORKERS
from comfyvn.registry.rebuild import rebuild
from comfyvn.studio.core import AssetRegistry
from support import TIMEOUT_S, open_library, settle

Report = Callable[[list[str]], None]
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES: Final = frozenset(
    {"os.rename", "os.link", "os.symlink", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.utime"}
)
_BROKEN: Final = frozenset(f"characters/mara.png.asset.json.broken{end}" for end in ("", "-2"))
_MOVED: Final = "people/heroine.png"
_STATEMENTS: Final = ("INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "SAVEPOINT", "RELEASE")


# -- counting, and dying --------------------------------------------------------------------------------


class Steps:
    """Counts the steps of this process below a folder; before one of them the process dies."""

    def __init__(self, home: Path, deadly: int | None, tell: Callable[[str, Any], None]) -> None:
        self._home = f"{home}{os.sep}"
        self._deadly = deadly
        self._tell = tell
        self._lock = threading.RLock()
        self._count = 0
        self.is_counting = False

    def install(self) -> None:
        """Listen to what this process does; there is no way back."""
        sys.addaudithook(self._on_event)
        os.fsync = self._on_sync  # what a killed process wrote survives it without
        connect = sqlite3.connect

        def watched(*arguments: Any, **named: Any) -> sqlite3.Connection:
            connection = connect(*arguments, **named)
            connection.set_trace_callback(_Statements(self).on_statement)
            return connection

        sqlite3.connect = sqlite3.dbapi2.connect = watched

    def take(self, name: str) -> None:
        """Count a step that is about to be done."""
        if not self.is_counting:
            return
        with self._lock:
            self._tell("step", name.replace(self._home, ""))
            if self._count == self._deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            self._count += 1

    def _on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if flags & _WRITING and self._is_ours(path):
                self.take(f"open {path}")
        elif event in _CHANGES and self._is_ours(arguments[0]) and not self._is_idle(event, arguments[0]):
            self.take(" ".join([event, *(each for each in arguments if isinstance(each, str))]))

    def _on_sync(self, number: int) -> None:
        self.take(f"fsync {number}")

    def _is_ours(self, path: object) -> bool:
        """Tell a path in the project; one that is relative to an open folder is of a folder being removed."""
        text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
        return text.startswith(self._home) or (text != "" and not Path(text).is_absolute())

    def _is_idle(self, event: str, path: str) -> bool:
        """Tell what changes nothing: making a folder that is there, removing what is gone."""
        is_there = os.path.lexists(path)
        return is_there if event == "os.mkdir" else Path(path).is_absolute() and not is_there


class _Statements:
    """Counts the statements of one connection that belong to write transactions."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._is_writing = False

    def on_statement(self, statement: str) -> None:
        words = statement.split(maxsplit=3)
        if words[0] == "BEGIN":
            self._is_writing = words[1:2] == ["IMMEDIATE"]
        is_counted = self._is_writing and words[0] in ("BEGIN", "COMMIT", "ROLLBACK", *_STATEMENTS)
        if is_counted or statement == "PRAGMA journal_mode = WAL":
            self._steps.take(" ".join(words[:3]))


# -- operations -----------------------------------------------------------------------------------------


def _nothing(home: Path) -> None:
    """Arrange nothing."""


@dataclasses.dataclass(frozen=True)
class Operation:
    """Something that a user does.

    ``run`` does it and may be called again; it reports the uids of what it was told is done. ``arrange``
    is what happened before. ``is_new``: the project folder was empty before that, and opening the library
    belongs to it. ``is_adopting``: a file that came in, but was not recorded, is found by the rebuild without
    what the caller said of it. ``is_unmendable``: a rebuild alone does not put the library right.
    ``strangers`` are keys that no asset owns afterwards.
    """

    run: Callable[[AssetRegistry, Path, Report], object]
    arrange: Callable[[Path], object] = _nothing
    is_new: bool = False
    is_adopting: bool = False
    is_unmendable: bool = False
    strangers: frozenset[str] = frozenset()


def picture(path: Path, seed: int) -> Path:
    """Make a small PNG file; another seed gives another one."""
    image = Image.new("RGB", (24, 16), (seed * 37 % 256, seed * 91 % 256, seed * 53 % 256))
    sink = io.BytesIO()
    image.save(sink, "PNG")
    return save(path, sink.getvalue())


def sound(path: Path, seed: int) -> Path:
    """Make a short WAV file; another seed gives another one."""
    sink = io.BytesIO()
    with wave.open(sink, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
        samples = (int(9_000 * math.sin(at * (seed + 3) / 40)) for at in range(800))
        file.writeframes(b"".join(struct.pack("<h", each) for each in samples))
    return save(path, sink.getvalue())


def save(path: Path, data: bytes) -> Path:
    """Save a file as careful programs do: under another name first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_bytes(data)
    return beside.replace(path)


def build_library(home: Path) -> None:
    """Make the small library on which operations are tried, with art beside it that is not registered yet."""
    art = home / "art"
    for seed, name in enumerate(["mara.png", "eiko.png", "new.png", "other/mara.png", "own.png"]):
        picture(art / name, seed)
    for seed, name in enumerate(["door.wav", "rain.wav"]):
        sound(art / name, seed)
    with open_library(home) as registry:
        for name, kind in (("mara.png", "characters"), ("eiko.png", "characters"), ("door.wav", "sounds")):
            registry.register_file(
                art / name,
                kind,
                metadata={"tags": [name, "first"], "license": "CC-BY-4.0", "artist": "J. Doe"},
                provenance={"source": "comfyui", "inputs": {"prompt": name}},
            )
        registry.register_file(art / "mara.png", "characters", provenance={"source": "second claim"})
        own = shutil.copyfile(art / "own.png", home / "assets/characters/own.png")
        registry.register_file(own, "characters", metadata={"tags": ["in place"]}, copy_file=False)
        registry.wait_for_thumbnails()
    settle(home)


def copy_library(home: Path, target: Path) -> Path:
    """Copy a project: its files as links, since size, time and inode are what a rebuild goes by."""
    shutil.copytree(home, target, copy_function=os.link)
    for path in target.glob("comfyvn/data/*"):
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    return target


def _register_new(registry: AssetRegistry, home: Path, report: Report) -> None:
    info = registry.register_file(
        home / "art/new.png",
        "characters",
        metadata={"tags": ["new"], "license": "CC0-1.0", "artist": "A. N. Other"},
        provenance={"source": "comfyui", "inputs": {"prompt": "new"}},
    )
    report([info["uid"]])


def _register_sound(registry: AssetRegistry, home: Path, report: Report) -> None:
    report([registry.register_file(home / "art/rain.wav", "sounds", license_tag="CC0-1.0")["uid"]])


def _register_in_place(registry: AssetRegistry, home: Path, report: Report) -> None:
    info = registry.register_file(
        home / "assets/characters/drawn.png", "characters", metadata={"tags": ["drawn"]}, copy_file=False
    )
    report([info["uid"]])


def _register_many(registry: AssetRegistry, home: Path, report: Report) -> None:
    names = {"new.png": "characters", "rain.wav": "sounds", "other/mara.png": "characters"}
    items = [
        {"source_path": home / "art" / name, "asset_type": kind, "metadata": {"tags": ["many"]}}
        for name, kind in names.items()
    ]
    for result in registry.register_many(items):
        assert result["asset"] is not None, result["error"]
        report([result["asset"]["uid"]])


def _register_known(registry: AssetRegistry, home: Path, report: Report) -> None:
    info = registry.register_file(
        home / "art/mara.png",
        "characters",
        metadata={"tags": ["again"], "license": "CC0-1.0"},
        provenance={"source": "third claim"},
    )
    report([info["uid"]])


def _restore_lost(registry: AssetRegistry, home: Path, report: Report) -> None:
    report([registry.register_file(home / "art/mara.png", "characters")["uid"]])


def _edit(registry: AssetRegistry, home: Path, report: Report) -> None:
    uid = _uid(registry, "mara.png")
    registry.update_asset_meta(uid, {"tags": ["edited"], "license": "MIT", "mood": "calm"})
    report([uid])


def _tag(registry: AssetRegistry, home: Path, report: Report) -> None:
    uid = _uid(registry, "mara.png")
    registry.bulk_update_tags([uid], add_tags=["tagged"])
    report([uid])


def _edit_many(registry: AssetRegistry, home: Path, report: Report) -> None:
    uids = sorted(each["uid"] for each in registry.list_assets())
    registry.bulk_update_tags(uids, add_tags=["bulk"], remove_tags=["first"], license_tag="CC0-1.0")
    report(uids)


def _ensure_sidecar(registry: AssetRegistry, home: Path, report: Report) -> None:
    uid = _uid(registry, "mara.png")
    registry.ensure_sidecar(uid)
    report([uid])


def _overwrite_sidecar(registry: AssetRegistry, home: Path, report: Report) -> None:
    uid = _uid(registry, "mara.png")
    registry.ensure_sidecar(uid, overwrite=True)
    report([uid])


def _remove(registry: AssetRegistry, home: Path, report: Report) -> None:
    uid = registry.resolve_uid("characters/mara.png")
    if uid is not None:
        registry.remove_asset(uid, delete_files=True)
        report([uid])


def _remove_many(registry: AssetRegistry, home: Path, report: Report) -> None:
    uids = [each["uid"] for each in registry.list_assets("characters")]
    report(registry.remove_assets(uids, delete_files=True)["removed"])


def _move(registry: AssetRegistry, home: Path, report: Report) -> None:
    uid = registry.resolve_uid("characters/mara.png") or registry.resolve_uid(_MOVED)
    assert uid is not None
    registry.move_asset(uid, _MOVED)
    report([uid])


def _restore(registry: AssetRegistry, home: Path, report: Report) -> None:
    uid = (home / "removed.txt").read_text()
    if registry.get_asset(uid) is None:
        registry.restore_asset(uid)
    report([uid])


def _undo(registry: AssetRegistry, home: Path, report: Report) -> None:
    report(registry.undo(int((home / "operation.txt").read_text()))["undone"])


def _purge(registry: AssetRegistry, home: Path, report: Report) -> None:
    report(registry.purge()["purged"])


def _rebuild(registry: AssetRegistry, home: Path, report: Report) -> None:
    rebuild(registry, allow_missing=True)
    registry.wait_for_thumbnails()
    report([each["uid"] for each in registry.list_assets()])


def _uid(registry: AssetRegistry, name: str) -> str:
    uid = registry.resolve_uid(f"characters/{name}")
    assert uid is not None
    return uid


def _draw(home: Path) -> None:
    picture(home / "assets/characters/drawn.png", 70)


def _edit_by_hand(home: Path) -> None:
    path = home / "assets/characters/mara.png.asset.json"
    payload = json.loads(path.read_text("utf-8"))
    payload |= {"tags": ["by hand"], "license": "MIT", "note": "kept"}
    save(path, json.dumps(payload).encode())


def _break_sidecar(home: Path) -> None:
    save(home / "assets/characters/mara.png.asset.json", b'{"tags": ["by hand",')


def _remove_before(home: Path) -> None:
    with open_library(home) as registry:
        uid = _uid(registry, "mara.png")
        registry.remove_asset(uid, delete_files=True)
        save(home / "removed.txt", uid.encode())
        save(home / "operation.txt", str(registry.history(uid, limit=1)[0]["operation"]).encode())


def _edit_before(home: Path) -> None:
    with open_library(home) as registry:
        _edit_many(registry, home, lambda uids: None)
        save(home / "operation.txt", str(registry.operations(limit=1)[0]["operation"]).encode())


def _move_before(home: Path) -> None:
    with open_library(home) as registry:
        _move(registry, home, lambda uids: None)
        save(home / "operation.txt", str(registry.operations(limit=1)[0]["operation"]).encode())


def _register_before(home: Path) -> None:
    with open_library(home) as registry:
        _register_new(registry, home, lambda uids: None)
        registry.wait_for_thumbnails()
        save(home / "operation.txt", str(registry.operations(limit=1)[0]["operation"]).encode())


def _lose(home: Path) -> None:
    (home / "assets/characters/mara.png").unlink()


def _lose_and_notice(home: Path) -> None:
    _lose(home)
    settle(home)


def _rename(home: Path) -> None:
    (home / "assets/characters/mara.png").rename(home / "assets/characters/heroine.png")


def _rename_both(home: Path) -> None:
    for end in ("", ".asset.json"):
        (home / f"assets/characters/mara.png{end}").rename(home / f"assets/characters/heroine.png{end}")


def _rename_and_repaint(home: Path) -> None:
    _rename_both(home)
    picture(home / "assets/characters/heroine.png", 81)


def _repaint(home: Path) -> None:
    picture(home / "assets/characters/mara.png", 80)


def _swap(home: Path) -> None:
    one, other, away = (home / "assets/characters" / name for name in ("mara.png", "eiko.png", ".away"))
    one.rename(away)
    other.rename(one)
    away.rename(other)


def _rename_folder(home: Path) -> None:
    (home / "assets/characters").rename(home / "assets/people")


def _delete(*patterns: str) -> Callable[[Path], None]:
    def delete(home: Path) -> None:
        for pattern in patterns:
            for path in home.glob(pattern):
                path.unlink()

    return delete


def _copy_beside(home: Path) -> None:
    shutil.copyfile(home / "assets/characters/mara.png", home / "assets/characters/copy.png")


def _build_old(era: legacy.Era) -> Callable[[Path], object]:
    return lambda home: legacy.build(home, era)


def _upgrade_before(home: Path) -> None:
    legacy.build(home, "3")
    open_library(home).close()


def _open(registry: AssetRegistry, home: Path, report: Report) -> None:
    report([each["uid"] for each in registry.list_assets()])


OPERATIONS: Final[Mapping[str, Operation]] = {
    "the first registration": Operation(_register_new, is_new=True, is_adopting=True),
    "register a picture": Operation(_register_new, is_adopting=True),
    "register a sound": Operation(_register_sound, is_adopting=True),
    "register in place": Operation(_register_in_place, _draw, is_adopting=True),
    "register many": Operation(_register_many, is_adopting=True),
    "register known content": Operation(_register_known),
    "register a lost file again": Operation(_restore_lost, _lose_and_notice, is_adopting=True),
    "edit": Operation(_edit),
    "tag what was edited by hand": Operation(_tag, _edit_by_hand),
    "bulk edit": Operation(_edit_many),
    "take in a hand edit": Operation(_ensure_sidecar, _edit_by_hand),
    "replace a broken sidecar": Operation(
        _overwrite_sidecar, _break_sidecar, is_unmendable=True, strangers=_BROKEN
    ),
    "remove": Operation(_remove),
    "remove many": Operation(_remove_many),
    "move": Operation(_move),
    "move what was edited by hand": Operation(_move, _edit_by_hand),
    "restore": Operation(_restore, _remove_before),
    "undo a bulk edit": Operation(_undo, _edit_before),
    "undo a removal": Operation(_undo, _remove_before),
    "undo a move": Operation(_undo, _move_before),
    "undo a registration": Operation(_undo, _register_before),
    "purge": Operation(_purge, _lose_and_notice),
    "rebuild after a new file": Operation(_rebuild, _draw),
    "rebuild after a copy": Operation(_rebuild, _copy_beside, strangers=frozenset({"characters/copy.png"})),
    "rebuild after a lost file": Operation(_rebuild, _lose),
    "rebuild after a rename": Operation(_rebuild, _rename),
    "rebuild after a rename with sidecar": Operation(_rebuild, _rename_both),
    "rebuild after a rename and a repaint": Operation(_rebuild, _rename_and_repaint),
    "rebuild after a repaint": Operation(_rebuild, _repaint),
    "rebuild after a swap": Operation(_rebuild, _swap),
    "rebuild after a folder was renamed": Operation(_rebuild, _rename_folder),
    "rebuild after a hand edit": Operation(_rebuild, _edit_by_hand),
    "rebuild without sidecars": Operation(_rebuild, _delete("assets/*/*.asset.json")),
    "rebuild without mirrors": Operation(_rebuild, _delete("assets/_meta/*/*.json")),
    "rebuild without previews": Operation(_rebuild, _delete("cache/thumbs/*.webp", "cache/thumbs/*.json")),
    "rebuild without the ledger": Operation(_rebuild, _delete("comfyvn/data/*")),
    **{f"upgrade of era {era}": Operation(_open, _build_old(era), is_new=True) for era in legacy.ERAS},
    "rebuild after an upgrade": Operation(_rebuild, _upgrade_before, is_new=True),
}


# -- the server, in the process that forks --------------------------------------------------------------


def get_ready_to_fork() -> None:
    """Load here what makes and fills a library, and no Python for previews, so that no process has to.

    A process tells which modules that takes: the library itself would leave threads here.
    """
    Image.init()
    WORKERS._is_hopeless = True  # previews are made in the process that wants them
    reading, writing = os.pipe()
    if os.fork() == 0:
        with tempfile.TemporaryDirectory() as folder:
            build_library(Path(folder) / "home")
        os.write(writing, json.dumps([name for name in sys.modules if name != "__main__"]).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        names = json.load(pipe)
    os.wait()
    for name in names:
        with suppress(ImportError):  # what is no module of its own, such as those of the migrations
            importlib.import_module(name)


def serve() -> None:
    """Do one operation in a process of its own for each line of standard input, and answer what it told."""
    get_ready_to_fork()
    for line in sys.stdin:
        wanted = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _run(wanted, writing)
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as pipe:
            told = [json.loads(each) for each in pipe if each.endswith("\n")]
        _, status = os.waitpid(child, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status), "told": told}), flush=True)


def _run(wanted: Mapping[str, Any], pipe: int) -> None:
    """Do an operation and end the process, in one way or the other."""

    def tell(what: str, value: Any) -> None:
        os.write(pipe, (json.dumps([what, value]) + "\n").encode())

    try:
        operation, home = OPERATIONS[wanted["operation"]], Path(wanted["home"])
        steps = Steps(home, wanted["step"], tell)
        steps.install()
        steps.is_counting = operation.is_new

        def report(uids: list[str]) -> None:
            steps.take("report")
            tell("done", uids)

        with open_library(home, "full") as registry:
            steps.is_counting = True
            operation.run(registry, home, report)
        steps.take("end")
        os._exit(0)
    except BaseException:  # noqa: BLE001 - a forked child must not go on as the server
        traceback.print_exc()
        os._exit(1)


# -- the client, in the test ----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Death:
    """What is known of a process that did an operation: its steps, and the uids that it reported as done.

    ``is_killed`` is False when it came to its end.
    """

    steps: list[str]
    done: set[str]
    is_killed: bool


class Killer:
    """Runs operations in processes that die before a step."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def close(self) -> None:
        """End the server."""
        self._server.communicate(timeout=TIMEOUT_S)
        assert self._server.returncode == 0

    def run(self, operation: str, home: Path, step: int | None = None) -> Death:
        """Do an operation on a library; die before its step of that number, the first one being 0."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        wanted = {"operation": operation, "home": str(home), "step": step}
        self._server.stdin.write(json.dumps(wanted) + "\n")
        self._server.stdin.flush()
        answer = json.loads(self._server.stdout.readline())
        assert answer["code"] in (0, -signal.SIGKILL), f"{operation} failed; its process says why"
        told = answer["told"]
        return Death(
            steps=[value for what, value in told if what == "step"],
            done={uid for what, uids in told if what == "done" for uid in uids},
            is_killed=answer["code"] != 0,
        )


if __name__ == "__main__":
    serve()
