"""Where a file may lie: names made safe, names that clash, and ways out of the library that stay shut."""

import io
import json
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from comfyvn import media
from comfyvn.studio.core import AssetRegistry

DESTINATIONS_REFUSED = {
    "absolute": "/etc/passwd.png",
    "absolute by backslash": "\\windows\\mara.png",
    "a drive": "C:/art/mara.png",
    "a drive, relative to its folder": "c:mara.png",
    "a network share": "//server/share/mara.png",
    "a home": "~/mara.png",
    "up at once": "../mara.png",
    "up later": "characters/../../mara.png",
    "up and back in": "characters/../mara.png",
    "up by backslash": "characters\\..\\..\\mara.png",
    "up with spaces": "characters/.. /mara.png",
    "only up": "..",
    "the mirrors": "_meta/mara.png",
    "the mirrors in capitals": "_META/mara.png",
    "the mirrors behind a dot": "./_meta/x/mara.png",
    "our own folder": ".comfyvn/staging/mara.png",
    "our own folder itself": ".comfyvn",
    "a folder": "characters/",
    "here": ".",
    "nothing": "",
    "blank": "  ",
    "a NUL": "characters/ma\0ra.png",
    "too deep": "/".join(["d"] * 40) + "/mara.png",
}
TYPES_REFUSED = {
    "empty": "",
    "blank": "   ",
    "a path": "characters/heroes",
    "a path by backslash": "characters\\heroes",
    "up": "..",
    "here": ".",
    "absolute": "/etc",
    "a drive": "C:",
    "the mirrors": "_meta",
    "our own folder": ".comfyvn",
    "hidden": ".git",
    "a control character": "char\nacters",
    "a NUL": "char\0acters",
    "a lone surrogate": "char\ud800",
    "too long": "x" * 101,
    "a trailing dot": "characters.",
    "bytes": b"characters",
    "nothing": None,
    "a number": 5,
}


def everything(project: Path) -> dict[str, bytes | None]:
    """Return every file of the assets and cache folders with its content."""
    return {
        str(path.relative_to(project)): path.read_bytes()
        if path.is_file() and not path.is_symlink()
        else None
        for folder in (project / "assets", project / "cache")
        for path in sorted(folder.rglob("*"))
    }


def stripped(path: Path) -> bytes:
    sink = io.BytesIO()
    with path.open("rb") as file:
        media.strip(file, sink)
    return sink.getvalue()


def place(project: Path, key: str, content: bytes) -> Path:
    path = project / "assets" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# -- clashes --------------------------------------------------------------------------------------------


