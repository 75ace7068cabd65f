import { expect, test } from "vitest";
import { relativesOf, type LineEdge, type LineNode } from "../src/core/lineage";

const OWN = "0".repeat(16);

function node(uid: string, id: number | null = 1): LineNode {
  return { id, uid, path: id === null ? null : `${uid}.png`, is_missing: false };
}

function edge(child: string, parent: string, more: Partial<LineEdge> = {}): LineEdge {
  return { child, parent, kind: "edit", certainty: "certain", found: "hand", ...more };
}

test("those one step up and down are told, the certain ones first and strangers last", () => {
  const edges = [
    edge(OWN, "gone"),
    edge(OWN, "maybe", { kind: "variant", certainty: "likely", found: "similar" }),
    edge(OWN, "sure", { kind: "img2img", found: "graph-name" }),
    edge("child", OWN, { kind: "frame-of", found: "script" }),
    edge("maybe", "sure"),
  ];
  const nodes = [node(OWN), node("gone", null), node("maybe"), node("sure"), node("child")];

  const { parents, children } = relativesOf({ uid: OWN, nodes, edges });

  expect(parents.map(({ node: { uid }, how, waits }) => [uid, how, waits])).toEqual([
    ["sure", "img2img", false],
    ["maybe", "likely variant", true],
    ["gone", "edit", false],
  ]);
  expect(children.map(({ node: { uid }, how }) => [uid, how])).toEqual([["child", "frame of"]]);
  expect(parents[0]?.found).toBe("img2img: found by the name of an image in its graph");
});

test("two assets that are joined twice stand there once, and what is certain is not drawn as a guess", () => {
  const edges = [
    edge(OWN, "a", { kind: "manual" }),
    edge(OWN, "a", { kind: "inpaint", certainty: "likely", found: "of-a-plug-in" }),
    edge(OWN, "b", { certainty: "rejected" }),
  ];

  const { parents } = relativesOf({ uid: OWN, nodes: [node(OWN), node("a"), node("b")], edges });

  expect(parents).toEqual([
    {
      node: node("a"),
      how: "linked, likely inpaint",
      found: "linked: stated by a person; inpaint: of-a-plug-in",
      waits: true,
      isLikely: false,
    },
  ]);
});

test("an edge to an asset that was cut off is left out", () => {
  expect(relativesOf({ uid: OWN, nodes: [node(OWN)], edges: [edge(OWN, "far")] }).parents).toEqual([]);
});
