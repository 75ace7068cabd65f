import { describe, expect, test } from "vitest";
import {
  EVERYTHING,
  canExclude,
  chips,
  complete,
  formatSearch,
  fromParams,
  isChosen,
  isFiltered,
  isSame,
  parseSearch,
  toParams,
  toggle,
  tokenAt,
  withoutChip,
  type Query,
} from "../src/core/query";
import { Chance, nastyText, randomQuery, randomTexts, textOf } from "./random";

function asked(text: string): Query {
  return parseSearch(text, EVERYTHING).query;
}

const TRIES = 5000;

describe("search text", () => {
  test("what is written is read again as the same, for any conditions", () => {
    const chance = new Chance(7);
    for (let tried = 0; tried < TRIES; tried += 1) {
      const query = randomQuery(chance);
      const written = formatSearch(query);
      expect(parseSearch(written, query), written).toEqual({ query, pending: null });
    }
  });

  test("anything that can be typed is read without an error, and its meaning can be written", () => {
    const chance = new Chance(11);
    for (let tried = 0; tried < TRIES; tried += 1) {
      const typed = nastyText(chance) + nastyText(chance);
      const { query } = parseSearch(typed, EVERYTHING);
      expect(parseSearch(formatSearch(query), EVERYTHING).query, typed).toEqual(query);
    }
  });

  test("each kind of token becomes its condition, and the rest is text", () => {
    const typed =
      'happy  type:characters -type:sounds tag:smile -tag:night tag:"two words" licence:CC0-1.0 ' +
      "license:MIT -licence:none uid:7444 workflow:abcd1234 problem:missing is:no-licence " +
      "where:codec=opus width>=1024 stars:4 mara " +
      'model:SDXL/anima.safetensors lora:mara_v3 lora:ink sampler:"Euler a" tool:ComfyUI ' +
      "seed:18446744073709551615 from:7444ab0192837465";
    expect(asked(typed)).toEqual({
      types: ["characters"],
      notTypes: ["sounds"],
      tags: ["smile", "two words"],
      notTags: ["night"],
      licenses: ["CC0-1.0", "MIT"],
      notLicenses: [""],
      problems: ["missing", "no-license"],
      uid: "7444",
      workflow: "abcd1234",
      descendsFrom: "7444ab0192837465",
      models: ["SDXL/anima.safetensors"],
      loras: ["mara_v3", "ink"],
      samplers: ["Euler a"],
      tools: ["ComfyUI"],
      seed: "18446744073709551615",
      rating: 4,
      text: "happy mara",
      where: ["codec=opus", "width>=1024"],
      sort: "newest",
    });
  });

  test("'none' is no licence, and in quotes it is the licence of that name", () => {
    expect(asked("licence:none").licenses).toEqual([""]);
    expect(asked('licence:"none"').licenses).toEqual(["none"]);
  });

  test("a workflow with a short hash, or an old uid, is meant once it stands in quotes", () => {
    expect(asked('workflow:"abc"').workflow).toBe("abc");
    expect(asked('from:"old-1"').descendsFrom).toBe("old-1");
  });

  test.each(["rating:4", "stars:4", "rating>=4", "stars>=4", "rating:2 rating:4"])(
    "%s is at least four stars",
    (typed) => {
      expect(asked(typed)).toEqual({ ...EVERYTHING, rating: 4 });
    },
  );

  test("words in quotes are text, whatever they look like", () => {
    expect(asked('"tag:smile"  "a  b"')).toEqual({ ...EVERYTHING, text: '"tag:smile" "a  b"' });
  });

  test("quotes that a word does not need, and a word said twice, are left out", () => {
    expect(asked('"mara" "" smile  Mara').text).toBe("mara smile");
  });

  test("what looks like a token but is none is text", () => {
    const texts = ["http://example.org/a=b", "-uid:7444", "12:30", "-", "a>b", "Width>=10", '5"', "colour:x"];
    for (const text of texts) {
      expect(asked(text)).toEqual({ ...EVERYTHING, text });
    }
  });

  test("an ideographic space parts tokens as a plain one does", () => {
    expect(asked("tag:笑顔\u3000夜")).toEqual({ ...EVERYTHING, tags: ["笑顔"], text: "夜" });
  });

  test.each([
    ["tag:", "tag", ""],
    ["-tag:", "tag", ""],
    ['tag:"two wor', "tag", "two wor"],
    ['"an open quo', "text", "an open quo"],
    ["licence:", "license", ""],
    ["uid:744", "uid", "744"],
    ["workflow:abc", "workflow", "abc"],
    ["from:7444ab", "from", "7444ab"],
    ["seed:12x", "seed", "12x"],
    ["model:.ckpt", "model", ".ckpt"],
    ["lora:", "lora", ""],
    ["is:miss", "problem", "miss"],
    ["where:width", "where", "width"],
    ["width>=", "where", "width>="],
    ["rating:", "rating", ""],
    ["rating:9", "rating", "9"],
    ["rating>=x", "rating", "x"],
    ["codec=", "where", "codec="],
    ['tag:""', "tag", ""],
  ])("while %s is typed the result does not change", (typed, kind, value) => {
    const { query, pending } = parseSearch(`mara ${typed}`, EVERYTHING);

    expect(query).toEqual({ ...EVERYTHING, text: "mara" });
    expect(pending).toMatchObject({ start: 5, end: 5 + typed.length, kind, value });
  });

  test("the sort stays as it was", () => {
    expect(parseSearch("mara", { ...EVERYTHING, sort: "name", tags: ["gone"] }).query).toEqual({
      ...EVERYTHING,
      text: "mara",
      sort: "name",
    });
  });

  test("a tag said twice in another case is one", () => {
    expect(asked("tag:Smile tag:smile").tags).toEqual(["Smile"]);
  });
});

