"""Looking at a library over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from comfyvn.server.answers import asset_etag
from comfyvn.studio.core import AssetRegistry
from support import run_all


@pytest.fixture
def known(registry: AssetRegistry, tmp_path: Path) -> list[dict[str, Any]]:
    """Twelve assets of three types, newest first, as lists have them."""
    items = []
    for number in range(12):
        path = tmp_path / f"{number:02}.txt"
        path.write_text(f"text {number}")
        tags = ["all", "Even" if number % 2 == 0 else "odd", f"number-{number}"]
        licence = {"license": "CC0-1.0" if number < 8 else "CC-BY-4.0"} if number < 10 else {}
        items.append(
            {
                "source_path": path,
                "asset_type": ("characters", "backgrounds", "sounds")[number % 3],
                "metadata": {"tags": tags, "mood": "calm" if number < 4 else "rainy 夏", **licence},
            }
        )
    assert all(each["status"] == "registered" for each in registry.register_many(items))
    return [dict(record) for record in registry.list_assets()]


def uids(answer: httpx.Response) -> list[str]:
    """Return the uids of a list."""
    assert answer.status_code == 200, answer.text
    return [each["uid"] for each in answer.json()["items"]]


def test_a_registered_file_is_listed_and_shown(
    registry: AssetRegistry, client: httpx.Client, tmp_path: Path
) -> None:
    """Else scripts of the spec would not find what they registered."""
    Image.new("RGB", (8, 8), "red").save(tmp_path / "mara.png")
    known = registry.register_file(tmp_path / "mara.png", "characters")
    registry.wait_for_thumbnails()

    listed = client.get("/assets", params={"type": "characters"})
    shown = client.get(f"/assets/{known['uid']}")

    assert listed.status_code == shown.status_code == 200
    assert listed.json() == {
        "ok": True,
        "items": registry.list_assets("characters"),
        "total": 1,
        "next_cursor": None,
    }
    assert shown.json() == {"ok": True, "asset": registry.get_asset(known["uid"])}


def test_an_unknown_asset_is_a_problem_with_a_type(client: httpx.Client) -> None:
    """Else a script could not tell a typing error from a broken server."""
    answer = client.get("/assets/0123456789abcdef")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:comfyvn:problem:asset-not-found"


def test_the_beginning_of_a_uid_is_said_to_be_too_little_over_http(
    client: httpx.Client, known: list[dict[str, Any]]
) -> None:
    """Who is used to the commands would believe that the asset is gone."""
    short = client.get(f"/assets/{known[0]['uid'][:8]}").json()["detail"]
    unknown = client.get("/assets/0123456789abcdef").json()["detail"]

    assert short.endswith("a uid must be whole, as `GET /assets` lists it; its beginning is not enough.")
    assert unknown.endswith("List the uids with `comfyvn list`.")


@pytest.mark.parametrize(
    ("asked", "condition"),
    [
        ({}, {}),
        ({"type": "sounds"}, {"asset_type": "sounds"}),
        ({"type": "no such"}, {"asset_type": "no such"}),
        ({"tag": "EVEN"}, {"tags": ["even"]}),
        ({"tags": "even,all"}, {"tags": ["even", "all"]}),
        ({"tags": ["even", "all"], "tag": "number-2"}, {"tags": ["even", "all", "number-2"]}),
        ({"license": "cc0-1.0"}, {"license": "CC0-1.0"}),
        ({"license": ""}, {"license": ""}),
        ({"q": "夏"}, {"text": "夏"}),
        ({"q": "sounds/0"}, {"text": "sounds/0"}),
        ({"q": ["1", "", "SOUNDS"]}, {"text": ["sounds", "1"]}),
        ({"q": "sounds 1"}, {"text": "sounds 1"}),
        ({"type": "sounds", "tag": "odd"}, {"asset_type": "sounds", "tags": ["odd"]}),
        ({"q": "calm", "license": "CC0-1.0", "tag": "odd"},
         {"text": "calm", "license": "CC0-1.0", "tags": ["odd"]}),
        ({"where": "width>10"}, {"where": "width>10"}),
        ({"type": ["sounds", "cg"]}, {"asset_type": ["sounds", "cg"]}),
        ({"type": ["", "sounds"]}, {"asset_type": "sounds"}),
        ({"license": ["", "cc-by-4.0"]}, {"license": ["", "CC-BY-4.0"]}),
        ({"not_type": ["sounds", "cg"]}, {"not_types": ["sounds", "cg"]}),
        ({"not_type": ""}, {}),
        ({"not_tag": ["odd", "number-2,number-4"]}, {"not_tags": ["odd", "number-2", "number-4"]}),
        ({"not_license": ""}, {"not_licenses": [""]}),
        ({"not_license": ["", "cc0-1.0"]}, {"not_licenses": ["", "CC0-1.0"]}),
        ({"tag": "odd", "not_tag": "number-1"}, {"tags": ["odd"], "not_tags": ["number-1"]}),
        ({"problem": "no-license"}, {"problems": ["no-license"]}),
        ({"problem": ["no-tags", "no-license"]}, {"problems": ["no-tags", "no-license"]}),
        ({"uid": ""}, {}),
        ({"workflow": "abcdef0123456789"}, {"workflow": "abcdef0123456789"}),
        ({"rating": "0"}, {"min_rating": 0}),
        ({"rating": "3"}, {"min_rating": 3}),
        ({"q": "%00"}, {"text": "%00"}),
        ({"q": "' OR 1=1 --"}, {"text": "' OR 1=1 --"}),
    ],
)  # fmt: skip
def test_a_filter_finds_what_it_finds_in_python(
    registry: AssetRegistry,
    client: httpx.Client,
    known: list[dict[str, Any]],
    asked: dict[str, Any],
    condition: dict[str, Any],
) -> None:
    """Else the two doors would show two libraries."""
    wanted = [each["uid"] for each in registry.list_assets(**condition)]

    for limit in (2, 1000):
        answer = client.get("/assets", params={**asked, "limit": limit})

        assert uids(answer) == wanted[:limit]
        assert answer.json()["total"] == len(wanted)


def test_a_hash_finds_its_asset(client: httpx.Client, known: list[dict[str, Any]]) -> None:
    """Else a script could not ask whether a file is there already."""
    digest = known[3]["hash"]

    assert uids(client.get("/assets", params={"hash": digest.upper()})) == [known[3]["uid"]]
    assert uids(client.get("/assets", params={"hash": digest[:-1]})) == []


@pytest.mark.parametrize(
    ("asked", "condition"),
    [
        ({"type": ["sounds", "characters"]}, {"asset_type": ["sounds", "characters"]}),
        ({"license": ["", "cc-by-4.0"]}, {"license": ["", "CC-BY-4.0"]}),
        ({"not_types": ["sounds"], "not_tags": ["ODD"]}, {"not_types": "sounds", "not_tags": "odd"}),
        ({"not_licenses": [""]}, {"not_licenses": ""}),
        ({"problems": ["no-license", "missing"]}, {"problems": "no-license"}),
        ({"rating": 1}, {"min_rating": 1}),
        ({"workflow": "nothing came of it"}, {"workflow": "nothing came of it"}),
    ],
)
def test_a_bulk_edit_means_what_the_list_shows(
    registry: AssetRegistry,
    client: httpx.Client,
    known: list[dict[str, Any]],
    asked: dict[str, Any],
    condition: dict[str, Any],
) -> None:
    """Else an edit of all that a gallery shows would change other assets."""
    body = {"filter": asked, "dry_run": True, "add_tags": ["new"]}

    answer = client.post("/assets/bulk", json=body)

    assert answer.status_code == 200, answer.text
    assert answer.json()["changed"] == [each["uid"] for each in registry.list_assets(**condition)]


def test_a_part_of_a_uid_finds_its_asset(client: httpx.Client, known: list[dict[str, Any]]) -> None:
    """Else who has the beginning of a uid from a log would have to guess the rest."""
    uid = known[3]["uid"]

    assert uids(client.get("/assets", params={"uid": uid[:12].upper()})) == [uid]
    assert uids(client.get("/assets", params={"uid": uid, "type": "nothing"})) == []


@pytest.mark.parametrize(
    ("asked", "status", "why"),
    [
        ({"problem": "no-licence"}, 422, "no-license"),
        ({"uid": "xyz"}, 422, "hexadecimal"),
        ({"rating": "6"}, 422, "less than or equal to 5"),
        ({"rating": "good"}, 422, "integer"),
        ({"not_tag": '"open'}, 422, "told apart"),
        ({"type": [f"type{number}" for number in range(101)]}, 422, "limit is 100"),
        ({"not-tag": "odd"}, 422, "not_tag"),
    ],
)
@pytest.mark.parametrize("path", ["/assets", "/assets/facets", "/assets/index"])
def test_a_condition_that_nothing_can_meet_is_named(
    client: httpx.Client, known: list[dict[str, Any]], path: str, asked: dict[str, Any], status: int, why: str
) -> None:
    """Else a mistyped condition would look like an empty library."""
    answer = client.get(path, params=asked)

    assert answer.status_code == status, answer.text
    assert why in answer.json()["detail"]


def test_the_old_address_with_a_slash_needs_no_redirect(
    client: httpx.Client, known: list[dict[str, Any]]
) -> None:
    """Else scripts that don't follow redirects would break, or lose their token on the way."""
    plain, slash = (client.get(path, params={"limit": 3}) for path in ("/assets", "/assets/"))

    assert (plain.status_code, slash.status_code) == (200, 200)
    assert plain.json() == slash.json()


