/** GNTTABOP_swap_grant_ref: two entries of one's own change places, if neither is in use. */
import { GNTST, grant_entry_v1, grant_entry_v2_full_page } from '../abi/grant_table.ts';
import type { Call } from '../call.ts';
import { grantTable } from './table.ts';

const STATUS_SIZE = 2;

/** The status. */
export function swapGrantRefs({ host, domain }: Call, a: number, b: number): number {
  const table = grantTable(host, domain);
  if (a >= table.entryCount || b >= table.entryCount) return GNTST.bad_gntref;
  if (a === b) return GNTST.okay;
  if (table.active(a).isPinned || table.active(b).isPinned) return GNTST.eagain;
  const size = table.version === 1 ? grant_entry_v1.size : grant_entry_v2_full_page.size;
  swapBytes(host.memory.bytes, table.entry(a), table.entry(b), size);
  if (table.version === 2) swapBytes(host.memory.bytes, table.status(a), table.status(b), STATUS_SIZE);
  return GNTST.okay;
}

function swapBytes(bytes: Uint8Array, a: number, b: number, size: number): void {
  const kept = bytes.slice(a, a + size);
  bytes.copyWithin(a, b, b + size);
  bytes.set(kept, b);
}
