/**
 * Changing one entry of a page table that is in use (xen:arch/x86/mm.c mod_l?_entry): what the new entry refers to is
 * taken, what the old one referred to is given up, and a refusal changes nothing.
 */
import { findL1Entry } from './guest_walk.ts';
import { type MachineMemory, PAGE_SHIFT, PAGE_SIZE } from './machine_memory.ts';
import type { MemoryVcpu, Refusal } from './memory_domain.ts';
import { type PageTableType, PGT_l1_page_table, PGT_l4_page_table } from './page_type.ts';
import { dropEntry, dropFrame, holdFrame, isLivePageTable, takeEntry } from './page_types.ts';
import * as pte from './pte.ts';

/** Accessed and dirty: what an update may keep of what the CPU has set. */
export const AD_FLAGS = pte.FLAG_ACCESSED | pte.FLAG_DIRTY;

/**
 * Writes the entry with these halves, as signed numbers, at `maddr`, which lies in a live page table (isLivePageTable). `pgOwner`
 * is whose frames an L1 entry may name. `kept`: flags of the entry before that are kept. `isTakenAnew`: the frame is taken even
 * where only harmless bits change, so that an entry which maps another domain's page is refused.
 */
export function updateEntry(
  memory: MachineMemory,
  maddr: number,
  low: number,
  high: number,
  pgOwner: number,
  kept: number,
  isTakenAnew: boolean,
): Refusal | undefined {
  const { words } = memory;
  const at = maddr >>> 2;
  const mfn = maddr >>> PAGE_SHIFT;
  const type = memory.typeOf(mfn) as PageTableType;
  const owner = memory.owner[mfn]!;
  if (type !== PGT_l1_page_table) return updateUpper(memory, type, maddr, low, high, owner, kept, isTakenAnew);
  const oldLow = words[at]!;
  const oldHigh = words[at + 1]!;
  let flips: number | Refusal = 0;
  let isRefDropped = (oldLow & pte.FLAG_PRESENT) !== 0;
  if (low & pte.FLAG_PRESENT) {
    if (low & pte.L1_DISALLOWED && !memory.domains.get(owner)!.isInitial) return 'EINVAL';
    if (!isTakenAnew && pte.isSameButHarmless(oldLow, oldHigh, low, high)) {
      isRefDropped = false;
    } else {
      flips = holdFrame(memory, pte.mfnOfHalves(low, high), low & 0xfff, owner, pgOwner);
      if (typeof flips === 'string') return flips;
    }
  }
  pte.storeAdjustedL1(words, at, (low ^ flips) | (oldLow & kept), high);
  memory.written(maddr, 8);
  if (isRefDropped) dropFrame(memory, pte.mfnOfHalves(oldLow, oldHigh), oldLow & 0xfff, owner);
  return undefined;
}

/** The same in a table that names tables. */
function updateUpper(
  memory: MachineMemory,
  type: PageTableType,
  maddr: number,
  low: number,
  high: number,
  owner: number,
  kept: number,
  isTakenAnew: boolean,
): Refusal | undefined {
  const { words } = memory;
  const at = maddr >>> 2;
  const mfn = maddr >>> PAGE_SHIFT;
  if (type === PGT_l4_page_table && !pte.isGuestL4Slot((maddr & (PAGE_SIZE - 1)) / 8)) return 'EINVAL';
  const oldLow = words[at]!;
  const oldHigh = words[at + 1]!;
  const isKept = (low & pte.FLAG_PRESENT) !== 0 && !isTakenAnew && pte.isSameButHarmless(oldLow, oldHigh, low, high);
  if (low & pte.FLAG_PRESENT) {
    if (low & pte.UPPER_DISALLOWED) return 'EINVAL';
    const refusal = isKept ? 0 : takeEntry(memory, type, low, high, mfn, owner, owner);
    if (typeof refusal === 'string') return refusal;
  }
  pte.storeAdjusted(words, at, type, low | (oldLow & kept), high);
  memory.written(maddr, 8);
  if (!isKept) dropEntry(memory, type, oldLow, oldHigh, mfn);
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
  const owner = memory.owner[Math.floor(maddr / PAGE_SIZE)]!;
  const { low, high } = pte.halvesOf(entry);
  return updateEntry(memory, maddr, low, high, owner, 0, true) === undefined;
}
