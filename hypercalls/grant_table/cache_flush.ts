/** GNTTABOP_cache_flush: an address range in a page of one's own, or mapped from another domain. Caches here are always clean. */
import { PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { GNTTAB_CACHE_CLEAN, GNTTAB_CACHE_INVAL } from '../abi/grant_table.ts';
import type { Call } from '../call.ts';
import { grantTable } from './table.ts';

interface FlushArgs {
  readonly a: bigint;
  readonly offset: number;
  readonly length: number;
  readonly op: number;
}
const OPERATIONS = GNTTAB_CACHE_CLEAN | GNTTAB_CACHE_INVAL;

/** `firstRef`: where in the owner's table the search for the grant begins. */
export function flushCache(
  call: Call,
  { a: address, offset, length, op }: FlushArgs,
  firstRef: number,
): 'EINVAL' | 'EOPNOTSUPP' | 'EPERM' | 'EILSEQ' | undefined {
  if (offset >= PAGE_SIZE || offset + length > PAGE_SIZE || op & ~OPERATIONS) return 'EINVAL';
  if (length === 0 || op === 0) return firstRef === 0 ? undefined : 'EILSEQ';
  const { host, domain } = call;
  const mfn = Number(address >> 12n);
  if (!host.memory.isFrame(mfn)) return 'EINVAL';
  const owner = host.domains.get(host.memory.owner[mfn]!);
  if (owner === undefined) return 'EPERM';
  if (owner !== domain) {
    let isGranted = false;
    for (const [ref, { domid, mfn: shown }] of grantTable(host, owner).pinned()) {
      if (ref >= firstRef && domid === domain.id && shown === mfn) isGranted = true;
    }
    if (!isGranted) return 'EINVAL';
  }
  return op & GNTTAB_CACHE_CLEAN ? undefined : 'EOPNOTSUPP';
}
