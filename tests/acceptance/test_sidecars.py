"""Sidecars: what they say, hand edits that are kept, broken ones, and mirrors."""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from comfyvn.errors import PathConflict
from comfyvn.model import Asset, Facts
from comfyvn.registry.rebuild import rebuild
from comfyvn.studio.core import AssetRecord, AssetRegistry
from comfyvn.studio.core.library import Beside
from comfyvn.studio.core.registration import Registrar

KEYS_IN_ORDER = [
    *("schema", "id", "uid", "project", "type", "path", "hash", "bytes", "version", "tags", "license"),
    *("origin", "created_at", "updated_at", "meta", "preview", "links", "provenance"),
]


@pytest.fixture
def mara(registry: AssetRegistry, make_png: Callable[..., Path]) -> str:
    """The uid of an asset with tags, licence, metadata and provenance."""
    info = registry.register_file(
        make_png(),
        "characters",
        metadata={
            "tags": ["mara", "smile"],
            "license": "CC-BY-4.0",
            "artist": "J. Doe",
            "nested": {"deep": [1, 2]},
        },
        provenance={"source": "comfyui", "workflow_hash": "9c", "inputs": {"prompt": "夏"}},
    )
    registry.wait_for_thumbnails()
    return info["uid"]


def edit_by_hand(registry: AssetRegistry, uid: str, change: Callable[[dict[str, Any]], object]) -> None:
    path = registry.sidecar_path(uid)
    assert path is not None
    payload = json.loads(path.read_text("utf-8"))
    change(payload)
    path.write_text(json.dumps(payload, ensure_ascii=False), "utf-8")


def journal(event: str) -> list[dict[str, Any]]:
    query = "SELECT after_json FROM asset_journal WHERE event = ? ORDER BY seq"
    with closing(sqlite3.connect("comfyvn/data/comfyvn.db")) as connection:
        return [json.loads(row[0] or "null") for row in connection.execute(query, (event,))]


REWRITES: dict[str, Callable[[AssetRegistry, str, Path], object]] = {
    "update": lambda registry, uid, _: registry.update_asset_meta(uid, {"tags": ["new"]}),
    "bulk": lambda registry, uid, _: registry.bulk_update_tags([uid], add_tags=["new"], license_tag="MIT"),
    "ensure": lambda registry, uid, _: registry.ensure_sidecar(uid, overwrite=True),
    "register": lambda registry, _, source: registry.register_file(source, "characters"),
}


# -- what is written ------------------------------------------------------------------------------------


def written_meta(record: AssetRecord) -> dict[str, Any]:
    """Return the metadata without what the file tells about itself: anybody can read that from the file."""
    return {key: value for key, value in record["meta"].items() if key != "media"}


def test_a_sidecar_says_everything_about_its_asset(
    registry: AssetRegistry, mara: str, make_png: Callable[..., Path]
) -> None:
    """A library could not be rebuilt from its files, or old tools not read them."""
    path = registry.sidecar_path(mara)
    record = registry.get_asset(mara)
    assert path is not None
    assert record is not None

    written = json.loads(path.read_text("utf-8"))

    assert path == registry.ASSETS_ROOT / "characters/mara.png.asset.json"
    assert list(written) == KEYS_IN_ORDER
    assert written["schema"] == 1
    assert written["id"] == written["uid"] == mara
    same = ("project", "type", "path", "hash", "bytes", "version", "tags", "license", "created_at")
    assert {key: written[key] for key in same} == {key: record[key] for key in same}  # type: ignore[literal-required]
    assert (written["meta"], written["preview"], written["links"]) == (
        *(written_meta(record), record["preview"], record["links"]),
    )
    assert written["provenance"] == record["provenance"]
    assert written["provenance"]["inputs"]["prompt"] == "夏"
    assert registry.read_sidecar(mara) == written


def test_a_sidecar_is_text_that_diffs_well(registry: AssetRegistry, mara: str) -> None:
    """Every commit of a team would show lines that nobody changed."""
    path = registry.sidecar_path(mara)
    assert path is not None
    before = path.read_bytes()

    registry.ensure_sidecar(mara, overwrite=True)

    assert path.read_bytes() == before
    assert before.endswith(b"}\n")
    assert before.startswith(b'{\n  "schema": 1,\n')
    assert "夏".encode() in before
    assert b"\r" not in before


