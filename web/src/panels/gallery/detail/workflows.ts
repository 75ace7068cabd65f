/** The other assets of a workflow. */

import { askJson, type Provenance, type Schemas } from "../../../api/client";
import { isWorkflow } from "../../../core/query";

/** Count the other assets of each workflow, by its hash; the asset of the rows is one of them. */
export async function countOthers(
  rows: readonly Provenance[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, number>> {
  const hashes = new Set(rows.map((row) => row.workflow_hash ?? "").filter(isWorkflow));
  const counts = [...hashes].map(async (workflow): Promise<[string, number]> => {
    const params = new URLSearchParams({ workflow, limit: "1" });
    return [workflow, (await askJson<Schemas["AssetList"]>("assets", { params, signal })).total - 1];
  });
  return new Map(await Promise.all(counts));
}
