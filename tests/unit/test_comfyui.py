"""Facts from ComfyUI's graphs: hand-made ones of the shapes that nodes save, odd ones and hostile ones."""

import copy
import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyvn.generation.comfyui import parse
from comfyvn.generation.told import FACTS, Told
from comfyvn.model import EmbeddedText

CASES = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parent / "graphs").glob("*.json"))
}


def embedded(texts: dict[str, Any]) -> list[EmbeddedText]:
    return [
        EmbeddedText("png:tEXt", name, value if isinstance(value, str) else json.dumps(value))
        for name, value in texts.items()
    ]


def told(case: dict[str, Any]) -> Told:
    found = parse(embedded(case["texts"]), case["file"])
    assert found is not None
    return found


@pytest.mark.parametrize("name", CASES)
def test_a_graph_tells_what_is_expected_and_nothing_else(name: str) -> None:
    """A fact would be wrong, missing, or told where nobody can know it."""
    case = CASES[name]

    found = told(case)

    assert found.facts == case["facts"], case["about"]
    assert found.tool == "ComfyUI"
    assert found.read_from.keys() == found.facts.keys()
    assert all(place.startswith(("prompt node ", "workflow node ")) for place in found.read_from.values())


def test_the_graphs_cover_every_fact_and_none_is_wrong_or_missing() -> None:
    """A fact could be in no hand-made graph at all, and whether it is read right would never be seen."""
    expected = [(name, fact) for name, case in CASES.items() for fact in case["facts"]]
    found = {name: told(case).facts for name, case in CASES.items()}

    wrong = [
        (name, fact)
        for name, facts in found.items()
        for fact in facts
        if facts[fact] != CASES[name]["facts"].get(fact)
    ]
    missing = [(name, fact) for name, fact in expected if fact not in found[name]]
    counts = {fact: sum(fact == each for _, each in expected) for fact in FACTS}

    assert (wrong, missing) == ([], [])
    assert min(counts.values()) >= 3, counts
    assert len(CASES) >= 80
    assert all(isinstance(facts[fact], FACTS[fact]) for facts in found.values() for fact in facts)


def test_each_fact_says_where_it_was_read() -> None:
    """Nobody could look into the graph to see why a fact is what it is."""
    found = told(CASES["primitive_seed"])

    assert found.read_from["seed"] == "prompt node 20.seed"
    assert found.read_from["prompt"] == "prompt node 22.value"
    assert found.read_from["models"] == "prompt node 4.ckpt_name"
    assert told(CASES["ui_subgraph"]).read_from["seed"] == "workflow node 30:3.seed"


def test_the_texts_that_hold_graphs_are_named() -> None:
    """The raw texts that are kept with the facts would be others than those that were read."""
    texts = [
        *embedded(CASES["txt2img_with_workflow"]["texts"]),
        EmbeddedText("png:tEXt", "parameters", "Steps: 3"),
    ]

    found = parse(texts, "ComfyUI_00001_.png")

    assert found is not None
    assert found.texts == ("prompt", "workflow")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a girl in a red scarf",
        "{",
        "[]",
        "{}",
        '{"nodes": "class_type"}',
        '{"nodes": [], "edges": [], "links": [], "name": "InvokeAI saves its workflows so"}',
        '{"sui_image_params": {"prompt": "nodes of a class_type", "seed": 1}}',
        '{"3": {"class_type": 5, "inputs": {}}}',
    ],
)
def test_texts_of_others_are_left_to_others(text: str) -> None:
    """A prompt in plain words, or another tool's JSON, would be told to come from ComfyUI."""
    found = parse([EmbeddedText("png:tEXt", "prompt", text)], "a.png")

    assert found is None


# --- What two files of one workflow have in common


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def workflow_of(graph: Any, file_name: str = "ComfyUI_00001_.png") -> Any:
    found = parse(embedded({"prompt": graph}), file_name)
    assert found is not None
    return found.workflow


