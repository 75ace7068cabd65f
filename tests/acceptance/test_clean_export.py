"""Publishing without prompts, and workflows out of files and into others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from comfyvn import media
from comfyvn.errors import NoGraph, PathConflict, UnsupportedMedia
from comfyvn.registry.cleaning import export_clean
from comfyvn.registry.workflows import graph_of, insert
from comfyvn.studio.core import AssetRegistry
from support import Answer

Run = Callable[..., Answer]

SECRET = "SECRET prompt of mara at the window"
PROMPT = {"3": {"class_type": "CLIPTextEncode", "inputs": {"text": SECRET}}}
WORKFLOW = {"nodes": [{"id": 3, "type": "CLIPTextEncode", "widgets_values": [SECRET]}], "links": []}
EXIF_OF_COMFYUI = {"workflow": 0x010F, "prompt": 0x0110}


def draw(path: Path, number: int = 1, texts: dict[str, str] | None = None, **options: Any) -> Path:
    """Draw a picture as ComfyUI saves it; each number another one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (64, 48), (number * 40 % 256, 90, 160))
    image.putpixel((number % 64, 7), (255, 255, 255))
    if path.suffix == ".png":
        options["pnginfo"] = info = PngInfo()
        graphs = {"prompt": json.dumps(PROMPT), "workflow": json.dumps(WORKFLOW)}
        for key, text in (graphs if texts is None else texts).items():
            info.add_text(key, text)
    image.save(path, **options)
    return path


@pytest.fixture
def uids(registry: AssetRegistry, tmp_path: Path) -> dict[str, str]:
    """The uids of a library: two pictures of ComfyUI, a JPEG with a comment, a plain text."""
    made = {
        "smile": draw(tmp_path / "out" / "mara_smile.png", 1),
        "frown": draw(tmp_path / "out" / "mara_frown.png", 2),
        "city": draw(tmp_path / "out" / "city.jpg", 3, comment=SECRET),
    }
    found = {name: registry.register_file(path, "characters")["uid"] for name, path in made.items()}
    (tmp_path / "notes.txt").write_text(SECRET)
    found["notes"] = registry.register_file(tmp_path / "notes.txt", "documents")["uid"]
    registry.bulk_update_tags([found["smile"]], add_tags=["published"], license_tag="CC-BY-4.0")
    registry.wait_for_thumbnails()
    return found


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder by their paths."""
    return {
        each.relative_to(folder).as_posix(): each.read_bytes() for each in folder.rglob("*") if each.is_file()
    }


def info_of(path: Path) -> dict[str, Any]:
    """Return what Pillow tells of a picture beside its pixels."""
    with Image.open(path) as image:
        image.load()
        return {str(key): value for key, value in image.info.items()}


# -- clean export -----------------------------------------------------------------------------------------


def test_a_library_is_exported_without_what_made_it(
    registry: AssetRegistry, uids: dict[str, str], run: Run, tmp_path: Path
) -> None:
    """A prompt that goes out with the game can't be taken back."""
    answer = run("export", "--clean", tmp_path / "public", "--json")

    assert answer.code == 1
    report = answer.document
    assert report["counts"] == {"written": 3, "there": 0, "refused": 1}
    items = {item["uid"]: item for item in report["items"]}
    smile, notes = items[uids["smile"]], items[uids["notes"]]
    assert set(smile["removed"]) == {"tEXt prompt", "tEXt workflow", "tEXt comfyvn_provenance"}
    assert smile["bytes_after"] < smile["bytes_before"]
    assert notes["reason"].startswith("it is of no format that we know")
    made = files_of(tmp_path / "public")
    assert sorted(made) == ["characters/city.jpg", "characters/mara_frown.png", "characters/mara_smile.png"]
    assert smile["bytes_after"] == len(made["characters/mara_smile.png"])
    for path, content in made.items():
        assert not any(word in content for word in (b"SECRET", b"comfyvn", b"prompt", b"CLIPText"))
        with Image.open(Path("assets") / path) as before, Image.open(tmp_path / "public" / path) as after:
            assert after.tobytes() == before.tobytes()
            assert not set(after.info) & {"prompt", "workflow", "comment", "comfyvn_provenance", "exif"}


def test_the_library_itself_stays_as_it_was(
    registry: AssetRegistry, uids: dict[str, str], run: Run, tmp_path: Path
) -> None:
    """The originals are what the maker works on."""
    before = files_of(Path("assets"))

    run("export", "--clean", tmp_path / "public", "--json")

    assert files_of(Path("assets")) == before


