"""Schemathesis asks every route what its description allows, and what it forbids.

The server is a real one on a real socket, with a small library. The seed is fixed: a fault that is found once
is found again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis import Case, CheckFunction, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from comfyvn.server import examples
from comfyvn.studio.core import AssetRegistry
from serving import serve

# What takes things away comes last. A stream of events goes on till one side ends it, and schemathesis waits
# for its end: see test_events.py.
LAST = {"delete_asset", "remove_webhook", "undo_operation"}
OPERATIONS = sorted(
    {*json.loads(Path(examples.__file__).with_name("examples.json").read_text("utf-8"))} - {"listen"},
    key=lambda name: (name in LAST, name),
)
load_all_checks()
CHECKED = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ]
)
# These take nothing: no token, no parameter, no body.
NOTHING_TO_FORBID = {"end_session", "tell_health"}
REFUSED = CHECKS.get_by_names(["negative_data_rejection"])
TOKEN = "a token of an older set-up"
# Where there is no desktop, as here, 501 is what this route is described to answer.
EXCLUDED = {"reveal_asset": CHECKS.get_by_names(["not_a_server_error"])}
EXAMPLES = int(os.environ.get("COMFYVN_TEST_SCHEMATHESIS", "12"))
"""How often each route is asked in each mode."""


class Served:
    """A server, its description, and things that there are: some asset, webhook, operation, job."""

    def __init__(self, client: httpx.Client, uids: list[str]) -> None:
        description = client.get("/openapi.json").json()
        self.schema = schemathesis.openapi.from_dict(description)
        self.schema.config.update(base_url=str(client.base_url))
        hook = client.post("/webhooks", json={"url": "https://hooks.example/", "events": ["asset_moved"]})
        started = client.post("/assets/enforce", json={})
        self.uids = uids
        self.known = {
            "webhook_id": hook.json()["webhook"]["id"],
            "operation": client.get("/assets/operations").json()["items"][-1]["operation"],
            "job": started.json()["job"]["id"],
            "seq": 1,
        }

    def mean_real_ones(self, case: Case, uid: str) -> None:
        """Put names of things that there are in the place of made-up ones."""
        for name, value in {**self.known, "uid": uid}.items():
            if name in (case.path_parameters or {}):
                case.path_parameters[name] = value
        if isinstance(case.body, dict) and isinstance(case.body.get("uids"), list):
            case.body["uids"] = [uid, *case.body["uids"]]
        if case.operation.path == "/assets/upload" and isinstance(case.body, dict):
            for name in ("metadata", "provenance", "dest_path", "asset_type"):
                case.body.pop(name, None)  # any text will do by the description, and hardly any does

    def operation(self, name: str) -> Any:
        for found in self.schema.get_all_operations():
            operation = found.ok()
            if operation.definition.raw["operationId"] == name:
                return operation
        raise KeyError(name)


@pytest.fixture(scope="module")
def settings_of_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have a token, and no file manager: it would be opened a dozen times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("API_TOKEN", TOKEN)
        patch.setenv("PATH", str(tmp_path_factory.mktemp("bin")))
        yield


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, settings_of_server: None) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("library")
    with AssetRegistry(
        home / "ledger.db", assets_root=home / "assets", thumb_root=home / "thumbs", durability="off"
    ) as registry:
        uids = []
        for number, kind in enumerate(("characters", "characters", "backgrounds", "夏")):
            path = home / f"picture{number}.png"
            Image.new("RGB", (16, 16), (number * 60, 90, 120)).save(path)
            meta = {"tags": ["mara", "夏"], "artist": "J. Doe"}
            uids.append(registry.register_file(path, kind, metadata=meta)["uid"])
        registry.wait_for_thumbnails()
        with serve(registry) as client:
            client.headers["authorization"] = f"Bearer {TOKEN}"
            yield Served(client, uids)


def ask(served: Served, name: str, mode: GenerationMode, checks: list[CheckFunction]) -> None:
    """Ask one route so many times; every other time an asset is meant that there is."""
    operation = served.operation(name)

    @seed(2026)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=False,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), uid=st.sampled_from([None, *served.uids]))
    def one(case: Case, uid: str | None) -> None:
        case.headers["Authorization"] = f"Bearer {TOKEN}"  # a made-up one is refused before all else
        case.cookies.clear()
        if uid is not None and mode is GenerationMode.POSITIVE:
            served.mean_real_ones(case, uid)
        case.call_and_validate(checks=checks, excluded_checks=EXCLUDED.get(name), timeout=30)

    one()


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_is_allowed_is_answered_as_described(served: Served, name: str) -> None:
    """Else a client that keeps to the description meets an answer that it does not know."""

    ask(served, name, GenerationMode.POSITIVE, CHECKED)


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in NOTHING_TO_FORBID])
def test_what_is_forbidden_is_refused(served: Served, name: str) -> None:
    """Else a typing error in a script would do something else than was meant, and nobody would know."""

    ask(served, name, GenerationMode.NEGATIVE, [*CHECKED, *REFUSED])
