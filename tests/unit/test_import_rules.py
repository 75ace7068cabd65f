"""The rules of import adapters: what a pattern matches, and how rules go together."""

from pathlib import Path
from typing import Any

import pytest

from comfyvn.errors import ComfyVNError, InvalidSetting
from comfyvn.importers import ImportContext
from comfyvn.importers.rules import Verdict, judge, read_rules

CONTEXT = {"scratch": Path(), "name": "folders"}


def verdict(relative: str, *rules: dict[str, Any]) -> Verdict:
    return judge(read_rules(ImportContext(**CONTEXT, settings={"rules": list(rules)})), relative)


@pytest.mark.parametrize(
    ("pattern", "path", "is_match"),
    [
        ("*.png", "mara.png", True),
        ("*.png", "MARA.PNG", True),
        ("*.png", "cast/mara.png", False),
        ("**/*.png", "mara.png", True),
        ("**/*.png", "cast/mara/smile.png", True),
        ("cast/**", "cast/mara/smile.png", True),
        ("cast/**", "cast", False),
        ("cast/**/smile.png", "cast/smile.png", True),
        ("cast/**/smile.png", "cast/a/b/smile.png", True),
        ("cast/*/smile.png", "cast/a/b/smile.png", False),
        ("day?.png", "day1.png", True),
        ("day?.png", "day12.png", False),
        ("a[1].png", "a[1].png", True),
        ("a[1].png", "a1.png", False),
        ("{who}.png", "mara.png", True),
        ("{who}.png", ".png", False),
        ("{who}/x.png", "a/b/x.png", False),
        ("*.png", "two\nlines.png", True),
    ],
)
def test_a_pattern_matches_the_whole_path(pattern: str, path: str, is_match: bool) -> None:
    """Files would get the type of others, or none."""
    found = verdict(path, {"match": pattern, "type": "cast"})

    assert found.is_matched is is_match


def test_a_named_part_takes_as_little_as_it_can() -> None:
    """``mara_very_happy`` would be a character called ``mara_very``."""
    found = verdict("mara_very_happy.png", {"match": "{who}_{mood}.png", "tags": ["{who}", "is {mood}"]})

    assert found.tags == ("mara", "is very_happy")


def test_all_rules_that_match_go_together_and_the_later_one_has_its_way() -> None:
    """A licence for a whole folder would have to be repeated in every rule."""
    found = verdict(
        "cast/mara/smile.png",
        {"match": "**", "license": "CC0-1.0", "type": "images", "tags": ["all"], "metadata": {"artist": "J"}},
        {"match": "cast/{who}/*", "type": "characters", "tags": ["{who}"], "origin": "{who}'s folder"},
        {"match": "sounds/**", "type": "sounds", "tags": ["never"]},
    )

    assert found == Verdict(
        "characters", ("all", "mara"), "CC0-1.0", {"artist": "J", "origin": "mara's folder"}, is_matched=True
    )


def test_a_later_rule_takes_in_what_an_earlier_one_leaves_out() -> None:
    """An exception to ``skip`` could not be said."""
    rules = ({"match": "drafts/**", "skip": True}, {"match": "drafts/final.png", "tags": ["final"]})

    assert verdict("drafts/a.png", *rules).is_skipped
    assert not verdict("drafts/final.png", *rules).is_skipped


def test_several_patterns_of_one_rule_are_any_of_them() -> None:
    """A rule for two suffixes would have to be written twice."""
    rule = {"match": ["{who}.png", "{who}.webp"], "tags": ["{who}"]}

    assert [verdict(path, rule).tags for path in ("mara.png", "mara.webp", "mara.gif")] == [
        ("mara",),
        ("mara",),
        (),
    ]


