"""The marker in Ogg files: Vorbis, Opus, FLAC, Speex and Theora."""

import io
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutagen.ogg import OggPage
from mutagen.oggflac import OggFLAC
from mutagen.oggopus import OggOpus
from mutagen.oggvorbis import OggVorbis

from comfyvn.media import read
from comfyvn.media.ogg import OggFormat
from sounds import (
    OTHER,
    VALUE,
    Sparse,
    check_harmless,
    check_law,
    marker,
    music,
    refusal,
    stamp,
    stripped,
    tagged,
)

OWN = b"comfyvn_provenance="
VORBIS = b"\x01vorbis" + bytes(23)
SETUP = b"\x05vorbis" + bytes(range(200))
ENDS = {"vorbis": b"\1", "opus": b"", "padded": bytes(300), "kept": b"\1binary", "speex": b"", "theora": b""}
STREAMS = {
    "vorbis": (VORBIS, b"\x03vorbis"),
    "opus": (b"OpusHead\1\2" + bytes(9), b"OpusTags"),
    "padded": (b"OpusHead\1\2" + bytes(9), b"OpusTags"),
    "kept": (b"OpusHead\1\2" + bytes(9), b"OpusTags"),
    "speex": (b"Speex   1.2" + bytes(60), b""),
    "theora": (b"\x80theora" + bytes(35), b"\x81theora"),
}


def text(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


def comments(*each: bytes, kind: str = "vorbis", count: int | None = None) -> bytes:
    number = len(each) if count is None else count
    listed = text(b"encoder") + number.to_bytes(4, "little") + b"".join(map(text, each))
    return STREAMS[kind][1] + listed + ENDS[kind]


def check_sum(page: bytes) -> bytes:
    """Return the check sum as RFC 3533 describes it, bit by bit."""
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7 if value >> 31 else value << 1) & 0xFFFFFFFF
    return value.to_bytes(4, "little")


def page(
    laces: bytes, body: bytes, *, number: int, serial: int = 7, flags: int = 0, granule: int = 0
) -> bytes:
    head = b"OggS\0" + bytes([flags]) + struct.pack("<QII", granule, serial, number)
    rest = bytes([len(laces)]) + laces + body
    return head + check_sum(head + bytes(4) + rest) + rest


