/** Ways from the pane into the gallery. */

import { EVERYTHING, type Query } from "../../../core/query";
import type { Studio } from "../../../state/studio";

/** Show all that has this, and nothing else is asked for; the order stays. */
export function showAll({ gallery }: Studio, wanted: Partial<Query>): void {
  gallery.ask({ ...EVERYTHING, sort: gallery.query.sort, ...wanted });
}

/** Give an asset the focus; one that the result does not have is searched for by its uid. */
export function goTo(studio: Studio, { id, uid }: { id: number; uid: string }): void {
  const { gallery } = studio;
  if (gallery.order.value.indexOf(id) < 0) showAll(studio, { uid });
  gallery.select((selection) => selection.only(id));
  gallery.focusId.value = id;
}
