/**
 * Privileged instructions of a PV64 guest, performed after the #GP that they raise at CPL 3 (xen:arch/x86/pv/emul-priv-op.c).
 * Exactly those that Xen performs: HLT, INVLPG, LMSW, SWAPGS and the rest stay #GP for the guest.
 */
import { copyFromGuest, copyToGuest } from '../../hypercalls/guest_memory.ts';
import { isCanonical } from '../../hypercalls/pv_cpu/canonical.ts';
import { readDebugRegister, writeDebugRegister } from '../../hypercalls/pv_cpu/debug_registers.ts';
import { hasArchitecturalIopl, loadActiveTable } from '../../hypercalls/pv_cpu/mode.ts';
import { SEGMENT_L } from '../../hypercalls/pv_cpu/selectors.ts';
import { CR0_TS, PV_CR0, type PvVcpu, pvVcpu } from '../../hypercalls/pv_cpu/state.ts';
import { setArchCr2 } from '../../hypercalls/pv_cpu/vcpu_info.ts';
import { type DecodedInstruction, RAX, RBX, RCX, RDI, RDX, RSI } from '../cpu/interface.ts';
import { pvCr3, setKernelTable } from '../memory/pv_cr3.ts';
import type { Vcpu } from '../vcpu.ts';
import { inject, injectPageFault, PFEC_WRITE, RFLAGS_RF, RFLAGS_TF } from './bounce.ts';
import { readMsr, writeMsr } from './msr.ts';
import { ioBreakpoints, mayUsePort, type PortSize, readPort, writePort } from './ports.ts';
import { hex, type TrapHost } from './trap_host.ts';

const VECTOR_DB = 1;
const VECTOR_UD = 6;
const VECTOR_SS = 12;
const VECTOR_GP = 13;
const DR6_BS = 0x4000;
const RFLAGS_DF = 0x400n;
const MSR_TSC_AUX = 0xc000_0103;

export const CR4_TSD = 4n;
export const CR4_DE = 8n;
/** What the guest may set of CR4, given that it has neither FSGSBASE nor XSAVE. */
const CR4_GUEST_MASK = CR4_TSD | CR4_DE;
/** PAE, MCE, OSFXSR, OSXMMEXCPT: Xen's own, shown to the guest. */
export const CR4_VISIBLE = 0x660n;

/** Elements that one INS or OUTS with REP moves before pending events get their turn. */
const REP_SLICE = 4096;
const MASK64 = 0xffff_ffff_ffff_ffffn;

/** done: performed; refused: the guest gets its #GP; faulted: another exception was injected instead. */
type Outcome = 'done' | 'refused' | 'faulted' | 'repeat';

const code = new Uint8Array(15);

/** The instruction at RIP, if it can be read and is one. */
export function fetchInstruction(host: TrapHost): DecodedInstruction | undefined {
  const { cpu } = host;
  const cs = cpu.getSegment('cs');
  const rip = cs.attributes & SEGMENT_L ? cpu.rip : BigInt.asUintN(32, cs.base + cpu.rip);
  const inPage = Math.min(15, 4096 - Number(rip & 0xfffn));
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
  const emulation = new Emulation(host, vcpu, insn);
  const outcome = emulation.run();
  if (outcome === 'refused') return false;
  host.traceTrap?.(vcpu, `emulated ${insn.mnemonic} at ${hex(at)}${outcome === 'faulted' ? ': fault' : ''}`);
  if (outcome === 'done') finishInstruction(host, vcpu, insn.length, emulation.breakpoints);
  return true;
}

/** RIP moves on, and a single step or an I/O breakpoint traps, as after the real instruction. */
export function finishInstruction(host: TrapHost, vcpu: Vcpu, size: number, breakpoints = 0): void {
  const { cpu } = host;
  cpu.advance(size);
  cpu.rflags &= ~RFLAGS_RF;
  const hit = breakpoints | (cpu.rflags & RFLAGS_TF ? DR6_BS : 0);
  if (hit === 0) return;
  const pv = pvVcpu.of(vcpu);
  pv.dr6 = (pv.dr6 | hit) >>> 0;
  inject(host, vcpu, VECTOR_DB);
}

class Emulation {
  /** I/O breakpoints that were hit, as DR6 bits. */
  breakpoints = 0;
  readonly #host: TrapHost;
  readonly #vcpu: Vcpu;
  readonly #insn: DecodedInstruction;
  readonly #pv: PvVcpu;
  readonly #gpr: BigUint64Array;

  constructor(host: TrapHost, vcpu: Vcpu, insn: DecodedInstruction) {
    this.#host = host;
    this.#vcpu = vcpu;
    this.#insn = insn;
    this.#pv = pvVcpu.of(vcpu);
    this.#gpr = host.cpu.gpr;
  }

