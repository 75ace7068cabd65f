/** What is asked for: the conditions of the gallery, as parameters of the API, chips and search text. */

export type Sort = "newest" | "oldest" | "name" | "largest" | "changed";
export type Problem = "no-license" | "no-tags" | "missing" | "no-sidecar" | "no-thumbnail" | "conflict";

/** Conditions; a licence of "" stands for "has none". All lists are without duplicates. */
export interface Query {
  /** Any of these. */
  readonly types: readonly string[];
  readonly notTypes: readonly string[];
  /** All of these, ignoring case. */
  readonly tags: readonly string[];
  readonly notTags: readonly string[];
  /** Any of these, ignoring case. */
  readonly licenses: readonly string[];
  readonly notLicenses: readonly string[];
  /** Any of these. */
  readonly problems: readonly Problem[];
  /** The beginning of a uid, at least 4 hex digits. */
  readonly uid: string;
  /** A workflow's hash, or 8 or more of its first characters. */
  readonly workflow: string;
  /** The uid of an asset that they came from, by way of others or not. */
  readonly descendsFrom: string;
  /** Made with all of these, by their names; folder, suffix and case don't matter. */
  readonly models: readonly string[];
  readonly loras: readonly string[];
  /** Made with any of these, ignoring case. */
  readonly samplers: readonly string[];
  readonly tools: readonly string[];
  /** Made from it: digits, since it may be larger than a number. */
  readonly seed: string;
  /** At least so many stars, 1 to 5; 0 for any. */
  readonly rating: number;
  /** Words, all of which are looked for, as the search box has them: what stands in quotes is one. */
  readonly text: string;
  /** What the file tells about itself, such as "width>=1024"; all of these. */
  readonly where: readonly string[];
  readonly sort: Sort;
}

export const EVERYTHING: Query = {
  types: [],
  notTypes: [],
  tags: [],
  notTags: [],
  licenses: [],
  notLicenses: [],
  problems: [],
  uid: "",
  workflow: "",
  descendsFrom: "",
  models: [],
  loras: [],
  samplers: [],
  tools: [],
  seed: "",
  rating: 0,
  text: "",
  where: [],
  sort: "newest",
};

export const SORTS: readonly { readonly value: Sort; readonly title: string }[] = [
  { value: "newest", title: "Newest first" },
  { value: "oldest", title: "Oldest first" },
  { value: "name", title: "By path" },
  { value: "largest", title: "Largest first" },
  { value: "changed", title: "Last changed first" },
];

export const PROBLEMS: readonly { readonly value: Problem; readonly title: string }[] = [
  { value: "no-license", title: "No licence" },
  { value: "no-tags", title: "No tags" },
  { value: "missing", title: "File missing" },
  { value: "no-sidecar", title: "No sidecar" },
  { value: "no-thumbnail", title: "No thumbnail" },
  { value: "conflict", title: "Sidecar conflict" },
];

export const MOST_STARS = 5;

/** What is counted beside the gallery, each value of it with a button. */
export type FacetKind = "type" | "tag" | "license" | MadeKind | "problem";
/** What made an asset. */
export type MadeKind = "model" | "lora" | "sampler" | "tool";
type Listed =
  | "types"
  | "notTypes"
  | "tags"
  | "notTags"
  | "licenses"
  | "notLicenses"
  | "models"
  | "loras"
  | "samplers"
  | "tools"
  | "problems"
  | "where";

export const MADE_KINDS: readonly MadeKind[] = ["model", "lora", "sampler", "tool"];

const LISTS: readonly Listed[] = [
  "types",
  "notTypes",
  "tags",
  "notTags",
  "licenses",
  "notLicenses",
  "models",
  "loras",
  "samplers",
  "tools",
  "problems",
  "where",
];

/** Whether both ask for the same; the order of a list does not matter. */
export function isSame(a: Query, b: Query): boolean {
  const singles = ["sort", "uid", "workflow", "descendsFrom", "seed", "rating", "text"] as const;
  if (singles.some((name) => a[name] !== b[name])) return false;
  return LISTS.every((name) => {
    const [ofA, ofB] = [new Set(folded(a, name)), new Set(folded(b, name))];
    return ofA.size === ofB.size && [...ofA].every((value) => ofB.has(value));
  });
}

