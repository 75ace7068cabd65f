"""The marker in FLAC files."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutagen.flac import FLAC, CueSheet, CueSheetTrack, CueSheetTrackIndex, Picture, SeekPoint, SeekTable

from comfyvn.media.flac import FlacFormat
from sounds import (
    OTHER,
    VALUE,
    Sparse,
    check_harmless,
    check_law,
    heard,
    marker,
    music,
    refusal,
    stamp,
    stripped,
    tagged,
)

STREAMINFO = bytes.fromhex("10001000000000000000") + bytes.fromhex("0ac442f0") + bytes(20)
FRAMES = b"\xff\xf8\xc9\x18" + bytes(50)
OWN = b"comfyvn_provenance="


def text(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


def comments(*each: bytes, vendor: bytes = b"reference libFLAC", count: int | None = None) -> bytes:
    number = len(each) if count is None else count
    return text(vendor) + number.to_bytes(4, "little") + b"".join(map(text, each))


def block(kind: int, data: bytes) -> tuple[int, bytes]:
    return kind, data


def flac(*blocks: tuple[int, bytes], frames: bytes = FRAMES) -> bytes:
    every = [(0, STREAMINFO), *blocks]
    made = b"fLaC"
    for index, (kind, data) in enumerate(every):
        made += bytes([kind | (0x80 if index == len(every) - 1 else 0)]) + len(data).to_bytes(3) + data
    return made + frames


# -- the law ----------------------------------------------------------------------------------------------

lists = st.builds(
    lambda each, vendor, rest: (4, comments(*each, vendor=vendor) + rest),
    st.lists(
        st.sampled_from(
            [b"TITLE=x", b"", b"no separator", OWN + b"{}", OWN.upper() + b"{1}", OWN[:-1], b"\xff"]
        ),
        max_size=5,
    ),
    st.sampled_from([b"", b"libFLAC", b"comfyvn", b"comfyvn 2"]),
    st.sampled_from([b"", b"", b"rest"]),
)
others = st.builds(block, st.sampled_from([1, 2, 3, 5, 6, 99]), st.binary(max_size=30))


@given(
    st.lists(others, max_size=3),
    st.lists(lists, max_size=1),
    st.lists(others, max_size=2),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=300).map(str.encode),
)
@settings(max_examples=500, deadline=None)
def test_stamping_adds_one_comment_and_nothing_else(
    before: list[tuple[int, bytes]],
    own: list[tuple[int, bytes]],
    after: list[tuple[int, bytes]],
    value: bytes,
) -> None:
    """Pictures, cue sheets and padding would not come back, or an empty list of comments be dropped."""
    check_law(flac(*before, *own, *after), value)


@given(lists, st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_file_is_never_made_worse(own: tuple[int, bytes], data: st.DataObject) -> None:
    """A wrong length would send our comment into the middle of the sound."""
    content = bytearray(flac(own, (1, bytes(20))))
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(4, len(content) - 1))] = data.draw(st.integers(0, 255))

    check_law(bytes(content[: data.draw(st.integers(4, len(content)))]))


# -- harmless to others -----------------------------------------------------------------------------------


def rich() -> bytes:
    """Return a file with everything that mutagen can write into it."""
    file = io.BytesIO(music("flac", "flac"))
    tags = FLAC(file)
    cover = Picture()
    cover.data, cover.mime, cover.type = b"\xff\xd8\xff" + bytes(range(256)) * 300, "image/jpeg", 3
    tags.add_picture(cover)
    tags.seektable = SeekTable(None)
    tags.seektable.seekpoints = [SeekPoint(0, 0, 4608), SeekPoint(4608, 1000, 4608)]
    tags.metadata_blocks.append(tags.seektable)
    tags.cuesheet = CueSheet(None)
    tags.cuesheet.tracks = [CueSheetTrack(1, 0), CueSheetTrack(170, 9600)]
    tags.cuesheet.tracks[0].indexes = [CueSheetTrackIndex(1, 0)]
    tags.metadata_blocks.append(tags.cuesheet)
    file.seek(0)
    tags.save(file)
    return file.getvalue()


@pytest.mark.parametrize("is_rich", [True, False])
def test_players_hear_and_see_the_same_in_a_stamped_file(is_rich: bool) -> None:
    """Samples, pictures, cue points or seeking would change with the stamp."""
    content = rich() if is_rich else music("flac", "flac")

    stamped = check_law(content)

    check_harmless(content, stamped)
    before, after = FLAC(io.BytesIO(content)), FLAC(io.BytesIO(stamped))
    assert after.pictures == before.pictures
    assert after.seektable == before.seektable
    assert after.cuesheet == before.cuesheet
    assert after.info.md5_signature == before.info.md5_signature
    assert [b.code for b in after.metadata_blocks] == [b.code for b in before.metadata_blocks]
    assert tagged(stamped, FLAC) == tagged(content, FLAC) | {"comfyvn_provenance": VALUE.decode()}


@pytest.mark.parametrize("has_more", [True, False])
def test_a_file_without_comments_gets_a_block_that_goes_with_the_marker(has_more: bool) -> None:
    """The flag of the last block would stay on two blocks, or on none, and the sound not be found."""
    whole = music("flac", "flac")
    first = whole[4 : 8 + int.from_bytes(whole[5:8])]
    frames = whole[whole.index(b"\xff\xf8", len(first)) :]
    last = bytes([first[0] | (0 if has_more else 0x80)]) + first[1:]
    content = b"fLaC" + last + (b"\x81\0\0\4" + bytes(4) if has_more else b"") + frames

    stamped = check_law(content)

    assert heard(stamped) == heard(content)
    assert tagged(stamped, FLAC) == {"comfyvn_provenance": VALUE.decode()}


def test_a_file_behind_an_id3_tag_keeps_it() -> None:
    """Some old tools put one in front of everything."""
    front = b"ID3\3\0\0\0\0\0\x0a" + bytes(10)
    content = front + music("flac", "flac")

    stamped = check_law(content, name="a.flac")

    assert stamped.startswith(front + b"fLaC")
    assert tagged(stamped, FLAC)["comfyvn_provenance"] == VALUE.decode()


def test_a_tag_editor_may_save_a_stamped_file() -> None:
    """The next rescan could not tell whose file it is."""
    for content in (music("flac", "flac"), flac()):
        file = io.BytesIO(stamp(content)[1])
        tags = FLAC(file)
        tags["title"] = "Renamed"
        file.seek(0)
        tags.save(file)

        assert marker(file.getvalue()) == VALUE
        check_law(file.getvalue(), OTHER)


def test_markers_of_other_hands_are_all_replaced_by_one() -> None:
    """Older releases wrote theirs with mutagen, in any case of letters, and stamped twice."""
    content = flac((4, comments(b"A=1", OWN + b"{}", b"B=2", OWN.upper() + b"{2}")))

    stamped = check_law(content)

    assert marker(content) == b"{}"
    assert stripped(stamped) == flac((4, comments(b"A=1", b"B=2")))


# -- refused ----------------------------------------------------------------------------------------------

C2PA = b"\0application/c2pa\0\0\0" + bytes(16)
GEOB = b"GEOB" + len(C2PA).to_bytes(4) + b"\0\0" + C2PA
REFUSED = {
    "C2PA": (b"ID3\4\0\0\0\0\0" + bytes([len(GEOB)]) + GEOB + flac(), "content credentials"),
    "C2PA in a block": (flac((2, b"c2pa" + bytes(9))), "content credentials"),
    "two lists": (flac((4, comments()), (4, comments())), "two lists"),
    "our block, emptied": (flac((4, comments(vendor=b"comfyvn"))), "somebody changed"),
    "too many comments": (flac((4, comments(count=2**32 - 1))), "comments"),
    "comments cut short": (flac((4, comments(b"A=1", count=2))), "cut short"),
    "a full list": (flac((4, comments(bytes(2**24 - 60)))), "full"),
    "no first block": (b"fLaC" + flac((1, b""))[42:], "damaged"),
    "no last block": (flac((1, bytes(9)), frames=b"")[:-13] + b"\1\0\0\x09" + bytes(9), "damaged"),
    "something else behind a tag": (b"ID3\4\0\0\0\0\0\0" + FRAMES, "no FLAC"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_can_not_grow_is_left_alone(name: str) -> None:
    """A signature would break, or a damaged file become unreadable."""
    content, why = REFUSED[name]

    assert why in (refusal(content, "a.flac") or "")


def test_a_file_of_millions_of_blocks_or_comments_is_turned_down() -> None:
    """One file could stop a library for minutes (here: until the test's time-out)."""
    assert "100,000" in (refusal(b"fLaC" + b"\0\0\0\x22" + STREAMINFO + b"\1\0\0\0" * 1_000_000) or "")
    assert "2,000,000" in (refusal(flac((4, comments(*[b""] * 2_000_000)))) or "")


def test_a_long_file_is_not_read_to_find_the_place() -> None:
    """Looking at a marker would take as long as reading the whole of it."""
    file = Sparse(8 << 30, head=(0, flac((6, bytes(100)), (4, comments(b"A=1")))))

    layout = FlacFormat().layout(file)  # type: ignore[arg-type]

    assert layout.refusal is None
    assert file.bytes_read < 1_000
