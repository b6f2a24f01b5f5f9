/**
 * The mode of the CPU as far as decoding depends on it: code size, stack size, privilege, alignment checking, which
 * register sets are usable, and outside 64-bit code the limit of CS. Blocks are decoded for one mode.
 */
import type { BlockMode } from './code_block.ts';
import { CR0_AM, CR0_EM, CR0_MP, CR0_PE, CR0_PG, CR0_TS, CR4_OSFXSR, EFER_LMA } from './control_registers.ts';
import { AC } from './flags.ts';
import * as L from './layout.ts';
import type { Row } from './row.ts';
import { rowByName } from './rows/index.ts';
import { ATTR_DB, ATTR_L, CS_INDEX, SS_INDEX, type State } from './state.ts';

const FPU_EMULATED = 1,
  FPU_SWITCHED = 2,
  FPU_NO_SSE = 4,
  FPU_MONITORED = 8;
const CS = L.SYSTEM + 8 * (L.SYS_SEGMENT + CS_INDEX),
  SS = L.SYSTEM + 8 * (L.SYS_SEGMENT + SS_INDEX),
  CS_BASE = L.SEG_BASE + 8 * CS_INDEX;
/** From the start of a segment's hidden part. */
const ATTRIBUTES = 2,
  LIMIT = 4;
const NO_LIMIT = 0xffff_ffff;

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
  #baseLow = 0;

  constructor(state: State) {
    this.#state = state;
    this.current = this.#find();
  }

  /** Takes over CS, SS, CPL, CR0, CR4, EFER and RFLAGS.AC; whether decoded code of before is of no use now. */
  update(): boolean {
    const { current, codeLimit } = this;
    const baseLow = this.#baseLow;
    this.current = this.#find();
    return this.current !== current || this.#baseLow !== baseLow || this.codeLimit !== codeLimit;
  }

  /** The registers are those with which `mode`, of 64-bit code, was found. */
  resume(mode: BlockMode): void {
    this.current = mode;
    this.codeBase = 0n;
    this.codeLimit = -1;
    this.#baseLow = 0;
  }

  #find(): BlockMode {
    const { view } = this.#state;
    const register = (number: number): number => view.getInt32(L.SYSTEM + 8 * number, true);
    const cpl = view.getInt32(L.CPL, true);
    const cr0 = register(L.SYS_CR0);
    const cs = view.getUint16(CS + ATTRIBUTES, true);
    const isLong = (register(L.SYS_EFER) & EFER_LMA) !== 0 && (cs & ATTR_L) !== 0;
    const code = isLong ? 64 : cs & ATTR_DB ? 32 : 16;
    const stackSize = isLong ? 8 : view.getUint16(SS + ATTRIBUTES, true) & ATTR_DB ? 4 : 2;
    const alignCheck = (cr0 & CR0_AM) !== 0 && cpl === 3 && (view.getInt32(L.FLAGS_REST, true) & AC) !== 0;
    const isReal = (cr0 & CR0_PE) === 0;
    const fpu =
      (cr0 & CR0_EM ? FPU_EMULATED : 0) |
      (cr0 & CR0_TS ? FPU_SWITCHED : 0) |
      (register(L.SYS_CR4) & CR4_OSFXSR ? 0 : FPU_NO_SSE) |
      (cr0 & CR0_MP ? FPU_MONITORED : 0);
    this.#baseLow = isLong ? 0 : view.getInt32(CS_BASE, true);
    this.codeBase = isLong ? 0n : view.getBigUint64(CS_BASE, true);
    this.codeLimit = isLong ? -1 : view.getUint32(CS + LIMIT, true);
    const isUnaligned = (this.#baseLow & 0xfff) !== 0 && (cr0 & CR0_PG) !== 0;
    const key =
      (code >> 4) |
      ((stackSize >> 1) << 3) |
      (Number(alignCheck) << 6) |
      (Number(cpl === 0) << 7) |
      (fpu << 8) |
      (Number(cpl === 3) << 12) |
      (Number(isReal) << 13) |
      (Number(isUnaligned) << 14) |
      (this.#limitNumber() << 15);
    let mode = this.#modes.get(key);
    if (!mode) {
      const substitute = (row: Row): Row | undefined => substituteRow(row, cpl === 0, isReal, fpu);
      mode = { key, code, codeLimit: this.codeLimit, isUser: cpl === 3, stackSize, alignCheck, isUnaligned, substitute };
      this.#modes.set(key, mode);
    }
    return mode;
  }

  #limitNumber(): number {
    const limit = this.codeLimit;
    if (limit < 0 || limit === NO_LIMIT) return 0;
    const number = this.#limits.get(limit) ?? this.#limits.size + 1;
    this.#limits.set(limit, number);
    return number;
  }
}

/** What runs instead of a row that privilege, real mode or the state of the FPU forbids here. */
function substituteRow({ attributes, mnemonic }: Row, isCpl0: boolean, isReal: boolean, fpu: number): Row | undefined {
  const isEmulated = (fpu & FPU_EMULATED) !== 0;
  const isSwitched = (fpu & FPU_SWITCHED) !== 0;
  if (attributes.has('pe') && isReal) return rowByName('#UD');
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
