/** The sheet of keyboard shortcuts, from the table of commands. */

import { COMMANDS, shown, type Command, type Context } from "./shortcuts";

export interface SheetRow {
  readonly title: string;
  readonly keys: readonly string[];
}

export interface SheetGroup {
  readonly title: Command["group"];
  readonly rows: readonly SheetRow[];
}

/** What has a key: everywhere, or only in one of the two places. */
export function sheetOf(context: Context | null, isMac: boolean): SheetGroup[] {
  const here = COMMANDS.filter((command) => (command.context ?? null) === context && command.keys.length > 0);
  const titles = [...new Set(here.map((command) => command.group))];
  return titles.map((title) => ({
    title,
    rows: here
      .filter((command) => command.group === title)
      .map((command) => ({ title: command.title, keys: command.keys.map((key) => shown(key, isMac)) })),
  }));
}
