"""Eagle libraries."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyvn.errors import ImportFailed
from comfyvn.importers import ImportAdapter
from comfyvn.importers.eagle import EagleAdapter
from importing import Look, picture, tree, write

ADAPTER = EagleAdapter()
DOG = {"id": "DOG", "name": "dog", "children": [], "tags": [], "password": ""}
FOLDERS = [
    {"id": "VIDEO", "name": "video", "description": "", "children": []},
    {"id": "ANIMAL", "name": "animal", "children": [DOG]},
]


@pytest.fixture
def library(tmp_path: Path) -> Path:
    return make(tmp_path / "Art.library", FOLDERS)


def make(path: Path, folders: object) -> Path:
    header = {
        "folders": folders,
        "smartFolders": [],
        "quickAccess": [],
        "tagsGroups": [{"id": "G", "name": "group", "tags": ["Bird"]}],
        "modificationTime": 1760231728179,
        "applicationVersion": "4.0.0",
    }
    write(path / "metadata.json", json.dumps(header))
    (path / "images").mkdir()
    return path


def add(library: Path, key: str, **said: Any) -> Path:
    """Add an item as Eagle saves it, with a preview; return its folder."""
    known = {
        "id": key,
        "name": "bird",
        "size": 63785,
        "btime": 1756571097667,
        "mtime": 1756571097667,
        "ext": "png",
        "tags": [],
        "folders": [],
        "isDeleted": False,
        "url": "",
        "annotation": "",
        "modificationTime": 1760228118908,
        "height": 960,
        "width": 640,
        "lastModified": 1760232756999,
        "palettes": [{"color": [221, 218, 210], "ratio": 51}],
        **said,
    }
    folder = library / f"images/{key}.info"
    write(folder / "metadata.json", json.dumps(known))
    write(folder / f"{known['name']}.{known['ext']}", picture(len(key)))
    write(folder / f"{known['name']}_thumbnail.png", picture(99))
    return folder


def test_it_is_an_adapter():
    """The framework would refuse to load it."""
    assert isinstance(ADAPTER, ImportAdapter)
    assert ADAPTER.name == "eagle"


def test_an_item_comes_with_tags_stars_note_and_origin(library):
    """What somebody has sorted for years would be a heap of files."""
    said = {
        "tags": ["Animal", "Bird"],
        "star": 4,
        "annotation": "for the\nintro",
        "url": "https://example.com/1",
    }
    add(library, "MGM1", name="blue bird", **said)

    item = Look(ADAPTER, library).only("images/MGM1.info/blue bird.png")

    assert (item.asset_type, item.name) == ("images", "blue bird.png")
    assert item.tags == ("Animal", "Bird")
    assert item.license is None
    assert item.metadata == {
        "rating": 4,
        "annotation": "for the\nintro",
        "origin": "https://example.com/1",
        "title": "blue bird",
    }
    assert item.provenance == {"source": "Eagle", "inputs": {"item": "MGM1"}}


def test_folders_are_tags_and_the_first_is_the_place(library):
    """Eagle's folders are no folders on disk: what lay together would be strewn."""
    add(library, "MGM1", tags=["Dog"], folders=["DOG", "VIDEO", "GONE", 3])

    item = Look(ADAPTER, library).only("images/MGM1.info/bird.png")

    assert item.tags == ("Dog", "animal", "video")
    assert item.name == "animal/dog/bird.png"


def test_folders_need_not_be_tags(library):
    """Who has both folders and tags would get the same twice."""
    add(library, "MGM1", folders=["DOG"])

    item = Look(ADAPTER, library, settings={"folder_tags": False}).only("images/MGM1.info/bird.png")

    assert (item.tags, item.name) == ((), "animal/dog/bird.png")


def test_the_trash_and_bookmarks_are_left_out_with_the_reason(library):
    """What somebody threw away would come back; a bookmark's preview would pass for a picture."""
    add(library, "TRASH", isDeleted=True)
    bookmark = add(library, "MARK", ext="url", url="https://example.com")
    (bookmark / "bird.url").unlink()

    look = Look(ADAPTER, library)

    assert look.all() == []
    assert sorted(look.skipped.items()) == [
        ("images/MARK.info/metadata.json", ["a bookmark of Eagle, which has no file"]),
        ("images/TRASH.info/bird.png", ["it lies in the trash of the Eagle library"]),
    ]


def test_previews_are_no_assets(library):
    """Each picture would be there twice."""
    add(library, "MGM1")

    assert [item.path.name for item in Look(ADAPTER, library).all()] == ["bird.png"]


def test_a_picture_with_the_name_of_a_preview_is_found(library):
    """An item would be lost because of its name."""
    folder = add(library, "MGM1", name="my_thumbnail")
    (folder / "my_thumbnail_thumbnail.png").unlink()

    assert [item.path.name for item in Look(ADAPTER, library).all()] == ["my_thumbnail.png"]


def test_among_several_files_the_named_one_counts(library):
    """A file that another program has left there would be taken for the item."""
    write(add(library, "MGM1") / "bird.psd", b"8BPS")

    assert [item.path.name for item in Look(ADAPTER, library).all()] == ["bird.png"]


def test_a_file_that_is_named_otherwise_on_disk_is_found(library):
    """Eagle shortens names that a system refuses."""
    folder = add(library, "MGM1")
    said = json.loads((folder / "metadata.json").read_text())
    write(folder / "metadata.json", json.dumps({**said, "name": "what? a bird"}))

    item = Look(ADAPTER, library).only("images/MGM1.info/bird.png")

    assert item.metadata["title"] == "what? a bird"


