import { expect, test } from "vitest";
import { UndoStack, type Done } from "../src/core/undo";

function done(operation: number): Done {
  return { operations: [operation], sentence: `Edit ${operation}` };
}

test("what was done last is taken back first", () => {
  const stack = new UndoStack();
  stack.push(done(1));
  stack.push(done(2));

  expect(stack.peek()).toEqual(done(2));
  expect([stack.pop(), stack.pop(), stack.pop()]).toEqual([done(2), done(1), undefined]);
  expect(stack.peek()).toBeUndefined();
});

test("an operation that was undone elsewhere is forgotten, wherever it stands", () => {
  const stack = new UndoStack();
  for (const operation of [1, 2, 3]) stack.push(done(operation));

  stack.drop([2]);
  stack.drop([99]);

  expect([stack.pop()?.operations, stack.pop()?.operations, stack.pop()]).toEqual([[3], [1], undefined]);
});

test("a step of several operations keeps those that were not undone elsewhere", () => {
  const stack = new UndoStack();
  stack.push({ operations: [1, 2, 3], sentence: "Import" });

  stack.drop([2]);
  expect(stack.peek()).toEqual({ operations: [1, 3], sentence: "Import" });
  stack.drop([1, 3]);
  expect(stack.peek()).toBeUndefined();
});

test("a hundred are kept, the newest", () => {
  const stack = new UndoStack();
  for (let operation = 1; operation <= 150; operation += 1) stack.push(done(operation));

  const left: (number | undefined)[] = [];
  for (let each = stack.pop(); each !== undefined; each = stack.pop()) left.push(each.operations[0]);
  expect(left).toEqual(Array.from({ length: 100 }, (_, index) => 150 - index));
});
