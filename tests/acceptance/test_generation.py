"""What made a picture: read when it comes in, kept when an editor strips it, asked for by each door."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from comfyvn.errors import AssetNotFound, FactsMissing, GraphMissing
from comfyvn.registry.facts import facts_of, refresh
from comfyvn.registry.rebuild import rebuild
from comfyvn.registry.workflows import workflow_of
from comfyvn.studio.core import AssetRegistry
from serving import serve
from support import Answer

Draw = Callable[..., Path]
Run = Callable[..., Answer]

GRAPH = Path(__file__).parents[1] / "unit" / "graphs"
PARAMETERS = """mara at the window, <lora:mara_v3:0.8>
Negative prompt: blurry
Steps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 7, Seed: {seed}, Size: 64x48, \
Model hash: 0123abcd, Model: anima_v2, Version: v1.10.1"""
SAMPLED = {
    "seed": 7,
    "steps": 20,
    "cfg": 7.0,
    "sampler_name": "euler",
    "scheduler": "normal",
    "denoise": 0.6,
    "positive": ["4", 0],
    "negative": ["5", 0],
}
WORKFLOWS = Path("assets/.comfyvn/workflows")


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """Draw pictures as a tool saves them: each number another picture, with its texts."""

    def draw_one(number: int = 1, name: str | None = None, **texts: str) -> Path:
        path = tmp_path / "output" / (name or f"mara_{number:05}_.png")
        path.parent.mkdir(exist_ok=True)
        image = Image.new("RGB", (64, 48), (number * 40 % 256, 90, 160))
        image.putpixel((number % 64, number // 64), (255, 255, 255))
        info = PngInfo()
        for key, text in texts.items():
            info.add_text(key, text)
        image.save(path, pnginfo=info)
        return path

    return draw_one


def repaint(path: Path) -> None:
    """Save a picture as an editor does that knows nothing of texts."""
    with Image.open(path) as image:
        painted = image.convert("L")
    painted.save(path)
    with Image.open(path) as image:
        assert image.info == {}


@pytest.fixture
def pictures(registry: AssetRegistry, draw: Draw) -> list[str]:
    """The uids of three pictures of one workflow with the seeds 1 to 3, and of one that tells nothing."""
    drawn = [draw(seed, parameters=PARAMETERS.format(seed=seed)) for seed in (1, 2, 3)]
    return [registry.register_file(path, "characters")["uid"] for path in (*drawn, draw(9))]


def test_what_made_a_picture_stands_in_its_provenance(registry: AssetRegistry, pictures: list[str]) -> None:
    """Else nobody knows any more which model, prompt and seed to use for the next expression."""
    record = registry.get_asset(pictures[1])
    assert record is not None
    assert record["provenance"] is not None

    told = record["provenance"]["inputs"]["generation"]

    assert record["provenance"]["source"] == "Automatic1111 v1.10.1"
    assert told["facts"] == {
        "prompt": "mara at the window, <lora:mara_v3:0.8>",
        "negative_prompt": "blurry",
        "models": [{"name": "anima_v2", "hash": "0123abcd"}],
        "loras": [{"name": "mara_v3", "weight": 0.8}],
        "sampler": "Euler a",
        "scheduler": "Karras",
        "steps": 20,
        "cfg": 7.0,
        "seed": "2",
        "width": 64,
        "height": 48,
    }
    assert told["read_from"].keys() == told["facts"].keys()
    assert told["file"] == "mara_00002_.png"
    with Image.open(Path("assets") / record["path"]) as image:
        marker = image.info["comfyvn_provenance"]
    assert json.loads(marker)["workflow_hash"] == told["workflow_hash"]


def test_pictures_of_one_workflow_share_its_hash_and_its_text(
    registry: AssetRegistry, pictures: list[str]
) -> None:
    """Else a batch of a thousand would keep the same graph a thousand times, and nothing would join them."""
    found = registry.list_assets(workflow=registry.get_asset(pictures[0])["provenance"]["workflow_hash"])  # type: ignore[index]

    assert {record["uid"] for record in found} == set(pictures[:3])
    assert len([path for path in WORKFLOWS.rglob("*") if path.is_file()]) == 1


def test_what_a_script_states_is_never_overruled(registry: AssetRegistry, draw: Draw) -> None:
    """The caller knows better than the file where the picture came from."""
    stated = {"source": "batch 7", "workflow_hash": "mine", "inputs": {"seed": 99, "generation": "by hand"}}
    path = draw(1, parameters=PARAMETERS.format(seed=1))

    record = registry.register_file(path, "characters", provenance=stated)

    row = record["provenance"]
    assert row is not None
    assert (row["source"], row["workflow_hash"]) == ("batch 7", "mine")
    assert (row["inputs"]["seed"], row["inputs"]["generation"]) == (99, "by hand")


@pytest.mark.parametrize("door", ["python", "cli", "rest"])
def test_pictures_are_found_by_what_made_them(
    door: str, registry: AssetRegistry, pictures: list[str], run: Run
) -> None:
    """ "Everything made with this LoRA" is what one asks before changing it."""
    asked: list[tuple[dict[str, Any], list[str]]] = [
        ({"models": "ANIMA_V2.safetensors"}, pictures[:3]),
        ({"loras": ["mara_v3"]}, pictures[:3]),
        ({"samplers": "euler A", "tools": "automatic1111"}, pictures[:3]),
        ({"seed": "2"}, [pictures[1]]),
        ({"seed": 3, "models": "anima_v2"}, [pictures[2]]),
        ({"loras": ["mara_v3", "other"]}, []),
        ({"seed": 22}, []),
        ({"text": "at the window"}, pictures[:3]),
    ]

    for wanted, expected in asked:
        assert ask(door, registry, run, wanted) == set(expected), wanted


def ask(door: str, registry: AssetRegistry, run: Run, wanted: dict[str, Any]) -> set[str]:
    """Return the uids that a filter finds."""
    if door == "python":
        found = {record["uid"] for record in registry.list_assets(**wanted)}
        assert registry.count_assets(**wanted) == len(found)
        return found
    single = {"models": "model", "loras": "lora", "samplers": "sampler", "tools": "tool"}
    pairs = [
        (single.get(name, name), each)
        for name, value in wanted.items()
        for each in (value if isinstance(value, list) else [value])
    ]
    if door == "cli":
        options = [part for name, value in pairs for part in (f"--{name}", value)]
        return {record["uid"] for record in run("list", "--json", *options).document["items"]}
    with serve(registry) as client:
        query = [("q" if name == "text" else name, str(value)) for name, value in pairs]
        return {record["uid"] for record in client.get("/assets", params=query).json()["items"]}


@pytest.mark.parametrize("times", [1, 4])
def test_facets_count_what_made_them(registry: AssetRegistry, pictures: list[str], times: int) -> None:
    """Else one has to know the name of a model to find what it made; counted in memory as in the ledger."""
    for _ in range(times):
        found = registry.facets(asset_type="characters")
        narrowed = registry.facets(models="anima_v2", seed=2)

    assert found["models"] == [{"value": "anima_v2", "count": 3}]
    assert found["loras"] == [{"value": "mara_v3", "count": 3}]
    assert found["samplers"] == [{"value": "Euler a", "count": 3}]
    assert found["tools"] == [{"value": "Automatic1111", "count": 3}]
    assert found["tags"] == [{"value": None, "count": 4}]
    assert (narrowed["total"], narrowed["models"]) == (1, [{"value": "anima_v2", "count": 1}])
    ids = [record["id"] for record in registry.list_assets()]
    assert registry.facets_among(ids)["models"] == [{"value": "anima_v2", "count": 3}]


def test_an_editor_that_strips_a_file_takes_nothing_away(
    registry: AssetRegistry, draw: Draw, pictures: list[str]
) -> None:
    """Painted over, a sprite still has the prompt and the graph that it came from."""
    record = registry.get_asset(pictures[0])
    assert record is not None
    path = Path("assets") / record["path"]
    repaint(path)

    rebuild(registry)

    now = registry.get_asset(pictures[0])
    assert now is not None
    assert now["version"] == 2
    assert facts_of(registry, pictures[0])["facts"]["seed"] == "1"
    assert [each["uid"] for each in registry.list_assets(seed=1)] == [pictures[0]]


def regenerate(registry: AssetRegistry, uid: str, draw: Draw, seed: int) -> Path:
    """Have another picture, with facts of its own, written over the file of an asset."""
    place = registry.resolve_path(uid)
    assert place is not None
    shutil.copyfile(draw(seed, parameters=PARAMETERS.format(seed=seed)), place)
    return place


def seeds(registry: AssetRegistry, uid: str) -> list[str | None]:
    """Return the seed that each provenance row of an asset tells, the newest first."""
    told = [row["inputs"].get("generation") for row in registry.list_provenance(uid)]
    return [each and each["facts"]["seed"] for each in told]


def check_seed(registry: AssetRegistry, uid: str, seed: int, older: int) -> None:
    """Assert that an asset has the facts of one picture, and that of another nothing is left but history."""
    told = facts_of(registry, uid)
    assert told["facts"]["seed"] == str(seed)
    assert (told["told_by_version"], told["version"], told["in_file"]) == (2, 2, True)
    assert [each["uid"] for each in registry.list_assets(seed=seed)] == [uid]
    assert registry.list_assets(seed=older) == []
    assert seeds(registry, uid) == [str(seed), str(older)]
    sidecar = registry.read_sidecar(uid)
    assert sidecar["provenance"]["inputs"]["generation"]["facts"]["seed"] == str(seed)


@pytest.mark.parametrize("door", ["rebuild", "rebuild after the ledger was lost", "watch", "register"])
def test_a_picture_that_was_made_anew_in_its_place_tells_its_own_facts(
    registry: AssetRegistry,
    draw: Draw,
    pictures: list[str],
    open_registry: Callable[..., AssetRegistry],
    door: str,
) -> None:
    """The seed of a picture that is gone would be used for the next expression."""
    registry.wait_for_thumbnails()
    place = regenerate(registry, pictures[1], draw, 777)

    if door == "register":
        registry.register_file(place, "characters")
    elif door == "watch":
        rebuild(registry, only=["characters/mara_00002_.png"])
    elif door == "rebuild":
        rebuild(registry)
    else:
        registry.close()
        shutil.rmtree("comfyvn")
        registry = open_registry()
        rebuild(registry)

    check_seed(registry, pictures[1], 777, 2)


def test_a_picture_that_was_made_anew_before_facts_were_read_gets_its_own(
    registry: AssetRegistry, draw: Draw, pictures: list[str], run: Run
) -> None:
    """Libraries in which that happened would tell the older picture's facts for ever."""
    regenerate(registry, pictures[1], draw, 777)
    rebuild(registry)
    forget_newest(registry, pictures[1])
    assert [each["uid"] for each in registry.list_assets(seed=2)] == [pictures[1]]

    report = run("facts", "refresh", "--json").document

    assert report["counts"] == {"read": 1, "current": 2, "nothing": 1, "failed": 0}
    assert [each["changed"] for each in report["items"]] == [["seed"]]
    check_seed(registry, pictures[1], 777, 2)
    assert {item.status for item in refresh(registry)} == {"current", "nothing"}


