"""The sidecar: what people wrote comes back as they wrote it, and two people's edits both count."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from comfyvn.errors import InvalidSidecar
from comfyvn.model import (
    CERTAINTIES,
    LINK_KINDS,
    MAX_VERSION,
    Asset,
    Facts,
    Limits,
    Parent,
    Preview,
    Provenance,
    canonical_json,
    fold,
    normalise_parents,
    normalise_tags,
    parse_facts,
)
from comfyvn.sidecar import SCHEMA, Merged, build, dumps, merge, names, parse

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=10)
line = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=10)
tags = st.lists(line, max_size=5).map(normalise_tags)
maybe_line = st.none() | line.map(str.strip).map(lambda value: value or None)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | text
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
OWN = set(build(Asset(1, "p", "u", "t", "k", "h", 1, Facts(), "c", "u")))
meta_keys = text.filter(lambda key: key not in OWN and key != "thumbnails")
objects = st.dictionaries(meta_keys, json_values, max_size=4)
parents = st.lists(
    st.builds(
        Parent,
        st.text("0123456789abcdef", min_size=1, max_size=16),
        st.sampled_from(LINK_KINDS),
        st.sampled_from(CERTAINTIES),
        st.sampled_from(["hand", "script", "graph-hash"]),
    ),
    max_size=3,
).map(normalise_parents)
facts = st.builds(Facts, tags, maybe_line, maybe_line, objects, objects, parents)
ids = st.integers(1, 2**53 - 1)
uids = st.text("0123456789abcdef", min_size=16, max_size=16)
times = st.just("2026-11-22 15:00:00") | st.just("2025-01-01 00:00:00")
rows = st.builds(
    Provenance,
    id=ids,
    asset_id=st.just(77),
    asset_uid=st.just("3f1a0c22b7d94e10"),
    source=line.filter(bool),
    workflow_hash=st.none() | line.filter(bool),
    commit_hash=st.none() | line.filter(bool),
    inputs=objects,
    c2pa_like=objects,
    user_id=st.none() | line.filter(bool),
    created_at=times,
)
previews = st.sampled_from(
    [
        Preview(),
        Preview("thumbnail", "pending", None, 1, "cache/thumbs/3f1a0c22b7d94e10_256.webp"),
        Preview("thumbnail", "ready", None, 1, "3f1a0c22b7d94e10_256.webp"),
        Preview("thumbnail", "failed", "it is cut short"),
        Preview("waveform", "ready", None, 2, "cache/thumbs/3f1a0c22b7d94e10.waveform.json"),
    ]
)
assets = st.builds(
    Asset,
    id=st.just(77),
    project_id=line.filter(bool),
    uid=st.just("3f1a0c22b7d94e10"),
    type=st.sampled_from(["characters", "背景", "x y"]),
    key=line.filter(bool),
    digest=st.text("0123456789abcdef", min_size=64, max_size=64),
    size_bytes=st.integers(0, 2**40),
    facts=facts,
    created_at=times,
    updated_at=times,
    version=st.integers(1, MAX_VERSION),
    preview=previews,
    provenance=rows,
    provenance_history=st.lists(rows, max_size=2).map(tuple),
)

EXAMPLE = Asset(
    id=2**52,
    project_id="default",
    uid="3f1a0c22b7d94e10",
    type="characters",
    key="characters/mara.png",
    digest="3f1a0c22b7d94e10" * 4,
    size_bytes=5120,
    facts=Facts(
        ("mara", "夏"), "CC-BY-4.0", None, {"artist": "J. Doe", "b": 1, "a": 2}, {"x-engine": {"k": [1]}}
    ),
    created_at="2025-10-23 09:14:02",
    updated_at="2025-10-24 10:00:00",
    version=2,
    preview=Preview("thumbnail", "ready", None, 1, "cache/thumbs/3f1a0c22b7d94e10_256.webp"),
    provenance=Provenance(
        7,
        2**52,
        "3f1a0c22b7d94e10",
        "comfyui",
        "9c",
        "ab12",
        {"prompt": "夏"},
        {},
        "jd",
        "2025-10-23 09:14:02",
    ),
)


def same(one: Facts, other: Facts) -> bool:
    """Compare as a sidecar's reader would: 1, 1.0 and true differ."""
    parts = [(each.tags, each.license, each.origin, each.meta, each.extra) for each in (one, other)]
    return canonical_json(parts[0]) == canonical_json(parts[1]) and one.parents == other.parents


