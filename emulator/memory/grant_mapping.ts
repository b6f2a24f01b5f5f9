/**
 * A granted frame in a PV domain's page tables (xen:arch/x86/pv/grant_table.c). Unlike other L1 entries these are made by
 * ring -1, for frames of other domains too, with references that the grant table took beforehand. They belong to the
 * entry from then on: whoever overwrites it otherwise gives them up. No TLB is flushed here.
 */
import { findL1EntryAt } from './guest_walk.ts';
import { type MachineMemory, PAGE_SHIFT, PAGE_SIZE } from './machine_memory.ts';
import type { MemoryVcpu } from './memory_domain.ts';
import { PGT_l1_page_table } from './page_type.ts';
import { dropEntry, isLiveAs } from './page_types.ts';
import * as pte from './pte.ts';

const ENTRY_SIZE = 8;
const AVAIL_SHIFT = 9;
const AVAIL_MASK = 7;

/** The L1 entry that a vaddr in halves goes through, or if `isMaddr` is not 0 the one at a maddr, in a live table of the vCPU's domain; -1: there is none. */
export function findGrantEntry(memory: MachineMemory, vcpu: MemoryVcpu, low: number, high: number, isMaddr: number): number {
  const maddr = isMaddr !== 0 ? entryAt(memory, low, high) : findL1EntryAt(memory, vcpu, low, high);
  if (maddr < 0) return -1;
  const table = maddr >>> PAGE_SHIFT;
  return memory.owner[table] === vcpu.domain.id && isLiveAs(memory, table, PGT_l1_page_table) ? maddr : -1;
}

function entryAt(memory: MachineMemory, low: number, high: number): number {
  const maddr = (high >>> 0) * 2 ** 32 + (low >>> 0);
  return low % ENTRY_SIZE === 0 && maddr < memory.frameCount * PAGE_SIZE ? maddr : -1;
}

/** The flags of an entry for a granted frame, with `softwareBits` in its three available bits. */
export function grantFlags(isReadonly: boolean, isForApplication: boolean, softwareBits: number): number {
  const access = (isReadonly ? 0 : pte.FLAG_RW) | (isForApplication ? pte.FLAG_USER : 0);
  return pte.FLAG_PRESENT | pte.FLAG_ACCESSED | pte.FLAG_DIRTY | access | ((softwareBits & AVAIL_MASK) << AVAIL_SHIFT);
}

/** The entry at `maddr` shows the frame. */
export function createGrantMapping(memory: MachineMemory, maddr: number, mfn: number, flags: number): void {
  const { words } = memory;
  const at = maddr >>> 2;
  const oldLow = words[at]!;
  const oldHigh = words[at + 1]!;
  pte.storeAdjusted(words, at, PGT_l1_page_table, (mfn << PAGE_SHIFT) | flags, (mfn >>> (32 - PAGE_SHIFT)) | pte.HIGH_NX);
  memory.writtenInPage(maddr, ENTRY_SIZE);
  dropEntry(memory, PGT_l1_page_table, oldLow, oldHigh, maddr >>> PAGE_SHIFT);
}

/** Takes the entry at `maddr` (-1: there is none) away, if it shows the frame with these rights; its references are the caller's then. */
export function removeGrantMapping(memory: MachineMemory, maddr: number, mfn: number, isReadonly: boolean): boolean {
  if (maddr < 0 || !isGrantMapping(memory, maddr, mfn, isReadonly)) return false;
  store(memory, maddr, 0, 0);
  return true;
}

/** The same, but what the entry at `from` (-1: there is none) says moves there. It is gone from its place even on failure. */
export function replaceGrantMapping(memory: MachineMemory, maddr: number, mfn: number, isReadonly: boolean, from: number): boolean {
  if (from < 0) return false;
  const { words } = memory;
  const low = words[from >>> 2]!;
  const high = words[(from >>> 2) + 1]!;
  store(memory, from, 0, 0);
  const isThere = maddr >= 0 && isGrantMapping(memory, maddr, mfn, isReadonly);
  if (isThere) store(memory, maddr, low, high);
  else dropEntry(memory, PGT_l1_page_table, low, high, from >>> PAGE_SHIFT);
  return isThere;
}

function isGrantMapping({ words }: MachineMemory, maddr: number, mfn: number, isReadonly: boolean): boolean {
  const low = words[maddr >>> 2]!;
  const wanted = isReadonly ? pte.FLAG_PRESENT : pte.FLAG_PRESENT | pte.FLAG_RW;
  return (low & (pte.FLAG_PRESENT | pte.FLAG_RW)) === wanted && pte.mfnOfHalves(low, words[(maddr >>> 2) + 1]!) === mfn;
}

function store(memory: MachineMemory, maddr: number, low: number, high: number): void {
  memory.words[maddr >>> 2] = low;
  memory.words[(maddr >>> 2) + 1] = high;
  memory.writtenInPage(maddr, ENTRY_SIZE);
}
