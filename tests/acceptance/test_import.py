"""`comfyvn ingest --adapter`: what other programs know of their files comes along."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comfyvn.errors import ImportFailed
from comfyvn.importers import ImportAdapter, ImportContext, ImportItem, ImportSkip
from comfyvn.registry.ingest import Selection, ingest, plan
from comfyvn.studio.core import AssetRecord, AssetRegistry
from importing import card
from outputs import PARAMETERS, draw, write_a1111_outputs, write_comfyui_output
from strange_importers import install
from support import Answer

Run = Callable[..., Answer]
needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of POSIX")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYVN_DURABILITY", "off")


@pytest.fixture
def strange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Install the stranger's adapter, and write files that tell it what to do; return their folder."""
    monkeypatch.syspath_prepend(str(install(tmp_path / "site")))

    def write(*whats: str) -> Path:
        folder = tmp_path / "strange"
        folder.mkdir(exist_ok=True)
        for number, what in enumerate(whats):
            (folder / f"{number}-{what}.txt").write_text(f"STRANGE {what} {number}")
        return folder

    return write


def records() -> dict[str, AssetRecord]:
    with AssetRegistry() as registry:
        return {record["path"]: registry.get_asset(record["uid"]) for record in registry.list_assets()}  # type: ignore[misc]


def tags() -> dict[str, list[str]]:
    return {path: record["tags"] for path, record in records().items()}


def items(answer: Answer) -> dict[str, dict[str, Any]]:
    return {Path(item["file"]).name: item for item in answer.document["items"]}


# -- looking first ----------------------------------------------------------------------------------------


def test_a_dry_run_tells_of_each_file_what_would_be_recorded_and_writes_nothing(
    run: Run, project: Path, tmp_path: Path
) -> None:
    """A maker would find out what an adapter makes of ten thousand files when it is done."""
    output = write_comfyui_output(tmp_path / "output")
    draw(output / "twin_00001_.png", 3)

    answer = run("ingest", output, "--adapter", "comfyui", "--tag", "new", "--dry-run", "--json")

    found = items(answer)
    assert answer.code == 0, answer.err
    smile = found["mara_smile_00001_.png"]
    assert (smile["status"], smile["type"], smile["path"]) == (
        "new",
        "characters",
        "characters/mara/mara_smile_00001_.png",
    )
    assert smile["tags"] == ["mara", "mara_smile", "new"]
    assert smile["provenance"] == {
        "source": "comfyui",
        "inputs": {"file": "characters/mara/mara_smile_00001_.png"},
    }
    assert "license" not in smile
    twin = found["twin_00001_.png"]
    assert (twin["status"], twin["duplicate_of"]) == ("known", smile["path"])
    assert found["ComfyUI_temp_abcde_00001_.png"]["status"] == "skipped"
    assert found["ComfyUI_00001_.latent"]["status"] == "skipped"
    assert answer.document["counts"] == {"new": 4, "known": 1, "skipped": 3}
    assert list(project.iterdir()) == []


def test_a_dry_run_knows_what_the_library_has_and_reads_what_made_a_file(
    run: Run, project: Path, tmp_path: Path
) -> None:
    """The plan would promise new assets where there are none, or hide the seed that it will record."""
    outputs = write_a1111_outputs(tmp_path / "outputs")
    run("ingest", outputs / "txt2img-images" / "2026-11-23" / "00000-4241.png", "--type", "keepers")

    answer = run("ingest", outputs, "--adapter", "a1111", "--license", "CC0-1.0", "--dry-run", "--json")

    known, beside = items(answer)["00000-4241.png"], items(answer)["00001-4242.jpg"]
    assert (known["status"], known["duplicate_of"]) == ("known", "keepers/00000-4241.png")
    assert known["provenance"]["inputs"]["generation"]["facts"]["seed"] == "4241"
    assert beside["provenance"]["inputs"]["generation"]["facts"]["seed"] == "4242"
    assert beside["license"] == "CC0-1.0"
    assert list(records()) == ["keepers/00000-4241.png"]


def test_people_read_the_plan_in_lines(run: Run, tmp_path: Path) -> None:
    """The words for people would lack what the JSON has."""
    outputs = write_a1111_outputs(tmp_path / "outputs")
    draw(outputs / "copy.png", 3)

    answer = run("ingest", outputs, "--adapter", "a1111", "--dry-run")

    assert answer.code == 0
    assert "type images, licence none, tags txt2img" in answer.out
    assert "source a1111, made by Automatic1111, model harbour_v2, seed 4241" in answer.out
    assert "the same content as images/copy.png" in answer.out
    assert "a grid of pictures" in answer.err


