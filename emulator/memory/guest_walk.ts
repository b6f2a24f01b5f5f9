/** Finds the L1 entry that a vaddr of a guest goes through, in its kernel-mode tables, whether or not it is present. */
import { type MachineMemory, PAGE_SHIFT, PAGE_SIZE } from './machine_memory.ts';
import type { MemoryVcpu } from './memory_domain.ts';
import { FLAG_PRESENT, FLAG_PSE } from './pte.ts';
import { pvCr3 } from './pv_cr3.ts';

export interface L1Entry {
  readonly tableMfn: number;
  readonly maddr: number;
  readonly entry: bigint;
}

const HYPERVISOR_VIRT_START = 0xffff_8000_0000_0000n;
const HYPERVISOR_VIRT_END = 0xffff_8800_0000_0000n;

/** Signed, as halves of vaddrs are. */
const HYPERVISOR_VIRT_END_HIGH = Number(HYPERVISOR_VIRT_END >> 32n) | 0;
const NONE = -1;

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
const halves = new Int32Array(vaddr64.buffer);

export function findL1Entry(memory: MachineMemory, vcpu: MemoryVcpu, vaddr: bigint): L1Entry | undefined {
  vaddr64[0] = vaddr;
  const maddr = findL1EntryAt(memory, vcpu, halves[0]!, halves[1]!);
  if (maddr < 0) return undefined;
  return { tableMfn: Math.floor(maddr / PAGE_SIZE), maddr, entry: memory.view.getBigUint64(maddr, true) };
}

/** Where the entry of a vaddr in halves is; -1: a level above has none. */
export function findL1EntryAt({ words }: MachineMemory, vcpu: MemoryVcpu, low: number, high: number): number {
  if (high >= 0x8000 || high < HYPERVISOR_VIRT_END_HIGH) return NONE;
  const l4 = (pvCr3.of(vcpu).kernelMfn << PAGE_SHIFT) | (((high >>> 7) & 511) << 3);
  const l3 = entryBehind(words, l4, (high << 2) | (low >>> 30));
  const l2 = l3 === NONE ? NONE : entryBehind(words, l3, low >>> 21);
  const l1 = l2 === NONE ? NONE : entryBehind(words, l2, low >>> 12);
  return l1 === NONE ? NONE : l1 >>> 0;
}

/** Maddr, in 32 bits as tables lie in RAM, of an entry in the table to which the one at a maddr leads; NONE: it leads to none. */
function entryBehind(words: Int32Array, maddr: number, index: number): number {
  const low = words[maddr >>> 2]!;
  return (low & (FLAG_PRESENT | FLAG_PSE)) === FLAG_PRESENT ? (low & -PAGE_SIZE) | ((index & 511) << 3) : NONE;
}
