/** What the inputs of a provenance tell: the most asked for first, and which other assets they name. */

export interface Input {
  readonly name: string;
  readonly value: unknown;
}

type Inputs = Readonly<Record<string, unknown>>;

/** Written by the registry itself: which asset and content the row is of. */
const OURS = new Set(["asset_uid", "asset_hash"]);
const FIRST = [
  /^(positive_?)?prompt$/,
  /negative/,
  /seed/,
  /^(model|checkpoint|ckpt|ckpt_name|unet_name)/,
  /lora/,
  /^(size|width|resolution)/,
  /^(height|duration)/,
  /^(steps|cfg|sampler|scheduler|denoise|guidance)/,
];
const DEEPEST = 4;
const MOST = 12;
const FILE =
  /\.(png|jpe?g|webp|gif|avif|heic|jxl|tiff?|bmp|psd|wav|aiff?|mp3|flac|ogg|opus|aac|m4a|mp4|mov|mkv|webm)$/i;

/** The inputs for people: prompt, seed, model and size first, then the others by name. */
export function inputsOf(inputs: Inputs): Input[] {
  return Object.entries(inputs)
    .filter(([name]) => !OURS.has(name))
    .map(([name, value]) => ({ name, value, rank: rankOf(name) }))
    .sort((a, b) => a.rank - b.rank || a.name.localeCompare(b.name, "en"))
    .map(({ name, value }) => ({ name, value }));
}

function rankOf(name: string): number {
  const rank = FIRST.findIndex((pattern) => pattern.test(name.toLowerCase()));
  return rank < 0 ? FIRST.length : rank;
}

/** What may name another asset: by its uid, by the hash of its content, or by its file. */
export interface Named {
  readonly uids: readonly string[];
  readonly hashes: readonly string[];
  readonly files: readonly string[];
}

/** Look for names of other assets in the inputs of `uid`; at most twelve of each kind. */
export function namedIn(inputs: Inputs, uid: string): Named {
  const uids = new Set<string>();
  const hashes = new Set<string>();
  const files = new Set<string>();
  const look = (value: unknown, depth: number): void => {
    if (typeof value === "string") {
      if (/^[0-9a-f]{64}$/.test(value)) hashes.add(value);
      else if (/^[0-9a-f]{16,63}$/.test(value)) uids.add(value);
      else if (value.length <= 500 && FILE.test(withoutKind(value))) files.add(withoutKind(value));
    } else if (value !== null && typeof value === "object" && depth < DEEPEST) {
      for (const each of Object.values(value)) look(each, depth + 1);
    }
  };
  for (const { value } of inputsOf(inputs)) look(value, 0);
  uids.delete(uid);
  const first = (found: Set<string>): string[] => [...found].slice(0, MOST);
  return { uids: first(uids), hashes: first(hashes), files: first(files) };
}

/** ComfyUI names the folder of a file behind it: "mara.png [input]". */
function withoutKind(name: string): string {
  return name.replace(/ \[(input|output|temp)\]$/, "");
}
