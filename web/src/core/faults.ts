/** What in the search box can't be understood, and why. */

import { isProblem, isUid, KINDS, lex, PROBLEMS, type Lexed } from "./query";

export interface Fault {
  /** As it is written in the box. */
  readonly written: string;
  /** A sentence. */
  readonly said: string;
}

const TOKENS =
  "tag:, type:, licence:, problem:, rating:, uid:, workflow:, model:, lora:, sampler:, tool:, seed:, from: and where:";
const OPEN_CONDITION = /^\s*([a-z][a-z0-9_.]*\s*((=|[<>!]=?)\s*([+-]?\d*\.?\d*(e[+-]?\d*)?)?)?)?$/i;

/** `typed` is the start of the token that is being typed: it is at fault only if nothing valid begins so. */
export function faults(text: string, typed: number | null): Fault[] {
  const found = lex(text).flatMap((token) => {
    const written = text.slice(token.start, token.end);
    const said = token.start === typed && canBecomeValid(token) ? "" : faultOf(token, written);
    return said === "" ? [] : [{ written, said }];
  });
  return [...new Map(found.map((each) => [each.written, each])).values()];
}

function faultOf(token: Lexed, written: string): string {
  if (!token.isFinished) return `${written} does not count: ${reason(token)}.`;
  return token.kind === "text" ? unknown(written) : "";
}

function reason({ kind, value, isClosed }: Lexed): string {
  if (!isClosed) return "its closing quote is missing";
  if (value === "") return "what it looks for stands right behind the colon";
  if (kind === "problem") {
    return `there is no such problem; there are ${PROBLEMS.map((each) => each.value).join(", ")}`;
  }
  if (kind === "rating") return "stars are a number from 1 to 5";
  if (kind === "uid") return "a uid has 4 to 64 digits, each of them 0 to 9 or a to f";
  if (kind === "seed") return "a seed is a whole number of up to 20 digits";
  if (kind === "model" || kind === "lora") return "it names no model";
  if (kind === "from") return "the whole uid of an asset is needed";
  if (kind === "workflow") return "8 or more of a hash's characters are needed, or a shorter one in quotes";
  return "a condition is written like width>=1024 or codec=opus";
}

/** A word that looks like a token is looked for as text, which is seldom meant. */
function unknown(written: string): string {
  const [, minus = "", name = ""] = /^(-?)([a-z]+):(?!\/\/)/i.exec(written) ?? [];
  if (name === "") return "";
  if (minus !== "" && KINDS.has(name.toLowerCase())) {
    return `${written} is looked for as text: only tag:, type: and licence: can be left out.`;
  }
  return `${written} is looked for as text: there is no ${name}: here; there are ${TOKENS}.`;
}

function canBecomeValid({ kind, value, isClosed, isFinished }: Lexed): boolean {
  if (isFinished || !isClosed || value === "") return true;
  if (kind === "problem") {
    return !isProblem(value) && [...PROBLEMS.map((each) => each.value), "no-licence"].some(begins(value));
  }
  if (kind === "uid") return /^[0-9a-f]{1,3}$/i.test(value);
  if (kind === "where") return OPEN_CONDITION.test(value);
  return kind === "workflow" || (kind === "from" && isUid(value));
}

function begins(beginning: string): (whole: string) => boolean {
  return (whole) => whole.startsWith(beginning);
}