def test_an_older_version_that_comes_in_again_does_not_tell_of_the_present_one(
    registry: AssetRegistry, draw: Draw, pictures: list[str]
) -> None:
    """Who registers last month's file once more would turn back what is known of today's."""
    regenerate(registry, pictures[1], draw, 777)
    rebuild(registry)

    again = registry.register_file(draw(2, parameters=PARAMETERS.format(seed=2)), "characters")

    assert (again["uid"], again["duplicate"]) == (pictures[1], True)
    assert facts_of(registry, pictures[1])["facts"]["seed"] == "777"
    assert facts_of(registry, pictures[1])["told_by_version"] == 2
    assert [each["uid"] for each in registry.list_assets(seed=777)] == [pictures[1]]
    assert registry.list_assets(seed=2) == []


def test_facts_that_were_kept_stay_those_of_the_newest_version_that_tells(
    registry: AssetRegistry, draw: Draw, pictures: list[str]
) -> None:
    """Painted over after it was made anew, it would be told of the first of its pictures."""
    regenerate(registry, pictures[1], draw, 777)
    rebuild(registry)
    place = registry.resolve_path(pictures[1])
    assert place is not None
    repaint(place)
    rebuild(registry)

    registry.register_file(draw(2, parameters=PARAMETERS.format(seed=2)), "characters")
    list(refresh(registry, is_forced=True))

    told = facts_of(registry, pictures[1])
    assert (told["facts"]["seed"], told["told_by_version"], told["version"]) == ("777", 2, 3)
    assert [each["uid"] for each in registry.list_assets(seed=777)] == [pictures[1]]
    assert registry.list_assets(seed=2) == []


