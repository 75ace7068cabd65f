"""Clean copies of files in which a text was planted, in every place that their formats can hold one."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import pytest

from comfyvn.media import id3
from comfyvn.media.boxes import Box, BoxReader
from comfyvn.media.clean import CantClean, clean, write_clean
from comfyvn.media.clean_pictures import png_chunk
from comfyvn.media.clean_proof import prove
from comfyvn.media.ebml import EbmlReader, Element, element
from films import encode
from pictures import box, chunk, picture, riff, saved, srgb
from sounds import music

TEXT = b"PLANTED for mara at the window, seed 1234"


def cleaned(content: bytes, name: str = "") -> bytes | None:
    """Return the clean copy of a file, proven by who knows nothing of the text; None if it is refused."""
    source, sink = io.BytesIO(content), io.BytesIO()
    try:
        write_clean(clean(source, name=name)[1], source, sink)
        prove(source, sink, [], name=name)
    except CantClean:
        return None
    return sink.getvalue()


def check(content: bytes, name: str = "", *, is_written: bool | None = None) -> None:
    """Check that a text is in a file and not in its clean copy, if it has one; None: it may be refused."""
    assert TEXT in content
    made = cleaned(content, name)
    assert made is None or TEXT not in made
    assert is_written in (None, made is not None)


# -- pictures ---------------------------------------------------------------------------------------------


def png_with(content: bytes, kind: bytes, data: bytes, before: bytes = b"IDAT") -> bytes:
    """Return a PNG with one more chunk before the first one of a kind."""
    at = content.index(before) - 4
    return content[:at] + png_chunk(kind, data) + content[at:]


def interlaced(extra: bytes) -> bytes:
    """Return an interlaced PNG of one grey pixel, with something behind it in its unpacked pixels."""
    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 1)
    pixels = zlib.compress(b"\0\x7f" + extra, 0)
    chunks = (png_chunk(b"IHDR", head), png_chunk(b"IDAT", pixels), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


PLAIN = saved(picture(), "PNG")
PALETTE = saved(picture("P").quantize(4), "PNG")
MOVING = saved(picture(), "PNG", save_all=True, append_images=[picture().rotate(90)], duration=50)


def moving_with(text: bytes) -> bytes:
    """Return a moving PNG with a text behind the compressed pixels of its last picture."""
    at = MOVING.rindex(b"fdAT")
    length = int.from_bytes(MOVING[at - 4 : at])
    data = MOVING[at + 4 : at + 4 + length]
    return MOVING[: at - 4] + png_chunk(b"fdAT", data + text) + MOVING[at + 8 + length :]


LONG = TEXT + bytes(-len(TEXT) % 3)
PNGS = {
    "a frame of no film": png_with(PLAIN, b"fdAT", bytes(4) + TEXT, b"IEND"),
    "a frame before the pixels": png_with(MOVING, b"fdAT", bytes(4) + TEXT, b"IDAT"),
    "behind a frame": moving_with(TEXT),
    "a palette of a picture without": png_with(PLAIN, b"PLTE", LONG),
    "a second palette": png_with(PALETTE, b"PLTE", LONG),
    "transparency beyond the palette": png_with(PALETTE, b"tRNS", b"\xff" * 4 + TEXT),
    "sPLT": png_with(PLAIN, b"sPLT", b"name\0\x08" + TEXT),
    "hIST": png_with(PALETTE, b"hIST", TEXT),
    "behind the rows of an interlaced picture": interlaced(TEXT),
    "a second profile": png_with(
        saved(picture(), "PNG", icc_profile=srgb()), b"iCCP", TEXT + b"\0\0" + zlib.compress(srgb())
    ),
    "behind the profile": png_with(PLAIN, b"iCCP", b"a\0\0" + zlib.compress(srgb()) + TEXT),
}


@pytest.mark.parametrize("place", PNGS)
def test_a_text_in_a_png_is_gone(place: str) -> None:
    """What no reader of ours knows is what nobody looks for before the release."""
    check(PNGS[place], "a.png")


def test_an_interlaced_picture_is_exported() -> None:
    """The room for its rows is counted pass by pass; a miscount would refuse every one."""
    assert cleaned(interlaced(b"")) == interlaced(b"")


JPEG = saved(picture(), "JPEG", icc_profile=srgb())


def segment(code: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, code, 2 + len(data)) + data


JPEGS = {
    **{f"APP{n}": segment(0xE0 + n, TEXT) for n in range(16)},
    "JFXX": segment(0xE0, b"JFXX\0\x10" + TEXT),
    "extended XMP": segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + TEXT),
    "Exif thumbnail": segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + TEXT),
    "IPTC": segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04" + TEXT),
    "FlashPix": segment(0xE2, b"FPXR\0" + TEXT),
    "Ducky": segment(0xEC, b"Ducky" + TEXT),
    "Adobe": segment(0xEE, b"Adobe\0\x64\0\0\0\0\0" + TEXT),
    "comment": segment(0xFE, TEXT),
    "quantisers of no table": segment(0xDB, b"\x0f" + TEXT.ljust(64)),
    "codes of no table": segment(0xC4, b"\x29" + b"\0" * 15 + bytes([len(TEXT)]) + TEXT),
    "a comment, twice": segment(0xFE, b"a") + segment(0xFE, TEXT),
    "fill bytes": b"\xff" * 9 + segment(0xFE, TEXT),
}


@pytest.mark.parametrize("place", JPEGS)
def test_a_text_in_a_jpeg_is_gone(place: str) -> None:
    """Each camera, phone and editor has its own segment."""
    check(JPEG[:2] + JPEGS[place] + JPEG[2:])
    check(JPEG[:20] + JPEGS[place] + JPEG[20:])
    check(JPEG + TEXT, is_written=True)


WEBP = saved(picture(), "WEBP", lossless=True, icc_profile=srgb())
ANIMATED = saved(picture(), "WEBP", save_all=True, append_images=[picture().rotate(90)])


def webp_with(content: bytes, at: int, *chunks: bytes) -> bytes:
    return riff(content[12:at], *chunks, content[at:])


def frame_with(extra: bytes) -> bytes:
    """Return a moving WebP with one more chunk in its first frame."""
    at = ANIMATED.index(b"ANMF")
    length = int.from_bytes(ANIMATED[at + 4 : at + 8], "little")
    end = at + 8 + length
    return riff(ANIMATED[12:at], chunk(b"ANMF", ANIMATED[at + 8 : end] + extra), ANIMATED[end + length % 2 :])


WEBPS = {
    **{
        kind.decode(): webp_with(WEBP, len(WEBP), chunk(kind, TEXT))
        for kind in (b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"VP8X", b"UNKN")
    },
    "a second profile": webp_with(WEBP, 30, chunk(b"ICCP", srgb()), chunk(b"ICCP", TEXT)),
    "transparency of a picture that has its own": webp_with(WEBP, 30, chunk(b"ALPH", TEXT)),
    "a frame of a still picture": webp_with(WEBP, 30, chunk(b"ANMF", bytes(16) + chunk(b"VP8L", TEXT))),
    "a picture beside frames": webp_with(ANIMATED, 30, chunk(b"VP8L", TEXT)),
    "a second picture in a frame": frame_with(chunk(b"VP8 ", TEXT)),
    "something in a frame": frame_with(chunk(b"UNKN", TEXT)),
    "behind a simple picture": webp_with(
        saved(picture(), "WEBP"), len(saved(picture(), "WEBP")), chunk(b"VP8 ", TEXT)
    ),
}


@pytest.mark.parametrize("place", WEBPS)
def test_a_text_in_a_webp_is_gone(place: str) -> None:
    """Decoders pass over a second picture, and so did we."""
    check(WEBPS[place])


GIF = saved(picture("P"), "GIF", save_all=True, append_images=[picture("P").rotate(90)], duration=50, loop=0)
BLOCK = bytes([len(TEXT)]) + TEXT + b"\0"
GIFS = {
    "comment": b"\x21\xfe" + BLOCK,
    "XMP": b"\x21\xff\x0bXMP DataXMP" + TEXT + b"\x01" + bytes(range(255, -1, -1)) + b"\0",
    "loop": b"\x21\xff\x0bNETSCAPE2.0" + BLOCK,
    "control": b"\x21\xf9" + BLOCK,
    "unknown": b"\x21\x77" + BLOCK,
    "drawn": b"\x21\x01\x0c" + bytes(12) + BLOCK,
}


@pytest.mark.parametrize("place", GIFS)
def test_a_text_in_a_gif_is_gone(place: str) -> None:
    """Extensions may stand anywhere, and have any label."""
    at = GIF.index(b"\x21\xff")
    check(GIF[:at] + GIFS[place] + GIF[at:])
    check(GIF[:-1] + GIFS[place] + b";")
    check(GIF + TEXT, is_written=True)


# -- sound ------------------------------------------------------------------------------------------------

FLAC = music("flac", "flac", tags=False)
FRAMES = len(FLAC) - len(FLAC[FLAC.index(b"\xff\xf8") :])


def flac_with(kind: int, data: bytes) -> bytes:
    return FLAC[:42] + bytes([kind]) + len(data).to_bytes(3) + data + FLAC[42:]


FLACS = {
    **{f"block {kind}": flac_with(kind, TEXT) for kind in (1, 2, 3, 4, 5, 6, 9, 126)},
    "places of samples": flac_with(3, TEXT.ljust(54, b"\0")),
    "a point that is not used": flac_with(3, b"\xff" * 8 + TEXT[:10] + (b"\xff" * 8 + TEXT).ljust(90, b"\0")),
    "before the first frame": FLAC[:FRAMES] + TEXT + FLAC[FRAMES:],
    "behind the last": FLAC + TEXT,
    "ID3v1": FLAC + b"TAG" + TEXT.ljust(125),
}


@pytest.mark.parametrize("place", FLACS)
def test_a_text_in_a_flac_is_gone(place: str) -> None:
    """A table of places is numbers, unless somebody wrote something else."""
    check(FLACS[place], "a.flac")


def test_a_text_between_the_frames_of_a_flac_is_refused() -> None:
    """Decoders look for the next frame, and pass over what lies before it."""
    at = FLAC.index(b"\xff\xf8", FRAMES + 8)

    check(FLAC[:at] + TEXT + FLAC[at:], "a.flac")


MP3 = music("libmp3lame", "mp3", kind="s16p", tags=False)
SOUND = MP3[id3.find(io.BytesIO(MP3), 0, len(MP3)).length :] if MP3[:3] == b"ID3" else MP3  # type: ignore[union-attr]


def ape(data: bytes) -> bytes:
    """Return an APEv2 tag with header and footer."""
    item = struct.pack("<II", len(data), 0) + b"Comment\0" + data
    tail = struct.pack("<IIII8x", 2000, len(item) + 32, 1, 0x80000000)
    return (
        b"APETAGEX" + struct.pack("<IIII8x", 2000, len(item) + 32, 1, 0xA0000000) + item + b"APETAGEX" + tail
    )


MP3S = {
    "ID3v2": b"ID3\3\0\0\0\0\0\x40" + TEXT.ljust(64, b"\0") + SOUND,
    "two ID3v2": (b"ID3\3\0\0\0\0\0\x40" + TEXT.ljust(64, b"\0")) * 2 + SOUND,
    "ID3v1": SOUND + b"TAG" + TEXT.ljust(125, b"\0"),
    "enhanced ID3v1": SOUND + b"TAG+" + TEXT.ljust(223, b"\0") + b"TAG" + bytes(125),
    "APEv2": SOUND + ape(TEXT),
    "APEv2 and ID3v1": SOUND + ape(TEXT) + b"TAG" + bytes(125),
    "Lyrics3": SOUND + b"LYRICSBEGINLYR00041" + TEXT + b"000060LYRICS200" + b"TAG" + bytes(125),
    "ID3v2 at the end": SOUND + b"3DI\4\0\x10\0\0\0\x40" + TEXT.ljust(64, b"\0"),
    "before the sound": TEXT + SOUND,
}


@pytest.mark.parametrize("place", MP3S)
def test_a_text_in_an_mp3_is_gone(place: str) -> None:
    """Tags of four decades may stand at both ends."""
    check(MP3S[place], "a.mp3")


WAV = music("pcm_s16le", "wav", tags=False)
WAVS = {
    **{
        kind.decode(): chunk(kind, TEXT)
        for kind in (
            b"bext",
            b"iXML",
            b"id3 ",
            b"ID3 ",
            b"_PMX",
            b"JUNK",
            b"cart",
            b"PEAK",
            b"axml",
            b"cue ",
            b"smpl",
            b"inst",
            b"fact",
            b"fmt ",
            b"data",
        )
    },
    "LIST INFO": chunk(b"LIST", b"INFO" + chunk(b"ICMT", TEXT)),
    "LIST adtl": chunk(b"LIST", b"adtl" + chunk(b"labl", TEXT)),
    "behind the loops": chunk(b"smpl", bytes(28) + struct.pack("<II", 0, len(TEXT)) + TEXT),
}


@pytest.mark.parametrize("place", WAVS)
def test_a_text_in_a_wave_file_is_gone(place: str) -> None:
    """Recorders and editors put their own chunks on either side of the samples."""
    check(riff(WAV[12:36], WAVS[place], WAV[36:], form=b"WAVE"), "a.wav")
    check(riff(WAV[12:], WAVS[place], form=b"WAVE"), "a.wav")
    check(WAV + TEXT, "a.wav", is_written=True)


def test_a_text_behind_the_form_of_samples_is_refused() -> None:
    """A form has room for what packed samples need; plain ones need nothing."""
    form = struct.pack("<HHIIHHH", 1, 2, 48_000, 192_000, 4, 16, len(TEXT)) + TEXT
    check(riff(chunk(b"fmt ", form), WAV[36:], form=b"WAVE"), "a.wav", is_written=False)


def test_a_text_before_the_samples_of_an_aiff_is_refused() -> None:
    """Players skip as many bytes as the chunk says."""
    content = music("pcm_s16be", "aiff", tags=False)
    at = content.index(b"SSND")
    length = int.from_bytes(content[at + 4 : at + 8])
    samples = content[at + 16 : at + 8 + length]
    sound = struct.pack(">II", len(TEXT), 0) + TEXT + samples
    body = content[8:at] + b"SSND" + struct.pack(">I", len(sound)) + sound + bytes(len(sound) % 2)

    check(b"FORM" + struct.pack(">I", len(body)) + body, "a.aiff", is_written=False)


@pytest.mark.parametrize("codec", ["libopus", "flac", "vorbis"])
def test_a_text_behind_the_end_of_a_stream_is_gone(codec: str) -> None:
    """Players stop at the last page; what follows is heard by nobody."""
    content = music(codec, "ogg", tags=False, kind="fltp" if codec == "vorbis" else "s16")
    last = content.rindex(b"OggS")
    page = content[last : last + 26] + bytes([1, len(TEXT)]) + TEXT

    check(content + TEXT, "a.ogg")
    check(content + page, "a.ogg")


# -- films ------------------------------------------------------------------------------------------------

_HOLD_BOXES = {
    **dict.fromkeys(b"moov trak edts mdia minf dinf stbl moof traf mfra mvex".split(), 0),
    b"stsd": 8,
    b"dref": 8,
    b"mp4v": 78,
    b"avc1": 78,
    b"mp4a": 28,
}
"""How many bytes stand before the boxes in a box."""


def boxes_in(content: bytes) -> list[list[Box]]:
    """Return each box of a film, with those around it before it."""
    reader = BoxReader(io.BytesIO(content))

    def below(path: list[Box], found: Iterator[Box]) -> Iterator[list[Box]]:
        for each in found:
            yield [*path, each]
            if each.kind in _HOLD_BOXES:
                inside = reader.run(each.inner + _HOLD_BOXES[each.kind], each.end)
                yield from below([*path, each], inside)

    return [path for path in below([], reader.run(0, len(content))) if path[-1].kind != b"mdat"]


def grown(content: bytes, path: list[Box], extra: bytes) -> bytes:
    """Return a film with something at the end of a box."""
    made = bytearray(content)
    for each in path:
        made[each.offset : each.offset + 4] = struct.pack(">I", each.size + len(extra))
    end = path[-1].end
    return bytes(made[:end]) + extra + bytes(made[end:])


FILMS = {
    "a.mp4": lambda: encode("mp4", video="mpeg4", sound="aac", frames=4),
    "h264.mp4": lambda: encode("mp4", video="libx264", sound="libmp3lame", frames=4),
    "a.mov": lambda: encode("mov", video="mpeg4", sound="pcm_s16le", frames=4),
    "fragmented.mp4": lambda: encode(
        "mp4", sound="aac", frames=4, options={"movflags": "frag_keyframe+empty_moov"}
    ),
}


@pytest.mark.parametrize("make", FILMS.values(), ids=FILMS)
def test_a_text_in_any_box_of_a_film_is_gone(make: Callable[[], bytes]) -> None:
    """Every table ends where it says, and a box may be longer."""
    content = make()
    survived, written = [], 0

    for path in boxes_in(content):
        for extra in (TEXT, box(b"xyzw", TEXT), box(b"free", TEXT), box(b"udta", box(b"name", TEXT))):
            made = cleaned(grown(content, path, extra), "a.mp4")
            written += made is not None
            if made is not None and TEXT in made:
                survived.append((b"/".join(each.kind for each in path), extra[4:8]))

    assert survived == []
    assert written > 20


_MASTERS = frozenset(
    (0x1A45DFA3, 0x18538067, 0x114D9B74, 0x4DBB, 0x1549A966, 0x1654AE6B, 0xAE, 0xE0, 0xE1, 0x55B0, 0x1C53BB6B)
) | {0xBB, 0xB7, 0x1F43B675, 0xA0}


def elements_in(content: bytes) -> list[list[Element]]:
    """Return each element of a film, with those around it before it."""
    reader = EbmlReader(io.BytesIO(content))

    def below(path: list[Element], found: Iterator[Element]) -> Iterator[list[Element]]:
        for each in found:
            yield [*path, each]
            if each.ident in _MASTERS:
                yield from below([*path, each], reader.inside(each))

    blocks = (0xA3, 0xA1)  # what lies there is compressed pixels and sound
    return [path for path in below([], reader.run(0, len(content))) if path[-1].ident not in blocks]


def stretched(content: bytes, path: list[Element], extra: bytes) -> bytes:
    """Return a film with something at the end of an element, all lengths written in eight bytes."""
    made, start, end = extra, path[-1].end, path[-1].end
    for each in reversed(path):
        made = element(each.ident, content[each.inner : start] + made + content[end : each.end], 8)
        start, end = each.offset, each.end
    return content[:start] + made + content[end:]


@pytest.mark.parametrize("kind", ["webm", "matroska"])
def test_a_text_in_any_element_of_a_film_is_gone(kind: str) -> None:
    """A name of a language or a codec has room for sixty letters."""
    content = encode(kind, video="libvpx", sound="libopus", frames=3)
    survived, written = [], 0

    for path in elements_in(content):
        for extra in (TEXT, element(0xEC, TEXT, 1), element(0x4FFF, TEXT, 1), element(0x536E, TEXT, 1)):
            made = cleaned(stretched(content, path, extra), "a.mkv")
            written += made is not None
            if made is not None and TEXT in made:
                survived.append(([f"{each.ident:X}" for each in path], extra[:2]))

    assert survived == []
    assert written > 20
