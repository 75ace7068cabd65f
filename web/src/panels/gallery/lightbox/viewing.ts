/** What Space and Compare do in the gallery. */

import { kindOf } from "../../../core/media";
import { useStudio } from "../../../state/studio";

const MOST_COMPARED = 4;

export function useViewing(): void {
  const { commands, gallery, places, player, toasts } = useStudio();

  const focused = () => {
    void gallery.rowsVersion.value;
    return gallery.focusId.value === null ? undefined : gallery.rows.get(gallery.focusId.value);
  };

  async function compare(): Promise<void> {
    const { order, selection } = gallery;
    if (selection.size > MOST_COMPARED) {
      toasts.info("At most four assets can be compared: select two to four.");
      return;
    }
    const place = (id: number): number => {
      const at = order.value.indexOf(id);
      return at < 0 ? order.value.length : at;
    };
    const ids = selection.ids().sort((a, b) => place(a) - place(b));
    try {
      const cards = await gallery.rows.read(ids, new AbortController().signal);
      const isOpen = places.now.value.lightbox.length > 0;
      if (cards.length > 1) places.go({ lightbox: cards.map((card) => card.uid) }, isOpen ? "replace" : "push");
    } catch (error) {
      toasts.error(error);
    }
  }

  commands.handle({
    compare: {
      isPossible: () => gallery.selectionVersion.value >= 0 && gallery.selection.size > 1,
      run: () => void compare(),
      whyNot: () => "Select two to four assets to compare them.",
    },
    play: {
      isPossible: () => {
        const card = focused();
        return card !== undefined && !["picture", "other"].includes(kindOf(card));
      },
      run: () => {
        const card = focused();
        if (card && kindOf(card) === "sound") player.toggle(card);
        else if (card) player.toggleMotion(card.uid);
      },
    },
  });
}
