/**
 * Recounts every pin of every grant from the mappings that there are, and compares. For tests, between hypercalls: the
 * message of the first difference, undefined when the books agree.
 */
import type { Host } from '../../emulator/host.ts';
import { GNTMAP_device_map, GNTMAP_host_map } from '../abi/grant_table.ts';
import { ActiveEntry } from './active_entry.ts';
import { maptrack } from './maptrack.ts';
import { type GrantTable, grantTable } from './table.ts';

/** By table and reference. */
type Books = Map<GrantTable, Map<number, ActiveEntry>>;

function entryIn(books: Books, table: GrantTable, ref: number): ActiveEntry {
  const entries = books.get(table) ?? new Map<number, ActiveEntry>();
  const entry = entries.get(ref) ?? new ActiveEntry();
  books.set(table, entries);
  entries.set(ref, entry);
  return entry;
}

export function checkGrants(host: Host): string | undefined {
  const books: Books = new Map();
  for (const domain of host.domains.values()) {
    for (const [handle, { granter, ref, flags }] of maptrack.of(domain)) {
      const what = `handle ${handle} of domain ${domain.id} for reference ${ref} of domain ${granter.id}`;
      if (!(flags & (GNTMAP_device_map | GNTMAP_host_map))) return `${what} maps nothing`;
      const table = grantTable(host, granter);
      if (table.active(ref).domid !== domain.id) return `${what} belongs to domain ${table.active(ref).domid}`;
      entryIn(books, table, ref).pin(flags);
    }
  }
  for (const domain of host.domains.values()) {
    const table = grantTable(host, domain);
    const entries = books.get(table) ?? new Map<number, ActiveEntry>();
    for (const [ref, active] of table.pinned()) {
      const counted = entries.get(ref);
      if (counted === undefined || active.pins !== counted.pins) {
        return `reference ${ref} of domain ${domain.id} is pinned otherwise than it is mapped`;
      }
      entries.delete(ref);
    }
    for (const ref of entries.keys()) return `reference ${ref} of domain ${domain.id} is mapped and not pinned`;
  }
  return undefined;
}