def test_an_export_goes_on_where_it_was_stopped_and_overwrites_nothing(
    registry: AssetRegistry, uids: dict[str, str], run: Run, tmp_path: Path
) -> None:
    """A folder for publishing has been touched up by hand, or is the wrong one."""
    public = tmp_path / "public"
    run("export", "--clean", public)
    (public / "characters" / "mara_frown.png").unlink()
    (public / "characters" / "city.jpg").write_bytes(b"mine")

    answer = run("export", "--clean", public, "--json")

    assert answer.document["counts"] == {"written": 1, "there": 1, "refused": 2}
    [city] = [item for item in answer.document["items"] if item["uid"] == uids["city"]]
    assert city["reason"] == "another file lies there already"
    assert (public / "characters" / "city.jpg").read_bytes() == b"mine"
    assert [path.name for path in public.iterdir()] == ["characters"]


def test_an_export_that_was_killed_leaves_nothing_for_the_next_one_to_trip_over(
    registry: AssetRegistry, uids: dict[str, str], tmp_path: Path
) -> None:
    """Half a picture would be published, or leavings with prompts in them."""
    public = tmp_path / "public"
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from comfyvn.registry import cleaning\n"
        "from comfyvn.studio.core import AssetRegistry\n"
        "def stop(*_, **__): os.kill(os.getpid(), signal.SIGKILL)\n"
        "with AssetRegistry(sys.argv[1], assets_root=sys.argv[2]) as registry:\n"
        "    made = cleaning.export_clean(registry, sys.argv[4:], Path(sys.argv[3]))\n"
        "    next(made)\n"
        "    cleaning.prove = stop\n"
        "    next(made)\n"
    )
    places = [registry.db_path, registry.ASSETS_ROOT, public, uids["smile"], uids["frown"]]
    killed = subprocess.run([sys.executable, "-c", script, *map(str, places)], check=False)
    left = {path.suffix for path in public.iterdir()}

    items = list(export_clean(registry, [uids["smile"], uids["frown"]], public))

    assert killed.returncode == -signal.SIGKILL
    assert left == {".lock", ".part", ""}
    assert [item.status for item in items] == ["there", "written"]
    assert sorted(files_of(public)) == ["characters/mara_frown.png", "characters/mara_smile.png"]


def test_two_exports_into_one_folder_leave_each_other_alone(
    registry: AssetRegistry, uids: dict[str, str], tmp_path: Path
) -> None:
    """The unfinished copy of one at work would be taken for what a killed one left."""
    public = tmp_path / "public"
    first = export_clean(registry, [uids["smile"], uids["city"]], public)
    began = next(first)
    at_work = {path.name for path in public.iterdir() if path.is_file()}
    (public / f"{next(iter(at_work)).removesuffix('.lock')}.part").write_bytes(b"half a picture")

    second = list(export_clean(registry, [uids["smile"], uids["frown"]], public))
    beside = {path.name for path in public.iterdir() if path.is_file()}
    rest = list(first)

    assert [item.status for item in (began, *second, *rest)] == ["written", "there", "written", "written"]
    assert at_work < beside
    assert len(beside) == 2
    assert [path.name for path in public.iterdir()] == ["characters"]


