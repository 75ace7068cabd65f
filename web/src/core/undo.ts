/** What this tab has done and can take back. */

const LIMIT = 100;

export interface Done {
  /** Number of the operation in the history of the library. */
  readonly operation: number;
  readonly sentence: string;
}

/** The newest is last; beyond 100 the oldest are forgotten. */
export class UndoStack {
  private readonly done: Done[] = [];

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

  /** Forget an operation, since it was undone elsewhere. */
  drop(operation: number): void {
    const index = this.done.findIndex((each) => each.operation === operation);
    if (index >= 0) this.done.splice(index, 1);
  }
}
