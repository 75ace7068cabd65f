import { describe, expect, test } from "vitest";
import {
  MAX_HEIGHT,
  ScrollMap,
  contentHeight,
  layOut,
  move,
  tileRect,
  visible,
  within,
  type Geometry,
  type MoveKey,
} from "../src/core/grid";
import { Chance } from "./random";

const VIEWPORT = 800;

/** One column of tiles 260 px high. */
function column(count: number): Geometry {
  return layOut(count, 220, 220, 32, 8, false);
}

describe("layout", () => {
  test("tiles fill the width, are never narrower than wanted, and one more would not fit", () => {
    const chance = new Chance(2);
    for (let tried = 0; tried < 2000; tried += 1) {
      const [width, tile, gap] = [100 + chance.below(3000), 96 + chance.below(417), chance.below(20)];
      const { columns, tileWidth } = layOut(50, width, tile, 30, gap, false);
      expect(columns * tileWidth + (columns - 1) * gap).toBeLessThanOrEqual(width);
      expect(width - columns * tileWidth - (columns - 1) * gap).toBeLessThan(columns);
      if (columns > 1) expect(tileWidth).toBeGreaterThanOrEqual(tile);
      expect((columns + 1) * tile + columns * gap).toBeGreaterThan(width);
    }
  });

  test("the height is that of all rows, and never more than a browser takes", () => {
    const few = layOut(10, 1000, 200, 40, 10, false);
    expect(few).toMatchObject({ columns: 4, tileWidth: 242, rowHeight: 292, rows: 3, height: 3 * 292 - 10 });
    expect(column(100_000)).toMatchObject({ columns: 1, rowHeight: 260, height: MAX_HEIGHT });
    expect(contentHeight(column(100_000))).toBe(26_000_000 - 8);
    expect(layOut(0, 1000, 200, 40, 10, false)).toMatchObject({ rows: 0, height: 0 });
  });

  test("a list has one column of low rows", () => {
    const list = layOut(7, 1000, 200, 40, 2, true);
    expect(list).toMatchObject({ columns: 1, tileWidth: 1000, rowHeight: 52, rows: 7 });
    expect(layOut(7, 1000, 96, 40, 2, true).rowHeight).toBe(42);
  });

  test("a window without any width has still one column", () => {
    expect(layOut(7, 0, 200, 40, 10, false)).toMatchObject({ columns: 1, tileWidth: 1, rows: 7 });
  });
});

/** Scrolls as a browser does: it clamps, and it may round. */
class Box {
  scrollTop = 0;
  readonly map: ScrollMap;

  constructor(
    readonly geometry: Geometry,
    readonly rounding = 1,
  ) {
    this.map = new ScrollMap(geometry, VIEWPORT);
  }

  get end(): number {
    return Math.max(0, this.geometry.height - VIEWPORT);
  }

  set(to: number): void {
    this.scrollTop = Math.min(this.end, Math.max(0, Math.round(to / this.rounding) * this.rounding));
  }

  /** A wheel step, or the scrollbar dragged; then what the component does on the event. */
  by(step: number): void {
    this.to(this.scrollTop + step);
  }

  to(position: number): void {
    this.set(position);
    this.map.scrolled(this.scrollTop);
    if (this.map.isStrained) this.rest();
  }

  rest(): void {
    const to = this.map.settle();
    if (to === null) return;
    this.set(to);
    this.map.scrolled(this.scrollTop);
  }
}

