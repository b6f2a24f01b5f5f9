// F2XM1, FYL2X, FYL2XP1, FSIN, FCOS, FSINCOS, FPTAN, FPATAN (SDM 1 8.3.7, 8.3.10): the special operands by the tables of
// SDM 2A, everything else rounded from fixed.ts's far longer result, so within half a unit in the last place plus a hair
// (of the function of the reduced angle, for angles).

import { type Env, PE, roundPack, UE, x87Env, ZE } from './env.ts';
import { atan, CONSTANT_FRACTION, exp2m1, FRACTION, LN2, LN10, log2, ONE, PI, PI_FIXED, shiftLeft, sinCos, TINY } from './fixed.ts';
import { bitLength, FINITE, f80, INFINITY, infinity, type Unpacked, unpack, ZERO, zero } from './format.ts';
import { invalid, propagateNan, raiseDenormal } from './softfloat.ts';
import { C1, C2, commit, INDEFINITE, isEmpty, pop, push, read, stackFault, write, type X87State } from './x87_state.ts';
import { loadConstant } from './x87_transfer.ts';

const F80_ONE = 0x3fff8000000000000000n;
const WHOLE = 1n << BigInt(CONSTANT_FRACTION);

/** FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2, FLDZ: fixed-point values, rounded as RC says. */
const CONSTANTS = [WHOLE, (LN10 << 512n) / LN2, (WHOLE << 512n) / LN2, PI, (LN2 << 512n) / LN10, LN2, 0n];

export function fldConstant(state: X87State, index: number): void {
  const value = CONSTANTS[index] as bigint;
  const exact = value === 0n || value === WHOLE;
  loadConstant(state, value === 0n ? 0n : roundPack(f80, false, value, -CONSTANT_FRACTION, !exact, x87Env(state.control)));
}

/** Rounds a signed fixed-point value that is never exact. */
function fromFixed(value: bigint, negate: boolean, env: Env): bigint {
  const sign = value < 0n;
  return roundPack(f80, sign !== negate, sign ? -value : value, -FRACTION, true, env);
}

/** A result just below (above) the magnitude of x. */
function nearly(x: Unpacked, above: boolean, env: Env): bigint {
  const magnitude = x.significand << 70n;
  return roundPack(f80, x.sign, above ? magnitude : magnitude - 1n, x.exponent - 70, true, env);
}

function leading(x: Unpacked): number {
  return x.exponent + bitLength(x.significand) - 1;
}

function fixed(x: Unpacked): bigint {
  const magnitude = shiftLeft(x.significand, FRACTION + x.exponent);
  return x.sign ? -magnitude : magnitude;
}

export function f2xm1(x: Unpacked, env: Env): bigint {
  const nan = propagateNan(f80, x, x, env);
  if (nan !== undefined) return nan;
  if (x.kind === ZERO) return zero(f80, x.sign);
  if (x.kind === INFINITY) return x.sign ? F80_ONE | (1n << 79n) : infinity(f80, false);
  raiseDenormal(x, x, env);
  env.flags |= PE;
  if (leading(x) >= 0) {
    // Undefined beyond -1..1, where the operand stays; 1 is itself.
    const minusOne = x.sign && x.exponent === -63 && x.significand === 1n << 63n;
    return minusOne ? roundPack(f80, true, 1n, -1, false, env) : roundPack(f80, x.sign, x.significand, x.exponent, false, env);
  }
  if (leading(x) < -TINY) return roundPack(f80, x.sign, x.significand * LN2, x.exponent - CONSTANT_FRACTION, true, env);
  return fromFixed(exp2m1(fixed(x)), false, env);
}

/** y * log2(x). Processors call the result inexact even where it is not. */
function timesLog(y: Unpacked, log: bigint, env: Env): bigint {
  const sign = log < 0n !== y.sign;
  const exact = log % ONE === 0n;
  const bits = roundPack(f80, sign, (log < 0n ? -log : log) * y.significand, y.exponent - FRACTION, !exact, env);
  env.flags |= unpack(f80, bits).denormal ? PE | UE : PE;
  return bits;
}

export function yl2x(x: Unpacked, y: Unpacked, env: Env): bigint {
  const nan = propagateNan(f80, x, y, env);
  if (nan !== undefined) return nan;
  if (x.kind === ZERO) {
    if (y.kind === ZERO) return invalid(f80, env);
    if (y.kind === FINITE) env.flags |= ZE;
    return infinity(f80, !y.sign);
  }
  if (x.sign) return invalid(f80, env);
  if (x.kind === INFINITY) {
    if (y.kind === ZERO) return invalid(f80, env);
    raiseDenormal(y, y, env);
    return infinity(f80, y.sign);
  }
  const exponent = leading(x);
  const isOne = exponent === 0 && x.significand === 1n << 63n;
  if (y.kind === INFINITY) {
    if (isOne) return invalid(f80, env);
    raiseDenormal(x, x, env);
    return infinity(f80, y.sign !== exponent < 0);
  }
  raiseDenormal(x, y, env);
  if (y.kind === ZERO || isOne) return zero(f80, y.sign !== exponent < 0);
  return timesLog(y, log2(x.significand, x.exponent), env);
}