def test_a_plan_tells_the_places_that_files_of_one_name_then_get(run: Run, tmp_path: Path) -> None:
    """Two files would seem to become one."""
    game = tmp_path / "game"
    draw(game / "images" / "bg" / "sea.png", 1)
    draw(game / "images" / "backgrounds" / "Sea.png", 2)
    draw(game / "tl" / "french" / "images" / "bg" / "sea.png", 3)

    planned = run("ingest", game, "--adapter", "renpy", "--dry-run", "--json")
    taken = run("ingest", game, "--adapter", "renpy", "--json")

    places = [[item["path"] for item in answer.document["items"]] for answer in (planned, taken)]
    assert places[0] == places[1]
    assert len({place.casefold() for place in places[0]}) == 3


# -- our adapters -------------------------------------------------------------------------------------------


@pytest.mark.art
def test_a_real_game_comes_in_with_its_characters_and_music(run: Run, art: Path) -> None:
    """A maker would tag two hundred sprites by hand though their names say it all."""
    game = art / "renpy-thequestion/usr/share/games/renpy/the_question"

    answer = run("ingest", game, "--adapter", "renpy", "--license", "MIT", "--json")
    found = records()

    assert answer.code == 0, answer.err
    assert found["characters/sylvie green smile.png"]["tags"] == ["sylvie", "green", "smile"]
    assert found["backgrounds/bg club.jpg"]["tags"] == ["club"]
    assert found["music/illurock.opus"]["type"] == "music"
    assert {record["license"] for record in found.values()} == {"MIT"}
    provenance = found["characters/sylvie green smile.png"]["provenance"]
    assert provenance is not None
    assert provenance["source"] == "renpy"
    assert provenance["inputs"]["game"] == "The Question"
    assert len(found) == 13


@pytest.mark.art
def test_taking_in_a_game_again_changes_nothing(run: Run, art: Path) -> None:
    """Each run would add provenance rows, or copies."""
    images = art / "renpy-thequestion/usr/share/games/renpy/the_question/game/images"
    run("ingest", images, "--adapter", "renpy")
    with AssetRegistry() as registry:
        position = registry.journal_position()

    answer = run("ingest", images, "--adapter", "renpy", "--json")

    assert answer.document["counts"] == {"known": 12}
    with AssetRegistry() as registry:
        assert registry.journal_position() == position


def test_folders_are_described_by_rules_of_the_settings_file(run: Run, project: Path, tmp_path: Path) -> None:
    """A folder of somebody's own order could only be taken in by moving its files."""
    art = tmp_path / "art"
    draw(art / "sprites" / "mara" / "smile.png", 1)
    draw(art / "places" / "harbour.png", 2)
    draw(art / "places" / "drafts" / "harbour.png", 3)
    (project / "comfyvn.toml").write_text(
        """
        [[importers.folders.rules]]
        match = "**"
        license = "CC-BY-4.0"
        metadata = { artist = "J. Doe" }

        [[importers.folders.rules]]
        match = "sprites/{who}/{mood}.png"
        type = "characters"
        tags = ["{who}", "{mood}"]

        [[importers.folders.rules]]
        match = "**/drafts/**"
        skip = true
        """,
        "utf-8",
    )

    answer = run("ingest", art, "--adapter", "folders", "--json")
    found = records()

    assert answer.code == 0, answer.err
    assert sorted(found) == ["characters/sprites/mara/smile.png", "places/harbour.png"]
    smile = found["characters/sprites/mara/smile.png"]
    assert (smile["type"], smile["tags"], smile["license"]) == ("characters", ["mara", "smile"], "CC-BY-4.0")
    assert smile["meta"]["artist"] == "J. Doe"
    assert items(answer)["harbour.png"]["status"] in ("registered", "skipped")
    assert answer.document["counts"] == {"registered": 2, "skipped": 1}


def test_a_licence_that_somebody_has_set_stays(run: Run, project: Path, tmp_path: Path) -> None:
    """A rule is for all files of a folder; who set another licence for one of them has looked at it."""
    rule = '[[importers.folders.rules]]\nmatch = "**"\ntype = "props"\nlicense = "CC0-1.0"\n'
    (project / "comfyvn.toml").write_text(rule)
    source = tmp_path / "props"
    draw(source / "lamp.png", 1)
    draw(source / "door.png", 2)
    run("ingest", source, "--adapter", "folders")
    run("tag", "assets/props/lamp.png", "--license", "CC-BY-4.0")
    run("tag", "assets/props/door.png", "--license", "")

    run("ingest", source, "--adapter", "folders")
    kept = {path: record["license"] for path, record in records().items()}
    run("ingest", source, "--adapter", "folders", "--license", "MIT")

    assert kept == {"props/lamp.png": "CC-BY-4.0", "props/door.png": "CC0-1.0"}
    assert {record["license"] for record in records().values()} == {"MIT"}


