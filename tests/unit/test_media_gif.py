"""The marker in GIF files: a comment before the first picture."""

import io

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from comfyvn.media.gif import GifFormat
from pictures import (
    SIGNED,
    VALUE,
    assert_exact,
    assert_refused,
    frames,
    look,
    picture,
    saved,
    stamp,
    stripped,
    told,
)

GIF = GifFormat()
SCREEN = b"\x02\0\x02\0\x80\0\0" + b"\0\0\0\xff\xff\xff"
PICTURE = b"\x2c\0\0\0\0\x02\0\x02\0\0\x02\x03\x44\x02\x05\0"
CONTROL = b"\x21\xf9\x04\x04\x0a\0\0\0"
LOOP = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"
END = b"\x3b"


def blocks(data: bytes, size: int = 255) -> bytes:
    cut = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(bytes([len(each)]) + each for each in cut) + b"\0"


def comment(text: bytes, size: int = 255) -> bytes:
    return b"\x21\xfe" + blocks(text, size)


def application(name: bytes, data: bytes = b"") -> bytes:
    return b"\x21\xff\x0b" + name + blocks(data)


def gif(*parts: bytes, version: bytes = b"GIF89a", screen: bytes = SCREEN, after: bytes = END) -> bytes:
    return version + screen + b"".join(parts) + after


OURS = comment(b"comfyvn_provenance=" + VALUE)
NEAR_MISSES = [
    comment(b"comfyvn_provenance"),
    comment(b"Comfyvn_provenance={}"),
    comment(b"comfyvn_provenance={}", size=7),
    comment(b"comfyvn_provenance={\0}"),
    comment(b"comfyvn_provenance=" + b"x" * 66_000),
    b"\x21\xfe\0",
    comment(b"comfyvn_provenance=" + b"x" * 300, size=254),
]
parts = st.sampled_from([PICTURE, CONTROL, LOOP, END, *NEAR_MISSES, comment(b"made with love")])
wild = st.builds(
    lambda label, data: bytes([0x21, label]) + blocks(data), st.integers(0, 255), st.binary(max_size=40)
)
texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=600)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    inside = draw(st.lists(st.one_of(parts, parts, wild, st.binary(max_size=6)), max_size=7))
    screen = draw(st.sampled_from([SCREEN, SCREEN[:4] + b"\0\0\0", b"\1\0\1\0\x87\0\0" + bytes(768)]))
    whole = gif(*inside, version=draw(st.sampled_from([b"GIF87a", b"GIF89a"])), screen=screen)
    return whole[: draw(st.integers(6, len(whole)))] if draw(st.booleans()) else whole


@given(files(), texts)
@settings(max_examples=500, deadline=None)
def test_stamping_changes_no_byte_that_is_not_ours(content: bytes, text: str) -> None:
    """Whatever the file holds, odd or damaged, would not come back when the marker is taken out."""
    reading, stamped = stamp(GIF, content, text.encode())

    assert stripped(GIF, stamped) == stripped(GIF, content) == content
    assert look(GIF, stamped).digest == reading.digest
    if reading.refusal is None:
        assert look(GIF, stamped).marker == text.encode()
    else:
        assert stamped == content


@pytest.mark.parametrize("version", [b"GIF87a", b"GIF89a"])
@pytest.mark.parametrize(
    "front", [b"", LOOP, LOOP + comment(b"made with love"), application(b"XMP DataXMP", b"<")]
)
def test_the_comment_stands_right_before_what_draws(version: bytes, front: bytes) -> None:
    """Players that want the loop count first would play the animation once."""
    for drawn in (PICTURE, CONTROL + PICTURE, b"\x21\x01\x0c" + bytes(12) + b"\x02hi\0" + PICTURE):
        stamped = assert_exact(GIF, gif(front, drawn, version=version))

        assert stamped == gif(front, OURS, drawn, version=version)


def test_a_comment_behind_the_first_picture_is_content() -> None:
    """Something that only looks like our marker would be cut out of a frame or of what follows the end."""
    content = gif(PICTURE, OURS, PICTURE, after=END + OURS + b"more")

    stamped = assert_exact(GIF, content)

    assert stamped == gif(OURS, PICTURE, OURS, PICTURE, after=END + OURS + b"more")


def test_a_file_with_two_markers_keeps_one() -> None:
    """Contradicting markers would stay for ever."""
    content = gif(OURS, LOOP, OURS, CONTROL, OURS, PICTURE)

    reading, stamped = stamp(GIF, content, b"{}")

    assert reading.marker == VALUE
    assert stripped(GIF, content) == stripped(GIF, stamped) == gif(LOOP, CONTROL, PICTURE)
    assert stamped == gif(LOOP, comment(b"comfyvn_provenance={}"), CONTROL, PICTURE)


