/**
 * Puts instructions into a region: copies their templates (region_template.ts) and takes the steps in them
 * (region_steps.ts). Guest registers that its loops use and the flags are locals, fields of instructions are constants.
 */
import { pushIsKnownAt, pushRecordAt } from './jump_cache.ts';
import * as L from './layout.ts';
import type { SharedAccesses } from './region_access.ts';
import type { InlinePart } from './region_inline.ts';
import type { RegionInsn } from './region_insn.ts';
import type { BlockNumbers } from './region_shape.ts';
import * as S from './region_steps.ts';
import { askLookup, type RegionTemplate } from './region_template.ts';
import { type FunctionBody, putSigned, putSignedHalves, putUnsigned } from './wasm_writer.ts';

/** What the instructions of a region share; one serves all regions. */
export interface Frame extends S.FrameLocals {
  readonly f: FunctionBody;
  /** Address of the TLB set in use: the privilege cannot change inside a region. */
  tlbSet: number;
  /** By register, its local, or -1 for those that lie in the register file. */
  readonly gpr: Int32Array;
  readonly xmm: Int32Array;
  /** Those whose local something has changed, as bits: exits put them back. */
  writtenGpr: number;
  writtenXmm: number;
  /** Of any instruction so far: what its template says. */
  hasSteps: boolean;
  imports: number;
  /** The page that the region lies in. */
  pageLow: number;
  pageHigh: number;
  readonly blockAt: BlockNumbers;
  /** Index of this region's function, as its ENTER records name it. */
  functionIndex: number;
  /** The open block behind which everything is put back, and the loop that goes to the block that `entry` names. */
  exitLabel: number;
  outerLabel: number;
  /** The open block to go to when an access misses, with the count of instructions left in `out`; -1: there is none. */
  missLabel: number;
  /** Of the block: which accesses ask the TLB together, and where the next instruction is in it; locals of those that lead. */
  readonly accesses: SharedAccesses;
  index: number;
  readonly leaders: number[];
  /** A call that ends the block: what it calls as a part of the region, and the block that it returns to; its RIP. */
  inlined: readonly InlinePart[] | undefined;
  returnBlock: number;
  returnLow: number;
  returnHigh: number;
  /** Writes what is inlined. */
  putInlined(): void;
  /** Branches to a block from the code of another. */
  goTo(block: number): void;
}

/** Goes on at an address: a block of the region, or the record that the jump cache has for it. */
function leaveTo(frame: Frame, low: number, high: number): void {
  const { f, out, inlined } = frame;
  if (inlined !== undefined) {
    pushIsKnownAt(f, low, high).if();
    pushRecordAt(f, low, high).i32(inlined[0]!.records[0]!).op('i32.eq').if();
    frame.putInlined();
    f.end().end();
  }
  const isInPage = high === frame.pageHigh && low >>> 12 === frame.pageLow >>> 12;
  const block = isInPage ? frame.blockAt[low & 0xfff]! : -1;
  if (block >= 0) return frame.goTo(block);
  pushIsKnownAt(f, low, high).if();
  pushRecordAt(f, low, high).set(out);
  f.brTo(frame.exitLabel);
  f.end();
  f.i32(0).i64Halves(low, high).mem('i64.store', L.RIP);
  askLookup(f, out);
  f.brTo(frame.exitLabel);
}

/** Goes on behind an instruction. */
export function leaveToNext(frame: Frame, insn: RegionInsn): void {
  const low = (insn.ripLow >>> 0) + insn.length;
  const carries = low >= 2 ** 32 && insn.shape.mode === 64;
  leaveTo(frame, low | 0, carries ? (insn.ripHigh + 1) | 0 : insn.ripHigh);
}

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

const ALL = -1;

