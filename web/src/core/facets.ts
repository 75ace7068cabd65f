/** What stands beside the gallery: each value with how many assets have it, those chosen on top. */

import {
  canExclude,
  isChosen,
  isSameValue,
  PROBLEMS,
  type FacetKind,
  type MadeKind,
  type Problem,
  type Query,
} from "./query";

export interface Count<T> {
  /** null stands for "none". */
  readonly value: T;
  readonly count: number;
}

/** As the server counts: each list under the other conditions, without its own. */
export interface Facets {
  readonly total: number;
  readonly types: readonly Count<string | null>[];
  readonly licenses: readonly Count<string | null>[];
  readonly tags: readonly Count<string | null>[];
  readonly models: readonly Count<string | null>[];
  readonly loras: readonly Count<string | null>[];
  readonly samplers: readonly Count<string | null>[];
  readonly tools: readonly Count<string | null>[];
  readonly problems: readonly Count<Problem>[];
}

export type Choice = "chosen" | "excluded" | "open";

export interface FacetRow {
  /** Assets without a tag are a problem: `kind` is that of the condition, not of the group. */
  readonly kind: FacetKind;
  /** A licence of "" stands for "has none". */
  readonly value: string;
  readonly title: string;
  /** null where nobody has counted it. */
  readonly count: number | null;
  readonly choice: Choice;
  readonly canExclude: boolean;
  /** What it means, where the title leaves that open. */
  readonly meaning: string;
}

export interface FacetGroup {
  readonly kind: FacetKind;
  readonly title: string;
  readonly rows: readonly FacetRow[];
  /** How many of its values are chosen or excluded. */
  readonly chosen: number;
  /** The library may have more values than were counted. */
  readonly isCut: boolean;
}

/** So many tags, models and the like are counted; see `top_tags` of GET /assets/facets. */
export const COUNTED = 100;

const MEANINGS: Record<Problem, string> = {
  "no-license": "Nobody has said under which licence these may be used.",
  "no-tags": "These have no tags yet.",
  missing: "The file of these is no longer in the assets folder.",
  "no-sidecar": "No sidecar of these was written or read yet, as after an upgrade.",
  "no-thumbnail": "No preview of these could be made from the file.",
  conflict: "The last change of these was overruled by an edit in their sidecar.",
};

/** The groups in the order in which they are shown. */
export function facetGroups(facets: Facets, query: Query): FacetGroup[] {
  const tags = facets.tags.filter((each) => each.value !== null);
  const untagged = facets.tags.find((each) => each.value === null)?.count ?? 0;
  const isCut = tags.length >= COUNTED;
  const noTags = rowOf(query, "problem", "no-tags", "no tags", untagged, MEANINGS["no-tags"]);
  return [
    groupOf("type", "Type", valuesOf(query, "type", facets.types)),
    groupOf("tag", "Tag", [noTags, ...valuesOf(query, "tag", tags, isCut)], isCut),
    groupOf("license", "Licence", valuesOf(query, "license", facets.licenses)),
    madeOf(query, "model", "Model", facets.models),
    madeOf(query, "lora", "LoRA", facets.loras),
    madeOf(query, "sampler", "Sampler", facets.samplers),
    madeOf(query, "tool", "Tool", facets.tools),
    groupOf("problem", "Problems", problemsOf(query, facets.problems)),
  ];
}

/**
 * The group with its rows where they were, so that none moves while somebody points at it: what is no longer
 * counted stays, and what is new comes last.
 */
export function inOrderOf(before: FacetGroup, group: FacetGroup): FacetGroup {
  const isSameRow = (a: FacetRow, b: FacetRow): boolean =>
    a.kind === b.kind && isSameValue(a.kind, a.value, b.value);
  const kept = before.rows.map((row): FacetRow => {
    const now = group.rows.find((each) => isSameRow(each, row));
    return now ?? { ...row, count: group.isCut ? null : 0, choice: "open" };
  });
  const added = group.rows.filter((row) => !before.rows.some((each) => isSameRow(each, row)));
  return { ...group, rows: [...kept, ...added] };
}

/** A row that was not counted with the others: `count` is that of the whole library. */
export function rowElsewhere(query: Query, kind: FacetKind, value: string, count: number): FacetRow {
  return rowOf(query, kind, value, value, count);
}

/** What no asset has and nobody chose is left out; what is chosen goes on top. */
function groupOf(kind: FacetKind, title: string, all: readonly FacetRow[], isCut = false): FacetGroup {
  const rows = all.filter((row) => row.choice !== "open" || row.count !== 0);
  const ranked = (["chosen", "excluded", "open"] as const).flatMap((choice) =>
    rows.filter((row) => row.choice === choice),
  );
  const chosen = rows.filter((row) => row.choice !== "open").length;
  return { kind, title, rows: ranked, chosen, isCut };
}

function madeOf(
  query: Query,
  kind: MadeKind,
  title: string,
  counts: readonly Count<string | null>[],
): FacetGroup {
  const isCut = counts.length >= COUNTED;
  return groupOf(kind, title, valuesOf(query, kind, counts, isCut), isCut);
}

/** The values that were counted, "none" first, and those that are chosen though no asset has them now. */
function valuesOf(
  query: Query,
  kind: Exclude<FacetKind, "problem">,
  counts: readonly Count<string | null>[],
  isCut = false,
): FacetRow[] {
  const titleOf = (value: string): string => (value === "" ? "no licence" : value);
  const counted = counts.map(({ value, count }) => rowOf(query, kind, value ?? "", titleOf(value ?? ""), count));
  const stated = {
    type: [...query.types, ...query.notTypes],
    tag: [...query.tags, ...query.notTags],
    license: [...query.licenses, ...query.notLicenses],
    model: query.models,
    lora: query.loras,
    sampler: query.samplers,
    tool: query.tools,
  };
  const others = stated[kind]
    .filter((value) => !counted.some((row) => isSameValue(kind, row.value, value)))
    .map((value) => rowOf(query, kind, value, titleOf(value), isCut ? null : 0));
  const none = counted.filter((row) => row.value === "");
  return [...others, ...none, ...counted.filter((row) => row.value !== "")];
}

function problemsOf(query: Query, counts: readonly Count<Problem>[]): FacetRow[] {
  const counted = new Map(counts.map(({ value, count }) => [value, count]));
  return PROBLEMS.map(({ value, title }) =>
    rowOf(query, "problem", value, title, counted.get(value) ?? 0, MEANINGS[value]),
  );
}

function rowOf(
  query: Query,
  kind: FacetKind,
  value: string,
  title: string,
  count: number | null,
  meaning = "",
): FacetRow {
  const choice = isChosen(query, kind, value)
    ? "chosen"
    : isChosen(query, kind, value, true)
      ? "excluded"
      : "open";
  return { kind, value, title, count, choice, canExclude: canExclude(kind), meaning };
}
