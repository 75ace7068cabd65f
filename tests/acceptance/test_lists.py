"""Lists: filters, order, pages, and what a page costs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comfyvn.db import ledger
from comfyvn.errors import InvalidFilter
from comfyvn.studio.core import AssetRegistry

LIBRARY: dict[str, tuple[str, dict[str, Any]]] = {
    "mara": ("characters", {"tags": ["Mara", "smile"], "license": "CC-BY-4.0", "artist": "J. Doe"}),
    "yuki": ("characters", {"tags": ["yuki", "Smile", "夏"], "license": "cc-by-4.0", "notes": ["Straße", 5]}),
    "city": ("backgrounds", {"tags": ["night"], "license": "MIT", "deep": {"hidden": "needle"}}),
    "beach": ("backgrounds", {"tags": ["夏"], "percent": "100% sand_box"}),
    "plain": ("backgrounds", {}),
}


@pytest.fixture
def library(registry: AssetRegistry, make_png: Callable[..., Path]) -> AssetRegistry:
    """A registry with the assets of ``LIBRARY``, registered in that order."""
    for seed, (name, (kind, metadata)) in enumerate(LIBRARY.items()):
        registry.register_file(make_png(f"{name}.png", seed=seed), kind, metadata=metadata)
    registry.wait_for_thumbnails()
    return registry


def names(entries: Any) -> list[str]:
    return [Path(entry["path"]).stem for entry in entries]


CONDITIONS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": ({}, ["plain", "beach", "city", "yuki", "mara"]),
    "type": ({"asset_type": "characters"}, ["yuki", "mara"]),
    "unknown type": ({"asset_type": "Characters"}, []),
    "one tag": ({"tags": ["smile"]}, ["yuki", "mara"]),
    "a tag as text": ({"tags": "smile"}, ["yuki", "mara"]),
    "a tag in another case": ({"tags": ["SMILE"]}, ["yuki", "mara"]),
    "all of two tags": ({"tags": ["smile", "夏"]}, ["yuki"]),
    "one tag twice": ({"tags": ["smile", " SMILE "]}, ["yuki", "mara"]),
    "two tags as set": ({"tags": {"smile", "mara"}}, ["mara"]),
    "an unknown tag": ({"tags": ["smile", "nobody"]}, []),
    "part of a tag": ({"tags": ["smil"]}, []),
    "no tags": ({"tags": []}, ["plain", "beach", "city", "yuki", "mara"]),
    "licence": ({"license": "CC-by-4.0"}, ["yuki", "mara"]),
    "no licence": ({"license": ""}, ["plain", "beach"]),
    "text in the path": ({"text": "GROUNDS/c"}, ["city"]),
    "text in a value": ({"text": "doe"}, ["mara"]),
    "text in a list": ({"text": "STRASSE"}, ["yuki"]),
    "text in a tag": ({"text": "nigh"}, ["city"]),
    "text in the licence": ({"text": "mit"}, ["city"]),
    "text further inside": ({"text": "needle"}, []),
    "text in another script": ({"text": "夏"}, ["beach", "yuki"]),
    "a percent sign": ({"text": "%"}, ["beach"]),
    "an underscore": ({"text": "d_b"}, ["beach"]),
    "a backslash": ({"text": "\\"}, []),
    "a quote": ({"text": "'; DROP TABLE assets_registry; --"}, []),
    "all at once": (
        {"asset_type": "characters", "tags": "smile", "license": "cc-by-4.0", "text": "yuki", "limit": 5},
        ["yuki"],
    ),
}


@pytest.mark.parametrize(("conditions", "wanted"), CONDITIONS.values(), ids=CONDITIONS)
def test_a_list_holds_what_matches_newest_first(
    library: AssetRegistry, conditions: dict[str, Any], wanted: list[str]
) -> None:
    """A filter would show too much, or hide what somebody looks for."""
    listed = library.list_assets(**conditions)

    assert names(listed) == wanted
    counted = {key: value for key, value in conditions.items() if key != "limit"}
    assert names(library.iter_assets(**counted)) == wanted
    assert library.count_assets(**counted) == len(wanted)


@pytest.mark.parametrize("spell", [str.lower, str.upper, lambda text: f" {text} "])
def test_a_hash_is_found_however_it_is_spelled(library: AssetRegistry, spell: Callable[[str], str]) -> None:
    """A hash copied from another tool would find nothing."""
    (city,) = library.list_assets(text="city")

    assert library.list_assets(hash_value=spell(city["hash"])) == [city]
    assert library.list_assets(hash_value=city["hash"][:-1]) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6])
def test_pages_by_cursor_hold_everything_once(library: AssetRegistry, limit: int) -> None:
    """An asset at the seam of two pages would be shown twice or never."""
    pages: list[list[Any]] = [list(library.list_assets(limit=limit))]
    while len(pages[-1]) == limit:
        pages.append(list(library.list_assets(limit=limit, cursor=pages[-1][-1]["id"])))

    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert [entry for page in pages for entry in page] == library.list_assets()


def test_pages_stay_in_step_while_others_register_and_remove(
    library: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A page counted by offset skips one asset for each that appears or goes."""
    first = library.list_assets(limit=2)
    library.register_file(make_png("new.png", seed=50), "characters")
    library.remove_asset(first[0]["uid"])

    second = library.list_assets(limit=2, cursor=first[-1]["id"])

    assert names(first) == ["plain", "beach"]
    assert names(second) == ["city", "yuki"]