@pytest.mark.parametrize("star", [None, -1, 6, 2.5, True, "4", [], 10**30])
def test_stars_that_are_none_are_left_out(library, star):
    """A rating that the library does not know would be there and never found."""
    add(library, "MGM1", star=star)

    assert "rating" not in Look(ADAPTER, library).only("images/MGM1.info/bird.png").metadata


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "no JSON"),
        (b"[]", "does not describe an item"),
        (b"[" * 100_000, "nested too deeply"),
        (b" " * (5 << 20), "larger than 4 MiB"),
        (None, "isn't there"),
    ],
    ids=["cut", "list", "deep", "huge", "missing"],
)
def test_an_item_that_can_not_be_read_costs_itself(library, content, why):
    """One bad file would end the batch."""
    bad = add(library, "BAD")
    (bad / "metadata.json").unlink()
    if content is not None:
        write(bad / "metadata.json", content)
    add(library, "GOOD")

    look = Look(ADAPTER, library)

    assert why in look.failed["images/BAD.info/bird.png"]
    assert list(look.items) == ["images/GOOD.info/bird.png"]


def test_an_item_whose_file_is_gone_says_so(library):
    """It would vanish without a word."""
    (add(library, "MGM1") / "bird.png").unlink()

    look = Look(ADAPTER, library)

    assert "isn't in it" in look.failed["images/MGM1.info/metadata.json"]


def test_paths_and_links_lead_nowhere(library, tmp_path):
    """A library could make somebody's own files into assets."""
    write(tmp_path / "secret.png", picture())
    away = add(library, "AWAY", name="../../../secret")
    (away / "bird.png").unlink(missing_ok=True)
    link = add(library, "LINK")
    (link / "bird.png").unlink()
    (link / "bird.png").symlink_to(tmp_path / "secret.png")
    meta = add(library, "META")
    (meta / "metadata.json").unlink()
    (meta / "metadata.json").symlink_to(write(tmp_path / "secret.json", "{}"))
    (library / "images/FOLDER.info").symlink_to(tmp_path)

    look = Look(ADAPTER, library)

    assert look.all() == []
    assert "leads out of" in look.failed["images/LINK.info/bird.png"]
    assert "leads out of" in look.failed["images/META.info/bird.png"]


def test_names_of_folders_lead_nowhere(tmp_path):
    """They become the asset's place."""
    library = make(tmp_path / "a.library", [{"id": "X", "name": "../../etc"}, {"id": "Y", "name": ".."}])
    add(library, "A", folders=["X"])
    add(library, "BB", folders=["Y"])

    look = Look(ADAPTER, library)

    assert sorted(item.name for item in look.all()) == ["_.._etc/bird.png", "unnamed/bird.png"]


def test_a_deep_tree_of_folders_comes_to_an_end(tmp_path):
    """A tree that another program has written could be deeper than the stack."""
    tree_of_folders: list[object] = []
    for at in range(400):
        tree_of_folders = [{"id": str(at), "name": f"f{at}", "children": tree_of_folders}]
    library = make(tmp_path / "a.library", tree_of_folders)
    add(library, "A", folders=["399", "0"])

    assert Look(ADAPTER, library).all()[0].tags == ("f399",)


@settings(deadline=None)  # the first one loads much
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "name", "children"]), inner)
        ),
    )
)
def test_values_of_any_type_never_raise(tmp_path_factory, value):
    """An item with a number for its tags would end the batch."""
    library = make(tmp_path_factory.mktemp("any") / "a.library", [value, *FOLDERS])
    folder = add(library, "A")
    said = dict.fromkeys(("name", "ext", "tags", "folders", "url", "annotation", "star", "isDeleted"), value)
    write(folder / "metadata.json", json.dumps(said))
    write(folder / "other.png", picture())

    Look(ADAPTER, library)


@pytest.mark.parametrize("content", ["[]", "{", '{"folders": 3}', None])
def test_what_is_no_library_is_refused(tmp_path, content):
    """Folders of any kind would be taken for an empty library."""
    (tmp_path / "x.library/images").mkdir(parents=True)
    if content is not None:
        write(tmp_path / "x.library/metadata.json", content)

    with pytest.raises(ImportFailed, match=r"Eagle library|no JSON"):
        Look(ADAPTER, tmp_path / "x.library")


def test_tags_and_rules_choose_the_type(library):
    """All pictures would be of one type, though their tags say what they are for."""
    add(library, "A", tags=["Background"])
    add(library, "BB", folders=["DOG"])
    settings = {
        "types": {"background": "backgrounds"},
        "rules": [{"match": "animal/**", "type": "characters", "license": "CC0-1.0"}],
    }

    look = Look(ADAPTER, library, settings=settings)

    assert sorted(look.by_name()) == ["backgrounds/bird.png", "characters/animal/dog/bird.png"]
    assert look.only("images/BB.info/bird.png").license == "CC0-1.0"


def test_a_pipe_is_refused_and_not_waited_for(library):
    """The import would stand still for ever."""
    folder = add(library, "A")
    (folder / "bird.png").unlink()
    os.mkfifo(folder / "bird.png")

    assert "no regular file" in Look(ADAPTER, library).failed["images/A.info/bird.png"]


def test_the_source_is_never_written_to(library):
    """An import that changes what it reads could cost somebody their library."""
    add(library, "A")
    before = tree(library)

    Look(ADAPTER, library)

    assert tree(library) == before
