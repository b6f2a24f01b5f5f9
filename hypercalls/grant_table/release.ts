/** The end of a domain's mappings of others, and of its own table (xen:common/grant_table.c gnttab_release_mappings). */
import type { Domain } from '../../emulator/domain.ts';
import type { Host } from '../../emulator/host.ts';
import { letGo } from '../../emulator/memory/held_frames.ts';
import { GNTMAP_device_map, GNTMAP_readonly } from '../abi/grant_table.ts';
import { unmark } from './entry_access.ts';
import { maptrack } from './maptrack.ts';
import { grantTable } from './table.ts';

/**
 * Before the domain's memory goes: what its page tables hold is given up with them. Its own grants that others still map
 * stay mapped, and are unmapped without a mark in the table, which is gone.
 */
export function releaseGrants(host: Host, domain: Domain): void {
  const mappings = maptrack.of(domain);
  for (const [handle, { granter, ref, flags }] of mappings) {
    const active = grantTable(host, granter).active(ref);
    if (flags & GNTMAP_device_map) letGo(host.memory, domain, active.mfn, !(flags & GNTMAP_readonly));
    active.unpin(flags);
    unmark(host.memory, active, flags);
    mappings.put(handle);
  }
  grantTable(host, domain).forgetFrames();
}
