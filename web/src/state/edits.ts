/** What this tab does to assets: one change after the other, each told with a way back. */

import { computed, ref, shallowRef, watch, type Ref, type ShallowRef } from "vue";
import {
  ask,
  askJson,
  Problem,
  type AssetRecord,
  type BulkAnswer,
  type Card,
  type Schemas,
  type SessionAnswer,
  type UndoAnswer,
} from "../api/client";
import { NO_CHANGE, toBody, type Draft } from "../core/draft";
import { assets, describeDone, stars } from "../core/tags";
import { fileName, folder, number } from "../core/text";
import { UndoStack, type Done } from "../core/undo";
import type { Gallery } from "./gallery";
import type { Places } from "./place";
import type { Toasts } from "./toasts";

/** More than these are not moved to the trash without a question. */
export const MOST_UNASKED = 20;
const MOST_NAMED = 100;
const NAMES_READ = 10;
/** So long it takes to see that another asset is shown. */
const SWAP_MS = 600;

/** Assets that were left as they are, by name and with the reason. */
export interface Refusals {
  readonly title: string;
  readonly items: readonly { readonly name: string; readonly why: string }[];
  /** So many more are not named. */
  readonly more: number;
}

interface Refused {
  readonly uid: string;
  readonly why: string;
  readonly path?: string;
}

/** How far a long change is. */
export interface Progress {
  readonly done: number;
  readonly total: number;
}

export class Edits {
  /** Changes that are not applied yet, and the assets for which they were meant. */
  readonly draft = shallowRef<Draft>(NO_CHANGE);
  readonly draftIds = shallowRef<readonly number[]>([]);
  /** Grows when somebody asks for the edit drawer, so that it takes the focus. */
  readonly calls = ref(0);
  readonly progress = shallowRef<Progress | null>(null);
  readonly refusals = shallowRef<Refusals | null>(null);
  /** The asset whose name is being asked for. */
  readonly renaming = shallowRef<Card | null>(null);
  /** Assets of which it is being asked whether they are to go. */
  readonly deleting = shallowRef<readonly number[]>([]);
  /** Another asset has just taken the place of the one that was shown. */
  readonly isSwapped = ref(false);
  private swapping = 0;
  /** What this tab is moving to the trash. */
  private readonly going = new Set<number>();

  /** Why nothing can be changed, and what to do; "" where it can. */
  readonly whyReadOnly = computed(() => {
    const session = this.session.value;
    if (session?.scope !== "assets.read") return "";
    if (session.name === null) return "You may look, but changes need a token. Sign in to change assets.";
    return `Your token “${session.name}” may only read. Sign in with one of the scope assets.write.`;
  });

  private readonly done = new UndoStack();
  private undone = new UndoStack();
  private waiting = 0;
  private last: Promise<void> = Promise.resolve();
  private nextRating: { ids: readonly number[]; rating: number } | null = null;
  private ratingToast = 0;
  /** The news of an operation, which goes when that is undone. */
  private readonly news = new Map<number, number>();

  constructor(
    private readonly gallery: Gallery,
    private readonly places: Places,
    private readonly toasts: Toasts,
    private readonly session: ShallowRef<SessionAnswer | null>,
    private readonly needsToken: Ref<boolean>,
  ) {}

  /** How many assets a change would be for. */
  count(): number {
    void this.gallery.selectionVersion.value;
    if (this.places.now.value.lightbox.length === 0 && this.gallery.selection.size > 0) {
      return this.gallery.selection.size;
    }
    return this.targets().length;
  }

  /** The assets that a change is for: what the lightbox shows, or the selection. */
  targets(): readonly number[] {
    const { selection, selectionVersion, focusId, rows } = this.gallery;
    void selectionVersion.value;
    const focused = focusId.value;
    const { lightbox } = this.places.now.value;
    if (lightbox.length > 0) {
      const shown = lightbox.map((uid) => rows.idOf(uid)).filter((id) => id !== undefined);
      // the focus is there at once, the address once the card has been read
      const isFocused = focused !== null && (lightbox.length === 1 || shown.includes(focused));
      return isFocused ? [focused] : shown.slice(0, 1);
    }
    return selection.ids();
  }

