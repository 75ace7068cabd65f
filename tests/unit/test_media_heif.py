"""The marker in AVIF, HEIC and JPEG XL files: a box of its own at the end."""

import io
import struct
from xml.etree import ElementTree

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from comfyvn.media.heif import AvifFormat, HeicFormat, JxlFormat
from pictures import (
    PACKETS,
    SIGNED,
    UNFIT,
    VALUE,
    assert_exact,
    assert_refused,
    box,
    exif,
    frames,
    look,
    marker_in,
    picture,
    saved,
    srgb,
    stamp,
    stripped,
    told,
)

AVIF, HEIC, JXL = AvifFormat(), HeicFormat(), JxlFormat()
XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
C2PA = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
FTYP = box(b"ftyp", b"heic\0\0\0\0mif1heic")
META = box(b"meta", bytes(4), box(b"iloc", b"places"))
MDAT = box(b"mdat", b"pixels")
EMPTY = box(b"free", bytes(16))
PLAIN = FTYP + META + MDAT
JXL_HEAD = b"\0\0\0\x0cJXL \r\n\x87\n" + box(b"ftyp", b"jxl \0\0\0\0jxl ")
CODESTREAM = box(b"jxlc", b"\xff\x0apixels")
needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")


def xmp(packet: bytes) -> bytes:
    return box(b"uuid", XMP, packet)


def large(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I4sQ", 1, kind, len(data) + 16) + data


# Boxes as they come: known ones, 64-bit lengths, lying lengths, no length, and a cut anywhere.
kinds = st.sampled_from(
    [b"meta", b"mdat", b"free", b"uuid", b"moov", b"mfra", b"Exif", b"xml ", b"brob", b"jumb"]
)
packets = st.sampled_from([*PACKETS.values(), *(packet for packet, _ in UNFIT.values())])
honest = st.builds(box, kinds, st.binary(max_size=40))
lying = st.builds(lambda kind, size: box(kind, b"data", size=size), kinds, st.integers(0, 2**32 - 1))
boxes = st.one_of(
    honest,
    honest,
    packets.map(xmp),
    packets.map(lambda packet: box(b"xml ", packet)),
    st.builds(large, kinds, st.binary(max_size=20)),
    st.builds(lambda size: struct.pack(">I4sQ", 1, b"mdat", size) + b"data", st.integers(0, 2**64 - 1)),
    lying,
)


@given(
    st.sampled_from([(HEIC, FTYP), (AVIF, box(b"ftyp", b"avif\0\0\0\0")), (JXL, JXL_HEAD)]),
    st.lists(boxes, max_size=6),
    st.integers(0, 900),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=90),
)
@settings(max_examples=500, deadline=None)
def test_stamping_changes_no_byte_that_is_not_ours(kind, parts: list[bytes], cut: int, text: str) -> None:
    """Whatever the file holds, odd or damaged, would not come back when the marker is taken out."""
    found, head = kind
    content = (head + b"".join(parts))[: None if cut > 300 else cut]
    value = text.encode()

    reading, stamped = stamp(found, content, value)

    assert stripped(found, stamped) == stripped(found, content) == content
    assert look(found, stamped).digest == reading.digest
    if reading.refusal is None:
        assert look(found, stamped).marker == value
    else:
        assert stamped == content


def test_our_box_is_the_last_and_no_other_moves() -> None:
    """Pictures are found by their distance from the start: they would be lost."""
    for kind, content, start in [
        (HEIC, PLAIN, b"uuid" + XMP),
        (HEIC, FTYP + large(b"mdat", b"pixels") + META, b"uuid" + XMP),
        (JXL, JXL_HEAD + CODESTREAM, b"xml <?xpacket"),
    ]:
        stamped = assert_exact(kind, content)

        assert stamped.startswith(content)
        assert stamped[len(content) + 4 :].startswith(start)
        length = struct.unpack_from(">I", stamped, len(content))[0]
        assert stamped[len(content) + length :] == (b"" if kind is JXL else EMPTY)


@pytest.mark.parametrize("name", PACKETS)
def test_a_packet_at_the_end_gets_one_more_property(name: str) -> None:
    """Its properties would be lost, or ours stand in a packet that readers don't look for."""
    stamped = assert_exact(HEIC, PLAIN + xmp(PACKETS[name]))

    assert stamped.startswith(PLAIN)
    assert stamped.count(XMP) == 1


