/** What a file tells about itself, in words. */

import { duration, number } from "./text";

export interface Fact {
  readonly name: string;
  readonly value: string;
}

type Media = Readonly<Record<string, unknown>>;

const FORMATS: Readonly<Record<string, string>> = {
  jpeg2000: "JPEG 2000",
  matroska: "Matroska",
  ogg: "Ogg",
  webp: "WebP",
};
const CODECS: Readonly<Record<string, string>> = {
  aac: "AAC",
  av1: "AV1",
  flac: "FLAC",
  h264: "H.264",
  hevc: "H.265",
  mp3: "MP3",
  opus: "Opus",
  theora: "Theora",
  vorbis: "Vorbis",
  vp8: "VP8",
  vp9: "VP9",
};
/** Facts that are told in another place, or that only our own reader needs. */
const UNTOLD = new Set(["format", "width", "height", "tags", "recipe", "stamped", "not_stamped_because"]);

const NAMES: Readonly<Record<string, string>> = {
  duration_s: "Duration",
  frame_rate: "Frame rate",
  frames: "Frames",
  loops: "Plays",
  pages: "Pages",
  codec: "Codec",
  audio_codec: "Sound codec",
  channels: "Channels",
  sample_rate: "Sample rate",
  bit_rate: "Bit rate",
  loudness_lufs: "Loudness",
  mode: "Colours",
  bit_depth: "Bits a channel",
  has_alpha: "Transparency",
  has_icc: "Colour profile",
};
const MODES: Readonly<Record<string, string>> = {
  "1": "black and white",
  CMYK: "CMYK",
  L: "greyscale",
  LA: "greyscale with alpha",
  P: "palette",
  RGB: "RGB",
  RGBA: "RGB with alpha",
};

const WRITERS: Readonly<Record<string, (value: number) => string>> = {
  bit_rate: (value) => `${number(Math.round(value / 1000))} kbit/s`,
  channels: (value) => ({ 1: "mono", 2: "stereo" })[value] ?? number(value),
  duration_s: (value) => (value < 10 ? `${decimal(value)} s` : duration(value)),
  frame_rate: (value) => `${decimal(value)} a second`,
  loops: (value) => (value === 0 ? "for ever" : value === 1 ? "once" : `${number(value)} times`),
  loudness_lufs: (value) => `${value.toFixed(1).replace("-", "−")} LUFS`,
  sample_rate: (value) => `${decimal(value / 1000)} kHz`,
};

/** The facts of a file in a fixed order; what is new to us comes last under its own name. */
export function factsOf(media: Media): Fact[] {
  const facts: Fact[] = [];
  const { format, width, height } = media;
  if (typeof format === "string") {
    facts.push({ name: "Format", value: FORMATS[format] ?? format.toUpperCase() });
  }
  if (typeof width === "number" && typeof height === "number") {
    facts.push({ name: "Dimensions", value: `${number(width)} × ${number(height)} px` });
  }
  const others = Object.keys(media).filter((key) => !UNTOLD.has(key));
  const known = Object.keys(NAMES).filter((key) => others.includes(key));
  for (const key of [...known, ...others.filter((each) => !(each in NAMES))]) {
    const value = written(key, media[key]);
    if (value) facts.push({ name: NAMES[key] ?? plain(key), value });
  }
  return facts;
}

/** The file's own tags, such as its title. */
export function tagsOfFile(media: Media): Fact[] {
  const { tags } = media;
  if (tags === null || typeof tags !== "object") return [];
  return Object.entries(tags).map(([key, value]) => ({ name: plain(key), value: inWords(value) }));
}

/** A value of metadata in one line; nested ones as JSON. */
export function inWords(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "string") return value;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") return String(value);
  if (Array.isArray(value) && value.every((each) => typeof each !== "object" || each === null)) {
    return value.map(inWords).join(", ");
  }
  return JSON.stringify(value);
}

function written(key: string, value: unknown): string {
  if (typeof value === "number") return (WRITERS[key] ?? (key in NAMES ? number : String))(value);
  if (typeof value === "string") {
    if (key === "mode") return MODES[value] ?? value;
    if (key.endsWith("codec")) return CODECS[value] ?? value;
  }
  return inWords(value);
}

function decimal(value: number): string {
  return String(Math.round(value * 100) / 100);
}

/** "loop_start" as "Loop start". */
function plain(key: string): string {
  const words = key.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
