"""Libraries that an attacker or an accident has prepared: nothing outside is touched, nothing is lost."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from comfyvn.errors import (
    ForeignLibrary,
    InvalidSetting,
    LibraryUnreachable,
    OutsideLibrary,
    PathConflict,
)
from comfyvn.registry.rebuild import rebuild
from comfyvn.studio.core import AssetRegistry

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of POSIX")


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder of the user's outside the library, old enough to pass for leavings."""
    folder = tmp_path / "victim"
    (folder / "photos").mkdir(parents=True)
    (folder / "photos" / "f").write_text("mine")
    an_hour_ago = time.time() - 3600
    os.utime(folder / "photos", (an_hour_ago, an_hour_ago))
    return folder


def untouched(victim: Path) -> bool:
    return [path.name for path in sorted(victim.rglob("*"))] == ["photos", "f"]


@pytest.mark.parametrize("linked", [".comfyvn", ".comfyvn/staging"])
def test_a_linked_staging_folder_is_refused_and_its_target_not_swept(
    linked: str, project: Path, victim: Path, make_png: Callable[..., Path]
) -> None:
    """A library cloned from a stranger would delete the folders that its link leads to."""
    link = project / "assets" / linked
    link.parent.mkdir(parents=True)
    link.symlink_to(victim)

    with pytest.raises(OutsideLibrary), AssetRegistry(durability="off") as registry:
        registry.register_file(make_png(), "characters")

    assert untouched(victim)


def test_a_linked_trash_or_mirror_folder_is_refused(
    registry: AssetRegistry, victim: Path, make_png: Callable[..., Path]
) -> None:
    """Files would be moved or written outside the library, and success reported."""
    uid = registry.register_file(make_png(), "characters")["uid"]
    (registry.ASSETS_ROOT / ".comfyvn" / "trash").symlink_to(victim)
    shutil.rmtree(registry.ASSETS_ROOT / "_meta")
    (registry.ASSETS_ROOT / "_meta").symlink_to(victim)

    with pytest.raises(OutsideLibrary):
        registry.remove_asset(uid, delete_files=True)
    with pytest.raises(OutsideLibrary):
        registry.register_file(make_png("b.png", seed=2), "characters")

    assert untouched(victim)
    assert registry.get_asset(uid) is not None
    assert registry.resolve_path(uid).is_file()  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_sidecar_that_is_no_file_is_moved_aside_unread(
    kind: str, registry: AssetRegistry, tmp_path: Path, make_png: Callable[..., Path]
) -> None:
    """A secret would be copied into the library, or the program wait for a pipe for ever."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    picture = registry.ASSETS_ROOT / "characters" / "mara.png"
    picture.parent.mkdir()
    shutil.copy(make_png(), picture)
    beside = picture.with_name("mara.png.asset.json")
    beside.symlink_to(secret) if kind == "link" else os.mkfifo(beside)

    info = registry.register_file(picture, "characters", copy_file=False)

    assert registry.read_sidecar(info["uid"])["uid"] == info["uid"]
    aside = beside.with_name(beside.name + ".broken")
    assert aside.is_symlink() if kind == "link" else aside.is_fifo()
    assert secret.read_text() == "secret"


def test_a_marker_nested_without_end_does_not_stop_a_rebuild(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """One picture from a stranger would end the rebuild with a traceback."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("comfyvn_provenance", "[" * 60_000)
    folder = registry.ASSETS_ROOT / "characters"
    folder.mkdir()
    shutil.copy(make_png("a.png", pnginfo=info), folder)
    shutil.copy(make_png("b.png", seed=2), folder)

    report = rebuild(registry)

    assert [each["path"] for each in report.registered] == ["characters/a.png", "characters/b.png"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"version": 1', '"version": 9223372036854775807'),
        (
            '"c2pa_like": {}',
            '"c2pa_like": {}, "history": [{"id": 7, "source": "x"}, {"id": 7, "source": "x"}]',
        ),
    ],
    ids=["version", "history"],
)
def test_odd_values_in_a_sidecar_do_not_stop_a_rebuild(
    old: str, new: str, project: Path, make_png: Callable[..., Path]
) -> None:
    """A bad merge in git and a lost database together would lose the library."""
    with AssetRegistry(durability="off") as registry:
        uid = registry.register_file(make_png(), "characters")["uid"]
        path = registry.sidecar_path(uid)
    assert path is not None
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    shutil.rmtree(project / "comfyvn")

    with AssetRegistry(durability="off") as registry:
        report = rebuild(registry)

        assert (report.failed, [each["uid"] for each in report.registered]) == ([], [uid])


