/**
 * The guest's side of a grant entry: whether it lets a domain read or write, the bits that tell the guest so, and the
 * frame that it names (xen:common/grant_table.c _set_status, get_paged_frame). The guest may change all of it at any time,
 * so each thing is read once.
 */
import type { Domain } from '../../emulator/domain.ts';
import { type MachineMemory, PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { frameOf } from '../../emulator/memory/p2m.ts';
import {
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_sub_page,
  GTF_transitive,
  GTF_type_mask,
  GTF_writing,
  grant_entry_v1,
  grant_entry_v2_full_page,
  grant_entry_v2_sub_page,
  grant_entry_v2_transitive,
} from '../abi/grant_table.ts';
import type { ActiveEntry } from './active_entry.ts';
import type { GrantTable } from './table.ts';

const V1 = grant_entry_v1.offset;
const FULL = grant_entry_v2_full_page.offset;
const SUB = grant_entry_v2_sub_page.offset;
const TRANSITIVE = grant_entry_v2_transitive.offset;
/** The start of a sub-page grant is kept in so many bits. */
const START_MASK = 0x7fff;

export function flagsOf(memory: MachineMemory, table: GrantTable, ref: number): number {
  return memory.view.getUint16(table.entry(ref) + V1.flags, true);
}

function setStatusBits(memory: MachineMemory, maddr: number, set: number, clear: number): void {
  const old = memory.view.getUint16(maddr, true);
  const bits = (old | set) & ~clear;
  if (bits === old) return;
  memory.view.setUint16(maddr, bits, true);
  memory.written(maddr, 2);
}

/**
 * Whether the domain may read or write what the entry grants, in its page tables (`isMapping`) or by a copy only; then the
 * entry is marked as read or written. One in use has been checked: only its being read-only counts.
 */
export function admit(
  memory: MachineMemory,
  table: GrantTable,
  ref: number,
  active: ActiveEntry,
  domid: number,
  isReadonly: boolean,
  isMapping: boolean,
): boolean {
  const maddr = table.entry(ref);
  const flags = memory.view.getUint16(maddr + V1.flags, true);
  if (!active.isPinned) {
    const type = flags & (isMapping ? GTF_type_mask | GTF_sub_page : GTF_type_mask);
    const isTypeRight = type === GTF_permit_access || (type === GTF_transitive && table.version === 2 && !isMapping);
    if (!isTypeRight || memory.view.getUint16(maddr + V1.domid, true) !== domid) return false;
  }
  if (!isReadonly && flags & GTF_readonly) return false;
  setStatusBits(memory, table.status(ref), isReadonly ? GTF_reading : GTF_reading | GTF_writing, 0);
  return true;
}

/** Takes back the marks that nobody needs any more, after a use of this kind has ended or failed. */
export function unmark(memory: MachineMemory, table: GrantTable, ref: number, active: ActiveEntry, isReadonly: boolean): void {
  if (ref >= table.entryCount) return;
  const clear = (isReadonly || active.isWritePinned ? 0 : GTF_writing) | (active.isPinned ? 0 : GTF_reading);
  if (clear !== 0) setStatusBits(memory, table.status(ref), 0, clear);
}

export interface NamedPage {
  readonly gfn: number;
  readonly start: number;
  readonly length: number;
  readonly isSubPage: boolean;
}

/** The page that an entry names, which is no transitive one. */
export function namedPage({ view }: MachineMemory, table: GrantTable, ref: number): NamedPage {
  const maddr = table.entry(ref);
  if (table.version === 1) return { gfn: view.getUint32(maddr + V1.frame, true), start: 0, length: PAGE_SIZE, isSubPage: false };
  const gfn = readFrame(view, maddr + FULL.frame);
  if (!(view.getUint16(maddr + FULL.flags, true) & GTF_sub_page)) return { gfn, start: 0, length: PAGE_SIZE, isSubPage: false };
  const start = view.getUint16(maddr + SUB.page_off, true) & START_MASK;
  return { gfn, start, length: view.getUint16(maddr + SUB.length, true), isSubPage: true };
}

export function namedGrant({ view }: MachineMemory, table: GrantTable, ref: number): { domid: number; ref: number } {
  const maddr = table.entry(ref);
  return { domid: view.getUint16(maddr + TRANSITIVE.trans_domid, true), ref: view.getUint32(maddr + TRANSITIVE.gref, true) };
}

/** A u64 of which only what can be a frame counts. */
function readFrame(view: DataView, maddr: number): number {
  return view.getUint32(maddr, true) + view.getUint32(maddr + 4, true) * 2 ** 32;
}

/** The frame of the domain's own that it means by the gfn, with one more reference; -1: it has none such. */
export function takeFrame(memory: MachineMemory, domain: Domain, gfn: number): number {
  const mfn = frameOf(memory, domain, gfn);
  return memory.getPage(mfn, domain.id) ? mfn : -1;
}
