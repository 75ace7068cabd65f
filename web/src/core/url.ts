/** Everything that the address holds, so that it can be shared and Back and Forward work. */

import { EVERYTHING, fromParams, toParams, type Query } from "./query";

export interface Place {
  readonly query: Query;
  /** Uid of the asset that has the focus. */
  readonly focus: string | null;
  readonly panel: "none" | "detail" | "edit";
  /** Uids that the lightbox shows: none while it is closed, two to four to compare. */
  readonly lightbox: readonly string[];
  readonly view: "grid" | "list";
  /** Wanted width of a tile in px, 96 to 512. */
  readonly tile: number;
  /** Open panels of the Studio. */
  readonly panels: readonly string[];
}

export const SMALLEST_TILE = 96;
export const LARGEST_TILE = 512;
const MOST_COMPARED = 4;

export const HOME: Place = {
  query: EVERYTHING,
  focus: null,
  panel: "none",
  lightbox: [],
  view: "grid",
  tile: 192,
  panels: ["gallery"],
};

/** Read `location.search`. Never throws; nonsense is left out. */
export function readPlace(search: string): Place {
  const params = new URLSearchParams(search);
  const panel = params.get("panel");
  const tile = params.get("tile") ?? "";
  const open = params.getAll("open");
  const focus = params.get("focus") ?? "";
  const isTile = /^\d{2,3}$/.test(tile) && Number(tile) >= SMALLEST_TILE && Number(tile) <= LARGEST_TILE;
  return {
    query: fromParams(params),
    focus: isUid(focus) ? focus : null,
    panel: panel === "detail" || panel === "edit" ? panel : "none",
    lightbox: [...new Set(params.getAll("lightbox").filter(isUid))].slice(0, MOST_COMPARED),
    view: params.get("view") === "list" ? "list" : "grid",
    tile: isTile ? Number(tile) : HOME.tile,
    panels: open.length === 0 ? HOME.panels : [...new Set(open.filter(isPanel))],
  };
}

/** Write "" or "?..." for `history.pushState`; what is as usual is left out. */
export function writePlace(place: Place): string {
  const params = toParams(place.query);
  if (place.view !== HOME.view) params.append("view", place.view);
  if (place.tile !== HOME.tile) params.append("tile", String(place.tile));
  if (place.panel !== HOME.panel) params.append("panel", place.panel);
  if (place.focus !== null) params.append("focus", place.focus);
  for (const uid of place.lightbox) params.append("lightbox", uid);
  if (!isSameList(place.panels, HOME.panels)) {
    for (const id of place.panels.length === 0 ? [""] : place.panels) params.append("open", id);
  }
  const text = readable(params.toString());
  return text === "" ? "" : `?${text}`;
}

/** Undo escapes of characters that mean nothing in a query and that browsers leave as they are. */
function readable(text: string): string {
  return text.replace(/%(?:3A|2F|2C|40)/g, decodeURIComponent);
}

function isUid(text: string): boolean {
  return /^[0-9a-f]{16,64}$/.test(text);
}

function isPanel(text: string): boolean {
  return /^[a-z][a-z0-9-]*$/.test(text);
}

function isSameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((value, index) => value === b[index]);
}
