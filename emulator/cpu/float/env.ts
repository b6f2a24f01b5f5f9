// The floating-point environment (MXCSR's or the x87 control word's bits in, exception flags out) and the one rounding
// that ends every operation (SDM 1 4.8.4, 4.9, 8.5, 11.5). Tininess is detected after rounding. Unmasked exceptions only
// show in the flags, except that an x87 register destination gets the exponent-wrapped result.

import { bitLength, type Format, f80, infinity, pack, zero } from './format.ts';

/** RC's encoding in MXCSR and in the x87 control word. */
export type Rounding = 0 | 1 | 2 | 3;
export const NEAREST = 0;
export const DOWN = 1;
export const UP = 2;
export const TOWARD_ZERO = 3;

/** Exception bits as in MXCSR and in the x87 status word. */
export const IE = 1;
export const DE = 2;
export const ZE = 4;
export const OE = 8;
export const UE = 16;
export const PE = 32;
/** The ones found before anything is computed: unmasked, they suppress the result and all later exceptions. */
export const PRE_COMPUTATION = IE | DE | ZE;

export interface Env {
  rounding: Rounding;
  /** Bit set: that exception is masked. */
  masks: number;
  daz: boolean;
  ftz: boolean;
  /** x87 NaN selection, and exponent wrapping on unmasked overflow and underflow of an f80 result. */
  x87: boolean;
  /** Significand bits of an f80 result: the x87's precision control. */
  precision: 24 | 53 | 64;
  /** Accumulates what was raised. */
  flags: number;
  /** What the last rounding did; x87's C1 shows that it increased the magnitude. */
  inexact: boolean;
  roundedUp: boolean;
}

export function sseEnv(mxcsr: number): Env {
  return {
    rounding: ((mxcsr >> 13) & 3) as Rounding,
    masks: (mxcsr >> 7) & 0x3f,
    daz: (mxcsr & 0x40) !== 0,
    ftz: (mxcsr & 0x8000) !== 0,
    x87: false,
    precision: 64,
    flags: 0,
    inexact: false,
    roundedUp: false,
  };
}

const PRECISIONS = [24, 64, 53, 64] as const;

/** The environment of x87 instructions that ignore precision control: all but add, subtract, multiply, divide and root. */
export function x87Env(control: number): Env {
  return {
    rounding: ((control >> 10) & 3) as Rounding,
    masks: control & 0x3f,
    daz: false,
    ftz: false,
    x87: true,
    precision: 64,
    flags: 0,
    inexact: false,
    roundedUp: false,
  };
}

export function x87ArithmeticEnv(control: number): Env {
  return { ...x87Env(control), precision: PRECISIONS[(control >> 8) & 3]! };
}

/** What unmasked overflow and underflow of an f80 result take from or add to its exponent (SDM 1 8.5.4). */
const EXPONENT_WRAP = 24576;

/**
 * x * 2^-shift as an integer, rounded; tells in env whether and how, without raising PE. `sticky` says that the magnitude
 * is above x by less than one.
 */
export function roundShift(x: bigint, shift: number, sticky: boolean, sign: boolean, env: Env): bigint {
  const quotient = shift > 0 ? x >> BigInt(shift) : x << BigInt(-shift);
  const rest = shift > 0 ? x - (quotient << BigInt(shift)) : 0n;
  env.inexact = rest !== 0n || sticky;
  let up = false;
  if (env.inexact) {
    const half = shift > 0 ? 1n << BigInt(shift - 1) : 1n;
    if (env.rounding === NEAREST) up = rest > half || (rest === half && (sticky || (quotient & 1n) === 1n));
    else if (env.rounding === UP) up = !sign;
    else if (env.rounding === DOWN) up = sign;
  }
  env.roundedUp = up;
  return up ? quotient + 1n : quotient;
}

/**
 * The one rounding at the end of every operation: significand * 2^exponent (significand > 0) in format f, with overflow,
 * underflow and precision exceptions. With `sticky` the significand must hold at least two bits more than the format.
 */
export function roundPack(f: Format, sign: boolean, significand: bigint, exponent: number, sticky: boolean, env: Env): bigint {
  const precision = f === f80 ? env.precision : f.precision;
  const length = bitLength(significand);
  let rounded = roundShift(significand, length - precision, sticky, sign, env);
  let leading = exponent + length - 1;
  if (rounded >> BigInt(precision) !== 0n) {
    rounded >>= 1n;
    leading++;
  }
  if (leading > f.maxExponent) {
    env.flags |= OE;
    if ((env.masks & OE) !== 0) return overflow(f, sign, precision, env);
    leading -= EXPONENT_WRAP;
    if (leading > f.maxExponent) return beyondWrap(infinity(f, sign), true, env);
  } else if (leading < f.minExponent) {
    if ((env.masks & UE) !== 0) return underflow(f, sign, significand, exponent, sticky, precision, env);
    env.flags |= UE;
    leading += EXPONENT_WRAP;
    if (leading < f.minExponent) return beyondWrap(zero(f, sign), false, env);
  }
  if (env.inexact) env.flags |= PE;
  return pack(f, sign, leading + f.bias, rounded << BigInt(f.precision - precision));
}

/** FSCALE can leave the range so far that wrapping does not bring it back. */
function beyondWrap(result: bigint, roundedUp: boolean, env: Env): bigint {
  env.flags |= PE;
  env.roundedUp = roundedUp;
  return result;
}

function overflow(f: Format, sign: boolean, precision: number, env: Env): bigint {
  env.flags |= PE;
  env.roundedUp = env.rounding === NEAREST || env.rounding === (sign ? DOWN : UP);
  if (env.roundedUp) return infinity(f, sign);
  return pack(f, sign, f.maxExponent + f.bias, ((1n << BigInt(precision)) - 1n) << BigInt(f.precision - precision));
}

function underflow(f: Format, sign: boolean, significand: bigint, exponent: number, sticky: boolean, precision: number, env: Env): bigint {
  if (env.ftz) {
    env.flags |= UE | PE;
    env.roundedUp = false;
    return zero(f, sign);
  }
  const rounded = roundShift(significand, f.minExponent - precision + 1 - exponent, sticky, sign, env);
  if (env.inexact) env.flags |= UE | PE;
  const normal = rounded >> BigInt(precision - 1) !== 0n;
  return pack(f, sign, normal ? 1 : 0, rounded << BigInt(f.precision - precision));
}
