/** Chance that can be repeated: the same seed gives the same sequence. */

import type { Query } from "../src/core/query";
import { EVERYTHING, PROBLEMS, SORTS, fromParams, modelName } from "../src/core/query";

export class Chance {
  constructor(private state: number) {}

  /** From 0 up to 1, 1 excluded (mulberry32). */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  below(end: number): number {
    return Math.floor(this.next() * end);
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)] as T;
  }

  /** Up to so many, each once. */
  some<T>(values: readonly T[], most: number): T[] {
    const kept = Array.from({ length: this.below(most + 1) }, () => this.pick(values));
    return [...new Set(kept)];
  }

  hex(length: number): string {
    return Array.from({ length }, () => this.pick([..."0123456789abcdef"])).join("");
  }
}

const PIECES = [
  ..."abz019-:,\"'()<>=!.&?#%+/\\*_",
  " ",
  "  ",
  "\u00a0",
  "\u3000",
  '""',
  "tag:",
  "-tag:",
  "licence:",
  "is:",
  "rating:",
  "stars>=4",
  "none",
  "missing",
  "smile",
  "width>=1024",
  "codec=",
  "ñ",
  "笑顔",
  "ночь",
  "שלום",
  "👩‍🎤",
  "🎵",
];

const MODELS = ["anima", "Anima.safetensors", "SDXL/anima", "sub\\mara v3.ckpt", "mara:0.8", "x.pt", '"q"', "-.bin.sft"];

/** Text out of everything that has a meaning somewhere; never empty. */
export function nastyText(chance: Chance): string {
  return Array.from({ length: 1 + chance.below(6) }, () => chance.pick(PIECES)).join("");
}

/** As `nastyText`, but as a tag, licence or type is kept: trimmed. */
export function nastyName(chance: Chance): string {
  return nastyText(chance).trim() || "none";
}

function nastyNames(chance: Chance): string[] {
  return Array.from({ length: chance.below(3) }, () => nastyName(chance));
}

/** A list without duplicates, ignoring case. */
function distinct(values: readonly string[]): string[] {
  return [...new Map(values.map((value) => [value.toLowerCase(), value])).values()];
}

/** Names of models of which none is another. */
function randomModels(chance: Chance): string[] {
  const names = chance.some(MODELS, 3);
  return [...new Map(names.map((name) => [modelName(name).toLowerCase(), name])).values()];
}

/** Texts to search for, in the form that a query has. */
export function textOf(texts: readonly string[]): string {
  return fromParams(new URLSearchParams(texts.map((text) => ["q", text]))).text;
}

/** One to three, of which none is another. */
export function randomTexts(chance: Chance): string[] {
  return distinct(Array.from({ length: 1 + chance.below(3) }, () => nastyText(chance)));
}

export function randomQuery(chance: Chance): Query {
  const often = <T>(value: T, other: T): T => (chance.below(3) === 0 ? value : other);
  const facts = ["width>=1024", "codec=opus", "has_alpha != true", 'tags.title= a "b" ', "frames<2", "a.b=", "rating>=4"];
  return {
    ...EVERYTHING,
    types: distinct(nastyNames(chance)),
    notTypes: distinct(nastyNames(chance)),
    tags: distinct(nastyNames(chance)),
    notTags: distinct(nastyNames(chance)),
    licenses: distinct([...nastyNames(chance), ...often([""], [])]),
    notLicenses: distinct([...nastyNames(chance), ...often(["", "None"], [])]),
    problems: chance.some(PROBLEMS, 3).map((each) => each.value),
    uid: often(chance.hex(4 + chance.below(13)), ""),
    workflow: often(chance.hex(6 + chance.below(10)), ""),
    descendsFrom: often(chance.hex(1 + chance.below(20)), ""),
    models: randomModels(chance),
    loras: randomModels(chance),
    samplers: distinct(nastyNames(chance)),
    tools: distinct(nastyNames(chance)),
    seed: often(String(chance.below(2 ** 31)), ""),
    rating: often(1 + chance.below(5), 0),
    text: often(textOf(randomTexts(chance)), ""),
    where: chance.some(facts, 3),
    sort: chance.pick(SORTS).value,
  };
}
