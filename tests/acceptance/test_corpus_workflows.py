"""What is read from ComfyUI's own workflow templates, some 640 real graphs as its page saves them.

Nobody has written down what each of them says. So laws are held over all of them that a wrong fact breaks,
each checked against the raw JSON and not by the reader's own eyes. The templates are those of the package
``comfyui-workflow-templates-json``.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from comfyvn.generation import Generation, read
from comfyvn.model import EmbeddedText

pytestmark = pytest.mark.corpus

SUFFIXES = {
    "SaveImage": ".png",
    "SaveImageAdvanced": ".png",
    "SaveAnimatedWEBP": ".webp",
    "SaveVideo": ".mp4",
    "SaveWEBM": ".webm",
    "SaveAudio": ".flac",
    "SaveAudioMP3": ".mp3",
    "SaveAudioAdvanced": ".mp3",
}
"""The files of the nodes that save, each with its prefix as the first value."""
MODELS = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".onnx")
MUTED, BYPASSED = 2, 4
LONGEST_S = 1.0
UNFINISHED = "video_ltx2_i2v_lora"
"""Its subgraph gives nothing to the node that saves: no file can come of it, and ways are cut off."""


@dataclass(frozen=True)
class Told:
    """What was told of one file that a template saves."""

    template: str
    workflow: dict[str, Any]
    generation: Generation
    took_s: float

    def __str__(self) -> str:
        return f"{self.template} ({self.generation.file})"

    def each(self) -> Iterator[tuple[str, Any, list[str]]]:
        for name, value in self.generation.facts.items():
            yield name, value, self.generation.read_from[name].split(", ")


@pytest.fixture(scope="module")
def told(corpus: Path) -> list[Told]:
    """Read each template as every file that it saves."""
    found = []
    for path in sorted((corpus / "comfyui_templates").glob("*.json")):
        text = path.read_text("utf-8")
        workflow = json.loads(text)
        for file_name in sorted(files_of(workflow)):
            started = time.process_time()
            generation = read([EmbeddedText("png:tEXt", "workflow", text)], file_name)
            took_s = time.process_time() - started
            assert generation is not None, path.stem
            found.append(Told(path.stem, workflow, generation, took_s))
    return found


def files_of(workflow: dict[str, Any]) -> set[str]:
    """Return the names of the files that a workflow saves."""
    found = set()
    for node in all_nodes(workflow):
        held = node.get("widgets_values")
        is_saver = node["type"] in SUFFIXES and node.get("mode") not in (MUTED, BYPASSED)
        if is_saver and isinstance(held, list) and held and isinstance(held[0], str):
            found.add(held[0].replace("\\", "/").rpartition("/")[2] + "_00001_" + SUFFIXES[node["type"]])
    return found or {"ComfyUI_00001_.png"}


def definitions(workflow: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["id"]: each for each in workflow.get("definitions", {}).get("subgraphs", [])}


def all_nodes(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for scope in (workflow, *definitions(workflow).values()):
        yield from scope["nodes"]


def way_to(workflow: dict[str, Any], place: str) -> list[dict[str, Any]]:
    """Return the node of a place, such as ``workflow node 75:61.cfg``, after the subgraphs around it."""
    scope, way = workflow, []
    for step in place.removeprefix("workflow node ").partition(".")[0].split(":"):
        (node,) = (each for each in scope["nodes"] if str(each["id"]) == step)
        way.append(node)
        scope = definitions(workflow).get(node["type"], {"nodes": []})
    return way


def links_of(scope: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the ids of the nodes between which the links go: lists in a workflow, objects in a subgraph."""
    for link in scope["links"]:
        yield (link[1], link[3]) if isinstance(link, list) else (link["origin_id"], link["target_id"])


def before(told: Told) -> set[str]:
    """Return the nodes that have any part in a file: those before the nodes that save it.

    A subgraph is left as ``7``, where its outputs are, and goes on as ``7>``, where its inputs are.
    """
    subgraphs, sources, waiting = definitions(told.workflow), defaultdict[str, set[str]](set), list[str]()
    scopes = [("", told.workflow)]
    while scopes:
        prefix, scope = scopes.pop()
        host = prefix.removesuffix(":")
        hosts = {node["id"]: subgraphs[node["type"]] for node in scope["nodes"] if node["type"] in subgraphs}
        scopes += [(f"{prefix}{node}:", inner) for node, inner in hosts.items()]
        waiting += [f"{prefix}{node}" for node in savers_of(told, scope)]
        for origin, target in links_of(scope):
            is_end = prefix and target == scope["outputNode"]["id"]
            end = host if is_end else f"{prefix}{target}" + (">" if target in hosts else "")
            is_start = prefix and origin == scope["inputNode"]["id"]
            sources[end].add(f"{host}>" if is_start else f"{prefix}{origin}")
    reached = set(waiting)
    while waiting:
        new = sources[waiting.pop()] - reached
        reached |= new
        waiting += new
    return reached