def test_files_that_no_rule_matches_can_be_left_out(run: Run, project: Path, tmp_path: Path) -> None:
    """A download folder would come in as a whole."""
    draw(tmp_path / "art" / "mara.png", 1)
    (tmp_path / "art" / "letter.odt").write_text("Dear reader")
    (project / "comfyvn.toml").write_text('[importers.folders]\nrules = [{match = "*.png"}]\n', "utf-8")

    plain = run("ingest", tmp_path / "art", "--adapter", "folders", "--dry-run", "--json")
    strict = run(
        "ingest", tmp_path / "art", "--adapter", "folders", "--set", "unmatched=skip", "--dry-run", "--json"
    )

    assert plain.document["counts"] == {"new": 2}
    assert items(plain)["letter.odt"]["path"] == "art/letter.odt"
    assert strict.document["counts"] == {"skipped": 1, "new": 1}


def test_an_output_folder_of_comfyui_becomes_types_and_tags(run: Run, tmp_path: Path) -> None:
    """Previews would be registered, or dates be types."""
    write_comfyui_output(tmp_path / "output")

    answer = run("ingest", tmp_path / "output", "--adapter", "comfyui")

    assert answer.code == 0, answer.err
    assert tags() == {
        "images/ComfyUI_00001_.png": [],
        "images/2026-11-23/ComfyUI_00002_.png": [],
        "characters/mara/mara_smile_00001_.png": ["mara", "mara_smile"],
        "backgrounds/harbour_00007_.webp": ["harbour"],
    }


def test_the_folder_of_comfyui_itself_stands_for_its_output(run: Run, tmp_path: Path) -> None:
    """Models and inputs would be registered as assets."""
    write_comfyui_output(tmp_path / "ComfyUI" / "output")
    draw(tmp_path / "ComfyUI" / "input" / "example.png", 9)
    (tmp_path / "ComfyUI" / "models").mkdir()

    run("ingest", tmp_path / "ComfyUI", "--adapter", "comfyui")

    assert len(records()) == 4


@needs_posix
def test_a_name_that_can_be_no_tag_costs_the_tag_and_not_the_file(run: Run, tmp_path: Path) -> None:
    """A finished picture would stay out because of what we guess from its name."""
    output = os.fsencode(tmp_path / "output")
    content = [draw(tmp_path / "x.png", seed).read_bytes() for seed in range(2)]
    names = [b"mara\nsmile_00001_.png"] + ([b"\xff\xfe_00001_.png"] if sys.platform == "linux" else [])
    Path(os.fsdecode(output)).mkdir()
    for name, data in zip(names, content, strict=False):
        Path(os.fsdecode(output + b"/" + name)).write_bytes(data)

    answer = run("ingest", tmp_path / "output", "--adapter", "comfyui")

    assert answer.code == 0, answer.err
    told = {str(record["provenance"]["inputs"]["file"]): record["tags"] for record in records().values()}  # type: ignore[index]
    wanted = {"mara\nsmile_00001_.png": ["mara smile"], "\\udcff\\udcfe_00001_.png": []}
    assert told == dict(list(wanted.items())[: len(names)])


def test_a_plan_tells_the_type_as_it_then_is(run: Run, tmp_path: Path) -> None:
    """The name of a folder may end in a blank, which no type does."""
    draw(tmp_path / "output" / "mara " / "a_00001_.png", 1)

    planned = run("ingest", tmp_path / "output", "--adapter", "comfyui", "--dry-run", "--json")
    run("ingest", tmp_path / "output", "--adapter", "comfyui")

    assert [record["type"] for record in records().values()] == ["mara"]
    assert items(planned)["a_00001_.png"]["type"] == "mara"


def test_rules_of_comfyui_overrule_what_folders_say(run: Run, project: Path, tmp_path: Path) -> None:
    """Prefixes could not be mapped to the tags of a project."""
    write_comfyui_output(tmp_path / "output")
    (project / "comfyvn.toml").write_text(
        '[importers.comfyui]\nprefix_tags = false\nrules = [{match = "**/{who}_smile_*", type = "sprites", '
        'tags = ["{who}", "smile"], license = "CC0-1.0"}]\n',
        "utf-8",
    )

    run("ingest", tmp_path / "output", "--adapter", "comfyui")

    smile = records()["sprites/characters/mara/mara_smile_00001_.png"]
    assert (smile["tags"], smile["license"]) == (["mara", "smile"], "CC0-1.0")