describe("scrolling", () => {
  test("what fits into an element scrolls as it always does", () => {
    const box = new Box(column(100));
    const chance = new Chance(4);
    for (let tried = 0; tried < 500; tried += 1) {
      box.to(chance.below(30_000) - 1000);
      expect(box.map.offset).toBe(box.scrollTop);
      expect(box.map.place(520)).toBe(520);
      expect(box.map.settle()).toBeNull();
    }
    box.to(1e9);
    expect(box.map.offset).toBe(contentHeight(box.geometry) - VIEWPORT);
  });

  test("what is lower than the window does not scroll", () => {
    const map = new ScrollMap(column(2), VIEWPORT);
    expect([map.scrolled(50), map.show(300), map.reveal(1), map.settle()]).toEqual([0, 0, null, null]);
    expect(new ScrollMap(column(0), VIEWPORT).scrolled(10)).toBe(0);
  });

  describe.each([
    ["100,000", 100_000],
    ["1,000,000", 1_000_000],
  ])("over %s rows in one column", (_, count) => {
    const geometry = column(count);
    const last = contentHeight(geometry) - VIEWPORT;

    test("the scrollbar's ends are the first row and the last, exactly", () => {
      const box = new Box(geometry);
      box.to(box.end);
      expect(box.map.offset).toBe(last);
      expect(box.map.place(contentHeight(geometry))).toBe(geometry.height);
      box.to(0);
      expect(box.map.offset).toBe(0);
    });

    test("its middle is the middle of the rows, and further down is further down", () => {
      const map = new ScrollMap(geometry, VIEWPORT);
      const end = geometry.height - VIEWPORT;
      expect(Math.abs(map.scrolled(end / 2) - last / 2)).toBeLessThan(1);
      let before = -1;
      for (let at = 0; at <= end; at += end / 400) {
        const offset = new ScrollMap(geometry, VIEWPORT).scrolled(at);
        expect(offset).toBeGreaterThan(before);
        before = offset;
      }
    });

    test("a wheel step moves the tiles by as much, anywhere, and also after a rest", () => {
      const chance = new Chance(count);
      const box = new Box(geometry, 0.5);
      for (let tried = 0; tried < 500; tried += 1) {
        box.to(200 + chance.below(box.end - 400));
        for (let wheel = 0; wheel < 5; wheel += 1) {
          const before = box.map.offset;
          const step = chance.pick([100, -100, 40]);
          const expected = Math.min(last, Math.max(0, before + step));
          box.by(step);
          expect(Math.abs(box.map.offset - expected)).toBeLessThanOrEqual(0.5);
          if (chance.below(2) === 0) box.rest();
          expect(Math.abs(box.map.offset - expected)).toBeLessThanOrEqual(1);
        }
      }
    });

    test("what is seen stays where it is when the scrollbar is put right", () => {
      const box = new Box(geometry, 0.5);
      box.to(box.end / 3);
      for (let wheel = 0; wheel < 50; wheel += 1) box.by(120);
      const row = Math.ceil(box.map.firstRow);
      const seen = (): number => box.map.place(row * geometry.rowHeight) - box.scrollTop;
      const seenAt = seen();
      const before = box.scrollTop;

      box.rest();

      expect(box.scrollTop).not.toBe(before);
      expect(Math.abs(seen() - seenAt)).toBeLessThanOrEqual(0.5);
      expect(box.map.settle()).toBeNull();
    });

    test("wheeling without a rest reaches the first row without a leap, and the last", () => {
      for (const direction of [-1, 1]) {
        const box = new Box(geometry);
        const goal = direction < 0 ? 0 : last;
        box.set(box.map.show(direction < 0 ? 400_000 : last - 400_000));
        let steps = 0;
        while (box.map.offset !== goal && steps < 5000) {
          const before = box.map.offset;
          box.by(direction * 400);
          expect(Math.abs(box.map.offset - before)).toBeLessThanOrEqual(401);
          steps += 1;
        }
        expect(steps).toBeLessThanOrEqual(1002);
        box.rest();
        expect(box.scrollTop).toBe(direction < 0 ? 0 : box.end);
      }
    });

    test("a smooth leap to an end, which slows down, arrives there", () => {
      for (const goal of ["top", "end"]) {
        const box = new Box(geometry);
        box.to(box.end / 2);
        const target = goal === "top" ? 0 : box.end;
        for (let frame = 0; frame < 200 && box.scrollTop !== target; frame += 1) {
          const left = target - box.scrollTop;
          box.by(Math.trunc(left / 3) + Math.sign(left));
        }
        expect(box.scrollTop).toBe(target);
        expect(box.map.offset).toBe(goal === "top" ? 0 : last);
      }
    });

    test("every row can be shown, and the tiles in view lie within the spacer", () => {
      const chance = new Chance(count + 1);
      for (let tried = 0; tried < 1000; tried += 1) {
        const box = new Box(geometry);
        const row = chance.pick([0, 1, geometry.rows - 1, chance.below(geometry.rows)]);
        const to = box.map.reveal(row);
        if (to !== null) box.to(to);
        const top = box.map.place(row * geometry.rowHeight) - box.scrollTop;
        expect(top).toBeGreaterThanOrEqual(-1);
        expect(top + geometry.rowHeight - geometry.gap).toBeLessThanOrEqual(VIEWPORT + 1);
        expect(box.map.reveal(row)).toBeNull();
        const { first, last: end } = visible(geometry, box.map.firstRow, VIEWPORT, 0);
        expect(row >= first && row < end).toBe(true);
      }
    });

    test("the least drag of the scrollbar is a jump, not a step", () => {
      const box = new Box(geometry);
      box.to(box.end / 2);
      const dragged = box.scrollTop + box.end / VIEWPORT;
      box.to(dragged);
      expect(box.map.offset).toBe(new ScrollMap(geometry, VIEWPORT).scrolled(box.scrollTop));
    });
  });

  test("a row is revealed with as little scrolling as it takes", () => {
    const box = new Box(column(1000));
    box.set(box.map.show(2600));

    expect(box.map.reveal(11)).toBeNull();
    expect(box.map.reveal(9)).toBe(9 * 260);
    expect(box.map.reveal(12)).toBe(13 * 260 - 8 - VIEWPORT);
  });
});

