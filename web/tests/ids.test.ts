import { expect, test } from "vitest";
import { IdSet } from "../src/core/ids";
import { Chance } from "./random";

test("it holds what a plain set holds, in the same order, whatever comes and goes", () => {
  const chance = new Chance(7);
  for (let round = 0; round < 30; round++) {
    const [ours, plain] = [new IdSet(), new Set<number>()];
    for (let step = 0; step < 2_000; step++) {
      const id = chance.below(300) * 4096 * 2 ** chance.below(20) + chance.below(2);
      if (chance.below(3)) {
        ours.add(id);
        plain.add(id);
      } else {
        ours.delete(id);
        plain.delete(id);
      }
      if (ours.has(id) !== plain.has(id) || ours.size !== plain.size) expect.fail(`step ${step}, id ${id}`);
    }
    expect(ours.toArray()).toEqual([...plain]);
    expect([...ours]).toEqual([...plain]);
  }
});

test("one that comes and goes a hundred thousand times takes no more and more room or time", () => {
  const ours = new IdSet([5]);
  for (let turn = 0; turn < 100_000; turn++) {
    ours.add(turn + 10);
    ours.delete(turn + 10);
  }
  expect(ours.has(999_999)).toBe(false);
  expect(ours.toArray()).toEqual([5]);
});

test("it is made of an array with its repetitions", () => {
  expect(new IdSet([3, 1, 3, 2, 1]).toArray()).toEqual([3, 1, 2]);
  expect(new IdSet(Float64Array.of(9, 9)).size).toBe(1);
});
