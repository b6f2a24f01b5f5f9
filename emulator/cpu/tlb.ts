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
import type { Place, Touched } from './parked.ts';

const SETS = [L.TLB_USER, L.TLB_SUPERVISOR, L.TLB_OPEN];
const KIND_COUNT = L.TLB_SET_SIZE / L.TLB_KIND_SIZE;
const WRITE_KIND = L.TLB_WRITE / L.TLB_KIND_SIZE,
  FETCH_KIND = L.TLB_FETCH / L.TLB_KIND_SIZE;
/** The first word of an entry that is none. */
export const EMPTY = 1;
const FLAG_GLOBAL = 1,
  FLAG_LARGE = 2;
/** Words of an entry: tag (2), offset from linear address to place, flags. */
const WORDS = L.TLB_ENTRY_SIZE / 4;
const KIND_WORDS = L.TLB_KIND_SIZE / 4;
const SET_WORDS = L.TLB_SET_SIZE / 4;
const NONE = -1;

/** Compared, as a table by name would cost a search each time. */
function kindOf(access: Access): number {
  return access === 'read' ? L.TLB_READ : access === 'write' ? L.TLB_WRITE : L.TLB_FETCH;
}

export class Tlb {
  readonly #words: Int32Array;
  /** Of the processor that is on: its lists have what was filled since the last flush. */
  #place: Place;
  /** The last 4 MiB region of linear addresses where a large page was seen. */
  #lastLarge = NONE;
  /** By frame: 1 where something, here or kept of a processor that is not on, may lead to it. */
  readonly #isShown: Uint8Array;

  constructor(words: Int32Array, home: Place, frameCount: number) {
    this.#words = words;
    this.#place = home;
    this.#isShown = new Uint8Array(frameCount);
    for (let at = L.TLB_USER / 4; at < L.TLB_END / 4; at += WORDS) words[at] = EMPTY;
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
    this.#isShown[page / PAGE_SIZE] = 1;
    const place = this.#place;
    place.live |= 1 << ((set - L.TLB_USER) / L.TLB_SET_SIZE);
    (isGlobal ? place.global : place.local).add(entry);
    if (pageBits > 12) this.#noteLarge(low, high, pageBits);
  }

  #noteLarge(low: number, high: number, pageBits: PageBits): void {
    if (pageBits === 30) {
      this.#place.huge.add(hugeRegion(low, high));
      return;
    }
    const region = largeRegion(low, high);
    if (region === this.#lastLarge) return;
    this.#lastLarge = region;
    this.#place.large.add(region);
  }

  /** Everything, or all but global translations. */
  flush(isGlobalToo: boolean): void {
    const words = this.#words;
    const place = this.#place;
    const { local, global } = place;
    if (local.isTooMany || (isGlobalToo && global.isTooMany)) {
      this.#wipe((entry) => isGlobalToo || (words[entry + 3]! & FLAG_GLOBAL) === 0);
    } else {
      this.#empty(local, isGlobalToo);
      if (isGlobalToo) this.#empty(global, true);
    }
    local.clear();
    if (!isGlobalToo) return;
    place.clearTranslations();
    this.#lastLarge = NONE;
  }

  /** The processor that is on will leave (exchange.ts): its lists become such that all they say may be kept. */
  tidy(): void {
    const { local, global, isTidy } = this.#place;
    if (isTidy) return;
    if (local.isTooMany || global.isTooMany) return this.flush(true);
    local.collect(0, EMPTY);
    global.collect(0, EMPTY);
  }

  /** Another one is on, with what it has. */
  enter(place: Place): void {
    this.#place = place;
    this.#lastLarge = NONE;
  }

  /**
   * Of what the processor that came on has, nothing leads to frames that were flushed meanwhile (`flushedAt`, by frame), and
   * no stores to those that hold code now.
   */
  revise(code: CodePages, flushedAt: Float64Array | undefined): void {
    this.#revise(this.#place.local, code, flushedAt);
    this.#revise(this.#place.global, code, flushedAt);
  }