describe("suggestions", () => {
  test("the token at the caret is found in it and at both its ends, and none between tokens", () => {
    const text = 'a  -tag:"two wo" b';

    expect(tokenAt(text, 3)).toEqual({ start: 3, end: 16, kind: "tag", value: "two wo", isExcluded: true });
    expect(tokenAt(text, 16)).toEqual(tokenAt(text, 3));
    expect(tokenAt(text, 2)).toBeNull();
    expect(tokenAt(text, 1)?.value).toBe("a");
    expect(tokenAt("", 0)).toBeNull();
  });

  test("a completed token is finished, and typing goes on behind it", () => {
    const text = "mara -tag:sm  night";
    const token = tokenAt(text, 12);
    if (token === null) throw new Error("no token at the caret");

    const done = complete(text, token, 'small "smile"');

    expect(done.text).toBe('mara -tag:"small ""smile""" night');
    expect(done.text.slice(done.caret)).toBe("night");
    expect(asked(done.text)).toEqual({ ...EVERYTHING, notTags: ['small "smile"'], text: "mara night" });
  });

  test("any value that completes a token is read as that value", () => {
    const chance = new Chance(3);
    for (let tried = 0; tried < TRIES; tried += 1) {
      const value = nastyText(chance);
      const token = { start: 2, end: 6, kind: "tag", value: "", isExcluded: false };
      const { text } = complete("x tag: y", token, value);
      expect(asked(text)).toEqual({ ...EVERYTHING, tags: [value], text: "x y" });
    }
  });

  test("the suggestion of no licence is written as 'none'", () => {
    const token = { start: 0, end: 8, kind: "license", value: "", isExcluded: true };
    expect(complete("-licence:", { ...token, end: 9 }, "").text).toBe("-licence:none ");
  });
});

describe("parameters", () => {
  test("what is asked of the server is read again as the same", () => {
    const chance = new Chance(5);
    for (let tried = 0; tried < TRIES; tried += 1) {
      const query = randomQuery(chance);
      const sent = toParams(query).toString();
      expect(fromParams(new URLSearchParams(sent)), sent).toEqual(query);
    }
  });

  test("each word is asked for by itself, and what stands in quotes as it is, whatever it is", () => {
    const chance = new Chance(23);
    const sent = (text: string): string[] => toParams({ ...EVERYTHING, text }).getAll("q");
    expect(sent(asked('mara "two  words" smile').text)).toEqual(["mara", "two  words", "smile"]);
    for (let tried = 0; tried < TRIES; tried += 1) {
      const texts = randomTexts(chance);
      expect(sent(textOf(texts))).toEqual(texts);
    }
  });

  test("names and forms are those of the API", () => {
    const typed =
      'type:a -type:b tag:"x,y" tag:"5""" -tag:z licence:none -licence:MIT is:missing uid:7444 rating:3 a>=1 w';
    const query = asked(typed);
    const made = asked('model:"a b" lora:c sampler:d tool:e seed:7 from:7444ab0192837465');
    expect(toParams(made).toString()).toBe(
      "descends_from=7444ab0192837465&model=a+b&lora=c&sampler=d&tool=e&seed=7",
    );
    const sent = toParams({ ...query, sort: "name" }).toString();
    expect(sent.replaceAll("%2C", ",").replaceAll("%22", "'")).toBe(
      "type=a&not_type=b&tag='x,y'&tag='5'''&not_tag=z&license=&not_license=MIT&problem=missing&uid=7444" +
        "&rating=3&q=w&where=a%3E%3D1&sort=name",
    );
    expect(toParams({ ...query, sort: "name" }, false).has("sort")).toBe(false);
    expect(toParams(EVERYTHING).toString()).toBe("");
  });

  test("several tags in one parameter are told apart at commas, as the server does", () => {
    expect(fromParams(new URLSearchParams('tag=a, b ,"c,d",,"e""f"')).tags).toEqual(["a", "b", "c,d", 'e"f']);
  });

  test("nonsense in parameters is left out", () => {
    const sent = "problem=odd&uid=xyz&workflow=&rating=6&where=width&sort=up&type=&other=1" +
      "&model=&lora=/.pt&tool=&seed=-1&descends_from=a%20b";
    expect(fromParams(new URLSearchParams(sent))).toEqual(EVERYTHING);
  });
});

