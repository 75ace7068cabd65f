"""The marker in files of chunks: WAVE (RIFF, RF64, BW64) and AIFF; facts of WAVE files."""

import io
import struct
import wave

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutagen.aiff import AIFF
from mutagen.id3 import TIT2
from mutagen.wave import WAVE

from comfyvn.media import probe
from comfyvn.media.wav import WavFormat
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

FMT = struct.pack("<HHIIHH", 1, 1, 8000, 8000, 1, 8)
EMPTY_TAG = b"ID3\4\0\0\0\0\0\0"
OLD_FRAME = b"TIT2\0\0\0\4\0\0\0Old"
OWN_FRAME = b"TXXX\0\0\0\x16\0\0\3comfyvn_provenance\0{}"


def tag(*frames: bytes, padding: int = 0) -> bytes:
    body = b"".join(frames) + bytes(padding)
    return b"ID3\4\0\0" + bytes(len(body) >> shift & 0x7F for shift in (21, 14, 7, 0)) + body


def chunk(kind: bytes, data: bytes, *, order: str = "<", pad: bytes = b"\0") -> bytes:
    return kind + struct.pack(f"{order}I", len(data)) + data + pad * (len(data) & 1)


def wav(*chunks: bytes, kind: bytes = b"RIFF", size: int | None = None, tail: bytes = b"") -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return kind + struct.pack("<I", len(body) if size is None else size) + body + tail


def sound(*after: bytes, data: bytes = bytes(range(100, 140)), tail: bytes = b"") -> bytes:
    return wav(chunk(b"fmt ", FMT), chunk(b"data", data), *after, tail=tail)


def rf64(*after: bytes, kind: bytes = b"RF64", data: bytes = bytes(40), tail: bytes = b"") -> bytes:
    rest = chunk(b"fmt ", FMT) + b"data\xff\xff\xff\xff" + data + b"".join(after)
    wide = struct.pack("<QQQI", 4 + 36 + len(rest), len(data), len(data), 0)
    return kind + b"\xff\xff\xff\xffWAVE" + chunk(b"ds64", wide) + rest + tail


def aiff(*chunks: bytes) -> bytes:
    common = struct.pack(">hIh", 1, 40, 8) + bytes.fromhex("400bfa00000000000000")
    body = (
        b"AIFF" + chunk(b"COMM", common, order=">") + chunk(b"SSND", bytes(48), order=">") + b"".join(chunks)
    )
    return b"FORM" + struct.pack(">I", len(body)) + body


# -- the law ----------------------------------------------------------------------------------------------

tags = st.builds(
    lambda frames, padding, rest: tag(*frames, padding=padding) + rest,
    st.lists(st.sampled_from([OLD_FRAME, OWN_FRAME]), max_size=3),
    st.sampled_from([0, 1, 2, 30]),
    st.sampled_from([b"", b"", b"\0", b"\0\0", b"rest"]),
)
chunks = st.one_of(
    st.builds(
        chunk,
        st.sampled_from([b"LIST", b"cue ", b"bext", b"smpl", b"JUNK", b"odd1"]),
        st.binary(max_size=9),
        pad=st.sampled_from([b"\0", b"\0", b"P"]),
    ),
    st.builds(chunk, st.sampled_from([b"id3 ", b"ID3 "]), tags, pad=st.sampled_from([b"\0", b"\0", b"P"])),
)


@given(
    st.lists(chunks, max_size=2),
    st.lists(chunks, max_size=3),
    st.binary(min_size=1, max_size=7),
    st.sampled_from([0, 0, 0, 1]),
    st.sampled_from([b"", b"", b"\0", b"\0\0\0", b"junk behind it"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=300).map(str.encode),
)
@settings(max_examples=600, deadline=None)
def test_stamping_adds_one_chunk_or_frame_and_nothing_else(
    before: list[bytes], after: list[bytes], data: bytes, lacking: int, tail: bytes, value: bytes
) -> None:
    """Odd lengths, missing padding and what others left behind the end would not come back."""
    whole = wav(chunk(b"fmt ", FMT), *before, chunk(b"data", data), *after)
    size = struct.unpack("<I", whole[4:8])[0] - lacking

    check_law(whole[:4] + struct.pack("<I", size) + whole[8 : len(whole) - lacking] + tail, value)


@given(st.lists(chunks, max_size=3), st.data())
@settings(max_examples=400, deadline=None)
def test_a_damaged_file_is_never_made_worse(after: list[bytes], data: st.DataObject) -> None:
    """A wrong length would send our chunk into the middle of the samples."""
    make = data.draw(st.sampled_from([sound, rf64, aiff]))
    content = bytearray(make(*after))
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(12, len(content) - 1))] = data.draw(st.integers(0, 255))

    check_law(bytes(content[: data.draw(st.integers(12, len(content)))]))


