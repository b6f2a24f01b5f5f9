/** GNTTABOP_map_grant_ref: a page of another domain's becomes reachable, for the caller's CPU or its devices. */
import type { Domain } from '../../emulator/domain.ts';
import { createGrantMapping, findGrantEntry, grantFlags } from '../../emulator/memory/grant_mapping.ts';
import { noteHold } from '../../emulator/memory/held_frames.ts';
import type { MachineMemory } from '../../emulator/memory/machine_memory.ts';
import { placeGrant } from '../../emulator/memory/p2m.ts';
import { PGT_writable_page } from '../../emulator/memory/page_type.ts';
import { getPageType, putPageAndType } from '../../emulator/memory/page_types.ts';
import {
  GNTMAP_application_map,
  GNTMAP_contains_pte,
  GNTMAP_device_map,
  GNTMAP_guest_avail_shift,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST,
  GTF_sub_page,
  GTF_type_mask,
} from '../abi/grant_table.ts';
import type { Call } from '../call.ts';
import type { ActiveEntry } from './active_entry.ts';
import { admit, takeNamedFrame, unmark } from './entry_access.ts';
import { maptrack } from './maptrack.ts';
import { type GrantTable, grantTable } from './table.ts';

const KINDS = GNTMAP_device_map | GNTMAP_host_map;
/** Bits of `flags` that a mapping remembers. */
const MAPPING_FLAGS = 0xffff;

/** Who maps: a guest in a call, or the host. */
export type Mapper = Pick<Call, 'host' | 'domain' | 'vcpu'>;

/** What the last `mapGrantRef` that was okay made: the handle of the mapper's, and the frame that it shows. */
export const mapped = { handle: -1, mfn: -1 };

/**
 * Maps what entry `ref` of domain `dom` grants, with GNTMAP_ `flags`: at a vaddr in halves, or with GNTMAP_contains_pte in
 * the L1 entry at this maddr. The status.
 */
export function mapGrantRef(call: Mapper, dom: number, ref: number, flags: number, low: number, high: number): number {
  const { domain } = call;
  if (!(flags & KINDS)) return GNTST.bad_gntref;
  if (flags & (GNTMAP_device_map | GNTMAP_application_map | GNTMAP_contains_pte) && domain.type === 'pvh') return GNTST.general_error;
  const granter = call.host.domains.get(dom);
  if (granter === undefined) return GNTST.bad_domain;
  const mappings = maptrack.of(domain);
  const handle = mappings.take(call.vcpu.id);
  if (handle < 0) return GNTST.no_space;
  const table = grantTable(call.host, granter);
  const status = table.has(ref) ? pinAndMap(call, granter, table, table.active(ref), flags, low, high) : GNTST.bad_gntref;
  if (status !== GNTST.okay) {
    mappings.put(handle);
    return status;
  }
  mappings.set(handle, granter, ref, flags & MAPPING_FLAGS, table.active(ref));
  mapped.handle = handle;
  return GNTST.okay;
}

/** The gfn of an address in halves. */
export const gfnAt = (low: number, high: number): number => (high >>> 0) * 2 ** 20 + (low >>> 12);

/** The status. */
function pinAndMap(
  call: Mapper,
  granter: Domain,
  table: GrantTable,
  active: ActiveEntry,
  flags: number,
  low: number,
  high: number,
): number {
  const { host, domain } = call;
  const { memory } = host;
  const isUsed = active.isPinned;
  if (isUsed && (active.domid !== domain.id || active.isSubPage || !active.hasRoomFor(flags))) return GNTST.general_error;
  if (!isUsed || (!(flags & GNTMAP_readonly) && !active.isWritePinned)) {
    if (!admit(memory, active, domain.id, flags, GTF_type_mask | GTF_sub_page)) return GNTST.general_error;
    if (!isUsed) {
      const mfn = takeNamedFrame(memory, granter, table, active);
      if (mfn < 0) {
        unmark(memory, active, flags);
        return GNTST.bad_page;
      }
      active.use(domain.id, mfn);
    }
  }
  active.pin(flags);
  const { mfn } = active;
  mapped.mfn = mfn;
  // The entry may be in use and its frame gone: a mapping was taken away behind ring -1's back, and then the page.
  const isHeld = !isUsed || memory.getPage(mfn, granter.id);
  if (isHeld && mapHeld(call, mfn, flags, low, high)) return GNTST.okay;
  active.unpin(flags);
  unmark(memory, active, flags);
  return GNTST.general_error;
}

/** Makes the mappings, all or none; there is a reference to the frame for the first of them, which goes where they are not made. */
function mapHeld(call: Mapper, mfn: number, flags: number, low: number, high: number): boolean {
  const { memory } = call.host;
  if (!takeType(memory, mfn, flags)) return false;
  const isNoted = flags & GNTMAP_device_map || call.domain.type === 'pvh';
  const areMade = isNoted ? mapAndNote(call, mfn, flags, low, high) : mapForHost(call, mfn, flags, low, high);
  if (!areMade) putUse(memory, mfn, flags);
  return areMade;
}

/** The same for a device or a translated guest, whose place holds nothing: what is there may be taken away while the mapping lives on. */
function mapAndNote(call: Mapper, mfn: number, flags: number, low: number, high: number): boolean {
  const { memory } = call.host;
  const areBoth = (flags & KINDS) === KINDS;
  if (areBoth && !(memory.getPage(mfn, memory.owner[mfn]!) && takeType(memory, mfn, flags))) return false;
  if (flags & GNTMAP_host_map && !mapForHost(call, mfn, flags, low, high)) {
    if (areBoth) putUse(memory, mfn, flags);
    return false;
  }
  noteHold(memory, call.domain, mfn, !(flags & GNTMAP_readonly));
  return true;
}

function mapForHost({ host: { memory }, domain, vcpu }: Mapper, mfn: number, flags: number, low: number, high: number): boolean {
  const isReadonly = (flags & GNTMAP_readonly) !== 0;
  if (domain.type === 'pvh') return placeGrant(memory, domain, gfnAt(low, high), mfn, isReadonly);
  const maddr = findGrantEntry(memory, vcpu, low, high, flags & GNTMAP_contains_pte);
  if (maddr < 0) return false;
  const entryFlags = grantFlags(isReadonly, (flags & GNTMAP_application_map) !== 0, flags >>> GNTMAP_guest_avail_shift);
  createGrantMapping(memory, maddr, mfn, entryFlags);
  return true;
}

/** A reference to the frame's type, if it is to be written; where it is no such frame, the one to the frame goes. */
function takeType(memory: MachineMemory, mfn: number, flags: number): boolean {
  if (flags & GNTMAP_readonly || getPageType(memory, mfn, PGT_writable_page) === undefined) return true;
  memory.putPage(mfn);
  return false;
}

function putUse(memory: MachineMemory, mfn: number, flags: number): void {
  if (flags & GNTMAP_readonly) memory.putPage(mfn);
  else putPageAndType(memory, mfn);
}
