/**
 * Changing one entry of a page table that is in use (xen:arch/x86/mm.c mod_l?_entry): what the new entry refers to is
 * taken, what the old one referred to is given up, and a refusal changes nothing.
 */
import { findL1Entry } from './guest_walk.ts';
import { type MachineMemory, PAGE_SIZE } from './machine_memory.ts';
import type { MemoryVcpu, Refusal } from './memory_domain.ts';
import { type PageTableType, PGT_l1_page_table, PGT_l4_page_table } from './page_type.ts';
import { dropEntry, isLivePageTable, takeEntry } from './page_types.ts';
import * as pte from './pte.ts';

export interface UpdateOptions {
  /** Keep accessed and dirty bits that the CPU has set. */
  preserveAd?: boolean;
  /** Whose frames an L1 entry may name; the table's owner when absent. */
  pgOwner?: number;
  /** Take the frame even where only harmless bits change: an entry that maps another domain's page is refused then. */
  isTakenAnew?: boolean;
}

/** Writes `entry` at `maddr`, which lies in a live page table (isLivePageTable). */
export function updateEntry(memory: MachineMemory, maddr: number, entry: bigint, options: UpdateOptions = {}): Refusal | undefined {
  const mfn = Math.floor(maddr / PAGE_SIZE);
  const type = memory.typeOf(mfn) as PageTableType;
  if (type === PGT_l4_page_table && !pte.isGuestL4Slot((maddr % PAGE_SIZE) / 8)) return 'EINVAL';
  const owner = memory.domains.get(memory.owner[mfn]!)!;
  const old = memory.view.getBigUint64(maddr, true);
  let accepted = entry;
  let isRefDropped = true;
  if (pte.isPresent(entry)) {
    const isL1 = type === PGT_l1_page_table;
    const disallowed = isL1 ? (owner.isInitial ? 0n : pte.L1_DISALLOW_MASK) : pte.UPPER_DISALLOW_MASK;
    if (entry & disallowed) return 'EINVAL';
    if (!options.isTakenAnew && pte.isSameButHarmless(old, entry)) {
      accepted = isL1 ? pte.adjustL1(entry) : pte.adjustUpper(type, entry);
      isRefDropped = false;
    } else {
      const taken = takeEntry(memory, type, entry, mfn, owner, options.pgOwner ?? owner.id);
      if (typeof taken === 'string') return taken;
      accepted = taken;
    }
  }
  if (options.preserveAd) accepted |= old & (pte.PAGE_ACCESSED | pte.PAGE_DIRTY);
  memory.view.setBigUint64(maddr, accepted, true);
  memory.written(maddr, 8);
  if (isRefDropped) dropEntry(memory, type, old, mfn);
  return undefined;
}

/**
 * The maddr of the L1 table of the guest's own that a write of its kernel to `vaddr` is for, if that is mapped read-only
 * there; ring -1 then performs it with `writeL1Entry` (writable page tables). -1: an ordinary fault.
 */
export function findWritableL1(memory: MachineMemory, vcpu: MemoryVcpu, vaddr: bigint): number {
  const mapping = findL1Entry(memory, vcpu, vaddr);
  if (mapping === undefined || (mapping.entry & (pte.PAGE_PRESENT | pte.PAGE_RW)) !== pte.PAGE_PRESENT) return -1;
  const mfn = pte.mfnOf(mapping.entry);
  const isOwnL1 =
    memory.isFrame(mfn) && memory.owner[mfn] === vcpu.domain.id && isLivePageTable(memory, mfn) && memory.type[mfn] === PGT_l1_page_table;
  return isOwnL1 ? mfn * PAGE_SIZE : -1;
}

/** Writes an entry at a maddr in a table from `findWritableL1`; false: refused, the guest gets its page fault. */
export function writeL1Entry(memory: MachineMemory, maddr: number, entry: bigint): boolean {
  return updateEntry(memory, maddr, entry, { isTakenAnew: true }) === undefined;
}