def graph_of(name: str) -> dict[str, Any]:
    return copy.deepcopy(CASES[name]["texts"]["prompt"])


def test_another_seed_file_name_and_other_ids_are_the_same_workflow() -> None:
    """Two pictures of one workflow would not be found as such."""
    graph = graph_of("img2img")
    other = json.loads(json.dumps(graph).replace('"11"', '"a:1"').replace('"3"', '"700"'))
    other["700"]["inputs"] |= {"seed": 99, "cfg": 6.50}
    other["9"]["inputs"]["filename_prefix"] = "chars/mara"
    other["9"]["_meta"]["title"] = "Save the sprite"
    other["10"]["inputs"]["image"] = "other_sketch.webp [input]"
    shuffled = dict(random.Random(1).sample(sorted(other.items()), len(other)))

    assert workflow_of(shuffled) == workflow_of(graph)


@pytest.mark.parametrize(
    ("node", "name", "value"),
    [
        ("4", "ckpt_name", "other.safetensors"),
        ("6", "text", "another prompt"),
        ("3", "steps", 21),
        ("3", "denoise", 0.9),
        ("10", "strength_model", 0.81),
        ("10", "lora_name", "other.safetensors"),
        ("9", "images", ["3", 0]),
    ],
)
def test_another_model_prompt_weight_or_link_is_another_workflow(node: str, name: str, value: Any) -> None:
    """Pictures of other workflows would be shown as if they came from the same one."""
    graph = graph_of("loras_chain")
    other = copy.deepcopy(graph)
    other[node]["inputs"][name] = value

    assert workflow_of(other) != workflow_of(graph)


def test_a_seed_from_another_node_is_left_out_too() -> None:
    """With a seed node, every picture would be a workflow of its own."""
    graph = graph_of("primitive_seed")
    other = copy.deepcopy(graph)
    other["20"]["inputs"]["seed"] = 1
    other["21"]["inputs"]["control_after_generate"] = "randomize"
    steps = copy.deepcopy(graph)
    steps["21"]["inputs"]["value"] = 29

    assert workflow_of(other) == workflow_of(graph)
    assert workflow_of(steps) != workflow_of(graph)


def test_a_node_that_gives_a_seed_and_steps_keeps_its_steps() -> None:
    """Pictures with other settings would be shown as if they came from the same workflow."""
    graph = graph_of("txt2img")
    graph["3"]["inputs"] |= {"seed": ["20", 0], "steps": ["20", 1]}
    graph["20"] = node("Settings", seed=1, steps=20)
    seed, steps = copy.deepcopy(graph), copy.deepcopy(graph)
    seed["20"]["inputs"]["seed"] = 2
    steps["20"]["inputs"]["steps"] = 30

    assert workflow_of(seed) == workflow_of(graph)
    assert workflow_of(steps) != workflow_of(graph)


def test_values_without_names_tell_workflows_of_the_page_apart() -> None:
    """All settings of a node that isn't known would be one workflow, or each of its seeds one of its own."""
    case = CASES["ui_unknown_sampler"]
    seed, other = copy.deepcopy(case["texts"]), copy.deepcopy(case["texts"])
    seed["workflow"]["nodes"][0]["widgets_values"][1] = 43
    other["workflow"]["nodes"][0]["widgets_values"][0] = 13

    assert told({**case, "texts": seed}).workflow == told(case).workflow
    assert told({**case, "texts": other}).workflow != told(case).workflow


def test_nodes_that_only_make_the_file_name_are_left_out() -> None:
    """A counter or date in the file name would make another workflow of every picture."""
    graph = graph_of("txt2img")
    graph["9"]["inputs"]["filename_prefix"] = ["20", 0]
    graph["20"] = node("StringConcatenate", string_a=["21", 0], string_b="x", delimiter="")
    graph["21"] = node("PrimitiveString", value="monday")
    other = copy.deepcopy(graph)
    other["21"]["inputs"]["value"] = "tuesday"

    assert workflow_of(other) == workflow_of(graph)