def flat(values: Any) -> Iterator[Any]:
    if isinstance(values, (list, dict)):
        for each in values.values() if isinstance(values, dict) else values:
            yield from flat(each)
    elif values is not None:
        yield values


def held_at(workflow: dict[str, Any], place: str) -> list[Any]:
    """Return the values that stand in a node, in the subgraphs around it, and in primitives before these."""
    way = way_to(workflow, place)
    held = [value for node in way for value in flat(node.get("widgets_values"))]
    for scope in (workflow, *definitions(workflow).values()):
        primitives = {each["id"]: each for each in scope["nodes"] if each["type"] == "PrimitiveNode"}
        for origin, target in links_of(scope):
            if origin in primitives and any(node["id"] == target for node in way):
                held += flat(primitives[origin].get("widgets_values"))
    return held


# -- the laws ---------------------------------------------------------------------------------------------


def test_every_template_is_read_in_little_time(told: list[Told]) -> None:
    """One graph of thousands would hold up an import, or end it."""
    slow = {str(each): each.took_s for each in told if each.took_s > LONGEST_S}

    assert slow == {}
    assert {each.generation.tool for each in told} == {"ComfyUI"}
    assert len({each.template for each in told}) > 600


def test_every_fact_names_nodes_that_there_are_and_that_run(told: list[Told]) -> None:
    """Nobody could look up where a fact comes from, or it came from a node that was asleep."""
    asleep = [
        (str(each), name, place)
        for each in told
        for name, _, places in each.each()
        for place in places
        if any(node.get("mode") in (MUTED, BYPASSED) for node in way_to(each.workflow, place))
    ]

    assert asleep == []


def test_every_fact_is_from_a_node_before_the_one_that_saved_the_file(told: list[Told]) -> None:
    """What another branch of the graph made would be told of this file."""
    wrong, count = [], 0
    for each in told:
        reached = before(each) if each.template != UNFINISHED else set()
        count += bool(reached)
        places = [place for _, _, places in each.each() for place in places] if reached else []
        nodes = {place.removeprefix("workflow node ").partition(".")[0] for place in places}
        wrong += [(str(each), node) for node in nodes - reached]

    assert wrong == []
    assert count > 600


SINGLE = ("vae", "sampler", "scheduler", "steps", "cfg", "seed", "denoise", "clip_skip", "width", "height")


def test_every_single_value_stands_in_the_node_that_it_is_said_to_be_from(told: list[Told]) -> None:
    """A fact would be made up, or be told of another node than it stands in."""
    wrong, count = [], 0
    for each in told:
        for name, value, places in each.each():
            if name not in SINGLE:
                continue
            (place,) = places
            count += 1
            wanted = int(value) if name == "seed" else value
            if not any(type(held) is not bool and held == wanted for held in held_at(each.workflow, place)):
                wrong.append((str(each), name, value, place))

    assert wrong == []
    assert count > 1_600


PLAIN = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "*"}
HOLDERS = {"PrimitiveInt", "PrimitiveFloat", "PrimitiveStringMultiline", "SeedNode"}


def test_a_value_that_came_over_a_link_is_from_a_node_that_only_holds_it(told: list[Told]) -> None:
    """What a node made a value from would be told as what it made: of 16:9 and one megapixel, 1 x 1."""
    wrong, count = [], 0
    for each in told:
        for name, _, places in each.each():
            for place in places if name in SINGLE or name.endswith("prompt") else ():
                node = way_to(each.workflow, place)[-1]
                if "outputs" in node and {output["type"] for output in node["outputs"]} <= PLAIN:
                    is_joined = node["type"] == "StringConcatenate" and name.endswith("prompt")
                    count += 1
                    wrong += [] if is_joined or node["type"] in HOLDERS else [(str(each), name, node["type"])]

    assert wrong == []
    assert count > 100


def test_every_name_in_a_list_stands_in_one_of_the_nodes_named(told: list[Told]) -> None:
    """A model, LoRA or picture would be told of files that never saw it."""
    wrong, count = [], 0
    for each in told:
        for name, value, places in each.each():
            if name not in ("models", "loras", "input_images"):
                continue
            held = [
                text for place in places for text in held_at(each.workflow, place) if isinstance(text, str)
            ]
            count += len(value)
            wrong += [(str(each), name, entry) for entry in value if not names(entry["name"], held)]

    assert wrong == []
    assert count > 700


