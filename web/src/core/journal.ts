/** The history of one asset for people: the journal's rows of one operation are one thing that happened. */

import { fileName } from "./text";
import { inWords } from "./facts";

/** A row of the journal, as GET /assets/{uid}/history has it. */
export interface JournalRow {
  readonly seq: number;
  readonly at: string;
  readonly actor: string | null;
  readonly event: string;
  readonly operation: number;
  readonly before: Readonly<Record<string, unknown>> | null;
  readonly after: Readonly<Record<string, unknown>> | null;
}

/** A value before and after; null where there was none. */
export interface Changed {
  readonly name: string;
  readonly before: string | null;
  readonly after: string | null;
}

export interface Happening {
  readonly operation: number;
  readonly at: string;
  readonly actor: string | null;
  /** What was done, to be read behind the name of who did it. */
  readonly sentence: string;
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly changed: readonly Changed[];
  /** An undo could take it back; what later changes don't allow is refused by the server. */
  readonly mayUndo: boolean;
}

type Told = Readonly<Record<string, unknown>>;

/** Told elsewhere, or by the registry for itself. */
const UNTOLD = new Set(["tags", "license", "version", "media", "preview", "thumbnails"]);

/** Gather rows, newest first as they came, into what happened. */
export function happenings(rows: readonly JournalRow[]): Happening[] {
  const groups: JournalRow[][] = [];
  for (const row of rows) {
    const last = groups.at(-1);
    if (last?.[0]?.operation === row.operation) last.push(row);
    else groups.push([row]);
  }
  return groups.map((group) => happeningOf(group.reverse()));
}

/** `rows` of one operation, in the order in which they were written. */
function happeningOf(rows: readonly JournalRow[]): Happening {
  const last = rows.at(-1) as JournalRow;
  const added: string[] = [];
  const removed: string[] = [];
  const changed: Changed[] = [];
  const said: string[] = [];
  for (const row of rows) {
    if (row.event === "asset_meta_updated") {
      const edit = editOf(row);
      added.push(...edit.added);
      removed.push(...edit.removed);
      changed.push(...edit.changed);
      if (edit.what) said.push(`changed ${edit.what}`);
    } else {
      const { sentence, change } = tell(row);
      if (sentence) said.push(sentence);
      if (change) changed.push(change);
    }
  }
  const isOnlySidecar = said.length === 0 && rows.some((row) => row.event === "asset_sidecar_written");
  return {
    operation: last.operation,
    at: last.at,
    actor: last.actor,
    sentence: listed(said) || (isOnlySidecar ? "wrote the sidecar" : "saved it without a change"),
    added,
    removed,
    changed,
    mayUndo: rows.some(isTakenBack),
  };
}

function isTakenBack(row: JournalRow): boolean {
  if (row.event === "asset_moved") return row.after?.is_ours === true;
  return row.event === "asset_meta_updated" && editOf(row).what !== "";
}

function tell(row: JournalRow): { sentence: string; change?: Changed } {
  const { before, after } = row;
  switch (row.event) {
    case "asset_registered":
      return { sentence: `registered it${typeof after?.path === "string" ? ` as ${after.path}` : ""}` };
    case "asset_content_changed": {
      const change = { name: "Version", before: inWords(before?.version), after: inWords(after?.version) };
      return { sentence: "took in new content", change };
    }
    case "asset_provenance_added": {
      const source = inWords(after?.source);
      const isTold = source !== "" && source !== "unspecified";
      return { sentence: isTold ? `added provenance from ${source}` : "added provenance" };
    }
    case "asset_moved": {
      const [from, to] = [inWords(before?.path), inWords(after?.path)];
      const isRenamed = from.slice(0, -fileName(from).length) === to.slice(0, -fileName(to).length);
      const change = { name: "Path", before: from, after: to };
      return { sentence: isRenamed ? "renamed it" : "moved it", change };
    }
    case "asset_missing":
      return { sentence: "found the file missing" };
    case "asset_restored":
      return { sentence: after?.removal === undefined ? "found the file again" : "restored it" };
    case "asset_removed":
      return { sentence: "removed it" };
    case "asset_healed":
      return { sentence: "put its hash right" };
    case "asset_sidecar_written":
      return { sentence: "" };
    default:
      return { sentence: row.event.replace(/^asset_/, "").replaceAll("_", " ") };
  }
}

interface Edit {
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly changed: readonly Changed[];
  /** "tags and licence"; "" if nothing is another. */
  readonly what: string;
}

function editOf(row: JournalRow): Edit {
  const [before, after] = [metaOf(row.before), metaOf(row.after)];
  const [had, has] = [tagsOf(before), tagsOf(after)];
  const added = has.filter((tag) => !had.includes(tag));
  const removed = had.filter((tag) => !has.includes(tag));
  const changed: Changed[] = [];
  const what = added.length + removed.length ? ["tags"] : [];
  if (inWords(before.license) !== inWords(after.license)) {
    changed.push(changeOf("Licence", before.license, after.license));
    what.push("licence");
  }
  const [came, comes] = [parentsIn(row.before), parentsIn(row.after)];
  if (came !== comes) {
    changed.push(changeOf("Came from", came, comes));
    what.push("lineage");
  }
  const keys = new Set([...Object.keys(before), ...Object.keys(after)].filter((key) => !UNTOLD.has(key)));
  const others = [...keys].filter((key) => JSON.stringify(before[key]) !== JSON.stringify(after[key]));
  changed.push(...others.map((key) => changeOf(key, before[key], after[key])));
  if (others.length) what.push(others.length <= 3 ? listed(others) : `${others.length} keys of its metadata`);
  return { added, removed, changed, what: listed(what) };
}

function changeOf(name: string, before: unknown, after: unknown): Changed {
  return { name, before: orNull(before), after: orNull(after) };
}

function orNull(value: unknown): string | null {
  return value === undefined || value === null || value === "" ? null : inWords(value);
}

/** The metadata that a row tells, with the sidecar's other keys. */
function metaOf(told: Told | null): Told {
  return { ...asObject(told?.extra), ...asObject(told?.meta) };
}

/** "3f1a0c22b7d94e10 (img2img), …". */
function parentsIn(told: Told | null): string {
  const parents = Array.isArray(told?.lineage) ? told.lineage.map(asObject) : [];
  return parents
    .map(({ parent, kind, certainty }) => {
      const how = certainty === "certain" ? inWords(kind) : `${inWords(certainty)} ${inWords(kind)}`;
      return `${inWords(parent)} (${how})`;
    })
    .join(", ");
}

function tagsOf(meta: Told): string[] {
  return Array.isArray(meta.tags) ? meta.tags.filter((tag) => typeof tag === "string") : [];
}

function asObject(value: unknown): Told {
  return value !== null && typeof value === "object" ? (value as Told) : {};
}

function listed(words: readonly string[]): string {
  if (words.length < 2) return words[0] ?? "";
  return `${words.slice(0, -1).join(", ")} and ${words.at(-1) ?? ""}`;
}
