"""Character cards: SillyTavern's data folder, single cards, CharX archives."""

import base64
import json
import os
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyvn.errors import ImportFailed, InvalidSetting
from comfyvn.importers import ImportAdapter, ImportContext
from comfyvn.importers.sillytavern import SillyTavernAdapter
from comfyvn.studio.core import AssetRegistry
from importing import Look, card, chunk, data_uri, picture, tree, with_card, with_text, write

ADAPTER = SillyTavernAdapter()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "cards"
    made.mkdir()
    return made


def charx(path: Path, data: object, **files: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("card.json", data if isinstance(data, bytes) else json.dumps(data))
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def asset(kind: str, name: str, uri: str, ext: object = "png") -> dict[str, object]:
    return {"type": kind, "name": name, "uri": uri, "ext": ext}


def test_it_is_an_adapter():
    """The framework would refuse to load it."""
    assert isinstance(ADAPTER, ImportAdapter)
    assert ADAPTER.name == "sillytavern"


class TestPng:
    def test_a_card_of_version_2_becomes_a_portrait_with_name_tags_and_creator(self, folder):
        """What a maker knows of a character would be lost: whose it is, and what it is tagged with."""
        told = card(
            tags=["fantasy", "witch"], creator="ink & co", character_version="1.4", creator_notes="Hi."
        )
        write(folder / "mara_v2.png", with_card(picture(), told))

        item = Look(ADAPTER, folder).only("mara_v2.png")

        assert (item.asset_type, item.name) == ("characters", "Mara/mara_v2.png")
        assert item.tags == ("Mara", "fantasy", "witch")
        assert item.license is None
        assert item.metadata == {
            "character": "Mara",
            "creator": "ink & co",
            "origin": "ink & co",
            "character_version": "1.4",
            "card_spec": "chara_card_v2",
            "creator_notes": "Hi.",
        }
        assert item.provenance == {"source": "SillyTavern", "inputs": {"file": "mara_v2.png"}}

    def test_a_card_of_version_1_has_no_more_than_a_name(self, folder):
        """Old cards would be refused, or told to be of a version that they are not."""
        old = {"name": "Mara", "description": "", "personality": "", "scenario": "", "first_mes": ""}
        write(folder / "mara.png", with_card(picture(), old))

        item = Look(ADAPTER, folder).only("mara.png")

        assert item.tags == ("Mara",)
        assert item.metadata == {"character": "Mara", "card_spec": "chara_card_v1"}

    def test_a_card_of_pygmalion_has_its_name_elsewhere(self, folder):
        """The character would be called as the file is."""
        old = {"char_name": "Mara", "char_persona": "", "world_scenario": "", "char_greeting": ""}
        write(folder / "a.png", with_card(picture(), old))
        write(folder / "b.json", json.dumps(old))

        items = Look(ADAPTER, folder).all()

        assert [item.name for item in items] == ["Mara/a.png", "Mara/b.json"]
        assert [item.metadata for item in items] == [{"character": "Mara"}] * 2

    def test_version_3_wins_over_the_backfilled_version_2(self, folder):
        """The older text, which only says that it is a makeshift, would be taken for the card."""
        both = with_card(with_card(picture(), card(name="Old")), card(3, name="New"), b"ccv3")
        write(folder / "mara.png", both)

        item = Look(ADAPTER, folder).only("mara.png")

        assert item.metadata["character"] == "New"
        assert item.metadata["card_spec"] == "chara_card_v3"

    def test_version_2_serves_where_version_3_is_damaged(self, folder):
        """One broken chunk would cost a card that stands there a second time, whole."""
        write(folder / "mara.png", with_text(with_card(picture(), card()), b"ccv3", b"!!!"))

        look = Look(ADAPTER, folder)

        assert look.only("mara.png").metadata["card_spec"] == "chara_card_v2"

    def test_the_tool_that_wrote_the_card_is_its_source(self, folder):
        """Provenance would name SillyTavern where the card itself says something else."""
        told = {**card(), "metadata": {"tool": {"name": "Character Editor", "version": "0.5"}}}
        write(folder / "mara.png", with_card(picture(), told))

        item = Look(ADAPTER, folder).only("mara.png")

        assert item.provenance is not None
        assert item.provenance["source"] == "Character Editor"

    def test_long_notes_of_the_creator_are_left_out(self, folder):
        """Every asset would carry pages of text."""
        write(folder / "mara.png", with_card(picture(), card(creator_notes="x" * 2_001)))

        assert "creator_notes" not in Look(ADAPTER, folder).only("mara.png").metadata

    def test_assets_in_text_chunks_are_taken_out(self, folder):
        """Expressions that only lie in the PNG would stay there unseen."""
        told = card(3, assets=[asset("emotion", "joy", "__asset:0"), asset("icon", "main", "ccdefault:")])
        png = with_text(
            with_card(picture(), told, b"ccv3"), b"chara-ext-asset_:0", base64.b64encode(picture(2))
        )
        write(folder / "mara.png", png)

        look = Look(ADAPTER, folder)

        assert look.content["characters/Mara/joy.png"] == picture(2)
        assert look.by_name()["characters/Mara/joy.png"].tags == ("Mara", "joy")
        assert len(look.all()) == 2

    def test_a_picture_without_a_card_is_told_and_left_out(self, folder):
        """Somebody would wonder where it went, or find an asset that is no character."""
        write(folder / "holiday.png", picture())

        look = Look(ADAPTER, folder)

        assert look.all() == []
        assert "no character card" in look.skipped["holiday.png"][0]

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            (with_text(picture(), b"chara", b"AAA"), "base64 is damaged"),
            (with_text(picture(), b"chara", base64.b64encode(b"{]")), "no JSON"),
            (with_text(picture(), b"chara", base64.b64encode(b"[1]")), "no JSON object"),
            (with_text(picture(), b"chara", base64.b64encode(b"[" * 50_000)), "nested too deeply"),
            (
                with_text(picture(), b"chara", base64.b64encode(b"[" * 1_000_001)),
                "more than 1,000,000 values",
            ),
            (with_text(picture(), b"chara", base64.b64encode(b'{"name": 1' + b"0" * 9_000)), "no JSON"),
            (with_text(picture(), b"chara", base64.b64encode(b'{"name": NaN}')), "no JSON"),
        ],
        ids=["base64", "json", "list", "deep", "wide", "number", "nan"],
    )
    def test_a_damaged_card_costs_itself_and_says_why(self, folder, content, why):
        """One hostile file would end the batch, or be taken in as something that it isn't."""
        write(folder / "bad.png", content)
        write(folder / "good.png", with_card(picture(), card()))

        look = Look(ADAPTER, folder)

        assert why in look.failed["bad.png"]
        assert [item.path.name for item in look.all()] == ["good.png"]

    def test_a_card_longer_than_the_limit_is_refused(self, folder):
        """It would be read into memory whole."""
        head = picture()[:-12] + struct.pack(">I", 100 << 20) + b"tEXtchara\0"
        path = write(folder / "huge.png", head)
        os.truncate(path, 100 << 20)

        look = Look(ADAPTER, folder)

        assert "larger than 32 MiB" in look.failed["huge.png"]

    @settings(deadline=None)  # the first one loads much
    @given(content=st.binary(max_size=300), at=st.integers(0, 200))
    def test_bytes_of_any_kind_never_raise(self, tmp_path_factory, content, at):
        """A file that only looks like a card would end the batch."""
        folder = tmp_path_factory.mktemp("any")
        png = with_card(picture(), card())
        write(folder / "cut.png", png[: len(png) - at])
        write(folder / "odd.png", png[:50] + content + png[50:])
        write(folder / "text.png", with_text(picture(), b"ccv3", content))

        Look(ADAPTER, folder)

    @settings(deadline=None)  # the first one loads much
    @given(
        value=st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=20),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(
                    st.sampled_from(["name", "data", "tags", "assets", "uri", "creator", "type"]), inner
                )
            ),
        )
    )
    def test_values_of_any_type_never_raise(self, tmp_path_factory, value):
        """A card with a number for a name or a text for a list would end the batch."""
        folder = tmp_path_factory.mktemp("any")
        write(
            folder / "odd.png", with_card(picture(), {"spec": "chara_card_v3", "data": value, "name": value})
        )

        for item in Look(ADAPTER, folder).all():
            assert item.metadata["character"]
            assert ".." not in item.name.split("/")


