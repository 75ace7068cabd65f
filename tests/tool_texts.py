"""Texts of the shapes that A1111 and its kin, Fooocus, InvokeAI, NovelAI and SwarmUI document, made by hand.

Each comes with all the facts that may be told of it: one too many is as wrong as one that differs.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comfyvn.model import EmbeddedText

FLUX_LORA = "FredFraiStyle-FLUX-Share"
BLAKE = "blake3:a7383e54f2e4570678b0f18545b2eb8fd95325da76ccba8467dbdbd481cf6b99"


@dataclass(frozen=True)
class Sample:
    """Texts by name, and what is told of them by which reader."""

    title: str
    reader: str
    texts: Mapping[str, str]
    tool: str
    facts: Mapping[str, Any]
    version: str | None = None
    file_name: str = "00012-1.png"


def texts_of(given: Mapping[str, str]) -> list[EmbeddedText]:
    return [EmbeddedText("png:tEXt", name, text) for name, text in given.items()]


def parameters(*lines: str) -> dict[str, str]:
    return {"parameters": "\n".join(lines)}


def record(**values: Any) -> dict[str, str]:
    return {"invokeai_metadata": json.dumps(values)}


def swarm(extra: object = None, models: object = None, **values: Any) -> dict[str, str]:
    beside = {"sui_extra_data": extra, "sui_models": models}
    return {
        "parameters": json.dumps(
            {
                "sui_image_params": values,
                **{key: value for key, value in beside.items() if value is not None},
            },
            indent=2,
        )
    }


def novel(source: str = "NovelAI Diffusion V4.5 4BDE2A90", **values: Any) -> dict[str, str]:
    return {
        "Title": "NovelAI generated image",
        "Description": "1girl, silver hair",
        "Software": "NovelAI",
        "Source": source,
        "Generation time": "2.3",
        "Comment": json.dumps(values),
    }


def captions(base: str, *characters: str) -> dict[str, Any]:
    listed = [{"char_caption": each, "centers": [{"x": 0.5, "y": 0.5}]} for each in characters]
    return {
        "caption": {"base_caption": base, "char_captions": listed},
        "use_coords": False,
        "use_order": True,
    }


LINE = (
    "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 42, Size: 512x768, Model hash: 6ce0161689, Model: v1-5"
)
LINE_FACTS = {
    "models": [{"name": "v1-5", "hash": "6ce0161689"}],
    "sampler": "Euler a",
    "steps": 20,
    "cfg": 7.0,
    "seed": "42",
    "width": 512,
    "height": 768,
}

A1111 = [
    Sample(
        "version 1.10",
        "a1111",
        parameters(
            "a girl on a bridge, (rain:1.2)",
            "Negative prompt: lowres, bad hands",
            "Steps: 28, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 2950113264, "
            "Size: 832x1216, "
            "Model hash: e3c47aedb0, Model: animagineXL_v31, VAE hash: 235745af8d, "
            "VAE: sdxl_vae.safetensors, "
            "Clip skip: 2, Version: v1.10.1",
        ),
        "Automatic1111",
        {
            "prompt": "a girl on a bridge, (rain:1.2)",
            "negative_prompt": "lowres, bad hands",
            "models": [{"name": "animagineXL_v31", "hash": "e3c47aedb0"}],
            "vae": "sdxl_vae.safetensors",
            "sampler": "DPM++ 2M",
            "scheduler": "Karras",
            "steps": 28,
            "cfg": 6.5,
            "seed": "2950113264",
            "clip_skip": 2,
            "width": 832,
            "height": 1216,
        },
        "v1.10.1",
    ),
    Sample(
        "before there was a version",
        "a1111",
        parameters(
            "lake ness monster",
            "Steps: 20, Sampler: DDIM, CFG scale: 7, Seed: 76682, Size: 512x512, Model hash: 38b5677b",
        ),
        "A1111-compatible",
        {
            "prompt": "lake ness monster",
            "sampler": "DDIM",
            "steps": 20,
            "cfg": 7.0,
            "seed": "76682",
            "width": 512,
            "height": 512,
        },
    ),
    Sample(
        "a development version, and blanks at the end",
        "a1111",
        parameters("x", f"{LINE}, Version: v1.9.4-169-ga30b19dd, Size: 512x768 \n"),
        "Automatic1111",
        {"prompt": "x", **LINE_FACTS},
        "v1.9.4-169-ga30b19dd",
    ),
    Sample(
        "prompts of several lines, Windows line ends",
        "a1111",
        {"UserComment": f"first,\r\n\r\nsecond\r\nNegative prompt: bad,\r\nworse\r\n{LINE}, Version: v1.6.0"},
        "Automatic1111",
        {"prompt": "first,\n\nsecond", "negative_prompt": "bad,\nworse", **LINE_FACTS},
        "v1.6.0",
    ),
    Sample(
        "no prompt at all",
        "a1111",
        parameters(f"{LINE}, Version: v1.6.0"),
        "Automatic1111",
        LINE_FACTS,
        "v1.6.0",
    ),
    Sample(
        "an empty negative prompt",
        "a1111",
        parameters("x", "Negative prompt: ", f"{LINE}, Version: v1.6.0"),
        "Automatic1111",
        {"prompt": "x", **LINE_FACTS},
        "v1.6.0",
    ),
    Sample(
        "only a negative prompt",
        "a1111",
        parameters("Negative prompt: lowres", f"{LINE}, Version: v1.6.0"),
        "Automatic1111",
        {"negative_prompt": "lowres", **LINE_FACTS},
        "v1.6.0",
    ),
    Sample(
        "as few parameters as may be",
        "a1111",
        parameters("x", "Steps: 5, Sampler: Euler, Seed: 1"),
        "A1111-compatible",
        {"prompt": "x", "sampler": "Euler", "steps": 5, "seed": "1"},
    ),
    Sample(
        "two lines that begin like the negative prompt: nobody can say where it begins",
        "a1111",
        parameters("x", "Negative prompt: y", "Negative prompt: z", f"{LINE}, Version: v1.6.0"),
        "Automatic1111",
        LINE_FACTS,
        "v1.6.0",
    ),
    Sample(
        "a prompt with a whole line of parameters pasted into it",
        "a1111",
        parameters(
            "cat", "Steps: 3, Sampler: DDIM, CFG scale: 1, Seed: 9, Size: 64x64", f"{LINE}, Version: v1.6.0"
        ),
        "Automatic1111",
        {"prompt": "cat\nSteps: 3, Sampler: DDIM, CFG scale: 1, Seed: 9, Size: 64x64", **LINE_FACTS},
        "v1.6.0",
    ),
    Sample(
        "a prompt with a line that begins with Steps",
        "a1111",
        parameters("Steps: of stone, mossy", "Steps: 3, of stone", f"{LINE}, Version: v1.6.0"),
        "Automatic1111",
        {"prompt": "Steps: of stone, mossy\nSteps: 3, of stone", **LINE_FACTS},
        "v1.6.0",
    ),
    Sample(
        "LoRAs in the prompt, with hashes",
        "a1111",
        parameters(
            "girl <lora:ink sketch:0.8> <lora:style/deep:1>",
            f'{LINE}, Lora hashes: "ink sketch: 1f0c3a, style/deep: 2e77ab", Version: v1.7.0',
        ),
        "Automatic1111",
        {
            "prompt": "girl <lora:ink sketch:0.8> <lora:style/deep:1>",
            "loras": [
                {"name": "ink sketch", "weight": 0.8, "hash": "1f0c3a"},
                {"name": "style/deep", "weight": 1.0, "hash": "2e77ab"},
            ],
            **LINE_FACTS,
        },
        "v1.7.0",
    ),
    Sample(
        "LoRAs with weights of their own for the text encoder, without any, and twice with two",
        "a1111",
        parameters(
            "<lora:a:0.4:0.9> <lora:b> <lora:c:te=0.2:unet=0.7:dyn=64> <lyco:d:0.5> <lora:e:x>",
            "<lora:f:1:0.5> <lora:f:0.5> <lora:g:0.6:0.6> <lora:h:0.5:x> <lora:i:unet=0.3>",
            "<lora::1> <hypernet:h:1>",
            f"{LINE}, Version: v1.7.0",
        ),
        "Automatic1111",
        {
            "prompt": "<lora:a:0.4:0.9> <lora:b> <lora:c:te=0.2:unet=0.7:dyn=64> <lyco:d:0.5> <lora:e:x>\n"
            "<lora:f:1:0.5> <lora:f:0.5> <lora:g:0.6:0.6> <lora:h:0.5:x> <lora:i:unet=0.3>\n"
            "<lora::1> <hypernet:h:1>",
            "loras": [
                {"name": "a", "weight": 0.9, "clip_weight": 0.4},
                {"name": "b"},
                {"name": "c", "weight": 0.7, "clip_weight": 0.2},
                {"name": "d", "weight": 0.5},
                {"name": "e"},
                {"name": "f"},
                {"name": "g", "weight": 0.6},
                {"name": "h", "clip_weight": 0.5},
                {"name": "i", "weight": 0.3},
            ],
            **LINE_FACTS,
        },
        "v1.7.0",
    ),
    Sample(
        "a LoRA in the negative prompt is text there",
        "a1111",
        parameters("x", "Negative prompt: <lora:a:1>", f"{LINE}, Version: v1.7.0"),
        "Automatic1111",
        {"prompt": "x", "negative_prompt": "<lora:a:1>", **LINE_FACTS},
        "v1.7.0",
    ),
    Sample(
        "a LoRA of another prompt, known by its hash",
        "a1111",
        parameters(
            "x",
            f'{LINE}, ADetailer prompt: "<lora:face:1>, smile", Lora hashes: "face: 99aa", Version: v1.7.0',
        ),
        "Automatic1111",
        {"prompt": "x", "loras": [{"name": "face", "hash": "99aa"}], **LINE_FACTS},
        "v1.7.0",
    ),
    Sample(
        "high resolution fix",
        "a1111",
        parameters(
            "cabin",
            f"{LINE}, Denoising strength: 0.45, Hires upscale: 2, Hires steps: 10, Hires sampler: DPM++ 2M, "
            "Hires schedule type: Karras, Hires upscaler: R-ESRGAN 4x+, Version: v1.9.4",
        ),
        "Automatic1111",
        {
            "prompt": "cabin",
            **LINE_FACTS,
            "passes": [
                {"seed": "42", "steps": 20, "cfg": 7.0, "sampler": "Euler a"},
                {"steps": 10, "sampler": "DPM++ 2M", "scheduler": "Karras", "denoise": 0.45},
            ],
        },
        "v1.9.4",
    ),
    Sample(
        "high resolution fix with another checkpoint and prompt",
        "a1111",
        parameters(
            "cabin",
            f"{LINE}, Denoising strength: 0.3, Hires checkpoint: real_v2 [0011223344], "
            f'Hires prompt: "cabin, <lora:snow:0.6>", '
            "Hires resize: 1024x1536, Version: v1.9.4",
        ),
        "Automatic1111",
        {
            "prompt": "cabin",
            **LINE_FACTS,
            "models": [
                {"name": "v1-5", "hash": "6ce0161689"},
                {"name": "real_v2", "kind": "hires", "hash": "0011223344"},
            ],
            "loras": [{"name": "snow", "weight": 0.6}],
            "passes": [{"seed": "42", "steps": 20, "cfg": 7.0, "sampler": "Euler a"}, {"denoise": 0.3}],
        },
        "v1.9.4",
    ),
    Sample(
        "from a picture",
        "a1111",
        parameters("x", f"{LINE}, Denoising strength: 0.75, Mask blur: 4, Version: v1.6.1"),
        "Automatic1111",
        {"prompt": "x", "denoise": 0.75, **LINE_FACTS},
        "v1.6.1",
    ),
    Sample(
        "refiner",
        "a1111",
        parameters(
            "x", f"{LINE}, Refiner: sd_xl_refiner_1.0 [7440042bbd], Refiner switch at: 0.8, Version: v1.6.1"
        ),
        "Automatic1111",
        {
            "prompt": "x",
            **LINE_FACTS,
            "models": [
                {"name": "v1-5", "hash": "6ce0161689"},
                {"name": "sd_xl_refiner_1.0", "kind": "refiner", "hash": "7440042bbd"},
            ],
        },
        "v1.6.1",
    ),
    Sample(
        "ControlNet, one unit without a model",
        "a1111",
        parameters(
            "x",
            f'{LINE}, ControlNet 0: "Module: canny, Model: control_v11p_sd15_canny [d14c016b], Weight: 1.0", '
            'ControlNet 1: "Module: reference_only, Model: None, Weight: 1.0", Version: v1.10.1',
        ),
        "Automatic1111",
        {
            "prompt": "x",
            **LINE_FACTS,
            "models": [
                {"name": "v1-5", "hash": "6ce0161689"},
                {"name": "control_v11p_sd15_canny", "kind": "controlnet", "hash": "d14c016b"},
            ],
        },
        "v1.10.1",
    ),
    Sample(
        "ControlNet with its settings in one value",
        "a1111",
        parameters(
            "x",
            f'{LINE}, ControlNet: "preprocessor: none, model: control_depth [fef5e48e], weight: 1", '
            "ADetailer model: face_yolov8n.pt",
        ),
        "A1111-compatible",
        {
            "prompt": "x",
            **LINE_FACTS,
            "models": [
                {"name": "v1-5", "hash": "6ce0161689"},
                {"name": "control_depth", "kind": "controlnet", "hash": "fef5e48e"},
            ],
        },
    ),
    Sample(
        "ControlNet as it was written in 2023",
        "a1111",
        parameters("x", f"{LINE}, ControlNet-0 Enabled: True, ControlNet-0 Model: control_depth [fef5e48e]"),
        "A1111-compatible",
        {
            "prompt": "x",
            **LINE_FACTS,
            "models": [
                {"name": "v1-5", "hash": "6ce0161689"},
                {"name": "control_depth", "kind": "controlnet", "hash": "fef5e48e"},
            ],
        },
    ),
    Sample(
        "values with commas, quotes and line breaks, and a bare JSON object",
        "a1111",
        parameters(
            "x",
            f'{LINE}, ADetailer prompt: "face, \\"smile\\",\\nSeed: 7", Note: "of',
            'two, Steps: 9", Tiled Diffusion: {"Method": "MultiDiffusion", "Steps": 3, "Seed": [1, '
            "2]}, Clip skip: 2, "
            "Version: v1.8.0",
        ),
        "Automatic1111",
        {"prompt": "x", "clip_skip": 2, **LINE_FACTS},
        "v1.8.0",
    ),
    Sample(
        "the object Hashes",
        "a1111",
        parameters(
            "x <lora:ink:0.5>",
            "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 42, Size: 512x768, Model: v1-5, "
            'Hashes: {"vae": "c6a580b13a", "embed:easy": "c74b4e81", "lora:ink": "1f0c", '
            '"model": "6ce0161689"}, '
            "Version: v1.6.0",
        ),
        "Automatic1111",
        {
            "prompt": "x <lora:ink:0.5>",
            "loras": [{"name": "ink", "weight": 0.5, "hash": "1f0c"}],
            **LINE_FACTS,
        },
        "v1.6.0",
    ),
    Sample(
        "a variation seed is not the seed",
        "a1111",
        parameters("x", f"{LINE}, Variation seed: 458188939, Variation seed strength: 0.06, Version: v1.6.0"),
        "Automatic1111",
        {"prompt": "x", **LINE_FACTS},
        "v1.6.0",
    ),
    Sample(
        "numbers that are none, and a random seed",
        "a1111",
        parameters(
            "x", "Steps: 20, Sampler: Euler, CFG scale: 7,5, Seed: -1, Size: big, Clip skip: 0, Model: None"
        ),
        "A1111-compatible",
        {"prompt": "x", "sampler": "Euler", "steps": 20},
    ),
    Sample(
        "a seed that stands there twice",
        "a1111",
        parameters("x", f"{LINE}, Seed: 43, Size: 512x768, Version: v1.6.0"),
        "Automatic1111",
        {"prompt": "x", **{name: fact for name, fact in LINE_FACTS.items() if name != "seed"}},
        "v1.6.0",
    ),
    Sample(
        "the templates of Dynamic Prompts behind the line",
        "a1111",
        parameters(
            "a red cat",
            "Negative prompt: dog",
            f"{LINE}, Version: v1.6.0",
            "Template: a {red|blue} cat",
            "Steps: 9, Sampler: DDIM, Seed: 1, Size: 1x1",
            "Negative Template: dog",
        ),
        "Automatic1111",
        {"prompt": "a red cat", "negative_prompt": "dog", **LINE_FACTS},
        "v1.6.0",
    ),
    Sample(
        "a grid of X/Y/Z plot: each of its cells is another picture",
        "a1111",
        parameters("x", f'{LINE}, Script: X/Y/Z plot, X Type: Steps, X Values: "10,20", Version: v1.6.0'),
        "Automatic1111",
        {},
        "v1.6.0",
    ),
    Sample(
        "a grid of a batch has the seed of its first picture only",
        "a1111",
        parameters("x", f"{LINE}, Denoising strength: 0.3, Hires upscale: 2, Version: v1.6.0"),
        "Automatic1111",
        {"prompt": "x", **{name: fact for name, fact in LINE_FACTS.items() if name != "seed"}},
        "v1.6.0",
        "txt2img-grids/grid-0007.png",
    ),
    Sample(
        "Forge with Flux",
        "a1111",
        parameters(
            "portrait",
            f"<lora:{FLUX_LORA}:0.95>",
            "<lora:- Flux1 - vanta_black_V2.0:0.55>",
            "Steps: 20, Sampler: Euler, Schedule type: Simple, CFG scale: 1, "
            "Distilled CFG Scale: 3.5, Seed: 3045329758, "
            "Size: 832x1216, Model hash: 06f96f89f6, Model: flux_dev, "
            f'Lora hashes: "{FLUX_LORA}: de92428f6411, - Flux1 - vanta_black_V2.0: 5d8cf3724039", '
            "Version: f2.0.1v1.10.1-previous-561-g82eb7566, Diffusion in Low Bits: Automatic (fp16 LoRA), "
            "Module 1: ae, Module 2: clip_l, Module 3: t5xxl_fp16",
        ),
        "Forge",
        {
            "prompt": f"portrait\n<lora:{FLUX_LORA}:0.95>\n<lora:- Flux1 - vanta_black_V2.0:0.55>",
            "models": [
                {"name": "flux_dev", "hash": "06f96f89f6"},
                {"name": "ae", "kind": "module"},
                {"name": "clip_l", "kind": "module"},
                {"name": "t5xxl_fp16", "kind": "module"},
            ],
            "loras": [
                {"name": FLUX_LORA, "weight": 0.95, "hash": "de92428f6411"},
                {"name": "- Flux1 - vanta_black_V2.0", "weight": 0.55, "hash": "5d8cf3724039"},
            ],
            "sampler": "Euler",
            "scheduler": "Simple",
            "steps": 20,
            "cfg": 1.0,
            "seed": "3045329758",
            "width": 832,
            "height": 1216,
        },
        "f2.0.1v1.10.1-previous-561-g82eb7566",
    ),
    Sample(
        "Forge with high resolution fix",
        "a1111",
        parameters(
            "x",
            f"{LINE}, Denoising strength: 0.37, Hires Module 1: Use same choices, Hires CFG Scale: 5, "
            f"Hires upscale: 1.5, "
            "Hires sampler: Use same sampler, Hires upscaler: R-ESRGAN 4x+, "
            "Version: f2.0.1v1.10.1-previous-669-gdfdcbab6",
        ),
        "Forge",
        {
            "prompt": "x",
            **LINE_FACTS,
            "passes": [
                {"seed": "42", "steps": 20, "cfg": 7.0, "sampler": "Euler a"},
                {"cfg": 5.0, "denoise": 0.37},
            ],
        },
        "f2.0.1v1.10.1-previous-669-gdfdcbab6",
    ),
    Sample(
        "the first Forge",
        "a1111",
        parameters("x", f"{LINE}, Version: f0.0.17v1.8.0rc-latest-276-g29be1da7"),
        "Forge",
        {"prompt": "x", **LINE_FACTS},
        "f0.0.17v1.8.0rc-latest-276-g29be1da7",
    ),
    Sample(
        "reForge",
        "a1111",
        parameters("x", f"{LINE}, Version: f1.0.3v2-v1.10.1RC-latest-2196-g3d2ae3e0"),
        "reForge",
        {"prompt": "x", **LINE_FACTS},
        "f1.0.3v2-v1.10.1RC-latest-2196-g3d2ae3e0",
    ),
    Sample(
        "Forge Neo",
        "a1111",
        parameters("x", f"{LINE}, Version: Neo, Module 1: flatpiece.xl.vae"),
        "Forge Neo",
        {
            "prompt": "x",
            **LINE_FACTS,
            "models": [
                {"name": "v1-5", "hash": "6ce0161689"},
                {"name": "flatpiece.xl.vae", "kind": "module"},
            ],
        },
        "Neo",
    ),
    Sample(
        "SD.Next, from text",
        "a1111",
        parameters(
            "girl <lora:outline:3.0>",
            "Negative prompt: low quality",
            "Steps: 20, Size: 1312x1408, Seed: 1561296656, CFG scale: 6, CFG rescale: 0.7, "
            "Model: hassakuXL_v21fix, "
            "Model hash: 847403d47a, App: SD.Next, Version: 8b73cb6, Pipeline: StableDiffusionXLPipeline, "
            "Operations: txt2img, Denoising strength: 0.3, LoRA networks: outline",
        ),
        "SD.Next",
        {
            "prompt": "girl <lora:outline:3.0>",
            "negative_prompt": "low quality",
            "models": [{"name": "hassakuXL_v21fix", "hash": "847403d47a"}],
            "loras": [{"name": "outline", "weight": 3.0}],
            "steps": 20,
            "cfg": 6.0,
            "seed": "1561296656",
            "width": 1312,
            "height": 1408,
        },
        "8b73cb6",
    ),
    Sample(
        "SD.Next, upscaled and sampled again",
        "a1111",
        parameters(
            "x",
            f"{LINE}, Parser: Full parser, Backend: Diffusers, App: SD.Next, Version: 900264a, "
            "Operations: upscale; hires; txt2img, Second pass: True, Hires force: True, Hires steps: 25, "
            "Hires upscaler: ESRGAN 4x Valar, Hires upscale: 1.5, Hires size: 768x1152, "
            "Denoising strength: 0.5, "
            "Hires sampler: DPM++ 3M, Image CFG scale: 4",
        ),
        "SD.Next",
        {
            "prompt": "x",
            **LINE_FACTS,
            "passes": [
                {"seed": "42", "steps": 20, "cfg": 7.0, "sampler": "Euler a"},
                {"steps": 25, "sampler": "DPM++ 3M", "denoise": 0.5},
            ],
        },
        "900264a",
    ),
    Sample(
        "SD.Next, upscaled only: the strength stands there unused",
        "a1111",
        parameters(
            "x",
            f"{LINE}, App: SD.Next, Version: 900264a, Operations: upscale; txt2img, Hires upscale: 1.5, "
            "Denoising strength: 0.5",
        ),
        "SD.Next",
        {"prompt": "x", **LINE_FACTS},
        "900264a",
    ),
    Sample(
        "SD.Next of 2023, from a picture",
        "a1111",
        parameters(
            "cutie",
            f"{LINE}, Parser: Full parser, Backend: Original, Version: 792893e, Operations: img2img, "
            "Init image size: 785x786, Init image hash: 0c265246, Resize mode: 1, Denoising strength: 0.75",
        ),
        "SD.Next",
        {"prompt": "cutie", "denoise": 0.75, **LINE_FACTS},
        "792893e",
    ),
    Sample(
        "another app that writes like SD.Next",
        "a1111",
        parameters("x", f"{LINE}, App: SomethingElse, Version: v1.6.0"),
        "A1111-compatible",
        {"prompt": "x", **LINE_FACTS},
    ),
    Sample(
        "a version of a program that is not known",
        "a1111",
        parameters("x", f"{LINE}, Version: 1.0"),
        "A1111-compatible",
        {"prompt": "x", **LINE_FACTS},
    ),
    Sample(
        "a node of ComfyUI: tags in its prompt may be unread",
        "a1111",
        parameters(
            "x <lora:ghost:1>",
            "Negative prompt: y",
            "Steps: 50, Sampler: DPM++ 3M SDE Karras, CFG Scale: 3.6, Seed: 1087151610341875, "
            "Size: 768x1344, "
            'Model Hash: {"key1": "value1", "key2": {"sub": "value2"}}, Model: Kolors v1, '
            'Hashes: {"model": ""}, '
            "Version: ComfyUI",
        ),
        "ComfyUI",
        {
            "prompt": "x <lora:ghost:1>",
            "negative_prompt": "y",
            "models": [{"name": "Kolors v1"}],
            "sampler": "DPM++ 3M SDE Karras",
            "steps": 50,
            "cfg": 3.6,
            "seed": "1087151610341875",
            "width": 768,
            "height": 1344,
        },
    ),
    Sample(
        "a node of ComfyUI with Civitai's resources",
        "a1111",
        parameters(
            "x",
            f'{LINE}, Version: ComfyUI, Civitai resources: [{{"modelName":"Ink, '
            f'wet","versionName":"v2","weight":0.7,'
            '"air":"urn:air:sdxl:lora:civitai:13@18"},{"modelName":"Lazy","weight":1.0,'
            '"air":"urn:air:sdxl:embedding:civitai:1@2"}]',
        ),
        "ComfyUI",
        {"prompt": "x", "loras": [{"name": "Ink, wet", "weight": 0.7}], **LINE_FACTS},
    ),
    Sample(
        "Civitai's generator",
        "a1111",
        {
            "UserComment": "a fisherman <lora:never read:1>\nNegative prompt: blurry\n"
            "Steps: 25, CFG scale: 3.5, Sampler: Undefined, Seed: 1234567890, Size: 832x1216, Clip skip: 2, "
            "Created Date: 2024-09-01T00:00:00.000Z, Civitai resources: "
            '[{"type":"checkpoint","modelVersionId":691639,"modelName":"FLUX","modelVersionName":"Dev"},'
            '{"type":"lora","weight":0.85,"modelVersionId":210432,"modelName":"Double Exposure"},'
            '{"type":"lora","weight":1,"modelVersionId":5},{"type":"embed","weight":1,"modelName":"neg"}] , '
            'Civitai metadata: {"remixOfId":12345}'
        },
        "Civitai",
        {
            "prompt": "a fisherman <lora:never read:1>",
            "negative_prompt": "blurry",
            "models": [{"name": "FLUX"}],
            "loras": [{"name": "Double Exposure", "weight": 0.85}],
            "steps": 25,
            "cfg": 3.5,
            "seed": "1234567890",
            "clip_skip": 2,
            "width": 832,
            "height": 1216,
        },
    ),
    Sample(
        "a comment in a GIF",
        "a1111",
        {"comment": f"walk cycle\n{LINE}, Version: v1.6.0"},
        "Automatic1111",
        {"prompt": "walk cycle", **LINE_FACTS},
        "v1.6.0",
    ),
    Sample(
        "parameters beside another text that has some",
        "a1111",
        {"comment": "other\nSteps: 1, Sampler: a, Seed: 1", "parameters": f"x\n{LINE}, Version: v1.6.0"},
        "Automatic1111",
        {"prompt": "x", **LINE_FACTS},
        "v1.6.0",
    ),
    Sample(
        "a prompt in braces, as dynamic prompts are",
        "a1111",
        parameters('{"a": 1|b} {{cat}}', f"{LINE}, Version: v1.6.0"),
        "Automatic1111",
        {"prompt": '{"a": 1|b} {{cat}}', **LINE_FACTS},
        "v1.6.0",
    ),
]

FOOOCUS_JSON: dict[str, Any] = {
    "adm_guidance": "(1.5, 0.8, 0.3)",
    "base_model": "juggernautXL_v8Rundiffusion",
    "base_model_hash": "aeb7e9e689",
    "clip_skip": 2,
    "full_negative_prompt": ["blurry", "watermark"],
    "full_prompt": ["cinematic still A sunflower field . moody", "A sunflower field, highly detailed"],
    "guidance_scale": 4,
    "lora_combined_1": "sd_xl_offset_example-lora_1.0 : 0.1",
    "loras": [["sd_xl_offset_example-lora_1.0", 0.1, "4852686128"]],
    "metadata_scheme": "fooocus",
    "negative_prompt": "",
    "performance": "Speed",
    "prompt": "A sunflower field",
    "prompt_expansion": "A sunflower field, highly detailed",
    "refiner_model": "None",
    "refiner_switch": 0.5,
    "resolution": "(512, 640)",
    "sampler": "dpmpp_2m_sde_gpu",
    "scheduler": "karras",
    "seed": "127589946317439009",
    "sharpness": 2,
    "steps": 30,
    "styles": "['Fooocus V2', 'Fooocus Enhance']",
    "vae": "Default (model)",
    "version": "Fooocus v2.5.5",
}
FOOOCUS_FACTS = {
    "prompt": "A sunflower field",
    "models": [{"name": "juggernautXL_v8Rundiffusion", "hash": "aeb7e9e689"}],
    "loras": [{"name": "sd_xl_offset_example-lora_1.0", "weight": 0.1, "hash": "4852686128"}],
    "sampler": "dpmpp_2m_sde_gpu",
    "scheduler": "karras",
    "steps": 30,
    "cfg": 4.0,
    "seed": "127589946317439009",
    "clip_skip": 2,
    "width": 512,
    "height": 640,
}
FOOOCUS_LINE = (
    "cinematic still A sunflower field . moody\nNegative prompt: blurry, watermark\n"
    "Steps: 30, Sampler: DPM++ 2M SDE Karras, Seed: 127589946317439009, Size: 512x640, CFG scale: 4, "
    "Sharpness: 2, "
    'ADM Guidance: "(1.5, 0.8, 0.3)", Model: juggernautXL_v8Rundiffusion, Model hash: aeb7e9e689, '
    "Performance: Speed, "
    "Scheduler: karras, VAE: Default (model), Raw prompt: A sunflower field, Raw negative prompt: , "
    "Clip skip: 2, "
    'Lora hashes: "sd_xl_offset_example-lora_1.0: 4852686128", '
    'Lora weights: "sd_xl_offset_example-lora_1.0: 0.1"'
)

FOOOCUS = [
    Sample(
        "PNG in Fooocus' own scheme",
        "fooocus",
        {"parameters": json.dumps(FOOOCUS_JSON), "fooocus_scheme": "fooocus"},
        "Fooocus",
        FOOOCUS_FACTS,
        "v2.5.5",
    ),
    Sample(
        "JPEG in Fooocus' own scheme",
        "fooocus",
        {"Software": "Fooocus v2.5.5", "MakerNote": "fooocus", "UserComment": json.dumps(FOOOCUS_JSON)},
        "Fooocus",
        FOOOCUS_FACTS,
        "v2.5.5",
    ),
    Sample(
        "nothing beside the object but what it says itself",
        "fooocus",
        {
            "comment": json.dumps(
                {
                    **FOOOCUS_JSON,
                    "version": None,
                    "refiner_model": "refiner_1.0",
                    "refiner_model_hash": "77aa",
                }
            )
        },
        "Fooocus",
        {
            **FOOOCUS_FACTS,
            "models": [
                {"name": "juggernautXL_v8Rundiffusion", "hash": "aeb7e9e689"},
                {"name": "refiner_1.0", "kind": "refiner", "hash": "77aa"},
            ],
        },
    ),
    Sample(
        "the object of version 2.1",
        "fooocus",
        parameters(
            json.dumps(
                {
                    "Prompt": "dinosaur leashed",
                    "Negative Prompt": "",
                    "Fooocus V2 Expansion": "dinosaur leashed, full color",
                    "Styles": "['Fooocus V2', 'Misc Horror']",
                    "Performance": "Extreme Speed",
                    "Resolution": "(1024, 1024)",
                    "Sharpness": 0.0,
                    "Guidance Scale": 1.0,
                    "ADM Guidance": "(1.0, 1.0, 0.0)",
                    "Base Model": "sd_xl_base_1.0_0.9vae.safetensors",
                    "Refiner Model": "None",
                    "Refiner Switch": 1.0,
                    "Sampler": "lcm",
                    "Scheduler": "lcm",
                    "Seed": 6515525224486854496,
                    "LoRA 6": "sdxl_lcm_lora.safetensors : 1.0",
                    "LoRA 1": "PetDinosaur-v2.safetensors : 1.65",
                    "Version": "v2.1.860",
                }
            )
        ),
        "Fooocus",
        {
            "prompt": "dinosaur leashed",
            "models": [{"name": "sd_xl_base_1.0_0.9vae.safetensors"}],
            "loras": [
                {"name": "PetDinosaur-v2.safetensors", "weight": 1.65},
                {"name": "sdxl_lcm_lora.safetensors", "weight": 1.0},
            ],
            "sampler": "lcm",
            "scheduler": "lcm",
            "cfg": 1.0,
            "seed": "6515525224486854496",
            "width": 1024,
            "height": 1024,
        },
        "v2.1.860",
    ),
    Sample(
        "FooocusPlus",
        "fooocus",
        parameters(
            json.dumps(
                {
                    "ADM Guidance": "(1.5, 0.8, 0.3)",
                    "Backend Engine": "SDXL-Fooocus",
                    "Base Model": "elsewhereXL_v10",
                    "Base Model Hash": "79fd29ab43",
                    "CLIP Skip": 2,
                    "Full Prompt": ["a cat", "a cat, beautiful"],
                    "Guidance Scale": 4.5,
                    "LoRAs": [],
                    "Metadata Scheme": "Fooocus",
                    "Negative Prompt": "dog",
                    "Prompt": "a cat",
                    "Resolution": "(1024, 1024)",
                    "Sampler": "dpmpp_2m_sde_gpu",
                    "Scheduler": "karras",
                    "Seed": "5256010854089202552",
                    "Steps": 30,
                    "User": "FooocusPlus",
                    "VAE": "sdxl_vae.safetensors",
                    "Version": "FooocusPlus 1.0.0",
                }
            )
        ),
        "FooocusPlus",
        {
            "prompt": "a cat",
            "negative_prompt": "dog",
            "models": [{"name": "elsewhereXL_v10", "hash": "79fd29ab43"}],
            "vae": "sdxl_vae.safetensors",
            "sampler": "dpmpp_2m_sde_gpu",
            "scheduler": "karras",
            "steps": 30,
            "cfg": 4.5,
            "seed": "5256010854089202552",
            "clip_skip": 2,
            "width": 1024,
            "height": 1024,
        },
        "1.0.0",
    ),
    Sample(
        "a fork that keeps the scheme and names itself",
        "fooocus",
        parameters(json.dumps({**FOOOCUS_JSON, "version": "SimpleSDXL2_0922"})),
        "Fooocus-compatible",
        FOOOCUS_FACTS,
    ),
    Sample(
        "PNG in the scheme of A1111",
        "fooocus",
        {"fooocus_scheme": "a1111", "parameters": f"{FOOOCUS_LINE}, Version: Fooocus v2.5.5"},
        "Fooocus",
        {**FOOOCUS_FACTS, "sampler": "DPM++ 2M SDE Karras"},
        "v2.5.5",
    ),
    Sample(
        "the scheme of A1111, where only Exif tells",
        "fooocus",
        {"Software": "Fooocus v2.5.5", "UserComment": FOOOCUS_LINE},
        "Fooocus",
        {**FOOOCUS_FACTS, "sampler": "DPM++ 2M SDE Karras"},
    ),
    Sample(
        "only the scheme within, and values of wrong types",
        "fooocus",
        parameters(
            '{"Metadata Scheme": "Fooocus", "base_model": "m", "loras": 5, "resolution": 3, "lora_1": 7}'
        ),
        "Fooocus",
        {"models": [{"name": "m"}]},
    ),
    Sample(
        "only the expansion",
        "fooocus",
        parameters(
            '{"Fooocus V2 Expansion": "cat, vivid", "Base Model": "m", "loras": [5, [], ["a"], ["None", 1]]}'
        ),
        "Fooocus",
        {"models": [{"name": "m"}], "loras": [{"name": "a"}]},
    ),
    Sample(
        "only keys that no other tool has",
        "fooocus",
        parameters('{"base_model": "m", "adm_guidance": "", "refiner_switch": 0.5, "sharpness": 2}'),
        "Fooocus",
        {"models": [{"name": "m"}]},
    ),
    Sample(
        "the scheme of A1111, where only the version tells",
        "fooocus",
        {"UserComment": f"{FOOOCUS_LINE}, Version: Fooocus v2.2.0"},
        "Fooocus",
        {**FOOOCUS_FACTS, "sampler": "DPM++ 2M SDE Karras"},
        "v2.2.0",
    ),
    Sample(
        "the scheme of A1111, without raw prompts, weights behind hashes",
        "fooocus",
        parameters(
            "a cat",
            "Negative prompt: dog",
            'Steps: 30, Sampler: Euler, Seed: 5, Size: 64x64, Lora hashes: "a: 0123, b: 4567: 0.7", '
            "Version: Fooocus v2.2.0",
        ),
        "Fooocus",
        {
            "prompt": "a cat",
            "negative_prompt": "dog",
            "loras": [{"name": "a", "hash": "0123"}, {"name": "b", "weight": 0.7, "hash": "4567"}],
            "sampler": "Euler",
            "steps": 30,
            "seed": "5",
            "width": 64,
            "height": 64,
        },
        "v2.2.0",
    ),
    Sample(
        "marked, but nothing to read",
        "fooocus",
        {"fooocus_scheme": "fooocus", "parameters": "{broken"},
        "Fooocus",
        {},
    ),
]

INVOKEAI = [
    Sample(
        "version 5, with graph",
        "invokeai",
        {
            **record(
                generation_mode="sdxl_txt2img",
                positive_prompt="a robot reading a book",
                negative_prompt="blurry",
                width=1184,
                height=888,
                seed=591741300,
                rand_device="cpu",
                cfg_scale=5.0,
                cfg_rescale_multiplier=0.0,
                steps=30,
                scheduler="dpmpp_2m_sde",
                model={"key": "db73016a", "hash": BLAKE, "name": "dreamXL", "base": "sdxl", "type": "main"},
                loras=[
                    {
                        "model": {
                            "key": "44309e2f",
                            "hash": "blake3:b760",
                            "name": "Light_v3",
                            "base": "sdxl",
                        },
                        "weight": 1.5,
                    },
                    {
                        "model": {"key": "9b7bfa9d", "name": "Flat", "base": "sdxl", "type": "lora"},
                        "weight": 0.6,
                    },
                ],
                vae={
                    "key": "vae01",
                    "hash": "blake3:aa",
                    "name": "sdxl-vae-fp16-fix",
                    "base": "sdxl",
                    "type": "vae",
                },
                positive_style_prompt="",
                hrf_enabled=False,
                app_version="5.4.2",
            ),
            "invokeai_graph": '{"id": "g", "nodes": {"noise": {"type": "noise", "seed": 7}}, "edges": []}',
        },
        "InvokeAI",
        {
            "prompt": "a robot reading a book",
            "negative_prompt": "blurry",
            "models": [{"name": "dreamXL", "hash": BLAKE}],
            "loras": [
                {"name": "Light_v3", "hash": "blake3:b760", "weight": 1.5},
                {"name": "Flat", "weight": 0.6},
            ],
            "vae": "sdxl-vae-fp16-fix",
            "sampler": "dpmpp_2m_sde",
            "steps": 30,
            "cfg": 5.0,
            "seed": "591741300",
            "width": 1184,
            "height": 888,
        },
        "5.4.2",
    ),
    Sample(
        "version 3",
        "invokeai",
        record(
            app_version="3.3.0post3",
            generation_mode="txt2img",
            positive_prompt="landscape",
            negative_prompt="",
            width=768,
            height=432,
            seed=356120443,
            cfg_scale=7.5,
            steps=50,
            scheduler="dpmpp_2m_sde_k",
            clip_skip=1,
            model={"model_name": "amixx_3", "base_model": "sd-1", "model_type": "main"},
            controlnets=[
                {
                    "control_model": {"model_name": "canny_sd15"},
                    "image": {"image_name": "control.png"},
                    "control_weight": 0.7,
                }
            ],
            ipAdapters=[
                {
                    "ip_adapter_model": {"model_name": "ip_sd15"},
                    "image": {"image_name": "ref.png"},
                    "weight": 0.5,
                }
            ],
            t2iAdapters=[],
            loras=[{"lora": {"model_name": "detail", "base_model": "sd-1"}, "weight": 0.8}],
            vae={"model_name": "sd-vae-ft-mse", "base_model": "sd-1"},
        ),
        "InvokeAI",
        {
            "prompt": "landscape",
            "models": [
                {"name": "amixx_3"},
                {"name": "canny_sd15", "kind": "controlnet"},
                {"name": "ip_sd15", "kind": "ip_adapter"},
            ],
            "loras": [{"name": "detail", "weight": 0.8}],
            "vae": "sd-vae-ft-mse",
            "sampler": "dpmpp_2m_sde_k",
            "steps": 50,
            "cfg": 7.5,
            "seed": "356120443",
            "clip_skip": 2,
            "width": 768,
            "height": 432,
            "input_images": [{"name": "control.png", "role": "control"}, {"name": "ref.png"}],
        },
        "3.3.0post3",
    ),
    Sample(
        "from a picture",
        "invokeai",
        record(
            app_version="4.2.0",
            generation_mode="sdxl_img2img",
            positive_prompt="x",
            strength=0.6,
            init_image="a1b2.png",
            seed=0,
            steps=10,
            model={"name": "m", "hash": BLAKE},
            refiner_model={"name": "refiner"},
        ),
        "InvokeAI",
        {
            "prompt": "x",
            "models": [{"name": "m", "hash": BLAKE}, {"name": "refiner", "kind": "refiner"}],
            "steps": 10,
            "seed": "0",
            "denoise": 0.6,
            "input_images": [{"name": "a1b2.png", "role": "img2img"}],
        },
        "4.2.0",
    ),
    Sample(
        "painted over",
        "invokeai",
        record(generation_mode="flux_inpaint", strength=0.8, init_image={"image_name": "room.png"}, seed=1),
        "InvokeAI",
        {"seed": "1", "denoise": 0.8, "input_images": [{"name": "room.png", "role": "inpaint"}]},
    ),
    Sample(
        "Flux: guidance is no cfg, and a strength without a picture is none",
        "invokeai",
        record(
            generation_mode="flux_txt2img",
            positive_prompt="a lake",
            guidance=4,
            strength=0.7,
            steps=30,
            seed=3,
            width=1024,
            height=1024,
            model={"name": "FLUX Dev", "base": "flux"},
            ref_images=[
                {
                    "id": "r",
                    "isEnabled": True,
                    "config": {"type": "ip_adapter", "image": {"image_name": "face.png"}, "weight": 0.7},
                },
                {"id": "s", "isEnabled": False, "config": {"image": {"image_name": "unused.png"}}},
            ],
        ),
        "InvokeAI",
        {
            "prompt": "a lake",
            "models": [{"name": "FLUX Dev"}],
            "steps": 30,
            "seed": "3",
            "width": 1024,
            "height": 1024,
            "input_images": [{"name": "face.png"}],
        },
    ),
    Sample(
        "high resolution fix: the size is that of the result",
        "invokeai",
        record(
            generation_mode="txt2img",
            positive_prompt="x",
            seed=1,
            steps=20,
            cfg_scale=7,
            scheduler="euler_a",
            width=1024,
            height=1536,
            hrf_enabled=True,
            hrf_strength=0.45,
            hrf_method="ESRGAN",
        ),
        "InvokeAI",
        {
            "prompt": "x",
            "sampler": "euler_a",
            "steps": 20,
            "cfg": 7.0,
            "seed": "1",
            "passes": [{"seed": "1", "steps": 20, "cfg": 7.0, "sampler": "euler_a"}, {"denoise": 0.45}],
        },
    ),
    Sample(
        "values of wrong types, and one cfg for each step",
        "invokeai",
        record(
            positive_prompt=["x"],
            seed="abc",
            steps=True,
            cfg_scale=[7, 6],
            model=[1],
            loras={"a": 1},
            width=-5,
            height=5,
        ),
        "InvokeAI",
        {},
    ),
    Sample(
        "only a workflow",
        "invokeai",
        {"invokeai_workflow": '{"name": "mine", "nodes": [], "edges": []}'},
        "InvokeAI",
        {},
    ),
    Sample(
        "version 2",
        "invokeai",
        {
            "sd-metadata": json.dumps(
                {
                    "model": "stable diffusion",
                    "model_weights": "analog",
                    "model_hash": "a9a1c908",
                    "app_id": "invoke-ai/InvokeAI",
                    "app_version": "v2.2.4",
                    "image": {
                        "prompt": [{"prompt": "a landscape [blurry, text]", "weight": 1}],
                        "steps": 50,
                        "cfg_scale": 12,
                        "threshold": 0,
                        "height": 768,
                        "width": 512,
                        "seed": 2502935700,
                        "type": "txt2img",
                        "postprocessing": None,
                        "sampler": "k_euler_a",
                        "variations": [],
                    },
                }
            ),
            "Dream": '"a landscape [blurry, text]" -s 50 -S 2502935700 -W 512 -H 768 -C 12 -A k_euler_a',
        },
        "InvokeAI",
        {
            "prompt": "a landscape [blurry, text]",
            "models": [{"name": "analog", "hash": "a9a1c908"}],
            "sampler": "k_euler_a",
            "steps": 50,
            "cfg": 12.0,
            "seed": "2502935700",
            "width": 512,
            "height": 768,
        },
        "v2.2.4",
    ),
    Sample(
        "version 2, from a picture and two prompts",
        "invokeai",
        {
            "sd-metadata": json.dumps(
                {
                    "app_id": "invoke-ai/InvokeAI",
                    "image": {
                        "prompt": [{"prompt": "a", "weight": 1}, {"prompt": "b", "weight": 0.5}],
                        "type": "img2img",
                        "strength": 0.75,
                        "seed": 1,
                    },
                }
            )
        },
        "InvokeAI",
        {"seed": "1", "denoise": 0.75},
    ),
    Sample(
        "version 1",
        "invokeai",
        {"Dream": '"a lonely robot, reading" -s50 -S1618033988 -W512 -H512 -C7.5 -A k_lms -U 4 0.95\n'},
        "InvokeAI",
        {
            "prompt": "a lonely robot, reading",
            "sampler": "k_lms",
            "steps": 50,
            "cfg": 7.5,
            "seed": "1618033988",
            "width": 512,
            "height": 512,
        },
    ),
]

NOVELAI = [
    Sample(
        "version 4.5, with characters",
        "novelai",
        novel(
            prompt="2girls, park",
            uc="lowres",
            steps=28,
            height=1216,
            width=832,
            scale=5.0,
            uncond_scale=0.0,
            cfg_rescale=0.4,
            seed=3563546993,
            n_samples=1,
            noise_schedule="karras",
            v4_prompt=captions("2girls, park", "girl, police uniform", "girl, rat tail"),
            v4_negative_prompt=captions("lowres", "", ""),
            sampler="k_euler_ancestral",
            lora_unet_weights=None,
            request_type="PromptGenerateRequest",
            signed_hash="abc",
        ),
        "NovelAI",
        {
            "prompt": "2girls, park\ngirl, police uniform\ngirl, rat tail",
            "negative_prompt": "lowres",
            "models": [{"name": "NovelAI Diffusion V4.5", "hash": "4BDE2A90"}],
            "sampler": "k_euler_ancestral",
            "scheduler": "karras",
            "steps": 28,
            "cfg": 5.0,
            "seed": "3563546993",
            "width": 832,
            "height": 1216,
        },
    ),
    Sample(
        "version 3",
        "novelai",
        novel(
            "Stable Diffusion XL C1E1DE52",
            prompt="{tall}, 1girl",
            uc="nsfw",
            steps=28,
            height=1216,
            width=832,
            scale=6,
            seed=3816166865,
            n_samples=1,
            noise_schedule="native",
            sampler="k_euler",
            sm=True,
            request_type="PromptGenerateRequest",
        ),
        "NovelAI",
        {
            "prompt": "{tall}, 1girl",
            "negative_prompt": "nsfw",
            "models": [{"name": "Stable Diffusion XL", "hash": "C1E1DE52"}],
            "sampler": "k_euler",
            "scheduler": "native",
            "steps": 28,
            "cfg": 6.0,
            "seed": "3816166865",
            "width": 832,
            "height": 1216,
        },
    ),
    Sample(
        "from a picture",
        "novelai",
        novel(prompt="x", seed=1, strength=0.62, noise=0.1, request_type="Img2ImgRequest"),
        "NovelAI",
        {
            "prompt": "x",
            "models": [{"name": "NovelAI Diffusion V4.5", "hash": "4BDE2A90"}],
            "seed": "1",
            "denoise": 0.62,
        },
    ),
    Sample(
        "painted over: its strength means something else",
        "novelai",
        novel(prompt="x", seed=1, strength=0.7, request_type="NativeInfillingRequest"),
        "NovelAI",
        {"prompt": "x", "models": [{"name": "NovelAI Diffusion V4.5", "hash": "4BDE2A90"}], "seed": "1"},
    ),
    Sample(
        "the first version: the prompt is the description, and a strength stands there always",
        "novelai",
        novel(
            "Stable Diffusion 81274D13",
            steps=28,
            sampler="k_euler_ancestral",
            seed=7,
            strength=0.69,
            noise=0.2,
            scale=11.0,
            uc="bad",
        ),
        "NovelAI",
        {
            "prompt": "1girl, silver hair",
            "negative_prompt": "bad",
            "models": [{"name": "Stable Diffusion", "hash": "81274D13"}],
            "sampler": "k_euler_ancestral",
            "steps": 28,
            "cfg": 11.0,
            "seed": "7",
        },
    ),
    Sample(
        "one of several pictures, and a source without a hash",
        "novelai",
        novel("NovelAI Diffusion V4.5", prompt="x", seed=7, n_samples=3),
        "NovelAI",
        {"prompt": "x", "models": [{"name": "NovelAI Diffusion V4.5"}]},
    ),
    Sample(
        "a comment that can't be read",
        "novelai",
        {"Software": "NovelAI", "Description": "1girl", "Comment": '{"prompt": "1gi'},
        "NovelAI",
        {"prompt": "1girl"},
    ),
    Sample(
        "WebP",
        "novelai",
        {
            "UserComment": json.dumps(
                {
                    "Comment": json.dumps(
                        {"prompt": "x", "uc": "y", "steps": 23, "seed": 5, "sampler": "k_euler"}
                    ),
                    "Software": "NovelAI",
                    "Source": "NovelAI Diffusion V4 7ABFFA2A",
                    "Title": "NovelAI generated image",
                }
            )
        },
        "NovelAI",
        {
            "prompt": "x",
            "negative_prompt": "y",
            "models": [{"name": "NovelAI Diffusion V4", "hash": "7ABFFA2A"}],
            "sampler": "k_euler",
            "steps": 23,
            "seed": "5",
        },
    ),
]

SWARMUI = [
    Sample(
        "as documented",
        "swarmui",
        swarm(
            {"date": "2024-11-13", "generation_time": "6.11 (prep) and 4.84 (gen) seconds"},
            prompt="a photo of a cat",
            model="OfficialStableDiffusion/sd_xl_base_1.0",
            seed=1,
            steps=20,
            cfgscale=7.0,
            aspectratio="1:1",
            width=1024,
            height=1024,
            automaticvae=True,
            negativeprompt="",
            swarm_version="0.9.3.1",
        ),
        "SwarmUI",
        {
            "prompt": "a photo of a cat",
            "models": [{"name": "OfficialStableDiffusion/sd_xl_base_1.0"}],
            "steps": 20,
            "cfg": 7.0,
            "seed": "1",
            "width": 1024,
            "height": 1024,
        },
        "0.9.3.1",
    ),
    Sample(
        "LoRAs and hashes, from a picture with a mask",
        "swarmui",
        swarm(
            {
                "initimage_filename": "raw/x.png",
                "initimage_resolution": "1152x896",
                "maskimage_filename": "mask.png",
            },
            [
                {"name": "sub/realDream.safetensors", "param": "model", "hash": "0x84fc41ea"},
                {"name": "turbo-v0.2.safetensors", "param": "loras", "hash": "0x5c390318"},
                {"name": "styleA.safetensors", "param": "loras", "hash": "0xe8055d97"},
            ],
            prompt="1girl",
            negativeprompt="pov",
            model="sub/realDream",
            seed=1755497345,
            steps=16,
            cfgscale=2.0,
            width=1248,
            height=1824,
            sampler="er_sde",
            scheduler="beta_1_1",
            initimagecreativity=0.6,
            vae="SDXL-VAE/sdxl.vae",
            loras=["styleA", "turbo-v0.2"],
            loraweights=["0.4", "0.7"],
            loratencweights=["0.4", "0.5"],
            clipstopatlayer=-2,
            swarm_version="0.9.8.1",
        ),
        "SwarmUI",
        {
            "prompt": "1girl",
            "negative_prompt": "pov",
            "models": [{"name": "sub/realDream", "hash": "0x84fc41ea"}],
            "loras": [
                {"name": "styleA", "weight": 0.4, "hash": "0xe8055d97"},
                {"name": "turbo-v0.2", "weight": 0.7, "clip_weight": 0.5, "hash": "0x5c390318"},
            ],
            "vae": "SDXL-VAE/sdxl.vae",
            "sampler": "er_sde",
            "scheduler": "beta_1_1",
            "steps": 16,
            "cfg": 2.0,
            "seed": "1755497345",
            "denoise": 0.6,
            "clip_skip": 2,
            "width": 1248,
            "height": 1824,
            "input_images": [{"name": "raw/x.png", "role": "img2img"}, {"name": "mask.png", "role": "mask"}],
        },
        "0.9.8.1",
    ),
    Sample(
        "numbers as texts, lists as texts",
        "swarmui",
        {
            "UserComment": json.dumps(
                {
                    "sui_image_params": {
                        "prompt": "x",
                        "seed": "18446744073709551615",
                        "steps": "20",
                        "cfgscale": "7.5",
                        "width": "512",
                        "height": "768",
                        "loras": "a,b",
                        "loraweights": "1,0.5",
                    }
                }
            )
        },
        "SwarmUI",
        {
            "prompt": "x",
            "loras": [{"name": "a", "weight": 1.0}, {"name": "b", "weight": 0.5}],
            "steps": 20,
            "cfg": 7.5,
            "seed": "18446744073709551615",
            "width": 512,
            "height": 768,
        },
    ),
    Sample(
        "a single LoRA, and weights that don't fit",
        "swarmui",
        swarm(
            models=[{"name": "CANVAS.safetensors", "param": "loras", "hash": "0x1f"}],
            prompt="x",
            loras="OIL, CANVAS",
            loraweights=1.0,
        ),
        "SwarmUI",
        {"prompt": "x", "loras": [{"name": "OIL"}, {"name": "CANVAS", "hash": "0x1f"}]},
    ),
    Sample(
        "refined afterwards",
        "swarmui",
        swarm(
            prompt="x",
            model="base",
            refinermodel="fine",
            seed=7,
            steps=9,
            cfgscale=1.0,
            sampler="euler",
            refinermethod="PostApply",
            refinercontrolpercentage=0.5,
            refinerupscale=1.5,
            refinersteps=12,
            refinersampler="dpmpp_2m",
            initimagecreativity=0.0,
        ),
        "SwarmUI",
        {
            "prompt": "x",
            "models": [{"name": "base"}, {"name": "fine", "kind": "refiner"}],
            "sampler": "euler",
            "steps": 9,
            "cfg": 1.0,
            "seed": "7",
            "passes": [
                {"seed": "7", "steps": 9, "cfg": 1.0, "sampler": "euler"},
                {"steps": 12, "sampler": "dpmpp_2m", "denoise": 0.5},
            ],
        },
    ),
    Sample(
        "refined in one pass, by the same model",
        "swarmui",
        swarm(
            prompt="x",
            model="base",
            refinermodel="(Use Base)",
            refinermethod="StepSwap",
            refinercontrolpercentage=0.2,
            seed=7,
        ),
        "SwarmUI",
        {"prompt": "x", "models": [{"name": "base"}], "seed": "7"},
    ),
    Sample(
        "a film",
        "swarmui",
        {
            "comment": swarm(
                prompt="a cat", model="WanX/Wan2_1", seed=5, textvideoframes=61, width=832, height=480
            )["parameters"]
        },
        "SwarmUI",
        {"prompt": "a cat", "models": [{"name": "WanX/Wan2_1"}], "seed": "5", "width": 832, "height": 480},
    ),
    Sample(
        "values of wrong types",
        "swarmui",
        swarm(
            [1],
            {"a": 1},
            prompt=5,
            model=["m"],
            seed=-1,
            steps=1.5,
            cfgscale=None,
            loras=[[1], None],
            vae="None",
            width=0,
            height=9,
        ),
        "SwarmUI",
        {},
    ),
]

SAMPLES = [*A1111, *FOOOCUS, *INVOKEAI, *NOVELAI, *SWARMUI]

NOBODYS: dict[str, dict[str, str]] = {
    "no text": {},
    "only a prompt": parameters("a girl on a bridge, 8k"),
    "only prompts": parameters("a girl", "Negative prompt: lowres"),
    "a title and a comment": {"Title": "Castle", "Comment": "Made with GIMP", "Software": "GIMP 2.10"},
    "a graph of ComfyUI": {"prompt": '{"3": {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 20}}}'},
    "a sentence with steps": {"Description": "Steps: 3, walk, turn, and go\nSeed: none"},
    "too few parameters": parameters("x", "Steps: 20, Sampler: Euler"),
    "parameters within the prompt's line": parameters("x Steps: 20, Sampler: Euler, Seed: 1, Size: 1x1"),
    "parameters between bars": parameters(
        "x", "Steps: 20 | Seed: 4 | Sampler: UniPC | CFG scale: 6 | Size: 512x512"
    ),
    "an object of a model and a prompt": parameters('{"prompt": "x", "base_model": "m", "seed": 1}'),
    "RuinedFooocus": parameters(
        '{"Prompt": "x", "Negative": "", "steps": 30, "cfg": 8, "width": 64, "height": 64, '
        '"seed": 1, "sampler_name": "ddim", '
        '"base_model_name": "m", "base_model_hash": "1f", "loras": [["1f", "0.5 - a"]], '
        '"software": "RuinedFooocus"}'
    ),
    "the comment of NovelAI without its name": {
        "Comment": json.dumps({"prompt": "x", "uc": "y", "noise_schedule": "native", "seed": 1})
    },
    "another program's sd-metadata": {
        "sd-metadata": '{"app_id": "other", "image": {"prompt": "x", "seed": 1}}'
    },
    "a command without steps": {"Dream": '"a dream" -S 5'},
    "a dream of a night": {"Dream": '"a dream" I had -s'},
    "the name of SwarmUI's key in a prompt": parameters('{"prompt": "what is \\"sui_image_params\\"?"}'),
}
