/**
 * SSE4.1 (SDM 1 12.10): blends, rounding, dot products, widening moves, insertion and extraction. Where the immediate
 * chooses lanes, masks and swizzle indices are computed from it, as in sse_shuffle.ts.
 */
import type { Builder } from '../builder.ts';
import { dotProductHelper, roundHelper } from '../fpu_helpers.ts';
import type { Value } from '../ir.ts';
import { ARGS, MXCSR } from '../layout.ts';
import { type RowSource, row } from '../row.ts';
import type { Size } from '../shape.ts';
import { mulEvenDwords, op, xmmBinary } from './sse_integer.ts';
import { compare, double, type Format, holds, mxcsrIs, orHelper, single } from './sse_lanes.ts';
import { BYTE_NUMBERS, low64, range, splat, type VectorOp, xmmRm, zeroVector } from './sse_operands.ts';

const types = { 1: 'i8x16', 2: 'i16x8', 4: 'i32x4', 8: 'i64x2' } as const;

/** A vector constant with `value(i)` in lane i. */
function laneConstants(q: Builder, size: Size, value: (i: number) => bigint): Value {
  const half = (first: number): bigint =>
    Array.from({ length: 8 / size }, (_, i) => value(first + i) << BigInt(i * size * 8)).reduce((all, lane) => all | lane);
  return q.conVector(half(0), half(8 / size));
}

function splatLanes(q: Builder, size: Size, value: Value): Value {
  return q.op(`${types[size]}.splat`, size === 8 ? value : q.wrap(value));
}

/** A field of the immediate. */
function immField(q: Builder, shift: number, mask: number): Value {
  return q.and(q.shr(q.imm(1), q.con(shift)), q.con(mask));
}

/** All ones in the lanes whose bits are set. */
function laneMask(q: Builder, size: Size, bits: Value): Value {
  const own = laneConstants(q, size, (i) => 1n << BigInt(i));
  return q.op(`${types[size]}.eq`, q.op('v128.and', splatLanes(q, size, bits), own), own);
}

/** Puts a value that fills every lane into one of them. */
function insertLane(q: Builder, size: Size, into: Value, filled: Value, lane: Value): Value {
  const isChosen = q.op(`${types[size]}.eq`, splatLanes(q, size, lane), laneConstants(q, size, BigInt));
  return q.op('v128.bitselect', filled, into, isChosen);
}

/** Moves a lane to the bottom. */
function lowerLane(q: Builder, size: number, from: Value, lane: Value): Value {
  const first = q.op('i8x16.splat', q.wrap(q.shl(lane, q.con(Math.log2(size)))));
  return q.op('i8x16.swizzle', from, q.op('i8x16.add', q.conVector(...BYTE_NUMBERS), first));
}

// Blends

const immediateBlend =
  (size: 2 | 4 | 8) =>
  (q: Builder): void => {
    const b = xmmRm(q);
    q.setXmm('reg', q.op('v128.bitselect', b, q.getXmm('reg'), laneMask(q, size, q.imm(1))));
  };

/** By the sign bits of XMM0. */
function variableBlend(size: 1 | 4 | 8): VectorOp {
  return (q, a, b) => q.op('v128.bitselect', b, a, q.op(`${types[size]}.shr_s`, q.getXmm(0), q.con32(size * 8 - 1)));
}

// Floating point

const DAZ = 0x40;
const PE_STICKY = 0x1020;

