/** A set of asset ids that takes 100,000 in a few milliseconds; a `Set` keeps an object for each large number. */

/** Ids are milliseconds times 4096: their low bits alone would all fall together. */
export function hashOf(id: number): number {
  const mixed = Math.imul(id | 0, 0x9e3779b1) ^ Math.imul((id / 2 ** 32) | 0, 0x85ebca6b);
  return Math.imul(mixed ^ (mixed >>> 15), 0x2c1b3c6d) >>> 8;
}

const SMALLEST = 16;
const FREE = 0;
const LEFT = -1;

/** Goes through its ids in the order in which they came. */
export class IdSet implements Iterable<number> {
  /** In the order in which they came; NaN where one was taken out. */
  private list = new Float64Array(SMALLEST);
  /** Position in the list + 1 by hash of the id; FREE, or LEFT where one was taken out. */
  private slots = new Int32Array(2 * SMALLEST);
  private listed = 0;
  private count = 0;

  constructor(ids: Iterable<number> = []) {
    this.addAll(ids);
  }

  get size(): number {
    return this.count;
  }

  has(id: number): boolean {
    return this.slotOf(id) >= 0;
  }

  add(id: number): void {
    if (this.listed === this.list.length) this.resize(2 * this.count);
    const slot = this.placeOf(id);
    if ((this.slots[slot] ?? FREE) > FREE) return;
    this.list[this.listed++] = id;
    this.count++;
    this.slots[slot] = this.listed;
  }

  addAll(ids: Iterable<number>): void {
    if (Array.isArray(ids) || ids instanceof Float64Array) {
      if (this.listed + ids.length > this.list.length) this.resize(this.count + ids.length);
      for (let at = 0; at < ids.length; at++) this.add(ids[at] as number);
    } else for (const id of ids) this.add(id);
  }

  delete(id: number): void {
    const slot = this.slotOf(id);
    if (slot < 0) return;
    this.list[(this.slots[slot] ?? 0) - 1] = Number.NaN;
    this.slots[slot] = LEFT;
    this.count--;
  }

  *[Symbol.iterator](): Iterator<number> {
    for (let at = 0; at < this.listed; at++) {
      const id = this.list[at] ?? Number.NaN;
      if (id === id) yield id;
    }
  }

  /** All of them; quicker than going through them one by one. */
  toArray(): number[] {
    return Array.from(this.list.subarray(0, this.listed).filter((id) => id === id));
  }

  private slotOf(id: number): number {
    const mask = this.slots.length - 1;
    for (let slot = hashOf(id) & mask; ; slot = (slot + 1) & mask) {
      const at = this.slots[slot] ?? FREE;
      if (at === FREE) return -1;
      if (at !== LEFT && this.list[at - 1] === id) return slot;
    }
  }

  /** The slot of an id, or the one that it would get. */
  private placeOf(id: number): number {
    const mask = this.slots.length - 1;
    let vacant = -1;
    for (let slot = hashOf(id) & mask; ; slot = (slot + 1) & mask) {
      const at = this.slots[slot] ?? FREE;
      if (at === FREE) return vacant >= 0 ? vacant : slot;
      if (at === LEFT) vacant = vacant >= 0 ? vacant : slot;
      else if (this.list[at - 1] === id) return slot;
    }
  }

  /** Make room for so many, and forget what was taken out. The slots are at least twice the list: some stay free. */
  private resize(room: number): void {
    const kept = this.list.subarray(0, this.listed).filter((id) => id === id);
    this.list = new Float64Array(Math.max(SMALLEST, room, kept.length + 1));
    this.list.set(kept);
    this.listed = kept.length;
    this.slots = new Int32Array(2 ** Math.ceil(Math.log2(2 * this.list.length)));
    for (let at = 0; at < kept.length; at++) this.slots[this.placeOf(kept[at] as number)] = at + 1;
  }
}
