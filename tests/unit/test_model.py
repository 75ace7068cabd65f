"""The rules for what people write about an asset: tags, licences, types, metadata, provenance, filters."""

import copy
import datetime
import enum
import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyvn import model
from comfyvn.errors import InvalidAssetType, InvalidFilter, InvalidMetadata
from comfyvn.model import (
    AssetFilter,
    Facts,
    Limits,
    canonical_json,
    fold,
    id_floor,
    marker_value,
    merge_registered,
    normalise_license,
    normalise_tags,
    normalise_type,
    parse_facts,
    parse_provenance,
    preview_names,
    uid_candidates,
    utc_now,
)

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
tag_texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
plain_keys = text.filter(
    lambda name: name not in ("tags", "license", "origin", "version", "preview", "thumbnails")
)


class Colour(str, enum.Enum):  # noqa: UP042 - its str() is "Colour.RED", which is the point
    RED = "red"


class Kind(enum.IntEnum):
    SPRITE = 7


# -- uids and ids -------------------------------------------------------------------------------------


@given(st.binary(min_size=32, max_size=32).map(bytes.hex))
def test_a_uid_is_a_prefix_of_the_digest_that_grows_by_four_digits(digest: str) -> None:
    """A uid could not be told from the content, or two assets would share one."""
    candidates = list(uid_candidates(digest))

    assert [len(uid) for uid in candidates] == list(range(16, 65, 4))
    assert all(digest.startswith(uid) for uid in candidates)
    assert candidates[-1] == digest


@given(st.floats(1_735_689_600.001, 3_000_000_000), st.floats(0, 1_000_000))
def test_ids_grow_with_time_and_stay_below_what_javascript_can_count(at_s: float, later_s: float) -> None:
    """A browser would round ids, and lists by id would not be lists by time."""
    early, late = id_floor(at_s), id_floor(at_s + later_s)

    assert 0 < early <= late < 2**53
    assert id_floor(at_s + later_s + 0.002) > early


def test_ids_stay_below_the_limit_for_a_lifetime_and_above_zero_with_a_broken_clock() -> None:
    """A machine whose clock starts in 1970 would mint negative ids."""
    end_of_2093 = datetime.datetime(2093, 12, 31, tzinfo=datetime.UTC).timestamp()

    assert id_floor(end_of_2093) < 2**53
    assert id_floor(0) == 1


