"""The marker in JPEG files: in a segment of our own, or in the XMP that is there."""

import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from comfyvn.media.jpeg import JpegFormat
from pictures import (
    PACKETS,
    SIGNED,
    UNFIT,
    VALUE,
    assert_exact,
    assert_refused,
    exif,
    frames,
    look,
    marker_in,
    picture,
    properties,
    saved,
    srgb,
    stamp,
    stripped,
    told,
    xmp_of,
)

JPEG = JpegFormat()
XMP = b"http://ns.adobe.com/xap/1.0/\0"
SCAN = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + b"pixels \xff\x00\xff\xe1\x00\x10" + b"\xff\xd9"
JFIF = b"\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
EXIF = b"\xff\xe1\x00\x0cExif\0\0MM\0*"
MPF = b"\xff\xe2\x00\x0aMPF\0MM\0*"


def segment(code: int, data: bytes = b"") -> bytes:
    return struct.pack(">BBH", 0xFF, code, len(data) + 2) + data


def xmp(packet: bytes) -> bytes:
    return segment(0xE1, XMP + packet)


def jpeg(*segments: bytes, after: bytes = b"") -> bytes:
    return b"\xff\xd8" + b"".join(segments) + SCAN + after


def jumbf(uuid: bytes, number: int = 1) -> bytes:
    description = struct.pack(">I4s", 24, b"jumd") + uuid + bytes(12)
    return segment(0xEB, b"JP" + struct.pack(">HII4s", 1, number, 400, b"jumb") + description)


# Segments as they come: known ones, near misses, fill bytes, lying lengths, and a cut anywhere.
kinds = st.sampled_from([0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xEE, 0xDB, 0xC4, 0xC0, 0xFE, 0xD8, 0x01])
honest = st.builds(segment, kinds, st.binary(max_size=40))
known = st.sampled_from(
    [JFIF, EXIF, MPF, b"\xff\xff", segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"x" * 40)]
)
packets = st.sampled_from([*PACKETS.values(), *(packet for packet, _ in UNFIT.values())]).map(xmp)
lying = st.builds(lambda length, code: struct.pack(">BBH", 0xFF, code, length), st.integers(0, 65535), kinds)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    parts = draw(st.lists(st.one_of(honest, known, known, packets, lying), max_size=8))
    whole = b"\xff\xd8" + b"".join(parts) + draw(st.sampled_from([SCAN, SCAN, b"\xff\xd9", b""]))
    return whole[: draw(st.integers(2, len(whole)))] if draw(st.booleans()) else whole


@given(files(), st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=90))
@settings(max_examples=400, deadline=None)
def test_stamping_changes_no_byte_that_is_not_ours(content: bytes, text: str) -> None:
    """Whatever the file holds, odd or damaged, would not come back when the marker is taken out."""
    value = text.encode()

    reading, stamped = stamp(JPEG, content, value)

    assert stripped(JPEG, stamped) == stripped(JPEG, content) == content
    assert look(JPEG, stamped).digest == reading.digest
    if reading.refusal is None:
        assert look(JPEG, stamped).marker == value
    else:
        assert stamped == content


@pytest.mark.parametrize("name", PACKETS)
def test_a_packet_that_is_there_gets_one_more_property(name: str) -> None:
    """Title, rights and rating of the picture would be lost, or in a packet that readers don't look for."""
    content = jpeg(JFIF, EXIF, xmp(PACKETS[name]), segment(0xDB, b"tables"))

    stamped = assert_exact(JPEG, content)

    assert stamped.count(XMP) == 1
    assert stamped.endswith(segment(0xDB, b"tables") + SCAN)


@pytest.mark.parametrize("name", PACKETS)
def test_an_xml_reader_finds_the_old_properties_and_ours(name: str) -> None:
    """Another program would find neither our marker nor what was there before."""
    before = saved(picture(), "JPEG", xmp=PACKETS[name])

    after = assert_exact(JPEG, before)

    assert marker_in(xmp_of(before)) == []
    assert marker_in(xmp_of(after)) == [VALUE.decode()]
    assert properties(xmp_of(after)) == properties(xmp_of(before))
    assert frames(after) == frames(before)


@pytest.mark.parametrize("name", UNFIT)
def test_a_packet_that_can_not_be_filled_is_left_as_it_is(name: str) -> None:
    """A damaged or unusual packet would be damaged further, or a second one set beside it."""
    packet, why = UNFIT[name]

    assert_refused(JPEG, jpeg(JFIF, xmp(packet)), why)


def test_a_marker_that_another_program_rewrote_is_read() -> None:
    """A picture that an editor saved would not be known again."""
    packet, _ = UNFIT["rewritten"]

    assert look(JPEG, jpeg(JFIF, xmp(packet))).marker == b'{"a":1}'


def test_our_segment_follows_those_that_must_be_first() -> None:
    """JFIF and Exif readers look for theirs right at the start."""
    rest = MPF + segment(0xEE, b"Adobe") + segment(0xDB, b"tables")

    for start in (b"", JFIF, EXIF, JFIF + EXIF, JFIF + segment(0xE0, b"JFXX\0")):
        stamped = assert_exact(JPEG, jpeg(start, rest, after=b"trailer"))

        head = b"\xff\xd8" + start + b"\xff\xe1"
        assert stamped.startswith(head)
        assert stamped[len(head) + 2 :].startswith(XMP)
        assert stamped.endswith(rest + SCAN + b"trailer")


def test_distances_to_further_pictures_stay_right() -> None:
    """The second picture of an MPO would not be found."""
    images = [picture(size=(40, 30)), picture("L", (40, 30)).convert("RGB").rotate(90)]
    before = saved(images[0], "MPO", save_all=True, append_images=images[1:])

    after = assert_exact(JPEG, before)

    assert len(frames(before)) == 2
    assert frames(after) == frames(before)


