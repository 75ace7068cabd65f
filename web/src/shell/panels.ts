/** The Studio's panels: what the menu Panels lists, and where each one lies. */

import { defineAsyncComponent, type Component } from "vue";
import Gallery from "../panels/gallery/GalleryPanel.vue";

export interface Panel {
  readonly id: string;
  readonly title: string;
  readonly dock: "centre" | "right" | "bottom";
  readonly component: Component;
}

export const PANELS: readonly Panel[] = [
  { id: "gallery", title: "Asset Gallery", dock: "centre", component: Gallery },
  {
    id: "history",
    title: "History",
    dock: "bottom",
    component: defineAsyncComponent(() => import("../panels/operations/OperationsPanel.vue")),
  },
];
