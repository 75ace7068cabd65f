"""What stays of Ogg in a clean copy: the streams. Comments become empty, and so does the name of the encoder.

The pages that held comments become one; the pages behind it get the numbers that follow.

Format: as `comfyvn.media.ogg` names it; RFC 5334 (Skeleton).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final

from comfyvn.media import ogg
from comfyvn.media.clean import CantClean, Cleaner, Cleaning, damaged, refusing
from comfyvn.media.formats import read_at

__all__ = ["clean_ogg"]

_PAGE_COUNT_LIMIT: Final = 1_000_000
_EMPTY: Final = bytes(8)  # an encoder's name without letters, no comments
_VORBIS, _FLAC = b"\x01vorbis", b"\x7fFLAC"
_HEADERS_AT: Final = slice(7, 9)  # how many headers follow the first one of FLAC
_LAST: Final = 0x04  # the flag of a stream's last page
_HEAD_BYTES: Final = {
    _VORBIS: 30,
    b"Speex   ": 80,
    b"\x80theora": 42,
    _FLAC: 51,
}
_OPUS: Final = b"OpusHead"


@dataclass(frozen=True, slots=True)
class _Emptied:
    """The pages of a stream's comments as they become: by where they are, nothing for one that is left out.

    ``last`` is where the last of them is.
    """

    pages: Mapping[int, bytes]
    last: int


@refusing
def clean_ogg(file: BinaryIO) -> Cleaning:
    """Keep the pages of the streams, with empty comments.

    Raises:
        CantClean: something else lies among them, or in them.
        Refusal: the file is damaged.
    """
    cleaner = Cleaner(file)
    pages = list(_pages(cleaner))
    first = {page.serial: page for page in reversed(pages)}
    streams = {serial: _emptied(file, first[serial], begin) for serial, begin in ogg.streams_of(file)}
    if sum(page.is_first for page in pages) != len(streams) or any(
        page.serial not in streams for page in pages
    ):
        raise CantClean("it is a chain of streams, of which the later ones are not looked into")
    earlier, ended = dict.fromkeys(streams, 0), set[bytes]()
    for page in pages:
        if page.serial in ended:
            raise CantClean("something follows the end of a stream in it")
        ended |= {page.serial} if page.flags & _LAST else set()
        emptied = streams[page.serial]
        if page.offset in emptied.pages:
            made = emptied.pages[page.offset]
            cleaner.replace(page.offset, page.end, made, "comments")
            earlier[page.serial] += not made
        elif earlier[page.serial]:
            body = read_at(file, page.body, page.end - page.body)
            cleaner.put(page.bytes(page.laces, body, earlier=earlier[page.serial]))
        else:
            cleaner.keep(page.offset, page.end, is_media=page.offset > emptied.last)
    cleaner.end_at(pages[-1].end)
    return cleaner.done()


def _pages(cleaner: Cleaner) -> Iterator[ogg.Page]:
    """Yield the pages up to the first thing that is none, behind which none may follow."""
    at = 0
    for _ in range(_PAGE_COUNT_LIMIT):
        page = ogg.page_at(cleaner.file, at)
        if page is None:
            break
        if page.end > cleaner.size_bytes:
            raise damaged("it is cut short")
        yield page
        at = page.end
    if not at or b"OggS\0" in read_at(cleaner.file, at, 1 << 20):
        raise damaged("there is something else among its pages")


def _emptied(file: BinaryIO, opening: ogg.Page, begin: bytes) -> _Emptied:
    """Return what becomes of the comments of a stream, of which we know its first page and how that begins.

    Raises:
        CantClean: it is of a kind that we don't look into.
    """
    codec = next((codec for codec in ogg.CODECS if begin.startswith(codec)), None)
    if codec is None:
        raise CantClean("it has a stream of a kind that we don't look into")
    _check_head(begin, sum(opening.laces), codec)
    packet = ogg.Packet.read(file, opening.serial)
    first, last = packet.fragments[0], packet.fragments[-1]
    if first.laces.start:
        raise CantClean("its comments begin in the middle of a page")
    data = _without_comments(packet.data, codec)
    after = last.page.laces[last.laces.stop :]
    page = ogg.Page(
        first.page.offset, last.page.header[:5] + first.page.header[5:6] + last.page.header[6:], b""
    )
    removed = len(packet.fragments) - 1
    made = page.bytes(bytes([len(data)]) + after, data + packet.bodies[-1][last.end :], earlier=removed)
    left_out = dict.fromkeys((each.page.offset for each in packet.fragments[:-1]), b"")
    return _Emptied({**left_out, last.page.offset: made}, last.page.offset)


def _check_head(begin: bytes, length: int, codec: bytes) -> None:
    """Refuse a stream whose first packet has room for something else."""
    if codec == _FLAC and begin[_HEADERS_AT] != b"\0\1":
        raise CantClean("its FLAC stream has other headers than comments")
    expected = _HEAD_BYTES.get(codec)
    if codec == _OPUS and len(begin) > 18:
        expected = 19 if begin[18] == 0 else 21 + begin[9]
    if length != expected:
        raise damaged("its first packet has a wrong length")


def _without_comments(data: bytes, codec: bytes) -> bytes:
    """Return a packet of comments with none."""
    start = ogg.start_of(data, codec)
    if codec == _FLAC:
        return data[:1] + len(_EMPTY).to_bytes(3) + _EMPTY
    return data[:start] + _EMPTY + (b"\1" if codec == _VORBIS else b"")
