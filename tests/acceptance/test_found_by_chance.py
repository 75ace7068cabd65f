"""What `test_stateful` found, each by itself: rare orders of what users do that once lost something."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comfyvn.errors import PathConflict
from comfyvn.registry.rebuild import RebuildReport, rebuild
from comfyvn.studio.core import AssetRecord, AssetRegistry
from comfyvn.studio.core.previews import POOL

ASSETS = Path("assets")
CAST = ASSETS / "cast"
Open = Callable[..., AssetRegistry]
MakePng = Callable[..., Path]


def run(registry: AssetRegistry) -> RebuildReport:
    report = rebuild(registry, allow_missing=True)
    registry.wait_for_thumbnails()
    return report


def register(registry: AssetRegistry, source: Path, *, source_of: str = "artist") -> AssetRecord:
    return registry.register_file(
        source,
        "cast",
        metadata={"tags": ["heroine"], "license": "CC-BY-4.0", "artist": "Mika"},
        provenance={"source": source_of},
    )


def delete_database(registry: AssetRegistry) -> None:
    registry.close()
    shutil.rmtree("comfyvn/data")


def sidecar(name: str) -> Path:
    return CAST / f"{name}.asset.json"


def edit(name: str, **changes: Any) -> None:
    """Change a sidecar as an editor does, which saves a new file over the old one."""
    beside = Path("edited.json")
    beside.write_text(json.dumps({**json.loads(sidecar(name).read_text("utf-8")), **changes}), "utf-8")
    beside.replace(sidecar(name))


def known(registry: AssetRegistry, uid: str) -> AssetRecord:
    record = registry.get_asset(uid)
    assert record is not None
    return record


def sources(registry: AssetRegistry, uid: str) -> list[str]:
    return [row["source"] for row in registry.list_provenance(uid)]


# -- missing assets -------------------------------------------------------------------------------------


def test_an_asset_that_is_missing_gets_its_deleted_sidecar_again(
    registry: AssetRegistry, make_png: MakePng
) -> None:
    """With the database gone too, nothing would be left of it."""
    uid = register(registry, make_png())["uid"]
    (CAST / "mara.png").unlink()
    sidecar("mara.png").unlink()

    report = run(registry)

    assert [each["uid"] for each in report.sidecars_written] == [uid]
    assert registry.read_sidecar(uid)["tags"] == ["heroine"]


def test_a_sidecar_edited_while_its_asset_is_missing_is_taken_in(
    registry: AssetRegistry, make_png: MakePng
) -> None:
    """The edit would wait for a file that may never come back."""
    uid = register(registry, make_png())["uid"]
    (CAST / "mara.png").unlink()
    run(registry)
    edit("mara.png", tags=["heroine", "by hand"])

    report = run(registry)

    assert [each["uid"] for each in report.metadata_changed] == [uid]
    assert known(registry, uid)["tags"] == ["heroine", "by hand"]


def test_a_broken_sidecar_of_a_missing_asset_is_reported_and_kept(
    registry: AssetRegistry, make_png: MakePng
) -> None:
    """What somebody typed into it would be written over."""
    register(registry, make_png())
    (CAST / "mara.png").unlink()
    sidecar("mara.png").write_text('{"tags": ["half', "utf-8")

    report = run(registry)

    assert [each["path"] for each in report.failed] == ["cast/mara.png"]
    assert sidecar("mara.png").read_text("utf-8") == '{"tags": ["half'


def test_no_folder_is_made_again_for_the_sidecars_of_missing_assets(
    registry: AssetRegistry, make_png: MakePng, tmp_path: Path
) -> None:
    """A drive that comes back would find its folder taken."""
    uid = register(registry, make_png())["uid"]
    shutil.move(CAST, tmp_path / "away")

    run(registry)

    assert known(registry, uid)["missing_since"] is not None
    assert not CAST.exists()


def test_a_missing_asset_goes_along_when_its_folder_is_renamed(
    registry: AssetRegistry, make_png: MakePng
) -> None:
    """Its sidecar would belong to nobody, and what is edited in it be ignored."""
    uid = register(registry, make_png())["uid"]
    (CAST / "mara.png").unlink()
    run(registry)
    edit("mara.png", tags=["by hand"])
    CAST.rename(ASSETS / "people")

    run(registry)

    record = known(registry, uid)
    assert (record["path"], record["tags"]) == ("people/mara.png", ["by hand"])
    assert record["missing_since"] is not None
    assert not CAST.exists()


# -- the database deleted -------------------------------------------------------------------------------


def test_a_copy_that_comes_first_by_name_does_not_become_the_asset_when_the_database_is_lost(
    registry: AssetRegistry, open_registry: Open, make_png: MakePng
) -> None:
    """File managers name copies so that they come first; tags and licence would stay behind."""
    before = register(registry, make_png())
    shutil.copyfile(CAST / "mara.png", CAST / "mara (copy).png")
    delete_database(registry)

    again = open_registry()
    report = run(again)

    after = known(again, before["uid"])
    assert [each["path"] for each in report.duplicates] == ["cast/mara (copy).png"]
    assert (after["path"], after["tags"], after["license"]) == ("cast/mara.png", ["heroine"], "CC-BY-4.0")
    assert (after["id"], sources(again, before["uid"])) == (before["id"], ["artist"])


def test_a_copy_with_its_sidecar_adds_nothing_when_the_database_is_lost(
    registry: AssetRegistry, open_registry: Open, make_png: MakePng
) -> None:
    """Both would be registered at once, and one of them leave a row of provenance that nobody stated."""
    uid = register(registry, make_png())["uid"]
    for end in ("", ".asset.json"):
        shutil.copyfile(f"{CAST}/mara.png{end}", f"{CAST}/a copy.png{end}")
        (CAST / f"mara.png{end}").rename(CAST / f"mara 2.png{end}")
    delete_database(registry)

    again = open_registry()
    report = run(again)

    assert (len(report.registered), len(report.duplicates)) == (1, 1)
    assert sources(again, uid) == ["artist"]


@pytest.mark.parametrize("is_lying_there", [True, False])
def test_content_registered_again_before_the_lost_database_is_rebuilt_keeps_what_its_sidecar_says(
    registry: AssetRegistry, open_registry: Open, make_png: MakePng, is_lying_there: bool
) -> None:
    """The new asset would have the old one's uid, and the old one's sidecar be ignored as a copy's."""
    uid = register(registry, make_png())["uid"]
    delete_database(registry)
    if not is_lying_there:
        (CAST / "mara.png").unlink()
    again = open_registry()
    again.register_file(
        make_png("other.png"), "props", metadata={"tags": ["new"]}, provenance={"source": "again"}
    )

    run(again)

    record = known(again, uid)
    assert sorted(record["tags"]) == ["heroine", "new"]
    assert (record["license"], record["meta"]["artist"]) == ("CC-BY-4.0", "Mika")
    assert sorted(sources(again, uid)) == ["again", "artist"]


