/**
 * Rare instructions that are simplest as a program: POP to memory, ENTER, and what only 32-bit code has (PUSHA, POPA,
 * BOUND, the decimal adjustments, SALC) (SDM 2A-2B). Performed by the system unit.
 */

import type { CpuCore } from '../cpu.ts';
import type { Insn } from '../decoder.ts';
import { BR, DE, Fault } from '../fault.ts';
import { AF, CF, OF, PF, SF, ZF } from '../flags.ts';
import { RAX, RSP } from '../interface.ts';
import { type RowSource, row } from '../row.ts';
import { SS_INDEX } from '../state.ts';
import { defineSystem, type SystemFunction } from '../system/index.ts';
import {
  getRegister,
  linearAddress,
  memoryOffset,
  moveStack,
  pushAll,
  readAt,
  readMemory,
  readStack,
  setRegister,
  sizeMask,
  writeAt,
} from '../system/operand.ts';

const RBP = 5;

const isUser = (cpu: CpuCore): boolean => cpu.cpl === 3;

function readStackAt(cpu: CpuCore, insn: Insn, offset: bigint, size: number): bigint {
  return readAt(cpu, insn, SS_INDEX, offset & sizeMask(insn.shape.stackSize), size);
}

function writeStack(cpu: CpuCore, insn: Insn, offset: bigint, size: number, value: bigint): void {
  writeAt(cpu, insn, SS_INDEX, offset & sizeMask(insn.shape.stackSize), size, value);
}

const popRm: SystemFunction = (cpu, insn) => {
  const { size, stackSize, ea } = insn.shape;
  const sp = getRegister(cpu, RSP, stackSize);
  const value = readStackAt(cpu, insn, sp, size);
  const moved = (sp + BigInt(size)) & sizeMask(stackSize);
  if (ea === 'reg') {
    setRegister(cpu, RSP, stackSize, moved);
    setRegister(cpu, insn.rmNumber, size, value);
    return;
  }
  writeAt(cpu, insn, insn.segment, memoryOffset(cpu, insn, moved), size, value);
  setRegister(cpu, RSP, stackSize, moved);
};

const enter: SystemFunction = (cpu, insn) => {
  const { size, stackSize } = insn.shape;
  const level = Number(insn.imm >> 16n) & 31;
  const step = BigInt(size);
  let sp = getRegister(cpu, RSP, stackSize) - step;
  const frame = sp & sizeMask(stackSize);
  const pushes: [bigint, bigint][] = [[sp, getRegister(cpu, RBP, size)]];
  let from = getRegister(cpu, RBP, stackSize);
  for (let i = 1; i < level; i++) {
    from -= step;
    sp -= step;
    pushes.push([sp, readStackAt(cpu, insn, from, size)]);
  }
  if (level > 0) {
    sp -= step;
    pushes.push([sp, frame & sizeMask(size)]);
  }
  const top = sp - (insn.imm & 0xffffn);
  // The new top must be writable before anything is pushed (SDM 2A ENTER).
  cpu.mmu.locate(linearAddress(cpu, insn, SS_INDEX, top & sizeMask(stackSize), size, true), 'write', isUser(cpu), true);
  for (const [offset] of pushes)
    cpu.mmu.locate(linearAddress(cpu, insn, SS_INDEX, offset & sizeMask(stackSize), size, true), 'write', isUser(cpu), true);
  for (const [offset, value] of pushes) writeStack(cpu, insn, offset, size, value);
  setRegister(cpu, RBP, size, frame);
  setRegister(cpu, RSP, stackSize, top);
};

const pusha: SystemFunction = (cpu, insn) => {
  const { size } = insn.shape;
  pushAll(
    cpu,
    insn,
    size,
    Array.from({ length: 8 }, (_, i) => getRegister(cpu, i, size)),
  );
  return undefined;
};

const popa: SystemFunction = (cpu, insn) => {
  const { size } = insn.shape;
  const values = Array.from({ length: 8 }, (_, i) => readStack(cpu, insn, i, size));
  for (let i = 0; i < 8; i++) if (7 - i !== RSP) setRegister(cpu, 7 - i, size, values[i]!);
  moveStack(cpu, insn, 8 * size);
  return undefined;
};

const bound: SystemFunction = (cpu, insn) => {
  const { size } = insn.shape;
  const signed = (value: bigint): bigint => BigInt.asIntN(size * 8, value);
  const lower = signed(readMemory(cpu, insn, size));
  const upper = signed(readMemory(cpu, insn, size, size));
  const index = signed(cpu.gpr[insn.regNumber]!);
  if (index < lower || index > upper) throw new Fault(BR);
  return undefined;
};

