/**
 * A granted frame in a PV domain's page tables (xen:arch/x86/pv/grant_table.c). Unlike other L1 entries these are made by
 * ring -1, for frames of other domains too, with references that the grant table took beforehand. They belong to the
 * entry from then on: whoever overwrites it otherwise gives them up.
 */
import { findL1Entry } from './guest_walk.ts';
import { type MachineMemory, PAGE_SIZE } from './machine_memory.ts';
import type { MemoryVcpu } from './memory_domain.ts';
import { PGT_l1_page_table } from './page_type.ts';
import { dropEntry, isLivePageTable } from './page_types.ts';
import * as pte from './pte.ts';

export interface GrantMapping {
  /** A vaddr, or with `isPteAddress` the maddr of the L1 entry. */
  readonly address: bigint;
  readonly isPteAddress: boolean;
  readonly isReadonly: boolean;
  /** For user mode too. */
  readonly isForApplication: boolean;
}

const ENTRY_SIZE = 8;

/** Where the L1 entry is, in a live L1 table of the vCPU's domain; -1: nowhere. */
function findEntry(memory: MachineMemory, vcpu: MemoryVcpu, address: bigint, isPteAddress: boolean): number {
  let maddr: number;
  if (isPteAddress) {
    if (address % BigInt(ENTRY_SIZE) !== 0n || address >= BigInt(memory.frameCount * PAGE_SIZE)) return -1;
    maddr = Number(address);
  } else {
    const found = findL1Entry(memory, vcpu, address);
    if (found === undefined) return -1;
    maddr = found.maddr;
  }
  const table = Math.floor(maddr / PAGE_SIZE);
  const isOwnL1 = memory.owner[table] === vcpu.domain.id && isLivePageTable(memory, table) && memory.type[table] === PGT_l1_page_table;
  return isOwnL1 ? maddr : -1;
}

function store(memory: MachineMemory, maddr: number, entry: bigint): bigint {
  const old = memory.view.getBigUint64(maddr, true);
  memory.view.setBigUint64(maddr, entry, true);
  memory.written(maddr, ENTRY_SIZE);
  return old;
}

/** Makes the entry, with `softwareBits` in its three available bits; false: there is no place for it. No TLB is flushed. */
export function createGrantMapping(
  memory: MachineMemory,
  vcpu: MemoryVcpu,
  mfn: number,
  mapping: GrantMapping,
  softwareBits: number,
): boolean {
  const maddr = findEntry(memory, vcpu, mapping.address, mapping.isPteAddress);
  if (maddr < 0) return false;
  let flags = pte.PAGE_PRESENT | pte.PAGE_ACCESSED | pte.PAGE_DIRTY | pte.PAGE_NX | ((BigInt(softwareBits) << 9n) & pte.PAGE_AVAIL);
  if (!mapping.isReadonly) flags |= pte.PAGE_RW;
  if (mapping.isForApplication) flags |= pte.PAGE_USER;
  const old = store(memory, maddr, pte.adjustL1(pte.entryOf(mfn, flags)));
  dropEntry(memory, PGT_l1_page_table, old, Math.floor(maddr / PAGE_SIZE));
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
  let moved = 0n;
  let movedFrom = -1;
  if (replacement !== 0n) {
    if (mapping.isPteAddress) return false;
    movedFrom = findEntry(memory, vcpu, replacement, false);
    if (movedFrom < 0) return false;
    moved = store(memory, movedFrom, 0n);
  }
  const maddr = findEntry(memory, vcpu, mapping.address, mapping.isPteAddress);
  const wanted = mapping.isReadonly ? pte.PAGE_PRESENT : pte.PAGE_PRESENT | pte.PAGE_RW;
  const entry = maddr < 0 ? 0n : memory.view.getBigUint64(maddr, true);
  if (pte.mfnOf(entry) === mfn && (entry & (pte.PAGE_PRESENT | pte.PAGE_RW)) === wanted) {
    store(memory, maddr, moved);
    return true;
  }
  if (movedFrom >= 0) dropEntry(memory, PGT_l1_page_table, moved, Math.floor(movedFrom / PAGE_SIZE));
  return false;
}
