/**
 * The slow, exact path of SSE floating point: helpers that lowered code calls when an exception flag might be raised, a
 * special operand is met or MXCSR is not the default. Each applies one scalar operation of float/sse.ts lane by lane:
 * (a, b) -> a vector whose first lanes are results and whose rest is a's.
 */

import { CR4_OSXMMEXCPT } from './control_registers.ts';
import type { CpuCore } from './cpu.ts';
import { Fault, UD, XM } from './fault.ts';
import { sseReciprocal, sseReciprocalSqrt } from './float/reciprocal.ts';
import {
  type SseArithOp,
  type SseResult,
  sseArith,
  sseComi,
  sseCompare,
  sseConvertFloat,
  sseExceptions,
  sseFromInteger,
  sseRound,
  sseToInteger,
} from './float/sse.ts';
import { type QuickOp, quickArith } from './float_quick.ts';
import { defineHelper, helpers } from './helpers.ts';
import { ARGS, FSW, FTW, MXCSR, SYS_CR4 } from './layout.ts';

export type LaneSize = 4 | 8;

const A = ARGS,
  B = ARGS + 16,
  C = ARGS + 32;
/** MXCSR without its flags: everything masked, round to nearest, denormals as they are. */
const DEFAULT_CONTROL = 0x1f80;

/** Adds the raised flags to MXCSR; throws when one is unmasked. */
function raise(cpu: CpuCore, flags: number): void {
  const { view, sys } = cpu.state;
  const { mxcsr, fault } = sseExceptions(view.getInt32(MXCSR, true), flags);
  view.setInt32(MXCSR, mxcsr, true);
  if (fault) throw new Fault(sys[SYS_CR4]! & BigInt(CR4_OSXMMEXCPT) ? XM : UD);
}

function readLane(view: DataView, at: number, size: LaneSize, i: number): bigint {
  return size === 4 ? BigInt(view.getUint32(at + 4 * i, true)) : view.getBigUint64(at + 8 * i, true);
}

function writeLane(view: DataView, size: LaneSize, i: number, value: bigint): void {
  if (size === 4) view.setUint32(A + 4 * i, Number(value), true);
  else view.setBigUint64(A + 8 * i, value, true);
}

type Lane = (a: bigint, b: bigint, mxcsr: number, i: number) => SseResult;

function exactLanes(cpu: CpuCore, count: number, sourceSize: LaneSize, size: LaneSize, lane: Lane): void {
  const { view } = cpu.state;
  const mxcsr = view.getInt32(MXCSR, true);
  const results: bigint[] = [];
  let flags = 0;
  for (let i = 0; i < count; i++) {
    const outcome = lane(readLane(view, A, sourceSize, i), readLane(view, B, sourceSize, i), mxcsr, i);
    results.push(outcome.result);
    flags |= outcome.flags;
  }
  raise(cpu, flags);
  for (const [i, result] of results.entries()) writeLane(view, size, i, result);
}

/** False, with nothing done, when a lane needs exact arithmetic. */
function quickLanes(view: DataView, count: number, size: LaneSize, op: QuickOp): boolean {
  const mxcsr = view.getInt32(MXCSR, true);
  if ((mxcsr & ~0x3f) !== DEFAULT_CONTROL) return false;
  const read = (at: number): number => (size === 8 ? view.getFloat64(at, true) : view.getFloat32(at, true));
  const results: number[] = [];
  let flags = mxcsr;
  for (let i = 0; i < count; i++) {
    const quick = quickArith(op, size, read(A + size * i), read(B + size * i));
    if (!quick) return false;
    results.push(quick.value);
    flags |= quick.flags;
  }
  view.setInt32(MXCSR, flags, true);
  results.forEach((value, i) => {
    if (size === 8) view.setFloat64(A + 8 * i, value, true);
    else view.setFloat32(A + 4 * i, value, true);
  });
  return true;
}

/** `count` lanes: 1 for the scalar forms. */
export function arithHelper(op: SseArithOp, size: LaneSize, count: number): number {
  const lane: Lane = (a, b, mxcsr) => sseArith(op, size, a, b, mxcsr);
  if (op === 'min' || op === 'max') return defineHelper((cpu) => exactLanes(cpu, count, size, size, lane));
  return defineHelper((cpu) => {
    if (!quickLanes(cpu.state.view, count, size, op)) exactLanes(cpu, count, size, size, lane);
  });
}

