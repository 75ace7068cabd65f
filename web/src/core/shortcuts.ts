/** One table of commands, for the handlers of keys, the menus, the context menu and the `?` sheet. */

/** Where keys go: to the grid with its panes, or to the lightbox while that is open. */
export type Context = "gallery" | "lightbox";

export interface Command {
  readonly id: string;
  readonly title: string;
  readonly group: "Go" | "Select" | "Edit" | "View" | "Play" | "Help";
  /** Such as "Ctrl+A", "Shift+ArrowDown", "?" or "F2"; Ctrl is Cmd on a Mac. The first is shown; some have none. */
  readonly keys: readonly string[];
  /** Also while somebody types; keys that would write something are not taken then. */
  readonly inText?: boolean;
  /** Once for each press: a key that is held down does not do it again. */
  readonly isOnce?: boolean;
  /** Where it works; without it, everywhere. */
  readonly context?: Context;
}

/** What a KeyboardEvent tells. */
export interface KeyLike {
  readonly key: string;
  readonly code?: string;
  readonly ctrlKey: boolean;
  readonly metaKey: boolean;
  readonly shiftKey: boolean;
  readonly altKey: boolean;
}

const GALLERY = { context: "gallery" } as const;
const LIGHTBOX = { context: "lightbox" } as const;
const ONCE = { isOnce: true } as const;

