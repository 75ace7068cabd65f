"""What the tests of stamped pictures do the same way: stamp, strip, look at, and build containers by hand."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from random import Random
from typing import Any
from xml.etree import ElementTree

from PIL import Image, ImageCms, ImageDraw

from comfyvn.media import MediaFormat, Reading, fill_marker
from comfyvn.media.reading import read_as

VALUE = b'{"provenance_id":1234567890123456,"source":"test","uid":"0123456789abcdef"}'
NAMESPACE = "https://comfyvn.org/ns/1.0/"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
SIGNED = "it is signed with content credentials (C2PA)"


def stamp(kind: MediaFormat, content: bytes, value: bytes = VALUE) -> tuple[Reading, bytes]:
    """Return what reading found, and the copy: with the marker in it, or as it was if it can't be stamped."""
    sink = io.BytesIO()
    reading = read_as(kind, io.BytesIO(content), sink, len(value))
    if reading.slots:
        fill_marker(sink, reading, value)
    return reading, sink.getvalue()


def look(kind: MediaFormat, content: bytes) -> Reading:
    """Return what reading finds in a file."""
    return read_as(kind, io.BytesIO(content), None, 0)


def stripped(kind: Any, content: bytes) -> bytes:
    """Return the file without our markers."""
    made, at = b"", 0
    for splice in kind.layout(io.BytesIO(content)).splices:
        assert content[splice.offset :].startswith(splice.data)
        made += content[at : splice.offset] + splice.bare
        at = splice.offset + len(splice.data)
    return made + content[at:]


def assert_exact(kind: Any, content: bytes, value: bytes = VALUE) -> bytes:
    """Stamp a file and check every promise of a stamp; return the stamped file."""
    reading, once = stamp(kind, content, value)
    assert reading.refusal is None
    assert reading.marker is None
    assert stripped(kind, content) == content
    assert stripped(kind, once) == content
    seen = look(kind, once)
    assert (seen.marker, seen.digest, seen.refusal) == (value, reading.digest, None)
    _, twice = stamp(
        kind, stamp(kind, content, b'{"another":"one, and longer than the first"}' * 3)[1], value
    )
    assert twice == once
    return once


def assert_refused(kind: Any, content: bytes, why: str) -> None:
    """Check that a file can't be stamped, for this reason, and stays as it is."""
    reading, stamped = stamp(kind, content)
    assert reading.refusal == why
    assert stamped == content
    assert stripped(kind, content) == content


def frames(content: bytes) -> list[tuple[object, ...]]:
    """Return pixels, mode, size and timing of every frame as Pillow decodes it."""
    seen = []
    with Image.open(io.BytesIO(content)) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            image.load()
            timing = tuple(image.info.get(name) for name in ("duration", "timestamp", "loop", "disposal"))
            seen.append((image.mode, image.size, image.tobytes(), image.getpalette(), timing))
    return seen


def told(content: bytes) -> dict[str, object]:
    """Return what Pillow tells of a file besides its pixels, XMP and comments apart."""
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        exif = dict(image.getexif())
        kept = {name: value for name, value in image.info.items() if name not in ("xmp", "comment")}
        return {**kept, "exif tags": exif}


def xmp_of(content: bytes) -> ElementTree.Element:
    """Return the XMP that Pillow finds in a file, parsed by the standard library."""
    with Image.open(io.BytesIO(content)) as image:
        return ElementTree.fromstring(image.info["xmp"].rstrip(b"\0"))


def properties(root: ElementTree.Element) -> list[tuple[str, str | None]]:
    """Return the properties of a packet, in order, however they are written; ours apart."""
    seen: list[tuple[str, str | None]] = []
    for description in root.iter(f"{{{RDF}}}Description"):
        seen += [(name, value) for name, value in description.attrib.items() if f"{{{RDF}}}" not in name]
        seen += [(child.tag, child.text) for child in description if NAMESPACE not in child.tag]
    return seen


def marker_in(root: ElementTree.Element) -> list[str | None]:
    """Return the values of our property."""
    return [child.text for child in root.iter(f"{{{NAMESPACE}}}provenance")]


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return a picture as Pillow writes it."""
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def picture(mode: str = "RGB", size: tuple[int, int] = (90, 60)) -> Image.Image:
    """Return a small picture that isn't of one colour."""
    return Image.radial_gradient("L").resize(size).convert(mode)