/** Whether there is any condition; the sort does not count. */
export function isFiltered(query: Query): boolean {
  const { uid, workflow, descendsFrom, seed, text } = query;
  const isStated = query.rating > 0 || uid + workflow + descendsFrom + seed + text !== "";
  return isStated || LISTS.some((name) => query[name].length > 0);
}

export function isSort(text: string): text is Sort {
  return SORTS.some((each) => each.value === text);
}

export function isProblem(text: string): text is Problem {
  return PROBLEMS.some((each) => each.value === text);
}

/** Whether the server takes it as the beginning of a uid. */
export function isUidPrefix(text: string): boolean {
  return /^[0-9a-f]{4,64}$/i.test(text);
}

/** Whether the server takes it as a workflow's hash, or the beginning of one. */
export function isWorkflow(text: string): boolean {
  return text.length >= 1 && text.length <= 1000;
}

/** Whether it can be the whole uid of an asset; older releases made others than hex digits. */
export function isUid(text: string): boolean {
  return /^[0-9a-z_-]{1,64}$/i.test(text);
}

/** Whether it can be the seed of an asset. */
export function isSeed(text: string): boolean {
  return /^[0-9]{1,20}$/.test(text);
}

/** Whether it is a number of stars that something can have. */
export function isRating(text: string): boolean {
  return /^[1-5]$/.test(text);
}

