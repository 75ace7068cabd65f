/** Selecting by a rectangle drawn from empty space; it scrolls along at the edges. */

import { onScopeDispose, shallowRef, type Ref, type ShallowRef } from "vue";
import { within, type Geometry, type Rect } from "../../../core/grid";
import { useStudio } from "../../../state/studio";

const EDGE_PX = 36;
const FASTEST_PX = 28;
const SLACK_PX = 4;

interface Options {
  scroller: Ref<HTMLElement | undefined>;
  geometry: Readonly<Ref<Geometry>>;
  /** What is at the top of the viewport, in px of the content. */
  offset: Readonly<Ref<number>>;
  padding: number;
  scrollBy(px: number): void;
}

/** Ctrl adds to the selection, Ctrl+Shift takes out of it; a click on empty space selects nothing. */
export function useMarquee(options: Options): {
  /** What is drawn, in px of the content; null when nothing is. */
  rect: ShallowRef<Rect | null>;
  begin(event: PointerEvent): void;
} {
  const { gallery } = useStudio();
  const rect = shallowRef<Rect | null>(null);
  let end = (): void => {};

  function begin(event: PointerEvent): void {
    const scroller = options.scroller.value;
    if (!scroller) return;
    const hasControl = event.ctrlKey || event.metaKey;
    const isTakenOut = hasControl && event.shiftKey;
    const before = hasControl ? gallery.selection.ids() : [];
    const from = position(scroller, event);
    let pointer: { clientX: number; clientY: number } = event;
    let frame = 0;

    const draw = (): void => {
      const to = position(scroller, pointer);
      const drawn = between(from, to);
      if (!rect.value && drawn.right - drawn.left < SLACK_PX && drawn.bottom - drawn.top < SLACK_PX) return;
      rect.value = drawn;
      const ids = idsWithin(drawn);
      gallery.select((selection) => {
        selection.set(before);
        if (isTakenOut) selection.remove(ids);
        else selection.add(ids);
      });
    };
    const step = (): void => {
      const box = scroller.getBoundingClientRect();
      const above = box.top + EDGE_PX - pointer.clientY;
      const below = pointer.clientY - (box.bottom - EDGE_PX);
      const px = above > 0 ? -speed(above) : below > 0 ? speed(below) : 0;
      if (px && rect.value) {
        options.scrollBy(px);
        draw();
      }
      frame = requestAnimationFrame(step);
    };
    const onMove = (moved: PointerEvent): void => {
      pointer = moved;
      draw();
    };
    const onUp = (): void => {
      if (!rect.value && !hasControl && !event.shiftKey) gallery.select((selection) => selection.clear());
      end();
    };
    end = () => {
      cancelAnimationFrame(frame);
      removeEventListener("pointermove", onMove);
      removeEventListener("pointerup", onUp);
      removeEventListener("pointercancel", onUp);
      rect.value = null;
      end = () => {};
    };
    addEventListener("pointermove", onMove);
    addEventListener("pointerup", onUp);
    addEventListener("pointercancel", onUp);
    frame = requestAnimationFrame(step);
  }

  function position(scroller: HTMLElement, event: { clientX: number; clientY: number }): { x: number; y: number } {
    const box = scroller.getBoundingClientRect();
    return {
      x: event.clientX - box.left - options.padding,
      y: event.clientY - box.top - options.padding + options.offset.value,
    };
  }

  function idsWithin(drawn: Rect): number[] {
    const ranges = within(options.geometry.value, drawn);
    const { ids } = gallery.order.value;
    const found: number[] = [];
    for (let at = 0; at < ranges.length; at += 2) {
      for (let index = ranges[at] ?? 0; index < (ranges[at + 1] ?? 0); index++) {
        const id = ids[index];
        if (id !== undefined) found.push(id);
      }
    }
    return found;
  }

  onScopeDispose(() => end());
  return { rect, begin };
}

function between(a: { x: number; y: number }, b: { x: number; y: number }): Rect {
  return {
    left: Math.max(0, Math.min(a.x, b.x)),
    top: Math.max(0, Math.min(a.y, b.y)),
    right: Math.max(a.x, b.x),
    bottom: Math.max(a.y, b.y),
  };
}

function speed(px: number): number {
  return Math.min(FASTEST_PX, 2 + px / 2);
}
