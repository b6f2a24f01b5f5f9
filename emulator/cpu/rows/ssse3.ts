/** SSSE3 (SDM 1 12.5): integer instructions on MMX and XMM registers, as in sse_integer.ts. */
import type { Builder } from '../builder.ts';
import type { Value } from '../ir.ts';
import { type RowSource, row } from '../row.ts';
import { bothForms, type IntegerBinary, joining, op } from './sse_integer.ts';
import {
  BYTE_NUMBERS,
  checkPending,
  lanes,
  low64,
  mmRm,
  range,
  setMm,
  splat,
  splatConstant,
  type VectorOp,
  xmmRm,
  zeroVector,
} from './sse_operands.ts';
import { horizontal } from './sse3.ts';

/** A selector's top bit gives zero; the others count within the register. */
function shuffleBytes(mask: bigint): VectorOp {
  return (q, a, b) => q.op('i8x16.swizzle', a, q.op('v128.and', b, splatConstant(q, mask, 8)));
}

/** Unsigned bytes of a times signed bytes of b, neighbours added with saturation. */
function multiplyAddBytes(q: Builder, a: Value, b: Value): Value {
  const byte = q.con32(8);
  const even = q.op('i16x8.mul', q.op('v128.and', a, splatConstant(q, 0xffn, 16)), q.op('i16x8.shr_s', q.op('i16x8.shl', b, byte), byte));
  const odd = q.op('i16x8.mul', q.op('i16x8.shr_u', a, byte), q.op('i16x8.shr_s', b, byte));
  return q.op('i16x8.add_sat_s', even, odd);
}

/** Only -1 times -1 saturates in WebAssembly's operation; here it gives -1. */
function multiplyRounded(q: Builder, a: Value, b: Value): Value {
  const product = q.op('i16x8.q15mulr_sat_s', a, b);
  const least = splatConstant(q, 0x8000n, 16);
  return q.op('v128.xor', product, q.op('v128.and', q.op('i16x8.eq', a, least), q.op('i16x8.eq', b, least)));
}

/** a, negated where b is negative, zero where b is. */
function applySign(type: string, bits: number): VectorOp {
  return (q, a, b) => {
    const isNegative = q.op(`${type}.shr_s`, b, q.con32(bits - 1));
    const signed = q.op(`${type}.sub`, q.op('v128.xor', a, isNegative), isNegative);
    return q.op('v128.andnot', signed, q.op(`${type}.eq`, b, zeroVector(q)));
  };
}

const magnitude =
  (type: string): VectorOp =>
  (q, _, b) =>
    q.op(`${type}.abs`, b);

/** Byte numbers from the immediate up; what is beyond `size` bytes stays beyond. */
function shiftedNumbers(q: Builder, size: number): Value {
  const count = q.imm(1);
  const bounded = q.select(q.op('i64.gt_u', count, q.con(size)), q.con(size), count);
  return q.op('i8x16.add', q.conVector(...BYTE_NUMBERS), q.op('i8x16.splat', q.wrap(bounded)));
}

const join = lanes(range(0, 8), range(16, 8));

// biome-ignore format: one instruction a line
const binaries: readonly IntegerBinary[] = [
  ['pshufb',    '38 00', { xmm: shuffleBytes(0x8fn), mm: shuffleBytes(0x87n) }],
  ['phaddw',    '38 01', joining(horizontal(2, op('i16x8.add')))],
  ['phaddd',    '38 02', joining(horizontal(4, op('i32x4.add')))],
  ['phaddsw',   '38 03', joining(horizontal(2, op('i16x8.add_sat_s')))],
  ['pmaddubsw', '38 04', multiplyAddBytes],
  ['phsubw',    '38 05', joining(horizontal(2, op('i16x8.sub')))],
  ['phsubd',    '38 06', joining(horizontal(4, op('i32x4.sub')))],
  ['phsubsw',   '38 07', joining(horizontal(2, op('i16x8.sub_sat_s')))],
  ['psignb',    '38 08', applySign('i8x16', 8)],
  ['psignw',    '38 09', applySign('i16x8', 16)],
  ['psignd',    '38 0A', applySign('i32x4', 32)],
  ['pmulhrsw',  '38 0B', multiplyRounded],
  ['pabsb',     '38 1C', magnitude('i8x16')],
  ['pabsw',     '38 1D', magnitude('i16x8')],
  ['pabsd',     '38 1E', magnitude('i32x4')],
];

// PALIGNR takes bytes from the immediate up of a above b; a swizzle gives zero for numbers out of range.
// biome-ignore format: one row a line
export const ssse3Rows: RowSource[] = [
  ...binaries.flatMap(bothForms),
  row('palignr', 'Pq,Qq,Ib',   'NP 0F 3A 0F /r', 'mmx', (q) => {
    checkPending(q);
    const b = splat(q, mmRm(q));
    const together = q.shuffle(b, splat(q, q.getMmx('reg')), join);
    setMm(q, low64(q, q.op('i8x16.swizzle', together, shiftedNumbers(q, 16))));
  }),
  row('palignr', 'Vdq,Wdq,Ib', '66 0F 3A 0F /r', 'sse', (q) => {
    const b = xmmRm(q);
    const numbers = shiftedNumbers(q, 32);
    const above = q.op('i8x16.swizzle', q.getXmm('reg'), q.op('i8x16.sub', numbers, splatConstant(q, 16n, 8)));
    q.setXmm('reg', q.op('v128.or', q.op('i8x16.swizzle', b, numbers), above));
  }),
];
