/** CLC STC CMC CLD STD LAHF SAHF, LOOPcc and JRCXZ, LEAVE (SDM 2A-2B). */

import type { Builder } from '../builder.ts';
import { AF, CF, DF, OF, PF, SF, ZF } from '../flags.ts';
import { RAX, RBP, RCX } from '../interface.ts';
import type { Value } from '../ir.ts';
import { FLAGS_REST } from '../layout.ts';
import { type RowSource, row } from '../row.ts';
import { branchIf } from './branch.ts';
import { setStackPointer, stackPtr } from './stack.ts';

const LOW_FLAGS = CF | PF | AF | ZF | SF;
const CC_ZERO = 4;

function direction(isDown: boolean): (q: Builder) => void {
  return (q) => {
    const rest = q.op('i32.and', q.getState('i32.load', FLAGS_REST), q.con32(~DF));
    q.setState('i32.store', FLAGS_REST, q.op('i32.or', rest, q.con32(isDown ? DF : 0)));
  };
}

function loadFlags(q: Builder): void {
  const low = q.or(q.and(q.getFlagsImage(), q.con(LOW_FLAGS)), q.con(2));
  q.set(RAX, q.or(q.shl(low, q.con(8)), q.get(RAX, 1)), 2);
}

function storeFlags(q: Builder): void {
  const ah = q.shr(q.get(RAX, 2), q.con(8));
  q.flagsImage(q.or(q.and(ah, q.con(LOW_FLAGS)), q.and(q.getFlagsImage(), q.con(OF))));
}

/** `condition`: what ZF must be, beside a count that is not 0. */
function loop(condition: 'any' | 'zero' | 'notZero'): (q: Builder) => void {
  return (q) => {
    const { addressSize } = q.shape;
    const left = q.zx(q.sub(q.get(RCX, addressSize), q.con(1)), addressSize);
    const isLeft: Value = q.op('i64.ne', left, q.con(0));
    const isTaken = condition === 'any' ? isLeft : q.op('i32.and', isLeft, q.cond(condition === 'zero' ? CC_ZERO : CC_ZERO + 1));
    branchIf(q, isTaken, () => q.set(RCX, left, addressSize));
  };
}

function leave(q: Builder): void {
  const { stackSize } = q.shape;
  const frame = q.get(RBP, stackSize);
  const value = q.load(stackPtr(q, frame, q.size, 'r'), q.size);
  setStackPointer(q, q.zx(q.add(frame, q.con(q.size)), stackSize));
  q.set(RBP, value);
}

// biome-ignore format: one row a line
export const flagRows: RowSource[] = [
  row('clc',    '',   'F8', '', (q) => q.carry(q.con32(0))),
  row('stc',    '',   'F9', '', (q) => q.carry(q.con32(1))),
  row('cmc',    '',   'F5', '', (q) => q.carry(q.cond(3))),
  row('cld',    '',   'FC', '', direction(false)),
  row('std',    '',   'FD', '', direction(true)),
  row('lahf',   '',   '9F', '', loadFlags),
  row('sahf',   '',   '9E', '', storeFlags),
  row('loopne', 'Jb', 'E0', 'd64', loop('notZero')),
  row('loope',  'Jb', 'E1', 'd64', loop('zero')),
  row('loop',   'Jb', 'E2', 'd64', loop('any')),
  row('jrcxz',  'Jb', 'E3', 'd64', (q) => branchIf(q, q.isZero(q.get(RCX, q.shape.addressSize)))),
  row('leave',  '',   'C9', 'd64', leave),
];
