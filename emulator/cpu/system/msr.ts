/**
 * The model-specific registers that the CPU itself keeps (SDM 4, APM2 appendix A), RDMSR and WRMSR, and the
 * instructions that tell about the processor: CPUID, RDTSC, RDTSCP, RDPMC.
 */

import { CR0_PG, CR4_PCE, CR4_TSD, EFER_LMA, EFER_LME, EFER_NXE, EFER_SCE } from '../control_registers.ts';
import type { CpuCore } from '../cpu.ts';
import { Fault, GP } from '../fault.ts';
import { RAX, RBX, RCX, RDX } from '../interface.ts';
import * as L from '../layout.ts';
import { FS_INDEX, GS_INDEX } from '../state.ts';
import { defineSystem, intercepted } from './index.ts';
import { isCanonical, setRegister } from './operand.ts';
import { segmentBase } from './segments.ts';

const MSR_TSC = 0x10,
  MSR_EFER = 0xc0000080,
  MSR_FS_BASE = 0xc0000100,
  MSR_GS_BASE = 0xc0000101;

type Check = (value: bigint) => boolean;
const anything: Check = () => true;
const only32: Check = (value) => value >> 32n === 0n;
/** Each byte a memory type: UC, WC, WT, WP, WB or UC- (SDM 3A 11.12.2). */
const memoryTypes: Check = (value) => {
  for (let rest = value; rest !== 0n; rest >>= 8n) if (![0n, 1n, 4n, 5n, 6n, 7n].includes(rest & 0xffn)) return false;
  return true;
};

// biome-ignore format: one register a line
const kept: ReadonlyMap<number, readonly [number, Check]> = new Map([
  [0x1b,       [L.SYS_APIC_BASE, anything]],
  [0x174,      [L.SYS_SYSENTER_CS, anything]],
  [0x175,      [L.SYS_SYSENTER_ESP, isCanonical]],
  [0x176,      [L.SYS_SYSENTER_EIP, isCanonical]],
  [0x277,      [L.SYS_PAT, memoryTypes]],
  [0xc0000081, [L.SYS_STAR, anything]],
  [0xc0000082, [L.SYS_LSTAR, isCanonical]],
  [0xc0000083, [L.SYS_CSTAR, isCanonical]],
  [0xc0000084, [L.SYS_SFMASK, only32]],
  [0xc0000102, [L.SYS_KERNEL_GS_BASE, isCanonical]],
  [0xc0000103, [L.SYS_TSC_AUX, only32]],
]);

export function readMsr(cpu: CpuCore, index: number): bigint | undefined {
  if (index === MSR_EFER) return cpu.efer;
  if (index === MSR_TSC) return cpu.tsc;
  if (index === MSR_FS_BASE) return segmentBase(cpu, FS_INDEX);
  if (index === MSR_GS_BASE) return segmentBase(cpu, GS_INDEX);
  const entry = kept.get(index);
  return entry && cpu.state.sys[entry[0]];
}

/** False, and nothing written: no such MSR, or a value that it refuses. */
export function writeMsr(cpu: CpuCore, index: number, value: bigint): boolean {
  if (index === MSR_EFER) return writeEfer(cpu, value);
  if (index === MSR_TSC) {
    cpu.tsc = value;
    return true;
  }
  if (index === MSR_FS_BASE || index === MSR_GS_BASE) {
    if (!isCanonical(value)) return false;
    cpu.state.view.setBigUint64(L.SEG_BASE + 8 * (index === MSR_FS_BASE ? FS_INDEX : GS_INDEX), value, true);
    return true;
  }
  const entry = kept.get(index);
  if (!entry?.[1](value)) return false;
  cpu.state.sys[entry[0]] = value;
  return true;
}

/** LMA follows from LME and paging and is not written; LME stands while paging is on (APM2 3.1.7). */
function writeEfer(cpu: CpuCore, value: bigint): boolean {
  const old = cpu.efer;
  const lma = BigInt(EFER_LMA),
    lme = BigInt(EFER_LME);
  if (value & ~BigInt(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)) return false;
  if ((value ^ old) & lme && cpu.cr0 & BigInt(CR0_PG)) return false;
  cpu.efer = (value & ~lma) | (old & lma);
  return true;
}

