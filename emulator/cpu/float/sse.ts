// Scalar semantics of the SSE, SSE2 and SSE4.1 floating-point instructions on 32- and 64-bit patterns (SDM 1 11.5, 4.8.3.5). A
// packed instruction applies them lane by lane and hands the flags of all lanes to `sseExceptions`. `flags` are the MXCSR
// exception bits raised; when one of them is unmasked the caller raises #XM and leaves the destination alone.

import { convert, fromInteger, toInteger, toIntegral } from './convert.ts';
import { type Env, PE, PRE_COMPUTATION, type Rounding, sseEnv, TOWARD_ZERO } from './env.ts';
import { f32, f64, ZERO, zero } from './format.ts';
import { addUnpacked, compareUnpacked, divUnpacked, EQUAL, LESS, mulUnpacked, operand, sqrtUnpacked, UNORDERED } from './softfloat.ts';

export interface SseResult {
  readonly result: bigint;
  readonly flags: number;
}

export type SseArithOp = 'add' | 'sub' | 'mul' | 'div' | 'sqrt' | 'min' | 'max';

/** MXCSR's exception bits as the instruction leaves them, and whether it must raise #XM instead of writing its result. */
export function sseExceptions(mxcsr: number, flags: number): { mxcsr: number; fault: boolean } {
  const unmasked = flags & ~(mxcsr >> 7) & 0x3f;
  const raised = (unmasked & PRE_COMPUTATION) !== 0 ? flags & PRE_COMPUTATION : flags;
  return { mxcsr: mxcsr | raised, fault: unmasked !== 0 };
}

function format(size: 4 | 8) {
  return size === 4 ? f32 : f64;
}

/** a is the destination's old value, b the source; sqrt works on b alone. */
export function sseArith(op: SseArithOp, size: 4 | 8, a: bigint, b: bigint, mxcsr: number): SseResult {
  const env = sseEnv(mxcsr);
  return { result: arith(op, size, a, b, env), flags: env.flags };
}

function arith(op: SseArithOp, size: 4 | 8, a: bigint, b: bigint, env: Env): bigint {
  const f = format(size);
  const y = operand(f, b, env);
  if (op === 'sqrt') return sqrtUnpacked(f, y, env);
  const x = operand(f, a, env);
  switch (op) {
    case 'add':
      return addUnpacked(f, x, y, false, env);
    case 'sub':
      return addUnpacked(f, x, y, true, env);
    case 'mul':
      return mulUnpacked(f, x, y, env);
    case 'div':
      return divUnpacked(f, x, y, env);
    default: {
      // Unordered or equal: the source, as it is.
      const order = compareUnpacked(x, y, true, env);
      const takeFirst = order !== UNORDERED && order !== EQUAL && (order === LESS) === (op === 'min');
      const [bits, value] = takeFirst ? [a, x] : [b, y];
      return value.kind === ZERO ? zero(f, value.sign) : bits;
    }
  }
}

/** CMPccSS/SD's eight predicates: EQ LT LE UNORD NEQ NLT NLE ORD. The result is a lane mask. */
export function sseCompare(predicate: number, size: 4 | 8, a: bigint, b: bigint, mxcsr: number): SseResult {
  const f = format(size);
  const env = sseEnv(mxcsr);
  const condition = predicate & 3;
  const order = compareUnpacked(operand(f, a, env), operand(f, b, env), condition === 1 || condition === 2, env);
  let holds = order === UNORDERED;
  if (condition === 0) holds = order === EQUAL;
  else if (condition === 1) holds = order === LESS;
  else if (condition === 2) holds = order === LESS || order === EQUAL;
  if ((predicate & 4) !== 0) holds = !holds;
  return { result: holds ? (1n << BigInt(f.width)) - 1n : 0n, flags: env.flags };
}

const CF = 0x01;
const PF = 0x04;
const ZF = 0x40;

/** COMIS (`signalling`) and UCOMIS: ZF, PF and CF as EFLAGS bits; the instruction clears OF, SF and AF. */
export function sseComi(signalling: boolean, size: 4 | 8, a: bigint, b: bigint, mxcsr: number): { eflags: number; flags: number } {
  const f = format(size);
  const env = sseEnv(mxcsr);
  const order = compareUnpacked(operand(f, a, env), operand(f, b, env), signalling, env);
  const eflags = order === UNORDERED ? ZF | PF | CF : order === EQUAL ? ZF : order === LESS ? CF : 0;
  return { eflags, flags: env.flags };
}

/** CVTSS2SD, CVTPS2PD (`size` 4, the source's) and CVTSD2SS, CVTPD2PS (8). */
export function sseConvertFloat(size: 4 | 8, a: bigint, mxcsr: number): SseResult {
  const env = sseEnv(mxcsr);
  const result = convert(size === 4 ? f64 : f32, operand(format(size), a, env), env);
  return { result, flags: env.flags };
}

/** CVT(T)SS2SI, CVT(T)SD2SI, CVT(T)PS2DQ, CVT(T)PD2DQ, CVT(T)P*2PI: the result is an unsigned pattern of `integerSize` bytes. */
export function sseToInteger(size: 4 | 8, integerSize: 4 | 8, truncate: boolean, a: bigint, mxcsr: number): SseResult {
  const env = sseEnv(mxcsr);
  if (truncate) env.rounding = TOWARD_ZERO as Rounding;
  const result = toInteger(operand(format(size), a, env), integerSize === 4 ? 32 : 64, env);
  return { result, flags: env.flags };
}

/** CVTSI2SS, CVTSI2SD, CVTDQ2PS, CVTDQ2PD, CVTPI2P*: `value` is a pattern of `integerSize` bytes, `size` the result's. */
export function sseFromInteger(size: 4 | 8, integerSize: 4 | 8, value: bigint, mxcsr: number): SseResult {
  const env = sseEnv(mxcsr);
  const result = fromInteger(format(size), BigInt.asIntN(integerSize * 8, value), env);
  return { result, flags: env.flags };
}

/** ROUNDSS, ROUNDSD: the immediate's low two bits round unless bit 2 leaves it to MXCSR; bit 3 suppresses PE. */
export function sseRound(size: 4 | 8, control: number, a: bigint, mxcsr: number): SseResult {
  const f = format(size);
  const env = sseEnv(mxcsr);
  if ((control & 4) === 0) env.rounding = (control & 3) as Rounding;
  const result = toIntegral(f, operand(f, a, env), env);
  return { result, flags: (control & 8) === 0 ? env.flags : env.flags & ~PE };
}