def test_nothing_is_written_where_the_library_is_not(
    registry: AssetRegistry, project: Path, make_png: Callable[..., Path]
) -> None:
    """Edits made while the drive is away would be overruled by the old sidecars when it is back."""
    uid = registry.register_file(make_png(), "characters")["uid"]
    registry.wait_for_thumbnails()
    (project / "assets").rename(project / "away")

    with pytest.raises(LibraryUnreachable):
        registry.bulk_update_tags([uid], add_tags=["lost"])
    with pytest.raises(LibraryUnreachable):
        registry.register_file(make_png("b.png", seed=2), "characters")

    assert not (project / "assets").exists()


def test_nothing_is_written_into_another_library(
    open_registry: Callable[..., AssetRegistry], tmp_path: Path, make_png: Callable[..., Path]
) -> None:
    """A mistyped folder would give the assets of one library the sidecars of another."""
    one = open_registry(db_path=tmp_path / "one.db", assets_root=tmp_path / "one")
    two = open_registry(db_path=tmp_path / "two.db", assets_root=tmp_path / "two")
    uid = one.register_file(make_png(), "characters")["uid"]
    two.register_file(make_png("b.png", seed=2), "characters")
    mixed = open_registry(db_path=tmp_path / "one.db", assets_root=tmp_path / "two")

    with pytest.raises(ForeignLibrary):
        mixed.bulk_update_tags([uid], add_tags=["oops"])
    with pytest.raises(ForeignLibrary):
        mixed.remove_asset(uid, delete_files=True)


def test_a_rebuild_leaves_the_files_of_another_project_alone(
    open_registry: Callable[..., AssetRegistry], make_png: Callable[..., Path]
) -> None:
    """One project would take over, and then remove, what belongs to the other."""
    one, two = open_registry(project_id="one"), open_registry(project_id="two")
    uid = one.register_file(make_png(), "characters")["uid"]

    report = rebuild(two)

    assert two.list_assets() == []
    assert report.skipped == [
        {"path": "characters/mara.png", "why": "its sidecar belongs to the project 'one'"}
    ]
    assert one.read_sidecar(uid)["project"] == "one"


def test_an_older_version_that_comes_back_elsewhere_is_recorded_as_what_it_is(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """The recorded hash would be that of content which is nowhere."""
    original = make_png()
    info = registry.register_file(original, "characters")
    path = registry.resolve_path(info["uid"])
    assert path is not None
    shutil.copy(make_png("new.png", seed=5, size=(90, 90)), path)
    rebuild(registry)
    path.unlink()
    path.with_name("mara.png.asset.json").unlink()
    shutil.copy(original, path.with_name("b.png"))

    rebuild(registry)

    record = registry.get_asset(info["uid"])
    assert record is not None
    assert (record["path"], record["hash"], record["version"]) == ("characters/b.png", info["hash"], 3)


def test_other_content_at_the_place_of_a_missing_file_is_not_taken_for_it(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """The record would say present, with a hash that the file does not have."""
    original = make_png()
    info = registry.register_file(original, "characters")
    registry.register_file(make_png("b.png", seed=2), "characters")
    path = registry.resolve_path(info["uid"])
    assert path is not None
    path.unlink()
    rebuild(registry)
    shutil.copy(make_png("c.png", seed=3), path)

    with pytest.raises(PathConflict):
        registry.register_file(original, "characters")


def test_a_preview_cache_inside_the_assets_folder_is_refused(project: Path) -> None:
    """Thumbnails would become assets, with thumbnails of their own."""
    with pytest.raises(InvalidSetting, match="thumbs_root"):
        AssetRegistry(thumb_root=project / "assets" / "thumbs")
