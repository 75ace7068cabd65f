"""Another place or name for an asset: file, sidecar and mirror go together, and one undo brings them back."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from comfyvn.errors import AssetNotFound, Changed, ComfyVNError, PathConflict, UnsafePath
from comfyvn.registry.rebuild import rebuild
from comfyvn.storage import local
from comfyvn.studio.core import AssetRecord, AssetRegistry
from support import TIMEOUT_S, Answer, check_library, states_of

Make = Callable[..., Path]
Run = Callable[..., Answer]


@pytest.fixture
def mara(registry: AssetRegistry, make_png: Make) -> AssetRecord:
    """One asset with tags, a licence, provenance and its thumbnails."""
    info = registry.register_file(
        make_png(), "characters", metadata={"tags": ["mara"], "artist": "Jo"}, license_tag="CC0-1.0"
    )
    registry.wait_for_thumbnails()
    return named(registry, info["uid"])


def named(registry: AssetRegistry, uid: str) -> AssetRecord:
    record = registry.get_asset(uid)
    assert record is not None
    return record


def files(project: Path) -> set[str]:
    """Return the keys of all files of the library but our own corner's."""
    assets = project / "assets"
    return {
        path.relative_to(assets).as_posix()
        for path in assets.rglob("*")
        if path.is_file() and ".comfyvn" not in path.parts
    }


def tree(name: str) -> set[str]:
    return {f"{name}.png", f"{name}.png.asset.json", f"_meta/{name}.json"}


def test_a_moved_asset_takes_all_that_is_known_of_it_along(
    registry: AssetRegistry, mara: AssetRecord, project: Path
) -> None:
    """Else a rename would cost tags, previews or provenance, or leave a file behind."""
    content = (project / "assets/characters/mara.png").read_bytes()

    moved = registry.move_asset(mara["uid"], "people/lead/heroine.png")

    same = ("id", "uid", "type", "hash", "version", "tags", "license", "preview", "provenance", "created_at")
    assert {name: moved[name] for name in same} == {name: mara[name] for name in same}  # type: ignore[literal-required]
    assert (moved["path"], moved["sidecar"]) == (
        "people/lead/heroine.png",
        "people/lead/heroine.png.asset.json",
    )
    assert files(project) == tree("people/lead/heroine")
    assert (project / "assets/people/lead/heroine.png").read_bytes() == content
    assert json.loads((project / "assets" / moved["sidecar"]).read_text("utf-8"))["path"] == moved["path"]
    assert [each["uid"] for each in registry.list_assets(text="heroine")] == [mara["uid"]]
    assert registry.list_assets(text="characters/mara") == []
    thumb = registry.resolve_thumbnail_path(mara["uid"])
    assert thumb is not None
    assert thumb.is_file()
    registry.close()
    check_library(project)


def test_a_folder_keeps_the_name(registry: AssetRegistry, mara: AssetRecord) -> None:
    """Else moving many into a folder would need every name written out."""
    moved = registry.move_asset(mara["uid"], "people/lead/")

    assert moved["path"] == "people/lead/mara.png"


def test_a_move_is_in_the_history_and_an_undo_takes_it_back(
    registry: AssetRegistry, mara: AssetRecord, project: Path
) -> None:
    """Else a slip in a rename could be found only by searching the disk."""
    before = files(project)
    operation = registry.new_operation()

    registry.move_asset(mara["uid"], "people/heroine.png", operation=operation)
    entry = next(each for each in registry.history(mara["uid"]) if each["event"] == "asset_moved")
    undone = registry.undo(operation)
    back = files(project)
    redone = registry.undo(undone["operation"] or 0)

    assert (entry["before"], entry["operation"]) == ({"path": "characters/mara.png"}, operation)
    assert entry["after"] == {"path": "people/heroine.png", "is_ours": True}
    assert (undone["undone"], undone["refused"], undone["kept"]) == ([mara["uid"]], [], [])
    assert back == before
    assert redone["undone"] == [mara["uid"]]
    assert named(registry, mara["uid"])["path"] == "people/heroine.png"
    registry.close()
    check_library(project)