def test_a_file_that_is_still_written_is_not_taken_in_half(run: Run, tmp_path: Path) -> None:
    """Half a picture would be registered, and the whole one beside it later."""
    whole = draw(tmp_path / "whole.png", 1).read_bytes()
    half = tmp_path / "output" / "ComfyUI_00001_.png"
    half.parent.mkdir()
    half.write_bytes(whole[: len(whole) // 2])

    first = run("ingest", half.parent, "--adapter", "comfyui")
    half.write_bytes(whole)
    second = run("ingest", half.parent, "--adapter", "comfyui")

    assert (first.code, second.code) == (1, 0)
    assert "its end is missing" in first.err
    assert list(records()) == ["images/ComfyUI_00001_.png"]


def test_parameters_beside_a_picture_count_where_it_has_none(run: Run, tmp_path: Path) -> None:
    """What JPEG files of the web UI were made with would be lost, or a picture's own word overruled."""
    outputs = write_a1111_outputs(tmp_path / "outputs")
    day = outputs / "txt2img-images" / "2026-11-23"
    (day / "00000-4241.txt").write_text(PARAMETERS.replace("4242", "666"), "utf-8")

    answer = run("ingest", outputs, "--adapter", "a1111")
    found = records()

    assert answer.code == 0, answer.err
    seeds = {}
    for path, record in found.items():
        assert record["provenance"] is not None
        told = record["provenance"]["inputs"].get("generation")
        seeds[path.rpartition("/")[2]] = told and told["facts"]["seed"]
    assert seeds == {"00000-4241.png": "4241", "00001-4242.jpg": "4242", "00000-7.png": None}
    assert tags() == {
        "images/txt2img-images/2026-11-23/00000-4241.png": ["txt2img"],
        "images/txt2img-images/2026-11-23/00001-4242.jpg": ["txt2img"],
        "images/img2img-images/2026-11-23/00000-7.png": ["img2img"],
    }


def test_parameters_beside_a_picture_are_kept_as_if_they_were_inside(run: Run, tmp_path: Path) -> None:
    """A better reader could not read them again, and a second run would add another provenance."""
    outputs = write_a1111_outputs(tmp_path / "outputs")
    run("ingest", outputs, "--adapter", "a1111")
    path = "images/txt2img-images/2026-11-23/00001-4242.jpg"
    (outputs / "txt2img-images" / "2026-11-23" / "00001-4242.txt").unlink()

    with AssetRegistry() as registry:
        (record,) = (each for each in registry.list_assets() if each["path"] == path)
        rows = registry.list_provenance(record["uid"])
    answer = run("facts", "refresh", "--all", "--json")

    assert len(rows) == 1
    assert answer.code == 0, answer.err
    told = records()[path]["provenance"]
    assert told is not None
    assert told["inputs"]["generation"]["facts"]["seed"] == "4242"


def test_the_folder_that_a_picture_lay_in_says_nothing_of_what_made_it(run: Run, tmp_path: Path) -> None:
    """What somebody painted and saved into ComfyUI's folder would count as made by it, all by one graph."""
    graph = {
        "3": {
            "class_type": "KSampler",
            "inputs": {"seed": 5, "steps": 20, "cfg": 7, "latent_image": ["4", 0]},
        },
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 48, "batch_size": 1}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0]}},
        "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "made", "images": ["8", 0]}},
    }
    output = tmp_path / "output"
    draw(output / "made_00001_.png", 1, {"prompt": json.dumps(graph)})
    draw(output / "painted.png", 2)
    draw(output / "drawn.png", 3)

    run("ingest", output, "--adapter", "comfyui")

    found = records()
    made, painted, drawn = (
        found[f"images/{name}.png"]["provenance"] for name in ("made_00001_", "painted", "drawn")
    )
    assert made is not None
    assert painted is not None
    assert drawn is not None
    assert {row["source"] for row in (made, painted, drawn)} == {"comfyui"}
    assert made["inputs"]["generation"]["tool"] == "ComfyUI"
    assert painted["inputs"]["file"] == "painted.png"
    assert "generation" not in painted["inputs"]
    assert painted["workflow_hash"] != drawn["workflow_hash"]
    listed = run("list", "--tool", "ComfyUI", "--json").document["items"]
    assert [record["path"] for record in listed] == ["images/made_00001_.png"]
    assert run("facts", "show", "images/painted.png").code != 0


def test_grids_are_taken_in_if_asked_for(run: Run, tmp_path: Path) -> None:
    """A setting would have no effect."""
    outputs = write_a1111_outputs(tmp_path / "webui" / "outputs")

    run("ingest", outputs.parent, "--adapter", "a1111", "--set", "grids=true")

    assert tags()["images/txt2img-grids/2026-11-23/grid-0000.png"] == ["txt2img", "grid"]


