"""The marker in PNG files, the digest that leaves it out, and reading in one pass."""

import hashlib
import importlib.metadata
import io
import logging
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from comfyvn import media
from comfyvn.errors import UnsupportedMedia
from comfyvn.media import Layout, Reading, Splice, fill_marker, read, read_marker, strip
from comfyvn.media import formats as formats_module

SIGNATURE = b"\x89PNG\r\n\x1a\n"
VALUE = b'{"provenance_id":123,"source":"test","uid":"0123456789abcdef"}'
IHDR = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
PIXELS = zlib.compress(b"\0\x7f")


def chunk(kind: bytes, data: bytes = b"", *, crc: int | None = None) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body) if crc is None else crc)


def marker_chunk(value: bytes = b"{}") -> bytes:
    return chunk(b"tEXt", b"comfyvn_provenance\0" + value)


def png(*between: bytes, after: tuple[bytes, ...] = ()) -> bytes:
    head = SIGNATURE + chunk(b"IHDR", IHDR) + b"".join(between)
    return head + chunk(b"IDAT", PIXELS) + b"".join(after) + chunk(b"IEND")


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


def digest(content: bytes) -> str:
    return read(io.BytesIO(content)).digest


# Chunk streams as they come: known and private types, near misses of our keyword, several IDAT, frames of an
# APNG, wrong check sums, wrong lengths, trailing data, and a cut anywhere.
NEAR_MISSES = {
    "no value": chunk(b"tEXt", b"comfyvn_provenance"),
    "longer keyword": chunk(b"tEXt", b"comfyvn_provenance2\0{}"),
    "capital letter": chunk(b"tEXt", b"Comfyvn_provenance\0{}"),
    "another keyword": chunk(b"tEXt", b"prompt\0{}"),
    "empty": chunk(b"tEXt"),
    "international": chunk(b"iTXt", b"comfyvn_provenance\0\0\0\0\0{}"),
    "packed": chunk(b"zTXt", b"comfyvn_provenance\0\0" + zlib.compress(b"{}")),
    "too long": chunk(b"tEXt", b"comfyvn_provenance\0" + b"x" * 65_536),
}
near_misses = st.sampled_from(sorted(NEAR_MISSES)).map(lambda name: NEAR_MISSES[name])
kinds = st.sampled_from(
    [b"IDAT", b"fdAT", b"fcTL", b"acTL", b"gAMA", b"tIME", b"eXIf", b"prVt", b"tEXt", b"caBX"]
)
honest = st.builds(chunk, kinds, st.binary(max_size=60))
lying = st.builds(
    lambda length, kind, data: struct.pack(">I", length) + kind + data,
    st.integers(0, 2**32 - 1),
    st.one_of(kinds, st.binary(min_size=4, max_size=4)),
    st.binary(max_size=30),
)
wrong_sum = st.builds(lambda kind, data: chunk(kind, data, crc=7), kinds, st.binary(max_size=20))
markers = st.builds(marker_chunk, st.binary(max_size=40).filter(lambda value: b"\0" not in value))
unmarked_chunks = st.lists(st.one_of(honest, honest, near_misses, wrong_sum, lying), max_size=9)
marked_chunks = st.lists(st.one_of(honest, markers, near_misses, wrong_sum), max_size=9)
tails = st.one_of(st.just(b""), st.just(chunk(b"IEND")), st.binary(max_size=40).map(chunk(b"IEND").__add__))


@st.composite
def streams(draw: st.DrawFn, chunks: st.SearchStrategy[list[bytes]] = unmarked_chunks) -> bytes:
    head = draw(st.sampled_from([chunk(b"IHDR", IHDR), chunk(b"CgBI", b"abcd") + chunk(b"IHDR", IHDR), b""]))
    whole = SIGNATURE + head + b"".join(draw(chunks)) + draw(tails)
    if draw(st.booleans()):
        return whole[: draw(st.integers(8, len(whole)))]
    return whole


@given(streams(), st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=90))
@settings(max_examples=400, deadline=None)
def test_stamping_changes_no_byte_that_is_not_ours(content: bytes, text: str) -> None:
    """Whatever the file holds, odd or damaged, would not come back when the marker is taken out."""
    value = text.encode() or b"x"

    reading, stamped = stamp(content, value)

    assert stripped(stamped) == content
    assert reading.digest == digest(stamped) == hashlib.sha256(content).hexdigest()
    assert reading.size_bytes == len(content)
    assert len(stamped) == len(content) + (31 + len(value) if reading.slots else 0)
    assert read_marker(io.BytesIO(stamped)) == (value if reading.slots else None)


