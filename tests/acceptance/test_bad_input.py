"""What can't be registered is refused in a sentence, and leaves no trace: no file, row or changed dict."""

import copy
import errno
import io
import json
import os
import shutil
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from comfyvn import media
from comfyvn.studio.core import AssetRegistry


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"in": value}
    return value


METADATA_REFUSED: dict[str, Any] = {
    "a list": ["tags"],
    "a text": "tags",
    "a number": 5,
    "a set inside": {"colours": {"red"}},
    "bytes inside": {"raw": b"\0"},
    "an object inside": {"path": Path("x")},
    "not a number": {"score": float("nan")},
    "infinity": {"score": float("-inf")},
    "infinity deep inside": {"a": [{"b": float("inf")}]},
    "a lone surrogate": {"title": "half \ud83d"},
    "a lone surrogate as key": {"\ud83d": 1},
    "a NUL": {"title": "a\0b"},
    "a number as key": {1: "one"},
    "too deep": nested(65),
    "far too deep": nested(5_000),
    "too large": {"text": "x" * 256_001},
    "too many values": {"values": [0] * 20_001},
    "a number beyond 64 bits": {"seed": 2**64},
    "tags as a number": {"tags": 5},
    "tags as a mapping": {"tags": {"a": 1}},
    "tags as bytes": {"tags": b"a"},
    "a tag that is a number": {"tags": ["a", 5]},
    "a tag that is none": {"tags": [None]},
    "a tag with a line break": {"tags": ["a\nb"]},
    "a tag with half a character": {"tags": ["\ud83d"]},
    "a tag too long": {"tags": ["x" * 201]},
    "too many tags": {"tags": [str(number) for number in range(1_001)]},
    "a licence as list": {"license": ["MIT"]},
    "a licence too long": {"license": "x" * 1_001},
    "an origin as number": {"origin": 5},
    "a source as list": {"source": ["a"]},
    "a version as text": {"version": "2"},
    "a version of zero": {"version": 0},
    "a version that is true": {"version": True},
    "a preview of the caller's own": {"preview": "mine.png"},
}
PROVENANCE_REFUSED: dict[str, Any] = {
    "a list": [("source", "x")],
    "a text": "comfyui",
    "inputs as list": {"inputs": [1]},
    "inputs as text": {"inputs": "prompt"},
    "a source as number": {"source": 5},
    "a workflow hash as number": {"workflow_hash": 5},
    "a user as list": {"user_id": ["jd"]},
    "not a number": {"inputs": {"cfg": float("nan")}},
    "bytes": {"inputs": {"latent": b"\0"}},
    "half a character": {"inputs": {"prompt": "\udc00"}},
    "credentials as list": {"c2pa_like": [1]},
    "too deep": {"inputs": nested(65)},
    "too large": {"inputs": {"prompt": "x" * 256_001}},
}


def snapshot(project: Path) -> tuple[dict[str, tuple[bytes | None, int]], dict[str, int]]:
    """Return every file of the project with content and time, and the number of rows of every table."""
    files = {
        str(path.relative_to(project)): (
            path.read_bytes() if path.is_file() else None,
            path.lstat().st_mtime_ns,
        )
        for folder in (project / "assets", project / "cache")
        for path in folder.rglob("*")
        if not path.is_dir()
    }
    with closing(sqlite3.connect(project / "comfyvn/data/comfyvn.db")) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        counts = {
            table: connection.execute(f'SELECT COUNT(*) FROM "{table}"').fetchone()[0] for table in tables
        }
    return files, counts


@pytest.fixture
def library(
    project: Path, open_registry: Callable[..., AssetRegistry], make_png: Callable[..., Path]
) -> AssetRegistry:
    """A registry with one asset, all of its previews made."""
    registry = open_registry()
    registry.register_file(make_png("first.png", seed=99), "characters", metadata={"tags": ["first"]})
    registry.wait_for_thumbnails()
    return registry


def refused(
    project: Path, registry: AssetRegistry, error: type[Exception], source: object, **arguments: Any
) -> str:
    """Register something that must be refused; return the message after nothing was found changed."""
    before = snapshot(project)
    arguments = {"asset_type": "characters", **arguments}

    with pytest.raises(error) as caught:
        registry.register_file(source, **arguments)  # type: ignore[arg-type]
    registry.wait_for_thumbnails()

    assert snapshot(project) == before
    assert json.dumps(registry.list_assets())
    return str(caught.value)


# -- sources --------------------------------------------------------------------------------------------


