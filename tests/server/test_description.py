"""The description says what the server answers.

With ``COMFYVN_TEST_EXAMPLES=write`` the examples in the description are taken anew from the walk below.
"""

from __future__ import annotations

import copy
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import standardwebhooks
from jsonschema import Draft202012Validator
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from comfyvn import errors, sample
from comfyvn.server import examples
from comfyvn.server.examples import example_of_problem
from comfyvn.studio.core import AssetRegistry
from serving import serve
from support import TIMEOUT_S

ROOT = Path(__file__).parents[2]
EXAMPLES = Path(examples.__file__).with_name("examples.json")
TOKEN = "a token of an older set-up"
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
SUCCESS = {"200", "201", "202"}
LICENSED = {"license": "CC0-1.0", "tags": ["sample"]}


class Walk:
    """Asks a server, and keeps what was asked and answered under the operation's id."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.steps: list[tuple[str, httpx.Response]] = []

    def ask(self, operation: str, method: str, path: str, **options: Any) -> httpx.Response:
        answer = self.client.request(method, path, **options)
        self.steps.append((operation, answer))
        return answer

    def get(self, operation: str, path: str, **options: Any) -> httpx.Response:
        return self.ask(operation, "GET", path, **options)

    def post(self, operation: str, path: str, **options: Any) -> httpx.Response:
        return self.ask(operation, "POST", path, **options)


class Receiver(BaseHTTPRequestHandler):
    """Takes tests of a webhook, and nothing else."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204 if b"webhook_test" in body else 500)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An address to which webhooks may be sent."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        port = server.server_address[1]
        monkeypatch.setenv("COMFYVN_WEBHOOK_HOSTS", f"127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}/hooks/comfyvn"
        server.shutdown()
        thread.join(TIMEOUT_S)


@pytest.fixture
def desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file manager that shows nothing."""
    opener = tmp_path / "bin" / "xdg-open"
    opener.parent.mkdir()
    opener.write_text("#!/bin/sh\n")
    opener.chmod(0o755)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("PATH", str(opener.parent), prepend=os.pathsep)


@pytest.fixture
def library(
    project: Path, receiver: str, desktop: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AssetRegistry]:
    """The sample library, registered, an animation, and a picture with the graph that made it."""
    monkeypatch.setenv("API_TOKEN", TOKEN)
    monkeypatch.setenv("COMFYVN_USER", "mika")
    with AssetRegistry(durability="off") as registry:
        spark = registry.ASSETS_ROOT / "ui" / "spark.gif"
        drawn = list(sample.build(registry.ASSETS_ROOT))
        drawn += [write_animation(spark), write_generated(spark.with_name("glow.png"))]
        for path in drawn:
            kind = path.relative_to(registry.ASSETS_ROOT).parts[0]
            registry.register_file(path, kind, copy_file=False, metadata=LICENSED)
        registry.wait_for_thumbnails()
        yield registry


@pytest.fixture
def walk(library: AssetRegistry) -> Iterator[Walk]:
    with serve(library) as client:
        client.headers["authorization"] = f"Bearer {TOKEN}"
        yield Walk(client)


def write_animation(path: Path) -> Path:
    frames = [Image.new("RGB", (16, 16), (80 * turn, 60, 90)) for turn in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=80, loop=0)
    return path


def write_generated(path: Path) -> Path:
    info = PngInfo()
    graph = {"1": {"class_type": "SaveImage", "inputs": {"filename_prefix": "glow"}}}
    info.add_text("prompt", json.dumps(graph))
    Image.new("RGB", (16, 16), (250, 200, 90)).save(path, pnginfo=info)
    return path


def take_every_way(walk: Walk, library: AssetRegistry, receiver: str) -> None:
    """Ask every route once for something that it can do, and some for what they can't."""
    uids = {record["path"]: record["uid"] for record in library.list_assets()}
    mara = uids["characters/mara/mara_happy.png"]
    look(walk, library, mara, uids["voices/mara_001.wav"], uids["ui/spark.gif"], uids["ui/glow.png"])
    trace(walk, library, mara)
    change(walk, library, mara)
    take_in(walk, library)
    work(walk)
    use_older(walk, library, mara)
    fail(walk, mara)
    come_in(walk)
    hear(walk, receiver)


def look(walk: Walk, library: AssetRegistry, mara: str, voice: str, spark: str, glow: str) -> None:
    ids = [record["id"] for record in library.list_assets("characters", limit=2)]
    walk.get("show_description", "/openapi.json")
    walk.get("list_assets", "/assets", params={"type": "characters", "tag": "sample", "limit": 1})
    walk.get("list_assets", "/assets", params={"where": "width>=1024", "q": "港"})
    walk.get("show_facets", "/assets/facets", params={"type": "characters", "not_tag": "draft"})
    walk.post("show_selection", "/assets/facets", json={"ids": [*ids, 5], "top_tags": 3})
    walk.get("list_types", "/assets/types")
    walk.get("list_tags", "/assets/tags", params={"prefix": "sa"})
    walk.get("list_licenses", "/assets/licenses")
    walk.get("show_index", "/assets/index", params={"type": "characters", "sort": "name"})
    walk.post("show_rows", "/assets/rows", json={"ids": ids[:1]})
    walk.post("show_rows", "/assets/rows", json={"ids": [*ids, 5], "full": True})
    shown = walk.get("show_asset", f"/assets/{mara}")
    walk.get("show_asset", f"/assets/{mara}", headers={"if-none-match": shown.headers["etag"]})
    walk.get("show_sidecar", f"/assets/{mara}/sidecar")
    walk.get("list_provenance", f"/assets/{mara}/provenance")
    walk.get("list_history", f"/assets/{mara}/history", params={"limit": 1})
    walk.get("download_asset", f"/assets/{mara}/download")
    walk.get("download_asset", f"/assets/{mara}/download", headers={"range": "bytes=0-99"})
    walk.get("show_thumb", f"/assets/{mara}/thumb", params={"size": 256})
    walk.get("show_waveform", f"/assets/{voice}/waveform")
    walk.get("show_preview", f"/assets/{spark}/preview")
    walk.get("download_workflow", f"/assets/{glow}/workflow", params={"graph": "prompt"})
    walk.get("download_workflow", f"/assets/{mara}/workflow")


def trace(walk: Walk, library: AssetRegistry, mara: str) -> None:
    """Ask what came from what, and say so."""
    others = [record["uid"] for record in library.list_assets("characters") if record["uid"] != mara]
    path = library.sidecar_path(others[0])
    assert path is not None
    guess = {"parent": mara, "kind": "variant", "certainty": "likely", "found": "similar"}
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "lineage": [guess]}), "utf-8")
    library.ensure_sidecar(others[0])
    walk.get("list_proposals", "/assets/proposals")
    said = {"parent": mara, "certainty": "certain"}
    walk.ask("judge_link", "PATCH", f"/assets/{others[0]}/lineage", json=said)
    walk.ask("judge_link", "PATCH", f"/assets/{mara}/lineage", json={**said, "parent": others[0]})
    walk.post("link_asset", f"/assets/{others[1]}/lineage", json={"parent": others[0], "kind": "edit"})
    walk.post("link_asset", f"/assets/{mara}/lineage", json={"parent": others[1]})
    walk.post("link_asset", f"/assets/{mara}/lineage", json={"parent": "mara", "kind": "edit"})
    walk.get("show_lineage", f"/assets/{others[0]}/lineage")
    walk.get("show_lineage", f"/assets/{mara}/lineage", params={"direction": "descendants", "depth": 1})
    walk.get("show_lineage", "/assets/none/lineage")
    walk.ask("unlink_asset", "DELETE", f"/assets/{others[1]}/lineage", params={"parent": others[0]})
    walk.ask("unlink_asset", "DELETE", f"/assets/{others[1]}/lineage", params={"parent": others[0]})


