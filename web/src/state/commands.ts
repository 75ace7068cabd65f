/** What keys, menus and buttons do: each part of the page says what it does for the commands of the table. */

import { onScopeDispose } from "vue";

export interface Handler {
  run(event?: Event): void;
  /** Whether it can be done now; menus grey it out otherwise. */
  isPossible?(): boolean;
  /** Why it can't be done now, and what to do, for who presses its key all the same; "" where that is plain. */
  whyNot?(): string;
}

export class Commands {
  private readonly handlers = new Map<string, Handler[]>();

  /** Handle commands as long as the component lives; who came last goes first. */
  handle(handlers: Record<string, Handler | (() => void)>): void {
    const added = Object.entries(handlers).map(([id, given]): [string, Handler] => [
      id,
      typeof given === "function" ? { run: given } : given,
    ]);
    for (const [id, handler] of added) this.handlers.set(id, [...(this.handlers.get(id) ?? []), handler]);
    onScopeDispose(() => {
      for (const [id, handler] of added) {
        this.handlers.set(id, (this.handlers.get(id) ?? []).filter((each) => each !== handler));
      }
    });
  }

  isPossible(id: string): boolean {
    const handler = this.handlers.get(id)?.at(-1);
    return handler !== undefined && (handler.isPossible?.() ?? true);
  }

  whyNot(id: string): string {
    return this.isPossible(id) ? "" : (this.handlers.get(id)?.at(-1)?.whyNot?.() ?? "");
  }

  /** Do it; false if nobody can at present. */
  run(id: string, event?: Event): boolean {
    if (!this.isPossible(id)) return false;
    this.handlers.get(id)?.at(-1)?.run(event);
    return true;
  }
}
