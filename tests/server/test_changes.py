"""Changing assets over HTTP: patches, bulk edits, removal, restoring, undo, registering in place."""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from comfyvn.studio.core import AssetRecord, AssetRegistry
from serving import serve
from support import run_all

Make = Callable[..., Path]
Open = Callable[..., AssetRegistry]


@pytest.fixture
def mara(registry: AssetRegistry, make_png: Make) -> AssetRecord:
    """One asset with tags, a licence and nested metadata."""
    meta = {
        "tags": ["mara", "draft"],
        "license": "CC0-1.0",
        "artist": "Jo",
        "pose": {"hand": "left", "leg": 1},
    }
    return registry.register_file(make_png(), "characters", metadata=meta)


@pytest.fixture
def many(registry: AssetRegistry, make_png: Make) -> list[str]:
    """Seven assets, of which the first five are drafts."""
    return [
        registry.register_file(
            make_png(f"{seed}.png", seed=seed), "props", metadata={"tags": ["draft"] if seed < 5 else []}
        )["uid"]
        for seed in range(7)
    ]


def tags_of(registry: AssetRegistry, uid: str) -> list[str]:
    record = registry.get_asset(uid)
    assert record is not None
    return record["tags"]


def problem_of(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return str(answer.json()["type"]).rpartition(":")[2]


# -- one asset --------------------------------------------------------------------------------------------


def test_a_patch_changes_what_it_names_and_leaves_the_rest(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord
) -> None:
    """Else a script that sets one key would have to send, and could lose, all others."""
    patch = {"tags": ["mara", "final"], "artist": None, "pose": {"leg": None, "eyes": "shut"}, "mood": "calm"}
    registry.wait_for_thumbnails()  # the record tells of them

    answer = client.patch(f"/assets/{mara['uid']}", json=patch)

    asset = answer.json()["asset"]
    assert answer.status_code == 200
    assert asset == registry.get_asset(mara["uid"])
    assert asset["tags"] == ["mara", "final"]
    assert asset["license"] == "CC0-1.0"
    assert asset["meta"]["pose"] == {"hand": "left", "eyes": "shut"}
    assert asset["meta"]["mood"] == "calm"
    assert "artist" not in asset["meta"]
    assert registry.read_sidecar(mara["uid"])["meta"]["mood"] == "calm"


def test_null_clears_tags_licence_and_origin(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord
) -> None:
    """Else they could not be taken away by a patch."""
    client.patch(f"/assets/{mara['uid']}", json={"origin": "studio"})

    asset = client.patch(
        f"/assets/{mara['uid']}", json={"tags": None, "license": None, "origin": None}
    ).json()["asset"]

    assert (asset["tags"], asset["license"]) == ([], None)
    assert "origin" not in asset["meta"]
    assert asset["meta"]["artist"] == "Jo"


def test_metadata_that_was_read_may_be_sent_back_whole(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord
) -> None:
    """Else a client would have to know which keys are filled in by us."""
    registry.wait_for_thumbnails()
    read = client.get(f"/assets/{mara['uid']}").json()["asset"]

    answer = client.patch(f"/assets/{mara['uid']}", json={**read["meta"], "artist": "Mika"})

    assert answer.status_code == 200
    assert answer.json()["asset"]["meta"] == {**read["meta"], "artist": "Mika"}


def test_a_patch_is_answered_with_the_entity_tag_that_the_asset_then_has(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord
) -> None:
    """Else a client could not go on from its own change without reading again."""
    registry.wait_for_thumbnails()

    patched = client.patch(f"/assets/{mara['uid']}", json={"mood": "calm"})

    read = client.get(f"/assets/{mara['uid']}")
    assert patched.headers["etag"] == read.headers["etag"]


def test_a_patch_with_an_outdated_entity_tag_is_refused(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord
) -> None:
    """Else the change that somebody made meanwhile would be overwritten unseen."""
    address = f"/assets/{mara['uid']}"
    etag = client.get(address).headers["etag"]
    first = client.patch(address, json={"mood": "calm"}, headers={"if-match": etag})

    second = client.patch(address, json={"mood": "angry"}, headers={"if-match": etag})
    weak = client.patch(address, json={"mood": "angry"}, headers={"if-match": f"W/{first.headers['etag']}"})
    empty = client.patch(address, json={"mood": "angry"}, headers={"if-match": ""})
    removal = client.delete(address, headers={"if-match": etag})

    assert first.status_code == 200
    assert [each.status_code for each in (second, weak, empty, removal)] == [412] * 4
    assert problem_of(second) == "changed"
    assert client.get(address).json()["asset"]["meta"]["mood"] == "calm"


def test_a_preview_that_was_made_meanwhile_is_nobodys_change(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord
) -> None:
    """Else the first edit after each upload would be refused."""
    address = f"/assets/{mara['uid']}"
    etag = client.get(address).headers["etag"].partition(".")[0] + '.other"'

    several = client.patch(address, json={"mood": "calm"}, headers={"if-match": f'"x.y", {etag}'})
    any_state = client.patch(address, json={"mood": "odd"}, headers={"if-match": "*"})

    assert several.status_code == any_state.status_code == 200


def test_of_patches_that_name_the_same_state_one_wins_and_nothing_is_lost(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord
) -> None:
    """Else two people at one asset would overwrite each other."""
    address = f"/assets/{mara['uid']}"
    etag = client.get(address).headers["etag"]
    answers: list[httpx.Response] = []

    def patch(number: int) -> None:
        body = {f"key{number}": number, "winner": number}
        answers.append(client.patch(address, json=body, headers={"if-match": etag}))

    run_all(*(lambda number=number: patch(number) for number in range(8)))  # type: ignore[misc]

    meta = client.get(address).json()["asset"]["meta"]
    won = [each.json()["asset"]["meta"]["winner"] for each in answers if each.status_code == 200]
    assert sorted(each.status_code for each in answers) == [200] + [412] * 7
    assert won == [meta["winner"]]
    assert [name for name in meta if name.startswith("key")] == [f"key{meta['winner']}"]


def test_patches_of_other_keys_at_the_same_time_all_count(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord
) -> None:
    """Else a patch would be a read and a replace, and lose what comes between."""
    address = f"/assets/{mara['uid']}"

    run_all(*(lambda n=n: client.patch(address, json={f"key{n}": n}) for n in range(12)))  # type: ignore[misc]

    meta = client.get(address).json()["asset"]["meta"]
    assert {f"key{n}": n for n in range(12)}.items() <= meta.items()


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ("[]", 422, "invalid-request"),
        ("{", 400, "invalid-body"),
        ('{"a": 1, "a": 2}', 400, "invalid-body"),
        ('{"a": NaN}', 400, "invalid-body"),
        ('{"tags": [1]}', 400, "invalid-metadata"),
        ('{"license": 7}', 400, "invalid-metadata"),
        ('{"version": 0}', 400, "invalid-metadata"),
        ('{"preview": "mine"}', 400, "invalid-metadata"),
        ('{"a": "\\ud800"}', 400, "invalid-body"),
        ('{"a": ' + "[" * 100 + "]" * 100 + "}", 400, "invalid-body"),
        ('{"a": "' + "x" * 300_000 + '"}', 400, "invalid-metadata"),
        ('{"a": "' + "x" * 1_000_001 + '"}', 413, "too-large"),
    ],
)
def test_a_bad_patch_is_refused_and_changes_nothing(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord, body: str, status: int, kind: str
) -> None:
    """Else an asset could get metadata that breaks every later list."""
    registry.wait_for_thumbnails()
    before = registry.get_asset(mara["uid"])
    headers = {"content-type": "application/merge-patch+json"}

    answer = client.patch(f"/assets/{mara['uid']}", content=body, headers=headers)

    assert (answer.status_code, problem_of(answer)) == (status, kind)
    assert registry.get_asset(mara["uid"]) == before