def change(walk: Walk, library: AssetRegistry, mara: str) -> None:
    others = [record["uid"] for record in library.list_assets("voices", limit=2)]
    tag = walk.client.get(f"/assets/{mara}").headers["etag"]
    patch = {"artist": "J. Doe", "tags": ["mara", "smile"]}
    walk.ask("patch_asset", "PATCH", f"/assets/{mara}", json=patch, headers={"if-match": tag})
    walk.ask("patch_asset", "PATCH", f"/assets/{mara}", json=patch, headers={"if-match": tag})
    wanted = {"uids": others, "add_tags": ["night"], "license": "CC-BY-4.0"}
    done = walk.post("edit_assets", "/assets/bulk", json=wanted).json()
    walk.post("edit_assets", "/assets/bulk", json={**wanted, "license": None, "dry_run": True})
    walk.post("edit_assets", "/assets/bulk", json={"filter": {}, "expected": 7, "add_tags": ["x"]})
    walk.get("list_operations", "/assets/operations", params={"limit": 2})
    walk.post("undo_operation", f"/assets/operations/{done['operation']}/undo")
    moved = walk.post("move_asset", f"/assets/{mara}/move", json={"path": "characters/mara/smile.png"}).json()
    walk.post("move_asset", f"/assets/{mara}/move", json={"path": "../smile.png"})
    gone = walk.post("remove_assets", "/assets/remove", json={"uids": others}).json()
    walk.post("remove_assets", "/assets/remove", json={"filter": {"type": "voices"}, "dry_run": True})
    walk.post("remove_assets", "/assets/remove", json={"filter": {}, "expected": 7})
    for done in (moved, gone):
        walk.client.post(f"/assets/operations/{done['operation']}/undo").raise_for_status()
    walk.ask("delete_asset", "DELETE", f"/assets/{mara}")
    walk.ask("delete_asset", "DELETE", f"/assets/{mara}")
    walk.post("restore_asset", f"/assets/{mara}/restore")
    walk.post("restore_asset", f"/assets/{mara}/restore")
    walk.ask("delete_asset", "DELETE", f"/assets/{others[0]}", params={"remove_files": True})
    walk.post("reveal_asset", f"/assets/{mara}/reveal")


