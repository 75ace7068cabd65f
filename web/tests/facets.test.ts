import { describe, expect, test } from "vitest";
import { COUNTED, facetGroups, inOrderOf, type FacetGroup, type Facets } from "../src/core/facets";
import { EVERYTHING, type FacetKind, type Query } from "../src/core/query";

const FACETS: Facets = {
  total: 30,
  types: [
    { value: "characters", count: 20 },
    { value: "props", count: 10 },
  ],
  licenses: [
    { value: "CC0-1.0", count: 18 },
    { value: null, count: 12 },
  ],
  tags: [
    { value: null, count: 16 },
    { value: "smile", count: 14 },
    { value: "night", count: 3 },
  ],
  models: [
    { value: "anima", count: 9 },
    { value: "sdxl_base", count: 2 },
  ],
  loras: [],
  samplers: [{ value: "Euler a", count: 11 }],
  tools: [{ value: "ComfyUI", count: 11 }],
  problems: [
    { value: "no-license", count: 12 },
    { value: "missing", count: 0 },
  ],
};

function group(kind: FacetKind, query: Partial<Query> = {}, facets: Facets = FACETS): FacetGroup {
  const found = facetGroups(facets, { ...EVERYTHING, ...query }).find((each) => each.kind === kind);
  if (!found) throw new Error(kind);
  return found;
}

function lines(of: FacetGroup): string[] {
  return of.rows.map((row) => `${row.title} ${row.count ?? "?"} ${row.choice}`);
}

describe("facets", () => {
  test("rows that must not move keep their places, with what is true of them now", () => {
    const before = group("tag");
    const tags = [
      { value: "new", count: 5 },
      { value: "night", count: 2 },
    ];
    const now = group("tag", { tags: ["NIGHT"] }, { ...FACETS, tags });
    const kept = inOrderOf(before, now);
    expect(lines(kept)).toEqual(["no tags 0 open", "smile 0 open", "night 2 chosen", "new 5 open"]);
    expect(kept.chosen).toBe(1);
  });

  test("the bucket of those without any comes first, in plain words", () => {
    expect(lines(group("license"))).toEqual(["no licence 12 open", "CC0-1.0 18 open"]);
    expect(lines(group("tag"))).toEqual(["no tags 16 open", "smile 14 open", "night 3 open"]);
  });

  test("what is chosen stands on top, then what is excluded, whatever their counts", () => {
    const tags = group("tag", { tags: ["night"], notTags: ["smile"] });
    expect(lines(tags)).toEqual(["night 3 chosen", "smile 14 excluded", "no tags 16 open"]);
    expect(tags.chosen).toBe(2);
  });

  test("a value is chosen however its case is written in the address", () => {
    expect(lines(group("tag", { tags: ["SMILE"] }))[0]).toBe("smile 14 chosen");
    const types = group("type", { types: ["Props"] });
    expect(lines(types)).toEqual(["Props 0 chosen", "characters 20 open", "props 10 open"]);
  });

  test("what is chosen stays with a count of 0 when no asset has it", () => {
    expect(lines(group("license", { licenses: ["MIT", ""] }))).toEqual([
      "MIT 0 chosen",
      "no licence 12 chosen",
      "CC0-1.0 18 open",
    ]);
    const noTags = group("tag", { notTags: ["gone"] }, { ...FACETS, tags: [] });
    expect(lines(noTags)).toEqual(["gone 0 excluded"]);
  });

  test("a rare tag that was not counted is not said to have no assets", () => {
    const tags = Array.from({ length: COUNTED }, (_, at) => ({ value: `tag ${at}`, count: 200 - at }));
    const rare = group("tag", { tags: ["rare"] }, { ...FACETS, tags });
    expect(rare.isCut).toBe(true);
    expect(lines(rare)[0]).toBe("rare ? chosen");
  });

  test("what made them is counted, chosen with folder and suffix too, and never left out", () => {
    const models = group("model", { models: ["SDXL/sdxl_base.safetensors"] });
    expect(lines(models)).toEqual(["sdxl_base 2 chosen", "anima 9 open"]);
    expect(models.rows.some((row) => row.canExclude)).toBe(false);
    expect(lines(group("lora"))).toEqual([]);
    expect(lines(group("lora", { loras: ["gone"] }))).toEqual(["gone 0 chosen"]);
    expect(lines(group("sampler", { samplers: ["euler A"] }))).toEqual(["Euler a 11 chosen"]);
  });

  test("assets without tags are chosen as a problem, which can't be excluded", () => {
    const [row] = group("tag", { problems: ["no-tags"] }).rows;
    expect(row).toMatchObject({ kind: "problem", value: "no-tags", choice: "chosen", canExclude: false });
  });

  test("only problems that some asset has are told, and the chosen ones", () => {
    expect(lines(group("problem"))).toEqual(["No licence 12 open"]);
    const missing = group("problem", { problems: ["missing"] });
    expect(lines(missing)).toEqual(["File missing 0 chosen", "No licence 12 open"]);
    for (const row of missing.rows) expect(row.meaning).toMatch(/\.$/);
  });
});
