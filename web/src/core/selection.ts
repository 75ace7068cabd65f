/** Which assets are selected, by id, and the result in whose order ranges go. */

import { hashOf, IdSet } from "./ids";

/** The ids of a result in order; immutable. An id stands in it once. */
export class Order {
  /** Position + 1 by hash of the id, 0 where free: 8 MB for a million, where a Map takes 45. */
  private places: Int32Array | null = null;

  constructor(readonly ids: Float64Array) {}

  get length(): number {
    return this.ids.length;
  }

  at(index: number): number | undefined {
    return this.ids[index];
  }

  /** Where an id stands; -1 if it is not in the result. */
  indexOf(id: number): number {
    this.places ??= placesOf(this.ids);
    const mask = this.places.length - 1;
    for (let slot = hashOf(id) & mask; ; slot = (slot + 1) & mask) {
      const place = this.places[slot] ?? 0;
      if (place === 0) return -1;
      if (this.ids[place - 1] === id) return place - 1;
    }
  }
}

function placesOf(ids: Float64Array): Int32Array {
  const places = new Int32Array(2 ** Math.ceil(Math.log2(2 * ids.length + 2)));
  const mask = places.length - 1;
  for (let index = 0; index < ids.length; index += 1) {
    let slot = hashOf(ids[index] ?? 0) & mask;
    while (places[slot] !== 0) slot = (slot + 1) & mask;
    places[slot] = index + 1;
  }
  return places;
}

export class Selection {
  private selected = new IdSet();
  private changes = 0;
  private anchorId: number | null = null;
  private addedByRange: readonly number[] = [];
  private splitAt: { version: number; order: Order; inside: number } | null = null;

  /** Grows with each change, so that a view knows to look again. */
  get version(): number {
    return this.changes;
  }

  get size(): number {
    return this.selected.size;
  }

  /** The id from which a Shift range goes. */
  get anchor(): number | null {
    return this.anchorId;
  }

  has(id: number): boolean {
    return this.selected.has(id);
  }

  /** In the order in which they were selected. */
  ids(): number[] {
    return this.selected.toArray();
  }

  clear(): void {
    this.set([]);
    this.anchorId = null;
  }

  /** A plain click: this one and no other. */
  only(id: number): void {
    this.set([id]);
    this.anchorId = id;
  }

  /** Ctrl+click: this one too, or no longer; ranges go from here. */
  toggle(id: number): void {
    if (this.has(id)) this.remove([id]);
    else this.add([id]);
    this.anchorId = id;
  }

  add(ids: Iterable<number>): void {
    this.addedByRange = [];
    this.insert(ids);
  }

  remove(ids: Iterable<number>): void {
    this.addedByRange = [];
    this.discard(ids);
  }

  set(ids: Iterable<number>): void {
    const wanted = new IdSet(ids);
    this.addedByRange = [];
    if (wanted.size === this.selected.size && isWithin(wanted, this.selected)) return;
    this.selected = wanted;
    this.changes += 1;
  }

  /** Where the next range goes from; what the last one had added stays. */
  setAnchor(id: number | null): void {
    if (id === this.anchorId) return;
    this.anchorId = id;
    this.addedByRange = [];
  }

  /**
   * Select from the anchor to `id` in the order of the result.
   *
   * Shift+click: the range takes the place of what the last range from this anchor had added.
   * Ctrl+Shift+click (`keep`): it is added to all. Where the anchor is not in the result, the range goes from
   * `focused`, or from the first row; that is the anchor then. Where `id` is not in it, nothing happens.
   */
  range(order: Order, id: number, keep: boolean, focused: number | null = null): void {
    const to = order.indexOf(id);
    if (to < 0) return;
    const start = [this.anchorId, focused].find((each) => each !== null && order.indexOf(each) >= 0);
    this.setAnchor(start ?? order.at(0) ?? id);
    const from = order.indexOf(this.anchorId ?? id);
    const [low, high] = [Math.min(from, to), Math.max(from, to)];
    const staying: number[] = [];
    const leaving: number[] = [];
    for (const each of keep ? [] : this.addedByRange) {
      const at = order.indexOf(each);
      (at >= low && at <= high ? staying : leaving).push(each);
    }
    const coming = order.ids.subarray(low, high + 1).filter((each) => !this.has(each));
    this.discard(leaving);
    this.insert(coming);
    for (const each of coming) staying.push(each);
    this.addedByRange = staying;
  }

  /** How many of the selected are in the result, and how many are not. */
  split(order: Order): { inside: number; outside: number } {
    if (this.splitAt?.version !== this.changes || this.splitAt.order !== order) {
      this.splitAt = { version: this.changes, order, inside: this.countInside(order) };
    }
    const { inside } = this.splitAt;
    return { inside, outside: this.size - inside };
  }

  private countInside(order: Order): number {
    let inside = 0;
    if (this.size < order.length) {
      for (const id of this.selected) if (order.indexOf(id) >= 0) inside += 1;
    } else {
      for (const id of order.ids) if (this.selected.has(id)) inside += 1;
    }
    return inside;
  }

  private insert(ids: Iterable<number>): void {
    const before = this.size;
    this.selected.addAll(ids);
    if (this.size > before) this.changes += 1;
  }

  private discard(ids: Iterable<number>): void {
    const before = this.size;
    for (const id of ids) this.selected.delete(id);
    if (this.size < before) this.changes += 1;
  }
}

function isWithin(ids: Iterable<number>, others: IdSet): boolean {
  for (const id of ids) if (!others.has(id)) return false;
  return true;
}