def test_what_is_stated_counts_before_what_the_adapter_says(run: Run, tmp_path: Path) -> None:
    """Options of the command would be overruled in silence."""
    write_comfyui_output(tmp_path / "output")

    run(
        *("ingest", tmp_path / "output", "--adapter", "comfyui", "--type", "drafts", "--tag", "v2"),
        *("--license", "CC0-1.0", "--source", "the new machine", "--exclude", "*.webp"),
    )

    found = records()
    assert {record["type"] for record in found.values()} == {"drafts"}
    assert all("v2" in record["tags"] and record["license"] == "CC0-1.0" for record in found.values())
    assert {record["provenance"] and record["provenance"]["source"] for record in found.values()} == {
        "the new machine"
    }
    assert len(found) == 3


# -- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "code", "why"),
    [
        (["--adapter", "painter"], 2, "No import adapter is called 'painter'. There are: a1111, comfyui"),
        (["--adapter", "comfyui", "--set", "grids=true"], 2, "no such setting; there are rules, prefix_tags"),
        (["--adapter", "a1111", "--set", "grids=perhaps"], 2, "(from --set): it must be true or false"),
        (["--adapter", "a1111", "--set", "grids"], 2, "must be KEY=VALUE"),
        (["--adapter", "renpy"], 4, "no Ren'Py game"),
        (["--adapter", "comfyui", "--in-place"], 2, "don't go together"),
        (["--adapter", "comfyui", "--watch", "--dry-run"], 2, "don't go together"),
        (["--adapter", "renpy", "--watch"], 4, "no Ren'Py game"),
        (["--set", "grids=true"], 2, "--set needs --adapter"),
        (["--watch"], 2, "--watch needs --adapter"),
        (["--adapter", "comfyui", "--polling"], 2, "--polling needs --watch"),
    ],
)
def test_what_can_not_be_done_is_refused_before_a_library_is_made(
    options: list[str], code: int, why: str, run: Run, project: Path, tmp_path: Path
) -> None:
    """A typing error would leave an empty library behind, or be ignored in silence."""
    draw(tmp_path / "output" / "a.png", 1)

    answer = run("ingest", tmp_path / "output", *options)

    assert answer.code == code
    assert why in answer.err
    assert list(project.iterdir()) == []


def test_a_setting_that_is_wrong_names_file_and_key(run: Run, project: Path, tmp_path: Path) -> None:
    """A user would not know where to mend it."""
    draw(tmp_path / "art" / "a.png", 1)
    (project / "comfyvn.toml").write_text(
        '[[importers.folders.rules]]\nmatch = "{who}.png"\ntags = ["{mood}"]\n', "utf-8"
    )

    answer = run("ingest", tmp_path / "art", "--adapter", "folders")

    assert answer.code == 2
    assert "importers.folders.rules" in answer.err
    assert "(from comfyvn.toml)" in answer.err
    assert "rule 1" in answer.err
    assert "{mood}, which the pattern does not have" in answer.err


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ('[[importers.comfyu.rules]]\nmatch = "**"\n', "table [importers.comfyu] is for no import adapter"),
        ('[[importers.comfyu.rules]]\nmatch = "**"\n', "(did you mean comfyui?)"),
        ("[importers.Folder]\nunmatched = 'skip'\n", "(did you mean folders?)"),
        (
            "[importers.comfyui]\nprefix_tag = false\n",
            "(did you mean prefix_tags?); there are rules, prefix_tags",
        ),
        ('[[importers.comfyui.rule]]\nmatch = "**"\n', "(did you mean rules?)"),
        ('[[importer.comfyui.rules]]\nmatch = "**"\n', "(did you mean importers?)"),
    ],
)
def test_a_slip_in_a_name_of_the_settings_is_refused(
    settings: str, why: str, run: Run, project: Path, tmp_path: Path
) -> None:
    """Thousands of files would come in without the rules that were written for them, in silence."""
    draw(tmp_path / "output" / "a.png", 1)
    (project / "comfyvn.toml").write_text(settings, "utf-8")

    answer = run("ingest", tmp_path / "output", "--adapter", "comfyui")

    assert answer.code == 2
    assert why in answer.err
    assert [path.name for path in project.iterdir()] == ["comfyvn.toml"]


