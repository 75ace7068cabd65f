"""Contract tests for authors of plug-ins: inherit one, say what to test, run pytest.

The same classes test the parts that comfyvn brings along.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfyvn.errors import PreviewFailed
from comfyvn.media import MediaFormat, PreviewLimits, Reading, SupportsPreview, SupportsStamp
from comfyvn.media.formats import HEAD_BYTES, RECIPES, blocks_of
from comfyvn.media.reading import fill_marker_as, read_as
from comfyvn.model import preview_names

__all__ = ["MediaFormatContract"]

_VALUE = b'{"provenance_id":1234567890123456,"source":"contract","uid":"0123456789abcdef"}'
_OTHER_VALUE = b'{"provenance_id":1,"source":"another stamp"}'

_STRANGERS = (
    b"",
    b"\0",
    b"BM is how this text begins, and it goes on for longer than any file header does, I should think.",
    b'{"json": true}\n' * 8,
    b"\0" * 128,
    b"\xff" * 128,
    b"%PDF-1.7\n" + b"x" * 100,
    b"RIFF\x24\0\0\0AVI LIST" + b"\0" * 100,
    b"PK\x03\x04" + b"\0" * 100,
)


class MediaFormatContract:
    """What every media format must keep, with or without the abilities to be stamped and to be shown small.

    A subclass sets ``format`` and gives its own fixture ``samples``; ``pieces_bytes`` says in how small
    blocks the samples are also read. Abilities that the format lacks are skipped::

        class TestTga(MediaFormatContract):
            format = TgaFormat()

            @pytest.fixture
            def samples(self):
                return {"portrait.tga": Path("portrait.tga").read_bytes()}
    """

    format: MediaFormat
    pieces_bytes: tuple[int, ...] = (1, 7, 64, 4096)

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        """Return whole files by name: sound ones, none of them stamped."""
        raise NotImplementedError("a contract test needs a fixture `samples` that returns {file name: bytes}")

    @pytest.fixture
    def damaged(self, samples: dict[str, bytes]) -> list[bytes]:
        """Return files that are cut short or have a few bytes turned, made from the samples."""
        made: list[bytes] = []
        for content in samples.values():
            lengths = sorted({len(content) * share // 12 for share in range(12)} | {len(content) - 1})
            made.extend(content[:length] for length in lengths)
            turned = range(HEAD_BYTES // 4, len(content), max(1, len(content) // 12))
            made.extend(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :] for at in turned)
        return made

    def test_the_name_is_one_lower_case_word(self) -> None:
        """A name with spaces or capitals would not read as one word in records and messages."""
        name = self.format.name

        assert name.isidentifier()
        assert name == name.lower()
        assert name != "data"

    def test_the_preview_kind_is_one_that_has_files_and_a_recipe(self) -> None:
        """A kind that nobody names files for could never be shown."""
        kind = self.format.preview_kind

        assert kind is None or (kind in RECIPES and preview_names("0" * 16, kind))

    def test_every_sample_is_recognised_by_its_first_bytes_or_its_name(
        self, samples: dict[str, bytes]
    ) -> None:
        """A file that is not recognised gets neither marker nor preview."""
        for name, content in samples.items():
            assert self.format.sniff(content[:HEAD_BYTES], name), name

    def test_a_file_of_another_kind_is_not_claimed(self) -> None:
        """A file that is claimed wrongly gets a failed preview instead of none."""
        for content in _STRANGERS:
            assert not self.format.sniff(content[:HEAD_BYTES], ""), content[:HEAD_BYTES]

    def test_reading_copies_every_byte_of_any_file(
        self, samples: dict[str, bytes], damaged: list[bytes]
    ) -> None:
        """A copy that differs from its source by one byte would be another picture than the user gave."""
        for content in (*samples.values(), *damaged):
            for blocks in self._cut(content):
                sink = io.BytesIO()

                reading = read_as(self.format, blocks, sink, 0)

                assert sink.getvalue() == content
                assert reading.slot is None
                assert reading.format == self.format.name

    def test_a_file_without_a_marker_has_the_digest_of_its_bytes(
        self, samples: dict[str, bytes], damaged: list[bytes]
    ) -> None:
        """The digest could not be checked with sha256sum."""
        for content in (*samples.values(), *damaged):
            reading = read_as(self.format, iter([content]), None, 0)

            assert reading.marker is None
            assert reading.digest == hashlib.sha256(content).hexdigest()
            assert reading.size_bytes == len(content)

    def test_a_stamped_file_without_its_marker_is_the_original(
        self, samples: dict[str, bytes], damaged: list[bytes]
    ) -> None:
        """Stamping would change bytes that are not ours."""
        made_by = self._stampable()

        for content in (*samples.values(), *damaged):
            reading, stamped = _stamp(made_by, content, _VALUE)

            assert _content(made_by, stamped) == content
            assert reading.digest == hashlib.sha256(content).hexdigest()
            assert (stamped == content) == (reading.slot is None)

    def test_a_stamped_file_keeps_its_digest_and_tells_its_marker(self, samples: dict[str, bytes]) -> None:
        """A rescan would take a stamped file for a changed one."""
        made_by = self._stampable()

        for name, content in samples.items():
            _, stamped = _stamp(made_by, content, _VALUE)
            for blocks in self._cut(stamped):
                reading = read_as(made_by, blocks, None, 0)

                assert reading.marker == _VALUE, name
                assert reading.digest == hashlib.sha256(content).hexdigest(), name
                assert reading.size_bytes == len(content), name

    def test_stamping_twice_leaves_the_second_marker_alone(self, samples: dict[str, bytes]) -> None:
        """Two markers in one file contradict each other."""
        made_by = self._stampable()

        for name, content in samples.items():
            _, once = _stamp(made_by, content, _OTHER_VALUE)
            reading, twice = _stamp(made_by, once, _VALUE)

            assert reading.marker == _OTHER_VALUE, name
            assert [part.value for part in made_by.split([twice]) if part.role == "marker"] == [_VALUE], name
            assert _content(made_by, twice) == content, name

    def test_the_length_of_a_marker_depends_on_the_length_of_its_value(self) -> None:
        """The place that was kept for it would not fit."""
        made_by = self._stampable()

        assert len(made_by.encode_marker(_VALUE)) == len(made_by.encode_marker(b" " * len(_VALUE)))

    def test_a_preview_has_the_files_that_its_kind_names(self, samples: dict[str, bytes]) -> None:
        """The record would advertise files that are not there."""
        shown_by = self._previewable()
        assert shown_by.preview_kind is not None
        wanted = preview_names("0" * 16, shown_by.preview_kind)

        for name, content in samples.items():
            file = io.BytesIO(content)
            made = shown_by.preview(file, PreviewLimits())

            assert made.keys() == wanted.keys(), name
            assert all(isinstance(data, bytes) and data for data in made.values()), name
            assert not file.closed, name

    def test_the_same_file_gives_the_same_preview(self, samples: dict[str, bytes]) -> None:
        """Previews that differ from run to run would be written again and again."""
        shown_by = self._previewable()

        for name, content in samples.items():
            first = shown_by.preview(io.BytesIO(content), PreviewLimits())
            second = shown_by.preview(io.BytesIO(content), PreviewLimits())

            assert first == second, name

    def test_a_damaged_file_has_a_preview_or_a_reason(self, damaged: list[bytes]) -> None:
        """Any other exception would be reported as a fault of the program, not of the file."""
        shown_by = self._previewable()

        for content in damaged:
            with contextlib.suppress(PreviewFailed):
                assert shown_by.preview(io.BytesIO(content), PreviewLimits())

    def test_a_preview_leaves_the_file_on_disk_as_it_was(
        self, samples: dict[str, bytes], tmp_path: Path
    ) -> None:
        """Some libraries repair a file while they read it."""
        shown_by = self._previewable()

        for name, content in samples.items():
            path = tmp_path / f"sample{Path(name).suffix}"
            path.write_bytes(content)
            with path.open("rb") as file:
                shown_by.preview(file, PreviewLimits())

            assert path.read_bytes() == content, name

    def _cut(self, content: bytes) -> Iterator[Iterator[bytes]]:
        """Yield the same content in blocks of several sizes: a block may end anywhere."""
        yield blocks_of(io.BytesIO(content))
        for length in self.pieces_bytes:
            if len(content) // length <= 5_000:
                yield (content[at : at + length] for at in range(0, len(content), length))

    def _stampable(self) -> SupportsStamp:
        if not isinstance(self.format, SupportsStamp):
            pytest.skip("this format carries no marker")
        return self.format

    def _previewable(self) -> SupportsPreview:
        if not isinstance(self.format, SupportsPreview):
            pytest.skip("this format has no preview")
        if reason := self.format.unavailable():
            pytest.skip(reason)
        return self.format


def _stamp(made_by: SupportsStamp, content: bytes, value: bytes) -> tuple[Reading, bytes]:
    sink = io.BytesIO()
    reading = read_as(made_by, iter([content]), sink, len(value))
    if reading.slot is not None:
        fill_marker_as(made_by, sink, reading, value)
    return reading, sink.getvalue()


def _content(made_by: SupportsStamp, file: bytes) -> bytes:
    return b"".join(part.data for part in made_by.split([file]) if part.role == "content")
