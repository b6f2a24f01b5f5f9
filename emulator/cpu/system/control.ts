/**
 * Control, debug and descriptor-table registers, and the TLB: MOV CR, MOV DR, CLTS, LMSW, SMSW, LGDT, LIDT, SGDT, SIDT,
 * INVLPG (SDM 3A 2.5, 17.2; APM2 3.1). CLTS and LMSW leave as 'mov_cr' where that is intercepted.
 */
import type { CpuCore } from '../cpu.ts';
import type { Insn } from '../decoder.ts';
import { DB, Fault, GP, UD } from '../fault.ts';
import {
  CR0_PE,
  CR0_PG,
  CR0_TS,
  CR4_DE,
  CR4_FSGSBASE,
  CR4_OSFXSR,
  CR4_OSXMMEXCPT,
  CR4_PAE,
  CR4_PCE,
  CR4_PGE,
  CR4_PSE,
  CR4_SMEP,
  CR4_TSD,
  CR4_UMIP,
  EFER_LMA,
  EFER_LME,
  PHYSICAL_ADDRESS_BITS,
} from '../mmu.ts';
import { ATTR_L, CS_INDEX } from '../state.ts';
import { defineSystem, intercepted } from './index.ts';
import {
  getRegister,
  isCanonical,
  linearAddress,
  memoryOffset,
  readMemory,
  readOperand,
  setRegister,
  writeMemory,
  writeOperand,
} from './operand.ts';

const CR0_CD = 0x4000_0000n,
  CR0_NW = 0x2000_0000n,
  CR0_ET = 0x10n;
/** The bits that exist: PE MP EM TS ET NE WP AM NW CD PG. Others below bit 32 stay clear whatever is written. */
const CR0_BITS = 0xe005_003fn;
const CR4_MCE = 0x40;
const CR4_BITS = BigInt(
  CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE | CR4_SMEP,
);
const DR7_GD = 0x2000n;
const DR6_BD = 0x2000;

function requireCpl0(cpu: CpuCore): void {
  if (cpu.cpl !== 0) throw new Fault(GP, 0);
}

/** MOV of system registers is 64 bits wide in 64-bit code and 32 elsewhere, whatever the prefixes. */
const width = (insn: Insn): number => (insn.shape.mode === 64 ? 8 : 4);

function writeCr0(cpu: CpuCore, value: bigint): void {
  const pg = BigInt(CR0_PG),
    pe = BigInt(CR0_PE),
    lme = BigInt(EFER_LME),
    lma = BigInt(EFER_LMA);
  const old = cpu.cr0;
  if (value >> 32n || (value & pg && !(value & pe)) || (value & CR0_NW && !(value & CR0_CD))) throw new Fault(GP, 0);
  const isLongCode = (cpu.state.getSegment(CS_INDEX).attributes & ATTR_L) !== 0;
  if ((value ^ old) & pg) {
    if (value & pg) {
      if (!(cpu.efer & lme)) throw new Error('not supported: paging outside long mode');
      if (!(cpu.cr4 & BigInt(CR4_PAE)) || isLongCode) throw new Fault(GP, 0);
      cpu.efer |= lma;
    } else {
      if (cpu.efer & lma && isLongCode) throw new Fault(GP, 0);
      cpu.efer &= ~lma;
    }
  }
  if (!(value & pe)) throw new Error('not supported: real mode');
  cpu.cr0 = (value & CR0_BITS) | CR0_ET;
}

function writeCr4(cpu: CpuCore, value: bigint): void {
  if (value & ~CR4_BITS || (cpu.efer & BigInt(EFER_LMA) && !(value & BigInt(CR4_PAE)))) throw new Fault(GP, 0);
  cpu.cr4 = value;
}

function writeControl(cpu: CpuCore, number: number, value: bigint): void {
  if (number === 0) writeCr0(cpu, value);
  else if (number === 2) cpu.cr2 = value;
  else if (number === 3) {
    if (value >> BigInt(PHYSICAL_ADDRESS_BITS)) throw new Fault(GP, 0);
    cpu.cr3 = value;
  } else if (number === 4) writeCr4(cpu, value);
  else {
    if (value > 15n) throw new Fault(GP, 0);
    cpu.cr8 = value;
  }
}

function controlNumber(cpu: CpuCore, insn: Insn): number {
  if (![0, 2, 3, 4, 8].includes(insn.regNumber)) throw new Fault(UD);
  requireCpl0(cpu);
  return insn.regNumber;
}

export const SYSTEM_MOV_FROM_CR = defineSystem((cpu, insn) => {
  const number = controlNumber(cpu, insn);
  const exit = intercepted(cpu, insn, 'mov_cr');
  if (exit) return exit;
  const value = [cpu.cr0, 0n, cpu.cr2, cpu.cr3, cpu.cr4, 0n, 0n, 0n, cpu.cr8][number]!;
  setRegister(cpu, insn.rmNumber, width(insn), value);
  return undefined;
});

