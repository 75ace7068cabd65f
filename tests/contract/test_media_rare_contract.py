"""Pictures that makers have lying around keep the contract: what tells them, and that they can be shown."""

import io
import struct

import pytest
from PIL import Image, features

from comfyvn.media import PreviewLimits
from comfyvn.media.formats import recognise
from comfyvn.media.rare import DdsFormat, IcoFormat, Jpeg2000Format, PsdFormat, QoiFormat, TgaFormat
from comfyvn.testing import FormatContract


def picture(mode: str = "RGB", size: tuple[int, int] = (90, 60)) -> Image.Image:
    return Image.radial_gradient("L").resize(size).convert(mode)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def psd(image: Image.Image) -> bytes:
    """Return a Photoshop file without layers, its picture not packed."""
    head = b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, image.height, image.width, 8, 3)
    return head + bytes(12) + b"\0\0" + b"".join(band.tobytes() for band in image.split())


def qoi(image: Image.Image) -> bytes:
    """Return a QOI file that states every pixel."""
    head = b"qoif" + struct.pack(">IIBB", image.width, image.height, 3, 0)
    raw = image.tobytes()
    return head + b"".join(b"\xfe" + raw[at : at + 3] for at in range(0, len(raw), 3)) + bytes(7) + b"\1"


class TestPsdFormat(FormatContract):
    format = PsdFormat()

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        return {"flat.psd": psd(picture())}


class TestIcoFormat(FormatContract):
    format = IcoFormat()

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        large = picture("RGBA", (64, 64))
        return {
            "several.ico": saved(large, "ICO", sizes=[(16, 16), (64, 64)]),
            "old.ico": saved(large, "ICO", sizes=[(32, 32)], bitmap_format="bmp"),
        }


class TestTgaFormat(FormatContract):
    format = TgaFormat()

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        return {
            "plain.tga": saved(picture(), "TGA"),
            "packed.TGA": saved(picture("RGBA"), "TGA", compression="tga_rle"),
            "palette.tga": saved(picture("P"), "TGA"),
        }


class TestDdsFormat(FormatContract):
    format = DdsFormat()

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        return {"plain.dds": saved(picture("RGBA"), "DDS")}


@pytest.mark.skipif(not features.check("jpg_2000"), reason="this Pillow was built without JPEG 2000")
class TestJpeg2000Format(FormatContract):
    format = Jpeg2000Format()

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        return {
            "boxes.jp2": saved(picture(), "JPEG2000"),
            "bare.j2k": saved(picture("L"), "JPEG2000", no_jp2=True),
        }


class TestQoiFormat(FormatContract):
    format = QoiFormat()

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        return {"plain.qoi": qoi(picture())}


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"qoif is how this text begins, and so it goes on", "a.qoi"),
        (b"\0\0\1\xba a film, as MPEG has it" + bytes(40), "a.mpg"),
        (b"\0\0\1\0" + bytes(60), "a.ico"),
        (b"8BPS\0\2" + bytes(60), "a.psb"),
        (b"DDS is a word, too." + bytes(60), "a.dds"),
        (b"some text, and no more than that", "notes.tga"),
        (saved(picture(), "TGA")[:64], "a.bin"),
    ],
    ids=["qoi", "film", "nothing", "large document", "text", "named tga", "nameless tga"],
)
def test_what_only_looks_alike_is_not_claimed(content: bytes, name: str) -> None:
    """A text would get a failed preview."""
    found = recognise(content[:64], name)

    assert found is None or found.name not in {"psd", "ico", "tga", "dds", "jpeg2000", "qoi"}


def test_of_an_icon_the_largest_picture_is_shown() -> None:
    """A game's icon would be a few blurred pixels."""
    content = saved(picture("RGBA", (128, 128)), "ICO", sizes=[(16, 16), (128, 128), (32, 32)])

    made = IcoFormat().preview(io.BytesIO(content), PreviewLimits())

    with Image.open(io.BytesIO(made.files["256"])) as image:
        assert image.size == (128, 128)
    assert (made.facts["width"], made.facts["has_alpha"]) == (128, True)
