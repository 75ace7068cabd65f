/** The server's public REST API, typed by its own description. */

import type { components } from "./schema";

export type Schemas = components["schemas"];
export type Card = Schemas["Card"];
export type AssetRecord = Schemas["AssetRecord"];
export type FacetAnswer = Schemas["FacetAnswer"];
export type SelectionAnswer = Schemas["SelectionAnswer"];
export type BulkAnswer = Schemas["BulkAnswer"];
export type UndoAnswer = Schemas["UndoAnswer"];
export type LineageAnswer = Schemas["LineageAnswer"];
export type HistoryEntry = Schemas["HistoryEntry"];
export type OperationRecord = Schemas["OperationRecord"];
export type Provenance = Schemas["Provenance"];
export type Waveform = Schemas["Waveform"];
export type SessionAnswer = Schemas["SessionAnswer"];

/** The server's folder: the page lies one below it. */
export const BASE = new URL("..", new URL(location.pathname, location.origin));

/** What the server refused, in its own words; status 0 when it could not be reached. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
  ) {
    super(detail);
    this.name = "Problem";
  }

  get isUnreachable(): boolean {
    return this.status === 0;
  }

  /** Whether the same question may be answered in a moment. */
  get isPassing(): boolean {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }

  get needsToken(): boolean {
    return this.status === 401;
  }
}

/** A number of the index, for requests. */
export type Ids = readonly number[];

interface Asked {
  method?: string;
  params?: URLSearchParams;
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

export interface Index {
  readonly ids: Float64Array;
  /** The place in the journal from before it was read. */
  readonly revision: number;
}

/** Ask the server; every refusal becomes a `Problem`. */
export async function ask(path: string, asked: Asked = {}): Promise<Response> {
  const url = new URL(path, BASE);
  if (asked.params) url.search = asked.params.toString();
  const headers = new Headers(asked.headers);
  let body: BodyInit | undefined;
  if (asked.body instanceof FormData) body = asked.body;
  else if (asked.body !== undefined) {
    headers.set("content-type", "application/json");
    body = JSON.stringify(asked.body);
  }
  let answer: Response;
  try {
    answer = await fetch(url, { method: asked.method ?? "GET", headers, body, signal: asked.signal });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Problem(0, "unreachable", "The server can't be reached. Is `comfyvn studio` still running?");
  }
  if (!answer.ok) throw await problemOf(answer);
  return answer;
}

/** What a refusal says. */
export async function problemOf(answer: Response): Promise<Problem> {
  try {
    const said = (await answer.json()) as Schemas["Problem"];
    return new Problem(answer.status, said.type.split(":").pop() ?? "", said.detail);
  } catch {
    return new Problem(answer.status, "unknown", `The server answered ${answer.status} ${answer.statusText}.`);
  }
}

export async function askJson<T>(path: string, asked: Asked = {}): Promise<T> {
  return (await (await ask(path, asked)).json()) as T;
}

/** All ids that a filter finds, in order. */
export async function readIndex(params: URLSearchParams, signal?: AbortSignal): Promise<Index> {
  const answer = await ask("assets/index", { params, signal });
  const wide = new BigUint64Array(await answer.arrayBuffer());
  const ids = new Float64Array(wide.length);
  for (let at = 0; at < wide.length; at++) ids[at] = Number(wide[at]);
  return { ids, revision: Number(answer.headers.get("x-registry-revision")) };
}

export async function readCards(ids: Ids, signal?: AbortSignal): Promise<Card[]> {
  return (await askJson<{ items: Card[] }>("assets/rows", { method: "POST", body: { ids }, signal })).items;
}

/** Whole records: "the full registry payload". */
export async function readRecords(ids: Ids, signal?: AbortSignal): Promise<AssetRecord[]> {
  const body = { ids, full: true };
  return (await askJson<{ items: AssetRecord[] }>("assets/rows", { method: "POST", body, signal })).items;
}

/** One whole record, with the inputs of its newest provenance. */
export async function readRecord(uid: string, signal?: AbortSignal): Promise<AssetRecord> {
  return (await askJson<Schemas["AssetAnswer"]>(`assets/${uid}`, { signal })).asset;
}

/** As many ids as fit into the body of a request. */
const COUNTED_AT_ONCE = 100_000;

/** Count types, licences, the most frequent tags and what made them, of any number of assets. */
export async function countAmong(ids: Ids, topTags: number, signal?: AbortSignal): Promise<SelectionAnswer> {
  const read = (part: Ids): Promise<SelectionAnswer> => {
    const body = { ids: part, top_tags: ids.length > COUNTED_AT_ONCE ? 1_000 : topTags };
    return askJson<SelectionAnswer>("assets/facets", { method: "POST", body, signal });
  };
  let sum = await read(ids.slice(0, COUNTED_AT_ONCE));
  for (let first = COUNTED_AT_ONCE; first < ids.length; first += COUNTED_AT_ONCE) {
    const more = await read(ids.slice(first, first + COUNTED_AT_ONCE));
    sum = {
      ...sum,
      total: sum.total + more.total,
      missing: sum.missing + more.missing,
      types: added(sum.types, more.types),
      licenses: added(sum.licenses, more.licenses),
      tags: added(sum.tags, more.tags),
      models: added(sum.models, more.models),
      loras: added(sum.loras, more.loras),
      samplers: added(sum.samplers, more.samplers),
      tools: added(sum.tools, more.tools),
    };
  }
  return { ...sum, tags: sum.tags.slice(0, topTags + (sum.tags.some((tag) => tag.value === null) ? 1 : 0)) };
}

type Counts = readonly Schemas["FacetCount"][];

function added(a: Counts, b: Counts): Schemas["FacetCount"][] {
  const counts = new Map(a.map(({ value, count }) => [value, count]));
  for (const { value, count } of b) counts.set(value, (counts.get(value) ?? 0) + count);
  return Array.from(counts, ([value, count]) => ({ value, count })).sort((x, y) => y.count - x.count);
}

/** Where a picture, sound or file is: for `src`, links and drags. */
export function addressOf(
  uid: string,
  what: "thumb" | "preview" | "waveform" | "download" | "workflow",
  params = "",
): string {
  return new URL(`assets/${encodeURIComponent(uid)}/${what}${params && `?${params}`}`, BASE).href;
}

/** The file itself, to be shown or played; each version of it is another address for elements that show it. */
export function fileOf({ uid, version }: { uid: string; version: number }): string {
  return `${addressOf(uid, "download")}#version-${version}`;
}

export function socketAddress(params: URLSearchParams): string {
  const url = new URL("events/ws", BASE);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.search = params.toString();
  return url.href;
}