  /** Why a change of what is selected can't be made, and what to do; "" where it can. */
  whyNot(): string {
    if (this.whyReadOnly.value) return this.whyReadOnly.value;
    if (this.count() === 0) return "Select an asset first.";
    return this.isSwapped.value ? "Another asset is shown now. Look at it, then press again." : "";
  }

  /** Another asset takes the place of the one that was shown: for a moment no key changes it. */
  noteSwap(): void {
    this.isSwapped.value = true;
    clearTimeout(this.swapping);
    this.swapping = setTimeout(() => (this.isSwapped.value = false), SWAP_MS);
  }

  isRemoving(id: number): boolean {
    return this.going.has(id);
  }

  get canUndo(): boolean {
    return this.whyReadOnly.value === "" && (this.waiting > 0 || this.done.peek() !== undefined);
  }

  get canRedo(): boolean {
    return this.whyReadOnly.value === "" && (this.waiting > 0 || this.undone.peek() !== undefined);
  }

  /** Change tags, licence and rating of assets; the answer, or null where all was refused. */
  apply(ids: readonly number[], draft: Draft): Promise<BulkAnswer | null> {
    return this.inTurn(() => this.bulk(ids, draft));
  }

  /** What an edit would do. */
  preview(ids: readonly number[], draft: Draft, signal: AbortSignal): Promise<BulkAnswer> {
    const body = { ...this.choose(ids), ...toBody(draft), dry_run: true };
    return askJson<BulkAnswer>("assets/bulk", { method: "POST", body, signal });
  }

  /** Rate at once; of several ratings that wait for their turn only the last one counts. */
  rate(rating: number): void {
    const ids = this.targets();
    if (this.nextRating && isSameList(this.nextRating.ids, ids)) {
      this.nextRating.rating = rating;
      return;
    }
    const wish = (this.nextRating = { ids, rating });
    void this.inTurn(async () => {
      if (this.nextRating === wish) this.nextRating = null;
      const answer = await this.bulk(wish.ids, { ...NO_CHANGE, rating: wish.rating });
      if (!answer?.operation) return;
      this.toasts.close(this.ratingToast);
      this.ratingToast = this.news.get(answer.operation) ?? 0;
    });
  }

  /** Give an asset another file name in its folder; what is wrong with it, or null. */
  rename(card: Card, name: string): Promise<Problem | null> {
    return this.inTurn(async () => {
      const now = this.gallery.rows.get(card.id) ?? card; // somebody may have moved it meanwhile
      const path = [folder(now.path), name].filter((part) => part !== "").join("/");
      try {
        const { asset, operation } = await this.gallery.act(() =>
          askJson<Schemas["ChangedAnswer"]>(`assets/${card.uid}/move`, { method: "POST", body: { path } }),
        );
        const sentence = `Renamed ${fileName(now.path)} to ${fileName(asset.path)}`;
        if (operation !== null) this.note([operation], sentence);
        return null;
      } catch (error) {
        const problem = problemOf(error);
        if (problem.needsToken) this.needsToken.value = true;
        return problem;
      }
    });
  }

  /** Say whether an asset came from another one, as is likely. */
  judge(child: { uid: string; name: string }, parent: { uid: string; name: string }, isSo: boolean): Promise<void> {
    return this.inTurn(async () => {
      await this.tell(async () => {
        const body = { parent: parent.uid, certainty: isSo ? "certain" : "rejected" };
        const { operation } = await this.gallery.act(() =>
          askJson<Schemas["ParentsAnswer"]>(`assets/${child.uid}/lineage`, { method: "PATCH", body }),
        );
        const sentence = `${isSo ? "Confirmed" : "Rejected"} that ${child.name} came from ${parent.name}`;
        if (operation !== null) this.note([operation], sentence);
      });
    });
  }

