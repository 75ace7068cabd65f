import { describe, expect, test } from "vitest";
import { COMMANDS, commandOf, shown, type Context, type KeyLike } from "../src/core/shortcuts";

const CONTEXTS: readonly Context[] = ["gallery", "lightbox"];

/** What a keyboard tells of a key of the table. */
function pressed(key: string, more: Partial<KeyLike> = {}): KeyLike {
  const parts = key.split(/\+(?=.)/);
  const last = parts.at(-1) ?? "";
  const shiftKey = parts.includes("Shift");
  const letter = shiftKey ? last : last.toLowerCase();
  return {
    key: last === "Space" ? " " : last.length === 1 ? letter : last,
    ctrlKey: parts.includes("Ctrl"),
    altKey: parts.includes("Alt"),
    metaKey: false,
    shiftKey,
    ...more,
  };
}

function idOf(event: KeyLike, isInText = false, context: Context = "gallery"): string | undefined {
  return commandOf(event, isInText, context)?.id;
}

describe("the table", () => {
  test("no id stands in it twice", () => {
    const ids = COMMANDS.map((command) => command.id);
    expect(new Set(ids).size).toBe(ids.length);
  });

  test.each(CONTEXTS)("no key means two things in the %s", (context) => {
    const here = COMMANDS.filter((command) => (command.context ?? context) === context);
    const keys = here.flatMap((command) => command.keys);
    expect(keys.filter((key, index) => keys.indexOf(key) !== index)).toEqual([]);
  });

  test("every key of every command reaches it, with Ctrl and with Cmd", () => {
    for (const command of COMMANDS) {
      for (const context of command.context ? [command.context] : CONTEXTS) {
        for (const key of command.keys) {
          const event = pressed(key);
          expect(idOf(event, false, context), key).toBe(command.id);
          const onMac = { ...event, ctrlKey: false, metaKey: event.ctrlKey };
          expect(idOf(onMac, false, context), key).toBe(command.id);
        }
      }
    }
  });

  test("titles are sentence case without a full stop", () => {
    for (const { title } of COMMANDS) expect(title).toMatch(/^[A-Z][^A-Z]*(?:JSON)?[^A-Z.]*$/);
  });
});

describe("keys", () => {
  test("a sign counts as written, with Shift or without", () => {
    expect(idOf(pressed("?", { shiftKey: true }))).toBe("help");
    expect(idOf(pressed("+", { shiftKey: true }))).toBe("view.larger");
    expect(idOf(pressed("3", { shiftKey: true }))).toBe("rate.3");
  });

  test("a letter with Shift, Ctrl or Alt is not the plain letter", () => {
    expect(idOf(pressed("E"))).toBe("edit.tags");
    expect(idOf(pressed("Shift+E"))).toBeUndefined();
    expect(idOf(pressed("Ctrl+E"))).toBeUndefined();
    expect(idOf(pressed("Alt+E"))).toBeUndefined();
    expect(idOf({ ...pressed("E"), key: "E" })).toBe("edit.tags");
  });

  test("keyboards with other letters, and Alt on a Mac, mean the letter on the key", () => {
    expect(idOf(pressed("Ctrl+A", { key: "ф", code: "KeyA" }))).toBe("select.all");
    const onMac = { key: "ç", code: "KeyC", ctrlKey: false, metaKey: true };
    expect(idOf(pressed("Ctrl+Alt+C", onMac))).toBe("copy.path");
    expect(idOf(pressed("Ctrl+Z", { key: "z", code: "KeyY" }))).toBe("edit.undo");
    expect(idOf(pressed("Ctrl+Alt+C", { code: "KeyI" }))).toBe("copy.path");
  });

  test("while somebody types only the search is at hand, and its sign is written", () => {
    const taken = COMMANDS.flatMap((command) =>
      command.keys.filter((key) => commandOf(pressed(key), true, command.context) !== null),
    );
    expect(taken).toEqual(["Ctrl+F", "Ctrl+K"]);
  });

  test("plus enlarges tiles in the gallery and zooms in the lightbox", () => {
    expect(idOf(pressed("+"))).toBe("view.larger");
    expect(idOf(pressed("+"), false, "lightbox")).toBe("zoom.in");
    expect(idOf(pressed("Escape"), false, "lightbox")).toBe("lightbox.close");
    expect(idOf(pressed("Escape"))).toBe("select.none");
  });

  test("keys that are in no table do nothing", () => {
    const keys = ["F5", "Tab", "q", "Dead", "Process", "Ctrl+T"];
    for (const key of keys) expect(idOf(pressed(key))).toBeUndefined();
  });
});

test("keys are shown as the machine's people know them", () => {
  const keys = ["Ctrl+Shift+C", "Shift+ArrowDown", "+", "Space", "Escape"];
  expect(keys.map((key) => shown(key, false))).toEqual([
    "Ctrl+Shift+C",
    "Shift+↓",
    "+",
    "Space",
    "Esc",
  ]);
  expect(["Ctrl+Shift+C", "Ctrl+Alt+C", "Backspace", "+", "Ctrl+A"].map((key) => shown(key, true))).toEqual([
    "⇧⌘C",
    "⌥⌘C",
    "⌫",
    "+",
    "⌘A",
  ]);
});
