/** The waveforms that were seen last. */

import { addressOf, ask, type Waveform } from "../api/client";

const KEPT = 300;
const known = new Map<string, Waveform>();

/** What is known already, without asking. */
export function knownWaveform(uid: string, version: string | null): Waveform | undefined {
  return known.get(keyOf(uid, version));
}

export async function readWaveform(uid: string, version: string | null, signal: AbortSignal): Promise<Waveform> {
  const key = keyOf(uid, version);
  const found = known.get(key) ?? (await fetchWaveform(uid, version, signal));
  known.delete(key);
  known.set(key, found);
  const [oldest] = known.keys();
  if (known.size > KEPT && oldest !== undefined) known.delete(oldest);
  return found;
}

async function fetchWaveform(uid: string, version: string | null, signal: AbortSignal): Promise<Waveform> {
  const params = new URLSearchParams(version === null ? {} : { v: version });
  const answer = await ask(addressOf(uid, "waveform", params.toString()), { signal });
  return (await answer.json()) as Waveform;
}

function keyOf(uid: string, version: string | null): string {
  return `${uid} ${version ?? ""}`;
}
