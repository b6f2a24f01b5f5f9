/**
 * A PV guest's hold on the types of its frames: a type is taken with its content checked, counted, and given up with what
 * the content refers to (xen:arch/x86/mm.c _get_page_type, _put_page_type, alloc_l?_table). Nothing here stops half-way:
 * a refused table drops what its checked entries had taken. Changing one entry is page_table_update.ts.
 */
import { fillHypervisorSlots } from './address_space.ts';
import { destroyLdt } from './descriptor_mapping.ts';
import { DOMID_IO, FRAME_VALIDATED, FRAME_XEN_HEAP, type MachineMemory, OWNER_FREE, OWNER_RING, PAGE_SIZE } from './machine_memory.ts';
import type { Refusal } from './memory_domain.ts';
import {
  type PageTableType,
  type PageType,
  PGT_l1_page_table,
  PGT_l4_page_table,
  PGT_none,
  PGT_seg_desc_page,
  PGT_writable_page,
} from './page_type.ts';
import * as pte from './pte.ts';
import { sanitizeDescriptor } from './segment_descriptor.ts';

/** One more use of the frame as `type`; the caller holds a reference. */
export function getPageType(memory: MachineMemory, mfn: number, type: PageType): Refusal | undefined {
  if (!isLiveAs(memory, mfn, type)) return getNewPageType(memory, mfn, type);
  memory.typeCount[mfn]!++;
  return undefined;
}

/** getPageType of a writable page: there is no content to check. */
function getWritable(memory: MachineMemory, mfn: number): Refusal | undefined {
  const { typeCount } = memory;
  const count = typeCount[mfn]!;
  if (count === 0 || memory.type[mfn] !== PGT_writable_page) return getNewPageType(memory, mfn, PGT_writable_page);
  typeCount[mfn] = count + 1;
  return undefined;
}

/** The frame is in use as `type`. */
export function isLiveAs(memory: MachineMemory, mfn: number, type: PageType): boolean {
  return memory.type[mfn] === type && memory.typeCount[mfn]! > 0 && (memory.flags[mfn]! & FRAME_VALIDATED) !== 0;
}

function getNewPageType(memory: MachineMemory, mfn: number, type: PageType): Refusal | undefined {
  const { typeCount, flags } = memory;
  if (typeCount[mfn] === 0) {
    if (memory.type[mfn] !== type) {
      memory.flushIfStale(mfn);
      memory.type[mfn] = type;
      if (type === PGT_writable_page) flags[mfn]! |= FRAME_VALIDATED;
      else flags[mfn]! &= ~FRAME_VALIDATED;
    }
  } else if (memory.type[mfn] !== type) {
    return 'EINVAL';
  }
  typeCount[mfn]!++;
  if (flags[mfn]! & FRAME_VALIDATED) return undefined;
  memory.linearCount[mfn] = 0;
  const refusal = validate(memory, mfn, type);
  if (refusal === undefined) {
    flags[mfn]! |= FRAME_VALIDATED;
  } else {
    memory.type[mfn] = PGT_none;
    typeCount[mfn] = 0;
  }
  return refusal;
}

/** One use less. `parent` is the table whose entry this was, if it was one. */
export function putPageType(memory: MachineMemory, mfn: number, parent = -1): void {
  if (parent < 0 && memory.typeCount[mfn]! > 1) memory.typeCount[mfn]!--;
  else putLastPageType(memory, mfn, parent);
}

/** The same for one that may be the last, or a linear entry's. */
function putLastPageType(memory: MachineMemory, mfn: number, parent: number): void {
  if (memory.typeCount[mfn]! <= 0) throw new Error(`bug: frame 0x${mfn.toString(16)} has fewer type references than were taken`);
  const type = memory.typeOf(mfn);
  const isLinear = parent >= 0 && memory.type[parent] === type;
  if (memory.typeCount[mfn] === 1) {
    if (isPageTable(type) && memory.flags[mfn]! & FRAME_VALIDATED) {
      memory.flags[mfn]! &= ~FRAME_VALIDATED;
      dropEntries(memory, mfn, type, 511);
    }
    memory.markStale(mfn);
  }
  if (isLinear) {
    memory.linearCount[mfn]!++;
    memory.linearCount[parent]!--;
  }
  memory.typeCount[mfn]!--;
}

export function getPageAndType(memory: MachineMemory, mfn: number, type: PageType, owner: number): Refusal | undefined {
  if (!memory.getPage(mfn, owner)) return 'EINVAL';
  const refusal = getPageType(memory, mfn, type);
  if (refusal !== undefined) memory.putPage(mfn);
  return refusal;
}