class TestFolders:
    @pytest.mark.parametrize(
        "below",
        ["characters", "default-user/characters", "data/default-user/characters", "public/characters"],
    )
    def test_a_data_folder_gives_its_characters_and_nothing_else(self, folder, below):
        """Chats, backups and thumbnails of cards would be taken for characters."""
        write(folder / below / "Mara.png", with_card(picture(), card()))
        write(folder / "thumbnails/avatar/Mara.png", with_card(picture(2), card()))
        write(folder / "chats/Mara/log.jsonl", "{}")

        look = Look(ADAPTER, folder)

        assert list(look.items) == [f"{below}/Mara.png"]
        assert look.skipped == {}

    def test_the_programs_own_folder_gives_the_characters_of_all_its_users(self, folder):
        """What an old release has left in ``public`` would hide all others."""
        write(folder / "public/characters/README.txt", "moved to data")
        write(folder / "data/default-user/characters/Mara.png", with_card(picture(), card()))
        write(folder / "data/zoe/characters/Zoe.png", with_card(picture(2), card(name="Zoe")))

        assert [item.name for item in Look(ADAPTER, folder).all()] == ["Mara/Mara.png", "Zoe/Zoe.png"]

    def test_sprites_in_a_characters_folder_are_its_expressions(self, folder):
        """Sprites would come without the name of whom they show."""
        write(folder / "characters/default_Mara.png", with_card(picture(), card(creator="ink & co")))
        write(folder / "characters/Mara/joy.png", picture(2))
        write(folder / "characters/Mara/anger-1.webp", picture(3))

        look = Look(ADAPTER, folder)

        joy = look.only("characters/Mara/joy.png")
        assert (joy.asset_type, joy.name, joy.tags) == ("characters", "Mara/joy.png", ("Mara", "joy"))
        assert joy.metadata == {
            "character": "Mara",
            "expression": "joy",
            "creator": "ink & co",
            "origin": "ink & co",
        }
        assert look.only("characters/Mara/anger-1.webp").tags == ("Mara", "anger")

    def test_outfits_are_tags_of_their_expressions(self, folder):
        """Two outfits of one expression could not be told apart."""
        write(folder / "characters/Mara/tracksuit/joy.png", picture())

        item = Look(ADAPTER, folder).only("characters/Mara/tracksuit/joy.png")

        assert item.tags == ("Mara", "tracksuit", "joy")
        assert item.name == "Mara/tracksuit/joy.png"

    def test_sprites_of_a_character_without_a_card_are_named_by_their_folder(self, folder):
        """SillyTavern lets folders stand alone (an override); they would be lost."""
        write(folder / "characters/Boris/joy.png", picture())

        item = Look(ADAPTER, folder).only("characters/Boris/joy.png")

        assert item.tags == ("Boris", "joy")
        assert "creator" not in item.metadata

    def test_expressions_are_found_in_folders_of_any_number(self, folder):
        """Cards beside them would be forgotten on the way."""
        for at in range(70):
            write(folder / f"cards/{at}.png", with_card(picture(), card(name=f"Character {at}")))
            write(folder / f"cards/{at}/outfit/joy.png", picture(at))

        look = Look(ADAPTER, folder)

        found = [item.tags for item in look.all() if "expression" in item.metadata]
        assert sorted(found) == sorted((f"Character {at}", "outfit", "joy") for at in range(70))

    def test_in_a_plain_folder_only_a_card_makes_its_neighbours_expressions(self, folder):
        """Any folder of pictures beside cards would be taken for a character."""
        write(folder / "set/zoe.png", with_card(picture(), card(name="Zoe")))
        write(folder / "set/Zoe/sad.png", picture(2))
        write(folder / "set/scenery/lake.png", picture(3))

        look = Look(ADAPTER, folder)

        assert look.only("set/Zoe/sad.png").tags == ("Zoe", "sad")
        assert "no card beside" in look.skipped["set/scenery/lake.png"][0]

    def test_json_that_is_no_card_is_told_and_left_out(self, folder):
        """Settings and lorebooks would become characters."""
        write(folder / "settings.json", '{"name": "dark", "description": "a theme"}')
        write(folder / "mara.json", json.dumps(card(tags=["witch"])))

        look = Look(ADAPTER, folder)

        item = look.only("mara.json")
        assert (item.asset_type, item.name, item.tags) == ("characters", "Mara/mara.json", ("Mara", "witch"))
        assert look.skipped["settings.json"] == ["JSON, and no character card"]

    def test_a_link_out_of_the_folder_is_refused(self, folder, tmp_path):
        """A shared folder of cards could make somebody's own files into assets."""
        outside = write(tmp_path / "diary.png", with_card(picture(), card(name="Diary")))
        (folder / "link.png").symlink_to(outside)
        (folder / "characters").symlink_to(tmp_path)

        look = Look(ADAPTER, folder)

        assert look.all() == []
        assert "leads out of" in look.failed["link.png"]

    def test_a_pipe_is_refused_and_not_waited_for(self, folder):
        """The import would stand still for ever."""
        os.mkfifo(folder / "pipe.png")

        assert "no regular file" in Look(ADAPTER, folder).failed["pipe.png"]

    def test_a_name_can_lead_nowhere(self, folder):
        """A card's name becomes a folder; it could lead out of the library."""
        write(folder / "a.png", with_card(picture(), card(name="../../etc")))
        write(folder / "b.png", with_card(picture(), card(name="..")))
        write(folder / "c.png", with_card(picture(), card(name="C:\\win\0dows\n")))

        names = [item.name for item in Look(ADAPTER, folder).all()]

        assert names == ["_.._etc/a.png", "unnamed/b.png", "C__windows/c.png"]

    def test_a_single_card_can_be_given(self, folder):
        """A maker with one downloaded card would have to make a folder for it."""
        path = write(folder / "Mara.png", with_card(picture(), card()))
        write(folder / "Zoe.png", with_card(picture(2), card(name="Zoe")))

        assert [item.tags for item in Look(ADAPTER, path).all()] == [("Mara",)]

    def test_another_file_is_refused_with_what_is_looked_for(self, folder):
        """Somebody would be told that nothing was found, and not what could be."""
        path = write(folder / "notes.txt", "hello")

        with pytest.raises(ImportFailed, match=r"cards are \.png, \.json and \.charx"):
            Look(ADAPTER, path)

    def test_a_setting_that_it_does_not_have_is_refused(self, folder):
        """A mistyped one would be ignored in silence."""
        with pytest.raises(InvalidSetting, match="no such setting"):
            Look(ADAPTER, folder, settings={"tags": "x"})

    def test_the_source_is_never_written_to(self, folder):
        """An import that changes what it reads could cost somebody their library."""
        write(folder / "characters/Mara.png", with_card(picture(), card()))
        write(folder / "characters/Mara/joy.png", picture(2))
        charx(folder / "characters/zoe.charx", card(3), **{"assets/a.png": picture(3)})
        before = tree(folder)

        Look(ADAPTER, folder)

        assert tree(folder) == before


