"""The marker in ID3 tags: MP3, and AAC in ADTS frames."""

import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutagen.id3 import APIC, ID3, TIT2, TXXX, USLT
from mutagen.mp3 import MP3

from comfyvn.media import read
from comfyvn.media.mp3 import Mp3Format
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

FRAME = b"\xff\xfb\x90\x64" + bytes(413)  # 128 kbit/s at 44.1 kHz: 417 bytes
SOUND = FRAME * 3
ID3V1 = b"TAG" + b"Old title".ljust(125, b"\0")
NAME = b"comfyvn_provenance"


def syncsafe(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def tag(*frames: bytes, version: int = 4, flags: int = 0, padding: int = 0) -> bytes:
    body = b"".join(frames) + bytes(padding)
    return b"ID3" + bytes([version, 0, flags]) + syncsafe(len(body)) + body


def frame(kind: bytes, data: bytes, *, version: int = 4, flags: int = 0) -> bytes:
    if version == 2:
        return kind + len(data).to_bytes(3) + data
    length = syncsafe(len(data)) if version == 4 else struct.pack(">I", len(data))
    return kind + length + flags.to_bytes(2) + data


def own(text: bytes, *, version: int = 4, encoding: int = 0) -> bytes:
    name = NAME + b"\0" if encoding in (0, 3) else b"\xff\xfe" + NAME.decode().encode("utf-16-le") + b"\0\0"
    return frame(b"TXX" if version == 2 else b"TXXX", bytes([encoding]) + name + text, version=version)


def mp3(*, tags: bool = True) -> bytes:
    whole = music("libmp3lame", "mp3", kind="s16p")
    return whole if tags else whole[10 + whole[8] * 128 + whole[9] :]


def edited(content: bytes, version: int, *frames: object) -> bytes:
    """Return a file whose tag mutagen wrote."""
    file = io.BytesIO(content)
    tags = ID3()
    for each in frames:
        tags.add(each)
    if version == 3:
        tags.update_to_v23()
    tags.save(file, v2_version=version)
    return file.getvalue()


# -- the law ----------------------------------------------------------------------------------------------

kinds = {2: [b"TT2", b"PIC", b"TXX"], 3: [b"TIT2", b"APIC", b"TXXX"], 4: [b"TIT2", b"APIC", b"TXXX"]}


@st.composite
def tags_of_any_kind(draw: st.DrawFn) -> bytes:
    version = draw(st.sampled_from([2, 3, 4]))
    others = st.builds(
        lambda kind, data: frame(kind, data, version=version),
        st.sampled_from(kinds[version]),
        st.binary(max_size=300),
    )
    ours = st.builds(
        lambda text, encoding: own(text.encode(), version=version, encoding=encoding),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
        st.sampled_from([0, 3] if version == 4 else [0]),
    )
    frames = draw(st.lists(st.one_of(others, others, ours), max_size=6))
    return tag(*frames, version=version, padding=draw(st.sampled_from([0, 0, 1, 9, 10, 11, 2000])))


tails = st.sampled_from(
    [b"", ID3V1, b"APETAGEX" + bytes(24), b"LYRICSBEGIN" + bytes(9) + b"LYRICS200", b"\xff"]
)


@given(
    st.lists(st.one_of(st.just(b""), tags_of_any_kind()), max_size=2).map(b"".join),
    tails,
    st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=400).map(str.encode),
)
@settings(max_examples=500, deadline=None)
def test_stamping_adds_one_frame_and_nothing_else(tags: bytes, tail: bytes, value: bytes) -> None:
    """Whatever tags a file has, its own bytes would not come back when the marker is taken out."""
    check_law(tags + SOUND + tail, value, "a.mp3")


