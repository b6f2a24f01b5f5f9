/**
 * Processors that take turns on one engine. Each has a place (parked.ts), where its registers and what it has in the TLB and
 * the jump cache are while another one is on, if nothing has become of that meanwhile. A processor's own flushes happen
 * while it is on and meet what is there; those of all processors and of single frames are noted here.
 */
import type { Breakpoints } from './breakpoints.ts';
import type { Engine } from './engine.ts';
import * as L from './layout.ts';
import type { Mmu } from './mmu.ts';
import type { ModeTracker } from './mode.ts';
import { type Changes, type Owner, Place } from './parked.ts';

/** The CPU's reactions to registers that changed all at once. */
export interface ContextCalls {
  configureBreakpoints(): void;
  configureMmu(): void;
  /** Control registers and mode are others. */
  reconfigure(): void;
  /** No translation and no decoded jump of the processor that is on may be used. */
  forget(): void;
}

/** Enable bits of the four breakpoints. */
const DR7_ENABLED = 0xff;
const DR7 = L.SYSTEM + 8 * L.SYS_DR7;

/** No epoch: nothing is kept. */
const GONE = -1;

export class Contexts {
  readonly #words: Int32Array;
  /** The part of memory that a context is. */
  readonly #present: Uint8Array;
  readonly #engine: Engine;
  readonly #mmu: Mmu;
  readonly #modes: ModeTracker;
  readonly #breakpoints: Breakpoints;
  readonly #calls: ContextCalls;
  readonly #changes: Changes;
  readonly #places: Place[];
  /** The one of the processor that is on. */
  #place: Place;
  /** Where the next one without a place gets it, if all are taken. */
  #hand = 0;
  /** Counts what makes all useless that is kept, and flushes of single frames. */
  #epoch = 0;
  #frameFlushes = 0;
  /** The last flush of each frame; undefined: there was none yet. */
  #flushedAt: Float64Array | undefined;

  constructor(engine: Engine, mmu: Mmu, modes: ModeTracker, breakpoints: Breakpoints, calls: ContextCalls) {
    const { buffer } = engine;
    this.#words = new Int32Array(buffer);
    this.#present = new Uint8Array(buffer, L.CONTEXT_START, L.CONTEXT_END - L.CONTEXT_START);
    this.#engine = engine;
    this.#mmu = mmu;
    this.#modes = modes;
    this.#breakpoints = breakpoints;
    this.#calls = calls;
    this.#changes = engine.code.changes;
    this.#place = engine.home;
    this.#places = [engine.home];
  }