@given(streams(marked_chunks))
@settings(max_examples=300, deadline=None)
def test_however_many_markers_there_were_one_is_left(content: bytes) -> None:
    """A file that an old release stamped twice would carry contradicting markers for ever."""
    clean = stripped(content)

    reading, stamped = stamp(content)
    _, again = stamp(stamped, b"{}")

    assert stripped(clean) == clean
    assert digest(content) == digest(clean) == hashlib.sha256(clean).hexdigest() == reading.digest
    assert stripped(stamped) == stripped(again) == clean
    assert stamped.count(b"tEXt" + b"comfyvn_provenance\0" + VALUE) == bool(reading.slots)
    assert reading.marker == read_marker(io.BytesIO(content))


@given(streams(marked_chunks))
@settings(max_examples=100, deadline=None)
def test_a_copy_without_a_new_marker_is_the_source_byte_for_byte(content: bytes) -> None:
    """A file that is only backed up would lose the marker that it has."""
    sink = io.BytesIO()

    reading = read(io.BytesIO(content), sink)

    assert sink.getvalue() == content
    assert reading.slots == ()


def test_the_marker_lies_right_before_the_first_idat() -> None:
    """Readers that stop at the pixels would not find it; ones that insist on order would refuse the file."""
    content = png(chunk(b"gAMA", b"\0\0\xb1\x8f"), after=(chunk(b"IDAT"), chunk(b"tIME", b"\0" * 7)))

    reading, stamped = stamp(content)

    (slot,) = reading.slots
    assert slot.offset == content.index(b"IDAT") - 4
    assert stamped[slot.offset :].startswith(marker_chunk(VALUE) + content[slot.offset : slot.offset + 8])


def test_the_empty_marker_is_a_valid_chunk_before_it_is_filled() -> None:
    """A copy that was left behind by a killed process could not be read as a picture."""
    sink = io.BytesIO()

    read(io.BytesIO(png()), sink, marker_bytes=20)

    with Image.open(io.BytesIO(sink.getvalue())) as image:
        image.load()
        assert image.text == {"comfyvn_provenance": " " * 20}


def test_the_slot_is_an_offset_in_a_sink_that_was_not_empty() -> None:
    """The marker would overwrite what stands in front of the copy."""
    sink = io.BytesIO()
    sink.write(b"in front")

    reading = read(io.BytesIO(png()), sink, marker_bytes=len(VALUE))
    fill_marker(sink, reading, VALUE)

    assert sink.getvalue() == b"in front" + stamp(png())[1]
    assert sink.tell() == len(sink.getvalue())


@pytest.mark.parametrize("value", [VALUE + b"x", VALUE[:-1], b"", b"\0" * len(VALUE)])
def test_a_marker_that_does_not_fit_is_refused_and_nothing_written(value: bytes) -> None:
    """A marker of another length would run into the pixels; one with NUL would end at it."""
    sink = io.BytesIO()
    reading = read(io.BytesIO(png()), sink, marker_bytes=len(VALUE))
    before = sink.getvalue()

    with pytest.raises(ValueError, match="marker"):
        fill_marker(sink, reading, value)

    assert sink.getvalue() == before


def test_a_file_without_room_for_a_marker_so_long_is_not_stamped() -> None:
    """A marker that we don't find again would make the digest a lie, an error would stop the batch."""
    sink = io.BytesIO()
    marked = png(marker_chunk())

    reading = read(io.BytesIO(marked), sink, marker_bytes=65_518)

    assert sink.getvalue() == marked
    assert reading.slots == ()
    assert reading.refusal == "the marker has 65518 bytes, a PNG takes 65517"


def test_the_longest_marker_is_found_again() -> None:
    """The limit for reading would be lower than the one for writing."""
    value = b"x" * 65_517

    _, stamped = stamp(png(), value)

    assert read_marker(io.BytesIO(stamped)) == value
    assert stripped(stamped) == png()


def test_filling_a_file_that_has_no_room_is_refused() -> None:
    """The start of the file would be overwritten."""
    plain = read(io.BytesIO(b"text"), io.BytesIO(), marker_bytes=5)
    headless = read(io.BytesIO(SIGNATURE + chunk(b"IHDR", IHDR)), io.BytesIO(), marker_bytes=5)

    with pytest.raises(ValueError, match="it is plain data"):
        fill_marker(io.BytesIO(b"text"), plain, b"12345")
    with pytest.raises(ValueError, match="no room"):
        fill_marker(io.BytesIO(), headless, b"12345")