def test_a_seed_that_a_script_states_of_new_content_counts_before_kept_facts(
    registry: AssetRegistry, pictures: list[str]
) -> None:
    """Filters would find the painted picture by the seed of the one below it."""
    place = registry.resolve_path(pictures[1])
    assert place is not None
    repaint(place)

    registry.register_file(place, "characters", provenance={"source": "repaint.py", "seed": 99})

    assert [each["uid"] for each in registry.list_assets(seed=99)] == [pictures[1]]
    assert registry.list_assets(seed=2) == []


def test_of_a_picture_that_was_made_anew_the_new_graph_comes_out(
    registry: AssetRegistry, draw: Draw, tmp_path: Path
) -> None:
    """One would queue the graph of a picture that nobody has any more."""
    graphs = [{"3": {"class_type": "KSampler", "inputs": {"seed": seed}}} for seed in (2, 777)]
    first, second = (draw(number, prompt=json.dumps(graph)) for number, graph in enumerate(graphs, 2))
    uid = registry.register_file(first, "characters")["uid"]
    place = registry.resolve_path(uid)
    assert place is not None
    shutil.copyfile(second, place)

    rebuild(registry)

    assert json.loads(workflow_of(registry, uid)) == graphs[1]


@pytest.mark.parametrize("is_made", [True, False])
def test_a_source_that_somebody_stated_outlives_an_import(
    registry: AssetRegistry, draw: Draw, run: Run, is_made: bool
) -> None:
    """An adapter's name would stand where it said who painted it."""
    path = draw(4, **({"parameters": PARAMETERS.format(seed=4)} if is_made else {}))
    run("ingest", path, "--source", "painted by Ann")
    [asset] = registry.list_assets()

    for number, order in enumerate([("--adapter", "comfyui"), ()]):
        done = run("ingest", path.parent, *order, "--json")

        now = registry.get_asset(asset["uid"])
        assert done.code == 0
        assert now is not None
        assert now["provenance"]["source"] == "painted by Ann"  # type: ignore[index]
        rows = len(registry.list_provenance(asset["uid"]))
        sources = {row["source"] for row in registry.list_provenance(asset["uid"])}
        assert "comfyui" in sources
        run("ingest", path.parent, *order)
        assert len(registry.list_provenance(asset["uid"])) == rows, number
    registry.undo(registry.operations()[0]["operation"])
    after = registry.get_asset(asset["uid"])
    assert after is not None
    assert after["provenance"]["source"] == "painted by Ann"  # type: ignore[index]