def laced(packets: Sequence[bytes]) -> list[int]:
    return [lace for each in packets for lace in (*[255] * (len(each) // 255), len(each) % 255)]


def pages(*packets: bytes, at: Sequence[int] = (), serial: int = 7, number: int = 1) -> list[bytes]:
    """Lay packets on pages that hold as many segments as ``at`` says, the rest on pages of 255."""
    laces, body, made = laced(packets), b"".join(packets), []
    sizes = iter([*at, *[255] * len(laces)])
    was_open = False
    while laces:
        size = next(sizes)
        these, laces = laces[:size], laces[size:]
        length = sum(these)
        flags = 1 if was_open else 0
        made.append(page(bytes(these), body[:length], number=number, serial=serial, flags=flags))
        was_open = these[-1] == 255 if these else was_open
        body, number = body[length:], number + 1
    return made


def ogg(kind: str, *each: bytes, at: Sequence[int] = (), setup: bytes = SETUP, serial: int = 7) -> bytes:
    ident = STREAMS[kind][0]
    first = page(bytes(laced([ident])), ident, number=0, serial=serial, flags=2)
    rest = pages(comments(*each, kind=kind), setup, b"\0sound" * 100, at=at, serial=serial)
    return first + b"".join(rest)


# -- the law ----------------------------------------------------------------------------------------------

listed = st.lists(
    st.one_of(
        st.sampled_from([b"TITLE=x", b"", b"no separator", OWN + b"{}", OWN.upper() + b"{1}", OWN[:-1]]),
        st.builds(lambda length: b"METADATA_BLOCK_PICTURE=" + b"P" * length, st.integers(0, 2_000)),
    ),
    max_size=4,
)


@given(
    st.sampled_from(sorted(STREAMS)),
    listed,
    st.lists(st.integers(1, 9), max_size=4),
    st.integers(0, 600).map(lambda length: b"s" * length),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=600).map(str.encode),
)
@settings(max_examples=300, deadline=None)
def test_stamping_adds_one_comment_and_nothing_else(
    kind: str, each: list[bytes], at: list[int], setup: bytes, value: bytes
) -> None:
    """However the comments lie on their pages, pages would not come back as they were."""
    content = ogg(kind, *each, at=at, setup=setup)

    stamped = check_law(content, value)

    if stamped != content:
        before, after = numbered(content), numbered(stamped)
        assert after == before
        assert len(stamped) - len(stripped(content)) <= len(value) + 60


def numbered(content: bytes) -> list[tuple[int, int, int, int]]:
    """Return what mutagen reads of the pages: it checks no sums, so we do."""
    file, found = io.BytesIO(content), []
    while file.tell() < len(content):
        start = file.tell()
        each = OggPage(file)
        raw = content[start : file.tell()]
        assert raw[22:26] == check_sum(raw[:22] + bytes(4) + raw[26:])
        found.append((each.serial, each.sequence, each.position, len(each.packets)))
    return found


@given(st.sampled_from(sorted(STREAMS)), listed, st.data())
@settings(max_examples=200, deadline=None)
def test_a_damaged_file_is_never_made_worse(kind: str, each: list[bytes], data: st.DataObject) -> None:
    """A wrong length would send our comment into the middle of the sound."""
    content = bytearray(ogg(kind, *each, at=data.draw(st.lists(st.integers(1, 5), max_size=3))))
    for _ in range(data.draw(st.integers(0, 2))):
        content[data.draw(st.integers(6, len(content) - 1))] = data.draw(st.integers(0, 255))

    check_law(bytes(content[: data.draw(st.integers(6, len(content)))]))


@pytest.mark.parametrize("length", [0, 1, 254, 255, 256, 509, 510, 511, 65_000, 200_000, 1_000_000])
def test_comments_over_many_pages_grow_on_the_last_of_them(length: int) -> None:
    """Files with a cover have their comments on several full pages."""
    content = ogg("vorbis", b"METADATA_BLOCK_PICTURE=" + bytes(length))

    stamped = check_law(content)

    assert marker(stamped) == VALUE
    assert numbered(stamped) == numbered(content)
    assert OggVorbis(io.BytesIO(padded(stamped))).tags["comfyvn_provenance"] == [VALUE.decode()]  # type: ignore[index]


def padded(content: bytes) -> bytes:
    """Return a file whose last page is marked as such, as mutagen wants it."""
    last = page(b"\0", b"", number=99, flags=4, granule=8000)
    return content.replace(VORBIS, b"\x01vorbis\0\0\0\0\x01\x40\x1f\0\0" + bytes(14)) + last


# -- harmless to others -----------------------------------------------------------------------------------

REAL = {
    "vorbis": ("vorbis", "fltp", OggVorbis),
    "opus": ("libopus", "s16", OggOpus),
    "flac": ("flac", "s16", OggFLAC),
}


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("is_tagged", [True, False])
def test_players_hear_and_see_the_same_in_a_stamped_file(name: str, is_tagged: bool) -> None:
    """Samples, times or tags would change with the stamp."""
    codec, kind, reader = REAL[name]
    content = music(codec, "ogg", tags=is_tagged, kind=kind)

    stamped = check_law(content)

    check_harmless(content, stamped)
    assert reader(io.BytesIO(stamped)).info.length == reader(io.BytesIO(content)).info.length
    assert tagged(stamped, reader) == tagged(content, reader) | {"comfyvn_provenance": VALUE.decode()}
    assert numbered(stamped) == numbered(content)


@pytest.mark.parametrize("name", REAL)
def test_a_file_that_mutagen_wrote_into_is_stamped_like_any_other(name: str) -> None:
    """It lays pages in its own way, with padding behind Opus comments, and a cover takes several."""
    codec, kind, reader = REAL[name]
    file = io.BytesIO(music(codec, "ogg", kind=kind))
    tags = reader(file)
    tags["metadata_block_picture"] = "Q" * 150_000
    file.seek(0)
    tags.save(file)
    content = file.getvalue()

    stamped = check_law(content)

    check_harmless(content, stamped)
    assert tagged(stamped, reader) == tagged(content, reader) | {"comfyvn_provenance": VALUE.decode()}


@pytest.mark.parametrize("name", REAL)
def test_a_tag_editor_may_save_a_stamped_file(name: str) -> None:
    """The next rescan could not tell whose file it is."""
    codec, kind, reader = REAL[name]
    file = io.BytesIO(stamp(music(codec, "ogg", kind=kind))[1])
    tags = reader(file)
    tags["title"] = "Renamed"
    file.seek(0)

    tags.save(file)

    assert marker(file.getvalue()) == VALUE
    check_law(file.getvalue(), OTHER)


def test_markers_of_other_hands_are_all_replaced_by_one() -> None:
    """Older releases wrote theirs with mutagen, in any case of letters, and stamped twice."""
    content = ogg("vorbis", b"A=1", OWN + b"{}", b"B=2", OWN.upper() + b"{2}")

    stamped = check_law(content)

    assert marker(content) == b"{}"
    assert stripped(stamped) == ogg("vorbis", b"A=1", b"B=2")


def test_only_the_first_of_chained_streams_is_marked() -> None:
    """Radio recordings are chains; each would be told by its own comments."""
    content = ogg("vorbis", b"A=1") + ogg("vorbis", b"B=2", serial=9)

    stamped = check_law(content)

    assert stamped.endswith(ogg("vorbis", b"B=2", serial=9))


def test_streams_side_by_side_keep_their_pages() -> None:
    """A film in Ogg has its pictures and its sound on alternating pages."""
    sound, film = (ogg(kind, b"A=1", serial=number) for number, kind in enumerate(["vorbis", "theora"]))
    heads = len(STREAMS["vorbis"][0]) + 28, len(STREAMS["theora"][0]) + 28
    content = sound[: heads[0]] + film[: heads[1]] + film[heads[1] :] + sound[heads[0] :]

    stamped = check_law(content)

    assert film[heads[1] :] in stamped
    assert read(io.BytesIO(content)).preview_kind == "animation"
    assert read(io.BytesIO(ogg("vorbis"))).preview_kind == "waveform"


# -- refused ----------------------------------------------------------------------------------------------


def with_stream(begin: bytes) -> bytes:
    content = ogg("vorbis")
    first = len(VORBIS) + 28
    return content[:first] + page(bytes(laced([begin])), begin, number=0, serial=3, flags=2) + content[first:]


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


FULL = b"COVER=" + bytes(255 * 252)  # leaves three segments of the page free, and the setup needs one
REFUSED = {
    "C2PA": (with_stream(b"\0c2pa" + bytes(40)), "content credentials"),
    "an index": (with_stream(b"fishead\0\4\0\0\0" + bytes(60)), "index of places"),
    "a full page": (ogg("vorbis", FULL), "full"),
    "another codec": (page(b"\x08", b"CELT    ", number=0, flags=2), "no stream of a kind"),
    "a wrong check sum": (flipped(ogg("vorbis"), len(VORBIS) + 28 + 23), "check sum"),
    "no comments": (ogg("vorbis").replace(b"\x03vorbis", b"\x04vorbis"), "no comments"),
    "no end of comments": (ogg("vorbis").replace(b"\1\x05vorbis", b"\0\x05vorbis"), "don't end"),
    "comments cut short": (ogg("vorbis")[: len(VORBIS) + 28 + 40], "cut short"),
    "no second page": (ogg("vorbis")[: len(VORBIS) + 28], "cut short"),
    "something between the pages": (
        ogg("vorbis").replace(b"OggS", b"oggs").replace(b"oggs", b"OggS", 1),
        "damaged",
    ),
    "a page missing": (ogg("vorbis", bytes(3000), at=[3])[: len(VORBIS) + 28 + 30 + 765] + b"", "cut short"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_can_not_grow_is_left_alone(name: str) -> None:
    """A signature would break, or a damaged file become unreadable."""
    content, why = REFUSED[name]

    assert why in (refusal(content) or "")


def test_an_old_skeleton_without_an_index_is_no_hindrance() -> None:
    """It tells times and names of streams only."""
    check_law(with_stream(b"fishead\0\3\0\0\0" + bytes(60)))

    assert refusal(with_stream(b"fishead\0\3\0\0\0" + bytes(60))) is None


def test_a_value_that_its_page_can_not_hold_is_refused() -> None:
    """Pages would have to be renumbered, all of them."""
    reading, copy = stamp(ogg("vorbis"), b"x" * 65_000)

    assert "this file takes" in str(reading.refusal)
    assert copy == ogg("vorbis")


def test_hostile_files_are_turned_down() -> None:
    """One file could stop a library for minutes (here: until the test's time-out), or take all memory."""
    first = page(bytes(laced([VORBIS])), VORBIS, number=0, flags=2)
    empty = page(b"", b"", number=1)
    long = b"\3vorbis" + struct.pack("<I", 255 * 20_000) + b"v" * 255 * 20_000
    vendor = [long[at : at + 255] for at in range(0, len(long) - 255, 255)]
    end = page(b"\x0c", bytes(11) + b"\1", number=1, flags=1)
    full = page(b"\xff" * 255, bytes(255 * 255), number=1)
    open_page = page(b"\xff" * 255, bytes(255 * 255), number=1, flags=1)
    hostile = [
        first + empty * 300_000,
        first * 300_000,
        first + full + open_page * 300,
        ogg("vorbis", *[b""] * 9_000),
        first + b"".join(pages(comments(count=2**32 - 1), SETUP)),
        first + b"".join(page(b"\xff", each, number=1, flags=at > 0) for at, each in enumerate(vendor)) + end,
    ]

    refusals = [refusal(content) for content in hostile]

    assert [why is None for why in refusals] == [False, False, False, True, False, False]


def test_a_long_file_is_not_read_to_find_the_place() -> None:
    """Looking at a marker would take as long as reading the whole of it."""
    file = Sparse(8 << 30, head=(0, ogg("opus", b"A=1")))

    layout = OggFormat().layout(file)  # type: ignore[arg-type]

    assert layout.refusal is None
    assert file.bytes_read < 5_000