def test_the_mirror_follows_every_change(registry: AssetRegistry, mara: str) -> None:
    """Legacy tools would see the state of the first day."""
    mirror = registry.ASSETS_ROOT / "_meta/characters/mara.json"

    registry.update_asset_meta(mara, {"tags": ["changed"]})

    assert json.loads(mirror.read_text("utf-8")) == registry.read_sidecar(mara)
    assert registry.read_sidecar(mara)["tags"] == ["changed"]


@pytest.mark.parametrize("rewrite", REWRITES.values(), ids=REWRITES)
def test_provenance_stays_in_the_sidecar_at_every_rewrite(
    registry: AssetRegistry,
    mara: str,
    make_png: Callable[..., Path],
    rewrite: Callable[[AssetRegistry, str, Path], object],
) -> None:
    """Provenance left the sidecar at the next metadata edit, and was lost with the database."""
    before = registry.read_sidecar(mara)["provenance"]

    rewrite(registry, mara, make_png())

    after = registry.read_sidecar(mara)["provenance"]
    rows = [after, *after.pop("history", [])]
    assert before in rows
    assert before["inputs"]["prompt"] == "夏"
    assert before["source"] == "comfyui"


def test_a_deleted_sidecar_is_written_again(registry: AssetRegistry, mara: str) -> None:
    """``ensure_sidecar`` would not do what it is for."""
    path = registry.sidecar_path(mara)
    assert path is not None
    before = path.read_bytes()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        registry.read_sidecar(mara)

    ensured = registry.ensure_sidecar(mara)

    assert ensured == path
    assert path.read_bytes() == before


def test_a_sidecar_that_is_there_is_left_alone(registry: AssetRegistry, mara: str) -> None:
    """A check would touch every file of the library."""
    path = registry.sidecar_path(mara)
    assert path is not None
    before = path.stat()

    registry.ensure_sidecar(mara)

    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_an_update_replaces_the_metadata(registry: AssetRegistry, mara: str) -> None:
    """A key that was deleted would come back for ever."""
    meta = registry.update_asset_meta(mara, {"tags": ["new"], "mood": "sad"})

    assert (meta["tags"], meta["license"], meta["mood"]) == (["new"], None, "sad")
    assert "artist" not in meta
    assert registry.get_asset(mara)["meta"] == meta  # type: ignore[index]
    assert registry.read_sidecar(mara)["meta"] == {key: meta[key] for key in meta if key != "media"}


def test_the_metadata_of_a_record_can_be_handed_back(registry: AssetRegistry, mara: str) -> None:
    """The simplest script, read, change, write, would be refused or pile up keys of ours."""
    record = registry.get_asset(mara)
    assert record is not None

    meta = registry.update_asset_meta(mara, {**record["meta"], "mood": "sad"})

    assert meta == {**record["meta"], "mood": "sad"}


def test_a_reader_never_sees_half_a_sidecar(registry: AssetRegistry, mara: str) -> None:
    """A tool that watches the folder would read a file that is being written."""
    path = registry.sidecar_path(mara)
    mirror = registry.ASSETS_ROOT / "_meta/characters/mara.json"
    assert path is not None
    done = threading.Event()
    seen: list[object] = []

    def look() -> None:
        while not done.is_set():
            for each in (path, mirror):
                try:
                    seen.append(json.loads(each.read_bytes())["uid"])
                except (ValueError, OSError) as error:
                    seen.append(error)

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(60):
        registry.update_asset_meta(mara, {"text": "x" * (number * 1_000)})
    done.set()
    reader.join()

    assert set(map(str, seen)) == {mara}


# -- hand edits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["top", "meta", "both"])
@pytest.mark.parametrize("rewrite", REWRITES.values(), ids=REWRITES)
def test_hand_made_edits_survive_every_rewrite(
    registry: AssetRegistry,
    mara: str,
    make_png: Callable[..., Path],
    rewrite: Callable[[AssetRegistry, str, Path], object],
    where: str,
) -> None:
    """Tags that somebody wrote into a sidecar were ignored, then overwritten; removed ones came back."""

    def change(payload: dict[str, Any]) -> None:
        for part in [payload] * (where != "meta") + [payload["meta"]] * (where != "top"):
            part["tags"] = ["mara", "by hand"]  # "smile" is gone
        payload["meta"]["mood"] = "by hand"
        payload["meta"]["nested"]["deep"].append(3)

    edit_by_hand(registry, mara, change)

    rewrite(registry, mara, make_png())

    record, written = registry.get_asset(mara), registry.read_sidecar(mara)
    assert record is not None
    assert "by hand" in record["tags"]
    assert "smile" not in record["tags"]
    assert record["meta"]["mood"] == "by hand"
    assert record["meta"]["nested"] == {"deep": [1, 2, 3]}
    assert (written["tags"], written["meta"]) == (record["tags"], written_meta(record))
    assert [entry["uid"] for entry in registry.list_assets(tags=["by hand"])] == [mara]
    assert registry.list_assets(tags=["smile"]) == []


