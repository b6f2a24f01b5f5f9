/**
 * The guest's side of a grant entry: whether it lets a domain read or write, the bits that tell the guest so, and the
 * frame that it names (xen:common/grant_table.c _set_status, get_paged_frame). The guest may change all of it at any time,
 * so each thing is read once.
 */
import type { Domain } from '../../emulator/domain.ts';
import type { MachineMemory } from '../../emulator/memory/machine_memory.ts';
import { frameOf } from '../../emulator/memory/p2m.ts';
import {
  GNTMAP_readonly,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_sub_page,
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
/** In the first word of an entry, behind the flags. */
const DOMID_SHIFT = 8 * V1.domid;

function setStatusBits(memory: MachineMemory, maddr: number, set: number, clear: number): void {
  const { halfwords } = memory;
  const old = halfwords[maddr >>> 1]!;
  const bits = (old | set) & ~clear;
  if (bits === old) return;
  halfwords[maddr >>> 1] = bits;
  memory.writtenInPage(maddr, 2);
}

/**
 * Whether the domain may read or write what the entry grants, as GNTMAP_ `flags` say, if its type is `type`, of the bits in
 * `typeMask`; then it is marked as read or written. One in use has been checked: only its being read-only counts.
 */
export function admit(
  memory: MachineMemory,
  active: ActiveEntry,
  domid: number,
  flags: number,
  typeMask: number,
  type = GTF_permit_access,
): boolean {
  const word = memory.words[active.entry >>> 2]!;
  if (!active.isPinned && ((word & typeMask) !== type || word >>> DOMID_SHIFT !== domid)) return false;
  const isReadonly = (flags & GNTMAP_readonly) !== 0;
  if (!isReadonly && word & GTF_readonly) return false;
  setStatusBits(memory, active.status, isReadonly ? GTF_reading : GTF_reading | GTF_writing, 0);
  return true;
}

/** Takes back the marks that nobody needs any more, after a use of this kind has ended or failed. */
export function unmark(memory: MachineMemory, active: ActiveEntry, flags: number): void {
  const clear = (flags & GNTMAP_readonly || active.isWritePinned ? 0 : GTF_writing) | (active.isPinned ? 0 : GTF_reading);
  if (clear !== 0 && active.status >= 0) setStatusBits(memory, active.status, 0, clear);
}

/** GTF_: whether the entry is one of these, now. */
export function isOfType({ words }: MachineMemory, { entry }: ActiveEntry, type: number): boolean {
  return (words[entry >>> 2]! & GTF_type_mask) === type;
}

/** The gfn that an entry names, which is no transitive one. */
export function namedFrame({ words }: MachineMemory, { version }: GrantTable, { entry }: ActiveEntry): number {
  return version === 1 ? words[(entry + V1.frame) >>> 2]! >>> 0 : readFrame(words, (entry + FULL.frame) >>> 2);
}

/** Where an entry of version 2 grants a part of the page only, that is what its user has. */
export function useNamedPart({ view }: MachineMemory, active: ActiveEntry): void {
  const { entry } = active;
  if (!(view.getUint16(entry + FULL.flags, true) & GTF_sub_page)) return;
  active.start = view.getUint16(entry + SUB.page_off, true) & START_MASK;
  active.length = view.getUint16(entry + SUB.length, true);
  active.isSubPage = true;
}

export function namedGrant({ view }: MachineMemory, { entry }: ActiveEntry): { domid: number; ref: number } {
  return { domid: view.getUint16(entry + TRANSITIVE.trans_domid, true), ref: view.getUint32(entry + TRANSITIVE.gref, true) };
}

/** A u64 of which only what can be a frame counts. */
function readFrame(words: Int32Array, at: number): number {
  return (words[at]! >>> 0) + (words[at + 1]! >>> 0) * 2 ** 32;
}

/** The frame of the domain's own that it means by the gfn, with one more reference; -1: it has none such. */
export function takeFrame(memory: MachineMemory, domain: Domain, gfn: number): number {
  const mfn = domain.type === 'pvh' ? frameOf(memory, domain, gfn) : gfn;
  return memory.getPage(mfn, domain.id) ? mfn : -1;
}

/** The same of the one that an entry of its table names. */
export function takeNamedFrame(memory: MachineMemory, domain: Domain, table: GrantTable, active: ActiveEntry): number {
  if (table.version !== 1 || domain.type === 'pvh') return takeFrame(memory, domain, namedFrame(memory, table, active));
  // With its sign, as a frame below 2 ** 31 is the same and others are none.
  const mfn = memory.words[(active.entry + V1.frame) >>> 2]!;
  return memory.getPage(mfn, domain.id) ? mfn : -1;
}

export function flagsOf(memory: MachineMemory, table: GrantTable, ref: number): number {
  return memory.view.getUint16(table.entry(ref) + V1.flags, true);
}
