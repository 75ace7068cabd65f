"""One story told through three doors - Python, command line, REST - leaves the same library."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from comfyvn.registry.export import export
from comfyvn.studio.core import AssetRegistry
from serving import serve
from support import Answer

SOURCE = "modkit"


class Door(ABC):
    """What a maker does to a library, by one way in."""

    @abstractmethod
    def register(self, source: Path, kind: str, tags: list[str], licence: str) -> str:
        """Register a file and return its uid."""

    @abstractmethod
    def describe(self, uid: str, artist: str) -> None:
        """Write the artist's name into the metadata; all else stays."""

    @abstractmethod
    def tag(self, uids: list[str], *, add: str, remove: str, licence: str | None = None) -> int:
        """Tag assets as one operation, and return its number."""

    @abstractmethod
    def remove(self, uid: str) -> None:
        """Remove an asset and its file."""

    @abstractmethod
    def restore(self, uid: str) -> None:
        """Bring an asset back."""

    @abstractmethod
    def undo(self, operation: int) -> None:
        """Take an operation back."""


class PythonDoor(Door):
    def __init__(self, registry: AssetRegistry) -> None:
        self.registry = registry

    def register(self, source: Path, kind: str, tags: list[str], licence: str) -> str:
        meta = {"tags": tags, "license": licence}
        asset = self.registry.register_file(source, kind, metadata=meta, provenance={"source": SOURCE})
        return asset["uid"]

    def describe(self, uid: str, artist: str) -> None:
        asset = self.registry.get_asset(uid)
        assert asset is not None
        self.registry.update_asset_meta(uid, {**asset["meta"], "artist": artist})

    def tag(self, uids: list[str], *, add: str, remove: str, licence: str | None = None) -> int:
        operation = self.registry.new_operation()
        self.registry.bulk_update_tags(
            uids, add_tags=[add], remove_tags=[remove], license_tag=licence, operation=operation
        )
        return operation

    def remove(self, uid: str) -> None:
        assert self.registry.remove_asset(uid, delete_files=True)

    def restore(self, uid: str) -> None:
        self.registry.restore_asset(uid)

    def undo(self, operation: int) -> None:
        assert self.registry.undo(operation)["refused"] == []


class CommandDoor(Door):
    def __init__(self, run: Callable[..., Answer]) -> None:
        self._run = run

    def register(self, source: Path, kind: str, tags: list[str], licence: str) -> str:
        stated = [part for tag in tags for part in ("--tag", tag)]
        self._do("ingest", source, "--type", kind, "--license", licence, "--source", SOURCE, *stated)
        found = self._do("list", "--type", kind, "--json").document["items"]
        return str(next(each["uid"] for each in found if each["path"] == f"{kind}/{source.name}"))

    def describe(self, uid: str, artist: str) -> None:
        shown = self._do("show", uid, "--json").document
        sidecar = Path("assets", shown["sidecar"])
        said = json.loads(sidecar.read_text("utf-8"))
        said["meta"]["artist"] = artist
        sidecar.write_text(json.dumps(said), "utf-8")
        self._do("rebuild")

    def tag(self, uids: list[str], *, add: str, remove: str, licence: str | None = None) -> int:
        stated = [] if licence is None else ["--license", licence]
        return int(self._do("tag", *uids, "--add", add, "--remove", remove, *stated).operation)

    def remove(self, uid: str) -> None:
        self._do("remove", uid)

    def restore(self, uid: str) -> None:
        self._do("restore", uid)

    def undo(self, operation: int) -> None:
        self._do("undo", operation)

    def _do(self, *arguments: object) -> Answer:
        answer = self._run(*arguments)
        assert answer.code == 0, answer.err
        return answer


class RestDoor(Door):
    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def register(self, source: Path, kind: str, tags: list[str], licence: str) -> str:
        form = {
            "asset_type": kind,
            "metadata": json.dumps({"tags": tags, "license": licence}),
            "provenance": json.dumps({"source": SOURCE}),
        }
        with source.open("rb") as file:
            return str(self._ask("POST", "/assets/upload", data=form, files={"file": file})["asset"]["uid"])

    def describe(self, uid: str, artist: str) -> None:
        self._ask("PATCH", f"/assets/{uid}", json={"artist": artist})

    def tag(self, uids: list[str], *, add: str, remove: str, licence: str | None = None) -> int:
        edit: dict[str, Any] = {"uids": uids, "add_tags": [add], "remove_tags": [remove]}
        if licence is not None:
            edit["license"] = licence
        return int(self._ask("POST", "/assets/bulk", json=edit)["operation"])

    def remove(self, uid: str) -> None:
        self._ask("DELETE", f"/assets/{uid}")

    def restore(self, uid: str) -> None:
        self._ask("POST", f"/assets/{uid}/restore")

    def undo(self, operation: int) -> None:
        self._ask("POST", f"/assets/operations/{operation}/undo")

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        answer = self._client.request(method, path, **options)
        assert answer.is_success, answer.text
        return answer.json()


@contextmanager
def _python(_run: Callable[..., Answer]) -> Iterator[Door]:
    with AssetRegistry() as registry:
        yield PythonDoor(registry)


@contextmanager
def _command(run: Callable[..., Answer]) -> Iterator[Door]:
    yield CommandDoor(run)


@contextmanager
def _rest(_run: Callable[..., Answer]) -> Iterator[Door]:
    with AssetRegistry() as registry, serve(registry) as client:
        yield RestDoor(client)


def _tell(door: Door, art: list[Path]) -> None:
    """Register three files, edit, tag many, remove and restore, tag by mistake and undo, remove."""
    mara = door.register(art[0], "characters", ["Mara", "smile"], "CC-BY-4.0")
    ines = door.register(art[1], "characters", ["Ines"], "CC-BY-4.0")
    harbour = door.register(art[2], "backgrounds", ["dusk"], "CC0-1.0")
    door.describe(mara, "J. Doe")
    door.tag([mara, ines], add="cast", remove="smile", licence="CC-BY-SA-4.0")
    door.remove(ines)
    door.restore(ines)
    mistaken = door.tag([mara, ines, harbour], add="night", remove="dusk")
    door.undo(mistaken)
    door.remove(harbour)


def _known() -> dict[str, Any]:
    """Return what the library of the current folder holds, without times and the ids of rows."""
    with AssetRegistry() as registry:
        document = json.loads(b"".join(export(registry)))
    for asset in document["assets"]:
        for row in [asset, *asset["provenance"], *asset["versions"]]:
            for name in ("id", "asset_id", "created_at", "updated_at"):
                row.pop(name, None)
    ours = Path("assets", ".comfyvn")
    files = sorted(str(path) for path in Path("assets").rglob("*") if ours not in (path, *path.parents))
    return {"assets": document["assets"], "files": files}


def test_every_door_leaves_the_same_library(
    run: Callable[..., Answer],
    make_png: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else what a script does over HTTP would not be what a maker does by hand."""
    monkeypatch.setenv("COMFYVN_DURABILITY", "off")
    art = [make_png(name, seed=seed) for seed, name in enumerate(("mara.png", "ines.png", "夕暮れの港.png"))]
    known = {}

    for way in (_python, _command, _rest):
        home = tmp_path / way.__name__
        home.mkdir()
        with chdir(home), way(run) as door:
            _tell(door, art)
        with chdir(home):
            known[way] = _known()

    assert known[_command] == known[_python]
    assert known[_rest] == known[_python]
    tags = {each["path"]: set(each["tags"]) for each in known[_python]["assets"]}
    assert tags == {"characters/mara.png": {"Mara", "cast"}, "characters/ines.png": {"Ines", "cast"}}
