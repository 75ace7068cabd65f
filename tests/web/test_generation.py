"""What made an asset: filters, the part "Made with" of the pane, and the lineage as a picture."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import expect

from comfyvn.registry.rebuild import rebuild
from comfyvn.studio.core import AssetRegistry
from gallery import Gallery, axe_core, opened

PROMPT = "mara at the window, <lora:mara_v3:0.8>"
LONG_PROMPT = "a lighthouse by the sea, " * 40 + "the very end"
PARAMETERS = """{prompt}
Negative prompt: blurry
Steps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 7, Seed: {seed}, Size: 64x48, \
Model hash: 0123abcd, Model: {model}, Version: v1.10.1"""
GRAPH = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "SDXL/sdxl_base.safetensors"}},
    "2": {
        "class_type": "LoraLoader",
        "inputs": {
            "lora_name": "ink.safetensors",
            "strength_model": 0.7,
            "strength_clip": 0.5,
            "model": ["1", 0],
            "clip": ["1", 1],
        },
    },
    "3": {"class_type": "CLIPTextEncode", "inputs": {"text": LONG_PROMPT, "clip": ["2", 1]}},
    "4": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["2", 1]}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 48, "batch_size": 1}},
    "6": {
        "class_type": "KSampler",
        "inputs": {
            "model": ["2", 0],
            "positive": ["3", 0],
            "negative": ["4", 0],
            "latent_image": ["5", 0],
            "seed": 4242,
            "steps": 28,
            "cfg": 6.5,
            "sampler_name": "dpmpp_2m",
            "scheduler": "karras",
            "denoise": 1.0,
        },
    },
    "7": {
        "class_type": "KSampler",
        "inputs": {
            "model": ["2", 0],
            "positive": ["3", 0],
            "negative": ["4", 0],
            "latent_image": ["6", 0],
            "seed": 4243,
            "steps": 8,
            "cfg": 6.5,
            "sampler_name": "dpmpp_2m",
            "scheduler": "karras",
            "denoise": 0.4,
        },
    },
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["7", 0], "vae": ["1", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "beacon", "images": ["8", 0]}},
}
SEED = 2**64 - 1
"""More than a number in JavaScript holds."""
NODES = [{"id": 9, "type": "SaveImage"}, {"id": 6, "type": "KSampler", "widgets_values": [SEED, "fixed"]}]
WORKFLOW = {"nodes": NODES, "links": [], "extra": {}, "version": 0.4}


def save(folder: Path, name: str, number: int, **texts: str) -> Path:
    """Save a picture as a tool does, with its texts; each number another picture."""
    path = folder / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    image = Image.new("RGB", (64, 48), (number * 47 % 200 + 40, number * 91 % 200 + 40, 160))
    info = PngInfo()
    for key, text in texts.items():
        info.add_text(key, text)
    image.save(path, pnginfo=info)
    return path


@pytest.fixture
def generated(registry: AssetRegistry, tmp_path: Path) -> AssetRegistry:
    """``mara_1`` to ``mara_3`` from Automatic1111 by the model anima_v2 and the seeds 1 to 3, ``odd`` by the
    model other and the seed 3, ``beacon`` from ComfyUI, and ``drawn`` by hand."""
    folder = tmp_path / "output"
    for seed in (1, 2, 3):
        told = PARAMETERS.format(prompt=PROMPT, seed=seed, model="anima_v2")
        registry.register_file(save(folder, f"mara_{seed}", seed, parameters=told), "characters")
    told = PARAMETERS.format(prompt="odd", seed=3, model="other")
    registry.register_file(save(folder, "odd", 4, parameters=told), "props")
    graphs = {"prompt": json.dumps(GRAPH), "workflow": json.dumps(WORKFLOW)}
    registry.register_file(save(folder, "beacon", 5, **graphs), "backgrounds")
    registry.register_file(save(folder, "drawn", 6), "characters")
    assert registry.wait_for_thumbnails(60)
    return registry


@pytest.fixture
def made(page: Any, generated: AssetRegistry, page_folder: Path) -> Iterator[Gallery]:
    """The gallery of these six."""
    with opened(page, generated, page_folder) as gallery:
        yield gallery


def add(registry: AssetRegistry, folder: Path, name: str, number: int, *parents: str) -> str:
    """Register a picture that a script says to have come from others; return its uid."""
    path = save(folder, name, number)
    inputs = {"inputs": {"parents": list(parents)}} if parents else None
    return registry.register_file(path, "characters", provenance=inputs)["uid"]


def propose(registry: AssetRegistry, child: str, parent: str) -> None:
    """Have a program that looks at pictures propose a parent, and take that in."""
    path = registry.sidecar_path(child)
    assert path is not None
    said = json.loads(path.read_text("utf-8"))
    edge = {"parent": parent, "kind": "variant", "certainty": "likely", "found": "similar"}
    path.write_text(json.dumps({**said, "lineage": [*said.get("lineage", []), edge]}), "utf-8")
    rebuild(registry)


@pytest.fixture
def line(registry: AssetRegistry, tmp_path: Path) -> AssetRegistry:
    """``clean`` is from ``sketch``, ``day`` and ``night`` from ``clean``, ``night`` maybe from ``photo``."""
    folder = tmp_path / "line"
    sketch, photo = add(registry, folder, "sketch", 1), add(registry, folder, "photo", 2)
    clean = add(registry, folder, "clean", 3, sketch)
    add(registry, folder, "day", 4, clean)
    propose(registry, add(registry, folder, "night", 5, clean), photo)
    assert registry.wait_for_thumbnails(60)
    return registry


@pytest.fixture
def lined(page: Any, line: AssetRegistry, page_folder: Path) -> Iterator[Gallery]:
    """The gallery of these five."""
    with opened(page, line, page_folder) as gallery:
        yield gallery


def group(studio: Gallery, title: str) -> Any:
    """The group of filters of this name."""
    return studio.page.get_by_role("group", name=title, exact=True)


def values(studio: Gallery, title: str) -> list[str]:
    """What the buttons of a group say, from the top: value and number."""
    said = group(studio, title).locator("button.value").all_inner_texts()
    return [" ".join(text.split()) for text in said]


def box(studio: Gallery) -> Any:
    """The search box."""
    return studio.page.get_by_role("combobox", name="Search")


def chips(studio: Gallery) -> Any:
    """The conditions above the grid."""
    return studio.page.get_by_role("list", name="Conditions").locator(".word")


def asked(studio: Gallery) -> dict[str, list[str]]:
    """The conditions that the address holds."""
    conditions = parse_qs(urlsplit(studio.page.url).query)
    return {name: told for name, told in conditions.items() if name not in ("panel", "focus")}


def found(studio: Gallery, *names: str) -> None:
    """Wait till just these are found."""
    expect(studio.page.locator(".status")).to_contain_text(re.compile(rf"^\s*{len(names)} asset"))
    studio.wait_until(lambda: sorted(studio.names()) == sorted(names))


def pane(studio: Gallery) -> Any:
    """The detail pane."""
    return studio.page.get_by_role("complementary", name="Details")


def shows(studio: Gallery, name: str) -> None:
    """Wait till the pane is about an asset."""
    expect(pane(studio).get_by_role("heading", level=2).last).to_have_text(f"{name}.png")


def show(studio: Gallery, name: str) -> None:
    """Click a card and have its details shown."""
    studio.card(name).click()
    if not pane(studio).is_visible():
        studio.press("d")
    shows(studio, name)


def part(studio: Gallery, title: str) -> Any:
    """A section of the pane."""
    heading = studio.page.get_by_role("button", name=title, exact=True)
    return pane(studio).locator("section").filter(has=heading)


def row(studio: Gallery, title: str) -> Any:
    """The assets one step away in the picture of the lineage."""
    return part(studio, "Lineage").get_by_role("list", name=title).get_by_role("listitem")


def said(studio: Gallery) -> Any:
    """The news at the edge of the window."""
    return studio.page.get_by_role("region", name="News")


def copied(studio: Gallery) -> str:
    """What the clipboard holds."""
    return str(studio.page.evaluate("navigator.clipboard.readText()"))


def faults(page: Any) -> list[tuple[str, str, str]]:
    """What axe finds in both themes."""
    told = []
    page.evaluate(axe_core())
    for theme in ("dark", "light"):
        page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
        page.wait_for_function("() => document.getAnimations().every(each => each.playState !== 'running')")
        answer = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        told += [(theme, each["id"], node["html"]) for each in answer["violations"] for node in each["nodes"]]
    return told


# -- finding ----------------------------------------------------------------------------------------------


def test_a_library_that_no_tool_made_looks_as_if_there_were_no_such_filters(studio: Gallery) -> None:
    """Else who draws by hand would have four empty groups to scroll past."""
    expect(group(studio, "Licence")).to_be_visible()

    for title in ("Model", "LoRA", "Sampler", "Tool"):
        expect(group(studio, title)).to_have_count(0)
    box(studio).click()
    offered = studio.page.get_by_role("listbox", name="Suggestions")
    expect(offered).to_contain_text("workflow:")
    expect(offered).not_to_contain_text("model:")
    studio.press("Escape")
    studio.card("mara_28").click()
    studio.press("d")
    shows(studio, "mara_28")
    expect(part(studio, "History")).to_be_visible()
    expect(part(studio, "Made with")).to_have_count(0)
    expect(part(studio, "Lineage")).to_have_count(0)


def test_a_model_is_chosen_beside_the_gallery_and_stands_in_chip_and_address(made: Gallery) -> None:
    """Else a maker who changes a model could not see what it had made."""
    assert values(made, "Model") == ["anima_v2 3", "other 1", "sdxl_base 1"]

    group(made, "Model").get_by_role("button", name="anima_v2, 3 assets").click()

    found(made, "mara_1", "mara_2", "mara_3")
    expect(chips(made)).to_have_text(["Model: anima_v2"])
    assert asked(made) == {"model": ["anima_v2"]}
    expect(box(made)).to_have_value("model:anima_v2")
    group(made, "Sampler").get_by_role("button", name="Sampler").click()
    expect(group(made, "Sampler").get_by_role("button", name="Euler a, 3 assets")).to_be_visible()
    made.open("?model=SDXL%2FSDXL_base.safetensors")
    found(made, "beacon")
    expect(group(made, "Model").get_by_role("button", name="sdxl_base, 1 asset")).to_have_attribute(
        "aria-pressed", "true"
    )


def test_a_group_stays_where_it_was_when_what_is_found_tells_nothing(made: Gallery) -> None:
    """Else the filters below would jump away under the pointer."""
    made.open("?q=drawn")

    found(made, "drawn")
    expect(group(made, "LoRA")).to_contain_text("None")


def test_the_search_box_offers_what_made_them(made: Gallery) -> None:
    """Else one would have to know the name of a model to the letter."""
    box(made).fill("lora:")
    made.page.get_by_role("option", name=re.compile("^lora:mara_v3")).click()
    found(made, "mara_1", "mara_2", "mara_3")

    box(made).fill("lora:mara_v3 seed:3")
    found(made, "mara_3")
    expect(chips(made)).to_have_text(["LoRA: mara_v3", "Seed: 3"])
    box(made).fill('tool:comfyui sampler:"dpmpp_2m"')
    found(made, "beacon")
    box(made).fill("seed:three ")
    expect(made.page.get_by_text("a seed is a whole number")).to_be_visible()


# -- what made it -----------------------------------------------------------------------------------------


def test_the_pane_tells_prompt_and_seed_and_where_they_were_read(made: Gallery) -> None:
    """Else nobody could make the next expression of a sprite alike."""
    show(made, "mara_2")
    shown = part(made, "Made with")

    told = ("Automatic1111", "v1.10.1", PROMPT, "blurry", "anima_v2", "0.8", "Euler a", "Karras", "64 × 48")
    for text in told:
        expect(shown).to_contain_text(text)
    expect(shown.get_by_text(PROMPT)).to_have_attribute("title", re.compile("^Read from .*parameters"))
    shown.get_by_role("button", name="Copy prompt").click()
    expect(shown.get_by_text("Copied")).to_be_visible()
    assert copied(made) == PROMPT
    shown.get_by_role("button", name="Copy seed").click()
    made.wait_until(lambda: copied(made) == "2")
    expect(shown.get_by_role("link", name="Download workflow")).to_have_count(0)


@pytest.mark.parametrize(
    ("button", "names"),
    [
        ("mara_v3", ("mara_1", "mara_2", "mara_3")),
        ("anima_v2", ("mara_1", "mara_2", "mara_3")),
        ("Euler a", ("mara_1", "mara_2", "mara_3", "odd")),
        ("Automatic1111", ("mara_1", "mara_2", "mara_3", "odd")),
        ("3", ("mara_3", "odd")),
    ],
)
def test_a_click_leads_to_the_others_made_alike(made: Gallery, button: str, names: tuple[str, ...]) -> None:
    """Else one would have to type the name of a LoRA to see what else came out of it."""
    show(made, "mara_3")

    part(made, "Made with").get_by_role("button", name=button, exact=True).click()

    found(made, *names)
    expect(chips(made)).to_have_count(1)
    made.page.go_back()
    expect(chips(made)).to_have_count(0)


def test_a_long_prompt_and_further_passes_are_there_when_somebody_wants_them(made: Gallery) -> None:
    """Else a prompt of a page would push everything else out of the pane."""
    show(made, "beacon")
    shown = part(made, "Made with")
    prompt = shown.get_by_text("the very end")
    folded = prompt.bounding_box()["height"]

    shown.get_by_role("button", name="All of it of the prompt").click()
    assert prompt.bounding_box()["height"] > folded * 2
    shown.get_by_text("2 passes").click()
    passes = shown.get_by_role("list").get_by_role("listitem")
    expect(passes).to_have_text(
        [
            "dpmpp_2m, karras, 28 steps, CFG 6.5, denoise 1, seed 4242",
            "dpmpp_2m, karras, 8 steps, CFG 6.5, denoise 0.4, seed 4243",
        ]
    )
    expect(shown).to_contain_text("0.7, clip 0.5")


def test_an_editor_that_strips_the_file_leaves_the_facts(made: Gallery) -> None:
    """Painted over, a sprite must still tell the prompt that it came from."""
    record = made.record("mara_1")
    path = Path("assets") / record["path"]
    with Image.open(path) as image:
        painted = image.convert("L")
    painted.save(path)
    rebuild(made.registry)

    show(made, "mara_1")

    expect(part(made, "File")).to_contain_text("greyscale")
    expect(part(made, "Made with")).to_contain_text(PROMPT)
    expect(part(made, "Provenance")).to_contain_text("Origin not told")


def test_the_facts_stand_once_and_the_raw_inputs_stay_within_reach(made: Gallery) -> None:
    """Else the same prompt would fill the pane twice, or a bug report lack what was read."""
    show(made, "mara_1")
    shown = part(made, "Provenance")

    expect(shown).to_contain_text("Automatic1111")
    expect(shown).not_to_contain_text("mara_v3")
    shown.get_by_text("Inputs as JSON").click()
    told = json.loads(shown.get_by_role("region", name="Inputs as JSON").inner_text())
    assert told == made.record("mara_1")["provenance"]["inputs"]


def test_the_workflow_is_saved_read_and_dragged_out(made: Gallery) -> None:
    """Else the graph would be locked into a picture that an editor may have stripped."""
    show(made, "beacon")
    shown = part(made, "Made with")
    link = shown.get_by_role("link", name="Download workflow")

    with made.page.expect_download() as coming:
        link.click()
    assert coming.value.suggested_filename == "beacon.workflow.json"
    assert json.loads(coming.value.path().read_text("utf-8")) == WORKFLOW
    shown.get_by_text("Workflow as JSON").click()
    assert json.loads(shown.get_by_role("region", name="Workflow as JSON").inner_text()) == WORKFLOW
    data = made.page.evaluate_handle("new DataTransfer()")
    link.dispatch_event("dragstart", {"dataTransfer": data})
    dragged = data.evaluate("data => data.getData('DownloadURL')")
    uid = made.uid("beacon")
    assert dragged == f"application/json:beacon.workflow.json:{made.address}/assets/{uid}/workflow"


def test_what_made_many_is_counted_in_the_pane(made: Gallery) -> None:
    """Else one could not tell whether a set of sprites came out of one model."""
    show(made, "mara_1")
    for name in ("mara_2", "beacon"):
        made.card(name).click(modifiers=["Control"])

    expect(pane(made).get_by_role("heading", name="3 assets selected")).to_be_visible()
    models = pane(made).locator("section").filter(has_text="Models").get_by_role("listitem")
    expect(models).to_have_text([re.compile("anima_v2.*2 of 3"), re.compile("sdxl_base.*1 of 3")])


# -- lineage ----------------------------------------------------------------------------------------------


def test_the_lineage_is_walked_up_and_down(lined: Gallery) -> None:
    """Else the way from a sprite back to its sketch would be a search by uid."""
    show(lined, "night")
    expect(row(lined, "Came from")).to_have_count(2)
    expect(row(lined, "Made from it")).to_have_count(0)
    picture = row(lined, "Came from").first.locator("img")
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0

    part(lined, "Lineage").get_by_role("button", name="Go to: clean.png").click()
    shows(lined, "clean")
    expect(lined.card("clean")).to_have_attribute("aria-selected", "true")
    expect(row(lined, "Made from it")).to_have_count(2)
    up = part(lined, "Lineage").get_by_role("button", name="Go to: sketch.png")
    up.focus()
    lined.press("Enter")
    shows(lined, "sketch")
    expect(part(lined, "Lineage").get_by_role("list", name="Came from")).to_have_count(0)

    part(lined, "Lineage").get_by_role("button", name="Show all that came from it").click()
    found(lined, "clean", "day", "night")
    assert asked(lined) == {"descends_from": [lined.uid("sketch")]}


def test_an_asset_that_the_result_does_not_show_is_gone_to_all_the_same(lined: Gallery) -> None:
    """Else a click would do nothing while a filter is on."""
    lined.open("?q=day")
    show(lined, "day")

    part(lined, "Lineage").get_by_role("button", name="Go to: clean.png").click()

    shows(lined, "clean")
    found(lined, "clean")


def test_a_likely_parent_is_confirmed_or_rejected_and_that_undone(lined: Gallery) -> None:
    """Else what a program guessed would stay a guess, or a slip of the hand stay for ever."""
    show(lined, "night")
    likely = row(lined, "Came from").filter(has_text="likely variant")
    expect(likely).to_have_count(1)

    likely.get_by_role("button", name="Reject that night.png came from photo.png").click()
    expect(said(lined)).to_contain_text("Rejected that night.png came from photo.png")
    expect(row(lined, "Came from")).to_have_count(1)
    expect(lined.page.locator("*:focus")).to_have_accessible_name("Go to: clean.png")
    said(lined).get_by_role("button", name="Undo").click()
    expect(likely).to_have_count(1)

    show(lined, "photo")
    below = row(lined, "Made from it")
    below.get_by_role("button", name="Confirm that night.png came from photo.png").click()
    expect(below.get_by_role("button", name="Confirm")).to_have_count(0)
    edges = lined.registry.lineage(lined.uid("photo"))["edges"]
    assert [(edge["kind"], edge["certainty"]) for edge in edges] == [("variant", "certain")]
    show(lined, "night")
    expect(part(lined, "History").get_by_role("listitem").first).to_contain_text("changed lineage")


def test_many_children_come_some_at_a_time_and_new_ones_by_themselves(lined: Gallery, tmp_path: Path) -> None:
    """Else a sketch of a thousand expressions would fill the pane, or a new one not be seen."""
    sketch = lined.uid("sketch")
    for number in range(13):
        add(lined.registry, tmp_path / "line", f"many_{number:02}", 20 + number, sketch)
    show(lined, "sketch")
    expect(row(lined, "Made from it")).to_have_count(12)

    part(lined, "Lineage").get_by_role("button", name="and 2 more").click()
    expect(row(lined, "Made from it")).to_have_count(14)
    add(lined.registry, tmp_path / "line", "late", 60, sketch)

    expect(row(lined, "Made from it")).to_have_count(15)


def test_a_parent_that_is_not_in_the_library_is_told(lined: Gallery) -> None:
    """Else the line would seem to begin where only a part of it was lost."""
    lined.registry.remove_asset(lined.uid("sketch"))

    show(lined, "clean")

    expect(row(lined, "Came from")).to_contain_text("not in the library")
    expect(row(lined, "Came from").get_by_role("button")).to_have_count(0)


@pytest.mark.parametrize("name", ["beacon", "mara_1"])
def test_axe_finds_no_fault_in_what_made_an_asset(made: Gallery, name: str) -> None:
    """Else somebody can't read the prompt, or reach what leads on from it."""
    show(made, name)
    expect(part(made, "Made with")).to_contain_text("Prompt")
    for summary in part(made, "Made with").locator("summary").all():
        summary.click()

    assert faults(made.page) == []


def test_axe_finds_no_fault_in_the_lineage(lined: Gallery) -> None:
    """Else somebody can't walk the line, or judge a guess."""
    show(lined, "night")
    expect(row(lined, "Came from")).to_have_count(2)

    assert faults(lined.page) == []