@pytest.fixture
def pair(registry: AssetRegistry, make_png: Make) -> list[str]:
    """Two assets: a.png and b.png."""
    return [
        registry.register_file(make_png(f"{name}.png", seed=seed), "characters")["uid"]
        for seed, name in enumerate(("a", "b"))
    ]


def test_moves_of_several_in_one_operation_are_undone_last_first(
    registry: AssetRegistry, pair: list[str]
) -> None:
    """Else an asset that took the name of another one would be in its way when that goes back."""
    operation, before = registry.new_operation(), states_of(registry)
    for uid, name in ((pair[0], "x"), (pair[1], "a"), (pair[1], "a2"), (pair[1], "a")):
        registry.move_asset(uid, f"characters/{name}.png", operation=operation)

    report = registry.undo(operation)

    assert report["undone"] == [pair[1], pair[0]]
    assert states_of(registry) == before


def test_assets_that_changed_names_in_one_operation_stay_and_are_named(
    registry: AssetRegistry, pair: list[str]
) -> None:
    """Else one of two would be moved over the other."""
    operation = registry.new_operation()
    for uid, name in ((pair[0], "x"), (pair[1], "a"), (pair[0], "b")):
        registry.move_asset(uid, f"characters/{name}.png", operation=operation)
    before = states_of(registry)

    report = registry.undo(operation)

    assert report["undone"] == []
    assert {each["uid"] for each in report["refused"]} == set(pair)
    assert states_of(registry) == before


def test_an_undo_of_a_move_leaves_alone_what_was_moved_since(
    registry: AssetRegistry, mara: AssetRecord
) -> None:
    """Else a later rename would be undone with an earlier one, unasked."""
    operation = registry.new_operation()
    registry.move_asset(mara["uid"], "people/one.png", operation=operation)
    registry.move_asset(mara["uid"], "people/two.png")

    report = registry.undo(operation)

    assert report["undone"] == []
    assert "it was moved since, by operation" in report["refused"][0]["why"]
    assert named(registry, mara["uid"])["path"] == "people/two.png"


def test_an_undo_never_moves_a_file_over_another(
    registry: AssetRegistry, mara: AssetRecord, project: Path
) -> None:
    """Else the undo would destroy what came to the old place since."""
    operation = registry.new_operation()
    registry.move_asset(mara["uid"], "people/heroine.png", operation=operation)
    (project / "assets/characters/mara.png").write_bytes(b"somebody's")

    report = registry.undo(operation)

    assert [each["why"] for each in report["refused"]] == ["a file lies there already; choose another name"]
    assert (project / "assets/characters/mara.png").read_bytes() == b"somebody's"
    assert named(registry, mara["uid"])["path"] == "people/heroine.png"


def test_a_move_to_where_it_is_changes_nothing(registry: AssetRegistry, mara: AssetRecord) -> None:
    """Else F2 and Enter would fill the history."""
    position = registry.journal_position()

    same = registry.move_asset(mara["uid"], "characters/")

    assert same == mara
    assert registry.journal_position() == position


@pytest.mark.parametrize("name", ["Mara.png", "MARA.PNG"])
def test_a_name_may_change_its_case_only(
    registry: AssetRegistry, mara: AssetRecord, project: Path, name: str
) -> None:
    """Else "mara" could never become "Mara"."""
    moved = registry.move_asset(mara["uid"], f"characters/{name}")

    assert moved["path"] == f"characters/{name}"
    assert {f"characters/{name}", f"characters/{name}.asset.json"} <= files(project)
    registry.close()
    check_library(project)