def test_a_body_that_is_not_announced_as_json_is_refused(client: httpx.Client, mara: AssetRecord) -> None:
    """Else a form of a strange web page could be sent here without being asked for permission first."""
    headers = {"content-type": "text/plain"}

    answer = client.patch(f"/assets/{mara['uid']}", content="{}", headers=headers)

    assert (answer.status_code, problem_of(answer)) == (415, "wrong-body-type")


@pytest.mark.parametrize("uid", ["0123456789abcdef", "%2e%2e", "%00", "x" * 5_000, "%ED%A0%80"])
def test_changes_of_unknown_assets_are_not_found(client: httpx.Client, uid: str) -> None:
    """Else a typing error would look like a broken server."""
    answers = [
        client.patch(f"/assets/{uid}", json={"a": 1}),
        client.delete(f"/assets/{uid}"),
        client.post(f"/assets/{uid}/restore"),
        client.post(f"/assets/{uid}/reveal"),
    ]

    assert [answer.status_code for answer in answers] == [404] * 4
    assert {problem_of(answer) for answer in answers} <= {"asset-not-found", "nothing-there"}


def test_a_removed_asset_lies_in_the_trash_and_comes_back(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord
) -> None:
    """Else a slip in the gallery would cost an artist his file."""
    address = f"/assets/{mara['uid']}"
    path = registry.ASSETS_ROOT / mara["path"]
    content = path.read_bytes()

    removed = client.delete(address)
    gone = client.get(address).status_code, path.exists()
    restored = client.post(f"{address}/restore")

    assert removed.json()["ok"] is True
    assert removed.json()["trashed"] == [mara["path"], mara["sidecar"]]
    assert gone == (404, False)
    assert restored.status_code == 200
    assert restored.json()["asset"]["meta"]["artist"] == "Jo"
    assert path.read_bytes() == content