def test_settings_of_an_adapter_that_is_not_here_are_told_once(
    run: Run, project: Path, tmp_path: Path
) -> None:
    """A name too far from any would be ignored in silence, or a plug-in of another machine stop an import."""
    draw(tmp_path / "output" / "a.png", 1)
    (project / "comfyvn.toml").write_text("[importers.sculptor]\nclay = 3\n", "utf-8")

    answer = run("ingest", tmp_path / "output", "--adapter", "comfyui")

    assert answer.code == 0, answer.err
    assert answer.err.count("[importers.sculptor] is for no import adapter that is installed here;") == 1


def test_an_adapter_that_can_not_watch_says_so(run: Run, registry: AssetRegistry, tmp_path: Path) -> None:
    """A user would wait for pictures that never come."""
    (tmp_path / "game" / "images").mkdir(parents=True)

    answer = run("ingest", tmp_path, "--adapter", "renpy", "--watch")

    assert answer.code == 4
    assert "can't be watched" in answer.err


def test_the_library_is_not_taken_into_itself(run: Run, project: Path) -> None:
    """A watched folder that holds the project would register its own copies, over and over."""
    draw(project / "ComfyUI_00001_.png", 1)
    first = run("ingest", project, "--adapter", "comfyui", "--json")

    second = run("ingest", project, "--adapter", "comfyui", "--json")
    inside = run("ingest", project / "assets", "--adapter", "comfyui")

    assert first.document["counts"]["registered"] == 1
    assert second.document["counts"]["known"] == 1
    assert set(second.document["counts"]) <= {"known", "skipped"}
    assert [item["file"] for item in second.document["items"] if "assets" in item["file"]] == []
    assert inside.code != 0
    assert "inside the library" in inside.err


def test_sidecars_and_leavings_of_the_system_are_no_assets(run: Run, tmp_path: Path) -> None:
    """A folder that was a library once would come in with its descriptions as assets."""
    draw(tmp_path / "art" / "mara.png", 1)
    for name in ("mara.png.asset.json", "_meta/mara.json", "Thumbs.db", ".hidden.png", "half.png.part"):
        (tmp_path / "art" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "art" / name).write_text("{}")

    answer = run("ingest", tmp_path / "art", "--adapter", "folders", "--json")

    assert answer.document["counts"] == {"skipped": 5, "registered": 1}


@needs_posix
def test_links_out_of_the_folder_and_pipes_are_passed_over(run: Run, tmp_path: Path) -> None:
    """A file of another folder would be published, or a pipe waited for forever."""
    output = tmp_path / "output"
    draw(output / "good_00001_.png", 1)
    draw(tmp_path / "secret.png", 2)
    (output / "out_00001_.png").symlink_to(tmp_path / "secret.png")
    (output / "inside_00001_.png").symlink_to(output / "good_00001_.png")
    (output / "lost_00001_.png").symlink_to(output / "nowhere")
    (output / "folder").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(output / "pipe_00001_.png")

    answer = run("ingest", output, "--adapter", "comfyui", "--json")

    statuses = {name: item["status"] for name, item in items(answer).items()}
    assert statuses == {
        "good_00001_.png": "registered",
        "inside_00001_.png": "known",
        "out_00001_.png": "skipped",
        "lost_00001_.png": "failed",
        "folder": "skipped",
        "pipe_00001_.png": "skipped",
    }


# -- a stranger's adapter -----------------------------------------------------------------------------------


def test_a_faulty_adapter_costs_its_files_not_the_batch(run: Run, strange: Callable[..., Path]) -> None:
    """One file that an adapter can't read would end an import of thousands."""
    bad = (
        *("raises", "raises-late", "refuses", "none", "text", "number-type", "bad-type", "bad-name"),
        *("no-name", "text-tags", "number-tags", "list-meta", "set-meta", "bad-source", "no-file", "endless"),
        "text-texts",
    )
    folder = strange("good", *bad, "skips", "nothing", "fine")

    answer = run("ingest", folder, "--adapter", "strange", "--json")

    found = {name.partition("-")[2].removesuffix(".txt"): item for name, item in items(answer).items()}
    assert answer.code == 1
    assert {name for name, item in found.items() if item["status"] == "failed"} == set(bad)
    assert found["good"]["status"] == found["fine"]["status"] == "registered"
    assert (found["skips"]["status"], found["skips"]["reason"]) == ("skipped", "it asked for that")
    assert "nothing" not in found
    assert all(item.get("reason") for item in found.values() if item["status"] == "failed")
    assert (
        "the import adapter strange failed: RuntimeError: no idea what this is" in found["raises"]["reason"]
    )
    assert "more than 10,000 assets" in found["endless"]["reason"]
    assert "this one is refused" in found["refuses"]["reason"]
    assert set(records()) == {"strange/0-good.txt", "strange/20-fine.txt"}
    assert "Traceback" in answer.err
    assert 'raise RuntimeError("no idea what this is")' in answer.err


