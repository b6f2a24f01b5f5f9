/**
 * A granted page pinned for the time of a copy, also part of one, also through another domain's grant
 * (xen:common/grant_table.c acquire_grant_for_copy).
 */
import type { Domain } from '../../emulator/domain.ts';
import type { Host } from '../../emulator/host.ts';
import { GNTMAP_host_map, GNTMAP_readonly, GNTST, GTF_transitive, GTF_type_mask } from '../abi/grant_table.ts';
import type { ActiveEntry, GrantedPage } from './active_entry.ts';
import { admit, flagsOf, namedGrant, namedPage, takeFrame, unmark } from './entry_access.ts';
import { type GrantTable, grantTable } from './table.ts';

/** A copy pins as a mapping for the CPU would. */
const pinFlags = (isReadonly: boolean): number => (isReadonly ? GNTMAP_host_map | GNTMAP_readonly : GNTMAP_host_map);

/** No status: a transitive grant in use leads elsewhere now. Xen makes the whole call again, until that has an end. */
export const RESTART = 1;

/** What is granted, with a reference to its frame and a pin; or a status, or RESTART. `releaseGrant` undoes the pin. */
export function acquireGrant(host: Host, granter: Domain, ref: number, domid: number, isReadonly: boolean): GrantedPage | number {
  return acquire(host, granter, ref, domid, isReadonly, true);
}

function acquire(host: Host, granter: Domain, ref: number, domid: number, isReadonly: boolean, mayGoOn: boolean): GrantedPage | number {
  const { memory } = host;
  const table = grantTable(host, granter);
  if (ref >= table.entryCount) return GNTST.bad_gntref;
  const active = table.active(ref);
  if (active.isPinned && (active.domid !== domid || !active.hasRoomFor(pinFlags(isReadonly)))) return GNTST.general_error;

  let status: number = GNTST.okay;
  const isNewUse = !active.isPinned || (!isReadonly && !active.isWritePinned);
  const isTransitive = table.version === 2 && (flagsOf(memory, table, ref) & GTF_type_mask) === GTF_transitive;
  if (isNewUse && !admit(memory, table, ref, active, domid, isReadonly, false)) return GNTST.general_error;
  if (isTransitive) status = mayGoOn ? takeThrough(host, granter, table, ref, active, domid, isReadonly) : GNTST.general_error;
  else if (isNewUse) status = takeNamed(host, granter, table, ref, active, domid);
  else if (!memory.getPage(active.page.mfn, granter.id)) status = GNTST.bad_domain;
  if (status !== GNTST.okay) {
    unmark(memory, table, ref, active, isReadonly);
    return status;
  }
  active.pin(pinFlags(isReadonly), 1);
  return active.page;
}

/** The page that the entry names now; while in use it must be the one of before. */
function takeNamed(host: Host, granter: Domain, table: GrantTable, ref: number, active: ActiveEntry, domid: number): number {
  const { memory } = host;
  const { gfn, start, length, isSubPage } = namedPage(memory, table, ref);
  const mfn = takeFrame(memory, granter, gfn);
  if (mfn < 0) return GNTST.bad_page;
  if (!active.isPinned) {
    active.use(domid, mfn, start, length, isSubPage);
  } else if (mfn !== active.page.mfn) {
    memory.putPage(mfn);
    return GNTST.general_error;
  }
  return GNTST.okay;
}

/** One step further only: the grant that this one leads to is for `granter`, and no transitive one. */
function takeThrough(
  host: Host,
  granter: Domain,
  table: GrantTable,
  ref: number,
  active: ActiveEntry,
  domid: number,
  isReadonly: boolean,
): number {
  const next = namedGrant(host.memory, table, ref);
  const domain = next.domid === granter.id ? undefined : host.domains.get(next.domid);
  if (domain === undefined) return GNTST.general_error;
  const found = acquire(host, domain, next.ref, granter.id, isReadonly, false);
  if (typeof found === 'number') return found;
  if (!active.isPinned) {
    active.domid = domid;
    active.page = { ...found, isSubPage: true, through: { domain, ref: next.ref } };
    return GNTST.okay;
  }
  const { page } = active;
  const isSame =
    page.mfn === found.mfn &&
    page.start === found.start &&
    page.length === found.length &&
    page.through?.domain === domain &&
    page.through.ref === next.ref;
  if (isSame) return GNTST.okay;
  host.memory.putPage(found.mfn);
  releaseGrant(host, domain, next.ref, isReadonly);
  return RESTART;
}

/** The copy is over; the frame's reference is the caller's to give up. */
export function releaseGrant(host: Host, granter: Domain, ref: number, isReadonly: boolean): void {
  const table = grantTable(host, granter);
  const active = table.active(ref);
  active.pin(pinFlags(isReadonly), -1);
  unmark(host.memory, table, ref, active, isReadonly);
  const { through } = active.page;
  if (through !== undefined) releaseGrant(host, through.domain, through.ref, isReadonly);
}
