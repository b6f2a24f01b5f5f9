/**
 * The x87 FPU in the register file, and the helpers that run its instructions (float/x87.ts) on it; FXSAVE and FXRSTOR.
 */
import type { CpuCore } from './cpu.ts';
import type { Insn } from './decoder.ts';
import { Fault, GP, MF, UD } from './fault.ts';
import { readArithmeticFlags, writeArithmeticFlags } from './flags.ts';
import { executeX87, fxrstorX87, fxsaveX87, type X87Operand, type X87State, x87MemoryOperand } from './float/x87.ts';
import { defineHelper } from './helpers.ts';
import * as L from './layout.ts';
import { CS_INDEX, SS_INDEX } from './state.ts';

/** Bits of MXCSR that may be set: no misaligned SSE mode. */
export const MXCSR_MASK = 0xffff;

/** x87 registers lie at ST by their physical number, so that MMX registers are their significands. */
export class X87Registers implements X87State {
  readonly #view: DataView;

  constructor(view: DataView) {
    this.#view = view;
  }

  get control(): number {
    return this.#view.getUint16(L.FCW, true);
  }
  set control(value: number) {
    this.#view.setUint16(L.FCW, value, true);
  }
  get status(): number {
    return this.#view.getUint16(L.FSW, true);
  }
  set status(value: number) {
    this.#view.setUint16(L.FSW, value, true);
  }
  /** FTW keeps two bits a register, of which only 'empty' (3) counts: the rest follows from the contents. */
  get valid(): number {
    const tags = this.#view.getUint16(L.FTW, true);
    let valid = 0;
    for (let r = 0; r < 8; r++) if (((tags >> (2 * r)) & 3) !== 3) valid |= 1 << r;
    return valid;
  }
  set valid(value: number) {
    let tags = 0;
    for (let r = 0; r < 8; r++) if (((value >> r) & 1) === 0) tags |= 3 << (2 * r);
    this.#view.setUint16(L.FTW, tags, true);
  }
  get opcode(): number {
    return this.#view.getUint16(L.FOP, true);
  }
  set opcode(value: number) {
    this.#view.setUint16(L.FOP, value, true);
  }
  get instructionPointer(): bigint {
    return this.#view.getBigUint64(L.FIP, true);
  }
  set instructionPointer(value: bigint) {
    this.#view.setBigUint64(L.FIP, value, true);
  }
  get codeSelector(): number {
    return this.#view.getUint16(L.FIP_SELECTOR, true);
  }
  set codeSelector(value: number) {
    this.#view.setUint16(L.FIP_SELECTOR, value, true);
  }
  get dataPointer(): bigint {
    return this.#view.getBigUint64(L.FDP, true);
  }
  set dataPointer(value: bigint) {
    this.#view.setBigUint64(L.FDP, value, true);
  }
  get dataSelector(): number {
    return this.#view.getUint16(L.FDP_SELECTOR, true);
  }
  set dataSelector(value: number) {
    this.#view.setUint16(L.FDP_SELECTOR, value, true);
  }

  signExponent(register: number): number {
    return this.#view.getUint16(L.ST + 16 * register + 8, true);
  }
  significand(register: number): bigint {
    return this.#view.getBigUint64(L.ST + 16 * register, true);
  }
  setRegister(register: number, signExponent: number, significand: bigint): void {
    this.#view.setBigUint64(L.ST + 16 * register, significand, true);
    this.#view.setUint16(L.ST + 16 * register + 8, signExponent, true);
  }
}

type Place = Pick<X87Operand, 'view' | 'offset' | 'vaddr'>;

function execute(cpu: CpuCore, insn: Insn, place: Place): void {
  const { view } = cpu.state;
  const opcode = Number.parseInt(insn.row.opcode, 16);
  const outcome = executeX87(new X87Registers(view), opcode, insn.modrm, {
    ...place,
    selector: cpu.state.getSegment(insn.segment).selector,
    rip: insn.rip,
    cs: cpu.state.getSegment(CS_INDEX).selector,
    operandSize: insn.shape.size === 2 ? 2 : 4,
    eflags: readArithmeticFlags(view),
  });
  if (outcome.kind !== 'ok') throw new Fault(outcome.kind === 'mf' ? MF : UD);
  if (outcome.newEflags !== undefined) writeArithmeticFlags(view, outcome.newEflags);
  if (outcome.newAx !== undefined) view.setUint16(L.GPR, outcome.newAx, true);
}

/** Register forms. */
export const HELPER_X87 = defineHelper((cpu, _record, insn) => execute(cpu, insn!, { view: cpu.state.view, offset: 0, vaddr: 0n }));