def test_the_workflow_of_the_page_is_the_same_wherever_its_nodes_stand() -> None:
    """Files without a prompt would share no workflow."""
    case = CASES["ui_new_frontend"]
    moved = copy.deepcopy(case["texts"])
    for node in moved["workflow"]["nodes"]:
        node["pos"] = [900, 900]
        node["title"] = "moved"
        if node["type"] == "KSampler":
            node["widgets_values"][0] = 1
    other = copy.deepcopy(case["texts"])
    other["workflow"]["nodes"][1]["widgets_values"] = ["other.safetensors"]

    assert told({**case, "texts": moved}).workflow == told(case).workflow
    assert told({**case, "texts": other}).workflow != told(case).workflow


def test_a_circle_has_a_workflow_that_does_not_depend_on_ids() -> None:
    """A graph with a cycle would get another hash each time, or none."""
    graph = graph_of("cycle")
    other = json.loads(json.dumps(graph).replace('"31"', '"500"').replace('"32"', '"501"'))

    assert workflow_of(other) == workflow_of(graph)
    assert len(workflow_of(graph)) == len(graph)


# --- What a node computes, and what it hands on


def facts_of(graph: dict[str, Any]) -> dict[str, Any]:
    found = parse(embedded({"prompt": graph}), "ComfyUI_00001_.png")
    assert found is not None
    return found.facts


def fed(node_id: str, name: str, source: Any, **others: Any) -> dict[str, Any]:
    """Return a graph in which one input comes from node 99; the nodes behind that are ``n100`` and so on."""
    graph = with_nodes(n99=source, **others)
    graph[node_id]["inputs"][name] = ["99", 0]
    return graph


NUMBER, TEXT = node("PrimitiveInt", value=3), node("PrimitiveString", value="a dog")


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("SimpleMath+", {"value": "a+1", "a": 5}),
        ("Random Number", {"minimum": 0, "maximum": 9, "seed": 5, "number_type": "integer"}),
        ("easy seedList", {"min_num": 0, "max_num": 99, "method": "random", "total": 1, "seed": 5}),
        ("FL_Counter", {"start": 3, "id": "x"}),
        ("SeedHash", {"text": "abc", "digits": 8}),
        ("Random Seed", {"seed": 5}),
        ("CR Integer Multiple", {"integer": ["100", 0], "multiple": 8.0}),
        ("ImpactNeg", {"value": ["100", 0]}),
        ("SeedOffset", {"seed": ["100", 0], "offset": 1.0}),
        ("BatchCount+", {"batch": ["101", 0]}),
        ("StringLength", {"string": ["101", 0]}),
    ],
)
@pytest.mark.parametrize("name", ["seed", "steps"])
def test_a_number_that_a_node_computes_is_unknown(name: str, kind: str, inputs: dict[str, Any]) -> None:
    """Who enters one of the numbers that went into it gets another picture."""
    graph = fed("3", name, node(kind, **inputs), n100=NUMBER, n101=node("Box", text="x", n=4))

    facts = facts_of(graph)

    assert name not in facts
    assert facts["sampler"] == "euler"


def test_a_fraction_that_a_node_computes_is_unknown() -> None:
    """The weight of a LoRA would be a hundred times what it was, or a guidance one that nobody set."""
    graph = fed("3", "cfg", node("FloatToInt", a=["100", 0]), n100=node("PrimitiveFloat", value=3.7))
    graph["3"]["inputs"]["model"] = ["10", 0]
    graph["10"] = node(
        "LoraLoaderModelOnly", model=["4", 0], lora_name="x.safetensors", strength_model=["11", 0]
    )
    graph["11"] = node("IntToPercent", value=["12", 0])
    graph["12"] = node("PrimitiveInt", value=80)

    facts = facts_of(graph)

    assert "cfg" not in facts
    assert facts["loras"] == [{"name": "x.safetensors"}]


