/**
 * Frames that ring -1 or a device reaches without a page table, for a domain: its vcpu_info and the like (its own
 * frames), or what it maps for its devices (frames of others). Each hold is a reference, a writable one also a type
 * reference; whatever is left goes with the domain.
 */
import { defineSlot } from '../slot.ts';
import type { MachineMemory } from './machine_memory.ts';
import type { MemoryDomain, Refusal } from './memory_domain.ts';
import { PGT_writable_page } from './page_type.ts';
import { getPageType, putPageAndType } from './page_types.ts';

/** How often each frame is held. */
export interface HeldFrames {
  readonly readable: Map<number, number>;
  readonly writable: Map<number, number>;
}

/** Every domain that ever held a frame: also one that owns none, as the host's own. */
export const holders = defineSlot<MachineMemory, Set<MemoryDomain>>(() => new Set(), { name: 'memory.holders', isTransient: true });

export const heldFrames = defineSlot<MemoryDomain, HeldFrames, { readonly memory: MachineMemory }>(
  () => ({ readable: new Map(), writable: new Map() }),
  {
    name: 'memory.held_frames',
    load(saved, domain, { memory }) {
      holders.of(memory).add(domain);
      return saved as HeldFrames;
    },
  },
);

/** Holds a frame of the domain's own for ring -1 to write. */
export function holdOwnFrame(memory: MachineMemory, domain: MemoryDomain, mfn: number): Refusal | undefined {
  if (!memory.getPage(mfn, domain.id)) return 'EINVAL';
  const refusal = getPageType(memory, mfn, PGT_writable_page);
  if (refusal === undefined) noteHold(memory, domain, mfn, true);
  else memory.putPage(mfn);
  return refusal;
}

/** Writes down a hold whose references the caller has taken. */
export function noteHold(memory: MachineMemory, domain: MemoryDomain, mfn: number, isWritable: boolean): void {
  holders.of(memory).add(domain);
  const { readable, writable } = heldFrames.of(domain);
  const counts = isWritable ? writable : readable;
  counts.set(mfn, (counts.get(mfn) ?? 0) + 1);
}

/** Gives one hold up. */
export function letGo(memory: MachineMemory, domain: MemoryDomain, mfn: number, isWritable: boolean): void {
  const { readable, writable } = heldFrames.of(domain);
  const counts = isWritable ? writable : readable;
  const count = counts.get(mfn);
  if (count === undefined) throw new Error(`bug: domain ${domain.id} does not hold frame 0x${mfn.toString(16)}`);
  if (count === 1) counts.delete(mfn);
  else counts.set(mfn, count - 1);
  if (isWritable) putPageAndType(memory, mfn);
  else memory.putPage(mfn);
}

/** All of them, at the domain's end. */
export function letGoOfAll(memory: MachineMemory, domain: MemoryDomain): void {
  const { readable, writable } = heldFrames.of(domain);
  for (const [mfn, count] of [...readable]) for (let i = 0; i < count; i++) letGo(memory, domain, mfn, false);
  for (const [mfn, count] of [...writable]) for (let i = 0; i < count; i++) letGo(memory, domain, mfn, true);
  holders.of(memory).delete(domain);
}
