/**
 * A domain's frames as plain data, and back into the same places: a PV guest knows its machine frame numbers. Beside the
 * content, unless that is all zeros, goes what is kept of each frame (machine_memory.ts) and its machine-to-physical entry.
 * Ring -1's own frames for the domain, which no guest can name, are made anew.
 */
import { mapGdtPage, mapLdtPage, prepareVcpuArea, refillHypervisorSlots } from './address_space.ts';
import { descriptorTables } from './descriptor_mapping.ts';
import { FRAME_VALIDATED, type MachineMemory, PAGE_SIZE } from './machine_memory.ts';
import type { MemoryDomain } from './memory_domain.ts';
import { PGT_l4_page_table } from './page_type.ts';

/** An element a frame, but for `bytes`. */
export interface SavedFrames {
  readonly mfns: Uint32Array;
  readonly flags: Uint8Array;
  readonly references: Int32Array;
  readonly types: Uint8Array;
  readonly typeCounts: Int32Array;
  readonly linearCounts: Int16Array;
  readonly m2p: BigUint64Array;
  /** 1: its content is in `bytes`, else all zeros. */
  readonly hasContent: Uint8Array;
  /** The contents, one after the other. */
  readonly bytes: Uint8Array;
}

export function saveFrames(memory: MachineMemory, domain: MemoryDomain): SavedFrames {
  const mfns: number[] = [];
  for (let mfn = 0; mfn < memory.frameCount; mfn++) if (memory.owner[mfn] === domain.id) mfns.push(mfn);
  const filled = mfns.map((mfn) => !isZero(memory, mfn));
  const bytes = new Uint8Array(filled.filter(Boolean).length * PAGE_SIZE);
  let size = 0;
  for (const [i, mfn] of mfns.entries()) {
    if (!filled[i]) continue;
    bytes.set(memory.frameBytes(mfn), size);
    size += PAGE_SIZE;
  }
  return {
    mfns: Uint32Array.from(mfns),
    flags: Uint8Array.from(mfns, (mfn) => memory.flags[mfn]!),
    references: Int32Array.from(mfns, (mfn) => memory.references[mfn]!),
    types: Uint8Array.from(mfns, (mfn) => memory.type[mfn]!),
    typeCounts: Int32Array.from(mfns, (mfn) => memory.typeCount[mfn]!),
    linearCounts: Int16Array.from(mfns, (mfn) => memory.linearCount[mfn]!),
    m2p: BigUint64Array.from(mfns, (mfn) => memory.getM2p(mfn)),
    hasContent: Uint8Array.from(filled, Number),
    bytes,
  };
}

function isZero(memory: MachineMemory, mfn: number): boolean {
  const { view } = memory;
  const end = (mfn + 1) * PAGE_SIZE;
  for (let maddr = mfn * PAGE_SIZE; maddr < end; maddr += 4) if (view.getInt32(maddr, true) !== 0) return false;
  return true;
}

/** The first frame that is not free here, undefined: all are. */
export function findTaken(memory: MachineMemory, { mfns }: SavedFrames): number | undefined {
  return mfns.find((mfn) => !memory.isFree(mfn));
}

/** All of them are free. */
export function loadFrames(memory: MachineMemory, domain: MemoryDomain, saved: SavedFrames): void {
  const { mfns, flags, references, types, typeCounts, linearCounts, m2p, hasContent, bytes } = saved;
  let size = 0;
  for (const [i, mfn] of mfns.entries()) {
    memory.claim(mfn, domain.id, {
      flags: flags[i]!,
      references: references[i]!,
      type: types[i]!,
      typeCount: typeCounts[i]!,
      linearCount: linearCounts[i]!,
    });
    memory.setM2p(mfn, m2p[i]!);
    if (!hasContent[i]) continue;
    memory.frameBytes(mfn).set(bytes.subarray(size, size + PAGE_SIZE));
    memory.written(mfn * PAGE_SIZE, PAGE_SIZE);
    size += PAGE_SIZE;
  }
}

/** Ring -1's part of the domain's address spaces, once its frames and its vCPUs' descriptor tables are there. */
export function connectFrames(memory: MachineMemory, domain: MemoryDomain, { mfns, flags, types }: SavedFrames): void {
  for (const vcpu of domain.vcpus) {
    prepareVcpuArea(memory, vcpu);
    const { gdtFrames, ldtFrames } = descriptorTables.of(vcpu);
    for (const [page, mfn] of gdtFrames.entries()) mapGdtPage(memory, vcpu, page, mfn);
    for (const [page, mfn] of ldtFrames.entries()) mapLdtPage(memory, vcpu, page, mfn);
  }
  for (const [i, mfn] of mfns.entries()) {
    if (types[i] === PGT_l4_page_table && flags[i]! & FRAME_VALIDATED) refillHypervisorSlots(memory, mfn, domain);
  }
  memory.flushTlbs();
}
