import { describe as group, expect, test } from "vitest";
import { merged, sentenceOf, standing, type Operation } from "../src/core/operations";

function operation(number: number, told: Partial<Operation> = {}): Operation {
  return {
    operation: number,
    kind: "edit",
    path: "characters/mara.png",
    assets: 30,
    summary: {},
    is_undoable: true,
    undoes: null,
    undone_by: null,
    ...told,
  };
}

function known(...operations: Operation[]): Map<number, Operation> {
  return new Map(operations.map((each) => [each.operation, each]));
}

group("an operation in a sentence", () => {
  test.each<[Partial<Operation>, string]>([
    [{}, "Edited 30 assets"],
    [{ assets: 1 }, "Edited mara.png"],
    [{ kind: "remove", assets: 1 }, "Moved to the trash: mara.png"],
    [
      { kind: "move", assets: 1, summary: { moved_from: "characters/mara.png", moved_to: "characters/nao.png" } },
      "Renamed mara.png to nao.png",
    ],
    [
      { kind: "move", assets: 1, summary: { moved_from: "a/mara.png", moved_to: "b/mara.png" } },
      "Moved a/mara.png to b/mara.png",
    ],
    [{ kind: "undo", undoes: 99, assets: 2 }, "Undid a change of 2 assets"],
  ])("%j", (told, sentence) => {
    expect(sentenceOf(operation(1, told), known())).toBe(sentence);
  });

  test("an undo says what it undid, and its undo that it was done again", () => {
    const edit = operation(1);
    const undo = operation(2, { kind: "undo", undoes: 1 });
    const redo = operation(3, { kind: "undo", undoes: 2 });
    const all = known(edit, undo, redo);
    expect(sentenceOf(undo, all)).toBe("Undid: Edited 30 assets");
    expect(sentenceOf(redo, all)).toBe("Did again: Edited 30 assets");
    expect(sentenceOf(operation(4, { kind: "undo", undoes: 3 }), all)).toBe("Undid: Edited 30 assets");
  });
});

group("whether an operation holds", () => {
  test("it is undone till its undo is undone", () => {
    const edit = operation(1, { undone_by: 2 });
    const undo = operation(2, { kind: "undo", undoes: 1 });
    expect(standing(edit, known(edit, undo))).toBe("undone");
    const undone = { ...undo, undone_by: 3 };
    expect(standing(edit, known(edit, undone, operation(3, { undoes: 2 })))).toBe("done");
  });

  test("an undo that took back fewer assets leaves a part", () => {
    const edit = operation(1, { undone_by: 2 });
    expect(standing(edit, known(edit, operation(2, { assets: 29 })))).toBe("partly");
  });
});

group("a page read again", () => {
  const numbers = (list: readonly { operation: number }[]): number[] => list.map((each) => each.operation);
  const some = (...list: number[]) => list.map((number) => ({ operation: number }));

  test("replaces what it covers and keeps what is older", () => {
    expect(numbers(merged(some(5, 4, 3), some(4, 3, 2, 1)))).toEqual([5, 4, 3, 2, 1]);
  });

  test("that doesn't reach what was known stands alone: there may be others in between", () => {
    expect(numbers(merged(some(9, 8, 7), some(3, 2)))).toEqual([9, 8, 7]);
  });
});