@pytest.mark.parametrize(
    "asked",
    [
        {"limit": 0}, {"limit": -1}, {"limit": 1001}, {"limit": "many"}, {"limit": "9" * 5000},
        {"limit": "1.5"}, {"cursor": 0}, {"cursor": "x"}, {"cursor": str(2**63)}, {"cursor": "9" * 5000},
        {"q": "x" * 513}, {"q": ["mara", "x" * 513]}, {"q": [str(number) for number in range(21)]},
        {"where": "width"}, {"where": "width>wide"}, {"where": "'; DROP TABLE assets--"},
        {"tag": "a\x07b"},
    ],
)  # fmt: skip
def test_a_question_out_of_range_is_refused(client: httpx.Client, asked: dict[str, Any]) -> None:
    """Else it would cost the server too much, or answer another question."""
    answer = client.get("/assets", params=asked)

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert client.get("/assets/index", params=asked).status_code in (200, 422)


def test_the_largest_page_is_a_setting(
    open_registry: Callable[..., AssetRegistry], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a small machine could not be spared large pages, or its usual page would be refused."""
    from serving import serve

    monkeypatch.setenv("COMFYVN_PAGE_SIZE", "5")
    with serve(open_registry()) as client:
        usual, most, more = (
            client.get("/assets", params=params) for params in ({}, {"limit": 5}, {"limit": 6})
        )

    assert [usual.status_code, most.status_code, more.status_code] == [200, 200, 422]
    assert "page_size" in more.json()["detail"]


def test_pages_show_each_asset_once_while_others_register(
    registry: AssetRegistry, client: httpx.Client, known: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Else a list by offset would show some assets twice and others never."""
    seen: list[str] = []
    cursor: dict[str, int] = {}
    for page in range(100):
        answer = client.get("/assets", params={"limit": 5, **cursor}).json()
        seen += [each["uid"] for each in answer["items"]]
        (tmp_path / "more.txt").write_text(f"more {page}")
        registry.register_file(tmp_path / "more.txt", "characters")
        if answer["next_cursor"] is None:
            break
        cursor = {"cursor": answer["next_cursor"]}

    assert seen == [each["uid"] for each in known]


def test_a_page_that_the_client_has_is_not_sent_again(
    registry: AssetRegistry, client: httpx.Client, known: list[dict[str, Any]]
) -> None:
    """Else a script that looks every minute would load the library every minute."""
    first = client.get("/assets")
    again = client.get("/assets", headers={"if-none-match": first.headers["etag"]})
    registry.bulk_update_tags([known[0]["uid"]], add_tags="new")

    changed = client.get("/assets", headers={"if-none-match": first.headers["etag"]})

    assert (again.status_code, again.content) == (304, b"")
    assert changed.status_code == 200


# -- counts -----------------------------------------------------------------------------------------------


def test_facets_are_those_of_python(
    registry: AssetRegistry, client: httpx.Client, known: list[dict[str, Any]]
) -> None:
    """Else the numbers beside the filters would be wrong."""
    everything = client.get("/assets/facets").json()
    chosen = client.get("/assets/facets", params={"type": "sounds", "q": "rainy", "top_tags": 2}).json()

    assert everything == {"ok": True, **registry.facets()}
    assert {"value": None, "count": 2} in everything["licenses"]
    assert chosen == {"ok": True, **registry.facets("sounds", text="rainy", top_tags=2)}
    assert client.get("/assets/facets", params={"top_tags": 0}).status_code == 422


def test_facets_of_a_selection_are_those_of_its_assets(
    registry: AssetRegistry, client: httpx.Client, known: list[dict[str, Any]]
) -> None:
    """Else a bulk edit would say "on 12 of 30" of other assets than are selected."""
    ids = [each["id"] for each in known[:5]]

    answer = client.post("/assets/facets", json={"ids": [*ids, ids[0], 5], "top_tags": 2})

    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told == {"ok": True, **registry.facets_among([*ids, 5], top_tags=2)}
    assert (told["total"], told["missing"], len(told["tags"])) == (5, 1, 2)
    assert told["tags"][0] == {"value": "all", "count": 5}
    assert client.post("/assets/facets", json={"ids": []}).json()["total"] == 0
    many = list(range(2**50, 2**50 + 100_000))
    assert client.post("/assets/facets", json={"ids": [*ids, *many[5:]]}).json()["total"] == 5
    too_many = client.post("/assets/facets", json={"ids": [*ids, *many]})
    assert (too_many.status_code, "bulk_assets" in too_many.text) == (422, True)
    for body in ({}, {"ids": [0]}, {"ids": ["5"]}, {"ids": ids, "top_tags": 0}, {"ids": ids, "full": True}):
        refused = client.post("/assets/facets", json=body)
        assert refused.status_code == 422, body


def test_words_in_use_complete_what_one_types(client: httpx.Client, known: list[dict[str, Any]]) -> None:
    """Else each script would invent spellings of its own."""

    def named(what: str, **params: Any) -> list[tuple[str, int]]:
        answer = client.get(f"/assets/{what}", params=params)
        assert answer.status_code == 200, answer.text
        return [(each["name"], each["count"]) for each in answer.json()["items"]]

    assert named("types") == [("backgrounds", 4), ("characters", 4), ("sounds", 4)]
    assert named("types", prefix="s") == [("sounds", 4)]
    assert named("licenses") == [("CC0-1.0", 8), ("CC-BY-4.0", 2)]
    assert named("licenses", prefix="cc-") == [("CC-BY-4.0", 2)]
    assert named("tags", limit=3) == [("all", 12), ("Even", 6), ("odd", 6)]
    assert named("tags", prefix="EV") == [("Even", 6)]
    assert named("tags", prefix="number-1") == [("number-1", 1), ("number-10", 1), ("number-11", 1)]
    assert named("tags", prefix="%") == named("tags", prefix="\U0010ffff") == []


@pytest.mark.parametrize("asked", [{"limit": 0}, {"limit": 1001}, {"prefix": "x" * 513}])
def test_a_completion_has_its_limits(client: httpx.Client, asked: dict[str, Any]) -> None:
    """Else one question could ask for everything."""
    for what in ("types", "tags", "licenses"):
        assert client.get(f"/assets/{what}", params=asked).status_code == 422


# -- rows -------------------------------------------------------------------------------------------------


def test_cards_come_in_the_order_that_was_asked_for(
    registry: AssetRegistry, client: httpx.Client, known: list[dict[str, Any]]
) -> None:
    """Else a gallery would show them in places of others."""
    ids = [known[at]["id"] for at in (7, 2, 11, 0)]
    unknown = [1, 2**53]

    answer = client.post("/assets/rows", json={"ids": [unknown[0], *ids, unknown[1]]}).json()

    assert [each["id"] for each in answer["items"]] == ids
    assert answer["missing"] == unknown
    card = answer["items"][0]
    assert {name: card[name] for name in ("uid", "type", "path", "tags", "license", "updated_at")} == {
        name: known[7][name] for name in ("uid", "type", "path", "tags", "license", "updated_at")
    }


def test_a_card_tells_of_its_preview_and_its_media(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path]
) -> None:
    """Else a gallery would have to ask once more for each tile."""
    record = registry.register_file(make_png(size=(64, 48)), "characters")
    registry.wait_for_thumbnails()

    card = client.post("/assets/rows", json={"ids": [record["id"]]}).json()["items"][0]
    thumb = client.get(f"/assets/{card['uid']}/thumb", params={"v": card["preview_version"]})

    assert (card["preview_kind"], card["preview_state"]) == ("thumbnail", "ready")
    assert (card["media"]["width"], card["media"]["height"]) == (64, 48)
    assert card["missing_since"] is None
    assert "immutable" in thumb.headers["cache-control"]


