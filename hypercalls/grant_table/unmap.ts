/** GNTTABOP_unmap_grant_ref and unmap_and_replace: the end of a mapping, or of its half for the CPU or for devices. */
import { removeGrantMapping } from '../../emulator/memory/grant_mapping.ts';
import { letGo } from '../../emulator/memory/held_frames.ts';
import { PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { unplaceGrant } from '../../emulator/memory/p2m.ts';
import { putPageType } from '../../emulator/memory/page_types.ts';
import { GNTMAP_device_map, GNTMAP_host_map, GNTMAP_readonly, GNTST } from '../abi/grant_table.ts';
import { unmark } from './entry_access.ts';
import { gfnAt, hostMapping, type Mapper } from './map.ts';
import { maptrack } from './maptrack.ts';
import { grantTable } from './table.ts';

/** Addresses in unsigned halves; where they are 0, that half of the mapping stays. */
export interface Unmapping {
  /** For the CPU. */
  readonly low: number;
  readonly high: number;
  /** For devices. */
  readonly busLow: number;
  readonly busHigh: number;
  /** What is mapped there goes where the grant was; 0: nothing does. */
  readonly newAddr: bigint;
}

/** Up to so many frames are looked for in the TLB, for more of them it is emptied. */
const MAX_FLUSHED = 4;
/** What was taken out of page tables since the last flush: how many frames, and the first of them. */
let staleCount = 0;
const stale = new Int32Array(MAX_FLUSHED);

/** No stale translation of what `call` unmapped remains. */
export function flushUnmapped({ domain, host: { memory } }: Mapper): void {
  if (!domain.isPv || staleCount > MAX_FLUSHED) memory.flushTlbs();
  else for (let i = 0; i < staleCount; i++) memory.flushFrame(stale[i]!);
  staleCount = 0;
}

/** The status. `flushUnmapped` is the caller's, before its guest runs again. */
export function unmap(call: Mapper, handle: number, { low, high, busLow, busHigh, newAddr }: Unmapping): number {
  const { host, domain, vcpu } = call;
  const { memory } = host;
  const mappings = maptrack.of(domain);
  const mapping = mappings.get(handle);
  if (mapping === undefined) return GNTST.bad_handle;
  const table = grantTable(host, mapping.granter);
  const active = table.active(mapping.ref);
  const { mfn } = active.page;
  const isReadonly = (mapping.flags & GNTMAP_readonly) !== 0;
  let done = 0;

  const isForDevice = (busLow | busHigh) !== 0 && (mapping.flags & GNTMAP_device_map) !== 0;
  if (isForDevice && busHigh * 2 ** 32 + busLow !== mfn * PAGE_SIZE) return GNTST.bad_dev_addr;
  if ((low | high) !== 0 && mapping.flags & GNTMAP_host_map) {
    if (!domain.isPv) {
      if (!unplaceGrant(memory, domain, gfnAt(low, high), mfn)) return GNTST.general_error;
      letGo(memory, domain, mfn, !isReadonly);
    } else {
      if (!removeGrantMapping(memory, vcpu, mfn, hostMapping(low, high, mapping.flags), newAddr)) return GNTST.general_error;
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

  active.pin(done | (mapping.flags & GNTMAP_readonly), -1);
  unmark(memory, table, mapping.ref, active, isReadonly);
  mapping.flags &= ~done;
  if (!(mapping.flags & (GNTMAP_device_map | GNTMAP_host_map))) mappings.put(handle);
  return GNTST.okay;
}
