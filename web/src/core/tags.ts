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
  /** null or nothing: it stays; 0: it is cleared. */
  readonly rating?: number | null;
}

export interface TagRow {
  readonly tag: string;
  readonly count: number;
  /** Whether all, some or none of the assets have it now. */
  readonly state: "all" | "some" | "none";
  readonly change: "add" | "remove" | null;
}

/** One row for each tag that an asset has, or that is to be added or removed, the most frequent first, then by name ignoring case. */
export function tagRows(summary: TagCounts, add: readonly string[], remove: readonly string[]): TagRow[] {
  const changes = new Map<string, "add" | "remove">();
  for (const tag of remove) changes.set(fold(tag), "remove");
  for (const tag of add) changes.set(fold(tag), "add");
  const known = new Set(Array.from(summary.counts.keys(), fold));
  const tags = new Map(summary.counts);
  for (const tag of [...add, ...remove]) {
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
export function describe(change: BulkChange): string {
  const [first, ...others] = clauses(change);
  if (first === undefined) return `No change to ${assets(change.total)}`;
  return [first.charAt(0).toUpperCase() + first.slice(1), ...others].join("; ");
}

function clauses({ total, add, remove, license, rating = null }: BulkChange): string[] {
  const told: string[] = [];
  const tags = [add.length > 0 ? `add ${named(add)}` : "", remove.length > 0 ? `remove ${named(remove)}` : ""];
  const said = tags.filter((part) => part !== "").join(", ");
  if (said !== "") told.push(`${said} ${remove.length > 0 ? "from" : "to"} ${assets(total)}`);
  if (license !== null) told.push(clause(told.length > 0, "licence", license, total));
  if (rating !== null) told.push(clause(told.length > 0, "rating", rating === 0 ? "" : String(rating), total));
  return told;
}

function clause(isFurther: boolean, what: string, value: string, total: number): string {
  if (isFurther) return value === "" ? `no ${what}` : `${what} ${value}`;
  return value === "" ? `clear the ${what} of ${assets(total)}` : `set the ${what} of ${assets(total)} to ${value}`;
}

/** Say that an edit is done: "Tagged 30 assets". */
export function describeDone({ total, add, remove, license, rating = null }: BulkChange): string {
  const kinds = [add.length + remove.length > 0, license !== null, rating !== null];
  if (kinds.filter(Boolean).length !== 1) return `Edited ${assets(total)}`;
  if (rating !== null) {
    return rating === 0 ? `Cleared the rating of ${assets(total)}` : `Rated ${assets(total)} ${stars(rating)}`;
  }
  if (license !== null) {
    return license === "" ? `Cleared the licence of ${assets(total)}` : `Set the licence of ${assets(total)} to ${license}`;
  }
  return remove.length > 0 && add.length === 0 ? `Removed ${named(remove)} from ${assets(total)}` : `Tagged ${assets(total)}`;
}

/** A rating as signs: "★★★". */
export function stars(rating: number): string {
  return "★".repeat(rating);
}

/** "1 asset", "12,345 assets". */
export function assets(count: number): string {
  return count === 1 ? "1 asset" : `${number(count)} assets`;
}

/** The tags of a text: commas part them; one in double quotes may hold commas itself. */
export function tagsIn(text: string): string[] {
  const parts = text.matchAll(/\s*(?:"([^"]*)"\s*(?=,|$)|([^,]*))(?:,|$)/g);
  return Array.from(parts, ([, quoted, plain]) => (quoted ?? plain ?? "").trim()).filter((tag) => tag !== "");
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
export function fold(tag: string): string {
  return tag.normalize("NFC").toLowerCase();
}
