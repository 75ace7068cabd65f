"""A rebuild heals what older releases left: false hashes, sidecars in other places, old previews."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import legacy
from comfyvn import media
from comfyvn.registry.rebuild import RebuildReport, rebuild
from comfyvn.studio.core import AssetRegistry


@pytest.fixture(autouse=True)
def no_waiting_for_disks(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYVN_DURABILITY", "off")


def digest_of(asset: legacy.OldAsset) -> str:
    return media.read(io.BytesIO(asset.content), name=asset.path).digest


def run(registry: AssetRegistry) -> RebuildReport:
    report = rebuild(registry)
    registry.wait_for_thumbnails()
    return report


@pytest.mark.parametrize("era", legacy.ERAS)
def test_every_asset_of_an_old_library_is_the_same_asset_after_a_rebuild(
    era: legacy.Era, project: Path
) -> None:
    """Stamped files would become second assets or false versions, and lose tags, licence and provenance."""
    old = legacy.build(project, era)

    with AssetRegistry() as registry:
        upgraded = {record["uid"]: record for record in registry.list_assets()}
        rows = {uid: registry.list_provenance(uid) for uid in upgraded}
        report = run(registry)
        again = run(registry)

        assert (report.conflicts, report.failed, report.missing, report.registered) == ([], [], [], [])
        assert report.content_changed == []
        digests = {each.uid: digest_of(each) for each in old.assets}
        never_matched = {each.uid for each in old.assets if digests[each.uid] != each.row["hash"]}
        assert {each["uid"] for each in report.healed} == never_matched
        assert never_matched or not any(each.is_stamped for each in old.assets)
        for asset in old.assets:
            record = registry.get_asset(asset.uid)
            assert record is not None
            assert (record["path"], record["version"], record["missing_since"]) == (asset.path, 1, None)
            digest = digests[asset.uid]
            assert record["hash"] == digest
            before = upgraded[asset.uid]
            for key in ("id", "type", "tags", "license", "created_at"):
                assert record[key] == before[key]  # type: ignore[literal-required]
            assert registry.list_provenance(asset.uid) == rows[asset.uid]
            told = registry.read_sidecar(asset.uid)
            assert (told["schema"], told["uid"], told["hash"]) == (1, asset.uid, digest)
            assert (registry.ASSETS_ROOT / asset.path).read_bytes() == asset.content
        assert again.unchanged == len(old.assets)
        assert {
            name: value for name, value in again.as_dict().items() if isinstance(value, list) and value
        } in (
            {},
            {"skipped": again.skipped},
        )


@pytest.mark.parametrize("era", legacy.ERAS)
def test_the_originals_of_stamped_files_are_still_known(
    era: legacy.Era, project: Path, tmp_path: Path
) -> None:
    """A maker who ingests the export folder again would get each picture twice."""
    old = legacy.build(project, era)

    with AssetRegistry() as registry:
        run(registry)
        for asset in old.assets:
            source = tmp_path / Path(asset.path).name
            source.write_bytes(asset.original)

            again = registry.register_file(source, asset.item.type)

            assert (again["uid"], again["duplicate"]) == (asset.uid, True)


@pytest.mark.parametrize("era", ["1", "2", "3"])
def test_an_old_library_without_its_database_comes_back_from_its_sidecars(
    era: legacy.Era, project: Path
) -> None:
    """The first release kept its sidecars in `_meta` alone."""
    old = legacy.build(project, era)
    shutil.rmtree(old.db.parent)

    with AssetRegistry() as registry:
        report = run(registry)

        assert (report.conflicts, report.failed) == ([], [])
        for asset in old.assets:
            record = registry.get_asset(asset.uid)
            assert record is not None, asset.path
            assert record["path"] == asset.path
            assert sorted(record["tags"]) == sorted(asset.item.tags)
            assert record["license"] == asset.item.license
            assert record["version"] == 1


def test_the_oldest_sidecars_are_read_and_are_no_assets(project: Path) -> None:
    """`mara.png.json` would be registered as a document, and what it says be lost."""
    folder = project / "assets/characters"
    folder.mkdir(parents=True)
    picture = legacy.build(project / "other", "2").assets[0].content
    (folder / "mara.png").write_bytes(picture)
    told = {
        "uid": "3f1a0c22b7d94e10",
        "type": "characters",
        "path": "characters/mara.png",
        "hash": hashlib.sha256(picture).hexdigest(),
        "bytes": len(picture),
        "meta": {"tags": ["mara"], "license": "CC0-1.0"},
    }
    (folder / "mara.png.json").write_text(json.dumps(told))
    (folder / "dialogue.json").write_text('{"uid": "x", "path": "characters/nobody.png"}')

    with AssetRegistry() as registry:
        run(registry)

        records = {record["path"]: record for record in registry.list_assets()}
        assert set(records) == {"characters/mara.png", "characters/dialogue.json"}
        assert records["characters/mara.png"]["uid"] == "3f1a0c22b7d94e10"
        assert records["characters/mara.png"]["tags"] == ["mara"]


@pytest.mark.parametrize("era", ["1", "2", "3"])
def test_old_previews_serve_until_a_rebuild_makes_new_ones(era: legacy.Era, project: Path) -> None:
    """A gallery would be empty after the upgrade, or keep small previews in the old format for ever."""
    old = legacy.build(project, era)
    with_thumbs = [asset for asset in old.assets if asset.thumbs]

    with AssetRegistry() as registry:
        before = {asset.uid: registry.resolve_thumbnail_path(asset.uid) for asset in with_thumbs}
        run(registry)
        after = {asset.uid: registry.resolve_thumbnail_path(asset.uid) for asset in with_thumbs}

    assert with_thumbs
    assert all(path is not None and path.is_file() for path in before.values())
    assert all(path is not None and path.suffix in (".webp", ".json") for path in after.values())


def test_the_second_row_that_an_old_rebuild_made_gets_the_provenance_of_the_first(project: Path) -> None:
    """The asset that is there would have no provenance, and the one with provenance no file."""
    old = legacy.build(project, "3")
    first = next(asset for asset in old.assets if asset.is_stamped and asset.provenance)
    digest = hashlib.sha256(first.content).hexdigest()
    with closing(sqlite3.connect(old.db)) as connection, connection:
        second = {**first.row, "id": 77, "uid": digest[:16], "hash": digest, "bytes": len(first.content)}
        legacy.insert(connection, "assets_registry", second)
    beside = old.assets_root / f"{first.path}.asset.json"
    told = json.loads(beside.read_text("utf-8"))
    beside.write_text(json.dumps({**told, "id": digest[:16], "uid": digest[:16], "hash": digest}))

    with AssetRegistry() as registry:
        report = run(registry)

        record, twin = registry.get_asset(digest[:16]), registry.get_asset(first.uid)
        assert (report.conflicts, report.failed, report.content_changed) == ([], [], [])
        assert record is not None
        assert twin is not None
        assert (record["path"], record["missing_since"]) == (first.path, None)
        assert twin["missing_since"] is not None
        sources = [row["source"] for row in registry.list_provenance(first.uid)]
        assert [row["source"] for row in registry.list_provenance(record["uid"])] == sources != []
        assert registry.read_sidecar(record["uid"])["provenance"]["source"] == sources[0]
