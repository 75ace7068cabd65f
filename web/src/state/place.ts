/** The address of the page as state: Back and Forward walk through it. */

import { shallowRef, type ShallowRef } from "vue";
import { readPlace, writePlace, type Place } from "../core/url";

export interface Places {
  readonly now: Readonly<ShallowRef<Place>>;
  /** Go there; "push" where Back should lead here again. */
  go(change: Partial<Place>, how?: "push" | "replace"): void;
  /** Leave what was gone to by "push", as Back does; where Back would leave the page, only go there. */
  leave(change: Partial<Place>): void;
}

/** Browsers refuse an address that is written more than about a hundred times in ten seconds. */
const REWRITE_MS = 150;

export function usePlaces(): Places {
  const now = shallowRef(readPlace(location.search));
  let writing = 0;
  let writtenAt = 0;

  const address = (): string => location.pathname + writePlace(now.value);
  const write = (): void => {
    clearTimeout(writing);
    writing = 0;
    writtenAt = Date.now();
    history.replaceState(history.state, "", address());
  };
  const flush = (): void => {
    if (writing) write();
  };

  addEventListener("pagehide", flush);
  addEventListener("popstate", () => {
    clearTimeout(writing);
    writing = 0;
    now.value = readPlace(location.search);
  });

  const places: Places = {
    now,
    go(change, how = "replace") {
      const next = { ...now.value, ...change };
      const isSame = writePlace(next) === writePlace(now.value);
      if (how === "push" && !isSame) flush();
      now.value = next;
      if (isSame) return;
      if (how === "push") history.pushState({ isPushed: true }, "", address());
      else if (Date.now() - writtenAt > REWRITE_MS) write();
      else if (!writing) writing = setTimeout(write, REWRITE_MS);
    },
    leave(change) {
      const state = history.state as { isPushed?: boolean } | null;
      if (!state?.isPushed) return places.go(change);
      addEventListener("popstate", () => places.go(change), { once: true });
      history.back();
    },
  };
  return places;
}
