/** Cards by id: a bounded cache that loads what is in view, one request at a time, the newest wish first. */

const RETRY_MS = 1_000;

export interface Row {
  readonly id: number;
  readonly uid: string;
}

export interface RowsOptions<R extends Row> {
  /** Reads cards; ids without an asset are left out of the answer. */
  fetch(ids: readonly number[], signal?: AbortSignal): Promise<readonly R[]>;
  /** These have come, have changed, or turned out to be gone. */
  onChange(ids: readonly number[]): void;
  onError(error: unknown): void;
  /** How many one request asks for. */
  batch: number;
  /** How many are kept. */
  limit: number;
}

/**
 * While a request is under way new wishes replace the old ones: after a fling over 100,000 rows only the rows
 * where it ended are asked for.
 */
export class Rows<R extends Row> {
  private readonly cards = new Map<number, R>();
  private readonly ids = new Map<string, number>();
  private readonly gone = new Set<number>();
  private readonly stale = new Set<number>();
  private wanted: readonly number[] = [];
  /** What changed since a request began that may still bring it as it was. */
  private readonly changedMeanwhile = new Set<string>();
  private isAllChanged = false;
  private reading = 0;
  private isLoading = false;

  constructor(private readonly options: RowsOptions<R>) {}

  get(id: number): R | undefined {
    return this.cards.get(id);
  }

  /** Tell whether the server knew nothing of it when it was asked. */
  isGone(id: number): boolean {
    return this.gone.has(id);
  }

  /** A newer result knows some that were gone: an undo has brought them back. */
  revive(isKnown: (id: number) => boolean): void {
    for (const id of this.gone) if (isKnown(id)) this.gone.delete(id);
    void this.load();
  }

  idOf(uid: string): number | undefined {
    return this.ids.get(uid);
  }

  /** Wish for these, the most urgent first; what is there already is not asked for again. */
  want(ids: readonly number[]): void {
    this.wanted = ids;
    void this.load();
  }

  /** These have changed: read them again when they are wanted; till then the old card is shown. */
  invalidate(uids: Iterable<string>): void {
    for (const uid of uids) {
      const id = this.ids.get(uid);
      if (id !== undefined) this.stale.add(id);
      if (this.reading) this.changedMeanwhile.add(uid);
    }
    void this.load();
  }

  /** Everything may have changed. */
  invalidateAll(): void {
    this.gone.clear();
    for (const id of this.cards.keys()) this.stale.add(id);
    this.isAllChanged = this.reading > 0;
    void this.load();
  }

  /** Read these now, whatever is wanted; for a selection that may lie anywhere. */
  async read(ids: readonly number[], signal: AbortSignal): Promise<R[]> {
    const absent = ids.filter((id) => this.needs(id));
    for (let first = 0; first < absent.length; first += this.options.batch) {
      await this.request(absent.slice(first, first + this.options.batch), signal);
    }
    return ids.map((id) => this.cards.get(id)).filter((card) => card !== undefined);
  }

  private needs(id: number): boolean {
    return this.stale.has(id) || !(this.cards.has(id) || this.gone.has(id));
  }

  private async load(): Promise<void> {
    while (!this.isLoading) {
      const asked = this.next();
      if (!asked.length) return;
      this.isLoading = true;
      try {
        await this.request(asked);
      } catch (error) {
        this.options.onError(error);
        setTimeout(() => void this.load(), RETRY_MS);
        return;
      } finally {
        this.isLoading = false;
      }
    }
  }

  private next(): number[] {
    const asked: number[] = [];
    for (const id of this.wanted) {
      if (this.needs(id)) asked.push(id);
      if (asked.length === this.options.batch) break;
    }
    return asked;
  }

  private async request(asked: readonly number[], signal?: AbortSignal): Promise<void> {
    this.reading++;
    try {
      this.receive(asked, await this.options.fetch(asked, signal));
    } finally {
      if (--this.reading === 0) {
        this.changedMeanwhile.clear();
        this.isAllChanged = false;
      }
    }
  }

  private receive(asked: readonly number[], cards: readonly R[]): void {
    const absent = new Set(asked);
    for (const card of cards) {
      this.cards.delete(card.id);
      this.cards.set(card.id, card);
      this.ids.set(card.uid, card.id);
      this.gone.delete(card.id);
      absent.delete(card.id);
      if (this.isAllChanged || this.changedMeanwhile.has(card.uid)) this.stale.add(card.id);
      else this.stale.delete(card.id);
    }
    for (const id of absent) this.forget(id);
    this.shrink();
    this.options.onChange(asked);
  }

  private forget(id: number): void {
    const card = this.cards.get(id);
    this.cards.delete(id);
    if (card) this.ids.delete(card.uid);
    this.stale.delete(id);
    this.gone.add(id);
  }

  private shrink(): void {
    let surplus = this.cards.size - this.options.limit;
    if (surplus <= 0) return;
    const kept = new Set(this.wanted);
    for (const [id, card] of this.cards) {
      if (surplus <= 0) return;
      if (kept.has(id)) continue;
      this.cards.delete(id);
      this.ids.delete(card.uid);
      this.stale.delete(id);
      surplus--;
    }
  }
}
