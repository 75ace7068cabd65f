import { describe, expect, it } from "vitest";
import { inputsOf, namedIn } from "../src/core/provenance";

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

describe("namedIn", () => {
  it("finds uids, hashes and files wherever they stand, but not the asset itself", () => {
    const inputs = {
      asset_uid: UID,
      asset_hash: HASH,
      self: UID,
      parents: ["0123456789abcdef", { uid: "fedcba9876543210" }],
      nodes: { "4": { inputs: { image: "mara/base.png [input]" } } },
      made_from: HASH,
      prompt: "a girl, looking at a png",
    };

    expect(namedIn(inputs, UID)).toEqual({
      uids: ["0123456789abcdef", "fedcba9876543210"],
      hashes: [HASH],
      files: ["mara/base.png"],
    });
  });

  it("stops at twelve, and does not go on for ever into the deep", () => {
    const many = Array.from({ length: 40 }, (_, at) => at.toString(16).padStart(16, "0"));
    const deep = { a: { b: { c: { d: { e: { f: "0123456789abcdef" } } } } } };

    expect(namedIn({ many }, UID).uids).toHaveLength(12);
    expect(namedIn(deep, UID).uids).toEqual([]);
  });
});
