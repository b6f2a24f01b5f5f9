/**
 * The machine's RAM as frames: who owns each, how often it is referenced, what type it has as seen by PV guests, and the
 * machine-to-physical table that lives in it. Only bookkeeping: what a type means is page_types.ts. One field per array,
 * indexed by mfn, as in xen:arch/x86/include/asm/mm.h struct page_info.
 */
import type { PhysicalMemory } from '../cpu/interface.ts';
import type { Slots } from '../slot.ts';
import type { MemoryDomain } from './memory_domain.ts';
import type { PageType } from './page_type.ts';
import { PGT_none, PGT_writable_page } from './page_type.ts';

export const PAGE_SHIFT = 12;
export const PAGE_SIZE = 4096;

/** Owners that are no domain. As in Xen the low megabyte is DOMID_IO's and the M2P DOMID_XEN's; all else of ring -1 is OWNER_RING's. */
export const OWNER_FREE = -1;
export const OWNER_RING = -2;
export const DOMID_FIRST_RESERVED = 0x7ff0;
export const DOMID_IO = 0x7ff1;
export const DOMID_XEN = 0x7ff2;
const LOW_IO_FRAMES = 0x100;

/** Bits of `flags`. */
/** The owner holds the frame in its allocation: one reference (PGC_allocated). */
export const FRAME_ALLOCATED = 1;
/** Ring -1's own page lent to a guest: it is never freed nor removed from it (PGC_xen_heap). */
export const FRAME_XEN_HEAP = 2;
/** The guest pinned the type: one type reference and one reference (PGT_pinned). */
export const FRAME_PINNED = 4;
/** The content was checked against the type (PGT_validated). */
export const FRAME_VALIDATED = 8;

export const INVALID_M2P_ENTRY = 0xffff_ffff_ffff_ffffn;

export interface MachineMemoryOptions {
  /** Which free frames go first; 'descending' is what a real Xen tends to do. */
  order?: 'ascending' | 'descending';
}

/** What is kept of one frame. */
export interface FrameBooks {
  readonly flags: number;
  readonly references: number;
  readonly type: number;
  readonly typeCount: number;
  readonly linearCount: number;
}

export class MachineMemory implements Slots {
  readonly slots: unknown[] = [];
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** The same bytes as words and half words: what lies at a multiple of its size is reached in half as many steps as through `view`. */
  readonly words: Int32Array;
  readonly halfwords: Uint16Array;
  readonly ram: PhysicalMemory;
  readonly frameCount: number;

  readonly owner: Int32Array;
  readonly flags: Uint8Array;
  readonly references: Int32Array;
  readonly type: Uint8Array;
  readonly typeCount: Int32Array;
  /** Above 0: so many linear entries point at this table; below 0: this table holds so many (XSA-240). */
  readonly linearCount: Int16Array;
  /** `flushClock` when the frame last stopped being reachable in its type; a later flush makes it safe to reuse. */
  private readonly flushStamp: Int32Array;
  private flushClock = 1;

  freeCount: number;
  /** The domains that own frames, by domid. */
  readonly domains = new Map<number, MemoryDomain>();
  /** Frames of each domain that count against its maxPages (xen tot_pages). */
  private readonly pageCounts = new Map<number, number>();
  /** First of the frames with the machine-to-physical table, one u64 a frame. */
  readonly m2pMfn: number;
  readonly m2pFrames: number;
  /** Drops every translation of every core; the machine sets it once it has cores. */
  flushAllTlbs: () => void = () => {};
  /** The same of the translations that lead to one frame. */
  flushFrameInTlbs: (mfn: number) => void = () => {};

  private readonly isCode: Uint8Array;
  private readonly ascending: boolean;
  /** Where the next frame is looked for: behind the last, so that a saved domain finds its own free for long. */
  private cursor: number;

