/** Shifts and rotates, SHLD and SHRD (SDM 2B SAL/SAR/SHL/SHR, RCL/RCR/ROL/ROR). Flags change only when the count is not 0. */
import type { Builder } from '../builder.ts';
import type { Value } from '../ir.ts';
import { type RowSource, row } from '../row.ts';

/** Result with the carry and overflow (i32 0 or 1) of a shift by `count` (i64, already masked). */
type Shift = (q: Builder, a: Value, count: Value) => { result: Value; cf: Value; of: Value };

const lowBit = (q: Builder, value: Value): Value => q.wrap(q.and(value, q.con(1)));
const xor32 = (q: Builder, a: Value, b: Value): Value => q.op('i32.xor', a, b);
const minus = (q: Builder, from: number, value: Value): Value => q.sub(q.con(from), value);

const shl: Shift = (q, a, count) => {
  const bits = q.size * 8;
  const wide = q.shl(a, count);
  const result = q.zx(wide);
  const cf = bits === 64 ? lowBit(q, q.shr(a, minus(q, 64, count))) : lowBit(q, q.shr(wide, q.con(bits)));
  return { result, cf, of: xor32(q, q.msb(result), cf) };
};

const shr: Shift = (q, a, count) => ({
  result: q.shr(a, count),
  cf: lowBit(q, q.shr(a, q.sub(count, q.con(1)))),
  of: q.msb(a),
});

const sar: Shift = (q, a, count) => {
  const signed = q.sx(a);
  return { result: q.zx(q.sar(signed, count)), cf: lowBit(q, q.sar(signed, q.sub(count, q.con(1)))), of: q.con32(0) };
};

function shift(operation: Shift, count: (q: Builder) => Value): (q: Builder) => void {
  return (q) => {
    const to = q.rm('rw');
    const a = to.get();
    const by = q.and(count(q), q.con(q.size === 8 ? 63 : 31));
    const { result, cf, of } = operation(q, a, by);
    to.set(result);
    q.if(q.op('i64.ne', by, q.con(0)), () => q.flagsFrom(result, cf, of));
  };
}

function rotateBits(q: Builder, a: Value, count: Value, isLeft: boolean): Value {
  if (q.size === 8) return q.op(isLeft ? 'i64.rotl' : 'i64.rotr', a, count);
  const bits = q.size * 8;
  const by = q.and(count, q.con(bits - 1));
  const other = minus(q, bits, by);
  return q.zx(isLeft ? q.or(q.shl(a, by), q.shr(a, other)) : q.or(q.shr(a, by), q.shl(a, other)));
}

const rol: Shift = (q, a, count) => {
  const result = rotateBits(q, a, count, true);
  const cf = lowBit(q, result);
  return { result, cf, of: xor32(q, q.msb(result), cf) };
};

const ror: Shift = (q, a, count) => {
  const result = rotateBits(q, a, count, false);
  const cf = q.msb(result);
  return { result, cf, of: xor32(q, cf, q.bit(result, q.size * 8 - 2)) };
};

/** Rotation of `size * 8 + 1` bits through CF; for 64 bits in pieces, as no wasm shift is that wide. */
function rotateThroughCarry(isLeft: boolean): Shift {
  return (q, a, count) => {
    const bits = q.size * 8;
    const carry = q.widen(q.cond(2));
    let result: Value;
    let cf: Value;
    if (q.size === 8) {
      const one = q.con(1);
      const rest = minus(q, 64, count);
      if (isLeft) {
        result = q.or(q.or(q.shl(a, count), q.shl(carry, q.sub(count, one))), q.shr(q.shr(a, one), rest));
        cf = lowBit(q, q.shr(a, rest));
      } else {
        result = q.or(q.or(q.shr(a, count), q.shl(carry, rest)), q.shl(q.shl(a, one), rest));
        cf = lowBit(q, q.shr(a, q.sub(count, one)));
      }
    } else {
      const wide = q.or(a, q.shl(carry, q.con(bits)));
      const rest = minus(q, bits + 1, count);
      const turned = isLeft ? q.or(q.shl(wide, count), q.shr(wide, rest)) : q.or(q.shr(wide, count), q.shl(wide, rest));
      result = q.zx(turned);
      cf = q.bit(turned, bits);
    }
    const of = isLeft ? xor32(q, q.msb(result), cf) : xor32(q, q.msb(result), q.bit(result, bits - 2));
    return { result, cf, of };
  };
}

