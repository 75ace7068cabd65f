import { describe as group, expect, test } from "vitest";
import { cycled, isEmpty, NO_CHANGE, toBody, withTag } from "../src/core/draft";
import { tagRows } from "../src/core/tags";

const SUMMARY = { total: 30, counts: new Map([["smile", 30], ["night", 12]]) };

function rowOf(tag: string, draft = NO_CHANGE) {
  const row = tagRows(SUMMARY, draft.add, draft.remove).find((each) => each.tag === tag);
  if (row === undefined) throw new Error(`no row for ${tag}`);
  return row;
}

group("a click on a tag", () => {
  test("of some adds it to all, then removes it from all, then leaves it", () => {
    const added = cycled(NO_CHANGE, rowOf("night"));
    expect(added.add).toEqual(["night"]);
    const removed = cycled(added, rowOf("night", added));
    expect([removed.add, removed.remove]).toEqual([[], ["night"]]);
    expect(cycled(removed, rowOf("night", removed))).toEqual(NO_CHANGE);
  });

  test("of all removes it, then leaves it: to add it would change nothing", () => {
    const removed = cycled(NO_CHANGE, rowOf("smile"));
    expect(removed.remove).toEqual(["smile"]);
    expect(cycled(removed, rowOf("smile", removed))).toEqual(NO_CHANGE);
  });

  test("of none that was to be added takes that back", () => {
    const added = withTag(NO_CHANGE, "new", []);
    expect(cycled(added, rowOf("new", added))).toEqual(NO_CHANGE);
  });
});

group("a tag that is typed", () => {
  const rows = tagRows(SUMMARY, [], []);

  test("is written as it is known, and only once", () => {
    const twice = withTag(withTag(NO_CHANGE, "NIGHT", rows), "night", rows);
    expect(twice.add).toEqual(["night"]);
  });

  test("that all have is no change, and takes a removal back", () => {
    const removed = cycled(NO_CHANGE, rowOf("smile"));
    expect(isEmpty(withTag(removed, "Smile", rows))).toBe(true);
  });
});

test("what stays is not sent, and what is cleared is said", () => {
  expect(toBody({ ...NO_CHANGE, add: ["a"] })).toEqual({ add_tags: ["a"], remove_tags: [] });
  expect(toBody({ ...NO_CHANGE, license: "", rating: 0 })).toEqual({
    add_tags: [],
    remove_tags: [],
    license: "",
    metadata: { rating: null },
  });
});
