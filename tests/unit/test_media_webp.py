"""The marker in WebP files: in the XMP chunk, under a header that tells of it."""

import io
import struct

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from comfyvn.media.webp import WebpFormat
from pictures import (
    PACKETS,
    SIGNED,
    UNFIT,
    VALUE,
    assert_exact,
    assert_refused,
    chunk,
    exif,
    frames,
    look,
    marker_in,
    picture,
    properties,
    riff,
    saved,
    srgb,
    stamp,
    stripped,
    told,
    xmp_of,
)

WEBP = WebpFormat()
VP8 = chunk(b"VP8 ", b"\x10\0\0\x9d\x01\x2a\x5a\x00\x3c\x40" + b"pixels!")
VP8L = chunk(b"VP8L", b"\x2f" + (89 | 59 << 14 | 1 << 28).to_bytes(4, "little") + b"pixels")
ANMF = chunk(b"ANMF", bytes(16) + VP8)


def vp8x(flags: int = 0, *, reserved: bytes = b"\0\0\0") -> bytes:
    return chunk(b"VP8X", bytes([flags]) + reserved + (89).to_bytes(3, "little") + (59).to_bytes(3, "little"))


def xmp(packet: bytes) -> bytes:
    return chunk(b"XMP ", packet)


# Chunks as they come: known and private ones, odd lengths, markers' near misses, lying lengths, and a cut.
flags = st.sampled_from([0, 2, 4, 0x10, 0x14, 0x2C, 0xFF])
headers = st.sampled_from([b"", b"", VP8, VP8L]) | st.builds(vp8x, flags)
kinds = st.sampled_from(
    [b"VP8 ", b"VP8L", b"ALPH", b"ICCP", b"EXIF", b"ANIM", b"ANMF", b"C2PA", b"XMP ", b"priv"]
)
honest = st.builds(chunk, kinds, st.binary(max_size=30))
packets = st.sampled_from([*PACKETS.values(), *(packet for packet, _ in UNFIT.values())]).map(xmp)
pictures = st.sampled_from([VP8, VP8L, ANMF])
lying = st.builds(chunk, kinds, st.binary(max_size=9), st.integers(0, 2**32 - 1))


@st.composite
def files(draw: st.DrawFn) -> bytes:
    parts = draw(st.lists(st.one_of(honest, packets, pictures, lying), max_size=5))
    whole = riff(draw(headers), *parts, after=draw(st.binary(max_size=5)))
    if draw(st.booleans()):
        whole = whole[: draw(st.integers(12, len(whole)))]
    if draw(st.integers(0, 9)) == 0:
        whole = whole[:4] + struct.pack("<I", draw(st.integers(0, 2**32 - 1))) + whole[8:]
    return whole


@given(files(), st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=90))
@settings(max_examples=500, deadline=None)
def test_stamping_changes_no_byte_that_is_not_ours(content: bytes, text: str) -> None:
    """Whatever the file holds, odd or damaged, would not come back when the marker is taken out."""
    value = text.encode()

    reading, stamped = stamp(WEBP, content, value)

    assert stripped(WEBP, stamped) == stripped(WEBP, content) == content
    assert look(WEBP, stamped).digest == reading.digest
    if reading.refusal is None:
        assert look(WEBP, stamped).marker == value
        assert struct.unpack_from("<I", stamped, 4)[0] % 2 == 0
    else:
        assert stamped == content


@pytest.mark.parametrize("head", [VP8, VP8L])
def test_a_simple_file_gets_a_header_and_loses_it_again(head: bytes) -> None:
    """A simple file has no place for XMP; its header would stay behind when the marker goes."""
    stamped = assert_exact(WEBP, riff(head))

    has_alpha = 0x10 if head == VP8L else 0
    assert stamped[12:].startswith(vp8x(0x04 | has_alpha) + head + b"XMP ")


@pytest.mark.parametrize("flags", [0, 0x04, 0x10, 0x3E])
def test_the_header_tells_of_the_xmp_and_is_as_before_without_it(flags: int) -> None:
    """Readers that trust the header would not see the marker, or see one that is gone."""
    content = riff(vp8x(flags, reserved=b"\1\2\3"), chunk(b"ICCP", b"odd"), VP8, chunk(b"EXIF", b"MM"))

    stamped = assert_exact(WEBP, content)

    assert stamped[20] == flags | 0x04


