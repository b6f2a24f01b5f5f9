/**
 * A PV domain's frames come and go: the frame work behind XENMEM_increase_reservation, decrease_reservation,
 * populate_physmap and exchange (xen:common/memory.c). The calls' loops, arguments and counts are hypercalls/memory.
 */
import { FRAME_ALLOCATED, FRAME_XEN_HEAP, type MachineMemory, OWNER_RING, PAGE_SHIFT } from './machine_memory.ts';
import type { MemoryDomain } from './memory_domain.ts';

/** Largest order of an extent for a domain without devices, and for the initial one (xen:common/memory.c max_order). */
const DOMU_MAX_ORDER = 9;
const CONTROL_DOMAIN_MAX_ORDER = 18;

export function isOrderAllowed(domain: MemoryDomain, order: number): boolean {
  return order <= (domain.isInitial ? CONTROL_DOMAIN_MAX_ORDER : DOMU_MAX_ORDER);
}

/** The frames that so many bits of an address reach end here; 0 bits: at the machine's end. */
export function endOfFrames(memory: MachineMemory, addressBits: number): number {
  return addressBits === 0 ? memory.frameCount : Math.min(memory.frameCount, Math.floor(2 ** (addressBits - PAGE_SHIFT)));
}

/** `2 ** order` new contiguous frames below `end` of the domain, unknown to its m2p; -1: its limit or the machine's memory is reached. */
export function increaseReservation(memory: MachineMemory, domain: MemoryDomain, order: number, end = memory.frameCount): number {
  if (memory.pageCount(domain.id) + 2 ** order > domain.maxPages) return -1;
  return memory.allocate(domain.id, order, end);
}

/** The same, as the domain's pages from `pfn` on. */
export function populatePhysmap(memory: MachineMemory, domain: MemoryDomain, pfn: bigint, order: number, end?: number): number {
  const mfn = increaseReservation(memory, domain, order, end);
  if (mfn >= 0) nameFrames(memory, mfn, pfn, order);
  return mfn;
}

function nameFrames(memory: MachineMemory, mfn: number, pfn: bigint, order: number): void {
  for (let i = 0; i < 2 ** order; i++) memory.setM2p(mfn + i, BigInt.asUintN(64, pfn + BigInt(i)));
}

/** The domain gives the frame up; it is freed when its last mapping is gone. False: not the domain's, or given up before. */
export function decreaseReservation(memory: MachineMemory, domain: MemoryDomain, mfn: number): boolean {
  if (!memory.getPage(mfn, domain.id)) return false;
  if (!(memory.flags[mfn]! & FRAME_XEN_HEAP) && memory.flags[mfn]! & FRAME_ALLOCATED) {
    memory.flags[mfn]! &= ~FRAME_ALLOCATED;
    memory.putPage(mfn);
  }
  memory.putPage(mfn);
  return true;
}

export interface ExchangeOptions {
  /** The frames given, in the order of the guest's list. */
  readonly inMfns: readonly number[];
  readonly outOrder: number;
  /** No new frame is at or above. */
  readonly outEnd?: number;
  /** One pfn for each extent wanted; undefined: the guest did not tell, so its frames get no name. */
  readonly outPfns: readonly (bigint | undefined)[];
}

/** Whether all of the frames are the domain's, named once, and mapped nowhere, so that they can be taken away. */
export function canGive(memory: MachineMemory, domain: MemoryDomain, mfns: readonly number[]): boolean {
  return new Set(mfns).size === mfns.length && mfns.every((mfn) => isSoleOwner(memory, domain, mfn));
}

/**
 * Trades frames for as many others in extents of another order (XENMEM_exchange): all or nothing. Answers the first mfn
 * of each new extent, or why not.
 */
export function exchange(memory: MachineMemory, domain: MemoryDomain, options: ExchangeOptions): number[] | 'EINVAL' | 'ENOMEM' {
  const { inMfns, outOrder, outEnd, outPfns } = options;
  if (!canGive(memory, domain, inMfns)) return 'EINVAL';
  const outMfns: number[] = [];
  for (const _ of outPfns) {
    const mfn = memory.allocate(domain.id, outOrder, outEnd);
    if (mfn < 0) {
      for (const taken of outMfns) for (let i = 0; i < 2 ** outOrder; i++) decreaseReservation(memory, domain, taken + i);
      return 'ENOMEM';
    }
    outMfns.push(mfn);
  }
  for (const mfn of inMfns) decreaseReservation(memory, domain, mfn);
  for (const [i, mfn] of outMfns.entries()) {
    const pfn = outPfns[i];
    if (pfn !== undefined) nameFrames(memory, mfn, pfn, outOrder);
  }
  return outMfns;
}

/** Takes a frame away from its domain, content and all, until somebody `reassign`s or frees it (xen steal_page). */
export function stealPage(memory: MachineMemory, domain: MemoryDomain, mfn: number): boolean {
  if (!isSoleOwner(memory, domain, mfn)) return false;
  memory.reassign(mfn, OWNER_RING);
  memory.flushTlbs();
  return true;
}

/** Only the allocation itself holds the frame: it can be taken away. */
function isSoleOwner(memory: MachineMemory, domain: MemoryDomain, mfn: number): boolean {
  return (
    memory.isFrame(mfn) &&
    memory.owner[mfn] === domain.id &&
    memory.references[mfn] === 1 &&
    (memory.flags[mfn]! & (FRAME_ALLOCATED | FRAME_XEN_HEAP)) === FRAME_ALLOCATED
  );
}