def test_an_import_after_another_tells_its_own_source(registry: AssetRegistry, draw: Draw, run: Run) -> None:
    """What the newer adapter knows would be hidden behind a name that nobody has stated."""
    path = draw(4)
    run("ingest", path.parent, "--adapter", "folders")
    [asset] = registry.list_assets()

    run("ingest", path.parent, "--adapter", "comfyui")

    now = registry.get_asset(asset["uid"])
    assert now is not None
    assert now["provenance"]["source"] == "comfyui"  # type: ignore[index]


def test_without_the_ledger_a_rebuild_knows_it_all_again(
    registry: AssetRegistry, pictures: list[str], open_registry: Callable[..., AssetRegistry]
) -> None:
    """The database is no place for what exists only once."""
    before = [registry.get_asset(uid) for uid in pictures]
    facets = registry.facets()
    registry.wait_for_thumbnails()
    registry.close()
    shutil.rmtree("comfyvn")

    again = open_registry()
    rebuild(again)

    after = [again.get_asset(uid) for uid in pictures]
    assert [each and each["provenance"] for each in after] == [each and each["provenance"] for each in before]
    assert again.facets()["models"] == facets["models"]
    assert [each["uid"] for each in again.list_assets(seed="3")] == [pictures[2]]


def test_a_removed_picture_comes_back_with_what_made_it(registry: AssetRegistry, pictures: list[str]) -> None:
    """Else an undo would lose it from every filter."""
    registry.remove_asset(pictures[0])
    assert registry.facets()["models"] == [{"value": "anima_v2", "count": 2}]

    registry.restore_asset(pictures[0])

    assert registry.facets()["models"] == [{"value": "anima_v2", "count": 3}]


def test_assets_of_before_get_their_facts(registry: AssetRegistry, pictures: list[str], run: Run) -> None:
    """A library that was filled before comfyvn read such facts would stay without them."""
    forget(registry, pictures)
    assert registry.list_assets(seed=2) == []

    report = run("facts", "refresh", "--json")

    assert report.code == 0
    assert report.document["counts"] == {"read": 3, "current": 0, "nothing": 1, "failed": 0}
    assert [each["uid"] for each in registry.list_assets(seed=2)] == [pictures[1]]
    assert registry.facets()["models"] == [{"value": "anima_v2", "count": 3}]
    shared = registry.get_asset(pictures[0])["provenance"]["workflow_hash"]  # type: ignore[index]
    assert len(registry.list_assets(workflow=shared)) == 3
    sidecar = json.loads(Path("assets/characters/mara_00002_.png.asset.json").read_text())
    assert sidecar["provenance"]["inputs"]["generation"]["facts"]["seed"] == "2"
    assert {item.status for item in refresh(registry)} == {"current", "nothing"}


def forget(registry: AssetRegistry, uids: list[str]) -> None:
    """Make assets those that an older release registered: nothing of their making in ledger and sidecars."""
    with closing(sqlite3.connect(registry.db_path)) as ledger, ledger:
        ledger.execute("UPDATE assets_registry SET generation = NULL, seed = NULL")
        ledger.execute(
            "UPDATE provenance SET source = 'unspecified', workflow_hash = NULL, inputs_json = '{}'"
        )
    for uid in uids:
        path = registry.sidecar_path(uid)
        assert path is not None
        payload = json.loads(path.read_text())
        payload["provenance"].update(source="unspecified", workflow_hash=None, inputs={})
        path.write_text(json.dumps(payload, indent=2))
        registry.update_asset_meta(uid, {"touched": True})