def test_a_plan_survives_a_faulty_adapter_too(run: Run, strange: Callable[..., Path]) -> None:
    """The look before would end where the import goes on."""
    folder = strange("good", "raises", "bad-type", "list-meta", "set-meta", "no-file")

    answer = run("ingest", folder, "--adapter", "strange", "--dry-run", "--json")

    assert [item["status"] for item in answer.document["items"]] == ["new", *["failed"] * 5]


@pytest.mark.parametrize("how", ["raise", "nonsense"])
def test_an_adapter_that_fails_on_its_way_keeps_what_came_before(
    how: str, run: Run, strange: Callable[..., Path]
) -> None:
    """What was registered would not be reported."""
    folder = strange("good", "fine")

    answer = run("ingest", folder, "--adapter", "strange", "--set", f"files={how}", "--json")

    assert answer.document["counts"] == {"failed": 1, "registered": 1}
    assert "the import adapter strange failed" in items(answer)["strange"]["reason"]


def test_an_adapter_that_can_not_open_is_a_sentence(run: Run, strange: Callable[..., Path]) -> None:
    """A traceback of somebody else's code would be all that a user sees."""
    answer = run("ingest", strange("good"), "--adapter", "strange", "--set", "open=raise")

    assert answer.code == 4
    assert "the import adapter strange failed: RuntimeError: not today" in answer.err.splitlines()[-1]


def test_an_adapter_that_can_not_close_does_no_harm(run: Run, strange: Callable[..., Path]) -> None:
    """What was registered would be reported as lost."""
    answer = run("ingest", strange("good"), "--adapter", "strange", "--set", "close=raise", "--json")

    assert answer.code == 0
    assert answer.document["counts"] == {"registered": 1}


def test_adapters_are_listed_and_a_stranger_never_takes_the_place_of_ours(
    run: Run, strange: Callable[..., Path], project: Path
) -> None:
    """`--adapter renpy` would run somebody else's code, or one broken package hide all others."""
    strange()

    answer = run("adapters", "--json")
    people = run("adapters")

    listed = {each["name"]: each["summary"] for each in answer.document["adapters"]}
    assert {"folders", "comfyui", "a1111", "renpy", "strange"} <= set(listed)
    assert listed["strange"] == "Files that tell an adapter how to misbehave."
    assert listed["renpy"].startswith("A Ren'Py game")
    assert listed["broken"] is listed["shapeless"] is None
    assert answer.code == people.code == 1
    assert "comfyui" in people.out
    assert list(project.iterdir()) == []


