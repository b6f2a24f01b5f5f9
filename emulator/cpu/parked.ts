/**
 * A processor's place in linear memory: what it has in the TLB and the jump cache while it is on, and those entries and its
 * registers while another one is (contexts.ts). Entries move out and back (exchange.ts), as generated code knows one TLB only.
 */
import type { BlockMode } from './code_block.ts';
import type { CpuContext } from './interface.ts';
import * as L from './layout.ts';

/** The words of an entry, in the TLB as in the jump cache. */
const ENTRY_WORDS = 4;
/** So many entries a list has. */
const MAX_TOUCHED = 4096;

/** Of a list: the words' indices of entries, and what those said that are kept. Bytes from the start of the place. */
export interface ListLayout {
  readonly count: number;
  readonly saved: number;
  readonly entries: number;
  readonly kept: number;
  /** So many entries are kept while the processor is not on: the last ones. */
  readonly most: number;
}

function listAt(number: number, entries: number, most: number): ListLayout {
  return { count: 8 * number, saved: 8 * number + 4, entries, kept: entries + 4 * MAX_TOUCHED, most };
}

/** As lists are used alike, they lie differently to a cache's lines. */
const PAD = 0x140;
const endOf = ({ kept, most }: ListLayout): number => kept + 4 * ENTRY_WORDS * most + PAD;

export const REGISTERS = 64;
const REGISTERS_SIZE = L.CONTEXT_END - L.CONTEXT_START;
/** Entries of the TLB with translations that are not global, and that are. */
export const LOCAL_LIST = listAt(0, 0x680, 512);
export const GLOBAL_LIST = listAt(1, endOf(LOCAL_LIST), 512);
/** Others that it had in the jump cache are known again unless somebody took their places. */
export const JUMP_LIST = listAt(2, endOf(GLOBAL_LIST), 1024);
if (endOf(JUMP_LIST) > L.PLACE_SIZE || REGISTERS + REGISTERS_SIZE > LOCAL_LIST.entries) throw new Error('bug: a place is too small');

/** Counts what concerns what is kept of processors that are not on: code that is dropped or found, flushes, periods of sampling. */
export interface Changes {
  count: number;
}

/** Entries of a table in linear memory that a processor has filled: where they are, as indices of words. One may be there twice. */
export class Touched {
  readonly #words: Int32Array;
  readonly #count: number;
  readonly #saved: number;
  readonly #entries: number;
  readonly #kept: number;
  readonly #most: number;
  readonly #place: Place;
  /** There are entries that it does not list. */
  isTooMany = false;

  constructor(words: Int32Array, place: Place, { count, saved, entries, kept, most }: ListLayout) {
    const { address } = place;
    this.#words = words;
    this.#count = (address + count) / 4;
    this.#saved = (address + saved) / 4;
    this.#entries = (address + entries) / 4;
    this.#kept = (address + kept) / 4;
    this.#most = most;
    this.#place = place;
  }

  get count(): number {
    return this.#words[this.#count]!;
  }

  /** Which ones have to be looked at before they can be exchanged: more than are kept. */
  get isLong(): boolean {
    return this.count > this.#most;
  }

  at(i: number): number {
    return this.#words[this.#entries + i]!;
  }

  add(entry: number): void {
    const words = this.#words;
    const count = words[this.#count]!;
    if (count >= this.#most) this.#place.isTidy = false;
    if (count === MAX_TOUCHED) {
      this.isTooMany = true;
      return;
    }
    words[this.#entries + count] = entry;
    words[this.#count] = count + 1;
  }

  /** Keeps what the entry says, as one more. */
  #keep(entry: number): void {
    const words = this.#words;
    const to = this.#kept + this.count * ENTRY_WORDS;
    words.copyWithin(to, entry, entry + ENTRY_WORDS);
    this.add(entry);
    words[this.#saved] = this.count;
  }

  /** Only those that are still filled, the last ones, and each once: where the word at `mark` is not `empty`, which it becomes. */
  collect(mark: number, empty: number): void {
    const words = this.#words;
    const { count } = this;
    const first = Math.max(0, count - this.#most);
    const others = words.slice(this.#entries, this.#entries + first);
    this.clear();
    for (let i = first; i < count; i++) {
      const entry = this.at(i);
      if (words[entry + mark] === empty) continue;
      this.#keep(entry);
      words[entry + mark] = empty;
    }
    for (const entry of others) words[entry + mark] = empty;
  }

  /** Lists only those for which `isLeft` holds. */
  filter(isLeft: (entry: number) => boolean): void {
    const words = this.#words;
    const { count } = this;
    let left = 0;
    for (let i = 0; i < count; i++) {
      const entry = this.at(i);
      if (isLeft(entry)) words[this.#entries + left++] = entry;
    }
    words[this.#count] = left;
    words[this.#saved] = 0;
  }

  clear(): void {
    this.#words[this.#count] = this.#words[this.#saved] = 0;
    this.isTooMany = false;
  }
}

/** The generation of a mode's entries in the jump cache. */
export interface Generation {
  number: number;
  /** All of them lie in pages with global translations. */
  isGlobal: boolean;
}

/** What a context is inside: its bytes are those of its place, if it has one. */
export interface Owner extends CpuContext {
  bytes: Uint8Array;
  place?: Place | undefined;
}

export class Place {
  readonly address: number;
  /** Its registers when it was on last. */
  readonly registers: Uint8Array;
  owner: Owner | undefined;
  readonly local: Touched;
  readonly global: Touched;
  /** What its lists say may be kept as it is: they are not too long, and nothing was flushed that they have. */
  isTidy = true;
  /** Sets of the TLB that have had entries since everything was flushed: a bit each. */
  live = 0;
  /** Regions where large pages were seen (tlb.ts). */
  readonly large = new Set<number>();
  readonly huge = new Set<number>();
  readonly jumps: Touched;
  /** By the modes' keys; the present mode's key, whether it begins anew each time, and its generation. */
  readonly generations = new Map<number, Generation>();
  mode = -1;
  isFresh = true;
  generation: Generation = { number: 0, isGlobal: true };
  /** JumpCache's counts of when all was forgotten and of dropped blocks, when it was parked. */
  jumpEpoch = 0;
  drops = 0;
  /** Changes until it was parked; the numbers before and behind are as of then. */
  changes = -1;
  /** Contexts' counts of flushes of everything, and of single frames, then; the code cache's of frames that became code. */
  epoch = -1;
  frameFlushes = 0;
  protections = 0;
  /** What the 64-bit code was decoded for that it ran then; undefined: something else. */
  blockMode: BlockMode | undefined;
  /** The period of sampling (regions.ts) in which it was parked last. */
  period = -1;

  constructor(words: Int32Array, number: number) {
    this.address = L.PLACES + number * L.PLACE_SIZE;
    this.registers = new Uint8Array(words.buffer, this.address + REGISTERS, REGISTERS_SIZE);
    this.local = new Touched(words, this, LOCAL_LIST);
    this.global = new Touched(words, this, GLOBAL_LIST);
    this.jumps = new Touched(words, this, JUMP_LIST);
  }

  /** Nothing in the TLB is its. */
  clearTranslations(): void {
    this.local.clear();
    this.global.clear();
    this.live = 0;
    this.large.clear();
    this.huge.clear();
  }
}
