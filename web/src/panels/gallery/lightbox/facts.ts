/** What the lightbox says of an asset in a line. */

import type { Card } from "../../../api/client";
import { durationOf, kindOf, sizeOf, suffixOf } from "../../../core/media";
import { bytes, duration, fileName } from "../../../core/text";

export function nameOf(card: Card): string {
  return fileName(card.path);
}

export function factsOf(card: Card): string {
  const size = sizeOf(card);
  const length = durationOf(card);
  const isPicture = kindOf(card) === "picture" || kindOf(card) === "animation";
  const told = isPicture && typeof card.media.format === "string" ? card.media.format : suffixOf(card.path);
  const facts = [told.toUpperCase(), bytes(card.bytes)];
  if (length) facts.unshift(duration(length));
  if (size) facts.unshift(`${size.width} × ${size.height}`);
  return facts.join(" · ");
}
