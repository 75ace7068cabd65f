"""Parameters of a question: those that a route has not are refused, tags may have commas."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from comfyvn.config import load
from comfyvn.errors import InvalidSetting
from comfyvn.studio.core import AssetRegistry


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/assets?licence=MIT", "licence"),
        ("/assets/facets?tpye=cg", "tpye"),
        ("/assets/index?limit=5", "limit"),
        ("/healthz?verbose=1", "verbose"),
    ],
)
def test_a_parameter_that_a_route_has_not_is_refused(client: httpx.Client, path: str, name: str) -> None:
    """A mistyped condition would find everything, and a script would go on with that."""
    answer = client.get(path)

    assert answer.status_code == 422
    assert f"there is no parameter '{name}' here" in answer.json()["detail"]


def test_a_mistyped_parameter_of_a_removal_removes_nothing(
    registry: AssetRegistry, client: httpx.Client, make_png: Callable[..., Path]
) -> None:
    """``remove_file=true`` would remove an asset in another way than was meant."""
    uid = registry.register_file(make_png(), "cg")["uid"]

    answer = client.delete(f"/assets/{uid}", params={"remove_file": "true"})

    assert answer.status_code == 422
    assert registry.get_asset(uid) is not None


@pytest.mark.parametrize("asked", [{"tags": '"sea, calm",dusk'}, {"tag": ['"sea, calm"', "dusk"]}])
def test_a_tag_with_a_comma_is_found_in_quotes(
    registry: AssetRegistry,
    client: httpx.Client,
    make_png: Callable[..., Path],
    asked: dict[str, str | list[str]],
) -> None:
    """It could be written and never be asked for."""
    known = registry.register_file(make_png(), "cg", metadata={"tags": ["sea, calm", "dusk"]})

    found = client.get("/assets", params=asked).json()["items"]

    assert [each["uid"] for each in found] == [known["uid"]]


@pytest.mark.parametrize("text", ['"sea, calm', '"sea" calm', '"a\rb'])
def test_tags_that_can_not_be_told_apart_are_refused(client: httpx.Client, text: str) -> None:
    """Other tags than those meant would be asked for, or the server would fail."""
    answer = client.get("/assets", params={"tags": text})

    assert answer.status_code == 422
    assert "can't be told apart" in answer.json()["detail"]


def test_a_file_that_may_not_be_registered_is_told_like_one_that_is_not_there(
    client: httpx.Client, tmp_path: Path
) -> None:
    """Whoever may write could ask which files the machine has; and a maker would not know what to do."""
    there = tmp_path / "secret.png"
    there.write_bytes(b"x")

    answers = [
        client.post("/assets/register", json={"path": str(path), "asset_type": "cg"})
        for path in (there, tmp_path / "nothing" / "secret.png")
    ]

    assert [each.status_code for each in answers] == [404, 404]
    assert answers[0].content == answers[1].content
    assert "setting import_roots" in answers[0].json()["detail"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("allowed_hosts", "http://gpu.lan:8765"),
        ("webhook_hosts", "gpu.lan/hook"),
        ("allowed_origins", "gpu.lan"),
        ("allowed_origins", "http://gpu.lan/page"),
    ],
)
def test_a_host_or_origin_of_the_wrong_form_is_refused_at_the_start(name: str, value: str) -> None:
    """It could never match, and nobody would see why."""
    with pytest.raises(InvalidSetting, match=r"must be (a host|an origin)"):
        load({name: [value]}, environ={})
