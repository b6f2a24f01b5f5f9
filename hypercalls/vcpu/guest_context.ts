/**
 * VCPUOP_initialise: a PV vCPU's first registers and tables out of its struct vcpu_guest_context (xen:arch/x86/domain.c
 * arch_set_info_guest). Everything is checked before anything is kept; what the checks took is given back by a refusal.
 */
import type { SegmentName } from '../../emulator/cpu/interface.ts';
import type { Host } from '../../emulator/host.ts';
import { setGdt, setLdt } from '../../emulator/memory/descriptor_mapping.ts';
import { setKernelTable, setUserTable } from '../../emulator/memory/pv_cr3.ts';
import { FIRST_RESERVED_GDT_ENTRY } from '../../emulator/memory/segment_descriptor.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
import {
  VGCF_failsafe_disables_events,
  VGCF_I387_VALID,
  VGCF_in_kernel,
  VGCF_online,
  VGCF_syscall_disables_events,
  vcpu_guest_context,
} from '../abi/arch_xen.ts';
import type { ValueOf } from '../abi/types.ts';
import { isGuestAddress } from '../guest_memory.ts';
import { isCanonical } from '../pv_cpu/canonical.ts';
import { writeDebugRegister } from '../pv_cpu/debug_registers.ts';
import { loadActiveTable, MSR_FS_BASE, MSR_GS_BASE, MSR_SHADOW_GS_BASE } from '../pv_cpu/mode.ts';
import { loadDataSegment, loadLdtr } from '../pv_cpu/segment_load.ts';
import { fixupSelector, nullSegment } from '../pv_cpu/selectors.ts';
import { CR0_TS, pvVcpu } from '../pv_cpu/state.ts';

type GuestContext = ValueOf<typeof vcpu_guest_context>;

const RFLAGS_IOPL = 0x3000n;
/** Bits that IRET to ring 3 takes from the context; IF is always set. */
const RFLAGS_FROM_CONTEXT = 0x25_4dd5n;
const RFLAGS_ALWAYS = 0x202n;
const MAX_LDT_ENTRIES = 8192n;
const GDT_ENTRIES_PER_FRAME = 512;
/** TSD and DE: what a guest may choose of CR4. */
const CR4_GUEST_MASK = 0xcn;
/** Registers in the order of `gpr`. */
const GPR = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const;

const bytes = new Uint8Array(vcpu_guest_context.size);
const view = new DataView(bytes.buffer);

/** Where the caller puts the guest's struct. */
export const guestContextBytes = bytes;

/** Takes over what `guestContextBytes` holds for `vcpu`, which has never run. */
export function initialise(host: Host, vcpu: Vcpu): 'EINVAL' | undefined {
  const context = vcpu_guest_context.read(view, 0);
  if (!isSane(context) || !takeTables(host, vcpu, context)) return 'EINVAL';
  setPvState(vcpu, context);
  vcpu.isInitialised = true;
  host.withRegisters(vcpu, () => loadRegisters(host, vcpu, context));
  // Xen clears the flag that it is down and wakes nobody: it runs after the next VCPUOP_down and VCPUOP_up.
  vcpu.isUp = (Number(context.flags & 0xffff_ffffn) & VGCF_online) !== 0;
  return undefined;
}

function isSane(context: GuestContext): boolean {
  const { user_regs, ldt_base, ldt_ents, flags, ctrlreg } = context;
  const addresses = [
    user_regs.rip,
    user_regs.rsp,
    context.kernel_sp,
    context.fs_base,
    context.gs_base_kernel,
    context.gs_base_user,
    context.event_callback_eip,
    context.syscall_callback_eip,
    context.failsafe_callback_eip,
    ...context.trap_ctxt.map(({ address }) => address),
  ];
  if (!addresses.every(isCanonical)) return false;
  if (!isGuestAddress(ldt_base) || ldt_base & 0xfffn || ldt_ents > MAX_LDT_ENTRIES) return false;
  return (flags & BigInt(VGCF_in_kernel)) !== 0n || ctrlreg[1] !== 0n;
}

const mfnOf = (cr3: bigint): number => Number(cr3 >> 12n);