def test_a_last_chunk_without_its_padding_gets_it_with_the_marker_and_loses_it_again() -> None:
    """Python's own module writes such files; a chunk of ours would begin at an odd place and not be found."""
    sink = io.BytesIO()
    with wave.open(sink, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(b"\x81\x7f\x80" * 333)
    content = sink.getvalue()

    stamped = check_law(content)

    assert len(content) % 2 == 1
    assert len(stamped) % 2 == 0
    assert heard(stamped) == heard(content)
    assert tagged(stamped, WAVE) == {"TXXX:comfyvn_provenance": VALUE.decode()}


@pytest.mark.parametrize("tag_bytes", [EMPTY_TAG, tag(padding=1), tag(padding=7), tag(OLD_FRAME)])
@pytest.mark.parametrize("name", [b"id3 ", b"ID3 "])
def test_a_tag_that_was_there_is_told_from_one_of_ours(name: bytes, tag_bytes: bytes) -> None:
    """A file that came with a tag, if only an empty one, would lose it."""
    for content in (sound(chunk(name, tag_bytes)), sound(chunk(name, tag_bytes), chunk(b"LIST", b"odd"))):
        stamped = check_law(content)

        assert len(stamped) - len(content) >= len(VALUE)


# -- harmless to others -----------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_u8", "adpcm_ms"])
@pytest.mark.parametrize("is_tagged", [True, False])
def test_players_hear_and_see_the_same_in_a_stamped_wave_file(codec: str, is_tagged: bool) -> None:
    """Samples, times or tags would change with the stamp."""
    kind = "u8" if codec == "pcm_u8" else "s16"
    content = music(codec, "wav", tags=is_tagged, kind=kind)

    stamped = check_law(content)

    check_harmless(content, stamped)
    assert tagged(stamped, WAVE) == {"TXXX:comfyvn_provenance": VALUE.decode()}


def test_loops_cues_and_what_nobody_knows_stay_in_their_places() -> None:
    """Loop points and marks of editors would be lost."""
    cue = struct.pack("<IIIIIII", 1, 1, 7, 0x61746164, 0, 0, 7)
    foreign = [
        chunk(b"cue ", cue),
        chunk(b"smpl", bytes(60)),
        chunk(b"bext", bytes(602)),
        chunk(b"iXML", b"<a/>"),
    ]
    content = sound(*foreign, tail=b"left behind")

    stamped = check_law(content)

    at = len(content) - len(b"left behind")
    assert stamped[8:at] == content[8:at]
    assert stamped.endswith(b"left behind")


def test_a_tag_that_mutagen_wrote_keeps_its_frames() -> None:
    """Titles would be lost, or there would be two tags of which editors see one."""
    file = io.BytesIO(music("pcm_s16le", "wav"))
    tags = WAVE(file)
    tags.add_tags()
    tags["TIT2"] = TIT2(encoding=3, text="By mutagen")
    file.seek(0)
    tags.save(file)

    stamped = check_law(file.getvalue())

    assert tagged(stamped, WAVE) == {"TIT2": "By mutagen", "TXXX:comfyvn_provenance": VALUE.decode()}
    assert heard(stamped) == heard(file.getvalue())


def test_a_tag_editor_may_save_a_stamped_file() -> None:
    """The next rescan could not tell whose file it is."""
    file = io.BytesIO(stamp(sound())[1])
    tags = WAVE(file)
    tags["TIT2"] = TIT2(encoding=3, text="Renamed")
    file.seek(0)

    tags.save(file)

    assert marker(file.getvalue()) == VALUE
    check_law(file.getvalue(), OTHER)


@pytest.mark.parametrize("kind", [b"RF64", b"BW64"])
def test_long_wave_files_have_their_long_length_raised(kind: bytes) -> None:
    """A player would stop before the tag, or not play the file at all."""
    content = rf64(kind=kind)

    stamped = check_law(content)

    assert stamped[:8] == content[:8]
    assert struct.unpack("<QQ", stamped[20:36]) == (len(stamped) - 8, 40)
    if kind == b"RF64":
        check_harmless(content, stamped)


@pytest.mark.parametrize("is_tagged", [True, False])
def test_players_hear_and_see_the_same_in_a_stamped_aiff(is_tagged: bool) -> None:
    """Samples, times or tags would change with the stamp."""
    content = music("pcm_s16be", "aiff", tags=is_tagged)

    stamped = check_law(content)

    check_harmless(content, stamped)
    assert tagged(stamped, AIFF)["TXXX:comfyvn_provenance"] == VALUE.decode()


# -- refused ----------------------------------------------------------------------------------------------

GEOB = b"GEOB\0\0\0\x30\0\0\0application/x-c2pa-manifest-store\0\0\0" + bytes(12)
REFUSED = {
    "C2PA": (sound(chunk(b"C2PA", bytes(40))), "content credentials"),
    "C2PA in the tag": (sound(chunk(b"id3 ", tag(GEOB))), "content credentials"),
    "two tags": (sound(chunk(b"id3 ", EMPTY_TAG), chunk(b"ID3 ", EMPTY_TAG)), "more than one"),
    "no tag in its chunk": (sound(chunk(b"id3 ", b"something")), "holds no ID3 tag"),
    "streamed": (wav(chunk(b"fmt ", FMT), b"data\xff\xff\xff\xff" + bytes(9), size=0xFFFFFFFF), "missing"),
    "never finished": (wav(chunk(b"fmt ", FMT), b"data\0\0\0\0" + bytes(9), size=0), "missing"),
    "a length that was not written": (wav(chunk(b"fmt ", FMT), b"data\0\0\0\0" + bytes(9)), "damaged"),
    "cut short": (sound()[:-9], "cut short"),
    "samples cut short": (wav(chunk(b"fmt ", FMT), b"data\x64\0\0\0" + bytes(40)), "cut short"),
    "no samples": (wav(chunk(b"fmt ", FMT)), "no sound"),
    "no long length": (wav(chunk(b"fmt ", FMT), chunk(b"data", b""), kind=b"RF64"), "long lengths"),
    "too long": (rf64()[:20] + b"\xff" * 8 + rf64()[28:], "cut short"),
    "something else": (sound(b"\xff\xd8\xff\xe0\0\0\0\0"), "something else"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_can_not_grow_is_left_alone(name: str) -> None:
    """A signature would break, or a damaged file become unreadable."""
    content, why = REFUSED[name]

    assert why in (refusal(content) or "")


def test_a_file_of_nearly_four_gibibytes_is_looked_at_in_no_time_and_left_alone() -> None:
    """Its length would no longer fit; and reading all samples twice takes minutes."""
    size = 0xFFFFFFFE
    head = b"RIFF" + struct.pack("<I", size) + b"WAVE" + chunk(b"fmt ", FMT)
    file = Sparse(size + 8, head=(0, head + b"data" + struct.pack("<I", size + 8 - len(head) - 8)))

    layout = WavFormat().layout(file)  # type: ignore[arg-type]

    assert "4 GiB" in (layout.refusal or "")
    assert file.bytes_read < 1000


def test_a_file_of_millions_of_chunks_is_turned_down() -> None:
    """One file could stop a library for minutes (here: until the test's time-out)."""
    assert "100,000 chunks" in (refusal(sound(chunk(b"JUNK", b"") * 1_000_000)) or "")


# -- facts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codec", "kind", "bits"),
    [("pcm_u8", "u8", 8), ("pcm_s16le", "s16", 16), ("pcm_s24le", "s32", 24), ("pcm_f32le", "flt", 32)],
)
def test_the_header_tells_what_the_sound_is(codec: str, kind: str, bits: int) -> None:
    """Lists could not be searched by length or rate."""
    content = music(codec, "wav", kind=kind)

    facts = probe(io.BytesIO(stamp(content)[1]))

    assert facts["codec"] == codec
    assert facts["bit_depth"] == bits
    assert (facts["sample_rate"], facts["channels"], facts["duration_s"]) == (48_000, 2, 0.2)
    assert facts["tags"]["title"] == "Theme"
    assert "comfyvn_provenance" not in facts["tags"]


def test_a_samplers_loop_is_among_the_tags() -> None:
    """Game engines loop music by it."""
    loop = struct.pack("<9I6I", *[0] * 7, 1, 0, 0, 0, 10, 29, 0, 0)

    facts = probe(io.BytesIO(sound(chunk(b"smpl", loop))))

    assert facts["tags"] == {"loop_start": 10, "loop_length": 20}


def test_what_is_stripped_is_the_chunk_alone() -> None:
    """A tag that somebody added behind ours would go with it."""
    stamped = stamp(sound())[1]
    longer = wav(stamped[12:], chunk(b"LIST", b"more"))

    bare = stripped(longer)

    assert bare.endswith(chunk(b"LIST", b"more"))
    assert VALUE not in bare


def test_a_sound_without_samples_is_not_stamped() -> None:
    """FFmpeg takes an empty data chunk for one up to the end of the file, and would play the marker."""
    sink = io.BytesIO()
    with wave.open(sink, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(44_100)

    reading, copy = stamp(sink.getvalue())

    assert "holds no sound" in str(reading.refusal)
    assert copy == sink.getvalue()
