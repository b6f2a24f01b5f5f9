/**
 * The two floating-point formats as lanes of a vector, and the conditions under which an instruction runs inline: tests of
 * lanes and of MXCSR, and the helper where they fail. sse_float.ts and sse_convert.ts are written with these.
 */
import type { Builder } from '../builder.ts';
import type { LaneSize } from '../fpu_helpers.ts';
import type { Value } from '../ir.ts';
import { ARGS, MXCSR } from '../layout.ts';

/** Per lane size: names of the WebAssembly types, and bounds as patterns. */
export interface Format {
  readonly size: LaneSize;
  readonly scalar: 'f32' | 'f64';
  readonly vector: 'f32x4' | 'f64x2';
  readonly masks: 'i32x4' | 'i64x2';
  /** Smallest normal number and infinity. */
  readonly min: bigint;
  readonly infinity: bigint;
}

export const single: Format = { size: 4, scalar: 'f32', vector: 'f32x4', masks: 'i32x4', min: 0x0080_0000n, infinity: 0x7f80_0000n };
export const double: Format = {
  size: 8,
  scalar: 'f64',
  vector: 'f64x2',
  masks: 'i64x2',
  min: 0x0010_0000_0000_0000n,
  infinity: 0x7ff0_0000_0000_0000n,
};

export function both(q: Builder, ...conditions: Value[]): Value {
  return conditions.reduce((a, b) => q.op('i32.and', a, b));
}

export function scalarConstant(q: Builder, f: Format, pattern: bigint): Value {
  return f.size === 4 ? q.op('f32.reinterpret_i32', q.con32(Number(pattern))) : q.op('f64.reinterpret_i64', q.con(pattern));
}

export function vectorConstant(q: Builder, f: Format, pattern: bigint): Value {
  const half = f.size === 4 ? pattern | (pattern << 32n) : pattern;
  return q.conVector(half, half);
}

/** Whether MXCSR's bits under `mask` are `value`; PE sticky and masked is 0x1020, round to nearest 0 of 0x6000. */
export function mxcsrIs(q: Builder, mask: number, value: number): Value {
  return q.op('i32.eq', q.op('i32.and', q.getState('i32.load', MXCSR), q.con32(mask)), q.con32(value));
}

/** `fast` where `ok` holds, else what the helper leaves. */
export function orHelper(q: Builder, ok: Value, fast: Value, helper: number, helperArguments: Value[]): Value {
  const result = q.variable(fast);
  q.if(q.isZero(ok), () => {
    q.call(helper, helperArguments);
    q.assign(result, q.getState(fast.ty === 'v128' ? 'v128.load' : 'i64.load', ARGS));
  });
  return result;
}

// Conditions on lanes, as masks

export const compare = (q: Builder, f: Format, name: string, a: Value, b: Value): Value => q.op(`${f.vector}.${name}`, a, b);
export const and = (q: Builder, a: Value, b: Value): Value => q.op('v128.and', a, b);
export const or = (q: Builder, a: Value, b: Value): Value => q.op('v128.or', a, b);
export const isZeroLane = (q: Builder, f: Format, v: Value): Value => compare(q, f, 'eq', v, q.conVector(0n, 0n));

/** Neither denormal nor NaN. */
export function isPlainLane(q: Builder, f: Format, v: Value): Value {
  return or(q, compare(q, f, 'ge', q.op(`${f.vector}.abs`, v), vectorConstant(q, f, f.min)), isZeroLane(q, f, v));
}

/** Finite, and above the smallest normal number: what rounds to that may have been tiny. */
export function isSafeLane(q: Builder, f: Format, v: Value): Value {
  const magnitude = q.op(`${f.vector}.abs`, v);
  return and(
    q,
    compare(q, f, 'gt', magnitude, vectorConstant(q, f, f.min)),
    compare(q, f, 'lt', magnitude, vectorConstant(q, f, f.infinity)),
  );
}

export function arePlain(q: Builder, f: Format, a: Value, b: Value): Value {
  return and(q, isPlainLane(q, f, a), isPlainLane(q, f, b));
}

/** All lanes, or only the first of a scalar instruction, as i32. */
export function holds(q: Builder, f: Format, mask: Value, isScalar: boolean): Value {
  if (!isScalar) return q.op(`${f.masks}.all_true`, mask);
  return f.size === 4 ? q.lane('i32x4.extract_lane', 0, mask) : q.wrap(q.lane('i64x2.extract_lane', 0, mask));
}

export const isFiniteLane = (q: Builder, f: Format, v: Value): Value =>
  compare(q, f, 'lt', q.op(`${f.vector}.abs`, v), vectorConstant(q, f, f.infinity));