  constructor(ram: PhysicalMemory, options: MachineMemoryOptions = {}) {
    this.ram = ram;
    this.bytes = ram.bytes;
    this.view = ram.view;
    this.words = new Int32Array(ram.bytes.buffer, ram.bytes.byteOffset, ram.size >>> 2);
    this.halfwords = new Uint16Array(ram.bytes.buffer, ram.bytes.byteOffset, ram.size >>> 1);
    this.isCode = ram.isCode;
    const frames = ram.size >>> PAGE_SHIFT;
    this.frameCount = frames;
    this.owner = new Int32Array(frames).fill(OWNER_FREE);
    this.flags = new Uint8Array(frames);
    this.references = new Int32Array(frames);
    this.type = new Uint8Array(frames);
    this.typeCount = new Int32Array(frames);
    this.linearCount = new Int16Array(frames);
    this.flushStamp = new Int32Array(frames);
    this.freeCount = frames;
    this.ascending = options.order !== 'descending';
    this.cursor = this.ascending ? 0 : frames - 1;

    const lowFrames = Math.min(LOW_IO_FRAMES, frames >>> 2);
    for (let mfn = 0; mfn < lowFrames; mfn++) this.takeShared(mfn, DOMID_IO, PGT_writable_page);
    this.m2pFrames = Math.ceil((frames * 8) / PAGE_SIZE);
    this.m2pMfn = lowFrames;
    for (let i = 0; i < this.m2pFrames; i++) this.takeShared(this.m2pMfn + i, DOMID_XEN, PGT_none);
    this.bytes.fill(0xff, this.m2pMfn * PAGE_SIZE, (this.m2pMfn + this.m2pFrames) * PAGE_SIZE);
  }

  /** Decoded code and caches over `[maddr, maddr + size)` are stale. */
  written(maddr: number, size: number): void {
    if (this.isCode[maddr >>> PAGE_SHIFT] !== 0 || (maddr & (PAGE_SIZE - 1)) + size > PAGE_SIZE) this.ram.written(maddr, size);
  }

  /** The same where they are in one page. */
  writtenInPage(maddr: number, size: number): void {
    if (this.isCode[maddr >>> PAGE_SHIFT] !== 0) this.ram.written(maddr, size);
  }

  isFrame(mfn: number): boolean {
    return mfn >= 0 && mfn < this.frameCount;
  }

  isFree(mfn: number): boolean {
    return this.isFrame(mfn) && this.owner[mfn] === OWNER_FREE;
  }

  /**
   * `2 ** order` free frames, contiguous and naturally aligned, now `owner`'s with one reference each; -1 when there are
   * none below `end`. The content is zeros. The domain's limit is the caller's business (reservation.ts).
   */
  allocate(owner: number, order = 0, end = this.frameCount): number {
    const count = 2 ** order;
    if (count > this.freeCount) return -1;
    const first = end < this.frameCount ? this.findFreeRunBelow(end, count) : order === 0 ? this.findFree() : this.findFreeRun(count);
    if (first < 0) return -1;
    for (let mfn = first; mfn < first + count; mfn++) this.take(mfn, owner);
    if (owner >= 0) this.pageCounts.set(owner, this.pageCount(owner) + count);
    return first;
  }

  /** A page of ring -1 that `owner` may map, read and write, but never gives back (xen share_xen_page_with_guest). */
  allocateShared(owner: number): number {
    const mfn = this.findFree();
    if (mfn >= 0) this.takeShared(mfn, owner, PGT_writable_page);
    return mfn;
  }

  private takeShared(mfn: number, owner: number, type: PageType): void {
    this.take(mfn, owner);
    this.flags[mfn] = FRAME_ALLOCATED | FRAME_XEN_HEAP | FRAME_VALIDATED;
    this.type[mfn] = type;
    this.typeCount[mfn] = 1;
  }

  /** Takes a shared page back; it is freed once the guest's last mapping is gone. */
  releaseShared(mfn: number): void {
    this.flags[mfn]! &= ~FRAME_ALLOCATED;
    this.typeCount[mfn]!--;
    this.putPage(mfn);
  }

  /** Pages of the domain that count against its limit (xen tot_pages). */
  pageCount(domid: number): number {
    return this.pageCounts.get(domid) ?? 0;
  }

  private take(mfn: number, owner: number): void {
    this.owner[mfn] = owner;
    this.flags[mfn] = FRAME_ALLOCATED;
    this.references[mfn] = 1;
    this.type[mfn] = PGT_none;
    this.typeCount[mfn] = 0;
    this.freeCount--;
    this.flushIfStale(mfn);
  }

  /** A free frame as it was when its owner was saved, but for its content; what refers to it is the caller's to restore. */
  claim(mfn: number, owner: number, books: FrameBooks): void {
    this.take(mfn, owner);
    this.flags[mfn] = books.flags;
    this.references[mfn] = books.references;
    this.type[mfn] = books.type;
    this.typeCount[mfn] = books.typeCount;
    this.linearCount[mfn] = books.linearCount;
    if (!(books.flags & FRAME_XEN_HEAP)) this.pageCounts.set(owner, this.pageCount(owner) + 1);
  }

  private findFree(): number {
    if (this.freeCount === 0) return -1;
    let mfn = this.cursor;
    while (this.owner[mfn] !== OWNER_FREE) mfn = this.behind(mfn);
    this.cursor = this.behind(mfn);
    return mfn;
  }