@pytest.mark.parametrize(
    "source",
    [
        node("ResolutionSelector", aspect_ratio="16:9 (Widescreen)", megapixels=1),
        node("SDXLAspect", aspect="16:9", size=1024),
        node("GetImageSize", image=["100", 0]),
        node("PrimitiveInt", value=512),
    ],
)
def test_a_size_is_known_by_the_output_that_it_comes_from(source: Any) -> None:
    """A picture of one megapixel would be told as 1 x 1, or its height as what is its width."""
    graph = fed("5", "width", source, n100=node("LoadImageOutput", image="q.png", n=3))
    graph["5"]["inputs"]["height"] = ["99", 1]

    facts = facts_of(graph)

    assert facts.keys() & {"width", "height"} == set()
    assert facts["seed"] == "156680208700286"


def test_each_output_of_a_node_that_holds_several_values_has_its_own() -> None:
    """The steps of the refiner would be told as those of the picture."""
    config = {
        "steps_total": 30,
        "refiner_step": 24,
        "cfg": 5.5,
        "sampler_name": "dpmpp_2m",
        "scheduler": "karras",
    }
    graph = with_nodes(n99=node("KSampler Config (rgthree)", **config))
    graph["3"]["inputs"] |= {"cfg": ["99", 2], "sampler_name": ["99", 3], "scheduler": ["99", 4]}
    total, refiner, none = (copy.deepcopy(graph) for _ in range(3))
    total["3"]["inputs"]["steps"] = ["99", 0]
    refiner["3"]["inputs"]["steps"] = ["99", 1]
    none["3"]["inputs"]["steps"] = ["99", 9]

    found = [facts_of(each) for each in (total, refiner, none)]

    assert [each.get("steps") for each in found] == [30, 24, None]
    assert {(each["cfg"], each["sampler"], each["scheduler"]) for each in found} == {
        (5.5, "dpmpp_2m", "karras")
    }


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("PromptPreset", {"preset": "cinematic"}),
        ("CSVPrompt", {"path": "D:/x.csv"}),
        ("Base64Decode", {"text": "YWJj"}),
        ("TextUppercase+", {"text": ["100", 0]}),
        ("PromptEnhance", {"text": ["100", 0]}),
        ("Prompt Upsampler", {"prompt": ["100", 0]}),
        ("Show Prompt Enhanced", {"text": ["100", 0]}),
        ("Prompt Selector", {"text": ["100", 0], "index": 2}),
        ("Join And Shorten", {"text_a": "a cat", "text_b": ["100", 0], "delimiter": ", "}),
        ("Text Multiline", {"text": "a cat\n# sits on [time(%Y)]"}),
        ("Text Multiline", {"text": ["102", 0]}),
        ("StringConstantMultiline", {"string": "a cat\nsits", "strip_newlines": True}),
        ("PrimitiveString", {"value": ["100", 1]}),
        ("ShowText|pysssss", {"text_0": "what another run showed"}),
    ],
)
def test_a_text_that_a_node_changes_or_looks_up_is_no_prompt(kind: str, inputs: dict[str, Any]) -> None:
    """The words of a prompt would be what a node was given, and not what it made of that."""
    tokens = node("PrimitiveString", value="[user] sits")
    graph = fed("6", "text", node(kind, **inputs), n100=TEXT, n102=tokens)

    facts = facts_of(graph)

    assert "prompt" not in facts
    assert facts["negative_prompt"] == "lowres, bad hands"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("PrimitiveStringMultiline", "value"),
        ("Primitive string multiline [Crystools]", "string"),
        ("String Literal", "string"),
        ("String Literal (Image Saver)", "string"),
        ("StringConstant", "string"),
        ("StringConstantMultiline", "string"),
        ("String", "String"),
        ("Textbox", "text"),
        ("Text Multiline", "text"),
        ("Text String", "text"),
        ("CR Prompt Text", "prompt"),
        ("CR Text", "text"),
        ("easy positive", "positive"),
        ("LayerUtility: TextBox", "text"),
        ("ShowText|pysssss", "text"),
        ("PreviewAny", "source"),
        ("Reroute", ""),
    ],
)
def test_a_text_that_a_node_hands_on_is_the_prompt(kind: str, name: str) -> None:
    """The rule against what nodes compute would cost the prompts of whoever keeps them in a box."""
    own, linked = fed("6", "text", node(kind, **{name: "a dog"})), fed("6", "text", node(kind), n100=TEXT)
    linked["99"]["inputs"][name] = ["100", 0]
    is_viewer = kind.startswith(("Show", "Preview"))

    found = [facts_of(each).get("prompt") for each in (own, linked)]

    assert found == [None if is_viewer else "a dog", "a dog"]


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("PrimitiveInt", {"value": 5, "control_after_generate": "randomize"}),
        ("PrimitiveInt", {"value": ["100", 0]}),
        ("INTConstant", {"value": 5}),
        ("Int Literal (Image Saver)", {"int": 5}),
        ("Primitive integer [Crystools]", {"int": 5}),
        ("Seed (rgthree)", {"seed": 5}),
        ("Seed Everywhere", {"seed": 5}),
        ("Seed Generator", {"seed": 5}),
        ("SeedNode", {"seed": 5}),
        ("CR Seed", {"seed": 5}),
        ("easy seed", {"seed": 5}),
        ("easy int", {"value": 5}),
        ("ImpactInt", {"value": 5}),
        ("SimpleMathInt+", {"value": 5}),
        ("LayerUtility: Seed", {"seed": 5}),
    ],
)
def test_a_seed_that_a_node_hands_on_is_known(kind: str, inputs: dict[str, Any]) -> None:
    """The rule against what nodes compute would cost the seeds of whoever sets them in one place."""
    graph = fed("3", "seed", node(kind, **inputs), n100=node("PrimitiveInt", value=5))

    assert facts_of(graph)["seed"] == "5"


