/**
 * What ring -1 keeps of a PV vCPU besides its registers (xen:arch/x86/include/asm/domain.h struct pv_vcpu). Written by the
 * hypercalls of this folder, by physdev_op and vcpu_op; read by emulator/trap, which bounces exceptions with it. The page
 * tables of the two modes are emulator/memory/pv_cr3.ts, the descriptor tables emulator/memory/descriptor_mapping.ts.
 */
import { defineSlot } from '../../emulator/slot.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';

/** TI_GET_DPL and TI_GET_IF of a trap_info's flags. */
export const TI_DPL_MASK = 3;
export const TI_IF = 4;

/** An entry of the virtual IDT; `address` 0n: no handler. */
export interface TrapInfo {
  /** TI_*: who may raise it by INT n, and whether events get masked. */
  flags: number;
  cs: number;
  address: bigint;
}

/** Where an asynchronous or syscall upcall goes; `address` 0n: not registered. */
export interface Callback {
  address: bigint;
  /** CALLBACKF_mask_events: evtchn_upcall_mask is set on the way. */
  masksEvents: boolean;
}

/** CS and SS that the next return loads from the descriptor tables, which may fail (a hypercall iret set them). */
export interface ReturnSelectors {
  readonly cs: number;
  readonly ss: number;
}

export const CR0_TS = 8n;
/** PE MP ET NE WP AM PG: what Xen runs its guests with. */
export const PV_CR0 = 0x8005_0033n;

export interface PvVcpu {
  readonly trapTable: TrapInfo[];
  readonly event: Callback;
  readonly failsafe: Callback;
  readonly syscall: Callback;
  readonly syscall32: Callback;
  readonly sysenter: Callback;

  /** Where a bounce from user mode puts its frame; the selector is kept but never used, as in Xen. */
  kernelSs: number;
  kernelSp: bigint;

  /** TF_kernel_mode: guest kernel or guest user, both at CPL 3. */
  inKernelMode: boolean;

  /** CR0.TS as the guest set it, CR2, and CR4's bits of its own choice. */
  hasTaskSwitched: boolean;
  cr2: bigint;
  cr4: bigint;
  /** DR6, and DR7 without the I/O breakpoints that it may not really have. */
  dr6: number;
  dr7: number;
  /** Enable bits of I/O breakpoints, which privileged-operation emulation honours. */
  dr7Emulated: number;

  /** Virtual IOPL in EFLAGS' place: 0, 0x1000, 0x2000 or 0x3000. */
  iopl: number;
  /** Guest vaddr of the I/O bitmap, and how many ports it covers. */
  iobmp: bigint;
  iobmpLimit: number;

  nmiPending: boolean;
  /** In an NMI handler until the next iret. */
  nmiMasked: boolean;

  /** The next return is a SYSRET: RCX and R11 get RIP and RFLAGS, CS and SS become the flat ones. */
  returnsBySysret: boolean;
  /** Already they are what it shall leave there. */
  hasReturnSaved: boolean;
  returnSelectors: ReturnSelectors | undefined;
}

export const NR_VECTORS = 256;
const callback = (): Callback => ({ address: 0n, masksEvents: false });

/** State of a vCPU as it comes up: kernel mode, empty trap table. */
export const pvVcpu = defineSlot<Vcpu, PvVcpu>(
  () => ({
    trapTable: Array.from({ length: NR_VECTORS }, () => ({ flags: 0, cs: 0, address: 0n })),
    event: { address: 0n, masksEvents: true },
    failsafe: callback(),
    syscall: callback(),
    syscall32: callback(),
    sysenter: callback(),
    kernelSs: 0,
    kernelSp: 0n,
    inKernelMode: true,
    hasTaskSwitched: false,
    cr2: 0n,
    cr4: 0n,
    dr6: 0xffff_0ff0,
    dr7: 0x400,
    dr7Emulated: 0,
    iopl: 0,
    iobmp: 0n,
    iobmpLimit: 0,
    nmiPending: false,
    nmiMasked: false,
    returnsBySysret: false,
    hasReturnSaved: false,
    returnSelectors: undefined,
  }),
  { name: 'pv_cpu' },
);