@pytest.mark.parametrize("rewrite", REWRITES.values(), ids=REWRITES)
def test_keys_that_we_do_not_know_are_kept_verbatim(
    registry: AssetRegistry,
    mara: str,
    make_png: Callable[..., Path],
    rewrite: Callable[[AssetRegistry, str, Path], object],
) -> None:
    """What another tool keeps in the sidecar would be thrown away."""
    theirs = {"renpy": {"tag": "mara", "attributes": ["happy"]}, "x-notes": "夏", "x-empty": None}
    edit_by_hand(registry, mara, lambda payload: payload.update(theirs))

    rewrite(registry, mara, make_png())
    registry.update_asset_meta(mara, {"tags": ["once more"]})

    written = registry.read_sidecar(mara)
    assert {key: written[key] for key in theirs} == theirs
    assert [key for key in written if key not in KEYS_IN_ORDER] == list(theirs)


def test_a_hand_edit_is_taken_in_by_ensuring_the_sidecar(registry: AssetRegistry, mara: str) -> None:
    """A hand edit would wait for the next change from elsewhere."""

    def change(payload: dict[str, Any]) -> None:
        payload.update(license="MIT", origin="found")

    edit_by_hand(registry, mara, change)

    registry.ensure_sidecar(mara)

    record = registry.get_asset(mara)
    assert record is not None
    assert (record["license"], record["meta"]["origin"]) == ("MIT", "found")
    assert [entry["uid"] for entry in registry.list_assets(license="mit")] == [mara]


def test_of_a_field_that_both_sides_changed_the_file_wins_and_ours_is_kept_in_the_journal(
    registry: AssetRegistry, mara: str
) -> None:
    """Either the hand edit or the change of the program would be lost without a trace."""

    def change(payload: dict[str, Any]) -> None:
        payload.update(license="MIT")
        payload["meta"]["artist"] = "by hand"

    edit_by_hand(registry, mara, change)

    registry.update_asset_meta(mara, {"license": "CC0-1.0", "artist": "by script", "tags": ["mara"]})

    record = registry.get_asset(mara)
    assert record is not None
    assert (record["license"], record["meta"]["artist"], record["tags"]) == ("MIT", "by hand", ["mara"])
    assert journal("asset_meta_updated")[-1]["overruled"] == {
        "license": "CC0-1.0",
        "meta.artist": "by script",
    }


def test_a_removed_key_stays_removed_whoever_removed_it(registry: AssetRegistry, mara: str) -> None:
    """A merge that only adds brings back what was deleted."""

    def change(payload: dict[str, Any]) -> None:
        del payload["meta"]["artist"]

    edit_by_hand(registry, mara, change)

    registry.bulk_update_tags([mara], remove_tags=["SMILE"], add_tags=["new"])

    record = registry.get_asset(mara)
    assert record is not None
    assert "artist" not in record["meta"]
    assert record["tags"] == ["mara", "new"]


def test_a_sidecar_edited_on_windows_is_understood(registry: AssetRegistry, mara: str) -> None:
    """An editor's byte order mark and line ends would count as broken JSON."""
    path = registry.sidecar_path(mara)
    assert path is not None
    payload = json.loads(path.read_text("utf-8"))
    payload["tags"] = payload["meta"]["tags"] = ["windows"]
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(payload, indent=4).replace("\n", "\r\n").encode())

    registry.bulk_update_tags([mara], add_tags=["new"])

    assert registry.get_asset(mara)["tags"] == ["windows", "new"]  # type: ignore[index]
    assert list(path.parent.glob("*.broken*")) == []


