/**
 * Puts instructions into a region: copies their templates (region_template.ts) and takes the steps in them
 * (region_steps.ts). Guest registers that its loops use and the flags are locals, fields of instructions are constants.
 */
import { pushIsKnownAt, pushRecordAt } from './jump_cache.ts';
import * as L from './layout.ts';
import type { Frame } from './region_frame.ts';
import type { RegionInsn } from './region_insn.ts';
import {
  gprOf,
  gprOffset,
  loadGpr,
  loadXmm,
  OPCODE,
  putGetReg,
  putMask,
  putSetReg,
  storeGpr,
  storeXmm,
  xmmOf,
} from './region_registers.ts';
import * as S from './region_steps.ts';
import { askLookup, type RegionTemplate } from './region_template.ts';
import { putSigned, putSignedHalves, putUnsigned } from './wasm_writer.ts';

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

const ALL = -1;

function tempLocal({ f, temps }: Frame, code: number): number {
  const ofType = temps[code & 7]!;
  const number = code >> 3;
  while (ofType.length <= number) ofType.push(f.local(S.tempTypes[code & 7]!));
  return ofType[number]!;
}

const NO_RESULT = 0x40;

/** Bytes that a step takes at most, if it writes them itself. */
const STEP_BYTES = 32;

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
