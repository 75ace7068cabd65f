"""The marker in WebM and Matroska: nothing of the film changes, and every reader finds it."""

import hashlib
import io
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyvn.media import PreviewLimits, Reading, fill_marker, read, read_marker, strip
from comfyvn.media.formats import kind_of, recognise
from comfyvn.media.matroska import MatroskaFormat
from films import encode, packets, pictures, samples, tags

VALUE = b'{"provenance_id":123,"source":"test","uid":"0123456789abcdef"}'
HEADER = bytes.fromhex("1a45dfa3 8b 4282 84") + b"webm" + bytes.fromhex("4285 81 02")
SEEK_HEAD, SEGMENT, TRACKS, CLUSTER, CUES = "114D9B74", "18538067", "1654AE6B", "1F43B675", "1C53BB6B"
TAGS, TAG, SIMPLE_TAG, TAG_NAME, TAG_STRING, VOID = "1254C367", "7373", "67C8", "45A3", "4487", "EC"


def stamp(content: bytes, value: bytes = VALUE) -> tuple[Reading, bytes]:
    sink = io.BytesIO()
    reading = read(io.BytesIO(content), sink, marker_bytes=len(value))
    if reading.slots:
        fill_marker(sink, reading, value)
    return reading, sink.getvalue()


def stripped(content: bytes) -> bytes:
    sink = io.BytesIO()
    strip(io.BytesIO(content), sink)
    return sink.getvalue()


def element(ident: str, *content: bytes, width: int = 4, length: int | None = None) -> bytes:
    """Return an element, its length in ``width`` bytes; ``length=-1`` is an unknown one."""
    whole = b"".join(content)
    length = len(whole) if length is None else length
    length = (1 << 7 * width) - 1 if length == -1 else length
    return bytes.fromhex(ident) + (length | 1 << 7 * width).to_bytes(width, "big") + whole


def summed(content: bytes) -> bytes:
    return b"\xbf\x84" + zlib.crc32(content).to_bytes(4, "little") + content


def tag(name: bytes, value: bytes) -> bytes:
    simple = element(SIMPLE_TAG, element(TAG_NAME, name, width=1), element(TAG_STRING, value, width=2))
    return element(TAGS, element(TAG, element("63C0", width=1), simple))


SEEK = element(
    "4DBB", element("53AB", bytes.fromhex(TRACKS), width=1), element("53AC", b"\x40", width=1), width=1
)
TRACK = element(TRACKS, element("AE", element("D7", b"\1", width=1), element("83", b"\1", width=1)))
CLUSTERS = element(CLUSTER, element("A3", b"a block of a film")) + element(CLUSTER, bytes(50), width=8)


def film(*parts: bytes, width: int = 8, tail: bytes = b"") -> bytes:
    return HEADER + element(SEGMENT, *parts, width=width) + tail


# What may stand at the start of a segment: lists of contents with and without room behind them.
BEGINNINGS = {
    "none": b"",
    "room": element(SEEK_HEAD, SEEK, width=1) + element(VOID, bytes(60), width=1),
    "wide room": element(SEEK_HEAD, SEEK, width=8) + element(VOID, bytes(300), width=8),
    "just room": element(SEEK_HEAD, SEEK) + element(VOID, bytes(18), width=2),
    "too little room": element(SEEK_HEAD, SEEK) + element(VOID, bytes(9), width=2),
    "no room": element(SEEK_HEAD, SEEK) + TRACK,
    "an empty list": element(SEEK_HEAD) + element(VOID, bytes(90), width=2),
    "a full list": element(SEEK_HEAD, SEEK * 8, width=1) + element(VOID, bytes(90), width=2),
    "used room": element(SEEK_HEAD, SEEK) + element(VOID, b"not empty" * 9, width=2),
    "check sum": element(SEEK_HEAD, summed(SEEK)) + element(VOID, bytes(90), width=2),
    "wrong check sum": element(SEEK_HEAD, b"\xbf\x84sum!" + SEEK) + element(VOID, bytes(90), width=2),
    "wide check sum": element(SEEK_HEAD, b"\xbf\x40\4sum!" + SEEK) + element(VOID, bytes(90), width=2),
    "short check sum": element(SEEK_HEAD, b"\xbf\x84") + element(VOID, bytes(90), width=2),
    "two lists": (element(SEEK_HEAD, SEEK) + element(VOID, bytes(90), width=2)) * 2,
}
LISTED = {"room", "wide room", "just room", "an empty list", "check sum", "two lists"}
beginnings = st.sampled_from(sorted(BEGINNINGS)).map(lambda name: BEGINNINGS[name])
ends = st.sampled_from([b"", element(CUES, bytes(30)), tag(b"TITLE", b"A film"), element(VOID, bytes(30))])
tails = st.one_of(st.just(b""), st.binary(max_size=20), st.just(film(CLUSTERS)))


