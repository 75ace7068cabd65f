/** Reading for a pane: what is shown stays till the new answer is there, and only the newest question counts. */

import { onScopeDispose, ref, shallowRef, watch, type Ref, type ShallowRef } from "vue";
import { Problem } from "../../../api/client";

export interface Reading<T> {
  readonly answer: ShallowRef<T | null>;
  readonly problem: ShallowRef<Problem | null>;
  readonly isReading: Ref<boolean>;
  /** Ask again; the old answer stays till then. */
  again(): void;
}

/**
 * Read when `key` changes, `waitMs` after it last did. Another key drops an answer that isn't `isKept`; null stands
 * for nothing to read.
 */
export function useReading<K, T>(
  key: () => K | null,
  read: (key: K, signal: AbortSignal) => Promise<T>,
  { waitMs = 0, isKept = false } = {},
): Reading<T> {
  const answer = shallowRef<T | null>(null);
  const problem = shallowRef<Problem | null>(null);
  const isReading = ref(false);
  let asking: AbortController | null = null;
  let timer = 0;

  function stop(): void {
    clearTimeout(timer);
    asking?.abort();
    asking = null;
    isReading.value = false;
  }

  async function ask(wanted: K): Promise<void> {
    stop();
    const { signal } = (asking = new AbortController());
    isReading.value = true;
    try {
      const found = await read(wanted, signal);
      if (signal.aborted) return;
      answer.value = found;
      problem.value = null;
    } catch (error) {
      if (signal.aborted) return;
      answer.value = null;
      problem.value = error instanceof Problem ? error : new Problem(0, "fault", String(error));
    }
    isReading.value = false;
  }

  watch(
    key,
    (wanted) => {
      stop();
      if (wanted === null || !isKept) {
        answer.value = null;
        problem.value = null;
      }
      if (wanted === null) return;
      isReading.value = true;
      if (waitMs) timer = setTimeout(() => void ask(wanted), waitMs);
      else void ask(wanted);
    },
    { immediate: true },
  );
  onScopeDispose(stop);
  return {
    answer,
    problem,
    isReading,
    again() {
      const wanted = key();
      if (wanted !== null) void ask(wanted);
    },
  };
}
