/** Where chosen files go in the library, in which requests, and how far they are. */

import { bytes, number } from "./text";

/** What is said of all files of an import. */
export interface Plan {
  /** "" for the type that each file's folder names. */
  readonly type: string;
  /** A folder below that of the type; "" for none. */
  readonly folder: string;
  /** Whether the folders that were chosen are kept. */
  readonly keepsFolders: boolean;
  readonly license: string;
  readonly tags: readonly string[];
  /** Whether files that are there already get the licence and the tags, too. */
  readonly changesKnown: boolean;
}

export interface Target {
  readonly type: string;
  /** In the assets folder, with a slash at its end. */
  readonly folder: string;
}

export const NO_TYPE = "generic";
export const USUAL_TYPES = ["characters", "backgrounds", "props", "cg", "music", "sounds", "voice", "video", "fonts"];

/**
 * Where a file of a chosen folder goes ("" for one that was chosen by itself). Without a stated type the
 * outermost folder names it, as `comfyvn ingest` has it, and is not repeated.
 */
export function targetOf(folder: string, plan: Plan): Target {
  const parts = folder.split("/").filter(Boolean);
  const [outer] = parts;
  const type = plan.type.trim() || outer || NO_TYPE;
  const isNamed = outer !== undefined && outer.toLowerCase() === type.toLowerCase();
  const kept = plan.keepsFolders ? (isNamed ? parts.slice(1) : parts) : [];
  const below = plan.folder.split(/[/\\]+/).filter((part) => part.trim() !== "");
  return { type, folder: `${[type, ...below, ...kept].join("/")}/` };
}

const LEAVINGS = new Set(["thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r"]);

/** Whether a file of a folder is one that nobody made to keep; as `comfyvn ingest` has it. */
export function isLeaving(name: string): boolean {
  return name.startsWith(".") || LEAVINGS.has(name.toLowerCase()) || /(\.(crdownload|part|partial|tmp)|~)$|^~\$/i.test(name);
}

/** A small form is soon done and seen, and one for each file would take long. */
const MOST_TOGETHER = 16;
const MOST_BYTES_TOGETHER = 8_000_000;

interface Sized {
  readonly size: number;
}

/** The files from the front of a queue that go in one form: of these `isLike` holds for all with the first. */
export function takeBatch<T extends Sized>(queue: T[], isLike: (a: T, b: T) => boolean, mostBytes: number): T[] {
  const [first] = queue;
  if (!first) return [];
  const most = Math.min(MOST_BYTES_TOGETHER, mostBytes);
  const taken: T[] = [];
  let size = 0;
  for (const item of queue) {
    if (taken.length === MOST_TOGETHER || !isLike(item, first) || (taken.length && size + item.size > most)) break;
    taken.push(item);
    size += item.size;
  }
  queue.splice(0, taken.length);
  return taken;
}

/** How much of each file of a form is sent, when so much of the form is. */
export function sentOf(files: readonly Sized[], loaded: number, total: number): number[] {
  const sum = files.reduce((all, file) => all + file.size, 0);
  let rest = total > 0 ? (loaded / total) * sum : 0;
  return files.map(({ size }) => {
    const sent = Math.max(0, Math.min(size, rest));
    rest -= sent;
    return sent;
  });
}

export interface Tally {
  readonly fresh: number;
  readonly known: number;
  readonly refused: number;
  readonly cancelled: number;
}

/** What came of an import: "28 new, 2 already there, 1 refused". */
export function tallied({ fresh, known, refused, cancelled }: Tally): string {
  const parts = [
    fresh && `${number(fresh)} new`,
    known && `${number(known)} already there`,
    refused && `${number(refused)} refused`,
    cancelled && `${number(cancelled)} cancelled`,
  ];
  return parts.filter(Boolean).join(", ");
}

/** Why a file can't be sent at all; "" if it can. */
export function whyTooLarge(size: number, most: number): string {
  if (size <= most) return "";
  return `It has ${bytes(size)}, and an upload may have ${bytes(most)} (setting upload_bytes). Use \`comfyvn ingest\` instead.`;
}

