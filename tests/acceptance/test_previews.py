"""Previews: thumbnails and waveforms that are made behind the call, and reasons where there are none."""

import io
import json
import math
import struct
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageCms

from comfyvn.studio.core import AssetRegistry
from support import TIMEOUT_S

RATE = 8_000
EXTENSIBLE_GUID = bytes.fromhex("000000001000800000aa00389b71")


def shown(registry: AssetRegistry, path: Path) -> dict[int, Image.Image]:
    """Register a picture and return its thumbnails by size."""
    info = registry.register_file(path, "pictures")
    registry.wait_for_thumbnails()
    record = registry.get_asset(info["uid"])
    assert record is not None
    assert record["preview_state"] == "ready", record["preview"]
    made = {}
    for side in registry.THUMB_SIZES:
        with Image.open(registry.THUMB_ROOT / f"{info['uid']}_{side}.webp") as image:
            image.load()
            made[side] = image
    return made


def near(found: Any, wanted: tuple[int, ...], by: int = 24) -> bool:
    return all(abs(one - other) <= by for one, other in zip(found, wanted, strict=True))


# -- thumbnails -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((1200, 600), {256: (256, 128), 512: (512, 256)}),
        ((300, 900), {256: (85, 256), 512: (171, 512)}),
        ((400, 400), {256: (256, 256), 512: (400, 400)}),
        ((40, 30), {256: (40, 30), 512: (40, 30)}),
        ((2000, 1), {256: (256, 1), 512: (512, 1)}),
    ],
)
def test_thumbnails_fit_into_their_square_and_are_never_enlarged(
    registry: AssetRegistry, tmp_path: Path, size: tuple[int, int], wanted: dict[int, tuple[int, int]]
) -> None:
    """A gallery would show squeezed or blurred pictures."""
    Image.new("RGB", size, "teal").save(tmp_path / "a.png")

    made = shown(registry, tmp_path / "a.png")

    assert {side: image.size for side, image in made.items()} == wanted
    assert {image.format for image in made.values()} == {"WEBP"}
    assert all(near(image.convert("RGB").getpixel((0, 0)), (0, 128, 128)) for image in made.values())


