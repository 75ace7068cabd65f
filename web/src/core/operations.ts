/** The history of the library for people: what an operation did, and whether that still holds. */

import { assets } from "./tags";
import { fileName } from "./text";

/** What GET /assets/operations tells of one. */
export interface Operation {
  readonly operation: number;
  readonly kind: "register" | "edit" | "move" | "remove" | "restore" | "undo" | "rebuild" | "sidecars";
  readonly path: string;
  readonly assets: number;
  readonly summary: { readonly moved_from?: string; readonly moved_to?: string };
  readonly is_undoable: boolean;
  readonly undoes: number | null;
  readonly undone_by: number | null;
}

export type Standing = "done" | "undone" | "partly";

const VERBS: Readonly<Record<Operation["kind"], string>> = {
  register: "Imported",
  edit: "Edited",
  move: "Moved",
  remove: "Moved to the trash:",
  restore: "Brought back",
  undo: "Undid a change of",
  rebuild: "Took in changed files of",
  sidecars: "Wrote the sidecars of",
};

/** Say what an operation did; `known` are those that were read, by number. */
export function sentenceOf(operation: Operation, known: ReadonlyMap<number, Operation>): string {
  const { kind, summary, undoes } = operation;
  const origin = undoes === null ? undefined : known.get(undoes);
  if (origin) {
    const said = sentenceOf(origin, known);
    const isUndone = said.startsWith("Undid: ");
    return `${isUndone ? "Did again" : "Undid"}: ${said.replace(/^(Undid|Did again): /, "")}`;
  }
  if (kind === "move" && operation.assets === 1 && summary.moved_from && summary.moved_to) {
    return moved(summary.moved_from, summary.moved_to);
  }
  const what = operation.assets === 1 && operation.path ? fileName(operation.path) : assets(operation.assets);
  return `${VERBS[kind]} ${what}`;
}

function moved(from: string, to: string): string {
  const isRename = from.slice(0, from.lastIndexOf("/") + 1) === to.slice(0, to.lastIndexOf("/") + 1);
  return isRename ? `Renamed ${fileName(from)} to ${fileName(to)}` : `Moved ${from} to ${to}`;
}

/** Whether what an operation did holds, was taken back, or some of it was; an undo may be undone in turn. */
export function standing(operation: Operation, known: ReadonlyMap<number, Operation>): Standing {
  const by = operation.undone_by === null ? undefined : known.get(operation.undone_by);
  if (operation.undone_by === null || (by && standing(by, known) === "undone")) return "done";
  return by && by.assets < operation.assets ? "partly" : "undone";
}

/** Put a page just read before what was read earlier; where both don't meet, the earlier is forgotten. */
export function merged<T extends { readonly operation: number }>(page: readonly T[], earlier: readonly T[]): T[] {
  const last = page.at(-1);
  const doesMeet = last !== undefined && earlier.some((each) => each.operation >= last.operation);
  if (!doesMeet) return [...page];
  return [...page, ...earlier.filter((each) => each.operation < last.operation)];
}