def test_a_cursor_keeps_the_filter(library: AssetRegistry) -> None:
    """The second page of a filtered list would show everything."""
    (newest,) = library.list_assets("backgrounds", limit=1)

    assert names(library.list_assets("backgrounds", cursor=newest["id"])) == ["beach", "city"]


@pytest.mark.parametrize(
    "conditions",
    [
        {"limit": 0},
        {"limit": -1},
        {"limit": True},
        {"limit": "10"},
        {"limit": 1.5},
        {"cursor": 0},
        {"cursor": "abc"},
        {"asset_type": 5},
        {"hash_value": b"ab"},
        {"text": ["a"]},
        {"text": "x" * 513},
        {"license": 5},
        {"tags": 5},
        {"tags": [5]},
        {"tags": {"a": 1}},
    ],
)
def test_a_condition_that_makes_no_sense_is_refused(
    library: AssetRegistry, conditions: dict[str, Any]
) -> None:
    """A mistake in a script would look like an empty library."""
    with pytest.raises(ValueError, match="Filter refused"):
        library.list_assets(**conditions)


def test_each_entry_carries_hash_thumbs_and_provenance(library: AssetRegistry) -> None:
    """A debug dump would not say where a file comes from."""
    dump = json.loads(json.dumps(library.list_assets()))

    for entry in dump:
        assert len(entry["hash"]) == 64
        assert entry["thumb"] == f"cache/thumbs/{entry['uid']}_256.webp"
        assert entry["links"]["thumbnails"]["512"] == f"cache/thumbs/{entry['uid']}_512.webp"
        assert entry["links"]["file"] == entry["path"]
        assert entry["sidecar"] == entry["links"]["sidecar"] == f"{entry['path']}.asset.json"
        assert entry["provenance"]["source"] == "unspecified"
        assert entry["provenance"]["workflow_hash"]
        assert "inputs" not in entry["provenance"]


@pytest.mark.parametrize(
    "conditions",
    [{}, {"asset_type": "texts"}, {"tags": "many"}, {"license": "MIT"}, {"text": "file"}],
    ids=["all", "type", "tag", "licence", "text"],
)
def test_a_page_loads_no_more_than_a_page(
    registry: AssetRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    conditions: dict[str, Any],
) -> None:
    """Filters loaded the whole table: ten assets cost as much as all."""
    for number in range(120):
        (tmp_path / f"file {number}.txt").write_text(str(number), "utf-8")
    metadata = {"tags": ["many"], "license": "MIT"}
    list(
        registry.register_many(
            {"source_path": path, "asset_type": "texts", "metadata": metadata}
            for path in sorted(tmp_path.glob("*.txt"))
        )
    )
    loaded = []
    build = ledger._asset
    monkeypatch.setattr(ledger, "_asset", lambda row: loaded.append(row[0]) or build(row))

    page = registry.list_assets(**conditions, limit=10)
    next_page = registry.list_assets(**conditions, limit=10, cursor=page[-1]["id"])

    assert len(page) == len(next_page) == 10
    assert len(loaded) == 20