SWITCHED = [
    ({"switch": ["100", 0]}, None),
    ({"switch": ["101", 0]}, "1"),
    ({"switch": ["102", 0]}, "2"),
    ({"switch": True}, "1"),
    ({"switch": False}, "2"),
    ({"switch": False, "on_false": 7}, None),
    ({"switch": ["100", 0], "on_false": 7}, None),
    ({"switch": True, "on_false": 7}, "1"),
]


@pytest.mark.parametrize(("inputs", "seed"), SWITCHED)
def test_a_switch_tells_the_branch_that_ran_or_none(inputs: dict[str, Any], seed: str | None) -> None:
    """The seed and the prompt would be those of the branch that did not run."""
    inputs = {"on_true": ["103", 0], "on_false": ["104", 0]} | inputs
    others = {
        "n100": node("InvertBooleanNode", boolean=["101", 0]),
        "n101": node("PrimitiveBoolean", value=True),
        "n102": node("BOOLConstant", value=False),
        "n103": node("PrimitiveInt", value=1),
        "n104": node("PrimitiveInt", value=2),
    }

    found = [
        facts_of(fed("3", "seed", node(kind, **inputs), **others))
        for kind in ("ComfySwitchNode", "LazySwitch")
    ]

    assert [each.get("seed") for each in found] == [seed, seed]


