/** MUL, IMUL, DIV, IDIV and the sign extensions of the accumulator (SDM 2A). */

import type { Builder } from '../builder.ts';
import { DE } from '../fault.ts';
import { HELPER_DIV, HELPER_IDIV } from '../helpers.ts';
import { RAX, RDX } from '../interface.ts';
import type { Value } from '../ir.ts';
import { ARGS } from '../layout.ts';
import { type RowSource, row } from '../row.ts';
import type { Size } from '../shape.ts';

/** Upper 64 bits of the unsigned product, from 32-bit halves. */
function highProduct(q: Builder, a: Value, b: Value): Value {
  const half = q.con(32);
  const low = (v: Value): Value => q.zx(v, 4);
  const high = (v: Value): Value => q.shr(v, half);
  const mul = (x: Value, y: Value): Value => q.op('i64.mul', x, y);
  const aLow = low(a),
    aHigh = high(a),
    bLow = low(b),
    bHigh = high(b);
  const middle = q.add(mul(aHigh, bLow), high(mul(aLow, bLow)));
  const other = q.add(mul(aLow, bHigh), low(middle));
  return q.add(q.add(mul(aHigh, bHigh), high(middle)), high(other));
}

function signedHighProduct(q: Builder, a: Value, b: Value): Value {
  const sign = q.con(63);
  const correction = q.add(q.and(q.sar(a, sign), b), q.and(q.sar(b, sign), a));
  return q.sub(highProduct(q, a, b), correction);
}

/** Low and high halves of the product in operand size, and whether the high half matters. */
function product(q: Builder, a: Value, b: Value, isSigned: boolean): { low: Value; high: Value; overflows: Value } {
  if (q.size === 8) {
    const low = q.op('i64.mul', a, b);
    const high = isSigned ? signedHighProduct(q, a, b) : highProduct(q, a, b);
    return { low, high, overflows: q.op('i64.ne', high, isSigned ? q.sar(low, q.con(63)) : q.con(0)) };
  }
  const full = isSigned ? q.op('i64.mul', q.sx(a), q.sx(b)) : q.op('i64.mul', a, b);
  const low = q.zx(full);
  const high = q.zx(q.shr(full, q.con(q.size * 8)));
  return { low, high, overflows: isSigned ? q.op('i64.ne', q.sx(full), full) : q.op('i64.ne', high, q.con(0)) };
}

function multiply(isSigned: boolean): (q: Builder) => void {
  return (q) => {
    const b = q.rm('r').get();
    const { low, high, overflows } = product(q, q.get(RAX), b, isSigned);
    setPair(q, low, high);
    q.flagsFrom(low, overflows, overflows);
  };
}

/** High:low into rDX:rAX, or AX for bytes. */
function setPair(q: Builder, low: Value, high: Value): void {
  if (q.size === 1) return q.set(RAX, q.or(low, q.shl(high, q.con(8))), 2);
  q.set(RAX, low);
  q.set(RDX, high);
}

function multiplyInto(a: (q: Builder) => Value, b: (q: Builder) => Value): (q: Builder) => void {
  return (q) => {
    const { low, overflows } = product(q, a(q), b(q), true);
    q.set('reg', low);
    q.flagsFrom(low, overflows, overflows);
  };
}

function divide(isSigned: boolean): (q: Builder) => void {
  return (q) => {
    const divisor = q.rm('r').get();
    if (q.size === 8) return divideWide(q, divisor, isSigned);
    q.fault(q.isZero(divisor), DE);
    const bits = q.con(q.size * 8);
    const dividend = q.size === 1 ? q.get(RAX, 2) : q.or(q.shl(q.get(RDX), bits), q.get(RAX));
    const wide: Size = (q.size * 2) as Size;
    let quotient: Value;
    let remainder: Value;
    if (isSigned) {
      const a = q.sx(dividend, wide);
      const b = q.sx(divisor);
      q.fault(q.op('i32.and', q.op('i64.eq', b, q.con(-1n)), q.op('i64.eq', a, q.con(-(1n << 63n)))), DE);
      quotient = q.op('i64.div_s', a, b);
      q.fault(q.op('i64.ne', q.sx(quotient), quotient), DE);
      remainder = q.op('i64.rem_s', a, b);
    } else {
      quotient = q.op('i64.div_u', dividend, divisor);
      q.fault(q.op('i64.ne', q.zx(quotient), quotient), DE);
      remainder = q.op('i64.rem_u', dividend, divisor);
    }
    setPair(q, q.zx(quotient), q.zx(remainder));
  };
}

/** 128 by 64 bits: in wasm when the high half only extends the low one, else by a helper. */
function divideWide(q: Builder, divisor: Value, isSigned: boolean): void {
  const low = q.get(RAX);
  const high = q.get(RDX);
  const quotient = q.variable(q.con(0));
  const remainder = q.variable(q.con(0));
  const isNarrow = q.op('i64.eq', high, isSigned ? q.sar(low, q.con(63)) : q.con(0));
  const isSafe = isSigned ? q.op('i64.gt_u', q.add(divisor, q.con(1)), q.con(1)) : q.op('i64.ne', divisor, q.con(0));
  q.if(
    q.op('i32.and', isNarrow, isSafe),
    () => {
      q.assign(quotient, q.op(isSigned ? 'i64.div_s' : 'i64.div_u', low, divisor));
      q.assign(remainder, q.op(isSigned ? 'i64.rem_s' : 'i64.rem_u', low, divisor));
    },
    () => {
      q.assign(quotient, q.call(isSigned ? HELPER_IDIV : HELPER_DIV, [high, low, divisor], true));
      q.assign(remainder, q.getState('i64.load', ARGS + 16));
    },
  );
  q.set(RAX, quotient);
  q.set(RDX, remainder);
}

const reg = (q: Builder): Value => q.get('reg');
const rm = (q: Builder): Value => q.rm('r').get();
const imm = (q: Builder): Value => q.imm();
const rmFirst = (q: Builder): void => multiplyInto(rm, imm)(q);

// biome-ignore format: one row a line
export const multiplyRows: RowSource[] = [
  row('mul',  'Eb',        'F6 /4',    'u:szap',   multiply(false)),
  row('mul',  'Ev',        'F7 /4',    'u:szap',   multiply(false)),
  row('imul', 'Eb',        'F6 /5',    'u:szap',   multiply(true)),
  row('imul', 'Ev',        'F7 /5',    'u:szap',   multiply(true)),
  row('imul', 'Gv,Ev',     '0F AF /r', 'u:szap',   (q) => { const b = rm(q); multiplyInto(reg, () => b)(q); }),
  row('imul', 'Gv,Ev,Iz',  '69 /r',    'u:szap',   rmFirst),
  row('imul', 'Gv,Ev,Ibs', '6B /r',    'u:szap',   rmFirst),
  row('div',  'Eb',        'F6 /6',    'u:oszapc', divide(false)),
  row('div',  'Ev',        'F7 /6',    'u:oszapc', divide(false)),
  row('idiv', 'Eb',        'F6 /7',    'u:oszapc', divide(true)),
  row('idiv', 'Ev',        'F7 /7',    'u:oszapc', divide(true)),
  row('cbw',  'rAX',       '98',       '', (q) => { const half = (q.size / 2) as Size; q.set(RAX, q.sx(q.get(RAX, half), half)); }),
  row('cwd',  'rAX',       '99',       '', (q) => q.set(RDX, q.sar(q.sx(q.get(RAX)), q.con(63)))),
];