@pytest.mark.parametrize("after", [b"", b"\0", chunk(b"IHDR", IHDR), chunk(b"IHDR", IHDR) + b"\0\0\0\4IDA"])
def test_a_png_without_pixels_is_copied_and_not_stamped(after: bytes) -> None:
    """A damaged file would be changed, or refused, instead of kept as it is."""
    content = SIGNATURE + after

    reading, stamped = stamp(content)

    assert reading.slots == ()
    assert stamped == content
    assert reading.format == "png"


def test_a_png_signed_with_content_credentials_is_not_stamped() -> None:
    """The signature covers every other byte: it would become invalid."""
    content = png(chunk(b"caBX", b"signature"))

    reading, stamped = stamp(content)

    assert reading.slots == ()
    assert stamped == content


def test_what_follows_the_end_of_the_picture_is_content() -> None:
    """A marker inside of an appended archive or second picture would be cut out of it."""
    content = png() + marker_chunk() + png(marker_chunk())

    assert stripped(content) == content
    assert read_marker(io.BytesIO(content)) is None
    assert stripped(stamp(content)[1]) == content


@pytest.mark.parametrize("length", [(1 << 20) - 60, (1 << 20) - 30, 1 << 20, (3 << 20) + 5])
def test_markers_in_files_larger_than_a_block_are_found(length: int) -> None:
    """A marker across the border of two 1 MiB blocks would count as content."""
    content = png(chunk(b"prVt", b"\1" * (length - 70)), marker_chunk(b"a" * 50), after=(marker_chunk(b"b"),))
    clean = png(chunk(b"prVt", b"\1" * (length - 70)))

    reading, stamped = stamp(content)

    assert reading.digest == hashlib.sha256(clean).hexdigest()
    assert reading.marker == b"a" * 50
    assert stripped(stamped) == clean


class Trickle(io.RawIOBase):
    """A raw file that gives three bytes at a time, and takes five."""

    def __init__(self, content: bytes = b"") -> None:
        self.inner = io.BytesIO(content)

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.inner.seek(offset, whence)

    def tell(self) -> int:
        return self.inner.tell()

    def read(self, size: int = -1) -> bytes:
        return self.inner.read(min(size, 3))

    def write(self, data: bytes) -> int:
        return self.inner.write(data[:5])


@pytest.mark.parametrize("count", [99_999, 100_000, 100_001])
def test_a_file_at_the_limit_of_chunks_is_the_same_after_its_stamp(count: int) -> None:
    """The marker would push a file over the limit, and its digest would change."""
    content = SIGNATURE + chunk(b"IHDR", IHDR) + chunk(b"IDAT", PIXELS) + chunk(b"prVt") * (count - 2)

    reading, stamped = stamp(content)

    assert (reading.refusal is None) == (count <= 100_000)
    assert stripped(stamped) == content
    assert digest(stamped) == reading.digest


def test_files_that_give_and_take_little_at_a_time_are_copied_whole() -> None:
    """An unbuffered file would be taken for finished, or bytes that it did not take would be lost."""
    content = png(marker_chunk(), chunk(b"tEXt", b"a\0b"))
    sink = Trickle()

    reading = read(Trickle(content), sink, marker_bytes=len(VALUE))  # type: ignore[arg-type]
    fill_marker(sink, reading, VALUE)  # type: ignore[arg-type]

    assert sink.inner.getvalue() == stamp(content)[1]


def test_reading_starts_at_the_start_wherever_the_source_stands() -> None:
    """A caller that looked at the header would get the digest of the rest."""
    source = io.BytesIO(png())
    source.seek(20)

    reading = read(source)

    assert reading.digest == hashlib.sha256(png()).hexdigest()


@pytest.mark.parametrize("content", [b"", b"\x89PNG", b"plain text", b"\0" * (2 << 20)])
def test_plain_data_is_hashed_and_copied_and_never_stamped(content: bytes) -> None:
    """A file that no format knows could not be registered."""
    sink = io.BytesIO()

    reading = read(io.BytesIO(content), sink, marker_bytes=9)

    assert sink.getvalue() == content == stripped(content)
    assert reading == Reading(
        digest=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        format="data",
        refusal="it is plain data",
    )