export const COMMANDS: readonly Command[] = [
  { id: "go.left", title: "Previous asset", group: "Go", keys: ["ArrowLeft"], ...GALLERY },
  { id: "go.right", title: "Next asset", group: "Go", keys: ["ArrowRight"], ...GALLERY },
  { id: "go.up", title: "Row above", group: "Go", keys: ["ArrowUp"], ...GALLERY },
  { id: "go.down", title: "Row below", group: "Go", keys: ["ArrowDown"], ...GALLERY },
  { id: "go.pageUp", title: "Page up", group: "Go", keys: ["PageUp"], ...GALLERY },
  { id: "go.pageDown", title: "Page down", group: "Go", keys: ["PageDown"], ...GALLERY },
  { id: "go.home", title: "First asset", group: "Go", keys: ["Home"], ...GALLERY },
  { id: "go.end", title: "Last asset", group: "Go", keys: ["End"], ...GALLERY },
  { id: "search", title: "Search", group: "Go", keys: ["Ctrl+F", "Ctrl+K", "/"], inText: true, ...GALLERY },
  { id: "open", title: "Open in lightbox", group: "Go", keys: ["Enter"], ...GALLERY },
  {
    id: "lightbox.previous",
    title: "Previous asset",
    group: "Go", keys: ["ArrowLeft", "ArrowUp"], ...LIGHTBOX,
  },
  { id: "lightbox.next", title: "Next asset", group: "Go", keys: ["ArrowRight", "ArrowDown"], ...LIGHTBOX },
  { id: "lightbox.first", title: "First asset", group: "Go", keys: ["Home"], ...LIGHTBOX },
  { id: "lightbox.last", title: "Last asset", group: "Go", keys: ["End"], ...LIGHTBOX },
  { id: "lightbox.close", title: "Back to the gallery", group: "Go", keys: ["Escape", "Enter"], ...LIGHTBOX },

  {
    id: "select.left",
    title: "Extend to the previous asset",
    group: "Select", keys: ["Shift+ArrowLeft"], ...GALLERY,
  },
  {
    id: "select.right",
    title: "Extend to the next asset",
    group: "Select", keys: ["Shift+ArrowRight"], ...GALLERY,
  },
  { id: "select.up", title: "Extend a row up", group: "Select", keys: ["Shift+ArrowUp"], ...GALLERY },
  { id: "select.down", title: "Extend a row down", group: "Select", keys: ["Shift+ArrowDown"], ...GALLERY },
  { id: "select.pageUp", title: "Extend a page up", group: "Select", keys: ["Shift+PageUp"], ...GALLERY },
  {
    id: "select.pageDown",
    title: "Extend a page down",
    group: "Select", keys: ["Shift+PageDown"], ...GALLERY,
  },
  {
    id: "select.home",
    title: "Extend to the first asset",
    group: "Select", keys: ["Shift+Home"], ...GALLERY,
  },
  { id: "select.end", title: "Extend to the last asset", group: "Select", keys: ["Shift+End"], ...GALLERY },
  { id: "select.toggle", title: "Select or deselect", group: "Select", keys: ["Ctrl+Space"] },
  { id: "select.all", title: "Select the whole result", group: "Select", keys: ["Ctrl+A"], ...GALLERY },
  {
    id: "select.none",
    title: "Select nothing",
    group: "Select", keys: ["Escape", "Ctrl+Shift+A"], ...GALLERY,
  },
  { id: "select.invert", title: "Invert selection", group: "Select", keys: ["Ctrl+I"], ...GALLERY },

  { id: "edit.tags", title: "Edit tags and licence", group: "Edit", keys: ["E", "T"] },
  { id: "edit.rename", title: "Rename", group: "Edit", keys: ["F2"] },
  { id: "edit.delete", title: "Move to trash", group: "Edit", keys: ["Delete", "Backspace"], ...ONCE },
  { id: "edit.undo", title: "Undo", group: "Edit", keys: ["Ctrl+Z"], ...ONCE },
  { id: "edit.redo", title: "Redo", group: "Edit", keys: ["Ctrl+Shift+Z", "Ctrl+Y"], ...ONCE },
  { id: "rate.0", title: "No rating", group: "Edit", keys: ["0"], ...ONCE },
  { id: "rate.1", title: "Rate 1", group: "Edit", keys: ["1"], ...ONCE },
  { id: "rate.2", title: "Rate 2", group: "Edit", keys: ["2"], ...ONCE },
  { id: "rate.3", title: "Rate 3", group: "Edit", keys: ["3"], ...ONCE },
  { id: "rate.4", title: "Rate 4", group: "Edit", keys: ["4"], ...ONCE },
  { id: "rate.5", title: "Rate 5", group: "Edit", keys: ["5"], ...ONCE },
  { id: "copy.json", title: "Copy debug JSON", group: "Edit", keys: ["Ctrl+Shift+C"] },
  { id: "copy.path", title: "Copy path", group: "Edit", keys: ["Ctrl+Alt+C"] },
  { id: "reveal", title: "Open in file manager", group: "Edit", keys: ["Ctrl+Shift+E"] },
  { id: "download", title: "Download", group: "Edit", keys: ["Ctrl+S"] },
  { id: "import", title: "Import files", group: "Edit", keys: ["U"], ...GALLERY },

  { id: "filters", title: "Show or hide filters", group: "View", keys: ["F"], ...GALLERY },
  { id: "detail", title: "Show or hide details", group: "View", keys: ["D", "I"] },
  { id: "history", title: "Show or hide history", group: "View", keys: ["H"] },
  { id: "compare", title: "Compare two to four assets", group: "View", keys: ["C"] },
  { id: "view.new", title: "Show what is new", group: "View", keys: ["N"], ...GALLERY },
  { id: "view.larger", title: "Larger tiles", group: "View", keys: ["+", "="], ...GALLERY },
  { id: "view.smaller", title: "Smaller tiles", group: "View", keys: ["-"], ...GALLERY },
  { id: "view.list", title: "Switch between grid and list", group: "View", keys: ["G"], ...GALLERY },
  {
    id: "compare.swipe",
    title: "Compare side by side or one over the other",
    group: "View",
    keys: ["S"],
    ...LIGHTBOX,
  },
  { id: "view.checker", title: "Show or hide the checkerboard", group: "View", keys: ["B"] },
  { id: "theme", title: "Switch the theme", group: "View", keys: ["Shift+L"] },
  { id: "zoom.in", title: "Zoom in", group: "View", keys: ["+", "="], ...LIGHTBOX },
  { id: "zoom.out", title: "Zoom out", group: "View", keys: ["-"], ...LIGHTBOX },
  { id: "zoom.fit", title: "Fit into the window", group: "View", keys: ["F"], ...LIGHTBOX },
  { id: "zoom.actual", title: "Actual size (1:1)", group: "View", keys: ["Z"], ...LIGHTBOX },
  { id: "pan.left", title: "Pan left", group: "View", keys: ["Shift+ArrowLeft"], ...LIGHTBOX },
  { id: "pan.right", title: "Pan right", group: "View", keys: ["Shift+ArrowRight"], ...LIGHTBOX },
  { id: "pan.up", title: "Pan up", group: "View", keys: ["Shift+ArrowUp"], ...LIGHTBOX },
  { id: "pan.down", title: "Pan down", group: "View", keys: ["Shift+ArrowDown"], ...LIGHTBOX },

  { id: "play", title: "Play or pause", group: "Play", keys: ["Space"] },

  { id: "help", title: "Keyboard shortcuts", group: "Help", keys: ["?"] },
  { id: "session.begin", title: "Sign in", group: "Help", keys: [] },
  { id: "session.end", title: "Sign out", group: "Help", keys: [] },
];

