/**
 * Guest kernel and guest user mode. Both run at CPL 3; what differs is the page tables and the GS base, so switching is
 * a CR3 load and a SWAPGS (xen:arch/x86/pv/domain.c toggle_guest_mode).
 */
import type { Host } from '../../emulator/host.ts';
import { pvCr3 } from '../../emulator/memory/pv_cr3.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
import { pvVcpu } from './state.ts';

export const MSR_FS_BASE = 0xc000_0100;
export const MSR_GS_BASE = 0xc000_0101;
export const MSR_SHADOW_GS_BASE = 0xc000_0102;

const VMASST_TYPE_architectural_iopl = 4n;

/** The L4 that the vCPU's mode runs on; 0: user mode without tables. */
export function activeTable(vcpu: Vcpu): number {
  const tables = pvCr3.of(vcpu);
  return pvVcpu.of(vcpu).inKernelMode ? tables.kernelMfn : tables.userMfn;
}

/** Loads CR3 for the mode that the vCPU, which is on the core, is in. */
export function loadActiveTable(host: Host, vcpu: Vcpu): void {
  host.cpu.cr3 = BigInt(activeTable(vcpu)) << 12n;
}

/** From kernel to user mode or back. */
export function toggleGuestMode(host: Host, vcpu: Vcpu): void {
  const { cpu } = host;
  const pv = pvVcpu.of(vcpu);
  const base = cpu.readMsr(MSR_GS_BASE)!;
  cpu.writeMsr(MSR_GS_BASE, cpu.readMsr(MSR_SHADOW_GS_BASE)!);
  cpu.writeMsr(MSR_SHADOW_GS_BASE, base);
  pv.inKernelMode = !pv.inKernelMode;
  loadActiveTable(host, vcpu);
}

/** VMASST_TYPE_architectural_iopl: IOPL is part of the frames, and the kernel counts as ring 0 instead of ring 1. */
export function hasArchitecturalIopl(vcpu: Vcpu): boolean {
  return ((vcpu.domain.vmAssist >> VMASST_TYPE_architectural_iopl) & 1n) !== 0n;
}
