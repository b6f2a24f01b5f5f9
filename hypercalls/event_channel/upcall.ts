/** The upcall flags of a vCPU's vcpu_info: whether there is something to look at, and whether the guest may be told. */
import type { Host } from '../../emulator/host.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
import { vcpu_info } from '../abi/xen.ts';
import { kick } from './poll.ts';

const UPCALL_PENDING = vcpu_info.offset.evtchn_upcall_pending;
const UPCALL_MASK = vcpu_info.offset.evtchn_upcall_mask;
const PENDING_SEL = vcpu_info.offset.evtchn_pending_sel;

/** Tells the vCPU that there is something, and wakes it; one that was told already is left alone. */
export function markEventsPending(host: Host, vcpu: Vcpu): void {
  const { memory } = host;
  const { bytes } = memory;
  const maddr = vcpu.vcpuInfoMaddr + UPCALL_PENDING;
  const old = bytes[maddr]!;
  if (old & 1) return;
  bytes[maddr] = old | 1;
  memory.written(maddr, 1);
  kick(host, vcpu);
}

export function unmaskUpcalls(host: Host, vcpu: Vcpu): void {
  const maddr = vcpu.vcpuInfoMaddr + UPCALL_MASK;
  host.memory.bytes[maddr] = 0;
  host.memory.written(maddr, 1);
}

/** Makes the vCPU look at every word of the 2-level ABI. */
export function selectAll(host: Host, vcpu: Vcpu): void {
  host.memory.view.setBigUint64(vcpu.vcpuInfoMaddr + PENDING_SEL, 0xffff_ffff_ffff_ffffn, true);
  host.memory.bytes[vcpu.vcpuInfoMaddr + UPCALL_PENDING] = 1;
}
