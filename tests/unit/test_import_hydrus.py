"""Files exported by hydrus, with their sidecars."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyvn.errors import ImportFailed
from comfyvn.importers import ImportAdapter
from comfyvn.importers.hydrus import HydrusAdapter
from importing import Look, picture, tree, write

ADAPTER = HydrusAdapter()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "export"
    made.mkdir()
    return made


def test_it_is_an_adapter():
    """The framework would refuse to load it."""
    assert isinstance(ADAPTER, ImportAdapter)
    assert ADAPTER.name == "hydrus"


class TestText:
    def test_each_line_is_a_tag_with_its_namespace(self, folder):
        """Namespaces tell a character from a series; without them both would be words."""
        write(folder / "mara.png", picture())
        write(folder / "mara.png.txt", "character:mara\r\nseries:the lake\n\n blue sky \nCharacter:Mara\n")

        item = Look(ADAPTER, folder).only("mara.png")

        assert item.tags == ("character:mara", "series:the lake", "blue sky")
        assert (item.asset_type, item.name) == ("images", "mara.png")
        assert item.metadata == {}
        assert item.license is None
        assert item.provenance == {"source": "hydrus", "inputs": {"file": "mara.png"}}

    def test_creators_are_the_origin_and_ratings_are_left_out(self, folder):
        """Nobody would know whom to credit; and a rating of another kind would look like a tag."""
        write(folder / "mara.png", picture())
        write(folder / "mara.png.txt", "creator:ink & co\ncreator:zoe\nrating:safe\nRating:explicit\n")

        item = Look(ADAPTER, folder).only("mara.png")

        assert item.metadata == {"origin": "ink & co, zoe"}
        assert item.tags == ("creator:ink & co", "creator:zoe")

    def test_the_word_before_the_suffix_says_what_is_in_a_sidecar(self, folder):
        """Addresses and notes would become tags."""
        write(folder / "mara.png", picture())
        write(folder / "mara.png.tags.txt", "smile")
        write(folder / "mara.png.urls.txt", "https://example.com/1\nhttps://example.com/1\nnot one\n")
        write(folder / "mara.png.notes.txt", "translation: she says hello\nsecond line")

        item = Look(ADAPTER, folder).only("mara.png")

        assert item.tags == ("smile",)
        assert item.metadata == {
            "urls": ["https://example.com/1"],
            "notes": "translation: she says hello\nsecond line",
        }

    def test_a_file_whose_own_name_ends_in_such_a_word_keeps_its_sidecar(self, folder):
        """The tags of one picture would be the notes of another."""
        write(folder / "a.png", picture(1))
        write(folder / "a.notes.png", picture(2))
        write(folder / "a.notes.txt", "lighthouse")
        write(folder / "b.png", picture(3))
        write(folder / "b.notes.txt", "she smiles")

        look = Look(ADAPTER, folder)

        assert look.only("a.notes.png").tags == ("lighthouse",)
        assert (look.only("a.png").tags, look.only("a.png").metadata) == ((), {})
        assert look.only("b.png").metadata == {"notes": "she smiles"}

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
    def test_a_sidecar_in_unicode_is_read(self, encoding, folder):
        """Editors of Windows save UTF-16, and its bytes would become tags."""
        write(folder / "b.png", picture())
        mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
        write(folder / "b.png.txt", mark + "mara\nlächeln".encode(encoding))

        assert Look(ADAPTER, folder).only("b.png").tags == ("mara", "lächeln")

    @pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32", "latin-1"])
    def test_a_sidecar_in_another_encoding_fails_its_file(self, encoding, folder):
        """Garbage would be searched for and shown as tags for ever."""
        write(folder / "b.png", picture())
        write(folder / "b.png.txt", "mara\nlächeln".encode(encoding))

        assert "not in UTF-8" in Look(ADAPTER, folder).failed["b.png"]

    def test_an_address_among_tags_is_an_address(self, folder):
        """Exports of several kinds in one file would give tags that are links."""
        write(folder / "mara.png", picture())
        write(folder / "mara.png.txt", "smile\nhttps://example.com/1\n")

        item = Look(ADAPTER, folder).only("mara.png")

        assert (item.tags, item.metadata) == (("smile",), {"urls": ["https://example.com/1"]})

    def test_a_sidecar_may_be_named_without_the_suffix_of_its_file(self, folder):
        """hydrus exports so if asked to; the tags would be missing."""
        write(folder / "mara.png", picture())
        write(folder / "mara.txt", "smile")
        write(folder / "mara.urls.txt", "https://example.com/1")

        item = Look(ADAPTER, folder).only("mara.png")

        assert (item.tags, item.metadata) == (("smile",), {"urls": ["https://example.com/1"]})

    def test_a_sidecar_that_could_belong_to_two_files_belongs_to_none(self, folder):
        """One of them would get the tags of the other."""
        write(folder / "mara.png", picture())
        write(folder / "mara.jpg", picture(2))
        write(folder / "mara.txt", "smile")
        write(folder / "mara.jpg.txt", "sad")

        look = Look(ADAPTER, folder)

        assert look.only("mara.png").tags == ()
        assert look.only("mara.jpg").tags == ("sad",)

    def test_another_separator_can_be_set(self, folder):
        """A line of tags with commas between would be one long tag."""
        write(folder / "mara.png", picture())
        write(folder / "mara.png.txt", "smile, blue sky")

        assert Look(ADAPTER, folder, settings={"separator": ","}).only("mara.png").tags == (
            "smile",
            "blue sky",
        )

    def test_files_without_a_sidecar_come_too(self, folder):
        """A file that has no tags in hydrus would be lost."""
        write(folder / "sub/mara.png", picture())

        assert Look(ADAPTER, folder).only("sub/mara.png").tags == ()

    def test_sidecars_are_no_assets(self, folder):
        """Every text file would stand in the library beside its picture."""
        write(folder / "mara.png", picture())
        write(folder / "mara.png.txt", "smile")
        write(folder / "mara.png.json", "{}")

        assert list(Look(ADAPTER, folder).items) == ["mara.png"]


class TestJson:
    def told(self, folder: Path, value: object) -> tuple[tuple[str, ...], object]:
        write(folder / "mara.png", picture())
        write(folder / "mara.png.json", json.dumps(value))
        item = Look(ADAPTER, folder).only("mara.png")
        return item.tags, item.metadata

    @pytest.mark.parametrize(
        "value",
        [
            ["smile", "sky"],
            {"tags": ["smile", "sky"]},
            {"metadata": {"tags": ["smile", "sky"], "urls": [], "hash": "ff00", "size": 3}},
            {"tags": {"my tags": ["smile"], "public tag repository": ["sky"]}},
            {"file": [{"tags": ["smile"]}, {"tags": ["sky"]}], "name": "mara"},
            {
                "tags": {
                    "6c6f63616c": {
                        "name": "my tags",
                        "type_pretty": "local tag service",
                        "storage_tags": {"0": ["smile"], "1": ["pending"], "2": ["deleted"]},
                        "display_tags": {"0": ["smile", "sky"], "2": ["deleted"]},
                    }
                }
            },
        ],
        ids=["list", "flat", "nested", "services", "objects", "client-api"],
    )
    def test_tags_are_found_in_every_shape_that_hydrus_writes(self, folder, value):
        """The keys are the user's; tags would be missing, or names of services be taken for some."""
        assert self.told(folder, value) == (("smile", "sky"), {})

    def test_addresses_and_notes_become_metadata(self, folder):
        """Where a file is from would be lost."""
        value = {"metadata": {"urls": ["https://example.com/1", 3], "notes": ["a: b", "c: d"]}}

        assert self.told(folder, value) == ((), {"urls": ["https://example.com/1"], "notes": "a: b\nc: d"})

    def test_notes_by_their_names_become_metadata(self, folder):
        """The Client API writes them so."""
        assert self.told(folder, {"notes": {"translation": "hello"}}) == ((), {"notes": "translation: hello"})

    def test_only_web_addresses_are_taken(self, folder):
        """A page could show a link that runs something."""
        assert self.told(folder, {"urls": ["javascript:alert(1)", "file:///etc/passwd"]}) == ((), {})

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            (b"{", "no JSON"),
            (b"\xff\xfe{}", "no JSON"),
            (b"[" * 100_000, "nested too deeply"),
            (b"[" + b"1," * 1_000_001 + b"1]", "more than 1,000,000 values"),
            (b" " * (5 << 20), "larger than 4 MiB"),
        ],
        ids=["cut", "encoding", "deep", "wide", "huge"],
    )
    def test_a_sidecar_that_can_not_be_read_costs_its_file_and_says_why(self, folder, content, why):
        """The file would come without its tags and nobody would know; or the batch would end."""
        write(folder / "bad.png", picture())
        sidecar = write(folder / "bad.png.json", content)
        write(folder / "good.png", picture(2))

        look = Look(ADAPTER, folder)

        assert why in look.failed["bad.png"]
        assert list(look.items) == ["good.png"]
        assert sidecar.exists()

    @settings(deadline=None)  # the first one loads much
    @given(
        value=st.recursive(
            st.none()
            | st.booleans()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(max_size=9),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(st.sampled_from(["tags", "urls", "notes", "storage_tags", "0", "x"]), inner)
            ),
        )
    )
    def test_values_of_any_type_never_raise(self, tmp_path_factory, value):
        """A sidecar that somebody has written by hand would end the batch."""
        folder = tmp_path_factory.mktemp("any")

        tags, _ = self.told(folder, value)

        assert all(isinstance(tag, str) and tag for tag in tags)

    def test_too_many_tags_are_cut_to_what_an_asset_may_have(self, folder):
        """The file would be refused for what its sidecar says."""
        tags, _ = self.told(folder, {"tags": [f"tag {at}" for at in range(20_000)] + ["x" * 300]})

        assert len(tags) == 1_000


