/**
 * The guest-physical memory of a translated (PVH) domain: which machine frame is at which gfn, and how it came there
 * (xen:arch/x86/mm/p2m.c). Its RAM is the domain's own by allocation, whether it has a gfn or not; a page that is mapped by
 * grant is held by the mapping, not by the place. A PV domain has none of this: its gfns are machine frames.
 */
import { defineSlot } from '../slot.ts';
import { FRAME_XEN_HEAP, INVALID_M2P_ENTRY, type MachineMemory } from './machine_memory.ts';
import type { MemoryDomain } from './memory_domain.ts';
import { decreaseReservation } from './reservation.ts';

export type P2mType = 'ram' | 'grant' | 'readonlyGrant';

export interface P2mEntry {
  readonly mfn: number;
  readonly type: P2mType;
}

/** Beyond what four levels of tables reach. */
const GFN_LIMIT = 2 ** 36;

export class P2m {
  readonly #entries = new Map<number, P2mEntry>();
  /** The highest gfn that ever had something. */
  maxGfn = 0;

  get(gfn: number): P2mEntry | undefined {
    return this.#entries.get(gfn);
  }

  /** False: no such gfn can be. */
  set(gfn: number, entry: P2mEntry): boolean {
    if (gfn >= GFN_LIMIT) return false;
    this.#entries.set(gfn, entry);
    this.maxGfn = Math.max(this.maxGfn, gfn);
    return true;
  }

  delete(gfn: number): void {
    this.#entries.delete(gfn);
  }
}

export const p2m = defineSlot<MemoryDomain, P2m>(() => new P2m(), { name: 'memory.p2m', isTransient: true });

/** A gfn as a number; one that is too big for it is none. */
export const gfnOf = (gfn: bigint): number => (gfn < 1n << 52n ? Number(gfn) : Number.POSITIVE_INFINITY);

/** The machine frame that a domain means by a gfn, or -1. It may be another domain's. */
export function frameOf(memory: MachineMemory, domain: MemoryDomain, gfn: number): number {
  if (domain.type === 'pvh') return p2m.of(domain).get(gfn)?.mfn ?? -1;
  return memory.isFrame(gfn) ? gfn : -1;
}

/** The frame is at `gfn` from now on; what was there has no gfn any more. */
export function placeFrame(memory: MachineMemory, domain: MemoryDomain, gfn: number, mfn: number): boolean {
  const places = p2m.of(domain);
  const old = places.get(gfn);
  if (!places.set(gfn, { mfn, type: 'ram' })) return false;
  if (old?.type === 'ram') memory.setM2p(old.mfn, INVALID_M2P_ENTRY);
  memory.setM2p(mfn, BigInt(gfn));
  memory.flushTlbs();
  return true;
}

/** Nothing is at `gfn`; the frame that was stays its owner's. */
export function unplaceFrame(memory: MachineMemory, domain: MemoryDomain, gfn: number): void {
  const places = p2m.of(domain);
  const old = places.get(gfn);
  if (old === undefined) return;
  places.delete(gfn);
  if (old.type === 'ram') memory.setM2p(old.mfn, INVALID_M2P_ENTRY);
  memory.flushTlbs();
}

/** Where the domain's frame is, or -1. */
export function placeOf(memory: MachineMemory, domain: MemoryDomain, mfn: number): number {
  const gfn = memory.getM2p(mfn);
  return gfn !== INVALID_M2P_ENTRY && p2m.of(domain).get(gfnOf(gfn))?.mfn === mfn ? Number(gfn) : -1;
}

/** Takes what is at `gfn` out of the domain; its own memory is freed, ring -1's pages only leave. False: there is nothing of its own. */
export function removePage(memory: MachineMemory, domain: MemoryDomain, gfn: number): boolean {
  const old = p2m.of(domain).get(gfn);
  if (old === undefined || memory.owner[old.mfn] !== domain.id) return false;
  unplaceFrame(memory, domain, gfn);
  if (!(memory.flags[old.mfn]! & FRAME_XEN_HEAP)) decreaseReservation(memory, domain, old.mfn);
  return true;
}

/** Moves a frame of the domain, or a page of ring -1's for it, to `gfn` in place of what is there (xen xenmem_add_to_physmap_one). */
export function moveFrame(memory: MachineMemory, domain: MemoryDomain, mfn: number, gfn: number): 'EINVAL' | 'ENOENT' | undefined {
  const old = p2m.of(domain).get(gfn);
  if (old !== undefined && old.mfn !== mfn) {
    if (memory.flags[old.mfn]! & FRAME_XEN_HEAP) unplaceFrame(memory, domain, gfn);
    else if (!removePage(memory, domain, gfn)) return 'EINVAL';
  }
  const place = placeOf(memory, domain, mfn);
  if (place >= 0 && place !== gfn) unplaceFrame(memory, domain, place);
  return placeFrame(memory, domain, gfn, mfn) ? undefined : 'ENOENT';
}

/** Shows a granted frame at a page of guest-physical memory; one of the domain's own is nowhere else then. */
export function placeGrant(memory: MachineMemory, domain: MemoryDomain, gfn: number, mfn: number, isReadonly: boolean): boolean {
  const places = p2m.of(domain);
  const old = places.get(gfn);
  if (!places.set(gfn, { mfn, type: isReadonly ? 'readonlyGrant' : 'grant' })) return false;
  if (old?.type === 'ram') memory.setM2p(old.mfn, INVALID_M2P_ENTRY);
  const place = memory.owner[mfn] === domain.id ? placeOf(memory, domain, mfn) : -1;
  if (place >= 0 && place !== gfn) unplaceFrame(memory, domain, place);
  memory.flushTlbs();
  return true;
}

/** Takes it away, if it is there. */
export function unplaceGrant(memory: MachineMemory, domain: MemoryDomain, gfn: number, mfn: number): boolean {
  const old = p2m.of(domain).get(gfn);
  if (old === undefined || old.type === 'ram' || old.mfn !== mfn) return false;
  unplaceFrame(memory, domain, gfn);
  return true;
}
