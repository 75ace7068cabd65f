"""Looking at a library over HTTP."""

from __future__ import annotations

from pathlib import Path

import httpx
from PIL import Image

from comfyvn.studio.core import AssetRegistry


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
    assert [each["uid"] for each in listed.json()["items"]] == [known["uid"]]
    assert listed.json()["total"] == 1
    assert shown.json() == {"ok": True, "asset": registry.get_asset(known["uid"])}


def test_an_unknown_asset_is_a_problem_with_a_type(client: httpx.Client) -> None:
    """Else a script could not tell a typing error from a broken server."""
    answer = client.get("/assets/0123456789abcdef")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:comfyvn:problem:asset-not-found"