  /** Move what is selected to the trash; many only after a question. */
  askToRemove(): void {
    const ids = this.targets();
    if (ids.length > MOST_UNASKED) this.deleting.value = ids;
    else void this.remove(ids);
  }

  /** Move assets to the trash; the focus goes to the next card. */
  remove(ids: readonly number[]): Promise<void> {
    return this.inTurn(async () => {
      const next = this.nextOf(ids);
      const shown = this.shownOf(ids);
      for (const id of ids) this.going.add(id);
      const name = ids.length === 1 && ids[0] !== undefined ? this.nameOfId(ids[0]) : "";
      await this.tell(async () => {
        const answer = await this.watched(ids.length, () =>
          askJson<Schemas["RemovalAnswer"]>("assets/remove", { method: "POST", body: this.choose(ids) }),
        );
        const sentence = `Moved ${name || assets(answer.counts.removed)} to the trash`;
        if (answer.operation !== null) {
          this.note([answer.operation], sentence);
          await this.leave(ids, shown, answer.failed, next);
        }
        await this.tellRefused("not moved to the trash", answer.failed, answer.counts.failed);
      });
      for (const id of ids) this.going.delete(id);
    });
  }

  /** Take back what this tab did last. */
  undoLast(): void {
    void this.inTurn(async () => {
      const last = this.done.pop();
      if (last) await this.takeBack(last, false);
    });
  }

  /** Do again what this tab took back last. */
  redoLast(): void {
    void this.inTurn(async () => {
      const last = this.undone.pop();
      if (last) await this.takeBack(last, true);
    });
  }

  /**
   * Take an operation back, however old.
   *
   * `sentence` says what it had done; with `isRedo` the operation is itself an undo of that.
   */
  undo(operation: number, sentence: string, isRedo = false): Promise<void> {
    return this.inTurn(() => this.takeBack({ operations: [operation], sentence }, isRedo));
  }

  /** Remember what was done, in one operation or several, as one step, and tell it with a way back. */
  note(operations: readonly number[], sentence: string, more = ""): void {
    const done = { operations, sentence };
    this.done.push(done);
    this.undone = new UndoStack();
    const action = { label: "Undo", run: () => void this.inTurn(() => this.takeBack(done, false)) };
    this.news.set(operations[0] ?? 0, this.toasts.done(sentence + more, action));
  }

  private async takeBack({ operations, sentence }: Done, isRedo: boolean): Promise<void> {
    this.done.drop(operations);
    this.undone.drop(operations);
    await this.tell(async () => {
      const { answers, problem } = await this.gallery.act(() => this.undoAll(operations));
      if (problem && (problem.isPassing || problem.needsToken)) {
        const left = operations.slice(0, operations.length - answers.length);
        (isRedo ? this.undone : this.done).push({ operations: left, sentence });
      }
      const undoing = answers.flatMap(({ operation }) => operation ?? []);
      const left = answers.map(leftBy);
      const total = left.reduce((sum, each) => sum + each.total, 0);
      const [first = 0] = operations;
      if (undoing.length) {
        const opposite = { operations: undoing, sentence };
        (isRedo ? this.done : this.undone).push(opposite);
        const run = (): void => void this.inTurn(() => this.takeBack(opposite, !isRedo));
        const said = `${isRedo ? "Done again" : "Undone"}: ${lowered(sentence)}`;
        this.toasts.close(this.news.get(first) ?? 0);
        this.news.delete(first);
        this.news.set(undoing[0] ?? 0, this.toasts.done(said, { label: isRedo ? "Undo" : "Redo", run }));
      } else if (!problem && total === 0) {
        this.toasts.info("There was nothing left to undo.");
      }
      await this.tellRefused("left as they are", left.flatMap((each) => each.items), total);
      if (problem) throw problem;
    });
  }