/** Rotates change CF and OF only; through carry, bytes and words rotate modulo 9 and 17. */
function rotate(operation: Shift, isThroughCarry: boolean, count: (q: Builder) => Value): (q: Builder) => void {
  return (q) => {
    const to = q.rm('rw');
    const a = to.get();
    let by = q.and(count(q), q.con(q.size === 8 ? 63 : 31));
    if (isThroughCarry && q.size < 4) {
      const modulus = q.size * 8 + 1;
      for (let multiple = q.size === 1 ? 3 * modulus : modulus; multiple >= modulus; multiple -= modulus) {
        by = q.select(q.op('i64.ge_u', by, q.con(multiple)), q.sub(by, q.con(multiple)), by);
      }
    }
    const isMoved = q.op('i64.ne', by, q.con(0));
    const { result, cf, of } = operation(q, a, by);
    to.set(q.select(isMoved, result, a));
    q.if(isMoved, () => q.carry(cf, of));
  };
}

/** SHLD and SHRD: bits come in from the register. A 16-bit count above 16 is undefined; as on AMD the register comes in twice. */
function doubleShift(isLeft: boolean, count: (q: Builder) => Value): (q: Builder) => void {
  return (q) => {
    const to = q.rm('rw');
    const a = to.get();
    const b = q.get('reg');
    const bits = q.size * 8;
    const by = q.and(count(q), q.con(q.size === 8 ? 63 : 31));
    let result: Value;
    let cf: Value;
    if (q.size === 8) {
      // (b >> 1) >> (63 - n) is b >> (64 - n), also for n = 0.
      const rest = minus(q, 63, by);
      const one = q.con(1);
      result = isLeft ? q.or(q.shl(a, by), q.shr(q.shr(b, one), rest)) : q.or(q.shr(a, by), q.shl(q.shl(b, one), rest));
      cf = lowBit(q, q.shr(a, isLeft ? minus(q, 64, by) : q.sub(by, one)));
    } else if (q.size === 4) {
      const wide = isLeft ? q.or(q.shl(a, q.con(32)), b) : q.or(q.shl(b, q.con(32)), a);
      result = isLeft ? q.shr(q.shl(wide, by), q.con(32)) : q.zx(q.shr(wide, by));
      cf = lowBit(q, q.shr(a, isLeft ? minus(q, 32, by) : q.sub(by, q.con(1))));
    } else {
      const pair = q.or(q.shl(b, q.con(16)), isLeft ? b : a);
      const wide = q.or(q.shl(isLeft ? a : b, q.con(32)), pair);
      result = isLeft ? q.zx(q.shr(q.shl(wide, by), q.con(32))) : q.zx(q.shr(wide, by));
      cf = isLeft ? q.bit(q.shl(wide, by), 48) : lowBit(q, q.shr(wide, q.sub(by, q.con(1))));
    }
    to.set(result);
    q.if(q.op('i64.ne', by, q.con(0)), () => q.flagsFrom(result, cf, xor32(q, q.msb(a), q.msb(result, bits / 8))));
  };
}

const byOne = (q: Builder): Value => q.con(1);
const byImm = (q: Builder): Value => q.imm64();
const byCl = (q: Builder): Value => q.get(1, 1);

const group: [string, number, (count: (q: Builder) => Value) => (q: Builder) => void, string][] = [
  ['rol', 0, (count) => rotate(rol, false, count), 'u:o'],
  ['ror', 1, (count) => rotate(ror, false, count), 'u:o'],
  ['rcl', 2, (count) => rotate(rotateThroughCarry(true), true, count), 'u:o'],
  ['rcr', 3, (count) => rotate(rotateThroughCarry(false), true, count), 'u:o'],
  ['shl', 4, (count) => shift(shl, count), 'u:oac'],
  ['shr', 5, (count) => shift(shr, count), 'u:oac'],
  ['shl', 6, (count) => shift(shl, count), 'u:oac'],
  ['sar', 7, (count) => shift(sar, count), 'u:oac'],
];

export const shiftRows: RowSource[] = [
  ...group.flatMap(([name, extension, lower, undefinedFlags]) => [
    row(name, 'Eb,Ib', `C0 /${extension}`, undefinedFlags, lower(byImm)),
    row(name, 'Ev,Ib', `C1 /${extension}`, undefinedFlags, lower(byImm)),
    row(name, 'Eb,1', `D0 /${extension}`, extension < 4 ? '' : 'u:a', lower(byOne)),
    row(name, 'Ev,1', `D1 /${extension}`, extension < 4 ? '' : 'u:a', lower(byOne)),
    row(name, 'Eb,CL', `D2 /${extension}`, undefinedFlags, lower(byCl)),
    row(name, 'Ev,CL', `D3 /${extension}`, undefinedFlags, lower(byCl)),
  ]),
  row('shld', 'Ev,Gv,Ib', '0F A4 /r', 'u:oac', doubleShift(true, byImm)),
  row('shld', 'Ev,Gv,CL', '0F A5 /r', 'u:oac', doubleShift(true, byCl)),
  row('shrd', 'Ev,Gv,Ib', '0F AC /r', 'u:oac', doubleShift(false, byImm)),
  row('shrd', 'Ev,Gv,CL', '0F AD /r', 'u:oac', doubleShift(false, byCl)),
];