def take_in(walk: Walk, library: AssetRegistry) -> None:
    form = {"asset_type": "generic", "metadata": '{"tags": ["script"]}', "license": "CC0-1.0"}
    lines = [("file", (f"line_{number}.txt", f"line {number}")) for number in range(3)]
    walk.post("upload_assets", "/assets/upload", data=form, files=lines[:1])
    walk.post("upload_assets", "/assets/upload", data=form, files=lines)
    walk.post("upload_assets", "/assets/upload", data={**form, "metadata": "{"}, files=lines[:1])
    walk.post("upload_assets", "/assets/upload", data={**form, "dest_path": "../up"}, files=lines[:1])
    walk.post("upload_assets", "/assets/upload", data=form)
    Path("assets", "script").mkdir()
    Path("assets", "script", "prologue.txt").write_text("The light went out at nine.\n", "utf-8")
    wanted = {"path": "assets/script/prologue.txt", "asset_type": "script", "copy_file": False}
    walk.post("register_asset", "/assets/register", json=wanted)
    walk.post("register_asset", "/assets/register", json={"path": "/etc/passwd"})
    walk.post("register_older", "/api/assets/register", json=wanted)


def work(walk: Walk) -> None:
    for operation, path in (("start_enforce", "/assets/enforce"), ("start_rebuild", "/assets/rebuild")):
        started = walk.post(operation, path, json={}).json()["job"]
        end_of(walk.client, started["id"])
    walk.get("list_jobs", "/assets/jobs")
    walk.get("show_job", f"/assets/jobs/{started['id']}")
    walk.ask("cancel_job", "DELETE", f"/assets/jobs/{started['id']}")
    walk.get("show_job", "/assets/jobs/none")


