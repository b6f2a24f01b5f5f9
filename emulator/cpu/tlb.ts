/**
 * The TLB that generated code probes inline (layout.ts): 4 KiB entries with read, write and fetch kinds in three sets. An
 * entry may live until it is flushed, as on hardware. Entries have no PCID: a new one makes those of the old one go, which
 * the architecture leaves to the CPU (SDM 3A 4.10.1).
 */
import type { Access } from './interface.ts';
import * as L from './layout.ts';
import { PAGE_SIZE } from './layout.ts';
import type { CodePages } from './mmu.ts';
import type { PageBits } from './page_walk.ts';
import { type Parked, Touched } from './parked.ts';

const SETS = [L.TLB_USER, L.TLB_SUPERVISOR, L.TLB_OPEN];
const KIND_COUNT = L.TLB_SET_SIZE / L.TLB_KIND_SIZE;
const WRITE_KIND = L.TLB_WRITE / L.TLB_KIND_SIZE,
  FETCH_KIND = L.TLB_FETCH / L.TLB_KIND_SIZE;
const EMPTY = 1;
const FLAG_GLOBAL = 1,
  FLAG_LARGE = 2;
/** Words of an entry: tag (2), offset from linear address to place, flags. */
const WORDS = L.TLB_ENTRY_SIZE / 4;
const KIND_WORDS = L.TLB_KIND_SIZE / 4;
const SET_WORDS = L.TLB_SET_SIZE / 4;
/** Entries of a kind, global or not, that are kept for a processor which is not on: the last ones. */
const MAX_PARKED = 512;
const NONE = -1;

/** Compared, as a table by name would cost a search each time. */
function kindOf(access: Access): number {
  return access === 'read' ? L.TLB_READ : access === 'write' ? L.TLB_WRITE : L.TLB_FETCH;
}

export class Tlb {
  readonly #words: Int32Array;
  /** Sets that have had entries since everything was flushed, by the words' index of their start. */
  readonly #live = new Set<number>();
  /** Filled with translations of one kind since the last flush of those. */
  #local = new Touched();
  #global = new Touched();
  /** Something of what was resumed must not come back another time: what was kept of it is more than is there. */
  #isDirty = false;
  /** 4 MiB and 1 GiB regions of linear addresses where large pages were seen. */
  #large = new Set<number>();
  #huge = new Set<number>();
  #lastLarge = NONE;

  constructor(buffer: ArrayBuffer) {
    this.#words = new Int32Array(buffer);
    for (let at = L.TLB_USER / 4; at < L.TLB_END / 4; at += WORDS) this.#words[at] = EMPTY;
  }

  /** Where the byte lies, or -1. `set`: a TLB_* address. */
  find(low: number, high: number, set: number, access: Access): number {
    const words = this.#words;
    const entry = entryOf(set, kindOf(access), low);
    if (words[entry] !== (low & ~0xfff) || words[entry + 1] !== high) return -1;
    return ((low + words[entry + 2]!) >>> 0) - L.RAM;
  }

  isGlobal(low: number, high: number, set: number, access: Access): boolean {
    return this.find(low, high, set, access) >= 0 && (this.#words[entryOf(set, kindOf(access), low) + 3]! & FLAG_GLOBAL) !== 0;
  }

  fill(low: number, high: number, set: number, access: Access, page: number, isGlobal: boolean, pageBits: PageBits): void {
    const words = this.#words;
    const entry = entryOf(set, kindOf(access), low);
    const pageLow = low & ~0xfff;
    words[entry] = pageLow;
    words[entry + 1] = high;
    words[entry + 2] = (L.RAM + page - pageLow) | 0;
    words[entry + 3] = (isGlobal ? FLAG_GLOBAL : 0) | (pageBits > 12 ? FLAG_LARGE : 0);
    this.#live.add(set / 4);
    (isGlobal ? this.#global : this.#local).add(entry);
    if (pageBits > 12) this.#noteLarge(low, high, pageBits);
  }

  #noteLarge(low: number, high: number, pageBits: PageBits): void {
    if (pageBits === 30) {
      this.#huge.add(hugeRegion(low, high));
      return;
    }
    const region = largeRegion(low, high);
    if (region === this.#lastLarge) return;
    this.#lastLarge = region;
    this.#large.add(region);
  }

  /** Everything, or all but global translations. */
  flush(isGlobalToo: boolean): void {
    const words = this.#words;
    if (this.#local.isTooMany || (isGlobalToo && this.#global.isTooMany)) {
      this.#wipe((entry) => isGlobalToo || (words[entry + 3]! & FLAG_GLOBAL) === 0);
    } else {
      this.#empty(this.#local, isGlobalToo);
      if (isGlobalToo) this.#empty(this.#global, true);
    }
    this.#local.clear();
    if (!isGlobalToo) return;
    this.#global.clear();
    this.#isDirty = false;
    this.#live.clear();
    this.#large.clear();
    this.#huge.clear();
    this.#lastLarge = NONE;
  }

  /** Everything goes, most of it to where it is kept. */
  park(parked: Parked): void {
    parked.local.clear();
    parked.global.clear();
    parked.large.clear();
    parked.huge.clear();
    if (this.#local.isTooMany || this.#global.isTooMany) return this.flush(true);
    this.#save(this.#local);
    this.#save(this.#global);
    this.#live.clear();
    this.#swap(parked);
    this.#isDirty = false;
  }

  #save(touched: Touched): void {
    const words = this.#words;
    const { entries, count } = touched;
    if (this.#isDirty || count > MAX_PARKED) return touched.collect(words, 0, EMPTY, MAX_PARKED);
    touched.save(words);
    for (let i = 0; i < count; i++) words[entries[i]!] = EMPTY;
  }

  #swap(parked: Parked): void {
    const { local, global, large, huge } = parked;
    parked.local = this.#local;
    parked.global = this.#global;
    parked.large = this.#large;
    parked.huge = this.#huge;
    this.#local = local;
    this.#global = global;
    this.#large = large;
    this.#huge = huge;
    this.#lastLarge = NONE;
  }

  /**
   * What was kept is there again; the TLB is empty before. Not what leads to frames that were flushed since (`flushedAt`, by
   * frame), nor stores to those that hold code now.
   */
  resume(parked: Parked, code: CodePages, flushedAt: Float64Array | undefined): void {
    this.#swap(parked);
    this.#restore(this.#local, code, flushedAt, parked.frameFlushes);
    this.#restore(this.#global, code, flushedAt, parked.frameFlushes);
  }

  #restore(touched: Touched, code: CodePages, flushedAt: Float64Array | undefined, frameFlushes: number): void {
    const words = this.#words;
    const { entries, count } = touched;
    let live = NONE;
    for (let i = 0; i < count; i++) {
      const entry = entries[i]!;
      touched.restore(i, words);
      const kind = ((entry * 4 - L.TLB_USER) / L.TLB_KIND_SIZE) | 0;
      const set = (kind / KIND_COUNT) | 0;
      if (set !== live) {
        live = set;
        this.#live.add((L.TLB_USER + set * L.TLB_SET_SIZE) / 4);
      }
      const isForWrites = kind - set * KIND_COUNT === WRITE_KIND;
      if (flushedAt === undefined && !isForWrites) continue;
      const frame = (((words[entry]! + words[entry + 2]!) >>> 0) - L.RAM) >>> 12;
      const isGone = (flushedAt !== undefined && flushedAt[frame]! > frameFlushes) || (isForWrites && code.isCodePage(frame));
      if (!isGone) continue;
      words[entry] = EMPTY;
      this.#isDirty = true;
    }
  }

  /** Empties the entries, if what is there now is not global, or whatever it is. */
  #empty({ entries, count }: Touched, isGlobalToo: boolean): void {
    const words = this.#words;
    for (let i = 0; i < count; i++) {
      const entry = entries[i]!;
      if (isGlobalToo || (words[entry + 3]! & FLAG_GLOBAL) === 0) words[entry] = EMPTY;
    }
  }