def names(name: str, held: list[str]) -> bool:
    return any(text == name or text.startswith((f"{name} [", f"{name}[")) for text in held)


def test_every_prompt_is_made_of_texts_of_the_nodes_named(told: list[Told]) -> None:
    """Words would be told that nobody wrote, or in another order than the graph has them."""
    wrong, count = [], 0
    for each in told:
        for name, value, places in each.each():
            if not name.endswith("prompt"):
                continue
            count += 1
            left = value
            for place in places:
                if "." not in place.removeprefix("workflow node "):
                    left = ""  # joined by a node from several texts: what it makes stands nowhere as a whole
                    break
                texts = [
                    text for text in held_at(each.workflow, place) if isinstance(text, str) and text.strip()
                ]
                left = next(
                    (left[len(text) :].removeprefix("\n") for text in texts if left.startswith(text)), "?"
                )
            if left:
                wrong.append((str(each), name, value[:60], places))

    assert wrong == []
    assert count > 250


def test_what_was_wanted_and_what_was_not_are_different_texts(told: list[Told]) -> None:
    """The search for a prompt would find the pictures that were to be without it."""
    mixed = [
        str(each)
        for each in told
        if "negative_prompt" in each.generation.facts
        and each.generation.read_from.get("prompt") == each.generation.read_from["negative_prompt"]
    ]

    assert mixed == []


def test_values_are_what_such_values_can_be(told: list[Told]) -> None:
    """A title, a path or a switch would be told as a model or a size."""
    wrong = []
    for each in told:
        facts = each.generation.facts
        files = [entry["name"] for name in ("models", "loras") for entry in facts.get(name, ())]
        wrong += [(str(each), name) for name in files if not name.endswith(MODELS)]
        sizes = [facts[name] for name in ("width", "height") if name in facts]
        wrong += [(str(each), size) for size in sizes if not 16 <= size <= 16_384]
        assert len(sizes) in (0, 2), str(each)
        assert 1 <= facts.get("steps", 1) <= 200, str(each)
        assert 0 <= facts.get("cfg", 1) <= 30, str(each)
        assert 0 < facts.get("denoise", 1) <= 1, str(each)
        assert facts.get("sampler", "euler").replace("_", "").isalnum(), str(each)

    assert wrong == []


def test_what_a_service_made_tells_nothing_of_sampling(told: list[Told]) -> None:
    """What a service made, in a way that nobody sees, would count as made by the model before it."""
    by_services = [each for each in told if is_made_by_a_service(each)]

    wrong = [str(each) for each in by_services if not {*each.generation.facts} <= {"input_images"}]

    assert len(by_services) > 200
    assert wrong == []


def is_made_by_a_service(told: Told) -> bool:
    """Is a file saved straight from a node that holds a sentence, and is no subgraph?"""
    nodes = {node["id"]: node for node in told.workflow["nodes"]}
    origins = {target: nodes[origin] for origin, target in links_of(told.workflow) if origin in nodes}
    makers = [origins[saver] for saver in savers_of(told, told.workflow) if saver in origins]
    return bool(makers) and all(
        maker["type"] not in definitions(told.workflow) and holds_a_sentence(maker) for maker in makers
    )


def savers_of(told: Told, scope: dict[str, Any]) -> Iterator[int]:
    for node in scope["nodes"]:
        if node["type"] in SUFFIXES and told.generation.file in files_of({"nodes": [node]}):
            yield node["id"]


def holds_a_sentence(node: dict[str, Any]) -> bool:
    texts = [text for text in flat(node.get("widgets_values")) if isinstance(text, str)]
    return any(len(text.split()) > 5 for text in texts)


def test_most_of_what_samples_is_told(told: list[Told]) -> None:
    """The laws would hold for a reader that says nothing."""
    plain = [each for each in told if samples_once(each.workflow)]

    counts = Counter(name for each in plain for name in each.generation.facts)

    assert len(plain) > 100
    shares = {name: counts[name] / len(plain) for name in ("models", "seed", "sampler", "steps", "cfg")}
    assert min(shares.values()) > 0.95, shares


def samples_once(workflow: dict[str, Any]) -> bool:
    """Has a workflow one awake KSampler, and one file that it saves?"""
    awake = [each for each in all_nodes(workflow) if each.get("mode", 0) not in (MUTED, BYPASSED)]
    samplers = [each for each in awake if "sampler" in each["type"].lower()]
    savers = [each for each in awake if each["type"] in SUFFIXES]
    return [each["type"] for each in samplers] == ["KSampler"] and len(savers) == 1
