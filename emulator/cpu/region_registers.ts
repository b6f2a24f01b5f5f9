/**
 * Guest registers in a region: in locals, if its loops use them, or else in the register file; the code that reads and writes them,
 * byte by byte.
 */
import * as L from './layout.ts';
import type { Frame } from './region_frame.ts';
import type { RegionInsn } from './region_insn.ts';
import * as S from './region_steps.ts';
import { putSigned, putUnsigned } from './wasm_writer.ts';

export const OPCODE = {
  br: 0x0c,
  brIf: 0x0d,
  get: 0x20,
  set: 0x21,
  i32: 0x41,
  i64: 0x42,
  if: 0x04,
  end: 0x0b,
  i32Add: 0x6a,
  i64Add: 0x7c,
  i64And: 0x83,
  i64Or: 0x84,
  i64Shl: 0x86,
  i64ShrU: 0x88,
  wrap: 0xa7,
  extendU: 0xad,
} as const;

/** Loads and stores of i64 by log2 of the size in memory; a write of 4 bytes clears the upper half. */
const loads = [0x31, 0x33, 0x35, 0x29],
  stores = [0x3c, 0x3d, 0x37, 0x37];

/** Bytes that a way from or to a local takes at most. */
const ACCESS_BYTES = 16;

/** Registers of a kind: where they lie in the register file, their size, and the opcodes that load and store one. */
interface Registers {
  readonly place: number;
  readonly size: number;
  readonly load: number;
  readonly store: number;
}
const gprs: Registers = { place: L.GPR, size: 8, load: 0x29, store: 0x37 },
  xmms: Registers = { place: L.XMM, size: 16, load: 0xfd00, store: 0xfd0b };

/** Registers to their locals. */
function loadRegisters({ f }: Frame, { place, size, load }: Registers, locals: Int32Array): void {
  const { code } = f;
  const bytes = code.reserve(16 * ACCESS_BYTES);
  let at = code.length;
  for (let number = 0; number < 16; number++) {
    const local = locals[number]!;
    if (local < 0) continue;
    bytes[at++] = OPCODE.i32;
    bytes[at++] = 0;
    at = putAccess(bytes, at, load, place + size * number);
    bytes[at++] = OPCODE.set;
    at = putUnsigned(bytes, at, local);
  }
  code.length = at;
}

/** Puts those of the registers back that are bits of `which`. */
function storeRegisters({ f }: Frame, { place, size, store }: Registers, locals: Int32Array, which: number): void {
  const { code } = f;
  const bytes = code.reserve(16 * ACCESS_BYTES);
  let at = code.length;
  for (let number = 0; number < 16; number++) {
    const local = locals[number]!;
    if (local < 0 || ((which >> number) & 1) === 0) continue;
    bytes[at++] = OPCODE.i32;
    bytes[at++] = 0;
    bytes[at++] = OPCODE.get;
    at = putUnsigned(bytes, at, local);
    at = putAccess(bytes, at, store, place + size * number);
  }
  code.length = at;
}

export const loadGpr = (frame: Frame): void => loadRegisters(frame, gprs, frame.gpr);
export const loadXmm = (frame: Frame): void => loadRegisters(frame, xmms, frame.xmm);
export const storeGpr = (frame: Frame, which: number): void => storeRegisters(frame, gprs, frame.gpr, which);
export const storeXmm = (frame: Frame, which: number): void => storeRegisters(frame, xmms, frame.xmm, which);

/** Offset in the register file of the register behind a step's code: 8 bytes each, and one for AH..BH. */
export function gprOffset(insn: RegionInsn, code: number): number {
  const ref = S.refOf(code & ((1 << S.REF_SIZE) - 1));
  return ref === 'reg' ? insn.reg : ref === 'rm' ? insn.rm : ref << 3;
}

/** The number of the general register. */
export const gprOf = (insn: RegionInsn, code: number): number => gprOffset(insn, code) >> 3;

/** The number of the vector register. */
export const xmmOf = (insn: RegionInsn, code: number): number => {
  const ref = S.refOf(code);
  return ref === 'reg' ? insn.reg >> 4 : ref === 'rm' ? insn.rm >> 4 : ref;
};

/** Puts a load or store of the register file at a place; its address, 0, is pushed. An opcode may be two bytes. */
function putAccess(bytes: Uint8Array, place: number, opcode: number, offset: number): number {
  let at = place;
  if (opcode > 0xff) bytes[at++] = opcode >> 8;
  bytes[at++] = opcode;
  bytes[at++] = 0;
  return putUnsigned(bytes, at, offset);
}

/** Cuts what is pushed to a size. */
export function putMask(bytes: Uint8Array, place: number, size: number): number {
  let at = place;
  if (size === 4) {
    bytes[at++] = OPCODE.wrap;
    bytes[at++] = OPCODE.extendU;
  } else if (size < 4) {
    bytes[at++] = OPCODE.i64;
    at = putSigned(bytes, at, size === 2 ? 0xffff : 0xff);
    bytes[at++] = OPCODE.i64And;
  }
  return at;
}

/** Pushes `size` bytes of the register at an offset in the register file. */
export function putGetReg({ gpr }: Frame, bytes: Uint8Array, place: number, offset: number, size: number): number {
  let at = place;
  const local = gpr[offset >> 3]!;
  if (local < 0) {
    bytes[at++] = OPCODE.i32;
    bytes[at++] = 0;
    return putAccess(bytes, at, loads[31 - Math.clz32(size)]!, L.GPR + offset);
  }
  bytes[at++] = OPCODE.get;
  at = putUnsigned(bytes, at, local);
  if ((offset & 7) === 1) {
    bytes[at++] = OPCODE.i64;
    bytes[at++] = 8;
    bytes[at++] = OPCODE.i64ShrU;
  }
  return putMask(bytes, at, size);
}

/** Writes the pushed value, below which an address lies if the register has no local. */
export function putSetReg(frame: Frame, bytes: Uint8Array, place: number, offset: number, size: number): number {
  let at = place;
  const local = frame.gpr[offset >> 3]!;
  if (local < 0) {
    if (size === 4) at = putMask(bytes, at, 4);
    return putAccess(bytes, at, stores[31 - Math.clz32(size)]!, L.GPR + offset);
  }
  frame.writtenGpr |= 1 << (offset >> 3);
  at = putMask(bytes, at, size);
  if (size < 4) {
    const isHigh = (offset & 7) === 1;
    if (isHigh) {
      bytes[at++] = OPCODE.i64;
      bytes[at++] = 8;
      bytes[at++] = OPCODE.i64Shl;
    }
    bytes[at++] = OPCODE.get;
    at = putUnsigned(bytes, at, local);
    bytes[at++] = OPCODE.i64;
    at = putSigned(bytes, at, isHigh ? ~0xff00 : size === 2 ? ~0xffff : ~0xff);
    bytes[at++] = OPCODE.i64And;
    bytes[at++] = OPCODE.i64Or;
  }
  bytes[at++] = OPCODE.set;
  return putUnsigned(bytes, at, local);
}