const CONTEXTS: readonly Context[] = ["gallery", "lightbox"];
const BY_KEY = new Map(CONTEXTS.map((context) => [context, tableOf(context)] as const));

function tableOf(context: Context): ReadonlyMap<string, Command> {
  const here = COMMANDS.filter((command) => (command.context ?? context) === context);
  return new Map(here.flatMap((command) => command.keys.map((key) => [key, command] as const)));
}

/** The command that a key stands for; null if it stands for none, or only writes. */
export function commandOf(event: KeyLike, isInText: boolean, context: Context = "gallery"): Command | null {
  const command = BY_KEY.get(context)?.get(keyOf(event)) ?? null;
  if (!isInText || command === null) return command;
  const writes = event.key.length === 1 && !event.ctrlKey && !event.metaKey;
  return command.inText === true && !writes ? command : null;
}

/**
 * Write a pressed key as the table does. Where a key writes no plain Latin letter (another script, or Alt on a
 * Mac) it is the letter that a Latin keyboard has there. For a sign such as "?" it doesn't matter whether it takes Shift.
 */
function keyOf(event: KeyLike): string {
  const [, latin] = /^Key([A-Z])$/.exec(event.code ?? "") ?? [];
  const isOther = event.key > "\x7f";
  const written = latin !== undefined && event.key.length === 1 && isOther ? latin : event.key;
  const isLetter = /^[a-z]$/i.test(written);
  const key = isLetter ? written.toUpperCase() : written === " " ? "Space" : written;
  const isShifted = event.shiftKey && (isLetter || key.length > 1);
  const ctrl = event.ctrlKey || event.metaKey ? "Ctrl+" : "";
  return `${ctrl}${event.altKey ? "Alt+" : ""}${isShifted ? "Shift+" : ""}${key}`;
}

const SIGNS: Readonly<Record<string, string>> = {
  ArrowLeft: "←",
  ArrowRight: "→",
  ArrowUp: "↑",
  ArrowDown: "↓",
  PageUp: "Page up",
  PageDown: "Page down",
  Escape: "Esc",
};
const MAC_SIGNS: Readonly<Record<string, string>> = {
  ...SIGNS,
  Ctrl: "⌘",
  Alt: "⌥",
  Shift: "⇧",
  Enter: "↩",
  Delete: "⌦",
  Backspace: "⌫",
};
const MAC_ORDER = ["Alt", "Shift", "Ctrl"];

/** A key as people know it: "Ctrl+A", or "⌘A" on a Mac. */
export function shown(key: string, isMac: boolean): string {
  const parts = key.split(/\+(?=.)/);
  if (!isMac) return parts.map((part) => SIGNS[part] ?? part).join("+");
  const held = parts.slice(0, -1).sort((a, b) => MAC_ORDER.indexOf(a) - MAC_ORDER.indexOf(b));
  return [...held, ...parts.slice(-1)].map((part) => MAC_SIGNS[part] ?? part).join("");
}
