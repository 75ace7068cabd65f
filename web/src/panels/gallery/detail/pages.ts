/** What an asset left behind, newest first: a first page, and older ones when somebody wants them. */

import { onScopeDispose, ref, shallowRef, watch, type Ref, type ShallowRef } from "vue";
import { askJson, Problem } from "../../../api/client";

interface Page<T> {
  readonly items: readonly T[];
  readonly next_cursor: number | null;
}

export interface Pages<T> {
  readonly items: ShallowRef<readonly T[]>;
  readonly hasMore: Ref<boolean>;
  readonly isReading: Ref<boolean>;
  /** They are still those of the asset before. */
  readonly isStale: Ref<boolean>;
  readonly problem: ShallowRef<Problem | null>;
  more(): void;
}

/** Read pages of an asset's past; when `revision` grows, what is new comes in front and the rest stays. */
export function usePages<T>(
  uid: () => string,
  revision: () => number,
  what: "history" | "provenance",
  numberOf: (item: T) => number,
): Pages<T> {
  const items = shallowRef<readonly T[]>([]);
  const hasMore = ref(false);
  const isReading = ref(false);
  const isStale = ref(false);
  const problem = shallowRef<Problem | null>(null);
  let next: number | null = null;
  let asking: AbortController | null = null;

  async function read(cursor: number | null, take: (page: Page<T>) => void): Promise<void> {
    asking?.abort();
    const { signal } = (asking = new AbortController());
    isReading.value = true;
    try {
      const params = cursor === null ? undefined : new URLSearchParams({ cursor: String(cursor) });
      const page = await askJson<Page<T>>(`assets/${uid()}/${what}`, { params, signal });
      if (signal.aborted) return;
      take(page);
      problem.value = null;
    } catch (error) {
      if (signal.aborted) return;
      if (isStale.value) replace({ items: [], next_cursor: null });
      problem.value = error instanceof Problem ? error : new Problem(0, "fault", String(error));
    }
    hasMore.value = next !== null;
    isReading.value = isStale.value = false;
  }

  function replace(page: Page<T>): void {
    items.value = page.items;
    next = page.next_cursor;
  }

  /** Put a newer first page in front; without a common row there may be a gap, and it begins anew. */
  function refresh(page: Page<T>): void {
    const last = page.items.at(-1);
    const newestKnown = items.value[0];
    if (!last || !newestKnown || numberOf(last) > numberOf(newestKnown)) return replace(page);
    const kept = items.value.filter((item) => numberOf(item) < numberOf(last));
    items.value = [...page.items, ...kept];
    if (!kept.length) next = page.next_cursor;
  }

  watch(
    uid,
    () => {
      isStale.value = true;
      void read(null, replace);
    },
    { immediate: true },
  );
  watch(revision, () => void read(null, isStale.value ? replace : refresh));
  onScopeDispose(() => asking?.abort());
  return {
    items,
    hasMore,
    isReading,
    isStale,
    problem,
    more: () =>
      void read(next, (page) => {
        items.value = [...items.value, ...page.items];
        next = page.next_cursor;
      }),
  };
}
