/**
 * SSE and SSE2 arithmetic, comparison and logic (SDM 1 10.4.1, 11.4.1). Arithmetic runs inline while it provably raises
 * no flag that is not already set: MXCSR is the default with PE sticky, operands and result are normal or zero. A first,
 * lean test covers normal numbers, a second one zeros and exact results, and a helper (fpu_helpers.ts) the rest.
 */
import type { Builder } from '../builder.ts';
import { arithHelper, comiHelper, compareHelper, reciprocalHelper } from '../fpu_helpers.ts';
import type { Value } from '../ir.ts';
import { ARGS } from '../layout.ts';
import { type RowSource, row } from '../row.ts';
import { xmmBinary } from './sse_integer.ts';
import {
  and,
  arePlain,
  both,
  compare,
  double,
  type Format,
  holds,
  isFiniteLane,
  isSafeLane,
  isZeroLane,
  mxcsrIs,
  or,
  orHelper,
  scalarConstant,
  single,
  vectorConstant,
} from './sse_lanes.ts';
import { type VectorOp, xmmRm } from './sse_operands.ts';

/** All masked, round to nearest, no DAZ and FTZ, PE set. */
export const isDefault = (q: Builder): Value => mxcsrIs(q, 0xffe0, 0x1fa0);

interface Arithmetic {
  readonly name: 'add' | 'sub' | 'mul' | 'div';
  readonly opcode: string;
  /** Result lanes that raise nothing but PE, given plain operands. */
  isSafe(q: Builder, f: Format, a: Value, b: Value, result: Value): Value;
  /** The result may be below the normal range; a sum that is, is exact. */
  readonly canUnderflow: boolean;
  /** A test on doubles, true only if the result is exact: x op y = z, all of them converted to double. */
  isExact(q: Builder, f: Format, x: Value, y: Value, z: Value): Value;
}

/** Whether x + y is z, by the error of the sum (Knuth). */
function isExactSum(q: Builder, x: Value, y: Value, z: Value): Value {
  const sum = q.op('f64.add', x, y);
  const part = q.op('f64.sub', sum, x);
  const error = q.op('f64.add', q.op('f64.sub', x, q.op('f64.sub', sum, part)), q.op('f64.sub', y, part));
  return both(q, q.op('f64.eq', sum, z), q.op('f64.eq', error, scalarConstant(q, double, 0n)));
}

/** Whether x * y is z, for factors of at most 26 significant bits (or single precision), whose product is exact. */
function isExactProduct(q: Builder, f: Format, x: Value, y: Value, z: Value): Value {
  const isProduct = q.op('f64.eq', q.op('f64.mul', x, y), z);
  if (f.size === 4) return isProduct;
  const bits = q.or(q.op('i64.reinterpret_f64', x), q.op('i64.reinterpret_f64', y));
  return both(q, isProduct, q.isZero(q.and(bits, q.con(0x7ff_ffff))));
}

const arithmetics: readonly Arithmetic[] = [
  {
    name: 'add',
    opcode: '58',
    canUnderflow: false,
    isSafe: (q, f, _a, _b, r) => isFiniteLane(q, f, r),
    isExact: (q, _f, x, y, z) => isExactSum(q, x, y, z),
  },
  {
    name: 'mul',
    opcode: '59',
    canUnderflow: true,
    isSafe: (q, f, a, b, r) => or(q, isSafeLane(q, f, r), and(q, isZeroLane(q, f, r), or(q, isZeroLane(q, f, a), isZeroLane(q, f, b)))),
    isExact: isExactProduct,
  },
  {
    name: 'sub',
    opcode: '5C',
    canUnderflow: false,
    isSafe: (q, f, _a, _b, r) => isFiniteLane(q, f, r),
    isExact: (q, _f, x, y, z) => isExactSum(q, x, q.op('f64.neg', y), z),
  },
  {
    name: 'div',
    opcode: '5E',
    canUnderflow: true,
    isSafe: (q, f, a, _b, r) => or(q, isSafeLane(q, f, r), and(q, isZeroLane(q, f, r), isZeroLane(q, f, a))),
    isExact: (q, f, x, y, z) => isExactProduct(q, f, z, y, x),
  },
];

const first = (q: Builder, f: Format, v: Value): Value => q.lane(`${f.vector}.extract_lane`, 0, v);

/** Compares a scalar's magnitude with a bound. */
function magnitude(q: Builder, f: Format, condition: string, v: Value, bound: bigint): Value {
  return q.op(`${f.scalar}.${condition}`, q.op(`${f.scalar}.abs`, v), scalarConstant(q, f, bound));
}

/** Assigns to `result` what the helper computes from a and b, unless the lean test or the full one holds. */
function unless(q: Builder, lean: Value, full: () => Value, result: Value, helper: number, a: Value, b: Value): void {
  q.if(q.isZero(lean), () => {
    q.if(q.isZero(full()), () => {
      q.call(helper, [a, b]);
      q.assign(result, q.getState(result.ty === 'v128' ? 'v128.load' : 'i64.load', ARGS));
    });
  });
}

