import { describe, expect, test } from "vitest";
import { faults } from "../src/core/faults";
import { formatSearch } from "../src/core/query";
import { Chance, nastyText, randomQuery } from "./random";

function said(text: string, typed: number | null = null): string[] {
  return faults(text, typed).map((fault) => fault.said);
}

describe("faults in the search box", () => {
  test.each([
    ["problem:nonsense", "there is no such problem"],
    ["uid:zz", "a uid has 4 to 64 digits"],
    ["uid:744", "a uid has 4 to 64 digits"],
    ["rating:9", "stars are a number from 1 to 5"],
    ["rating>=9", "stars are a number from 1 to 5"],
    ["workflow:abc", "8 or more"],
    ["seed:twelve", "whole number"],
    ["seed:-1", "whole number"],
    ["from:7444", "the whole uid"],
    ["model:.ckpt", "no model"],
    ["where:width", "a condition is written like"],
    ["width>=", "a condition is written like"],
    ["tag:", "right behind the colon"],
    ['tag:"two', "closing quote"],
  ])("%s does not count, and the reason is told", (written, reason) => {
    expect(said(`mara ${written}`)).toEqual([expect.stringContaining(`${written} does not count: `)]);
    expect(said(`mara ${written}`)).toEqual([expect.stringContaining(reason)]);
  });

  test("a word that looks like a token is told to be text, an address or a time is not", () => {
    expect(said("sort:x")).toEqual([expect.stringContaining("there is no sort: here")]);
    expect(said("-uid:7444")).toEqual([expect.stringContaining("can be left out")]);
    expect(said("http://example.org 12:30 \"sort:x\" -smile")).toEqual([]);
  });

  test.each(["problem:no-", "uid:", "uid:74", "rating:", "workflow:abc", "from:74", "seed:", "where:wid", "width>=", "sort:", 'tag:"t'])(
    "%s may still become valid while it is typed",
    (typed) => {
      expect(said(`mara ${typed}`, 5)).toEqual([]);
      expect(said(`mara ${typed}`, 0)).toHaveLength(1);
    },
  );

  test.each(["problem:nonsense", "uid:x", "rating:9", "where:9", "seed:x", "from:a/b"])(
    "%s never becomes valid, so it is told at once",
    (typed) => {
      expect(said(typed, 0)).toHaveLength(1);
    },
  );

  test("what the page writes itself is never at fault", () => {
    const chance = new Chance(29);
    for (let tried = 0; tried < 2000; tried += 1) {
      const written = formatSearch({ ...randomQuery(chance), text: "" });
      expect(faults(written, null), written).toEqual([]);
    }
  });

  test("anything can be looked through, and what is told stands in the text", () => {
    const chance = new Chance(31);
    for (let tried = 0; tried < 2000; tried += 1) {
      const typed = nastyText(chance) + nastyText(chance);
      for (const fault of faults(typed, chance.below(4))) expect(typed).toContain(fault.written);
    }
  });
});
