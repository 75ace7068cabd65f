/** Sending files with a sign of how far it is, which `fetch` does not give. */

import { BASE, problemOf, type Problem, type Schemas } from "./client";

export type UploadAnswer = Schemas["UploadAnswer"];

/** The server has no room now, and says when to come again. */
export class Busy extends Error {
  constructor(
    readonly problem: Problem,
    readonly seconds: number,
  ) {
    super(problem.message);
  }
}

/** The connection broke, or a file can't be read any more: a browser does not tell which. */
export class Broken extends Error {}

export interface Upload {
  readonly answer: Promise<UploadAnswer>;
  abort(): void;
}

const BUSY = new Set(["too-busy", "registry-busy", "too-long", "too-slow"]);
const USUAL_WAIT_S = 2;

/** Send a form; a refusal is a `Problem`, a `Busy` or `Broken`. */
export function upload(form: FormData, onProgress: (loaded: number, total: number) => void): Upload {
  const request = new XMLHttpRequest();
  const answer = new Promise<UploadAnswer>((resolve, reject) => {
    request.open("POST", new URL("assets/upload", BASE));
    request.responseType = "blob";
    request.upload.onprogress = (event) => onProgress(event.loaded, event.total);
    request.onload = () => {
      const response = new Response(request.response as Blob, { status: request.status, statusText: request.statusText });
      if (response.ok) resolve(response.json() as Promise<UploadAnswer>);
      else void refusalOf(response, request.getResponseHeader("retry-after")).then(reject);
    };
    request.onerror = () => reject(new Broken("The connection broke."));
    request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    request.send(form);
  });
  return { answer, abort: () => request.abort() };
}

async function refusalOf(response: Response, after: string | null): Promise<Problem | Busy> {
  const problem = await problemOf(response);
  const isBusy = response.status === 429 || BUSY.has(problem.code);
  return isBusy ? new Busy(problem, Number(after) || USUAL_WAIT_S) : problem;
}