  run(): Outcome {
    const insn = this.#insn;
    switch (insn.mnemonic) {
      case 'in':
      case 'out':
        return this.#inOut();
      case 'ins':
      case 'outs':
        return this.#inOutString();
      case 'cli':
      case 'sti':
        // The virtual interrupt flag stays as it is: the guest's POPF could not be seen undoing it.
        return this.#isIoplEnough() ? 'done' : 'refused';
      case 'rdtsc':
      case 'rdtscp':
        return this.#rdtsc();
      case 'cpuid':
        emulateCpuid(this.#host);
        return 'done';
      case 'wbinvd':
      case 'invd':
        return 'done';
    }
    if (!this.#pv.inKernelMode) return 'refused';
    switch (insn.mnemonic) {
      case 'clts':
        return this.#setTaskSwitched(false);
      case 'mov_cr':
        return isWrite(insn) ? this.#writeCr(insn.reg, this.#gpr[insn.rm]!) : this.#read(this.#readCr(insn.reg));
      case 'mov_dr':
        return isWrite(insn)
          ? this.#writeDr(insn.reg, this.#gpr[insn.rm]!)
          : this.#read(readDebugRegister(this.#host, this.#vcpu, insn.reg));
      case 'rdmsr':
        return this.#rdmsr();
      case 'wrmsr':
        return this.#wrmsr();
      case 'xsetbv':
        return this.#fault(VECTOR_UD);
      default:
        return 'refused';
    }
  }

  #fault(vector: number, errorCode?: number): Outcome {
    inject(this.#host, this.#vcpu, vector, errorCode);
    return 'faulted';
  }

  #isIoplEnough(): boolean {
    const cpl = !this.#pv.inKernelMode ? 3 : hasArchitecturalIopl(this.#vcpu) ? 0 : 1;
    return cpl << 12 <= this.#pv.iopl;
  }

  #mayUse(port: number, size: PortSize): boolean {
    if (!mayUsePort(this.#host, this.#vcpu, this.#isIoplEnough(), port, size)) return false;
    this.breakpoints |= ioBreakpoints(this.#host, this.#vcpu, port, size);
    return true;
  }

  #inOut(): Outcome {
    const { opcode, size: operandSize, imm, mnemonic } = this.#insn;
    const gpr = this.#gpr;
    const isInDx = (Number.parseInt(opcode, 16) & 8) !== 0;
    const port = Number((isInDx ? gpr[RDX]! & 0xffffn : imm) & 0xffffn);
    const size = Math.min(operandSize, 4) as PortSize;
    if (!this.#mayUse(port, size)) return 'refused';
    const { domain } = this.#vcpu;
    if (mnemonic === 'out') {
      writePort(domain, port, size, Number(gpr[RAX]! & 0xffff_ffffn));
      return 'done';
    }
    const mask = (1n << BigInt(size * 8)) - 1n;
    const value = BigInt(readPort(domain, port, size));
    gpr[RAX] = size === 4 ? value : (gpr[RAX]! & ~mask) | value;
    return 'done';
  }

  #inOutString(): Outcome {
    const { size: operandSize, addressSize, rep, segment, mnemonic } = this.#insn;
    const gpr = this.#gpr;
    const isInput = mnemonic === 'ins';
    const size = Math.min(operandSize, 4) as PortSize;
    const port = Number(gpr[RDX]! & 0xffffn);
    const addressMask = (1n << BigInt(addressSize * 8)) - 1n;
    const count = rep === 'none' ? 1n : gpr[RCX]! & addressMask;
    if (count === 0n) return 'done';
    if (!this.#mayUse(port, size)) return 'refused';
    const pointer = isInput ? RDI : RSI;
    const base = this.#segmentBase(isInput ? 'es' : segment);
    const step = this.#host.cpu.rflags & RFLAGS_DF ? -BigInt(size) : BigInt(size);
    const { domain } = this.#vcpu;
    const bytes = new Uint8Array(4);
    const view = new DataView(bytes.buffer);
    for (let done = 1n; ; done++) {
      const vaddr = BigInt.asUintN(64, base + (gpr[pointer]! & addressMask));
      if (!isCanonical(vaddr)) return this.#fault(!isInput && segment === 'ss' ? VECTOR_SS : VECTOR_GP, 0);
      if (isInput) view.setUint32(0, readPort(domain, port, size), true);
      const bad = isInput ? copyToGuest(this.#host, vaddr, bytes, 0, size) : copyFromGuest(this.#host, vaddr, bytes, 0, size);
      if (!bad) {
        this.#host.cpu.rflags &= ~RFLAGS_RF;
        injectPageFault(this.#host, this.#vcpu, isInput ? PFEC_WRITE : 0, vaddr);
        return 'faulted';
      }
      if (!isInput) writePort(domain, port, size, view.getUint32(0, true));
      gpr[pointer] =
        (addressSize === 8 ? 0n : gpr[pointer]! & ~(addressSize === 4 ? MASK64 : addressMask)) | ((gpr[pointer]! + step) & addressMask);
      if (rep !== 'none') gpr[RCX] = (addressSize === 2 ? gpr[RCX]! & ~addressMask : 0n) | ((gpr[RCX]! - 1n) & addressMask);
      if (done === count) return 'done';
      if (done === BigInt(REP_SLICE) || this.breakpoints !== 0) return 'repeat';
    }
  }

  #segmentBase(name: DecodedInstruction['segment']): bigint {
    const is64 = (this.#host.cpu.getSegment('cs').attributes & SEGMENT_L) !== 0;
    return is64 && name !== 'fs' && name !== 'gs' ? 0n : this.#host.cpu.getSegment(name).base;
  }

  #rdtsc(): Outcome {
    if (this.#pv.cr4 & CR4_TSD && !this.#pv.inKernelMode) return 'refused';
    const { clock, cpu } = this.#host;
    this.#setEdxEax(clock.tscAt(clock.now()));
    if (this.#insn.mnemonic === 'rdtscp') this.#gpr[RCX] = cpu.readMsr(MSR_TSC_AUX)! & 0xffff_ffffn;
    return 'done';
  }

  #setEdxEax(value: bigint): void {
    this.#gpr[RAX] = value & 0xffff_ffffn;
    this.#gpr[RDX] = value >> 32n;
  }

  #rdmsr(): Outcome {
    const value = readMsr(this.#host, Number(this.#gpr[RCX]! & 0xffff_ffffn));
    if (value === undefined) return 'refused';
    this.#setEdxEax(value);
    return 'done';
  }

  #wrmsr(): Outcome {
    const gpr = this.#gpr;
    const value = ((gpr[RDX]! & 0xffff_ffffn) << 32n) | (gpr[RAX]! & 0xffff_ffffn);
    return writeMsr(this.#host, Number(gpr[RCX]! & 0xffff_ffffn), value) ? 'done' : 'refused';
  }

  #read(value: bigint | undefined): Outcome {
    if (value === undefined) return 'refused';
    this.#gpr[this.#insn.rm] = value;
    return 'done';
  }

  #readCr(index: number): bigint | undefined {
    const pv = this.#pv;
    switch (index) {
      case 0:
        return pv.hasTaskSwitched ? PV_CR0 | CR0_TS : PV_CR0;
      case 2:
        return pv.cr2;
      case 3:
        return BigInt(pvCr3.of(this.#vcpu).kernelMfn) << 12n;
      case 4:
        return pv.cr4 | CR4_VISIBLE;
      default:
        return undefined;
    }
  }

  #writeCr(index: number, value: bigint): Outcome {
    const host = this.#host;
    const pv = this.#pv;
    switch (index) {
      case 0:
        return (value ^ PV_CR0) & ~CR0_TS ? 'refused' : this.#setTaskSwitched((value & CR0_TS) !== 0n);
      case 2:
        pv.cr2 = value;
        setArchCr2(host, this.#vcpu, value);
        return 'done';
      case 3: {
        const mfn = Number((value >> 12n) & 0xff_ffff_ffffn);
        if (setKernelTable(host.memory, this.#vcpu, mfn) !== undefined) return 'refused';
        loadActiveTable(host, this.#vcpu);
        return 'done';
      }
      case 4:
        pv.cr4 = value & CR4_GUEST_MASK;
        host.cpu.cr4 = (host.cpu.cr4 & ~CR4_GUEST_MASK) | pv.cr4;
        return 'done';
      default:
        return 'refused';
    }
  }

  #setTaskSwitched(isSet: boolean): Outcome {
    setTaskSwitched(this.#host, this.#pv, isSet);
    return 'done';
  }

  #writeDr(index: number, value: bigint): Outcome {
    return writeDebugRegister(this.#host, this.#vcpu, index, value) === undefined ? 'done' : 'refused';
  }
}

/** MOV to a control or debug register: bit 1 of the opcode (0F 22, 0F 23). */
function isWrite({ opcode }: DecodedInstruction): boolean {
  return /^0F 2[23]/.test(opcode);
}

export function setTaskSwitched(host: TrapHost, pv: PvVcpu, isSet: boolean): void {
  pv.hasTaskSwitched = isSet;
  host.cpu.cr0 = isSet ? host.cpu.cr0 | CR0_TS : host.cpu.cr0 & ~CR0_TS;
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