@st.composite
def films(draw: st.DrawFn) -> bytes:
    width = draw(st.sampled_from([3, 4, 8, 8]))
    whole = film(draw(beginnings), TRACK, CLUSTERS, draw(ends), width=width, tail=draw(tails))
    damage = draw(st.sampled_from(["none", "none", "none", "cut", "turned"]))
    if damage == "cut":
        return whole[: draw(st.integers(len(HEADER), len(whole)))]
    if damage == "turned":
        at = draw(st.integers(len(HEADER), len(whole) - 1))
        return whole[:at] + draw(st.binary(min_size=1, max_size=4)) + whole[at + 1 :]
    return whole


@given(films(), st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=90))
@settings(max_examples=500, deadline=None)
def test_stamping_changes_no_byte_that_is_not_ours(content: bytes, text: str) -> None:
    """Whatever the file holds, odd or damaged, would not come back when the marker is taken out."""
    value = text.encode()

    reading, stamped = stamp(content, value)

    assert stripped(stamped) == content
    assert reading.digest == read(io.BytesIO(stamped)).digest == hashlib.sha256(content).hexdigest()
    assert reading.size_bytes == len(content)
    assert read_marker(io.BytesIO(stamped)) == (value if reading.slots else None)
    assert stamp(stamped)[1] == stamp(content)[1]
    assert (stamped == content) == (reading.refusal is not None)


@given(
    beginnings,
    ends,
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255) | st.sampled_from([0, 1, 127, 255])), max_size=3),
)
@settings(max_examples=500, deadline=None)
def test_a_stamped_file_that_is_damaged_afterwards_loses_no_byte_that_is_not_ours(
    beginning: bytes, end: bytes, turned: list[tuple[float, int]]
) -> None:
    """A file whose marker is half there would come out shorter each time that it is stamped."""
    damaged = bytearray(stamp(film(beginning, TRACK, CLUSTERS, end))[1])
    for share, byte in turned:
        damaged[len(HEADER) + int(share * (len(damaged) - len(HEADER) - 1))] = byte
    content = bytes(damaged)

    reading, stamped = stamp(content, b"{}")

    assert reading.digest == hashlib.sha256(stripped(content)).hexdigest() == read(io.BytesIO(stamped)).digest
    assert stripped(stamped) == stripped(stripped(content)) == stripped(content)
    assert stamped == content if reading.refusal else read_marker(io.BytesIO(stamped)) == b"{}"


@pytest.mark.parametrize("name", sorted(BEGINNINGS))
def test_the_list_of_contents_leads_to_the_marker_where_there_is_room_for_it(name: str) -> None:
    """Players would not show the marker; or the list would grow over what stands behind it."""
    content = film(BEGINNINGS[name], TRACK, CLUSTERS)

    reading, stamped = stamp(content)

    start = len(HEADER) + 12
    position = len(content) - start
    entry = (
        bytes.fromhex(TAGS)
        + bytes.fromhex("53AC")
        + element("", position.to_bytes(1 + (position > 255), "big"), width=1)
    )
    assert reading.refusal is None
    assert (entry in stamped) == (name in LISTED)
    assert stamped[start + position :].startswith(bytes.fromhex(TAGS))
    assert stamped.index(CLUSTERS) == content.index(CLUSTERS)
    assert stripped(stamped) == content