def test_remove_files_says_removed_and_loses_nothing_either(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord
) -> None:
    """Else the flag of older releases would be a way to lose a file for good."""
    answer = client.delete(f"/assets/{mara['uid']}", params={"remove_files": "true"}).json()

    restored = client.post(f"/assets/{mara['uid']}/restore")

    assert answer["removed"] == [mara["path"], mara["sidecar"]]
    assert "trashed" not in answer
    assert restored.status_code == 200
    assert (registry.ASSETS_ROOT / mara["path"]).is_file()


def test_what_is_registered_can_not_be_restored(client: httpx.Client, mara: AssetRecord) -> None:
    """Else a second click on "restore" would be an error of the server."""
    answer = client.post(f"/assets/{mara['uid']}/restore")

    assert (answer.status_code, problem_of(answer)) == (409, "restore-refused")


# -- many -------------------------------------------------------------------------------------------------


def test_a_bulk_edit_by_uids_tells_what_became_of_each(
    client: httpx.Client, registry: AssetRegistry, many: list[str]
) -> None:
    """Else a maker would not know which of his assets have the new tag."""
    body = {"uids": [*many[:2], many[0], "unknown"], "add_tags": ["night"], "license": "MIT"}
    registry.bulk_update_tags([many[1]], add_tags=["night"], license_tag="MIT")

    answer = client.post("/assets/bulk", json=body).json()

    assert answer["counts"] == {"total": 3, "changed": 1, "unchanged": 1, "failed": 1}
    assert (answer["changed"], answer["unchanged"]) == ([many[0]], [many[1]])
    assert answer["failed"] == [{"uid": "unknown", "why": "no asset has this uid"}]
    assert tags_of(registry, many[0]) == ["draft", "night"]


def test_a_bulk_edit_by_filter_is_one_operation_that_one_undo_takes_back(
    client: httpx.Client, registry: AssetRegistry, many: list[str]
) -> None:
    """Else a wrong click on a thousand assets would be a thousand clicks."""
    before = {uid: registry.get_asset(uid) for uid in many}
    body = {
        "filter": {"tags": ["draft"]},
        "expected": 5,
        "add_tags": ["final"],
        "remove_tags": ["DRAFT"],
        "license": "CC0-1.0",
        "metadata": {"chapter": {"number": 3}},
    }

    answer = client.post("/assets/bulk", json=body).json()
    changed = {uid: registry.get_asset(uid) for uid in many}
    listed = client.get("/assets/operations", params={"limit": 1}).json()
    undone = client.post(f"/assets/operations/{answer['operation']}/undo").json()

    assert answer["counts"] == {"total": 5, "changed": 5, "unchanged": 0, "failed": 0}
    assert [record and record["tags"] for record in changed.values()] == [["final"]] * 5 + [[]] * 2
    assert changed[many[0]]["meta"]["chapter"] == {"number": 3}  # type: ignore[index]
    assert listed["items"][0]["operation"] == answer["operation"]
    assert listed["items"][0]["assets"] == 5
    assert undone["counts"] == {"undone": 5, "refused": 0, "kept": 0}
    after = {uid: registry.get_asset(uid) for uid in many}
    assert [_facts(record) for record in after.values()] == [_facts(record) for record in before.values()]


def _facts(record: AssetRecord | None) -> list[object]:
    assert record is not None
    meta = {name: value for name, value in record["meta"].items() if name not in ("preview", "thumbnails")}
    return [record["tags"], record["license"], {**meta, "media": None}]


def test_a_filter_that_finds_another_number_changes_nothing(
    client: httpx.Client, registry: AssetRegistry, many: list[str]
) -> None:
    """Else assets that came in since the maker looked would be changed unseen."""
    body = {"filter": {"type": "props"}, "expected": 6, "add_tags": ["x"]}

    answer = client.post("/assets/bulk", json=body)

    assert (answer.status_code, problem_of(answer)) == (409, "total-changed")
    assert all("x" not in tags_of(registry, uid) for uid in many)


@pytest.mark.parametrize(("texts", "count"), [("/3.PNG", 1), (["png", "/3", "props"], 1), (["/3", "/4"], 0)])
def test_a_filter_with_several_texts_changes_what_holds_all_of_them(
    client: httpx.Client, registry: AssetRegistry, many: list[str], texts: str | list[str], count: int
) -> None:
    """Else what was found in the gallery by two words could not be changed as a whole."""
    body = {"filter": {"q": texts}, "expected": count, "add_tags": ["x"]}

    answer = client.post("/assets/bulk", json=body)

    assert answer.status_code == 200
    assert [uid for uid in many if "x" in tags_of(registry, uid)] == many[3 : 3 + count]


