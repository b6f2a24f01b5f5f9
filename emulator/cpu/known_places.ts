/**
 * Where the TLB knows that a program may write, in ring 3 or inside of it, as one array of words with the RAM behind it: an
 * access of the host on its behalf that needs no walk costs a comparison. As in generated code (tlb.ts) no store that goes
 * there has to be told of, as a page with decoded code is never among them.
 */
import * as L from './layout.ts';

/** Of an entry: its words, and the first ones: the page's linear address, and how much must be added to one of them. */
const ENTRY_WORDS = L.TLB_ENTRY_SIZE / 4;
/** Of an address in a word, moved where it is neither part of a page's address nor the mark of an empty entry. */
const offsetInWord = (low: number): number => (low & 3) << 1;

export class KnownPlaces {
  /** What `find` gives is an index of these, and twice that one of the half words. */
  readonly words: Int32Array;
  readonly halfwords: Uint16Array;
  /** As long as this is the same number, what was found may be used. */
  flushes = 0;
  /** The first entry. */
  readonly #first: number;

  /** `set`: the program's, TLB_USER or TLB_SUPERVISOR; what is there may also be used where SMAP lets it do more. */
  constructor(buffer: ArrayBuffer, set: number) {
    this.words = new Int32Array(buffer);
    this.halfwords = new Uint16Array(buffer);
    this.#first = (set + L.TLB_WRITE) / 4;
  }

  /** The word at a linear address in halves where `size` bytes follow in its page; -1: it is none, or the TLB does not know. */
  find(low: number, high: number, size: number): number {
    const { words } = this;
    const entry = this.#first + ((low >>> 12) & (L.TLB_ENTRIES - 1)) * ENTRY_WORDS;
    const pageOfLast = (low + size - 1) & -L.PAGE_SIZE;
    if (words[entry] !== (pageOfLast | offsetInWord(low)) || words[entry + 1] !== high) return -1;
    return (low + words[entry + 2]!) >>> 2;
  }
}
