/** How assets leave the gallery: as debug JSON, as paths, as files, or shown in the file manager. */

import { computed, ref } from "vue";
import {
  addressOf,
  ask,
  Problem,
  readCards,
  readRecord,
  readRecords,
  type AssetRecord,
  type Card,
} from "../api/client";
import { debugJson } from "../core/debug";
import { assets } from "../core/tags";
import { bytes, fileName, number } from "../core/text";
import { save } from "./clipboard";
import type { Studio } from "./studio";

type Shared = Pick<Studio, "clipboard" | "edits" | "gallery" | "session" | "toasts">;
type Ids = readonly number[];

const WITH_INPUTS = 20;
const MOST_COPIED = 1_000;
const MOST_COPIED_BYTES = 5_000_000;
const MOST_WRITTEN = 20_000;
const MOST_DOWNLOADS = 10;
/** A browser that is asked for several files at once takes only the last. */
const BETWEEN_DOWNLOADS_MS = 300;
const AT_ONCE = 200;
const WORTH_A_WORD = 400;

/** More than a clipboard should hold; it becomes a file. */
class TooMuch extends Error {
  constructor(readonly parts: string[]) {
    super("too much for the clipboard");
  }
}

export class Exchange {
  /** This browser sits before the server's machine, which has a desktop as far as is known. */
  readonly canReveal = computed(() => {
    const session = this.studio.session.value;
    if (session === null || this.hasNoDesktop.value) return false;
    return session.can_reveal && session.scope !== "assets.read";
  });

  private readonly hasNoDesktop = ref(false);
  private reading: AbortController | null = null;

  constructor(private readonly studio: Shared) {}

  /** Copy whole records of what is selected; very many are saved as a file. */
  async copyJson(ids: Ids = this.studio.edits.targets()): Promise<void> {
    if (!this.isFew(ids, "Debug JSON")) return;
    await this.trying(async (signal) => {
      const records = this.readRecords(ids, signal);
      const told = records.then((found) => assets(found.length));
      const parts = records.then((found) => {
        const { version = null, project = null } = this.studio.session.value ?? {};
        return debugJson(found, version, project);
      });
      const name = `comfyvn-debug-${new Date().toISOString().slice(0, 10)}.json`;
      const text = parts.then((written) => {
        const whole = ids.length > MOST_COPIED ? null : written.join("");
        if (whole === null || whole.length > MOST_COPIED_BYTES) throw new TooMuch(written);
        return whole;
      });
      try {
        const isCopied = await this.studio.clipboard.copy(text, "Debug JSON", name);
        const size = bytes(new Blob([await text]).size);
        if (isCopied) this.studio.toasts.done(`Copied ${await told}, ${size} of JSON`);
      } catch (error) {
        if (!(error instanceof TooMuch)) throw error;
        const file = new Blob(error.parts, { type: "application/json" });
        save(file, name);
        this.studio.toasts.done(`${await told}, ${bytes(file.size)} of JSON: saved as ${name}`);
      }
    });
  }

  /** Copy the paths below the assets folder, one a line: where that folder is, the server doesn't tell. */
  async copyPaths(ids: Ids = this.studio.edits.targets()): Promise<void> {
    if (!this.isFew(ids, "Copying paths")) return;
    await this.trying(async (signal) => {
      const paths = this.readCards(ids, signal).then((cards) => cards.map((card) => card.path));
      const text = paths.then((found) => found.join("\n"));
      if (!(await this.studio.clipboard.copy(text, "Paths from the assets folder", "paths.txt"))) return;
      const [first = "", ...more] = await paths;
      const what = more.length ? `${number(more.length + 1)} paths` : first;
      this.studio.toasts.done(`Copied ${what} (from the assets folder)`);
    });
  }

  /** Show the file that has the focus in the file manager of this machine. */
  async reveal(ids: Ids = this.studio.edits.targets()): Promise<void> {
    const { gallery, toasts } = this.studio;
    const focused = gallery.focusId.value;
    const id = focused !== null && ids.includes(focused) ? focused : ids[0];
    if (id === undefined) return;
    await this.trying(async (signal) => {
      const [card] = await this.readCards([id], signal);
      if (!card) return;
      try {
        await ask(`assets/${card.uid}/reveal`, { method: "POST", signal });
      } catch (error) {
        if (!(error instanceof Problem && error.status === 501)) throw error;
        this.hasNoDesktop.value = true;
        toasts.error(error);
        await this.copyPaths([id]);
      }
    });
  }

  /** Save files under their names. */
  async download(ids: Ids = this.studio.edits.targets()): Promise<void> {
    const { toasts } = this.studio;
    if (ids.length > MOST_DOWNLOADS) {
      toasts.info(
        `At most ${MOST_DOWNLOADS} files can be downloaded at once, and ${number(ids.length)} are selected. ` +
          "Select fewer; or copy the assets folder itself.",
      );
      return;
    }
    await this.trying(async (signal) => {
      const cards = await this.readCards(ids, signal);
      const missing = cards.filter((card) => card.missing_since);
      const there = cards.filter((card) => !card.missing_since);
      for (const [at, card] of there.entries()) {
        if (at) await new Promise((resolve) => setTimeout(resolve, BETWEEN_DOWNLOADS_MS));
        save(addressOf(card.uid, "download"), fileName(card.path));
      }
      if (missing.length) {
        const names = missing.map((card) => fileName(card.path)).join(", ");
        const are = missing.length > 1 ? "are" : "is";
        toasts.error(`Nothing to download: ${names} ${are} missing on the disk.`);
      }
    });
  }

  private isFew(ids: Ids, what: string): boolean {
    if (ids.length > MOST_WRITTEN) {
      const most = `${what} works for up to ${number(MOST_WRITTEN)} assets.`;
      this.studio.toasts.info(`${most} Select fewer; \`comfyvn export\` writes all.`);
    }
    return ids.length > 0 && ids.length <= MOST_WRITTEN;
  }

  /** Only the newest wish goes on; a refusal becomes a toast. */
  private async trying(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    this.reading?.abort();
    const { signal } = (this.reading = new AbortController());
    try {
      await work(signal);
    } catch (error) {
      if (!signal.aborted) this.studio.toasts.error(error);
    }
  }

  private readCards(ids: Ids, signal: AbortSignal): Promise<Card[]> {
    return this.inParts(ids, (part) => readCards(part, signal));
  }

  /** As the registry tells them; few of them with the inputs of their provenance. */
  private async readRecords(ids: Ids, signal: AbortSignal): Promise<AssetRecord[]> {
    if (ids.length > WITH_INPUTS) return this.inParts(ids, (part) => readRecords(part, signal));
    const cards = await this.readCards(ids, signal);
    return Promise.all(cards.map(({ uid }) => readRecord(uid, signal)));
  }

  private async inParts<T>(ids: Ids, read: (part: number[]) => Promise<T[]>): Promise<T[]> {
    const { session, toasts } = this.studio;
    const size = Math.min(AT_ONCE, session.value?.limits.page_size ?? AT_ONCE);
    const toast = ids.length > WORTH_A_WORD ? toasts.info(`Reading ${assets(ids.length)} …`) : null;
    const found: T[] = [];
    try {
      for (let first = 0; first < ids.length; first += size) {
        found.push(...(await read(ids.slice(first, first + size))));
      }
    } finally {
      if (toast !== null) toasts.close(toast);
    }
    return found;
  }
}
