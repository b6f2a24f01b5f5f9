/**
 * A granted page pinned for the time of a copy, also part of one, also through another domain's grant
 * (xen:common/grant_table.c acquire_grant_for_copy).
 */
import type { Domain } from '../../emulator/domain.ts';
import type { Host } from '../../emulator/host.ts';
import type { MachineMemory } from '../../emulator/memory/machine_memory.ts';
import { GNTMAP_host_map, GNTMAP_readonly, GNTST, GTF_permit_access, GTF_transitive, GTF_type_mask } from '../abi/grant_table.ts';
import type { ActiveEntry } from './active_entry.ts';
import { admit, isOfType, namedGrant, takeNamedFrame, unmark, useNamedPart } from './entry_access.ts';
import { type GrantTable, grantTable } from './table.ts';

/** A copy pins as a mapping for the CPU would, to read or to write. */
export const TO_READ = GNTMAP_host_map | GNTMAP_readonly;
export const TO_WRITE = GNTMAP_host_map;
export type CopyFlags = typeof TO_READ | typeof TO_WRITE;

/** No status: a transitive grant in use leads elsewhere now. Xen makes the whole call again, until that has an end. */
export const RESTART = 1;

/**
 * What is granted, with a reference to its frame and a pin; or a status, or RESTART. `releaseGrant` undoes the pin. Grants
 * lead on to others only with `mayGoOn`.
 */
export function acquireGrant(
  host: Host,
  granter: Domain,
  ref: number,
  domid: number,
  flags: CopyFlags,
  mayGoOn = true,
): ActiveEntry | number {
  const { memory } = host;
  const table = grantTable(host, granter);
  if (!table.has(ref)) return GNTST.bad_gntref;
  const active = table.active(ref);
  if (active.isPinned && (active.domid !== domid || !active.hasRoomFor(flags))) return GNTST.general_error;

  const isTransitive = table.version === 2 && isOfType(memory, active, GTF_transitive);
  const isNewUse = !active.isPinned || (flags === TO_WRITE && !active.isWritePinned);
  if (isNewUse && !admit(memory, active, domid, flags, GTF_type_mask, isTransitive ? GTF_transitive : GTF_permit_access)) {
    return GNTST.general_error;
  }
  let status: number = GNTST.okay;
  if (isTransitive) status = mayGoOn ? takeThrough(host, granter, active, domid, flags) : GNTST.general_error;
  else if (isNewUse) status = takeNamed(memory, granter, table, active, domid);
  else if (!memory.getPage(active.mfn, granter.id)) status = GNTST.bad_domain;
  if (status !== GNTST.okay) {
    unmark(memory, active, flags);
    return status;
  }
  active.pin(flags);
  return active;
}

/** The page that the entry names now; while in use it must be the one of before. */
function takeNamed(memory: MachineMemory, granter: Domain, table: GrantTable, active: ActiveEntry, domid: number): number {
  const mfn = takeNamedFrame(memory, granter, table, active);
  if (mfn < 0) return GNTST.bad_page;
  if (active.isPinned) {
    if (mfn === active.mfn) return GNTST.okay;
    memory.putPage(mfn);
    return GNTST.general_error;
  }
  active.use(domid, mfn);
  if (table.version === 2) useNamedPart(memory, active);
  return GNTST.okay;
}

/** One step further only: the grant that this one leads to is for `granter`, and no transitive one. */
function takeThrough(host: Host, granter: Domain, active: ActiveEntry, domid: number, flags: CopyFlags): number {
  const next = namedGrant(host.memory, active);
  const domain = next.domid === granter.id ? undefined : host.domains.get(next.domid);
  if (domain === undefined) return GNTST.general_error;
  const found = acquireGrant(host, domain, next.ref, granter.id, flags, false);
  if (typeof found === 'number') return found;
  if (!active.isPinned) {
    active.usePage(domid, { ...found.page, isSubPage: true, through: { domain, ref: next.ref } });
    return GNTST.okay;
  }
  const isSame =
    active.mfn === found.mfn &&
    active.start === found.start &&
    active.length === found.length &&
    active.through?.domain === domain &&
    active.through.ref === next.ref;
  if (isSame) return GNTST.okay;
  host.memory.putPage(found.mfn);
  releaseGrant(host, found, flags);
  return RESTART;
}

/** The copy is over; the frame's reference is the caller's to give up. */
export function releaseGrant(host: Host, active: ActiveEntry, flags: CopyFlags): void {
  active.unpin(flags);
  unmark(host.memory, active, flags);
  const { through } = active;
  if (through !== undefined) releaseGrant(host, grantTable(host, through.domain).active(through.ref), flags);
}