def forget_newest(registry: AssetRegistry, uid: str) -> None:
    """Make the newest version of an asset one that came in when only registrations read facts."""
    registry.wait_for_thumbnails()
    path = registry.sidecar_path(uid)
    assert path is not None
    payload = json.loads(path.read_text())
    row = payload["provenance"]
    older = row["history"][0]["inputs"]["generation"]["facts"]
    del row["inputs"]["generation"]
    row.update(source="unspecified", workflow_hash=None)
    with closing(sqlite3.connect(registry.db_path)) as ledger, ledger:
        columns = "source = 'unspecified', workflow_hash = NULL, inputs_json = ?"
        ledger.execute(
            f"UPDATE provenance SET {columns} WHERE id = ?", (json.dumps(row["inputs"]), row["id"])
        )
        ledger.execute(
            "UPDATE assets_registry SET generation = ?, seed = ? WHERE uid = ?",
            (json.dumps({"facts": older}), older["seed"], uid),
        )
    path.write_text(json.dumps(payload, indent=2))
    registry.update_asset_meta(uid, {"touched": True})


def test_facts_are_read_again_from_what_was_kept(registry: AssetRegistry, pictures: list[str]) -> None:
    """A better reader must reach also what an editor has stripped from the file by now."""
    path = Path("assets") / registry.get_asset(pictures[1])["path"]  # type: ignore[index]
    repaint(path)
    rebuild(registry)

    [item] = refresh(registry, [pictures[1]], is_forced=True)

    assert (item.status, item.changed) in (("read", ()), ("current", ()))
    assert facts_of(registry, pictures[1])["facts"]["seed"] == "2"


def test_damaged_texts_of_a_workflow_are_no_others(
    registry: AssetRegistry, pictures: list[str], draw: Draw
) -> None:
    """A file that somebody edits below .comfyvn must not change what made a hundred pictures."""
    [kept] = list(WORKFLOWS.rglob("*.json"))
    kept.write_text("[]")
    registry.close()

    with closing(AssetRegistry(durability="off")) as again:
        uid = again.register_file(draw(4, parameters=PARAMETERS.format(seed=4)), "characters")["uid"]
        [item] = refresh(again, [uid], is_forced=True)
        assert item.status in ("read", "current")
        assert facts_of(again, uid)["facts"]["seed"] == "4"
        assert facts_of(again, pictures[0])["facts"]["seed"] == "1"


def test_the_command_tells_facts_of_assets_and_of_any_file(run: Run, pictures: list[str], draw: Draw) -> None:
    """One asks also of a file that somebody has just sent."""
    known = run("facts", "show", pictures[2])
    loose = run("facts", "show", draw(5, parameters=PARAMETERS.format(seed=5)), "--json")
    nothing, nowhere = run("facts", "show", pictures[3]), run("facts", "show", "nothing.png")

    assert known.code == 0
    assert "anima_v2" in known.out
    assert "from parameters" in known.out
    assert loose.document["facts"]["seed"] == "5"
    assert (nothing.code, nowhere.code) == (3, 3)
    assert "nothing in this file" in nothing.err
    assert "nothing.png" in nowhere.err


def test_people_read_facts_in_plain_lines(registry: AssetRegistry, draw: Draw, run: Run) -> None:
    """Brackets, quotes and empty lines of JSON are for programs."""
    parameters = PARAMETERS.format(seed=1).replace("at the window,", "at the window,\n\nalone,")
    uid = registry.register_file(draw(1, parameters=parameters), "characters")["uid"]

    told = run("facts", "show", uid).out

    assert "  models:           anima_v2, hash 0123abcd\n" in told
    assert "  loras:            mara_v3, weight 0.8\n" in told
    assert "  prompt:           mara at the window,\n" in told
    assert f"\n{'':<20}alone, <lora:mara_v3:0.8>\n{'':<22}from parameters prompt\n" in told
    assert not set('[]{}"') & set(told)
    assert "Kept" not in told


def test_a_prompt_has_no_empty_lines_at_its_end(draw: Draw, run: Run) -> None:
    """ComfyUI's text boxes are full of them."""
    graph = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "anima.safetensors"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "mara\n\n", "clip": ["1", 1]}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["1", 1]}},
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 48, "batch_size": 1}},
        "5": {
            "class_type": "KSampler",
            "inputs": dict(
                SAMPLED, model=["1", 0], positive=["2", 0], negative=["3", 0], latent_image=["4", 0]
            ),
        },
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
        "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "mara"}},
    }

    told = run("facts", "show", draw(1, prompt=json.dumps(graph))).out

    assert f"  prompt:           mara\n{'':<22}from prompt node 2" in told
    assert "anima.safetensors, kind checkpoint" in told
    assert "\n\n" not in told


