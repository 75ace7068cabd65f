"""The texts inside files, by our own look at them; Pillow, FFmpeg and mutagen write them, and judge."""

import contextlib
import functools
import io
import json
import logging
import struct
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import mutagen
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutagen.aiff import AIFF
from mutagen.flac import FLAC
from mutagen.id3 import COMM, ID3, TIT2, TXXX
from mutagen.mp3 import MP3
from mutagen.mp4 import MP4
from mutagen.oggopus import OggOpus
from mutagen.wave import WAVE
from PIL import Image, PngImagePlugin, features

import films
from comfyvn import media
from comfyvn.media import formats as formats_module
from comfyvn.media.embedded import COUNT_LIMIT, TEXT_LIMIT
from comfyvn.model import EmbeddedText
from pictures import DC, box, chunk, packet, picture, riff, saved
from sounds import VALUE, music, stamp

GRAPH = {"3": {"class_type": "KSampler", "inputs": {"seed": 7, "text": "a café, 桜"}}}
PROMPT = json.dumps(GRAPH)
WORKFLOW = json.dumps({"nodes": [{"id": 3, "type": "KSampler"}], "version": 0.4})
PARAMETERS = "a café, 桜\nNegative prompt: fog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 965400086"
USER_COMMENT, MODEL, MAKE, DESCRIPTION = 0x9286, 0x0110, 0x010F, 0x010E
needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")

PICTURES = ["JPEG", "WEBP", "PNG", "TIFF", pytest.param("AVIF", marks=needs_avif)]


def texts(content: bytes, name: str = "") -> list[tuple[str, str, str]]:
    """Return the texts of a file, and check that looking for them leaves it as it is."""
    file = io.BytesIO(content)
    found = media.texts(file, name=name)
    assert file.getvalue() == content
    return [(each.place, each.name, each.text) for each in found]


def named(content: bytes, name: str = "") -> dict[str, str]:
    """Return the texts of a file by their names."""
    return {each: text for _, each, text in texts(content, name)}


