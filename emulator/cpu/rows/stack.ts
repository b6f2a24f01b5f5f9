/** The stack as lowered code uses it: RSP, ESP or SP by the stack's size, SS as segment (SDM 1 6.2). */

import type { Builder } from '../builder.ts';
import { RSP } from '../interface.ts';
import type { Value } from '../ir.ts';
import type { Size } from '../shape.ts';

const SS = 2;

export function stackPointer(q: Builder): Value {
  return q.get(RSP, q.shape.stackSize);
}

/** Stack pointer plus `count` (negative to push), cut to the stack's size. */
export function stackOffset(q: Builder, count: number): Value {
  return q.zx(q.add(stackPointer(q), q.con(BigInt(count))), q.shape.stackSize);
}

export function setStackPointer(q: Builder, value: Value): void {
  q.set(RSP, value, q.shape.stackSize);
}

/** Where `size` bytes at a stack offset are; faults as #SS. */
export function stackPtr(q: Builder, offset: Value, size: number, access: 'r' | 'w'): Value {
  return q.ptr(q.linear(SS, offset, size), size, access, { isStack: true });
}

export function push(q: Builder, value: Value, size: Size = q.size): void {
  const offset = stackOffset(q, -size);
  const ptr = stackPtr(q, offset, size, 'w');
  q.store(ptr, size, value);
  setStackPointer(q, offset);
}

/** Reads the top and moves the pointer; the value comes before any commit, so POP RSP writes it after the move. */
export function pop(q: Builder, size: Size = q.size): Value {
  const value = q.load(stackPtr(q, stackPointer(q), size, 'r'), size);
  setStackPointer(q, stackOffset(q, size));
  return value;
}
