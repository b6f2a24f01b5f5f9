/**
 * Shuffles, unpacks, and word insertion and extraction. The immediate is a value of the record, so a shuffle becomes a
 * swizzle whose byte indices are computed from it.
 */
import type { Builder } from '../builder.ts';
import type { Value } from '../ir.ts';
import { type RowSource, row } from '../row.ts';
import { interleave, xmmBinary } from './sse_integer.ts';
import { BYTE_NUMBERS, checkPending, enterMmx, lanes, low64, mmRm, range, setMm, splat, splatConstant, xmmRm } from './sse_operands.ts';

/** Field i of the immediate (two bits each) in 32-bit lane i, as four byte indices. */
function dwordIndices(q: Builder): Value {
  const fields = q.op('i32x4.mul', q.op('i32x4.splat', q.wrap(q.imm(1))), q.conVector(64n | (16n << 32n), 4n | (1n << 32n)));
  const selectors = q.op('v128.and', q.op('i32x4.shr_u', fields, q.con32(6)), splatConstant(q, 3n, 32));
  return q.op('i32x4.add', q.op('i32x4.mul', selectors, splatConstant(q, 0x04040404n, 32)), splatConstant(q, 0x03020100n, 32));
}

/** The same for words, in the low half (and once more in the high half). */
function wordIndices(q: Builder): Value {
  const powers = 64n | (16n << 16n) | (4n << 32n) | (1n << 48n);
  const fields = q.op('i16x8.mul', q.op('i16x8.splat', q.wrap(q.imm(1))), q.conVector(powers, powers));
  const selectors = q.op('v128.and', q.op('i16x8.shr_u', fields, q.con32(6)), splatConstant(q, 3n, 16));
  return q.op('i16x8.add', q.op('i16x8.mul', selectors, splatConstant(q, 0x0202n, 16)), splatConstant(q, 0x0100n, 16));
}

/** PSHUFLW and PSHUFHW: one half is shuffled, the other stays. */
function shuffleWords(half: 'low' | 'high'): (q: Builder) => void {
  return (q) => {
    const source = xmmRm(q);
    const indices = wordIndices(q);
    const identity = q.conVector(...BYTE_NUMBERS);
    const all =
      half === 'low'
        ? q.shuffle(indices, identity, lanes(range(0, 8), range(24, 8)))
        : q.shuffle(identity, q.op('i8x16.add', indices, splatConstant(q, 8n, 8)), lanes(range(0, 8), range(24, 8)));
    q.setXmm('reg', q.op('i8x16.swizzle', source, all));
  };
}

function shuffleSingles(q: Builder): void {
  const b = xmmRm(q);
  const indices = dwordIndices(q);
  const low = q.op('i8x16.swizzle', q.getXmm('reg'), indices);
  const high = q.op('i8x16.swizzle', b, indices);
  q.setXmm('reg', q.shuffle(low, high, lanes(range(0, 8), range(24, 8))));
}

function shuffleDoubles(q: Builder): void {
  const b = xmmRm(q);
  const a = q.getXmm('reg');
  const pick = (v: Value, bit: number): Value =>
    q.select(q.bit(q.imm(1), bit), q.lane('i64x2.extract_lane', 1, v), q.lane('i64x2.extract_lane', 0, v));
  q.setXmm('reg', q.lane('i64x2.replace_lane', 1, q.op('i64x2.splat', pick(a, 0)), pick(b, 1)));
}

/** Replaces the word whose number the immediate's low bits give. */
function insertWord(q: Builder, into: Value, value: Value, mask: number): Value {
  const number = q.op('i16x8.splat', q.wrap(q.and(q.imm(1), q.con(mask))));
  const isChosen = q.op('i16x8.eq', number, q.conVector(0x0003_0002_0001_0000n, 0x0007_0006_0005_0004n));
  return q.op('v128.bitselect', q.op('i16x8.splat', q.wrap(value)), into, isChosen);
}

function extractWord(q: Builder, from: Value, mask: number): Value {
  const first = q.op('i32.shl', q.wrap(q.and(q.imm(1), q.con(mask))), q.con32(1));
  const indices = q.op('i8x16.add', q.op('i8x16.splat', first), splatConstant(q, 0x0100n, 16));
  return q.widen(q.lane('i16x8.extract_lane_u', 0, q.op('i8x16.swizzle', from, indices)));
}

// biome-ignore format: one row a line
export const sseShuffleRows: RowSource[] = [
  row('unpcklps', 'Vps,Wps',    'NP 0F 14 /r', 'sse', xmmBinary(interleave(4, 0))),
  row('unpcklpd', 'Vpd,Wpd',    '66 0F 14 /r', 'sse', xmmBinary(interleave(8, 0))),
  row('unpckhps', 'Vps,Wps',    'NP 0F 15 /r', 'sse', xmmBinary(interleave(4, 8))),
  row('unpckhpd', 'Vpd,Wpd',    '66 0F 15 /r', 'sse', xmmBinary(interleave(8, 8))),
  row('pshufw',   'Pq,Qq,Ib',   'NP 0F 70 /r', 'mmx', (q) => {
    checkPending(q);
    setMm(q, low64(q, q.op('i8x16.swizzle', splat(q, mmRm(q)), wordIndices(q))));
  }),
  row('pshufd',   'Vdq,Wdq,Ib', '66 0F 70 /r', 'sse', (q) => q.setXmm('reg', q.op('i8x16.swizzle', xmmRm(q), dwordIndices(q)))),
  row('pshufhw',  'Vdq,Wdq,Ib', 'F3 0F 70 /r', 'sse', shuffleWords('high')),
  row('pshuflw',  'Vdq,Wdq,Ib', 'F2 0F 70 /r', 'sse', shuffleWords('low')),
  row('shufps',   'Vps,Wps,Ib', 'NP 0F C6 /r', 'sse', shuffleSingles),
  row('shufpd',   'Vpd,Wpd,Ib', '66 0F C6 /r', 'sse', shuffleDoubles),
  row('pinsrw',   'Pq,Ew,Ib',   'NP 0F C4 /r', 'mmx', (q) => {
    checkPending(q);
    const value = q.rm('r').get();
    setMm(q, low64(q, insertWord(q, splat(q, q.getMmx('reg')), value, 3)));
  }),
  row('pinsrw',   'Vdq,Ew,Ib',  '66 0F C4 /r', 'sse', (q) => {
    const value = q.rm('r').get();
    q.setXmm('reg', insertWord(q, q.getXmm('reg'), value, 7));
  }),
  row('pextrw',   'Gd,Nq,Ib',   'NP 0F C5 /r', 'mmx', (q) => {
    checkPending(q);
    const value = extractWord(q, splat(q, q.getMmx('rm')), 3);
    enterMmx(q);
    q.set('reg', value, 4);
  }),
  row('pextrw',   'Gd,Udq,Ib',  '66 0F C5 /r', 'sse', (q) => q.set('reg', extractWord(q, q.getXmm('rm'), 7), 4)),
];
