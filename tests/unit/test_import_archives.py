"""Unpacking archives: nothing leaves the scratch folder, and no limit is believed that the archive tells."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from comfyvn.errors import ImportFailed
from comfyvn.importers import ImportContext
from comfyvn.importers.archives import unpack_zip


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def archive(path: Path, files: dict[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return path


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def test_files_come_with_their_names_and_contents(tmp_path: Path, scratch: Path) -> None:
    """A card's expressions would be mixed up."""
    packed = archive(
        tmp_path / "a.zip", {"card.json": b"{}", "cast/mara.png": b"png", "./b\\c.txt": b"c", "d/": b""}
    )

    found = dict(unpack_zip(packed, ImportContext(scratch=scratch)))

    assert {name: path.read_bytes() for name, path in found.items()} == {
        "card.json": b"{}",
        "cast/mara.png": b"png",
        "b/c.txt": b"c",
    }
    assert all(path.is_relative_to(scratch) for path in found.values())
    assert found["cast/mara.png"].suffix == ".png"


@pytest.mark.parametrize(
    "name", ["../out.txt", "a/../../out.txt", "/out.txt", "\\out.txt", "C:\\out.txt", "C:out.txt", ".."]
)
def test_a_path_out_of_the_archive_is_passed_over(name: str, tmp_path: Path, scratch: Path) -> None:
    """An archive from the web would write into the user's folders."""
    packed = archive(tmp_path / "a.zip", {name: b"evil", "good.txt": b"good"})
    before = set(tmp_path.rglob("*"))

    found = [each for each, _ in unpack_zip(packed, ImportContext(scratch=scratch))]

    assert found == ["good.txt"]
    assert all(path.is_relative_to(scratch) for path in set(tmp_path.rglob("*")) - before)


def test_a_link_is_passed_over(tmp_path: Path, scratch: Path) -> None:
    """A file of this machine would be registered, or written through the link."""
    packed = archive(tmp_path / "a.zip", {link("mara.png"): b"/etc/passwd", "good.txt": b"good"})

    found = [each for each, _ in unpack_zip(packed, ImportContext(scratch=scratch))]

    assert found == ["good.txt"]


def test_only_what_is_wanted_is_unpacked_and_counts(tmp_path: Path, scratch: Path) -> None:
    """A card with many unrelated files would be refused, or fill the disk."""
    packed = archive(
        tmp_path / "a.zip", {f"{number}.bin": bytes(100) for number in range(5)} | {"a.png": b"p"}
    )
    context = ImportContext(scratch=scratch, archive_files=1, archive_bytes=10)

    found = [name for name, _ in unpack_zip(packed, context, lambda name: name.endswith(".png"))]

    assert found == ["a.png"]


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"archive_files": 2}, "the limit archive_files is 2"),
        ({"archive_bytes": 2_000_000}, "the limit archive_bytes is 2,000,000 bytes"),
    ],
)
def test_beyond_a_limit_the_archive_is_refused_and_nothing_left(
    limits: dict[str, int], why: str, tmp_path: Path, scratch: Path
) -> None:
    """A bomb would fill the disk."""
    packed = archive(tmp_path / "a.zip", {f"{number}.bin": bytes(1_000_000) for number in range(3)})

    with pytest.raises(ImportFailed, match=why) as caught:
        list(unpack_zip(packed, ImportContext(scratch=scratch, **limits)))

    assert str(packed) in str(caught.value)
    assert list(scratch.iterdir()) == []


def test_a_size_that_is_a_lie_is_found_out(tmp_path: Path, scratch: Path) -> None:
    """A bomb that says that it is small would be unpacked."""
    packed = archive(tmp_path / "a.zip", {"a.bin": bytes(5_000_000)})
    content = packed.read_bytes().replace(struct.pack("<I", 5_000_000), struct.pack("<I", 10))
    packed.write_bytes(content)

    with pytest.raises(ImportFailed):
        list(unpack_zip(packed, ImportContext(scratch=scratch, archive_bytes=1_000_000)))

    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("damage", ["no archive", "cut", "turned", "encrypted"])
def test_what_can_not_be_unpacked_is_refused_with_its_name(
    damage: str, tmp_path: Path, scratch: Path
) -> None:
    """A traceback would not tell which of many cards is broken."""
    packed = archive(tmp_path / "a.zip", {"a.bin": bytes(range(256)) * 100})
    content = bytearray(packed.read_bytes())
    if damage == "no archive":
        content = bytearray(b"just text")
    elif damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "turned":
        content[60] ^= 0xFF
    else:
        content[6] |= 1
        content[content.index(b"PK\x01\x02") + 8] |= 1
    packed.write_bytes(content)

    with pytest.raises(ImportFailed, match="can't be unpacked") as caught:
        list(unpack_zip(packed, ImportContext(scratch=scratch)))

    assert str(packed) in str(caught.value)
    assert list(scratch.iterdir()) == []


def test_an_archive_is_unpacked_only_as_far_as_it_is_asked_for(tmp_path: Path, scratch: Path) -> None:
    """The first expression of a large card would wait for all others."""
    packed = archive(
        tmp_path / "a.zip", {f"{number}.bin": io.BytesIO(bytes(10)).read() for number in range(50)}
    )

    first = next(unpack_zip(packed, ImportContext(scratch=scratch)))

    assert first[0] == "0.bin"
    assert len([path for path in scratch.rglob("*") if path.is_file()]) <= 1
