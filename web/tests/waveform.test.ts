import { describe, expect, test } from "vitest";
import { barsOf, pathOf } from "../src/core/waveform";

describe("a waveform", () => {
  test("no peak is lost when there are fewer bars than points", () => {
    const points = Array.from({ length: 512 }, (_, at) => (at === 300 ? 1 : 0.1));
    for (const count of [1, 7, 64, 500, 512]) {
      const bars = barsOf(points, count);
      expect(bars.length).toBe(count);
      expect(bars.filter((bar) => bar === 1).length).toBe(1);
    }
  });

  test("more bars than points repeat them in order", () => {
    expect(barsOf([0.1, 0.9], 4)).toEqual([0.1, 0.1, 0.9, 0.9]);
    expect(barsOf([], 4)).toEqual([]);
  });

  test("every bar lies within the box, around its middle, and silence can be seen", () => {
    const path = pathOf([0, 0.5, 2]);
    const tops = [...path.matchAll(/M[\d.]+ ([\d.]+)/g)].map(([, top]) => Number(top));
    const heights = [...path.matchAll(/h[\d.]+v([\d.]+)/g)].map(([, height]) => Number(height));
    expect(tops).toEqual([0.98, 0.5, 0]);
    expect(heights).toEqual([0.04, 1, 2]);
  });
});
