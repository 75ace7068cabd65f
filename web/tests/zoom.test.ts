import { describe, expect, test } from "vitest";
import {
  actualZoom,
  fitScale,
  FITTED,
  magnification,
  openingView,
  pan,
  place,
  restaged,
  settle,
  zoomTo,
  type Scene,
  type View,
} from "../src/core/zoom";
import { Chance } from "./random";

const STAGE = { width: 1000, height: 600 };

function scene(width: number, height: number, ratio = 1): Scene {
  return { picture: { width, height }, stage: STAGE, ratio };
}

function between(chance: Chance, least: number, most: number): number {
  return least + chance.below(most - least + 1);
}

function anyScene(chance: Chance): Scene {
  return {
    picture: { width: between(chance, 1, 8000), height: between(chance, 1, 8000) },
    stage: { width: between(chance, 50, 3000), height: between(chance, 50, 2000) },
    ratio: chance.pick([1, 1.25, 1.5, 2, 3]),
  };
}

function anyView(chance: Chance): View {
  return { zoom: between(chance, 1, 400) / 100, x: between(chance, 0, 100) / 100, y: between(chance, 0, 100) / 100 };
}

/** Which point of the picture, from 0 to 1, lies at an offset from the stage's middle. */
function under(view: View, at: { x: number; y: number }, on: Scene): { x: number; y: number } {
  const settled = settle(view, on);
  const scale = fitScale(on) * settled.zoom;
  return {
    x: settled.x + at.x / (on.picture.width * scale),
    y: settled.y + at.y / (on.picture.height * scale),
  };
}

describe("a picture on a stage", () => {
  test("a large picture opens whole, in the middle", () => {
    const on = scene(8000, 2000);
    expect(place(openingView(on), on)).toEqual({ left: 0, top: 175, width: 1000, height: 250 });
  });

  test("a small picture opens at 1:1 and is enlarged only when it is to fit", () => {
    const on = scene(100, 60, 2);
    expect(place(openingView(on), on)).toEqual({ left: 475, top: 285, width: 50, height: 30 });
    expect(place(FITTED, on)).toEqual({ left: 0, top: 0, width: 1000, height: 600 });
  });

  test("at 1:1 a px of the picture is a px of the screen", () => {
    for (const ratio of [1, 1.5, 2]) {
      const on = scene(3000, 2000, ratio);
      const view = zoomTo(FITTED, actualZoom(on), { x: 0, y: 0 }, on);
      expect(magnification(view, on)).toBeCloseTo(1, 9);
      expect(place(view, on).width * ratio).toBeCloseTo(3000, 6);
    }
  });

  test("what is at the pointer stays there while one zooms in", () => {
    const chance = new Chance(7);
    for (let run = 0; run < 500; run++) {
      const on = anyScene(chance);
      const view = settle({ ...anyView(chance), zoom: 1.5 }, on);
      const { left, top, width, height } = place(view, on);
      const at = {
        x: (Math.max(0, left) + Math.min(on.stage.width, left + width)) / 2 - on.stage.width / 2 + 3,
        y: (Math.max(0, top) + Math.min(on.stage.height, top + height)) / 2 - on.stage.height / 2 - 3,
      };
      const closer = zoomTo(view, view.zoom * 1.3, at, on);
      const isHeld = width >= on.stage.width && height >= on.stage.height;
      if (!isHeld) continue;
      expect(under(closer, at, on).x).toBeCloseTo(under(view, at, on).x, 6);
      expect(under(closer, at, on).y).toBeCloseTo(under(view, at, on).y, 6);
    }
  });

  test("no empty edge comes in beside a picture that is larger than the stage", () => {
    const chance = new Chance(8);
    for (let run = 0; run < 500; run++) {
      const on = anyScene(chance);
      const by = { x: between(chance, -5000, 5000), y: between(chance, -5000, 5000) };
      const { left, top, width, height } = place(pan(anyView(chance), by, on), on);
      if (width >= on.stage.width) {
        expect(left).toBeLessThanOrEqual(1);
        expect(left + width).toBeGreaterThanOrEqual(on.stage.width - 1);
      } else expect(left + width / 2).toBeCloseTo(on.stage.width / 2, -1);
      if (height >= on.stage.height) {
        expect(top).toBeLessThanOrEqual(1);
        expect(top + height).toBeGreaterThanOrEqual(on.stage.height - 1);
      }
    }
  });

  test("zooming has limits both ways", () => {
    const on = scene(8000, 6000);
    const closest = zoomTo(FITTED, 1e9, { x: 0, y: 0 }, on);
    const farthest = zoomTo(FITTED, 0, { x: 0, y: 0 }, on);
    expect(magnification(closest, on)).toBeCloseTo(32, 6);
    expect(place(farthest, on).width).toBeCloseTo(200, 6);
  });

  test("dragging moves the picture by as many px as the pointer", () => {
    const on = scene(4000, 3000);
    const view = zoomTo(FITTED, 4, { x: 0, y: 0 }, on);
    const before = place(view, on);
    const after = place(pan(view, { x: -30, y: 20 }, on), on);
    expect([after.left - before.left, after.top - before.top]).toEqual([-30, 20]);
  });

  test("a picture twice the size shows the same part under a linked view", () => {
    const small = scene(800, 600);
    const large = scene(1600, 1200);
    const view = zoomTo(FITTED, 3, { x: 100, y: -40 }, small);
    expect(place(view, large)).toEqual(place(view, small));
  });

  test("when the window changes its size, what was fitted still is, and 1:1 stays 1:1", () => {
    const before = scene(3000, 2000);
    const after = { ...before, stage: { width: 640, height: 480 } };
    const actual = zoomTo(FITTED, actualZoom(before), { x: 0, y: 0 }, before);
    expect(restaged(FITTED, before, after)).toEqual(FITTED);
    expect(magnification(restaged(actual, before, after), after)).toBeCloseTo(1, 9);
  });
});