def test_a_missing_source_is_a_file_not_found(project: Path, library: AssetRegistry, tmp_path: Path) -> None:
    """Scripts catch FileNotFoundError; anything else would end them."""
    message = refused(project, library, FileNotFoundError, tmp_path / "gone.png")

    assert "gone.png: no such file" in message


@pytest.mark.parametrize("source", ["", None, 5, b"a.png"])
def test_a_source_that_is_no_path_is_refused(project: Path, library: AssetRegistry, source: object) -> None:
    """The current folder, or a file named like a number, would be registered."""
    assert "must be a path" in refused(project, library, ValueError, source)


def test_a_source_name_with_a_nul_is_refused(project: Path, library: AssetRegistry) -> None:
    """Python's own error would name neither file nor cause."""
    refused(project, library, ValueError, "ma\0ra.png")


def test_a_folder_is_refused(project: Path, library: AssetRegistry, tmp_path: Path) -> None:
    """A folder can't be hashed; half of it must not be copied either."""
    (tmp_path / "folder").mkdir()

    assert "this is a folder" in refused(project, library, OSError, tmp_path / "folder")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_at_once(project: Path, library: AssetRegistry, tmp_path: Path) -> None:
    """Opening a pipe that nobody writes to waits for ever."""
    os.mkfifo(tmp_path / "pipe.png")

    assert "pipe" in refused(project, library, OSError, tmp_path / "pipe.png")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="this system has no devices in /dev")
@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_device_is_refused_without_reading_it(project: Path, library: AssetRegistry, device: str) -> None:
    """A device never ends: its copy would fill the disk."""
    assert "a device" in refused(project, library, OSError, device)