def merged(base: Facts, theirs: Facts, ours: Facts) -> Facts:
    return merge(base, theirs, ours).facts


# -- build and parse ----------------------------------------------------------------------------------


@given(assets)
def test_what_is_built_is_read_back(asset: Asset) -> None:
    """After the loss of the database a rebuild would bring back something else than what was there."""
    found = parse(dumps(build(asset)), "x.asset.json")

    assert same(found.facts, asset.facts)
    assert (found.uid, found.project, found.type, found.key) == (
        asset.uid,
        asset.project_id,
        asset.type,
        asset.key,
    )
    assert (found.digest, found.size_bytes, found.version) == (asset.digest, asset.size_bytes, asset.version)
    assert (found.created_at, found.updated_at) == (asset.created_at, asset.updated_at)
    assert found.asset_id == asset.id
    assert found.provenance == (asset.provenance, *asset.provenance_history)


@given(assets)
def test_a_sidecar_that_is_read_and_written_is_the_same_to_the_byte(asset: Asset) -> None:
    """Each run would show as a change in git."""
    first = dumps(build(asset))

    found = parse(first, "x.asset.json")
    again = replace(
        asset, facts=found.facts, provenance=found.provenance[0], provenance_history=found.provenance[1:]
    )

    assert dumps(build(again)) == first
    assert dumps(found.payload) == first
    assert first.endswith(b"\n")
    assert not first.endswith(b"\n\n")
    assert b"\r" not in first


