/** GNTTABOP_map_grant_ref: a page of another domain's becomes reachable, for the caller's CPU or its devices. */
import type { Domain } from '../../emulator/domain.ts';
import { createGrantMapping, type GrantMapping } from '../../emulator/memory/grant_mapping.ts';
import { noteHold } from '../../emulator/memory/held_frames.ts';
import { type MachineMemory, PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { placeGrant } from '../../emulator/memory/p2m.ts';
import { PGT_writable_page } from '../../emulator/memory/page_type.ts';
import { getPageType, putPageType } from '../../emulator/memory/page_types.ts';
import {
  GNTMAP_application_map,
  GNTMAP_contains_pte,
  GNTMAP_device_map,
  GNTMAP_guest_avail_shift,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST,
} from '../abi/grant_table.ts';
import type { Call } from '../call.ts';
import type { ActiveEntry } from './active_entry.ts';
import { admit, namedPage, takeFrame, unmark } from './entry_access.ts';
import { maptrack } from './maptrack.ts';
import { grantTable } from './table.ts';

/** Bits of `flags` that a mapping remembers. */
const MAPPING_FLAGS = 0xffff;

/** What shall be mapped, how, and where: halves of a vaddr, or with GNTMAP_contains_pte of a maddr. */
interface Wanted {
  readonly ref: number;
  readonly flags: number;
  readonly low: number;
  readonly high: number;
}

/** Who maps: a guest in a call, or the host. */
export type Mapper = Pick<Call, 'host' | 'domain' | 'vcpu'>;

/** A handle, or a status below 0. */
export function mapGrantRef(call: Mapper, dom: number, wanted: Wanted): number {
  const { ref, flags } = wanted;
  if (!(flags & (GNTMAP_device_map | GNTMAP_host_map))) return GNTST.bad_gntref;
  if (call.domain.type === 'pvh' && flags & (GNTMAP_device_map | GNTMAP_application_map | GNTMAP_contains_pte)) return GNTST.general_error;
  const granter = call.host.domains.get(dom);
  if (granter === undefined) return GNTST.bad_domain;
  const mappings = maptrack.of(call.domain);
  const handle = mappings.take(call.vcpu.id);
  if (handle < 0) return GNTST.no_space;
  const status = pinAndMap(call, granter, wanted);
  if (status !== GNTST.okay) {
    mappings.put(handle);
    return status;
  }
  mappings.set(handle, { granter, ref, flags: flags & MAPPING_FLAGS });
  return handle;
}

/** What a handle of the mapper's shows. */
export function mappedFrame({ host, domain }: Mapper, handle: number): number {
  const { granter, ref } = maptrack.of(domain).get(handle)!;
  return grantTable(host, granter).active(ref).page.mfn;
}

/** How an entry was mapped for the CPU, as it is found again to unmap it. */
export function hostMapping(low: number, high: number, flags: number): GrantMapping {
  return {
    low,
    high,
    isPteAddress: (flags & GNTMAP_contains_pte) !== 0,
    isReadonly: (flags & GNTMAP_readonly) !== 0,
    isForApplication: (flags & GNTMAP_application_map) !== 0,
  };
}

/** The gfn of an address in halves. */
export const gfnAt = (low: number, high: number): number => high * 2 ** 20 + (low >>> 12);

/** The status. */
function pinAndMap(call: Mapper, granter: Domain, wanted: Wanted): number {
  const { host, domain } = call;
  const { ref, flags } = wanted;
  const { memory } = host;
  const isReadonly = (flags & GNTMAP_readonly) !== 0;
  const table = grantTable(host, granter);
  if (ref >= table.entryCount) return GNTST.bad_gntref;
  const active = table.active(ref);
  if (active.isPinned && (active.domid !== domain.id || active.page.isSubPage || !active.hasRoomFor(flags))) return GNTST.general_error;

  let isHeld = false;
  if (!active.isPinned || (!isReadonly && !active.isWritePinned)) {
    if (!admit(memory, table, ref, active, domain.id, isReadonly, true)) return GNTST.general_error;
    if (!active.isPinned) {
      const mfn = takeFrame(memory, granter, namedPage(memory, table, ref).gfn);
      if (mfn < 0) {
        unmark(memory, table, ref, active, isReadonly);
        return GNTST.bad_page;
      }
      active.use(domain.id, mfn, 0, PAGE_SIZE, false);
      isHeld = true;
    }
  }
  active.pin(flags, 1);
  if (mapPinned(call, granter, active, wanted, isHeld)) return GNTST.okay;
  active.pin(flags, -1);
  unmark(memory, table, ref, active, isReadonly);
  return GNTST.general_error;
}

/** Takes the references that the mappings need and makes them, all or none. `isHeld`: there is a reference for the first. */
function mapPinned(call: Mapper, granter: Domain, active: ActiveEntry, wanted: Wanted, isHeld: boolean): boolean {
  const { memory } = call.host;
  const { mfn } = active.page;
  const isWritable = !(wanted.flags & GNTMAP_readonly);
  const isForDevice = (wanted.flags & GNTMAP_device_map) !== 0;
  const isForHost = (wanted.flags & GNTMAP_host_map) !== 0;
  const count = isForDevice && isForHost ? 2 : 1;
  // The entry may be in use and its frame gone: a mapping was taken away behind ring -1's back, and then the page.
  let references = isHeld ? 1 : 0;
  while (references < count && memory.getPage(mfn, granter.id)) references++;
  let types = 0;
  while (isWritable && references === count && types < count && getPageType(memory, mfn, PGT_writable_page) === undefined) types++;
  const isTaken = references === count && types === (isWritable ? count : 0);
  if (!isTaken || (isForHost && !mapForHost(call, mfn, wanted))) {
    putAll(memory, mfn, references, types);
    return false;
  }
  // A translated guest's place holds nothing: what is there may be taken away while the mapping lives on.
  if (isForDevice || call.domain.type === 'pvh') noteHold(memory, call.domain, mfn, isWritable);
  return true;
}

function mapForHost(call: Mapper, mfn: number, { flags, low, high }: Wanted): boolean {
  const { memory } = call.host;
  if (call.domain.type === 'pvh') return placeGrant(memory, call.domain, gfnAt(low, high), mfn, (flags & GNTMAP_readonly) !== 0);
  return createGrantMapping(memory, call.vcpu, mfn, hostMapping(low, high, flags), flags >>> GNTMAP_guest_avail_shift);
}

function putAll(memory: MachineMemory, mfn: number, references: number, types: number): void {
  for (let i = 0; i < types; i++) putPageType(memory, mfn);
  for (let i = 0; i < references; i++) memory.putPage(mfn);
}
