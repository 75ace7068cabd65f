"""What answers say of the machine: nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfyvn.config import load
from comfyvn.server.answers import scrub


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{home}/assets/cg/a.png: gone", "cg/a.png: gone"),
        ("{home}/cache/thumbs is full", "cache/thumbs is full"),
        ("{home}: locked", "vn: locked"),
        ("{home}2/secret.png: gone", "secret.png: gone"),
        ("'{home}.old/secret.png'", "'secret.png'"),
        ("/etc/passwd and C:\\Users\\mika\\a.png", "passwd and a.png"),
        ("ask `GET /assets/{{uid}}` for it", "ask `GET /assets/{{uid}}` for it"),
    ],
)
def test_a_sentence_names_no_folder_of_the_machine(tmp_path: Path, text: str, shown: str) -> None:
    """Else whoever provokes an error learns who works here and where; and our own addresses must stay."""
    config = load({"home": tmp_path / "vn"}, environ={})

    assert scrub(text.format(home=tmp_path / "vn"), config) == shown.format()
