/** What the search box offers for the word under the caret. No requests: the caller asks for the terms. */

import {
  canExclude,
  complete,
  isSameValue,
  MADE_KINDS,
  MOST_STARS,
  PROBLEMS,
  starsOrMore,
  tokenAt,
  type MadeKind,
  type Problem,
  type Token,
} from "./query";

export type TermKind = "type" | "tag" | "license" | MadeKind;

export interface Suggestion {
  /** Unlike that of any other. */
  readonly key: string;
  /** What is written into the box, such as `tag:"two words"`. */
  readonly written: string;
  readonly hint: string;
  /** How many assets have it; null where that is not counted. */
  readonly count: number | null;
  /** The box with it. */
  readonly text: string;
  readonly caret: number;
  /** Nothing is asked yet: its value comes next. */
  readonly isBeginning: boolean;
}

/** The part of the text that is about to be replaced, and which terms begin like it. */
export interface Place {
  readonly token: Token;
  readonly terms: readonly TermKind[];
  readonly prefix: string;
}

export interface Term {
  readonly kind: TermKind;
  readonly name: string;
  readonly count: number;
}

/** What is known without a request. */
export interface Known {
  readonly problems: readonly { readonly value: Problem; readonly count: number }[];
  /** Something in the library tells what made it. */
  readonly isMade: boolean;
}

interface Beginning {
  readonly written: string;
  readonly hint: string;
  /** Of no use where nothing tells what made it. */
  readonly ofMade?: true;
}

const BEGINNINGS: readonly Beginning[] = [
  { written: "tag:", hint: "has this tag" },
  { written: "-tag:", hint: "has not this tag" },
  { written: "type:", hint: "characters, backgrounds …" },
  { written: "-type:", hint: "any other type" },
  { written: "licence:", hint: "CC0-1.0, or none" },
  { written: "-licence:", hint: "any other licence" },
  { written: "problem:", hint: "something is wrong" },
  { written: "rating:", hint: "at least so many stars" },
  { written: "uid:", hint: "its first 4 digits or more" },
  { written: "workflow:", hint: "made by this workflow" },
  { written: "model:", hint: "made with this model", ofMade: true },
  { written: "lora:", hint: "made with this LoRA", ofMade: true },
  { written: "sampler:", hint: "made with this sampler", ofMade: true },
  { written: "tool:", hint: "ComfyUI, Automatic1111 …", ofMade: true },
  { written: "seed:", hint: "made from this seed", ofMade: true },
  { written: "from:", hint: "came from the asset of this uid" },
];
const TERM_KINDS: readonly TermKind[] = ["tag", "type", "license", ...MADE_KINDS];

function isTermKind(kind: string): kind is TermKind {
  return (TERM_KINDS as readonly string[]).includes(kind);
}

/** What is under the caret, and which terms to ask for. */
export function placeOf(text: string, caret: number): Place {
  const none: Token = { start: caret, end: caret, kind: "text", value: "", isExcluded: false };
  const token = tokenAt(text, caret) ?? none;
  if (isTermKind(token.kind)) return { token, terms: [token.kind], prefix: token.value };
  const isQuoted = text[token.start] === '"';
  if (token.kind !== "text" || isQuoted) return { token, terms: [], prefix: "" };
  const prefix = token.value.replace(/^-/, "");
  return { token, terms: prefix === "" ? [] : TERM_KINDS, prefix };
}

/** All that fits, the most likely first. `terms` begin with the place's prefix. */
export function suggest(
  text: string,
  place: Place,
  terms: readonly Term[],
  known: Known,
): Suggestion[] {
  const { token } = place;
  if (token.kind === "problem") return ofProblems(text, token, known.problems);
  if (token.kind === "rating") return ofStars(text, token);
  const isExcluded = token.isExcluded || (token.kind === "text" && token.value.startsWith("-"));
  const found = terms
    .filter(({ kind }) => !isExcluded || canExclude(kind))
    .map(({ kind, name, count }) => value(text, { ...token, kind, isExcluded }, name, count));
  if (token.kind === "license" && "none".startsWith(token.value.toLowerCase())) {
    found.push(value(text, token, "", null, token.isExcluded ? "has a licence" : "has no licence"));
  }
  return token.kind === "text" ? [...beginnings(text, token, known.isMade), ...found] : found;
}

/**
 * Whether a word is only the beginning of a value: some begin so, and none is it; or that of an exclusion. Till
 * it is finished, nothing is asked: there would be no result.
 */
export function isBeginning(place: Place, terms: readonly Term[]): boolean {
  const { kind, value: typed } = place.token;
  if (kind === "text" && typed === `-${place.prefix}`) {
    return terms.length > 0 || BEGINNINGS.some(({ written }) => written.startsWith(typed.toLowerCase()));
  }
  if (!isTermKind(kind) || typed === "" || !terms.length) return false;
  return !terms.some((term) => isSameValue(kind, term.name, typed));
}

function ofProblems(
  text: string,
  token: Token,
  problems: Known["problems"],
): Suggestion[] {
  return PROBLEMS.filter((each) => each.value.startsWith(token.value)).map((each) => {
    const count = problems.find((problem) => problem.value === each.value)?.count ?? null;
    return value(text, token, each.value, count, each.title);
  });
}

function ofStars(text: string, token: Token): Suggestion[] {
  return Array.from({ length: MOST_STARS }, (_, at) => MOST_STARS - at)
    .filter((stars) => String(stars).startsWith(token.value))
    .map((stars) => value(text, token, String(stars), null, starsOrMore(stars)));
}

function value(text: string, token: Token, name: string, count: number | null, hint = ""): Suggestion {
  const made = complete(text, token, name);
  const written = made.text.slice(token.start, made.caret).trim();
  return { key: written, written, hint, count, ...made, isBeginning: false };
}

/** Kinds of conditions; for a word, those that begin like it. */
function beginnings(text: string, token: Token, isMade: boolean): Suggestion[] {
  if (text[token.start] === '"') return [];
  const typed = token.value.toLowerCase();
  const fitting = BEGINNINGS.filter((each) => each.written.startsWith(typed) && (isMade || !each.ofMade));
  return fitting.map(({ written, hint }) => {
    const before = text.slice(0, token.start) + written;
    return {
      key: written,
      written,
      hint,
      count: null,
      text: before + text.slice(token.end),
      caret: before.length,
      isBeginning: true,
    };
  });
}
