/**
 * Recounts, from what page tables and vCPUs really hold, every reference and type reference, and compares. For tests: the
 * message of the first difference, undefined when the books agree.
 */
import { descriptorTables } from './descriptor_mapping.ts';
import { heldFrames, holders } from './held_frames.ts';
import {
  DOMID_IO,
  FRAME_ALLOCATED,
  FRAME_PINNED,
  FRAME_VALIDATED,
  FRAME_XEN_HEAP,
  type MachineMemory,
  OWNER_FREE,
  PAGE_SIZE,
} from './machine_memory.ts';
import { PGT_l1_page_table, PGT_l4_page_table, PGT_writable_page } from './page_type.ts';
import { isPageTable } from './page_types.ts';
import * as pte from './pte.ts';
import { pvCr3 } from './pv_cr3.ts';

interface Books {
  readonly references: Int32Array;
  readonly types: Int32Array;
}

export function checkInvariants(memory: MachineMemory): string | undefined {
  const books: Books = { references: new Int32Array(memory.frameCount), types: new Int32Array(memory.frameCount) };
  const hold = (mfn: number, isTyped: boolean) => {
    books.references[mfn]!++;
    if (isTyped) books.types[mfn]!++;
  };
  for (const holder of holders.of(memory)) {
    const { readable, writable } = heldFrames.of(holder);
    for (const [mfn, count] of readable) for (let i = 0; i < count; i++) hold(mfn, false);
    for (const [mfn, count] of writable) for (let i = 0; i < count; i++) hold(mfn, true);
  }
  for (const domain of memory.domains.values()) {
    for (const vcpu of domain.vcpus) {
      const { kernelMfn, userMfn } = pvCr3.of(vcpu);
      if (kernelMfn !== 0) hold(kernelMfn, true);
      if (userMfn !== 0) hold(userMfn, true);
      const { gdtFrames, ldtFrames } = descriptorTables.of(vcpu);
      for (const mfn of [...gdtFrames, ...ldtFrames]) if (mfn >= 0) hold(mfn, true);
    }
  }
  for (let mfn = 0; mfn < memory.frameCount; mfn++) {
    const flags = memory.flags[mfn]!;
    if (flags & FRAME_ALLOCATED) hold(mfn, (flags & FRAME_XEN_HEAP) !== 0);
    if (flags & FRAME_PINNED) hold(mfn, true);
    if (flags & FRAME_VALIDATED && memory.typeCount[mfn]! > 0 && isPageTable(memory.typeOf(mfn))) {
      const wrong = recountTable(memory, mfn, hold);
      if (wrong !== undefined) return wrong;
    }
  }
  return compare(memory, books);
}

function recountTable(memory: MachineMemory, mfn: number, hold: (mfn: number, isTyped: boolean) => void): string | undefined {
  const type = memory.typeOf(mfn);
  for (let slot = 0; slot < 512; slot++) {
    if (type === PGT_l4_page_table && !pte.isGuestL4Slot(slot)) continue;
    const maddr = mfn * PAGE_SIZE + slot * 8;
    if (!(memory.bytes[maddr]! & 1)) continue;
    const entry = memory.view.getBigUint64(maddr, true);
    const target = pte.mfnOf(entry);
    const isWritable = (entry & pte.PAGE_RW) !== 0n;
    if (type === PGT_l1_page_table) {
      if (!memory.isFrame(target) || memory.owner[target] === DOMID_IO) continue;
      if (isWritable && memory.type[target] !== PGT_writable_page) {
        return `frame ${target} of type ${memory.type[target]} is mapped writable by slot ${slot} of L1 ${mfn}`;
      }
      hold(target, isWritable);
    } else if (target !== mfn) {
      if (memory.type[target] !== type && memory.type[target] !== type - 1) {
        return `slot ${slot} of L${type} ${mfn} names frame ${target} of type ${memory.type[target]}`;
      }
      hold(target, true);
    } else if (isWritable) {
      return `slot ${slot} of L${type} ${mfn} maps the table itself writable`;
    }
  }
  return undefined;
}

function compare(memory: MachineMemory, books: Books): string | undefined {
  let free = 0;
  const owned = new Map<number, number>();
  for (let mfn = 0; mfn < memory.frameCount; mfn++) {
    const owner = memory.owner[mfn]!;
    if (owner === OWNER_FREE) free++;
    else if (!(memory.flags[mfn]! & FRAME_XEN_HEAP)) owned.set(owner, (owned.get(owner) ?? 0) + 1);
    if (memory.references[mfn] !== books.references[mfn]) {
      return `frame ${mfn} of owner ${owner} has ${memory.references[mfn]} references, but ${books.references[mfn]} are held`;
    }
    if (memory.typeCount[mfn] !== books.types[mfn]) {
      return `frame ${mfn} of type ${memory.type[mfn]} has ${memory.typeCount[mfn]} type references, but ${books.types[mfn]} are held`;
    }
  }
  if (free !== memory.freeCount) return `${free} frames are free, ${memory.freeCount} are said to be`;
  for (const domid of memory.domains.keys()) {
    if ((owned.get(domid) ?? 0) !== memory.pageCount(domid)) {
      return `domain ${domid} owns ${owned.get(domid) ?? 0} frames, ${memory.pageCount(domid)} are counted`;
    }
  }
  return undefined;
}
