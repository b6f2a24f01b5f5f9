// Elementary functions in binary fixed point: a bigint v stands for v * 2^-FRACTION. The fraction is long enough that
// every f80 result is off by far less than half a unit in its last place: arguments are not below 2^-TINY (smaller ones
// are their own first-order approximation).

import { bitLength } from './format.ts';
import { integerSqrt } from './softfloat.ts';

export const FRACTION = 320;
export const TINY = 70;
const P = BigInt(FRACTION);
export const ONE = 1n << P;

/** Constants carry 512 fraction bits. */
export const CONSTANT_FRACTION = 512;
export const PI =
  0x3243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89452821e638d01377be5466cf34e90c6cc0ac29b7c97c50dd3f84d5b5b5470917n;
export const LN2 =
  0xb17217f7d1cf79abc9e3b39803f2f6af40f343267298b62d8a0d175b8baafa2be7b876206debac98559552fb4afa1b10ed2eae35c138214427573b291169b825n;
export const LN10 =
  0x24d763776aaa2b05ba95b58ae0b4c28a38a3fb3e76977e43a0f187a0807c0b5ca58bc0b5ec6a0417331c32f00b17c35a0b1889061042f8b6bee3de2100b945b59n;
/** Processors reduce angles by a pi of 66 bits (SDM 1 8.3.8): the sine of a large angle is off as theirs is. */
const REDUCTION_PI = (PI >> 448n) << 448n;
export const PI_FIXED = PI >> (512n - P);

/** x * 2^shift, truncated. */
export function shiftLeft(x: bigint, shift: number): bigint {
  return shift >= 0 ? x << BigInt(shift) : x >> BigInt(-shift);
}

/** Sine and cosine of significand * 2^exponent > 0. */
export function sinCos(significand: bigint, exponent: number): { sin: bigint; cos: bigint } {
  const x = significand << BigInt(CONSTANT_FRACTION + exponent);
  const halfPi = REDUCTION_PI >> 1n;
  const quadrant = (2n * x + halfPi) / (2n * halfPi);
  const reduced = (x - quadrant * halfPi) >> (512n - P);
  const [sin, cos] = [series(reduced, reduced, 2n), series(ONE, reduced, 1n)];
  switch (quadrant & 3n) {
    case 0n:
      return { sin, cos };
    case 1n:
      return { sin: cos, cos: -sin };
    case 2n:
      return { sin: -sin, cos: -cos };
    default:
      return { sin: -cos, cos: sin };
  }
}

/** first - first x^2 / n(n+1) + ...: the Taylor series of sine (first = x, n = 2) and cosine (first = 1, n = 1). */
function series(first: bigint, x: bigint, n: bigint): bigint {
  const square = (x * x) >> P;
  let term = first;
  let sum = first;
  for (; term !== 0n && term !== -1n; n += 2n) {
    term = -((term * square) >> P) / (n * (n + 1n));
    sum += term;
  }
  return sum;
}

/** 2^x - 1 for |x| <= 1, x in fixed point. */
export function exp2m1(x: bigint): bigint {
  const t = (x * LN2) >> 512n;
  let term = t;
  let sum = t;
  for (let n = 2n; term !== 0n && term !== -1n; n++) {
    term = ((term * t) >> P) / n;
    sum += term;
  }
  return sum;
}

/** log2 of significand * 2^exponent > 0, from ln m = 2 artanh((m - 1) / (m + 1)) with m between sqrt(1/2) and sqrt(2). */
export function log2(significand: bigint, exponent: number): bigint {
  const length = bitLength(significand);
  const above = significand * significand > 1n << BigInt(2 * length - 1);
  const scale = above ? length : length - 1;
  const one = 1n << BigInt(scale);
  const z = ((significand - one) << P) / (significand + one);
  const square = (z * z) >> P;
  let power = z;
  let sum = z;
  for (let n = 3n; power !== 0n && power !== -1n; n += 2n) {
    power = (power * square) >> P;
    sum += power / n;
  }
  return (BigInt(exponent + scale) << P) + ((2n * sum) << 512n) / LN2;
}

/** Arc tangent of t in 0..1: halve the angle a few times, then Taylor. */
export function atan(t: bigint): bigint {
  const halvings = 5n;
  for (let i = 0n; i < halvings; i++) t = (t << P) / (ONE + integerSqrt((ONE + ((t * t) >> P)) << P));
  const square = (t * t) >> P;
  let power = t;
  let sum = t;
  for (let n = 3n; power !== 0n && power !== -1n; n += 2n) {
    power = -((power * square) >> P);
    sum += power / n;
  }
  return sum << halvings;
}
