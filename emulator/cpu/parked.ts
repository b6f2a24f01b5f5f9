/**
 * What a processor has in the TLB and the jump cache, kept for it while another one is on (contexts.ts). Entries are moved
 * out and back, as generated code knows one TLB only.
 */

/** The words of an entry, in the TLB as in the jump cache. */
const ENTRY_WORDS = 4;
const MAX_TOUCHED = 4096;

/** Entries of a table in linear memory that a processor has filled: where they are, as indices of words. One may be there twice. */
export class Touched {
  entries = new Int32Array(64);
  count = 0;
  /** What the first `saved` of them said. */
  words = new Int32Array(64 * ENTRY_WORDS);
  saved = 0;

  /** There are entries that it does not list. */
  isTooMany = false;

  add(entry: number): void {
    if (this.count === this.entries.length) this.#grow();
    if (this.count < MAX_TOUCHED) this.entries[this.count++] = entry;
    else this.isTooMany = true;
  }

  #grow(): void {
    if (this.count === MAX_TOUCHED) return;
    const entries = new Int32Array(2 * this.count);
    const words = new Int32Array(2 * this.count * ENTRY_WORDS);
    entries.set(this.entries);
    words.set(this.words);
    this.entries = entries;
    this.words = words;
  }

  /** Keeps what the rest of them say. */
  save(table: Int32Array): void {
    const { entries, words } = this;
    for (let i = this.saved; i < this.count; i++) {
      const entry = entries[i]!;
      const to = i * ENTRY_WORDS;
      words[to] = table[entry]!;
      words[to + 1] = table[entry + 1]!;
      words[to + 2] = table[entry + 2]!;
      words[to + 3] = table[entry + 3]!;
    }
    this.saved = this.count;
  }

  /** The table says again what entry `i` said. */
  restore(i: number, table: Int32Array): void {
    const { words } = this;
    const entry = this.entries[i]!;
    const from = i * ENTRY_WORDS;
    table[entry] = words[from]!;
    table[entry + 1] = words[from + 1]!;
    table[entry + 2] = words[from + 2]!;
    table[entry + 3] = words[from + 3]!;
  }

  /** Only those that `table` still fills, the last `most` at most, and each once: where the word at `mark` is not `empty`, which it becomes. */
  collect(table: Int32Array, mark: number, empty: number, most: number): void {
    const { entries, count } = this;
    const first = Math.max(0, count - most);
    const others = first === 0 ? [] : entries.slice(0, first);
    this.clear();
    for (let i = first; i < count; i++) {
      const entry = entries[i]!;
      if (table[entry + mark] === empty) continue;
      entries[this.count++] = entry;
      this.save(table);
      table[entry + mark] = empty;
    }
    for (const entry of others) table[entry + mark] = empty;
  }

  clear(): void {
    this.count = this.saved = 0;
    this.isTooMany = false;
  }
}

/** The generation of a mode's entries in the jump cache. */
export interface Generation {
  number: number;
  /** All of them lie in pages with global translations. */
  isGlobal: boolean;
}

export class Parked {
  /** Entries of the TLB with translations that are not global, and that are. */
  local = new Touched();
  global = new Touched();
  /** Regions where large pages were seen (tlb.ts). */
  large = new Set<number>();
  huge = new Set<number>();
  jumps = new Touched();
  /** By the modes' keys. */
  modes = new Map<number, Generation>();
  /** JumpCache's counts of when all was forgotten and of dropped blocks, when it was parked. */
  jumpEpoch = -1;
  drops = 0;
  /** Contexts' counts of flushes of everything, and of single frames, then. */
  epoch = -1;
  frameFlushes = 0;
  /** The period of sampling (regions.ts) in which it was parked last. */
  period = -1;
}