def in_plain_json(payload: object) -> bytes:
    return (json.dumps(payload, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


@given(assets)
def test_a_sidecar_is_written_as_plain_json_writes_it(asset: Asset) -> None:
    """A faster writer would touch every sidecar of a library, and git show each as changed."""
    payload = build(asset)

    assert dumps(payload) == in_plain_json(payload)


@given(st.dictionaries(text, json_values | st.integers() | st.floats(1e-7, 1e-3) | st.floats(1e14, 1e18)))
@example({"zero": [0.0, -0.0, 1e-4, 9.999999999999999e-05, 1e15, 9999999999999998.0, 1e16, 1e22, 5e-324]})
@example({"empty": [[], {}, (), "", '\x00\x1f\x7f\u2028\ud7ff"\\/'], "big": [2**63, 2**64, -(2**63) - 1]})
@example({"odd": {1: "one", None: 2, False: 3}})
def test_any_value_is_written_as_plain_json_writes_it(payload: dict[str, Any]) -> None:
    """A number might change its spelling between two releases."""
    assert dumps(payload) == in_plain_json(payload)


@pytest.mark.parametrize("value", [math.nan, math.inf, "\ud800", b"x", {1, 2}, 1j], ids=repr)
def test_what_is_no_json_is_not_written(value: object) -> None:
    """NaN would become null without a word, and half a character make a sidecar that nobody can read."""
    with pytest.raises((TypeError, ValueError)):
        dumps({"meta": {"deep": [value]}})


@pytest.mark.parametrize("depth", [50, 99, 100, 101, 300])
def test_a_deep_value_is_written_as_plain_json_writes_it(depth: int) -> None:
    """The faster writer gives up at some depth."""
    payload: dict[str, Any] = {}
    for _ in range(depth):
        payload = {"in": payload}

    assert dumps(payload) == in_plain_json(payload)


@given(assets)
def test_a_sidecar_of_ours_names_its_asset_at_a_glance_and_no_other(asset: Asset) -> None:
    """The mirror of another asset would be written over."""
    data = dumps(build(asset))

    assert names(data, asset)
    assert not names(data, replace(asset, uid="0123456789abcdef"))
    assert not names(data, replace(asset, project_id=f"{asset.project_id}2"))


@given(assets)
def test_building_changes_nothing_in_the_asset(asset: Asset) -> None:
    """A caller who edits a record would edit the asset in memory."""
    before = dumps(build(asset))
    payload = build(asset)

    payload["tags"].append("spoilt")
    payload["meta"]["spoilt"] = True
    payload["links"].clear()
    payload["provenance"]["inputs"]["spoilt"] = True

    assert dumps(build(asset)) == before


def test_the_keys_stand_in_the_order_that_the_format_names() -> None:
    """A sidecar would differ in git for nothing."""
    payload = build(EXAMPLE)

    assert list(payload) == [
        *(
            "schema",
            "id",
            "uid",
            "project",
            "type",
            "path",
            "hash",
            "bytes",
            "version",
            "tags",
            "license",
            "origin",
        ),
        *("created_at", "updated_at", "meta", "preview", "links", "provenance", "x-engine"),
    ]
    assert list(payload["meta"]) == [
        *("tags", "license", "version", "artist", "b", "a", "preview", "thumbnails"),
    ]
    assert payload["schema"] == SCHEMA
    assert payload["id"] == payload["uid"]


def test_a_sidecar_reads_well() -> None:
    """A person edits it by hand, and git shows its lines."""
    written = dumps(build(EXAMPLE)).decode()

    assert '\n  "tags": [\n    "mara",\n    "夏"\n  ],\n' in written
    assert "\\u" not in written


def test_links_and_previews_are_named_as_old_tools_expect() -> None:
    """Galleries of today read these keys."""
    payload = build(EXAMPLE)

    thumbs = {
        "256": "cache/thumbs/3f1a0c22b7d94e10_256.webp",
        "512": "cache/thumbs/3f1a0c22b7d94e10_512.webp",
    }
    assert payload["meta"]["thumbnails"] == payload["links"]["thumbnails"] == thumbs
    assert payload["preview"] == {"kind": "thumbnail", "paths": thumbs, "default": thumbs["256"], "recipe": 1}
    assert payload["links"]["thumbnail"] == thumbs["256"]
    assert payload["links"]["file"] == "characters/mara.png"
    assert payload["links"]["sidecar"] == "characters/mara.png.asset.json"
    assert build(EXAMPLE, ".side")["links"]["sidecar"] == "characters/mara.png.side"


def test_whether_a_preview_is_made_yet_is_not_in_the_sidecar() -> None:
    """Each sidecar would change once more for nothing that a person did."""
    pending = replace(EXAMPLE, preview=replace(EXAMPLE.preview, state="pending"))

    assert dumps(build(pending)) == dumps(build(EXAMPLE))


def test_a_failed_preview_gives_its_reason_and_is_not_advertised() -> None:
    """Failed thumbnails once stayed advertised."""
    failed = replace(EXAMPLE, preview=Preview("thumbnail", "failed", "it is cut short", 1))

    payload = build(failed)

    assert payload["preview"] == {"kind": "thumbnail", "state": "failed", "reason": "it is cut short"}
    assert "thumbnails" not in payload["meta"]
    assert "thumbnail" not in payload["links"]


def test_older_provenance_is_kept_as_history_newest_first() -> None:
    """Provenance once left the sidecar at the next edit."""
    older = replace(EXAMPLE.provenance, id=3, source="krita")
    asset = replace(EXAMPLE, provenance_history=(older,))

    payload = build(asset)

    assert payload["provenance"]["id"] == 7
    assert [row["id"] for row in payload["provenance"]["history"]] == [3]
    assert "history" not in build(EXAMPLE)["provenance"]
    assert build(replace(EXAMPLE, provenance=None))["provenance"] is None


def test_metadata_at_the_limit_gives_a_sidecar_that_is_within_it() -> None:
    """An asset would be registered whose own sidecar is refused ever after."""
    limits = Limits(metadata_bytes=2_000, metadata_values=30, tags_per_asset=3)
    meta = {"a": [0] * 28, "b": "x" * (2_000 - len(canonical_json({"a": [0] * 28, "b": ""})))}
    known = parse_facts({**meta, "tags": ["x" * 200, "y", "z"], "origin": "o" * 1000}, limits, "L" * 1000)

    found = parse(dumps(build(replace(EXAMPLE, facts=known))), "x.asset.json", limits)

    assert same(found.facts, known)


# -- older and hand-made sidecars ---------------------------------------------------------------------


def test_a_sidecar_of_an_older_release_is_read() -> None:
    """Libraries of today would come in without what their makers wrote."""
    payload = {
        "id": "3f1a0c22b7d94e10",
        "uid": "3f1a0c22b7d94e10",
        "type": "characters",
        "path": "characters/mara.png",
        "hash": "3F" * 32,
        "bytes": 5120,
        "created_at": "2025-10-23 09:14:02",
        "meta": {
            "tags": ["mara", "smile", "Mara"],
            "license": "CC-BY-4.0",
            "version": 1,
            "artist": "J. Doe",
            "preview": {"kind": "waveform", "path": "cache/thumbs/x.waveform.json"},
        },
        "provenance": {"id": 7, "asset_id": 12, "source": "comfyui", "inputs": None, "c2pa_like": {}},
    }

    found = parse(json.dumps(payload).encode(), "x.asset.json")

    assert found.facts == Facts(("mara", "smile"), "CC-BY-4.0", None, {"artist": "J. Doe"}, {})
    assert (found.digest, found.version, found.asset_id) == ("3f" * 32, 1, 12)
    assert [row.source for row in found.provenance] == ["comfyui"]
    assert found.provenance[0].asset_uid == "3f1a0c22b7d94e10"


@pytest.mark.parametrize(
    "payload", [{}, {"meta": None}, {"provenance": [], "uid": 7, "hash": "short", "path": 1}]
)
def test_a_sidecar_that_says_little_is_read(payload: dict[str, Any]) -> None:
    """A file that somebody started by hand would stop a rebuild."""
    found = parse(json.dumps(payload).encode(), "x.asset.json")

    assert found.facts == Facts()
    assert (found.uid, found.digest, found.key, found.asset_id, found.version) == (None, None, None, None, 1)
    assert found.provenance == ()


def test_a_byte_order_mark_does_no_harm() -> None:
    """Windows editors add one; the whole edit would be refused."""
    assert parse(b'\xef\xbb\xbf{"tags": ["a"]}', "x").facts.tags == ("a",)


def test_unknown_keys_are_kept_verbatim() -> None:
    """What another program keeps in our sidecar would be lost at the next edit."""
    payload = {**build(EXAMPLE), "x-tool": {"Z": [1, 2.0, None, True], "a": "夏"}}

    found = parse(dumps(payload), "x.asset.json")

    assert dumps(build(replace(EXAMPLE, facts=found.facts))) == dumps(payload)


@given(st.lists(json_values, min_size=1, max_size=4), parents)
def test_what_is_no_parent_is_kept_word_for_word_and_read_again_as_that(
    entries: list[Any], known: tuple[Parent, ...]
) -> None:
    """A slip in an editor would be deleted, or grow with every write."""
    said = {"uid": "3f1a0c22b7d94e10", "lineage": [*(each.describe() for each in known), *entries]}

    found = parse(json.dumps(said).encode(), "a.asset.json")
    written = build(Asset(1, "p", "u", "t", "k", "h", 1, found.facts, "c", "u"))
    again = parse(dumps(written), "a.asset.json", base=found.facts)

    assert (found.warning is None) == (again.warning is None) == ("lineage" not in found.facts.extra)
    assert same(again.facts, found.facts)
    assert set(known) <= set(found.facts.parents)
    for each in found.facts.extra.get("lineage", []):
        assert canonical_json(each) in [canonical_json(entry) for entry in entries]


@pytest.mark.parametrize("kept", [{"from": "a sketch"}, "a sketch", 5])
def test_a_lineage_of_their_own_that_older_releases_passed_on_is_written_again(kept: Any) -> None:
    """A library in which somebody had used the word before us could not be written to."""
    known = Facts(extra={"lineage": kept})

    written = build(Asset(1, "p", "u", "t", "k", "h", 1, known, "c", "u"))
    again = parse(dumps(written), "a.asset.json", base=known)

    assert written["lineage"] == [kept]
    assert again.facts.extra == {"lineage": [kept]}


def test_a_warning_names_the_place_in_the_lineage_of_the_asset_itself() -> None:
    """The reader would be sent to a key of that name among the metadata, or into a text."""
    said = {"uid": "3f1a0c22b7d94e10", "meta": {"lineage": [[]], "note": '"lineage": ['}, "lineage": [{}, 5]}
    data = b"\xef\xbb\xbf" + json.dumps(said, indent=2).encode()

    found = parse(data, "a.asset.json").warning

    lines = data.decode("utf-8-sig").splitlines()
    line = len(lines) - lines[::-1].index('  "lineage": [')
    assert found is not None
    assert found.startswith(
        f"line {line + 1}, column 5: lineage must name a parent by its uid, not None (and so 1 more)"
    )


@pytest.mark.parametrize(
    ("name", "value", "base"),
    [("tags", ["c"], ("a",)), ("license", "MIT", "CC0"), ("origin", "found", "drawn")],
)
def test_of_two_places_for_one_fact_the_edited_one_counts(name: str, value: Any, base: Any) -> None:
    """A person edits one of ``tags`` and ``meta.tags``, and does not know of the other."""
    known = replace(Facts(), **{name: base})
    written = build(replace(EXAMPLE, facts=known))
    on_top = {**written, name: value}
    inside = {**written, "meta": {**written["meta"], name: value}}

    wanted = tuple(value) if name == "tags" else value
    for payload in (on_top, inside):
        assert getattr(parse(dumps(payload), "x", base=known).facts, name) == wanted
    assert getattr(parse(dumps(on_top), "x").facts, name) == wanted
    assert getattr(parse(dumps(written), "x", base=known).facts, name) == base


def test_a_fact_that_is_set_to_null_on_top_is_gone() -> None:
    """A licence removed by hand would come back from ``meta``."""
    payload = {**build(EXAMPLE), "license": None, "tags": []}

    assert parse(dumps(payload), "x", base=EXAMPLE.facts).facts.license is None
    assert parse(dumps(payload), "x").facts.tags == ()


# -- refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "line", "column", "why"),
    [
        (b"", 1, 1, "Expecting value"),
        (b"{\n  'a': 1\n}", 2, 3, "double quotes"),
        (b'{\n  "tags": ["a",]\n}', 2, None, "not usable"),
        (b'{"a": 1', 1, None, "not usable"),
        (b"[]", 1, 1, "must be a JSON object"),
        (b"null", 1, 1, "must be a JSON object"),
        (b'{\n\n "a": "\xff"}', 3, 8, "not UTF-8"),
        (b'{\n "a": 1,\n "b": 2, "a": 3}', 2, 2, "'a' stands twice"),
        (b'{"meta": {"x": 1, "x": 2}}', 1, None, "'x' stands twice"),
        (b'{"a": NaN}', 1, None, "NaN is not JSON"),
        (b'{"a": -Infinity}', 1, None, "Infinity is not JSON"),
        (b'{\n "tags": 7}', 2, 2, "tags must be a list of texts, not int"),
        (b'{\n "meta": []}', 2, 2, "meta must be an object, not list"),
        (b'{\n "license": ["MIT"]}', 2, 2, "license must be text"),
        (b'{"meta": {\n "preview": "mine"}}', 2, 2, "filled in by comfyvn"),
        (b"[" * 100_000, 1, 1, "nested too deeply"),
        (b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}", 1, 1, "nested too deeply"),
        (b'{"a": 1e999}', 1, None, "number is too large"),
        (b'{"provenance": {"source": "a", "inputs": {"s": -1e999}}}', 1, None, "number is too large"),
        (b'{"a": "\\ud800"}', 1, None, "lone surrogate"),
        (b'{"\\udfff": 1}', 1, None, "lone surrogate"),
        (b'{"provenance": {"source": "\\ud800"}}', 1, None, "lone surrogate"),
        (b'{"a": ' + b"1" * 5000 + b"}", 1, 1, "digits"),
        (b'{\n "uid": "../../x"}', 2, 2, "uid may hold"),
        (b'{\n "uid": "' + b"a" * 65 + b'"}', 2, 2, "uid may hold"),
    ],
)
def test_a_sidecar_that_can_not_be_used_is_named_with_line_and_reason(
    data: bytes, line: int, column: int | None, why: str
) -> None:
    """A person could not mend it; taken as it is, it would break the next write or lead out of the cache."""
    with pytest.raises(InvalidSidecar, match=why) as caught:
        parse(data, "characters/mara.png.asset.json")

    fields = caught.value.fields
    assert fields["path"] == "characters/mara.png.asset.json"
    assert fields["line"] == line
    assert column is None or fields["column"] == column
    assert fields["column"] >= 1
    assert f"mara.png.asset.json:{line}:" in str(caught.value)


@pytest.mark.parametrize("uid", ["3f1a0c22b7d94e10", "3f1a0c22b7d94e10aabb", "legacy_12"])
def test_a_uid_of_any_release_is_read(uid: str) -> None:
    """An asset would lose its identity."""
    assert parse(json.dumps({"uid": uid}).encode(), "x").uid == uid
    assert parse(json.dumps({"id": uid}).encode(), "x").uid == uid


@given(st.binary(max_size=60) | st.builds(lambda value: json.dumps(value).encode(), json_values | objects))
def test_any_bytes_are_read_or_refused_in_words(data: bytes) -> None:
    """One odd file would stop a whole rebuild with a traceback."""
    try:
        found = parse(data, "x.asset.json")
    except InvalidSidecar:
        return

    assert dumps(found.payload)


@given(st.dictionaries(st.sampled_from(sorted(OWN)), json_values, max_size=4))
def test_any_value_under_a_key_of_ours_is_read_or_refused_in_words(payload: dict[str, Any]) -> None:
    """One odd hand edit would stop a whole rebuild with a traceback."""
    try:
        found = parse(dumps(payload), "x.asset.json")
    except InvalidSidecar:
        return

    rebuilt = replace(EXAMPLE, facts=found.facts, version=found.version)
    assert same(parse(dumps(build(rebuilt)), "x.asset.json").facts, found.facts)


def test_limits_hold_for_what_was_written_by_hand() -> None:
    """What a door refuses would come in through an editor."""
    limits = Limits(metadata_bytes=50, tags_per_asset=1)

    with pytest.raises(InvalidSidecar, match="metadata_bytes is 50"):
        parse(json.dumps({"meta": {"a": "x" * 60}}).encode(), "x", limits)
    with pytest.raises(InvalidSidecar, match="tags_per_asset is 1"):
        parse(b'{"tags": ["a", "b"]}', "x", limits)


# -- merge --------------------------------------------------------------------------------------------


@given(facts, facts)
def test_a_file_that_nobody_edited_takes_our_change(base: Facts, ours: Facts) -> None:
    """A change through a door would have no effect."""
    assert same(merged(base, base, ours), ours)
    assert merge(base, base, ours).lost == {}


@given(facts, facts)
def test_a_hand_edit_counts_when_we_change_nothing(base: Facts, theirs: Facts) -> None:
    """Hand-made edits were once ignored, then overwritten."""
    assert same(merged(base, theirs, base), theirs)
    assert merge(base, theirs, base).lost == {}


@given(facts, facts)
def test_the_same_change_on_both_sides_is_no_conflict(base: Facts, both: Facts) -> None:
    """The journal would fill with conflicts that are none."""
    outcome = merge(base, both, both)

    assert {fold(tag) for tag in outcome.facts.tags} == {fold(tag) for tag in both.tags}
    assert same(replace(outcome.facts, tags=both.tags), both)
    assert outcome.lost == {}


@given(tags, tags, tags)
def test_a_tag_goes_only_if_a_side_removed_it_and_comes_only_if_a_side_added_it(
    base: tuple[str, ...], theirs: tuple[str, ...], ours: tuple[str, ...]
) -> None:
    """Tags were once lost, and tags removed by hand came back."""
    found = merged(Facts(base), Facts(theirs), Facts(ours)).tags

    was, file, new = ({fold(tag) for tag in side} for side in (base, theirs, ours))
    assert {fold(tag) for tag in found} == {
        tag for tag in was | file | new if (tag in file and tag in new) or (tag not in was)
    }
    assert normalise_tags(found) == found


@given(facts, facts, facts)
def test_both_sides_facts_are_kept_where_they_touch_different_fields(
    base: Facts, theirs: Facts, ours: Facts
) -> None:
    """Of two people's work on different fields one would be lost, depending on who came first."""
    there = replace(theirs, license=base.license, meta={**base.meta, "theirs": 1}, extra=base.extra)
    here = replace(ours, origin=base.origin, meta={**base.meta, "ours": 2}, extra={**base.extra, "x": 3})
    here = replace(here, parents=base.parents)
    base = replace(base, meta={name: base.meta[name] for name in base.meta if name not in ("theirs", "ours")})

    one, other = merge(base, there, here), merge(base, here, there)

    assert one.lost == other.lost == {}
    assert {fold(tag) for tag in one.facts.tags} == {fold(tag) for tag in other.facts.tags}
    assert same(replace(one.facts, tags=()), replace(other.facts, tags=()))
    assert (one.facts.license, one.facts.origin) == (here.license, there.origin)
    assert (one.facts.meta["theirs"], one.facts.meta["ours"], one.facts.extra["x"]) == (1, 2, 3)


@given(facts, facts, facts)
def test_where_both_sides_changed_a_field_the_file_wins_and_our_value_is_told(
    base: Facts, theirs: Facts, ours: Facts
) -> None:
    """A value would vanish without a trace."""
    outcome = merge(base, theirs, ours)

    for name, value in outcome.lost.items():
        if name in ("license", "origin"):
            assert (value, getattr(outcome.facts, name)) == (getattr(ours, name), getattr(theirs, name))
    fields = [("meta.", "meta"), ("", "extra")]
    for prefix, part in fields:
        file, new, old = (getattr(side, part) for side in (theirs, ours, base))
        found = getattr(outcome.facts, part)
        for name in new:
            is_kept = name in found and canonical_json(found[name]) == canonical_json(new[name])
            is_unchanged = name in old and canonical_json(old[name]) == canonical_json(new[name])
            assert is_kept or is_unchanged or prefix + name in outcome.lost
        for name in found:
            assert name in file or name in new


def test_a_conflict_is_told_by_the_name_of_its_field() -> None:
    """A person could not find in the journal what was overruled."""
    base = Facts(license="MIT", meta={"artist": "A", "gone": 1}, extra={"x": 1})
    theirs = Facts(license="CC0", meta={"artist": "B", "gone": 2}, extra={"x": 2})
    ours = Facts(license="BSD", meta={"artist": "C"}, extra={"x": 3})

    assert merge(base, theirs, ours) == Merged(
        theirs, {"license": "BSD", "meta.artist": "C", "meta.gone": None, "x": 3}
    )


def test_a_field_deleted_on_one_side_is_deleted() -> None:
    """A key removed by hand would come back at the next edit."""
    base = Facts(meta={"a": 1, "b": 2}, extra={"x": 1})

    assert merged(base, Facts(meta={"b": 2}), Facts(meta={"a": 1}, extra={"x": 1})) == Facts()


@pytest.mark.parametrize(
    ("old", "new"), [(1, True), (1, 1.0), (0, False), ([1], [True]), ({"a": 1}, {"a": 1.0})]
)
def test_a_hand_edit_that_python_holds_for_equal_counts(old: Any, new: Any) -> None:
    """In Python 1 == True: somebody who mends a 1 to true would see it fall back."""
    base: Mapping[str, Any] = {"flag": old}

    found = merged(Facts(meta=base), Facts(meta={"flag": new}), Facts(meta=base))

    assert canonical_json(found.meta) == canonical_json({"flag": new})


def test_respelling_a_tag_by_hand_counts() -> None:
    """A typing mistake in a tag's case could not be mended."""
    assert merged(Facts(("mara", "b")), Facts(("Mara", "b")), Facts(("mara", "b", "c"))).tags == (
        "Mara",
        "b",
        "c",
    )