@pytest.mark.parametrize("name", PACKETS)
def test_a_packet_anywhere_in_a_jpeg_xl_gets_one_more_property(name: str) -> None:
    """Encoders put it before the pixels; nothing there is found by its distance."""
    stamped = assert_exact(JXL, JXL_HEAD + box(b"xml ", PACKETS[name]) + CODESTREAM)

    assert stamped.endswith(CODESTREAM)
    assert stamped.count(b"xml ") == 1


def test_other_xml_in_a_jpeg_xl_is_none_of_our_business() -> None:
    """A file would be refused for what is not XMP."""
    assert_exact(JXL, JXL_HEAD + box(b"xml ", b"<svg/>") + CODESTREAM)


FIXED = "its XMP can't grow: other parts of the file are found by their distance from it"


@pytest.mark.parametrize(
    ("kind", "content", "why"),
    [
        (HEIC, PLAIN + box(b"uuid", C2PA, b"jumb"), SIGNED),
        (HEIC, FTYP + large(b"uuid", C2PA + b"jumb") + META, SIGNED),
        (JXL, JXL_HEAD + box(b"jumb", box(b"jumd", b"c2pa")) + CODESTREAM, SIGNED),
        (JXL, JXL_HEAD + box(b"brob", b"jumbpacked") + CODESTREAM, SIGNED),
        (JXL, JXL_HEAD + box(b"brob", b"xml packed") + CODESTREAM, "its XMP is compressed"),
        (JXL, b"\xff\x0apixels", "it is a naked JPEG XL, which has no place for it"),
        (HEIC, FTYP + xmp(PACKETS["empty"]) + MDAT, FIXED),
        (HEIC, PLAIN + large(b"uuid", XMP + PACKETS["empty"]), "its XMP is too large"),
        (HEIC, PLAIN + xmp(b"x" * 1_100_000), "its XMP is too large"),
        (HEIC, PLAIN + xmp(UNFIT["rewritten"][0]), UNFIT["rewritten"][1]),
        (HEIC, PLAIN + box(b"mfra", b"index"), "its index has to be its last part"),
        (
            HEIC,
            FTYP + META + box(b"mdat", b"pixels", size=0),
            "its last part has no length: whatever follows would belong to it",
        ),
        (HEIC, PLAIN[:-1], "it is damaged: its boxes don't fill it"),
        (HEIC, PLAIN + b"\0\0\0", "it is damaged: its boxes don't fill it"),
        (HEIC, PLAIN + box(b"free", size=7), "it is damaged: its boxes don't fill it"),
        (HEIC, PLAIN + struct.pack(">I4sQ", 1, b"free", 2**63), "it is damaged: its boxes don't fill it"),
    ],
)
def test_a_file_that_can_not_be_stamped_says_why(kind, content: bytes, why: str) -> None:
    """A signature would become invalid, pictures would be lost, or the marker become part of one."""
    assert_refused(kind, content, why)


def test_a_file_with_two_markers_keeps_one() -> None:
    """Contradicting markers would stay for ever."""
    own = stamp(HEIC, PLAIN)[1][len(PLAIN) :]

    _, stamped = stamp(HEIC, PLAIN + own + own, b'"new"')

    assert stripped(HEIC, PLAIN + own + own) == stripped(HEIC, stamped) == PLAIN
    assert stamped.count(b"<comfyvn:provenance>") == 1


def test_a_marker_with_something_behind_it_is_read_and_left() -> None:
    """What another program appended would move, and no longer be found."""
    own = stamp(HEIC, PLAIN)[1][len(PLAIN) :]
    content = PLAIN + own + MDAT

    reading, stamped = stamp(HEIC, content)

    assert reading.marker == VALUE
    assert reading.refusal is not None
    assert stamped == stripped(HEIC, content) == content


@needs_avif
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("xmp_in_item", [None, PACKETS["attributes"]])
def test_pillow_sees_the_same_picture(mode: str, xmp_in_item: bytes | None) -> None:
    """Pixels, alpha, profile, EXIF or XMP would be lost by stamping."""
    options = {} if xmp_in_item is None else {"xmp": xmp_in_item}
    before = saved(picture(mode), "AVIF", speed=10, exif=exif(), icc_profile=srgb(), **options)

    after = assert_exact(AVIF, before)

    assert frames(after) == frames(before)
    assert told(after) == told(before)
    with Image.open(io.BytesIO(after)) as image:
        assert image.info.get("xmp") == xmp_in_item


def sequence() -> bytes:
    more = [picture("RGB").rotate(angle) for angle in (30, 60)]
    return saved(
        picture("RGB"), "AVIF", save_all=True, append_images=more, duration=[100, 200, 300], speed=10
    )


