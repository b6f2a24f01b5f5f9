/** The event-delivery bytes of a vCPU's struct vcpu_info, in place: the virtual interrupt flag is `!upcall_mask`. */
import type { Host } from '../../emulator/host.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
import { arch_vcpu_info, vcpu_info } from '../abi/xen.ts';

const PENDING = vcpu_info.offset.evtchn_upcall_pending;
const MASK = vcpu_info.offset.evtchn_upcall_mask;
const CR2 = vcpu_info.offset.arch + arch_vcpu_info.offset.cr2;

export const isUpcallPending = (host: Host, vcpu: Vcpu): boolean => host.memory.bytes[vcpu.vcpuInfoMaddr + PENDING] !== 0;

/** An upcall is due now: pending, and not masked by the byte behind. */
export function isUpcallDue(host: Host, vcpu: Vcpu): boolean {
  const both = host.memory.view.getUint16(vcpu.vcpuInfoMaddr + PENDING, true);
  return both !== 0 && both < 0x100;
}

/** The mask byte as the guest left it: any value but 0 masks. */
export const upcallMask = (host: Host, vcpu: Vcpu): number => host.memory.bytes[vcpu.vcpuInfoMaddr + MASK]!;

export function setUpcallMask(host: Host, vcpu: Vcpu, mask: number): void {
  host.memory.bytes[vcpu.vcpuInfoMaddr + MASK] = mask;
}

/** vcpu_info.arch.cr2: where a PV kernel reads the address of a page fault. */
export function setArchCr2(host: Host, vcpu: Vcpu, vaddr: bigint): void {
  host.memory.view.setBigUint64(vcpu.vcpuInfoMaddr + CR2, vaddr, true);
}