def test_jpg_may_become_jpeg(registry: AssetRegistry, tmp_path: Path, make_png: Make) -> None:
    """Else a rename that changes no format would be refused."""
    from PIL import Image

    source = tmp_path / "photo.jpg"
    with Image.open(make_png()) as image:
        image.convert("RGB").save(source)
    uid = registry.register_file(source, "photos")["uid"]

    assert registry.move_asset(uid, "photos/city.jpeg")["path"] == "photos/city.jpeg"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("characters/mara.jpg", "'.png'"),
        ("characters/mara", "a folder ends with a slash"),
        ("characters/mara.png.asset.json", "'.png'"),
        ("../mara.png", "'..'"),
        ("a/../../mara.png", "'..'"),
        ("/mara.png", "absolute"),
        ("C:\\mara.png", "absolute"),
        ("~/mara.png", "absolute"),
        ("_meta/mara.png", "reserved"),
        (".comfyvn/trash/mara.png", "reserved"),
        (".comfyvn/", "reserved"),
        ("", "empty"),
        ("/", "absolute"),
        ("a\0/", "NUL"),
        ("x/" * 40, "folders deep"),
    ],
)
def test_an_unsafe_place_or_another_suffix_is_refused(
    registry: AssetRegistry, mara: AssetRecord, project: Path, path: str, why: str
) -> None:
    """Else a rename could write outside the library, or make a picture of another format by its name."""
    before = files(project)

    with pytest.raises(UnsafePath, match=why):
        registry.move_asset(mara["uid"], path)

    assert files(project) == before
    assert named(registry, mara["uid"]) == mara


def test_a_name_that_some_systems_refuse_is_made_safe(registry: AssetRegistry, mara: AssetRecord) -> None:
    """Else the library could not be copied to another machine."""
    assert registry.move_asset(mara["uid"], "people/who?.png")["path"] == "people/who_.png"


@pytest.mark.parametrize(
    "what", ["file", "folder", "link", "asset", "other case", "missing asset", "sidecar"]
)
def test_nothing_is_moved_over(
    registry: AssetRegistry, mara: AssetRecord, make_png: Make, project: Path, what: str
) -> None:
    """Else a rename would destroy a file, or take another asset's name or sidecar."""
    goal = project / "assets/characters/goal.png"
    if what == "file":
        goal.write_bytes(b"somebody's")
    elif what == "folder":
        goal.mkdir()
    elif what == "link":
        goal.symlink_to(project / "nowhere")
    elif what == "sidecar":
        payload = registry.read_sidecar(mara["uid"]) | {
            "uid": "0123456789abcdef",
            "path": "characters/goal.png",
        }
        goal.with_name("goal.png.asset.json").write_text(json.dumps(payload), "utf-8")
    else:
        name = "Goal.png" if what == "other case" else "goal.png"
        other = registry.register_file(make_png(seed=2), "characters", dest_relative=f"characters/{name}")
        if what == "missing asset":
            (project / "assets" / other["path"]).unlink()
    before = files(project)

    with pytest.raises(PathConflict):
        registry.move_asset(mara["uid"], "characters/goal.png")

    assert files(project) == before
    assert named(registry, mara["uid"]) == mara


