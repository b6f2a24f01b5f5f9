/** MOV, MOVZX, MOVSX, MOVSXD, XCHG, CMOVcc, SETcc, BSWAP, PUSH and POP of general registers (SDM 2A-2B). */
import type { Builder } from '../builder.ts';
import { type RowSource, row } from '../row.ts';
import type { Size } from '../shape.ts';
import { pop, push } from './stack.ts';

const storeReg = (q: Builder): void => q.rm('w').set(q.get('reg'));
const loadReg = (q: Builder): void => q.set('reg', q.rm('r').get());
const storeImm = (q: Builder): void => q.rm('w').set(q.imm());
const extend =
  (size: Size, isSigned: boolean) =>
  (q: Builder): void => {
    const value = q.rm('r', size).get();
    q.set('reg', isSigned ? q.sx(value, size) : value);
  };

function exchange(q: Builder): void {
  const to = q.rm('rw');
  const old = to.get();
  const value = q.get('reg');
  to.set(value);
  q.set('reg', old);
}

function exchangeAccumulator(q: Builder): void {
  const a = q.get(0);
  const b = q.get('rm');
  q.set(0, b);
  q.set('rm', a);
}

/** MOV between the accumulator and an absolute offset, which is the immediate. */
function accumulatorOffset(isStore: boolean): (q: Builder) => void {
  return (q) => {
    const offset = q.shape.addressSize === 8 ? q.imm64() : q.zx(q.imm64(), q.shape.addressSize);
    const ptr = q.ptr(q.linear(q.shape.segment, offset, q.size), q.size, isStore ? 'w' : 'r');
    if (isStore) q.store(ptr, q.size, q.get(0));
    else q.set(0, q.load(ptr, q.size));
  };
}

// biome-ignore format: one row a line
export const moveRows: RowSource[] = [
  row('mov',    'Eb,Gb',  '88 /r', '', storeReg),
  row('mov',    'Ev,Gv',  '89 /r', '', storeReg),
  row('mov',    'Gb,Eb',  '8A /r', '', loadReg),
  row('mov',    'Gv,Ev',  '8B /r', '', loadReg),
  row('mov',    'AL,Ob',  'A0',    '', accumulatorOffset(false)),
  row('mov',    'rAX,Ov', 'A1',    '', accumulatorOffset(false)),
  row('mov',    'Ob,AL',  'A2',    '', accumulatorOffset(true)),
  row('mov',    'Ov,rAX', 'A3',    '', accumulatorOffset(true)),
  row('mov',    'Zb,Ib',  'B0 +r', '', (q) => q.set('rm', q.imm())),
  row('mov',    'Zv,Iv',  'B8 +r', '', (q) => q.set('rm', q.imm64())),
  row('mov',    'Eb,Ib',  'C6 /0', '', storeImm),
  row('mov',    'Ev,Iz',  'C7 /0', '', storeImm),
  row('movzx',  'Gv,Eb',  '0F B6 /r', '', extend(1, false)),
  row('movzx',  'Gv,Ew',  '0F B7 /r', '', extend(2, false)),
  row('movsx',  'Gv,Eb',  '0F BE /r', '', extend(1, true)),
  row('movsx',  'Gv,Ew',  '0F BF /r', '', extend(2, true)),
  row('movsxd', 'Gv,Ed',  '63 /r', 'o64', extend(4, true)),
  row('xchg',   'Eb,Gb',  '86 /r', 'lock', exchange),
  row('xchg',   'Ev,Gv',  '87 /r', 'lock', exchange),
  row('xchg',   'Zv,rAX', '90 +r', '', exchangeAccumulator),
  row('cmov',   'Gv,Ev',  '0F 40 /r +cc', '', (q) => {
    const value = q.rm('r').get();
    const old = q.get('reg');
    q.set('reg', q.select(q.cond(), value, old));
  }),
  row('set',    'Eb',     '0F 90 /r +cc', '', (q) => q.rm('w').set(q.widen(q.cond()))),
  row('push',   'Zv',     '50 +r', 'd64', (q) => push(q, q.get('rm'))),
  row('push',   'Ev',     'FF /6', 'd64', (q) => push(q, q.rm('r').get())),
  row('push',   'Iz',     '68',    'd64', (q) => push(q, q.imm())),
  row('push',   'Ibs',    '6A',    'd64', (q) => push(q, q.imm())),
  row('pop',    'Zv',     '58 +r', 'd64', (q) => q.set('rm', pop(q))),
];
