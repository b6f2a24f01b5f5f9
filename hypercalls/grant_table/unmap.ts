/** GNTTABOP_unmap_grant_ref and unmap_and_replace: the end of a mapping, or of its half for the CPU or for devices. */
import { findGrantEntry, removeGrantMapping, replaceGrantMapping } from '../../emulator/memory/grant_mapping.ts';
import { letGo } from '../../emulator/memory/held_frames.ts';
import { PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { unplaceGrant } from '../../emulator/memory/p2m.ts';
import { putPageType } from '../../emulator/memory/page_types.ts';
import { GNTMAP_contains_pte, GNTMAP_device_map, GNTMAP_host_map, GNTMAP_readonly, GNTST } from '../abi/grant_table.ts';
import { unmark } from './entry_access.ts';
import { gfnAt, type Mapper } from './map.ts';
import { maptrack } from './maptrack.ts';
import { grantTable } from './table.ts';

/** Up to so many frames are looked for in the TLB, for more of them it is emptied. */
const MAX_FLUSHED = 4;
/** What was taken out of page tables since the last flush: how many frames, and the first of them. */
let staleCount = 0;
const stale = new Int32Array(MAX_FLUSHED);

/** No stale translation of what `call` unmapped remains. */
export function flushUnmapped({ domain, host: { memory } }: Mapper): void {
  if (staleCount > MAX_FLUSHED || domain.type === 'pvh') memory.flushTlbs();
  else for (let i = 0; i < staleCount; i++) memory.flushFrame(stale[i]!);
  staleCount = 0;
}

/**
 * Ends what `handle` maps, for the CPU at a vaddr (or in the L1 entry at a maddr), for devices at a bus address, in halves;
 * where they are 0, that half of the mapping stays. What is mapped at the new vaddr, if that is not 0, goes where the
 * grant was. The status. `flushUnmapped` is the caller's, before its guest runs again.
 */
export function unmap(
  call: Mapper,
  handle: number,
  low: number,
  high: number,
  busLow: number,
  busHigh: number,
  newLow: number,
  newHigh: number,
): number {
  const { host, domain, vcpu } = call;
  const { memory } = host;
  const mappings = maptrack.of(domain);
  const mapping = mappings.get(handle);
  if (mapping === undefined) return GNTST.bad_handle;
  const { flags } = mapping;
  const active = mapping.active ?? grantTable(host, mapping.granter).active(mapping.ref);
  const { mfn } = active;
  const isReadonly = (flags & GNTMAP_readonly) !== 0;
  let done = 0;

  const isForDevice = (busLow | busHigh) !== 0 && (flags & GNTMAP_device_map) !== 0;
  if (isForDevice && (busHigh >>> 0) * 2 ** 32 + (busLow >>> 0) !== mfn * PAGE_SIZE) return GNTST.bad_dev_addr;
  if ((low | high) !== 0 && flags & GNTMAP_host_map) {
    if (domain.type === 'pvh') {
      if (!unplaceGrant(memory, domain, gfnAt(low, high), mfn)) return GNTST.general_error;
      letGo(memory, domain, mfn, !isReadonly);
    } else {
      const isMaddr = flags & GNTMAP_contains_pte;
      const maddr = findGrantEntry(memory, vcpu, low, high, isMaddr);
      const isGone =
        (newLow | newHigh) === 0
          ? removeGrantMapping(memory, maddr, mfn, isReadonly)
          : isMaddr === 0 && replaceGrantMapping(memory, maddr, mfn, isReadonly, findGrantEntry(memory, vcpu, newLow, newHigh, 0));
      if (!isGone) return GNTST.general_error;
      if (!isReadonly) putPageType(memory, mfn);
      if (staleCount < MAX_FLUSHED) stale[staleCount] = mfn;
      staleCount++;
      memory.putPage(mfn);
    }
    done |= GNTMAP_host_map;
  }
  if (isForDevice) {
    letGo(memory, domain, mfn, !isReadonly);
    done |= GNTMAP_device_map;
  }
  if (done === 0) return GNTST.okay;

  active.unpin(done | (flags & GNTMAP_readonly));
  unmark(memory, active, flags);
  mappings.remove(handle, done);
  return GNTST.okay;
}
