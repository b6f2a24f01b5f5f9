/**
 * What each Exit means for a PV64 guest, which runs at CPL 3 with everything intercepted: system calls are hypercalls or
 * go to its own kernel, exceptions are fixed up, emulated or bounced (xen:arch/x86/traps.c, pv/traps.c).
 */
import { MADE_AGAIN } from '../../hypercalls/call.ts';
import { type Caller, callerOf } from '../../hypercalls/dispatch.ts';
import { copyFromGuest } from '../../hypercalls/guest_memory.ts';
import { FLAT_KERNEL_SS, FLAT_RING3_CS32, FLAT_RING3_CS64, flatSegment } from '../../hypercalls/pv_cpu/selectors.ts';
import { type PvVcpu, pvVcpu, TI_DPL_MASK } from '../../hypercalls/pv_cpu/state.ts';
import type { ExceptionExit, Exit, SoftwareInterruptExit } from '../cpu/exit.ts';
import type { Cpu } from '../cpu/interface.ts';
import type { Vcpu } from '../vcpu.ts';
import { enter, inject, injectDebug, injectPageFault, RFLAGS_RF, VECTOR_DB } from './bounce.ts';
import { handlePageFault } from './page_fault.ts';
import { emulateCpuid, emulatePrivileged, finishInstruction, setTaskSwitched } from './privileged.ts';
import { returnPlainly, returnToGuest } from './return.ts';
import { hex, type RunHost, type TrapHost } from './trap_host.ts';

const VECTOR_BP = 3;
const VECTOR_OF = 4;
const VECTOR_UD = 6;
const VECTOR_NM = 7;
const VECTOR_GP = 13;
const VECTOR_PF = 14;
const VECTOR_INT80 = 0x80;
/** The error code says: an IDT entry, by its vector. */
const XEC_IDT = 2;
const SYSCALL_LENGTH = 2n;
const INT_N_LENGTH = 2n;
const RFLAGS_DF = 0x400n;
/** UD2, then "xen". */
const FORCED_EMULATION = [0x0f, 0x0b, 0x78, 0x65, 0x6e];
const CPUID = [0x0f, 0xa2];

/** Deals with one exit of the vCPU that is on the core. */
export function handlePvExit(host: TrapHost, vcpu: Vcpu, exit: Exit): void {
  switch (exit.kind) {
    case 'budget':
    case 'stopped':
      return;
    case 'syscall':
      if (exit.opcode === 'syscall') {
        host.cpu.advance(exit.length);
        host.cpu.saveReturn();
        handleSyscall(host, callerOf(host, vcpu), exit.length);
      } else {
        raiseFault(host, vcpu, VECTOR_UD);
      }
      return;
    case 'exception':
      handleException(host, vcpu, exit);
      return;
    case 'softwareInterrupt':
      handleSoftwareInterrupt(host, vcpu, exit);
      return;
    case 'hypercall':
      raiseFault(host, vcpu, VECTOR_UD);
      return;
    case 'instruction':
    case 'halt':
    case 'shutdown':
    case 'interruptWindow':
    case 'unsupported':
      throw new Error(`bug: a PV vCPU left the CPU by '${exit.kind}'`);
  }
}

/** A fault that ring -1 finds itself: RF is set in its frame as the CPU does. */
function raiseFault(host: TrapHost, vcpu: Vcpu, vector: number, errorCode?: number): void {
  host.cpu.rflags |= RFLAGS_RF;
  inject(host, vcpu, vector, errorCode);
}

/**
 * What performs a SYSCALL within a run of the core, without a way through the loop (CpuHost.syscall): the guest goes on at once
 * unless the call gave the loop something to do. To V8 the host of this one function is a constant. On this way booleans are
 * compared: V8 knows no type of a field, and takes 13 instructions to find that what is in it is true.
 */
export function syscallPerformer(host: RunHost): (length: number) => void {
  return (length) => {
    if (host.caller.vcpu !== host.current) host.caller = callerOf(host, host.current);
    handleSyscall(host, host.caller, length);
    const { caller } = host;
    // What stops a vCPU ends the turn, too.
    if (--host.exitsLeft <= 0 || host.isTurnValid !== true || !returnPlainly(host, caller.vcpu, caller.pv!)) finishSyscall(host, caller);
  };
}

function finishSyscall(host: RunHost, { vcpu, pv }: Caller): void {
  if (host.isTurnValid) returnToGuest(host, vcpu, pv);
  if (host.exitsLeft <= 0) host.cpu.requestStop();
  else if (!host.isTurnValid) host.turnWithinRun();
}

/** RIP is behind the SYSCALL, RCX and R11 say how to return. */
function handleSyscall(host: TrapHost, caller: Caller, length: number): void {
  const { cpu } = host;
  const pv = caller.pv!;
  pv.returnsBySysret = true;
  pv.hasReturnSaved = true;
  // From 32-bit code it is no hypercall in either mode.
  if (pv.inKernelMode !== true || cpu.codeSize !== 64) return bounceSyscall(host, caller.vcpu, pv);
  if (cpu.cs !== FLAT_RING3_CS64 || cpu.ss !== FLAT_KERNEL_SS) setFlatSegments(cpu, true);
  if (caller.call() === MADE_AGAIN) makeAgain(cpu, pv, length);
}

