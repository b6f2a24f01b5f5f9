/**
 * Privileged instructions of a PV64 guest, performed after the #GP that they raise at CPL 3 (xen:arch/x86/pv/emul-priv-op.c).
 * Exactly those that Xen performs: HLT, INVLPG, LMSW, SWAPGS and the rest stay #GP for the guest.
 */
import { copyFromGuest } from '../../hypercalls/guest_memory.ts';
import { readDebugRegister, writeDebugRegister } from '../../hypercalls/pv_cpu/debug_registers.ts';
import { loadActiveTable } from '../../hypercalls/pv_cpu/mode.ts';
import { SEGMENT_L } from '../../hypercalls/pv_cpu/selectors.ts';
import { CR0_TS, PV_CR0, type PvVcpu, pvVcpu } from '../../hypercalls/pv_cpu/state.ts';
import { setArchCr2 } from '../../hypercalls/pv_cpu/vcpu_info.ts';
import { type DecodedInstruction, RAX, RBX, RCX, RDX } from '../cpu/interface.ts';
import { guestNs } from '../guest_time.ts';
import { PAGE_SIZE } from '../memory/machine_memory.ts';
import { pvCr3, setKernelTable } from '../memory/pv_cr3.ts';
import type { Vcpu } from '../vcpu.ts';
import { DR6_BS, injectDebug, RFLAGS_RF, RFLAGS_TF } from './bounce.ts';
import { type Emulation, faultWith, isIoplEnough, type Outcome } from './emulation.ts';
import { readMsr, writeMsr } from './msr.ts';
import { emulateInOut, emulateInOutString } from './port_instructions.ts';
import { hex, type TrapHost } from './trap_host.ts';

const VECTOR_UD = 6;
const MSR_TSC_AUX = 0xc000_0103;
const CR4_TSD = 4n;
const CR4_DE = 8n;
/** What the guest may set of CR4, given that it has neither FSGSBASE nor XSAVE. */
const CR4_GUEST_MASK = CR4_TSD | CR4_DE;
/** PAE, MCE, OSFXSR, OSXMMEXCPT: Xen's own, shown to the guest. */
const CR4_VISIBLE = 0x660n;

const code = new Uint8Array(15);

/** The instruction at RIP, if it can be read and is one. */
export function fetchInstruction(host: TrapHost): DecodedInstruction | undefined {
  const { cpu } = host;
  const cs = cpu.getSegment('cs');
  const rip = cs.attributes & SEGMENT_L ? cpu.rip : BigInt.asUintN(32, cs.base + cpu.rip);
  const inPage = Math.min(15, PAGE_SIZE - Number(rip & 0xfffn));
  let size = copyFromGuest(host, rip, code, 0, inPage) ? inPage : 0;
  if (size > 0 && size < 15 && copyFromGuest(host, rip + BigInt(size), code, size, 15 - size)) size = 15;
  return size === 0 ? undefined : cpu.decode(code.subarray(0, size));
}

/** True: the #GP was one of these instructions, and is dealt with. */
export function emulatePrivileged(host: TrapHost, vcpu: Vcpu): boolean {
  const { cpu } = host;
  const insn = fetchInstruction(host);
  if (insn === undefined) return false;
  const at = cpu.rip;
  const emulation: Emulation = { host, vcpu, pv: pvVcpu.of(vcpu), gpr: cpu.gpr, insn, breakpoints: 0 };
  const outcome = emulate(emulation);
  if (outcome === 'refused') return false;
  host.traceTrap?.(vcpu, `emulated ${insn.mnemonic} at ${hex(at)}${outcome === 'faulted' ? ': fault' : ''}`);
  if (outcome === 'done') finishInstruction(host, vcpu, insn.length, emulation.breakpoints);
  else if (outcome === 'unstepped') passInstruction(host, vcpu, insn.length, emulation.breakpoints);
  return true;
}

/** RIP moves on, and a single step or an I/O breakpoint traps, as after the real instruction. */
export function finishInstruction(host: TrapHost, vcpu: Vcpu, size: number, breakpoints = 0): void {
  passInstruction(host, vcpu, size, breakpoints | (host.cpu.rflags & RFLAGS_TF ? DR6_BS : 0));
}

function passInstruction(host: TrapHost, vcpu: Vcpu, size: number, hit: number): void {
  const { cpu } = host;
  cpu.advance(size);
  cpu.rflags &= ~RFLAGS_RF;
  if (hit !== 0) injectDebug(host, vcpu, hit);
}

