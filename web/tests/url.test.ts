import { expect, test } from "vitest";
import { EVERYTHING } from "../src/core/query";
import { HOME, readPlace, writePlace, type Place } from "../src/core/url";
import { Chance, nastyText, randomQuery } from "./random";

function randomPlace(chance: Chance): Place {
  return {
    query: randomQuery(chance),
    focus: chance.below(2) === 0 ? null : chance.hex(16),
    panel: chance.pick(["none", "detail", "edit"] as const),
    lightbox: Array.from({ length: chance.below(5) }, () => chance.hex(chance.pick([16, 20, 64]))),
    view: chance.pick(["grid", "list"] as const),
    tile: 96 + chance.below(417),
    panels: chance.some(["gallery", "operations", "provenance-graph"], 3),
  };
}

test("an address leads back to the same place, for any place", () => {
  const chance = new Chance(23);
  for (let tried = 0; tried < 5000; tried += 1) {
    const place = randomPlace(chance);
    const address = writePlace(place);
    expect(readPlace(address), address).toEqual(place);
    expect(readPlace(new URL(`http://127.0.0.1/studio/${address}`).search)).toEqual(place);
  }
});

test("home is the bare address", () => {
  expect(writePlace(HOME)).toBe("");
  expect(readPlace("")).toEqual(HOME);
});

test("an address can be read by people", () => {
  const query = { ...EVERYTHING, types: ["characters"], tags: ["smile"], text: "a/b" };
  expect(writePlace({ ...HOME, query, view: "list", panel: "detail", focus: "7444ab0192837465" })).toBe(
    "?type=characters&tag=smile&q=a/b&view=list&panel=detail&focus=7444ab0192837465",
  );
});

test("closing every panel is not the same as the usual panels", () => {
  expect(readPlace(writePlace({ ...HOME, panels: [] })).panels).toEqual([]);
});

test("nonsense in the address is left out", () => {
  const search =
    "?panel=garden&view=3d&tile=9999&tile=200&focus=%3Cscript%3E&lightbox=x&open=../&sort=odd&problem=no" +
    "&%E0%A4%A=1";
  expect(readPlace(search)).toEqual({ ...HOME, panels: [] });
});

test("at most four assets are compared, each once", () => {
  const uids = Array.from({ length: 6 }, (_, index) => `${index}`.repeat(16));
  const search = [...uids, ...uids].map((uid) => `lightbox=${uid}`).join("&");
  expect(readPlace(`?${search}`).lightbox).toEqual(uids.slice(0, 4));
});

test("any address is read without an error, and what was read can be written", () => {
  const chance = new Chance(29);
  for (let tried = 0; tried < 5000; tried += 1) {
    const [any, tag, where] = [nastyText(chance), nastyText(chance), nastyText(chance)];
    const search = `?${any}&tag=${tag}&where=${where}&tile=${nastyText(chance)}`;
    const place = readPlace(search);
    expect(readPlace(writePlace(place)), search).toEqual(place);
  }
});