REAL: dict[str, Callable[[], bytes]] = {
    "film.webm": lambda: encode("webm", video="libvpx-vp9", sound="libopus"),
    "old.webm": lambda: encode("webm", video="libvpx", frames=80, tags={"title": "A film"}),
    "music.webm": lambda: encode("webm", sound="libopus", frames=150),
    "film.mkv": lambda: encode("matroska", video="mpeg4", sound="aac", tags={"title": "A film"}),
    "plain.mkv": lambda: encode("matroska", video="mpeg4", options={"write_crc32": "0"}),
    "fast.mkv": lambda: encode("matroska", video="mpeg4", frames=80, options={"cues_to_front": "1"}),
}


@pytest.mark.parametrize("name", REAL)
def test_ffmpeg_finds_the_same_film_and_our_tag_in_a_stamped_file(name: str) -> None:
    """A picture, a sample, a time stamp or a tag of the user would be another one than before."""
    content = REAL[name]()

    reading, stamped = stamp(content)

    assert (reading.format, reading.refusal) == ("matroska", None)
    assert stripped(stamped) == content
    assert packets(stamped) == packets(content) != []
    assert tags(stamped) == {**tags(content), "COMFYVN_PROVENANCE": VALUE.decode()}
    decode = samples if name == "music.webm" else pictures
    assert decode(stamped) == decode(content)


@pytest.mark.parametrize("name", ["film.webm", "music.webm", "film.mkv"])
def test_a_stamped_file_has_the_facts_and_the_preview_of_the_original(name: str) -> None:
    """Our own tag would be listed among the tags of the user, or the poster would be another one."""
    content = REAL[name]()
    shown_by = MatroskaFormat()

    _, stamped = stamp(content)

    assert shown_by.probe(io.BytesIO(stamped)) == shown_by.probe(io.BytesIO(content))
    before, after = (shown_by.preview(io.BytesIO(each), PreviewLimits()) for each in (content, stamped))
    assert after == before


def test_a_player_still_jumps_to_the_same_picture() -> None:
    """The index of the film would lead beside its pictures."""
    content = REAL["old.webm"]()
    _, stamped = stamp(content)

    found = []
    for each in (content, stamped):
        with av.open(io.BytesIO(each)) as container:
            container.seek(2_000_000)
            found.append([(packet.pts, bytes(packet)) for packet in container.demux(video=0)])

    assert found[0] == found[1]
    assert 1 < len(found[0]) < 81


def test_a_film_that_ffmpeg_copied_tells_its_marker_but_is_not_stamped() -> None:
    """The copy keeps the tag among its own: a second marker would contradict it."""
    copied = encode("matroska", video="mpeg4", tags={"comfyvn_provenance": VALUE.decode()})

    reading, copy = stamp(copied)

    assert reading.marker == VALUE
    assert reading.refusal == "another program has moved its marker"
    assert reading.digest == hashlib.sha256(copied).hexdigest()
    assert copy == copied


def test_a_marker_with_something_behind_it_is_not_taken_out() -> None:
    """What another program appended would move, and the list of contents would lead beside it."""
    segment = stamp(film(CLUSTERS))[1][len(HEADER) + 12 :]
    content = film(segment, element(CUES, bytes(30)))

    reading, copy = stamp(content, b"{}")

    assert reading.marker == VALUE
    assert reading.refusal == "another program has moved its marker"
    assert copy == stripped(content) == content


def test_a_marker_whose_entry_was_changed_is_not_taken_out() -> None:
    """The list of contents would keep an entry that leads behind the end of the film."""
    _, stamped = stamp(film(BEGINNINGS["room"], TRACK, CLUSTERS))
    at = stamped.index(bytes.fromhex("53AB 84" + TAGS))
    content = stamped[: at + 3] + bytes.fromhex(CUES) + stamped[at + 7 :]

    reading, copy = stamp(content, b"{}")

    assert reading.marker == VALUE
    assert reading.refusal == "another program has moved its marker"
    assert copy == stripped(content) == content