@pytest.mark.parametrize("name", PACKETS)
@pytest.mark.parametrize("after", [b"", b"trailing"])
def test_a_packet_that_is_there_gets_one_more_property(name: str, after: bytes) -> None:
    """Title and rights would be lost, or stand in a packet that readers don't look for."""
    content = riff(vp8x(0x04), VP8, xmp(PACKETS[name]), chunk(b"priv", b"1"), after=after)

    stamped = assert_exact(WEBP, content)

    assert stamped.count(b"XMP ") == 1
    assert stamped.endswith(chunk(b"priv", b"1") + after)


@pytest.mark.parametrize("name", UNFIT)
def test_a_packet_that_can_not_be_filled_is_left_as_it_is(name: str) -> None:
    """A damaged or unusual packet would be damaged further, or a second one set beside it."""
    packet, why = UNFIT[name]

    assert_refused(WEBP, riff(vp8x(0x04), VP8, xmp(packet)), why)


ODD_PACKET = next(packet for packet in PACKETS.values() if len(packet) % 2)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (riff(vp8x(), VP8, chunk(b"C2PA", b"jumb")), SIGNED),
        (riff(VP8, chunk(b"EXIF", b"MM")), "it is of the simple kind and has more than a picture"),
        (riff(VP8, xmp(PACKETS["empty"])), "it is of the simple kind and has more than a picture"),
        (riff(vp8x(), VP8, xmp(PACKETS["empty"])), "its header denies the XMP that it has"),
        (riff(vp8x(4), VP8, xmp(ODD_PACKET)[:-1] + b"\1"), "its XMP is padded in an unusual way"),
        (riff(vp8x(4), VP8, xmp(b"x" * 1_100_000)), "its XMP is too large"),
        (riff(vp8x(4), VP8, xmp(PACKETS["empty"]) * 17), "its XMP is too large"),
        (riff(VP8[:-4]), "it is damaged: its chunks don't fill it"),
        (riff(VP8)[:-1], "it is damaged: it is cut short"),
        (riff(), "it is damaged: its chunks don't fill it"),
        (riff(chunk(b"VP8 ", b"pixels")), "it is damaged: its picture has no header"),
        (riff(chunk(b"VP8L", b"\x2f\0")), "it is damaged: its picture has no header"),
        (riff(chunk(b"VP8 ", b"\x10\0\0\x9d\x01\x2a\0\0\x3c\0")), "it is damaged: its picture has no size"),
        (riff(chunk(b"ALPH"), VP8), "it is damaged: it begins with neither picture nor header"),
    ],
)
def test_a_file_that_can_not_be_stamped_says_why(content: bytes, why: str) -> None:
    """A signature would become invalid, an odd file more so."""
    assert_refused(WEBP, content, why)


def test_a_header_that_another_program_changed_stays() -> None:
    """What that program put into the header would go with our marker."""
    stamped = stamp(WEBP, riff(VP8))[1]
    changed = bytearray(stamped)
    changed[20] |= 0x08
    with_exif = changed[12:] + chunk(b"EXIF", b"MM")

    content = riff(bytes(with_exif))

    assert look(WEBP, content).marker == VALUE
    assert stripped(WEBP, content) == riff(vp8x(0x08), VP8, chunk(b"EXIF", b"MM"))
    assert stripped(WEBP, stamp(WEBP, content)[1]) == stripped(WEBP, content)


