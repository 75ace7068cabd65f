"""The marker in MP4, M4A and QuickTime: nothing of the film changes, and every reader finds it."""

import hashlib
import io
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutagen.mp4 import MP4, MP4Cover

from comfyvn.media import PreviewLimits, Reading, fill_marker, read, read_marker, strip
from comfyvn.media.formats import kind_of, recognise
from comfyvn.media.mp4 import Mp4Format
from films import encode, packets, pictures, samples, tags

VALUE = b'{"provenance_id":123,"source":"test","uid":"0123456789abcdef"}'
FAST_START = {"movflags": "faststart"}
BY_KEYS = {"movflags": "faststart+use_metadata_tags"}
C2PA = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"mfra")


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


def refusal(content: bytes) -> str | None:
    reading, copy = stamp(content)
    assert reading.format == "mp4"
    assert (copy == content) == (reading.refusal is not None)
    assert stripped(copy) == content
    return reading.refusal


def box(kind: bytes, *content: bytes, large: bool = False) -> bytes:
    whole = b"".join(content)
    if large:
        return struct.pack(">I4sQ", 1, kind, 16 + len(whole)) + whole
    return struct.pack(">I4s", 8 + len(whole), kind) + whole


def full(kind: bytes, *content: bytes, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", flags), *content)


def hdlr(kind: bytes) -> bytes:
    return full(b"hdlr", bytes(4), kind, bytes(13))


def table(offsets: list[int], *, large: bool = False) -> bytes:
    numbers = struct.pack(f">{len(offsets)}{'Q' if large else 'I'}", *offsets)
    return full(b"co64" if large else b"stco", struct.pack(">I", len(offsets)), numbers)


def track(*in_stbl: bytes, handler: bytes = b"vide", flags: int = 1, dref: int = 1) -> bytes:
    reference = full(b"dref", struct.pack(">I", 1), full(b"url ", flags=dref))
    minf = box(b"minf", box(b"dinf", reference), box(b"stbl", full(b"stsd", bytes(4)), *in_stbl))
    return box(b"trak", full(b"tkhd", bytes(80), flags=flags), box(b"mdia", hdlr(handler), minf))


FTYP = box(b"ftyp", b"isom\0\0\2\0isommp41")
MVHD = full(b"mvhd", bytes(96))


def movie(
    *in_moov: bytes,
    is_fast: bool = True,
    is_wide: bool = False,
    has_large_boxes: bool = False,
    chunks: int = 3,
    tail: bytes = b"",
) -> bytes:
    """Return a film of a few chunks of eight bytes, with things in its header, behind the track."""
    media = b"".join(b"chunk%03d" % index for index in range(chunks))

    def made(start: int) -> tuple[bytes, int]:
        offsets = [start + 8 * index for index in range(chunks)]
        moov = box(b"moov", MVHD, track(table(offsets, large=is_wide)), *in_moov, large=has_large_boxes)
        mdat = box(b"mdat", media, large=has_large_boxes)
        parts = [FTYP, moov, box(b"free"), mdat] if is_fast else [FTYP, mdat, moov]
        whole = b"".join(parts)
        return whole + tail, whole.index(media)

    return made(made(0)[1])[0]


def boxes(content: bytes, at: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Yield every box, with those in containers: type, start of its content, end."""
    end = len(content) if end is None else end
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I4s", content, at)
        header = 16 if size == 1 else 8
        size = struct.unpack_from(">Q", content, at + 8)[0] if size == 1 else size
        if size < header:
            return
        yield kind, at + header, at + size
        if kind in CONTAINERS:
            yield from boxes(content, at + header, at + size)
        at += size


def chunks_of(content: bytes) -> list[bytes]:
    """Return the eight bytes that each chunk offset of a film leads to."""
    found = []
    for kind, at, _ in boxes(content):
        if kind in (b"stco", b"co64"):
            (count,) = struct.unpack_from(">I", content, at + 4)
            offsets = struct.unpack_from(f">{count}{'I' if kind == b'stco' else 'Q'}", content, at + 8)
            found += [content[offset : offset + 8] for offset in offsets]
    return found


def mdir(*items: bytes, has_list: bool = True) -> bytes:
    return full(b"meta", hdlr(b"mdir"), *([box(b"ilst", *items)] if has_list else []))


def mdta(*names: bytes) -> bytes:
    keys = full(b"keys", struct.pack(">I", len(names)), *(box(b"mdta", name) for name in names))
    items = (
        box(struct.pack(">I", index), box(b"data", struct.pack(">II", 1, 0), name.upper()))
        for index, name in enumerate(names, 1)
    )
    return full(b"meta", hdlr(b"mdta"), keys, box(b"ilst", *items))


def freeform(name: bytes = b"comfyvn_provenance", *, mean: bytes = b"com.comfyvn", made: int = 0) -> bytes:
    data = box(b"data", struct.pack(">II", 1, 0), b"{}")
    return box(b"----", full(b"mean", mean, flags=made), full(b"name", name), data)


TITLE = box(b"\xa9nam", box(b"data", struct.pack(">II", 1, 0), b"A title"))
USER_DATA = {
    "none": (),
    "empty": (box(b"udta"),),
    "other boxes": (box(b"udta", box(b"\xa9swr", b"\0\4\0\0Text"), box(b"free", bytes(9))),),
    "a QuickTime end": (box(b"udta", box(b"name", b"x"), bytes(4)),),
    "no list": (box(b"udta", mdir(has_list=False)),),
    "an empty list": (box(b"udta", mdir()),),
    "tags": (box(b"udta", mdir(TITLE, freeform(mean=b"com.apple.iTunes")), box(b"free", bytes(40))),),
    "tags of QuickTime": (box(b"udta", box(b"meta", mdir(TITLE)[12:])),),
    "tags first": (box(b"udta", mdir(TITLE)), track(table([]), handler=b"soun")),
    "keys": (box(b"udta", mdta(b"prompt", b"workflow")),),
    "no keys": (box(b"udta", mdta()),),
    "keys of QuickTime": (mdta(b"com.apple.quicktime.make"), box(b"udta", mdir(TITLE))),
    "near misses": (
        box(b"udta", mdir(freeform(b"Comfyvn_provenance"), freeform(made=4), freeform()[:-2] + b"\0}")),
    ),
    "a damaged list": (box(b"udta", mdir(TITLE)[:-9] + b"\0\0\0\1" + bytes(5)),),
    "two lists": (box(b"udta", mdir(TITLE), mdir(TITLE)),),
}
FRAGMENTS = (
    box(
        b"moof",
        full(b"mfhd", bytes(4)),
        box(b"traf", full(b"tfhd", struct.pack(">IQ", 1, 3000), flags=1), full(b"trun", bytes(8))),
        box(b"traf", full(b"tfhd", struct.pack(">I", 2), flags=0x20000)),
    )
    + box(b"mdat", b"fragment")
    + box(
        b"mfra",
        full(b"tfra", struct.pack(">III", 1, 0b011011, 2), b"timeposi12123timeposi12123"),
        full(b"tfra", struct.pack(">III", 2, 0, 1), struct.pack(">QQ", 1, 3000), b"123", flags=1 << 24),
        full(b"tfra", struct.pack(">III", 3, 0, 0)),
        full(b"mfro", bytes(4)),
    )
)
user_data = st.sampled_from(sorted(USER_DATA)).map(lambda name: USER_DATA[name])
tails = st.one_of(
    st.just(b""),
    st.binary(max_size=30),
    st.just(bytes(20)),
    st.sampled_from([box(b"skip", b"x" * 9), FRAGMENTS]),
)


@st.composite
def films(draw: st.DrawFn) -> bytes:
    flag = st.booleans()
    whole = movie(
        *draw(user_data),
        is_fast=draw(flag),
        is_wide=draw(flag),
        has_large_boxes=draw(flag),
        chunks=draw(st.integers(0, 4)),
        tail=draw(tails),
    )
    damage = draw(st.sampled_from(["none", "none", "none", "cut", "turned"]))
    if damage == "cut":
        return whole[: draw(st.integers(16, len(whole)))]
    if damage == "turned":
        at = draw(st.integers(len(FTYP), len(whole) - 1))
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
    user_data,
    st.booleans(),
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 255) | st.sampled_from([0, 1, 8, 9, 255])), max_size=3
    ),
)
@settings(max_examples=500, deadline=None)
def test_a_stamped_file_that_is_damaged_afterwards_loses_no_byte_that_is_not_ours(
    boxes_around: tuple[bytes, ...], is_fast: bool, turned: list[tuple[float, int]]
) -> None:
    """A file whose marker is half there would come out shorter each time that it is stamped."""
    damaged = bytearray(stamp(movie(*boxes_around, is_fast=is_fast))[1])
    for share, byte in turned:
        damaged[len(FTYP) + int(share * (len(damaged) - len(FTYP) - 1))] = byte
    content = bytes(damaged)

    reading, stamped = stamp(content, b"{}")

    assert reading.digest == hashlib.sha256(stripped(content)).hexdigest() == read(io.BytesIO(stamped)).digest
    assert stripped(stamped) == stripped(stripped(content)) == stripped(content)
    assert stamped == content if reading.refusal else read_marker(io.BytesIO(stamped)) == b"{}"


@pytest.mark.parametrize("is_fast", [True, False])
@pytest.mark.parametrize("is_wide", [True, False])
@pytest.mark.parametrize("has_large_boxes", [True, False])
@pytest.mark.parametrize("name", sorted(set(USER_DATA) - {"a damaged list", "two lists"}))
def test_every_chunk_offset_still_leads_to_its_chunk(
    name: str, is_fast: bool, is_wide: bool, has_large_boxes: bool
) -> None:
    """A film whose header stands first would show noise, or nothing."""
    content = movie(
        *USER_DATA[name], is_fast=is_fast, is_wide=is_wide, has_large_boxes=has_large_boxes, tail=b"tail"
    )

    reading, stamped = stamp(content)

    assert reading.refusal is None
    assert chunks_of(stamped) == chunks_of(content) == [b"chunk000", b"chunk001", b"chunk002"]
    assert stamped.endswith(b"tail")
    assert VALUE in stamped


REAL: dict[str, Callable[[], bytes]] = {
    "film.mp4": lambda: encode("mp4", video="mpeg4", sound="aac"),
    "fast.mp4": lambda: encode("mp4", video="mpeg4", sound="aac", options=FAST_START),
    "tagged.mp4": lambda: encode("mp4", video="mpeg4", options=FAST_START, tags={"title": "A film"}),
    "comfyui.mp4": lambda: encode("mp4", video="mpeg4", sound="aac", options=BY_KEYS, tags={"prompt": "{}"}),
    "film.mov": lambda: encode("mov", video="mpeg4", sound="aac", options=FAST_START, tags={"title": "A"}),
    "film.3gp": lambda: encode("3gp", video="mpeg4", sound="aac"),
    "voice.m4a": lambda: encode("ipod", sound="aac", tags={"title": "A voice", "artist": "Mara"}),
    "lossless.m4a": lambda: encode("ipod", sound="alac"),
    "fragmented.mp4": lambda: encode(
        "mp4", video="mpeg4", sound="aac", frames=30, options={"movflags": "frag_keyframe+empty_moov"}
    ),
    "cmaf.mp4": lambda: encode("mp4", video="mpeg4", frames=30, options={"movflags": "cmaf"}),
    "dash.mp4": lambda: encode(
        "mp4", video="mpeg4", frames=30, options={"movflags": "dash+global_sidx+frag_keyframe+empty_moov"}
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_ffmpeg_finds_the_same_film_and_our_tag_in_a_stamped_file(name: str) -> None:
    """A picture, a sample, a time stamp or a tag of the user would be another one than before."""
    content = REAL[name]()

    reading, stamped = stamp(content)

    assert (reading.format, reading.refusal) == ("mp4", None)
    assert stripped(stamped) == content
    assert packets(stamped) == packets(content) != []
    assert tags(stamped) == {**tags(content), "comfyvn_provenance": VALUE.decode()}
    decode = samples if name.endswith("m4a") else pictures
    assert decode(stamped) == decode(content)


@pytest.mark.parametrize("name", ["fast.mp4", "comfyui.mp4", "voice.m4a"])
def test_a_stamped_file_has_the_facts_and_the_preview_of_the_original(name: str) -> None:
    """Our own tag would be listed among the tags of the user, or the poster would be another one."""
    content = REAL[name]()
    shown_by = Mp4Format()

    _, stamped = stamp(content)

    assert shown_by.probe(io.BytesIO(stamped)) == shown_by.probe(io.BytesIO(content))
    before, after = (shown_by.preview(io.BytesIO(each), PreviewLimits()) for each in (content, stamped))
    assert after == before


def test_the_list_of_fragments_still_leads_to_the_fragments() -> None:
    """A player that jumps to the middle of a fragmented film would land beside it."""
    content = REAL["fragmented.mp4"]()

    _, stamped = stamp(content)

    fragments = [at - 8 for kind, at, _ in boxes(stamped) if kind == b"moof"]
    listed = []
    for kind, at, end in boxes(stamped):
        if kind == b"tfra":
            assert stamped[at] == 1
            (count,) = struct.unpack_from(">I", stamped, at + 12)
            step = (end - at - 16) // count
            listed += [struct.unpack_from(">Q", stamped, at + 24 + index * step)[0] for index in range(count)]
    assert len(fragments) > 2
    assert listed
    assert set(listed) <= set(fragments)
    assert stripped(stamped) == content


def test_mutagen_shows_our_tag_beside_the_others(tmp_path: Path) -> None:
    """Nobody but us could read the marker of an M4A file; a cover or a title would be lost."""
    path = tmp_path / "voice.m4a"
    path.write_bytes(REAL["voice.m4a"]())
    tagged = MP4(path)
    tagged["covr"] = [MP4Cover(b"\x89PNG, in a manner of speaking" * 50, MP4Cover.FORMAT_PNG)]
    tagged["----:com.apple.iTunes:MOOD"] = [b"calm"]
    tagged.save()
    before = dict(MP4(path).tags)

    path.write_bytes(stamp(path.read_bytes())[1])

    after: dict[str, Any] = dict(MP4(path).tags)
    (shown,) = after.pop("----:com.comfyvn:comfyvn_provenance")
    assert bytes(shown) == VALUE
    assert after == before


def test_a_marker_is_still_known_after_mutagen_wrote_the_file_anew(tmp_path: Path) -> None:
    """A title given in a music player would make the file a stranger, or leave two markers in it."""
    path = tmp_path / "voice.m4a"
    path.write_bytes(stamp(REAL["voice.m4a"]())[1])
    tagged = MP4(path)
    tagged["\xa9nam"] = ["Another title"]
    tagged.save()
    content = path.read_bytes()

    reading, again = stamp(content, b"{}")

    assert reading.marker == VALUE
    assert reading.refusal is None
    path.write_bytes(again)
    assert [bytes(each) for each in MP4(path)["----:com.comfyvn:comfyvn_provenance"]] == [b"{}"]
    path.write_bytes(stripped(again))
    assert "----:com.comfyvn:comfyvn_provenance" not in MP4(path)
    assert MP4(path)["\xa9nam"] == ["Another title"]
    assert packets(path.read_bytes()) == packets(content)


def test_of_two_markers_in_a_file_one_is_left() -> None:
    """Two markers in one file contradict each other."""
    content = movie(box(b"udta", mdir(freeform(), TITLE, freeform())))

    reading, stamped = stamp(content)

    assert reading.marker == b"{}"
    assert stamped.count(b"comfyvn_provenance") == 1
    assert stripped(stamped) == stripped(content)
    assert chunks_of(stripped(content)) == chunks_of(stamped) == chunks_of(content)
    assert read_marker(io.BytesIO(stripped(content))) is None


def test_boxes_made_for_the_marker_stay_when_somebody_else_uses_them() -> None:
    """A title that was added later would be taken out with the marker."""
    content = movie()
    _, stamped = stamp(content)
    at = stamped.index(b"ilst") - 4
    (size,) = struct.unpack_from(">I", stamped, at)
    item = stamped[at + 8 : at + size]

    shared = movie(box(b"udta", full(b"meta", hdlr(b"mdir"), box(b"ilst", item, TITLE))))
    bare = stripped(shared)

    assert b"A title" in bare
    assert b"comfyvn" not in bare
    assert chunks_of(bare) == chunks_of(shared)


def test_a_film_that_ffmpeg_copied_with_our_key_tells_its_marker_but_is_not_stamped() -> None:
    """The key's number stands in every tag behind it: taking it out would give them wrong names."""
    content = movie(box(b"udta", mdta(b"prompt", b"comfyvn_provenance", b"encoder")))

    reading, copy = stamp(content)

    assert reading.refusal == "another program has moved its marker"
    assert reading.marker == b"COMFYVN_PROVENANCE"
    assert copy == content


REFUSED = {
    "C2PA": (movie(tail=box(b"uuid", C2PA, bytes(50))), r"signed with content credentials \(C2PA\)"),
    "packed": (FTYP + box(b"moov", box(b"cmov", bytes(60))), "movie header is compressed"),
    "elsewhere": (FTYP + box(b"moov", MVHD, track(dref=0)), "in other files"),
    "aliases": (FTYP + box(b"moov", box(b"rmra", bytes(60))), "in other files"),
    "pictures": (movie(tail=full(b"meta", hdlr(b"pict"), full(b"iloc", bytes(9)))), "pictures"),
    "pictures in tags": (movie(box(b"udta", full(b"meta", full(b"iloc", bytes(9))))), "pictures"),
    "encrypted": (movie(track(full(b"saio", bytes(8)))), "encrypted"),
    "segments": (FTYP + full(b"sidx", bytes(30)) + movie()[len(FTYP) :], "list of segments"),
    "no header": (FTYP + box(b"mdat", bytes(60)), "damaged: it has no box moov"),
    "two headers": (movie(tail=box(b"moov", MVHD)), "damaged: it has 2 boxes moov"),
    "two lists": (movie(*USER_DATA["two lists"]), "damaged: it has 2 boxes meta"),
    "cut": (movie()[:-3], "damaged: it is cut short"),
    "cut table": (
        movie(track(full(b"stco", struct.pack(">II", 2, 9)))),
        "damaged: a table of offsets is longer",
    ),
    "cut list": (
        movie(tail=box(b"mfra", full(b"tfra", struct.pack(">III", 1, 0, 9), bytes(80)))),
        "damaged: a table of offsets is longer",
    ),
    "no length": (movie(box(b"udta", bytes(8))), "damaged: a length in its box udta"),
    "lying length": (movie(box(b"udta", b"\xff\xff\xff\xffmeta")), "damaged: a length in its box udta"),
    "lying large length": (
        movie(box(b"udta", struct.pack(">I4sQ", 1, b"meta", 2**63), bytes(20))),
        "damaged: a length in its box udta",
    ),
    "no room": (movie(track(table([2**32 - 9]))), "no room for greater offsets"),
    "no room at all": (movie(track(table([2**64 - 9], large=True))), "no room for greater offsets"),
    "strange tags": (movie(box(b"udta", full(b"meta", hdlr(b"ID32")))), "tags are of a kind"),
    "a lie about keys": (
        movie(box(b"udta", full(b"meta", hdlr(b"mdta"), full(b"keys", b"\0\0\0\2"), box(b"ilst")))),
        "damaged: the number of its keys",
    ),
    "a stub": (movie(box(b"udta", box(b"meta"))), "damaged: a length in its box meta"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_could_be_harmed_is_not_stamped(name: str) -> None:
    """A signature would break, or a player would look for the media in the wrong place."""
    content, why = REFUSED[name]

    found = refusal(content)

    assert found is not None
    assert re.search(why, found), found


def test_media_that_lies_in_a_marker_is_not_moved() -> None:
    """A made-up file would come back with other bytes than it had."""
    stamped = stamp(movie())[1]
    at = stamped.index(b"comfyvn_provenance")
    content = stamped.replace(struct.pack(">I", stamped.index(b"chunk000")), struct.pack(">I", at))

    reading, copy = stamp(content)

    assert reading.refusal == "it is damaged: its media lies in its tags"
    assert copy == stripped(content) == content


def test_a_signed_file_that_has_a_marker_tells_it_and_keeps_its_digest() -> None:
    """A film that was signed after it was stamped would be taken for another one."""
    signature = box(b"uuid", C2PA, bytes(50))

    reading, copy = stamp(stamp(movie())[1] + signature)

    assert reading.marker == VALUE
    assert reading.refusal == "it is signed with content credentials (C2PA)"
    assert reading.digest == hashlib.sha256(movie() + signature).hexdigest()
    assert copy == stamp(movie())[1] + signature


@pytest.mark.parametrize(
    "content",
    [
        FTYP + box(b"moov", MVHD, box(b"free") * 200_000),
        FTYP + box(b"free") * 200_000,
        FTYP + box(b"moov", b"".join(struct.pack(">I4s", 8 * n, b"trak") for n in range(120_000, 0, -1))),
        FTYP + box(b"moov", b"".join(struct.pack(">I4s", 8 * n, b"meta") for n in range(120_000, 0, -1))),
        FTYP + box(b"moov", track(table(list(range(2_000_000))))),
        movie(box(b"udta", mdir(*[freeform()] * 90_000))),
        movie(box(b"udta", mdta(*[b"comfyvn_provenance"] * 90_000))),
        FTYP + struct.pack(">I4sQ", 1, b"moov", 2**64 - 1),
        FTYP + struct.pack(">I4s", 0, b"moov") + MVHD,
    ],
    ids=["boxes", "top", "deep", "metas", "table", "markers", "keys", "huge", "open"],
)
def test_a_file_made_to_be_slow_is_refused(content: bytes) -> None:
    """One file would hold up every registration, or end it with an error of Python's."""
    assert refusal(content) is not None


class Counting(io.FileIO):
    """A file that counts what is read of it."""

    read_bytes = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(-1 if size is None else size)
        self.read_bytes += len(data)
        return data


def test_a_long_film_is_not_read_to_find_the_place_for_its_marker(tmp_path: Path) -> None:
    """Each look at a long film would take as long as a copy."""
    path = tmp_path / "long.mp4"
    head = FTYP + box(b"moov", MVHD, track(table(list(range(1000, 900_000, 1000)))))
    with path.open("wb") as file:
        file.write(head + struct.pack(">I4sQ", 1, b"mdat", 200_000_016))
        file.truncate(len(head) + 200_000_016)

    with Counting(str(path)) as file:
        layout = Mp4Format().layout(file)

        assert layout.refusal is None
        assert file.read_bytes < 10_000


@pytest.mark.parametrize("name", ["none", "tags", "keys"])
def test_a_value_that_readers_would_cut_is_refused(name: str) -> None:
    """The marker would not be found again as it was written."""
    content = movie(*USER_DATA[name])

    with pytest.raises(ValueError, match="marker"):
        stamp(content, b"a\0b")
    reading, copy = stamp(content, b"x" * 65_537)

    assert "marker" in str(reading.refusal)
    assert copy == content


def test_many_markers_in_a_file_of_many_chunks_are_turned_down_at_once() -> None:
    """Looking for each of them in each table would take an hour."""
    many = [freeform()] * 3_000

    assert refusal(movie(box(b"udta", mdir(*many)), chunks=100_000)) == "it has too many markers"


SOUND = track(handler=b"soun")
PICTURE = track(handler=b"vide")
CHAPTERS = track(handler=b"vide", flags=0)
M4A = box(b"ftyp", b"M4A \0\0\0\0M4A isom")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (FTYP + box(b"moov", MVHD, SOUND, PICTURE), "animation"),
        (FTYP + box(b"moov", MVHD, SOUND), "waveform"),
        (FTYP + box(b"moov", MVHD, SOUND, CHAPTERS), "waveform"),
        (M4A + box(b"moov", MVHD, SOUND, PICTURE), "waveform"),
        (M4A + box(b"moov", MVHD, PICTURE), "animation"),
        (FTYP + box(b"moov", MVHD, CHAPTERS), "animation"),
        (FTYP + box(b"mdat", bytes(20)), "animation"),
    ],
)
def test_sound_with_pictures_is_told_from_a_film(content: bytes, kind: str) -> None:
    """An audio book would have its cover for a film, a film a waveform."""
    file = io.BytesIO(content)

    found = kind_of(recognise(content[:64]), file)

    assert found == kind


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (box(b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41"), "mp4"),
        (box(b"ftyp", b"M4A \0\0\0\0"), "mp4"),
        (box(b"ftyp", b"qt  \0\0\0\0qt  "), "mp4"),
        (box(b"ftyp", b"3gp6\0\0\0\0"), "mp4"),
        (box(b"ftyp", b"what\0\0\0\0mp42"), "mp4"),
        (box(b"ftyp", b"what\0\0\0\0ever"), "data"),
        (box(b"ftyp", b"crx \0\0\0\1crx isom"), "data"),
        (box(b"moov", MVHD), "mp4"),
        (box(b"moov", MVHD, large=True), "mp4"),
        (box(b"moov", b"no box is in here"), "data"),
        (box(b"wide") + box(b"mdat", bytes(40)), "mp4"),
        (box(b"mdat", bytes(80)), "mp4"),
        (struct.pack(">I4sQ", 1, b"mdat", 2**40) + bytes(40), "mp4"),
        (box(b"free", bytes(16)) + box(b"moov", MVHD), "mp4"),
        (b"The mdat box is a box, and this is a text about it, sixty-four or more bytes long.", "data"),
        (b"Is it moov? Or mvhd? It is neither, said the box, and closed its lid for good and all.", "data"),
        (box(b"free", bytes(80)), "data"),
    ],
)
def test_a_film_is_told_by_its_brands_or_its_first_boxes(head: bytes, name: str) -> None:
    """A film without a suffix would be plain data, a text or a raw photo would be taken for a film."""
    found = read(io.BytesIO(head), name="x").format

    assert found == name