export function putPageAndType(memory: MachineMemory, mfn: number): void {
  putPageType(memory, mfn);
  memory.putPage(mfn);
}

export function isPageTable(type: PageType): type is PageTableType {
  return type >= PGT_l1_page_table && type <= PGT_l4_page_table;
}

/** The frame is in use as a page table, so an entry in it may be changed (xen page_lock). */
export function isLivePageTable(memory: MachineMemory, mfn: number): boolean {
  return memory.typeCount[mfn]! > 0 && (memory.flags[mfn]! & FRAME_VALIDATED) !== 0 && isPageTable(memory.typeOf(mfn));
}

function validate(memory: MachineMemory, mfn: number, type: PageType): Refusal | undefined {
  if (type === PGT_seg_desc_page) return validateDescriptors(memory, mfn);
  if (!isPageTable(type)) throw new Error(`bug: frames of type ${type} have no content to check`);
  const owner = memory.domains.get(memory.owner[mfn]!);
  if (owner === undefined) throw new Error(`bug: frame 0x${mfn.toString(16)} belongs to no registered domain`);
  const { words } = memory;
  const start = mfn * PAGE_SIZE;
  for (let slot = 0; slot < 512; slot++) {
    if (type === PGT_l4_page_table && !pte.isGuestL4Slot(slot)) continue;
    const at = start / 4 + slot * 2;
    const low = words[at]!;
    if (!(low & pte.FLAG_PRESENT)) continue;
    const high = words[at + 1]!;
    const flips = takeEntry(memory, type, low, high, mfn, owner.id, owner.id);
    if (typeof flips === 'string') {
      dropEntries(memory, mfn, type, slot - 1);
      return flips;
    }
    pte.storeAdjusted(words, at, type, low ^ flips, high);
  }
  if (type === PGT_l4_page_table) fillHypervisorSlots(memory, mfn, owner);
  memory.written(start, PAGE_SIZE);
  return undefined;
}

function validateDescriptors(memory: MachineMemory, mfn: number): Refusal | undefined {
  for (let maddr = mfn * PAGE_SIZE; maddr < (mfn + 1) * PAGE_SIZE; maddr += 8) {
    const descriptor = memory.view.getBigUint64(maddr, true);
    const sane = sanitizeDescriptor(descriptor);
    if (sane === undefined) return 'EINVAL';
    if (sane !== descriptor) memory.view.setBigUint64(maddr, sane, true);
  }
  memory.written(mfn * PAGE_SIZE, PAGE_SIZE);
  return undefined;
}

/** Gives up what the entries from `last` down to 0 refer to. */
function dropEntries(memory: MachineMemory, mfn: number, type: PageTableType, last: number): void {
  for (let slot = last; slot >= 0; slot--) {
    if (type === PGT_l4_page_table && !pte.isGuestL4Slot(slot)) continue;
    const maddr = mfn * PAGE_SIZE + slot * 8;
    const low = memory.view.getUint32(maddr, true);
    if (!(low & pte.FLAG_PRESENT)) continue;
    dropTarget(memory, type, pte.mfnOfHalves(low, memory.view.getUint32(maddr + 4, true)), low, mfn);
  }
}

/**
 * Takes what the present entry with these halves, to stand in the table `mfn` of type `type`, refers to; says which of its
 * flags to flip. `pgOwner` is whose frames an L1 entry may name.
 */
export function takeEntry(
  memory: MachineMemory,
  type: PageTableType,
  low: number,
  high: number,
  mfn: number,
  tableOwner: number,
  pgOwner: number,
): number | Refusal {
  const target = pte.mfnOfHalves(low, high);
  if (type === PGT_l1_page_table) return holdFrame(memory, target, low & 0xfff, tableOwner, pgOwner);
  if (low & pte.UPPER_DISALLOWED) return 'EINVAL';
  const refusal = getPageAndType(memory, target, (type - 1) as PageTableType, tableOwner);
  const isTaken = refusal === undefined || (refusal === 'EINVAL' && takeLinear(memory, type, low, target, mfn, tableOwner));
  return isTaken ? 0 : refusal;
}

/**
 * A linear page table: an entry, read-only, that names a table of its own level. One level deep only: a table with linear
 * entries is not itself the target of one (XSA-240). An entry that names its own table holds no reference.
 */