def test_what_others_named_like_ours_stays(
    registry: AssetRegistry, uids: dict[str, str], tmp_path: Path
) -> None:
    """A link among the leavings would have its target opened, a pipe hang the export."""
    public, mine = tmp_path / "public", tmp_path / "mine.txt"
    public.mkdir()
    mine.write_text("mine")
    (public / ".comfyvn-1.lock").symlink_to(mine)
    (public / ".comfyvn-2.lock").mkdir()
    os.mkfifo(public / ".comfyvn-3.lock")
    (public / ".comfyvn-4.part").write_text("of another program")

    [item] = export_clean(registry, [uids["smile"]], public)

    assert item.status == "written"
    assert mine.read_text() == "mine"
    assert sorted(path.name for path in public.iterdir()) == [
        *(".comfyvn-1.lock", ".comfyvn-2.lock", ".comfyvn-3.lock", ".comfyvn-4.part", "characters")
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--tag", "published"], ["characters/mara_smile.png"]),
        (
            ["--type", "characters", "--not-tag", "published"],
            ["characters/city.jpg", "characters/mara_frown.png"],
        ),
        (["characters/city.jpg"], ["characters/city.jpg"]),
    ],
)
def test_only_the_wanted_assets_are_exported(
    registry: AssetRegistry,
    uids: dict[str, str],
    run: Run,
    tmp_path: Path,
    arguments: list[str],
    expected: list[str],
) -> None:
    """Sketches and spoilers stay at home."""
    answer = run("export", "--clean", tmp_path / "public", *arguments)

    assert answer.code == 0, answer.err
    assert sorted(files_of(tmp_path / "public")) == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ["--tag", "x"],
        ["--keep-credit"],
        ["--names", "uid"],
        ["0123"],
        ["--clean", "a", "--output", "b"],
        ["--clean", "a", "b", "--tag", "x"],
    ],
)
def test_options_that_contradict_each_other_are_refused(
    registry: AssetRegistry, uids: dict[str, str], run: Run, arguments: list[str]
) -> None:
    """A filter that is passed over would export what must stay at home."""
    assert run("export", *arguments).code == 2


def test_author_and_licence_go_with_a_png_when_asked_for(
    registry: AssetRegistry, uids: dict[str, str], run: Run, tmp_path: Path
) -> None:
    """CC-BY wants both, and they are no secret."""
    registry.merge_asset_meta(uids["smile"], {"author": "Mika Müller"})

    answer = run(
        "export", "--clean", tmp_path / "public", "--keep-credit", "--json", uids["smile"], uids["city"]
    )

    items = {item["uid"]: item for item in answer.document["items"]}
    assert items[uids["smile"]]["credit"] == ["Author", "Copyright"]
    assert "no author" in items[uids["city"]]["note"]
    info = info_of(tmp_path / "public/characters/mara_smile.png")
    assert info == {"Author": "Mika Müller", "Copyright": "CC-BY-4.0"}
    again = run("export", "--clean", tmp_path / "public", "--keep-credit", "--json", uids["smile"])
    assert again.document["counts"] == {"written": 0, "there": 1, "refused": 0}


def test_a_prompt_that_is_also_the_author_is_still_no_prompt(
    registry: AssetRegistry, uids: dict[str, str], tmp_path: Path
) -> None:
    """Signs that a chunk can't hold would cut the text or break the file; it is written without."""
    registry.merge_asset_meta(uids["smile"], {"author": "美香"})

    [item] = export_clean(registry, [uids["smile"]], tmp_path / "public", keeps_credit=True)

    assert (item.status, item.credit) == ("written", ())
    assert item.note is not None
    assert "letters that a PNG can't hold" in item.note
    assert info_of(tmp_path / "public/characters/mara_smile.png") == {}


def test_what_was_known_from_before_is_looked_for_as_well(
    registry: AssetRegistry, uids: dict[str, str], tmp_path: Path
) -> None:
    """An editor that strips the graph may leave the prompt in a place that stays: here a colour profile."""
    from PIL import ImageCms

    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    at = profile.index("sRGB".encode("utf-16-be"))
    profile[at : at + 20] = "mara_voice".encode("utf-16-be")
    path = draw(tmp_path / "profile.png", 9, {}, icc_profile=bytes(profile))
    stated = {"inputs": {"generation": {"facts": {"prompt": "mara_voice"}}}}
    uid = registry.register_file(path, "characters", provenance=stated)["uid"]

    [item] = export_clean(registry, [uid], tmp_path / "public")

    assert (item.status, item.reason) == ("refused", "'mara_voice' is still in its clean copy")
    assert files_of(tmp_path / "public") == {}


def test_a_file_that_is_gone_or_damaged_costs_itself_alone(
    registry: AssetRegistry, uids: dict[str, str], tmp_path: Path
) -> None:
    """The night before the release is no time for a traceback."""
    Path("assets/characters/mara_smile.png").unlink()
    frown = Path("assets/characters/mara_frown.png")
    frown.write_bytes(frown.read_bytes()[:-40])

    found = {
        item.uid: item for item in export_clean(registry, [*uids.values(), "0" * 16], tmp_path / "public")
    }

    assert found[uids["city"]].status == "written"
    assert found[uids["smile"]].status == "refused"
    assert "damaged" in (found[uids["frown"]].reason or "")
    assert found["0" * 16].reason == "no asset has this uid"
    assert sorted(files_of(tmp_path / "public")) == ["characters/city.jpg"]