def test_a_file_with_two_markers_keeps_one() -> None:
    """Contradicting markers would stay for ever."""
    own = stamp(WEBP, riff(vp8x(), VP8))[1][12 + len(vp8x() + VP8) :]
    content = riff(vp8x(4), own, VP8, own)

    _, stamped = stamp(WEBP, content, b'"new"')

    assert stripped(WEBP, content) == stripped(WEBP, stamped) == riff(vp8x(), VP8)
    assert stamped.count(b"<comfyvn:provenance>") == 1


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize(
    "options",
    [
        {"lossless": True},
        {"quality": 50},
        {"lossless": True, "icc_profile": srgb(), "exif": exif()},
        {"xmp": PACKETS["attributes"]},
    ],
)
def test_pillow_sees_the_same_picture(mode: str, options: dict[str, object]) -> None:
    """Pixels, alpha, profile, EXIF or XMP would be lost by stamping."""
    image = picture(mode)
    if mode == "RGBA":
        image.putalpha(picture("L"))
    before = saved(image, "WEBP", **options)

    after = assert_exact(WEBP, before)

    assert frames(after) == frames(before)
    assert told(after) == told(before)
    assert marker_in(xmp_of(after)) == [VALUE.decode()]
    if "xmp" in options:
        assert properties(xmp_of(after)) == properties(xmp_of(before))


def animated(**options: object) -> bytes:
    more = [picture("RGBA").rotate(angle) for angle in (30, 60, 90)]
    return saved(
        picture("RGBA"), "WEBP", save_all=True, append_images=more, duration=[40, 80, 120, 160], **options
    )


@pytest.mark.parametrize(
    "options", [{"loop": 3}, {"lossless": True, "icc_profile": srgb(), "minimize_size": True}]
)
def test_every_frame_of_an_animation_survives(options: dict[str, object]) -> None:
    """An animated sprite would become a still, or run at another speed."""
    before = animated(**options)

    after = assert_exact(WEBP, before)

    assert len(frames(before)) == 4
    assert frames(after) == frames(before)
    assert told(after) == told(before)
    assert marker_in(xmp_of(after)) == [VALUE.decode()]


def test_ffmpeg_decodes_the_same_picture() -> None:
    """Only the reader that was tried would still read the file."""
    before = saved(picture("RGB"), "WEBP")
    after = assert_exact(WEBP, before)

    decoded = []
    for content in (before, after):
        with av.open(io.BytesIO(content), format="webp_pipe") as container:
            decoded.append(
                [frame.to_ndarray(format="rgb24").tobytes() for frame in container.decode(video=0)]
            )

    assert decoded[0]
    assert decoded[0] == decoded[1]


def test_pillow_keeps_our_header_recognisable() -> None:
    """A file that went through a program which keeps XMP would not be known again."""
    stamped = stamp(WEBP, saved(picture(), "WEBP"))[1]
    with Image.open(io.BytesIO(stamped)) as image:
        again = saved(image, "WEBP", xmp=image.info["xmp"])

    assert look(WEBP, again).marker == VALUE
    assert stripped(WEBP, stamp(WEBP, again)[1]) == stripped(WEBP, again)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (riff(VP8), "thumbnail"),
        (riff(vp8x(2), chunk(b"ANIM", bytes(6)), ANMF), "thumbnail"),
        (riff(vp8x(2), chunk(b"ANIM", bytes(6)), ANMF, ANMF), "animation"),
        (riff(vp8x(0), ANMF, ANMF), "thumbnail"),
        (riff(vp8x(2))[:20], "thumbnail"),
        (b"RIFF", "thumbnail"),
    ],
)
def test_an_animation_is_told_by_its_second_frame(content: bytes, kind: str) -> None:
    """A still would get a preview that moves, an animation one that doesn't."""
    assert WEBP.kind_of(io.BytesIO(content)) == kind


@pytest.mark.parametrize(
    "content",
    [
        riff(vp8x(), *[b"priv\0\0\0\0"] * 99_999),
        riff(vp8x(), *[b"priv\0\0\0\0"] * 100_020),
        riff(vp8x(4), VP8, xmp(b"<a>" * 340_000)),
        riff(vp8x(4), VP8, xmp(PACKETS["empty"][:-40].replace(b"></", b">" + b"<a/>" * 200_000 + b"</"))),
        riff(vp8x(2), *[chunk(b"ANMF", length=2**32 - 1)] * 9),
    ],
    ids=range(5),
)
def test_a_hostile_file_is_looked_at_quickly_and_never_an_error(content: bytes) -> None:
    """One file would hold up a whole ingest."""
    reading, stamped = stamp(WEBP, content)

    assert stripped(WEBP, stamped) == content
    assert (reading.refusal is None) == (stamped != content)
    assert WEBP.kind_of(io.BytesIO(content)) == "thumbnail"