export const SYSTEM_RDMSR = defineSystem((cpu, insn) => {
  const exit = intercepted(cpu, insn, 'rdmsr');
  if (exit) return exit;
  const index = Number(cpu.gpr[RCX]! & 0xffff_ffffn);
  const value = readMsr(cpu, index);
  if (value === undefined) throw new Fault(GP, 0);
  return setPair(cpu, value);
});

export const SYSTEM_WRMSR = defineSystem((cpu, insn) => {
  const exit = intercepted(cpu, insn, 'wrmsr');
  if (exit) return exit;
  const value = ((cpu.gpr[RDX]! & 0xffff_ffffn) << 32n) | (cpu.gpr[RAX]! & 0xffff_ffffn);
  if (!writeMsr(cpu, Number(cpu.gpr[RCX]! & 0xffff_ffffn), value)) throw new Fault(GP, 0);
  return undefined;
});

const CR4 = (L.SYSTEM + 8 * L.SYS_CR4) / 4,
  TSC_OFFSET = (L.SYSTEM + 8 * L.SYS_TSC_OFFSET) / 4,
  TSC_SCALE = (L.SYSTEM + 8 * L.SYS_TSC_SCALE) / 4;

/** EDX:EAX, without a bigint where the host's counter is the guest's. */
function setTsc(cpu: CpuCore): undefined {
  const { words } = cpu.state;
  const isHosts = (words[TSC_OFFSET]! | words[TSC_OFFSET + 1]! | words[TSC_SCALE]!) === 0 && words[TSC_SCALE + 1] === 1;
  if (!isHosts) return setPair(cpu, cpu.tsc);
  const tsc = cpu.host.readTsc(cpu.instructionCount);
  const { gprWords } = cpu;
  gprWords[2 * RAX] = tsc;
  gprWords[2 * RDX] = Math.floor(tsc / 0x1_0000_0000);
  gprWords[2 * RAX + 1] = gprWords[2 * RDX + 1] = 0;
}

function setPair(cpu: CpuCore, value: bigint): undefined {
  setRegister(cpu, RAX, 4, value);
  setRegister(cpu, RDX, 4, value >> 32n);
}

export const SYSTEM_CPUID = defineSystem((cpu, insn) => {
  const exit = intercepted(cpu, insn, 'cpuid');
  if (exit) return exit;
  const { eax, ebx, ecx, edx } = cpu.host.cpuid(Number(cpu.gpr[RAX]! & 0xffff_ffffn), Number(cpu.gpr[RCX]! & 0xffff_ffffn));
  for (const [number, value] of [
    [RAX, eax],
    [RBX, ebx],
    [RCX, ecx],
    [RDX, edx],
  ] as const)
    cpu.gpr[number] = BigInt(value >>> 0);
  return undefined;
});

const mayRead = (cpu: CpuCore, isOpen: boolean): void => {
  if (!isOpen && cpu.cpl !== 0) throw new Fault(GP, 0);
};

export const SYSTEM_RDTSC = defineSystem((cpu, insn) => {
  mayRead(cpu, (cpu.state.words[CR4]! & CR4_TSD) === 0);
  return intercepted(cpu, insn, 'rdtsc') ?? setTsc(cpu);
});

export const SYSTEM_RDTSCP = defineSystem((cpu, insn) => {
  mayRead(cpu, (cpu.state.words[CR4]! & CR4_TSD) === 0);
  const exit = intercepted(cpu, insn, 'rdtscp');
  if (exit) return exit;
  cpu.gpr[RCX] = cpu.state.sys[L.SYS_TSC_AUX]!;
  return setTsc(cpu);
});

/** There are no performance counters: every index is refused. */
export const SYSTEM_RDPMC = defineSystem((cpu, insn) => {
  mayRead(cpu, (cpu.cr4 & BigInt(CR4_PCE)) !== 0n);
  const exit = intercepted(cpu, insn, 'rdpmc');
  if (exit) return exit;
  throw new Fault(GP, 0);
});
