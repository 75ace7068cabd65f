import { describe, expect, test } from "vitest";
import { EVERYTHING, parseSearch } from "../src/core/query";
import { isBeginning, placeOf, suggest, type Suggestion, type Term } from "../src/core/suggest";
import { Chance, nastyName } from "./random";

const SMILE: Term = { kind: "tag", name: "smile", count: 15 };
const SMILING: Term = { kind: "tag", name: "smiling cat", count: 2 };

const ANIMA: Term = { kind: "model", name: "anima", count: 4 };

function offered(
  typed: string,
  terms: readonly Term[] = [],
  caret = typed.length,
  isMade = false,
): Suggestion[] {
  const problems = [{ value: "missing", count: 3 } as const];
  return suggest(typed, placeOf(typed, caret), terms, { problems, isMade });
}

function written(typed: string, terms: readonly Term[] = []): string[] {
  return offered(typed, terms).map((each) => each.written);
}

describe("suggestions", () => {
  test("the word under the caret says which terms to ask for", () => {
    expect(placeOf("tag:smi", 7)).toMatchObject({ terms: ["tag"], prefix: "smi" });
    expect(placeOf('-licence:"CC BY', 15)).toMatchObject({ terms: ["license"], prefix: "CC BY" });
    expect(placeOf("mara smi", 8)).toMatchObject({
      terms: ["tag", "type", "license", "model", "lora", "sampler", "tool"],
      prefix: "smi",
    });
    expect(placeOf("lora:mara", 9)).toMatchObject({ terms: ["lora"], prefix: "mara" });
    expect(placeOf("mara smi", 2)).toMatchObject({ prefix: "mara" });
    expect(placeOf("-smi", 4)).toMatchObject({ prefix: "smi" });
    for (const typed of ["", "mara ", "uid:7444", "width>=10", '"smi', "problem:mi"]) {
      expect(placeOf(typed, typed.length).terms, typed).toEqual([]);
    }
  });

  test("an empty box offers the kinds of conditions; a word those that begin like it, then values", () => {
    expect(written("")).toContain("-tag:");
    expect(written("ta", [])).toEqual(["tag:"]);
    expect(written("smi", [SMILE, SMILING])).toEqual(["tag:smile", 'tag:"smiling cat"']);
    expect(written("-t")).toEqual(["-tag:", "-type:"]);
    expect(written('"ta')).toEqual([]);
  });

  test("what made an asset is offered where the library tells it, and never to be left out", () => {
    const beginnings = (isMade: boolean): string[] => offered("", [], 0, isMade).map((each) => each.written);
    expect(beginnings(true)).toEqual(expect.arrayContaining(["model:", "lora:", "sampler:", "tool:", "seed:"]));
    expect(beginnings(false).filter((each) => /model|lora|sampler|tool|seed/.test(each))).toEqual([]);
    expect(written("ani", [ANIMA])).toEqual(["model:anima"]);
    expect(written("-ani", [ANIMA, SMILE])).toEqual(["-tag:smile"]);
    expect(isBeginning(placeOf("model:ani", 9), [ANIMA])).toBe(true);
    expect(isBeginning(placeOf("model:x/Anima.ckpt", 18), [ANIMA])).toBe(false);
  });

  test("a word after a minus offers what leaves it out", () => {
    expect(written("mara -smi", [SMILE])).toEqual(["-tag:smile"]);
    expect(written("-tag:s", [SMILE])).toEqual(["-tag:smile"]);
  });

  test("a beginning that is taken leaves the caret where its value comes", () => {
    const [tag] = offered("mara ta", [], 7);
    expect(tag).toMatchObject({ text: "mara tag:", caret: 9, isBeginning: true });
  });

  test("a value that is taken replaces the word only, and the caret stands behind it", () => {
    const [smile] = offered("tag:smi width>=100", [SMILE], 7);
    expect(smile).toMatchObject({ text: "tag:smile width>=100", caret: 10, isBeginning: false, count: 15 });
  });

  test("problems come with their counts and in words", () => {
    const missing = { written: "problem:missing", hint: "File missing", count: 3 };
    expect(offered("problem:m")).toMatchObject([missing]);
    expect(written("problem:")).toHaveLength(6);
  });

  test("stars are offered from five down, and a number that is typed is the only one", () => {
    expect(written("ra")).toEqual(["rating:"]);
    expect(written("stars:")).toEqual(["rating:5", "rating:4", "rating:3", "rating:2", "rating:1"]);
    expect(offered("rating:4")).toMatchObject([{ written: "rating:4", hint: "4 stars or more", count: null }]);
  });

  test("no licence can be chosen like one", () => {
    expect(written("licence:")).toEqual(["licence:none"]);
    expect(written("-licence:no")).toEqual(["-licence:none"]);
    expect(written("licence:C")).toEqual([]);
  });

  test("the beginning of a value is held back while some value begins so and none is it", () => {
    expect(isBeginning(placeOf("tag:smi", 7), [SMILE])).toBe(true);
    expect(isBeginning(placeOf("tag:smile", 9), [SMILE, SMILING])).toBe(false);
    expect(isBeginning(placeOf("tag:SMILE", 9), [SMILE])).toBe(false);
    expect(isBeginning(placeOf("tag:xyz", 7), [])).toBe(false);
    expect(isBeginning(placeOf("smi", 3), [SMILE])).toBe(false);
    expect(isBeginning(placeOf("tag:smi mara", 12), [SMILE])).toBe(false);
    expect(isBeginning(placeOf("-smi", 4), [SMILE])).toBe(true);
    expect(isBeginning(placeOf("-ta", 3), [])).toBe(true);
    expect(isBeginning(placeOf("-5", 2), [])).toBe(false);
  });

  test("whatever a tag holds, the one that is taken is the one that is asked for", () => {
    const chance = new Chance(5);
    for (let tried = 0; tried < 2000; tried += 1) {
      const name = nastyName(chance);
      const isExcluded = chance.below(2) === 0;
      const [taken] = offered(`mara ${isExcluded ? "-" : ""}tag:`, [{ kind: "tag", name, count: 1 }]);
      const { query, pending } = parseSearch(taken?.text ?? "", EVERYTHING);
      const wanted = isExcluded ? { notTags: [name] } : { tags: [name] };
      expect(query, name).toEqual({ ...EVERYTHING, text: "mara", ...wanted });
      expect(pending).toBeNull();
    }
  });
});
