// x87 arithmetic and comparison (SDM 1 8.3.5, 8.3.6): one operand is ST(0), the other a register or a number read from
// memory. A masked stack underflow answers with the indefinite NaN, or with "unordered".

import { type Env, x87ArithmeticEnv, x87Env } from './env.ts';
import { f80, INFINITY, isNan, UNSUPPORTED, type Unpacked, unpack, ZERO } from './format.ts';
import { addUnpacked, compareUnpacked, divUnpacked, EQUAL, LESS, mulUnpacked, type Order, sqrtUnpacked, UNORDERED } from './softfloat.ts';
import {
  C0,
  C1,
  C2,
  C3,
  commit,
  INDEFINITE,
  isEmpty,
  read,
  readBits,
  setConditions,
  stackFault,
  write,
  type X87State,
} from './x87_state.ts';

export type ArithmeticOp = (x: Unpacked, y: Unpacked, env: Env) => bigint;

/** By the opcode's register field; 2 and 3 are the comparisons. ST(0) is x. */
export const arithmeticOps: readonly (ArithmeticOp | undefined)[] = [
  (x, y, env) => addUnpacked(f80, x, y, false, env),
  (x, y, env) => mulUnpacked(f80, x, y, env),
  undefined,
  undefined,
  (x, y, env) => addUnpacked(f80, x, y, true, env),
  (x, y, env) => addUnpacked(f80, y, x, true, env),
  (x, y, env) => divUnpacked(f80, x, y, env),
  (x, y, env) => divUnpacked(f80, y, x, env),
];

/** ST(destination) = operation(ST(0), y), y undefined for an empty register; true if the stack may be popped. */
export function arithmetic(state: X87State, destination: number, operation: ArithmeticOp, y: Unpacked | undefined): boolean {
  if (y === undefined || isEmpty(state, 0)) {
    if (!stackFault(state, false)) return false;
    write(state, destination, INDEFINITE);
    return true;
  }
  const env = x87ArithmeticEnv(state.control);
  const result = operation(read(state, 0), y, env);
  if (!commit(state, env)) return false;
  write(state, destination, result);
  return true;
}

/** ST(i) as an operand, undefined if empty. */
export function register(state: X87State, i: number): Unpacked | undefined {
  return isEmpty(state, i) ? undefined : read(state, i);
}

/** Compares ST(0) and y; `done` is false if an unmasked exception forbids to pop. */
function order(state: X87State, y: Unpacked | undefined, signalling: boolean): { result: Order; done: boolean } {
  if (y === undefined || isEmpty(state, 0)) return { result: UNORDERED, done: stackFault(state, false) };
  const env = x87Env(state.control);
  const result = compareUnpacked(read(state, 0), y, signalling, env);
  return { result, done: commit(state, env) };
}

/** FCOM, FUCOM, FTST: C3 C2 C0, even when an unmasked exception stops the rest; true if the stack may be popped. */
export function compareToConditions(state: X87State, y: Unpacked | undefined, signalling: boolean): boolean {
  const { result, done } = order(state, y, signalling);
  setConditions(state, result === UNORDERED ? C3 | C2 | C0 : result === EQUAL ? C3 : result === LESS ? C0 : 0);
  return done;
}

/** FCOMI, FUCOMI: ZF PF CF as EFLAGS bits, with `done` as above. C1 stays but for a stack fault. */
export function compareToEflags(state: X87State, y: Unpacked | undefined, signalling: boolean): { eflags: number; done: boolean } {
  const c1 = y === undefined || isEmpty(state, 0) ? 0 : state.status & C1;
  const { result, done } = order(state, y, signalling);
  state.status |= c1;
  return { eflags: result === UNORDERED ? 0x45 : result === EQUAL ? 0x40 : result === LESS ? 0x01 : 0, done };
}

/** Replaces ST(0) by a function of it. */
export function unary(state: X87State, operation: (x: Unpacked, env: Env) => bigint, env = x87Env(state.control)): void {
  if (isEmpty(state, 0)) {
    if (stackFault(state, false)) write(state, 0, INDEFINITE);
    return;
  }
  const result = operation(read(state, 0), env);
  if (commit(state, env)) write(state, 0, result);
}

export function fsqrt(state: X87State): void {
  unary(state, (x, env) => sqrtUnpacked(f80, x, env), x87ArithmeticEnv(state.control));
}

/** FCHS and FABS: the sign bit alone, of any pattern. */
export function changeSign(state: X87State, change: (bits: bigint) => bigint): void {
  if (isEmpty(state, 0)) {
    if (stackFault(state, false)) write(state, 0, INDEFINITE);
    return;
  }
  state.status &= ~C1;
  write(state, 0, change(readBits(state, 0)));
}

/** FXAM, of an empty register as well. */
export function fxam(state: X87State): void {
  const bits = readBits(state, 0);
  const x = unpack(f80, bits);
  const sign = x.sign ? C1 : 0;
  if (isEmpty(state, 0)) setConditions(state, C3 | C0 | sign);
  else if (x.kind === UNSUPPORTED) setConditions(state, sign);
  else if (isNan(x)) setConditions(state, C0 | sign);
  else if (x.kind === INFINITY) setConditions(state, C2 | C0 | sign);
  else if (x.kind === ZERO) setConditions(state, C3 | sign);
  else setConditions(state, (x.denormal ? C3 | C2 : C2) | sign);
}
