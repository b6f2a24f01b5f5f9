/**
 * Operands of the vector instructions: XMM registers or memory as v128, MMX registers as i64, and what every MMX
 * instruction does to the x87 state (SDM 1 9.5, 10.4.6). 16-byte memory operands must be aligned unless a row says not.
 */
import type { Builder } from '../builder.ts';
import { MF } from '../fault.ts';
import type { Value } from '../ir.ts';
import { FSW, FTW } from '../layout.ts';

export type VectorOp = (q: Builder, a: Value, b: Value) => Value;

const loads = { 4: 'v128.load32_zero', 8: 'v128.load64_zero', 16: 'v128.load' } as const;

/** ModRM.rm as a vector: the whole register, or `size` bytes of memory and zeros above. */
export function xmmRm(q: Builder, size: 4 | 8 | 16 = 16, align = size === 16 ? 16 : 1): Value {
  if (q.shape.ea === 'reg') return q.getXmm('rm');
  return q.load(q.ptr(q.ea(size), size, 'r', { align }), loads[size]);
}

/** Stores the low `size` bytes of a vector at the memory operand. */
export function storeVector(q: Builder, value: Value, size: 4 | 8 | 16, align = 1): void {
  const ptr = q.ptr(q.ea(size), size, 'w', { align });
  q.store(ptr, size, size === 16 ? value : low64(q, value));
}

export function mmRm(q: Builder, size: 4 | 8 = 8): Value {
  if (q.shape.ea === 'reg') return q.getMmx('rm');
  return q.load(q.ptr(q.ea(size), size, 'r'), size);
}

/** #MF when an unmasked x87 exception waits: real processors look before they touch the memory operand. */
export function checkPending(q: Builder): void {
  q.fault(q.op('i32.and', q.getState('i32.load16_u', FSW), q.con32(0x80)), MF);
}

/** TOP = 0 and all registers valid; a commit. */
export function enterMmx(q: Builder): void {
  q.setState('i32.store16', FSW, q.op('i32.and', q.getState('i32.load16_u', FSW), q.con32(~0x3800)));
  q.setState('i32.store16', FTW, q.con32(0));
}

export function setMm(q: Builder, value: Value, ref: 'reg' | 'rm' = 'reg'): void {
  enterMmx(q);
  q.setMmx(ref, value);
}

export function low64(q: Builder, value: Value): Value {
  return q.lane('i64x2.extract_lane', 0, value);
}

/** An i64 in both halves. */
export function splat(q: Builder, value: Value): Value {
  return q.op('i64x2.splat', value);
}

/** The low half of `low` below the high half of `high`. */
export function merge64(q: Builder, low: Value, high: Value): Value {
  return q.shuffle(low, high, lanes(range(0, 8), range(24, 8)));
}

/** Byte i holds i: the identity for a swizzle. */
export const BYTE_NUMBERS = [0x0706_0504_0302_0100n, 0x0f0e_0d0c_0b0a_0908n] as const;

export function zeroVector(q: Builder): Value {
  return q.conVector(0n, 0n);
}

/** A vector constant of equal lanes of `bits` bits. */
export function splatConstant(q: Builder, value: bigint, bits: number): Value {
  let half = 0n;
  for (let at = 0; at < 64; at += bits) half |= value << BigInt(at);
  return q.conVector(half, half);
}

export function range(start: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => start + i);
}

export function lanes(...parts: readonly number[][]): number[] {
  return parts.flat();
}