@pytest.mark.parametrize("is_renamed", [True, False])
def test_an_older_sidecar_elsewhere_takes_nothing_back_after_the_database_was_lost(
    registry: AssetRegistry, open_registry: Open, make_png: MakePng, is_renamed: bool
) -> None:
    """Nobody knows what we last wrote into it: what it lacks would count as deleted by hand."""
    uid = register(registry, make_png())["uid"]
    delete_database(registry)
    again = open_registry()
    again.register_file(make_png("other.png"), "props", metadata={"tags": ["new"], "license": "MIT"})
    run(again)
    if is_renamed:
        (ASSETS / "props").rename(ASSETS / "things")
        (CAST / "mara.png").unlink()
    else:
        shutil.rmtree(ASSETS / "props")

    run(again)

    record = known(again, uid)
    assert record["path"] == ("things/other.png" if is_renamed else "cast/mara.png")
    assert (sorted(record["tags"]), record["license"]) == (["heroine", "new"], "MIT")
    assert record["meta"]["artist"] == "Mika"


def test_content_registered_again_before_the_lost_database_is_rebuilt_keeps_its_other_versions(
    registry: AssetRegistry, open_registry: Open, make_png: MakePng
) -> None:
    """Only its sidecar tells that the picture was painted over, and nobody would read that there."""
    uid = register(registry, make_png())["uid"]
    make_png("painted.png", seed=2).replace(CAST / "mara.png")
    run(registry)
    painted = known(registry, uid)["hash"]
    (CAST / "mara.png").unlink()
    delete_database(registry)
    again = open_registry()
    info = again.register_file(make_png("other.png"), "props")

    run(again)

    with again.library.read() as rows:
        asset = rows.asset(uid)
    assert asset is not None
    versions = [(each.version, each.digest) for each in asset.all_versions]
    assert versions == [(3, info["hash"]), (2, painted), (1, info["hash"])]
    assert (asset.version, asset.digest) == (3, info["hash"])


