"""What users of a library were promised, and a process that does one thing to it and may be killed.

The promises are derived from what users did, never from what the library answered, but for names that it
chooses. A promise that a user's own mess makes uncertain gets wider, value by value; it never goes.

Run as a program this is a small server: it forks a process for each thing to be done.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import traceback
import wave
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from comfyvn import media
from comfyvn.errors import ComfyVNError
from comfyvn.registry.export import export
from comfyvn.registry.ingest import Selection, ingest
from comfyvn.registry.rebuild import rebuild
from comfyvn.studio.core import AssetRegistry
from support import TIMEOUT_S, open_library

SUFFIX: Final = ".asset.json"
TAGS: Final = ("summer", "night", "heroine", "draft")
FIELDS: Final = ("license", "meta.artist", "meta.mood", "extra.note", *(f"tag.{tag}" for tag in TAGS))
_OWN: Final = (".comfyvn", "_meta")


# -- files ----------------------------------------------------------------------------------------------


def content(number: int, suffix: str, marker: bytes | None = None) -> bytes:
    """Make a tiny file; another number gives another one."""
    sink = io.BytesIO()
    if suffix == ".png":
        info = PngInfo()
        if marker is not None:
            info.add_text("comfyvn_provenance", marker.decode("ascii"))
        colour = (number % 256, number // 256 % 256, 7)
        Image.new("RGB", (8, 8), colour).save(sink, "PNG", pnginfo=info, compress_level=1)
    elif suffix == ".wav":
        with wave.open(sink, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8_000)
            file.writeframes(number.to_bytes(4, "little") * 20)
    else:
        sink.write(f"line {number}\n".encode())
    return sink.getvalue()


def reading(path: Path) -> media.Reading:
    """Read a file as the library does: its hash without our marker, and the marker."""
    with path.open("rb") as file:
        return media.read(file, name=path.name)


def user_files(assets: Path) -> list[str]:
    """Return the keys of all files that are neither ours nor sidecars."""
    return [key for key in _walk(assets) if SUFFIX not in key]


def sidecars(assets: Path) -> list[str]:
    """Return the keys of all sidecars; copies of broken ones are left out."""
    return [key for key in _walk(assets) if key.endswith(SUFFIX)]


def named_by(assets: Path) -> dict[str, list[str]]:
    """Return the keys of readable sidecars by the uid that they name."""
    found: dict[str, list[str]] = {}
    for key in sidecars(assets):
        payload = load_sidecar(assets / key)
        if payload is not None:
            found.setdefault(str(payload.get("uid")), []).append(key)
    return found


def load_sidecar(path: Path) -> dict[str, Any] | None:
    """Return what a sidecar says, None for a broken one."""
    try:
        payload = json.loads(path.read_bytes())
    except ValueError:
        return None
    return payload if isinstance(payload, dict) else None


def hoard(assets: Path) -> Counter[str]:
    """Count what no one but the user may take away: the bytes of files and of broken sidecars."""
    corners = [assets / ".comfyvn" / name for name in ("trash", "quarantine")]
    found: Counter[str] = Counter()
    for folder in (assets, *corners):
        for path in _paths(folder, leaves_out=_OWN if folder == assets else ()):
            data = path.read_bytes()
            is_plain = SUFFIX not in path.name
            if is_plain or load_sidecar(path) is None:
                found[hashlib.sha256(data).hexdigest()] = found[hashlib.sha256(data).hexdigest()] + 1
    return found


def _walk(assets: Path) -> list[str]:
    return sorted(path.relative_to(assets).as_posix() for path in _paths(assets, leaves_out=_OWN))


def _paths(folder: Path, leaves_out: Iterable[str] = ()) -> Iterator[Path]:
    for top, below, names in os.walk(folder):
        if top == str(folder):
            below[:] = [name for name in below if name not in leaves_out]
        yield from (Path(top, name) for name in names)


# -- promises -------------------------------------------------------------------------------------------


@dataclass
class Promise:
    """What must be true of one asset.

    ``fields`` holds the values that each field may have; ``pending`` those that it may have once a hand edit
    is taken in. ``status``: any of ``there``, ``missing``, ``removed``. ``key`` and ``digest`` bind unless
    ``is_loose``: nobody could tell where the file is. ``home`` is where the ledger has it. ``is_vague``: the
    user destroyed what the fields could be told from.
    """

    uid: str
    fields: dict[str, set[Any]]
    sources: set[str]
    digests: set[str]
    key: str
    digest: str
    status: set[str] = field(default_factory=lambda: {"there"})
    pending: dict[str, set[Any]] = field(default_factory=dict)
    home: str = ""
    number: int = 0
    is_touched: bool = False
    is_loose: bool = False
    is_vague: bool = False

    def set(self, name: str, value: Any) -> None:
        """Note that the user changed a field through us; a hand edit of it that waits may win."""
        if self.is_touched:  # the sidecar may lie elsewhere, and does not know of it
            self.lose_edits()
        if name in self.pending:
            self.pending[name] |= {value}
        else:
            self.fields[name] = {value}

    def edit(self, name: str, value: Any, *, is_sure: bool) -> None:
        """Note that the user changed a field in a sidecar; unsure: in one of several."""
        self.fields[name] |= self.pending.get(name, set())  # an earlier edit, which may be taken in by now
        self.pending[name] = {value} if is_sure else {value} | self.fields[name]

    def widen(self, fields: Mapping[str, Any]) -> None:
        """Note that a change may have been done or not."""
        for name, value in fields.items():  # the sidecar may be written and the ledger not
            self.pending[name] = self.allowed(name) | {value}

    def lose_edits(self) -> None:
        """Note that the sidecar with hand edits is gone."""
        for name in self.pending:
            self.pending[name] |= self.fields[name]

    def allowed(self, name: str) -> set[Any]:
        """Return every value that the field may have before hand edits are taken in."""
        return self.fields[name] | self.pending.get(name, set())

    def touch(self, key: str, digest: str) -> None:
        """Note that the user moved or changed the file; of two such things we can't tell the outcome."""
        self.is_loose |= self.is_touched
        self.is_touched, self.key, self.digest = True, key, digest