def test_a_dry_run_tells_the_changes_and_makes_none(
    client: httpx.Client, registry: AssetRegistry, many: list[str]
) -> None:
    """Else nobody could look before he changes ten thousand assets."""
    registry.wait_for_thumbnails()
    before, position = registry.list_assets(), registry.journal_position()
    change = {"add_tags": ["final"], "remove_tags": ["draft"], "license": "MIT", "metadata": {"chapter": 3}}

    by_filter = client.post("/assets/bulk", json={"filter": {}, "dry_run": True, **change}).json()
    by_uids = client.post("/assets/bulk", json={"uids": [many[6], "x"], "dry_run": True, **change}).json()

    assert (registry.list_assets(), registry.journal_position()) == (before, position)
    assert by_filter["operation"] is None
    assert by_filter["counts"] == {"total": 7, "changed": 7, "unchanged": 0, "failed": 0}
    assert by_filter["plan"][-1] == {
        "uid": many[0],
        "path": "props/0.png",
        "tags_added": ["final"],
        "tags_removed": ["draft"],
        "license": [None, "MIT"],
        "metadata": ["chapter"],
    }
    assert by_uids["counts"] == {"total": 2, "changed": 1, "unchanged": 0, "failed": 1}


@pytest.mark.parametrize("cleared", ["", None])
def test_an_empty_licence_clears_and_an_absent_one_leaves(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord, cleared: str | None
) -> None:
    """Else adding a tag to many would take their licences away."""
    left = client.post("/assets/bulk", json={"uids": [mara["uid"]], "add_tags": ["x"]})
    kept = registry.get_asset(mara["uid"])

    client.post("/assets/bulk", json={"uids": [mara["uid"]], "license": cleared})

    now = registry.get_asset(mara["uid"])
    assert left.status_code == 200
    assert kept is not None
    assert kept["license"] == "CC0-1.0"
    assert now is not None
    assert now["license"] is None


def test_one_bad_asset_does_not_spoil_a_bulk_edit(
    client: httpx.Client, open_registry: Open, registry: AssetRegistry, many: list[str]
) -> None:
    """Else one broken sidecar would keep ten thousand others from being tagged."""
    bad, full = registry.sidecar_path(many[1]), many[2]
    assert bad is not None
    bad.write_text(bad.read_text("utf-8").replace(many[1], many[3]), "utf-8")
    registry.bulk_update_tags([full], add_tags=[f"t{number}" for number in range(999)])

    answer = client.post("/assets/bulk", json={"filter": {}, "expected": 7, "add_tags": ["new"]}).json()

    assert answer["counts"] == {"total": 7, "changed": 5, "unchanged": 0, "failed": 2}
    assert {each["uid"] for each in answer["failed"]} == {many[1], full}
    assert "tags_per_asset" in next(each["why"] for each in answer["failed"] if each["uid"] == full)
    assert str(registry.ASSETS_ROOT) not in str(answer)


def test_a_hand_edit_wins_and_the_bulk_edit_says_so(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord
) -> None:
    """Else a maker would believe that the licence is his while the sidecar's stays."""
    path = registry.sidecar_path(mara["uid"])
    assert path is not None
    path.write_text(path.read_text("utf-8").replace("CC0-1.0", "CC-BY-4.0"), "utf-8")

    answer = client.post("/assets/bulk", json={"uids": [mara["uid"]], "license": "MIT"}).json()

    now = registry.get_asset(mara["uid"])
    assert answer["counts"]["failed"] == 1
    assert "license" in answer["failed"][0]["why"]
    assert now is not None
    assert now["license"] == "CC-BY-4.0"


@pytest.mark.parametrize(
    "body",
    [
        {"add_tags": ["x"]},
        {"uids": ["a"], "filter": {}, "add_tags": ["x"]},
        {"filter": {}, "add_tags": ["x"]},
        {"uids": ["a"], "expected": 1, "add_tags": ["x"]},
        {"uids": ["a"]},
        {"uids": ["a"] * 100_001, "add_tags": ["x"]},
        {"ids": [1] * 100_001, "add_tags": ["x"]},
        {"ids": [1], "uids": ["a"], "add_tags": ["x"]},
        {"ids": [1], "expected": 1, "add_tags": ["x"]},
        {"ids": [0], "add_tags": ["x"]},
        {"ids": [2**63], "add_tags": ["x"]},
        {"ids": ["1"], "add_tags": ["x"]},
        {"ids": [1.5], "add_tags": ["x"]},
        {"uids": ["a"], "add_tag": ["x"]},
        {"uids": "a", "add_tags": ["x"]},
        {"filter": {"where": ["nonsense"]}, "expected": 0, "add_tags": ["x"]},
        {"filter": {"tag": "x"}, "expected": 0, "add_tags": ["x"]},
        {"filter": {}, "expected": -1, "add_tags": ["x"]},
        {"filter": {}, "expected": "7", "add_tags": ["x"]},
    ],
)
def test_a_bulk_edit_that_is_not_clear_is_refused(client: httpx.Client, body: dict[str, Any]) -> None:
    """Else a slip in a script would change all assets."""
    answer = client.post("/assets/bulk", json=body)

    assert answer.status_code == 422, answer.text