function setFlatSegments(cpu: Cpu, is64: boolean): void {
  const cs = is64 ? FLAT_RING3_CS64 : FLAT_RING3_CS32;
  if (cpu.cs !== cs) cpu.setSegment('cs', flatSegment(cs));
  if (cpu.ss !== FLAT_KERNEL_SS) cpu.setSegment('ss', flatSegment(FLAT_KERNEL_SS));
}

function makeAgain(cpu: Cpu, pv: PvVcpu, length: number): void {
  cpu.rip -= BigInt(length);
  pv.hasReturnSaved = false;
}

function bounceSyscall(host: TrapHost, vcpu: Vcpu, pv: PvVcpu): void {
  const { cpu } = host;
  const is32 = cpu.codeSize !== 64;
  setFlatSegments(cpu, !is32);
  host.observer?.userSyscall(host, vcpu);
  const { address } = is32 ? pv.syscall32 : pv.syscall;
  if (address === 0n) {
    cpu.rip -= SYSCALL_LENGTH;
    inject(host, vcpu, VECTOR_UD);
    return;
  }
  enter(host, vcpu, 'syscall', { address, masksEvents: pv.syscall.masksEvents });
  cpu.rflags &= ~RFLAGS_DF;
}

function handleException(host: TrapHost, vcpu: Vcpu, exit: ExceptionExit): void {
  const { cpu } = host;
  const { vector, errorCode } = exit;
  if (vector !== VECTOR_DB) cpu.rflags |= RFLAGS_RF;
  switch (vector) {
    case VECTOR_DB:
      injectDebug(host, vcpu, exit.dr6!);
      return;
    case VECTOR_UD:
      if (!emulateForced(host, vcpu)) inject(host, vcpu, vector);
      return;
    case VECTOR_NM:
      inject(host, vcpu, vector);
      setTaskSwitched(host, pvVcpu.of(vcpu), false);
      return;
    case VECTOR_GP:
      if (errorCode !== 0 || !emulatePrivileged(host, vcpu)) inject(host, vcpu, vector, errorCode);
      return;
    case VECTOR_PF: {
      const next = handlePageFault(host, vcpu, errorCode!, exit.cr2!);
      if (next !== undefined) handlePvExit(host, vcpu, next);
      return;
    }
    default:
      inject(host, vcpu, vector, errorCode);
  }
}

function handleSoftwareInterrupt(host: TrapHost, vcpu: Vcpu, { vector, opcode, length }: SoftwareInterruptExit): void {
  const { cpu } = host;
  const pv = pvVcpu.of(vcpu);
  const entry = pv.trapTable[vector]!;
  // INT3, INTO and their two-byte forms, INT1 and a set INT 0x80 pass whatever DPL the guest gave them.
  if (opcode !== 'int' || vector === VECTOR_BP || vector === VECTOR_OF || (vector === VECTOR_INT80 && entry.address !== 0n)) {
    cpu.rip += BigInt(length);
    inject(host, vcpu, vector);
    return;
  }
  const dpl = entry.flags & TI_DPL_MASK;
  // INT 0x80 has an entry of its own, which takes two bytes back from where RIP stands.
  if (vector === VECTOR_INT80) cpu.rip += BigInt(length) - INT_N_LENGTH;
  else cpu.rflags |= RFLAGS_RF;
  if (dpl >= (pv.inKernelMode ? 1 : 3)) {
    cpu.rip += INT_N_LENGTH;
    inject(host, vcpu, vector);
  } else {
    inject(host, vcpu, VECTOR_GP, vector * 8 + XEC_IDT);
  }
}

/** UD2 "xen" CPUID: the one instruction that a guest can have emulated at will. */
function emulateForced(host: TrapHost, vcpu: Vcpu): boolean {
  const { cpu } = host;
  const bytes = new Uint8Array(FORCED_EMULATION.length + CPUID.length);
  if (!copyFromGuest(host, cpu.rip, bytes, 0, FORCED_EMULATION.length)) return false;
  if (FORCED_EMULATION.some((byte, i) => bytes[i] !== byte)) return false;
  const at = cpu.rip + BigInt(FORCED_EMULATION.length);
  if (!copyFromGuest(host, at, bytes, FORCED_EMULATION.length, CPUID.length)) {
    injectPageFault(host, vcpu, 0, at);
    return true;
  }
  if (CPUID.some((byte, i) => bytes[FORCED_EMULATION.length + i] !== byte)) return false;
  host.traceTrap?.(vcpu, `emulated cpuid ${hex(cpu.gpr[0]!)} at ${hex(cpu.rip)}`);
  emulateCpuid(host);
  finishInstruction(host, vcpu, bytes.length);
  return true;
}
