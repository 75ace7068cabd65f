"""What is read from real outputs of the tools: the pictures with which sd-parsers tests itself.

``real_outputs.json`` has every fact of each, checked by eye against its texts: of prompts the first
characters; null for the picture whose texts hide in its pixels, which are not read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfyvn.errors import FactsMissing
from comfyvn.registry.facts import read_facts

pytestmark = pytest.mark.corpus
EXPECTED: dict[str, dict[str, Any] | None] = json.loads(
    Path(__file__).with_name("real_outputs.json").read_text("utf-8")
)
SHOWN = 24


@pytest.mark.parametrize("name", EXPECTED)
def test_a_real_output_tells_just_what_stands_in_it(name: str, corpus: Path) -> None:
    """A wrong fact is worse than none, and one more or less would show a reader that has changed."""
    path, expected = corpus / "sd_parsers" / "parsers" / name, EXPECTED[name]
    if expected is None:
        with pytest.raises(FactsMissing):
            read_facts(path)
        return

    told = read_facts(path)

    facts = {key: told[key] for key in ("tool", "tool_version") if key in told} | told["facts"]
    for key in facts.keys() & {"prompt", "negative_prompt"}:
        facts[key] = facts[key].strip()[:SHOWN]
    assert facts == expected
    assert told["read_from"].keys() == told["facts"].keys()


def test_every_output_of_the_corpus_is_expected(corpus: Path) -> None:
    """A picture that nobody looks at proves nothing."""
    folder = corpus / "sd_parsers" / "parsers"

    found = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix in (".png", ".jpg")
    }

    assert found == set(EXPECTED)