@pytest.mark.parametrize("place", ["assets/public", "cache/thumbs", "file", "link", "link/public"])
def test_the_librarys_own_folders_are_no_place_for_copies(
    registry: AssetRegistry, uids: dict[str, str], place: str
) -> None:
    """They would be taken for new assets, or for previews."""
    Path("file").write_text("a file")
    Path("link").symlink_to("assets", target_is_directory=True)
    before = files_of(Path())

    with pytest.raises(PathConflict):
        export_clean(registry, uids.values(), Path(place))

    assert files_of(Path()) == before


def test_a_link_in_the_folder_leads_nowhere_else(
    registry: AssetRegistry, uids: dict[str, str], tmp_path: Path
) -> None:
    """Files would be written into a folder that nobody named."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "characters").symlink_to(elsewhere, target_is_directory=True)

    [item] = export_clean(registry, [uids["smile"]], tmp_path / "public")

    assert (item.status, item.reason) == ("refused", "a link in the folder leads elsewhere")
    assert list(elsewhere.iterdir()) == []


def test_no_folder_is_made_behind_a_link(
    registry: AssetRegistry, uids: dict[str, str], tmp_path: Path
) -> None:
    """A refusal that leaves folders elsewhere has written where it should not."""
    deep = registry.register_file(
        draw(tmp_path / "deep.png", 5), "characters", dest_relative="characters/mara/winter/a.png"
    )
    elsewhere, public = tmp_path / "elsewhere", tmp_path / "public"
    elsewhere.mkdir()
    public.mkdir()
    (public / "characters").symlink_to(elsewhere, target_is_directory=True)

    [item] = export_clean(registry, [deep["uid"]], public)

    assert (item.status, item.reason) == ("refused", "a link in the folder leads elsewhere")
    assert list(elsewhere.iterdir()) == []


def test_an_asset_whose_path_leads_into_the_library_is_refused(
    registry: AssetRegistry, uids: dict[str, str], tmp_path: Path
) -> None:
    """Exported into the project's own folder, a type named like the assets folder would grow each time."""
    uid = registry.register_file(draw(tmp_path / "a.png", 6), "assets")["uid"]
    before = files_of(Path("assets"))

    items = list(export_clean(registry, [uid, uids["smile"]], Path()))

    assert [item.status for item in items] == ["refused", "written"]
    assert "the library's own (setting assets_root)" in (items[0].reason or "")
    assert files_of(Path("assets")) == before


def test_a_file_where_a_folder_should_be_is_a_refusal(
    registry: AssetRegistry, uids: dict[str, str], tmp_path: Path
) -> None:
    """The reason would be a word of the operating system."""
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "characters").write_text("mine")

    [item] = export_clean(registry, [uids["smile"]], tmp_path / "public")

    assert item.reason == "a file lies where its folder should be"


@pytest.mark.parametrize(
    "name", ["mara [1] $(x) 100%.png", "-rf.png", "真良 😀.png", "a\tb.png", "MARA.PNG", "x" * 180 + ".png"]
)
def test_odd_names_are_exported_as_they_are(registry: AssetRegistry, tmp_path: Path, name: str) -> None:
    """A script of the game names its files as the library does."""
    (tmp_path / "out").mkdir()
    source = draw(tmp_path / "source.png", 7)
    record = registry.register_file(source.rename(tmp_path / "out" / name), "characters")

    [item] = export_clean(registry, [record["uid"]], tmp_path / "public")

    assert (item.status, item.path) == ("written", record["path"])
    assert list(files_of(tmp_path / "public")) == [record["path"]]


A1111 = (
    "lighthouse keeper, (old man:1.2), storm\nNegative prompt: bad hands\nSteps: 20, Seed: 4455, CFG scale: 7"
)
TELLING = [
    ("00001-4455-mara.png", "its seed (4455)"),
    ("00001-lighthouse keeper.png", "words of its prompt ('lighthouse keeper')"),
    ("Lighthouse_Keeper__old_man.png", "words of its prompt ('lighthouse keeper')"),
    ("2026-01-02/old-man-storm/1.png", None),
    ("a/keeper, (old man/1.png", "words of its prompt ('keeper old man')"),
    ("bad hands 2.png", "words of its prompt ('bad hands')"),
    ("14455.png", None),
    ("2026-01-02/lighthouse.png", None),
]