describe("the tiles in view", () => {
  test("are all that the window shows and no row more, but for what is drawn beyond", () => {
    const geometry = layOut(1000, 1000, 200, 40, 10, false);
    const { columns, rowHeight } = geometry;
    expect(visible(geometry, 0, rowHeight * 2, 0)).toEqual({ first: 0, last: 2 * columns });
    expect(visible(geometry, 3.5, rowHeight * 2, 0)).toEqual({ first: 3 * columns, last: 6 * columns });
    expect(visible(geometry, 3.5, rowHeight * 2, 2)).toEqual({ first: columns, last: 8 * columns });
    expect(visible(geometry, 249, rowHeight * 2, 5)).toEqual({ first: 244 * columns, last: 1000 });
    expect(visible(layOut(0, 1000, 200, 40, 10, false), 0, 500, 3)).toEqual({ first: 0, last: 0 });
    expect(visible(layOut(3, 1000, 200, 40, 10, false), 90, 500, 3)).toEqual({ first: 3, last: 3 });
  });
});

describe("keys", () => {
  const geometry = layOut(10, 1000, 200, 40, 10, false); // 4 columns: 0-3, 4-7, 8-9

  test.each<[number, MoveKey, number]>([
    [0, "ArrowLeft", 0],
    [4, "ArrowLeft", 3],
    [3, "ArrowRight", 4],
    [9, "ArrowRight", 9],
    [2, "ArrowUp", 2],
    [6, "ArrowUp", 2],
    [1, "ArrowDown", 5],
    [5, "ArrowDown", 9],
    [7, "ArrowDown", 9],
    [8, "ArrowDown", 8],
    [7, "Home", 0],
    [2, "End", 9],
    [9, "PageUp", 1],
    [0, "PageDown", 8],
    [3, "PageDown", 9],
    [8, "PageDown", 8],
    [-1, "ArrowRight", 1],
    [55, "ArrowLeft", 8],
  ])("from tile %i %s leads to %i", (from, key, to) => {
    expect(move(geometry, from, key, 2.9)).toBe(to);
  });

  test("no key leads out of the result, and without one nowhere", () => {
    const arrows: MoveKey[] = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"];
    const keys: MoveKey[] = [...arrows, "Home", "End", "PageUp", "PageDown"];
    const chance = new Chance(6);
    for (let tried = 0; tried < 3000; tried += 1) {
      const count = chance.below(40);
      const some = layOut(count, 100 + chance.below(900), 120, 20, 8, chance.below(4) === 0);
      const to = move(some, chance.below(60) - 10, chance.pick(keys), chance.below(6));
      expect(to).toBeGreaterThanOrEqual(count === 0 ? -1 : 0);
      expect(to).toBeLessThan(Math.max(count, 0.5));
    }
  });
});

describe("marquee", () => {
  test("touches exactly the tiles whose boxes it meets", () => {
    const chance = new Chance(8);
    for (let tried = 0; tried < 2000; tried += 1) {
      const [width, gap, isList] = [100 + chance.below(900), chance.below(12), chance.below(5) === 0];
      const geometry = layOut(chance.below(60), width, 120, 20, gap, isList);
      const [left, top] = [chance.below(1200) - 100, chance.below(1500) - 100];
      const rect = { left, top, right: left + chance.below(600), bottom: top + chance.below(600) };
      const expected = Array.from({ length: geometry.count }, (_, index) => index).filter((index) => {
        const tile = tileRect(geometry, index);
        const isBeside = tile.right < rect.left || tile.left > rect.right;
        return !isBeside && tile.bottom >= rect.top && tile.top <= rect.bottom;
      });

      const pairs = within(geometry, rect);

      const found: number[] = [];
      for (let at = 0; at < pairs.length; at += 2) {
        expect(pairs[at]).toBeLessThan(pairs[at + 1] ?? 0);
        for (let index = pairs[at] ?? 0; index < (pairs[at + 1] ?? 0); index += 1) found.push(index);
      }
      expect(found).toEqual(expected);
    }
  });

  test("over the whole width it is one pair, however many rows", () => {
    const geometry = layOut(100_000, 1000, 200, 40, 10, false);
    expect(within(geometry, { left: -5, top: 0, right: 1000, bottom: 1e9 })).toEqual([0, 100_000]);
  });
});
