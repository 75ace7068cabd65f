import { expect, test } from "vitest";
import { UndoStack } from "../src/core/undo";

function done(operation: number): { operation: number; sentence: string } {
  return { operation, sentence: `Edit ${operation}` };
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

  stack.drop(2);
  stack.drop(99);

  expect([stack.pop()?.operation, stack.pop()?.operation, stack.pop()]).toEqual([3, 1, undefined]);
});

test("a hundred are kept, the newest", () => {
  const stack = new UndoStack();
  for (let operation = 1; operation <= 150; operation += 1) stack.push(done(operation));

  const left: number[] = [];
  for (let each = stack.pop(); each !== undefined; each = stack.pop()) left.push(each.operation);
  expect(left).toEqual(Array.from({ length: 100 }, (_, index) => 150 - index));
});
