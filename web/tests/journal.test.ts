import { describe, expect, it } from "vitest";
import { happenings, type JournalRow } from "../src/core/journal";

let seq = 100;

type Told = object | null;

function row(event: string, operation: number, before: Told = null, after: Told = null): JournalRow {
  return {
    seq: seq--,
    at: "2026-11-23T06:28:24.238Z",
    actor: "ann",
    event,
    operation,
    before: before as JournalRow["before"],
    after: after as JournalRow["after"],
  };
}

describe("happenings", () => {
  it("tells an edit with what was added, removed and put in place of what", () => {
    const before = { meta: { tags: ["smile", "mara"], license: "CC0-1.0", version: 1 }, extra: {} };
    const after = { meta: { tags: ["mara", "night"], license: null, version: 1, rating: 4 }, extra: {} };

    const [edit] = happenings([row("asset_meta_updated", 7, before, after), row("asset_sidecar_written", 7)]);

    expect(edit?.sentence).toBe("changed tags, licence and rating");
    expect([edit?.added, edit?.removed]).toEqual([["night"], ["smile"]]);
    expect(edit?.changed).toEqual([
      { name: "Licence", before: "CC0-1.0", after: null },
      { name: "rating", before: null, after: "4" },
    ]);
    expect(edit?.mayUndo).toBe(true);
  });

  it("tells what an asset came from since then", () => {
    const link = { parent: "3f1a0c22b7d94e10", kind: "img2img", certainty: "likely", found: "similar" };
    const before = { meta: {}, extra: {}, lineage: [link] };
    const after = { meta: {}, extra: {}, lineage: [{ ...link, certainty: "certain" }] };

    const [judged, linked] = happenings([
      row("asset_meta_updated", 9, before, after),
      row("asset_meta_updated", 8, { meta: {}, extra: {} }, before),
    ]);

    expect([judged?.sentence, judged?.mayUndo]).toEqual(["changed lineage", true]);
    expect(judged?.changed).toEqual([
      {
        name: "Came from",
        before: "3f1a0c22b7d94e10 (likely img2img)",
        after: "3f1a0c22b7d94e10 (img2img)",
      },
    ]);
    expect(linked?.changed[0]?.before).toBe(null);
  });

  it("makes one thing of the rows of an operation, and keeps operations apart", () => {
    const rows = [
      row("asset_sidecar_written", 9),
      row("asset_content_changed", 9, { version: 1, hash: "a" }, { version: 2, hash: "b" }),
      row("asset_provenance_added", 9, null, { id: 1, source: "comfyui" }),
      row("asset_registered", 8, null, { path: "mara/mara.png" }),
    ];

    const told = happenings(rows);

    expect(told.map((each) => each.sentence)).toEqual([
      "added provenance from comfyui and took in new content",
      "registered it as mara/mara.png",
    ]);
    expect(told[0]?.changed).toEqual([{ name: "Version", before: "1", after: "2" }]);
    expect(told.map((each) => each.mayUndo)).toEqual([false, false]);
  });

  it("offers to take back a move by us, and none that was found on the disk", () => {
    const found = row("asset_moved", 2, { path: "a/x.png" }, { path: "b/x.png" });
    const ours = row("asset_moved", 1, { path: "a/x.png" }, { path: "a/y.png", is_ours: true });

    const told = happenings([found, ours]);

    expect(told.map((each) => [each.sentence, each.mayUndo])).toEqual([
      ["moved it", false],
      ["renamed it", true],
    ]);
  });

  it("says so when only the sidecar was written, or nothing is another", () => {
    const same = { meta: { tags: ["a"] }, extra: {} };

    expect(happenings([row("asset_sidecar_written", 3)])[0]?.sentence).toBe("wrote the sidecar");
    const [unchanged] = happenings([row("asset_meta_updated", 4, same, same)]);
    expect(unchanged?.sentence).toBe("saved it without a change");
    expect(unchanged?.mayUndo).toBe(false);
  });

  it("tells a file found again from an asset that people restored", () => {
    const told = happenings([
      row("asset_restored", 6, null, { removal: 5, is_from_trash: true }),
      row("asset_restored", 4, null, { path: "a.png" }),
      row("asset_something_new", 3),
    ]);

    expect(told.map((each) => each.sentence)).toEqual(["restored it", "found the file again", "something new"]);
  });
});
