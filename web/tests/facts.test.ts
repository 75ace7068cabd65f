import { describe, expect, it } from "vitest";
import { factsOf, inWords, tagsOfFile } from "../src/core/facts";

describe("factsOf", () => {
  it("writes the facts of a film in words and in a fixed order", () => {
    const media = {
      recipe: 1,
      audio_codec: "opus",
      codec: "vp9",
      duration_s: 65.2,
      format: "matroska",
      frame_rate: 29.97003,
      has_alpha: true,
      height: 720,
      loudness_lufs: -14.26,
      width: 1280,
      sample_rate: 44100,
      channels: 2,
    };

    expect(factsOf(media).map(({ name, value }) => `${name}: ${value}`)).toEqual([
      "Format: Matroska",
      "Dimensions: 1,280 × 720 px",
      "Duration: 1:05",
      "Frame rate: 29.97 a second",
      "Codec: VP9",
      "Sound codec: Opus",
      "Channels: stereo",
      "Sample rate: 44.1 kHz",
      "Loudness: −14.3 LUFS",
      "Transparency: yes",
    ]);
  });

  it("keeps what is new to it, and leaves out what has no value", () => {
    expect(factsOf({ format: "png", pixel_art: true, note: null })).toEqual([
      { name: "Format", value: "PNG" },
      { name: "Pixel art", value: "yes" },
    ]);
  });

  it("tells a very short sound in parts of a second", () => {
    expect(factsOf({ duration_s: 0.254 })).toEqual([{ name: "Duration", value: "0.25 s" }]);
  });
});

describe("tagsOfFile", () => {
  it("names the file's own tags", () => {
    expect(tagsOfFile({ tags: { title: "Rain", loop_start: 4410 } })).toEqual([
      { name: "Title", value: "Rain" },
      { name: "Loop start", value: "4410" },
    ]);
    expect(tagsOfFile({})).toEqual([]);
  });
});

describe("inWords", () => {
  it("writes any value of metadata in one line", () => {
    expect([["a", 1, true], { a: [1] }, null, "x", false].map(inWords)).toEqual([
      "a, 1, yes",
      '{"a":[1]}',
      "",
      "x",
      "no",
    ]);
  });
});