def animated() -> bytes:
    frames = [
        Image.linear_gradient("L").resize((24, 18)).rotate(90 * turn).convert("RGBA") for turn in range(4)
    ]
    sink = io.BytesIO()
    frames[0].save(sink, "PNG", save_all=True, append_images=frames[1:], duration=[40, 80, 120, 160], loop=3)
    return sink.getvalue()


def with_everything(mode: str) -> bytes:
    """Return a real picture with profile, EXIF, gamma, resolution, texts and a private chunk."""
    image = Image.linear_gradient("L").resize((37, 23)).convert(mode if not mode.startswith("I") else "I")
    image = image.convert(mode) if mode != "I" else image
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", struct.pack(">I", 45_455))
    info.add_text("prompt", '{"1": {}}')
    info.add_itxt("title", "Ma\u0159a", lang="cs")
    info.add(b"prVt", b"private", after_idat=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a description"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    sink = io.BytesIO()
    image.save(sink, "PNG", pnginfo=info, exif=exif, dpi=(300, 300), icc_profile=profile)
    return sink.getvalue()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_pillow_sees_the_same_picture_and_the_marker_besides(mode: str) -> None:
    """Depth, palette, profile, EXIF, gamma or texts would be lost by stamping, as old releases lost them."""
    content = with_everything(mode)

    _, stamped = stamp(content)

    with Image.open(io.BytesIO(content)) as before, Image.open(io.BytesIO(stamped)) as after:
        before.load()
        after.load()
        assert (after.mode, after.size, after.tobytes()) == (before.mode, before.size, before.tobytes())
        assert after.getpalette() == before.getpalette()
        assert after.getexif() == before.getexif()
        for name in ("icc_profile", "gamma", "dpi", "transparency"):
            assert after.info.get(name) == before.info.get(name)
        assert after.text == {**before.text, "comfyvn_provenance": VALUE.decode()}
    assert b"prVtprivate" in stamped
    assert stripped(stamped) == content


def test_every_frame_of_an_apng_survives_the_stamp() -> None:
    """An animated sprite would become a still, as it did in old releases."""
    content = animated()

    _, stamped = stamp(content)

    with Image.open(io.BytesIO(content)) as before, Image.open(io.BytesIO(stamped)) as after:
        assert after.n_frames == before.n_frames == 4
        assert after.info["loop"] == 3
        for frame in range(4):
            before.seek(frame)
            after.seek(frame)
            assert after.tobytes() == before.tobytes()
            assert after.info["duration"] == before.info["duration"]
    assert stripped(stamped) == content


def test_a_marker_that_an_old_release_wrote_with_pillow_is_found_and_left_out() -> None:
    """A library of today would count each of its stamped files as changed."""
    info = PngImagePlugin.PngInfo()
    info.add_text("comfyvn_provenance", '{"provenance_id": 7}')
    info.add_text("comfyvn_provenance", '{"provenance_id": 8}')
    plain, marked = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (5, 5), "red").save(plain, "PNG")
    Image.new("RGB", (5, 5), "red").save(marked, "PNG", pnginfo=info)

    reading = read(marked)

    assert reading.marker == b'{"provenance_id": 7}'
    assert reading.digest == hashlib.sha256(plain.getvalue()).hexdigest()
    assert reading.size_bytes == len(plain.getvalue())


@pytest.mark.parametrize(
    ("content", "name", "kind"),
    [
        (png(), "png", "thumbnail"),
        (b"\xff\xd8\xff\xe0rest", "jpeg", "thumbnail"),
        (b"RIFF\4\0\0\0WEBPVP8 ", "webp", "thumbnail"),
        (b"RIFF\4\0\0\0WAVEfmt ", "wav", "waveform"),
        (b"RF64\xff\xff\xff\xffWAVEds64", "wav", "waveform"),
        (b"RIFF\4\0\0\0AVI LIST", "avi", "animation"),
        (b"BM, he said, and went away.", "data", None),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "avif", "thumbnail"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heic", "thumbnail"),
        (b"\0\0\0\x14ftypisom\0\0\0\0mp42avif", "mp4", "animation"),
    ],
)
def test_a_file_is_told_by_its_content(content: bytes, name: str, kind: str | None) -> None:
    """A PNG named .jpg would not be stamped, a text named .png would fail to have a preview."""
    reading = read(io.BytesIO(content), name="holiday.png")

    assert (reading.format, reading.preview_kind) == (name, kind)