/** Inline unless a NaN, or a denormal under DAZ, is met, or PE has to be raised. */
function round(f: Format, isScalar: boolean): (q: Builder) => void {
  const helper = roundHelper(f.size, isScalar ? 1 : 16 / f.size);
  return (q) => {
    const b = isScalar ? xmmRm(q, f.size) : xmmRm(q);
    const a = q.getXmm('reg');
    const control = q.wrap(q.imm(1));
    const bit = (value: Value, mask: number): Value => q.op('i32.and', value, q.con32(mask));
    const fromMxcsr = q.op('i32.shr_u', q.getState('i32.load', MXCSR), q.con32(13));
    const mode = q.select(bit(control, 4), fromMxcsr, control);
    const rounded = (name: string): Value => q.op(`${f.vector}.${name}`, b);
    const whole = q.select(
      bit(mode, 2),
      q.select(bit(mode, 1), rounded('trunc'), rounded('ceil')),
      q.select(bit(mode, 1), rounded('floor'), rounded('nearest')),
    );
    const isQuiet = q.op('i32.or', bit(control, 8), mxcsrIs(q, PE_STICKY, PE_STICKY));
    const isNumber = holds(q, f, compare(q, f, 'eq', b, b), isScalar);
    const isExact = holds(q, f, compare(q, f, 'eq', whole, b), isScalar);
    const ok = q.op('i32.and', mxcsrIs(q, DAZ, 0), q.op('i32.or', isExact, q.select(isQuiet, isNumber, q.con32(0))));
    const fast = isScalar ? q.lane(`${f.vector}.replace_lane`, 0, a, q.lane(`${f.vector}.extract_lane`, 0, whole)) : whole;
    q.setXmm('reg', orHelper(q, ok, fast, helper, [a, b, control]));
  };
}

function dotProduct(f: Format): (q: Builder) => void {
  const helper = dotProductHelper(f.size);
  return (q) => {
    const b = xmmRm(q);
    q.call(helper, [q.getXmm('reg'), b, q.wrap(q.imm(1))]);
    q.setXmm('reg', q.getState('v128.load', ARGS));
  };
}

// Integers

/** ZF: nothing of b in a; CF: nothing of b outside a. */
function test(q: Builder): void {
  const b = xmmRm(q);
  const a = q.getXmm('reg');
  const isNone = (v: Value): Value => q.isZero(q.op('v128.any_true', v));
  const zf = q.op('i32.shl', isNone(q.op('v128.and', a, b)), q.con32(6));
  q.flagsImage(q.widen(q.op('i32.or', zf, isNone(q.op('v128.andnot', b, a)))));
}

/** Widens step by step; memory operands have only the bytes that are used. */
function extend(from: 1 | 2 | 4, to: 2 | 4 | 8, signedness: 's' | 'u'): (q: Builder) => void {
  const bytes = (16 / to) * from;
  return (q) => {
    let value = bytes === 2 ? (q.shape.ea === 'reg' ? q.getXmm('rm') : splat(q, q.rm('r', 2).get())) : xmmRm(q, bytes as 4 | 8);
    for (let size = from as Size; size < to; size = (size * 2) as Size) {
      value = q.op(`${types[(size * 2) as Size]}.extend_low_${types[size]}_${signedness}`, value);
    }
    q.setXmm('reg', value);
  };
}

const extensions = (
  [
    ['bw', 1, 2, 'Wq'],
    ['bd', 1, 4, 'Wd'],
    ['bq', 1, 8, 'Ww'],
    ['wd', 2, 4, 'Wq'],
    ['wq', 2, 8, 'Wd'],
    ['dq', 4, 8, 'Wq'],
  ] as const
).flatMap(([name, from, to, operand], i) => [
  row(`pmovsx${name}`, `Vdq,${operand}`, `66 0F 38 2${i} /r`, 'sse', extend(from, to, 's')),
  row(`pmovzx${name}`, `Vdq,${operand}`, `66 0F 38 3${i} /r`, 'sse', extend(from, to, 'u')),
]);

/** The least word, and its number above it: the least of the words with their numbers below them. */
function leastWord(q: Builder, _: Value, b: Value): Value {
  const numbered = (half: 'low' | 'high', first: number): Value =>
    q.op(
      'v128.or',
      q.op('i32x4.shl', q.op(`i32x4.extend_${half}_i16x8_u`, b), q.con32(16)),
      laneConstants(q, 4, (i) => BigInt(first + i)),
    );
  let least = q.op('i32x4.min_u', numbered('low', 0), numbered('high', 4));
  for (const distance of [8, 4]) {
    const rotated = range(distance, 16).map((byte) => byte & 15);
    least = q.op('i32x4.min_u', least, q.shuffle(least, least, rotated));
  }
  return q.lane('i32x4.replace_lane', 0, zeroVector(q), q.op('i32.rotl', q.lane('i32x4.extract_lane', 0, least), q.con32(16)));
}

