/** ADD ADC SUB SBB CMP AND OR XOR TEST INC DEC NEG NOT and LEA (SDM 2A-2B). */
import type { Builder, Operand } from '../builder.ts';
import type { FlagKind, Value } from '../ir.ts';
import { type RowSource, row } from '../row.ts';

type Source = (q: Builder) => Value;
/** Computes the result and the operation whose flags follow; undefined result: flags only. */
type Operation = (q: Builder, a: Value, b: Value) => { result: Value; kind: FlagKind };

const carryIn = (q: Builder): Value => q.widen(q.cond(2));

const operations: Record<string, Operation> = {
  add: (q, a, b) => ({ result: q.zx(q.add(a, b)), kind: 'add' }),
  or: (q, a, b) => ({ result: q.or(a, b), kind: 'logic' }),
  adc: (q, a, b) => ({ result: q.zx(q.add(q.add(a, b), carryIn(q))), kind: 'adc' }),
  sbb: (q, a, b) => ({ result: q.zx(q.sub(q.sub(a, b), carryIn(q))), kind: 'sbb' }),
  and: (q, a, b) => ({ result: q.and(a, b), kind: 'logic' }),
  sub: (q, a, b) => ({ result: q.zx(q.sub(a, b)), kind: 'sub' }),
  xor: (q, a, b) => ({ result: q.xor(a, b), kind: 'logic' }),
  cmp: (q, a, b) => ({ result: q.zx(q.sub(a, b)), kind: 'sub' }),
  test: (q, a, b) => ({ result: q.and(a, b), kind: 'logic' }),
};

/** op destination, source; CMP and TEST do not write. */
function binary(name: string, destination: (q: Builder, isRead: boolean) => Operand, source: Source): (q: Builder) => void {
  const isRead = name === 'cmp' || name === 'test';
  return (q) => {
    const to = destination(q, isRead);
    const a = to.get();
    const b = source(q);
    const { result, kind } = operations[name]!(q, a, b);
    if (!isRead) to.set(result);
    q.flags(kind, result, a, b);
  };
}

const rm = (q: Builder, isRead: boolean): Operand => q.rm(isRead ? 'r' : 'rw');
const register =
  (ref: 'reg' | 'rm' | number) =>
  (q: Builder): Operand => ({ get: () => q.get(ref), set: (value) => q.set(ref, value) });
const reg: Source = (q) => q.get('reg');
const imm: Source = (q) => q.imm();
const rmSource: Source = (q) => q.rm('r').get();

/** The eight operations of opcodes 00-3F and of groups 80, 81, 83. */
const groupRows = ['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp'].flatMap((name, i): RowSource[] => {
  const opcode = (low: number): string => (i * 8 + low).toString(16).toUpperCase().padStart(2, '0');
  const undefinedFlags = operations[name] === operations.and || name === 'or' || name === 'xor' ? ' u:a' : '';
  const lockable = name === 'cmp' ? undefinedFlags : `lock${undefinedFlags}`;
  return [
    row(name, 'Eb,Gb', `${opcode(0)} /r`, lockable, binary(name, rm, reg)),
    row(name, 'Ev,Gv', `${opcode(1)} /r`, lockable, binary(name, rm, reg)),
    row(name, 'Gb,Eb', `${opcode(2)} /r`, undefinedFlags, binary(name, register('reg'), rmSource)),
    row(name, 'Gv,Ev', `${opcode(3)} /r`, undefinedFlags, binary(name, register('reg'), rmSource)),
    row(name, 'AL,Ib', opcode(4), undefinedFlags, binary(name, register(0), imm)),
    row(name, 'rAX,Iz', opcode(5), undefinedFlags, binary(name, register(0), imm)),
    row(name, 'Eb,Ib', `80 /${i}`, lockable, binary(name, rm, imm)),
    row(name, 'Eb,Ib', `82 /${i}`, `i64 ${lockable}`, binary(name, rm, imm)),
    row(name, 'Ev,Iz', `81 /${i}`, lockable, binary(name, rm, imm)),
    row(name, 'Ev,Ibs', `83 /${i}`, lockable, binary(name, rm, imm)),
  ];
});

function step(kind: 'inc' | 'dec', destination: (q: Builder) => Operand): (q: Builder) => void {
  return (q) => {
    const to = destination(q);
    const a = to.get();
    const one = q.con(1);
    const result = q.zx(kind === 'inc' ? q.add(a, one) : q.sub(a, one));
    to.set(result);
    q.flags(kind, result, a, one);
  };
}

function negate(q: Builder): void {
  const to = q.rm('rw');
  const b = to.get();
  const zero = q.con(0);
  const result = q.zx(q.sub(zero, b));
  to.set(result);
  q.flags('sub', result, zero, b);
}

function complement(q: Builder): void {
  const to = q.rm('rw');
  to.set(q.zx(q.xor(to.get(), q.con(-1n))));
}

const rmOperand = (q: Builder): Operand => q.rm('rw');

// biome-ignore format: one row a line
export const arithmeticRows: RowSource[] = [
  ...groupRows,
  row('test', 'Eb,Gb',  '84 /r',  'u:a', binary('test', rm, reg)),
  row('test', 'Ev,Gv',  '85 /r',  'u:a', binary('test', rm, reg)),
  row('test', 'AL,Ib',  'A8',     'u:a', binary('test', register(0), imm)),
  row('test', 'rAX,Iz', 'A9',     'u:a', binary('test', register(0), imm)),
  row('test', 'Eb,Ib',  'F6 /0',  'u:a', binary('test', rm, imm)),
  row('test', 'Eb,Ib',  'F6 /1',  'u:a', binary('test', rm, imm)),
  row('test', 'Ev,Iz',  'F7 /0',  'u:a', binary('test', rm, imm)),
  row('test', 'Ev,Iz',  'F7 /1',  'u:a', binary('test', rm, imm)),
  row('inc',  'Eb',     'FE /0',  'lock', step('inc', rmOperand)),
  row('inc',  'Ev',     'FF /0',  'lock', step('inc', rmOperand)),
  row('dec',  'Eb',     'FE /1',  'lock', step('dec', rmOperand)),
  row('dec',  'Ev',     'FF /1',  'lock', step('dec', rmOperand)),
  row('inc',  'Zv',     '40 +r',  'i64', step('inc', register('rm'))),
  row('dec',  'Zv',     '48 +r',  'i64', step('dec', register('rm'))),
  row('neg',  'Eb',     'F6 /3',  'lock', negate),
  row('neg',  'Ev',     'F7 /3',  'lock', negate),
  row('not',  'Eb',     'F6 /2',  'lock', complement),
  row('not',  'Ev',     'F7 /2',  'lock', complement),
  row('lea',  'Gv,Mv',  '8D /r',  '', (q) => q.set('reg', q.offset())),
];
