import { describe, expect, test } from "vitest";
import { durationOf, kindOf, sizeOf, suffixOf } from "../src/core/media";

function card(path: string, preview_kind: string | null, media: Record<string, unknown> = {}) {
  return { path, preview_kind, media };
}

describe("what a file is to a person", () => {
  test("moving pictures are animations, films are those in a container of films", () => {
    expect(kindOf(card("a/blink.gif", "animation", { format: "gif" }))).toBe("animation");
    expect(kindOf(card("a/intro.webm", "animation", { format: "matroska" }))).toBe("film");
    expect(kindOf(card("a/intro.MOV", "animation"))).toBe("film");
    expect(kindOf(card("a/mara.png", "thumbnail", { format: "png" }))).toBe("picture");
    expect(kindOf(card("a/voice.m4a", "waveform", { format: "mp4" }))).toBe("sound");
    expect(kindOf(card("a/script.rpy", null))).toBe("other");
  });

  test("sizes and durations that are not told are none", () => {
    expect(sizeOf(card("a.png", "thumbnail", { width: 3, height: 2 }))).toEqual({ width: 3, height: 2 });
    expect(sizeOf(card("a.png", "thumbnail", { width: 0, height: 2 }))).toBeNull();
    expect(sizeOf(card("a.png", "thumbnail"))).toBeNull();
    expect(durationOf(card("a.ogg", "waveform", { duration_s: 2.5 }))).toBe(2.5);
    expect(durationOf(card("a.ogg", "waveform", { duration_s: "2" }))).toBe(0);
  });

  test("a file without a suffix is a file", () => {
    expect(suffixOf("a.b/README")).toBe("file");
    expect(suffixOf("a/script.RPY")).toBe("RPY");
  });
});
