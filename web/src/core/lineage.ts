/** The lineage of one asset for people: what it came from and what came from it, one step each way. */

export interface LineNode {
  /** null where the library has no such asset. */
  readonly id: number | null;
  readonly uid: string;
  readonly path: string | null;
  readonly is_missing: boolean;
}

export interface LineEdge {
  readonly child: string;
  readonly parent: string;
  readonly kind: string;
  readonly certainty: "certain" | "likely" | "rejected";
  readonly found: string;
}

/** As GET /assets/{uid}/lineage tells it. */
export interface Line {
  readonly uid: string;
  readonly nodes: readonly LineNode[];
  readonly edges: readonly LineEdge[];
}

/** An asset one step away, with all that joins it to the one that is shown. */
export interface Relative {
  readonly node: LineNode;
  /** "img2img, likely edit"; "linked" where nobody said how. */
  readonly how: string;
  /** How that was found, for who wonders. */
  readonly found: string;
  /** Some of it waits for somebody's word. */
  readonly waits: boolean;
  /** All of it does. */
  readonly isLikely: boolean;
}

export interface Relatives {
  readonly parents: readonly Relative[];
  readonly children: readonly Relative[];
}

const KINDS: Readonly<Record<string, string>> = { "frame-of": "frame of", manual: "linked" };

const FOUND: Readonly<Record<string, string>> = {
  script: "stated by a script",
  hand: "stated by a person",
  "graph-hash": "found by the content of an image in its graph",
  "graph-name": "found by the name of an image in its graph",
  marker: "found by our marker in the file",
  version: "an earlier content of the file",
  pixels: "found by equal pixels",
  similar: "found because both look alike",
};

/** Those one step up and down: the certain ones first, and last those that the library does not have. */
export function relativesOf({ uid, nodes, edges }: Line): Relatives {
  const known = new Map(nodes.map((node) => [node.uid, node]));
  const gather = (near: "parent" | "child", own: "parent" | "child"): Relative[] => {
    const found = new Map<string, LineEdge[]>();
    for (const edge of edges) {
      if (edge[own] !== uid || edge.certainty === "rejected") continue;
      const others = found.get(edge[near]);
      if (others) others.push(edge);
      else found.set(edge[near], [edge]);
    }
    const all = [...found].flatMap(([other, joined]) => relativeOf(known.get(other), joined));
    return all.sort((a, b) => rank(a) - rank(b));
  };
  return { parents: gather("parent", "child"), children: gather("child", "parent") };
}

function relativeOf(node: LineNode | undefined, edges: readonly LineEdge[]): Relative[] {
  if (!node) return [];
  const isLikely = (edge: LineEdge): boolean => edge.certainty === "likely";
  const how = edges.map((edge) => `${isLikely(edge) ? "likely " : ""}${KINDS[edge.kind] ?? edge.kind}`);
  const found = edges.map((edge) => `${KINDS[edge.kind] ?? edge.kind}: ${FOUND[edge.found] ?? edge.found}`);
  return [
    {
      node,
      how: how.join(", "),
      found: found.join("; "),
      waits: edges.some(isLikely),
      isLikely: edges.every(isLikely),
    },
  ];
}

function rank({ node, isLikely }: Relative): number {
  return node.id === null ? 2 : isLikely ? 1 : 0;
}
