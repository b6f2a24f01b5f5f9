/** GNTTABOP_map_grant_ref: a page of another domain's becomes reachable, for the caller's CPU or its devices. */
import type { Domain } from '../../emulator/domain.ts';
import { createGrantMapping, type GrantMapping } from '../../emulator/memory/grant_mapping.ts';
import { noteHold } from '../../emulator/memory/held_frames.ts';
import type { MachineMemory } from '../../emulator/memory/machine_memory.ts';
import { gfnOf, placeGrant } from '../../emulator/memory/p2m.ts';
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

interface MapArgs {
  readonly host_addr: bigint;
  readonly flags: number;
  readonly ref: number;
  readonly dom: number;
  readonly handle: number;
  readonly dev_bus_addr: bigint;
}

export interface MapResult {
  readonly status: number;
  readonly handle: number;
  readonly dev_bus_addr: bigint;
}

/** Who maps: a guest in a call, or the host. */
export type Mapper = Pick<Call, 'host' | 'domain' | 'vcpu'>;

export function mapGrantRef(call: Mapper, { host_addr, flags, ref, dom, handle, dev_bus_addr }: MapArgs): MapResult {
  const refused = (status: number): MapResult => ({ status, handle, dev_bus_addr });
  if (!(flags & (GNTMAP_device_map | GNTMAP_host_map))) return refused(GNTST.bad_gntref);
  if (call.domain.type === 'pvh' && flags & (GNTMAP_device_map | GNTMAP_application_map | GNTMAP_contains_pte)) {
    return refused(GNTST.general_error);
  }
  const granter = call.host.domains.get(dom);
  if (granter === undefined) return refused(GNTST.bad_domain);
  const mappings = maptrack.of(call.domain);
  const taken = mappings.take(call.vcpu.id);
  if (taken < 0) return refused(GNTST.no_space);
  const mfn = pinAndMap(call, granter, ref, flags, host_addr);
  if (mfn < 0) {
    mappings.put(taken);
    return refused(mfn);
  }
  mappings.set(taken, { granter, ref, flags: flags & MAPPING_FLAGS });
  return { status: GNTST.okay, handle: taken, dev_bus_addr: BigInt(mfn) << 12n };
}

/** How an entry was mapped for the CPU, as it is found again to unmap it. */
export function hostMapping(address: bigint, flags: number): GrantMapping {
  return {
    address,
    isPteAddress: (flags & GNTMAP_contains_pte) !== 0,
    isReadonly: (flags & GNTMAP_readonly) !== 0,
    isForApplication: (flags & GNTMAP_application_map) !== 0,
  };
}

/** The frame mapped, or a status. */
function pinAndMap(call: Mapper, granter: Domain, ref: number, flags: number, address: bigint): number {
  const { host, domain } = call;
  const { memory } = host;
  const isReadonly = (flags & GNTMAP_readonly) !== 0;
  const table = grantTable(host, granter);
  if (ref >= table.entryCount) return GNTST.bad_gntref;
  const active = table.active(ref);
  if (active.isPinned && (active.domid !== domain.id || active.page.isSubPage || !active.hasRoomFor(flags))) return GNTST.general_error;

  let isHeld = false;
  if (!active.isPinned || (!isReadonly && !active.isWritePinned)) {
    if (!admit(memory, table, ref, active, { domid: domain.id, isReadonly, isMapping: true })) return GNTST.general_error;
    if (!active.isPinned) {
      const mfn = takeFrame(memory, granter, namedPage(memory, table, ref).gfn);
      if (mfn < 0) {
        unmark(memory, table, ref, active, isReadonly);
        return GNTST.bad_page;
      }
      active.domid = domain.id;
      active.page = { mfn, start: 0, length: 4096, isSubPage: false, through: undefined };
      isHeld = true;
    }
  }
  active.pin(flags, 1);
  if (mapPinned(call, granter, active, flags, address, isHeld)) return active.page.mfn;
  active.pin(flags, -1);
  unmark(memory, table, ref, active, isReadonly);
  return GNTST.general_error;
}

/** Takes the references that the mappings need and makes them, all or none. `isHeld`: there is a reference for the first. */
function mapPinned(call: Mapper, granter: Domain, active: ActiveEntry, flags: number, address: bigint, isHeld: boolean): boolean {
  const { memory } = call.host;
  const { mfn } = active.page;
  const isWritable = !(flags & GNTMAP_readonly);
  const isForDevice = (flags & GNTMAP_device_map) !== 0;
  const isForHost = (flags & GNTMAP_host_map) !== 0;
  let references = isHeld ? 1 : 0;
  let types = 0;
  const wanted = Number(isForDevice) + Number(isForHost);
  const isMapped = (): boolean => {
    // The entry may be in use and its frame gone: a mapping was taken away behind ring -1's back, and then the page.
    while (references < wanted) {
      if (!memory.getPage(mfn, granter.id)) return false;
      references++;
    }
    while (isWritable && types < wanted) {
      if (getPageType(memory, mfn, PGT_writable_page) !== undefined) return false;
      types++;
    }
    return !isForHost || mapForHost(call, mfn, flags, address);
  };
  if (isMapped()) {
    // A translated guest's place holds nothing: what is there may be taken away while the mapping lives on.
    if (isForDevice || call.domain.type === 'pvh') noteHold(memory, call.domain, mfn, isWritable);
    return true;
  }
  putAll(memory, mfn, references, types);
  return false;
}

function mapForHost(call: Mapper, mfn: number, flags: number, address: bigint): boolean {
  const { memory } = call.host;
  if (call.domain.type === 'pvh') return placeGrant(memory, call.domain, gfnOf(address >> 12n), mfn, (flags & GNTMAP_readonly) !== 0);
  return createGrantMapping(memory, call.vcpu, mfn, hostMapping(address, flags), flags >>> GNTMAP_guest_avail_shift);
}

function putAll(memory: MachineMemory, mfn: number, references: number, types: number): void {
  for (let i = 0; i < types; i++) putPageType(memory, mfn);
  for (let i = 0; i < references; i++) memory.putPage(mfn);
}