def test_a_bulk_edit_with_a_tag_that_nobody_can_have_is_refused(
    client: httpx.Client, registry: AssetRegistry, many: list[str]
) -> None:
    """Else each asset would fail with the same words."""
    body = {"uids": many, "add_tags": ["x" * 201]}

    answer = client.post("/assets/bulk", json=body)

    assert (answer.status_code, problem_of(answer)) == (400, "invalid-metadata")


def test_scripts_have_the_same_power(registry: AssetRegistry, many: list[str]) -> None:
    """Else the server would be able to do what the library is not."""
    report = registry.bulk_edit(matching={"tags": "draft"}, expected=5, metadata={"chapter": 3})
    merged = registry.merge_asset_meta(many[0], {"chapter": None}, if_match=lambda now: now["version"] == 1)
    undone = registry.undo(report["operation"] or 0)

    assert report["changed"] == many[4::-1]
    assert "chapter" not in merged["meta"]
    assert set(undone["undone"]) == set(many[1:5])
    assert [each["uid"] for each in undone["refused"]] == [many[0]]


def test_a_bulk_edit_by_ids_tells_which_of_them_no_asset_has(
    client: httpx.Client, registry: AssetRegistry, many: list[str]
) -> None:
    """Else a gallery could only change assets whose uids it has loaded."""
    ids = array("q", client.get("/assets/index").content)[:3].tolist()
    body = {"ids": [*ids, ids[0], 7], "metadata": {"rating": 4}}

    plan = client.post("/assets/bulk", json={**body, "dry_run": True}).json()
    answer = client.post("/assets/bulk", json=body).json()
    cleared = client.post("/assets/bulk", json={"ids": ids[:1], "metadata": {"rating": None}}).json()

    assert plan["counts"] == {"total": 4, "changed": 3, "unchanged": 0, "failed": 1}
    assert answer["counts"] == {"total": 4, "changed": 3, "unchanged": 0, "failed": 1}
    assert answer["changed"] == many[:3:-1]
    assert answer["failed"] == plan["failed"]
    assert answer["failed"][0] | {"why": ""} == {"uid": "", "id": 7, "why": ""}
    assert "the id 7" in answer["failed"][0]["why"]
    rated = [(registry.get_asset(uid) or {"meta": {}})["meta"].get("rating") for uid in many]
    assert rated == [None] * 4 + [4, 4, None]
    assert cleared["counts"]["changed"] == 1


def test_a_hundred_thousand_ids_fit_into_one_request(
    client: httpx.Client, registry: AssetRegistry, many: list[str]
) -> None:
    """Else "select all" in a large library could not be tagged."""
    ids = [record["id"] for record in registry.list_assets()]
    unknown = range(2**53 - 100_000 + len(ids), 2**53)
    body = {"ids": [*ids, *unknown], "add_tags": ["all"]}

    answer = client.post("/assets/bulk", json=body)
    too_large = client.post(
        "/assets/bulk", json={**body, "ids": [*body["ids"], *range(10**15, 10**15 + 10**5)]}
    )

    assert answer.status_code == 200, answer.text
    assert answer.json()["counts"] == {"total": 100_000, "changed": 7, "unchanged": 0, "failed": 99_993}
    assert len(answer.json()["failed"]) == 1_000
    assert (too_large.status_code, problem_of(too_large)) == (413, "too-large")
    assert "bulk_assets" in too_large.json()["detail"]


