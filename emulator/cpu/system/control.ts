/**
 * Control, debug and descriptor-table registers, and the TLB: MOV CR, MOV DR, CLTS, LMSW, SMSW, LGDT, LIDT, SGDT, SIDT,
 * INVLPG (SDM 3A 2.5, 17.2; APM2 3.1). CLTS and LMSW leave as 'mov_cr' where that is intercepted.
 */

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
  CR4_PCIDE,
  CR4_PGE,
  CR4_PSE,
  CR4_SMAP,
  CR4_SMEP,
  CR4_TSD,
  CR4_UMIP,
  EFER_LMA,
  EFER_LME,
  PHYSICAL_ADDRESS_BITS,
} from '../control_registers.ts';
import type { CpuCore } from '../cpu.ts';
import type { Insn } from '../decoder.ts';
import { DB, Fault, GP, UD } from '../fault.ts';
import { ATTR_DB, ATTR_G, ATTR_L, CS_INDEX, TR_INDEX } from '../state.ts';
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
import { REAL_DATA } from './segments.ts';

const CR0_CD = 0x4000_0000n,
  CR0_NW = 0x2000_0000n,
  CR0_ET = 0x10n;
/** The bits that exist: PE MP EM TS ET NE WP AM NW CD PG. Others below bit 32 stay clear whatever is written. */
const CR0_BITS = 0xe005_003fn;
const CR4_MCE = 0x40;
const CR4_BITS = BigInt(
  CR4_TSD |
    CR4_DE |
    CR4_PSE |
    CR4_PAE |
    CR4_MCE |
    CR4_PGE |
    CR4_PCE |
    CR4_OSFXSR |
    CR4_OSXMMEXCPT |
    CR4_UMIP |
    CR4_FSGSBASE |
    CR4_PCIDE |
    CR4_SMEP |
    CR4_SMAP,
);
const DR7_GD = 0x2000n;
const DR6_BD = 0x2000;

function requireCpl0(cpu: CpuCore): void {
  if (cpu.cpl !== 0) throw new Fault(GP, 0);
}

/** MOV of system registers is 64 bits wide in 64-bit code and 32 elsewhere, whatever the prefixes. */
const width = (insn: Insn): number => (insn.shape.mode === 64 ? 8 : 4);

const PG = BigInt(CR0_PG),
  PE = BigInt(CR0_PE),
  LME = BigInt(EFER_LME),
  LMA = BigInt(EFER_LMA),
  PAE = BigInt(CR4_PAE),
  PCIDE = BigInt(CR4_PCIDE);
/** Changes of these load the page-directory-pointer-table entries of PAE paging anew (SDM 3A 4.4.1). */
const CR0_LOADS_PDPTES = PG | CR0_CD | CR0_NW;
const CR4_LOADS_PDPTES = BigInt(CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP);

const refuse = (isWrong: unknown): void => {
  if (isWrong) throw new Fault(GP, 0);
};

function writeCr0(cpu: CpuCore, value: bigint): void {
  const { cr0, cr4, efer } = cpu;
  const changed = value ^ cr0;
  refuse(value >> 32n || (value & PG && !(value & PE)) || (value & CR0_NW && !(value & CR0_CD)));
  const isLongCode = (cpu.state.getSegment(CS_INDEX).attributes & ATTR_L) !== 0;
  // LMA without paging is a state that only a host can make.
  const entersLong = (changed & value & PG) !== 0n && (efer & (LME | LMA)) === LME;
  const leavesPaging = (changed & cr0 & PG) !== 0n;
  if (entersLong) {
    // A 16-bit TSS has no place in long mode.
    refuse(!(cr4 & PAE) || isLongCode || !(cpu.state.getSegment(TR_INDEX).attributes & 8));
    cpu.efer |= LMA;
  } else if (value & PG && !(efer & LMA) && cr4 & PAE && changed & CR0_LOADS_PDPTES) refuse(!cpu.mmu.loadPdptes(cpu.cr3));
  if (leavesPaging) {
    refuse((efer & LMA && isLongCode) || cr4 & PCIDE);
    cpu.efer &= ~LMA;
  }
  cpu.cr0 = (value & CR0_BITS) | CR0_ET;
  if (changed & cr0 & PE) {
    // Code may be written to in real mode.
    const cs = cpu.state.getSegment(CS_INDEX);
    cpu.setSegment('cs', { ...cs, attributes: (cs.attributes & (ATTR_DB | ATTR_G)) | REAL_DATA });
  }
}

function writeCr4(cpu: CpuCore, value: bigint): void {
  const { cr0, cr3, cr4, efer } = cpu;
  const changed = value ^ cr4;
  refuse(value & ~CR4_BITS || (efer & LMA && !(value & PAE)));
  refuse(changed & value & PCIDE && (!(efer & LMA) || cr3 & 0xfffn));
  if (cr0 & PG && !(efer & LMA) && value & PAE && changed & CR4_LOADS_PDPTES) refuse(!cpu.mmu.loadPdptes(cr3));
  cpu.cr4 = value;
}

/** With PCIDs, bit 63 of the value keeps the translations of its PCID (SDM 3A 4.10.4.1). */
function writeCr3(cpu: CpuCore, value: bigint): void {
  const { cr0, cr4, efer } = cpu;
  const keeps = (cr4 & PCIDE) !== 0n && value >> 63n === 1n;
  const address = keeps ? value & ~(1n << 63n) : value;
  refuse(address >> BigInt(PHYSICAL_ADDRESS_BITS));
  if (cr0 & PG && !(efer & LMA) && cr4 & PAE) refuse(!cpu.mmu.loadPdptes(address));
  cpu.loadCr3(address, keeps);
}

function writeControl(cpu: CpuCore, number: number, value: bigint): void {
  if (number === 0) writeCr0(cpu, value);
  else if (number === 2) cpu.cr2 = value;
  else if (number === 3) writeCr3(cpu, value);
  else if (number === 4) writeCr4(cpu, value);
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

/** Types: one address of a PCID, all of a PCID, everything, everything but global translations (SDM 2A INVPCID). */
export const SYSTEM_INVPCID = defineSystem((cpu, insn) => {
  const exit = intercepted(cpu, insn, 'invlpg');
  if (exit) return exit;
  const type = getRegister(cpu, insn.regNumber, width(insn));
  const descriptor = readMemory(cpu, insn, 8);
  const vaddr = readMemory(cpu, insn, 8, 8);
  const pcid = Number(descriptor & 0xfffn);
  refuse(type > 3n || descriptor >> 12n);
  if (type < 2n) refuse(pcid !== 0 && !(cpu.cr4 & PCIDE));
  // The TLB holds the present PCID's translations only.
  const isPresent = pcid === (cpu.cr4 & PCIDE ? Number(cpu.cr3 & 0xfffn) : 0);
  if (type === 0n) {
    refuse(!isCanonical(vaddr));
    if (isPresent) cpu.flushTlbPage(vaddr);
  } else if (type > 1n || isPresent) cpu.flushTlb({ global: type === 2n });
  return undefined;
});

/** There are no caches to write back or drop. */
export const SYSTEM_WBINVD = defineSystem(() => undefined);