def test_a_hand_edit_of_facts_that_are_not_theirs_changes_nothing(registry: AssetRegistry, mara: str) -> None:
    """A mistyped path or hash would make the registry lose the file."""
    before = registry.get_asset(mara)

    def change(payload: dict[str, Any]) -> None:
        payload.update(hash="0" * 64, bytes=1, path="../../etc/passwd", type="x", version=9)

    edit_by_hand(registry, mara, change)
    registry.ensure_sidecar(mara, overwrite=True)

    assert registry.get_asset(mara) == before


# -- broken ones ----------------------------------------------------------------------------------------

BROKEN: dict[str, tuple[bytes, int, int]] = {
    "cut off": (b'{\n  "uid": "x",\n  "tags": [', 3, 12),
    "a comma too many": (b'{\n  "tags": ["a",]\n}', 2, 16),
    "a list": (b"[]\n", 1, 1),
    "empty": (b"", 1, 1),
    "text": (b"not json", 1, 1),
    "a key twice": (b'{\n  "tags": [],\n  "tags": ["a"]\n}', 2, 3),
    "not a number": (b'{"meta": {"x": NaN}}', 1, 1),
    "latin-1": (b'{\n "tags": ["caf\xe9"]}', 2, 15),
    "tags of a wrong type": (b'{"uid": null,\n  "tags": {"a": 1}}', 2, 3),
    "metadata of a wrong type": (b'{\n\n  "meta": []}', 3, 3),
    "nested too deeply": (b"[" * 100_000, 1, 1),
}


@pytest.fixture(params=BROKEN.values(), ids=BROKEN)
def broken(request: pytest.FixtureRequest, registry: AssetRegistry, mara: str) -> Iterator[tuple[Any, ...]]:
    """A sidecar that is broken: (its bytes, line, column)."""
    path = registry.sidecar_path(mara)
    assert path is not None
    path.write_bytes(request.param[0])
    return request.param


def test_a_broken_sidecar_is_reported_with_line_and_column_and_left_alone(
    registry: AssetRegistry, mara: str, broken: tuple[bytes, int, int]
) -> None:
    """A broken sidecar counted as healthy, or stopped everything without saying where it is broken."""
    data, line, column = broken
    path = registry.sidecar_path(mara)
    assert path is not None

    messages = []
    for ask in (registry.read_sidecar, registry.ensure_sidecar):
        with pytest.raises(ValueError, match="sidecar is not usable") as caught:
            ask(mara)
        messages.append(str(caught.value))

    for message in messages:
        assert message.startswith("characters/mara.png.asset.json:")
        assert message.split(":")[1] == str(line)
        assert abs(int(message.split(":")[2]) - column) <= 1
    assert path.read_bytes() == data
    assert registry.get_asset(mara)["tags"] == ["mara", "smile"]  # type: ignore[index]
    assert len(registry.list_assets()) == 1


@pytest.mark.parametrize("rewrite", REWRITES.values(), ids=REWRITES)
def test_a_broken_sidecar_is_never_overwritten_without_a_copy(
    registry: AssetRegistry,
    mara: str,
    make_png: Callable[..., Path],
    broken: tuple[bytes, int, int],
    rewrite: Callable[[AssetRegistry, str, Path], object],
) -> None:
    """One missing comma would cost all that somebody wrote by hand."""
    path = registry.sidecar_path(mara)
    assert path is not None

    rewrite(registry, mara, make_png())

    assert path.with_name(path.name + ".broken").read_bytes() == broken[0]
    written = registry.read_sidecar(mara)
    assert written["uid"] == mara
    assert written["tags"] == registry.get_asset(mara)["tags"]  # type: ignore[index]
    assert written["provenance"]["asset_uid"] == mara


def test_each_broken_state_gets_a_copy_of_its_own(registry: AssetRegistry, mara: str) -> None:
    """The second accident would overwrite the copy of the first."""
    path = registry.sidecar_path(mara)
    assert path is not None

    for number in range(3):
        path.write_text(f"broken {number}", "utf-8")
        registry.bulk_update_tags([mara], add_tags=[f"tag {number}"])

    copies = sorted(path.parent.glob("*.broken*"))
    assert [copy.read_text("utf-8") for copy in copies] == ["broken 0", "broken 1", "broken 2"]


