/**
 * SSE and SSE2 conversions (SDM 1 10.4.3, 11.4.1.6). As in sse_float.ts: inline while nothing but a sticky PE could be raised,
 * or when the result is exact; else a helper.
 */
import type { Builder } from '../builder.ts';
import { convertFloatHelper, enteringMmx, fromIntegerHelper, type LaneSize, toIntegerHelper } from '../fpu_helpers.ts';
import type { Value } from '../ir.ts';
import { type RowSource, row } from '../row.ts';
import { both, double, type Format, holds, isPlainLane, mxcsrIs, orHelper, scalarConstant, single, vectorConstant } from './sse_lanes.ts';
import { checkPending, enterMmx, low64, merge64, mmRm, setMm, splat, xmmRm, zeroVector } from './sse_operands.ts';

const PE_STICKY = 0x1020;
/** An inexact result raises nothing new. */
const mayTruncate = (q: Builder): Value => mxcsrIs(q, PE_STICKY, PE_STICKY);
const mayRound = (q: Builder): Value => mxcsrIs(q, 0x6000 | PE_STICKY, PE_STICKY);
const either = (q: Builder, a: Value, b: Value): Value => q.op('i32.or', a, b);

// Scalar

/** CVTSI2SS, CVTSI2SD: integers up to the format's precision convert exactly. */
function fromGeneral(f: Format): (q: Builder) => void {
  const helpers = { 4: fromIntegerHelper(f.size, 4, 1), 8: fromIntegerHelper(f.size, 8, 1) };
  return (q) => {
    const size = q.size as LaneSize;
    const value = q.sx(q.rm('r').get());
    const a = q.getXmm('reg');
    const fast = q.lane(`${f.vector}.replace_lane`, 0, a, q.op(`${f.scalar}.convert_i64_s`, value));
    if (f.size === 8 && size === 4) return q.setXmm('reg', fast);
    const limit = f.size === 8 ? 1n << 53n : 1n << 24n;
    const isExact = q.op('i64.le_u', q.add(value, q.con(limit)), q.con(2n * limit));
    q.setXmm('reg', orHelper(q, either(q, isExact, mayRound(q)), fast, helpers[size], [a, splat(q, value)]));
  };
}

/** CVTSS2SI, CVTSD2SI and the truncating forms. */
function toGeneral(f: Format, isTruncating: boolean): (q: Builder) => void {
  const helpers = { 4: toIntegerHelper(f.size, 4, isTruncating, 1), 8: toIntegerHelper(f.size, 8, isTruncating, 1) };
  return (q) => {
    const size = q.size as LaneSize;
    const b = xmmRm(q, f.size);
    const lane = q.lane(`${f.vector}.extract_lane`, 0, b);
    const x = f.size === 4 ? q.op('f64.promote_f32', lane) : lane;
    const whole = q.op(isTruncating ? 'f64.trunc' : 'f64.nearest', x);
    const limit = BigInt(size === 4 ? 0x41e0_0000 : 0x43e0_0000) << 32n;
    const isInRange = both(
      q,
      q.op('f64.ge', whole, scalarConstant(q, double, limit | (1n << 63n))),
      q.op('f64.lt', whole, scalarConstant(q, double, limit)),
    );
    const isQuiet = either(q, q.op('f64.eq', whole, x), isTruncating ? mayTruncate(q) : mayRound(q));
    const fast = q.op('i64.trunc_sat_f64_s', whole);
    q.set('reg', orHelper(q, both(q, isInRange, isQuiet), fast, helpers[size], [zeroVector(q), b]));
  };
}

function singleToDouble(q: Builder): void {
  const b = xmmRm(q, 4);
  const a = q.getXmm('reg');
  const fast = q.lane('f64x2.replace_lane', 0, a, q.op('f64.promote_f32', q.lane('f32x4.extract_lane', 0, b)));
  q.setXmm('reg', orHelper(q, holds(q, single, isPlainLane(q, single, b), true), fast, CONVERT_SS2SD, [a, b]));
}

