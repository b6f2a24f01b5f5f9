// The x87's memory operands: how each kind reads as a number, exactly, and how ST(0) is stored as one (SDM 1 8.1.5, 8.3).

import { convert, roundToInteger, toInteger } from './convert.ts';
import { type Env, IE, PE } from './env.ts';
import { FINITE, type Format, f32, f64, f80, type Unpacked, unpack, unpacked, ZERO } from './format.ts';

export interface OperandKind {
  readonly size: number;
  read(view: DataView, offset: number): Unpacked;
  /** The pattern to store for a number; raises what the conversion raises. */
  encode(x: Unpacked, env: Env): bigint;
}

export function readBytes(view: DataView, offset: number, size: number): bigint {
  if (size === 2) return BigInt(view.getUint16(offset, true));
  if (size === 4) return BigInt(view.getUint32(offset, true));
  if (size === 8) return view.getBigUint64(offset, true);
  return view.getBigUint64(offset, true) | (BigInt(view.getUint16(offset + 8, true)) << 64n);
}

export function writeBytes(view: DataView, offset: number, size: number, bits: bigint): void {
  if (size === 2) view.setUint16(offset, Number(bits), true);
  else if (size === 4) view.setUint32(offset, Number(bits), true);
  else view.setBigUint64(offset, BigInt.asUintN(64, bits), true);
  if (size === 10) view.setUint16(offset + 8, Number(bits >> 64n), true);
}

export function integerOperand(value: bigint, sign = value < 0n): Unpacked {
  if (value === 0n) return unpacked(ZERO, sign);
  return unpacked(FINITE, sign, 0, value < 0n ? -value : value);
}

function real(f: Format): OperandKind {
  const size = f.width / 8;
  return {
    size,
    read: (view, offset) => unpack(f, readBytes(view, offset, size)),
    // A store reports what becomes of the value, not that the register held a denormal.
    encode: (x, env) => convert(f, { ...x, denormal: false }, env),
  };
}

function integer(bits: 16 | 32 | 64): OperandKind {
  const size = bits / 8;
  return {
    size,
    read: (view, offset) => integerOperand(BigInt.asIntN(bits, readBytes(view, offset, size))),
    encode: (x, env) => toInteger(x, bits, env),
  };
}

export const m32 = real(f32);
export const m64 = real(f64);
export const m80 = real(f80);
export const i16 = integer(16);
export const i32 = integer(32);
export const i64 = integer(64);

const BCD_INDEFINITE = 0xffffc000000000000000n;

/** 18 decimal digits and a sign. */
export const bcd: OperandKind = {
  size: 10,
  read(view, offset) {
    let value = 0n;
    for (let i = 8; i >= 0; i--) {
      const byte = view.getUint8(offset + i);
      value = value * 100n + BigInt((byte >> 4) * 10 + (byte & 15));
    }
    return integerOperand(value, view.getUint8(offset + 9) >= 0x80);
  },
  encode(x, env) {
    const value = roundToInteger(x, env);
    const magnitude = value === undefined || value >= 0n ? value : -value;
    if (magnitude === undefined || magnitude >= 10n ** 18n) {
      env.flags |= IE;
      env.roundedUp = false;
      return BCD_INDEFINITE;
    }
    if (env.inexact) env.flags |= PE;
    return BigInt(`0x${x.sign ? 80 : 0}${magnitude.toString().padStart(18, '0')}`);
  },
};