const CONDITION = /^\s*[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*\s*([<>!]=|[<>=])([^<>=]*)$/;
const NUMBER = /^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?$/;

/** Whether the server takes it as a condition on a fact of the file, such as "width>=1024". */
export function isCondition(text: string): boolean {
  const [, operator = "", value = ""] = CONDITION.exec(text) ?? [];
  if (operator === "" || value.length > 512) return false;
  return operator === "=" || operator === "!=" || NUMBER.test(value.trim());
}

/**
 * As parameters of GET /assets/index and /assets/facets, lists repeated. A tag with a comma or quote stands
 * in double quotes, as in a table. The usual sort is left out; withSort = false leaves out any.
 */
export function toParams(query: Query, withSort = true): URLSearchParams {
  const lists: readonly (readonly [string, readonly string[]])[] = [
    ["type", query.types],
    ["not_type", query.notTypes],
    ["tag", query.tags.map(inTable)],
    ["not_tag", query.notTags.map(inTable)],
    ["license", query.licenses],
    ["not_license", query.notLicenses],
    ["problem", query.problems],
    ["uid", query.uid === "" ? [] : [query.uid]],
    ["workflow", query.workflow === "" ? [] : [query.workflow]],
    ["descends_from", query.descendsFrom === "" ? [] : [query.descendsFrom]],
    ["model", query.models],
    ["lora", query.loras],
    ["sampler", query.samplers],
    ["tool", query.tools],
    ["seed", query.seed === "" ? [] : [query.seed]],
    ["rating", query.rating === 0 ? [] : [String(query.rating)]],
    ["q", textsOf(query)],
    ["where", query.where],
    ["sort", withSort && query.sort !== EVERYTHING.sort ? [query.sort] : []],
  ];
  return new URLSearchParams(lists.flatMap(([name, values]) => values.map((value) => [name, value])));
}

function inTable(tag: string): string {
  return /[",]|^\s|\s$/.test(tag) ? quoted(tag) : tag;
}

/** Read the conditions back from parameters as `toParams` writes them; what makes no sense is left out. */
export function fromParams(params: URLSearchParams): Query {
  const sort = params.get("sort") ?? "";
  const given = (name: string, is: (text: string) => boolean): string =>
    params.getAll(name).findLast(is) ?? "";
  return {
    types: unique("types", params.getAll("type").filter(Boolean)),
    notTypes: unique("notTypes", params.getAll("not_type").filter(Boolean)),
    tags: unique("tags", params.getAll("tag").flatMap(fromTable)),
    notTags: unique("notTags", params.getAll("not_tag").flatMap(fromTable)),
    licenses: unique("licenses", params.getAll("license")),
    notLicenses: unique("notLicenses", params.getAll("not_license")),
    problems: unique("problems", params.getAll("problem").filter(isProblem)),
    uid: given("uid", isUidPrefix),
    workflow: given("workflow", isWorkflow),
    descendsFrom: given("descends_from", isUid),
    models: unique("models", params.getAll("model").filter(modelName)),
    loras: unique("loras", params.getAll("lora").filter(modelName)),
    samplers: unique("samplers", params.getAll("sampler").filter(Boolean)),
    tools: unique("tools", params.getAll("tool").filter(Boolean)),
    seed: given("seed", isSeed),
    rating: Number(given("rating", isRating)),
    text: written(params.getAll("q")),
    where: unique("where", params.getAll("where").filter(isCondition)),
    sort: isSort(sort) ? sort : EVERYTHING.sort,
  };
}

/** Part tags at commas; one that stands in double quotes is one tag whatever it holds. */
function fromTable(text: string): string[] {
  const cells = text.matchAll(/(?:^|,)\s*(?:"((?:[^"]|"")*)"\s*(?=,|$)|([^,]*))/g);
  return Array.from(cells, ([, inQuotes, plain = ""]) => {
    return inQuotes?.replaceAll('""', '"') ?? plain.trim();
  }).filter(Boolean);
}

/** A chip of the filter bar: one condition that can be removed. */
export interface Chip {
  readonly kind: FacetKind | "uid" | "workflow" | "from" | "seed" | "rating" | "where" | "text";
  readonly value: string;
  readonly isExcluded: boolean;
  /** What it says, also to a screen reader. */
  readonly label: string;
}

export function chips(query: Query): Chip[] {
  const made: Chip[] = [];
  const add = (kind: Chip["kind"], values: readonly string[], isExcluded = false): void => {
    for (const value of values) made.push({ kind, value, isExcluded, label: label(kind, value, isExcluded) });
  };
  const single = (value: string): string[] => (value === "" ? [] : [value]);
  add("type", query.types);
  add("type", query.notTypes, true);
  add("tag", query.tags);
  add("tag", query.notTags, true);
  add("license", query.licenses);
  add("license", query.notLicenses, true);
  add("problem", query.problems);
  add("uid", single(query.uid));
  add("workflow", single(query.workflow));
  add("from", single(query.descendsFrom));
  add("model", query.models);
  add("lora", query.loras);
  add("sampler", query.samplers);
  add("tool", query.tools);
  add("seed", single(query.seed));
  add("rating", query.rating === 0 ? [] : [String(query.rating)]);
  add("where", query.where);
  add("text", textsOf(query));
  return made;
}

function label(kind: Chip["kind"], value: string, isExcluded: boolean): string {
  if (kind === "license" && value === "") return isExcluded ? "Has a licence" : "No licence";
  if (kind === "problem") return PROBLEMS.find((each) => each.value === value)?.title ?? value;
  if (kind === "rating") return starsOrMore(Number(value));
  if (kind === "where") return value;
  const said = `${isExcluded ? "not " : ""}${WORDS[kind] ?? kind}: ${value}`;
  return said.charAt(0).toUpperCase() + said.slice(1);
}

const WORDS: Partial<Record<Chip["kind"], string>> = { license: "licence", lora: "LoRA", from: "came from" };

/** "4 stars or more"; there are no more than 5. */
export function starsOrMore(rating: number): string {
  return `${rating} ${rating === 1 ? "star" : "stars"}${rating === MOST_STARS ? "" : " or more"}`;
}

export function withoutChip(query: Query, chip: Chip): Query {
  switch (chip.kind) {
    case "uid":
    case "workflow":
    case "seed":
      return { ...query, [chip.kind]: "" };
    case "from":
      return { ...query, descendsFrom: "" };
    case "rating":
      return { ...query, rating: 0 };
    case "text":
      return { ...query, text: written(textsOf(query).filter((each) => each !== chip.value)) };
    case "where":
      return { ...query, where: query.where.filter((each) => each !== chip.value) };
    default:
      return without(query, listOf(chip.kind, chip.isExcluded), chip.value);
  }
}

/**
 * Toggle, exclude or clear one value of a facet: it is wanted (or excluded), or no longer if it was so
 * already. A value is never both; problems, and what made an asset, can't be excluded.
 */
export function toggle(query: Query, kind: FacetKind, value: string, isExcluded = false): Query {
  const name = listOf(kind, isExcluded);
  const cleared = without(query, name, value);
  if (cleared[name].length < query[name].length) return cleared;
  const opposite = without(query, listOf(kind, !isExcluded), value);
  return { ...opposite, [name]: [...opposite[name], value] };
}

/** Whether one value of a facet is wanted (or excluded). */
export function isChosen(query: Query, kind: FacetKind, value: string, isExcluded = false): boolean {
  if (isExcluded && !canExclude(kind)) return false;
  return query[listOf(kind, isExcluded)].some((each) => isSameValue(kind, each, value));
}

/** Whether one can look for all that do not have it. */
export function canExclude(kind: FacetKind): boolean {
  return EXCLUDABLE.has(kind);
}

/** Whether two values of a facet are one. */
export function isSameValue(kind: FacetKind, a: string, b: string): boolean {
  const name = listOf(kind, false);
  return key(name, a) === key(name, b);
}

function listOf(kind: FacetKind, isExcluded: boolean): Listed {
  if (kind === "type") return isExcluded ? "notTypes" : "types";
  if (kind === "tag") return isExcluded ? "notTags" : "tags";
  if (kind === "license") return isExcluded ? "notLicenses" : "licenses";
  if (kind === "problem") return "problems";
  return `${kind}s`;
}

function without(query: Query, name: Listed, value: string): Query {
  const left = query[name].filter((each) => key(name, each) !== key(name, value));
  return { ...query, [name]: left };
}

function folded(query: Query, name: Listed): string[] {
  return query[name].map((value) => key(name, value));
}

/** The form under which two values of a list are one: all but types and conditions ignore case. */
function key(name: Listed | "text", value: string): string {
  const ignoresCase = name !== "types" && name !== "notTypes" && name !== "where";
  const meant = name === "models" || name === "loras" ? modelName(value) : value;
  return ignoresCase ? meant.normalize("NFC").toLowerCase() : meant;
}

/** A model's name without folder and suffix: one tool writes them, another does not. */
export function modelName(name: string): string {
  const last = name.replaceAll("\\", "/").replace(/\/+$/, "").replace(/^.*\//s, "");
  return last.replace(/\.(safetensors|sft|ckpt|gguf|pth|pt|bin)$/i, "").trim();
}

/** The texts that must all be found. */
function textsOf(query: Query): string[] {
  return lex(query.text).map((token) => token.value);
}

/** Texts as one; each stands once, ignoring case. */
function written(texts: readonly string[]): string {
  return unique("text", texts.filter(Boolean)).map(textWord).join(" ");
}

function unique<T extends string>(name: Listed | "text", values: readonly T[]): T[] {
  const kept = new Map<string, T>();
  for (const value of values) if (!kept.has(key(name, value))) kept.set(key(name, value), value);
  return [...kept.values()];
}

/** A word of the search box: a condition, or text. Positions are those of the string, `end` exclusive. */
export interface Token {
  readonly start: number;
  readonly end: number;
  /** As of a chip. */
  readonly kind: string;
  /** Without quotes; a licence of "" stands for "has none". */
  readonly value: string;
  readonly isExcluded: boolean;
}

export interface Parsed {
  readonly query: Query;
  /** The last token that is not finished: it is no condition yet. */
  readonly pending: Token | null;
}

export interface Lexed extends Token {
  readonly isFinished: boolean;
  /** Not in quotes, or the closing one is there. */
  readonly isClosed: boolean;
}

export const KINDS: ReadonlyMap<string, Chip["kind"]> = new Map([
  ["type", "type"],
  ["tag", "tag"],
  ["licence", "license"],
  ["license", "license"],
  ["problem", "problem"],
  ["is", "problem"],
  ["uid", "uid"],
  ["workflow", "workflow"],
  ["from", "from"],
  ["model", "model"],
  ["lora", "lora"],
  ["sampler", "sampler"],
  ["tool", "tool"],
  ["seed", "seed"],
  ["rating", "rating"],
  ["stars", "rating"],
  ["where", "where"],
]);
/** A shorter hash is a whole one, a shorter uid an old one: they are finished only in quotes. */
const SHORTEST: Partial<Record<Chip["kind"], number>> = { workflow: 8, from: 16 };
const EXCLUDABLE: ReadonlySet<string> = new Set(["type", "tag", "license"]);

/** Read the search box. Never throws; the sort is kept from `base`, everything else is what the text says. */
export function parseSearch(text: string, base: Query): Parsed {
  const tokens = lex(text);
  const finished = tokens.filter((token) => token.isFinished);
  const values = (kind: Chip["kind"], isExcluded = false): string[] => {
    const found = finished.filter((token) => token.kind === kind && token.isExcluded === isExcluded);
    return found.map((token) => token.value);
  };
  const query: Query = {
    types: unique("types", values("type")),
    notTypes: unique("notTypes", values("type", true)),
    tags: unique("tags", values("tag")),
    notTags: unique("notTags", values("tag", true)),
    licenses: unique("licenses", values("license")),
    notLicenses: unique("notLicenses", values("license", true)),
    problems: unique("problems", values("problem").filter(isProblem)),
    uid: values("uid").at(-1) ?? "",
    workflow: values("workflow").at(-1) ?? "",
    descendsFrom: values("from").at(-1) ?? "",
    models: unique("models", values("model")),
    loras: unique("loras", values("lora")),
    samplers: unique("samplers", values("sampler")),
    tools: unique("tools", values("tool")),
    seed: values("seed").at(-1) ?? "",
    rating: Number(values("rating").at(-1) ?? 0),
    text: written(values("text")),
    where: unique("where", values("where")),
    sort: base.sort,
  };
  return { query, pending: bare(tokens.findLast((token) => !token.isFinished)) };
}

/** Write conditions as search text; `parseSearch` reads the same from it. */
export function formatSearch(query: Query): string {
  const words = chips({ ...query, text: "" }).map((chip) => word(chip.kind, chip.value, chip.isExcluded));
  if (query.text !== "") words.push(query.text);
  return words.join(" ");
}

/** The token that the caret is in or at the end of, for suggestions; null between tokens. */
export function tokenAt(text: string, caret: number): Token | null {
  return bare(lex(text).findLast((token) => token.start <= caret && caret <= token.end));
}

/** Put a finished token of the same kind in a token's place, and the caret behind it, ready for the next. */
export function complete(text: string, token: Token, value: string): { text: string; caret: number } {
  const before = text.slice(0, token.start) + word(token.kind, value, token.isExcluded) + " ";
  return { text: before + text.slice(token.end).trimStart(), caret: before.length };
}

function bare(token: Lexed | undefined): Token | null {
  if (token === undefined) return null;
  const { start, end, kind, value, isExcluded } = token;
  return { start, end, kind, value, isExcluded };
}

/** The tokens of the search box, in order. */
export function lex(text: string): Lexed[] {
  const tokens: Lexed[] = [];
  let at = skipSpace(text, 0);
  while (at < text.length) {
    const token = lexOne(text, at);
    tokens.push(token);
    at = skipSpace(text, token.end);
  }
  return tokens;
}

function skipSpace(text: string, at: number): number {
  const found = text.slice(at).search(/\S/);
  return found < 0 ? text.length : at + found;
}

function lexOne(text: string, start: number): Lexed {
  const [prefix = "", minus = "", name = ""] = /^(-?)([a-z]+):/i.exec(text.slice(start, start + 16)) ?? [];
  const kind = KINDS.get(name.toLowerCase());
  const isExcluded = minus !== "";
  if (kind !== undefined && (!isExcluded || EXCLUDABLE.has(kind))) {
    const { end, value, isQuoted, isClosed } = readValue(text, start + prefix.length);
    const meant = isQuoted ? value : unquotedMeaning(kind, value);
    const isLong = isQuoted || value.length >= (SHORTEST[kind] ?? 1);
    const isFinished = isClosed && isLong && isComplete(kind, meant);
    return { start, end, kind, value: meant, isExcluded, isFinished, isClosed };
  }
  const { end, value, isQuoted, isClosed } = readValue(text, start);
  const [, stars] = (!isQuoted && /^(?:rating|stars)>=(.+)$/.exec(value)) || [];
  if (stars !== undefined) {
    const isFinished = isRating(stars);
    return { start, end, kind: "rating", value: stars, isExcluded: false, isFinished, isClosed };
  }
  if (!isQuoted && isCondition(value)) {
    const isFinished = !/[<>=]$/.test(value);
    return { start, end, kind: "where", value, isExcluded: false, isFinished, isClosed };
  }
  const isOpenCondition = !isQuoted && /^[a-z][a-z0-9_.]*[<>!]=?$/.test(value) && CONDITION.test(value);
  const textKind = isOpenCondition ? "where" : "text";
  const isFinished = isClosed && !isOpenCondition;
  return { start, end, kind: textKind, value, isExcluded: false, isFinished, isClosed };
}

function unquotedMeaning(kind: Chip["kind"], value: string): string {
  if (kind === "license" && value.toLowerCase() === "none") return "";
  if (kind === "problem" && value.toLowerCase() === "no-licence") return "no-license";
  return kind === "problem" ? value.toLowerCase() : value;
}

function isComplete(kind: Chip["kind"], value: string): boolean {
  if (kind === "problem") return isProblem(value);
  if (kind === "uid") return isUidPrefix(value);
  if (kind === "workflow") return isWorkflow(value);
  if (kind === "from") return isUid(value);
  if (kind === "seed") return isSeed(value);
  if (kind === "model" || kind === "lora") return modelName(value) !== "";
  if (kind === "rating") return isRating(value);
  if (kind === "where") return isCondition(value);
  return kind === "license" || value !== "";
}

interface Value {
  readonly end: number;
  readonly value: string;
  readonly isQuoted: boolean;
  readonly isClosed: boolean;
}

/** Read up to the next space, or from a quote to the next that is not doubled. */
function readValue(text: string, from: number): Value {
  if (text[from] !== '"') {
    const space = text.slice(from).search(/\s/);
    const end = space < 0 ? text.length : from + space;
    return { end, value: text.slice(from, end), isQuoted: false, isClosed: true };
  }
  const [whole = "", inside = "", closing = ""] = /^"((?:[^"]|"")*)("?)/.exec(text.slice(from)) ?? [];
  const value = inside.replaceAll('""', '"');
  return { end: from + whole.length, value, isQuoted: true, isClosed: closing !== "" };
}

function word(kind: string, value: string, isExcluded: boolean): string {
  if (kind === "text") return textWord(value);
  if (kind === "where") return lexesAs(value, "where") ? value : `where:${quotedIfNeeded(value)}`;
  const minus = isExcluded ? "-" : "";
  if (value.length < (SHORTEST[kind as Chip["kind"]] ?? 0)) return `${kind}:${quoted(value)}`;
  if (kind !== "license") return `${minus}${kind}:${quotedIfNeeded(value)}`;
  const isAmbiguous = value.toLowerCase() === "none";
  return `${minus}licence:${value === "" ? "none" : isAmbiguous ? quoted(value) : quotedIfNeeded(value)}`;
}

/** Text as it is, or in quotes where it would be read as something else. */
function textWord(text: string): string {
  return lexesAs(text, "text") ? text : quoted(text);
}

function lexesAs(text: string, kind: Chip["kind"]): boolean {
  const [token, ...more] = lex(text);
  return more.length === 0 && token?.kind === kind && token.isFinished && token.value === text;
}

function quotedIfNeeded(value: string): string {
  return value === "" || /\s|^"/.test(value) ? quoted(value) : value;
}

function quoted(value: string): string {
  return `"${value.replaceAll('"', '""')}"`;
}