@pytest.mark.parametrize("kind", ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"])
def test_every_documented_suffix_has_thumbnails(registry: AssetRegistry, tmp_path: Path, kind: str) -> None:
    """A format that users have would stay a grey box."""
    Image.new("RGB", (600, 300), "red").save(tmp_path / f"a.{kind}")

    made = shown(registry, tmp_path / f"a.{kind}")

    assert made[512].size == (512, 256)
    assert near(made[256].convert("RGB").getpixel((10, 10)), (255, 0, 0))


def test_the_content_decides_and_not_the_suffix(registry: AssetRegistry, tmp_path: Path) -> None:
    """A PNG that was named .jpg by mistake would have no preview."""
    Image.new("RGB", (60, 30), "red").save(tmp_path / "a.jpg", "PNG")

    assert shown(registry, tmp_path / "a.jpg")[256].size == (60, 30)


@pytest.mark.parametrize(
    ("orientation", "size"), [(1, (200, 100)), (3, (200, 100)), (6, (100, 200)), (8, (100, 200))]
)
def test_a_photograph_stands_upright(
    registry: AssetRegistry, tmp_path: Path, orientation: int, size: tuple[int, int]
) -> None:
    """Thumbnails ignored EXIF, so photographs lay on their side."""
    image = Image.new("RGB", (200, 100), "blue")
    image.paste("red", (0, 0, 100, 100))  # red is left as it is stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    red_lies_at = {1: (10, 50), 3: (190, 50), 6: (50, 10), 8: (50, 190)}[orientation]

    made = shown(registry, tmp_path / "a.jpg")

    assert made[256].size == size
    assert near(made[256].convert("RGB").getpixel(red_lies_at), (255, 0, 0))
    assert not made[256].getexif()


def test_transparency_is_kept(registry: AssetRegistry, tmp_path: Path) -> None:
    """A sprite would stand on a black box."""
    sprite = Image.new("RGBA", (400, 400), (0, 0, 0, 0))
    sprite.paste((255, 0, 0, 255), (100, 100, 300, 300))
    sprite.save(tmp_path / "a.png")

    made = shown(registry, tmp_path / "a.png")

    assert made[256].mode == "RGBA"
    assert made[256].getpixel((5, 5))[3] == 0  # type: ignore[index]
    assert near(made[256].getpixel((128, 128)), (255, 0, 0, 255))


def test_a_palette_with_transparency_is_kept(registry: AssetRegistry, tmp_path: Path) -> None:
    """Palettes lose their transparent entry when they are scaled as they are."""
    sprite = Image.new("P", (400, 400), 0)
    sprite.putpalette([0, 255, 0, 255, 0, 0])
    sprite.paste(1, (100, 100, 300, 300))
    sprite.save(tmp_path / "a.png", transparency=0)

    made = shown(registry, tmp_path / "a.png")

    assert made[256].getpixel((5, 5))[3] == 0  # type: ignore[index]
    assert near(made[256].getpixel((128, 128)), (255, 0, 0, 255))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_a_print_picture_is_shown_in_screen_colours(
    registry: AssetRegistry, tmp_path: Path, kind: str
) -> None:
    """CMYK and TIFF pictures were kept in a form that no browser shows."""
    Image.new("CMYK", (400, 200), (0, 255, 255, 0)).save(tmp_path / "a.img", kind, quality=95)

    made = shown(registry, tmp_path / "a.img")

    assert made[256].mode == "RGB"
    assert near(made[256].getpixel((10, 10)), (255, 0, 0), by=40)


def test_a_picture_with_a_profile_is_shown_in_srgb(registry: AssetRegistry, tmp_path: Path) -> None:
    """Colours of a wide-gamut picture would look dull."""
    profile = wide_gamut()
    Image.new("RGB", (400, 200), (60, 200, 60)).save(tmp_path / "a.png", icc_profile=profile)
    small = Image.new("RGB", (1, 1), (60, 200, 60))
    stated = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    srgb = ImageCms.createProfile("sRGB")
    wanted = ImageCms.profileToProfile(small, stated, srgb, outputMode="RGB").getpixel((0, 0))

    made = shown(registry, tmp_path / "a.png")

    assert near(made[256].getpixel((10, 10)), wanted, by=6)
    assert not near(wanted, (60, 200, 60), by=12)
    assert "icc_profile" not in made[256].info


def wide_gamut() -> bytes:
    """Return the sRGB profile with red and green swapped: a mistake would show at once."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    at = {}
    for entry in range(132, 132 + 12 * struct.unpack_from(">I", profile, 128)[0], 12):
        name, offset, _ = struct.unpack_from(">4sII", profile, entry)
        at[name] = offset
    red, green = (bytes(profile[at[name] + 8 : at[name] + 20]) for name in (b"rXYZ", b"gXYZ"))
    profile[at[b"rXYZ"] + 8 : at[b"rXYZ"] + 20] = green
    profile[at[b"gXYZ"] + 8 : at[b"gXYZ"] + 20] = red
    return bytes(profile)


def test_of_an_animation_the_first_frame_is_shown(registry: AssetRegistry, tmp_path: Path) -> None:
    """The still of an animation would be any frame, or none."""
    frames = [Image.new("RGB", (100, 100), colour) for colour in ("red", "green")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100)

    assert near(shown(registry, tmp_path / "a.gif")[256].convert("RGB").getpixel((50, 50)), (255, 0, 0))


def test_the_thumbnail_is_of_the_stored_file_however_many_come_at_once(
    registry: AssetRegistry, tmp_path: Path
) -> None:
    """Previews raced with stamping, so some showed nothing or another picture."""
    colours = [(number * 6, 255 - number * 6, 128) for number in range(40)]
    for number, colour in enumerate(colours):
        Image.new("RGB", (64, 64), colour).save(tmp_path / f"{number}.png")
    items = [{"source_path": tmp_path / f"{number}.png", "asset_type": "x"} for number in range(40)]

    results = list(registry.register_many(items))
    registry.wait_for_thumbnails()

    for result, colour in zip(results, colours, strict=True):
        thumb = registry.resolve_thumbnail_path(result["asset"]["uid"])  # type: ignore[index]
        assert thumb is not None
        with Image.open(thumb) as image:
            assert near(image.convert("RGB").getpixel((32, 32)), colour)


# -- waveforms ------------------------------------------------------------------------------------------

SAMPLES: dict[str, tuple[int, int, Callable[[float], bytes]]] = {
    "unsigned 8 bit": (1, 8, lambda x: struct.pack("<B", 128 + round(x * 127))),
    "16 bit": (1, 16, lambda x: struct.pack("<h", round(x * 32_767))),
    "24 bit": (1, 24, lambda x: round(x * 8_388_607).to_bytes(3, "little", signed=True)),
    "32 bit": (1, 32, lambda x: struct.pack("<i", round(x * 2_147_483_647))),
    "float": (3, 32, lambda x: struct.pack("<f", x)),
    "double": (3, 64, lambda x: struct.pack("<d", x)),
}


def wav(frames: list[list[float]], sample: str, *, is_extensible: bool = False) -> bytes:
    tag, bits, pack = SAMPLES[sample]
    channels = len(frames[0])
    block = channels * bits // 8
    fmt = struct.pack("<HHIIHH", 0xFFFE if is_extensible else tag, channels, RATE, RATE * block, block, bits)
    if is_extensible:
        fmt += struct.pack("<HHIH", 22, bits, 0, tag) + EXTENSIBLE_GUID
    data = b"".join(pack(x) for frame in frames for x in frame)
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt
    body += b"data" + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def waveform(registry: AssetRegistry, path: Path) -> dict[str, Any]:
    info = registry.register_file(path, "audio")
    registry.wait_for_thumbnails()
    file = registry.resolve_thumbnail_path(info["uid"])
    assert file == registry.THUMB_ROOT / f"{info['uid']}.waveform.json"
    loaded = json.loads(file.read_text("utf-8"))
    assert isinstance(loaded, dict)
    return loaded


@pytest.mark.parametrize("is_extensible", [False, True], ids=["plain", "extensible"])
@pytest.mark.parametrize("sample", SAMPLES)
def test_every_sample_format_has_its_waveform(
    registry: AssetRegistry, tmp_path: Path, sample: str, is_extensible: bool
) -> None:
    """8 bit was read as signed; 24 and 32 bit, float and extensible files were refused."""
    quiet_then_loud = [[0.0]] * 512 + [[0.25]] * 512 + [[-0.5]] * 512 + [[1.0]] * 512
    (tmp_path / "a.wav").write_bytes(wav(quiet_then_loud, sample, is_extensible=is_extensible))

    made = waveform(registry, tmp_path / "a.wav")

    assert made == {
        "kind": "waveform",
        "channels": 1,
        "sample_rate": RATE,
        "duration_s": 2_048 / RATE,
        "points": made["points"],
    }
    assert len(made["points"]) == 512
    for column, level in ((0, 0.0), (127, 0.0), (128, 0.25), (300, 0.5), (511, 1.0)):
        assert made["points"][column] == pytest.approx(level, abs=0.01)


def test_every_channel_counts(registry: AssetRegistry, tmp_path: Path) -> None:
    """Only the left channel was drawn, so a sound on the right looked like silence."""
    frames = [[0.0, 0.5]] * 256 + [[1.0, 0.0]] * 256
    (tmp_path / "a.wav").write_bytes(wav(frames, "16 bit"))

    made = waveform(registry, tmp_path / "a.wav")

    assert made["channels"] == 2
    assert made["points"][0] == pytest.approx(0.5, abs=0.001)
    assert made["points"][-1] == 1.0


@pytest.mark.parametrize("length", [1, 3, 511, 513, 700, 1_000, 1_023])
def test_the_end_of_a_clip_is_drawn(registry: AssetRegistry, tmp_path: Path, length: int) -> None:
    """Up to half of a short clip was cut off."""
    frames = [[0.25]] * (length - 1) + [[1.0]]
    (tmp_path / "a.wav").write_bytes(wav(frames, "16 bit"))

    points = waveform(registry, tmp_path / "a.wav")["points"]

    assert len(points) == min(length, 512)
    assert points[-1] == 1.0
    assert all(point == pytest.approx(0.25, abs=0.001) for point in points[:-1])


def test_a_file_of_pythons_own_wave_module_has_its_waveform(registry: AssetRegistry, tmp_path: Path) -> None:
    """The commonest writer of such files would not be understood."""
    with wave.open(str(tmp_path / "beep.wave"), "wb") as file:
        file.setparams((1, 2, 44_100, 0, "NONE", ""))
        file.writeframes(
            b"".join(struct.pack("<h", round(20_000 * math.sin(at / 10))) for at in range(44_100))
        )

    made = waveform(registry, tmp_path / "beep.wave")

    assert (made["sample_rate"], made["duration_s"]) == (44_100, 1.0)
    assert min(made["points"]) > 0.9
    assert all(round(point, 4) == point for point in made["points"])


def test_the_record_of_a_sound_names_its_waveform_and_no_thumbnails(
    registry: AssetRegistry, tmp_path: Path
) -> None:
    """A gallery would look for a picture of a sound."""
    (tmp_path / "a.wav").write_bytes(wav([[0.5]] * 100, "16 bit"))

    info = registry.register_file(tmp_path / "a.wav", "audio")

    path = f"cache/thumbs/{info['uid']}.waveform.json"
    assert info["thumb"] == path
    assert (info["meta"]["preview"]["kind"], info["meta"]["preview"]["path"]) == ("waveform", path)
    assert "thumbnails" not in info["meta"]
    assert info["links"] == {"file": "audio/a.wav", "sidecar": "audio/a.wav.asset.json", "preview": path}


def test_what_has_no_preview_says_so(registry: AssetRegistry, tmp_path: Path) -> None:
    """A text file would wait for its thumbnail for ever."""
    (tmp_path / "script.rpy").write_text("label start:\n", "utf-8")

    info = registry.register_file(tmp_path / "script.rpy", "scripts")

    assert (info["preview"], info["preview_state"], info["thumb"]) == (None, "none", None)
    assert registry.resolve_thumbnail_path(info["uid"]) is None
    assert "preview" not in info["meta"]


# -- failures -------------------------------------------------------------------------------------------


def cut_png(make_png: Callable[..., Path]) -> bytes:
    return make_png("whole.png", size=(300, 300)).read_bytes()[:120]


BAD: dict[str, Callable[[Callable[..., Path]], bytes]] = {
    "a cut picture": cut_png,
    "a picture of nothing": lambda _: b"\x89PNG\r\n\x1a\n",
    "a photograph of nothing": lambda _: b"\xff\xd8\xff\xe0 no photograph",
    "a compressed sound": lambda _: wav([[0.5]], "16 bit").replace(b"\x01\0\x01\0", b"\x11\0\x01\0", 1),
    "a sound without sound": lambda _: wav([[0.5]], "16 bit")[:36],
    "a cut sound": lambda _: b"RIFF\x24\0\0\0WAVEfm",
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_a_preview_that_fails_is_recorded_with_its_reason(
    registry: AssetRegistry, make_png: Callable[..., Path], tmp_path: Path, content: Callable[..., bytes]
) -> None:
    """A failed thumbnail stayed advertised, and the registration was said to have failed, or not at all."""
    (tmp_path / "bad.bin").write_bytes(content(make_png))

    info = registry.register_file(tmp_path / "bad.bin", "x", metadata={"tags": ["kept"]})
    registry.wait_for_thumbnails()

    record, written = registry.get_asset(info["uid"]), registry.read_sidecar(info["uid"])
    assert record is not None
    assert (record["preview_state"], record["thumb"]) == ("failed", None)
    assert record["preview"] is not None
    assert record["preview"]["state"] == "failed"
    assert len(record["preview"]["reason"]) > 10
    assert str(tmp_path) not in record["preview"]["reason"]
    assert record["meta"]["preview"] == record["preview"] == written["preview"]
    assert "thumbnails" not in record["meta"]
    assert record["links"] == {"file": "x/bad.bin", "sidecar": "x/bad.bin.asset.json"}
    assert registry.resolve_thumbnail_path(info["uid"]) is None
    assert written["tags"] == ["kept"]
    assert written["provenance"]["asset_uid"] == info["uid"]
    assert not registry.THUMB_ROOT.exists() or list(registry.THUMB_ROOT.rglob("*.webp")) == []


def test_a_picture_beyond_the_limit_is_not_decoded(
    monkeypatch: pytest.MonkeyPatch,
    open_registry: Callable[..., AssetRegistry],
    make_png: Callable[..., Path],
) -> None:
    """One huge picture would fill the memory of the whole program."""
    monkeypatch.setenv("COMFYVN_PREVIEW_PIXELS", "5000")
    registry = open_registry()

    info = registry.register_file(make_png(size=(100, 100)), "x")
    registry.wait_for_thumbnails()

    record = registry.get_asset(info["uid"])
    assert record is not None
    assert "100 x 100 pixels" in record["preview"]["reason"]  # type: ignore[index]


def test_a_preview_that_can_not_be_written_stops_nothing(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A cache folder that is full or read-only would stop all registering."""
    (project / "cache").write_text("not a folder", "utf-8")

    info = registry.register_file(make_png(), "x")
    registry.wait_for_thumbnails()

    record = registry.get_asset(info["uid"])
    assert record is not None
    assert record["preview_state"] == "failed"
    assert record["preview"]["reason"]  # type: ignore[index]


def test_an_asset_that_is_removed_meanwhile_stops_no_preview(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """The pool would die with the first asset that is gone, and no preview be made after it."""
    for seed in range(5):
        registry.remove_asset(
            registry.register_file(make_png(f"{seed}.png", seed=seed), "x")["uid"], delete_files=True
        )
    info = registry.register_file(make_png("last.png", seed=9), "x")

    assert AssetRegistry.wait_for_thumbnails() is True
    assert registry.resolve_thumbnail_path(info["uid"]) is not None


WITHOUT_PILLOW = """
import json, sys
sys.modules["PIL"] = None
from comfyvn.studio.core import AssetRegistry
with AssetRegistry() as registry:
    first = registry.register_file(sys.argv[1], "characters", metadata={"tags": ["mara"]})
    registry.wait_for_thumbnails()
    registry.update_asset_meta(first["uid"], {"tags": ["changed"]})
    print(json.dumps([registry.get_asset(first["uid"]), registry.read_sidecar(first["uid"])]))
"""


def test_without_pillow_everything_else_works_and_the_record_says_why_there_is_no_thumbnail(
    project: Path, make_png: Callable[..., Path]
) -> None:
    """A missing library would stop the registration, or be kept secret."""
    asked = subprocess.run(
        [sys.executable, "-c", WITHOUT_PILLOW, str(make_png())], capture_output=True, text=True, check=False
    )

    assert asked.returncode == 0, asked.stderr
    record, written = json.loads(asked.stdout)
    assert (record["preview_state"], record["thumb"]) == ("failed", None)
    assert "Pillow is not installed" in record["preview"]["reason"]
    assert "pip install" in record["preview"]["reason"]
    assert (written["preview"], written["tags"]) == (record["preview"], ["changed"])
    assert record["provenance"]["source"] == "unspecified"
    with Image.open(project / "assets" / record["path"]) as image:
        assert json.loads(image.text["comfyvn_provenance"])["uid"] == record["uid"]


# -- asking for them ------------------------------------------------------------------------------------


def test_a_thumbnail_path_is_given_for_a_uid_or_a_record_once_it_exists(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A caller would show a broken picture, or have to know how files are named."""
    info = registry.register_file(make_png(), "x")
    registry.wait_for_thumbnails()

    wanted = registry.THUMB_ROOT / f"{info['uid']}_256.webp"
    assert registry.resolve_thumbnail_path(info["uid"]) == wanted
    assert registry.resolve_thumbnail_path(info) == wanted
    assert registry.resolve_thumbnail_path({"uid": "unknown"}) is None
    assert registry.resolve_thumbnail_path({}) is None
    wanted.unlink()
    assert registry.resolve_thumbnail_path(info["uid"]) is None


def test_names_of_thumbs_in_records_stay_relative_when_the_cache_lies_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
    open_registry: Callable[..., AssetRegistry],
    make_png: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """Records would name a folder of one machine, and older tools not find the prefix they know."""
    monkeypatch.setenv("COMFYVN_THUMBS_ROOT", str(tmp_path / "big disk/thumbs"))
    registry = open_registry()

    info = registry.register_file(make_png(), "x")
    registry.wait_for_thumbnails()

    assert info["thumb"] == f"cache/thumbs/{info['uid']}_256.webp"
    wanted = tmp_path / "big disk/thumbs" / f"{info['uid']}_256.webp"
    assert registry.resolve_thumbnail_path(info["uid"]) == wanted
    assert wanted.is_file()


def test_waiting_can_end_before_the_previews_do(registry: AssetRegistry) -> None:
    """A script could not go on while a large picture is being made small."""
    assert AssetRegistry.wait_for_thumbnails(0) is True
    assert AssetRegistry.wait_for_thumbnails(timeout=None) is True


# -- in which order, and by how many --------------------------------------------------------------------

INGEST = """
import sys
from comfyvn.media.isolation import WORKERS
from comfyvn.studio.core import AssetRegistry
with AssetRegistry(durability="off") as registry:
    items = [{"source_path": name, "asset_type": "x"} for name in sys.argv[1:]]
    assert all(result["status"] == "registered" for result in registry.register_many(items))
    registry.wait_for_thumbnails()
    made = sorted(registry.THUMB_ROOT.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    print(len(WORKERS._all), *[path.suffix for path in made if ".facts" not in path.suffixes])
"""


def test_sound_waits_for_pictures_and_a_few_files_get_one_worker(tmp_path: Path, project: Path) -> None:
    """An hour of music would hold up the pictures; each worker more costs as much as ten of them."""
    sounds, pictures = [tmp_path / f"a{number}.wav" for number in range(3)], [tmp_path / "b.png"]
    for number, path in enumerate(sounds):
        with wave.open(str(path), "wb") as sound:
            sound.setparams((1, 2, RATE, 0, "NONE", ""))
            sound.writeframes(struct.pack("<h", 1000 + number) * RATE)
    Image.new("RGB", (600, 500), "teal").save(pictures[0])

    command = [sys.executable, "-c", INGEST, *map(str, sounds + pictures)]
    told = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)

    assert told.stdout.split() == ["1", ".webp", ".webp", ".json", ".json", ".json"]