# -- removing many ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["uids", "ids", "filter"])
def test_many_are_removed_as_one_operation_and_one_undo_brings_all_back(
    client: httpx.Client, registry: AssetRegistry, many: list[str], way: str
) -> None:
    """Else a wrong "delete" on a thousand assets would be a thousand restores."""
    registry.bulk_update_tags(many[:5], license_tag="MIT")
    registry.wait_for_thumbnails()
    before = {uid: registry.get_asset(uid) for uid in many}
    paths = [registry.ASSETS_ROOT / record["path"] for record in before.values() if record]
    contents = [path.read_bytes() for path in paths]
    ids = {uid: record["id"] for uid, record in before.items() if record}
    body: dict[str, Any] = {
        "uids": {"uids": many[:5]},
        "ids": {"ids": [ids[uid] for uid in many[:5]]},
        "filter": {"filter": {"tags": ["draft"]}, "expected": 5},
    }[way]

    plan = client.post("/assets/remove", json={**body, "dry_run": True}).json()
    untouched = {uid: registry.get_asset(uid) for uid in many}
    answer = client.post("/assets/remove", json=body).json()
    left = [record["uid"] for record in registry.list_assets()]
    is_there = [path.exists() for path in paths]
    listed = client.get("/assets/operations", params={"limit": 1}).json()["items"][0]
    undone = client.post(f"/assets/operations/{answer['operation']}/undo").json()
    registry.wait_for_thumbnails()

    assert (plan["operation"], untouched) == (None, before)
    assert plan["counts"] == answer["counts"] == {"total": 5, "removed": 5, "failed": 0}
    assert {each["path"] for each in plan["plan"]} == {f"props/{seed}.png" for seed in range(5)}
    assert set(answer["removed"]) == set(many[:5])
    assert left == [many[6], many[5]]
    assert is_there == [False] * 5 + [True] * 2
    assert (listed["operation"], listed["assets"]) == (answer["operation"], 5)
    assert undone["counts"] == {"undone": 5, "refused": 0, "kept": 0}
    assert {uid: registry.get_asset(uid) for uid in many} == before
    assert [path.read_bytes() for path in paths] == contents


def test_one_that_can_not_be_removed_is_named_and_spares_the_others(
    client: httpx.Client, registry: AssetRegistry, many: list[str], make_png: Make, tmp_path: Path
) -> None:
    """Else one folder that leads elsewhere would keep a thousand others from being removed."""
    stuck = registry.register_file(make_png("s.png", seed=70), "away")["uid"]
    registry.wait_for_thumbnails()
    folder = registry.ASSETS_ROOT / "away"
    (registry.ASSETS_ROOT / "away").rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    before = registry.get_asset(stuck)

    answer = client.post("/assets/remove", json={"uids": [many[0], stuck, "nobody", many[1], many[0]]}).json()

    assert answer["counts"] == {"total": 4, "removed": 2, "failed": 2}
    assert answer["removed"] == many[:2]
    assert {each["uid"] for each in answer["failed"]} == {stuck, "nobody"}
    assert str(tmp_path) not in str(answer)
    assert registry.get_asset(stuck) == before
    assert (tmp_path / "elsewhere/s.png").is_file()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"uids": ["a"], "ids": [1]},
        {"uids": ["a"], "filter": {}},
        {"filter": {}},
        {"uids": ["a"], "expected": 1},
        {"ids": [0]},
        {"uids": "a"},
        {"uids": ["a"], "add_tags": ["x"]},
        {"uids": ["a"] * 100_001},
        {"filter": {"where": ["nonsense"]}, "expected": 0},
    ],
)
def test_a_removal_that_is_not_clear_is_refused(client: httpx.Client, body: dict[str, Any]) -> None:
    """Else a slip in a script would remove all assets."""
    answer = client.post("/assets/remove", json=body)

    assert answer.status_code == 422, answer.text


def test_a_removal_by_a_filter_that_finds_another_number_removes_nothing(
    client: httpx.Client, registry: AssetRegistry, many: list[str]
) -> None:
    """Else assets that came in since the maker looked would be removed unseen."""
    answer = client.post("/assets/remove", json={"filter": {"type": "props"}, "expected": 6})

    assert (answer.status_code, problem_of(answer)) == (409, "total-changed")
    assert registry.count_assets() == 7


# -- moving -----------------------------------------------------------------------------------------------


def test_an_asset_is_moved_if_it_is_as_the_client_saw_it(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord
) -> None:
    """Else F2 in a gallery could rename what somebody else has just changed."""
    address = f"/assets/{mara['uid']}"
    etag = client.get(address).headers["etag"]

    moved = client.post(f"{address}/move", json={"path": "people/heroine.png"}, headers={"if-match": etag})
    late = client.post(f"{address}/move", json={"path": "people/late.png"}, headers={"if-match": etag})
    undone = client.post(f"/assets/operations/{moved.json()['operation']}/undo").json()
    same = client.post(f"{address}/move", json={"path": mara["path"]}).json()

    assert moved.status_code == 200, moved.text
    assert moved.json()["asset"]["path"] == "people/heroine.png"
    assert (late.status_code, problem_of(late)) == (412, "changed")
    assert undone["counts"]["undone"] == 1
    assert (same["asset"]["path"], same["operation"]) == (mara["path"], None)


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("props/0.png", 409, "path-conflict"),
        ("../x.png", 400, "unsafe-path"),
        ("props/mara.jpg", 400, "unsafe-path"),
        ("", 400, "unsafe-path"),
        (7, 422, "invalid-request"),
    ],
)
def test_a_move_that_can_not_be_is_refused_with_its_reason(
    client: httpx.Client,
    registry: AssetRegistry,
    mara: AssetRecord,
    many: list[str],
    path: object,
    status: int,
    kind: str,
) -> None:
    """Else a request could write anywhere, or over another asset."""
    answer = client.post(f"/assets/{mara['uid']}/move", json={"path": path})

    assert (answer.status_code, problem_of(answer)) == (status, kind)
    assert client.post("/assets/0123456789abcdef/move", json={"path": "a/"}).status_code == 404
    assert (registry.get_asset(mara["uid"]) or {})["path"] == mara["path"]


