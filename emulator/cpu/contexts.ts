/**
 * Processors that take turns on one engine: the registers of one go out, those of another come in. What the change means
 * for the MMU and for decoding is the CPU's to know (cpu.ts).
 */
import type { Breakpoints } from './breakpoints.ts';
import { CR0_TRANSLATION } from './control_registers.ts';
import type { CpuContext } from './interface.ts';
import * as L from './layout.ts';
import type { Mmu } from './mmu.ts';

/** The CPU's reactions to registers that changed all at once. */
export interface ContextCalls {
  configureBreakpoints(): void;
  /** Control registers and mode are others. */
  reconfigure(): void;
  /** The mode alone may be another. */
  modeChanged(): void;
  /** No translation and no decoded jump of before may be used. */
  forget(): void;
}

/** Enable bits of the four breakpoints. */
const DR7_ENABLED = 0xff;
const register = (number: number): number => L.SYSTEM + 8 * number;
const CR0 = register(L.SYS_CR0),
  CR3 = register(L.SYS_CR3),
  CR4 = register(L.SYS_CR4),
  EFER = register(L.SYS_EFER),
  DR7 = register(L.SYS_DR7);

export class Contexts {
  readonly #bytes: Uint8Array;
  /** The part of `#bytes` that a context is. */
  readonly #present: Uint8Array;
  readonly #view: DataView;
  readonly #mmu: Mmu;
  readonly #breakpoints: Breakpoints;
  readonly #calls: ContextCalls;

  constructor(view: DataView, mmu: Mmu, breakpoints: Breakpoints, calls: ContextCalls) {
    this.#bytes = new Uint8Array(view.buffer);
    this.#present = this.#bytes.subarray(L.CONTEXT_START, L.CONTEXT_END);
    this.#view = view;
    this.#mmu = mmu;
    this.#breakpoints = breakpoints;
    this.#calls = calls;
  }

  save(): CpuContext {
    return { bytes: this.#present.slice() };
  }

  load(context: CpuContext): void {
    this.#takeOver(context);
    this.#calls.reconfigure();
    this.#calls.forget();
  }

  switch(previous: CpuContext, next: CpuContext): void {
    previous.bytes.set(this.#present);
    const view = this.#view;
    const cr0 = view.getInt32(CR0, true);
    // As a float, which costs no bigint: no CR3 is a NaN.
    const cr3 = view.getFloat64(CR3, true);
    const cr4 = view.getInt32(CR4, true);
    const efer = view.getInt32(EFER, true);
    this.#takeOver(next);
    const cr0Change = cr0 ^ view.getInt32(CR0, true);
    const isAlike =
      (cr0Change & CR0_TRANSLATION) === 0 &&
      cr3 === view.getFloat64(CR3, true) &&
      cr4 === view.getInt32(CR4, true) &&
      efer === view.getInt32(EFER, true) &&
      !this.#mmu.isPae;
    if (isAlike && cr0Change === 0) this.#calls.modeChanged();
    else this.#calls.reconfigure();
    if (!isAlike) this.#calls.forget();
  }

  #takeOver(context: CpuContext): void {
    const generation = this.#view.getInt32(L.JUMP_GENERATION, true);
    this.#bytes.set(context.bytes, L.CONTEXT_START);
    this.#view.setInt32(L.JUMP_GENERATION, generation, true);
    this.#view.setInt32(L.LINK_FROM, 0, true);
    if (this.#breakpoints.isActive || this.#view.getInt32(DR7, true) & DR7_ENABLED) this.#calls.configureBreakpoints();
  }
}
