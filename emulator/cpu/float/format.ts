// Floating-point formats and how a bit pattern reads as a number: single, double and the x87's double extended
// (SDM 1 4.2, 8.2). Bit patterns are plain bigints. A decoded number is sign x significand x 2^exponent with an integer
// significand, so every operation of softfloat.ts is exact integer arithmetic followed by one rounding.

export interface Format {
  readonly name: 'f32' | 'f64' | 'f80';
  readonly width: number;
  /** Significand bits, the integer bit included. */
  readonly precision: number;
  /** Significand bits stored: f80 stores its integer bit. */
  readonly stored: number;
  readonly exponentBits: number;
  readonly bias: number;
  /** Smallest and largest exponents of a normal number's leading bit. */
  readonly minExponent: number;
  readonly maxExponent: number;
}

function format(name: Format['name'], width: number, precision: number, stored: number, exponentBits: number): Format {
  const bias = 2 ** (exponentBits - 1) - 1;
  return { name, width, precision, stored, exponentBits, bias, minExponent: 1 - bias, maxExponent: bias };
}

export const f32 = format('f32', 32, 24, 23, 8);
export const f64 = format('f64', 64, 53, 52, 11);
export const f80 = format('f80', 80, 64, 64, 15);

export const ZERO = 0;
export const FINITE = 1;
export const INFINITY = 2;
export const QNAN = 3;
export const SNAN = 4;
/** f80 patterns without meaning: unnormals, pseudo-infinities, pseudo-NaNs (SDM 1 table 8-3). */
export const UNSUPPORTED = 5;

export interface Unpacked {
  readonly kind: number;
  readonly sign: boolean;
  readonly exponent: number;
  /** FINITE: the integer significand. NaN: its f80 significand (integer bit 63, quiet bit 62), whatever the format. */
  readonly significand: bigint;
  readonly denormal: boolean;
}

const INTEGER_BIT = 1n << 63n;
export const QUIET_BIT = 1n << 62n;

export function unpacked(kind: number, sign: boolean, exponent = 0, significand = 0n, denormal = false): Unpacked {
  return { kind, sign, exponent, significand, denormal };
}

export function unpack(f: Format, bits: bigint): Unpacked {
  const sign = ((bits >> BigInt(f.width - 1)) & 1n) === 1n;
  const stored = BigInt.asUintN(f.stored, bits);
  const biased = Number((bits >> BigInt(f.stored)) & ((1n << BigInt(f.exponentBits)) - 1n));
  const ulpExponent = (biased === 0 ? 1 : biased) - f.bias - (f.precision - 1);
  const special = biased === 2 ** f.exponentBits - 1;
  if (f === f80) {
    if (biased === 0) {
      if (stored === 0n) return unpacked(ZERO, sign);
      return unpacked(FINITE, sign, ulpExponent, stored, true);
    }
    if (stored < INTEGER_BIT) return unpacked(UNSUPPORTED, sign);
    if (!special) return unpacked(FINITE, sign, ulpExponent, stored);
    if (stored === INTEGER_BIT) return unpacked(INFINITY, sign);
    return unpacked((stored & QUIET_BIT) === 0n ? SNAN : QNAN, sign, 0, stored);
  }
  if (special) {
    if (stored === 0n) return unpacked(INFINITY, sign);
    const significand = INTEGER_BIT | (stored << BigInt(64 - f.precision));
    return unpacked((significand & QUIET_BIT) === 0n ? SNAN : QNAN, sign, 0, significand);
  }
  if (biased === 0) {
    if (stored === 0n) return unpacked(ZERO, sign);
    return unpacked(FINITE, sign, ulpExponent, stored, true);
  }
  return unpacked(FINITE, sign, ulpExponent, stored | (1n << BigInt(f.stored)));
}

/** The pattern of a biased exponent and a significand whose integer bit is explicit (and dropped where not stored). */
export function pack(f: Format, sign: boolean, biased: number, significand: bigint): bigint {
  const high = BigInt(biased + (sign ? 2 ** f.exponentBits : 0));
  return (high << BigInt(f.stored)) | BigInt.asUintN(f.stored, significand);
}

export function zero(f: Format, sign: boolean): bigint {
  return pack(f, sign, 0, 0n);
}

export function infinity(f: Format, sign: boolean): bigint {
  return pack(f, sign, 2 ** f.exponentBits - 1, 1n << BigInt(f.precision - 1));
}

/** The QNaN that answers every masked invalid operation: "QNaN floating-point indefinite". */
export function indefinite(f: Format): bigint {
  return pack(f, true, 2 ** f.exponentBits - 1, 3n << BigInt(f.precision - 2));
}

/** A NaN in format f, made quiet, its payload cut to what f holds. */
export function quietNan(f: Format, nan: Unpacked): bigint {
  const significand = (nan.significand | QUIET_BIT) >> BigInt(64 - f.precision);
  return pack(f, nan.sign, 2 ** f.exponentBits - 1, significand);
}

export function isNan(x: Unpacked): boolean {
  return x.kind === QNAN || x.kind === SNAN;
}

export function bitLength(x: bigint): number {
  let length = 0;
  while (x >= 0x1_0000_0000_0000_0000n) {
    const shift = x >= 1n << 512n ? 512n : 64n;
    x >>= shift;
    length += Number(shift);
  }
  const high = Number(x >> 32n);
  return length + (high === 0 ? 32 - Math.clz32(Number(x)) : 64 - Math.clz32(high));
}
