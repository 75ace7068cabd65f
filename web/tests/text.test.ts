import { expect, test } from "vitest";
import { ago, bytes, duration, fileName, folder, indented, number } from "../src/core/text";
import { Chance, nastyText } from "./random";

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [1000, "1.0 kB"],
  [1_400_000, "1.4 MB"],
  [9_949, "9.9 kB"],
  [9_951, "10 kB"],
  [999_499, "999 kB"],
  [999_500, "1.0 MB"],
  [34_000_000, "34 MB"],
  [2.5e12, "2.5 TB"],
  [1e18, "1000000 TB"],
])("%i bytes are %s", (count, text) => {
  expect(bytes(count)).toBe(text);
});

test.each([
  [0, "0:00"],
  [65, "1:05"],
  [59.6, "1:00"],
  [3599.7, "1:00:00"],
  [3723, "1:02:03"],
  [36_000, "10:00:00"],
  [Number.NaN, ""],
  [Number.POSITIVE_INFINITY, ""],
  [-1, ""],
])("%d seconds are '%s'", (seconds, text) => {
  expect(duration(seconds)).toBe(text);
});

test.each([
  ["2026-11-23 12:00:00", "just now"],
  ["2026-11-23 11:59:01", "just now"],
  ["2026-11-23 11:57:00", "3 min ago"],
  ["2026-11-23T11:57:00Z", "3 min ago"],
  ["2026-11-23T12:57:00+01:00", "3 min ago"],
  ["2026-11-23 10:30:00", "1 h ago"],
  ["2026-11-22 12:00:00", "1 day ago"],
  ["2026-11-17 12:00:00", "6 days ago"],
  ["2026-11-16 12:00:00", "16 Nov 2026"],
  ["2025-01-05 12:00:00", "5 Jan 2025"],
  ["2026-11-23 12:20:00", "just now"],
  ["2026-12-24 12:00:00", "24 Dec 2026"],
  ["long ago", "long ago"],
  ["", ""],
])("%s was %s", (when, text) => {
  expect(ago(when, new Date("2026-11-23T12:00:00Z"))).toBe(text);
});

test("counts are grouped by thousands", () => {
  expect([0, 999, 12_345, 1_000_000].map(number)).toEqual(["0", "999", "12,345", "1,000,000"]);
});

test("a path is its folder and its name", () => {
  for (const path of ["characters/mara/smile.png", "a.png", "x/.hidden", "x/"]) {
    const [name, place] = [fileName(path), folder(path)];
    expect(place === "" ? name : `${place}/${name}`).toBe(path);
    expect(name).not.toContain("/");
  }
  expect([folder("a/b/c.png"), fileName("a/b/c.png")]).toEqual(["a/b", "c.png"]);
});

test("JSON in lines is the same JSON, with all digits of its numbers", () => {
  const value = { a: [1, -2.5e-7, []], 'say "{hi}, \\\\': { b: null, c: {}, d: [{ e: true }] }, f: "x\n" };
  expect(indented(JSON.stringify(value))).toBe(JSON.stringify(value, null, 2));
  expect(indented(JSON.stringify(value, null, 4))).toBe(JSON.stringify(value, null, 2));
  expect(indented('{"seed":18446744073709551615}')).toBe('{\n  "seed": 18446744073709551615\n}');
});

test("what is no JSON, or nests without end, is written all the same", () => {
  const chance = new Chance(19);
  for (let tried = 0; tried < 2000; tried += 1) indented(`${nastyText(chance)}]}${nastyText(chance)}`);
  expect(indented("[".repeat(20_000)).length).toBeLessThan(2_000_000);
});
