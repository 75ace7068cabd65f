"""What came from what: linked by scripts and by hand, proposed and judged, through every door."""

from __future__ import annotations

import json
import re
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

import legacy
from comfyvn.errors import (
    AssetNotFound,
    ComfyVNError,
    InvalidFilter,
    InvalidMetadata,
    LineageCircle,
    LinkNotFound,
)
from comfyvn.registry.export import export
from comfyvn.registry.rebuild import rebuild
from comfyvn.studio.core import AssetRegistry
from legacy import ERAS, Era
from serving import serve
from support import Answer, check_library, run_all, states_of

STRANGER = "feedfeedfeedfeed"
Edge = tuple[str, str, str, str, str]


class Refused(Exception):
    """What a door said when it did not do what was wanted."""


class Door(ABC):
    """One way to the lineage. What it refuses is raised as `Refused`."""

    @abstractmethod
    def lineage(self, uid: str, **wanted: Any) -> dict[str, Any]:
        """Return the lineage of an asset."""

    @abstractmethod
    def link(self, child: str, parent: str, kind: str = "manual") -> Any:
        """Link two assets; return the operation, None if nothing was changed."""

    @abstractmethod
    def unlink(self, child: str, parent: str, kind: str | None = None) -> Any:
        """Unlink two assets."""

    @abstractmethod
    def judge(self, child: str, parent: str, certainty: str, kind: str | None = None) -> Any:
        """Confirm (``certain``) or reject (``rejected``) a parent."""

    @abstractmethod
    def proposals(self, uid: str | None = None) -> list[dict[str, Any]]:
        """Return what waits for confirmation."""

    @abstractmethod
    def descendants(self, uid: str, **conditions: str) -> tuple[list[str], int, dict[str, int]]:
        """Return paths, number and types of all that came from an asset."""


