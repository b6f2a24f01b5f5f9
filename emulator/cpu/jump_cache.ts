/**
 * The jump cache: in linear memory, by RIP, the record that starts the block there, so that generated code goes on at an
 * address without TypeScript. It is for what no link leads to (interpreter.ts): returns, indirect branches, and branches
 * between pages, whose mapping may change. Entries belong to a generation, and only those of JUMP_GENERATION count; each
 * mode of the processor has its own, so that a change of mode and back forgets nothing.
 */
import * as L from './layout.ts';
import type { Changes, Place } from './parked.ts';
import type { FunctionBody } from './wasm_writer.ts';

/** An entry: RIP (8 bytes), record (4), generation (4). */
const RECORD = 8,
  GENERATION = 12;
/**
 * RIPs so many bits apart have entries side by side: few jumps go to two places within four bytes, and what is used
 * together shares pages of the cache. Bits from FOLD up tell apart what lies farther away.
 */
const STEP_BITS = 2,
  FOLD = 14,
  ENTRY_BITS = Math.log2(L.JUMP_CACHE_ENTRY_SIZE);
const MASK = (L.JUMP_CACHE_ENTRIES - 1) * L.JUMP_CACHE_ENTRY_SIZE;

/** Address of the entry of a RIP, given its halves. */
function entryOf(low: number, high: number): number {
  const folded = low ^ ((low >>> FOLD) | (high << (32 - FOLD)));
  return L.JUMP_CACHE + ((folded << (ENTRY_BITS - STEP_BITS)) & MASK);
}

/** Emits: is there a record for the RIP in the i64 local `rip`? Sets the i32 local `entry` for `pushRecord`. */
export function pushIsKnown(f: FunctionBody, rip: number, entry: number): FunctionBody {
  f.get(rip).i64(BigInt(FOLD)).op('i64.shr_u').get(rip).op('i64.xor').op('i32.wrap_i64');
  f.i32(ENTRY_BITS - STEP_BITS)
    .op('i32.shl')
    .i32(MASK)
    .op('i32.and')
    .tee(entry);
  f.mem('i64.load', L.JUMP_CACHE).get(rip).op('i64.xor');
  f.get(entry).mem('i32.load', L.JUMP_CACHE + GENERATION);
  return isCurrent(f);
}

export function pushRecord(f: FunctionBody, entry: number): FunctionBody {
  return f.get(entry).mem('i32.load', L.JUMP_CACHE + RECORD);
}

/** The same for a constant RIP, given its halves. */
export function pushIsKnownAt(f: FunctionBody, low: number, high: number): FunctionBody {
  const entry = entryOf(low, high);
  f.i32(0).mem('i64.load', entry).i64Halves(low, high).op('i64.xor');
  f.i32(0).mem('i32.load', entry + GENERATION);
  return isCurrent(f);
}

export function pushRecordAt(f: FunctionBody, low: number, high: number): FunctionBody {
  return f.i32(0).mem('i32.load', entryOf(low, high) + RECORD);
}

/** With how its RIP differs and its generation pushed. */
function isCurrent(f: FunctionBody): FunctionBody {
  return f.i32(0).mem('i32.load', L.JUMP_GENERATION).op('i32.xor').op('i64.extend_i32_u').op('i64.or').op('i64.eqz');
}

export class JumpCache {
  readonly #view: DataView;
  readonly #words: Int32Array;
  /** Of the processor that is on. */
  #place: Place;
  /** Counts how often all was forgotten for all processors. */
  #epoch = 0;
  /** Counts blocks that were dropped; a place's kept entries are as of its count. */
  #drops = 0;
  #last = 0;
  readonly #changes: Changes;

  constructor(view: DataView, home: Place, changes: Changes) {
    this.#view = view;
    this.#changes = changes;
    this.#words = new Int32Array(view.buffer);
    this.#place = home;
    this.enterMode(-1, true);
  }

