"""The picture formats that carry a marker keep the contract that strangers' formats must keep."""

import struct

import pytest
from PIL import features

from comfyvn.media.gif import GifFormat
from comfyvn.media.heif import AvifFormat, HeicFormat, JxlFormat
from comfyvn.media.jpeg import JpegFormat
from comfyvn.media.webp import WebpFormat
from comfyvn.testing import FormatContract
from pictures import PACKETS, box, exif, picture, saved, srgb


class TestJpegFormat(FormatContract):
    format = JpegFormat()
    uncleanable = frozenset({"two.jpg"})

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        return {
            "plain.jpg": saved(picture(), "JPEG"),
            "grey.jpg": saved(picture("L"), "JPEG", progressive=True),
            "everything.jpg": saved(
                picture("CMYK"), "JPEG", exif=exif(), icc_profile=srgb(), xmp=PACKETS["elements"]
            ),
            "two.jpg": saved(picture(), "MPO", save_all=True, append_images=[picture().rotate(40)]),
        }


class TestWebpFormat(FormatContract):
    format = WebpFormat()
    unstampable = frozenset({"signed.webp"})
    uncleanable = frozenset({"signed.webp"})

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        frames = [picture("RGBA").rotate(angle) for angle in (20, 40)]
        extended = saved(picture(), "WEBP", icc_profile=srgb())
        signed = extended[:4] + struct.pack("<I", len(extended)) + extended[8:] + b"C2PA\0\0\0\0"
        return {
            "lossy.webp": saved(picture(), "WEBP"),
            "alpha.webp": saved(picture("RGBA"), "WEBP", lossless=True),
            "everything.webp": saved(picture(), "WEBP", icc_profile=srgb(), xmp=PACKETS["attributes"]),
            "animated.webp": saved(picture("RGBA"), "WEBP", save_all=True, append_images=frames, duration=50),
            "signed.webp": signed,
        }


class TestGifFormat(FormatContract):
    format = GifFormat()

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        frames = [picture("L").rotate(angle) for angle in (20, 40)]
        return {
            "still.gif": saved(picture("P"), "GIF", comment=b"made with love"),
            "animated.gif": saved(
                picture("P"), "GIF", save_all=True, append_images=frames, duration=50, loop=0
            ),
        }


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")
class TestAvifFormat(FormatContract):
    format = AvifFormat()

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        frames = [picture().rotate(angle) for angle in (20, 40)]
        return {
            "still.avif": saved(picture(), "AVIF", speed=10, exif=exif()),
            "sequence.avif": saved(
                picture(), "AVIF", speed=10, save_all=True, append_images=frames, duration=50
            ),
        }


class TestHeicFormat(FormatContract):
    format = HeicFormat()

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        head = box(b"ftyp", b"heic\0\0\0\0mif1heic")
        return {"a.heic": head + box(b"meta", bytes(4), box(b"iloc", b"places")) + box(b"mdat", b"pixels")}


class TestJxlFormat(FormatContract):
    format = JxlFormat()
    unstampable = frozenset({"naked.jxl"})

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        head = b"\0\0\0\x0cJXL \r\n\x87\n" + box(b"ftyp", b"jxl \0\0\0\0jxl ")
        return {
            "boxes.jxl": head + box(b"xml ", PACKETS["elements"]) + box(b"jxlc", b"\xff\x0apixels"),
            "naked.jxl": b"\xff\x0apixels",
        }
