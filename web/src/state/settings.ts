/** What this browser remembers of how the Studio should look. */

import { reactive, watch } from "vue";

export type Theme = "dark" | "light" | "system";

export interface Settings {
  theme: Theme;
  /** A checkerboard behind transparent pictures; dark line art is lost on dark tiles without it. */
  checkerboard: boolean;
  /** What is behind pictures in the lightbox where there is no checkerboard. */
  ground: "dark" | "light";
  volume: number;
  /** Facets and panes that are folded away. */
  folded: string[];
}

export const THEMES: readonly Theme[] = ["dark", "light", "system"];
export const THEME_NAMES: Readonly<Record<Theme, string>> = { dark: "Dark", light: "Light", system: "As the system" };

const KEY = "comfyvn-studio";
const DEFAULTS: Settings = {
  theme: "dark",
  checkerboard: true,
  ground: "dark",
  volume: 0.8,
  folded: ["facet-sampler", "facet-tool"],
};

export function useSettings(): Settings {
  const settings = reactive(read());
  const prefersLight = matchMedia("(prefers-color-scheme: light)");
  const show = (): void => {
    const isLight = settings.theme === "light" || (settings.theme === "system" && prefersLight.matches);
    document.documentElement.dataset.theme = isLight ? "light" : "dark";
  };
  prefersLight.addEventListener("change", show);
  watch(
    settings,
    () => {
      show();
      write(settings);
    },
    { immediate: true, deep: true },
  );
  return settings;
}

function read(): Settings {
  try {
    const known = JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Settings>;
    return {
      theme: known.theme === "light" || known.theme === "system" ? known.theme : DEFAULTS.theme,
      checkerboard: known.checkerboard !== false,
      ground: known.ground === "light" ? "light" : "dark",
      volume: typeof known.volume === "number" ? Math.min(1, Math.max(0, known.volume)) : DEFAULTS.volume,
      folded: Array.isArray(known.folded) ? known.folded.filter((each) => typeof each === "string") : [...DEFAULTS.folded],
    };
  } catch {
    return { ...DEFAULTS, folded: [...DEFAULTS.folded] };
  }
}

function write(settings: Settings): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // a browser that keeps nothing: the settings last as long as the page
  }
}
