"""Contract tests for authors of plug-ins: inherit one, say what to test, run pytest.

The same classes test the parts that comfyvn brings along.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from comfyvn.errors import ComfyVNError, PreviewFailed
from comfyvn.importers import (
    ImportAdapter,
    ImportContext,
    ImportItem,
    ImportSkip,
    ImportSource,
    SupportsWatch,
)
from comfyvn.media import (
    Enough,
    MediaFormat,
    PreviewLimits,
    Reading,
    SupportsClean,
    SupportsPreview,
    SupportsProbe,
    SupportsStamp,
    SupportsTexts,
    TextCollector,
)
from comfyvn.media.clean import CantClean, outside, write_clean
from comfyvn.media.clean_proof import known_texts
from comfyvn.media.formats import HEAD_BYTES, RECIPES, kind_of
from comfyvn.media.reading import fill_marker, read_as
from comfyvn.model import (
    EmbeddedText,
    normalise_license,
    normalise_type,
    parse_facts,
    parse_provenance,
    preview_names,
)
from comfyvn.storage import safe_key

__all__ = ["FormatContract", "ImportAdapterContract"]

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
    b"RIFF\x24\0\0\0PAL data" + b"\0" * 100,
    b"PK\x03\x04" + b"\0" * 100,
)


class FormatContract:
    """What every media format must keep, whichever abilities it has; those that it lacks are skipped.

    A subclass sets ``format`` and gives its own fixture ``samples``::

        class TestTga(FormatContract):
            format = TgaFormat()

            @pytest.fixture
            def samples(self):
                return {"portrait.tga": Path("portrait.tga").read_bytes()}

    ``unstampable`` names samples of a format that can be stamped which can't be themselves, ``uncleanable``
    those of one that can be cleaned. A format that neither Pillow nor FFmpeg reads has its own ``decoded``.
    """

    format: MediaFormat
    unstampable: frozenset[str] = frozenset()
    uncleanable: frozenset[str] = frozenset()

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
            sink = io.BytesIO()

            reading = read_as(self.format, io.BytesIO(content), sink, 0)

            assert sink.getvalue() == content
            assert reading.slots == ()
            assert reading.format == self.format.name

    def test_a_file_without_a_marker_has_the_digest_of_its_bytes(
        self, samples: dict[str, bytes], damaged: list[bytes]
    ) -> None:
        """The digest could not be checked with sha256sum."""
        for content in (*samples.values(), *damaged):
            reading = read_as(self.format, io.BytesIO(content), None, 0)

            assert reading.marker is None
            assert reading.digest == hashlib.sha256(content).hexdigest()
            assert reading.size_bytes == len(content)

    def test_a_file_that_can_be_stamped_is(self, samples: dict[str, bytes]) -> None:
        """A format that refuses every file would keep all other promises."""
        self._stampable()

        refused = {name for name, content in samples.items() if self._stamp(content, _VALUE)[0].refusal}

        assert refused == set(self.unstampable)

    def test_a_stamped_file_without_its_marker_is_the_original(
        self, samples: dict[str, bytes], damaged: list[bytes]
    ) -> None:
        """Stamping would change bytes that are not ours."""
        self._stampable()

        for content in (*samples.values(), *damaged):
            reading, stamped = self._stamp(content, _VALUE)

            assert self._stripped(stamped) == content
            assert reading.digest == hashlib.sha256(content).hexdigest()
            assert (stamped == content) == (reading.refusal is not None)

    def test_a_stamped_file_keeps_its_digest_and_tells_its_marker(
        self, samples: dict[str, bytes], damaged: list[bytes]
    ) -> None:
        """A rescan would take a stamped file for a changed one."""
        self._stampable()

        for content in (*samples.values(), *damaged):
            made, stamped = self._stamp(content, _VALUE)
            reading = read_as(self.format, io.BytesIO(stamped), None, 0)

            assert reading.marker == (None if made.refusal else _VALUE)
            assert reading.digest == hashlib.sha256(content).hexdigest()
            assert reading.size_bytes == len(content)
            assert reading.preview_kind == made.preview_kind

    def test_stamping_twice_leaves_the_second_marker_alone(
        self, samples: dict[str, bytes], damaged: list[bytes]
    ) -> None:
        """Two markers in one file contradict each other."""
        self._stampable()

        for content in (*samples.values(), *damaged):
            made, once = self._stamp(content, _OTHER_VALUE)
            reading, twice = self._stamp(once, _VALUE)

            assert reading.marker == (None if made.refusal else _OTHER_VALUE)
            assert twice == self._stamp(content, _VALUE)[1]

    def test_the_copy_is_whole_before_its_marker_is_filled_in(self, samples: dict[str, bytes]) -> None:
        """A copy that a killed process leaves could not be told from a damaged file."""
        self._stampable()

        for name, content in samples.items():
            sink = io.BytesIO()
            made = read_as(self.format, io.BytesIO(content), sink, len(_VALUE))

            reading = read_as(self.format, io.BytesIO(sink.getvalue()), None, 0)

            assert reading.digest == hashlib.sha256(content).hexdigest(), name
            assert reading.marker == (None if made.refusal else b" " * len(_VALUE)), name

    def test_facts_are_json(self, samples: dict[str, bytes], damaged: list[bytes]) -> None:
        """Facts that are not could not be recorded."""
        if not isinstance(self.format, SupportsProbe):
            pytest.skip("this format tells no facts")

        for content in (*samples.values(), *damaged):
            with contextlib.suppress(PreviewFailed):
                facts = self.format.probe(io.BytesIO(content))

                assert json.loads(json.dumps(facts, allow_nan=False)) == facts

    def test_texts_are_told_of_any_file(self, samples: dict[str, bytes], damaged: list[bytes]) -> None:
        """A damaged file could not be registered, or a text of nothing would be kept."""
        for content in (*samples.values(), *damaged):
            found = self._texts(content)

            assert all(each.place and each.name and each.text.strip() for each in found)

    def test_a_marker_is_not_among_the_texts(self, samples: dict[str, bytes]) -> None:
        """A stamped file would tell other texts than its original."""
        self._stampable()

        for name, content in samples.items():
            stamped = self._stamp(content, _VALUE)[1]

            assert self._texts(stamped) == self._texts(content), name

    def test_a_file_that_can_be_cleaned_is(self, samples: dict[str, bytes]) -> None:
        """A format that refuses every file would keep all promises of clean copies."""
        self._cleanable()

        refused = {name for name, content in samples.items() if self._cleaned(content) is None}

        assert refused == set(self.uncleanable)

    def test_a_clean_copy_has_none_of_the_texts_and_no_marker(self, samples: dict[str, bytes]) -> None:
        """A prompt or a name would be published."""
        format = self._cleanable()

        for name, content in samples.items():
            can_stamp = isinstance(self.format, SupportsStamp)
            for each in (content, *([self._stamp(content, _VALUE)[1]] if can_stamp else [])):
                copy = self._cleaned(each)
                if copy is None:
                    continue
                left = outside(format.clean(io.BytesIO(copy)), io.BytesIO(copy))
                texts = known_texts(self._texts(each) if isinstance(self.format, SupportsTexts) else [])

                assert not [text for text in texts if text.encode() in left], name
                assert not isinstance(self.format, SupportsTexts) or not self._texts(copy), name
                assert _VALUE not in copy, name

    def test_a_clean_copy_shows_and_sounds_the_same(self, samples: dict[str, bytes]) -> None:
        """A game would look or sound otherwise than it was made."""
        self._cleanable()

        for name, content in samples.items():
            copy = self._cleaned(content)

            assert copy is None or self.decoded(copy) == self.decoded(content), name

    def test_a_clean_copy_is_clean_itself(self, samples: dict[str, bytes], damaged: list[bytes]) -> None:
        """Nothing could be checked, and each export would find another file in its place."""
        format = self._cleanable()

        for content in (*samples.values(), *damaged):
            copy = self._cleaned(content)
            if copy is not None:
                again = format.clean(io.BytesIO(copy))

                assert again.removed == ()
                assert self._cleaned(copy) == copy

    def test_cleaning_leaves_the_file_on_disk_as_it_was(
        self, samples: dict[str, bytes], tmp_path: Path
    ) -> None:
        """The originals are what the maker works on."""
        format = self._cleanable()

        for name, content in samples.items():
            path = tmp_path / f"sample{Path(name).suffix}"
            path.write_bytes(content)
            with path.open("r+b") as file, contextlib.suppress(CantClean):
                write_clean(format.clean(file), file, io.BytesIO())

            assert path.read_bytes() == content, name

    def test_a_damaged_file_is_cleaned_or_refused(self, damaged: list[bytes]) -> None:
        """Any other exception would stop the export of all others."""
        format = self._cleanable()

        for content in damaged:
            with contextlib.suppress(CantClean):
                made = format.clean(io.BytesIO(content))

                assert all(removed.strip() for removed in made.removed)

    def test_a_preview_has_the_files_that_its_kind_names(self, samples: dict[str, bytes]) -> None:
        """The record would advertise files that are not there."""
        shown_by = self._previewable()

        for name, content in samples.items():
            file = io.BytesIO(content)
            wanted = preview_names("0" * 16, kind_of(shown_by, file))
            file.seek(0)
            made = shown_by.preview(file, PreviewLimits()).files

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
                assert shown_by.preview(io.BytesIO(content), PreviewLimits()).files

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

    def decoded(self, content: bytes) -> object:
        """Return what is seen and heard of a file: each frame as Pillow shows it, or as FFmpeg does."""
        from PIL import Image, ImageSequence, UnidentifiedImageError

        try:
            with Image.open(io.BytesIO(content)) as image:
                return [
                    (frame.size, frame.info.get("duration"), frame.convert("RGBA").tobytes())
                    for frame in ImageSequence.Iterator(image)
                ]
        except UnidentifiedImageError:
            import av

            with av.open(io.BytesIO(content), "r") as container:
                return [(frame.pts, frame.to_ndarray().tobytes()) for frame in container.decode()]

    def _cleaned(self, content: bytes) -> bytes | None:
        sink = io.BytesIO()
        try:
            write_clean(self._cleanable().clean(io.BytesIO(content)), io.BytesIO(content), sink)
        except CantClean:
            return None
        return sink.getvalue()

    def _cleanable(self) -> SupportsClean:
        if not isinstance(self.format, SupportsClean):
            pytest.skip("no clean copies are made of this format")
        return self.format

    def _stamp(self, content: bytes, value: bytes) -> tuple[Reading, bytes]:
        sink = io.BytesIO()
        reading = read_as(self.format, io.BytesIO(content), sink, len(value))
        if reading.slots:
            fill_marker(sink, reading, value)
        return reading, sink.getvalue()

    def _stripped(self, content: bytes) -> bytes:
        layout = self._stampable().layout(io.BytesIO(content))
        made, at = b"", 0
        for splice in layout.splices:
            assert content[splice.offset :].startswith(splice.data)
            made += content[at : splice.offset] + splice.bare
            at = splice.offset + len(splice.data)
        return made + content[at:]

    def _stampable(self) -> SupportsStamp:
        if not isinstance(self.format, SupportsStamp):
            pytest.skip("this format carries no marker")
        return self.format

    def _texts(self, content: bytes) -> list[EmbeddedText]:
        if not isinstance(self.format, SupportsTexts):
            pytest.skip("this format tells no texts")
        collector = TextCollector(io.BytesIO(content))
        with contextlib.suppress(Enough):
            self.format.texts(collector)
        return collector.found

    def _previewable(self) -> SupportsPreview:
        if not isinstance(self.format, SupportsPreview):
            pytest.skip("this format has no preview")
        if reason := self.format.unavailable():
            pytest.skip(reason)
        return self.format


class ImportAdapterContract:
    """What every import adapter must keep.

    A subclass sets ``adapter`` and gives its own fixture ``source``: a folder or file, of which something can
    be taken in, below ``tmp_path``::

        class TestPainter(ImportAdapterContract):
            adapter = PainterAdapter()

            @pytest.fixture
            def source(self, tmp_path):
                shutil.copytree("tests/painter-library", tmp_path / "library")
                return tmp_path / "library"

    ``settings`` are those with which it is opened.
    """

    adapter: ImportAdapter
    settings: dict[str, object] = {}  # noqa: RUF012 - it is only read

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        """Return a source of which something can be taken in."""
        raise NotImplementedError("a contract test needs a fixture `source` that returns a path")

    @pytest.fixture
    def opened(self, tmp_path: Path) -> Iterator[Callable[[Path], ImportSource]]:
        """Open sources with the adapter; they are closed at the end."""
        sources: list[ImportSource] = []

        def open_one(path: Path) -> ImportSource:
            scratch = tmp_path / f"scratch{len(sources)}"
            scratch.mkdir()
            context = ImportContext(scratch=scratch, name=self.adapter.name, settings=self.settings)
            sources.append(self.adapter.open(path, context))
            return sources[-1]

        yield open_one
        for each in sources:
            each.close()

    def test_the_name_is_one_lower_case_word_and_the_summary_a_sentence(self) -> None:
        """It could not be typed after ``--adapter``, or `comfyvn adapters` would say nothing of it."""
        name, summary = self.adapter.name, self.adapter.summary

        assert name.isidentifier()
        assert name == name.lower()
        assert summary.strip() == summary
        assert summary.endswith(".")
        assert "\n" not in summary

    def test_something_is_taken_in_and_all_of_it_can_be_registered(
        self, source: Path, opened: Callable[[Path], ImportSource]
    ) -> None:
        """Every file would fail, one by one, or a library be empty without a word."""
        items = [item for item in _all_items(opened(source)) if isinstance(item, ImportItem)]

        assert items
        for item in items:
            assert item.path.is_file()
            assert normalise_type(item.asset_type) == item.asset_type
            assert safe_key(f"{item.asset_type}/{item.name}")
            facts = parse_facts({**item.metadata, "tags": list(item.tags), "license": item.license})
            assert facts.license == normalise_license(item.license)
            assert parse_provenance(item.provenance, facts.meta).source

    def test_what_is_left_out_has_its_reason(
        self, source: Path, opened: Callable[[Path], ImportSource]
    ) -> None:
        """A file would be missing, and nobody could tell why."""
        skipped = [item for item in _all_items(opened(source)) if isinstance(item, ImportSkip)]

        assert all(skip.reason.strip() and not skip.reason.endswith(".") for skip in skipped)

    def test_files_come_one_by_one_below_the_source_in_the_same_order_each_time(
        self, source: Path, opened: Callable[[Path], ImportSource]
    ) -> None:
        """A run that was interrupted would not go on where it was, or a large library fill the memory."""
        files = opened(source).files()
        first = list(files)

        assert iter(files) is files
        assert first == list(opened(source).files())
        assert all(isinstance(file, Path) for file in first)

    def test_the_same_is_told_each_time(
        self, source: Path, opened: Callable[[Path], ImportSource], tmp_path: Path
    ) -> None:
        """A second run would register everything anew, or write another provenance."""
        first, second = opened(source), opened(source)

        told = [[_told(item) for item in _all_items(each)] for each in (first, second)]

        assert told[0] == told[1]

    def test_nothing_in_the_source_changes(
        self, source: Path, opened: Callable[[Path], ImportSource]
    ) -> None:
        """What belongs to another program would be damaged, or rewritten under it."""
        before = _tree(source)

        each = opened(source)
        list(_all_items(each))
        each.close()

        assert _tree(source) == before

    def test_what_is_unpacked_lies_in_the_scratch_folder(
        self, source: Path, opened: Callable[[Path], ImportSource], tmp_path: Path
    ) -> None:
        """Leavings would fill the disk, or an archive write anywhere."""
        before = set(tmp_path.rglob("*"))

        items = [item for item in _all_items(opened(source)) if isinstance(item, ImportItem)]
        made = set(tmp_path.rglob("*")) - before

        scratch = tmp_path / "scratch0"
        assert all(path == scratch or path.is_relative_to(scratch) for path in made)
        assert all(item.path in before or item.path.is_relative_to(scratch) for item in items)

    def test_a_source_of_another_kind_is_refused_or_holds_nothing(
        self, opened: Callable[[Path], ImportSource], tmp_path: Path
    ) -> None:
        """A mistyped path would end in a traceback."""
        empty, text = tmp_path / "empty", tmp_path / "letter.odt"
        empty.mkdir()
        text.write_text("Dear reader", "utf-8")

        for path in (empty, text, tmp_path / "nowhere"):
            with contextlib.suppress(ComfyVNError, OSError):
                assert [item for item in _all_items(opened(path)) if isinstance(item, ImportItem)] == []

    @pytest.mark.parametrize("damage", ["cut", "emptied", "turned", "gone"])
    def test_a_damaged_file_costs_itself_or_the_source_with_a_reason(
        self, source: Path, opened: Callable[[Path], ImportSource], tmp_path: Path, damage: str
    ) -> None:
        """Any other exception would be reported as a fault of the adapter, not of the file."""
        for number, path in enumerate(_files_of(source)):
            copy = _copied(source, tmp_path / f"copy{number}")
            _damage(copy / path.relative_to(source) if source.is_dir() else copy, damage)

            with contextlib.suppress(ComfyVNError, OSError):
                each = opened(copy)
                for file in each.files():
                    with contextlib.suppress(ComfyVNError, OSError):
                        list(each.items(file))

    def test_a_source_that_can_be_watched_tells_its_folder_and_what_is_finished(
        self, source: Path, opened: Callable[[Path], ImportSource]
    ) -> None:
        """``--watch`` would look elsewhere, or wait for a finished file for ever."""
        each = opened(source)
        if not isinstance(each, SupportsWatch):
            pytest.skip("this adapter can't watch")

        files = [file for file in each.files() if file.is_file() and file.stat().st_size]

        assert each.root.is_dir()
        assert all(file.is_relative_to(each.root) for file in files)
        assert {each.is_finished(file) for file in files} <= {True, None}


def _all_items(source: ImportSource) -> Iterator[ImportItem | ImportSkip]:
    for file in source.files():
        yield from source.items(file)


def _told(item: ImportItem | ImportSkip) -> object:
    if isinstance(item, ImportSkip):
        return item
    content = hashlib.sha256(item.path.read_bytes()).hexdigest()
    tags, texts = tuple(item.tags), tuple(item.texts)
    said = json.dumps([dict(item.metadata), item.provenance and dict(item.provenance)], sort_keys=True)
    return item.asset_type, item.name, tags, item.license, said, texts, content


def _files_of(source: Path) -> list[Path]:
    return sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]


def _tree(source: Path) -> dict[Path, tuple[int, int, bytes]]:
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_mode, path.read_bytes()) for path in _files_of(source)
    }


def _copied(source: Path, target: Path) -> Path:
    if source.is_dir():
        return Path(shutil.copytree(source, target / source.name))
    target.mkdir()
    return Path(shutil.copy2(source, target))


def _damage(path: Path, damage: str) -> None:
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "emptied":
        path.write_bytes(b"")
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(bytes(byte ^ 0xFF if at % 7 == 3 else byte for at, byte in enumerate(content)))