@pytest.mark.parametrize(("inputs", "seed"), SWITCHED[:5])
def test_a_switch_of_prompts_tells_the_one_that_was_used_or_none(
    inputs: dict[str, Any], seed: str | None
) -> None:
    """A picture would be found by the prompt that it was not made from."""
    graph = with_nodes(
        n99=node("ComfySwitchNode", on_true=["103", 0], on_false=["6", 0], **inputs),
        n100=node("InvertBooleanNode", boolean=["101", 0]),
        n101=node("PrimitiveBoolean", value=True),
        n102=node("BOOLConstant", value=False),
        n103=node("CLIPTextEncode", clip=["4", 1], text="a boy"),
    )
    wanted = {None: None, "1": "a boy", "2": graph["6"]["inputs"]["text"]}[seed]
    graph["3"]["inputs"]["positive"] = ["99", 0]

    facts = facts_of(graph)

    assert facts.get("prompt") == wanted


@pytest.mark.parametrize("text", ["an old man", "a dog"])
def test_a_switch_that_holds_a_text_of_its_own_is_not_taken_for_the_other(text: str) -> None:
    """The text on the link would be told though the one in the switch may have been used."""
    switch = node("Text Switch", select=["101", 0], text1=["100", 0], text2=text)
    graph = fed("6", "text", switch, n100=TEXT, n101=node("CountLines", text="x"))

    assert "prompt" not in facts_of(graph)


def test_a_lora_that_is_chosen_by_its_picture_is_told_like_any_other() -> None:
    """A list of LoRAs would lack one, and read as if the picture had been made without it."""
    graph = graph_of("loras_chain")
    wanted = facts_of(graph)["loras"]
    name = graph["10"]["inputs"]["lora_name"]
    graph["10"]["inputs"]["lora_name"] = {"content": name, "image": "lora.preview.png"}

    assert facts_of(graph)["loras"] == wanted


# --- Hostile input


def chain(count: int) -> dict[str, Any]:
    nodes = {str(i): node("ImageScale", image=[str(i - 1), 0], width=i) for i in range(1, count)}
    return {"0": node("LoadImage", image="far.png"), **nodes}


def saving(graph: dict[str, Any], source: str) -> dict[str, Any]:
    return {**graph, "save": node("SaveImage", filename_prefix="a", images=[source, 0])}


def samplers(count: int) -> dict[str, Any]:
    values = {"seed": 1, "steps": 2, "cfg": 3, "model": ["m", 0], "positive": ["p", 0], "denoise": 0.5}
    nodes = {
        f"s{i}": node("KSampler", **values, latent_image=[f"s{i - 1}", 0], samples=[f"s{i // 2}", 0])
        for i in range(count)
    }
    return saving(nodes, f"s{count - 1}")


def concatenations(count: int) -> dict[str, Any]:
    graph = graph_of("txt2img")
    graph["6"]["inputs"]["text"] = [f"t{count - 1}", 0]
    graph["t0"] = node("PrimitiveString", value="long " * 1000)
    for i in range(1, count):
        before = [f"t{i - 1}", 0]
        graph[f"t{i}"] = node("StringConcatenate", string_a=before, string_b=before, delimiter="x" * 50)
    return graph


def merges(count: int) -> dict[str, Any]:
    graph = graph_of("txt2img")
    graph["3"]["inputs"]["model"] = [f"m{count - 1}", 0]
    graph["m0"] = graph["4"]
    for i in range(1, count):
        graph[f"m{i}"] = node("ModelMergeSimple", model1=[f"m{i - 1}", 0], model2=[f"m{i - 1}", 0], ratio=0.5)
    return graph


def nested_subgraphs(width: int) -> dict[str, Any]:
    definitions = [
        {
            "id": f"g{level}",
            "nodes": [{"id": i, "type": f"g{level + 1}", "inputs": [], "outputs": []} for i in range(width)],
            "links": [],
        }
        for level in range(9)
    ]
    return {"nodes": [{"id": 1, "type": "g0"}], "links": [], "definitions": {"subgraphs": definitions}}


