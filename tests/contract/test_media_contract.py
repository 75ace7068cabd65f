"""Our own media formats keep the contract that strangers' formats must keep."""

import io
import struct
import wave
from pathlib import Path
from typing import BinaryIO

import pytest
from PIL import Image

from comfyvn.errors import UnsupportedMedia
from comfyvn.media import Layout, PreviewLimits, Rendered, Splice, TextCollector
from comfyvn.media.clean import CantClean, Cleaning, Stretch
from comfyvn.media.images import BmpFormat, TiffFormat
from comfyvn.media.png import PngFormat
from comfyvn.media.wav import WavFormat
from comfyvn.testing import FormatContract


def picture(mode: str = "RGB") -> Image.Image:
    return Image.radial_gradient("L").resize((90, 60)).convert(mode)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


class TestPngFormat(FormatContract):
    format = PngFormat()

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        frames = [picture().rotate(angle) for angle in (20, 40)]
        return {
            "rgb.png": saved(picture(), "PNG"),
            "palette.png": saved(picture("P"), "PNG"),
            "animated.png": saved(picture(), "PNG", save_all=True, append_images=frames, duration=50),
        }


class TestTiffFormat(FormatContract):
    format = TiffFormat()

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        return {"rgb.tif": saved(picture(), "TIFF"), "cmyk.tif": saved(picture("CMYK"), "TIFF")}


class TestBmpFormat(FormatContract):
    format = BmpFormat()

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        return {"rgb.bmp": saved(picture(), "BMP"), "palette.bmp": saved(picture("P"), "BMP")}