  /** Another mode: what was jumped to in it is known again, unless it is `isFresh`. */
  enterMode(key: number, isFresh: boolean): void {
    const place = this.#place;
    place.mode = key;
    place.isFresh = isFresh;
    let generation = place.generations.get(key);
    if (generation === undefined || isFresh) {
      generation = { number: ++this.#last, isGlobal: true };
      place.generations.set(key, generation);
    }
    place.generation = generation;
    this.#publish();
  }

  /** Mappings have changed; `keepsGlobal`: not the global ones. */
  forget(keepsGlobal = false): void {
    const place = this.#place;
    if (!keepsGlobal) place.jumps.clear();
    for (const generation of place.generations.values()) {
      if (keepsGlobal && generation.isGlobal) continue;
      generation.number = ++this.#last;
      generation.isGlobal = true;
    }
    this.#publish();
  }

  /** Records are no longer what they were, for whichever processor. */
  forgetAll(): void {
    this.#epoch++;
    this.#changes.count++;
    this.forget();
  }

  /** The processor that is on will leave (exchange.ts). */
  leave(): void {
    const place = this.#place;
    const { jumps } = place;
    if (jumps.isLong || this.#drops !== place.drops) jumps.collect(GENERATION / 4, 0);
    place.jumpEpoch = this.#epoch;
    place.drops = this.#drops;
  }

  /** What was kept for the processor is of no use, or `place` is a new one. */
  forgetParked(place: Place): void {
    place.jumps.clear();
    place.generations.clear();
    place.mode = -1;
    place.isFresh = true;
    place.jumpEpoch = this.#epoch;
    place.drops = this.#drops;
  }

  /** Whether what is kept there may come back, but for what `enter` leaves out. */
  isUsable({ jumpEpoch }: Place): boolean {
    return jumpEpoch === this.#epoch;
  }

  /** Another processor is on, with what it has; there were no changes. */
  resume(place: Place): void {
    this.#place = place;
  }

  /** The same; records of blocks that were dropped (code_cache.ts) are looked for: they look for themselves. */
  enter(place: Place): void {
    this.#place = place;
    if (place.isFresh) this.enterMode(place.mode, true);
    else this.#publish();
    if (place.drops === this.#drops) return;
    const words = this.#words;
    const { count } = place.jumps;
    for (let i = 0; i < count; i++) {
      const entry = place.jumps.at(i);
      const handler = words[(words[entry + RECORD / 4]! + L.R_HANDLER) / 4]! & 0xffff;
      if (handler === L.HANDLER_GOTO) words[entry + GENERATION / 4] = 0;
    }
  }

  /** Execution has reached a page whose translation is not global. */
  noteLocalCode(): void {
    this.#place.generation.isGlobal = false;
  }

  #publish(): void {
    this.#view.setInt32(L.JUMP_GENERATION, this.#place.generation.number, true);
  }

  /** The record at RIP, or 0. */
  atRip(): number {
    const view = this.#view;
    return this.recordAt(view.getInt32(L.RIP, true), view.getInt32(L.RIP + 4, true));
  }

  /** The record for a RIP, given its halves, or 0. */
  recordAt(low: number, high: number): number {
    const view = this.#view;
    const entry = entryOf(low, high);
    const isKnown =
      view.getInt32(entry, true) === low &&
      view.getInt32(entry + 4, true) === high &&
      view.getInt32(entry + GENERATION, true) === view.getInt32(L.JUMP_GENERATION, true);
    return isKnown ? view.getInt32(entry + RECORD, true) : 0;
  }

  put(rip: bigint, record: number): void {
    const view = this.#view;
    const low = Number(BigInt.asIntN(32, rip));
    const high = Number(BigInt.asIntN(32, rip >> 32n));
    const entry = entryOf(low, high);
    view.setInt32(entry, low, true);
    view.setInt32(entry + 4, high, true);
    view.setInt32(entry + RECORD, record, true);
    view.setInt32(entry + GENERATION, view.getInt32(L.JUMP_GENERATION, true), true);
    this.#place.jumps.add(entry / 4);
  }

  /** The record is no longer a block's. */
  remove(rip: bigint, record: number): void {
    this.#drops++;
    this.#changes.count++;
    const entry = entryOf(Number(BigInt.asIntN(32, rip)), Number(BigInt.asIntN(32, rip >> 32n)));
    if (this.#view.getInt32(entry + RECORD, true) === record) this.#view.setInt32(entry + GENERATION, 0, true);
  }
}
