/**
 * A domain's grant table (xen:common/grant_table.c struct grant_table): the frames that the guest fills with entries, in
 * layout version 1 or 2, and for each entry in use what ring -1 keeps of it (active_entry.ts). Who may use an entry is
 * entry_access.ts.
 */
import type { Domain } from '../../emulator/domain.ts';
import type { Host } from '../../emulator/host.ts';
import { type MachineMemory, PAGE_SHIFT, PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { defineSlot, NotSavable } from '../../emulator/slot.ts';
import { grant_entry_v1, grant_entry_v2_full_page } from '../abi/grant_table.ts';
import { ActiveEntry, type GrantedPage, type Pins } from './active_entry.ts';

/** xl's and Xen's default. */
const MAX_GRANT_FRAMES = 64;
const INITIAL_FRAMES = 1;
const STATUS_SIZE = 2;
const STATUS_PER_FRAME = PAGE_SIZE / STATUS_SIZE;
/** Frames of entries of version 2 whose status words fill a frame. */
const FRAMES_PER_STATUS_FRAME = 8;

/** An entry's size is two to this. */
const V1_SHIFT = Math.log2(grant_entry_v1.size);
const V2_SHIFT = Math.log2(grant_entry_v2_full_page.size);

export class GrantTable {
  #version: 1 | 2 = 1;
  /** Most frames with entries. */
  readonly maxFrames: number = MAX_GRANT_FRAMES;
  /** Highest version that the guest may choose (Xen's gnttab=max-ver). */
  maxVersion: 1 | 2 = 2;
  /** Mfns. */
  readonly frames: number[] = [];
  /** Mfns of version 2's status words; none in version 1. */
  readonly statusFrames: number[] = [];
  /** Entries that the frames have room for. */
  entryCount = 0;
  readonly #active: (ActiveEntry | undefined)[] = [];

  get version(): 1 | 2 {
    return this.#version;
  }

  set version(version: 1 | 2) {
    this.#version = version;
    this.#placeAll();
  }

  get #entryShift(): number {
    return this.version === 1 ? V1_SHIFT : V2_SHIFT;
  }

  /** Whether there is such an entry; one that is negative has come from words with a sign. */
  has(ref: number): boolean {
    return ref >= 0 && ref < this.entryCount;
  }

  /** Maddr of an entry that there is. */
  entry(ref: number): number {
    const offset = ref << this.#entryShift;
    return this.frames[offset >>> PAGE_SHIFT]! * PAGE_SIZE + (offset & (PAGE_SIZE - 1));
  }

  /** Maddr of the word with the entry's reading and writing bits: in version 1 its flags. */
  status(ref: number): number {
    if (this.version === 1) return this.entry(ref);
    return this.statusFrames[Math.floor(ref / STATUS_PER_FRAME)]! * PAGE_SIZE + (ref % STATUS_PER_FRAME) * STATUS_SIZE;
  }

  active(ref: number): ActiveEntry {
    const present = this.#active[ref];
    return present ?? this.#makeActive(ref);
  }

  #makeActive(ref: number): ActiveEntry {
    const active = new ActiveEntry();
    this.#active[ref] = active;
    this.#place(active, ref);
    return active;
  }

  #place(active: ActiveEntry, ref: number): void {
    active.entry = this.has(ref) ? this.entry(ref) : -1;
    active.status = this.has(ref) ? this.status(ref) : -1;
  }

  /** After a change of frames or layout. */
  #placeAll(): void {
    this.entryCount = this.frames.length << (PAGE_SHIFT - this.#entryShift);
    for (const [ref, active] of this.#active.entries()) if (active !== undefined) this.#place(active, ref);
  }

  /** The entries in use, with their references. */
  *pinned(): Generator<[number, ActiveEntry]> {
    for (const [ref, active] of this.#active.entries()) if (active?.isPinned) yield [ref, active];
  }

  /** Makes it `count` frames, if it has fewer; false when the machine has no memory left. */
  grow(memory: MachineMemory, domid: number, count: number): boolean {
    const statusCount = this.version === 1 ? 0 : statusFramesFor(Math.max(count, this.frames.length));
    const had = this.frames.length;
    if (!growList(memory, domid, this.frames, count)) return false;
    if (growList(memory, domid, this.statusFrames, statusCount)) {
      this.#placeAll();
      return true;
    }
    for (const mfn of this.frames.splice(had)) memory.releaseShared(mfn);
    return false;
  }

  /** The status frames for all entries, before the table becomes version 2; false when there is no memory. */
  addStatusFrames(memory: MachineMemory, domid: number): boolean {
    return growList(memory, domid, this.statusFrames, statusFramesFor(this.frames.length));
  }

  /** Takes them back; false when the guest still maps one. */
  removeStatusFrames(memory: MachineMemory): boolean {
    if (this.statusFrames.some((mfn) => memory.references[mfn]! > 1)) return false;
    for (const mfn of this.statusFrames.splice(0)) memory.releaseShared(mfn);
    return true;
  }

  /** The frames go, entries in use stay known until they are unmapped. At the domain's end. */
  forgetFrames(): void {
    this.frames.length = 0;
    this.statusFrames.length = 0;
    this.#placeAll();
  }
}

function statusFramesFor(frames: number): number {
  return Math.ceil(frames / FRAMES_PER_STATUS_FRAME);
}

function growList(memory: MachineMemory, domid: number, list: number[], count: number): boolean {
  const had = list.length;
  while (list.length < count) {
    const mfn = memory.allocateShared(domid);
    if (mfn < 0) {
      for (const taken of list.splice(had)) memory.releaseShared(taken);
      return false;
    }
    list.push(mfn);
  }
  return true;
}

/** The frame of a domain's table that an index of XENMAPSPACE_grant_table names; a table grows up to it. -1: there is none. */
export function grantFrame(host: Host, domain: Domain, index: number, statusFlag: number): number {
  const table = grantTable(host, domain);
  const isStatus = table.version === 2 && index >= statusFlag;
  const number = isStatus ? index - statusFlag : index;
  const list = isStatus ? table.statusFrames : table.frames;
  const count = isStatus ? (number + 1) * FRAMES_PER_STATUS_FRAME : number + 1;
  if (number >= list.length && count <= table.maxFrames) table.grow(host.memory, domain.id, count);
  return list[number] ?? -1;
}

interface SavedTable {
  readonly version: 1 | 2;
  readonly maxVersion: 1 | 2;
  readonly frames: readonly number[];
  readonly statusFrames: readonly number[];
  /** Entries in use: by the host, or by the domain itself. */
  readonly active: readonly { readonly ref: number; readonly domid: number; readonly page: GrantedPage; readonly pins: Pins }[];
}

const tables = defineSlot<Domain, { table: GrantTable | undefined }>(() => ({ table: undefined }), {
  name: 'grant_table.table',
  save: ({ table }, domain) => table && saveTable(table, domain),
  load: (saved) => ({ table: saved === undefined ? undefined : loadTable(saved as SavedTable) }),
});

function saveTable(table: GrantTable, domain: Domain): SavedTable {
  const { version, maxVersion, frames, statusFrames } = table;
  const active = [...table.pinned()].map(([ref, { domid, page, counts: pins }]) => {
    if (domid !== 0 && domid !== domain.id) throw new NotSavable(`domain ${domid} has mapped frames of it`);
    if (page.through !== undefined) throw new NotSavable(`it has granted frames of domain ${page.through.domain.id} on`);
    return { ref, domid, page, pins };
  });
  return { version, maxVersion, frames, statusFrames, active };
}

function loadTable({ version, maxVersion, frames, statusFrames, active }: SavedTable): GrantTable {
  const table = new GrantTable();
  table.frames.push(...frames);
  table.statusFrames.push(...statusFrames);
  table.version = version;
  table.maxVersion = maxVersion;
  for (const { ref, domid, page, pins } of active) {
    const entry = table.active(ref);
    entry.usePage(domid, page);
    entry.counts = pins;
  }
  return table;
}

/** The domain's table; it begins with one frame. */
export function grantTable(host: Host, domain: Domain): GrantTable {
  const slot = tables.of(domain);
  return slot.table ?? makeTable(host, domain);
}

function makeTable(host: Host, domain: Domain): GrantTable {
  const table = new GrantTable();
  tables.of(domain).table = table;
  table.grow(host.memory, domain.id, INITIAL_FRAMES);
  return table;
}