def test_the_time_is_written_as_every_comfyvn_table_writes_it() -> None:
    """Old tools would not be able to read it."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", utc_now())
    assert datetime.datetime.fromisoformat(utc_now()).replace(tzinfo=datetime.UTC) <= datetime.datetime.now(
        datetime.UTC
    )


# -- folding ------------------------------------------------------------------------------------------


@given(st.text(max_size=20))
def test_folding_a_folded_text_changes_nothing(value: str) -> None:
    """A stored fold would not match the fold of what somebody looks for."""
    assert fold(fold(value)) == fold(value)


@given(st.text(st.characters(max_codepoint=127), max_size=20))
def test_plain_texts_fold_by_the_same_rule_as_all_others(value: str) -> None:
    """Names that were stored by the one way would not be found by the other."""
    assert fold(value + "ß") == fold(value) + "ss"
    assert fold(value) == unicodedata.normalize("NFC", value.casefold())


@given(st.text(max_size=20))
def test_unicode_forms_of_one_text_fold_to_one(value: str) -> None:
    """A name from macOS would not match the same name from Windows."""
    assert fold(unicodedata.normalize("NFD", value)) == fold(unicodedata.normalize("NFC", value))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Straße", "STRASSE"),
        ("ΜΆΡΑ", "μάρα"),
        ("が", "か\u3099"),
        ("\u212bngström", "ångström"),
        ("ς", "Σ"),
        ("ﬁn", "FIN"),
    ],
)
def test_texts_that_differ_in_case_or_form_fold_to_one(one: str, other: str) -> None:
    """A search would depend on the keyboard of the searcher."""
    assert fold(one) == fold(other)


# -- tags ---------------------------------------------------------------------------------------------


@given(st.lists(tag_texts))
def test_normal_tags_are_trimmed_unique_and_complete(tags: list[str]) -> None:
    """A tag would be lost, or stand twice."""
    normal = normalise_tags(tags)

    assert {fold(tag) for tag in normal} == {fold(tag.strip()) for tag in tags} - {""}
    assert len({fold(tag) for tag in normal}) == len(normal)
    assert all(tag == tag.strip() and tag and unicodedata.is_normalized("NFC", tag) for tag in normal)
    assert normalise_tags(normal) == normal


@given(st.lists(tag_texts))
def test_the_first_spelling_of_a_tag_is_kept_in_its_place(tags: list[str]) -> None:
    """Tags would change their spelling or order with every merge."""
    normal = normalise_tags(tags)

    firsts: dict[str, str] = {}
    for tag in tags:
        trimmed = unicodedata.normalize("NFC", tag).strip()
        if trimmed:
            firsts.setdefault(fold(trimmed), trimmed)
    assert list(normal) == list(firsts.values())
    assert normalise_tags(
        [*normal, *(tag.swapcase() for tag in normal if fold(tag.swapcase()) == fold(tag))]
    ) == (normal)


@given(st.sets(tag_texts))
def test_a_set_of_tags_has_one_order(tags: set[str]) -> None:
    """Two runs of one script would write two sidecars that differ."""
    assert normalise_tags(tags) == normalise_tags(sorted(tags)) == normalise_tags(frozenset(tags))


@pytest.mark.parametrize(
    ("given_tags", "normal"),
    [
        (None, ()),
        ("", ()),
        ("one tag, not two", ("one tag, not two",)),
        (("a", "b"), ("a", "b")),
        ({"b", "a"}, ("a", "b")),
        ((tag for tag in "ab"), ("a", "b")),
        ({"b": 1}.keys(), ("b",)),
        ([Colour.RED], ("red",)),
        (["a\n", "\ta"], ("a",)),
        (["STRASSE", "Straße"], ("STRASSE",)),
    ],
)
def test_tags_may_come_in_any_collection(given_tags: object, normal: tuple[str, ...]) -> None:
    """A tuple or set of tags would become one tag, as it once did."""
    assert normalise_tags(given_tags) == normal
    assert all(type(tag) is str for tag in normalise_tags(normal))


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        (b"mara", "not bytes"),
        ({"mara": 1}, "not dict"),
        (7, "not int"),
        (["mara", 7], "not int"),
        ([None], "not NoneType"),
        ([b"mara"], "not bytes"),
        (["a\nb"], "control character"),
        (["a\0b"], "NUL"),
        (["\ud800"], "lone surrogate"),
        (["x" * 201], "limit tag_length is 200"),
        ([str(number) for number in range(1001)], "limit tags_per_asset is 1000"),
    ],
)
def test_what_is_no_tag_is_refused_with_the_reason(tags: object, why: str) -> None:
    """Bad tags once broke every later list."""
    with pytest.raises(InvalidMetadata, match=why):
        normalise_tags(tags)


def test_tags_up_to_the_limits_are_fine() -> None:
    """A limit would bite one too early."""
    tags = ["x" * 200, *(str(number) for number in range(999))]

    assert len(normalise_tags(tags)) == 1000
    assert normalise_tags(["a", "A"] * 5, Limits(tags_per_asset=1)) == ("a",)
    with pytest.raises(InvalidMetadata, match="limit tag_length is 2"):
        normalise_tags(["abc"], Limits(tag_length=2))


# -- licences, types, versions ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "normal"),
    [(None, None), ("", None), ("  ", None), (" CC-BY-4.0 ", "CC-BY-4.0"), ("許諾", "許諾")],
)
def test_a_licence_is_trimmed_and_an_empty_one_is_none(value: object, normal: str | None) -> None:
    """ "Has none" would have two forms, and a filter would miss one."""
    assert normalise_license(value) == normal


@pytest.mark.parametrize("value", [7, ["MIT"], b"MIT", True, "x" * 1001, "a\0", "\ud800", "a\nb"])
def test_what_is_no_licence_is_refused(value: object) -> None:
    """A list as licence would break every later filter."""
    with pytest.raises(InvalidMetadata, match="license"):
        normalise_license(value)


@given(st.text(max_size=30))
def test_a_type_is_one_plain_folder_name_or_refused(value: str) -> None:
    """A type is the first folder of a key: it would lead out of the library."""
    try:
        name = normalise_type(value)
    except InvalidAssetType:
        return

    assert name == normalise_type(name)
    assert not set(name) & set('/\\:<>"|?*\0')
    assert name not in ("", ".", "..")
    assert name == name.strip()


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            " ",
            ".",
            "..",
            ".hidden",
            "a/b",
            "a\\b",
            "C:",
            "a\0",
            "a\nb",
            "\ud800",
            "end.",
            "_meta",
            "夏" * 34,
        ),
        *(None, 7, b"characters", ["characters"]),
    ],
)
def test_a_type_that_is_no_folder_name_is_refused(value: object) -> None:
    """Absolute types once wrote outside the library."""
    with pytest.raises(InvalidAssetType, match="can't be an asset type"):
        normalise_type(value)


@pytest.mark.parametrize("value", ["characters", "Bühnenbild", "背景", "a b", "e\u0301"])
def test_a_plain_name_in_any_language_is_a_type(value: str) -> None:
    """Makers who don't write English could not sort their art."""
    assert normalise_type(f" {value} ") == unicodedata.normalize("NFC", value)