def test_a_list_over_many_batches_is_whole_and_in_order(registry: AssetRegistry, tmp_path: Path) -> None:
    """An asset at the seam of two batches would be listed twice or never."""
    for number in range(1_030):
        (tmp_path / f"{number:04}.txt").write_text(str(number), "utf-8")
    items = [{"source_path": path, "asset_type": "x"} for path in sorted(tmp_path.glob("*.txt"))]
    list(registry.register_many(items))

    wanted = [f"{number:04}" for number in reversed(range(1_030))]
    assert names(registry.list_assets()) == wanted
    assert names(registry.iter_assets()) == wanted
    assert names(registry.list_assets(limit=1_030)) == wanted


def test_another_registry_sees_changes_at_once(
    library: AssetRegistry, open_registry: Callable[..., AssetRegistry], make_png: Callable[..., Path]
) -> None:
    """Changes by another program would never reach an open gallery."""
    other = open_registry()
    (city,) = other.list_assets(text="city")

    library.bulk_update_tags([city["uid"]], add_tags=["rain"], license_tag="")
    new = library.register_file(make_png("new.png", seed=50), "characters")
    library.remove_asset(library.list_assets(text="beach")[0]["uid"])
    library.wait_for_thumbnails()

    assert names(other.list_assets(tags=["rain"])) == ["city"]
    assert other.get_asset(new["uid"]) == library.get_asset(new["uid"])
    assert names(other.list_assets()) == ["new", "plain", "city", "yuki", "mara"]


def test_a_list_does_not_need_the_files(library: AssetRegistry, project: Path) -> None:
    """With a drive unplugged, nobody could look up what was on it."""
    before = library.list_assets()
    shutil.rmtree(project / "assets")
    shutil.rmtree(project / "cache")

    assert library.list_assets() == before


@pytest.mark.parametrize("add", [["new"], ("new",), {"new"}, "new"])
def test_tags_and_licence_of_many_assets_change_in_one_go(library: AssetRegistry, add: Any) -> None:
    """A bulk edit would lose tags, or miss assets."""
    uids = [entry["uid"] for entry in library.list_assets("characters")]

    done = library.bulk_update_tags(
        [*uids, "unknown", uids[0]], add_tags=add, remove_tags=["SMILE"], license_tag="CC0-1.0"
    )

    assert list(done) == uids
    assert [meta["tags"] for meta in done.values()] == [["yuki", "夏", "new"], ["Mara", "new"]]
    assert [meta["license"] for meta in done.values()] == ["CC0-1.0", "CC0-1.0"]
    for uid in uids:
        assert library.get_asset(uid)["meta"] == done[uid]  # type: ignore[index]
        done[uid].pop("media")  # the file tells that, not its sidecar
        assert library.read_sidecar(uid)["meta"] == done[uid]
    assert names(library.list_assets(tags=["new"], license="cc0-1.0")) == ["yuki", "mara"]
    assert library.list_assets(tags=["smile"]) == []


def test_a_licence_is_cleared_by_an_empty_one_and_left_by_none(library: AssetRegistry) -> None:
    """A bulk edit of tags would wipe the licences, or a wrong licence could not be taken away."""
    uids = [entry["uid"] for entry in library.list_assets(license="cc-by-4.0")]

    library.bulk_update_tags(uids, add_tags=["a"])
    left = library.list_assets(license="cc-by-4.0")
    library.bulk_update_tags(uids, license_tag="")

    assert names(left) == ["yuki", "mara"]
    assert names(library.list_assets(license="")) == ["plain", "beach", "yuki", "mara"]


