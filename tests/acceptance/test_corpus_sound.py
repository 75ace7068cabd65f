"""The odd and broken sound files that mutagen is tested with: each has a waveform or a reason."""

import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from support import PEAK_KIB, TIMEOUT_S

pytestmark = pytest.mark.corpus

LOOK_AT = """
import json, sys, time
from comfyvn import media
from comfyvn.errors import PreviewFailed
from comfyvn.media.formats import HEAD_BYTES, kind_of, read_at, recognise

for line in sys.stdin:
    path = line.rstrip("\\n")
    name = path.rpartition("/")[2]
    with open(path, "rb") as file:
        found = recognise(read_at(file, 0, HEAD_BYTES), name)
        kind = kind_of(found, file)
        told = {"name": name, "format": found.name if found else "data", "kind": kind}
        told["probed"] = media.probe(file, name=name)
        begun = time.process_time()
        if kind is not None:
            try:
                made = media.render(file, kind, media.PreviewLimits(), name=name)
            except PreviewFailed as error:
                told["reason"] = str(error)
            else:
                told["facts"] = dict(made.facts)
                told["files"] = {file: len(data) for file, data in made.files.items()}
                if kind == "waveform":
                    told["waveform"] = json.loads(made.files["waveform"])
        told["seconds"] = time.process_time() - begun
    told["peak_kib"] = peak_kib()
    print(json.dumps(told, allow_nan=False))
"""
"""Looks at files in a process of its own, so that its memory can be measured and a crash is one failure."""

WHOLE = {
    "alac.m4a": "mp4",
    "empty.aac": "aac",
    "empty.oggflac": "ogg",
    "empty.ogg": "ogg",
    "example.opus": "ogg",
    "has-tags.m4a": "mp4",
    "multiplexed.spx": "ogg",
    "sample.oggtheora": "ogg",
    "silence-2s-PCM-16000-08-notags.wav": "wav",
    "silence-44-s.flac": "flac",
    "silence-44-s.mp3": "mp3",
    "variable-block.flac": "flac",
    "vbri.mp3": "mp3",
    "with-id3.aif": "aiff",
}
"""Files that are sound and have to have a preview; the others may have a reason."""


@pytest.fixture(scope="module")
def sounds(corpus: Path) -> list[Path]:
    """Every file of mutagen's test data."""
    found = sorted(path for path in (corpus / "mutagen").rglob("*") if path.is_file())
    assert len(found) > 90
    return found


@pytest.mark.timeout(300)
def test_every_file_has_a_preview_or_a_reason(sounds: list[Path]) -> None:
    """A file as it lies on people's disks would crash a decoder, hang it, or fill the memory."""
    digests = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in sounds}

    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", PEAK_KIB + LOOK_AT],
        input="".join(f"{path}\n" for path in sounds),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S * 4,
    )

    assert (run.returncode, run.stderr) == (0, "")
    told: list[dict[str, Any]] = [json.loads(line) for line in run.stdout.splitlines()]
    assert [each["name"] for each in told] == [path.name for path in sounds]
    print_counts(told)
    for each in told:
        assert each["kind"] is None or ("files" in each) != ("reason" in each), each
        assert each.get("reason") != "", each
        assert "failed on it" not in each.get("reason", ""), each
        assert each["seconds"] < 20, each
    assert max(each["peak_kib"] for each in told) < 300_000
    shown = {each["name"]: each["format"] for each in told if "files" in each}
    assert {name: shown.get(name) for name in WHOLE} == WHOLE
    assert {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in sounds} == digests
    for each in told:
        if "waveform" in each:
            points = each["waveform"]["points"]
            assert len(points) <= 512
            assert max(points, default=1.0) in (0.0, 1.0)
            assert each["waveform"]["duration_s"] > 0


def print_counts(told: list[dict[str, Any]]) -> None:
    """Print what became of how many files; ``pytest -s`` shows it."""
    counts = Counter((each["format"], "preview" if "files" in each else "reason") for each in told)
    for (name, state), count in sorted(counts.items()):
        print(f"{name:10} {state:8} {count}")
    for reason, count in Counter(each["reason"] for each in told if "reason" in each).most_common():
        print(f"{count:3} {reason}")