function scalarArithmetic(f: Format, { name, isSafe, canUnderflow, isExact }: Arithmetic): (q: Builder) => void {
  const helper = arithHelper(name, f.size, 1);
  return (q) => {
    const b = xmmRm(q, f.size);
    const a = q.getXmm('reg');
    const x = first(q, f, a);
    const y = first(q, f, b);
    const z = q.op(`${f.scalar}.${name}`, x, y);
    const result = q.variable(q.lane(`${f.vector}.replace_lane`, 0, a, z));
    const isNormal = both(
      q,
      isDefault(q),
      both(q, magnitude(q, f, 'ge', x, f.min), magnitude(q, f, 'ge', y, f.min)),
      canUnderflow ? both(q, magnitude(q, f, 'gt', z, f.min), magnitude(q, f, 'lt', z, f.infinity)) : magnitude(q, f, 'lt', z, f.infinity),
    );
    const wide = (v: Value): Value => (f.size === 4 ? q.op('f64.promote_f32', v) : v);
    const full = (): Value => {
      const isQuiet = q.op('i32.or', mxcsrIs(q, 0x20, 0x20), isExact(q, f, wide(x), wide(y), wide(z)));
      return both(q, mxcsrIs(q, 0xffc0, 0x1f80), holds(q, f, and(q, arePlain(q, f, a, b), isSafe(q, f, a, b, result)), true), isQuiet);
    };
    unless(q, isNormal, full, result, helper, a, b);
    q.setXmm('reg', result);
  };
}

function packedArithmetic(f: Format, { name, isSafe }: Arithmetic): VectorOp {
  const helper = arithHelper(name, f.size, 16 / f.size);
  return (q, a, b) => {
    const fast = q.op(`${f.vector}.${name}`, a, b);
    const ok = both(q, isDefault(q), holds(q, f, and(q, arePlain(q, f, a, b), isSafe(q, f, a, b, fast)), false));
    return orHelper(q, ok, fast, helper, [a, b]);
  };
}

export const packedAdd = (f: Format): VectorOp => packedArithmetic(f, arithmetics[0]!);
export const packedSub = (f: Format): VectorOp => packedArithmetic(f, arithmetics[2]!);

function squareRoot(f: Format, isScalar: boolean): (q: Builder) => void {
  const helper = arithHelper('sqrt', f.size, isScalar ? 1 : 16 / f.size);
  return (q) => {
    const b = isScalar ? xmmRm(q, f.size) : xmmRm(q);
    const a = q.getXmm('reg');
    const fast = isScalar
      ? q.lane(`${f.vector}.replace_lane`, 0, a, q.op(`${f.scalar}.sqrt`, first(q, f, b)))
      : q.op(`${f.vector}.sqrt`, b);
    const isPositive = and(
      q,
      compare(q, f, 'ge', b, vectorConstant(q, f, f.min)),
      compare(q, f, 'lt', b, vectorConstant(q, f, f.infinity)),
    );
    const ok = both(q, isDefault(q), holds(q, f, or(q, isPositive, isZeroLane(q, f, b)), isScalar));
    q.setXmm('reg', orHelper(q, ok, fast, helper, [a, b]));
  };
}

/** MIN and MAX: the source unless the destination is strictly smaller or larger. Plain operands raise nothing in any mode. */
function extremum(name: 'min' | 'max', f: Format, isScalar: boolean): (q: Builder) => void {
  const helper = arithHelper(name, f.size, isScalar ? 1 : 16 / f.size);
  return (q) => {
    const b = isScalar ? xmmRm(q, f.size) : xmmRm(q);
    const a = q.getXmm('reg');
    const lanes = q.op(`${f.vector}.p${name}`, b, a);
    const fast = isScalar ? q.lane(`${f.vector}.replace_lane`, 0, a, first(q, f, lanes)) : lanes;
    q.setXmm('reg', orHelper(q, holds(q, f, arePlain(q, f, a, b), isScalar), fast, helper, [a, b]));
  };
}

/** CMPPS and its kin: EQ LT LE UNORD and their opposites by the immediate's low three bits. */
function compareLanes(f: Format, isScalar: boolean): (q: Builder) => void {
  const helper = compareHelper(f.size, isScalar ? 1 : 16 / f.size);
  return (q) => {
    const b = isScalar ? xmmRm(q, f.size) : xmmRm(q);
    const a = q.getXmm('reg');
    const predicate = q.wrap(q.imm(1));
    const bit = (mask: number): Value => q.op('i32.and', predicate, q.con32(mask));
    const less = q.select(
      bit(2),
      q.select(bit(1), q.conVector(0n, 0n), compare(q, f, 'le', a, b)),
      q.select(bit(1), compare(q, f, 'lt', a, b), compare(q, f, 'eq', a, b)),
    );
    const mask = q.op('v128.xor', less, q.select(bit(4), q.conVector(-1n, -1n), q.conVector(0n, 0n)));
    const fast = isScalar ? q.lane(`${f.vector}.replace_lane`, 0, a, first(q, f, mask)) : mask;
    q.setXmm('reg', orHelper(q, holds(q, f, arePlain(q, f, a, b), isScalar), fast, helper, [a, b, predicate]));
  };
}