function emulate(emulation: Emulation): Outcome {
  const { host, vcpu, pv, gpr, insn } = emulation;
  switch (insn.mnemonic) {
    case 'in':
    case 'out':
      return emulateInOut(emulation);
    case 'ins':
    case 'outs':
      return emulateInOutString(emulation);
    case 'cli':
    case 'sti':
      // The virtual interrupt flag stays as it is: the guest's POPF could not be seen undoing it.
      return isIoplEnough(emulation) ? 'unstepped' : 'refused';
    case 'rdtsc':
    case 'rdtscp':
      return pv.cr4 & CR4_TSD && !pv.inKernelMode ? 'refused' : emulateRdtsc(emulation);
    case 'cpuid':
      emulateCpuid(host);
      return 'done';
    case 'wbinvd':
    case 'invd':
      return 'done';
  }
  if (!pv.inKernelMode) return 'refused';
  switch (insn.mnemonic) {
    case 'clts':
      setTaskSwitched(host, pv, false);
      return 'done';
    case 'mov_cr':
      return isWrite(insn) ? writeCr(emulation, insn.reg, gpr[insn.rm]!) : setOperand(emulation, readCr(emulation, insn.reg));
    case 'mov_dr':
      return isWrite(insn)
        ? doneUnless(writeDebugRegister(host, vcpu, insn.reg, gpr[insn.rm]!))
        : setOperand(emulation, readDebugRegister(host, vcpu, insn.reg));
    case 'rdmsr':
      return emulateRdmsr(emulation);
    case 'wrmsr':
      return emulateWrmsr(emulation);
    case 'xsetbv':
      return faultWith(emulation, VECTOR_UD);
    default:
      return 'refused';
  }
}

/** MOV to a control or debug register: bit 1 of the opcode (0F 22, 0F 23). */
const isWrite = ({ opcode }: DecodedInstruction): boolean => /^0F 2[23]/.test(opcode);

const doneUnless = (refusal: string | undefined): Outcome => (refusal === undefined ? 'done' : 'refused');

function setOperand({ gpr, insn }: Emulation, value: bigint | undefined): Outcome {
  if (value === undefined) return 'refused';
  gpr[insn.rm] = value;
  return 'done';
}

function setEdxEax(gpr: BigUint64Array, value: bigint): void {
  gpr[RAX] = value & 0xffff_ffffn;
  gpr[RDX] = value >> 32n;
}

function emulateRdtsc({ host, gpr, insn }: Emulation): Outcome {
  const { clock, cpu, current } = host;
  setEdxEax(gpr, BigInt(clock.tscAt(guestNs(host, current.domain))));
  if (insn.mnemonic === 'rdtscp') gpr[RCX] = cpu.readMsr(MSR_TSC_AUX)! & 0xffff_ffffn;
  return 'done';
}

function emulateRdmsr({ host, gpr }: Emulation): Outcome {
  const value = readMsr(host, Number(gpr[RCX]! & 0xffff_ffffn));
  if (value === undefined) return 'refused';
  setEdxEax(gpr, value);
  return 'done';
}

function emulateWrmsr({ host, gpr }: Emulation): Outcome {
  const value = ((gpr[RDX]! & 0xffff_ffffn) << 32n) | (gpr[RAX]! & 0xffff_ffffn);
  return writeMsr(host, Number(gpr[RCX]! & 0xffff_ffffn), value) ? 'done' : 'refused';
}

function readCr({ pv, vcpu }: Emulation, index: number): bigint | undefined {
  switch (index) {
    case 0:
      return pv.hasTaskSwitched ? PV_CR0 | CR0_TS : PV_CR0;
    case 2:
      return pv.cr2;
    case 3:
      return BigInt(pvCr3.of(vcpu).kernelMfn) << 12n;
    case 4:
      return pv.cr4 | CR4_VISIBLE;
    default:
      return undefined;
  }
}

function writeCr({ host, vcpu, pv }: Emulation, index: number, value: bigint): Outcome {
  const { cpu, memory } = host;
  switch (index) {
    case 0:
      if ((value ^ PV_CR0) & ~CR0_TS) return 'refused';
      setTaskSwitched(host, pv, (value & CR0_TS) !== 0n);
      return 'done';
    case 2:
      pv.cr2 = value;
      setArchCr2(host, vcpu, value);
      return 'done';
    case 3:
      if (setKernelTable(memory, vcpu, Number((value >> 12n) & 0xff_ffff_ffffn)) !== undefined) return 'refused';
      loadActiveTable(host, vcpu);
      return 'done';
    case 4:
      pv.cr4 = value & CR4_GUEST_MASK;
      cpu.cr4 = (cpu.cr4 & ~CR4_GUEST_MASK) | pv.cr4;
      return 'done';
    default:
      return 'refused';
  }
}

export function setTaskSwitched({ cpu }: TrapHost, pv: PvVcpu, isSet: boolean): void {
  pv.hasTaskSwitched = isSet;
  cpu.cr0 = isSet ? cpu.cr0 | CR0_TS : cpu.cr0 & ~CR0_TS;
}

/** CPUID's results for EAX and ECX into the registers. */
export function emulateCpuid({ cpu, cpuid }: TrapHost): void {
  const { gpr } = cpu;
  const leaf = cpuid(Number(gpr[RAX]! & 0xffff_ffffn), Number(gpr[RCX]! & 0xffff_ffffn));
  gpr[RAX] = BigInt(leaf.eax >>> 0);
  gpr[RBX] = BigInt(leaf.ebx >>> 0);
  gpr[RCX] = BigInt(leaf.ecx >>> 0);
  gpr[RDX] = BigInt(leaf.edx >>> 0);
}