def test_registering_a_second_file_of_the_same_name_keeps_both(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """The second file would overwrite the first, and somebody loses a picture."""
    one, two = make_png("a/mara.png", seed=1), make_png("b/mara.png", seed=2)

    first = registry.register_file(one, "characters", metadata={"tags": ["one"]})
    second = registry.register_file(two, "characters", metadata={"tags": ["two"]})

    assert first["path"] == "characters/mara.png"
    assert second["path"] == f"characters/mara-{second['uid'][:8]}.png"
    assert stripped(project / "assets" / first["path"]) == one.read_bytes()
    assert stripped(project / "assets" / second["path"]) == two.read_bytes()
    assert [registry.read_sidecar(each["uid"])["tags"] for each in (first, second)] == [["one"], ["two"]]


def test_ten_files_of_one_name_are_ten_files(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """The third clash would be solved worse than the second."""
    sources = [make_png(f"{seed}/mara.png", seed=seed) for seed in range(10)]

    results = list(registry.register_many({"source_path": s, "asset_type": "characters"} for s in sources))

    paths = [result["asset"]["path"] for result in results if result["asset"]]
    assert len(set(paths)) == 10
    assert [stripped(project / "assets" / path) for path in paths] == [s.read_bytes() for s in sources]


def test_an_unregistered_file_of_the_same_name_is_never_overwritten(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A file of the user that nobody registered yet would be lost."""
    theirs = place(project, "characters/mara.png", b"hours of work")
    source = make_png()

    info = registry.register_file(source, "characters")

    assert theirs.read_bytes() == b"hours of work"
    assert info["path"] == f"characters/mara-{info['uid'][:8]}.png"
    assert stripped(project / "assets" / info["path"]) == source.read_bytes()


def test_an_unregistered_file_of_the_same_content_is_adopted(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """What a killed run has left would stay an orphan, and the file lie there twice."""
    source = make_png()
    theirs = place(project, "characters/mara.png", source.read_bytes())

    info = registry.register_file(source, "characters")

    assert info["path"] == "characters/mara.png"
    assert [path.name for path in theirs.parent.iterdir() if path.suffix == ".png"] == ["mara.png"]


@pytest.mark.parametrize("kind", ["a folder", "a dangling link", "a link to a file"])
def test_whatever_lies_at_the_name_stays_there(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    """A folder or a link of the user would be replaced, or written through."""
    spot = project / "assets/characters/mara.png"
    target = tmp_path / "target.png"
    spot.parent.mkdir(parents=True)
    if kind == "a folder":
        spot.mkdir()
    else:
        spot.symlink_to(target)
    if kind == "a link to a file":
        target.write_bytes(make_png().read_bytes())

    info = registry.register_file(make_png(), "characters")

    assert info["path"] == f"characters/mara-{info['uid'][:8]}.png"
    assert spot.is_dir() or spot.readlink() == target
    assert target.exists() == (kind == "a link to a file")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Mara.png", "mara.PNG"),
        (unicodedata.normalize("NFC", "Zoë.png"), unicodedata.normalize("NFD", "zoë.png")),
        ("STRASSE.png", "straße.png"),
        ("Ωmega.png", "ωmega.png"),
    ],
)
def test_names_that_another_system_folds_together_get_two_names(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path], first: str, second: str
) -> None:
    """Copied to Windows or macOS, one file would overwrite the other."""
    one = registry.register_file(make_png(f"a/{first}", seed=1), "characters")
    two = registry.register_file(make_png(f"b/{second}", seed=2), "characters")

    folded = {unicodedata.normalize("NFC", each["path"]).casefold() for each in (one, two)}
    assert len(folded) == 2
    assert two["uid"][:8] in two["path"]
    assert (project / "assets" / two["path"]).is_file()


def test_a_name_in_another_unicode_form_is_kept_in_one_form(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A key written on macOS would not be found on Linux."""
    source = make_png(unicodedata.normalize("NFD", "Zoë.png"))

    info = registry.register_file(source, "characters")

    assert info["path"] == unicodedata.normalize("NFC", "characters/Zoë.png")


def test_the_name_of_a_missing_file_is_not_given_to_another(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A file that is gone for a moment would find a stranger in its place."""
    one = registry.register_file(make_png("a/mara.png", seed=1), "characters")
    registry.resolve_path(one["uid"]).unlink()  # type: ignore[union-attr]

    two = registry.register_file(make_png("b/mara.png", seed=2), "characters")

    assert two["path"] != one["path"]
    assert registry.read_sidecar(one["uid"])["uid"] == one["uid"]


def test_a_sidecar_that_belongs_to_nobody_yet_is_not_overwritten(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Notes that somebody wrote before would be lost."""
    theirs = place(project, "characters/mara.png.asset.json", b'{"uid": "0123456789abcdef", "tags": ["x"]}')

    info = registry.register_file(make_png(), "characters")

    assert theirs.read_bytes() == b'{"uid": "0123456789abcdef", "tags": ["x"]}'
    assert info["path"] == f"characters/mara-{info['uid'][:8]}.png"


@pytest.mark.parametrize("name", ["mara.png.asset.json", "mara.png.ASSET.JSON", "mara.png.asset.json "])
def test_a_file_named_like_a_sidecar_does_not_become_one(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    """The sidecar of another asset would be overwritten by a picture's neighbour."""
    mara = registry.register_file(make_png(), "characters", metadata={"tags": ["mara"]})
    before = (project / "assets" / mara["sidecar"]).read_bytes()
    source = tmp_path / name
    source.write_bytes(b'{"not": "a sidecar"}')

    info = registry.register_file(source, "characters")

    assert (project / "assets" / mara["sidecar"]).read_bytes() == before
    assert (project / "assets" / info["path"]).read_bytes() == b'{"not": "a sidecar"}'
    assert not info["path"].casefold().endswith(".asset.json")
    assert info["meta"]["original_name"] == name


def test_a_sidecar_can_not_be_registered_in_place(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A sidecar would become an asset with a sidecar of its own."""
    mara = registry.register_file(make_png(), "characters")
    sidecar = registry.sidecar_path(mara["uid"])
    assert sidecar is not None

    with pytest.raises(ValueError, match="a sidecar can't be an asset"):
        registry.register_file(sidecar, "characters", copy_file=False)

    assert registry.count_assets() == 1


@pytest.mark.parametrize("folder", ["_meta/characters", ".comfyvn/trash"])
def test_a_file_in_one_of_our_own_folders_can_not_be_registered_in_place(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path], folder: str
) -> None:
    """A mirror or a trashed file would become an asset."""
    source = place(project, f"{folder}/mara.png", make_png().read_bytes())

    with pytest.raises(ValueError, match="reserved"):
        registry.register_file(source, "characters", copy_file=False)

    assert registry.count_assets() == 0


def test_the_mirrors_of_two_files_of_one_stem_are_both_kept(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path], tmp_path: Path
) -> None:
    """The mirror of ``a.jpg`` would overwrite that of ``a.png``, and old tools see one asset less."""
    png = registry.register_file(make_png("a.png"), "characters", metadata={"tags": ["png"]})
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff a photograph")
    jpg = registry.register_file(tmp_path / "a.jpg", "characters", metadata={"tags": ["jpg"]})
    registry.wait_for_thumbnails()

    registry.update_asset_meta(jpg["uid"], {"tags": ["changed"]})
    registry.update_asset_meta(png["uid"], {"tags": ["changed too"]})

    mirrors = project / "assets/_meta/characters"
    read = {path.name: json.loads(path.read_text("utf-8")) for path in mirrors.iterdir()}
    assert {name: mirror["uid"] for name, mirror in read.items()} == {
        "a.json": png["uid"],
        "a.jpg.json": jpg["uid"],
    }
    assert read["a.json"]["tags"] == ["changed too"]
    assert read["a.jpg.json"]["tags"] == ["changed"]


def test_a_folder_named_like_a_sidecar_or_a_mirror_is_walked_around(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A folder of the user would stop the registration, or be replaced."""
    sidecar = project / "assets/characters/mara.png.asset.json"
    mirror = project / "assets/_meta/characters/yuki.json"
    for folder in (sidecar, mirror):
        folder.mkdir(parents=True)

    mara = registry.register_file(make_png("mara.png", seed=1), "characters")
    yuki = registry.register_file(make_png("yuki.png", seed=2), "characters")

    assert mara["path"] == f"characters/mara-{mara['uid'][:8]}.png"
    assert yuki["path"] == "characters/yuki.png"
    assert json.loads(Path(f"{mirror.parent}/yuki.png.json").read_text("utf-8"))["uid"] == yuki["uid"]
    assert sidecar.is_dir()
    assert mirror.is_dir()


@pytest.mark.parametrize("folder", ["assets/characters", "assets/_meta/characters"])
def test_a_file_where_a_folder_should_be_is_an_error_that_says_so(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path], folder: str
) -> None:
    """The search for a free name would never end, or the user's file would be replaced by a folder."""
    blocking = project / folder
    blocking.parent.mkdir(exist_ok=True)
    blocking.write_text("not a folder", "utf-8")

    with pytest.raises((OSError, ValueError), match="characters"):
        registry.register_file(make_png(), "characters")

    assert blocking.read_text("utf-8") == "not a folder"
    assert registry.count_assets() == 0
    assert list((project / "assets").rglob("mara*")) == []


# -- places asked for -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "key"),
    [
        ("characters/mara/happy.png", "characters/mara/happy.png"),
        (Path("characters/mara/happy.png"), "characters/mara/happy.png"),
        ("characters\\mara\\happy.png", "characters/mara/happy.png"),
        ("./characters//happy.png", "characters/happy.png"),
        ("happy.png", "happy.png"),
        ("кадры/夏/🌻.png", "кадры/夏/🌻.png"),
    ],
)
def test_a_file_goes_to_the_place_that_was_asked_for(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path], wanted: str | Path, key: str
) -> None:
    """The files of a library could not be arranged."""
    info = registry.register_file(make_png(), "characters", dest_relative=wanted)

    assert info["path"] == key
    assert info["type"] == "characters"
    assert (project / "assets" / key).is_file()
    assert (project / "assets" / f"{key}.asset.json").is_file()
    assert (project / "assets/_meta" / key).with_suffix(".json").is_file()


@pytest.mark.parametrize("wanted", DESTINATIONS_REFUSED.values(), ids=DESTINATIONS_REFUSED)
def test_a_place_that_is_not_inside_is_refused_and_nothing_written(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path], wanted: str
) -> None:
    """A name could overwrite any file of the user, or the registry's own."""
    registry.register_file(make_png("first.png", seed=2), "characters")
    registry.wait_for_thumbnails()
    before = everything(project)

    with pytest.raises(ValueError, match=r"path|name|folder"):
        registry.register_file(make_png(), "characters", dest_relative=wanted)

    assert everything(project) == before
    assert registry.count_assets() == 1
    assert sorted(path.name for path in project.iterdir()) == ["assets", "cache", "comfyvn"]


@pytest.mark.parametrize("asset_type", TYPES_REFUSED.values(), ids=TYPES_REFUSED)
def test_a_type_that_is_no_plain_folder_name_is_refused_and_nothing_written(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path], asset_type: str
) -> None:
    """An absolute type, or one with ``..``, wrote outside the assets folder."""
    before = everything(project)

    with pytest.raises(ValueError, match="can't be an asset type"):
        registry.register_file(make_png(), asset_type)

    assert everything(project) == before
    assert registry.count_assets() == 0


@pytest.mark.parametrize("wanted", [5, b"a.png", ["a.png"]])
def test_a_place_that_is_no_path_is_refused(
    registry: AssetRegistry, make_png: Callable[..., Path], wanted: object
) -> None:
    """Something like ``b'a.png'`` would become a file name."""
    with pytest.raises(ValueError, match="must be a path"):
        registry.register_file(make_png(), "characters", dest_relative=wanted)  # type: ignore[arg-type]

    assert registry.count_assets() == 0


@pytest.mark.parametrize("kind", ["type", "nested", "dangling"])
def test_a_linked_folder_does_not_lead_out_of_the_library(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    """A link in the assets folder would let files be written anywhere."""
    outside = tmp_path / "outside"
    if kind != "dangling":
        outside.mkdir()
    link = project / "assets" / ("characters/deep" if kind == "nested" else "characters")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside)
    wanted = "characters/deep/deeper/mara.png" if kind == "nested" else None

    with pytest.raises(ValueError, match="outside the assets folder"):
        registry.register_file(make_png(), "characters", dest_relative=wanted)

    assert registry.count_assets() == 0
    assert not outside.exists() or not list(outside.iterdir())
    assert [path for path in (project / "assets").rglob("*") if path.name.startswith("mara")] == []


def test_a_folder_that_becomes_a_link_between_two_registrations_leads_nowhere(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path], tmp_path: Path
) -> None:
    """What was seen to be a folder of the library once would be trusted for good."""
    known = registry.register_file(make_png("first.png", seed=2), "characters")["uid"]
    registry.wait_for_thumbnails()
    outside = tmp_path / "outside"
    (project / "assets/characters").rename(outside)
    (project / "assets/characters").symlink_to(outside)
    before = everything(outside)

    with pytest.raises(ValueError, match="outside the assets folder"):
        registry.register_file(make_png(), "characters")
    [result] = registry.register_many([{"source_path": make_png(), "asset_type": "characters"}])
    with pytest.raises(ValueError, match="outside the assets folder"):
        registry.bulk_update_tags([known], add_tags=["night"])

    assert result["status"] == "failed"
    assert everything(outside) == before
    assert registry.count_assets() == 1