def test_facts_that_only_the_library_has_are_said_to_be_kept(
    registry: AssetRegistry, pictures: list[str], run: Run
) -> None:
    """A maker would hand on a file that tells nothing, and believe that it does."""
    stripped, gone, whole = pictures[:3]
    repaint(Path("assets/characters/mara_00001_.png"))
    Path("assets/characters/mara_00002_.png").unlink()
    rebuild(registry, allow_missing=True)

    told = {uid: run("facts", "show", uid).out for uid in (stripped, gone, whole)}
    found = {uid: run("facts", "show", uid, "--json").document for uid in (stripped, gone, whole)}

    kept = "  Kept: the file in the library does not tell these facts."
    assert told[stripped].splitlines()[1] == f"{kept} They are of version 1, and the file is of version 2."
    assert told[gone].splitlines()[1] == "  Kept from it: the file can't be read now."
    assert "Kept" not in told[whole]
    assert [found[uid]["in_file"] for uid in (stripped, gone, whole)] == [False, None, True]
    assert (found[stripped]["told_by_version"], found[stripped]["version"]) == (1, 2)
    assert (found[whole]["told_by_version"], found[whole]["version"]) == (1, 1)


def test_what_a_script_stated_is_not_said_to_be_read(registry: AssetRegistry, draw: Draw, run: Run) -> None:
    """A guess of a script would pass for what the tool wrote; and it may state whatever JSON can hold."""
    facts = {"negative_prompt": "", "vae": None, "passes": [], "tiled": True, "grid": {"size": [2, 3]}}
    said = {"inputs": {"generation": {"facts": facts}}}
    uid = registry.register_file(draw(1), "characters", provenance=said)["uid"]

    told = run("facts", "show", uid)

    assert told.code == 0
    assert told.out.splitlines()[1:] == [
        "  Stated when it was registered, and not read from the file.",
        "  negative_prompt:  (empty)",
        "  vae:              unknown",
        "  passes:           (empty)",
        "  tiled:            yes",
        "  grid:             size 2, 3",
    ]


def test_why_a_file_has_no_marker_is_what_is_known(
    registry: AssetRegistry, pictures: list[str], draw: Draw, run: Run
) -> None:
    """Who looks for the editor that strips files would be told that comfyvn never wrote to this one."""
    repaint(Path("assets/characters/mara_00001_.png"))
    rebuild(registry)
    shutil.copy(draw(8), "assets/characters/mine.png")
    registry.register_file("assets/characters/mine.png", "characters", copy_file=False)

    stripped, in_place = run("show", pictures[0]).out, run("show", "characters/mine.png").out

    assert re.search(r"^marker in file +no: it was last saved without one$", stripped, re.MULTILINE)
    assert re.search(r"^marker in file +no: it was registered where it lies, ", in_place, re.MULTILINE)


UNKNOWN = [
    (["--workflow", "zz"], "No asset came of the workflow 'zz'. Name it by all of its hash, or by eight"),
    (
        ["--model", "anima_v3.safetensors"],
        "was made with the model 'anima_v3.safetensors'. There is 'anima_v2'.",
    ),
    (["--lora", "mara"], "No asset was made with the LoRA 'mara'. There is 'mara_v3'."),
    (["--sampler", "zzzz"], "the sampler 'zzzz'. `comfyvn facets` lists those in use."),
    (["--tool", "automatic"], "There is 'Automatic1111'."),
    (["--seed", "22"], "No asset was made from the seed 22. `comfyvn facts show UID` tells that"),
    (["--descends-from", "feedfeedfeedfeed"], "No asset has this uid: `comfyvn list` shows them."),
    (["--tag", "mara"], "No asset has the tag 'mara'."),
    (["--type", "character"], "No asset has the type 'character'. There is 'characters'."),
]


@pytest.mark.parametrize(("options", "said"), UNKNOWN, ids=lambda each: " ".join(each)[:30])
def test_a_value_that_no_asset_has_is_named(
    options: list[str], said: str, pictures: list[str], run: Run
) -> None:
    """A slip of the finger looks like a library without such pictures."""
    person, program = run("list", *options), run("list", "--json", *options)
    counted = run("facets", *options)

    assert said in person.err
    assert person.err == program.err == counted.err
    assert len(person.err.splitlines()) == 1
    assert (person.code, program.code, counted.code) == (0, 0, 0)
    assert program.document == {"items": []}


def test_values_that_only_never_meet_are_not_named(pictures: list[str], run: Run) -> None:
    """Each of them is spelled right, and the answer is that there is nothing."""
    nothing = run("list", "--model", "anima_v2", "--not-type", "characters")
    something = run("list", "--model", "anima_v2", "--model", "ANIMA_V2.ckpt")
    childless = run("list", "--descends-from", pictures[0])

    assert (nothing.err, something.err) == ("", "")
    assert nothing.out == "0 assets\n"
    assert f"`comfyvn lineage {pictures[0]}` shows its lineage" in childless.err