/** COMIS (which signals any NaN) and UCOMIS. */
function compareToFlags(isSignalling: boolean, f: Format): (q: Builder) => void {
  const helper = comiHelper(isSignalling, f.size);
  return (q) => {
    const b = xmmRm(q, f.size);
    const a = q.getXmm('reg');
    const x = first(q, f, a);
    const y = first(q, f, b);
    const isEqual = q.op(`${f.scalar}.eq`, x, y);
    const isLess = q.op(`${f.scalar}.lt`, x, y);
    const image = q.variable(q.widen(q.op('i32.or', q.op('i32.shl', isEqual, q.con32(6)), isLess)));
    const isNormal = both(q, magnitude(q, f, 'ge', x, f.min), magnitude(q, f, 'ge', y, f.min));
    unless(q, isNormal, () => holds(q, f, arePlain(q, f, a, b), true), image, helper, a, b);
    q.flagsImage(image);
  };
}

function reciprocal(isRoot: boolean, isScalar: boolean): (q: Builder) => void {
  const helper = reciprocalHelper(isRoot, isScalar ? 1 : 4);
  return (q) => {
    const b = isScalar ? xmmRm(q, 4) : xmmRm(q);
    q.call(helper, [q.getXmm('reg'), b]);
    q.setXmm('reg', q.getState('v128.load', ARGS));
  };
}

/** The four rows of an instruction that exists packed and scalar, single and double. */
function fourForms(
  name: string,
  opcode: string,
  lower: (f: Format, isScalar: boolean) => (q: Builder) => void,
  immediate = '',
): RowSource[] {
  return [
    row(`${name}ps`, `Vps,Wps${immediate}`, `NP 0F ${opcode} /r`, 'sse', lower(single, false)),
    row(`${name}pd`, `Vpd,Wpd${immediate}`, `66 0F ${opcode} /r`, 'sse', lower(double, false)),
    row(`${name}ss`, `Vss,Wss${immediate}`, `F3 0F ${opcode} /r`, 'sse', lower(single, true)),
    row(`${name}sd`, `Vsd,Wsd${immediate}`, `F2 0F ${opcode} /r`, 'sse', lower(double, true)),
  ];
}

const logic = (['and', 'andn', 'or', 'xor'] as const).flatMap((name, i): RowSource[] => {
  const meaning = xmmBinary((q, a, b) => (name === 'andn' ? q.op('v128.andnot', b, a) : q.op(`v128.${name}`, a, b)));
  return [
    row(`${name}ps`, 'Vps,Wps', `NP 0F 5${4 + i} /r`, 'sse', meaning),
    row(`${name}pd`, 'Vpd,Wpd', `66 0F 5${4 + i} /r`, 'sse', meaning),
  ];
});

// biome-ignore format: one row a line
export const sseFloatRows: RowSource[] = [
  ...arithmetics.flatMap((arithmetic) =>
    fourForms(arithmetic.name, arithmetic.opcode, (f, isScalar) => (isScalar ? scalarArithmetic(f, arithmetic) : xmmBinary(packedArithmetic(f, arithmetic))))),
  ...fourForms('sqrt', '51', squareRoot),
  ...fourForms('min', '5D', (f, isScalar) => extremum('min', f, isScalar)),
  ...fourForms('max', '5F', (f, isScalar) => extremum('max', f, isScalar)),
  ...fourForms('cmp', 'C2', compareLanes, ',Ib'),
  ...logic,
  row('rsqrtps', 'Vps,Wps', 'NP 0F 52 /r', 'sse', reciprocal(true, false)),
  row('rsqrtss', 'Vss,Wss', 'F3 0F 52 /r', 'sse', reciprocal(true, true)),
  row('rcpps',   'Vps,Wps', 'NP 0F 53 /r', 'sse', reciprocal(false, false)),
  row('rcpss',   'Vss,Wss', 'F3 0F 53 /r', 'sse', reciprocal(false, true)),
  row('ucomiss', 'Vss,Wss', 'NP 0F 2E /r', 'sse', compareToFlags(false, single)),
  row('ucomisd', 'Vsd,Wsd', '66 0F 2E /r', 'sse', compareToFlags(false, double)),
  row('comiss',  'Vss,Wss', 'NP 0F 2F /r', 'sse', compareToFlags(true, single)),
  row('comisd',  'Vsd,Wsd', '66 0F 2F /r', 'sse', compareToFlags(true, double)),
];
