/** Uniform tiles over any number of rows: everything is arithmetic, nothing is kept per asset. */

/** Browsers clamp higher elements: Firefox at 17.9 million px, Chromium at 16.8 or 33.5. */
export const MAX_HEIGHT = 8_000_000;

/** How the tiles lie, in px of the content, whose top left is 0, 0. */
export interface Geometry {
  readonly columns: number;
  readonly tileWidth: number;
  /** From the top of a row to the top of the next, so with one gap. */
  readonly rowHeight: number;
  /** Between tiles, in both directions. */
  readonly gap: number;
  readonly rows: number;
  /** Of the spacer that gives the scrollbar its size, at most MAX_HEIGHT. */
  readonly height: number;
  readonly count: number;
}

export interface Rect {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

/**
 * Lay out so many tiles in a width. In a grid `tile` is the smallest width: tiles are square with a caption
 * below and widen to fill the row. In a list a row has the whole width, and a picture of a quarter of `tile`
 * beside the caption.
 */
export function layOut(
  count: number,
  width: number,
  tile: number,
  captionHeight: number,
  gap: number,
  isList: boolean,
): Geometry {
  const columns = isList ? 1 : Math.max(1, Math.floor((width + gap) / (tile + gap)));
  const tileWidth = Math.max(1, Math.floor((width - (columns - 1) * gap) / columns));
  const tileHeight = isList ? Math.max(captionHeight, Math.round(tile / 4)) : tileWidth + captionHeight;
  const rows = Math.ceil(count / columns);
  const whole = { columns, tileWidth, rowHeight: tileHeight + gap, gap, rows, count };
  return { ...whole, height: Math.min(MAX_HEIGHT, contentHeight(whole)) };
}

/** Height of all rows in px, however many; no gap behind the last. */
export function contentHeight({ rows, rowHeight, gap }: Omit<Geometry, "height">): number {
  return rows === 0 ? 0 : rows * rowHeight - gap;
}

/** Where a tile lies, in px of the content. */
export function tileRect({ columns, tileWidth, rowHeight, gap }: Geometry, index: number): Rect {
  const left = (index % columns) * (tileWidth + gap);
  const top = Math.floor(index / columns) * rowHeight;
  return { left, top, right: left + tileWidth, bottom: top + rowHeight - gap };
}

const EXACT_PX = 100_000;
const SMALL_STEP_VIEWPORTS = 3;

/**
 * Between the scrollbar and the content, where the content may be higher than any element can be.
 *
 * Up to MAX_HEIGHT, `offset` is `scrollTop`. Beyond, a position of the scrollbar stands for one of the
 * content: px by px in the first and last 100,000, stretched between. A jump (the scrollbar dragged) goes
 * where that says, so the top and the end are exact. A small step (wheel, touch) moves the content by as many
 * px as the scrollbar moved, and the two part a little. That is put right when scrolling rests:
 *
 *     on scroll:            map.scrolled(box.scrollTop); draw; if (map.isStrained) settle()
 *     settle, on scrollend: const to = map.settle(); if (to !== null) box.scrollTop = to
 *     drawing:              the tiles of visible(geometry, map.firstRow, ...), each or all of them moved to
 *                           map.place(top of the row) px below the top of the spacer
 *     to show a row:        const to = map.reveal(row); if (to !== null) box.scrollTop = to; draw
 *
 * What is seen stays where it is when `settle` moves the scrollbar, so draw in the same frame. The spacer
 * needs `overflow: clip`: rows to come must not make it higher. After a change of the geometry make a new map
 * and `show` the offset that is wanted.
 */
export class ScrollMap {
  private native = 0;
  private content = 0;
  private readonly lastNative: number;
  private readonly lastContent: number;
  private readonly smallStep: number;

  /** `viewport`: height in px of what scrolls. */
  constructor(
    private readonly geometry: Geometry,
    private readonly viewport: number,
  ) {
    this.lastNative = Math.max(0, geometry.height - viewport);
    this.lastContent = Math.max(0, contentHeight(geometry) - viewport);
    // half of what one px of a dragged scrollbar means: no drag is taken for a small step
    const halfPixel = this.lastNative / Math.max(1, viewport) / 2;
    this.smallStep = Math.min(SMALL_STEP_VIEWPORTS * viewport, halfPixel);
  }

  /** Where the scrollbar is, as it was last told or answered. */
  get scrollTop(): number {
    return this.native;
  }

  /** The px of the content at the top of the viewport. */
  get offset(): number {
    return this.content;
  }

  /** The same in rows, with a fraction. */
  get firstRow(): number {
    return this.content / this.geometry.rowHeight;
  }

  /** Whether the scrollbar has come to an end that the content has not reached: `settle` at once. */
  get isStrained(): boolean {
    const isAtEnd = this.native < 1 || this.native > this.lastNative - 1;
    return isAtEnd && Math.abs(this.toNative(this.content) - this.native) >= 1;
  }

  /** Take over where the scrollbar is now; returns `offset`. */
  scrolled(scrollTop: number): number {
    const native = clamp(scrollTop, 0, this.lastNative);
    const step = native - this.native;
    this.native = native;
    const isSmall = this.isStretched && Math.abs(step) <= this.smallStep;
    this.content = isSmall ? clamp(this.content + step, 0, this.lastContent) : this.toContent(native);
    return this.content;
  }