def png(*chunks: bytes, after: tuple[bytes, ...] = ()) -> bytes:
    """Return a PNG of one pixel with some chunks before and behind its pixels."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(b"\0\x7f"))
    parts = (b"\x89PNG\r\n\x1a\n", head, *chunks, pixels, *after, png_chunk(b"IEND", b""))
    return b"".join(parts)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def tiff(order: str, tags: dict[int, bytes], *, kind: int = 7, exif: bool = True) -> bytes:
    """Return Exif with tags of bytes, in a directory of its own or in the first."""
    at = 26 if exif else 8
    table = struct.pack(f"{order}H", len(tags))
    data, begin = b"", at + 2 + 12 * len(tags) + 4
    for tag, value in sorted(tags.items()):
        where = struct.pack(f"{order}I", begin + len(data)) if len(value) > 4 else value.ljust(4, b"\0")
        table += struct.pack(f"{order}HHI", tag, kind, len(value)) + where
        data += value if len(value) > 4 else b""
    first = struct.pack(f"{order}HHHII", 1, 0x8769, 4, 1, 26) + bytes(4) if exif else b""
    signature = b"II*\0" if order == "<" else b"MM\0*"
    return signature + struct.pack(f"{order}I", 8) + first + table + bytes(4) + data


def in_container(exif: bytes, container: str) -> bytes:
    """Return a picture that holds this Exif, as the container keeps it."""
    if container == "JPEG":
        data = b"Exif\0\0" + exif
        segment = b"\xff\xe1" + struct.pack(">H", 2 + len(data)) + data
        return b"\xff\xd8" + segment + saved(picture(), "JPEG")[2:]
    if container == "WEBP":
        header = b"\x08\0\0\0" + b"\x59\0\0\x3b\0\0"
        return riff(chunk(b"VP8X", header), saved(picture(), "WEBP")[12:], chunk(b"EXIF", exif))
    if container == "PNG":
        return png(png_chunk(b"eXIf", exif))
    if container == "AVIF":
        return saved(picture(), "AVIF", exif=b"Exif\0\0" + exif)
    return exif


@functools.cache
def samples() -> dict[str, bytes]:
    """Return a file of every format that holds texts, each with some."""
    exif = Image.Exif()
    exif[DESCRIPTION] = "a description"
    exif[MODEL] = f"prompt:{PROMPT}"
    exif.get_ifd(0x8769)[USER_COMMENT] = b"UNICODE\0" + PARAMETERS.encode("utf-16-be")
    xmp = packet(f"<rdf:Description {DC}><dc:title>In XMP</dc:title></rdf:Description>")
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", PROMPT)
    info.add_text("workflow", WORKFLOW, zip=True)
    info.add_itxt("parameters", PARAMETERS, zip=True)
    made = {
        "a.png": saved(picture(), "PNG", pnginfo=info, exif=exif),
        "a.jpg": saved(picture(), "JPEG", exif=exif, comment="a comment", xmp=xmp),
        "a.webp": saved(picture(), "WEBP", exif=exif, xmp=xmp),
        "a.gif": saved(picture(), "GIF", comment="a comment"),
        "a.tiff": saved(picture(), "TIFF", exif=exif),
        "a.jxl": jxl(xmp),
        "a.mp4": films.encode("mp4", video="libx264", tags={"comment": PROMPT}),
        "keys.mp4": comfyui_film("mp4", "libx264"),
        "a.mov": films.encode("mov", video="libx264", tags={"comment": PROMPT}),
        "a.webm": comfyui_film("webm", "libvpx-vp9"),
        "a.wav": tagged_wave(),
        "a.aiff": tagged_aiff(),
        "a.mp3": films.encode("mp3", sound="libmp3lame", tags={"prompt": PROMPT, "comment": "hi"}),
        "a.flac": films.encode("flac", sound="flac", tags={"prompt": PROMPT}),
        "a.opus": films.encode("opus", sound="libopus", tags={"prompt": PROMPT}),
        "a.ogg": music("vorbis", "ogg", kind="fltp"),
    }
    if features.check("avif"):
        made["a.avif"] = saved(picture(), "AVIF", exif=exif, xmp=xmp)
    return made


def comfyui_film(kind: str, codec: str) -> bytes:
    """Return a film with the metadata that ComfyUI gives it: named by keys, where MP4 would not take it."""
    options = {"movflags": "use_metadata_tags"} if kind == "mp4" else {}
    return films.encode(kind, video=codec, options=options, tags={"prompt": PROMPT, "workflow": WORKFLOW})


def jxl(xmp: bytes) -> bytes:
    exif = bytes(4) + tiff("<", {DESCRIPTION: b"a description\0"}, kind=2, exif=False)
    signature = b"\0\0\0\x0cJXL \r\n\x87\n" + box(b"ftyp", b"jxl \0\0\0\0jxl ")
    return signature + box(b"jxlc", b"\xff\x0a\0\0") + box(b"Exif", exif) + box(b"xml ", xmp)


def tagged_wave() -> bytes:
    """Return a WAVE with a list of FFmpeg and an ID3 tag of mutagen."""
    file = io.BytesIO(music("pcm_s16le", "wav"))
    tagged = WAVE(file)
    tagged.add_tags()
    tagged.tags.add(TXXX(encoding=1, desc="prompt", text=PROMPT))
    file.seek(0)
    tagged.save(file)
    return file.getvalue()


def tagged_aiff() -> bytes:
    """Return an AIFF with an annotation and an ID3 tag of mutagen."""
    plain = music("pcm_s16be", "aiff", tags=False)
    annotation = b"ANNO" + struct.pack(">I", 6) + b"a note"
    file = io.BytesIO(b"FORM" + struct.pack(">I", len(plain) - 8 + len(annotation)) + plain[8:] + annotation)
    tagged = AIFF(file)
    tagged.add_tags()
    tagged.tags.add(COMM(encoding=3, lang="eng", desc="", text="a comment, 桜"))
    file.seek(0)
    tagged.save(file)
    return file.getvalue()


# Pictures


def test_every_kind_of_png_text_is_found_as_pillow_reads_it() -> None:
    """A prompt in a compressed or international chunk would stay unread."""
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "caf\xe9, Steps: 20")
    info.add_text("prompt", PROMPT * 500, zip=True)
    info.add_itxt("workflow", "桜" + WORKFLOW)
    info.add_itxt("Comment", "桜" * 1000, lang="ja", tkey="コメント", zip=True)
    content = saved(picture(), "PNG", pnginfo=info)

    found = texts(content)

    with Image.open(io.BytesIO(content)) as image:
        assert {name: text for _, name, text in found} == image.text
    assert [place for place, _, _ in found] == ["png:tEXt", "png:zTXt", "png:iTXt", "png:iTXt"]


def test_png_texts_behind_the_pixels_are_found() -> None:
    """Tools that add a text to a finished picture put it at its end."""
    content = png(after=(png_chunk(b"tEXt", b"chara\0eyJuYW1lIjoiTWFyYSJ9"),))

    found = texts(content)

    assert found == [("png:tEXt", "chara", "eyJuYW1lIjoiTWFyYSJ9")]


def test_a_png_text_in_utf_8_where_latin_1_should_be_is_read_as_utf_8() -> None:
    """JavaScript tools write UTF-8 into every chunk: the prompt would be full of strange letters."""
    content = png(png_chunk(b"tEXt", b"parameters\0" + PARAMETERS.encode()))

    assert named(content) == {"parameters": PARAMETERS}


def test_the_graphs_that_comfyui_writes_into_an_apng_are_found() -> None:
    """Its node SaveAnimatedPNG writes chunks of its own kind: each animation would be without a workflow."""
    info = PngImagePlugin.PngInfo()
    info.add(b"comf", b"prompt\0" + PROMPT.encode(), after_idat=True)
    info.add(b"comf", b"workflow\0" + WORKFLOW.encode(), after_idat=True)
    content = saved(picture(), "PNG", pnginfo=info, save_all=True, append_images=[picture("L")])

    assert texts(content) == [("png:comf", "prompt", PROMPT), ("png:comf", "workflow", WORKFLOW)]


@pytest.mark.parametrize("kind", ["exif", "APP1", "xmp"])
def test_profiles_in_hexadecimal_digits_are_read(kind: str) -> None:
    """A JPEG of a web UI that an older ImageMagick made a PNG of would have lost its parameters."""
    exif = b"Exif\0\0" + tiff("<", {USER_COMMENT: b"UNICODE\0" + PARAMETERS.encode("utf-16-be")})
    xmp = packet(f"<rdf:Description {DC}><dc:source>{PARAMETERS}</dc:source></rdf:Description>")
    data = xmp if kind == "xmp" else exif
    digits = b"\n%b\n%8d\n%b\n" % (kind.lower().encode(), len(data), data.hex("\n", 36).encode())
    content = png(png_chunk(b"zTXt", b"Raw profile type " + kind.encode() + b"\0\0" + zlib.compress(digits)))

    assert list(named(content).values()) == [PARAMETERS]
    assert texts(png(png_chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 4\nno digits"))) == []


@pytest.mark.parametrize(
    "text",
    [
        png_chunk(b"zTXt", b"prompt\0\0" + zlib.compress(b"{}" * 99)[:-9]),
        png_chunk(b"zTXt", b"prompt\0\0not zlib"),
        png_chunk(b"iTXt", b"prompt\0\1"),
        png_chunk(b"iTXt", b"prompt"),
        png_chunk(b"tEXt", b"prompt"),
        png_chunk(b"tEXt", b"\0no name"),
        png_chunk(b"tEXt", b""),
        png_chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"),
        struct.pack(">I4s", 1 << 30, b"tEXt") + b"prompt\0{}",
    ],
)
def test_a_damaged_text_chunk_is_left_out(text: bytes) -> None:
    """Half a graph would be read as a whole one."""
    content = png(png_chunk(b"tEXt", b"before\0it"), text)

    assert texts(content) == [("png:tEXt", "before", "it")]


@pytest.mark.parametrize("container", PICTURES)
@pytest.mark.parametrize(
    ("order", "comment", "expected"),
    [
        ("<", b"ASCII\0\0\0a prompt, Steps: 20", "a prompt, Steps: 20"),
        (">", b"UNICODE\0" + PARAMETERS.encode("utf-16-be"), PARAMETERS),
        ("<", b"UNICODE\0" + PARAMETERS.encode("utf-16-be"), PARAMETERS),
        (">", b"UNICODE\0" + PARAMETERS.encode("utf-16-le"), PARAMETERS),
        (">", b"UNICODE\0" + PARAMETERS.encode("utf-16-le") + bytes(9), PARAMETERS),
        ("<", b"UNICODE\0\xfe\xff" + "桜".encode("utf-16-be"), "桜"),
        (">", b"UNICODE\0\xff\xfe" + "桜".encode("utf-16-le"), "桜"),
        ("<", b"UNICODE\0" + "桜の木".encode("utf-16-le"), "桜の木"),
        (">", b"UNICODE\0" + "桜の木".encode("utf-16-be"), "桜の木"),
        ("<", b"JIS\0\0\0\0\0" + "桜の木".encode("iso2022_jp"), "桜の木"),
        ("<", bytes(8) + PARAMETERS.encode(), PARAMETERS),
        ("<", PARAMETERS.encode(), PARAMETERS),
    ],
)
def test_a_user_comment_is_read_in_each_encoding(
    container: str, order: str, comment: bytes, expected: str
) -> None:
    """Tools write UTF-16 in either byte order, whatever the rest of the file is in."""
    content = in_container(tiff(order, {USER_COMMENT: comment}), container)

    assert texts(content) == [("exif:UserComment", "UserComment", expected)]


@pytest.mark.parametrize("container", PICTURES)
def test_the_texts_of_exif_are_found_in_every_picture_format(container: str) -> None:
    """The same tool writes the same tags into each container."""
    tags = {DESCRIPTION: b"a caf\xc3\xa9\0", 0x0131: b"NovelAI\0", 0x013B: b"M\0", 0x927C: b"fooocus\0"}
    tags |= {0x9C9B: "桜".encode("utf-16-le") + b"\0\0", 0x9C9E: "a;b".encode("utf-16-le")}
    content = in_container(tiff(">", tags, kind=1, exif=False), container)

    assert named(content) == {
        "ImageDescription": "a café",
        "Software": "NovelAI",
        "Artist": "M",
        "MakerNote": "fooocus",
        "XPTitle": "桜",
        "XPKeywords": "a;b",
    }


def test_a_cameras_own_note_is_no_text() -> None:
    """Kilobytes of a camera's binary data would be kept as a text of the picture."""
    content = in_container(tiff(">", {0x927C: b"Nikon\0\2\x10\0\0MM\0*\0\0"}), "JPEG")

    assert texts(content) == []