@pytest.mark.parametrize("value", [0, -1, 1.0, "1", True, None, 2**31])
def test_a_version_is_a_whole_number_of_at_least_one(value: object) -> None:
    """Versions are counted up."""
    with pytest.raises(InvalidMetadata, match="version"):
        parse_facts({"version": value})


# -- metadata -----------------------------------------------------------------------------------------


@given(st.dictionaries(plain_keys, json_values, max_size=6), st.lists(tag_texts, max_size=4))
def test_metadata_comes_back_as_it_was_given(meta: dict[str, Any], tags: list[str]) -> None:
    """What a person wrote would be lost or changed."""
    facts = parse_facts({**meta, "tags": tags, "license": " MIT ", "origin": "drawn"})

    assert canonical_json(facts.meta) == canonical_json(meta)
    assert list(facts.meta) == list(meta)
    assert (facts.tags, facts.license, facts.origin) == (normalise_tags(tags), "MIT", "drawn")
    assert parse_facts(facts.as_meta(1)) == facts


@given(st.dictionaries(plain_keys, json_values, max_size=4))
def test_the_callers_metadata_is_neither_changed_nor_shared(meta: dict[str, Any]) -> None:
    """A script that goes on using its dict would change what is recorded, or find its dict changed."""
    stated = {**meta, "nested": {"list": [1]}, "tags": ["a"], "preview": None}
    before = copy.deepcopy(stated)

    facts = parse_facts(stated)
    assert stated == before
    stated["nested"]["list"].append(2)

    assert facts.meta["nested"] == {"list": [1]}


def test_mappings_tuples_and_enums_become_plain_json() -> None:
    """What is stored could not be compared with what is read back; an enum would be stored by its name."""
    facts = parse_facts(
        MappingProxyType(
            {"pose": ("sit", Colour.RED), "kind": Kind.SPRITE, "by": MappingProxyType({Colour.RED: 1})}
        )
    )

    assert facts.meta == {"pose": ["sit", "red"], "kind": 7, "by": {"red": 1}}
    assert json.loads(json.dumps(facts.meta)) == facts.meta
    assert type(facts.meta["pose"][1]) is str
    assert type(facts.meta["kind"]) is int
    assert type(facts.meta["by"]) is dict