def test_a_file_adopted_by_a_registration_keeps_the_provenance_that_its_sidecar_tells(
    registry: AssetRegistry, open_registry: Open, make_png: MakePng
) -> None:
    """The new claim would take the id of the old one from the marker, and with it its place."""
    uid = register(registry, make_png())["uid"]
    delete_database(registry)

    again = open_registry()
    info = register(again, make_png(), source_of="again")

    assert info["path"] == "cast/mara.png"
    assert sources(again, uid) == ["again", "artist"]


def test_what_a_killed_removal_left_in_the_trash_comes_back_without_the_database_too(
    registry: AssetRegistry, open_registry: Open, make_png: MakePng
) -> None:
    """The file would come back only with the second rebuild."""
    uid = register(registry, make_png())["uid"]
    operation = registry.new_operation()
    trash = ASSETS / f".comfyvn/trash/2026-01-01_000000-{uid}-{operation}/cast/mara.png"
    trash.parent.mkdir(parents=True)
    (CAST / "mara.png").rename(trash)
    delete_database(registry)

    again = open_registry()
    report = run(again)

    assert report.recovered == [uid]
    assert known(again, uid)["missing_since"] is None


def test_the_sidecar_of_an_asset_that_the_lost_database_knew_is_not_written_over(
    registry: AssetRegistry, open_registry: Open, make_png: MakePng
) -> None:
    """It is all that tells of that asset, and lies where another one's belongs: somebody swapped them."""
    lost = register(registry, make_png())["uid"]
    delete_database(registry)
    again = open_registry()
    other = register(again, make_png("other.png", seed=2))["uid"]
    for end in ("", ".asset.json"):
        (CAST / f"mara.png{end}").rename("swapping")
        (CAST / f"other.png{end}").rename(CAST / f"mara.png{end}")
        Path("swapping").rename(CAST / f"other.png{end}")

    with pytest.raises(PathConflict, match=lost):
        again.update_asset_meta(other, {"artist": "Jo"})
    report = run(again)

    assert report.conflicts == []
    assert (known(again, other)["path"], known(again, lost)["path"]) == ("cast/mara.png", "cast/other.png")
    assert known(again, lost)["tags"] == ["heroine"]


# -- files and sidecars moved ---------------------------------------------------------------------------


def test_a_change_made_after_a_file_was_moved_with_its_sidecar_is_not_reverted(
    registry: AssetRegistry, make_png: MakePng
) -> None:
    """The sidecar at the new place is older than the change, and would be taken for an edit."""
    uid = register(registry, make_png())["uid"]
    CAST.rename(ASSETS / "people")
    registry.bulk_update_tags([uid], add_tags=["night"], remove_tags=["heroine"], license_tag="MIT")

    report = run(registry)

    record = known(registry, uid)
    assert [each["uid"] for each in report.moved] == [uid]
    assert (record["path"], record["tags"], record["license"]) == ("people/mara.png", ["night"], "MIT")


