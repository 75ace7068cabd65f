import { describe, expect, it } from "vitest";
import { debugJson } from "../src/core/debug";

describe("debugJson", () => {
  it("is the same text as one pretty-printed object, whatever the records hold", () => {
    const records = [{ uid: "a", meta: { note: 'two\nlines, "quoted"', tags: [] } }, { uid: "b", provenance: null }];

    for (const some of [records, records.slice(0, 1), []]) {
      const whole = JSON.stringify({ comfyvn: "1.0", project: null, assets: some }, null, 2);
      expect(debugJson(some, "1.0", null).join("")).toBe(`${whole}\n`);
    }
  });
});
