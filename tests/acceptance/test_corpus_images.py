"""The odd and broken pictures of Pillow's own tests: each ends as a preview or a reason, none is changed."""

import hashlib
import io
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comfyvn import media
from comfyvn.studio.core import AssetRegistry
from support import PEAK_KIB

pytestmark = [pytest.mark.corpus, pytest.mark.timeout(300)]

SECONDS = 20
MEMORY_BYTES = 1 << 30
VALUE = b'{"provenance_id":1234567890123456,"source":"corpus","uid":"0123456789abcdef"}'

# One process for all: a preview that hangs, dies or takes too much memory ends it; its last line tells which.
SCRIPT = """
import json, resource, signal, sys, time, warnings
from pathlib import Path
from comfyvn import media
from comfyvn.errors import PreviewFailed
from comfyvn.media.formats import kind_of, recognise

folder, seconds, memory_bytes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
warnings.simplefilter("ignore")  # as the workers of the library do
for path in sorted(folder.rglob("*")):
    if not path.is_file():
        continue
    with path.open("rb") as file:
        found = recognise(file.read(64), path.name)
        if found is None or not hasattr(found, "family"):
            continue
        kind = kind_of(found, file)
        told = {"file": str(path.relative_to(folder)), "format": found.name, "kind": kind}
        print(json.dumps(told), flush=True)
        signal.alarm(seconds)
        start = time.perf_counter()
        told["facts"] = media.probe(file, name=path.name)
        try:
            made = media.render(file, kind, media.PreviewLimits(), name=path.name)
            told["files"] = {name: len(data) for name, data in made.files.items()}
            told["facts"] |= made.facts
        except PreviewFailed as failure:
            told["reason"] = failure.fields["why"]
        signal.alarm(0)
        print(json.dumps(told | {"seconds": time.perf_counter() - start}), flush=True)
print(json.dumps({"peak_kib": peak_kib()}))
"""


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    stats = {path: path.stat() for path in folder.rglob("*")}
    return {str(path): (stat.st_size, stat.st_mtime_ns) for path, stat in stats.items()}


@pytest.fixture(scope="module")
def pictures(corpus: Path) -> Path:
    folder = corpus / "pillow"
    assert len(list(folder.rglob("*"))) > 700
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="needs the limits of POSIX")
def test_every_odd_picture_ends_as_a_preview_or_a_reason(pictures: Path, project: Path) -> None:
    """A picture made to break decoders would stop a bulk ingest, or fill the memory."""
    before = tree(pictures)

    run = subprocess.run(
        [sys.executable, "-c", PEAK_KIB + SCRIPT, str(pictures), str(SECONDS), str(MEMORY_BYTES)],
        capture_output=True,
        text=True,
        timeout=240,
    )

    lines: list[dict[str, Any]] = [json.loads(line) for line in run.stdout.splitlines()]
    assert run.returncode == 0, (lines[-1], run.stderr)
    assert "Traceback" not in run.stderr
    assert tree(pictures) == before
    assert list(project.iterdir()) == []
    *told, peak = [line for line in lines if "seconds" in line or "peak_kib" in line]
    counts = Counter((each["format"], each["kind"], "reason" in each) for each in told)
    for (name, kind, is_failed), count in sorted(counts.items()):
        print(f"{name:10} {kind:10} {'reason ' if is_failed else 'preview'} {count:4}")
    print(
        f"slowest {max(each['seconds'] for each in told):.1f} s, most memory {peak['peak_kib'] // 1024} MiB"
    )
    for each in told:
        wanted = {"256", "512"} | ({"animation"} if each["kind"] == "animation" else set())
        assert each.get("files", {}).keys() == (set() if "reason" in each else wanted), each
        assert each["seconds"] <= SECONDS, each
        assert "failed on it" not in each.get("reason", ""), each  # an exception that we did not think of
        assert each.get("files", {}).get("animation", 0) <= 500_000, each
        assert "reason" in each or min(each["facts"]["width"], each["facts"]["height"]) > 0, each
    assert sum(count for (_, _, is_failed), count in counts.items() if not is_failed) > 600


@pytest.mark.usefixtures("project")
def test_a_library_of_odd_pictures_says_of_each_what_became_of_its_preview(
    pictures: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """A decoder that dies would take the whole ingest with it, or leave previews pending for ever."""
    registry = open_registry()
    sources = sorted(path for path in pictures.rglob("*") if path.is_file() and path.stat().st_size)

    results = list(registry.register_many({"source_path": path, "asset_type": "odd"} for path in sources))
    assert registry.wait_for_thumbnails(timeout=240) is not False

    assert [result["error"] for result in results if result["error"]] == []
    states: Counter[str] = Counter()
    for uid in {result["asset"]["uid"] for result in results}:
        record = registry.get_asset(uid)
        assert record is not None
        states[record["preview_state"]] += 1
        if record["preview_state"] == "failed":
            assert record["preview"]["reason"], record["path"]
        shown = registry.THUMB_ROOT / f"{uid}_256.webp"
        assert shown.exists() == (record["preview_state"] == "ready"), record["path"]
    print(dict(states))
    assert states.keys() <= {"ready", "failed", "none"}
    assert states["ready"] > 600


def test_every_odd_file_is_the_same_after_stamp_and_strip(corpus: Path) -> None:
    """A stamp would break a file that is odd but works, or could not be taken out again."""
    counts: Counter[tuple[str, str]] = Counter()
    for path in sorted(corpus.rglob("*")):
        if not path.is_file():
            continue
        content, sink, bare = path.read_bytes(), io.BytesIO(), io.BytesIO()
        reading = media.read(io.BytesIO(content), sink, marker_bytes=len(VALUE), name=path.name)
        if reading.slots:
            media.fill_marker(sink, reading, VALUE)
        media.strip(io.BytesIO(sink.getvalue()), bare, name=path.name)
        again = media.read(io.BytesIO(sink.getvalue()), name=path.name)

        counts[reading.format, "stamped" if reading.refusal is None else reading.refusal] += 1
        assert bare.getvalue() == content, path
        assert reading.digest == again.digest == hashlib.sha256(content).hexdigest(), path
        assert again.marker == (VALUE if reading.refusal is None else None), path
        assert again.preview_kind == reading.preview_kind, path
        assert (sink.getvalue() == content) == (reading.refusal is not None), path
    for (name, outcome), count in sorted(counts.items()):
        print(f"{name:10} {count:4}  {outcome}")
    assert sum(count for (_, outcome), count in counts.items() if outcome == "stamped") > 500