def test_no_rules_say_nothing() -> None:
    """A folder without rules would be refused."""
    assert verdict("mara.png") == Verdict()


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ({}, "it needs match"),
        ({"match": ""}, "it needs match"),
        ({"match": []}, "it needs match"),
        ({"match": 3}, "it needs match"),
        ({"match": "*", "typ": "x"}, "a rule has no 'typ'"),
        ({"match": "*", "type": "a/b"}, "a/b"),
        ({"match": "*", "type": 3}, "type must be a text"),
        ({"match": "*", "tags": "mara"}, "tags must be a list"),
        ({"match": "*", "tags": [3]}, "tags must be a list"),
        ({"match": "*", "skip": "yes"}, "skip must be"),
        ({"match": "*", "metadata": ["x"]}, "metadata must be"),
        ({"match": "*", "tags": ["{who}"]}, r"uses \{who\}, which the pattern does not have"),
        ({"match": ["{who}", "*"], "tags": ["{who}"]}, r"uses \{who\}"),
        ({"match": "{a}{b}"}, "nothing between"),
        ({"match": "{a}*"}, "nothing between"),
        ({"match": "{a}?"}, "nothing between"),
        ({"match": "{a}/{a}"}, "names a part twice"),
        ({"match": "{}"}, "letters, digits"),
        ({"match": "{who"}, "needs its }"),
        ({"match": "a**"}, "whole folders"),
        ({"match": "/a"}, "below the source"),
        ({"match": "a\\b"}, "below the source"),
    ],
)
def test_a_rule_that_can_not_be_is_refused_with_its_number_and_file(rule: dict[str, Any], why: str) -> None:
    """A user would look through all rules for a mistyped one, or it would be ignored in silence."""
    with pytest.raises(InvalidSetting, match=why) as caught:
        verdict("x.png", {"match": "*"}, rule)

    assert "importers.folders.rules" in str(caught.value)
    assert "from comfyvn.toml" in str(caught.value)
    assert "rule 2" in str(caught.value)


@pytest.mark.parametrize("rules", ["x", {"match": "*"}, [3], 3])
def test_what_is_no_list_of_tables_is_refused(rules: object) -> None:
    """``[importers.folders.rules]`` with one pair of brackets would end in a traceback."""
    with pytest.raises(InvalidSetting, match=r"\[\[importers.folders.rules\]\]"):
        read_rules(ImportContext(**CONTEXT, settings={"rules": rules}))


def test_a_type_made_of_a_part_that_can_be_none_costs_that_file() -> None:
    """A folder with a strange name would end the whole import."""
    rule = {"match": "{kind}/*", "type": "{kind}"}

    with pytest.raises(ComfyVNError):
        verdict("_meta/x.png", rule)
    assert verdict("cast/x.png", rule).type == "cast"


@pytest.mark.parametrize(
    ("settings", "stated", "why"),
    [
        ({"grids": "perhaps"}, {"grids"}, r"importers.folders.grids = 'perhaps' \(from --set\)"),
        ({"grids": 3}, set(), r"importers.folders.grids = 3 \(from comfyvn.toml\): it must be true or false"),
    ],
)
def test_a_setting_that_can_not_be_says_where_it_was_said(
    settings: dict[str, Any], stated: set[str], why: str
) -> None:
    """A user would mend the file, and the command line was wrong."""
    context = ImportContext(**CONTEXT, settings=settings, stated=frozenset(stated))

    with pytest.raises(InvalidSetting, match=why):
        context.flag("grids", False)


def test_settings_are_read_from_texts_of_the_command_line_as_from_the_file() -> None:
    """``--set gui=no`` would count as yes, or a list have its commas in it."""
    context = ImportContext(**CONTEXT, settings={"a": "no", "b": True, "c": "x, y,", "d": ["z"], "e": "t"})

    assert (context.flag("a", True), context.flag("b", False), context.flag("other", True)) == (
        False,
        True,
        True,
    )
    assert (context.words("c"), context.words("d"), context.words("other")) == (("x", "y"), ("z",), ())
    assert context.text("e", "") == "t"
    for key, read in (("b", context.text), ("b", context.words)):
        with pytest.raises(InvalidSetting):
            read(key, ())  # type: ignore[arg-type, operator]
    with pytest.raises(InvalidSetting, match="there are a, b"):
        context.know("a", "b")
