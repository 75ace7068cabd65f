"""Texts of tools as values, and the changes between two of them."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyvn.generation.raw import Raw, apply_changes, changes_between
from comfyvn.model import EmbeddedText

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=4), inside, max_size=4),
    max_leaves=20,
)


@given(VALUES, VALUES)
def test_changes_lead_from_one_value_to_the_other(base: object, value: object) -> None:
    """A workflow that comes back with another seed, or 1 where true stood, is not the one that was kept."""
    before = json.dumps(base)

    made = apply_changes(base, json.loads(json.dumps(changes_between(base, value))))

    assert json.dumps(made) == json.dumps(value)
    assert json.dumps(base) == before


def test_another_seed_is_one_small_change() -> None:
    """Else each picture would take the room of its whole graph."""
    graph = {str(node): {"class_type": "KSampler", "inputs": {"seed": node}} for node in range(50)}
    other = json.loads(json.dumps(graph))
    other["7"]["inputs"]["seed"] = 12345

    assert changes_between(graph, other) == [[["7", "inputs", "seed"], 12345]]


@given(VALUES, VALUES)
def test_changes_of_something_else_raise_nothing_but_a_refusal(base: object, changes: object) -> None:
    """Sidecars may be edited: a wrong change must not end in an error of Python's own."""
    listed = changes if isinstance(changes, list) else [changes]
    with suppress(ValueError):
        apply_changes(base, listed)


@pytest.mark.parametrize(
    "text",
    [
        '{"3": {"seed": 18446744073709551615, "cfg": 7.0}}',
        '{"a": 1, "a": 2}',
        '{"a": NaN}',
        "{not json",
        "[" * 5_000 + "]" * 5_000,
        "Steps: 20, Sampler: Euler a",
        r'{"a": "\ud800"}',
        '{"a": 123456789012345678901234567890}',
        "[" * 40 + "]" * 40,
        "",
    ],
)
def test_a_text_comes_back_as_it_was(text: str) -> None:
    """What a better reader reads again must be what the tool wrote: keys that stand twice included."""
    raw = Raw.of([EmbeddedText("png:tEXt", "prompt", text)])

    [back] = raw.texts()

    assert back.text == text or json.loads(back.text) == json.loads(text)
    assert json.loads(json.dumps(raw.values)) == raw.values
    assert raw.digest == Raw.of([EmbeddedText("png:tEXt", "prompt", text)]).digest
