/**
 * Address translation: page walks (SDM 3A 4.5) and the TLB that generated code probes inline. The TLB holds 4 KiB
 * entries in two sets (CPL 3 and below), each with read, write and fetch kinds; an entry may live until it is flushed,
 * as on hardware. A page that holds decoded code is never in the write kind, so every store to it comes here first. With
 * nested paging (nested.ts), what the walk gives and where its tables lie is guest-physical, and translated once more.
 */
import type { Breakpoints } from './breakpoints.ts';
import { ACCESS_ALIGN_CHECK, ACCESS_ALIGN_SHIFT, ACCESS_READ, ACCESS_STACK, ACCESS_WRITE } from './emitter.ts';
import { AC_VECTOR, Fault, GP, PF_VECTOR, SS } from './fault.ts';
import type { Access, Translation, WalkStep } from './interface.ts';
import * as L from './layout.ts';
import { type AccessListener, type MemoryAccess, NestedFault, type NestedPaging, WATCHED } from './nested.ts';

export const PTE_P = 1,
  PTE_RW = 2,
  PTE_US = 4,
  PTE_A = 32,
  PTE_D = 64,
  PTE_PS = 128,
  PTE_G = 256;
export const PF_P = 1,
  PF_W = 2,
  PF_U = 4,
  PF_RSVD = 8,
  PF_I = 16;

/** MAXPHYADDR, as CPUID 0x80000008 of the host should say. */
export const PHYSICAL_ADDRESS_BITS = 40;
const RESERVED_HIGH = 0x000f_ffff & ~((1 << (PHYSICAL_ADDRESS_BITS - 32)) - 1);

export const CR0_PE = 1,
  CR0_MP = 2,
  CR0_EM = 4,
  CR0_TS = 8,
  CR0_NE = 32,
  CR0_WP = 1 << 16,
  CR0_AM = 1 << 18,
  CR0_PG = 0x8000_0000;
export const CR4_TSD = 4,
  CR4_DE = 8,
  CR4_PSE = 16,
  CR4_PAE = 32,
  CR4_PGE = 128,
  CR4_PCE = 256,
  CR4_OSFXSR = 512,
  CR4_OSXMMEXCPT = 1024,
  CR4_UMIP = 1 << 11,
  CR4_FSGSBASE = 1 << 16,
  CR4_PCIDE = 1 << 17,
  CR4_OSXSAVE = 1 << 18,
  CR4_SMEP = 1 << 20,
  CR4_SMAP = 1 << 21;
export const EFER_SCE = 1,
  EFER_LME = 0x100,
  EFER_LMA = 0x400,
  EFER_NXE = 0x800;

const TLB_KINDS: Record<Access, number> = { read: L.TLB_READ, write: L.TLB_WRITE, execute: L.TLB_FETCH };
const MAX_TOUCHED = 4 * 3 * L.TLB_ENTRIES;

/** What the MMU needs of the code cache: which pages hold decoded code, and to drop it before a store. */
export interface CodePages {
  isCodePage(frame: number): boolean;
  invalidate(maddr: number, size: number): void;
}

export class Mmu {
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #ramSize: number;
  readonly #code: CodePages;
  readonly #breakpoints: Breakpoints;
  /** Addresses of entries filled since the last flush; beyond MAX_TOUCHED everything is wiped. */
  #touched: number[] = [];
  #hasLargePages = false;
  #cr0 = 0;
  #cr4 = 0;
  #efer = 0;
  #root = 0;
  /** Outcome of the last `#walk` when it failed. */
  #errorCode = 0;
  #entryFlags = 0;
  #isGlobal = false;
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
  /** Counts flushes: a listener may have changed the nested tables. */
  #flushes = 0;

  constructor(
    buffer: ArrayBuffer,
    ramSize: number,
    code: CodePages,
    breakpoints: Breakpoints,
    nested?: { paging: NestedPaging; onAccess: AccessListener | undefined },
  ) {
    this.#nested = nested?.paging;
    this.#onAccess = nested?.onAccess;
    this.#view = new DataView(buffer);
    this.#bytes = new Uint8Array(buffer);
    this.#ramSize = ramSize;
    this.#code = code;
    this.#breakpoints = breakpoints;
    for (let entry = L.TLB_USER; entry < L.TLB_END; entry += L.TLB_ENTRY_SIZE) this.#view.setInt32(entry, 1, true);
  }

