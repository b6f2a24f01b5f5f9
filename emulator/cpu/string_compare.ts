/**
 * SSE4.2's string comparisons (SDM 1 12.12, SDM 2B 4.1) on two vectors in memory, and the helpers that run them. The first
 * string holds the set, the ranges or the needle; the result has a bit per element of the second.
 */
import { CF, OF, SF, ZF } from './flags.ts';
import { defineHelper } from './helpers.ts';
import { ARGS } from './layout.ts';

interface Text {
  /** All elements, valid or not. */
  readonly elements: readonly number[];
  /** How many are valid. */
  readonly length: number;
}

/** Elements by the immediate's low two bits: unsigned bytes or words, signed bytes or words. */
function readElements(view: DataView, at: number, format: number): number[] {
  const count = format & 1 ? 8 : 16;
  return Array.from({ length: count }, (_, i) => {
    if (format & 1) return format & 2 ? view.getInt16(at + 2 * i, true) : view.getUint16(at + 2 * i, true);
    return format & 2 ? view.getInt8(at + i) : view.getUint8(at + i);
  });
}

/** Bit j of the result: whether element j of b satisfies the aggregation. */
type Aggregation = (a: Text, b: Text, j: number) => boolean;

const equalAny: Aggregation = (a, b, j) => j < b.length && a.elements.slice(0, a.length).includes(b.elements[j]!);

const ranges: Aggregation = (a, b, j) =>
  j < b.length &&
  a.elements.some((low, i) => i % 2 === 0 && i + 1 < a.length && low <= b.elements[j]! && b.elements[j]! <= a.elements[i + 1]!);

const equalEach: Aggregation = (a, b, j) =>
  j < a.length && j < b.length ? a.elements[j] === b.elements[j] : j >= a.length && j >= b.length;

/** The needle a may run over the end of the vector, but not over the end of b. */
const equalOrdered: Aggregation = (a, b, j) =>
  a.elements.every((element, i) => i >= a.length || i + j >= b.elements.length || (i + j < b.length && element === b.elements[i + j]));

const aggregations = [equalAny, ranges, equalEach, equalOrdered];

export interface StringComparison {
  /** IntRes2. */
  readonly bits: number;
  readonly count: number;
  readonly eflags: number;
}

export function compareStrings(a: Text, b: Text, control: number): StringComparison {
  const aggregation = aggregations[(control >> 2) & 3]!;
  const count = b.elements.length;
  let bits = 0;
  for (let j = 0; j < count; j++) {
    const isNegated = (control & 0x10) !== 0 && ((control & 0x20) === 0 || j < b.length);
    if (aggregation(a, b, j) !== isNegated) bits |= 1 << j;
  }
  const eflags = (bits !== 0 ? CF : 0) | (b.length < count ? ZF : 0) | (a.length < count ? SF : 0) | (bits & 1 ? OF : 0);
  return { bits, count, eflags };
}

/** The number of the lowest or, by bit 6, the highest set bit; the count of elements when there is none. */
function index({ bits, count }: StringComparison, control: number): number {
  if (bits === 0) return count;
  return 31 - Math.clz32(control & 0x40 ? bits : bits & -bits);
}

/** The bits themselves, or by bit 6 as elements of ones. */
function writeMask(view: DataView, { bits, count }: StringComparison, control: number): void {
  const size = 16 / count;
  for (let i = 0; i < 16; i++) view.setUint8(ARGS + i, control & 0x40 ? -((bits >> (i / size)) & 1) : i < 2 ? bits >> (8 * i) : 0);
}

/** (a, b, control, explicit lengths as two signed i64) -> index or mask, flags in the second slot. */
export function stringHelper(lengths: 'explicit' | 'implicit', result: 'index' | 'mask'): number {
  return defineHelper((cpu) => {
    const { view } = cpu.state;
    const control = view.getInt32(ARGS + 32, true);
    const text = (i: number): Text => {
      const elements = readElements(view, ARGS + 16 * i, control & 3);
      const end = lengths === 'implicit' ? elements.indexOf(0) : Math.abs(Number(view.getBigInt64(ARGS + 48 + 8 * i, true)));
      return { elements, length: end < 0 ? elements.length : Math.min(end, elements.length) };
    };
    const comparison = compareStrings(text(0), text(1), control);
    if (result === 'index') view.setBigUint64(ARGS, BigInt(index(comparison, control)), true);
    else writeMask(view, comparison, control);
    view.setBigUint64(ARGS + 16, BigInt(comparison.eflags), true);
  });
}
