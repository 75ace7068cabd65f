/** Files on their way into the library: chosen, sent a few at a time, each with what became of it. */

import { computed, ref, shallowReactive, shallowRef, watch, type Ref, type ShallowRef } from "vue";
import { Problem, type AssetRecord, type SessionAnswer } from "../api/client";
import { Broken, Busy, upload, type Upload, type UploadAnswer } from "../api/upload";
import { sentOf, takeBatch, tallied, targetOf, whyTooLarge, type Plan, type Target } from "../core/imports";
import { EVERYTHING } from "../core/query";
import { assets } from "../core/tags";
import type { Edits } from "./edits";
import type { Gallery } from "./gallery";
import type { Toasts } from "./toasts";

export type ImportState = "ready" | "waiting" | "sending" | "storing" | "new" | "known" | "refused" | "cancelled";

/** A file that was chosen; `folder` is the one it was chosen with, "" for none. */
export interface Picked {
  readonly file: File;
  readonly folder: string;
}

export interface ImportItem extends Picked {
  readonly key: number;
  readonly size: number;
  state: ImportState;
  sentBytes: number;
  /** Why it was refused. */
  why: string;
  asset: AssetRecord | null;
  /** As the form said when it was sent. */
  plan: Plan;
  target: Target;
}

interface Shared {
  readonly edits: Edits;
  readonly gallery: Gallery;
  readonly toasts: Toasts;
  readonly session: ShallowRef<SessionAnswer | null>;
  readonly needsToken: Ref<boolean>;
}

/** The server gives one sender half of its places for uploads, four by default; another tab may want one. */
const AT_ONCE = 3;
const MOST_TRIES = 8;
const BROKEN_WAIT_S = 2;
const NOT_AGAIN = new Set([401, 403]);

const PLAN: Plan = { type: "", folder: "", keepsFolders: true, license: "", tags: [], changesKnown: false };
const UNSET: Target = { type: "", folder: "" };
const NOTHING = { operations: [] as readonly number[], fresh: 0, changed: 0 };

export class Imports {
  readonly isOpen = ref(false);
  readonly plan = shallowRef<Plan>(PLAN);
  readonly items = shallowRef<readonly ImportItem[]>([]);
  /** Grows with each change of an item. */
  readonly version = ref(0);
  readonly isRunning = ref(false);
  /** The server has no room, or can't be reached: till something goes on. */
  readonly waitsFor = ref("");
  /** Files of folders that nobody made to keep. */
  readonly leftOut = ref(0);
  /** Folders are being read. */
  readonly isReading = ref(false);

  readonly counts = computed(() => {
    void this.version.value;
    const counts = { ready: 0, waiting: 0, sending: 0, storing: 0, new: 0, known: 0, refused: 0, cancelled: 0 };
    let bytes = 0;
    let sentBytes = 0;
    for (const item of this.items.value) {
      counts[item.state]++;
      bytes += item.size;
      sentBytes += isDone(item) ? item.size : item.sentBytes;
    }
    const total = this.items.value.length - counts.ready;
    return { ...counts, bytes, sentBytes, total, done: counts.new + counts.known + counts.refused + counts.cancelled };
  });

  private readonly queue: ImportItem[] = [];
  private readonly underWay = new Map<Upload, ImportItem[]>();
  private workers = 0;
  private nextKey = 1;
  private drawing = 0;
  /** What came in and is not told yet: its operations, and how many assets are new or were changed. */
  private untold = NOTHING;
  /** Ends the waiting for a server that has no room. */
  private cancelling = new AbortController();

  constructor(private readonly studio: Shared) {
    addEventListener("beforeunload", (event) => {
      if (this.isRunning.value) event.preventDefault();
    });
  }

  add(picked: readonly Picked[]): void {
    const most = this.studio.session.value?.limits.upload_bytes ?? Infinity;
    const added = picked.map(({ file, folder }): ImportItem => {
      const why = whyTooLarge(file.size, most);
      const state = why === "" ? "ready" : "refused";
      return shallowReactive({
        key: this.nextKey++, file, folder, size: file.size, state, sentBytes: 0, why, asset: null, plan: PLAN, target: UNSET,
      });
    });
    this.items.value = [...this.items.value, ...added];
    this.isOpen.value = true;
  }

  remove(item: ImportItem): void {
    this.items.value = this.items.value.filter((each) => each !== item);
  }

  /** Send what is ready, as the form says now. */
  start(): void {
    this.send((item) => item.state === "ready");
  }