const parity = (value: number): number => {
  let bits = value ^ (value >> 4);
  bits ^= bits >> 2;
  return (bits ^ (bits >> 1)) & 1 ? 0 : PF;
};

/** SF ZF PF of AL, with CF, AF and OF as given. */
function setFlags(cpu: CpuCore, al: number, extra: number): void {
  const rest = cpu.state.flags & ~(CF | PF | AF | ZF | SF | OF);
  cpu.state.flags = rest | (al & 0x80 ? SF : 0) | (al === 0 ? ZF : 0) | parity(al) | extra;
}

const ax = (cpu: CpuCore): number => Number(cpu.gpr[RAX]! & 0xffffn);
const setAx = (cpu: CpuCore, value: number): void => setRegister(cpu, RAX, 2, BigInt(value & 0xffff));
const setAl = (cpu: CpuCore, value: number): void => setAx(cpu, (ax(cpu) & 0xff00) | (value & 0xff));

const asciiAdjust =
  (isAdd: boolean): SystemFunction =>
  (cpu) => {
    const adjusts = (ax(cpu) & 15) > 9 || (cpu.state.flags & AF) !== 0;
    const sign = isAdd ? 1 : -1;
    // AAA adds 0x106 to AX; AAS subtracts 6 from AX, then 1 from AH.
    if (adjusts) setAx(cpu, ax(cpu) + sign * 0x106);
    setAx(cpu, ax(cpu) & 0xff0f);
    setFlags(cpu, ax(cpu) & 0xff, adjusts ? AF | CF : 0);
  };

const decimalAdjust =
  (isAdd: boolean): SystemFunction =>
  (cpu) => {
    const old = ax(cpu) & 0xff;
    const flags = cpu.state.flags;
    const sign = isAdd ? 1 : -1;
    let al = old;
    let extra = 0;
    if ((old & 15) > 9 || flags & AF) {
      al += sign * 6;
      extra |= AF | (flags & CF || al > 0xff || al < 0 ? CF : 0);
    }
    if (old > 0x99 || flags & CF) {
      al += sign * 0x60;
      extra |= CF;
    } else if (isAdd) extra &= ~CF;
    setAl(cpu, al);
    setFlags(cpu, al & 0xff, extra);
  };

const asciiMultiply: SystemFunction = (cpu, insn) => {
  const base = Number(insn.imm);
  if (base === 0) throw new Fault(DE);
  const al = ax(cpu) & 0xff;
  setAx(cpu, (Math.floor(al / base) << 8) | (al % base));
  setFlags(cpu, al % base, 0);
};

const asciiDivide: SystemFunction = (cpu, insn) => {
  const value = ((ax(cpu) & 0xff) + (ax(cpu) >> 8) * Number(insn.imm)) & 0xff;
  setAx(cpu, value);
  setFlags(cpu, value, 0);
};

const setAlFromCarry: SystemFunction = (cpu) => {
  setAl(cpu, cpu.state.flags & CF ? 0xff : 0);
  return undefined;
};

const system = (mnemonic: string, operands: string, opcode: string, attributes: string, perform: SystemFunction): RowSource => {
  const number = defineSystem(perform);
  return row(mnemonic, operands, opcode, `system ${attributes}`, (q) => q.system(number));
};

// biome-ignore format: one row a line
export const legacyRows: RowSource[] = [
  system('pop',   'Ev',     '8F /0', 'd64', popRm),
  system('enter', 'Iw,Ib2', 'C8',    'd64', enter),
  system('pusha', '',       '60',    'i64', pusha),
  system('popa',  '',       '61',    'i64', popa),
  system('bound', 'Gv,Mv',  '62 /r', 'i64', bound),
  system('daa',   '',       '27',    'i64 u:o', decimalAdjust(true)),
  system('das',   '',       '2F',    'i64 u:o', decimalAdjust(false)),
  system('aaa',   '',       '37',    'i64 u:oszp', asciiAdjust(true)),
  system('aas',   '',       '3F',    'i64 u:oszp', asciiAdjust(false)),
  system('aam',   'Ib',     'D4',    'i64 u:oac', asciiMultiply),
  system('aad',   'Ib',     'D5',    'i64 u:oac', asciiDivide),
  system('salc',  '',       'D6',    'i64', setAlFromCarry),
];
