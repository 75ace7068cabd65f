/** Short news at the edge of the window, some with one thing to do about them. */

import { shallowReactive } from "vue";

export interface Toast {
  readonly id: number;
  readonly kind: "done" | "info" | "error";
  readonly text: string;
  readonly action?: { readonly label: string; run(): void };
}

const SHOWN_MS = { done: 8_000, info: 6_000, error: 15_000 };
const MOST = 3;

export class Toasts {
  readonly items = shallowReactive<Toast[]>([]);
  private readonly timers = new Map<number, number>();
  private next = 1;

  done(text: string, action?: Toast["action"]): number {
    return this.add("done", text, action);
  }

  info(text: string, action?: Toast["action"]): number {
    return this.add("info", text, action);
  }

  error(error: unknown, action?: Toast["action"]): number {
    return this.add("error", error instanceof Error ? error.message : String(error), action);
  }

  close(id: number): void {
    this.hold(id);
    const at = this.items.findIndex((toast) => toast.id === id);
    if (at >= 0) this.items.splice(at, 1);
  }

  /** Somebody reads or points at it: it stays. */
  hold(id: number): void {
    clearTimeout(this.timers.get(id));
    this.timers.delete(id);
  }

  release(id: number): void {
    const toast = this.items.find((each) => each.id === id);
    if (toast) this.timers.set(id, setTimeout(() => this.close(id), SHOWN_MS[toast.kind]));
  }

  private add(kind: Toast["kind"], text: string, action?: Toast["action"]): number {
    const known = this.items.find((each) => each.kind === kind && each.text === text && !action);
    if (known) this.close(known.id);
    const id = this.next++;
    this.items.push({ id, kind, text, action });
    this.release(id);
    const oldest = this.items[0];
    if (this.items.length > MOST && oldest) this.close(oldest.id);
    return id;
  }
}