def test_each_change_of_one_asset_tells_its_operation(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord
) -> None:
    """Else the gallery could offer no undo for a star or a rename."""
    address = f"/assets/{mara['uid']}"

    patched = client.patch(address, json={"rating": 5}).json()
    same = client.patch(address, json={"rating": 5}).json()
    client.delete(address)
    restored = client.post(f"{address}/restore").json()
    undone = client.post(f"/assets/operations/{patched['operation']}/undo").json()

    assert patched["operation"] < restored["operation"]
    assert same["operation"] is None
    assert undone["undone"] == [mara["uid"]]
    assert "rating" not in client.get(address).json()["asset"]["meta"]


# -- operations -------------------------------------------------------------------------------------------


def test_operations_come_by_pages(client: httpx.Client, registry: AssetRegistry, many: list[str]) -> None:
    """Else the history of a large library could not be read."""
    numbers, cursor = [], None
    while True:
        page = client.get("/assets/operations", params={"limit": 3, **({"cursor": cursor} if cursor else {})})
        numbers += [each["operation"] for each in page.json()["items"]]
        if (cursor := page.json()["next_cursor"]) is None:
            break

    assert numbers == [each["operation"] for each in registry.operations(limit=1_000)]
    assert client.get("/assets/operations", params={"limit": 1_001}).status_code == 422
    assert client.get("/assets/operations", params={"limit": 0}).status_code == 422


@pytest.mark.parametrize(("number", "status"), [("1", 404), ("0", 422), ("x", 422), ("9" * 30, 422)])
def test_an_unknown_operation_can_not_be_undone(client: httpx.Client, number: str, status: int) -> None:
    """Else a typing error would be an error of the server."""
    assert client.post(f"/assets/operations/{number}/undo").status_code == status


# -- registering what lies on the machine -----------------------------------------------------------------


def test_a_file_in_the_assets_folder_is_registered_where_it_lies(
    client: httpx.Client, registry: AssetRegistry, make_png: Make
) -> None:
    """Else scripts of older releases that render into the library would stop working."""
    place = registry.ASSETS_ROOT / "renders" / "city.png"
    place.parent.mkdir(parents=True)
    content = make_png().read_bytes()
    place.write_bytes(content)
    body = {"path": str(place), "asset_type": "renders", "copy": False, "metadata": {"tags": ["city"]}}

    answer = client.post("/assets/register", json=body).json()

    assert answer["ok"] is True
    assert answer["asset"]["path"] == "renders/city.png"
    assert answer["asset"]["provenance"]["source"] == "api.register_existing"
    assert place.read_bytes() == content


@pytest.mark.parametrize("stated", ["renders/city.png", "assets/renders/city.png"])
def test_a_relative_path_starts_at_the_assets_or_at_the_project(
    client: httpx.Client, registry: AssetRegistry, make_png: Make, stated: str
) -> None:
    """Else a script would have to know where the server keeps its library."""
    place = registry.ASSETS_ROOT / "renders" / "city.png"
    place.parent.mkdir(parents=True)
    place.write_bytes(make_png().read_bytes())

    answer = client.post(
        "/assets/register", json={"path": stated, "asset_type": "bg", "dest_path": "bg/new/"}
    )

    assert answer.json()["asset"]["path"] == "bg/new/city.png"