function takeLinear(memory: MachineMemory, type: PageTableType, low: number, target: number, mfn: number, owner: number): boolean {
  if (low & pte.FLAG_RW) return false;
  if (target === mfn) return true;
  if (memory.owner[mfn] !== owner || !memory.getPage(target, owner)) return false;
  const isValidTable = memory.type[target] === type && (memory.flags[target]! & FRAME_VALIDATED) !== 0 && memory.typeCount[target]! > 0;
  if (!isValidTable || memory.linearCount[mfn]! < 0 || memory.linearCount[target]! > 0) {
    memory.putPage(target);
    return false;
  }
  memory.linearCount[mfn]!++;
  memory.linearCount[target]!--;
  memory.typeCount[target]!++;
  return true;
}

/**
 * Takes the frame for an L1 entry with these low 12 bits, in a table of `tableOwner`; says which of the bits to flip
 * (xen get_page_from_l1e).
 */
export function holdFrame(memory: MachineMemory, mfn: number, flags: number, tableOwner: number, pgOwner: number): number | Refusal {
  if (flags & pte.CACHE_FLAGS && !isInitial(memory, tableOwner)) return 'EINVAL';
  const frameOwner = memory.isFrame(mfn) ? memory.owner[mfn]! : DOMID_IO;
  if (frameOwner === DOMID_IO) return checkIoFrame(memory, mfn, flags, tableOwner, pgOwner);
  if (frameOwner === OWNER_FREE || frameOwner === OWNER_RING) return 'EBUSY';
  if (frameOwner !== pgOwner && (pgOwner === tableOwner || !isInitial(memory, pgOwner))) return 'EBUSY';
  if (memory.getPage(mfn, frameOwner) !== true) return 'EBUSY';
  if (flags & pte.FLAG_RW && getWritable(memory, mfn) !== undefined) {
    memory.putPage(mfn);
    return 'EBUSY';
  }
  if (flags & pte.CACHE_FLAGS && memory.flags[mfn]! & FRAME_XEN_HEAP) {
    dropFrame(memory, mfn, flags, tableOwner);
    return 'EACCES';
  }
  return 0;
}

const isInitial = (memory: MachineMemory, domid: number): boolean => memory.domains.get(domid)?.isInitial === true;

/** All frames that 40 bits of physical address reach. */
const IO_FRAMES = 2 ** 28;
const INVALID_MFN = 2 ** 40 - 1;

/** A mapping of what is no RAM: only the initial domain may, and it is uncached then. No count is kept of it. */
function checkIoFrame(memory: MachineMemory, mfn: number, flags: number, tableOwner: number, pgOwner: number): number | Refusal {
  const accessor = pgOwner === DOMID_IO ? tableOwner : pgOwner;
  if (mfn >= IO_FRAMES || !isInitial(memory, accessor) || !isInitial(memory, tableOwner)) return mfn === INVALID_MFN ? 'EINVAL' : 'EPERM';
  switch (flags & pte.CACHE_FLAGS) {
    case 0:
      return pte.FLAG_PWT | pte.FLAG_PCD;
    case pte.FLAG_PWT:
      return pte.FLAG_PCD;
    case pte.FLAG_PWT | pte.FLAG_PAT:
      return pte.FLAG_PCD | pte.FLAG_PAT;
    default:
      return 0;
  }
}

/** Gives up what the entry of the table `mfn` with these halves refers to. */
export function dropEntry(memory: MachineMemory, type: PageTableType, low: number, high: number, mfn: number): void {
  if (low & pte.FLAG_PRESENT) dropTarget(memory, type, pte.mfnOfHalves(low, high), low & 0xfff, mfn);
}

function dropTarget(memory: MachineMemory, type: PageTableType, target: number, flags: number, mfn: number): void {
  if (type === PGT_l1_page_table) {
    dropFrame(memory, target, flags, memory.owner[mfn]!);
  } else if (target !== mfn) {
    putPageType(memory, target, mfn);
    memory.putPage(target);
  }
}

/** Gives up the frame of an L1 entry with these low 12 bits, in a table of `tableOwner`. */
export function dropFrame(memory: MachineMemory, mfn: number, flags: number, tableOwner: number): void {
  if (!memory.isFrame(mfn) || memory.owner[mfn] === DOMID_IO) return;
  if (flags & pte.FLAG_RW) {
    putPageType(memory, mfn);
  } else if (memory.type[mfn] === PGT_seg_desc_page && memory.typeCount[mfn]! > 0 && memory.owner[mfn] === tableOwner) {
    // The mapping may be the one that the LDT was found through.
    for (const vcpu of memory.domains.get(tableOwner)!.vcpus) destroyLdt(memory, vcpu);
  }
  memory.putPage(mfn);
}