/** ADDSUBPS and ADDSUBPD: even lanes are subtracted, odd ones added. */
export function addSubHelper(size: LaneSize): number {
  return defineHelper((cpu) =>
    exactLanes(cpu, 16 / size, size, size, (a, b, mxcsr, i) => sseArith(i % 2 === 0 ? 'sub' : 'add', size, a, b, mxcsr)),
  );
}

/** ROUNDPS and its kin; a third argument is the immediate. */
export function roundHelper(size: LaneSize, count: number): number {
  return defineHelper((cpu) => {
    const control = cpu.state.view.getInt32(C, true);
    exactLanes(cpu, count, size, size, (_, b, mxcsr) => sseRound(size, control, b, mxcsr));
  });
}

/**
 * DPPS and DPPD: the immediate's high half chooses products, its low half lanes of the result. Products, the sums of pairs
 * and the last sum are steps: an unmasked exception of one keeps the next from happening.
 */
export function dotProductHelper(size: LaneSize): number {
  return defineHelper((cpu) => {
    const { view } = cpu.state;
    const control = view.getInt32(C, true);
    const mxcsr = view.getInt32(MXCSR, true);
    const lanes = Array.from({ length: 16 / size }, (_, i) => i);
    const product = (i: number): SseResult =>
      control & (16 << i) ? sseArith('mul', size, readLane(view, A, size, i), readLane(view, B, size, i), mxcsr) : { result: 0n, flags: 0 };
    const step = (outcomes: readonly SseResult[]): bigint[] => {
      const flags = outcomes.reduce((all, outcome) => all | outcome.flags, 0);
      raise(cpu, flags);
      return outcomes.map(({ result }) => result);
    };
    let sums = step(lanes.map(product));
    while (sums.length > 1) {
      sums = step(sums.flatMap((a, i) => (i % 2 === 0 ? [sseArith('add', size, a, sums[i + 1]!, mxcsr)] : [])));
    }
    for (const i of lanes) writeLane(view, size, i, control & (1 << i) ? sums[0]! : 0n);
  });
}

/** A third argument is the predicate. */
export function compareHelper(size: LaneSize, count: number): number {
  return defineHelper((cpu) => {
    const predicate = cpu.state.view.getInt32(C, true) & 7;
    exactLanes(cpu, count, size, size, (a, b, mxcsr) => sseCompare(predicate, size, a, b, mxcsr));
  });
}

/** Returns the image of ZF PF CF. */
export function comiHelper(isSignalling: boolean, size: LaneSize): number {
  return defineHelper((cpu) => {
    const { view } = cpu.state;
    const { eflags, flags } = sseComi(
      isSignalling,
      size,
      readLane(view, A, size, 0),
      readLane(view, B, size, 0),
      view.getInt32(MXCSR, true),
    );
    raise(cpu, flags);
    view.setBigUint64(A, BigInt(eflags), true);
  });
}

/** Between the two floating-point formats; `size` is the source's. */
export function convertFloatHelper(size: LaneSize, count: number): number {
  return defineHelper((cpu) => exactLanes(cpu, count, size, size === 4 ? 8 : 4, (_, b, mxcsr) => sseConvertFloat(size, b, mxcsr)));
}

export function toIntegerHelper(size: LaneSize, integerSize: LaneSize, isTruncating: boolean, count: number): number {
  return defineHelper((cpu) =>
    exactLanes(cpu, count, size, integerSize, (_, b, mxcsr) => sseToInteger(size, integerSize, isTruncating, b, mxcsr)),
  );
}

export function fromIntegerHelper(size: LaneSize, integerSize: LaneSize, count: number): number {
  return defineHelper((cpu) => exactLanes(cpu, count, integerSize, size, (_, b, mxcsr) => sseFromInteger(size, integerSize, b, mxcsr)));
}

/** RCPPS, RCPSS, RSQRTPS, RSQRTSS: they raise nothing. */
export function reciprocalHelper(isRoot: boolean, count: number): number {
  const operation = isRoot ? sseReciprocalSqrt : sseReciprocal;
  return defineHelper((cpu) => exactLanes(cpu, count, 4, 4, (_, b) => ({ result: operation(b), flags: 0 })));
}

/** For conversions on MMX registers: these are in use even when the conversion ends in #XM, as on real processors. */
export function enteringMmx(helper: number): number {
  return defineHelper((cpu, record, insn) => {
    const { view } = cpu.state;
    view.setUint16(FSW, view.getUint16(FSW, true) & ~0x3800, true);
    view.setUint16(FTW, 0, true);
    helpers[helper]!(cpu, record, insn);
  });
}