function doubleToSingle(q: Builder): void {
  const b = xmmRm(q, 8);
  const a = q.getXmm('reg');
  const x = q.lane('f64x2.extract_lane', 0, b);
  const narrow = q.op('f32.demote_f64', x);
  const fast = q.lane('f32x4.replace_lane', 0, a, narrow);
  const magnitude = q.op('f32.abs', narrow);
  const isSafe = both(
    q,
    q.op('f32.gt', magnitude, scalarConstant(q, single, single.min)),
    q.op('f32.lt', magnitude, scalarConstant(q, single, single.infinity)),
  );
  const isQuiet = either(q, mayRound(q), q.op('f64.eq', q.op('f64.promote_f32', narrow), x));
  const ok = either(q, both(q, isSafe, isQuiet), q.op('f64.eq', x, scalarConstant(q, double, 0n)));
  q.setXmm('reg', orHelper(q, ok, fast, CONVERT_SD2SS, [a, b]));
}

const CONVERT_SS2SD = convertFloatHelper(4, 1),
  CONVERT_SD2SS = convertFloatHelper(8, 1);

// Packed: from a vector whose unused lanes repeat used ones or are zero

type File = 'xmm' | 'mmx';
type Conversion = (q: Builder, source: Value, file: File) => Value;

/** The helper for instructions on XMM registers only, and for those on an MMX register. */
function pair(helper: number): Record<File, number> {
  return { xmm: helper, mmx: enteringMmx(helper) };
}

const FROM_INTEGER = pair(fromIntegerHelper(4, 4, 4));
const integersToSingles: Conversion = (q, source, file) => {
  const isExact = q.op(
    'i32x4.all_true',
    q.op('i32x4.le_u', q.op('i32x4.abs', source), q.conVector(0x0100_0000_0100_0000n, 0x0100_0000_0100_0000n)),
  );
  return orHelper(q, either(q, isExact, mayRound(q)), q.op('f32x4.convert_i32x4_s', source), FROM_INTEGER[file], [zeroVector(q), source]);
};

const integersToDoubles: Conversion = (q, source) => q.op('f64x2.convert_low_i32x4_s', source);

const toIntegerHelpers = {
  4: { true: pair(toIntegerHelper(4, 4, true, 4)), false: pair(toIntegerHelper(4, 4, false, 4)) },
  8: { true: pair(toIntegerHelper(8, 4, true, 2)), false: pair(toIntegerHelper(8, 4, false, 2)) },
};

/** To 32-bit integers; doubles leave two, and zeros above. */
function toIntegers(f: Format, isTruncating: boolean): Conversion {
  const helper = toIntegerHelpers[f.size][`${isTruncating}`];
  const limit = f.size === 4 ? 0x4f00_0000n : 0x41e0_0000_0000_0000n;
  const sign = f.size === 4 ? 0x8000_0000n : 1n << 63n;
  return (q, source, file) => {
    const whole = q.op(`${f.vector}.${isTruncating ? 'trunc' : 'nearest'}`, source);
    const isInRange = q.op(
      'v128.and',
      q.op(`${f.vector}.ge`, whole, vectorConstant(q, f, limit | sign)),
      q.op(`${f.vector}.lt`, whole, vectorConstant(q, f, limit)),
    );
    const isExact = holds(q, f, q.op(`${f.vector}.eq`, whole, source), false);
    const ok = both(q, holds(q, f, isInRange, false), either(q, isExact, isTruncating ? mayTruncate(q) : mayRound(q)));
    const fast = q.op(f.size === 4 ? 'i32x4.trunc_sat_f32x4_s' : 'i32x4.trunc_sat_f64x2_s_zero', whole);
    return orHelper(q, ok, fast, helper[file], [zeroVector(q), source]);
  };
}

const SINGLES_TO_DOUBLES = convertFloatHelper(4, 2),
  DOUBLES_TO_SINGLES = convertFloatHelper(8, 2);

const singlesToDoubles: Conversion = (q, source) => {
  const plain = q.op('i64.eq', low64(q, isPlainLane(q, single, source)), q.con(-1n));
  return orHelper(q, plain, q.op('f64x2.promote_low_f32x4', source), SINGLES_TO_DOUBLES, [zeroVector(q), source]);
};

const doublesToSingles: Conversion = (q, source) => {
  const fast = q.op('f32x4.demote_f64x2_zero', source);
  const back = q.op('f64x2.promote_low_f32x4', fast);
  const magnitude = q.op('f64x2.abs', back);
  const isSafe = q.op(
    'v128.and',
    q.op('f64x2.gt', magnitude, vectorConstant(q, double, 0x3810_0000_0000_0000n)),
    q.op('f64x2.lt', magnitude, vectorConstant(q, double, double.infinity)),
  );
  const isZero = q.op('f64x2.eq', source, zeroVector(q));
  const isExact = holds(q, double, q.op('f64x2.eq', back, source), false);
  const ok = both(q, holds(q, double, q.op('v128.or', isSafe, isZero), false), either(q, isExact, mayRound(q)));
  return orHelper(q, ok, fast, DOUBLES_TO_SINGLES, [zeroVector(q), source]);
};

