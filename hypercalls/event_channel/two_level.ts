/**
 * The 2-level event channel ABI: a pending and a mask bit a port in shared_info, and per vCPU a selector word that says
 * which of the 64 pending words have news (xen:public/xen.h shared_info, xen:common/event_2l.c). The order of the steps
 * is the contract with the guest, which changes the same words.
 */
import type { Domain } from '../../emulator/domain.ts';
import type { Host } from '../../emulator/host.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
import { shared_info, vcpu_info } from '../abi/xen.ts';

const PENDING = shared_info.offset.evtchn_pending;
const MASK = shared_info.offset.evtchn_mask;
const UPCALL_PENDING = vcpu_info.offset.evtchn_upcall_pending;
const UPCALL_MASK = vcpu_info.offset.evtchn_upcall_mask;
const PENDING_SEL = vcpu_info.offset.evtchn_pending_sel;

const testBit = (host: Host, base: number, bit: number): boolean => ((host.memory.bytes[base + (bit >> 3)]! >> (bit & 7)) & 1) !== 0;

/** Sets the bit; its old value. */
function testAndSetBit(host: Host, base: number, bit: number): boolean {
  const maddr = base + (bit >> 3);
  const old = host.memory.bytes[maddr]!;
  host.memory.bytes[maddr] = old | (1 << (bit & 7));
  host.memory.written(maddr, 1);
  return ((old >> (bit & 7)) & 1) !== 0;
}

/** Clears the bit; its old value. */
function testAndClearBit(host: Host, base: number, bit: number): boolean {
  const maddr = base + (bit >> 3);
  const old = host.memory.bytes[maddr]!;
  host.memory.bytes[maddr] = old & ~(1 << (bit & 7));
  host.memory.written(maddr, 1);
  return ((old >> (bit & 7)) & 1) !== 0;
}

const sharedInfo = (domain: Domain): number => domain.sharedInfoMfn * 4096;

/** Tells the vCPU that there is something; true when it was not told before, and so must be woken. */
export function markEventsPending(host: Host, vcpu: Vcpu): boolean {
  const maddr = vcpu.vcpuInfoMaddr + UPCALL_PENDING;
  if (host.memory.bytes[maddr] !== 0) return false;
  host.memory.bytes[maddr] = 1;
  host.memory.written(maddr, 1);
  return true;
}

const select = (host: Host, vcpu: Vcpu, port: number): boolean =>
  !testAndSetBit(host, vcpu.vcpuInfoMaddr + PENDING_SEL, port >> 6) && markEventsPending(host, vcpu);

/** An event: true when the vCPU must be woken. */
export function setPending(host: Host, vcpu: Vcpu, port: number): boolean {
  const base = sharedInfo(vcpu.domain);
  if (testAndSetBit(host, base + PENDING, port)) return false;
  return !testBit(host, base + MASK, port) && select(host, vcpu, port);
}

/** Clears the mask bit; true when an event was held back and the vCPU must be woken. */
export function unmask(host: Host, vcpu: Vcpu, port: number): boolean {
  const base = sharedInfo(vcpu.domain);
  return testAndClearBit(host, base + MASK, port) && testBit(host, base + PENDING, port) && select(host, vcpu, port);
}

export function isPending(host: Host, domain: Domain, port: number): boolean {
  return testBit(host, sharedInfo(domain) + PENDING, port);
}

export function clearPending(host: Host, domain: Domain, port: number): void {
  if (domain.sharedInfoMfn >= 0) testAndClearBit(host, sharedInfo(domain) + PENDING, port);
}

/** Whether the upcall is due now (local_events_need_delivery of a PV vCPU). */
export function eventsNeedDelivery(host: Host, vcpu: Vcpu): boolean {
  const { bytes } = host.memory;
  return bytes[vcpu.vcpuInfoMaddr + UPCALL_PENDING] !== 0 && bytes[vcpu.vcpuInfoMaddr + UPCALL_MASK] === 0;
}

export function unmaskUpcalls(host: Host, vcpu: Vcpu): void {
  const maddr = vcpu.vcpuInfoMaddr + UPCALL_MASK;
  host.memory.bytes[maddr] = 0;
  host.memory.written(maddr, 1);
}

/** Makes the vCPU look at every pending word. */
export function selectAll(host: Host, vcpu: Vcpu): void {
  host.memory.view.setBigUint64(vcpu.vcpuInfoMaddr + PENDING_SEL, 0xffff_ffff_ffff_ffffn, true);
  host.memory.bytes[vcpu.vcpuInfoMaddr + UPCALL_PENDING] = 1;
}