/** Sums of the differences between four bytes of b, chosen by the immediate, and each four of eleven bytes of a. */
function sumsOfDifferences(q: Builder): void {
  const b = lowerLane(q, 4, xmmRm(q), immField(q, 0, 3));
  const a = lowerLane(q, 4, q.getXmm('reg'), immField(q, 2, 1));
  const words = (bytes: Value, lanes: readonly number[]): Value => q.op('i16x8.extend_low_i8x16_u', q.shuffle(bytes, bytes, lanes));
  const distances = range(0, 4).map((k) => {
    const lanes = [...range(k, 8), ...range(0, 8)];
    const same = Array.from({ length: 16 }, () => k);
    return q.op('i16x8.abs', q.op('i16x8.sub', words(a, lanes), words(b, same)));
  });
  const sums = distances.reduce((sum, distance) => q.op('i16x8.add', sum, distance));
  q.setXmm('reg', sums);
}

// Insertion and extraction

/** From a general register or memory; q.size is the lane's, except for bytes in a register. */
const insert =
  (fixed?: Size) =>
  (q: Builder): void => {
    const size = fixed ?? q.size;
    const value = q.rm('r', size === 1 && q.shape.ea === 'reg' ? 4 : size).get();
    q.setXmm('reg', insertLane(q, size, q.getXmm('reg'), splatLanes(q, size, value), immField(q, 0, 16 / size - 1)));
  };

/** To memory, or zero-extended to a general register. */
const extract =
  (fixed?: Size) =>
  (q: Builder): void => {
    const size = fixed ?? q.size;
    const to = q.shape.ea === 'reg' ? q.rm('w', size === 8 ? 8 : 4) : q.rm('w', size);
    to.set(q.zx(low64(q, lowerLane(q, size, q.getXmm('reg'), immField(q, 0, 16 / size - 1))), size));
  };

/** The source's lane by bits 6-7 (memory has only one), the destination's by bits 4-5; bits 0-3 clear lanes. */
function insertSingle(q: Builder): void {
  const b = xmmRm(q, 4);
  const source = q.shape.ea === 'reg' ? lowerLane(q, 4, b, immField(q, 6, 3)) : b;
  const filled = q.op('i32x4.splat', q.lane('i32x4.extract_lane', 0, source));
  const inserted = insertLane(q, 4, q.getXmm('reg'), filled, immField(q, 4, 3));
  q.setXmm('reg', q.op('v128.andnot', inserted, laneMask(q, 4, q.imm(1))));
}