def test_an_edit_in_a_moved_sidecar_and_a_change_made_since_are_both_kept(
    registry: AssetRegistry, make_png: MakePng
) -> None:
    """One of the two would be lost."""
    uid = register(registry, make_png())["uid"]
    edit("mara.png", license="MIT")
    CAST.rename(ASSETS / "people")
    registry.bulk_update_tags([uid], add_tags=["night"])

    run(registry)

    record = known(registry, uid)
    assert (record["tags"], record["license"]) == (["heroine", "night"], "MIT")


def test_provenance_that_gets_new_numbers_keeps_its_order(registry: AssetRegistry, make_png: MakePng) -> None:
    """A sidecar tells of rows whose numbers another asset has: the oldest would seem to be the newest."""
    register(registry, make_png(), source_of="first")
    register(registry, make_png(), source_of="second")
    told = json.loads(sidecar("mara.png").read_text("utf-8"))["provenance"]
    other = register(registry, make_png("other.png", seed=2), source_of="own")["uid"]
    edit("other.png", provenance=told)

    run(registry)

    assert sources(registry, other) == ["second", "first", "own"]


def test_of_two_copies_of_a_missing_file_the_one_with_its_sidecar_is_the_asset(
    registry: AssetRegistry, make_png: MakePng
) -> None:
    """The one that comes first by name would be, and the sidecar lie beside a mere copy."""
    uid = register(registry, make_png())["uid"]
    shutil.copyfile(CAST / "mara.png", CAST / "a.png")
    for end in ("", ".asset.json"):
        (CAST / f"mara.png{end}").rename(CAST / f"z.png{end}")

    report = run(registry)

    assert known(registry, uid)["path"] == "cast/z.png"
    assert [each["path"] for each in report.duplicates] == ["cast/a.png"]


@pytest.mark.parametrize("is_missing", [False, True])
def test_two_assets_never_share_a_mirror_after_the_mirrors_were_deleted(
    registry: AssetRegistry, make_png: MakePng, tmp_path: Path, is_missing: bool
) -> None:
    """Each would write over the mirror of the other, for ever."""
    first = register(registry, make_png())["uid"]
    shutil.rmtree(ASSETS / "_meta/cast")
    other = tmp_path / "mara.txt"
    other.write_text("a line", "utf-8")
    second = register(registry, other)["uid"]
    if is_missing:
        (CAST / "mara.png").unlink()

    run(registry)

    mirrors = [json.loads(path.read_text("utf-8"))["uid"] for path in (ASSETS / "_meta").rglob("*.json")]
    assert sorted(mirrors) == sorted([first, second])


def test_a_rebuild_that_moves_an_asset_leaves_the_others_their_mirrors(
    registry: AssetRegistry, make_png: MakePng, tmp_path: Path
) -> None:
    """The mirrors were deleted, and it had one under the name of another asset's: that would be gone."""
    picture = register(registry, make_png())["uid"]
    shutil.rmtree(ASSETS / "_meta/cast")
    lines = tmp_path / "mara.txt"
    lines.write_text("a line", "utf-8")
    moved = register(registry, lines)["uid"]
    for end in ("", ".asset.json"):
        (CAST / f"mara.txt{end}").rename(CAST / f"eiko.txt{end}")

    run(registry)

    mirrors = [json.loads(path.read_text("utf-8"))["uid"] for path in (ASSETS / "_meta").rglob("*.json")]
    assert sorted(mirrors) == sorted([picture, moved])


