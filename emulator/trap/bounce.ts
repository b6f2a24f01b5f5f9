/**
 * Bounce frames: how ring -1 enters a PV64 guest's kernel for an exception, an event, a system call (xen:arch/x86/
 * x86_64/entry.S create_bounce_frame). The frame is the CPU's own exception frame with RCX and R11 below it, because the
 * way in ends with SYSRET; the old upcall mask rides in the CS slot. A frame that cannot be made ends the domain.
 */
import { copyToGuest } from '../../hypercalls/guest_memory.ts';
import { hasArchitecturalIopl, toggleGuestMode } from '../../hypercalls/pv_cpu/mode.ts';
import { FLAT_KERNEL_CS, FLAT_KERNEL_SS, flatSegment } from '../../hypercalls/pv_cpu/selectors.ts';
import { type PvVcpu, pvVcpu, TI_IF } from '../../hypercalls/pv_cpu/state.ts';
import { setArchCr2, setUpcallMask, upcallMask } from '../../hypercalls/pv_cpu/vcpu_info.ts';
import { type Cpu, R11, RCX, RSP } from '../cpu/interface.ts';
import type { Vcpu } from '../vcpu.ts';
import { hex, type TrapHost, vectorName } from './trap_host.ts';

export const RFLAGS_TF = 0x100n;
export const RFLAGS_IF = 0x200n;
export const RFLAGS_IOPL = 0x3000n;
export const RFLAGS_RF = 0x1_0000n;
/** AC, VM, RF, NT, TF: cleared on the way in. */
const RFLAGS_CLEARED = 0x7_4100n;

const HYPERVISOR_VIRT_START = 0xffff_8000_0000_0000n;
const HYPERVISOR_VIRT_END = 0xffff_8800_0000_0000n;
/** The largest frame: above ring -1's range there must be room for all of it. */
const LARGEST_FRAME = 96n;

export const VECTOR_DB = 1;
const VECTOR_NMI = 2;
const VECTOR_PF = 14;
/** DR6: a single step. */
export const DR6_BS = 0x4000;
export const PFEC_PRESENT = 1;
export const PFEC_WRITE = 2;
export const PFEC_USER = 4;
export const PFEC_RESERVED = 8;
export const PFEC_FETCH = 16;

export interface Bounce {
  /** Where the guest's kernel is entered; 0n: nowhere. */
  readonly address: bigint;
  readonly masksEvents: boolean;
  readonly errorCode?: number | undefined;
  /** DS, ES, FS and GS are pushed too. */
  readonly isFailsafe?: boolean;
}

/** Why a bounce is impossible, which the domain does not survive. */
interface BounceFailure {
  readonly why: string;
  /** The address that could not be written. */
  readonly vaddr?: bigint;
}

/** CS and SS as the guest would see them: those that a hypercall iret asked for, until they are loaded. */
function selectors(cpu: Cpu, pv: PvVcpu): { cs: number; ss: number } {
  return pv.returnSelectors ?? { cs: cpu.getSegment('cs').selector, ss: cpu.getSegment('ss').selector };
}

const frameBytes = new Uint8Array(12 * 8);
const frame = new BigUint64Array(frameBytes.buffer);

/** Enters the guest's kernel; undefined: done. */
function bounce(host: TrapHost, vcpu: Vcpu, { address, masksEvents, errorCode, isFailsafe }: Bounce): BounceFailure | undefined {
  const { cpu } = host;
  const pv = pvVcpu.of(vcpu);
  const { gpr } = cpu;
  const { cs, ss } = selectors(cpu, pv);
  const wasKernel = pv.inKernelMode;
  if (!wasKernel) toggleGuestMode(host, vcpu);
  const top = (wasKernel ? gpr[RSP]! : pv.kernelSp) & ~0xfn;
  if (top >= HYPERVISOR_VIRT_START && top < HYPERVISOR_VIRT_END + LARGEST_FRAME) {
    return { why: `no bounce frame can be made at ${hex(top)}, which is ring -1's`, vaddr: top };
  }

  const mask = upcallMask(host, vcpu);
  let size = 0;
  frame[size++] = gpr[RCX]!;
  frame[size++] = gpr[R11]!;
  if (isFailsafe) for (const name of ['ds', 'es', 'fs', 'gs'] as const) frame[size++] = BigInt(cpu.getSegment(name).selector);
  if (errorCode !== undefined) frame[size++] = BigInt(errorCode);
  frame[size++] = cpu.rip;
  frame[size++] = BigInt(wasKernel ? cs & ~3 : cs) | (BigInt(mask) << 32n);
  const iopl = hasArchitecturalIopl(vcpu) ? BigInt(pv.iopl) : 0n;
  frame[size++] = (cpu.rflags & ~(RFLAGS_IF | RFLAGS_IOPL)) | iopl | (mask === 0 ? RFLAGS_IF : 0n);
  frame[size++] = gpr[RSP]!;
  frame[size++] = BigInt(ss);
  const rsp = BigInt.asUintN(64, top - BigInt(size * 8));
  if (!copyToGuest(host, rsp, frameBytes, 0, size * 8)) return { why: `no bounce frame can be written at ${hex(rsp)}`, vaddr: rsp };
  if (masksEvents) setUpcallMask(host, vcpu, mask | 1);
  if (address === 0n) return { why: 'no handler is registered' };

  cpu.rflags &= ~RFLAGS_CLEARED;
  gpr[RSP] = rsp;
  cpu.rip = address;
  loadFlatKernel(cpu);
  pv.returnSelectors = undefined;
  pv.returnsBySysret = true;
  pv.hasReturnSaved = false;
  return undefined;
}