@needs_avif
def test_every_frame_of_a_sequence_survives() -> None:
    """An animated sprite would become a still, or run at another speed."""
    before = sequence()

    after = assert_exact(AVIF, before)

    assert len(frames(before)) == 3
    assert frames(after) == frames(before)
    assert AVIF.kind_of(io.BytesIO(before)) == AVIF.kind_of(io.BytesIO(after)) == "animation"


@needs_avif
def test_ffmpeg_reads_the_same_packets() -> None:
    """Only the reader that was tried would still read the file."""
    before = sequence()
    after = assert_exact(AVIF, before)

    read = []
    for content in (before, after):
        with av.open(io.BytesIO(content)) as container:
            read.append([(packet.pts, packet.duration, bytes(packet)) for packet in container.demux()])

    assert len(read[0]) >= 3
    assert read[0] == read[1]


@needs_avif
def test_ffmpeg_finds_our_property() -> None:
    """No other program could tell where the picture comes from."""
    for before in (saved(picture(), "AVIF", speed=10), sequence()):
        after = assert_exact(AVIF, before)

        with av.open(io.BytesIO(after), options={"export_xmp": "1"}) as container:
            packet = container.metadata["xmp"]

        assert marker_in(ElementTree.fromstring(packet)) == [VALUE.decode()]


def test_a_marker_without_its_tail_is_read_and_left() -> None:
    """A box that some program shortened would be taken for ours, and more cut out than we put in."""
    content = stamp(HEIC, PLAIN)[1][: -len(EMPTY)]

    assert look(HEIC, content).marker == VALUE
    assert stripped(HEIC, content) == stamp(HEIC, content)[1] == content


def track(*counts: int) -> bytes:
    made = b""
    for count in counts:
        table = box(b"stsz", bytes(8), struct.pack(">I", count))
        made += box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", table))))
    return box(b"moov", made)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (box(b"ftyp", b"avis\0\0\0\0") + track(2), "animation"),
        (box(b"ftyp", b"avis\0\0\0\0") + track(1, 5), "animation"),
        (box(b"ftyp", b"avis\0\0\0\0") + track(1), "thumbnail"),
        (box(b"ftyp", b"avif\0\0\0\0avis") + track(5), "thumbnail"),
        (box(b"ftyp", b"avis\0\0\0\0") + track(5)[:-3], "thumbnail"),
        (box(b"ftyp", b"avis\0\0\0\0"), "thumbnail"),
        (b"\0\0\0\x0cftyp", "thumbnail"),
    ],
)
def test_a_sequence_is_told_by_its_second_sample(content: bytes, kind: str) -> None:
    """A still would get a preview that moves, an animation one that doesn't."""
    assert AVIF.kind_of(io.BytesIO(content)) == kind


@pytest.mark.parametrize(
    ("kind", "head", "name", "is_it"),
    [
        (AVIF, b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "", True),
        (AVIF, b"\0\0\0\x18ftypmp42\0\0\0\0isomavis", "", True),
        (AVIF, b"\0\0\0\x14ftypisom\0\0\0\0mp42avif", "", False),
        (HEIC, b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "", True),
        (HEIC, b"\0\0\0\x18ftyphevc\0\0\0\0msf1hevc", "", True),
        (HEIC, b"\0\0\0\x18ftypmp42\0\0\0\0isommp42", "a.heic", False),
        (JXL, JXL_HEAD, "", True),
        (JXL, b"\xff\x0a\x01\x02", "a.JXL", True),
        (JXL, b"\xff\x0a\x01\x02", "a.txt", False),
    ],
)
def test_a_file_is_told_by_its_brands(kind, head: bytes, name: str, is_it: bool) -> None:
    """A film would be taken for a picture, or a picture for a film."""
    assert kind.sniff(head, name) is is_it


@pytest.mark.parametrize(
    "content",
    [
        PLAIN + box(b"free") * 99_997,
        PLAIN + box(b"free") * 99_998,
        PLAIN + box(b"free") * 100_020,
        PLAIN + xmp(PACKETS["empty"]) * 1000,
        PLAIN + xmp(b"<a>" * 340_000),
        box(b"ftyp", b"avis\0\0\0\0") + box(b"moov", box(b"trak", box(b"mdia") * 3000) * 20) * 20,
    ],
    ids=range(6),
)
def test_a_hostile_file_is_looked_at_quickly_and_never_an_error(content: bytes) -> None:
    """One file would hold up a whole ingest."""
    reading, stamped = stamp(HEIC, content)

    assert stripped(HEIC, stamped) == content
    assert (reading.refusal is None) == (stamped != content)
    assert AVIF.kind_of(io.BytesIO(content)) == "thumbnail"