const xmm =
  (conversion: Conversion, size: 8 | 16) =>
  (q: Builder): void =>
    q.setXmm('reg', conversion(q, xmmRm(q, size), 'xmm'));

/** To an MMX register; `size` bytes of a memory source, of which the low half is repeated when they are 8. */
const toMmx =
  (conversion: Conversion, size: 8 | 16) =>
  (q: Builder): void => {
    checkPending(q);
    const source = xmmRm(q, size);
    setMm(q, low64(q, conversion(q, size === 8 ? splat(q, low64(q, source)) : source, 'mmx')));
  };

/** From an MMX register or 8 bytes of memory. */
const fromMmx =
  (conversion: Conversion, merges: boolean) =>
  (q: Builder): void => {
    const isRegister = q.shape.ea === 'reg';
    if (isRegister) checkPending(q);
    const source = splat(q, mmRm(q));
    const result = conversion(q, source, isRegister ? 'mmx' : 'xmm');
    if (isRegister) enterMmx(q);
    q.setXmm('reg', merges ? merge64(q, result, q.getXmm('reg')) : result);
  };

// biome-ignore format: one row a line
export const sseConvertRows: RowSource[] = [
  row('cvtpi2ps',  'Vps,Qpi', 'NP 0F 2A /r', 'sse', fromMmx(integersToSingles, true)),
  row('cvtpi2pd',  'Vpd,Qpi', '66 0F 2A /r', 'sse', fromMmx(integersToDoubles, false)),
  row('cvtsi2ss',  'Vss,Ey',  'F3 0F 2A /r', 'sse', fromGeneral(single)),
  row('cvtsi2sd',  'Vsd,Ey',  'F2 0F 2A /r', 'sse', fromGeneral(double)),
  row('cvttps2pi', 'Ppi,Wps', 'NP 0F 2C /r', 'sse', toMmx(toIntegers(single, true), 8)),
  row('cvttpd2pi', 'Ppi,Wpd', '66 0F 2C /r', 'sse', toMmx(toIntegers(double, true), 16)),
  row('cvttss2si', 'Gy,Wss',  'F3 0F 2C /r', 'sse', toGeneral(single, true)),
  row('cvttsd2si', 'Gy,Wsd',  'F2 0F 2C /r', 'sse', toGeneral(double, true)),
  row('cvtps2pi',  'Ppi,Wps', 'NP 0F 2D /r', 'sse', toMmx(toIntegers(single, false), 8)),
  row('cvtpd2pi',  'Ppi,Wpd', '66 0F 2D /r', 'sse', toMmx(toIntegers(double, false), 16)),
  row('cvtss2si',  'Gy,Wss',  'F3 0F 2D /r', 'sse', toGeneral(single, false)),
  row('cvtsd2si',  'Gy,Wsd',  'F2 0F 2D /r', 'sse', toGeneral(double, false)),
  row('cvtps2pd',  'Vpd,Wps', 'NP 0F 5A /r', 'sse', xmm(singlesToDoubles, 8)),
  row('cvtpd2ps',  'Vps,Wpd', '66 0F 5A /r', 'sse', xmm(doublesToSingles, 16)),
  row('cvtss2sd',  'Vsd,Wss', 'F3 0F 5A /r', 'sse', singleToDouble),
  row('cvtsd2ss',  'Vss,Wsd', 'F2 0F 5A /r', 'sse', doubleToSingle),
  row('cvtdq2ps',  'Vps,Wdq', 'NP 0F 5B /r', 'sse', xmm(integersToSingles, 16)),
  row('cvtps2dq',  'Vdq,Wps', '66 0F 5B /r', 'sse', xmm(toIntegers(single, false), 16)),
  row('cvttps2dq', 'Vdq,Wps', 'F3 0F 5B /r', 'sse', xmm(toIntegers(single, true), 16)),
  row('cvttpd2dq', 'Vdq,Wpd', '66 0F E6 /r', 'sse', xmm(toIntegers(double, true), 16)),
  row('cvtdq2pd',  'Vpd,Wdq', 'F3 0F E6 /r', 'sse', xmm(integersToDoubles, 8)),
  row('cvtpd2dq',  'Vdq,Wpd', 'F2 0F E6 /r', 'sse', xmm(toIntegers(double, false), 16)),
];
