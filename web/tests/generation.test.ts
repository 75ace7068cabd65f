import { expect, test } from "vitest";
import { makingOf } from "../src/core/generation";
import { Chance, nastyText } from "./random";

const FACTS = {
  prompt: "mara at the window",
  negative_prompt: "blurry",
  models: [{ name: "SDXL\\anima_v2.safetensors", kind: "checkpoint", hash: "0123abcd" }],
  loras: [{ name: "mara_v3", weight: 0.8, clip_weight: 0.8 }, { name: "ink.pt", weight: 1, clip_weight: 0.5 }, { name: "x" }],
  vae: "vae/kl.safetensors",
  sampler: "Euler a",
  scheduler: "Karras",
  steps: 20,
  cfg: 7.0,
  seed: "18446744073709551615",
  denoise: 0.30000000000000004,
  width: 832,
  height: 1216,
  passes: [{ sampler: "Euler a", steps: 1, seed: "7" }, { cfg: 4.5, denoise: 0.4, scheduler: "Karras" }],
  input_images: [{ name: "sketch.png", role: "img2img" }, { name: "mask.png" }],
};
const TOLD = { tool: "ComfyUI", tool_version: "0.3.1", facts: FACTS, read_from: { seed: "prompt node 3.seed" } };

test("the facts are told in words, each with the place where it was read", () => {
  const making = makingOf({ asset_uid: "0", generation: TOLD });

  expect(making).toMatchObject({ tool: "ComfyUI", version: "0.3.1" });
  expect(making?.seed).toEqual({ value: "18446744073709551615", readFrom: "prompt node 3.seed" });
  expect(making?.models).toMatchObject([{ short: "anima_v2", more: "checkpoint" }]);
  expect(making?.loras.map(({ short, more }) => `${short} ${more}`)).toEqual(["mara_v3 0.8", "ink 1, clip 0.5", "x "]);
  expect(making?.settings.map(({ name, value }) => `${name} ${value}`)).toEqual([
    "Scheduler Karras",
    "Steps 20",
    "CFG 7",
    "Denoise 0.3",
    "Size 832 × 1216",
    "VAE kl",
  ]);
  expect(making?.passes).toEqual(["Euler a, 1 step, seed 7", "Karras, CFG 4.5, denoise 0.4"]);
  expect(making?.images.map(({ value }) => value)).toEqual(["sketch.png (img2img)", "mask.png"]);
});

test.each([undefined, null, {}, { generation: "by hand" }, { generation: null }, { generation: { tool: "x" } }])(
  "%j tells nothing",
  (inputs) => expect(makingOf(inputs)).toBeNull(),
);

test("what somebody wrote into a sidecar is left out where it makes no sense", () => {
  const chance = new Chance(3);
  const odd = [null, 5, Number.NaN, "", "x", [], [1], [null], [{}], [{ name: 7 }], { name: "a" }, [[["deep"]]]];
  for (let tried = 0; tried < 2000; tried += 1) {
    const facts = Object.fromEntries(Object.keys(FACTS).map((key) => [key, chance.pick([...odd, nastyText(chance)])]));
    const making = makingOf({ generation: { tool: chance.pick(odd), facts, read_from: chance.pick(odd) } });

    for (const { value } of making?.settings ?? []) expect(value).not.toBe("");
    for (const { short } of [...(making?.models ?? []), ...(making?.loras ?? [])]) expect(short).not.toBe("");
    expect(making?.seed?.value ?? "0").toMatch(/^\d+$/);
  }
});