class TestCharx:
    def test_a_card_with_its_icon_expressions_and_background(self, folder):
        """A CharX file would be one opaque archive in the library."""
        assets = [
            asset("icon", "main", "embeded://assets/icon/images/main.png"),
            asset("emotion", "joy", "embeded://assets/emotion/images/joy.png"),
            asset("background", "forest", "embeded://assets/background/images/forest.webp", "webp"),
            asset("user_icon", "main", "embeded://assets/icon/images/main.png"),
            asset("x-voice", "hello", "embeded://assets/other/audio/hello.mp3", "mp3"),
        ]
        names = ["icon/images/main.png", "emotion/images/joy.png", "background/images/forest.webp"]
        files = {f"assets/{name}": picture(at) for at, name in enumerate(names)}
        files["assets/other/audio/hello.mp3"] = b"ID3 sound"
        path = charx(folder / "mara.charx", card(3, tags=["witch"], assets=assets), **files)

        look = Look(ADAPTER, path)

        assert {name: item.tags for name, item in look.by_name().items()} == {
            "characters/Mara/mara.json": ("Mara", "witch"),
            "characters/Mara/icon/main.png": ("Mara", "witch", "user icon"),
            "characters/Mara/joy.png": ("Mara", "joy"),
            "backgrounds/Mara/forest.webp": ("Mara", "forest"),
            "audio/Mara/x-voice/hello.mp3": ("Mara", "hello"),
        }
        assert look.content["characters/Mara/joy.png"] == picture(1)
        assert json.loads(look.content["characters/Mara/mara.json"])["data"]["name"] == "Mara"

    def test_one_picture_for_two_expressions_is_one_asset_with_both_tags(self, folder):
        """It would be unpacked twice, and the second not be there any more."""
        both = [asset("emotion", "joy", "embeded://a.png"), asset("emotion", "love", "embeded://a.png")]
        path = charx(folder / "mara.charx", card(3, assets=both), **{"a.png": picture()})

        assert Look(ADAPTER, path).by_name()["characters/Mara/joy.png"].tags == ("Mara", "joy", "love")

    def test_pictures_in_data_uris_are_taken_out(self, folder):
        """A JSON card that brings its pictures along would come without them."""
        told = card(3, assets=[asset("emotion", "sad", data_uri(picture(5), "image/jpeg"), "unknown")])
        path = write(folder / "mara.json", json.dumps(told))

        assert Look(ADAPTER, path).content["characters/Mara/sad.jpeg"] == picture(5)

    @pytest.mark.parametrize(
        ("uri", "ext", "why"),
        [
            ("https://example.com/joy.png", "png", "nothing is fetched from the net"),
            ("embeded://assets/gone.png", "png", "there is no"),
            ("embeded://../../etc/passwd", "png", "there is no"),
            ("file:///etc/passwd", "png", "no place that can be read"),
            ("/etc/passwd", "png", "no place that can be read"),
            ("embeded://assets/script.lua", "lua", "neither a picture"),
            ("data:image/png;base64,AAA", "png", "base64 is damaged"),
            ("", "png", "doesn't say where"),
            (7, "png", "doesn't say where"),
        ],
    )
    def test_what_can_not_be_had_is_told_and_costs_itself(self, folder, uri, ext, why):
        """A remote picture would be fetched behind somebody's back, or one missing asset cost the card."""
        assets = [asset("emotion", "joy", uri, ext), asset("emotion", "ok", "embeded://ok.png")]
        path = charx(folder / "mara.charx", card(3, assets=assets), **{"ok.png": picture()})

        look = Look(ADAPTER, path)

        assert set(look.by_name()) == {"characters/Mara/mara.json", "characters/Mara/ok.png"}
        assert why in look.skipped["mara.charx"][0]

    def test_one_picture_under_two_addresses_is_one_asset(self, folder):
        """Two items would have one file, of which the first to be registered takes it away from the other."""
        both = [asset("emotion", "joy", "embeded://a.png"), asset("emotion", "love", "embedded://./a.png")]
        path = charx(folder / "mara.charx", card(3, assets=both), **{"a.png": picture()})

        look = Look(ADAPTER, path)

        assert look.by_name()["characters/Mara/joy.png"].tags == ("Mara", "joy", "love")
        assert look.skipped == {}
        assert len(look.all()) == 2

    @pytest.mark.parametrize("uri", ["embeded://./assets/b.png", "embeded://assets//b.png"])
    def test_a_place_in_the_archive_may_be_written_in_other_words(self, uri, folder):
        """An asset that is there would be told not to be."""
        told = card(3, assets=[asset("emotion", "joy", uri)])
        path = charx(folder / "mara.charx", told, **{"assets/b.png": picture()})

        assert "characters/Mara/joy.png" in Look(ADAPTER, path).by_name()

    def test_what_can_be_no_asset_is_not_unpacked(self, folder):
        """A few cards could fill the temporary folder with what is thrown away."""
        assets = [
            asset("x-model", "rig", "embeded://rig.bin", "bin"),
            asset("emotion", "ok", "embeded://ok.png"),
        ]
        files = {"rig.bin": bytes(5_000_000), "ok.png": picture()}
        path = charx(folder / "mara.charx", card(3, assets=assets), **files)

        look = Look(ADAPTER, path, archive_bytes=1_000_000)

        assert set(look.by_name()) == {"characters/Mara/mara.json", "characters/Mara/ok.png"}
        assert "neither a picture nor a sound nor a film" in look.skipped["mara.charx"][0]

    def test_a_card_that_unpacks_to_too_much_is_refused_before_it_does(self, folder, monkeypatch):
        """A few kilobytes could fill the temporary folder, for a text that is refused afterwards."""
        monkeypatch.setattr("comfyvn.importers.cards.CARD_BYTES", 1_000_000)
        charx(folder / "mara.charx", bytes(2_000_000))

        assert "1,000,000 bytes are enough" in Look(ADAPTER, folder).failed["mara.charx"]

    def test_nothing_is_left_of_a_card_that_fails(self, folder, tmp_path):
        """What was unpacked before would lie in the temporary folder till the end."""
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        told = card(3, assets=[asset("emotion", at, f"embeded://{at}.png") for at in ("a", "b")])
        path = charx(folder / "mara.charx", told, **{"a.png": picture(), "b.png": bytes(2_000_000)})
        write(folder / "none.charx", charx(tmp_path / "x.charx", {"hello": 1}).read_bytes())
        write(folder / "none/sprite.png", picture())
        opened = ADAPTER.open(folder, ImportContext(scratch=scratch, archive_bytes=1_000_000))
        assert [each.reason for each in opened.items(folder / "none/sprite.png")]

        for file in (path, folder / "none.charx"):
            with pytest.raises(ImportFailed):
                list(opened.items(file))

        assert list(scratch.rglob("*")) == []

    def test_files_that_the_card_does_not_name_are_told(self, folder):
        """Somebody would think that all of the archive is in the library."""
        path = charx(
            folder / "mara.charx", card(3), **{"x_meta/1.json": b"{}", "assets/spare.png": picture()}
        )

        assert "2 more files" in Look(ADAPTER, path).skipped["mara.charx"][0]

    def test_an_archive_that_unpacks_to_too_much_is_refused(self, folder):
        """A few kilobytes could fill the disk."""
        told = card(3, assets=[asset("emotion", "joy", "embeded://joy.png")])
        path = charx(folder / "bomb.charx", told, **{"joy.png": bytes(5_000_000)})
        assert path.stat().st_size < 10_000

        look = Look(ADAPTER, path, archive_bytes=1_000_000)

        assert "1,000,000 bytes" in look.failed["bomb.charx"]

    def test_a_card_beyond_the_limit_of_assets_says_how_many_were_left_out(self, folder):
        """A card could name millions of them."""
        assets = [asset("emotion", f"e{at}", data_uri(picture(at))) for at in range(5)]
        path = write(folder / "mara.json", json.dumps(card(3, assets=assets)))

        look = Look(ADAPTER, path, archive_files=3)

        assert len(look.all()) == 1 + 3
        assert look.skipped["mara.json"] == ["2 more assets, the limit is 3"]

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            (b"no archive at all", "can't be unpacked"),
            (b"PK\5\6" + bytes(18), "no card.json"),
            (b"PK\6\7" + bytes(16) + b"PK\5\6" + bytes(18), "ZIP64"),
            (b"PK\5\6" + struct.pack("<4H2LH", 0, 0, 9, 9, 2**31, 0, 0), "more files than"),
        ],
        ids=["text", "empty", "zip64", "directory"],
    )
    def test_what_is_no_archive_of_a_card_is_refused(self, folder, content, why):
        """zipfile's own errors would end the batch."""
        path = write(folder / "bad.charx", content)

        assert why in Look(ADAPTER, path).failed["bad.charx"]

    def test_a_damaged_archive_costs_itself(self, folder):
        """One flipped bit would end the batch."""
        path = charx(folder / "mara.charx", card(3, description="x" * 500))
        whole = path.read_bytes()
        write(folder / "cut.charx", whole[: len(whole) // 2])
        write(folder / "bits.charx", whole[:60] + bytes([whole[60] ^ 255]) + whole[61:])

        look = Look(ADAPTER, folder)

        assert set(look.failed) == {"cut.charx", "bits.charx"}
        assert len(look.items["mara.charx"]) == 1

    def test_a_link_in_an_archive_is_no_file(self, folder):
        """It could lead to any file of somebody's."""
        path = charx(folder / "mara.charx", card(3, assets=[asset("emotion", "joy", "embeded://joy.png")]))
        with zipfile.ZipFile(path, "a") as archive:
            link = zipfile.ZipInfo("joy.png")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, "/etc/passwd")

        look = Look(ADAPTER, path)

        assert [item.name for item in look.all()] == ["Mara/mara.json"]
        assert "there is no 'embeded://joy.png'" in look.skipped["mara.charx"][0]

    def test_an_encrypted_archive_says_so(self, folder):
        """zipfile's own error would end the batch."""
        path = charx(folder / "mara.charx", card(3))
        content = bytearray(path.read_bytes())
        content[content.index(b"PK\1\2") + 8] |= 1
        write(path, bytes(content))

        assert "encrypted" in Look(ADAPTER, path).failed["mara.charx"]

    def test_card_json_that_is_no_card_is_refused(self, folder):
        """Any archive with a file of this name would become a character."""
        path = charx(folder / "mara.charx", {"hello": 1})

        assert "no character card" in Look(ADAPTER, path).failed["mara.charx"]


def test_what_it_tells_can_be_registered(folder, registry: AssetRegistry):
    """Names, tags or metadata that the registry refuses would make the whole adapter useless."""
    told = card(
        3, tags=["witch\x07"], creator="ink\n& co", assets=[asset("emotion", "joy", data_uri(picture(2)))]
    )
    write(folder / "mara.png", with_card(picture(), told, b"ccv3"))
    made = []

    class Register(Look):
        def _walk(self, opened, source):
            for file in opened.files():
                for item in opened.items(file):
                    record = registry.register_file(
                        item.path,
                        item.asset_type,
                        dest_relative=f"{item.asset_type}/{item.name}",
                        metadata={**item.metadata, "tags": item.tags},
                        provenance=item.provenance,
                    )
                    made.append(record)

    Register(ADAPTER, folder)

    assert [record["path"] for record in made] == ["characters/Mara/mara.png", "characters/Mara/joy.png"]
    assert [record["meta"]["tags"] for record in made] == [["Mara", "witch"], ["Mara", "joy"]]
    assert made[0]["meta"]["origin"] == "ink & co"


def test_an_unfinished_chunk_walk_ends(folder):
    """Chunks of length zero, or far behind the end, would be walked for ever."""
    write(folder / "zeros.png", picture()[:-12] + chunk(b"tEXt", b"") * 2_000)
    write(folder / "far.png", picture()[:-12] + b"\xff\xff\xff\xfftEXtchara\0e30=")

    look = Look(ADAPTER, folder)

    assert list(look.skipped) == ["zeros.png"]
    assert look.only("far.png").metadata["character"] == "far"
