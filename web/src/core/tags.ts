/** The tags of many assets at once, what is to become of them, and a sentence that says so. */

import { number } from "./text";

export interface TagCounts {
  /** How many assets. */
  readonly total: number;
  /** How many of them have a tag. */
  readonly counts: ReadonlyMap<string, number>;
}

/** An edit of many assets. */
export interface BulkChange {
  /** How many assets. */
  readonly total: number;
  readonly add: readonly string[];
  readonly remove: readonly string[];
  /** null: it stays; "": it is cleared. */
  readonly license: string | null;
}

export interface TagRow {
  readonly tag: string;
  readonly count: number;
  /** Whether all, some or none of the assets have it now. */
  readonly state: "all" | "some" | "none";
  readonly change: "add" | "remove" | null;
}

/** One row for each tag that an asset has or is to get, the most frequent first, then by name ignoring case. */
export function tagRows(summary: TagCounts, add: readonly string[], remove: readonly string[]): TagRow[] {
  const changes = new Map<string, "add" | "remove">();
  for (const tag of remove) changes.set(fold(tag), "remove");
  for (const tag of add) changes.set(fold(tag), "add");
  const known = new Set(Array.from(summary.counts.keys(), fold));
  const tags = new Map(summary.counts);
  for (const tag of add) {
    if (!known.has(fold(tag))) tags.set(tag, 0);
    known.add(fold(tag));
  }
  const rows = Array.from(tags, ([tag, count]): TagRow => {
    const state = count === 0 ? "none" : count >= summary.total ? "all" : "some";
    return { tag, count, state, change: changes.get(fold(tag)) ?? null };
  });
  return rows.sort((a, b) => b.count - a.count || byName(a.tag, b.tag));
}

/** Say what an edit does: "Add smile, remove night from 30 assets; licence CC0-1.0". */
export function describe({ total, add, remove, license }: BulkChange): string {
  const assets = total === 1 ? "1 asset" : `${number(total)} assets`;
  const parts: string[] = [];
  if (add.length > 0) parts.push(`add ${named(add)}`);
  if (remove.length > 0) parts.push(`remove ${named(remove)}`);
  if (parts.length === 0) {
    if (license === null) return `No change to ${assets}`;
    return license === "" ? `Clear the licence of ${assets}` : `Set the licence of ${assets} to ${license}`;
  }
  const said = `${parts.join(", ")} ${remove.length > 0 ? "from" : "to"} ${assets}`;
  const licence = license === null ? "" : license === "" ? "; no licence" : `; licence ${license}`;
  return said.charAt(0).toUpperCase() + said.slice(1) + licence;
}

const NAMED = 3;

function named(tags: readonly string[]): string {
  if (tags.length > NAMED + 1) return `${tags.slice(0, NAMED).join(", ")} and ${tags.length - NAMED} more`;
  return tags.length < 2 ? tags.join() : `${tags.slice(0, -1).join(", ")} and ${tags.at(-1) ?? ""}`;
}

const BY_NAME = new Intl.Collator("en", { sensitivity: "accent", numeric: true });

function byName(a: string, b: string): number {
  return BY_NAME.compare(a, b) || (a < b ? -1 : 1);
}

/** The form under which two tags are one. */
function fold(tag: string): string {
  return tag.normalize("NFC").toLowerCase();
}
