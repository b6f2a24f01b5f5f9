/**
 * SYSCALL and SYSRET (APM2 6.1, SDM 2B), SYSENTER and SYSEXIT, which an AMD processor does not have in long mode, SWAPGS, and the FS and GS bases of CR4.FSGSBASE.
 */

import { CR4_FSGSBASE, EFER_SCE } from '../control_registers.ts';
import type { CpuCore } from '../cpu.ts';
import type { Insn } from '../decoder.ts';
import { Fault, GP, UD } from '../fault.ts';
import { IF, RF } from '../flags.ts';
import { R11, RCX, RDX, RSP } from '../interface.ts';
import * as L from '../layout.ts';
import { CS_INDEX, FS_INDEX, GS_INDEX, SS_INDEX } from '../state.ts';
import { defineSystem, type SystemFunction, type SystemResult } from './index.ts';
import { getRegister, isCanonical, setRegister } from './operand.ts';
import { isLongMode, isRealMode, segmentBase } from './segments.ts';

const CODE64 = 0xa09b,
  CODE32 = 0xc09b,
  DATA = 0xc093;

/** Both instructions load fixed flat segments; no descriptor is read. */
function loadFlat(cpu: CpuCore, cs: number, ss: number, code: number, cpl: number): void {
  const flat = { base: 0n, limit: 0xffff_ffff };
  cpu.state.setSegment(CS_INDEX, { ...flat, selector: cs | cpl, attributes: code | (cpl << 5) });
  cpu.state.setSegment(SS_INDEX, { ...flat, selector: ss | cpl, attributes: DATA | (cpl << 5) });
}

function requireSce(cpu: CpuCore): void {
  if (!(cpu.state.view.getInt32(L.SYSTEM + 8 * L.SYS_EFER, true) & EFER_SCE)) throw new Fault(UD);
}

export const SYSTEM_SYSCALL = defineSystem((cpu, insn) => {
  requireSce(cpu);
  if (cpu.intercepts.syscall) return { kind: 'syscall', opcode: 'syscall', length: insn.length };
  const { state } = cpu;
  if (!isLongMode(cpu)) return legacySyscall(cpu, insn);
  const is64 = insn.shape.mode === 64;
  cpu.gpr[RCX] = BigInt.asUintN(is64 ? 64 : 32, cpu.rip + BigInt(insn.length));
  cpu.gpr[R11] = BigInt((state.flags & ~RF) >>> 0);
  const selector = Number((state.sys[L.SYS_STAR]! >> 32n) & 0xfffcn);
  loadFlat(cpu, selector, selector + 8, CODE64, 0);
  cpu.rip = state.sys[is64 ? L.SYS_LSTAR : L.SYS_CSTAR]!;
  state.flags &= ~Number(BigInt.asIntN(32, state.sys[L.SYS_SFMASK]!));
  cpu.modeChanged();
  return 'switched';
});

/** Outside long mode the target is in STAR, RFLAGS is not saved, and only IF and RF (and VM) are cleared. */
function legacySyscall(cpu: CpuCore, insn: Insn): SystemResult {
  const { state } = cpu;
  const star = state.sys[L.SYS_STAR]!;
  const selector = Number((star >> 32n) & 0xfffcn);
  cpu.gpr[RCX] = BigInt.asUintN(32, cpu.rip + BigInt(insn.length));
  loadFlat(cpu, selector, selector + 8, CODE32, 0);
  cpu.rip = star & 0xffff_ffffn;
  state.systemFlags &= ~(IF | RF);
  cpu.modeChanged();
  return 'switched';
}

