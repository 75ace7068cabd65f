"""The sample library: what it holds, that it is the same each time and that it spares a user's files."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from comfyvn import sample


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    sample.build(folder)
    return folder


def _names(suffix: str) -> list[str]:
    return [name for name in sample.files() if name.endswith(suffix)]


def _frames(path: Path) -> NDArray[np.int32]:
    """Samples of a 16- or 24-bit file as whole numbers, shape (frames, channels)."""
    with wave.open(str(path)) as file:
        width, channels = file.getsampwidth(), file.getnchannels()
        raw = np.frombuffer(file.readframes(file.getnframes()), "u1").reshape(-1, width)
    whole = np.zeros((len(raw), 4), "u1")
    whole[:, 4 - width :] = raw
    numbers: NDArray[np.int32] = whole.view("<i4")[:, 0] >> (32 - 8 * width)
    return numbers.reshape(-1, channels)


def test_build_returns_the_files_that_are_announced_and_leaves_nothing_else(library: Path) -> None:
    """`comfyvn demo` would count wrong, or would register a half-written or forgotten file."""
    announced: list[Path] = []

    built = sample.build(library, on_file=announced.append)

    assert built == announced == [library / name for name in sample.files()]
    assert sorted(built) == sorted(path for path in library.rglob("*") if path.is_file())


def test_two_builds_are_equal_byte_for_byte(library: Path, tmp_path: Path) -> None:
    """A clock or an unseeded random number got in: digests in our docs and tests would not hold."""
    again = sample.build(tmp_path)

    changed = [path.name for path in again if path.read_bytes() != _twin(path, tmp_path, library)]
    assert changed == []


def _twin(path: Path, folder: Path, library: Path) -> bytes:
    return (library / path.relative_to(folder)).read_bytes()


def test_a_file_that_is_already_there_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second `comfyvn demo` would overwrite what the user has edited."""
    monkeypatch.setattr(
        sample, "_pieces", lambda: {"ui/icons.png": lambda: b"ours", "new.txt": lambda: b"new"}
    )
    edited = tmp_path / "ui" / "icons.png"
    edited.parent.mkdir()
    edited.write_bytes(b"")

    built = sample.build(tmp_path)

    assert built == [edited, tmp_path / "new.txt"]
    assert edited.read_bytes() == b""
    assert (tmp_path / "new.txt").read_bytes() == b"new"


def test_a_build_that_fails_leaves_no_part_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk would leave a torn picture that the next build takes for the user's own."""

    def full(path: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sample, "_pieces", lambda: {"new.txt": lambda: b"new"})
    monkeypatch.setattr(Path, "replace", full)

    with pytest.raises(OSError, match="No space left"):
        sample.build(tmp_path / "sample")

    assert list((tmp_path / "sample").iterdir()) == []


@pytest.mark.parametrize("name", [name for name in sample.files() if name.startswith("characters/")])
def test_a_sprite_is_cut_out_with_smooth_edges(library: Path, name: str) -> None:
    """A sprite would stand in a box or have stairs for edges."""
    with Image.open(library / name) as picture:
        mode, size, levels = picture.mode, picture.size, picture.getchannel("A").histogram()

    assert (mode, size) == ("RGBA", (600, 1000))
    assert levels[0] > 100_000
    assert levels[255] > 100_000
    assert sum(levels[1:255]) > 1_000


def test_each_expression_changes_the_face_of_each_character(library: Path) -> None:
    """Two sprites of a character would be the same picture under two names."""
    sprites = [library / name for name in sample.files() if name.startswith("characters/")]

    faces = set()
    for sprite in sprites:
        with Image.open(sprite) as picture:
            faces.add(picture.crop((200, 180, 400, 370)).tobytes())

    assert len(faces) == len(sprites) == 12


@pytest.mark.parametrize("name", [name for name in sample.files() if name.startswith("backgrounds/")])
def test_a_background_fills_the_screen_once_it_is_turned_upright(library: Path, name: str) -> None:
    """A background would show its border, or the picture with an orientation is turned the wrong way."""
    with Image.open(library / name) as picture:
        upright = ImageOps.exif_transpose(picture).convert("RGBA")

    assert upright.size == (1280, 720)
    assert upright.getchannel("A").getextrema() == (255, 255)


def test_the_jpeg_is_stored_turned(library: Path) -> None:
    """No file of the sample would show that previews heed the EXIF orientation."""
    with Image.open(library / "backgrounds/forest_path.jpg") as picture:
        assert (picture.format, picture.size, picture.getexif()[0x0112]) == ("JPEG", (720, 1280), 6)


