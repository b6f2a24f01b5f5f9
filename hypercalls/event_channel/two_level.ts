/**
 * The 2-level event channel ABI: a pending and a mask bit a port in shared_info, and per vCPU a selector word that says
 * which of the 64 pending words have news (xen:public/xen.h shared_info, xen:common/event_2l.c). The order of the steps
 * is the contract with the guest, which changes the same words.
 */
import type { Domain } from '../../emulator/domain.ts';
import type { Host } from '../../emulator/host.ts';
import { type MachineMemory, PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
import { EVTCHN_2L_NR_CHANNELS } from '../abi/event_channel.ts';
import { shared_info, vcpu_info } from '../abi/xen.ts';
import { wakePollers } from './poll.ts';
import type { EventAbi } from './port.ts';
import { markEventsPending } from './upcall.ts';

const PENDING = shared_info.offset.evtchn_pending;
const MASK = shared_info.offset.evtchn_mask;
const PENDING_SEL = vcpu_info.offset.evtchn_pending_sel;

/** From the pending bit of a port to its mask bit. */
const TO_MASK = MASK - PENDING;

const testBit = (host: Host, base: number, bit: number): boolean => ((host.memory.bytes[base + (bit >> 3)]! >> (bit & 7)) & 1) !== 0;

/** Clears the bit; its old value. */
function testAndClearBit(host: Host, base: number, bit: number): boolean {
  const maddr = base + (bit >> 3);
  const old = host.memory.bytes[maddr]!;
  host.memory.bytes[maddr] = old & ~(1 << (bit & 7));
  host.memory.written(maddr, 1);
  return ((old >> (bit & 7)) & 1) !== 0;
}

/** Sets a bit of the byte at a maddr; the bit as it was there, a number, of which V8 knows the type. */
function testAndSet(memory: MachineMemory, maddr: number, bit: number): number {
  const { bytes } = memory;
  const old = bytes[maddr]!;
  if (old & bit) return bit;
  bytes[maddr] = old | bit;
  memory.written(maddr, 1);
  return 0;
}

const sharedInfo = (domain: Domain): number => domain.sharedInfoMfn * PAGE_SIZE;

function select(host: Host, vcpu: Vcpu, port: number): void {
  const maddr = vcpu.vcpuInfoMaddr + PENDING_SEL + (port >> 9);
  if (testAndSet(host.memory, maddr, 1 << ((port >> 6) & 7)) === 0) markEventsPending(host, vcpu);
}

export const isBitPending = (host: Host, domain: Domain, port: number): boolean => testBit(host, sharedInfo(domain) + PENDING, port);

export const twoLevel: EventAbi = {
  maxPorts: EVTCHN_2L_NR_CHANNELS,

  setPending(host, vcpu, { number }) {
    const { memory } = host;
    const maddr = sharedInfo(vcpu.domain) + PENDING + (number >> 3);
    const bit = 1 << (number & 7);
    if (testAndSet(memory, maddr, bit) !== 0) return;
    if ((memory.bytes[maddr + TO_MASK]! & bit) === 0) select(host, vcpu, number);
    wakePollers(host, vcpu.domain, number);
  },

  clearPending(host, domain, { number }) {
    if (domain.sharedInfoMfn >= 0) testAndClearBit(host, sharedInfo(domain) + PENDING, number);
  },

  unmask(host, vcpu, { number }) {
    const base = sharedInfo(vcpu.domain);
    if (testAndClearBit(host, base + MASK, number) && testBit(host, base + PENDING, number)) select(host, vcpu, number);
  },

  isPending: (host, domain, { number }) => isBitPending(host, domain, number),
  isMasked: (host, domain, { number }) => testBit(host, sharedInfo(domain) + MASK, number),
  isBusy: () => false,

  describe(host, domain, { number, notifyVcpu }) {
    const vcpu = domain.vcpus[notifyVcpu];
    return vcpu !== undefined && testBit(host, vcpu.vcpuInfoMaddr + PENDING_SEL, number >> 6) ? '1' : '0';
  },
};