@given(tags_of_any_kind(), st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_tag_is_never_made_worse(tags: bytes, data: st.DataObject) -> None:
    """A tag with a wrong length would be cut in two by our frame."""
    content = bytearray(tags + SOUND)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(3, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(content[: data.draw(st.integers(1, len(content)))])

    check_law(cut, VALUE, "a.mp3")


def test_an_empty_tag_is_told_from_one_of_ours() -> None:
    """A file that came with an empty tag would lose it."""
    for content in (tag() + SOUND, tag(padding=1) + SOUND, tag(version=3) + SOUND, SOUND):
        check_law(content)


def test_our_tag_before_another_is_not_taken_for_ours_alone() -> None:
    """The tag behind it would become the file's tag, and with it another marker."""
    both = tag(own(b"{}", encoding=3)) + tag(own(b"{1}")) + SOUND

    stamped = check_law(both, VALUE, "a.mp3")

    assert stripped(stamped, "a.mp3") == tag() + tag(own(b"{1}")) + SOUND


# -- harmless to others -----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_tagged", [True, False])
def test_players_hear_and_see_the_same_in_a_stamped_mp3(is_tagged: bool) -> None:
    """Samples, times or tags would change with the stamp."""
    content = mp3(tags=is_tagged)

    stamped = check_law(content)

    if is_tagged:
        check_harmless(content, stamped)
    assert heard(stamped) == heard(content)
    assert tagged(stamped, MP3)["TXXX:comfyvn_provenance"] == VALUE.decode()
    assert MP3(io.BytesIO(stamped)).info.length == MP3(io.BytesIO(content)).info.length


@pytest.mark.parametrize("version", [3, 4])
def test_frames_that_mutagen_wrote_are_all_there_afterwards(version: int) -> None:
    """Pictures and lyrics would be lost, or moved to another version of ID3."""
    cover = APIC(encoding=0, mime="image/png", type=3, desc="cover", data=bytes(range(256)) * 700)
    words = USLT(encoding=1, lang="jpn", desc="", text="\u6843\u592a\u90ce" * 100)
    content = edited(mp3(tags=False), version, TIT2(encoding=1, text="\u591c"), cover, words)

    stamped = check_law(content)

    before, after = ID3(io.BytesIO(content)), ID3(io.BytesIO(stamped))
    added = after.pop("TXXX:comfyvn_provenance")
    assert added.text == [VALUE.decode()]
    assert after.version == before.version == (2, version, 0)
    assert dict(after) == dict(before)


def test_a_tag_of_version_2_2_gets_a_frame_of_its_own_kind() -> None:
    """A frame of another version would make the tag unreadable."""
    content = tag(frame(b"TT2", b"\0Old", version=2), version=2, padding=20) + mp3(tags=False)

    stamped = check_law(content)

    assert ID3(io.BytesIO(stamped))["TXXX:comfyvn_provenance"].text == [VALUE.decode()]
    assert ID3(io.BytesIO(stamped))["TIT2"].text == ["Old"]


def test_tags_at_the_end_stay_as_they_are() -> None:
    """Volume, lyrics and old titles live there."""
    end = b"LYRICSBEGIN" + b"IND0000200" + b"000021LYRICS200" + b"APETAGEX" + bytes(24) + ID3V1
    content = tag(frame(b"TIT2", b"\0New")) + SOUND + end

    stamped = check_law(content)

    assert stamped.endswith(SOUND + end)


@pytest.mark.parametrize("encoding", [0, 1, 3])
@pytest.mark.parametrize("version", [3, 4])
def test_a_marker_that_mutagen_wrote_is_read_and_replaced(version: int, encoding: int) -> None:
    """Files that older releases stamped, or that a tag editor saved since, would carry two markers."""
    old = TXXX(encoding=encoding, desc=NAME.decode(), text=['{"provenance_id":7}'])
    content = edited(mp3(tags=False), version, old, TIT2(encoding=1, text="New"))

    stamped = check_law(content)

    assert marker(content) == b'{"provenance_id":7}'
    assert len(ID3(io.BytesIO(stamped)).getall("TXXX")) == 1


def test_a_tag_editor_may_save_a_stamped_file() -> None:
    """The next rescan could not tell whose file it is."""
    file = io.BytesIO(stamp(mp3())[1])
    tags = ID3(file)
    tags.add(TIT2(encoding=3, text="Renamed"))
    file.seek(0)

    tags.save(file)

    assert marker(file.getvalue()) == VALUE
    check_law(file.getvalue(), OTHER)


# -- refused ----------------------------------------------------------------------------------------------

CHAPTER = b"c1\0" + struct.pack(">IIII", 0, 1000, 0, 4096)
C2PA = b"\0application/x-c2pa-manifest-store\0c2pa\0c2pa\0" + bytes(40)
REFUSED = {
    "C2PA": (tag(frame(b"GEOB", C2PA)), "content credentials"),
    "C2PA by its new name": (tag(frame(b"GEOB", b"\3application/C2PA\0\0\0x")), "content credentials"),
    "chapters with offsets": (tag(frame(b"CHAP", CHAPTER)), "names places"),
    "an index": (tag(frame(b"ASPI", bytes(20))), "names places"),
    "unsynchronised": (tag(frame(b"TIT2", b"\0x", version=3), version=3, flags=0x80), "unsynchronised"),
    "extended header": (tag(syncsafe(6) + b"\1\0", flags=0x40), "extended header"),
    "compressed": (tag(version=2, flags=0x40), "compressed"),
    "footer": (tag(flags=0x10) + b"3DI" + tag(flags=0x10)[3:], "footer"),
    "something else in the padding": (tag(frame(b"TIT2", b"\0x"), b"\0\0\0\1" + bytes(20)), "damaged"),
    "a length too long": (tag(b"TIT2" + syncsafe(100) + bytes(30)), "damaged"),
    "plain lengths in 2.4": (tag(b"TIT2" + (200).to_bytes(4) + bytes(2) + b"\0" + b"x" * 199), "damaged"),
    "cut short": (b"ID3\4\0\0" + syncsafe(1 << 27), "damaged"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_tag_that_can_not_grow_is_left_alone(name: str) -> None:
    """A signature would break, chapters would point elsewhere, or a damaged tag would be cut in two."""
    tags, why = REFUSED[name]

    assert why in (refusal(tags + SOUND, "a.mp3") or "")


def test_chapters_by_time_alone_are_no_hindrance() -> None:
    """Podcasts and long music have them."""
    chapter = b"c1\0" + struct.pack(">IIII", 0, 1000, 0xFFFFFFFF, 0xFFFFFFFF)

    stamped = check_law(tag(frame(b"CHAP", chapter)) + SOUND)

    assert ID3(io.BytesIO(stamped))["CHAP:c1"].end_time == 1000


def test_unsynchronised_frames_of_version_2_4_are_no_hindrance() -> None:
    """There each frame is, with its true length, and our ASCII needs nothing."""
    stamped = check_law(tag(frame(b"TIT2", b"\3x\xff\0y"), flags=0x80) + SOUND)

    assert ID3(io.BytesIO(stamped))["TXXX:comfyvn_provenance"].text == [VALUE.decode()]


def test_a_file_whose_only_tag_is_an_old_one_keeps_being_told_by_it() -> None:
    """FFmpeg looks at ID3v1 only where there is no newer tag: the title would vanish from players."""
    assert "ID3v1" in (refusal(SOUND + ID3V1) or "")
    assert "at its end" in (
        refusal(SOUND + tag(frame(b"TIT2", b"\0x"), flags=0x10) + b"3DI" + bytes(7)) or ""
    )


@pytest.mark.parametrize(
    "follows", [b"", b"fLaC" + bytes(99), b"no sound at all", b"\xff\xfb\x90\x64" + bytes(99)]
)
def test_a_tag_with_something_else_behind_it_is_left_alone(follows: bytes) -> None:
    """Files that name places in themselves would lose their way."""
    assert "damaged" in (refusal(tag(frame(b"TIT2", b"\0x")) + follows) or "")


def test_a_value_that_no_frame_holds_is_refused() -> None:
    """Half a marker would be written."""
    for value in (b"a\0b", b"\xc3\xa4"):
        with pytest.raises(ValueError, match="marker"):
            stamp(SOUND, value)

    reading, copy = stamp(SOUND, b"x" * 70_000)

    assert "marker" in str(reading.refusal)
    assert copy == SOUND


# -- told apart -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "name", "format_name"),
    [
        (SOUND, "", "mp3"),
        (SOUND, "music.flac", "mp3"),
        (tag() + SOUND, "", "mp3"),
        (tag() + SOUND, "music.FLAC", "flac"),
        (tag() + SOUND, "music.aac", "aac"),
        (tag() + SOUND, "music.tta", "data"),
        (b"\xff\xf1\x50\x80\x02\x1f\xfc" + bytes(99), "", "aac"),
        (b"ID3 is how tags begin, and this is a text about them", "", "data"),
        ("\ufeffA text in UTF-16".encode("utf-16-le"), "", "data"),
        (b"\xff\xfd\x90\x64" + bytes(99), "", "data"),
        (b"\xff\xfd\x90\x64" + bytes(99), "old.mp2", "mp3"),
        (b"\xff\xff\xff\xff" * 20, "a.mp3", "data"),
        (b"\xff\xd8\xff\xe0" + bytes(99), "a.mp3", "image"),
    ],
)
def test_sounds_are_told_by_their_content_and_only_in_doubt_by_their_name(
    head: bytes, name: str, format_name: str
) -> None:
    """Texts would be taken for music, or FLAC behind a tag for MP3."""
    found = read(io.BytesIO(head), name=name).format

    assert found == format_name or (format_name == "image" and found == "jpeg")


def test_a_stamped_file_stays_what_it_was_whatever_its_name_says() -> None:
    """A stamped MP3 with a wrong suffix would get another format, and with it another hash."""
    for name in ("", "a.mp3", "a.flac", "a.aac", "a.wav", "a.bin"):
        check_law(SOUND, name=name)


def test_aac_takes_a_marker_only_into_a_tag_that_it_has() -> None:
    """Some players would not find the first frame any more."""
    content = music("aac", "adts", kind="fltp")
    with_tag = tag(frame(b"TIT2", b"\3Title")) + content

    stamped = check_law(with_tag, name="a.aac")

    assert "no place" in (refusal(content, "a.aac") or "")
    assert heard(stamped) == heard(content)
    assert ID3(io.BytesIO(stamped))["TXXX:comfyvn_provenance"].text == [VALUE.decode()]


def test_hostile_tags_are_turned_down() -> None:
    """One file could stop a library for minutes (here: until the test's time-out), or take all memory."""
    many = [frame(b"TIT2", b"") * 200_000, own(b"x") * 5_000, own(b"x" * 65_000) * 300]
    hostile = [tag(each) + SOUND for each in many]
    hostile.append(b"ID3\4\0\0\x7f\x7f\x7f\x7f" + bytes(20_000_000))
    hostile.append(tag() + b"\xff\xfb\x90\x60" * 100_000)

    refusals = [refusal(content, "a.mp3") for content in hostile]

    assert None not in refusals


def test_a_long_file_is_not_read_to_find_the_place() -> None:
    """Looking at a marker would take as long as reading the whole of it."""
    file = Sparse(8 << 30, head=(0, tag(frame(b"TIT2", b"\0Long")) + SOUND))

    layout = Mp3Format().layout(file)  # type: ignore[arg-type]

    assert layout.refusal is None
    assert file.bytes_read < 200_000