/** GDT, page tables, LDT; false: none of it, though as in Xen a kernel's table stays held when the user's was refused. */
function takeTables({ memory }: Host, vcpu: Vcpu, context: GuestContext): boolean {
  const { gdt_frames, gdt_ents, ctrlreg, ldt_base, ldt_ents } = context;
  if (gdt_ents > FIRST_RESERVED_GDT_ENTRY) return false;
  const entries = Number(gdt_ents);
  const frames = gdt_frames.slice(0, Math.ceil(entries / GDT_ENTRIES_PER_FRAME)).map(Number);
  if (setGdt(memory, vcpu, frames, entries) !== undefined) return false;
  const kernel = mfnOf(ctrlreg[3]!);
  const user = mfnOf(ctrlreg[1]!);
  const isTaken =
    kernel !== 0 &&
    setKernelTable(memory, vcpu, kernel) === undefined &&
    (ctrlreg[1] === 0n || (user !== 0 && setUserTable(memory, vcpu, user) === undefined));
  if (!isTaken) {
    setGdt(memory, vcpu, [], 0);
    return false;
  }
  setLdt(memory, vcpu, ldt_base, Number(ldt_ents));
  return true;
}

function setPvState(vcpu: Vcpu, context: GuestContext): void {
  const pv = pvVcpu.of(vcpu);
  const flags = Number(context.flags & 0xffff_ffffn);
  for (const [vector, { flags, cs, address }] of context.trap_ctxt.entries()) {
    Object.assign(pv.trapTable[vector]!, { flags, cs: fixupSelector(cs), address });
  }
  pv.event.address = context.event_callback_eip;
  const masks = (flag: number): boolean => (flags & flag) !== 0;
  Object.assign(pv.failsafe, { address: context.failsafe_callback_eip, masksEvents: masks(VGCF_failsafe_disables_events) });
  Object.assign(pv.syscall, { address: context.syscall_callback_eip, masksEvents: masks(VGCF_syscall_disables_events) });
  pv.kernelSs = fixupSelector(Number(context.kernel_ss & 0xffffn));
  pv.kernelSp = context.kernel_sp;
  pv.inKernelMode = masks(VGCF_in_kernel);
  pv.hasTaskSwitched = (context.ctrlreg[0]! & CR0_TS) !== 0n;
  pv.cr4 = context.ctrlreg[4]! & CR4_GUEST_MASK;
  pv.iopl = Number(context.user_regs.rflags & RFLAGS_IOPL);
  pv.returnsBySysret = false;
  pv.returnSelectors = { cs: fixupSelector(context.user_regs.cs), ss: fixupSelector(context.user_regs.ss) };
}

/** On the core, in place of whoever made the call. */
function loadRegisters(host: Host, vcpu: Vcpu, context: GuestContext): void {
  const { cpu } = host;
  const { user_regs, ctrlreg } = context;
  const pv = pvVcpu.of(vcpu);
  for (const [number, name] of GPR.entries()) cpu.gpr[number] = user_regs[name];
  cpu.rip = user_regs.rip;
  cpu.rflags = (user_regs.rflags & RFLAGS_FROM_CONTEXT) | RFLAGS_ALWAYS;
  cpu.cr0 = (cpu.cr0 & ~CR0_TS) | (ctrlreg[0]! & CR0_TS);
  cpu.cr4 = (cpu.cr4 & ~CR4_GUEST_MASK) | pv.cr4;
  if (context.flags & BigInt(VGCF_I387_VALID)) cpu.loadFxImage(Uint8Array.from(context.fpu_ctxt));
  loadActiveTable(host, vcpu);
  loadLdtr(host, vcpu);
  for (const [index, value] of context.debugreg.entries()) writeDebugRegister(host, vcpu, index, value);

  // One that cannot be loaded stays as asked for until the vCPU goes on the core, and the failsafe callback tells of it.
  const load = (name: SegmentName, selector: number): boolean => {
    const segment = selector > 3 ? loadDataSegment(host, vcpu, selector) : undefined;
    cpu.setSegment(name, segment ?? nullSegment(selector));
    return selector > 3;
  };
  load('ds', user_regs.ds);
  load('es', user_regs.es);
  if (!load('fs', user_regs.fs)) cpu.writeMsr(MSR_FS_BASE, context.fs_base);
  const userBase = load('gs', user_regs.gs) ? cpu.readMsr(MSR_GS_BASE)! : context.gs_base_user;
  cpu.writeMsr(MSR_GS_BASE, pv.inKernelMode ? context.gs_base_kernel : userBase);
  cpu.writeMsr(MSR_SHADOW_GS_BASE, pv.inKernelMode ? userBase : context.gs_base_kernel);
}