  /** How far below the top of the spacer a px of the content lies now. */
  place(contentY: number): number {
    return contentY - this.content + this.native;
  }

  /** Go to a px of the content; returns the scrollTop to set. */
  show(offset: number): number {
    this.content = clamp(Math.round(offset), 0, this.lastContent);
    this.native = this.toNative(this.content);
    return this.native;
  }

  /** Go as far as it takes to see a whole row; returns the scrollTop to set, null where it is seen. */
  reveal(row: number): number | null {
    const top = row * this.geometry.rowHeight;
    const bottom = top + this.geometry.rowHeight - this.geometry.gap;
    const isTooHigh = bottom - top > this.viewport;
    if (top < this.content || (isTooHigh && top > this.content)) return this.show(top);
    return !isTooHigh && bottom > this.content + this.viewport ? this.show(bottom - this.viewport) : null;
  }

  /** Bring the scrollbar to where the content is; returns the scrollTop to set, null where it is right. */
  settle(): number | null {
    const right = this.toNative(this.content);
    if (Math.abs(right - this.native) < 1) return null;
    this.native = right;
    return right;
  }

  private get isStretched(): boolean {
    return this.lastContent > this.lastNative;
  }

  private toContent(native: number): number {
    return stretch(native, this.lastNative, this.lastContent);
  }

  /** In whole px: a browser would round it, and the content would move. */
  private toNative(content: number): number {
    const native = stretch(content, this.lastContent, this.lastNative);
    return this.isStretched ? Math.round(native) : native;
  }
}

/** Map 0 to `from` onto 0 to `to`: px by px at both ends, evenly between. */
function stretch(value: number, from: number, to: number): number {
  if (from === to) return value;
  const exact = Math.min(EXACT_PX, from / 4, to / 4);
  if (value <= exact) return value;
  if (value >= from - exact) return to - (from - value);
  return exact + ((value - exact) * (to - 2 * exact)) / (from - 2 * exact);
}

/** The tiles of the rows in view and some beyond, as indices, `last` exclusive. */
export function visible(
  { columns, rowHeight, count }: Geometry,
  firstRow: number,
  viewportHeight: number,
  overscanRows: number,
): { first: number; last: number } {
  const first = Math.max(0, Math.floor(firstRow) - overscanRows) * columns;
  const last = (Math.ceil(firstRow + viewportHeight / rowHeight) + overscanRows) * columns;
  return { first: Math.min(first, count), last: clamp(last, 0, count) };
}

export type MoveKey =
  | "ArrowLeft"
  | "ArrowRight"
  | "ArrowUp"
  | "ArrowDown"
  | "Home"
  | "End"
  | "PageUp"
  | "PageDown";

/** The tile to which a key leads; -1 where there is none at all. */
export function move(geometry: Geometry, index: number, key: MoveKey, rowsPerPage: number): number {
  const last = geometry.count - 1;
  if (last < 0) return -1;
  const from = clamp(index, 0, last);
  switch (key) {
    case "ArrowLeft":
      return Math.max(0, from - 1);
    case "ArrowRight":
      return Math.min(last, from + 1);
    case "Home":
      return 0;
    case "End":
      return last;
    case "ArrowUp":
      return byRows(geometry, from, -1);
    case "ArrowDown":
      return byRows(geometry, from, 1);
    case "PageUp":
      return byRows(geometry, from, -Math.max(1, Math.floor(rowsPerPage)));
    case "PageDown":
      return byRows(geometry, from, Math.max(1, Math.floor(rowsPerPage)));
  }
}

/** The tile above or below, in the last row the last one if there is none below; at an end it stays. */
function byRows({ columns, rows, count }: Geometry, index: number, by: number): number {
  const row = Math.floor(index / columns);
  const target = clamp(row + by, 0, rows - 1);
  return target === row ? index : Math.min(count - 1, target * columns + (index % columns));
}

/**
 * The tiles that a rectangle touches, in px of the content, for marquees: pairs of first and last
 * (exclusive), in order, flattened. Gaps between tiles don't count. Where it spans all columns it is one pair.
 */
export function within(geometry: Geometry, rect: Rect): number[] {
  const { columns, tileWidth, rowHeight, gap, rows, count } = geometry;
  const [left, right] = touched(rect.left, rect.right, tileWidth, gap, columns);
  const [top, bottom] = touched(rect.top, rect.bottom, rowHeight - gap, gap, rows);
  if (left >= right || top >= bottom) return [];
  if (right - left === columns) return [top * columns, Math.min(count, bottom * columns)];
  const pairs: number[] = [];
  for (let row = top; row < bottom; row += 1) {
    const first = row * columns + left;
    if (first < count) pairs.push(first, Math.min(count, row * columns + right));
  }
  return pairs;
}

/** Which of so many bands of one size, with gaps between, a stretch touches; the end exclusive. */
function touched(from: number, to: number, size: number, gap: number, bands: number): [number, number] {
  const first = Math.ceil((from - size) / (size + gap));
  const last = Math.floor(to / (size + gap)) + 1;
  return [Math.max(0, first), Math.min(bands, last)];
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}
