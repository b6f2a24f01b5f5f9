/**
 * Memory accesses by linear address: the page walk (page_walk.ts) behind the TLB (tlb.ts) that generated code probes
 * inline. A page that holds decoded code is never in the TLB's write kind, so every store to it comes here first. With
 * nested paging (nested.ts), what the walk gives is guest-physical, and translated once more.
 */
import type { Breakpoints } from './breakpoints.ts';
import { CR0_WP } from './control_registers.ts';
import { ACCESS_ALIGN_CHECK, ACCESS_ALIGN_SHIFT, ACCESS_READ, ACCESS_STACK, ACCESS_WRITE } from './emitter.ts';
import { AC_VECTOR, Fault, GP, PF_VECTOR, SS } from './fault.ts';
import type { Access, Translation, WalkStep } from './interface.ts';
import { KnownPlaces } from './known_places.ts';
import * as L from './layout.ts';
import { PAGE_SIZE } from './layout.ts';
import { type AccessListener, type MemoryAccess, NestedFault, type NestedPaging, WATCHED } from './nested.ts';
import { PageWalk, PF_RSVD, PTE_D, PTE_RW, PTE_US, toLinear } from './page_walk.ts';
import type { Place } from './parked.ts';
import { Tlb } from './tlb.ts';

/** What the MMU needs of the code cache: which pages hold decoded code, to drop it before a store, and where jumps go. */
export interface CodePages {
  isCodePage(frame: number): boolean;
  invalidate(maddr: number, size: number): void;
  readonly jumps: { forget(): void };
}

export class Mmu {
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #ramSize: number;
  readonly #code: CodePages;
  readonly #breakpoints: Breakpoints;
  readonly #walker: PageWalk;
  readonly #tlb: Tlb;
  #cr0 = 0;
  /** Linear addresses wrap at 4 GiB: outside 64-bit code. */
  isNarrow = false;
  /** Where the bytes of SCRATCH_WRITE belong; -1: nowhere. */
  #splitFirst = -1;
  #splitSecond = -1;
  #splitSize = 0;
  #splitFirstSize = 0;
  tlbMisses = 0;
  readonly #nested: NestedPaging | undefined;
  readonly #onAccess: AccessListener | undefined;
  /** More than one instruction may run before the run loop looks again: watched accesses must wait (WATCHED). */
  isBatched = false;
  /** A page of the current access is watched. */
  #isWatched = false;
  /** The watched store that waits in SCRATCH_WRITE for the end of its instruction. */
  #watchedStore: { vaddr: bigint; gpa: bigint; size: number; isDone: boolean } | undefined;
  /** To ring 3, and to the others. Their counts of flushes also say when a listener may have changed the nested tables. */
  readonly known: KnownPlaces;
  readonly knownInside: KnownPlaces;

  constructor(
    buffer: ArrayBuffer,
    ramSize: number,
    code: CodePages,
    breakpoints: Breakpoints,
    home: Place,
    nested?: { paging: NestedPaging; onAccess: AccessListener | undefined },
  ) {
    this.#nested = nested?.paging;
    this.#onAccess = nested?.onAccess;
    this.#view = new DataView(buffer);
    this.#bytes = new Uint8Array(buffer);
    this.#ramSize = ramSize;
    this.#code = code;
    this.#breakpoints = breakpoints;
    this.#walker = new PageWalk(buffer, ramSize, code, this.#nested);
    this.known = new KnownPlaces(buffer, L.TLB_USER);
    this.knownInside = new KnownPlaces(buffer, L.TLB_SUPERVISOR);
    this.#tlb = new Tlb(new Int32Array(buffer), home, ramSize / PAGE_SIZE);
  }

  /** The control registers that translation depends on; flushing is the caller's business. */
  configure(cr0: number, cr3Low: number, cr3High: number, cr4: number, efer: number): void {
    this.#cr0 = cr0;
    this.#walker.configure(cr0, cr3Low, cr3High, cr4, efer);
  }

