/** What a file is to a person who looks at it or listens to it. */

export type Kind = "picture" | "animation" | "film" | "sound" | "other";

interface Told {
  readonly path: string;
  readonly preview_kind: string | null;
  readonly media: Readonly<Record<string, unknown>>;
}

const FILM_FORMATS = new Set(["mp4", "matroska", "avi", "mpeg"]);
const FILM_SUFFIX = /\.(mp4|m4v|mov|webm|mkv|avi|mpe?g|ogv)$/i;

export function kindOf({ path, preview_kind, media }: Told): Kind {
  if (preview_kind === "waveform") return "sound";
  if (preview_kind === "thumbnail") return "picture";
  if (preview_kind !== "animation") return "other";
  const isFilm = typeof media.format === "string" ? FILM_FORMATS.has(media.format) : FILM_SUFFIX.test(path);
  return isFilm ? "film" : "animation";
}

/** The size that a file tells, in px. */
export function sizeOf({ media }: Told): { width: number; height: number } | null {
  const { width, height } = media;
  return typeof width === "number" && typeof height === "number" && width > 0 && height > 0 ? { width, height } : null;
}

/** Seconds; 0 where the file tells none. */
export function durationOf({ media }: Pick<Told, "media">): number {
  return typeof media.duration_s === "number" && media.duration_s > 0 ? media.duration_s : 0;
}

/** What is written in large letters where there is nothing to show: "PSD", "RPY". */
export function suffixOf(path: string): string {
  return (/\.([^./]+)$/.exec(path)?.[1] ?? "file").slice(0, 8);
}
