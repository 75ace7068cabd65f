import { describe, expect, it } from "vitest";
import { inputsOf } from "../src/core/provenance";

const UID = "83b523a03a112d9c";
const HASH = "83b523a03a112d9cfbd2ba7872728110ded4910288664ff8bb5ec9ca973e598c";

describe("inputsOf", () => {
  it("puts prompt, seed, model and size first and leaves out what the registry adds", () => {
    const ours = { asset_uid: UID, asset_hash: HASH };
    const inputs = { ...ours, zoom: 1, height: 9, width: 512, model: "sdxl", seed: 42, cfg: 7, prompt: "a" };

    expect(inputsOf(inputs).map((input) => input.name)).toEqual([
      "prompt",
      "seed",
      "model",
      "width",
      "height",
      "cfg",
      "zoom",
    ]);
  });
});