// biome-ignore format: one row a line
export const sse41Rows: RowSource[] = [
  row('pblendvb',   'Vdq,Wdq',    '66 0F 38 10 /r', 'sse', xmmBinary(variableBlend(1))),
  row('blendvps',   'Vps,Wps',    '66 0F 38 14 /r', 'sse', xmmBinary(variableBlend(4))),
  row('blendvpd',   'Vpd,Wpd',    '66 0F 38 15 /r', 'sse', xmmBinary(variableBlend(8))),
  row('ptest',      'Vdq,Wdq',    '66 0F 38 17 /r', 'sse', test),
  ...extensions,
  row('pmuldq',     'Vdq,Wdq',    '66 0F 38 28 /r', 'sse', xmmBinary(mulEvenDwords('s'))),
  row('pcmpeqq',    'Vdq,Wdq',    '66 0F 38 29 /r', 'sse', xmmBinary(op('i64x2.eq'))),
  row('movntdqa',   'Vdq,Mdq',    '66 0F 38 2A /r', 'sse', (q) => q.setXmm('reg', xmmRm(q))),
  row('packusdw',   'Vdq,Wdq',    '66 0F 38 2B /r', 'sse', xmmBinary(op('i16x8.narrow_i32x4_u'))),
  row('pminsb',     'Vdq,Wdq',    '66 0F 38 38 /r', 'sse', xmmBinary(op('i8x16.min_s'))),
  row('pminsd',     'Vdq,Wdq',    '66 0F 38 39 /r', 'sse', xmmBinary(op('i32x4.min_s'))),
  row('pminuw',     'Vdq,Wdq',    '66 0F 38 3A /r', 'sse', xmmBinary(op('i16x8.min_u'))),
  row('pminud',     'Vdq,Wdq',    '66 0F 38 3B /r', 'sse', xmmBinary(op('i32x4.min_u'))),
  row('pmaxsb',     'Vdq,Wdq',    '66 0F 38 3C /r', 'sse', xmmBinary(op('i8x16.max_s'))),
  row('pmaxsd',     'Vdq,Wdq',    '66 0F 38 3D /r', 'sse', xmmBinary(op('i32x4.max_s'))),
  row('pmaxuw',     'Vdq,Wdq',    '66 0F 38 3E /r', 'sse', xmmBinary(op('i16x8.max_u'))),
  row('pmaxud',     'Vdq,Wdq',    '66 0F 38 3F /r', 'sse', xmmBinary(op('i32x4.max_u'))),
  row('pmulld',     'Vdq,Wdq',    '66 0F 38 40 /r', 'sse', xmmBinary(op('i32x4.mul'))),
  row('phminposuw', 'Vdq,Wdq',    '66 0F 38 41 /r', 'sse', xmmBinary(leastWord)),
  row('roundps',    'Vps,Wps,Ib', '66 0F 3A 08 /r', 'sse', round(single, false)),
  row('roundpd',    'Vpd,Wpd,Ib', '66 0F 3A 09 /r', 'sse', round(double, false)),
  row('roundss',    'Vss,Wss,Ib', '66 0F 3A 0A /r', 'sse', round(single, true)),
  row('roundsd',    'Vsd,Wsd,Ib', '66 0F 3A 0B /r', 'sse', round(double, true)),
  row('blendps',    'Vps,Wps,Ib', '66 0F 3A 0C /r', 'sse', immediateBlend(4)),
  row('blendpd',    'Vpd,Wpd,Ib', '66 0F 3A 0D /r', 'sse', immediateBlend(8)),
  row('pblendw',    'Vdq,Wdq,Ib', '66 0F 3A 0E /r', 'sse', immediateBlend(2)),
  row('pextrb',     'Rd,Vdq,Ib',  '66 0F 3A 14 /r', 'sse', extract(1)),
  row('pextrb',     'Mb,Vdq,Ib',  '66 0F 3A 14 /r', 'sse', extract(1)),
  row('pextrw',     'Rd,Vdq,Ib',  '66 0F 3A 15 /r', 'sse', extract(2)),
  row('pextrw',     'Mw,Vdq,Ib',  '66 0F 3A 15 /r', 'sse', extract(2)),
  row('pextrd',     'Ey,Vdq,Ib',  '66 0F 3A 16 /r', 'sse', extract()),
  row('extractps',  'Ed,Vps,Ib',  '66 0F 3A 17 /r', 'sse', extract(4)),
  row('pinsrb',     'Vdq,Rd,Ib',  '66 0F 3A 20 /r', 'sse', insert(1)),
  row('pinsrb',     'Vdq,Mb,Ib',  '66 0F 3A 20 /r', 'sse', insert(1)),
  row('insertps',   'Vps,Wss,Ib', '66 0F 3A 21 /r', 'sse', insertSingle),
  row('pinsrd',     'Vdq,Ey,Ib',  '66 0F 3A 22 /r', 'sse', insert()),
  row('dpps',       'Vps,Wps,Ib', '66 0F 3A 40 /r', 'sse', dotProduct(single)),
  row('dppd',       'Vpd,Wpd,Ib', '66 0F 3A 41 /r', 'sse', dotProduct(double)),
  row('mpsadbw',    'Vdq,Wdq,Ib', '66 0F 3A 42 /r', 'sse', sumsOfDifferences),
];