def test_a_condition_that_there_is_not_names_the_method_and_those_that_there_are(
    registry: AssetRegistry, pictures: list[str]
) -> None:
    """A script's author would look for a function of ours that he never called."""
    wrong: dict[str, Any] = {"lora": "mara_v3"}
    methods: list[Callable[..., Any]] = [
        registry.list_assets,
        registry.count_assets,
        registry.iter_ids,
        registry.facets,
        lambda **given: list(registry.iter_assets(**given)),
    ]

    for name, method in zip(
        ("list_assets", "count_assets", "iter_ids", "facets", "iter_assets"), methods, strict=True
    ):
        with pytest.raises(
            TypeError, match=rf"^{name}\(\): there is no condition 'lora'; there are asset_type, .*loras"
        ):
            method(**wrong)


def test_who_asks_for_what_is_not_there_is_told(registry: AssetRegistry, pictures: list[str]) -> None:
    """An empty answer would pass for a picture that was drawn by hand."""
    with pytest.raises(GraphMissing):
        workflow_of(registry, pictures[0])
    with pytest.raises(FactsMissing):
        facts_of(registry, pictures[3])
    with pytest.raises(AssetNotFound):
        facts_of(registry, "0" * 16)


def test_a_workflow_comes_out_as_comfyui_opens_it(
    registry: AssetRegistry, draw: Draw, run: Run, tmp_path: Path
) -> None:
    """The graph is wanted most when the picture's own copy is gone."""
    workflow = {"nodes": [{"id": 3, "type": "SaveImage"}], "links": [], "version": 0.4}
    prompt = {"3": {"class_type": "SaveImage", "inputs": {"filename_prefix": "mara"}}}
    texts = {"workflow": json.dumps(workflow), "prompt": json.dumps(prompt)}
    uid = registry.register_file(draw(1, **texts), "characters")["uid"]
    path = Path("assets") / registry.get_asset(uid)["path"]  # type: ignore[index]
    repaint(path)
    rebuild(registry)
    target = tmp_path / "w.json"

    answer = run("workflow", "extract", uid, "-o", target)
    again = run("workflow", "extract", uid, "-o", target)

    assert answer.code == 0
    assert json.loads(target.read_text()) == workflow
    assert json.loads(run("workflow", "extract", path, "--prompt").out) == prompt
    assert again.code == 4
    assert "choose another name" in again.err


def test_an_edited_copy_is_linked_to_what_it_was_made_from(
    registry: AssetRegistry, draw: Draw, tmp_path: Path
) -> None:
    """Our marker survives most editors: who painted over a copy need not say of what."""
    uid = registry.register_file(draw(1), "characters")["uid"]
    edited = tmp_path / "painted.png"
    with Image.open(Path("assets/characters/mara_00001_.png")) as image:
        info = PngInfo()
        info.add_text("comfyvn_provenance", image.info["comfyvn_provenance"])
        image.convert("L").save(edited, pnginfo=info)

    child = registry.register_file(edited, "characters")["uid"]

    [edge] = registry.lineage(child)["edges"]
    assert edge == {"child": child, "parent": uid, "kind": "edit", "certainty": "certain", "found": "marker"}


def test_a_copy_of_a_registered_file_is_no_child_of_its_own(
    registry: AssetRegistry, draw: Draw, tmp_path: Path
) -> None:
    """It is the same asset, whatever is called."""
    uid = registry.register_file(draw(1), "characters")["uid"]
    shutil.copy("assets/characters/mara_00001_.png", tmp_path / "copy.png")

    again = registry.register_file(tmp_path / "copy.png", "characters")

    assert again["uid"] == uid
    assert registry.lineage(uid)["edges"] == []


@pytest.mark.parametrize(("named", "expected"), [(1, ["likely"]), (2, [])])
def test_an_input_image_is_proposed_where_only_one_asset_has_its_name(
    registry: AssetRegistry, draw: Draw, named: int, expected: list[str]
) -> None:
    """Two sketches of one name: a guess would be wrong every second time."""
    for number in range(named):
        registry.register_file(draw(number, "sketch.png"), f"sketches{number}")
    graph = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "anima.safetensors"}},
        "2": {"class_type": "LoadImage", "inputs": {"image": "sketch.png"}},
        "3": {"class_type": "VAEEncode", "inputs": {"pixels": ["2", 0], "vae": ["1", 2]}},
        "4": {"class_type": "CLIPTextEncode", "inputs": {"text": "mara", "clip": ["1", 1]}},
        "5": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["1", 1]}},
        "6": {
            "class_type": "KSampler",
            "inputs": dict(SAMPLED, model=["1", 0], latent_image=["3", 0]),
        },
        "7": {"class_type": "VAEDecode", "inputs": {"samples": ["6", 0], "vae": ["1", 2]}},
        "8": {"class_type": "SaveImage", "inputs": {"images": ["7", 0], "filename_prefix": "mara"}},
    }

    child = registry.register_file(draw(9, prompt=json.dumps(graph)), "characters")["uid"]

    edges = registry.lineage(child)["edges"]
    assert [edge["certainty"] for edge in edges] == expected
    assert facts_of(registry, child)["facts"]["input_images"][0]["role"] == "img2img"
    assert all((edge["kind"], edge["found"]) == ("img2img", "graph-name") for edge in edges)


