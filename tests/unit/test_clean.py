"""Clean copies: nothing but picture, sound or film is left of a file, and all of that."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from comfyvn import media
from comfyvn.media.clean import CantClean, clean, write_clean
from comfyvn.media.clean_pictures import png_chunk as chunk
from comfyvn.media.clean_proof import known_texts, prove
from films import encode, samples
from pictures import picture, riff, saved, srgb

SECRET = "SECRET prompt of mara at the window"
TEXT = SECRET.encode()
TAGS = {"title": SECRET, "comment": SECRET}
GPS = 0x8825


def cleaned(content: bytes, name: str = "") -> tuple[bytes, tuple[str, ...]]:
    """Return the clean copy of a file and what it does not have; the copy is proven, and clean itself."""
    source, sink = io.BytesIO(content), io.BytesIO()
    _, made = clean(source, name=name)
    write_clean(made, source, sink)
    prove(source, sink, [SECRET], name=name)
    again = io.BytesIO()
    write_clean(clean(sink, name=name)[1], sink, again)
    assert again.getvalue() == sink.getvalue()
    return sink.getvalue(), made.removed


def written(content: bytes) -> bytes:
    """Return the clean copy of a file, without a proof."""
    source, sink = io.BytesIO(content), io.BytesIO()
    write_clean(clean(source)[1], source, sink)
    return sink.getvalue()


def refusal(content: bytes, name: str = "") -> str:
    """Return why a file has no clean copy."""
    with pytest.raises(CantClean) as refused:
        cleaned(content, name)
    return str(refused.value)


def exif(orientation: int = 1) -> Image.Exif:
    """Exif with a prompt, a place, a time and a camera."""
    made = Image.Exif()
    made[0x010E], made[0x0132], made[0x0110] = SECRET, "2026:11:23 10:44:00", f"prompt:{SECRET}"
    made[0x0112] = orientation
    made.get_ifd(GPS)[1] = "N"
    made.get_ifd(GPS)[2] = (48.0, 12.0, 30.0)
    return made


def png(moving: bool = False, **more: object) -> bytes:
    """A PNG with a text in every kind of chunk that holds texts, and a colour profile."""
    info = PngInfo()
    info.add_text("prompt", json.dumps({"1": {"class_type": "Text", "inputs": {"text": SECRET}}}))
    info.add_text("parameters", SECRET, zip=True)
    info.add_itxt("XML:com.adobe.xmp", f"<x:xmpmeta>{SECRET}</x:xmpmeta>", zip=True)
    info.add(b"tIME", b"\x07\xea\x0b\x17\x0a\x2c\x00")
    info.add(b"prVt", TEXT)
    frames = {
        "save_all": True,
        "append_images": [picture("RGBA").rotate(90 * n) for n in (1, 2)],
        "duration": 80,
    }
    options = {"icc_profile": srgb(), "dpi": (72, 72), "exif": exif(), **(frames if moving else {}), **more}
    return saved(picture("RGBA"), "PNG", pnginfo=info, **options) + TEXT


def webp(**more: object) -> bytes:
    return saved(picture(), "WEBP", exif=exif(), xmp=TEXT, icc_profile=srgb(), **more) + TEXT


def jpeg(**more: object) -> bytes:
    return saved(picture(), "JPEG", exif=exif(), xmp=TEXT, comment=TEXT, icc_profile=srgb(), **more) + TEXT


def gif() -> bytes:
    """A GIF that moves, with a comment and with XMP as Adobe puts it there."""
    frames = [picture("P").rotate(90 * number) for number in range(3)]
    made = saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=80, loop=0, comment=TEXT)
    at = made.index(b"\x21\xff\x0bNETSCAPE2.0")
    return made[:at] + b"\x21\xff\x0bXMP DataXMP" + bytes([len(TEXT)]) + TEXT + b"\0" + made[at:] + TEXT


PICTURES: dict[str, tuple[Callable[[], bytes], set[str]]] = {
    "png": (png, {"tEXt prompt", "zTXt parameters", "iTXt XML:com.adobe.xmp", "tIME", "prVt", "Exif"}),
    "apng": (lambda: png(moving=True), {"tEXt prompt", "Exif"}),
    "jpeg": (jpeg, {"Exif", "XMP", "comment"}),
    "progressive": (lambda: jpeg(progressive=True), {"Exif", "XMP", "comment"}),
    "webp": (webp, {"Exif", "XMP"}),
    "lossless webp": (lambda: webp(lossless=True), {"Exif", "XMP"}),
    "moving webp": (lambda: webp(save_all=True, append_images=[picture().rotate(90)]), {"Exif", "XMP"}),
    "gif": (gif, {"comment", "extension XMP DataXMP"}),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_loses_all_texts_and_no_pixel(name: str) -> None:
    """A prompt, a place or a name goes out with the game; or the game looks different."""
    make, expected = PICTURES[name]
    content = make()
    assert SECRET.encode() in content
    assert media.texts(io.BytesIO(content))

    made, removed = cleaned(content)

    assert expected | {"bytes behind the end"} <= set(removed)
    assert b"SECRET" not in made
    with Image.open(io.BytesIO(content)) as before, Image.open(io.BytesIO(made)) as after:
        assert getattr(after, "n_frames", 1) == getattr(before, "n_frames", 1)
        assert after.info.get("icc_profile") == before.info.get("icc_profile")
        assert not after.getexif()


SOUNDS = {
    "a.flac": ("flac", None, "flac", "VORBIS_COMMENT"),
    "a.mp3": ("mp3", None, "libmp3lame", "ID3"),
    "a.wav": ("wav", None, "pcm_s16le", "LIST"),
    "a.aiff": ("aiff", None, "pcm_s16be", "NAME"),
    "a.opus": ("ogg", None, "libopus", "comments"),
    "a.oga": ("ogg", None, "flac", "comments"),
    "a.m4a": ("ipod", None, "aac", "udta"),
    "a.mp4": ("mp4", "mpeg4", "aac", "udta"),
    "a.mov": ("mov", "mpeg4", "pcm_s16le", "udta"),
    "a.webm": ("webm", "libvpx", "libopus", "Tags"),
    "a.mkv": ("matroska", "mpeg4", "flac", "Tags"),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_sound_and_film_lose_all_texts_and_no_packet(name: str) -> None:
    """The comment of a film holds the whole graph that made it."""
    kind, video, sound, expected = SOUNDS[name]
    content = encode(kind, video=video, sound=sound, tags=TAGS)
    assert TEXT in content

    made, removed = cleaned(content, name)

    assert expected in removed
    assert b"SECRET" not in made
    with av.open(io.BytesIO(made)) as container:
        pairs = [pair for each in (container, *container.streams) for pair in each.metadata.items()]
    told = {
        key.lower(): value for key, value in pairs if value and value != "Lavf"
    }  # in the first frame of MP3
    assert not {"title", "comment", "encoder", "creation_time"} & told.keys()


@pytest.mark.parametrize("flags", ["faststart", "frag_keyframe+empty_moov", "use_metadata_tags"])
@pytest.mark.parametrize(("kind", "sound"), [("mp4", "aac"), ("mov", "aac"), ("mov", "pcm_s16le")])
def test_films_of_every_build_stay_playable(flags: str, kind: str, sound: str) -> None:
    """Tables of places lead into nothing as soon as one byte moves."""
    content = encode(
        kind, video="mpeg4", sound=sound, tags={**TAGS, "prompt": SECRET}, options={"movflags": flags}
    )

    made, removed = cleaned(content, f"a.{kind}")

    assert removed
    assert len(made) == len(content)
    assert b"SECRET" not in made
    assert samples(made) == samples(content)


def test_long_comments_of_ogg_leave_no_gap_among_the_pages() -> None:
    """Players stop at a page that is missing."""
    content = encode("ogg", sound="libopus", tags={"prompt": SECRET * 6_000})
    assert content.count(b"OggS") > 5

    made, removed = cleaned(content, "a.opus")

    assert removed == ("comments",)
    numbers = [int.from_bytes(part[14:18], "little") for part in made.split(b"OggS")[1:]]
    assert numbers == list(range(len(numbers)))
    assert len(made) < 10_000


@pytest.mark.parametrize("make", [png, jpeg, webp], ids=["png", "jpeg", "webp"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_how_a_picture_is_turned_survives(make: Callable[..., bytes], orientation: int) -> None:
    """Half of the photographs would lie on their side, since only Exif says how they were held."""
    content = make(exif=exif(orientation)) if make is png else with_exif(make, orientation)

    made, _ = cleaned(content)

    with Image.open(io.BytesIO(made)) as image:
        image.load()
        assert dict(image.getexif()) == {0x0112: orientation}


def with_exif(make: Callable[..., bytes], orientation: int) -> bytes:
    kind = "JPEG" if make is jpeg else "WEBP"
    return saved(picture(), kind, exif=exif(orientation))


def test_a_thumbnail_of_what_was_before_the_crop_is_left_out() -> None:
    """What somebody has cut away would still be seen in the small picture."""
    content = jpeg()
    thumbnail = bytes(3 * 4) + TEXT[:0]
    start = content.index(b"JFIF\0")
    fat = (
        content[: start - 2] + struct.pack(">H", 16 + 12) + content[start : start + 12] + b"\2\2" + thumbnail
    )
    content = fat + content[start + 14 :]

    made, removed = cleaned(content)

    assert "JFIF thumbnail" in removed
    assert made[2:20] == content[2:4] + b"\0\x10" + content[start : start + 12] + b"\0\0"


# -- refusals ---------------------------------------------------------------------------------------------


def test_what_is_signed_is_refused() -> None:
    """A copy with other bytes would claim a signature that does not hold, or lose it silently."""
    at = png().index(b"IDAT") - 4
    signed = png()[:at] + chunk(b"caBX", b"manifest") + png()[at:]

    assert "content credentials" in refusal(signed)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"once upon a time", "of no format that we know"),
        (saved(picture(), "BMP"), "of the format bmp"),
        (saved(picture(), "TIFF"), "of the format tiff"),
        (png()[:400], "damaged"),
        (jpeg()[:-200], "damaged"),
        (webp()[:300], "damaged"),
        (gif()[:200], "damaged"),
        (b"", "of no format that we know"),
    ],
    ids=["text", "bmp", "tiff", "png", "jpeg", "webp", "gif", "empty"],
)
def test_what_cant_be_told_is_refused_with_a_reason(content: bytes, why: str) -> None:
    """A file that was passed on unseen would be taken for clean."""
    assert why in refusal(content)


def test_pixels_with_something_behind_them_are_refused() -> None:
    """A picture cropped by some phones still has the rest of the old one there."""
    content = saved(picture(), "PNG")
    start = content.index(b"IDAT")
    length = int.from_bytes(content[start - 4 : start])
    packed = content[start + 4 : start + 4 + length]
    made = content[: start - 4] + chunk(b"IDAT", packed + TEXT) + content[start + 8 + length :]

    assert refusal(made) == "something else lies among its pixels"


def test_a_prompt_in_a_colour_profile_is_found() -> None:
    """A profile stays as it is, and any text can stand in its description."""
    profile = bytearray(srgb())
    at = profile.index("sRGB".encode("utf-16-be"))
    profile[at : at + 20] = SECRET[:10].encode("utf-16-be")
    content = saved(picture(), "PNG", icc_profile=bytes(profile))
    source, sink = io.BytesIO(content), io.BytesIO()
    write_clean(clean(source)[1], source, sink)

    with pytest.raises(CantClean, match="is still in its clean copy"):
        prove(source, sink, [SECRET[:10]])


def test_several_pictures_in_one_file_are_refused() -> None:
    """Of a picture for two eyes one eye would be lost without a word."""
    made = saved(picture(), "MPO", save_all=True, append_images=[picture().rotate(180)])

    assert "several pictures" in refusal(made)


# -- the proof itself ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("copy", "why"),
    [
        (png(), "something was left"),
        (saved(picture("RGBA").rotate(180), "PNG", icc_profile=srgb(), dpi=(72, 72)), "pixels"),
        (saved(picture("RGBA"), "PNG", dpi=(72, 72)), "colour profile"),
        (saved(picture("RGBA"), "PNG")[:-30], "damaged"),
    ],
    ids=["dirty", "turned", "without profile", "cut"],
)
def test_a_wrong_copy_fails_its_proof(copy: bytes, why: str) -> None:
    """A proof that nothing fails proves nothing."""
    with pytest.raises(CantClean, match=why):
        prove(io.BytesIO(png()), io.BytesIO(copy), [])


def test_a_film_with_other_packets_fails_its_proof() -> None:
    """Sound and film are compared as well."""
    first, other = (cleaned(encode("mp3", sound="libmp3lame", frames=n), "a.mp3")[0] for n in (12, 20))

    with pytest.raises(CantClean, match="sound or pictures are not the same"):
        prove(io.BytesIO(first), io.BytesIO(other), [], name="a.mp3")


def test_texts_are_looked_for_in_each_part_of_a_graph() -> None:
    """Nobody finds a graph of 50 kB whole in what is left; a prompt of it he may."""
    graph = json.dumps({"3": {"inputs": {"text": SECRET, "seed": 1, "path": "C:\\Users\\mika\\a.png"}}})

    found = known_texts([graph, {"prompt": ["a line of text\nanother line"]}, "short", None, 7])

    assert {SECRET, "C:\\Users\\mika\\a.png", "a line of text", "another line"} <= found
    assert "short" not in found


# -- laws -------------------------------------------------------------------------------------------------

BARE = {
    "png": cleaned(saved(picture(), "PNG"))[0],
    "jpeg": cleaned(saved(picture(), "JPEG"))[0],
    "webp": cleaned(saved(picture(), "WEBP", icc_profile=srgb()))[0],
}
JUNK = st.lists(st.tuples(st.integers(0, 10), st.binary(max_size=80)), min_size=1, max_size=6)


@given(
    junk=JUNK, kind=st.sampled_from([b"tEXt", b"zTXt", b"iTXt", b"tIME", b"eXIf", b"vpAg", b"comf", b"sPLT"])
)
def test_whatever_chunks_are_put_into_a_png_are_left_out(junk: list[tuple[int, bytes]], kind: bytes) -> None:
    """There is always one more private chunk that some tool has thought of."""
    content = BARE["png"]

    for at, data in junk:
        place = starts_of(content)[at % 2]
        content = content[:place] + chunk(kind, b"key\0" + TEXT + data) + content[place:]

    assert written(content) == BARE["png"]  # Pillow itself opens few of these


def starts_of(content: bytes) -> list[int]:
    """Return where the first chunk of pixels and the end of a PNG begin."""
    found: dict[bytes, int] = {}
    at = 8
    while at < len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        found.setdefault(name, at)
        at += 12 + length
    return [found[b"IDAT"], found[b"IEND"]]


@given(junk=JUNK, code=st.sampled_from([0xE1, 0xE2, 0xE3, 0xEC, 0xED, 0xEF, 0xFE]))
def test_whatever_segments_are_put_into_a_jpeg_are_left_out(junk: list[tuple[int, bytes]], code: int) -> None:
    """Cameras and phones put into them what they like."""
    content = BARE["jpeg"]

    for _, data in junk:
        body = TEXT + data
        content = content[:20] + struct.pack(">BBH", 0xFF, code, 2 + len(body)) + body + content[20:]

    assert cleaned(content)[0] == BARE["jpeg"]


@given(junk=JUNK, kind=st.sampled_from([b"EXIF", b"XMP ", b"FOO ", b"vp8x"]))
def test_whatever_chunks_are_put_into_a_webp_are_left_out(junk: list[tuple[int, bytes]], kind: bytes) -> None:
    """A header that still announces them is no clean one either."""
    content = BARE["webp"]
    chunks = b"".join(
        kind + struct.pack("<I", len(TEXT + data)) + TEXT + data + bytes(len(TEXT + data) % 2)
        for _, data in junk
    )
    head = bytes([content[20] | 0x0C])

    made = riff(content[12:20] + head + content[21:], chunks)

    assert cleaned(made)[0] == BARE["webp"]


WHOLE = {
    "a.png": png(),
    "a.jpg": jpeg(),
    "a.webp": webp(),
    "a.gif": gif(),
    **{
        name: encode(SOUNDS[name][0], video=SOUNDS[name][1], sound=SOUNDS[name][2], tags=TAGS)
        for name in SOUNDS
    },
}


@given(
    name=st.sampled_from(sorted(WHOLE)),
    changes=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=8),
    end=st.floats(0, 1),
)
def test_a_damaged_file_is_clean_or_refused(
    name: str, changes: list[tuple[float, bytes]], end: float
) -> None:
    """One file of a library must not stop the export of all others, nor slip through."""
    content = bytearray(WHOLE[name])
    for place, data in changes:
        at = int(place * min(len(content), 600))
        content[at : at + len(data)] = data
    content = content[: len(content) - int(end**4 * len(content))]
    source, sink = io.BytesIO(content), io.BytesIO()

    try:
        write_clean(clean(source, name=name)[1], source, sink)
    except CantClean:
        return

    again = clean(sink, name=name)[1]
    assert again.removed == ()
    assert b"SECRET" not in b"".join(part for part in again.parts if isinstance(part, bytes))


def test_zlib_bombs_in_profiles_and_pixels_cost_little() -> None:
    """A file of some kilobytes would take all memory."""
    bomb = zlib.compress(bytes(64 << 20))
    content = saved(picture(), "PNG")
    at = content.index(b"IDAT") - 4

    assert "profile" in refusal(content[:at] + chunk(b"iCCP", b"x\0\0" + bomb) + content[at:])
    assert (
        refusal(content[:at] + chunk(b"IDAT", bomb) + content[at:]) == "something else lies among its pixels"
    )


@pytest.mark.art
@pytest.mark.parametrize("kind", ["matroska", "webm"])
def test_comments_of_vorbis_in_a_film_are_emptied(art: Path, kind: str) -> None:
    """They stand among what the decoder needs to know, where no tag editor shows them."""
    path = next(each for each in sorted(art.rglob("*.ogg")) if b"\x03vorbis" in each.read_bytes())
    sink = io.BytesIO()
    with av.open(str(path)) as source, av.open(sink, "w", format=kind) as container:
        stream = container.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    assert b"Xiph.Org" in sink.getvalue()

    made, removed = cleaned(sink.getvalue(), "a.mka")

    assert "comments" in removed
    assert b"Xiph.Org" not in made
    assert samples(made) == samples(sink.getvalue())


@pytest.mark.art
def test_real_games_are_clean_to_the_last_picture(art: Path) -> None:
    """What comes from real tools is refused for a trifle, and nobody uses the export."""
    paths = [
        each for each in sorted(art.rglob("*")) if each.suffix in (".jpg", ".webp", ".ogg", ".opus", ".webm")
    ]

    for path in paths:
        cleaned(path.read_bytes(), path.name)

    assert len(paths) > 20


def test_the_profile_of_a_screen_keeps_its_name() -> None:
    """The name that a PNG gives it may be anything; what the profile itself says belongs to it."""
    content = saved(picture(), "PNG", icc_profile=ImageCms.ImageCmsProfile(io.BytesIO(srgb())).tobytes())
    at = content.index(b"iCCP")
    length = int.from_bytes(content[at - 4 : at])
    packed = content[at + 4 : at + 4 + length].partition(b"\0")[2]
    named = content[: at - 4] + chunk(b"iCCP", TEXT + b"\0" + packed) + content[at + 8 + length :]

    made, removed = cleaned(named)

    assert removed == ("iCCP name",)
    assert b"SECRET" not in made
