/** What the inputs of a provenance tell: the most asked for first. */

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
