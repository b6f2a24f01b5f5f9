/**
 * XENMEM_increase_reservation, decrease_reservation and populate_physmap: the loop over extents. All three answer how many
 * extents are done, whatever went wrong (xen:common/memory.c).
 */

import type { Domain } from '../../emulator/domain.ts';
import type { MachineMemory } from '../../emulator/memory/machine_memory.ts';
import { gfnOf, placeFrame, removePage } from '../../emulator/memory/p2m.ts';
import {
  decreaseReservation,
  endOfFrames,
  increaseReservation,
  isOrderAllowed,
  populatePhysmap,
} from '../../emulator/memory/reservation.ts';
import { AGAIN } from '../abi/hypercall.ts';
import {
  MEMOP_CMD_MASK,
  MEMOP_EXTENT_SHIFT,
  XENMEMF_ADDRESS_BITS,
  XENMEMF_populate_on_demand,
  xen_memory_reservation,
} from '../abi/memory.ts';
import { DOMID_SELF } from '../abi/xen.ts';
import type { Call } from '../call.ts';
import { copyFromGuest, isGuestArray, readU64, writeU64 } from '../guest_memory.ts';

/** Frames that are moved before others get their turn. */
const FRAMES_PER_SLICE = 4096;
/** More extents could not be counted in a continuation. */
const MAX_EXTENTS = BigInt(0xffff_ffff >>> MEMOP_EXTENT_SHIFT);

const bytes = new Uint8Array(xen_memory_reservation.size);
const view = new DataView(bytes.buffer);

type Change = 'increase' | 'decrease' | 'populate';

export function changeReservation(call: Call, change: Change): number | typeof AGAIN {
  const { host } = call;
  const command = call.args[0]!;
  const start = Number(BigInt.asUintN(32, command >> BigInt(MEMOP_EXTENT_SHIFT)));
  if (!copyFromGuest(host, call.args[1]!, bytes)) return start;
  const { extent_start, nr_extents, extent_order, mem_flags, domid } = xen_memory_reservation.read(view, 0);
  if (nr_extents > MAX_EXTENTS || BigInt(start) >= nr_extents) return start;
  const domain = domid === DOMID_SELF ? call.domain : host.domains.get(domid);
  if (domain === undefined || (domain !== call.domain && !call.domain.isInitial)) return start;
  const count = Number(nr_extents);
  const hasList = change !== 'increase' || extent_start !== 0n;
  if (hasList && !isGuestArray(host, BigInt.asUintN(64, extent_start + BigInt(start * 8)), count - start, 8)) return start;
  if (!isOrderAllowed(call.domain, extent_order)) return start;
  if (change === 'populate' && mem_flags & XENMEMF_populate_on_demand) return start;
  const frameEnd = endOfFrames(host.memory, mem_flags & XENMEMF_ADDRESS_BITS);
  if (frameEnd <= 1) return start;

  const sliceEnd = Math.min(count, start + Math.max(1, FRAMES_PER_SLICE >> extent_order));
  for (let i = start; i < sliceEnd; i++) {
    const entry = BigInt.asUintN(64, extent_start + BigInt(i * 8));
    if (!changeExtent(call, domain, change, entry, { hasList, order: extent_order, frameEnd })) return i;
  }
  if (sliceEnd === count) return count;
  call.args[0] = (command & BigInt(MEMOP_CMD_MASK)) | (BigInt(sliceEnd) << BigInt(MEMOP_EXTENT_SHIFT));
  return AGAIN;
}

interface Extents {
  /** Whether the guest gave, or wants, a list of frames. */
  readonly hasList: boolean;
  readonly order: number;
  /** No new frame is at or above. */
  readonly frameEnd: number;
}

function changeExtent({ host }: Call, domain: Domain, change: Change, entry: bigint, { hasList, order, frameEnd }: Extents): boolean {
  const { memory } = host;
  const isTranslated = domain.type === 'pvh';
  if (change === 'increase') {
    const mfn = increaseReservation(memory, domain, order, frameEnd);
    return mfn >= 0 && (isTranslated || !hasList || writeU64(host, entry, BigInt(mfn)));
  }
  const frame = readU64(host, entry);
  if (frame === undefined) return false;
  if (isTranslated)
    return change === 'populate' ? populate(memory, domain, gfnOf(frame), order, frameEnd) : empty(memory, domain, gfnOf(frame), order);
  if (change === 'populate') {
    const mfn = populatePhysmap(memory, domain, frame, order, frameEnd);
    return mfn >= 0 && writeU64(host, entry, BigInt(mfn));
  }
  if (frame >= BigInt(memory.frameCount)) return false;
  for (let i = 0; i < 2 ** order; i++) if (!decreaseReservation(memory, domain, Number(frame) + i)) return false;
  return true;
}

/** New memory for a translated domain, in place of what is at its gfns. */
function populate(memory: MachineMemory, domain: Domain, gfn: number, order: number, frameEnd: number): boolean {
  const mfn = increaseReservation(memory, domain, order, frameEnd);
  if (mfn < 0) return false;
  for (let i = 0; i < 2 ** order; i++) {
    if (placeFrame(memory, domain, gfn + i, mfn + i)) continue;
    for (let left = i; left < 2 ** order; left++) decreaseReservation(memory, domain, mfn + left);
    return false;
  }
  return true;
}

function empty(memory: MachineMemory, domain: Domain, gfn: number, order: number): boolean {
  for (let i = 0; i < 2 ** order; i++) if (!removePage(memory, domain, gfn + i)) return false;
  return true;
}
