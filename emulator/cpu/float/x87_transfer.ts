// x87 loads, stores, exchanges and conditional moves (SDM 1 8.3.3, 8.3.4). A store whose value does not fit and whose
// exception is unmasked leaves memory and stack as they were.

import { convert } from './convert.ts';
import { IE, OE, UE, x87Env } from './env.ts';
import { f80, unpack } from './format.ts';
import { m80, type OperandKind, readBytes, writeBytes } from './x87_operand.ts';
import {
  C1,
  canPush,
  commit,
  free,
  INDEFINITE,
  isEmpty,
  pop,
  push,
  read,
  readBits,
  rotate,
  stackFault,
  write,
  type X87State,
} from './x87_state.ts';

/** FLD, FILD, FBLD. An 80-bit load moves the pattern, whatever it is. An unmasked DE does not stop a load. */
export function loadMemory(state: X87State, kind: OperandKind, view: DataView, offset: number): void {
  if (!canPush(state)) return;
  const env = x87Env(state.control);
  const bits = kind === m80 ? readBytes(view, offset, 10) : convert(f80, kind.read(view, offset), env);
  if (commit(state, env) || (env.flags & IE) === 0) push(state, bits);
}

/** FST, FIST, FISTTP and their popping forms, FBSTP; true if the value was stored and the stack may be popped. */
export function storeMemory(state: X87State, kind: OperandKind, view: DataView, offset: number): boolean {
  const env = x87Env(state.control);
  let bits = readBits(state, 0);
  if (isEmpty(state, 0)) {
    if (!stackFault(state, false)) return false;
    bits = kind === m80 ? INDEFINITE : kind.encode(unpack(f80, INDEFINITE), env);
  } else {
    if (kind !== m80) bits = kind.encode(read(state, 0), env);
    const unfit = env.flags & ~env.masks & (OE | UE);
    if (unfit !== 0) {
      env.flags = unfit;
      env.roundedUp = false;
    }
    if (!commit(state, env) || unfit !== 0) return false;
  }
  writeBytes(view, offset, kind.size, bits);
  return true;
}

/** FLD ST(i). */
export function loadRegister(state: X87State, i: number): void {
  if (isEmpty(state, i)) {
    if (stackFault(state, false)) push(state, INDEFINITE);
  } else if (canPush(state)) {
    state.status &= ~C1;
    push(state, readBits(state, i));
  }
}

/** FST ST(i); true if the stack may be popped. */
export function storeRegister(state: X87State, i: number): boolean {
  if (isEmpty(state, 0)) {
    if (!stackFault(state, false)) return false;
    write(state, i, INDEFINITE);
    return true;
  }
  state.status &= ~C1;
  write(state, i, readBits(state, 0));
  return true;
}

/** FSTPNCE, the undocumented D9 D8: no check for an empty ST(0). */
export function storePopUnchecked(state: X87State, i: number): void {
  state.status &= ~C1;
  if (!isEmpty(state, 0)) write(state, i, readBits(state, 0));
  pop(state);
}

export function loadConstant(state: X87State, bits: bigint): void {
  if (!canPush(state)) return;
  state.status &= ~C1;
  push(state, bits);
}

/** FXCH. */
export function exchange(state: X87State, i: number): void {
  const empty0 = isEmpty(state, 0);
  const emptyI = isEmpty(state, i);
  if (empty0 || emptyI) {
    if (!stackFault(state, false)) return;
  } else {
    state.status &= ~C1;
  }
  const st0 = empty0 ? INDEFINITE : readBits(state, 0);
  write(state, 0, emptyI ? INDEFINITE : readBits(state, i));
  write(state, i, st0);
}

/** FCMOVcc; C1 stays. */
export function conditionalMove(state: X87State, i: number, condition: boolean): void {
  if (isEmpty(state, 0) || isEmpty(state, i)) {
    if (stackFault(state, false)) write(state, 0, INDEFINITE);
    return;
  }
  if (condition) write(state, 0, readBits(state, i));
}

/** FFREE; with `popping`, the undocumented FFREEP. */
export function freeRegister(state: X87State, i: number, popping: boolean): void {
  state.status &= ~C1;
  free(state, i);
  if (popping) pop(state);
}

/** FINCSTP and FDECSTP: no register changes. */
export function rotateStack(state: X87State, by: number): void {
  state.status &= ~C1;
  rotate(state, by);
}
