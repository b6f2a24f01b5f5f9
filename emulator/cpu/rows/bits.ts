/** BT BTS BTR BTC, BSF BSR, BSWAP, XADD, CMPXCHG, CMPXCHG8B/16B (SDM 2A-2B). */

import type { Builder, Operand } from '../builder.ts';
import { ZF } from '../flags.ts';
import { RAX, RBX, RCX, RDX } from '../interface.ts';
import type { Value } from '../ir.ts';
import { type RowSource, row } from '../row.ts';
import type { Size } from '../shape.ts';

type Change = ((q: Builder, value: Value, mask: Value) => Value) | undefined;

const changes: Record<string, Change> = {
  bt: undefined,
  bts: (q, value, mask) => q.or(value, mask),
  btr: (q, value, mask) => q.and(value, q.xor(mask, q.con(-1n))),
  btc: (q, value, mask) => q.xor(value, mask),
};

/** A register index addresses a bit string in memory, before or after the operand (SDM 1 4.2.5). */
function bitOperand(q: Builder, index: Value, access: 'r' | 'rw'): Operand {
  const { size, shape } = q;
  const words = q.sar(q.sx(index), q.con(Math.log2(size * 8)));
  const offset = q.zx(q.add(q.offset(), q.shl(words, q.con(Math.log2(size)))), shape.addressSize);
  const ptr = q.ptr(q.linear(shape.segment, offset, size), size, access);
  return { get: () => q.load(ptr, size), set: (value) => q.store(ptr, size, value) };
}

function bitTest(name: string, isImmediate: boolean): (q: Builder) => void {
  const change = changes[name];
  return (q) => {
    const index = isImmediate ? q.imm64() : q.get('reg');
    const access = change ? 'rw' : 'r';
    const operand = q.shape.ea === 'reg' || isImmediate ? q.rm(access) : bitOperand(q, index, access);
    const value = operand.get();
    const bit = q.and(index, q.con(q.size * 8 - 1));
    if (change) operand.set(q.zx(change(q, value, q.shl(q.con(1), bit))));
    q.carry(q.wrap(q.and(q.shr(value, bit), q.con(1))));
  };
}

/** A zero source sets ZF and leaves the destination. */
function bitScan(isReverse: boolean): (q: Builder) => void {
  return (q) => {
    const value = q.rm('r').get();
    q.if(q.op('i64.ne', value, q.con(0)), () => {
      q.set('reg', isReverse ? q.sub(q.con(63), q.op('i64.clz', value)) : q.op('i64.ctz', value));
    });
    q.flagsFrom(value, q.con32(0), q.con32(0));
  };
}

function byteSwap(q: Builder): void {
  if (q.size === 2) return q.set('rm', q.con(0)); // undefined by the manual; zero on real CPUs
  let value = q.get('rm');
  const swap = (mask: bigint, by: number): void => {
    value = q.or(q.shl(q.and(value, q.con(mask)), q.con(by)), q.and(q.shr(value, q.con(by)), q.con(mask)));
  };
  swap(0x00ff_00ff_00ff_00ffn, 8);
  swap(0x0000_ffff_0000_ffffn, 16);
  q.set('rm', q.size === 4 ? value : q.op('i64.rotl', value, q.con(32)));
}

function exchangeAdd(q: Builder): void {
  const to = q.rm('rw');
  const a = to.get();
  const b = q.get('reg');
  const result = q.zx(q.add(a, b));
  if (q.shape.ea === 'reg') {
    q.set('reg', a);
    to.set(result);
  } else {
    to.set(result);
    q.set('reg', a);
  }
  q.flags('add', result, a, b);
}

function compareExchange(q: Builder): void {
  const to = q.rm('rw');
  const old = to.get();
  const expected = q.get(RAX);
  const result = q.zx(q.sub(expected, old));
  const isEqual = q.op('i64.eq', expected, old);
  const source = q.get('reg');
  // Memory is always written; a register that does not match keeps all its bits.
  if (q.shape.ea === 'reg') q.if(isEqual, () => to.set(source));
  else to.set(q.select(isEqual, source, old));
  q.if(q.isZero(isEqual), () => q.set(RAX, old));
  q.flags('sub', result, expected, old);
}

/** CMPXCHG8B, with REX.W CMPXCHG16B, which wants its operand aligned. */
function compareExchangePair(q: Builder): void {
  const half: Size = q.size;
  const ptr = q.ptr(q.ea(half * 2), half * 2, 'rw', half === 8 ? { align: 16 } : {});
  const low = q.load(ptr, half);
  const high = q.load(ptr, half, half);
  const isEqual = q.op('i32.and', q.op('i64.eq', low, q.get(RAX)), q.op('i64.eq', high, q.get(RDX)));
  q.store(ptr, half, q.select(isEqual, q.get(RBX), low));
  q.store(ptr, half, q.select(isEqual, q.get(RCX), high), half);
  q.if(q.isZero(isEqual), () => {
    q.set(RAX, low);
    q.set(RDX, high);
  });
  const rest = q.and(q.getFlagsImage(), q.con(BigInt(~ZF)));
  q.flagsImage(q.or(rest, q.shl(q.widen(isEqual), q.con(6))));
}

export const bitRows: RowSource[] = [
  ...Object.keys(changes).flatMap((name, i) => {
    const attributes = name === 'bt' ? 'u:osap' : 'lock u:osap';
    return [
      row(name, 'Ev,Gv', `0F ${['A3', 'AB', 'B3', 'BB'][i]} /r`, attributes, bitTest(name, false)),
      row(name, 'Ev,Ib', `0F BA /${4 + i}`, attributes, bitTest(name, true)),
    ];
  }),
  row('bsf', 'Gv,Ev', '0F BC /r', 'u:osapc', bitScan(false)),
  row('bsr', 'Gv,Ev', '0F BD /r', 'u:osapc', bitScan(true)),
  row('bswap', 'Zv', '0F C8 +r', '', byteSwap),
  row('xadd', 'Eb,Gb', '0F C0 /r', 'lock', exchangeAdd),
  row('xadd', 'Ev,Gv', '0F C1 /r', 'lock', exchangeAdd),
  row('cmpxchg', 'Eb,Gb', '0F B0 /r', 'lock', compareExchange),
  row('cmpxchg', 'Ev,Gv', '0F B1 /r', 'lock', compareExchange),
  row('cmpxchg8b', 'My', '0F C7 /1', 'lock', compareExchangePair),
];