def test_what_an_archive_held_is_registered_and_the_scratch_folder_removed(
    run: Run, strange: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk would fill with copies, or a record name a file that nobody knows."""
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    folder = strange()
    with zipfile.ZipFile(folder / "cards.zip", "w") as packed:
        for name in ("a.png", "b/c.png"):
            packed.writestr(name, draw(tmp_path / "drawn" / name, len(name)).read_bytes())

    answer = run("ingest", folder, "--adapter", "strange", "--json")
    planned = run("ingest", folder, "--adapter", "strange", "--dry-run", "--json")

    assert sorted(records()) == ["unpacked/a.png", "unpacked/b/c.png"]
    assert {item["file"] for item in answer.document["items"]} == {str(folder / "cards.zip")}
    assert [item["status"] for item in planned.document["items"]] == ["known", "known"]
    assert list(scratch.iterdir()) == []


def test_what_an_archive_held_is_gone_once_its_card_is_done(
    registry: AssetRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every card of a large folder would lie unpacked in the temporary folder till the end of the run."""
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    for number in range(3):
        assets = [
            {"type": "emotion", "name": name, "uri": f"embeded://{name}.png", "ext": "png"} for name in "ab"
        ]
        with zipfile.ZipFile(tmp_path / f"{number}.charx", "w") as packed:
            packed.writestr("card.json", json.dumps(card(3, name=f"Mara {number}", assets=assets)))
            for name in "ab":
                content = draw(tmp_path / "x.png", number + 10 * ord(name)).read_bytes()
                packed.writestr(f"{name}.png", content)
    sources = [tmp_path / f"{number}.charx" for number in range(3)]
    selection = Selection(sources, adapter="sillytavern", exclude=("2.charx",))
    left: dict[str, int] = {}

    for work in (plan, ingest):
        for item in work(selection, registry):  # type: ignore[operator]
            left[work.__name__] = sum(path.is_file() for path in scratch.rglob("*"))
            assert (item.status == "skipped") is item.file.endswith("2.charx")

    assert left == {"plan": 0, "ingest": 0}
    assert registry.count_assets() == 6


def test_a_file_that_an_adapter_hands_on_twice_is_there_for_both(
    run: Run, strange: Callable[..., Path], tmp_path: Path
) -> None:
    """A plan would tell a failure that then nobody has."""
    folder = strange()
    with zipfile.ZipFile(folder / "cards.zip", "w") as packed:
        packed.writestr("a.png", draw(tmp_path / "a.png", 1).read_bytes())

    planned = run("ingest", folder, "--adapter", "strange", "--set", "twice=true", "--dry-run", "--json")
    answer = run("ingest", folder, "--adapter", "strange", "--set", "twice=true", "--json")

    assert planned.document["counts"] == {"new": 1, "known": 1}
    assert answer.document["counts"] == {"registered": 1, "known": 1}


# -- from Python ------------------------------------------------------------------------------------------


def test_python_takes_in_with_an_adapter_and_may_stop(registry: AssetRegistry, tmp_path: Path) -> None:
    """A script could not do what the command does, or not end it."""
    for number in range(200):
        draw(tmp_path / "output" / f"a_{number:05}_.png", number)
    selection = Selection([tmp_path / "output"], adapter="comfyui", settings={"prefix_tags": False})
    seen: list[int] = []

    planned = [item.status for item in plan(selection, registry)]
    taken = list(ingest(selection, registry, lambda: len(seen) == 20 or seen.append(1) is not None))  # type: ignore[func-returns-value]

    assert planned == ["new"] * 200
    assert len(taken) == 20
    assert registry.count_assets("images") == 20
    assert registry.list_assets(limit=1)[0]["tags"] == []


def test_files_are_asked_about_only_when_their_turn_comes(
    registry: AssetRegistry, strange: Callable[..., Path]
) -> None:
    """Ten thousand files would be held in memory before the first is registered."""
    folder = strange(*["good"] * 30)
    items = ingest(Selection([folder], adapter="strange"), registry, lambda: False)

    shutil.rmtree(folder)
    folder.mkdir()

    assert list(items) == []


def test_settings_of_adapters_that_are_not_here_do_no_harm(project: Path) -> None:
    """A project could not be opened on a machine that lacks one of its plug-ins."""
    (project / "comfyvn.toml").write_text("[importers.painter]\ncolour = 3\n", "utf-8")

    with AssetRegistry(durability="off") as registry:
        assert json.loads(json.dumps(registry.library.config.importers)) == {"painter": {"colour": 3}}


# -- the page of the docs -----------------------------------------------------------------------------------


def examples(language: str = "python") -> list[str]:
    page = (Path(__file__).parents[2] / "docs" / "importing.md").read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def test_the_example_of_a_rule_does_not_take_default_names_for_people(
    run: Run, project: Path, tmp_path: Path
) -> None:
    """Who pastes it would have a character called ComfyUI."""
    output = tmp_path / "output"
    for seed, name in enumerate(("mara_smile", "day 1/mara_very_happy", "ComfyUI", "2026-11-23/ComfyUI")):
        draw(output / f"{name}_00001_.png", seed)
    (project / "comfyvn.toml").write_text(examples("toml")[0], "utf-8")

    answer = run("ingest", output, "--adapter", "comfyui")

    assert answer.code == 0, answer.err
    assert tags() == {
        "characters/mara_smile_00001_.png": ["mara", "smile"],
        "characters/day 1/mara_very_happy_00001_.png": ["mara", "very_happy"],
        "images/ComfyUI_00001_.png": [],
        "images/2026-11-23/ComfyUI_00001_.png": [],
    }


def test_the_example_for_scripts_runs(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A reader pastes it and gets a traceback."""
    draw(project / "output" / "mara_00001_.png", 1)

    exec(examples()[0], {})

    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("new ")
    assert told[1] == "registered images/mara_00001_.png None"


def test_the_example_of_an_adapter_keeps_the_contract(tmp_path: Path) -> None:
    """An author would begin with an adapter that can't be loaded."""
    scope: dict[str, Any] = {}
    exec(examples()[1], scope)
    adapter = scope["PainterAdapter"]()
    draw(tmp_path / "library" / "sea.png", 1)
    draw(tmp_path / "library" / "sea draft.png", 2)
    (tmp_path / "library" / "painter.db").write_bytes(b"db")
    context = ImportContext(scratch=tmp_path, name="painter")

    source = adapter.open(tmp_path / "library", context)
    said = [item for file in source.files() for item in source.items(file)]

    assert isinstance(adapter, ImportAdapter)
    assert [type(item) for item in said] == [ImportSkip, ImportItem]
    with pytest.raises(ImportFailed):
        adapter.open(tmp_path, context)