  save(): Owner {
    return { bytes: this.#present.slice(), place: undefined };
  }

  /** In the place of the processor that is on. */
  load({ bytes, place }: Owner): void {
    if (place !== undefined) place.epoch = place.changes = GONE;
    const generation = this.#words[L.JUMP_GENERATION >> 2]!;
    this.#present.set(bytes);
    this.#words[L.JUMP_GENERATION >> 2] = generation;
    this.#words[L.LINK_FROM >> 2] = 0;
    if (this.#watches()) this.#calls.configureBreakpoints();
    this.#calls.reconfigure();
    this.#calls.forget();
  }

  switch(previous: Owner, next: Owner): void {
    const from = this.#place;
    const to = next.place;
    // Mostly nothing of what both had when they left has become another meanwhile.
    const { count } = this.#changes;
    const isPlain = to !== undefined && previous.place === from && from.changes === count && to.changes === count && from.isTidy === true;
    if (!isPlain || from.blockMode !== this.#modes.current || to.blockMode !== from.blockMode || this.#breakpoints.isActive)
      return this.#switchAfterChanges(previous, next);
    this.#mmu.leave();
    this.#engine.exchange(from.address, to.address);
    this.#place = to;
    this.#words[L.LINK_FROM >> 2] = 0;
    this.#mmu.enter(to);
    this.#engine.code.jumps.resume(to);
    this.#calls.configureMmu();
    if (this.#watches()) this.#calls.configureBreakpoints();
  }

  #switchAfterChanges(previous: Owner, next: Owner): void {
    const from = this.#place;
    if (previous.place !== from) this.#give(from, previous);
    const to = next.place ?? this.#newPlace(next);
    const { code, exchange } = this.#engine;
    const wasWatching = this.#breakpoints.isActive;
    this.#leave(from, wasWatching);
    const isKept = to.epoch === this.#epoch && code.jumps.isUsable(to);
    if (!isKept) this.#clear(to);
    exchange(from.address, to.address);
    this.#place = to;
    this.#words[L.LINK_FROM >> 2] = 0;
    this.#mmu.enter(to);
    code.jumps.enter(to);
    const { blockMode } = to;
    if (blockMode !== undefined) {
      this.#modes.resume(blockMode);
      if (to.mode !== blockMode.key) code.jumps.enterMode(blockMode.key, false);
      this.#calls.configureMmu();
      this.#mmu.isNarrow = false;
    } else {
      this.#calls.reconfigure();
      const { key, code: size } = this.#modes.current;
      code.jumps.enterMode(key, size !== 64);
    }
    const areFlushed = to.frameFlushes !== this.#frameFlushes;
    if (areFlushed || to.protections !== code.protections) this.#mmu.revise(areFlushed ? this.#flushedAt : undefined);
    if (wasWatching || this.#watches()) this.#calls.configureBreakpoints();
  }

  #watches(): boolean {
    return this.#breakpoints.isActive || (this.#words[DR7 >> 2]! & DR7_ENABLED) !== 0;
  }

  /** What is kept of processors that are not on is of no use any more. */
  forgetParked(): void {
    this.#epoch++;
    this.#changes.count++;
  }

  /** Nothing that is kept leads to the frame any more. */
  forgetFrame(frame: number): void {
    const { code } = this.#engine;
    this.#flushedAt ??= new Float64Array(code.frameCount);
    this.#flushedAt[frame] = ++this.#frameFlushes;
    this.#changes.count++;
    if (code.isCodePage(frame)) this.#epoch++;
  }

  /** The processor's lists are ready to be exchanged, and say until when they are true. */
  #leave(place: Place, isWatching: boolean): void {
    const { code } = this.#engine;
    const { regions } = code;
    if (isWatching || !this.#mmu.canPark) this.#calls.forget();
    if (regions !== undefined && place.period !== regions.period) {
      place.period = regions.period;
      regions.processors++;
    }
    this.#mmu.tidy();
    this.#mmu.leave();
    code.jumps.leave();
    place.isTidy = true;
    place.changes = this.#mmu.canPark ? this.#changes.count : GONE;
    const { current } = this.#modes;
    place.blockMode = current.code === 64 ? current : undefined;
    place.epoch = this.#epoch;
    place.frameFlushes = this.#frameFlushes;
    place.protections = code.protections;
  }

  /** It begins with nothing known; what its owner's registers are it has. */
  #clear(place: Place): void {
    place.clearTranslations();
    this.#engine.code.jumps.forgetParked(place);
    place.frameFlushes = this.#frameFlushes;
    place.protections = this.#engine.code.protections;
  }

  /** A place for one that has none, perhaps another's who is not on either and loses what was kept of it. */
  #newPlace(context: Owner): Place {
    const places = this.#places;
    if (places.length < L.PLACE_COUNT) {
      this.#hand = places.length;
      places.push(new Place(this.#words, this.#hand));
    } else {
      do this.#hand = (this.#hand + 1) % L.PLACE_COUNT;
      while (places[this.#hand] === this.#place);
    }
    const place = places[this.#hand]!;
    const { bytes } = context;
    this.#give(place, context);
    place.registers.set(bytes);
    place.epoch = place.changes = GONE;
    place.blockMode = undefined;
    return place;
  }

  /** The place is the context's from now on; who had it keeps its registers elsewhere. */
  #give(place: Place, context: Owner): void {
    const { owner } = place;
    if (owner !== undefined) {
      owner.bytes = place.registers.slice();
      owner.place = undefined;
    }
    if (context.place !== undefined) context.place.owner = undefined;
    place.owner = context;
    context.place = place;
    context.bytes = place.registers;
  }
}