def cycle() -> dict[str, Any]:
    found: dict[str, Any] = {}
    found["self"] = found
    return found


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ([], "not list"),
        ("tags", "not str"),
        ([("a", 1)], "not list"),
        ({1: "a"}, "keys must be text"),
        ({"a": {2: "b"}}, "keys must be text"),
        ({"a": {1, 2}}, r"metadata.a is a set"),
        ({"a": b"x"}, r"metadata.a is a bytes"),
        ({"a": object()}, "which JSON can't hold"),
        ({"a": [float("nan")]}, r"metadata.a\[0\] is nan"),
        ({"a": float("inf")}, "is inf"),
        ({"a": 2**64}, "more than 64 bits"),
        ({"a": "\ud800"}, "lone surrogate"),
        ({"a\ud800": 1}, "lone surrogate"),
        ({"a": "\0"}, "NUL"),
        ({"a": datetime.date(2026, 1, 1)}, "is a date"),
        ({"license": 7}, "license must be text"),
        ({"origin": []}, "origin must be text"),
        ({"tags": 7}, "tags must be"),
        ({"preview": "mine"}, "filled in by comfyvn"),
        ({"preview": {"mine": 1}}, "filled in by comfyvn"),
        ({"thumbnails": {"big": "x"}}, "filled in by comfyvn"),
        (cycle(), "metadata_nesting"),
        ({"a": nested(64)}, "metadata_nesting"),
        ({"a": "x" * 256_000}, r"256,0\d\d bytes, the limit metadata_bytes is 256,000"),
        ({"a": [0] * 20_000}, "metadata_values"),
    ],
)
def test_what_is_no_strict_json_or_too_much_is_refused_with_the_reason(metadata: object, why: str) -> None:
    """Bad metadata once left half-registered assets and broke every later list."""
    with pytest.raises(InvalidMetadata, match=why):
        parse_facts(metadata)


def test_metadata_up_to_the_limits_is_fine() -> None:
    """A limit would bite one too early."""
    assert parse_facts({"a": nested(63)}).meta == {"a": nested(63)}
    assert len(parse_facts({"a": [0] * 19_999}).meta["a"]) == 19_999
    assert parse_facts({"a": "x" * (256_000 - len('{"a":""}'))}).meta
    assert parse_facts({"a": 2**64 - 1, "b": -(2**63)}).meta == {"a": 2**64 - 1, "b": -(2**63)}


def test_what_we_answer_may_be_handed_back() -> None:
    """`update_asset_meta(uid, entry["meta"])` would be refused, or count against the limits."""
    own = {
        "tags": ["a"],
        "license": None,
        "version": 3,
        "preview": {"kind": "thumbnail", "paths": {"256": "cache/thumbs/x_256.webp"}},
        "thumbnails": {"256": "cache/thumbs/x_256.webp"},
    }

    facts = parse_facts({**own, "artist": "J. Doe"}, Limits(metadata_bytes=len('{"artist":"J. Doe"}')))

    assert facts == Facts(tags=("a",), meta={"artist": "J. Doe"})


@pytest.mark.parametrize(
    ("stated", "license_tag", "found"),
    [
        (None, None, None),
        ("MIT", None, "MIT"),
        (None, " CC0 ", "CC0"),
        ("MIT", "CC0", "MIT"),
        ("  ", "CC0", "CC0"),
        (None, "", None),
    ],
)
def test_a_licence_tag_serves_where_the_metadata_has_no_licence(
    stated: str | None, license_tag: str | None, found: str | None
) -> None:
    """A bulk default would overrule what was said of one file."""
    assert parse_facts({"license": stated}, license_tag=license_tag).license == found


def test_no_metadata_is_fine() -> None:
    """Registering a file needs nothing but the file."""
    assert parse_facts(None) == parse_facts({}) == Facts()


# -- registering again --------------------------------------------------------------------------------


def test_registering_again_unites_tags_and_replaces_what_was_given() -> None:
    """What was written before would be lost with the second registration."""
    known = Facts(("Mara", "smile"), "MIT", "drawn", {"artist": "J. Doe", "seed": 1}, {"x-engine": True})
    new = Facts(("mara", "night"), None, None, {"seed": 2}, {})

    merged = merge_registered(known, new, license_given=False)

    assert merged == Facts(
        ("Mara", "smile", "night"), "MIT", "drawn", {"artist": "J. Doe", "seed": 2}, {"x-engine": True}
    )


@pytest.mark.parametrize(("given", "found"), [(True, None), (False, "MIT")])
def test_an_empty_licence_clears_only_if_it_was_given(given: bool, found: str | None) -> None:
    """A licence would vanish because the second caller did not mention it."""
    assert merge_registered(Facts(license="MIT"), Facts(), license_given=given).license == found