@pytest.mark.parametrize(("path", "told"), TELLING)
def test_a_path_that_has_the_prompt_or_the_seed_is_not_published(
    registry: AssetRegistry, run: Run, tmp_path: Path, path: str, told: str | None
) -> None:
    """The copy would be clean, and its name would tell what was taken out of it."""
    source = draw(tmp_path / "source.png", 1, {"parameters": A1111})
    uid = registry.register_file(source, "art", dest_relative=f"art/{path}")["uid"]

    answer = run("export", "--clean", tmp_path / "public", "--json", uid)
    renamed = run("export", "--clean", tmp_path / "public2", "--names", "uid", "--json", uid)

    [item] = answer.document["items"]
    if told is None:
        assert (item["status"], list(files_of(tmp_path / "public"))) == ("written", [f"art/{path}"])
    else:
        advice = "rename it with `comfyvn move`, or add --names uid"
        assert (item["status"], item["reason"]) == ("refused", f"its path has {told}; {advice}")
        assert files_of(tmp_path / "public") == {}
    [item] = renamed.document["items"]
    assert (item["status"], item["path"], item["copy"]) == ("written", f"art/{path}", f"art/{uid}.png")
    assert list(files_of(tmp_path / "public2")) == [f"art/{uid}.png"]


@pytest.mark.parametrize(
    ("inputs", "name", "is_refused"),
    [
        ({"prompt": "夕暮れの灯台"}, "00001-夕暮れの灯台.png", True),
        ({"generation": {"facts": {"passes": [{"seed": "98765"}]}}}, "98765.png", True),
        ({"seed": 98765}, "98765.png", True),
        ({"seed": 1}, "1.png", False),
        ({"prompt": "mara smile"}, "mara_smile.png", True),
        ({"prompt": "mara smile, at the window"}, "mara_smile.png", False),
        ({"file": "mara at the window.png"}, "mara at the window.png", False),
        ({"game": "Mara at the Window"}, "mara at the window.png", False),
    ],
)
def test_what_was_stated_of_the_making_is_looked_for_in_the_path(
    registry: AssetRegistry, tmp_path: Path, inputs: dict[str, Any], name: str, is_refused: bool
) -> None:
    """A script's prompts are prompts, too; a file's own name and a game's are none."""
    source = draw(tmp_path / "source.png", 1, {})
    record = registry.register_file(source, "art", dest_relative=f"art/{name}", provenance={"inputs": inputs})

    [item] = export_clean(registry, [record["uid"]], tmp_path / "public")

    assert item.status == ("refused" if is_refused else "written"), item.reason


def test_files_called_as_comfyui_was_told_are_published(registry: AssetRegistry, tmp_path: Path) -> None:
    """The prefix of a file name stands in the graph, a title too; each such picture would be refused."""
    inputs = {"filename_prefix": "mara smile happy", "seed": 123456}
    graph = {"9": {"class_type": "SaveImage", "inputs": inputs}}
    note = {"nodes": [{"type": "Note", "widgets_values": ["makes mara smile happy"]}, {"type": ["odd"]}]}
    told = {"prompt": json.dumps(graph), "workflow": json.dumps(note), "Title": "Mara Smile Happy"}
    source = draw(tmp_path / "mara smile happy_00001_.png", 1, told)
    uid = registry.register_file(source, "art")["uid"]

    [item] = export_clean(registry, [uid], tmp_path / "public")

    assert (item.status, item.path) == ("written", "art/mara smile happy_00001_.png")


@pytest.mark.corpus
@pytest.mark.timeout(60)
@pytest.mark.filterwarnings("ignore")
def test_every_odd_file_is_written_clean_or_refused(
    registry: AssetRegistry, corpus: Path, tmp_path: Path
) -> None:
    """One file that hangs or slips through would do for the whole export."""
    paths = [path for path in sorted(corpus.rglob("*")) if path.is_file() and path.stat().st_size < 1 << 20]
    wanted = [
        path
        for path in paths
        if path.suffix in (".png", ".jpg", ".gif", ".webp", ".mp3", ".flac", ".ogg", ".m4a")
    ]
    sources = [{"source_path": path, "asset_type": "odd"} for path in wanted]
    records = [found["asset"] for found in registry.register_many(sources)]
    uids = list(dict.fromkeys(record["uid"] for record in records if record))
    started_s = time.monotonic()

    items = list(export_clean(registry, uids, tmp_path / "public"))

    assert time.monotonic() - started_s < 30
    assert all(item.reason for item in items if item.status == "refused")
    assert sum(item.status == "written" for item in items) > len(items) * 0.8
    made = files_of(tmp_path / "public")
    assert len(made) == sum(item.status == "written" for item in items)
    for path in made:
        with (tmp_path / "public" / path).open("rb") as file:
            assert media.texts(file, name=path) == ()


