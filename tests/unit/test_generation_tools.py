"""The readers of A1111 and its kin, InvokeAI, NovelAI, "
"SwarmUI and Fooocus: each tells its own files, and no more."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from comfyvn.generation import a1111, comfyui, fooocus, infotext, invokeai, novelai, swarmui, values
from comfyvn.generation.told import FACTS, Told
from comfyvn.model import EmbeddedText, canonical_json
from tool_texts import (
    FOOOCUS_JSON,
    LINE,
    LINE_FACTS,
    NOBODYS,
    SAMPLES,
    Sample,
    novel,
    parameters,
    record,
    swarm,
    texts_of,
)

PARSERS: dict[str, Callable[[Sequence[EmbeddedText], str], Told | None]] = {
    module.__name__.rpartition(".")[2]: module.parse
    for module in (a1111, fooocus, invokeai, novelai, swarmui)
}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"{sample.reader}: {sample.title}")
def test_each_sample_is_told_by_its_reader_alone_and_in_full(sample: Sample) -> None:
    """A fact that is missing, wrong or made up; a file claimed by the wrong tool, or by two."""
    texts = texts_of(sample.texts)

    told = {
        name: found
        for name, parse in PARSERS.items()
        if (found := parse(texts, sample.file_name)) is not None
    }

    assert list(told) == [sample.reader]
    assert comfyui.parse(texts, sample.file_name) is None
    found = told[sample.reader]
    assert found.facts == dict(sample.facts)
    assert (found.tool, found.tool_version) == (sample.tool, sample.version)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"{sample.reader}: {sample.title}")
def test_each_fact_has_its_type_and_the_place_where_it_was_read(sample: Sample) -> None:
    """A whole number where a column expects a fraction; a fact from nowhere."""
    texts = texts_of(sample.texts)

    found = PARSERS[sample.reader](texts, sample.file_name)

    assert found is not None
    assert all(type(value) is FACTS[name] for name, value in found.facts.items())
    assert found.read_from.keys() == found.facts.keys()
    assert all(
        place.startswith((*found.texts, "Source", "Comment", "Description"))
        for place in found.read_from.values()
    )
    assert found.texts
    assert set(found.texts) <= sample.texts.keys()
    canonical_json(found.workflow)


@pytest.mark.parametrize("name", NOBODYS)
def test_what_is_not_surely_of_a_tool_is_told_by_none(name: str) -> None:
    """A guess: a tool or facts for a text that anybody may have written."""
    texts = texts_of(NOBODYS[name])

    told = [parse(texts, "picture.png") for parse in PARSERS.values()]

    assert told == [None] * len(PARSERS)


def test_there_are_samples_of_every_fact_and_reader() -> None:
    """A fact or a reader that no sample shows."""
    facts = {name for sample in SAMPLES for name in sample.facts}
    readers = {sample.reader for sample in SAMPLES}

    assert facts == FACTS.keys()
    assert readers == PARSERS.keys()
    assert len(SAMPLES) >= 60


def workflow_of(reader: str, given: Mapping[str, str]) -> str:
    told = PARSERS[reader](texts_of(given), "a.png")
    assert told is not None
    assert told.workflow is not None
    return canonical_json(told.workflow)


ONE_WORKFLOW = {
    "a1111": (
        parameters("x", f"{LINE}, Batch size: 2, Batch pos: 0, User: mika, Version: v1.6.0"),
        parameters(
            "x", f"{LINE.replace('42', '43')}, Batch size: 2, Batch pos: 1, User: jo, Version: v1.6.1"
        ),
    ),
    "fooocus": (
        {"parameters": json.dumps(FOOOCUS_JSON), "fooocus_scheme": "fooocus"},
        parameters(
            json.dumps(
                {**FOOOCUS_JSON, "seed": 5, "created_by": "jo", "prompt_expansion": "y", "full_prompt": ["y"]}
            )
        ),
    ),
    "invokeai": (
        record(
            positive_prompt="x",
            seed=1,
            model={"key": "a", "name": "m"},
            init_image="a.png",
            app_version="5.0.0",
        ),
        record(
            positive_prompt="x",
            seed=2,
            model={"key": "b", "name": "m"},
            init_image="b.png",
            app_version="5.1.0",
        ),
    ),
    "novelai": (
        novel(prompt="x", seed=1, extra_noise_seed=1, signed_hash="a", reference_image_multiple=["aaaa"]),
        novel(prompt="x", seed=2, extra_noise_seed=2, signed_hash="b"),
    ),
    "swarmui": (
        swarm({"date": "2024-11-13"}, prompt="x", seed=1, variationseed=3, swarm_version="0.9.3.1"),
        swarm({"date": "2024-11-14"}, prompt="x", seed=2, variationseed=4, swarm_version="0.9.3.2"),
    ),
}


@pytest.mark.parametrize("reader", PARSERS)
def test_pictures_that_differ_in_seed_name_and_date_share_their_workflow(reader: str) -> None:
    """A workflow hash that no two pictures share."""
    one, other = ONE_WORKFLOW[reader]

    assert workflow_of(reader, one) == workflow_of(reader, other)


@pytest.mark.parametrize(
    ("reader", "one", "other"),
    [
        ("a1111", parameters("x", LINE), parameters("y", LINE)),
        ("a1111", parameters("x", LINE), parameters("x", LINE.replace("512x768", "768x512"))),
        ("a1111", parameters("x", LINE), parameters("x", f"{LINE}, Hires upscaler: Latent")),
        (
            "fooocus",
            parameters(json.dumps(FOOOCUS_JSON)),
            parameters(json.dumps({**FOOOCUS_JSON, "loras": []})),
        ),
        ("invokeai", record(positive_prompt="x", steps=1), record(positive_prompt="x", steps=2)),
        ("novelai", novel(prompt="x"), novel("Stable Diffusion 81274D13", prompt="x")),
        ("swarmui", swarm(prompt="x", model="a"), swarm(prompt="x", model="b")),
    ],
)
def test_pictures_made_in_another_way_do_not_share_their_workflow(
    reader: str, one: Mapping[str, str], other: Mapping[str, str]
) -> None:
    """Pictures of other prompts, sizes, models or LoRAs lumped together."""
    assert workflow_of(reader, one) != workflow_of(reader, other)


def test_a_record_nested_too_deep_is_not_taken_up() -> None:
    """A workflow that can't be hashed, as JSON that deep ends in a recursion error."""
    deep = (
        '{"prompt": ' + '{"a": ' * 500 + "1" + "}" * 500 + ', "base_model": 1, "metadata_scheme": "fooocus"}'
    )
    bare = f"x\n{LINE}, Deep: {'[' * 500}{']' * 500}, Version: v1.6.0"

    told = [
        fooocus.parse(texts_of({"parameters": deep}), ""),
        a1111.parse(texts_of({"parameters": bare}), ""),
    ]

    assert told[0] is None
    assert told[1] is not None
    assert told[1].facts == {"prompt": "x", **LINE_FACTS}
    canonical_json(told[1].workflow)


