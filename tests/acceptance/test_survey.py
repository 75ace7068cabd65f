"""A rebuild of what has hardly changed: cheap, and blind to nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest

from comfyvn import media
from comfyvn.model import Preview, PreviewKind, PreviewState, preview_names
from comfyvn.registry import survey as survey_module
from comfyvn.registry.rebuild import RebuildReport, rebuild
from comfyvn.registry.survey import Survey
from comfyvn.studio.core import AssetRegistry
from comfyvn.studio.core.previews import need_of
from support import TIMEOUT_S

ASSETS = Path("assets")
NOTE = ".asset.json"
# A process of its own that rebuilds: an audit hook sees every file that is opened, and can't be taken away.
WATCHED = """
import json, os, sys
from comfyvn.registry.rebuild import rebuild
from comfyvn.studio.core import AssetRegistry

root = os.path.realpath("assets") + os.sep
opened = []

def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if path.startswith(root) and not path.startswith(root + ".comfyvn"):
            opened.append(path.removeprefix(root).replace(os.sep, "/"))

with AssetRegistry(durability="off") as registry:
    sys.addaudithook(watch)
    report = rebuild(registry).as_dict()
print(json.dumps({"opened": opened, "report": report}))
"""


def watched_rebuild() -> tuple[list[str], dict[str, Any]]:
    """Rebuild in a process of its own; return the files of the library that it opened, and its report."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHED], check=True, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    answer = json.loads(done.stdout)
    return answer["opened"], answer["report"]


def fill(*keys: str) -> None:
    """Make text files, each with content of its own."""
    for key in keys:
        path = ASSETS / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"the line {key}", "utf-8")


def run(registry: AssetRegistry) -> RebuildReport:
    report = rebuild(registry)
    registry.wait_for_thumbnails()
    return report


def found(report: RebuildReport) -> dict[str, list[str]]:
    """Return the paths in each list of a report that has any."""
    lists = {name: value for name, value in report.as_dict().items() if isinstance(value, list) and value}
    return {name: [each["path"] for each in items] for name, items in lists.items()}


# -- nothing changed ------------------------------------------------------------------------------------


