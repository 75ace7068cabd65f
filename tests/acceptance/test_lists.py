"""Lists: filters, order, pages, and what a page costs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comfyvn.db import ledger
from comfyvn.errors import InvalidFilter
from comfyvn.model import SORTS, fold
from comfyvn.registry.rebuild import rebuild
from comfyvn.studio.core import AssetRegistry

LIBRARY: dict[str, tuple[str, dict[str, Any]]] = {
    "mara": ("characters", {"tags": ["Mara", "smile"], "license": "CC-BY-4.0", "artist": "J. Doe"}),
    "yuki": ("characters", {"tags": ["yuki", "Smile", "夏"], "license": "cc-by-4.0", "notes": ["Straße", 5]}),
    "city": ("backgrounds", {"tags": ["night"], "license": "MIT", "rating": 4, "deep": {"hidden": "needle"}}),
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
    "either of two types": ({"asset_type": ["characters", "cg"]}, ["yuki", "mara"]),
    "two types": ({"asset_type": ["characters", "backgrounds"]}, ["plain", "beach", "city", "yuki", "mara"]),
    "no type in particular": ({"asset_type": []}, ["plain", "beach", "city", "yuki", "mara"]),
    "either of two licences": ({"license": {"mit", ""}}, ["plain", "beach", "city"]),
    "unknown licences": ({"license": ["GPL", "zlib"]}, []),
    "types and licences": (
        {"asset_type": ["backgrounds", "cg"], "license": ["", "cc-by-4.0"]},
        ["plain", "beach"],
    ),
    "not a type": ({"not_types": "characters"}, ["plain", "beach", "city"]),
    "no type at all": ({"not_types": ["characters", "backgrounds"]}, []),
    "not an unknown type": ({"not_types": ["cg"]}, ["plain", "beach", "city", "yuki", "mara"]),
    "not a tag": ({"not_tags": "SMILE"}, ["plain", "beach", "city"]),
    "none of two tags": ({"not_tags": ["夏", "night"]}, ["plain", "mara"]),
    "one tag without another": ({"tags": "夏", "not_tags": "yuki"}, ["beach"]),
    "a tag without itself": ({"tags": "夏", "not_tags": "夏"}, []),
    "not a licence": ({"not_licenses": "cc-by-4.0"}, ["plain", "beach", "city"]),
    "with any licence": ({"not_licenses": ""}, ["city", "yuki", "mara"]),
    "text without a tag": ({"text": "a", "not_tags": ["smile"]}, ["plain", "beach", "city"]),
    "without tags": ({"problems": "no-tags"}, ["plain"]),
    "without licence": ({"problems": ["no-license"]}, ["plain", "beach"]),
    "without licence or tags": ({"problems": ["no-tags", "no-license"]}, ["plain", "beach"]),
    "nothing wrong": ({"problems": ["missing", "no-sidecar", "no-thumbnail", "conflict"]}, []),
    "a problem and a text": ({"problems": ["no-license", "missing"], "text": "sand"}, ["beach"]),
    "rated": ({"min_rating": 1}, ["city"]),
    "rated higher": ({"min_rating": 5}, []),
    "rated or not": ({"min_rating": 0}, ["plain", "beach", "city", "yuki", "mara"]),
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
        {"text": 5},
        {"text": ["a", 5]},
        {"text": {"a": 1}},
        {"text": [f"t{number}" for number in range(21)]},
        {"text": "x" * 513},
        {"license": 5},
        {"tags": 5},
        {"tags": [5]},
        {"tags": {"a": 1}},
        {"asset_type": ["a", 5]},
        {"asset_type": {"a": 1}},
        {"asset_type": [f"t{number}" for number in range(101)]},
        {"license": [None]},
        {"not_types": 5},
        {"not_tags": [5]},
        {"not_tags": [f"t{number}" for number in range(101)]},
        {"not_licenses": ["\ud800"]},
        {"problems": ["no-licence"]},
        {"problems": 5},
        {"problems": [["missing"]]},
        {"uid": "abc"},
        {"uid": "abcg"},
        {"uid": 5},
        {"workflow": " "},
        {"workflow": "x" * 1_001},
        {"workflow": 5},
        {"min_rating": 6},
        {"min_rating": -1},
        {"min_rating": "3"},
        {"min_rating": True},
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
    assert counted(found, "tags") == {"smile": 2, "夏": 2, "Mara": 1, "yuki": 1, "night": 1, None: 1}
    assert counted(found, "problems") == {
        "no-license": 2,
        "no-tags": 1,
        "missing": 0,
        "no-sidecar": 0,
        "no-thumbnail": 0,
        "conflict": 0,
    }
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


def test_ids_come_in_the_order_that_was_asked_for(
    library: AssetRegistry, make_png: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gallery that is sorted by name or size would jump about, or leave assets out at a seam."""
    monkeypatch.setattr(ledger, "_IDS_CHUNK", 2)
    library.register_file(make_png("Beach2.png", size=(300, 200)), "backgrounds", metadata={"tags": ["夏"]})
    records = {record["id"]: record for record in library.list_assets()}
    keys: dict[str, Callable[[int], Any]] = {
        "newest": lambda number: -number,
        "oldest": lambda number: number,
        "name": lambda number: (fold(records[number]["path"]), number),
        "largest": lambda number: (-records[number]["bytes"], -number),
        "changed": lambda number: (_reversed(records[number]["updated_at"]), -number),
    }
    for sort in SORTS:
        for conditions in ({}, {"tags": "夏"}, {"tags": "nobody"}, {"problems": ["no-tags", "missing"]}):
            wanted = sorted((each["id"] for each in library.list_assets(**conditions)), key=keys[sort])

            parts = list(library.iter_ids(sort=sort, **conditions))

            assert [number for part in parts for number in part] == wanted, (sort, conditions)
            assert all(0 < len(part) <= 2 for part in parts)


