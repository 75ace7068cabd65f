/** What this tab has done and can take back. */

const LIMIT = 100;

export interface Done {
  /** Numbers of the operations in the history of the library, the newest last; an import has several. */
  readonly operations: readonly number[];
  readonly sentence: string;
}

/** The newest is last; beyond 100 the oldest are forgotten. */
export class UndoStack {
  private done: Done[] = [];

  push(done: Done): void {
    this.done.push(done);
    if (this.done.length > LIMIT) this.done.shift();
  }

  /** Take the newest off; undefined if there is none. */
  pop(): Done | undefined {
    return this.done.pop();
  }

  peek(): Done | undefined {
    return this.done.at(-1);
  }

  /** Forget operations, since they are undone elsewhere. */
  drop(operations: readonly number[]): void {
    const gone = new Set(operations);
    const left = this.done.map((each) => ({ ...each, operations: each.operations.filter((one) => !gone.has(one)) }));
    this.done = left.filter((each) => each.operations.length > 0);
  }
}
