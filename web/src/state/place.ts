/** The address of the page as state: Back and Forward walk through it. */

import { shallowRef, type ShallowRef } from "vue";
import { readPlace, writePlace, type Place } from "../core/url";

export interface Places {
  readonly now: Readonly<ShallowRef<Place>>;
  /** Go there; "push" where Back should lead here again. */
  go(change: Partial<Place>, how?: "push" | "replace"): void;
}

export function usePlaces(): Places {
  const now = shallowRef(readPlace(location.search));
  addEventListener("popstate", () => {
    now.value = readPlace(location.search);
  });
  return {
    now,
    go(change, how = "replace") {
      const next = { ...now.value, ...change };
      const address = writePlace(next);
      const isSame = address === writePlace(now.value);
      now.value = next;
      if (isSame) return;
      const url = location.pathname + address;
      if (how === "push") history.pushState(null, "", url);
      else history.replaceState(null, "", url);
    },
  };
}