export function loadFlatKernel(cpu: Cpu): void {
  if (cpu.getSegment('cs').selector !== FLAT_KERNEL_CS) cpu.setSegment('cs', flatSegment(FLAT_KERNEL_CS));
  if (cpu.getSegment('ss').selector !== FLAT_KERNEL_SS) cpu.setSegment('ss', flatSegment(FLAT_KERNEL_SS));
}

/** Enters one of the callbacks, or crashes the domain. */
export function enter(host: TrapHost, vcpu: Vcpu, name: 'event' | 'failsafe' | 'syscall', callback: Bounce): void {
  const at = host.cpu.rip;
  host.traceTrap?.(vcpu, `${name} at ${hex(at)} -> ${hex(callback.address)}`);
  const failure = bounce(host, vcpu, callback);
  if (failure !== undefined) host.crash(vcpu.domain, `${name} callback at ${hex(at)}: ${failure.why}`, failure.vaddr);
}

/** Gives vector `vector` to the guest's trap table (xen pv_inject_event). Vectors from INT n have no error code. */
export function inject(host: TrapHost, vcpu: Vcpu, vector: number, errorCode?: number): void {
  const entry = pvVcpu.of(vcpu).trapTable[vector]!;
  const at = host.cpu.rip;
  host.traceTrap?.(vcpu, `${describe(vector, errorCode)} at ${hex(at)} -> ${entry.address === 0n ? 'nobody' : hex(entry.address)}`);
  const failure = bounce(host, vcpu, { address: entry.address, masksEvents: (entry.flags & TI_IF) !== 0, errorCode });
  if (failure === undefined) return;
  const vaddr = failure.vaddr ?? (vector === VECTOR_PF ? pvVcpu.of(vcpu).cr2 : undefined);
  host.crash(vcpu.domain, `unhandled ${describe(vector, errorCode)} at ${hex(at)}: ${failure.why}`, vaddr);
}

function describe(vector: number, errorCode: number | undefined): string {
  return `${vectorName(vector)}${errorCode === undefined ? '' : ` [${hex(errorCode)}]`}`;
}

/** A #PF: the error code's user bit tells the guest's modes apart, both of which are CPL 3 to the CPU. */
export function injectPageFault(host: TrapHost, vcpu: Vcpu, errorCode: number, cr2: bigint): void {
  const pv = pvVcpu.of(vcpu);
  pv.cr2 = cr2;
  setArchCr2(host, vcpu, cr2);
  inject(host, vcpu, VECTOR_PF, pv.inKernelMode ? errorCode & ~PFEC_USER : errorCode | PFEC_USER);
}

/** A #DB: DR6 gains these bits. */
export function injectDebug(host: TrapHost, vcpu: Vcpu, dr6: number): void {
  const pv = pvVcpu.of(vcpu);
  pv.dr6 = (pv.dr6 | dr6) >>> 0;
  inject(host, vcpu, VECTOR_DB);
}

/** Enters the NMI handler, if there is one and none is running. */
export function injectNmi(host: TrapHost, vcpu: Vcpu): void {
  const pv = pvVcpu.of(vcpu);
  pv.nmiPending = false;
  if (pv.trapTable[VECTOR_NMI]!.address === 0n) return;
  pv.nmiMasked = true;
  inject(host, vcpu, VECTOR_NMI);
}