/** (translated place, offset in the segment): memory operands of up to 32 bytes. */
export const HELPER_X87_MEMORY = defineHelper((cpu, _record, insn) => {
  const { view } = cpu.state;
  const offset = view.getInt32(L.ARGS, true);
  execute(cpu, insn!, { view, offset, vaddr: view.getBigUint64(L.ARGS + 16, true) });
  if (offset >= L.SCRATCH_WRITE && offset < L.SCRATCH_END) cpu.mmu.split();
});

/** (linear address, offset in the segment): FNSAVE and FRSTOR, larger than what may cross a page in SCRATCH. */
export const HELPER_X87_IMAGE = defineHelper((cpu, _record, insn) => {
  const { view } = cpu.state;
  const linear = view.getBigUint64(L.ARGS, true);
  const operand = x87MemoryOperand(Number.parseInt(insn!.row.opcode, 16), insn!.modrm, insn!.shape.size === 2 ? 2 : 4);
  if (operand === 'ud') throw new Error('bug: an x87 image without a memory form');
  const isUser = cpu.cpl === 3;
  const image = operand.access === 'w' ? new Uint8Array(operand.size) : cpu.mmu.readBytes(linear, operand.size, isUser, isStack(insn!));
  if (operand.access === 'w') checkWrite(cpu, linear, operand.size, insn!);
  execute(cpu, insn!, {
    view: new DataView(image.buffer, image.byteOffset, image.length),
    offset: 0,
    vaddr: view.getBigUint64(L.ARGS + 16, true),
  });
  if (operand.access === 'w') cpu.mmu.writeBytes(linear, image, isUser, isStack(insn!));
});

function isStack(insn: Insn): boolean {
  return insn.segment === SS_INDEX;
}

/** Faults as a write of `size` bytes (less than a page) would. */
function checkWrite(cpu: CpuCore, linear: bigint, size: number, insn: Insn): void {
  const isUser = cpu.cpl === 3;
  cpu.mmu.locate(linear, 'write', isUser, isStack(insn));
  cpu.mmu.locate(BigInt.asUintN(64, linear + BigInt(size - 1)), 'write', isUser, isStack(insn));
}

const FXSAVE_SIZE = 512,
  FXSAVE_XMM = 160;

/** XMM registers that the mode has, as FXSAVE's area holds them. */
function xmmSize(insn: Insn): number {
  return (insn.shape.mode === 64 ? 16 : 8) * 16;
}

/** (linear address). Bytes behind the XMM registers are left alone. */
export const HELPER_FXSAVE = defineHelper((cpu, _record, insn) => {
  const { view } = cpu.state;
  const linear = view.getBigUint64(L.ARGS, true);
  if ((linear & 15n) !== 0n) throw new Fault(GP, 0);
  checkWrite(cpu, linear, FXSAVE_SIZE, insn!);
  const image = new Uint8Array(FXSAVE_XMM + xmmSize(insn!));
  const imageView = new DataView(image.buffer);
  fxsaveX87(new X87Registers(view), imageView, 0, insn!.shape.size === 8);
  imageView.setInt32(24, view.getInt32(L.MXCSR, true), true);
  imageView.setInt32(28, MXCSR_MASK, true);
  image.set(new Uint8Array(view.buffer, L.XMM, xmmSize(insn!)), FXSAVE_XMM);
  cpu.mmu.writeBytes(linear, image, cpu.cpl === 3, isStack(insn!));
});

/** (linear address) */
export const HELPER_FXRSTOR = defineHelper((cpu, _record, insn) => {
  const { view } = cpu.state;
  const linear = view.getBigUint64(L.ARGS, true);
  if ((linear & 15n) !== 0n) throw new Fault(GP, 0);
  const image = cpu.mmu.readBytes(linear, FXSAVE_SIZE, cpu.cpl === 3, isStack(insn!));
  const imageView = new DataView(image.buffer, image.byteOffset, image.length);
  const mxcsr = imageView.getInt32(24, true);
  if (mxcsr & ~MXCSR_MASK) throw new Fault(GP, 0);
  restore(view, imageView, insn!.shape.size === 8, xmmSize(insn!));
});

function restore(view: DataView, image: DataView, isWide: boolean, sizeOfXmm: number): void {
  fxrstorX87(new X87Registers(view), image, 0, isWide);
  view.setInt32(L.MXCSR, image.getInt32(24, true) & MXCSR_MASK, true);
  const xmm = new Uint8Array(image.buffer, image.byteOffset + FXSAVE_XMM, sizeOfXmm);
  new Uint8Array(view.buffer, L.XMM, sizeOfXmm).set(xmm);
}

/** What FXRSTOR64 does with an image, for the host. */
export function loadFxImage(view: DataView, image: Uint8Array): void {
  restore(view, new DataView(image.buffer, image.byteOffset, FXSAVE_SIZE), true, 16 * 16);
}