export const SYSTEM_SYSRET = defineSystem((cpu, insn) => {
  requireSce(cpu);
  if (cpu.cpl !== 0 || isRealMode(cpu)) throw new Fault(GP, 0);
  const { state } = cpu;
  const selector = Number((state.sys[L.SYS_STAR]! >> 48n) & 0xfffcn);
  const to64 = insn.shape.size === 8;
  loadFlat(cpu, to64 ? selector + 16 : selector, selector + 8, to64 ? CODE64 : CODE32, 3);
  cpu.rip = to64 ? cpu.gpr[RCX]! : cpu.gpr[RCX]! & 0xffff_ffffn;
  // From 64-bit code RFLAGS comes from R11 (RF and VM clear), else only IF is set.
  state.flags = insn.shape.mode === 64 ? Number(cpu.gpr[R11]! & 0x3c7fd7n) : state.flags | 0x200;
  cpu.modeChanged();
  return 'switched';
});

/** SYSENTER_CS, from which all four selectors follow; #GP(0) when it is null or in real mode. */
function sysenterSelector(cpu: CpuCore): number {
  const selector = Number(cpu.state.sys[L.SYS_SYSENTER_CS]! & 0xfffcn);
  if (selector === 0 || isRealMode(cpu)) throw new Fault(GP, 0);
  return selector;
}

/** The host may still give it a meaning in long mode, where it is invalid by itself. */
export const SYSTEM_SYSENTER = defineSystem((cpu, insn) => {
  if (cpu.intercepts.syscall) return { kind: 'syscall', opcode: 'sysenter', length: insn.length };
  if (isLongMode(cpu)) throw new Fault(UD);
  const { state } = cpu;
  const selector = sysenterSelector(cpu);
  loadFlat(cpu, selector, selector + 8, CODE32, 0);
  cpu.gpr[RSP] = state.sys[L.SYS_SYSENTER_ESP]! & 0xffff_ffffn;
  cpu.rip = state.sys[L.SYS_SYSENTER_EIP]! & 0xffff_ffffn;
  state.systemFlags &= ~(IF | RF);
  cpu.modeChanged();
  return 'switched';
});

export const SYSTEM_SYSEXIT = defineSystem((cpu) => {
  if (isLongMode(cpu)) throw new Fault(UD);
  const selector = sysenterSelector(cpu);
  if (cpu.cpl !== 0) throw new Fault(GP, 0);
  loadFlat(cpu, selector + 16, selector + 24, CODE32, 3);
  cpu.gpr[RSP] = cpu.gpr[RCX]! & 0xffff_ffffn;
  cpu.rip = cpu.gpr[RDX]! & 0xffff_ffffn;
  cpu.modeChanged();
  return 'switched';
});

export const SYSTEM_SWAPGS = defineSystem((cpu) => {
  const { state } = cpu;
  const base = segmentBase(cpu, GS_INDEX);
  state.view.setBigUint64(L.SEG_BASE + 8 * GS_INDEX, state.sys[L.SYS_KERNEL_GS_BASE]!, true);
  state.sys[L.SYS_KERNEL_GS_BASE] = base;
  return undefined;
});

function requireFsGsBase(cpu: CpuCore): void {
  if (!(cpu.cr4 & BigInt(CR4_FSGSBASE))) throw new Fault(UD);
}

const readBase =
  (segment: number): SystemFunction =>
  (cpu, insn) => {
    requireFsGsBase(cpu);
    setRegister(cpu, insn.rmNumber, insn.shape.size, segmentBase(cpu, segment));
    return undefined;
  };

const writeBase =
  (segment: number): SystemFunction =>
  (cpu, insn) => {
    requireFsGsBase(cpu);
    const base = getRegister(cpu, insn.rmNumber, insn.shape.size);
    if (!isCanonical(base)) throw new Fault(GP, 0);
    cpu.state.view.setBigUint64(L.SEG_BASE + 8 * segment, base, true);
    return undefined;
  };

export const SYSTEM_RDFSBASE = defineSystem(readBase(FS_INDEX));
export const SYSTEM_RDGSBASE = defineSystem(readBase(GS_INDEX));
export const SYSTEM_WRFSBASE = defineSystem(writeBase(FS_INDEX));
export const SYSTEM_WRGSBASE = defineSystem(writeBase(GS_INDEX));
