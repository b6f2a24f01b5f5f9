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
import { admit, takeNamedFrame, unmark } from './entry_access.ts';
import { maptrack } from './maptrack.ts';
import { grantTable } from './table.ts';

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
  if (!(flags & (GNTMAP_device_map | GNTMAP_host_map))) return GNTST.bad_gntref;
  if (domain.type === 'pvh' && flags & (GNTMAP_device_map | GNTMAP_application_map | GNTMAP_contains_pte)) return GNTST.general_error;
  const granter = call.host.domains.get(dom);
  if (granter === undefined) return GNTST.bad_domain;
  const mappings = maptrack.of(domain);
  const handle = mappings.take(call.vcpu.id);
  if (handle < 0) return GNTST.no_space;
  const status = pinAndMap(call, granter, ref, flags, low, high);
  if (status !== GNTST.okay) {
    mappings.put(handle);
    return status;
  }
  mappings.set(handle, granter, ref, flags & MAPPING_FLAGS);
  mapped.handle = handle;
  return GNTST.okay;
}

/** The gfn of an address in halves. */
export const gfnAt = (low: number, high: number): number => (high >>> 0) * 2 ** 20 + (low >>> 12);

/** The status. */
function pinAndMap(call: Mapper, granter: Domain, ref: number, flags: number, low: number, high: number): number {
  const { host, domain } = call;
  const { memory } = host;
  const isReadonly = (flags & GNTMAP_readonly) !== 0;
  const table = grantTable(host, granter);
  if (!table.has(ref)) return GNTST.bad_gntref;
  const active = table.active(ref);
  if (active.isPinned && (active.domid !== domain.id || active.isSubPage || !active.hasRoomFor(flags))) return GNTST.general_error;

  let isHeld = false;
  if (!active.isPinned || (!isReadonly && !active.isWritePinned)) {
    if (!admit(memory, active, domain.id, flags, GTF_type_mask | GTF_sub_page)) return GNTST.general_error;
    if (!active.isPinned) {
      const mfn = takeNamedFrame(memory, granter, table, active);
      if (mfn < 0) {
        unmark(memory, active, flags);
        return GNTST.bad_page;
      }
      active.use(domain.id, mfn);
      isHeld = true;
    }
  }
  active.pin(flags);
  mapped.mfn = active.mfn;
  if (mapPinned(call, granter, active.mfn, flags, low, high, isHeld)) return GNTST.okay;
  active.unpin(flags);
  unmark(memory, active, flags);
  return GNTST.general_error;
}

/** Takes what the mappings need and makes them, all or none. `isHeld`: there is a reference for the first. */
function mapPinned(call: Mapper, granter: Domain, mfn: number, flags: number, low: number, high: number, isHeld: boolean): boolean {
  const { memory } = call.host;
  const isWritable = !(flags & GNTMAP_readonly);
  const isForDevice = (flags & GNTMAP_device_map) !== 0;
  const isForHost = (flags & GNTMAP_host_map) !== 0;
  // The entry may be in use and its frame gone: a mapping was taken away behind ring -1's back, and then the page.
  if (!takeUse(memory, mfn, granter.id, isWritable, isHeld)) return false;
  const areBoth = isForDevice && isForHost && takeUse(memory, mfn, granter.id, isWritable, false);
  if (isForHost && (areBoth !== isForDevice || !mapForHost(call, mfn, flags, low, high))) {
    putUse(memory, mfn, isWritable);
    if (areBoth) putUse(memory, mfn, isWritable);
    return false;
  }
  // A translated guest's place holds nothing: what is there may be taken away while the mapping lives on.
  if (isForDevice || call.domain.type === 'pvh') noteHold(memory, call.domain, mfn, isWritable);
  return true;
}

function mapForHost({ host: { memory }, domain, vcpu }: Mapper, mfn: number, flags: number, low: number, high: number): boolean {
  const isReadonly = (flags & GNTMAP_readonly) !== 0;
  if (domain.type === 'pvh') return placeGrant(memory, domain, gfnAt(low, high), mfn, isReadonly);
  const maddr = findGrantEntry(memory, vcpu, low, high, (flags & GNTMAP_contains_pte) !== 0);
  if (maddr < 0) return false;
  const entryFlags = grantFlags(isReadonly, (flags & GNTMAP_application_map) !== 0, flags >>> GNTMAP_guest_avail_shift);
  createGrantMapping(memory, maddr, mfn, entryFlags);
  return true;
}

/** A reference to the frame, but one that `isHeld`, and if it `isWritable` one to its type; or neither. */
function takeUse(memory: MachineMemory, mfn: number, owner: number, isWritable: boolean, isHeld: boolean): boolean {
  if (!isHeld && !memory.getPage(mfn, owner)) return false;
  if (!isWritable || getPageType(memory, mfn, PGT_writable_page) === undefined) return true;
  memory.putPage(mfn);
  return false;
}

function putUse(memory: MachineMemory, mfn: number, isWritable: boolean): void {
  if (isWritable) putPageAndType(memory, mfn);
  else memory.putPage(mfn);
}
