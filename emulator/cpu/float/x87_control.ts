// x87 control instructions and the images of its state in memory (SDM 1 8.1.8-8.1.10, 10.5.1): the environment of FNSTENV
// and FLDENV, 14 bytes with a 16-bit operand size and else 28, the registers that FNSAVE puts behind it, and the x87 part
// of FXSAVE's area.

import { FINITE, f80, unpack, ZERO } from './format.ts';
import { readBytes, writeBytes } from './x87_operand.ts';
import { B, ES, initX87, readBits, top, updateSummary, type X87State } from './x87_state.ts';

const EXCEPTION_FLAGS = 0x7f;
/** Bit 6 of the control word always reads as one; the rest of the undefined bits as zero. */
const CONTROL_FIXED = 0x0040;
const CONTROL_WRITABLE = 0x1f3f;

export function setControl(state: X87State, control: number): void {
  state.control = (control & CONTROL_WRITABLE) | CONTROL_FIXED;
  updateSummary(state);
}

export function fnclex(state: X87State): void {
  state.status &= ~(EXCEPTION_FLAGS | ES | B);
}

/** The full tag word: 0 valid, 1 zero, 2 special, 3 empty, two bits a physical register. */
export function tagWord(state: X87State): number {
  let tags = 0;
  for (let r = 0; r < 8; r++) {
    let tag = 3;
    if (((state.valid >> r) & 1) !== 0) {
      const x = unpack(f80, readBits(state, r - top(state)));
      tag = x.kind === ZERO ? 1 : x.kind === FINITE && !x.denormal ? 0 : 2;
    }
    tags |= tag << (2 * r);
  }
  return tags;
}

export function environmentSize(operandSize: 2 | 4): number {
  return operandSize === 2 ? 14 : 28;
}

export function storeEnvironment(state: X87State, view: DataView, offset: number, operandSize: 2 | 4): void {
  const { control, status, instructionPointer, codeSelector, dataPointer, dataSelector } = state;
  const words = [control, status, tagWord(state)];
  if (operandSize === 2) {
    words.push(Number(instructionPointer & 0xffffn), codeSelector, Number(dataPointer & 0xffffn), dataSelector);
    for (const [i, word] of words.entries()) view.setUint16(offset + 2 * i, word, true);
    return;
  }
  for (const [i, word] of words.entries()) view.setUint32(offset + 4 * i, 0xffff0000 + word, true);
  view.setUint32(offset + 12, Number(instructionPointer & 0xffffffffn), true);
  view.setUint32(offset + 16, state.opcode * 0x10000 + codeSelector, true);
  view.setUint32(offset + 20, Number(dataPointer & 0xffffffffn), true);
  view.setUint32(offset + 24, 0xffff0000 + dataSelector, true);
}

/** FNSTENV: also masks every exception. */
export function fnstenv(state: X87State, view: DataView, offset: number, operandSize: 2 | 4): void {
  storeEnvironment(state, view, offset, operandSize);
  setControl(state, state.control | 0x3f);
}

export function fldenv(state: X87State, view: DataView, offset: number, operandSize: 2 | 4): void {
  const word = (i: number) => view.getUint16(offset + operandSize * i, true);
  const pointer = (i: number) => BigInt(operandSize === 2 ? word(i) : view.getUint32(offset + 4 * i, true));
  state.status = word(1);
  const tags = word(2);
  state.valid = 0;
  for (let r = 0; r < 8; r++) if (((tags >> (2 * r)) & 3) !== 3) state.valid |= 1 << r;
  state.instructionPointer = pointer(3);
  state.codeSelector = word(4);
  state.dataPointer = pointer(5);
  state.dataSelector = word(6);
  if (operandSize === 4) state.opcode = view.getUint16(offset + 18, true) & 0x7ff;
  setControl(state, word(0));
}

export function fnsave(state: X87State, view: DataView, offset: number, operandSize: 2 | 4): void {
  storeEnvironment(state, view, offset, operandSize);
  storeRegisters(state, view, offset + environmentSize(operandSize), 10);
  initX87(state);
}

export function frstor(state: X87State, view: DataView, offset: number, operandSize: 2 | 4): void {
  fldenv(state, view, offset, operandSize);
  loadRegisters(state, view, offset + environmentSize(operandSize), 10);
}

function storeRegisters(state: X87State, view: DataView, offset: number, stride: number): void {
  for (let i = 0; i < 8; i++) writeBytes(view, offset + i * stride, 10, readBits(state, i));
}

function loadRegisters(state: X87State, view: DataView, offset: number, stride: number): void {
  for (let i = 0; i < 8; i++) {
    const bits = readBytes(view, offset + i * stride, 10);
    state.setRegister((top(state) + i) & 7, Number(bits >> 64n), BigInt.asUintN(64, bits));
  }
}

/**
 * FXSAVE's bytes 0-23 and 32-159; MXCSR and the XMM registers are the caller's. With `wide` (REX.W) the pointers have 64
 * bits and no selectors.
 */
export function fxsaveX87(state: X87State, view: DataView, offset: number, wide: boolean): void {
  view.setUint16(offset, state.control, true);
  view.setUint16(offset + 2, state.status, true);
  view.setUint16(offset + 4, state.valid, true);
  view.setUint16(offset + 6, state.opcode, true);
  for (const [at, pointer, selector] of [
    [8, state.instructionPointer, state.codeSelector],
    [16, state.dataPointer, state.dataSelector],
  ] as const) {
    view.setBigUint64(offset + at, wide ? pointer : (BigInt(selector) << 32n) | (pointer & 0xffffffffn), true);
  }
  for (let i = 0; i < 8; i++) {
    writeBytes(view, offset + 32 + 16 * i, 10, readBits(state, i));
    writeBytes(view, offset + 42 + 16 * i, 2, 0n);
    writeBytes(view, offset + 44 + 16 * i, 4, 0n);
  }
}

export function fxrstorX87(state: X87State, view: DataView, offset: number, wide: boolean): void {
  state.status = view.getUint16(offset + 2, true);
  state.valid = view.getUint8(offset + 4);
  state.opcode = view.getUint16(offset + 6, true) & 0x7ff;
  const pointer = (at: number) => (wide ? view.getBigUint64(offset + at, true) : BigInt(view.getUint32(offset + at, true)));
  const selector = (at: number) => (wide ? 0 : view.getUint16(offset + at + 4, true));
  state.instructionPointer = pointer(8);
  state.codeSelector = selector(8);
  state.dataPointer = pointer(16);
  state.dataSelector = selector(16);
  setControl(state, view.getUint16(offset, true));
  loadRegisters(state, view, offset + 32, 16);
}
