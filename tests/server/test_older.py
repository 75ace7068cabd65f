"""Routes of older releases, in the shapes that scripts of today expect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from comfyvn.studio.core import AssetRecord, AssetRegistry

Make = Callable[..., Path]


@pytest.fixture
def mara(registry: AssetRegistry, make_png: Make) -> AssetRecord:
    """One asset with its preview."""
    meta = {"tags": ["mara", "smile"], "license": "CC0-1.0", "origin": "studio", "artist": "Jo"}
    registry.register_file(make_png(), "characters", metadata=meta)
    registry.wait_for_thumbnails()
    return registry.list_assets()[0]


def test_a_flat_record_has_the_keys_of_older_releases(client: httpx.Client, mara: AssetRecord) -> None:
    """Else a script that reads `asset["metadata"]` would fail."""
    answer = client.get(f"/api/assets/{mara['uid']}")

    asset = answer.json()["asset"]
    assert answer.json()["ok"] is True
    assert set(asset) == {
        *("id", "uid", "type", "hash", "bytes", "tags", "license", "origin", "version", "created_at"),
        *("metadata", "links", "sidecar", "path", "thumb", "preview", "thumbnails"),
    }
    assert asset["id"] == asset["uid"] == mara["uid"]
    assert (asset["origin"], asset["metadata"]["artist"]) == ("studio", "Jo")
    assert asset["thumbnails"] == mara["links"]["thumbnails"]
    assert client.get("/api/assets/0123456789abcdef").status_code == 404


def test_the_older_search_filters_and_counts(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord, make_png: Make
) -> None:
    """Else a script would get the whole library for every question."""
    for seed in (2, 3, 4):
        registry.register_file(make_png(f"{seed}.png", seed=seed), "props", metadata={"tags": ["smile"]})

    few = client.get("/api/assets/search", params={"tags": "smile", "limit": 2}).json()
    one = client.get("/api/assets/search", params={"license": "cc0-1.0", "include_debug": "true"}).json()
    none = client.get("/api/assets/search", params={"q": "nothing like it"}).json()
    both = client.get("/api/assets/search", params={"q": ["props", "png"]}).json()

    assert (few["ok"], few["total"], len(few["items"])) == (True, 4, 2)
    assert few["filters"] == {"type": None, "tags": ["smile"], "license": None, "q": None, "limit": 2}
    assert "debug" not in few
    assert none["filters"]["q"] == "nothing like it"
    assert both["filters"]["q"] == ["props", "png"]
    assert both["total"] == 3
    assert [each["uid"] for each in one["items"]] == [mara["uid"]]
    assert one["debug"]["shown"] == 1
    assert (none["total"], none["items"]) == (0, [])
    assert client.get("/api/assets/search", params={"limit": 501}).status_code == 422


def test_the_older_registration_answers_a_flat_record(
    client: httpx.Client, registry: AssetRegistry, make_png: Make, tmp_path: Path
) -> None:
    """Else a render script of an older release would not find the id of what it registered."""
    place = registry.ASSETS_ROOT / "renders" / "city.png"
    place.parent.mkdir(parents=True)
    place.write_bytes(make_png().read_bytes())

    answer = client.post("/api/assets/register", json={"path": str(place), "asset_type": "renders"}).json()
    outside = client.post("/api/assets/register", json={"path": str(make_png()), "asset_type": "renders"})

    assert answer["asset_id"] == answer["asset"]["id"] == registry.list_assets()[0]["uid"]
    assert answer["asset"]["path"] == "renders/city.png"
    assert outside.status_code == 404


def test_the_debug_routes_tell_of_hooks_and_what_happened(
    client: httpx.Client, registry: AssetRegistry, mara: AssetRecord
) -> None:
    """Else a modder could not see why his hook is silent."""

    def listener(_: dict[str, object]) -> None:
        pass

    registry.add_hook("asset_removed", listener)
    registry.remove_asset(mara["uid"])

    hooks = client.get("/assets/debug/hooks").json()["hooks"]
    specs = client.get("/assets/debug/modder-hooks").json()["hooks"]
    recent = client.get("/assets/debug/history", params={"limit": 1}).json()["items"]

    assert [name.rpartition(".")[2] for name in hooks["asset_removed"]] == ["listener"]
    assert specs[0]["name"] == "on_asset_registered"
    assert specs[0]["aliases"] == ["on_asset_saved"]
    assert "uid" in specs[0]["payload"]
    assert [(each["event"], each["uid"]) for each in recent] == [("on_asset_removed", mara["uid"])]
    assert client.get("/assets/debug/history", params={"limit": 1_001}).status_code == 422
