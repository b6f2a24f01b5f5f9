/**
 * What a processor has in the TLB and the jump cache, kept for it while another one is on (contexts.ts). Entries are moved
 * out and back, as generated code knows one TLB only.
 */

/** Entries of a table in linear memory, each as where it lies (an index of words) and what it says. */
export class ParkedEntries {
  words = new Int32Array(64);
  /** Words in use. */
  size = 0;

  /** Takes the four words at `at`. */
  add(from: Int32Array, at: number): void {
    const { size } = this;
    if (size + 5 > this.words.length) this.#grow();
    const { words } = this;
    words[size] = at;
    words[size + 1] = from[at]!;
    words[size + 2] = from[at + 1]!;
    words[size + 3] = from[at + 2]!;
    words[size + 4] = from[at + 3]!;
    this.size = size + 5;
  }

  #grow(): void {
    const words = new Int32Array(2 * this.words.length);
    words.set(this.words);
    this.words = words;
  }
}

/** The generations of a processor's modes (jump_cache.ts). */
export interface Generation {
  number: number;
  /** All of its entries lie in pages with global translations. */
  isGlobal: boolean;
}

export class Parked {
  readonly tlb = new ParkedEntries();
  /** Regions where large pages were seen (tlb.ts). */
  large = new Set<number>();
  huge = new Set<number>();
  readonly jumps = new ParkedEntries();
  /** By the modes' keys. */
  modes = new Map<number, Generation>();

  /** JumpCache's count of when all was forgotten, when it was parked. */
  jumpEpoch = -1;
  /** Contexts' counts of flushes of everything, and of single frames, then. */
  epoch = -1;
  frameFlushes = 0;
  /** The period of sampling (regions.ts) in which it was parked last. */
  period = -1;
}
