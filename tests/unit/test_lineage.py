"""The lineage in its parts: edges read strictly and merged one by one, walks that end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyvn.db import Engine, Ledger, open_engine
from comfyvn.db.lineage import Way
from comfyvn.errors import InvalidMetadata
from comfyvn.model import (
    CERTAINTIES,
    LINK_KINDS,
    Asset,
    Facts,
    Parent,
    claimed_parents,
    normalise_parents,
    parse_parents,
    unite_parents,
)
from comfyvn.sidecar import build, dumps, merge, parse

UID = "3f1a0c22b7d94e10"
parents = st.builds(
    Parent,
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(LINK_KINDS[:2]),
    st.sampled_from(CERTAINTIES),
    st.sampled_from(["hand", "script"]),
)
sides = st.lists(parents, max_size=5).map(normalise_parents)


def merged(base: Sequence[Parent], theirs: Sequence[Parent], ours: Sequence[Parent]) -> Sequence[Parent]:
    return merge(*(Facts(parents=tuple(side)) for side in (base, theirs, ours))).facts.parents


def by_edge(side: Sequence[Parent]) -> dict[tuple[str, str], Parent]:
    return {(each.uid, each.kind): each for each in side}


# -- reading ----------------------------------------------------------------------------------------------


@given(sides)
def test_what_a_sidecar_says_of_parents_is_read_back(side: tuple[Parent, ...]) -> None:
    """After the loss of the database a rebuild would bring back another lineage."""
    asset = Asset(1, "p", UID, "t", "k", "h", 1, Facts(parents=side), "c", "u")

    found = parse(dumps(build(asset)), "x.asset.json")

    assert found.facts.parents == side
    assert found.facts.extra == {}


def test_an_edge_written_by_hand_needs_its_parent_alone() -> None:
    """Who writes a sidecar in an editor would have to know words that say nothing."""
    assert parse_parents([{"parent": UID}]) == (Parent(UID, "manual", "certain", "hand"),)
    assert parse_parents(None) == parse_parents([]) == ()


def test_an_edge_that_stands_twice_counts_once() -> None:
    """A merge of two branches that doubles a line would break the sidecar."""
    twice = [{"parent": UID, "kind": "edit", "found": found} for found in ("hand", "script")]

    assert parse_parents([*twice, {"parent": UID}]) == (Parent(UID, "edit"), Parent(UID, "manual"))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: (
    st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["parent", "uid", "kind", "certainty", "found", "x"]), inner)
)))  # fmt: skip
@pytest.mark.parametrize("read", [parse_parents, claimed_parents])
def test_whatever_stands_there_is_read_or_refused(
    read: Callable[[object], tuple[Parent, ...]], value: Any
) -> None:
    """A file from anywhere would end a rebuild with a traceback."""
    try:
        found = read(value)
    except InvalidMetadata:
        return
    assert found == normalise_parents(found)


# -- merging ----------------------------------------------------------------------------------------------


@given(sides, sides)
def test_a_change_of_one_side_is_taken_as_it_is(base: tuple[Parent, ...], new: tuple[Parent, ...]) -> None:
    """Who changes the lineage alone would get something else."""
    assert merged(base, base, new) == new
    assert merged(base, new, base) == new
    assert merged(base, new, new) == new


@given(sides, sides, sides)
def test_each_edge_is_merged_by_itself(
    base: tuple[Parent, ...], theirs: tuple[Parent, ...], ours: tuple[Parent, ...]
) -> None:
    """A change of one edge would decide about another one."""
    outcome = by_edge(merged(base, theirs, ours))
    was, file, new = (by_edge(side) for side in (base, theirs, ours))

    for name in {*was, *file, *new}:
        is_edited = file.get(name) != was.get(name)
        assert outcome.get(name) == (file if is_edited else new).get(name)


@given(sides, sides)
def test_what_a_program_adds_never_undoes_a_word(known: tuple[Parent, ...], new: tuple[Parent, ...]) -> None:
    """One that runs each night would take back what somebody decided, or ask about it again and again."""
    united, stated = by_edge(unite_parents(known, new)), by_edge(new)

    for name, each in by_edge(known).items():
        assert united[name] in (each, stated.get(name))
        assert united[name] == each or each.certainty == "likely"
    settled = {each.uid for each in known if each.certainty != "likely"}
    for name, each in stated.items():
        assert (name in united) == (
            name in by_edge(known) or each.certainty != "likely" or name[0] not in settled
        )


# -- walking ----------------------------------------------------------------------------------------------


@pytest.fixture
def open_ledger(tmp_path: Path) -> Iterator[Callable[..., Ledger]]:
    engines: list[Engine] = []

    def open_one(edges: dict[str, str], project: str = "default") -> Ledger:
        """Return a ledger of assets named by single letters, each with the parents that it names."""
        engines.append(open_engine(tmp_path / "comfyvn.db", durability="off"))
        ledger = Ledger(engines[-1], project, "tester")
        ids = ledger.reserve_ids(len(edges))
        with ledger.write() as rows:
            rows.insert([asset(project, each, *it) for each, it in zip(ids, edges.items(), strict=True)])
        return ledger

    yield open_one
    for engine in engines:
        engine.close()


def asset(project: str, number: int, uid: str, named: str) -> Asset:
    facts = Facts(parents=normalise_parents(Parent(each) for each in named))
    return Asset(number, project, uid, "notes", f"notes/{uid}", uid * 64, 1, facts, "2026", "2026")


def walk(ledger: Ledger, uid: str, way: Way, *, depth: int = 20, limit: int = 100) -> tuple[Any, bool]:
    with ledger.read() as rows:
        walked = rows.lines.walk(uid, way, depth=depth, limit=limit)
    return dict(walked.depths), walked.is_cut


def test_a_walk_goes_the_shortest_way_and_no_further_than_wanted(
    open_ledger: Callable[..., Ledger],
) -> None:
    """A grandchild that is a child as well would lie too deep, or a deep lineage would pass for all of it."""
    ledger = open_ledger({"a": "", "b": "a", "c": "ab", "d": "c", "e": "d"})

    assert walk(ledger, "a", "descendants") == ({"b": 1, "c": 1, "d": 2, "e": 3}, False)
    assert walk(ledger, "e", "ancestors") == ({"d": 1, "c": 2, "a": 3, "b": 3}, False)
    assert walk(ledger, "a", "descendants", depth=2) == ({"b": 1, "c": 1, "d": 2}, True)
    assert walk(ledger, "a", "descendants", depth=3)[1] is False


def test_a_walk_ends_at_its_limit(open_ledger: Callable[..., Ledger]) -> None:
    """One asset that everything came from would fill the memory of the server."""
    ledger = open_ledger({"a": "", **dict.fromkeys("bcdefgh", "a")})

    found, is_cut = walk(ledger, "a", "descendants", limit=3)

    assert (len(found), is_cut) == (3, True)
    assert walk(ledger, "a", "descendants", limit=7) == (dict.fromkeys("bcdefgh", 1), False)
    with ledger.read() as rows:
        assert len(rows.lines.edges_among("abcdefgh", 5, with_rejected=False)) == 5


def test_a_walk_in_circles_ends(open_ledger: Callable[..., Ledger]) -> None:
    """A bad merge would hang whoever looks."""
    ledger = open_ledger({"a": "ac", "b": "a", "c": "b"})

    assert walk(ledger, "a", "descendants", depth=10_000) == ({"b": 1, "c": 2}, False)
    assert walk(ledger, "a", "ancestors", depth=10_000) == ({"c": 1, "b": 2}, False)
    with ledger.read() as rows:
        assert rows.lines.way_up("a", "b") == ["a", "c", "b"]
        assert rows.lines.way_up("a", "x") is None


def test_projects_have_lineages_of_their_own(open_ledger: Callable[..., Ledger]) -> None:
    """What was made in one project would show up in another one that has the same picture."""
    mine = open_ledger({"a": "", "b": "a"})
    theirs = open_ledger({"a": "", "c": "a"}, project="theirs")

    assert walk(mine, "a", "descendants")[0] == {"b": 1}
    assert walk(theirs, "a", "descendants")[0] == {"c": 1}
    with theirs.write() as rows:
        found = rows.asset("c")
        assert found is not None
        rows.remove(found)
    assert walk(mine, "a", "descendants")[0] == {"b": 1}


def test_an_update_changes_its_own_edges_alone(open_ledger: Callable[..., Ledger]) -> None:
    """A change of one asset would cost another its parents, or leave old ones behind."""
    ledger = open_ledger({"a": "", "b": "a", "c": "ab"})

    with ledger.write() as rows:
        found = rows.asset("c")
        assert found is not None
        likely = normalise_parents([Parent("b", "edit", "likely", "similar"), Parent("x")])
        rows.update([replace(found, facts=replace(found.facts, parents=likely))])

    with ledger.read() as rows:
        now = {each.uid: each.facts.parents for each in rows.assets("abc")}
        proposed = rows.lines.proposals(10, None, None)
    assert now == {"a": (), "b": (Parent("a"),), "c": likely}
    assert [(each.child_uid, each.parent_uid, each.parent_key) for each in proposed] == [
        ("c", "b", "notes/b")
    ]