def test_more_assets_than_a_batch_are_edited_as_one_operation(
    registry: AssetRegistry, tmp_path: Path
) -> None:
    """An undo would take back a part of what was one click."""
    for number in range(300):
        (tmp_path / f"{number}.txt").write_text(str(number), "utf-8")
    items = [{"source_path": path, "asset_type": "x"} for path in tmp_path.glob("*.txt")]
    uids = [result["asset"]["uid"] for result in registry.register_many(items) if result["asset"]]

    done = registry.bulk_update_tags(iter(uids), add_tags=["all"])

    assert list(done) == uids
    assert registry.count_assets(tags=["all"]) == 300
    with registry.library.ledger.engine.read() as connection:
        query = "SELECT COUNT(DISTINCT operation_id), COUNT(*) FROM asset_journal WHERE event = ?"
        found = connection.execute(query, ("asset_meta_updated",)).fetchone()
    assert found == (1, 300)


# -- facets and ids -----------------------------------------------------------------------------------


def counted(found: Any, group: str) -> dict[Any, int]:
    return {each["value"]: each["count"] for each in found[group]}


def test_facets_count_types_licences_and_tags(library: AssetRegistry) -> None:
    """A gallery would have to load a library to offer its filters."""
    found = library.facets()

    assert found["total"] == 5
    assert counted(found, "types") == {"backgrounds": 3, "characters": 2}
    assert counted(found, "licenses") == {"CC-BY-4.0": 2, None: 2, "MIT": 1}
    assert counted(found, "tags") == {"smile": 2, "夏": 2, "Mara": 1, "yuki": 1, "night": 1}
    assert [each["value"] for each in found["types"]] == ["backgrounds", "characters"]
    json.dumps(found)


def test_each_facet_is_counted_without_its_own_choice(library: AssetRegistry) -> None:
    """Whoever chose a type could not see how many assets another one has."""
    found = library.facets("characters", tags="夏")

    assert found["total"] == 1
    assert counted(found, "types") == {"characters": 1, "backgrounds": 1}
    assert counted(found, "licenses") == {"cc-by-4.0": 1} or counted(found, "licenses") == {"CC-BY-4.0": 1}
    assert counted(found, "tags") == {"smile": 2, "Mara": 1, "yuki": 1, "夏": 1}


def test_facets_follow_edits_and_removals(library: AssetRegistry) -> None:
    """Counters would drift from what is there."""
    uids = {Path(each["path"]).stem: each["uid"] for each in library.list_assets()}

    library.bulk_update_tags([uids["mara"], uids["plain"]], add_tags=["smile", "new"], remove_tags=["Mara"])
    library.remove_asset(uids["yuki"])

    assert counted(library.facets(), "tags") == {"smile": 2, "new": 2, "夏": 1, "night": 1}
    assert counted(library.facets(text="plain"), "tags") == {"smile": 1, "new": 1}
    assert [each["value"] for each in library.facets(top_tags=1)["tags"]] == ["new"]


def test_a_facet_is_spelled_as_its_assets_spell_it(library: AssetRegistry) -> None:
    """A tag that was put right would be offered in its old spelling for good."""
    uid = library.list_assets(text="yuki")[0]["uid"]

    library.bulk_update_tags([uid], remove_tags=["yuki", "smile"])
    library.bulk_update_tags([uid], add_tags=["Yuki", "SMILE"])

    tags = counted(library.facets(), "tags")
    assert "Yuki" in tags
    assert "smile" in tags  # another asset has it so


def test_ids_are_those_of_the_list(library: AssetRegistry) -> None:
    """A gallery could not show one window of a million assets without loading them."""
    for conditions in ({}, {"tags": "smile"}, {"text": "nobody"}):
        ids = [number for batch in library.iter_ids(**conditions) for number in batch]

        assert ids == [each["id"] for each in library.list_assets(**conditions)]


@pytest.mark.parametrize("top_tags", [0, -1, True, "5", None, 2**63])
def test_facets_of_no_tags_are_refused(library: AssetRegistry, top_tags: Any) -> None:
    """All tags of a library would be answered instead of none."""
    with pytest.raises(InvalidFilter, match="top_tags"):
        library.facets(top_tags=top_tags)