@pytest.mark.parametrize("container", ["WEBP", pytest.param("AVIF", marks=needs_avif)])
def test_the_graphs_that_comfyui_writes_into_exif_are_found_by_their_names(container: str) -> None:
    """An animation of ComfyUI has its graphs in the tags of a camera's make and model."""
    exif = Image.Exif()
    exif[MODEL], exif[MAKE], exif[DESCRIPTION] = f"prompt:{PROMPT}", f"workflow:{WORKFLOW}", 'extra:["a"]'
    moving = {"save_all": True, "append_images": [picture("L").convert("RGB")]}
    content = saved(picture(), container, exif=exif, **moving)

    assert sorted(texts(content)) == [
        ("exif:ImageDescription", "extra", '["a"]'),
        ("exif:Make", "workflow", WORKFLOW),
        ("exif:Model", "prompt", PROMPT),
    ]


def test_a_description_with_a_colon_is_no_graph() -> None:
    """What a person wrote would be cut at its first colon."""
    exif = Image.Exif()
    exif[DESCRIPTION] = "Mara: a girl"

    assert named(saved(picture(), "JPEG", exif=exif)) == {"ImageDescription": "Mara: a girl"}


@pytest.mark.parametrize("container", PICTURES)
def test_the_texts_of_xmp_are_found_in_every_picture_format(container: str) -> None:
    """Tools that write XMP would seem to have written nothing."""
    xmp = packet(
        f'<rdf:Description rdf:about="" {DC} xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:e="urn:e"'
        ' xmp:CreatorTool="Draw Things"><dc:description><rdf:Alt><rdf:li xml:lang="x-default">a &lt;b&gt;, 桜'
        "</rdf:li></rdf:Alt></dc:description><dc:subject><rdf:Bag><rdf:li>one</rdf:li><rdf:li>two</rdf:li>"
        "</rdf:Bag></dc:subject><e:parameters>Steps: 20</e:parameters>\n<e:empty> </e:empty>"
        '<e:history><rdf:Seq><rdf:li rdf:parseType="Resource"><e:when>now</e:when></rdf:li></rdf:Seq>'
        "</e:history></rdf:Description>"
    )
    if container == "PNG":
        content = png(png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
    elif container == "TIFF":
        content = tiff("<", {0x02BC: xmp}, kind=1, exif=False)
    else:
        content = saved(picture(), container, xmp=xmp)

    assert texts(content) == [
        ("xmp", "CreatorTool", "Draw Things"),
        ("xmp", "description", "a <b>, 桜"),
        ("xmp", "subject", "one"),
        ("xmp", "subject", "two"),
        ("xmp", "parameters", "Steps: 20"),
    ]


def test_xmp_that_is_too_long_for_one_segment_of_a_jpeg_is_put_together() -> None:
    """A workflow of more than 64 KiB would be lost."""
    long = json.dumps([WORKFLOW] * 2000)
    xmp = packet(f"<rdf:Description {DC}><dc:source>{long}</dc:source></rdf:Description>")
    segments = b""
    for at in range(0, len(xmp), 65_000):
        data = b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32 + struct.pack(">II", len(xmp), at)
        data += xmp[at : at + 65_000]
        segments += b"\xff\xe1" + struct.pack(">H", 2 + len(data)) + data
    content = b"\xff\xd8" + segments + saved(picture(), "JPEG")[2:]

    assert len(long) > 100_000
    assert texts(content) == [("xmp", "source", long)]
    assert texts(content.replace(struct.pack(">II", len(xmp), 65_000), struct.pack(">II", 1, 9))) == []


@pytest.mark.parametrize(
    "document_type",
    [
        '<!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>',
        '<!DOCTYPE a [<!ENTITY c SYSTEM "file:///etc/hostname">]>',
    ],
)
def test_entities_of_xmp_stand_for_nothing(document_type: str) -> None:
    """A picture from somewhere could fill the memory, or take up another file's text."""
    inside = f"<rdf:Description {DC}><dc:title>&c;</dc:title></rdf:Description>"

    assert texts(saved(picture(), "JPEG", xmp=packet(inside, before=document_type))) == []


def test_the_comments_of_jpeg_and_gif_are_found() -> None:
    """Both are a place for a prompt."""
    gif = {"save_all": True, "append_images": [picture("L")], "comment": PARAMETERS.encode() * 3}

    found = texts(saved(picture(), "JPEG", comment=PARAMETERS.encode()))

    assert found == [("jpeg:comment", "comment", PARAMETERS)]
    moving = saved(picture("P"), "GIF", **gif)
    assert {(place, name) for place, name, _ in texts(moving)} == {("gif:comment", "comment")}
    assert texts(moving)[0][2] == PARAMETERS * 3


def test_the_items_of_a_picture_may_lie_in_the_list_itself() -> None:
    """HEIF writers may keep small items inside of the box that lists them."""
    exif = struct.pack(">I", 6) + b"Exif\0\0" + tiff(">", {DESCRIPTION: b"inside\0"}, kind=2, exif=False)
    entry = b"\2\0\0\0" + struct.pack(">HH", 1, 0) + b"Exif\0"
    items = box(b"iinf", bytes(4) + struct.pack(">H", 1) + box(b"infe", entry))
    where = struct.pack(">HHHHHII", 1, 1, 1, 0, 1, 0, len(exif))
    places = box(b"iloc", b"\1\0\0\0\x44\0" + where)
    meta = box(b"meta", bytes(4) + items + places + box(b"idat", exif))
    content = box(b"ftyp", b"heic\0\0\0\0heic") + meta

    assert texts(content) == [("exif:ImageDescription", "ImageDescription", "inside")]


# Film and sound


@pytest.mark.parametrize("kind", ["mp4", "mov", "webm", "matroska"])
def test_the_tags_of_films_are_found(kind: str) -> None:
    """A film of VideoHelperSuite has its graphs in the comment."""
    codec = "libvpx-vp9" if kind == "webm" else "libx264"
    tags = {"title": "A title", "comment": PROMPT, "artist": "Mara"}
    content = films.encode(kind, video=codec, tags=tags)

    found = named(content)

    assert found.items() >= tags.items()
    assert {name.lower(): text for name, text in films.tags(content).items()}.items() >= tags.items()


@pytest.mark.parametrize(
    ("kind", "codec", "place"), [("mp4", "libx264", "mp4:keys"), ("webm", "libvpx-vp9", "matroska:tag")]
)
def test_the_graphs_of_a_film_of_comfyui_are_found(kind: str, codec: str, place: str) -> None:
    """Prompt and workflow of each film would stay unread."""
    found = texts(comfyui_film(kind, codec))

    assert {(place, "prompt", PROMPT), (place, "workflow", WORKFLOW)} <= set(found)


def test_freeform_items_of_an_mp4_have_their_own_names() -> None:
    """All that a tagger adds would be called the same."""
    file = io.BytesIO(films.encode("mp4", sound="aac"))
    tagged = MP4(file)
    tagged["----:com.apple.iTunes:workflow"] = WORKFLOW.encode()
    tagged["desc"], tagged["tmpo"] = "a café", [120]
    file.seek(0)
    tagged.save(file)

    found = texts(file.getvalue())

    assert ("mp4:ilst", "workflow", WORKFLOW) in found
    assert ("mp4:ilst", "description", "a café") in found
    assert "tmpo" not in {name for _, name, _ in found}


@pytest.mark.parametrize(
    ("kind", "codec", "judge"),
    [("flac", "flac", FLAC), ("opus", "libopus", OggOpus), ("mp3", "libmp3lame", MP3)],
)
def test_the_graphs_of_sound_of_comfyui_are_found(
    kind: str, codec: str, judge: Callable[..., mutagen.FileType]
) -> None:
    """Prompt and workflow of each sound would stay unread."""
    content = films.encode(kind, sound=codec, tags={"prompt": PROMPT, "workflow": WORKFLOW})

    found = named(content)

    assert found["prompt"] == PROMPT
    assert found["workflow"] == WORKFLOW
    tags = judge(io.BytesIO(content)).tags or {}
    assert str(tags.get("TXXX:prompt") or tags["prompt"][0]) == PROMPT


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("encoding", [0, 1, 2, 3])
def test_id3_tags_are_read_in_each_version_and_encoding(version: int, encoding: int) -> None:
    """A prompt would come out as every second letter."""
    tags, file = ID3(), io.BytesIO()
    text = "caf\xe9" if encoding == 0 else "café, 桜"
    tags.add(TXXX(encoding=encoding, desc="prompt", text=text))
    tags.add(COMM(encoding=encoding, lang="eng", desc="", text=text))
    tags.add(TIT2(encoding=encoding, text=text))
    tags.save(file, v2_version=version)
    sound = films.encode("mp3", sound="libmp3lame", options={"id3v2_version": "0", "write_xing": "0"})

    found = texts(file.getvalue() + sound, "a.mp3")

    expected = [("id3:TXXX", "prompt"), ("id3:COMM", "comment"), ("id3:TIT2", "title")]
    assert sorted(found) == sorted((*each, text) for each in expected)


def test_the_texts_of_wave_and_aiff_are_found() -> None:
    """A line of a voice actor would have no artist."""
    assert texts(tagged_aiff())[0] == ("aiff:ANNO", "comment", "a note")
    assert ("id3:COMM", "comment", "a comment, 桜") in texts(tagged_aiff())
    assert ("wav:INFO", "artist", "Somebody") in texts(tagged_wave())
    assert ("id3:TXXX", "prompt", PROMPT) in texts(tagged_wave())


def test_the_cover_of_a_sound_is_no_text() -> None:
    """A cover of megabytes, written as letters, would take the room of all texts."""
    file = io.BytesIO(films.encode("flac", sound="flac", tags={"prompt": PROMPT}))
    tagged = FLAC(file)
    tagged["metadata_block_picture"] = "AAAA" * 1000
    file.seek(0)
    tagged.save(file)

    found = named(file.getvalue())

    assert found["prompt"] == PROMPT
    assert "metadata_block_picture" not in found


# What holds for all of them


def test_our_own_marker_is_no_text() -> None:
    """A stamped file would tell other texts than its original."""
    stamped = {name: stamp(content, VALUE, name)[1] for name, content in samples().items()}

    found = {name: texts(content, name) for name, content in stamped.items()}

    assert [name for name, content in samples().items() if stamped[name] == content] == ["a.tiff"]
    assert found == {name: texts(content, name) for name, content in samples().items()}
    assert all(found.values())


@pytest.mark.parametrize("content", [b"", b"plain text", b"PK\x03\x04" + bytes(99), bytes(4096)])
def test_a_file_that_no_format_claims_has_no_texts(content: bytes) -> None:
    """Whatever looks like a text in it would be taken for one."""
    assert texts(content) == []


def test_a_text_that_unpacks_to_gigabytes_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """A picture of a few megabytes would fill the memory of whoever registers it."""
    bomb = png_chunk(b"zTXt", b"prompt\0\0" + zlib.compress(b" {" * (50 << 20), 1))
    content = png(bomb, png_chunk(b"tEXt", b"workflow\0{}"), *[bomb] * 20)

    started = time.process_time()
    found = texts(content)

    assert found == [("png:tEXt", "workflow", "{}")]
    assert time.process_time() - started < 1
    assert not caplog.records


def test_texts_are_taken_up_to_their_number_and_their_size() -> None:
    """A file could hold as many as would stop everything else."""
    many = png(*[png_chunk(b"tEXt", b"a%d\0b" % index) for index in range(COUNT_LIMIT + 9)])
    half = b"a\0" + b"b" * (TEXT_LIMIT // 2 - 1)
    large = png(*[png_chunk(b"tEXt", half) for _ in range(3)])

    assert len(texts(many)) == COUNT_LIMIT
    assert [len(text) for _, _, text in texts(large)] == [TEXT_LIMIT // 2 - 1] * 2


def test_exif_that_names_the_same_megabytes_a_thousand_times_costs_little() -> None:
    """One file of some megabytes would keep a server busy for minutes."""
    length = 6 << 20
    entries = b"".join(struct.pack("<HHII", DESCRIPTION, 2, length, 8) for _ in range(1000))
    exif = b"II*\0" + struct.pack("<I", length + 8) + bytes(length) + struct.pack("<H", 1000) + entries

    started = time.process_time()
    found = texts(png(png_chunk(b"eXIf", exif)))

    assert found == []
    assert time.process_time() - started < 1


def test_a_list_of_items_that_are_a_million_pieces_costs_little() -> None:
    """The same, for a picture in boxes."""
    items = box(b"iinf", bytes(4) + b"\0\1" + box(b"infe", b"\2\0\0\0\0\1\0\0Exif\0"))
    entry = struct.pack(">HHHI", 1, 0, 0, 0) + struct.pack(">H", 0xFFFF)
    for widths in (b"\0\x40", b"\x44\x40", b"\x10\x40"):
        places = box(b"iloc", b"\0\0\0\0" + widths + b"\xff\xff" + entry * 20_000)
        content = box(b"ftyp", b"heic\0\0\0\0heic") + box(b"meta", bytes(4) + items + places)

        started = time.process_time()
        found = texts(content)

        assert found == []
        assert time.process_time() - started < 1


def test_xmp_without_an_end_costs_little() -> None:
    """Elements in elements without end would fill the memory."""
    deep = b"<a>" * 1_000_000

    started = time.process_time()
    found = texts(png(png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + deep)))

    assert found == []
    assert time.process_time() - started < 1


def test_a_format_that_fails_costs_its_texts_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A mistake in a plug-in would keep a file from being registered."""

    class Faulty:
        name = "faulty"
        preview_kind = None

        def sniff(self, head: bytes, name: str) -> bool:
            return head.startswith(b"faulty")

        def texts(self, found: media.TextCollector) -> None:
            found.add("faulty", "prompt", "before")
            raise ZeroDivisionError

    monkeypatch.setattr(formats_module, "_strangers", lambda: (Faulty(),))

    found = media.texts(io.BytesIO(b"faulty"))

    assert found == (EmbeddedText("faulty", "prompt", "before"),)
    assert "faulty failed to look for texts" in caplog.text


def damaged(content: bytes, data: st.DataObject) -> bytes:
    """Return a file with some bytes of it turned, taken out or put in, as they are drawn."""
    made = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4), label="changes")):
        at = data.draw(st.integers(8, max(8, min(len(made) - 1, 4_000))), label="at")
        if data.draw(st.booleans(), label="is far"):
            at = len(made) - min(at, len(made))
        change = data.draw(st.binary(max_size=6) | st.sampled_from((b"\0" * 4, b"\xff" * 8)), label="change")
        width = data.draw(st.sampled_from((0, len(change))), label="width")
        made[at : at + width] = change
    return bytes(made[: data.draw(st.integers(len(made) // 2, len(made)), label="length")])


@settings(max_examples=400, deadline=1_000)
@given(st.data())
def test_damage_never_stops_the_look_for_texts(data: st.DataObject) -> None:
    """A damaged file could not be registered, or would take for ever."""
    name = data.draw(st.sampled_from(sorted(samples())), label="file")
    content = damaged(samples()[name], data)
    messages: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = messages.append  # type: ignore[method-assign]
    logging.getLogger("comfyvn").addHandler(handler)
    try:
        found = texts(content, name)
    finally:
        logging.getLogger("comfyvn").removeHandler(handler)

    assert messages == []
    assert all(text.encode() and place and kind for place, kind, text in found)


# Real files


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let Pillow complain of odd files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def files_of(corpus: Path, *suffixes: str) -> Iterator[Path]:
    found = [each for each in sorted(corpus.rglob("*")) if each.suffix.lower() in suffixes]
    assert len(found) > 5
    yield from found


@pytest.mark.corpus
def test_odd_pictures_tell_the_texts_that_pillow_reads(corpus: Path) -> None:
    """Files that other tools wrote would be read in another way than by everybody else."""
    differing, seen = [], 0

    for path in files_of(corpus, ".png", ".apng"):
        try:
            with quiet(), Image.open(path) as image:
                image.load()
                expected = dict(getattr(image, "text", {}))
        except (OSError, SyntaxError, ValueError):
            continue
        for name in list(expected):
            if name.startswith(("XML:com.adobe.xmp", "Raw profile type")):  # those are taken apart
                del expected[name]
        found = {name: text for place, name, text in texts(path.read_bytes()) if place.startswith("png:")}
        seen += len(found)
        if found != {name: text.partition("\0")[0] for name, text in expected.items() if text.strip()}:
            differing.append(path.name)

    assert seen > 50
    assert not differing, differing


@pytest.mark.corpus
def test_odd_pictures_tell_the_exif_that_pillow_reads(corpus: Path) -> None:
    """The same, for cameras and editors."""
    differing, seen = [], 0

    for path in files_of(corpus, ".jpg", ".jpeg", ".webp", ".avif", ".tif", ".tiff"):
        try:
            with quiet(), Image.open(path) as image:
                first = image.getexif()
                expected = {tag: first[tag] for tag in (DESCRIPTION, MAKE, MODEL, 0x0131) if tag in first}
        except (OSError, SyntaxError, ValueError):
            continue
        exif = {name: text for place, name, text in texts(path.read_bytes()) if place.startswith("exif:")}
        names = {DESCRIPTION: "ImageDescription", MAKE: "Make", MODEL: "Model", 0x0131: "Software"}
        for tag, text in expected.items():
            text = text.partition("\0")[0] if isinstance(text, str) else ""
            seen += bool(text.strip())
            if text.strip() and exif.get(names[tag], "").encode(errors="replace") != text.encode():
                differing.append(path.name)

    assert seen > 50
    assert differing == ["hopper_bigtiff.tif"]


@pytest.mark.corpus
def test_odd_sounds_tell_the_comments_that_mutagen_reads(corpus: Path) -> None:
    """The same, for sound."""
    differing, seen = [], 0

    for path in files_of(corpus, ".flac", ".ogg", ".oga", ".opus", ".spx", ".oggflac", ".oggtheora"):
        content = path.read_bytes()
        try:
            tags = mutagen.File(io.BytesIO(content))
        except mutagen.MutagenError:
            continue
        pairs = (tags.tags or []) if tags else []
        found = texts(content, path.name)  # mutagen tells those of one stream
        missing = {("vorbis", name.lower(), text) for name, text in pairs if text.strip()} - set(found)
        seen += len(found)
        if missing:
            differing.append(path.name)

    assert seen > 50
    assert differing == ["52-too-short-block-size.flac"]  # its comments reach into its sound


@pytest.mark.art
def test_the_art_of_real_games_is_looked_at_without_a_word(
    art: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A real game would fail to be registered."""
    files = [each for each in sorted(art.rglob("*")) if each.is_file()]

    found = {}
    for path in files:
        with path.open("rb") as file:
            found[path.name] = media.texts(file, name=path.name)

    assert any(each.place == "png:tEXt" for texts_of in found.values() for each in texts_of)
    assert not caplog.records


def test_what_ffmpeg_shows_of_a_film_is_among_the_texts() -> None:
    """Texts of films would be called other names in each container."""
    for name in ("a.mp4", "keys.mp4", "a.mov", "a.webm"):
        content = samples()[name]
        with av.open(io.BytesIO(content)) as container:
            told = {key.lower(): text for key, text in container.metadata.items()}

        found = named(content)

        shared = {key: text for key, text in told.items() if key in found}
        assert {"prompt", "comment"} & shared.keys()
        assert all(found[key] == text for key, text in shared.items()), name