def test_hydrus_own_database_is_refused_with_what_to_do(folder):
    """Somebody would get thousands of files with hashes for names, and no tags."""
    write(folder / "client.db", b"SQLite format 3\0")
    write(folder / "client_files/f00/00ff.png", picture())

    with pytest.raises(ImportFailed, match="export the files with sidecars"):
        Look(ADAPTER, folder)


def test_a_file_is_refused_with_what_is_looked_for(folder):
    """Somebody would be told that nothing was found, and not what could be."""
    with pytest.raises(ImportFailed, match="no folder"):
        Look(ADAPTER, write(folder / "mara.png", picture()))


def test_links_out_of_the_folder_are_refused(folder, tmp_path):
    """A shared folder could make somebody's own files into assets, or their texts into tags."""
    secret = write(tmp_path / "secret.txt", "password")
    (folder / "link.png").symlink_to(write(tmp_path / "secret.png", picture()))
    write(folder / "mara.png", picture(2))
    (folder / "mara.png.txt").symlink_to(secret)

    look = Look(ADAPTER, folder)

    assert look.all() == []
    assert "leads out of" in look.failed["link.png"]
    assert "leads out of" in look.failed["mara.png"]


def test_a_pipe_is_refused_and_not_waited_for(folder):
    """The import would stand still for ever."""
    write(folder / "mara.png", picture())
    os.mkfifo(folder / "mara.png.txt")
    os.mkfifo(folder / "pipe.png")

    look = Look(ADAPTER, folder)

    assert "no regular file" in look.failed["mara.png"]
    assert "no regular file" in look.failed["pipe.png"]


def test_tags_and_rules_choose_the_type(folder):
    """All pictures would be of one type, though their tags say what they are for."""
    for name, tags in (("a.png", "character:mara"), ("b.png", "scenery"), ("skip/c.png", "x")):
        write(folder / name, picture(len(tags)))
        write(folder / f"{name}.txt", tags)
    settings = {"types": {"character:*": "characters"}, "rules": [{"match": "skip/**", "skip": True}]}

    look = Look(ADAPTER, folder, settings=settings)

    assert sorted(look.by_name()) == ["characters/a.png", "images/b.png"]
    assert look.skipped["skip/c.png"] == ["left out by a rule"]


def test_the_source_is_never_written_to(folder):
    """An import that changes what it reads could cost somebody their library."""
    write(folder / "mara.png", picture())
    write(folder / "mara.png.txt", "smile")
    before = tree(folder)

    Look(ADAPTER, folder)

    assert tree(folder) == before