def test_whole_records_are_those_of_the_list(client: httpx.Client, known: list[dict[str, Any]]) -> None:
    """Else the debug view would show something else than `list_assets`."""
    ids = [each["id"] for each in reversed(known)]

    answer = client.post("/assets/rows", json={"ids": ids, "full": True}).json()

    assert answer["items"] == list(reversed(known))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"ids": list(range(1, 1002))}, 422),
        ({"ids": [0]}, 422),
        ({"ids": [-1]}, 422),
        ({"ids": [2**63]}, 422),
        ({"ids": [True]}, 422),
        ({"ids": [1.0]}, 422),
        ({"ids": ["1"]}, 422),
        ({"ids": 1}, 422),
        ({}, 422),
        ({"ids": [1], "more": 1}, 422),
        ([1], 422),
        ({"ids": []}, 200),
        ({"ids": list(range(1, 1001))}, 200),
    ],
)
def test_rows_are_asked_for_by_numbers(client: httpx.Client, body: object, status: int) -> None:
    """Else anything could be put into the question."""
    assert client.post("/assets/rows", json=body).status_code == status


# -- one asset --------------------------------------------------------------------------------------------


def test_the_tag_of_an_asset_has_a_part_for_what_people_write(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path]
) -> None:
    """Else a preview that is finished meanwhile would refuse somebody's edit, or an edit be lost."""
    uid = registry.register_file(make_png(), "characters")["uid"]
    registry.wait_for_thumbnails()

    def tag() -> tuple[str, str]:
        answer = client.get(f"/assets/{uid}")
        facts, _, rest = answer.headers["etag"].strip('"').partition(".")
        assert (
            client.get(f"/assets/{uid}", headers={"if-none-match": answer.headers["etag"]}).status_code == 304
        )
        return facts, rest

    first = tag()
    with registry.library.ledger.engine.write() as connection:
        connection.execute(
            "UPDATE assets_registry SET preview_state = 'failed', media = '{\"format\": \"x\"}'"
        )
    second = tag()
    registry.bulk_update_tags([uid], license_tag="CC0-1.0")
    third = tag()
    registry.update_asset_meta(uid, {"license": "CC0-1.0", "mood": "calm"})
    fourth = tag()

    assert first[0] == second[0]
    assert len({first[1], second[1], third[1], fourth[1]}) == 4
    assert len({second[0], third[0], fourth[0]}) == 3