def test_a_folder_that_is_a_file_or_leads_elsewhere_is_refused(
    registry: AssetRegistry, mara: AssetRecord, project: Path, tmp_path: Path
) -> None:
    """Else an asset could leave the library through a link."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (project / "assets/way").symlink_to(outside)

    for path in ("way/mara.png", "characters/mara.png/mara.png"):
        with pytest.raises(ComfyVNError):
            registry.move_asset(mara["uid"], path)

    assert list(outside.iterdir()) == []
    assert named(registry, mara["uid"]) == mara
    assert (project / "assets/characters/mara.png").is_file()


def test_a_missing_file_can_not_be_moved(registry: AssetRegistry, mara: AssetRecord, project: Path) -> None:
    """Else the asset would belong to a place where its file has never been."""
    (project / "assets/characters/mara.png").rename(project / "away.png")

    with pytest.raises(PathConflict, match="comfyvn rebuild"):
        registry.move_asset(mara["uid"], "people/heroine.png")

    assert named(registry, mara["uid"])["path"] == "characters/mara.png"


def test_hand_edits_go_along(registry: AssetRegistry, mara: AssetRecord, project: Path) -> None:
    """Else what somebody wrote into the sidecar would be lost by a rename."""
    path = project / "assets" / mara["sidecar"]
    path.write_text(path.read_text("utf-8").replace('"CC0-1.0"', '"MIT"'), "utf-8")

    moved = registry.move_asset(mara["uid"], "people/heroine.png")

    assert moved["license"] == "MIT"
    assert registry.read_sidecar(mara["uid"])["license"] == "MIT"
    assert files(project) == tree("people/heroine")


def test_a_broken_sidecar_keeps_its_asset_where_it_is(
    registry: AssetRegistry, mara: AssetRecord, project: Path
) -> None:
    """Else the words in it would be left behind beside no file."""
    (project / "assets" / mara["sidecar"]).write_text("{", "utf-8")

    with pytest.raises(ComfyVNError, match="not usable"):
        registry.move_asset(mara["uid"], "people/heroine.png")

    assert (project / "assets/characters/mara.png").is_file()


def test_a_repainted_file_is_moved_and_noticed_afterwards(
    registry: AssetRegistry, mara: AssetRecord, make_png: Make, project: Path
) -> None:
    """Else a move would hide from the next rebuild that the content is another one."""
    (project / "assets/characters/mara.png").write_bytes(make_png("new.png", seed=9).read_bytes())

    registry.move_asset(mara["uid"], "people/heroine.png")
    report = rebuild(registry)

    assert [each["uid"] for each in report.content_changed] == [mara["uid"]]
    assert named(registry, mara["uid"])["version"] == 2


def test_what_somebody_else_changed_is_not_moved_unseen(registry: AssetRegistry, mara: AssetRecord) -> None:
    """Else `if_match` would hold for edits only."""
    with pytest.raises(Changed):
        registry.move_asset(mara["uid"], "people/", if_match=lambda now: now["license"] == "MIT")
    with pytest.raises(AssetNotFound):
        registry.move_asset("0123456789abcdef", "people/")

    assert named(registry, mara["uid"]) == mara


def test_a_move_whose_commit_fails_leaves_everything_in_its_place(
    registry: AssetRegistry, mara: AssetRecord, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a full disk would leave the file at one place and the ledger at another."""
    before = {key: (project / "assets" / key).read_bytes() for key in files(project)}
    gone = OSError(28, "No space left on device")

    def fail(*_: object) -> str:
        raise gone

    from comfyvn.db.ledger import Writer

    monkeypatch.setattr(Writer, "record", fail)
    with pytest.raises(OSError, match="No space"):
        registry.move_asset(mara["uid"], "people/heroine.png")
    monkeypatch.undo()

    assert {key: (project / "assets" / key).read_bytes() for key in files(project)} == before
    assert named(registry, mara["uid"]) == mara