def srgb() -> bytes:
    """Return a colour profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif() -> Image.Exif:
    """Return EXIF with an orientation and a text."""
    made = Image.Exif()
    made[0x0112] = 6
    made[0x010E] = "a description"
    return made


def chunk(kind: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """Return a RIFF chunk."""
    size = len(data) if length is None else length
    return kind + struct.pack("<I", size) + data + b"\0" * (len(data) % 2)


def riff(*chunks: bytes, form: bytes = b"WEBP", after: bytes = b"") -> bytes:
    """Return a RIFF file, with something behind its end."""
    body = form + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body + after


def box(kind: bytes, *data: bytes, size: int | None = None) -> bytes:
    """Return a box as MP4, AVIF and JPEG XL have it."""
    body = b"".join(data)
    return struct.pack(">I4s", len(body) + 8 if size is None else size, kind) + body


XPACKET = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'


def packet(
    inside: str, *, before: str = XPACKET, after: str = "<?xpacket end='w'?>", prefix: str = "rdf"
) -> bytes:
    """Return an XMP packet with something in its ``rdf:RDF``."""
    root = f'<{prefix}:RDF xmlns:{prefix}="{RDF}">{inside}</{prefix}:RDF>'
    return f'{before}<x:xmpmeta xmlns:x="adobe:ns:meta/">{root}</x:xmpmeta>{after}'.encode()


DC = 'xmlns:dc="http://purl.org/dc/elements/1.1/"'
PACKETS: dict[str, bytes] = {
    "elements": packet(
        f'\n <rdf:Description rdf:about="" {DC}>\n  <dc:format>image/jpeg</dc:format>\n </rdf:Description>\n'
    ),
    "attributes": packet(f'<rdf:Description rdf:about="" {DC} dc:format="image/jpeg"/>'),
    "another subject": packet(f'<rdf:Description rdf:about="uuid:1&amp;&quot;&lt;2" {DC} dc:format="a"/>'),
    "another prefix": packet(f"<r:Description r:about='' {DC} dc:format=\"x\"/>", prefix="r"),
    "several": packet(f'<rdf:Description rdf:about="x" {DC} dc:format="\u0159"/>' * 3),
    "empty": packet(""),
    "padded": packet("<rdf:Description/>", after=" " * 2000 + "\n<?xpacket end='w'?>"),
    "no wrapper": packet("<rdf:Description/>", before="", after=""),
    "mark in front": packet("<rdf:Description/>", before="\ufeff" + XPACKET),
    "zero behind": packet("<rdf:Description/>", after="\0"),
    "comments": packet("<!-- </rdf:RDF> --><rdf:Description><![CDATA[</rdf:RDF>]]></rdf:Description>"),
    "a lookalike": packet(f'<rdf:Description rdf:about="" xmlns:c="{NAMESPACE}x" c:provenance="{{}}"/>'),
    "dublin core": packet(
        '<rdf:Description xmlns:t="http://purl.org/dc/terms/" t:provenance="from my aunt"/>'
    ),
}

UNFIT: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "its XMP is damaged"),
    "no text": (b"\xff\xfe\x00", "its XMP is damaged"),
    "cut": (PACKETS["elements"][:150], "its XMP is damaged"),
    "wide": (PACKETS["elements"].decode().encode("utf-16"), "its XMP is damaged"),
    "no RDF": (b"<a><b/></a>", "its XMP is of an unusual shape"),
    "closed at once": (f'<r:RDF xmlns:r="{RDF}"/>'.encode(), "its XMP is of an unusual shape"),
    "no prefix": (f'<RDF xmlns="{RDF}"></RDF>'.encode(), "its XMP is of an unusual shape"),
    "two": (
        f'<a xmlns:r="{RDF}"><r:RDF></r:RDF><r:RDF></r:RDF></a>'.encode(),
        "its XMP is of an unusual shape",
    ),
    "a line in a name": (packet('<rdf:Description rdf:about="a&#10;b"/>'), "its XMP is of an unusual shape"),
    "our prefix": (packet("", prefix="comfyvn"), "its XMP is of an unusual shape"),
    "entities": (
        b'<!DOCTYPE a [<!ENTITY b "bbbb">]>' + PACKETS["no wrapper"],
        "its XMP is of an unusual shape",
    ),
    "a manifest elsewhere": (
        packet('<rdf:Description xmlns:t="http://purl.org/dc/terms/" t:provenance="self#jumbf=/c2pa/x"/>'),
        SIGNED,
    ),
    "rewritten": (
        packet(f'<rdf:Description rdf:about="" xmlns:c="{NAMESPACE}" c:provenance="{{&quot;a&quot;:1}}"/>'),
        "another program has rewritten the marker in its XMP",
    ),
}

Wrap = Callable[[bytes], bytes]


def draw_scene(seed: int, size: tuple[int, int] = (300, 400)) -> Image.Image:
    """Draw a sprite of many shapes on nothing, another one for each seed."""
    random, (width, height) = Random(seed), size
    image = Image.new("RGBA", (300, 400), (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    for _ in range(60):
        x, y = random.randrange(20, 240), random.randrange(20, 340)
        box = (x, y, x + random.randrange(15, 110), y + random.randrange(15, 110))
        colour = (random.randrange(220), random.randrange(220), random.randrange(220), 255)
        random.choice([pen.ellipse, pen.rectangle])(box, fill=colour)
    return image.resize((width, height))
