/**
 * MOVS STOS LODS SCAS CMPS and XLAT (SDM 2A-2B). One execution is one iteration; with REP it runs itself again while its
 * count lasts, so every iteration counts as an instruction and a fault leaves the registers of the iterations before it.
 */

import type { Builder } from '../builder.ts';
import { DF } from '../flags.ts';
import { RAX, RBX, RCX, RDI, RSI } from '../interface.ts';
import type { Value } from '../ir.ts';
import { FLAGS_REST } from '../layout.ts';
import { type RowSource, row } from '../row.ts';

const ES = 0;

function step(q: Builder): Value {
  const isDown = q.op('i32.and', q.getState('i32.load', FLAGS_REST), q.con32(DF));
  return q.select(isDown, q.con(BigInt(-q.size)), q.con(q.size));
}

const address = (q: Builder, register: number): Value => q.get(register, q.shape.addressSize);

/** Where DS:rSI (or the override) points. */
const source = (q: Builder): Value => q.ptr(q.linear(q.shape.segment, address(q, RSI), q.size), q.size, 'r');
/** Where ES:rDI points; no override applies. */
const destination = (q: Builder, access: 'r' | 'w'): Value => q.ptr(q.linear(ES, address(q, RDI), q.size), q.size, access);

function move(q: Builder, register: number, by: Value): void {
  q.set(register, q.add(address(q, register), by), q.shape.addressSize);
}

/** `body` is one iteration; it returns a further condition (i32) for going on, or nothing. */
function repeated(body: (q: Builder) => Value | undefined): (q: Builder) => void {
  return (q) => {
    if (q.shape.rep === 'none') {
      body(q);
      return;
    }
    const { addressSize } = q.shape;
    const count = q.get(RCX, addressSize);
    q.if(q.op('i64.ne', count, q.con(0)), () => {
      const goesOn = body(q);
      const left = q.sub(count, q.con(1));
      q.set(RCX, left, addressSize);
      const isLeft = q.op('i64.ne', left, q.con(0));
      q.if(goesOn ? q.op('i32.and', isLeft, goesOn) : isLeft, () => q.jump('self'));
    });
  };
}

const movs = (q: Builder): undefined => {
  const from = source(q);
  const value = q.load(from, q.size);
  const to = destination(q, 'w');
  const by = step(q);
  q.store(to, q.size, value);
  move(q, RSI, by);
  move(q, RDI, by);
};

const stos = (q: Builder): undefined => {
  const to = destination(q, 'w');
  const by = step(q);
  q.store(to, q.size, q.get(RAX));
  move(q, RDI, by);
};

const lods = (q: Builder): undefined => {
  const value = q.load(source(q), q.size);
  const by = step(q);
  q.set(RAX, value);
  move(q, RSI, by);
};

/** REPE goes on while equal, REPNE while not. */
function compare(q: Builder, a: Value, b: Value): Value {
  q.flags('sub', q.zx(q.sub(a, b)), a, b);
  return q.op(q.shape.rep === 'rep' ? 'i64.eq' : 'i64.ne', a, b);
}

const scas = (q: Builder): Value => {
  const a = q.get(RAX);
  const b = q.load(destination(q, 'r'), q.size);
  const by = step(q);
  move(q, RDI, by);
  return compare(q, a, b);
};

const cmps = (q: Builder): Value => {
  const a = q.load(source(q), q.size);
  const b = q.load(destination(q, 'r'), q.size);
  const by = step(q);
  move(q, RSI, by);
  move(q, RDI, by);
  return compare(q, a, b);
};

function xlat(q: Builder): void {
  const { addressSize, segment } = q.shape;
  const offset = q.zx(q.add(q.get(RBX, addressSize), q.get(RAX, 1)), addressSize);
  q.set(RAX, q.load(q.ptr(q.linear(segment, offset, 1), 1, 'r'), 1), 1);
}

// biome-ignore format: one row a line
export const stringRows: RowSource[] = [
  row('movs', 'Yb,Xb', 'A4', 'rep', repeated(movs)),
  row('movs', 'Yv,Xv', 'A5', 'rep', repeated(movs)),
  row('cmps', 'Xb,Yb', 'A6', 'rep', repeated(cmps)),
  row('cmps', 'Xv,Yv', 'A7', 'rep', repeated(cmps)),
  row('stos', 'Yb,AL', 'AA', 'rep', repeated(stos)),
  row('stos', 'Yv,rAX', 'AB', 'rep', repeated(stos)),
  row('lods', 'AL,Xb', 'AC', 'rep', repeated(lods)),
  row('lods', 'rAX,Xv', 'AD', 'rep', repeated(lods)),
  row('scas', 'AL,Yb', 'AE', 'rep', repeated(scas)),
  row('scas', 'rAX,Yv', 'AF', 'rep', repeated(scas)),
  row('xlat', 'AL,AL', 'D7', '', xlat),
];
