import { describe, expect, test } from "vitest";
import { Order, Selection } from "../src/core/selection";
import { Chance } from "./random";

/** Ids as the ledger mints them: milliseconds since 2025 times 4096, plus a little. */
function mint(count: number): Float64Array {
  const base = 59_000_000_000 * 4096;
  const minted = (index: number): number => base + Math.floor(index / 3) * 4096 + (index % 3);
  return Float64Array.from({ length: count }, (_, index) => minted(index));
}

function orderOf(...ids: number[]): Order {
  return new Order(Float64Array.from(ids));
}

function sorted(selection: Selection): number[] {
  return selection.ids().sort((a, b) => a - b);
}

const TEN = orderOf(10, 11, 12, 13, 14, 15, 16, 17, 18, 19);

describe("the order of a result", () => {
  test("every id is found where it stands, others nowhere", () => {
    for (const count of [0, 1, 2, 3, 1000, 100_000]) {
      const ids = mint(count).reverse();
      const order = new Order(ids);
      expect(order.length).toBe(count);
      expect(ids.every((id, index) => order.indexOf(id) === index)).toBe(true);
      expect(ids.some((id) => order.indexOf(id + 0.5) >= 0 || order.indexOf(id + 2048) >= 0)).toBe(false);
      expect(order.indexOf(0)).toBe(-1);
    }
  });

  test("neighbours, multiples and negative numbers are all told apart", () => {
    const chance = new Chance(1);
    const ids = new Set<number>([0, -1, 2 ** 31, 2 ** 32, 2 ** 53 - 1]);
    for (let tried = 0; tried < 5000; tried += 1) {
      ids.add(chance.below(9) * 2 ** chance.below(45) + chance.below(5));
    }
    const order = new Order(Float64Array.from(ids));
    expect([...ids].map((id) => order.indexOf(id))).toEqual(Array.from(ids.keys(), (_, index) => index));
  });

  test("beyond its ends there is nothing", () => {
    expect([TEN.at(-1), TEN.at(0), TEN.at(9), TEN.at(10)]).toEqual([undefined, 10, 19, undefined]);
  });
});

describe("clicks", () => {
  test("a plain click selects one, Ctrl+click adds and takes away", () => {
    const selection = new Selection();
    selection.only(12);
    selection.toggle(15);
    selection.toggle(12);

    expect(sorted(selection)).toEqual([15]);
    expect(selection.anchor).toBe(12);
  });

  test("Shift+click selects from the anchor, in either direction", () => {
    const selection = new Selection();
    selection.only(14);
    selection.range(TEN, 16, false);
    expect(sorted(selection)).toEqual([14, 15, 16]);

    selection.range(TEN, 12, false);
    expect(sorted(selection)).toEqual([12, 13, 14]);
    expect(selection.anchor).toBe(14);
  });

  test("a second Shift+click takes back only what the first had added", () => {
    const selection = new Selection();
    selection.only(18);
    selection.toggle(16);
    selection.toggle(12);
    selection.range(TEN, 17, false);
    expect(sorted(selection)).toEqual([12, 13, 14, 15, 16, 17, 18]);

    selection.range(TEN, 13, false);
    expect(sorted(selection)).toEqual([12, 13, 16, 18]);
  });

  test("Ctrl+Shift+click adds a range to all, and the next takes nothing back", () => {
    const selection = new Selection();
    selection.only(10);
    selection.range(TEN, 12, false);
    selection.setAnchor(15);
    selection.range(TEN, 17, true);
    expect(sorted(selection)).toEqual([10, 11, 12, 15, 16, 17]);

    selection.range(TEN, 14, true);
    expect(sorted(selection)).toEqual([10, 11, 12, 14, 15, 16, 17]);
  });

  test("Ctrl+click moves the anchor and settles the range before", () => {
    const selection = new Selection();
    selection.only(10);
    selection.range(TEN, 12, false);
    selection.toggle(15);
    selection.range(TEN, 16, false);

    expect(sorted(selection)).toEqual([10, 11, 12, 15, 16]);
  });

  test("an anchor that the filter has hidden gives way to the focused row, or the first", () => {
    const selection = new Selection();
    selection.only(99);
    selection.range(TEN, 13, false, 11);
    expect(sorted(selection)).toEqual([11, 12, 13, 99]);
    expect(selection.anchor).toBe(11);

    const other = new Selection();
    other.setAnchor(99);
    other.range(TEN, 12, false, 98);
    expect(sorted(other)).toEqual([10, 11, 12]);
  });

  test("a range to what is not in the result changes nothing", () => {
    const selection = new Selection();
    selection.only(12);
    const { version } = selection;
    selection.range(TEN, 99, false);

    expect(selection.ids()).toEqual([12]);
    expect(selection.version).toBe(version);
    expect(selection.anchor).toBe(12);
  });

  test("what a range would take back stays once it was selected by other means", () => {
    const selection = new Selection();
    selection.only(10);
    selection.range(TEN, 14, false);
    selection.add([13]);
    selection.range(TEN, 11, false);

    expect(sorted(selection)).toEqual([10, 11, 12, 13, 14]);
  });

  test("a moved anchor settles the range before", () => {
    const selection = new Selection();
    selection.only(10);
    selection.range(TEN, 12, false);
    selection.setAnchor(15);
    selection.range(TEN, 16, false);

    expect(sorted(selection)).toEqual([10, 11, 12, 15, 16]);
  });

  test("the first Shift+click without any anchor goes from the first row", () => {
    const selection = new Selection();
    selection.range(TEN, 12, false);
    expect(sorted(selection)).toEqual([10, 11, 12]);
  });

  test("Escape selects nothing and forgets the anchor", () => {
    const selection = new Selection();
    selection.only(12);
    selection.clear();
    expect([selection.size, selection.anchor]).toEqual([0, null]);
  });
});

