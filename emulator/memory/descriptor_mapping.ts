/**
 * The guest's GDT and LDT as the CPU sees them (xen:arch/x86/pv/descriptor-tables.c, pv/mm.c pv_map_ldt_shadow_page).
 * A GDT is named by its frames, checked when it is set. An LDT is named by its vaddr and mapped page by page when the CPU
 * first reads there: that read faults inside LDT_VIRT_START.., and the trap layer calls `mapLdtOnFault`.
 */
import { defineSlot } from '../slot.ts';
import { mapGdtPage, mapLdtPage } from './address_space.ts';
import { findL1Entry } from './guest_walk.ts';
import type { MachineMemory } from './machine_memory.ts';
import type { MemoryVcpu, Refusal } from './memory_domain.ts';
import { PGT_seg_desc_page } from './page_type.ts';
import { getPageAndType, putPageAndType } from './page_types.ts';
import { isPresent, mfnOf } from './pte.ts';
import { FIRST_RESERVED_GDT_ENTRY } from './segment_descriptor.ts';

export interface DescriptorTables {
  /** Frames of the GDT, each held as PGT_seg_desc_page. */
  gdtFrames: number[];
  gdtEntries: number;
  ldtBase: bigint;
  ldtEntries: number;
  /** Frame shown as each LDT page, -1: not yet. */
  readonly ldtFrames: number[];
}

export const descriptorTables = defineSlot<MemoryVcpu, DescriptorTables>(
  () => ({
    gdtFrames: [],
    gdtEntries: 0,
    ldtBase: 0n,
    ldtEntries: 0,
    ldtFrames: new Array<number>(16).fill(-1),
  }),
  { name: 'memory.descriptor_tables' },
);

/** The vCPU's GDT is now in `frames`; all of them are checked before the old one goes (xen pv_set_gdt). */
export function setGdt(memory: MachineMemory, vcpu: MemoryVcpu, frames: readonly number[], entries: number): Refusal | undefined {
  if (entries > FIRST_RESERVED_GDT_ENTRY) return 'EINVAL';
  const used = frames.slice(0, Math.ceil(entries / 512));
  for (const [i, mfn] of used.entries()) {
    if (getPageAndType(memory, mfn, PGT_seg_desc_page, vcpu.domain.id) === undefined) continue;
    for (const taken of used.slice(0, i)) putPageAndType(memory, taken);
    return 'EINVAL';
  }
  const tables = descriptorTables.of(vcpu);
  const old = tables.gdtFrames;
  for (let page = 0; page < Math.max(old.length, used.length); page++) mapGdtPage(memory, vcpu, page, used[page] ?? -1);
  tables.gdtFrames = used;
  tables.gdtEntries = entries;
  for (const mfn of old) putPageAndType(memory, mfn);
  memory.flushTlbs();
  return undefined;
}

/** The LDT is at `vaddr`, which the caller has checked; its old pages are given up. */
export function setLdt(memory: MachineMemory, vcpu: MemoryVcpu, vaddr: bigint, entries: number): void {
  destroyLdt(memory, vcpu);
  const tables = descriptorTables.of(vcpu);
  tables.ldtBase = vaddr;
  tables.ldtEntries = entries;
}

/** Gives up the LDT's mapped pages; the next access maps them anew. */
export function destroyLdt(memory: MachineMemory, vcpu: MemoryVcpu): void {
  const { ldtFrames } = descriptorTables.of(vcpu);
  let hadAny = false;
  for (const [page, mfn] of ldtFrames.entries()) {
    if (mfn < 0) continue;
    hadAny = true;
    ldtFrames[page] = -1;
    mapLdtPage(memory, vcpu, page, -1);
    putPageAndType(memory, mfn);
  }
  if (hadAny) memory.flushTlbs();
}

/** Maps the LDT page with byte `offset` of the LDT; false when the guest has no such page or no sane descriptors in it. */
export function mapLdtOnFault(memory: MachineMemory, vcpu: MemoryVcpu, offset: number): boolean {
  const tables = descriptorTables.of(vcpu);
  if (offset >>> 3 >= tables.ldtEntries) return false;
  const found = findL1Entry(memory, vcpu, tables.ldtBase + BigInt(offset));
  if (found === undefined || !isPresent(found.entry)) return false;
  const mfn = mfnOf(found.entry);
  if (getPageAndType(memory, mfn, PGT_seg_desc_page, vcpu.domain.id) !== undefined) return false;
  const page = offset >>> 12;
  const old = tables.ldtFrames[page]!;
  tables.ldtFrames[page] = mfn;
  mapLdtPage(memory, vcpu, page, mfn);
  if (old >= 0) putPageAndType(memory, old);
  return true;
}
