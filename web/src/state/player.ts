/** The one player of sounds in the page, and what moves in it. */

import { computed, ref, shallowRef, watch, type ShallowRef } from "vue";
import { addressOf, ask, askJson, fileOf, Problem, type AssetRecord } from "../api/client";
import { durationOf } from "../core/media";
import { fileName } from "../core/text";
import type { Settings } from "./settings";
import type { Toasts } from "./toasts";

/** A sound that can be played: a card or a record. */
export interface Sound {
  readonly uid: string;
  readonly path: string;
  readonly version: number;
  readonly media: Readonly<Record<string, unknown>>;
}

export interface Fault {
  readonly uid: string;
  readonly text: string;
}

export class Player {
  /** What is played or paused. */
  readonly sound = shallowRef<Sound | null>(null);
  readonly isPlaying = ref(false);
  readonly durationS = ref(0);
  /** Why the last sound could not be played. */
  readonly fault = shallowRef<Fault | null>(null);
  /** The asset whose moving preview somebody has started or stopped himself. */
  readonly moved = shallowRef<{ readonly uid: string; readonly doesMove: boolean } | null>(null);
  readonly prefersStill: ShallowRef<boolean>;
  /** Whether the last thing that somebody did was to press a key. */
  readonly isByKey = ref(false);
  readonly uid = computed(() => this.sound.value?.uid ?? null);
  /** Sounds with a player in view, which says itself what is wrong. */
  readonly inView = new Set<string>();

  private readonly positionS = ref(0);
  /** Where sounds that are not played will begin. */
  private readonly starts = shallowRef<ReadonlyMap<string, number>>(new Map());
  private readonly audio = new Audio();
  private frame = 0;

  constructor(
    private readonly settings: Settings,
    private readonly toasts: Toasts,
    changed: Readonly<ShallowRef<ReadonlySet<string>>>,
  ) {
    const reduced = matchMedia("(prefers-reduced-motion: reduce)");
    this.prefersStill = shallowRef(reduced.matches);
    reduced.addEventListener("change", () => (this.prefersStill.value = reduced.matches));
    addEventListener("keydown", () => (this.isByKey.value = true), { capture: true, passive: true });
    addEventListener("pointermove", () => (this.isByKey.value = false), { capture: true, passive: true });
    const { audio } = this;
    audio.preload = "auto";
    audio.addEventListener("play", () => this.follow());
    audio.addEventListener("pause", () => this.follow());
    audio.addEventListener("ended", () => this.rewind());
    audio.addEventListener("seeked", () => this.follow());
    audio.addEventListener("durationchange", () => {
      if (Number.isFinite(audio.duration)) this.durationS.value = audio.duration;
    });
    audio.addEventListener("error", () => void this.explain());
    watch(
      () => this.settings.volume,
      (volume) => (audio.volume = volume),
      { immediate: true },
    );
    watch(changed, (uids) => {
      if (this.uid.value !== null && uids.has(this.uid.value)) void this.lookAgain();
    });
  }

  isPlayed(uid: string): boolean {
    return this.uid.value === uid && this.isPlaying.value;
  }

  /** Where a sound stands, in seconds. */
  position(uid: string): number {
    return this.uid.value === uid ? this.positionS.value : (this.starts.value.get(uid) ?? 0);
  }

  toggle(sound: Sound): void {
    // what is told of the element comes a moment later, and a second press in between means the other
    if (this.uid.value === sound.uid && !this.audio.paused) this.pause();
    else this.play(sound);
  }

  play(sound: Sound): void {
    const { audio } = this;
    const now = this.sound.value;
    if (now?.uid !== sound.uid || now.version !== sound.version || this.fault.value) this.load(sound);
    // refused without a fault: nobody has touched the page yet, or something else is played by now
    audio.play().catch(() => this.follow());
  }

  pause(): void {
    this.audio.pause();
  }

  /** Go to a place in a sound; what is not played will begin there. */
  seek(sound: Sound, seconds: number): void {
    const wanted = Math.max(0, Math.min(seconds, this.lengthOf(sound)));
    if (this.uid.value !== sound.uid) {
      this.starts.value = new Map(this.starts.value).set(sound.uid, wanted);
      return;
    }
    this.audio.currentTime = wanted;
    this.positionS.value = wanted;
  }

  lengthOf(sound: Sound): number {
    const told = durationOf(sound);
    return this.uid.value === sound.uid ? this.durationS.value || told : told;
  }

  stop(): void {
    this.audio.pause();
    this.audio.removeAttribute("src");
    this.audio.load();
    this.sound.value = null;
    this.follow();
  }

  /** Start or stop the moving preview of the asset that has the focus. */
  toggleMotion(uid: string): void {
    const now = this.moved.value;
    const doesMove = now?.uid === uid ? now.doesMove : !this.prefersStill.value;
    this.moved.value = { uid, doesMove: !doesMove };
  }

  private load(sound: Sound): void {
    const from = this.position(sound.uid);
    const starts = new Map(this.starts.value);
    starts.delete(sound.uid);
    this.starts.value = starts;
    this.fault.value = null;
    this.sound.value = sound;
    this.durationS.value = durationOf(sound);
    this.positionS.value = from;
    this.audio.src = fileOf(sound);
    if (from) this.audio.currentTime = from;
  }

  private rewind(): void {
    this.audio.currentTime = 0;
    this.follow();
  }

  private follow(): void {
    cancelAnimationFrame(this.frame);
    const { audio } = this;
    this.isPlaying.value = this.sound.value !== null && !audio.paused && !audio.ended && !audio.error;
    if (!audio.error) this.positionS.value = audio.currentTime;
    if (this.isPlaying.value) this.frame = requestAnimationFrame(() => this.follow());
  }

  /** A media element says only that it failed: ask the server whether it is the reason. */
  private async explain(): Promise<void> {
    const sound = this.sound.value;
    if (!sound) return;
    const text = await reasonOf(sound);
    if (this.sound.value !== sound) return;
    this.isPlaying.value = false;
    this.fault.value = { uid: sound.uid, text };
    if (!this.inView.has(sound.uid)) this.toasts.error(text, { label: "Download", run: () => download(sound) });
  }

  /** It was changed or removed by somebody. */
  private async lookAgain(): Promise<void> {
    const sound = this.sound.value;
    if (!sound) return;
    try {
      const { asset } = await askJson<{ asset: AssetRecord }>(`assets/${sound.uid}`);
      if (asset.version === sound.version || this.sound.value !== sound) return;
      this.end(sound, `${fileName(sound.path)} has changed: play it again to hear it as it is now.`);
    } catch (error) {
      if (error instanceof Problem && error.status === 404 && this.sound.value === sound) {
        this.end(sound, `${fileName(sound.path)} was removed.`);
      }
    }
  }

  private end(sound: Sound, why: string): void {
    const wasPlaying = this.isPlayed(sound.uid);
    this.stop();
    if (wasPlaying) this.toasts.info(why);
  }
}

function download({ uid, path }: Sound): void {
  const link = document.createElement("a");
  link.href = addressOf(uid, "download", new URLSearchParams({ filename: fileName(path) }).toString());
  link.download = "";
  link.click();
}

/** Why a browser that was given the address of a sound or a film plays nothing. */
export async function reasonOf({ uid, path }: { uid: string; path: string }): Promise<string> {
  try {
    const answer = await ask(`assets/${uid}/download`, { headers: { range: "bytes=0-0" } });
    await answer.body?.cancel();
    return `This browser can't play ${fileName(path)}: download it to hear or see it.`;
  } catch (error) {
    return error instanceof Problem ? error.message : String(error);
  }
}