describe("laws", () => {
  test("many random steps do what slow and simple sets say", () => {
    const chance = new Chance(31);
    for (let round = 0; round < 300; round += 1) {
      const selection = new Selection();
      let expected = new Set<number>();
      let base = new Set<number>();
      let anchor: number | null = null;
      for (let step = 0; step < 25; step += 1) {
        const id = 10 + chance.below(10);
        const before = { version: selection.version, ids: sorted(selection) };
        switch (chance.below(5)) {
          case 0:
            selection.only(id);
            [expected, base, anchor] = [new Set([id]), new Set([id]), id];
            break;
          case 1:
            selection.toggle(id);
            if (!expected.delete(id)) expected.add(id);
            [base, anchor] = [new Set(expected), id];
            break;
          case 2: {
            const some = chance.some([...TEN.ids, 77], 4);
            selection.remove(some);
            for (const each of some) expected.delete(each);
            base = new Set(expected);
            break;
          }
          default: {
            const keep = chance.below(2) === 0;
            selection.range(TEN, id, keep);
            anchor ??= 10;
            if (keep) base = new Set(expected);
            const [low, high] = [Math.min(anchor, id), Math.max(anchor, id)];
            expected = new Set([...base, ...[...TEN.ids].filter((each) => each >= low && each <= high)]);
          }
        }
        expect(sorted(selection)).toEqual([...expected].sort((a, b) => a - b));
        expect(selection.size).toBe(expected.size);
        const isChanged = JSON.stringify(before.ids) !== JSON.stringify(sorted(selection));
        if (isChanged) expect(selection.version).toBeGreaterThan(before.version);
      }
    }
  });

  test("the version stands still while nothing changes", () => {
    const selection = new Selection();
    selection.set([1, 2]);
    const { version } = selection;

    selection.set([2, 1]);
    selection.add([1]);
    selection.remove([3]);
    selection.setAnchor(2);

    expect(selection.version).toBe(version);
  });
});

describe("inside and outside the result", () => {
  test("after a filter the selected outside are counted too", () => {
    const selection = new Selection();
    selection.set([10, 11, 50, 51, 52]);
    expect(selection.split(TEN)).toEqual({ inside: 2, outside: 3 });
    expect(selection.split(orderOf(50))).toEqual({ inside: 1, outside: 4 });
    expect(selection.split(orderOf())).toEqual({ inside: 0, outside: 5 });
  });

  test("the count follows every change and every new result", () => {
    const selection = new Selection();
    selection.set([10, 50]);
    selection.split(TEN);
    selection.toggle(11);
    expect(selection.split(TEN)).toEqual({ inside: 2, outside: 1 });
    selection.remove([50]);
    expect(selection.split(TEN)).toEqual({ inside: 2, outside: 0 });
  });

  test("a whole result of 100,000 is selected, counted and left", () => {
    const ids = mint(100_000);
    const [all, half] = [new Order(ids), new Order(ids.slice(0, 50_000))];
    const selection = new Selection();
    selection.only(ids[20] ?? 0);
    selection.range(all, ids[99_999] ?? 0, false);
    expect(selection.size).toBe(99_980);
    expect(selection.split(half)).toEqual({ inside: 49_980, outside: 50_000 });
    selection.range(all, ids[0] ?? 0, false);
    expect(selection.size).toBe(21);
  });
});
