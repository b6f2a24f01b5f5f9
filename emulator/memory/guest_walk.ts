/** Finds the L1 entry that a vaddr of a guest goes through, in its kernel-mode tables, whether or not it is present. */
import { type MachineMemory, PAGE_SIZE } from './machine_memory.ts';
import type { MemoryVcpu } from './memory_domain.ts';
import { FLAG_PRESENT, FLAG_PSE, mfnOfHalves } from './pte.ts';
import { pvCr3 } from './pv_cr3.ts';

export interface L1Entry {
  readonly tableMfn: number;
  readonly maddr: number;
  readonly entry: bigint;
}

const HYPERVISOR_VIRT_START = 0xffff_8000_0000_0000n;
const HYPERVISOR_VIRT_END = 0xffff_8800_0000_0000n;

const HYPERVISOR_VIRT_END_HIGH = Number(HYPERVISOR_VIRT_END >> 32n);

/** Below 2^47 or above ring -1's range (xen __addr_ok). */
export function isGuestAddress(vaddr: bigint): boolean {
  return vaddr < 0x8000_0000_0000n || vaddr >= HYPERVISOR_VIRT_END;
}

/** In ring -1's part of the address space. */
export function isHypervisorAddress(vaddr: bigint): boolean {
  return vaddr >= HYPERVISOR_VIRT_START && vaddr < HYPERVISOR_VIRT_END;
}

/** A vaddr's halves: a walk computes with numbers. */
const vaddr64 = new BigUint64Array(1);
const halves = new Uint32Array(vaddr64.buffer);

export function findL1Entry(memory: MachineMemory, vcpu: MemoryVcpu, vaddr: bigint): L1Entry | undefined {
  const maddr = findL1EntryMaddr(memory, vcpu, vaddr);
  if (maddr < 0) return undefined;
  return { tableMfn: Math.floor(maddr / PAGE_SIZE), maddr, entry: memory.view.getBigUint64(maddr, true) };
}

/** Where the entry is; -1: a level above has none. */
export function findL1EntryMaddr(memory: MachineMemory, vcpu: MemoryVcpu, vaddr: bigint): number {
  vaddr64[0] = vaddr;
  return findL1EntryAt(memory, vcpu, halves[0]!, halves[1]!);
}

/** The same of a vaddr in unsigned halves. */
export function findL1EntryAt({ view }: MachineMemory, vcpu: MemoryVcpu, low: number, high: number): number {
  if (high >= 0x8000 && high < HYPERVISOR_VIRT_END_HIGH) return -1;
  let table = pvCr3.of(vcpu).kernelMfn;
  for (let level = 4; level > 1; level--) {
    const index = level === 4 ? high >>> 7 : level === 3 ? (high << 2) | (low >>> 30) : low >>> 21;
    const maddr = table * PAGE_SIZE + (index & 511) * 8;
    const entryLow = view.getUint32(maddr, true);
    if ((entryLow & (FLAG_PRESENT | FLAG_PSE)) !== FLAG_PRESENT) return -1;
    table = mfnOfHalves(entryLow, view.getUint32(maddr + 4, true));
  }
  return table * PAGE_SIZE + ((low >>> 12) & 511) * 8;
}
