/** What stands in the menus: commands of the table, in groups; null draws a line. */

export interface Menu {
  readonly title: string;
  readonly entries: readonly Entry[];
}

export type Entry = string | null | Menu;

const RATE: Menu = { title: "Rate", entries: ["rate.1", "rate.2", "rate.3", "rate.4", "rate.5", "rate.0"] };
const COPY: readonly Entry[] = ["download", "copy.path", "copy.json", "reveal"];
const SELECT: readonly Entry[] = ["select.all", "select.none", "select.invert"];

/** What can be done to the selected assets. */
export const GRID_MENU: readonly Entry[] = [
  "open", "compare", "play", null,
  "edit.tags", RATE, "edit.rename", null,
  ...COPY, null,
  ...SELECT, null,
  "edit.delete",
];

export const MENUS: readonly Menu[] = [
  {
    title: "Assets",
    entries: [
      "import", null,
      "open", "compare", "play", null,
      "edit.tags", RATE, "edit.rename", null,
      ...COPY, null,
      "edit.undo", "edit.redo", null,
      "edit.delete",
    ],
  },
  { title: "Select", entries: [...SELECT, "select.toggle"] },
  {
    title: "View",
    entries: [
      "search", "filters", "detail", "history", null,
      "view.list", "view.larger", "view.smaller", "view.checker", "view.new", null,
      "theme",
    ],
  },
  { title: "Help", entries: ["help", null, "session.begin", "session.end"] },
];

/** The ids of all commands of a menu, also of menus in it. */
export function idsOf(entries: readonly Entry[]): string[] {
  return entries.flatMap((entry) => (entry === null ? [] : typeof entry === "string" ? [entry] : idsOf(entry.entries)));
}
