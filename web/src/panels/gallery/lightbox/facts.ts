/** What the lightbox says of an asset in a line. */

import type { Card } from "../../../api/client";
import { durationOf, sizeOf } from "../../../core/media";
import { bytes, duration, fileName } from "../../../core/text";

export function nameOf(card: Card): string {
  return fileName(card.path);
}

export function factsOf(card: Card): string {
  const size = sizeOf(card);
  const length = durationOf(card);
  const format = typeof card.media.format === "string" ? card.media.format.toUpperCase() : "";
  return [size ? `${size.width} × ${size.height}` : "", length ? duration(length) : "", format, bytes(card.bytes)]
    .filter(Boolean)
    .join(" · ");
}