export const SYSTEM_MOV_TO_CR = defineSystem((cpu, insn) => {
  const number = controlNumber(cpu, insn);
  const exit = intercepted(cpu, insn, 'mov_cr');
  if (exit) return exit;
  writeControl(cpu, number, getRegister(cpu, insn.rmNumber, width(insn)));
  return undefined;
});

export const SYSTEM_CLTS = defineSystem((cpu, insn) => {
  const exit = intercepted(cpu, insn, 'mov_cr');
  if (exit) return exit;
  cpu.cr0 &= ~BigInt(CR0_TS);
  return undefined;
});

/** LMSW writes PE, MP, EM and TS, and cannot clear PE. */
export const SYSTEM_LMSW = defineSystem((cpu, insn) => {
  const exit = intercepted(cpu, insn, 'mov_cr');
  if (exit) return exit;
  const image = readOperand(cpu, insn, 2) & 15n;
  writeCr0(cpu, (cpu.cr0 & ~14n) | image);
  return undefined;
});

export const SYSTEM_SMSW = defineSystem((cpu, insn) => {
  refuseUmip(cpu);
  writeOperand(cpu, insn, insn.shape.size, 2, cpu.cr0);
  return undefined;
});

function refuseUmip(cpu: CpuCore): void {
  if (cpu.cr4 & BigInt(CR4_UMIP)) requireCpl0(cpu);
}

/** DR4 and DR5 are DR6 and DR7 unless CR4.DE is set. */
function debugNumber(cpu: CpuCore, insn: Insn): number {
  const number = insn.regNumber;
  const isAlias = number === 4 || number === 5;
  if (number > 7 || (isAlias && cpu.cr4 & BigInt(CR4_DE))) throw new Fault(UD);
  requireCpl0(cpu);
  return isAlias ? number + 2 : number;
}

const isDetected = (cpu: CpuCore): boolean => (cpu.getDr(7) & DR7_GD) !== 0n;

export const SYSTEM_MOV_FROM_DR = defineSystem((cpu, insn) => {
  const number = debugNumber(cpu, insn);
  const exit = intercepted(cpu, insn, 'mov_dr');
  if (exit) return exit;
  if (isDetected(cpu)) throw new Fault(DB, undefined, undefined, DR6_BD);
  setRegister(cpu, insn.rmNumber, width(insn), cpu.getDr(number));
  return undefined;
});

export const SYSTEM_MOV_TO_DR = defineSystem((cpu, insn) => {
  const number = debugNumber(cpu, insn);
  const exit = intercepted(cpu, insn, 'mov_dr');
  if (exit) return exit;
  if (isDetected(cpu)) throw new Fault(DB, undefined, undefined, DR6_BD);
  const value = getRegister(cpu, insn.rmNumber, width(insn));
  if (number >= 6 && value >> 32n) throw new Fault(GP, 0);
  cpu.setDr(number, number === 6 ? (value & 0xe00fn) | 0xffff_0ff0n : number === 7 ? (value & 0xffff_23ffn) | 0x400n : value);
  return undefined;
});

const loadTable = (name: 'gdtr' | 'idtr') =>
  defineSystem((cpu, insn) => {
    const isWide = insn.shape.mode === 64;
    const limit = Number(readMemory(cpu, insn, 2));
    let base = readMemory(cpu, insn, isWide ? 8 : 4, 2);
    if (isWide && !isCanonical(base)) throw new Fault(GP, 0);
    if (!isWide && insn.shape.size === 2) base &= 0xff_ffffn;
    cpu[name] = { base, limit };
    return undefined;
  });

const storeTable = (name: 'gdtr' | 'idtr') =>
  defineSystem((cpu, insn) => {
    refuseUmip(cpu);
    const { base, limit } = cpu[name];
    writeMemory(cpu, insn, insn.shape.mode === 64 ? 10 : 6, BigInt(limit & 0xffff) | (base << 16n));
    return undefined;
  });

export const SYSTEM_LGDT = loadTable('gdtr');
export const SYSTEM_LIDT = loadTable('idtr');
export const SYSTEM_SGDT = storeTable('gdtr');
export const SYSTEM_SIDT = storeTable('idtr');

/** An address that is not canonical has no translation to drop. */
export const SYSTEM_INVLPG = defineSystem((cpu, insn) => {
  const exit = intercepted(cpu, insn, 'invlpg');
  if (exit) return exit;
  const vaddr = linearAddress(cpu, insn, insn.segment, memoryOffset(cpu, insn), 1);
  if (isCanonical(vaddr)) cpu.flushTlbPage(vaddr);
  return undefined;
});

/** There are no caches to write back or drop. */
export const SYSTEM_WBINVD = defineSystem(() => undefined);