  /** Send again what was refused or cancelled, as the form says now. */
  tryAgain(): void {
    const most = this.studio.session.value?.limits.upload_bytes ?? Infinity;
    this.send(({ state, size }) => (state === "refused" || state === "cancelled") && size <= most);
  }

  /** What is not wholly sent yet stays here. */
  cancel(): void {
    this.cancelling.abort();
    this.cancelling = new AbortController();
    for (const item of this.queue.splice(0)) this.set(item, "cancelled");
    for (const [sent, items] of this.underWay) if (items.some((item) => item.state === "sending")) sent.abort();
  }

  /** Put the dialog away: what runs goes on, what was chosen waits, what is done is forgotten. */
  close(): void {
    this.isOpen.value = false;
    if (this.isRunning.value) {
      this.studio.toasts.info("The import goes on. Its button in the menu bar shows how far it is.");
    } else if (this.counts.value.ready) {
      this.note();
    } else {
      this.forget();
    }
  }

  /** Forget what was chosen and what is done. */
  forget(): void {
    this.isOpen.value = false;
    this.note();
    this.items.value = [];
    this.leftOut.value = 0;
    this.plan.value = PLAN;
  }

  /** Select the assets that came in or were there already, in the whole library, the newest first. */
  show(items: readonly ImportItem[] = this.items.value): void {
    const { gallery } = this.studio;
    const ids = items.flatMap(({ asset }) => (asset ? [asset.id] : []));
    const newest = ids.reduce((a, b) => Math.max(a, b), 0);
    gallery.ask(EVERYTHING);
    gallery.select((selection) => selection.set(ids));
    const stop = watch(
      gallery.order,
      (order) => {
        if (order.indexOf(newest) < 0) return;
        gallery.focusId.value = newest;
        void Promise.resolve().then(() => stop());
      },
      { immediate: true },
    );
    this.close();
  }

  private send(isMeant: (item: ImportItem) => boolean): void {
    const plan = this.plan.value;
    for (const item of this.items.value) {
      if (!isMeant(item)) continue;
      item.plan = plan;
      item.target = targetOf(item.folder, plan);
      this.set(item, "waiting");
      this.queue.push(item);
    }
    this.isRunning.value = this.queue.length > 0 || this.workers > 0;
    while (this.workers < AT_ONCE && this.workers < this.queue.length) void this.work();
  }

  private async work(): Promise<void> {
    this.workers++;
    const most = this.studio.session.value?.limits.upload_bytes ?? Infinity;
    try {
      for (;;) {
        const batch = takeBatch(this.queue, goTogether, most);
        if (!batch.length) break;
        await this.deliver(batch, 1);
      }
    } finally {
      this.workers--;
      if (!this.workers) this.end();
    }
  }

