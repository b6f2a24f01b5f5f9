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
    if (pte.isSameButHarmless(old, entry)) {
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
 * Where a write by the guest's kernel to `vaddr` lands if it is a write to one of its L1 tables through a read-only
 * mapping, which ring -1 then performs with `writeL1Entry` (writable page tables); undefined: an ordinary fault.
 */
export function findWritableL1(memory: MachineMemory, vcpu: MemoryVcpu, vaddr: bigint, size: number): number | undefined {
  const offset = Number(vaddr & 0xfffn);
  if (offset % size !== 0 || ![1, 2, 4, 8].includes(size)) return undefined;
  const mapping = findL1Entry(memory, vcpu, vaddr);
  if (mapping === undefined || (mapping.entry & (pte.PAGE_PRESENT | pte.PAGE_RW)) !== pte.PAGE_PRESENT) return undefined;
  const mfn = pte.mfnOf(mapping.entry);
  const isOwnL1 =
    memory.isFrame(mfn) && memory.owner[mfn] === vcpu.domain.id && isLivePageTable(memory, mfn) && memory.type[mfn] === PGT_l1_page_table;
  return isOwnL1 ? mfn * PAGE_SIZE + offset : undefined;
}

/** Writes `size` bytes of `value` at a maddr from `findWritableL1`; false: refused, the guest gets its page fault. */
export function writeL1Entry(memory: MachineMemory, maddr: number, size: number, value: bigint): boolean {
  const start = maddr - (maddr % 8);
  const shift = BigInt((maddr % 8) * 8);
  const mask = (1n << BigInt(size * 8)) - 1n;
  const full = (memory.view.getBigUint64(start, true) & ~(mask << shift)) | ((value & mask) << shift);
  return updateEntry(memory, start, full) === undefined;
}