@pytest.mark.parametrize(
    ("text", "seed"),
    [
        ("18446744073709551615", "18446744073709551615"),
        ("007", "7"),
        ("18446744073709551616", None),
        ("9" * 5_000, None),
        ("-1", None),
        ("1e3", None),
        ("٣", None),
    ],
)
def test_a_seed_is_digits_of_at_most_64_bits(text: str, seed: str | None) -> None:
    """A seed that no tool could have used, or digits that aren't ASCII."""
    told = a1111.parse(texts_of(parameters("x", f"Steps: 1, Sampler: a, Model: m, Seed: {text}")), "")

    assert told is not None
    assert told.facts.get("seed") == seed


FRAGMENTS = (
    *(
        "Steps: 20, ",
        "Seed: 1",
        "Model: m",
        "Size: 1x1",
        "Sampler: a",
        "Version: Fooocus v2",
        "Negative prompt: ",
        "Template:",
    ),
    *(
        ", ",
        "\n",
        '"',
        "\\",
        ": ",
        "[",
        "]",
        "{",
        "}",
        "<lora:a:1>",
        "<lora:",
        "NaN",
        "1e999",
        "\0",
        "\ud800",
        "-S 1",
        "-",
    ),
)
anything = st.text(max_size=40) | st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = (
    "parameters",
    "UserComment",
    "Comment",
    "Software",
    "fooocus_scheme",
    "MakerNote",
    "invokeai_metadata",
    "sd-metadata",
    "Dream",
)