  /** The frame that is looked at after `mfn`. */
  private behind(mfn: number): number {
    return (mfn + (this.ascending ? 1 : this.frameCount - 1)) % this.frameCount;
  }

  private findFreeRun(count: number): number {
    const runs = Math.floor(this.frameCount / count);
    const next = this.ascending ? Math.ceil(this.cursor / count) : Math.floor((this.cursor + 1) / count) - 1 + runs;
    for (let i = 0; i < runs; i++) {
      const first = ((this.ascending ? next + i : next - i) % runs) * count;
      let size = 0;
      while (size < count && this.owner[first + size] === OWNER_FREE) size++;
      if (size < count) continue;
      this.cursor = this.behind(this.ascending ? first + count - 1 : first);
      return first;
    }
    return -1;
  }

  private findFreeRunBelow(end: number, count: number): number {
    for (let first = (Math.floor(end / count) - 1) * count; first >= 0; first -= count) {
      let size = 0;
      while (size < count && this.owner[first + size] === OWNER_FREE) size++;
      if (size === count) return first;
    }
    return -1;
  }

  /** One more reference, if `owner` owns the frame (xen get_page). */
  getPage(mfn: number, owner: number): boolean {
    if (!this.isFrame(mfn) || this.owner[mfn] !== owner || this.references[mfn] === 0) return false;
    this.references[mfn]!++;
    return true;
  }

  /** One reference less; the last one frees the frame and says true (xen put_page). */
  putPage(mfn: number): boolean {
    return --this.references[mfn]! <= 0 && this.putLast(mfn);
  }

  private putLast(mfn: number): true {
    if (this.references[mfn]! < 0) throw new Error(`bug: frame 0x${mfn.toString(16)} has fewer references than were taken`);
    if (this.typeCount[mfn] !== 0) throw new Error(`bug: frame 0x${mfn.toString(16)} is freed while its type is in use`);
    this.free(mfn);
    return true;
  }

  private free(mfn: number): void {
    const owner = this.owner[mfn]!;
    if (owner >= 0 && !(this.flags[mfn]! & FRAME_XEN_HEAP)) this.pageCounts.set(owner, this.pageCount(owner) - 1);
    this.owner[mfn] = OWNER_FREE;
    this.flags[mfn] = 0;
    this.type[mfn] = PGT_none;
    this.flushStamp[mfn] = this.flushClock;
    this.freeCount++;
    this.setM2p(mfn, INVALID_M2P_ENTRY);
    this.bytes.fill(0, mfn * PAGE_SIZE, (mfn + 1) * PAGE_SIZE);
    this.written(mfn * PAGE_SIZE, PAGE_SIZE);
  }

  /** The frame changes hands with its content. Only its allocation refers to it, and no TLB may know it any more. */
  reassign(mfn: number, owner: number): void {
    const old = this.owner[mfn]!;
    if (old >= 0) this.pageCounts.set(old, this.pageCount(old) - 1);
    if (owner >= 0) this.pageCounts.set(owner, this.pageCount(owner) + 1);
    this.owner[mfn] = owner;
    this.flags[mfn]! &= ~FRAME_VALIDATED;
    this.type[mfn] = PGT_none;
  }

  typeOf(mfn: number): PageType {
    return this.type[mfn] as PageType;
  }

  /** From now on stale translations to the frame may exist (its last mapping of its type went away without a flush). */
  markStale(mfn: number): void {
    this.flushStamp[mfn] = this.flushClock;
  }

  /** Before a frame changes hands or type: no core may keep a translation from before. */
  flushIfStale(mfn: number): void {
    if (this.flushStamp[mfn] === this.flushClock) this.flushTlbs();
  }

  /** No core keeps any translation. */
  flushTlbs(): void {
    this.flushClock++;
    this.flushAllTlbs();
  }

  /** No core keeps a translation to the frame. */
  flushFrame(mfn: number): void {
    this.flushStamp[mfn] = this.flushClock - 1;
    this.flushFrameInTlbs(mfn);
  }

  getM2p(mfn: number): bigint {
    return this.view.getBigUint64(this.m2pMfn * PAGE_SIZE + mfn * 8, true);
  }

  setM2p(mfn: number, pfn: bigint): void {
    const maddr = this.m2pMfn * PAGE_SIZE + mfn * 8;
    this.view.setBigUint64(maddr, pfn, true);
    this.written(maddr, 8);
  }

  frameBytes(mfn: number): Uint8Array {
    return this.bytes.subarray(mfn * PAGE_SIZE, (mfn + 1) * PAGE_SIZE);
  }
}