def promise_of(entry: Mapping[str, Any]) -> Promise:
    """Promise that an asset stays as an export says that it is."""
    return Promise(
        uid=entry["uid"],
        fields={name: {value} for name, value in fields_of(entry).items()},
        sources=_sources(entry),
        digests=_digests(entry),
        key=entry["path"],
        digest=entry["hash"],
        status={_status(entry)},
        home=entry["path"],
        number=entry["id"],
    )


def fields_of(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that we follow, of an asset in an export or of what is said at registration."""
    meta, extra = said.get("meta") or {}, said.get("extra") or {}
    tags = said.get("tags") or ()
    fields = {"license": said.get("license"), "extra.note": extra.get("note")}
    fields |= {f"meta.{name}": meta.get(name) for name in ("artist", "mood")}
    return fields | {f"tag.{tag}": tag in tags for tag in TAGS}


def exported(registry: AssetRegistry) -> dict[str, dict[str, Any]]:
    """Return a library's export by uid; what the ledger counts beside its rows must agree with it."""
    entries = {each["uid"]: each for each in json.loads(b"".join(export(registry)))["assets"]}
    check_counts(registry, entries.values())
    return entries


def check_counts(registry: AssetRegistry, entries: Iterable[Mapping[str, Any]]) -> None:
    """Check the counts of types, licences and tags, and that a search finds each asset by its path."""
    entries = list(entries)
    told = registry.facets(top_tags=1_000)
    of_tags = Counter(tag.casefold() for each in entries for tag in each["tags"])
    of_licenses = Counter((each["license"] or "").casefold() for each in entries)
    assert {each["value"]: each["count"] for each in told["types"]} == Counter(
        each["type"] for each in entries
    )
    assert {(each["value"] or "").casefold(): each["count"] for each in told["licenses"]} == of_licenses
    assert {each["value"].casefold(): each["count"] for each in told["tags"] if each["value"]} == of_tags
    assert told["total"] == len(entries)
    for each in entries:
        name = each["path"].rpartition("/")[2]
        assert each["uid"] in {found["uid"] for found in registry.list_assets(text=name)}, name


def check_promise(promise: Promise, entry: Mapping[str, Any] | None, *, is_settled: bool) -> None:
    """Check one promise; ``is_settled``: a rebuild has looked at all files."""
    uid = promise.uid
    if entry is None:
        assert "removed" in promise.status, f"{uid} ({promise.key}) is gone"
        return
    assert promise.is_vague or promise.number in (0, entry["id"]), f"{uid} has another number"
    assert promise.sources <= _sources(entry), f"{uid} lost provenance: {promise.sources - _sources(entry)}"
    lost = promise.digests - _digests(entry)
    assert not lost, f"{uid} lost versions: {lost}"
    for name, value in fields_of(entry).items():
        allowed = promise.pending.get(name, promise.fields[name]) if is_settled else promise.allowed(name)
        assert promise.is_vague or value in allowed, f"{uid}: {name} is {value!r}, not one of {allowed}"
    if is_settled and not promise.is_loose:
        now = (_status(entry), entry["path"], entry["hash"])
        assert now[0] in promise.status, f"{uid} is {now}, not {promise.status}"
        if promise.status == {"there"}:
            assert now[1:] == (promise.key, promise.digest), f"{uid} is {now}: {promise}"


def _status(entry: Mapping[str, Any]) -> str:
    return "missing" if entry["missing"] else "there"


def _digests(entry: Mapping[str, Any]) -> set[str]:
    return {entry["hash"], *(each["hash"] for each in entry["versions"])}


def _sources(entry: Mapping[str, Any]) -> set[str]:
    return {row["source"] for row in entry["provenance"]}


# -- doing one thing, maybe in a process that is killed -------------------------------------------------


def do(registry: AssetRegistry, method: str, arguments: Mapping[str, Any]) -> Any:
    """Do one thing to a library and return the answer as JSON values."""
    if method == "rebuild":
        report = rebuild(registry, **arguments).as_dict()
        registry.wait_for_thumbnails()
        return report
    if method == "ingest":
        paths = [Path(each) for each in arguments["paths"]]
        return [each.as_dict() for each in ingest(Selection(paths, tags=tuple(arguments["tags"])), registry)]
    answer = getattr(registry, method)(**arguments)
    return str(answer) if isinstance(answer, Path) else list(answer) if method == "register_many" else answer


class Mortal:
    """Does things in processes that may be killed."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def close(self) -> None:
        """End the server."""
        self._server.communicate(timeout=TIMEOUT_S)
        assert self._server.returncode == 0

    def do(self, home: Path, method: str, arguments: Mapping[str, Any], step: int) -> dict[str, Any]:
        """Do one thing; die before the step of that number.

        Returns:
            ``{"value": ...}``, ``{"error": its class, "message": ...}``, or ``{}`` when it was killed.
        """
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        wanted = {"home": str(home), "method": method, "arguments": arguments, "step": step}
        self._server.stdin.write(json.dumps(wanted) + "\n")
        self._server.stdin.flush()
        answer = json.loads(self._server.stdout.readline())
        assert answer["code"] in (0, -signal.SIGKILL), f"{method} failed; its process says why"
        return json.loads(answer["told"] or "{}") if answer["code"] == 0 else {}


def _serve() -> None:
    from faults import get_ready_to_fork

    get_ready_to_fork()
    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _live(json.loads(line), writing)
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as pipe:
            told = pipe.read()
        _, status = os.waitpid(child, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status), "told": told}), flush=True)


def _live(wanted: Mapping[str, Any], pipe: int) -> None:
    """Do what is wanted and end the process, in one way or the other."""
    from faults import Steps

    try:
        home = Path(wanted["home"])
        steps = Steps(home, wanted["step"], lambda what, value: None)
        steps.install()
        with open_library(home) as registry:
            steps.is_counting = True
            try:
                answer = {"value": do(registry, wanted["method"], wanted["arguments"])}
            except ComfyVNError as error:
                answer = {"error": type(error).__name__, "message": str(error)}
        with os.fdopen(pipe, "w", encoding="utf-8") as file:
            json.dump(answer, file)
        os._exit(0)
    except BaseException:  # noqa: BLE001 - a forked child must not go on as the server
        traceback.print_exc()
        os._exit(1)


if __name__ == "__main__":
    _serve()