def all_parsed(texts: Sequence[EmbeddedText]) -> list[Told]:
    return [told for parse in PARSERS.values() if (told := parse(texts, "x.png")) is not None]


@given(st.dictionaries(st.sampled_from(NAMES), anything, max_size=4))
@example({"parameters": f"x\n{LINE}, Model: {{"})
@example({"UserComment": f"Steps: {'9' * 5000}, Seed: {'9' * 5000}, Size: 1x1, Model: a"})
def test_random_texts_never_raise(given: dict[str, str]) -> None:
    """A crash on a text that somebody made up."""
    for told in all_parsed(texts_of(given)):
        assert told.facts.keys() <= FACTS.keys()
        canonical_json(told.workflow)


@given(st.sampled_from(SAMPLES), st.data())
@settings(max_examples=300)
def test_samples_with_pieces_cut_out_and_put_in_never_raise(sample: Sample, data: st.DataObject) -> None:
    """A crash on a file that was damaged or edited."""
    mutated = {}
    for name, text in sample.texts.items():
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 40)))
        mutated[name] = text[:start] + data.draw(anything) + text[end:]

    for told in all_parsed(texts_of(mutated)):
        assert all(type(value) is FACTS[fact] for fact, value in told.facts.items())
        canonical_json(told.workflow)


@given(
    st.sampled_from(
        [sample for sample in SAMPLES if any(text.startswith("{") for text in sample.texts.values())]
    ),
    st.data(),
)
@settings(max_examples=300)
def test_json_with_values_of_any_kind_never_raises(sample: Sample, data: st.DataObject) -> None:
    """A crash on a number where a text should be, or the other way round."""

    def mutated(value: Any) -> Any:
        if isinstance(value, dict) and value:
            key = data.draw(st.sampled_from(sorted(value)))
            return {**value, key: mutated(value[key])}
        return data.draw(any_json)

    given = {}
    for name, text in sample.texts.items():
        loaded = values.load_object(text)
        given[name] = text if loaded is None else json.dumps(mutated(loaded))

    for told in all_parsed(texts_of(given)):
        assert all(type(value) is FACTS[fact] for fact, value in told.facts.items())
        canonical_json(told.workflow)


HALF = 4_000_000
HOSTILE = {
    "commas": ",",
    "quotes": '"',
    "quotes, in values": ', a: "',
    "quotes, escaped": ', a: "\\"',
    "backslashes": "\\",
    "spaces": " ",
    "line breaks": "\n",
    "lines of parameters": "Steps: 1,\n",
    "lines of parameters that are some": "Steps: 1, Seed: 1, Size: 1x1, a: b\n",
    "lines with open quotes": 'Steps: 1, a: "b, \n',
    "open brackets": "[",
    "open brackets, in values": ", a: [",
    "arrays without end": ", a: [1, ",
    "objects without end": '{"sui_image_params": ',
    "tags": "<lora:a:1>",
    "open tags": "<lora:a:",
    "colons": ":",
    "keys": "a: ",
    "templates": "Template: a\n",
    "negative prompts": "Negative prompt: a\n",
    "options": " -s 1",
    "carriage returns": "\r",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_eight_megabytes_of_anything_take_no_longer_than_reading_them(name: str) -> None:
    """A regular expression that goes back and forth: minutes for a file that somebody sent."""
    filling = HOSTILE[name] * (HALF // len(HOSTILE[name]))
    in_line = parameters(f"x {filling}", f"{LINE}, b: {filling}")
    in_command = {"Dream": f'"a" {filling}'}
    started = time.process_time()

    all_parsed(texts_of(in_line))
    all_parsed(texts_of(in_command))

    assert time.process_time() - started < 10  # what is not linear takes hours


def test_the_line_of_parameters_may_not_go_on_for_ever() -> None:
    """Thousands of parameters, each of which becomes part of a workflow."""
    pairs = infotext.pairs_of(", ".join(f"k{number}: {number}" for number in range(3_000)))

    assert pairs == {}
