/** Whether the filters are seen: beside the grid, or over it as a drawer in a narrow window. */

import { computed, nextTick, onUnmounted, ref, type ComputedRef, type Ref } from "vue";
import { useStudio } from "../../../state/studio";

const NARROW = "(max-width: 900px)";
const FOLDED = "filters";

interface Side {
  readonly isSideShown: ComputedRef<boolean>;
  readonly isNarrow: Ref<boolean>;
  hideSide(event?: Event): void;
}

/** `leave` puts the focus on the grid. */
export function useSide(side: Ref<HTMLElement | undefined>, leave: () => void): Side {
  const { commands, settings } = useStudio();
  const query = matchMedia(NARROW);
  const isNarrow = ref(query.matches);
  const isDrawn = ref(false);
  const isSideShown = computed(() => (isNarrow.value ? isDrawn.value : !settings.folded.includes(FOLDED)));

  const onChange = (): void => {
    isNarrow.value = query.matches;
    isDrawn.value = false;
  };
  query.addEventListener("change", onChange);
  onUnmounted(() => query.removeEventListener("change", onChange));

  function show(isShown: boolean): void {
    const hadFocus = side.value?.contains(document.activeElement) === true;
    if (isNarrow.value) isDrawn.value = isShown;
    else settings.folded = [...settings.folded.filter((each) => each !== FOLDED), ...(isShown ? [] : [FOLDED])];
    if (isShown) void nextTick(() => side.value?.querySelector<HTMLElement>("button, input")?.focus());
    else if (hadFocus) leave();
  }

  commands.handle({ filters: () => show(!isSideShown.value) });

  return {
    isSideShown,
    isNarrow,
    hideSide: (event) => {
      event?.stopPropagation();
      show(false);
    },
  };
}
