/** Debug JSON: records as the registry tells them, for a report or a script. */

/**
 * Write the records with what they come from, readable, in parts that make one text together: so that a file
 * of many never stands in memory as one string.
 */
export function debugJson(
  records: readonly object[],
  comfyvn: string | null,
  project: string | null,
): string[] {
  const head = JSON.stringify({ comfyvn, project }, null, 2).slice(0, -2);
  if (!records.length) return [`${head},\n  "assets": []\n}\n`];
  const written = records.map((record, at) => {
    const lines = JSON.stringify(record, null, 2).replaceAll("\n", "\n    ");
    return `    ${lines}${at < records.length - 1 ? "," : ""}\n`;
  });
  return [`${head},\n  "assets": [\n`, ...written, "  ]\n}\n"];
}
