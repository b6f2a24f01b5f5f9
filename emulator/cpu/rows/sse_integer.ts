/**
 * Packed integer instructions that exist on MMX and on XMM registers (SDM 1 9.4, 11.4.2). Each meaning is one operation on
 * v128; an MMX operand is a value in both halves, of whose result the low half counts.
 */
import type { Builder } from '../builder.ts';
import type { Value } from '../ir.ts';
import { type RowSource, row } from '../row.ts';
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

export const op =
  (name: string): VectorOp =>
  (q, a, b) =>
    q.op(name, a, b);

/** Alternates elements of a and b, from byte `start` of each. */
export function interleave(width: number, start: number): VectorOp {
  const bytes = Array.from({ length: 8 / width }, (_, i) => [...range(start + i * width, width), ...range(16 + start + i * width, width)]);
  return (q, a, b) => q.shuffle(a, b, lanes(...bytes));
}

/** The high 16 bits of each 32-bit product. */
function mulHigh(signedness: 's' | 'u'): VectorOp {
  const highs = Array.from({ length: 8 }, (_, i) => [4 * i + 2, 4 * i + 3]).flat();
  return (q, a, b) =>
    q.shuffle(q.op(`i32x4.extmul_low_i16x8_${signedness}`, a, b), q.op(`i32x4.extmul_high_i16x8_${signedness}`, a, b), highs);
}

const evenDwords = [...range(0, 4), ...range(8, 4), ...range(0, 4), ...range(8, 4)];

export function mulEvenDwords(signedness: 's' | 'u'): VectorOp {
  return (q, a, b) => q.op(`i64x2.extmul_low_i32x4_${signedness}`, q.shuffle(a, a, evenDwords), q.shuffle(b, b, evenDwords));
}

function sumOfDifferences(q: Builder, a: Value, b: Value): Value {
  const distance = q.op('v128.or', q.op('i8x16.sub_sat_u', a, b), q.op('i8x16.sub_sat_u', b, a));
  const sums = q.op('i32x4.extadd_pairwise_i16x8_u', q.op('i16x8.extadd_pairwise_i8x16_u', distance));
  return q.op('v128.and', q.op('i64x2.add', sums, q.op('i64x2.shr_u', sums, q.con32(32))), splatConstant(q, 0xffff_ffffn, 64));
}

/** Shifts by the 64-bit count in the source's low half: beyond the width, zeros or copies of the sign. */
function shift(name: string, width: number): VectorOp {
  return (q, a, b) => shiftBy(q, name, width, a, low64(q, b));
}

function shiftBy(q: Builder, name: string, width: number, a: Value, count: Value): Value {
  const isBeyond = q.op('i64.ge_u', count, q.con(width));
  if (name.endsWith('shr_s')) return q.op(name, a, q.wrap(q.select(isBeyond, q.con(width - 1), count)));
  return q.select(isBeyond, zeroVector(q), q.op(name, a, q.wrap(count)));
}

/** For an operation whose result has lanes of a below lanes of b: of MMX operands only the low halves take part. */
export function joining(xmm: VectorOp): Meaning {
  const join = lanes(range(0, 8), range(16, 8));
  return {
    xmm,
    mm: (q, a, b) => {
      const both = q.shuffle(a, b, join);
      return xmm(q, both, both);
    },
  };
}

const pack = (name: string): Meaning => joining(op(name));

export type Meaning = VectorOp | { xmm: VectorOp; mm: VectorOp };
/** Mnemonic, opcode after 0F, meaning. */
export type IntegerBinary = readonly [string, string, Meaning];

const high = (width: number): Meaning => ({ xmm: interleave(width, 8), mm: interleave(width, 4) });

// biome-ignore format: one instruction a line
const binaries: readonly IntegerBinary[] = [
  ['punpckhbw',  '68', high(1)],
  ['punpckhwd',  '69', high(2)],
  ['punpckhdq',  '6A', high(4)],
  ['packsswb',   '63', pack('i8x16.narrow_i16x8_s')],
  ['packuswb',   '67', pack('i8x16.narrow_i16x8_u')],
  ['packssdw',   '6B', pack('i16x8.narrow_i32x4_s')],
  ['pcmpgtb',    '64', op('i8x16.gt_s')],
  ['pcmpgtw',    '65', op('i16x8.gt_s')],
  ['pcmpgtd',    '66', op('i32x4.gt_s')],
  ['pcmpeqb',    '74', op('i8x16.eq')],
  ['pcmpeqw',    '75', op('i16x8.eq')],
  ['pcmpeqd',    '76', op('i32x4.eq')],
  ['psrlw',      'D1', shift('i16x8.shr_u', 16)],
  ['psrld',      'D2', shift('i32x4.shr_u', 32)],
  ['psrlq',      'D3', shift('i64x2.shr_u', 64)],
  ['psraw',      'E1', shift('i16x8.shr_s', 16)],
  ['psrad',      'E2', shift('i32x4.shr_s', 32)],
  ['psllw',      'F1', shift('i16x8.shl', 16)],
  ['pslld',      'F2', shift('i32x4.shl', 32)],
  ['psllq',      'F3', shift('i64x2.shl', 64)],
  ['paddb',      'FC', op('i8x16.add')],
  ['paddw',      'FD', op('i16x8.add')],
  ['paddd',      'FE', op('i32x4.add')],
  ['paddq',      'D4', op('i64x2.add')],
  ['psubb',      'F8', op('i8x16.sub')],
  ['psubw',      'F9', op('i16x8.sub')],
  ['psubd',      'FA', op('i32x4.sub')],
  ['psubq',      'FB', op('i64x2.sub')],
  ['paddusb',    'DC', op('i8x16.add_sat_u')],
  ['paddusw',    'DD', op('i16x8.add_sat_u')],
  ['paddsb',     'EC', op('i8x16.add_sat_s')],
  ['paddsw',     'ED', op('i16x8.add_sat_s')],
  ['psubusb',    'D8', op('i8x16.sub_sat_u')],
  ['psubusw',    'D9', op('i16x8.sub_sat_u')],
  ['psubsb',     'E8', op('i8x16.sub_sat_s')],
  ['psubsw',     'E9', op('i16x8.sub_sat_s')],
  ['pminub',     'DA', op('i8x16.min_u')],
  ['pmaxub',     'DE', op('i8x16.max_u')],
  ['pminsw',     'EA', op('i16x8.min_s')],
  ['pmaxsw',     'EE', op('i16x8.max_s')],
  ['pavgb',      'E0', op('i8x16.avgr_u')],
  ['pavgw',      'E3', op('i16x8.avgr_u')],
  ['pmullw',     'D5', op('i16x8.mul')],
  ['pmulhuw',    'E4', mulHigh('u')],
  ['pmulhw',     'E5', mulHigh('s')],
  ['pmuludq',    'F4', mulEvenDwords('u')],
  ['pmaddwd',    'F5', op('i32x4.dot_i16x8_s')],
  ['psadbw',     'F6', sumOfDifferences],
  ['pand',       'DB', op('v128.and')],
  ['pandn',      'DF', (q, a, b) => q.op('v128.andnot', b, a)],
  ['por',        'EB', op('v128.or')],
  ['pxor',       'EF', op('v128.xor')],
];

