// IEEE-754 arithmetic on bit patterns, exact in every rounding mode, with the exceptions and NaN rules of x86
// (SDM 1 4.8, 4.9). sse.ts and x87*.ts put their instructions' semantics on top; env.ts rounds.

import { DE, DOWN, type Env, IE, roundPack, ZE } from './env.ts';
import {
  bitLength,
  type Format,
  INFINITY,
  indefinite,
  infinity,
  isNan,
  QNAN,
  quietNan,
  SNAN,
  UNSUPPORTED,
  type Unpacked,
  unpack,
  unpacked,
  ZERO,
  zero,
} from './format.ts';

/** An operand as the operation sees it: under DAZ a denormal is a zero of its sign. */
export function operand(f: Format, bits: bigint, env: Env): Unpacked {
  const x = unpack(f, bits);
  return env.daz && x.denormal ? unpacked(ZERO, x.sign) : x;
}

export function invalid(f: Format, env: Env): bigint {
  env.flags |= IE;
  return indefinite(f);
}

/** The result when an operand is a NaN or unsupported (SDM 1 table 4-7), or undefined when neither is. */
export function propagateNan(f: Format, x: Unpacked, y: Unpacked, env: Env): bigint | undefined {
  if (x.kind < QNAN && y.kind < QNAN) return undefined;
  if (x.kind >= SNAN || y.kind >= SNAN) env.flags |= IE;
  if (x.kind === UNSUPPORTED || y.kind === UNSUPPORTED) return indefinite(f);
  return quietNan(f, env.x87 ? selectX87Nan(x, y) : isNan(x) ? x : y);
}

function selectX87Nan(x: Unpacked, y: Unpacked): Unpacked {
  if (!isNan(y)) return x;
  if (!isNan(x)) return y;
  if (x.kind !== y.kind) return x.kind === QNAN ? x : y;
  if (x.significand !== y.significand) return x.significand > y.significand ? x : y;
  return x.sign ? y : x;
}

export function raiseDenormal(x: Unpacked, y: Unpacked, env: Env): void {
  if (x.denormal || y.denormal) env.flags |= DE;
}

/** x + y, or x - y: a NaN keeps its sign, so subtraction is not addition of the negated operand. */
export function addUnpacked(f: Format, x: Unpacked, y: Unpacked, subtract: boolean, env: Env): bigint {
  const nan = propagateNan(f, x, y, env);
  if (nan !== undefined) return nan;
  const ySign = y.sign !== subtract;
  if (x.kind === INFINITY || y.kind === INFINITY) {
    if (x.kind === y.kind && x.sign !== ySign) return invalid(f, env);
    raiseDenormal(x, y, env);
    return infinity(f, x.kind === INFINITY ? x.sign : ySign);
  }
  raiseDenormal(x, y, env);
  if (x.kind === ZERO && y.kind === ZERO) return zero(f, x.sign === ySign ? x.sign : env.rounding === DOWN);
  if (x.kind === ZERO) return roundPack(f, ySign, y.significand, y.exponent, false, env);
  if (y.kind === ZERO) return roundPack(f, x.sign, x.significand, x.exponent, false, env);
  let [high, highSign, low, lowSign] = [x, x.sign, y, ySign];
  if (bitLength(x.significand) + x.exponent < bitLength(y.significand) + y.exponent) {
    [high, highSign, low, lowSign] = [y, ySign, x, x.sign];
  }
  const far = 70 + 64;
  if (high.exponent - low.exponent > far) {
    // The low operand is far below the last bit that rounding looks at: it only says on which side of `high` we are.
    const magnitude = high.significand << 70n;
    return roundPack(f, highSign, highSign === lowSign ? magnitude : magnitude - 1n, high.exponent - 70, true, env);
  }
  const exponent = Math.min(high.exponent, low.exponent);
  const a = high.significand << BigInt(high.exponent - exponent);
  const b = low.significand << BigInt(low.exponent - exponent);
  const sum = (highSign ? -a : a) + (lowSign ? -b : b);
  if (sum === 0n) return zero(f, env.rounding === DOWN);
  return roundPack(f, sum < 0n, sum < 0n ? -sum : sum, exponent, false, env);
}

export function mulUnpacked(f: Format, x: Unpacked, y: Unpacked, env: Env): bigint {
  const nan = propagateNan(f, x, y, env);
  if (nan !== undefined) return nan;
  const sign = x.sign !== y.sign;
  if (x.kind === INFINITY || y.kind === INFINITY) {
    if (x.kind === ZERO || y.kind === ZERO) return invalid(f, env);
    raiseDenormal(x, y, env);
    return infinity(f, sign);
  }
  raiseDenormal(x, y, env);
  if (x.kind === ZERO || y.kind === ZERO) return zero(f, sign);
  return roundPack(f, sign, x.significand * y.significand, x.exponent + y.exponent, false, env);
}