@given(st.lists(tag_texts, max_size=5), st.dictionaries(plain_keys, json_values, max_size=3))
def test_registering_the_same_again_changes_nothing(tags: list[str], meta: dict[str, Any]) -> None:
    """Every run of a script would make a new revision of each sidecar."""
    facts = parse_facts({**meta, "tags": tags, "license": "MIT"})

    assert merge_registered(facts, facts, license_given=True) == facts


# -- provenance ---------------------------------------------------------------------------------------


def test_a_claim_is_taken_apart_and_everything_unknown_becomes_an_input() -> None:
    """A seed beside the inputs would be lost."""
    claim = {
        "source": " comfyui ",
        "workflow_hash": "9c",
        "commit_hash": "ab12",
        "inputs": {"prompt": "夏"},
        "user_id": "jd",
        "c2pa_like": {"a": 1},
        "seed": 7,
    }

    found = parse_provenance(claim, {})

    assert (found.source, found.workflow_hash, found.commit_hash, found.user_id) == (
        "comfyui",
        "9c",
        "ab12",
        "jd",
    )
    assert found.inputs == {"seed": 7, "prompt": "夏"}
    assert found.c2pa_like == {"a": 1}


def test_a_claim_falls_back_to_metadata_then_settings() -> None:
    """A file would have no author though the settings name one."""
    metadata = {"source": "krita", "user_id": "from-meta"}

    bare = parse_provenance(None, {}, user_id="from-settings", commit_hash="ab")
    from_meta = parse_provenance(None, metadata, user_id="from-settings")
    stated = parse_provenance(
        {"source": "comfyui", "user_id": "stated", "commit_hash": "cd"}, metadata, commit_hash="ab"
    )

    assert (bare.source, bare.user_id, bare.commit_hash) == (model.UNSPECIFIED, "from-settings", "ab")
    assert (from_meta.source, from_meta.user_id) == ("krita", "from-meta")
    assert (stated.source, stated.user_id, stated.commit_hash) == ("comfyui", "stated", "cd")


def test_a_workflow_hash_is_derived_from_source_and_sorted_inputs() -> None:
    """Two files of one workflow could not be told to be of one."""
    one = parse_provenance({"source": "s", "inputs": {"b": 1, "a": 2}}, {})
    same = parse_provenance(
        {"source": "s", "inputs": {"a": 2, "b": 1, "asset_uid": "x", "asset_hash": "y"}}, {}
    )
    other = parse_provenance({"source": "s", "inputs": {"a": 3}}, {})

    assert one.workflow_hash == hashlib.sha256(b's{"a":2,"b":1}').hexdigest()
    assert same.workflow_hash == one.workflow_hash
    assert other.workflow_hash != one.workflow_hash


def test_a_record_of_ours_that_is_handed_back_is_a_claim() -> None:
    """Copying provenance from one asset to another would copy the row's number as an input."""
    record = {"id": 7, "asset_id": 12, "asset_uid": "x", "created_at": "2026-01-01 00:00:00", "history": []}

    assert parse_provenance({**record, "source": "comfyui"}, {}).inputs == {}


@pytest.mark.parametrize(
    "claim",
    [
        *([], "comfyui", 7, {"source": 7}, {"inputs": [1]}, {"inputs": "x"}, {"c2pa_like": [1]}, {1: 2}),
        *({"inputs": {"a": float("nan")}}, {"workflow_hash": ["x"]}, {"user_id": {}}, {"source": "\ud800"}),
        {"inputs": {"a": "x" * 256_000}},
    ],
)
def test_what_is_no_claim_is_refused(claim: object) -> None:
    """Registering would fail half-way."""
    with pytest.raises(InvalidMetadata):
        parse_provenance(claim, {})


def test_the_callers_claim_is_neither_changed_nor_shared() -> None:
    """One claim serves many files."""
    claim = {"source": "s", "inputs": {"list": [1]}, "seed": 7}
    before = copy.deepcopy(claim)

    found = parse_provenance(claim, {})
    claim["inputs"]["list"].append(2)  # type: ignore[index]

    assert found.inputs["list"] == [1]
    assert claim == {**before, "inputs": {"list": [1, 2]}}


