/** What somebody has in mind for many assets, before it is applied. */

import { fold, type TagRow } from "./tags";

export interface Draft {
  readonly add: readonly string[];
  readonly remove: readonly string[];
  /** null: it stays; "": it is cleared. */
  readonly license: string | null;
  /** null: it stays; 0: it is cleared. */
  readonly rating: number | null;
}

export const NO_CHANGE: Draft = { add: [], remove: [], license: null, rating: null };

export function isEmpty({ add, remove, license, rating }: Draft): boolean {
  return add.length === 0 && remove.length === 0 && license === null && rating === null;
}

/** A click on a tag: leave it, add it to all, remove it from all, leave it; what would change nothing is left out. */
export function cycled(draft: Draft, { tag, state, change }: TagRow): Draft {
  const left = without(draft, tag);
  if (change === null && state !== "all") return { ...left, add: [...left.add, tag] };
  if (change !== "remove" && state !== "none") return { ...left, remove: [...left.remove, tag] };
  return left;
}

/** All are to have a tag; `known` are the tags there are, whose spelling and state count. */
export function withTag(draft: Draft, tag: string, known: readonly TagRow[]): Draft {
  const row = known.find((each) => fold(each.tag) === fold(tag));
  const left = without(draft, tag);
  return row?.state === "all" ? left : { ...left, add: [...left.add, row?.tag ?? tag] };
}

function without(draft: Draft, tag: string): Draft {
  const isOther = (each: string): boolean => fold(each) !== fold(tag);
  return { ...draft, add: draft.add.filter(isOther), remove: draft.remove.filter(isOther) };
}

/** As the body of POST /assets/bulk. */
export function toBody({ add, remove, license, rating }: Draft): Record<string, unknown> {
  return {
    add_tags: add,
    remove_tags: remove,
    ...(license === null ? {} : { license }),
    ...(rating === null ? {} : { metadata: { rating: rating === 0 ? null : rating } }),
  };
}
