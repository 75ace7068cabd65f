import { describe as group, expect, test } from "vitest";
import { describe, describeDone, tagRows, tagsIn, type BulkChange } from "../src/core/tags";

const NOTHING: BulkChange = { total: 30, add: [], remove: [], license: null };

group("tags of many assets", () => {
  const summary = { total: 30, counts: new Map([["night", 12], ["Zoe", 30], ["smile", 12], ["Anna", 12]]) };

  test("say whether all, some or none have them, the most frequent first, then by name", () => {
    expect(tagRows(summary, ["new"], []).map(({ tag, count, state }) => [tag, count, state])).toEqual([
      ["Zoe", 30, "all"],
      ["Anna", 12, "some"],
      ["night", 12, "some"],
      ["smile", 12, "some"],
      ["new", 0, "none"],
    ]);
  });

  test("show what is to become of them, ignoring case", () => {
    const rows = tagRows(summary, ["SMILE", "new", "New"], ["Night"]);
    expect(rows.map(({ tag, change }) => [tag, change])).toEqual([
      ["Zoe", null],
      ["Anna", null],
      ["night", "remove"],
      ["smile", "add"],
      ["new", "add"],
    ]);
  });

  test("tell a tag that is to be removed though nobody has it, so that this can be taken back", () => {
    const rows = tagRows({ total: 1, counts: new Map() }, [], ["night"]);
    expect(rows).toEqual([{ tag: "night", count: 0, state: "none", change: "remove" }]);
  });
});

group("the sentence of an edit", () => {
  test.each<[Partial<BulkChange>, string]>([
    [
      { add: ["smile"], remove: ["night"], license: "CC0-1.0" },
      "Add smile, remove night from 30 assets; licence CC0-1.0",
    ],
    [{ add: ["smile"] }, "Add smile to 30 assets"],
    [{ remove: ["night"], total: 1 }, "Remove night from 1 asset"],
    [{ add: ["a", "b"], license: "" }, "Add a and b to 30 assets; no licence"],
    [{ license: "MIT", total: 12_345 }, "Set the licence of 12,345 assets to MIT"],
    [{ license: "" }, "Clear the licence of 30 assets"],
    [{ add: ["a", "b", "c", "d"] }, "Add a, b, c and d to 30 assets"],
    [{ add: ["a", "b", "c", "d", "e"] }, "Add a, b, c and 2 more to 30 assets"],
    [{ rating: 4 }, "Set the rating of 30 assets to 4"],
    [{ license: "MIT", rating: 0 }, "Set the licence of 30 assets to MIT; no rating"],
    [{ add: ["smile"], rating: 5 }, "Add smile to 30 assets; rating 5"],
    [{ rating: null }, "No change to 30 assets"],
    [{}, "No change to 30 assets"],
  ])("%j", (change, sentence) => {
    expect(describe({ ...NOTHING, ...change })).toBe(sentence);
  });

  test.each<[Partial<BulkChange>, string]>([
    [{ add: ["smile"], remove: ["night"] }, "Tagged 30 assets"],
    [{ remove: ["night"] }, "Removed night from 30 assets"],
    [{ license: "MIT" }, "Set the licence of 30 assets to MIT"],
    [{ license: "" }, "Cleared the licence of 30 assets"],
    [{ rating: 3 }, "Rated 30 assets ★★★"],
    [{ rating: 0, total: 1 }, "Cleared the rating of 1 asset"],
    [{ add: ["smile"], rating: 3 }, "Edited 30 assets"],
  ])("afterwards: %j", (change, sentence) => {
    expect(describeDone({ ...NOTHING, ...change })).toBe(sentence);
  });
});

group("tags of a text", () => {
  test.each([
    ["hero", ["hero"]],
    [" hero ,main cast, ", ["hero", "main cast"]],
    ['"red, torn", old', ["red, torn", "old"]],
    ['5" gun, "open, end', ['5" gun', '"open', "end"]],
    ['"a" b, c', ['"a" b', "c"]],
    [",, ", []],
  ])("%s", (text, tags) => {
    expect(tagsIn(text)).toEqual(tags);
  });
});