@pytest.mark.parametrize("miss", NEAR_MISSES)
def test_a_comment_that_only_looks_like_ours_stays(miss: bytes) -> None:
    """A comment of somebody else would be cut out with our marker."""
    assert_exact(GIF, gif(miss, PICTURE))


@pytest.mark.parametrize("length", [1, 235, 236, 237, 490, 491, 492, 5000, 60_000])
def test_markers_of_any_length_are_found_again(length: int) -> None:
    """A marker that fills its blocks exactly would be read short, or swallow what follows."""
    assert_exact(GIF, gif(LOOP, PICTURE), b"x" * length)


def test_a_value_that_a_comment_can_not_hold_is_refused() -> None:
    """It would not be found again."""
    with pytest.raises(ValueError, match="marker"):
        stamp(GIF, gif(PICTURE), b"a\0b")

    reading, copy = stamp(GIF, gif(PICTURE), b"x" * 65_500)

    assert "marker" in str(reading.refusal)
    assert copy == gif(PICTURE)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (gif(LOOP, application(b"C2PA_GIF\1\0\0", b"jumb" * 200), CONTROL, PICTURE), SIGNED),
        (gif(), "it is damaged: it has no pixels"),
        (gif(LOOP, CONTROL), "it is damaged: it has no pixels"),
        (b"GIF89a", "it is damaged: it has no pixels"),
        (gif(LOOP[:9], after=b""), "it is damaged: it has no pixels"),
        (gif(*[OURS] * 101, PICTURE), "it has more than 100 markers"),
    ],
)
def test_a_file_that_can_not_be_stamped_says_why(content: bytes, why: str) -> None:
    """A signature would become invalid, a damaged file more so."""
    assert_refused(GIF, content, why)


def animated() -> bytes:
    more = [picture("P").rotate(angle) for angle in (30, 60, 90)]
    return saved(
        picture("P"),
        "GIF",
        save_all=True,
        append_images=more,
        duration=[40, 80, 120, 160],
        loop=3,
        disposal=2,
        comment=b"made with love",
    )


@pytest.mark.parametrize(
    "before", [saved(picture("P"), "GIF"), saved(picture("L"), "GIF", transparency=3), animated()]
)
def test_pillow_sees_the_same_frames_and_the_marker_besides(before: bytes) -> None:
    """Frames, timing, loops, transparency or the artist's comment would be lost by stamping."""
    after = assert_exact(GIF, before)

    assert frames(after) == frames(before)
    assert told(after) == told(before)
    with Image.open(io.BytesIO(before)) as old, Image.open(io.BytesIO(after)) as new:
        lines = new.info["comment"].split(b"\n")
        assert lines.pop() == b"comfyvn_provenance=" + VALUE
        assert b"\n".join(lines) == old.info.get("comment", b"")


def test_ffmpeg_decodes_the_same_frames_at_the_same_times() -> None:
    """Only the reader that was tried would still read the file."""
    before = animated()
    after = assert_exact(GIF, before)

    decoded = []
    for content in (before, after):
        with av.open(io.BytesIO(content), format="gif") as container:
            decoded.append(
                [(one.pts, one.to_ndarray(format="rgba").tobytes()) for one in container.decode(video=0)]
            )

    assert len(decoded[0]) == 4
    assert decoded[0] == decoded[1]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (gif(PICTURE), "thumbnail"),
        (gif(LOOP, CONTROL, PICTURE, CONTROL), "thumbnail"),
        (gif(PICTURE, PICTURE), "animation"),
        (gif(PICTURE, CONTROL, comment(b"between"), PICTURE)[:-12], "animation"),
        (gif(PICTURE, after=END + PICTURE), "thumbnail"),
        (animated(), "animation"),
        (saved(picture("P"), "GIF"), "thumbnail"),
        (b"GIF89a", "thumbnail"),
        (b"GIF89a" + SCREEN + b"\x21", "thumbnail"),
    ],
)
def test_an_animation_is_told_by_its_second_picture(content: bytes, kind: str) -> None:
    """A still would get a preview that moves, an animation one that doesn't."""
    assert GIF.kind_of(io.BytesIO(content)) == kind


@pytest.mark.parametrize(
    "content",
    [
        *[gif(b"\x21\xfe\0" * count, PICTURE) for count in range(83_320, 83_336)],
        gif(b"\x21\xfe\0" * 600_000, PICTURE),
        gif(b"\x21\xfe" + b"\x01x" * 900_000 + b"\0", PICTURE),
        gif(b"\x21\xff" + b"\xff" * 900_000),
    ],
    ids=range(19),
)
def test_a_hostile_file_is_looked_at_quickly_and_never_an_error(content: bytes) -> None:
    """One file would hold up a whole ingest."""
    reading, stamped = stamp(GIF, content)

    assert stripped(GIF, stamped) == content
    assert (reading.refusal is None) == (stamped != content)
    assert GIF.kind_of(io.BytesIO(content)) == "thumbnail"
