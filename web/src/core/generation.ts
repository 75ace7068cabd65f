/** What made a file, for people: the facts under `generation` in the inputs of its provenance. */

import { modelName } from "./query";

/** A fact and the place where it was read, such as "prompt node 3.seed". */
export interface Said {
  readonly value: string;
  readonly readFrom: string;
}

/** A model or LoRA. */
export interface Part {
  readonly name: string;
  /** Without folder and suffix: what assets are filtered by. */
  readonly short: string;
  /** "0.8", "checkpoint"; "" where nothing more is known. */
  readonly more: string;
  readonly readFrom: string;
}

export interface Making {
  readonly tool: string;
  readonly version: string;
  readonly prompt: Said | null;
  readonly negative: Said | null;
  readonly models: readonly Part[];
  readonly loras: readonly Part[];
  readonly sampler: Said | null;
  /** Digits. */
  readonly seed: Said | null;
  /** Steps, size and the like. */
  readonly settings: readonly (Said & { readonly name: string })[];
  /** Where it was sampled more than once, a line for each time. */
  readonly passes: readonly string[];
  readonly images: readonly Said[];
}

type Told = Readonly<Record<string, unknown>>;

/** Read the facts; null where there are none. Sidecars may be edited: what makes no sense is left out. */
export function makingOf(inputs: Told | null | undefined): Making | null {
  const { generation } = inputs ?? {};
  if (!isObject(generation) || !isObject(generation.facts)) return null;
  const { facts } = generation;
  const places = isObject(generation.read_from) ? generation.read_from : {};
  const readFrom = (name: string): string => text(places[name]);
  const said = (name: string): Said | null => {
    const value = text(facts[name]);
    return value === "" ? null : { value, readFrom: readFrom(name) };
  };
  const seed = said("seed");
  return {
    tool: text(generation.tool),
    version: text(generation.tool_version),
    prompt: said("prompt"),
    negative: said("negative_prompt"),
    models: objects(facts.models).flatMap((each) => partOf(each, text(each.kind), readFrom("models"))),
    loras: objects(facts.loras).flatMap((each) => partOf(each, weightOf(each), readFrom("loras"))),
    sampler: said("sampler"),
    seed: seed && /^[0-9]+$/.test(seed.value) ? seed : null,
    settings: settingsOf(facts).map(([name, key, value]) => ({ name, value, readFrom: readFrom(key) })),
    passes: objects(facts.passes).map(passOf).filter(Boolean),
    images: objects(facts.input_images).flatMap((each) => imageOf(each, readFrom("input_images"))),
  };
}

/** Name, key and value. */
function settingsOf(facts: Told): (readonly [string, string, string])[] {
  const [width, height] = [count(facts.width), count(facts.height)];
  const all: (readonly [string, string, string])[] = [
    ["Scheduler", "scheduler", text(facts.scheduler)],
    ["Steps", "steps", count(facts.steps)],
    ["CFG", "cfg", count(facts.cfg)],
    ["Denoise", "denoise", count(facts.denoise)],
    ["Size", "width", width && height && `${width} × ${height}`],
    ["Clip skip", "clip_skip", count(facts.clip_skip)],
    ["VAE", "vae", modelName(text(facts.vae))],
  ];
  return all.filter(([, , value]) => value !== "");
}

function partOf(entry: Told, more: string, readFrom: string): Part[] {
  const name = text(entry.name);
  const short = modelName(name);
  return short === "" ? [] : [{ name, short, more, readFrom }];
}

function weightOf({ weight, clip_weight }: Told): string {
  const [model, clip] = [count(weight), count(clip_weight)];
  return [model, clip !== model && clip && `clip ${clip}`].filter(Boolean).join(", ");
}

/** "Euler a, Karras, 20 steps, CFG 7, denoise 0.4, seed 12". */
function passOf(pass: Told): string {
  const [steps, cfg, denoise] = [count(pass.steps), count(pass.cfg), count(pass.denoise)];
  const seed = text(pass.seed);
  const parts = [
    text(pass.sampler),
    text(pass.scheduler),
    steps && `${steps} ${steps === "1" ? "step" : "steps"}`,
    cfg && `CFG ${cfg}`,
    denoise && `denoise ${denoise}`,
    seed && `seed ${seed}`,
  ];
  return parts.filter(Boolean).join(", ");
}

function imageOf({ name, role }: Told, readFrom: string): Said[] {
  const [file, use] = [text(name), text(role)];
  return file === "" ? [] : [{ value: use === "" ? file : `${file} (${use})`, readFrom }];
}

function text(value: unknown): string {
  return typeof value === "string" ? value.trim() : "";
}

function count(value: unknown): string {
  return typeof value === "number" && Number.isFinite(value) ? String(Math.round(value * 1000) / 1000) : "";
}

function objects(value: unknown): Told[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

function isObject(value: unknown): value is Told {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}
