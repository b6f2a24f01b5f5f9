/** JMP, Jcc, CALL, RET near and NOP (SDM 2A-2B). As on AMD, the operand-size prefix cuts RIP to 16 bits, in 64-bit code too (APM3 JMP). */
import type { Builder } from '../builder.ts';
import { GP } from '../fault.ts';
import type { Value } from '../ir.ts';
import { SYS_SEGMENT, SYSTEM } from '../layout.ts';
import { type RowSource, row } from '../row.ts';
import { CS_INDEX } from '../state.ts';
import { setStackPointer, stackOffset, stackPointer, stackPtr } from './stack.ts';

const CS_LIMIT = SYSTEM + 8 * (SYS_SEGMENT + CS_INDEX) + 4;

/** An indirect target that is not canonical, or beyond CS's limit, faults at the branch. */
function checkTarget(q: Builder, target: Value): Value {
  const isBad =
    q.shape.mode === 64
      ? q.op('i64.ne', q.shr(q.add(target, q.con(1n << 47n)), q.con(48)), q.con(0))
      : q.op('i64.gt_u', target, q.getState('i64.load32_u', CS_LIMIT));
  q.fault(isBad, GP);
  return target;
}

/** Outside 64-bit code the direct target of a branch that is taken (always, or on a condition) must lie within CS's limit. */
function checkDirect(q: Builder, cond?: Value): void {
  if (q.shape.mode === 64) return;
  const isBeyond = q.op('i64.gt_u', q.imm64(), q.getState('i64.load32_u', CS_LIMIT));
  q.fault(cond ? q.op('i32.and', cond, isBeyond) : isBeyond, GP);
}

/** CALL pushes the return address, then goes on; the target was read before. */
function call(q: Builder, target: Value | 'imm'): void {
  if (target === 'imm') checkDirect(q);
  const next = q.ripNext();
  const offset = stackOffset(q, -q.size);
  q.store(stackPtr(q, offset, q.size, 'w'), q.size, next);
  setStackPointer(q, offset);
  q.jump(target);
}

function ret(q: Builder, extra: number | 'imm'): void {
  const target = checkTarget(q, q.load(stackPtr(q, stackPointer(q), q.size, 'r'), q.size));
  const next = stackOffset(q, q.size);
  setStackPointer(q, extra === 'imm' ? q.zx(q.add(next, q.imm64()), q.shape.stackSize) : next);
  q.jump(target);
}

function jmp(q: Builder): void {
  checkDirect(q);
  q.jump('imm');
}

/** Branches on a condition; `commit` comes before, behind the check. */
export function branchIf(q: Builder, cond: Value, commit = (): void => {}): void {
  checkDirect(q, cond);
  commit();
  q.branch(cond);
}

const jcc = (q: Builder): void => branchIf(q, q.cond());

// biome-ignore format: one row a line
export const branchRows: RowSource[] = [
  row('jmp',  'Jb', 'EB',          'd64', jmp),
  row('jmp',  'Jz', 'E9',          'd64', jmp),
  row('jmp',  'Ev', 'FF /4',       'd64', (q) => q.jump(checkTarget(q, q.rm('r').get()))),
  row('j',    'Jb', '70 +cc',      'd64', jcc),
  row('j',    'Jz', '0F 80 +cc',   'd64', jcc),
  row('call', 'Jz', 'E8',          'd64', (q) => call(q, 'imm')),
  row('call', 'Ev', 'FF /2',       'd64', (q) => call(q, checkTarget(q, q.rm('r').get()))),
  row('ret',  'Iw', 'C2',          'd64', (q) => ret(q, 'imm')),
  row('ret',  '',   'C3',          'd64', (q) => ret(q, 0)),
  row('nop',  '',   '90 !B',       '', () => {}),
  row('nop',  'Ev', '0F 1F /r',    '', () => {}),
];