export function mmBinary(meaning: VectorOp, size: 4 | 8 = 8): (q: Builder) => void {
  return (q) => {
    checkPending(q);
    const b = splat(q, mmRm(q, size));
    setMm(q, low64(q, meaning(q, splat(q, q.getMmx('reg')), b)));
  };
}

export function xmmBinary(meaning: VectorOp): (q: Builder) => void {
  return (q) => {
    const b = xmmRm(q);
    q.setXmm('reg', meaning(q, q.getXmm('reg'), b));
  };
}

/** The MMX and the XMM form. */
export function bothForms([name, opcode, meaning]: IntegerBinary): RowSource[] {
  const { xmm, mm } = typeof meaning === 'function' ? { xmm: meaning, mm: meaning } : meaning;
  return [row(name, 'Pq,Qq', `NP 0F ${opcode} /r`, 'mmx', mmBinary(mm)), row(name, 'Vdq,Wdq', `66 0F ${opcode} /r`, 'sse', xmmBinary(xmm))];
}

/** The MMX form reads only 4 bytes of memory. */
const unpackLowRows = (
  [
    ['punpcklbw', '60', 1],
    ['punpcklwd', '61', 2],
    ['punpckldq', '62', 4],
  ] as const
).flatMap(([name, opcode, width]) => [
  row(name, 'Pq,Qd', `NP 0F ${opcode} /r`, 'mmx', mmBinary(interleave(width, 0), 4)),
  row(name, 'Vdq,Wdq', `66 0F ${opcode} /r`, 'sse', xmmBinary(interleave(width, 0))),
]);

const immediateShifts = [
  ['psrlw', '71 /2', 'i16x8.shr_u', 16],
  ['psraw', '71 /4', 'i16x8.shr_s', 16],
  ['psllw', '71 /6', 'i16x8.shl', 16],
  ['psrld', '72 /2', 'i32x4.shr_u', 32],
  ['psrad', '72 /4', 'i32x4.shr_s', 32],
  ['pslld', '72 /6', 'i32x4.shl', 32],
  ['psrlq', '73 /2', 'i64x2.shr_u', 64],
  ['psllq', '73 /6', 'i64x2.shl', 64],
] as const;

const immediateShiftRows = immediateShifts.flatMap(([name, opcode, operation, width]): RowSource[] => [
  row(name, 'Nq,Ib', `NP 0F ${opcode}`, 'mmx', (q) => {
    checkPending(q);
    const result = low64(q, shiftBy(q, operation, width, splat(q, q.getMmx('rm')), q.imm(1)));
    setMm(q, result, 'rm');
  }),
  row(name, 'Udq,Ib', `66 0F ${opcode}`, 'sse', (q) => q.setXmm('rm', shiftBy(q, operation, width, q.getXmm('rm'), q.imm(1)))),
]);

/** PSLLDQ and PSRLDQ: bytes move by the immediate; a swizzle index out of range gives zero. */
function byteShift(operation: 'i8x16.add' | 'i8x16.sub'): (q: Builder) => void {
  return (q) => {
    const count = q.imm(1);
    const bounded = q.select(q.op('i64.gt_u', count, q.con(16)), q.con(16), count);
    const indices = q.op(operation, q.conVector(...BYTE_NUMBERS), q.op('i8x16.splat', q.wrap(bounded)));
    q.setXmm('rm', q.op('i8x16.swizzle', q.getXmm('rm'), indices));
  };
}

// biome-ignore format: one row a line
export const sseIntegerRows: RowSource[] = [
  ...binaries.flatMap(bothForms),
  ...unpackLowRows,
  ...immediateShiftRows,
  row('punpcklqdq', 'Vdq,Wdq', '66 0F 6C /r', 'sse', xmmBinary(interleave(8, 0))),
  row('punpckhqdq', 'Vdq,Wdq', '66 0F 6D /r', 'sse', xmmBinary(interleave(8, 8))),
  row('psrldq',     'Udq,Ib',  '66 0F 73 /3', 'sse', byteShift('i8x16.add')),
  row('pslldq',     'Udq,Ib',  '66 0F 73 /7', 'sse', byteShift('i8x16.sub')),
];
