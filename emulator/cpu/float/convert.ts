// Conversions between formats and to and from integers (SDM 1 4.8, 8.3.8, 11.5.2; indefinite results: table 4-1).

import { type Env, IE, PE, roundPack, roundShift } from './env.ts';
import { bitLength, FINITE, type Format, INFINITY, infinity, type Unpacked, ZERO, zero } from './format.ts';
import { propagateNan, raiseDenormal } from './softfloat.ts';

/** x in format f; narrowing rounds. */
export function convert(f: Format, x: Unpacked, env: Env): bigint {
  const nan = propagateNan(f, x, x, env);
  if (nan !== undefined) return nan;
  if (x.kind === INFINITY) return infinity(f, x.sign);
  if (x.kind === ZERO) return zero(f, x.sign);
  raiseDenormal(x, x, env);
  return roundPack(f, x.sign, x.significand, x.exponent, false, env);
}

export function fromInteger(f: Format, value: bigint, env: Env): bigint {
  if (value === 0n) return zero(f, false);
  return roundPack(f, value < 0n, value < 0n ? -value : value, 0, false, env);
}

/** The integer that x rounds to, told inexact in env without raising PE; undefined if x is no number below 2^80. */
export function roundToInteger(x: Unpacked, env: Env): bigint | undefined {
  env.inexact = false;
  env.roundedUp = false;
  if (x.kind === ZERO) return 0n;
  if (x.kind !== FINITE || x.exponent + bitLength(x.significand) > 80) return undefined;
  const magnitude = roundShift(x.significand, -x.exponent, false, x.sign, env);
  return x.sign ? -magnitude : magnitude;
}

/** x rounded to an integral value of its own format; a denormal is no exception of its own. */
export function toIntegral(f: Format, x: Unpacked, env: Env): bigint {
  const nan = propagateNan(f, x, x, env);
  if (nan !== undefined) return nan;
  if (x.kind === INFINITY) return infinity(f, x.sign);
  if (x.kind === FINITE && x.exponent >= 0) return roundPack(f, x.sign, x.significand, x.exponent, false, env);
  const value = roundToInteger(x, env) as bigint;
  if (env.inexact) env.flags |= PE;
  const { roundedUp } = env;
  const bits = value === 0n ? zero(f, x.sign) : fromInteger(f, value, env);
  env.roundedUp = roundedUp;
  return bits;
}

/** x as a two's complement integer of `bits` bits; what does not fit is invalid and gives the integer indefinite. */
export function toInteger(x: Unpacked, bits: 16 | 32 | 64, env: Env): bigint {
  const value = roundToInteger(x, env);
  if (value === undefined || value !== BigInt.asIntN(bits, value)) {
    env.flags |= IE;
    env.roundedUp = false;
    return 1n << BigInt(bits - 1);
  }
  if (env.inexact) env.flags |= PE;
  return BigInt.asUintN(bits, value);
}
