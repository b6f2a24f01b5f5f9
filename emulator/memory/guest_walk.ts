/** Finds the L1 entry that a vaddr of a guest goes through, in its kernel-mode tables, whether or not it is present. */
import { type MachineMemory, PAGE_SIZE } from './machine_memory.ts';
import type { MemoryVcpu } from './memory_domain.ts';
import { mfnOf, PAGE_PRESENT, PAGE_PSE } from './pte.ts';
import { pvCr3 } from './pv_cr3.ts';

export interface L1Entry {
  readonly tableMfn: number;
  readonly maddr: number;
  readonly entry: bigint;
}

const HYPERVISOR_VIRT_START = 0xffff_8000_0000_0000n;
const HYPERVISOR_VIRT_END = 0xffff_8800_0000_0000n;

/** Below 2^47 or above ring -1's range (xen __addr_ok). */
export function isGuestAddress(vaddr: bigint): boolean {
  return vaddr < 0x8000_0000_0000n || vaddr >= HYPERVISOR_VIRT_END;
}

/** In ring -1's part of the address space. */
export function isHypervisorAddress(vaddr: bigint): boolean {
  return vaddr >= HYPERVISOR_VIRT_START && vaddr < HYPERVISOR_VIRT_END;
}

export function findL1Entry(memory: MachineMemory, vcpu: MemoryVcpu, vaddr: bigint): L1Entry | undefined {
  if (!isGuestAddress(vaddr)) return undefined;
  let tableMfn = pvCr3.of(vcpu).kernelMfn;
  for (let shift = 39n; ; shift -= 9n) {
    const maddr = tableMfn * PAGE_SIZE + Number((vaddr >> shift) & 511n) * 8;
    const entry = memory.view.getBigUint64(maddr, true);
    if (shift === 12n) return { tableMfn, maddr, entry };
    if ((entry & (PAGE_PRESENT | PAGE_PSE)) !== PAGE_PRESENT) return undefined;
    tableMfn = mfnOf(entry);
  }
}