export function yl2xp1(x: Unpacked, y: Unpacked, env: Env): bigint {
  const nan = propagateNan(f80, x, y, env);
  if (nan !== undefined) return nan;
  if (x.kind === INFINITY) {
    if (x.sign || y.kind === ZERO) return invalid(f80, env);
    raiseDenormal(y, y, env);
    return infinity(f80, y.sign);
  }
  const sign = x.sign !== y.sign;
  if (y.kind === INFINITY) {
    if (x.kind === ZERO) return invalid(f80, env);
    raiseDenormal(x, x, env);
    return infinity(f80, sign);
  }
  raiseDenormal(x, y, env);
  if (x.kind === ZERO || y.kind === ZERO) return zero(f80, sign);
  if (leading(x) < -TINY) {
    const product = (x.significand * y.significand * (WHOLE << 512n)) / LN2;
    return roundPack(f80, sign, product, x.exponent + y.exponent - CONSTANT_FRACTION, true, env);
  }
  // Defined for small |x| only; processors follow the formula for every x > -1 and let x stand for the rest.
  const shift = Math.max(0, -x.exponent);
  const magnitude = x.significand << BigInt(x.exponent + shift);
  const sum = (1n << BigInt(shift)) + (x.sign ? -magnitude : magnitude);
  if (sum <= 0n) {
    env.flags |= PE;
    return roundPack(f80, true, x.significand, x.exponent, false, env);
  }
  return timesLog(y, log2(sum, -shift), env);
}

/** atan2(y, x). */
export function patan(x: Unpacked, y: Unpacked, env: Env): bigint {
  const nan = propagateNan(f80, x, y, env);
  if (nan !== undefined) return nan;
  raiseDenormal(x, y, env);
  if (y.kind === ZERO) return x.sign ? fromFixed(PI_FIXED, y.sign, env) : zero(f80, y.sign);
  if (x.kind === ZERO) return fromFixed(PI_FIXED >> 1n, y.sign, env);
  if (y.kind === INFINITY) {
    const quarter = PI_FIXED >> 2n;
    return fromFixed(x.kind !== INFINITY ? 2n * quarter : x.sign ? 3n * quarter : quarter, y.sign, env);
  }
  if (x.kind === INFINITY) return x.sign ? fromFixed(PI_FIXED, y.sign, env) : zero(f80, y.sign);
  if (leading(y) - leading(x) < -TINY && !x.sign) {
    const quotient = (y.significand << 200n) / x.significand;
    return roundPack(f80, y.sign, 4n * quotient - 1n, y.exponent - x.exponent - 202, true, env);
  }
  const steep = leading(y) > leading(x) || (leading(y) === leading(x) && ratio(y, x) > ONE);
  let angle = steep ? (PI_FIXED >> 1n) - atan(ratio(x, y)) : atan(ratio(y, x));
  if (x.sign) angle = PI_FIXED - angle;
  return fromFixed(angle, y.sign, env);
}

/** |a / b| in fixed point, for a quotient below 2. */
function ratio(a: Unpacked, b: Unpacked): bigint {
  const shift = FRACTION + a.exponent - b.exponent;
  return shift < -64
    ? 0n
    : shift < 0
      ? (a.significand >> BigInt(-shift)) / b.significand
      : (a.significand << BigInt(shift)) / b.significand;
}

type Trigonometric = 'sin' | 'cos' | 'tan';

function trigonometric(name: Trigonometric, x: Unpacked, env: Env): bigint {
  if (x.kind === ZERO) return name === 'cos' ? F80_ONE : zero(f80, x.sign);
  if (leading(x) < -TINY) return name === 'cos' ? fromFixed(ONE - 1n, false, env) : nearly(x, name === 'tan', env);
  const { sin, cos } = sinCos(x.significand, x.exponent);
  if (name === 'cos') return fromFixed(cos, false, env);
  return fromFixed(name === 'sin' ? sin : (sin * ONE) / cos, x.sign, env);
}

/** FSIN, FCOS, FPTAN (which pushes 1.0) and FSINCOS (which pushes the cosine). Beyond 2^63: C2, and nothing else. */
export function trigonometricInstruction(state: X87State, first: Trigonometric, pushed?: 'cos' | 'one'): void {
  const overflow = pushed !== undefined && !isEmpty(state, -1);
  state.status &= ~(C1 | C2);
  if (isEmpty(state, 0) || overflow) {
    if (!stackFault(state, !isEmpty(state, 0))) return;
    write(state, 0, INDEFINITE);
    if (pushed !== undefined) push(state, INDEFINITE);
    return;
  }
  const x = read(state, 0);
  if (x.kind === FINITE && leading(x) >= 63) {
    state.status |= C2;
    return;
  }
  const env = x87Env(state.control);
  const special = propagateNan(f80, x, x, env) ?? (x.kind === INFINITY ? invalid(f80, env) : undefined);
  if (special === undefined) raiseDenormal(x, x, env);
  const result = special ?? trigonometric(first, x, env);
  const second = pushed === undefined ? 0n : (special ?? (pushed === 'one' ? F80_ONE : trigonometric('cos', x, env)));
  if (!commit(state, env)) return;
  write(state, 0, result);
  if (pushed !== undefined) push(state, second);
}

/** FYL2X, FYL2XP1 and FPATAN: ST(1) = operation(ST(0), ST(1)), then pop. */
export function binaryPop(state: X87State, operation: (x: Unpacked, y: Unpacked, env: Env) => bigint): void {
  if (isEmpty(state, 0) || isEmpty(state, 1)) {
    if (!stackFault(state, false)) return;
    write(state, 1, INDEFINITE);
    pop(state);
    return;
  }
  const env = x87Env(state.control);
  const result = operation(read(state, 0), read(state, 1), env);
  if (!commit(state, env)) return;
  write(state, 1, result);
  pop(state);
}