class PythonDoor(Door):
    def __init__(self, registry: AssetRegistry) -> None:
        self.registry = registry

    def lineage(self, uid: str, **wanted: Any) -> dict[str, Any]:
        return self._try(lambda: self.registry.lineage(uid, **wanted))

    def link(self, child: str, parent: str, kind: str = "manual") -> Any:
        return self._change(self.registry.link, child, parent, kind)

    def unlink(self, child: str, parent: str, kind: str | None = None) -> Any:
        return self._change(self.registry.unlink, child, parent, kind)

    def judge(self, child: str, parent: str, certainty: str, kind: str | None = None) -> Any:
        confirms = certainty == "certain"
        change = self.registry.confirm_parent if confirms else self.registry.reject_parent
        return self._change(change, child, parent, kind)

    def proposals(self, uid: str | None = None) -> list[dict[str, Any]]:
        return [dict(each) for each in self.registry.proposed_parents(uid)]

    def descendants(self, uid: str, **conditions: str) -> tuple[list[str], int, dict[str, int]]:
        wanted: dict[str, Any] = {"descends_from": uid, **conditions}
        found = self.registry.facets(**wanted)
        types = {str(each["value"]): each["count"] for each in found["types"]}
        paths = [each["path"] for each in self.registry.iter_assets(**wanted)]
        assert paths == [each["path"] for each in self.registry.list_assets(**wanted)]
        assert found["total"] == self.registry.count_assets(**wanted)
        return paths, found["total"], types

    def _change(self, change: Callable[..., Any], *arguments: Any) -> int | None:
        number = self.registry.new_operation()
        self._try(lambda: change(*arguments, operation=number))
        newest = self.registry.operations(limit=1)[0]["operation"]
        return number if newest == number else None

    def _try(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except ComfyVNError as error:
            raise Refused(str(error)) from error


class RestDoor(Door):
    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def lineage(self, uid: str, **wanted: Any) -> dict[str, Any]:
        if wanted.pop("with_rejected", False):
            wanted["rejected"] = True
        found = self._ask("GET", f"/assets/{uid}/lineage", params=wanted)
        return {name: value for name, value in found.items() if name != "ok"}

    def link(self, child: str, parent: str, kind: str = "manual") -> Any:
        said = {"parent": parent, "kind": kind}
        return self._ask("POST", f"/assets/{child}/lineage", json=said)["operation"]

    def unlink(self, child: str, parent: str, kind: str | None = None) -> Any:
        said = {"parent": parent, **({"kind": kind} if kind else {})}
        return self._ask("DELETE", f"/assets/{child}/lineage", params=said)["operation"]

    def judge(self, child: str, parent: str, certainty: str, kind: str | None = None) -> Any:
        said = {"parent": parent, "certainty": certainty, "kind": kind}
        return self._ask("PATCH", f"/assets/{child}/lineage", json=said)["operation"]

    def proposals(self, uid: str | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask("GET", "/assets/proposals", params={"of": uid or ""})["items"]
        return found

    def descendants(self, uid: str, **conditions: str) -> tuple[list[str], int, dict[str, int]]:
        names = {"asset_type": "type", "tags": "tag"}
        wanted = {"descends_from": uid, **{names[name]: value for name, value in conditions.items()}}
        listed = self._ask("GET", "/assets", params=wanted)
        facets = self._ask("GET", "/assets/facets", params=wanted)
        assert listed["total"] == facets["total"]
        paths = [each["path"] for each in listed["items"]]
        return paths, listed["total"], {each["value"]: each["count"] for each in facets["types"]}

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        answer = self.client.request(method, path, **options)
        if not answer.is_success:
            raise Refused(answer.json()["detail"])
        return answer.json()


class CommandDoor(Door):
    def __init__(self, run: Callable[..., Answer]) -> None:
        self.run = run

    def lineage(self, uid: str, **wanted: Any) -> dict[str, Any]:
        options = ["--rejected"] if wanted.get("with_rejected") else []
        options += [f"--{wanted['direction']}"] if "direction" in wanted else []
        options += ["--depth", str(wanted["depth"])] if "depth" in wanted else []
        found: dict[str, Any] = self._do("lineage", uid, *options)
        return found

    def link(self, child: str, parent: str, kind: str = "manual") -> Any:
        return self._do("link", child, parent, "--kind", kind)["operation"]

    def unlink(self, child: str, parent: str, kind: str | None = None) -> Any:
        return self._do("unlink", child, parent, *(["--kind", kind] if kind else []))["operation"]

    def judge(self, child: str, parent: str, certainty: str, kind: str | None = None) -> Any:
        word = "confirm" if certainty == "certain" else "reject"
        options = ["--kind", kind] if kind else []
        return self._do("proposal", word, child, parent, *options)["operation"]

    def proposals(self, uid: str | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._do("proposal", "list", *(["--of", uid] if uid else []))["items"]
        return found

    def descendants(self, uid: str, **conditions: str) -> tuple[list[str], int, dict[str, int]]:
        names = {"asset_type": "--type", "tags": "--tag"}
        stated = [part for name, value in conditions.items() for part in (names[name], value)]
        listed = self._do("list", "--descends-from", uid, *stated)["items"]
        facets = self._do("facets", "--descends-from", uid, *stated)
        types = {each["value"]: each["count"] for each in facets["types"]}
        return [each["path"] for each in listed], facets["total"], types

    def _do(self, *arguments: object) -> Any:
        answer = self.run(*arguments, "--json")
        if answer.code != 0:
            raise Refused(answer.err)
        return answer.document


@pytest.fixture(params=["python", "rest", "cli"])
def door(
    request: pytest.FixtureRequest, registry: AssetRegistry, run: Callable[..., Answer]
) -> Iterator[Door]:
    """Each way to the lineage of ``registry``."""
    if request.param == "python":
        yield PythonDoor(registry)
    elif request.param == "cli":
        yield CommandDoor(run)
    else:
        with serve(registry) as client:
            yield RestDoor(client)


def add(registry: AssetRegistry, name: str, *parents: Any, kind: str = "notes", **options: Any) -> str:
    """Register a small file of that name and content, from parents that a script names; return its uid."""
    path = registry.ASSETS_ROOT.parent / f"{name}.txt"
    path.write_text(name)
    claim = {"source": "script", "inputs": {"parents": list(parents)}} if parents else None
    return registry.register_file(path, kind, provenance=claim, **options)["uid"]


def line(registry: AssetRegistry) -> dict[str, str]:
    """Register a sketch, the line art of it, two colourings of that, and a collage of all of these."""
    uids = {"sketch": add(registry, "sketch")}
    uids["lines"] = add(registry, "lines", {"uid": uids["sketch"], "kind": "edit"})
    for name in ("day", "night"):
        uids[name] = add(registry, name, {"uid": uids["lines"], "kind": "img2img"}, kind="art")
    parents = [{"uid": uids[name], "kind": "composite"} for name in ("day", "night", "sketch")]
    uids["collage"] = add(registry, "collage", *parents, kind="art")
    return uids


def shown(found: dict[str, Any]) -> dict[str, int]:
    """Return how far from the start each asset lies, by the name of its file."""
    return {Path(each["path"] or each["uid"]).stem: each["depth"] for each in found["nodes"]}


def edges(found: Any) -> set[tuple[str, str, str, str]]:
    """Return what a lineage says of each pair: names of files where they are known."""
    names = {each["uid"]: Path(each["path"] or each["uid"]).stem for each in found["nodes"]}
    return {
        (names[each["child"]], names[each["parent"]], each["kind"], each["certainty"])
        for each in found["edges"]
    }


def all_edges(registry: AssetRegistry) -> set[Edge]:
    """Return what the sidecars say, and check that the ledger has just that."""
    said: set[Edge] = set()
    for record in registry.list_assets():
        for each in registry.read_sidecar(record["uid"]).get("lineage", []):
            said.add((record["uid"], each["parent"], each["kind"], each["certainty"], each["found"]))
    with closing(sqlite3.connect(registry.db_path)) as connection:
        query = "SELECT child_uid, parent_uid, kind, certainty, found FROM asset_lineage"
        assert set(connection.execute(query)) == said
    return said


def rewrite(registry: AssetRegistry, uid: str, lineage: Any) -> Path:
    """Edit the lineage in an asset's sidecar by hand; None takes it out."""
    path = registry.sidecar_path(uid)
    assert path is not None
    said = json.loads(path.read_text("utf-8"))
    said.pop("lineage", None)
    path.write_text(json.dumps({**said, **({} if lineage is None else {"lineage": lineage})}), "utf-8")
    return path


def propose(registry: AssetRegistry, child: str, *parents: tuple[str, str]) -> None:
    """Have a program that looks at pictures propose parents (uid and kind), and take that in."""
    said = registry.read_sidecar(child).get("lineage", [])
    new = [{"parent": uid, "kind": kind, "certainty": "likely", "found": "similar"} for uid, kind in parents]
    rewrite(registry, child, [*said, *new])
    registry.ensure_sidecar(child)


# -- through every door -----------------------------------------------------------------------------------


def test_what_came_from_what_is_shown_both_ways(door: Door, registry: AssetRegistry) -> None:
    """A maker could not tell from which sketch a picture was made, or what is stale once that changes."""
    uids = line(registry)

    both = door.lineage(uids["lines"])
    up = door.lineage(uids["collage"], direction="ancestors")
    down = door.lineage(uids["sketch"], direction="descendants", depth=1)

    assert (both["uid"], both["truncated"]) == (uids["lines"], False)
    assert shown(both) == {"lines": 0, "sketch": -1, "day": 1, "night": 1, "collage": 2}
    assert edges(both) == {
        ("lines", "sketch", "edit", "certain"),
        ("day", "lines", "img2img", "certain"),
        ("night", "lines", "img2img", "certain"),
        *(("collage", name, "composite", "certain") for name in ("day", "night", "sketch")),
    }
    assert shown(up) == {"collage": 0, "day": -1, "night": -1, "sketch": -1, "lines": -2}
    assert (shown(down), down["truncated"]) == ({"sketch": 0, "lines": 1, "collage": 1}, True)
    first, *_ = both["nodes"]
    known = registry.get_asset(uids["lines"])
    assert known is not None
    assert (first["id"], first["type"], first["is_known"], first["is_missing"]) == (
        known["id"],
        "notes",
        True,
        False,
    )


def test_a_link_is_an_operation_that_is_undone_and_done_again(door: Door, registry: AssetRegistry) -> None:
    """A slip of the mouse would stay in the lineage for good."""
    sketch, final = add(registry, "sketch"), add(registry, "final")

    operation = door.link(final, sketch, "edit")
    again = door.link(final, sketch, "edit")

    assert again is None
    assert all_edges(registry) == {(final, sketch, "edit", "certain", "hand")}
    entry = next(each for each in registry.history(final) if each["operation"] == operation)
    assert (entry["before"] or {}).get("lineage") is None
    assert (entry["after"] or {})["lineage"] == registry.read_sidecar(final)["lineage"]
    undone = registry.undo(operation)
    assert (undone["undone"], all_edges(registry)) == ([final], set())
    registry.undo(undone["operation"] or 0)
    assert all_edges(registry) == {(final, sketch, "edit", "certain", "hand")}


def test_a_circle_is_refused_and_the_way_named(door: Door, registry: AssetRegistry) -> None:
    """A picture would be its own grandmother, and nobody would see why that was refused."""
    uids = line(registry)
    before = all_edges(registry)

    with pytest.raises(Refused, match=r"notes/sketch\.txt can't come from art/day\.txt") as told:
        door.link(uids["sketch"], uids["day"])
    with pytest.raises(Refused, match=r"notes/sketch\.txt can't come from notes/sketch\.txt"):
        door.link(uids["sketch"], uids["sketch"])

    assert "art/day.txt from notes/lines.txt from notes/sketch.txt" in str(told.value)
    assert all_edges(registry) == before


def test_a_link_to_nothing_is_refused(door: Door, registry: AssetRegistry) -> None:
    """A mistyped uid would stand in the sidecar as a parent that nobody ever finds."""
    sketch = add(registry, "sketch")

    for child, parent in ((sketch, STRANGER), (STRANGER, sketch)):
        with pytest.raises(Refused, match=STRANGER):
            door.link(child, parent)
    with pytest.raises(Refused, match=STRANGER):
        door.lineage(STRANGER)
    with pytest.raises(Refused, match="is not known to come from"):
        door.unlink(sketch, STRANGER)
    with pytest.raises(Refused, match="is not known to come from"):
        door.judge(sketch, STRANGER, "certain")

    assert all_edges(registry) == set()


def test_what_is_likely_waits_and_what_is_rejected_is_gone(door: Door, registry: AssetRegistry) -> None:
    """A guess would pass for a fact, or come up again after somebody said no."""
    day, night, face = (add(registry, name) for name in ("day", "night", "face"))
    propose(registry, face, (day, "variant"), (night, "upscale"))

    waiting = door.proposals()
    door.judge(face, day, "certain")
    door.judge(face, night, "rejected", "upscale")

    assert {(each["child_path"], each["parent_path"], each["kind"], each["found"]) for each in waiting} == {
        ("notes/face.txt", "notes/night.txt", "upscale", "similar"),
        ("notes/face.txt", "notes/day.txt", "variant", "similar"),
    }
    assert door.proposals() == door.proposals(face) == []
    assert edges(door.lineage(face)) == {("face", "day", "variant", "certain")}
    assert shown(door.lineage(night)) == {"night": 0}
    assert edges(door.lineage(face, with_rejected=True)) == {
        ("face", "day", "variant", "certain"),
        ("face", "night", "upscale", "rejected"),
    }
    assert {each[4] for each in all_edges(registry)} == {"similar"}


def test_an_edge_is_forgotten_by_kind_or_altogether(door: Door, registry: AssetRegistry) -> None:
    """An edge to an asset that is no more could never be got rid of."""
    sketch = add(registry, "sketch")
    kinds = [{"uid": sketch, "kind": kind} for kind in ("edit", "variant", "upscale")]
    final = add(registry, "final", *kinds, STRANGER)

    door.unlink(final, sketch, "edit")
    left = all_edges(registry)
    door.unlink(final, sketch)
    door.unlink(final, STRANGER)

    assert {each[2] for each in left} == {"variant", "upscale", "manual"}
    assert all_edges(registry) == set()
    assert "lineage" not in registry.read_sidecar(final)


def test_all_descendants_of_a_sketch_are_listed_and_counted(door: Door, registry: AssetRegistry) -> None:
    """Nobody could ask what has to be painted again when a sketch changes."""
    uids = line(registry)
    guess = add(registry, "guess")
    propose(registry, guess, (uids["sketch"], "variant"))
    registry.bulk_update_tags([uids["day"]], add_tags="sunny")

    paths, total, types = door.descendants(uids["lines"])

    assert (paths, total) == (["art/collage.txt", "art/night.txt", "art/day.txt"], 3)
    assert types == {"art": 3}
    assert door.descendants(uids["sketch"])[1:] == (4, {"art": 3, "notes": 1})
    assert door.descendants(uids["sketch"], asset_type="notes")[:2] == (["notes/lines.txt"], 1)
    assert door.descendants(uids["sketch"], tags="sunny")[0] == ["art/day.txt"]
    assert door.descendants(uids["collage"]) == ([], 0, {})
    assert door.descendants(STRANGER)[0] == []


@pytest.mark.parametrize(
    "others",
    [
        {"asset_type": ["art", "notes"]},
        {"not_types": "notes"},
        {"tags": ["sunny"]},
        {"text": "day"},
        {"text": "y"},
        {"uid": "the day's"},
        {"hash_value": "the day's"},
        {"workflow": "the day's"},
        {"problems": ["no-license", "missing"]},
        {"where": "stamped=false"},
        {"min_rating": 0},
        {"asset_type": "unknown"},
    ],
    ids=repr,
)
def test_other_conditions_leave_fewer_descendants(registry: AssetRegistry, others: dict[str, Any]) -> None:
    """One of two conditions would be forgotten, depending on which one the ledger looks up first."""
    uids = line(registry)
    day = registry.get_asset(uids["day"])
    assert day is not None
    assert day["provenance"] is not None
    registry.bulk_update_tags([uids["day"], uids["sketch"]], add_tags="sunny")
    of_day = {"uid": day["uid"], "hash_value": day["hash"], "workflow": day["provenance"]["workflow_hash"]}
    wanted = {name: of_day.get(name) if value == "the day's" else value for name, value in others.items()}
    line_uids = {each["uid"] for each in registry.list_assets(descends_from=uids["sketch"])}
    expected = [each["uid"] for each in registry.list_assets(**wanted) if each["uid"] in line_uids]

    both: dict[str, Any] = {**wanted, "descends_from": uids["sketch"]}
    pages = [registry.list_assets(**both, limit=1)]
    while pages[-1]:
        pages.append(registry.list_assets(**both, limit=1, cursor=pages[-1][-1]["id"]))

    assert [each["uid"] for each in registry.list_assets(**both)] == expected
    assert [each["uid"] for page in pages for each in page] == expected
    ids = [number for chunk in registry.iter_ids(**both, sort="name") for number in chunk]
    assert {each["uid"] for each in registry.get_records(ids).values()} == set(expected)
    assert registry.count_assets(**both) == registry.facets(**both)["total"] == len(expected)


# -- what scripts say -------------------------------------------------------------------------------------


def test_a_script_says_more_when_it_registers_known_content(registry: AssetRegistry) -> None:
    """What a second run finds out would be lost, or what the first one said."""
    sketch, photo = add(registry, "sketch"), add(registry, "photo")
    final = add(registry, "final", sketch)

    add(registry, "final", {"uid": photo, "kind": "composite"}, final)
    add(registry, "final", {"uid": sketch, "kind": "edit"}, keep_known=True)
    add(registry, "final")

    assert all_edges(registry) == {
        (final, sketch, "manual", "certain", "script"),
        (final, photo, "composite", "certain", "script"),
        (final, sketch, "edit", "certain", "script"),
    }


def test_a_rejection_outlives_the_script_that_was_wrong(registry: AssetRegistry) -> None:
    """A nightly ingest would bring back each morning what somebody took out."""
    sketch = add(registry, "sketch")
    final = add(registry, "final", sketch)

    registry.reject_parent(final, sketch)
    add(registry, "final", sketch)

    assert all_edges(registry) == {(final, sketch, "manual", "rejected", "script")}
    assert registry.lineage(final)["edges"] == []


def test_a_script_that_is_sure_settles_what_was_likely(registry: AssetRegistry) -> None:
    """A maker would be asked about what a program knows."""
    sketch, final = add(registry, "sketch"), add(registry, "final")
    propose(registry, final, (sketch, "edit"))

    add(registry, "final", {"uid": sketch, "kind": "edit"})

    assert all_edges(registry) == {(final, sketch, "edit", "certain", "script")}
    assert registry.proposed_parents() == []


def test_a_batch_brings_its_parents_along(registry: AssetRegistry, tmp_path: Path) -> None:
    """The bulk road would lose what the single one keeps."""
    sketch = add(registry, "sketch")
    items = []
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text(f"content {number}")
        claim = {"parents": [{"uid": sketch, "kind": "frame-of"}]}
        items.append({"source_path": tmp_path / f"{number}.txt", "asset_type": "notes", "provenance": claim})

    first = [each["status"] for each in registry.register_many(items)]
    again = [each["status"] for each in registry.register_many(items)]

    assert (first, again) == (["registered"] * 3, ["known"] * 3)
    assert {each[1:] for each in all_edges(registry)} == {(sketch, "frame-of", "certain", "script")}
    assert registry.count_assets(descends_from=sketch) == 3


@pytest.mark.parametrize(
    "parents",
    [
        "3f1a0c22b7d94e10",
        {"uid": STRANGER},
        [5],
        [""],
        ["../etc"],
        [{"uid": STRANGER, "kind": "mother"}],
        [{"kind": "edit"}],
        [{"uid": STRANGER, "certainty": "certain"}],
        [f"{number:016x}" for number in range(1_001)],
    ],
    ids=repr,
)
def test_parents_that_are_none_are_refused_before_anything_is_done(
    registry: AssetRegistry, parents: Any
) -> None:
    """A script's slip would leave a picture without its origin, and nobody would know."""
    Path("final.txt").write_text("final")

    with pytest.raises(InvalidMetadata):
        registry.register_file("final.txt", "notes", provenance={"inputs": {"parents": parents}})

    assert registry.list_assets() == []
    assert not (registry.ASSETS_ROOT / "notes").exists()


# -- the sidecar ------------------------------------------------------------------------------------------


def test_a_sidecar_without_parents_is_as_it_was(registry: AssetRegistry) -> None:
    """Every sidecar of every library would change, and with them every repository that holds them."""
    sketch, final = add(registry, "sketch"), add(registry, "final")
    path = registry.sidecar_path(final)
    assert path is not None
    before = json.loads(path.read_text("utf-8"))

    registry.link(final, sketch)
    registry.unlink(final, sketch)

    after = json.loads(path.read_text("utf-8"))
    assert "lineage" not in before
    assert list(after) == list(before)


def test_a_rebuild_brings_back_every_edge(open_registry: Callable[..., AssetRegistry], project: Path) -> None:
    """With the database the lineage would be lost, of which nothing else tells."""
    registry = open_registry()
    uids = line(registry)
    propose(registry, uids["day"], (STRANGER, "variant"), (uids["night"], "variant"))
    registry.reject_parent(uids["day"], uids["night"])
    known, whole = all_edges(registry), b"".join(export(registry))
    registry.close()
    for path in Path("comfyvn/data").iterdir():
        path.unlink()

    registry = open_registry()
    rebuild(registry)

    assert all_edges(registry) == known
    assert {each[3] for each in known} == {"certain", "likely", "rejected"}
    assert b"".join(export(registry)).partition(b'"assets"')[2] == whole.partition(b'"assets"')[2]
    registry.close()
    check_library(project)


def test_a_hand_edit_adds_and_removes_edges(registry: AssetRegistry) -> None:
    """The sidecar would not be the truth for what people write."""
    sketch, photo = add(registry, "sketch"), add(registry, "photo")
    final = add(registry, "final", sketch)

    rewrite(registry, final, [{"parent": photo, "kind": "inpaint"}, {"parent": photo, "kind": "inpaint"}])
    report = rebuild(registry)
    with_edge = all_edges(registry)
    rewrite(registry, final, None)
    rebuild(registry)

    assert [each["uid"] for each in report.metadata_changed] == [final]
    assert with_edge == {(final, photo, "inpaint", "certain", "hand")}
    assert all_edges(registry) == set()


def test_edits_on_both_sides_are_merged_edge_by_edge(registry: AssetRegistry) -> None:
    """Who links in the gallery would undo what somebody wrote into the sidecar, or the other way round."""
    old, new, other = (add(registry, name) for name in ("old", "new", "other"))
    final = add(registry, "final", old, STRANGER)
    said = registry.read_sidecar(final)["lineage"]

    rewrite(registry, final, [*(each for each in said if each["parent"] != old), {"parent": other}])
    parents = registry.link(final, new, "edit")

    assert {each["parent"] for each in parents} == {STRANGER, other, new}
    assert all_edges(registry) == {
        (final, STRANGER, "manual", "certain", "script"),
        (final, other, "manual", "certain", "hand"),
        (final, new, "edit", "certain", "hand"),
    }


def test_a_word_that_a_hand_edit_overrules_can_be_brought_back(registry: AssetRegistry) -> None:
    """Of two people who judge one edge differently the second would lose his word without a trace."""
    sketch, final = add(registry, "sketch"), add(registry, "final")
    propose(registry, final, (sketch, "edit"))

    rewrite(registry, final, [{"parent": sketch, "kind": "edit", "certainty": "rejected"}])
    registry.confirm_parent(final, sketch)

    assert all_edges(registry) == {(final, sketch, "edit", "rejected", "hand")}
    overruled = next(each for each in registry.history(final) if "overruled" in (each["after"] or {}))
    assert list((overruled["after"] or {})["overruled"]) == [f"lineage.{sketch}.edit"]
    assert registry.undo(overruled["operation"])["undone"] == [final]
    assert all_edges(registry) == {(final, sketch, "edit", "certain", "similar")}


@pytest.mark.parametrize(
    "lineage",
    [
        "a sketch",
        5,
        [STRANGER],
        [{"parent": 5}],
        [{"parent": "../../etc"}],
        [{}],
        [{"parent": STRANGER, "kind": ["edit"]}],
        [{"parent": STRANGER, "certainty": 0.9}],
        [{"parent": STRANGER, "found": "by\nchance"}],
        [{"parent": STRANGER, "note": "mine"}],
        [{"parent": f"{number:016x}"} for number in range(1_001)],
        [[]] * 3,
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_broken_lineage_is_reported_with_its_line_and_left_alone(
    registry: AssetRegistry, lineage: Any
) -> None:
    """One slip in an editor would take an asset's edges, or stop the whole rebuild."""
    sketch = add(registry, "sketch")
    final = add(registry, "final", sketch)
    before = registry.lineage(final)
    path = rewrite(registry, final, lineage)
    text = path.read_bytes()

    report = rebuild(registry).as_dict()

    [failed] = report["failed"]
    assert re.search(r":1:\d+: this sidecar is not usable: lineage", failed["why"])
    assert path.read_bytes() == text
    assert registry.lineage(final) == before


@pytest.mark.parametrize(
    ("strange", "why"),
    [
        ("a sketch", "lineage must hold objects, not str"),
        (5, "lineage must hold objects, not int"),
        ([STRANGER], "lineage must hold objects, not str"),
        (
            [{"parent": "../../etc"}, {}],
            "lineage must name a parent by its uid, not '../../etc' (and so 1 more)",
        ),
        ([{"parent": STRANGER, "kind": "child"}], "lineage has a wrong entry: kind must be one of"),
        ([{"parent": STRANGER, "note": "mine"}], "lineage has an unknown key 'note'"),
        ([{"parent": f"{number:016x}"} for number in range(1_001)], "lineage has more than 1,000 parents"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_without_a_ledger_what_is_understood_of_a_lineage_counts_and_the_rest_is_kept(
    open_registry: Callable[..., AssetRegistry], project: Path, strange: Any, why: str
) -> None:
    """One slip in an editor would keep the asset with all its tags out of the library, or be deleted."""
    registry = open_registry()
    sketch, final = add(registry, "sketch"), add(registry, "final")
    good, entries = {"parent": sketch, "kind": "edit"}, strange if isinstance(strange, list) else [strange]
    path = rewrite(registry, final, [good, *entries] if isinstance(strange, list) else strange)
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")), indent=2), "utf-8")
    name, text = path.relative_to(registry.ASSETS_ROOT).as_posix(), path.read_text("utf-8")
    registry.close()
    for each in Path("comfyvn/data").iterdir():
        each.unlink()

    registry = open_registry()
    report, again = rebuild(registry), rebuild(registry)
    registry.merge_asset_meta(final, {"note": "mine"})

    [warning] = report.skipped
    assert (report.failed, report.conflicts, again.skipped) == ([], [], [])
    assert warning["path"] == name
    found = re.fullmatch(
        r"line (\d+), column (\d+): (.*)\. It has no effect .* `comfyvn rebuild`", warning["why"]
    )
    assert found is not None
    assert why in found[3]
    beyond = entries[-2:] if len(entries) > 1_000 else entries
    begin = json.dumps(beyond[0], indent=2).partition("\n")[0]
    assert text.splitlines()[int(found[1]) - 1][int(found[2]) - 1 :].startswith(begin)
    assert registry.read_sidecar(final)["lineage"][-len(beyond) :] == beyond
    known = edges(registry.lineage(final, depth=1))
    assert (("final", "sketch", "edit", "certain") in known) == isinstance(strange, list)
    rewrite(registry, final, [good])
    rebuild(registry)
    assert all_edges(registry) == {(final, sketch, "edit", "certain", "hand")}
    registry.close()
    check_library(project)


def test_a_lone_object_for_a_lineage_is_a_list_of_one(registry: AssetRegistry) -> None:
    """Its meaning is plain, and brackets are easily forgotten."""
    sketch, final = add(registry, "sketch"), add(registry, "final")

    rewrite(registry, final, {"parent": sketch})
    report = rebuild(registry)

    assert (report.failed, report.skipped) == ([], [])
    assert all_edges(registry) == {(final, sketch, "manual", "certain", "hand")}


# -- circles, and what is not there -----------------------------------------------------------------------


def test_circles_in_files_end(registry: AssetRegistry) -> None:
    """A bad merge of two branches would hang every look at the lineage."""
    one, two, three = (add(registry, name) for name in ("one", "two", "three"))
    for child, parent in ((one, two), (two, three), (three, one), (one, one)):
        said = registry.read_sidecar(child).get("lineage", [])
        rewrite(registry, child, [*said, {"parent": parent}])
        registry.ensure_sidecar(child)

    found = registry.lineage(one, depth=1_000)

    assert (shown(dict(found)), found["truncated"]) == ({"one": 0, "two": -1, "three": -2}, False)
    assert len(found["edges"]) == 4
    assert registry.count_assets(descends_from=one) == 2
    assert [each["uid"] for each in registry.list_assets(descends_from=one)] == [three, two]
    with pytest.raises(LineageCircle):
        registry.link(three, two)


def test_what_was_removed_stays_the_parent_of_its_children(registry: AssetRegistry) -> None:
    """With a sketch everything would be forgotten of what came from it."""
    uids = line(registry)
    known = all_edges(registry)

    registry.remove_asset(uids["lines"], delete_files=True)
    without = registry.lineage(uids["day"], "ancestors")
    orphan = registry.lineage(uids["lines"])
    descendants = registry.count_assets(descends_from=uids["lines"])
    registry.restore_asset(uids["lines"])

    parent = next(each for each in without["nodes"] if each["uid"] == uids["lines"])
    assert (parent["is_known"], parent["path"], parent["id"], parent["type"]) == (False, None, None, None)
    assert shown(dict(orphan)) == {uids["lines"]: 0, "day": 1, "night": 1, "collage": 2}
    assert descendants == 3
    assert all_edges(registry) == known


def test_what_was_purged_stays_the_parent_of_its_children(registry: AssetRegistry) -> None:
    """Tidying up would cut lines in two."""
    uids = line(registry)
    (registry.ASSETS_ROOT / "notes" / "sketch.txt").unlink()
    rebuild(registry, allow_missing=True)
    missing = registry.lineage(uids["lines"], "ancestors")["nodes"][1]

    registry.purge()

    assert (missing["is_known"], missing["is_missing"]) == (True, True)
    assert registry.lineage(uids["lines"], "ancestors")["nodes"][1]["is_known"] is False
    assert registry.count_assets(descends_from=uids["sketch"]) == 4


def test_a_parent_of_another_project_is_unknown_here(open_registry: Callable[..., AssetRegistry]) -> None:
    """The lineage of one project would show paths of another."""
    mine = open_registry()
    other = open_registry(project_id="other", assets_root="other/assets", thumb_root="other/thumbs")
    theirs = other.register_file(_write("theirs"), "notes")["uid"]
    final = add(mine, "final", theirs)

    found = mine.lineage(final, "ancestors")

    assert [each["is_known"] for each in found["nodes"]] == [True, False]
    with pytest.raises(AssetNotFound):
        other.lineage(final)
    assert other.count_assets(descends_from=theirs) == 0
    with pytest.raises(AssetNotFound):
        mine.link(final, theirs, "edit")


def _write(name: str) -> Path:
    path = Path(f"{name}.txt")
    path.write_text(name)
    return path


# -- beside other changes ---------------------------------------------------------------------------------


def test_other_edits_leave_the_parents_alone(registry: AssetRegistry) -> None:
    """A new tag, a move or new content would cost an asset its origin."""
    sketch = add(registry, "sketch")
    final = add(registry, "final", sketch)
    known = all_edges(registry)

    registry.update_asset_meta(final, {"tags": ["a"], "artist": "J. Doe"})
    registry.merge_asset_meta(final, {"artist": None, "mood": "calm"})
    registry.bulk_edit([final], add_tags="b", metadata={"mood": "grim"})
    registry.move_asset(final, "elsewhere/")
    path = registry.resolve_path(final)
    assert path is not None
    path.write_text("painted over")
    rebuild(registry)
    path.rename(path.with_name("renamed.txt"))
    rebuild(registry)

    record = registry.get_asset(final)
    assert record is not None
    assert (record["path"], record["version"]) == ("elsewhere/renamed.txt", 2)
    assert all_edges(registry) == known


def test_an_undone_registration_takes_its_edges_along_and_brings_them_back(registry: AssetRegistry) -> None:
    """Edges of an asset that is not there would be listed for ever, or be missing when it returns."""
    sketch = add(registry, "sketch")
    final = add(registry, "final", sketch)
    known = all_edges(registry)
    operation = next(each["operation"] for each in registry.history(final))

    gone = registry.undo(operation)

    assert (gone["undone"], all_edges(registry)) == ([final], set())
    registry.undo(gone["operation"] or 0)
    assert all_edges(registry) == known


def test_an_undo_leaves_what_was_linked_since(registry: AssetRegistry) -> None:
    """Taking back a tag of yesterday would take today's link along."""
    sketch, final = add(registry, "sketch"), add(registry, "final")
    tagged = registry.bulk_edit([final], add_tags="a")["operation"]
    registry.link(final, sketch)

    report = registry.undo(tagged or 0)

    assert [each["uid"] for each in report["refused"]] == [final]
    assert len(all_edges(registry)) == 1


def test_two_writers_lose_no_edge(open_registry: Callable[..., AssetRegistry], project: Path) -> None:
    """Of two programs that link at once one would overwrite the other's edges."""
    one, two = open_registry(), open_registry()
    parents = [add(one, f"parent {number}") for number in range(8)]
    final = add(one, "final")

    def link(registry: AssetRegistry, mine: list[str], kind: str) -> None:
        for parent in mine:
            registry.link(final, parent, kind)

    run_all(lambda: link(one, parents, "edit"), lambda: link(two, parents, "variant"))

    assert {each[1:3] for each in all_edges(one)} == {
        (parent, kind) for parent in parents for kind in ("edit", "variant")
    }
    one.close()
    two.close()
    check_library(project)


@pytest.mark.parametrize("era", ERAS)
def test_a_library_of_an_older_release_gets_a_lineage(
    era: Era, project: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """Makers of many years would have to start a new library for it."""
    legacy.build(project, era)
    registry = open_registry()
    rebuild(registry)
    before = states_of(registry)
    child, parent, *_ = list(before)

    registry.link(child, parent, "edit")
    registry.close()
    for path in registry.db_path.parent.iterdir():
        path.unlink()
    registry = open_registry()
    rebuild(registry)

    assert all_edges(registry) == {(child, parent, "edit", "certain", "hand")}
    assert states_of(registry).keys() == before.keys()


# -- Python alone -----------------------------------------------------------------------------------------


def test_proposals_come_by_the_page_newest_first(registry: AssetRegistry) -> None:
    """A library with thousands of guesses could not be gone through."""
    parents = [add(registry, f"parent {number}") for number in range(5)]
    children = [add(registry, f"child {number}") for number in range(5)]
    for child, parent in zip(children, parents, strict=True):
        propose(registry, child, (parent, "upscale"))

    first = registry.proposed_parents(limit=3)
    second = registry.proposed_parents(limit=3, cursor=first[-1]["id"])

    assert [each["child"] for each in (*first, *second)] == children[::-1]
    assert [each["parent"] for each in registry.proposed_parents(children[1])] == [parents[1]]
    assert registry.proposed_parents(STRANGER) == []


def test_confirming_by_parent_alone_means_what_waits(registry: AssetRegistry) -> None:
    """A yes to one proposal would bring back what somebody rejected."""
    sketch, final = add(registry, "sketch"), add(registry, "final")
    propose(registry, final, (sketch, "edit"), (sketch, "variant"))
    registry.reject_parent(final, sketch, "edit")

    registry.confirm_parent(final, sketch)

    assert {each[2:4] for each in all_edges(registry)} == {("edit", "rejected"), ("variant", "certain")}
    registry.confirm_parent(final, sketch, "edit")
    assert {each[3] for each in all_edges(registry)} == {"certain"}


def test_a_proposal_that_closes_a_circle_is_not_confirmed(registry: AssetRegistry) -> None:
    """A guess that has the time backwards would become a fact."""
    sketch = add(registry, "sketch")
    final = add(registry, "final", sketch)
    propose(registry, sketch, (final, "variant"))

    with pytest.raises(LineageCircle):
        registry.confirm_parent(sketch, final)

    registry.reject_parent(sketch, final)
    assert edges(registry.lineage(final)) == {("final", "sketch", "manual", "certain")}


@pytest.mark.parametrize(
    "ask",
    [
        lambda registry, uid: registry.lineage(uid, "sideways"),
        lambda registry, uid: registry.lineage(uid, depth=0),
        lambda registry, uid: registry.lineage(uid, depth="2"),
        lambda registry, uid: registry.proposed_parents(limit=0),
        lambda registry, uid: registry.proposed_parents(cursor=-1),
        lambda registry, uid: registry.list_assets(descends_from="../x"),
        lambda registry, uid: registry.list_assets(descends_from=5),
    ],
)
def test_questions_without_sense_are_refused(
    registry: AssetRegistry, ask: Callable[[AssetRegistry, str], Any]
) -> None:
    """A slip would be answered with an empty lineage, as if there were none."""
    uid = add(registry, "sketch")

    with pytest.raises(InvalidFilter):
        ask(registry, uid)


def test_a_uid_that_no_database_can_hold_is_unknown(registry: AssetRegistry) -> None:
    """A name that a terminal mangled would end in a traceback."""
    sketch, mangled = add(registry, "sketch"), "\udcff"

    for ask in (
        lambda: registry.lineage(mangled),
        lambda: registry.link(mangled, sketch),
        lambda: registry.link(sketch, mangled),
    ):
        with pytest.raises(AssetNotFound):
            ask()
    with pytest.raises(LinkNotFound):
        registry.unlink(sketch, mangled)
    assert registry.proposed_parents(mangled) == []


def test_a_kind_that_there_is_not_is_refused(registry: AssetRegistry) -> None:
    """A slip would make a kind that no filter and no picture knows."""
    sketch = add(registry, "sketch")
    final = add(registry, "final", sketch)

    with pytest.raises(InvalidMetadata, match="kind must be one of img2img"):
        registry.link(final, sketch, "copy")
    with pytest.raises(InvalidMetadata, match="kind must be one of"):
        registry.unlink(final, sketch, "copy")
    with pytest.raises(LinkNotFound, match="by upscale"):
        registry.unlink(final, sketch, "upscale")


def test_an_asset_has_at_most_a_thousand_parents(registry: AssetRegistry) -> None:
    """A runaway script would make a sidecar that no program reads any more."""
    sketch = add(registry, "sketch")
    final = add(registry, "final", *(f"{number:016x}" for number in range(1_000)))

    with pytest.raises(InvalidMetadata, match="1,001 parents, the limit is 1,000"):
        registry.link(final, sketch)

    assert len(registry.lineage(final)["edges"]) == 1_000


# -- words on the terminal --------------------------------------------------------------------------------


def test_the_terminal_shows_a_tree(run: Callable[..., Answer], registry: AssetRegistry) -> None:
    """A maker could not read in the terminal what came from what."""
    uids = line(registry)
    propose(registry, uids["day"], (STRANGER, "variant"))

    up = run("lineage", "art/collage.txt", "--ancestors").out.splitlines()
    down = run("lineage", uids["sketch"][:6], "--descendants").out.splitlines()
    nothing = run("lineage", uids["collage"], "--descendants").out

    assert up[0] == f"art/collage.txt ({uids['collage']}) came from"
    assert any(f"{STRANGER} (not in the library): variant, likely, found by similar" in each for each in up)
    assert sum("notes/lines.txt" in each for each in up) == 2
    assert sum("see above" in each for each in up) == 2
    assert down[0] == f"notes/sketch.txt ({uids['sketch']}) became"
    assert "edit, found by script" in next(each for each in down if "lines.txt" in each)
    assert nothing == f"art/collage.txt ({uids['collage']}) became nothing that is known\n"


def test_the_terminal_tells_what_a_link_did_and_how_to_undo_it(
    run: Callable[..., Answer], registry: AssetRegistry
) -> None:
    """A maker would not know whether it was done, or the wrong way round."""
    sketch, final = add(registry, "sketch"), add(registry, "final")

    linked = run("link", "notes/final.txt", "notes/sketch.txt", "--kind", "edit")
    history = run("history", final).out
    undone = run("undo", linked.operation)
    again = run("unlink", "notes/final.txt", "notes/sketch.txt")

    first = linked.out.splitlines()[0]
    assert first == f"notes/final.txt from notes/sketch.txt ({sketch}): edit, found by hand"
    assert f"linked to {sketch} (edit)" in history
    assert undone.code == 0
    assert (again.code, "is not known to come from" in again.err) == (3, True)


def test_the_terminal_lists_proposals_by_path(run: Callable[..., Answer], registry: AssetRegistry) -> None:
    """A maker would have to look up every uid to say yes or no."""
    sketch, final = add(registry, "sketch"), add(registry, "final")
    propose(registry, final, (sketch, "upscale"))

    listed = run("proposal", "list").out
    confirmed = run("proposal", "confirm", "notes/final.txt", "notes/sketch.txt")
    empty = run("proposal", "list").out

    assert "notes/final.txt from notes/sketch.txt" in listed
    assert "upscale, found by similar" in listed
    assert confirmed.code == 0
    assert empty == "Nothing waits for confirmation.\n"


def test_a_history_says_of_links_what_became_of_them(
    run: Callable[..., Answer], registry: AssetRegistry
) -> None:
    """A maker who looks for a wrong link would read that something was "edited"."""
    sketch, final = add(registry, "sketch"), add(registry, "final")
    linked = run("link", final, sketch, "--kind", "edit").operation
    run("unlink", final, sketch)
    propose(registry, final, (sketch, "upscale"))
    run("proposal", "reject", final, sketch)
    run("proposal", "confirm", final, sketch)
    run("undo", linked)

    entries, operations = run("history", final).out, run("history").out

    told = [
        f"linked to {sketch} (edit)",
        f"unlinked from {sketch} (edit)",
        f"likely parent {sketch} (upscale) proposed, found by similar",
        f"parent {sketch} (upscale) rejected",
        f"linked to {sketch} (upscale)",
    ]
    shown = [line.rstrip() for line in reversed(entries.splitlines()) if sketch in line]
    assert [line[-len(words) :] for line, words in zip(shown, told, strict=True)] == told
    for words in told:
        assert f"notes/final.txt {words}" in operations
    assert "edited" not in operations


def test_links_among_other_edits_are_counted(run: Callable[..., Answer], registry: AssetRegistry) -> None:
    """An operation on many assets would fill the terminal, or hide what else it did."""
    sketch, one, two = (add(registry, name) for name in ("sketch", "one", "two"))
    number = registry.new_operation()
    registry.link(one, sketch, operation=number)
    registry.link(two, sketch, operation=number)
    registry.merge_asset_meta(two, {"mood": "calm"}, operation=number)

    line = next(each for each in run("history").out.splitlines() if str(number) in each)

    assert "2 linked, 1 edited" in line


def test_a_history_leaves_out_edits_that_changed_nothing(
    run: Callable[..., Answer], registry: AssetRegistry, tmp_path: Path
) -> None:
    """Half of a history would say that nothing happened."""
    source = tmp_path / "sketch.txt"
    source.write_text("lines")
    uid = registry.register_file(source, "notes")["uid"]
    for origin in ("batch 1", "batch 2"):
        registry.register_file(source, "notes", provenance={"source": origin})

    entries, operations = run("history", uid).out, run("history").out

    assert "provenance from batch 2" in entries
    assert "nothing changed" not in entries
    assert "1 given provenance" in operations
    assert "edited" not in operations
