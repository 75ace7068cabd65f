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
    if (Array.isArray(ids) || ids instanceof Float64Array) this.resize(ids.length);
    for (const id of ids) this.add(id);
  }

  get size(): number {
    return this.count;
  }

  has(id: number): boolean {
    return this.slotOf(id) >= 0;
  }

  add(id: number): void {
    if (this.has(id)) return;
    if (this.listed === this.list.length) this.resize(2 * this.count);
    this.list[this.listed++] = id;
    this.count++;
    this.link(id, this.listed);
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

  private link(id: number, at: number): void {
    const mask = this.slots.length - 1;
    let slot = hashOf(id) & mask;
    while ((this.slots[slot] ?? FREE) > FREE) slot = (slot + 1) & mask;
    this.slots[slot] = at;
  }

  /** Make room for so many, and forget what was taken out. The slots are at least twice the list: some stay free. */
  private resize(room: number): void {
    const kept = this.list.subarray(0, this.listed).filter((id) => id === id);
    this.list = new Float64Array(Math.max(SMALLEST, room, kept.length + 1));
    this.list.set(kept);
    this.listed = kept.length;
    this.slots = new Int32Array(2 ** Math.ceil(Math.log2(2 * this.list.length)));
    for (let at = 0; at < kept.length; at++) this.link(kept[at] ?? 0, at + 1);
  }
}
