/** The gallery's state: what is asked for, what was found, what is selected, and how changes come in. */

import { computed, ref, shallowRef, watch } from "vue";
import { askJson, Problem, readCards, readIndex, type Card, type FacetAnswer } from "../api/client";
import type { Change } from "../api/events";
import { isFiltered, isSame, MADE_KINDS, toParams, type MadeKind, type Query } from "../core/query";
import { Rows } from "../core/rows";
import { Order, Selection } from "../core/selection";
import type { Places } from "./place";
import type { Toasts } from "./toasts";

const ROWS_AT_ONCE = 200;
const ROWS_KEPT = 20_000;
const FLASH_MS = 1_200;
const REFRESH_MS = 250;
const OWN_MS = 1_500;
const RETRY_MS = 1_000;
const PENDING_MS = 700;
const PENDING_SLOW_MS = 5_000;
const PENDING_TRIES = 60;

/** A newer result that was not asked for: it waits till somebody wants to see it. */
export interface Waiting {
  readonly order: Order;
  readonly added: number;
  readonly gone: number;
}

const NOTHING = new Order(new Float64Array(0));
/** Events that may bring assets in or take them out of a result without conditions. */
const MEMBERSHIP = new Set(["asset_registered", "asset_removed", "asset_restored"]);

export class Gallery {
  readonly order = shallowRef(NOTHING);
  readonly status = ref<"loading" | "ready" | "failed">("loading");
  readonly problem = shallowRef<Problem | null>(null);
  /** Why the server does not take what is asked for; what was found before stays. */
  readonly refusal = shallowRef<Problem | null>(null);
  /** Assets in the whole library; null till it is known. */
  readonly libraryTotal = ref<number | null>(null);
  readonly facets = shallowRef<FacetAnswer | null>(null);
  /** What of the making of assets anything in the library tells. */
  readonly made = shallowRef<ReadonlySet<MadeKind>>(new Set());
  readonly waiting = shallowRef<Waiting | null>(null);
  /** Grows with each question, so that the grid goes to the top; a refresh leaves it. */
  readonly questions = ref(0);

  readonly rowsVersion = ref(0);
  readonly rows = new Rows<Card>({
    fetch: readCards,
    onChange: () => {
      this.rowsVersion.value++;
      this.lookAtPending();
    },
    onError: (error) => this.fail(error),
    batch: ROWS_AT_ONCE,
    limit: ROWS_KEPT,
  });

  readonly selection = new Selection();
  readonly selectionVersion = ref(0);
  readonly focusId = ref<number | null>(null);
  /** When a card was last changed, while that is being shown. */
  readonly flashes = shallowRef<ReadonlyMap<number, number>>(new Map());
  /** The newest changes that have come in, for panes that show one asset. */
  readonly changed = shallowRef<ReadonlySet<string>>(new Set());

  readonly split = computed(() => {
    void this.selectionVersion.value;
    return this.selection.split(this.order.value);
  });

  /** The place in the journal from before the result was read. */
  revision: number | null = null;

  private asking: AbortController | null = null;
  private counting: AbortController | null = null;
  private reading: AbortController | null = null;
  private refreshing = 0;
  private recounting = 0;
  private pendingTimer = 0;
  private pendingTries = 0;
  private inView: readonly number[] = [];
  /** Till then a change of the result is what this tab has done itself, and is shown at once. */
  private ownUntil = 0;
  private readonly removed = new Set<number>();

  constructor(
    private readonly places: Places,
    private readonly toasts: Toasts,
  ) {
    watch(
      () => places.now.value.query,
      (query, before) => {
        if (!before || !isSame(query, before)) void this.askAnew();
      },
    );
  }

  get query(): Query {
    return this.places.now.value.query;
  }

  /** Ask for something else; Back leads to what was asked before. */
  ask(query: Query, how: "push" | "replace" = "push"): void {
    this.places.go({ query }, how);
  }

  /** Read everything again, as at the start. */
  async askAnew(): Promise<void> {
    this.asking?.abort();
    this.reading?.abort();
    const asking = (this.asking = new AbortController());
    this.status.value = "loading";
    this.waiting.value = null;
    void this.count();
    try {
      const { ids, revision } = await readIndex(toParams(this.query), asking.signal);
      this.revision = revision;
      this.removed.clear();
      this.order.value = new Order(ids);
      this.rows.revive((id) => this.order.value.indexOf(id) >= 0);
      this.problem.value = null;
      this.refusal.value = null;
      this.status.value = "ready";
      this.questions.value++;
    } catch (error) {
      if (!asking.signal.aborted) this.fail(error);
    }
  }

  /** Count types, licences, tags and problems. */
  async count(): Promise<void> {
    this.counting?.abort();
    const counting = (this.counting = new AbortController());
    try {
      const { query } = this;
      const [facets, all] = await Promise.all([
        askJson<FacetAnswer>("assets/facets", { params: toParams(query, false), signal: counting.signal }),
        isFiltered(query)
          ? askJson<FacetAnswer>("assets/facets", { params: new URLSearchParams({ top_tags: "1" }) })
          : null,
      ]);
      this.facets.value = facets;
      this.libraryTotal.value = (all ?? facets).total;
      this.made.value = new Set(MADE_KINDS.filter((kind) => (all ?? facets)[`${kind}s`].length > 0));
    } catch (error) {
      if (counting.signal.aborted) return;
      if (isPassing(error)) this.countSoon(RETRY_MS);
      else this.fail(error);
    }
  }

  /** What the grid shows, the most urgent first; and what comes near. */
  want(inView: readonly number[], nearby: readonly number[]): void {
    this.inView = inView;
    this.rows.want([...inView, ...nearby]);
    this.lookAtPending();
  }

