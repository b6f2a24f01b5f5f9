/**
 * A granted frame in a PV domain's page tables (xen:arch/x86/pv/grant_table.c). Unlike other L1 entries these are made by
 * ring -1, for frames of other domains too, with references that the grant table took beforehand. They belong to the
 * entry from then on: whoever overwrites it otherwise gives them up.
 */
import { findL1EntryAt, findL1EntryMaddr } from './guest_walk.ts';
import { type MachineMemory, PAGE_SIZE } from './machine_memory.ts';
import type { MemoryVcpu } from './memory_domain.ts';
import { PGT_l1_page_table } from './page_type.ts';
import { dropEntry, isLivePageTable } from './page_types.ts';
import * as pte from './pte.ts';

export interface GrantMapping {
  /** Halves of a vaddr, or with `isPteAddress` of the maddr of the L1 entry. */
  readonly low: number;
  readonly high: number;
  readonly isPteAddress: boolean;
  readonly isReadonly: boolean;
  /** For user mode too. */
  readonly isForApplication: boolean;
}

const ENTRY_SIZE = 8;
const AVAIL_SHIFT = 9;
const AVAIL_MASK = 7;

/** Where the L1 entry is, in a live L1 table of the vCPU's domain; -1: nowhere. */
function findEntry(memory: MachineMemory, vcpu: MemoryVcpu, { low, high, isPteAddress }: GrantMapping): number {
  return liveL1(memory, vcpu, isPteAddress ? pteMaddr(memory, low, high) : findL1EntryAt(memory, vcpu, low, high));
}

function liveL1(memory: MachineMemory, vcpu: MemoryVcpu, maddr: number): number {
  if (maddr < 0) return -1;
  const table = Math.floor(maddr / PAGE_SIZE);
  const isOwnL1 = memory.owner[table] === vcpu.domain.id && isLivePageTable(memory, table) && memory.type[table] === PGT_l1_page_table;
  return isOwnL1 ? maddr : -1;
}

function pteMaddr(memory: MachineMemory, low: number, high: number): number {
  const maddr = high * 2 ** 32 + low;
  return low % ENTRY_SIZE === 0 && maddr < memory.frameCount * PAGE_SIZE ? maddr : -1;
}

/** Makes the entry, with `softwareBits` in its three available bits; false: there is no place for it. No TLB is flushed. */
export function createGrantMapping(
  memory: MachineMemory,
  vcpu: MemoryVcpu,
  mfn: number,
  mapping: GrantMapping,
  softwareBits: number,
): boolean {
  const maddr = findEntry(memory, vcpu, mapping);
  if (maddr < 0) return false;
  const { view } = memory;
  const oldLow = view.getUint32(maddr, true);
  const oldHigh = view.getUint32(maddr + 4, true);
  let flags = pte.FLAG_PRESENT | pte.FLAG_ACCESSED | pte.FLAG_DIRTY | ((softwareBits & AVAIL_MASK) << AVAIL_SHIFT);
  if (!mapping.isReadonly) flags |= pte.FLAG_RW;
  if (mapping.isForApplication) flags |= pte.FLAG_USER;
  const low = (mfn << 12) | flags;
  const high = Math.floor(mfn / 2 ** 20) | pte.HIGH_NX;
  pte.storeAdjusted(view, maddr, PGT_l1_page_table, low, high);
  memory.written(maddr, ENTRY_SIZE);
  dropEntry(memory, PGT_l1_page_table, oldLow, oldHigh, Math.floor(maddr / PAGE_SIZE));
  return true;
}

/**
 * Takes the entry away, if it shows the frame with these rights; its references are the caller's then. With a
 * `replacement`, a vaddr, what is mapped there moves to the entry's place, and is gone from there even on failure.
 */
export function removeGrantMapping(
  memory: MachineMemory,
  vcpu: MemoryVcpu,
  mfn: number,
  mapping: GrantMapping,
  replacement: bigint,
): boolean {
  const { view } = memory;
  let movedLow = 0;
  let movedHigh = 0;
  let movedFrom = -1;
  if (replacement !== 0n) {
    if (mapping.isPteAddress) return false;
    movedFrom = liveL1(memory, vcpu, findL1EntryMaddr(memory, vcpu, replacement));
    if (movedFrom < 0) return false;
    movedLow = view.getUint32(movedFrom, true);
    movedHigh = view.getUint32(movedFrom + 4, true);
    store(memory, movedFrom, 0, 0);
  }
  const maddr = findEntry(memory, vcpu, mapping);
  if (maddr >= 0 && isMappingOf(view, maddr, mfn, mapping)) {
    store(memory, maddr, movedLow, movedHigh);
    return true;
  }
  if (movedFrom >= 0) dropEntry(memory, PGT_l1_page_table, movedLow, movedHigh, Math.floor(movedFrom / PAGE_SIZE));
  return false;
}

function isMappingOf(view: DataView, maddr: number, mfn: number, { isReadonly }: GrantMapping): boolean {
  const low = view.getUint32(maddr, true);
  const wanted = isReadonly ? pte.FLAG_PRESENT : pte.FLAG_PRESENT | pte.FLAG_RW;
  return (low & (pte.FLAG_PRESENT | pte.FLAG_RW)) === wanted && pte.mfnOfHalves(low, view.getUint32(maddr + 4, true)) === mfn;
}

function store(memory: MachineMemory, maddr: number, low: number, high: number): void {
  memory.view.setUint32(maddr, low, true);
  memory.view.setUint32(maddr + 4, high, true);
  memory.written(maddr, ENTRY_SIZE);
}