def test_a_linked_folder_inside_the_library_is_fine(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A library arranged with links of its own could not be used."""
    (project / "assets/heroes").mkdir(parents=True)
    (project / "assets/characters").symlink_to("heroes")

    info = registry.register_file(make_png(), "characters")

    assert (project / "assets" / info["path"]).is_file()
    assert (project / "assets/heroes/mara.png").is_file()


# -- names made safe ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("ma\nra.png", "ma_ra.png"),
        ("ma\x1b[31mra.png", "ma_[31mra.png"),
        ("ma\u202egnp.png", "ma_gnp.png"),
        ("what?.png", "what_.png"),
        ('a<b>c:"d|e*.png', "a_b_c__d_e_.png"),
        ("CON.png", "_CON.png"),
        ("nul", "_nul"),
        ("com1.tar.png", "_com1.tar.png"),
        ("mara.png. ", "mara.png"),
        (" mara.png", "mara.png"),
        ("...", "_"),
    ],
)
def test_a_name_that_some_system_refuses_is_made_safe_and_remembered(
    project: Path, registry: AssetRegistry, tmp_path: Path, name: str, safe: str
) -> None:
    """The library could not be copied to another system, or a terminal be fooled by a name."""
    source = tmp_path / "art" / name
    source.parent.mkdir()
    source.write_bytes(b"some content")

    info = registry.register_file(source, "characters")

    assert info["path"] == f"characters/{safe}"
    assert (project / "assets/characters" / safe).read_bytes() == b"some content"
    assert info["meta"]["original_name"] == name
    assert registry.read_sidecar(info["uid"])["meta"]["original_name"] == name


def test_a_name_that_is_no_text_is_made_safe(
    registry: AssetRegistry, make_png: Callable[..., Path], tmp_path: Path
) -> None:
    """A file from an old disk could not be registered, or break every later list."""
    source = tmp_path / os.fsdecode(b"caf\xe9.png")
    source.write_bytes(make_png().read_bytes())

    info = registry.register_file(source, "characters")

    assert info["path"] == "characters/caf_.png"
    assert json.loads(json.dumps(registry.list_assets()))[0]["path"] == info["path"]


def test_overlong_names_are_cut_but_stay_apart_and_keep_their_suffix(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A name could fit a disk, but not with what we add to it; or two names become one."""
    names = ["夏" * 80 + f"{number}.png" for number in (1, 2)]
    sources = [make_png(f"{number}.png", seed=number) for number in (1, 2)]

    infos = [
        registry.register_file(source, "characters", dest_relative=f"characters/{name}")
        for source, name in zip(sources, names, strict=True)
    ]

    for info, name in zip(infos, names, strict=True):
        assert info["path"].endswith(".png")
        assert len(info["path"].rpartition("/")[2].encode()) <= 200
        assert info["meta"]["original_name"] == name
        assert (project / "assets" / info["sidecar"]).is_file()
    assert infos[0]["path"] != infos[1]["path"]


def test_a_name_that_needs_no_change_is_not_remembered_twice(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Every asset would carry a key that says nothing."""
    info = registry.register_file(make_png("мара 夏.png"), "characters")

    assert info["path"] == "characters/мара 夏.png"
    assert "original_name" not in info["meta"]
