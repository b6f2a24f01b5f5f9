// x87 instructions that take numbers apart: FRNDINT, FSCALE, FXTRACT, FPREM and FPREM1 (SDM 2A). All but FRNDINT are exact
// where the result is normal.

import { fromInteger, toIntegral } from './convert.ts';
import { type Env, roundPack, x87Env, ZE } from './env.ts';
import { bitLength, f80, INFINITY, infinity, pack, type Unpacked, ZERO, zero } from './format.ts';
import { invalid, propagateNan, raiseDenormal } from './softfloat.ts';
import { C0, C1, C2, C3, commit, INDEFINITE, isEmpty, push, read, setConditions, stackFault, write, type X87State } from './x87_state.ts';

export function roundToIntegral(x: Unpacked, env: Env): bigint {
  raiseDenormal(x, x, env);
  return toIntegral(f80, x, env);
}

/** x * 2^trunc(y). */
function scale(x: Unpacked, y: Unpacked, env: Env): bigint {
  const nan = propagateNan(f80, x, y, env);
  if (nan !== undefined) return nan;
  if (y.kind === INFINITY) {
    if (x.kind === (y.sign ? INFINITY : ZERO)) return invalid(f80, env);
    raiseDenormal(x, x, env);
    return y.sign ? zero(f80, x.sign) : infinity(f80, x.sign);
  }
  raiseDenormal(x, y, env);
  if (x.kind === INFINITY) return infinity(f80, x.sign);
  if (x.kind === ZERO) return zero(f80, x.sign);
  return roundPack(f80, x.sign, x.significand, x.exponent + scaleFactor(y), false, env);
}

/** FSCALE. */
export function scaleInstruction(state: X87State): void {
  const y = isEmpty(state, 1) ? undefined : read(state, 1);
  if (y === undefined || isEmpty(state, 0)) {
    if (stackFault(state, false)) write(state, 0, INDEFINITE);
    return;
  }
  const env = x87Env(state.control);
  const result = scale(read(state, 0), y, env);
  if (commit(state, env)) write(state, 0, result);
}

/** trunc(y) as far as it matters: beyond 2^17 every number has left the range. */
function scaleFactor(y: Unpacked): number {
  if (y.kind === ZERO || y.exponent + bitLength(y.significand) <= 0) return 0;
  const magnitude = y.exponent + bitLength(y.significand) > 17 ? 0x20000 : Number(y.significand >> BigInt(-y.exponent));
  return y.sign ? -magnitude : magnitude;
}

/** FXTRACT: ST(0) becomes the exponent, then the significand is pushed. */
export function fxtract(state: X87State): void {
  if (isEmpty(state, 0) || !isEmpty(state, -1)) {
    if (!stackFault(state, !isEmpty(state, 0))) return;
    write(state, 0, INDEFINITE);
    push(state, INDEFINITE);
    return;
  }
  const env = x87Env(state.control);
  const x = read(state, 0);
  const [exponent, significand] = extract(x, env);
  if (!commit(state, env)) return;
  write(state, 0, exponent);
  push(state, significand);
}

function extract(x: Unpacked, env: Env): [bigint, bigint] {
  const nan = propagateNan(f80, x, x, env);
  if (nan !== undefined) return [nan, nan];
  if (x.kind === INFINITY) return [infinity(f80, false), infinity(f80, x.sign)];
  if (x.kind === ZERO) {
    env.flags |= ZE;
    return [infinity(f80, true), zero(f80, x.sign)];
  }
  raiseDenormal(x, x, env);
  const length = bitLength(x.significand);
  const significand = pack(f80, x.sign, f80.bias, x.significand << BigInt(64 - length));
  return [fromInteger(f80, BigInt(x.exponent + length - 1), env), significand];
}

/** FPREM (the quotient truncated) and FPREM1 (rounded to nearest even). */
export function remainder(state: X87State, nearest: boolean): void {
  state.status &= ~C2;
  if (isEmpty(state, 0) || isEmpty(state, 1)) {
    if (stackFault(state, false)) write(state, 0, INDEFINITE);
    return;
  }
  const env = x87Env(state.control);
  const { bits, conditions } = divide(read(state, 0), read(state, 1), nearest, env);
  if (!commit(state, env)) return;
  write(state, 0, bits);
  if (conditions !== undefined) setConditions(state, conditions);
}

/** Exponent differences from here on are reduced in several steps, C2 telling that the remainder is partial. */
const FULL_REDUCTION = 64;

function divide(x: Unpacked, y: Unpacked, nearest: boolean, env: Env): { bits: bigint; conditions?: number } {
  const nan = propagateNan(f80, x, y, env);
  if (nan !== undefined) return { bits: nan };
  if (x.kind === INFINITY || y.kind === ZERO) return { bits: invalid(f80, env) };
  raiseDenormal(x, y, env);
  if (x.kind === ZERO) return { bits: zero(f80, x.sign), conditions: 0 };
  if (y.kind === INFINITY) return { bits: roundPack(f80, x.sign, x.significand, x.exponent, false, env), conditions: 0 };
  const difference = x.exponent + bitLength(x.significand) - y.exponent - bitLength(y.significand);
  const partial = difference >= FULL_REDUCTION;
  // A partial step subtracts a multiple of y * 2^skipped; AMD's processors step so.
  const skipped = partial ? difference - (difference % 32) - 32 : 0;
  const exponent = Math.min(x.exponent, y.exponent + skipped);
  const dividend = x.significand << BigInt(x.exponent - exponent);
  const divisor = y.significand << BigInt(y.exponent + skipped - exponent);
  let quotient = dividend / divisor;
  let rest = dividend - quotient * divisor;
  let sign = x.sign;
  if (nearest && !partial && (2n * rest > divisor || (2n * rest === divisor && (quotient & 1n) === 1n))) {
    quotient++;
    rest = divisor - rest;
    sign = !sign;
  }
  const low = Number(quotient & 7n);
  const conditions = partial ? C2 : ((low & 4) !== 0 ? C0 : 0) | ((low & 2) !== 0 ? C3 : 0) | ((low & 1) !== 0 ? C1 : 0);
  return { bits: rest === 0n ? zero(f80, x.sign) : roundPack(f80, sign, rest, exponent, false, env), conditions };
}