def test_importing_media_loads_neither_pillow_nor_numpy() -> None:
    """`comfyvn --help` would take a second."""
    code = (
        "import sys, comfyvn.media as media; media.unavailable('thumbnail'); media.unavailable('waveform');"
        "print([name for name in ('PIL', 'numpy', 'av') if name in sys.modules])"
    )

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"


class Point:
    """An entry point that loads whatever a test gives it."""

    def __init__(self, value: str, made: object) -> None:
        self.name, self.value, self.made = value.rpartition(":")[2], value, made

    def load(self) -> object:
        if isinstance(self.made, Exception):
            raise self.made
        return self.made


class Upper:
    name = "upper"
    preview_kind = None

    def sniff(self, head: bytes, name: str) -> bool:
        return head.startswith(b"UPPER")


class Rude(Upper):
    name = "rude"

    def sniff(self, head: bytes, name: str) -> bool:
        raise ZeroDivisionError("sniffed too hard")


class Thief(Upper):
    name = "png"


class Lossy(Upper):
    name = "lossy"

    def layout(self, file: BinaryIO) -> Layout:
        twice = Splice(2, b"PER", b"", lambda value: value)
        return Layout((twice, twice))


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Return a function that puts entry points in place of the installed ones."""

    def put(*points: Point) -> None:
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
        formats_module._strangers.cache_clear()

    yield put
    monkeypatch.undo()
    formats_module._strangers.cache_clear()


OURS = [found.name for value in formats_module._OURS if (found := formats_module._ours(value))]


def names() -> list[str]:
    return [found.name for found in formats_module.formats()]


@pytest.mark.parametrize("copies", [0, 1, 2])
def test_our_formats_are_there_once_however_often_our_metadata_is(install, copies: int) -> None:
    """From a source tree there would be no format; with an old install beside it, each twice."""
    values = formats_module._OURS * copies

    install(*[Point(value, ImportError("the metadata's is never loaded")) for value in values])

    assert names() == OURS


def test_a_strangers_format_comes_in_through_its_entry_point(install) -> None:
    """A plug-in would be installed and have no effect."""
    install(Point("upper:Upper", Upper))

    reading = read(io.BytesIO(b"UPPER CASE"))

    assert reading.format == "upper"


def test_a_strangers_broken_format_is_logged_and_passed_over(
    install, caplog: pytest.LogCaptureFixture
) -> None:
    """One broken plug-in would stop every registration."""
    install(Point("a:Gone", ImportError("no such wheel")), Point("b:Rude", Rude), Point("c:Text", str))

    with caplog.at_level(logging.ERROR):
        reading = read(io.BytesIO(b"UPPER CASE"))

    assert names() == [*OURS, "rude"]
    assert reading.format == "data"
    assert [record.exc_info is not None for record in caplog.records] == [True, True, True]
    assert "sniffed too hard" in caplog.text
    assert "no such wheel" in caplog.text


def test_a_stranger_can_not_take_a_name_or_a_file_of_ours(install, caplog: pytest.LogCaptureFixture) -> None:
    """A plug-in could change the digest, and so the identity, of every PNG."""
    install(Point("a:Thief", Thief))

    reading = read(io.BytesIO(png()), marker_bytes=3)

    assert names() == OURS
    assert reading.digest == hashlib.sha256(png()).hexdigest()
    assert "is taken" in caplog.text


def test_a_strangers_format_that_mistakes_a_file_is_found_out(install) -> None:
    """The copy in the library would lack what the plug-in dropped."""
    install(Point("a:Lossy", Lossy))

    with pytest.raises(UnsupportedMedia, match="lossy mistakes its structure"):
        read(io.BytesIO(b"UPPER CASE"), io.BytesIO())


def test_a_file_on_disk_is_read_and_stamped_through_handles_only(tmp_path: Path) -> None:
    """The handles that the caller opened would be closed under it."""
    path = tmp_path / "a.png"
    path.write_bytes(png())

    with path.open("rb") as source, (tmp_path / "b.png").open("w+b") as sink:
        reading = media.read(source, sink, marker_bytes=len(VALUE))
        media.fill_marker(sink, reading, VALUE)
        is_open = not source.closed and not sink.closed

    assert is_open
    assert (tmp_path / "b.png").read_bytes() == stamp(png())[1]
    assert path.read_bytes() == png()