# -- staging --------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
def test_what_a_killed_sweep_leaves_is_swept_by_the_next_one(open_registry: Open) -> None:
    """Without its lock nobody would know the rest for ours, and it would lie there for ever."""
    dead = ASSETS / ".comfyvn/staging/1-0123abcd"
    dead.mkdir(parents=True)
    for name in ("lock", *"abcdefgh"):
        (dead / name).write_bytes(b"claimed")
    code = (
        "import os, signal, sys\n"
        "from comfyvn.studio.core import AssetRegistry\n"
        "removed = []\n"
        "def die(event, arguments):\n"
        "    if event == 'os.remove':\n"
        "        removed.append(arguments)\n"
        "        if len(removed) == 9:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.addaudithook(die)\n"
        "AssetRegistry().library.storage.stage()\n"
    )
    died = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )

    open_registry().library.storage.stage().discard()

    assert died.returncode == -signal.SIGKILL, died.stderr
    assert not dead.exists()


# -- previews -------------------------------------------------------------------------------------------


def test_a_file_that_comes_back_from_the_trash_gets_its_previews_in_the_same_rebuild(
    registry: AssetRegistry, open_registry: Open, make_png: MakePng
) -> None:
    """Removal deleted them, and an older ledger believes that they are there."""
    uid = register(registry, make_png())["uid"]
    registry.wait_for_thumbnails()
    registry.close()
    shutil.copytree("comfyvn/data", "older")
    again = open_registry()
    again.remove_asset(uid, delete_files=True)
    again.close()
    shutil.rmtree("comfyvn/data")
    shutil.copytree("older", "comfyvn/data")

    older = open_registry()
    report = run(older)

    assert report.recovered == [uid]
    assert older.resolve_thumbnail_path(uid) is not None


def test_a_file_that_is_moved_before_its_preview_is_made_gets_it_from_the_rebuild(
    registry: AssetRegistry, make_png: MakePng
) -> None:
    """It would count as a picture that can't be shown."""
    make = POOL.submit
    POOL.submit = lambda library, assets: None  # type: ignore[method-assign] # busy with other pictures
    uid = register(registry, make_png())["uid"]
    POOL.submit = make  # type: ignore[method-assign]
    asset = next(iter(registry.library.ledger.iterate()))
    CAST.rename(ASSETS / "people")
    POOL.submit(registry.library, [asset])
    registry.wait_for_thumbnails()

    run(registry)

    assert known(registry, uid)["preview_state"] == "ready"
    assert registry.resolve_thumbnail_path(uid) is not None


def test_a_preview_that_fails_leaves_an_edited_sidecar_its_edits(
    registry: AssetRegistry, tmp_path: Path
) -> None:
    """The reason is written into the sidecar, and would take the place of what somebody just typed."""
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    make = POOL.submit
    POOL.submit = lambda library, assets: None  # type: ignore[method-assign] # busy with other pictures
    uid = register(registry, broken)["uid"]
    POOL.submit = make  # type: ignore[method-assign]
    edit("broken.png", tags=["by hand"])

    POOL.submit(registry.library, list(registry.library.ledger.iterate()))
    registry.wait_for_thumbnails()

    record = known(registry, uid)
    assert (record["preview_state"], record["tags"]) == ("failed", ["by hand"])
    assert registry.read_sidecar(uid)["tags"] == ["by hand"]


def test_a_sound_that_becomes_a_picture_leaves_no_waveform_behind(
    registry: AssetRegistry, make_png: MakePng, tmp_path: Path
) -> None:
    """The preview of what the asset was would lie in the cache for ever."""
    sound = tmp_path / "rain.wav"
    with wave.open(str(sound), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
        file.writeframes(bytes(800))
    uid = register(registry, sound)["uid"]
    registry.wait_for_thumbnails()
    make_png().replace(CAST / "rain.wav")

    run(registry)

    made = sorted(path.name for path in Path("cache/thumbs").iterdir() if path.is_file())
    assert made == [f"{uid}.facts.json", f"{uid}_256.webp", f"{uid}_512.webp"]