  /** Change the selection, and have everybody look again. */
  select(change: (selection: Selection, order: Order) => void): void {
    change(this.selection, this.order.value);
    this.selectionVersion.value++;
  }

  /** Do something to the library; what it changes in the result is shown at once. */
  async act<T>(work: () => Promise<T>): Promise<T> {
    this.ownUntil = Infinity;
    try {
      return await work();
    } finally {
      this.ownUntil = Date.now() + OWN_MS;
      this.refreshSoon(0);
      this.countSoon();
    }
  }

  onChanges(changes: readonly Change[]): void {
    const uids = new Set(changes.map((change) => change.uid));
    this.rows.invalidate(uids);
    this.flash(uids);
    for (const change of changes) {
      const id = this.rows.idOf(change.uid);
      if (id === undefined) continue;
      if (change.event === "asset_removed") this.removed.add(id);
      else if (change.event === "asset_restored") this.removed.delete(id);
    }
    this.changed.value = uids;
    const query = this.query;
    const isAny = isFiltered(query) || query.sort !== "newest";
    if (isAny || changes.some((change) => MEMBERSHIP.has(change.event))) this.refreshSoon(REFRESH_MS);
    this.countSoon();
  }

  /** Changes were missed. */
  onReset(): void {
    this.rows.invalidateAll();
    if (this.status.value === "ready") this.refreshSoon(0);
    else void this.askAnew();
    this.countSoon();
  }

  /** Show the newer result that waits. */
  showWaiting(): void {
    const waiting = this.waiting.value;
    if (!waiting) return;
    this.order.value = waiting.order;
    this.waiting.value = null;
  }

  private refreshSoon(ms: number): void {
    if (this.refreshing && ms) return;
    clearTimeout(this.refreshing);
    this.refreshing = setTimeout(() => {
      this.refreshing = 0;
      void this.refresh();
    }, ms);
  }

  private countSoon(ms = REFRESH_MS * 2): void {
    if (this.recounting) return;
    this.recounting = setTimeout(() => {
      this.recounting = 0;
      void this.count();
    }, ms);
  }

  private async refresh(): Promise<void> {
    const { query } = this;
    const questions = this.questions.value;
    this.reading?.abort();
    const reading = (this.reading = new AbortController());
    let ids: Float64Array;
    try {
      ids = (await readIndex(toParams(query), reading.signal)).ids;
    } catch (error) {
      if (reading.signal.aborted) return;
      if (isPassing(error)) this.refreshSoon(RETRY_MS);
      else this.fail(error);
      return;
    }
    if (this.questions.value !== questions || !isSame(query, this.query)) return;
    this.receive(new Order(ids));
  }

  private receive(newer: Order): void {
    const now = this.order.value;
    this.rows.revive((id) => newer.indexOf(id) >= 0);
    if (hasSameOrder(now, newer)) {
      this.waiting.value = null;
      return;
    }
    const added = countOutside(newer, now);
    const gone = countOutside(now, newer);
    if (Date.now() < this.ownUntil || (!now.length && added)) {
      this.waiting.value = null;
      this.order.value = newer;
      return;
    }
    const kept = this.removed.size ? now.ids.filter((id) => !this.removed.has(id)) : now.ids;
    if (kept.length !== now.length) this.order.value = new Order(kept);
    const stillGone = gone - (now.length - kept.length);
    this.waiting.value = added || stillGone > 0 ? { order: newer, added, gone: Math.max(0, stillGone) } : null;
  }

  private flash(uids: Iterable<string>): void {
    const now = Date.now();
    const flashes = new Map([...this.flashes.value].filter(([, at]) => now - at < FLASH_MS));
    for (const uid of uids) {
      const id = this.rows.idOf(uid);
      if (id !== undefined) flashes.set(id, now);
    }
    if (!flashes.size && !this.flashes.value.size) return;
    this.flashes.value = flashes;
    if (flashes.size) setTimeout(() => this.flash([]), FLASH_MS);
  }

  /** A preview that becomes ready is no change of the asset: cards in view that wait for theirs are asked again. */
  private lookAtPending(): void {
    if (this.pendingTimer) return;
    const uids = this.inView.flatMap((id) => {
      const card = this.rows.get(id);
      return card?.preview_state === "pending" ? [card.uid] : [];
    });
    if (!uids.length) {
      this.pendingTries = 0;
      return;
    }
    const ms = ++this.pendingTries < PENDING_TRIES ? PENDING_MS : PENDING_SLOW_MS;
    this.pendingTimer = setTimeout(() => {
      this.pendingTimer = 0;
      if (document.hidden) this.lookAtPending();
      else this.rows.invalidate(uids);
    }, ms);
  }

  private fail(error: unknown): void {
    if (error instanceof DOMException && error.name === "AbortError") return;
    const problem = error instanceof Problem ? error : new Problem(0, "fault", String(error));
    if (problem.code === "invalid-filter" && this.questions.value) {
      this.refusal.value = problem;
      this.status.value = "ready";
      return;
    }
    if (this.status.value === "ready") {
      if (!problem.isUnreachable) this.toasts.error(problem);
      return;
    }
    this.order.value = NOTHING; // what is not seen must not be selected
    this.problem.value = problem;
    this.status.value = "failed";
  }
}

function isPassing(error: unknown): boolean {
  return error instanceof Problem && error.isPassing;
}

function countOutside(order: Order, other: Order): number {
  let count = 0;
  for (const id of order.ids) if (other.indexOf(id) < 0) count++;
  return count;
}

function hasSameOrder(a: Order, b: Order): boolean {
  return a.length === b.length && a.ids.every((id, at) => b.ids[at] === id);
}