  /** Take operations back, the newest first, up to the one that can't be. */
  private async undoAll(operations: readonly number[]): Promise<{ answers: UndoAnswer[]; problem: Problem | null }> {
    const answers: UndoAnswer[] = [];
    try {
      for (const operation of [...operations].reverse()) {
        answers.push(await askJson<UndoAnswer>(`assets/operations/${operation}/undo`, { method: "POST" }));
      }
    } catch (error) {
      return { answers, problem: problemOf(error) };
    }
    return { answers, problem: null };
  }

  private async bulk(ids: readonly number[], draft: Draft): Promise<BulkAnswer | null> {
    const name = ids.length === 1 && ids[0] !== undefined ? this.nameOfId(ids[0]) : "";
    return this.tell(async () => {
      const answer = await this.watched(ids.length, () =>
        askJson<BulkAnswer>("assets/bulk", { method: "POST", body: { ...this.choose(ids), ...toBody(draft) } }),
      );
      const { counts, operation } = answer;
      if (operation !== null) {
        const said = describeDone({ ...draft, total: counts.changed });
        const isRating = name !== "" && draft.rating !== null && said.startsWith("Rated");
        const sentence = isRating ? `Rated ${name} ${stars(draft.rating)}` : said;
        const already = counts.unchanged > 0 ? `, ${number(counts.unchanged)} ${isAre(counts.unchanged)} so already` : "";
        this.note([operation], sentence, already);
      } else if (counts.failed === 0) {
        this.toasts.info(`Nothing to change: ${name ? "it is" : `${assets(counts.unchanged)} ${isAre(counts.unchanged)}`} so already.`);
      }
      await this.tellRefused("not changed", answer.failed, counts.failed);
      return answer;
    });
  }

  /** Name the assets by their ids: what a filter finds may be others by the time that it is asked. */
  private choose(ids: readonly number[]): { ids: readonly number[] } {
    const most = this.session.value?.limits.bulk_assets ?? Infinity;
    if (ids.length <= most) return { ids };
    const why = `At most ${number(most)} assets can be changed at once (setting bulk_assets). Select fewer.`;
    throw new Problem(413, "too-many", why);
  }

  /** Do it while counting the changes that come in, as a sign of how far it is. */
  private async watched<T>(total: number, work: () => Promise<T>): Promise<T> {
    let done = 0;
    this.progress.value = { done, total };
    const stop = watch(this.gallery.changed, (uids) => {
      done = Math.min(total, done + uids.size);
      this.progress.value = { done, total };
    });
    try {
      return await this.gallery.act(work);
    } finally {
      stop();
      this.progress.value = null;
    }
  }