class TestWavFormat(FormatContract):
    format = WavFormat()

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        sink = io.BytesIO()
        with wave.open(sink, "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(b"".join(struct.pack("<hh", at % 900, -at) for at in range(1500)))
        return {"a.wav": sink.getvalue()}


class AppendedFormat:
    """A stranger's format as small as can be: a magic word, and a marker with its length at the very end."""

    name = "appended"
    preview_kind = None

    def sniff(self, head: bytes, name: str) -> bool:
        return head.startswith(b"APPENDED")

    def layout(self, file: BinaryIO) -> Layout:
        file.seek(0)
        content = file.read()
        start = len(content) - 12 - int.from_bytes(content[-8:-4], "big")
        is_stamped = content.endswith(b"MARK") and start >= 0 and content[start : start + 4] == b"MARK"
        start = start if is_stamped else len(content)
        splice = Splice(start, content[start:], b"", self.encode)
        return Layout((splice,), content[start + 4 : -8] if is_stamped else None)

    def encode(self, value: bytes) -> bytes:
        return b"MARK" + value + len(value).to_bytes(4, "big") + b"MARK"


class TestAStrangersStampableFormat(FormatContract):
    format = AppendedFormat()

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        return {"a.app": b"APPENDED" + bytes(range(200))}


class CleanableFormat(AppendedFormat):
    """A stranger's format whose content is 200 bytes; what follows is a text."""

    name = "cleanable"
    kept_bytes = 208

    def texts(self, found: TextCollector) -> None:
        text = found.read(self.kept_bytes, found.size_bytes).partition(b"MARK")[0]
        found.add("cleanable", "text", text.decode("utf-8", "replace"))

    def clean(self, file: BinaryIO) -> Cleaning:
        size_bytes = file.seek(0, io.SEEK_END)
        if size_bytes < self.kept_bytes:
            raise CantClean("it is damaged: it is too short")
        removed = ("text",) if size_bytes > self.kept_bytes else ()
        return Cleaning((Stretch(0, self.kept_bytes, is_media=True),), removed)


CONTENT = b"APPENDED" + bytes(range(200))


class TestAStrangersCleanableFormat(FormatContract):
    format = CleanableFormat()
    uncleanable = frozenset({"short.app"})

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        return {"a.app": CONTENT, "b.app": CONTENT + b"prompt of mara", "short.app": CONTENT[:100]}

    def decoded(self, content: bytes) -> object:
        return content[:208]


class LeakyFormat(CleanableFormat):
    """Keeps a text, and calls it its content."""

    def clean(self, file: BinaryIO) -> Cleaning:
        return Cleaning((Stretch(0, file.seek(0, io.SEEK_END)),), ())


class ForgetfulFormat(CleanableFormat):
    """Loses a byte of the content each time."""

    def clean(self, file: BinaryIO) -> Cleaning:
        return Cleaning((Stretch(0, file.seek(0, io.SEEK_END) - 1),), ("a byte",))


class BrittleFormat(CleanableFormat):
    """Falls over a file that is too short."""

    def clean(self, file: BinaryIO) -> Cleaning:
        file.seek(0)
        return Cleaning((), (str(file.read()[self.kept_bytes]),))


class MeddlingFormat(CleanableFormat):
    """Cleans the file itself."""

    def clean(self, file: BinaryIO) -> Cleaning:
        file.truncate(self.kept_bytes)
        return super().clean(file)


def test_a_format_whose_clean_copies_are_not_clean_fails_the_contract(tmp_path: Path) -> None:
    """The contract would let a plug-in pass with which prompts are published, or pictures spoilt."""
    contract = TestAStrangersCleanableFormat()
    samples = {"b.app": CONTENT + b"prompt of mara"}

    contract.format = LeakyFormat()
    with pytest.raises(AssertionError):
        contract.test_a_clean_copy_has_none_of_the_texts_and_no_marker(samples)
    contract.format = ForgetfulFormat()
    with pytest.raises(AssertionError):
        contract.test_a_clean_copy_is_clean_itself(samples, [])
    with pytest.raises(AssertionError):
        contract.test_a_clean_copy_shows_and_sounds_the_same({"a.app": CONTENT})
    contract.format = BrittleFormat()
    with pytest.raises(IndexError):
        contract.test_a_damaged_file_is_cleaned_or_refused([CONTENT[:100]])
    contract.format = MeddlingFormat()
    with pytest.raises(AssertionError):
        contract.test_cleaning_leaves_the_file_on_disk_as_it_was(samples, tmp_path)


class NamedFormat:
    """A stranger's format that is told by its file name and has a preview."""

    name = "named"
    preview_kind = "thumbnail"

    def sniff(self, head: bytes, name: str) -> bool:
        return name.endswith(".named")

    def preview(self, file: BinaryIO, limits: PreviewLimits) -> Rendered:
        return Rendered({"256": file.read(4), "512": b"512"})

    def unavailable(self) -> str | None:
        return None


class TestAStrangersFormatWithAPreview(FormatContract):
    format = NamedFormat()

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        return {"a.named": b"four and more"}

    @pytest.fixture
    def damaged(self) -> list[bytes]:
        return [b"four"]


class CarelessFormat(AppendedFormat):
    """Lays two splices over each other."""

    name = "careless"

    def layout(self, file: BinaryIO) -> Layout:
        (splice,) = super().layout(file).splices
        return Layout((splice, Splice(0, b"APPENDED", b"APPENDED", self.encode)))


def test_a_format_that_mistakes_its_structure_fails_the_contract() -> None:
    """The contract would let a plug-in pass that damages every file it copies."""
    contract = FormatContract()
    contract.format = CarelessFormat()

    with pytest.raises(UnsupportedMedia, match="careless mistakes its structure"):
        contract.test_reading_copies_every_byte_of_any_file({"a.app": b"APPENDED" * 20}, [])


class MovingFormat(AppendedFormat):
    """Changes a byte of the content when it stamps."""

    def encode(self, value: bytes) -> bytes:
        return b"?" + super().encode(value)


def test_a_format_whose_marker_is_not_found_again_fails_the_contract() -> None:
    """The contract would let a plug-in pass whose stamped files have another digest than the original."""
    contract = FormatContract()
    contract.format = MovingFormat()

    with pytest.raises(AssertionError):
        contract.test_a_stamped_file_without_its_marker_is_the_original({"a.app": b"APPENDED" * 20}, [])


def test_a_contract_without_samples_says_what_is_missing() -> None:
    """A contract that tests nothing would pass."""
    samples = FormatContract.samples.__wrapped__

    with pytest.raises(NotImplementedError, match="fixture `samples`"):
        samples(FormatContract())
