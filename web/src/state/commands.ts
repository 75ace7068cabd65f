/** What keys, menus and buttons do: each part of the page says what it does for the commands of the table. */

import { onScopeDispose } from "vue";
import { COMMANDS } from "../core/shortcuts";

export interface Handler {
  run(event?: Event): void;
  /** Whether it can be done now; menus grey it out otherwise. */
  isPossible?(): boolean;
  /** Why it can't be done now, and what to do, for who presses its key all the same; "" where that is plain. */
  whyNot?(): string;
}

const KNOWN = new Set(COMMANDS.map((command) => command.id));

export class Commands {
  private readonly handlers = new Map<string, Handler[]>();

  /**
   * Handle commands as long as the component lives; who came last goes first. One that the table does not have
   * could be found in no menu: an error.
   */
  handle(handlers: Record<string, Handler | (() => void)>): void {
    const added = Object.entries(handlers).map(([id, given]): [string, Handler] => [
      id,
      typeof given === "function" ? { run: given } : given,
    ]);
    for (const [id, handler] of added) {
      if (!KNOWN.has(id)) throw new Error(`There is no command ${id} in core/shortcuts.ts`);
      this.handlers.set(id, [...(this.handlers.get(id) ?? []), handler]);
    }
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