def end_of(client: httpx.Client, job: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while client.get(f"/assets/jobs/{job}").json()["job"]["ended_at"] is None:
        assert time.monotonic() < deadline, "the job does not end"
        time.sleep(0.01)


def use_older(walk: Walk, library: AssetRegistry, mara: str) -> None:
    walk.get("search_older", "/api/assets/search", params={"type": "music", "include_debug": True})
    walk.get("show_older", f"/api/assets/{mara}")
    walk.post("enforce_older", "/api/assets/enforce", json={"fix_missing": True})
    walk.post("rebuild_older", "/api/assets/rebuild", json={"remove_stale": True})
    walk.get("show_hooks", "/assets/debug/hooks")
    walk.get("show_modder_hooks", "/assets/debug/modder-hooks")
    walk.get("show_recent_events", "/assets/debug/history", params={"limit": 1})


def come_in(walk: Walk) -> None:
    walk.get("tell_health", "/healthz")
    walk.get("tell_numbers", "/metrics")
    walk.get("show_session", "/session")
    walk.post("begin_session", "/session", headers={"authorization": f"Bearer {TOKEN}"})
    walk.post("begin_session", "/session")
    walk.post("begin_session", "/session", json={"code": "used"})
    walk.post("begin_session", "/session", headers={"authorization": "Bearer cvn_wrong"})
    walk.ask("end_session", "DELETE", "/session")


def hear(walk: Walk, receiver: str) -> None:
    with walk.client.stream("GET", "/events", params={"since": 0}) as stream:
        begun = next(stream.iter_bytes())
        headers = {"content-type": stream.headers["content-type"]}
        walk.steps.append(
            ("listen", httpx.Response(200, headers=headers, content=begun, request=stream.request))
        )
    wanted = {"url": receiver, "events": ["asset_registered"]}
    hook = walk.post("add_webhook", "/webhooks", json=wanted).json()["webhook"]["id"]
    walk.post("add_webhook", "/webhooks", json={"url": "http://10.0.0.7/"})
    walk.post("add_webhook", "/webhooks", json={"url": receiver, "events": ["no_such_event"]})
    walk.post("test_webhook", f"/webhooks/{hook}/test")
    walk.client.post("/assets/upload", files={"file": ("news.txt", "something new")})
    waiting = first_delivery(walk.client, hook)
    walk.get("list_deliveries", f"/webhooks/{hook}/deliveries")
    walk.post("replay_delivery", f"/webhooks/{hook}/deliveries/{waiting}/replay")
    walk.post("replay_delivery", f"/webhooks/{hook}/deliveries/{2**60}/replay")
    walk.post("replay_deliveries", f"/webhooks/{hook}/replay")
    walk.post("replay_deliveries", f"/webhooks/{hook}/replay", params={"since": 0})
    walk.get("list_webhooks", "/webhooks")
    walk.get("show_webhook", f"/webhooks/{hook}")
    walk.ask("change_webhook", "PATCH", f"/webhooks/{hook}", json={"is_enabled": False})
    walk.ask("remove_webhook", "DELETE", f"/webhooks/{hook}")
    walk.get("show_webhook", f"/webhooks/{hook}")


def first_delivery(client: httpx.Client, hook: str) -> int:
    deadline = time.monotonic() + TIMEOUT_S
    while (
        not (items := client.get(f"/webhooks/{hook}/deliveries").json()["items"]) or not items[0]["attempts"]
    ):
        assert time.monotonic() < deadline, "nothing was delivered"
        time.sleep(0.02)
    return int(items[0]["seq"])


def fail(walk: Walk, mara: str) -> None:
    nobody = "0123456789abcdef"
    walk.get("show_asset", f"/assets/{nobody}")
    walk.get("list_assets", "/assets", params={"limit": 0})
    walk.get("list_assets", "/assets", params={"where": "width>>3"})
    walk.get("download_asset", f"/assets/{mara}/download", headers={"range": "bytes=99999999-"})
    walk.get("show_waveform", f"/assets/{mara}/waveform")
    walk.post("show_rows", "/assets/rows", content=b"{", headers={"content-type": "application/json"})
    walk.post("show_rows", "/assets/rows", content=b"x", headers={"content-type": "text/plain"})
    walk.post("show_rows", "/assets/rows", json={"ids": "all"})
    walk.post("show_rows", "/assets/rows", json={"ids": [1] * 300_000})
    walk.get("list_assets", "/assets", headers={"host": "evil.example"})
    walk.post("show_rows", "/assets/rows", json={"ids": []}, headers={"origin": "https://evil.example"})


# -- judging ----------------------------------------------------------------------------------------------


class Judge:
    """Tells what is wrong with an answer by the description."""

    def __init__(self, description: Mapping[str, Any]) -> None:
        self._description = description
        self.operations = {
            operation["operationId"]: operation
            for path in description["paths"].values()
            for operation in path.values()
        }
        self._components = closed(description["components"])

    def faults(self, operation: str, answer: httpx.Response) -> list[str]:
        where = f"{operation} {answer.status_code}"
        described = self.operations[operation]["responses"].get(str(answer.status_code))
        if described is None:
            return [f"{where} is not described: {answer.text[:200]}"]
        content = self._resolve(described).get("content", {})
        if not answer.content and not content:
            return []
        kind = answer.headers.get("content-type", "").partition(";")[0]
        found = content.get(kind) or content.get(kind.partition("/")[0] + "/*") or content.get("*/*")
        if found is None:
            return [f"{where} is {kind}, described are {list(content)}"]
        if not kind.endswith("json"):
            return []
        if found.get("schema", {}) in ({}, True):
            return [f"{where} has a shape that nobody described"]
        return [f"{where}: {fault}" for fault in self.schema_faults(found["schema"], answer.json())]

    def schema_faults(self, schema: Mapping[str, Any], value: object) -> list[str]:
        """Return what a value has that its shape does not say, and the other way round."""
        whole = {**closed(schema), "components": self._components}
        found = Draft202012Validator(whole).iter_errors(value)
        return [f"{'.'.join(map(str, each.absolute_path))}: {each.message[:300]}" for each in found]

    def _resolve(self, described: Mapping[str, Any]) -> Mapping[str, Any]:
        reference = described.get("$ref")
        if reference is None:
            return described
        return self._description["components"]["responses"][reference.rpartition("/")[2]]


def closed(schema: Any) -> Any:
    """Return a schema in which an object has no keys but those that are described."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: closed(value) for name, value in schema.items()}
    if isinstance(made.get("properties"), dict) and "additionalProperties" not in made:
        made["unevaluatedProperties"] = False
    return made


def test_every_answer_is_as_the_description_says(walk: Walk, library: AssetRegistry, receiver: str) -> None:
    """Else clients that are made from the description break on what the server really sends."""
    judge = Judge(walk.client.get("/openapi.json").json())

    take_every_way(walk, library, receiver)
    faults = [fault for operation, answer in walk.steps for fault in judge.faults(operation, answer)]
    asked = {operation for operation, answer in walk.steps if answer.is_success}

    assert faults == []
    assert set(judge.operations) - asked == set(), "the walk leaves out routes"
    if os.environ.get("COMFYVN_TEST_EXAMPLES") == "write":
        write_examples(walk)


def write_examples(walk: Walk) -> None:
    """Keep the first good answer to each operation, and what was asked."""
    kept: dict[str, Any] = {}
    for operation, answer in walk.steps:
        if answer.is_success and operation not in kept:
            kept[operation] = recorded(answer)
    text = json.dumps(dict(sorted(kept.items())), indent=1, ensure_ascii=False) + "\n"
    library = '"library": "8c1f3b52-6d0e-4f7a-9b43-2f5d90c6e1a7"'
    for found, shown in (
        (r"127\.0\.0\.1:\d+/hooks", "127.0.0.1:9000/hooks"),
        (r"whsec_[^\"]+", SECRET),
        (r'"library": "[^"]+"', library),
    ):
        text = re.sub(found, shown, text)
    EXAMPLES.write_text(text, "utf-8")


def recorded(answer: httpx.Response) -> dict[str, Any]:
    asked = answer.request
    is_json = asked.headers.get("content-type") == "application/json"
    kind = answer.headers.get("content-type", "")
    return {
        "method": asked.method,
        "path": asked.url.raw_path.decode(),
        "body": json.loads(asked.content) if is_json else None,
        "status": answer.status_code,
        "answer": shortened(answer.json()) if kind == "application/json" else None,
    }


def shortened(value: Any) -> Any:
    """Leave out most of a long list, such as the points of a waveform, and the description of itself."""
    if isinstance(value, dict):
        return {} if "openapi" in value else {name: shortened(each) for name, each in value.items()}
    if isinstance(value, list):
        return [shortened(each) for each in value[:4]]
    return value


# -- the description by itself ----------------------------------------------------------------------------


@pytest.fixture
def description(registry: AssetRegistry) -> Iterator[dict[str, Any]]:
    with serve(registry) as client:
        yield client.get("/openapi.json").json()


def test_every_route_is_described_in_words(description: dict[str, Any]) -> None:
    """A route that says nothing of itself is found by nobody."""
    silent = [
        (method, path)
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
        if not operation["description"]
        or operation["tags"] == []
        or not SUCCESS & set(operation["responses"])
    ]

    assert silent == []


def test_the_description_is_openapi(description: dict[str, Any]) -> None:
    """A generator of clients would stop at the first reference that leads nowhere."""
    text = json.dumps(description)
    references = set(re.findall(r'"\$ref": "([^"]+)"', text))

    lost = [each for each in references if not leads_somewhere(description, each)]

    assert description["openapi"].startswith("3.1.")
    assert lost == []
    assert "#/$defs/" not in text


def leads_somewhere(document: dict[str, Any], reference: str) -> bool:
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part, {}) if isinstance(found, dict) else {}
    return bool(found)


def test_the_examples_are_what_they_are_examples_of(description: dict[str, Any]) -> None:
    """An example that does not fit its shape misleads more than none."""
    judge = Judge(description)
    found = list(walk_examples(description["paths"]))

    faults = [fault for schema, value in found for fault in judge.schema_faults(schema, value)]

    assert len(found) > 10
    assert faults == []


def walk_examples(node: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    if isinstance(node, dict):
        if "example" in node and "schema" in node:
            yield node["schema"], copy.deepcopy(node["example"])
        for value in node.values():
            yield from walk_examples(value)


def test_the_examples_cover_every_route(description: dict[str, Any]) -> None:
    """A route without an example: run this file once with COMFYVN_TEST_EXAMPLES=write."""
    recorded_of = json.loads(EXAMPLES.read_text("utf-8"))

    operations = {each["operationId"] for path in description["paths"].values() for each in path.values()}

    assert operations == set(recorded_of)
    assert not re.search(r'"(/(home|tmp|root|usr|var|Users|work)/|[A-Z]:\\\\)', EXAMPLES.read_text("utf-8"))


def test_every_problem_is_an_error_of_the_docs(description: dict[str, Any]) -> None:
    """A type that is explained nowhere helps nobody who gets it."""
    page = (ROOT / "docs" / "errors.md").read_text("utf-8")
    types = set(re.findall(r"urn:comfyvn:problem:[a-z-]+", json.dumps(description)))
    named = {example_of_problem(getattr(errors, name))["type"]: name for name in problem_names(description)}

    unknown = [name for name in named.values() if f"| `{name}` |" not in page]

    assert types == set(named)
    assert unknown == []


def problem_names(description: dict[str, Any]) -> Callable[[], Iterator[str]]:
    return description["components"]["examples"]


def test_the_description_is_not_sent_twice(client: httpx.Client) -> None:
    """A page that asks on every start would load it on every start."""
    first = client.get("/openapi.json")

    again = client.get("/openapi.json", headers={"if-none-match": first.headers["etag"]})

    assert first.status_code == 200
    assert again.status_code == 304


# -- the lines of the docs --------------------------------------------------------------------------------


def lines_of_docs() -> dict[str, Any]:
    """Run the Python lines of docs/http.md and return the names that they make."""
    page = (ROOT / "docs" / "http.md").read_text("utf-8")
    scope: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        exec(block, scope)
    return scope


def test_the_lines_of_the_docs_read_every_page(
    registry: AssetRegistry, client: httpx.Client, tmp_path: Path
) -> None:
    """A reader copies them, and misses what stands on the second page."""
    for number in range(3):
        (tmp_path / f"line_{number}.txt").write_text(f"line {number}")
        registry.register_file(tmp_path / f"line_{number}.txt", "script")
    every_asset = lines_of_docs()["every_asset"]

    found = [asset["path"] for asset in every_asset(client, limit=2, type="script")]

    assert found == ["script/line_2.txt", "script/line_1.txt", "script/line_0.txt"]


def test_the_lines_of_the_docs_verify_a_webhook() -> None:
    """A reader copies them, and trusts whoever knows the address, or nobody."""
    is_genuine = lines_of_docs()["is_genuine"]
    body, message = b'{"type": "asset_moved"}', "msg_1"
    signer = standardwebhooks.Webhook(SECRET)
    at = datetime.now(UTC)
    headers = {
        "webhook-id": message,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signer.sign(message, at, body.decode()),
    }

    answers = [is_genuine(SECRET, headers, body), is_genuine(SECRET, headers, body + b" ")]

    assert answers == [True, False]