# -- workflows --------------------------------------------------------------------------------------------


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A graph as ComfyUI saves it, with a prompt in another script."""
    path = tmp_path / "w.json"
    path.write_text(json.dumps({**WORKFLOW, "extra": {"title": "窓辺の真良"}}, ensure_ascii=False), "utf-8")
    return path


@pytest.mark.parametrize(
    "options", [{}, {"save_all": True}, {"lossless": True, "exif": b"Exif\0\0MM\0*\0\0\0\x08" + bytes(6)}]
)
@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_a_graph_goes_into_a_picture_as_comfyui_reads_it(
    run: Run, graph: Path, tmp_path: Path, suffix: str, options: dict[str, Any]
) -> None:
    """Dropped on ComfyUI, the picture would open nothing, or the graph of before."""
    source, target = draw(tmp_path / f"a{suffix}", **options), tmp_path / f"b{suffix}"
    before = source.read_bytes()

    answer = run("workflow", "insert", source, graph, "-o", target)

    assert answer.code == 0, answer.err
    assert source.read_bytes() == before
    with Image.open(source) as first, Image.open(target) as second:
        assert second.tobytes() == first.tobytes()
        told = second.info if suffix == ".png" else exif_of(second)
        assert json.loads(told["workflow"])["extra"]["title"] == "窓辺の真良"
        assert "prompt" not in told


def exif_of(image: Image.Image) -> dict[str, str]:
    """Return the graphs in a WebP as ComfyUI's page looks for them: in Exif, behind a name and a colon."""
    texts = [value for value in image.getexif().values() if isinstance(value, str) and ":" in value]
    return dict(text.split(":", 1) for text in texts)  # type: ignore[arg-type]


def test_what_else_is_in_a_webp_stays(run: Run, graph: Path, tmp_path: Path) -> None:
    """The orientation, the colour profile and the credit of a picture are not ours to lose."""
    exif = Image.Exif()
    exif[0x0112], exif[0x8298], exif[0x0110] = 6, "Mika", 'prompt:{"old": 1}'
    source = draw(tmp_path / "a.webp", exif=exif, xmp=b"<x:xmpmeta/>")

    run("workflow", "insert", source, graph, "-o", tmp_path / "b.webp")

    with Image.open(tmp_path / "b.webp") as image:
        found = image.getexif()
        assert (found[0x0112], found[0x8298], image.info["xmp"]) == (6, "Mika", b"<x:xmpmeta/>")
        assert 0x0110 not in found
        assert found[EXIF_OF_COMFYUI["workflow"]].startswith('workflow:{"nodes"')


def test_graphs_are_copied_from_an_asset_that_an_editor_has_stripped(
    registry: AssetRegistry, uids: dict[str, str], run: Run, tmp_path: Path
) -> None:
    """The picture that was painted over is to open the graph that it came from."""
    smile = Path("assets/characters/mara_smile.png")
    with Image.open(smile) as image:
        image.convert("L").save(smile)

    answer = run("workflow", "copy", uids["smile"], smile, "-o", tmp_path / "b.png")

    assert answer.code == 0, answer.err
    info = info_of(tmp_path / "b.png")
    assert json.loads(info["prompt"]) == PROMPT
    assert json.loads(info["workflow"]) == WORKFLOW


def test_graphs_are_copied_between_files_without_a_library(run: Run, tmp_path: Path) -> None:
    """One looks at a picture of somebody else before anything is registered."""
    source = draw(tmp_path / "a.png")
    target = draw(tmp_path / "plain.webp")

    answer = run("workflow", "copy", source, target, "-o", tmp_path / "b.webp")

    assert answer.code == 0, answer.err
    with Image.open(tmp_path / "b.webp") as image:
        assert {name: json.loads(text) for name, text in exif_of(image).items()} == {
            "workflow": WORKFLOW,
            "prompt": PROMPT,
        }
    assert run("workflow", "copy", target, source, "-o", tmp_path / "c.png").code == 3


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("once upon", "it is no JSON"),
        ("[1, 2]", "it is no object"),
        ('{"nodes": []}', "neither a list of nodes"),
        ('{"1": {"inputs": {}}}', "neither a list of nodes"),
        ("[" * 100_000, "it is no JSON"),
    ],
)
def test_what_is_no_graph_is_refused(text: str, why: str) -> None:
    """ComfyUI would open an empty page, and nobody knows why."""
    with pytest.raises(NoGraph, match=why):
        graph_of(text, "w.json")