def test_one_picture_carries_the_text_chunks_of_comfyui(library: Path) -> None:
    """The demo could not show that provenance is read from what a generator left in a file."""
    with Image.open(library / "backgrounds/cliff_morning.png") as picture:
        texts = dict(picture.info)

    assert json.loads(texts["prompt"])["5"]["inputs"]["seed"] == 8251907
    assert json.loads(texts["workflow"])["nodes"]


def test_the_sample_has_a_webp_and_a_name_in_another_script(library: Path) -> None:
    """The demo would be plainer than real libraries are."""
    with Image.open(library / "backgrounds/lighthouse_night.webp") as picture:
        assert picture.format == "WEBP"
    assert "backgrounds/夕暮れの港.png" in sample.files()


@pytest.mark.parametrize("name", ["ui/textbox.png", "ui/icons.png"])
def test_interface_pieces_are_see_through(library: Path, name: str) -> None:
    """The text box would hide the scene, the icons would stand on a black sheet."""
    with Image.open(library / name) as picture:
        levels = picture.getchannel("A").histogram()

    assert levels[0] > 0
    assert sum(levels[1:255]) > 0


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("voices/mara_001.wav", (1, 2, 44100, 1.596)),
        ("voices/mara_002.wav", (1, 2, 44100, 1.596)),
        ("voices/ellis_001.wav", (1, 2, 22050, 1.596)),
        ("voices/ines_001.wav", (1, 2, 22050, 1.806)),
        ("music/letters_home.wav", (2, 2, 44100, 10.0)),
        ("sounds/waves.wav", (2, 3, 44100, 6.0)),
    ],
)
def test_a_sound_has_the_stated_form(library: Path, name: str, shape: tuple[int, int, int, float]) -> None:
    """A header would lie about channels, sample width, rate or length."""
    with wave.open(str(library / name)) as file:
        length_s = round(file.getnframes() / file.getframerate(), 3)
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate(), length_s) == shape


def test_every_sound_of_the_sample_is_checked() -> None:
    """A new sound would go without the checks of this file."""
    assert len(_names(".wav")) == 6


@pytest.mark.parametrize("name", [name for name in sample.files() if name.endswith(".wav")])
def test_a_sound_is_loud_enough_and_does_not_clip(library: Path, name: str) -> None:
    """A waveform would be a flat line or a block."""
    frames = _frames(library / name)
    full_scale = 2 ** (23 if name == "sounds/waves.wav" else 15)

    assert 0.5 < np.abs(frames).max() / full_scale < 0.9
    assert abs(frames.mean()) / full_scale < 0.001


@pytest.mark.parametrize("name", ["music/letters_home.wav", "sounds/waves.wav"])
def test_a_loop_ends_where_it_began(library: Path, name: str) -> None:
    """The loop would click each time it comes round."""
    frames = _frames(library / name)

    seam = np.abs(frames[0] - frames[-1]).max()
    assert seam <= np.percentile(np.abs(np.diff(frames, axis=0)), 99)


def test_a_voice_starts_and_ends_in_silence(library: Path) -> None:
    """A voice would click when it starts or stops."""
    for name in sample.files():
        if name.startswith("voices/"):
            frames = _frames(library / name)
            assert frames[0, 0] == frames[-1, 0] == 0


def test_the_sample_stays_small(library: Path) -> None:
    """The demo would take up more room than promised."""
    assert sum((library / name).stat().st_size for name in sample.files()) < 15_000_000


def test_listing_the_files_loads_neither_pillow_nor_numpy() -> None:
    """`comfyvn --help` would pay for pictures that nobody asked for."""
    program = (
        "import sys, comfyvn.sample as sample; sample.files(); print({'PIL', 'numpy'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


def test_a_picture_is_cut_to_what_two_outlines_share() -> None:
    """A shade would run over the edge of what it lies on."""
    canvas = sample._Canvas(20, 20, scale=1)

    canvas.fill([(0, 0), (9, 0), (9, 19), (0, 19)], "#ff0000", within=[(5, 5), (30, 5), (30, 30), (5, 30)])
    canvas.fill([(40, 40), (50, 40), (50, 50)], "#00ff00", within=[(0, 0), (9, 0), (9, 9)])

    assert canvas.finish().getbbox() == (5, 5, 10, 20)


def test_a_png_without_texts_has_no_text_chunk() -> None:
    """Every picture of the sample would seem to come from ComfyUI."""
    with Image.open(io.BytesIO(sample._png(Image.new("RGB", (1, 1))))) as picture:
        picture.load()
        assert not {"prompt", "workflow"} & set(picture.info)