ATTACHED = element(
    "1941A469", element("61A7", element("4660", b"application/c2pa"), element("465C", bytes(40)))
)
REFUSED = {
    "live": (HEADER + element(SEGMENT, CLUSTERS, length=-1), "as in live recordings"),
    "live cluster": (film(element(CLUSTER, bytes(30), length=-1)), "as in live recordings"),
    "signed": (film(ATTACHED, CLUSTERS), r"signed with content credentials \(C2PA\)"),
    "summed": (film(summed(CLUSTERS)), "a check sum goes over the whole"),
    "narrow": (film(CLUSTERS, width=2), "no room for a greater length"),
    "cut": (film(CLUSTERS)[:-1], "damaged: it is cut short"),
    "lying": (film(CLUSTERS, element(CUES, length=9)), "damaged: a length in it is wrong"),
    "lying far": (
        film(CLUSTERS, element(CUES, width=8, length=2**56 - 2)),
        "damaged: a length in it is wrong",
    ),
    "junk": (film(CLUSTERS, bytes(9)), "damaged: a length in it is wrong"),
    "no segment": (HEADER + element(VOID, bytes(90)), "damaged: it has no segment"),
    "empty": (film(), "damaged: a length in it is wrong"),
    "many": (film(element(VOID, width=1) * 110_000), "more than 100,000 elements"),
    "many tags": (film(element(TAGS, element(TAG, element(SIMPLE_TAG) * 110_000))), "more than 100,000"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_could_be_harmed_is_not_stamped(name: str) -> None:
    """A signature would break, or a player would look for the media in the wrong place."""
    content, why = REFUSED[name]

    reading, copy = stamp(content)

    assert reading.refusal is not None
    assert re.search(why, reading.refusal), reading.refusal
    assert copy == stripped(content) == content


class Counting(io.FileIO):
    """A file that counts what is read of it."""

    read_bytes = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(-1 if size is None else size)
        self.read_bytes += len(data)
        return data


def test_a_long_film_is_not_read_to_find_the_place_for_its_marker(tmp_path: Path) -> None:
    """Each look at a long film would take as long as a copy."""
    path, clusters, each = tmp_path / "long.webm", 400, 500_000
    head = BEGINNINGS["room"] + TRACK
    with path.open("wb") as file:
        length = len(head) + clusters * (12 + each)
        file.write(HEADER + element(SEGMENT, width=8, length=length) + head)
        for _ in range(clusters):
            file.write(element(CLUSTER, width=8, length=each))
            file.seek(each, io.SEEK_CUR)
        file.truncate()

    with Counting(str(path)) as file:
        layout = MatroskaFormat().layout(file)

        assert layout.refusal is None
        assert file.read_bytes < 10_000


def test_a_value_that_readers_would_cut_is_refused() -> None:
    """The marker would not be found again as it was written."""
    with pytest.raises(ValueError, match="marker"):
        stamp(film(CLUSTERS), b"a\0b")

    reading, copy = stamp(film(CLUSTERS), b"x" * 65_537)

    assert "marker" in str(reading.refusal)
    assert copy == film(CLUSTERS)


def kinds(*types: int) -> bytes:
    return element(TRACKS, *(element("AE", element("83", bytes([each]), width=1)) for each in types))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (film(kinds(1, 2), CLUSTERS), "animation"),
        (film(kinds(2), CLUSTERS), "waveform"),
        (film(kinds(2, 17), CLUSTERS), "waveform"),
        (film(kinds(17), CLUSTERS), "animation"),
        (film(CLUSTERS, kinds(2)), "waveform"),
        (film(CLUSTERS), "animation"),
        (film(kinds(2), CLUSTERS)[:-20], "waveform"),
        (HEADER + element(SEGMENT, kinds(2), element(CLUSTER, length=-1), length=-1), "waveform"),
        (HEADER, "animation"),
    ],
)
def test_sound_is_told_from_a_film(content: bytes, kind: str) -> None:
    """Music in WebM would fail to have a poster, a film would have a waveform."""
    found = kind_of(recognise(content[:64]), io.BytesIO(content))

    assert found == kind


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (HEADER, "matroska"),
        (HEADER.replace(b"webm", b"matroska"), "matroska"),
        (HEADER.replace(b"webm", b"abcd"), "data"),
        (b"webm", "data"),
    ],
)
def test_a_film_is_told_by_its_document_type(head: bytes, name: str) -> None:
    """Another kind of EBML file would be taken for a film."""
    found = read(io.BytesIO(head), name="x.webm").format

    assert found == name