def test_import_roots_may_be_read_and_nothing_else(
    open_registry: Open, make_png: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a stranger could have any file of the machine registered, and then download it."""
    inside = make_png("in.png", seed=2)
    outside = tmp_path / "secret.png"
    outside.write_bytes(make_png("x.png", seed=3).read_bytes())
    monkeypatch.setenv("COMFYVN_IMPORT_ROOTS", str(inside.parent))
    (inside.parent / "link.png").symlink_to(outside)
    (inside.parent / "way").symlink_to(tmp_path)
    names = ["in.png", "link.png", "way/secret.png", "../secret.png", "none.png", "in.png/x", "in.png\0"]

    with serve(open_registry()) as client:
        paths = [*(f"{inside.parent}/{name}" for name in names), str(outside), "/etc/passwd", "/", "", "~"]
        answers = [client.post("/assets/register", json={"path": path}) for path in paths]

    assert [each.status_code for each in answers] == [200] + [404] * (len(paths) - 1)
    assert str(tmp_path) not in "".join(each.text for each in answers)


def test_outside_is_answered_exactly_like_missing(
    client: httpx.Client, registry: AssetRegistry, tmp_path: Path
) -> None:
    """Else the answers would tell which files the machine has."""
    (tmp_path / "secret.png").write_bytes(b"there")
    place = registry.ASSETS_ROOT / "secret.png"

    outside = client.post("/assets/register", json={"path": str(tmp_path / "secret.png")})
    missing = client.post("/assets/register", json={"path": str(place)})

    assert outside.status_code == missing.status_code == 404
    assert outside.json() == missing.json()


def test_pipes_devices_folders_and_our_own_corner_are_refused_without_waiting(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord
) -> None:
    """Else one request for a pipe would hold a thread of the server for ever."""
    root = registry.ASSETS_ROOT
    os.mkfifo(root / "pipe.png")
    wanted = {"pipe.png": 400, "characters": 400, ".comfyvn/library.json": 404, mara["path"] + "/": 200}
    if os.geteuid() == 0:
        os.mknod(root / "zero.png", stat.S_IFCHR | 0o600, os.makedev(1, 5))
        wanted["zero.png"] = 400

    answers = {
        name: client.post("/assets/register", json={"path": str(root / name)}).status_code for name in wanted
    }

    assert answers == wanted


@pytest.mark.parametrize(
    "dest", ["../x.png", "/x.png", "C:\\x.png", "a/../../x/", "_meta/x.png", "\\\\h\\s\\"]
)
def test_a_destination_outside_the_library_is_refused(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord, dest: str
) -> None:
    """Else a request could write anywhere."""
    answer = client.post("/assets/register", json={"path": mara["path"], "dest_path": dest})

    assert (answer.status_code, problem_of(answer)) == (400, "unsafe-path")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"path": 7}, 422),
        ({"path": "characters/mara.png", "copy": True, "copy_file": False}, 422),
        ({"path": "characters/mara.png", "asset_type": "a/b"}, 400),
        ({"path": "characters/mara.png", "metadata": {"tags": 7}}, 400),
        ({"path": "characters/mara.png", "metadata": []}, 422),
        ({"path": "characters/mara.png", "root": "x"}, 422),
    ],
)
def test_a_bad_registration_is_refused(
    client: httpx.Client, mara: AssetRecord, body: dict[str, Any], status: int
) -> None:
    """Else a slip would leave half an asset."""
    assert client.post("/assets/register", json=body).status_code == status


# -- the file manager -------------------------------------------------------------------------------------


@pytest.fixture
def desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A desktop whose file manager writes down what it is to show."""
    told, opener = tmp_path / "told", tmp_path / "bin" / "xdg-open"
    opener.parent.mkdir()
    opener.write_text(f'#!/bin/sh\nprintf "%s|" "$@" > "{told}"\n')
    opener.chmod(0o755)
    monkeypatch.setenv("PATH", f"{opener.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DISPLAY", ":0")
    return told


def test_the_file_manager_opens_at_the_asset(
    client: httpx.Client, registry: AssetRegistry, make_png: Make, desktop: Path
) -> None:
    """Else "open in file manager" would open nothing, or a shell would read a name as a command."""
    name = "$(touch x); 'a b'"
    info = registry.register_file(make_png(), "props", dest_relative=f"props/{name}/mara.png")

    answer = client.post(f"/assets/{info['uid']}/reveal")

    assert answer.status_code == 200, answer.text
    assert desktop.read_text() == f"{registry.ASSETS_ROOT / 'props' / name}|"


def test_the_file_manager_opens_for_nobody_behind_a_proxy(
    client: httpx.Client, mara: AssetRecord, desktop: Path
) -> None:
    """Else a visitor from elsewhere could open windows on the machine of the server."""
    answer = client.post(f"/assets/{mara['uid']}/reveal", headers={"x-forwarded-for": "10.0.0.1"})

    assert answer.status_code in (401, 403)
    assert not desktop.exists()


def test_without_a_desktop_the_file_manager_says_so(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the button of the gallery would silently do nothing."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)

    without = client.post(f"/assets/{mara['uid']}/reveal")
    (registry.ASSETS_ROOT / mara["path"]).unlink()
    gone = client.post(f"/assets/{mara['uid']}/reveal")

    assert (without.status_code, problem_of(without)) == (501, "no-desktop")
    assert gone.status_code == 404
