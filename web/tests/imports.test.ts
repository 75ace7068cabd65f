import { describe, expect, test } from "vitest";
import { isLeaving, sentOf, takeBatch, tallied, targetOf, whyTooLarge, type Plan } from "../src/core/imports";

const PLAN: Plan = { type: "", folder: "", keepsFolders: true, license: "", tags: [], changesKnown: false };

describe("where a file goes", () => {
  test("by the outermost folder, which names the type and is not repeated", () => {
    expect(targetOf("backgrounds/city/night", PLAN)).toEqual({ type: "backgrounds", folder: "backgrounds/city/night/" });
    expect(targetOf("", PLAN)).toEqual({ type: "generic", folder: "generic/" });
  });

  test("a stated type holds for all, and other folders stay below it", () => {
    const plan = { ...PLAN, type: " characters " };
    expect(targetOf("mara/smile", plan)).toEqual({ type: "characters", folder: "characters/mara/smile/" });
    expect(targetOf("Characters/mara", plan)).toEqual({ type: "characters", folder: "characters/mara/" });
    expect(targetOf("", plan).folder).toBe("characters/");
  });

  test("a sub folder comes between, and folders can be left out", () => {
    expect(targetOf("art/mara", { ...PLAN, folder: "/act 1\\night/" }).folder).toBe("art/act 1/night/mara/");
    expect(targetOf("art/mara", { ...PLAN, folder: "x", keepsFolders: false }).folder).toBe("art/x/");
  });

  test("what systems and browsers leave in folders is no asset", () => {
    for (const name of [".DS_Store", "Thumbs.db", "desktop.ini", "mara.png.part", "notes~", "~$notes.doc"]) {
      expect(isLeaving(name), name).toBe(true);
    }
    for (const name of ["mara.png", "a.party", "thumbs.db.png", "tmp"]) expect(isLeaving(name), name).toBe(false);
  });
});

describe("forms", () => {
  const item = (place: string, size: number) => ({ place, size });
  const isLike = (a: { place: string }, b: { place: string }): boolean => a.place === b.place;

  test("hold files of one place, up to sixteen and 8 MB, and in their order", () => {
    const queue = [item("a", 1), item("a", 2), item("b", 3), item("a", 4)];
    expect(takeBatch(queue, isLike, Infinity).map(({ size }) => size)).toEqual([1, 2]);
    expect(queue.map(({ size }) => size)).toEqual([3, 4]);

    const many = Array.from({ length: 20 }, () => item("a", 1));
    expect(takeBatch(many, isLike, Infinity)).toHaveLength(16);
    expect(many).toHaveLength(4);

    const large = [item("a", 5e6), item("a", 2e6), item("a", 2e6), item("a", 9e6)];
    expect(takeBatch(large, isLike, Infinity)).toHaveLength(2);
  });

  test("never hold more than an upload may, but one file at least", () => {
    const queue = [item("a", 700), item("a", 400)];
    expect(takeBatch(queue, isLike, 1_000)).toHaveLength(1);
    expect(takeBatch(queue, isLike, 100)).toHaveLength(1);
    expect(takeBatch(queue, isLike, 100)).toEqual([]);
  });

  test("are sent file by file", () => {
    const files = [{ size: 100 }, { size: 0 }, { size: 300 }];
    expect(sentOf(files, 0, 450)).toEqual([0, 0, 0]);
    expect(sentOf(files, 225, 450)).toEqual([100, 0, 100]);
    expect(sentOf(files, 450, 450)).toEqual([100, 0, 300]);
    expect(sentOf([{ size: 0 }], 5, 0)).toEqual([0]);
  });
});

test("what came of it leaves out what did not happen", () => {
  expect(tallied({ fresh: 1200, known: 0, refused: 2, cancelled: 0 })).toBe("1,200 new, 2 refused");
  expect(tallied({ fresh: 0, known: 3, refused: 0, cancelled: 1 })).toBe("3 already there, 1 cancelled");
});

test("a file that is larger than an upload may be is told before it is sent", () => {
  expect(whyTooLarge(10, 10)).toBe("");
  expect(whyTooLarge(600_000_000, 512_000_000)).toContain("600 MB");
});