def _reversed(at: str) -> int:
    """Return a number that is smaller for a later time."""
    return -int("".join(filter(str.isdigit, at)))


def test_an_order_that_there_is_not_is_refused(library: AssetRegistry) -> None:
    """A mistyped order would look like the one that was meant."""
    with pytest.raises(InvalidFilter, match="no order 'size'; there are newest"):
        library.iter_ids(sort="size")  # type: ignore[arg-type]


def test_what_came_of_a_workflow_is_found_by_any_of_its_provenance(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Others from a workflow could not be shown, or one that came of it twice would be shown twice."""
    one = {"source": "comfyui", "workflow_hash": "abcdef0123456789"}
    other = {"source": "comfyui", "workflow_hash": "abcdef01ffffffff"}
    uids = [
        registry.register_file(make_png(f"{seed}.png", seed=seed), "cg", provenance=claim)["uid"]
        for seed, claim in enumerate((one, one, other, {"source": "paint"}))
    ]
    registry.register_file(make_png("again.png", seed=0), "cg", provenance=other)
    registry.register_file(make_png("again.png", seed=0), "cg", provenance=one)

    def of(workflow: str, **conditions: Any) -> list[str]:
        listed = [each["uid"] for each in registry.list_assets(workflow=workflow, **conditions)]
        assert registry.count_assets(workflow=workflow, **conditions) == len(listed)
        return listed

    assert of("abcdef0123456789") == [uids[1], uids[0]]
    assert of("abcdef01ffffffff") == [uids[2], uids[0]]
    assert of("abcdef01") == [uids[2], uids[1], uids[0]]
    assert of("abcdef0") == []
    assert of("abcdef01", uid=uids[1][:6]) == [uids[1]]
    assert of("abcdef01", asset_type="voices") == []
    assert of("abcdef01ffffffff", hash_value=registry.list_assets(uid=uids[0])[0]["hash"]) == [uids[0]]
    registry.remove_asset(uids[1])
    assert of("abcdef0123456789") == [uids[0]]


def test_what_is_wrong_with_assets_is_found_and_counted(
    registry: AssetRegistry, make_png: Callable[..., Path], tmp_path: Path
) -> None:
    """Somebody who puts a library in order could not see what is left to do."""
    names = ("fine", "gone", "quarrel", "settled")
    uids = {
        name: registry.register_file(
            make_png(f"{name}.png", seed=seed), "cg", metadata={"tags": ["a"], "license": "MIT"}
        )["uid"]
        for seed, name in enumerate(names)
    }
    (tmp_path / "cut.png").write_bytes(make_png("whole.png", seed=9).read_bytes()[:60])
    uids["cut"] = registry.register_file(tmp_path / "cut.png", "cg")["uid"]
    registry.wait_for_thumbnails()
    path = registry.resolve_path(uids["gone"])
    assert path is not None
    path.unlink()
    rebuild(registry, allow_missing=True)
    for name in ("quarrel", "settled"):  # an edit by hand of what is changed here, too
        beside = registry.sidecar_path(uids[name])
        assert beside is not None
        beside.write_text(beside.read_text().replace('"MIT"', '"by hand"'))
        registry.update_asset_meta(uids[name], {"tags": ["a"], "license": "CC0-1.0"})
    registry.update_asset_meta(uids["settled"], {"tags": ["a"], "license": "CC0-1.0"})

    def wrong(problem: str) -> list[str]:
        return [each["uid"] for each in registry.list_assets(problems=problem)]

    assert wrong("missing") == [uids["gone"]]
    assert wrong("no-thumbnail") == [uids["cut"]]
    assert wrong("conflict") == [uids["quarrel"]]
    assert wrong("no-tags") == wrong("no-license") == [uids["cut"]]
    assert wrong("no-sidecar") == []
    assert counted(registry.facets(problems="conflict"), "problems") == {
        "no-license": 1,
        "no-tags": 1,
        "missing": 1,
        "no-sidecar": 0,
        "no-thumbnail": 1,
        "conflict": 1,
    }
    assert registry.facets(problems=["conflict", "missing"])["total"] == 2
    operation = registry.history(uids["quarrel"], limit=1)[0]["operation"]
    registry.undo(operation)
    assert wrong("conflict") == []


def test_a_card_tells_what_a_gallery_shows_of_an_asset(library: AssetRegistry) -> None:
    """A gallery would load whole records to sort by size or to draw stars."""
    for record in library.list_assets():
        card = library.get_cards([record["id"]])[record["id"]]

        for name in (
            "uid",
            "type",
            "path",
            "bytes",
            "version",
            "tags",
            "license",
            "created_at",
            "updated_at",
        ):
            assert card[name] == record[name]  # type: ignore[literal-required]
        assert card["rating"] == (4 if "city" in record["path"] else None)


@pytest.mark.parametrize("rating", [6, -1, 4.0, "4", True, None, [4]])
def test_what_is_no_number_of_stars_is_none(
    registry: AssetRegistry, make_png: Callable[..., Path], rating: Any
) -> None:
    """A gallery would draw minus one star, or fail to draw anything."""
    entry = registry.register_file(make_png("mara.png"), "cg", metadata={"rating": rating})

    assert registry.get_cards([entry["id"]])[entry["id"]]["rating"] is None
    assert registry.list_assets(min_rating=1) == []


@pytest.mark.parametrize("ids", [[0], [-1], ["1"], [True], [1.5], [2**63]])
def test_a_selection_of_what_is_no_id_is_refused(library: AssetRegistry, ids: Any) -> None:
    """A mistake in a script would look like assets that are gone."""
    with pytest.raises(InvalidFilter, match="an id"):
        library.facets_among(ids)


@pytest.mark.parametrize("top_tags", [0, -1, True, "5", None, 2**63])
def test_facets_of_no_tags_are_refused(library: AssetRegistry, top_tags: Any) -> None:
    """All tags of a library would be answered instead of none."""
    with pytest.raises(InvalidFilter, match="top_tags"):
        library.facets(top_tags=top_tags)
