/**
 * Processors that take turns on one engine: the registers of one go out, those of another come in, and with them what each
 * has in the TLB and the jump cache (parked.ts), if nothing has become of that meanwhile. A processor's own flushes happen
 * while it is on and meet what is there; those of all processors and of single frames are noted here.
 */
import type { Breakpoints } from './breakpoints.ts';
import type { CodeCache } from './code_cache.ts';
import type { CpuContext } from './interface.ts';
import * as L from './layout.ts';
import type { Mmu } from './mmu.ts';
import { Parked } from './parked.ts';

/** The CPU's reactions to registers that changed all at once. */
export interface ContextCalls {
  configureBreakpoints(): void;
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
  readonly #bytes: Uint8Array;
  /** The part of `#bytes` that a context is. */
  readonly #present: Uint8Array;
  readonly #view: DataView;
  readonly #mmu: Mmu;
  readonly #code: CodeCache;
  readonly #breakpoints: Breakpoints;
  readonly #calls: ContextCalls;
  /** What is kept, of contexts that are not on but have been. */
  readonly #parked = new WeakMap<CpuContext, Parked>();
  /** Counts what makes all useless that is kept, and flushes of single frames. */
  #epoch = 0;
  #frameFlushes = 0;
  /** The last flush of each frame; undefined: there was none yet. */
  #flushedAt: Float64Array | undefined;

  constructor(view: DataView, mmu: Mmu, code: CodeCache, breakpoints: Breakpoints, calls: ContextCalls) {
    this.#bytes = new Uint8Array(view.buffer);
    this.#present = this.#bytes.subarray(L.CONTEXT_START, L.CONTEXT_END);
    this.#view = view;
    this.#mmu = mmu;
    this.#code = code;
    this.#breakpoints = breakpoints;
    this.#calls = calls;
  }

  save(): CpuContext {
    return { bytes: this.#present.slice() };
  }

  load(context: CpuContext): void {
    this.#parked.delete(context);
    this.#takeOver(context);
    this.#calls.reconfigure();
    this.#calls.forget();
  }

  switch(previous: CpuContext, next: CpuContext): void {
    previous.bytes.set(this.#present);
    this.#takeOver(next);
    if (this.#mmu.canPark && !this.#breakpoints.isActive) {
      this.#park(previous);
      this.#resume(next);
    } else {
      this.#calls.forget();
      this.#parked.delete(next);
    }
    this.#calls.reconfigure();
    this.#code.jumps.reenter();
  }

  /** What is kept of processors that are not on is of no use any more. */
  forgetParked(): void {
    this.#epoch++;
  }

  /** Nothing that is kept leads to the frame any more. */
  forgetFrame(frame: number): void {
    this.#flushedAt ??= new Float64Array(this.#code.frameCount);
    this.#flushedAt[frame] = ++this.#frameFlushes;
    if (this.#code.isCodePage(frame)) this.#epoch++;
  }

  #park(context: CpuContext): void {
    let parked = this.#parked.get(context);
    if (parked === undefined) {
      parked = new Parked();
      this.#parked.set(context, parked);
    }
    const { regions } = this.#code;
    if (regions !== undefined && parked.period !== regions.period) {
      parked.period = regions.period;
      regions.processors++;
    }
    parked.epoch = this.#epoch;
    parked.frameFlushes = this.#frameFlushes;
    this.#mmu.park(parked);
    this.#code.jumps.park(parked);
  }

  #resume(context: CpuContext): void {
    const parked = this.#parked.get(context);
    const isKept = parked?.epoch === this.#epoch;
    if (parked !== undefined) parked.epoch = GONE;
    if (!isKept) return;
    this.#mmu.resume(parked, parked.frameFlushes === this.#frameFlushes ? undefined : this.#flushedAt);
    this.#code.jumps.resume(parked);
  }

  #takeOver(context: CpuContext): void {
    const generation = this.#view.getInt32(L.JUMP_GENERATION, true);
    this.#bytes.set(context.bytes, L.CONTEXT_START);
    this.#view.setInt32(L.JUMP_GENERATION, generation, true);
    this.#view.setInt32(L.LINK_FROM, 0, true);
    if (this.#breakpoints.isActive || this.#view.getInt32(DR7, true) & DR7_ENABLED) this.#calls.configureBreakpoints();
  }
}