describe("chips and facets", () => {
  test("removing every chip, in any order, leaves everything", () => {
    const chance = new Chance(13);
    for (let tried = 0; tried < 500; tried += 1) {
      let query = randomQuery(chance);
      for (let left = chips(query).length; left > 0; left -= 1) {
        query = withoutChip(query, chance.pick(chips(query)));
        expect(chips(query)).toHaveLength(left - 1);
      }
      expect(isFiltered(query)).toBe(false);
    }
  });

  test("what can be undone by a chip is exactly what filters", () => {
    const chance = new Chance(17);
    for (let tried = 0; tried < 500; tried += 1) {
      const query = randomQuery(chance);
      expect(isFiltered(query)).toBe(chips(query).length > 0);
    }
    expect(isFiltered({ ...EVERYTHING, sort: "name" })).toBe(false);
  });

  test("each word has a chip, and goes without the others", () => {
    const query = asked('mara "two words" smile');
    const [, second] = chips(query);
    expect(chips(query).map((chip) => chip.label)).toEqual(["Text: mara", "Text: two words", "Text: smile"]);
    expect(second && withoutChip(query, second).text).toBe("mara smile");
  });

  test("labels say what is wanted and what is not", () => {
    const query = asked("type:a -tag:b licence:none -licence:none is:missing width>=9 uid:7444 mara");
    expect(chips(query).map((chip) => chip.label)).toEqual([
      "Type: a",
      "Not tag: b",
      "No licence",
      "Has a licence",
      "File missing",
      "Uid: 7444",
      "width>=9",
      "Text: mara",
    ]);
    const made = asked('model:anima lora:mara_v3 sampler:"Euler a" tool:ComfyUI seed:7 from:7444ab0192837465');
    expect(chips(made).map((chip) => chip.label)).toEqual([
      "Came from: 7444ab0192837465",
      "Model: anima",
      "LoRA: mara_v3",
      "Sampler: Euler a",
      "Tool: ComfyUI",
      "Seed: 7",
    ]);
    const starred = [1, 4, 5].flatMap((rating) => chips({ ...EVERYTHING, rating }));
    expect(starred.map((chip) => chip.label)).toEqual(["1 star or more", "4 stars or more", "5 stars"]);
  });

  test("a facet's value is wanted, then no longer; excluding it takes it from the wanted ones", () => {
    const wanted = toggle(EVERYTHING, "tag", "smile");
    expect(wanted.tags).toEqual(["smile"]);
    expect(toggle(wanted, "tag", "Smile")).toEqual(EVERYTHING);

    const excluded = toggle(wanted, "tag", "smile", true);
    expect(excluded).toEqual({ ...EVERYTHING, notTags: ["smile"] });
    expect(toggle(excluded, "tag", "smile", true)).toEqual(EVERYTHING);
    expect(toggle(excluded, "tag", "smile")).toEqual(wanted);
  });

  test("a problem is switched on and off", () => {
    const wanted = toggle(EVERYTHING, "problem", "missing");
    expect(wanted.problems).toEqual(["missing"]);
    expect(toggle(wanted, "problem", "missing")).toEqual(EVERYTHING);
  });

  test("a model is the same with folder and suffix, and is never left out", () => {
    const wanted = toggle(EVERYTHING, "model", "SDXL\\Anima.safetensors");
    expect(toggle(wanted, "model", "anima")).toEqual(EVERYTHING);
    expect(isChosen(wanted, "model", "anima")).toBe(true);
    expect(isChosen(wanted, "model", "anima", true)).toBe(false);
    expect(canExclude("lora")).toBe(false);
    expect(isSame(wanted, { ...EVERYTHING, models: ["anima"] })).toBe(true);
  });

  test("types differ in case, tags and licences don't", () => {
    expect(toggle(toggle(EVERYTHING, "type", "Music"), "type", "music").types).toEqual(["Music", "music"]);
    expect(toggle(toggle(EVERYTHING, "license", "MIT"), "license", "mit").licenses).toEqual([]);
  });
});

describe("sameness", () => {
  test("the order of conditions makes no other query, any other difference does", () => {
    const query = asked("tag:a tag:b type:x mara");

    expect(isSame(query, { ...query, tags: ["B", "a"] })).toBe(true);
    expect(isSame(query, { ...query, tags: ["a"] })).toBe(false);
    expect(isSame(query, { ...query, tags: ["a", "c"] })).toBe(false);
    expect(isSame(query, { ...query, notTags: ["c"] })).toBe(false);
    expect(isSame(query, { ...query, text: "Mara" })).toBe(false);
    expect(isSame(query, { ...query, rating: 1 })).toBe(false);
    for (const other of [{ seed: "1" }, { descendsFrom: "a1" }, { loras: ["a"] }, { tools: ["a"] }]) {
      expect(isSame(query, { ...query, ...other })).toBe(false);
      expect(isFiltered({ ...EVERYTHING, ...other })).toBe(true);
    }
    expect(isSame(query, { ...query, sort: "name" })).toBe(false);
  });
});
