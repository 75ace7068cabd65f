"""What files tell about themselves, kept beside their previews: it outlives the ledger, and is trusted only
where it is of the very content that lies there."""

from __future__ import annotations

import json
import os
import shutil
import sys
import wave
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyvn.media import FACTS_RECIPE
from comfyvn.media.isolation import WORKERS
from comfyvn.registry.rebuild import rebuild
from comfyvn.studio.core import AssetRecord, AssetRegistry
from comfyvn.studio.core.history import History

THUMBS = Path("cache/thumbs")
Records = dict[str, AssetRecord]


@pytest.fixture
def library(make_png: Callable[..., Path], tmp_path: Path) -> Records:
    """A picture, something that moves, a sound and a text, by uid."""
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "green", "blue")]
    frames[0].save(tmp_path / "rain.gif", save_all=True, append_images=frames[1:], duration=100, loop=0)
    with wave.open(str(tmp_path / "rain.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(range(256)) * 64)
    (tmp_path / "notes.txt").write_text("notes")
    with closing(AssetRegistry(durability="off")) as registry:
        for source in (make_png(), *(tmp_path / name for name in ("rain.gif", "rain.wav", "notes.txt"))):
            registry.register_file(source, "art")
    AssetRegistry.wait_for_thumbnails()
    return after_rebuild()


def after_rebuild() -> Records:
    """Rebuild, wait for previews, and return all records by uid."""
    with closing(AssetRegistry(durability="off")) as registry:
        rebuild(registry)
        registry.wait_for_thumbnails()
        return {record["uid"]: record for record in registry.list_assets()}


def lose_ledger() -> None:
    """Delete the ledger, and end the workers, so that one that is there afterwards was started anew."""
    shutil.rmtree("comfyvn")
    WORKERS.close()


def kept() -> dict[str, Path]:
    """Return the files of kept facts by uid."""
    return {path.name.removesuffix(".facts.json"): path for path in THUMBS.glob("*.facts.json")}


def named(library: Records, name: str) -> AssetRecord:
    return next(record for record in library.values() if Path(record["path"]).name == name)


# -- they come back ---------------------------------------------------------------------------------------


def test_without_its_ledger_a_library_gets_its_facts_back_and_no_worker_starts(library: Records) -> None:
    """Each picture and each hour of music would be decoded again, though its preview is there."""
    before = {path: path.read_bytes() for path in THUMBS.iterdir() if path.is_file()}
    lose_ledger()

    found = after_rebuild()

    assert found == library
    assert not WORKERS.has_idle()
    assert {path: path.read_bytes() for path in before} == before
    assert set(kept()) == {uid for uid, record in library.items() if record["preview"]}


def test_facts_that_came_back_are_found_by_a_search(library: Records) -> None:
    """A library that came back would list nothing by size or length until its cache is deleted."""
    lose_ledger()
    after_rebuild()

    with closing(AssetRegistry(durability="off")) as registry:
        wide = registry.list_assets(where="width=64")
        long = registry.list_assets(where=["duration_s>0.5", "format=wav"])

    assert [Path(record["path"]).name for record in wide] == ["mara.png"]
    assert [Path(record["path"]).name for record in long] == ["rain.wav"]


def test_whether_a_file_is_stamped_is_told_by_the_file_and_not_by_the_cache(
    library: Records, make_png: Callable[..., Path]
) -> None:
    """The record of a file from a backup would say that it carries a marker, and it has none."""
    before = named(library, "mara.png")
    shutil.copyfile(make_png(), Path("assets", before["path"]))
    lose_ledger()

    after = named(after_rebuild(), "mara.png")

    assert before["meta"]["media"]["stamped"] is True
    assert after["meta"]["media"]["stamped"] is False
    assert after["meta"]["media"]["width"] == 64
    assert not WORKERS.has_idle()


# -- they can be deleted ----------------------------------------------------------------------------------


def test_kept_facts_can_be_deleted_at_any_time(library: Records) -> None:
    """A cache would be none: deleting it would change what the library knows."""
    before = {path: path.read_bytes() for path in kept().values()}
    for path in before:
        path.unlink()

    with closing(AssetRegistry(durability="off")) as registry:
        unchanged = rebuild(registry).unchanged
        registry.wait_for_thumbnails()
    still = after_rebuild()
    lose_ledger()
    anew = after_rebuild()

    assert unchanged == len(library)
    assert still == anew == library  # the loudness of a sound, too
    assert {path: path.read_bytes() for path in before} == before


def test_an_asset_takes_its_kept_facts_along_when_it_is_removed_and_back_when_it_is_restored(
    library: Records,
) -> None:
    """Titles and artists of what a user removed would stay in the cache for ever."""
    uid = named(library, "rain.wav")["uid"]

    with closing(AssetRegistry(durability="off")) as registry:
        registry.remove_asset(uid)
        removed = kept()
        registry.restore_asset(uid)
        registry.wait_for_thumbnails()

    assert uid not in removed
    assert uid in kept()


def test_facts_that_a_killed_removal_left_are_cleared(library: Records) -> None:
    """A removal that dies between its commit and the cache would leave them for ever."""
    uid = named(library, "rain.wav")["uid"]
    left = kept()[uid].read_bytes()
    with closing(AssetRegistry(durability="off")) as registry:
        registry.remove_asset(uid)
        (THUMBS / f"{uid}.facts.json").write_bytes(left)

        History(registry.library).clear_previews()

    assert uid not in kept()


def test_new_content_without_a_preview_leaves_no_facts_of_the_old(library: Records) -> None:
    """The facts of a picture would lie beside a text for ever."""
    mara = named(library, "mara.png")
    Path("assets", mara["path"]).write_text("a text now")

    after_rebuild()

    assert mara["uid"] not in kept()


# -- they are not trusted ---------------------------------------------------------------------------------


def said(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def of_other_content(path: Path) -> bytes:
    return json.dumps({**said(path), "hash": "0" * 64}).encode()


def of_another_reader(path: Path) -> bytes:
    return json.dumps({**said(path), "recipe": FACTS_RECIPE + 1}).encode()


def with_facts(**facts: Any) -> Callable[[Path], bytes]:
    """Give what makes of a file one that tells other facts."""
    return lambda path: json.dumps({**said(path), "facts": {**said(path)["facts"], **facts}}).encode()


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


DOUBTFUL: dict[str, Callable[[Path], bytes]] = {
    "of other content": of_other_content,
    "of another reader": of_another_reader,
    "empty": lambda path: b"",
    "cut short": lambda path: path.read_bytes()[:-9],
    "no JSON": lambda path: b"\x00\xff" * 40,
    "a list": lambda path: b"[]",
    "without a hash": lambda path: json.dumps({"recipe": FACTS_RECIPE, "facts": {"width": 7}}).encode(),
    "facts that are a list": lambda path: json.dumps({**said(path), "facts": [1, 2]}).encode(),
    "facts that are nothing": lambda path: json.dumps({**said(path), "facts": None}).encode(),
    "huge": with_facts(width=7, codec="x" * (300 << 10)),
    "a text for a number": with_facts(width="7"),
    "a number for a yes": with_facts(width=7, has_alpha=1),
    "a yes for a number": with_facts(width=True),
    "tags that are a text": with_facts(width=7, tags="x"),
    "another format": with_facts(width=7, format="exe"),
    "a marker that is none": with_facts(width=7, stamped=True),
    "a maze": with_facts(width=7, other=nested(300)),
    "a deep maze": lambda path: b'{"facts": ' + b"[" * 60_000,
    "half a character": with_facts(width=7, codec="\ud800"),
    "no number": with_facts(width=7, duration_s=float("nan")),
    "a key twice": lambda path: path.read_bytes().replace(b'"width"', b'"width": 7, "width"'),
}


@pytest.mark.parametrize("what", DOUBTFUL)
def test_kept_facts_that_are_doubtful_are_read_from_the_file_anew(library: Records, what: str) -> None:
    """Whoever can write into the cache could make the library say, or do, anything."""
    path = kept()[named(library, "mara.png")["uid"]]
    before = path.read_bytes()
    path.write_bytes(DOUBTFUL[what](path))
    lose_ledger()

    found = after_rebuild()

    assert found == library
    assert path.read_bytes() == before


def test_a_preview_whose_facts_are_of_other_content_is_made_again(library: Records) -> None:
    """A rebuild that was killed behind a repainted picture, and a lost ledger, would show the old one."""
    mara = named(library, "mara.png")
    thumb = THUMBS / f"{mara['uid']}_256.webp"
    before = thumb.read_bytes()
    Image.new("RGB", (64, 48), "teal").save(thumb)
    path = kept()[mara["uid"]]
    path.write_bytes(of_other_content(path))
    lose_ledger()

    found = after_rebuild()

    assert found == library
    assert thumb.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of POSIX")
@pytest.mark.parametrize("what", ["a link", "a pipe", "a folder"])
def test_what_is_no_file_where_facts_belong_stops_nothing(
    library: Records, tmp_path: Path, what: str
) -> None:
    """A rebuild would hang, or read and write where a link leads."""
    path = kept()[named(library, "mara.png")["uid"]]
    outside = tmp_path / "outside.json"
    outside.write_bytes(with_facts(width=7)(path))
    before = outside.read_bytes()
    path.unlink()
    make: dict[str, Callable[[], object]] = {
        "a link": lambda: path.symlink_to(outside),
        "a pipe": lambda: os.mkfifo(path),
        "a folder": path.mkdir,
    }
    make[what]()
    lose_ledger()

    found = after_rebuild()

    assert found == library
    assert outside.read_bytes() == before


def test_facts_that_can_not_be_kept_cost_neither_the_preview_nor_themselves(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A folder of that name in the cache would have every preview fail."""
    source = make_png()
    uid = registry.register_file(source, "art")["uid"]
    registry.wait_for_thumbnails()
    (THUMBS / f"{uid}.facts.json").unlink()
    (THUMBS / f"{uid}.facts.json").mkdir()
    (THUMBS / f"{uid}_256.webp").unlink()

    rebuild(registry)
    registry.wait_for_thumbnails()

    record = registry.get_asset(uid)
    assert record is not None
    assert record["preview_state"] == "ready"
    assert record["meta"]["media"]["width"] == 64
    assert (THUMBS / f"{uid}_256.webp").is_file()