def test_xmp_behind_the_list_of_pictures_is_not_touched() -> None:
    """The pictures behind would move away from the list that tells where they are."""
    why = "its XMP can't grow: other parts of the file are found by their distance from it"

    assert_refused(JPEG, jpeg(JFIF, MPF, xmp(PACKETS["elements"])), why)


def test_a_packet_without_room_is_not_filled() -> None:
    """The length of a segment would overflow."""
    full = PACKETS["empty"] + b" " * (65_533 - len(XMP) - len(PACKETS["empty"]) - 5000)
    roomy = full[:-1000]

    assert_refused(JPEG, jpeg(xmp(full)), "its XMP is full")
    assert_exact(JPEG, jpeg(xmp(roomy)))


def test_a_marker_that_no_segment_holds_is_refused() -> None:
    """The length of our segment would overflow."""
    reading, copy = stamp(JPEG, jpeg(JFIF), b"x" * 13_100)

    assert copy == jpeg(JFIF)
    assert "65,504 fit" in str(reading.refusal)


@pytest.mark.parametrize(
    "value",
    [
        b" " * 40,
        b'{"source":"a & b < c > d"}',
        b'"<&>&<&>&<&>"',
        b"&" * 50,
        b"<b>" * 30,
        b"]]>",
        b"'\"]]&gt;",
    ],
)
def test_signs_that_xml_reserves_come_back_as_they_were(value: bytes) -> None:
    """The JSON that another program reads would not be the JSON that was written."""
    before = saved(picture(), "JPEG")

    after = assert_exact(JPEG, before, value)

    assert marker_in(xmp_of(after)) == [value.decode()]
    assert len(after) == len(assert_exact(JPEG, before, b"x" * len(value)))


@pytest.mark.parametrize("value", [b"\0", b"\n", b"\xc3\xa9", b"\x7f"])
def test_a_value_that_xml_can_not_hold_is_refused(value: bytes) -> None:
    """It would come back as another value, or not at all."""
    with pytest.raises(ValueError, match="marker in XMP"):
        stamp(JPEG, jpeg(JFIF), value)


def test_a_signed_picture_is_never_touched() -> None:
    """The signature covers every other byte: it would become invalid."""
    c2pa = b"c2pa\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71"

    assert_refused(JPEG, jpeg(JFIF, jumbf(c2pa), jumbf(c2pa, 2)), SIGNED)
    assert_exact(JPEG, jpeg(JFIF, jumbf(b"json" + c2pa[4:])))
    assert_exact(JPEG, jpeg(JFIF, segment(0xEB, b"HDR_RI ver=11")))


def test_a_file_with_two_markers_keeps_one() -> None:
    """Contradicting markers would stay for ever."""
    own = stamp(JPEG, jpeg(JFIF))[1][len(jpeg(JFIF)[:20]) : -len(SCAN)]
    filled = stamp(JPEG, jpeg(xmp(PACKETS["elements"])), b'"second"')[1][2 : -len(SCAN)]
    content = jpeg(JFIF, own, EXIF, own, filled, filled)

    reading, stamped = stamp(JPEG, content, b'"new"')

    assert reading.marker == VALUE
    assert stripped(JPEG, content) == stripped(JPEG, stamped)
    assert stripped(JPEG, content) == jpeg(JFIF, EXIF, xmp(PACKETS["elements"]), xmp(PACKETS["elements"]))
    assert stamped.count(b'"new"') == 1
    assert stamped.count(b"<comfyvn:provenance>") == 1


def test_a_packet_that_only_lost_our_property_is_not_taken_for_ours() -> None:
    """A packet of somebody else would be cut out with our marker."""
    own = stamp(JPEG, jpeg())[1][2 : -len(SCAN)]
    start, end = own.index(b"<rdf:Description"), own.index(b"</rdf:RDF>")
    emptied = own[4 + len(XMP) : start] + own[end:]

    assert_exact(JPEG, jpeg(xmp(emptied)))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_pillow_sees_the_same_picture(mode: str, options: dict[str, object]) -> None:
    """Pixels, profile, EXIF, resolution or comment would be lost by stamping."""
    before = saved(
        picture(mode), "JPEG", exif=exif(), icc_profile=srgb(), dpi=(300, 300), comment=b"mine", **options
    )

    after = assert_exact(JPEG, before)

    assert frames(after) == frames(before)
    assert told(after) == told(before)
    assert marker_in(xmp_of(after)) == [VALUE.decode()]
    with Image.open(io.BytesIO(after)) as image:
        assert image.info["comment"] == b"mine"


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xd8\xff",
        b"\xff\xd8" + b"\xff" * 300_000,
        b"\xff\xd8" + b"\xff\xe1\x00\x02" * 99_999 + SCAN,
        b"\xff\xd8" + b"\xff\xe1\x00\x02" * 100_001 + SCAN,
        b"\xff\xd8" + xmp(b"<a>" * 20_000) + SCAN,
        b"\xff\xd8" + xmp(b"<a b='" + b"&amp;" * 12_000) + SCAN,
        b"\xff\xd8" + xmp(PACKETS["empty"]) * 1000 + SCAN,
        b"\xff\xd8\xff\xe1\x00\x01" + SCAN,
        b"\xff\xd8\xff\xe1\xff\xff" + XMP,
    ],
    ids=range(9),
)
def test_a_hostile_file_is_looked_at_quickly_and_never_an_error(content: bytes) -> None:
    """One file would hold up a whole ingest."""
    reading, stamped = stamp(JPEG, content)

    assert stripped(JPEG, stamped) == content
    assert (reading.refusal is None) == (stamped != content)
