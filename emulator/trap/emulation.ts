/** One privileged instruction of a PV64 guest while ring -1 performs it: what its parts share. */
import { hasArchitecturalIopl } from '../../hypercalls/pv_cpu/mode.ts';
import type { PvVcpu } from '../../hypercalls/pv_cpu/state.ts';
import type { DecodedInstruction } from '../cpu/interface.ts';
import type { Vcpu } from '../vcpu.ts';
import { inject } from './bounce.ts';
import type { TrapHost } from './trap_host.ts';

/**
 * refused: the guest gets its #GP; faulted: another exception was injected; repeat: not yet done, RIP stays; unstepped: done, but in
 * Xen by a short cut on which a single step does not trap.
 */
export type Outcome = 'done' | 'unstepped' | 'refused' | 'faulted' | 'repeat';

export interface Emulation {
  readonly host: TrapHost;
  readonly vcpu: Vcpu;
  readonly pv: PvVcpu;
  readonly gpr: BigUint64Array;
  readonly insn: DecodedInstruction;
  /** I/O breakpoints that were hit, as DR6 bits. */
  breakpoints: number;
}

export function faultWith({ host, vcpu }: Emulation, vector: number, errorCode?: number): Outcome {
  inject(host, vcpu, vector, errorCode);
  return 'faulted';
}

/** The virtual IOPL lets the current mode do I/O, CLI and STI. Xen counts a PV kernel as ring 1. */
export function isIoplEnough({ vcpu, pv }: Emulation): boolean {
  const cpl = !pv.inKernelMode ? 3 : hasArchitecturalIopl(vcpu) ? 0 : 1;
  return cpl << 12 <= pv.iopl;
}
