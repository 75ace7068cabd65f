/** What provenance leads to: other assets of a workflow, and the assets that a file was made from. */

import { askJson, Problem, readRecord, type AssetRecord, type Provenance } from "../../../api/client";
import { namedIn } from "../../../core/provenance";
import { isWorkflow } from "../../../core/query";
import { fileName } from "../../../core/text";

interface AssetList {
  readonly items: readonly AssetRecord[];
  readonly total: number;
}

const SAME_NAME = 20;

/** Count the other assets of each workflow, by its hash; the asset of the rows is one of them. */
export async function countOthers(
  rows: readonly Provenance[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, number>> {
  const hashes = new Set(rows.map((row) => row.workflow_hash ?? "").filter(isWorkflow));
  const counts = [...hashes].map(async (workflow): Promise<[string, number]> => {
    const params = new URLSearchParams({ workflow, limit: "1" });
    return [workflow, (await askJson<AssetList>("assets", { params, signal })).total - 1];
  });
  return new Map(await Promise.all(counts));
}

/** Find the assets that the inputs name: by uid, by the hash of the content, or by a file of that name. */
export async function findParents(
  rows: readonly Provenance[],
  uid: string,
  signal: AbortSignal,
): Promise<readonly AssetRecord[]> {
  const named = rows.map((row) => namedIn(row.inputs ?? {}, uid));
  const [uids, hashes, files] = (["uids", "hashes", "files"] as const).map((kind) => [
    ...new Set(named.flatMap((names) => names[kind])),
  ]);
  const looked = await Promise.all([
    ...(uids ?? []).map((each) => byUid(each, signal)),
    ...(hashes ?? []).map((each) => byHash(each, signal)),
    ...(files ?? []).map((each) => byFile(each, signal)),
  ]);
  const found = new Map<string, AssetRecord>();
  for (const record of looked) if (record && record.uid !== uid) found.set(record.uid, record);
  return [...found.values()];
}

async function byUid(uid: string, signal: AbortSignal): Promise<AssetRecord | null> {
  try {
    return await readRecord(uid, signal);
  } catch (error) {
    if (error instanceof Problem && error.status === 404) return null;
    throw error;
  }
}

async function byHash(hash: string, signal: AbortSignal): Promise<AssetRecord | null> {
  const params = new URLSearchParams({ hash, limit: "1" });
  return (await askJson<AssetList>("assets", { params, signal })).items[0] ?? null;
}

/** Files of the same name in two folders could both be meant: then neither is. */
async function byFile(file: string, signal: AbortSignal): Promise<AssetRecord | null> {
  const params = new URLSearchParams({ q: fileName(file), limit: String(SAME_NAME) });
  const { items } = await askJson<AssetList>("assets", { params, signal });
  const found = items.filter((record) => record.path === file || record.path.endsWith(`/${file}`));
  return found.length === 1 ? (found[0] ?? null) : null;
}