def test_a_key_of_the_users_own_counts_though_we_have_one_of_that_name() -> None:
    """Else an edit of it would be lost: it is no fact that we filled in."""
    record: dict[str, Any] = dict.fromkeys(("uid", "type", "path", "version", "hash", "license"), "x")
    record |= {"tags": [], "preview": None, "media": {"format": "png"}}

    tags = {
        asset_etag({**record, "meta": meta}).partition(".")[0]
        for meta in ({}, {"media": {"format": "png"}}, {"media": "a book"}, {"preview": "soon"})
    }

    assert len(tags) == 3


def test_the_sidecar_is_shown_as_it_lies_there(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path], project: Path
) -> None:
    """Else a script could not see what a person wrote into it."""
    record = registry.register_file(make_png(), "characters")
    place = registry.sidecar_path(record["uid"])
    assert place is not None
    said = json.loads(place.read_text("utf-8"))
    said["note"] = "by hand"
    place.write_text(json.dumps(said), "utf-8")

    shown = client.get(f"/assets/{record['uid']}/sidecar")
    place.write_text("{broken", "utf-8")
    broken = client.get(f"/assets/{record['uid']}/sidecar")
    place.unlink()
    gone = client.get(f"/assets/{record['uid']}/sidecar")

    assert shown.json() == {"ok": True, "uid": record["uid"], "path": record["sidecar"], "sidecar": said}
    assert (broken.status_code, gone.status_code) == (500, 404)
    assert str(project) not in broken.text + gone.text
    assert gone.json()["type"] == "urn:comfyvn:problem:sidecar-missing"