  #revise(touched: Touched, code: CodePages, flushedAt: Float64Array | undefined): void {
    const words = this.#words;
    const { count } = touched;
    const { frameFlushes } = this.#place;
    for (let i = 0; i < count; i++) {
      const entry = touched.at(i);
      const kind = ((entry * 4 - L.TLB_USER) / L.TLB_KIND_SIZE) | 0;
      const frame = (((words[entry]! + words[entry + 2]!) >>> 0) - L.RAM) >>> 12;
      const isFlushed = flushedAt !== undefined && flushedAt[frame]! > frameFlushes;
      if (!isFlushed && !(kind % KIND_COUNT === WRITE_KIND && code.isCodePage(frame))) continue;
      words[entry] = EMPTY;
      this.#place.isTidy = false;
    }
  }

  /** Empties the entries, if what is there now is not global, or whatever it is. */
  #empty(touched: Touched, isGlobalToo: boolean): void {
    const words = this.#words;
    const { count } = touched;
    for (let i = 0; i < count; i++) {
      const entry = touched.at(i);
      if (isGlobalToo || (words[entry + 3]! & FLAG_GLOBAL) === 0) words[entry] = EMPTY;
    }
  }

  /** A linear page, and the whole of the large page that it may belong to; whether the page itself was known for fetches. */
  flushPage(low: number, high: number): boolean {
    const words = this.#words;
    this.#place.isTidy = false;
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
    const { large, huge } = this.#place;
    if (large.has(largeRegion(low, high)) || huge.has(hugeRegion(low, high)))
      this.#wipe((entry) => (words[entry + 3]! & FLAG_LARGE) !== 0 && words[entry + 1] === high && words[entry]! >>> 30 === region);
    return wasFetched;
  }

  isShown(frame: number): boolean {
    return this.#isShown[frame] !== 0;
  }

  /**
   * Whatever leads to a frame here, what is kept elsewhere being forgotten beforehand; false when there are too many entries to
   * look at: flush all. Lists only what is left from now on.
   */
  flushFrame(frame: number): boolean {
    const { local, global } = this.#place;
    this.#isShown[frame] = 0;
    if (local.isTooMany || global.isTooMany) return false;
    const words = this.#words;
    const page = (L.RAM + frame * PAGE_SIZE) | 0;
    const isLeft = (entry: number): boolean => {
      if (((words[entry]! + words[entry + 2]!) | 0) === page) words[entry] = EMPTY;
      return words[entry] !== EMPTY;
    };
    local.filter(isLeft);
    global.filter(isLeft);
    return true;
  }

  #wipe(isGone: (entry: number) => boolean): void {
    const words = this.#words;
    for (const set of SETS) {
      if (!this.#isLive(set)) continue;
      const start = set / 4;
      for (let entry = start; entry < start + SET_WORDS; entry += WORDS) if (isGone(entry)) words[entry] = EMPTY;
    }
  }

  #isLive(set: number): boolean {
    return (this.#place.live & (1 << ((set - L.TLB_USER) / L.TLB_SET_SIZE))) !== 0;
  }

  /** No store may reach a frame any more without being seen. */
  protectFrame(frame: number): void {
    const words = this.#words;
    const page = (L.RAM + frame * PAGE_SIZE) | 0;
    for (const set of SETS) {
      if (!this.#isLive(set)) continue;
      const start = (set + L.TLB_WRITE) / 4;
      for (let entry = start; entry < start + KIND_WORDS; entry += WORDS) {
        if (words[entry] !== EMPTY && ((words[entry]! + words[entry + 2]!) | 0) === page) words[entry] = EMPTY;
      }
    }
  }
}

function entryOf(set: number, kind: number, low: number): number {
  return ((set + kind) >> 2) + ((low >>> 12) & (L.TLB_ENTRIES - 1)) * WORDS;
}

/** Numbers of the 4 MiB and 1 GiB that an address lies in. */
function largeRegion(low: number, high: number): number {
  return (high >>> 0) * 1024 + (low >>> 22);
}

function hugeRegion(low: number, high: number): number {
  return (high >>> 0) * 4 + (low >>> 30);
}