def test_a_rebuild_of_an_untouched_library_opens_no_file_of_it(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A look at a hundred thousand files would take as long as reading them."""
    for seed in range(3):
        registry.register_file(make_png(f"{seed}.png", seed=seed), "characters")
    fill("lines/one.txt", "lines/deep/two.txt", "three.txt")
    run(registry)

    opened, report = watched_rebuild()

    assert opened == []
    assert (report["processed"], report["unchanged"]) == (6, 6)


def test_names_that_programs_sort_in_different_ways_are_all_known_again(registry: AssetRegistry) -> None:
    """Files and rows are merged in order: where the orders differ, assets would be lost and found anew."""
    keys = [
        *("a-b/x.txt", "a/x.txt", "a.txt", "a b/x.txt", "a/-.txt", "A/x.txt", "a/b/c.txt", "a/b-c.txt"),
        *("a/b.txt", "é.txt", "e\u0301/x.txt", "z.txt", "日本/夏.txt", "日本.txt", "～.txt", "\ue000.txt"),
        *("😀.txt", "😀/😀.txt", "😀-/a.txt", "ﬀ.txt", "ß.txt", "_.txt", "~.txt", "0/1.txt", "0-1.txt"),
    ]
    fill(*keys)
    first = run(registry)

    again = run(registry)

    assert sorted(found(first)["registered"]) == sorted(keys)
    assert (again.unchanged, found(again)) == (len(keys), {})


def test_previews_that_a_rescan_would_renew_are_no_settled_ones(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """The short look and the close one would disagree: previews would never be made again."""
    registry.register_file(make_png(), "characters")
    registry.wait_for_thumbnails()
    library = registry.library
    (asset,) = library.ledger.iterate()
    for kind in get_args(PreviewKind):
        for name in preview_names(asset.uid, kind).values():
            library.thumbs.path(name).touch()
    kinds = (None, *get_args(PreviewKind))
    recipes = {kind: {0, 1, media.RECIPES[kind]} if kind else {0} for kind in kinds}
    told: list[dict[str, Any]] = [{}, {"format": "png"}, {"recipe": media.FACTS_RECIPE}, {"recipe": 0}]
    told.append({"recipe": "odd"})
    previews = [
        Preview(kind, state, None, recipe, asset.preview.path)
        for kind, state in product(kinds, get_args(PreviewState))
        for recipe in recipes[kind]
    ]
    disagreeing = []

    for preview, facts in product(previews, told):
        changed = replace(asset, preview=preview, media=facts)
        with library.ledger.write() as rows:
            rows.update([changed])
        is_settled = Survey(library).unchanged == 1
        if is_settled != (need_of(library, changed) != "missing"):
            disagreeing.append((preview, facts))

    assert disagreeing == []


@pytest.mark.parametrize("name", preview_names("", "thumbnail").values())
def test_a_deleted_preview_of_either_size_is_seen(
    name: str, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """The gallery would show a hole in one of its views."""
    record = registry.register_file(make_png(), "characters")
    registry.wait_for_thumbnails()
    preview = registry.library.thumbs.path(record["uid"] + name)
    preview.unlink()

    report = run(registry)

    assert preview.is_file()
    assert (report.unchanged, found(report)) == (1, {})


# -- little changed -------------------------------------------------------------------------------------


@pytest.mark.parametrize("remembered", [10_000, 3])
def test_among_thousands_of_files_each_change_is_found(
    remembered: int, registry: AssetRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody looks at closely might be just what has changed; many changes are looked for twice."""
    monkeypatch.setattr(survey_module, "_REMEMBERED", remembered)
    fill(*(f"part{number // 500}/line{number:04}.txt" for number in range(3_000)))
    run(registry)
    (ASSETS / "part0/line0007.txt").write_text("another line, painted over", "utf-8")
    (ASSETS / "part1/line0500.txt").rename(ASSETS / "part5/moved.txt")
    (ASSETS / "part1/line0501.txt").unlink()
    (ASSETS / f"part2/line1000.txt{NOTE}").unlink()
    (ASSETS / "_meta/part3/line1500.json").unlink()
    note = ASSETS / f"part3/line1999.txt{NOTE}"
    note.write_text(note.read_text("utf-8").replace('"tags": []', '"tags": ["夏"]', 1), "utf-8")
    os.utime(ASSETS / "part4/line2000.txt", ns=(0, 0))
    fill("part5/line2999-new.txt")

    report = run(registry)

    assert found(report) == {
        "content_changed": ["part0/line0007.txt"],
        "moved": ["part5/moved.txt"],
        "missing": ["part1/line0501.txt"],
        "sidecars_written": ["part2/line1000.txt"],
        "metadata_changed": ["part3/line1999.txt"],
        "registered": ["part5/line2999-new.txt"],
    }
    assert (report.processed, report.touched) == (3_000, 1)
    assert (ASSETS / "_meta/part3/line1500.json").is_file()
    again = run(registry)
    assert (again.processed, again.unchanged, found(again)) == (3_000, 3_000, {})


def test_a_mirror_that_an_asset_further_on_has_taken_is_written_anew(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Two assets would go on with one mirror, and the next edit of one would overwrite the other's."""
    first = registry.register_file(make_png("mara.png", seed=1), "cast")
    shutil.rmtree(ASSETS / "_meta")
    between = [f"cast/mara.{number:03}.txt" for number in range(600)]
    fill(*between)
    second = registry.register_file(make_png("mara.webm.png", seed=2), "cast", dest_relative="cast/mara.webp")
    registry.wait_for_thumbnails()
    assert json.loads((ASSETS / "_meta/cast/mara.json").read_text("utf-8"))["uid"] == second["uid"]

    run(registry)

    mirrors = [json.loads(path.read_text("utf-8"))["uid"] for path in (ASSETS / "_meta").rglob("*.json")]
    assert len(mirrors) == len(set(mirrors)) == len(between) + 2
    assert first["uid"] in mirrors
    assert found(run(registry)) == {}


@pytest.mark.skipif(sys.platform == "win32", reason="links of POSIX")
def test_a_sidecar_that_is_left_alone_is_seen_beside_one_that_is_a_link(registry: AssetRegistry) -> None:
    """Counted together they would look like one sidecar for each file; an asset would stay forgotten."""
    fill("cast/mara.txt", "cast/ellis.txt")
    uids = {each["path"]: each["uid"] for each in run(registry).registered}
    (ASSETS / "cast/mara.txt").unlink()
    beside = ASSETS / f"cast/ellis.txt{NOTE}"
    beside.rename("ellis.json")
    beside.symlink_to(Path("ellis.json").absolute())
    registry.close()
    shutil.rmtree("comfyvn")

    with closing(AssetRegistry(durability="off")) as anew:
        report = rebuild(anew)
        lost = anew.get_asset(uids["cast/mara.txt"])

    assert [each["path"] for each in report.missing] == ["cast/mara.txt"]
    assert lost is not None
    assert lost["missing_since"]


# -- the ledger is lost ---------------------------------------------------------------------------------


def test_without_its_ledger_a_library_is_read_once_and_nothing_is_written(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Each file would be read twice, and every sidecar would change its time and its place in a backup."""
    for seed in range(3):
        meta = {"tags": ["cast", str(seed)], "license": "CC0-1.0"}
        registry.register_file(make_png(f"{seed}.png", seed=seed), "characters", metadata=meta)
    registry.register_file(make_png("0.jpg", seed=9), "characters")  # its mirror has the second name
    fill("lines/one.txt")
    run(registry)
    before = {record["uid"]: record for record in registry.list_assets()}
    stats = {path: path.stat() for path in ASSETS.rglob("*.json") if ".comfyvn" not in path.parts}
    registry.close()
    shutil.rmtree("comfyvn")

    opened, report = watched_rebuild()

    files = Counter(key for key in opened if not key.endswith(".json"))
    assert files == {record["path"]: 1 for record in before.values()}  # the cache knows the facts
    assert len(report["registered"]) == len(before) == 5
    now = {path: path.stat() for path in stats}
    assert {path: (was.st_ino, was.st_mtime_ns) for path, was in stats.items()} == {
        path: (stat.st_ino, stat.st_mtime_ns) for path, stat in now.items()
    }
    with closing(AssetRegistry(durability="off")) as anew:
        rebuild(anew)
        anew.wait_for_thumbnails()
        assert {record["uid"]: record for record in anew.list_assets()} == before
        assert found(rebuild(anew)) == {}