def test_a_refused_insert_leaves_nothing_behind(run: Run, graph: Path, tmp_path: Path) -> None:
    """Half a picture, or one written over, is worse than a message."""
    jpeg, png = draw(tmp_path / "a.jpg"), draw(tmp_path / "a.png")
    broken = tmp_path / "broken.png"
    broken.write_bytes(png.read_bytes()[:-30])
    before = png.read_bytes()

    codes = [
        run("workflow", "insert", jpeg, graph, "-o", tmp_path / "b.jpg").code,
        run("workflow", "insert", broken, graph, "-o", tmp_path / "b.png").code,
        run("workflow", "insert", jpeg, graph, "-o", png).code,
        run("workflow", "insert", png, graph, "-o", png).code,
        run("workflow", "insert", png, tmp_path / "no.json", "-o", tmp_path / "b.png").code,
        run("workflow", "insert", tmp_path / "no.png", graph, "-o", tmp_path / "b.png").code,
    ]

    assert codes == [1, 1, 1, 4, 3, 3]
    assert png.read_bytes() == before
    assert not (tmp_path / "b.jpg").exists()
    assert not (tmp_path / "b.png").exists()
    with pytest.raises(UnsupportedMedia, match="this is neither"):
        insert(jpeg, {"workflow": "{}"}, tmp_path / "b.jpg")


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_a_copy_with_another_graph_does_not_pass_for_the_asset(
    registry: AssetRegistry, run: Run, graph: Path, tmp_path: Path, suffix: str
) -> None:
    """With the marker of the asset, it would look like a damaged original."""
    record = registry.register_file(draw(tmp_path / f"mara{suffix}", 4), "characters")
    stamped = Path("assets") / record["path"]
    assert run("stamp", "show", stamped).code == 0

    inserted = run("workflow", "insert", record["uid"], graph, "-o", tmp_path / f"b{suffix}")

    assert inserted.code == 0, inserted.err
    assert run("stamp", "show", tmp_path / f"b{suffix}").code == 3
    assert run("stamp", "show", stamped).code == 0
    with Image.open(stamped) as first, Image.open(tmp_path / f"b{suffix}") as second:
        assert second.tobytes() == first.tobytes()


@pytest.mark.parametrize(("suffix", "wrong"), [(".png", "b.webp"), (".png", "b.JPG"), (".webp", "b.png")])
def test_a_copy_is_called_as_what_it_is(
    run: Run, graph: Path, tmp_path: Path, suffix: str, wrong: str
) -> None:
    """A PNG under the name of a WebP is refused by the next program, or mistaken."""
    source = draw(tmp_path / f"a{suffix}")

    refused = run("workflow", "insert", source, graph, "-o", tmp_path / wrong)
    copied = run("workflow", "copy", draw(tmp_path / "from.png"), source, "-o", tmp_path / wrong)
    plain = run("workflow", "insert", source, graph, "-o", tmp_path / "no-suffix")

    assert (refused.code, copied.code, plain.code) == (4, 4, 0)
    assert f"give it a name that ends with {suffix}" in refused.err
    assert not (tmp_path / wrong).exists()


def test_a_copy_without_a_graph_names_the_origin_that_has_one(
    registry: AssetRegistry, uids: dict[str, str], run: Run, tmp_path: Path
) -> None:
    """Who has the edited picture alone would think that the graph is lost."""
    plain = registry.register_file(draw(tmp_path / "painted.png", 8, {}), "characters")["uid"]
    registry.link(plain, uids["smile"])

    answer = run("workflow", "extract", plain)

    assert answer.code == 3
    assert f"It came from characters/mara_smile.png ({uids['smile']}; manual" in answer.err
    assert f"`comfyvn workflow extract {uids['smile']}`" in answer.err
    assert f"`GET /assets/{uids['smile']}/workflow`" in answer.err
