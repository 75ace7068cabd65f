/** The server's public REST API, typed by its own description. */

import type { components } from "./schema";

export type Schemas = components["schemas"];
export type Card = Schemas["Card"];
export type AssetRecord = Schemas["AssetRecord"];
export type FacetAnswer = Schemas["FacetAnswer"];
export type BulkAnswer = Schemas["BulkAnswer"];
export type UndoAnswer = Schemas["UndoAnswer"];
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

async function problemOf(answer: Response): Promise<Problem> {
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

/** Where a picture, sound or file is: for `src`, links and drags. */
export function addressOf(uid: string, what: "thumb" | "preview" | "waveform" | "download", params = ""): string {
  return new URL(`assets/${encodeURIComponent(uid)}/${what}${params && `?${params}`}`, BASE).href;
}

export function socketAddress(params: URLSearchParams): string {
  const url = new URL("events/ws", BASE);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.search = params.toString();
  return url.href;
}