  /** After changes of CPL, RFLAGS.AC or CR4: which set of the TLB generated code probes. */
  selectSet(): void {
    const view = this.#view;
    const isUser = view.getInt32(L.CPL, true) === 3;
    view.setInt32(L.TLB_SET, this.#setOf(isUser), true);
    view.setInt32(L.TLB_STAC, this.#walker.hasSmap ? L.TLB_OPEN : L.TLB_SUPERVISOR, true);
  }

  get isPae(): boolean {
    return this.#walker.isPae;
  }

  /** PAE's four top entries; false when one is bad. */
  loadPdptes(cr3: bigint): boolean {
    return this.#walker.loadPdptes(cr3);
  }

  // Walks

  translate(vaddr: bigint, access: Access, isUser: boolean): Translation {
    const low = Number(BigInt.asIntN(32, vaddr));
    const high = Number(BigInt.asIntN(32, vaddr >> 32n));
    const walker = this.#walker;
    if (!isCanonical(high) && walker.hasCanonical) return { ok: false, errorCode: 0 };
    const page = walker.walk(low, high, access, isUser, false);
    if (page < 0) return { ok: false, errorCode: walker.errorCode };
    const hostPage = this.#hostPage(page, access);
    const maddr = hostPage + (low & 0xfff);
    if (hostPage < 0 || maddr >= this.#ramSize) return { ok: false, errorCode: PF_RSVD };
    return { ok: true, maddr, writable: (walker.entryFlags & PTE_RW) !== 0, user: (walker.entryFlags & PTE_US) !== 0 };
  }

  /** Where the host's own access at a linear address in halves goes, through the TLB as the guest's would; -1: it faults. */
  place(low: number, high: number, access: Access, isUser: boolean): number {
    const found = this.#tlb.find(low, high, this.#setOf(isUser), access);
    return found >= 0 ? found : this.#placeAnew(low, high, access, isUser);
  }

  #placeAnew(low: number, high: number, access: Access, isUser: boolean): number {
    // What may be written can be read; a store alone fills the write kind only.
    const written = access === 'read' ? this.#tlb.find(low, high, this.#setOf(isUser), 'write') : -1;
    if (written >= 0) return written;
    const translation = this.translate(toLinear(low, high), access, isUser);
    if (!translation.ok) return -1;
    this.#page(low, high, access, isUser, false);
    return translation.maddr;
  }

  walk(vaddr: bigint): WalkStep[] {
    return this.#walker.steps(vaddr);
  }

  /** Where a guest-physical page lies; -1 when the nested tables refuse the access. */
  #hostPage(page: number, access: Access): number {
    if (!this.#nested) return page;
    const nested = this.#nested.translate(page / PAGE_SIZE);
    return nested?.[access] ? nested.frame * PAGE_SIZE : -1;
  }

  // The TLB

  #changePlaces(): void {
    this.known.flushes++;
    this.knownInside.flushes++;
  }

  flush(isGlobalToo: boolean): void {
    this.#changePlaces();
    this.#walker.forget();
    this.#tlb.flush(isGlobalToo);
  }

  flushPage(vaddr: bigint): void {
    this.#changePlaces();
    this.#walker.forget();
    this.#tlb.flushPage(Number(BigInt.asIntN(32, vaddr)), Number(BigInt.asIntN(32, vaddr >> 32n)));
  }

  /** Whether some translation that is kept may lead to a frame, or a listener has to learn of its flush. */
  mayLeadTo(frame: number): boolean {
    return this.#tlb.isShown(frame) || this.#nested !== undefined;
  }

  /** Forgets translations that lead to a frame; false where that is more work than to flush all. */
  flushFrame(frame: number): boolean {
    this.#changePlaces();
    return this.#tlb.flushFrame(frame);
  }

  /** Translations can be kept for a processor while another one is on; what nested tables say may depend on who is. */
  get canPark(): boolean {
    return !this.isPae && this.#nested === undefined;
  }

  /** The processor that is on leaves, its lists being tidy; another one is on; and what it has is looked through (tlb.ts). */
  tidy(): void {
    this.#tlb.tidy();
  }
  leave(): void {
    this.#changePlaces();
    this.#walker.forget();
  }
  enter(place: Place): void {
    this.#tlb.enter(place);
  }
  revise(flushedAt: Float64Array | undefined): void {
    this.#tlb.revise(this.#code, flushedAt);
  }

  /** A frame now holds decoded code: no store may reach it without being seen. */
  protectFrame(frame: number): void {
    this.#tlb.protectFrame(frame);
  }

  /** The TLB set that an access at a privilege uses. */
  #setOf(isUser: boolean): number {
    return isUser ? L.TLB_USER : this.#walker.hasSmap && this.#walker.isOpen ? L.TLB_OPEN : L.TLB_SUPERVISOR;
  }