export function divUnpacked(f: Format, x: Unpacked, y: Unpacked, env: Env): bigint {
  const nan = propagateNan(f, x, y, env);
  if (nan !== undefined) return nan;
  const sign = x.sign !== y.sign;
  if (x.kind === INFINITY) {
    if (y.kind === INFINITY) return invalid(f, env);
    raiseDenormal(x, y, env);
    return infinity(f, sign);
  }
  if (y.kind === ZERO) {
    if (x.kind === ZERO) return invalid(f, env);
    env.flags |= ZE;
    return infinity(f, sign);
  }
  raiseDenormal(x, y, env);
  if (x.kind === ZERO || y.kind === INFINITY) return zero(f, sign);
  const shift = Math.max(0, f.precision + 3 + bitLength(y.significand) - bitLength(x.significand));
  const dividend = x.significand << BigInt(shift);
  const quotient = dividend / y.significand;
  const exact = quotient * y.significand === dividend;
  return roundPack(f, sign, quotient, x.exponent - shift - y.exponent, !exact, env);
}

export function sqrtUnpacked(f: Format, x: Unpacked, env: Env): bigint {
  const nan = propagateNan(f, x, x, env);
  if (nan !== undefined) return nan;
  if (x.kind === ZERO) return zero(f, x.sign);
  if (x.sign) return invalid(f, env);
  if (x.kind === INFINITY) return infinity(f, false);
  raiseDenormal(x, x, env);
  let shift = Math.max(0, 2 * (f.precision + 3) - bitLength(x.significand));
  if (((x.exponent - shift) & 1) !== 0) shift++;
  const radicand = x.significand << BigInt(shift);
  const root = integerSqrt(radicand);
  return roundPack(f, false, root, (x.exponent - shift) / 2, root * root !== radicand, env);
}

/** floor(sqrt(n)) by Newton's iteration from above. */
export function integerSqrt(n: bigint): bigint {
  if (n === 0n) return 0n;
  let root = 1n << BigInt((bitLength(n) + 1) >> 1);
  for (;;) {
    const next = (root + n / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}

export function add(f: Format, a: bigint, b: bigint, env: Env): bigint {
  return addUnpacked(f, operand(f, a, env), operand(f, b, env), false, env);
}

export function sub(f: Format, a: bigint, b: bigint, env: Env): bigint {
  return addUnpacked(f, operand(f, a, env), operand(f, b, env), true, env);
}

export function mul(f: Format, a: bigint, b: bigint, env: Env): bigint {
  return mulUnpacked(f, operand(f, a, env), operand(f, b, env), env);
}

export function div(f: Format, a: bigint, b: bigint, env: Env): bigint {
  return divUnpacked(f, operand(f, a, env), operand(f, b, env), env);
}

export function sqrt(f: Format, a: bigint, env: Env): bigint {
  return sqrtUnpacked(f, operand(f, a, env), env);
}

export const LESS = -1;
export const EQUAL = 0;
export const GREATER = 1;
export const UNORDERED = 2;
export type Order = -1 | 0 | 1 | 2;

/** Ordered comparison; `signalling` also raises IE for a QNaN. */
export function compareUnpacked(x: Unpacked, y: Unpacked, signalling: boolean, env: Env): Order {
  if (x.kind >= QNAN || y.kind >= QNAN) {
    if (signalling || x.kind >= SNAN || y.kind >= SNAN) env.flags |= IE;
    return UNORDERED;
  }
  raiseDenormal(x, y, env);
  if (x.kind === ZERO && y.kind === ZERO) return EQUAL;
  if (x.kind === ZERO) return y.sign ? GREATER : LESS;
  if (y.kind === ZERO || x.sign !== y.sign) return x.sign ? LESS : GREATER;
  const magnitude = compareMagnitude(x, y);
  return x.sign && magnitude !== EQUAL ? (-magnitude as Order) : magnitude;
}

function compareMagnitude(x: Unpacked, y: Unpacked): Order {
  if (x.kind === INFINITY || y.kind === INFINITY) {
    return x.kind === y.kind ? EQUAL : x.kind === INFINITY ? GREATER : LESS;
  }
  const lengthX = bitLength(x.significand);
  const lengthY = bitLength(y.significand);
  const difference = x.exponent + lengthX - y.exponent - lengthY;
  if (difference !== 0) return difference > 0 ? GREATER : LESS;
  const a = x.significand << BigInt(Math.max(0, lengthY - lengthX));
  const b = y.significand << BigInt(Math.max(0, lengthX - lengthY));
  return a === b ? EQUAL : a > b ? GREATER : LESS;
}

export function compare(f: Format, a: bigint, b: bigint, signalling: boolean, env: Env): Order {
  return compareUnpacked(operand(f, a, env), operand(f, b, env), signalling, env);
}