  /** A linear page, and the whole of the large page that it may belong to; whether the page itself was known for fetches. */
  flushPage(low: number, high: number): boolean {
    const words = this.#words;
    this.#isDirty = true;
    const pageLow = low & ~0xfff;
    const region = low >>> 30;
    let wasFetched = false;
    for (const set of SETS) {
      for (let kind = 0, entry = entryOf(set, 0, low); kind < KIND_COUNT; kind++, entry += KIND_WORDS) {
        if (words[entry] !== pageLow || words[entry + 1] !== high) continue;
        words[entry] = EMPTY;
        if (kind === FETCH_KIND) wasFetched = true;
      }
    }
    if (this.#large.has(largeRegion(low, high)) || this.#huge.has(hugeRegion(low, high)))
      this.#wipe((entry) => (words[entry + 3]! & FLAG_LARGE) !== 0 && words[entry + 1] === high && words[entry]! >>> 30 === region);
    return wasFetched;
  }

  /** Whatever leads to a frame; false when there are too many entries to look at: flush all. Lists only what is left from now on. */
  flushFrame(frame: number): boolean {
    if (this.#local.isTooMany || this.#global.isTooMany) return false;
    const page = (L.RAM + frame * PAGE_SIZE) | 0;
    this.#emptyFrame(this.#local, page);
    this.#emptyFrame(this.#global, page);
    return true;
  }

  #emptyFrame(touched: Touched, page: number): void {
    const words = this.#words;
    const { entries } = touched;
    let kept = 0;
    for (let i = 0; i < touched.count; i++) {
      const entry = entries[i]!;
      if (((words[entry]! + words[entry + 2]!) | 0) === page) words[entry] = EMPTY;
      if (words[entry] !== EMPTY) entries[kept++] = entry;
    }
    touched.count = kept;
    touched.saved = 0;
  }

  #wipe(isGone: (entry: number) => boolean): void {
    for (const start of this.#live)
      for (let entry = start; entry < start + SET_WORDS; entry += WORDS) if (isGone(entry)) this.#words[entry] = EMPTY;
  }

  /** No store may reach a frame any more without being seen. */
  protectFrame(frame: number): void {
    const words = this.#words;
    const page = (L.RAM + frame * PAGE_SIZE) | 0;
    for (const set of this.#live) {
      const start = set + L.TLB_WRITE / 4;
      for (let entry = start; entry < start + KIND_WORDS; entry += WORDS) {
        if (words[entry] !== EMPTY && ((words[entry]! + words[entry + 2]!) | 0) === page) words[entry] = EMPTY;
      }
    }
  }
}

function entryOf(set: number, kind: number, low: number): number {
  return (set + kind) / 4 + ((low >>> 12) & (L.TLB_ENTRIES - 1)) * WORDS;
}

/** Numbers of the 4 MiB and 1 GiB that an address lies in. */
function largeRegion(low: number, high: number): number {
  return (high >>> 0) * 1024 + (low >>> 22);
}

function hugeRegion(low: number, high: number): number {
  return (high >>> 0) * 4 + (low >>> 30);
}