def reroutes(count: int) -> dict[str, Any]:
    nodes = [
        {"id": i, "type": "Reroute", "inputs": [{"name": "", "link": i}], "outputs": [{}]}
        for i in range(1, count)
    ]
    nodes += [
        {"id": count + i, "type": "SaveImage", "inputs": [{"name": "images", "link": count + i}]}
        for i in range(count)
    ]
    links = [[i, i - 1, 0, i, 0, "*"] for i in range(1, count)]
    links += [[count + i, count - 1, 0, count + i, 0, "*"] for i in range(count)]
    return {"nodes": nodes, "links": links, "last_node_id": 1}


def with_nodes(**nodes: Any) -> dict[str, Any]:
    return {**graph_of("txt2img"), **{name.lstrip("n"): each for name, each in nodes.items()}}


def hostile_loras() -> dict[str, Any]:
    loras = {f"lora_{i}": {"on": True, "lora": "a", "strength": i} for i in range(100_000)}
    return with_nodes(n4=node("Loras", model=["m", 0], **loras))


NODE = '{"1": {"class_type": "KSampler", "inputs": {"seed": '
MANY = {f"image{i}": [str(i), 0] for i in range(10_000)}
SOME = {f"image{i}": [str(i), 0] for i in range(900)}
SAVE = node("SaveImage", filename_prefix="ComfyUI", images=["8", 0])
HOSTILE: dict[str, Any] = {
    "deep lists": NODE + "[" * 100_000 + "]" * 100_000 + "}}}",
    "deep objects": '{"class_type": ' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}",
    "deep, but not too deep to parse": NODE + "[" * 500 + "]" * 500 + "}}}",
    "eight megabytes of text": with_nodes(x=node("Note", text="x" * 7_900_000)),
    "more than eight megabytes": json.dumps(graph_of("txt2img")) + " " * 9_000_000,
    "eight megabytes of lists": '{"nodes": [' + ",".join(["[[]]"] * 1_500_000) + "]}",
    "as many brackets as may be": '{"class_type": [' + ",".join(["[]"] * 299_000) + "]}",
    "a number of a million digits": json.dumps(graph_of("txt2img")).replace("15668", "9" * 1_000_000),
    "ten thousand nodes in a row": saving(chain(10_000), "9999"),
    "ten thousand nodes given to one": saving({**chain(10_000), "all": node("ImageBlend", **MANY)}, "all"),
    "many nodes given to many": saving(
        {**chain(9_000), **{str(i): node("ImageBlend", **SOME) for i in range(100)}}, "99"
    ),
    "more nodes than may be": saving(chain(30_000), "29999"),
    "samplers behind samplers": samplers(3_000),
    "texts that double": concatenations(100),
    "models that double": merges(2_000),
    "ten thousand savers": with_nodes(**{f"s{i}": SAVE for i in range(10_000)}),
    "a prefix of placeholders": with_nodes(
        n9=node("SaveImage", filename_prefix="%a%0" * 120, images=["8", 0])
    ),
    "tags without end": with_nodes(n4=node("Reads tags", model=["m", 0], text="<lora:a:" * 900_000)),
    "a hundred thousand LoRAs": hostile_loras(),
    "itself": {"1": node("SaveImage", filename_prefix="a", images=["1", 0], pipe=["1", 0])},
    "subgraphs in subgraphs": nested_subgraphs(30),
    "reroutes": reroutes(5_000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_graphs_cost_bounded_time_and_raise_nothing(name: str) -> None:
    """One file made to harm would stop an import of thousands."""
    texts = embedded({"prompt": HOSTILE[name]})
    started = time.process_time()

    found = parse(texts, "ComfyUI_00001_.png")

    assert found is None or len(str(found.facts)) < 400_000
    assert time.process_time() - started < 10  # what grows with the square of its input takes minutes


def test_a_long_but_honest_chain_is_followed_to_its_end() -> None:
    """The limits against hostile graphs would cost facts of large real ones."""
    graph = saving(chain(2_000), "1999")

    found = parse(embedded({"prompt": graph}), "a_00001_.png")

    assert found is not None
    assert found.facts == {"input_images": [{"name": "far.png"}]}


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(["fixed", "euler", "a.png", "None", "ComfyUI", "<lora:a:1>", "x | {a|b}", "%date%"]),
    st.text(max_size=8),
)
LINKS = st.tuples(st.sampled_from(["1", "2", "3", "4", "5", 1, 2]), st.integers(-2, 6)).map(list)
INPUTS = """
model positive negative latent_image samples images image pixels vae clip conditioning
conditioning_1 cond1 guider sampler sigmas noise seed noise_seed steps cfg sampler_name scheduler
denoise text prompt string_a string_b delimiter lora_name lora_1 loras lora_stack ckpt_name
unet_name model_name vae_name width height batch_size filename_prefix mask control_net pipe
basic_pipe ctx any_01 select boolean switch on_true value stop_at_clip_layer add_noise start_at_step
text_embeds audio video
"""
CLASSES = """
KSampler CLIPTextEncode SaveImage LoadImage VAEDecode Switch Context StringConcatenate
ConditioningZeroOut ShowText ImageBatch LoraLoader ToBasicPipe workflow>x Reroute PrimitiveNode
GetNode SetNode
"""
NAMES = st.sampled_from(INPUTS.split())
KINDS = st.sampled_from(CLASSES.split())
VALUES = st.recursive(
    SCALARS | LINKS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
PROMPTS = st.dictionaries(
    st.sampled_from("123456"),
    st.fixed_dictionaries(
        {"class_type": KINDS, "inputs": st.dictionaries(NAMES, LINKS | VALUES, max_size=9)}
    ),
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(PROMPTS)
def test_no_prompt_makes_the_reader_raise(graph: dict[str, Any]) -> None:
    """A graph that nobody thought of would cost its file."""
    found = parse(embedded({"prompt": graph}), "ComfyUI_00001_.png")

    assert (found is None) == (not graph)
    if found:
        assert all(isinstance(value, FACTS[name]) for name, value in found.facts.items())
        json.dumps(found.facts, allow_nan=False)
        assert parse(embedded({"prompt": graph}), "ComfyUI_00001_.png") == found


ODD = [None, True, -1, 1e308, "", "x", [], {}, [1, 2], {"a": [0]}, 10**30, [[["3", 0], 0], 0], float("nan")]


def mutated(graph: Any, chance: random.Random) -> Any:
    """Return a graph with a few values replaced, taken away, or put where others stood."""
    graph = copy.deepcopy(graph)
    places: list[tuple[Any, Any]] = []
    waiting = [graph]
    while waiting:
        value = waiting.pop()
        inner = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
        places += [(value, key) for key, _ in inner]
        waiting += [each for _, each in inner if isinstance(each, (dict, list))]
    for _ in range(chance.randint(1, 6)):
        (holder, key), (other, at) = chance.choice(places), chance.choice(places)
        try:
            if isinstance(holder, dict) and chance.random() < 0.3:
                holder.pop(key, None)
            else:
                holder[key] = copy.deepcopy(other[at]) if chance.random() < 0.4 else chance.choice(ODD)
        except (IndexError, KeyError):
            continue  # an earlier change took the place away
    return graph


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(CASES)), st.integers(0, 2**32))
def test_no_damage_to_a_graph_makes_the_reader_raise(name: str, seed: int) -> None:
    """A node of a type that nobody expects at a place would cost its file."""
    texts = {str(key): value for key, value in mutated(CASES[name]["texts"], random.Random(seed)).items()}

    found = parse(
        [EmbeddedText("png:tEXt", str(key), json.dumps(value)) for key, value in texts.items()], "a.png"
    )

    if found:
        assert all(isinstance(value, FACTS[fact]) for fact, value in found.facts.items())
        json.dumps([found.facts, found.workflow], allow_nan=False)
