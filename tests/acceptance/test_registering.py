"""Registering one file: what the registry answers, and what then lies on disk and in the ledger."""

import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import struct
import subprocess
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyvn import media
from comfyvn.registry.facts import facts_of
from comfyvn.registry.rebuild import rebuild
from comfyvn.studio.core import AssetRegistry

DOCUMENTED_SQL = """
    SELECT p.id, a.uid, p.source, p.workflow_hash, p.created_at
    FROM provenance p JOIN assets_registry a ON a.id = p.asset_id
    ORDER BY p.id DESC LIMIT 10;
  """
UTC_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Take a PNG apart into (type, data)."""
    found, at = [], 8
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        found.append((kind, data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunks(png: bytes, *extra: bytes) -> bytes:
    """Put chunks right behind the header of a PNG."""
    return png[:33] + b"".join(extra) + png[33:]


def stripped(path: Path) -> bytes:
    sink = io.BytesIO()
    with path.open("rb") as file:
        media.strip(file, sink)
    return sink.getvalue()


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return media.read(file).digest


def marker_of(path: Path) -> dict[str, Any]:
    with Image.open(path) as image:
        value = json.loads(image.text["comfyvn_provenance"])
    assert isinstance(value, dict)
    return value


def rows(query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect("comfyvn/data/comfyvn.db")) as connection:
        return connection.execute(query).fetchall()


# -- the documented walk --------------------------------------------------------------------------------


def test_the_documented_example_leaves_every_promised_thing_on_disk(
    project: Path, make_png: Callable[..., Path]
) -> None:
    """A step of the promised eight would be missing, or lie in another place than the documents say."""
    source = make_png("image.png", size=(600, 300))

    with AssetRegistry() as registry:
        info = registry.register_file(str(source), "characters")
        registry.wait_for_thumbnails()

    stored = project / "assets/characters/image.png"
    sidecar = json.loads((project / "assets/characters/image.png.asset.json").read_text("utf-8"))
    assert (info["path"], info["type"], info["uid"]) == (
        "characters/image.png",
        "characters",
        sha256(source.read_bytes())[:16],
    )
    assert stripped(stored) == source.read_bytes()
    assert marker_of(stored)["uid"] == info["uid"]
    assert sidecar["uid"] == info["uid"]
    assert sidecar["provenance"]["source"] == "unspecified"
    assert json.loads((project / "assets/_meta/characters/image.json").read_text("utf-8")) == sidecar
    assert rows("SELECT uid, type, path_full, path_thumb, hash, bytes FROM assets_registry") == [
        (
            info["uid"],
            "characters",
            "characters/image.png",
            f"cache/thumbs/{info['uid']}_256.webp",
            sha256(source.read_bytes()),
            source.stat().st_size,
        )
    ]
    assert rows("SELECT asset_id, source FROM provenance") == [(info["id"], "unspecified")]
    for side in (256, 512):
        with Image.open(project / f"cache/thumbs/{info['uid']}_{side}.webp") as thumb:
            assert thumb.size == (side, side // 2)


def test_the_answer_has_every_field_that_scripts_read(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A script of today would fail with a KeyError."""
    source = make_png()

    info = registry.register_file(source, "characters", metadata={"tags": ["Mara"], "artist": "J. Doe"})

    thumbs = {side: f"cache/thumbs/{info['uid']}_{side}.webp" for side in ("256", "512")}
    assert isinstance(info["id"], int)
    assert 0 < info["id"] < 2**53
    assert info["hash"] == sha256(source.read_bytes())
    assert info["bytes"] == source.stat().st_size
    assert info["sidecar"] == "characters/mara.png.asset.json"
    assert info["thumb"] == thumbs["256"]
    assert info["meta"]["tags"] == info["tags"] == ["Mara"]
    assert (info["meta"]["artist"], info["meta"]["license"], info["meta"]["version"]) == ("J. Doe", None, 1)
    assert info["meta"]["thumbnails"] == thumbs
    assert info["meta"]["preview"] == info["preview"]
    assert info["preview"] is not None
    assert (info["preview"]["kind"], info["preview"]["paths"]) == ("thumbnail", thumbs)
    assert info["preview"]["default"] == thumbs["256"]
    assert info["links"] == {
        "file": "characters/mara.png",
        "sidecar": "characters/mara.png.asset.json",
        "thumbnail": thumbs["256"],
        "thumbnails": thumbs,
    }
    assert info["duplicate"] is False
    assert UTC_TIME.fullmatch(info["created_at"])
    assert info["provenance"] is not None
    assert info["provenance"]["asset_uid"] == info["uid"]