def test_a_parent_that_comes_in_later_is_found(registry: AssetRegistry, draw: Draw) -> None:
    """A folder is taken in by name: half of the children come before their sketches."""
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "sketch.png"}},
        "2": {"class_type": "VAEEncode", "inputs": {"pixels": ["1", 0], "vae": ["3", 2]}},
        "3": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "anima.safetensors"}},
        "4": {"class_type": "CLIPTextEncode", "inputs": {"text": "mara", "clip": ["3", 1]}},
        "5": {
            "class_type": "KSampler",
            "inputs": dict(SAMPLED, model=["3", 0], latent_image=["2", 0], negative=["4", 0]),
        },
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["3", 2]}},
        "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "mara"}},
    }
    child = registry.register_file(draw(9, prompt=json.dumps(graph)), "characters")["uid"]
    parent = registry.register_file(draw(1, "sketch.png"), "sketches")["uid"]
    assert registry.lineage(child)["edges"] == []

    [item] = refresh(registry, [child])
    again = list(refresh(registry))

    assert (item.status, item.changed) == ("read", ("parents",))
    assert [edge["parent"] for edge in registry.lineage(child)["edges"]] == [parent]
    assert {each.status for each in again} == {"current", "nothing"}


def test_what_a_script_said_of_the_making_is_not_read_again(registry: AssetRegistry, draw: Draw) -> None:
    """It is the word of somebody, and not our reader's."""
    said = {"inputs": {"generation": {"facts": {"seed": "99"}}}}
    uid = registry.register_file(
        draw(1, parameters=PARAMETERS.format(seed=1)), "characters", provenance=said
    )["uid"]

    [item] = refresh(registry, [uid], is_forced=True)

    assert item.status == "current"
    assert facts_of(registry, uid)["facts"] == {"seed": "99"}


def test_half_characters_in_a_graph_cost_nobody_anything(registry: AssetRegistry, draw: Draw) -> None:
    """A text that no JSON may hold would stop the whole folder that it came with."""
    graphs = [
        '{"1": {"class_type": "SaveImage", "inputs": {"filename_prefix": "a\\ud800"}}}',
        '{"\\ud800": {"class_type": "\\udfff", "inputs": {"seed": 5, "text": "\\ud800"}}}',
    ]
    files = [draw(number, prompt=graph) for number, graph in enumerate(graphs, 1)]

    results = list(registry.register_many({"source_path": each, "asset_type": "art"} for each in files))
    rebuild(registry)

    assert [result["status"] for result in results] == ["registered", "registered"]
    for result, graph in zip(results, graphs, strict=True):
        assert result["asset"] is not None
        assert registry.read_sidecar(result["asset"]["uid"])["uid"] == result["asset"]["uid"]
        assert json.loads(workflow_of(registry, result["asset"]["uid"])) == json.loads(graph)


@pytest.mark.parametrize("place", ["a file", "a link that leads out"])
def test_a_place_for_texts_that_takes_none_costs_no_asset(
    registry: AssetRegistry, draw: Draw, tmp_path: Path, place: str
) -> None:
    """The file has its texts still: to refuse it would lose more."""
    outside = tmp_path / "outside"
    outside.mkdir()
    registry.register_file(draw(8), "art")
    if place == "a file":
        WORKFLOWS.write_text("mine")
    else:
        WORKFLOWS.symlink_to(outside)

    uid = registry.register_file(draw(1, parameters=PARAMETERS.format(seed=1)), "art")["uid"]
    [item] = refresh(registry, [uid], is_forced=True)

    assert facts_of(registry, uid)["facts"]["seed"] == "1"
    assert item.status in ("read", "current")
    assert list(outside.iterdir()) == []


def test_texts_are_kept_anew_where_somebody_has_deleted_them(
    registry: AssetRegistry, pictures: list[str], draw: Draw
) -> None:
    """A running program would keep the changes of what is gone, and with them nothing."""
    shutil.rmtree(WORKFLOWS)

    uid = registry.register_file(draw(4, parameters=PARAMETERS.format(seed=4)), "characters")["uid"]

    path = registry.resolve_path(uid)
    assert path is not None
    repaint(path)
    rebuild(registry)
    [item] = refresh(registry, [uid], is_forced=True)
    assert item.status == "current"
    assert len(list(WORKFLOWS.rglob("*.json"))) == 1
