/**
 * The mode of the CPU as far as decoding depends on it: code size, stack size, privilege, alignment checking, which
 * register sets are usable, and outside 64-bit code the limit of CS. Blocks are decoded for one mode.
 */
import type { BlockMode } from './code_cache.ts';
import { AC } from './flags.ts';
import * as L from './layout.ts';
import { CR0_AM, CR0_EM, CR0_MP, CR0_TS, CR4_OSFXSR, EFER_LMA } from './mmu.ts';
import type { Row } from './row.ts';
import { rowByName } from './rows/index.ts';
import { ATTR_DB, ATTR_L, CS_INDEX, SS_INDEX, type State } from './state.ts';

const FPU_EMULATED = 1,
  FPU_SWITCHED = 2,
  FPU_NO_SSE = 4,
  FPU_MONITORED = 8;

export class ModeTracker {
  readonly #state: State;
  readonly #modes = new Map<number, BlockMode>();
  /** Numbers of the limits of CS that bound anything. */
  readonly #limits = new Map<number, number>();
  current: BlockMode;
  /** CS's base, 0 in 64-bit code. */
  codeBase = 0n;
  /** CS's limit, -1 in 64-bit code: it has none. */
  codeLimit = -1;

  constructor(state: State) {
    this.#state = state;
    this.current = this.#find();
  }

  /** Takes over CS, SS, CPL, CR0, CR4, EFER and RFLAGS.AC; whether decoded code of before is of no use now. */
  update(): boolean {
    const { codeBase, codeLimit, current } = this;
    this.current = this.#find();
    return this.current !== current || this.codeBase !== codeBase || this.codeLimit !== codeLimit;
  }

  #attributes(index: number): number {
    return this.#state.view.getUint16(L.SYSTEM + 8 * (L.SYS_SEGMENT + index) + 2, true);
  }

  #find(): BlockMode {
    const { cpl, sys, systemFlags } = this.#state;
    const cr0 = Number(sys[L.SYS_CR0]! & 0xffff_ffffn);
    const cs = this.#attributes(CS_INDEX);
    const ss = this.#attributes(SS_INDEX);
    const isLong = (sys[L.SYS_EFER]! & BigInt(EFER_LMA)) !== 0n && (cs & ATTR_L) !== 0;
    const code = isLong ? 64 : cs & ATTR_DB ? 32 : 16;
    const stackSize = isLong ? 8 : ss & ATTR_DB ? 4 : 2;
    const alignCheck = (cr0 & CR0_AM) !== 0 && cpl === 3 && (systemFlags & AC) !== 0;
    const fpu =
      (cr0 & CR0_EM ? FPU_EMULATED : 0) |
      (cr0 & CR0_TS ? FPU_SWITCHED : 0) |
      (sys[L.SYS_CR4]! & BigInt(CR4_OSFXSR) ? 0 : FPU_NO_SSE) |
      (cr0 & CR0_MP ? FPU_MONITORED : 0);
    const segment = this.#state.getSegment(CS_INDEX);
    this.codeBase = isLong ? 0n : segment.base;
    this.codeLimit = isLong ? -1 : segment.limit;
    const key =
      (code >> 4) |
      ((stackSize >> 1) << 3) |
      (Number(alignCheck) << 6) |
      (Number(cpl === 0) << 7) |
      (fpu << 8) |
      (Number(cpl === 3) << 12) |
      (this.#limitNumber() << 13);
    let mode = this.#modes.get(key);
    if (!mode) {
      mode = {
        key,
        code,
        codeLimit: this.codeLimit,
        isUser: cpl === 3,
        stackSize,
        alignCheck,
        substitute: (row) => substituteRow(row, cpl === 0, fpu),
      };
      this.#modes.set(key, mode);
    }
    return mode;
  }

  #limitNumber(): number {
    const limit = this.codeLimit;
    if (limit < 0 || limit === 0xffff_ffff) return 0;
    const number = this.#limits.get(limit) ?? this.#limits.size + 1;
    this.#limits.set(limit, number);
    return number;
  }
}

/** What runs instead of a row that privilege or the state of the FPU forbids here. */
function substituteRow({ attributes, mnemonic }: Row, isCpl0: boolean, fpu: number): Row | undefined {
  const isEmulated = (fpu & FPU_EMULATED) !== 0;
  const isSwitched = (fpu & FPU_SWITCHED) !== 0;
  if (attributes.has('cpl0') && !isCpl0) return rowByName('#GP');
  if (attributes.has('sse')) {
    if (isEmulated || fpu & FPU_NO_SSE) return rowByName('#UD');
    if (isSwitched) return rowByName('#NM');
  } else if (attributes.has('mmx')) {
    if (isEmulated) return rowByName('#UD');
    if (isSwitched) return rowByName('#NM');
  } else if (attributes.has('x87')) {
    // WAIT looks at MP and TS only.
    if (mnemonic === 'fwait' ? isSwitched && fpu & FPU_MONITORED : isEmulated || isSwitched) return rowByName('#NM');
  }
  return undefined;
}