def test_every_answer_can_be_written_as_json(registry: AssetRegistry, make_png: Callable[..., Path]) -> None:
    """A debug dump or a REST answer would fail in the middle."""
    info = registry.register_file(
        make_png(), "characters", metadata={"tags": ("b", "a"), "size": (1, 2)}, provenance={"seed": 7}
    )
    uid = info["uid"]
    many = list(registry.register_many([{"source_path": make_png("b.png", seed=2), "asset_type": "x"}]))

    answers = [
        info,
        many,
        registry.get_asset(uid),
        registry.list_assets(),
        list(registry.iter_assets()),
        registry.list_provenance(uid),
        registry.read_sidecar(uid),
        registry.update_asset_meta(uid, {"a": 1.5}),
        registry.bulk_update_tags([uid], add_tags={"c"}),
        registry.plan_file(make_png("c.png", seed=3), "x"),
    ]

    for answer in answers:
        assert json.loads(json.dumps(answer, allow_nan=False)) == answer


def test_get_and_list_tell_what_registering_told(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Two questions about one asset would have two answers."""
    info = registry.register_file(make_png(), "characters", provenance={"source": "comfyui", "seed": 1})
    registry.wait_for_thumbnails()

    one = registry.get_asset(info["uid"])
    (entry,) = registry.list_assets()

    assert one is not None
    told = {"media": one["media"], "meta": {**info["meta"], "media": one["media"]}}  # by the file, since then
    known = {key: value for key, value in info.items() if key != "duplicate"}
    assert one == {**known, **told, "preview_state": "ready"}
    assert one["media"].items() >= {"width": 64, "height": 48, **info["media"]}.items()
    assert entry["provenance"] is not None
    assert entry["provenance"]["id"] == info["provenance"]["id"]  # type: ignore[index]
    assert (entry["hash"], entry["thumb"], entry["meta"]) == (one["hash"], one["thumb"], one["meta"])


def test_a_relative_source_and_a_string_work_as_the_documents_show(
    registry: AssetRegistry, project: Path, make_png: Callable[..., Path]
) -> None:
    """The documented helper script would not run."""
    (project / "tmp").mkdir()
    shutil.copy(make_png(), project / "tmp/city.png")

    registry.list_assets("backgrounds")
    info = registry.register_file("tmp/city.png", "backgrounds", metadata={"source": "modkit"})

    assert info["path"] == "backgrounds/city.png"
    assert info["provenance"]["source"] == "modkit"  # type: ignore[index]
    assert (project / "tmp/city.png").read_bytes() == make_png().read_bytes()


def test_the_assets_folder_is_where_the_environment_says(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    open_registry: Callable[..., AssetRegistry],
    make_png: Callable[..., Path],
) -> None:
    """The documented override would be ignored and files land in a second library."""
    monkeypatch.setenv("COMFYVN_ASSETS_ROOT", str(project / "elsewhere"))

    info = open_registry().register_file(make_png(), "characters")

    assert (project / "elsewhere/characters/mara.png").is_file()
    assert (project / "elsewhere/_meta/characters/mara.json").is_file()
    assert info["path"] == "characters/mara.png"
    assert not (project / "assets").exists()


def test_an_old_library_in_data_assets_keeps_its_place(
    project: Path, open_registry: Callable[..., AssetRegistry], make_png: Callable[..., Path]
) -> None:
    """The library of an older release would seem empty."""
    (project / "data/assets").mkdir(parents=True)

    registry = open_registry()
    registry.register_file(make_png(), "characters")

    assert project / "data/assets" == registry.ASSETS_ROOT
    assert (project / "data/assets/characters/mara.png").is_file()
    assert not (project / "assets").exists()


def test_places_given_to_the_registry_are_used(
    project: Path, open_registry: Callable[..., AssetRegistry], make_png: Callable[..., Path]
) -> None:
    """Arguments that scripts of today pass would be ignored."""
    registry = open_registry(
        db_path="my/ledger.db",
        project_id="vn",
        assets_root="my/art",
        thumb_root=project / "my/thumbs",
        meta_root="my/mirrors",
        sidecar_suffix=".meta.json",
    )

    info = registry.register_file(make_png(), "characters")
    registry.wait_for_thumbnails()

    assert (project / "my/ledger.db").is_file()
    assert (project / "my/art/characters/mara.png.meta.json").is_file()
    assert (project / "my/mirrors/characters/mara.json").is_file()
    assert registry.resolve_thumbnail_path(info["uid"]) == project / f"my/thumbs/{info['uid']}_256.webp"
    assert (info["project"], registry.project_id) == ("vn", "vn")
    assert project / "my/ledger.db" == registry.db_path


def test_without_mirrors_there_is_no_meta_folder(
    project: Path, open_registry: Callable[..., AssetRegistry], make_png: Callable[..., Path]
) -> None:
    """``meta_root=False`` would be taken for a folder."""
    registry = open_registry(meta_root=False)

    registry.register_file(make_png(), "characters")

    assert registry.META_ROOT is None
    assert not (project / "assets/_meta").exists()


# -- identity -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mara.png", "notes.txt", "song.ogg", "blob"])
def test_hash_and_size_are_those_of_the_source_and_can_be_checked_against_what_is_stored(
    registry: AssetRegistry, make_png: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    """The hash would never match the file again, and a rebuild would make a second asset of it."""
    source = make_png() if name.endswith("png") else tmp_path / name
    if source.name != "mara.png":
        source.write_bytes(b"any content at all\n" * 500)
    original = source.read_bytes()

    info = registry.register_file(source, "things")

    stored = registry.resolve_path(info["uid"])
    assert stored is not None
    assert info["hash"] == sha256(original)
    assert info["bytes"] == len(original)
    assert digest_of(stored) == info["hash"]
    assert stripped(stored) == original
    assert source.read_bytes() == original


def test_a_uid_prefix_that_another_asset_holds_is_lengthened(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Two assets would share one uid, or the second could not be registered."""
    other = registry.register_file(make_png("other.png", seed=2), "characters")
    source = make_png()
    digest = sha256(source.read_bytes())
    with registry.library.ledger.write() as writer:
        asset = writer.asset(other["uid"])
        assert asset is not None
        imposter = replace(
            asset,
            id=writer.reserve_ids(1)[0],
            uid=digest[:16],
            key="characters/imposter.png",
            digest=digest[:16] + "f" * 48,
            provenance=None,
            mirror_key=None,
        )
        writer.insert([imposter])

    info = registry.register_file(source, "characters")
    again = registry.register_file(source, "characters")
    registry.wait_for_thumbnails()

    stored = registry.resolve_path(info["uid"])
    assert stored is not None
    assert info["uid"] == again["uid"] == digest[:20]
    assert again["duplicate"] is True
    assert marker_of(stored)["uid"] == digest[:20]
    assert stripped(stored) == source.read_bytes()
    assert json.loads(Path(f"{stored}.asset.json").read_text("utf-8"))["uid"] == digest[:20]
    assert registry.resolve_thumbnail_path(digest[:20]) is not None
    assert registry.get_asset(digest[:16])["path"] == "characters/imposter.png"  # type: ignore[index]

    stored.unlink()
    restored = registry.register_file(source, "characters")

    assert (restored["uid"], restored["path"]) == (digest[:20], info["path"])
    assert stripped(stored) == source.read_bytes()
    assert marker_of(stored)["uid"] == digest[:20]


# -- the marker -----------------------------------------------------------------------------------------


def test_the_marker_is_one_text_chunk_that_pillow_reads(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Downstream tools would not find where a picture comes from."""
    info = registry.register_file(
        make_png(), "characters", provenance={"source": "夏 comfyui", "workflow_hash": "9c" * 32}
    )

    stored = registry.resolve_path(info["uid"])
    assert stored is not None
    marks = [data for kind, data in chunks(stored.read_bytes()) if data.startswith(b"comfyvn_provenance")]
    assert len(marks) == 1
    assert marks[0].isascii()
    assert marker_of(stored) == {
        "provenance_id": info["provenance"]["id"],  # type: ignore[index]
        "source": "夏 comfyui",
        "workflow_hash": "9c" * 32,
        "created_at": info["provenance"]["created_at"],  # type: ignore[index]
        "uid": info["uid"],
        "hash": info["hash"],
    }


def test_stamping_leaves_pixels_and_every_other_chunk_alone(
    registry: AssetRegistry, make_png: Callable[..., Path], tmp_path: Path
) -> None:
    """A re-encode would lose gamma, density, time, EXIF and the chunks of other programs."""
    extra = [
        chunk(b"gAMA", struct.pack(">I", 45_455)),
        chunk(b"cHRM", struct.pack(">8I", *(31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000))),
        chunk(b"pHYs", struct.pack(">IIB", 3_780, 3_780, 1)),
        chunk(b"tIME", struct.pack(">HBBBBB", 2025, 10, 23, 9, 14, 2)),
        chunk(b"tEXt", b"prompt\0" + b'{"3": {"class_type": "KSampler"}}'),
        chunk(b"zTXt", b"notes\0\0" + zlib.compress(b"painted over")),
        chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\0"),
        chunk(b"prVt", b"a private chunk"),
    ]
    source = tmp_path / "rich.png"
    source.write_bytes(with_chunks(make_png().read_bytes(), *extra) + b"bytes behind the end")

    info = registry.register_file(source, "characters")

    stored = registry.resolve_path(info["uid"])
    assert stored is not None
    kept = [each for each in chunks_until_end(stored) if not each[1].startswith(b"comfyvn_provenance")]
    assert kept == chunks_until_end(source)
    assert stripped(stored) == source.read_bytes()
    with Image.open(stored) as after, Image.open(source) as before:
        assert after.tobytes() == before.tobytes()


def chunks_until_end(path: Path) -> list[tuple[bytes, bytes]]:
    data = path.read_bytes()
    return chunks(data[: data.index(b"IEND") + 8])


def test_an_animation_keeps_its_frames_and_sixteen_bits_stay_sixteen(
    registry: AssetRegistry, tmp_path: Path
) -> None:
    """Stamping through Pillow made a still of an animation, and eight bits of sixteen."""
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "green", "blue")]
    frames[0].save(tmp_path / "wink.png", save_all=True, append_images=frames[1:], duration=100)
    deep = Image.new("I;16", (20, 20), 0x1234)
    deep.save(tmp_path / "deep.png")

    wink = registry.register_file(tmp_path / "wink.png", "characters")
    dark = registry.register_file(tmp_path / "deep.png", "characters")

    with Image.open(registry.resolve_path(wink["uid"])) as image:  # type: ignore[arg-type]
        assert image.n_frames == 3
        assert "comfyvn_provenance" in image.text
    with Image.open(registry.resolve_path(dark["uid"])) as image:  # type: ignore[arg-type]
        assert image.getpixel((3, 3)) == 0x1234
        assert "comfyvn_provenance" in image.text


def test_a_stamped_file_that_is_registered_elsewhere_has_one_marker_and_the_same_hash(
    open_registry: Callable[..., AssetRegistry], make_png: Callable[..., Path]
) -> None:
    """A second stamp would leave two markers, and the copy would count as other content."""
    first = open_registry().register_file(make_png(), "characters", provenance={"source": "first"})
    other = open_registry(db_path="other.db", assets_root="other", thumb_root="other-thumbs")

    second = other.register_file(
        Path("assets") / first["path"], "characters", provenance={"source": "second"}
    )

    stored = other.resolve_path(second["uid"])
    assert stored is not None
    assert (second["uid"], second["hash"]) == (first["uid"], first["hash"])
    assert stored.read_bytes().count(b"comfyvn_provenance") == 1
    assert marker_of(stored)["source"] == "second"
    assert stripped(stored) == make_png().read_bytes()


def test_registering_the_stored_copy_again_finds_the_same_asset(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """The stamped copy would count as other content than its original."""
    first = registry.register_file(make_png(), "characters")
    stored = registry.resolve_path(first["uid"])
    assert stored is not None
    before = stored.read_bytes()

    again = registry.register_file(stored, "characters")

    assert (again["uid"], again["duplicate"]) == (first["uid"], True)
    assert registry.count_assets() == 1
    assert stored.read_bytes() == before


def test_a_picture_signed_with_content_credentials_is_never_stamped(
    registry: AssetRegistry, make_png: Callable[..., Path], tmp_path: Path
) -> None:
    """A signature would be broken by our marker."""
    source = tmp_path / "signed.png"
    source.write_bytes(with_chunks(make_png().read_bytes(), chunk(b"caBX", b"a C2PA manifest")))

    info = registry.register_file(source, "characters", provenance={"source": "camera"})

    assert registry.resolve_path(info["uid"]).read_bytes() == source.read_bytes()  # type: ignore[union-attr]
    assert registry.read_sidecar(info["uid"])["provenance"]["source"] == "camera"


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
def test_a_picture_of_another_format_is_stamped_and_nothing_else_changes(
    registry: AssetRegistry, tmp_path: Path, kind: str
) -> None:
    """A re-encode would cost quality and metadata; without a marker a lone file could not be known again."""
    source = tmp_path / f"mara.{kind.lower()}"
    Image.linear_gradient("L").resize((40, 30)).save(source, kind)

    info = registry.register_file(source, "characters", provenance={"source": "R & D <draft>]]>"})

    path = registry.resolve_path(info["uid"])
    assert path is not None
    with path.open("rb") as file:
        marker, original = media.read_marker(file), io.BytesIO()
        media.strip(file, original)
    assert original.getvalue() == source.read_bytes() != path.read_bytes()
    assert info["hash"] == sha256(source.read_bytes())
    assert json.loads(marker or b"")["uid"] == info["uid"]
    assert json.loads(marker or b"")["source"] == "R & D <draft>]]>"


@pytest.mark.parametrize("kind", ["BMP", "TIFF"])
def test_a_picture_that_carries_no_marker_is_copied_byte_for_byte(
    registry: AssetRegistry, tmp_path: Path, kind: str
) -> None:
    """A re-encode would cost quality and metadata."""
    source = tmp_path / f"mara.{kind.lower()}"
    Image.new("RGB", (40, 30), "teal").save(source, kind)

    info = registry.register_file(source, "characters")

    assert registry.resolve_path(info["uid"]).read_bytes() == source.read_bytes()  # type: ignore[union-attr]
    assert info["hash"] == sha256(source.read_bytes())


def test_a_broken_png_is_registered_as_it_is(registry: AssetRegistry, tmp_path: Path) -> None:
    """A file that no reader understands would be refused, or changed."""
    source = tmp_path / "broken.png"
    source.write_bytes(b"\x89PNG\r\n\x1a\n" + b"no chunks at all")

    info = registry.register_file(source, "characters")

    assert registry.resolve_path(info["uid"]).read_bytes() == source.read_bytes()  # type: ignore[union-attr]


# -- provenance -----------------------------------------------------------------------------------------


def test_a_plain_registration_records_a_provenance_row(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Older releases recorded none, so nobody could say where the file came from."""
    info = registry.register_file(make_png(), "characters")

    (row,) = registry.list_provenance(info["uid"])
    assert row == info["provenance"]
    assert row["source"] == "unspecified"
    assert row["asset_id"] == info["id"]
    assert row["inputs"] == {"asset_uid": info["uid"], "asset_hash": info["hash"]}
    assert UTC_TIME.fullmatch(row["created_at"])


def test_a_full_provenance_is_recorded_as_given(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Part of what the caller said of the file's origin would be lost."""
    given = {
        "source": "comfyui",
        "workflow_hash": "9c" * 32,
        "commit_hash": "ab12",
        "inputs": {"prompt": "夏", "steps": 20, "loras": ["a", "b"]},
        "user_id": "jd",
        "c2pa_like": {"claim": 1},
        "seed": 42,
    }

    info = registry.register_file(make_png(), "characters", provenance=given)

    row = info["provenance"]
    assert row is not None
    assert {key: row[key] for key in ("source", "workflow_hash", "commit_hash", "user_id", "c2pa_like")} == {
        key: given[key] for key in ("source", "workflow_hash", "commit_hash", "user_id", "c2pa_like")
    }
    assert row["inputs"] == {
        "prompt": "夏",
        "steps": 20,
        "loras": ["a", "b"],
        "seed": 42,
        "asset_uid": info["uid"],
        "asset_hash": info["hash"],
    }
    assert registry.read_sidecar(info["uid"])["provenance"] == row
    (stored,) = rows("SELECT source, workflow_hash, commit_hash, user_id, inputs_json FROM provenance")
    assert stored[:4] == ("comfyui", "9c" * 32, "ab12", "jd")
    assert json.loads(stored[4]) == row["inputs"]


@pytest.mark.parametrize(
    ("provenance", "metadata", "source"),
    [
        ({"source": "comfyui"}, {"source": "modkit"}, "comfyui"),
        ({"seed": 1}, {"source": "modkit"}, "modkit"),
        (None, {"source": " modkit "}, "modkit"),
        ({"source": "  "}, None, "unspecified"),
        ({}, {}, "unspecified"),
    ],
)
def test_the_source_comes_from_the_provenance_or_the_metadata(
    registry: AssetRegistry,
    make_png: Callable[..., Path],
    provenance: dict[str, Any] | None,
    metadata: dict[str, Any] | None,
    source: str,
) -> None:
    """The ledger would name another origin than the caller stated."""
    info = registry.register_file(make_png(), "characters", metadata=metadata, provenance=provenance)

    assert info["provenance"]["source"] == source  # type: ignore[index]


def test_a_workflow_hash_is_derived_from_source_and_inputs(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """The same workflow would have another hash with each file, or each order of its inputs."""
    inputs = {"prompt": "夏", "steps": 20}

    first = registry.register_file(make_png(), "x", provenance={"source": "comfyui", "inputs": inputs})
    turned = {"source": "comfyui", "steps": 20, "inputs": {"prompt": "夏"}}
    second = registry.register_file(make_png("b.png", seed=2), "x", provenance=turned)
    third = registry.register_file(make_png("c.png", seed=3), "x", provenance={"source": "comfyui"})

    wanted = sha256(
        b"comfyui"
        + json.dumps(inputs, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    )
    assert first["provenance"]["workflow_hash"] == wanted  # type: ignore[index]
    assert second["provenance"]["workflow_hash"] == wanted  # type: ignore[index]
    assert third["provenance"]["workflow_hash"] not in (wanted, None)  # type: ignore[index]


def test_commit_and_user_come_from_the_environment_when_nobody_states_them(
    monkeypatch: pytest.MonkeyPatch,
    open_registry: Callable[..., AssetRegistry],
    make_png: Callable[..., Path],
) -> None:
    """A build server could not tell its commit to the ledger."""
    monkeypatch.setenv("COMFYVN_GIT_COMMIT", "c0ffee")
    monkeypatch.setenv("COMFYVN_USER", "builder")
    registry = open_registry()

    plain = registry.register_file(make_png(), "x")
    from_metadata = registry.register_file(make_png("b.png", seed=2), "x", metadata={"user_id": "mara"})
    stated = {"commit_hash": "ab12", "user_id": "jd"}
    given = registry.register_file(make_png("c.png", seed=3), "x", provenance=stated)

    found = [info["provenance"] for info in (plain, from_metadata, given)]
    assert [(row["commit_hash"], row["user_id"]) for row in found if row] == [
        ("c0ffee", "builder"),
        ("c0ffee", "mara"),
        ("ab12", "jd"),
    ]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_of_a_project_under_git_is_recorded(
    project: Path, open_registry: Callable[..., AssetRegistry], make_png: Callable[..., Path]
) -> None:
    """Provenance would not say which state of the project made the file."""
    who = ["-c", "user.name=Mara", "-c", "user.email=mara@example.org", "-c", "commit.gpgsign=false"]
    clean = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    for command in (["init", "-q"], [*who, "commit", "-q", "--allow-empty", "-m", "start"]):
        subprocess.run(["git", *command], cwd=project, env=clean, check=True)
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=project, capture_output=True, check=True)

    info = open_registry().register_file(make_png(), "characters")

    assert info["provenance"]["commit_hash"] == asked.stdout.decode().strip()  # type: ignore[index]


def test_outside_of_git_there_is_no_commit(registry: AssetRegistry, make_png: Callable[..., Path]) -> None:
    """Something invented would stand in the ledger."""
    info = registry.register_file(make_png(), "characters")

    assert info["provenance"]["commit_hash"] is None  # type: ignore[index]


@pytest.mark.parametrize("copy_file", [True, False])
def test_the_documented_query_finds_the_newest_provenance_rows(
    project: Path,
    open_registry: Callable[..., AssetRegistry],
    make_png: Callable[..., Path],
    copy_file: bool,
) -> None:
    """The SQL that the documents show would fail or find nothing."""
    registry = open_registry()
    made = []
    for seed in range(1, 13):
        source = make_png(f"{seed}.png", seed=seed)
        if not copy_file:
            (project / "assets/x").mkdir(exist_ok=True)
            source = source.rename(project / "assets/x" / source.name)
        made.append(
            registry.register_file(source, "x", provenance={"source": f"s{seed}"}, copy_file=copy_file)
        )

    found = ask(DOCUMENTED_SQL)

    newest = [info["provenance"] for info in reversed(made)][:10]
    assert found == [
        (row["id"], row["asset_uid"], row["source"], row["workflow_hash"], row["created_at"])
        for row in newest
        if row
    ]


def ask(query: str) -> list[tuple[Any, ...]]:
    """Run a query as the documents do: through the ``sqlite3`` shell, or Python's where there is none."""
    if shutil.which("sqlite3") is None:
        return rows(query)
    shown = subprocess.run(
        ["sqlite3", "comfyvn/data/comfyvn.db", query], capture_output=True, text=True, check=True
    )
    return [(int(line.split("|")[0]), *line.split("|")[1:]) for line in shown.stdout.splitlines()]


def test_a_provenance_row_of_its_own_can_be_added_as_scripts_of_today_do(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Scripts that record provenance by hand would lose it, or it would not reach the sidecar."""
    from comfyvn.studio.core.provenance_registry import ProvenanceRegistry

    info = registry.register_file(make_png(), "characters", provenance={"source": "first"})
    ledger = ProvenanceRegistry(project / "comfyvn/data/comfyvn.db")

    row = ledger.record(info["id"], source="upscaler", inputs={"factor": 2})
    listed = ledger.list_for_asset_uid(info["uid"])
    ledger.close()

    assert [each["source"] for each in listed] == ["upscaler", "first"]
    assert registry.get_asset(info["uid"])["provenance"] == row  # type: ignore[index]
    written = registry.read_sidecar(info["uid"])["provenance"]
    assert (written["source"], [old["source"] for old in written["history"]]) == ("upscaler", ["first"])


# -- registering in place -------------------------------------------------------------------------------


@pytest.mark.parametrize("argument", ["copy", "copy_file"])
def test_a_file_registered_in_place_is_never_written_to(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path], argument: str
) -> None:
    """The artist's own file would be changed by registering it."""
    source = project / "assets/characters/mara.png"
    source.parent.mkdir(parents=True)
    shutil.copy2(make_png(), source)
    os.utime(source, ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_789))
    before, bytes_before = source.stat(), source.read_bytes()

    info = registry.register_file(source, "characters", **{argument: False})  # type: ignore[arg-type]
    registry.update_asset_meta(info["uid"], {"tags": ["a"]})
    registry.register_file(make_png(), "characters", metadata={"tags": ["b"]})
    registry.ensure_sidecar(info["uid"], overwrite=True)
    registry.wait_for_thumbnails()

    after = source.stat()
    assert source.read_bytes() == bytes_before
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    assert info["path"] == "characters/mara.png"
    assert info["provenance"] is not None
    assert registry.count_assets() == 1
    assert Path(f"{source}.asset.json").is_file()
    assert registry.resolve_thumbnail_path(info["uid"]) is not None


def test_a_file_in_place_keeps_the_folder_that_it_lies_in(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Registering in place would move the file, or name a place where nothing lies."""
    source = project / "assets/chapter one/day 2/Mara.png"
    source.parent.mkdir(parents=True)
    shutil.copy(make_png(), source)

    info = registry.register_file("assets/chapter one/day 2/Mara.png", "characters", copy_file=False)

    assert (info["type"], info["path"]) == ("characters", "chapter one/day 2/Mara.png")
    assert registry.resolve_path(info["uid"]) == source


def test_a_file_outside_the_assets_folder_is_refused_in_place(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A record would point out of the library."""
    source = make_png()

    with pytest.raises(ValueError, match="outside the assets folder"):
        registry.register_file(source, "characters", copy_file=False)

    assert registry.count_assets() == 0


def test_a_file_that_was_painted_over_in_place_stays_the_same_asset(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """An artist who saves over a file would get a second asset and lose the tags."""
    source = project / "assets/characters/mara.png"
    source.parent.mkdir(parents=True)
    shutil.copy(make_png(), source)
    first = registry.register_file(source, "characters", copy_file=False, metadata={"tags": ["mara"]})
    shutil.copy(make_png("new.png", seed=2), source)

    second = registry.register_file(source, "characters", copy_file=False)
    old_content = registry.register_file(make_png(), "characters")

    assert (second["uid"], second["id"]) == (first["uid"], first["id"])
    assert second["hash"] == sha256(source.read_bytes())
    assert (second["version"], second["tags"]) == (2, ["mara"])
    assert (old_content["uid"], old_content["duplicate"]) == (first["uid"], True)
    assert registry.count_assets() == 1
    assert len(registry.list_provenance(first["uid"])) == 3


# -- many at once ---------------------------------------------------------------------------------------


def test_many_files_come_back_in_order_each_with_what_became_of_it(
    registry: AssetRegistry, make_png: Callable[..., Path], tmp_path: Path
) -> None:
    """One bad file would stop the others, or results could not be told apart."""
    registry.register_file(make_png("known.png", seed=9), "x")
    items: list[dict[str, Any]] = [
        {"source_path": make_png("a.png", seed=1), "asset_type": "x"},
        {"source_path": tmp_path / "not there.png", "asset_type": "x"},
        {"source_path": make_png("known.png", seed=9), "asset_type": "x"},
        {"source_path": make_png("b.png", seed=2), "asset_type": "x", "metadata": {"tags": [5]}},
        {"source_path": make_png("b.png", seed=2), "asset_type": "x", "colour": "red"},
        {"source_path": make_png("b.png", seed=2), "asset_type": "x", "metadata": {"tags": ["b"]}},
        {"source_path": make_png("twin of a.png", seed=1), "asset_type": "x"},
    ]

    results = list(registry.register_many(items))

    assert [result["source"] for result in results] == [str(item["source_path"]) for item in items]
    assert [result["status"] for result in results] == [
        *("registered", "failed", "known", "failed", "failed", "registered", "known"),
    ]
    assert "not there.png" in str(results[1]["error"])
    assert "colour" in str(results[4]["error"])
    assert results[6]["asset"]["uid"] == results[0]["asset"]["uid"]  # type: ignore[index]
    assert registry.count_assets() == 3


def test_more_files_than_a_batch_holds_are_all_registered_in_order(
    registry: AssetRegistry, tmp_path: Path
) -> None:
    """A file at the seam of two batches would be lost or stand in the wrong place."""
    sources = [tmp_path / f"{number}.txt" for number in range(150)]
    for source in sources:
        source.write_text(f"content of {source.name}", "utf-8")

    results = list(registry.register_many({"source_path": s, "asset_type": "texts"} for s in sources))

    assert [result["status"] for result in results] == ["registered"] * 150
    assert [result["asset"]["path"] for result in results if result["asset"]] == [
        f"texts/{source.name}" for source in sources
    ]
    assert [entry["path"] for entry in reversed(registry.list_assets())] == [
        f"texts/{source.name}" for source in sources
    ]


def test_a_plan_tells_what_registering_would_do_and_changes_nothing(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A dry run would register, or promise another place than the one that follows."""
    registry.register_file(make_png("mara.png", seed=1), "x")
    before = sorted((project / "assets").rglob("*"))

    known = registry.plan_file(make_png("copy of mara.png", seed=1), "x")
    new = registry.plan_file(make_png("new/mara.png", seed=2), "x")

    assert sorted((project / "assets").rglob("*")) == before
    assert registry.count_assets() == 1
    info = registry.register_file(make_png("new/mara.png", seed=2), "x")
    assert (known["status"], known["path"]) == ("known", "x/mara.png")
    assert new == {"status": "new", "uid": info["uid"], "path": info["path"], "hash": info["hash"]}


@pytest.mark.parametrize(
    ("inputs", "seed", "models"),
    [
        ({"seed": 8251907, "model": "anything-v5"}, "8251907", ["anything-v5"]),
        ({"seed": "18446744073709551615", "models": ["a.safetensors"]}, "18446744073709551615", ["a"]),
        ({"seed": True, "model": {"name": "x"}}, None, []),
    ],
)
def test_what_a_script_states_of_the_making_is_found_by_it(
    registry: AssetRegistry,
    make_png: Callable[..., Path],
    inputs: dict[str, Any],
    seed: str | None,
    models: list[str],
) -> None:
    """The README's own example could not be found by the seed and the model that it states."""
    uid = registry.register_file(make_png(), "characters", provenance={"inputs": inputs})["uid"]

    for _ in range(2):
        assert [each["value"] for each in registry.facets()["models"]] == models
        found = registry.list_assets(seed=seed, models=models) if seed else []
        assert [record["uid"] for record in found] == ([uid] if seed else [])
        assert all(registry.count_assets(models=[name]) == 1 for name in models)
        rebuild(registry)
    if seed:
        assert facts_of(registry, uid)["facts"]["seed"] == seed