  private async deliver(batch: ImportItem[], tries: number): Promise<void> {
    const { signal } = this.cancelling;
    try {
      const answer = await this.studio.gallery.act(() => this.post(batch));
      this.waitsFor.value = "";
      this.take(batch, answer);
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") {
        for (const item of batch) this.set(item, "cancelled");
        return;
      }
      const sound = error instanceof Broken ? await this.readable(batch) : batch;
      if ((error instanceof Busy || error instanceof Broken) && sound.length && tries < MOST_TRIES) {
        for (const item of sound) this.set(item, "waiting");
        const isOurs = sound.length < batch.length;
        if (!isOurs) await this.wait(error, signal);
        if (!signal.aborted) await this.deliver(sound, isOurs ? tries : tries + 1);
        else for (const item of sound) this.set(item, "cancelled");
        return;
      }
      this.refuse(sound, error);
    }
  }

  private async post(batch: readonly ImportItem[]): Promise<UploadAnswer> {
    const { plan, target } = batch[0] ?? { plan: PLAN, target: UNSET };
    const form = new FormData();
    form.set("asset_type", target.type);
    form.set("dest_path", target.folder);
    if (plan.tags.length) form.set("metadata", JSON.stringify({ tags: plan.tags }));
    if (plan.license.trim()) form.set("license", plan.license.trim());
    form.set("keep_known", String(!plan.changesKnown));
    for (const { file } of batch) form.append("file", file, file.name);
    for (const item of batch) this.set(item, "sending");
    const sent = upload(form, (loaded, total) => {
      const parts = sentOf(batch, loaded, total);
      batch.forEach((item, at) => (item.sentBytes = parts[at] ?? 0));
      if (loaded >= total) for (const item of batch) this.set(item, "storing");
      this.draw();
    });
    this.underWay.set(sent, [...batch]);
    try {
      return await sent.answer;
    } finally {
      this.underWay.delete(sent);
    }
  }

  private take(batch: readonly ImportItem[], answer: UploadAnswer): void {
    const results = answer.items ?? [{ asset: answer.asset, error: null }];
    batch.forEach((item, at) => {
      const { asset = null, error = null } = results[at] ?? {};
      item.asset = asset;
      item.why = asset ? "" : (error?.detail ?? "The server's answer does not tell what became of it.");
      this.set(item, asset ? (asset.duplicate ? "known" : "new") : "refused");
    });
    const fresh = batch.filter(({ state }) => state === "new").length;
    const changed = batch.filter(({ state, plan }) => state === "known" && plan.changesKnown).length;
    if (answer.operation == null || fresh + changed === 0) return;
    const { untold } = this;
    this.untold = {
      operations: [...untold.operations, answer.operation],
      fresh: untold.fresh + fresh,
      changed: untold.changed + changed,
    };
  }

  /** A file that was moved or deleted since it was chosen is refused; the others are returned. */
  private async readable(batch: readonly ImportItem[]): Promise<ImportItem[]> {
    const sound: ImportItem[] = [];
    for (const item of batch) {
      try {
        await item.file.slice(0, 1).arrayBuffer();
        sound.push(item);
      } catch {
        item.why = "This file has changed or is gone since it was chosen: choose it again.";
        this.set(item, "refused");
      }
    }
    return sound;
  }

  private refuse(batch: readonly ImportItem[], error: unknown): void {
    const isBroken = error instanceof Broken;
    const why = isBroken
      ? "The server can't be reached. Is `comfyvn studio` still running?"
      : error instanceof Error ? error.message : String(error);
    const isForAll = isBroken || (error instanceof Problem && NOT_AGAIN.has(error.status));
    if (error instanceof Problem && error.needsToken) this.studio.needsToken.value = true;
    for (const item of isForAll ? [...batch, ...this.queue.splice(0)] : batch) {
      item.why = why;
      this.set(item, "refused");
    }
  }

  private async wait(error: Busy | Broken, signal: AbortSignal): Promise<void> {
    const isBusy = error instanceof Busy;
    this.waitsFor.value = isBusy ? `The server is busy: ${error.message}` : "The server can't be reached. Trying again …";
    const seconds = isBusy ? error.seconds : BROKEN_WAIT_S;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, seconds * 1_000);
      signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
    });
  }

  private end(): void {
    this.isRunning.value = false;
    this.waitsFor.value = "";
    if (this.isOpen.value) return;
    const isNoted = this.note();
    const said = `Import ended: ${this.told()}`;
    const action = { label: "Show", run: () => (this.isOpen.value = true) };
    if (this.counts.value.refused) this.studio.toasts.error(said, action);
    else if (!isNoted) this.studio.toasts.done(said, action);
  }

  /** Tell what came in, with a way back: one for all its forms. An open dialog would cover it, and says it itself. */
  private note(): boolean {
    const { operations, fresh, changed } = this.untold;
    if (!operations.length) return false;
    this.untold = NOTHING;
    const { known, cancelled } = this.counts.value;
    const more = tallied({ fresh: 0, known, refused: 0, cancelled });
    const sentence = fresh ? `Imported ${assets(fresh)}` : `Changed ${assets(changed)} by an import`;
    this.studio.edits.note(operations, sentence, more && `, ${more}`);
    return true;
  }

  /** What came of it so far. */
  told(): string {
    const { new: fresh, known, refused, cancelled } = this.counts.value;
    return tallied({ fresh, known, refused, cancelled });
  }

  private set(item: ImportItem, state: ImportState): void {
    item.state = state;
    if (state === "waiting" || state === "cancelled") item.sentBytes = 0;
    this.draw();
  }

  private draw(): void {
    if (this.drawing) return;
    this.drawing = requestAnimationFrame(() => {
      this.drawing = 0;
      this.version.value++;
    });
  }
}

function goTogether(a: ImportItem, b: ImportItem): boolean {
  return a.target.folder === b.target.folder && a.target.type === b.target.type && a.plan === b.plan;
}

function isDone({ state }: ImportItem): boolean {
  return state === "new" || state === "known" || state === "refused" || state === "cancelled";
}
