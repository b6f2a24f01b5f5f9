/**
 * SSE arithmetic on the host's own doubles for the common case of the slow path: default MXCSR, normal or zero operands
 * and result, so that only the precision flag is in question. It is found by error-free transformations (Dekker 1971).
 */
const PE = 32;
const MIN_F64 = 2 ** -1022,
  MIN_F32 = 2 ** -126;
/** Between these the partial products of `productIs` neither overflow nor lose bits. */
const SMALL = 2 ** -400,
  LARGE = 2 ** 400;

export type QuickOp = 'add' | 'sub' | 'mul' | 'div' | 'sqrt';
export interface QuickResult {
  value: number;
  /** 0 or PE. */
  flags: number;
}

function isPlain(x: number, min: number): boolean {
  const magnitude = Math.abs(x);
  return (magnitude >= min && magnitude < Number.POSITIVE_INFINITY) || x === 0;
}

function isModerate(x: number): boolean {
  const magnitude = Math.abs(x);
  return magnitude > SMALL && magnitude < LARGE;
}

function isSumExact(a: number, b: number, sum: number): boolean {
  const bPart = sum - a;
  return a - (sum - bPart) + (b - bPart) === 0;
}

/** Whether a * b is `product` exactly. */
function productIs(a: number, b: number, product: number): boolean {
  if (a * b !== product) return false;
  const aHigh = a * 134217729 - (a * 134217729 - a),
    aLow = a - aHigh;
  const bHigh = b * 134217729 - (b * 134217729 - b),
    bLow = b - bHigh;
  return aHigh * bHigh - product + aHigh * bLow + aLow * bHigh + aLow * bLow === 0;
}

/** Undefined: the exact arithmetic has to decide. SQRT is of b. */
export function quickArith(op: QuickOp, size: 4 | 8, a: number, b: number): QuickResult | undefined {
  return size === 8 ? quick64(op, a, b) : quick32(op, a, b);
}

function quick64(op: QuickOp, a: number, b: number): QuickResult | undefined {
  if (!isPlain(b, MIN_F64) || (op !== 'sqrt' && !isPlain(a, MIN_F64))) return undefined;
  if (op === 'add' || op === 'sub') {
    const addend = op === 'add' ? b : -b;
    const value = a + addend;
    if (!Number.isFinite(value)) return undefined;
    return { value, flags: isSumExact(a, addend, value) ? 0 : PE };
  }
  if (op === 'sqrt') {
    if (b === 0) return { value: b, flags: 0 };
    if (b < 0 || !isModerate(b)) return undefined;
    const value = Math.sqrt(b);
    return { value, flags: productIs(value, value, b) ? 0 : PE };
  }
  if (op === 'div' && b === 0) return undefined;
  const value = op === 'mul' ? a * b : a / b;
  if (a === 0 || b === 0) return { value, flags: 0 };
  if (!isModerate(a) || !isModerate(b) || !isModerate(value)) return undefined;
  const isExact = op === 'mul' ? productIs(a, b, value) : productIs(value, b, a);
  return { value, flags: isExact ? 0 : PE };
}

/** A double holds products of singles exactly, and rounding a double result to single rounds as if once. */
function quick32(op: QuickOp, a: number, b: number): QuickResult | undefined {
  if (!isPlain(b, MIN_F32) || (op !== 'sqrt' && !isPlain(a, MIN_F32))) return undefined;
  if (op === 'sqrt' ? b < 0 : op === 'div' && b === 0) return undefined;
  const addend = op === 'sub' ? -b : b;
  const wide = op === 'sqrt' ? Math.sqrt(b) : op === 'mul' ? a * b : op === 'div' ? a / b : a + addend;
  const value = Math.fround(wide);
  const magnitude = Math.abs(value);
  if (!(magnitude < Number.POSITIVE_INFINITY) || (magnitude <= MIN_F32 && wide !== 0)) return undefined;
  const isExact =
    op === 'sqrt' ? value * value === b : op === 'div' ? value * b === a : value === wide && (op === 'mul' || isSumExact(a, addend, wide));
  return { value, flags: isExact ? 0 : PE };
}