def test_provenance_comes_in_pages_also_of_a_removed_asset(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path]
) -> None:
    """Else nobody could say where a file came from once it is gone."""
    path = make_png()
    for number in range(3):
        uid = registry.register_file(path, "characters", provenance={"source": f"step {number}"})["uid"]
    registry.remove_asset(uid)

    first = client.get(f"/assets/{uid}/provenance", params={"limit": 2}).json()
    rest = client.get(f"/assets/{uid}/provenance", params={"cursor": first["next_cursor"]}).json()

    assert [each["source"] for each in first["items"] + rest["items"]] == ["step 2", "step 1", "step 0"]
    assert rest["next_cursor"] is None
    assert client.get("/assets/0123456789abcdef/provenance").status_code == 404


def test_history_comes_in_pages_also_of_a_removed_asset(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path]
) -> None:
    """Else nobody could find the operation that is to be undone."""
    uid = registry.register_file(make_png(), "characters")["uid"]
    for number in range(3):
        registry.update_asset_meta(uid, {"number": number})
    registry.remove_asset(uid)
    wanted = registry.history(uid)

    seen: list[Any] = []
    cursor: dict[str, int] = {}
    while True:
        page = client.get(f"/assets/{uid}/history", params={"limit": 2, **cursor}).json()
        seen += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}

    assert seen == wanted
    assert client.get("/assets/0123456789abcdef/history").status_code == 404


def test_fixed_addresses_are_no_uids(client: httpx.Client) -> None:
    """Else `/assets/types` would look for an asset of that name."""
    for what in ("types", "tags", "licenses", "facets", "index"):
        assert client.get(f"/assets/{what}").status_code == 200


def test_readers_at_once_all_get_their_answers(
    registry: AssetRegistry, client: httpx.Client, known: list[dict[str, Any]]
) -> None:
    """Else a question in a thread could be answered to somebody else."""

    def look(number: int) -> None:
        for _ in range(10):
            answer = client.get("/assets", params={"tag": f"number-{number}", "q": "text"})
            listed = client.get("/assets", params={"tag": f"number-{number}"})
            assert answer.json()["items"] == []
            assert listed.json()["items"][0]["tags"][-1] == f"number-{number}"

    run_all(*(lambda number=number: look(number) for number in range(8)))
