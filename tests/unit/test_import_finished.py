"""Whether a file is whole: of every length that it had while it was written, only the last one is."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import pytest
from PIL import Image

from comfyvn.importers.finished import is_finished
from films import encode


def picture(format_: str) -> bytes:
    made = io.BytesIO()
    Image.radial_gradient("L").resize((64, 48)).rotate(20).convert("RGB").save(made, format_)
    return made.getvalue()


def sound() -> bytes:
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(b"\1\2" * 800)
    return made.getvalue()


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "GIF", "WEBP", "AVIF"])
def test_a_picture_is_finished_at_its_last_byte_and_no_sooner(format_: str, tmp_path: Path) -> None:
    """Half a picture would be registered, or a whole one never."""
    path, content = tmp_path / "picture", picture(format_)
    found = {}

    for length in sorted({0, 1, 8, 12, *range(16, len(content), len(content) // 40 + 1), len(content) - 1}):
        path.write_bytes(content[:length])
        found[length] = is_finished(path)
    path.write_bytes(content)

    assert is_finished(path) is True
    assert True not in found.values()
    assert found[0] is False
    assert found[len(content) - 1] is False or format_ == "WEBP"


def test_a_sound_is_finished_at_the_length_that_it_tells(tmp_path: Path) -> None:
    """A sound would be registered before its end."""
    path, content = tmp_path / "a.wav", sound()

    path.write_bytes(content)
    whole = is_finished(path)
    path.write_bytes(content[:-100])
    cut = is_finished(path)
    path.write_bytes(content[:4] + b"\xff\xff\xff\xff" + content[8:])
    streamed = is_finished(path)

    assert (whole, cut, streamed) == (True, False, None)


def test_a_film_is_finished_when_its_index_is_there(tmp_path: Path) -> None:
    """A film would be registered while it is encoded."""
    path, content = tmp_path / "a.mp4", encode("mp4", video="libx264")

    path.write_bytes(content)
    whole = is_finished(path)
    path.write_bytes(content[:-50])
    cut = is_finished(path)
    path.write_bytes(content[: int.from_bytes(content[:4], "big")])
    begun = is_finished(path)

    assert (whole, cut, begun) == (True, False, False)


def test_of_a_film_that_is_written_in_pieces_the_end_can_not_be_told(tmp_path: Path) -> None:
    """A film would be registered with the first of its pieces, as if it were whole."""
    path = tmp_path / "a.mp4"
    pieces = encode("mp4", video="libx264", options={"movflags": "frag_keyframe+empty_moov"})
    film = encode("mp4", video="libx264", options={"movflags": "faststart"})
    at = film.index(b"mdat") - 4
    told = []

    for content in (
        pieces,
        pieces[:-9],
        film[:at],
        film[:at] + b"\0\0\0\0" + film[at + 4 :],
        film[:-1],
        film,
    ):
        path.write_bytes(content)
        told.append(is_finished(path))

    assert b"moof" in pieces
    assert film.index(b"moov") < at
    assert told == [None, False, None, None, False, True]


def test_what_follows_a_picture_does_not_make_it_unfinished(tmp_path: Path) -> None:
    """A picture with an archive behind it would never be taken in."""
    png, jpeg = tmp_path / "a.png", tmp_path / "a.jpg"

    png.write_bytes(picture("PNG") + b"PK" * 100)
    jpeg.write_bytes(picture("JPEG") + b"\0" * 100)

    assert is_finished(png) is True
    assert is_finished(jpeg) is True


@pytest.mark.parametrize("content", [b"ID3 and so on", b"text", b"\x89PNG", b"\0" * 40])
def test_of_other_files_nothing_is_told(content: bytes, tmp_path: Path) -> None:
    """A song would be waited for until somebody gives up."""
    path = tmp_path / "file"
    path.write_bytes(content)

    assert is_finished(path) is None


@pytest.mark.parametrize("size", [0, 1, 7])
def test_boxes_and_chunks_of_impossible_sizes_come_to_an_end(size: int, tmp_path: Path) -> None:
    """A damaged file would be read for ever."""
    film_, png = tmp_path / "a.mp4", tmp_path / "a.png"
    film_.write_bytes(b"\0\0\0\x08ftyp" + bytes([0, 0, 0, size]) + b"mdat" + b"\0" * 64)
    png.write_bytes(picture("PNG")[:33] + b"\xff\xff\xff\xffIDAT" + b"\0" * 64)

    assert is_finished(film_) is False
    assert is_finished(png) is False