def test_where_the_system_can_not_rename_in_one_step_a_move_works_too(
    registry: AssetRegistry, mara: AssetRecord, make_png: Make, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else assets on a network drive or a Mac could not be moved, or would be moved over others."""
    monkeypatch.setattr(local, "_renameat2", lambda: None)
    other = registry.register_file(make_png(seed=2), "characters", dest_relative="characters/other.png")
    (project / "assets/characters/file.png").write_bytes(b"somebody's")

    with pytest.raises(PathConflict):
        registry.move_asset(other["uid"], "characters/file.png")
    moved = registry.move_asset(mara["uid"], "people/heroine.png")

    assert moved["path"] == "people/heroine.png"
    assert (project / "assets/characters/file.png").read_bytes() == b"somebody's"
    assert not (project / "assets/characters/mara.png").exists()


def test_a_second_name_of_the_same_file_is_not_moved_over(
    registry: AssetRegistry, mara: AssetRecord, project: Path
) -> None:
    """Else a hard link that differs in case would be taken for a disk that does not tell cases apart."""
    folder = project / "assets/characters"
    (folder / "Mara.png").hardlink_to(folder / "mara.png")

    with pytest.raises(PathConflict):
        registry.move_asset(mara["uid"], "characters/Mara.png")

    assert {"mara.png", "Mara.png"} <= {path.name for path in folder.iterdir()}
    assert named(registry, mara["uid"]) == mara


# -- a disk that does not tell cases apart ----------------------------------------------------------------


@pytest.fixture
def careless_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder in which ``Mara`` and ``mara`` are one name."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m,casefold", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, timeout=TIMEOUT_S, check=False)
    except OSError:
        pytest.skip("there is no mount here")
    if done.returncode != 0:
        pytest.skip("a disk that folds case can't be mounted here: needs Linux 6.13 and the right to mount")
    try:
        folded = place / "folded"
        folded.mkdir()
        if subprocess.run(["chattr", "+F", str(folded)], capture_output=True, check=False).returncode != 0:
            pytest.skip("chattr can't make a folder fold case here")
        yield folded
    finally:
        subprocess.run(["umount", "-l", str(place)], timeout=TIMEOUT_S, check=True)


def test_on_a_disk_that_folds_case_a_name_may_change_its_case_too(
    careless_disk: Path, make_png: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else on Windows or a Mac "mara" could never become "Mara", or would lose its sidecar by that."""
    monkeypatch.chdir(careless_disk)
    with AssetRegistry(durability="off") as registry:
        uid = registry.register_file(make_png(), "characters", metadata={"tags": ["mara"]})["uid"]
        registry.wait_for_thumbnails()
        other = registry.register_file(make_png("other.png", seed=2), "characters")["uid"]

        moved = registry.move_asset(uid, "characters/Mara.png")
        with pytest.raises(PathConflict):
            registry.move_asset(other, "characters/MARA.png")

        assert moved["path"] == "characters/Mara.png"
        assert "Mara.png" in {path.name for path in (careless_disk / "assets/characters").iterdir()}
        assert registry.read_sidecar(uid)["path"] == "characters/Mara.png"
        report = rebuild(registry).as_dict()
    assert [report[name] for name in ("missing", "moved", "conflicts", "failed")] == [[], [], [], []]


# -- the command ------------------------------------------------------------------------------------------


def test_the_command_moves_by_any_name_and_tells_how_to_undo_it(
    run: Run, registry: AssetRegistry, mara: AssetRecord
) -> None:
    """Else only programs could rename."""
    said = run("move", "characters/mara.png", "people/")
    there = named(registry, mara["uid"])["path"]
    undone = run("undo", said.operation)
    told = run("move", mara["uid"][:6], "people/heroine.png", "--json").document

    assert (said.code, there) == (0, "people/mara.png")
    assert "people/mara.png" in said.out
    assert undone.code == 0
    assert told["asset"]["path"] == "people/heroine.png"
    assert told["operation"] == registry.operations(limit=1)[0]["operation"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("nobody", "people/"), 3),
        (("characters/mara.png", "../x.png"), 4),
        (("characters/mara.png", "people/mara.jpg"), 4),
        (("characters/mara.png",), 2),
    ],
)
def test_the_command_refuses_with_a_sentence(
    run: Run, registry: AssetRegistry, mara: AssetRecord, arguments: tuple[str, ...], code: int
) -> None:
    """Else a script could not tell a typing error from a move."""
    said = run("move", *arguments)

    assert said.code == code
    assert "Traceback" not in said.err
    assert named(registry, mara["uid"])["path"] == "characters/mara.png"