  /** The control registers that translation depends on; flushing is the caller's business. */
  configure(cr0: number, cr3: bigint, cr4: number, efer: number): void {
    this.#cr0 = cr0;
    this.#cr4 = cr4;
    this.#efer = efer;
    this.#root = Number(cr3 & 0x000f_ffff_ffff_f000n);
  }

  // Walks

  /** The entry's value at a level as two halves, or `undefined` outside RAM. */
  #readLow(maddr: number): number {
    return maddr + 8 <= this.#ramSize ? this.#view.getInt32(L.RAM + maddr, true) : 0;
  }
  #readHigh(maddr: number): number {
    return maddr + 8 <= this.#ramSize ? this.#view.getInt32(L.RAM + maddr + 4, true) : 0;
  }

  /** Where a guest-physical page lies; -1 when the nested tables refuse the access. */
  #hostPage(page: number, access: Access): number {
    if (!this.#nested) return page;
    const nested = this.#nested.translate(page / 4096);
    return nested?.[access] ? nested.frame * 4096 : -1;
  }

  /** Maddr of a page-table entry for the CPU's own access; without `mark`, -1 instead of a nested fault. */
  #hostEntry(gpa: number, access: Access, mark: boolean, low: number, high: number): number {
    if (!this.#nested) return gpa;
    const page = this.#hostPage(gpa - (gpa % 4096), access);
    if (page >= 0) return page + (gpa % 4096);
    if (!mark) return -1;
    throw this.#nestedFault(BigInt(gpa), toLinear(low, high), access, 8, true);
  }

  #nestedFault(gpa: bigint, vaddr: bigint, access: Access, size: number, isWalk: boolean): NestedFault {
    const present = this.#nested!.translate(Number(gpa >> 12n)) !== undefined;
    return new NestedFault({ kind: 'nestedFault', gpa, vaddr, access, size, present, isWalk });
  }

  /**
   * Translates; -1 with `#errorCode` set on a page fault. With `mark`, sets A and D as the access would.
   * Leaves in `#entryFlags` the effective RW and US, and D of the leaf.
   */
  #walk(low: number, high: number, access: Access, isUser: boolean, mark: boolean): number {
    if (!(this.#cr0 & CR0_PG)) {
      this.#entryFlags = PTE_RW | PTE_US | PTE_D;
      this.#isGlobal = false;
      // Long mode without paging is a state that only a host can make: all 64 bits count.
      return (this.#efer & EFER_LMA ? (high >>> 0) * 0x1_0000_0000 : 0) + ((low & ~0xfff) >>> 0);
    }
    const isWrite = access === 'write';
    const isFetch = access === 'execute';
    const base = (isWrite ? PF_W : 0) | (isUser ? PF_U : 0) | (isFetch && (this.#efer & EFER_NXE || this.#cr4 & CR4_SMEP) ? PF_I : 0);
    const indices = [(high >>> 7) & 0x1ff, ((high & 0x7f) << 2) | (low >>> 30), (low >>> 21) & 0x1ff, (low >>> 12) & 0x1ff];
    const used: number[] = [];
    let table = this.#root;
    let rights = PTE_RW | PTE_US;
    let noExecute = false;
    for (let level = 4; ; level--) {
      const entryGpa = table + indices[4 - level]! * 8;
      const at = this.#hostEntry(entryGpa, 'read', mark, low, high);
      if (at < 0) return this.#fail(base);
      const entryLow = this.#readLow(at);
      const entryHigh = this.#readHigh(at);
      if (!(entryLow & PTE_P)) return this.#fail(base);
      const isLeaf = level === 1 || (level < 4 && (entryLow & PTE_PS) !== 0);
      let reserved = (entryHigh & RESERVED_HIGH) !== 0 || (entryHigh < 0 && !(this.#efer & EFER_NXE));
      if (level === 4 && entryLow & PTE_PS) reserved = true;
      if (isLeaf && level === 2 && entryLow & 0x001f_e000) reserved = true;
      if (isLeaf && level === 3 && entryLow & 0x3fff_e000) reserved = true;
      if (reserved) return this.#fail(base | PF_P | PF_RSVD);
      rights &= entryLow;
      if (entryHigh < 0) noExecute = true;
      used.push(entryGpa);
      const next = (entryHigh & 0x000f_ffff) * 0x1_0000_0000 + ((entryLow & 0xffff_f000) >>> 0);
      if (!isLeaf) {
        table = next;
        continue;
      }
      if (isUser ? !(rights & PTE_US) : this.#isRefusedToSupervisor(rights, access)) return this.#fail(base | PF_P);
      if (isWrite && !(rights & PTE_RW) && (isUser || this.#cr0 & CR0_WP)) return this.#fail(base | PF_P);
      if (isFetch && noExecute) return this.#fail(base | PF_P);
      if (mark) this.#mark(used, isWrite, low, high);
      this.#entryFlags = (rights & (PTE_RW | PTE_US)) | (entryLow & PTE_D) | (isWrite && mark ? PTE_D : 0);
      this.#isGlobal = (entryLow & PTE_G) !== 0 && (this.#cr4 & CR4_PGE) !== 0;
      if (level === 1) return next;
      if (mark) this.#hasLargePages = true;
      return level === 2
        ? next - ((next & 0x1f_ffff) >>> 0) + (low & 0x1f_f000)
        : Math.floor(next / 0x4000_0000) * 0x4000_0000 + (low & 0x3fff_f000);
    }
  }

  #isRefusedToSupervisor(rights: number, access: Access): boolean {
    if (!(rights & PTE_US)) return false;
    if (access === 'execute') return (this.#cr4 & CR4_SMEP) !== 0;
    return (this.#cr4 & CR4_SMAP) !== 0 && (this.#view.getInt32(L.FLAGS_REST, true) & (1 << 18)) === 0;
  }

  #fail(errorCode: number): number {
    this.#errorCode = errorCode;
    return -1;
  }

  /** Sets A in all entries of the walk and D in its leaf. */
  #mark(used: readonly number[], isWrite: boolean, low: number, high: number): void {
    used.forEach((gpa, i) => {
      const wanted = PTE_A | (isWrite && i === used.length - 1 ? PTE_D : 0);
      const present = this.#bytes[L.RAM + this.#hostEntry(gpa, 'read', true, low, high)]!;
      if ((present & wanted) === wanted) return;
      const at = this.#hostEntry(gpa, 'write', true, low, high);
      if (this.#code.isCodePage((at / 4096) | 0)) this.#code.invalidate(at, 1);
      this.#bytes[L.RAM + at] = present | wanted;
    });
  }

  translate(vaddr: bigint, access: Access, isUser: boolean): Translation {
    const low = Number(BigInt.asIntN(32, vaddr));
    const high = Number(BigInt.asIntN(32, vaddr >> 32n));
    if (!isCanonical(high) && this.#cr0 & CR0_PG) return { ok: false, errorCode: 0 };
    const page = this.#walk(low, high, access, isUser, false);
    if (page < 0) return { ok: false, errorCode: this.#errorCode };
    const maddr = this.#hostPage(page, access) + (low & 0xfff);
    if (maddr < 0 || maddr >= this.#ramSize) return { ok: false, errorCode: PF_RSVD };
    return { ok: true, maddr, writable: (this.#entryFlags & PTE_RW) !== 0, user: (this.#entryFlags & PTE_US) !== 0 };
  }

  walk(vaddr: bigint): WalkStep[] {
    const steps: WalkStep[] = [];
    if (!(this.#cr0 & CR0_PG)) return steps;
    let table = this.#root;
    for (const level of [4, 3, 2, 1] as const) {
      const index = Number((vaddr >> BigInt(3 + 9 * level)) & 0x1ffn);
      const entryMaddr = this.#hostEntry(table + index * 8, 'read', false, 0, 0);
      if (entryMaddr < 0) break;
      const entry = (BigInt(this.#readHigh(entryMaddr) >>> 0) << 32n) | BigInt(this.#readLow(entryMaddr) >>> 0);
      steps.push({ level, index, entryMaddr, entry });
      if (!(entry & 1n) || (level < 4 && entry & 0x80n)) break;
      table = Number(entry & 0x000f_ffff_ffff_f000n);
    }
    return steps;
  }

  // The TLB

  #entryAddress(low: number, set: number, kind: number): number {
    return set + kind + ((low >>> 12) & (L.TLB_ENTRIES - 1)) * L.TLB_ENTRY_SIZE;
  }

  #fill(low: number, high: number, set: number, kind: number, page: number): void {
    const entry = this.#entryAddress(low, set, kind);
    const view = this.#view;
    const pageLow = low & ~0xfff;
    view.setInt32(entry, pageLow, true);
    view.setInt32(entry + 4, high, true);
    view.setInt32(entry + 8, (L.RAM + page - pageLow) | 0, true);
    view.setInt32(entry + 12, this.#isGlobal ? 1 : 0, true);
    this.#touched.push(entry);
    if (this.#touched.length > MAX_TOUCHED) this.#touched = [...new Set(this.#touched)];
  }

  flush(isGlobalToo: boolean): void {
    this.#flushes++;
    const kept: number[] = [];
    for (const entry of this.#touched) {
      if (isGlobalToo || this.#view.getInt32(entry + 12, true) === 0) this.#view.setInt32(entry, 1, true);
      else kept.push(entry);
    }
    this.#touched = kept;
    if (isGlobalToo) this.#hasLargePages = false;
  }

  flushPage(vaddr: bigint): void {
    if (this.#hasLargePages) return this.flush(true);
    const low = Number(BigInt.asIntN(32, vaddr)) & ~0xfff;
    const high = Number(BigInt.asIntN(32, vaddr >> 32n));
    for (const set of [L.TLB_USER, L.TLB_SUPERVISOR]) {
      for (const kind of [L.TLB_READ, L.TLB_WRITE, L.TLB_FETCH]) {
        const entry = this.#entryAddress(low, set, kind);
        if (this.#view.getInt32(entry, true) === low && this.#view.getInt32(entry + 4, true) === high) this.#view.setInt32(entry, 1, true);
      }
    }
  }

  /** A frame now holds decoded code: no store may reach it without being seen. */
  protectFrame(frame: number): void {
    const page = (L.RAM + frame * 4096) | 0;
    for (const set of [L.TLB_USER, L.TLB_SUPERVISOR]) {
      for (let entry = set + L.TLB_WRITE; entry < set + L.TLB_WRITE + L.TLB_KIND_SIZE; entry += L.TLB_ENTRY_SIZE) {
        const tag = this.#view.getInt32(entry, true);
        if (tag !== 1 && ((tag + this.#view.getInt32(entry + 8, true)) | 0) === page) this.#view.setInt32(entry, 1, true);
      }
    }
  }

  /** The frame's maddr behind a linear page, filling the TLB; throws the access's Fault. */
  #page(low: number, high: number, access: Access, isUser: boolean, isStack: boolean, size = 1): number {
    if (!isCanonical(high) && this.#efer & EFER_LMA && this.#cr0 & CR0_PG) throw new Fault(isStack ? SS : GP, 0);
    let page = this.#walk(low, high, access, isUser, true);
    if (page < 0) throw new Fault(PF_VECTOR, this.#errorCode, toLinear(low, high));
    let isWritable = true;
    if (this.#nested) {
      const nested = this.#nested.translate(page / 4096);
      if (!nested?.[access]) {
        throw this.#nestedFault(BigInt(page) + BigInt(low & 0xfff), toLinear(low, high), access, size, false);
      }
      isWritable = nested.write;
      if (nested.watched && access !== 'execute') {
        this.#isWatched = true;
        return nested.frame * 4096;
      }
      page = nested.frame * 4096;
    }
    if (page >= this.#ramSize) return page;
    if (this.#breakpoints.isActive && this.#breakpoints.watchesPage(toLinear(low, high))) return page;
    const set = isUser ? L.TLB_USER : L.TLB_SUPERVISOR;
    const isCode = this.#code.isCodePage(page / 4096);
    if (access === 'write') {
      if (!isCode) this.#fill(low, high, set, L.TLB_WRITE, page);
    } else {
      const canWrite = this.#entryFlags & PTE_RW || (!isUser && !(this.#cr0 & CR0_WP));
      this.#fill(low, high, set, TLB_KINDS[access], page);
      if (access === 'read' && canWrite && isWritable && this.#entryFlags & PTE_D && !isCode) this.#fill(low, high, set, L.TLB_WRITE, page);
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
    const firstSize = Math.min(size, 4096 - offset);
    const first = this.#page(low, high, access, isUser, stack, firstSize);
    let second = -1;
    if (firstSize < size) {
      const nextLow = ((low | 0xfff) + 1) | 0;
      const nextHigh = nextLow === 0 ? (high + 1) | 0 : high;
      second = this.#page(nextLow, nextHigh, access, isUser, stack, size - firstSize);
    }
    if (this.#breakpoints.isActive) this.#breakpoints.access(toLinear(low, high), size, access === 'write');
    if (descriptor & ACCESS_ALIGN_CHECK && low & (Math.min(size, 8) - 1)) throw new Fault(AC_VECTOR, 0);
    const watched = this.#isWatched ? this.#watchedAt(toLinear(low, high), size, access) : undefined;
    const isRead = (descriptor & ACCESS_WRITE) === 0 || (descriptor & ACCESS_READ) !== 0;
    if (watched && isRead && !isReported) {
      const flushes = this.#flushes;
      this.#report('read', watched);
      if (this.#flushes !== flushes) return this.miss(low, high, descriptor, isStack, true);
    }
    if (second < 0 && first < this.#ramSize && !watched) {
      if (access === 'write' && this.#code.isCodePage(first / 4096)) this.#code.invalidate(first + offset, size);
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
    if (this.#code.isCodePage((maddr / 4096) | 0)) this.#code.invalidate(maddr, size);
    this.#bytes.copyWithin(L.RAM + maddr, from, from + size);
  }

  // Watched pages

  #watchedAt(vaddr: bigint, size: number, access: Access): { vaddr: bigint; gpa: bigint; size: number } {
    if (this.isBatched) throw WATCHED;
    const isUser = this.#view.getInt32(L.CPL, true) === 3;
    const page = this.#walk(Number(BigInt.asIntN(32, vaddr)), Number(BigInt.asIntN(32, vaddr >> 32n)), access, isUser, false);
    return { vaddr, gpa: BigInt(page) + (vaddr & 0xfffn), size };
  }

  /** Whether a store may take place. */
  #report(kind: MemoryAccess['kind'], { vaddr, gpa, size }: Omit<MemoryAccess, 'kind' | 'bytes'>, bytes = new Uint8Array()): boolean {
    return this.#onAccess?.({ kind, vaddr, gpa, size, bytes }) !== false;
  }

  // Accesses of the system unit

  /** Maddr of one byte's page for an access at a privilege; throws. */
  locate(vaddr: bigint, access: Access, isUser: boolean, isStack = false, size = 1): number {
    const low = Number(BigInt.asIntN(32, vaddr));
    const high = Number(BigInt.asIntN(32, vaddr >> 32n));
    return this.#page(low, high, access, isUser, isStack, size) + (low & 0xfff);
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
      if (this.#code.isCodePage((maddr / 4096) | 0)) this.#code.invalidate(maddr, count);
      this.#bytes.set(bytes.subarray(from, from + count), L.RAM + maddr);
    }
  }

  /** [maddr, offset, count] of each page's part; throws before any is used. */
  #pieces(vaddr: bigint, size: number, access: Access, isUser: boolean, isStack: boolean): [number, number, number][] {
    const pieces: [number, number, number][] = [];
    this.#isWatched = false;
    for (let offset = 0; offset < size; ) {
      const at = BigInt.asUintN(64, vaddr + BigInt(offset));
      const count = Math.min(size - offset, 4096 - Number(at & 0xfffn));
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

function toLinear(low: number, high: number): bigint {
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}
