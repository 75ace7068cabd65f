import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { effectScope } from "vue";
import { GRID_MENU, idsOf, MENUS } from "../src/core/menus";
import { sheetOf } from "../src/core/sheet";
import { COMMANDS, shown } from "../src/core/shortcuts";
import { Commands } from "../src/state/commands";

const IDS = new Set(COMMANDS.map((command) => command.id));
const SOURCE = new URL("../src/", import.meta.url);

describe("keys, menus and the sheet come from the one table", () => {
  test("a menu has only commands of the table, and none twice", () => {
    for (const menu of [GRID_MENU, ...MENUS.map(({ entries }) => entries)]) {
      const ids = idsOf(menu);
      expect(ids.filter((id) => !IDS.has(id))).toEqual([]);
      expect(new Set(ids).size).toBe(ids.length);
    }
  });

  test("what can be done to assets is in the menu of the grid and in that of the bar", () => {
    const keys = COMMANDS.filter(({ group, id }) => group === "Edit" && !/undo|redo|import/.test(id)).map(({ id }) => id);
    const inGrid = idsOf(GRID_MENU);
    const inBar = MENUS.flatMap(({ entries }) => idsOf(entries));
    expect(keys.filter((id) => !inGrid.includes(id))).toEqual([]);
    expect(inGrid.filter((id) => !inBar.includes(id))).toEqual([]);
  });

  test("nobody can handle a command that is in no table", () => {
    effectScope().run(() => {
      const commands = new Commands();
      expect(() => commands.handle({ "edit.sing": () => undefined })).toThrow("edit.sing");
      commands.handle({ "edit.tags": () => undefined });
      expect(commands.isPossible("edit.tags")).toBe(true);
    });
  });

  test("every command of the table is handled somewhere", () => {
    const files = readdirSync(SOURCE, { recursive: true, encoding: "utf8" });
    const sources = files.filter((file) => /\.(ts|vue)$/.test(file) && !file.startsWith("core"));
    const all = sources.map((file) => readFileSync(new URL(file, SOURCE), "utf8")).join("\n");
    const made = /^(go|select)\.(left|right|up|down|home|end|page(Up|Down))$|^rate\.|^pan\./;
    const unhandled = COMMANDS.filter(({ id }) => !made.test(id) && !all.includes(`"${id}"`) && !isPlain(all, id));
    expect(unhandled.map(({ id }) => id)).toEqual([]);
  });

  test("the sheet shows every key of every command once", () => {
    const rows = ([null, "gallery", "lightbox"] as const).flatMap((context) =>
      sheetOf(context, false).flatMap((group) => group.rows),
    );
    const keys = COMMANDS.filter((command) => command.keys.length);
    expect(rows).toHaveLength(keys.length);
    for (const { title, keys: each } of keys) {
      expect(rows).toContainEqual({ title, keys: each.map((key) => shown(key, false)) });
    }
    expect(sheetOf("gallery", true).flatMap((group) => group.rows.flatMap((row) => row.keys))).toContain("⌘A");
  });
});

/** A key of an object that needs no quotes. */
function isPlain(all: string, id: string): boolean {
  return !id.includes(".") && new RegExp(`[{,\\s]${id}: (\\{|\\()`).test(all);
}