@given(text, text)
def test_a_marker_is_ascii_and_as_long_for_every_digest(source: str, workflow: str) -> None:
    """The place that is kept for it while the digest is not known yet would not fit."""
    claim = parse_provenance({"source": "s"}, {})
    claim = model.ProvenanceClaim(source, workflow, claim.inputs)

    values = [marker_value(claim, 2**52, "2026-01-01 00:00:00", "0" * 16, digest * 64) for digest in "0f"]

    assert len(values[0]) == len(values[1])
    assert values[0].isascii()
    assert json.loads(values[1]) == {
        "provenance_id": 2**52,
        "source": source,
        "workflow_hash": workflow,
        "created_at": "2026-01-01 00:00:00",
        "uid": "0" * 16,
        "hash": "f" * 64,
    }


# -- filters, names, json -----------------------------------------------------------------------------


def test_a_filter_is_normalised() -> None:
    """Case, blanks and Unicode form of what was typed would decide what is found."""
    wanted = AssetFilter.build(asset_type="characters", hash_value=" AB ", tags=[" Mara ", "MARA"], text="夏")

    assert wanted == AssetFilter(types=("characters",), digest="ab", tags=("Mara",), texts=("夏",))
    assert AssetFilter.build(tags="one").tags == ("one",)
    assert AssetFilter.build(text="mara smile").texts == ("mara smile",)
    assert AssetFilter.build(text=["smile", "", "mara", "smile"]).texts == ("smile", "mara")
    assert len(AssetFilter.build(text=map(str, range(20))).texts) == 20
    assert AssetFilter.build() == AssetFilter.build(asset_type="", hash_value="", text="") == model.EVERYTHING
    assert AssetFilter.build(license="").licenses == ("",)


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            {"asset_type": 7},
            {"hash_value": b"ab"},
            {"license": ["MIT", 7]},
            {"text": 7},
            {"tags": 7},
            {"tags": [7]},
        ),
        *(
            {"text": "x" * 513},
            {"text": "\udcff"},
            {"asset_type": "\ud800"},
            {"tags": ["\ud800"]},
            {"text": "a\0b"},
            {"text": ["mara", "x" * 513]},
            {"text": ["mara", None]},
            {"text": [str(number) for number in range(21)]},
        ),
        *({"hash_value": "\udcff"}, {"license": "\udcff"}),
    ],
)
def test_a_filter_that_nothing_can_match_is_refused(arguments: Mapping[str, Any]) -> None:
    """The database would raise an error of its own that nobody understands."""
    with pytest.raises(InvalidFilter, match="Filter refused"):
        AssetFilter.build(**arguments)


def test_previews_are_named_by_uid() -> None:
    """A rename would cost a preview."""
    assert preview_names("3f", "thumbnail") == {"256": "3f_256.webp", "512": "3f_512.webp"}
    assert preview_names("3f", "waveform") == {"waveform": "3f.waveform.json"}
    assert preview_names("3f", None) == {}


@given(st.dictionaries(text, json_values, max_size=4))
def test_canonical_json_says_the_same_for_the_same(value: dict[str, Any]) -> None:
    """Equal inputs would have different hashes."""
    turned = dict(reversed(value.items()))

    assert canonical_json(turned) == canonical_json(value)
    assert json.loads(canonical_json(value)) == value


@pytest.mark.parametrize("text", ["", "width", "width=1=2", "Width=3", "a b=3", "width>tall", "x'); --=1", 5])
def test_what_is_no_condition_on_a_fact_is_refused(text: object) -> None:
    """A mistyped condition would match nothing, or everything."""
    with pytest.raises(InvalidFilter, match=r"condition|compares numbers"):
        AssetFilter.build(where=[text])  # type: ignore[list-item]


def test_facts_that_are_handed_back_are_left_out_and_a_key_of_that_name_is_kept() -> None:
    """A record's metadata could not be handed back, or a user's own key would be lost."""
    ours = {"media": {"format": "png", "stamped": True, "width": 5}, "artist": "Mika"}

    assert dict(parse_facts(ours).meta) == {"artist": "Mika"}
    assert dict(parse_facts({"media": "watercolour"}).meta) == {"media": "watercolour"}