def test_the_sidecar_of_another_asset_is_not_taken_for_ours(
    registry: AssetRegistry, mara: str, make_png: Callable[..., Path]
) -> None:
    """A sidecar copied beside the wrong picture would give it another's tags and licence."""
    other = registry.register_file(make_png("b.png", seed=2), "characters", metadata={"tags": ["other"]})
    path, theirs = registry.sidecar_path(mara), registry.sidecar_path(other["uid"])
    assert path is not None
    assert theirs is not None
    path.write_bytes(theirs.read_bytes())

    with pytest.raises(PathConflict, match=other["uid"]):
        registry.bulk_update_tags([mara], add_tags=["new"])

    assert registry.get_asset(mara)["tags"] == ["mara", "smile"]  # type: ignore[index]
    assert path.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize("blocking", ["sidecar", "mirror"])
def test_a_change_whose_sidecar_can_not_be_written_is_rolled_back(
    registry: AssetRegistry, mara: str, blocking: str
) -> None:
    """Ledger and sidecar would say different things, and nobody knows which is right."""
    sidecar = registry.sidecar_path(mara)
    mirror = registry.ASSETS_ROOT / "_meta/characters/mara.json"
    assert sidecar is not None
    before, other = registry.get_asset(mara), mirror if blocking == "sidecar" else sidecar
    untouched = other.read_bytes()
    if blocking == "sidecar":
        sidecar.unlink()
        sidecar.mkdir()
    else:
        mirror.unlink()
        mirror.parent.rmdir()
        mirror.parent.write_text("a file where the folder of mirrors should be")
    events: list[object] = []
    registry.add_hook("asset_meta_updated", events.append)

    with pytest.raises((OSError, PathConflict), match=r"mara|directory"):
        registry.update_asset_meta(mara, {"tags": ["changed"]})

    assert registry.get_asset(mara) == before
    assert other.read_bytes() == untouched
    assert events == []