def test_a_link_to_a_device_is_refused(project: Path, library: AssetRegistry, tmp_path: Path) -> None:
    """A harmless name would lead to the same endless copy."""
    (tmp_path / "mara.png").symlink_to("/dev/zero")

    assert "a device" in refused(project, library, OSError, tmp_path / "mara.png")


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no sockets in folders")
def test_a_socket_is_refused(
    project: Path, library: AssetRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket has no content."""
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind("s.png")

        message = refused(project, library, OSError, tmp_path / "s.png")

    assert "socket" in message


def test_a_link_that_leads_nowhere_is_refused(project: Path, library: AssetRegistry, tmp_path: Path) -> None:
    """The message would say that a name does not exist which everybody can see."""
    (tmp_path / "mara.png").symlink_to(tmp_path / "gone.png")

    assert "leads nowhere" in refused(project, library, OSError, tmp_path / "mara.png")


def test_links_in_a_circle_are_refused(project: Path, library: AssetRegistry, tmp_path: Path) -> None:
    """Following them would never end."""
    (tmp_path / "a.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")

    assert "circle" in refused(project, library, OSError, tmp_path / "a.png")


def test_an_empty_file_is_refused(project: Path, library: AssetRegistry, tmp_path: Path) -> None:
    """All empty files have one hash: they would all be one asset."""
    (tmp_path / "empty.png").touch()

    assert "empty" in refused(project, library, OSError, tmp_path / "empty.png")


def test_a_link_in_the_assets_folder_is_not_registered_in_place(
    project: Path, library: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A link out of the library would let everything on the disk be served."""
    link = project / "assets/characters/secret.png"
    link.symlink_to(make_png())

    assert "link" in refused(project, library, OSError, link, copy_file=False)


def test_a_file_behind_a_linked_folder_is_not_registered_in_place(
    project: Path, library: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """The same way out, one folder higher."""
    (project / "assets/away").symlink_to(make_png().parent)

    refused(project, library, ValueError, project / "assets/away/mara.png", copy_file=False)


def test_a_linked_source_is_copied_as_the_file_that_it_leads_to(
    project: Path, library: AssetRegistry, make_png: Callable[..., Path], tmp_path: Path
) -> None:
    """The library would hold a link that breaks when the source moves."""
    (tmp_path / "link.png").symlink_to(make_png())

    info = library.register_file(tmp_path / "link.png", "characters")

    stored = project / "assets/characters/link.png"
    assert stored.is_file()
    assert not stored.is_symlink()
    assert info["bytes"] == make_png().stat().st_size


@pytest.mark.parametrize("copy_file", [True, False])
def test_a_file_that_changes_while_it_is_read_is_refused(
    project: Path,
    library: AssetRegistry,
    make_png: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    copy_file: bool,
) -> None:
    """What is stored would be half of one picture and half of the next."""
    source = make_png()
    if not copy_file:
        source = Path(shutil.copy(source, project / "assets/characters/mara.png"))
    real_read = media.read

    def read_while_painting(*arguments: Any, **named: Any) -> media.Reading:
        reading = real_read(*arguments, **named)
        with source.open("ab") as file:
            file.write(b"one more stroke")
        return reading

    monkeypatch.setattr(media, "read", read_while_painting)
    counts = snapshot(project)[1]
    names = sorted((project / "assets").rglob("*"))

    with pytest.raises(OSError, match="changed while it was read"):
        library.register_file(source, "characters", copy_file=copy_file)

    assert snapshot(project)[1] == counts
    assert sorted((project / "assets").rglob("*")) == names
    monkeypatch.undo()
    assert library.register_file(source, "characters", copy_file=copy_file)["duplicate"] is False


def test_a_full_disk_is_an_error_of_ours_and_leaves_nothing(
    project: Path, library: AssetRegistry, make_png: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half-copied file would stay, and the message not say which file it was."""

    def full(*_: object, **__: object) -> media.Reading:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(media, "read", full)

    message = refused(project, library, OSError, make_png())

    assert "mara.png" in message
    assert os.strerror(errno.ENOSPC) in message


def test_what_is_stored_is_what_was_hashed_when_a_file_is_replaced_meanwhile(
    project: Path, library: AssetRegistry, make_png: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source read twice could be hashed in one state and copied in another."""
    source, newer = make_png(seed=1), make_png("newer.png", seed=2)
    original = source.read_bytes()
    real_read = media.read

    def read_and_replace(*arguments: Any, **named: Any) -> media.Reading:
        if newer.exists():
            newer.replace(source)  # a program that saves by renaming
        return real_read(*arguments, **named)

    monkeypatch.setattr(media, "read", read_and_replace)

    info = library.register_file(source, "characters")

    sink = io.BytesIO()
    with (project / "assets" / info["path"]).open("rb") as file:
        media.strip(file, sink)
    assert sink.getvalue() == original


# -- metadata, provenance, licence ----------------------------------------------------------------------


@pytest.mark.parametrize("metadata", METADATA_REFUSED.values(), ids=METADATA_REFUSED)
def test_bad_metadata_is_refused_before_anything_is_written(
    project: Path, library: AssetRegistry, make_png: Callable[..., Path], metadata: Any
) -> None:
    """Half-registered assets would stay, or every later list break on them."""
    message = refused(project, library, ValueError, make_png(), metadata=metadata)

    assert len(message) < 500


@pytest.mark.parametrize("provenance", PROVENANCE_REFUSED.values(), ids=PROVENANCE_REFUSED)
def test_bad_provenance_is_refused_before_anything_is_written(
    project: Path, library: AssetRegistry, make_png: Callable[..., Path], provenance: Any
) -> None:
    """The file would be in its place, and the row that says where it comes from missing."""
    refused(project, library, ValueError, make_png(), provenance=provenance)


@pytest.mark.parametrize("metadata", [None, {"license": "MIT"}], ids=["alone", "beside a good one"])
@pytest.mark.parametrize("license_tag", [5, ["MIT"], b"MIT", "x" * 1_001])
def test_a_bad_licence_is_refused_before_anything_is_written(
    project: Path,
    library: AssetRegistry,
    make_png: Callable[..., Path],
    license_tag: Any,
    metadata: dict[str, Any] | None,
) -> None:
    """A licence that is no text would break the filter by licence."""
    refused(project, library, ValueError, make_png(), license_tag=license_tag, metadata=metadata)


def test_a_refused_registration_of_known_content_changes_nothing(
    project: Path, library: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """The tags would be merged before the bad value was found."""
    known = make_png("first.png", seed=99)

    refused(project, library, ValueError, known, metadata={"tags": ["new"], "bad": {1, 2}})


@pytest.mark.parametrize("meta", METADATA_REFUSED.values(), ids=METADATA_REFUSED)
def test_bad_metadata_is_refused_in_an_update_and_nothing_changes(
    project: Path, library: AssetRegistry, meta: Any
) -> None:
    """An asset would lose its metadata to a value that can't be kept."""
    if isinstance(meta, dict) and "source" in meta:
        return  # only a registration reads the source; to an update it is a key like any other
    (entry,) = library.list_assets()
    before = snapshot(project)

    with pytest.raises(ValueError, match="nothing was written"):
        library.update_asset_meta(entry["uid"], meta)

    assert snapshot(project) == before
    assert library.list_assets() == [entry]


@pytest.mark.parametrize(
    "arguments",
    [{"add_tags": [5]}, {"add_tags": {"a": 1}}, {"remove_tags": b"x"}, {"license_tag": 5}],
    ids=["a number", "a mapping", "bytes", "a licence as number"],
)
def test_bad_tags_are_refused_in_a_bulk_edit_and_nothing_changes(
    project: Path, library: AssetRegistry, arguments: dict[str, Any]
) -> None:
    """A bulk edit would stop half-way through the library."""
    (entry,) = library.list_assets()
    before = snapshot(project)

    with pytest.raises(ValueError, match="nothing was written"):
        library.bulk_update_tags([entry["uid"]], **arguments)

    assert snapshot(project) == before


def test_a_bulk_edit_beyond_the_limit_of_one_asset_changes_none(
    library: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Some assets of a selection would be edited and others not."""
    full = [f"tag {number}" for number in range(1_000)]
    second = library.register_file(make_png(), "characters", metadata={"tags": full})
    library.wait_for_thumbnails()
    before = library.list_assets()

    with pytest.raises(ValueError, match="tags_per_asset"):
        library.bulk_update_tags([entry["uid"] for entry in reversed(before)], add_tags=["one more"])

    assert library.list_assets() == before
    assert registry_tags(library, second["uid"]) == full


def registry_tags(registry: AssetRegistry, uid: str) -> Any:
    return registry.read_sidecar(uid)["tags"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (("b", "a"), ["b", "a"]),
        ({"b", "a"}, ["a", "b"]),
        (frozenset({"b", "a"}), ["a", "b"]),
        ("one tag", ["one tag"]),
        ([" Mara ", "MARA", "mara", "smile", ""], ["Mara", "smile"]),
        (["Zoe\u0308", "ZOË"], ["Zoë"]),
        (iter(["a", "b"]), ["a", "b"]),
        (None, []),
    ],
)
def test_tags_may_come_as_any_collection_of_texts(
    library: AssetRegistry, make_png: Callable[..., Path], given: Any, kept: list[str]
) -> None:
    """Tags given as a tuple or a set became one tag that held their Python text."""
    info = library.register_file(make_png(), "characters", metadata={"tags": given})

    assert info["tags"] == info["meta"]["tags"] == kept
    assert registry_tags(library, info["uid"]) == kept


def test_the_callers_dicts_are_left_as_they_were(
    library: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A loop that registers many files with one dict would carry values from file to file."""
    metadata = {"tags": [" a ", "A"], "license": " MIT ", "deep": {"list": [1, (2, 3)]}, "version": 2}
    provenance = {"source": " x ", "inputs": {"steps": [1]}, "seed": 5}
    given = copy.deepcopy((metadata, provenance))

    info = library.register_file(make_png(), "x", metadata=metadata, provenance=provenance)
    library.update_asset_meta(info["uid"], metadata)
    info["meta"]["deep"]["list"].append("mine")
    info["tags"].append("mine")
    list(library.register_many([{"source_path": make_png(), "asset_type": "x", "metadata": metadata}]))

    assert (metadata, provenance) == given
    assert library.get_asset(info["uid"])["meta"]["deep"] == {"list": [1, [2, 3]]}  # type: ignore[index]


def test_what_the_caller_changes_later_does_not_reach_the_registry(
    library: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Metadata would be shared with the caller's objects until it is written."""
    metadata: dict[str, Any] = {"tags": ["a"], "deep": {"list": [1]}}
    registered = []
    library.add_hook("asset_registered", lambda payload: registered.append(payload["meta"]["deep"]))
    library.add_hook("asset_registered", lambda payload: payload["meta"]["deep"].clear())
    library.add_hook("asset_registered", lambda payload: registered.append(dict(payload["meta"])))

    info = library.register_file(make_png(), "x", metadata=metadata)
    metadata["deep"]["list"].append(2)

    assert library.get_asset(info["uid"])["meta"]["deep"] == {"list": [1]}  # type: ignore[index]
    assert registered[1]["deep"] == {"list": [1]}


@pytest.mark.parametrize("uid", ["", "0123456789abcdef", "no such uid", "%", "../x"])
def test_an_unknown_uid_is_answered_as_documented(library: AssetRegistry, uid: str) -> None:
    """A script could not tell an unknown asset from a fault."""
    assert library.get_asset(uid) is None
    assert library.resolve_path(uid) is None
    assert library.sidecar_path(uid) is None
    assert library.resolve_thumbnail_path(uid) is None
    assert library.list_provenance(uid) == []
    assert library.remove_asset(uid) is False
    assert library.bulk_update_tags([uid], add_tags=["x"]) == {}
    for ask in (library.read_sidecar, library.ensure_sidecar, lambda uid: library.update_asset_meta(uid, {})):
        with pytest.raises(KeyError):
            ask(uid)
