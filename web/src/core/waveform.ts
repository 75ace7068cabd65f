/** Drawing the peaks of a sound as bars. */

const GAP = 0.35;
const LEAST = 0.02;

/** Reduce peaks from 0 to 1 to so many bars, each the loudest of its part. */
export function barsOf(points: readonly number[], count: number): number[] {
  if (!points.length) return [];
  return Array.from({ length: count }, (_, bar) => {
    const first = Math.floor((bar * points.length) / count);
    const last = Math.max(first + 1, Math.floor(((bar + 1) * points.length) / count));
    return Math.max(...points.slice(first, last));
  });
}

/** The outline of bars around the middle, for an SVG path in a box of `bars.length` by 2. */
export function pathOf(bars: readonly number[]): string {
  return bars
    .map((peak, at) => {
      const half = Math.min(1, Math.max(LEAST, peak));
      return `M${at + GAP / 2} ${(1 - half).toFixed(3)}h${1 - GAP}v${(2 * half).toFixed(3)}h${GAP - 1}z`;
    })
    .join("");
}