def test_a_sidecar_is_put_back_without_the_provenance_of_a_registration_that_failed(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """The next rebuild would record a source that nobody was told is registered."""
    uid = registry.register_file(make_png(), "characters", provenance={"source": "first"})["uid"]
    sidecar, mirrors = registry.sidecar_path(uid), registry.ASSETS_ROOT / "_meta/characters"
    assert sidecar is not None
    before = sidecar.read_bytes()
    (mirrors / "mara.json").unlink()
    mirrors.rmdir()
    mirrors.write_text("a file where the folder of mirrors should be")

    with pytest.raises((OSError, PathConflict)):
        registry.register_file(make_png(), "characters", provenance={"source": "second"})

    assert sidecar.read_bytes() == before
    assert [row["source"] for row in registry.list_provenance(uid)] == ["first"]


def test_sidecars_written_before_a_bulk_change_failed_are_put_back_byte_for_byte(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """The first assets would keep a tag in their sidecars that the ledger does not know."""
    names = [f"{seed}.png" for seed in range(3)]
    made = [registry.register_file(make_png(names[seed], seed=seed), "characters") for seed in range(3)]
    uids = sorted(record["uid"] for record in made)  # the order in which they are changed
    sidecars = [path for path in map(registry.sidecar_path, uids) if path is not None]
    mirrors = [registry.ASSETS_ROOT / f"_meta/characters/{seed}.json" for seed in range(3)]
    kept = [path.read_bytes() for path in (*sidecars[:2], *mirrors)]
    sidecars[2].unlink()
    sidecars[2].mkdir()

    with pytest.raises((OSError, PathConflict)):
        registry.bulk_update_tags(uids, add_tags=["night"])

    assert [path.read_bytes() for path in (*sidecars[:2], *mirrors)] == kept
    sidecars[2].rmdir()
    done = registry.bulk_update_tags(uids, add_tags=["day"])
    assert [done[uid]["tags"] for uid in uids] == [["day"]] * 3


def test_a_broken_sidecar_is_the_error_that_scripts_of_older_releases_catch(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """``except json.JSONDecodeError`` around read_sidecar would stop working."""
    uid = registry.register_file(make_png(), "characters")["uid"]
    path = registry.sidecar_path(uid)
    assert path is not None
    path.write_text('{\n "tags": [}')

    with pytest.raises(json.JSONDecodeError) as caught:
        registry.read_sidecar(uid)

    assert (caught.value.lineno, caught.value.colno) == (2, 11)


def test_a_hand_edit_from_a_number_to_a_truth_value_is_taken_in(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Python holds 1 and true for equal; the edit would be dropped without a word."""
    uid = registry.register_file(make_png(), "characters", metadata={"nsfw": 1})["uid"]
    path = registry.sidecar_path(uid)
    assert path is not None
    path.write_text(path.read_text().replace('"nsfw": 1', '"nsfw": true'))

    registry.ensure_sidecar(uid)

    record = registry.get_asset(uid)
    assert record is not None
    assert record["meta"]["nsfw"] is True


def test_raised_tag_limits_hold_for_merging_too(
    open_registry: Callable[..., AssetRegistry],
    make_png: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An asset with many tags could be registered once and never again."""
    monkeypatch.setenv("COMFYVN_TAGS_PER_ASSET", "3000")
    registry, picture = open_registry(), make_png()
    many = [f"tag {number}" for number in range(2_000)]
    registry.register_file(picture, "characters", metadata={"tags": many})

    again = registry.register_file(picture, "characters", metadata={"tags": ["one more"]})

    assert again["tags"] == [*many, "one more"]


@pytest.mark.parametrize("before", ["as we wrote it", "edited", "broken", "gone"])
def test_an_edit_that_is_saved_while_ours_is_being_written_is_taken_in(
    registry: AssetRegistry, make_png: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    """It would be written over: an editor knows no lock of ours."""
    uid = registry.register_file(make_png(), "characters")["uid"]
    path, build = registry.sidecar_path(uid), registry.library._sidecar_data
    assert path is not None
    payload = registry.read_sidecar(uid)
    edits = [json.dumps({**payload, "tags": ["by hand"]})]
    if before == "edited":
        path.write_text(json.dumps({**payload, "tags": ["by"]}))
    elif before == "broken":
        path.write_text('{"tags": ["by')
    elif before == "gone":
        path.unlink()

    def save_first(asset: Asset) -> bytes:
        if edits:
            path.write_text(edits.pop())
        return build(asset)

    monkeypatch.setattr(registry.library, "_sidecar_data", save_first)

    registry.bulk_update_tags([uid], add_tags=["ours"])

    record = registry.get_asset(uid)
    assert record is not None
    assert record["tags"] == ["by hand", "ours"]
    assert registry.read_sidecar(uid)["tags"] == ["by hand", "ours"]


def test_an_edit_that_is_saved_while_one_before_is_taken_in_is_not_overlooked(
    registry: AssetRegistry, make_png: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second would be taken for the first, which needs no writing, and never be read again."""
    uid = registry.register_file(make_png(), "characters")["uid"]
    path, read = registry.sidecar_path(uid), registry.library.read_beside
    assert path is not None
    payload = registry.read_sidecar(uid)
    edits = [json.dumps({**payload, "tags": ["by hand"]})]
    path.write_text(json.dumps(payload, indent=1))  # says the same

    def save_after(key: str, base: Facts | None = None) -> Beside | None:
        found = read(key, base)
        if edits:
            path.write_text(edits.pop())
        return found

    monkeypatch.setattr(registry.library, "read_beside", save_after)
    registry.bulk_update_tags([uid], add_tags=[])
    rebuild(registry)

    record = registry.get_asset(uid)
    assert record is not None
    assert record["tags"] == registry.read_sidecar(uid)["tags"] == ["by hand"]


def test_a_sidecar_that_is_saved_while_its_file_is_registered_is_read(
    registry: AssetRegistry, make_png: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tags that an artist saved in that second would be gone."""
    uid = registry.register_file(make_png(), "characters")["uid"]
    path, file = registry.sidecar_path(uid), registry.resolve_path(uid)
    assert path is not None
    assert file is not None
    payload = registry.read_sidecar(uid)
    registry.remove_asset(uid)
    path.write_text(json.dumps({**payload, "tags": ["first"]}))
    edits, record = [json.dumps({**payload, "tags": ["by hand"]})], Registrar._record_batch

    def save_first(registrar: Registrar, batch: Any) -> Any:
        if edits:
            path.write_text(edits.pop())
        return record(registrar, batch)

    monkeypatch.setattr(Registrar, "_record_batch", save_first)
    again = registry.register_file(file, "characters", copy_file=False, metadata={"tags": ["ours"]})

    assert again["tags"] == registry.read_sidecar(uid)["tags"] == ["by hand", "ours"]