  /** A page fault leaves no translation of its page behind, which may be why there is one (SDM 3A 4.10.4.1). */
  #forgetFaulting(low: number, high: number, access: Access): void {
    this.#walker.forget();
    const wasFetched = this.#tlb.flushPage(low, high);
    if (wasFetched || access === 'execute') this.#code.jumps.forget();
  }

  /** The frame's maddr behind a linear page, filling the TLB; throws the access's Fault. */
  #page(low: number, high: number, access: Access, isUser: boolean, isStack: boolean, size = 1): number {
    const walker = this.#walker;
    if (!isCanonical(high) && walker.hasCanonical) throw new Fault(isStack ? SS : GP, 0);
    let page = walker.walk(low, high, access, isUser, true);
    if (page < 0) {
      this.#forgetFaulting(low, high, access);
      throw new Fault(PF_VECTOR, walker.errorCode, toLinear(low, high));
    }
    let isWritable = true;
    if (this.#nested) {
      const nested = this.#nested.translate(page / PAGE_SIZE);
      if (!nested?.[access]) {
        throw walker.nestedFault(BigInt(page) + BigInt(low & 0xfff), toLinear(low, high), access, size, false);
      }
      isWritable = nested.write;
      if (nested.watched && access !== 'execute') {
        this.#isWatched = true;
        return nested.frame * PAGE_SIZE;
      }
      page = nested.frame * PAGE_SIZE;
    }
    if (page >= this.#ramSize) return page;
    if (this.#breakpoints.isActive && this.#breakpoints.watchesPage(toLinear(low, high))) return page;
    const { entryFlags, isGlobal, pageBits } = walker;
    const set = this.#setOf(isUser);
    const isCode = this.#code.isCodePage(page / PAGE_SIZE);
    const tlb = this.#tlb;
    if (access === 'write') {
      if (!isCode) tlb.fill(low, high, set, 'write', page, isGlobal, pageBits);
    } else {
      const canWrite = entryFlags & PTE_RW || (!isUser && !(this.#cr0 & CR0_WP));
      tlb.fill(low, high, set, access, page, isGlobal, pageBits);
      if (access === 'read' && canWrite && isWritable && entryFlags & PTE_D && !isCode) {
        tlb.fill(low, high, set, 'write', page, isGlobal, pageBits);
      }
    }
    return page;
  }

  /**
   * The slow path of a memory access from generated code: checks, walks, fills; returns the address to use. Throws a
   * Fault. `descriptor` is as ACCESS_* says; `isStack` tells #SS from #GP.
   */
  miss(low: number, high: number, descriptor: number, isStack: boolean, isReported = false): number {
    this.tlbMisses++;
    this.#isWatched = false;
    const size = descriptor & 0x3ff;
    const access = descriptor & ACCESS_WRITE ? 'write' : 'read';
    const isUser = this.#view.getInt32(L.CPL, true) === 3;
    const stack = isStack || (descriptor & ACCESS_STACK) !== 0;
    const align = 1 << ((descriptor >> ACCESS_ALIGN_SHIFT) & 7);
    if (low & (align - 1)) throw new Fault(GP, 0);
    const offset = low & 0xfff;
    const firstSize = Math.min(size, PAGE_SIZE - offset);
    const first = this.#page(low, high, access, isUser, stack, firstSize);
    let second = -1;
    if (firstSize < size) {
      const nextLow = ((low | 0xfff) + 1) | 0;
      const nextHigh = nextLow === 0 && !this.isNarrow ? (high + 1) | 0 : high;
      second = this.#page(nextLow, nextHigh, access, isUser, stack, size - firstSize);
    }
    if (this.#breakpoints.isActive) this.#breakpoints.access(toLinear(low, high), size, access === 'write');
    if (descriptor & ACCESS_ALIGN_CHECK && low & (Math.min(size, 8) - 1)) throw new Fault(AC_VECTOR, 0);
    const watched = this.#isWatched ? this.#watchedAt(toLinear(low, high), size, access) : undefined;
    const isRead = (descriptor & ACCESS_WRITE) === 0 || (descriptor & ACCESS_READ) !== 0;
    if (watched && isRead && !isReported) {
      const flushes = this.known.flushes;
      this.#report('read', watched);
      if (this.known.flushes !== flushes) return this.miss(low, high, descriptor, isStack, true);
    }
    if (second < 0 && first < this.#ramSize && !watched) {
      if (access === 'write' && this.#code.isCodePage(first / PAGE_SIZE)) this.#code.invalidate(first + offset, size);
      return L.RAM + first + offset;
    }
    const scratch = access === 'write' ? L.SCRATCH_WRITE : L.SCRATCH;
    this.#gather(first + offset, firstSize, scratch);
    if (second >= 0) this.#gather(second, size - firstSize, scratch + firstSize);
    if (watched && isRead) this.#report('readAfter', watched, this.#bytes.slice(scratch, scratch + size));
    if (access === 'write') {
      if (watched) this.#watchedStore = { ...watched, isDone: false };
      this.#splitFirst = first + offset;
      this.#splitSecond = second;
      this.#splitFirstSize = firstSize;
      this.#splitSize = size;
    }
    return scratch;
  }

  /** Memory that is not there reads as ones. */
  #gather(maddr: number, size: number, to: number): void {
    if (maddr + size <= this.#ramSize) this.#bytes.copyWithin(to, L.RAM + maddr, L.RAM + maddr + size);
    else this.#bytes.fill(0xff, to, to + size);
  }

  /** Carries out the stores that `miss` sent to SCRATCH_WRITE. */
  split(): void {
    if (this.#watchedStore) this.#watchedStore.isDone = true;
    else this.#scatterAll();
  }

  /** The instruction has run: its watched store takes place, unless the listener objects. */
  finishWatched(): void {
    const store = this.#watchedStore;
    this.#watchedStore = undefined;
    if (!store?.isDone) return;
    if (this.#report('write', store, this.#bytes.slice(L.SCRATCH_WRITE, L.SCRATCH_WRITE + store.size))) this.#scatterAll();
  }

  #scatterAll(): void {
    this.#scatter(L.SCRATCH_WRITE, this.#splitFirst, this.#splitFirstSize);
    if (this.#splitSecond >= 0)
      this.#scatter(L.SCRATCH_WRITE + this.#splitFirstSize, this.#splitSecond, this.#splitSize - this.#splitFirstSize);
  }

  #scatter(from: number, maddr: number, size: number): void {
    if (maddr + size > this.#ramSize) return;
    if (this.#code.isCodePage((maddr / PAGE_SIZE) | 0)) this.#code.invalidate(maddr, size);
    this.#bytes.copyWithin(L.RAM + maddr, from, from + size);
  }

  // Watched pages

  #watchedAt(vaddr: bigint, size: number, access: Access): { vaddr: bigint; gpa: bigint; size: number } {
    if (this.isBatched) throw WATCHED;
    const isUser = this.#view.getInt32(L.CPL, true) === 3;
    const page = this.#walker.walk(Number(BigInt.asIntN(32, vaddr)), Number(BigInt.asIntN(32, vaddr >> 32n)), access, isUser, false);
    return { vaddr, gpa: BigInt(page) + (vaddr & 0xfffn), size };
  }

  /** Whether a store may take place. */
  #report(kind: MemoryAccess['kind'], { vaddr, gpa, size }: Omit<MemoryAccess, 'kind' | 'bytes'>, bytes = new Uint8Array()): boolean {
    const isAllowed = this.#onAccess?.({ kind, vaddr, gpa, size, bytes }) !== false;
    if (!isAllowed && kind !== 'write') throw new NestedFault({ kind: 'stopped' });
    return isAllowed;
  }

  // Accesses of the system unit

  /** Maddr of one byte's page for an access at a privilege; throws. */
  locate(vaddr: bigint, access: Access, isUser: boolean, isStack = false, size = 1): number {
    const low = Number(BigInt.asIntN(32, vaddr));
    const high = Number(BigInt.asIntN(32, vaddr >> 32n));
    const known = this.#tlb.find(low, high, this.#setOf(isUser), access);
    return known >= 0 ? known : this.#page(low, high, access, isUser, isStack, size) + (low & 0xfff);
  }

  /** Whether the TLB knows the translation, and it is global. */
  isGlobal(vaddr: bigint, access: Access, isUser: boolean): boolean {
    return this.#tlb.isGlobal(Number(BigInt.asIntN(32, vaddr)), Number(BigInt.asIntN(32, vaddr >> 32n)), this.#setOf(isUser), access);
  }

  /** Reads 1-8 bytes, or any count as bytes in `readBytes`. */
  read(vaddr: bigint, size: number, isUser: boolean, isStack = false): bigint {
    let value = 0n;
    const bytes = this.readBytes(vaddr, size, isUser, isStack);
    for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]!);
    return value;
  }

  readBytes(vaddr: bigint, size: number, isUser: boolean, isStack = false): Uint8Array {
    const out = new Uint8Array(size);
    let pieces = this.#pieces(vaddr, size, 'read', isUser, isStack);
    const watched = this.#isWatched ? this.#watchedAt(vaddr, size, 'read') : undefined;
    if (watched) {
      this.#report('read', watched);
      pieces = this.#pieces(vaddr, size, 'read', isUser, isStack);
    }
    for (const [maddr, from, count] of pieces) {
      if (maddr + count <= this.#ramSize) out.set(this.#bytes.subarray(L.RAM + maddr, L.RAM + maddr + count), from);
      else out.fill(0xff, from, from + count);
    }
    if (watched) this.#report('readAfter', watched, out.slice());
    return out;
  }

  write(vaddr: bigint, size: number, value: bigint, isUser: boolean, isStack = false): void {
    const bytes = new Uint8Array(size);
    for (let i = 0, rest = value; i < size; i++, rest >>= 8n) bytes[i] = Number(rest & 0xffn);
    this.writeBytes(vaddr, bytes, isUser, isStack);
  }

  /** All or nothing: every page is translated before the first byte is written. */
  writeBytes(vaddr: bigint, bytes: Uint8Array, isUser: boolean, isStack = false): void {
    const pieces = this.#pieces(vaddr, bytes.length, 'write', isUser, isStack);
    if (this.#isWatched && !this.#report('write', this.#watchedAt(vaddr, bytes.length, 'write'), bytes.slice())) return;
    for (const [maddr, from, count] of pieces) {
      if (maddr + count > this.#ramSize) continue;
      if (this.#code.isCodePage((maddr / PAGE_SIZE) | 0)) this.#code.invalidate(maddr, count);
      this.#bytes.set(bytes.subarray(from, from + count), L.RAM + maddr);
    }
  }

  /** [maddr, offset, count] of each page's part; throws before any is used. */
  #pieces(vaddr: bigint, size: number, access: Access, isUser: boolean, isStack: boolean): [number, number, number][] {
    const pieces: [number, number, number][] = [];
    // In long mode only the program's own addresses are narrow: descriptor tables, TSS and the stacks of inner rings are anywhere.
    const bits = this.isNarrow && !(this.#walker.hasCanonical && vaddr > 0xffff_ffffn) ? 32 : 64;
    this.#isWatched = false;
    for (let offset = 0; offset < size; ) {
      const at = BigInt.asUintN(bits, vaddr + BigInt(offset));
      const count = Math.min(size - offset, PAGE_SIZE - Number(at & 0xfffn));
      pieces.push([this.locate(at, access, isUser, isStack, count), offset, count]);
      offset += count;
    }
    if (this.#breakpoints.isActive && access !== 'execute') this.#breakpoints.access(vaddr, size, access === 'write');
    return pieces;
  }
}

function isCanonical(high: number): boolean {
  const top = high >> 15;
  return top === 0 || top === -1;
}