/** Offset in the register file of the register behind a step's code: 8 bytes each, and one for AH..BH. */
function gprOffset(insn: RegionInsn, code: number): number {
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

function tempLocal({ f, temps }: Frame, code: number): number {
  const ofType = temps[code & 7]!;
  const number = code >> 3;
  while (ofType.length <= number) ofType.push(f.local(S.tempTypes[code & 7]!));
  return ofType[number]!;
}

const OPCODE = {
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
const NO_RESULT = 0x40;
/** Loads and stores of i64 by log2 of the size in memory; a write of 4 bytes clears the upper half. */
const loads = [0x31, 0x33, 0x35, 0x29],
  stores = [0x3c, 0x3d, 0x37, 0x37];

/** Bytes that a step takes at most, if it writes them itself; and a register's way from or to its local. */
const STEP_BYTES = 32,
  ACCESS_BYTES = 16;

/** Puts a load or store of the register file at a place; its address, 0, is pushed. An opcode may be two bytes. */
function putAccess(bytes: Uint8Array, place: number, opcode: number, offset: number): number {
  let at = place;
  if (opcode > 0xff) bytes[at++] = opcode >> 8;
  bytes[at++] = opcode;
  bytes[at++] = 0;
  return putUnsigned(bytes, at, offset);
}

/** Cuts what is pushed to a size. */
function putMask(bytes: Uint8Array, place: number, size: number): number {
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
function putGetReg({ gpr }: Frame, bytes: Uint8Array, place: number, offset: number, size: number): number {
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
function putSetReg(frame: Frame, bytes: Uint8Array, place: number, offset: number, size: number): number {
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

/** Pushes the address form's offset, cut to the address size. */
function putOffset(frame: Frame, bytes: Uint8Array, place: number, insn: RegionInsn): number {
  let at = place;
  const { baseNumber, indexNumber, scale, disp } = insn;
  const { ea, addressSize } = insn.shape;
  if (ea === 'rip') at = putRip(bytes, at, insn, insn.length + disp);
  else if (baseNumber >= 0) {
    at = putGetReg(frame, bytes, at, baseNumber << 3, 8);
    if (disp !== 0) {
      bytes[at++] = OPCODE.i64;
      at = putSigned(bytes, at, disp);
      bytes[at++] = OPCODE.i64Add;
    }
  } else {
    bytes[at++] = OPCODE.i64;
    at = putSigned(bytes, at, disp);
  }
  if (indexNumber >= 0) {
    at = putGetReg(frame, bytes, at, indexNumber << 3, 8);
    if (scale > 0) {
      bytes[at++] = OPCODE.i64;
      bytes[at++] = scale;
      bytes[at++] = OPCODE.i64Shl;
    }
    bytes[at++] = OPCODE.i64Add;
  }
  return putMask(bytes, at, addressSize);
}

/** Pushes an instruction's address and something. */
function putRip(bytes: Uint8Array, place: number, { ripLow, ripHigh, shape }: RegionInsn, plus: number): number {
  const low = (ripLow >>> 0) + plus;
  bytes[place] = OPCODE.i64;
  return putSignedHalves(bytes, place + 1, low | 0, shape.mode === 64 ? (ripHigh + Math.floor(low / 2 ** 32)) | 0 : 0);
}

/** Counts instructions as not executed. */
function putRefund({ budget }: Frame, bytes: Uint8Array, place: number, count: number): number {
  let at = place;
  bytes[at++] = OPCODE.get;
  at = putUnsigned(bytes, at, budget);
  bytes[at++] = OPCODE.i32;
  at = putSigned(bytes, at, count);
  bytes[at++] = OPCODE.i32Add;
  bytes[at++] = OPCODE.set;
  return putUnsigned(bytes, at, budget);
}

/** Leaves before an instruction unless 0 is pushed; `depth` blocks are open. */
function putMiss(frame: Frame, bytes: Uint8Array, place: number, record: number, left: number, depth: number): number {
  let at = place;
  if (frame.missLabel >= 0) {
    bytes[at++] = OPCODE.i32;
    at = putSigned(bytes, at, left);
    bytes[at++] = OPCODE.set;
    at = putUnsigned(bytes, at, frame.out);
    bytes[at++] = OPCODE.brIf;
    return putUnsigned(bytes, at, depth - frame.missLabel);
  }
  bytes[at++] = OPCODE.if;
  bytes[at++] = NO_RESULT;
  at = putRefund(frame, bytes, at, left);
  bytes[at++] = OPCODE.i32;
  at = putSigned(bytes, at, record | L.INTERPRET);
  bytes[at++] = OPCODE.set;
  at = putUnsigned(bytes, at, frame.out);
  bytes[at++] = OPCODE.br;
  at = putUnsigned(bytes, at, depth + 1 - frame.exitLabel);
  bytes[at++] = OPCODE.end;
  return at;
}

/**
 * `left`: instructions of the block from this one on; `areFlagsDead`: nobody will see the flags that it leaves. Returns
 * whether execution falls through to the next one.
 */
export function emitInsn(template: RegionTemplate, insn: RegionInsn, frame: Frame, left: number, areFlagsDead: boolean): boolean {
  const { flags } = frame;
  const role = frame.accesses.role[frame.index]!;
  const code = areFlagsDead ? template.codeWithoutFlags(flags.known, role) : template.code(flags.known, role);
  emitSteps(code, frame, insn, insn.record, left);
  if (code.flagsAfter !== 'same') flags.known = code.flagsAfter;
  if (code.hasSteps) frame.hasSteps = true;
  if (code.imports > frame.imports) frame.imports = code.imports;
  return code.fallsThrough;
}

/** Copies bytes and takes the steps between them. */
export function emitSteps({ bytes: source, steps }: S.Steps, frame: Frame, insn: RegionInsn, record: number, left: number): void {
  const { f } = frame;
  const { code, depth } = f;
  let bytes = code.reserve(source.length + (steps.length / 3) * STEP_BYTES);
  let at = code.length;
  let done = 0;
  for (let i = 0; i < steps.length; i += 3) {
    const end = steps[i]!;
    while (done < end) bytes[at++] = source[done++]!;
    const step = steps[i + 1]!;
    const argument = steps[i + 2]!;
    // Those that are frequent first: V8 asks one after the other.
    switch (step) {
      case S.STEP_GET_REG:
        at = putGetReg(frame, bytes, at, gprOffset(insn, argument), argument >> S.REF_SIZE);
        break;
      case S.STEP_BEGIN_SET_REG:
        if (frame.gpr[gprOf(insn, argument)]! >= 0) break;
        bytes[at++] = OPCODE.i32;
        bytes[at++] = 0;
        break;
      case S.STEP_SET_REG:
        at = putSetReg(frame, bytes, at, gprOffset(insn, argument), argument >> S.REF_SIZE);
        break;
      case S.STEP_OFFSET:
        at = putOffset(frame, bytes, at, insn);
        break;
      case S.STEP_TLB:
        at = putUnsigned(bytes, at, frame.tlbSet + argument);
        break;
      case S.STEP_MISS:
        at = putMiss(frame, bytes, at, record, left, depth + argument);
        break;
      case S.STEP_TEMP:
        at = putUnsigned(bytes, at, tempLocal(frame, argument));
        break;
      case S.STEP_MMX_ADDRESS:
        bytes[at++] = OPCODE.i32;
        at = putSigned(bytes, at, xmmOf(insn, argument) << 4);
        break;
      case S.STEP_IMM_LOW:
        bytes[at++] = OPCODE.i64;
        at = putSignedHalves(bytes, at, insn.immLow, 0);
        break;
      case S.STEP_IMM:
        bytes[at++] = OPCODE.i64;
        at = putSignedHalves(bytes, at, insn.immLow, insn.immHigh);
        break;
      case S.STEP_RIP:
        at = putRip(bytes, at, insn, 0);
        break;
      case S.STEP_RIP_NEXT:
        at = putRip(bytes, at, insn, insn.length);
        break;
      case S.STEP_RECORD:
        bytes[at++] = OPCODE.i32;
        at = putSigned(bytes, at, record | argument);
        break;
      case S.STEP_REFUND:
        at = putRefund(frame, bytes, at, left);
        break;
      case S.STEP_LEFT:
        bytes[at++] = OPCODE.i32;
        at = putSigned(bytes, at, left);
        break;
      case S.STEP_EXIT:
        bytes[at++] = OPCODE.br;
        at = putUnsigned(bytes, at, depth + argument - frame.exitLabel);
        break;
      case S.STEP_REENTER:
        bytes[at++] = OPCODE.br;
        at = putUnsigned(bytes, at, depth + argument - frame.outerLabel);
        break;
      case S.STEP_FUNCTION:
        bytes[at++] = OPCODE.i32;
        at = putSigned(bytes, at, frame.functionIndex);
        break;
      default:
        code.length = at;
        f.depth = depth;
        takeStep(step, argument, insn, frame);
        bytes = code.reserve(source.length - done + (steps.length / 3) * STEP_BYTES);
        at = code.length;
    }
  }
  while (done < source.length) bytes[at++] = source[done++]!;
  code.length = at;
  f.depth = depth;
}

/** Where an access of the block has led, which has its local from then on. */
function leaderLocal({ f, leaders }: Frame, index: number): number {
  leaders[index] ??= f.local('i32');
  return leaders[index];
}

/** The steps that are rare or large. */
function takeStep(step: number, argument: number, insn: RegionInsn, frame: Frame): void {
  const { f } = frame;
  switch (step) {
    case S.STEP_GET_XMM: {
      const number = xmmOf(insn, argument);
      const local = frame.xmm[number]!;
      if (local < 0) f.i32(0).mem('v128.load', L.XMM + 16 * number);
      else f.get(local);
      return;
    }
    case S.STEP_BEGIN_SET_XMM:
      if (frame.xmm[xmmOf(insn, argument)]! < 0) f.i32(0);
      return;
    case S.STEP_SET_XMM: {
      const number = xmmOf(insn, argument);
      const local = frame.xmm[number]!;
      if (local < 0) f.mem('v128.store', L.XMM + 16 * number);
      else {
        f.set(local);
        frame.writtenXmm |= 1 << number;
      }
      return;
    }
    case S.STEP_LEAVE_TO_IMM:
      f.depth += argument;
      return leaveTo(frame, insn.immLow, insn.immHigh);
    case S.STEP_LEAVE_TO_NEXT:
      f.depth += argument;
      return leaveToNext(frame, insn);
    case S.STEP_LEAVE_TO_SELF:
      f.depth += argument;
      return leaveTo(frame, insn.ripLow, insn.ripHigh);
    case S.STEP_BELOW: {
      const below = frame.accesses.below[frame.index]!;
      if (below !== 0) f.i64(BigInt(below)).op('i64.sub');
      return;
    }
    case S.STEP_ABOVE:
      f.i64(BigInt(frame.accesses.above[frame.index]!)).op('i64.add');
      return;
    case S.STEP_LEAD:
      f.set(leaderLocal(frame, frame.index));
      return;
    case S.STEP_FOLLOW: {
      const { leader, distance } = frame.accesses;
      f.get(leaderLocal(frame, leader[frame.index]!));
      f.i32(distance[frame.index]!).op('i32.add');
      return;
    }
    case S.STEP_RETURN:
      if (frame.returnBlock < 0) {
        f.drop();
        return;
      }
      f.depth += argument;
      f.i64Halves(frame.returnLow, frame.returnHigh).op('i64.eq').if();
      frame.goTo(frame.returnBlock);
      f.end();
      return;
    case S.STEP_SAVE_REGISTERS:
      storeGpr(frame, ALL);
      if (argument === 1) storeXmm(frame, ALL);
      return;
    case S.STEP_LOAD_REGISTERS:
      loadGpr(frame);
      if (argument === 1) loadXmm(frame);
      return;
    default:
      throw new Error(`bug: no step ${step}`);
  }
}
