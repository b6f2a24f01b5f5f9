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
  const l3 = tableBehind(view, pvCr3.of(vcpu).kernelMfn * PAGE_SIZE, high >>> 7);
  const l2 = l3 < 0 ? -1 : tableBehind(view, l3, (high << 2) | (low >>> 30));
  const l1 = l2 < 0 ? -1 : tableBehind(view, l2, low >>> 21);
  return l1 < 0 ? -1 : entryAt(l1, low >>> PAGE_SHIFT);
}

/** In a table at `maddr`. */
const entryAt = (maddr: number, index: number): number => maddr + ((index & 511) << 3);

/** Where the table lies, in RAM and so in 32 bits, that an entry of the one at `maddr` leads to; -1: to none. */
function tableBehind(view: DataView, maddr: number, index: number): number {
  const low = view.getUint32(entryAt(maddr, index), true);
  return (low & (FLAG_PRESENT | FLAG_PSE)) === FLAG_PRESENT ? (low & -PAGE_SIZE) >>> 0 : -1;
}