  /** One change after the other, so that an undo finds done what it is to take back. */
  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    this.waiting++;
    const result = this.last.then(work).finally(() => this.waiting--);
    this.last = result.then(
      () => undefined,
      () => undefined,
    );
    return result;
  }

  private async tell<T>(work: () => Promise<T>): Promise<T | null> {
    try {
      return await work();
    } catch (error) {
      const problem = problemOf(error);
      this.toasts.error(problem);
      if (problem.needsToken) this.needsToken.value = true;
      return null;
    }
  }

  private async tellRefused(what: string, refused: readonly Refused[], total: number): Promise<void> {
    if (total === 0) return;
    const items = await Promise.all(
      refused.slice(0, MOST_NAMED).map(async (each, at) => ({
        name: each.path ? fileName(each.path) : await this.nameOf(each.uid, at < NAMES_READ),
        why: each.why,
      })),
    );
    const [first] = items;
    if (total === 1 && first) {
      this.toasts.error(`${first.name} was ${what.replace("they are", "it is")}: ${first.why}`);
      return;
    }
    const title = `${assets(total)} were ${what}`;
    const refusals = { title, items, more: total - items.length };
    this.toasts.error(`${title}.`, { label: "Show why", run: () => (this.refusals.value = refusals) });
  }

  private nameOfId(id: number): string {
    const card = this.gallery.rows.get(id);
    return card ? fileName(card.path) : "";
  }

  private async nameOf(uid: string, mayRead: boolean): Promise<string> {
    const id = this.gallery.rows.idOf(uid);
    const known = id === undefined ? "" : this.nameOfId(id);
    if (known || !mayRead || !uid) return known || uid || "An asset that is gone";
    try {
      const { asset } = (await (await ask(`assets/${uid}`)).json()) as { asset: AssetRecord };
      return fileName(asset.path);
    } catch {
      return uid;
    }
  }

  /** The card behind the ones that go, or before them where they are the last. */
  private nextOf(ids: readonly number[]): number | null {
    const { order, focusId } = this.gallery;
    const going = new Set(ids);
    const from = focusId.value !== null && going.has(focusId.value) ? order.value.indexOf(focusId.value) : -1;
    if (from < 0) return focusId.value;
    const all = order.value.ids;
    for (let at = from + 1; at < all.length; at++) if (!going.has(all[at] as number)) return all[at] as number;
    for (let at = from - 1; at >= 0; at--) if (!going.has(all[at] as number)) return all[at] as number;
    return null;
  }

  /** Those of them that the lightbox shows, by uid; once they are gone nobody knows their uid. */
  private shownOf(ids: readonly number[]): ReadonlySet<string> {
    const { rows } = this.gallery;
    return new Set(this.places.now.value.lightbox.filter((uid) => ids.includes(rows.idOf(uid) ?? 0)));
  }

  /** Removed assets leave the selection, the focus and the lightbox; others that were compared with them stay. */
  private async leave(
    ids: readonly number[],
    shown: ReadonlySet<string>,
    failed: readonly Refused[],
    next: number | null,
  ): Promise<void> {
    const { gallery, places } = this;
    const kept = new Set(failed.map((each) => gallery.rows.idOf(each.uid)));
    const gone = ids.filter((id) => !kept.has(id));
    const failedUids = new Set(failed.map((each) => each.uid));
    const before = places.now.value.lightbox;
    const left = before.filter((uid) => !shown.has(uid) || failedUids.has(uid));
    const follower = left[0] === undefined ? next : (gallery.rows.idOf(left[0]) ?? next);
    gallery.select((selection) => {
      selection.remove(gone);
      selection.setAnchor(follower);
    });
    gallery.focusId.value = follower;
    if (left.length === before.length) return;
    if (left.length > 0) return places.go({ lightbox: left });
    const [card] = next === null ? [] : await gallery.rows.read([next], new AbortController().signal);
    places.go({ lightbox: card ? [card.uid] : [] });
  }
}

/**
 * What an undo left as it is. That a file came in once more stays noted at its asset, which is no news
 * unless something else was left, too.
 */
function leftBy({ counts, undone, refused, kept }: UndoAnswer): { items: readonly Refused[]; total: number } {
  const isNote = ({ event }: UndoAnswer["kept"][number]): boolean => event === "asset_provenance_added";
  if (!refused.length && kept.every(isNote)) return { items: [], total: 0 };
  const done = new Set(undone);
  const told = kept.filter((each) => !isNote(each) || !done.has(each.uid));
  const items = told.map((each) => (isNote(each) ? { ...each, why: "it was there before; its history keeps that it came again" } : each));
  return { items: [...refused, ...items], total: counts.refused + counts.kept - (kept.length - told.length) };
}

function problemOf(error: unknown): Problem {
  return error instanceof Problem ? error : new Problem(0, "fault", String(error));
}

function isSameList(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((value, index) => value === b[index]);
}

function isAre(count: number): string {
  return count === 1 ? "is" : "are";
}

/** A sentence as a part of another. */
function lowered(sentence: string): string {
  return sentence.charAt(0).toLowerCase() + sentence.slice(1);
}
